// SPDX-License-Identifier: Apache-2.0
#include "rtp/rtcp.h"

#include "base/canary.h"

#define REPORT_LEN 24
#define REMB_ID 0x52454d42u /* "REMB" */
#define NTP_UNIX_SECONDS 2208988800u /* 1900 to 1970 */

void lk_rtcp_begin(lk_rtcp_reader *r, const uint8_t *data, size_t len)
{
    *r = (lk_rtcp_reader){.rd = lk_rd_of(data, len)};
    r->bad = len == 0 || len > LK_RTCP_LEN_MAX;
}

static bool sdes_ok(const lk_rtcp_packet *p)
{
    lk_rd r = lk_rd_of(p->body.data, p->body.len);
    for (unsigned chunk = 0; chunk < p->count; chunk++) {
        lk_rd_skip(&r, 4);
        for (;;) {
            uint8_t type = lk_rd_u8(&r);
            if (r.bad)
                return false;
            if (type == 0)
                break;
            lk_rd_skip(&r, lk_rd_u8(&r));
        }
        lk_rd_skip(&r, lk_rd_left(&r) % 4); /* the body is a multiple of four */
    }
    return !r.bad;
}

static bool bye_ok(const lk_rtcp_packet *p)
{
    lk_rd r = lk_rd_of(p->body.data, p->body.len);
    lk_rd_skip(&r, 4u * p->count);
    if (!r.bad && lk_rd_left(&r))
        lk_rd_skip(&r, lk_rd_u8(&r));
    return !r.bad;
}

static bool twcc_ok(const lk_rtcp_packet *p)
{
    lk_rd r = lk_rd_of(p->body.data, p->body.len);
    lk_rd_skip(&r, 2);
    unsigned left = lk_rd_u16(&r);
    size_t deltas = 0;
    lk_rd_skip(&r, 4);
    if (left == 0)
        return false;
    while (left && !r.bad) {
        uint16_t chunk = lk_rd_u16(&r);
        unsigned symbols = chunk & 0x8000 ? (chunk & 0x4000 ? 7 : 14) : (chunk & 0x1fffu);
        if (symbols == 0)
            return false;
        for (unsigned i = 0; i < symbols && left; i++, left--) {
            unsigned s = !(chunk & 0x8000) ? (chunk >> 13) & 3u
                         : chunk & 0x4000  ? (chunk >> (12 - 2 * i)) & 3u
                                           : (chunk >> (13 - i)) & 1u;
            if (s == 3)
                return false;
            deltas += s;
        }
    }
    return !r.bad && lk_rd_left(&r) >= deltas;
}

static bool parse_feedback(lk_rtcp_packet *out, lk_rd *r)
{
    out->sender = lk_rd_u32(r);
    out->media = lk_rd_u32(r);
    if (r->bad)
        return false;
    size_t fci = lk_rd_left(r);
    out->body = (lk_bytes){r->at, fci};
    out->kind = LK_RTCP_KIND_OTHER;
    if (out->pt == LK_RTCP_RTPFB && out->count == 1) {
        out->kind = LK_RTCP_KIND_NACK;
        return fci >= 4 && fci % 4 == 0;
    }
    if (out->pt == LK_RTCP_RTPFB && out->count == 15) {
        out->kind = LK_RTCP_KIND_TWCC;
        return twcc_ok(out);
    }
    if (out->pt == LK_RTCP_PSFB && out->count == 1) {
        out->kind = LK_RTCP_KIND_PLI;
        return true;
    }
    if (out->pt == LK_RTCP_PSFB && out->count == 4) {
        out->kind = LK_RTCP_KIND_FIR;
        return fci >= 8 && fci % 8 == 0;
    }
    if (out->pt == LK_RTCP_PSFB && out->count == 15 && fci >= 4 && lk_get_u32(r->at) == REMB_ID) {
        out->kind = LK_RTCP_KIND_REMB;
        return fci >= 8 && fci == 8 + 4u * r->at[4];
    }
    return true;
}

static bool parse_body(lk_rtcp_packet *out, lk_rd *r)
{
    switch (out->pt) {
    case LK_RTCP_SR:
        out->kind = LK_RTCP_KIND_SR;
        out->sender = lk_rd_u32(r);
        out->ntp = lk_rd_u64(r);
        out->rtp_ts = lk_rd_u32(r);
        out->packets = lk_rd_u32(r);
        out->octets = lk_rd_u32(r);
        break;
    case LK_RTCP_RR:
        out->kind = LK_RTCP_KIND_RR;
        out->sender = lk_rd_u32(r);
        break;
    case LK_RTCP_SDES:
        out->kind = LK_RTCP_KIND_SDES;
        out->body = (lk_bytes){r->at, lk_rd_left(r)};
        return sdes_ok(out);
    case LK_RTCP_BYE:
        out->kind = LK_RTCP_KIND_BYE;
        out->body = (lk_bytes){r->at, lk_rd_left(r)};
        return bye_ok(out);
    case LK_RTCP_RTPFB:
    case LK_RTCP_PSFB:
        return parse_feedback(out, r);
    case LK_RTCP_APP:
        out->kind = LK_RTCP_KIND_APP;
        out->sender = lk_rd_u32(r);
        if (!r->bad && lk_rd_left(r) < 4)
            return false;
        break;
    case LK_RTCP_XR:
        out->kind = LK_RTCP_KIND_XR;
        out->sender = lk_rd_u32(r);
        break;
    default:
        out->kind = LK_RTCP_KIND_OTHER;
    }
    out->body = (lk_bytes){r->at, lk_rd_left(r)};
    bool reports = out->pt == LK_RTCP_SR || out->pt == LK_RTCP_RR;
    return !r->bad && (!reports || out->body.len >= (size_t)out->count * REPORT_LEN);
}

bool lk_rtcp_next(lk_rtcp_reader *reader, lk_rtcp_packet *out)
{
    lk_rd *r = &reader->rd;
    if (reader->bad || lk_rd_left(r) == 0)
        return false;
    const uint8_t *start = r->at;
    uint8_t head = lk_rd_u8(r);
    *out = (lk_rtcp_packet){.count = head & 31, .pt = lk_rd_u8(r)};
    size_t len = 4u * (size_t)lk_rd_u16(r);
    const uint8_t *body = lk_rd_take(r, len);
    reader->bad = true;
    if (r->bad || head >> 6 != 2 || ++reader->seen > LK_RTCP_PACKETS_MAX || out->pt < 192 || out->pt > 223)
        return false;
    if (head & 0x20) { /* padding: whole words, only in the last packet [RFC3550 s6.4.1]; everybody's TWCC differs */
        size_t pad = len ? body[len - 1] : 0;
        bool is_twcc = out->pt == LK_RTCP_RTPFB && out->count == 15;
        if (pad == 0 || pad > len || (!is_twcc && (pad % 4 != 0 || lk_rd_left(r))))
            return false;
        len -= pad;
    }
    lk_rd b = lk_rd_of(start + 4, len);
    if (!parse_body(out, &b))
        return false;
    reader->bad = false;
    return true;
}

lk_err lk_rtcp_check(const uint8_t *data, size_t len)
{
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    lk_rtcp_begin(&r, data, len);
    while (lk_rtcp_next(&r, &p)) {
    }
    return r.bad ? LK_ERR_WIRE : LK_OK;
}

lk_rtcp_report lk_rtcp_report_at(const lk_rtcp_packet *p, size_t i)
{
    lk_rtcp_report out = {0};
    if ((i + 1) * REPORT_LEN > p->body.len)
        return out;
    lk_rd r = lk_rd_of(p->body.data + i * REPORT_LEN, REPORT_LEN);
    out.ssrc = lk_rd_u32(&r);
    out.fraction_lost = lk_rd_u8(&r);
    uint32_t lost = lk_rd_u24(&r);
    out.total_lost = (int32_t)(lost & 0x800000u ? lost | 0xff000000u : lost);
    out.highest_seq = lk_rd_u32(&r);
    out.jitter = lk_rd_u32(&r);
    out.lsr = lk_rd_u32(&r);
    out.dlsr = lk_rd_u32(&r);
    return out;
}

bool lk_rtcp_nack_next(const lk_rtcp_packet *p, size_t *at, uint16_t *seq)
{
    for (; *at / 17 * 4 + 4 <= p->body.len; (*at)++) {
        const uint8_t *pair = p->body.data + *at / 17 * 4;
        size_t bit = *at % 17;
        if (bit == 0 || (lk_get_u16(pair + 2) >> (bit - 1) & 1)) {
            *seq = (uint16_t)(lk_get_u16(pair) + bit);
            (*at)++;
            return true;
        }
    }
    return false;
}

uint32_t lk_rtcp_bye_ssrc(const lk_rtcp_packet *p, size_t i)
{
    return (i + 1) * 4 <= p->body.len ? lk_get_u32(p->body.data + 4 * i) : 0;
}

lk_str lk_rtcp_bye_reason(const lk_rtcp_packet *p)
{
    lk_rd r = lk_rd_of(p->body.data, p->body.len);
    lk_rd_skip(&r, 4u * p->count);
    size_t n = lk_rd_left(&r) ? lk_rd_u8(&r) : 0;
    const uint8_t *text = lk_rd_take(&r, n);
    return r.bad ? (lk_str){0} : (lk_str){(const char *)text, n};
}

bool lk_rtcp_sdes_next(const lk_rtcp_packet *p, lk_rtcp_sdes_walk *w, uint8_t *type, lk_str *text)
{
    lk_rd r = lk_rd_of(p->body.data, p->body.len);
    lk_rd_skip(&r, w->at);
    while (!r.bad && lk_rd_left(&r)) {
        if (!w->in_chunk) {
            w->ssrc = lk_rd_u32(&r);
            w->in_chunk = true;
        }
        *type = lk_rd_u8(&r);
        if (r.bad)
            return false;
        if (*type == 0) {
            lk_rd_skip(&r, lk_rd_left(&r) % 4);
            w->in_chunk = false;
            continue;
        }
        text->len = lk_rd_u8(&r);
        text->p = (const char *)lk_rd_take(&r, text->len);
        w->at = p->body.len - lk_rd_left(&r);
        return !r.bad;
    }
    return false;
}

bool lk_rtcp_fir_at(const lk_rtcp_packet *p, size_t i, uint32_t *ssrc, uint8_t *seq)
{
    if ((i + 1) * 8 > p->body.len)
        return false;
    *ssrc = lk_get_u32(p->body.data + 8 * i);
    *seq = p->body.data[8 * i + 4];
    return true;
}

size_t lk_rtcp_remb_count(const lk_rtcp_packet *p) { return p->body.len >= 8 ? p->body.data[4] : 0; }

uint64_t lk_rtcp_remb_bps(const lk_rtcp_packet *p)
{
    if (p->body.len < 8)
        return 0;
    uint32_t v = lk_get_u32(p->body.data + 4) & 0xffffff;
    unsigned exp = v >> 18;
    uint64_t mantissa = v & 0x3ffff;
    if (LK_CANARY_IS(LK_CANARY_OVERFLOW))
        return (uint64_t)((int)mantissa << exp);
    return mantissa && exp > 45 ? UINT64_MAX : mantissa << exp;
}

uint32_t lk_rtcp_remb_ssrc(const lk_rtcp_packet *p, size_t i)
{
    return 12 + 4 * i <= p->body.len ? lk_get_u32(p->body.data + 8 + 4 * i) : 0;
}

/* ---- writers --------------------------------------------------------------------------------------- */

static size_t begin_packet(lk_wr *w, unsigned count, unsigned pt)
{
    size_t at = w->len;
    lk_wr_u8(w, (uint8_t)(0x80 | count));
    lk_wr_u8(w, (uint8_t)pt);
    lk_wr_u16(w, 0);
    return at;
}

static void end_packet(lk_wr *w, size_t at)
{
    lk_wr_zero(w, (4 - (w->len - at) % 4) % 4);
    lk_wr_patch_u16(w, at + 2, (uint16_t)((w->len - at) / 4 - 1));
}

static void write_reports(lk_wr *w, const lk_rtcp_report *reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const lk_rtcp_report *b = &reports[i];
        int32_t lost = LK_CLAMP(b->total_lost, -0x800000, 0x7fffff);
        lk_wr_u32(w, b->ssrc);
        lk_wr_u8(w, b->fraction_lost);
        lk_wr_u24(w, (uint32_t)lost & 0xffffffu);
        lk_wr_u32(w, b->highest_seq);
        lk_wr_u32(w, b->jitter);
        lk_wr_u32(w, b->lsr);
        lk_wr_u32(w, b->dlsr);
    }
}

void lk_rtcp_write_sr(lk_wr *w, uint32_t ssrc, const lk_rtcp_sender_info *info, const lk_rtcp_report *reports, size_t count)
{
    count = LK_MIN(count, (size_t)31);
    size_t at = begin_packet(w, (unsigned)count, LK_RTCP_SR);
    lk_wr_u32(w, ssrc);
    lk_wr_u64(w, info->ntp);
    lk_wr_u32(w, info->rtp_ts);
    lk_wr_u32(w, info->packets);
    lk_wr_u32(w, info->octets);
    write_reports(w, reports, count);
    end_packet(w, at);
}

void lk_rtcp_write_rr(lk_wr *w, uint32_t ssrc, const lk_rtcp_report *reports, size_t count)
{
    count = LK_MIN(count, (size_t)31);
    size_t at = begin_packet(w, (unsigned)count, LK_RTCP_RR);
    lk_wr_u32(w, ssrc);
    write_reports(w, reports, count);
    end_packet(w, at);
}

void lk_rtcp_write_sdes_cname(lk_wr *w, uint32_t ssrc, const char *cname)
{
    size_t n = LK_MIN(strlen(cname), (size_t)255), at = begin_packet(w, 1, LK_RTCP_SDES);
    lk_wr_u32(w, ssrc);
    lk_wr_u8(w, 1);
    lk_wr_u8(w, (uint8_t)n);
    lk_wr_put(w, cname, n);
    lk_wr_u8(w, 0);
    end_packet(w, at);
}

void lk_rtcp_write_bye(lk_wr *w, uint32_t ssrc)
{
    size_t at = begin_packet(w, 1, LK_RTCP_BYE);
    lk_wr_u32(w, ssrc);
    end_packet(w, at);
}

static size_t begin_feedback(lk_wr *w, unsigned format, unsigned pt, uint32_t sender, uint32_t media)
{
    size_t at = begin_packet(w, format, pt);
    lk_wr_u32(w, sender);
    lk_wr_u32(w, media);
    return at;
}

size_t lk_rtcp_nack_pairs(const uint16_t *seqs, size_t count, uint16_t (*pairs)[2], size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < count;) {
        if (n == cap)
            return n;
        uint16_t first = seqs[i++], mask = 0;
        for (; i < count; i++) {
            uint16_t ahead = (uint16_t)(seqs[i] - first);
            if (ahead == 0 || ahead > 16)
                break;
            mask = (uint16_t)(mask | 1u << (ahead - 1));
        }
        pairs[n][0] = first;
        pairs[n++][1] = mask;
    }
    return n;
}

void lk_rtcp_write_nack(lk_wr *w, uint32_t sender, uint32_t media, const uint16_t *seqs, size_t count)
{
    uint16_t pairs[256][2];
    size_t n = lk_rtcp_nack_pairs(seqs, count, pairs, LK_LEN(pairs)), at = begin_feedback(w, 1, LK_RTCP_RTPFB, sender, media);
    for (size_t i = 0; i < n; i++) {
        lk_wr_u16(w, pairs[i][0]);
        lk_wr_u16(w, pairs[i][1]);
    }
    end_packet(w, at);
}

void lk_rtcp_write_pli(lk_wr *w, uint32_t sender, uint32_t media)
{
    end_packet(w, begin_feedback(w, 1, LK_RTCP_PSFB, sender, media));
}

void lk_rtcp_write_fir(lk_wr *w, uint32_t sender, uint32_t media, uint8_t seq)
{
    size_t at = begin_feedback(w, 4, LK_RTCP_PSFB, sender, 0);
    lk_wr_u32(w, media);
    lk_wr_u8(w, seq);
    lk_wr_zero(w, 3);
    end_packet(w, at);
}

void lk_rtcp_write_remb(lk_wr *w, uint32_t sender, uint64_t bps, const uint32_t *ssrcs, size_t count)
{
    unsigned exp = 0;
    while (bps >> exp > 0x3ffff)
        exp++;
    count = LK_MIN(count, (size_t)255);
    size_t at = begin_feedback(w, 15, LK_RTCP_PSFB, sender, 0);
    lk_wr_u32(w, REMB_ID);
    lk_wr_u8(w, (uint8_t)count);
    lk_wr_u24(w, (uint32_t)(exp << 18 | (bps >> exp)));
    for (size_t i = 0; i < count; i++)
        lk_wr_u32(w, ssrcs[i]);
    end_packet(w, at);
}

uint64_t lk_ntp_from_unix_usec(int64_t unix_usec)
{
    uint64_t seconds = (uint64_t)(unix_usec / 1000000) + NTP_UNIX_SECONDS;
    uint64_t fraction = ((uint64_t)(unix_usec % 1000000) << 32) / 1000000;
    return seconds << 32 | fraction;
}

uint32_t lk_ntp_rtt_q16(uint32_t now_mid32, uint32_t lsr, uint32_t dlsr)
{
    int32_t rtt = (int32_t)(now_mid32 - lsr - dlsr);
    return rtt > 0 ? (uint32_t)rtt : 0;
}
