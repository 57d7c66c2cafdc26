// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <string.h>

const uint8_t *lk_rd_take(lk_rd *r, size_t n)
{
    if (r->bad || lk_rd_left(r) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

static uint64_t take_number(lk_rd *r, size_t n)
{
    const uint8_t *p = lk_rd_take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v = (v << 8) | p[i];
    return v;
}

uint8_t lk_rd_u8(lk_rd *r) { return (uint8_t)take_number(r, 1); }
uint16_t lk_rd_u16(lk_rd *r) { return (uint16_t)take_number(r, 2); }
uint32_t lk_rd_u24(lk_rd *r) { return (uint32_t)take_number(r, 3); }
uint32_t lk_rd_u32(lk_rd *r) { return (uint32_t)take_number(r, 4); }
uint64_t lk_rd_u64(lk_rd *r) { return take_number(r, 8); }
void lk_rd_skip(lk_rd *r, size_t n) { (void)lk_rd_take(r, n); }

uint8_t *lk_wr_reserve(lk_wr *w, size_t n)
{
    if (w->bad || w->cap - w->len < n) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->data + w->len;
    w->len += n;
    return p;
}

static void put_number(lk_wr *w, uint64_t v, size_t n)
{
    uint8_t *p = lk_wr_reserve(w, n);
    for (size_t i = 0; p && i < n; i++)
        p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

void lk_wr_u8(lk_wr *w, uint8_t v) { put_number(w, v, 1); }
void lk_wr_u16(lk_wr *w, uint16_t v) { put_number(w, v, 2); }
void lk_wr_u24(lk_wr *w, uint32_t v) { put_number(w, v, 3); }
void lk_wr_u32(lk_wr *w, uint32_t v) { put_number(w, v, 4); }
void lk_wr_u64(lk_wr *w, uint64_t v) { put_number(w, v, 8); }

void lk_wr_put(lk_wr *w, const void *data, size_t n)
{
    uint8_t *p = lk_wr_reserve(w, n);
    if (p && n)
        memcpy(p, data, n);
}

void lk_wr_zero(lk_wr *w, size_t n)
{
    uint8_t *p = lk_wr_reserve(w, n);
    if (p && n)
        memset(p, 0, n);
}

void lk_wr_patch_u16(lk_wr *w, size_t pos, uint16_t v)
{
    if (!w->bad && pos + 2 <= w->len)
        lk_put_u16(w->data + pos, v);
}

int lk_memcmp_ct(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = (const volatile uint8_t *)a, *y = (const volatile uint8_t *)b;
    uint8_t diff = 0;
    for (size_t i = 0; i < n; i++)
        diff |= (uint8_t)(x[i] ^ y[i]);
    return diff;
}

/* Nibble tables: 64 bytes each, fast enough for control packets. */
static uint32_t crc_update(uint32_t poly, uint32_t before, const uint8_t *p, size_t len)
{
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int k = 0; k < 4; k++)
            c = (c >> 1) ^ ((c & 1) ? poly : 0);
        table[i] = c;
    }
    uint32_t crc = ~before;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

uint32_t lk_crc32(const void *data, size_t len)
{
    return crc_update(0xedb88320u, 0, (const uint8_t *)data, len);
}

uint32_t lk_crc32c(const void *data, size_t len)
{
    return lk_crc32c_part(0, data, len);
}

uint32_t lk_crc32c_part(uint32_t crc, const void *data, size_t len)
{
    return crc_update(0x82f63b78u, crc, (const uint8_t *)data, len);
}
