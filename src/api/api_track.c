// SPDX-License-Identifier: Apache-2.0
/* Tracks: the objects, and the commands about them. */
#include "api/api.h"

#include "api/api_source.h"

static atomic_uint_fast64_t last_track_id;

static void track_destroy(api_object *o)
{
    lk_track *t = (lk_track *)o;
    lk_info_unref(t->info);
    api_unref(t->room);
    api_unref(t->source);
    api_unref(t->video);
    pthread_mutex_destroy(&t->lock);
    api_release(t, sizeof *t);
}

static lk_track *track_new(lk_runtime *rt, const lk_track_info *info)
{
    lk_track *t = api_alloc0(sizeof *t);
    if (!t)
        return NULL;
    t->info = api_track_info_new(info);
    if (!t->info) {
        api_release(t, sizeof *t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    api_object_init(&t->o, rt, NULL, track_destroy);
    t->is_local = info->is_local;
    return t;
}

lk_track *api_track_new_remote(lk_room *room, uint64_t id, const lk_track_info *info)
{
    lk_track *t = track_new(room->o.rt, info);
    if (!t)
        return NULL;
    atomic_store(&t->o.users, 0);
    t->room = api_ref(room);
    t->id = id;
    return t;
}

static lk_err track_new_local(lk_track **out, lk_runtime *rt, lk_media_kind kind, const char *name)
{
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    if (strlen(name) > 256)
        return LK_ERR_LIMIT;
    if (!lk_utf8_valid(name, strlen(name)))
        return LK_ERR_INVALID;
    lk_track_info info = {.sid = "TR_unknown",
                          .name = name,
                          .kind = kind,
                          .stream_state = LK_STREAM_STATE_ACTIVE,
                          .is_local = true,
                          .enabled = true};
    lk_track *t = track_new(rt, &info);
    if (!t)
        return LK_ERR_NOMEM;
    t->id = atomic_fetch_add(&last_track_id, 1) + 1;
    *out = t;
    return LK_OK;
}

lk_err lk_track_new_audio(lk_track **out, lk_audio_source *source, const char *name)
{
    lk_err err = out && source && name ? track_new_local(out, source->o.rt, LK_MEDIA_KIND_AUDIO, name) : LK_ERR_INVALID;
    if (err == LK_OK)
        (*out)->source = api_ref(source);
    return err;
}

lk_err lk_track_new_video(lk_track **out, lk_video_source *source, const char *name)
{
    lk_err err = out && source && name ? track_new_local(out, source->o.rt, LK_MEDIA_KIND_VIDEO, name) : LK_ERR_INVALID;
    if (err == LK_OK)
        (*out)->video = api_ref(source);
    return err;
}

lk_track *lk_track_ref(lk_track *track) { return api_user_ref(track); }
void lk_track_unref(lk_track *track) { api_user_unref(track); }
bool lk_track_is_local(const lk_track *track) { return track && track->is_local; }

/* Changes one value of a track's info. */
static lk_err change_track(lk_track *t, bool muted, bool enabled)
{
    const lk_track_info *old = api_track_info(t);
    lk_track_info next = *old;
    next.muted = muted;
    next.enabled = enabled;
    lk_track_info *info = api_track_info_new(&next);
    lk_info_unref(old);
    if (!info)
        return LK_ERR_NOMEM;
    api_set_track_info(t, info);
    return LK_OK;
}

lk_err lk_track_set_muted(lk_track *t, bool muted)
{
    if (!t || !t->is_local)
        return LK_ERR_INVALID;
    if (api_check(t->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    const lk_track_info *info = api_track_info(t);
    bool enabled = info->enabled;
    lk_info_unref(info);
    lk_err err = change_track(t, muted, enabled);
    if (err != LK_OK)
        return err;
    pthread_mutex_lock(&t->lock);
    lk_room *room = t->published ? api_ref(t->room) : NULL;
    pthread_mutex_unlock(&t->lock);
    if (!room)
        return LK_OK;
    api_cmd *cmd = api_cmd_new(API_CMD_MUTED, room);
    api_unref(room);
    if (!cmd)
        return LK_ERR_NOMEM;
    cmd->track = api_ref(t);
    cmd->flag = muted;
    return api_submit(t->o.rt, cmd);
}

lk_err lk_track_set_enabled(lk_track *t, bool enabled)
{
    if (!t || t->is_local)
        return LK_ERR_INVALID;
    if (api_check(t->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    const lk_track_info *info = api_track_info(t);
    bool muted = info->muted;
    lk_info_unref(info);
    return change_track(t, muted, enabled);
}
