/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_stats.c - `lkc stats`: joins a room, subscribes to everything and shows get_stats of every track each second.
 *
 * Every audio track gets a stream whose frames nobody takes: decoding, concealment and level are then measured as
 * for a listener. All of it runs on the main thread by lk_next_event.
 */
#include "lkc.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TRACKS_MAX = 64, REFRESH_MSEC = 1000, WAKE_MSEC = 100 };

/* What the table keeps of a look, to show rates. */
typedef struct lkc_look {
    int64_t time_usec;
    uint64_t bytes, emitted, samples, concealed;
    double buffer_seconds;
} lkc_look;

typedef struct lkc_row {
    lk_track *track; /* NULL: free */
    lk_audio_stream *stream;
    char who[64], name[64], sid[64];
    lk_media_kind kind;
    bool muted, asked;
    lk_stats *entries; /* the newest report */
    size_t entry_count;
    lkc_look last;
} lkc_row;

typedef struct lkc_view {
    lk_runtime *runtime;
    lk_room *room;
    lkc_row rows[TRACKS_MAX];
    size_t waiting;      /* reports asked for and not yet here */
    lk_stats *session;
    size_t session_count;
    bool json, live, connected, over;
    long left; /* refreshes still to show; < 0: no end */
    int drawn, status;
    int64_t next_msec, began_msec;
} lkc_view;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static int64_t now_msec(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- tracks ------------------------------------------------------------------------------------------ */

static lkc_row *find_row(lkc_view *v, const lk_track *track)
{
    for (size_t i = 0; i < TRACKS_MAX; i++)
        if (v->rows[i].track == track)
            return &v->rows[i];
    return NULL;
}

static void drop_row(lkc_row *row)
{
    lk_audio_stream_unref(row->stream);
    lk_track_unref(row->track);
    free(row->entries);
    *row = (lkc_row){0};
}

static void add_row(lkc_view *v, const lk_event *event)
{
    lkc_row *row = find_row(v, event->track);
    if (!row)
        row = find_row(v, NULL);
    if (!row || row->track)
        return; /* the table is full, or it is there already */
    row->track = lk_track_ref(event->track);
    row->kind = event->track_info->kind;
    row->muted = event->publication_info->muted;
    snprintf(row->who, sizeof row->who, "%s", event->participant_info->identity);
    snprintf(row->name, sizeof row->name, "%s", event->publication_info->name);
    snprintf(row->sid, sizeof row->sid, "%s", event->publication_info->sid);
    if (row->kind == LK_MEDIA_KIND_AUDIO) {
        lk_audio_stream_options options;
        lk_audio_stream_options_init(&options);
        options.pull = true;
        if (lk_audio_stream_new(&row->stream, row->track, &options))
            row->stream = NULL; /* then the columns of playout stay empty */
    }
}

/* ---- reports ----------------------------------------------------------------------------------------- */

static void ask(lkc_view *v)
{
    v->waiting = lk_room_get_stats(NULL, v->room, NULL) == LK_OK;
    for (size_t i = 0; i < TRACKS_MAX; i++) {
        lkc_row *row = &v->rows[i];
        lk_op_options how;
        lk_op_options_init(&how);
        how.user_data = row;
        row->asked = row->track && lk_track_get_stats(NULL, row->track, &how) == LK_OK;
        v->waiting += row->asked;
    }
}

static void keep(lk_stats **entries, size_t *count, const lk_event *event)
{
    lk_stats *copy = event->stats_count ? malloc(event->stats_count * sizeof *copy) : NULL;
    if (event->stats_count && !copy)
        return;
    if (copy)
        memcpy(copy, event->stats, event->stats_count * sizeof *copy);
    free(*entries);
    *entries = copy;
    *count = event->stats_count;
}

static const lk_stats *entry_of(const lk_stats *entries, size_t count, lk_stats_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (entries[i].kind == kind)
            return &entries[i];
    return NULL;
}

static void end_line(const lkc_view *v)
{
    puts(v->live ? "\033[K" : ""); /* nothing of the line that stood here before */
}

static void draw_row(const lkc_view *v, lkc_row *row)
{
    lkc_put_text(stdout, row->who, 16);
    putchar(' ');
    lkc_put_text(stdout, row->name, 14);
    const char *kind = row->kind == LK_MEDIA_KIND_AUDIO ? "audio" : "video";
    printf(" %-6s", row->muted ? "muted" : kind);
    const lk_stats *found = entry_of(row->entries, row->entry_count, LK_STATS_inbound_rtp);
    if (!found) {
        printf(" no media yet");
        end_line(v);
        return;
    }
    const lk_stats_inbound_rtp_entry *in = &found->inbound_rtp;
    const lkc_look now = {in->rtc.timestamp, in->inbound.bytes_received, in->inbound.jitter_buffer_emitted_count,
                          in->inbound.total_samples_received, in->inbound.concealed_samples,
                          in->inbound.jitter_buffer_delay};
    const lkc_look was = row->last;
    double seconds = was.time_usec ? (double)(now.time_usec - was.time_usec) / 1e6 : 0;
    double kbps = seconds > 0 ? (double)(now.bytes - was.bytes) * 8 / 1000 / seconds : 0;
    double buffer = now.emitted > was.emitted
                        ? (now.buffer_seconds - was.buffer_seconds) / (double)(now.emitted - was.emitted) * 1000
                        : 0;
    double concealed = now.samples > was.samples
                           ? (double)(now.concealed - was.concealed) / (double)(now.samples - was.samples) * 100
                           : 0;
    printf(" %8.1f %9llu %6lld %7.1f %7.1f %6.1f%% %6.3f", kbps, (unsigned long long)in->received.packets_received,
           (long long)in->received.packets_lost, in->received.jitter * 1000, buffer, concealed, in->inbound.audio_level);
    row->last = now;
    end_line(v);
}

static void draw(lkc_view *v)
{
    if (v->live && v->drawn)
        printf("\033[%dA", v->drawn);
    const lk_room_info *room;
    double rtt = 0;
    for (size_t i = 0; i < v->session_count; i++)
        if (v->session[i].kind == LK_STATS_candidate_pair && v->session[i].candidate_pair.candidate_pair.nominated)
            rtt = v->session[i].candidate_pair.candidate_pair.current_round_trip_time * 1000;
    if (lk_room_get_info(&room, v->room) == LK_OK) {
        lkc_put_text(stdout, room->name, 0);
        printf("  %.1f s  round trip %.1f ms", (double)(now_msec(CLOCK_MONOTONIC) - v->began_msec) / 1000, rtt);
        end_line(v);
        lk_info_unref(room);
    }
    printf("participant      track          kind     kbit/s   packets   lost  jitter  buffer conceal  level");
    end_line(v);
    v->drawn = 2;
    for (size_t i = 0; i < TRACKS_MAX; i++)
        if (v->rows[i].track) {
            draw_row(v, &v->rows[i]);
            v->drawn++;
        }
    if (v->drawn == 2) {
        printf("nobody publishes anything");
        end_line(v);
        v->drawn++;
    }
    fputs(v->live ? "\033[J" : "", stdout);
    fflush(stdout);
}

static void draw_json(lkc_view *v)
{
    printf("{\"time_msec\":%lld,\"connection\":", (long long)now_msec(CLOCK_REALTIME));
    lkc_json_stats(stdout, v->session, v->session_count);
    fputs(",\"tracks\":[", stdout);
    const char *comma = "";
    for (size_t i = 0; i < TRACKS_MAX; i++) {
        lkc_row *row = &v->rows[i];
        if (!row->track)
            continue;
        printf("%s{\"participant\":", comma);
        lkc_json_text(stdout, row->who);
        fputs(",\"sid\":", stdout);
        lkc_json_text(stdout, row->sid);
        fputs(",\"name\":", stdout);
        lkc_json_text(stdout, row->name);
        printf(",\"muted\":%s,\"stats\":", row->muted ? "true" : "false");
        lkc_json_stats(stdout, row->entries, row->entry_count);
        putchar('}');
        comma = ",";
    }
    puts("]}");
    fflush(stdout);
}

static void show(lkc_view *v)
{
    if (v->json)
        draw_json(v);
    else
        draw(v);
    if (v->left > 0)
        v->left--;
    v->over = v->left == 0;
}

/* ---- events ------------------------------------------------------------------------------------------ */

static void on_stats(lkc_view *v, const lk_event *event)
{
    lkc_row *row = event->user_data;
    if (row && row->asked) {
        row->asked = false;
        if (!event->error.code)
            keep(&row->entries, &row->entry_count, event);
    } else if (!row && !event->error.code) {
        keep(&v->session, &v->session_count, event);
    }
    if (v->waiting && --v->waiting == 0 && !v->over)
        show(v);
}

static void on_event(lkc_view *v, const lk_event *event)
{
    lkc_row *row = NULL;
    switch (event->type) {
    case LK_EVENT_OP_DONE:
        if (event->op_kind == LK_OP_CONNECT && event->error.code) {
            fprintf(stderr, "lkc: ");
            lkc_put_text(stderr, event->error.text, 0);
            fputc('\n', stderr);
            v->status = LKC_FAILED;
            v->over = true;
        } else if (event->op_kind == LK_OP_CONNECT) {
            v->connected = true;
            v->next_msec = v->began_msec = now_msec(CLOCK_MONOTONIC);
        } else if (event->op_kind == LK_OP_STATS) {
            on_stats(v, event);
        }
        break;
    case LK_EVENT_TRACK_SUBSCRIBED: add_row(v, event); break;
    case LK_EVENT_TRACK_UNSUBSCRIBED:
        row = find_row(v, event->track);
        if (row)
            drop_row(row);
        break;
    case LK_EVENT_TRACK_MUTED:
    case LK_EVENT_TRACK_UNMUTED:
        for (size_t i = 0; i < TRACKS_MAX; i++)
            if (v->rows[i].track && !strcmp(v->rows[i].sid, event->publication_info->sid))
                v->rows[i].muted = event->type == LK_EVENT_TRACK_MUTED;
        break;
    case LK_EVENT_DISCONNECTED:
        fprintf(stderr, "lkc: the room ended (reason %d) ", event->reason);
        lkc_put_text(stderr, event->error.text, 0);
        fputc('\n', stderr);
        v->status = LKC_FAILED;
        v->over = true;
        break;
    default: break;
    }
}

static void run(lkc_view *v)
{
    while (!v->over && !interrupted) {
        lk_event *event = NULL;
        lk_err err = lk_next_event(v->runtime, WAKE_MSEC, &event);
        if (err == LK_OK) {
            on_event(v, event);
            lk_event_free(event);
        } else if (err != LK_ERR_TIMEOUT) {
            fprintf(stderr, "lkc: %s\n", lk_err_text(err));
            v->status = LKC_FAILED;
            return;
        }
        if (v->connected && !v->over && !v->waiting && now_msec(CLOCK_MONOTONIC) >= v->next_msec) {
            v->next_msec += REFRESH_MSEC;
            ask(v);
        }
    }
}

static bool parse(lkc_view *v, int argc, char **argv, const char **url, const char **token)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json")) {
            v->json = true;
        } else if (!strcmp(argv[i], "--count") && i + 1 < argc) {
            char *end;
            errno = 0;
            v->left = strtol(argv[++i], &end, 10);
            if (*end || end == argv[i] || errno || v->left < 1)
                return false;
        } else if (argv[i][0] == '-') {
            return false;
        } else if (!*url) {
            *url = argv[i];
        } else if (!*token) {
            *token = argv[i];
        } else {
            return false;
        }
    }
    return *token != NULL;
}

int lkc_stats(int argc, char **argv)
{
    static lkc_view view; /* 64 rows: too large for a stack one should not think about */
    lkc_view *v = &view;
    const char *url = NULL, *token = NULL;
    *v = (lkc_view){.left = -1, .live = isatty(STDOUT_FILENO)};
    if (!parse(v, argc, argv, &url, &token))
        return lkc_usage(argv[0]);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    lk_err err = lk_runtime_new(&v->runtime, NULL);
    if (!err)
        err = lk_room_new(&v->room, v->runtime, NULL);
    if (!err)
        err = lk_room_connect(NULL, v->room, url, token, NULL);
    if (!err) {
        run(v);
    } else {
        fprintf(stderr, "lkc: %s\n", lk_err_text(err));
        v->status = LKC_FAILED;
    }
    for (size_t i = 0; i < TRACKS_MAX; i++)
        drop_row(&v->rows[i]);
    free(v->session);
    if (v->runtime)
        lk_runtime_stop(v->runtime); /* leaves the room and says so to the server */
    lk_room_unref(v->room);
    lk_runtime_unref(v->runtime);
    return v->status;
}
