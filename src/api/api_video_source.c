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
    lk_video_source_options_init(&o);
    if (!out || !runtime || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    if (api_check(runtime) != LK_OK)
        return LK_ERR_FORKED;
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
        if (!__atomic_load_n(&s->audience.present, __ATOMIC_ACQUIRE))
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

void api_video_source_flush(lk_video_source *s, lk_usec now)
{
    pthread_mutex_lock(&s->lock);
    lk_picture *p = s->latest;
    s->latest = NULL;
    pthread_mutex_unlock(&s->lock);
    if (!p)
        return;
    const api_audience *a = &s->audience;
    api_source_track tracks[LK_API_SOURCE_TRACKS_MAX];
    size_t n = api_audience_tracks(a, tracks);
    for (size_t i = 0; i < n && i < a->track_count; i++)
        api_driver_push_video(tracks[i].driver, now, tracks[i].track, p);
    for (size_t i = 0; i < a->stream_count; i++)
        api_stream_put(a->streams[i], lk_picture_ref(p));
    lk_picture_unref(p);
}
