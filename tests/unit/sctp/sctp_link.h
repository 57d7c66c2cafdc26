// SPDX-License-Identifier: Apache-2.0
/* tests/unit/sctp/sctp_link.h - two associations and a bad network between them, in virtual time. */
#pragma once
#include <stdlib.h>

#include "lk_test.h"
#include "sctp/sctp.h"

#define LINK_PACKETS_MAX 8192
#define LINK_MTU_MAX 2048
#define LINK_STREAMS 16

typedef struct link_packet {
    lk_usec at;
    uint64_t order;
    int to;
    size_t len;
    uint8_t data[LINK_MTU_MAX];
} link_packet;

typedef struct link_side {
    lk_sctp *s;
    bool connected;
    int closed;
    lk_err closed_err;
    uint32_t next[LINK_STREAMS];          /* number the next ordered message must have */
    size_t messages, bytes, bad, resets;  /* bad: out of order, twice or spoilt */
    uint16_t last_reset;
    lk_usec last_message_at, longest_gap, delay_sum;
    uint8_t seen[65536 / 8];              /* unordered ones, by number */
    void (*on_message)(struct link_side *side, const lk_sctp_message *m);
} link_side;

typedef struct sctp_world {
    lk_env *env;
    lk_prng dice;
    lk_usec now, delay, jitter;
    unsigned loss_permille, twice_permille;
    size_t rate_bytes_per_sec; /* 0: no bottleneck */
    lk_usec free_at[2], queue_max; /* of the bottleneck */
    size_t dropped, carried, mtu_seen, allocations;
    uint64_t order;
    link_side side[2];
    link_packet *heap[LINK_PACKETS_MAX];
    size_t count;
    bool cut; /* nothing arrives */
} sctp_world;

/* Messages of the tests: number, then bytes that follow from it. */
static inline size_t link_message(uint8_t *out, size_t len, uint32_t number, lk_usec now)
{
    lk_wr w = lk_wr_of(out, len);
    lk_wr_u32(&w, number);
    lk_wr_u64(&w, (uint64_t)now);
    for (size_t i = w.len; i < len; i++)
        out[i] = (uint8_t)(number * 7 + i);
    return len;
}

static inline void link_check_message(sctp_world *w, link_side *side, const lk_sctp_message *m)
{
    lk_rd r = lk_rd_of(m->data, m->len);
    uint32_t number = lk_rd_u32(&r);
    lk_usec sent_at = (lk_usec)lk_rd_u64(&r);
    side->messages++;
    side->bytes += m->len;
    side->longest_gap = LK_MAX(side->longest_gap, w->now - side->last_message_at);
    side->last_message_at = w->now;
    side->delay_sum += w->now - sent_at;
    for (size_t i = 12; i < m->len; i++) {
        if (m->data[i] != (uint8_t)(number * 7 + i)) {
            side->bad++;
            return;
        }
    }
    if (m->unordered) {
        uint32_t bit = number % 65536;
        side->bad += (side->seen[bit / 8] >> (bit % 8)) & 1;
        side->seen[bit / 8] = (uint8_t)(side->seen[bit / 8] | (1 << (bit % 8)));
    } else {
        side->bad += number < side->next[m->stream % LINK_STREAMS];
        side->next[m->stream % LINK_STREAMS] = number + 1;
    }
}

static inline sctp_world *link_new(lk_env *env, uint64_t seed, const lk_sctp_config *config)
{
    sctp_world *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->env = env;
    w->now = LK_SEC(1);
    lk_prng_init(&w->dice, seed);
    for (int i = 0; i < 2; i++)
        if (lk_sctp_new(&w->side[i].s, env, config, w->now) != LK_OK)
            w->side[i].s = NULL;
    return w;
}

static inline void link_free(sctp_world *w)
{
    for (int i = 0; i < 2; i++)
        lk_sctp_free(w->side[i].s);
    for (size_t i = 0; i < w->count; i++)
        free(w->heap[i]);
    free(w);
}

static inline bool link_is_up(const sctp_world *w) { return w->side[0].s && w->side[1].s; }

static inline void link_add(sctp_world *w, int to, lk_usec at, const uint8_t *data, size_t len)
{
    if (w->count == LINK_PACKETS_MAX || len > LINK_MTU_MAX) {
        w->dropped++;
        return;
    }
    link_packet *p = malloc(sizeof *p);
    if (!p)
        abort();
    p->at = at;
    p->order = w->order++;
    p->to = to;
    p->len = len;
    memcpy(p->data, data, len);
    size_t i = w->count++;
    for (; i > 0; i = (i - 1) / 2) { /* a heap by time of arrival */
        link_packet *up = w->heap[(i - 1) / 2];
        if (up->at < at || (up->at == at && up->order < p->order))
            break;
        w->heap[i] = up;
    }
    w->heap[i] = p;
}

static inline bool link_before(const link_packet *a, const link_packet *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static inline link_packet *link_take(sctp_world *w)
{
    link_packet *first = w->heap[0], *last = w->heap[--w->count];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= w->count)
            break;
        if (k + 1 < w->count && link_before(w->heap[k + 1], w->heap[k]))
            k++;
        if (link_before(last, w->heap[k]))
            break;
        w->heap[i] = w->heap[k];
        i = k;
    }
    w->heap[i] = last;
    return first;
}

static inline bool link_chance(sctp_world *w, unsigned permille) { return lk_prng_next(&w->dice) % 1000 < permille; }

static inline void link_carry(sctp_world *w, int to, const uint8_t *data, size_t len)
{
    lk_usec at = w->now + w->delay;
    w->mtu_seen = LK_MAX(w->mtu_seen, len);
    if (w->cut || link_chance(w, w->loss_permille)) {
        w->dropped++;
        return;
    }
    if (w->rate_bytes_per_sec) {
        lk_usec start = LK_MAX(w->free_at[to], w->now);
        if (start - w->now > w->queue_max) {
            w->dropped++;
            return;
        }
        w->free_at[to] = start + (lk_usec)(len * 1000000 / w->rate_bytes_per_sec);
        at = w->free_at[to] + w->delay;
    }
    w->carried++;
    for (int copies = 1 + link_chance(w, w->twice_permille); copies; copies--) {
        lk_usec late = w->jitter ? (lk_usec)(lk_prng_next(&w->dice) % (uint64_t)w->jitter) : 0;
        link_add(w, to, at + late, data, len);
    }
}

static inline void link_drain(sctp_world *w)
{
    for (int i = 0; i < 2; i++) {
        link_side *side = &w->side[i];
        lk_sctp_event e;
        lk_bytes p;
        while (lk_sctp_poll_event(side->s, &e)) {
            side->connected |= e.type == LK_SCTP_EV_CONNECTED;
            if (e.type == LK_SCTP_EV_STREAM_RESET) {
                side->resets++;
                side->last_reset = e.stream;
                side->next[e.stream % LINK_STREAMS] = 0;
            } else if (e.type == LK_SCTP_EV_CLOSED) {
                side->closed++;
                side->closed_err = e.err;
            } else if (e.type == LK_SCTP_EV_MESSAGE && side->on_message) {
                side->on_message(side, &e.message);
            } else if (e.type == LK_SCTP_EV_MESSAGE) {
                link_check_message(w, side, &e.message);
            }
        }
        while (lk_sctp_poll_tx(side->s, w->now, &p))
            link_carry(w, !i, p.data, p.len);
    }
}

static inline lk_usec link_next(const sctp_world *w)
{
    lk_usec at = LK_MIN(lk_sctp_deadline(w->side[0].s), lk_sctp_deadline(w->side[1].s));
    return w->count ? LK_MIN(at, w->heap[0]->at) : at;
}

/* One step of the world; false when nothing is left to happen before `until`. */
static inline bool link_step(sctp_world *w, lk_usec until)
{
    link_drain(w);
    lk_usec at = link_next(w);
    if (at > until) {
        w->now = LK_MAX(w->now, until == LK_NEVER ? w->now : until);
        return false;
    }
    w->now = LK_MAX(w->now, at);
    while (w->count && w->heap[0]->at <= w->now) {
        link_packet *p = link_take(w);
        lk_sctp_input(w->side[p->to].s, w->now, p->data, p->len);
        free(p);
        link_drain(w);
    }
    for (int i = 0; i < 2; i++)
        if (lk_sctp_deadline(w->side[i].s) <= w->now)
            lk_sctp_tick(w->side[i].s, w->now);
    return true;
}

static inline void link_run(sctp_world *w, lk_usec duration)
{
    lk_usec until = w->now + duration;
    while (link_step(w, until)) {
    }
}

/* Until nothing is pending, at most `limit`. */
static inline bool link_settle(sctp_world *w, lk_usec limit)
{
    lk_usec until = w->now + limit;
    while (w->now < until) {
        link_drain(w);
        if (link_next(w) == LK_NEVER)
            return true;
        (void)link_step(w, until);
    }
    return false;
}

/* False only where memory was refused. */
static inline bool link_connect(sctp_world *w)
{
    if (!link_is_up(w) || lk_sctp_connect(w->side[0].s, w->now) != LK_OK)
        return false;
    lk_usec until = w->now + LK_SEC(60);
    while (w->now < until && !(w->side[0].connected && w->side[1].connected) && link_step(w, until)) {
    }
    return w->side[0].connected && w->side[1].connected;
}

static inline lk_err link_send(sctp_world *w, int from, uint32_t number, size_t len, lk_sctp_message m)
{
    static uint8_t buffer[LK_SCTP_MESSAGE_MAX];
    m.data = buffer;
    m.len = link_message(buffer, len, number, w->now);
    if (!m.ppid)
        m.ppid = 53;
    return lk_sctp_send(w->side[from].s, w->now, &m);
}
