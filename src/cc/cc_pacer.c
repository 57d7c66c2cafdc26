// SPDX-License-Identifier: Apache-2.0
#include "cc/pacer.h"

#define BYTE_USEC 8000000u      /* one byte at one bit per second */
#define RATE_MAX 10000000000u   /* keeps the products below in 64 bits */
#define DEBT_USEC LK_MSEC(100)
#define QUEUE_DRAIN_SECONDS 2u  /* what waits is out after this time, whatever the rate */

typedef struct queued {
    void *packet;
    size_t bytes;
} queued;

void lk_pacer_init(lk_pacer *p, const lk_env *env, const lk_pacer_config *config, lk_usec now)
{
    static const uint32_t packets_max[LK_PACER_CLASSES] = {128, 256, 2048, 64};
    *p = (lk_pacer){.refilled_at = now, .burst_at = LK_NEVER, .rate_bps = config ? LK_MIN(config->rate_bps, RATE_MAX) : 0,
                     .burst_usec = config && config->burst_usec ? config->burst_usec : LK_PACER_BURST_USEC};
    for (size_t i = 0; i < LK_PACER_CLASSES; i++) {
        uint32_t max = config && config->packets_max[i] ? config->packets_max[i] : packets_max[i];
        lk_queue_init(&p->queues[i], env, sizeof(queued), max);
    }
}

void lk_pacer_deinit(lk_pacer *p)
{
    for (size_t i = 0; i < LK_PACER_CLASSES; i++)
        lk_queue_deinit(&p->queues[i]);
}

static uint64_t effective_bps(const lk_pacer *p)
{
    return LK_MIN(LK_MAX(p->rate_bps, p->queued_bytes * 8 / QUEUE_DRAIN_SECONDS), RATE_MAX);
}

static int64_t bytes_in(const lk_pacer *p, lk_usec time)
{
    return (int64_t)(effective_bps(p) * (uint64_t)time / BYTE_USEC);
}

static void refill(lk_pacer *p, lk_usec now)
{
    if (now <= p->refilled_at)
        return;
    uint64_t passed = (uint64_t)LK_MIN(now - p->refilled_at, LK_SEC(1)), rate = effective_bps(p);
    uint64_t credit = rate * passed + p->part;
    int64_t most = bytes_in(p, p->burst_usec + LK_PACER_WAKE_USEC);
    p->part = credit % BYTE_USEC;
    p->budget_bytes = LK_MIN(p->budget_bytes + (int64_t)(credit / BYTE_USEC), LK_MAX(most, 1));
    p->refilled_at = now;
}

void lk_pacer_set_rate(lk_pacer *p, lk_usec now, uint64_t rate_bps)
{
    refill(p, now);
    p->rate_bps = LK_MIN(rate_bps, RATE_MAX);
}

lk_err lk_pacer_push(lk_pacer *p, lk_usec now, lk_pacer_class c, void *packet, size_t bytes)
{
    queued q = {packet, bytes};
    refill(p, now);
    lk_err err = lk_queue_push(&p->queues[c], &q);
    if (err == LK_OK && c != LK_PACER_AUDIO)
        p->queued_bytes += bytes;
    return err;
}

/* A burst lasts until the next wake-up is allowed, whoever wakes us before. */
static bool in_burst(const lk_pacer *p)
{
    return p->burst_at != LK_NEVER && p->refilled_at - p->burst_at < LK_PACER_WAKE_USEC;
}

/* The first packet of a burst leaves on any budget, as a full one may be more than is ever kept; the others have to fit
 * into the burst. */
static bool may_send(const lk_pacer *p, size_t c)
{
    if (c == LK_PACER_AUDIO || p->rate_bps == 0)
        return true;
    lk_queue q = p->queues[c];
    const queued *next = lk_queue_peek(&q, 0);
    return p->budget_bytes > 0 && next &&
           (!in_burst(p) || p->burst_bytes + (int64_t)next->bytes <= bytes_in(p, p->burst_usec));
}

static void take(lk_pacer *p, size_t c, void **packet)
{
    queued q;
    if (!lk_queue_pop(&p->queues[c], &q))
        return;
    /* Audio beyond the rate is not to be paid for long after: the debt it makes is bounded. */
    int64_t least = LK_MIN(p->budget_bytes, -bytes_in(p, DEBT_USEC));
    p->budget_bytes -= (int64_t)q.bytes;
    if (c == LK_PACER_AUDIO)
        p->budget_bytes = LK_MAX(p->budget_bytes, least);
    if (c != LK_PACER_AUDIO) {
        p->queued_bytes -= q.bytes;
        if (!in_burst(p)) {
            p->burst_at = p->refilled_at;
            p->burst_bytes = 0;
        }
        p->burst_bytes += (int64_t)q.bytes;
    }
    *packet = q.packet;
}

bool lk_pacer_poll(lk_pacer *p, lk_usec now, lk_pacer_class *c, void **packet)
{
    refill(p, now);
    for (size_t i = 0; i < LK_PACER_CLASSES; i++) {
        if (p->queues[i].count == 0)
            continue;
        if (!may_send(p, i))
            return false;
        take(p, i, packet);
        if (p->rate_bps == 0)
            p->budget_bytes = 0;
        *c = (lk_pacer_class)i;
        return true;
    }
    return false;
}

bool lk_pacer_pop(lk_pacer *p, void **packet)
{
    for (size_t i = 0; i < LK_PACER_CLASSES; i++) {
        if (p->queues[i].count) {
            take(p, i, packet);
            return true;
        }
    }
    return false;
}

lk_usec lk_pacer_deadline(const lk_pacer *p)
{
    for (size_t i = 0; i < LK_PACER_CLASSES; i++) {
        if (p->queues[i].count == 0)
            continue;
        if (may_send(p, i))
            return p->refilled_at;
        lk_usec at = in_burst(p) ? p->burst_at + LK_PACER_WAKE_USEC : p->refilled_at;
        if (p->budget_bytes > 0)
            return at;
        uint64_t rate = effective_bps(p), need = ((uint64_t)(1 - p->budget_bytes) * BYTE_USEC - p->part + rate - 1) / rate;
        return LK_MAX(at, p->refilled_at + LK_MAX((lk_usec)need, LK_PACER_WAKE_USEC));
    }
    return LK_NEVER;
}

size_t lk_pacer_count(const lk_pacer *p)
{
    size_t n = 0;
    for (size_t i = 0; i < LK_PACER_CLASSES; i++)
        n += p->queues[i].count;
    return n;
}
