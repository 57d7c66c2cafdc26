// SPDX-License-Identifier: Apache-2.0
/* One room on the loop: its session, the sockets the session asks for, and the translation of its events. */
#include <stdlib.h>

#include "api/api_shell.h"
#include "livekit/stats.h"
#include "ws/url.h"

typedef struct driver_stream {
    api_driver *driver;
    lk_tcp *tcp;
    uint32_t id;
} driver_stream;

typedef struct driver_socket {
    lk_udp *udp;
    lk_addr bound;
} driver_socket;

/* A name the session asked for. */
typedef struct driver_lookup {
    api_driver *driver;
    lk_lookup *lookup; /* NULL: free */
    uint32_t question;
} driver_lookup;

struct api_driver {
    lk_link link; /* in shell->drivers */
    api_shell *shell;
    lk_room *room; /* counted */
    lk_session *session;
    lk_timer timer;
    lk_map participants, publications, tracks, sinks; /* id -> counted object */
    lk_map streams;                                   /* id -> driver_stream* */
    driver_socket sockets[LK_API_SOCKETS_MAX];
    size_t socket_count;
    driver_lookup lookups[LK_API_LOOKUPS_MAX];
    lk_op connect_op;
    lk_usec hold_until;
    bool connected; /* the connect succeeded */
    bool closed;    /* the session has ended */
    bool pumping;
    bool killed;    /* nothing but its last jobs is waited for */
    bool released;  /* the room is no longer its room: over, or connected anew */
};

static void pump(api_driver *d, lk_usec now);
static void destroy(api_driver *d);
static void clear_room(api_driver *d);

api_driver *api_driver_of(lk_link *link) { return LK_CONTAINER(link, api_driver, link); }

/* ---- maps of objects ----------------------------------------------------------------------------------------- */

static bool map_put(lk_map *m, uint64_t id, void *object)
{
    void *old = lk_map_get(m, id);
    if (old == object)
        return true;
    if (lk_map_put(m, id, object) != LK_OK)
        return false;
    api_ref(object);
    api_unref(old);
    return true;
}

static void map_drop(lk_map *m, uint64_t id) { api_unref(lk_map_take(m, id)); }

static void map_clear(lk_map *m)
{
    uint64_t key;
    void *value;
    for (size_t at = 0; lk_map_next(m, &at, &key, &value);)
        api_unref(value);
    lk_map_deinit(m);
}

/* ---- effects --------------------------------------------------------------------------------------------------- */

static void on_opened(void *ctx, lk_usec now)
{
    driver_stream *s = ctx;
    lk_session_stream_opened(s->driver->session, now, s->id);
    pump(s->driver, now);
}

static void on_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    driver_stream *s = ctx;
    lk_session_stream_data(s->driver->session, now, s->id, (lk_bytes){data, len});
    pump(s->driver, now);
}

static void stream_gone(api_driver *d, uint32_t id)
{
    driver_stream *s = lk_map_take(&d->streams, id);
    if (!s)
        return;
    lk_tcp_close(s->tcp);
    api_release(s, sizeof *s);
}

static void on_ended(void *ctx, lk_usec now, const lk_error *why)
{
    driver_stream *s = ctx;
    api_driver *d = s->driver;
    uint32_t id = s->id;
    lk_error copy = why ? *why : (lk_error){0};
    stream_gone(d, id); /* it has ended, its memory goes with the close */
    lk_session_stream_closed(d->session, now, id, why ? &copy : NULL);
    pump(d, now);
}

static void dial(api_driver *d, const lk_session_io *io, lk_usec now)
{
    lk_error why = api_error(LK_ERR_NOMEM, NULL);
    driver_stream *s = api_alloc0(sizeof *s);
    if (s) {
        *s = (driver_stream){.driver = d, .id = io->stream};
        why = api_error(lk_map_put(&d->streams, io->stream, s), NULL);
        if (why.code != LK_OK)
            api_release(s, sizeof *s);
    }
    if (why.code == LK_OK) {
        const lk_tcp_callbacks callbacks = {s, on_opened, on_data, on_ended};
        why = api_error(lk_tcp_dial(&s->tcp, d->shell->loop, io->host, io->port, &callbacks), NULL);
        if (why.code != LK_OK)
            stream_gone(d, io->stream);
    }
    if (why.code != LK_OK)
        lk_session_stream_closed(d->session, now, io->stream, &why);
}

static void on_datagram(void *ctx, lk_usec now, const lk_datagram *datagram)
{
    api_driver *d = ctx;
    lk_session_input(d->session, now, datagram);
    pump(d, now);
}

static void udp_close(api_driver *d)
{
    for (size_t i = 0; i < d->socket_count; i++)
        lk_udp_close(d->sockets[i].udp);
    d->socket_count = 0;
}

/* A socket per local address; loopback only if nothing else is there or the server is on it: the session sorts. */
static void udp_open(api_driver *d, lk_usec now, unsigned sockets)
{
    lk_addr addresses[LK_API_SOCKETS_MAX], bound[LK_API_SOCKETS_MAX];
    udp_close(d);
    size_t n = lk_net_addresses(addresses, LK_LEN(addresses), true);
    for (size_t i = 0; i < n && d->socket_count + sockets <= LK_API_SOCKETS_MAX; i++) {
        size_t first = d->socket_count;
        addresses[i].port = 0;
        for (unsigned k = 0; k < sockets; k++) {
            driver_socket *s = &d->sockets[d->socket_count];
            if (lk_udp_open(&s->udp, d->shell->loop, &addresses[i], on_datagram, NULL, d, &s->bound) != LK_OK)
                break;
            bound[d->socket_count++] = s->bound;
        }
        if (d->socket_count - first < sockets) /* all of an address or none */
            while (d->socket_count > first)
                lk_udp_close(d->sockets[--d->socket_count].udp);
    }
    lk_session_addresses(d->session, now, bound, d->socket_count);
}

static void udp_send(api_driver *d, const lk_datagram *datagram)
{
    for (size_t i = 0; i < d->socket_count; i++) {
        if (!lk_addr_eq(&d->sockets[i].bound, &datagram->local))
            continue;
        lk_udp_send(d->sockets[i].udp, &datagram->remote, datagram->data, datagram->len);
        return;
    }
}

static void on_resolved(void *ctx, lk_usec now, const lk_addr *addresses, size_t count)
{
    driver_lookup *l = ctx;
    l->lookup = NULL;
    lk_session_resolved(l->driver->session, now, l->question, addresses, count);
    pump(l->driver, now);
}

/* Without a free place the name stays unknown, as with a server that is not there. */
static void resolve(api_driver *d, const lk_session_io *io)
{
    for (size_t i = 0; i < LK_LEN(d->lookups); i++) {
        driver_lookup *l = &d->lookups[i];
        if (l->lookup)
            continue;
        l->driver = d;
        l->question = io->stream;
        if (lk_lookup_start(&l->lookup, d->shell->loop, io->host, io->port, on_resolved, l) != LK_OK)
            l->lookup = NULL;
        return;
    }
}

static void on_job_done(lk_job *job, lk_usec now)
{
    api_driver *d = job->carrier;
    lk_session_job_done(d->session, now, job);
    if (d->killed) {
        if (lk_session_jobs_out(d->session) == 0)
            destroy(d);
        return;
    }
    pump(d, now);
}

static void run_job(api_driver *d, lk_job *job, lk_usec now)
{
    job->carrier = d;
    if (lk_loop_submit(d->shell->loop, job, on_job_done) == LK_OK)
        return;
    job->run(job); /* no worker to be had: late audio is better than none */
    lk_session_job_done(d->session, now, job);
}

static void do_io(api_driver *d, const lk_session_io *io, lk_usec now)
{
    switch (io->kind) {
    case LK_SESSION_IO_DIAL:
        dial(d, io, now);
        break;
    case LK_SESSION_IO_RESOLVE:
        resolve(d, io);
        break;
    case LK_SESSION_IO_STREAM_WRITE: {
        driver_stream *s = lk_map_get(&d->streams, io->stream);
        if (s && lk_tcp_write(s->tcp, io->bytes.data, io->bytes.len) == LK_ERR_FULL) {
            lk_error why = api_error(LK_ERR_NETWORK, "the server does not read");
            stream_gone(d, io->stream);
            lk_session_stream_closed(d->session, now, io->stream, &why);
        }
        break;
    }
    case LK_SESSION_IO_STREAM_CLOSE:
        stream_gone(d, io->stream);
        break;
    case LK_SESSION_IO_UDP_OPEN:
        udp_open(d, now, io->sockets);
        break;
    case LK_SESSION_IO_UDP_CLOSE:
        udp_close(d);
        break;
    case LK_SESSION_IO_UDP_SEND:
        udp_send(d, &io->datagram);
        break;
    case LK_SESSION_IO_JOB:
        run_job(d, io->job, now);
        break;
    }
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

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
    bool kept = map_put(&d->participants, id, p);
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
    bool kept = map_put(&d->publications, id, p);
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
    bool kept = map_put(&d->tracks, id, t);
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

static void add_sink(api_driver *d, api_stream *s, uint64_t track, lk_usec now)
{
    static uint64_t last_sink; /* loop threads of several runtimes never share a session */
    const lk_session_sink sink = {__atomic_add_fetch(&last_sink, 1, __ATOMIC_RELAXED), s->audio.sample_rate,
                                  s->audio.num_channels, s->audio.frame_size_msec};
    if (!map_put(&d->sinks, sink.sink, s))
        return;
    lk_err err = s->kind == LK_MEDIA_KIND_VIDEO
                     ? lk_session_add_video_sink(d->session, now, track, sink.sink, s->video.format)
                     : lk_session_add_sink(d->session, now, track, &sink);
    if (err != LK_OK) {
        map_drop(&d->sinks, sink.sink);
        return;
    }
    s->sink = sink.sink;
    s->sink_track = track;
}

static bool follows(const api_stream *s, const lk_participant *p, const lk_publication *pub)
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
            if (follows(s, p, pub))
                add_sink(d, s, e->track_id, now);
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

static void unpublish_local(api_driver *d, lk_track *t)
{
    pthread_mutex_lock(&t->lock);
    t->published = false;
    lk_room *room = t->room;
    t->room = NULL;
    pthread_mutex_unlock(&t->lock);
    api_unref(room);
    if (t->source)
        api_source_remove_track(t->source, d, t->id);
    if (t->video)
        api_video_source_remove_track(t->video, d, t->id);
}

static void remove_publication(api_driver *d, lk_participant *owner, lk_publication *pub)
{
    if (owner) {
        pthread_mutex_lock(&owner->lock);
        api_list_remove(&owner->publications, pub);
        pthread_mutex_unlock(&owner->lock);
    }
    map_drop(&d->publications, pub->id);
}

/* ... and after it was told. */
static void after(api_driver *d, const lk_session_event *e, lk_participant *p, lk_publication *pub,
                  lk_track *t)
{
    switch (e->kind) {
    case LK_SESSION_TRACK_UNSUBSCRIBED:
        if (pub)
            bind_track(pub, NULL);
        map_drop(&d->tracks, e->track_id);
        break;
    case LK_SESSION_TRACK_UNPUBLISHED:
        if (pub)
            remove_publication(d, p, pub);
        break;
    case LK_SESSION_LOCAL_TRACK_UNPUBLISHED:
        if (t)
            unpublish_local(d, t);
        if (pub) {
            bind_track(pub, NULL);
            remove_publication(d, d->room->local, pub);
        }
        map_drop(&d->tracks, e->track_id);
        break;
    case LK_SESSION_PARTICIPANT_DISCONNECTED:
        if (p) {
            pthread_mutex_lock(&d->room->lock);
            api_list_remove(&d->room->members, p);
            pthread_mutex_unlock(&d->room->lock);
            map_drop(&d->participants, e->participant_id);
        }
        break;
    default:
        break;
    }
}

static void set_phase(lk_room *room, api_room_phase phase)
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
        clear_room(d);
        return;
    }
    d->connected = true;
    set_phase(d->room, API_ROOM_CONNECTED);
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
        unpublish_local(d, t);
        map_drop(&d->tracks, t->id);
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
    map_drop(&d->sinks, e->sink);
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

/* A room that is over lets go of its members; the handles of the application stay readable. */
static void clear_room(api_driver *d)
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

static void handle(api_driver *d, const lk_session_event *e, lk_usec now)
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
        clear_room(d);
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

/* ---- the loop around the session ------------------------------------------------------------------------------------- */

/* What the room and its objects know of this driver. */
static void release(api_driver *d)
{
    uint64_t key;
    void *value;
    if (d->released)
        return;
    d->released = true;
    for (size_t at = 0; lk_map_next(&d->tracks, &at, &key, &value);)
        if (((lk_track *)value)->is_local)
            unpublish_local(d, value);
    for (size_t at = 0; lk_map_next(&d->sinks, &at, &key, &value);)
        ((api_stream *)value)->sink = 0;
    d->room->driver = NULL;
    api_gate(d->room, false);
}

static void end_operations(api_driver *d)
{
    lk_op ids[64];
    for (size_t n; (n = api_op_of(d->shell->rt, d->room, ids, LK_LEN(ids))) > 0;)
        for (size_t i = 0; i < n; i++) {
            lk_error why = api_error(LK_ERR_CLOSED, "the room is closed");
            (void)api_op_end(d->shell->rt, ids[i], &why, NULL);
        }
}

static void destroy(api_driver *d)
{
    api_shell *shell = d->shell;
    lk_room *room = d->room;
    uint64_t key;
    void *value;
    (void)!lk_timer_set(shell->loop, &d->timer, LK_NEVER);
    udp_close(d);
    for (size_t i = 0; i < LK_LEN(d->lookups); i++)
        lk_lookup_cancel(d->lookups[i].lookup);
    for (size_t at = 0; lk_map_next(&d->streams, &at, &key, &value);) {
        driver_stream *s = value;
        lk_tcp_close(s->tcp);
        api_release(s, sizeof *s);
    }
    lk_map_deinit(&d->streams);
    if (!d->closed) { /* not left politely: nothing was told yet */
        clear_room(d);
        end_operations(d);
    }
    release(d);
    lk_session_free(d->session);
    map_clear(&d->sinks);
    map_clear(&d->tracks);
    map_clear(&d->publications);
    map_clear(&d->participants);
    lk_list_remove(&shell->drivers, &d->link);
    api_release(d, sizeof *d);
    api_unref(room);
    api_shell_driver_gone(shell);
}

static bool overflowed(api_driver *d)
{
    pthread_mutex_lock(&d->shell->rt->lock);
    bool overflow = d->room->overflow;
    d->room->overflow = false;
    pthread_mutex_unlock(&d->shell->rt->lock);
    return overflow;
}

static void pump(api_driver *d, lk_usec now)
{
    if (d->pumping || d->killed)
        return;
    d->pumping = true;
    for (bool more = true; more;) {
        lk_session_io io;
        lk_session_event event;
        more = false;
        while (lk_session_poll_io(d->session, &io)) {
            more = true;
            do_io(d, &io, now);
        }
        while (lk_session_poll_event(d->session, &event)) {
            more = true;
            handle(d, &event, now);
        }
    }
    d->pumping = false;
    if (!d->closed && overflowed(d)) {
        LK_LOG(&d->shell->rt->env, LK_LOG_ERROR, "api.room.events_not_taken",
               LK_I("bytes", LK_API_ROOM_BYTES_MAX));
        api_driver_leave(d, now, 0, LK_DISCONNECT_STATE_MISMATCH);
    }
    lk_usec next = LK_MIN(lk_session_deadline(d->session), d->hold_until);
    if (d->closed && lk_session_jobs_out(d->session) == 0)
        next = now; /* ends on its own stack, not inside a callback of its sockets */
    (void)!lk_timer_set(d->shell->loop, &d->timer, next);
}

static void on_timer(lk_timer *timer, lk_usec now)
{
    api_driver *d = LK_CONTAINER(timer, api_driver, timer);
    if (d->closed && lk_session_jobs_out(d->session) == 0) {
        destroy(d);
        return;
    }
    if (d->hold_until <= now && !d->released) {
        d->hold_until = LK_NEVER;
        pthread_mutex_lock(&d->shell->rt->lock);
        bool held = d->room->gate_closed;
        d->room->gate_expired = held;
        pthread_mutex_unlock(&d->shell->rt->lock);
        if (held) {
            LK_LOG(&d->shell->rt->env, LK_LOG_ERROR, "api.room.events_not_released", LK_I("msec", d->room->options.hold_timeout_msec));
            api_gate(d->room, false);
            api_driver_leave(d, now, 0, LK_DISCONNECT_CONNECTION_TIMEOUT);
        }
    }
    lk_session_tick(d->session, now);
    pump(d, now);
}

void api_driver_kill(api_driver *d)
{
    /* Its jobs are still out: the last one that comes home buries it. The loop waits for its workers before it ends. */
    d->killed = true;
    if (lk_session_jobs_out(d->session) == 0)
        destroy(d);
}

/* ---- commands --------------------------------------------------------------------------------------------------------- */

/* Operations nobody waits for have ids of their own, far from those of api_op.c. */
static lk_op silent_op(void)
{
    static uint64_t last;
    return (1ull << 62) + __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

static lk_err open_session(api_driver *d, lk_usec now, const char *url, lk_error *why)
{
    lk_runtime *rt = d->shell->rt;
    const lk_room_options *o = &d->room->options;
    lk_session_ice_server servers[16];
    for (size_t i = 0; i < o->ice_server_count; i++)
        servers[i] = (lk_session_ice_server){o->ice_servers[i].urls, o->ice_servers[i].url_count,
                                             o->ice_servers[i].username, o->ice_servers[i].password};
    char sdk[64], version[64];
    pthread_mutex_lock(&rt->lock);
    memcpy(sdk, rt->sdk_name, sizeof sdk);
    memcpy(version, rt->sdk_version, sizeof version);
    pthread_mutex_unlock(&rt->lock);
    lk_url parsed;
    /* A bad URL is the session's to explain. */
    bool tls = lk_url_parse(&parsed, lk_str_of(url), why) == LK_OK && parsed.tls;
    lk_err err = LK_OK;
    if (!d->shell->dtls)
        err = lk_dtls_context_new(&d->shell->dtls, &rt->env);
    const char *ca_file = getenv("SSL_CERT_FILE");
    if (err == LK_OK && tls && !d->shell->tls)
        err = lk_tls_context_new(&d->shell->tls, &rt->env, ca_file && *ca_file ? ca_file : NULL);
    if (err != LK_OK) {
        *why = api_error(err, err == LK_ERR_TLS && ca_file ? "engine: signal failure: no certificate can be read from the file SSL_CERT_FILE names" : NULL);
        return err;
    }
    const lk_session_config config = {
        .sdk = sdk,
        .sdk_version = version,
        .os = "linux",
        .os_version = "",
        .device_model = "",
        .other_sdks = o->other_sdks,
        .auto_subscribe = o->auto_subscribe,
        .adaptive_stream = o->adaptive_stream,
        .dynacast = o->dynacast,
        .single_peer_connection = o->single_peer_connection,
        .join_retries = o->join_retries,
        .reconnect_tries = o->reconnect_tries,
        .connect_timeout_msec = o->connect_timeout_msec,
        .transport = (lk_session_transport)o->ice_transport,
        .ice_servers = servers,
        .ice_server_count = o->ice_server_count,
        .encryption = o->encryption,
        .https_proxy = lk_env_proxy("HTTPS_PROXY", "https_proxy"),
        .http_proxy = lk_env_proxy("HTTP_PROXY", "http_proxy"),
        .no_proxy = lk_env_proxy("NO_PROXY", "no_proxy"),
        .tls = d->shell->tls,
        .dtls = d->shell->dtls,
        .unix_usec = lk_clock_unix_usec(),
    };
    err = lk_session_new(&d->session, &rt->env, &config, now);
    *why = api_error(err, NULL);
    return err;
}

static api_driver *driver_new(api_shell *shell, lk_room *room)
{
    api_driver *d = api_alloc0(sizeof *d);
    if (!d)
        return NULL;
    d->shell = shell;
    d->room = api_ref(room);
    d->hold_until = LK_NEVER;
    lk_timer_init(&d->timer, on_timer);
    lk_map_init(&d->participants, api_env(), LK_SESSION_PARTICIPANTS_MAX * 2);
    lk_map_init(&d->publications, api_env(), 1u << 16);
    lk_map_init(&d->tracks, api_env(), 1u << 16);
    lk_map_init(&d->sinks, api_env(), LK_SESSION_SINKS_MAX * 2);
    lk_map_init(&d->streams, api_env(), 64);
    lk_list_push(&shell->drivers, &d->link);
    return d;
}

static void connect_room(api_shell *shell, api_cmd *cmd, lk_usec now)
{
    lk_room *room = cmd->room;
    lk_error why = api_error(LK_ERR_NOMEM, NULL);
    api_driver *d = NULL;
    if (room->driver && room->driver->closed)
        release(room->driver); /* over, and about to be buried */
    if (shell->stopping)
        why = api_error(LK_ERR_CLOSED, "the runtime is being stopped");
    else if (room->driver)
        why = api_error(LK_ERR_STATE, "the room is connected");
    else
        d = driver_new(shell, room);
    if (d) {
        pthread_mutex_lock(&shell->rt->lock);
        room->gate_expired = false;
        pthread_mutex_unlock(&shell->rt->lock);
        if (open_session(d, now, cmd->text, &why) == LK_OK) {
            room->driver = d;
            d->connect_op = cmd->op;
            why = api_error(lk_session_connect(d->session, now, cmd->op, cmd->text, cmd->text2), NULL);
            if (why.code == LK_OK) {
                pump(d, now);
                return;
            }
        }
    }
    set_phase(room, API_ROOM_IDLE);
    (void)api_op_end(shell->rt, cmd->op, &why, NULL);
    if (d) {
        d->connect_op = 0;
        d->closed = true; /* what else waits for this room is answered by its own command */
        destroy(d);
    }
}

void api_driver_leave(api_driver *d, lk_usec now, lk_op op, lk_disconnect_reason reason)
{
    /* What listens to a track of this room hears its end before the room does. */
    LK_LIST_EACH(&d->shell->streams, it) {
        api_stream *s = LK_CONTAINER(it, api_stream, link);
        if (s->track && !s->track->is_local && s->track->room == d->room)
            api_stream_end(s, false);
    }
    if (lk_session_disconnect(d->session, now, op ? op : silent_op(), reason) != LK_OK && op) {
        lk_error none = {.code = LK_OK};
        (void)api_op_end(d->shell->rt, op, &none, NULL);
    }
    pump(d, now);
}

bool api_driver_cancel(api_driver *d, lk_usec now, lk_op op, lk_err why)
{
    bool known = lk_session_cancel(d->session, now, op, why) == LK_OK;
    if (known)
        pump(d, now);
    return known;
}

void api_driver_attach(api_driver *d, api_stream *s, lk_usec now)
{
    if (s->track) {
        if (lk_map_get(&d->tracks, s->track->id) == s->track)
            add_sink(d, s, s->track->id, now);
    } else {
        lk_publication *pub;
        lk_participant *p = s->participant;
        if (lk_map_get(&d->participants, p->id) != p) {
            api_stream_end(s, false);
            return;
        }
        pthread_mutex_lock(&p->lock);
        for (size_t i = 0; i < p->publications.count && !s->sink; i++) {
            pub = p->publications.items[i];
            uint64_t track = pub->track ? pub->track->id : 0;
            if (track && follows(s, p, pub))
                add_sink(d, s, track, now);
        }
        pthread_mutex_unlock(&p->lock);
    }
    pump(d, now);
}

void api_driver_detach(api_driver *d, api_stream *s, lk_usec now)
{
    if (!s->sink)
        return;
    uint64_t sink = s->sink;
    s->sink = s->sink_track = 0;
    (void)!lk_session_remove_sink(d->session, now, sink);
    pump(d, now);
}

void api_driver_push_audio(api_driver *d, lk_usec now, uint64_t track, struct lk_frame *frame)
{
    lk_session_push_audio(d->session, now, track, frame);
    pump(d, now);
}

void api_driver_push_video(api_driver *d, lk_usec now, uint64_t track, struct lk_picture *picture)
{
    lk_session_push_video(d->session, now, track, picture);
    pump(d, now);
}

bool api_driver_wants_media(const api_driver *d, uint64_t track)
{
    return lk_session_wants_media(d->session, track);
}

static lk_err publish(api_driver *d, api_cmd *cmd, lk_usec now, lk_error *why)
{
    lk_track *t = cmd->track;
    pthread_mutex_lock(&t->lock);
    bool taken = t->room != NULL;
    pthread_mutex_unlock(&t->lock);
    if (taken) {
        *why = api_error(LK_ERR_STATE, "the track is already published");
        return LK_ERR_STATE;
    }
    const lk_track_info *info = api_track_info(t);
    const lk_publish_options *o = &cmd->publish;
    lk_session_publish p = {.track = t->id,
                            .name = info->name,
                            .source = o->source,
                            .muted = info->muted,
                            .dtx = o->dtx,
                            .red = o->red,
                            .preconnect_buffer = o->preconnect_buffer,
                            .max_bitrate_bps = o->max_bitrate_bps,
                            .max_framerate = o->max_framerate,
                            .codec = o->video_codec && o->video_codec[0] ? o->video_codec : NULL,
                            .stream = o->stream};
    lk_err err;
    if (t->video) {
        api_video_source_size(t->video, &p.width, &p.height);
        err = api_video_source_add_track(t->video, d, t->id) ? LK_OK : LK_ERR_LIMIT;
    } else {
        p.sample_rate = t->source->options.sample_rate;
        p.channels = t->source->options.num_channels;
        err = api_source_add_track(t->source, d, t->id) ? LK_OK : LK_ERR_LIMIT;
    }
    if (err == LK_OK && !map_put(&d->tracks, t->id, t))
        err = LK_ERR_NOMEM;
    if (err == LK_OK)
        err = t->video ? lk_session_publish_video(d->session, now, cmd->op, &p)
                       : lk_session_publish_audio(d->session, now, cmd->op, &p);
    lk_info_unref(info);
    if (err != LK_OK) {
        map_drop(&d->tracks, t->id);
        if (t->video)
            api_video_source_remove_track(t->video, d, t->id);
        else
            api_source_remove_track(t->source, d, t->id);
        if (err == LK_ERR_UNSUPPORTED)
            *why = api_error(err, "publish: video_codec: not built, VP8 is");
        return err;
    }
    pthread_mutex_lock(&t->lock);
    t->room = api_ref(d->room);
    pthread_mutex_unlock(&t->lock);
    if (t->source)
        api_shell_wake_source(d->shell, t->source, now);
    return LK_OK;
}

static lk_err permissions(api_driver *d, const api_cmd *cmd, lk_usec now)
{
    lk_session_permission *list =
        cmd->count ? lk_arena_alloc((lk_arena *)(uintptr_t)&cmd->arena, cmd->count * sizeof *list) : NULL;
    if (cmd->count && !list)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < cmd->count; i++)
        list[i] = (lk_session_permission){cmd->permissions[i].identity, cmd->permissions[i].allow_all,
                                          cmd->permissions[i].track_sids,
                                          cmd->permissions[i].track_sid_count};
    return lk_session_set_track_permissions(d->session, now, cmd->flag, list, cmd->count);
}

static lk_err run_in_session(api_driver *d, api_cmd *cmd, lk_usec now, lk_error *why)
{
    lk_session *s = d->session;
    switch (cmd->kind) {
    case API_CMD_PUBLISH:
        return publish(d, cmd, now, why);
    case API_CMD_UNPUBLISH:
        return lk_session_unpublish(s, now, cmd->op, cmd->text);
    case API_CMD_METADATA:
        return lk_session_set_metadata(s, now, cmd->op, cmd->text);
    case API_CMD_NAME:
        return lk_session_set_name(s, now, cmd->op, cmd->text);
    case API_CMD_ATTRIBUTES:
        return lk_session_set_attributes(s, now, cmd->op, cmd->attributes, cmd->count);
    case API_CMD_PERMISSIONS:
        return permissions(d, cmd, now);
    case API_CMD_ROOM_STATS:
        return lk_session_get_stats(s, now, cmd->op);
    case API_CMD_TRACK_STATS:
        return lk_session_get_track_stats(s, now, cmd->op, cmd->track->id);
    case API_CMD_DATA: {
        const lk_data_options *o = &cmd->data_options;
        const lk_session_data data = {{cmd->data, cmd->count}, o->reliable, o->topic, o->identities, o->identity_count};
        return lk_session_publish_data(s, now, cmd->op, &data, why);
    }
    case API_CMD_THRESHOLD:
        return lk_session_set_data_threshold(s, now, cmd->flag, (uint64_t)cmd->number);
    case API_CMD_MUTED:
        return lk_session_set_muted(s, now, cmd->track->id, cmd->flag);
    case API_CMD_SUBSCRIBED:
        return lk_session_set_subscribed(s, now, cmd->publication->id, cmd->flag);
    case API_CMD_ENABLED:
        return lk_session_set_enabled(s, now, cmd->publication->id, cmd->flag);
    case API_CMD_QUALITY:
        return lk_session_set_quality(s, now, cmd->publication->id, (lk_video_quality)cmd->number);
    case API_CMD_DIMENSIONS:
        return lk_session_set_dimensions(s, now, cmd->publication->id, (uint32_t)cmd->number, (uint32_t)cmd->count);
    default:
        return LK_ERR_INTERNAL;
    }
}

void api_driver_run(api_shell *shell, api_cmd *cmd, lk_usec now)
{
    api_driver *d = cmd->room->driver;
    lk_error why = {.code = LK_OK};
    if (cmd->kind == API_CMD_CONNECT) {
        connect_room(shell, cmd, now);
        return;
    }
    if (cmd->kind == API_CMD_DISCONNECT) {
        if (d)
            api_driver_leave(d, now, cmd->op, (lk_disconnect_reason)cmd->number);
        else if (cmd->op)
            (void)api_op_end(shell->rt, cmd->op, &why, NULL);
        return;
    }
    lk_err err = d ? run_in_session(d, cmd, now, &why) : LK_ERR_CLOSED;
    if (err != LK_OK && cmd->op) {
        if (why.code == LK_OK)
            why = api_error(err, d ? NULL : "the room is closed");
        (void)api_op_end(shell->rt, cmd->op, &why, NULL);
    }
    if (d)
        pump(d, now);
}
