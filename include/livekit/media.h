/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/media.h - audio in and out: sources, streams, frames, resamplers.
 *
 * All audio is signed 16 bit, native byte order, interleaved. A "sample" counts once per channel. Words of the
 * contracts are explained in runtime.h.
 */
#ifndef LIVEKIT_MEDIA_H
#define LIVEKIT_MEDIA_H

#include "livekit/runtime.h"
#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_audio_source lk_audio_source;
typedef struct lk_audio_stream lk_audio_stream;
typedef struct lk_audio_frame lk_audio_frame;
typedef struct lk_track lk_track;             /* track.h */
typedef struct lk_participant lk_participant; /* room.h */

/* A look at audio in memory: samples_per_channel * num_channels values at data. */
typedef struct lk_audio_view {
    const int16_t *data;
    uint32_t samples_per_channel;
    uint32_t sample_rate; /* Hz */
    uint32_t num_channels;
} lk_audio_view;

/* ---- frames ---------------------------------------------------------------------------------------- */

/* A frame is immutable, counted, 64-byte aligned, and independent of stream, track, room and runtime. */
LK_API lk_audio_frame *lk_audio_frame_keep(lk_audio_frame *frame); /* one more reference; LK_ANY */
LK_API void lk_audio_frame_drop(lk_audio_frame *frame);            /* NULL ok; LK_ANY */

/* Its samples, valid while a reference is held. LK_ANY. */
LK_API lk_audio_view lk_audio_frame_view(const lk_audio_frame *frame);

/* ---- sources --------------------------------------------------------------------------------------- */

typedef struct lk_audio_source_options {
    uint32_t size; /* set by lk_audio_source_options_init */
    uint32_t sample_rate;     /* 48000 Hz; 1000..384000 */
    uint32_t num_channels;    /* 1; 1..8. More than one is sent as mono */
    uint32_t queue_size_msec; /* 1000; rounded up to a multiple of 10; 0: no queue, see capture; at most 60000 */
    bool echo_cancellation;   /* false; these three are kept for device sources and change nothing here */
    bool noise_suppression;
    bool auto_gain_control;
    void *user_data; /* lk_audio_source_user_data */
} lk_audio_source_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_audio_source_options_init(lk_audio_source_options *options);

/* Makes a source; it needs no room. From now on it takes 10 ms out of its queue every 10 ms, published or not;
 * an empty queue means silence. options: borrow, NULL for the defaults. Give: lk_audio_source_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_audio_source_new(lk_audio_source **out, lk_runtime *runtime,
                                               const lk_audio_source_options *options);
LK_API lk_audio_source *lk_audio_source_ref(lk_audio_source *source); /* LK_ANY */

/* A published track goes on without its source and sends silence; a pending capture still ends. LK_ANY. */
LK_API void lk_audio_source_unref(lk_audio_source *source);
LK_API void *lk_audio_source_user_data(const lk_audio_source *source); /* LK_ANY */

/* Copies the samples into the queue and returns; never waits. The operation (LK_OP_CAPTURE, no deadline unless
 * one is given) ends when no more than queue_size_msec wait in the queue: at once while it is not full, else when
 * it has drained: capture again then, and audio neither gaps nor piles up.
 * Returns LK_ERR_INVALID: another rate or channel count than the source's, or data missing; LK_ERR_STATE: a
 * capture is still pending; with queue_size_msec 0: not exactly 10 ms; LK_ERR_LIMIT: more than 60 s at once.
 * Zero samples end at once. op may be NULL: then no event is made, and a full queue is LK_ERR_FULL. LK_ANY. */
LK_API lk_err lk_audio_source_capture(lk_op *op, lk_audio_source *source, const lk_audio_view *audio,
                                      const lk_op_options *how);

/* Forgets what is queued; a pending capture ends with LK_OK within 10 ms. LK_ANY. */
LK_API lk_err lk_audio_source_clear(lk_audio_source *source);

/* How much waits in the queue, in milliseconds of audio, rounded up. LK_ANY. */
LK_API uint32_t lk_audio_source_queued_msec(const lk_audio_source *source);

/* ---- streams --------------------------------------------------------------------------------------- */

typedef struct lk_audio_stream_options {
    uint32_t size; /* set by lk_audio_stream_options_init */
    uint32_t sample_rate;       /* 48000 Hz; 8000..192000: what frames are converted to */
    uint32_t num_channels;      /* 1; 1..8 */
    uint32_t frame_size_msec;   /* 0 means 10; 1..1000: length of each frame */
    uint32_t queue_size_frames; /* 10 undelivered frames are kept, then the oldest is dropped and counted;
                                 * 0: as many as fit 64 MiB */
    bool pull;       /* true: no LK_EVENT_AUDIO_FRAME; frames are taken with lk_audio_stream_read */
    void *user_data; /* event->user_data of its events */
} lk_audio_stream_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_audio_stream_options_init(lk_audio_stream_options *options);

/* Listens to an audio track, remote or local (then: what was captured, after the queue of the source). A frame
 * comes every frame_size_msec of playout: decoded audio, concealment or silence, also while muted. Any number of
 * streams per track. After LK_EVENT_TRACK_UNSUBSCRIBED no frame comes; the stream ends with its room, or when it is
 * closed. LK_ERR_INVALID: not an audio track. options: borrow, NULL for the defaults.
 * Give: lk_audio_stream_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_audio_stream_new(lk_audio_stream **out, lk_track *track,
                                               const lk_audio_stream_options *options);

/* Listens to whatever that remote participant publishes with this source, across unpublish and publish; ends when
 * it leaves. LK_ERR_INVALID: the local participant. Else as above. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_audio_stream_from_participant(lk_audio_stream **out,
                                                            lk_participant *participant,
                                                            lk_track_source source,
                                                            const lk_audio_stream_options *options);

LK_API lk_audio_stream *lk_audio_stream_ref(lk_audio_stream *stream); /* LK_ANY */

/* The last reference ends the stream without an event. LK_ANY. */
LK_API void lk_audio_stream_unref(lk_audio_stream *stream);
LK_API void *lk_audio_stream_user_data(const lk_audio_stream *stream); /* LK_ANY */

/* Ends the stream: undelivered frames are dropped, LK_EVENT_AUDIO_STREAM_END follows (exactly once per stream,
 * whatever ended it first). LK_ANY. */
LK_API lk_err lk_audio_stream_close(lk_audio_stream *stream);

/* The oldest frame. timeout_msec as in lk_next_event. Give: lk_audio_frame_drop. LK_ERR_TIMEOUT; LK_ERR_CLOSED:
 * ended and empty; LK_ERR_STATE: not a pull stream. LK_BLOCKS for timeout_msec. */
LK_API LK_NODISCARD lk_err lk_audio_stream_read(lk_audio_frame **frame, lk_audio_stream *stream,
                                                int32_t timeout_msec);

/* Frames dropped because nobody took them in time. LK_ANY. */
LK_API uint64_t lk_audio_stream_dropped(const lk_audio_stream *stream);

/* ---- conversion, on the calling thread -------------------------------------------------------------- */

typedef enum lk_resampler_quality {
    LK_RESAMPLER_QUICK = 0,
    LK_RESAMPLER_LOW = 1,
    LK_RESAMPLER_MEDIUM = 2,
    LK_RESAMPLER_HIGH = 3,
    LK_RESAMPLER_VERY_HIGH = 4
} lk_resampler_quality;

typedef struct lk_resampler_options {
    uint32_t size; /* set by lk_resampler_options_init */
    double input_rate, output_rate; /* 48000 Hz both; > 0 */
    uint32_t num_channels;          /* 1; 1..8 */
    lk_resampler_quality quality;   /* MEDIUM */
    uint32_t flags;                 /* 0; bits as in soxr.h (roll-off and the like) */
} lk_resampler_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_resampler_options_init(lk_resampler_options *options);

/* A streaming sample rate converter (soxr). Not for two threads at once.
 * why may be NULL; on failure it says what the converter did not like. Give: lk_resampler_unref. LK_ANY. */
typedef struct lk_resampler lk_resampler;
LK_API LK_NODISCARD lk_err lk_resampler_new(lk_resampler **out, const lk_resampler_options *options,
                                            lk_error *why);
LK_API lk_resampler *lk_resampler_ref(lk_resampler *resampler); /* LK_ANY */
LK_API void lk_resampler_unref(lk_resampler *resampler);        /* LK_ANY */

/* Channels it was made with. LK_ANY. */
LK_API uint32_t lk_resampler_channels(const lk_resampler *resampler);

/* Converts samples_per_channel samples (borrow; at most 10 s worth, LK_ERR_LIMIT). *out points to what came out, valid
 * until the next call on this resampler; *out_samples per channel, possibly 0. LK_ERR_CODEC: soxr refused. */
LK_API LK_NODISCARD lk_err lk_resampler_push(const int16_t **out, size_t *out_samples,
                                             lk_resampler *resampler, const int16_t *data,
                                             size_t samples_per_channel);

/* Gives what is still inside and clears the state: it can be used again. Else as lk_resampler_push. */
LK_API LK_NODISCARD lk_err lk_resampler_flush(const int16_t **out, size_t *out_samples,
                                              lk_resampler *resampler);

/* Changes rate and channels of single 10 ms frames, keeping filter state per pair of formats.
 * Not for two threads at once. Give: lk_remixer_unref. LK_ANY. */
typedef struct lk_remixer lk_remixer;
LK_API LK_NODISCARD lk_err lk_remixer_new(lk_remixer **out);
LK_API lk_remixer *lk_remixer_ref(lk_remixer *remixer); /* LK_ANY */
LK_API void lk_remixer_unref(lk_remixer *remixer);      /* LK_ANY */

/* Whatever the length of audio (at most 1 s), gives exactly 10 ms in the new format: the input counts as one 10 ms
 * frame. Give: lk_audio_frame_drop. LK_ERR_INVALID: rate outside 1000..384000, channels outside 1..8. */
LK_API LK_NODISCARD lk_err lk_remixer_process(lk_audio_frame **out, lk_remixer *remixer,
                                              const lk_audio_view *audio, uint32_t sample_rate,
                                              uint32_t num_channels);

#ifdef __cplusplus
}
#endif
#endif
