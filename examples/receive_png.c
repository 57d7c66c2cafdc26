/* SPDX-License-Identifier: Apache-2.0
 *
 * receive_png.c - looks at the first video track of a room (or of one participant) and writes a picture of it.
 *
 *     cc receive_png.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN seen.png [IDENTITY]
 *
 * The frames of a stream come in the format it is asked for, here RGB as PNG has it, and as events, in order with those
 * of the room. It takes the picture after one second of looking, and the last one when the track ends before.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <string.h>

enum { ENOUGH = 25, STORED_MAX = 65535 };

typedef struct viewer {
    const char *wanted; /* identity; NULL: anybody */
    lk_track *track;    /* NULL until it is there */
    lk_video_stream *stream;
    lk_video_frame *frame; /* the newest */
    unsigned seen;
    bool over, failed;
} viewer;

/* PNG without a compressor, in "stored" blocks. */
typedef struct png {
    FILE *file;
    uint32_t crc, sum_a, sum_b; /* of the chunk; of the picture's bytes */
} png;

static void put(png *p, const void *data, size_t len)
{
    const uint8_t *byte = data;
    for (size_t i = 0; i < len; i++) {
        p->crc ^= byte[i];
        for (int bit = 0; bit < 8; bit++)
            p->crc = p->crc >> 1 ^ (p->crc & 1 ? 0xedb88320u : 0);
    }
    fwrite(data, 1, len, p->file);
}

static void put_big(png *p, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        put(p, &(uint8_t){(uint8_t)(value >> shift)}, 1);
}

static void begin_chunk(png *p, const char *kind, size_t len)
{
    put_big(p, (uint32_t)len);
    p->crc = 0xffffffffu; /* counts from here to the end, which is put_big(p, ~p->crc) */
    put(p, kind, 4);
}

/* A row as a stored block of its own, "filter 0" in front of it. */
static void put_row(png *p, const uint8_t *row, size_t len, bool last)
{
    const uint16_t size = (uint16_t)(len + 1);
    const uint8_t head[] = {last, (uint8_t)size, (uint8_t)(size >> 8), (uint8_t)~size, (uint8_t)(~size >> 8), 0};
    put(p, head, sizeof head);
    put(p, row, len);
    p->sum_b = (p->sum_b + p->sum_a) % 65521; /* the filter's byte */
    for (size_t i = 0; i < len; i++) {
        p->sum_a = (p->sum_a + row[i]) % 65521;
        p->sum_b = (p->sum_b + p->sum_a) % 65521;
    }
}

static bool write_png(const char *path, const lk_video_view *picture)
{
    const size_t row = (size_t)picture->width * 3;
    png p = {.file = row < STORED_MAX ? fopen(path, "wb") : NULL, .sum_a = 1};
    if (!p.file || fwrite("\x89PNG\r\n\x1a\n", 1, 8, p.file) != 8)
        return false;
    begin_chunk(&p, "IHDR", 13);
    put_big(&p, picture->width);
    put_big(&p, picture->height);
    put(&p, "\x08\x02\0\0\0", 5); /* 8 bits of red, green and blue */
    put_big(&p, ~p.crc);
    begin_chunk(&p, "IDAT", 2 + (row + 6) * picture->height + 4);
    put(&p, "\x78\x01", 2);
    for (uint32_t y = 0; y < picture->height; y++)
        put_row(&p, picture->planes[0] + (size_t)y * picture->stride_bytes[0], row, y + 1 == picture->height);
    put_big(&p, p.sum_b << 16 | p.sum_a);
    put_big(&p, ~p.crc);
    begin_chunk(&p, "IEND", 0);
    put_big(&p, ~p.crc);
    bool good = !ferror(p.file);
    return fclose(p.file) == 0 && good;
}

static void on_track(viewer *v, const lk_event *event)
{
    const char *who = event->participant_info->identity;
    lk_video_stream_options options;
    if (v->track || event->track_info->kind != LK_MEDIA_KIND_VIDEO || (v->wanted && strcmp(v->wanted, who)))
        return;
    lk_video_stream_options_init(&options);
    options.format = LK_VIDEO_RGB24;
    v->track = lk_track_ref(event->track); /* what an event shows lives as long as it, unless we keep it */
    lk_err err = lk_video_stream_new(&v->stream, v->track, &options);
    v->over = v->failed = err != LK_OK;
    printf("looking at %s of %s: %s\n", event->publication_info->sid, who, lk_err_text(err));
    fflush(stdout);
}

static void on_event(viewer *v, const lk_event *event)
{
    if (event->type == LK_EVENT_TRACK_SUBSCRIBED)
        on_track(v, event);
    if (event->type == LK_EVENT_VIDEO_FRAME) {
        lk_video_frame_drop(v->frame);
        v->frame = lk_video_frame_keep(event->video_frame); /* it outlives its event, its stream and its room */
        v->seen++;
    }
    if (event->error.code && (event->type == LK_EVENT_OP_DONE || event->type == LK_EVENT_DISCONNECTED)) {
        fprintf(stderr, "receive_png: %s (%s)\n", event->error.text, lk_err_name(event->error.code));
        v->over = v->failed = true;
    }
    v->over |= v->seen == ENOUGH || (event->type == LK_EVENT_TRACK_UNSUBSCRIBED && event->track == v->track);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        return fprintf(stderr, "usage: receive_png URL TOKEN OUT.png [IDENTITY]\n"), 2;
    viewer v = {.wanted = argv[4]};
    lk_runtime *runtime = NULL;
    lk_room *room = NULL;
    lk_err err = lk_runtime_new(&runtime, NULL);
    if (!err && !(err = lk_room_new(&room, runtime, NULL)))
        err = lk_room_connect(NULL, room, argv[1], argv[2], NULL);
    for (lk_event *event; !err && !v.over && !(err = lk_next_event(runtime, -1, &event)); lk_event_free(event))
        on_event(&v, event);
    if (err)
        fprintf(stderr, "receive_png: %s\n", lk_err_text(err));
    if (runtime)
        lk_runtime_stop(runtime); /* leaves the room and tells the server */
    const lk_video_view picture = lk_video_frame_view(v.frame);
    bool written = v.frame && write_png(argv[3], &picture);
    if (v.frame)
        printf("%ux%u %s\n", picture.width, picture.height, written ? "written" : "could not be written");
    lk_video_frame_drop(v.frame); /* NULL is welcome everywhere */
    lk_video_stream_unref(v.stream);
    lk_track_unref(v.track);
    lk_room_unref(room);
    lk_runtime_unref(runtime);
    return err || v.failed || !written ? 1 : 0;
}
