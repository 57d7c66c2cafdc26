/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c - joins a room, listens to everything and shows get_stats of every track, once a second, as a table.
 *
 *     cc stats.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN [SECONDS]
 *
 * Here the library calls us: all events are delivered to on_event(), one after the other, on one thread of its own.
 * Everything the program knows is touched there and nowhere else; the main thread only says when a second is over.
 */
#define _POSIX_C_SOURCE 200809L
#include <livekit/livekit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TRACKS_MAX = 256 };

typedef struct row {
    lk_track *track; /* NULL: ended; its row is not used again, for a report may still be on its way to it */
    lk_audio_stream *stream;
    char who[24], name[24];
    uint64_t bytes; /* at the last look, */
    int64_t usec;   /* which was then */
} row;

static struct view {
    lk_room *room;
    row rows[TRACKS_MAX];
    size_t count;
    bool connected, failed;
    double rtt_msec;
} view;

/* A track is decoded, and measured as a listener would, while a stream listens to it. With pull nobody is told of the
 * frames: who wants them calls lk_audio_stream_read, and without that the oldest make room for the newest. */
static void add_row(const lk_event *event)
{
    if (view.count == TRACKS_MAX)
        return;
    row *r = &view.rows[view.count++];
    snprintf(r->who, sizeof r->who, "%s", event->participant_info->identity);
    snprintf(r->name, sizeof r->name, "%s", event->publication_info->name);
    r->track = lk_track_ref(event->track); /* the event's own reference ends with the event */
    lk_audio_stream_options options;
    lk_audio_stream_options_init(&options);
    options.pull = true;
    if (lk_audio_stream_new(&r->stream, r->track, &options) != LK_OK)
        r->stream = NULL; /* no audio: the row shows what arrives, not how it sounds */
}

static void end_row(row *r)
{
    lk_audio_stream_unref(r->stream);
    lk_track_unref(r->track);
    r->stream = NULL;
    r->track = NULL;
}

/* Asks; the reports come as ends of operations, each with the user_data it was asked with. */
static void ask(void)
{
    printf("%s%-16s %-16s %9s %9s %6s %10s %9s %6s   round trip %.1f ms\n", isatty(STDOUT_FILENO) ? "\033[H\033[J" : "",
           "participant", "track", "packets", "kbit/s", "lost", "jitter ms", "concealed", "level", view.rtt_msec);
    fflush(stdout);
    lk_room_get_stats(NULL, view.room, NULL);
    for (size_t i = 0; i < view.count; i++) {
        lk_op_options how;
        lk_op_options_init(&how);
        how.user_data = &view.rows[i];
        if (view.rows[i].track)
            lk_track_get_stats(NULL, view.rows[i].track, &how);
    }
}

/* A report is an array of entries of many kinds, as webrtc-stats names them: walk it and pick. */
static void on_report(row *r, const lk_stats *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!r && entries[i].kind == LK_STATS_candidate_pair && entries[i].candidate_pair.candidate_pair.nominated)
            view.rtt_msec = entries[i].candidate_pair.candidate_pair.current_round_trip_time * 1000;
        if (!r || !r->track || entries[i].kind != LK_STATS_inbound_rtp)
            continue;
        const lk_stats_inbound_rtp_entry *in = &entries[i].inbound_rtp;
        double seconds = (double)(in->rtc.timestamp - r->usec) / 1e6;
        double kbps = r->usec ? (double)(in->inbound.bytes_received - r->bytes) * 8 / 1000 / seconds : 0;
        r->bytes = in->inbound.bytes_received;
        r->usec = in->rtc.timestamp;
        printf("%-16s %-16s %9llu %9.1f %6lld %10.1f %9llu %6.3f\n", r->who, r->name,
               (unsigned long long)in->received.packets_received, kbps, (long long)in->received.packets_lost,
               in->received.jitter * 1000, (unsigned long long)in->inbound.concealed_samples, in->inbound.audio_level);
    }
    fflush(stdout);
}

static void on_event(void *user_data, const lk_event *event)
{
    (void)user_data;
    if (event->type == LK_EVENT_TRACK_SUBSCRIBED)
        add_row(event);
    for (size_t i = 0; event->type == LK_EVENT_TRACK_UNSUBSCRIBED && i < view.count; i++)
        if (view.rows[i].track == event->track)
            end_row(&view.rows[i]);
    if (event->type == LK_EVENT_OP_DONE && event->op_kind == LK_OP_CONNECT)
        view.connected = !event->error.code;
    if (event->type == LK_EVENT_OP_DONE && event->op_kind == LK_OP_STATS && !event->error.code)
        on_report(event->user_data, event->stats, event->stats_count);
    if (event->type == LK_EVENT_USER && view.connected) /* what main() posts */
        ask();
    bool refused = event->type == LK_EVENT_OP_DONE && event->op_kind == LK_OP_CONNECT && event->error.code;
    if (refused || (event->type == LK_EVENT_DISCONNECTED && event->reason != LK_DISCONNECT_CLIENT_INITIATED)) {
        fprintf(stderr, "stats: %s (%s)\n", event->error.text, lk_err_name(event->error.code));
        view.failed = true;
        kill(getpid(), SIGTERM); /* main() waits for it */
    }
}

int main(int argc, char **argv)
{
    long seconds = argc == 4 ? strtol(argv[3], NULL, 10) : -1;
    if (argc < 3 || argc > 4 || seconds == 0)
        return fprintf(stderr, "usage: stats URL TOKEN [SECONDS]\n"), 2;
    sigset_t signals; /* blocked before the first thread starts: they are for sigtimedwait alone */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    lk_runtime *runtime = NULL;
    lk_err err = lk_runtime_new(&runtime, NULL);
    if (!err && !(err = lk_runtime_set_callback(runtime, on_event, NULL)) &&
        !(err = lk_room_new(&view.room, runtime, NULL)))
        err = lk_room_connect(NULL, view.room, argv[1], argv[2], NULL);
    const struct timespec second = {.tv_sec = 1};
    while (!err && seconds-- && sigtimedwait(&signals, NULL, &second) < 0)
        err = lk_post_event(runtime, 0, NULL); /* behind what is queued: comes back in on_event() */
    if (err)
        fprintf(stderr, "stats: %s\n", lk_err_text(err));
    if (runtime)
        lk_runtime_stop(runtime); /* leaves the room; no callback runs any more when it returns */
    for (size_t i = 0; i < view.count; i++)
        end_row(&view.rows[i]);
    lk_room_unref(view.room);
    lk_runtime_unref(runtime);
    return err || view.failed ? 1 : 0;
}
