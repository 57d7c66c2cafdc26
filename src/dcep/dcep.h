// SPDX-License-Identifier: Apache-2.0
/* dcep/dcep.h - the two messages that open a data channel. [RFC8832]
 *
 * In:      bytes of a message with PPID 50.
 * Out:     its fields, borrowed; or the bytes of one.
 * Owner:   stateless.
 * Limits:  labels and protocols up to 65,535 bytes, as the format has it.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

/* Payload protocol identifiers. [RFC8831 s8] */
#define LK_PPID_DCEP 50u
#define LK_PPID_STRING 51u
#define LK_PPID_BINARY 53u
#define LK_PPID_STRING_EMPTY 56u
#define LK_PPID_BINARY_EMPTY 57u

typedef enum lk_dcep_type { LK_DCEP_ACK = 0x02, LK_DCEP_OPEN = 0x03 } lk_dcep_type;
typedef struct lk_dcep {
    lk_dcep_type type;
    /* OPEN only */
    bool unordered, limit_retransmits, limit_lifetime;
    uint16_t priority;
    uint32_t reliability; /* retransmissions or milliseconds */
    lk_str label, protocol; /* not checked for UTF-8 */
} lk_dcep;
/* WIRE: unknown type or channel type, lengths that do not fit. */
LK_NODISCARD lk_err lk_dcep_parse(lk_dcep *out, const uint8_t *data, size_t len);
/* FULL: cap too small; LIMIT: label or protocol too long. */
LK_NODISCARD lk_err lk_dcep_write(const lk_dcep *m, uint8_t *out, size_t cap, size_t *len);
