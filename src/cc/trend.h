// SPDX-License-Identifier: Apache-2.0
/* cc/trend.h - is the queue on the path growing: one-way delay of packet groups, its trend, an adaptive threshold.
 * [draft-ietf-rmcat-gcc-02 s5]
 *
 * In:      when a packet left and when it arrived, in the order of sending; the two clocks need not agree.
 * Out:     normal, overuse (delay grows), underuse (a queue is being drained).
 * Owner:   by value in lk_estimator. No allocation.
 * Limits:  the last 20 groups.
 * Deviates: a straight line through the smoothed delay instead of the draft's Kalman filter, as implementations do.
 */
#pragma once
#include "base/lk_base.h"

#define LK_TREND_POINTS 20u

typedef enum lk_trend_state {
    LK_TREND_NORMAL,
    LK_TREND_OVERUSE,
    LK_TREND_UNDERUSE,
} lk_trend_state;

typedef struct lk_trend {
    bool open; /* a group is being collected */
    lk_usec first_sent_at, sent_at, first_arrived_at, arrived_at; /* of that group */
    lk_usec zero_sent_at, zero_arrived_at; /* where the axes start */
    lk_usec last_sent_at, last_arrived_at; /* of the group before */
    double x_msec[LK_TREND_POINTS], y_msec[LK_TREND_POINTS]; /* arrival, smoothed delay; ring */
    uint32_t points; /* ever since the last restart */
    double smoothed_msec, slope, threshold_msec, over_msec;
    uint32_t over_groups;
    lk_trend_state state;
} lk_trend;

void lk_trend_init(lk_trend *t);
/* One packet that arrived. A packet sent before the group in hand is ignored: reordering is no delay. */
void lk_trend_input(lk_trend *t, lk_usec sent_at, lk_usec arrived_at);
