// SPDX-License-Identifier: Apache-2.0
/* bench_crowd URL PUBLISHERS audio|video: many participants in one process, for measuring a server.
 *
 * Tokens come on stdin, one a line and an empty line behind them: first those that publish (silence that is coded all the same, or
 * moving noise of 1280 x 720), then those that listen. Everybody subscribes, nobody decodes. Says "ready" once every track has
 * reached everybody, then answers each line with the packets all have received so far, until stdin ends.
 */
#include <livekit/livekit.h>
#include <livekit/stats.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS_MAX = 1024, WIDTH = 1280, HEIGHT = 720, SQUARES = WIDTH / 8 * HEIGHT / 8, FRAME_MSEC = 33, JOINING_MAX = 8 };

typedef struct crowd {
    lk_runtime *runtime;
    lk_room *rooms[MEMBERS_MAX];
    size_t members, publishers, begun, joined, published, subscribed, counted;
    bool video;
    lk_audio_source *sound;
    lk_video_source *picture;
    lk_track *tracks[MEMBERS_MAX];
    uint64_t packets;
    const char *why;
} crowd;

static void publish(crowd *c, size_t i)
{
    lk_publish_options o;
    lk_op op;
    lk_publish_options_init(&o);
    o.dtx = false;
    o.source = c->video ? LK_TRACK_SOURCE_CAMERA : LK_TRACK_SOURCE_MICROPHONE;
    lk_err err = c->video ? lk_track_new_video(&c->tracks[i], c->picture, "crowd") : lk_track_new_audio(&c->tracks[i], c->sound, "crowd");
    if (err || lk_room_publish(&op, c->rooms[i], c->tracks[i], &o, NULL))
        c->why = "cannot publish";
}

static size_t index_of(const crowd *c, const lk_room *room)
{
    for (size_t i = 0; i < c->members; i++)
        if (c->rooms[i] == room)
            return i;
    return c->members;
}

static void count(crowd *c, const lk_stats *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (entries[i].kind == LK_STATS_inbound_rtp)
            c->packets += entries[i].inbound_rtp.received.packets_received;
}

static void take(crowd *c, const lk_event *e)
{
    if (e->type == LK_EVENT_OP_DONE && e->error.code) {
        fprintf(stderr, "bench_crowd: %s\n", e->error.text);
        c->why = "an operation failed";
    } else if (e->type == LK_EVENT_OP_DONE && e->op_kind == LK_OP_CONNECT) {
        size_t i = index_of(c, e->room);
        c->joined++;
        if (i < c->publishers)
            publish(c, i);
    } else if (e->type == LK_EVENT_OP_DONE && e->op_kind == LK_OP_PUBLISH) {
        c->published++;
    } else if (e->type == LK_EVENT_OP_DONE && e->op_kind == LK_OP_STATS) {
        count(c, e->stats, e->stats_count);
        count(c, e->subscriber_stats, e->subscriber_stats_count);
        c->counted++;
    } else if (e->type == LK_EVENT_TRACK_SUBSCRIBED) {
        c->subscribed++;
    } else if (e->type == LK_EVENT_DISCONNECTED) {
        c->why = "disconnected";
    }
}

static int64_t now_msec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void paint(crowd *c, int64_t frame)
{
    static uint8_t pixels[WIDTH * HEIGHT * 3 / 2];
    static uint32_t noise = 1;
    size_t changes = frame ? SQUARES / 12 : SQUARES; /* enough to code for a full rate, not so much that frames are left out */
    for (size_t i = 0; i < changes; i++) {
        noise = noise * 1664525u + 1013904223u;
        size_t square = frame ? (noise >> 8) % SQUARES : i;
        uint8_t *at = pixels + square / (WIDTH / 8) * 8 * WIDTH + square % (WIDTH / 8) * 8;
        for (size_t k = 0; k < 8; k++)
            memset(at + k * WIDTH, 96 + (int)(noise >> 26), 8);
    }
    memset(pixels + WIDTH * HEIGHT, 128, WIDTH * HEIGHT / 2);
    const lk_video_view view = {.format = LK_VIDEO_I420, .width = WIDTH, .height = HEIGHT,
                                .planes = {pixels, pixels + WIDTH * HEIGHT, pixels + WIDTH * HEIGHT * 5 / 4},
                                .stride_bytes = {WIDTH, WIDTH / 2, WIDTH / 2}};
    if (lk_video_source_capture(c->picture, &view, NULL))
        c->why = "cannot capture";
}

/* Takes what comes for some time; a picture when one is due. */
static void turn(crowd *c, bool with_stdin)
{
    static int64_t next, frame;
    struct pollfd fds[2] = {{lk_runtime_fd(c->runtime), POLLIN, 0}, {0, POLLIN, 0}};
    lk_event *e;
    int64_t now = now_msec(), wait = 1000;
    if (c->video && c->published) {
        if (now >= next) {
            paint(c, frame++);
            next = (now - next > 1000 ? now : next) + FRAME_MSEC;
        }
        wait = next > now ? next - now : 0;
    }
    if (poll(fds, with_stdin ? 2 : 1, (int)wait) < 0)
        c->why = "poll";
    while (!c->why && lk_next_event(c->runtime, 0, &e) == LK_OK) {
        take(c, e);
        lk_event_free(e);
    }
}

static bool asked(crowd *c)
{
    char line[64];
    struct pollfd in = {0, POLLIN, 0};
    while (!c->why && poll(&in, 1, 0) == 0)
        turn(c, true);
    return !c->why && read(0, line, sizeof line) > 0;
}

static bool answer(crowd *c)
{
    lk_op op;
    c->packets = c->counted = 0;
    for (size_t i = 0; i < c->members; i++)
        if (lk_room_get_stats(&op, c->rooms[i], NULL))
            return false;
    while (!c->why && c->counted < c->members)
        turn(c, false);
    printf("%llu\n", (unsigned long long)c->packets);
    fflush(stdout);
    return !c->why;
}

int main(int argc, char **argv)
{
    static crowd c;
    static char token[LK_ACCESS_TOKEN_MAX + 2], *tokens[MEMBERS_MAX];
    lk_room_options o;
    lk_op op;
    if (argc != 4)
        return fprintf(stderr, "usage: bench_crowd URL PUBLISHERS audio|video < TOKENS\n"), 2;
    setvbuf(stdin, NULL, _IONBF, 0); /* what follows the tokens is read from the descriptor */
    while (c.members < MEMBERS_MAX && fgets(token, sizeof token, stdin) && token[0] != '\n') {
        token[strcspn(token, "\n")] = 0;
        tokens[c.members++] = strdup(token);
    }
    c.publishers = strtoul(argv[2], NULL, 10);
    c.video = argv[3][0] == 'v';
    lk_video_source_options size;
    lk_video_source_options_init(&size);
    size.width = WIDTH; /* what is announced, and chooses rate and layers */
    size.height = HEIGHT;
    if (lk_runtime_new(&c.runtime, NULL) || lk_audio_source_new(&c.sound, c.runtime, NULL) || lk_video_source_new(&c.picture, c.runtime, &size))
        return 1;
    lk_room_options_init(&o);
    o.connect_timeout_msec = 30000;
    size_t want = c.publishers * (c.members - 1);
    while (!c.why && (c.joined < c.members || c.subscribed < want)) {
        for (; c.begun < c.members && c.begun - c.joined < JOINING_MAX && !c.why; c.begun++)
            if (lk_room_new(&c.rooms[c.begun], c.runtime, &o) || lk_room_connect(&op, c.rooms[c.begun], argv[1], tokens[c.begun], NULL))
                c.why = "cannot connect";
        turn(&c, false);
    }
    if (!c.why)
        puts("ready");
    fflush(stdout);
    while (!c.why && asked(&c) && answer(&c)) {
    }
    lk_runtime_stop(c.runtime);
    for (size_t i = 0; i < c.members; i++) {
        lk_track_unref(c.tracks[i]);
        lk_room_unref(c.rooms[i]);
        free(tokens[i]);
    }
    lk_audio_source_unref(c.sound);
    lk_video_source_unref(c.picture);
    lk_runtime_unref(c.runtime);
    if (c.why)
        fprintf(stderr, "bench_crowd: %s (joined %zu, published %zu, subscribed %zu)\n", c.why, c.joined, c.published, c.subscribed);
    return c.why ? 1 : 0;
}
