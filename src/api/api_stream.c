// SPDX-License-Identifier: Apache-2.0
#include "api/api_stream.h"

#include <errno.h>
#include <time.h>

#include "frame/frame.h"
#include "media/audio_shape.h"

static size_t frame_size(const lk_audio_frame *frame)
{
    lk_audio_view v = lk_audio_frame_view(frame);
    return sizeof(int16_t) * v.samples_per_channel * v.num_channels;
}

static void drop_oldest(lk_audio_stream *s)
{
    lk_audio_frame *frame;
    if (lk_queue_pop(&s->frames, &frame)) {
        s->frame_bytes -= frame_size(frame);
        lk_audio_frame_drop(frame);
    }
}

api_stream_take api_stream_pop(lk_audio_stream *s, lk_audio_frame **frame, bool *more)
{
    api_stream_take take = API_STREAM_NOTHING;
    pthread_mutex_lock(&s->lock);
    if (!s->options.pull && lk_queue_pop(&s->frames, frame)) {
        s->frame_bytes -= frame_size(*frame);
        take = API_STREAM_FRAME;
    } else if (s->ended && !s->end_taken) {
        s->end_taken = true;
        take = API_STREAM_END;
    }
    *more = (!s->options.pull && s->frames.count > 0) || (s->ended && !s->end_taken);
    pthread_mutex_unlock(&s->lock);
    return take;
}

bool api_stream_put_end_back(lk_audio_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->end_taken = false;
    pthread_mutex_unlock(&s->lock);
    return true;
}

bool api_stream_ended(lk_audio_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool ended = s->ended;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void api_stream_put(lk_audio_stream *s, lk_audio_frame *frame)
{
    bool tell = false;
    pthread_mutex_lock(&s->lock);
    if (!s->ended) {
        size_t size = frame_size(frame);
        while (s->frames.count > 0 &&
               ((s->options.queue_size_frames && s->frames.count >= s->options.queue_size_frames) ||
                s->frame_bytes + size > LK_API_STREAM_BYTES_MAX)) {
            drop_oldest(s);
            s->dropped++;
        }
        if (lk_queue_push(&s->frames, &frame) == LK_OK) {
            s->frame_bytes += size;
            frame = NULL;
            tell = !s->options.pull;
            pthread_cond_broadcast(&s->cond);
        } else {
            s->dropped++;
        }
    }
    pthread_mutex_unlock(&s->lock);
    lk_audio_frame_drop(frame);
    if (tell)
        api_push_stream(s);
}

static bool ready_to_shape(lk_audio_stream *s, const lk_frame *f)
{
    const lk_audio_shape_config config = {.in_rate = f->sample_rate,
                                          .max_frames = f->samples,
                                          .out_rate = s->options.sample_rate,
                                          .out_channels = s->options.num_channels,
                                          .frame_msec = s->options.frame_size_msec};
    if (!s->pool && lk_frame_pool_new(&s->pool, api_env()) != LK_OK)
        return false;
    return s->shape || lk_audio_shape_new(&s->shape, api_env(), &config) == LK_OK;
}

void api_stream_put_source(lk_audio_stream *s, struct lk_frame *f)
{
    if (!ready_to_shape(s, f) || lk_audio_shape_push(s->shape, f->data, f->channels, f->samples) != LK_OK)
        return;
    for (const int16_t *samples; (samples = lk_audio_shape_next(s->shape)) != NULL;) {
        lk_frame *out;
        uint32_t frames = lk_audio_shape_frames(s->shape);
        if (lk_frame_new(&out, s->pool, s->options.sample_rate, s->options.num_channels, frames) != LK_OK)
            return;
        memcpy(out->data, samples, (size_t)frames * s->options.num_channels * sizeof *samples);
        api_stream_put(s, (lk_audio_frame *)out);
    }
}

void api_stream_end(lk_audio_stream *s, bool drop)
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

static void close_on_loop(lk_audio_stream *s)
{
    api_cmd *cmd = api_cmd_new(API_CMD_STREAM_CLOSE, NULL);
    if (cmd)
        cmd->stream = api_ref(s);
    /* Refused memory: the loop keeps the stream, silent, until the runtime stops. */
    (void)api_submit_end(s->o.rt, cmd);
}

static void on_last_user(api_object *o)
{
    lk_audio_stream *s = (lk_audio_stream *)o;
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
    lk_audio_stream *s = (lk_audio_stream *)o;
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

static lk_err stream_new(lk_audio_stream **out, lk_runtime *rt, lk_track *track,
                         lk_participant *participant, lk_track_source source,
                         const lk_audio_stream_options *options)
{
    lk_audio_stream_options o;
    lk_audio_stream_options_init(&o);
    if (options) {
        if (options->size < sizeof(uint32_t))
            return LK_ERR_INVALID;
        memcpy(&o, options, LK_MIN(options->size, sizeof o));
        o.size = sizeof o;
    }
    if (o.sample_rate < 8000 || o.sample_rate > 192000 || o.num_channels < 1 || o.num_channels > 8 ||
        o.frame_size_msec > 1000)
        return LK_ERR_INVALID;
    if (o.frame_size_msec == 0)
        o.frame_size_msec = 10;
    lk_audio_stream *s = api_alloc0(sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->cond, &attr);
    pthread_condattr_destroy(&attr);
    lk_queue_init(&s->frames, api_env(), sizeof(lk_audio_frame *),
                  o.queue_size_frames ? o.queue_size_frames : 1u << 20);
    s->node.kind = API_NODE_STREAM;
    s->options = o;
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
        return err;
    }
    *out = s;
    return LK_OK;
}

lk_err lk_audio_stream_new(lk_audio_stream **out, lk_track *track,
                           const lk_audio_stream_options *options)
{
    if (!out || !track)
        return LK_ERR_INVALID;
    if (api_check(track->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    const lk_track_info *info = api_track_info(track);
    bool audio = info->kind == LK_MEDIA_KIND_AUDIO;
    lk_info_unref(info);
    return audio ? stream_new(out, track->o.rt, track, NULL, LK_TRACK_SOURCE_UNKNOWN, options)
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
    return stream_new(out, participant->o.rt, NULL, participant, source, options);
}

lk_audio_stream *lk_audio_stream_ref(lk_audio_stream *stream) { return api_user_ref(stream); }
void lk_audio_stream_unref(lk_audio_stream *stream) { api_user_unref(stream); }

void *lk_audio_stream_user_data(const lk_audio_stream *stream)
{
    return stream ? stream->options.user_data : NULL;
}

lk_err lk_audio_stream_close(lk_audio_stream *stream)
{
    if (!stream)
        return LK_ERR_INVALID;
    if (api_check(stream->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    api_stream_end(stream, true);
    close_on_loop(stream);
    return LK_OK;
}

lk_err lk_audio_stream_read(lk_audio_frame **frame, lk_audio_stream *s, int32_t timeout_msec)
{
    if (!frame || !s || timeout_msec < -1)
        return LK_ERR_INVALID;
    if (api_check(s->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    if (!s->options.pull)
        return LK_ERR_STATE;
    struct timespec until = {0};
    if (timeout_msec > 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_msec / 1000;
        until.tv_nsec += (timeout_msec % 1000) * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
    }
    lk_err err = LK_OK;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        lk_audio_frame *f;
        if (lk_queue_pop(&s->frames, &f)) {
            s->frame_bytes -= frame_size(f);
            *frame = f;
            break;
        }
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

uint64_t lk_audio_stream_dropped(const lk_audio_stream *stream)
{
    lk_audio_stream *s = (lk_audio_stream *)(uintptr_t)stream;
    if (!s || api_check(s->o.rt) != LK_OK)
        return 0;
    pthread_mutex_lock(&s->lock);
    uint64_t dropped = s->dropped;
    pthread_mutex_unlock(&s->lock);
    return dropped;
}
