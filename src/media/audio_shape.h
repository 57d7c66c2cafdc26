// SPDX-License-Identifier: Apache-2.0
/* media/audio_shape.h - a run of audio cut into frames of another rate, channel count and length.
 *
 * In:      blocks of at most max_frames samples per channel at the input rate, any channel count.
 * Out:     frames of exactly the wanted length, nothing lost in between.
 * Owner:   heap object of a sink or stream; one thread at a time.
 * Limits:  rates 1000..384000, channels 1..8, output frames up to 1 s.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

typedef struct lk_audio_shape lk_audio_shape;

typedef struct lk_audio_shape_config {
    uint32_t in_rate, max_frames; /* longest block, samples per channel */
    uint32_t out_rate, out_channels, frame_msec;
} lk_audio_shape_config;

/* INVALID, NOMEM, CODEC. */
LK_NODISCARD lk_err lk_audio_shape_new(lk_audio_shape **out, const lk_env *env, const lk_audio_shape_config *config);
void lk_audio_shape_free(lk_audio_shape *s); /* NULL ok */
/* Samples per channel of an output frame. */
uint32_t lk_audio_shape_frames(const lk_audio_shape *s);
/* Take all frames out before the next push. INVALID: longer than max_frames. CODEC. */
LK_NODISCARD lk_err lk_audio_shape_push(lk_audio_shape *s, const int16_t *in, uint32_t channels, uint32_t frames);
/* The next whole frame, valid until the next push; NULL: none. */
const int16_t *lk_audio_shape_next(lk_audio_shape *s);
