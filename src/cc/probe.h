// SPDX-License-Identifier: Apache-2.0
/* cc/probe.h - does a path take more than is sent: padding beside the media until what leaves has the rate in question.
 * [draft-ietf-rmcat-gcc-02 s5]
 *
 * In:      the rate in question; what leaves; the estimator after each feedback; the passing of time.
 * Out:     when a packet of padding may leave; at the end what the path took.
 * Owner:   by value in the peer; the estimator stays the caller's. Loop thread. No allocation.
 * Limits:  one probe at a time, never above its goal and LK_PROBE_PADDING_MAX_BPS, at most LK_PROBE_SPAN_MAX_USEC long; it ends
 *          with the second feedback that shows a queue, or the first that made the estimator lower its rate.
 * Deviates: no short bursts: a bottleneck that lets bursts pass (a token bucket) would be believed. The rate doubles in half a
 *          second, slower on long paths, so that little waits in a queue by the time feedback tells of it.
 */
#pragma once
#include "cc/estimator.h"

#define LK_PROBE_PADDING 255u    /* bytes of padding a packet can have [RFC3550 s5.1] */
#define LK_PROBE_PADDING_MAX_BPS 5000000u
#define LK_PROBE_SPAN_MAX_USEC LK_SEC(5)

typedef enum lk_probe_state {
    LK_PROBE_IDLE,
    LK_PROBE_RUNNING,
    LK_PROBE_PASSED, /* what was sent up to the goal arrived, and nothing waited */
    LK_PROBE_FULL,   /* it did not */
} lk_probe_state;

typedef struct lk_probe {
    lk_probe_state state;
    double rate_bps, goal_bps, credit_bytes;
    lk_usec began_at, filled_at, reached_at, doubling_usec; /* reached_at: LK_NEVER before the goal is */
    lk_usec queue_usec, loss_at; /* of the estimator when it began */
    unsigned queued;    /* feedbacks in a row that showed a longer one */
    uint64_t took_bps;  /* PASSED: what the path carries; FULL: about what it let through at the end */
    uint64_t padded_bytes; /* ever */
} lk_probe;

void lk_probe_init(lk_probe *p);
/* From what is sent now to the goal. Does nothing while one runs. */
void lk_probe_start(lk_probe *p, lk_usec now, const lk_estimator *e, uint64_t from_bps, uint64_t goal_bps);
/* Media leaves: that much less padding does. */
void lk_probe_sent(lk_probe *p, lk_usec now, size_t bytes);
/* True: one packet with LK_PROBE_PADDING bytes of padding, so many bytes in all, leaves now. */
bool lk_probe_poll(lk_probe *p, lk_usec now, size_t bytes);
lk_usec lk_probe_deadline(const lk_probe *p); /* LK_NEVER while none runs */
/* After each feedback, and now and then: has it ended? */
lk_probe_state lk_probe_judge(lk_probe *p, lk_usec now, const lk_estimator *e);
void lk_probe_stop(lk_probe *p);
