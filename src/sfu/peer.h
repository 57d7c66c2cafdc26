// SPDX-License-Identifier: Apache-2.0
/* sfu/peer.h - the server's side of the peer connections of rooms, and the forwarding between them. [RFC9429] [RFC7667 s3.7]
 *
 * In:      descriptions of clients, datagrams, who subscribes to what and how much of it, the passing of time.
 * Out:     descriptions, datagrams; tracks found, media started, sections filled, layers wanted, messages of data channels.
 * Owner:   one lk_hub of lk_sfu (one per loop), which owns its lk_peers; a peer owns its lk_ups and lk_downs. Loop thread.
 * Limits:  LK_HUB_PEERS_MAX peers, per peer LK_PC_SECTIONS_MAX sections; an up-track keeps 512 video packets per layer or 256
 *          audio packets; a down-track remembers as many. Forwarding a packet allocates nothing.
 * Deviates: ICE-lite; our side never sends checks. No pacer: packets leave in the order they came.
 *
 * Packets flow from an lk_up to its lk_downs inside: the engine attaches, detaches and sets, it never sees one.
 *
 * After calls that take `now`: drain lk_hub_poll_tx and lk_hub_poll_event, then ask lk_hub_deadline. Up to LK_HUB_BATCH_MAX
 * inputs may come between two drains. Pointers to peers, ups and downs are the engine's until it frees them; freeing one never
 * frees another, in whatever order: a down whose up is gone sends nothing, an up whose peer is gone receives nothing.
 */
#pragma once
#include "base/lk_base.h"
#include "pc/pc.h"
#include "sfu/sfu.h"

#define LK_HUB_PEERS_MAX 8192
#define LK_HUB_BATCH_MAX 64
#define LK_UP_LAYERS_MAX 3
#define LK_PEER_RID_MAX 16
#define LK_PEER_WISHES_MAX 64

typedef struct lk_hub lk_hub;   /* all peers of a loop: finds whose a datagram is, forwards, batches what leaves */
typedef struct lk_peer lk_peer; /* one peer connection of one participant */
typedef struct lk_up lk_up;     /* a track a participant sends */
typedef struct lk_down lk_down; /* one subscriber's copy of an lk_up */

/* ---- hub ------------------------------------------------------------------------------------------------------ */

typedef struct lk_hub_config {
    struct lk_dtls_context *dtls;   /* shared, outlives the hub */
    const lk_addr *udp, *tcp;       /* what descriptions name as candidates; copied, at most LK_SFU_ADDRESSES_MAX each */
    size_t udp_count, tcp_count;
    int64_t unix_usec;              /* Unix time when the monotonic clock showed `now` of lk_hub_new */
    char loop;                      /* first character of every local ufrag */
} lk_hub_config;

LK_NODISCARD lk_err lk_hub_new(lk_hub **out, const lk_env *env, const lk_hub_config *config, lk_usec now); /* INVALID, NOMEM */
void lk_hub_free(lk_hub *hub); /* NULL ok; after all its peers, ups and downs */
void lk_hub_set_addresses(lk_hub *hub, const lk_addr *udp, size_t udp_count, const lk_addr *tcp, size_t tcp_count); /* as in lk_hub_config */

/* First character of the ufrag a STUN request is for (which loop it belongs to); 0: not such a request. Checks no more. */
char lk_hub_loop_of(const uint8_t *data, size_t len);

/* Whose it is: by address pair, for an unknown one by the USERNAME of a STUN request. False: nobody's, dropped unanswered. */
bool lk_hub_input(lk_hub *hub, lk_usec now, const lk_sfu_packet *packet);
/* A TCP connection is gone. */
void lk_hub_flow_closed(lk_hub *hub, lk_usec now, const lk_addr *local, const lk_addr *remote);
void lk_hub_tick(lk_hub *hub, lk_usec now);
lk_usec lk_hub_deadline(const lk_hub *hub);
/* Up to cap packets; what has the same destination stands together where it can. Bytes are valid until the next call with `now`. */
size_t lk_hub_poll_tx(lk_hub *hub, lk_usec now, lk_sfu_packet *out, size_t cap);

typedef struct lk_hub_stats {
    uint64_t packets_in, packets_out, bytes_in, bytes_out; /* datagrams */
    uint64_t stray;                                        /* belonged to nobody */
    uint64_t dropped;                                      /* malformed, not authentic, over a bound */
    uint64_t forwarded, resent, padded;                    /* RTP packets; padded: of probes, nothing but padding */
    uint64_t nacks_sent, plis_sent;                        /* requests to publishers */
} lk_hub_stats;
void lk_hub_get_stats(const lk_hub *hub, lk_hub_stats *out);

/* ---- peers ------------------------------------------------------------------------------------------------------ */

typedef struct lk_peer_config {
    void *user;         /* comes back with every event */
    bool offers;        /* v0 subscriber: descriptions are ours to offer. False: the client offers (v0 publisher, v1) */
    bool open_channels; /* ours to open: _reliable, _lossy, _data_track (v0 subscriber that is primary) */
} lk_peer_config;

LK_NODISCARD lk_err lk_peer_new(lk_peer **out, lk_hub *hub, const lk_peer_config *config, lk_usec now); /* LIMIT, NOMEM */
/* Nothing leaves for it any more; its ups and downs stay with the engine, silent, until freed. NULL ok. */
void lk_peer_free(lk_peer *peer);
/* BYE and close_notify are sent; lk_peer_free once lk_hub_poll_tx was drained. No event names it any more. */
void lk_peer_close(lk_peer *peer, lk_usec now);
void *lk_peer_user(const lk_peer *peer);
lk_pc_state lk_peer_state(const lk_peer *peer);
lk_usec lk_peer_rtt_usec(const lk_peer *peer); /* from RTCP; 0: not measured yet */

/* How the section that publishes a track is to be answered. Told when AddTrackRequest comes; what was never told is answered
 * with RED first for audio, the client's first codec for video. */
typedef struct lk_peer_wish {
    const char *cid;   /* the msid's second token in the client's offer */
    const char *codec; /* to stand first, as in SDP ("VP8", "opus"); "" or NULL: as the client has it */
    bool no_red, no_dtx, stereo;
} lk_peer_wish;
LK_NODISCARD lk_err lk_peer_wish_track(lk_peer *peer, const lk_peer_wish *wish); /* LIMIT, NOMEM, INVALID */
/* Codecs that may be published to this peer, as mime types ("video/VP8"), copied; default: all of the table in the header of
 * peer_sdp.c. */
LK_NODISCARD lk_err lk_peer_limit_codecs(lk_peer *peer, const char *const *mimes, size_t count); /* NOMEM */

/* The client's offer (STATE on a peer that offers). Appends the answer, candidates in it. Downs without a section are given the
 * free recvonly sections, ups are made for sections that send; both show as events. On error nothing changed and *why (static)
 * says what is wrong: WIRE, LIMIT, PROTOCOL, NOMEM, STATE. */
LK_NODISCARD lk_err lk_peer_accept_offer(lk_peer *peer, lk_usec now, const char *sdp, size_t len, lk_text *answer, const char **why);
/* Our offer: sections for all downs. STATE while one is outstanding, or on a peer of the other kind. */
LK_NODISCARD lk_err lk_peer_create_offer(lk_peer *peer, lk_usec now, lk_text *offer);
LK_NODISCARD lk_err lk_peer_set_answer(lk_peer *peer, lk_usec now, const char *sdp, size_t len, const char **why);
bool lk_peer_offer_outstanding(const lk_peer *peer);
/* Something changed that the client's descriptions do not know: a down wants a section or gave one back. */
bool lk_peer_needs_negotiation(const lk_peer *peer);
/* Recvonly sections that are missing for the downs there are (media_sections_requirement); 0 on a peer that offers. */
size_t lk_peer_sections_missing(const lk_peer *peer, lk_media_kind kind);
/* New ICE credentials with the next description of ours; one that the client restarted restarts by itself. */
void lk_peer_restart_ice(lk_peer *peer, lk_usec now);
/* Descriptions of ours name TCP candidates alone from now on, if there are any. */
void lk_peer_prefer_tcp(lk_peer *peer, bool on);
/* Of the client; being lite we need none, bad ones are refused with WIRE. */
LK_NODISCARD lk_err lk_peer_add_candidate(lk_peer *peer, lk_usec now, const char *line, size_t len);
/* mid_to_track_id: start with *at = 0; false at the end. Down-tracks that have a section. */
bool lk_peer_next_mid(const lk_peer *peer, size_t *at, const char **mid, const char **track);

/* Data channels by what they are for. OTHER: the label is in the event. */
typedef enum lk_peer_channel { LK_PEER_RELIABLE, LK_PEER_LOSSY, LK_PEER_DATA_TRACK, LK_PEER_OTHER, LK_PEER_CHANNELS } lk_peer_channel;
bool lk_peer_channel_open(const lk_peer *peer, lk_peer_channel channel);
/* One binary message; not for OTHER. STATE: not open; LIMIT: longer than the client takes; FULL: too much waits already (a lossy
 * one is then simply dropped by the caller); NOMEM. */
LK_NODISCARD lk_err lk_peer_send(lk_peer *peer, lk_usec now, lk_peer_channel channel, const uint8_t *data, size_t len);
size_t lk_peer_buffered(const lk_peer *peer, lk_peer_channel channel); /* bytes not yet given to the network */

/* What the way to and from the client was like since the last call: inputs of connection quality. */
typedef struct lk_peer_quality {
    lk_usec rtt_usec, jitter_usec;      /* worst of its tracks; 0: not known */
    uint32_t up_expected, up_lost;      /* packets of its unmuted ups, what resending brought back not counted as lost */
    uint32_t down_expected, down_lost;  /* by its receiver reports */
    uint64_t estimate_bps;              /* towards the client; 0: not known */
    bool receiving;                     /* anything came lately (3 s) */
} lk_peer_quality;
void lk_peer_take_quality(lk_peer *peer, lk_usec now, lk_peer_quality *out);

/* ---- up-tracks: made by offers, found by LK_HUB_EV_UP -------------------------------------------------------------- */

void lk_up_free(lk_up *up); /* its downs fall silent and stay the engine's; NULL ok */
void lk_up_set_user(lk_up *up, void *user);
void *lk_up_user(const lk_up *up);
lk_peer *lk_up_peer(const lk_up *up);        /* NULL when freed */
lk_media_kind lk_up_kind(const lk_up *up);
const char *lk_up_cid(const lk_up *up);
const char *lk_up_mid(const lk_up *up);
/* "video/VP8", "audio/opus", "audio/red": by what arrives, before the first packet by what the answer puts first. */
const char *lk_up_mime(const lk_up *up);
bool lk_up_live(const lk_up *up); /* its section sends and a packet arrived */

/* Layers ascending in quality: simulcast by rid, else one, whatever layers are inside it. rid "": none. ssrc 0: nothing arrived yet. */
typedef struct lk_up_layer {
    char rid[LK_PEER_RID_MAX + 1];
    uint32_t ssrc;
    bool active;      /* packets come */
    uint64_t rate_bps; /* of late */
} lk_up_layer;
size_t lk_up_layers(const lk_up *up, lk_up_layer out[LK_UP_LAYERS_MAX]);
/* Sizes as announced by AddTrackRequest, ascending; without them a quality names a layer by its place. */
void lk_up_set_sizes(lk_up *up, const uint16_t (*width_height)[2], size_t count);
/* Muted: what still arrives is dropped; nothing is expected, so nothing counts as lost. */
void lk_up_set_muted(lk_up *up, lk_usec now, bool muted);

/* Samples of the audio level extension since the last call; window_usec 0: no packet came. */
typedef struct lk_up_level {
    lk_usec window_usec, active_usec; /* told by packets; of it at most 35 below full scale */
    uint8_t loudest;                  /* of the active ones: 0 loud .. 127 silent, -dBov */
} lk_up_level;
void lk_up_take_level(lk_up *up, lk_up_level *out);

/* Quality wanted by the downs: 0 LOW, 1 MEDIUM, 2 HIGH; -1: nobody wants any. LK_HUB_EV_WANTED says when it changed; holding
 * back a fall for 5 s is the engine's. */
int lk_up_wanted(const lk_up *up);

/* ---- down-tracks -------------------------------------------------------------------------------------------------- */

typedef struct lk_down_config {
    void *user;
    const char *stream, *track; /* msid: "PA_x|TR_y", "TR_y"; copied, at most LK_PC_ID_MAX - 1 bytes */
    bool movable; /* the track may come in other codecs than up's: bound whatever the client takes, see lk_down_takes */
} lk_down_config;
/* Subscribes peer to up. It flows once a section is negotiated (LK_HUB_EV_DOWN_BOUND). LIMIT, INVALID, NOMEM. */
LK_NODISCARD lk_err lk_down_new(lk_down **out, lk_peer *peer, lk_up *up, const lk_down_config *config, lk_usec now);
/* Its section is free for another once renegotiated. NULL ok. */
void lk_down_free(lk_down *down);
void *lk_down_user(const lk_down *down);
/* Bound: is it agreed that this codec ("video/VP8") may come? */
bool lk_down_takes(const lk_down *down, const char *mime);
/* From now on it shows another encoding of the same track, or nothing until there is one (NULL): numbers and times go on, pictures
 * with the next key frame. On error nothing changed: LIMIT, NOMEM. */
LK_NODISCARD lk_err lk_down_move(lk_down *down, lk_up *up, lk_usec now);
lk_up *lk_down_up(const lk_down *down);     /* NULL when freed */
lk_peer *lk_down_peer(const lk_down *down); /* NULL when freed */
const char *lk_down_mid(const lk_down *down); /* "" without a section */

typedef struct lk_down_settings {
    bool disabled;          /* UpdateTrackSettings, or the subscriber may not have it now */
    uint8_t quality;        /* 0 LOW, 1 MEDIUM, 2 HIGH: at most; used when width is 0 */
    uint16_t width, height; /* the least layer that covers it is enough */
    uint32_t fps;           /* 0: all. VP8, VP9, AV1: temporal layers above it are left out */
    uint8_t priority;       /* who is served first when there is not enough for all: the higher; among equals each a layer in turn */
} lk_down_settings;
void lk_down_set(lk_down *down, lk_usec now, const lk_down_settings *settings); /* default: HIGH, all */
/* A stream may be paused when the subscriber's estimate does not carry its lowest layer. */
void lk_down_allow_pause(lk_down *down, bool allow);
/* Quality that flows now; -1: none. */
int lk_down_quality(const lk_down *down);

/* ---- events --------------------------------------------------------------------------------------------------------- */

typedef enum lk_hub_event_kind {
    LK_HUB_EV_STATE = 1,    /* peer, state, err when failed: NEW, CONNECTING, CONNECTED (ICE and DTLS), DISCONNECTED, FAILED, CLOSED */
    LK_HUB_EV_UP,           /* up: a section began to send a track; cid, kind, mid, rids are known */
    LK_HUB_EV_UP_LIVE,      /* up: its first packet arrived, mime is known; again for each further layer, and when mime changed */
    LK_HUB_EV_UP_ENDED,     /* up: the section no longer sends it; lk_up_free it */
    LK_HUB_EV_WANTED,       /* up: lk_up_wanted changed */
    LK_HUB_EV_DOWN_BOUND,   /* down: negotiated, media may flow */
    LK_HUB_EV_DOWN_REFUSED, /* down: the client takes none of its codecs; lk_down_free it */
    LK_HUB_EV_DOWN_STATE,   /* down, active: stream_state_update, the first one with the first allocation */
    LK_HUB_EV_CHANNEL,      /* peer, channel, text: label; active: open or closed */
    LK_HUB_EV_DATA,         /* peer, channel, text: label, data */
} lk_hub_event_kind;

/* Pointers to bytes are valid until the next call of anything. An event about what was freed is not given. */
typedef struct lk_hub_event {
    lk_hub_event_kind kind;
    lk_peer *peer; /* NULL only where an up outlived its peer */
    void *user;    /* of the peer; NULL with it */
    lk_up *up;
    lk_down *down;
    lk_pc_state state;
    lk_err err;
    bool active;
    lk_peer_channel channel;
    const char *text;
    lk_bytes data;
} lk_hub_event;
bool lk_hub_poll_event(lk_hub *hub, lk_hub_event *out);
