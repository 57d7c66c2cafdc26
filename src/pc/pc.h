// SPDX-License-Identifier: Apache-2.0
/* pc/pc.h - peer connection: one bundled transport with its media sections. [RFC9429] [RFC8843] [RFC5764]
 *
 * In:      local addresses, descriptions and candidates of the peer, datagrams, media to send, the passing of time.
 * Out:     datagrams; local candidates, state changes, which section carries which remote track, received RTP.
 * Owner:   heap object of lk_session. Loop thread.
 * Limits:  1,024 sections; 64 datagrams wait to be sent (more: dropped and counted); 256 resends asked at once.
 * Deviates: sections never leave and never change place; an unused one is inactive and may be used again.
 *
 * After every call that takes `now`: drain lk_pc_poll_tx and lk_pc_poll_event, then ask lk_pc_deadline.
 */
#pragma once
#include "base/lk_base.h"
#include "dtls/dtls.h"
#include "livekit/stats.h"
#include "livekit/types.h"
#include "rtp/rtp.h"

#define LK_PC_SECTIONS_MAX 1024
#define LK_PC_ID_MAX 128 /* mid, msid and track ids we keep; longer ones are refused */
#define LK_PC_STATS_MAX 64
#define LK_PC_CHANNELS_MAX 16
#define LK_PC_LABEL_MAX 63

typedef struct lk_pc lk_pc;

typedef enum lk_pc_direction { LK_PC_INACTIVE = 0, LK_PC_SENDONLY = 1, LK_PC_RECVONLY = 2, LK_PC_SENDRECV = 3 } lk_pc_direction;
typedef enum lk_pc_state {
    LK_PC_STATE_NEW,
    LK_PC_STATE_CONNECTING,
    LK_PC_STATE_CONNECTED,
    LK_PC_STATE_DISCONNECTED, /* no answer for 10 s; may come back */
    LK_PC_STATE_FAILED,
    LK_PC_STATE_CLOSED,
} lk_pc_state;

typedef struct lk_pc_config {
    lk_dtls_context *dtls; /* shared, outlives the pc */
    bool controlling;      /* ICE role to start with: the offerer's */
    bool ice_lite;         /* we are lite (server side of the simulator) */
    bool prefer_red;       /* redundancy stands first in what we write: whoever sends to us is to use it, as servers ask */
    int64_t unix_usec;     /* Unix time when the monotonic clock showed `now` of lk_pc_new: for reports and stats */
} lk_pc_config;

LK_NODISCARD lk_err lk_pc_new(lk_pc **out, const lk_env *env, const lk_pc_config *config, lk_usec now);
void lk_pc_free(lk_pc *pc); /* NULL ok */

/* ---- sections ---- */
typedef struct lk_pc_section {
    lk_media_kind kind;        /* AUDIO, VIDEO */
    lk_pc_direction direction;
    const char *stream, *track; /* msid of what we send; "" when only receiving. Copied */
    bool stereo;
    const char *codec; /* the only one to offer, as in SDP; NULL or "": all we have. UNSUPPORTED: not one of ours */
} lk_pc_section;
/* Appends a section, or reuses an inactive one of the kind that was never or no longer is sending. *index is its m-line.
 * Takes effect with the next offer. LIMIT, NOMEM, INVALID. */
LK_NODISCARD lk_err lk_pc_add_section(lk_pc *pc, const lk_pc_section *s, uint32_t *index);
LK_NODISCARD lk_err lk_pc_set_direction(lk_pc *pc, uint32_t index, lk_pc_direction direction); /* NOT_FOUND */
size_t lk_pc_section_count(const lk_pc *pc);
/* mid of a section, "" past the end. */
const char *lk_pc_mid(const lk_pc *pc, uint32_t index);
/* Sections of that kind free to receive: recvonly without a remote track. */
size_t lk_pc_free_receivers(const lk_pc *pc, lk_media_kind kind);

/* ---- negotiation ---- */
/* Appends the offer to sdp and makes it the local description. STATE while an offer is outstanding or after close. */
LK_NODISCARD lk_err lk_pc_create_offer(lk_pc *pc, lk_usec now, lk_text *sdp);
/* Forgets an outstanding offer that will never be answered. */
void lk_pc_rollback(lk_pc *pc);
/* The answer to the outstanding offer. On error nothing changed and *why (static, may be NULL) says what is wrong:
 * STATE, WIRE, LIMIT, PROTOCOL, NOMEM. */
LK_NODISCARD lk_err lk_pc_set_answer(lk_pc *pc, lk_usec now, const char *sdp, size_t len, const char **why);
/* Answers an offer (the other role): sections follow the offer; what we were asked to send must be added before with
 * lk_pc_add_section in the same order. */
LK_NODISCARD lk_err lk_pc_accept_offer(lk_pc *pc, lk_usec now, const char *sdp, size_t len, lk_text *answer, const char **why);
LK_NODISCARD lk_err lk_pc_add_remote_candidate(lk_pc *pc, lk_usec now, const char *line, size_t len);
/* A socket is bound there. */
LK_NODISCARD lk_err lk_pc_add_local_address(lk_pc *pc, lk_usec now, const lk_addr *addr);
/* As lk_ice_add_server: what it answers becomes candidates. */
LK_NODISCARD lk_err lk_pc_add_stun_server(lk_pc *pc, lk_usec now, const lk_addr *server);
/* New ICE credentials with the next offer. */
void lk_pc_restart_ice(lk_pc *pc, lk_usec now);

/* ---- media ---- */
typedef struct lk_pc_media {
    const uint8_t *payload; /* borrowed */
    size_t len;             /* 1..1200 */
    uint32_t ts;            /* RTP ticks; a random offset is added */
    bool marker;
    bool has_level, voice;
    uint8_t level; /* 0 loud .. 127 silent, -dBov [RFC6464] */
} lk_pc_media;
/* One RTP packet: audio leaves at once, video when the pacer lets it. STATE: not connected or the section may not send;
 * FULL; LIMIT; NOMEM. */
LK_NODISCARD lk_err lk_pc_send(lk_pc *pc, lk_usec now, uint32_t index, const lk_pc_media *m);
/* Loss on the way to the peer for that section, 0..255 of 256, for the encoder's FEC: what the peer reported last, or what it
 * asked for again lately if that is more (a packet that came late by being resent is not reported as lost). */
uint8_t lk_pc_remote_loss(const lk_pc *pc, uint32_t index);
/* Asks the sender of that section's remote track for a key frame. Nothing happens without one. */
void lk_pc_request_key(lk_pc *pc, lk_usec now, uint32_t index);
/* Bits per second the pacer lets out; 0: as they come. */
void lk_pc_set_pacing(lk_pc *pc, lk_usec now, uint64_t rate_bps);
lk_usec lk_pc_rtt_usec(const lk_pc *pc); /* of the selected pair; 0: not measured */
/* Name of the codec agreed for a section, as in SDP; "" when there is none. */
const char *lk_pc_codec(const lk_pc *pc, uint32_t index);

/* What the path to the peer takes, of what leaves under transport-wide numbers (video); a guess before anything left. */
uint64_t lk_pc_target_bps(const lk_pc *pc);
/* What we would send at most; the estimate does not grow far above it. */
void lk_pc_set_demand(lk_pc *pc, lk_usec now, uint64_t bps);

/* ---- data channels [RFC8831] [RFC8832] ---- */
typedef struct lk_pc_channel {
    const char *label; /* at most LK_PC_LABEL_MAX bytes */
    bool unordered, limit_retransmits;
    uint32_t retransmits_max;
    bool negotiated; /* both sides made it with this stream id: nothing is said about it on the wire, it opens with the */
    uint16_t id;     /* association [RFC8831 s6.5]; below 65535, one of its own */
} lk_pc_channel;
/* The first one brings the application section into the next offer. *channel is its number for the calls and events below.
 * LIMIT, NOMEM, INVALID. */
LK_NODISCARD lk_err lk_pc_add_channel(lk_pc *pc, const lk_pc_channel *c, uint32_t *channel);
bool lk_pc_channel_open(const lk_pc *pc, uint32_t channel);
/* One binary message. lifetime_usec: given up when it has not arrived by then; 0: as the channel says. STATE: not open; LIMIT:
 * longer than the peer takes; FULL: what waits is as much as may; INVALID: empty; NOMEM. */
LK_NODISCARD lk_err lk_pc_send_data(lk_pc *pc, lk_usec now, uint32_t channel, const uint8_t *data, size_t len,
                                    lk_usec lifetime_usec);
/* Bytes of that channel not yet given to the network. */
size_t lk_pc_data_buffered(const lk_pc *pc, uint32_t channel);

/* ---- verbs ---- */
void lk_pc_input(lk_pc *pc, lk_usec now, const lk_datagram *d);
void lk_pc_tick(lk_pc *pc, lk_usec now);
lk_usec lk_pc_deadline(const lk_pc *pc);
bool lk_pc_poll_tx(lk_pc *pc, lk_usec now, lk_datagram *out);

typedef enum lk_pc_event_type {
    LK_PC_EV_STATE,     /* state, err when failed */
    LK_PC_EV_CANDIDATE, /* text: "candidate:..." to be trickled */
    LK_PC_EV_TRACK,     /* index, active, stream, track: a section started or stopped carrying a remote track */
    LK_PC_EV_RTP,       /* index, packet */
    LK_PC_EV_CHANNEL,   /* index: the channel, active: open or closed, text: its label */
    LK_PC_EV_DATA,      /* index: the channel, text: its label, data */
    LK_PC_EV_KEY,       /* index: the peer asks for a key frame of what we send there */
} lk_pc_event_type;
/* Pointers are valid until the next call that takes `now`. */
typedef struct lk_pc_event {
    lk_pc_event_type type;
    lk_pc_state state;
    lk_err err;
    uint32_t index;
    bool active;
    const char *text, *stream, *track;
    lk_rtp_packet packet;
    lk_bytes data;
    bool red; /* its payload holds earlier ones too, see rtp/red.h */
} lk_pc_event;
bool lk_pc_poll_event(lk_pc *pc, lk_pc_event *out);

lk_pc_state lk_pc_state_of(const lk_pc *pc);
const char *lk_pc_local_ufrag(const lk_pc *pc);
/* Sends close_notify and a BYE for what we sent; nothing after. */
void lk_pc_close(lk_pc *pc, lk_usec now);

/* ---- stats: entries sorted by id; what only media knows (levels, jitter buffer) is left 0 for the caller ---- */
/* Closure of ids around one section: its RTP entries, codec, transport, pair, candidates, certificates, source. */
size_t lk_pc_stats_section(const lk_pc *pc, lk_usec now, uint32_t index, lk_stats *out, size_t cap);
/* Everything of the connection. */
size_t lk_pc_stats_all(const lk_pc *pc, lk_usec now, lk_stats *out, size_t cap);
/* Unix time in milliseconds of a monotonic instant, as stats want it. */
double lk_pc_unix_msec(const lk_pc *pc, lk_usec at);
