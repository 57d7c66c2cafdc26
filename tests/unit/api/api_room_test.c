// SPDX-License-Identifier: Apache-2.0
/* Rooms without a server: what fails, what is given up, and what is torn down while it connects. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api_test.h"

/* A port that takes connections and never says a word; closed: one that refuses. */
static int mute_port(char *url, size_t size, bool closed)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 64) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &len) == 0;
    CHECK(ok);
    snprintf(url, size, "ws://127.0.0.1:%u", ntohs(at.sin_port));
    if (closed)
        close(fd);
    return closed ? -1 : fd;
}

static lk_room *room_new(lk_runtime *rt, uint32_t retries, uint32_t timeout_msec)
{
    lk_room *room = NULL;
    lk_room_options o;
    lk_room_options_init(&o);
    o.join_retries = retries;
    o.connect_timeout_msec = timeout_msec;
    CHECK_OK(lk_room_new(&room, rt, &o));
    return room;
}

LK_TEST(a_refused_port_ends_the_connect_and_the_room_can_try_again_at_once)
{
    char url[64];
    mute_port(url, sizeof url, true);
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    lk_room *room = room_new(rt, 0, 20000);
    for (int i = 0; room && i < 5; i++) {
        lk_op op = 0;
        if (!CHECK_OK(lk_room_connect(&op, room, url, "token", NULL)))
            break;
        lk_event *e = expect(rt, LK_EVENT_OP_DONE);
        if (!e)
            break;
        CHECK_EQ(e->op, op);
        CHECK_EQ(e->op_kind, LK_OP_CONNECT);
        CHECK_STR(lk_err_name(e->error.code), "NETWORK");
        CHECK(strstr(e->error.text, "token") == NULL && e->room == room && !e->participant);
        lk_event_free(e);
    }
    expect_nothing(rt, 0);
    lk_room_unref(room);
    lk_runtime_unref(rt);
}

static atomic_size_t engine_bytes;
static void *engine_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    atomic_fetch_add(&engine_bytes, size);
    return malloc(size);
}
static void *engine_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    atomic_fetch_add(&engine_bytes, new_size - (p ? old_size : 0));
    return realloc(p, new_size);
}
static void engine_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    atomic_fetch_sub(&engine_bytes, p ? size : 0);
    free(p);
}

static bool is_dialled(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = 0;
    for (int turns = 0; ready == 0 && is_patient(turns); turns++)
        ready = poll(&p, 1, TURN_MSEC);
    return ready == 1;
}

LK_TEST(connections_that_are_refused_or_hang_up_leave_no_memory_in_the_engine)
{
    static const lk_mem counted = {NULL, engine_alloc, engine_resize, engine_release};
    char refused[64], mute[64];
    mute_port(refused, sizeof refused, true);
    int fd = mute_port(mute, sizeof mute, false);
    lk_runtime *rt = runtime_new(env);
    REQUIRE(rt);
    rt->env.mem = &counted; /* nothing was made with it yet */
    atomic_store(&engine_bytes, 0);
    lk_room *room = room_new(rt, 0, 20000);
    for (int i = 0; room && i < 4; i++) {
        lk_op op = 0;
        if (!CHECK_OK(lk_room_connect(&op, room, i % 2 ? mute : refused, "token", NULL)))
            break;
        if (i % 2 && is_dialled(fd))
            close(accept(fd, NULL, NULL)); /* takes the connection and ends it without a word */
        expect_done(rt, op, LK_ERR_NETWORK);
    }
    lk_room_unref(room);
    CHECK_OK(lk_runtime_stop(rt));
    CHECK_EQ(atomic_load(&engine_bytes), 0);
    lk_runtime_unref(rt);
    close(fd);
}

LK_TEST(a_connect_to_a_host_that_never_answers_is_given_up_on_demand)
{
    char url[64];
    int fd = mute_port(url, sizeof url, false);
    lk_runtime *rt = runtime_new(env);
    lk_room *room = rt ? room_new(rt, 0, 60000) : NULL; /* longer than one waits for the end */
    lk_op op = 0;
    if (room && CHECK_OK(lk_room_connect(&op, room, url, "token", NULL))) {
        CHECK_EQ(lk_room_connect(NULL, room, url, "token", NULL), LK_ERR_STATE);
        CHECK_OK(lk_op_cancel(rt, op));
        expect_done(rt, op, LK_ERR_CANCELLED);
        CHECK_EQ(lk_op_cancel(rt, op), LK_ERR_NOT_FOUND);
        expect_nothing(rt, 20);
    }
    lk_room_unref(room);
    lk_runtime_unref(rt);
    close(fd);
}

LK_TEST(a_connect_has_a_deadline_of_its_own_and_one_of_the_caller)
{
    char url[64];
    int fd = mute_port(url, sizeof url, false);
    lk_runtime *rt = runtime_new(env);
    lk_room *quick = rt ? room_new(rt, 1, 100) : NULL, *slow = rt ? room_new(rt, 3, 20000) : NULL;
    lk_op op = 0;
    lk_op_options how;
    lk_op_options_init(&how);
    how.timeout_msec = 100;
    lk_usec before = api_now();
    if (quick && CHECK_OK(lk_room_connect(&op, quick, url, "token", NULL)) && expect_done(rt, op, LK_ERR_TIMEOUT)) {
        lk_usec took = api_now() - before; /* (1 + join_retries) * connect_timeout_msec */
        CHECK(took >= 190000 && took < 5000000);
    }
    before = api_now();
    if (slow && CHECK_OK(lk_room_connect(&op, slow, url, "token", &how)) && expect_done(rt, op, LK_ERR_TIMEOUT))
        CHECK(api_now() - before >= 100000);
    lk_room_unref(quick);
    lk_room_unref(slow);
    lk_runtime_unref(rt);
    close(fd);
}

LK_TEST(a_disconnect_ends_a_connect_that_is_under_way)
{
    char url[64];
    int fd = mute_port(url, sizeof url, false);
    lk_runtime *rt = runtime_new(env);
    lk_room *room = rt ? room_new(rt, 0, 60000) : NULL;
    lk_op connect = 0, leave = 0;
    if (room && CHECK_OK(lk_room_connect(&connect, room, url, "token", NULL)) &&
        CHECK_OK(lk_room_disconnect(&leave, room, LK_DISCONNECT_CLIENT_INITIATED, NULL))) {
        expect_done(rt, connect, LK_ERR_CANCELLED);
        expect_done(rt, leave, LK_OK);
        expect_nothing(rt, 20);
        if (CHECK_OK(lk_room_connect(&connect, room, url, "token", NULL)))
            CHECK_OK(lk_op_cancel(rt, connect));
    }
    lk_room_unref(room);
    lk_runtime_unref(rt);
    close(fd);
}

LK_TEST(a_stop_with_everything_alive_answers_each_operation_once)
{
    enum { ROOMS = 20 };
    char url[64];
    int fd = mute_port(url, sizeof url, false);
    lk_runtime *rt = runtime_new(env);
    lk_room *rooms[ROOMS] = {NULL};
    lk_op ops[ROOMS] = {0};
    lk_event *e;
    size_t begun = 0, ended = 0;
    for (size_t i = 0; rt && i < ROOMS; i++)
        if ((rooms[i] = room_new(rt, 0, 20000)) != NULL)
            begun += CHECK_OK(lk_room_connect(&ops[i], rooms[i], url, "token", NULL));
    lk_usec before = api_now();
    if (rt) {
        CHECK_OK(lk_runtime_stop(rt));
        CHECK(api_now() - before < 6000000); /* farewells have a second */
        while (lk_next_event(rt, 0, &e) == LK_OK) {
            bool known = false;
            for (size_t i = 0; i < ROOMS; i++) {
                known = known || (ops[i] && e->op == ops[i]);
                if (e->op == ops[i])
                    ops[i] = 0;
            }
            CHECK(known && e->type == LK_EVENT_OP_DONE && e->error.code == LK_ERR_CANCELLED);
            ended++;
            lk_event_free(e);
        }
        CHECK_EQ(ended, begun);
        CHECK_OK(lk_runtime_stop(rt));
    }
    for (size_t i = 0; i < ROOMS; i++)
        lk_room_unref(rooms[i]);
    lk_runtime_unref(rt);
    close(fd);
}

LK_TEST(everything_may_be_dropped_during_a_connect_in_any_order)
{
    char url[64];
    int fd = mute_port(url, sizeof url, false);
    for (int order = 0; order < 2; order++) {
        lk_runtime *rt = runtime_new(env);
        lk_room *room = rt ? room_new(rt, 3, 5000) : NULL;
        if (room)
            CHECK_OK(lk_room_connect(NULL, room, url, "token", NULL));
        if (order == 0)
            lk_room_unref(room);
        lk_runtime_unref(rt);
        if (order == 1)
            lk_room_unref(room);
    }
    close(fd);
}

LK_TEST(a_room_that_is_not_connected_says_so)
{
    lk_runtime *rt = runtime_new(env);
    lk_room *room = rt ? room_new(rt, 0, 1000) : NULL;
    lk_audio_source *source = NULL;
    lk_track *track = NULL;
    lk_op op = 0;
    if (room && lk_audio_source_new(&source, rt, NULL) == LK_OK && lk_track_new_audio(&track, source, "t") == LK_OK) {
        lk_participant *p = NULL;
        const lk_room_info *info = NULL;
        const lk_track_info *track_info = NULL;
        CHECK_EQ(lk_room_publish(NULL, room, track, NULL, NULL), LK_ERR_STATE);
        CHECK_EQ(lk_room_unpublish(NULL, room, "TR_x", NULL), LK_ERR_STATE);
        CHECK_EQ(lk_room_set_metadata(NULL, room, "m", NULL), LK_ERR_STATE);
        CHECK_EQ(lk_room_get_stats(NULL, room, NULL), LK_ERR_STATE);
        CHECK_EQ(lk_room_set_track_permissions(room, true, NULL, 0), LK_ERR_STATE);
        CHECK_EQ(lk_room_local_participant(&p, room), LK_ERR_STATE);
        CHECK_EQ(lk_room_find_participant(&p, room, "a"), LK_ERR_NOT_FOUND);
        CHECK_EQ(lk_room_participants(room, NULL, 0), 0);
        if (CHECK_OK(lk_room_get_info(&info, room)))
            CHECK_EQ(info->state, LK_CONNECTION_STATE_DISCONNECTED);
        lk_info_unref(info);
        if (CHECK_OK(lk_track_set_muted(track, true)) && CHECK_OK(lk_track_get_info(&track_info, track)))
            CHECK(track_info->muted && track_info->is_local && strcmp(track_info->sid, "TR_unknown") == 0);
        lk_info_unref(track_info);
        CHECK_EQ(lk_track_set_enabled(track, true), LK_ERR_INVALID);
        if (CHECK_OK(lk_track_get_stats(&op, track, NULL)))
            expect_done(rt, op, LK_ERR_NOT_FOUND);
        if (CHECK_OK(lk_room_disconnect(&op, room, LK_DISCONNECT_CLIENT_INITIATED, NULL)))
            expect_done(rt, op, LK_OK);
    }
    lk_track_unref(track);
    lk_audio_source_unref(source);
    lk_room_unref(room);
    lk_runtime_unref(rt);
}

LK_TEST(what_is_not_built_is_refused_by_name)
{
    lk_runtime *rt = runtime_new(env);
    lk_room_options o;
    lk_room *relay = NULL, *secret = NULL;
    REQUIRE(rt);
    lk_room_options_init(&o);
    o.ice_transport = LK_ICE_TRANSPORT_RELAY;
    CHECK_OK(lk_room_new(&relay, rt, &o));
    lk_room_options_init(&o);
    o.encryption = LK_ENCRYPTION_GCM;
    CHECK_OK(lk_room_new(&secret, rt, &o));
    lk_room *const rooms[] = {relay, secret};
    const char *const names[] = {"RELAY", "ncryption"};
    for (size_t i = 0; i < 2; i++) {
        if (!rooms[i] || !CHECK_OK(lk_room_connect(NULL, rooms[i], "ws://127.0.0.1:1", "token", NULL)))
            continue;
        lk_event *e = expect(rt, LK_EVENT_OP_DONE);
        if (e && CHECK_STR(lk_err_name(e->error.code), "UNSUPPORTED"))
            CHECK(strstr(e->error.text, names[i]) || strstr(e->error.text, i ? "encryption" : "relay"));
        lk_event_free(e);
    }
    lk_room_unref(relay);
    lk_room_unref(secret);
    lk_runtime_unref(rt);
}
