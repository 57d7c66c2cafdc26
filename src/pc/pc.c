// SPDX-License-Identifier: Apache-2.0
#include "pc/pc_internal.h"

#include "rtp/demux.h"

#define OUT_MAX 64
#define RESENDS_MAX 256
#define EVENTS_MAX 4096
#define HISTORY_AUDIO_PACKETS 64
#define HISTORY_AUDIO_BYTES (24 * 1024)
#define PACER_BURST_USEC LK_MSEC(4) /* lk_pc_set_pacing gets 2.5 times the estimate: 10 ms of that */
#define START_BPS 1000000 /* as the field starts; the first second tells more */
#define HISTORY_VIDEO_PACKETS 1024 /* two seconds at 5 Mbit/s */
#define HISTORY_VIDEO_BYTES (1280 * 1024)

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
    lk_transport_init(&pc->transport, env, config->dtls);
    lk_queue_init(&pc->sections, env, sizeof(lk_pc_sect *), LK_PC_SECTIONS_MAX);
    lk_queue_init(&pc->out, env, sizeof(lk_pc_packet), OUT_MAX);
    lk_queue_init(&pc->resends, env, sizeof(lk_pc_resend), RESENDS_MAX);
    lk_queue_init(&pc->events, env, sizeof(lk_pc_queued), EVENTS_MAX);
    lk_pacer_init(&pc->pacer, env, &(lk_pacer_config){.burst_usec = PACER_BURST_USEC}, now);
    lk_twcc_history_init(&pc->sent, env, (uint16_t)lk_rand_u32(env));
    lk_twcc_recorder_init(&pc->arrived, env);
    lk_estimator_init(&pc->estimator, env, &(lk_estimator_config){.start_bps = START_BPS}, now);
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
    lk_pc_free_paced(pc);
    lk_transport_deinit(&pc->transport);
    lk_pacer_deinit(&pc->pacer);
    lk_twcc_history_deinit(&pc->sent);
    lk_twcc_recorder_deinit(&pc->arrived);
    lk_ice_deinit(&pc->ice);
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
        if (!s->data && s->kind == kind && s->wanted == LK_PC_INACTIVE && s->agreed == LK_PC_INACTIVE && s->negotiated) {
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

static lk_err check_section(const lk_pc_section *in)
{
    if ((in->kind != LK_MEDIA_KIND_AUDIO && in->kind != LK_MEDIA_KIND_VIDEO) || !lk_pc_codec_known(in->kind, in->codec ? in->codec : ""))
        return LK_ERR_UNSUPPORTED;
    return fits(in->stream) && fits(in->track) ? LK_OK : LK_ERR_INVALID;
}

static void set_section(lk_pc *pc, lk_pc_sect *s, const lk_pc_section *in)
{
    free_sender(pc, s); /* a section used again is a new source: new SSRC, new counters */
    s->wanted = in->direction;
    s->stereo = in->stereo;
    (void)lk_str_copy(s->codec_wanted, sizeof s->codec_wanted, lk_str_of(in->codec));
    memcpy(s->stream, in->stream, strlen(in->stream) + 1);
    memcpy(s->track, in->track, strlen(in->track) + 1);
}

/* A section at the end, with its number for a name; nothing is known of it yet. */
static lk_err append(lk_pc *pc, lk_pc_sect **out)
{
    lk_pc_sect *s = (lk_pc_sect *)lk_alloc0(pc->env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    lk_err err = lk_queue_push(&pc->sections, &s);
    if (err != LK_OK) {
        lk_release(pc->env, s, sizeof *s);
        return err == LK_ERR_FULL ? LK_ERR_LIMIT : err;
    }
    s->codec.rtx_pt = s->codec.red_pt = -1;
    lk_pc_name_section(pc, pc->sections.count - 1);
    *out = s;
    return LK_OK;
}

lk_err lk_pc_append_section(lk_pc *pc, const lk_pc_section *in, uint32_t *index)
{
    lk_pc_sect *s;
    lk_err err = check_section(in);
    if (err == LK_OK)
        err = append(pc, &s);
    if (err != LK_OK)
        return err;
    *index = (uint32_t)pc->sections.count - 1;
    s->kind = in->kind;
    set_section(pc, s, in);
    return LK_OK;
}

lk_err lk_pc_append_data_section(lk_pc *pc)
{
    lk_pc_sect *s;
    lk_err err = append(pc, &s);
    if (err == LK_OK) {
        s->data = true;
        s->wanted = LK_PC_SENDRECV;
    }
    return err;
}

lk_err lk_pc_add_section(lk_pc *pc, const lk_pc_section *in, uint32_t *index)
{
    lk_err err = check_section(in);
    lk_pc_sect *s = err == LK_OK ? find_idle(pc, in->kind, index) : NULL;
    if (!s)
        return err == LK_OK ? lk_pc_append_section(pc, in, index) : err;
    set_section(pc, s, in);
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

const char *lk_pc_codec(const lk_pc *pc, uint32_t index)
{
    const lk_pc_sect *s = lk_pc_sect_at(pc, index);
    return s && s->codec.mime[0] ? s->codec.mime + 6 : ""; /* after "audio/" or "video/" */
}

lk_usec lk_pc_rtt_usec(const lk_pc *pc)
{
    return pc->ice.selected >= 0 ? lk_ice_pair_at(&pc->ice, (size_t)pc->ice.selected)->current_rtt_usec : 0;
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
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    lk_nack_history_init(&t->history, pc->env,
                         &(lk_nack_history_config){.packets_max = video ? HISTORY_VIDEO_PACKETS : HISTORY_AUDIO_PACKETS,
                                                   .bytes_max = video ? HISTORY_VIDEO_BYTES : HISTORY_AUDIO_BYTES});
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

lk_err lk_pc_add_stun_server(lk_pc *pc, lk_usec now, const lk_addr *server)
{
    lk_err err = lk_ice_add_server(&pc->ice, now, server);
    pump(pc, now);
    return err;
}

void lk_pc_restart_ice(lk_pc *pc, lk_usec now) { lk_ice_restart(&pc->ice, now); }

static void update_state(lk_pc *pc)
{
    bool ice_up = pc->ice.state == LK_ICE_STATE_CONNECTED, dtls_up = pc->transport.dtls.state == LK_DTLS_STATE_CONNECTED;
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
    lk_err err = LK_OK;
    if (pc->ice.state == LK_ICE_STATE_CONNECTED && lk_transport_path(&pc->transport, now) != LK_OK)
        set_state(pc, LK_PC_STATE_FAILED, LK_ERR_NOMEM);
    while (lk_ice_poll_event(&pc->ice, &ie)) {
        if (ie.type == LK_ICE_EV_CANDIDATE) {
            lk_pc_queued q = {.type = LK_PC_EV_CANDIDATE};
            memcpy(q.text, ie.line, sizeof q.text);
            lk_pc_queue_event(pc, &q);
        }
    }
    for (lk_transport_change c; (c = lk_transport_poll_change(&pc->transport, now, &err)) != LK_TRANSPORT_SAME;)
        if (c != LK_TRANSPORT_CONNECTED)
            set_state(pc, c == LK_TRANSPORT_FAILED ? LK_PC_STATE_FAILED : LK_PC_STATE_CLOSED, err);
    update_state(pc);
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
        lk_transport_input(&pc->transport, now, d->data, d->len);
        pump(pc, now);
    } else if ((c == LK_DEMUX_RTP || c == LK_DEMUX_RTCP) && pc->transport.srtp_ready) {
        memcpy(pc->rx, d->data, d->len);
        lk_err err = c == LK_DEMUX_RTP ? lk_srtp_unprotect_rtp(&pc->transport.srtp_rx, pc->rx, &len)
                                       : lk_srtp_unprotect_rtcp(&pc->transport.srtp_rx, pc->rx, &len);
        if (err != LK_OK) {
            pc->dropped++;
            return;
        }
        c == LK_DEMUX_RTP ? lk_pc_on_rtp(pc, now, len) : lk_pc_on_rtcp(pc, now, len);
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
    lk_transport_tick(&pc->transport, now);
    if (pc->transport.srtp_ready)
        lk_pc_send_due(pc, now);
    pump(pc, now);
}

lk_usec lk_pc_deadline(const lk_pc *pc)
{
    if (pc->closing || pc->state == LK_PC_STATE_FAILED)
        return LK_NEVER;
    lk_usec at = LK_MIN(lk_ice_deadline(&pc->ice), lk_transport_deadline(&pc->transport));
    return pc->transport.srtp_ready ? LK_MIN(at, lk_pc_send_deadline(pc)) : at;
}

static void count_sent(lk_pc *pc, lk_usec now, size_t len)
{
    pc->packets_sent++;
    pc->bytes_sent += len;
    pc->last_sent_at = now;
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
        if (lk_transport_poll_tx(&pc->transport, now, selected, &record)) {
            *out = (lk_datagram){local, remote, record.data, record.len};
            count_sent(pc, now, record.len);
            return true;
        }
    }
    if (!selected)
        return false;
    if (!lk_pc_poll_packet(pc, now, &len))
        return false;
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
        return lk_pc_data_poll_event(pc, out);
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
    if (pc->transport.srtp_ready)
        lk_pc_send_bye(pc);
    lk_transport_close(&pc->transport, now);
    pc->closing = true;
    set_state(pc, LK_PC_STATE_CLOSED, LK_OK);
}
