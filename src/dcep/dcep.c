// SPDX-License-Identifier: Apache-2.0
#include "dcep/dcep.h"

/* Channel types are three kinds and one bit. [RFC8832 s8.2.2] */
#define KIND_RELIABLE 0x00
#define KIND_RETRANSMITS 0x01
#define KIND_LIFETIME 0x02
#define UNORDERED 0x80

static lk_err parse_open(lk_dcep *m, lk_rd *r)
{
    uint8_t channel = lk_rd_u8(r), kind = channel & 0x7f;
    m->unordered = (channel & UNORDERED) != 0;
    m->limit_retransmits = kind == KIND_RETRANSMITS;
    m->limit_lifetime = kind == KIND_LIFETIME;
    m->priority = lk_rd_u16(r);
    m->reliability = lk_rd_u32(r);
    size_t label = lk_rd_u16(r), protocol = lk_rd_u16(r);
    m->label = (lk_str){(const char *)lk_rd_take(r, label), label};
    m->protocol = (lk_str){(const char *)lk_rd_take(r, protocol), protocol};
    return r->bad || kind > KIND_LIFETIME ? LK_ERR_WIRE : LK_OK;
}

lk_err lk_dcep_parse(lk_dcep *out, const uint8_t *data, size_t len)
{
    lk_rd r = lk_rd_of(data, len);
    lk_dcep m = {0};
    lk_err err = LK_OK;
    switch (lk_rd_u8(&r)) {
    case LK_DCEP_ACK:
        m.type = LK_DCEP_ACK;
        break;
    case LK_DCEP_OPEN:
        m.type = LK_DCEP_OPEN;
        err = parse_open(&m, &r);
        break;
    default:
        err = LK_ERR_WIRE;
        break;
    }
    if (err == LK_OK)
        *out = m;
    return err;
}

lk_err lk_dcep_write(const lk_dcep *m, uint8_t *out, size_t cap, size_t *len)
{
    lk_wr w = lk_wr_of(out, cap);
    lk_wr_u8(&w, (uint8_t)m->type);
    if (m->type == LK_DCEP_OPEN) {
        if (m->label.len > UINT16_MAX || m->protocol.len > UINT16_MAX)
            return LK_ERR_LIMIT;
        uint8_t kind = m->limit_retransmits ? KIND_RETRANSMITS : m->limit_lifetime ? KIND_LIFETIME : KIND_RELIABLE;
        lk_wr_u8(&w, (uint8_t)(kind | (m->unordered ? UNORDERED : 0)));
        lk_wr_u16(&w, m->priority);
        lk_wr_u32(&w, m->reliability);
        lk_wr_u16(&w, (uint16_t)m->label.len);
        lk_wr_u16(&w, (uint16_t)m->protocol.len);
        lk_wr_put(&w, m->label.p, m->label.len);
        lk_wr_put(&w, m->protocol.p, m->protocol.len);
    }
    if (w.bad)
        return LK_ERR_FULL;
    *len = w.len;
    return LK_OK;
}
