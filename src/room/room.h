// SPDX-License-Identifier: Apache-2.0
/* room/room.h - one client session of a LiveKit room, from connect to its last event. [LiveKit signalling v1, v0]
 *
 * In:      commands; bytes of TCP streams, UDP datagrams, finished jobs, the passing of time; 10 ms frames of our tracks.
 * Out:     io effects (dial, write, bind, send, run a job) and events; the events mirror the FFI room events, in their
 *          order, and end every operation exactly once.
 * Owner:   the room object of api/, one per connect; heap. Loop thread.
 * Limits:  LK_SESSION_*_MAX below. A full table refuses the command (LK_ERR_FULL); what the server announces beyond a
 *          table is ignored and counted. Events waiting > 64 MiB: the session closes with LK_ERR_LIMIT.
 * Deviates: the type is lk_session, because lk_room is the public object. A lost connection is made anew from the join on;
 *          resuming the old one is not built yet.
 *
 * After every call: drain lk_session_poll_io and lk_session_poll_event, then ask lk_session_deadline.
 */
#pragma once
#include "base/lk_base.h"
#include "livekit/types.h"

typedef struct lk_session lk_session;
struct lk_frame;   /* frame/frame.h: refcounted audio */
struct lk_picture; /* frame/picture.h: refcounted pictures */
struct lk_stats;  /* livekit/stats.h */

#define LK_SESSION_PARTICIPANTS_MAX 4096
#define LK_SESSION_TRACKS_MAX 512 /* of one participant */
#define LK_SESSION_LOCAL_TRACKS_MAX 64
#define LK_SESSION_OPS_MAX 1024
#define LK_SESSION_SINKS_MAX 256
#define LK_SESSION_SINKS_MAX_PER_TRACK 64

/* ---- configuration ---------------------------------------------------------------------------------- */

typedef enum lk_session_transport {
    LK_SESSION_TRANSPORT_ALL = 0,
    LK_SESSION_TRANSPORT_RELAY = 1, /* refused: not built */
    LK_SESSION_TRANSPORT_NO_HOST = 2, /* refused: not built */
} lk_session_transport;

typedef struct lk_session_ice_server {
    const char *const *urls;
    size_t url_count;
    const char *username, *password;
} lk_session_ice_server;

/* Everything is copied by lk_session_new; NULL texts mean "". */
typedef struct lk_session_config {
    const char *sdk, *sdk_version; /* "python", "cpp", "c", ...; unknown names are told as CPP, never as UNKNOWN */
    const char *os, *os_version, *device_model, *other_sdks;
    bool auto_subscribe, adaptive_stream, dynacast;
    bool single_peer_connection; /* false is refused: not built */
    uint32_t join_retries;
    uint32_t reconnect_tries; /* after a live connection was lost; 0: the session ends */
    uint32_t connect_timeout_msec; /* of one try */
    lk_session_transport transport;
    const lk_session_ice_server *ice_servers; /* none: those of the join response; of either the first 4 "stun:" are asked */
    size_t ice_server_count;
    lk_encryption_type encryption; /* anything but NONE is refused by connect: not built */
    const char *https_proxy, *http_proxy, *no_proxy; /* values of the proxy variables, see ws/url.h; NULL = none */
    struct lk_tls_context *tls;   /* of the runtime, outlives the session; NULL: wss and https are refused */
    struct lk_dtls_context *dtls; /* of the runtime, outlives the session */
    /* Unix time in microseconds when the monotonic clock stood at `now` of lk_session_new: for sender reports and stats. */
    int64_t unix_usec;
} lk_session_config;

/* ---- life ------------------------------------------------------------------------------------------- */

LK_NODISCARD lk_err lk_session_new(lk_session **out, const lk_env *env, const lk_session_config *config, lk_usec now);
/* Frees everything at once; jobs still out must have come back, tell lk_session_jobs_out first. NULL ok. */
void lk_session_free(lk_session *s);
/* Jobs handed out by poll_io and not yet given back. */
size_t lk_session_jobs_out(const lk_session *s);
/* True when nothing more will come: events are queued up to the last, sockets are closed, jobs are back. After a
 * disconnect the farewell to the server may take up to 1 s; freeing earlier is legal and merely less polite. */
bool lk_session_finished(const lk_session *s);

/* ---- commands: each `op` (chosen by the host, never 0, unique) ends with exactly one OP_DONE --------- *
 * A command that returns an error ends nothing: no OP_DONE follows. Texts are borrowed for the call. */

/* Once per session. OP_DONE carries room, participant (the local one) and members. */
LK_NODISCARD lk_err lk_session_connect(lk_session *s, lk_usec now, uint64_t op, const char *url, const char *token);
/* Leaves; order of events: ffi-contract 3.6. On a closed session OP_DONE follows at once. Ends a running connect with
 * LK_ERR_CANCELLED. */
LK_NODISCARD lk_err lk_session_disconnect(lk_session *s, lk_usec now, uint64_t op, lk_disconnect_reason reason);
/* Ends a pending operation with `why` (LK_ERR_CANCELLED, LK_ERR_TIMEOUT) and undoes its effect where possible (a connect
 * is aborted and the session closes without an event; a publication is taken back). LK_ERR_NOT_FOUND. */
LK_NODISCARD lk_err lk_session_cancel(lk_session *s, lk_usec now, uint64_t op, lk_err why);

typedef struct lk_session_publish {
    uint64_t track;   /* the host's name of the local track: not 0, below 2^63 */
    const char *name;
    lk_track_source source;
    bool muted, dtx, red, preconnect_buffer;
    uint32_t max_bitrate_bps; /* 0: audio 48000, video by its size */
    const char *stream;
    uint32_t sample_rate, channels; /* audio: of the frames that will be pushed */
    uint32_t width, height, max_framerate; /* video: of the pictures that will be pushed; framerate 0: by its size */
    const char *codec; /* video: NULL means VP8 */
} lk_session_publish;
/* OP_DONE carries publication and track, then LOCAL_TRACK_PUBLISHED follows. */
LK_NODISCARD lk_err lk_session_publish_audio(lk_session *s, lk_usec now, uint64_t op, const lk_session_publish *p);
/* UNSUPPORTED: a codec we have not. */
LK_NODISCARD lk_err lk_session_publish_video(lk_session *s, lk_usec now, uint64_t op, const lk_session_publish *p);
/* LOCAL_TRACK_UNPUBLISHED, then OP_DONE. Unknown sid: OP_DONE with LK_ERR_NOT_FOUND. */
LK_NODISCARD lk_err lk_session_unpublish(lk_session *s, lk_usec now, uint64_t op, const char *sid);
/* Sends a mute request and gives TRACK_MUTED / TRACK_UNMUTED if it changes. LK_ERR_NOT_FOUND: not published here. */
LK_NODISCARD lk_err lk_session_set_muted(lk_session *s, lk_usec now, uint64_t track, bool muted);
/* 10 ms of a local track (frame: borrow, the session takes its own reference). Ignored unless published. */
void lk_session_push_audio(lk_session *s, lk_usec now, uint64_t track, struct lk_frame *frame);
/* One picture of a local track (borrow, the session takes its own reference). Ignored unless published. */
void lk_session_push_video(lk_session *s, lk_usec now, uint64_t track, struct lk_picture *picture);
/* True while pushed frames of the track are used: the host needs no clock for it otherwise. */
bool lk_session_wants_media(const lk_session *s, uint64_t track);

/* Remote publications by the id their events carry. LK_ERR_NOT_FOUND. */
LK_NODISCARD lk_err lk_session_set_subscribed(lk_session *s, lk_usec now, uint64_t publication, bool subscribed);
LK_NODISCARD lk_err lk_session_set_enabled(lk_session *s, lk_usec now, uint64_t publication, bool enabled);
/* Which layer of a simulcast publication the server is to send: by name, or the smallest that is at least that size. Each
 * takes the place of the other. NOT_FOUND for sound too. */
LK_NODISCARD lk_err lk_session_set_quality(lk_session *s, lk_usec now, uint64_t publication, lk_video_quality quality);
LK_NODISCARD lk_err lk_session_set_dimensions(lk_session *s, lk_usec now, uint64_t publication, uint32_t width, uint32_t height);

/* Sends one packet to everybody, or to those named. OP_DONE when it is in the channel: it waits there for as long as the
 * channel is full, in the order of these calls. LIMIT with *why: longer than LK_SESSION_DATA_MAX bytes with everything around
 * it. FULL: too many wait. */
#define LK_SESSION_DATA_MAX 64000u
typedef struct lk_session_data {
    lk_bytes payload;
    bool reliable;
    const char *topic; /* NULL: none */
    const char *const *identities;
    size_t identity_count;
} lk_session_data;
LK_NODISCARD lk_err lk_session_publish_data(lk_session *s, lk_usec now, uint64_t op, const lk_session_data *data, lk_error *why);
/* Only told: DATA_THRESHOLD and ROOM_CHANGED follow. */
LK_NODISCARD lk_err lk_session_set_data_threshold(lk_session *s, lk_usec now, bool reliable, uint64_t bytes);

/* OP_DONE within 5 s: LK_OK, LK_ERR_DENIED with the reason of the server, LK_ERR_TIMEOUT. */
LK_NODISCARD lk_err lk_session_set_metadata(lk_session *s, lk_usec now, uint64_t op, const char *metadata);
LK_NODISCARD lk_err lk_session_set_name(lk_session *s, lk_usec now, uint64_t op, const char *name);
LK_NODISCARD lk_err lk_session_set_attributes(lk_session *s, lk_usec now, uint64_t op, const lk_attribute *attributes,
                                              size_t count);

typedef struct lk_session_permission {
    const char *identity;
    bool allow_all;
    const char *const *track_sids;
    size_t track_sid_count;
} lk_session_permission;
LK_NODISCARD lk_err lk_session_set_track_permissions(lk_session *s, lk_usec now, bool all_allowed,
                                                     const lk_session_permission *permissions, size_t count);

/* Listens to a remote audio track (id of TRACK_SUBSCRIBED) in the wanted format: AUDIO_FRAME events with this sink until
 * it is removed or the track ends (SINK_END, once, also after remove). sink: chosen by the host, not 0, unique. */
typedef struct lk_session_sink {
    uint64_t sink;
    uint32_t sample_rate, channels, frame_msec;
} lk_session_sink;
LK_NODISCARD lk_err lk_session_add_sink(lk_session *s, lk_usec now, uint64_t track, const lk_session_sink *sink);
/* The same for a video track: VIDEO_FRAME events. format: lk_video_format, or -1 for pictures as they were decoded. */
LK_NODISCARD lk_err lk_session_add_video_sink(lk_session *s, lk_usec now, uint64_t track, uint64_t sink, int format);
LK_NODISCARD lk_err lk_session_remove_sink(lk_session *s, lk_usec now, uint64_t sink);

/* OP_DONE carries stats: of a local track (LK_ERR_NOT_FOUND "room failure: no transceiver found for track" when it is not
 * published), of a remote one (empty list when no longer subscribed), or of the session (stats and subscriber_stats). */
LK_NODISCARD lk_err lk_session_get_track_stats(lk_session *s, lk_usec now, uint64_t op, uint64_t track);
LK_NODISCARD lk_err lk_session_get_stats(lk_session *s, lk_usec now, uint64_t op);

/* Test hooks of SimulateScenario; kinds as in the FFI schema (0 SIGNAL_RECONNECT ...). Those that need a resume answer
 * LK_ERR_UNSUPPORTED for now. */
LK_NODISCARD lk_err lk_session_simulate(lk_session *s, lk_usec now, unsigned kind);

/* ---- input from the world ---------------------------------------------------------------------------- */

void lk_session_stream_opened(lk_session *s, lk_usec now, uint32_t stream);
void lk_session_stream_data(lk_session *s, lk_usec now, uint32_t stream, lk_bytes data);
/* why: NULL = the peer closed it; else RESOLVE, NETWORK, TIMEOUT with a text naming the host. */
void lk_session_stream_closed(lk_session *s, lk_usec now, uint32_t stream, const lk_error *why);
/* Answer to UDP_OPEN: the addresses sockets are bound to, ports included; all those of one local address stand together.
 * Also later, when the list changes. */
void lk_session_addresses(lk_session *s, lk_usec now, const lk_addr *addresses, size_t count);
/* Answer to RESOLVE: no address means there is none. One of each family is used. */
void lk_session_resolved(lk_session *s, lk_usec now, uint32_t question, const lk_addr *addresses, size_t count);
void lk_session_input(lk_session *s, lk_usec now, const lk_datagram *datagram);
void lk_session_job_done(lk_session *s, lk_usec now, lk_job *job);
void lk_session_tick(lk_session *s, lk_usec now);
lk_usec lk_session_deadline(const lk_session *s);

/* ---- effects ------------------------------------------------------------------------------------------ */

typedef enum lk_session_io_kind {
    LK_SESSION_IO_DIAL = 1,     /* stream, host, port: resolve, race addresses, connect over TCP */
    LK_SESSION_IO_RESOLVE,      /* stream: number of the question, host, port: answer with lk_session_resolved */
    LK_SESSION_IO_STREAM_WRITE, /* stream, bytes */
    LK_SESSION_IO_STREAM_CLOSE, /* stream: after what was written; no further call for it */
    LK_SESSION_IO_UDP_OPEN,     /* bind `sockets` sockets on every local address, answer with lk_session_addresses */
    LK_SESSION_IO_UDP_CLOSE,    /* all of them */
    LK_SESSION_IO_UDP_SEND,     /* datagram */
    LK_SESSION_IO_JOB,          /* run job->run(job) on a worker, then lk_session_job_done */
} lk_session_io_kind;

/* Pointers are valid until the next call with a non-const session other than the two polls. */
typedef struct lk_session_io {
    lk_session_io_kind kind;
    uint32_t stream;
    uint16_t port;
    unsigned sockets;
    const char *host;
    lk_bytes bytes;
    lk_datagram datagram;
    lk_job *job;
} lk_session_io;
bool lk_session_poll_io(lk_session *s, lk_session_io *out);

/* ---- events -------------------------------------------------------------------------------------------- */

/* Names in brackets: fields set besides participant/publication ids and infos named. */
typedef enum lk_session_event_kind {
    LK_SESSION_OP_DONE = 1,          /* [op, error] and what the command says */
    LK_SESSION_CONNECTION_STATE,     /* [state] */
    LK_SESSION_RECONNECTING,         /* the connection is lost; everybody has been told to be gone */
    LK_SESSION_RECONNECTED,          /* they have been told again, and our tracks are published again */
    LK_SESSION_DISCONNECTED,         /* [reason, error] */
    LK_SESSION_CLOSED,               /* last event (FFI eos); only after a connect that succeeded */
    LK_SESSION_ROOM_SID,             /* [text, room_info] */
    LK_SESSION_ROOM_METADATA,        /* [text, room_info] */
    LK_SESSION_ROOM_UPDATED,         /* [room_info] */
    LK_SESSION_TOKEN_REFRESHED,      /* [text] a secret */

    LK_SESSION_PARTICIPANT_CONNECTED,
    LK_SESSION_PARTICIPANT_ACTIVE,
    LK_SESSION_PARTICIPANT_DISCONNECTED, /* [reason] its publications are gone already */
    LK_SESSION_PARTICIPANT_METADATA,     /* [text] */
    LK_SESSION_PARTICIPANT_NAME,         /* [text] */
    LK_SESSION_PARTICIPANT_ATTRIBUTES,   /* [attributes]: the changed ones */
    LK_SESSION_PARTICIPANT_PERMISSION,
    LK_SESSION_PARTICIPANT_ENCRYPTION,   /* [flag] */
    LK_SESSION_PARTICIPANTS_UPDATED,     /* [members] */
    LK_SESSION_ACTIVE_SPEAKERS,          /* [members] loudest first */
    LK_SESSION_CONNECTION_QUALITY,       /* [quality] */

    LK_SESSION_LOCAL_TRACK_PUBLISHED,   /* publication, track */
    LK_SESSION_LOCAL_TRACK_UNPUBLISHED, /* publication, track */
    LK_SESSION_LOCAL_TRACK_SUBSCRIBED,  /* publication, track */
    LK_SESSION_LOCAL_TRACK_REPUBLISHED, /* publication, track [text]: the old sid */

    LK_SESSION_TRACK_PUBLISHED,           /* publication */
    LK_SESSION_TRACK_UNPUBLISHED,         /* publication */
    LK_SESSION_TRACK_SUBSCRIBED,          /* publication, track */
    LK_SESSION_TRACK_UNSUBSCRIBED,        /* publication, track */
    LK_SESSION_TRACK_SUBSCRIPTION_FAILED, /* [text: track sid, error] */
    LK_SESSION_TRACK_MUTED,               /* publication (ours or theirs) */
    LK_SESSION_TRACK_UNMUTED,             /* publication (ours or theirs) */

    LK_SESSION_DATA,           /* [participant or none, data, text: topic, flag: reliable] */
    LK_SESSION_DTMF,           /* [participant or none, data: the digit, number: the code] */
    LK_SESSION_DATA_THRESHOLD, /* [number: bytes, flag: reliable] */

    LK_SESSION_AUDIO_FRAME, /* [sink, frame] */
    LK_SESSION_VIDEO_FRAME, /* [sink, picture] */
    LK_SESSION_SINK_END,    /* [sink] */

    /* Not told to users: newer infos for the host's getters. */
    LK_SESSION_ROOM_CHANGED,        /* [room_info] */
    LK_SESSION_PARTICIPANT_CHANGED,
    LK_SESSION_PUBLICATION_CHANGED, /* publication */
    LK_SESSION_TRACK_CHANGED,       /* publication, track */
} lk_session_event_kind;

typedef struct lk_session_member_publication {
    uint64_t id;
    const lk_publication_info *info;
} lk_session_member_publication;

typedef struct lk_session_member {
    uint64_t id;
    const lk_participant_info *info;
    const lk_session_member_publication *publications; /* OP_DONE of a connect only */
    size_t publication_count;
} lk_session_member;

/* Ids are of this session, never 0, never reused; a participant who comes back has a new one, a subscription has a new
 * track id each time (bit 63 set; a local track has the host's). Fields a kind does not name are zero, texts "".
 * Pointers live until the next call other than the polls. */
typedef struct lk_session_event {
    lk_session_event_kind kind;
    uint64_t op;
    lk_error error;
    uint64_t participant_id, publication_id, track_id, sink;
    const lk_participant_info *participant;
    const lk_publication_info *publication;
    const lk_track_info *track;
    const lk_room_info *room_info;
    const lk_session_member *members;
    size_t member_count;
    const lk_attribute *attributes;
    size_t attribute_count;
    const struct lk_stats *stats, *subscriber_stats;
    size_t stats_count, subscriber_stats_count;
    struct lk_frame *frame; /* give: the receiver drops the reference; undelivered ones are dropped by the session */
    struct lk_picture *picture; /* as frame */
    lk_bytes data;
    uint64_t number;
    bool has_topic;
    const char *text;
    lk_connection_state state;
    lk_connection_quality quality;
    lk_disconnect_reason reason;
    bool flag;
} lk_session_event;
bool lk_session_poll_event(lk_session *s, lk_session_event *out);
