// SPDX-License-Identifier: Apache-2.0
/* api/api_stream.h - a stream: a bounded ring of frames between the loop and whoever listens or looks. */
#pragma once
#include "api/api.h"

struct api_stream {
    api_object o;
    lk_media_kind kind;
    api_node node; /* its token in the queue; node and queued under runtime.lock */
    bool queued;
    lk_audio_stream_options audio; /* of an audio stream */
    lk_video_stream_options video; /* of a video stream */
    uint32_t queue_size_frames;
    bool pull;
    void *user_data;
    /* What it listens to; set once. */
    lk_track *track;             /* refs; or */
    lk_participant *participant; /* refs, with source_kind */
    lk_track_source source_kind;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t cond;
    lk_queue frames; /* lk_audio_frame* or lk_video_frame* */
    size_t frame_bytes;
    bool ended, end_taken;
    uint64_t dropped;

    /* loop thread */
    struct lk_audio_shape *shape; /* of a stream on a local track, made with its first frame */
    struct lk_frame_pool *pool;
    lk_link link;  /* in the shell's list of streams */
    bool attached; /* in that list */
    uint64_t sink; /* 0: not connected to a track at the moment */
    uint64_t sink_track;
};

/* The public types are this struct under another name. */
struct lk_audio_stream {
    api_stream stream;
};
struct lk_video_stream {
    api_stream stream;
};

typedef enum api_stream_take { API_STREAM_NOTHING, API_STREAM_FRAME, API_STREAM_END } api_stream_take;

/* Takes what is due next for the event queue; *more: something is left. */
api_stream_take api_stream_pop(api_stream *s, void **frame, bool *more);
void api_stream_drop_frame(const api_stream *s, void *frame); /* NULL ok */
/* What is given to the reader: another frame when the stream wants another format. NULL: it could not be made. */
void *api_stream_finish(const api_stream *s, void *frame);
/* The end could not be told (no memory): it is due again. Returns true. */
bool api_stream_put_end_back(api_stream *s);
bool api_stream_ended(api_stream *s);
/* Loop: a frame arrived (takes the reference); drops the oldest when full. */
void api_stream_put(api_stream *s, void *frame);
/* Loop: 10 ms of the source of a local track (borrow); converted to what the stream wants. */
struct lk_frame;
void api_stream_put_source(api_stream *s, struct lk_frame *frame);
/* Ends it once. drop: forget what nobody has taken. */
void api_stream_end(api_stream *s, bool drop);
