// SPDX-License-Identifier: Apache-2.0
/* dsp/resampler.h - streaming sample rate conversion of interleaved 16 bit audio, over libsoxr.
 *
 * In:      samples of any block length.
 * Out:     samples at the other rate; totals are exact after a flush.
 * Owner:   heap object of whoever converts; one thread at a time.
 * Limits:  rates 1 Hz..10 MHz, 1..8 channels.
 * Deviates: soxr takes its memory from the C library, outside of lk_env.
 */
#pragma once
#include "base/lk_base.h"

typedef struct lk_dsp_resampler lk_dsp_resampler;

typedef struct lk_dsp_resampler_config {
    double in_rate, out_rate;
    uint32_t channels;
    uint32_t quality; /* 0 quick, 1 low, 2 medium, 3 high, 4 very high */
    uint32_t flags;   /* bits of soxr.h */
} lk_dsp_resampler_config;

/* *why (static, may be NULL): what soxr did not like. INVALID, CODEC, NOMEM. */
LK_NODISCARD lk_err lk_dsp_resampler_new(lk_dsp_resampler **out, const lk_env *env, const lk_dsp_resampler_config *config,
                                         const char **why);
void lk_dsp_resampler_free(lk_dsp_resampler *r); /* NULL ok */
/* Frames (samples per channel) a push of in_frames can give at most. */
size_t lk_dsp_resampler_bound(const lk_dsp_resampler *r, size_t in_frames);
/* Converts all of in; out has room for lk_dsp_resampler_bound(in_frames). CODEC. */
LK_NODISCARD lk_err lk_dsp_resampler_push(lk_dsp_resampler *r, const int16_t *in, size_t in_frames, int16_t *out, size_t out_cap,
                                          size_t *out_frames);
/* What is still inside; afterwards the state is cleared. May have to be called until it gives nothing. CODEC. */
LK_NODISCARD lk_err lk_dsp_resampler_flush(lk_dsp_resampler *r, int16_t *out, size_t out_cap, size_t *out_frames);
