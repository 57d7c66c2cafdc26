// SPDX-License-Identifier: Apache-2.0
/* What is asked of the HTTP port: health, joins, the admin API, counters. */
#include "api/api_server.h"
#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"

#define ADMIN_ARENA_BYTES (64u << 20)
#define TEXT_TYPE "text/plain; charset=utf-8"
#define JSON_TYPE "application/json"
#define PROTOBUF_TYPE "application/protobuf"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

static void answer(api_visit *v, lk_usec now, unsigned status, const char *type, const char *text)
{
    lk_ws_server_respond(v->http, now, status, type, text, strlen(text));
}

static void answer_text(api_visit *v, lk_usec now, const lk_text *t, const char *type)
{
    if (t->bad)
        answer(v, now, 503, TEXT_TYPE, "no memory");
    else
        lk_ws_server_respond(v->http, now, 200, type, lk_text_cstr(t), t->len);
}

/* ---- how often an address may --------------------------------------------------------------------------------------- */

static api_rate *rate_of(api_serve *s, lk_usec now, const lk_addr *who)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < sizeof who->ip; i++)
        h = (h ^ who->ip[i]) * 16777619u;
    api_rate *r = &s->rates[h % API_SERVE_RATES];
    /* One place per hash: who shares it with a flood is counted with it for that second at most. */
    if (now - r->second >= LK_SEC(1) || !r->who.family)
        *r = (api_rate){.who = *who, .second = now};
    return r;
}

bool api_rate_exceeded(api_serve *s, lk_usec now, const lk_addr *who, bool join)
{
    api_rate *r = rate_of(s, now, who);
    const lk_server_options *o = &s->server->options;
    bool over = r->failed >= o->failed_auths_per_sec || (join && r->joins >= o->joins_per_sec);
    r->joins += join && !over;
    s->rate_limited += over;
    return over;
}

void api_rate_failed(api_serve *s, lk_usec now, const lk_addr *who)
{
    rate_of(s, now, who)->failed++;
    s->auth_failures++;
}

/* ---- tokens ----------------------------------------------------------------------------------------------------------- */

/* Value of a query parameter as it stands there; tokens need no decoding. */
static lk_str parameter(lk_str query, const char *name)
{
    while (query.len) {
        lk_str value = lk_str_cut(&query, '&'), key = lk_str_cut(&value, '=');
        if (lk_str_eq(key, name))
            return value;
    }
    return (lk_str){0};
}

/* The header wins over the query. NULL: the token is good; else what is wrong, fixed text without anything of it. */
static const char *authorize(api_visit *v, const lk_ws_request *r, lk_arena *arena, lk_token *out, lk_str *text)
{
    static const char bearer[] = "Bearer ";
    lk_str token = parameter(r->query, "access_token");
    if (r->authorization.len) {
        if (!lk_str_starts(r->authorization, bearer))
            return "invalid authorization token";
        token = lk_str_trim((lk_str){r->authorization.p + sizeof bearer - 1, r->authorization.len - sizeof bearer + 1});
    }
    if (token.len == 0)
        return "no permissions to access the room";
    *text = token;
    const lk_server *server = v->serve->server;
    lk_token_fault fault = lk_token_verify(out, arena, token, server->keys, server->options.key_count, lk_clock_unix_usec() / LK_SEC(1));
    return fault == LK_TOKEN_OK ? NULL : lk_token_fault_text(fault);
}

/* ---- joins -------------------------------------------------------------------------------------------------------------- */

void api_visit_refused(api_visit *v, lk_usec now, const lk_sfu_refusal *why) { answer(v, now, why->status, TEXT_TYPE, why->text); }

void api_visit_entered(api_visit *v, lk_usec now, api_hall *h, uint32_t conn, api_note *farewell)
{
    lk_err err = api_visit_enter(v, h, conn);
    v->farewell = farewell;
    if (err == LK_OK && (err = lk_ws_server_upgrade(v->http, now)) != LK_OK) {
        api_visit_left(v, now);
    } else if (err != LK_OK) {
        v->farewell = NULL;
        if (farewell)
            api_hall_left(h, farewell, conn);
        else
            lk_sfu_signal_closed(h->sfu, now, conn);
    }
    if (err != LK_OK)
        answer(v, now, 503, TEXT_TYPE, "no memory");
    else
        api_visit_upgraded(v);
}

/* It waits for an answer of this hall, or of all (NULL). */
static lk_err wait_for(api_visit *v, api_hall *h)
{
    lk_err err = lk_map_put(&v->serve->admins, ++v->serve->last_tag, v);
    if (err != LK_OK)
        return err;
    v->admin_tag = v->serve->last_tag;
    v->hall = h;
    return LK_OK;
}

static void enter(api_visit *v, lk_usec now, lk_sfu_join *join, bool validate)
{
    char room[LK_SFU_NAME_MAX + 1];
    api_serve *s = v->serve;
    api_hall *h = s->hall_count > 1 ? api_hall_of_room(s, lk_sfu_join_room(join, room)) : &s->halls[0];
    lk_sfu_refusal why = {200, "success"};
    uint32_t conn = 0;
    if (h->index > 0) {
        if (wait_for(v, h) == LK_OK && api_hall_join(h, v, join, validate) == LK_OK)
            return;
        (void)api_serve_answered(s, v->admin_tag);
        answer(v, now, 503, TEXT_TYPE, "no memory");
        return;
    }
    if (!join->overload)
        join->overload = api_hall_overload(h, now);
    lk_err err = validate ? lk_sfu_validate(h->sfu, now, join, &why) : lk_sfu_accept(h->sfu, now, join, &conn, &why);
    if (err != LK_OK || validate)
        api_visit_refused(v, now, &why);
    else
        api_visit_entered(v, now, h, conn, NULL);
}

static void serve_join(api_visit *v, lk_usec now, const lk_ws_request *r, bool v1, bool validate)
{
    api_serve *s = v->serve;
    char address[LK_ADDR_TEXT_MAX];
    lk_arena arena;
    lk_token token;
    lk_str text = {0};
    if (!validate && !r->upgrade) {
        answer(v, now, 404, TEXT_TYPE, "not found");
        return;
    }
    if (api_rate_exceeded(s, now, &v->remote, !validate)) {
        answer(v, now, 429, TEXT_TYPE, "too many requests from this address");
        return;
    }
    lk_arena_init(&arena, s->env, LK_TOKEN_ARENA_BYTES);
    const char *fault = authorize(v, r, &arena, &token, &text);
    char *copy = fault ? NULL : (char *)lk_arena_alloc(&arena, text.len + 1);
    if (fault) {
        api_rate_failed(s, now, &v->remote);
        answer(v, now, 401, TEXT_TYPE, fault);
    } else if (!copy) {
        answer(v, now, 503, TEXT_TYPE, "no memory");
    } else {
        (void)lk_str_copy(copy, text.len + 1, text);
        api_reach_follow(s, now);
        lk_sfu_join join = {.token = &token, .token_text = copy, .v1 = v1, .query = r->query, .address = lk_addr_ip_text(&v->remote, address),
                            .overload = api_serve_overload(s, now, v)};
        enter(v, now, &join, validate);
    }
    lk_arena_deinit(&arena);
}

static void serve_v0(api_visit *v, lk_usec now, const lk_ws_request *r) { serve_join(v, now, r, false, false); }
static void serve_v1(api_visit *v, lk_usec now, const lk_ws_request *r) { serve_join(v, now, r, true, false); }
static void serve_validate_v0(api_visit *v, lk_usec now, const lk_ws_request *r) { serve_join(v, now, r, false, true); }
static void serve_validate_v1(api_visit *v, lk_usec now, const lk_ws_request *r) { serve_join(v, now, r, true, true); }

/* ---- admin API ------------------------------------------------------------------------------------------------------------ */

/* Requests and responses by name, in the order of lk_sfu_method. */
typedef struct method_json {
    const ProtobufCMessageDescriptor *request, *response;
} method_json;
#define METHOD(request_, response_) {&named__##request_##__descriptor, &named__##response_##__descriptor}
static const method_json methods[LK_SFU_METHODS] = {
    [LK_SFU_CREATE_ROOM] = METHOD(create_room_request, room),
    [LK_SFU_LIST_ROOMS] = METHOD(list_rooms_request, list_rooms_response),
    [LK_SFU_DELETE_ROOM] = METHOD(delete_room_request, delete_room_response),
    [LK_SFU_LIST_PARTICIPANTS] = METHOD(list_participants_request, list_participants_response),
    [LK_SFU_GET_PARTICIPANT] = METHOD(room_participant_identity, participant_info),
    [LK_SFU_REMOVE_PARTICIPANT] = METHOD(room_participant_identity, remove_participant_response),
    [LK_SFU_MUTE_PUBLISHED_TRACK] = METHOD(mute_room_track_request, mute_room_track_response),
    [LK_SFU_UPDATE_PARTICIPANT] = METHOD(update_participant_request, participant_info),
    [LK_SFU_UPDATE_SUBSCRIPTIONS] = METHOD(update_subscriptions_request, update_subscriptions_response),
    [LK_SFU_SEND_DATA] = METHOD(send_data_request, send_data_response),
    [LK_SFU_UPDATE_ROOM_METADATA] = METHOD(update_room_metadata_request, room),
    [LK_SFU_PERFORM_RPC] = METHOD(perform_rpc_request, perform_rpc_response),
    [LK_SFU_FORWARD_PARTICIPANT] = METHOD(forward_participant_request, forward_participant_response),
    [LK_SFU_MOVE_PARTICIPANT] = METHOD(move_participant_request, move_participant_response),
};

static unsigned twirp_status(const char *code)
{
    static const struct {
        const char *code;
        unsigned status;
    } rows[] = {{"invalid_argument", 400}, {"malformed", 400}, {"out_of_range", 400}, {"unauthenticated", 401}, {"permission_denied", 403},
                {"bad_route", 404}, {"not_found", 404}, {"deadline_exceeded", 408}, {"canceled", 408}, {"already_exists", 409},
                {"aborted", 409}, {"failed_precondition", 412}, {"resource_exhausted", 429}, {"unimplemented", 501}, {"unavailable", 503}};
    for (size_t i = 0; i < LK_LEN(rows); i++)
        if (strcmp(rows[i].code, code) == 0)
            return rows[i].status;
    return 500;
}

static void answer_twirp(api_visit *v, lk_usec now, const char *code, const char *text)
{
    lk_text t;
    lk_text_init(&t, v->serve->env, 4096);
    lk_text_z(&t, "{\"code\":");
    lk_text_json(&t, lk_str_of(code));
    lk_text_z(&t, ",\"msg\":");
    lk_text_json(&t, lk_str_of(text));
    lk_text_z(&t, "}");
    lk_ws_server_respond(v->http, now, twirp_status(code), JSON_TYPE, lk_text_cstr(&t), t.len);
    lk_text_deinit(&t);
}

/* The request as protobuf bytes in the arena. */
static lk_err request_bytes(const api_visit *v, const lk_ws_request *r, lk_arena *arena, lk_bytes *out)
{
    ProtobufCMessage *m;
    if (!v->json) {
        *out = r->body;
        return LK_OK;
    }
    lk_err err = lk_pbuf_from_json(methods[v->method].request, arena, (lk_str){(const char *)r->body.data, r->body.len}, &m);
    return err == LK_OK ? lk_pbuf_pack(m, arena, out) : err;
}

/* ---- answers of all halls together ---- */

static lk_err gather(api_visit *v)
{
    v->gather = (api_gather *)lk_alloc0(v->serve->env, sizeof *v->gather);
    if (!v->gather)
        return LK_ERR_NOMEM;
    v->gather->left = v->serve->hall_count;
    lk_text_init(&v->gather->bytes, v->serve->env, ADMIN_ARENA_BYTES);
    return wait_for(v, NULL);
}

void api_visit_gathered(api_visit *v)
{
    if (!v->gather)
        return;
    lk_text_deinit(&v->gather->bytes);
    lk_release(v->serve->env, v->gather, sizeof *v->gather);
    v->gather = NULL;
}

void api_visit_forget(api_visit *v)
{
    api_serve *s = v->serve;
    uint64_t tag = v->admin_tag;
    (void)lk_map_take(&s->admins, tag);
    v->admin_tag = 0;
    for (size_t i = 0; i < s->hall_count; i++) {
        if (v->hall && v->hall != &s->halls[i])
            continue;
        if (i == 0)
            lk_sfu_admin_forget(s->halls[i].sfu, tag);
        else
            api_hall_admin_forget(&s->halls[i], tag);
    }
}

/* The hall of the room, or all of them where none is named. */
static lk_err ask(api_visit *v, lk_usec now, const lk_token *token, lk_str token_text, lk_bytes request)
{
    api_serve *s = v->serve;
    bool all = v->method == LK_SFU_LIST_ROOMS && s->hall_count > 1;
    api_hall *h = s->hall_count > 1 ? api_hall_of_room(s, lk_sfu_admin_room(v->method, request)) : &s->halls[0];
    lk_err err = all ? gather(v) : wait_for(v, h);
    for (size_t i = 1; i < s->hall_count && err == LK_OK; i++)
        if (all || h->index == i)
            err = api_hall_admin(&s->halls[i], v->admin_tag, v->method, token_text, request);
    if (err == LK_OK && (all || h->index == 0))
        lk_sfu_admin(s->halls[0].sfu, now, v->admin_tag, v->method, token, request);
    return err;
}

static void serve_method(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    api_serve *s = v->serve;
    lk_arena arena;
    lk_token token;
    lk_str text = {0};
    lk_bytes request;
    if (api_rate_exceeded(s, now, &v->remote, false)) {
        answer_twirp(v, now, "resource_exhausted", "too many requests from this address");
        return;
    }
    lk_arena_init(&arena, s->env, ADMIN_ARENA_BYTES);
    const char *fault = authorize(v, r, &arena, &token, &text);
    if (fault) {
        if (text.len || r->authorization.len)
            api_rate_failed(s, now, &v->remote);
        answer_twirp(v, now, "unauthenticated", r->authorization.len ? fault : "permissions denied");
    } else if (request_bytes(v, r, &arena, &request) != LK_OK) {
        answer_twirp(v, now, "malformed", "the json request could not be decoded");
    } else if (ask(v, now, &token, text, request) != LK_OK) {
        (void)api_serve_answered(s, v->admin_tag);
        api_visit_gathered(v);
        answer_twirp(v, now, "unavailable", "no memory");
    }
    lk_arena_deinit(&arena);
}

static void serve_admin(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    static const char service[] = "/twirp/livekit.RoomService/";
    lk_str type = r->content_type, name = r->path;
    type = lk_str_trim(lk_str_cut(&type, ';'));
    v->json = lk_str_ieq(type, JSON_TYPE);
    if (!lk_str_eq(r->method, "POST")) {
        answer_twirp(v, now, "bad_route", "unsupported method (only POST is allowed)");
        return;
    }
    if (!v->json && !lk_str_ieq(type, PROTOBUF_TYPE)) {
        answer_twirp(v, now, "bad_route", "unexpected Content-Type (application/json and application/protobuf are known)");
        return;
    }
    if (lk_str_starts(name, service)) {
        name = (lk_str){name.p + sizeof service - 1, name.len - sizeof service + 1};
        for (int i = 0; i < LK_SFU_METHODS; i++) {
            if (!lk_str_eq(name, lk_sfu_methods[i].name))
                continue;
            v->method = (lk_sfu_method)i;
            serve_method(v, now, r);
            return;
        }
    }
    answer_twirp(v, now, "bad_route", "no handler for this path");
}

void api_visit_admin_done(api_visit *v, lk_usec now, const lk_sfu_event *ev)
{
    lk_arena arena;
    ProtobufCMessage *m;
    lk_text t;
    lk_bytes bytes = ev->bytes;
    if (v->gather && !ev->twirp) {
        lk_text_put(&v->gather->bytes, (const char *)ev->bytes.data, ev->bytes.len);
        if (--v->gather->left > 0)
            return;
        bytes = (lk_bytes){(const uint8_t *)lk_text_cstr(&v->gather->bytes), v->gather->bytes.len};
    }
    (void)api_serve_answered(v->serve, ev->tag);
    if (ev->twirp || (v->gather && v->gather->bytes.bad)) {
        answer_twirp(v, now, ev->twirp ? ev->twirp : "unavailable", ev->text ? ev->text : "");
        api_visit_gathered(v);
        return;
    }
    if (!v->json) {
        lk_ws_server_respond(v->http, now, 200, PROTOBUF_TYPE, bytes.data, bytes.len);
        api_visit_gathered(v);
        return;
    }
    lk_arena_init(&arena, v->serve->env, ADMIN_ARENA_BYTES);
    lk_text_init(&t, v->serve->env, ADMIN_ARENA_BYTES);
    if (lk_pbuf_unpack_raw(methods[v->method].response, &arena, bytes, &m) == LK_OK)
        lk_pbuf_to_json(&t, m);
    else
        t.bad = true;
    answer_text(v, now, &t, JSON_TYPE);
    lk_text_deinit(&t);
    lk_arena_deinit(&arena);
    api_visit_gathered(v);
}

/* ---- counters ----------------------------------------------------------------------------------------------------------- */

void api_stats_add(lk_sfu_stats *sum, const lk_sfu_stats *more)
{
    sum->rooms += more->rooms;
    sum->participants += more->participants;
    sum->tracks_published += more->tracks_published;
    sum->tracks_subscribed += more->tracks_subscribed;
    sum->connections += more->connections;
    sum->joins += more->joins;
    sum->resumes += more->resumes;
    sum->joins_refused += more->joins_refused;
    sum->leaves += more->leaves;
    sum->rooms_created += more->rooms_created;
    sum->signal_in += more->signal_in;
    sum->signal_out += more->signal_out;
    sum->signal_garbage += more->signal_garbage;
    sum->packets_in += more->packets_in;
    sum->packets_out += more->packets_out;
    sum->bytes_in += more->bytes_in;
    sum->bytes_out += more->bytes_out;
    sum->packets_stray += more->packets_stray;
    sum->data_in += more->data_in;
    sum->data_out += more->data_out;
    sum->data_dropped += more->data_dropped;
    sum->denied += more->denied;
}

static void answer_metrics(api_visit *v, lk_usec now, const api_gather *g)
{
    const api_serve *s = v->serve;
    const lk_sfu_stats st = g->stats;
    lk_text t;
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"livekit_room_total", "gauge", "Rooms there are.", st.rooms},
        {"livekit_participant_total", "gauge", "Participants there are.", st.participants},
        {"livekit_track_published_total", "gauge", "Tracks that are published.", st.tracks_published},
        {"livekit_track_subscribed_total", "gauge", "Tracks that are subscribed to.", st.tracks_subscribed},
        {"livekit_signal_connection_total", "gauge", "Signal connections that are open.", st.connections},
        {"livekit_room_created_total", "counter", "Rooms made since the start.", st.rooms_created},
        {"livekit_join_total", "counter", "Joins.", st.joins},
        {"livekit_resume_total", "counter", "Resumed sessions.", st.resumes},
        {"livekit_join_refused_total", "counter", "Joins that were refused.", st.joins_refused},
        {"livekit_leave_total", "counter", "Participants that left.", st.leaves},
        {"livekit_denied_total", "counter", "Actions a grant did not allow.", st.denied},
        {"livekit_signal_in_total", "counter", "Signal messages from clients.", st.signal_in},
        {"livekit_signal_out_total", "counter", "Signal messages to clients.", st.signal_out},
        {"livekit_signal_garbage_total", "counter", "Signal messages that were none.", st.signal_garbage},
        {"livekit_packet_in_total", "counter", "Datagrams from clients.", st.packets_in},
        {"livekit_packet_out_total", "counter", "Datagrams to clients.", st.packets_out},
        {"livekit_packet_in_bytes", "counter", "Bytes of datagrams from clients.", st.bytes_in},
        {"livekit_packet_out_bytes", "counter", "Bytes of datagrams to clients.", st.bytes_out},
        {"livekit_packet_stray_total", "counter", "Datagrams that belonged to nobody.", st.packets_stray},
        {"livekit_data_in_total", "counter", "Messages of data channels from clients.", st.data_in},
        {"livekit_data_out_total", "counter", "Messages of data channels to clients.", st.data_out},
        {"livekit_data_dropped_total", "counter", "Messages of data channels that were dropped.", st.data_dropped},
        {"livekit_loop_total", "gauge", "Loops that carry rooms.", s->hall_count},
        {"livekit_packet_passed_total", "counter", "Datagrams handed from one loop to another.", g->passed},
        {"livekit_packet_passed_dropped_total", "counter", "Packets there was no room for between two loops.", g->dropped},
        {"livekit_http_request_total", "counter", "HTTP requests.", s->http_requests},
        {"livekit_auth_failure_total", "counter", "Requests whose token was refused.", s->auth_failures},
        {"livekit_rate_limited_total", "counter", "Requests refused because their address asked too often.", s->rate_limited},
    };
    lk_text_init(&t, s->env, 65536);
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        const char *const parts[] = {"# HELP ", rows[i].name, " ", rows[i].help, "\n# TYPE ", rows[i].name, " ", rows[i].type, "\n", rows[i].name, " "};
        for (size_t k = 0; k < LK_LEN(parts); k++)
            lk_text_z(&t, parts[k]);
        lk_text_u64(&t, rows[i].value);
        lk_text_ch(&t, '\n');
    }
    answer_text(v, now, &t, METRICS_TYPE);
    lk_text_deinit(&t);
}

void api_visit_stats(api_visit *v, lk_usec now, const lk_sfu_stats *st, uint64_t passed, uint64_t dropped)
{
    api_gather *g = v->gather;
    api_stats_add(&g->stats, st);
    g->passed += passed;
    g->dropped += dropped;
    if (--g->left > 0)
        return;
    (void)api_serve_answered(v->serve, v->admin_tag);
    answer_metrics(v, now, g);
    api_visit_gathered(v);
}

static void serve_metrics(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    api_serve *s = v->serve;
    lk_sfu_stats st;
    LK_UNUSED(r);
    if (!lk_addr_is_loopback(&v->remote)) { /* they say who is there: for this machine alone */
        answer(v, now, 404, TEXT_TYPE, "not found");
        return;
    }
    lk_err err = gather(v);
    for (size_t i = 1; i < s->hall_count && err == LK_OK; i++)
        err = api_hall_ask_stats(&s->halls[i], v->admin_tag);
    if (err != LK_OK) {
        (void)api_serve_answered(s, v->admin_tag);
        api_visit_gathered(v);
        answer(v, now, 503, TEXT_TYPE, "no memory");
        return;
    }
    lk_sfu_get_stats(s->halls[0].sfu, &st);
    api_visit_stats(v, now, &st, s->halls[0].passed, s->halls[0].dropped);
}

static void serve_health(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    if (!v->serve->server->options.page || !api_page_redirect(v, now, r))
        answer(v, now, 200, TEXT_TYPE, "OK");
}

/* ---- routes ---------------------------------------------------------------------------------------------------------------- */

void api_visit_request(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    static const struct {
        const char *path;
        void (*serve)(api_visit *, lk_usec, const lk_ws_request *);
    } routes[] = {{"/", serve_health}, {"/rtc", serve_v0}, {"/rtc/v1", serve_v1}, {"/rtc/validate", serve_validate_v0},
                  {"/rtc/v1/validate", serve_validate_v1}, {"/metrics", serve_metrics}};
    bool reads = lk_str_eq(r->method, "GET") || lk_str_eq(r->method, "HEAD");
    v->serve->http_requests++;
    if (lk_str_starts(r->path, "/twirp/")) {
        serve_admin(v, now, r);
        return;
    }
    for (size_t i = 0; i < LK_LEN(routes); i++) {
        if (!lk_str_eq(r->path, routes[i].path))
            continue;
        if (reads)
            routes[i].serve(v, now, r);
        else
            answer(v, now, 405, TEXT_TYPE, "method not allowed");
        return;
    }
    if (!reads || !v->serve->server->options.page || !api_page_serve(v, now, r))
        answer(v, now, 404, TEXT_TYPE, "not found");
}
