// SPDX-License-Identifier: Apache-2.0
#include "ws/server.h"

#include <http_parser.h>
#include <wslay/wslay.h>

#include "crypto/crypto.h"
#include "ws/ws_accept.h"

#define HEAD_USEC LK_SEC(10)
#define BODY_USEC LK_SEC(30)
#define IDLE_USEC LK_SEC(75)
#define CLOSE_USEC LK_SEC(3)
#define FRAGMENTS_MAX 1024
#define AHEAD_MAX 65536
#define EVENTS_MAX 4096
#define UNSENT_MAX (16u << 20)

typedef enum phase {
    PHASE_IDLE,   /* nothing of the next request has come */
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_ASKED,  /* the request was given and waits for its answer */
    PHASE_OPEN,   /* WebSocket */
    PHASE_CLOSING,
    PHASE_OVER,
} phase;

/* Headers that are kept; each value in one buffer of its own would cost more than looking them up at the end. */
typedef enum kept { KEPT_AUTHORIZATION, KEPT_CONTENT_TYPE, KEPT_ACCEPT, KEPT_IF_NONE_MATCH, KEPT_UPGRADE, KEPT_KEY, KEPT_VERSION,
              KEPT_COUNT, KEPT_NONE = KEPT_COUNT } kept;
static const char *const kept_names[KEPT_COUNT] = {"authorization", "content-type", "accept", "if-none-match", "upgrade", "sec-websocket-key",
                                                   "sec-websocket-version"};

typedef struct span {
    size_t at, len;
} span;

struct lk_ws_server {
    const lk_env *env;
    phase phase;
    http_parser parser;
    size_t head_bytes; /* names and values, four more for each; without the token */
    size_t token_bytes;
    char field[24];
    bool in_value, keep_alive, head_only, message_done;
    unsigned refuse; /* status a callback wants the request refused with */
    kept current;
    lk_text target, values, body, ahead;
    span kept[KEPT_COUNT];
    bool has_event, event_given;
    lk_text out;
    bool out_given;
    wslay_event_context_ptr ws;
    lk_rd plain;
    unsigned fragments;
    lk_queue events; /* MESSAGE */
    lk_bytes event_data;
    bool told;
    int close_code;
    lk_usec due, ping_at, heard_at;
};

/* ---- towards the stream ----------------------------------------------------------------------------- */

static void out_bytes(lk_ws_server *s, const void *data, size_t len)
{
    if (s->out_given) {
        lk_text_clear(&s->out);
        s->out_given = false;
    }
    lk_text_put(&s->out, (const char *)data, len);
}

static void out_text(lk_ws_server *s, const char *text) { out_bytes(s, text, strlen(text)); }

static void over(lk_ws_server *s, int code)
{
    if (s->phase == PHASE_OVER)
        return;
    s->phase = PHASE_OVER;
    s->close_code = code;
    s->due = s->ping_at = LK_NEVER;
}

static const char *reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {{200, "OK"}, {204, "No Content"}, {302, "Found"}, {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
                {405, "Method Not Allowed"}, {408, "Request Timeout"}, {409, "Conflict"}, {412, "Precondition Failed"},
                {413, "Content Too Large"}, {414, "URI Too Long"}, {426, "Upgrade Required"}, {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
                {503, "Service Unavailable"}};
    for (size_t i = 0; i < LK_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Unknown";
}

static void write_response(lk_ws_server *s, const lk_ws_answer *a)
{
    char num[LK_STR_FMT_MAX];
    out_text(s, "HTTP/1.1 ");
    out_text(s, lk_u64_text(a->status, num));
    out_text(s, " ");
    out_text(s, reason(a->status));
    out_text(s, "\r\nAccess-Control-Allow-Origin: *\r\n");
    if (s->phase != PHASE_OVER && s->parser.method == HTTP_OPTIONS)
        out_text(s, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, *\r\n"
                    "Access-Control-Max-Age: 86400\r\n");
    if (a->content_type) {
        out_text(s, "Content-Type: ");
        out_text(s, a->content_type);
        out_text(s, "\r\n");
    }
    if (a->headers)
        out_text(s, a->headers);
    if (a->status != 204 && a->status != 304) {
        out_text(s, "Content-Length: ");
        out_text(s, lk_u64_text(a->body.len, num));
        out_text(s, "\r\n");
    }
    out_text(s, s->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (!s->head_only)
        out_bytes(s, a->body.data, a->body.len);
}

/* A request that cannot be read to its end: answered, then nothing of this stream is believed any more. */
static void refuse(lk_ws_server *s, unsigned status)
{
    const char *text = reason(status);
    s->keep_alive = s->head_only = false;
    write_response(s, &(lk_ws_answer){.status = status, .content_type = "text/plain; charset=utf-8", .body = {(const uint8_t *)text, strlen(text)}});
    over(s, 0);
}

/* ---- requests --------------------------------------------------------------------------------------- */

/* The token was in there. */
static void forget(lk_text *t)
{
    if (t->p)
        lk_secure_zero(t->p, t->cap);
    lk_text_clear(t);
}

static void next_request(lk_ws_server *s, lk_usec now)
{
    s->phase = PHASE_IDLE;
    s->due = now + IDLE_USEC;
    s->head_bytes = s->token_bytes = 0;
    s->field[0] = 0;
    s->in_value = s->message_done = s->head_only = s->has_event = s->event_given = false;
    s->refuse = 0;
    s->current = KEPT_NONE;
    memset(s->kept, 0, sizeof s->kept);
    forget(&s->target);
    forget(&s->values);
    lk_text_deinit(&s->body); /* may be large, and the next one is far */
    lk_text_init(&s->body, s->env, LK_WS_SERVER_BODY_MAX);
}

static int stop(lk_ws_server *s, unsigned status)
{
    if (!s->refuse)
        s->refuse = status;
    return -1; /* 1 would mean something after a head */
}

static int on_target(http_parser *p, const char *at, size_t len)
{
    lk_ws_server *s = (lk_ws_server *)p->data;
    if (s->target.len + len > LK_WS_SERVER_TARGET_MAX)
        return stop(s, 414);
    lk_text_put(&s->target, at, len);
    return s->target.bad ? stop(s, 503) : 0;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
    lk_ws_server *s = (lk_ws_server *)p->data;
    if (s->in_value || s->head_bytes == 0) {
        s->field[0] = 0;
        s->head_bytes += 4;
    }
    s->in_value = false;
    s->head_bytes += len;
    if (s->head_bytes > LK_WS_SERVER_HEAD_MAX)
        return stop(s, 431);
    size_t have = strlen(s->field);
    /* A name that is cut is none of ours: the longest of those fits. */
    (void)lk_str_copy(s->field + have, sizeof s->field - have, (lk_str){at, len});
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    lk_ws_server *s = (lk_ws_server *)p->data;
    if (!s->in_value) {
        s->in_value = true;
        s->current = KEPT_NONE;
        for (size_t i = 0; i < KEPT_COUNT; i++) {
            if (!lk_str_ieq(lk_str_of(s->field), kept_names[i]))
                continue;
            s->current = (kept)i;
            s->kept[i] = (span){s->values.len, 0}; /* given twice: the last counts */
        }
    }
    if (s->current == KEPT_AUTHORIZATION) /* a token, as long as one in the target may be */
        s->token_bytes += len;
    else
        s->head_bytes += len;
    if (s->head_bytes > LK_WS_SERVER_HEAD_MAX || s->token_bytes > LK_WS_SERVER_TARGET_MAX)
        return stop(s, 431);
    if (s->current == KEPT_NONE)
        return 0;
    lk_text_put(&s->values, at, len);
    s->kept[s->current].len += len;
    return s->values.bad ? stop(s, 503) : 0;
}

static int on_head_done(http_parser *p)
{
    lk_ws_server *s = (lk_ws_server *)p->data;
    if (p->http_major != 1)
        return stop(s, 400);
    if (p->content_length != UINT64_MAX && p->content_length > LK_WS_SERVER_BODY_MAX)
        return stop(s, 413);
    s->keep_alive = http_should_keep_alive(p) != 0;
    s->head_only = p->method == HTTP_HEAD;
    s->phase = PHASE_BODY;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t len)
{
    lk_ws_server *s = (lk_ws_server *)p->data;
    if (s->body.len + len > LK_WS_SERVER_BODY_MAX)
        return stop(s, 413);
    lk_text_put(&s->body, at, len);
    return s->body.bad ? stop(s, 503) : 0;
}

static int on_done(http_parser *p)
{
    ((lk_ws_server *)p->data)->message_done = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {.on_url = on_target, .on_header_field = on_field, .on_header_value = on_value,
                                              .on_headers_complete = on_head_done, .on_body = on_body, .on_message_complete = on_done};

static lk_str kept_value(const lk_ws_server *s, kept k)
{
    return lk_str_trim((lk_str){lk_text_cstr(&s->values) + s->kept[k].at, s->kept[k].len});
}

static bool can_upgrade(const lk_ws_server *s)
{
    return s->parser.method == HTTP_GET && s->parser.upgrade && lk_str_ieq(kept_value(s, KEPT_UPGRADE), "websocket") &&
           lk_str_eq(kept_value(s, KEPT_VERSION), "13") && kept_value(s, KEPT_KEY).len == WS_KEY_TEXT_LEN;
}

static void fill_request(const lk_ws_server *s, lk_ws_request *out)
{
    lk_str rest = {lk_text_cstr(&s->target), s->target.len};
    *out = (lk_ws_request){.method = lk_str_of(http_method_str((enum http_method)s->parser.method)),
                           .authorization = kept_value(s, KEPT_AUTHORIZATION),
                           .content_type = kept_value(s, KEPT_CONTENT_TYPE),
                           .accept = kept_value(s, KEPT_ACCEPT),
                           .if_none_match = kept_value(s, KEPT_IF_NONE_MATCH),
                           .body = {(const uint8_t *)lk_text_cstr(&s->body), s->body.len},
                           .upgrade = can_upgrade(s)};
    out->path = lk_str_cut(&rest, '?');
    out->query = rest;
    while (out->path.len > 1 && out->path.p[0] == '/' && out->path.p[1] == '/') {
        out->path.p++;
        out->path.len--;
    }
}

/* Bytes of requests; returns how many were used: a request that waits stops the reading. */
static size_t read_requests(lk_ws_server *s, lk_usec now, const uint8_t *data, size_t len)
{
    if (s->phase == PHASE_IDLE) {
        s->phase = PHASE_HEAD;
        s->due = now + HEAD_USEC;
    }
    bool in_head = s->phase == PHASE_HEAD;
    size_t used = http_parser_execute(&s->parser, &settings, (const char *)data, len);
    enum http_errno e = HTTP_PARSER_ERRNO(&s->parser);
    if (in_head && s->phase == PHASE_BODY && !s->message_done)
        s->due = now + BODY_USEC;
    if (e == HPE_PAUSED && s->message_done) {
        http_parser_pause(&s->parser, 0);
        s->phase = PHASE_ASKED;
        s->due = LK_NEVER;
        if (s->parser.method == HTTP_OPTIONS)
            lk_ws_server_respond(s, now, 204, NULL, NULL, 0);
        else
            s->has_event = true;
    } else if (e != HPE_OK) {
        refuse(s, s->refuse ? s->refuse : e == HPE_HEADER_OVERFLOW ? 431 : 400);
    }
    return used;
}

/* ---- WebSocket -------------------------------------------------------------------------------------- */

static ssize_t ws_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
    lk_ws_server *s = (lk_ws_server *)user;
    LK_UNUSED(flags);
    if (lk_rd_left(&s->plain) == 0 || s->phase == PHASE_OVER) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = LK_MIN(len, lk_rd_left(&s->plain));
    memcpy(buf, lk_rd_take(&s->plain, n), n);
    return (ssize_t)n;
}

static ssize_t ws_send_cb(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user)
{
    LK_UNUSED(ctx);
    LK_UNUSED(flags);
    out_bytes((lk_ws_server *)user, data, len);
    return (ssize_t)len;
}

static void start_close(lk_ws_server *s, lk_usec now, uint16_t code)
{
    if (s->phase != PHASE_OPEN)
        return;
    (void)wslay_event_queue_close(s->ws, code, NULL, 0);
    (void)wslay_event_send(s->ws);
    s->phase = PHASE_CLOSING;
    s->due = now == LK_NEVER ? LK_NEVER : now + CLOSE_USEC;
    s->ping_at = LK_NEVER;
}

static void ws_frame_start(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    lk_ws_server *s = (lk_ws_server *)user;
    LK_UNUSED(ctx);
    if (arg->opcode & 8)
        return;
    s->fragments = arg->opcode == WSLAY_CONTINUATION_FRAME ? s->fragments + 1 : 1;
    if (s->fragments > FRAGMENTS_MAX)
        over(s, 1006);
}

static void ws_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    lk_ws_server *s = (lk_ws_server *)user;
    LK_UNUSED(ctx);
    if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        s->close_code = arg->status_code ? arg->status_code : 1005;
        return;
    }
    if ((arg->opcode != WSLAY_TEXT_FRAME && arg->opcode != WSLAY_BINARY_FRAME) || s->phase != PHASE_OPEN)
        return;
    lk_ws_server_event ev = {.type = LK_WS_SERVER_EV_MESSAGE, .binary = arg->opcode == WSLAY_BINARY_FRAME};
    uint8_t *copy = (uint8_t *)lk_alloc(s->env, arg->msg_length ? arg->msg_length : 1);
    if (copy && arg->msg_length)
        memcpy(copy, arg->msg, arg->msg_length);
    ev.data = (lk_bytes){copy, arg->msg_length};
    if (!copy || lk_queue_push(&s->events, &ev) != LK_OK) {
        lk_release(s->env, copy, arg->msg_length ? arg->msg_length : 1);
        over(s, 1006);
    }
}

static const struct wslay_event_callbacks callbacks = {.recv_callback = ws_recv, .send_callback = ws_send_cb,
                                                       .on_frame_recv_start_callback = ws_frame_start, .on_msg_recv_callback = ws_message};

static void read_frames(lk_ws_server *s, lk_usec now, const uint8_t *data, size_t len)
{
    s->heard_at = now;
    s->plain = lk_rd_of(data, len);
    bool whole = wslay_event_recv(s->ws) == 0;
    s->plain = (lk_rd){0};
    (void)wslay_event_send(s->ws);
    if (s->phase == PHASE_OVER)
        return;
    if (wslay_event_get_close_received(s->ws) && wslay_event_get_close_sent(s->ws))
        over(s, s->close_code ? s->close_code : 1005);
    else if (!whole || !wslay_event_get_read_enabled(s->ws)) /* wslay has queued a close that says why */
        over(s, 1006);
}

/* ---- the verbs -------------------------------------------------------------------------------------- */

static void read_on(lk_ws_server *s, lk_usec now, const uint8_t *data, size_t len)
{
    while (len && s->phase != PHASE_OVER) {
        if (s->phase == PHASE_OPEN || s->phase == PHASE_CLOSING) {
            read_frames(s, now, data, len);
            return;
        }
        if (s->phase == PHASE_ASKED) {
            lk_text_put(&s->ahead, (const char *)data, len);
            if (s->ahead.bad)
                over(s, 0);
            return;
        }
        size_t used = read_requests(s, now, data, len);
        data += used;
        len -= used;
    }
}

/* What was read ahead of an answer is read now. */
static void resume(lk_ws_server *s, lk_usec now)
{
    lk_text ahead = s->ahead;
    if (ahead.len == 0)
        return;
    lk_text_init(&s->ahead, s->env, AHEAD_MAX);
    read_on(s, now, (const uint8_t *)ahead.p, ahead.len);
    lk_text_deinit(&ahead);
}

void lk_ws_server_input(lk_ws_server *s, lk_usec now, const uint8_t *data, size_t len) { read_on(s, now, data, len); }

void lk_ws_server_input_end(lk_ws_server *s, lk_usec now)
{
    LK_UNUSED(now);
    over(s, s->phase == PHASE_CLOSING || s->phase == PHASE_OPEN ? (s->close_code ? s->close_code : 1006) : 0);
}

void lk_ws_server_answer(lk_ws_server *s, lk_usec now, const lk_ws_answer *answer)
{
    if (s->phase != PHASE_ASKED)
        return;
    if (s->parser.upgrade) /* the client may have begun to speak frames */
        s->keep_alive = false;
    write_response(s, answer);
    if (!s->keep_alive) {
        over(s, 0);
        return;
    }
    http_parser_init(&s->parser, HTTP_REQUEST);
    s->parser.data = s;
    next_request(s, now);
    resume(s, now);
}

void lk_ws_server_respond(lk_ws_server *s, lk_usec now, unsigned status, const char *content_type, const void *body, size_t len)
{
    lk_ws_server_answer(s, now, &(lk_ws_answer){.status = status, .content_type = content_type, .body = {(const uint8_t *)body, len}});
}

lk_err lk_ws_server_upgrade(lk_ws_server *s, lk_usec now)
{
    char accept[WS_ACCEPT_TEXT_LEN + 1];
    if (s->phase != PHASE_ASKED || !can_upgrade(s))
        return LK_ERR_STATE;
    if (!lk_ws_accept_text(accept, kept_value(s, KEPT_KEY).p, s->env))
        return LK_ERR_NOMEM;
    if (wslay_event_context_server_init(&s->ws, &callbacks, s) != 0)
        return LK_ERR_NOMEM;
    wslay_event_config_set_max_recv_msg_length(s->ws, LK_WS_SERVER_MESSAGE_MAX);
    out_text(s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    out_text(s, accept);
    out_text(s, "\r\n\r\n");
    s->phase = PHASE_OPEN;
    s->heard_at = now;
    s->ping_at = now + LK_WS_SERVER_PING_USEC;
    s->due = LK_NEVER;
    s->has_event = false;
    forget(&s->target);
    forget(&s->values);
    lk_text_deinit(&s->target);
    lk_text_deinit(&s->values);
    resume(s, now);
    return LK_OK;
}

lk_err lk_ws_server_send(lk_ws_server *s, bool binary, const void *data, size_t len)
{
    struct wslay_event_msg msg = {binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, (const uint8_t *)data, len};
    if (s->phase != PHASE_OPEN)
        return LK_ERR_STATE;
    if (wslay_event_queue_msg(s->ws, &msg) != 0 || wslay_event_send(s->ws) != 0 || s->out.bad)
        return LK_ERR_NOMEM;
    return LK_OK;
}

void lk_ws_server_close(lk_ws_server *s, lk_usec now, uint16_t code)
{
    if (s->phase == PHASE_OPEN)
        start_close(s, now, code);
    else if (s->phase != PHASE_CLOSING)
        over(s, 0);
}

bool lk_ws_server_is_idle(const lk_ws_server *s) { return s->phase <= PHASE_BODY; }

void lk_ws_server_tick(lk_ws_server *s, lk_usec now)
{
    if (s->out.bad)
        over(s, 1006);
    if (now >= s->due) {
        if (s->phase == PHASE_HEAD || s->phase == PHASE_BODY)
            refuse(s, 408);
        else
            over(s, s->phase == PHASE_CLOSING ? 1006 : 0);
    }
    if (now < s->ping_at)
        return;
    s->ping_at = now + LK_WS_SERVER_PING_USEC;
    if (now - s->heard_at >= LK_WS_SERVER_SILENCE_USEC) {
        over(s, 1006);
        return;
    }
    struct wslay_event_msg ping = {WSLAY_PING, NULL, 0};
    (void)wslay_event_queue_msg(s->ws, &ping);
    (void)wslay_event_send(s->ws);
}

lk_usec lk_ws_server_deadline(const lk_ws_server *s) { return LK_MIN(s->due, s->ping_at); }

bool lk_ws_server_poll_tx(lk_ws_server *s, lk_bytes *out)
{
    if (s->out_given || s->out.len == 0)
        return false;
    *out = (lk_bytes){(const uint8_t *)s->out.p, s->out.len};
    s->out_given = true;
    return true;
}

bool lk_ws_server_poll_event(lk_ws_server *s, lk_ws_server_event *out)
{
    lk_release(s->env, (void *)(uintptr_t)s->event_data.data, s->event_data.len ? s->event_data.len : 1);
    s->event_data = (lk_bytes){0};
    if (lk_queue_pop(&s->events, out)) {
        s->event_data = out->data;
        return true;
    }
    if (s->phase == PHASE_ASKED && s->has_event && !s->event_given) {
        s->event_given = true;
        *out = (lk_ws_server_event){.type = LK_WS_SERVER_EV_REQUEST};
        fill_request(s, &out->request);
        return true;
    }
    if (s->phase != PHASE_OVER || s->told)
        return false;
    s->told = true;
    *out = (lk_ws_server_event){.type = LK_WS_SERVER_EV_CLOSED, .code = s->close_code};
    return true;
}

lk_err lk_ws_server_new(lk_ws_server **out, const lk_env *env, lk_usec now)
{
    lk_ws_server *s = (lk_ws_server *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->ping_at = LK_NEVER;
    http_parser_init(&s->parser, HTTP_REQUEST);
    s->parser.data = s;
    lk_text_init(&s->target, env, LK_WS_SERVER_TARGET_MAX + 1);
    lk_text_init(&s->values, env, LK_WS_SERVER_HEAD_MAX + LK_WS_SERVER_TARGET_MAX);
    lk_text_init(&s->body, env, LK_WS_SERVER_BODY_MAX + 1);
    lk_text_init(&s->ahead, env, AHEAD_MAX);
    lk_text_init(&s->out, env, UNSENT_MAX);
    lk_queue_init(&s->events, env, sizeof(lk_ws_server_event), EVENTS_MAX);
    next_request(s, now);
    s->due = now + HEAD_USEC; /* who connects has something to ask */
    *out = s;
    return LK_OK;
}

void lk_ws_server_free(lk_ws_server *s)
{
    lk_ws_server_event ev;
    if (!s)
        return;
    while (lk_queue_pop(&s->events, &ev))
        lk_release(s->env, (void *)(uintptr_t)ev.data.data, ev.data.len ? ev.data.len : 1);
    lk_release(s->env, (void *)(uintptr_t)s->event_data.data, s->event_data.len ? s->event_data.len : 1);
    forget(&s->target);
    forget(&s->values);
    lk_text_deinit(&s->target);
    lk_text_deinit(&s->values);
    lk_text_deinit(&s->body);
    lk_text_deinit(&s->ahead);
    lk_text_deinit(&s->out);
    lk_queue_deinit(&s->events);
    if (s->ws)
        wslay_event_context_free(s->ws);
    lk_release(s->env, s, sizeof *s);
}
