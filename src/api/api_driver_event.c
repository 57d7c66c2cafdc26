// SPDX-License-Identifier: Apache-2.0
/* What the session of a room tells: public objects are brought up to date, events queued. */
#include "api/api_driver.h"

#include "livekit/stats.h"

/* The object of an id, made when it is new, its info brought up to date. Borrowed; NULL when refused. */
static lk_participant *see_participant(api_driver *d, uint64_t id, const lk_participant_info *info)
{
    if (!id)
        return NULL;
    lk_participant *p = lk_map_get(&d->participants, id);
    if (p) {
        if (info)
            api_set_participant_info(p, api_participant_info_new(info));
        return p;
    }
    p = info ? api_participant_new(d->room, id, info) : NULL;
    if (!p)
        return NULL;
    bool kept = api_map_put(&d->participants, id, p);
    if (kept) {
        pthread_mutex_lock(&d->room->lock);
        if (info->is_local) {
            api_unref(d->room->local);
            d->room->local = api_ref(p);
        } else {
            kept = api_list_add(&d->room->members, p);
        }
        pthread_mutex_unlock(&d->room->lock);
    }
    api_unref(p);
    return kept ? p : NULL;
}

static lk_publication *see_publication(api_driver *d, lk_participant *owner, uint64_t id,
                                       const lk_publication_info *info)
{
    if (!id)
        return NULL;
    lk_publication *p = lk_map_get(&d->publications, id);
    if (p) {
        if (info)
            api_set_publication_info(p, api_publication_info_new(info));
        return p;
    }
    if (info && info->is_local && !owner)
        owner = d->room->local;
    p = info ? api_publication_new(d->room, id, info) : NULL;
    if (!p)
        return NULL;
    bool kept = api_map_put(&d->publications, id, p);
    if (kept && owner) {
        pthread_mutex_lock(&owner->lock);
        kept = api_list_add(&owner->publications, p);
        pthread_mutex_unlock(&owner->lock);
    }
    api_unref(p);
    return kept ? p : NULL;
}

static lk_track *see_track(api_driver *d, uint64_t id, const lk_track_info *info)
{
    if (!id)
        return NULL;
    lk_track *t = lk_map_get(&d->tracks, id);
    if (t) {
        if (!info)
            return t;
        lk_track_info next = *info;
        const lk_track_info *old = api_track_info(t);
        next.is_local = t->is_local;
        next.enabled = old->enabled; /* ours alone: the session does not know it */
        lk_info_unref(old);
        api_set_track_info(t, api_track_info_new(&next));
        return t;
    }
    t = info ? api_track_new_remote(d->room, id, info) : NULL;
    if (!t)
        return NULL;
    bool kept = api_map_put(&d->tracks, id, t);
    api_unref(t);
    return kept ? t : NULL;
}

static void bind_track(lk_publication *p, lk_track *t)
{
    pthread_mutex_lock(&p->lock);
    lk_track *old = p->track;
    p->track = api_ref(t);
    pthread_mutex_unlock(&p->lock);
    api_unref(old);
}

static void fill_member(api_driver *d, api_box *box, lk_event_member *to, const lk_session_member *from)
{
    lk_participant *p = see_participant(d, from->id, from->info);
    if (!p)
        return;
    to->participant = api_ref(p);
    to->info = api_participant_info(p);
    lk_event_publication *list =
        api_box_alloc(box, from->publication_count * sizeof *list);
    if (!list)
        return;
    to->publications = list;
    for (size_t i = 0; i < from->publication_count; i++) {
        lk_publication *pub =
            see_publication(d, p, from->publications[i].id, from->publications[i].info);
        if (!pub)
            continue;
        list[to->publication_count].publication = api_ref(pub);
        list[to->publication_count++].info = api_publication_info(pub);
    }
}

static const lk_stats *copy_stats(api_box *box, const lk_stats *from, size_t count, size_t *out_count)
{
    lk_stats *to = api_box_alloc(box, count * sizeof *to);
    if (!to)
        return NULL;
    memcpy(to, from, count * sizeof *to);
    *out_count = count;
    return to;
}

static lk_event_type type_of(lk_session_event_kind kind)
{
    switch (kind) {
#define SAME(x)           \
    case LK_SESSION_##x:  \
        return LK_EVENT_##x;
        SAME(OP_DONE)
        SAME(CONNECTION_STATE)
        SAME(RECONNECTING)
        SAME(RECONNECTED)
        SAME(DISCONNECTED)
    case LK_SESSION_CLOSED:
        return LK_EVENT_ROOM_CLOSED;
        SAME(ROOM_SID)
        SAME(ROOM_METADATA)
        SAME(ROOM_UPDATED)
        SAME(TOKEN_REFRESHED)
        SAME(PARTICIPANT_CONNECTED)
        SAME(PARTICIPANT_ACTIVE)
        SAME(PARTICIPANT_DISCONNECTED)
        SAME(PARTICIPANT_METADATA)
        SAME(PARTICIPANT_NAME)
        SAME(PARTICIPANT_ATTRIBUTES)
        SAME(PARTICIPANT_PERMISSION)
        SAME(PARTICIPANT_ENCRYPTION)
        SAME(PARTICIPANTS_UPDATED)
        SAME(ACTIVE_SPEAKERS)
        SAME(CONNECTION_QUALITY)
        SAME(LOCAL_TRACK_PUBLISHED)
        SAME(LOCAL_TRACK_UNPUBLISHED)
        SAME(LOCAL_TRACK_SUBSCRIBED)
        SAME(LOCAL_TRACK_REPUBLISHED)
        SAME(TRACK_PUBLISHED)
        SAME(TRACK_UNPUBLISHED)
        SAME(TRACK_SUBSCRIBED)
        SAME(TRACK_UNSUBSCRIBED)
        SAME(TRACK_SUBSCRIPTION_FAILED)
        SAME(TRACK_MUTED)
        SAME(TRACK_UNMUTED)
        SAME(DATA)
        SAME(DTMF)
        SAME(DATA_THRESHOLD)
#undef SAME
    default:
        return 0; /* for the getters only */
    }
}

void api_driver_add_sink(api_driver *d, api_stream *s, uint64_t track, lk_usec now)
{
    static uint64_t last_sink; /* loop threads of several runtimes never share a session */
    const lk_session_sink sink = {__atomic_add_fetch(&last_sink, 1, __ATOMIC_RELAXED), s->audio.sample_rate,
                                  s->audio.num_channels, s->audio.frame_size_msec};
    if (!api_map_put(&d->sinks, sink.sink, s))
        return;
    lk_err err = s->kind == LK_MEDIA_KIND_VIDEO
                     ? lk_session_add_video_sink(d->session, now, track, sink.sink, s->video.format)
                     : lk_session_add_sink(d->session, now, track, &sink);
    if (err != LK_OK) {
        api_map_drop(&d->sinks, sink.sink);
        return;
    }
    s->sink = sink.sink;
    s->sink_track = track;
}

bool api_driver_follows(const api_stream *s, const lk_participant *p, const lk_publication *pub)
{
    if (s->participant != p || !pub || s->sink)
        return false;
    const lk_publication_info *info = api_publication_info(pub);
    bool same = info->source == s->source_kind && info->kind == s->kind;
    lk_info_unref(info);
    return same;
}

/* What an event changes here before it is told. */
static void before(api_driver *d, const lk_session_event *e, lk_participant *p, lk_publication *pub,
                   lk_track *t, lk_usec now)
{
    switch (e->kind) {
    case LK_SESSION_TRACK_SUBSCRIBED:
        if (pub && t)
            bind_track(pub, t);
        LK_LIST_EACH(&d->shell->streams, it) {
            api_stream *s = LK_CONTAINER(it, api_stream, link);
            if (api_driver_follows(s, p, pub))
                api_driver_add_sink(d, s, e->track_id, now);
        }
        break;
    case LK_SESSION_LOCAL_TRACK_PUBLISHED:
        if (pub && t)
            bind_track(pub, t);
        break;
    case LK_SESSION_LOCAL_TRACK_REPUBLISHED:
        if (t && t->source) /* nobody heard it meanwhile, so its clock stood */
            api_shell_wake_source(d->shell, t->source, now);
        break;
    case LK_SESSION_PARTICIPANT_DISCONNECTED:
        LK_LIST_EACH(&d->shell->streams, it) {
            api_stream *s = LK_CONTAINER(it, api_stream, link);
            if (p && s->participant == p)
                api_stream_end(s, false);
        }
        break;
    default:
        break;
    }
}

void api_driver_unpublish_local(api_driver *d, lk_track *t)
{
    pthread_mutex_lock(&t->lock);
    t->published = false;
    lk_room *room = t->room;
    t->room = NULL;
    pthread_mutex_unlock(&t->lock);
    api_unref(room);
    if (t->is_local)
        api_audience_remove_track(api_audience_of(t), d, t->id);
}

static void remove_publication(api_driver *d, lk_participant *owner, lk_publication *pub)
{
    if (owner) {
        pthread_mutex_lock(&owner->lock);
        api_list_remove(&owner->publications, pub);
        pthread_mutex_unlock(&owner->lock);
    }
    api_map_drop(&d->publications, pub->id);
}

/* ... and after it was told. */
static void after(api_driver *d, const lk_session_event *e, lk_participant *p, lk_publication *pub,
                  lk_track *t)
{
    switch (e->kind) {
    case LK_SESSION_TRACK_UNSUBSCRIBED:
        if (pub)
            bind_track(pub, NULL);
        api_map_drop(&d->tracks, e->track_id);
        break;
    case LK_SESSION_TRACK_UNPUBLISHED:
        if (pub)
            remove_publication(d, p, pub);
        break;
    case LK_SESSION_LOCAL_TRACK_UNPUBLISHED:
        if (t)
            api_driver_unpublish_local(d, t);
        if (pub) {
            bind_track(pub, NULL);
            remove_publication(d, d->room->local, pub);
        }
        api_map_drop(&d->tracks, e->track_id);
        break;
    case LK_SESSION_PARTICIPANT_DISCONNECTED:
        if (p) {
            pthread_mutex_lock(&d->room->lock);
            api_list_remove(&d->room->members, p);
            pthread_mutex_unlock(&d->room->lock);
            api_map_drop(&d->participants, e->participant_id);
        }
        break;
    default:
        break;
    }
}

void api_driver_set_phase(lk_room *room, api_room_phase phase)
{
    pthread_mutex_lock(&room->lock);
    room->phase = phase;
    pthread_mutex_unlock(&room->lock);
}

/* The connect came to its end: the room is in, or as if nothing had been. */
static void on_connect_done(api_driver *d, bool ok, lk_usec now)
{
    d->connect_op = 0;
    if (!ok) {
        d->closed = true;
        api_driver_clear_room(d);
        return;
    }
    d->connected = true;
    api_driver_set_phase(d->room, API_ROOM_CONNECTED);
    if (d->room->options.hold_events && d->room->options.hold_timeout_msec)
        d->hold_until = now + LK_MSEC(d->room->options.hold_timeout_msec);
}

/* The end of a publish names its track only when it succeeded; the operation always knows it. */
static void on_publish_done(api_driver *d, const lk_session_event *e, lk_publication *pub)
{
    lk_op_kind kind;
    lk_track *t;
    if (!api_op_find(d->shell->rt, e->op, &kind, &t))
        return;
    if (kind == LK_OP_PUBLISH && t && e->error.code == LK_OK) {
        pthread_mutex_lock(&t->lock);
        t->published = true;
        pthread_mutex_unlock(&t->lock);
        if (pub)
            bind_track(pub, t);
    } else if (kind == LK_OP_PUBLISH && t) {
        api_driver_unpublish_local(d, t);
        api_map_drop(&d->tracks, t->id);
    }
    api_unref(t);
}

static void set_room_info(api_driver *d, const lk_session_event *e)
{
    if (e->room_info)
        api_set_room_info(d->room, api_room_info_new(e->room_info));
}

static void set_state(api_driver *d, lk_connection_state state)
{
    const lk_room_info *old = api_room_info(d->room);
    lk_room_info next = *old;
    next.state = state;
    api_set_room_info(d->room, api_room_info_new(&next));
    lk_info_unref(old);
}

static void on_frame(api_driver *d, const lk_session_event *e)
{
    api_stream *s = lk_map_get(&d->sinks, e->sink);
    if (s)
        api_stream_put(s, e->picture ? (void *)e->picture : (void *)e->frame);
    else if (e->picture)
        lk_video_frame_drop((lk_video_frame *)e->picture);
    else
        lk_audio_frame_drop(api_frame_of(e->frame));
}

static void on_sink_end(api_driver *d, const lk_session_event *e)
{
    api_stream *s = lk_map_get(&d->sinks, e->sink);
    if (s && s->sink == e->sink)
        s->sink = s->sink_track = 0;
    api_map_drop(&d->sinks, e->sink);
}

static void put_box(api_driver *d, api_box *box, const lk_session_event *e, lk_participant *p,
                    lk_publication *pub, lk_track *t)
{
    lk_event *ev = &box->ev;
    ev->error = e->error;
    ev->room = api_ref(d->room);
    ev->participant = api_ref(p);
    ev->publication = api_ref(pub);
    ev->track = api_ref(t);
    if (p)
        ev->participant_info = api_participant_info(p);
    if (pub)
        ev->publication_info = api_publication_info(pub);
    if (t)
        ev->track_info = api_track_info(t);
    if (e->room_info)
        ev->room_info = api_room_info(d->room);
    lk_event_member *members = api_box_alloc(box, e->member_count * sizeof *members);
    ev->members = members;
    for (size_t i = 0; members && i < e->member_count; i++) {
        fill_member(d, box, &members[ev->member_count], &e->members[i]);
        if (members[ev->member_count].participant)
            ev->member_count++;
    }
    lk_attribute *attributes = api_box_alloc(box, e->attribute_count * sizeof *attributes);
    ev->attributes = attributes;
    for (size_t i = 0; attributes && i < e->attribute_count; i++) {
        attributes[i].key = api_box_text(box, e->attributes[i].key);
        attributes[i].value = api_box_text(box, e->attributes[i].value);
        ev->attribute_count++;
    }
    ev->stats = copy_stats(box, e->stats, e->stats_count, &ev->stats_count);
    ev->subscriber_stats =
        copy_stats(box, e->subscriber_stats, e->subscriber_stats_count, &ev->subscriber_stats_count);
    ev->text = api_box_text(box, e->text);
    ev->state = e->state;
    ev->quality = e->quality;
    ev->reason = e->reason;
    ev->flag = e->flag;
    if (e->kind == LK_SESSION_DATA || e->kind == LK_SESSION_DATA_THRESHOLD) {
        ev->reliable = e->flag;
        ev->flag = e->has_topic;
    }
    ev->user_value = e->number;
    uint8_t *data = api_box_alloc(box, e->data.len);
    if (data) {
        memcpy(data, e->data.data, e->data.len);
        ev->data = data;
        ev->data_len = e->data.len;
    }
}

void api_driver_clear_room(api_driver *d)
{
    lk_room *room = d->room;
    pthread_mutex_lock(&room->lock);
    api_list members = room->members;
    lk_participant *local = room->local;
    room->members = (api_list){NULL, 0, 0};
    room->local = NULL;
    room->phase = API_ROOM_IDLE;
    pthread_mutex_unlock(&room->lock);
    api_list_clear(&members);
    api_unref(local);
}

void api_driver_handle(api_driver *d, const lk_session_event *e, lk_usec now)
{
    if (e->kind == LK_SESSION_AUDIO_FRAME || e->kind == LK_SESSION_VIDEO_FRAME) {
        on_frame(d, e);
        return;
    }
    if (e->kind == LK_SESSION_SINK_END) {
        on_sink_end(d, e);
        return;
    }
    set_room_info(d, e);
    if (e->kind == LK_SESSION_CONNECTION_STATE)
        set_state(d, e->state);
    lk_participant *p = see_participant(d, e->participant_id, e->participant);
    lk_publication *pub = see_publication(d, p, e->publication_id, e->publication);
    lk_track *t = see_track(d, e->track_id, e->track);
    bool is_connect = e->kind == LK_SESSION_OP_DONE && e->op == d->connect_op;
    lk_event_type type = type_of(e->kind);
    lk_runtime *rt = d->shell->rt;
    before(d, e, p, pub, t, now);
    if (e->kind == LK_SESSION_OP_DONE && !is_connect)
        on_publish_done(d, e, pub);
    if (is_connect)
        on_connect_done(d, e->error.code == LK_OK, now);
    if (e->kind == LK_SESSION_CLOSED) {
        d->closed = true;
        set_state(d, LK_CONNECTION_STATE_DISCONNECTED);
        api_driver_clear_room(d);
    }
    if (type) {
        api_box *box = api_box_new(rt, type);
        if (box)
            put_box(d, box, e, p, pub, t);
        if (type == LK_EVENT_OP_DONE) {
            /* The gate lets answers pass. It falls before that of the connect is told, for whoever hears that may open
             * it at once. */
            if (is_connect && d->connected && d->room->options.hold_events)
                api_gate(d->room, true);
            const lk_error none = api_error(LK_ERR_NOMEM, NULL);
            (void)api_op_end(rt, e->op, box || e->error.code != LK_OK ? &e->error : &none, box);
        } else if (box) {
            api_push(box);
        }
    }
    after(d, e, p, pub, t);
}
