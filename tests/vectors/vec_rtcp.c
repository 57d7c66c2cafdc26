// SPDX-License-Identifier: Apache-2.0
#include "rtp/rtcp.h"
#include "rtp/rtp_stats.h"
#include "vectors/lk_vectors.h"

/* ---- one packet against its description ------------------------------------------------------------------ */

static void check_reports(lk_vec *v, const lk_rtcp_packet *p, json_t *want)
{
    if (!VEQ(v, p->count, json_array_size(want)))
        return;
    for (size_t i = 0; i < p->count; i++) {
        json_t *w = json_array_get(want, i);
        lk_rtcp_report r = lk_rtcp_report_at(p, i);
        VEQ(v, r.ssrc, lk_vec_u64(w, "ssrc", 0));
        VEQ(v, r.fraction_lost, lk_vec_u64(w, "fraction_lost", 0));
        VEQ(v, (uint32_t)r.total_lost & 0xffffff, lk_vec_u64(w, "total_lost_u24", 0));
        VEQ(v, r.highest_seq, lk_vec_u64(w, "highest_seq", 0));
        VEQ(v, r.jitter, lk_vec_u64(w, "jitter", 0));
        VEQ(v, r.lsr, lk_vec_u64(w, "lsr", 0));
        VEQ(v, r.dlsr, lk_vec_u64(w, "dlsr", 0));
    }
}

static void check_sdes(lk_vec *v, const lk_rtcp_packet *p, json_t *want)
{
    lk_rtcp_sdes_walk walk = {0};
    uint8_t type;
    lk_str text;
    json_t *chunk, *item;
    size_t i, k;
    json_array_foreach(want, i, chunk) {
        json_array_foreach(json_object_get(chunk, "items"), k, item) {
            if (!VCHECK(v, lk_rtcp_sdes_next(p, &walk, &type, &text)))
                return;
            lk_str expected = lk_vec_str(item, "text");
            VEQ(v, walk.ssrc, lk_vec_u64(chunk, "ssrc", 0));
            VEQ(v, type, lk_vec_u64(item, "type", 0));
            VMEM(v, text.p, text.len, expected.p, expected.len);
        }
    }
    VCHECK(v, !lk_rtcp_sdes_next(p, &walk, &type, &text));
}

static void check_nack(lk_vec *v, const lk_rtcp_packet *p, json_t *want)
{
    size_t at = 0, n = 0;
    uint16_t seq;
    while (lk_rtcp_nack_next(p, &at, &seq))
        VEQ(v, seq, lk_vec_u64_of(json_array_get(want, n++), 0x10000));
    VEQ(v, n, json_array_size(want));
}

static void check_packet(lk_vec *v, const lk_rtcp_packet *p, json_t *w)
{
    static const struct {
        const char *name;
        lk_rtcp_kind kind;
    } kinds[] = {{"SR", LK_RTCP_KIND_SR},     {"RR", LK_RTCP_KIND_RR},     {"SDES", LK_RTCP_KIND_SDES}, {"BYE", LK_RTCP_KIND_BYE},
                 {"APP", LK_RTCP_KIND_APP},   {"NACK", LK_RTCP_KIND_NACK}, {"PLI", LK_RTCP_KIND_PLI},   {"FIR", LK_RTCP_KIND_FIR},
                 {"REMB", LK_RTCP_KIND_REMB}, {"XR", LK_RTCP_KIND_XR},     {"TWCC", LK_RTCP_KIND_TWCC}};
    lk_rtcp_kind kind = LK_RTCP_KIND_OTHER;
    for (size_t i = 0; i < LK_LEN(kinds); i++)
        if (lk_vec_is(w, "t", kinds[i].name))
            kind = kinds[i].kind;
    if (!VEQ(v, p->kind, kind))
        return;
    if (json_object_get(w, "sender"))
        VEQ(v, p->sender, lk_vec_u64(w, "sender", 0));
    if (json_object_get(w, "media") && kind != LK_RTCP_KIND_FIR)
        VEQ(v, p->media, lk_vec_u64(w, "media", 0));
    switch (kind) {
    case LK_RTCP_KIND_SR:
        VCHECK(v, p->ntp == lk_vec_u64(w, "ntp", 0));
        VEQ(v, p->rtp_ts, lk_vec_u64(w, "rtp", 0));
        VEQ(v, p->packets, lk_vec_u64(w, "packets", 0));
        VEQ(v, p->octets, lk_vec_u64(w, "octets", 0));
        VEQ(v, p->sender, lk_vec_u64(w, "ssrc", 0));
        check_reports(v, p, json_object_get(w, "reports"));
        break;
    case LK_RTCP_KIND_RR:
        VEQ(v, p->sender, lk_vec_u64(w, "ssrc", 0));
        check_reports(v, p, json_object_get(w, "reports"));
        break;
    case LK_RTCP_KIND_SDES: check_sdes(v, p, json_object_get(w, "chunks")); break;
    case LK_RTCP_KIND_BYE: {
        json_t *ssrcs = json_object_get(w, "ssrcs");
        lk_str reason = lk_rtcp_bye_reason(p), want = lk_vec_str(w, "reason");
        VEQ(v, p->count, json_array_size(ssrcs));
        for (size_t i = 0; i < json_array_size(ssrcs); i++)
            VEQ(v, lk_rtcp_bye_ssrc(p, i), lk_vec_u64_of(json_array_get(ssrcs, i), 0));
        VMEM(v, reason.p, reason.len, want.p, want.len);
        break;
    }
    case LK_RTCP_KIND_NACK: check_nack(v, p, json_object_get(w, "seqs")); break;
    case LK_RTCP_KIND_FIR: {
        json_t *entries = json_object_get(w, "entries");
        uint32_t ssrc;
        uint8_t seq;
        for (size_t i = 0; i < json_array_size(entries); i++) {
            VCHECK(v, lk_rtcp_fir_at(p, i, &ssrc, &seq));
            VEQ(v, ssrc, lk_vec_u64(json_array_get(entries, i), "ssrc", 0));
            VEQ(v, seq, lk_vec_u64(json_array_get(entries, i), "seq", 0));
        }
        VCHECK(v, !lk_rtcp_fir_at(p, json_array_size(entries), &ssrc, &seq));
        break;
    }
    case LK_RTCP_KIND_REMB: {
        json_t *ssrcs = json_object_get(w, "ssrcs");
        VCHECK(v, lk_rtcp_remb_bps(p) == lk_vec_u64(w, "bps", 0));
        VEQ(v, lk_rtcp_remb_count(p), json_array_size(ssrcs));
        for (size_t i = 0; i < json_array_size(ssrcs); i++)
            VEQ(v, lk_rtcp_remb_ssrc(p, i), lk_vec_u64_of(json_array_get(ssrcs, i), 0));
        break;
    }
    default: break; /* APP, XR and the rest are recognised and passed over */
    }
}

static void run_valid(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtcp_reader r;
        lk_rtcp_packet p;
        size_t n = 0;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        json_t *packets = json_object_get(c, "packets");
        VEQ(v, lk_rtcp_check(in.data, in.len), LK_OK);
        lk_rtcp_begin(&r, in.data, in.len);
        while (lk_rtcp_next(&r, &p) && VCHECK(v, n < json_array_size(packets)))
            check_packet(v, &p, json_array_get(packets, n++));
        VEQ(v, n, json_array_size(packets));
        VCHECK(v, !r.bad);
        lk_vec_free(in);
    }
}
LK_VECTOR("rtcp/rtcp_valid.json", run_valid)

/* Reads everything of everything. */
static size_t walk_all(const uint8_t *data, size_t len)
{
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    size_t work = 0;
    lk_rtcp_begin(&r, data, len);
    while (lk_rtcp_next(&r, &p)) {
        lk_rtcp_sdes_walk walk = {0};
        size_t at = 0;
        uint16_t seq;
        uint8_t type;
        uint32_t ssrc;
        lk_str text;
        work++;
        if (p.kind == LK_RTCP_KIND_SR || p.kind == LK_RTCP_KIND_RR)
            for (size_t i = 0; i < p.count; i++)
                work += lk_rtcp_report_at(&p, i).ssrc != 0;
        while (p.kind == LK_RTCP_KIND_SDES && lk_rtcp_sdes_next(&p, &walk, &type, &text))
            work++;
        while (p.kind == LK_RTCP_KIND_NACK && lk_rtcp_nack_next(&p, &at, &seq))
            work++;
        for (size_t i = 0; p.kind == LK_RTCP_KIND_FIR && lk_rtcp_fir_at(&p, i, &ssrc, &type); i++)
            work++;
        if (p.kind == LK_RTCP_KIND_BYE)
            work += lk_rtcp_bye_reason(&p).len > 0;
    }
    return work;
}

static void run_bad(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        lk_err err = lk_rtcp_check(in.data, in.len);
        if (lk_vec_is(c, "parse", "accept"))
            VEQ(v, err, LK_OK);
        if (lk_vec_is(c, "parse", "reject"))
            VCHECK(v, err != LK_OK);
        VCHECK(v, walk_all(in.data, in.len) <= 17 * (in.len / 4 + 1));
        lk_vec_free(in);
    }
}
LK_VECTOR("rtcp/rtcp_bad.json", run_bad)

static void run_pairs(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        json_t *lost = json_object_get(c, "lost"), *want = json_object_get(c, "pairs");
        uint16_t seqs[1024], pairs[1024][2];
        size_t n = LK_MIN(json_array_size(lost), LK_LEN(seqs));
        lk_vec_begin(v, c);
        for (size_t i = 0; i < n; i++)
            seqs[i] = (uint16_t)lk_vec_u64_of(json_array_get(lost, i), 0);
        size_t made = lk_rtcp_nack_pairs(seqs, n, pairs, LK_LEN(pairs));
        if (VEQ(v, made, json_array_size(want)))
            for (size_t i = 0; i < made; i++)
                for (size_t k = 0; k < 2; k++)
                    VEQ(v, pairs[i][k], lk_vec_u64_of(json_array_get(json_array_get(want, i), k), 0x10000));
    }
}
LK_VECTOR("rtcp/nack_pairs.json", run_pairs)

static void run_stats(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtp_stats s;
        size_t next = 0, n = 0, i;
        json_t *packet, *reports = json_object_get(c, "reports");
        lk_vec_begin(v, c);
        lk_rtp_stats_init(&s, (uint32_t)lk_vec_u64(c, "clock", 0));
        json_array_foreach(json_object_get(c, "packets"), i, packet) {
            lk_usec at = (lk_usec)lk_vec_u64_of(json_array_get(packet, 2), 0);
            lk_rtp_stats_receive(&s, at, (uint16_t)lk_vec_u64_of(json_array_get(packet, 0), 0),
                                 (uint32_t)lk_vec_u64_of(json_array_get(packet, 1), 0), 100, 12, 0, false);
            json_t *w = json_array_get(reports, next);
            if (++n != lk_vec_u64(w, "after", 0))
                continue;
            next++;
            lk_rtcp_report r = lk_rtp_stats_report(&s, at, 1);
            VEQ(v, r.fraction_lost, lk_vec_u64(w, "fraction", 0));
            VEQ(v, r.total_lost, lk_vec_i64(w, "cumulative_lost", 0));
            VEQ(v, r.highest_seq, lk_vec_u64(w, "ext_highest", 0));
            VEQ(v, r.jitter, lk_vec_u64(w, "jitter", 0));
            VEQ(v, s.received, lk_vec_u64(w, "received", 0));
        }
        VEQ(v, next, json_array_size(reports));
    }
}
LK_VECTOR("rtcp/receiver_stats.json", run_stats)
