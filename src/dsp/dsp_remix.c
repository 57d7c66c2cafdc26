// SPDX-License-Identifier: Apache-2.0
#include "dsp/remix.h"

#include <math.h>

void lk_dsp_remix(const int16_t *in, uint32_t in_channels, int16_t *out, uint32_t out_channels, size_t frames)
{
    if (in_channels == out_channels) {
        if (frames) /* nothing may come without a place */
            memcpy(out, in, frames * in_channels * sizeof *out);
        return;
    }
    for (size_t i = 0; i < frames; i++, in += in_channels, out += out_channels) {
        if (out_channels > in_channels) {
            for (uint32_t c = 0; c < out_channels; c++)
                out[c] = in[c % in_channels];
            continue;
        }
        for (uint32_t c = 0; c < out_channels; c++) {
            int32_t sum = 0, n = 0;
            for (uint32_t k = c; k < in_channels; k += out_channels, n++)
                sum += in[k];
            out[c] = (int16_t)(sum / n);
        }
    }
}

lk_dsp_level lk_dsp_level_of(const int16_t *samples, size_t count)
{
    int64_t energy = 0;
    int32_t peak = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t v = samples[i];
        energy += v * v;
        v = v < 0 ? -v : v;
        peak = LK_MAX(peak, v);
    }
    if (count == 0)
        return (lk_dsp_level){0, 0};
    return (lk_dsp_level){sqrt((double)energy / (double)count) / 32768.0, LK_MIN((double)peak / 32767.0, 1.0)};
}

uint8_t lk_dsp_level_code(double rms)
{
    if (rms <= 4.5e-7) /* -127 dB */
        return 127;
    return (uint8_t)LK_CLAMP(-20.0 * log10(rms) + 0.5, 0.0, 127.0);
}

#define METER_BLOCKS 10
#define METER_CARRY 0.25 /* of a peak into the next tenth, so that the level falls softly */

void lk_dsp_meter_add(lk_dsp_meter *m, const int16_t *samples, size_t count, double seconds)
{
    double peak = lk_dsp_level_of(samples, count).peak;
    m->peak = LK_MAX(m->peak, peak);
    if (++m->blocks >= METER_BLOCKS) {
        m->level = m->peak;
        m->peak *= METER_CARRY;
        m->blocks = 0;
    }
    m->energy += m->level * m->level * seconds;
    m->duration += seconds;
}

#define VAD_QUIET_DB -60.0     /* below it nobody speaks */
#define VAD_LOUD_DB -35.0      /* the floor does not rise above it: so loud is no background */
#define VAD_ABOVE_DB 9.0
#define VAD_RISE_DB 0.04       /* of the floor per block: 2 dB a second */
#define VAD_HOLD 10            /* 200 ms: the end of a word, and between two */

bool lk_dsp_vad_add(lk_dsp_vad *v, double rms)
{
    double db = rms > 1e-6 ? 20.0 * log10(rms) : -120.0;
    if (!v->started)
        v->floor_db = LK_MIN(db, VAD_LOUD_DB - VAD_ABOVE_DB * 2);
    v->started = true;
    v->floor_db = LK_MIN(LK_MIN(v->floor_db + VAD_RISE_DB, VAD_LOUD_DB), LK_MAX(db, VAD_QUIET_DB - VAD_ABOVE_DB));
    if (db > VAD_QUIET_DB && db > v->floor_db + VAD_ABOVE_DB)
        v->hold = VAD_HOLD + 1;
    v->hold -= v->hold > 0;
    return v->hold > 0;
}

/* ---- stretching: overlap-add at the pitch period ---------------------------------------------------------- */

#define DECIMATE 6            /* lags are first sought at 8 kHz */
#define WINDOW 480            /* 10 ms are compared */
#define SILENCE_RMS 60.0      /* of 32768: nobody hears where it is cut */

/* Likeness of two stretches of 10 ms, -1..1. */
static double correlation(const int16_t *x, const int16_t *y, uint32_t channels, size_t step)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < WINDOW * channels; i += step * channels) {
        double a = x[i], b = y[i];
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* The lag, 2.5 ms to last, after which (direction 1) or before which (-1) the 10 ms at s come again; 0: they do not. */
static size_t find_lag(const int16_t *s, int direction, size_t last, uint32_t channels, double likeness)
{
    const ptrdiff_t unit = direction * (ptrdiff_t)channels;
    size_t best = LK_DSP_STRETCH_MIN_LAG;
    double most = -1;
    if (last < LK_DSP_STRETCH_MIN_LAG)
        return 0;
    if (lk_dsp_level_of(direction < 0 ? s - last * channels : s, (last + WINDOW) * channels).rms * 32768.0 < SILENCE_RMS)
        return last;
    for (size_t lag = LK_DSP_STRETCH_MIN_LAG; lag <= last; lag += DECIMATE) {
        double c = correlation(s, s + (ptrdiff_t)lag * unit, channels, DECIMATE);
        if (c > most) {
            most = c;
            best = lag;
        }
    }
    size_t from = LK_MAX(best - DECIMATE, (size_t)LK_DSP_STRETCH_MIN_LAG), to = LK_MIN(best + DECIMATE, last);
    most = -1;
    for (size_t lag = from; lag <= to; lag++) {
        double c = correlation(s, s + (ptrdiff_t)lag * unit, channels, 2);
        if (c > most) {
            most = c;
            best = lag;
        }
    }
    return most >= likeness ? best : 0;
}

/* out goes over from x to y within n frames; it may be x. */
static void fade(int16_t *out, const int16_t *x, const int16_t *y, size_t n, uint32_t channels)
{
    for (size_t i = 0; i < n; i++)
        for (size_t c = i * channels; c < (i + 1) * channels; c++)
            out[c] = (int16_t)((x[c] * (int32_t)(n - i) + y[c] * (int32_t)i) / (int32_t)n);
}

size_t lk_dsp_accelerate(int16_t *s, size_t frames, uint32_t channels, size_t max_lag, double likeness)
{
    if (frames < LK_DSP_ACCELERATE_MIN)
        return frames;
    size_t lag = find_lag(s, 1, LK_MIN(max_lag, (size_t)LK_DSP_STRETCH_MAX_LAG), channels, likeness);
    if (lag == 0)
        return frames;
    fade(s, s, s + lag * channels, lag, channels);
    memmove(s + lag * channels, s + 2 * lag * channels, (frames - 2 * lag) * channels * sizeof *s);
    return frames - lag;
}

size_t lk_dsp_expand(int16_t *s, size_t frames, size_t cap, uint32_t channels, size_t max_lag, double likeness)
{
    size_t last = LK_MIN(LK_MIN(max_lag, (size_t)LK_DSP_STRETCH_MAX_LAG), LK_MIN(frames, cap - frames));
    size_t lag = find_lag(s - WINDOW * channels, -1, last, channels, likeness);
    if (lag == 0)
        return frames;
    /* From what would follow, back to what was played last: then it follows once more. */
    memmove(s + lag * channels, s, frames * channels * sizeof *s);
    fade(s, s + lag * channels, s - lag * channels, lag, channels);
    return frames + lag;
}
