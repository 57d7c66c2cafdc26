// SPDX-License-Identifier: Apache-2.0
#include "rtp/rtp.h"

#include "base/canary.h"

lk_err lk_rtp_parse(lk_rtp_packet *out, const uint8_t *data, size_t len)
{
    lk_rd r = lk_rd_of(data, len);
    lk_rtp_packet p = {0};
    uint8_t b0 = lk_rd_u8(&r), b1 = lk_rd_u8(&r);
    p.seq = lk_rd_u16(&r);
    p.ts = lk_rd_u32(&r);
    p.ssrc = lk_rd_u32(&r);
    p.marker = b1 >> 7;
    p.pt = b1 & 0x7f;
    p.csrc_count = b0 & 15;
    p.csrc = lk_rd_take(&r, 4u * p.csrc_count);
    if (r.bad || b0 >> 6 != 2 || len > LK_RTP_PACKET_MAX)
        return LK_ERR_WIRE;
    if (b0 & 0x10) {
        p.has_ext = true;
        p.ext_profile = lk_rd_u16(&r);
        p.ext_len = 4u * (size_t)lk_rd_u16(&r);
        p.ext = lk_rd_take(&r, p.ext_len);
    }
    if (r.bad)
        return LK_ERR_WIRE;
    p.header_len = len - lk_rd_left(&r);
    p.payload = r.at;
    p.payload_len = lk_rd_left(&r);
    if (b0 & 0x20) {
        if (p.payload_len == 0)
            return LK_ERR_WIRE;
        p.padding_len = data[len - 1];
        if (p.padding_len == 0 || p.padding_len > p.payload_len)
            return LK_ERR_WIRE;
        p.payload_len -= p.padding_len;
    }
    if (LK_CANARY_IS(LK_CANARY_OVERREAD) && p.padding_len)
        p.marker ^= data[len] & 1;
    *out = p;
    return LK_OK;
}

static bool next_one_byte(lk_rd *r, uint8_t *id, lk_bytes *value)
{
    while (lk_rd_left(r)) {
        uint8_t head = lk_rd_u8(r);
        *id = head >> 4;
        if (head == 0)
            continue; /* padding */
        if (*id == 15 || *id == 0)
            return false; /* ends the block [RFC8285 s4.2] */
        value->len = (head & 15u) + 1;
        value->data = lk_rd_take(r, value->len);
        return !r->bad;
    }
    return false;
}

static bool next_two_byte(lk_rd *r, uint8_t *id, lk_bytes *value)
{
    while (lk_rd_left(r)) {
        *id = lk_rd_u8(r);
        if (*id == 0)
            continue;
        value->len = lk_rd_u8(r);
        value->data = lk_rd_take(r, value->len);
        return !r->bad;
    }
    return false;
}

bool lk_rtp_ext_next(const lk_rtp_packet *p, size_t *at, uint8_t *id, lk_bytes *value)
{
    if (!p->has_ext || *at > p->ext_len)
        return false;
    lk_rd r = lk_rd_of(p->ext + *at, p->ext_len - *at);
    bool found = false;
    if (p->ext_profile == LK_RTP_PROFILE_ONE_BYTE)
        found = next_one_byte(&r, id, value);
    else if ((p->ext_profile & 0xfff0) == LK_RTP_PROFILE_TWO_BYTE)
        found = next_two_byte(&r, id, value);
    *at = p->ext_len - lk_rd_left(&r);
    return found;
}

bool lk_rtp_ext_find(const lk_rtp_packet *p, uint8_t id, lk_bytes *value)
{
    size_t at = 0;
    uint8_t found;
    if (id == 0)
        return false;
    while (lk_rtp_ext_next(p, &at, &found, value))
        if (found == id)
            return true;
    return false;
}

void lk_rtp_write_header(lk_wr *w, uint8_t pt, bool marker, uint16_t seq, uint32_t ts, uint32_t ssrc,
                         const lk_rtp_ext_out *ext, size_t ext_count)
{
    lk_wr_u8(w, (uint8_t)(0x80 | (ext_count ? 0x10 : 0)));
    lk_wr_u8(w, (uint8_t)((marker ? 0x80 : 0) | (pt & 0x7f)));
    lk_wr_u16(w, seq);
    lk_wr_u32(w, ts);
    lk_wr_u32(w, ssrc);
    if (!ext_count)
        return;
    lk_wr_u16(w, LK_RTP_PROFILE_ONE_BYTE);
    size_t words_at = w->len;
    lk_wr_u16(w, 0);
    for (size_t i = 0; i < ext_count; i++) {
        if (ext[i].id < 1 || ext[i].id > 14 || ext[i].len < 1 || ext[i].len > 16) {
            w->bad = true;
            return;
        }
        lk_wr_u8(w, (uint8_t)(ext[i].id << 4 | (ext[i].len - 1)));
        lk_wr_put(w, ext[i].value, ext[i].len);
    }
    lk_wr_zero(w, (4 - (w->len - words_at - 2) % 4) % 4);
    lk_wr_patch_u16(w, words_at, (uint16_t)((w->len - words_at - 2) / 4));
}
