// SPDX-License-Identifier: Apache-2.0
#include "dsp/remix.h"
#include "lk_test.h"

#include <math.h>

#define RATE 48000

LK_TEST(channels_fold_by_mean_and_spread_by_repetition)
{
    static const struct {
        uint32_t in_channels, out_channels;
        int16_t in[8], out[8];
    } rows[] = {
        {1, 2, {100}, {100, 100}},
        {2, 1, {10000, 0}, {5000}},
        {2, 1, {32767, 32767}, {32767}},
        {2, 1, {-32768, -32768}, {-32768}},
        {2, 2, {7, -7}, {7, -7}},
        {4, 2, {1, 2, 3, 4}, {2, 3}},
        {6, 1, {6, 12, 18, 24, 30, 36}, {21}},
        {8, 3, {3, 6, 9, 3, 6, 9, 3, 6}, {3, 6, 9}},
        {3, 8, {1, 2, 3}, {1, 2, 3, 1, 2, 3, 1, 2}},
        {1, 8, {-5}, {-5, -5, -5, -5, -5, -5, -5, -5}},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        int16_t out[8] = {0};
        lk_dsp_remix(rows[i].in, rows[i].in_channels, out, rows[i].out_channels, 1);
        CHECK_MEM(out, rows[i].out_channels * sizeof *out, rows[i].out, rows[i].out_channels * sizeof *out);
    }
}

LK_TEST(level_codes_are_decibels_below_full_scale)
{
    static const struct {
        double rms;
        int code;
    } rows[] = {{1.0, 0}, {0.5, 6}, {0.1, 20}, {0.01, 40}, {1e-3, 60}, {1e-6, 120}, {4e-7, 127}, {0, 127}, {2.0, 0}};
    for (size_t i = 0; i < LK_LEN(rows); i++)
        CHECK_EQ(lk_dsp_level_code(rows[i].rms), rows[i].code);
    int16_t square[480];
    for (size_t i = 0; i < 480; i++)
        square[i] = i % 2 ? 16384 : -16384;
    lk_dsp_level level = lk_dsp_level_of(square, 480);
    CHECK(fabs(level.rms - 0.5) < 1e-9);
    CHECK(fabs(level.peak - 0.5) < 1e-3);
    CHECK(lk_dsp_level_of(square, 0).rms == 0);
}

LK_TEST(a_meter_shows_the_peak_of_a_tenth_of_a_second_and_sums_its_square)
{
    lk_dsp_meter m = {0};
    int16_t block[480] = {0};
    block[17] = -16384;
    for (int i = 0; i < 9; i++)
        lk_dsp_meter_add(&m, block, 480, 0.01);
    CHECK(m.level == 0);
    lk_dsp_meter_add(&m, block, 480, 0.01);
    CHECK(fabs(m.level - 0.5) < 1e-3);
    for (int i = 0; i < 90; i++)
        lk_dsp_meter_add(&m, block, 480, 0.01);
    CHECK(fabs(m.duration - 1.0) < 1e-9);
    CHECK(fabs(m.energy - 0.25 * 0.91) < 1e-3);
    block[17] = 0;
    for (int i = 0; i < 50; i++)
        lk_dsp_meter_add(&m, block, 480, 0.01);
    CHECK(m.level < 0.001);
}

LK_TEST(speech_stands_out_of_its_background_whatever_that_is)
{
    static const double floors[] = {0, 1e-4, 3e-3};
    for (size_t f = 0; f < LK_LEN(floors); f++) {
        lk_dsp_vad v = {0};
        int false_alarms = 0, heard = 0, after = 0;
        for (int i = 0; i < 100; i++)
            false_alarms += lk_dsp_vad_add(&v, floors[f] * (i % 3 ? 1.0 : 1.3));
        for (int i = 0; i < 100; i++)
            heard += lk_dsp_vad_add(&v, 0.05 + 0.04 * sin(i));
        for (int i = 0; i < 100; i++)
            after += lk_dsp_vad_add(&v, floors[f]);
        CHECK_EQ(false_alarms, 0);
        CHECK(heard >= 95);
        CHECK(after >= 5 && after <= 12); /* words end softly */
    }
}

/* ---- stretching ------------------------------------------------------------------------------------------ */

#define FRAMES 4800
#define PAST LK_DSP_EXPAND_PAST
#define TRIES 200

static void voice(int16_t *out, size_t frames, uint32_t channels, double hz)
{
    for (size_t i = 0; i < frames; i++)
        for (uint32_t c = 0; c < channels; c++) {
            double t = (double)i / RATE, s = 0;
            for (int h = 1; h <= 8; h++)
                s += sin(2 * M_PI * hz * h * t + c) / h;
            out[i * channels + c] = (int16_t)(6000 * s * (0.8 + 0.2 * sin(2 * M_PI * 3 * t)));
        }
}

static int steepest(const int16_t *s, size_t frames, uint32_t channels)
{
    int most = 0;
    for (size_t i = channels; i < frames * channels; i++) {
        int step = s[i] - s[i - channels];
        most = LK_MAX(most, step < 0 ? -step : step);
    }
    return most;
}

LK_TEST(a_stretch_takes_or_adds_whole_periods_and_leaves_no_click)
{
    static const double pitches[] = {80, 120, 173, 240, 390};
    static int16_t s[(PAST + FRAMES + 720) * 2];
    for (size_t i = 0; i < LK_LEN(pitches); i++) {
        for (uint32_t channels = 1; channels <= 2; channels++) {
            double period = RATE / pitches[i];
            voice(s, PAST + FRAMES, channels, pitches[i]);
            int before = steepest(s, PAST + FRAMES, channels);
            size_t n = lk_dsp_accelerate(s + PAST * channels, FRAMES, channels, 720, LK_DSP_STRETCH_INAUDIBLE);
            CHECK(n < FRAMES && n >= FRAMES - LK_DSP_STRETCH_MAX_LAG);
            CHECK(fabs(remainder((double)(FRAMES - n), period)) <= 2);
            CHECK(steepest(s, PAST + n, channels) <= before * 11 / 10);

            voice(s, PAST + FRAMES, channels, pitches[i]);
            n = lk_dsp_expand(s + PAST * channels, FRAMES, FRAMES + 720, channels, 720, LK_DSP_STRETCH_INAUDIBLE);
            CHECK(n > FRAMES && n <= FRAMES + LK_DSP_STRETCH_MAX_LAG);
            CHECK(fabs(remainder((double)(n - FRAMES), period)) <= 2);
            CHECK(steepest(s, PAST + n, channels) <= before * 11 / 10);
        }
    }
}

LK_TEST(a_stretch_never_passes_the_length_it_was_given)
{
    static int16_t s[PAST + FRAMES + 720];
    for (size_t most = 0; most <= 800; most += 50) {
        voice(s, PAST + FRAMES, 1, 240);
        size_t n = lk_dsp_accelerate(s + PAST, FRAMES, 1, most, -1);
        CHECK(FRAMES - n <= most && (most < LK_DSP_STRETCH_MIN_LAG ? n == FRAMES : n < FRAMES));
        voice(s, PAST + FRAMES, 1, 240);
        n = lk_dsp_expand(s + PAST, FRAMES, FRAMES + 720, 1, most, -1);
        CHECK(n - FRAMES <= most && (most < LK_DSP_STRETCH_MIN_LAG ? n == FRAMES : n > FRAMES));
        n = lk_dsp_expand(s + PAST, 960, 960 + most, 1, 720, -1); /* room is a bound, too */
        CHECK(n - 960 <= most);
    }
    CHECK_EQ(lk_dsp_accelerate(s, LK_DSP_ACCELERATE_MIN - 1, 1, 720, -1), LK_DSP_ACCELERATE_MIN - 1);
    CHECK_EQ(lk_dsp_expand(s + PAST, 100, FRAMES, 1, 720, -1), 100);
}

LK_TEST(what_does_not_repeat_itself_is_left_alone_unless_told_and_silence_is_free)
{
    static int16_t s[PAST + FRAMES + 720];
    lk_prng prng;
    int noise = 0, told = 0, silence = 0;
    lk_prng_init(&prng, 3);
    for (int t = 0; t < TRIES; t++) {
        for (size_t i = 0; i < PAST + FRAMES; i++)
            s[i] = (int16_t)((int64_t)(lk_prng_next(&prng) % 12000) - 6000);
        noise += lk_dsp_accelerate(s + PAST, FRAMES, 1, 720, LK_DSP_STRETCH_INAUDIBLE) != FRAMES;
        noise += lk_dsp_expand(s + PAST, FRAMES, FRAMES + 720, 1, 720, LK_DSP_STRETCH_INAUDIBLE) != FRAMES;
        told += lk_dsp_accelerate(s + PAST, FRAMES, 1, 720, -1) != FRAMES;
        told += lk_dsp_expand(s + PAST, FRAMES, FRAMES + 720, 1, 720, -1) != FRAMES;
        for (size_t i = 0; i < PAST + FRAMES; i++)
            s[i] = (int16_t)(lk_prng_next(&prng) % 40);
        silence += FRAMES - lk_dsp_accelerate(s + PAST, FRAMES, 1, 720, LK_DSP_STRETCH_INAUDIBLE) == 720;
        silence += lk_dsp_expand(s + PAST, FRAMES, FRAMES + 720, 1, 720, LK_DSP_STRETCH_INAUDIBLE) - FRAMES == 720;
    }
    CHECK_EQ(noise, 0);
    CHECK_EQ(told, 2 * TRIES);
    CHECK_EQ(silence, 2 * TRIES);
}
