// SPDX-License-Identifier: Apache-2.0
/* Reports and feedback, both ways. */
#include "sfu/hub_internal.h"

#define REPORT_FIRST_USEC LK_MSEC(200)
#define REPORT_USEC LK_SEC(1)
#define SENDER_REPORT_USEC LK_SEC(3)
#define COMPOUND_BYTES 1100u
#define BLOCKS_MAX 31u
#define OFFSET_CREEP (INT64_C(1) << 19) /* 0.1 ms a report: clocks drift apart both ways */
#define RECEIVING_USEC LK_SEC(3)

void lk_peer_wake_reports(lk_peer *p, lk_usec now)
{
    if (p->report_at != LK_NEVER)
        return;
    p->report_at = now + REPORT_FIRST_USEC;
    lk_hub_touch(p);
}

/* ---- what leaves ---- */

static void put_sender_report(lk_wr *w, lk_peer *p, lk_down *d, lk_usec now)
{
    uint64_t ntp = lk_hub_ntp(p->hub, now);
    uint32_t clock = lk_hub_codec_rows[d->codec].clock_hz;
    const lk_up *up = d->up;
    const lk_up_lay *l = up && d->layer >= 0 ? &up->layers[d->layer] : NULL;
    uint32_t ts = d->ts + (uint32_t)((now - d->at) * (int64_t)clock / 1000000);
    if (l && l->has_sr && up->peer && up->peer->has_offset) {
        /* The publisher's own relation of clocks: it holds audio and video of one source together. */
        int64_t since = (int64_t)(ntp - (uint64_t)up->peer->ntp_offset - l->sr_ntp);
        ts = l->sr_ts + (uint32_t)(int64_t)((double)since / 4294967296.0 * clock) + (uint32_t)d->ts_off;
    }
    lk_rtcp_sender_info info = {ntp, ts, (uint32_t)d->packets, (uint32_t)d->octets};
    lk_rtcp_write_sr(w, d->ssrc, &info, NULL, 0);
    lk_rtcp_write_sdes_cname(w, d->ssrc, d->stream);
}

/* One compound of what is due; what does not fit follows in the next. It begins with our own SSRC, whatever follows: SRTCP counts
 * by the first one, and hundreds of counters would be kept otherwise. */
static void write_reports(lk_peer *p, lk_usec now, lk_wr *w)
{
    lk_rtcp_report blocks[BLOCKS_MAX];
    size_t count = 0, reports = 0;
    bool waits = false;
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        for (size_t i = 0; i < up->layer_count && count < BLOCKS_MAX; i++)
            if (up->layers[i].received_since_report) {
                blocks[count++] = lk_rtp_stats_report(&up->layers[i].stats, now, up->layers[i].ssrc);
                up->layers[i].received_since_report = false;
            }
    }
    lk_rtcp_write_rr(w, p->rtcp_ssrc, blocks, count);
    lk_rtcp_write_sdes_cname(w, p->rtcp_ssrc, p->cname);
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (!d->sent_since_report)
            continue;
        waits = true;
        if (now < d->sr_at + SENDER_REPORT_USEC || w->len > COMPOUND_BYTES - 200)
            continue;
        put_sender_report(w, p, d, now);
        reports++;
        d->sent_since_report = false;
        d->sr_at = now;
    }
    bool more = w->len > COMPOUND_BYTES - 200;
    if (!reports && !count)
        w->len = 0;
    p->report_at = more ? now : waits || count ? now + REPORT_USEC : LK_NEVER;
}

static void write_bye(lk_peer *p, lk_wr *w)
{
    p->bye_due = false;
    lk_rtcp_write_rr(w, p->rtcp_ssrc, NULL, 0);
    LK_LIST_EACH(&p->downs, at)
        if (LK_CONTAINER(at, lk_down, link)->started && w->len < COMPOUND_BYTES)
            lk_rtcp_write_bye(w, LK_CONTAINER(at, lk_down, link)->ssrc);
}

/* A request for a key frame or for what is missing of one layer. */
static bool write_request(lk_peer *p, lk_usec now, lk_up *up, size_t layer, lk_wr *w)
{
    lk_up_lay *l = &up->layers[layer];
    uint16_t seqs[LK_NACK_OUTSTANDING_MAX];
    if (now >= lk_up_key_deadline(up, layer)) {
        l->key_wanted = false;
        l->key_asked_at = now;
        lk_rtcp_write_rr(w, p->rtcp_ssrc, NULL, 0);
        lk_rtcp_write_pli(w, p->rtcp_ssrc, l->ssrc);
        p->hub->stats.plis_sent++;
        return true;
    }
    if (!l->nack || up->muted || now < lk_nack_generator_deadline(l->nack))
        return false;
    if (p->rtt_usec || l->nack->answer_usec)
        lk_nack_generator_set_rtt(l->nack, p->rtt_usec ? p->rtt_usec : l->nack->answer_usec);
    size_t n = lk_nack_generator_collect(l->nack, now, seqs, LK_LEN(seqs));
    if (n == 0)
        return false;
    lk_rtcp_write_rr(w, p->rtcp_ssrc, NULL, 0);
    lk_rtcp_write_nack(w, p->rtcp_ssrc, l->ssrc, seqs, n);
    p->hub->stats.nacks_sent++;
    return true;
}

size_t lk_peer_write_rtcp(lk_peer *p, lk_usec now, uint8_t *out, size_t cap)
{
    lk_wr w = lk_wr_of(out, cap);
    if (p->closing) {
        if (p->bye_due)
            write_bye(p, &w);
        return w.bad ? 0 : w.len;
    }
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        for (size_t i = 0; i < up->layer_count; i++)
            if (write_request(p, now, up, i, &w))
                return w.bad ? 0 : w.len;
    }
    if (now >= lk_twcc_recorder_deadline(&p->arrived)) {
        lk_rtcp_write_rr(&w, p->rtcp_ssrc, NULL, 0);
        w.cap = LK_MIN(w.cap, (size_t)LK_RTP_PACKET_MAX - 64);
        if (lk_twcc_recorder_write(&p->arrived, now, false, p->rtcp_ssrc, p->twcc_ssrc, &w))
            return w.bad ? 0 : w.len;
        w = lk_wr_of(out, cap);
    }
    if (now >= p->report_at)
        write_reports(p, now, &w);
    return w.bad ? 0 : w.len;
}

lk_usec lk_peer_rtcp_deadline(const lk_peer *p)
{
    lk_usec at = LK_MIN(p->report_at, lk_twcc_recorder_deadline(&p->arrived));
    LK_LIST_EACH(&p->ups, link) {
        const lk_up *up = LK_CONTAINER(link, lk_up, link);
        for (size_t i = 0; i < up->layer_count; i++) {
            at = LK_MIN(at, lk_up_key_deadline(up, i));
            if (up->layers[i].nack && !up->muted)
                at = LK_MIN(at, lk_nack_generator_deadline(up->layers[i].nack));
        }
    }
    return at;
}

/* ---- what arrives ---- */

static lk_down *down_of(const lk_peer *p, uint32_t ssrc)
{
    LK_LIST_EACH(&p->downs, at)
        if (LK_CONTAINER(at, lk_down, link)->ssrc == ssrc)
            return LK_CONTAINER(at, lk_down, link);
    return NULL;
}

static void on_sender_report(lk_peer *p, lk_usec now, const lk_rtcp_packet *r)
{
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        for (size_t i = 0; i < up->layer_count; i++) {
            lk_up_lay *l = &up->layers[i];
            if (l->ssrc != r->sender || !l->slots)
                continue;
            lk_rtp_stats_on_sr(&l->stats, now, r->ntp);
            l->has_sr = true;
            l->sr_ntp = r->ntp;
            l->sr_ts = r->rtp_ts;
            l->sr_at = now;
            int64_t offset = (int64_t)(lk_hub_ntp(p->hub, now) - r->ntp);
            p->ntp_offset = p->has_offset ? LK_MIN(p->ntp_offset + OFFSET_CREEP, offset) : offset;
            p->has_offset = true;
            return;
        }
    }
}

static void on_report(lk_peer *p, lk_usec now, const lk_rtcp_report *b)
{
    lk_down *d = down_of(p, b->ssrc);
    if (!d)
        return;
    d->report = *b;
    if (!d->has_report) {
        d->quality_seq = b->highest_seq;
        d->quality_lost = b->total_lost;
    }
    d->has_report = true;
    if (!b->lsr)
        return;
    uint32_t q16 = lk_ntp_rtt_q16(lk_ntp_mid32(lk_hub_ntp(p->hub, now)), b->lsr, b->dlsr);
    p->rtt_usec = (lk_usec)q16 * 1000000 / 65536;
    if (d->twcc_id || d->ast_id)
        lk_estimator_report(&p->estimator, now, b->fraction_lost, p->rtt_usec);
}

static void on_key_request(lk_peer *p, lk_usec now, const lk_rtcp_packet *r)
{
    uint32_t ssrc = r->media;
    uint8_t seq;
    if (r->kind == LK_RTCP_KIND_FIR && !lk_rtcp_fir_at(r, 0, &ssrc, &seq))
        return;
    lk_down *d = down_of(p, ssrc);
    if (d && d->up && d->open && d->layer >= 0)
        lk_up_want_key(d->up, now, (size_t)d->layer);
}

static void on_feedback(lk_peer *p, lk_usec now, const lk_rtcp_packet *r)
{
    lk_twcc_result results[512];
    size_t n = lk_twcc_history_feedback(&p->sent, r, results, LK_LEN(results));
    lk_estimator_feedback(&p->estimator, now, results, n);
    p->has_feedback |= n > 0;
    lk_peer_estimated(p, now);
}

void lk_peer_on_rtcp(lk_peer *p, lk_usec now, const uint8_t *data, size_t len)
{
    lk_rtcp_reader reader;
    lk_rtcp_packet r;
    lk_down *d;
    lk_rtcp_begin(&reader, data, len);
    p->heard_at = now;
    while (lk_rtcp_next(&reader, &r)) {
        if (r.kind == LK_RTCP_KIND_SR)
            on_sender_report(p, now, &r);
        if (r.kind == LK_RTCP_KIND_SR || r.kind == LK_RTCP_KIND_RR) {
            for (size_t i = 0; i < r.count; i++) {
                lk_rtcp_report b = lk_rtcp_report_at(&r, i);
                on_report(p, now, &b);
            }
        } else if (r.kind == LK_RTCP_KIND_NACK && (d = down_of(p, r.media)) != NULL && d->up && d->open) {
            lk_down_on_nack(d, now, &r);
        } else if (r.kind == LK_RTCP_KIND_PLI || r.kind == LK_RTCP_KIND_FIR) {
            on_key_request(p, now, &r);
        } else if (r.kind == LK_RTCP_KIND_TWCC) {
            on_feedback(p, now, &r);
        } else if (r.kind == LK_RTCP_KIND_REMB) {
            lk_estimator_remb(&p->estimator, now, lk_rtcp_remb_bps(&r));
            p->has_feedback = true;
            lk_peer_estimated(p, now);
        }
    }
    p->hub->stats.dropped += reader.bad;
}

void lk_peer_take_quality(lk_peer *p, lk_usec now, lk_peer_quality *out)
{
    *out = (lk_peer_quality){.rtt_usec = p->rtt_usec, .receiving = p->heard_at && now - p->heard_at < RECEIVING_USEC,
                             .estimate_bps = p->has_feedback ? lk_estimator_target_bps(&p->estimator) : 0};
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        for (size_t i = 0; i < up->layer_count && !up->muted; i++) {
            lk_up_lay *l = &up->layers[i];
            if (!l->slots || !l->stats.started)
                continue;
            int64_t expected = l->stats.highest - l->stats.first + 1, lost = lk_rtp_stats_lost(&l->stats);
            out->up_expected += (uint32_t)LK_MAX(expected - l->quality_expected, INT64_C(0));
            out->up_lost += (uint32_t)LK_MAX(lost - l->quality_lost, INT64_C(0));
            l->quality_expected = expected;
            l->quality_lost = lost;
            out->jitter_usec = LK_MAX(out->jitter_usec, (lk_usec)l->stats.jitter_q4 * 62500 / LK_MAX(l->stats.clock_rate, 1u));
        }
    }
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (!d->has_report)
            continue;
        uint32_t expected = d->report.highest_seq - d->quality_seq;
        int32_t lost = d->report.total_lost - d->quality_lost;
        out->down_expected += expected < 1u << 20 ? expected : 0;
        out->down_lost += lost > 0 ? (uint32_t)lost : 0;
        d->quality_seq = d->report.highest_seq;
        d->quality_lost = d->report.total_lost;
        uint32_t clock = d->codec < LK_HUB_CODECS ? lk_hub_codec_rows[d->codec].clock_hz : 90000;
        out->jitter_usec = LK_MAX(out->jitter_usec, (lk_usec)d->report.jitter * 1000000 / clock);
    }
}
