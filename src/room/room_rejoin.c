// SPDX-License-Identifier: Apache-2.0
/* A live room that lost its connection joins anew: same objects for what is ours, new ones for everybody else. */
#include "room/room_internal.h"

#define DELAY_FIRST_USEC LK_MSEC(300) /* doubles with each try; the real delay is drawn from 0 to that */
#define DELAY_MOST_USEC LK_SEC(7)
#define STEADY_USEC LK_SEC(10) /* a room that held this long starts counting its tries again */
#define PERMISSIONS_MAX (4u << 20)

static lk_usec delay(const lk_session *s)
{
    lk_usec most = DELAY_FIRST_USEC;
    for (unsigned i = 1; i < s->rejoin_tries && most < DELAY_MOST_USEC; i++)
        most *= 2;
    return (lk_usec)lk_rand_below(s->env, (uint32_t)LK_MIN(most, DELAY_MOST_USEC));
}

static void schedule(lk_session *s)
{
    s->rejoin_tries++;
    s->phase = LK_SESSION_APART;
    s->try_by = s->answer_by = s->media_over_by = s->addresses_by = LK_NEVER;
    s->rejoin_at = s->now + delay(s);
}

/* Tracks of ours stay as they are told; a publication that was under way is answered with the other operations. */
static void keep_local_tracks(lk_session *s)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        t->op = NULL;
        t->subscribed_early = false;
        if (t->told)
            t->state = LK_SESSION_LOCAL_APART;
        else
            lk_session_free_local(s, t);
    }
}

void lk_session_lost(lk_session *s, lk_disconnect_reason reason, const lk_error *why)
{
    if (s->phase != LK_SESSION_LIVE)
        return;
    if (!s->config.reconnect_tries) {
        lk_session_end(s, false, reason, why);
        return;
    }
    LK_LOG(s->env, LK_LOG_WARN, "room.lost", LK_I("reason", reason), LK_S("error", why->text));
    if (!s->rejoining) {
        s->lost_reason = reason;
        s->lost = *why;
        if (s->now - s->steady_since > STEADY_USEC)
            s->rejoin_tries = 0;
    }
    lk_session_fail_ops(s);
    lk_session_leave_people(s);
    if (!s->rejoining) {
        s->rejoining = true;
        s->state = LK_CONNECTION_STATE_RECONNECTING;
        lk_session_emit(s, LK_SESSION_CONNECTION_STATE)->state = s->state;
        lk_session_emit(s, LK_SESSION_RECONNECTING);
    }
    keep_local_tracks(s);
    lk_session_apart(s);
    if (s->rejoin_tries >= s->config.reconnect_tries)
        lk_session_give_up(s);
    else
        schedule(s);
}

void lk_session_give_up(lk_session *s)
{
    lk_session_end(s, false, s->lost_reason, &s->lost);
}

void lk_session_rejoin_failed(lk_session *s, const lk_error *why, bool final)
{
    LK_LOG(s->env, LK_LOG_WARN, "room.rejoin.failed", LK_S("error", why->text), LK_I("try", s->rejoin_tries));
    s->lost = *why; /* the last cause is the one to know */
    lk_session_apart(s);
    if (final || s->rejoin_tries >= s->config.reconnect_tries)
        lk_session_give_up(s);
    else
        schedule(s);
}

void lk_session_rejoin_tick(lk_session *s)
{
    if (s->rejoin_at > s->now)
        return;
    s->rejoin_at = LK_NEVER;
    if (s->fresh_token && *s->fresh_token)
        lk_session_set_text(s, &s->token, s->fresh_token);
    s->retry = true;
}

/* ---- back ------------------------------------------------------------------------------------------------ */

void lk_session_rejoined(lk_session *s)
{
    s->phase = LK_SESSION_LIVE;
    s->try_by = LK_NEVER;
    lk_session_emit(s, LK_SESSION_ROOM_UPDATED)->room_info = lk_session_room_info(s);
    lk_session_fill_members(s, lk_session_emit(s, LK_SESSION_PARTICIPANTS_UPDATED), &s->local, 1);
    lk_session_tell_people(s);
    if (s->fresh_token && *s->fresh_token)
        lk_session_emit(s, LK_SESSION_TOKEN_REFRESHED)->text = lk_session_out_text(s, s->fresh_token);
    lk_err err = lk_session_send_permissions(s); /* before there is anything to subscribe to */
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (err == LK_OK)
            err = lk_session_announce(s, t);
    }
    if (err != LK_OK)
        s->broken = err;
    else
        lk_session_rejoin_settle(s);
}

void lk_session_rejoin_settle(lk_session *s)
{
    if (!s->rejoining || s->phase != LK_SESSION_LIVE)
        return;
    LK_LIST_EACH(&s->local_tracks, it) {
        if (LK_CONTAINER(it, lk_session_local_track, link)->state != LK_SESSION_LOCAL_PUBLISHED)
            return;
    }
    s->rejoining = false;
    s->steady_since = s->now;
    s->state = LK_CONNECTION_STATE_CONNECTED;
    lk_session_emit(s, LK_SESSION_CONNECTION_STATE)->state = s->state;
    lk_session_emit(s, LK_SESSION_RECONNECTED);
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->subscribed_early)
            lk_session_tell_subscribed(s, t);
    }
    lk_session_tell_tracks(s);
}

/* ---- who may subscribe: told again to a server that knows nothing ------------------------------------------- */

static const char *const *keep_list(lk_arena *a, const char *const *from, size_t count)
{
    const char **to = (const char **)lk_arena_alloc(a, count * sizeof *to);
    for (size_t i = 0; to && i < count; i++) {
        to[i] = lk_pbuf_strdup(a, lk_str_of(from[i]));
        if (!to[i])
            return NULL;
    }
    return to;
}

lk_err lk_session_keep_permissions(lk_session *s, bool all_allowed, const lk_session_permission *from, size_t count)
{
    lk_arena fresh;
    bool ok = true;
    lk_arena_init(&fresh, s->env, PERMISSIONS_MAX);
    lk_signal_permission *list = count ? (lk_signal_permission *)lk_arena_alloc(&fresh, count * sizeof *list) : NULL;
    for (size_t i = 0; list && ok && i < count; i++) {
        list[i] = (lk_signal_permission){lk_pbuf_strdup(&fresh, lk_str_of(from[i].identity)), from[i].allow_all, NULL, from[i].track_sid_count};
        if (from[i].track_sid_count)
            list[i].track_sids = keep_list(&fresh, from[i].track_sids, from[i].track_sid_count);
        ok = list[i].identity && (!from[i].track_sid_count || list[i].track_sids);
    }
    if (!ok || (count && !list)) {
        lk_arena_deinit(&fresh);
        return LK_ERR_NOMEM;
    }
    lk_arena_deinit(&s->permissions_kept);
    s->permissions_kept = fresh;
    s->permissions = list;
    s->permission_count = count;
    s->all_allowed = all_allowed;
    s->permissions_set = true;
    return LK_OK;
}

lk_err lk_session_send_permissions(lk_session *s)
{
    return s->permissions_set ? lk_signal_permissions(&s->signal, s->all_allowed, s->permissions, s->permission_count) : LK_OK;
}
