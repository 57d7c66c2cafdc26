// SPDX-License-Identifier: Apache-2.0
#include "api/api_stream.h"

#include <errno.h>
#include <time.h>

#include "frame/frame.h"
#include "frame/picture.h"
#include "media/audio_shape.h"

/* What a frame weighs in the queue. */
static size_t frame_size(const api_stream *s, const void *frame)
{
    if (s->kind == LK_MEDIA_KIND_VIDEO)
        return ((const lk_picture *)frame)->capacity;
    lk_audio_view v = lk_audio_frame_view((const lk_audio_frame *)frame);
    return sizeof(int16_t) * v.samples_per_channel * v.num_channels;
}

void api_stream_drop_frame(const api_stream *s, void *frame)
{
    if (s->kind == LK_MEDIA_KIND_VIDEO)
        lk_video_frame_drop((lk_video_frame *)frame);
    else
        lk_audio_frame_drop((lk_audio_frame *)frame);
}

static bool take_frame(api_stream *s, void **frame)
{
    if (!lk_queue_pop(&s->frames, frame))
        return false;
    s->frame_bytes -= frame_size(s, *frame);
    return true;
}

static void drop_oldest(api_stream *s)
{
    void *frame;
    if (take_frame(s, &frame))
        api_stream_drop_frame(s, frame);
}

api_stream_take api_stream_pop(api_stream *s, void **frame, bool *more)
{
    api_stream_take take = API_STREAM_NOTHING;
    pthread_mutex_lock(&s->lock);
    if (!s->pull && take_frame(s, frame)) {
        take = API_STREAM_FRAME;
    } else if (s->ended && !s->end_taken) {
        s->end_taken = true;
        take = API_STREAM_END;
    }
    *more = (!s->pull && s->frames.count > 0) || (s->ended && !s->end_taken);
    pthread_mutex_unlock(&s->lock);
    return take;
}

bool api_stream_put_end_back(api_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->end_taken = false;
    pthread_mutex_unlock(&s->lock);
    return true;
}

bool api_stream_ended(api_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool ended = s->ended;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void api_stream_put(api_stream *s, void *frame)
{
    bool tell = false;
    pthread_mutex_lock(&s->lock);
    if (!s->ended) {
        size_t size = frame_size(s, frame);
        while (s->frames.count > 0 &&
               ((s->queue_size_frames && s->frames.count >= s->queue_size_frames) ||
                s->frame_bytes + size > LK_API_STREAM_BYTES_MAX)) {
            drop_oldest(s);
            s->dropped++;
        }
        if (lk_queue_push(&s->frames, &frame) == LK_OK) {
            s->frame_bytes += size;
            frame = NULL;
            tell = !s->pull;
            pthread_cond_broadcast(&s->cond);
        } else {
            s->dropped++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (frame)
        api_stream_drop_frame(s, frame);
    if (tell)
        api_push_stream(s);
}

static bool ready_to_shape(api_stream *s, const lk_frame *f)
{
    const lk_audio_shape_config config = {.in_rate = f->sample_rate,
                                          .max_frames = f->samples,
                                          .out_rate = s->audio.sample_rate,
                                          .out_channels = s->audio.num_channels,
                                          .frame_msec = s->audio.frame_size_msec};
    if (!s->pool && lk_frame_pool_new(&s->pool, api_env()) != LK_OK)
        return false;
    return s->shape || lk_audio_shape_new(&s->shape, api_env(), &config) == LK_OK;
}

void api_stream_put_source(api_stream *s, struct lk_frame *f)
{
    if (!ready_to_shape(s, f) || lk_audio_shape_push(s->shape, f->data, f->channels, f->samples) != LK_OK)
        return;
    for (const int16_t *samples; (samples = lk_audio_shape_next(s->shape)) != NULL;) {
        lk_frame *out;
        uint32_t frames = lk_audio_shape_frames(s->shape);
        if (lk_frame_new(&out, s->pool, s->audio.sample_rate, s->audio.num_channels, frames) != LK_OK)
            return;
        memcpy(out->data, samples, (size_t)frames * s->audio.num_channels * sizeof *samples);
        api_stream_put(s, out);
    }
}

void api_stream_end(api_stream *s, bool drop)
{
    pthread_mutex_lock(&s->lock);
    bool first = !s->ended;
    s->ended = true;
    while (drop && s->frames.count > 0)
        drop_oldest(s);
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->lock);
    if (first)
        api_push_stream(s);
}

/* ---- public -------------------------------------------------------------------------------------------- */

void lk_audio_stream_options_init(lk_audio_stream_options *options)
{
    *options = (lk_audio_stream_options){.size = sizeof *options,
                                         .sample_rate = 48000,
                                         .num_channels = 1,
                                         .queue_size_frames = 10};
}

void lk_video_stream_options_init(lk_video_stream_options *options)
{
    *options = (lk_video_stream_options){
        .size = sizeof *options, .format = LK_VIDEO_STREAM_AS_DECODED, .queue_size_frames = 1};
}

static void close_on_loop(api_stream *s)
{
    api_cmd *cmd = api_cmd_new(API_CMD_STREAM_CLOSE, NULL);
    if (cmd)
        cmd->stream = api_ref(s);
    /* Refused memory: the loop keeps the stream, silent, until the runtime stops. */
    (void)api_submit_end(s->o.rt, cmd);
}

static void on_last_user(api_object *o)
{
    api_stream *s = (api_stream *)o;
    pthread_mutex_lock(&s->lock);
    s->ended = s->end_taken = true; /* without an event */
    while (s->frames.count > 0)
        drop_oldest(s);
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->lock);
    close_on_loop(s); /* also after its end: the loop lists it still */
}

static void on_destroy(api_object *o)
{
    api_stream *s = (api_stream *)o;
    while (s->frames.count > 0)
        drop_oldest(s);
    lk_queue_deinit(&s->frames);
    lk_audio_shape_free(s->shape);
    lk_frame_pool_unref(s->pool);
    api_unref(s->track);
    api_unref(s->participant);
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->lock);
    api_release(s, sizeof *s);
}

/* The common half of every stream, from options its kind has already put into it. */
static lk_err open_stream(api_stream *s, lk_runtime *rt, lk_track *track, lk_participant *participant, lk_track_source source)
{
    pthread_mutex_init(&s->lock, NULL);
    api_cond_init(&s->cond);
    lk_queue_init(&s->frames, api_env(), sizeof(void *), s->queue_size_frames ? s->queue_size_frames : 1u << 20);
    s->node.kind = API_NODE_STREAM;
    s->source_kind = source;
    api_object_init(&s->o, rt, on_last_user, on_destroy);
    s->track = api_ref(track);
    s->participant = api_ref(participant);
    api_cmd *cmd = api_cmd_new(API_CMD_STREAM_OPEN, NULL);
    lk_err err = LK_ERR_NOMEM;
    if (cmd) {
        cmd->stream = api_ref(s);
        err = api_submit(rt, cmd);
    }
    if (err != LK_OK) {
        s->ended = s->end_taken = true;
        api_user_unref(s);
    }
    return err;
}

static lk_err audio_stream(lk_audio_stream **out, lk_runtime *rt, lk_track *track, lk_participant *participant,
                           lk_track_source source, const lk_audio_stream_options *options)
{
    lk_audio_stream_options o;
    lk_audio_stream_options_init(&o);
    if (!api_options(&o, sizeof o, options) || o.sample_rate < 8000 || o.sample_rate > 192000 || o.num_channels < 1 ||
        o.num_channels > 8 || o.frame_size_msec > 1000)
        return LK_ERR_INVALID;
    if (o.frame_size_msec == 0)
        o.frame_size_msec = 10;
    api_stream *s = api_alloc0(sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->kind = LK_MEDIA_KIND_AUDIO;
    s->audio = o;
    s->queue_size_frames = o.queue_size_frames;
    s->pull = o.pull;
    s->user_data = o.user_data;
    lk_err err = open_stream(s, rt, track, participant, source);
    if (err == LK_OK)
        *out = (lk_audio_stream *)s;
    return err;
}

static lk_err video_stream(lk_video_stream **out, lk_runtime *rt, lk_track *track, lk_participant *participant,
                           lk_track_source source, const lk_video_stream_options *options)
{
    lk_video_stream_options o;
    lk_video_stream_options_init(&o);
    if (!api_options(&o, sizeof o, options) || o.format < LK_VIDEO_STREAM_AS_DECODED || o.format >= LK_VIDEO_FORMATS)
        return LK_ERR_INVALID;
    api_stream *s = api_alloc0(sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->kind = LK_MEDIA_KIND_VIDEO;
    s->video = o;
    s->queue_size_frames = o.queue_size_frames;
    s->pull = o.pull;
    s->user_data = o.user_data;
    lk_err err = open_stream(s, rt, track, participant, source);
    if (err == LK_OK)
        *out = (lk_video_stream *)s;
    return err;
}

static bool is_kind(const lk_track *track, lk_media_kind kind)
{
    const lk_track_info *info = api_track_info(track);
    bool same = info->kind == kind;
    lk_info_unref(info);
    return same;
}

lk_err lk_audio_stream_new(lk_audio_stream **out, lk_track *track,
                           const lk_audio_stream_options *options)
{
    if (!out || !track)
        return LK_ERR_INVALID;
    if (api_check(track->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    return is_kind(track, LK_MEDIA_KIND_AUDIO) ? audio_stream(out, track->o.rt, track, NULL, LK_TRACK_SOURCE_UNKNOWN, options)
                                               : LK_ERR_INVALID;
}

lk_err lk_audio_stream_from_participant(lk_audio_stream **out, lk_participant *participant,
                                        lk_track_source source,
                                        const lk_audio_stream_options *options)
{
    if (!out || !participant || participant->is_local)
        return LK_ERR_INVALID;
    if (api_check(participant->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    return audio_stream(out, participant->o.rt, NULL, participant, source, options);
}

lk_err lk_video_stream_new(lk_video_stream **out, lk_track *track, const lk_video_stream_options *options)
{
    if (!out || !track)
        return LK_ERR_INVALID;
    if (api_check(track->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    return is_kind(track, LK_MEDIA_KIND_VIDEO) ? video_stream(out, track->o.rt, track, NULL, LK_TRACK_SOURCE_UNKNOWN, options)
                                               : LK_ERR_INVALID;
}

lk_err lk_video_stream_from_participant(lk_video_stream **out, lk_participant *participant, lk_track_source source,
                                        const lk_video_stream_options *options)
{
    if (!out || !participant || participant->is_local)
        return LK_ERR_INVALID;
    if (api_check(participant->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    return video_stream(out, participant->o.rt, NULL, participant, source, options);
}

static lk_err close_stream(api_stream *s)
{
    if (!s)
        return LK_ERR_INVALID;
    if (api_check(s->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    api_stream_end(s, true);
    close_on_loop(s);
    return LK_OK;
}

static lk_err read_frame(void **frame, api_stream *s, int32_t timeout_msec)
{
    if (!frame || !s || timeout_msec < -1)
        return LK_ERR_INVALID;
    if (api_check(s->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    if (!s->pull)
        return LK_ERR_STATE;
    const struct timespec until = api_until(timeout_msec);
    lk_err err = LK_OK;
    pthread_mutex_lock(&s->lock);
    while (!take_frame(s, frame)) {
        if (s->ended) {
            err = LK_ERR_CLOSED;
            break;
        }
        if (timeout_msec == 0) {
            err = LK_ERR_TIMEOUT;
            break;
        }
        if (timeout_msec < 0)
            pthread_cond_wait(&s->cond, &s->lock);
        else if (pthread_cond_timedwait(&s->cond, &s->lock, &until) == ETIMEDOUT)
            timeout_msec = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static uint64_t count_dropped(api_stream *s)
{
    if (!s || api_check(s->o.rt) != LK_OK)
        return 0;
    pthread_mutex_lock(&s->lock);
    uint64_t dropped = s->dropped;
    pthread_mutex_unlock(&s->lock);
    return dropped;
}

/* A frame for the one who reads it, in the format he wants: of a local track it comes as it was captured. */
void *api_stream_finish(const api_stream *s, void *frame)
{
    lk_picture *p = (lk_picture *)frame;
    lk_video_frame *other;
    if (s->kind != LK_MEDIA_KIND_VIDEO || s->video.format == LK_VIDEO_STREAM_AS_DECODED ||
        p->format == (lk_video_format)s->video.format)
        return frame;
    lk_video_view view = lk_picture_view(p);
    lk_err err = lk_video_frame_convert(&other, &view, (lk_video_format)s->video.format, false, NULL);
    lk_picture_unref(p);
    return err == LK_OK ? other : NULL;
}

lk_audio_stream *lk_audio_stream_ref(lk_audio_stream *stream) { return api_user_ref(stream); }
void lk_audio_stream_unref(lk_audio_stream *stream) { api_user_unref(stream); }
void *lk_audio_stream_user_data(const lk_audio_stream *stream) { return stream ? stream->stream.user_data : NULL; }
lk_err lk_audio_stream_close(lk_audio_stream *stream) { return close_stream((api_stream *)stream); }
uint64_t lk_audio_stream_dropped(const lk_audio_stream *stream) { return count_dropped((api_stream *)(uintptr_t)stream); }

lk_err lk_audio_stream_read(lk_audio_frame **frame, lk_audio_stream *stream, int32_t timeout_msec)
{
    return read_frame((void **)frame, (api_stream *)stream, timeout_msec);
}

lk_video_stream *lk_video_stream_ref(lk_video_stream *stream) { return api_user_ref(stream); }
void lk_video_stream_unref(lk_video_stream *stream) { api_user_unref(stream); }
void *lk_video_stream_user_data(const lk_video_stream *stream) { return stream ? stream->stream.user_data : NULL; }
lk_err lk_video_stream_close(lk_video_stream *stream) { return close_stream((api_stream *)stream); }
uint64_t lk_video_stream_dropped(const lk_video_stream *stream) { return count_dropped((api_stream *)(uintptr_t)stream); }

lk_err lk_video_stream_read(lk_video_frame **frame, lk_video_stream *stream, int32_t timeout_msec)
{
    void *got;
    lk_err err = frame ? read_frame(&got, (api_stream *)stream, timeout_msec) : LK_ERR_INVALID;
    if (err != LK_OK)
        return err;
    *frame = api_stream_finish((api_stream *)stream, got);
    return *frame ? LK_OK : LK_ERR_NOMEM;
}
