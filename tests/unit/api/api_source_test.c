// SPDX-License-Identifier: Apache-2.0
/* The rules by which a source drains, in real time. */
#include "api_test.h"

static int16_t sound[48000 * 10];

static lk_audio_view view_msec(uint32_t msec) { return (lk_audio_view){sound, 48 * msec, 48000, 1}; }

static lk_audio_source *source_new(lk_runtime *rt, uint32_t queue_msec)
{
    lk_audio_source *s = NULL;
    lk_audio_source_options o;
    lk_audio_source_options_init(&o);
    o.queue_size_msec = queue_msec;
    CHECK_OK(lk_audio_source_new(&s, rt, &o));
    return s;
}

LK_TEST(a_capture_ends_at_once_while_the_queue_is_not_full)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 1000);
    for (int i = 0; s && i < 5; i++) {
        lk_op op = 0;
        lk_audio_view v = view_msec(200);
        if (CHECK_OK(lk_audio_source_capture(&op, s, &v, NULL)))
            expect_done(rt, op, LK_OK);
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(a_source_drains_10_msec_every_10_msec_from_its_creation_without_a_listener)
{
    if (lk_test_oom())
        return; /* long, and nothing in it that the others do not ask memory for */
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_usec before = api_now();
    lk_audio_source *s = source_new(rt, 1000);
    lk_audio_view v = view_msec(500);
    if (s && lk_audio_source_capture(NULL, s, &v, NULL) == LK_OK) {
        lk_usec after = api_now();
        for (uint32_t left = 500; left > 300;) {
            lk_usec t0 = api_now();
            left = lk_audio_source_queued_msec(s);
            lk_usec t1 = api_now();
            /* Ticks are on the 10 ms grid of the creation, which lies between before and after. */
            CHECK(left * 1000 <= LK_MAX(500000 - (t0 - after) + 10000, 0));
            CHECK((lk_usec)left * 1000 >= 500000 - (t1 - before) - 10000);
            CHECK_EQ(left % 10, 0);
            if (left * 1000 + (uint64_t)(t1 - before) > 530000)
                break;
            expect_nothing(rt, 20);
        }
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(a_capture_over_the_queue_ends_when_it_has_drained_to_its_size)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 9000);
    lk_op op = 0, second = 0;
    lk_audio_view v = view_msec(9200);
    lk_usec before = api_now();
    if (s && lk_audio_source_capture(&op, s, &v, NULL) == LK_OK) {
        if (expect_done(rt, op, LK_OK)) {
            lk_usec took = api_now() - before;
            CHECK(took >= 190000 && took < 5000000); /* all of it is played after 9.2 s */
            CHECK(lk_audio_source_queued_msec(s) <= 9000);
        }
        v = view_msec(10);
        CHECK_OK(lk_audio_source_capture(&second, s, &v, NULL));
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(clear_forgets_the_queue_and_ends_what_waits)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 100);
    lk_op op = 0, second = 0;
    lk_audio_view v = view_msec(10000);
    lk_usec before = api_now();
    if (s && lk_audio_source_capture(&op, s, &v, NULL) == LK_OK) {
        CHECK_EQ(lk_audio_source_capture(&second, s, &v, NULL), LK_ERR_STATE);
        if (lk_audio_source_clear(s) == LK_OK) {
            CHECK_EQ(lk_audio_source_queued_msec(s), 0);
            if (expect_done(rt, op, LK_OK))
                CHECK(api_now() - before < 5000000); /* of 9.9 s */
        }
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(a_pending_capture_is_given_up_and_the_next_one_is_taken)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 100);
    lk_op op = 0;
    lk_audio_view v = view_msec(10000);
    if (s && lk_audio_source_capture(&op, s, &v, NULL) == LK_OK) {
        CHECK_OK(lk_op_cancel(rt, op));
        expect_done(rt, op, LK_ERR_CANCELLED);
        CHECK_EQ(lk_op_cancel(rt, op), LK_ERR_NOT_FOUND);
        CHECK_OK(lk_audio_source_clear(s));
        v = view_msec(10);
        if (CHECK_OK(lk_audio_source_capture(&op, s, &v, NULL)))
            expect_done(rt, op, LK_OK);
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

static void deadline(lk_env *env, bool heard)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 100);
    lk_track *track = NULL;
    lk_audio_stream *stream = NULL;
    lk_op op = 0;
    lk_op_options how;
    lk_op_options_init(&how);
    how.timeout_msec = 50;
    how.user_data = rt;
    const lk_audio_stream_options o = {.size = sizeof o, .sample_rate = 48000, .num_channels = 1, .pull = true,
                                       .queue_size_frames = 10};
    lk_audio_frame *frame = NULL;
    if (s && heard && lk_track_new_audio(&track, s, "t") == LK_OK && lk_audio_stream_new(&stream, track, &o) == LK_OK)
        CHECK_OK(next_frame(&frame, stream)); /* the loop ticks the source from now on */
    lk_audio_frame_drop(frame);
    lk_audio_view v = view_msec(10000);
    lk_usec before = api_now();
    if (s && lk_audio_source_capture(&op, s, &v, &how) == LK_OK) {
        lk_event *e = expect(rt, LK_EVENT_OP_DONE);
        if (e) {
            CHECK_EQ(e->error.code, LK_ERR_TIMEOUT);
            CHECK(e->user_data == rt && e->source == s && e->op_kind == LK_OP_CAPTURE);
            CHECK(api_now() - before >= 50000 && api_now() - before < 5000000); /* of 9.9 s */
        }
        lk_event_free(e);
    }
    lk_audio_stream_unref(stream);
    lk_track_unref(track);
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(a_capture_has_a_deadline_when_nobody_listens) { deadline(env, false); }
LK_TEST(a_capture_has_a_deadline_when_somebody_listens) { deadline(env, true); }

LK_TEST(what_does_not_fit_the_source_is_refused)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 100), *direct = source_new(rt, 0);
    if (s && direct) {
        const struct {
            lk_audio_source *source;
            lk_audio_view view;
            lk_err err;
        } cases[] = {
            {s, {sound, 480, 44100, 1}, LK_ERR_INVALID},       {s, {sound, 480, 48000, 2}, LK_ERR_INVALID},
            {s, {NULL, 480, 48000, 1}, LK_ERR_INVALID},        {s, {sound, 48000 * 60, 48000, 1}, LK_ERR_LIMIT},
            {direct, {sound, 960, 48000, 1}, LK_ERR_STATE},    {direct, {sound, 479, 48000, 1}, LK_ERR_STATE},
            {s, {NULL, 0, 48000, 1}, LK_OK},                   {direct, {sound, 480, 48000, 1}, LK_OK},
        };
        for (size_t i = 0; i < LK_LEN(cases); i++) {
            lk_op op = 0;
            lk_err err = lk_audio_source_capture(&op, cases[i].source, &cases[i].view, NULL);
            CHECK_STR(lk_err_name(err), lk_err_name(cases[i].err));
            if (err == LK_OK)
                expect_done(rt, op, LK_OK);
        }
        CHECK_EQ(lk_audio_source_capture(NULL, s, NULL, NULL), LK_ERR_INVALID);
        expect_nothing(rt, 0);
    }
    const lk_audio_source_options bad[] = {{sizeof *bad, 999, 1, 100, 0, 0, 0, NULL},
                                           {sizeof *bad, 384001, 1, 100, 0, 0, 0, NULL},
                                           {sizeof *bad, 48000, 0, 100, 0, 0, 0, NULL},
                                           {sizeof *bad, 48000, 9, 100, 0, 0, 0, NULL},
                                           {sizeof *bad, 48000, 1, 60001, 0, 0, 0, NULL}};
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        lk_audio_source *never = NULL;
        CHECK_EQ(lk_audio_source_new(&never, rt, &bad[i]), LK_ERR_INVALID);
    }
    lk_audio_source_unref(direct);
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(without_an_operation_a_full_queue_refuses)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 5000);
    lk_audio_view v = view_msec(10000);
    if (s) {
        CHECK_OK(lk_audio_source_capture(NULL, s, &v, NULL));
        CHECK_EQ(lk_audio_source_capture(NULL, s, &v, NULL), LK_ERR_FULL);
        expect_nothing(rt, 0);
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(stopping_the_runtime_ends_a_capture_and_leaves_the_source_usable)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 100);
    lk_op op = 0;
    lk_audio_view v = view_msec(10000);
    if (s && lk_audio_source_capture(&op, s, &v, NULL) == LK_OK) {
        CHECK_OK(lk_runtime_stop(rt));
        expect_done(rt, op, LK_ERR_CANCELLED);
        expect_closed(rt);
        CHECK_OK(lk_audio_source_clear(s));
        v = view_msec(150);
        if (CHECK_OK(lk_audio_source_capture(&op, s, &v, NULL)))
            expect_done(rt, op, LK_OK);
    }
    lk_audio_source_unref(s);
    lk_runtime_unref(rt);
}

LK_TEST(a_source_dropped_while_a_capture_waits_still_ends_it)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_audio_source *s = source_new(rt, 10);
    lk_op op = 0;
    lk_audio_view v = view_msec(100);
    lk_err err = s ? lk_audio_source_capture(&op, s, &v, NULL) : LK_ERR_NOMEM;
    lk_audio_source_unref(s);
    if (err == LK_OK)
        expect_done(rt, op, LK_OK);
    lk_runtime_unref(rt);
}
