// SPDX-License-Identifier: Apache-2.0
#include "cc/probe.h"

#define DOUBLING_USEC LK_MSEC(500)
#define DOUBLING_RTTS 3
#define FROM_MIN_BPS 30000.0
#define LN2 0.693147
#define CREDIT_USEC LK_MSEC(25) /* what timers may be late by is made up for */
#define DEBT_USEC LK_MSEC(100)  /* of media; a key frame does not silence the padding for longer */
#define WAKE_USEC LK_MSEC(5)
#define QUEUE_USEC LK_MSEC(40)
#define QUEUED_MAX 2u
#define QUEUE_DEEP_USEC LK_MSEC(150) /* no need to see it twice */
#define SETTLE_USEC LK_SEC(1) /* at the goal: a tenth too much makes a queue of 100 ms of it */
#define ARRIVED_MIN 0.9       /* of the goal: the meter is half a second long and coarse */

void lk_probe_init(lk_probe *p)
{
    *p = (lk_probe){.reached_at = LK_NEVER};
}

void lk_probe_start(lk_probe *p, lk_usec now, const lk_estimator *e, uint64_t from_bps, uint64_t goal_bps)
{
    if (p->state == LK_PROBE_RUNNING || goal_bps == 0)
        return;
    double from = LK_MAX((double)from_bps, FROM_MIN_BPS);
    p->state = LK_PROBE_RUNNING;
    p->goal_bps = LK_MIN((double)goal_bps, (double)from_bps + LK_PROBE_PADDING_MAX_BPS);
    p->rate_bps = LK_MIN(from, p->goal_bps);
    p->credit_bytes = 0;
    p->began_at = p->filled_at = now;
    p->reached_at = LK_NEVER;
    p->doubling_usec = LK_MAX(DOUBLING_USEC, DOUBLING_RTTS * lk_estimator_rtt_usec(e));
    p->queue_usec = e->queue_usec;
    p->loss_at = e->loss_at;
    p->queued = 0;
    p->took_bps = 0;
}

void lk_probe_stop(lk_probe *p) { p->state = LK_PROBE_IDLE; }

static void fill(lk_probe *p, lk_usec now)
{
    lk_usec passed = LK_CLAMP(now - p->filled_at, 0, LK_MSEC(100));
    p->filled_at = LK_MAX(now, p->filled_at);
    p->rate_bps = LK_MIN(p->rate_bps * (1 + LN2 * (double)passed / (double)p->doubling_usec), p->goal_bps);
    if (p->rate_bps >= p->goal_bps && p->reached_at == LK_NEVER)
        p->reached_at = now;
    double byte_usec = p->rate_bps / 8e6, most = LK_MAX(byte_usec * CREDIT_USEC, 2.0 * LK_PROBE_PADDING);
    p->credit_bytes = LK_MIN(p->credit_bytes + byte_usec * (double)passed, most);
}

void lk_probe_sent(lk_probe *p, lk_usec now, size_t bytes)
{
    if (p->state != LK_PROBE_RUNNING)
        return;
    fill(p, now);
    p->credit_bytes = LK_MAX(p->credit_bytes - (double)bytes, -p->rate_bps / 8e6 * DEBT_USEC);
}

bool lk_probe_poll(lk_probe *p, lk_usec now, size_t bytes)
{
    if (p->state != LK_PROBE_RUNNING)
        return false;
    fill(p, now);
    if (p->credit_bytes < (double)bytes)
        return false;
    p->credit_bytes -= (double)bytes;
    p->padded_bytes += bytes;
    return true;
}

lk_usec lk_probe_deadline(const lk_probe *p)
{
    if (p->state != LK_PROBE_RUNNING)
        return LK_NEVER;
    double missing = 2.0 * LK_PROBE_PADDING - p->credit_bytes;
    return p->filled_at + LK_CLAMP((lk_usec)(missing * 8e6 / p->rate_bps), WAKE_USEC, LK_MSEC(100));
}

lk_probe_state lk_probe_judge(lk_probe *p, lk_usec now, const lk_estimator *e)
{
    if (p->state != LK_PROBE_RUNNING)
        return p->state;
    bool longer = e->queue_usec > p->queue_usec + QUEUE_USEC;
    p->queued = longer && e->feedback_at == now ? p->queued + 1 : longer ? p->queued : 0;
    bool full = p->queued >= QUEUED_MAX || e->queue_usec > p->queue_usec + QUEUE_DEEP_USEC || e->lowered_at > p->began_at || (e->loss_testing && e->loss_at != p->loss_at);
    bool settled = p->reached_at != LK_NEVER && now >= p->reached_at + SETTLE_USEC + lk_estimator_rtt_usec(e);
    bool over = now >= p->began_at + LK_PROBE_SPAN_MAX_USEC;
    if (!full && !settled && !over)
        return p->state;
    uint64_t arrived = lk_rate_meter_bps(&e->acked), sent = lk_rate_meter_bps(&e->sent);
    bool passed = !full && settled && (double)arrived >= ARRIVED_MIN * LK_MIN((double)sent, p->goal_bps);
    if (passed) /* timers may have been too late for all of it */
        p->took_bps = (double)arrived >= ARRIVED_MIN * p->goal_bps ? (uint64_t)p->goal_bps : arrived;
    else
        p->took_bps = LK_MIN(lk_rate_meter_late_bps(&e->acked), arrived * 9 / 8); /* the rate grew under the longer one */
    p->state = passed ? LK_PROBE_PASSED : LK_PROBE_FULL;
    return p->state;
}
