// SPDX-License-Identifier: Apache-2.0
/* api/api_source.h - the queue of an audio source: filled by any thread, drained in real time from its creation. */
#pragma once
#include "api/api.h"

struct lk_frame;
struct lk_frame_pool;

#define LK_API_SOURCE_TRACKS_MAX 16
#define LK_API_SOURCE_STREAMS_MAX 64
#define LK_API_SOURCE_MSEC_MAX 60000

typedef struct api_source_track {
    api_driver *driver;
    uint64_t track;
} api_source_track;

/* Who takes what a source gives: tracks that publish it, streams that listen to it or look at it. Loop thread. */
typedef struct api_audience {
    bool present; /* atomic, any thread: there is somebody */
    api_source_track tracks[LK_API_SOURCE_TRACKS_MAX];
    size_t track_count;
    api_stream *streams[LK_API_SOURCE_STREAMS_MAX]; /* counted */
    size_t stream_count;
} api_audience;

struct lk_audio_source {
    api_object o;
    lk_audio_source_options options;
    lk_usec born; /* the clock of the source ticks every 10 ms from here */
    size_t tick_samples; /* per channel, of 10 ms */
    struct lk_frame_pool *pool;
    bool clocked; /* atomic: the loop takes 10 ms every 10 ms by itself */

    pthread_mutex_t lock; /* all below */
    int16_t *ring;
    size_t cap, first, count; /* samples per channel */
    uint64_t ticks;           /* 10 ms taken so far */
    lk_op pending;            /* 0: none */
    bool cleared;             /* the pending one ends at the next tick */

    /* loop thread */
    lk_link link; /* in the shell's list while it has to be looked at */
    bool listed;
    lk_usec next_tick;
    api_audience audience;
};

struct lk_picture_pool;
struct lk_picture;

/* Pictures are converted by whoever captures them; the newest waits for the loop. */
struct lk_video_source {
    api_object o;
    lk_video_source_options options;
    struct lk_picture_pool *pool;
    api_audience audience; /* while nobody is present captures cost nothing */

    pthread_mutex_t lock;      /* the two below */
    struct lk_picture *latest; /* NULL: the loop has taken it */
    uint32_t width, height;    /* of the last picture captured */
};

/* Of a local track. False: it is full. What is not there may be removed. */
static inline api_audience *api_audience_of(const lk_track *t)
{
    return t->video ? &t->video->audience : &t->source->audience;
}
bool api_audience_add_track(api_audience *a, api_driver *driver, uint64_t track);
void api_audience_remove_track(api_audience *a, const api_driver *driver, uint64_t track);
bool api_audience_add_stream(api_audience *a, api_stream *stream);
void api_audience_remove_stream(api_audience *a, api_stream *stream);
/* The tracks of now, how many: whoever is handed something may leave. */
static inline size_t api_audience_tracks(const api_audience *a, api_source_track out[LK_API_SOURCE_TRACKS_MAX])
{
    memcpy(out, a->tracks, a->track_count * sizeof *out);
    return a->track_count;
}
/* Loop: hands the newest picture to tracks and streams. */
void api_video_source_flush(lk_video_source *s, lk_usec now);
/* Size of what it captures: as told, or as last seen. Any thread. */
void api_video_source_size(lk_video_source *s, uint32_t *width, uint32_t *height);

/* Takes what is due and hands it to tracks and streams; when to come back, LK_NEVER: nobody listens or waits. */
lk_usec api_source_tick(lk_audio_source *s, api_shell *shell, lk_usec now);
/* Loop: nobody ticks it any more; time takes its audio again as before it was heard. */
void api_source_idle(lk_audio_source *s);
/* Any thread: nobody waits for that capture any more. */
void api_source_forget(lk_audio_source *s, lk_op op);
void api_shell_wake_source(api_shell *shell, lk_audio_source *s, lk_usec now);
