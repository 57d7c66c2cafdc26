// SPDX-License-Identifier: Apache-2.0
/* sfu/sfu_internal.h - the structs of the engine, and what its files call in each other.
 *
 * One file for each thing a server does: sfu.c (life, verbs, messages out), sfu_join.c (who comes in), sfu_room.c (rooms, who
 * is told what), sfu_signal.c (requests), sfu_publish.c (tracks), sfu_codings.c (in which codecs, and which qualities of each),
 * sfu_subscribe.c (who gets which), sfu_media.c (peers and their events), sfu_data.c (packets and data tracks), sfu_watch.c
 * (speakers, quality, timers), sfu_admin.c.
 *
 * Nobody is removed while something walks over people, except by whoever walks last: lk_sfu_break only marks.
 */
#pragma once
#include "base/lk_base.h"
#include "pbuf/pbuf.h"
#include "sfu/peer.h"
#include "sfu/sfu.h"
#include "token/token.h"

#define SFU_SID_MAX 20
#define SFU_CID_MAX 256
#define SFU_QUEUED_MAX 3          /* add_track requests with a cid in use */
#define SFU_PENDING_MAX 20        /* tracks announced and not sent yet */
#define SFU_WISHES_MAX 256        /* subscriptions to tracks nobody has */
#define SFU_CONN_BYTES_MAX (8u << 20)
#define SFU_JSON_BYTES_MAX (16u << 20) /* one message of ours as JSON */
#define SFU_CACHE_MAX 512         /* data packets of a room kept for those who are on their way in */
#define SFU_CACHE_BYTES_MAX (2u << 20)
#define SFU_NONCES_MAX 100
#define SFU_GONE_MAX 256          /* who left lately, for those who resume */
#define SFU_CALLS_MAX 1024        /* admin calls that wait for a participant */
#define SFU_CAPABILITIES_MAX 8
#define SFU_ITEMS_MAX 4096        /* of one list in one message: the rest is passed over, so that no message costs seconds */
#define SFU_PARTICIPANT_TRACKS_MAX 64 /* lists of such lists */
#define SFU_ATTRIBUTES_MAX 1024   /* of a participant */
#define SFU_CODINGS_MAX 4         /* codecs of one track */
#define SFU_REGRESS_PEOPLE 5      /* so many in a room make two encodings of a track worth their while, where the client left it open */

#define SFU_ACTIVE_USEC LK_SEC(60)     /* from the join until media and data are up */
#define SFU_NEGOTIATION_USEC LK_SEC(15)
#define SFU_REFRESH_USEC LK_SEC(300)
#define SFU_REFRESH_LIFE_SEC 600
#define SFU_RESUME_USEC LK_SEC(30)     /* a participant without a signal connection is kept */
#define SFU_FAILED_USEC LK_SEC(5)      /* a participant whose media failed is kept */
#define SFU_ROOM_UPDATE_USEC LK_SEC(5)
#define SFU_SPEAKERS_USEC LK_MSEC(400)
#define SFU_QUALITY_USEC LK_SEC(5)
#define SFU_FALL_USEC LK_SEC(5)        /* a layer nobody wants any more is still sent */
#define SFU_WANTED_USEC LK_SEC(10)     /* the first word about wanted layers comes at the latest */
#define SFU_WANTED_AGAIN_USEC LK_SEC(2) /* after an answer, which made the client send them all again */
#define SFU_WANTED_AGAIN_MAX_USEC LK_SEC(8) /* however many answers follow each other */
#define SFU_NEGOTIATE_FIRST_USEC LK_MSEC(10)
#define SFU_NEGOTIATE_USEC LK_MSEC(150)
#define SFU_BATCH_USEC LK_SEC(3)       /* others learn of somebody's being connected */
#define SFU_CACHE_USEC LK_SEC(10)
#define SFU_NOT_FOUND_USEC LK_SEC(60)
#define SFU_PROTOCOL_USEC LK_SEC(300)  /* who was told to use TCP and joins anew is still told */

typedef struct lk_sfu_room lk_sfu_room;
typedef struct lk_sfu_person lk_sfu_person;
typedef struct lk_sfu_track lk_sfu_track;
typedef struct lk_sfu_data_track lk_sfu_data_track;

/* One packed message, shared by all it goes to. */
typedef struct lk_sfu_buf {
    uint32_t refs;
    size_t len;
    uint8_t bytes[];
} lk_sfu_buf;

typedef struct lk_sfu_out { /* an event that waits */
    lk_sfu_event_kind kind;
    uint32_t conn;
    uint16_t close_code;
    bool json; /* buf is to be told as JSON */
    uint64_t tag;
    const char *twirp; /* then buf is a terminated text */
    lk_sfu_buf *buf;
} lk_sfu_out;

/* Tokens that fill at `rate` a second, up to ten seconds' worth. */
typedef struct lk_sfu_bucket {
    uint32_t rate;
    double level;
    lk_usec at;
} lk_sfu_bucket;

typedef struct lk_sfu_call { /* PerformRpc that waits */
    lk_link link;
    uint64_t tag;
    lk_usec due;
    lk_sfu_person *callee;
    char id[40];
} lk_sfu_call;

struct lk_sfu {
    const lk_env *env;
    lk_sfu_config config; /* texts point to owned copies */
    lk_token_key key;
    lk_usec now, started, due; /* due: the earliest of all timers, or earlier */
    lk_list rooms;
    lk_map conns; /* conn -> lk_sfu_person */
    uint32_t next_conn;
    lk_queue events; /* of lk_sfu_out */
    lk_queue spent;  /* of lk_sfu_buf *: given out by poll_event, dropped by the next verb */
    lk_arena in, out;  /* the message being handled; the one being built */
    lk_hub *hub;
    lk_list dying;     /* of lk_sfu_grave: peers whose farewell is on its way */
    lk_list calls;
    lk_sfu_totals *totals, alone;
    lk_sfu_stats stats;
    lk_usec speakers_due, quality_due;
    bool stopped, sweep; /* sweep: somebody is broken */
    char node_id[SFU_SID_MAX];
};

typedef struct lk_sfu_grave {
    lk_link link;
    lk_peer *peer;
} lk_sfu_grave;

typedef struct lk_sfu_cached { /* a reliable data packet */
    lk_usec at;
    uint32_t sequence;
    char sender_sid[SFU_SID_MAX];
    lk_sfu_buf *buf;
} lk_sfu_cached;

typedef struct lk_sfu_gone {
    lk_usec at;
    char sid[SFU_SID_MAX], identity[LK_SFU_NAME_MAX + 1];
    int reason;
    bool by_tcp;
} lk_sfu_gone;

struct lk_sfu_room {
    lk_link link;
    lk_sfu *sfu;
    char name[LK_SFU_NAME_MAX + 1], sid[SFU_SID_MAX];
    char *metadata;
    lk_list people;
    uint32_t visible; /* people who are not hidden */
    int64_t created_unix_usec;
    uint32_t empty_timeout_sec, departure_timeout_sec, max_participants;
    bool joined_ever;
    lk_usec closes_at; /* LK_NEVER while somebody is in */
    lk_usec update_due; /* of room_update; LK_NEVER: nothing changed */
    lk_queue cache;     /* of lk_sfu_cached */
    size_t cache_bytes;
    lk_queue gone;      /* of lk_sfu_gone */
    uint8_t nonces[SFU_NONCES_MAX][16];
    uint32_t nonce_count;
    uint8_t sif_trailer[43];
};

typedef struct lk_sfu_attribute {
    char *key, *value;
} lk_sfu_attribute;

typedef struct lk_sfu_grants { /* what may be done, checked again with each action */
    bool can_subscribe, can_publish, can_publish_data, can_update_metadata, hidden, recorder, agent, metrics, manage_agent;
    uint32_t sources; /* bits 1 << TrackSource; 0: all */
} lk_sfu_grants;

/* One subscription: exists while the track does, or as a wish (track NULL) for one that is not there. */
typedef struct lk_sfu_sub {
    lk_link of_person, of_track;
    lk_sfu_person *person;
    lk_sfu_track *track; /* NULL: a wish */
    char sid[SFU_SID_MAX];
    lk_usec since;       /* wish */
    bool wanted, told_allowed, told_denied, bound, active_told;
    lk_down *down; /* NULL: does not flow */
    int coding;    /* of the track: what it shows, or waits for; -1: not agreed yet */
    lk_down_settings settings;
    bool has_settings;
} lk_sfu_sub;

/* A track in one codec; info->codecs of the same place describes it. */
typedef struct lk_sfu_coding {
    lk_up *up;         /* NULL: not sent, or not any more (ended) */
    bool live, ended;  /* live: packets came */
    bool listed;       /* the client was told of wanted layers of it */
    int told;          /* the best of them; -1: none */
} lk_sfu_coding;

struct lk_sfu_track {
    lk_link link; /* of the person */
    lk_sfu_person *person;
    lk_arena arena; /* of what info points to */
    Livekit__TrackInfo *info;
    char cid[SFU_CID_MAX + 1];
    lk_sfu_coding codings[SFU_CODINGS_MAX]; /* the first is what the client would rather send */
    size_t coding_count;
    bool regressed; /* everybody who can gets the second */
    size_t feature_room; /* audio features there is memory for */
    bool published; /* others know of it */
    bool subscribed_told;
    lk_list subs;
    bool wanted_said;
    lk_usec wanted_due;
    /* speaker */
    float level;
    lk_usec heard_at;
};

typedef struct lk_sfu_queued { /* an add_track whose cid is in use */
    lk_link link;
    size_t size;
    lk_bytes request; /* behind the struct */
} lk_sfu_queued;

typedef struct lk_sfu_data_sub {
    lk_link of_person, of_track;
    lk_sfu_person *person;
    lk_sfu_data_track *track; /* NULL: a wish */
    char sid[SFU_SID_MAX];
    bool wanted;
    uint16_t handle; /* 0: does not flow */
} lk_sfu_data_sub;

struct lk_sfu_data_track {
    lk_link link;
    lk_sfu_person *person;
    lk_arena arena;
    Livekit__DataTrackInfo *info;
    lk_list subs;
};

struct lk_sfu_person {
    lk_link link; /* of the room */
    lk_sfu *sfu;
    lk_sfu_room *room;
    char sid[SFU_SID_MAX], identity[LK_SFU_NAME_MAX + 1], name[LK_SFU_NAME_MAX + 1];
    char *metadata;
    lk_sfu_attribute *attributes;
    size_t attribute_count;
    lk_sfu_grants grants;
    int kind, kind_details[LK_TOKEN_KIND_DETAILS_MAX];
    size_t kind_detail_count;
    int64_t token_expires_sec;
    Livekit__ParticipantInfo__State state;
    uint32_t version;
    int64_t joined_unix_usec;
    lk_usec joined_at;
    bool was_publisher;
    /* the client */
    int sdk, protocol, client_protocol;
    int capabilities[SFU_CAPABILITIES_MAX];
    size_t capability_count;
    bool v1, auto_subscribe, auto_subscribe_data, adaptive_stream, allow_pause;
    /* signalling */
    uint32_t conn; /* 0: lost */
    size_t conn_bytes;
    bool json; /* its last message was text: so are ours until the next binary one */
    lk_usec conn_lost_at;
    lk_sfu_bucket messages, updates, offers;
    lk_sfu_buf *held; /* an offer that came too soon; NULL: none */
    lk_usec held_until;
    int broken; /* close code; 0: fine */
    int drop_on_resume; /* simulate: signal connections to be dropped; negative: before any message */
    lk_usec drop_at;
    /* media */
    lk_peer *publisher, *subscriber; /* subscriber is NULL where one connection does both */
    bool by_tcp;                     /* simulate: candidates of TCP alone, also when it joins anew */
    bool no_data;                    /* the first offer had no application section */
    bool subscriber_primary;         /* it carries data down and says whether the client is connected */
    bool offered, ever_connected, reliable_opened;
    uint32_t offer_id; /* of the last offer of ours */
    lk_usec offer_due; /* answer to it at the latest */
    lk_usec negotiate_at, negotiated_at;
    size_t asked_audio, asked_video; /* sections already asked for */
    bool asked;
    lk_list tracks, subs, queued, data_tracks, data_subs;
    uint32_t track_count, data_track_count, wish_count, queued_count;
    uint16_t next_handle;
    lk_list loose; /* of lk_sfu_loose: ups nobody announced */
    lk_arena permission_arena;
    const Livekit__SubscriptionPermission *permission; /* NULL: everybody may */
    uint32_t last_sequence; /* of reliable packets of this participant */
    /* timers */
    lk_usec active_due, gone_due, refresh_due, tell_due;
    lk_usec again_due, again_latest; /* wanted layers are told again; LK_NEVER */
    int gone_reason;
    /* told to others */
    float speaker_level; /* 0: silent */
    bool speaks_for_test;
    lk_usec test_speech_until;
    int quality, quality_before;
};

typedef struct lk_sfu_loose {
    lk_link link;
    lk_up *up;
} lk_sfu_loose;

static inline lk_peer *lk_sfu_down_peer(const lk_sfu_person *p) { return p->subscriber ? p->subscriber : p->publisher; }

static inline lk_peer *lk_sfu_primary(const lk_sfu_person *p) { return p->subscriber_primary ? p->subscriber : p->publisher; }

/* ---- sfu.c -------------------------------------------------------------------------------------------------------- */
/* Around every verb: time moves on, what was given out is dropped; what the hub tells is handled, the broken ones go. */
void lk_sfu_begin(lk_sfu *s, lk_usec now);
void lk_sfu_end(lk_sfu *s);
void lk_sfu_arm(lk_sfu *s, lk_usec at);
int64_t lk_sfu_unix_usec(const lk_sfu *s);
/* "PA_" + 12 characters and the like; prefix at most 7. */
void lk_sfu_sid(lk_sfu *s, char out[SFU_SID_MAX], const char *prefix);
/* Replaces *slot by a copy of z. NOMEM. */
LK_NODISCARD lk_err lk_sfu_text(const lk_env *env, char **slot, const char *z);
void lk_sfu_text_free(const lk_env *env, char **slot);
void lk_sfu_bucket_init(lk_sfu *s, lk_sfu_bucket *b, uint32_t rate); /* full */
bool lk_sfu_spend(lk_sfu *s, lk_sfu_bucket *b);

/* Packs for many; NULL: refused. Give the reference back with lk_sfu_buf_drop. */
lk_sfu_buf *lk_sfu_pack(lk_sfu *s, const ProtobufCMessage *m);
lk_sfu_buf *lk_sfu_buf_of(lk_sfu *s, lk_bytes bytes);
void lk_sfu_buf_drop(lk_sfu *s, lk_sfu_buf *b);
/* To p's client, if it has a signal connection. What cannot be queued breaks the connection. */
void lk_sfu_send_buf(lk_sfu_person *p, lk_sfu_buf *b);
void lk_sfu_send(lk_sfu_person *p, const Livekit__SignalResponse *m);
/* The same for a message made in sfu.out, which is emptied. Not whole: memory was refused, and p cannot go on. */
void lk_sfu_send_made(lk_sfu_person *p, const Livekit__SignalResponse *m, bool whole);
void lk_sfu_close_conn(lk_sfu_person *p, uint16_t code);
/* To be removed when the verb ends, because we have no way of telling the client what it must know. */
void lk_sfu_break(lk_sfu_person *p, uint16_t code);
void lk_sfu_push(lk_sfu *s, const lk_sfu_out *e); /* takes the buf */

/* ---- sfu_room.c ----------------------------------------------------------------------------------------------------- */
lk_sfu_room *lk_sfu_room_find(lk_sfu *s, const char *name);
/* FULL, NOMEM. */
LK_NODISCARD lk_err lk_sfu_room_new(lk_sfu_room **out, lk_sfu *s, const char *name);
void lk_sfu_room_close(lk_sfu_room *r, int reason); /* everybody is told; the room is freed */
void lk_sfu_room_free(lk_sfu_room *r);
void lk_sfu_room_changed(lk_sfu_room *r, bool at_once);
void lk_sfu_room_tick(lk_sfu_room *r);
Livekit__Room *lk_sfu_room_info(lk_sfu_room *r, lk_arena *a);
void lk_sfu_room_left(lk_sfu_room *r); /* after somebody left */

lk_sfu_person *lk_sfu_person_find(lk_sfu_room *r, const char *identity);
lk_sfu_person *lk_sfu_person_by_sid(lk_sfu_room *r, const char *sid);
Livekit__ParticipantInfo *lk_sfu_person_info(const lk_sfu_person *p, lk_arena *a);
/* Something others see changed: version + 1, update to all who may know. */
void lk_sfu_person_changed(lk_sfu_person *p);
/* p is connected. Those who publish are told of at once, the others within 3 s or with the next change: clients put what they
 * know anew with each update, so a state and a change of metadata right behind it had better be one. */
void lk_sfu_person_active(lk_sfu_person *p);
void lk_sfu_person_tell(lk_sfu_person *p); /* to the others, as it is */
/* Ends p: the client gets a leave if action is not negative, the others an update. Frees p. */
void lk_sfu_person_remove(lk_sfu_person *p, int reason, int action);
void lk_sfu_send_leave(lk_sfu_person *p, int reason, int action);
void lk_sfu_send_update(lk_sfu_person *to, Livekit__ParticipantInfo **people, size_t count);
void lk_sfu_send_refresh_token(lk_sfu_person *p);
void lk_sfu_send_room_update(lk_sfu_person *p);
/* LIMIT with *why and nothing changed; NOMEM. */
LK_NODISCARD lk_err lk_sfu_set_attributes(lk_sfu_person *p, Livekit__UpdateParticipantMetadata__AttributesEntry *const *entries,
                                          size_t count, const char **why);
/* value "": the key goes. */
LK_NODISCARD lk_err lk_sfu_set_attribute(lk_sfu_person *p, const char *key, const char *value);
/* New permission of an admin: what is no longer allowed ends. */
void lk_sfu_set_grants(lk_sfu_person *p, const lk_sfu_grants *grants);

/* ---- sfu_join.c ------------------------------------------------------------------------------------------------------- */
extern const char *const lk_sfu_codecs[]; /* mime types, VP8 first, rtx last; NULL ends */

/* ---- sfu_signal.c ------------------------------------------------------------------------------------------------------- */
void lk_sfu_request(lk_sfu_person *p, const Livekit__SignalRequest *m); /* may free p */
void lk_sfu_offer(lk_sfu_person *p, const Livekit__SessionDescription *d);
typedef struct lk_sfu_reply {
    uint32_t request_id;
    Livekit__RequestResponse__Reason reason;
    const char *message;
    Livekit__RequestResponse__RequestCase request_case;
    const void *request;
} lk_sfu_reply;
void lk_sfu_send_reply(lk_sfu_person *p, const lk_sfu_reply *reply);

/* ---- sfu_publish.c -------------------------------------------------------------------------------------------------------- */
void lk_sfu_add_track(lk_sfu_person *p, const Livekit__AddTrackRequest *request);
lk_sfu_track *lk_sfu_track_of(lk_sfu_person *p, const char *sid);
lk_sfu_track *lk_sfu_track_in(lk_sfu_room *r, const char *sid);
void lk_sfu_mute(lk_sfu_person *p, lk_sfu_track *t, bool muted);
/* told: the client did not ask for it. */
void lk_sfu_track_remove(lk_sfu_track *t, bool told);
void lk_sfu_up_found(lk_sfu_person *p, lk_up *up);
void lk_sfu_up_live(lk_sfu_person *p, lk_up *up);
void lk_sfu_up_ended(lk_sfu_person *p, lk_up *up);
bool lk_sfu_may_publish(const lk_sfu_person *p, int source);

/* ---- sfu_codings.c ---------------------------------------------------------------------------------------------------------- */
lk_sfu_coding *lk_sfu_coding_of(lk_sfu_track *t, const lk_up *up); /* NULL: none */
size_t lk_sfu_coding_at(const lk_sfu_track *t, const lk_sfu_coding *c);
lk_up *lk_sfu_track_up(const lk_sfu_track *t); /* the one a new subscription begins with; NULL: none is sent */
void lk_sfu_coding_live(lk_sfu_track *t); /* one more is */
void lk_sfu_coding_ended(lk_sfu_track *t, lk_sfu_coding *c); /* frees its up; others of the track are there */
/* Bound: picks the coding that fits. False: there is none, nobody will ever see anything there. */
bool lk_sfu_sub_bound(lk_sfu_sub *sub);
void lk_sfu_wanted(lk_sfu_track *t); /* what the subscribers want may have changed */
void lk_sfu_wanted_tick(lk_sfu_track *t);
void lk_sfu_wanted_again(lk_sfu_person *p); /* an answer is on its way */
void lk_sfu_wanted_again_tick(lk_sfu_person *p);

/* ---- sfu_subscribe.c -------------------------------------------------------------------------------------------------------- */
void lk_sfu_subscribe_new_person(lk_sfu_person *p);
void lk_sfu_subscribe_new_track(lk_sfu_track *t);
void lk_sfu_subscription(lk_sfu_person *p, char *const *sids, size_t count, bool subscribe);
void lk_sfu_settings(lk_sfu_person *p, const Livekit__UpdateTrackSettings *m);
void lk_sfu_disable(lk_sfu_person *p, char *const *sids, size_t count);
void lk_sfu_permission(lk_sfu_person *p, const Livekit__SubscriptionPermission *m);
bool lk_sfu_allowed(const lk_sfu_person *publisher, const lk_sfu_person *subscriber, const char *sid);
/* Permissions, grants or wishes changed: makes the subscription flow or not. */
void lk_sfu_sub_settle(lk_sfu_sub *sub);
void lk_sfu_subs_settle(lk_sfu_person *p);
void lk_sfu_sub_free(lk_sfu_sub *sub);
void lk_sfu_sub_close(lk_sfu_sub *sub); /* nothing flows any more */
void lk_sfu_down_bound(lk_sfu_sub *sub);
void lk_sfu_down_refused(lk_sfu_sub *sub);
void lk_sfu_down_state(lk_sfu_sub *sub, bool active);
bool lk_sfu_hears(const lk_sfu_person *p, const lk_sfu_person *publisher);
void lk_sfu_wishes_tick(lk_sfu_person *p);

/* ---- sfu_media.c -------------------------------------------------------------------------------------------------------------- */
LK_NODISCARD lk_err lk_sfu_peers_new(lk_sfu_person *p);
void lk_sfu_peers_free(lk_sfu_person *p);
void lk_sfu_bury(lk_sfu *s, lk_peer *peer);
/* Handles all the hub has to tell, then what people must negotiate. */
void lk_sfu_pump(lk_sfu *s);
void lk_sfu_negotiate(lk_sfu_person *p); /* something for the client's descriptions changed */
void lk_sfu_negotiate_tick(lk_sfu_person *p);
/* At once, or when the client's rate allows it. */
void lk_sfu_take_offer(lk_sfu_person *p, const Livekit__SessionDescription *d);
void lk_sfu_held_offer_tick(lk_sfu_person *p);
void lk_sfu_accept_offer(lk_sfu_person *p, const Livekit__SessionDescription *d);
void lk_sfu_accept_answer(lk_sfu_person *p, const Livekit__SessionDescription *d);
void lk_sfu_restart_subscriber(lk_sfu_person *p);
void lk_sfu_prefer_tcp(lk_sfu_person *p, bool on);
void lk_sfu_check_active(lk_sfu_person *p);

/* ---- sfu_data.c ----------------------------------------------------------------------------------------------------------------- */
typedef struct lk_sfu_field {
    uint32_t number;
    lk_bytes whole, body; /* body: of a length-delimited one */
} lk_sfu_field;
/* The next field of a protobuf message. False at the end and on what is no message (then r->bad). No groups. */
bool lk_sfu_next_field(lk_rd *r, lk_sfu_field *f);
void lk_sfu_data(lk_sfu_person *p, lk_peer_channel channel, const char *label, lk_bytes message);
/* A packet of the server. NOMEM. */
LK_NODISCARD lk_err lk_sfu_send_packet(lk_sfu_room *r, const Livekit__DataPacket *packet, bool reliable);
void lk_sfu_replay(lk_sfu_person *p);
void lk_sfu_replay_missed(lk_sfu_person *p, const Livekit__SyncState *m);
void lk_sfu_cache_trim(lk_sfu_room *r, bool all);
void lk_sfu_publish_data(lk_sfu_person *p, const Livekit__PublishDataTrackRequest *request);
void lk_sfu_unpublish_data(lk_sfu_person *p, const Livekit__UnpublishDataTrackRequest *request);
void lk_sfu_data_track_remove(lk_sfu_data_track *t);
void lk_sfu_data_subscription(lk_sfu_person *p, const Livekit__UpdateDataSubscription *m);
void lk_sfu_data_subs_settle(lk_sfu_person *p);
void lk_sfu_data_sub_free(lk_sfu_data_sub *sub);
void lk_sfu_data_new_person(lk_sfu_person *p);
lk_sfu_data_track *lk_sfu_data_track_of(lk_sfu_person *p, const char *sid);

/* ---- sfu_watch.c ------------------------------------------------------------------------------------------------------------------ */
void lk_sfu_watch_tick(lk_sfu *s);
void lk_sfu_watch_start(lk_sfu *s); /* somebody has a track */
void lk_sfu_speaker_gone(lk_sfu_person *p);
void lk_sfu_speaker_tell(lk_sfu_person *listener, lk_sfu_person *speaker);
void lk_sfu_person_tick(lk_sfu_person *p); /* may free p */

/* ---- sfu_admin.c -------------------------------------------------------------------------------------------------------------------- */
bool lk_sfu_call_answered(lk_sfu_person *p, const Livekit__DataPacket *packet); /* true: the packet was meant for us */
void lk_sfu_calls_end(lk_sfu_person *p); /* p is gone */
void lk_sfu_calls_tick(lk_sfu *s);
