// SPDX-License-Identifier: Apache-2.0
/* Inside of the media side of sfu/: the structs its files share.
 *
 * hub.c        routing, timers, batches of what leaves     hub_codecs.c  what a payload says about its frame
 * hub_layers.c which layers of one stream a subscriber gets
 * peer.c       life of a peer, what arrives, data channels  peer_sdp.c    descriptions, both ways
 * peer_up.c    a published track: layers and their cache   peer_down.c   a subscribed track: choice, rewriting, resends
 * peer_rtcp.c  reports and feedback, both ways          peer_share.c  what a subscriber's path carries, shared out
 */
#pragma once
#include "cc/estimator.h"
#include "cc/probe.h"
#include "cc/twcc.h"
#include "ice/ice_lite.h"
#include "nack/nack.h"
#include "pc/transport.h"
#include "rtp/dependency.h"
#include "rtp/rtp.h"
#include "rtp/rtp_stats.h"
#include "sfu/peer.h"

#define LK_HUB_SLOTS 64u       /* packets of one batch */
#define LK_HUB_SLOT_BYTES 1664u
#define LK_HUB_JOBS_MAX 256u   /* received packets that wait to be forwarded */
#define LK_HUB_RESENDS_MAX 1024u
#define LK_HUB_EVENTS_MAX 65536u
#define LK_HUB_SMALL_BYTES 288u /* of a block: an audio packet */
#define LK_HUB_LARGE_BYTES 1536u
#define LK_HUB_SPARE_MAX 1024u
#define LK_UP_VIDEO_PACKETS 512u
#define LK_UP_AUDIO_PACKETS 256u
#define LK_UP_DOWNS_MAX 8192u
#define LK_PEER_CODECS_MAX 16u
#define LK_HUB_WIRE_BYTES 44u /* of a packet beside RTP: IPv4, UDP, the tag of SRTP. Rates that are compared all count it */

/* ---- codecs ---- */
typedef enum lk_hub_codec {
    LK_HUB_OPUS,
    LK_HUB_RED,
    LK_HUB_PCMU,
    LK_HUB_PCMA,
    LK_HUB_VP8,
    LK_HUB_VP9_0,
    LK_HUB_VP9_1,
    LK_HUB_H264_PM1,
    LK_HUB_H264_PM0,
    LK_HUB_H264_HIGH,
    LK_HUB_AV1,
    LK_HUB_H265,
    LK_HUB_CODECS,
} lk_hub_codec;

/* What a payload says, of what forwarding needs. */
typedef struct lk_hub_piece {
    bool key;        /* a receiver can start here */
    bool begin;      /* first packet of a frame, as far as the format tells */
    bool layer_sync; /* needs nothing of its temporal layer before */
    uint8_t tid;
    /* descriptor fields to rewrite; position 0: absent (the first byte is never one) */
    uint8_t lead_len, picture_at, tl0_at, key_at;
    bool picture_long; /* 15 bits */
    uint16_t picture;
    uint8_t tl0, key_index;
} lk_hub_piece;

typedef struct lk_hub_codec_row {
    lk_media_kind kind;
    const char *name, *mime;
    uint32_t clock_hz;
    uint8_t channels, pt; /* pt: of our offers */
    const char *fmtp;     /* of our offers */
    bool offered;         /* to subscribers */
    bool layered;         /* one stream may hold spatial layers */
    void (*look)(lk_hub_piece *out, lk_bytes payload); /* NULL: every packet can be a start */
} lk_hub_codec_row;
extern const lk_hub_codec_row lk_hub_codec_rows[LK_HUB_CODECS];

/* ---- what is kept of a received packet ---- */
typedef struct lk_hub_block {
    struct lk_hub_block *next; /* in a spare list */
    bool large;
    uint8_t data[];
} lk_hub_block;

typedef struct lk_cached {
    int64_t seq; /* extended; -1: empty */
    lk_hub_block *block;
    lk_usec at;
    uint32_t ts;
    uint16_t len;      /* payload; 0: a padding packet, whose number is left out */
    uint16_t dd_len;   /* dependency descriptor behind the payload */
    uint8_t codec;
    bool marker, layered; /* layered: there are lk_svc_facts */
    lk_hub_piece piece;
} lk_cached;

/* ---- layers inside one stream ---- */
#define LK_SVC_SPATIAL_MAX 4

/* What a packet says of its layer. */
typedef struct lk_svc_facts {
    bool known, by_number; /* by_number: of a dependency descriptor: number and references */
    bool stale;            /* of before the key frame that came already */
    bool begin, end;       /* of its frame, which is one of a layer */
    bool alone, switch_up; /* VP9: not predicted from other pictures; later ones of its temporal layer need none before it */
    bool far;              /* refers to what is no longer remembered */
    uint8_t sid, tid, generation, reference_count, references[LK_RTP_DD_REFERENCES_MAX];
    uint16_t number, mask_at, tail_at, end_at;
} lk_svc_facts;

typedef struct lk_svc {
    uint8_t spatial_count, live; /* live: bits of the layers that came lately */
    uint8_t told_count, told_live;
    bool has_structure;
    uint8_t generation;
    uint16_t structure_number; /* of the frame that brought it */
    uint32_t active;           /* decode targets the publisher sends */
    uint16_t width[LK_SVC_SPATIAL_MAX], height[LK_SVC_SPATIAL_MAX]; /* 0: not told */
    lk_usec last_at[LK_SVC_SPATIAL_MAX];
    lk_rate_meter rate[LK_SVC_SPATIAL_MAX]; /* of each alone */
    lk_rtp_dd_structure structure;
    lk_svc_facts facts[LK_UP_VIDEO_PACKETS]; /* by sequence number, as the cache */
} lk_svc;

static inline lk_svc_facts *lk_svc_facts_of(const lk_svc *s, const lk_cached *c)
{
    return (lk_svc_facts *)(uintptr_t)&s->facts[(uint64_t)c->seq & (LK_UP_VIDEO_PACKETS - 1)];
}

typedef struct lk_up_lay {
    char rid[LK_PEER_RID_MAX + 1];
    uint32_t ssrc, rtx_ssrc;
    uint16_t width, height;
    bool received_since_report, active, has_sr, announced;
    lk_rtp_stats stats;
    lk_nack_generator *nack;
    lk_unwrap16 seq;
    lk_cached *slots; /* made with the first packet */
    lk_svc *svc;      /* made with the first that says it is of a layer */
    uint32_t slot_count;
    int64_t oldest;   /* lowest number that may still hold a block */
    lk_rate_meter rate;
    lk_usec last_at;
    /* key frames */
    bool key_wanted;
    lk_usec key_asked_at;
    /* of the publisher's sender reports */
    uint64_t sr_ntp;
    uint32_t sr_ts;
    lk_usec sr_at;
    /* at the last lk_peer_take_quality */
    int64_t quality_expected, quality_lost;
} lk_up_lay;

struct lk_up {
    lk_hub *hub;
    lk_peer *peer; /* NULL: freed */
    lk_link link;  /* in peer->ups */
    void *user;
    lk_media_kind kind;
    char cid[LK_PC_ID_MAX], mid[LK_PC_ID_MAX];
    uint8_t codec; /* of what arrives, before that of the answer */
    bool live, ended, muted;
    size_t layer_count;
    lk_up_lay layers[LK_UP_LAYERS_MAX];
    lk_down **downs;
    size_t down_count, down_cap;
    int wanted;
    uint64_t mean_bps[LK_UP_LAYERS_MAX]; /* of each step, over two or three seconds */
    lk_usec check_at; /* layers alive, downs waiting for key frames */
    /* audio levels */
    lk_up_level level;
    uint32_t level_ts;
    bool level_started;
};

/* ---- a subscribed track ---- */
typedef struct lk_down_sent {
    uint16_t out, in;     /* sequence numbers; what was not sent (yet) has sent false */
    uint8_t layer;
    bool used, sent, marker;
    uint16_t picture_off;
    uint8_t tl0_off, key_off;
    uint16_t resent_msec; /* when it was sent again last, low bits; 0: never */
    uint8_t sid, tid;     /* layers that flowed, of a stream that has some inside */
    int32_t ts_off;
    uint32_t ext;         /* value of the header extension that went with it */
} lk_down_sent;

/* Of a stream with layers inside. */
typedef struct lk_down_svc {
    int8_t sid, want; /* highest spatial layer that flows; that is asked for */
    uint8_t tid;      /* highest temporal layer that flows */
    uint16_t number;  /* newest frame seen */
    uint32_t ts;      /* of the picture in hand, as it came */
    uint64_t kept[4], left[4]; /* of the last 256 frame numbers: sent on, left out; neither: not seen */
} lk_down_svc;

struct lk_down {
    /* read for every packet */
    bool open;      /* packets may flow: bound, enabled, the peer is there */
    bool unwrap_red; /* the payload type is of what is inside */
    bool resync;    /* the next packet that can be a start joins what was sent before */
    int8_t layer, target; /* flowing; wanted next. -1: none */
    uint8_t max_tid, tid;
    uint8_t codec, pt; /* codec: the pt is of */
    int rtx_pt;        /* -1: resent plain */
    uint8_t twcc_id, ast_id, dd_id;
    uint32_t ssrc, rtx_ssrc;
    int64_t out;       /* last number sent, extended */
    int64_t in_first, in_high;
    int64_t seq_off;   /* out = in - seq_off */
    int32_t ts_off;
    uint16_t picture_off, picture;
    uint8_t tl0_off, tl0, key_off, key_index;
    uint32_t ts;
    lk_usec at;
    lk_down_sent *sent; /* ring by out; made with the first packet, when resends are agreed */
    uint32_t sent_count;
    uint64_t packets, octets;

    lk_hub *hub;
    lk_peer *peer;
    lk_up *up;
    lk_link link; /* in peer->downs */
    void *user;
    char stream[LK_PC_ID_MAX], track[LK_PC_ID_MAX];
    int sect;      /* index of its section, -1 */
    lk_usec sr_at; /* of the last sender report */
    lk_media_kind kind;
    bool bound, refused, started, sent_since_report, nack, told_state, told_active, allow_pause, paused, movable;
    lk_down_settings settings;
    lk_down_svc svc;
    int8_t limit, planned; /* highest step the estimate carries; of a plan, -1: none */
    int64_t rtx_out;
    uint64_t resent;
    bool has_report;
    lk_rtcp_report report;
    uint32_t quality_seq; /* highest_seq and total_lost at the last lk_peer_take_quality */
    int32_t quality_lost;
};

/* ---- peers ---- */
typedef struct lk_peer_codec {
    uint8_t codec, pt;
    int rtx_pt; /* -1: none */
    bool nack;
    uint8_t feedback; /* bits of video feedback agreed */
    char fmtp[96];
} lk_peer_codec;

typedef enum lk_sect_role { LK_SECT_IDLE, LK_SECT_UP, LK_SECT_DOWN } lk_sect_role;
typedef struct lk_peer_sect {
    lk_media_kind kind;
    bool data, negotiated, rejected, was_used, was_up, receives; /* was_used: once carried something; idle again it is inactive */
    lk_sect_role role;
    char mid[LK_PC_ID_MAX];
    lk_up *up;
    lk_down *down;
    lk_peer_codec codecs[LK_PEER_CODECS_MAX]; /* in the order of our description */
    size_t codec_count;
    uint8_t mid_id, rid_id, rrid_id, level_id, twcc_id, ast_id, dd_id;
} lk_peer_sect;

typedef struct lk_peer_wished {
    char cid[LK_PC_ID_MAX], codec[16];
    bool no_red, no_dtx, stereo;
} lk_peer_wished;

struct lk_peer {
    lk_hub *hub;
    lk_peer_config config;
    lk_ice_lite ice;
    lk_transport transport;
    lk_pc_state state;
    bool closing, offer_out, changed, has_remote, by_tcp, in_tx, in_data, bye_due;
    lk_peer *next_tx, *next_data;
    size_t heap_at;
    lk_usec due_at;
    char remote_ufrag[64];
    uint64_t ufrag_key, old_ufrag_key; /* in hub->by_ufrag */
    uint64_t session_id, session_version;
    char cname[17];
    lk_queue sections; /* of lk_peer_sect * */
    lk_list ups, downs;
    lk_queue wishes; /* of lk_peer_wished */
    uint32_t codecs_allowed; /* bits by lk_hub_codec */
    /* RTCP */
    uint32_t rtcp_ssrc, twcc_ssrc;
    lk_usec report_at;
    lk_twcc_recorder arrived;
    lk_twcc_history sent;
    lk_estimator estimator;
    bool has_feedback, has_offset;
    int64_t ntp_offset; /* our NTP clock minus the client's, least seen */
    lk_usec rtt_usec, heard_at;
    /* sharing out the estimate */
    lk_usec allocate_at, hold_until, tried_at, backoff_usec;
    lk_usec quiet_until; /* the meters still hold padding of a probe that ended */
    uint64_t limit_bps; /* 0: no limit */
    uint64_t expected_bps; /* of the layers chosen, when last looked at */
    lk_probe probe;
    uint64_t before_probe_bps; /* the estimate */
    uint64_t confirm_bps; /* goal of the next probe, when one was too high and this may do; 0: all that is wanted */
    int channel_of[LK_PEER_CHANNELS]; /* transport's number, -1 */
};

typedef struct lk_hub_job {
    lk_up *up;
    uint8_t layer;
    int64_t seq;
} lk_hub_job;
typedef struct lk_hub_resend {
    lk_down *down;
    uint16_t out;
} lk_hub_resend;

struct lk_hub {
    const lk_env *env;
    lk_dtls_context *dtls;
    lk_addr udp[LK_SFU_ADDRESSES_MAX], tcp[LK_SFU_ADDRESSES_MAX];
    size_t udp_count, tcp_count;
    int64_t unix_usec;
    lk_usec made_at;
    char loop;
    uint64_t hash_key;
    lk_map by_addr, by_ufrag;
    lk_peer **heap;
    size_t peer_count, heap_cap;
    lk_peer *tx, *data; /* lists of peers with something to send, to tell */
    lk_queue events;
    lk_hub_block *spare[2];
    size_t spare_count[2];
    /* forwarding in progress: jobs[first .. first + group) go to one down after the other */
    lk_hub_job jobs[LK_HUB_JOBS_MAX];
    size_t job_first, job_count, group, group_at, down_at;
    lk_hub_resend resends[LK_HUB_RESENDS_MAX];
    size_t resend_first, resend_count;
    lk_hub_stats stats;
    uint8_t rx[2048];
    uint8_t slots[LK_HUB_SLOTS][LK_HUB_SLOT_BYTES];
};

/* ---- hub.c ---- */
uint64_t lk_hub_ntp(const lk_hub *hub, lk_usec now);
lk_hub_event *lk_hub_push(lk_hub *hub, const lk_hub_event *ev);
void lk_hub_forget(lk_hub *hub, const void *object); /* in events, jobs, resends */
/* The peer's deadline or what it has to send may have changed. */
void lk_hub_touch(lk_peer *peer);
void lk_hub_has_data(lk_peer *peer);
lk_err lk_hub_add_peer(lk_hub *hub, lk_peer *peer);
void lk_hub_remove_peer(lk_hub *hub, lk_peer *peer);
lk_err lk_hub_name_peer(lk_hub *hub, lk_peer *peer); /* its ufrag is new */
lk_hub_block *lk_hub_take_block(lk_hub *hub, size_t len);
void lk_hub_give_block(lk_hub *hub, lk_hub_block *block);
void lk_hub_add_job(lk_hub *hub, lk_up *up, size_t layer, int64_t seq);
void lk_hub_add_resend(lk_hub *hub, lk_down *down, uint16_t out);

/* ---- peer.c ---- */
lk_peer_sect *lk_peer_sect_at(const lk_peer *peer, size_t i);
void lk_peer_input(lk_peer *peer, lk_usec now, const lk_sfu_packet *packet);
void lk_peer_on_rtp(lk_peer *peer, lk_usec now, size_t len); /* hub->rx, opened */
void lk_peer_tick(lk_peer *peer, lk_usec now);
lk_usec lk_peer_deadline(const lk_peer *peer);
/* STUN, DTLS, RTCP: one packet into slot. */
bool lk_peer_poll_control(lk_peer *peer, lk_usec now, uint8_t *slot, lk_sfu_packet *out);
bool lk_peer_poll_data(lk_peer *peer, lk_hub_event *out);
bool lk_peer_ready(const lk_peer *peer); /* media can be sent */
void lk_peer_pump(lk_peer *peer, lk_usec now);

/* ---- peer_rtcp.c ---- */
void lk_peer_on_rtcp(lk_peer *peer, lk_usec now, const uint8_t *data, size_t len);
/* The next compound that is due, in the clear; 0: none. */
size_t lk_peer_write_rtcp(lk_peer *peer, lk_usec now, uint8_t *out, size_t cap);
lk_usec lk_peer_rtcp_deadline(const lk_peer *peer);
void lk_peer_wake_reports(lk_peer *peer, lk_usec now);

/* ---- peer_share.c ---- */
void lk_peer_allocate(lk_peer *peer, lk_usec now);
/* The estimate may have changed: what must not wait for the next lk_peer_allocate. */
void lk_peer_estimated(lk_peer *peer, lk_usec now);
/* One packet of padding into slot, when a probe wants it now. */
bool lk_peer_write_probe(lk_peer *peer, lk_usec now, uint8_t *slot, size_t *len);

/* ---- peer_up.c ---- */
lk_err lk_up_new(lk_up **out, lk_peer *peer, lk_media_kind kind);
void lk_up_end(lk_up *up);
void lk_up_rtp(lk_up *up, lk_usec now, const lk_peer_sect *s, size_t layer, const lk_rtp_packet *p, bool resent);
void lk_up_check(lk_up *up, lk_usec now);
lk_usec lk_up_key_deadline(const lk_up *up, size_t layer); /* when a PLI may leave; LK_NEVER: none is wanted */
void lk_up_want_key(lk_up *up, lk_usec now, size_t layer);
void lk_up_count_wanted(lk_up *up);
const lk_cached *lk_up_cached(const lk_up *up, size_t layer, int64_t seq);
lk_err lk_up_attach(lk_up *up, lk_down *down);
void lk_up_detach(lk_up *up, lk_down *down);
int lk_up_quality_for(const lk_up *up, const lk_down_settings *s); /* -1: none */
/* Steps of quality, ascending: layers of simulcast, or the spatial layers of one stream, each with those below it. */
size_t lk_up_steps(const lk_up *up);
size_t lk_up_step_for(const lk_up *up, const lk_down_settings *s);
bool lk_up_step_active(const lk_up *up, size_t step);
uint64_t lk_up_step_bps(const lk_up *up, size_t step);
lk_svc *lk_up_svc(const lk_up *up); /* NULL: its steps are not layers of one stream */

/* ---- hub_layers.c ---- */
void lk_svc_look(lk_up *up, lk_up_lay *l, lk_usec now, lk_cached *c);
void lk_svc_check(lk_up *up, lk_svc *s, lk_usec now, lk_usec alive_usec); /* layers that came no more are no choice */
uint64_t lk_svc_bps(const lk_svc *s, size_t sid);                          /* with the layers below */
size_t lk_svc_covering(const lk_svc *s, unsigned width, unsigned height);
void lk_svc_join(lk_down *d, const lk_svc_facts *f); /* a key picture begins the run */
/* Whether the packet is of the layers the subscriber gets; those change with it where they can. */
bool lk_svc_passes(lk_down *d, const lk_svc_facts *f, const lk_cached *c, bool late);
bool lk_svc_waits(const lk_down *d); /* for a key picture, to get all that is wanted */
/* The dependency descriptor of a packet for who gets these layers; what is rewritten stands in room. */
lk_bytes lk_svc_descriptor(const lk_svc *s, const lk_cached *c, uint8_t sid, uint8_t tid, uint8_t room[LK_RTP_DD_BYTES_MAX]);

/* ---- peer_down.c ---- */
/* The packet as this subscriber gets it, protected, into slot. False: not for it. */
bool lk_down_write(lk_down *down, lk_usec now, size_t layer, const lk_cached *c, uint8_t *slot, size_t *len);
bool lk_down_write_again(lk_down *down, lk_usec now, uint16_t out, uint8_t *slot, size_t *len);
void lk_down_on_nack(lk_down *down, lk_usec now, const lk_rtcp_packet *p);
/* Chooses anew what flows: settings, layers, the peer's state or its estimate changed. */
void lk_down_select(lk_down *down, lk_usec now);
bool lk_down_waits_for_key(const lk_down *down);
int lk_down_step(const lk_down *down); /* wanted; -1: none */
/* The best step that is sent, not above what is wanted nor above limit; else the lowest that is; else the one wanted. */
int lk_down_choose(const lk_down *down, int limit);
/* Padding alone, on the retransmission stream: a packet of it for the transport-wide feedback, nothing for the decoder. */
bool lk_down_can_pad(const lk_down *down);
bool lk_down_write_padding(lk_down *down, lk_usec now, uint8_t *slot, size_t *len);
/* Its section was negotiated: numbers of the codec in use. False: none of its codecs. */
bool lk_down_bind(lk_down *down, const lk_peer_sect *s);
