// SPDX-License-Identifier: Apache-2.0
/* stun/stun.h - STUN messages: parse, check, write. [RFC8489] [RFC8445 s7]
 *
 * In:      one datagram, borrowed.
 * Out:     a view of its attributes; checks of MESSAGE-INTEGRITY and FINGERPRINT; a writer.
 * Owner:   values on the stack; any thread; no allocation.
 * Limits:  20..1500 bytes, 24 attributes kept (all are walked).
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_STUN_COOKIE 0x2112A442u /* [RFC8489 s5] */
#define LK_STUN_TID_LEN 12
#define LK_STUN_HEADER_LEN 20
#define LK_STUN_LEN_MAX 1500
#define LK_STUN_ATTRS_MAX 24

typedef enum lk_stun_class {
    LK_STUN_REQUEST = 0,
    LK_STUN_INDICATION = 1,
    LK_STUN_SUCCESS = 2,
    LK_STUN_ERROR = 3,
} lk_stun_class;

enum { LK_STUN_BINDING = 0x001 };

enum lk_stun_attr_type {
    LK_STUN_MAPPED_ADDRESS = 0x0001,
    LK_STUN_USERNAME = 0x0006,
    LK_STUN_MESSAGE_INTEGRITY = 0x0008,
    LK_STUN_ERROR_CODE = 0x0009,
    LK_STUN_UNKNOWN_ATTRIBUTES = 0x000A,
    LK_STUN_REALM = 0x0014,
    LK_STUN_NONCE = 0x0015,
    LK_STUN_MESSAGE_INTEGRITY_SHA256 = 0x001C,
    LK_STUN_XOR_MAPPED_ADDRESS = 0x0020,
    LK_STUN_PRIORITY = 0x0024,
    LK_STUN_USE_CANDIDATE = 0x0025,
    LK_STUN_SOFTWARE = 0x8022,
    LK_STUN_FINGERPRINT = 0x8028,
    LK_STUN_ICE_CONTROLLED = 0x8029,
    LK_STUN_ICE_CONTROLLING = 0x802A,
};

typedef struct lk_stun_attr {
    uint16_t type, len;
    const uint8_t *value;
} lk_stun_attr;

typedef struct lk_stun_msg {
    const uint8_t *data;
    size_t len;
    uint16_t method;
    lk_stun_class cls;
    uint8_t tid[LK_STUN_TID_LEN];
    lk_stun_attr attrs[LK_STUN_ATTRS_MAX];
    size_t attr_count;
    /* Offset of the attribute header, 0 = absent. Attributes after the first integrity are not kept. */
    size_t integrity_at, integrity256_at, fingerprint_at;
} lk_stun_msg;

typedef enum lk_stun_check { LK_STUN_CHECK_ABSENT, LK_STUN_CHECK_OK, LK_STUN_CHECK_FAIL } lk_stun_check;

/* LK_ERR_WIRE unless the whole datagram is one well-formed message. Borrows data. */
LK_NODISCARD lk_err lk_stun_parse(lk_stun_msg *out, const uint8_t *data, size_t len);
/* First attribute of that type in front of the integrity, or NULL. */
const lk_stun_attr *lk_stun_find(const lk_stun_msg *m, uint16_t type);
/* A comprehension-required attribute (type < 0x8000) that this module does not know, 0 if none. [RFC8489 s6.3.1] */
uint16_t lk_stun_unknown_required(const lk_stun_msg *m);
lk_stun_check lk_stun_check_integrity(const lk_stun_msg *m, const void *key, size_t key_len);
lk_stun_check lk_stun_check_integrity256(const lk_stun_msg *m, const void *key, size_t key_len);
lk_stun_check lk_stun_check_fingerprint(const lk_stun_msg *m);
/* Decodes (XOR-)MAPPED-ADDRESS; false when malformed. */
bool lk_stun_addr(const lk_stun_msg *m, const lk_stun_attr *a, bool is_xor, lk_addr *out);
bool lk_stun_u32(const lk_stun_attr *a, uint32_t *out);
bool lk_stun_u64(const lk_stun_attr *a, uint64_t *out);
/* Code 300..699, 0 when malformed. */
int lk_stun_error_code(const lk_stun_attr *a);

/* Writer: begin, attributes, then integrity and fingerprint, in that order. Overflow is sticky in w->bad. */
void lk_stun_begin(lk_wr *w, uint16_t method, lk_stun_class cls, const uint8_t tid[LK_STUN_TID_LEN]);
void lk_stun_put(lk_wr *w, uint16_t type, const void *value, size_t len);
void lk_stun_put_u32(lk_wr *w, uint16_t type, uint32_t v);
void lk_stun_put_u64(lk_wr *w, uint16_t type, uint64_t v);
void lk_stun_put_xor_addr(lk_wr *w, uint16_t type, const lk_addr *a);
void lk_stun_put_error(lk_wr *w, int code, const char *reason);
void lk_stun_put_integrity(lk_wr *w, const void *key, size_t key_len);
void lk_stun_put_fingerprint(lk_wr *w);
