// SPDX-License-Identifier: Apache-2.0
/* Data channels between two peer connections: what is reliable arrives once and in order whatever the path does, what may be
 * lost is never told twice, what waits is bounded. */
#include "sim/sim.h"

#include "pc/pc_internal.h"

#define NUMBERS 150u
#define ID 100u /* of the negotiated channel */
#define LABELS 3u

static const char *const labels[LABELS] = {"_reliable", "_lossy", "agreed"};
enum { RELIABLE, LOSSY, AGREED };

typedef struct side {
    uint32_t channel[LABELS];
    bool open[LABELS], told[LABELS][NUMBERS];
    uint32_t sent[LABELS], got[LABELS], twice, out_of_order, broken;
} side;

typedef struct talk {
    side sides[2];
    uint8_t bytes[8192];
} talk;

/* Each number has its length: from one block to four packets. */
static size_t length_of(uint32_t label, uint32_t n) { return label == LOSSY ? 100 : 8 + n * 37u % 4000u; }

static uint8_t byte_of(uint32_t n, size_t i) { return (uint8_t)(n * 7 + i); }

static void on_data(side *s, uint32_t label, lk_bytes d)
{
    uint32_t n = d.len >= 4 ? lk_get_u32(d.data) : NUMBERS;
    if (n >= NUMBERS || d.len != length_of(label, n)) {
        s->broken++;
        return;
    }
    for (size_t i = 4; i < d.len; i++)
        s->broken += d.data[i] != byte_of(n, i);
    s->twice += s->told[label][n];
    s->out_of_order += label != LOSSY && n != s->got[label];
    s->told[label][n] = true;
    s->got[label]++;
}

static void on_event(sim_peer *p, const lk_pc_event *e)
{
    side *s = &((talk *)p->world->own)->sides[p->index];
    for (uint32_t k = 0; k < LABELS; k++) {
        if (!e->text || strcmp(e->text, labels[k]) != 0)
            continue;
        if (e->type == LK_PC_EV_CHANNEL) {
            s->channel[k] = e->index;
            s->open[k] = e->active;
        } else if (e->type == LK_PC_EV_DATA) {
            on_data(s, k, e->data);
        }
    }
}

/* As much as there is room for. */
static void say(sim_world *w, talk *t, int from)
{
    side *s = &t->sides[from];
    for (uint32_t k = 0; k < LABELS; k++)
        while (s->open[k] && s->sent[k] < NUMBERS && lk_pc_data_buffered(w->peers[from].pc, s->channel[k]) < 65536) {
            uint32_t n = s->sent[k];
            size_t len = length_of(k, n);
            lk_put_u32(t->bytes, n);
            for (size_t i = 4; i < len; i++)
                t->bytes[i] = byte_of(n, i);
            if (lk_pc_send_data(w->peers[from].pc, w->now, s->channel[k], t->bytes, len, 0) != LK_OK)
                break;
            s->sent[k]++;
        }
}

static bool is_done(const talk *t)
{
    bool done = true;
    for (int i = 0; i < 2; i++)
        done = done && t->sides[i].got[RELIABLE] == NUMBERS && t->sides[i].got[AGREED] == NUMBERS && t->sides[i].sent[LOSSY] == NUMBERS;
    return done;
}

static talk *begin(sim_world *w, const sim_link *way)
{
    static talk t;
    const lk_pc_channel agreed = {.label = labels[AGREED], .negotiated = true, .id = ID};
    t = (talk){0};
    w->own = &t;
    w->links[0] = w->links[1] = *way;
    w->peers[0].on_event = w->peers[1].on_event = on_event;
    if (!sim_connect(w, &(sim_pair_options){.data = true}))
        return NULL;
    for (int i = 0; i < 2; i++)
        if (!sim_check(w, lk_pc_add_channel(w->peers[i].pc, &agreed, &t.sides[i].channel[AGREED]) == LK_OK, "channel made"))
            return NULL;
    SIM_CHECK(w, lk_pc_add_channel(w->peers[0].pc, &agreed, &t.sides[0].channel[AGREED]) == LK_ERR_INVALID); /* the id is taken */
    return &t;
}

static void exchange(sim_world *w, const sim_link *way, lk_usec within, uint32_t lossy_least)
{
    talk *t = begin(w, way);
    for (lk_usec until = w->now + within; t && w->now < until && !is_done(t) && !w->why[0];) {
        say(w, t, 0);
        say(w, t, 1);
        sim_drain(w);
        sim_run(w, w->now + LK_MSEC(20), NULL);
    }
    for (int i = 0; t && i < 2; i++) {
        const side *s = &t->sides[i];
        SIM_CHECK(w, s->got[RELIABLE] == NUMBERS && s->got[AGREED] == NUMBERS);
        SIM_CHECK(w, s->twice == 0 && s->out_of_order == 0 && s->broken == 0);
        SIM_CHECK(w, s->got[LOSSY] >= lossy_least);
    }
}

void sim_data_clean(sim_world *w) { exchange(w, &(sim_link){0}, LK_SEC(5), NUMBERS); }
void sim_data_loss_5(sim_world *w)
{
    exchange(w, &(sim_link){.delay = LK_MSEC(50), .loss = 50, .reorder = 20, .reorder_by = LK_MSEC(15), .duplicate = 20}, LK_SEC(40), NUMBERS * 8 / 10);
}
void sim_data_loss_15(sim_world *w) { exchange(w, &(sim_link){.delay = LK_MSEC(10), .loss = 150}, LK_SEC(40), NUMBERS / 2); }
void sim_data_loss_15_slow(sim_world *w) { exchange(w, &(sim_link){.delay = LK_MSEC(150), .loss = 150}, LK_SEC(120), NUMBERS / 2); }

/* Nobody takes what is sent: it waits up to a bound, then it is refused, and when the path is back all of it arrives. */
void sim_data_bounded(sim_world *w)
{
    static const uint8_t block[16000];
    talk *t = begin(w, &(sim_link){.delay = LK_MSEC(10)});
    uint32_t taken = 0;
    if (!t)
        return;
    sim_run(w, w->now + LK_SEC(2), NULL);
    if (!SIM_CHECK(w, t->sides[0].open[RELIABLE] && t->sides[1].open[AGREED]))
        return;
    uint32_t channel = t->sides[0].channel[RELIABLE];
    lk_pc *pc = w->peers[0].pc;
    w->links[0].down = true;
    size_t before = sim_live_bytes();
    while (taken < 10000 && lk_pc_send_data(pc, w->now, channel, block, sizeof block, 0) == LK_OK)
        taken++;
    SIM_CHECK(w, taken > 100 && lk_pc_data_buffered(pc, channel) <= (4u << 20) && sim_live_bytes() - before < (6u << 20));
    SIM_CHECK(w, lk_pc_send_data(pc, w->now, channel, block, sizeof block, 0) == LK_ERR_FULL);
    sim_drain(w);
    sim_run(w, w->now + LK_SEC(2), NULL);
    w->links[0].down = false;
    for (lk_usec until = w->now + LK_SEC(20); w->now < until && t->sides[1].broken < taken;)
        sim_run(w, w->now + LK_MSEC(100), NULL);
    SIM_CHECK(w, t->sides[1].broken == taken); /* none of them has the length of its number */
    SIM_CHECK(w, lk_pc_data_buffered(pc, channel) == 0);
}

/* Handshakes of nonsense and messages on streams nobody opened, from inside the association: it lives, what is open stays
 * open, and no more channels come to be than may. */
void sim_data_hostile(sim_world *w)
{
    talk *t = begin(w, &(sim_link){.delay = LK_MSEC(10)});
    lk_prng dice;
    if (!t)
        return;
    lk_prng_init(&dice, w->seed + 99);
    sim_run(w, w->now + LK_SEC(2), NULL);
    lk_sctp *sctp = w->peers[0].pc->transport.sctp;
    if (!SIM_CHECK(w, sctp && t->sides[1].open[RELIABLE]))
        return;
    size_t before = sim_live_bytes();
    for (int round = 0; round < 300 && !w->why[0]; round++) {
        uint8_t bytes[400];
        (void)lk_prng_fill(&dice, bytes, sizeof bytes);
        if (round % 3 == 0) { /* an OPEN that is nearly right, its label as long as it says */
            const uint8_t open[] = {3, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0};
            memcpy(bytes, open, sizeof open);
        }
        const uint32_t ppids[] = {50, 50, 51, 53, 0, 0xffffffffu};
        const lk_sctp_message m = {.stream = (uint16_t)(lk_prng_next(&dice) % 2000), .ppid = ppids[lk_prng_next(&dice) % LK_LEN(ppids)],
                                   .data = bytes, .len = round % 3 == 0 ? 212 : 1 + lk_prng_next(&dice) % sizeof bytes};
        (void)!lk_sctp_send(sctp, w->now, &m);
        sim_drain(w);
        sim_run(w, w->now + LK_MSEC(10), NULL);
    }
    SIM_CHECK(w, w->peers[1].pc->transport.channel_count <= LK_PC_CHANNELS_MAX);
    SIM_CHECK(w, sim_live_bytes() < before + (1u << 20));
    SIM_CHECK(w, sim_both_connected(w) && t->sides[0].open[RELIABLE] && t->sides[1].open[RELIABLE]);
    memset(t->sides[1].told, 0, sizeof t->sides[1].told);
    t->sides[1].got[RELIABLE] = t->sides[1].broken = t->sides[1].out_of_order = 0;
    for (lk_usec until = w->now + LK_SEC(10); w->now < until && t->sides[1].got[RELIABLE] < NUMBERS;) {
        say(w, t, 0);
        sim_drain(w);
        sim_run(w, w->now + LK_MSEC(20), NULL);
    }
    SIM_CHECK(w, t->sides[1].got[RELIABLE] == NUMBERS && t->sides[1].out_of_order == 0 && t->sides[1].broken == 0);
}
