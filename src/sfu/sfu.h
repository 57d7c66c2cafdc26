// SPDX-License-Identifier: Apache-2.0
/* sfu/sfu.h - the server's side of LiveKit rooms: who is in, who may what, who gets what. [LiveKit signalling v1, v0]
 *
 * In:      verified tokens with what a client asks for, signal messages, admin requests, datagrams, the passing of time.
 * Out:     signal messages, ends of signal connections, answers to admin requests, datagrams, counters.
 * Owner:   one per loop of a server; a room lives in exactly one. Heap. Loop thread.
 * Limits:  lk_sfu_limits; over one the request is refused with a text, others are unaffected. 8 MiB wait for one connection
 *          between two drains, then the connection is closed. A connection that does not read is bounded by its shell,
 *          which closes it and says so.
 * Deviates: a message that cannot be read is counted and dropped, the connection stays. Joins and leaves are told at once, not each 3 s; a second
 *          codec of one track and data blobs are refused. Of a token's roomConfig metadata, timeouts and max_participants count.
 *
 * After every call that takes `now`: drain lk_sfu_poll_event and lk_sfu_poll_tx, then ask lk_sfu_deadline.
 */
#pragma once
#include <stdatomic.h>

#include "base/lk_base.h"
#include "pbuf/pbuf.h"

typedef struct lk_sfu lk_sfu;
struct lk_dtls_context;
struct lk_token; /* token/token.h: claims of a token whose signature and times were checked */

#define LK_SFU_ADDRESSES_MAX 16
#define LK_SFU_NAME_MAX 256 /* bytes of a room name, an identity, a participant's name */
#define LK_SFU_PROTOCOL 17  /* what server_info announces: data channels are opened in band */
#define LK_SFU_VERSION "1.13.4" /* whose behaviour is followed: clients ask for >= 1.8.0 */

/* ---- configuration ------------------------------------------------------------------------------------------ */

/* A request that would go over one of these is refused; 0 means the default in brackets. Rooms and joins are those of all
 * engines that have the same totals. */
typedef struct lk_sfu_limits {
    uint32_t rooms;                   /* [4096] */
    uint32_t participants;            /* of one room, hidden ones included [4096] */
    uint32_t tracks;                  /* published by one participant, media and data each [64] */
    uint32_t signal_message_bytes;    /* one message from a client [2 MiB] */
    uint32_t signal_messages_per_sec; /* from one client, averaged over 10 s; over it: the connection is closed [100] */
    uint32_t joins_per_sec;           /* of all clients together, averaged over 10 s: 503 [200] */
    uint32_t metadata_bytes;          /* of a room or participant [512 KiB] */
    uint32_t attributes_bytes;        /* keys and values of one participant [64 KiB] */
    uint32_t offers_per_sec;          /* of one client, averaged over 10 s: the newest one waits until it may [5] */
    uint32_t updates_per_sec;         /* of one participant's metadata, by itself, averaged over 10 s: LIMIT_EXCEEDED [5] */
} lk_sfu_limits;

/* What the engines of one server count together, each on its own loop. Zero before the first of them. */
typedef struct lk_sfu_totals {
    _Atomic(uint32_t) rooms;
    _Atomic(int64_t) joins_paid_until; /* monotonic: every join moves it on by its share of a second */
} lk_sfu_totals;

/* Everything is copied but dtls, which outlives the engine. */
typedef struct lk_sfu_config {
    struct lk_dtls_context *dtls;
    /* What clients are told to send to: host candidates, one for each. The shell's sockets may be bound elsewhere. */
    lk_addr udp[LK_SFU_ADDRESSES_MAX], tcp[LK_SFU_ADDRESSES_MAX];
    size_t udp_count, tcp_count;
    int64_t unix_usec;            /* Unix time when the monotonic clock showed `now` of lk_sfu_new */
    char loop;                    /* ICE alphabet; first character of every local ICE ufrag: tells loops apart */
    const char *key, *secret;     /* refresh tokens are minted with these */
    const char *node_id, *region; /* NULL: a random one, "" */
    const char *turn_password;    /* told in Room; NULL: "" */
    /* rooms */
    bool no_auto_create;         /* only rooms made by CreateRoom can be joined: 404 */
    bool remote_unmute;          /* MutePublishedTrack may unmute */
    uint32_t empty_timeout_sec;     /* of a room nobody ever joined; 0: 300 */
    uint32_t departure_timeout_sec; /* after the last one left; 0: 20 */
    uint32_t max_participants;   /* of a room that says nothing itself; 0: the limit */
    lk_sfu_limits limits;
    lk_sfu_totals *totals; /* outlives the engine; NULL: it is alone */
} lk_sfu_config;

/* INVALID (config), NOMEM. */
LK_NODISCARD lk_err lk_sfu_new(lk_sfu **out, const lk_env *env, const lk_sfu_config *config, lk_usec now);
void lk_sfu_free(lk_sfu *sfu); /* NULL ok; tells nobody, see lk_sfu_stop */
/* Other candidates for every description from now on; at most LK_SFU_ADDRESSES_MAX of each kind. */
void lk_sfu_set_addresses(lk_sfu *sfu, const lk_addr *udp, size_t udp_count, const lk_addr *tcp, size_t tcp_count);

/* ---- signal connections ---------------------------------------------------------------------------------------- */

typedef struct lk_sfu_join {
    const struct lk_token *token; /* whose signature and times are good */
    const char *token_text;       /* as it came; may be NULL */
    bool v1;                      /* the path was /rtc/v1: there must be a join_request */
    lk_str query;                 /* of the request target, without '?', percent-encoded */
    const char *address;          /* of the client, numeric; told to nobody */
    const char *overload;         /* NULL: none; else who is not in yet is refused with 503 and this text */
} lk_sfu_join;

typedef struct lk_sfu_refusal {
    unsigned status; /* of HTTP: 400, 401, 404, 429, 503, 500 */
    char text[256];  /* body, no line end */
} lk_sfu_refusal;

/* The room the token (or, where it names none, the query) is for: what a shell with several loops picks by. "" when none. The
 * result borrows from the token or is written into buf. */
lk_str lk_sfu_join_room(const lk_sfu_join *join, char buf[LK_SFU_NAME_MAX + 1]);

/* Checks all a join is refused for, in a room of this loop or one that would be made; changes nothing. OK, or DENIED with *why. */
LK_NODISCARD lk_err lk_sfu_validate(lk_sfu *sfu, lk_usec now, const lk_sfu_join *join, lk_sfu_refusal *why);

/* A client wants to join or resume: called before the upgrade is answered. OK: *conn (not 0, never reused by this loop) names
 * the connection from now on and its first messages are among the events; the shell upgrades and sends them, in order. A
 * resume of somebody unknown is OK too: the only message is a leave. DENIED, with *why: nothing was made. */
LK_NODISCARD lk_err lk_sfu_accept(lk_sfu *sfu, lk_usec now, const lk_sfu_join *join, uint32_t *conn, lk_sfu_refusal *why);

/* One whole message of the client: a SignalRequest, as JSON (a text frame) unless binary. What is told it from then on is in the
 * same form, until its next message. Garbage is counted and dropped; an unknown conn is ignored. */
void lk_sfu_signal(lk_sfu *sfu, lk_usec now, uint32_t conn, bool binary, lk_bytes message);
/* The connection is gone, whoever closed it. Not needed after LK_SFU_EV_SIGNAL_CLOSE, and harmless. */
void lk_sfu_signal_closed(lk_sfu *sfu, lk_usec now, uint32_t conn);

/* Everybody gets a leave that lets them come back elsewhere, connections end, rooms are gone; joins are refused with 503. */
void lk_sfu_stop(lk_sfu *sfu, lk_usec now);

/* ---- admin: livekit.RoomService ----------------------------------------------------------------------------------- */

typedef enum lk_sfu_method {
    LK_SFU_CREATE_ROOM,
    LK_SFU_LIST_ROOMS,
    LK_SFU_DELETE_ROOM,
    LK_SFU_LIST_PARTICIPANTS,
    LK_SFU_GET_PARTICIPANT,
    LK_SFU_REMOVE_PARTICIPANT,
    LK_SFU_MUTE_PUBLISHED_TRACK,
    LK_SFU_UPDATE_PARTICIPANT,
    LK_SFU_UPDATE_SUBSCRIPTIONS,
    LK_SFU_SEND_DATA,
    LK_SFU_UPDATE_ROOM_METADATA,
    LK_SFU_PERFORM_RPC,
    LK_SFU_FORWARD_PARTICIPANT, /* UNIMPLEMENTED, as in the real server */
    LK_SFU_MOVE_PARTICIPANT,    /* UNIMPLEMENTED */
    LK_SFU_METHODS,
} lk_sfu_method;

typedef struct lk_sfu_method_info {
    const char *name; /* as in the path: "CreateRoom" */
    const ProtobufCMessageDescriptor *request, *response;
} lk_sfu_method_info;
extern const lk_sfu_method_info lk_sfu_methods[LK_SFU_METHODS];

/* Room a request is about, "" for ListRooms: that one goes to every loop and the answers are joined byte by byte. */
lk_str lk_sfu_admin_room(lk_sfu_method method, lk_bytes request);

/* Ends with exactly one LK_SFU_EV_ADMIN_DONE, nearly always before this returns; PerformRpc takes until the participant
 * answered. tag: the shell's. token: as in lk_sfu_join. */
void lk_sfu_admin(lk_sfu *sfu, lk_usec now, uint64_t tag, lk_sfu_method method, const struct lk_token *token, lk_bytes request);
/* The caller has gone: what is pending under the tag ends without an event. */
void lk_sfu_admin_forget(lk_sfu *sfu, uint64_t tag);

/* ---- packets ---------------------------------------------------------------------------------------------------------- */

typedef struct lk_sfu_packet {
    lk_datagram d;
    bool tcp; /* of a TCP connection between d.local and d.remote, framed by the shell [RFC4571] */
} lk_sfu_packet;

/* One datagram, or one frame of an ICE-TCP connection. Which loop: by 5-tuple once known, before that by the first character
 * of the USERNAME of a STUN request. Whatever belongs to nobody is dropped without an answer and counted. */
void lk_sfu_input(lk_sfu *sfu, lk_usec now, const lk_sfu_packet *packet);
/* A TCP connection is gone. */
void lk_sfu_flow_closed(lk_sfu *sfu, lk_usec now, const lk_addr *local, const lk_addr *remote);
/* Up to cap packets to be sent; 0: none waits. Bytes are valid until the next call of anything. */
size_t lk_sfu_poll_tx(lk_sfu *sfu, lk_usec now, lk_sfu_packet *out, size_t cap);

void lk_sfu_tick(lk_sfu *sfu, lk_usec now);
lk_usec lk_sfu_deadline(const lk_sfu *sfu);

/* ---- events ----------------------------------------------------------------------------------------------------------- */

typedef enum lk_sfu_event_kind {
    LK_SFU_EV_SIGNAL_SEND = 1, /* conn, bytes, json: one message, a text frame if json */
    LK_SFU_EV_SIGNAL_CLOSE,    /* conn, close_code: after what was sent; the conn is gone */
    LK_SFU_EV_ADMIN_DONE,      /* tag, twirp, text (twirp NULL: bytes are the response) */
} lk_sfu_event_kind;

/* Pointers are valid until the next call other than the polls. */
typedef struct lk_sfu_event {
    lk_sfu_event_kind kind;
    uint32_t conn;
    bool json;
    uint16_t close_code; /* of WebSocket */
    uint64_t tag;
    const char *twirp; /* "not_found", ...; NULL: success */
    const char *text;
    lk_bytes bytes;
} lk_sfu_event;
bool lk_sfu_poll_event(lk_sfu *sfu, lk_sfu_event *out);

/* ---- counters for /metrics: totals since lk_sfu_new, and what is there now -------------------------------------------------- */

typedef struct lk_sfu_stats {
    uint32_t rooms, participants, tracks_published, tracks_subscribed, connections; /* now */
    uint64_t joins, resumes, joins_refused, leaves, rooms_created;
    uint64_t signal_in, signal_out, signal_garbage;     /* messages */
    uint64_t packets_in, packets_out, bytes_in, bytes_out; /* datagrams */
    uint64_t packets_stray;                             /* belonged to nobody */
    uint64_t data_in, data_out, data_dropped;           /* messages of data channels */
    uint64_t denied;                                    /* actions a grant did not allow */
} lk_sfu_stats;
void lk_sfu_get_stats(const lk_sfu *sfu, lk_sfu_stats *out);
