// SPDX-License-Identifier: Apache-2.0
/* Participants and what they publish: the server's snapshots turned into events. */
#include "room/room_internal.h"

/* ---- finding ----------------------------------------------------------------------------------------- */

static bool same(const char *mine, const char *theirs)
{
    return strcmp(mine ? mine : "", theirs ? theirs : "") == 0;
}

lk_session_person *lk_session_find_identity(lk_session *s, const char *identity)
{
    if (s->local && same(s->local->identity, identity))
        return s->local;
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        if (same(p->identity, identity))
            return p;
    }
    return NULL;
}

lk_session_person *lk_session_find_sid(lk_session *s, const char *sid)
{
    if (s->local && same(s->local->sid, sid))
        return s->local;
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        if (same(p->sid, sid))
            return p;
    }
    return NULL;
}

static lk_session_pub *pub_of(lk_session_person *p, const char *track_sid)
{
    LK_LIST_EACH(&p->pubs, it) {
        lk_session_pub *pub = LK_CONTAINER(it, lk_session_pub, link);
        if (same(pub->sid, track_sid))
            return pub;
    }
    return NULL;
}

lk_session_pub *lk_session_find_pub(lk_session *s, const char *track_sid)
{
    lk_session_pub *pub = s->local ? pub_of(s->local, track_sid) : NULL;
    LK_LIST_EACH(&s->others, it) {
        if (pub)
            break;
        pub = pub_of(LK_CONTAINER(it, lk_session_person, link), track_sid);
    }
    return pub;
}

lk_session_pub *lk_session_find_pub_id(lk_session *s, uint64_t id)
{
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        LK_LIST_EACH(&p->pubs, at) {
            lk_session_pub *pub = LK_CONTAINER(at, lk_session_pub, link);
            if (pub->id == id)
                return pub;
        }
    }
    return NULL;
}

/* ---- making and freeing -------------------------------------------------------------------------------- */

static void free_attributes(lk_session *s, lk_session_person *p)
{
    for (size_t i = 0; i < p->attribute_count; i++) {
        char *key = (char *)p->attributes[i].key, *value = (char *)p->attributes[i].value;
        lk_session_free_text(s, &key);
        lk_session_free_text(s, &value);
    }
    lk_release(s->env, p->attributes, p->attribute_count * sizeof *p->attributes);
    p->attributes = NULL;
    p->attribute_count = 0;
}

void lk_session_free_pub(lk_session *s, lk_session_pub *pub)
{
    lk_list_remove(&pub->person->pubs, &pub->link);
    lk_session_free_text(s, &pub->sid);
    lk_session_free_text(s, &pub->name);
    lk_session_free_text(s, &pub->mime);
    lk_session_free_text(s, &pub->stream);
    lk_release(s->env, pub, sizeof *pub);
}

static void free_person(lk_session *s, lk_session_person *p)
{
    LK_LIST_EACH(&p->pubs, it)
        lk_session_free_pub(s, LK_CONTAINER(it, lk_session_pub, link));
    if (!p->is_local)
        lk_list_remove(&s->others, &p->link);
    free_attributes(s, p);
    lk_session_free_text(s, &p->sid);
    lk_session_free_text(s, &p->identity);
    lk_session_free_text(s, &p->name);
    lk_session_free_text(s, &p->metadata);
    lk_release(s->env, p, sizeof *p);
}

void lk_session_free_others(lk_session *s)
{
    LK_LIST_EACH(&s->others, it)
        free_person(s, LK_CONTAINER(it, lk_session_person, link));
}

void lk_session_free_people(lk_session *s)
{
    lk_session_free_others(s);
    if (s->local)
        free_person(s, s->local);
    s->local = NULL;
}

static lk_session_person *new_person(lk_session *s, bool is_local)
{
    lk_session_person *p = (lk_session_person *)lk_alloc0(s->env, sizeof *p);
    if (!p) {
        s->broken = LK_ERR_NOMEM;
        return NULL;
    }
    p->id = ++s->next_id;
    p->is_local = is_local;
    lk_list_init(&p->pubs);
    if (!is_local)
        lk_list_push(&s->others, &p->link);
    return p;
}

/* ---- publications ---------------------------------------------------------------------------------------- */

static bool is_encrypted(const lk_session_person *p)
{
    LK_LIST_EACH(&p->pubs, it)
        if (LK_CONTAINER(it, lk_session_pub, link)->encryption == LK_ENCRYPTION_NONE)
            return false;
    return p->pubs.count > 0;
}

static void tell_encryption(lk_session *s, lk_session_person *p)
{
    bool now = is_encrypted(p);
    if (now == p->encrypted_told || (!now && p->pubs.count == 0))
        return;
    p->encrypted_told = now;
    lk_session_emit_person(s, LK_SESSION_PARTICIPANT_ENCRYPTION, p)->flag = now;
}

/* Takes over what may change in the life of a track; true if anything did. Mute is told apart by the caller. */
static bool fill_pub(lk_session *s, lk_session_pub *pub, const Livekit__TrackInfo *track)
{
    uint32_t features = 0;
    bool changed = false;
    for (size_t i = 0; i < track->n_audio_features; i++)
        if ((unsigned)track->audio_features[i] < 32)
            features |= 1u << (unsigned)track->audio_features[i];
    changed |= lk_session_set_text(s, &pub->name, track->name);
    changed |= lk_session_set_text(s, &pub->mime, track->mime_type);
    changed |= lk_session_set_text(s, &pub->stream, track->stream);
    changed |= pub->width != track->width || pub->height != track->height || pub->audio_features != features ||
               pub->simulcast != (track->simulcast != 0) || pub->encryption != (lk_encryption_type)track->encryption ||
               pub->source != (lk_track_source)track->source;
    pub->kind = track->type == LIVEKIT__TRACK_TYPE__AUDIO   ? LK_MEDIA_KIND_AUDIO
                : track->type == LIVEKIT__TRACK_TYPE__VIDEO ? LK_MEDIA_KIND_VIDEO
                                                            : LK_MEDIA_KIND_UNKNOWN;
    pub->source = (lk_track_source)track->source;
    pub->encryption = (lk_encryption_type)track->encryption;
    pub->width = track->width;
    pub->height = track->height;
    pub->audio_features = features;
    pub->simulcast = track->simulcast;
    return changed;
}

lk_session_pub *lk_session_add_pub(lk_session *s, lk_session_person *p, const Livekit__TrackInfo *track)
{
    if (p->pubs.count >= LK_SESSION_TRACKS_MAX) {
        s->ignored++;
        return NULL;
    }
    lk_session_pub *pub = (lk_session_pub *)lk_alloc0(s->env, sizeof *pub);
    if (!pub) {
        s->broken = LK_ERR_NOMEM;
        return NULL;
    }
    pub->id = ++s->next_id;
    pub->person = p;
    pub->wanted = s->config.auto_subscribe;
    pub->allowed = pub->enabled = true;
    pub->quality = LK_VIDEO_QUALITY_HIGH;
    pub->muted = track->muted;
    lk_list_push(&p->pubs, &pub->link);
    lk_session_set_text(s, &pub->sid, track->sid);
    fill_pub(s, pub, track);
    return pub;
}

void lk_session_refill_pub(lk_session *s, lk_session_pub *pub, const Livekit__TrackInfo *track)
{
    lk_session_set_text(s, &pub->sid, track->sid);
    fill_pub(s, pub, track);
}

static void remove_pub(lk_session *s, lk_session_pub *pub)
{
    lk_session_unsubscribe(s, pub);
    lk_session_emit_pub(s, LK_SESSION_TRACK_UNPUBLISHED, pub);
    lk_session_free_pub(s, pub);
}

static bool still_there(const lk_session_pub *pub, const Livekit__ParticipantInfo *info)
{
    for (size_t i = 0; i < info->n_tracks; i++)
        if (same(pub->sid, info->tracks[i]->sid))
            return true;
    return false;
}

static void update_tracks(lk_session *s, lk_session_person *p, const Livekit__ParticipantInfo *info)
{
    for (size_t i = 0; i < info->n_tracks; i++) {
        const Livekit__TrackInfo *track = info->tracks[i];
        lk_session_pub *pub = track->sid ? pub_of(p, track->sid) : NULL;
        if (!track->sid || !*track->sid)
            continue;
        if (!pub) {
            pub = lk_session_add_pub(s, p, track);
            if (!pub)
                continue;
            tell_encryption(s, p);
            lk_session_emit_pub(s, LK_SESSION_TRACK_PUBLISHED, pub);
            lk_session_match_pub(s, pub);
            lk_session_on_announced(s, pub);
            continue;
        }
        bool was_muted = pub->muted;
        pub->muted = track->muted;
        if (fill_pub(s, pub, track))
            lk_session_emit_pub(s, LK_SESSION_PUBLICATION_CHANGED, pub);
        if (was_muted != pub->muted)
            lk_session_emit_pub(s, pub->muted ? LK_SESSION_TRACK_MUTED : LK_SESSION_TRACK_UNMUTED, pub);
    }
    LK_LIST_EACH(&p->pubs, it) {
        lk_session_pub *pub = LK_CONTAINER(it, lk_session_pub, link);
        if (!still_there(pub, info))
            remove_pub(s, pub);
    }
    tell_encryption(s, p);
}

/* Our own tracks: the sid and state are ours to tell, the rest is filled in. */
static void update_own_tracks(lk_session *s, const Livekit__ParticipantInfo *info)
{
    for (size_t i = 0; i < info->n_tracks; i++) {
        lk_session_pub *pub = info->tracks[i]->sid ? pub_of(s->local, info->tracks[i]->sid) : NULL;
        if (pub && fill_pub(s, pub, info->tracks[i]))
            lk_session_emit_pub(s, LK_SESSION_PUBLICATION_CHANGED, pub);
    }
}

/* ---- what a participant says about itself ------------------------------------------------------------------ */

static lk_participant_kind kind_of(Livekit__ParticipantInfo__Kind kind)
{
    switch (kind) {
    case LIVEKIT__PARTICIPANT_INFO__KIND__INGRESS: return LK_PARTICIPANT_KIND_INGRESS;
    case LIVEKIT__PARTICIPANT_INFO__KIND__EGRESS: return LK_PARTICIPANT_KIND_EGRESS;
    case LIVEKIT__PARTICIPANT_INFO__KIND__SIP: return LK_PARTICIPANT_KIND_SIP;
    case LIVEKIT__PARTICIPANT_INFO__KIND__AGENT: return LK_PARTICIPANT_KIND_AGENT;
    case LIVEKIT__PARTICIPANT_INFO__KIND__CONNECTOR: return LK_PARTICIPANT_KIND_CONNECTOR;
    case LIVEKIT__PARTICIPANT_INFO__KIND__BRIDGE: return LK_PARTICIPANT_KIND_BRIDGE;
    default: return LK_PARTICIPANT_KIND_STANDARD;
    }
}

static lk_permission permission_of(const Livekit__ParticipantPermission *from)
{
    lk_permission to = {
        .can_subscribe = from->can_subscribe,
        .can_publish = from->can_publish,
        .can_publish_data = from->can_publish_data,
        .can_update_metadata = from->can_update_metadata,
        .can_subscribe_metrics = from->can_subscribe_metrics,
        .can_manage_agent_session = from->can_manage_agent_session,
        .hidden = from->hidden,
    };
    for (size_t i = 0; i < from->n_can_publish_sources; i++)
        if ((unsigned)from->can_publish_sources[i] < 32)
            to.publish_sources |= 1u << (unsigned)from->can_publish_sources[i];
    return to;
}

static bool same_permission(const lk_permission *a, const lk_permission *b)
{
    return a->can_subscribe == b->can_subscribe && a->can_publish == b->can_publish &&
           a->can_publish_data == b->can_publish_data && a->can_update_metadata == b->can_update_metadata &&
           a->can_subscribe_metrics == b->can_subscribe_metrics &&
           a->can_manage_agent_session == b->can_manage_agent_session && a->hidden == b->hidden &&
           a->publish_sources == b->publish_sources;
}

static const char *attribute_in(const Livekit__ParticipantInfo *info, const char *key)
{
    const char *value = NULL; /* the last one of a key counts */
    for (size_t i = 0; i < info->n_attributes; i++)
        if (same(info->attributes[i]->key, key))
            value = info->attributes[i]->value ? info->attributes[i]->value : "";
    return value;
}

static const char *attribute_of(const lk_session_person *p, const char *key)
{
    for (size_t i = 0; i < p->attribute_count; i++)
        if (same(p->attributes[i].key, key))
            return p->attributes[i].value;
    return NULL;
}

/* Lists in `changed` (room for all old and new ones) what differs; deleted ones have the value "". */
static size_t attribute_changes(const lk_session_person *p, const Livekit__ParticipantInfo *info, lk_attribute *changed)
{
    size_t count = 0;
    for (size_t i = 0; i < info->n_attributes; i++) {
        const char *key = info->attributes[i]->key ? info->attributes[i]->key : "";
        const char *value = attribute_in(info, key), *old = attribute_of(p, key);
        bool listed = false;
        for (size_t k = 0; k < count; k++)
            listed = listed || same(changed[k].key, key);
        if (!listed && (!old || strcmp(old, value) != 0))
            changed[count++] = (lk_attribute){key, value};
    }
    for (size_t i = 0; i < p->attribute_count; i++)
        if (!attribute_in(info, p->attributes[i].key))
            changed[count++] = (lk_attribute){p->attributes[i].key, ""};
    return count;
}

static void replace_attributes(lk_session *s, lk_session_person *p, const Livekit__ParticipantInfo *info)
{
    size_t count = 0;
    lk_attribute *list =
        info->n_attributes ? (lk_attribute *)lk_alloc0(s->env, info->n_attributes * sizeof *list) : NULL;
    for (size_t i = 0; list && i < info->n_attributes; i++) {
        char *key = NULL, *value = NULL;
        bool listed = false;
        for (size_t k = 0; k < count; k++)
            listed = listed || same(list[k].key, info->attributes[i]->key);
        if (listed)
            continue;
        lk_session_set_text(s, &key, info->attributes[i]->key);
        lk_session_set_text(s, &value, attribute_in(info, info->attributes[i]->key));
        if (!key || !value) {
            lk_session_free_text(s, &key);
            lk_session_free_text(s, &value);
            continue;
        }
        list[count++] = (lk_attribute){key, value};
    }
    free_attributes(s, p);
    if (list && count < info->n_attributes) { /* sizes must match when it is released */
        lk_attribute *fit = count ? (lk_attribute *)lk_alloc(s->env, count * sizeof *fit) : NULL;
        if (fit)
            memcpy(fit, list, count * sizeof *fit);
        for (size_t i = 0; !fit && i < count; i++) {
            char *key = (char *)list[i].key, *value = (char *)list[i].value;
            lk_session_free_text(s, &key);
            lk_session_free_text(s, &value);
        }
        lk_release(s->env, list, info->n_attributes * sizeof *list);
        s->broken = count && !fit ? LK_ERR_NOMEM : s->broken;
        list = fit;
        count = fit ? count : 0;
    }
    if (info->n_attributes && !list && count)
        s->broken = LK_ERR_NOMEM;
    p->attributes = list;
    p->attribute_count = count;
}

static bool update_attributes(lk_session *s, lk_session_person *p, const Livekit__ParticipantInfo *info, bool tell)
{
    size_t most = p->attribute_count + info->n_attributes;
    lk_attribute *changed = most ? (lk_attribute *)lk_arena_alloc(&s->out, most * sizeof *changed) : NULL;
    if (!changed) {
        s->broken = most ? LK_ERR_NOMEM : s->broken;
        return false;
    }
    size_t count = attribute_changes(p, info, changed);
    if (!count)
        return false;
    for (size_t i = 0; i < count; i++)
        changed[i] = (lk_attribute){lk_session_out_text(s, changed[i].key), lk_session_out_text(s, changed[i].value)};
    replace_attributes(s, p, info);
    if (tell) {
        lk_session_event *ev = lk_session_emit_person(s, LK_SESSION_PARTICIPANT_ATTRIBUTES, p);
        ev->attributes = changed;
        ev->attribute_count = count;
    }
    return true;
}

/* Everything but tracks. tell: also events for what changed (not for the first announcement). */
static bool update_self(lk_session *s, lk_session_person *p, const Livekit__ParticipantInfo *info, bool tell)
{
    bool changed = false;
    uint32_t details = 0;
    for (size_t i = 0; i < info->n_kind_details; i++)
        if ((unsigned)info->kind_details[i] < 32)
            details |= 1u << (unsigned)info->kind_details[i];
    int64_t joined = info->joined_at_ms ? info->joined_at_ms : info->joined_at * 1000;
    changed |= lk_session_set_text(s, &p->sid, info->sid);
    changed |= p->state != (lk_participant_state)info->state || p->kind != kind_of(info->kind) ||
               p->kind_details != details || p->joined_at_msec != joined;
    p->version = info->version;
    p->kind = kind_of(info->kind);
    p->kind_details = details;
    p->joined_at_msec = joined;
    p->client_protocol = info->client_protocol;
    p->disconnect_reason = (lk_disconnect_reason)info->disconnect_reason;
    p->state = (lk_participant_state)info->state;

    if (lk_session_set_text(s, &p->name, info->name)) {
        changed = true;
        if (tell)
            lk_session_emit_person(s, LK_SESSION_PARTICIPANT_NAME, p)->text = lk_session_out_text(s, p->name);
    }
    if (lk_session_set_text(s, &p->metadata, info->metadata)) {
        changed = true;
        if (tell)
            lk_session_emit_person(s, LK_SESSION_PARTICIPANT_METADATA, p)->text = lk_session_out_text(s, p->metadata);
    }
    changed |= update_attributes(s, p, info, tell);
    if (info->permission) {
        lk_permission permission = permission_of(info->permission);
        bool differs = !p->has_permission || !same_permission(&permission, &p->permission);
        p->permission = permission;
        p->has_permission = true;
        changed |= differs;
        if (differs && tell)
            lk_session_emit_person(s, LK_SESSION_PARTICIPANT_PERMISSION, p);
    }
    return changed;
}

static void tell_active(lk_session *s, lk_session_person *p)
{
    if (p->state != LK_PARTICIPANT_STATE_ACTIVE || p->active_told)
        return;
    p->active_told = true;
    lk_session_emit_person(s, LK_SESSION_PARTICIPANT_ACTIVE, p);
}

/* ---- updates -------------------------------------------------------------------------------------------- */

static void remove_person(lk_session *s, lk_session_person *p, lk_disconnect_reason reason)
{
    LK_LIST_EACH(&p->pubs, it)
        remove_pub(s, LK_CONTAINER(it, lk_session_pub, link));
    p->disconnect_reason = reason;
    p->state = LK_PARTICIPANT_STATE_DISCONNECTED;
    lk_session_emit_person(s, LK_SESSION_PARTICIPANT_DISCONNECTED, p)->reason = reason;
    free_person(s, p);
}

static lk_session_person *add_person(lk_session *s, const Livekit__ParticipantInfo *info)
{
    if (s->others.count >= LK_SESSION_PARTICIPANTS_MAX) {
        s->ignored++;
        return NULL;
    }
    lk_session_person *p = new_person(s, false);
    if (!p)
        return NULL;
    lk_session_set_text(s, &p->identity, info->identity);
    update_self(s, p, info, false);
    lk_session_emit_person(s, LK_SESSION_PARTICIPANT_CONNECTED, p);
    tell_active(s, p);
    return p;
}

void lk_session_leave_people(lk_session *s)
{
    LK_LIST_EACH(&s->others, it)
        remove_person(s, LK_CONTAINER(it, lk_session_person, link), LK_DISCONNECT_UNKNOWN);
}

void lk_session_tell_people(lk_session *s)
{
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        lk_session_emit_person(s, LK_SESSION_PARTICIPANT_CONNECTED, p);
        p->active_told = p->encrypted_told = false; /* the join was not heard */
        tell_active(s, p);
        LK_LIST_EACH(&p->pubs, at)
            lk_session_emit_pub(s, LK_SESSION_TRACK_PUBLISHED, LK_CONTAINER(at, lk_session_pub, link));
        tell_encryption(s, p);
    }
}

/* The participant that changed, or NULL: nothing did, or it is gone. */
static lk_session_person *update_one(lk_session *s, const Livekit__ParticipantInfo *info, bool *changed)
{
    if (!info->identity || !info->sid || !*info->sid)
        return NULL;
    if (s->local && same(s->local->identity, info->identity)) {
        if (!same(s->local->sid, info->sid) || info->version < s->local->version)
            return NULL;
        *changed |= update_self(s, s->local, info, true);
        update_own_tracks(s, info);
        return s->local;
    }
    lk_session_person *p = lk_session_find_identity(s, info->identity);
    bool gone = info->state == LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED;
    if (p && same(p->sid, info->sid) && info->version < p->version)
        return NULL; /* older than what we know */
    if (gone) {
        *changed |= p && same(p->sid, info->sid);
        if (p && same(p->sid, info->sid))
            remove_person(s, p, (lk_disconnect_reason)info->disconnect_reason);
        return NULL;
    }
    if (p && !same(p->sid, info->sid)) { /* a new session of the same identity: the old one ended */
        remove_person(s, p, LK_DISCONNECT_UNKNOWN);
        p = NULL;
    }
    *changed = true;
    if (!p)
        p = add_person(s, info);
    else {
        update_self(s, p, info, true);
        tell_active(s, p);
    }
    if (p)
        update_tracks(s, p, info);
    return p;
}

void lk_session_on_update(lk_session *s, Livekit__ParticipantInfo *const *infos, size_t count)
{
    bool changed = false;
    size_t listed = 0;
    lk_session_person **people =
        count ? (lk_session_person **)lk_alloc(s->env, count * sizeof(lk_session_person *)) : NULL;
    if (!people) {
        s->broken = count ? LK_ERR_NOMEM : s->broken;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        lk_session_person *p = update_one(s, infos[i], &changed);
        for (size_t k = 0; p && k < listed; k++)
            p = people[k] == p ? NULL : p;
        if (p)
            people[listed++] = p;
    }
    /* Somebody listed may have left in the same message. */
    size_t kept = 0;
    for (size_t i = 0; i < listed; i++) {
        bool alive = people[i] == s->local;
        LK_LIST_EACH(&s->others, it)
            alive = alive || LK_CONTAINER(it, lk_session_person, link) == people[i];
        if (alive)
            people[kept++] = people[i];
    }
    if (kept && s->phase == LK_SESSION_LIVE)
        lk_session_fill_members(s, lk_session_emit(s, LK_SESSION_PARTICIPANTS_UPDATED), people, kept);
    lk_release(s->env, people, count * sizeof(lk_session_person *));
}

void lk_session_set_local(lk_session *s, const Livekit__ParticipantInfo *info)
{
    if (!s->local)
        s->local = new_person(s, true);
    if (!s->local)
        return;
    lk_session_set_text(s, &s->local->identity, info->identity);
    update_self(s, s->local, info, false);
}

/* ---- the room ------------------------------------------------------------------------------------------ */

void lk_session_set_room(lk_session *s, const Livekit__Room *room)
{
    if (room->sid && *room->sid)
        lk_session_set_text(s, &s->room_sid, room->sid);
    lk_session_set_text(s, &s->room_name, room->name);
    lk_session_set_text(s, &s->room_metadata, room->metadata);
    s->room_created_msec = room->creation_time_ms ? room->creation_time_ms : room->creation_time * 1000;
    s->room_empty_sec = room->empty_timeout;
    s->room_departure_sec = room->departure_timeout;
    s->room_max = room->max_participants;
    s->room_participants = room->num_participants;
    s->room_publishers = room->num_publishers;
    s->room_recording = room->active_recording;
}

void lk_session_on_room_update(lk_session *s, const Livekit__Room *room)
{
    bool metadata_changed = !same(s->room_metadata, room->metadata);
    lk_session_set_room(s, room);
    if (s->phase != LK_SESSION_LIVE)
        return;
    if (!s->room_sid_told && s->room_sid && *s->room_sid) {
        s->room_sid_told = true;
        lk_session_event *ev = lk_session_emit(s, LK_SESSION_ROOM_SID);
        ev->text = lk_session_out_text(s, s->room_sid);
        ev->room_info = lk_session_room_info(s);
    }
    if (metadata_changed) {
        lk_session_event *ev = lk_session_emit(s, LK_SESSION_ROOM_METADATA);
        ev->text = lk_session_out_text(s, s->room_metadata);
        ev->room_info = lk_session_room_info(s);
    }
    lk_session_emit(s, LK_SESSION_ROOM_UPDATED)->room_info = lk_session_room_info(s);
}

/* ---- speakers, quality, permission, stream state ------------------------------------------------------------ */

static size_t loudest_first(lk_session *s, lk_session_person **out, size_t cap)
{
    size_t count = 0;
    if (s->local && s->local->speaking && count < cap)
        out[count++] = s->local;
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        if (p->speaking && count < cap)
            out[count++] = p;
    }
    for (size_t i = 1; i < count; i++) /* few people speak at once */
        for (size_t k = i; k > 0 && out[k]->level > out[k - 1]->level; k--) {
            lk_session_person *swap = out[k];
            out[k] = out[k - 1];
            out[k - 1] = swap;
        }
    return count;
}

void lk_session_on_speakers(lk_session *s, const Livekit__SpeakersChanged *change)
{
    lk_session_person *speaking[64];
    for (size_t i = 0; i < change->n_speakers; i++) {
        const Livekit__SpeakerInfo *info = change->speakers[i];
        lk_session_person *p = info->sid ? lk_session_find_sid(s, info->sid) : NULL;
        if (!p)
            continue;
        p->speaking = info->active;
        p->level = info->active ? info->level : 0;
    }
    if (s->phase == LK_SESSION_LIVE)
        lk_session_fill_members(s, lk_session_emit(s, LK_SESSION_ACTIVE_SPEAKERS), speaking,
                                loudest_first(s, speaking, LK_LEN(speaking)));
}

void lk_session_on_quality(lk_session *s, const Livekit__ConnectionQualityUpdate *update)
{
    for (size_t i = 0; i < update->n_updates; i++) {
        const Livekit__ConnectionQualityInfo *info = update->updates[i];
        lk_session_person *p = info->participant_sid ? lk_session_find_sid(s, info->participant_sid) : NULL;
        lk_connection_quality quality = (lk_connection_quality)info->quality;
        if (!p || (p->quality_known && p->quality == quality))
            continue;
        p->quality = quality;
        p->quality_known = true;
        lk_session_emit_person(s, LK_SESSION_CONNECTION_QUALITY, p)->quality = quality;
    }
}

void lk_session_on_permission(lk_session *s, const Livekit__SubscriptionPermissionUpdate *update)
{
    lk_session_pub *pub = update->track_sid ? lk_session_find_pub(s, update->track_sid) : NULL;
    if (!pub || pub->person->is_local || pub->allowed == (update->allowed != 0))
        return;
    pub->allowed = update->allowed;
    lk_session_emit_pub(s, LK_SESSION_PUBLICATION_CHANGED, pub);
    if (pub->allowed)
        lk_session_match_pub(s, pub);
    else
        lk_session_unsubscribe(s, pub);
}

void lk_session_on_stream_state(lk_session *s, const Livekit__StreamStateUpdate *update)
{
    for (size_t i = 0; i < update->n_stream_states; i++) {
        const Livekit__StreamStateInfo *info = update->stream_states[i];
        lk_session_pub *pub = info->track_sid ? lk_session_find_pub(s, info->track_sid) : NULL;
        if (!pub || !pub->track)
            continue;
        pub->track->stream_state =
            info->state == LIVEKIT__STREAM_STATE__PAUSED ? LK_STREAM_STATE_PAUSED : LK_STREAM_STATE_ACTIVE;
        lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_TRACK_CHANGED, pub);
        ev->track_id = pub->track->id;
        ev->track = lk_session_remote_track_info(s, pub->track);
    }
}

void lk_session_on_subscription_response(lk_session *s, const Livekit__SubscriptionResponse *response)
{
    lk_session_pub *pub = response->track_sid ? lk_session_find_pub(s, response->track_sid) : NULL;
    if (!pub || pub->person->is_local || response->err == LIVEKIT__SUBSCRIPTION_ERROR__SE_UNKNOWN)
        return;
    lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_TRACK_SUBSCRIPTION_FAILED, pub);
    ev->text = lk_session_out_text(s, response->track_sid);
    lk_error_set(&ev->error, LK_ERR_UNSUPPORTED,
                 response->err == LIVEKIT__SUBSCRIPTION_ERROR__SE_TRACK_NOTFOUND
                     ? "the server does not find the track"
                     : "the server has no codec for the track that we support",
                 (const char *)NULL);
}
