// SPDX-License-Identifier: Apache-2.0
#include "dsp/resampler.h"
#include "lk_test.h"

#include <math.h>

static int16_t tone(size_t i, double rate, double hz) { return (int16_t)lrint(12000 * sin(2 * M_PI * hz * (double)i / rate)); }

/* How much of the energy between from and to is a tone of that frequency, 0..1. */
static double purity(const int16_t *s, size_t from, size_t to, double rate, double hz)
{
    double re = 0, im = 0, all = 0;
    for (size_t i = from; i < to; i++) {
        re += s[i] * cos(2 * M_PI * hz * (double)i / rate);
        im += s[i] * sin(2 * M_PI * hz * (double)i / rate);
        all += (double)s[i] * s[i];
    }
    return all > 0 ? 2 * (re * re + im * im) / ((double)(to - from) * all) : 0;
}

LK_TEST(totals_are_exact_and_the_sound_is_the_same_at_every_quality_and_block_length)
{
    static const struct {
        uint32_t in, out;
    } rates[] = {{48000, 16000}, {16000, 48000}, {44100, 48000}, {48000, 44100}, {8000, 48000}, {48000, 192000}, {384000, 48000}};
    static int16_t in[38400], out[48000];
    for (size_t r = 0; r < LK_LEN(rates); r++) {
        for (uint32_t quality = 0; quality <= 4; quality++) {
            const lk_dsp_resampler_config config = {rates[r].in, rates[r].out, 1, quality, 0};
            lk_dsp_resampler *rs = NULL;
            if (lk_dsp_resampler_new(&rs, env, &config, NULL) != LK_OK)
                return;
            size_t total = rates[r].in / 10, made = 0, n = 0, at = 0;
            for (size_t i = 0; i < total; i++)
                in[i] = tone(i, rates[r].in, 1000);
            for (size_t step = 1; at < total; at += n, step = step * 3 + 7) {
                size_t got = 0;
                n = LK_MIN(step % 997, total - at);
                CHECK(made + lk_dsp_resampler_bound(rs, n) <= LK_LEN(out));
                CHECK_OK(lk_dsp_resampler_push(rs, in + at, n, out + made, LK_LEN(out) - made, &got));
                CHECK(got <= lk_dsp_resampler_bound(rs, n));
                made += got;
            }
            for (n = 1; n > 0; made += n)
                CHECK_OK(lk_dsp_resampler_flush(rs, out + made, LK_LEN(out) - made, &n));
            CHECK_EQ(made, rates[r].out / 10);
            CHECK(purity(out, made / 4, made * 3 / 4, rates[r].out, 1000) > (quality == 0 ? 0.98 : 0.999));
            lk_dsp_resampler_free(rs);
        }
    }
}

LK_TEST(after_a_flush_it_starts_afresh)
{
    const lk_dsp_resampler_config config = {48000, 16000, 2, 2, 0};
    static int16_t in[9600 * 2], first[8192 * 2], second[8192 * 2];
    lk_dsp_resampler *rs = NULL;
    size_t made[2] = {0};
    for (size_t i = 0; i < 9600; i++)
        in[2 * i] = in[2 * i + 1] = tone(i, 48000, 440);
    if (lk_dsp_resampler_new(&rs, env, &config, NULL) != LK_OK)
        return;
    for (int round = 0; round < 2; round++) {
        int16_t *out = round ? second : first;
        size_t n;
        CHECK_OK(lk_dsp_resampler_push(rs, in, 9600, out, 8192, &n));
        made[round] = n;
        CHECK_OK(lk_dsp_resampler_flush(rs, out + n * 2, 8192 - n, &n));
        made[round] += n;
    }
    CHECK_EQ(made[0], 3200);
    CHECK_EQ(made[1], 3200);
    int most = 0;
    for (size_t i = 0; i < 6400; i++)
        most = LK_MAX(most, first[i] > second[i] ? first[i] - second[i] : second[i] - first[i]);
    CHECK(most <= 2); /* soxr dithers */
    size_t n = 1;
    CHECK_OK(lk_dsp_resampler_flush(rs, first, 8192, &n));
    CHECK_EQ(n, 0);
    lk_dsp_resampler_free(rs);
}

LK_TEST(channels_do_not_mix)
{
    const lk_dsp_resampler_config config = {48000, 24000, 8, 3, 0};
    static int16_t in[4800 * 8], out[8192 * 8], one[8192];
    lk_dsp_resampler *rs = NULL;
    for (size_t i = 0; i < 4800; i++)
        for (size_t c = 0; c < 8; c++)
            in[i * 8 + c] = c == 5 ? 0 : tone(i, 48000, 300.0 + 100.0 * (double)c);
    if (lk_dsp_resampler_new(&rs, env, &config, NULL) != LK_OK)
        return;
    size_t made, rest;
    CHECK_OK(lk_dsp_resampler_push(rs, in, 4800, out, 8192, &made));
    CHECK_OK(lk_dsp_resampler_flush(rs, out + made * 8, 8192 - made, &rest));
    CHECK_EQ(made + rest, 2400);
    for (size_t c = 0; c < 8; c++) {
        double energy = 0;
        for (size_t i = 0; i < 2400; i++) {
            one[i] = out[i * 8 + c];
            energy += (double)one[i] * one[i];
        }
        if (c == 5)
            CHECK(energy < 2400); /* rounding noise at most */
        else
            CHECK(purity(one, 600, 1800, 24000, 300.0 + 100.0 * (double)c) > 0.999);
    }
    lk_dsp_resampler_free(rs);
}

LK_TEST(what_cannot_be_is_refused_with_a_reason)
{
    static const lk_dsp_resampler_config bad[] = {
        {0, 48000, 1, 2, 0}, {48000, 0, 1, 2, 0}, {48000, 2e7, 1, 2, 0}, {48000, 16000, 0, 2, 0},
        {48000, 16000, 9, 2, 0}, {48000, 16000, 1, 5, 0}, {NAN, 16000, 1, 2, 0}, {48000, -1, 1, 2, 0},
    };
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        lk_dsp_resampler *rs = NULL;
        const char *why = NULL;
        CHECK_EQ(lk_dsp_resampler_new(&rs, env, &bad[i], &why), LK_ERR_INVALID);
        CHECK(!rs && why && *why);
    }
    lk_dsp_resampler_free(NULL);
}
