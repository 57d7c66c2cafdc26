// SPDX-License-Identifier: Apache-2.0
/* bench_data URL TOKEN TOKEN: reliable messages of 1,000 bytes through the C API, from one participant to another.
 *
 * Both are rooms of one runtime, their events are taken by one thread. First as many messages as get through, WINDOW of
 * them under way between the two calls; then one at a time, for the latency. Printed as one JSON object.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZE = 1000, MESSAGES = 30000, WINDOW = 512, SINGLES = 200, PATIENCE_MSEC = 20000 };

typedef struct bench {
    lk_runtime *runtime;
    lk_room *rooms[2]; /* sender, receiver */
    int connected;
    unsigned ended, arrived;
    double latency[SINGLES];
    const char *why;
} bench;

static double now_sec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int send(bench *b)
{
    char message[SIZE] = {0};
    double at = now_sec();
    lk_op op;
    memcpy(message, &at, sizeof at);
    return lk_room_publish_data(&op, b->rooms[0], message, sizeof message, NULL, NULL) == LK_OK;
}

/* Takes one event. False when none came in time or one was not as it should be: then why says so. */
static int take(bench *b)
{
    lk_event *e;
    if (lk_next_event(b->runtime, PATIENCE_MSEC, &e) != LK_OK) {
        b->why = "no event came";
        fprintf(stderr, "%d %u %u\n", b->connected, b->ended, b->arrived);
        return 0;
    }
    if (e->type == LK_EVENT_OP_DONE && e->error.code) {
        fprintf(stderr, "bench_data: %s\n", e->error.text);
        b->why = "an operation failed";
    } else if (e->type == LK_EVENT_OP_DONE) {
        b->connected += e->op_kind == LK_OP_CONNECT;
        b->ended += e->op_kind == LK_OP_DATA;
    } else if (e->type == LK_EVENT_DISCONNECTED) {
        b->why = "disconnected";
    } else if (e->type == LK_EVENT_DATA && e->room == b->rooms[1] && e->data_len == SIZE) {
        double sent;
        memcpy(&sent, e->data, sizeof sent);
        b->latency[b->arrived++ % SINGLES] = now_sec() - sent;
    }
    lk_event_free(e);
    return !b->why;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(bench *b)
{
    /* The first message waits for the channel. */
    if (!send(b))
        return 0;
    while (b->arrived < 1 || b->ended < 1)
        if (!take(b))
            return 0;
    b->arrived = b->ended = 0;
    double began = now_sec();
    for (unsigned posted = 0; b->arrived < MESSAGES;) {
        while (posted < MESSAGES && posted - b->ended < WINDOW && send(b))
            posted++;
        if (!take(b))
            return 0;
    }
    double rate = MESSAGES / (now_sec() - began);
    while (b->ended < MESSAGES)
        if (!take(b))
            return 0;
    b->arrived = 0;
    for (unsigned i = 0; i < SINGLES; i++) {
        if (!send(b))
            return 0;
        while (b->arrived <= i)
            if (!take(b))
                return 0;
    }
    qsort(b->latency, SINGLES, sizeof *b->latency, ascending);
    printf("{\"per_second\": %.1f, \"latency_ms\": %.4f}\n", rate, b->latency[SINGLES / 2] * 1e3);
    return 1;
}

int main(int argc, char **argv)
{
    bench b = {.connected = 0};
    lk_op op; /* without it the end would be no event */
    if (argc != 4)
        return fprintf(stderr, "usage: bench_data URL TOKEN TOKEN\n"), 2;
    int ok = lk_runtime_new(&b.runtime, NULL) == LK_OK;
    for (int i = 0; ok && i < 2; i++)
        ok = lk_room_new(&b.rooms[i], b.runtime, NULL) == LK_OK &&
             lk_room_connect(&op, b.rooms[i], argv[1], argv[2 + i], NULL) == LK_OK;
    while (ok && b.connected < 2)
        ok = take(&b);
    ok = ok && measure(&b);
    if (!ok)
        fprintf(stderr, "bench_data: %s\n", b.why ? b.why : "a call was refused");
    lk_runtime_unref(b.runtime);
    lk_room_unref(b.rooms[0]);
    lk_room_unref(b.rooms[1]);
    return !ok;
}
