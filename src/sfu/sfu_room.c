// SPDX-License-Identifier: Apache-2.0
/* Rooms, and who is told what about whom. */
#include "sfu/sfu_internal.h"

#define UPDATE_PEOPLE 64 /* in one message, so that it stays far below what proxies let through */

/* ---- rooms ------------------------------------------------------------------------------------------------------- */

lk_sfu_room *lk_sfu_room_find(lk_sfu *s, const char *name)
{
    LK_LIST_EACH(&s->rooms, it) {
        lk_sfu_room *r = LK_CONTAINER(it, lk_sfu_room, link);
        if (strcmp(r->name, name) == 0)
            return r;
    }
    return NULL;
}

/* One more of all loops together. False: there is no room for it. */
static bool count_room(lk_sfu *s)
{
    if (atomic_fetch_add_explicit(&s->totals->rooms, 1, memory_order_relaxed) < s->config.limits.rooms)
        return true;
    atomic_fetch_sub_explicit(&s->totals->rooms, 1, memory_order_relaxed);
    return false;
}

static void release_room(lk_sfu *s, lk_sfu_room *r)
{
    atomic_fetch_sub_explicit(&s->totals->rooms, 1, memory_order_relaxed);
    if (r)
        lk_release(s->env, r, sizeof *r);
}

lk_err lk_sfu_room_new(lk_sfu_room **out, lk_sfu *s, const char *name)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (!count_room(s))
        return LK_ERR_FULL;
    lk_sfu_room *r = lk_alloc0(s->env, sizeof *r);
    if (!r || lk_sfu_text(s->env, &r->metadata, "") != LK_OK) {
        release_room(s, r);
        return LK_ERR_NOMEM;
    }
    r->sfu = s;
    (void)lk_str_copy(r->name, sizeof r->name, lk_str_of(name));
    lk_sfu_sid(s, r->sid, "RM_");
    lk_list_init(&r->people);
    lk_queue_init(&r->cache, s->env, sizeof(lk_sfu_cached), SFU_CACHE_MAX);
    lk_queue_init(&r->gone, s->env, sizeof(lk_sfu_gone), SFU_GONE_MAX);
    r->created_unix_usec = lk_sfu_unix_usec(s);
    r->empty_timeout_sec = s->config.empty_timeout_sec;
    r->departure_timeout_sec = s->config.departure_timeout_sec;
    r->max_participants = s->config.max_participants;
    r->update_due = LK_NEVER;
    r->closes_at = s->now + LK_SEC(r->empty_timeout_sec);
    lk_sfu_arm(s, r->closes_at);
    for (size_t i = 0; i < sizeof r->sif_trailer; i++)
        r->sif_trailer[i] = (uint8_t)letters[lk_rand_below(s->env, sizeof letters - 1)];
    lk_list_push(&s->rooms, &r->link);
    s->stats.rooms_created++;
    *out = r;
    return LK_OK;
}

void lk_sfu_room_close(lk_sfu_room *r, int reason)
{
    /* a server that stops is not the end of the room: elsewhere it may go on */
    int action = reason == LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN ? LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT
                                                                       : LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT;
    lk_link *at;
    while ((at = lk_list_first(&r->people)))
        lk_sfu_person_remove(LK_CONTAINER(at, lk_sfu_person, link), reason, action);
    lk_sfu_room_free(r);
}

void lk_sfu_room_free(lk_sfu_room *r)
{
    lk_sfu *s = r->sfu;
    lk_link *at;
    while ((at = lk_list_first(&r->people)))
        lk_sfu_person_remove(LK_CONTAINER(at, lk_sfu_person, link), LIVEKIT__DISCONNECT_REASON__ROOM_CLOSED, -1);
    lk_sfu_cache_trim(r, true);
    lk_queue_deinit(&r->cache);
    lk_queue_deinit(&r->gone);
    lk_sfu_text_free(s->env, &r->metadata);
    lk_list_remove(&s->rooms, &r->link);
    release_room(s, r);
}

void lk_sfu_room_left(lk_sfu_room *r)
{
    lk_sfu *s = r->sfu;
    if (r->people.count == 0) {
        r->closes_at = s->now + LK_SEC(r->joined_ever ? r->departure_timeout_sec : r->empty_timeout_sec);
        lk_sfu_arm(s, r->closes_at);
    }
    lk_sfu_room_changed(r, false);
}

static uint32_t publishers(const lk_sfu_room *r)
{
    uint32_t n = 0;
    LK_LIST_EACH(&r->people, it) {
        const lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        n += !p->grants.hidden && p->was_publisher;
    }
    return n;
}

static Livekit__Codec *codec(lk_arena *a, const char *mime)
{
    Livekit__Codec *c = lk_pbuf_new(&livekit__codec__descriptor, a);
    if (c)
        c->mime = (char *)(uintptr_t)mime;
    return c;
}

Livekit__Room *lk_sfu_room_info(lk_sfu_room *r, lk_arena *a)
{
    Livekit__Room *m = lk_pbuf_new(&livekit__room__descriptor, a);
    size_t n = 0;
    while (lk_sfu_codecs[n])
        n++;
    Livekit__Codec **codecs = lk_arena_alloc(a, n * sizeof *codecs);
    if (!m || !codecs)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (!(codecs[i] = codec(a, lk_sfu_codecs[i])))
            return NULL;
    m->enabled_codecs = codecs;
    m->n_enabled_codecs = n;
    m->sid = r->sid;
    m->name = r->name;
    m->metadata = r->metadata;
    m->turn_password = (char *)(uintptr_t)r->sfu->config.turn_password;
    m->has_empty_timeout = m->has_departure_timeout = m->has_creation_time = m->has_creation_time_ms = 1;
    m->empty_timeout = r->empty_timeout_sec;
    m->departure_timeout = r->departure_timeout_sec;
    m->creation_time = r->created_unix_usec / 1000000;
    m->creation_time_ms = r->created_unix_usec / 1000;
    m->has_max_participants = r->max_participants != 0;
    m->max_participants = r->max_participants;
    m->has_num_participants = m->has_num_publishers = 1;
    m->num_participants = r->visible;
    m->num_publishers = publishers(r);
    return m;
}

void lk_sfu_send_room_update(lk_sfu_person *p)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__RoomUpdate update = LIVEKIT__ROOM_UPDATE__INIT;
    update.room = lk_sfu_room_info(p->room, &p->sfu->out);
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE;
    m.room_update = &update;
    lk_sfu_send_made(p, &m, update.room != NULL);
}

static void room_update_all(lk_sfu_room *r)
{
    lk_sfu *s = r->sfu;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__RoomUpdate update = LIVEKIT__ROOM_UPDATE__INIT;
    r->update_due = LK_NEVER;
    update.room = lk_sfu_room_info(r, &s->out);
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE;
    m.room_update = &update;
    lk_sfu_buf *b = update.room ? lk_sfu_pack(s, &m.base) : NULL;
    LK_LIST_EACH(&r->people, it)
        lk_sfu_send_buf(LK_CONTAINER(it, lk_sfu_person, link), b);
    lk_sfu_buf_drop(s, b);
    lk_arena_reset(&s->out);
}

void lk_sfu_room_changed(lk_sfu_room *r, bool at_once)
{
    if (at_once) {
        room_update_all(r);
    } else if (r->update_due == LK_NEVER) {
        r->update_due = r->sfu->now + SFU_ROOM_UPDATE_USEC;
        lk_sfu_arm(r->sfu, r->update_due);
    }
}

void lk_sfu_room_tick(lk_sfu_room *r)
{
    lk_sfu *s = r->sfu;
    if (r->update_due <= s->now)
        room_update_all(r);
    lk_sfu_cache_trim(r, false);
    if (r->people.count == 0 && r->closes_at <= s->now) {
        lk_sfu_room_free(r);
        return;
    }
    lk_sfu_arm(s, r->update_due);
    if (r->people.count == 0)
        lk_sfu_arm(s, r->closes_at);
}

/* ---- people ------------------------------------------------------------------------------------------------------- */

lk_sfu_person *lk_sfu_person_find(lk_sfu_room *r, const char *identity)
{
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        if (strcmp(p->identity, identity) == 0)
            return p;
    }
    return NULL;
}

lk_sfu_person *lk_sfu_person_by_sid(lk_sfu_room *r, const char *sid)
{
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        if (strcmp(p->sid, sid) == 0)
            return p;
    }
    return NULL;
}

static Livekit__ParticipantPermission *permission_info(const lk_sfu_grants *g, lk_arena *a)
{
    Livekit__ParticipantPermission *m = lk_pbuf_new(&livekit__participant_permission__descriptor, a);
    if (!m)
        return NULL;
    m->has_can_subscribe = m->has_can_publish = m->has_can_publish_data = m->has_can_update_metadata = m->has_hidden = m->has_recorder =
        m->has_agent = m->has_can_subscribe_metrics = m->has_can_manage_agent_session = 1;
    m->can_subscribe = g->can_subscribe;
    m->can_publish = g->can_publish;
    m->can_publish_data = g->can_publish_data;
    m->can_update_metadata = g->can_update_metadata;
    m->hidden = g->hidden;
    m->recorder = g->recorder;
    m->agent = g->agent;
    m->can_subscribe_metrics = g->metrics;
    m->can_manage_agent_session = g->manage_agent;
    if (g->sources) {
        m->can_publish_sources = lk_arena_alloc(a, 32 * sizeof *m->can_publish_sources);
        if (!m->can_publish_sources)
            return NULL;
        for (unsigned i = 0; i < 32; i++)
            if (g->sources & (1u << i))
                m->can_publish_sources[m->n_can_publish_sources++] = (Livekit__TrackSource)i;
    }
    return m;
}

static bool attributes_info(const lk_sfu_person *p, Livekit__ParticipantInfo *m, lk_arena *a)
{
    if (p->attribute_count == 0)
        return true;
    m->attributes = lk_arena_alloc(a, p->attribute_count * sizeof *m->attributes);
    if (!m->attributes)
        return false;
    for (size_t i = 0; i < p->attribute_count; i++) {
        Livekit__ParticipantInfo__AttributesEntry *e = lk_pbuf_new(&livekit__participant_info__attributes_entry__descriptor, a);
        if (!e)
            return false;
        e->key = p->attributes[i].key;
        e->value = p->attributes[i].value;
        m->attributes[m->n_attributes++] = e;
    }
    return true;
}

static bool tracks_info(const lk_sfu_person *p, Livekit__ParticipantInfo *m, lk_arena *a)
{
    m->tracks = lk_arena_alloc(a, (p->tracks.count + 1) * sizeof *m->tracks);
    m->data_tracks = lk_arena_alloc(a, (p->data_tracks.count + 1) * sizeof *m->data_tracks);
    if (!m->tracks || !m->data_tracks)
        return false;
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        if (t->published)
            m->tracks[m->n_tracks++] = t->info;
    }
    LK_LIST_EACH(&p->data_tracks, it)
        m->data_tracks[m->n_data_tracks++] = LK_CONTAINER(it, lk_sfu_data_track, link)->info;
    return true;
}

Livekit__ParticipantInfo *lk_sfu_person_info(const lk_sfu_person *p, lk_arena *a)
{
    Livekit__ParticipantInfo *m = lk_pbuf_new(&livekit__participant_info__descriptor, a);
    if (!m || !(m->permission = permission_info(&p->grants, a)) || !attributes_info(p, m, a) || !tracks_info(p, m, a))
        return NULL;
    m->sid = (char *)(uintptr_t)p->sid;
    m->identity = (char *)(uintptr_t)p->identity;
    m->name = (char *)(uintptr_t)p->name;
    m->metadata = p->metadata;
    m->region = (char *)(uintptr_t)p->sfu->config.region;
    m->has_state = m->has_version = m->has_joined_at = m->has_joined_at_ms = m->has_is_publisher = m->has_kind = m->has_client_protocol = 1;
    m->state = p->state;
    m->version = p->version;
    m->joined_at = p->joined_unix_usec / 1000000;
    m->joined_at_ms = p->joined_unix_usec / 1000;
    m->is_publisher = p->was_publisher;
    m->kind = (Livekit__ParticipantInfo__Kind)p->kind;
    m->client_protocol = p->client_protocol;
    m->n_kind_details = p->kind_detail_count;
    m->kind_details = (Livekit__ParticipantInfo__KindDetail *)(uintptr_t)p->kind_details;
    m->n_capabilities = p->capability_count;
    m->capabilities = (Livekit__ClientInfo__Capability *)(uintptr_t)p->capabilities;
    return m;
}

void lk_sfu_send_update(lk_sfu_person *to, Livekit__ParticipantInfo **people, size_t count)
{
    for (size_t i = 0; i < count; i += UPDATE_PEOPLE) {
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__ParticipantUpdate update = LIVEKIT__PARTICIPANT_UPDATE__INIT;
        update.n_participants = LK_MIN(count - i, (size_t)UPDATE_PEOPLE);
        update.participants = people + i;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE;
        m.update = &update;
        lk_sfu_send(to, &m);
    }
}

typedef enum audience { AUDIENCE_SELF = 1, AUDIENCE_OTHERS = 2, AUDIENCE_ALL = 3 } audience;

/* A hidden one is known to nobody else. */
static void tell_about(lk_sfu_person *p, Livekit__ParticipantInfo *info, audience who)
{
    lk_sfu *s = p->sfu;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__ParticipantUpdate update = LIVEKIT__PARTICIPANT_UPDATE__INIT;
    update.n_participants = 1;
    update.participants = &info;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE;
    m.update = &update;
    lk_sfu_buf *b = info ? lk_sfu_pack(s, &m.base) : NULL;
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *to = LK_CONTAINER(it, lk_sfu_person, link);
        if (to == p ? who & AUDIENCE_SELF : (who & AUDIENCE_OTHERS) && !p->grants.hidden && to->state != LIVEKIT__PARTICIPANT_INFO__STATE__JOINING)
            lk_sfu_send_buf(to, b);
    }
    lk_sfu_buf_drop(s, b);
}

void lk_sfu_person_changed(lk_sfu_person *p)
{
    p->version++;
    p->tell_due = LK_NEVER;
    if (p->state == LIVEKIT__PARTICIPANT_INFO__STATE__JOINING)
        return;
    tell_about(p, lk_sfu_person_info(p, &p->sfu->out), AUDIENCE_ALL);
    lk_arena_reset(&p->sfu->out);
}

void lk_sfu_person_active(lk_sfu_person *p)
{
    if (p->was_publisher) {
        lk_sfu_person_changed(p);
        return;
    }
    p->version++;
    p->tell_due = p->sfu->now + SFU_BATCH_USEC;
    lk_sfu_arm(p->sfu, p->tell_due);
    tell_about(p, lk_sfu_person_info(p, &p->sfu->out), AUDIENCE_SELF);
    lk_arena_reset(&p->sfu->out);
}

void lk_sfu_person_tell(lk_sfu_person *p)
{
    p->tell_due = LK_NEVER;
    tell_about(p, lk_sfu_person_info(p, &p->sfu->out), AUDIENCE_OTHERS);
    lk_arena_reset(&p->sfu->out);
}

void lk_sfu_send_leave(lk_sfu_person *p, int reason, int action)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    leave.has_reason = leave.has_action = leave.has_can_reconnect = 1;
    leave.reason = (Livekit__DisconnectReason)reason;
    leave.action = (Livekit__LeaveRequest__Action)action;
    leave.can_reconnect = action != LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE;
    m.leave = &leave;
    lk_sfu_send(p, &m);
}

static void forget_media(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_link *at;
    while ((at = lk_list_first(&p->subs)))
        lk_sfu_sub_free(LK_CONTAINER(at, lk_sfu_sub, of_person));
    while ((at = lk_list_first(&p->data_subs)))
        lk_sfu_data_sub_free(LK_CONTAINER(at, lk_sfu_data_sub, of_person));
    while ((at = lk_list_first(&p->tracks)))
        lk_sfu_track_remove(LK_CONTAINER(at, lk_sfu_track, link), false);
    while ((at = lk_list_first(&p->data_tracks)))
        lk_sfu_data_track_remove(LK_CONTAINER(at, lk_sfu_data_track, link));
    while ((at = lk_list_pop(&p->queued))) {
        lk_sfu_queued *q = LK_CONTAINER(at, lk_sfu_queued, link);
        lk_release(s->env, q, q->size);
    }
    while ((at = lk_list_pop(&p->loose))) {
        lk_sfu_loose *l = LK_CONTAINER(at, lk_sfu_loose, link);
        lk_up_free(l->up);
        lk_release(s->env, l, sizeof *l);
    }
    lk_sfu_peers_free(p);
}

static void free_attributes(lk_sfu_person *p)
{
    for (size_t i = 0; i < p->attribute_count; i++) {
        lk_sfu_text_free(p->sfu->env, &p->attributes[i].key);
        lk_sfu_text_free(p->sfu->env, &p->attributes[i].value);
    }
    lk_release(p->sfu->env, p->attributes, p->attribute_count * sizeof *p->attributes);
}

void lk_sfu_person_remove(lk_sfu_person *p, int reason, int action)
{
    lk_sfu *s = p->sfu;
    lk_sfu_room *r = p->room;
    bool known = p->state != LIVEKIT__PARTICIPANT_INFO__STATE__JOINING;
    if (action >= 0)
        lk_sfu_send_leave(p, reason, action);
    lk_sfu_close_conn(p, 1000);
    lk_sfu_calls_end(p);
    lk_sfu_speaker_gone(p);
    p->state = LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED;
    p->version++;
    forget_media(p);
    if (known) {
        Livekit__ParticipantInfo *info = lk_sfu_person_info(p, &s->out);
        if (info) {
            info->has_disconnect_reason = 1;
            info->disconnect_reason = (Livekit__DisconnectReason)reason;
        }
        tell_about(p, info, AUDIENCE_OTHERS);
        lk_arena_reset(&s->out);
    }
    if (known && !p->grants.hidden) {
        lk_sfu_gone gone = {.at = s->now, .reason = reason, .by_tcp = p->by_tcp};
        memcpy(gone.sid, p->sid, sizeof gone.sid);
        memcpy(gone.identity, p->identity, sizeof gone.identity);
        if (r->gone.count == SFU_GONE_MAX)
            (void)lk_queue_pop(&r->gone, NULL);
        if (lk_queue_push(&r->gone, &gone) != LK_OK)
            LK_LOG(s->env, LK_LOG_WARN, "sfu.gone.lost", LK_S("room", r->name)); /* a resume will not be told of it */
    }
    LK_LOG(s->env, LK_LOG_INFO, "sfu.participant.left", LK_S("room", r->name), LK_S("sid", p->sid), LK_I("reason", reason));
    lk_list_remove(&r->people, &p->link);
    r->visible -= !p->grants.hidden;
    s->stats.leaves++;
    lk_sfu_room_left(r);
    lk_sfu_text_free(s->env, &p->metadata);
    lk_sfu_buf_drop(s, p->held);
    free_attributes(p);
    lk_arena_deinit(&p->permission_arena);
    lk_release(s->env, p, sizeof *p);
}

/* ---- attributes and permissions -------------------------------------------------------------------------------------------- */

static size_t attribute_bytes(const lk_sfu_person *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->attribute_count; i++)
        n += strlen(p->attributes[i].key) + strlen(p->attributes[i].value);
    return n;
}

static size_t attribute_at(const lk_sfu_person *p, const char *key)
{
    size_t i = 0;
    while (i < p->attribute_count && strcmp(p->attributes[i].key, key) != 0)
        i++;
    return i;
}

static const char *or_empty(const char *z) { return z ? z : ""; }

lk_err lk_sfu_set_attribute(lk_sfu_person *p, const char *key, const char *value)
{
    const lk_env *env = p->sfu->env;
    size_t n = p->attribute_count, i = attribute_at(p, key);
    if (!*value) {
        if (i == n)
            return LK_OK;
        lk_sfu_attribute *smaller = n > 1 ? lk_alloc(env, (n - 1) * sizeof *smaller) : NULL;
        if (n > 1 && !smaller)
            return LK_ERR_NOMEM;
        lk_sfu_text_free(env, &p->attributes[i].key);
        lk_sfu_text_free(env, &p->attributes[i].value);
        p->attributes[i] = p->attributes[n - 1];
        if (smaller)
            memcpy(smaller, p->attributes, (n - 1) * sizeof *smaller);
        lk_release(env, p->attributes, n * sizeof *p->attributes);
        p->attributes = smaller;
        p->attribute_count = n - 1;
        return LK_OK;
    }
    if (i < n)
        return lk_sfu_text(env, &p->attributes[i].value, value);
    lk_sfu_attribute fresh = {0};
    lk_sfu_attribute *more = lk_alloc(env, (n + 1) * sizeof *more);
    if (!more || lk_sfu_text(env, &fresh.key, key) != LK_OK || lk_sfu_text(env, &fresh.value, value) != LK_OK) {
        lk_sfu_text_free(env, &fresh.key);
        lk_release(env, more, (n + 1) * sizeof *more);
        return LK_ERR_NOMEM;
    }
    if (n)
        memcpy(more, p->attributes, n * sizeof *more);
    more[n] = fresh;
    lk_release(env, p->attributes, n * sizeof *p->attributes);
    p->attributes = more;
    p->attribute_count = n + 1;
    return LK_OK;
}

lk_err lk_sfu_set_attributes(lk_sfu_person *p, Livekit__UpdateParticipantMetadata__AttributesEntry *const *entries, size_t count,
                             const char **why)
{
    size_t bytes = attribute_bytes(p);
    for (size_t i = 0; i < count && count <= SFU_ATTRIBUTES_MAX; i++) {
        const char *key = or_empty(entries[i]->key), *value = or_empty(entries[i]->value);
        size_t at = attribute_at(p, key);
        if (at < p->attribute_count)
            bytes = bytes - strlen(p->attributes[at].value) - (*value ? 0 : strlen(key)) + strlen(value);
        else if (*value)
            bytes += strlen(key) + strlen(value);
    }
    *why = "exceeds attributes size limit";
    if (bytes > p->sfu->config.limits.attributes_bytes || p->attribute_count + count > SFU_ATTRIBUTES_MAX)
        return LK_ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        lk_err err = lk_sfu_set_attribute(p, or_empty(entries[i]->key), or_empty(entries[i]->value));
        if (err != LK_OK)
            return err;
    }
    return LK_OK;
}

void lk_sfu_set_grants(lk_sfu_person *p, const lk_sfu_grants *grants)
{
    lk_sfu_room *r = p->room;
    bool hid = p->grants.hidden;
    p->grants = *grants;
    r->visible += (uint32_t)(hid && !grants->hidden);
    r->visible -= (uint32_t)(!hid && grants->hidden);
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        if (!lk_sfu_may_publish(p, t->info->source))
            lk_sfu_track_remove(t, true);
    }
    if (!grants->can_publish_data) {
        lk_link *at;
        while ((at = lk_list_first(&p->data_tracks)))
            lk_sfu_data_track_remove(LK_CONTAINER(at, lk_sfu_data_track, link));
    }
    lk_sfu_subs_settle(p);
    lk_sfu_data_subs_settle(p);
    if (hid != grants->hidden)
        lk_sfu_room_changed(r, false);
}
