// SPDX-License-Identifier: Apache-2.0
/* codec/video.h - video codecs behind one table of operations; today VP8 over libvpx. [RFC6386]
 *
 * In:      I420 pictures, or whole encoded frames.
 * Out:     encoded frames, or I420 pictures.
 * Owner:   encoder and decoder are heap objects of media/; one thread at a time.
 * Limits:  16384 pixels a side; what the library refuses is LK_ERR_CODEC.
 * Deviates: the codec library is opened with the first encoder or decoder (env->sym), so that who sends only audio never
 *          maps it; where it is missing that is LK_ERR_UNSUPPORTED.
 */
#pragma once
#include "base/lk_base.h"

#define LK_VIDEO_EFFORT_MAX 7 /* 0: best picture per bit; 7: least work */
#define LK_VIDEO_EFFORT_DEFAULT 1

typedef struct lk_video_encoder_config {
    uint32_t width, height;
    uint32_t bitrate_bps, framerate;
    uint32_t threads;
    bool screen; /* text and windows rather than a camera's picture */
} lk_video_encoder_config;

typedef struct lk_video_unit {
    lk_bytes frame; /* valid until the next call; empty: the encoder dropped the picture to keep its rate */
    bool key;
    uint32_t qp; /* quantizer of the frame, as the codec counts */
} lk_video_unit;

typedef struct lk_video_encoder lk_video_encoder;
typedef struct lk_video_decoder lk_video_decoder;

typedef struct lk_video_codec_ops {
    const char *name; /* as in SDP */
    const char *implementation; /* of the library, for stats */
    lk_err (*encoder_new)(lk_video_encoder **out, const lk_env *env, const lk_video_encoder_config *config);
    void (*encoder_free)(lk_video_encoder *e); /* NULL ok */
    void (*encoder_set_rate)(lk_video_encoder *e, uint32_t bitrate_bps, uint32_t framerate);
    void (*encoder_set_effort)(lk_video_encoder *e, unsigned effort);
    /* picture: I420 of the configured size. pts: strictly growing, 90 kHz. */
    lk_err (*encode)(lk_video_encoder *e, const lk_video_view *picture, int64_t pts, bool key, lk_video_unit *out);
    lk_err (*decoder_new)(lk_video_decoder **out, const lk_env *env);
    void (*decoder_free)(lk_video_decoder *d); /* NULL ok */
    /* *out: I420, valid until the next call. CODEC: the frame cannot be decoded, nothing is shown; the next key frame
     * starts anew. */
    lk_err (*decode)(lk_video_decoder *d, lk_bytes frame, lk_video_view *out);
    /* Quantizer of the last decoded frame. */
    uint32_t (*decoder_qp)(const lk_video_decoder *d);
} lk_video_codec_ops;

/* NULL: not built. Case does not count. */
const lk_video_codec_ops *lk_video_codec_find(const char *name);
const lk_video_codec_ops *lk_video_codec_at(size_t i); /* NULL past the end */
