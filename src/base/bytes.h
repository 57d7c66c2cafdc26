// SPDX-License-Identifier: Apache-2.0
/* base/bytes.h - cursors over peer bytes with a sticky error, checked once at the end.
 * Raw pointer walking over peer bytes exists only here. Network byte order. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lk_bytes {
    const uint8_t *data;
    size_t len;
} lk_bytes;

typedef struct lk_rd {
    const uint8_t *at, *end;
    bool bad;
} lk_rd;

static inline lk_rd lk_rd_of(const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    return (lk_rd){p, p ? p + len : p, false};
}
static inline size_t lk_rd_left(const lk_rd *r)
{
    return (size_t)(r->end - r->at);
}
/* Borrow n bytes and step over them; NULL and bad when fewer are left. */
const uint8_t *lk_rd_take(lk_rd *r, size_t n);
uint8_t lk_rd_u8(lk_rd *r);
uint16_t lk_rd_u16(lk_rd *r);
uint32_t lk_rd_u24(lk_rd *r);
uint32_t lk_rd_u32(lk_rd *r);
uint64_t lk_rd_u64(lk_rd *r);
void lk_rd_skip(lk_rd *r, size_t n);

/* Writer into a caller's buffer; overflow sets bad and writes nothing more. */
typedef struct lk_wr {
    uint8_t *data;
    size_t cap, len;
    bool bad;
} lk_wr;

static inline lk_wr lk_wr_of(void *data, size_t cap)
{
    return (lk_wr){(uint8_t *)data, cap, 0, false};
}
uint8_t *lk_wr_reserve(lk_wr *w, size_t n); /* NULL and bad when it does not fit */
void lk_wr_u8(lk_wr *w, uint8_t v);
void lk_wr_u16(lk_wr *w, uint16_t v);
void lk_wr_u24(lk_wr *w, uint32_t v);
void lk_wr_u32(lk_wr *w, uint32_t v);
void lk_wr_u64(lk_wr *w, uint64_t v);
void lk_wr_put(lk_wr *w, const void *data, size_t n);
void lk_wr_zero(lk_wr *w, size_t n);
/* Overwrite two bytes written before at offset pos. */
void lk_wr_patch_u16(lk_wr *w, size_t pos, uint16_t v);

static inline uint16_t lk_get_u16(const uint8_t *p) { return (uint16_t)((p[0] << 8) | p[1]); }
static inline uint32_t lk_get_u32(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}
static inline void lk_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void lk_put_u32(uint8_t *p, uint32_t v)
{
    lk_put_u16(p, (uint16_t)(v >> 16));
    lk_put_u16(p + 2, (uint16_t)v);
}

/* 0 if equal; time depends only on n. */
int lk_memcmp_ct(const void *a, const void *b, size_t n);

uint32_t lk_crc32(const void *data, size_t len);   /* IEEE 802.3, as STUN FINGERPRINT uses it */
uint32_t lk_crc32c(const void *data, size_t len);  /* Castagnoli, as SCTP uses it [RFC9260 sA] */
/* The same over bytes in several places: crc is what the part before gave, 0 for the first. */
uint32_t lk_crc32c_part(uint32_t crc, const void *data, size_t len);
