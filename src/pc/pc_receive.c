// SPDX-License-Identifier: Apache-2.0
/* What arrives at a peer connection: media finds its section, feedback finds what it is about. */
#include "pc/pc_internal.h"
#include "rtp/rtp_ext.h"

static lk_pc_sect *section_of_ssrc(const lk_pc *pc, uint32_t ssrc, uint32_t *index)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->receiver && (s->receiver->ssrc == ssrc || (s->receiver->rtx_ssrc && s->receiver->rtx_ssrc == ssrc))) {
            *index = (uint32_t)i;
            return s;
        }
    }
    return NULL;
}

/* A source nobody announced: its MID extension tells the section. [RFC8843 s9.2] */
static lk_pc_sect *section_of_mid(lk_pc *pc, const lk_rtp_packet *p, uint32_t *index)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        lk_bytes mid;
        if (!(s->agreed & LK_PC_RECVONLY) || !s->mid_id || !lk_rtp_ext_find(p, s->mid_id, &mid))
            continue;
        if (mid.len == strlen(s->mid) && memcmp(mid.data, s->mid, mid.len) == 0 && lk_pc_make_receiver(pc, s, p->ssrc) == LK_OK) {
            *index = (uint32_t)i;
            return s;
        }
    }
    return NULL;
}

void lk_pc_on_rtp(lk_pc *pc, lk_usec now, size_t len)
{
    lk_rtp_packet p;
    uint32_t index = 0;
    if (lk_rtp_parse(&p, pc->rx, len) != LK_OK) {
        pc->dropped++;
        return;
    }
    lk_pc_sect *s = section_of_ssrc(pc, p.ssrc, &index);
    if (!s)
        s = section_of_mid(pc, &p, &index);
    if (!s || !(s->agreed & LK_PC_RECVONLY)) {
        pc->dropped++;
        return;
    }
    lk_pc_receiver *r = s->receiver;
    bool resent = r->rtx_ssrc == p.ssrc;
    lk_bytes twcc;
    uint16_t number;
    if (s->twcc_id && lk_rtp_ext_find(&p, s->twcc_id, &twcc) && lk_rtp_ext_transport_seq(twcc, &number)) {
        pc->arrived_ssrc = r->ssrc;
        if (lk_twcc_recorder_receive(&pc->arrived, now, number) != LK_OK)
            pc->dropped++;
    }
    if (resent) { /* or padding, a probe of the sender's: told of above, and not unwrapped */
        uint8_t copy[LK_RTP_PACKET_MAX];
        memcpy(copy, pc->rx, len);
        size_t n = lk_nack_unwrap_rtx(pc->rx, sizeof pc->rx, copy, len, s->codec.pt, r->ssrc);
        r->retransmitted_packets++;
        r->retransmitted_bytes += p.payload_len;
        if (n == 0 || lk_rtp_parse(&p, pc->rx, n) != LK_OK)
            return;
    }
    lk_rtp_stats_receive(&r->stats, now, p.seq, p.ts, p.payload_len, p.header_len, p.padding_len, resent);
    r->received_since_report = true;
    lk_pc_wake_reports(pc, now);
    if (r->nack) {
        /* Who only receives gets no reports about itself: the checks of the path know its round trip. */
        lk_usec rtt = lk_pc_rtt_usec(pc);
        if (rtt)
            lk_nack_generator_set_rtt(r->nack, rtt);
        lk_nack_generator_receive(r->nack, now, p.seq);
    }
    if (p.payload_len == 0)
        return; /* padding: a probe, never for the decoder */
    bool red = p.pt == s->codec.red_pt;
    if (p.pt != s->codec.pt && !red) {
        r->discarded++;
        return;
    }
    pc->rtp_event = (lk_pc_event){.type = LK_PC_EV_RTP, .index = index, .packet = p, .red = red};
    pc->has_rtp = true;
}

static void on_report_block(lk_pc *pc, lk_usec now, const lk_rtcp_report *b)
{
    uint32_t index;
    lk_pc_sect *s = lk_pc_section_of_sender(pc, b->ssrc, &index);
    if (!s)
        return;
    lk_pc_sender *t = s->sender;
    t->heard = t->has_report = true;
    t->report = *b;
    t->report_at = now;
    uint64_t sent = t->packets - t->packets_then, resent = t->history.resent_packets - t->resent_then;
    uint64_t asked = sent ? LK_MIN(resent * 256 / sent, UINT64_C(255)) : 0, decayed = t->asked_again * 7u / 8;
    t->asked_again = (uint8_t)LK_MAX(asked, decayed);
    t->packets_then = t->packets;
    t->resent_then = t->history.resent_packets;
    if (!b->lsr)
        return;
    uint32_t mid32 = lk_ntp_mid32(lk_ntp_from_unix_usec(pc->config.unix_usec + (now - pc->made_at)));
    t->rtt_s = lk_ntp_rtt_q16(mid32, b->lsr, b->dlsr) / 65536.0;
    t->total_rtt_s += t->rtt_s;
    t->rtt_count++;
    lk_usec rtt = (lk_usec)(t->rtt_s * 1e6);
    lk_nack_history_set_rtt(&t->history, rtt);
    if (s->twcc_id)
        lk_estimator_report(&pc->estimator, now, b->fraction_lost, rtt);
}

static void on_key_request(lk_pc *pc, const lk_rtcp_packet *p)
{
    uint32_t index, ssrc = p->media;
    uint8_t seq;
    bool fir = p->kind == LK_RTCP_KIND_FIR;
    if (fir && !lk_rtcp_fir_at(p, 0, &ssrc, &seq)) /* a FIR names its source inside [RFC5104 s4.3.1.1] */
        return;
    lk_pc_sect *s = lk_pc_section_of_sender(pc, ssrc, &index);
    if (!s)
        return;
    fir ? s->sender->fir_count++ : s->sender->pli_count++;
    lk_pc_queue_event(pc, &(lk_pc_queued){.type = LK_PC_EV_KEY, .index = index});
}

static void on_feedback(lk_pc *pc, lk_usec now, const lk_rtcp_packet *p)
{
    lk_twcc_result results[512];
    size_t n = lk_twcc_history_feedback(&pc->sent, p, results, LK_LEN(results));
    lk_estimator_feedback(&pc->estimator, now, results, n);
}

void lk_pc_on_rtcp(lk_pc *pc, lk_usec now, size_t len)
{
    lk_rtcp_reader reader;
    lk_rtcp_packet p;
    uint32_t index;
    lk_rtcp_begin(&reader, pc->rx, len);
    while (lk_rtcp_next(&reader, &p)) {
        if (p.kind == LK_RTCP_KIND_SR) {
            lk_pc_sect *s = section_of_ssrc(pc, p.sender, &index);
            if (s && s->receiver->ssrc == p.sender) {
                lk_pc_receiver *r = s->receiver;
                lk_rtp_stats_on_sr(&r->stats, now, p.ntp);
                r->sr_count++;
                r->sr_packets = p.packets;
                r->sr_octets = p.octets;
                r->sr_ntp = p.ntp;
                r->sr_at = now;
            }
        }
        if (p.kind == LK_RTCP_KIND_SR || p.kind == LK_RTCP_KIND_RR) {
            for (size_t i = 0; i < p.count; i++) {
                lk_rtcp_report b = lk_rtcp_report_at(&p, i);
                on_report_block(pc, now, &b);
            }
        } else if (p.kind == LK_RTCP_KIND_NACK) {
            lk_pc_on_nack(pc, now, &p);
        } else if (p.kind == LK_RTCP_KIND_PLI || p.kind == LK_RTCP_KIND_FIR) {
            on_key_request(pc, &p);
        } else if (p.kind == LK_RTCP_KIND_TWCC) {
            on_feedback(pc, now, &p);
        } else if (p.kind == LK_RTCP_KIND_REMB) {
            lk_estimator_remb(&pc->estimator, now, lk_rtcp_remb_bps(&p));
        }
    }
    pc->dropped += reader.bad;
}
