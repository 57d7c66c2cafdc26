// SPDX-License-Identifier: Apache-2.0
/* rtp/rtcp.h - RTCP: walk a compound packet, write the packets we send. [RFC3550 s6] [RFC4585] [RFC5104]
 *
 * In:      one decrypted compound datagram, borrowed.
 * Out:     one tagged view per packet; writers into a caller's buffer.
 * Owner:   values on the stack; any thread; no allocation.
 * Limits:  1500 bytes and 64 packets per datagram; counts are checked against lengths before use.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTCP_LEN_MAX 1500
#define LK_RTCP_PACKETS_MAX 64

enum lk_rtcp_pt {
    LK_RTCP_SR = 200,
    LK_RTCP_RR = 201,
    LK_RTCP_SDES = 202,
    LK_RTCP_BYE = 203,
    LK_RTCP_APP = 204,
    LK_RTCP_RTPFB = 205,
    LK_RTCP_PSFB = 206,
    LK_RTCP_XR = 207,
};

typedef enum lk_rtcp_kind {
    LK_RTCP_KIND_SR,
    LK_RTCP_KIND_RR,
    LK_RTCP_KIND_SDES,
    LK_RTCP_KIND_BYE,
    LK_RTCP_KIND_APP,
    LK_RTCP_KIND_NACK,
    LK_RTCP_KIND_TWCC,
    LK_RTCP_KIND_PLI,
    LK_RTCP_KIND_FIR,
    LK_RTCP_KIND_REMB,
    LK_RTCP_KIND_XR,
    LK_RTCP_KIND_OTHER, /* well-formed by length, not used by us */
} lk_rtcp_kind;

typedef struct lk_rtcp_report {
    uint32_t ssrc;
    uint8_t fraction_lost; /* of 256, since the last report */
    int32_t total_lost;    /* signed 24 bit */
    uint32_t highest_seq;  /* extended */
    uint32_t jitter;       /* RTP ticks */
    uint32_t lsr, dlsr;    /* middle 32 bits of NTP; units of 1/65536 s */
} lk_rtcp_report;

/* View of one packet; body borrows the datagram. */
typedef struct lk_rtcp_packet {
    lk_rtcp_kind kind;
    uint8_t pt, count;
    uint32_t sender;       /* SSRC of the sender (SR, RR, feedback, APP, XR) */
    uint32_t media;        /* feedback: SSRC it is about */
    uint64_t ntp;          /* SR */
    uint32_t rtp_ts, packets, octets; /* SR */
    lk_bytes body;         /* after the fixed part: reports, chunks, SSRCs, FCI ... without padding */
} lk_rtcp_packet;

/* Walks a compound datagram. Start with lk_rtcp_begin; next gives false at the end. bad() tells whether the
 * datagram was malformed (then what had been given before stays valid, the rest is dropped). */
typedef struct lk_rtcp_reader {
    lk_rd rd;
    unsigned seen;
    bool bad;
} lk_rtcp_reader;
void lk_rtcp_begin(lk_rtcp_reader *r, const uint8_t *data, size_t len);
bool lk_rtcp_next(lk_rtcp_reader *r, lk_rtcp_packet *out);
/* Walks the whole datagram: LK_OK only if every packet of it is well-formed. */
LK_NODISCARD lk_err lk_rtcp_check(const uint8_t *data, size_t len);

/* i-th report block of an SR or RR; i < count. */
lk_rtcp_report lk_rtcp_report_at(const lk_rtcp_packet *p, size_t i);
/* Walks the sequence numbers of a NACK: start with *at = 0. Never more than 17 per 4 bytes. */
bool lk_rtcp_nack_next(const lk_rtcp_packet *p, size_t *at, uint16_t *seq);
/* SSRCs of a BYE: i < count. */
uint32_t lk_rtcp_bye_ssrc(const lk_rtcp_packet *p, size_t i);
/* Reason of a BYE, empty if none. */
lk_str lk_rtcp_bye_reason(const lk_rtcp_packet *p);
/* Walks SDES items: start with a zeroed walker. */
typedef struct lk_rtcp_sdes_walk {
    size_t at;
    bool in_chunk;
    uint32_t ssrc;
} lk_rtcp_sdes_walk;
bool lk_rtcp_sdes_next(const lk_rtcp_packet *p, lk_rtcp_sdes_walk *w, uint8_t *type, lk_str *text);
/* i-th FIR entry; false past the end. */
bool lk_rtcp_fir_at(const lk_rtcp_packet *p, size_t i, uint32_t *ssrc, uint8_t *seq);
/* REMB: bits per second and its SSRCs (i-th; count through n). */
uint64_t lk_rtcp_remb_bps(const lk_rtcp_packet *p);
size_t lk_rtcp_remb_count(const lk_rtcp_packet *p);
uint32_t lk_rtcp_remb_ssrc(const lk_rtcp_packet *p, size_t i);

/* ---- writers; append one packet to w, overflow sticky in w->bad ---- */
typedef struct lk_rtcp_sender_info {
    uint64_t ntp;
    uint32_t rtp_ts, packets, octets;
} lk_rtcp_sender_info;
void lk_rtcp_write_sr(lk_wr *w, uint32_t ssrc, const lk_rtcp_sender_info *info, const lk_rtcp_report *reports, size_t count);
void lk_rtcp_write_rr(lk_wr *w, uint32_t ssrc, const lk_rtcp_report *reports, size_t count);
void lk_rtcp_write_sdes_cname(lk_wr *w, uint32_t ssrc, const char *cname);
void lk_rtcp_write_bye(lk_wr *w, uint32_t ssrc);
/* seqs ascending (wrapping); packed into as few pairs as possible. */
void lk_rtcp_write_nack(lk_wr *w, uint32_t sender, uint32_t media, const uint16_t *seqs, size_t count);
void lk_rtcp_write_pli(lk_wr *w, uint32_t sender, uint32_t media);
void lk_rtcp_write_fir(lk_wr *w, uint32_t sender, uint32_t media, uint8_t seq);
void lk_rtcp_write_remb(lk_wr *w, uint32_t sender, uint64_t bps, const uint32_t *ssrcs, size_t count);

/* Packs ascending sequence numbers into [PID, BLP] pairs; returns how many, at most cap. [RFC4585 s6.2.1] */
size_t lk_rtcp_nack_pairs(const uint16_t *seqs, size_t count, uint16_t (*pairs)[2], size_t cap);

/* ---- NTP ---- */
/* Unix microseconds to 64-bit NTP and back; middle 32 bits as LSR uses them. [RFC3550 s4] */
uint64_t lk_ntp_from_unix_usec(int64_t unix_usec);
static inline uint32_t lk_ntp_mid32(uint64_t ntp) { return (uint32_t)(ntp >> 16); }
/* Round-trip time in 1/65536 s from A - LSR - DLSR; 0 when negative. [RFC3550 s6.4.1] */
uint32_t lk_ntp_rtt_q16(uint32_t now_mid32, uint32_t lsr, uint32_t dlsr);
