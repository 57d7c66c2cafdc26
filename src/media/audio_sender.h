// SPDX-License-Identifier: Apache-2.0
/* media/audio_sender.h - 10 ms frames of one local track become Opus packets of 20 ms. [RFC7587] [RFC6464]
 *
 * In:      frames of any rate (1..384 kHz) and 1..8 channels, mute, the loss the peer reports.
 * Out:     one job at a time that converts and encodes; then packets.
 * Owner:   heap object of lk_session. Loop thread; the job runs on a worker and touches only what the job owns.
 * Limits:  LK_AUDIO_SENDER_FRAMES_MAX frames wait; when full the oldest is dropped and counted.
 * Deviates: mono only: stereo sources are mixed down, as the contract of lk_audio_source says.
 */
#pragma once
#include "base/lk_base.h"
#include "frame/frame.h"

#define LK_AUDIO_SENDER_FRAMES_MAX 32
#define LK_AUDIO_SENDER_PACKETS_MAX 16

struct lk_stats;
typedef struct lk_audio_sender lk_audio_sender;

typedef struct lk_audio_sender_config {
    uint32_t max_bitrate_bps; /* 0: 48000; else clamped to 6000..510000 */
    bool dtx, fec, muted;
} lk_audio_sender_config;

LK_NODISCARD lk_err lk_audio_sender_new(lk_audio_sender **out, const lk_env *env, const lk_audio_sender_config *config,
                                        lk_usec now);
void lk_audio_sender_free(lk_audio_sender *s); /* NULL ok; no job may be out */
bool lk_audio_sender_busy(const lk_audio_sender *s);

/* 10 ms (borrow; takes its own reference). */
void lk_audio_sender_push(lk_audio_sender *s, lk_usec now, lk_frame *frame);
/* Muted: silence is encoded and, with DTX, hardly anything is sent; time goes on. */
void lk_audio_sender_set_muted(lk_audio_sender *s, lk_usec now, bool muted);
/* Loss reported by RTCP, of 256: how much redundancy the encoder adds. */
void lk_audio_sender_set_loss(lk_audio_sender *s, uint8_t fraction_256);

/* tag 1, owner: the sender. At most one is out. */
bool lk_audio_sender_poll_job(lk_audio_sender *s, lk_job **out);
void lk_audio_sender_job_done(lk_audio_sender *s, lk_usec now, lk_job *job);

typedef struct lk_audio_packet {
    const uint8_t *payload; /* valid until the next call */
    size_t len;
    uint32_t ts;  /* 48 kHz ticks from 0; goes on over DTX gaps */
    bool marker;  /* first after a gap */
    bool voice;
    uint8_t level; /* -dBov, 0 loud .. 127 silent */
} lk_audio_packet;
bool lk_audio_sender_poll_packet(lk_audio_sender *s, lk_audio_packet *out);

/* What the encoder aims at. */
uint32_t lk_audio_sender_bitrate_bps(const lk_audio_sender *s);
/* Fills level, energy and duration of a media_source entry. */
void lk_audio_sender_stats(const lk_audio_sender *s, struct lk_stats *media_source);
