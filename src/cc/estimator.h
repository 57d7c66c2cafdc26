// SPDX-License-Identifier: Apache-2.0
/* cc/estimator.h - how many bits per second the path to the peer takes: delay and loss of what was sent.
 * [draft-ietf-rmcat-gcc-02] [RFC8888]
 *
 * In:      per packet what feedback said (cc/twcc.h), the peer's REMB, round-trip time, the passing of time.
 * Out:     a target bit rate.
 * Owner:   by value in the peer connection. Loop thread. No allocation after init.
 * Limits:  config.
 * Deviates: states in the file what it does otherwise than the draft and why.
 */
#pragma once
#include "cc/twcc.h"

typedef struct lk_estimator_config {
    uint64_t start_bps, min_bps, max_bps; /* 0: 300,000, 30,000, 100,000,000 */
} lk_estimator_config;
typedef struct lk_estimator lk_estimator;

LK_NODISCARD lk_err lk_estimator_new(lk_estimator **out, const lk_env *env, const lk_estimator_config *config, lk_usec now);
void lk_estimator_free(lk_estimator *e); /* NULL ok */
/* What one feedback packet told, in the order of sending; results as lk_twcc_history_feedback gives them. */
void lk_estimator_feedback(lk_estimator *e, lk_usec now, const lk_twcc_result *results, size_t count);
/* Loss and round trip of a receiver report, for paths without transport feedback. fraction: of 256. */
void lk_estimator_report(lk_estimator *e, lk_usec now, uint8_t fraction_lost, lk_usec rtt_usec);
void lk_estimator_remb(lk_estimator *e, lk_usec now, uint64_t bps);
/* What the application wants to send at most; growing far above it is not tried, and while it sends less than the estimate
 * the estimate does not grow without bound. */
void lk_estimator_set_demand(lk_estimator *e, lk_usec now, uint64_t bps);
/* Silence of the peer: without feedback for long the target falls. */
void lk_estimator_tick(lk_estimator *e, lk_usec now);
lk_usec lk_estimator_deadline(const lk_estimator *e); /* LK_NEVER when nothing was sent */
uint64_t lk_estimator_target_bps(const lk_estimator *e);
/* A probe: send probe_bps for probe_usec (paddings or retransmissions when there is nothing else), else 0. */
uint64_t lk_estimator_probe_bps(const lk_estimator *e, lk_usec now);
/* Of packets told about in the last second, of 256. */
uint8_t lk_estimator_loss(const lk_estimator *e);
lk_usec lk_estimator_rtt_usec(const lk_estimator *e); /* 0: not measured */
