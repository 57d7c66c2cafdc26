/* SPDX-License-Identifier: Apache-2.0
 *
 * epoll.c - a participant in a program that has a loop of its own: a tone that the keyboard mutes and unmutes.
 *
 *     cc epoll.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN
 *
 * One thread, one epoll_wait, three descriptors: the events of the library, the words of the user (mute, unmute, quit)
 * and a clock. Nothing in the loop waits for anything but epoll_wait.
 */
#define _POSIX_C_SOURCE 200809L
#include <livekit/livekit.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RATE = 48000, PIECE = RATE / 50 };

typedef struct app {
    lk_runtime *runtime;
    lk_room *room;
    lk_audio_source *source;
    lk_track *track;
    double now, before; /* the last two samples of the tone */
    double given_sec;   /* sound that the source has taken */
    bool over, failed;
} app;

static void fail(app *a, const char *why)
{
    fprintf(stderr, "epoll: %s\n", why);
    a->over = a->failed = true;
}

/* 20 ms of 440 Hz, from two samples the next one. The end of this capture asks for the next piece: the source says when
 * it has room, so sound needs no clock of ours. */
static void feed(app *a)
{
    int16_t samples[PIECE];
    for (int i = 0; i < PIECE; i++) {
        double next = 1.996683634 * a->now - a->before; /* 2 cos(2 pi 440 / 48000) */
        a->before = a->now;
        a->now = next;
        samples[i] = (int16_t)(next * 8000);
    }
    const lk_audio_view piece = {samples, PIECE, RATE, 1};
    lk_op op; /* without it there would be no event at the end */
    lk_err err = lk_audio_source_capture(&op, a->source, &piece, NULL);
    if (err)
        fail(a, lk_err_text(err));
    a->given_sec += (double)PIECE / RATE;
}

static void on_done(app *a, const lk_event *event)
{
    if (event->error.code)
        fail(a, event->error.text);
    else if (event->op_kind == LK_OP_CONNECT && lk_room_publish(NULL, a->room, a->track, NULL, NULL) != LK_OK)
        fail(a, "cannot publish");
    else if (event->op_kind == LK_OP_PUBLISH)
        printf("published %s\n", event->publication_info->sid);
    if (!a->over && (event->op_kind == LK_OP_PUBLISH || event->op_kind == LK_OP_CAPTURE))
        feed(a);
}

/* Takes everything that waits: the descriptor stays readable until the queue is empty. */
static void on_events(app *a)
{
    lk_event *event;
    while (!a->over && lk_next_event(a->runtime, 0, &event) == LK_OK) {
        switch (event->type) {
        case LK_EVENT_OP_DONE: on_done(a, event); break;
        case LK_EVENT_DISCONNECTED: fail(a, event->error.text); break;
        case LK_EVENT_PARTICIPANT_CONNECTED:
        case LK_EVENT_PARTICIPANT_DISCONNECTED:
        case LK_EVENT_TRACK_MUTED: /* also of ourselves */
        case LK_EVENT_TRACK_UNMUTED:
            printf("%s %s\n", lk_event_name(event->type), event->participant_info->identity);
            break;
        default: break;
        }
        lk_event_free(event);
    }
}

static void on_words(app *a)
{
    char words[256];
    ssize_t len = read(STDIN_FILENO, words, sizeof words - 1);
    words[len > 0 ? len : 0] = 0;
    a->over = a->over || len <= 0;
    for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n")) {
        if (!strcmp(word, "mute") || !strcmp(word, "unmute"))
            lk_track_set_muted(a->track, *word == 'm'); /* the room is told, and an event tells us */
        else if (!strcmp(word, "quit"))
            a->over = true;
        else
            printf("mute, unmute or quit\n");
    }
}

static void loop(app *a)
{
    const struct itimerspec second = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
    int fds[] = {lk_runtime_fd(a->runtime), STDIN_FILENO, timerfd_create(CLOCK_MONOTONIC, 0)};
    int poller = epoll_create1(0);
    uint64_t ticks;
    timerfd_settime(fds[2], 0, &second, NULL);
    for (int i = 0; i < 3; i++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fds[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &wanted))
            fail(a, "one of the descriptors cannot be polled"); /* a file as standard input, for one */
    }
    for (struct epoll_event ready; !a->over && epoll_wait(poller, &ready, 1, -1) == 1; fflush(stdout)) {
        if (ready.data.fd == fds[0])
            on_events(a);
        else if (ready.data.fd == fds[1])
            on_words(a);
        else if (read(fds[2], &ticks, sizeof ticks) == sizeof ticks)
            printf("%.2f s of sound given, %u ms wait\n", a->given_sec, lk_audio_source_queued_msec(a->source));
    }
    close(fds[2]);
    close(poller);
}

int main(int argc, char **argv)
{
    app a = {.now = 0.057564027}; /* sin(2 pi 440 / 48000) */
    if (argc != 3)
        return fprintf(stderr, "usage: epoll URL TOKEN\n"), 2;
    lk_err err = lk_runtime_new(&a.runtime, NULL);
    if (!err && !(err = lk_room_new(&a.room, a.runtime, NULL)) &&
        !(err = lk_audio_source_new(&a.source, a.runtime, NULL)) &&
        !(err = lk_track_new_audio(&a.track, a.source, "tone")))
        err = lk_room_connect(NULL, a.room, argv[1], argv[2], NULL);
    if (err)
        fail(&a, lk_err_text(err));
    else
        loop(&a);
    if (a.runtime)
        lk_runtime_stop(a.runtime); /* leaves the room; waits for the server, but at most a second */
    lk_track_unref(a.track);
    lk_audio_source_unref(a.source);
    lk_room_unref(a.room);
    lk_runtime_unref(a.runtime);
    return a.failed ? 1 : 0;
}
