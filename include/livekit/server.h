/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/server.h - a LiveKit server inside the process: signalling, media forwarding, admin API. Independent of any runtime.
 *
 *     lk_access_key key = {"devkey", "a secret of 32 bytes or more ..."};
 *     lk_server_options o;   lk_server_options_init(&o);   o.keys = &key;   o.key_count = 1;
 *     lk_server *server;     lk_error why;
 *     if (lk_server_new(&server, &o, &why) == LK_OK && lk_server_start(server, &why) == LK_OK) ...
 *
 * One machine, one process: rooms are not shared with other servers. Words of the contracts: runtime.h.
 */
#ifndef LIVEKIT_SERVER_H
#define LIVEKIT_SERVER_H

#include "livekit/runtime.h"
#include "livekit/token.h"
#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_server lk_server;

#define LK_SERVER_PORT_NONE (-1)

/* Everything is copied. 0 in a limit means the default in brackets, never "without limit". */
typedef struct lk_server_options {
    uint32_t size; /* set by lk_server_options_init */
    const lk_access_key *keys; /* key_count of them, 1..64; secrets of 32 bytes or more unless allow_weak_secrets */
    size_t key_count;
    bool allow_weak_secrets;
    /* HTTP and WebSocket, without TLS: on the loopback addresses unless told otherwise ("0.0.0.0", "::", numeric addresses;
     * a proxy in front adds TLS). */
    const char *const *bind_addresses;
    size_t bind_address_count;
    int32_t port;     /* 7880; 0: any that is free, see lk_server_get_ports */
    int32_t udp_port; /* 7882, all media of all participants; 0: any */
    int32_t tcp_port; /* 7881, for clients whose UDP is blocked; 0: any; LK_SERVER_PORT_NONE: not offered */
    const char *node_ip;      /* NULL: clients are told the addresses of the interfaces; else this one in their place */
    bool loopback_candidates; /* also tell 127.0.0.1 and ::1 */
    /* rooms */
    bool no_auto_create;            /* only rooms made by the admin API can be joined */
    bool remote_unmute;             /* the admin API may unmute */
    uint32_t empty_timeout_sec;     /* of a room that nobody has joined [300] */
    uint32_t departure_timeout_sec; /* after the last one left [20] */
    uint32_t max_participants;      /* of a room that says nothing itself [4096] */
    /* bounds */
    uint32_t max_rooms;             /* [4096] */
    uint32_t max_connections;       /* open TCP connections, of all kinds [16384] */
    uint32_t joins_per_sec;         /* of one address [200] and, four times that, of all together */
    uint32_t failed_auths_per_sec;  /* of one address, then 429 for the rest of the second [10] */
    lk_log_level log_level; /* LK_LOG_WARN */
    lk_log_fn log;          /* NULL: nowhere */
    void *log_user_data;
    /* Threads that carry rooms, 1..16 [1]; 0: one per core, 4 at most. A room lives on one, picked by its name; each calls log. */
    uint32_t loops;
    /* Behind a router that hands the ports on: at the start STUN servers are asked, from the port of the media, how each IPv4 interface is
     * seen from outside, and clients are told that address in its place (with advertise_internal_ip: beside it). Nothing is asked with
     * node_ip. Where none answers within 5 s there is a warning, and the interfaces are told as they are. */
    bool use_external_ip, advertise_internal_ip;
    const char *const *stun_servers; /* "host:port" or "host", 8 at most; none: public ones */
    size_t stun_server_count;
    bool page; /* a web page to join with, at /app, where browsers that ask for / are led [off] */
    /* From this much of the descriptors, of the memory, or of the core its room's loop has, whoever is new is refused with 503; those who
     * are in stay, and come back [90]. */
    uint32_t overload_percent;
    uint32_t max_memory_mb; /* of this process [what the machine, or its control group, has] */
} lk_server_options;

/* Fills in the defaults. options not NULL. LK_ANY. */
LK_API void lk_server_options_init(lk_server_options *options);

/* Makes a server; nothing is opened. why: may be NULL, otherwise says which option is wrong. Give: lk_server_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_server_new(lk_server **out, const lk_server_options *options, lk_error *why);

/* One more reference; returns server. LK_ANY. */
LK_API lk_server *lk_server_ref(lk_server *server);

/* Drops a reference; the last one is lk_server_stop. LK_BLOCKS as lk_server_stop. */
LK_API void lk_server_unref(lk_server *server);

/* Opens the ports and starts the threads; clients can join once it returned LK_OK. why: may be NULL, otherwise names the address and
 * the reason. LK_ERR_STATE: it runs already, or a port is taken; LK_ERR_DENIED: a port this user may not have; LK_ERR_NETWORK.
 * Can be started again after a stop. LK_BLOCKS for a few milliseconds, with use_external_ip up to 5 s. */
LK_API LK_NODISCARD lk_err lk_server_start(lk_server *server, lk_error *why);

/* Tells every participant to leave and, if it can, to come back elsewhere, closes everything, joins the threads. Without effect when
 * it does not run. LK_BLOCKS up to 3 s. */
LK_API void lk_server_stop(lk_server *server);

/* Ports of a running server; 0 where none is open. */
typedef struct lk_server_ports {
    uint16_t http, udp, tcp;
} lk_server_ports;

/* LK_ERR_STATE: it does not run. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_server_get_ports(lk_server *server, lk_server_ports *ports);

/* Totals since the start, and what there is now. */
typedef struct lk_server_stats {
    uint32_t size; /* set by the caller: sizeof */
    uint32_t rooms, participants, tracks_published, tracks_subscribed, connections; /* now */
    uint64_t joins, joins_refused;
    uint64_t packets_in, packets_out, bytes_in, bytes_out; /* datagrams, those of TCP included */
} lk_server_stats;

/* stats->size is to be set; so many bytes are written. LK_ERR_STATE: it does not run. LK_BLOCKS until its loops have answered. */
LK_API LK_NODISCARD lk_err lk_server_get_stats(lk_server *server, lk_server_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
