// SPDX-License-Identifier: Apache-2.0
#include "sctp/sctp_wire.h"

static uint32_t checksum(const uint8_t *data, size_t len)
{
    static const uint8_t zero[4] = {0};
    uint32_t crc = lk_crc32c_part(0, data, 8);
    crc = lk_crc32c_part(crc, zero, 4);
    return lk_crc32c_part(crc, data + SCTP_HEADER_LEN, len - SCTP_HEADER_LEN);
}

/* The checksum is the one number of SCTP that travels with its low byte first. [RFC9260 sA] */
static uint32_t swap(uint32_t v)
{
    return (v >> 24) | ((v >> 8) & 0xff00u) | ((v & 0xff00u) << 8) | (v << 24);
}

lk_err lk_sctp_packet_parse(lk_sctp_packet *out, const uint8_t *data, size_t len, bool accept_zero)
{
    lk_rd r = lk_rd_of(data, len);
    lk_sctp_packet p = {.source = lk_rd_u16(&r), .destination = lk_rd_u16(&r)};
    p.tag = lk_rd_u32(&r);
    uint32_t crc = lk_rd_u32(&r);
    if (r.bad || (!(accept_zero && crc == 0) && crc != swap(checksum(data, len))))
        return LK_ERR_WIRE;
    p.chunks = r;
    *out = p;
    return LK_OK;
}

/* What chunks and parameters share: a length of head and value, padding to four bytes. */
static bool take_body(lk_rd *r, size_t length, const uint8_t **value, size_t *len)
{
    if (length < 4)
        r->bad = true;
    *len = length - 4;
    *value = r->bad ? NULL : lk_rd_take(r, *len);
    if (r->bad)
        return false;
    size_t padding = (4 - length % 4) % 4, left = lk_rd_left(r);
    lk_rd_skip(r, padding < left ? padding : left);
    return true;
}

bool lk_sctp_chunk_next(lk_rd *r, lk_sctp_chunk *out)
{
    if (r->bad || lk_rd_left(r) == 0)
        return false;
    out->type = lk_rd_u8(r);
    out->flags = lk_rd_u8(r);
    size_t length = lk_rd_u16(r);
    return take_body(r, length, &out->value, &out->len);
}

bool lk_sctp_param_next(lk_rd *r, lk_sctp_param *out)
{
    if (r->bad || lk_rd_left(r) == 0)
        return false;
    out->type = lk_rd_u16(r);
    size_t length = lk_rd_u16(r);
    return take_body(r, length, &out->value, &out->len);
}

static void take_init_param(lk_sctp_init *i, const lk_sctp_param *p)
{
    switch (p->type) {
    case SCTP_PARAM_COOKIE:
        i->cookie = (lk_bytes){p->value, p->len};
        break;
    case SCTP_PARAM_FORWARD_TSN:
        i->forward_tsn = true;
        break;
    case SCTP_PARAM_ZERO_CHECKSUM:
        i->zero_checksum = p->len >= 4 && lk_get_u32(p->value) == SCTP_ZERO_CHECKSUM_DTLS;
        break;
    case SCTP_PARAM_EXTENSIONS:
        for (size_t k = 0; k < p->len; k++) {
            i->forward_tsn = i->forward_tsn || p->value[k] == SCTP_FORWARD_TSN;
            i->reconfig = i->reconfig || p->value[k] == SCTP_RECONFIG;
        }
        break;
    default:
        break;
    }
}

lk_err lk_sctp_init_parse(lk_sctp_init *out, const lk_sctp_chunk *c)
{
    lk_rd r = lk_rd_of(c->value, c->len);
    lk_sctp_init i = {.tag = lk_rd_u32(&r), .rwnd_bytes = lk_rd_u32(&r)};
    i.streams_out = lk_rd_u16(&r);
    i.streams_in = lk_rd_u16(&r);
    i.tsn = lk_rd_u32(&r);
    lk_sctp_param p;
    while (lk_sctp_param_next(&r, &p))
        take_init_param(&i, &p);
    if (r.bad || i.tag == 0 || i.streams_in == 0 || i.streams_out == 0)
        return LK_ERR_WIRE;
    *out = i;
    return LK_OK;
}

lk_err lk_sctp_data_parse(lk_sctp_data *out, const lk_sctp_chunk *c)
{
    lk_rd r = lk_rd_of(c->value, c->len);
    lk_sctp_data d = {.tsn = lk_rd_u32(&r)};
    d.stream = lk_rd_u16(&r);
    d.ssn = lk_rd_u16(&r);
    d.ppid = lk_rd_u32(&r);
    d.len = lk_rd_left(&r);
    d.data = lk_rd_take(&r, d.len);
    if (r.bad || d.len == 0)
        return LK_ERR_WIRE;
    *out = d;
    return LK_OK;
}

lk_err lk_sctp_sack_parse(lk_sctp_sack *out, const lk_sctp_chunk *c)
{
    lk_rd r = lk_rd_of(c->value, c->len);
    lk_sctp_sack s = {.cumulative = lk_rd_u32(&r), .rwnd_bytes = lk_rd_u32(&r)};
    s.gap_count = lk_rd_u16(&r);
    s.duplicate_count = lk_rd_u16(&r);
    if (r.bad || lk_rd_left(&r) < 4 * ((size_t)s.gap_count + s.duplicate_count))
        return LK_ERR_WIRE;
    s.gaps = r;
    *out = s;
    return LK_OK;
}

size_t lk_sctp_chunk_begin(lk_wr *w, uint8_t type, uint8_t flags)
{
    size_t at = w->len;
    lk_wr_u8(w, type);
    lk_wr_u8(w, flags);
    lk_wr_u16(w, 0);
    return at;
}

void lk_sctp_chunk_end(lk_wr *w, size_t at)
{
    size_t length = w->len - at;
    lk_wr_patch_u16(w, at + 2, (uint16_t)length);
    lk_wr_zero(w, (4 - length % 4) % 4);
}

void lk_sctp_packet_begin(lk_wr *w, uint16_t source, uint16_t destination, uint32_t tag)
{
    lk_wr_u16(w, source);
    lk_wr_u16(w, destination);
    lk_wr_u32(w, tag);
    lk_wr_u32(w, 0);
}

void lk_sctp_packet_seal(lk_wr *w)
{
    if (!w->bad && w->len >= SCTP_HEADER_LEN)
        lk_put_u32(w->data + 8, swap(checksum(w->data, w->len)));
}
