// SPDX-License-Identifier: Apache-2.0
/* room/room_internal.h - the parts of a session, shared by the files of this folder only.
 *
 * room.c           life, commands, the pump, effects        room_connect.c  attempts, join, end
 * room_event.c     events, infos, operations                room_people.c   participants, publications, updates
 * room_publish.c   our tracks                               room_media.c    media both ways
 * room_encoding.c  how much a picture is worth              room_data.c     data packets both ways
 * room_ice.c       STUN servers                             room_rejoin.c   coming back after the connection was lost
 * room_negotiation.c  peer connections, offers, answers, candidates
 */
#pragma once
#include "dtls/dtls.h"
#include "ice/ice.h"
#include "media/audio_receiver.h"
#include "media/audio_sender.h"
#include "media/video_receiver.h"
#include "media/video_sender.h"
#include "pc/pc.h"
#include "room/room.h"
#include "signal/signal.h"
#include "ws/ws.h"

#define LK_SESSION_EVENT_BYTES_MAX (64u << 20)
#define LK_SESSION_ICE_USEC LK_SEC(15)       /* media must connect this long after the join */
#define LK_SESSION_ADDRESSES_USEC LK_MSEC(500) /* how long the join waits for local addresses */
#define LK_SESSION_ANSWER_USEC LK_SEC(15)
#define LK_SESSION_UNKNOWN_TRACK_USEC LK_SEC(5)
#define LK_SESSION_REASON_USEC LK_SEC(2)
#define LK_SESSION_SLOTS 3 /* receive sections of each kind in the first offer */
#define LK_SESSION_REMOTE_TRACK_BIT (1ull << 63)
#define LK_SESSION_EARLY_USEC LK_MSEC(200) /* the server puts off asking for 150 ms after it asked or made the connection */
#define LK_SESSION_EARLY_OFFERS 8 /* in that time */
#define LK_SESSION_EARLY_TRIES 3  /* for one announcement: it may run ahead of the server's own preparations */
#define LK_SESSION_DATA_LOW (2u << 20) /* bytes; what the reference starts with */
#define LK_SESSION_SPARE_NODES_MAX 64
#define LK_SESSION_DEMAND_PERCENT 200 /* of what our video wants at most: the estimate may grow so far */
#define LK_SESSION_PACING_PERCENT 250 /* of the estimate: a key frame is out before the next frame is due; see PACER_BURST_USEC */
#define LK_SESSION_TOKEN_MAX 65536
#define LK_SESSION_JOB_SENDER 1 /* lk_job.tag, set by media/ */
#define LK_SESSION_JOB_RECEIVER 2
#define LK_SESSION_JOB_VIDEO_SENDER 3
#define LK_SESSION_JOB_VIDEO_RECEIVER 4

/* ---- events ---------------------------------------------------------------------------------------- */

/* Nodes that end something are part of what they end, so that no end needs memory. */
typedef struct lk_session_node {
    lk_link link;
    void *block; /* freed once delivered; NULL: part of the session */
    size_t block_size;
    lk_session_event ev;
} lk_session_node;

typedef enum lk_session_op_kind {
    LK_SESSION_OP_CONNECT = 1,
    LK_SESSION_OP_DISCONNECT,
    LK_SESSION_OP_PUBLISH,
    LK_SESSION_OP_UNPUBLISH,
    LK_SESSION_OP_METADATA,
    LK_SESSION_OP_STATS,
    LK_SESSION_OP_DATA,
} lk_session_op_kind;

typedef struct lk_session_op {
    lk_link link;
    lk_session_node node;
    lk_session_op_kind kind;
    uint64_t tag; /* of the signalling request it waits for, 0 = none */
} lk_session_op;

/* ---- people ------------------------------------------------------------------------------------------ */

typedef struct lk_session_person lk_session_person;
typedef struct lk_session_pub lk_session_pub;
typedef struct lk_session_remote_track lk_session_remote_track;
typedef struct lk_session_local_track lk_session_local_track;

struct lk_session_pub {
    lk_link link; /* in person->pubs */
    uint64_t id;
    lk_session_person *person;
    char *sid, *name, *mime, *stream;
    lk_media_kind kind;
    lk_track_source source;
    lk_encryption_type encryption;
    uint32_t width, height, audio_features;
    bool simulcast, muted;
    bool wanted, allowed, enabled; /* remote */
    lk_video_quality quality;      /* remote video: what the server is asked for, until a size is told */
    uint32_t wanted_width, wanted_height; /* 0: not told */
    lk_session_remote_track *track; /* remote: while subscribed */
};

struct lk_session_person {
    lk_link link; /* in session->others, unless local */
    uint64_t id;
    bool is_local, active_told, encrypted_told, speaking, quality_known, has_permission;
    char *sid, *identity, *name, *metadata;
    lk_attribute *attributes;
    size_t attribute_count;
    uint32_t version;
    lk_participant_state state;
    lk_participant_kind kind;
    uint32_t kind_details;
    int64_t joined_at_msec;
    int32_t client_protocol;
    lk_disconnect_reason disconnect_reason;
    lk_permission permission;
    lk_connection_quality quality;
    float level;
    uint32_t last_data; /* sequence of its last reliable data packet; 0: none */
    lk_list pubs;
};

/* ---- tracks -------------------------------------------------------------------------------------------- */

struct lk_session_remote_track {
    lk_link link; /* in session->remote_tracks, or session->dying while its job is out */
    uint64_t id;
    lk_session_pub *pub; /* NULL: dying */
    uint32_t section;
    lk_stream_state stream_state;
    lk_audio_receiver *receiver; /* exactly one of the two */
    lk_video_receiver *video;
};

/* Who listens to what; ends with the track. */
typedef struct lk_session_listener {
    lk_link link; /* in session->listeners */
    uint64_t sink;
    lk_session_remote_track *track;
} lk_session_listener;

typedef enum lk_session_local_state {
    LK_SESSION_LOCAL_REQUESTED, /* add_track was sent */
    LK_SESSION_LOCAL_OFFERING,  /* has a section, waits for the answer to an offer with it */
    LK_SESSION_LOCAL_PUBLISHED,
    LK_SESSION_LOCAL_APART, /* was published, the connection is lost */
} lk_session_local_state;

struct lk_session_local_track {
    lk_link link; /* in session->local_tracks */
    uint64_t track; /* the host's; 0: dying */
    lk_session_op *op; /* pending publish, or NULL */
    lk_session_local_state state;
    char cid[40];
    char *name, *stream;
    char *sid_before; /* what it was published as before the connection was lost */
    lk_track_source source;
    bool muted, told_muted, dtx, red, subscribed_early;
    bool told; /* as published, and not yet as taken back */
    uint32_t audio_features, max_bitrate_bps, sample_rate, channels;
    uint32_t section, offer_number; /* first offer that carries it */
    lk_session_pub *pub;
    uint64_t tag; /* of its add_track request */
    lk_audio_sender *sender; /* exactly one of the two */
    lk_video_sender *video;
    uint32_t max_framerate, width, height; /* video */
};

/* What a section of ours carries from the server, told by the peer connection. */
typedef struct lk_session_slot {
    char *sid; /* NULL: nothing */
    lk_usec unknown_until; /* its publication must be known by then; LK_NEVER: it is */
} lk_session_slot;

typedef struct lk_session_candidate {
    bool sub;
    char line[LK_ICE_CANDIDATE_LINE_MAX];
} lk_session_candidate;

/* A STUN server; its name waits here for the answer. */
typedef struct lk_session_stun {
    char host[LK_URL_HOST_MAX + 1];
    uint16_t port;
} lk_session_stun;

typedef enum lk_session_phase {
    LK_SESSION_NEW,
    LK_SESSION_DIALLING, /* stream and addresses are being opened */
    LK_SESSION_JOINING,  /* WebSocket started, join not received */
    LK_SESSION_MEDIA,    /* join received, peer connection not connected */
    LK_SESSION_LIVE,
    LK_SESSION_APART,    /* was live, waits for the next try to come back */
    LK_SESSION_LEAVING,  /* last events are out, the farewell is not */
    LK_SESSION_OVER,
} lk_session_phase;

struct lk_session {
    const lk_env *env;
    lk_usec now;
    lk_arena fixed; /* configuration, url */
    lk_session_config config;
    lk_session_phase phase;
    lk_err broken; /* a handler could not get memory, or a bound was passed: the session ends */

    /* out */
    lk_arena out; /* what events point to; empty when no event waits */
    lk_session_event nowhere; /* what emit gives when nobody is to hear it; written, never read */
    lk_list events, ops, spare; /* spare: nodes of events that were taken */
    lk_session_node end_state, end_disconnected, end_closed;
    lk_queue io;
    uint64_t next_id;
    size_t jobs_out;

    /* connecting */
    lk_session_op *connect_op;
    char *url_text, *token;
    lk_url url;
    lk_proxy_env proxies;
    char proxy_host[LK_URL_HOST_MAX + 1];
    uint16_t proxy_port;
    lk_str proxy_userinfo;
    bool through_proxy;
    unsigned tries_left;
    lk_usec connect_by, try_by, addresses_by; /* LK_NEVER when not running */
    bool addresses_known, stream_open, udp_open, retry, farewell;
    uint32_t stream; /* id of the current stream, 0 = none */
    uint32_t last_stream;
    lk_addr *addresses;
    size_t address_count;

    lk_session_stun stun[LK_ICE_SERVERS_MAX]; /* of the configuration, or of this try's join response */
    size_t stun_count;

    lk_ws *ws;
    lk_signal signal;
    bool signal_live; /* signal is initialised */
    lk_pc *pc;  /* the one connection, or the publisher of two */
    lk_pc *sub; /* the subscriber of two, answering the server's offers; else NULL */
    bool dual;  /* two connections: the older signalling, by wish or because the server has no other */
    bool sub_primary; /* the subscriber says when we are connected */
    unsigned udp_sockets; /* per address, of those that are open */
    bool join_received, pc_connected;

    /* negotiation */
    uint32_t offer_id; /* of the last offer; counts up */
    bool offer_out, offer_wanted;
    lk_usec early_by; /* offers without being asked: until then, so many more, and for what was announced */
    unsigned early_left, early_tries;
    lk_usec answer_by;
    lk_usec media_over_by; /* the connection has ended: the server's reason may still come until then */
    lk_error media_over;
    lk_queue candidates; /* of lk_session_candidate: wait for the join response, and for the first answer of two */
    lk_session_slot *slots;
    size_t slot_count;

    /* coming back: DIALLING to LIVE again, without a connect_op */
    bool rejoining; /* from the loss until everything of ours is published again */
    unsigned rejoin_tries;
    lk_usec rejoin_at, steady_since;
    lk_disconnect_reason lost_reason;
    lk_error lost;
    lk_arena permissions_kept;
    const lk_signal_permission *permissions;
    size_t permission_count;
    bool permissions_set, all_allowed;

    /* data */
    uint32_t channels[2]; /* of the peer connection, by kind: reliable, lossy */
    uint32_t data_sequence;
    lk_list outbox[2]; /* of packets the channel had no room for, or that came before it opened */
    uint64_t data_low[2]; /* thresholds, as told */
    uint64_t target_bps; /* of the last share_rate */

    /* room */
    char *room_sid, *room_name, *room_metadata, *server_version;
    int64_t room_created_msec;
    uint32_t room_empty_sec, room_departure_sec, room_max, room_participants, room_publishers;
    bool room_recording, room_sid_told;
    lk_connection_state state;
    char *fresh_token;
    lk_session_person *local;
    lk_list others, local_tracks, remote_tracks, listeners;
    lk_list dying_local, dying_remote; /* their job is still out */
    size_t ignored; /* announcements beyond a bound */
};

/* ---- room_event.c ------------------------------------------------------------------------------------- */

/* Replaces an owned text; true if it changed. Refused memory sets s->broken and keeps the old one. NULL counts as "". */
bool lk_session_set_text(lk_session *s, char **slot, const char *value);
void lk_session_free_text(lk_session *s, char **slot);
/* Queues an event; never NULL: while the session is not live, or without memory, a scratch event that goes nowhere. */
lk_session_event *lk_session_emit(lk_session *s, lk_session_event_kind kind);
lk_session_event *lk_session_emit_person(lk_session *s, lk_session_event_kind kind, const lk_session_person *p);
lk_session_event *lk_session_emit_pub(lk_session *s, lk_session_event_kind kind, const lk_session_pub *pub);
/* Copies into the memory of events; "" when refused. */
void *lk_session_out_alloc(lk_session *s, size_t size); /* NULL when refused; s->broken says so */
const char *lk_session_out_text(lk_session *s, const char *text);
const lk_participant_info *lk_session_person_info(lk_session *s, const lk_session_person *p);
const lk_publication_info *lk_session_pub_info(lk_session *s, const lk_session_pub *pub);
const lk_room_info *lk_session_room_info(lk_session *s);
const lk_track_info *lk_session_local_track_info(lk_session *s, const lk_session_local_track *t);
const lk_track_info *lk_session_remote_track_info(lk_session *s, const lk_session_remote_track *t);
/* Members with everything (publications) or only the listed persons' infos. */
void lk_session_fill_everybody(lk_session *s, lk_session_event *ev);
void lk_session_fill_members(lk_session *s, lk_session_event *ev, lk_session_person *const *people, size_t count);

lk_err lk_session_op_new(lk_session *s, uint64_t id, lk_session_op_kind kind, lk_session_op **out);
/* Ends it; returns its event so that results can be filled in. error NULL: LK_OK. */
lk_session_event *lk_session_op_done(lk_session *s, lk_session_op *op, const lk_error *error);
lk_session_op *lk_session_op_find(lk_session *s, uint64_t id);
void lk_session_push_node(lk_session *s, lk_session_node *node);
void lk_session_free_events(lk_session *s);

/* ---- room.c -------------------------------------------------------------------------------------------- */

/* Carries events from machine to machine until nothing moves. */
void lk_session_pump(lk_session *s);

/* ---- room_connect.c ------------------------------------------------------------------------------------ */

void lk_session_connect_tick(lk_session *s);
lk_usec lk_session_connect_deadline(const lk_session *s);
void lk_session_on_ws(lk_session *s, const lk_ws_event *ev);
void lk_session_on_stream_ready(lk_session *s);
void lk_session_on_join(lk_session *s, const Livekit__JoinResponse *join);
void lk_session_on_leave(lk_session *s, const Livekit__LeaveRequest *leave);
void lk_session_on_pc_state(lk_session *s, lk_pc_state state, lk_err err, bool sub);
/* This try failed; the next one starts, or (final) the connect ends. */
void lk_session_try_failed(lk_session *s, const lk_error *why, bool final);
/* Ends a connect under way without any room event. */
void lk_session_abort_connect(lk_session *s, const lk_error *why);
/* The room is over by our wish (by_client: leave is told) or by the server or the network. */
void lk_session_end(lk_session *s, bool by_client, lk_disconnect_reason reason, const lk_error *why);
/* Closes stream, sockets and machines. */
void lk_session_hang_up(lk_session *s);
/* Drops the connection and whoever it told of without a word; what is ours stays. */
void lk_session_apart(lk_session *s);
void lk_session_fail_ops(lk_session *s);
void lk_session_start_try(lk_session *s);

/* ---- room_rejoin.c ------------------------------------------------------------------------------------- */

/* The connection of a live session is gone: it comes back by itself, or ends with this reason. */
void lk_session_lost(lk_session *s, lk_disconnect_reason reason, const lk_error *why);
void lk_session_give_up(lk_session *s);
/* A try to come back failed; the next one is set, or (final) the session ends. */
void lk_session_rejoin_failed(lk_session *s, const lk_error *why, bool final);
void lk_session_rejoin_tick(lk_session *s);
/* Media is connected again: people are told, our tracks are announced. */
void lk_session_rejoined(lk_session *s);
/* RECONNECTED once nothing of ours is on its way any more. */
void lk_session_rejoin_settle(lk_session *s);
/* Permissions are told again to a server that knows nothing of us. Sids of ours are new then: those listed by sid name nothing
 * any more, which denies rather than allows. */
lk_err lk_session_keep_permissions(lk_session *s, bool all_allowed, const lk_session_permission *from, size_t count);
lk_err lk_session_send_permissions(lk_session *s);

/* ---- room_ice.c ---------------------------------------------------------------------------------------- */

/* The "stun:" urls of the application's list, which may be forgotten then. */
void lk_session_keep_stun(lk_session *s, const lk_session_ice_server *servers, size_t count);
/* A join response came: its list counts where the application has none. Their names are looked up. */
void lk_session_ask_stun(lk_session *s, const Livekit__JoinResponse *join);

/* ---- room_people.c -------------------------------------------------------------------------------------- */

lk_session_person *lk_session_find_identity(lk_session *s, const char *identity);
lk_session_person *lk_session_find_sid(lk_session *s, const char *sid);
/* Any publication, ours too, by track sid; NULL. */
lk_session_pub *lk_session_find_pub(lk_session *s, const char *track_sid);
lk_session_pub *lk_session_find_pub_id(lk_session *s, uint64_t id);
void lk_session_set_local(lk_session *s, const Livekit__ParticipantInfo *info);
void lk_session_set_room(lk_session *s, const Livekit__Room *room);
/* A complete set of infos with their events; participants_updated closes it. */
void lk_session_on_update(lk_session *s, Livekit__ParticipantInfo *const *infos, size_t count);
void lk_session_on_room_update(lk_session *s, const Livekit__Room *room);
void lk_session_on_speakers(lk_session *s, const Livekit__SpeakersChanged *change);
void lk_session_on_quality(lk_session *s, const Livekit__ConnectionQualityUpdate *update);
void lk_session_on_permission(lk_session *s, const Livekit__SubscriptionPermissionUpdate *update);
void lk_session_on_stream_state(lk_session *s, const Livekit__StreamStateUpdate *update);
void lk_session_on_subscription_response(lk_session *s, const Livekit__SubscriptionResponse *response);
lk_session_pub *lk_session_add_pub(lk_session *s, lk_session_person *p, const Livekit__TrackInfo *track);
void lk_session_free_pub(lk_session *s, lk_session_pub *pub);
void lk_session_free_people(lk_session *s);
void lk_session_free_others(lk_session *s); /* without a word */
/* Everybody but us goes, with their events. */
void lk_session_leave_people(lk_session *s);
/* PARTICIPANT_CONNECTED and what belongs to it for everybody there. */
void lk_session_tell_people(lk_session *s);
/* A publication of ours has a new life under a new sid. */
void lk_session_refill_pub(lk_session *s, lk_session_pub *pub, const Livekit__TrackInfo *track);

/* ---- room_publish.c ------------------------------------------------------------------------------------- */

void lk_session_on_request_done(lk_session *s, uint64_t tag, const lk_error *error, const Livekit__TrackInfo *info);
/* An answer was applied: what was offered up to that number is published. */
void lk_session_on_answered(lk_session *s, uint32_t offer_id);
void lk_session_on_server_mute(lk_session *s, const char *sid, bool muted);
void lk_session_on_server_unpublish(lk_session *s, const char *sid);
void lk_session_on_local_subscribed(lk_session *s, const char *sid);
lk_session_local_track *lk_session_find_local(const lk_session *s, uint64_t track);
/* LOCAL_TRACK_UNPUBLISHED for all, and their end. */
void lk_session_unpublish_all(lk_session *s);
void lk_session_cancel_publish(lk_session *s, lk_session_op *op);
lk_err lk_session_announce(lk_session *s, lk_session_local_track *t);
void lk_session_tell_subscribed(lk_session *s, lk_session_local_track *t);
void lk_session_free_local(lk_session *s, lk_session_local_track *t);
void lk_session_free_local_tracks(lk_session *s);

/* ---- room_encoding.c ------------------------------------------------------------------------------------- */

typedef struct lk_session_encoding {
    uint32_t bitrate_bps, framerate;
} lk_session_encoding;
/* What a picture of that size is sent with when nobody says otherwise. */
lk_session_encoding lk_session_encoding_of(uint32_t width, uint32_t height, bool screen);

/* ---- room_data.c ----------------------------------------------------------------------------------------- */

lk_err lk_session_add_channels(lk_session *s);
void lk_session_on_data(lk_session *s, const lk_pc_event *ev);
/* Packets that wait go out as far as there is room. True: something moved. */
bool lk_session_data_pump(lk_session *s);
void lk_session_drop_outbox(lk_session *s);
void lk_session_cancel_data(lk_session *s, const lk_session_op *op);

/* ---- room_negotiation.c ---------------------------------------------------------------------------------------- */

/* A new peer connection with the receive slots of a first offer, appended to offer. Of two: both, and no offer yet. */
lk_err lk_session_pc_start(lk_session *s, lk_text *offer);
void lk_session_want_offer(lk_session *s);
/* The server joined us or asked for an offer: it will not ask again at once. */
void lk_session_allow_early(lk_session *s);
/* A track that will be sent to us: offered for without waiting, while the server would make us wait. */
void lk_session_on_announced(lk_session *s, const lk_session_pub *pub);
void lk_session_offer_due(lk_session *s);
void lk_session_on_answer(lk_session *s, const Livekit__SessionDescription *answer);
/* Of two connections: the server offers what we subscribe to. */
void lk_session_on_offer(lk_session *s, const Livekit__SessionDescription *offer);
void lk_session_on_trickle(lk_session *s, const Livekit__TrickleRequest *trickle);
void lk_session_on_sections_wanted(lk_session *s, uint32_t audios, uint32_t videos);
/* The connection that brings what we subscribe to. */
static inline lk_pc *lk_session_rx(const lk_session *s) { return s->dual ? s->sub : s->pc; }
/* The connection a datagram to that address is for; NULL: none. */
lk_pc *lk_session_pc_at(const lk_session *s, const lk_addr *local);
void lk_session_use_addresses(lk_session *s);
/* One of ours is to be told to the server. */
void lk_session_on_candidate(lk_session *s, const char *text, bool sub);
void lk_session_flush_candidates(lk_session *s);

/* ---- room_media.c ---------------------------------------------------------------------------------------- */

void lk_session_on_pc(lk_session *s, const lk_pc_event *ev, bool sub);
void lk_session_media_tick(lk_session *s);
lk_usec lk_session_media_deadline(const lk_session *s);
bool lk_session_media_poll_job(lk_session *s, lk_job **job);
void lk_session_media_job_done(lk_session *s, lk_job *job);
/* Frames of receivers become events. True: something moved. */
bool lk_session_media_pump(lk_session *s);
/* A publication became known, wanted or allowed: subscribe to it if a section carries it. */
void lk_session_match_pub(lk_session *s, lk_session_pub *pub);
/* TRACK_SUBSCRIBED for what was negotiated before the session was live. */
void lk_session_tell_tracks(lk_session *s);
/* TRACK_UNSUBSCRIBED, if it was subscribed; its sinks end. */
void lk_session_unsubscribe(lk_session *s, lk_session_pub *pub);
/* Frees it, or lets it die when its job is back. */
void lk_session_drop_remote_track(lk_session *s, lk_session_remote_track *t);
void lk_session_drop_local_track(lk_session *s, lk_session_local_track *t);
/* Ends every sink with SINK_END. */
void lk_session_end_sinks(lk_session *s);
void lk_session_drop_media(const lk_session_event *ev); /* of an event nobody took */
/* The bit rates of our video tracks follow what is published and what the path takes. */
void lk_session_share_rate(lk_session *s);
void lk_session_drop_slots(lk_session *s);
