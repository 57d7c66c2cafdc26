/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/room.h - a room, the participants in it and what they publish.
 *
 * Getters read the newest state from any thread; events carry the state they were made with. Words of the
 * contracts (LK_ANY, borrow, give, the common errors) are explained in runtime.h.
 */
#ifndef LIVEKIT_ROOM_H
#define LIVEKIT_ROOM_H

#include "livekit/runtime.h"
#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_room lk_room;
typedef struct lk_participant lk_participant;
typedef struct lk_publication lk_publication;
typedef struct lk_track lk_track; /* track.h */

/* ---- infos ------------------------------------------------------------------------------------------ */

/* Infos are immutable and counted: x_get_info gives one, lk_info_ref keeps one an event has shown.
 * info: lk_room_info, lk_participant_info, lk_publication_info or lk_track_info of this library. LK_ANY. */
LK_API const void *lk_info_ref(const void *info);
LK_API void lk_info_unref(const void *info);

/* ---- options ---------------------------------------------------------------------------------------- */

typedef enum lk_ice_transport {
    LK_ICE_TRANSPORT_ALL = 0,
    LK_ICE_TRANSPORT_RELAY = 1, /* not built yet: connect ends with LK_ERR_UNSUPPORTED */
    LK_ICE_TRANSPORT_NO_HOST = 2 /* likewise */
} lk_ice_transport;

typedef struct lk_ice_server {
    const char *const *urls; /* url_count of them, "stun:host:port", "turn:host:port?transport=udp" */
    size_t url_count;
    const char *username;
    const char *password;
} lk_ice_server;

typedef struct lk_room_options {
    uint32_t size; /* set by lk_room_options_init */
    bool auto_subscribe;         /* true: every track of every participant is delivered */
    bool adaptive_stream;        /* false; told to the server, nothing else */
    bool dynacast;               /* false; changes nothing yet */
    bool single_peer_connection; /* true; false: two of them, as older servers know it (who answers 404 to the newer way is
                                  * taken for one by itself) */
    uint32_t join_retries;       /* 3 further tries, at once, except after a refusal by the server (401, 403) */
    uint32_t connect_timeout_msec; /* 5000 per try, everything included; 100..60000 */
    lk_ice_transport ice_transport;
    const lk_ice_server *ice_servers; /* ice_server_count of them (<= 16), in the place of those the server names. The first
                                       * 4 "stun:" urls are asked how we look from outside; "turn:" and "turns:" are not
                                       * used yet */
    size_t ice_server_count;
    lk_encryption_type encryption; /* NONE; others are not built yet: connect ends with LK_ERR_UNSUPPORTED */
    const char *other_sdks;        /* "": told to the server */
    /* true: after a connect has succeeded the events of the room wait until lk_room_release_events; the
     * LK_EVENT_OP_DONE of operations do not. If that is not called within hold_timeout_msec (15000) the room
     * closes with LK_DISCONNECT_CONNECTION_TIMEOUT and the events are let go. */
    bool hold_events;
    uint32_t hold_timeout_msec;
    void *user_data; /* lk_room_user_data */
    /* 10: how often a room whose connection was lost tries to come back, each time after a random part of 300 ms doubling
     * to 7 s; 0: it closes. LK_EVENT_RECONNECTING, then LK_EVENT_RECONNECTED, or the events of its end with the reason it was
     * lost for. Operations under way end with LK_ERR_CLOSED; what is published stays published, under new sids. At most 1000. */
    uint32_t reconnect_tries;
} lk_room_options;

/* Fills in the defaults named above. options not NULL. LK_ANY. */
LK_API void lk_room_options_init(lk_room_options *options);

typedef struct lk_publish_options {
    uint32_t size; /* set by lk_publish_options_init */
    lk_track_source source;    /* UNKNOWN */
    bool dtx;                  /* true: silence is not sent */
    bool red;                  /* true: the server may make redundancy of it */
    bool preconnect_buffer;    /* false; told to subscribers as LK_AUDIO_FEATURE_PRECONNECT_BUFFER */
    uint32_t max_bitrate_bps;  /* 0: audio 48000, video by the size of the source; audio 6000..510000, video 10000..100000000 */
    const char *stream;        /* "": name of the group the track belongs to */
    uint32_t max_framerate;    /* video: 0: by the size of the source; 1..240 */
    const char *video_codec;   /* "": VP8, which is what is built; others end with LK_ERR_UNSUPPORTED */
} lk_publish_options;

/* Fills in the defaults named above. options not NULL. LK_ANY. */
LK_API void lk_publish_options_init(lk_publish_options *options);

/* ---- life of a room --------------------------------------------------------------------------------- */

/* Makes a room that is connected to nothing. runtime: kept. options: borrow, NULL for the defaults.
 * LK_ERR_INVALID: a field out of its range. Give: lk_room_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_room_new(lk_room **out, lk_runtime *runtime,
                                       const lk_room_options *options);

/* One more reference; returns room. LK_ANY. */
LK_API lk_room *lk_room_ref(lk_room *room);

/* Drops a reference. With the last one a connected room is left as by lk_room_disconnect and its undelivered
 * events vanish (events that were taken keep the room alive). LK_ANY. */
LK_API void lk_room_unref(lk_room *room);

/* user_data of the options. LK_ANY. */
LK_API void *lk_room_user_data(const lk_room *room);

/* The runtime the room was made with (no reference is added). LK_ANY. */
LK_API lk_runtime *lk_room_runtime(const lk_room *room);

/* Joins a room of the server at url (ws, wss, http, https; the path is kept) with an access token. Both: borrow.
 * It is done when the server has answered and the media path is connected, within
 * (1 + join_retries) * connect_timeout_msec altogether (default deadline of the operation).
 * Ends with: LK_ERR_INVALID (url or token unusable), LK_ERR_AUTH (refused by the server: its status and reason are
 * the text, the token is not), LK_ERR_RESOLVE, LK_ERR_NETWORK, LK_ERR_TLS, LK_ERR_PROTOCOL, LK_ERR_TIMEOUT,
 * LK_ERR_UNSUPPORTED (the text names the option), LK_ERR_CANCELLED.
 * Returns LK_ERR_STATE: connecting or connected. A room whose LK_EVENT_ROOM_CLOSED was queued may connect again.
 * op may be NULL. LK_ANY. [LiveKit signalling v1] */
LK_API lk_err lk_room_connect(lk_op *op, lk_room *room, const char *url, const char *token,
                              const lk_op_options *how);

/* Leaves. Events: per published track LK_EVENT_LOCAL_TRACK_UNPUBLISHED, LK_EVENT_CONNECTION_STATE,
 * LK_EVENT_DISCONNECTED with this reason, LK_EVENT_ROOM_CLOSED, then the end of this operation. A connect that is
 * under way is cancelled. On a room that is not connected the operation just ends with LK_OK. Default deadline
 * 5 s. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_disconnect(lk_op *op, lk_room *room, lk_disconnect_reason reason,
                                 const lk_op_options *how);

/* Opens the gate of lk_room_options.hold_events; harmless when it is open. LK_ERR_CLOSED: too late, the room was
 * closed by hold_timeout_msec. LK_ANY. */
LK_API lk_err lk_room_release_events(lk_room *room);

/* Newest info. Give: lk_info_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_room_get_info(const lk_room_info **out, const lk_room *room);

/* Ourselves. Give: lk_participant_unref. LK_ERR_STATE: never connected. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_room_local_participant(lk_participant **out, const lk_room *room);

/* Somebody by identity (also ourselves). Give: lk_participant_unref. LK_ERR_NOT_FOUND. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_room_find_participant(lk_participant **out, const lk_room *room,
                                                    const char *identity);

/* Everybody else at this moment: writes up to capacity references into out (each: lk_participant_unref) and
 * returns how many there are; call with capacity 0 to learn the number. LK_ANY. */
LK_API size_t lk_room_participants(const lk_room *room, lk_participant **out, size_t capacity);

/* ---- what we tell about ourselves ------------------------------------------------------------------- */

/* Each ends with LK_OK when the server has taken it, LK_ERR_DENIED with the server's reason, LK_ERR_TIMEOUT after
 * 5 s (default deadline) or LK_ERR_CLOSED. Text: borrow, UTF-8 (else LK_ERR_INVALID), metadata <= 512 KiB, name
 * <= 256 bytes (else LK_ERR_LIMIT). Returns LK_ERR_STATE on a room that is not connected. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_set_metadata(lk_op *op, lk_room *room, const char *metadata,
                                   const lk_op_options *how);
LK_API lk_err lk_room_set_name(lk_op *op, lk_room *room, const char *name, const lk_op_options *how);

/* As above. Named keys are set (value "" deletes), others stay. At most 64 attributes (LK_ERR_LIMIT). */
LK_API lk_err lk_room_set_attributes(lk_op *op, lk_room *room, const lk_attribute *attributes,
                                     size_t count, const lk_op_options *how);

/* Who may subscribe to our tracks. */
typedef struct lk_track_permission {
    const char *identity;
    bool allow_all; /* every track; otherwise only the named ones */
    const char *const *track_sids;
    size_t track_sid_count;
} lk_track_permission;

/* Told to the server without waiting; permissions: borrow, at most 1024 (LK_ERR_LIMIT). LK_ERR_STATE: not
 * connected. LK_ANY. */
LK_API lk_err lk_room_set_track_permissions(lk_room *room, bool all_allowed,
                                            const lk_track_permission *permissions, size_t count);

/* ---- publishing ------------------------------------------------------------------------------------- */

/* Publishes a local track. The room keeps the track and its source alive while it is published. Done when the
 * server has named it and the media is negotiated; default deadline 10 s, which also is what happens without the
 * right to publish. Ends with LK_ERR_DENIED, LK_ERR_TIMEOUT, LK_ERR_UNSUPPORTED, LK_ERR_CLOSED, LK_ERR_STATE (the
 * track is already published there). Returns LK_ERR_INVALID for a remote track, LK_ERR_STATE if not connected.
 * options: borrow, NULL for the defaults. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_publish(lk_op *op, lk_room *room, lk_track *track,
                              const lk_publish_options *options, const lk_op_options *how);

/* Takes a publication of ours back by its sid. Ends with LK_ERR_NOT_FOUND for any other sid. Default deadline
 * 10 s. The track can be published again and then has a new sid. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_unpublish(lk_op *op, lk_room *room, const char *sid, const lk_op_options *how);

/* Counters of the whole connection, both directions. Default deadline 5 s. Returns LK_ERR_STATE if not
 * connected. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_get_stats(lk_op *op, lk_room *room, const lk_op_options *how);

/* ---- participants ----------------------------------------------------------------------------------- */

LK_API lk_participant *lk_participant_ref(lk_participant *participant); /* LK_ANY */
LK_API void lk_participant_unref(lk_participant *participant);          /* LK_ANY */

/* Newest info; stays readable after the participant left. Give: lk_info_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_participant_get_info(const lk_participant_info **out,
                                                   const lk_participant *participant);
/* Never changes. LK_ANY. */
LK_API bool lk_participant_is_local(const lk_participant *participant);

/* The room, for as long as somebody holds it. Give: lk_room_unref. LK_ERR_CLOSED: gone. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_participant_room(lk_room **out, const lk_participant *participant);

/* As lk_room_participants, of publications; each: lk_publication_unref. LK_ANY. */
LK_API size_t lk_participant_publications(const lk_participant *participant, lk_publication **out,
                                          size_t capacity);

/* ---- publications ----------------------------------------------------------------------------------- */

LK_API lk_publication *lk_publication_ref(lk_publication *publication); /* LK_ANY */
LK_API void lk_publication_unref(lk_publication *publication);          /* LK_ANY */

/* Newest info; stays readable after the end. Give: lk_info_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_publication_get_info(const lk_publication_info **out,
                                                   const lk_publication *publication);
/* Never changes. LK_ANY. */
LK_API bool lk_publication_is_local(const lk_publication *publication);

/* Its track. Give: lk_track_unref. LK_ERR_NOT_FOUND: not subscribed at the moment. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_publication_track(lk_track **out, const lk_publication *publication);

/* Wants the media delivered or not. false: LK_EVENT_TRACK_UNSUBSCRIBED at once; true: LK_EVENT_TRACK_SUBSCRIBED
 * with a new track when it has arrived. LK_ERR_INVALID: a publication of ours; LK_ERR_CLOSED. LK_ANY. */
LK_API lk_err lk_publication_set_subscribed(lk_publication *publication, bool subscribed);

/* false: the server pauses delivery (we stay subscribed). LK_ERR_INVALID: a publication of ours. LK_ANY. */
LK_API lk_err lk_publication_set_enabled(lk_publication *publication, bool enabled);

/* Which layer of a simulcast publication the server delivers; HIGH until told. The newest of this and
 * lk_publication_set_dimensions counts. LK_ERR_INVALID: a publication of ours, not video, not one of the three;
 * LK_ERR_UNSUPPORTED: not simulcast, so there is nothing to choose from; LK_ERR_CLOSED. LK_ANY. */
LK_API lk_err lk_publication_set_quality(lk_publication *publication, lk_video_quality quality);

/* How large the picture is shown (1..16384 each): the server delivers the smallest layer that is not smaller.
 * LK_ERR_INVALID: a publication of ours, not video, a size out of range; LK_ERR_CLOSED. LK_ANY. */
LK_API lk_err lk_publication_set_dimensions(lk_publication *publication, uint32_t width, uint32_t height);

#ifdef __cplusplus
}
#endif
#endif
