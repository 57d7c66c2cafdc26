// SPDX-License-Identifier: Apache-2.0
#include "codec/codec.h"
#include "lk_test.h"

#include <math.h>

#define RATE 48000
#define FRAMES 960
#define PACKETS 150

typedef struct line {
    const lk_audio_codec_ops *ops;
    lk_audio_encoder *encoder;
    lk_audio_decoder *decoder;
    double phase;
    uint64_t at;
} line;

static bool line_init(line *l, const lk_env *env, bool dtx, uint32_t loss_percent)
{
    const lk_audio_encoder_config config = {.channels = 1, .bitrate_bps = 32000, .complexity = 9, .dtx = dtx, .fec = true};
    memset(l, 0, sizeof *l);
    l->ops = lk_audio_codec_find("opus");
    if (l->ops->encoder_new(&l->encoder, env, &config) != LK_OK || l->ops->decoder_new(&l->decoder, env, 1) != LK_OK)
        return false;
    l->ops->encoder_set_loss(l->encoder, loss_percent);
    return true;
}

static void line_deinit(line *l)
{
    l->ops->encoder_free(l->encoder);
    l->ops->decoder_free(l->decoder);
}

/* Speech-like, and a new sound every 50 ms: other pitch, other timbre, other loudness. */
static void speak(line *l, int16_t *out)
{
    for (size_t i = 0; i < FRAMES; i++, l->at++) {
        uint64_t sound = l->at / 2400;
        double s = 0, hz = 180 + 15 * (double)(sound * 7 % 13), formant = 1 + (double)(sound * 5 % 7);
        l->phase += 2 * M_PI * hz / RATE;
        for (int h = 1; h <= 10; h++)
            s += sin(l->phase * h) / (1 + fabs(h - formant));
        out[i] = (int16_t)(2000 * s * (0.5 + 0.1 * (double)(sound * 3 % 11)));
    }
}

/* Best correlation of b with a when b may lag by up to 20 ms. */
static double likeness(const int16_t *a, const int16_t *b, size_t n)
{
    double best = 0;
    for (size_t lag = 0; lag < FRAMES; lag++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t i = 0; i + lag < n; i++) {
            ab += (double)a[i] * b[i + lag];
            aa += (double)a[i] * a[i];
            bb += (double)b[i + lag] * b[i + lag];
        }
        if (aa > 0 && bb > 0)
            best = LK_MAX(best, ab / sqrt(aa * bb));
    }
    return best;
}

LK_TEST(what_is_encoded_decodes_to_nearly_the_same)
{
    line l;
    static int16_t in[PACKETS * FRAMES], out[PACKETS * FRAMES];
    size_t bytes = 0, frames = 0;
    if (line_init(&l, env, false, 0)) {
        for (size_t p = 0; p < PACKETS; p++) {
            uint8_t packet[LK_CODEC_PAYLOAD_MAX];
            int16_t pcm[LK_CODEC_FRAMES_MAX];
            size_t len;
            speak(&l, in + p * FRAMES);
            CHECK_OK(l.ops->encode(l.encoder, in + p * FRAMES, FRAMES, packet, sizeof packet, &len));
            CHECK_EQ(l.ops->duration((lk_bytes){packet, len}), FRAMES);
            CHECK_OK(l.ops->decode(l.decoder, (lk_bytes){packet, len}, pcm, &frames));
            CHECK_EQ(frames, FRAMES);
            memcpy(out + p * FRAMES, pcm, FRAMES * sizeof *out);
            bytes += len;
        }
        CHECK(likeness(in + 20 * FRAMES, out + 20 * FRAMES, 30 * FRAMES) > 0.95);
        CHECK(bytes * 8 > 20000 * PACKETS / 50 && bytes * 8 < 40000 * PACKETS / 50);
    }
    line_deinit(&l);
}

/* Every tenth packet is lost; what is made in its place is compared with what was lost. */
static double likeness_of_lost(const lk_env *env, bool use_fec, size_t *with_fec)
{
    line l;
    static int16_t in[PACKETS * FRAMES], out[PACKETS * FRAMES];
    static uint8_t packets[PACKETS][LK_CODEC_PAYLOAD_MAX];
    static size_t len[PACKETS];
    double sum = 0;
    size_t lost = 0;
    *with_fec = 0;
    if (!line_init(&l, env, false, 20)) {
        line_deinit(&l);
        return -1;
    }
    for (size_t p = 0; p < PACKETS; p++) {
        speak(&l, in + p * FRAMES);
        CHECK_OK(l.ops->encode(l.encoder, in + p * FRAMES, FRAMES, packets[p], sizeof packets[p], &len[p]));
    }
    for (size_t p = 0; p < PACKETS; p++) {
        int16_t pcm[LK_CODEC_FRAMES_MAX] = {0};
        size_t frames = FRAMES;
        lk_bytes next = p + 1 < PACKETS ? (lk_bytes){packets[p + 1], len[p + 1]} : (lk_bytes){NULL, 0};
        if (p % 10 != 9)
            CHECK_OK(l.ops->decode(l.decoder, (lk_bytes){packets[p], len[p]}, pcm, &frames));
        else if (use_fec && l.ops->has_fec(next))
            CHECK_OK(l.ops->decode_fec(l.decoder, next, pcm, FRAMES));
        else
            CHECK_OK(l.ops->conceal(l.decoder, pcm, FRAMES));
        *with_fec += p % 10 == 9 && l.ops->has_fec(next);
        memcpy(out + p * FRAMES, pcm, FRAMES * sizeof *out);
    }
    for (size_t p = 19; p + 2 < PACKETS; p += 10, lost++)
        sum += likeness(in + p * FRAMES, out + p * FRAMES, 2 * FRAMES);
    line_deinit(&l);
    return sum / (double)lost;
}

LK_TEST(a_lost_packet_stands_in_the_next_one_and_sounds_better_than_a_guess)
{
    size_t with_fec = 0;
    double repaired = likeness_of_lost(env, true, &with_fec);
    double guessed = repaired < 0 ? -1 : likeness_of_lost(env, false, &with_fec);
    if (lk_test_oom() || guessed < 0)
        return;
    CHECK(with_fec >= 10);
    CHECK(repaired > 0.9);
    CHECK(repaired > guessed + 0.1);
}

LK_TEST(silence_is_hardly_sent_and_comes_back_as_silence)
{
    line l;
    int16_t in[FRAMES] = {0}, pcm[LK_CODEC_FRAMES_MAX];
    size_t sent = 0, frames;
    if (line_init(&l, env, true, 0)) {
        for (int p = 0; p < 500; p++) {
            uint8_t packet[LK_CODEC_PAYLOAD_MAX];
            size_t len;
            CHECK_OK(l.ops->encode(l.encoder, in, FRAMES, packet, sizeof packet, &len));
            sent += len > 0 && p > 50;
            if (len)
                CHECK_OK(l.ops->decode(l.decoder, (lk_bytes){packet, len}, pcm, &frames));
            else
                CHECK_OK(l.ops->conceal(l.decoder, pcm, FRAMES));
            for (size_t i = 0; i < FRAMES; i++)
                if (pcm[i] > 2 || pcm[i] < -2) {
                    CHECK_EQ(pcm[i], 0);
                    break;
                }
        }
        CHECK(sent > 5 && sent < 60);
    }
    line_deinit(&l);
}

LK_TEST(the_length_of_a_packet_is_read_from_its_first_bytes)
{
    /* By configuration number: SILK 10 20 40 60, hybrid 10 20, CELT 2.5 5 10 20. [RFC6716 s3.1] */
    static const size_t silk[] = {480, 960, 1920, 2880}, celt[] = {120, 240, 480, 960};
    const lk_audio_codec_ops *ops = lk_audio_codec_find("OPUS");
    uint8_t p[LK_CODEC_PACKET_MAX + 1] = {0};
    REQUIRE(ops && lk_audio_codec_at(0) == ops && !lk_audio_codec_at(1) && !lk_audio_codec_find("speex"));
    for (unsigned config = 0; config < 32; config++) {
        size_t one = config < 12 ? silk[config % 4] : config < 16 ? silk[config % 2] : celt[config % 4];
        p[0] = (uint8_t)(config << 3);
        CHECK_EQ(ops->duration((lk_bytes){p, 21}), one);
        p[0] |= 1; /* two of equal size */
        CHECK_EQ(ops->duration((lk_bytes){p, 21}), one * 2);
        p[0] |= 3;
        p[1] = 3; /* three */
        CHECK_EQ(ops->duration((lk_bytes){p, 2}), one * 3 <= LK_CODEC_FRAMES_MAX ? one * 3 : 0);
        p[1] = 0; /* none */
        CHECK_EQ(ops->duration((lk_bytes){p, 21}), 0);
    }
    CHECK_EQ(ops->duration((lk_bytes){p, 0}), 0);
    p[0] = 0x78;
    CHECK_EQ(ops->duration((lk_bytes){p, 1}), FRAMES);
    CHECK_EQ(ops->duration((lk_bytes){p, sizeof p}), 0);
    CHECK(!ops->has_fec((lk_bytes){p, 0}) && !ops->has_fec((lk_bytes){p, 1}));
}

LK_TEST(any_bytes_are_refused_or_decoded_and_the_decoder_lives_on)
{
    line l;
    lk_prng prng;
    lk_prng_init(&prng, 11);
    if (line_init(&l, env, false, 0)) {
        int16_t pcm[LK_CODEC_FRAMES_MAX], in[FRAMES];
        uint8_t packet[LK_CODEC_PAYLOAD_MAX];
        size_t frames, len;
        for (int i = 0; i < 3000; i++) {
            size_t n = lk_prng_next(&prng) % 200;
            (void)lk_prng_fill(&prng, packet, n);
            lk_bytes b = {packet, n};
            (void)l.ops->has_fec(b);
            if (l.ops->decode(l.decoder, b, pcm, &frames) == LK_OK)
                CHECK_EQ(frames, l.ops->duration(b));
            (void)l.ops->decode_fec(l.decoder, b, pcm, FRAMES);
        }
        for (int i = 0; i < 10; i++) {
            speak(&l, in);
            CHECK_OK(l.ops->encode(l.encoder, in, FRAMES, packet, sizeof packet, &len));
            CHECK_OK(l.ops->decode(l.decoder, (lk_bytes){packet, len}, pcm, &frames));
        }
        CHECK(likeness(in, pcm, FRAMES) > 0.3);
    }
    line_deinit(&l);
}

LK_TEST(channel_counts_that_are_not_opus_are_refused)
{
    const lk_audio_codec_ops *ops = lk_audio_codec_find("opus");
    lk_audio_encoder *e = NULL;
    lk_audio_decoder *d = NULL;
    const lk_audio_encoder_config bad[] = {{.channels = 0, .bitrate_bps = 32000}, {.channels = 3, .bitrate_bps = 32000},
                                           {.channels = 1, .bitrate_bps = 32000, .complexity = 11}};
    for (size_t i = 0; i < LK_LEN(bad); i++)
        CHECK_EQ(ops->encoder_new(&e, env, &bad[i]), LK_ERR_INVALID);
    CHECK_EQ(ops->decoder_new(&d, env, 0), LK_ERR_INVALID);
    CHECK_EQ(ops->decoder_new(&d, env, 3), LK_ERR_INVALID);
    CHECK(!e && !d);
}
