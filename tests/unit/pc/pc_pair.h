// SPDX-License-Identifier: Apache-2.0
/* Two peer connections in memory: `a` offers as a client does, `b` answers as a server does. Time is virtual, the way
 * between them takes 10 ms and loses every lose_every-th datagram of media. */
#pragma once
#include "lk_test.h"
#include "pc/pc.h"

#define PAIR_AIR_MAX 256
#define PAIR_HEARD_MAX 512

typedef struct pair_side {
    lk_pc *pc;
    lk_addr address;
    lk_pc_state states[16];
    size_t state_count, candidates, tracks_on, tracks_off, rtp;
    char stream[LK_PC_ID_MAX], track[LK_PC_ID_MAX]; /* of the last TRACK */
    uint32_t track_index, rtp_index, rtp_ssrc;
    lk_err err;
    bool heard[PAIR_HEARD_MAX]; /* by the number in the payload */
} pair_side;

typedef struct pair_flying {
    lk_usec at;
    int to;
    size_t len;
    uint8_t data[1500];
} pair_flying;

typedef struct pair {
    lk_dtls_context *dtls[2];
    pair_side side[2];
    lk_usec now;
    unsigned lose_every, carried;
    bool cut;
    pair_flying air[PAIR_AIR_MAX];
    size_t air_count;
    lk_text offer, answer;
    const char *why;
} pair;

static inline void pair_events(pair *p, int i)
{
    pair_side *s = &p->side[i];
    lk_pc_event e;
    while (lk_pc_poll_event(s->pc, &e)) {
        if (e.type == LK_PC_EV_STATE) {
            if (s->state_count < LK_LEN(s->states))
                s->states[s->state_count++] = e.state;
            s->err = e.err;
        } else if (e.type == LK_PC_EV_CANDIDATE) {
            s->candidates++;
            (void)!lk_pc_add_remote_candidate(p->side[1 - i].pc, p->now, e.text, strlen(e.text));
        } else if (e.type == LK_PC_EV_TRACK) {
            e.active ? s->tracks_on++ : s->tracks_off++;
            s->track_index = e.index;
            (void)lk_str_copy(s->stream, sizeof s->stream, lk_str_of(e.stream));
            (void)lk_str_copy(s->track, sizeof s->track, lk_str_of(e.track));
        } else if (e.type == LK_PC_EV_RTP) {
            s->rtp++;
            s->rtp_index = e.index;
            s->rtp_ssrc = e.packet.ssrc;
            if (!e.red && e.packet.payload_len >= 2 && lk_get_u16(e.packet.payload) < PAIR_HEARD_MAX)
                s->heard[lk_get_u16(e.packet.payload)] = true;
        }
    }
}

static inline void pair_drain(pair *p)
{
    for (int i = 0; i < 2; i++) {
        lk_datagram d;
        pair_events(p, i);
        while (lk_pc_poll_tx(p->side[i].pc, p->now, &d)) {
            bool media = d.len && d.data[0] >= 128;
            if (p->cut || !lk_addr_eq(&d.remote, &p->side[1 - i].address) || p->air_count == PAIR_AIR_MAX)
                continue;
            if (media && p->lose_every && ++p->carried % p->lose_every == 0)
                continue;
            pair_flying *f = &p->air[p->air_count++];
            *f = (pair_flying){.at = p->now + LK_MSEC(10), .to = 1 - i, .len = d.len};
            memcpy(f->data, d.data, d.len);
        }
        pair_events(p, i);
    }
}

static inline void pair_run(pair *p, lk_usec span)
{
    const lk_usec until = p->now + span;
    for (int guard = 0; p->now < until && CHECK(guard < 100000); guard++) {
        lk_usec at = until;
        for (int i = 0; i < 2; i++) {
            lk_usec due = lk_pc_deadline(p->side[i].pc);
            at = LK_MIN(at, due);
        }
        for (size_t i = 0; i < p->air_count; i++)
            at = LK_MIN(at, p->air[i].at);
        p->now = LK_MAX(at, p->now);
        for (size_t i = 0; i < p->air_count;) {
            if (p->air[i].at > p->now) {
                i++;
                continue;
            }
            pair_flying f = p->air[i];
            memmove(&p->air[i], &p->air[i + 1], (p->air_count - i - 1) * sizeof f);
            p->air_count--;
            const lk_datagram d = {.local = p->side[f.to].address, .remote = p->side[1 - f.to].address, .data = f.data, .len = f.len};
            lk_pc_input(p->side[f.to].pc, p->now, &d);
            pair_drain(p);
        }
        for (int i = 0; i < 2; i++)
            if (lk_pc_deadline(p->side[i].pc) <= p->now)
                lk_pc_tick(p->side[i].pc, p->now);
        pair_drain(p);
    }
}

static inline bool pair_open(pair *p, lk_env *env)
{
    memset(p, 0, sizeof *p);
    p->now = LK_SEC(100);
    p->why = "";
    lk_text_init(&p->offer, env, 4u << 20);
    lk_text_init(&p->answer, env, 4u << 20);
    bool ok = CHECK_OK(lk_dtls_context_new(&p->dtls[0], env)) && CHECK_OK(lk_dtls_context_new(&p->dtls[1], env));
    for (int i = 0; ok && i < 2; i++) {
        p->side[i].address = lk_addr_v4(10, 0, 0, (uint8_t)(1 + i), (uint16_t)(5000 + i));
        ok = CHECK_OK(lk_pc_new(&p->side[i].pc, env, &(lk_pc_config){.dtls = p->dtls[i], .controlling = i == 0, .unix_usec = 1700000000000000}, p->now));
    }
    return ok;
}

static inline void pair_close(pair *p)
{
    lk_pc_free(p->side[0].pc);
    lk_pc_free(p->side[1].pc);
    lk_text_deinit(&p->offer);
    lk_text_deinit(&p->answer);
    lk_dtls_context_free(p->dtls[0]);
    lk_dtls_context_free(p->dtls[1]);
}

static inline bool pair_add(pair *p, int i, lk_pc_direction direction, const char *track, uint32_t *index)
{
    const lk_pc_section s = {.kind = LK_MEDIA_KIND_AUDIO, .direction = direction, .stream = "stream", .track = track};
    return CHECK_OK(lk_pc_add_section(p->side[i].pc, &s, index));
}

/* a offers, b answers, and nobody has heard of it. */
static inline bool pair_offer(pair *p)
{
    lk_text_clear(&p->offer);
    lk_text_clear(&p->answer);
    return CHECK_OK(lk_pc_create_offer(p->side[0].pc, p->now, &p->offer)) &&
           CHECK_OK(lk_pc_accept_offer(p->side[1].pc, p->now, p->offer.p, p->offer.len, &p->answer, &p->why));
}

/* One round. */
static inline bool pair_negotiate(pair *p)
{
    bool ok = pair_offer(p) &&
              CHECK_OK(lk_pc_set_answer(p->side[0].pc, p->now, p->answer.p, p->answer.len, &p->why));
    if (ok)
        pair_drain(p);
    return ok;
}

static inline bool pair_connect(pair *p)
{
    bool ok = pair_negotiate(p);
    for (int i = 0; ok && i < 2; i++)
        ok = CHECK_OK(lk_pc_add_local_address(p->side[i].pc, p->now, &p->side[i].address));
    if (ok) {
        pair_drain(p);
        pair_run(p, LK_SEC(2));
    }
    return ok && CHECK_EQ(lk_pc_state_of(p->side[0].pc), LK_PC_STATE_CONNECTED) && CHECK_EQ(lk_pc_state_of(p->side[1].pc), LK_PC_STATE_CONNECTED);
}

/* Packets number first .. first + count - 1, 20 ms apart. */
static inline void pair_say(pair *p, int i, uint32_t section, unsigned first, unsigned count)
{
    for (unsigned n = first; n < first + count; n++) {
        uint8_t payload[40] = {0};
        lk_put_u16(payload, (uint16_t)n);
        const lk_pc_media m = {.payload = payload, .len = sizeof payload, .ts = 960 * n, .has_level = true, .voice = true, .level = 20};
        CHECK_OK(lk_pc_send(p->side[i].pc, p->now, section, &m));
        pair_drain(p);
        pair_run(p, LK_MSEC(20));
    }
}

static inline unsigned pair_heard(const pair_side *s, unsigned first, unsigned count)
{
    unsigned n = 0;
    for (unsigned i = first; i < first + count; i++)
        n += s->heard[i];
    return n;
}
