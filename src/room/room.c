// SPDX-License-Identifier: Apache-2.0
/* Life of a session, its commands, the pump that connects the machines, effects. */
#include "room/room_internal.h"

#define IO_MAX 64
#define CANDIDATES_MAX 64
#define PUMP_ROUNDS_MAX 10000 /* a loop of ours would hang the user's loop thread: better to stop and be found */

/* ---- life -------------------------------------------------------------------------------------------- */

static const char *keep_text(lk_session *s, const char *z)
{
    char *copy = z ? lk_pbuf_strdup(&s->fixed, lk_str_of(z)) : NULL;
    if (z && !copy)
        s->broken = LK_ERR_NOMEM;
    return z ? copy : "";
}

static void copy_config(lk_session *s, const lk_session_config *from)
{
    lk_session_config *to = &s->config;
    *to = *from;
    to->sdk = keep_text(s, from->sdk);
    to->sdk_version = keep_text(s, from->sdk_version);
    to->os = keep_text(s, from->os);
    to->os_version = keep_text(s, from->os_version);
    to->device_model = keep_text(s, from->device_model);
    to->other_sdks = keep_text(s, from->other_sdks);
    to->https_proxy = keep_text(s, from->https_proxy);
    to->http_proxy = keep_text(s, from->http_proxy);
    to->no_proxy = keep_text(s, from->no_proxy);
    lk_session_keep_stun(s, from->ice_servers, from->ice_server_count);
    to->ice_servers = NULL;
    s->proxies = (lk_proxy_env){*to->https_proxy ? to->https_proxy : NULL, *to->http_proxy ? to->http_proxy : NULL,
                                *to->no_proxy ? to->no_proxy : NULL};
}

lk_err lk_session_new(lk_session **out, const lk_env *env, const lk_session_config *config, lk_usec now)
{
    lk_session *s = (lk_session *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->now = now;
    s->phase = LK_SESSION_NEW;
    s->connect_by = s->try_by = s->addresses_by = s->answer_by = s->media_over_by = s->rejoin_at = LK_NEVER;
    lk_arena_init(&s->permissions_kept, env, 0);
    lk_arena_init(&s->fixed, env, 1u << 20);
    lk_arena_init(&s->out, env, LK_SESSION_EVENT_BYTES_MAX);
    lk_queue_init(&s->io, env, sizeof(lk_session_io), IO_MAX);
    lk_queue_init(&s->candidates, env, sizeof(lk_session_candidate), CANDIDATES_MAX);
    lk_list *lists[] = {&s->events, &s->ops, &s->spare, &s->others, &s->local_tracks, &s->remote_tracks, &s->listeners,
                        &s->dying_local, &s->dying_remote, &s->outbox[0], &s->outbox[1]};
    for (size_t i = 0; i < LK_LEN(lists); i++)
        lk_list_init(lists[i]);
    s->data_low[0] = s->data_low[1] = LK_SESSION_DATA_LOW;
    copy_config(s, config);
    s->dual = !config->single_peer_connection;
    s->config.unix_usec -= now; /* Unix time of the monotonic zero */
    if (s->broken) {
        lk_err err = s->broken;
        lk_session_free(s);
        return err;
    }
    *out = s;
    return LK_OK;
}

void lk_session_free(lk_session *s)
{
    if (!s)
        return;
    LK_ASSERT(s->env, s->jobs_out == 0);
    lk_session_drop_outbox(s);
    LK_LIST_EACH(&s->remote_tracks, it)
        lk_session_drop_remote_track(s, LK_CONTAINER(it, lk_session_remote_track, link));
    lk_session_free_local_tracks(s);
    lk_session_free_people(s);
    lk_session_drop_slots(s);
    lk_session_free_events(s); /* the end of each sink is told up to here, if only to nobody */
    if (s->signal_live)
        lk_signal_deinit(&s->signal);
    lk_ws_free(s->ws);
    lk_pc_free(s->pc);
    lk_pc_free(s->sub);
    char **texts[] = {&s->url_text, &s->token, &s->room_sid, &s->room_name, &s->room_metadata, &s->server_version, &s->fresh_token};
    for (size_t i = 0; i < LK_LEN(texts); i++)
        lk_session_free_text(s, texts[i]);
    lk_release(s->env, s->addresses, s->address_count * sizeof *s->addresses);
    lk_queue_deinit(&s->io);
    lk_queue_deinit(&s->candidates);
    lk_arena_deinit(&s->permissions_kept);
    lk_arena_deinit(&s->fixed);
    lk_release(s->env, s, sizeof *s);
}

size_t lk_session_jobs_out(const lk_session *s) { return s->jobs_out; }

bool lk_session_finished(const lk_session *s)
{
    return s->phase == LK_SESSION_OVER && s->events.count == 0 && s->io.count == 0 && s->jobs_out == 0;
}

/* ---- the pump ------------------------------------------------------------------------------------------ */

static void on_message(lk_session *s, const Livekit__SignalResponse *m)
{
    switch (m->message_case) {
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN: lk_session_on_join(s, m->join); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE: lk_session_on_leave(s, m->leave); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER: lk_session_on_answer(s, m->answer); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER: lk_session_on_offer(s, m->offer); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRICKLE: lk_session_on_trickle(s, m->trickle); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE:
        if (s->join_received)
            lk_session_on_update(s, m->update->participants, m->update->n_participants);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MUTE: lk_session_on_server_mute(s, m->mute->sid, m->mute->muted); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED: lk_session_on_speakers(s, m->speakers_changed); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE:
        if (m->room_update->room)
            lk_session_on_room_update(s, m->room_update->room);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY: lk_session_on_quality(s, m->connection_quality); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_STREAM_STATE_UPDATE: lk_session_on_stream_state(s, m->stream_state_update); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE:
        lk_session_on_permission(s, m->subscription_permission_update);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN:
        if (lk_session_set_text(s, &s->fresh_token, m->refresh_token))
            lk_session_emit(s, LK_SESSION_TOKEN_REFRESHED)->text = lk_session_out_text(s, s->fresh_token);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_UNPUBLISHED: lk_session_on_server_unpublish(s, m->track_unpublished->track_sid); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_RESPONSE:
        lk_session_on_subscription_response(s, m->subscription_response);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_SUBSCRIBED: lk_session_on_local_subscribed(s, m->track_subscribed->track_sid); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT:
        lk_session_on_sections_wanted(s, m->media_sections_requirement->num_audios, m->media_sections_requirement->num_videos);
        break;
    default: break; /* not ours to handle, or newer than us */
    }
}

static void on_signal_lost(lk_session *s)
{
    const lk_error why = {LK_ERR_TIMEOUT, "engine: signal failure: the server fell silent"};
    if (s->phase == LK_SESSION_LIVE)
        lk_session_lost(s, LK_DISCONNECT_SIGNAL_CLOSE, &why);
    else
        lk_session_try_failed(s, &why, false);
}

static bool pump_signal(lk_session *s)
{
    lk_signal_event ev;
    lk_bytes out;
    bool moved = false;
    /* One event at a time: its handler may end the session, and with it the machine. */
    if (s->signal_live && lk_signal_poll_event(&s->signal, &ev)) {
        moved = true;
        if (ev.kind == LK_SIGNAL_MESSAGE)
            on_message(s, ev.message);
        else if (ev.kind == LK_SIGNAL_REQUEST_DONE)
            lk_session_on_request_done(s, ev.tag, &ev.error, ev.track);
        else
            on_signal_lost(s);
    }
    while (s->signal_live && s->ws && lk_signal_poll_tx(&s->signal, &out))
        if (lk_ws_send(s->ws, true, out.data, out.len) != LK_OK)
            LK_LOG(s->env, LK_LOG_WARN, "room.signal.unsent", LK_I("bytes", out.len));
    return moved;
}

static void handle_broken(lk_session *s)
{
    lk_error why = {s->broken, ""};
    lk_error_set(&why, s->broken, "engine: ", lk_err_text(s->broken), (const char *)NULL);
    s->broken = LK_OK;
    if (s->phase == LK_SESSION_LIVE || s->rejoining)
        lk_session_end(s, false, LK_DISCONNECT_UNKNOWN, &why);
    else if (s->connect_op)
        lk_session_abort_connect(s, &why);
}

void lk_session_pump(lk_session *s)
{
    bool moved = true;
    for (unsigned rounds = 0; moved; rounds++) {
        lk_ws_event we;
        lk_pc_event pe;
        moved = false;
        LK_ASSERT(s->env, rounds < PUMP_ROUNDS_MAX);
        if (rounds >= PUMP_ROUNDS_MAX)
            s->broken = LK_ERR_INTERNAL;
        if (s->retry) {
            s->retry = false;
            lk_session_start_try(s);
            moved = true;
        }
        if (s->ws && lk_ws_poll_event(s->ws, &we)) {
            lk_session_on_ws(s, &we);
            moved = true;
        }
        moved = pump_signal(s) || moved;
        if (s->pc && lk_pc_poll_event(s->pc, &pe)) {
            lk_session_on_pc(s, &pe, false);
            moved = true;
        }
        if (s->sub && lk_pc_poll_event(s->sub, &pe)) {
            lk_session_on_pc(s, &pe, true);
            moved = true;
        }
        moved = lk_session_media_pump(s) || moved;
        moved = lk_session_data_pump(s) || moved;
        if (s->broken)
            handle_broken(s);
        if (rounds >= PUMP_ROUNDS_MAX)
            return;
    }
    lk_session_offer_due(s);
    lk_bytes out;
    while (s->signal_live && s->ws && lk_signal_poll_tx(&s->signal, &out))
        (void)!lk_ws_send(s->ws, true, out.data, out.len);
}

static void enter(lk_session *s, lk_usec now)
{
    LK_ASSERT(s->env, now >= s->now);
    s->now = LK_MAX(now, s->now);
    if (s->events.count == 0)
        lk_arena_reset(&s->out);
}

/* ---- commands ---------------------------------------------------------------------------------------------- */

lk_err lk_session_cancel(lk_session *s, lk_usec now, uint64_t id, lk_err err)
{
    lk_session_op *op = lk_session_op_find(s, id);
    lk_error why;
    if (!op)
        return LK_ERR_NOT_FOUND;
    enter(s, now);
    lk_error_set(&why, err, err == LK_ERR_TIMEOUT ? "the deadline passed" : lk_err_text(err), (const char *)NULL);
    switch (op->kind) {
    case LK_SESSION_OP_CONNECT: lk_session_abort_connect(s, &why); break;
    case LK_SESSION_OP_PUBLISH: lk_session_cancel_publish(s, op); break;
    case LK_SESSION_OP_DATA: lk_session_cancel_data(s, op); break;
    case LK_SESSION_OP_METADATA: (void)lk_signal_forget(&s->signal, op->tag); break;
    default: break;
    }
    op = lk_session_op_find(s, id);
    if (op)
        lk_session_op_done(s, op, &why);
    lk_session_pump(s);
    return LK_OK;
}

lk_err lk_session_disconnect(lk_session *s, lk_usec now, uint64_t id, lk_disconnect_reason reason)
{
    lk_session_op *op;
    const lk_error gone = {LK_ERR_CANCELLED, "the room was disconnected while it connected"};
    enter(s, now);
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_DISCONNECT, &op);
    if (err)
        return err;
    lk_list_remove(&s->ops, &op->link); /* it ends below, after everything it ends */
    if (s->phase == LK_SESSION_LIVE || s->rejoining)
        lk_session_end(s, true, reason, NULL);
    else if (s->connect_op)
        lk_session_abort_connect(s, &gone);
    else if (s->phase == LK_SESSION_NEW)
        s->phase = LK_SESSION_OVER;
    lk_session_end_sinks(s);
    lk_list_push(&s->ops, &op->link);
    lk_session_op_done(s, op, NULL);
    lk_session_pump(s);
    return LK_OK;
}

static lk_err update_self(lk_session *s, lk_usec now, uint64_t id, const char *metadata, const char *name,
                          const lk_attribute *attributes, size_t count)
{
    lk_session_op *op;
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    enter(s, now);
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_METADATA, &op);
    if (err)
        return err;
    op->tag = ++s->next_id;
    err = lk_signal_update_metadata(&s->signal, now, metadata ? metadata : s->local->metadata, name ? name : s->local->name,
                                    attributes, count, op->tag);
    if (err) {
        lk_list_remove(&s->ops, &op->link);
        lk_release(s->env, op, sizeof *op);
        return err;
    }
    lk_session_pump(s);
    return LK_OK;
}

lk_err lk_session_set_metadata(lk_session *s, lk_usec now, uint64_t op, const char *metadata)
{
    return update_self(s, now, op, metadata, NULL, NULL, 0);
}

lk_err lk_session_set_name(lk_session *s, lk_usec now, uint64_t op, const char *name)
{
    return update_self(s, now, op, NULL, name, NULL, 0);
}

lk_err lk_session_set_attributes(lk_session *s, lk_usec now, uint64_t op, const lk_attribute *attributes, size_t count)
{
    return update_self(s, now, op, NULL, NULL, attributes, count);
}

lk_err lk_session_set_track_permissions(lk_session *s, lk_usec now, bool all_allowed, const lk_session_permission *permissions,
                                        size_t count)
{
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    if (count > LK_SESSION_PARTICIPANTS_MAX)
        return LK_ERR_LIMIT;
    enter(s, now);
    lk_err err = lk_session_keep_permissions(s, all_allowed, permissions, count);
    if (err == LK_OK)
        err = lk_session_send_permissions(s);
    lk_session_pump(s);
    return err;
}

lk_err lk_session_set_subscribed(lk_session *s, lk_usec now, uint64_t id, bool subscribed)
{
    lk_session_pub *pub = lk_session_find_pub_id(s, id);
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    if (!pub || pub->person->is_local)
        return LK_ERR_NOT_FOUND;
    enter(s, now);
    if (pub->wanted == subscribed)
        return LK_OK;
    lk_err err = lk_signal_subscribe(&s->signal, pub->person->sid, pub->sid, subscribed);
    if (err)
        return err;
    pub->wanted = subscribed;
    lk_session_emit_pub(s, LK_SESSION_PUBLICATION_CHANGED, pub);
    if (subscribed)
        lk_session_match_pub(s, pub);
    else
        lk_session_unsubscribe(s, pub);
    lk_session_pump(s);
    return LK_OK;
}

/* Everything that is wanted of the publication: a field left out would count as its default. */
static lk_err send_delivery(lk_session *s, const lk_session_pub *pub)
{
    const lk_signal_delivery wanted = {!pub->enabled, pub->quality, pub->wanted_width, pub->wanted_height};
    lk_err err = lk_signal_track_setting(&s->signal, pub->sid, &wanted);
    lk_session_pump(s);
    return err;
}

static lk_err remote_pub(lk_session *s, lk_usec now, uint64_t id, lk_session_pub **out)
{
    *out = lk_session_find_pub_id(s, id);
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    if (!*out || (*out)->person->is_local)
        return LK_ERR_NOT_FOUND;
    enter(s, now);
    return LK_OK;
}

lk_err lk_session_set_enabled(lk_session *s, lk_usec now, uint64_t id, bool enabled)
{
    lk_session_pub *pub;
    lk_err err = remote_pub(s, now, id, &pub);
    if (err)
        return err;
    bool before = pub->enabled;
    pub->enabled = enabled;
    err = send_delivery(s, pub);
    if (err)
        pub->enabled = before;
    return err;
}

static lk_err set_layer(lk_session *s, lk_usec now, uint64_t id, lk_video_quality quality, uint32_t width, uint32_t height)
{
    lk_session_pub *pub;
    lk_err err = remote_pub(s, now, id, &pub);
    if (err)
        return err;
    if (pub->kind != LK_MEDIA_KIND_VIDEO)
        return LK_ERR_NOT_FOUND;
    pub->quality = quality;
    pub->wanted_width = width;
    pub->wanted_height = height;
    return send_delivery(s, pub);
}

lk_err lk_session_set_quality(lk_session *s, lk_usec now, uint64_t id, lk_video_quality quality)
{
    return set_layer(s, now, id, quality, 0, 0);
}

lk_err lk_session_set_dimensions(lk_session *s, lk_usec now, uint64_t id, uint32_t width, uint32_t height)
{
    return set_layer(s, now, id, LK_VIDEO_QUALITY_HIGH, width, height);
}

/* ---- stats ------------------------------------------------------------------------------------------------ */

static const lk_error closed = {LK_ERR_CLOSED, "engine: connection error: engine is closed"};

static void add_media_stats(lk_session *s, lk_stats *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        lk_stats *e = &list[i];
        LK_LIST_EACH(&s->local_tracks, it) {
            lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
            if (e->kind == LK_STATS_media_source && strcmp(e->media_source.source.track_identifier, t->cid) == 0) {
                if (t->video)
                    lk_video_sender_source_stats(t->video, s->now, e);
                else
                    lk_audio_sender_stats(t->sender, e);
            }
            if (e->kind == LK_STATS_outbound_rtp && strcmp(e->outbound_rtp.outbound.mid, lk_pc_mid(s->pc, t->section)) == 0) {
                if (t->video)
                    lk_video_sender_stats(t->video, s->now, e);
                else
                    e->outbound_rtp.outbound.target_bitrate = lk_audio_sender_bitrate_bps(t->sender);
            }
        }
        LK_LIST_EACH(&s->remote_tracks, it) {
            lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
            if (e->kind != LK_STATS_inbound_rtp || strcmp(e->inbound_rtp.inbound.mid, lk_pc_mid(lk_session_rx(s), t->section)) != 0)
                continue;
            if (t->video)
                lk_video_receiver_stats(t->video, s->now, e);
            else
                lk_audio_receiver_stats(t->receiver, e);
        }
    }
}

static lk_err stats_op(lk_session *s, lk_usec now, uint64_t id, lk_session_op **op, lk_stats **list)
{
    enter(s, now);
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_STATS, op);
    if (err)
        return err;
    *list = (lk_stats *)lk_arena_alloc(&s->out, LK_PC_STATS_MAX * sizeof **list);
    if (*list)
        return LK_OK;
    lk_list_remove(&s->ops, &(*op)->link);
    lk_release(s->env, *op, sizeof **op);
    return LK_ERR_NOMEM;
}

lk_err lk_session_get_track_stats(lk_session *s, lk_usec now, uint64_t id, uint64_t track)
{
    static const lk_error none = {LK_ERR_NOT_FOUND, "room failure: no transceiver found for track"};
    lk_session_op *op;
    lk_stats *list;
    bool found = false;
    uint32_t section = 0;
    LK_LIST_EACH(&s->remote_tracks, it) {
        const lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        if (t->id == track) {
            found = true;
            section = t->section;
        }
    }
    const lk_session_local_track *local = lk_session_find_local(s, track);
    if (local && local->state == LK_SESSION_LOCAL_PUBLISHED) {
        found = true;
        section = local->section;
    }
    lk_err err = stats_op(s, now, id, &op, &list);
    if (err)
        return err;
    bool remote = (track & LK_SESSION_REMOTE_TRACK_BIT) != 0;
    const lk_error *why = s->phase != LK_SESSION_LIVE ? &closed : found || remote ? NULL : &none;
    lk_session_event *ev = lk_session_op_done(s, op, why);
    if (found && !why) {
        ev->stats = list;
        ev->stats_count = lk_pc_stats_section(remote ? lk_session_rx(s) : s->pc, now, section, list, LK_PC_STATS_MAX);
        add_media_stats(s, list, ev->stats_count);
    }
    return LK_OK;
}

lk_err lk_session_get_stats(lk_session *s, lk_usec now, uint64_t id)
{
    lk_session_op *op;
    lk_stats *list;
    lk_err err = stats_op(s, now, id, &op, &list);
    if (err)
        return err;
    bool live = s->phase == LK_SESSION_LIVE && s->pc;
    lk_session_event *ev = lk_session_op_done(s, op, live ? NULL : &closed);
    if (live) {
        ev->stats = list;
        ev->stats_count = lk_pc_stats_all(s->pc, now, list, LK_PC_STATS_MAX);
        add_media_stats(s, list, ev->stats_count);
        lk_stats *others = s->sub ? (lk_stats *)lk_arena_alloc(&s->out, LK_PC_STATS_MAX * sizeof *others) : NULL;
        if (others) {
            ev->subscriber_stats = others;
            ev->subscriber_stats_count = lk_pc_stats_all(s->sub, now, others, LK_PC_STATS_MAX);
            add_media_stats(s, others, ev->subscriber_stats_count);
        }
    }
    return LK_OK;
}

lk_err lk_session_simulate(lk_session *s, lk_usec now, unsigned kind)
{
    /* Numbers of SimulateScenarioKind; those that need a resume are missing on purpose. */
    static const struct {
        unsigned kind;
        lk_signal_scenario scenario;
    } told[] = {{1, LK_SIGNAL_SCENARIO_SPEAKER},
                {2, LK_SIGNAL_SCENARIO_NODE_FAILURE},
                {3, LK_SIGNAL_SCENARIO_SERVER_LEAVE},
                {4, LK_SIGNAL_SCENARIO_MIGRATION}};
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    enter(s, now);
    for (size_t i = 0; i < LK_LEN(told); i++) {
        if (told[i].kind != kind)
            continue;
        lk_err err = lk_signal_simulate(&s->signal, told[i].scenario);
        lk_session_pump(s);
        return err;
    }
    return LK_ERR_UNSUPPORTED;
}

/* ---- input --------------------------------------------------------------------------------------------------- */

void lk_session_stream_opened(lk_session *s, lk_usec now, uint32_t stream)
{
    if (stream != s->stream || s->stream_open)
        return;
    enter(s, now);
    s->stream_open = true;
    lk_session_on_stream_ready(s);
    lk_session_pump(s);
}

void lk_session_stream_data(lk_session *s, lk_usec now, uint32_t stream, lk_bytes data)
{
    if (stream != s->stream || !s->ws)
        return;
    enter(s, now);
    lk_ws_input(s->ws, data.data, data.len);
    lk_session_pump(s);
}

void lk_session_stream_closed(lk_session *s, lk_usec now, uint32_t stream, const lk_error *why)
{
    if (stream != s->stream || stream == 0)
        return;
    enter(s, now);
    s->stream_open = false;
    s->stream = 0;
    if (s->ws) {
        lk_ws_input_end(s->ws, why);
    } else {
        lk_error told = {LK_ERR_NETWORK, ""};
        lk_error_set(&told, why ? why->code : LK_ERR_NETWORK, "engine: signal failure: transport connection error: ",
                     why ? why->text : "connection closed", (const char *)NULL);
        lk_session_try_failed(s, &told, false);
    }
    lk_session_pump(s);
}

void lk_session_addresses(lk_session *s, lk_usec now, const lk_addr *addresses, size_t count)
{
    if (!s->udp_open)
        return;
    enter(s, now);
    lk_addr *copy = count ? (lk_addr *)lk_alloc(s->env, count * sizeof *copy) : NULL;
    if (count && !copy) {
        s->broken = LK_ERR_NOMEM;
    } else {
        if (count)
            memcpy(copy, addresses, count * sizeof *copy);
        lk_release(s->env, s->addresses, s->address_count * sizeof *s->addresses);
        s->addresses = copy;
        s->address_count = count;
        s->addresses_known = true;
        lk_session_use_addresses(s);
        lk_session_on_stream_ready(s);
    }
    lk_session_pump(s);
}

void lk_session_input(lk_session *s, lk_usec now, const lk_datagram *datagram)
{
    lk_pc *pc = lk_session_pc_at(s, &datagram->local);
    if (!pc)
        return;
    enter(s, now);
    lk_pc_input(pc, now, datagram);
    lk_session_pump(s);
}

void lk_session_job_done(lk_session *s, lk_usec now, lk_job *job)
{
    enter(s, now);
    LK_ASSERT(s->env, s->jobs_out > 0);
    s->jobs_out--;
    lk_session_media_job_done(s, job);
    lk_session_pump(s);
}

void lk_session_tick(lk_session *s, lk_usec now)
{
    enter(s, now);
    lk_session_connect_tick(s);
    if (s->signal_live)
        lk_signal_tick(&s->signal, now);
    if (s->pc)
        lk_pc_tick(s->pc, now);
    if (s->sub)
        lk_pc_tick(s->sub, now);
    lk_session_media_tick(s);
    lk_session_pump(s);
}

lk_usec lk_session_deadline(const lk_session *s)
{
    lk_usec at = LK_MIN(lk_session_connect_deadline(s), lk_session_media_deadline(s));
    if (s->signal_live)
        at = LK_MIN(at, lk_signal_deadline(&s->signal));
    if (s->pc)
        at = LK_MIN(at, lk_pc_deadline(s->pc));
    if (s->sub)
        at = LK_MIN(at, lk_pc_deadline(s->sub));
    return at;
}

/* ---- effects -------------------------------------------------------------------------------------------------- */

bool lk_session_poll_io(lk_session *s, lk_session_io *out)
{
    *out = (lk_session_io){0};
    if (lk_queue_pop(&s->io, out))
        return true;
    if (s->ws && s->stream && lk_ws_poll_tx(s->ws, &out->bytes)) {
        out->kind = LK_SESSION_IO_STREAM_WRITE;
        out->stream = s->stream;
        return true;
    }
    if ((s->pc && lk_pc_poll_tx(s->pc, s->now, &out->datagram)) || (s->sub && lk_pc_poll_tx(s->sub, s->now, &out->datagram))) {
        out->kind = LK_SESSION_IO_UDP_SEND;
        return true;
    }
    if (lk_session_media_poll_job(s, &out->job)) {
        out->kind = LK_SESSION_IO_JOB;
        s->jobs_out++;
        return true;
    }
    if (s->farewell) { /* all of it is written */
        s->farewell = false;
        lk_session_hang_up(s);
        return lk_queue_pop(&s->io, out);
    }
    return false;
}
