// SPDX-License-Identifier: Apache-2.0
/* media/video_receiver.h - RTP of one remote video track becomes pictures for its sinks.
 *
 * In:      RTP packets, sinks with the format they want, the passing of time.
 * Out:     one job at a time that decodes and converts; then pictures; wishes for key frames.
 * Owner:   heap object of lk_session. Loop thread; the job runs on a worker and touches only what the job owns.
 * Limits:  jitter/assembly.h; 64 sinks.
 * Deviates: without a sink nothing is decoded; a decoder that fails shows nothing and a key frame is asked for. Pictures are
 *          given out when they are decoded: no delay is added to smooth the path.
 */
#pragma once
#include "base/lk_base.h"
#include "frame/picture.h"
#include "rtp/rtp.h"

#define LK_VIDEO_RECEIVER_SINKS_MAX 64
#define LK_VIDEO_AS_DECODED (-1)

struct lk_stats;
typedef struct lk_video_receiver lk_video_receiver;

/* codec: as in SDP. UNSUPPORTED, NOMEM. */
LK_NODISCARD lk_err lk_video_receiver_new(lk_video_receiver **out, const lk_env *env, const char *codec, lk_usec now);
void lk_video_receiver_free(lk_video_receiver *r); /* NULL ok; no job may be out */
bool lk_video_receiver_busy(const lk_video_receiver *r);

void lk_video_receiver_input(lk_video_receiver *r, lk_usec now, const lk_rtp_packet *packet); /* borrow */
/* Round trip to the sender of packets: how long a repair may take. */
void lk_video_receiver_set_rtt(lk_video_receiver *r, lk_usec rtt_usec);

/* format: lk_video_format or LK_VIDEO_AS_DECODED. INVALID, LIMIT, NOMEM. */
LK_NODISCARD lk_err lk_video_receiver_add_sink(lk_video_receiver *r, lk_usec now, uint64_t sink, int format);
bool lk_video_receiver_remove_sink(lk_video_receiver *r, uint64_t sink); /* false: not here */
size_t lk_video_receiver_sink_count(const lk_video_receiver *r);

lk_usec lk_video_receiver_deadline(const lk_video_receiver *r);
/* tag 4, owner: the receiver. At most one is out. */
bool lk_video_receiver_poll_job(lk_video_receiver *r, lk_usec now, lk_job **out);
void lk_video_receiver_job_done(lk_video_receiver *r, lk_usec now, lk_job *job);
bool lk_video_receiver_poll_picture(lk_video_receiver *r, uint64_t *sink, lk_picture **picture); /* give */
/* True once per wish: the peer is to be asked for a key frame. */
bool lk_video_receiver_poll_wish(lk_video_receiver *r, lk_usec now);

/* Fills what only media knows in an inbound_rtp entry. */
void lk_video_receiver_stats(const lk_video_receiver *r, lk_usec now, struct lk_stats *inbound);
