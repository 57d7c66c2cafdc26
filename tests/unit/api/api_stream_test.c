// SPDX-License-Identifier: Apache-2.0
/* Streams on a local track, and conversion. */
#include <math.h>

#include "api_test.h"

typedef struct fixture {
    lk_runtime *rt;
    lk_audio_source *source;
    lk_track *track;
    lk_audio_stream *stream;
} fixture;

static bool setup(fixture *f, lk_env *env, lk_audio_stream_options o)
{
    memset(f, 0, sizeof *f);
    o.size = sizeof o;
    f->rt = runtime_new(env);
    return f->rt && lk_audio_source_new(&f->source, f->rt, NULL) == LK_OK &&
           lk_track_new_audio(&f->track, f->source, "t") == LK_OK &&
           lk_audio_stream_new(&f->stream, f->track, &o) == LK_OK;
}

static void teardown(fixture *f)
{
    lk_audio_stream_unref(f->stream);
    lk_track_unref(f->track);
    lk_audio_source_unref(f->source);
    lk_runtime_unref(f->rt);
}

static lk_audio_stream_options pull(uint32_t rate, uint32_t channels, uint32_t msec)
{
    return (lk_audio_stream_options){.sample_rate = rate, .num_channels = channels, .frame_size_msec = msec, .pull = true,
                                     .queue_size_frames = 10};
}

LK_TEST(a_stream_gives_what_was_captured_bit_for_bit_and_then_silence)
{
    fixture f;
    int16_t ramp[4800];
    for (int i = 0; i < 4800; i++)
        ramp[i] = (int16_t)(i + 1);
    const lk_audio_view v = {ramp, 4800, 48000, 1};
    lk_audio_frame *frame = NULL;
    lk_audio_stream_options o = pull(48000, 1, 10);
    o.queue_size_frames = 0; /* nothing is dropped, however long this thread does not get its turn */
    if (setup(&f, env, o) && next_frame(&frame, f.stream) == LK_OK &&
        CHECK_OK(lk_audio_source_capture(NULL, f.source, &v, NULL))) {
        int next = 0, silent = 0;
        while (next < 4800 && silent < 2000) {
            lk_audio_view got = lk_audio_frame_view(frame);
            CHECK(got.samples_per_channel == 480 && got.sample_rate == 48000 && got.num_channels == 1);
            CHECK_EQ((uintptr_t)got.data % 64, 0);
            if (got.data[0] == 0) {
                silent++;
            } else {
                CHECK_MEM(got.data, 960, ramp + next, 960);
                next += 480;
            }
            lk_audio_frame_drop(frame);
            frame = NULL;
            if (!CHECK_OK(next_frame(&frame, f.stream)))
                break;
        }
        CHECK_EQ(next, 4800);
    }
    lk_audio_frame_drop(frame);
    teardown(&f);
}

LK_TEST(frames_come_in_the_rate_channels_and_length_asked_for)
{
    fixture f;
    lk_audio_frame *frame = NULL;
    if (setup(&f, env, pull(16000, 2, 25)) && CHECK_OK(next_frame(&frame, f.stream))) {
        lk_audio_view got = lk_audio_frame_view(frame);
        CHECK(got.samples_per_channel == 400 && got.sample_rate == 16000 && got.num_channels == 2);
    }
    lk_audio_frame_drop(frame);
    teardown(&f);
}

LK_TEST(a_frame_outlives_stream_track_and_runtime)
{
    fixture f;
    lk_audio_frame *frame = NULL;
    if (setup(&f, env, pull(48000, 1, 10)))
        CHECK_OK(next_frame(&frame, f.stream));
    teardown(&f);
    if (frame) {
        lk_audio_frame *again = lk_audio_frame_keep(frame);
        lk_audio_frame_drop(frame);
        CHECK_EQ(lk_audio_frame_view(again).data[479], 0);
        lk_audio_frame_drop(again);
    }
}

LK_TEST(nobody_takes_the_frames_so_the_oldest_are_dropped_and_counted)
{
    fixture f;
    lk_audio_stream_options o = pull(48000, 1, 10);
    o.queue_size_frames = 2;
    if (setup(&f, env, o)) {
        for (int i = 0; i < 2000 && lk_audio_stream_dropped(f.stream) < 3; i++)
            expect_nothing(f.rt, 10);
        CHECK(lk_audio_stream_dropped(f.stream) >= 3);
        lk_audio_frame *frame = NULL;
        CHECK_OK(lk_audio_stream_close(f.stream));
        CHECK_EQ(lk_audio_stream_read(&frame, f.stream, 0), LK_ERR_CLOSED);
    }
    teardown(&f);
}

LK_TEST(a_closed_stream_ends_once_and_nothing_follows)
{
    fixture f;
    int there = 0;
    const lk_audio_stream_options o = {.sample_rate = 48000, .num_channels = 1, .queue_size_frames = 10, .user_data = &there};
    if (setup(&f, env, o)) {
        lk_event *e = expect(f.rt, LK_EVENT_AUDIO_FRAME);
        if (e)
            CHECK(e->stream == f.stream && e->frame && e->user_data == &there && !e->room);
        lk_event_free(e);
        CHECK_OK(lk_audio_stream_close(f.stream));
        CHECK_OK(lk_audio_stream_close(f.stream));
        lk_event_free(expect(f.rt, LK_EVENT_AUDIO_STREAM_END));
        expect_nothing(f.rt, 50);
    }
    teardown(&f);
}

LK_TEST(the_last_reference_ends_a_stream_without_an_event)
{
    fixture f;
    const lk_audio_stream_options o = {.sample_rate = 48000, .num_channels = 1, .queue_size_frames = 10};
    if (setup(&f, env, o)) {
        lk_event_free(expect(f.rt, LK_EVENT_AUDIO_FRAME));
        lk_audio_stream_unref(f.stream);
        f.stream = NULL;
        expect_nothing(f.rt, 50);
    }
    teardown(&f);
}

LK_TEST(stopping_the_runtime_ends_its_streams_and_lets_go_of_them)
{
    fixture f;
    lk_event *e = NULL;
    const lk_audio_stream_options o = {.sample_rate = 48000, .num_channels = 1, .queue_size_frames = 10};
    if (setup(&f, env, o)) {
        lk_event_free(expect(f.rt, LK_EVENT_AUDIO_FRAME));
        CHECK_OK(lk_runtime_stop(f.rt));
        int ends = 0;
        while (lk_next_event(f.rt, 0, &e) == LK_OK) {
            CHECK_EQ(ends, 0); /* frames may come first, nothing after the end */
            ends += e->type == LK_EVENT_AUDIO_STREAM_END;
            lk_event_free(e);
        }
        CHECK_EQ(ends, 1);
        /* Nobody ticks the source any more: it drains by itself again. */
        static const int16_t sound[4800];
        const lk_audio_view v = {sound, 4800, 48000, 1};
        CHECK_OK(lk_audio_source_capture(NULL, f.source, &v, NULL));
        for (int i = 0; i < 50 && lk_audio_source_queued_msec(f.source) > 0; i++)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
        CHECK_EQ(lk_audio_source_queued_msec(f.source), 0);
    }
    teardown(&f);
}

LK_TEST(a_stream_that_is_not_a_pull_stream_is_not_read)
{
    fixture f;
    lk_audio_frame *frame;
    const lk_audio_stream_options o = {.sample_rate = 48000, .num_channels = 1, .queue_size_frames = 10};
    if (setup(&f, env, o)) {
        CHECK_EQ(lk_audio_stream_read(&frame, f.stream, 0), LK_ERR_STATE);
        lk_audio_stream *never = NULL;
        const lk_audio_stream_options bad[] = {
            {sizeof *bad, 7999, 1, 10, 10, 0, NULL}, {sizeof *bad, 48000, 9, 10, 10, 0, NULL}, {sizeof *bad, 48000, 1, 1001, 1, 0, NULL}};
        for (size_t i = 0; i < LK_LEN(bad); i++)
            CHECK_EQ(lk_audio_stream_new(&never, f.track, &bad[i]), LK_ERR_INVALID);
    }
    teardown(&f);
}

/* ---- conversion ---- */

LK_TEST(a_resampler_gives_exactly_what_the_ratio_asks_for_and_can_be_used_again)
{
    use_test_memory(env);
    lk_resampler *r = NULL;
    lk_resampler_options o;
    lk_resampler_options_init(&o);
    o.output_rate = 16000;
    REQUIRE(lk_resampler_new(&r, &o, NULL) == LK_OK || lk_test_oom());
    CHECK_EQ(lk_resampler_channels(r), r ? 1 : 0);
    int16_t in[480];
    for (int i = 0; i < 480; i++)
        in[i] = (int16_t)(10000 * sin(i * 0.1));
    for (int round = 0; r && round < 2; round++) {
        const int16_t *out;
        size_t n = 0, total = 0;
        for (int i = 0; i < 20; i++) {
            if (!CHECK_OK(lk_resampler_push(&out, &n, r, in, 480)))
                break;
            total += n;
        }
        if (CHECK_OK(lk_resampler_flush(&out, &n, r)))
            total += n;
        CHECK_EQ(total, 3200);
    }
    lk_resampler_unref(r);
}

LK_TEST(a_resampler_says_what_it_does_not_like)
{
    use_test_memory(env);
    lk_resampler *r = NULL;
    lk_error why = {0};
    lk_resampler_options o;
    lk_resampler_options_init(&o);
    o.num_channels = 0;
    lk_err err = lk_resampler_new(&r, &o, &why);
    CHECK(err != LK_OK && r == NULL && why.code == err && why.text[0]);
    lk_resampler_options_init(&o);
    o.output_rate = -1;
    CHECK(lk_resampler_new(&r, &o, NULL) != LK_OK && r == NULL);
    lk_resampler_unref(NULL);
}

LK_TEST(a_remixer_gives_exactly_10_msec_whatever_comes)
{
    use_test_memory(env);
    static const int16_t sound[48000];
    lk_remixer *m = NULL;
    REQUIRE(lk_remixer_new(&m) == LK_OK || lk_test_oom());
    const lk_audio_view views[] = {{sound, 441, 44100, 1}, {sound, 480, 48000, 2}, {sound, 1, 8000, 1}, {sound, 4800, 48000, 8},
                                   {NULL, 0, 48000, 1}};
    const struct {
        uint32_t rate, channels;
    } formats[] = {{48000, 1}, {16000, 2}, {8000, 8}};
    for (size_t i = 0; m && i < LK_LEN(views); i++) {
        for (size_t k = 0; k < LK_LEN(formats); k++) {
            lk_audio_frame *frame = NULL;
            CHECK_OK(lk_remixer_process(&frame, m, &views[i], formats[k].rate, formats[k].channels));
            lk_audio_view got = lk_audio_frame_view(frame);
            CHECK(!frame || (got.samples_per_channel == formats[k].rate / 100 && got.num_channels == formats[k].channels));
            lk_audio_frame_drop(frame);
        }
    }
    lk_audio_frame *frame = NULL;
    CHECK_EQ(lk_remixer_process(&frame, m, &views[0], 999, 1), LK_ERR_INVALID);
    CHECK_EQ(lk_remixer_process(&frame, m, &views[0], 48000, 9), LK_ERR_INVALID);
    CHECK(frame == NULL);
    lk_remixer_unref(m);
}
