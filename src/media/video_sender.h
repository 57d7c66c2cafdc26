// SPDX-License-Identifier: Apache-2.0
/* media/video_sender.h - pictures of one local track become encoded frames and the payloads of their packets.
 *
 * In:      pictures of any format and size, mute, the bit rate the path has room for, wishes for key frames.
 * Out:     one job at a time that converts, turns upright and encodes; then packets.
 * Owner:   heap object of lk_session. Loop thread; the job runs on a worker and touches only what the job owns.
 * Limits:  one picture waits: a newer one takes its place and the older is counted as dropped. Frames beyond the frame rate
 *          are left out before they cost anything.
 * Deviates: one layer. The picture is turned upright before it is encoded, because servers drop the orientation extension.
 */
#pragma once
#include "base/lk_base.h"
#include "frame/picture.h"

#define LK_VIDEO_SENDER_PAYLOAD_MAX 1120u /* with extensions, SRTP, UDP and IPv4 a packet stays under 1,200 bytes */

struct lk_stats;
typedef struct lk_video_sender lk_video_sender;

typedef struct lk_video_sender_config {
    const char *codec;         /* "VP8" */
    uint32_t max_bitrate_bps;  /* > 0 */
    uint32_t max_framerate;    /* > 0 */
    bool muted, screen;
} lk_video_sender_config;

/* UNSUPPORTED: no such codec here. */
LK_NODISCARD lk_err lk_video_sender_new(lk_video_sender **out, const lk_env *env, const lk_video_sender_config *config,
                                        lk_usec now);
void lk_video_sender_free(lk_video_sender *s); /* NULL ok; no job may be out */
bool lk_video_sender_busy(const lk_video_sender *s);

/* borrow; takes its own reference. */
void lk_video_sender_push(lk_video_sender *s, lk_usec now, lk_picture *picture);
/* Muted: nothing is encoded or sent; the first frame afterwards is a key frame. */
void lk_video_sender_set_muted(lk_video_sender *s, bool muted);
/* The path takes this much of our stream; above max_bitrate_bps it changes nothing. */
void lk_video_sender_set_target(lk_video_sender *s, lk_usec now, uint64_t bitrate_bps);
/* The next frame encoded is a key frame. The last picture is encoded again when no newer one comes within a frame
 * interval or two: see deadline. */
void lk_video_sender_want_key(lk_video_sender *s, lk_usec now);
void lk_video_sender_tick(lk_video_sender *s, lk_usec now);
lk_usec lk_video_sender_deadline(const lk_video_sender *s);

/* tag 3, owner: the sender. At most one is out. */
bool lk_video_sender_poll_job(lk_video_sender *s, lk_usec now, lk_job **out);
void lk_video_sender_job_done(lk_video_sender *s, lk_usec now, lk_job *job);

typedef struct lk_video_packet {
    const uint8_t *payload; /* valid until the next call */
    size_t len;
    uint32_t ts; /* 90 kHz */
    bool marker; /* last of its frame */
    bool key, first;
} lk_video_packet;
bool lk_video_sender_poll_packet(lk_video_sender *s, lk_video_packet *out);

const char *lk_video_sender_codec(const lk_video_sender *s);
uint32_t lk_video_sender_target_bps(const lk_video_sender *s);
/* Fills what only media knows in an outbound_rtp and in a media_source entry. */
void lk_video_sender_stats(const lk_video_sender *s, lk_usec now, struct lk_stats *outbound);
void lk_video_sender_source_stats(const lk_video_sender *s, lk_usec now, struct lk_stats *media_source);
