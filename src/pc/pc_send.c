// SPDX-License-Identifier: Apache-2.0
/* What leaves a peer connection: media, paced or not, resends, reports and feedback. */
#include "pc/pc_internal.h"

#define REPORT_MIN_USEC LK_MSEC(1000)
#define REPORT_SPAN_USEC LK_MSEC(1000)
#define SPARE_MAX 64
#define TWCC_AT (LK_RTP_HEADER_LEN + 4 + 1) /* value of the first element of the extension block */

static lk_pc_packet *push_out(lk_pc *pc)
{
    static const lk_pc_packet none; /* the bytes are written in place afterwards */
    if (lk_queue_push(&pc->out, &none) != LK_OK) {
        pc->dropped++;
        return NULL;
    }
    return (lk_pc_packet *)lk_queue_peek(&pc->out, pc->out.count - 1);
}

void lk_pc_wake_reports(lk_pc *pc, lk_usec now)
{
    if (pc->report_at == LK_NEVER)
        pc->report_at = now + REPORT_MIN_USEC / 2 + lk_rand_below(pc->env, REPORT_SPAN_USEC / 2);
}

/* The payload, behind the one before if that is recent and small enough. */
static void put_red(lk_wr *w, const lk_pc_sect *s, const lk_pc_media *m)
{
    lk_pc_sender *t = s->sender;
    lk_rtp_red_block blocks[2];
    size_t n = 0;
    uint32_t age = m->ts - t->before_ts;
    if (t->before_len && age <= LK_RTP_RED_OFFSET_MAX && m->len + t->before_len + 5 <= LK_PC_PAYLOAD_MAX)
        blocks[n++] = (lk_rtp_red_block){s->codec.pt, (uint16_t)age, {t->before, t->before_len}};
    blocks[n++] = (lk_rtp_red_block){s->codec.pt, 0, {m->payload, m->len}};
    lk_rtp_red_write(w, blocks, n);
    t->before_len = m->len <= sizeof t->before ? m->len : 0;
    t->before_ts = m->ts;
    memcpy(t->before, m->payload, t->before_len);
}

lk_pc_sect *lk_pc_section_of_sender(const lk_pc *pc, uint32_t ssrc, uint32_t *index)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->sender && s->sender->ssrc == ssrc) {
            *index = (uint32_t)i;
            return s;
        }
    }
    return NULL;
}

/* ---- media ---- */

static size_t put_header(const lk_pc_sect *s, lk_wr *w, const lk_pc_media *m, uint8_t pt)
{
    static const uint8_t later[2];
    const lk_pc_sender *t = s->sender;
    uint8_t level = (uint8_t)((m->voice ? 0x80 : 0) | (m->level & 0x7f));
    lk_rtp_ext_out ext[3];
    size_t n = 0;
    if (s->twcc_id)
        ext[n++] = (lk_rtp_ext_out){s->twcc_id, 2, later}; /* first: TWCC_AT depends on it */
    if (m->has_level && s->level_id)
        ext[n++] = (lk_rtp_ext_out){s->level_id, 1, &level};
    if (s->mid_id && !t->heard && strlen(s->mid) <= 16)
        ext[n++] = (lk_rtp_ext_out){s->mid_id, (uint8_t)strlen(s->mid), (const uint8_t *)s->mid};
    lk_rtp_write_header(w, pt, m->marker, t->seq, m->ts + t->ts_offset, t->ssrc, ext, n);
    return w->len;
}

static void count_media(lk_pc *pc, lk_pc_sender *t, lk_usec now, uint32_t ts, size_t header, size_t payload)
{
    t->packets++;
    t->bytes += payload;
    t->header_bytes += header;
    t->last_ts = ts;
    t->last_at = now;
    t->sent_since_report = true;
    lk_pc_wake_reports(pc, now);
}

/* Audio: protected at once, in front of everything that is paced. */
static lk_err send_now(lk_pc *pc, lk_usec now, lk_pc_sect *s, const lk_pc_media *m)
{
    lk_pc_sender *t = s->sender;
    lk_pc_packet *p = push_out(pc);
    if (!p)
        return LK_ERR_FULL;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    size_t header = put_header(s, &w, m, s->codec.send_red ? (uint8_t)s->codec.red_pt : s->codec.pt), len;
    if (s->codec.send_red)
        put_red(&w, s, m);
    else
        lk_wr_put(&w, m->payload, m->len);
    len = w.len;
    size_t payload_len = len - header;
    if (s->codec.nack)
        lk_nack_history_store(&t->history, now, p->data, len);
    lk_err err = w.bad ? LK_ERR_LIMIT : lk_srtp_protect_rtp(&pc->transport.srtp_tx, p->data, &len, sizeof p->data);
    if (err != LK_OK) {
        pc->out.count--;
        return err;
    }
    p->len = (uint16_t)len;
    t->seq++;
    count_media(pc, t, now, m->ts + t->ts_offset, header, payload_len);
    return LK_OK;
}

static lk_pc_paced *take_paced(lk_pc *pc)
{
    lk_pc_paced *p = pc->spare;
    if (!p)
        return (lk_pc_paced *)lk_alloc(pc->env, sizeof *p);
    pc->spare = p->next;
    pc->spare_count--;
    return p;
}

static void give_paced(lk_pc *pc, lk_pc_paced *p)
{
    if (pc->spare_count >= SPARE_MAX) {
        lk_release(pc->env, p, sizeof *p);
        return;
    }
    p->next = pc->spare;
    pc->spare = p;
    pc->spare_count++;
}

void lk_pc_free_paced(lk_pc *pc)
{
    void *p;
    while (lk_pacer_pop(&pc->pacer, &p))
        lk_release(pc->env, p, sizeof(lk_pc_paced));
    while (pc->spare) {
        lk_pc_paced *next = pc->spare->next;
        lk_release(pc->env, pc->spare, sizeof *pc->spare);
        pc->spare = next;
    }
    pc->spare_count = 0;
}

static lk_err send_paced(lk_pc *pc, lk_usec now, uint32_t index, lk_pc_sect *s, const lk_pc_media *m)
{
    lk_pc_paced *p = take_paced(pc);
    if (!p)
        return LK_ERR_NOMEM;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    put_header(s, &w, m, s->codec.pt);
    lk_wr_put(&w, m->payload, m->len);
    p->index = index;
    p->ssrc = s->sender->ssrc;
    p->len = (uint16_t)w.len;
    p->payload_len = (uint16_t)m->len;
    p->twcc_at = s->twcc_id ? TWCC_AT : 0;
    p->queued_at = now;
    lk_err err = w.bad ? LK_ERR_LIMIT : lk_pacer_push(&pc->pacer, now, LK_PACER_VIDEO, p, w.len);
    if (err != LK_OK) {
        pc->dropped++;
        give_paced(pc, p);
        return err;
    }
    s->sender->seq++;
    return LK_OK;
}

lk_err lk_pc_send(lk_pc *pc, lk_usec now, uint32_t index, const lk_pc_media *m)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, index);
    if (!s || !pc->transport.srtp_ready || pc->state != LK_PC_STATE_CONNECTED || !s->sender || !(s->agreed & LK_PC_SENDONLY))
        return LK_ERR_STATE;
    if (m->len == 0 || m->len > LK_PC_PAYLOAD_MAX)
        return LK_ERR_LIMIT;
    return s->kind == LK_MEDIA_KIND_VIDEO ? send_paced(pc, now, index, s, m) : send_now(pc, now, s, m);
}

uint64_t lk_pc_target_bps(const lk_pc *pc) { return lk_estimator_target_bps(&pc->estimator); }
void lk_pc_set_demand(lk_pc *pc, lk_usec now, uint64_t bps) { lk_estimator_set_demand(&pc->estimator, now, bps); }

void lk_pc_set_pacing(lk_pc *pc, lk_usec now, uint64_t rate_bps) { lk_pacer_set_rate(&pc->pacer, now, rate_bps); }

static void number_packet(lk_pc *pc, lk_usec now, const lk_pc_paced *p)
{
    lk_put_u16(pc->tx + p->twcc_at, lk_twcc_history_send(&pc->sent, now, p->len));
    lk_estimator_sent(&pc->estimator, now, p->len);
}

/* A paced packet's turn: numbered, remembered, protected. False: it was of a source that is no more. */
static bool let_out(lk_pc *pc, lk_usec now, lk_pacer_class c, const lk_pc_paced *p, size_t *len)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, p->index);
    if (!s || !s->sender || s->sender->ssrc != p->ssrc)
        return false;
    lk_pc_sender *t = s->sender;
    memcpy(pc->tx, p->data, p->len);
    *len = p->len;
    if (c == LK_PACER_VIDEO) {
        if (p->twcc_at)
            number_packet(pc, now, p);
        if (s->codec.nack)
            lk_nack_history_store(&t->history, now, pc->tx, p->len);
        t->send_delay_s += (double)(now - p->queued_at) / 1e6;
        count_media(pc, t, now, lk_get_u32(pc->tx + 4), (size_t)p->len - p->payload_len, p->payload_len);
    }
    return lk_srtp_protect_rtp(&pc->transport.srtp_tx, pc->tx, len, sizeof pc->tx) == LK_OK;
}

static bool poll_paced(lk_pc *pc, lk_usec now, size_t *len)
{
    lk_pacer_class c;
    void *packet;
    while (lk_pacer_poll(&pc->pacer, now, &c, &packet)) {
        bool leaves = let_out(pc, now, c, (lk_pc_paced *)packet, len);
        give_paced(pc, (lk_pc_paced *)packet);
        if (leaves)
            return true;
    }
    return false;
}

/* ---- resends ---- */

static void resend_paced(lk_pc *pc, lk_usec now, uint32_t index, lk_pc_sect *s, uint16_t seq)
{
    lk_pc_paced *p = take_paced(pc);
    if (!p)
        return;
    size_t len = lk_nack_history_resend(&s->sender->history, now, seq, p->data, sizeof p->data);
    p->index = index;
    p->ssrc = s->sender->ssrc;
    p->len = (uint16_t)len;
    p->twcc_at = 0; /* the same text under the same number */
    if (len == 0 || lk_pacer_push(&pc->pacer, now, LK_PACER_RETRANSMIT, p, len) != LK_OK)
        give_paced(pc, p);
}

void lk_pc_on_nack(lk_pc *pc, lk_usec now, const lk_rtcp_packet *p)
{
    uint32_t index = 0;
    lk_pc_sect *s = lk_pc_section_of_sender(pc, p->media, &index);
    size_t at = 0;
    uint16_t seq;
    if (!s)
        return;
    s->sender->nack_count++;
    lk_nack_history_begin(&s->sender->history);
    while (lk_rtcp_nack_next(p, &at, &seq)) {
        if (s->kind == LK_MEDIA_KIND_VIDEO)
            resend_paced(pc, now, index, s, seq);
        else if (lk_queue_push(&pc->resends, &(lk_pc_resend){index, seq}) != LK_OK)
            return; /* what is asked beyond the bound is asked again */
    }
}

static bool poll_resend(lk_pc *pc, lk_usec now, size_t *len)
{
    lk_pc_resend want;
    while (lk_queue_pop(&pc->resends, &want)) {
        lk_pc_sect *s = lk_pc_sect_at(pc, want.index);
        if (!s || !s->sender || !pc->transport.srtp_ready)
            continue;
        *len = lk_nack_history_resend(&s->sender->history, now, want.seq, pc->tx, LK_RTP_PACKET_MAX);
        if (*len && lk_srtp_protect_rtp(&pc->transport.srtp_tx, pc->tx, len, sizeof pc->tx) == LK_OK)
            return true;
    }
    return false;
}

bool lk_pc_poll_packet(lk_pc *pc, lk_usec now, size_t *len)
{
    const lk_pc_packet *p = (const lk_pc_packet *)lk_queue_peek(&pc->out, 0);
    if (!p)
        return poll_resend(pc, now, len) || poll_paced(pc, now, len);
    *len = p->len;
    memcpy(pc->tx, p->data, p->len);
    lk_queue_pop(&pc->out, NULL);
    return true;
}

uint8_t lk_pc_remote_loss(const lk_pc *pc, uint32_t index)
{
    const lk_pc_sect *s = lk_pc_sect_at(pc, index);
    return s && s->sender && s->sender->has_report ? LK_MAX(s->sender->report.fraction_lost, s->sender->asked_again) : 0;
}

/* ---- RTCP ---- */

static size_t protect_rtcp(lk_pc *pc, lk_wr *w)
{
    size_t len = w->len;
    if (w->bad || len == 0 || lk_srtp_protect_rtcp(&pc->transport.srtp_tx, w->data, &len, w->cap) != LK_OK)
        return 0;
    return len;
}

/* One compound: sender reports with SDES, else a receiver report; blocks for everything heard lately. */
static void send_reports(lk_pc *pc, lk_usec now)
{
    lk_rtcp_report blocks[31];
    size_t count = 0, senders = 0;
    lk_pc_packet *p = push_out(pc);
    if (!p)
        return;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    for (size_t i = 0; i < pc->sections.count && count < LK_LEN(blocks); i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->receiver && s->receiver->received_since_report) {
            blocks[count++] = lk_rtp_stats_report(&s->receiver->stats, now, s->receiver->ssrc);
            s->receiver->received_since_report = false;
        }
    }
    uint64_t ntp = lk_ntp_from_unix_usec(pc->config.unix_usec + (now - pc->made_at));
    for (size_t i = 0; i < pc->sections.count && w.len < 1000; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        lk_pc_sender *t = s->sender;
        if (!t || !t->sent_since_report)
            continue;
        t->sent_since_report = false;
        uint32_t ticks = (uint32_t)((now - t->last_at) * (int64_t)s->codec.clock_hz / 1000000);
        lk_rtcp_sender_info info = {ntp, t->last_ts + ticks, (uint32_t)t->packets, (uint32_t)t->bytes};
        lk_rtcp_write_sr(&w, t->ssrc, &info, blocks, senders == 0 ? count : 0);
        lk_rtcp_write_sdes_cname(&w, t->ssrc, pc->cname);
        senders++;
    }
    if (senders == 0 && count) {
        lk_rtcp_write_rr(&w, pc->feedback_ssrc, blocks, count);
        lk_rtcp_write_sdes_cname(&w, pc->feedback_ssrc, pc->cname);
    }
    p->len = (uint16_t)protect_rtcp(pc, &w);
    bool active = senders || count;
    if (p->len == 0)
        pc->out.count--;
    pc->report_at = active ? now + REPORT_MIN_USEC + lk_rand_below(pc->env, REPORT_SPAN_USEC) : LK_NEVER;
}

static void send_nacks(lk_pc *pc, lk_usec now)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_receiver *r = lk_pc_sect_at(pc, i)->receiver;
        uint16_t seqs[LK_NACK_OUTSTANDING_MAX];
        if (!r || !r->nack || now < lk_nack_generator_deadline(r->nack))
            continue;
        size_t n = lk_nack_generator_collect(r->nack, now, seqs, LK_LEN(seqs));
        lk_pc_packet *p = n ? push_out(pc) : NULL;
        if (!p)
            continue;
        lk_wr w = lk_wr_of(p->data, sizeof p->data);
        lk_rtcp_write_rr(&w, pc->feedback_ssrc, NULL, 0); /* a compound begins with a report [RFC3550 s6.1] */
        lk_rtcp_write_nack(&w, pc->feedback_ssrc, r->ssrc, seqs, n);
        p->len = (uint16_t)protect_rtcp(pc, &w);
        r->nack_count++;
        if (p->len == 0)
            pc->out.count--;
    }
}

void lk_pc_request_key(lk_pc *pc, lk_usec now, uint32_t index)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, index);
    lk_pc_packet *p = s && s->receiver && pc->transport.srtp_ready ? push_out(pc) : NULL;
    LK_UNUSED(now);
    if (!p)
        return;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    lk_rtcp_write_rr(&w, pc->feedback_ssrc, NULL, 0);
    lk_rtcp_write_pli(&w, pc->feedback_ssrc, s->receiver->ssrc);
    p->len = (uint16_t)protect_rtcp(pc, &w);
    s->receiver->pli_count++;
    if (p->len == 0)
        pc->out.count--;
}

static void send_feedback(lk_pc *pc, lk_usec now)
{
    for (bool more = true; more && now >= lk_twcc_recorder_deadline(&pc->arrived);) {
        lk_pc_packet *p = push_out(pc);
        if (!p)
            return;
        lk_wr w = lk_wr_of(p->data, LK_RTP_PACKET_MAX - 64);
        lk_rtcp_write_rr(&w, pc->feedback_ssrc, NULL, 0);
        more = lk_twcc_recorder_write(&pc->arrived, now, false, pc->feedback_ssrc, pc->arrived_ssrc, &w);
        w.cap = sizeof p->data;
        p->len = more ? (uint16_t)protect_rtcp(pc, &w) : 0;
        if (p->len == 0)
            pc->out.count--;
    }
}

void lk_pc_send_bye(lk_pc *pc)
{
    lk_pc_packet *p = push_out(pc);
    if (!p)
        return;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    lk_rtcp_write_rr(&w, pc->feedback_ssrc, NULL, 0);
    for (size_t i = 0; i < pc->sections.count && w.len < 1000; i++) {
        const lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->sender && s->sender->packets)
            lk_rtcp_write_bye(&w, s->sender->ssrc);
    }
    p->len = w.len > 8 ? (uint16_t)protect_rtcp(pc, &w) : 0;
    if (p->len == 0)
        pc->out.count--;
}

void lk_pc_send_due(lk_pc *pc, lk_usec now)
{
    if (now >= pc->report_at)
        send_reports(pc, now);
    send_nacks(pc, now);
    send_feedback(pc, now);
    lk_estimator_tick(&pc->estimator, now);
}

lk_usec lk_pc_send_deadline(const lk_pc *pc)
{
    lk_usec at = LK_MIN(pc->report_at, lk_twcc_recorder_deadline(&pc->arrived));
    for (size_t i = 0; i < pc->sections.count; i++) {
        const lk_pc_receiver *r = lk_pc_sect_at(pc, i)->receiver;
        if (r && r->nack)
            at = LK_MIN(at, lk_nack_generator_deadline(r->nack));
    }
    at = LK_MIN(at, lk_estimator_deadline(&pc->estimator));
    return LK_MIN(at, lk_pacer_deadline(&pc->pacer));
}
