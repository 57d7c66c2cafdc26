// SPDX-License-Identifier: Apache-2.0
/* api/api_server.h - the server's shell: sockets and HTTP on one side, the engine of the rooms on the other.
 *
 * In:      options, connections, datagrams, time.
 * Out:     what the engine (sfu/) wants sent; answers to HTTP requests.
 * Owner:   lk_server owns an api_serve while it runs. It belongs to the first loop (the front): listeners, streams, HTTP. Each
 *          of its halls belongs to its own loop: an engine with the rooms that live there, and UDP sockets; hall 0 is the
 *          front's. What goes between two loops is an api_note or an api_pass (api_server_hall.c); with one loop there is none.
 * Limits:  options->max_connections TCP connections, 1,024 of them before a whole request (the oldest goes), 2,048 ICE-TCP flows;
 *          addresses that fail or join too often are remembered in a table of 1,024. Between loops: what is said at
 *          API_PENDING_BYTES, API_FLOW_PENDING_BYTES and API_PASS_BATCHES.
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
#define API_SERVE_DRAWS 16
#define API_LOOPS_MAX 16
#define API_STUN_SERVERS_MAX 8

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
    const char *stun_servers[API_STUN_SERVERS_MAX]; /* in arena */
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

/* Messages of one connection on their way to another loop, either way, at most; over it the connection ends. */
#define API_PENDING_BYTES (8u << 20)
/* Packets of one ICE-TCP flow to another loop, and of all flows of a hall back to the front; over it they are dropped and counted. */
#define API_FLOW_PENDING_BYTES (1u << 20)
/* Datagrams that arrived at one loop and are another's: so many batches between each two; all of them busy: dropped and counted.
 * A batch is what one look at a socket found, mostly a packet or two, so there are many small ones: a loop may be late by 64 looks. */
#define API_PASS_BATCHES 64
#define API_PASS_BYTES 16384
#define API_PASS_DATAGRAMS 16

typedef struct api_note api_note;

/* Datagrams from one loop to another. */
typedef struct api_pass {
    lk_task task;
    struct api_hall *to;
    _Atomic(bool) busy; /* set by whoever fills it, cleared once the other loop has read it */
    size_t count, used;
    struct api_passed {
        lk_addr local, remote;
        size_t at, len;
    } datagrams[API_PASS_DATAGRAMS];
    uint8_t data[API_PASS_BYTES];
} api_pass;

/* Which hall an address proved to belong to: filled in where a check of connectivity is answered, read by whichever loop a
 * datagram arrives at. A cache: what fell out comes back with the next check. */
#define API_ROUTE_SETS 4096
#define API_ROUTE_WAYS 4
typedef struct api_routes {
    uint64_t seed;
    _Atomic(uint64_t) slots[API_ROUTE_SETS][API_ROUTE_WAYS]; /* hash, its lowest 4 bits the hall; 0: empty */
} api_routes;

/* The addresses of the interfaces, as last looked at; outside: how a STUN server saw it, family 0: not known. */
typedef struct api_reach {
    struct api_interface {
        lk_addr at, outside;
    } interfaces[API_SERVE_ADDRESSES_MAX];
    size_t count;
} api_reach;
typedef struct api_ask api_ask;

/* One address and what is open there. */
typedef struct api_place {
    lk_addr at;
    lk_udp *udp;
    lk_listener *tcp; /* of hall 0; NULL: none */
} api_place;

/* One loop with the rooms that live on it. */
typedef struct api_hall {
    api_serve *serve;
    unsigned index;
    lk_loop *loop;
    lk_sfu *sfu; /* NULL before it is opened and after it is closed */
    struct lk_dtls_context *dtls;
    api_reach reach; /* hall 0's is looked up, the others are told it */
    api_place places[API_SERVE_ADDRESSES_MAX];
    size_t place_count;
    lk_timer clock; /* the engine's deadline */
    lk_usec weighed_at, weighed_cpu; /* when its share of a core was last taken, and what its thread had used then */
    bool cpu_over;
    /* with several loops */
    lk_map pending;              /* conn -> bytes of its messages that the front has not taken yet */
    size_t flow_pending;         /* the same of all packets for flows */
    uint64_t passed, dropped;    /* datagrams to other halls; those, and packets for flows, there was no room for */
    struct api_lane {
        api_pass *batches[API_PASS_BATCHES], *open;
    } lanes[API_LOOPS_MAX]; /* to each other hall */
    api_note *lost; /* tells the front that something for it is lost; NULL: on its way */
    bool lost_again;
    lk_task stop;
} api_hall;

/* An answer that several halls give together. */
typedef struct api_gather {
    size_t left;
    lk_text bytes;
    lk_sfu_stats stats;
    uint64_t passed, dropped;
} api_gather;

/* One accepted connection of the HTTP port. */
typedef struct api_visit {
    lk_link link;       /* in serve->visits, or in serve->talks once upgraded: the oldest first */
    lk_link dirty_link; /* in serve->dirty while dirty: something is to be taken from it, or written to it */
    api_serve *serve;
    lk_stream *stream;
    lk_ws_server *http;
    lk_addr remote;
    lk_timer timer;
    uint32_t conn;      /* of the engine of its hall; 0: none */
    uint64_t admin_tag; /* a request that waits for an engine; 0: none */
    api_hall *hall;     /* whose conn, or request; NULL: none, or that of all */
    api_note *farewell; /* kept to tell another loop of its end, so that this needs no memory then */
    size_t pending;     /* bytes of messages on their way to another loop */
    api_gather *gather;
    lk_sfu_method method;
    bool json, broken, dirty, working, upgraded;
} api_visit;

/* One connection of the ICE-TCP port. */
typedef struct api_flow {
    api_serve *serve;
    lk_stream *stream;
    api_hall *hall; /* whose it is: named by its first check of connectivity */
    uint64_t id;
    size_t pending; /* bytes on their way to another loop */
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
    api_hall halls[API_LOOPS_MAX];
    size_t hall_count; /* set before any of their threads starts */
    api_routes *routes; /* NULL with one */
    lk_listener *http[API_SERVE_ADDRESSES_MAX];
    size_t http_count;
    lk_server_ports ports; /* written at the start alone */
    lk_usec looked_at;     /* at the interfaces */
    bool reach_untold;     /* some hall does not know them */
    api_ask *ask;          /* NULL but while a start waits for STUN servers */
    lk_sfu_totals totals;
    lk_list visits, talks, dirty;
    lk_map conns;  /* hall and conn -> api_visit */
    lk_map admins; /* tag -> api_visit */
    lk_map flows;  /* key -> api_flow */
    uint64_t last_tag;
    api_rate rates[API_SERVE_RATES];
    lk_usec memory_at, overload_told_at;
    bool memory_over;
    uint64_t http_requests, auth_failures, rate_limited;
    bool stopping, closed;
    bool pumping;
    void (*stopped)(void *ctx); /* told once the last connection is gone while stopping */
    void *stopped_ctx;
    lk_timer stop_timer;
};

/* Thread of the front, as all that follows. First the sockets of its hall; then, once it is known how they are seen from outside, the
 * ports and the engine. On failure everything is closed again and *why says what. */
lk_err api_serve_open_media(api_serve *s, lk_usec now, lk_error *why);
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

LK_NODISCARD lk_err api_visit_enter(api_visit *v, api_hall *h, uint32_t conn); /* NOMEM, FULL */
void api_visit_left(api_visit *v, lk_usec now); /* its hall is told, if it is in one */
void api_serve_signal(api_serve *s, const api_hall *h, uint32_t conn, bool binary, lk_bytes message);
void api_serve_signal_close(api_serve *s, lk_usec now, const api_hall *h, uint32_t conn, uint16_t code);
void api_serve_admin_done(api_serve *s, lk_usec now, const lk_sfu_event *ev);
void api_serve_flow_send(api_serve *s, lk_usec now, const lk_datagram *d);
void api_serve_lost(api_serve *s, const api_hall *h); /* whoever waits for this hall waits in vain */
/* Of the ICE-TCP port. */
api_flow *api_serve_flow(api_serve *s, const lk_addr *local, const lk_addr *remote);
void api_serve_signal_taken(api_serve *s, const api_hall *h, uint32_t conn, size_t bytes); /* they are no longer on their way */
api_visit *api_serve_answered(api_serve *s, uint64_t tag); /* it waits no longer; NULL: it has gone */
/* A port that was drawn (0) on the first address may be somebody's on the next one: it is drawn anew, so many times. */
bool api_serve_draws_again(lk_err err, bool drawn, int *draws);
lk_err api_serve_cannot(lk_error *why, lk_err err, const char *what, const lk_addr *at);

void api_serve_flow_accepted(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote);

/* Where it is reached (api_server_reach.c). Of the front: */
lk_err api_reach_open(api_serve *s, lk_usec now, lk_error *why);
/* done runs, at once or after 5 s at most, when STUN servers have said how the sockets are seen from outside, if they are to be asked. */
LK_NODISCARD lk_err api_reach_ask(api_serve *s, lk_usec now, void (*done)(void *ctx, lk_usec now), void *ctx);
void api_reach_answered(api_serve *s, lk_usec now, const lk_datagram *d);
/* Before somebody comes in: interfaces there are since the last time are served and told. */
void api_reach_follow(api_serve *s, lk_usec now);
/* On the loop of the hall: */
lk_err api_hall_open_sockets(api_hall *h, lk_error *why); /* where reach says and there are none yet; hall 0 first */
void api_hall_follow(api_hall *h);                        /* reach has changed */
void api_hall_tell_engine(api_hall *h);
lk_udp *api_hall_socket(api_hall *h, const lk_addr *local); /* NULL: none */
void api_hall_close_places(api_hall *h);
void api_hall_close_streams(api_hall *h);

/* Halls (api_server_hall.c). On the loop of the hall unless said otherwise. */
lk_err api_hall_open_engine(api_hall *h, lk_usec now, lk_error *why);
void api_hall_close(api_hall *h);                              /* of its rooms nobody is told */
void api_hall_free(api_hall *h);                               /* any thread, after all loops have ended */
void api_hall_drain(api_hall *h, lk_usec now);
void api_hall_datagram(void *hall, lk_usec now, const lk_datagram *d);
void api_hall_datagrams(void *hall, lk_usec now);
void api_hall_arm(api_hall *h);
void api_hall_stop(api_hall *h, lk_usec now);
/* By name of the room; any thread. */
api_hall *api_hall_of_room(api_serve *s, lk_str room);
/* By the ufrag a check of connectivity names; NULL: none. Any thread. */
api_hall *api_hall_of_check(api_serve *s, const uint8_t *data, size_t len);

/* The front's calls into a hall of another loop. What comes of them arrives at the functions above and these: */
LK_NODISCARD lk_err api_hall_join(api_hall *h, api_visit *v, const lk_sfu_join *join, bool validate);
LK_NODISCARD lk_err api_hall_signal(api_hall *h, api_visit *v, bool binary, lk_bytes message);
LK_NODISCARD lk_err api_hall_admin(api_hall *h, uint64_t tag, lk_sfu_method method, lk_str token, lk_bytes request);
void api_hall_admin_forget(api_hall *h, uint64_t tag);
LK_NODISCARD lk_err api_hall_ask_stats(api_hall *h, uint64_t tag);
LK_NODISCARD lk_err api_hall_tell_reach(api_hall *h, const api_reach *reach);
void api_hall_left(api_hall *h, api_note *farewell, uint32_t conn);
void api_hall_input(api_hall *h, api_flow *f, lk_bytes frame);
void api_hall_flow_closed(api_hall *h, const api_flow *f);
void api_note_release(api_note *n); /* NULL ok */

/* Whether there is room for one more (api_server_load.c). NULL: there is; else what is at its end. */
const char *api_serve_overload(api_serve *s, lk_usec now, const api_visit *v); /* of the process; the front's loop */
const char *api_hall_overload(api_hall *h, lk_usec now);                       /* of the hall; its loop */
void api_hall_weigh(api_hall *h, lk_usec now);

/* HTTP (api_server_http.c) */
void api_visit_entered(api_visit *v, lk_usec now, api_hall *h, uint32_t conn, api_note *farewell);
void api_visit_refused(api_visit *v, lk_usec now, const lk_sfu_refusal *why); /* status 200: it would be let in */
void api_stats_add(lk_sfu_stats *sum, const lk_sfu_stats *more);
void api_visit_forget(api_visit *v);   /* nobody waits for the answer any more */
void api_visit_gathered(api_visit *v); /* what it had of an answer */
void api_visit_stats(api_visit *v, lk_usec now, const lk_sfu_stats *st, uint64_t passed, uint64_t dropped);
void api_visit_request(api_visit *v, lk_usec now, const lk_ws_request *r);
void api_visit_admin_done(api_visit *v, lk_usec now, const lk_sfu_event *ev);
/* The page (api_server_page.c). False: that is none of it. */
bool api_page_serve(api_visit *v, lk_usec now, const lk_ws_request *r);
bool api_page_redirect(api_visit *v, lk_usec now, const lk_ws_request *r); /* of "/": who wants to look is led to it */
/* Whether one more of its kind is too many for this second. */
bool api_rate_exceeded(api_serve *s, lk_usec now, const lk_addr *who, bool join);
void api_rate_failed(api_serve *s, lk_usec now, const lk_addr *who);
