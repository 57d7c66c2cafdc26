// SPDX-License-Identifier: Apache-2.0
#include "stun/stun.h"

#include "crypto/crypto.h"

#define FINGERPRINT_XOR 0x5354554eu /* [RFC8489 s14.7] */

/* Only what the parser itself steps on; who reads an attribute looks at its length. */
static bool length_fits(uint16_t type, size_t len)
{
    switch (type) {
    case LK_STUN_MESSAGE_INTEGRITY: return len == 20;
    case LK_STUN_MESSAGE_INTEGRITY_SHA256: return len >= 16 && len <= 32 && len % 4 == 0;
    case LK_STUN_FINGERPRINT: return len == 4;
    default: return true;
    }
}

lk_err lk_stun_parse(lk_stun_msg *out, const uint8_t *data, size_t len)
{
    lk_rd r = lk_rd_of(data, len);
    uint16_t type = lk_rd_u16(&r), body = lk_rd_u16(&r);
    uint32_t cookie = lk_rd_u32(&r);
    const uint8_t *tid = lk_rd_take(&r, LK_STUN_TID_LEN);
    if (r.bad || len > LK_STUN_LEN_MAX || (type & 0xC000) != 0 || cookie != LK_STUN_COOKIE || body % 4 != 0 ||
        body != lk_rd_left(&r))
        return LK_ERR_WIRE; /* [RFC8489 s5] */
    *out = (lk_stun_msg){.data = data, .len = len};
    out->method = (uint16_t)((type & 0x000F) | ((type & 0x00E0) >> 1) | ((type & 0x3E00) >> 2));
    out->cls = (lk_stun_class)(((type >> 4) & 1) | ((type >> 7) & 2));
    memcpy(out->tid, tid, LK_STUN_TID_LEN);
    while (lk_rd_left(&r)) {
        size_t at = len - lk_rd_left(&r);
        lk_stun_attr a = {.type = lk_rd_u16(&r), .len = lk_rd_u16(&r)};
        a.value = lk_rd_take(&r, a.len);
        lk_rd_skip(&r, (4u - a.len % 4u) % 4u);
        if (r.bad || out->fingerprint_at || !length_fits(a.type, a.len))
            return LK_ERR_WIRE; /* nothing may follow FINGERPRINT */
        bool covered = out->integrity_at || out->integrity256_at;
        if (a.type == LK_STUN_FINGERPRINT)
            out->fingerprint_at = at;
        else if (a.type == LK_STUN_MESSAGE_INTEGRITY_SHA256 && !out->integrity256_at)
            out->integrity256_at = at;
        else if (a.type == LK_STUN_MESSAGE_INTEGRITY && !covered)
            out->integrity_at = at;
        else if (covered)
            continue; /* unauthenticated: ignored [RFC8489 s14.5] */
        if (out->attr_count < LK_STUN_ATTRS_MAX)
            out->attrs[out->attr_count++] = a;
    }
    return LK_OK;
}

const lk_stun_attr *lk_stun_find(const lk_stun_msg *m, uint16_t type)
{
    for (size_t i = 0; i < m->attr_count; i++)
        if (m->attrs[i].type == type)
            return &m->attrs[i];
    return NULL;
}

uint16_t lk_stun_unknown_required(const lk_stun_msg *m)
{
    static const uint16_t known[] = {
        LK_STUN_MAPPED_ADDRESS, LK_STUN_USERNAME,   LK_STUN_MESSAGE_INTEGRITY,
        LK_STUN_ERROR_CODE,     LK_STUN_UNKNOWN_ATTRIBUTES, LK_STUN_REALM, LK_STUN_NONCE,
        LK_STUN_MESSAGE_INTEGRITY_SHA256, LK_STUN_XOR_MAPPED_ADDRESS, LK_STUN_PRIORITY, LK_STUN_USE_CANDIDATE,
    };
    for (size_t i = 0; i < m->attr_count; i++) {
        bool found = m->attrs[i].type >= 0x8000;
        for (size_t k = 0; !found && k < LK_LEN(known); k++)
            found = known[k] == m->attrs[i].type;
        if (!found)
            return m->attrs[i].type;
    }
    return 0;
}

/* The digest covers the message up to the attribute, its length field as if the attribute were last. */
static size_t covered_copy(const lk_stun_msg *m, size_t at, size_t attr_len, uint8_t *copy)
{
    memcpy(copy, m->data, at);
    lk_put_u16(copy + 2, (uint16_t)(at - LK_STUN_HEADER_LEN + 4 + attr_len));
    return at;
}

lk_stun_check lk_stun_check_integrity(const lk_stun_msg *m, const void *key, size_t key_len)
{
    uint8_t copy[LK_STUN_LEN_MAX], mac[LK_SHA1_LEN];
    if (!m->integrity_at)
        return LK_STUN_CHECK_ABSENT;
    size_t n = covered_copy(m, m->integrity_at, 20, copy);
    if (lk_hmac_sha1(key, key_len, copy, n, mac) != LK_OK)
        return LK_STUN_CHECK_FAIL;
    return lk_memcmp_ct(mac, m->data + m->integrity_at + 4, 20) == 0 ? LK_STUN_CHECK_OK : LK_STUN_CHECK_FAIL;
}

lk_stun_check lk_stun_check_integrity256(const lk_stun_msg *m, const void *key, size_t key_len)
{
    uint8_t copy[LK_STUN_LEN_MAX], mac[LK_SHA256_LEN];
    if (!m->integrity256_at)
        return LK_STUN_CHECK_ABSENT;
    size_t mac_len = lk_get_u16(m->data + m->integrity256_at + 2);
    size_t n = covered_copy(m, m->integrity256_at, mac_len, copy);
    if (lk_hmac_sha256(key, key_len, copy, n, mac) != LK_OK)
        return LK_STUN_CHECK_FAIL;
    return lk_memcmp_ct(mac, m->data + m->integrity256_at + 4, mac_len) == 0 ? LK_STUN_CHECK_OK : LK_STUN_CHECK_FAIL;
}

lk_stun_check lk_stun_check_fingerprint(const lk_stun_msg *m)
{
    uint8_t copy[LK_STUN_LEN_MAX];
    if (!m->fingerprint_at)
        return LK_STUN_CHECK_ABSENT;
    size_t n = covered_copy(m, m->fingerprint_at, 4, copy);
    uint32_t want = lk_crc32(copy, n) ^ FINGERPRINT_XOR;
    return want == lk_get_u32(m->data + m->fingerprint_at + 4) ? LK_STUN_CHECK_OK : LK_STUN_CHECK_FAIL;
}

static void xor_addr(lk_addr *a, const uint8_t tid[LK_STUN_TID_LEN])
{
    uint8_t mask[16];
    lk_put_u32(mask, LK_STUN_COOKIE);
    memcpy(mask + 4, tid, LK_STUN_TID_LEN);
    a->port = (uint16_t)(a->port ^ (LK_STUN_COOKIE >> 16));
    for (size_t i = 0; i < (a->family == 4 ? 4u : 16u); i++)
        a->ip[i] ^= mask[i];
}

bool lk_stun_addr(const lk_stun_msg *m, const lk_stun_attr *a, bool is_xor, lk_addr *out)
{
    lk_rd r = lk_rd_of(a->value, a->len);
    lk_addr addr = {0};
    lk_rd_skip(&r, 1);
    uint8_t family = lk_rd_u8(&r);
    addr.port = lk_rd_u16(&r);
    size_t n = family == 1 ? 4 : family == 2 ? 16 : 0;
    const uint8_t *ip = lk_rd_take(&r, n);
    if (r.bad || n == 0 || lk_rd_left(&r))
        return false;
    addr.family = family == 1 ? 4 : 6;
    memcpy(addr.ip, ip, n);
    if (is_xor)
        xor_addr(&addr, m->tid);
    *out = addr;
    return true;
}

bool lk_stun_u32(const lk_stun_attr *a, uint32_t *out)
{
    lk_rd r = lk_rd_of(a->value, a->len);
    uint32_t v = lk_rd_u32(&r);
    if (r.bad || lk_rd_left(&r))
        return false;
    *out = v;
    return true;
}

bool lk_stun_u64(const lk_stun_attr *a, uint64_t *out)
{
    lk_rd r = lk_rd_of(a->value, a->len);
    uint64_t v = lk_rd_u64(&r);
    if (r.bad || lk_rd_left(&r))
        return false;
    *out = v;
    return true;
}

int lk_stun_error_code(const lk_stun_attr *a)
{
    lk_rd r = lk_rd_of(a->value, a->len);
    lk_rd_skip(&r, 2);
    int hundreds = lk_rd_u8(&r) & 7, rest = lk_rd_u8(&r);
    return r.bad || hundreds < 3 || hundreds > 6 || rest > 99 ? 0 : hundreds * 100 + rest;
}

void lk_stun_begin(lk_wr *w, uint16_t method, lk_stun_class cls, const uint8_t tid[LK_STUN_TID_LEN])
{
    unsigned c = (unsigned)cls;
    lk_wr_u16(w, (uint16_t)((method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2) | ((c & 1) << 4) |
                            ((c & 2) << 7)));
    lk_wr_u16(w, 0);
    lk_wr_u32(w, LK_STUN_COOKIE);
    lk_wr_put(w, tid, LK_STUN_TID_LEN);
}

void lk_stun_put(lk_wr *w, uint16_t type, const void *value, size_t len)
{
    lk_wr_u16(w, type);
    lk_wr_u16(w, (uint16_t)len);
    lk_wr_put(w, value, len);
    lk_wr_zero(w, (4 - len % 4) % 4);
    lk_wr_patch_u16(w, 2, (uint16_t)(w->len - LK_STUN_HEADER_LEN));
}

void lk_stun_put_u32(lk_wr *w, uint16_t type, uint32_t v)
{
    uint8_t b[4];
    lk_put_u32(b, v);
    lk_stun_put(w, type, b, sizeof b);
}

void lk_stun_put_u64(lk_wr *w, uint16_t type, uint64_t v)
{
    uint8_t b[8];
    lk_put_u32(b, (uint32_t)(v >> 32));
    lk_put_u32(b + 4, (uint32_t)v);
    lk_stun_put(w, type, b, sizeof b);
}

void lk_stun_put_xor_addr(lk_wr *w, uint16_t type, const lk_addr *a)
{
    uint8_t b[20] = {0, a->family == 4 ? 1 : 2};
    lk_addr masked = *a;
    if (w->bad || w->len < LK_STUN_HEADER_LEN) {
        w->bad = true;
        return;
    }
    xor_addr(&masked, w->data + 8);
    lk_put_u16(b + 2, masked.port);
    memcpy(b + 4, masked.ip, 16);
    lk_stun_put(w, type, b, a->family == 4 ? 8 : 20);
}

void lk_stun_put_error(lk_wr *w, int code, const char *reason)
{
    uint8_t b[68] = {0, 0, (uint8_t)(code / 100), (uint8_t)(code % 100)};
    size_t n = LK_MIN(strlen(reason), sizeof b - 4);
    memcpy(b + 4, reason, n);
    lk_stun_put(w, LK_STUN_ERROR_CODE, b, 4 + n);
}

void lk_stun_put_integrity(lk_wr *w, const void *key, size_t key_len)
{
    uint8_t mac[LK_SHA1_LEN];
    if (w->bad)
        return;
    lk_wr_patch_u16(w, 2, (uint16_t)(w->len - LK_STUN_HEADER_LEN + 24));
    if (lk_hmac_sha1(key, key_len, w->data, w->len, mac) != LK_OK) {
        w->bad = true;
        return;
    }
    lk_stun_put(w, LK_STUN_MESSAGE_INTEGRITY, mac, sizeof mac);
}

void lk_stun_put_fingerprint(lk_wr *w)
{
    if (w->bad)
        return;
    lk_wr_patch_u16(w, 2, (uint16_t)(w->len - LK_STUN_HEADER_LEN + 8));
    lk_stun_put_u32(w, LK_STUN_FINGERPRINT, lk_crc32(w->data, w->len) ^ FINGERPRINT_XOR);
}
