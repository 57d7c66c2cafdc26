// SPDX-License-Identifier: Apache-2.0
/* Inside of pc/: the struct its files share.
 *
 * pc.c       life, sections, transport, time, verbs       pc_sdp.c       descriptions, both ways
 * pc_send.c  RTP and RTCP out, pacing, resends            pc_receive.c   RTP and RTCP in
 * pc_data.c  data channels                                pc_stats.c    what statistics show
 */
#pragma once
#include "cc/estimator.h"
#include "cc/pacer.h"
#include "cc/twcc.h"
#include "ice/ice.h"
#include "nack/nack.h"
#include "pc/pc.h"
#include "pc/transport.h"
#include "rtp/red.h"
#include "rtp/rtcp.h"
#include "rtp/rtp_stats.h"

#define LK_PC_URI_LEVEL "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
#define LK_PC_URI_MID "urn:ietf:params:rtp-hdrext:sdes:mid"
#define LK_PC_URI_TWCC "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
#define LK_PC_ID_LEVEL 1 /* ids of our offers */
#define LK_PC_ID_TWCC 3
#define LK_PC_ID_MID 4
#define LK_PC_PT_OPUS 111
#define LK_PC_PT_RED 63
#define LK_PC_PT_VP8 96
#define LK_PC_PT_VP8_RTX 97
#define LK_PC_PAYLOAD_MAX 1200
#define LK_PC_RED "red"
#define LK_PC_RTX "rtx"
#define LK_PC_CNAME_LEN 16

typedef struct lk_pc_sender {
    uint32_t ssrc;
    uint16_t seq;
    uint32_t ts_offset;
    uint64_t packets, bytes, header_bytes;
    uint32_t last_ts;
    lk_usec last_at;
    uint8_t before[LK_RTP_RED_LEN_MAX]; /* the payload before, for redundancy */
    size_t before_len;
    uint32_t before_ts;
    bool sent_since_report, heard; /* heard: a report about us arrived, so the peer knows the SSRC */
    lk_nack_history history;
    uint32_t nack_count, pli_count, fir_count;
    double send_delay_s; /* sum over packets of the time between lk_pc_send and the network */
    /* what the peer's reports say */
    bool has_report;
    lk_rtcp_report report;
    lk_usec report_at;
    double rtt_s, total_rtt_s;
    uint64_t rtt_count;
    uint8_t asked_again; /* of 256, between two reports, fading: loss that resending hides from the reports */
    uint64_t packets_then, resent_then;
} lk_pc_sender;

typedef struct lk_pc_receiver {
    uint32_t ssrc, rtx_ssrc;
    lk_rtp_stats stats;
    lk_nack_generator *nack; /* when negotiated */
    uint64_t nack_count, pli_count, retransmitted_packets, retransmitted_bytes, discarded;
    bool received_since_report;
    /* what the peer's sender reports say */
    uint64_t sr_count, sr_packets, sr_octets;
    uint64_t sr_ntp;
    lk_usec sr_at;
} lk_pc_receiver;

typedef struct lk_pc_codec_now {
    uint8_t pt, channels;
    uint32_t clock_hz;
    int rtx_pt; /* -1: none */
    int red_pt; /* -1: none */
    bool send_red;
    bool nack;
    char mime[24], local_fmtp[LK_STATS_TEXT_MAX];
} lk_pc_codec_now;

typedef struct lk_pc_sect {
    lk_media_kind kind;
    lk_pc_direction wanted, agreed;
    bool data; /* the application section: nothing else here means anything */
    bool stereo, negotiated, was_sending, remote_active;
    char codec_wanted[16]; /* the one to send; "": all we have */
    char mid[LK_PC_ID_MAX], stream[LK_PC_ID_MAX], track[LK_PC_ID_MAX];
    char remote_stream[LK_PC_ID_MAX], remote_track[LK_PC_ID_MAX];
    uint8_t level_id, mid_id, twcc_id; /* negotiated extension ids, 0 = not */
    lk_pc_codec_now codec;
    lk_pc_sender *sender;
    lk_pc_receiver *receiver;
    unsigned source_number;
} lk_pc_sect;

typedef struct lk_pc_packet {
    uint16_t len;
    uint8_t data[LK_RTP_PACKET_MAX];
} lk_pc_packet;

/* A packet that waits for its turn; not yet protected. */
typedef struct lk_pc_paced {
    struct lk_pc_paced *next; /* in the spare list */
    uint32_t index, ssrc;
    uint16_t len, payload_len;
    uint16_t twcc_at; /* where the transport-wide number is written when it leaves; 0: nowhere */
    lk_usec queued_at;
    uint8_t data[LK_RTP_PACKET_MAX];
} lk_pc_paced;

typedef struct lk_pc_resend {
    uint32_t index;
    uint16_t seq;
} lk_pc_resend;

typedef struct lk_pc_queued {
    lk_pc_event_type type;
    lk_pc_state state;
    lk_err err;
    uint32_t index;
    bool active;
    char text[LK_ICE_CANDIDATE_LINE_MAX / 2];
} lk_pc_queued;

struct lk_pc {
    const lk_env *env;
    lk_pc_config config;
    lk_usec made_at;
    lk_pc_state state;
    lk_ice ice;
    lk_transport transport;
    bool dtls_path_known, offer_out, closing;
    lk_addr dtls_local, dtls_remote; /* where the last DTLS datagram came from */
    lk_queue sections; /* of lk_pc_sect * */
    uint64_t session_id, session_version;
    char cname[LK_PC_CNAME_LEN + 1];
    unsigned sources;
    lk_queue out;     /* of lk_pc_packet, protected */
    lk_queue resends; /* of lk_pc_resend */
    lk_pacer pacer; /* of lk_pc_paced: video and its resends */
    lk_pc_paced *spare;
    size_t spare_count;
    lk_twcc_history sent;
    lk_estimator estimator;
    lk_twcc_recorder arrived;
    uint32_t arrived_ssrc; /* media source named in transport-wide feedback */
    lk_queue events;  /* of lk_pc_queued */
    lk_pc_queued event_now;
    bool has_rtp;
    lk_pc_event rtp_event;
    lk_usec report_at; /* LK_NEVER while nothing is sent or received */
    uint32_t feedback_ssrc; /* our SSRC in reports when we send nothing */
    uint64_t packets_sent, packets_received, bytes_sent, bytes_received, dropped;
    lk_usec last_sent_at, last_received_at;
    uint8_t rx[2048], tx[LK_RTP_PACKET_MAX + 64];
};

/* Gives a section its number as mid, or the next one that no other section has. */
void lk_pc_name_section(lk_pc *pc, size_t index);
lk_pc_sect *lk_pc_sect_at(const lk_pc *pc, size_t i);
/* As lk_pc_add_section, never in the place of an idle one. */
lk_err lk_pc_append_section(lk_pc *pc, const lk_pc_section *in, uint32_t *index);
lk_err lk_pc_append_data_section(lk_pc *pc);
void lk_pc_queue_event(lk_pc *pc, const lk_pc_queued *ev);
lk_err lk_pc_make_sender(lk_pc *pc, lk_pc_sect *s);
lk_err lk_pc_make_receiver(lk_pc *pc, lk_pc_sect *s, uint32_t ssrc);
void lk_pc_drop_receiver(lk_pc *pc, lk_pc_sect *s);

/* ---- pc_sdp.c ---- */
bool lk_pc_codec_known(lk_media_kind kind, const char *name); /* "": any */

/* ---- pc_data.c ---- */
bool lk_pc_data_poll_event(lk_pc *pc, lk_pc_event *out);

/* ---- pc_send.c ---- */
void lk_pc_wake_reports(lk_pc *pc, lk_usec now);
void lk_pc_send_due(lk_pc *pc, lk_usec now); /* reports, NACKs, transport-wide feedback */
lk_usec lk_pc_send_deadline(const lk_pc *pc);
/* The next protected packet in pc->tx. */
bool lk_pc_poll_packet(lk_pc *pc, lk_usec now, size_t *len);
void lk_pc_on_nack(lk_pc *pc, lk_usec now, const lk_rtcp_packet *p);
void lk_pc_send_bye(lk_pc *pc);
void lk_pc_free_paced(lk_pc *pc);
lk_pc_sect *lk_pc_section_of_sender(const lk_pc *pc, uint32_t ssrc, uint32_t *index);

/* ---- pc_receive.c ---- */
void lk_pc_on_rtp(lk_pc *pc, lk_usec now, size_t len);  /* pc->rx */
void lk_pc_on_rtcp(lk_pc *pc, lk_usec now, size_t len); /* pc->rx */
