// SPDX-License-Identifier: Apache-2.0
#include "pc/pc_internal.h"

#include "rtp/demux.h"

#define OUT_MAX 64
#define RESENDS_MAX 256
#define EVENTS_MAX 4096
#define PAYLOAD_MAX 1200
#define RTP_WINDOW 1024
#define RTCP_WINDOW 128
#define REPORT_MIN_USEC LK_MSEC(1000)
#define REPORT_SPAN_USEC LK_MSEC(1000)
#define HISTORY_AUDIO_PACKETS 64
#define HISTORY_AUDIO_BYTES (24 * 1024)

lk_pc_sect *lk_pc_sect_at(const lk_pc *pc, size_t i)
{
    lk_pc_sect **p = (lk_pc_sect **)lk_queue_peek((lk_queue *)&pc->sections, i);
    return p ? *p : NULL;
}

void lk_pc_queue_event(lk_pc *pc, const lk_pc_queued *ev)
{
    if (lk_queue_push(&pc->events, ev) != LK_OK)
        pc->dropped++;
}

static void set_state(lk_pc *pc, lk_pc_state state, lk_err err)
{
    if (pc->state == state || pc->state == LK_PC_STATE_CLOSED || (pc->state == LK_PC_STATE_FAILED && state != LK_PC_STATE_CLOSED && state != LK_PC_STATE_CONNECTING))
        return;
    pc->state = state;
    lk_pc_queue_event(pc, &(lk_pc_queued){.type = LK_PC_EV_STATE, .state = state, .err = err});
}

lk_err lk_pc_new(lk_pc **out, const lk_env *env, const lk_pc_config *config, lk_usec now)
{
    lk_pc *pc = (lk_pc *)lk_alloc0(env, sizeof *pc);
    if (!pc)
        return LK_ERR_NOMEM;
    pc->env = env;
    pc->config = *config;
    pc->made_at = now;
    pc->report_at = LK_NEVER;
    lk_ice_init(&pc->ice, env, &(lk_ice_config){config->controlling, config->ice_lite}, now);
    lk_dtls_init(&pc->dtls, env, config->dtls);
    lk_queue_init(&pc->sections, env, sizeof(lk_pc_sect *), LK_PC_SECTIONS_MAX);
    lk_queue_init(&pc->out, env, sizeof(lk_pc_packet), OUT_MAX);
    lk_queue_init(&pc->resends, env, sizeof(lk_pc_resend), RESENDS_MAX);
    lk_queue_init(&pc->events, env, sizeof(lk_pc_queued), EVENTS_MAX);
    pc->session_id = lk_rand_u64(env) >> 2;
    pc->feedback_ssrc = lk_rand_u32(env) | 1;
    lk_rand_text(env, pc->cname, LK_PC_CNAME_LEN);
    *out = pc;
    return LK_OK;
}

static void free_sender(lk_pc *pc, lk_pc_sect *s)
{
    if (s->sender) {
        lk_nack_history_deinit(&s->sender->history);
        lk_release(pc->env, s->sender, sizeof *s->sender);
        s->sender = NULL;
    }
}

void lk_pc_drop_receiver(lk_pc *pc, lk_pc_sect *s)
{
    if (s->receiver) {
        lk_release(pc->env, s->receiver->nack, sizeof *s->receiver->nack);
        lk_release(pc->env, s->receiver, sizeof *s->receiver);
        s->receiver = NULL;
    }
}

void lk_pc_free(lk_pc *pc)
{
    if (!pc)
        return;
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        free_sender(pc, s);
        lk_pc_drop_receiver(pc, s);
        lk_release(pc->env, s, sizeof *s);
    }
    if (pc->srtp_ready) {
        lk_srtp_deinit(&pc->srtp_tx);
        lk_srtp_deinit(&pc->srtp_rx);
    }
    lk_ice_deinit(&pc->ice);
    lk_dtls_deinit(&pc->dtls);
    lk_queue_deinit(&pc->sections);
    lk_queue_deinit(&pc->out);
    lk_queue_deinit(&pc->resends);
    lk_queue_deinit(&pc->events);
    lk_release(pc->env, pc, sizeof *pc);
}

/* ---- sections --------------------------------------------------------------------------------------- */

static bool fits(const char *z) { return strlen(z) < LK_PC_ID_MAX; }

static lk_pc_sect *find_idle(const lk_pc *pc, lk_media_kind kind, uint32_t *index)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->kind == kind && s->wanted == LK_PC_INACTIVE && s->agreed == LK_PC_INACTIVE && s->negotiated) {
            *index = (uint32_t)i;
            return s;
        }
    }
    return NULL;
}

void lk_pc_name_section(lk_pc *pc, size_t index)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, index);
    char num[LK_STR_FMT_MAX];
    bool taken = true;
    for (uint64_t n = index; taken; n++) {
        (void)lk_str_copy(s->mid, sizeof s->mid, lk_str_of(lk_u64_text(n, num)));
        taken = false;
        for (size_t i = 0; i < pc->sections.count && !taken; i++)
            taken = i != index && strcmp(lk_pc_sect_at(pc, i)->mid, s->mid) == 0;
    }
}

lk_err lk_pc_add_section(lk_pc *pc, const lk_pc_section *in, uint32_t *index)
{
    if (in->kind != LK_MEDIA_KIND_AUDIO)
        return LK_ERR_UNSUPPORTED;
    if (!fits(in->stream) || !fits(in->track))
        return LK_ERR_INVALID;
    lk_pc_sect *s = find_idle(pc, in->kind, index);
    if (!s) {
        s = (lk_pc_sect *)lk_alloc0(pc->env, sizeof *s);
        if (!s)
            return LK_ERR_NOMEM;
        lk_err err = lk_queue_push(&pc->sections, &s);
        if (err != LK_OK) {
            lk_release(pc->env, s, sizeof *s);
            return err == LK_ERR_FULL ? LK_ERR_LIMIT : err;
        }
        *index = (uint32_t)pc->sections.count - 1;
        lk_pc_name_section(pc, *index);
        s->kind = in->kind;
        s->codec.rtx_pt = s->codec.red_pt = -1;
    }
    free_sender(pc, s); /* a section used again is a new source: new SSRC, new counters */
    s->wanted = in->direction;
    s->stereo = in->stereo;
    memcpy(s->stream, in->stream, strlen(in->stream) + 1);
    memcpy(s->track, in->track, strlen(in->track) + 1);
    return LK_OK;
}

lk_err lk_pc_set_direction(lk_pc *pc, uint32_t index, lk_pc_direction direction)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, index);
    if (!s)
        return LK_ERR_NOT_FOUND;
    s->wanted = direction;
    return LK_OK;
}

size_t lk_pc_section_count(const lk_pc *pc) { return pc->sections.count; }

const char *lk_pc_mid(const lk_pc *pc, uint32_t index)
{
    const lk_pc_sect *s = lk_pc_sect_at(pc, index);
    return s ? s->mid : "";
}

size_t lk_pc_free_receivers(const lk_pc *pc, lk_media_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < pc->sections.count; i++) {
        const lk_pc_sect *s = lk_pc_sect_at(pc, i);
        n += s->kind == kind && s->wanted == LK_PC_RECVONLY && !s->remote_active;
    }
    return n;
}

static bool ssrc_taken(const lk_pc *pc, uint32_t ssrc)
{
    for (size_t i = 0; i < pc->sections.count; i++) {
        const lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if ((s->sender && s->sender->ssrc == ssrc) || (s->receiver && s->receiver->ssrc == ssrc))
            return true;
    }
    return ssrc == pc->feedback_ssrc;
}

lk_err lk_pc_make_sender(lk_pc *pc, lk_pc_sect *s)
{
    if (s->sender)
        return LK_OK;
    lk_pc_sender *t = (lk_pc_sender *)lk_alloc0(pc->env, sizeof *t);
    if (!t)
        return LK_ERR_NOMEM;
    do
        t->ssrc = lk_rand_u32(pc->env);
    while (t->ssrc == 0 || ssrc_taken(pc, t->ssrc));
    t->seq = (uint16_t)lk_rand_below(pc->env, 32768); /* far from the wrap: SRTP may lose the first packets */
    t->ts_offset = lk_rand_u32(pc->env);
    lk_nack_history_init(&t->history, pc->env,
                         &(lk_nack_history_config){.packets_max = HISTORY_AUDIO_PACKETS, .bytes_max = HISTORY_AUDIO_BYTES});
    s->sender = t;
    s->source_number = ++pc->sources;
    return LK_OK;
}

lk_err lk_pc_make_receiver(lk_pc *pc, lk_pc_sect *s, uint32_t ssrc)
{
    lk_pc_receiver *r = (lk_pc_receiver *)lk_alloc0(pc->env, sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    if (s->codec.nack) {
        r->nack = (lk_nack_generator *)lk_alloc0(pc->env, sizeof *r->nack);
        if (!r->nack) {
            lk_release(pc->env, r, sizeof *r);
            return LK_ERR_NOMEM;
        }
        lk_nack_generator_init(r->nack);
    }
    lk_pc_drop_receiver(pc, s);
    r->ssrc = ssrc;
    lk_rtp_stats_init(&r->stats, s->codec.clock_hz ? s->codec.clock_hz : 48000);
    s->receiver = r;
    return LK_OK;
}

/* ---- transport -------------------------------------------------------------------------------------- */

lk_err lk_pc_add_remote_candidate(lk_pc *pc, lk_usec now, const char *line, size_t len)
{
    return len == 0 ? LK_OK : lk_ice_add_remote(&pc->ice, now, (lk_str){line, len});
}

static void pump(lk_pc *pc, lk_usec now);

lk_err lk_pc_add_local_address(lk_pc *pc, lk_usec now, const lk_addr *addr)
{
    lk_err err = lk_ice_add_local(&pc->ice, now, addr);
    pump(pc, now);
    return err;
}

void lk_pc_restart_ice(lk_pc *pc, lk_usec now) { lk_ice_restart(&pc->ice, now); }

lk_err lk_pc_start_dtls(lk_pc *pc, lk_usec now, lk_dtls_role role)
{
    return pc->dtls.ssl ? LK_OK : lk_dtls_start(&pc->dtls, now, role);
}

static void on_keys(lk_pc *pc, lk_dtls_keys *k)
{
    lk_srtp_config c = {(lk_srtp_profile)k->srtp_profile, k->local_key, k->local_salt, RTP_WINDOW, RTCP_WINDOW, false};
    lk_err err = LK_OK;
    if (k->srtp_profile) {
        err = lk_srtp_init(&pc->srtp_tx, pc->env, &c);
        c.key = k->remote_key;
        c.salt = k->remote_salt;
        c.receiver = true;
        if (err == LK_OK)
            err = lk_srtp_init(&pc->srtp_rx, pc->env, &c);
        pc->srtp_ready = err == LK_OK;
        pc->profile = c.profile;
    }
    volatile uint8_t *wipe = (volatile uint8_t *)k;
    for (size_t i = 0; i < sizeof *k; i++)
        wipe[i] = 0;
    if (err != LK_OK)
        set_state(pc, LK_PC_STATE_FAILED, err);
}

static void update_state(lk_pc *pc)
{
    bool ice_up = pc->ice.state == LK_ICE_STATE_CONNECTED, dtls_up = pc->dtls.state == LK_DTLS_STATE_CONNECTED;
    if (pc->ice.state == LK_ICE_STATE_FAILED)
        set_state(pc, LK_PC_STATE_FAILED, LK_ERR_TIMEOUT);
    else if (ice_up && dtls_up)
        set_state(pc, LK_PC_STATE_CONNECTED, LK_OK);
    else if (pc->ice.state == LK_ICE_STATE_DISCONNECTED)
        set_state(pc, LK_PC_STATE_DISCONNECTED, LK_OK);
    else if (pc->state == LK_PC_STATE_NEW && pc->ice.state == LK_ICE_STATE_CHECKING)
        set_state(pc, LK_PC_STATE_CONNECTING, LK_OK);
}

/* Takes the events of the machines below. */
static void pump(lk_pc *pc, lk_usec now)
{
    lk_ice_event ie;
    lk_dtls_event de;
    /* The client speaks first, as soon as there is a way. */
    if (pc->dtls_client && !pc->dtls.ssl && pc->ice.state == LK_ICE_STATE_CONNECTED &&
        lk_pc_start_dtls(pc, now, LK_DTLS_CLIENT) != LK_OK)
        set_state(pc, LK_PC_STATE_FAILED, LK_ERR_NOMEM);
    while (lk_ice_poll_event(&pc->ice, &ie)) {
        if (ie.type == LK_ICE_EV_CANDIDATE) {
            lk_pc_queued q = {.type = LK_PC_EV_CANDIDATE};
            memcpy(q.text, ie.line, sizeof q.text);
            lk_pc_queue_event(pc, &q);
        }
    }
    while (lk_dtls_poll_event(&pc->dtls, &de)) {
        if (de.type == LK_DTLS_EV_CONNECTED)
            on_keys(pc, &de.keys);
        else if (de.type == LK_DTLS_EV_FAILED)
            set_state(pc, LK_PC_STATE_FAILED, de.err);
        else
            set_state(pc, LK_PC_STATE_CLOSED, LK_ERR_CLOSED);
    }
    update_state(pc);
}

/* ---- sending ---------------------------------------------------------------------------------------- */

static lk_pc_packet *push_out(lk_pc *pc)
{
    static const lk_pc_packet none; /* the bytes are written in place afterwards */
    if (lk_queue_push(&pc->out, &none) != LK_OK) {
        pc->dropped++;
        return NULL;
    }
    return (lk_pc_packet *)lk_queue_peek(&pc->out, pc->out.count - 1);
}

static void count_sent(lk_pc *pc, lk_usec now, size_t len)
{
    pc->packets_sent++;
    pc->bytes_sent += len;
    pc->last_sent_at = now;
}

static void wake_reports(lk_pc *pc, lk_usec now)
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
    if (t->before_len && age <= LK_RTP_RED_OFFSET_MAX && m->len + t->before_len + 5 <= PAYLOAD_MAX)
        blocks[n++] = (lk_rtp_red_block){s->codec.pt, (uint16_t)age, {t->before, t->before_len}};
    blocks[n++] = (lk_rtp_red_block){s->codec.pt, 0, {m->payload, m->len}};
    lk_rtp_red_write(w, blocks, n);
    t->before_len = m->len <= sizeof t->before ? m->len : 0;
    t->before_ts = m->ts;
    memcpy(t->before, m->payload, t->before_len);
}

lk_err lk_pc_send(lk_pc *pc, lk_usec now, uint32_t index, const lk_pc_media *m)
{
    lk_pc_sect *s = lk_pc_sect_at(pc, index);
    if (!s || !pc->srtp_ready || pc->state != LK_PC_STATE_CONNECTED || !s->sender || !(s->agreed & LK_PC_SENDONLY))
        return LK_ERR_STATE;
    if (m->len == 0 || m->len > PAYLOAD_MAX)
        return LK_ERR_LIMIT;
    lk_pc_sender *t = s->sender;
    uint8_t level = (uint8_t)((m->voice ? 0x80 : 0) | (m->level & 0x7f));
    lk_rtp_ext_out ext[2];
    size_t n = 0;
    if (m->has_level && s->level_id)
        ext[n++] = (lk_rtp_ext_out){s->level_id, 1, &level};
    if (s->mid_id && !t->heard && strlen(s->mid) <= 16)
        ext[n++] = (lk_rtp_ext_out){s->mid_id, (uint8_t)strlen(s->mid), (const uint8_t *)s->mid};
    lk_pc_packet *p = push_out(pc);
    if (!p)
        return LK_ERR_FULL;
    lk_wr w = lk_wr_of(p->data, sizeof p->data);
    uint32_t ts = m->ts + t->ts_offset;
    lk_rtp_write_header(&w, s->codec.send_red ? (uint8_t)s->codec.red_pt : s->codec.pt, m->marker, t->seq, ts, t->ssrc, ext, n);
    size_t header = w.len, len;
    if (s->codec.send_red)
        put_red(&w, s, m);
    else
        lk_wr_put(&w, m->payload, m->len);
    len = w.len;
    size_t payload_len = len - header;
    if (s->codec.nack)
        lk_nack_history_store(&t->history, now, p->data, len);
    lk_err err = w.bad ? LK_ERR_LIMIT : lk_srtp_protect_rtp(&pc->srtp_tx, p->data, &len, sizeof p->data);
    if (err != LK_OK) {
        pc->out.count--;
        return err;
    }
    p->len = (uint16_t)len;
    t->seq++;
    t->packets++;
    t->bytes += payload_len;
    t->header_bytes += header;
    t->last_ts = ts;
    t->last_at = now;
    t->sent_since_report = true;
    wake_reports(pc, now);
    return LK_OK;
}

uint8_t lk_pc_remote_loss(const lk_pc *pc, uint32_t index)
{
    const lk_pc_sect *s = lk_pc_sect_at(pc, index);
    return s && s->sender && s->sender->has_report ? LK_MAX(s->sender->report.fraction_lost, s->sender->asked_again) : 0;
}

static size_t protect_rtcp(lk_pc *pc, lk_wr *w)
{
    size_t len = w->len;
    if (w->bad || len == 0 || lk_srtp_protect_rtcp(&pc->srtp_tx, w->data, &len, w->cap) != LK_OK)
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

/* ---- receiving -------------------------------------------------------------------------------------- */

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

static void on_rtp(lk_pc *pc, lk_usec now, size_t len)
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
    if (resent) {
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
    wake_reports(pc, now);
    if (r->nack) {
        /* Who only receives gets no reports about itself: the checks of the path know its round trip. */
        lk_usec rtt = pc->ice.selected >= 0 ? lk_ice_pair_at(&pc->ice, (size_t)pc->ice.selected)->current_rtt_usec : 0;
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

static lk_pc_sect *section_of_sender(const lk_pc *pc, uint32_t ssrc, uint32_t *index)
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

static void on_report_block(lk_pc *pc, lk_usec now, const lk_rtcp_report *b)
{
    uint32_t index;
    lk_pc_sect *s = section_of_sender(pc, b->ssrc, &index);
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
}

static void on_nack(lk_pc *pc, const lk_rtcp_packet *p)
{
    uint32_t index = 0;
    lk_pc_sect *s = section_of_sender(pc, p->media, &index);
    size_t at = 0;
    uint16_t seq;
    if (!s)
        return;
    s->sender->nack_count++;
    lk_nack_history_begin(&s->sender->history);
    while (lk_rtcp_nack_next(p, &at, &seq))
        if (lk_queue_push(&pc->resends, &(lk_pc_resend){index, seq}) != LK_OK)
            return; /* what is asked beyond the bound is asked again */
}

static void on_rtcp(lk_pc *pc, lk_usec now, size_t len)
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
            on_nack(pc, &p);
        } else if (p.kind == LK_RTCP_KIND_PLI || p.kind == LK_RTCP_KIND_FIR) {
            lk_pc_sect *s = section_of_sender(pc, p.media, &index);
            if (s)
                p.kind == LK_RTCP_KIND_PLI ? s->sender->pli_count++ : s->sender->fir_count++;
        }
    }
    pc->dropped += reader.bad;
}

void lk_pc_input(lk_pc *pc, lk_usec now, const lk_datagram *d)
{
    if (pc->closing || d->len > sizeof pc->rx) {
        pc->dropped++;
        return;
    }
    lk_demux_class c = lk_demux(d->data, d->len);
    if (c == LK_DEMUX_STUN) {
        lk_ice_input(&pc->ice, now, d);
        pump(pc, now);
        return;
    }
    /* Everything else only from where an authenticated check came from. */
    if (!lk_ice_is_valid(&pc->ice, &d->local, &d->remote)) {
        pc->dropped++;
        return;
    }
    size_t len = d->len;
    if (c == LK_DEMUX_DTLS) {
        pc->dtls_local = d->local;
        pc->dtls_remote = d->remote;
        pc->dtls_path_known = true;
        lk_dtls_input(&pc->dtls, now, d->data, d->len);
        pump(pc, now);
    } else if ((c == LK_DEMUX_RTP || c == LK_DEMUX_RTCP) && pc->srtp_ready) {
        memcpy(pc->rx, d->data, d->len);
        lk_err err = c == LK_DEMUX_RTP ? lk_srtp_unprotect_rtp(&pc->srtp_rx, pc->rx, &len)
                                       : lk_srtp_unprotect_rtcp(&pc->srtp_rx, pc->rx, &len);
        if (err != LK_OK) {
            pc->dropped++;
            return;
        }
        c == LK_DEMUX_RTP ? on_rtp(pc, now, len) : on_rtcp(pc, now, len);
    } else {
        pc->dropped++;
        return;
    }
    pc->packets_received++;
    pc->bytes_received += d->len;
    pc->last_received_at = now;
}

/* ---- time ------------------------------------------------------------------------------------------- */

void lk_pc_tick(lk_pc *pc, lk_usec now)
{
    if (pc->closing)
        return;
    lk_ice_tick(&pc->ice, now);
    lk_dtls_tick(&pc->dtls, now);
    if (pc->srtp_ready && now >= pc->report_at)
        send_reports(pc, now);
    if (pc->srtp_ready)
        send_nacks(pc, now);
    pump(pc, now);
}

lk_usec lk_pc_deadline(const lk_pc *pc)
{
    if (pc->closing || pc->state == LK_PC_STATE_FAILED)
        return LK_NEVER;
    lk_usec at = LK_MIN(lk_ice_deadline(&pc->ice), lk_dtls_deadline(&pc->dtls));
    if (!pc->srtp_ready)
        return at;
    at = LK_MIN(at, pc->report_at);
    for (size_t i = 0; i < pc->sections.count; i++) {
        const lk_pc_receiver *r = lk_pc_sect_at(pc, i)->receiver;
        if (r && r->nack)
            at = LK_MIN(at, lk_nack_generator_deadline(r->nack));
    }
    return at;
}

static bool poll_resend(lk_pc *pc, lk_usec now, size_t *len)
{
    lk_pc_resend want;
    while (lk_queue_pop(&pc->resends, &want)) {
        lk_pc_sect *s = lk_pc_sect_at(pc, want.index);
        if (!s || !s->sender || !pc->srtp_ready)
            continue;
        *len = lk_nack_history_resend(&s->sender->history, now, want.seq, pc->tx, LK_RTP_PACKET_MAX);
        if (*len && lk_srtp_protect_rtp(&pc->srtp_tx, pc->tx, len, sizeof pc->tx) == LK_OK)
            return true;
    }
    return false;
}

bool lk_pc_poll_tx(lk_pc *pc, lk_usec now, lk_datagram *out)
{
    lk_addr local, remote;
    lk_bytes record;
    size_t len = 0;
    if (!pc->closing && lk_ice_poll_tx(&pc->ice, now, out))
        return true;
    bool selected = lk_ice_selected(&pc->ice, &local, &remote);
    if (selected || pc->dtls_path_known) {
        if (!selected) {
            local = pc->dtls_local;
            remote = pc->dtls_remote;
        }
        if (lk_dtls_poll_tx(&pc->dtls, &record)) {
            *out = (lk_datagram){local, remote, record.data, record.len};
            count_sent(pc, now, record.len);
            return true;
        }
    }
    if (!selected)
        return false;
    lk_pc_packet *p = (lk_pc_packet *)lk_queue_peek(&pc->out, 0);
    if (p) {
        len = p->len;
        memcpy(pc->tx, p->data, len);
        lk_queue_pop(&pc->out, NULL);
    } else if (!poll_resend(pc, now, &len)) {
        return false;
    }
    *out = (lk_datagram){local, remote, pc->tx, len};
    count_sent(pc, now, len);
    return true;
}

bool lk_pc_poll_event(lk_pc *pc, lk_pc_event *out)
{
    if (pc->has_rtp) {
        *out = pc->rtp_event;
        pc->has_rtp = false;
        return true;
    }
    if (!lk_queue_pop(&pc->events, &pc->event_now))
        return false;
    const lk_pc_queued *q = &pc->event_now;
    const lk_pc_sect *s = lk_pc_sect_at(pc, q->index);
    *out = (lk_pc_event){.type = q->type, .state = q->state, .err = q->err, .index = q->index, .active = q->active, .text = q->text,
                         .stream = s ? s->remote_stream : "", .track = s ? s->remote_track : ""};
    return true;
}

lk_pc_state lk_pc_state_of(const lk_pc *pc) { return pc->state; }
const char *lk_pc_local_ufrag(const lk_pc *pc) { return pc->ice.ufrag; }

void lk_pc_close(lk_pc *pc, lk_usec now)
{
    if (pc->closing)
        return;
    lk_pc_packet *p = pc->srtp_ready ? push_out(pc) : NULL;
    if (p) {
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
    lk_dtls_close(&pc->dtls, now);
    pc->closing = true;
    set_state(pc, LK_PC_STATE_CLOSED, LK_OK);
}
