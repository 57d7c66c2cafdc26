// SPDX-License-Identifier: Apache-2.0
/* dsp/remix.h - channel counts, levels, and changing the length of speech without changing its pitch.
 *
 * In:      interleaved 16 bit samples.
 * Out:     the same sound in another shape.
 * Owner:   stateless; any thread; no allocation.
 * Limits:  1..8 channels; stretching works on 48 kHz.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

/* Fewer channels: each output is the mean of the inputs that fold on it; more: inputs repeat. in and out do not overlap. */
void lk_dsp_remix(const int16_t *in, uint32_t in_channels, int16_t *out, uint32_t out_channels, size_t frames);

typedef struct lk_dsp_level {
    double rms;  /* 0..1 */
    double peak; /* 0..1 */
} lk_dsp_level;
lk_dsp_level lk_dsp_level_of(const int16_t *samples, size_t count);
/* 0 loud .. 127 silent: -dBov of an rms. [RFC6464 s3] */
uint8_t lk_dsp_level_code(double rms);

#define LK_DSP_STRETCH_MIN 1440 /* 30 ms at 48 kHz: what a stretch needs to look at */
#define LK_DSP_STRETCH_MAX_LAG 720 /* 15 ms: the most it adds or takes away */
/* Takes one pitch period out of (or, for expand, puts one into) the first `frames` of samples, in place, where the sound
 * repeats itself well enough or is near silence. cap: room in frames. Returns the new length; the same: nothing was done. */
size_t lk_dsp_accelerate(int16_t *samples, size_t frames, uint32_t channels);
size_t lk_dsp_expand(int16_t *samples, size_t frames, size_t cap, uint32_t channels);
