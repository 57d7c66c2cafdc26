// SPDX-License-Identifier: Apache-2.0
/* Requests about video: sources, tracks, streams. */
#include "ffi/ffi_calls.h"

#include <stdio.h>

/* ---- sources and tracks ---- */

bool ffi_do_new_video_source(ffi_call *c, const Livekit__Proto__NewVideoSourceRequest *m, Livekit__Proto__NewVideoSourceResponse *r)
{
    lk_video_source *source;
    lk_video_source_options o;
    if (m->type == LIVEKIT__PROTO__VIDEO_SOURCE_TYPE__VIDEO_SOURCE_ENCODED)
        return ffi_reject(c, "new_video_source: VIDEO_SOURCE_ENCODED: not built yet");
    lk_video_source_options_init(&o);
    if (m->resolution) {
        o.width = m->resolution->width;
        o.height = m->resolution->height;
    }
    o.is_screencast = m->has_is_screencast && m->is_screencast;
    lk_err err = lk_video_source_new(&source, c->rt, &o);
    if (err)
        return ffi_reject(c, err == LK_ERR_INVALID ? "new_video_source: resolution out of range" : lk_err_text(err));
    r->source = NEW(&c->build, owned_video_source);
    r->source->handle = ffi_owned(&c->build, ffi_handle_new(FFI_VIDEO_SOURCE, source, 0));
    r->source->info = NEW(&c->build, video_source_info);
    r->source->info->type = m->type;
    return true;
}

bool ffi_do_create_video_track(ffi_call *c, const Livekit__Proto__CreateVideoTrackRequest *m,
                               Livekit__Proto__CreateVideoTrackResponse *r)
{
    lk_track *track;
    lk_video_source *source = (lk_video_source *)ffi_handle_get(c, m->source_handle, FFI_VIDEO_SOURCE);
    if (!source)
        return false;
    lk_err err = lk_track_new_video(&track, source, m->name ? m->name : "");
    lk_video_source_unref(source);
    if (err)
        return ffi_reject(c, err == LK_ERR_LIMIT ? "create_video_track: name too long" : lk_err_text(err));
    r->track = ffi_own_new_track(c, track);
    return r->track != NULL;
}

bool ffi_do_capture_video_frame(ffi_call *c, const Livekit__Proto__CaptureVideoFrameRequest *m,
                                Livekit__Proto__CaptureVideoFrameResponse *r)
{
    lk_video_view view;
    lk_error error = {0};
    LK_UNUSED(r);
    lk_video_source *source = (lk_video_source *)ffi_handle_get(c, m->source_handle, FFI_VIDEO_SOURCE);
    if (!source)
        return false;
    const char *why = ffi_video_view(&view, m->buffer);
    lk_err err = LK_ERR_INVALID;
    if (!why) {
        view.timestamp_usec = m->timestamp_us;
        view.rotation = (lk_video_rotation)m->rotation;
        err = lk_video_source_capture(source, &view, &error);
    }
    lk_video_source_unref(source);
    if (err) {
        char text[LK_FFI_WHY_MAX];
        (void)snprintf(text, sizeof text, "capture_video_frame: %s", why ? why : error.text);
        return ffi_reject(c, text);
    }
    return true;
}

/* ---- streams ---- */

typedef struct stream_wish {
    Livekit__Proto__VideoStreamType type;
    bool has_format, has_queue;
    int format;
    uint32_t queue_frames;
} stream_wish;
/* Of either request. */
#define WISH(m)                                                                                                      \
    {.type = (m)->type,                                                                                              \
     .has_format = (m)->has_format, .format = (int)(m)->format,                                                      \
     .has_queue = (m)->has_queue_size_frames, .queue_frames = (m)->queue_size_frames}

/* The number is known before the stream is: its events may come at once. */
static bool new_stream(ffi_call *c, const stream_wish *w, lk_track *track, lk_participant *participant, lk_track_source source,
                       uint64_t parent, Livekit__Proto__OwnedVideoStream **out)
{
    lk_video_stream *stream;
    lk_video_stream_options o;
    if (w->type != LIVEKIT__PROTO__VIDEO_STREAM_TYPE__VIDEO_STREAM_NATIVE)
        return ffi_reject(c, "unsupported video stream type");
    lk_video_stream_options_init(&o);
    if (w->has_format)
        o.format = w->format;
    if (w->has_queue)
        o.queue_size_frames = w->queue_frames;
    uint64_t id = ffi_handle_reserve(FFI_VIDEO_STREAM, parent);
    if (!id)
        return ffi_reject_err(c, LK_ERR_NOMEM);
    o.user_data = (void *)(uintptr_t)id;
    lk_err err = track ? lk_video_stream_new(&stream, track, &o) : lk_video_stream_from_participant(&stream, participant, source, &o);
    if (err) {
        ffi_handle_cancel(id);
        return ffi_reject(c, err != LK_ERR_INVALID ? lk_err_text(err) : track ? "not a video track" : "video stream: the local participant, or no such format");
    }
    ffi_handle_open(id, FFI_VIDEO_STREAM, stream);
    *out = NEW(&c->build, owned_video_stream);
    (*out)->handle = ffi_owned(&c->build, id);
    (*out)->info = NEW(&c->build, video_stream_info);
    (*out)->info->type = w->type;
    return true;
}

bool ffi_do_new_video_stream(ffi_call *c, const Livekit__Proto__NewVideoStreamRequest *m, Livekit__Proto__NewVideoStreamResponse *r)
{
    lk_track *track = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    if (!track)
        return false;
    const stream_wish w = WISH(m);
    bool ok = new_stream(c, &w, track, NULL, LK_TRACK_SOURCE_UNKNOWN, m->track_handle, &r->stream);
    lk_track_unref(track);
    return ok;
}

bool ffi_do_video_stream_from_participant(ffi_call *c, const Livekit__Proto__VideoStreamFromParticipantRequest *m,
                                          Livekit__Proto__VideoStreamFromParticipantResponse *r)
{
    lk_participant *p = (lk_participant *)ffi_handle_get(c, m->participant_handle, FFI_PARTICIPANT);
    if (!p)
        return false;
    const stream_wish w = WISH(m);
    bool ok = new_stream(c, &w, NULL, p, m->has_track_source ? (lk_track_source)m->track_source : LK_TRACK_SOURCE_UNKNOWN, 0,
                         &r->stream);
    lk_participant_unref(p);
    return ok;
}
