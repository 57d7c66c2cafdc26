/* SPDX-License-Identifier: Apache-2.0
 *
 * publish_picture.c - shows a moving picture with its number in it: video source, track, publication.
 *
 *     cc publish_picture.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN [PICTURES]
 *
 * A camera does not wait: a picture is handed over when its time has come, and what the path or the encoder cannot take
 * is left out. So there is no back-pressure here, only a clock, and events in between.
 */
#include <livekit/livekit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 640, HEIGHT = 360, PER_SECOND = 25, BITS = 16, BLOCK = WIDTH / BITS, TAIL = PER_SECOND / 2 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static int64_t now_msec(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* I420: a slope that drifts, a square that goes to and fro, and along the top the number of the picture in black and
 * white blocks, most significant first. */
static void paint(uint8_t *luma, unsigned number)
{
    unsigned step = number % 200, left = 40 + 2 * (step < 100 ? step : 200 - step);
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            luma[y * WIDTH + x] = (uint8_t)(64 + (x + y + number * 2) / 8 % 128);
    for (unsigned y = 200; y < 280; y++)
        memset(luma + y * WIDTH + left, 210, 80);
    for (unsigned y = 0; y < BLOCK; y++)
        for (unsigned bit = 0; bit < BITS; bit++)
            memset(luma + y * WIDTH + bit * BLOCK, number >> (BITS - 1 - bit) & 1 ? 235 : 16, BLOCK);
}

typedef struct camera {
    lk_video_source *source;
    lk_track *track;
    lk_room *room;
    uint8_t luma[WIDTH * HEIGHT], chroma[WIDTH * HEIGHT / 4]; /* both colours are the same grey */
    unsigned shown, wanted; /* wanted 0: until interrupted */
    int64_t next; /* when the next picture is due; 0: nobody looks yet */
    bool over, failed;
} camera;

static void fail(camera *c, const char *why)
{
    fprintf(stderr, "publish_picture: %s\n", why);
    c->over = c->failed = true;
}

static void show(camera *c)
{
    paint(c->luma, c->shown);
    const lk_video_view picture = {.format = LK_VIDEO_I420, .width = WIDTH, .height = HEIGHT,
                                   .planes = {c->luma, c->chroma, c->chroma},
                                   .stride_bytes = {WIDTH, WIDTH / 2, WIDTH / 2},
                                   .timestamp_usec = now_msec() * 1000};
    lk_error why;
    if (lk_video_source_capture(c->source, &picture, &why)) /* copies: the buffer is ours again */
        fail(c, why.text);
    /* The last ones stand still for a moment, so that the end arrives too. */
    c->shown += !c->wanted || c->shown + 1 < c->wanted;
    c->next += 1000 / PER_SECOND;
}

static void on_event(camera *c, const lk_event *event)
{
    lk_publish_options options;
    switch (event->type) {
    case LK_EVENT_OP_DONE:
        if (event->error.code) {
            fail(c, event->error.text);
        } else if (event->op_kind == LK_OP_CONNECT) {
            lk_publish_options_init(&options);
            options.source = LK_TRACK_SOURCE_CAMERA;
            lk_err err = lk_room_publish(NULL, c->room, c->track, &options, NULL);
            if (err)
                fail(c, lk_err_text(err));
        } else {
            printf("published %s, waiting for somebody who looks\n", event->publication_info->sid);
        }
        break;
    case LK_EVENT_LOCAL_TRACK_SUBSCRIBED: c->next = c->next ? c->next : now_msec(); break;
    case LK_EVENT_DISCONNECTED: fail(c, event->error.text); break;
    default: break;
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static camera c;
    if (argc != 3 && argc != 4)
        return fprintf(stderr, "usage: publish_picture URL TOKEN [PICTURES]\n"), 2;
    c.wanted = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    memset(c.chroma, 128, sizeof c.chroma);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    lk_runtime *runtime = NULL;
    lk_video_source_options options;
    lk_video_source_options_init(&options);
    options.width = WIDTH; /* what the publication announces; a picture may have another size */
    options.height = HEIGHT;
    lk_err err = lk_runtime_new(&runtime, NULL);
    if (!err && !(err = lk_room_new(&c.room, runtime, NULL)) && !(err = lk_video_source_new(&c.source, runtime, &options)) &&
        !(err = lk_track_new_video(&c.track, c.source, "picture")))
        err = lk_room_connect(NULL, c.room, argv[1], argv[2], NULL);
    if (err)
        fail(&c, lk_err_text(err));
    for (unsigned still = 0; !c.over && !interrupted && still < TAIL;) {
        lk_event *event;
        int64_t wait = c.next ? c.next - now_msec() : 100; /* wakes up to see whether it was interrupted */
        if (lk_next_event(runtime, wait > 0 ? (int32_t)wait : 0, &event) == LK_OK) {
            on_event(&c, event);
            lk_event_free(event);
        }
        if (c.next && now_msec() >= c.next) {
            show(&c);
            still += c.wanted && c.shown + 1 == c.wanted;
        }
    }
    printf("%u pictures shown\n", c.shown + 1);
    if (runtime)
        lk_runtime_stop(runtime); /* leaves the room and tells the server */
    lk_track_unref(c.track);
    lk_video_source_unref(c.source);
    lk_room_unref(c.room);
    lk_runtime_unref(runtime);
    return c.failed ? 1 : 0;
}
