// SPDX-License-Identifier: Apache-2.0
/* A video source: pictures of any format in, the newest one out to tracks and streams. */
#include "api/api_shell.h"
#include "dsp/video_convert.h"

void lk_video_source_options_init(lk_video_source_options *options)
{
    *options = (lk_video_source_options){.size = sizeof *options};
}

static void source_destroy(api_object *o)
{
    lk_video_source *s = (lk_video_source *)o;
    lk_picture_unref(s->latest);
    lk_picture_pool_unref(s->pool);
    pthread_mutex_destroy(&s->lock);
    api_release(s, sizeof *s);
}

lk_err lk_video_source_new(lk_video_source **out, lk_runtime *runtime, const lk_video_source_options *options)
{
    lk_video_source_options o;
    if (!out || !runtime || (options && options->size < sizeof(uint32_t)))
        return LK_ERR_INVALID;
    if (api_check(runtime) != LK_OK)
        return LK_ERR_FORKED;
    lk_video_source_options_init(&o);
    if (options)
        memcpy(&o, options, LK_MIN(options->size, sizeof o));
    if (o.width > LK_PICTURE_SIDE_MAX || o.height > LK_PICTURE_SIDE_MAX)
        return LK_ERR_INVALID;
    lk_video_source *s = api_alloc0(sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    if (lk_picture_pool_new(&s->pool, api_env()) != LK_OK) {
        api_release(s, sizeof *s);
        return LK_ERR_NOMEM;
    }
    s->options = o;
    s->width = o.width;
    s->height = o.height;
    pthread_mutex_init(&s->lock, NULL);
    api_object_init(&s->o, runtime, NULL, source_destroy);
    *out = s;
    return LK_OK;
}

lk_video_source *lk_video_source_ref(lk_video_source *source) { return api_user_ref(source); }
void lk_video_source_unref(lk_video_source *source) { api_user_unref(source); }
void *lk_video_source_user_data(const lk_video_source *source) { return source ? source->options.user_data : NULL; }

/* ---- capturing, any thread ---- */

static lk_err post(lk_video_source *s, lk_picture *picture)
{
    pthread_mutex_lock(&s->lock);
    lk_picture *older = s->latest;
    s->latest = picture;
    pthread_mutex_unlock(&s->lock);
    lk_picture_unref(older);
    if (older) /* the loop has been told and has not come yet */
        return LK_OK;
    api_cmd *cmd = api_cmd_new(API_CMD_PICTURE, NULL);
    if (!cmd)
        return LK_ERR_NOMEM;
    cmd->video_source = api_ref(s);
    return api_submit(s->o.rt, cmd);
}

lk_err lk_video_source_capture(lk_video_source *s, const lk_video_view *picture, lk_error *why)
{
    const char *text = "there is no picture";
    lk_picture *made = NULL;
    lk_err err = !s || !picture ? LK_ERR_INVALID : api_check(s->o.rt);
    if (err == LK_OK)
        err = lk_video_view_check(picture, &text);
    if (err == LK_OK) {
        pthread_mutex_lock(&s->lock);
        s->width = picture->width;
        s->height = picture->height;
        pthread_mutex_unlock(&s->lock);
        if (!__atomic_load_n(&s->wanted, __ATOMIC_ACQUIRE))
            return LK_OK;
        err = lk_picture_new(&made, s->pool, LK_VIDEO_I420, picture->width, picture->height);
        if (err == LK_OK)
            err = lk_video_convert(made, api_env(), picture, false);
        text = lk_err_text(err);
    }
    if (why)
        *why = api_error(err, err != LK_OK ? text : "");
    if (err != LK_OK) {
        lk_picture_unref(made);
        return err;
    }
    return post(s, made);
}

void api_video_source_size(lk_video_source *s, uint32_t *width, uint32_t *height)
{
    pthread_mutex_lock(&s->lock);
    *width = s->width;
    *height = s->height;
    pthread_mutex_unlock(&s->lock);
}

/* ---- on the loop ---- */

static void want(lk_video_source *s)
{
    __atomic_store_n(&s->wanted, s->track_count + s->stream_count > 0, __ATOMIC_RELEASE);
}

bool api_video_source_add_track(lk_video_source *s, api_driver *driver, uint64_t track)
{
    if (s->track_count == LK_API_SOURCE_TRACKS_MAX)
        return false;
    s->tracks[s->track_count++] = (api_source_track){driver, track};
    want(s);
    return true;
}

void api_video_source_remove_track(lk_video_source *s, const api_driver *driver, uint64_t track)
{
    for (size_t i = 0; i < s->track_count; i++) {
        if (s->tracks[i].driver != driver || s->tracks[i].track != track)
            continue;
        s->tracks[i] = s->tracks[--s->track_count];
        break;
    }
    want(s);
}

bool api_video_source_add_stream(lk_video_source *s, api_stream *stream)
{
    if (s->stream_count == LK_API_SOURCE_STREAMS_MAX)
        return false;
    s->streams[s->stream_count++] = api_ref(stream);
    want(s);
    return true;
}

void api_video_source_remove_stream(lk_video_source *s, api_stream *stream)
{
    for (size_t i = 0; i < s->stream_count; i++) {
        if (s->streams[i] != stream)
            continue;
        s->streams[i] = s->streams[--s->stream_count];
        api_unref(stream);
        break;
    }
    want(s);
}

void api_video_source_flush(lk_video_source *s, lk_usec now)
{
    pthread_mutex_lock(&s->lock);
    lk_picture *p = s->latest;
    s->latest = NULL;
    pthread_mutex_unlock(&s->lock);
    if (!p)
        return;
    api_source_track tracks[LK_API_SOURCE_TRACKS_MAX];
    size_t n = s->track_count;
    memcpy(tracks, s->tracks, n * sizeof *tracks);
    for (size_t i = 0; i < n && i < s->track_count; i++)
        api_driver_push_video(tracks[i].driver, now, tracks[i].track, p);
    for (size_t i = 0; i < s->stream_count; i++)
        api_stream_put(s->streams[i], lk_picture_ref(p));
    lk_picture_unref(p);
}
