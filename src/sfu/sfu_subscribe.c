// SPDX-License-Identifier: Apache-2.0
/* Who gets which track: wishes, permissions of publishers, grants, and the down-tracks that follow from them. */
#include "sfu/sfu_internal.h"

/* ---- permissions --------------------------------------------------------------------------------------------------------- */

static bool names(const Livekit__TrackPermission *t, const lk_sfu_person *subscriber)
{
    if (t->participant_identity && *t->participant_identity)
        return strcmp(t->participant_identity, subscriber->identity) == 0;
    return t->participant_sid && strcmp(t->participant_sid, subscriber->sid) == 0;
}

bool lk_sfu_allowed(const lk_sfu_person *publisher, const lk_sfu_person *subscriber, const char *sid)
{
    const Livekit__SubscriptionPermission *m = publisher->permission;
    if (publisher->grants.hidden || publisher == subscriber || !subscriber->grants.can_subscribe)
        return false;
    if (!m || m->all_participants)
        return true;
    size_t count = LK_MIN(m->n_track_permissions, (size_t)SFU_ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        const Livekit__TrackPermission *t = m->track_permissions[i];
        if (!names(t, subscriber))
            continue;
        if (t->all_tracks)
            return true;
        for (size_t k = 0; k < t->n_track_sids; k++)
            if (strcmp(t->track_sids[k], sid) == 0)
                return true;
    }
    return false;
}

static void tell_permission(lk_sfu_sub *sub, bool allowed)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SubscriptionPermissionUpdate u = LIVEKIT__SUBSCRIPTION_PERMISSION_UPDATE__INIT;
    if (allowed ? sub->told_allowed : sub->told_denied)
        return;
    sub->told_allowed = allowed;
    sub->told_denied = !allowed;
    u.participant_sid = sub->track->person->sid;
    u.track_sid = sub->track->info->sid;
    u.has_allowed = 1;
    u.allowed = allowed;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE;
    m.subscription_permission_update = &u;
    lk_sfu_send(sub->person, &m);
}

static void tell_response(lk_sfu_person *p, const char *sid, Livekit__SubscriptionError err)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SubscriptionResponse r = LIVEKIT__SUBSCRIPTION_RESPONSE__INIT;
    r.track_sid = (char *)(uintptr_t)sid;
    r.has_err = 1;
    r.err = err;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_RESPONSE;
    m.subscription_response = &r;
    lk_sfu_send(p, &m);
}

void lk_sfu_permission(lk_sfu_person *p, const Livekit__SubscriptionPermission *q)
{
    lk_sfu *s = p->sfu;
    lk_bytes packed;
    ProtobufCMessage *m;
    p->permission = NULL;
    lk_arena_reset(&p->permission_arena);
    if (lk_pbuf_pack(&q->base, &s->out, &packed) != LK_OK ||
        lk_pbuf_unpack(&livekit__subscription_permission__descriptor, &p->permission_arena, packed, &m) != LK_OK)
        lk_sfu_break(p, 1011); /* never wider than what was asked for */
    else
        p->permission = (const Livekit__SubscriptionPermission *)m;
    lk_arena_reset(&s->out);
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        LK_LIST_EACH(&t->subs, at)
            lk_sfu_sub_settle(LK_CONTAINER(at, lk_sfu_sub, of_track));
    }
    LK_LIST_EACH(&p->data_tracks, it) {
        lk_sfu_data_track *t = LK_CONTAINER(it, lk_sfu_data_track, link);
        LK_LIST_EACH(&t->subs, at)
            lk_sfu_data_subs_settle(LK_CONTAINER(at, lk_sfu_data_sub, of_track)->person);
    }
}

/* ---- subscriptions ----------------------------------------------------------------------------------------------------------- */

static lk_sfu_sub *find_sub(lk_sfu_person *p, const char *sid)
{
    LK_LIST_EACH(&p->subs, it) {
        lk_sfu_sub *sub = LK_CONTAINER(it, lk_sfu_sub, of_person);
        if (strcmp(sub->sid, sid) == 0)
            return sub;
    }
    return NULL;
}

/* t NULL: a wish. */
static lk_sfu_sub *sub_new(lk_sfu_person *p, lk_sfu_track *t, const char *sid)
{
    lk_sfu *s = p->sfu;
    if (strlen(sid) >= SFU_SID_MAX || (!t && p->wish_count >= SFU_WISHES_MAX))
        return NULL;
    lk_sfu_sub *sub = lk_alloc0(s->env, sizeof *sub);
    if (!sub)
        return NULL;
    sub->person = p;
    sub->coding = -1;
    sub->since = s->now;
    (void)lk_str_copy(sub->sid, sizeof sub->sid, lk_str_of(sid));
    /* who adapts by himself says what he needs; until then the least will do */
    sub->settings.quality = p->adaptive_stream ? 0 : 2;
    lk_list_push(&p->subs, &sub->of_person);
    if (t) {
        sub->track = t;
        lk_list_push(&t->subs, &sub->of_track);
    } else {
        p->wish_count++;
        lk_sfu_arm(s, s->now + SFU_NOT_FOUND_USEC);
    }
    return sub;
}

void lk_sfu_sub_close(lk_sfu_sub *sub)
{
    if (!sub->down)
        return;
    lk_sfu_track *t = sub->track;
    lk_down_free(sub->down);
    sub->down = NULL;
    sub->bound = sub->active_told = false;
    sub->coding = -1;
    lk_sfu_negotiate(sub->person);
    if (t)
        lk_sfu_wanted(t);
}

void lk_sfu_sub_free(lk_sfu_sub *sub)
{
    lk_sfu_person *p = sub->person;
    if (sub->down && p->state != LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED)
        lk_sfu_negotiate(p);
    lk_down_free(sub->down);
    lk_list_remove(&p->subs, &sub->of_person);
    if (sub->track) {
        lk_list_remove(&sub->track->subs, &sub->of_track);
        if (sub->track->person->state != LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED)
            lk_sfu_wanted(sub->track);
    } else {
        p->wish_count--;
    }
    lk_release(p->sfu->env, sub, sizeof *sub);
}

/* 1 is what the client wants most, 0 says nothing: then what is presented goes before faces. */
static void set_down(lk_sfu_sub *sub)
{
    lk_down_settings s = sub->settings;
    bool screen = sub->track->info->source == LIVEKIT__TRACK_SOURCE__SCREEN_SHARE;
    s.priority = s.priority ? (uint8_t)(UINT8_MAX - LK_MIN(s.priority, UINT8_MAX - 2)) : screen;
    lk_down_set(sub->down, sub->person->sfu->now, &s);
}

static void open_down(lk_sfu_sub *sub)
{
    lk_sfu_person *p = sub->person;
    lk_sfu_track *t = sub->track;
    char stream[2 * SFU_SID_MAX + 1];
    size_t n = strlen(t->person->sid);
    memcpy(stream, t->person->sid, n);
    stream[n] = '|';
    memcpy(stream + n + 1, t->info->sid, strlen(t->info->sid) + 1);
    lk_down_config config = {.user = sub, .stream = stream, .track = t->info->sid, .movable = t->coding_count > 1};
    lk_err err = lk_down_new(&sub->down, lk_sfu_down_peer(p), lk_sfu_track_up(t), &config, p->sfu->now);
    if (err != LK_OK) {
        LK_LOG(p->sfu->env, LK_LOG_WARN, "sfu.subscribe.failed", LK_S("sid", p->sid), LK_S("track", t->info->sid), LK_S("why", lk_err_name(err)));
        return;
    }
    lk_down_allow_pause(sub->down, p->allow_pause);
    set_down(sub);
    lk_sfu_negotiate(p);
}

void lk_sfu_sub_settle(lk_sfu_sub *sub)
{
    lk_sfu_track *t = sub->track;
    if (!t || !t->published || !lk_sfu_track_up(t))
        return;
    bool allowed = lk_sfu_allowed(t->person, sub->person, t->info->sid);
    if (sub->wanted && sub->person->grants.can_subscribe)
        tell_permission(sub, allowed);
    if (sub->wanted && allowed && !sub->down)
        open_down(sub);
    else if (sub->down && !(sub->wanted && allowed))
        lk_sfu_sub_close(sub);
}

void lk_sfu_subs_settle(lk_sfu_person *p)
{
    LK_LIST_EACH(&p->subs, it)
        lk_sfu_sub_settle(LK_CONTAINER(it, lk_sfu_sub, of_person));
}

static void subscribe_auto(lk_sfu_person *p, lk_sfu_track *t)
{
    lk_sfu_sub *sub = find_sub(p, t->info->sid);
    if (sub && !sub->track) { /* somebody asked for it before it was there */
        sub->track = t;
        p->wish_count--;
        lk_list_push(&t->subs, &sub->of_track);
    } else if (!sub && p->auto_subscribe && p->grants.can_subscribe) {
        sub = sub_new(p, t, t->info->sid);
        if (sub)
            sub->wanted = true;
    }
    if (sub)
        lk_sfu_sub_settle(sub);
}

void lk_sfu_subscribe_new_person(lk_sfu_person *p)
{
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *other = LK_CONTAINER(it, lk_sfu_person, link);
        if (other == p || other->grants.hidden)
            continue;
        LK_LIST_EACH(&other->tracks, at) {
            lk_sfu_track *t = LK_CONTAINER(at, lk_sfu_track, link);
            if (t->published)
                subscribe_auto(p, t);
        }
    }
}

void lk_sfu_subscribe_new_track(lk_sfu_track *t)
{
    if (t->person->grants.hidden)
        return;
    LK_LIST_EACH(&t->person->room->people, it) {
        lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        if (p != t->person && p->state != LIVEKIT__PARTICIPANT_INFO__STATE__JOINING)
            subscribe_auto(p, t);
    }
}

void lk_sfu_subscription(lk_sfu_person *p, char *const *sids, size_t count, bool subscribe)
{
    count = LK_MIN(count, (size_t)SFU_ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        lk_sfu_sub *sub = find_sub(p, sids[i]);
        if (!sub && subscribe && p->grants.can_subscribe) {
            lk_sfu_track *t = lk_sfu_track_in(p->room, sids[i]);
            sub = t && (t->person == p || t->person->grants.hidden) ? NULL : sub_new(p, t && t->published ? t : NULL, sids[i]);
        }
        if (!sub)
            continue;
        sub->wanted = subscribe;
        sub->told_denied = false; /* who asks again is told again */
        sub->since = p->sfu->now;
        if (sub->track)
            lk_sfu_sub_settle(sub);
        else if (!subscribe)
            lk_sfu_sub_free(sub);
    }
}

void lk_sfu_settings(lk_sfu_person *p, const Livekit__UpdateTrackSettings *m)
{
    for (size_t i = 0; i < m->n_track_sids && i < SFU_ITEMS_MAX; i++) {
        lk_sfu_sub *sub = find_sub(p, m->track_sids[i]);
        if (!sub)
            continue;
        sub->settings = (lk_down_settings){.disabled = m->disabled,
                                           .quality = m->quality > LIVEKIT__VIDEO_QUALITY__HIGH ? 2 : (uint8_t)m->quality,
                                           .width = (uint16_t)LK_MIN(m->width, (uint32_t)UINT16_MAX),
                                           .height = (uint16_t)LK_MIN(m->height, (uint32_t)UINT16_MAX),
                                           .fps = m->fps,
                                           .priority = (uint8_t)LK_MIN(m->priority, (uint32_t)UINT8_MAX)};
        if (m->quality == LIVEKIT__VIDEO_QUALITY__OFF)
            sub->settings.disabled = true;
        if (sub->down) {
            set_down(sub);
            lk_sfu_wanted(sub->track);
        }
    }
}

void lk_sfu_disable(lk_sfu_person *p, char *const *sids, size_t count)
{
    for (size_t i = 0; i < count && i < SFU_ITEMS_MAX; i++) {
        lk_sfu_sub *sub = find_sub(p, sids[i]);
        if (!sub)
            continue;
        sub->settings.disabled = true;
        if (sub->down)
            set_down(sub);
    }
}

/* ---- what the hub tells ------------------------------------------------------------------------------------------------------- */

void lk_sfu_down_bound(lk_sfu_sub *sub)
{
    lk_sfu_track *t = sub->track;
    sub->bound = true;
    if (!lk_sfu_sub_bound(sub)) {
        lk_sfu_down_refused(sub);
        return;
    }
    if (!t->subscribed_told) {
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__TrackSubscribed r = LIVEKIT__TRACK_SUBSCRIBED__INIT;
        t->subscribed_told = true;
        r.track_sid = t->info->sid;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_SUBSCRIBED;
        m.track_subscribed = &r;
        lk_sfu_send(t->person, &m);
    }
    lk_sfu_wanted(t);
    lk_sfu_speaker_tell(sub->person, t->person);
}

void lk_sfu_down_refused(lk_sfu_sub *sub)
{
    sub->wanted = false;
    tell_response(sub->person, sub->sid, LIVEKIT__SUBSCRIPTION_ERROR__SE_CODEC_UNSUPPORTED);
    lk_sfu_sub_close(sub);
}

void lk_sfu_down_state(lk_sfu_sub *sub, bool active)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__StreamStateUpdate u = LIVEKIT__STREAM_STATE_UPDATE__INIT;
    Livekit__StreamStateInfo info = LIVEKIT__STREAM_STATE_INFO__INIT, *list[] = {&info};
    info.participant_sid = sub->track->person->sid;
    info.track_sid = sub->sid;
    info.has_state = 1;
    info.state = active ? LIVEKIT__STREAM_STATE__ACTIVE : LIVEKIT__STREAM_STATE__PAUSED;
    u.n_stream_states = 1;
    u.stream_states = list;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_STREAM_STATE_UPDATE;
    m.stream_state_update = &u;
    lk_sfu_send(sub->person, &m);
}

bool lk_sfu_hears(const lk_sfu_person *p, const lk_sfu_person *publisher)
{
    LK_LIST_EACH(&publisher->tracks, it) {
        const lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        LK_LIST_EACH(&t->subs, at) {
            const lk_sfu_sub *sub = LK_CONTAINER(at, lk_sfu_sub, of_track);
            if (sub->person == p && sub->down)
                return true;
        }
    }
    return false;
}

void lk_sfu_wishes_tick(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->wish_count == 0)
        return;
    LK_LIST_EACH(&p->subs, it) {
        lk_sfu_sub *sub = LK_CONTAINER(it, lk_sfu_sub, of_person);
        if (sub->track)
            continue;
        if (sub->since + SFU_NOT_FOUND_USEC > s->now) {
            lk_sfu_arm(s, sub->since + SFU_NOT_FOUND_USEC);
            continue;
        }
        tell_response(p, sub->sid, LIVEKIT__SUBSCRIPTION_ERROR__SE_TRACK_NOTFOUND);
        lk_sfu_sub_free(sub);
    }
}
