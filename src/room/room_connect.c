// SPDX-License-Identifier: Apache-2.0
/* From connect to the first event, and from the last event to nothing. */
#include "room/room_internal.h"

#define OFFER_MAX 65536
#define TARGET_MAX (LK_WS_TARGET_MAX + OFFER_MAX * 2) /* what it may grow to before it is found too long */
#define SAY_LEN 160

static void push_io(lk_session *s, const lk_session_io *io)
{
    if (lk_queue_push(&s->io, io) != LK_OK)
        s->broken = LK_ERR_NOMEM;
}

/* ---- one try ----------------------------------------------------------------------------------------- */

static void close_stream(lk_session *s)
{
    if (s->stream)
        push_io(s, &(lk_session_io){.kind = LK_SESSION_IO_STREAM_CLOSE, .stream = s->stream});
    s->stream = 0;
    s->stream_open = false;
    lk_ws_free(s->ws);
    s->ws = NULL;
}

/* What belongs to one try only. */
static void drop_try(lk_session *s)
{
    close_stream(s);
    if (s->signal_live)
        lk_signal_deinit(&s->signal);
    s->signal_live = s->join_received = s->pc_connected = false;
    lk_pc_free(s->pc);
    lk_pc_free(s->sub);
    s->pc = s->sub = NULL;
    s->offer_out = s->offer_wanted = false;
    s->early_tries = 0;
    s->answer_by = LK_NEVER;
    while (lk_queue_pop(&s->candidates, NULL)) {}
    LK_LIST_EACH(&s->remote_tracks, it)
        lk_session_drop_remote_track(s, LK_CONTAINER(it, lk_session_remote_track, link));
    lk_session_drop_slots(s);
    if (s->rejoining)
        lk_session_free_others(s); /* we are who we were */
    else
        lk_session_free_people(s);
}

static void close_sockets(lk_session *s)
{
    if (s->udp_open)
        push_io(s, &(lk_session_io){.kind = LK_SESSION_IO_UDP_CLOSE});
    s->udp_open = false;
}

void lk_session_hang_up(lk_session *s)
{
    drop_try(s);
    close_sockets(s);
    s->retry = s->farewell = false;
    s->connect_by = s->try_by = s->addresses_by = s->rejoin_at = LK_NEVER;
    s->phase = LK_SESSION_OVER;
}

void lk_session_apart(lk_session *s)
{
    drop_try(s);
    close_sockets(s); /* the way out may be another one now */
    s->retry = false;
}

void lk_session_start_try(lk_session *s)
{
    lk_usec limit = LK_MSEC(s->config.connect_timeout_msec);
    drop_try(s);
    s->phase = LK_SESSION_DIALLING;
    s->try_by = s->now + limit;
    s->stream = ++s->last_stream;
    push_io(s, &(lk_session_io){.kind = LK_SESSION_IO_DIAL,
                                .stream = s->stream,
                                .host = s->through_proxy ? s->proxy_host : s->url.host,
                                .port = s->through_proxy ? s->proxy_port : s->url.port});
    const unsigned sockets = s->dual ? 2 : 1; /* two connections to one server are told apart by our ports */
    if (s->udp_open && s->udp_sockets == sockets)
        return;
    close_sockets(s);
    s->udp_open = true;
    s->udp_sockets = sockets;
    s->addresses_known = false;
    s->addresses_by = s->now + LK_SESSION_ADDRESSES_USEC;
    push_io(s, &(lk_session_io){.kind = LK_SESSION_IO_UDP_OPEN, .sockets = sockets});
}

static lk_err join_too_long(lk_error *why)
{
    lk_error_set(why, LK_ERR_LIMIT, "engine: signal failure: the url of the join request would be longer than 64 KiB", (const char *)NULL);
    return LK_ERR_LIMIT;
}

static lk_err open_signal(lk_session *s, lk_error *why)
{
    lk_text offer, target, bearer;
    lk_text_init(&offer, s->env, OFFER_MAX);
    lk_text_init(&target, s->env, TARGET_MAX);
    lk_text_init(&bearer, s->env, LK_SESSION_TOKEN_MAX + 16);
    lk_err err = lk_session_pc_start(s, &offer);
    const lk_signal_join join = {
        .sdk = s->config.sdk,
        .version = s->config.sdk_version,
        .os = s->config.os,
        .os_version = s->config.os_version,
        .device_model = s->config.device_model,
        .other_sdks = s->config.other_sdks,
        .auto_subscribe = s->config.auto_subscribe,
        .adaptive_stream = s->config.adaptive_stream,
        .offer = {offer.p, offer.len},
        .offer_id = s->offer_id,
    };
    if (err == LK_OK)
        err = s->dual ? lk_signal_join_target_v0(&target, s->url.path, &join) : lk_signal_join_target(&target, s->env, s->url.path, false, &join);
    lk_text_z(&bearer, "Bearer ");
    lk_text_z(&bearer, s->token);
    if (err == LK_OK && (bearer.bad || target.bad))
        err = LK_ERR_NOMEM;
    if (err == LK_OK && target.len > LK_WS_TARGET_MAX)
        err = join_too_long(why);
    const lk_ws_header header = {"Authorization", lk_text_cstr(&bearer)};
    const lk_ws_config config = {.url = &s->url,
                                 .target = lk_text_cstr(&target),
                                 .upgrade = true,
                                 .headers = &header,
                                 .header_count = 1,
                                 .tls = s->config.tls,
                                 .through_proxy = s->through_proxy,
                                 .proxy_userinfo = s->proxy_userinfo};
    if (err == LK_OK)
        err = lk_ws_new(&s->ws, s->env, &config);
    lk_text_deinit(&offer);
    lk_text_deinit(&target);
    lk_text_deinit(&bearer);
    return err;
}

void lk_session_on_stream_ready(lk_session *s)
{
    if (s->phase != LK_SESSION_DIALLING || !s->stream_open || !s->addresses_known)
        return;
    s->addresses_by = LK_NEVER;
    lk_error why = {LK_OK, ""};
    lk_err err = open_signal(s, &why);
    if (err != LK_OK) {
        if (why.code == LK_OK)
            lk_error_set(&why, err, "engine: cannot start the connection: ", lk_err_text(err), (const char *)NULL);
        lk_session_try_failed(s, &why, true);
        return;
    }
    s->phase = LK_SESSION_JOINING;
    lk_signal_init(&s->signal, s->env);
    s->signal_live = true;
    lk_ws_start(s->ws);
}

/* ---- the end of a try or of all -------------------------------------------------------------------------- */

void lk_session_abort_connect(lk_session *s, const lk_error *why)
{
    lk_session_op *op = s->connect_op;
    if (!op)
        return;
    /* A server that has let us in is told, so that nobody sees us for longer than need be. */
    if (s->join_received && s->ws)
        (void)!lk_signal_leave(&s->signal, LK_DISCONNECT_CLIENT_INITIATED);
    if (s->pc)
        lk_pc_close(s->pc, s->now);
    if (s->sub)
        lk_pc_close(s->sub, s->now);
    s->phase = LK_SESSION_LEAVING;
    s->farewell = true;
    s->retry = false;
    s->connect_by = s->try_by = s->addresses_by = s->answer_by = LK_NEVER;
    lk_session_op_done(s, op, why);
}

void lk_session_try_failed(lk_session *s, const lk_error *why, bool final)
{
    if (s->retry)
        return;
    if (s->rejoining && s->phase != LK_SESSION_LIVE && s->phase != LK_SESSION_APART) {
        lk_session_rejoin_failed(s, why, final);
        return;
    }
    if (!s->connect_op)
        return;
    LK_LOG(s->env, LK_LOG_WARN, "room.connect.failed", LK_S("error", why->text), LK_I("tries_left", s->tries_left));
    if (final || s->tries_left == 0 || s->now >= s->connect_by) {
        lk_session_abort_connect(s, why);
        return;
    }
    s->tries_left--;
    s->retry = true; /* at once, but not from inside the machine that failed */
    close_stream(s);
    s->phase = LK_SESSION_DIALLING;
}

static void end_node(lk_session *s, lk_session_node *node, lk_session_event_kind kind)
{
    node->block = NULL;
    node->ev = (lk_session_event){.kind = kind};
    lk_session_push_node(s, node);
}

void lk_session_fail_ops(lk_session *s)
{
    const lk_error closed = {LK_ERR_CLOSED, "engine: connection error: engine is closed"};
    lk_session_drop_outbox(s);
    while (s->ops.count) {
        lk_session_op *op = LK_CONTAINER(lk_list_first(&s->ops), lk_session_op, link);
        lk_session_op_done(s, op, &closed);
    }
}

void lk_session_end(lk_session *s, bool by_client, lk_disconnect_reason reason, const lk_error *why)
{
    if (s->phase != LK_SESSION_LIVE && !s->rejoining)
        return;
    if (s->phase != LK_SESSION_LIVE) {
        lk_session_free_others(s); /* of a join that came half way: nobody was told of them */
        s->phase = LK_SESSION_LIVE; /* the last words are heard */
    }
    s->rejoining = s->retry = false;
    s->rejoin_at = s->try_by = s->addresses_by = LK_NEVER;
    LK_LOG(s->env, LK_LOG_INFO, "room.ended", LK_I("reason", reason), LK_S("error", why ? why->text : ""));
    if (by_client) {
        lk_session_end_sinks(s);
        lk_session_unpublish_all(s);
    }
    lk_session_fail_ops(s);
    s->state = LK_CONNECTION_STATE_DISCONNECTED;
    end_node(s, &s->end_state, LK_SESSION_CONNECTION_STATE);
    s->end_state.ev.state = s->state;
    end_node(s, &s->end_disconnected, LK_SESSION_DISCONNECTED);
    s->end_disconnected.ev.reason = reason;
    if (why)
        s->end_disconnected.ev.error = *why;
    if (!by_client) {
        lk_session_unpublish_all(s);
        lk_session_end_sinks(s);
    }
    end_node(s, &s->end_closed, LK_SESSION_CLOSED);
    /* Events are told; what is left is to be polite to the server. */
    s->phase = LK_SESSION_LEAVING;
    s->farewell = true;
    s->answer_by = s->media_over_by = LK_NEVER;
    if (s->ws && s->signal_live && by_client)
        (void)!lk_signal_leave(&s->signal, reason);
    if (s->pc)
        lk_pc_close(s->pc, s->now);
    if (s->sub)
        lk_pc_close(s->sub, s->now);
}

/* ---- the WebSocket ------------------------------------------------------------------------------------------ */

static const char *phrase(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {{400, "400 Bad Request"},      {401, "401 Unauthorized"},        {403, "403 Forbidden"},
                {404, "404 Not Found"},        {429, "429 Too Many Requests"},   {500, "500 Internal Server Error"},
                {502, "502 Bad Gateway"},      {503, "503 Service Unavailable"}, {504, "504 Gateway Timeout"}};
    for (size_t i = 0; i < LK_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return NULL;
}

/* The server quotes the token it refuses: a secret, so it is cut out. Also makes one clean line of it. */
static void readable_body(const lk_session *s, lk_bytes body, char out[SAY_LEN])
{
    size_t token = strlen(s->token), n = 0;
    for (size_t i = 0; i < body.len && n + 8 < SAY_LEN;) {
        if (token > 8 && body.len - i >= token && memcmp(body.data + i, s->token, token) == 0) {
            memcpy(out + n, "<token>", 7);
            n += 7;
            i += token;
            continue;
        }
        uint8_t c = body.data[i++];
        out[n++] = c >= 0x20 && c < 0x7f ? (char)c : ' ';
    }
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = 0;
}

static void on_http_answer(lk_session *s, const lk_ws_event *ev)
{
    char say[SAY_LEN], number[LK_STR_FMT_MAX];
    lk_error why;
    const char *line = phrase(ev->code);
    readable_body(s, ev->data, say);
    bool final = ev->code == 401 || ev->code == 403;
    if (ev->code == 404 && !s->dual) { /* a server from before the single connection: that is no failure */
        s->dual = true;
        s->tries_left++;
    }
    lk_error_set(&why, final ? LK_ERR_AUTH : LK_ERR_NETWORK, "engine: signal failure: client error: ",
                 line ? line : lk_u64_text((uint64_t)ev->code, number), say[0] ? " - " : "", say, (const char *)NULL);
    lk_session_try_failed(s, &why, final);
}

static void on_ws_end(lk_session *s, const lk_ws_event *ev)
{
    lk_error why = {LK_ERR_NETWORK, "engine: signal failure: the server closed the connection"};
    if (ev->type == LK_WS_EV_FAILED)
        lk_error_set(&why, ev->error.code, "engine: signal failure: transport connection error: ", ev->error.text, (const char *)NULL);
    if (s->phase == LK_SESSION_LIVE)
        lk_session_lost(s, LK_DISCONNECT_SIGNAL_CLOSE, &why);
    else if (s->phase == LK_SESSION_LEAVING)
        s->farewell = true;
    else
        lk_session_try_failed(s, &why, ev->type == LK_WS_EV_FAILED && ev->error.code == LK_ERR_INVALID);
}

void lk_session_on_ws(lk_session *s, const lk_ws_event *ev)
{
    switch (ev->type) {
    case LK_WS_EV_OPEN: break;
    case LK_WS_EV_MESSAGE:
        if (ev->binary && s->signal_live)
            lk_signal_input(&s->signal, s->now, ev->data);
        break;
    case LK_WS_EV_RESPONSE: on_http_answer(s, ev); break;
    case LK_WS_EV_CLOSED:
    case LK_WS_EV_FAILED: on_ws_end(s, ev); break;
    }
}

/* ---- join and leave ------------------------------------------------------------------------------------------- */

void lk_session_on_join(lk_session *s, const Livekit__JoinResponse *join)
{
    const lk_error why = {LK_ERR_PROTOCOL, "engine: signal failure: the join response is incomplete"};
    if (s->phase != LK_SESSION_JOINING)
        return;
    if (!join->participant || !join->room) {
        lk_session_try_failed(s, &why, false);
        return;
    }
    s->phase = LK_SESSION_MEDIA;
    s->join_received = true;
    s->try_by = LK_MIN(s->connect_by, s->now + LK_SESSION_ICE_USEC);
    lk_session_allow_early(s);
    lk_session_set_room(s, join->room);
    lk_session_set_local(s, join->participant);
    lk_session_set_text(s, &s->server_version, join->server_info ? join->server_info->version : join->server_version);
    lk_session_on_update(s, join->other_participants, join->n_other_participants);
    s->sub_primary = join->subscriber_primary;
    lk_session_ask_stun(s, join);
    if (s->dual)
        lk_session_want_offer(s);
    lk_session_flush_candidates(s);
}

static void go_live(lk_session *s)
{
    lk_session_op *op = s->connect_op;
    if (s->rejoining) {
        lk_session_rejoined(s);
        return;
    }
    s->phase = LK_SESSION_LIVE;
    s->connect_by = s->try_by = LK_NEVER;
    s->state = LK_CONNECTION_STATE_CONNECTED;
    s->steady_since = s->now;
    lk_session_fill_everybody(s, lk_session_op_done(s, op, NULL));
    if (s->room_sid && *s->room_sid) {
        s->room_sid_told = true;
        lk_session_event *ev = lk_session_emit(s, LK_SESSION_ROOM_SID);
        ev->text = lk_session_out_text(s, s->room_sid);
        ev->room_info = lk_session_room_info(s);
    }
    lk_session_emit(s, LK_SESSION_CONNECTION_STATE)->state = s->state;
    if (s->fresh_token && *s->fresh_token)
        lk_session_emit(s, LK_SESSION_TOKEN_REFRESHED)->text = lk_session_out_text(s, s->fresh_token);
    lk_session_tell_tracks(s);
}

void lk_session_on_pc_state(lk_session *s, lk_pc_state state, lk_err err, bool sub)
{
    lk_error why;
    bool primary = !s->dual || sub == s->sub_primary;
    LK_LOG(s->env, LK_LOG_INFO, "room.media.state", LK_I("state", state), LK_S("error", lk_err_name(err)));
    if (state == LK_PC_STATE_CONNECTED) {
        if (!primary)
            return;
        s->pc_connected = true;
        if (s->phase == LK_SESSION_MEDIA)
            go_live(s);
        return;
    }
    if (state != LK_PC_STATE_FAILED && state != LK_PC_STATE_CLOSED)
        return;
    lk_error_set(&why, err == LK_OK ? LK_ERR_NETWORK : err, "engine: connection error: the peer connection ",
                 state == LK_PC_STATE_FAILED ? "failed: " : "was closed by the server: ", lk_err_text(err), (const char *)NULL);
    if (s->phase == LK_SESSION_LIVE) {
        /* A server that ends a session closes media and tells why on another path: the reason may be under way. */
        s->media_over = why;
        s->media_over_by = s->now + LK_SESSION_REASON_USEC;
    } else {
        lk_session_try_failed(s, &why, false);
    }
}

void lk_session_on_leave(lk_session *s, const Livekit__LeaveRequest *leave)
{
    lk_error why;
    char number[LK_STR_FMT_MAX];
    lk_disconnect_reason reason = (lk_disconnect_reason)leave->reason;
    lk_error_set(&why, LK_ERR_CLOSED, "engine: the server ended the session, reason ", lk_u64_text((uint64_t)reason, number),
                 (const char *)NULL);
    if (s->phase == LK_SESSION_LIVE) {
        bool wants_resume = leave->action != LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT || leave->can_reconnect;
        if (wants_resume)
            lk_session_lost(s, reason == LK_DISCONNECT_UNKNOWN ? LK_DISCONNECT_SIGNAL_CLOSE : reason, &why);
        else
            lk_session_end(s, false, reason, &why);
    } else if (s->phase != LK_SESSION_LEAVING) {
        lk_session_try_failed(s, &why, leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT && reason != LK_DISCONNECT_UNKNOWN);
    }
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

void lk_session_connect_tick(lk_session *s)
{
    const lk_error silence = {LK_ERR_TIMEOUT, "engine: signal failure: transport timed out"};
    const lk_error media = {LK_ERR_TIMEOUT, "engine: connection error: could not establish the peer connection in time"};
    const lk_error answer = {LK_ERR_TIMEOUT, "engine: the server did not answer an offer in time"};
    if (s->addresses_by <= s->now) {
        s->addresses_by = LK_NEVER;
        s->addresses_known = true; /* without addresses: they may still come */
        lk_session_on_stream_ready(s);
    }
    lk_session_rejoin_tick(s);
    if (!s->retry && (s->try_by <= s->now || s->connect_by <= s->now))
        lk_session_try_failed(s, s->phase == LK_SESSION_MEDIA ? &media : &silence, s->connect_by <= s->now);
    if (s->media_over_by <= s->now) {
        s->media_over_by = LK_NEVER;
        lk_session_lost(s, LK_DISCONNECT_MEDIA_FAILURE, &s->media_over);
    }
    if (s->answer_by <= s->now) {
        s->answer_by = LK_NEVER;
        if (s->phase == LK_SESSION_LIVE)
            lk_session_lost(s, LK_DISCONNECT_MEDIA_FAILURE, &answer);
    }
}

lk_usec lk_session_connect_deadline(const lk_session *s)
{
    lk_usec at = LK_MIN(LK_MIN(s->connect_by, s->try_by), LK_MIN(s->addresses_by, s->answer_by));
    return LK_MIN(at, LK_MIN(s->media_over_by, s->rejoin_at));
}

/* ---- the command ------------------------------------------------------------------------------------------------------ */

static bool printable(const char *token)
{
    for (const char *p = token; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
    return true;
}

static lk_err check_options(const lk_session *s, lk_error *why)
{
    const lk_session_config *c = &s->config;
    const char *name = c->encryption != LK_ENCRYPTION_NONE               ? "encryption"
                       : c->transport == LK_SESSION_TRANSPORT_RELAY      ? "ice_transport RELAY"
                       : c->transport == LK_SESSION_TRANSPORT_NO_HOST    ? "ice_transport NOHOST"
                                                                         : NULL;
    if (!name)
        return LK_OK;
    lk_error_set(why, LK_ERR_UNSUPPORTED, "connect: option not built yet: ", name, (const char *)NULL);
    return LK_ERR_UNSUPPORTED;
}

static lk_err read_urls(lk_session *s, const char *url, lk_error *why)
{
    lk_error inner;
    lk_url proxy;
    lk_session_set_text(s, &s->url_text, url);
    if (!s->url_text)
        return LK_ERR_NOMEM;
    lk_err err = lk_url_parse(&s->url, lk_str_of(s->url_text), &inner);
    if (err) {
        lk_error_set(why, err, "engine: signal failure: ", inner.text, (const char *)NULL);
        return err;
    }
    if (s->url.path.len > LK_WS_TARGET_MAX)
        return join_too_long(why);
    if (s->url.tls && !s->config.tls) {
        lk_error_set(why, LK_ERR_TLS, "engine: signal failure: TLS is not available", (const char *)NULL);
        return LK_ERR_TLS;
    }
    lk_str chosen = lk_proxy_choose(&s->proxies, &s->url);
    s->through_proxy = chosen.len > 0;
    if (!s->through_proxy)
        return LK_OK;
    err = lk_proxy_parse(&proxy, chosen, &inner);
    if (err) {
        lk_error_set(why, err, "engine: signal failure: proxy: ", inner.text, (const char *)NULL);
        return err;
    }
    (void)lk_str_copy(s->proxy_host, sizeof s->proxy_host, lk_str_of(proxy.host));
    s->proxy_port = proxy.port;
    s->proxy_userinfo = proxy.userinfo;
    return LK_OK;
}

lk_err lk_session_connect(lk_session *s, lk_usec now, uint64_t id, const char *url, const char *token)
{
    lk_session_op *op;
    lk_error why = {LK_OK, ""};
    if (s->phase != LK_SESSION_NEW)
        return LK_ERR_STATE;
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_CONNECT, &op);
    if (err)
        return err;
    s->now = LK_MAX(now, s->now);
    s->connect_op = op;
    err = check_options(s, &why);
    if (err == LK_OK)
        err = read_urls(s, url ? url : "", &why);
    if (err == LK_OK && !printable(token ? token : "")) {
        err = LK_ERR_INVALID;
        lk_error_set(&why, err, "engine: signal failure: access token has invalid characters", (const char *)NULL);
    }
    if (err == LK_OK && token && strlen(token) > LK_SESSION_TOKEN_MAX) {
        err = LK_ERR_LIMIT;
        lk_error_set(&why, err, "engine: signal failure: access token is longer than 64 KiB", (const char *)NULL);
    }
    if (err == LK_OK && !lk_session_set_text(s, &s->token, token) && !s->token)
        err = LK_ERR_NOMEM;
    if (err) {
        if (why.code == LK_OK)
            lk_error_set(&why, err, "engine: ", lk_err_text(err), (const char *)NULL);
        s->phase = LK_SESSION_OVER;
        lk_session_op_done(s, op, &why);
        return LK_OK;
    }
    s->tries_left = s->config.join_retries;
    s->connect_by = now + LK_MSEC(s->config.connect_timeout_msec) * ((lk_usec)s->config.join_retries + 1);
    s->retry = true;
    lk_session_pump(s);
    return LK_OK;
}
