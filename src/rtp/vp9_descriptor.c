// SPDX-License-Identifier: Apache-2.0
#include "rtp/vp9_descriptor.h"

bool lk_rtp_vp9_group_next(lk_rd *at, lk_rtp_vp9_picture *out)
{
    if (lk_rd_left(at) == 0)
        return false;
    uint8_t head = lk_rd_u8(at);
    *out = (lk_rtp_vp9_picture){.tid = head >> 5, .switch_up = (head & 0x10) != 0, .reference_count = head >> 2 & 3};
    for (uint8_t i = 0; i < out->reference_count; i++)
        out->references[i] = lk_rd_u8(at);
    return !at->bad;
}

static void read_structure(lk_rtp_vp9 *d, lk_rd *r)
{
    uint8_t head = lk_rd_u8(r);
    d->layer_count = (uint8_t)((head >> 5) + 1);
    d->has_sizes = (head & 0x10) != 0;
    d->has_group = (head & 0x08) != 0;
    for (uint8_t i = 0; d->has_sizes && i < d->layer_count; i++) {
        d->width[i] = lk_rd_u16(r);
        d->height[i] = lk_rd_u16(r);
    }
    d->group_count = d->has_group ? lk_rd_u8(r) : 0;
    const uint8_t *begin = r->at;
    lk_rtp_vp9_picture one;
    for (uint8_t i = 0; i < d->group_count && !r->bad; i++)
        if (!lk_rtp_vp9_group_next(r, &one))
            r->bad = true;
    d->group = (lk_bytes){begin, r->bad ? 0 : (size_t)(r->at - begin)};
}

lk_err lk_rtp_vp9_parse(lk_rtp_vp9 *out, lk_bytes payload)
{
    lk_rd r = lk_rd_of(payload.data, payload.len);
    uint8_t first = lk_rd_u8(&r), more;
    lk_rtp_vp9 d = {.has_picture_id = (first & 0x80) != 0, .predicted = (first & 0x40) != 0, .has_layers = (first & 0x20) != 0,
                    .flexible = (first & 0x10) != 0, .begin = (first & 0x08) != 0, .end = (first & 0x04) != 0,
                    .has_structure = (first & 0x02) != 0, .not_reference = (first & 0x01) != 0};
    if (d.has_picture_id) {
        d.picture_id = lk_rd_u8(&r);
        d.long_picture_id = (d.picture_id & 0x80) != 0;
        if (d.long_picture_id)
            d.picture_id = (uint16_t)((d.picture_id & 0x7f) << 8 | lk_rd_u8(&r));
    }
    if (d.has_layers) {
        uint8_t layer = lk_rd_u8(&r);
        d.tid = layer >> 5;
        d.switch_up = (layer & 0x10) != 0;
        d.sid = layer >> 1 & 7;
        d.inter_layer = (layer & 1) != 0;
        d.has_tl0 = !d.flexible;
        d.tl0_picture = d.has_tl0 ? lk_rd_u8(&r) : 0;
    }
    if (d.flexible && d.predicted) {
        do {
            more = lk_rd_u8(&r);
            if (d.reference_count == LK_RTP_VP9_REFERENCES_MAX)
                return LK_ERR_WIRE;
            d.references[d.reference_count++] = more >> 1;
        } while (more & 1);
    }
    if (d.has_structure)
        read_structure(&d, &r);
    if (r.bad)
        return LK_ERR_WIRE;
    d.data = (lk_bytes){r.at, lk_rd_left(&r)};
    *out = d;
    return LK_OK;
}
