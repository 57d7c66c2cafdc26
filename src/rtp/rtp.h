// SPDX-License-Identifier: Apache-2.0
/* rtp/rtp.h - RTP packets: parse into a view, write from a description. [RFC3550 s5.1] [RFC8285]
 *
 * In:      one datagram, borrowed.
 * Out:     a view of its parts; header-extension elements looked up by negotiated id; a writer.
 * Owner:   values on the stack; any thread; no allocation.
 * Limits:  12..1500 bytes; sums in size_t, never 16 bit.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_PACKET_MAX 1500
#define LK_RTP_HEADER_LEN 12
#define LK_RTP_PROFILE_ONE_BYTE 0xBEDE
#define LK_RTP_PROFILE_TWO_BYTE 0x1000 /* upper 12 bits */

typedef struct lk_rtp_packet {
    uint8_t pt, csrc_count;
    bool marker, has_ext;
    uint16_t seq;
    uint32_t ts, ssrc;
    const uint8_t *csrc; /* 4 bytes each */
    uint16_t ext_profile;
    const uint8_t *ext; /* block after its 4-byte head */
    size_t ext_len;
    const uint8_t *payload;
    size_t payload_len, padding_len, header_len;
} lk_rtp_packet;

/* WIRE unless header + payload + padding fill the datagram exactly. */
LK_NODISCARD lk_err lk_rtp_parse(lk_rtp_packet *out, const uint8_t *data, size_t len);

/* Walks one- or two-byte elements. Start with *at = 0; false at the end or where the block is malformed. */
bool lk_rtp_ext_next(const lk_rtp_packet *p, size_t *at, uint8_t *id, lk_bytes *value);
/* First element with that id (1..255); false if absent or another profile. */
bool lk_rtp_ext_find(const lk_rtp_packet *p, uint8_t id, lk_bytes *value);

typedef struct lk_rtp_ext_out {
    uint8_t id;  /* 1..14 */
    uint8_t len; /* 1..16 */
    const uint8_t *value;
} lk_rtp_ext_out;

/* Header with a one-byte extension block; payload follows by the caller. Overflow is sticky in w->bad. */
void lk_rtp_write_header(lk_wr *w, uint8_t pt, bool marker, uint16_t seq, uint32_t ts, uint32_t ssrc,
                         const lk_rtp_ext_out *ext, size_t ext_count);
