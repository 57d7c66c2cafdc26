// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_test.h"

LK_TEST(a_runtime_starts_no_thread_and_opens_nothing)
{
    size_t fds = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_room *room = NULL;
    lk_audio_source *source = NULL;
    lk_track *track = NULL;
    CHECK_OK(lk_post_event(rt, 1, NULL));
    CHECK_OK(lk_room_new(&room, rt, NULL));
    CHECK_OK(lk_audio_source_new(&source, rt, NULL));
    if (source)
        CHECK_OK(lk_track_new_audio(&track, source, "microphone"));
    CHECK_EQ(entries("/proc/self/fd"), fds);
    CHECK(entries("/proc/self/task") <= threads); /* one of the test before may have been on its way out */
    lk_track_unref(track);
    lk_audio_source_unref(source);
    lk_room_unref(room);
    lk_runtime_unref(rt);
}

LK_TEST(events_come_in_the_order_they_were_posted)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    for (uint64_t i = 0; i < 50; i++)
        CHECK_OK(lk_post_event(rt, i, rt));
    for (uint64_t i = 0; i < 50; i++) {
        lk_event *e = expect(rt, LK_EVENT_USER);
        if (!e)
            break;
        CHECK_EQ(e->user_value, i);
        CHECK(e->user_data == rt && e->text[0] == 0);
        lk_event_free(e);
    }
    expect_nothing(rt, 0);
    lk_runtime_unref(rt);
}

LK_TEST(arguments_out_of_range_are_refused)
{
    lk_runtime *rt = runtime_new(env);
    lk_event *e = NULL;
    REQUIRE(rt);
    CHECK_EQ(lk_next_event(rt, -2, &e), LK_ERR_INVALID);
    CHECK_EQ(lk_next_event(NULL, 0, &e), LK_ERR_INVALID);
    CHECK_EQ(lk_next_event(rt, 0, NULL), LK_ERR_INVALID);
    CHECK_EQ(lk_runtime_set_log_level(rt, (lk_log_level)9), LK_ERR_INVALID);
    CHECK_EQ(lk_op_cancel(rt, 12345), LK_ERR_NOT_FOUND);
    CHECK_EQ(lk_runtime_fd(NULL), -1);
    lk_event_free(NULL);
    lk_runtime_unref(NULL);
    lk_runtime_unref(rt);
}

LK_TEST(no_more_than_65536_user_events_wait)
{
    if (lk_test_oom())
        return; /* one allocation like the other */
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    for (uint64_t i = 0; i < LK_API_USER_EVENTS_MAX; i++)
        REQUIRE(lk_post_event(rt, i, NULL) == LK_OK);
    CHECK_EQ(lk_post_event(rt, 0, NULL), LK_ERR_FULL);
    lk_event_free(expect(rt, LK_EVENT_USER));
    CHECK_OK(lk_post_event(rt, 0, NULL));
    lk_runtime_unref(rt);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

LK_TEST(the_descriptor_polls_readable_exactly_while_events_wait)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    if (lk_post_event(rt, 1, NULL) == LK_OK && lk_post_event(rt, 2, NULL) == LK_OK) {
        int fd = lk_runtime_fd(rt); /* asked for late: two wait already */
        CHECK(readable(fd));
        lk_event_free(expect(rt, LK_EVENT_USER));
        CHECK(readable(fd));
        lk_event_free(expect(rt, LK_EVENT_USER));
        CHECK(!readable(fd));
        CHECK_EQ(lk_runtime_fd(rt), fd);
        if (lk_post_event(rt, 3, NULL) == LK_OK)
            CHECK(readable(fd));
    }
    lk_runtime_unref(rt);
}

static void count_wakeup(void *user_data) { ++*(int *)user_data; }

LK_TEST(the_wakeup_runs_when_the_queue_stops_being_empty_and_not_again)
{
    int wakeups = 0;
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    CHECK_OK(lk_runtime_set_wakeup(rt, count_wakeup, &wakeups));
    CHECK_EQ(wakeups, 0);
    CHECK_OK(lk_post_event(rt, 1, NULL));
    CHECK_OK(lk_post_event(rt, 2, NULL));
    CHECK_EQ(wakeups, 1);
    lk_event_free(expect(rt, LK_EVENT_USER));
    lk_event_free(expect(rt, LK_EVENT_USER));
    CHECK_OK(lk_post_event(rt, 3, NULL));
    CHECK_EQ(wakeups, 2);
    CHECK_OK(lk_runtime_set_wakeup(rt, NULL, NULL));
    lk_event_free(expect(rt, LK_EVENT_USER));
    CHECK_OK(lk_post_event(rt, 4, NULL));
    CHECK_EQ(wakeups, 2);
    lk_runtime_unref(rt);
}

/* ---- callbacks ---- */

typedef struct heard {
    lk_runtime *rt;
    pthread_t caller;
    uint64_t next;
    int wrong, elsewhere;
    bool unref, stop;
} heard;

static void hear(void *user_data, const lk_event *e)
{
    heard *h = user_data;
    h->wrong += e->type != LK_EVENT_USER || e->user_value != h->next++;
    h->elsewhere += !pthread_equal(pthread_self(), h->caller);
    if (h->stop)
        h->wrong += lk_runtime_stop(h->rt) != LK_OK;
    if (h->unref) {
        h->unref = false;
        lk_runtime_unref(h->rt);
    }
}

LK_TEST(a_stop_delivers_everything_to_the_callback_in_order_and_then_nothing)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    heard h = {.rt = rt, .caller = pthread_self()};
    uint64_t posted = 0;
    CHECK_OK(lk_runtime_set_callback(rt, hear, &h));
    for (int i = 0; i < 50; i++)
        posted += lk_post_event(rt, posted, NULL) == LK_OK;
    CHECK_OK(lk_runtime_stop(rt));
    CHECK_EQ(h.next, posted);
    CHECK_EQ(h.elsewhere, posted);
    CHECK_EQ(h.wrong, 0);
    lk_event *e;
    CHECK_EQ(lk_next_event(rt, 0, &e), LK_ERR_STATE);
    CHECK_OK(lk_runtime_stop(rt)); /* twice */
    CHECK_OK(lk_runtime_set_callback(rt, NULL, NULL));
    CHECK_EQ(lk_next_event(rt, 0, &e), LK_ERR_CLOSED);
    CHECK_EQ(h.next, posted);
    lk_runtime_unref(rt);
}

LK_TEST(a_callback_may_stop_its_runtime)
{
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    heard h = {.rt = rt, .caller = pthread_self(), .stop = true};
    CHECK_OK(lk_runtime_set_callback(rt, hear, &h));
    uint64_t posted = lk_post_event(rt, 0, NULL) == LK_OK;
    posted += posted && lk_post_event(rt, 1, NULL) == LK_OK;
    CHECK_OK(lk_runtime_set_callback(rt, NULL, NULL)); /* waits for the callback that runs */
    uint64_t inside = h.next;
    CHECK_OK(lk_runtime_stop(rt));
    CHECK_EQ(h.next, inside);
    CHECK_EQ(h.wrong, 0);
    lk_event *e;
    for (uint64_t i = inside; i < posted && lk_next_event(rt, 0, &e) == LK_OK; i++) {
        CHECK_EQ(e->user_value, i);
        lk_event_free(e);
    }
    lk_runtime_unref(rt);
}

typedef struct gone {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool now;
    lk_runtime *rt;
    lk_room *room;
} gone;

static void drop_everything(void *user_data, const lk_event *e)
{
    gone *g = user_data;
    LK_UNUSED(e);
    lk_room_unref(g->room);
    lk_runtime_unref(g->rt);
    pthread_mutex_lock(&g->lock);
    g->now = true;
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

LK_TEST(the_last_references_may_be_dropped_inside_a_callback)
{
    if (lk_test_oom())
        return; /* the thread frees the last block after the test has ended */
    api_set_mem(NULL);
    gone g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, NULL, NULL};
    size_t threads = entries("/proc/self/task");
    REQUIRE(lk_runtime_new(&g.rt, NULL) == LK_OK);
    CHECK_OK(lk_room_new(&g.room, g.rt, NULL));
    CHECK_OK(lk_runtime_set_callback(g.rt, drop_everything, &g));
    CHECK_OK(lk_post_event(g.rt, 0, NULL));
    pthread_mutex_lock(&g.lock);
    WAIT_OR_ABORT(&g.now, &g.cond, &g.lock);
    pthread_mutex_unlock(&g.lock);
    CHECK(threads_settle(threads));
}

/* ---- ends ---- */

LK_TEST(objects_outlive_their_runtime_and_say_closed)
{
    lk_runtime *rt = runtime_new(env);
    lk_room *room = NULL;
    lk_audio_source *source = NULL;
    lk_track *track = NULL;
    lk_audio_stream *stream = NULL;
    REQUIRE(rt);
    size_t threads = entries("/proc/self/task");
    CHECK_OK(lk_room_new(&room, rt, NULL));
    CHECK_OK(lk_audio_source_new(&source, rt, NULL));
    if (source)
        CHECK_OK(lk_track_new_audio(&track, source, "t"));
    lk_runtime_unref(rt);
    if (room) {
        CHECK_EQ(lk_room_connect(NULL, room, "ws://127.0.0.1:1", "x", NULL), LK_ERR_CLOSED);
        CHECK_EQ(lk_room_connect(NULL, room, "ws://127.0.0.1:1", "x", NULL), LK_ERR_CLOSED);
        CHECK_EQ(lk_room_disconnect(NULL, room, LK_DISCONNECT_CLIENT_INITIATED, NULL), LK_ERR_CLOSED);
    }
    if (track)
        CHECK_EQ(lk_audio_stream_new(&stream, track, NULL), LK_ERR_CLOSED);
    CHECK(stream == NULL);
    CHECK(threads_settle(threads));
    lk_track_unref(track);
    lk_audio_source_unref(source);
    lk_room_unref(room);
}

LK_TEST(a_stopped_runtime_is_started_again_by_the_next_object)
{
    lk_runtime *rt = runtime_new(env);
    lk_room *room = NULL;
    lk_op op = 0;
    REQUIRE(rt);
    CHECK_OK(lk_room_new(&room, rt, NULL));
    for (int i = 0; room && i < 2; i++) {
        if (CHECK_OK(lk_room_disconnect(&op, room, LK_DISCONNECT_CLIENT_INITIATED, NULL)))
            expect_done(rt, op, LK_OK);
        CHECK_OK(lk_runtime_stop(rt));
        expect_closed(rt);
    }
    lk_room_unref(room);
    lk_runtime_unref(rt);
}

/* ---- fork ---- */

static int in_child(lk_runtime *rt, lk_room *room, lk_audio_source *source, lk_audio_stream *stream, lk_event *event)
{
    lk_event *e;
    lk_room *other;
    lk_participant *p;
    lk_audio_frame *frame;
    const lk_room_info *info;
    const int16_t silence[480] = {0};
    const lk_audio_view view = {silence, 480, 48000, 1};
    const lk_err refused[] = {
        lk_next_event(rt, 0, &e), lk_post_event(rt, 0, NULL), lk_runtime_stop(rt), lk_runtime_set_callback(rt, NULL, NULL),
        lk_runtime_set_wakeup(rt, NULL, NULL), lk_runtime_set_sdk(rt, "a", "b"), lk_runtime_set_log_level(rt, LK_LOG_WARN),
        lk_op_cancel(rt, 1), lk_room_new(&other, rt, NULL), lk_room_connect(NULL, room, "ws://h", "t", NULL),
        lk_room_disconnect(NULL, room, LK_DISCONNECT_UNKNOWN, NULL), lk_room_get_info(&info, room),
        lk_room_local_participant(&p, room), lk_room_find_participant(&p, room, "x"), lk_room_release_events(room),
        lk_room_set_name(NULL, room, "n", NULL), lk_audio_source_capture(NULL, source, &view, NULL),
        lk_audio_source_clear(source), lk_audio_stream_read(&frame, stream, 0), lk_audio_stream_close(stream)};
    for (size_t i = 0; i < LK_LEN(refused); i++)
        if (refused[i] != LK_ERR_FORKED)
            return 10 + (int)i;
    if (lk_runtime_fd(rt) != -1 || lk_room_participants(room, NULL, 0) != 0)
        return 2;
    lk_event_free(event);
    lk_audio_stream_unref(stream);
    lk_audio_source_unref(source);
    lk_room_unref(room);
    lk_runtime_unref(rt);
    return 0;
}

LK_TEST(a_forked_child_is_refused_whatever_the_parent_was_doing)
{
    lk_runtime *rt = runtime_new(env);
    lk_room *room = NULL;
    lk_audio_source *source = NULL;
    lk_track *track = NULL;
    lk_audio_stream *stream = NULL;
    lk_event *event = NULL;
    REQUIRE(rt);
    CHECK_OK(lk_room_new(&room, rt, NULL));
    CHECK_OK(lk_audio_source_new(&source, rt, NULL));
    if (source)
        CHECK_OK(lk_track_new_audio(&track, source, "t"));
    const lk_audio_stream_options o = {.size = sizeof o, .sample_rate = 48000, .num_channels = 1, .pull = true};
    if (track)
        CHECK_OK(lk_audio_stream_new(&stream, track, &o));
    if (lk_post_event(rt, 1, NULL) == LK_OK)
        event = expect(rt, LK_EVENT_USER);
    if (room && stream && event) {
        pthread_mutex_lock(&rt->lock); /* as if another thread held it at this moment */
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE_SEC); /* a child that waits for a lock nobody holds here */
            _exit(in_child(rt, room, source, stream, event));
        }
        pthread_mutex_unlock(&rt->lock);
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status >> 8 | (status & 0x7f) << 8, 0);
    }
    lk_event_free(event);
    lk_audio_stream_unref(stream);
    lk_track_unref(track);
    lk_audio_source_unref(source);
    lk_room_unref(room);
    lk_runtime_unref(rt);
}
