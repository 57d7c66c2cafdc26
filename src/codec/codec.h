// SPDX-License-Identifier: Apache-2.0
/* codec/codec.h - audio codecs behind one table of operations; today Opus. [RFC6716] [RFC7587]
 *
 * In:      48 kHz samples, or payloads of one RTP packet each.
 * Out:     payloads, or samples; concealment where a payload is missing.
 * Owner:   encoder and decoder are heap objects of media/; one thread at a time.
 * Limits:  1 or 2 channels; packets up to 120 ms; payloads: LK_CODEC_PAYLOAD_MAX is made at most, LK_CODEC_PACKET_MAX taken.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_CODEC_PAYLOAD_MAX 1275
#define LK_CODEC_PACKET_MAX 1500
#define LK_CODEC_FRAMES_MAX 5760 /* 120 ms at 48 kHz */

typedef struct lk_audio_encoder_config {
    uint32_t channels;    /* 1, 2 */
    uint32_t bitrate_bps; /* 6000..510000 */
    uint32_t complexity;  /* 0..10 */
    bool dtx, fec;
} lk_audio_encoder_config;

typedef struct lk_audio_encoder lk_audio_encoder;
typedef struct lk_audio_decoder lk_audio_decoder;

typedef struct lk_audio_codec_ops {
    const char *name; /* as in SDP, lower case */
    uint32_t clock_hz;
    lk_err (*encoder_new)(lk_audio_encoder **out, const lk_env *env, const lk_audio_encoder_config *config);
    void (*encoder_free)(lk_audio_encoder *e); /* NULL ok */
    /* Expected loss in percent: how much the encoder repeats of the packet before. */
    void (*encoder_set_loss)(lk_audio_encoder *e, uint32_t percent);
    /* frames: 480, 960, ... at 48 kHz. *len 0: nothing needs to be sent (DTX). CODEC. */
    lk_err (*encode)(lk_audio_encoder *e, const int16_t *samples, size_t frames, uint8_t *out, size_t cap, size_t *len);
    lk_err (*decoder_new)(lk_audio_decoder **out, const lk_env *env, uint32_t channels);
    void (*decoder_free)(lk_audio_decoder *d); /* NULL ok */
    /* Room for LK_CODEC_FRAMES_MAX * channels in out. CODEC: not a payload of this codec. */
    lk_err (*decode)(lk_audio_decoder *d, lk_bytes payload, int16_t *out, size_t *frames);
    /* The packet before `payload` out of the redundancy in it; frames: how long that packet was. */
    lk_err (*decode_fec)(lk_audio_decoder *d, lk_bytes payload, int16_t *out, size_t frames);
    /* frames: a multiple of 120 (2.5 ms), at most LK_CODEC_FRAMES_MAX. */
    lk_err (*conceal)(lk_audio_decoder *d, int16_t *out, size_t frames);
    /* Frames at 48 kHz in a payload, 0: malformed. Looks at bytes only. */
    size_t (*duration)(lk_bytes payload);
    /* Does it carry redundancy for the packet before? */
    bool (*has_fec)(lk_bytes payload);
} lk_audio_codec_ops;

/* NULL: not built. */
const lk_audio_codec_ops *lk_audio_codec_find(const char *name);
const lk_audio_codec_ops *lk_audio_codec_at(size_t i); /* NULL past the end */
