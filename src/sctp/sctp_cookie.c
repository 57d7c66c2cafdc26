// SPDX-License-Identifier: Apache-2.0
/* The state cookie: what the INIT said, with a keyed sum. [RFC9260 s5.1.3] The path is encrypted and has one peer, so the
 * sum only has to tell ours from noise: SipHash-2-4 with a key of the association. */
#include "sctp/sctp_internal.h"

static uint64_t rotl(uint64_t v, int n) { return (v << n) | (v >> (64 - n)); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t sip_word(const uint8_t *p, size_t n)
{
    uint64_t w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)p[i] << (8 * i);
    return w;
}

static uint64_t siphash(const uint64_t key[2], const uint8_t *data, size_t len)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                     key[1] ^ 0x7465646279746573u};
    for (size_t at = 0; at <= len; at += 8) {
        size_t n = LK_MIN(len - at, (size_t)8);
        uint64_t w = sip_word(data + at, n);
        if (n < 8)
            w |= (uint64_t)(len & 0xff) << 56;
        v[3] ^= w;
        sip_round(v);
        sip_round(v);
        v[0] ^= w;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void lk_sctp_cookie_write(const lk_sctp *s, const sctp_init_ack *a, lk_usec now, uint8_t out[SCTP_COOKIE_LEN])
{
    lk_wr w = lk_wr_of(out, SCTP_COOKIE_LEN);
    lk_wr_u64(&w, (uint64_t)now);
    lk_wr_u32(&w, s->tag);
    lk_wr_u32(&w, s->initial_tsn);
    lk_wr_u32(&w, a->peer_tag);
    lk_wr_u32(&w, a->peer_tsn);
    lk_wr_u32(&w, a->peer_rwnd);
    lk_wr_u16(&w, a->peer_in);
    lk_wr_u16(&w, a->peer_out);
    lk_wr_u8(&w, a->forward_tsn);
    lk_wr_u8(&w, a->reconfig);
    lk_wr_u8(&w, a->zero_checksum);
    lk_wr_zero(&w, SCTP_COOKIE_LEN - 8 - w.len);
    lk_wr_u64(&w, siphash(s->cookie_key, out, SCTP_COOKIE_LEN - 8));
}

lk_err lk_sctp_cookie_read(const lk_sctp *s, lk_usec now, const uint8_t *data, size_t len, sctp_init_ack *out)
{
    lk_rd r = lk_rd_of(data, len), sum = r;
    lk_rd_skip(&sum, SCTP_COOKIE_LEN - 8);
    if (len != SCTP_COOKIE_LEN || lk_rd_u64(&sum) != siphash(s->cookie_key, data, SCTP_COOKIE_LEN - 8))
        return LK_ERR_WIRE;
    lk_usec made_at = (lk_usec)lk_rd_u64(&r);
    if (lk_rd_u32(&r) != s->tag || lk_rd_u32(&r) != s->initial_tsn)
        return LK_ERR_WIRE;
    sctp_init_ack a = {.peer_tag = lk_rd_u32(&r)};
    a.peer_tsn = lk_rd_u32(&r);
    a.peer_rwnd = lk_rd_u32(&r);
    a.peer_in = lk_rd_u16(&r);
    a.peer_out = lk_rd_u16(&r);
    a.forward_tsn = lk_rd_u8(&r) != 0;
    a.reconfig = lk_rd_u8(&r) != 0;
    a.zero_checksum = lk_rd_u8(&r) != 0;
    if (r.bad)
        return LK_ERR_WIRE;
    *out = a;
    /* A repeated echo of the association that is up may be as old as it likes. */
    bool known = sctp_is_up(s) && a.peer_tag == s->peer_tag;
    return !known && now - made_at > SCTP_COOKIE_LIFE ? LK_ERR_TIMEOUT : LK_OK;
}
