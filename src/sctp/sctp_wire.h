// SPDX-License-Identifier: Apache-2.0
/* sctp/sctp_wire.h - packets, chunks and parameters of SCTP: bytes to structs and back. [RFC9260 s3]
 *
 * In:      bytes of a packet.
 * Out:     its chunks, borrowed.
 * Owner:   stateless.
 * Limits:  none; every walk ends with the bytes.
 * Deviates: padding missing at the end of a packet is forgiven.
 */
#pragma once
#include "base/lk_base.h"

#define SCTP_HEADER_LEN 12u
#define SCTP_CHUNK_HEAD 4u
#define SCTP_DATA_HEAD 16u
#define SCTP_INIT_LEN 16u /* of its value, without parameters */

typedef enum lk_sctp_chunk_type { /* [RFC9260 s3.2] */
    SCTP_DATA = 0,
    SCTP_INIT = 1,
    SCTP_INIT_ACK = 2,
    SCTP_SACK = 3,
    SCTP_HEARTBEAT = 4,
    SCTP_HEARTBEAT_ACK = 5,
    SCTP_ABORT = 6,
    SCTP_SHUTDOWN = 7,
    SCTP_SHUTDOWN_ACK = 8,
    SCTP_ERROR = 9,
    SCTP_COOKIE_ECHO = 10,
    SCTP_COOKIE_ACK = 11,
    SCTP_SHUTDOWN_COMPLETE = 14,
    SCTP_RECONFIG = 130,    /* [RFC6525 s3.1] */
    SCTP_FORWARD_TSN = 192, /* [RFC3758 s3.2] */
} lk_sctp_chunk_type;

#define SCTP_DATA_END 0x01
#define SCTP_DATA_BEGIN 0x02
#define SCTP_DATA_UNORDERED 0x04
#define SCTP_DATA_IMMEDIATE 0x08 /* [RFC7053] */
#define SCTP_FLAG_T 0x01         /* ABORT, SHUTDOWN COMPLETE: the tag is the sender's own */

typedef enum lk_sctp_param_type {
    SCTP_PARAM_COOKIE = 7,
    SCTP_PARAM_OUTGOING_RESET = 13, /* [RFC6525 s4] */
    SCTP_PARAM_INCOMING_RESET = 14,
    SCTP_PARAM_TSN_RESET = 15,
    SCTP_PARAM_RESPONSE = 16,
    SCTP_PARAM_ADD_OUTGOING = 17,
    SCTP_PARAM_ADD_INCOMING = 18,
    SCTP_PARAM_ZERO_CHECKSUM = 0x8001, /* [RFC9653 s4] */
    SCTP_PARAM_EXTENSIONS = 0x8008,    /* [RFC5061 s4.2.7] */
    SCTP_PARAM_FORWARD_TSN = 0xC000,   /* [RFC3758 s3.1] */
} lk_sctp_param_type;
#define SCTP_CAUSE_STALE_COOKIE 3
#define SCTP_ZERO_CHECKSUM_DTLS 1 /* error detection method */

typedef struct lk_sctp_packet {
    uint16_t source, destination;
    uint32_t tag;
    lk_rd chunks;
} lk_sctp_packet;
/* accept_zero: a checksum of zero stands for none [RFC9653 s5.3]. WIRE: shorter than the common header, wrong checksum. */
LK_NODISCARD lk_err lk_sctp_packet_parse(lk_sctp_packet *out, const uint8_t *data, size_t len, bool accept_zero);

typedef struct lk_sctp_chunk {
    uint8_t type, flags;
    const uint8_t *value;
    size_t len; /* of the value, without padding */
} lk_sctp_chunk;
/* Next chunk; false at the end, with r->bad when the rest is no chunk. */
bool lk_sctp_chunk_next(lk_rd *r, lk_sctp_chunk *out);

typedef struct lk_sctp_param {
    uint16_t type;
    const uint8_t *value;
    size_t len;
} lk_sctp_param;
bool lk_sctp_param_next(lk_rd *r, lk_sctp_param *out);

/* INIT and INIT ACK. */
typedef struct lk_sctp_init {
    uint32_t tag, rwnd_bytes, tsn;
    uint16_t streams_out, streams_in;
    bool forward_tsn, reconfig, zero_checksum;
    lk_bytes cookie; /* INIT ACK */
} lk_sctp_init;
/* WIRE: cut, tag 0, no streams, a parameter that does not fit. */
LK_NODISCARD lk_err lk_sctp_init_parse(lk_sctp_init *out, const lk_sctp_chunk *c);

typedef struct lk_sctp_data {
    uint32_t tsn, ppid;
    uint16_t stream, ssn;
    const uint8_t *data;
    size_t len;
} lk_sctp_data;
/* WIRE: cut or empty. */
LK_NODISCARD lk_err lk_sctp_data_parse(lk_sctp_data *out, const lk_sctp_chunk *c);

typedef struct lk_sctp_sack {
    uint32_t cumulative, rwnd_bytes;
    uint16_t gap_count, duplicate_count;
    lk_rd gaps; /* gap_count pairs of u16, then duplicate_count u32 */
} lk_sctp_sack;
/* WIRE: cut, or counts that promise more than there is. */
LK_NODISCARD lk_err lk_sctp_sack_parse(lk_sctp_sack *out, const lk_sctp_chunk *c);

/* Head of a chunk; give what it returns to lk_sctp_chunk_end, which writes length and padding. */
size_t lk_sctp_chunk_begin(lk_wr *w, uint8_t type, uint8_t flags);
void lk_sctp_chunk_end(lk_wr *w, size_t at);
/* Common header with checksum 0; lk_sctp_packet_seal puts the right one there. */
void lk_sctp_packet_begin(lk_wr *w, uint16_t source, uint16_t destination, uint32_t tag);
void lk_sctp_packet_seal(lk_wr *w);
