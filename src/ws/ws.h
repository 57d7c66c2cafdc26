// SPDX-License-Identifier: Apache-2.0
/* ws/ws.h - one client connection: HTTP GET or WebSocket, with TLS and through a proxy if asked. [RFC6455] [RFC9112]
 *
 * In:      bytes of a TCP stream the caller dialled (to the proxy if there is one), messages to send.
 * Out:     bytes for the stream; OPEN, MESSAGE, RESPONSE; then exactly one CLOSED or FAILED.
 * Owner:   heap object of lk_room's signal transport. Loop thread.
 * Limits:  target 64 KiB, response head 16 KiB, body 64 KiB, message 16 MiB in 1,024 fragments, 8 MiB unsent.
 * Deviates: permessage-deflate is not offered; redirects are not followed (the token would travel).
 */
#pragma once
#include "base/lk_base.h"
#include "livekit/types.h"
#include "ws/url.h"

#define LK_WS_TARGET_MAX 65536
#define LK_WS_BODY_MAX 65536
#define LK_WS_MESSAGE_MAX (16u << 20)

/* Trust for TLS: one per runtime, made on first need. */
typedef struct lk_tls_context lk_tls_context;
/* ca_file: PEM bundle to trust besides the system's certificates, or NULL. NOMEM, TLS (unreadable file). */
LK_NODISCARD lk_err lk_tls_context_new(lk_tls_context **out, const lk_env *env, const char *ca_file);
void lk_tls_context_free(lk_tls_context *c);

typedef struct lk_ws_header {
    const char *name, *value;
} lk_ws_header;

typedef struct lk_ws_config {
    const lk_url *url;          /* host, port, tls; copied */
    const char *target;         /* path with query; copied */
    bool upgrade;               /* WebSocket; else a plain GET */
    const lk_ws_header *headers; /* copied; values without CR and LF */
    size_t header_count;
    lk_tls_context *tls;        /* needed when url->tls */
    bool through_proxy;         /* the stream leads to a proxy: CONNECT first */
    lk_str proxy_userinfo;      /* "user:password" for Proxy-Authorization, escaped as in a URL; may be empty */
} lk_ws_config;

typedef enum lk_ws_event_type {
    LK_WS_EV_OPEN,     /* the upgrade was accepted */
    LK_WS_EV_MESSAGE,
    LK_WS_EV_RESPONSE, /* an HTTP answer that is not an upgrade: status and body */
    LK_WS_EV_CLOSED,   /* the WebSocket ended: code */
    LK_WS_EV_FAILED,   /* error */
} lk_ws_event_type;

typedef struct lk_ws_event {
    lk_ws_event_type type;
    bool binary;
    int code;      /* CLOSED: close code, 1005 none, 1006 cut; RESPONSE: HTTP status */
    lk_bytes data; /* MESSAGE, RESPONSE: valid until the next call on this object */
    lk_error error;
} lk_ws_event;

typedef struct lk_ws lk_ws;
/* INVALID (target too long, control characters), NOMEM, TLS. */
LK_NODISCARD lk_err lk_ws_new(lk_ws **out, const lk_env *env, const lk_ws_config *config);
void lk_ws_free(lk_ws *w); /* NULL ok */

/* The stream is open: the first bytes are ready. */
void lk_ws_start(lk_ws *w);
void lk_ws_input(lk_ws *w, const uint8_t *data, size_t len);
/* The stream ended or failed; why may be NULL for a plain end. */
void lk_ws_input_end(lk_ws *w, const lk_error *why);
/* STATE unless open, FULL past 8 MiB unsent, NOMEM. */
LK_NODISCARD lk_err lk_ws_send(lk_ws *w, bool binary, const void *data, size_t len);
/* Starts the close handshake. */
void lk_ws_close(lk_ws *w, uint16_t code);
bool lk_ws_poll_tx(lk_ws *w, lk_bytes *out);
bool lk_ws_poll_event(lk_ws *w, lk_ws_event *out);
