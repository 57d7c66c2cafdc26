// SPDX-License-Identifier: Apache-2.0
#include "ws/ws.h"

#include <http_parser.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <wslay/wslay.h>

#include "crypto/crypto.h"
#include "ws/ws_accept.h"

#define HEAD_MAX 16384
#define FRAGMENTS_MAX 1024
#define FRAME_HEAD_MAX 14
#define UNSENT_MAX (8u << 20)
#define EVENTS_MAX 1024

typedef enum ws_phase { PHASE_IDLE, PHASE_PROXY, PHASE_TLS, PHASE_HEAD, PHASE_OPEN, PHASE_OVER } ws_phase;

struct lk_tls_context {
    const lk_env *env;
    SSL_CTX *ctx;
};

struct lk_ws {
    const lk_env *env;
    ws_phase phase;
    char host[LK_URL_HOST_MAX + 1];
    uint16_t port;
    bool tls, upgrade, through_proxy, host_is_ip, saw_bytes;
    lk_text request, proxy_request; /* composed at once, sent when its turn comes */
    char key[WS_KEY_TEXT_LEN + 1];
    SSL *ssl;
    BIO *net_in, *net_out; /* owned by ssl */
    lk_text out;           /* bytes for the stream */
    bool out_given;
    http_parser parser;
    size_t head_bytes;
    char field[40], accept[40];
    bool in_value, upgraded, response_done;
    lk_text body;
    wslay_event_context_ptr ws;
    lk_rd plain;     /* input wslay reads from */
    lk_text message; /* what has come of one: kept here, as wslay gives its memory back unwiped */
    unsigned fragments;
    bool in_control; /* the frame that comes in */
    lk_queue events;
    lk_bytes event_data; /* owned; given with the last event */
    bool ended, told;    /* CLOSED or FAILED is in `last`; has been given */
    lk_ws_event last;
    int close_code;
};

/* ---- trust ----------------------------------------------------------------------------------------- */

lk_err lk_tls_context_new(lk_tls_context **out, const lk_env *env, const char *ca_file)
{
    lk_tls_context *c = (lk_tls_context *)lk_alloc0(env, sizeof *c);
    if (!c)
        return LK_ERR_NOMEM;
    c->env = env;
    c->ctx = SSL_CTX_new(TLS_client_method());
    /* The folder of hashed certificates is read per need; a bundle file would cost 27 ms and 1.4 MB at once. */
    bool ok = c->ctx && SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) == 1 &&
              SSL_CTX_set_default_verify_dir(c->ctx) == 1 &&
              (!ca_file || SSL_CTX_load_verify_locations(c->ctx, ca_file, NULL) == 1);
    ERR_clear_error();
    if (!ok) {
        lk_tls_context_free(c);
        return LK_ERR_TLS;
    }
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS);
    *out = c;
    return LK_OK;
}

void lk_tls_context_free(lk_tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ctx);
    lk_release(c->env, c, sizeof *c);
}

/* ---- events ---------------------------------------------------------------------------------------- */

static void fail(lk_ws *w, lk_err code, const char *before, const char *after);

/* The end has a place of its own: it comes also when there is no room and no memory, and nothing comes after it. */
static void push_event(lk_ws *w, const lk_ws_event *ev)
{
    if (!w->ended && (ev->type == LK_WS_EV_CLOSED || ev->type == LK_WS_EV_FAILED)) {
        w->last = *ev;
        w->ended = true;
        w->phase = PHASE_OVER;
        return;
    }
    lk_err err = w->ended ? LK_ERR_STATE : lk_queue_push(&w->events, ev);
    if (err == LK_OK)
        return;
    lk_release(w->env, (void *)(uintptr_t)ev->data.data, ev->data.len);
    if (!w->ended)
        fail(w, err, "too many messages at once from ", "");
}

static void place(const lk_ws *w, char out[LK_URL_HOST_MAX + 16])
{
    char num[LK_STR_FMT_MAX];
    lk_text t;
    lk_text_init(&t, w->env, LK_URL_HOST_MAX + 10);
    lk_text_z(&t, w->host);
    lk_text_ch(&t, ':');
    lk_text_z(&t, lk_u64_text(w->port, num));
    (void)lk_str_copy(out, LK_URL_HOST_MAX + 16, (lk_str){lk_text_cstr(&t), t.len});
    lk_text_deinit(&t);
}

static void fail(lk_ws *w, lk_err code, const char *before, const char *after)
{
    lk_ws_event ev = {.type = LK_WS_EV_FAILED};
    char where[LK_URL_HOST_MAX + 16];
    place(w, where);
    lk_error_set(&ev.error, code, before, where, after, (const char *)NULL);
    push_event(w, &ev);
}

static void push_data_event(lk_ws *w, lk_ws_event ev, const void *data, size_t len)
{
    if (len) {
        uint8_t *copy = (uint8_t *)lk_alloc(w->env, len);
        if (!copy) {
            fail(w, LK_ERR_NOMEM, "no memory for a message of ", "");
            return;
        }
        memcpy(copy, data, len);
        ev.data = (lk_bytes){copy, len};
    }
    push_event(w, &ev);
}

/* ---- towards the stream ---------------------------------------------------------------------------- */

static void out_bytes(lk_ws *w, const void *data, size_t len)
{
    if (w->out_given) { /* what poll_tx gave has been sent by now */
        lk_text_clear(&w->out);
        w->out_given = false;
    }
    lk_text_put(&w->out, (const char *)data, len);
    if (w->out.bad)
        fail(w, LK_ERR_FULL, "too much unsent data for ", "");
}

static void drain_tls(lk_ws *w)
{
    char buf[4096];
    int n;
    while (w->ssl && (n = BIO_read(w->net_out, buf, sizeof buf)) > 0)
        out_bytes(w, buf, (size_t)n);
}

static void app_write(lk_ws *w, const void *data, size_t len)
{
    if (!w->tls) {
        out_bytes(w, data, len);
        return;
    }
    ERR_clear_error();
    if (len && SSL_write(w->ssl, data, (int)len) != (int)len)
        fail(w, LK_ERR_TLS, "TLS write failed to ", "");
    ERR_clear_error();
    drain_tls(w);
}

/* ---- HTTP head ------------------------------------------------------------------------------------- */

/* Names and values come in pieces, cut wherever the stream was. */
static void append_piece(char *out, size_t cap, const char *at, size_t len)
{
    size_t have = strlen(out);
    (void)lk_str_copy(out + have, cap - have, (lk_str){at, len});
}

static int on_field(http_parser *p, const char *at, size_t len)
{
    lk_ws *w = (lk_ws *)p->data;
    if (w->in_value)
        w->field[0] = 0;
    w->in_value = false;
    append_piece(w->field, sizeof w->field, at, len);
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    lk_ws *w = (lk_ws *)p->data;
    bool first = !w->in_value;
    w->in_value = true;
    if (lk_str_ieq(lk_str_of(w->field), "sec-websocket-accept")) {
        if (first)
            w->accept[0] = 0;
        append_piece(w->accept, sizeof w->accept, at, len);
    }
    return 0;
}

static int on_head_done(http_parser *p)
{
    lk_ws *w = (lk_ws *)p->data;
    w->upgraded = p->status_code == 101;
    return w->upgraded || w->phase == PHASE_PROXY ? 2 : 0; /* 2: no body, what follows is not HTTP */
}

static int on_body(http_parser *p, const char *at, size_t len)
{
    lk_ws *w = (lk_ws *)p->data;
    size_t room = LK_WS_BODY_MAX - w->body.len;
    lk_text_put(&w->body, at, LK_MIN(len, room));
    return 0;
}

static int on_done(http_parser *p)
{
    ((lk_ws *)p->data)->response_done = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {.on_header_field = on_field, .on_header_value = on_value,
                                              .on_headers_complete = on_head_done, .on_body = on_body,
                                              .on_message_complete = on_done};

static void start_parser(lk_ws *w)
{
    http_parser_init(&w->parser, HTTP_RESPONSE);
    w->parser.data = w;
    w->head_bytes = 0;
    w->response_done = w->in_value = false;
    w->field[0] = w->accept[0] = 0;
}

static bool accept_matches(const lk_ws *w)
{
    char want[WS_ACCEPT_TEXT_LEN + 1];
    return lk_ws_accept_text(want, w->key, w->env) && strcmp(want, w->accept) == 0;
}

/* ---- WebSocket frames ------------------------------------------------------------------------------ */

static ssize_t ws_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
    lk_ws *w = (lk_ws *)user;
    LK_UNUSED(flags);
    if (lk_rd_left(&w->plain) == 0 || w->ended) {
        lk_secure_zero(buf, len); /* its buffer is given back as it is, and what came before may be a password */
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = LK_MIN(len, lk_rd_left(&w->plain));
    memcpy(buf, lk_rd_take(&w->plain, n), n);
    return (ssize_t)n;
}

static ssize_t ws_send_cb(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user)
{
    LK_UNUSED(ctx);
    LK_UNUSED(flags);
    app_write((lk_ws *)user, data, len);
    return (ssize_t)len;
}

static int ws_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *user)
{
    LK_UNUSED(ctx);
    const lk_env *env = ((lk_ws *)user)->env;
    return env->rng->fill(env->rng->ctx, buf, len) == LK_OK ? 0 : -1;
}

static void ws_frame_start(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    lk_ws *w = (lk_ws *)user;
    LK_UNUSED(ctx);
    w->in_control = (arg->opcode & 8) != 0;
    if (w->in_control)
        return;
    w->fragments = arg->opcode == WSLAY_CONTINUATION_FRAME ? w->fragments + 1 : 1;
    if (w->fragments > FRAGMENTS_MAX)
        fail(w, LK_ERR_LIMIT, "a message in more than 1024 fragments from ", "");
}

static void ws_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
    lk_ws *w = (lk_ws *)user;
    LK_UNUSED(ctx);
    if (!w->in_control)
        lk_text_put(&w->message, (const char *)arg->data, arg->data_length);
}

static void ws_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    lk_ws *w = (lk_ws *)user;
    LK_UNUSED(ctx);
    if (arg->opcode == WSLAY_TEXT_FRAME || arg->opcode == WSLAY_BINARY_FRAME) {
        lk_ws_event ev = {.type = LK_WS_EV_MESSAGE, .binary = arg->opcode == WSLAY_BINARY_FRAME};
        if (w->message.bad)
            fail(w, LK_ERR_NOMEM, "no memory for a message of ", "");
        else
            push_data_event(w, ev, w->message.p, w->message.len);
        lk_text_deinit(&w->message);
        lk_text_init(&w->message, w->env, LK_WS_MESSAGE_MAX);
    } else if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        w->close_code = arg->status_code ? arg->status_code : 1005;
    }
}

static const struct wslay_event_callbacks callbacks = {
    .recv_callback = ws_recv, .send_callback = ws_send_cb, .genmask_callback = ws_mask,
    .on_frame_recv_start_callback = ws_frame_start, .on_frame_recv_chunk_callback = ws_chunk,
    .on_msg_recv_callback = ws_message};

static void pump_websocket(lk_ws *w)
{
    if (wslay_event_recv(w->ws) != 0 && !w->ended) {
        fail(w, LK_ERR_PROTOCOL, "WebSocket frames broken from ", "");
        return;
    }
    (void)wslay_event_send(w->ws);
    if (wslay_event_get_close_received(w->ws) && wslay_event_get_close_sent(w->ws))
        push_event(w, &(lk_ws_event){.type = LK_WS_EV_CLOSED, .code = w->close_code});
    else if (!wslay_event_get_read_enabled(w->ws) && !w->ended)
        fail(w, LK_ERR_PROTOCOL, "WebSocket frames broken from ", "");
}

/* ---- phases ---------------------------------------------------------------------------------------- */

static void plain_input(lk_ws *w, const uint8_t *data, size_t len);

static void send_request(lk_ws *w)
{
    w->phase = PHASE_HEAD;
    start_parser(w);
    app_write(w, w->request.p, w->request.len);
    lk_text_deinit(&w->request); /* it carries the token: gone as soon as sent */
}

static void step_tls(lk_ws *w)
{
    uint8_t buf[4096];
    if (w->phase == PHASE_TLS) {
        ERR_clear_error();
        int r = SSL_do_handshake(w->ssl);
        int why = SSL_get_error(w->ssl, r);
        drain_tls(w);
        if (r != 1 && why != SSL_ERROR_WANT_READ) {
            long verdict = SSL_get_verify_result(w->ssl);
            unsigned long e = ERR_peek_error();
            int reason = ERR_GET_REASON(e);
            if (verdict != X509_V_OK)
                fail(w, LK_ERR_TLS, "certificate of ", X509_verify_cert_error_string(verdict));
            else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_HTTPS_PROXY_REQUEST)
                fail(w, LK_ERR_TLS, "server at ", " does not speak TLS (use ws://?)");
            else
                fail(w, LK_ERR_TLS, "TLS handshake failed with ", "");
        } else if (r == 1) {
            send_request(w);
        }
        ERR_clear_error();
    }
    while (w->phase == PHASE_HEAD || w->phase == PHASE_OPEN) {
        ERR_clear_error();
        int n = SSL_read(w->ssl, buf, sizeof buf);
        int why = SSL_get_error(w->ssl, n);
        ERR_clear_error();
        if (n <= 0) {
            if (why == SSL_ERROR_ZERO_RETURN)
                lk_ws_input_end(w, NULL);
            else if (why != SSL_ERROR_WANT_READ)
                fail(w, LK_ERR_TLS, "TLS broken by ", "");
            break;
        }
        plain_input(w, buf, (size_t)n);
    }
    drain_tls(w);
}

static void after_stream(lk_ws *w)
{
    if (!w->tls) {
        send_request(w);
        return;
    }
    w->phase = PHASE_TLS;
    step_tls(w);
}

static void open_websocket(lk_ws *w)
{
    if (!accept_matches(w)) {
        fail(w, LK_ERR_PROTOCOL, "server at ", " is not a WebSocket server (wrong accept key)");
        return;
    }
    if (wslay_event_context_client_init(&w->ws, &callbacks, w) != 0) {
        fail(w, LK_ERR_NOMEM, "no memory for a connection to ", "");
        return;
    }
    wslay_event_config_set_max_recv_msg_length(w->ws, LK_WS_MESSAGE_MAX);
    wslay_event_config_set_no_buffering(w->ws, 1);
    w->phase = PHASE_OPEN;
    push_event(w, &(lk_ws_event){.type = LK_WS_EV_OPEN});
}

static size_t parse_head(lk_ws *w, const uint8_t *data, size_t len)
{
    size_t used = http_parser_execute(&w->parser, &settings, (const char *)data, len);
    enum http_errno e = HTTP_PARSER_ERRNO(&w->parser);
    w->head_bytes += used;
    if (e == HPE_PAUSED) {
        http_parser_pause(&w->parser, 0);
        if (used < len && data[used] == '\n' && w->response_done) /* pausing leaves the last LF unread */
            used++;
        return used;
    }
    if (e != HPE_OK || w->head_bytes > HEAD_MAX + LK_WS_BODY_MAX) {
        bool proxy = w->phase == PHASE_PROXY;
        fail(w, LK_ERR_PROTOCOL, proxy ? "no way to " : "server at ", proxy ? ": what should be a proxy is none" : " is not a LiveKit server");
    }
    return used;
}

static void plain_input(lk_ws *w, const uint8_t *data, size_t len)
{
    if (w->phase == PHASE_HEAD) {
        size_t used = parse_head(w, data, len);
        if (w->phase != PHASE_HEAD || !w->response_done)
            return;
        data += used;
        len -= used;
        if (w->upgraded && w->upgrade) {
            open_websocket(w);
        } else {
            lk_ws_event ev = {.type = LK_WS_EV_RESPONSE, .code = (int)w->parser.status_code};
            push_data_event(w, ev, w->body.p, w->body.len);
            push_event(w, &(lk_ws_event){.type = LK_WS_EV_CLOSED, .code = 1000});
        }
    }
    if (w->phase == PHASE_OPEN && len) {
        w->plain = lk_rd_of(data, len);
        pump_websocket(w);
        w->plain = (lk_rd){0};
    }
}

static void proxy_input(lk_ws *w, const uint8_t *data, size_t len)
{
    size_t used = parse_head(w, data, len);
    if (w->phase != PHASE_PROXY || !w->response_done)
        return;
    if (w->parser.status_code / 100 != 2) {
        char status[LK_STR_FMT_MAX + 32] = " refused by the proxy: ", num[LK_STR_FMT_MAX];
        size_t n = strlen(status);
        (void)lk_str_copy(status + n, sizeof status - n, lk_str_of(lk_u64_text(w->parser.status_code, num)));
        fail(w, LK_ERR_NETWORK, "connection to ", status);
        return;
    }
    after_stream(w);
    if (used < len)
        lk_ws_input(w, data + used, len - used);
}

void lk_ws_input(lk_ws *w, const uint8_t *data, size_t len)
{
    w->saw_bytes = true;
    if (w->phase == PHASE_PROXY) {
        proxy_input(w, data, len);
    } else if (w->tls && w->phase != PHASE_OVER) {
        if (BIO_write(w->net_in, data, (int)len) == (int)len)
            step_tls(w);
        else
            fail(w, LK_ERR_NOMEM, "no memory for data of ", "");
    } else {
        plain_input(w, data, len);
    }
}

void lk_ws_input_end(lk_ws *w, const lk_error *why)
{
    if (w->ended)
        return;
    if (w->phase == PHASE_OPEN) {
        push_event(w, &(lk_ws_event){.type = LK_WS_EV_CLOSED, .code = w->close_code ? w->close_code : 1006});
    } else if (why) {
        push_event(w, &(lk_ws_event){.type = LK_WS_EV_FAILED, .error = *why});
    } else if (w->phase == PHASE_HEAD && w->parser.status_code && !w->tls) {
        (void)http_parser_execute(&w->parser, &settings, NULL, 0); /* a body that ends with the stream */
        lk_ws_event ev = {.type = LK_WS_EV_RESPONSE, .code = (int)w->parser.status_code};
        push_data_event(w, ev, w->body.p, w->body.len);
        push_event(w, &(lk_ws_event){.type = LK_WS_EV_CLOSED, .code = 1000});
    } else if (w->phase == PHASE_PROXY) {
        fail(w, LK_ERR_NETWORK, "no way to ", ": the proxy closed the connection");
    } else {
        fail(w, LK_ERR_NETWORK, "connection closed by ", w->phase == PHASE_TLS ? " during the TLS handshake" : " before it answered");
    }
}

void lk_ws_start(lk_ws *w)
{
    if (w->phase != PHASE_IDLE)
        return;
    if (w->through_proxy) {
        w->phase = PHASE_PROXY;
        start_parser(w);
        out_bytes(w, w->proxy_request.p, w->proxy_request.len);
        lk_text_deinit(&w->proxy_request);
        return;
    }
    after_stream(w);
}

/* One frame, masked. Not through wslay, which would keep a copy of the message and give it back unwiped. [RFC6455 s5.2] */
static lk_err send_frame(lk_ws *w, uint8_t opcode, const uint8_t *data, size_t len)
{
    size_t cap = FRAME_HEAD_MAX + len;
    uint8_t *frame = (uint8_t *)lk_alloc(w->env, cap), mask[4];
    if (!frame)
        return LK_ERR_NOMEM;
    lk_wr wr = lk_wr_of(frame, cap);
    lk_wr_u8(&wr, (uint8_t)(0x80 | opcode));
    lk_wr_u8(&wr, (uint8_t)(0x80 | (len < 126 ? len : len < 65536 ? 126 : 127)));
    if (len >= 65536)
        lk_wr_u64(&wr, len);
    else if (len >= 126)
        lk_wr_u16(&wr, (uint16_t)len);
    lk_err err = w->env->rng->fill(w->env->rng->ctx, mask, sizeof mask);
    if (err == LK_OK) {
        lk_wr_put(&wr, mask, sizeof mask);
        for (size_t i = 0; i < len; i++)
            frame[wr.len + i] = data[i] ^ mask[i & 3];
        app_write(w, frame, wr.len + len);
    }
    lk_release(w->env, frame, cap);
    return err;
}

lk_err lk_ws_send(lk_ws *w, bool binary, const void *data, size_t len)
{
    if (w->phase != PHASE_OPEN || wslay_event_get_close_sent(w->ws))
        return LK_ERR_STATE;
    if (!w->out_given && w->out.len + len > UNSENT_MAX)
        return LK_ERR_FULL;
    lk_err err = send_frame(w, binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, (const uint8_t *)data, len);
    return err ? err : w->ended ? LK_ERR_STATE : LK_OK;
}

void lk_ws_close(lk_ws *w, uint16_t code)
{
    if (w->phase != PHASE_OPEN)
        return;
    (void)wslay_event_queue_close(w->ws, code, NULL, 0);
    (void)wslay_event_send(w->ws);
}

bool lk_ws_poll_tx(lk_ws *w, lk_bytes *out)
{
    if (w->out_given || w->out.len == 0)
        return false;
    *out = (lk_bytes){(const uint8_t *)w->out.p, w->out.len};
    w->out_given = true;
    return true;
}

bool lk_ws_poll_event(lk_ws *w, lk_ws_event *out)
{
    lk_release(w->env, (void *)(uintptr_t)w->event_data.data, w->event_data.len);
    w->event_data = (lk_bytes){0};
    if (lk_queue_pop(&w->events, out)) {
        w->event_data = out->data;
        return true;
    }
    if (!w->ended || w->told)
        return false;
    w->told = true;
    *out = w->last;
    return true;
}

/* ---- construction ---------------------------------------------------------------------------------- */

static void put_authority(lk_text *t, const lk_url *u, bool always_port)
{
    bool v6 = u->host_is_ip && memchr(u->host, ':', strlen(u->host));
    if (v6)
        lk_text_ch(t, '[');
    lk_text_z(t, u->host);
    if (v6)
        lk_text_ch(t, ']');
    if (always_port || u->port != (u->tls ? 443 : 80)) {
        lk_text_ch(t, ':');
        lk_text_u64(t, u->port);
    }
}

static bool clean(const char *z)
{
    for (; *z; z++)
        if ((unsigned char)*z < 0x20 || *z == 0x7f)
            return false;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What a URL must escape stands plain in a header. [RFC3986 s2.1] [RFC7617] */
static void put_credentials(lk_text *t, lk_str userinfo)
{
    lk_text plain;
    lk_text_init(&plain, t->env, HEAD_MAX);
    for (size_t i = 0; i < userinfo.len; i++) {
        bool escaped = userinfo.p[i] == '%' && i + 2 < userinfo.len && hex_digit(userinfo.p[i + 1]) >= 0 && hex_digit(userinfo.p[i + 2]) >= 0;
        char c = userinfo.p[i];
        if (escaped) {
            c = (char)(hex_digit(userinfo.p[i + 1]) << 4 | hex_digit(userinfo.p[i + 2]));
            i += 2;
        }
        lk_text_ch(&plain, c);
    }
    lk_base64_put(t, LK_BASE64_STD, plain.p, plain.len);
    t->bad = t->bad || plain.bad;
    if (plain.p)
        lk_secure_zero(plain.p, plain.cap);
    lk_text_deinit(&plain);
}

static lk_err compose(lk_ws *w, const lk_ws_config *c)
{
    uint8_t nonce[16];
    lk_text *t = &w->request;
    if (strlen(c->target) > LK_WS_TARGET_MAX || c->target[0] != '/' || !clean(c->target) || strchr(c->target, ' '))
        return LK_ERR_INVALID;
    if (w->env->rng->fill(w->env->rng->ctx, nonce, sizeof nonce) != LK_OK)
        return LK_ERR_INTERNAL;
    lk_text_z(t, "GET ");
    lk_text_z(t, c->target);
    lk_text_z(t, " HTTP/1.1\r\nHost: ");
    put_authority(t, c->url, false);
    lk_text_z(t, "\r\n");
    for (size_t i = 0; i < c->header_count; i++) {
        if (!clean(c->headers[i].name) || !clean(c->headers[i].value))
            return LK_ERR_INVALID;
        lk_text_z(t, c->headers[i].name);
        lk_text_z(t, ": ");
        lk_text_z(t, c->headers[i].value);
        lk_text_z(t, "\r\n");
    }
    if (c->upgrade) {
        lk_text key;
        lk_text_init(&key, w->env, 64);
        lk_base64_put(&key, LK_BASE64_STD, nonce, sizeof nonce);
        bool ok = !key.bad && lk_str_copy(w->key, sizeof w->key, (lk_str){key.p, key.len});
        lk_text_deinit(&key);
        if (!ok)
            return LK_ERR_NOMEM;
        lk_text_z(t, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
        lk_text_z(t, w->key);
    } else {
        lk_text_z(t, "Connection: close");
    }
    lk_text_z(t, "\r\n\r\n");
    if (c->through_proxy) {
        t = &w->proxy_request;
        lk_text_z(t, "CONNECT ");
        put_authority(t, c->url, true);
        lk_text_z(t, " HTTP/1.1\r\nHost: ");
        put_authority(t, c->url, true);
        if (c->proxy_userinfo.len) {
            lk_text_z(t, "\r\nProxy-Authorization: Basic ");
            put_credentials(t, c->proxy_userinfo);
        }
        lk_text_z(t, "\r\n\r\n");
    }
    return w->request.bad || w->proxy_request.bad ? LK_ERR_NOMEM : LK_OK;
}

static lk_err open_tls(lk_ws *w, const lk_ws_config *c)
{
    if (!c->tls)
        return LK_ERR_INVALID;
    w->ssl = SSL_new(c->tls->ctx);
    w->net_in = BIO_new(BIO_s_mem());
    w->net_out = BIO_new(BIO_s_mem());
    if (!w->ssl || !w->net_in || !w->net_out) {
        BIO_free(w->net_in);
        BIO_free(w->net_out);
        return LK_ERR_NOMEM;
    }
    BIO_set_mem_eof_return(w->net_in, -1);
    SSL_set_bio(w->ssl, w->net_in, w->net_out);
    SSL_set_connect_state(w->ssl);
    X509_VERIFY_PARAM *p = SSL_get0_param(w->ssl);
    bool ok = c->url->host_is_ip ? X509_VERIFY_PARAM_set1_ip_asc(p, w->host) == 1
                                 : SSL_set1_host(w->ssl, w->host) == 1 && SSL_set_tlsext_host_name(w->ssl, w->host) == 1;
    return ok ? LK_OK : LK_ERR_TLS;
}

lk_err lk_ws_new(lk_ws **out, const lk_env *env, const lk_ws_config *c)
{
    lk_ws *w = (lk_ws *)lk_alloc0(env, sizeof *w);
    if (!w)
        return LK_ERR_NOMEM;
    w->env = env;
    w->tls = c->url->tls;
    w->upgrade = c->upgrade;
    w->through_proxy = c->through_proxy;
    w->port = c->url->port;
    memcpy(w->host, c->url->host, sizeof w->host);
    lk_text_init(&w->request, env, LK_WS_TARGET_MAX * 2 + HEAD_MAX);
    lk_text_init(&w->proxy_request, env, HEAD_MAX);
    lk_text_init(&w->out, env, UNSENT_MAX + LK_WS_TARGET_MAX * 2);
    lk_text_init(&w->body, env, LK_WS_BODY_MAX);
    lk_text_init(&w->message, env, LK_WS_MESSAGE_MAX);
    lk_queue_init(&w->events, env, sizeof(lk_ws_event), EVENTS_MAX);
    lk_err err = compose(w, c);
    if (err == LK_OK && w->tls)
        err = open_tls(w, c);
    if (err != LK_OK) {
        lk_ws_free(w);
        return err;
    }
    *out = w;
    return LK_OK;
}

void lk_ws_free(lk_ws *w)
{
    lk_ws_event ev;
    if (!w)
        return;
    while (lk_ws_poll_event(w, &ev)) {
    }
    if (w->request.p)
        lk_secure_zero(w->request.p, w->request.cap);
    lk_text_deinit(&w->request);
    lk_text_deinit(&w->proxy_request);
    if (w->out.p)
        lk_secure_zero(w->out.p, w->out.cap);
    lk_text_deinit(&w->out);
    lk_text_deinit(&w->body);
    lk_text_deinit(&w->message);
    lk_queue_deinit(&w->events);
    if (w->ws)
        wslay_event_context_free(w->ws);
    SSL_free(w->ssl);
    lk_release(w->env, w, sizeof *w);
}
