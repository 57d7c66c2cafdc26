/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/video.h - video in and out: sources, streams, frames and their conversion.
 *
 * How pixels lie in memory (lk_video_format, lk_video_view) stands in types.h. Words of the contracts are explained in
 * runtime.h.
 */
#ifndef LIVEKIT_VIDEO_H
#define LIVEKIT_VIDEO_H

#include "livekit/error.h"
#include "livekit/runtime.h"
#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_video_source lk_video_source;
typedef struct lk_video_stream lk_video_stream;
typedef struct lk_video_frame lk_video_frame;
typedef struct lk_track lk_track;             /* track.h */
typedef struct lk_participant lk_participant; /* room.h */

/* ---- frames ---------------------------------------------------------------------------------------- */

/* A frame is immutable, counted, 64-byte aligned, and independent of stream, track, room and runtime. Its planes follow
 * each other without a gap, its rows too. */
LK_API lk_video_frame *lk_video_frame_keep(lk_video_frame *frame); /* one more reference; NULL ok; LK_ANY */
LK_API void lk_video_frame_drop(lk_video_frame *frame);            /* NULL ok; LK_ANY */

/* Its pixels, valid while a reference is held. NULL: a view of nothing. LK_ANY. */
LK_API lk_video_view lk_video_frame_view(const lk_video_frame *frame);

/* ---- conversion ------------------------------------------------------------------------------------ */

/* Makes a frame of another format, or a copy, on the caller's thread. Every format becomes every other: BT.601, limited
 * range; alpha that nobody gave is opaque. flip_y: upside down. Rotation and timestamp are those of the view; nothing is
 * turned. from: borrow. why: may be NULL; says what is wrong. Give: lk_video_frame_drop. LK_ERR_INVALID: unknown format,
 * a side of 0, a plane missing, a stride shorter than a row; LK_ERR_LIMIT: a side above 16384 or a frame above 256 MiB;
 * LK_ERR_NOMEM. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_video_frame_convert(lk_video_frame **out, const lk_video_view *from, lk_video_format to,
                                                  bool flip_y, lk_error *why);

/* ---- sources --------------------------------------------------------------------------------------- */

typedef struct lk_video_source_options {
    uint32_t size; /* set by lk_video_source_options_init */
    uint32_t width, height; /* 0: learnt from the first picture; what a publication announces. At most 16384 */
    bool is_screencast;     /* false: a camera's picture */
    void *user_data;        /* lk_video_source_user_data */
} lk_video_source_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_video_source_options_init(lk_video_source_options *options);

/* Makes a source; it needs no room. options: borrow, NULL for the defaults. LK_ERR_INVALID: a side above 16384.
 * Give: lk_video_source_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_video_source_new(lk_video_source **out, lk_runtime *runtime,
                                               const lk_video_source_options *options);
LK_API lk_video_source *lk_video_source_ref(lk_video_source *source); /* LK_ANY */
LK_API void lk_video_source_unref(lk_video_source *source);           /* LK_ANY */
LK_API void *lk_video_source_user_data(const lk_video_source *source); /* LK_ANY */

/* Hands a picture to whoever publishes or looks at the source; without them it costs nothing. The pixels are copied
 * (converted to I420) before it returns; rotation is applied when it is sent. A picture the engine has not yet taken is
 * replaced by a newer one. Size may change from picture to picture. picture: borrow. why: may be NULL; says what is wrong.
 * LK_ERR_INVALID: unknown format, a side of 0, a plane missing, a stride shorter than a row; LK_ERR_LIMIT: too large;
 * LK_ERR_NOMEM; LK_ERR_CLOSED: the runtime is being stopped. LK_ANY. */
LK_API lk_err lk_video_source_capture(lk_video_source *source, const lk_video_view *picture, lk_error *why);

/* ---- streams --------------------------------------------------------------------------------------- */

#define LK_VIDEO_STREAM_AS_DECODED (-1)

typedef struct lk_video_stream_options {
    uint32_t size; /* set by lk_video_stream_options_init */
    int format;                 /* LK_VIDEO_STREAM_AS_DECODED, or the lk_video_format frames are converted to */
    uint32_t queue_size_frames; /* 1: the newest; more: that many, then the oldest is dropped and counted; 0: as many as
                                 * fit 64 MiB */
    bool pull;       /* true: no LK_EVENT_VIDEO_FRAME; frames are taken with lk_video_stream_read */
    void *user_data; /* event->user_data of its events */
} lk_video_stream_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_video_stream_options_init(lk_video_stream_options *options);

/* Looks at a video track, remote or local (then: what was captured). Any number of streams per track. Timestamps of
 * remote frames are when the sender captured them, on our monotonic clock. LK_ERR_INVALID: not a video track, no such
 * format. options: borrow, NULL for the defaults. Give: lk_video_stream_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_video_stream_new(lk_video_stream **out, lk_track *track,
                                               const lk_video_stream_options *options);

/* Looks at whatever that remote participant publishes with this source, across unpublish and publish; ends when it
 * leaves. LK_ERR_INVALID: the local participant. Else as above. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_video_stream_from_participant(lk_video_stream **out, lk_participant *participant,
                                                            lk_track_source source,
                                                            const lk_video_stream_options *options);

LK_API lk_video_stream *lk_video_stream_ref(lk_video_stream *stream); /* LK_ANY */

/* The last reference ends the stream without an event. LK_ANY. */
LK_API void lk_video_stream_unref(lk_video_stream *stream);
LK_API void *lk_video_stream_user_data(const lk_video_stream *stream); /* LK_ANY */

/* Ends the stream: undelivered frames are dropped, LK_EVENT_VIDEO_STREAM_END follows (exactly once per stream,
 * whatever ended it first). LK_ANY. */
LK_API lk_err lk_video_stream_close(lk_video_stream *stream);

/* The oldest frame. timeout_msec as in lk_next_event. Give: lk_video_frame_drop. LK_ERR_TIMEOUT; LK_ERR_CLOSED: ended
 * and empty; LK_ERR_STATE: not a pull stream. LK_BLOCKS for timeout_msec. */
LK_API LK_NODISCARD lk_err lk_video_stream_read(lk_video_frame **frame, lk_video_stream *stream, int32_t timeout_msec);

/* Frames dropped because nobody took them in time. LK_ANY. */
LK_API uint64_t lk_video_stream_dropped(const lk_video_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
