// SPDX-License-Identifier: Apache-2.0
/* signal/signal.h - LiveKit signalling of a client: the join request, keep-alive, requests that wait for an answer.
 *
 * In:      binary WebSocket messages (SignalResponse), requests to send, the passing of time.
 * Out:     binary messages (SignalRequest); events: every message that concerns the room, the end of each request,
 *          LOST when the server fell silent.
 * Owner:   embedded by value in lk_session. Loop thread.
 * Limits:  message in 16 MiB; 1,024 messages unsent; 128 requests waiting (further ones: FULL).
 * Deviates: announces protocol 17, client_protocol 0 and no capabilities: what is built. join_request is not compressed.
 */
#pragma once
#include "base/lk_base.h"
#include "livekit/types.h"
#include "pbuf/pbuf.h"

#define LK_SIGNAL_PROTOCOL 17
#define LK_SIGNAL_MESSAGE_MAX (16u << 20)
#define LK_SIGNAL_REQUESTS_MAX 128
#define LK_SIGNAL_TX_MAX 1024
#define LK_SIGNAL_ADD_TRACK_USEC LK_SEC(10)
#define LK_SIGNAL_METADATA_USEC LK_SEC(5)
#define LK_SIGNAL_PING_USEC LK_SEC(5)      /* when the join response names none */
#define LK_SIGNAL_SILENCE_USEC LK_SEC(15)

/* ---- the join request -------------------------------------------------------------------------------- */

/* Who we are and what we want. Texts may be NULL ("" is left out); all borrowed for the call. */
typedef struct lk_signal_join {
    const char *sdk; /* "python", "cpp", ...; anything unknown is told as CPP: UNKNOWN loses features */
    const char *version, *os, *os_version, *device_model, *other_sdks;
    bool auto_subscribe, adaptive_stream;
    lk_str offer; /* SDP of the publisher offer; empty: none */
    uint32_t offer_id;
} lk_signal_join;

/* Appends "<prefix>/rtc/v1?join_request=..." or, for the probe that explains a failure, "<prefix>/rtc/v1/validate?...".
 * prefix: path of the server's URL, without a trailing '/'. LK_ERR_NOMEM (also when out refuses to grow). */
LK_NODISCARD lk_err lk_signal_join_target(lk_text *out, const lk_env *env, lk_str prefix, bool validate,
                                          const lk_signal_join *join);

/* The same for the older signalling with two connections: "<prefix>/rtc?sdk=...", without an offer. */
LK_NODISCARD lk_err lk_signal_join_target_v0(lk_text *out, lk_str prefix, const lk_signal_join *join);

/* ---- the machine --------------------------------------------------------------------------------------- */

typedef enum lk_signal_event_kind {
    LK_SIGNAL_MESSAGE = 1,  /* message: everything but pongs and answers to requests of the table */
    LK_SIGNAL_REQUEST_DONE, /* tag, error; track after an add_track that succeeded */
    LK_SIGNAL_LOST,         /* nothing was received for the ping timeout; once, and what comes after it is not read */
} lk_signal_event_kind;

/* Pointers are valid until the next call other than the polls. */
typedef struct lk_signal_event {
    lk_signal_event_kind kind;
    const Livekit__SignalResponse *message;
    uint64_t tag;
    lk_error error; /* OK, DENIED "request error: NotAllowed - ...", TIMEOUT, CLOSED */
    const Livekit__TrackInfo *track;
} lk_signal_event;

typedef struct lk_signal {
    const lk_env *env;
    lk_arena in; /* the message being handled */
    lk_queue tx, events;
    lk_list requests;
    void *sent; /* block given out by poll_tx, freed by the next call */
    size_t sent_size;
    uint32_t next_request_id;
    lk_usec ping_every_usec, silence_usec;
    lk_usec ping_due, silence_due; /* LK_NEVER before the join response */
    bool over;                     /* lost or closed */
    int64_t ping_sent_msec, rtt_msec; /* of the monotonic clock */
    uint64_t garbage;                 /* messages that did not decode */
} lk_signal;

void lk_signal_init(lk_signal *s, const lk_env *env);
void lk_signal_deinit(lk_signal *s);

/* One binary message. Undecodable ones are counted and dropped; pings start with `join` and `reconnect`. */
void lk_signal_input(lk_signal *s, lk_usec now, lk_bytes message);
void lk_signal_tick(lk_signal *s, lk_usec now);
lk_usec lk_signal_deadline(const lk_signal *s);
bool lk_signal_poll_tx(lk_signal *s, lk_bytes *out); /* valid until the next call */
bool lk_signal_poll_event(lk_signal *s, lk_signal_event *out);

/* Queues a message. LK_ERR_FULL, LK_ERR_NOMEM. Every send below can return these two. */
LK_NODISCARD lk_err lk_signal_send(lk_signal *s, const Livekit__SignalRequest *request);

/* What we tell about a track before it is offered; NULL texts are left out. */
typedef struct lk_signal_track {
    const char *cid; /* track part of its msid, at most 63 bytes */
    const char *name, *stream;
    lk_media_kind kind;
    lk_track_source source;
    bool muted, disable_dtx, disable_red, stereo;
    uint32_t audio_features; /* bit (1 << lk_audio_feature) */
    uint32_t width, height, bitrate_bps; /* video: its one layer */
} lk_signal_track;
/* Ended by exactly one REQUEST_DONE with this tag (not 0): after 10 s, or 5 s for metadata, at the latest. On an error
 * nothing was queued and no event follows. */
LK_NODISCARD lk_err lk_signal_add_track(lk_signal *s, lk_usec now, const lk_signal_track *track, uint64_t tag);
LK_NODISCARD lk_err lk_signal_update_metadata(lk_signal *s, lk_usec now, const char *metadata, const char *name,
                                              const lk_attribute *attributes, size_t attribute_count, uint64_t tag);

/* Fire and forget. Texts are borrowed. */
LK_NODISCARD lk_err lk_signal_offer(lk_signal *s, lk_str sdp, uint32_t id);
/* The answer to an offer of the server (of two connections). */
LK_NODISCARD lk_err lk_signal_answer(lk_signal *s, lk_str sdp, uint32_t id);
LK_NODISCARD lk_err lk_signal_trickle(lk_signal *s, bool subscriber, const char *candidate, const char *mid, uint32_t mline, bool final);
LK_NODISCARD lk_err lk_signal_mute(lk_signal *s, const char *track_sid, bool muted);
LK_NODISCARD lk_err lk_signal_subscribe(lk_signal *s, const char *participant_sid, const char *track_sid, bool subscribe);
/* How a track we subscribe to is to be delivered: the server takes each message for the whole truth. */
typedef struct lk_signal_delivery {
    bool disabled;
    lk_video_quality quality; /* counts when no size is told */
    uint32_t width, height;   /* 0: not told */
} lk_signal_delivery;
LK_NODISCARD lk_err lk_signal_track_setting(lk_signal *s, const char *track_sid, const lk_signal_delivery *wanted);
LK_NODISCARD lk_err lk_signal_leave(lk_signal *s, lk_disconnect_reason reason);
typedef struct lk_signal_permission {
    const char *identity;
    bool allow_all;
    const char *const *track_sids;
    size_t track_sid_count;
} lk_signal_permission;
LK_NODISCARD lk_err lk_signal_permissions(lk_signal *s, bool all_allowed, const lk_signal_permission *permissions,
                                          size_t count);
typedef enum lk_signal_scenario {
    LK_SIGNAL_SCENARIO_SPEAKER,
    LK_SIGNAL_SCENARIO_NODE_FAILURE,
    LK_SIGNAL_SCENARIO_MIGRATION,
    LK_SIGNAL_SCENARIO_SERVER_LEAVE,
} lk_signal_scenario;
LK_NODISCARD lk_err lk_signal_simulate(lk_signal *s, lk_signal_scenario scenario);

/* Forgets a waiting request without an event; false: none has that tag. */
bool lk_signal_forget(lk_signal *s, uint64_t tag);
/* Ends every waiting request (REQUEST_DONE with this error) and stops the timers. */
void lk_signal_close(lk_signal *s, const lk_error *why);
