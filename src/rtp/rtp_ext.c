// SPDX-License-Identifier: Apache-2.0
#include "rtp/rtp_ext.h"

bool lk_rtp_ext_audio_level(lk_bytes v, uint8_t *level, bool *voice)
{
    if (v.len < 1)
        return false;
    *level = v.data[0] & 0x7f;
    *voice = (v.data[0] & 0x80) != 0;
    return true;
}

bool lk_rtp_ext_abs_send_time(lk_bytes v, uint32_t *q18)
{
    lk_rd r = lk_rd_of(v.data, v.len);
    uint32_t t = lk_rd_u24(&r);
    if (!r.bad)
        *q18 = t;
    return !r.bad;
}

bool lk_rtp_ext_transport_seq(lk_bytes v, uint16_t *seq)
{
    lk_rd r = lk_rd_of(v.data, v.len);
    uint16_t s = lk_rd_u16(&r);
    if (!r.bad)
        *seq = s;
    return !r.bad;
}

bool lk_rtp_ext_playout_delay(lk_bytes v, uint16_t *min_10msec, uint16_t *max_10msec)
{
    lk_rd r = lk_rd_of(v.data, v.len);
    uint32_t both = lk_rd_u24(&r);
    if (r.bad)
        return false;
    *min_10msec = (uint16_t)(both >> 12);
    *max_10msec = (uint16_t)(both & 0xfff);
    return true;
}

bool lk_rtp_ext_capture_time(lk_bytes v, uint64_t *ntp)
{
    lk_rd r = lk_rd_of(v.data, v.len);
    uint64_t t = lk_rd_u64(&r);
    if (!r.bad)
        *ntp = t;
    return !r.bad;
}

bool lk_rtp_ext_orientation(lk_bytes v, lk_rtp_orientation *out)
{
    if (v.len < 1)
        return false;
    *out = (lk_rtp_orientation){(v.data[0] & 8) != 0, (v.data[0] & 4) != 0, (uint16_t)((v.data[0] & 3) * 90)};
    return true;
}

bool lk_rtp_ext_sdes(lk_bytes v, lk_str *text)
{
    if (v.len < 1 || v.len > LK_RTP_SDES_MAX)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        uint8_t c = v.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!good)
            return false;
    }
    *text = (lk_str){(const char *)v.data, v.len};
    return true;
}

static uint32_t leb128(lk_rd *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t b = lk_rd_u8(r);
        value |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (value > UINT32_MAX)
                r->bad = true;
            return (uint32_t)value;
        }
    }
    r->bad = true;
    return 0;
}

bool lk_rtp_ext_layers(lk_bytes v, lk_rtp_layers *out)
{
    lk_rd r = lk_rd_of(v.data, v.len);
    uint8_t head = lk_rd_u8(&r), masks[4];
    *out = (lk_rtp_layers){.rid = head >> 6, .streams = (uint8_t)(((head >> 4) & 3) + 1)};
    if (v.len == 1 && head == 0) { /* nothing is sent */
        out->streams = 0;
        return true;
    }
    memset(masks, head & 15, sizeof masks);
    if ((head & 15) == 0) /* a mask for each stream, two in a byte */
        for (size_t i = 0; i < out->streams; i += 2) {
            uint8_t both = lk_rd_u8(&r);
            masks[i] = both >> 4;
            masks[i + 1] = both & 15;
        }
    for (uint8_t s = 0; s < out->streams; s++)
        for (uint8_t l = 0; l < 4; l++)
            if (masks[s] & (1u << l))
                out->layers[out->count++] = (lk_rtp_layer){.stream = s, .spatial = l};
    uint8_t bits = 0;
    for (uint8_t i = 0; i < out->count; i++) { /* temporal layers less one, two bits each */
        if (i % 4 == 0)
            bits = lk_rd_u8(&r);
        out->layers[i].kbps_count = (uint8_t)(((bits >> (6 - 2 * (i % 4))) & 3) + 1);
    }
    for (uint8_t i = 0; i < out->count; i++)
        for (uint8_t t = 0; t < out->layers[i].kbps_count; t++)
            out->layers[i].kbps[t] = leb128(&r);
    if (lk_rd_left(&r)) {
        out->has_resolution = true;
        for (uint8_t i = 0; i < out->count; i++) {
            out->layers[i].width = (uint16_t)(lk_rd_u16(&r) + 1);
            out->layers[i].height = (uint16_t)(lk_rd_u16(&r) + 1);
            out->layers[i].fps = lk_rd_u8(&r);
        }
    }
    return !r.bad;
}
