/* SPDX-License-Identifier: Apache-2.0
 *
 * client_ops.c - starts every operation of the C API that waits for a server, against one that has stopped to answer.
 *
 *     client_ops URL TOKEN OTHER_TOKEN
 *
 * Speaks in lines "WORD KIND RESULT MSEC EVENTS" and goes on with each line it reads: test_ops.py stops the server, lets
 * it go on, and judges. OTHER_TOKEN is that of the participant whose connect is given up.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static lk_runtime *runtime;
static lk_room *room, *other_room;
static lk_audio_source *source;
static lk_track *published, *fresh[2];
static char sid[64];
static const char *url, *other_token;

static int64_t now_msec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void need(bool ok, const char *what)
{
    if (!ok) {
        printf("failed %s\n", what);
        fflush(stdout);
        _exit(1);
    }
}

/* The end of op; everything else is let go, another end of the same op is counted. */
static lk_err end_of(lk_op op, int *ends)
{
    lk_event *e;
    lk_err code = LK_ERR_AGAIN;
    *ends = 0;
    for (int32_t patience = 20000; lk_next_event(runtime, patience, &e) == LK_OK;) {
        if (e->type == LK_EVENT_OP_DONE && e->op == op) {
            code = e->error.code;
            if (e->publication_info)
                snprintf(sid, sizeof sid, "%s", e->publication_info->sid);
            ++*ends;
            patience = 100; /* a second one would be close behind */
        }
        lk_event_free(e);
    }
    return code;
}

static lk_err begin(lk_op *op, int kind, const lk_op_options *how)
{
    const lk_attribute attribute = {"k", "v"};
    switch (kind) {
    case LK_OP_CONNECT: return lk_room_connect(op, other_room, url, other_token, how);
    case LK_OP_PUBLISH: return lk_room_publish(op, room, fresh[how ? 1 : 0], NULL, how);
    case LK_OP_METADATA: return lk_room_set_metadata(op, room, "m", how);
    case LK_OP_NAME: return lk_room_set_name(op, room, "n", how);
    case LK_OP_ATTRIBUTES: return lk_room_set_attributes(op, room, &attribute, 1, how);
    default: return LK_ERR_INVALID;
    }
}

static const struct {
    int kind;
    const char *name;
} kinds[] = {{LK_OP_CONNECT, "connect"}, {LK_OP_METADATA, "metadata"}, {LK_OP_NAME, "name"},
             {LK_OP_ATTRIBUTES, "attributes"}, {LK_OP_PUBLISH, "publish"}};

static void say(const char *word, const char *name, lk_err code, int64_t since, int ends)
{
    printf("%s %s %s %lld %d\n", word, name, lk_err_name(code), (long long)(now_msec() - since - 100), ends);
    fflush(stdout);
}

static void wait_for_line(const char *word)
{
    char line[32];
    printf("%s\n", word);
    fflush(stdout);
    need(fgets(line, sizeof line, stdin) != NULL, "to be told to go on");
}

/* In a child every call on what the parent has is refused, and the parent does not notice. */
static int in_child(void)
{
    lk_event *e;
    lk_participant *me;
    const lk_room_info *info;
    const lk_err refused[] = {lk_next_event(runtime, 0, &e), lk_room_set_name(NULL, room, "child", NULL),
                              lk_track_set_muted(published, true), lk_track_get_stats(NULL, published, NULL),
                              lk_room_local_participant(&me, room), lk_room_get_info(&info, room),
                              lk_room_disconnect(NULL, room, LK_DISCONNECT_UNKNOWN, NULL), lk_runtime_stop(runtime)};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i] != LK_ERR_FORKED)
            return 10 + (int)i;
    lk_track_unref(published);
    lk_room_unref(room);
    lk_runtime_unref(runtime);
    return 0;
}

static void fork_in_mid_call(void)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(in_child());
    }
    need(waitpid(child, &status, 0) == child, "the child to end");
    printf("child %d\n", status);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    lk_op op;
    int ends;
    need(argc == 4, "three arguments");
    url = argv[1];
    other_token = argv[3];
    need(!lk_runtime_new(&runtime, NULL) && !lk_room_new(&room, runtime, NULL) && !lk_room_new(&other_room, runtime, NULL) &&
             !lk_audio_source_new(&source, runtime, NULL) && !lk_track_new_audio(&published, source, "published") &&
             !lk_track_new_audio(&fresh[0], source, "cancelled") && !lk_track_new_audio(&fresh[1], source, "late"),
         "objects");
    need(!lk_room_connect(&op, room, url, argv[2], NULL) && end_of(op, &ends) == LK_OK, "connect");
    need(!lk_room_publish(&op, room, published, NULL, NULL) && end_of(op, &ends) == LK_OK, "publish");
    fork_in_mid_call();
    wait_for_line("stop-server");

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        need(!begin(&op, kinds[i].kind, NULL), kinds[i].name);
        int64_t since = now_msec();
        lk_err err = lk_op_cancel(runtime, op);
        need(err == LK_OK, "cancel");
        err = end_of(op, &ends);
        say("cancelled", kinds[i].name, err, since, ends);
        need(lk_op_cancel(runtime, op) == LK_ERR_NOT_FOUND, "nothing to cancel twice");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        lk_op_options how;
        lk_op_options_init(&how);
        how.timeout_msec = 300;
        int64_t since = now_msec();
        need(!begin(&op, kinds[i].kind, &how), kinds[i].name);
        lk_err err = end_of(op, &ends);
        say("late", kinds[i].name, err, since, ends);
    }
    wait_for_line("continue-server");
    need(!lk_room_set_name(&op, room, "after", NULL), "name"); /* the server answers in order: the rest is behind it */
    say("after", "name", end_of(op, &ends), now_msec(), ends);
    wait_for_line("judge");
    int64_t since = now_msec();
    need(!lk_room_unpublish(&op, room, sid, NULL), "unpublish");
    say("after", "unpublish", end_of(op, &ends), since, ends);
    lk_runtime_stop(runtime);
    lk_track_unref(published);
    lk_track_unref(fresh[0]);
    lk_track_unref(fresh[1]);
    lk_audio_source_unref(source);
    lk_room_unref(room);
    lk_room_unref(other_room);
    lk_runtime_unref(runtime);
    return 0;
}
