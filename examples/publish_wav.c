/* SPDX-License-Identifier: Apache-2.0
 *
 * publish_wav.c - plays a WAV file (16 bit PCM) into a room: source, track, publication, back-pressure.
 *
 *     cc publish_wav.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN file.wav
 *
 * Everything that takes time is an operation: the call returns its id at once, and one LK_EVENT_OP_DONE tells how it
 * ended. A program that does one thing after the other needs no more than await() and done() below.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MSEC = 100, TAIL_MSEC = 500 };

typedef struct sound {
    int16_t *samples;                /* interleaved */
    uint32_t frames, rate, channels; /* a frame has one sample of each channel */
} sound;

static uint32_t little(const unsigned char *p, int bytes)
{
    return bytes ? p[0] | little(p + 1, bytes - 1) << 8 : 0;
}

/* Finds "fmt " and "data" among the chunks of a RIFF file; false if it holds no 16 bit PCM. Silence is put behind the
 * sound: once that is through, listeners have heard all that stood before it in their buffers. */
static bool read_wav(sound *out, const char *path)
{
    unsigned char head[16], chunk[8];
    FILE *file = fopen(path, "rb");
    bool ok = file && fread(head, 12, 1, file) && !memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WAVE", 4);
    while (ok && fread(chunk, sizeof chunk, 1, file)) {
        uint32_t size = little(chunk + 4, 4);
        if (!memcmp(chunk, "fmt ", 4) && size >= sizeof head) {
            ok = fread(head, sizeof head, 1, file) && little(head, 2) == 1 && little(head + 14, 2) == 16;
            out->channels = little(head + 2, 2);
            out->rate = little(head + 4, 4);
            size -= (uint32_t)sizeof head;
        } else if (!memcmp(chunk, "data", 4) && out->channels) {
            /* Whoever wrote into a pipe could not tell the size: what is there counts. */
            size_t frame = 2 * out->channels, tail = out->rate / 1000 * TAIL_MSEC;
            out->samples = calloc(size / frame + tail, frame);
            if (out->samples && (out->frames = (uint32_t)fread(out->samples, frame, size / frame, file)))
                out->frames += (uint32_t)tail;
            break;
        }
        ok = ok && fseek(file, (long)size + (size & 1), SEEK_CUR) == 0; /* chunks have even sizes */
    }
    return file && fclose(file) == 0 && out->frames;
}

typedef struct player {
    lk_runtime *runtime;
    lk_room *room;
    lk_audio_source *source;
    lk_track *track;
    lk_op op;     /* the operation under way */
    char sid[64]; /* of the publication */
} player;

/* Takes events until the one of this type (and of this operation, unless op is 0) has come. false: it tells of a
 * failure, or the room has ended before; why has been printed. */
static bool await(player *p, lk_event_type type, lk_op op)
{
    for (;;) {
        lk_event *event;
        if (lk_next_event(p->runtime, -1, &event) != LK_OK)
            return false; /* somebody has stopped the runtime */
        bool found = event->type == type && (!op || event->op == op);
        bool failed = event->type == LK_EVENT_DISCONNECTED || (found && event->error.code);
        if (failed)
            fprintf(stderr, "publish_wav: %s (%s)\n", event->error.text, lk_err_name(event->error.code));
        if (found && event->publication_info) /* what an event shows lives as long as the event: copy it */
            snprintf(p->sid, sizeof p->sid, "%s", event->publication_info->sid);
        lk_event_free(event); /* another one: something happened in the room that is not our business */
        if (found || failed)
            return !failed;
    }
}

/* The end of p->op; err is what the call that began it returned. */
static bool done(player *p, lk_err err)
{
    if (err)
        fprintf(stderr, "publish_wav: %s\n", lk_err_text(err));
    return !err && await(p, LK_EVENT_OP_DONE, p->op);
}

/* Feeds the source. A capture ends when no more than QUEUE_MSEC wait in its queue: giving the next piece then, and not
 * before, keeps the sound without gaps and the queue short. */
static bool play(player *p, const sound *wav)
{
    uint32_t step = wav->rate / 10;
    for (uint32_t at = 0; at < wav->frames; at += step) {
        uint32_t count = wav->frames - at < step ? wav->frames - at : step;
        const lk_audio_view piece = {wav->samples + (size_t)at * wav->channels, count, wav->rate, wav->channels};
        if (!done(p, lk_audio_source_capture(&p->op, p->source, &piece, NULL)))
            return false;
    }
    return true;
}

static bool run(player *p, const char *url, const char *token, const sound *wav)
{
    if (!done(p, lk_room_connect(&p->op, p->room, url, token, NULL)))
        return false;
    lk_publish_options options; /* every options structure is filled in by its own init first */
    lk_publish_options_init(&options);
    options.source = LK_TRACK_SOURCE_MICROPHONE;
    if (!done(p, lk_room_publish(&p->op, p->room, p->track, &options, NULL)))
        return false;
    printf("published %s, waiting for a listener\n", p->sid);
    fflush(stdout);
    return await(p, LK_EVENT_LOCAL_TRACK_SUBSCRIBED, 0) && play(p, wav) &&
           done(p, lk_room_unpublish(&p->op, p->room, p->sid, NULL));
}

int main(int argc, char **argv)
{
    sound wav = {0};
    player p = {0};
    if (argc != 4)
        return fprintf(stderr, "usage: publish_wav URL TOKEN FILE.wav\n"), 2;
    if (!read_wav(&wav, argv[3]))
        return fprintf(stderr, "publish_wav: %s holds no sound of 16 bit PCM\n", argv[3]), 1;
    lk_audio_source_options options;
    lk_audio_source_options_init(&options);
    options.sample_rate = wav.rate;
    options.num_channels = wav.channels;
    options.queue_size_msec = QUEUE_MSEC;
    lk_err err = lk_runtime_new(&p.runtime, NULL);
    if (!err && !(err = lk_room_new(&p.room, p.runtime, NULL)) && !(err = lk_audio_source_new(&p.source, p.runtime, &options)))
        err = lk_track_new_audio(&p.track, p.source, "wav");
    if (err)
        fprintf(stderr, "publish_wav: %s\n", lk_err_text(err));
    bool ok = !err && run(&p, argv[1], argv[2], &wav);
    if (p.runtime)
        lk_runtime_stop(p.runtime); /* leaves the room and tells the server */
    lk_track_unref(p.track);        /* in any order, and NULL is welcome */
    lk_audio_source_unref(p.source);
    lk_room_unref(p.room);
    lk_runtime_unref(p.runtime);
    free(wav.samples);
    return ok ? 0 : 1;
}
