// SPDX-License-Identifier: Apache-2.0
/* cc/estimator.h - how many bits per second the path to the peer takes: delay and loss of what was sent.
 * [draft-ietf-rmcat-gcc-02] [RFC8888]
 *
 * In:      what leaves; per packet what feedback said (cc/twcc.h); receiver reports, REMB; the passing of time.
 * Out:     a target bit rate for everything under transport-wide numbers, headers included.
 * Owner:   by value in the peer connection. Loop thread. No allocation.
 * Limits:  rates are kept within the config, which is clamped to 10 kbit/s .. 1 Gbit/s.
 * Deviates: loss alone lowers the rate only while sending less lessens it: what stays is the path's own (radio) and is
 *          no congestion. Growth doubles in a second until the first overuse and quickens again the longer none is seen.
 */
#pragma once
#include "cc/trend.h"
#include "cc/twcc.h"

#define LK_RATE_METER_BUCKETS 10u

/* Bytes over the last half second of some clock. */
typedef struct lk_rate_meter {
    uint32_t bytes[LK_RATE_METER_BUCKETS];
    bool started;
    int64_t head; /* bucket of the newest */
    lk_usec first, last;
} lk_rate_meter;
void lk_rate_meter_add(lk_rate_meter *m, lk_usec at, size_t bytes); /* older than the window: ignored */
/* 0 until there is a quarter of a second to judge by. */
uint64_t lk_rate_meter_bps(const lk_rate_meter *m);
/* Of the last quarter of a second alone, the newest twentieth left out: what a queue lets through just now. */
uint64_t lk_rate_meter_late_bps(const lk_rate_meter *m);

typedef struct lk_loss_meter {
    int32_t told[LK_RATE_METER_BUCKETS], lost[LK_RATE_METER_BUCKETS]; /* 100 ms each */
    int64_t head;
    bool started;
    uint16_t newest; /* sequence number */
} lk_loss_meter;

typedef struct lk_estimator_config {
    uint64_t start_bps, min_bps, max_bps; /* 0: 300,000, 30,000, 100,000,000 */
} lk_estimator_config;

typedef struct lk_estimator {
    const lk_env *env;
    double min_bps, max_bps, target_bps;
    double capacity_bps; /* what the path took when it was last too much; 0: not known */
    double pace;         /* growth per second while the capacity is not known */
    uint64_t remb_bps, demand_bps; /* 0: none */
    lk_usec remb_at, adapted_at, lowered_at, calm_at; /* calm_at: since when nothing was too much */
    lk_trend trend;
    lk_rate_meter sent, acked;
    lk_loss_meter loss;
    lk_usec base_delay_usec, base_before_usec, base_at; /* least one-way delay, this period and the one before */
    lk_usec queue_usec, queue_at; /* what the last feedback's delay had above that; since when it is long and still */
    double loss_own, loss_tested, loss_rate_bps; /* the path's own share; under test since, at which rate */
    lk_usec loss_at, loss_proved_at;             /* not judged before; seen to be congestion */
    bool loss_testing;
    lk_usec rtt_usec, feedback_at, report_at, silent_at; /* silent_at: when the target falls next */
} lk_estimator;

void lk_estimator_init(lk_estimator *e, const lk_env *env, const lk_estimator_config *config, lk_usec now);
/* A packet leaves whose loss or delay the peer will tell of; bytes as given to lk_twcc_history_send where it has a number. */
void lk_estimator_sent(lk_estimator *e, lk_usec now, size_t bytes);
/* What one feedback packet told, in the order of sending; results as lk_twcc_history_feedback gives them. */
void lk_estimator_feedback(lk_estimator *e, lk_usec now, const lk_twcc_result *results, size_t count);
/* Loss (of 256) and round trip (0: not known) of a receiver report. The loss counts on paths without transport feedback. */
void lk_estimator_report(lk_estimator *e, lk_usec now, uint8_t fraction_lost, lk_usec rtt_usec);
/* An upper bound the peer set; forgotten after 10 s. */
void lk_estimator_remb(lk_estimator *e, lk_usec now, uint64_t bps);
/* What the application wants to send at most, 0: no limit. Growth far above it is not tried. */
void lk_estimator_set_demand(lk_estimator *e, lk_usec now, uint64_t bps);
/* A sender that does not follow the target (it forwards what others encode) says what it is about to send: more than that was
 * never tried, so the target has to start from there. Both ways. */
void lk_estimator_assume(lk_estimator *e, uint64_t bps);
/* Silence of the peer: the target halves every second in which packets leave and nothing is heard (where transport feedback never
 * came, reports are waited for: after 3 s). */
void lk_estimator_tick(lk_estimator *e, lk_usec now);
lk_usec lk_estimator_deadline(const lk_estimator *e); /* LK_NEVER when nothing waits for feedback */
uint64_t lk_estimator_target_bps(const lk_estimator *e);
/* Of the packets told about in the last second, of 256. */
uint8_t lk_estimator_loss(const lk_estimator *e);
lk_usec lk_estimator_rtt_usec(const lk_estimator *e); /* 0: not measured */
