// SPDX-License-Identifier: Apache-2.0
/* A storm: the seed draws who the peers are, how the links begin and which faults come when. Media and data are numbered
 * bytes without a codec, so a run costs milliseconds. When the weather has cleared, everything that was accepted for
 * reliable delivery must be there, once and in order, and media must flow as if nothing had been. */
#include "sim/sim.h"

#include <string.h>

#include "rtp/red.h"

#define SLICE LK_MSEC(20)
#define FAULTS_MAX 6u
#define NUMBERS_MAX 8192u
#define SIZE_MAX_BYTES 5000u

typedef enum storm_kind {
    STORM_LOSS,
    STORM_BURST,
    STORM_DELAY,
    STORM_REORDER,
    STORM_DUPLICATE,
    STORM_FLIP,
    STORM_THIN,
    STORM_MTU,
    STORM_OUTAGE,
    STORM_SLEEP,
    STORM_JUNK,
    STORM_REBIND, /* the NAT gives the client another port, for good */
    STORM_KINDS,
} storm_kind;

typedef struct storm_fault {
    storm_kind kind;
    unsigned links; /* bit 0: from peer 0, bit 1: from peer 1; for a sleep or junk the peers */
    lk_usec at, until;
    uint32_t amount; /* thousandths of the most of its kind */
} storm_fault;

typedef struct storm_side {
    bool open[2]; /* reliable, lossy */
    uint32_t channel[2];
    uint32_t accepted, arrived; /* reliable messages */
    uint32_t lossy_sent, media_sent;
    uint8_t lossy_seen[NUMBERS_MAX / 8], media_seen[NUMBERS_MAX / 8];
} storm_side;

typedef struct storm {
    storm_fault faults[FAULTS_MAX];
    sim_pair_options options;
    sim_link base;
    lk_usec span;
    storm_side sides[2];
    lk_prng junk;
} storm;

static const char *const labels[] = {"_reliable", "_lossy"};

static uint32_t below(lk_prng *r, uint32_t bound) { return (uint32_t)(lk_prng_next(r) % bound); }

/* Everything that is drawn is drawn here, so that leaving a fault out changes nothing else. */
static void draw(sim_world *w, storm *s)
{
    lk_prng r;
    lk_prng_init(&r, lk_prng_next(&w->dice));
    lk_prng_init(&s->junk, lk_prng_next(&r));
    s->options = (sim_pair_options){.data = true, .ipv6 = below(&r, 4) == 0, .server_lite = below(&r, 4) == 0, .no_red = below(&r, 2)};
    s->options.both_controlling = !s->options.server_lite && below(&r, 6) == 0;
    s->options.client_behind_nat = !s->options.ipv6 && below(&r, 4) == 0;
    s->base = (sim_link){.delay = LK_MSEC(1 + below(&r, 100)), .jitter = LK_MSEC(below(&r, 20)), .loss = below(&r, 2) * below(&r, 50)};
    s->span = LK_SEC(1 + below(&r, 8));
    w->fault_count = below(&r, FAULTS_MAX + 1);
    for (unsigned i = 0; i < w->fault_count; i++) {
        storm_fault *f = &s->faults[i];
        f->kind = (storm_kind)below(&r, STORM_KINDS);
        f->links = 1 + below(&r, 3);
        f->at = LK_MSEC(below(&r, 8000));
        f->until = f->at + LK_MSEC(20 + below(&r, 5000));
        f->amount = 1 + below(&r, 1000);
    }
}

static void put_fault(sim_link *l, const storm_fault *f)
{
    switch (f->kind) {
    case STORM_LOSS: l->loss = LK_MAX(l->loss, f->amount * 300 / 1000); break;
    case STORM_BURST:
        l->burst = 1 + f->amount * 50 / 1000;
        l->burst_end = 100;
        break;
    case STORM_DELAY: l->delay += (lk_usec)f->amount * 400; break;
    case STORM_REORDER:
        l->reorder = f->amount * 300 / 1000;
        l->reorder_by = LK_MSEC(1 + f->amount * 200 / 1000);
        break;
    case STORM_DUPLICATE: l->duplicate = f->amount * 500 / 1000; break;
    case STORM_FLIP: l->flip = f->amount * 200 / 1000; break;
    case STORM_THIN:
        l->rate_bps = 40000 + f->amount * 500;
        l->queue_bytes = 8000;
        break;
    case STORM_MTU: l->mtu = 600 + f->amount * 600 / 1000; break;
    case STORM_OUTAGE: l->down = true; break;
    default: break;
    }
}

static void weather(sim_world *w, storm *s, lk_usec began)
{
    for (int i = 0; i < 2; i++) {
        sim_link now = s->base, *l = &w->links[i];
        for (unsigned k = 0; k < w->fault_count; k++) {
            const storm_fault *f = &s->faults[k];
            bool on = w->now >= began + f->at && w->now < began + f->until;
            if ((w->without >> k & 1) || !(f->links >> i & 1) || !on)
                continue;
            put_fault(&now, f);
            if (f->kind == STORM_REBIND && s->options.client_behind_nat)
                w->peers[0].outside.port = (uint16_t)(40001 + k);
            if (f->kind == STORM_SLEEP)
                w->peers[i].asleep_until = began + f->until;
            if (f->kind == STORM_JUNK)
                sim_junk(w, &s->junk, &w->peers[i], 1 + f->amount * 20 / 1000);
        }
        now.carried = l->carried;
        now.free_at = l->free_at;
        now.in_burst = l->in_burst && now.burst_end;
        *l = now;
    }
}

/* ---- numbered messages: length and bytes follow from the number -------------------------------------------------- */

static size_t message_of(uint8_t out[SIZE_MAX_BYTES], uint32_t number)
{
    lk_prng r;
    lk_prng_init(&r, number);
    size_t len = 4 + (below(&r, 8) ? below(&r, 200) : below(&r, SIZE_MAX_BYTES - 4));
    memset(out, (int)(number * 31 & 0xff), len);
    lk_put_u32(out, number);
    return len;
}

static bool first_time(uint8_t *seen, uint32_t number)
{
    if (number >= NUMBERS_MAX || (seen[number / 8] >> number % 8 & 1))
        return false;
    seen[number / 8] |= (uint8_t)(1u << number % 8);
    return true;
}

static void on_data(sim_peer *p, storm_side *mine, const lk_pc_event *e)
{
    sim_world *w = p->world;
    uint8_t want[SIZE_MAX_BYTES];
    uint32_t number = e->data.len >= 4 ? lk_get_u32(e->data.data) : UINT32_MAX;
    size_t len = message_of(want, number);
    sim_check(w, e->data.len == len && memcmp(e->data.data, want, len) == 0, "a message arrived changed");
    if (strcmp(e->text, labels[0]) == 0)
        sim_check(w, number == mine->arrived++, "a reliable message is lost, doubled or out of order");
    else
        sim_check(w, first_time(mine->lossy_seen, number), "a lossy message came twice");
}

static void on_event(sim_peer *p, const lk_pc_event *e)
{
    storm_side *mine = &((storm *)p->world->own)->sides[p->index];
    if (e->type == LK_PC_EV_CHANNEL) {
        int which = strcmp(e->text, labels[0]) != 0;
        sim_check(p->world, mine->open[which] != e->active, "a channel opened or closed twice");
        mine->open[which] = e->active;
        mine->channel[which] = e->index;
    } else if (e->type == LK_PC_EV_DATA) {
        on_data(p, mine, e);
    } else if (e->type == LK_PC_EV_RTP) {
        lk_rtp_red_block blocks[LK_RTP_RED_BLOCKS_MAX];
        lk_bytes payload = {e->packet.payload, e->packet.payload_len};
        size_t n = e->red ? lk_rtp_red_parse(blocks, payload) : 0;
        if (!sim_check(p->world, !e->red || n > 0, "redundancy that cannot be read"))
            return;
        payload = n ? blocks[n - 1].data : payload;
        if (payload.len == 0) /* padding */
            return;
        sim_check(p->world, payload.len == 60 && first_time(mine->media_seen, lk_get_u32(payload.data)), "media came twice or changed");
    }
}

/* ---- what the applications do ----------------------------------------------------------------------------------------- */

static void tell(sim_world *w, storm *s, int i)
{
    storm_side *mine = &s->sides[i];
    uint8_t bytes[SIZE_MAX_BYTES] = {0};
    if (mine->open[0] && lk_pc_send_data(w->peers[i].pc, w->now, mine->channel[0], bytes, message_of(bytes, mine->accepted), 0) == LK_OK)
        mine->accepted++;
}

static void say(sim_world *w, storm *s, bool data)
{
    for (int i = 0; i < 2; i++) {
        storm_side *mine = &s->sides[i];
        sim_peer *p = &w->peers[i];
        uint8_t bytes[SIZE_MAX_BYTES] = {0};
        if (p->asleep_until > w->now)
            continue;
        lk_put_u32(bytes, mine->media_sent);
        const lk_pc_media m = {.payload = bytes, .len = 60, .ts = mine->media_sent * 960, .has_level = true, .level = 30};
        if (mine->media_sent < NUMBERS_MAX && lk_pc_send(p->pc, w->now, p->send_section, &m) == LK_OK)
            mine->media_sent++;
        if (data && mine->media_sent % 3 == 0)
            tell(w, s, i);
        if (data && mine->open[1] && mine->lossy_sent < NUMBERS_MAX &&
            lk_pc_send_data(p->pc, w->now, mine->channel[1], bytes, message_of(bytes, mine->lossy_sent), 0) == LK_OK)
            mine->lossy_sent++;
    }
    sim_drain(w);
}

static bool settled(const sim_world *w)
{
    const storm *s = (const storm *)w->own;
    return sim_both_connected(w) && s->sides[0].open[0] && s->sides[1].open[0] && s->sides[0].accepted == s->sides[1].arrived &&
           s->sides[1].accepted == s->sides[0].arrived;
}

static void calm(sim_world *w, const storm *s)
{
    for (int i = 0; i < 2; i++) {
        w->links[i] = (sim_link){.delay = s->base.delay, .carried = w->links[i].carried};
        w->peers[i].asleep_until = 0;
    }
}

/* Of 25 packets each way all arrive; what the storm had swallowed may be resent among them. */
static void media_flows(sim_world *w, storm *s)
{
    uint32_t from[2];
    sim_run(w, w->now + LK_SEC(1), NULL);
    for (int i = 0; i < 2; i++)
        from[i] = s->sides[i].media_sent;
    for (int n = 0; n < 25; n++) {
        say(w, s, false);
        sim_run(w, w->now + SLICE, NULL);
    }
    sim_run(w, w->now + LK_SEC(1), NULL);
    for (int i = 0; i < 2; i++) {
        sim_check(w, s->sides[i].media_sent == from[i] + 25, "media is not taken after the storm");
        for (uint32_t k = from[i]; k < s->sides[i].media_sent; k++)
            sim_check(w, !first_time(s->sides[1 - i].media_seen, k), "media does not flow after the storm");
    }
}

void sim_storm(sim_world *w)
{
    static storm state;
    storm *s = &state;
    memset(s, 0, sizeof *s);
    w->own = s;
    draw(w, s);
    w->links[0] = w->links[1] = s->base;
    w->peers[0].on_event = w->peers[1].on_event = on_event;
    if (!sim_connect(w, &s->options))
        return;
    sim_run(w, LK_SEC(20), sim_both_connected);
    if (!SIM_CHECK(w, sim_both_connected(w)))
        return;
    lk_usec began = w->now, until = began + (w->span ? w->span : s->span);
    while (w->now < until && !w->why[0]) {
        weather(w, s, began);
        say(w, s, true);
        sim_run(w, w->now + SLICE, NULL);
    }
    calm(w, s);
    /* An address that changed while nothing was under way is learned with the next check: media has to flow from when this arrives. */
    for (int i = 0; i < 2; i++)
        tell(w, s, i);
    sim_drain(w);
    sim_run(w, w->now + LK_SEC(60), settled);
    SIM_CHECK(w, sim_both_connected(w));
    sim_check(w, settled(w), "what was accepted for reliable delivery did not arrive within a minute");
    media_flows(w, s);
    SIM_CHECK(w, w->peers[0].failed_at == LK_NEVER && w->peers[1].failed_at == LK_NEVER);
    lk_pc_close(w->peers[0].pc, w->now);
    sim_drain(w);
    sim_run(w, w->now + LK_SEC(2), NULL);
    SIM_CHECK(w, w->peers[1].closed_at != LK_NEVER);
}

/* ---- a call that lasts --------------------------------------------------------------------------------------------------- */

/* Media, data and statistics for an hour, or for w->span; what the cores hold after ten minutes is what they hold at
 * the end. */
void sim_long_call(sim_world *w)
{
    static storm state;
    storm *s = &state;
    size_t most = 0, now = 0;
    lk_usec until = w->span ? w->span : LK_SEC(3600);
    memset(s, 0, sizeof *s);
    w->own = s;
    w->links[0] = w->links[1] = (sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(5), .loss = 10};
    w->peers[0].on_event = w->peers[1].on_event = on_event;
    if (!sim_connect(w, &(sim_pair_options){.data = true}))
        return;
    for (unsigned n = 0; w->now < until && !w->why[0]; n++) {
        say(w, s, n % 5 == 0);
        for (int i = 0; i < 2; i++) /* numbers are used again: a day has more than are kept */
            if (s->sides[i].media_sent == NUMBERS_MAX) {
                sim_run(w, w->now + LK_SEC(2), NULL);
                s->sides[i].media_sent = s->sides[i].lossy_sent = 0;
                memset(s->sides[1 - i].media_seen, 0, sizeof s->sides[1 - i].media_seen);
                memset(s->sides[1 - i].lossy_seen, 0, sizeof s->sides[1 - i].lossy_seen);
            }
        if (n % 50 == 0) {
            lk_stats stats[LK_PC_STATS_MAX];
            SIM_CHECK(w, lk_pc_stats_all(w->peers[0].pc, w->now, stats, LK_LEN(stats)) > 0);
            now = sim_live_bytes();
            if (w->now < LK_SEC(600))
                most = LK_MAX(most, now);
            else
                sim_check(w, now <= most + 65536, "memory grows");
        }
        sim_run(w, w->now + SLICE, NULL);
    }
    sim_run(w, w->now + LK_SEC(10), settled);
    sim_check(w, settled(w), "reliable messages are missing");
    SIM_CHECK(w, w->peers[0].disconnected_at == LK_NEVER && w->peers[1].disconnected_at == LK_NEVER);
}
