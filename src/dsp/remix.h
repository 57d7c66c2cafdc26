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

/* Level and energy as statistics show them: the peak of the last tenth of a second, its square summed over time.
 * Zero-initialise. */
typedef struct lk_dsp_meter {
    double level;    /* 0..1 */
    double energy;   /* level^2 * seconds */
    double duration; /* seconds */
    double peak;     /* of the tenth under way */
    uint32_t blocks;
} lk_dsp_meter;
/* One block, about 10 ms; count: all channels together. */
void lk_dsp_meter_add(lk_dsp_meter *m, const int16_t *samples, size_t count, double seconds);

/* Does somebody speak? Louder than the background by far, where the background is the quietest of late. Zero-initialise. */
typedef struct lk_dsp_vad {
    bool started;
    double floor_db;
    uint32_t hold; /* blocks that still count as speech after the last loud one */
} lk_dsp_vad;
/* One block of 20 ms with that rms (0..1). */
bool lk_dsp_vad_add(lk_dsp_vad *v, double rms);

#define LK_DSP_STRETCH_MIN_LAG 120 /* 2.5 ms: the least a stretch adds or takes away */
#define LK_DSP_STRETCH_MAX_LAG 720 /* 15 ms: the most */
#define LK_DSP_ACCELERATE_MIN 1440 /* 30 ms: what there has to be to take something away from */
#define LK_DSP_EXPAND_PAST 1200    /* 25 ms: what has to stand in front of the place where something is put in */
#define LK_DSP_STRETCH_INAUDIBLE 0.9
/* Takes one pitch period out of the first `frames` of samples, in place, where the sound repeats itself well enough or is
 * near silence. At most max_lag frames. likeness: how well it has to repeat itself, as a correlation; -1: in any case.
 * Returns the new length; the same: nothing was done. */
size_t lk_dsp_accelerate(int16_t *samples, size_t frames, uint32_t channels, size_t max_lag, double likeness);
/* Puts one in before samples[0], which LK_DSP_EXPAND_PAST frames that were played precede. cap: room in frames. */
size_t lk_dsp_expand(int16_t *samples, size_t frames, size_t cap, uint32_t channels, size_t max_lag, double likeness);
