// SPDX-License-Identifier: Apache-2.0
/* bench_load URL PUBLISHERS SECONDS < TOKENS: many participants of one room in one process, to see what they cost a server.
 *
 * One token a line; the first PUBLISHERS of them publish noise without pause (50 packets a second each), everybody hears
 * everybody. When all tracks have arrived everywhere, "ready" is printed; after SECONDS more one JSON object with the packets
 * that arrived in that time, counted by the rooms themselves.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOMS_MAX = 400, SAMPLES = 480, PATIENCE_SEC = 60, AT_ONCE = 10 };
#define JOIN_EVERY_SEC 0.03 /* servers bound joins per second from one address */

typedef struct load {
    lk_runtime *runtime;
    lk_room *rooms[ROOMS_MAX];
    lk_audio_source *sources[ROOMS_MAX];
    int count, publishers, connecting, connected, published, subscribed, answered;
    uint64_t packets;
    const char *why;
} load;

static double now_sec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void count_packets(load *l, const lk_stats *stats, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (stats[i].kind == LK_STATS_inbound_rtp)
            l->packets += stats[i].inbound_rtp.received.packets_received;
}

/* What happens within so many milliseconds. */
static void take(load *l, int msec)
{
    lk_event *e;
    while (!l->why && lk_next_event(l->runtime, msec, &e) == LK_OK) {
        msec = 0;
        if (e->type == LK_EVENT_OP_DONE && e->error.code) {
            fprintf(stderr, "bench_load: %s\n", e->error.text);
            l->why = "an operation failed";
        } else if (e->type == LK_EVENT_OP_DONE) {
            l->connected += e->op_kind == LK_OP_CONNECT;
            l->connecting -= e->op_kind == LK_OP_CONNECT;
            l->published += e->op_kind == LK_OP_PUBLISH;
            if (e->op_kind == LK_OP_STATS) {
                count_packets(l, e->stats, e->stats_count);
                count_packets(l, e->subscriber_stats, e->subscriber_stats_count);
                l->answered++;
            }
        } else if (e->type == LK_EVENT_DISCONNECTED) {
            l->why = "disconnected";
        }
        l->subscribed += e->type == LK_EVENT_TRACK_SUBSCRIBED;
        l->subscribed -= e->type == LK_EVENT_TRACK_UNSUBSCRIBED;
        lk_event_free(e);
    }
}

/* Noise: never taken for silence. */
static void speak(load *l)
{
    static uint32_t dice = 1;
    int16_t samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        dice = dice * 1664525u + 1013904223u;
        samples[i] = (int16_t)((int32_t)dice >> 19);
    }
    const lk_audio_view view = {samples, SAMPLES, 48000, 1};
    for (int i = 0; i < l->publishers; i++)
        while (l->sources[i] && lk_audio_source_queued_msec(l->sources[i]) < 60 &&
               lk_audio_source_capture(NULL, l->sources[i], &view, NULL) == LK_OK) {}
}

static void publish(load *l, int i)
{
    lk_audio_source_options so;
    lk_publish_options po;
    lk_track *track = NULL;
    lk_op op;
    lk_audio_source_options_init(&so);
    lk_publish_options_init(&po);
    so.queue_size_msec = 200;
    po.dtx = false;
    po.source = LK_TRACK_SOURCE_MICROPHONE;
    if (lk_audio_source_new(&l->sources[i], l->runtime, &so) != LK_OK || lk_track_new_audio(&track, l->sources[i], "noise") != LK_OK ||
        lk_room_publish(&op, l->rooms[i], track, &po, NULL) != LK_OK)
        l->why = "nothing could be published";
    lk_track_unref(track);
}

static uint64_t count(load *l)
{
    lk_op op;
    l->packets = 0;
    l->answered = 0;
    for (int i = 0; i < l->count; i++)
        if (lk_room_get_stats(&op, l->rooms[i], NULL) != LK_OK)
            l->why = "no statistics";
    while (!l->why && l->answered < l->count) {
        speak(l);
        take(l, 5);
    }
    return l->packets;
}

static void run(load *l, const char *url, double seconds)
{
    static char token[4096];
    double until = now_sec() + PATIENCE_SEC;
    lk_op op;
    while (!l->why && l->count < ROOMS_MAX && fgets(token, sizeof token, stdin)) {
        token[strcspn(token, "\n")] = 0;
        if (lk_room_new(&l->rooms[l->count], l->runtime, NULL) != LK_OK || lk_room_connect(&op, l->rooms[l->count], url, token, NULL) != LK_OK) {
            l->why = "a room was refused";
            return;
        }
        l->count++;
        double next = now_sec() + JOIN_EVERY_SEC;
        for (l->connecting++; (l->connecting >= AT_ONCE || now_sec() < next) && !l->why; take(l, 5)) {}
    }
    while (l->connected < l->count && !l->why)
        take(l, 20);
    for (int i = 0; i < l->publishers && !l->why; i++)
        publish(l, i);
    int all = l->publishers * (l->count - 1);
    while (!l->why && (l->published < l->publishers || l->subscribed < all)) {
        speak(l);
        take(l, 5);
        if (now_sec() > until)
            l->why = "not everybody hears everybody";
    }
    double at = now_sec() + 2; /* let it run in */
    while (!l->why && now_sec() < at) {
        speak(l);
        take(l, 5);
    }
    uint64_t before = l->why ? 0 : count(l);
    double began = now_sec();
    if (!l->why) {
        printf("ready\n");
        fflush(stdout);
    }
    while (!l->why && now_sec() < began + seconds) {
        speak(l);
        take(l, 5);
    }
    double took = now_sec() - began;
    uint64_t after = l->why ? 0 : count(l);
    if (!l->why)
        printf("{\"packets\": %llu, \"seconds\": %.2f}\n", (unsigned long long)(after - before), took);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static load l;
    if (argc != 4)
        return fprintf(stderr, "usage: bench_load URL PUBLISHERS SECONDS < TOKENS\n"), 2;
    l.publishers = atoi(argv[2]);
    if (lk_runtime_new(&l.runtime, NULL) != LK_OK)
        return 1;
    run(&l, argv[1], atof(argv[3]));
    if (l.why)
        fprintf(stderr, "bench_load: %s\n", l.why);
    lk_runtime_unref(l.runtime);
    for (int i = 0; i < l.count; i++)
        lk_room_unref(l.rooms[i]);
    return l.why != NULL;
}
