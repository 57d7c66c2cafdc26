// SPDX-License-Identifier: Apache-2.0
/* Participants and their publications: the objects, and the commands about them. */
#include "api/api.h"

/* How either is made: of a room, in the engine's hands alone. */
#define MEMBER_NEW(name)                                                                            \
    lk_##name *api_##name##_new(lk_room *room, uint64_t id, const lk_##name##_info *info)           \
    {                                                                                               \
        lk_##name *p = api_alloc0(sizeof *p);                                                       \
        if (!p)                                                                                     \
            return NULL;                                                                            \
        p->info = api_##name##_info_new(info);                                                      \
        if (!p->info) {                                                                             \
            api_release(p, sizeof *p);                                                              \
            return NULL;                                                                            \
        }                                                                                           \
        pthread_mutex_init(&p->lock, NULL);                                                         \
        api_object_init(&p->o, room->o.rt, NULL, name##_destroy);                                   \
        atomic_store(&p->o.users, 0);                                                               \
        p->room = api_ref(room);                                                                    \
        p->id = id;                                                                                 \
        p->is_local = info->is_local;                                                               \
        return p;                                                                                   \
    }

/* ---- participants ----------------------------------------------------------------------------------------------- */

static void participant_destroy(api_object *o)
{
    lk_participant *p = (lk_participant *)o;
    api_list_clear(&p->publications);
    lk_info_unref(p->info);
    api_unref(p->room);
    pthread_mutex_destroy(&p->lock);
    api_release(p, sizeof *p);
}

MEMBER_NEW(participant)

lk_participant *lk_participant_ref(lk_participant *participant) { return api_user_ref(participant); }
void lk_participant_unref(lk_participant *participant) { api_user_unref(participant); }

bool lk_participant_is_local(const lk_participant *participant)
{
    return participant && participant->is_local;
}

lk_err lk_participant_room(lk_room **out, const lk_participant *participant)
{
    if (!out || !participant)
        return LK_ERR_INVALID;
    if (api_check(participant->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    if (atomic_load(&participant->room->o.users) == 0)
        return LK_ERR_CLOSED;
    *out = api_user_ref(participant->room);
    return LK_OK;
}

size_t lk_participant_publications(const lk_participant *participant, lk_publication **out,
                                   size_t capacity)
{
    lk_participant *p = (lk_participant *)(uintptr_t)participant;
    if (!p || (!out && capacity) || api_check(p->o.rt) != LK_OK)
        return 0;
    pthread_mutex_lock(&p->lock);
    size_t n = api_list_copy(&p->publications, (void **)out, capacity);
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- publications ------------------------------------------------------------------------------------------------- */

static void publication_destroy(api_object *o)
{
    lk_publication *p = (lk_publication *)o;
    lk_info_unref(p->info);
    api_unref(p->track);
    api_unref(p->room);
    pthread_mutex_destroy(&p->lock);
    api_release(p, sizeof *p);
}

MEMBER_NEW(publication)

lk_publication *lk_publication_ref(lk_publication *publication) { return api_user_ref(publication); }
void lk_publication_unref(lk_publication *publication) { api_user_unref(publication); }

bool lk_publication_is_local(const lk_publication *publication)
{
    return publication && publication->is_local;
}

lk_err lk_publication_track(lk_track **out, const lk_publication *publication)
{
    lk_publication *p = (lk_publication *)(uintptr_t)publication;
    if (!out || !p)
        return LK_ERR_INVALID;
    if (api_check(p->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&p->lock);
    lk_track *track = api_user_ref(p->track);
    pthread_mutex_unlock(&p->lock);
    if (!track)
        return LK_ERR_NOT_FOUND;
    *out = track;
    return LK_OK;
}

/* What a command about somebody's publication carries besides it. */
typedef struct publication_wish {
    bool flag;
    int64_t number;
    size_t count;
} publication_wish;

static lk_err tell_publication(lk_publication *p, api_cmd_kind kind, const publication_wish *wish)
{
    if (!p || p->is_local)
        return LK_ERR_INVALID;
    if (api_check(p->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    if (!api_room_is_connected(p->room))
        return LK_ERR_CLOSED;
    api_cmd *cmd = api_cmd_new(kind, p->room);
    if (!cmd)
        return LK_ERR_NOMEM;
    cmd->publication = api_ref(p);
    cmd->flag = wish->flag;
    cmd->number = wish->number;
    cmd->count = wish->count;
    return api_submit(p->o.rt, cmd);
}

lk_err lk_publication_set_subscribed(lk_publication *publication, bool subscribed)
{
    return tell_publication(publication, API_CMD_SUBSCRIBED, &(publication_wish){.flag = subscribed});
}

lk_err lk_publication_set_enabled(lk_publication *publication, bool enabled)
{
    return tell_publication(publication, API_CMD_ENABLED, &(publication_wish){.flag = enabled});
}

/* A video publication of somebody else, and whether it has layers. */
static bool is_remote_video(const lk_publication *p, bool *simulcast)
{
    if (!p || p->is_local)
        return false;
    const lk_publication_info *info = api_publication_info(p);
    bool video = info->kind == LK_MEDIA_KIND_VIDEO;
    *simulcast = info->simulcasted;
    lk_info_unref(info);
    return video;
}

lk_err lk_publication_set_quality(lk_publication *publication, lk_video_quality quality)
{
    bool simulcast;
    if (!is_remote_video(publication, &simulcast) || (unsigned)quality > LK_VIDEO_QUALITY_HIGH)
        return LK_ERR_INVALID;
    return simulcast ? tell_publication(publication, API_CMD_QUALITY, &(publication_wish){.number = quality}) : LK_ERR_UNSUPPORTED;
}

lk_err lk_publication_set_dimensions(lk_publication *publication, uint32_t width, uint32_t height)
{
    bool simulcast;
    if (!is_remote_video(publication, &simulcast) || !width || !height || width > 16384 || height > 16384)
        return LK_ERR_INVALID;
    return tell_publication(publication, API_CMD_DIMENSIONS, &(publication_wish){.number = width, .count = height});
}
