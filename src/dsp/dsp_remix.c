// SPDX-License-Identifier: Apache-2.0
#include "dsp/remix.h"

#include <math.h>

void lk_dsp_remix(const int16_t *in, uint32_t in_channels, int16_t *out, uint32_t out_channels, size_t frames)
{
    if (in_channels == out_channels) {
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

/* ---- stretching: overlap-add at the pitch period ---------------------------------------------------------- */

#define DECIMATE 6            /* lags are first sought at 8 kHz */
#define LAG_MIN 120           /* 2.5 ms */
#define WINDOW 480            /* 10 ms are compared */
#define GOOD_CORRELATION 0.9
#define SILENCE_RMS 60.0      /* of 32768: nobody hears where it is cut */

/* Likeness of the 10 ms at 0 and at lag, -1..1. */
static double correlation(const int16_t *s, size_t lag, uint32_t channels, size_t step)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < WINDOW; i += step) {
        double a = s[i * channels], b = s[(i + lag) * channels];
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* The best lag; 0 when the sound does not repeat itself. */
static size_t find_lag(const int16_t *s, size_t frames, uint32_t channels)
{
    size_t best = LAG_MIN;
    double most = -1;
    size_t last = LK_MIN((size_t)LK_DSP_STRETCH_MAX_LAG, frames - WINDOW);
    for (size_t lag = LAG_MIN; lag <= last; lag += DECIMATE) {
        double c = correlation(s, lag, channels, DECIMATE);
        if (c > most) {
            most = c;
            best = lag;
        }
    }
    if (lk_dsp_level_of(s, (last + WINDOW) * channels).rms * 32768.0 < SILENCE_RMS)
        return last;
    size_t from = best > LAG_MIN + DECIMATE ? best - DECIMATE : LAG_MIN, to = LK_MIN(best + DECIMATE, last);
    for (size_t lag = from; lag <= to; lag++) {
        double c = correlation(s, lag, channels, 2);
        if (c > most) {
            most = c;
            best = lag;
        }
    }
    return most >= GOOD_CORRELATION ? best : 0;
}

static int16_t blend(int16_t from, int16_t to, size_t i, size_t n)
{
    return (int16_t)(((int32_t)from * (int32_t)(n - i) + (int32_t)to * (int32_t)i) / (int32_t)n);
}

size_t lk_dsp_accelerate(int16_t *s, size_t frames, uint32_t channels)
{
    if (frames < LK_DSP_STRETCH_MIN)
        return frames;
    size_t lag = find_lag(s, frames, channels);
    if (lag == 0)
        return frames;
    size_t fade = LK_MIN(lag, frames - lag);
    for (size_t i = 0; i < fade; i++)
        for (uint32_t c = 0; c < channels; c++)
            s[i * channels + c] = blend(s[i * channels + c], s[(i + lag) * channels + c], i, fade);
    memmove(s + fade * channels, s + (fade + lag) * channels, (frames - lag - fade) * channels * sizeof *s);
    return frames - lag;
}

size_t lk_dsp_expand(int16_t *s, size_t frames, size_t cap, uint32_t channels)
{
    if (frames < LK_DSP_STRETCH_MIN)
        return frames;
    size_t lag = find_lag(s, frames, channels);
    if (lag == 0 || frames + lag > cap)
        return frames;
    /* s[0..lag) is played, then faded back to itself: from s[lag..] to s[0..] over one period. */
    memmove(s + 2 * lag * channels, s + lag * channels, (frames - lag) * channels * sizeof *s);
    for (size_t i = 0; i < lag; i++)
        for (uint32_t c = 0; c < channels; c++)
            s[(lag + i) * channels + c] = blend(s[(2 * lag + i) * channels + c], s[i * channels + c], i, lag);
    return frames + lag;
}
