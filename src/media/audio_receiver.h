// SPDX-License-Identifier: Apache-2.0
/* media/audio_receiver.h - RTP of one remote audio track becomes frames for its sinks, every 10 ms.
 *
 * In:      RTP packets, sinks with the format they want, the passing of time.
 * Out:     one job at a time that decodes, conceals, stretches and converts; then frames.
 * Owner:   heap object of lk_session. Loop thread; the job runs on a worker and touches only what the job owns.
 * Limits:  packets as in jitter/jitter.h; 64 sinks. Playout that is late by more than 500 ms is skipped.
 * Deviates: without a sink nothing is decoded and no clock runs; the newest packets are kept so that a sink starts at once.
 */
#pragma once
#include "base/lk_base.h"
#include "frame/frame.h"
#include "rtp/rtp.h"

#define LK_AUDIO_RECEIVER_SINKS_MAX 64

struct lk_stats;
typedef struct lk_audio_receiver lk_audio_receiver;

LK_NODISCARD lk_err lk_audio_receiver_new(lk_audio_receiver **out, const lk_env *env, lk_usec now);
void lk_audio_receiver_free(lk_audio_receiver *r); /* NULL ok; no job may be out */
bool lk_audio_receiver_busy(const lk_audio_receiver *r);

/* borrow; red: the payload holds earlier ones too, see rtp/red.h */
void lk_audio_receiver_input(lk_audio_receiver *r, lk_usec now, const lk_rtp_packet *packet, bool red);

/* sample_rate 1000..384000, channels 1..8, frame_msec 1..1000. INVALID, LIMIT, NOMEM. */
LK_NODISCARD lk_err lk_audio_receiver_add_sink(lk_audio_receiver *r, lk_usec now, uint64_t sink, uint32_t sample_rate,
                                               uint32_t channels, uint32_t frame_msec);
bool lk_audio_receiver_remove_sink(lk_audio_receiver *r, uint64_t sink); /* false: not here */
size_t lk_audio_receiver_sink_count(const lk_audio_receiver *r);

void lk_audio_receiver_tick(lk_audio_receiver *r, lk_usec now);
lk_usec lk_audio_receiver_deadline(const lk_audio_receiver *r); /* LK_NEVER without sinks */

/* tag 2, owner: the receiver. At most one is out. */
bool lk_audio_receiver_poll_job(lk_audio_receiver *r, lk_job **out);
void lk_audio_receiver_job_done(lk_audio_receiver *r, lk_usec now, lk_job *job);
bool lk_audio_receiver_poll_frame(lk_audio_receiver *r, uint64_t *sink, lk_frame **frame); /* give */

/* Fills what only media knows in an inbound_rtp entry. */
void lk_audio_receiver_stats(const lk_audio_receiver *r, struct lk_stats *inbound);
