// SPDX-License-Identifier: Apache-2.0
/* api/api_server.h - the server's shell: sockets and HTTP on one side, the engine of the rooms on the other.
 *
 * In:      options, connections, datagrams, time.
 * Out:     what the engine (sfu/) wants sent; answers to HTTP requests.
 * Owner:   lk_server owns an api_serve while it runs; all of that belongs to its loop.
 * Limits:  options->max_connections TCP connections, 1,024 of them between requests (the oldest goes), 2,048 ICE-TCP flows;
 *          addresses that fail or join too often are remembered in a table of 1,024.
 * Deviates: none.
 */
#pragma once
#include "api/api.h"
#include "io/loop.h"
#include "sfu/sfu.h"
#include "token/token.h"
#include "ws/server.h"

#define API_SERVE_ADDRESSES_MAX LK_SFU_ADDRESSES_MAX
#define API_SERVE_IDLE_MAX 1024
#define API_SERVE_FLOWS_MAX 2048
#define API_SERVE_RATES 1024
#define API_SERVE_TX_BATCH 64

struct lk_server {
    api_object o; /* first */
    pid_t pid;
    lk_env env;
    lk_log_sink sink;
    lk_server_options options; /* its texts are in arena */
    lk_arena arena;
    lk_token_key keys[LK_TOKEN_KEYS_MAX];
    lk_addr http[API_SERVE_ADDRESSES_MAX]; /* parsed bind_addresses */
    size_t http_count;
    bool http_by_default; /* one of them may be missing */
    lk_addr node_ip;      /* family 0: none */
    pthread_mutex_t lock; /* guards what is below, and start and stop against each other */
    struct api_serve *serve;
};

/* What is known of one address: counts of the running second. */
typedef struct api_rate {
    lk_addr who;
    lk_usec second;
    uint32_t failed, joins;
} api_rate;

typedef struct api_serve api_serve;

/* One accepted connection of the HTTP port. */
typedef struct api_visit {
    lk_link link;       /* in serve->visits, or in serve->talks once upgraded: the oldest first */
    lk_link dirty_link; /* in serve->dirty while dirty: something is to be taken from it, or written to it */
    api_serve *serve;
    lk_stream *stream;
    lk_ws_server *http;
    lk_addr remote;
    lk_timer timer;
    uint32_t conn;      /* of the engine; 0: none */
    uint64_t admin_tag; /* a request that waits for the engine; 0: none */
    lk_sfu_method method;
    bool json, broken, dirty, working, upgraded;
} api_visit;

/* One connection of the ICE-TCP port. */
typedef struct api_flow {
    api_serve *serve;
    lk_stream *stream;
    lk_addr local, remote;
    uint64_t key;
    lk_timer timer; /* gone unless the engine answers it */
    bool answered, broken;
    lk_frame_reader reader;
} api_flow;

struct api_serve {
    lk_server *server;
    const lk_env *env;
    lk_loop *loop;
    lk_sfu *sfu;
    struct lk_dtls_context *dtls;
    lk_listener *http[API_SERVE_ADDRESSES_MAX], *tcp[API_SERVE_ADDRESSES_MAX];
    lk_udp *udp[API_SERVE_ADDRESSES_MAX];
    lk_addr udp_at[API_SERVE_ADDRESSES_MAX];
    size_t http_count, tcp_count, udp_count;
    lk_server_ports ports;
    lk_timer clock; /* the engine's deadline */
    lk_list visits, talks, dirty;
    lk_map conns;  /* conn -> api_visit */
    lk_map admins; /* tag -> api_visit */
    lk_map flows;  /* key -> api_flow */
    uint64_t last_tag;
    api_rate rates[API_SERVE_RATES];
    uint64_t http_requests, auth_failures, rate_limited;
    bool stopping;
    bool pumping;
    void (*stopped)(void *ctx); /* told once the last connection is gone while stopping */
    void *stopped_ctx;
    lk_timer stop_timer;
};

/* Loop thread. Opens sockets and the engine; on failure everything is closed again and *why says what. */
lk_err api_serve_open(api_serve *s, lk_usec now, lk_error *why);
/* Farewells; stopped is called when all have gone, or after 2 s. Then api_serve_close. */
void api_serve_stop(api_serve *s, lk_usec now, void (*stopped)(void *ctx), void *ctx);
void api_serve_close(api_serve *s);
/* Drains the engine into sockets, and sets the clock. After anything that was told to it. */
void api_serve_pump(api_serve *s, lk_usec now);
/* Events and packets alone: between two packets of one read. */
void api_serve_drain(api_serve *s, lk_usec now);
void api_visit_touch(api_visit *v);    /* it is worked on before the pump ends */
void api_visit_upgraded(api_visit *v); /* it is a WebSocket now */

/* HTTP (api_server_http.c) */
void api_visit_request(api_visit *v, lk_usec now, const lk_ws_request *r);
void api_visit_admin_done(api_visit *v, lk_usec now, const lk_sfu_event *ev);
/* Whether one more of its kind is too many for this second. */
bool api_rate_exceeded(api_serve *s, lk_usec now, const lk_addr *who, bool join);
void api_rate_failed(api_serve *s, lk_usec now, const lk_addr *who);
