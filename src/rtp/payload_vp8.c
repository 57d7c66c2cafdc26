// SPDX-License-Identifier: Apache-2.0
/* VP8 in RTP: a descriptor in front of each piece of a frame. [RFC7741 s4.2] */
#include "rtp/payload.h"

#define X 0x80 /* extension octet follows */
#define N 0x20 /* non-reference frame */
#define S 0x10 /* start of a partition */
#define PID 0x07
#define EXT_I 0x80
#define EXT_L 0x40
#define EXT_T 0x20
#define EXT_K 0x10
#define DESCRIPTOR_LEN 4 /* ours: X, I, 15-bit picture id */
#define INTER 0x01       /* of the frame tag: not a key frame [RFC6386 s9.1] */
#define KEY_HEADER_LEN 10

static lk_err parse(lk_rtp_piece *out, lk_bytes payload)
{
    lk_rd r = lk_rd_of(payload.data, payload.len);
    lk_rtp_piece p = {0};
    uint8_t first = lk_rd_u8(&r), ext = first & X ? lk_rd_u8(&r) : 0;
    if (ext & EXT_I) {
        uint16_t id = lk_rd_u8(&r);
        if (id & 0x80)
            id = (uint16_t)((id & 0x7f) << 8 | lk_rd_u8(&r));
        p.has_picture_id = true;
        p.picture_id = id;
    }
    if (ext & EXT_L) {
        p.has_tl0 = true;
        p.tl0_picture = lk_rd_u8(&r);
    }
    if (ext & (EXT_T | EXT_K)) {
        uint8_t tk = lk_rd_u8(&r);
        p.has_tid = (ext & EXT_T) != 0;
        p.tid = p.has_tid ? tk >> 6 : 0;
        p.layer_sync = p.has_tid && (tk & 0x20);
        p.has_key_index = (ext & EXT_K) != 0;
        p.key_index = p.has_key_index ? tk & 0x1f : 0;
    }
    if (r.bad || lk_rd_left(&r) == 0)
        return LK_ERR_WIRE;
    p.disposable = (first & N) != 0;
    p.begin = (first & S) && (first & PID) == 0;
    p.data = (lk_bytes){r.at, lk_rd_left(&r)};
    p.key = p.begin && !(p.data.data[0] & INTER);
    if (p.key && p.data.len >= KEY_HEADER_LEN) {
        const uint8_t *d = p.data.data;
        p.width = (uint16_t)((d[7] << 8 | d[6]) & 0x3fff);
        p.height = (uint16_t)((d[9] << 8 | d[8]) & 0x3fff);
    }
    *out = p;
    return LK_OK;
}

static bool cut(lk_rtp_cut *c, lk_bytes frame, size_t cap, lk_wr *out, bool *last)
{
    if (c->at >= frame.len || cap <= DESCRIPTOR_LEN)
        return false;
    size_t room = cap - DESCRIPTOR_LEN, left = frame.len - c->at;
    size_t pieces = (left + room - 1) / room, take = (left + pieces - 1) / pieces;
    lk_wr_u8(out, (uint8_t)(X | (c->at == 0 ? S : 0)));
    lk_wr_u8(out, EXT_I);
    lk_wr_u16(out, (uint16_t)(0x8000 | c->picture_id));
    lk_wr_put(out, frame.data + c->at, take);
    c->at += take;
    *last = c->at == frame.len;
    return !out->bad;
}

const lk_rtp_payload_ops lk_rtp_payload_vp8 = {.name = "VP8", .parse = parse, .cut = cut};
