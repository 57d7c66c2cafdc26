// SPDX-License-Identifier: Apache-2.0
/* One room on the loop: the life of its driver, the loop around its session, and commands. */
#include "api/api_driver.h"

#include <stdlib.h>

api_driver *api_driver_of(lk_link *link) { return LK_CONTAINER(link, api_driver, link); }

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
            api_driver_unpublish_local(d, value);
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

void api_driver_destroy(api_driver *d)
{
    api_shell *shell = d->shell;
    lk_room *room = d->room;
    uint64_t key;
    void *value;
    (void)!lk_timer_set(shell->loop, &d->timer, LK_NEVER);
    api_driver_close_sockets(d);
    for (size_t i = 0; i < LK_LEN(d->lookups); i++)
        lk_lookup_cancel(d->lookups[i].lookup);
    for (size_t at = 0; lk_map_next(&d->streams, &at, &key, &value);) {
        driver_stream *s = value;
        lk_tcp_close(s->tcp);
        api_release(s, sizeof *s);
    }
    lk_map_deinit(&d->streams);
    if (!d->closed) { /* not left politely: nothing was told yet */
        api_driver_clear_room(d);
        end_operations(d);
    }
    release(d);
    lk_session_free(d->session);
    api_map_clear(&d->sinks);
    api_map_clear(&d->tracks);
    api_map_clear(&d->publications);
    api_map_clear(&d->participants);
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

void api_driver_pump(api_driver *d, lk_usec now)
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
            api_driver_do_io(d, &io, now);
        }
        while (lk_session_poll_event(d->session, &event)) {
            more = true;
            api_driver_handle(d, &event, now);
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
        api_driver_destroy(d);
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
    api_driver_pump(d, now);
}

void api_driver_kill(api_driver *d)
{
    /* Its jobs are still out: the last one that comes home buries it. The loop waits for its workers before it ends. */
    d->killed = true;
    if (lk_session_jobs_out(d->session) == 0)
        api_driver_destroy(d);
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
                api_driver_pump(d, now);
                return;
            }
        }
    }
    api_driver_set_phase(room, API_ROOM_IDLE);
    (void)api_op_end(shell->rt, cmd->op, &why, NULL);
    if (d) {
        d->connect_op = 0;
        d->closed = true; /* what else waits for this room is answered by its own command */
        api_driver_destroy(d);
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
    api_driver_pump(d, now);
}

bool api_driver_cancel(api_driver *d, lk_usec now, lk_op op, lk_err why)
{
    bool known = lk_session_cancel(d->session, now, op, why) == LK_OK;
    if (known)
        api_driver_pump(d, now);
    return known;
}

void api_driver_attach(api_driver *d, api_stream *s, lk_usec now)
{
    if (s->track) {
        if (lk_map_get(&d->tracks, s->track->id) == s->track)
            api_driver_add_sink(d, s, s->track->id, now);
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
            if (track && api_driver_follows(s, p, pub))
                api_driver_add_sink(d, s, track, now);
        }
        pthread_mutex_unlock(&p->lock);
    }
    api_driver_pump(d, now);
}

void api_driver_detach(api_driver *d, api_stream *s, lk_usec now)
{
    if (!s->sink)
        return;
    uint64_t sink = s->sink;
    s->sink = s->sink_track = 0;
    (void)!lk_session_remove_sink(d->session, now, sink);
    api_driver_pump(d, now);
}

void api_driver_push_audio(api_driver *d, lk_usec now, uint64_t track, struct lk_frame *frame)
{
    lk_session_push_audio(d->session, now, track, frame);
    api_driver_pump(d, now);
}

void api_driver_push_video(api_driver *d, lk_usec now, uint64_t track, struct lk_picture *picture)
{
    lk_session_push_video(d->session, now, track, picture);
    api_driver_pump(d, now);
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
    if (t->video) {
        api_video_source_size(t->video, &p.width, &p.height);
    } else {
        p.sample_rate = t->source->options.sample_rate;
        p.channels = t->source->options.num_channels;
    }
    lk_err err = api_audience_add_track(api_audience_of(t), d, t->id) ? LK_OK : LK_ERR_LIMIT;
    if (err == LK_OK && !api_map_put(&d->tracks, t->id, t))
        err = LK_ERR_NOMEM;
    if (err == LK_OK)
        err = t->video ? lk_session_publish_video(d->session, now, cmd->op, &p)
                       : lk_session_publish_audio(d->session, now, cmd->op, &p);
    lk_info_unref(info);
    if (err != LK_OK) {
        api_map_drop(&d->tracks, t->id);
        api_audience_remove_track(api_audience_of(t), d, t->id);
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
        api_driver_pump(d, now);
}
