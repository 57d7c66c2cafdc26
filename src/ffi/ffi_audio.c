// SPDX-License-Identifier: Apache-2.0
/* Requests about audio: sources, tracks, streams. */
#include <stdio.h>

#include "ffi/ffi_calls.h"

/* ---- sources and tracks ------------------------------------------------------------------------------------------ */

bool ffi_do_new_audio_source(ffi_call *c, const Livekit__Proto__NewAudioSourceRequest *m, Livekit__Proto__NewAudioSourceResponse *r)
{
    lk_audio_source *source;
    lk_audio_source_options o;
    if (m->type == LIVEKIT__PROTO__AUDIO_SOURCE_TYPE__AUDIO_SOURCE_PLATFORM)
        return ffi_reject(c, "new_audio_source: AUDIO_SOURCE_PLATFORM: not built yet");
    lk_audio_source_options_init(&o);
    if (m->has_sample_rate)
        o.sample_rate = m->sample_rate;
    if (m->has_num_channels)
        o.num_channels = m->num_channels;
    if (m->has_queue_size_ms)
        o.queue_size_msec = m->queue_size_ms;
    if (m->options) {
        o.echo_cancellation = m->options->echo_cancellation;
        o.noise_suppression = m->options->noise_suppression;
        o.auto_gain_control = m->options->auto_gain_control;
    }
    static char without_queue;
    o.user_data = o.queue_size_msec == 0 ? &without_queue : NULL; /* its captures fail in words of their own */
    lk_err err = lk_audio_source_new(&source, c->rt, &o);
    if (err)
        return ffi_reject(c, err == LK_ERR_INVALID ? "new_audio_source: sample_rate, num_channels or queue_size_ms out of range"
                                                   : lk_err_text(err));
    r->source = NEW(&c->build, owned_audio_source);
    r->source->handle = ffi_owned(&c->build, ffi_handle_new(FFI_AUDIO_SOURCE, source, 0));
    r->source->info = NEW(&c->build, audio_source_info);
    r->source->info->type = m->type;
    return true;
}

Livekit__Proto__OwnedTrack *ffi_own_new_track(ffi_call *c, lk_track *track)
{
    const lk_track_info *info;
    lk_err err = lk_track_get_info(&info, track);
    if (err) {
        lk_track_unref(track);
        ffi_reject_err(c, err);
        return NULL;
    }
    Livekit__Proto__OwnedTrack *t = NEW(&c->build, owned_track);
    t->info = ffi_track_info(&c->build, info);
    t->info->sid = TEXT("TR_unknown");
    char *name = (char *)ffi_alloc(&c->build, strlen(info->name) + 1);
    if (!c->build.bad)
        memcpy(name, info->name, strlen(info->name) + 1);
    t->info->name = name;
    t->handle = ffi_owned(&c->build, ffi_handle_new(FFI_TRACK, track, 0));
    lk_info_unref(info);
    return t;
}

bool ffi_do_create_audio_track(ffi_call *c, const Livekit__Proto__CreateAudioTrackRequest *m,
                               Livekit__Proto__CreateAudioTrackResponse *r)
{
    lk_track *track;
    lk_audio_source *source = (lk_audio_source *)ffi_handle_get(c, m->source_handle, FFI_AUDIO_SOURCE);
    if (!source)
        return false;
    lk_err err = lk_track_new_audio(&track, source, m->name ? m->name : "");
    lk_audio_source_unref(source);
    if (err)
        return ffi_reject(c, err == LK_ERR_INVALID ? "create_audio_track: name too long" : lk_err_text(err));
    r->track = ffi_own_new_track(c, track);
    return r->track != NULL;
}

/* Why a capture was refused, in the words of the stock library; text is memory for some of them. */
static const char *capture_error(lk_err err, const lk_audio_source *source, const lk_audio_view *audio, char text[LK_FFI_WHY_MAX])
{
    uint32_t expected = audio->sample_rate / 100;
    switch (err) {
    case LK_ERR_INVALID: return "an RtcError occurred: InvalidState - sample_rate and num_channels don't match";
    case LK_ERR_STATE:
        if (!lk_audio_source_user_data(source) || audio->samples_per_channel == expected)
            return "an RtcError occurred: InvalidState - failed to capture frame";
        (void)snprintf(text, LK_FFI_WHY_MAX,
                       "an RtcError occurred: InvalidState - direct capture requires 10ms frames: got %u frames, expected %u",
                       audio->samples_per_channel, expected);
        return text;
    case LK_ERR_LIMIT: return "an RtcError occurred: InvalidState - frame is longer than 60 s";
    default: return lk_err_text(err);
    }
}

bool ffi_do_capture_audio_frame(ffi_call *c, const Livekit__Proto__CaptureAudioFrameRequest *m,
                                Livekit__Proto__CaptureAudioFrameResponse *r)
{
    lk_audio_source *source = (lk_audio_source *)ffi_handle_get(c, m->source_handle, FFI_AUDIO_SOURCE);
    if (!source)
        return false;
    static const Livekit__Proto__AudioFrameBufferInfo none = LIVEKIT__PROTO__AUDIO_FRAME_BUFFER_INFO__INIT;
    const Livekit__Proto__AudioFrameBufferInfo *b = m->buffer ? m->buffer : &none;
    if (!b->data_ptr && b->samples_per_channel > 0 && b->num_channels > 0) {
        lk_audio_source_unref(source);
        return ffi_reject(c, "buffer.data_ptr is null");
    }
    ffi_op *op = ffi_op_new(c, LIVEKIT__PROTO__FFI_EVENT__MESSAGE_CAPTURE_AUDIO_FRAME, 2, m->has_request_async_id,
                            m->request_async_id);
    if (op) {
        char text[LK_FFI_WHY_MAX];
        lk_op_options o;
        lk_op_options_init(&o);
        o.user_data = op;
        const lk_audio_view audio = {.data = (const int16_t *)(uintptr_t)b->data_ptr,
                                     .samples_per_channel = b->samples_per_channel,
                                     .sample_rate = b->sample_rate,
                                     .num_channels = b->num_channels};
        r->async_id = op->async_id;
        lk_op id;
        lk_err err = lk_audio_source_capture(&id, source, &audio, &o);
        ffi_op_begun(c, op, err, capture_error(err, source, &audio, text));
    }
    lk_audio_source_unref(source);
    return op || ffi_reject_err(c, LK_ERR_NOMEM);
}

bool ffi_do_clear_audio_buffer(ffi_call *c, const Livekit__Proto__ClearAudioBufferRequest *m,
                               Livekit__Proto__ClearAudioBufferResponse *r)
{
    LK_UNUSED(r);
    lk_audio_source *source = (lk_audio_source *)ffi_handle_get(c, m->source_handle, FFI_AUDIO_SOURCE);
    if (!source)
        return false;
    (void)lk_audio_source_clear(source);
    lk_audio_source_unref(source);
    return true;
}

/* ---- streams --------------------------------------------------------------------------------------------------------- */

typedef struct stream_wish {
    Livekit__Proto__AudioStreamType type;
    bool has_rate, has_channels, has_frame, has_queue;
    uint32_t rate, channels, frame_msec, queue_frames;
    const char *filter;
} stream_wish;
/* Of either request. */
#define WISH(m)                                                                                                      \
    {.type = (m)->type,                                                                                              \
     .has_rate = (m)->has_sample_rate, .rate = (m)->sample_rate,                                                     \
     .has_channels = (m)->has_num_channels, .channels = (m)->num_channels,                                           \
     .has_frame = (m)->has_frame_size_ms, .frame_msec = (m)->frame_size_ms,                                          \
     .has_queue = (m)->has_queue_size_frames, .queue_frames = (m)->queue_size_frames,                                \
     .filter = (m)->audio_filter_module_id}

/* The number is known before the stream is: its events may come at once. */
static bool new_stream(ffi_call *c, const stream_wish *w, lk_track *track, lk_participant *participant, lk_track_source source,
                       uint64_t parent, Livekit__Proto__OwnedAudioStream **out)
{
    lk_audio_stream *stream;
    lk_audio_stream_options o;
    if (w->type != LIVEKIT__PROTO__AUDIO_STREAM_TYPE__AUDIO_STREAM_NATIVE)
        return ffi_reject(c, "unsupported audio stream type");
    if (w->filter && *w->filter)
        return ffi_reject(c, "the audio filter is not found");
    lk_audio_stream_options_init(&o);
    o.sample_rate = w->has_rate ? w->rate : 48000;
    o.num_channels = w->has_channels ? w->channels : 1;
    o.frame_size_msec = w->has_frame ? w->frame_msec : 0;
    if (w->has_queue)
        o.queue_size_frames = w->queue_frames;
    uint64_t id = ffi_handle_reserve(FFI_AUDIO_STREAM, parent);
    if (!id)
        return ffi_reject_err(c, LK_ERR_NOMEM);
    o.user_data = (void *)(uintptr_t)id;
    lk_err err = track ? lk_audio_stream_new(&stream, track, &o) : lk_audio_stream_from_participant(&stream, participant, source, &o);
    if (err) {
        ffi_handle_cancel(id);
        return ffi_reject(c, err == LK_ERR_INVALID ? "audio stream: track, sample_rate, num_channels or frame_size_ms not usable"
                                                   : lk_err_text(err));
    }
    ffi_handle_open(id, FFI_AUDIO_STREAM, stream);
    *out = NEW(&c->build, owned_audio_stream);
    (*out)->handle = ffi_owned(&c->build, id);
    (*out)->info = NEW(&c->build, audio_stream_info);
    (*out)->info->type = w->type;
    return true;
}

bool ffi_do_new_audio_stream(ffi_call *c, const Livekit__Proto__NewAudioStreamRequest *m, Livekit__Proto__NewAudioStreamResponse *r)
{
    lk_track *track = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    if (!track)
        return false;
    const stream_wish w = WISH(m);
    bool ok = new_stream(c, &w, track, NULL, LK_TRACK_SOURCE_UNKNOWN, m->track_handle, &r->stream);
    lk_track_unref(track);
    return ok;
}

bool ffi_do_audio_stream_from_participant(ffi_call *c, const Livekit__Proto__AudioStreamFromParticipantRequest *m,
                                          Livekit__Proto__AudioStreamFromParticipantResponse *r)
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
