// SPDX-License-Identifier: Apache-2.0
/* ws/server.h - one accepted connection: HTTP/1.1 requests one after the other, or a WebSocket. [RFC9112] [RFC6455]
 *
 * In:      bytes of a TCP stream, answers, messages to send, the passing of time.
 * Out:     bytes for the stream; REQUEST, MESSAGE; exactly one CLOSED, after which the stream is to be ended once what
 *          was written has left.
 * Owner:   heap object of the connection in api/. Loop thread.
 * Limits:  target 64 KiB (414), Authorization 64 KiB, the rest of a head 16 KiB, 80 KiB in all (431), complete
 *          10 s after its first byte (408); body 1 MiB (413) within 30 s; 75 s between requests; message 2 MiB in 1,024 fragments (close 1009); 64 KiB read ahead
 *          of an answer. A WebSocket that is silent for 35 s, pongs included, is ended.
 * Deviates: no TLS (a proxy in front does that), no permessage-deflate, no Expect: 100-continue.
 *
 * A request waits for its answer: lk_ws_server_respond or lk_ws_server_upgrade; what follows it is read after that.
 * OPTIONS is answered here: any origin may ask.
 */
#pragma once
#include "base/lk_base.h"

#define LK_WS_SERVER_TARGET_MAX 65536
#define LK_WS_SERVER_HEAD_MAX 16384
#define LK_WS_SERVER_BODY_MAX (1u << 20)
#define LK_WS_SERVER_MESSAGE_MAX (2u << 20)
#define LK_WS_SERVER_PING_USEC LK_SEC(10)
#define LK_WS_SERVER_SILENCE_USEC LK_SEC(35)

/* All slices are valid until the request is answered. */
typedef struct lk_ws_request {
    lk_str method;        /* "GET", "POST", "HEAD", ... */
    lk_str path;          /* as sent, without query; several leading slashes count as one */
    lk_str query;         /* without '?' */
    lk_str authorization; /* header, "" when absent */
    lk_str content_type;
    lk_str accept, if_none_match; /* headers, "" when absent */
    lk_bytes body;
    bool upgrade; /* asks for a WebSocket in a way that can be granted */
} lk_ws_request;

typedef enum lk_ws_server_event_type {
    LK_WS_SERVER_EV_REQUEST,
    LK_WS_SERVER_EV_MESSAGE,
    LK_WS_SERVER_EV_CLOSED, /* the last one */
} lk_ws_server_event_type;

typedef struct lk_ws_server_event {
    lk_ws_server_event_type type;
    bool binary;
    int code;      /* CLOSED: close code of a WebSocket, 1005 none, 1006 cut; 0: it was none */
    lk_bytes data; /* MESSAGE: valid until the next call on this object */
    lk_ws_request request;
} lk_ws_server_event;

typedef struct lk_ws_server lk_ws_server;
LK_NODISCARD lk_err lk_ws_server_new(lk_ws_server **out, const lk_env *env, lk_usec now);
void lk_ws_server_free(lk_ws_server *s); /* NULL ok */

void lk_ws_server_input(lk_ws_server *s, lk_usec now, const uint8_t *data, size_t len);
/* The stream ended. */
void lk_ws_server_input_end(lk_ws_server *s, lk_usec now);
typedef struct lk_ws_answer {
    unsigned status;
    const char *content_type; /* NULL with an empty body */
    const char *headers;      /* further ones, whole lines with their ends; NULL: none */
    lk_bytes body;            /* borrowed */
} lk_ws_answer;
/* Answers the request that waits. Without a waiting request: no effect. */
void lk_ws_server_answer(lk_ws_server *s, lk_usec now, const lk_ws_answer *answer);
/* The same in short: content_type NULL with an empty body. Body is borrowed. Without a waiting request: no
 * effect. */
void lk_ws_server_respond(lk_ws_server *s, lk_usec now, unsigned status, const char *content_type, const void *body, size_t len);
/* Grants the upgrade the waiting request asks for: messages from now on. STATE, NOMEM. */
LK_NODISCARD lk_err lk_ws_server_upgrade(lk_ws_server *s, lk_usec now);
/* STATE unless upgraded and not closing; NOMEM. */
LK_NODISCARD lk_err lk_ws_server_send(lk_ws_server *s, bool binary, const void *data, size_t len);
/* Starts the close handshake of a WebSocket (3 s for the answer); ends anything else at once. */
void lk_ws_server_close(lk_ws_server *s, lk_usec now, uint16_t code);
bool lk_ws_server_is_idle(const lk_ws_server *s); /* no whole request of it waits for an answer: to be ended when there are too many */

void lk_ws_server_tick(lk_ws_server *s, lk_usec now);
lk_usec lk_ws_server_deadline(const lk_ws_server *s);
bool lk_ws_server_poll_tx(lk_ws_server *s, lk_bytes *out);
bool lk_ws_server_poll_event(lk_ws_server *s, lk_ws_server_event *out);
