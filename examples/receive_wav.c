/* SPDX-License-Identifier: Apache-2.0
 *
 * receive_wav.c - writes the first audio track of a room (or of one participant) to a WAV file, until it ends.
 *
 *     cc receive_wav.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN heard.wav [IDENTITY]
 *
 * One loop takes every event and looks at its type. The frames of the stream are events too, in order with those of
 * the room, so nothing has to be locked.
 */
#include <livekit/livekit.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { RATE = 48000, WAKE_MSEC = 100 };

typedef struct recorder {
    const char *wanted;      /* identity; NULL: anybody */
    lk_track *track;         /* NULL until it is there */
    lk_audio_stream *stream;
    FILE *file;
    uint32_t bytes; /* of sound written so far */
    bool over, failed;
} recorder;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void put_little(unsigned char *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

/* Mono, 16 bit. Written first with a size of 0 and at the end with the true one. */
static bool write_header(FILE *file, uint32_t bytes)
{
    unsigned char head[44] = "RIFF....WAVEfmt \20\0\0\0\1\0\1\0........\2\0\20\0data";
    put_little(head + 4, bytes + 36, 4);
    put_little(head + 24, RATE, 4);
    put_little(head + 28, RATE * 2, 4);
    put_little(head + 40, bytes, 4);
    return fseek(file, 0, SEEK_SET) == 0 && fwrite(head, sizeof head, 1, file) == 1;
}

/* A track of somebody else is there. It decodes from the moment a stream listens to it; the stream converts to
 * whatever format it is asked for. */
static void on_track(recorder *r, const lk_event *event)
{
    const char *who = event->participant_info->identity;
    if (r->track || event->track_info->kind != LK_MEDIA_KIND_AUDIO || (r->wanted && strcmp(r->wanted, who)))
        return;
    lk_audio_stream_options options;
    lk_audio_stream_options_init(&options);
    options.sample_rate = RATE;
    options.num_channels = 1;
    options.queue_size_frames = 500; /* a slow disk may keep us busy for 5 s before a frame is lost */
    r->track = lk_track_ref(event->track); /* what an event shows lives as long as it, unless we keep it */
    lk_err err = lk_audio_stream_new(&r->stream, r->track, &options);
    r->over = r->failed = err != LK_OK;
    printf("recording %s of %s: %s\n", event->publication_info->sid, who, lk_err_text(err));
    fflush(stdout);
}

/* 10 ms of sound, also while the track is muted or packets are missing: then it is silence or concealment. */
static void on_frame(recorder *r, const lk_event *event)
{
    lk_audio_view audio = lk_audio_frame_view(event->frame);
    size_t count = (size_t)audio.samples_per_channel * audio.num_channels;
    if (fwrite(audio.data, sizeof *audio.data, count, r->file) != count || r->bytes > UINT32_MAX - 65536) {
        fprintf(stderr, "receive_wav: the file takes no more\n");
        r->over = r->failed = true;
        return;
    }
    r->bytes += (uint32_t)(count * sizeof *audio.data);
}

static void on_event(recorder *r, const lk_event *event)
{
    switch (event->type) {
    case LK_EVENT_OP_DONE: /* the only operation of this program is the connect */
        if (event->error.code) {
            fprintf(stderr, "receive_wav: %s (%s)\n", event->error.text, lk_err_name(event->error.code));
            r->over = r->failed = true;
        } else {
            printf("connected to %s as %s\n", event->room_info->name, event->participant_info->identity);
            fflush(stdout);
        }
        break;
    case LK_EVENT_TRACK_SUBSCRIBED: on_track(r, event); break;
    case LK_EVENT_AUDIO_FRAME: on_frame(r, event); break;
    case LK_EVENT_TRACK_UNSUBSCRIBED: /* no more will come, but only the owner of a stream ends it */
        if (event->track == r->track)
            lk_audio_stream_close(r->stream);
        break;
    case LK_EVENT_AUDIO_STREAM_END: r->over = true; break; /* the last event of the stream, whatever ended it */
    case LK_EVENT_DISCONNECTED:
        fprintf(stderr, "receive_wav: the room has ended: %s\n", event->error.text);
        r->over = true;
        break;
    default: break;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        return fprintf(stderr, "usage: receive_wav URL TOKEN OUT.wav [IDENTITY]\n"), 2;
    recorder r = {.wanted = argv[4], .file = fopen(argv[3], "wb")};
    if (!r.file || !write_header(r.file, 0))
        return perror(argv[3]), 1;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    lk_runtime *runtime = NULL;
    lk_room *room = NULL;
    lk_err err = lk_runtime_new(&runtime, NULL);
    if (!err && !(err = lk_room_new(&room, runtime, NULL)))
        err = lk_room_connect(NULL, room, argv[1], argv[2], NULL);
    while (!err && !r.over && !interrupted) {
        lk_event *event;
        err = lk_next_event(runtime, WAKE_MSEC, &event); /* wakes up to see whether it was interrupted */
        if (err == LK_OK) {
            on_event(&r, event);
            lk_event_free(event);
        } else if (err == LK_ERR_TIMEOUT) {
            err = LK_OK;
        }
    }
    if (err)
        fprintf(stderr, "receive_wav: %s\n", lk_err_text(err));
    if (runtime)
        lk_runtime_stop(runtime);    /* leaves the room and tells the server */
    lk_audio_stream_unref(r.stream); /* NULL is welcome */
    lk_track_unref(r.track);
    lk_room_unref(room);
    lk_runtime_unref(runtime);
    bool written = write_header(r.file, r.bytes);
    written = fclose(r.file) == 0 && written;
    printf("%.1f s written\n", (double)r.bytes / (RATE * 2));
    return err || r.failed || !written || !r.bytes ? 1 : 0;
}
