// SPDX-License-Identifier: Apache-2.0
#include "pc/pc_internal.h"

/* Texts are built in place; a longer one is cut, never overrun. */
typedef struct tail {
    char *p;
    size_t cap, len;
} tail;

static void add(tail *t, const char *text)
{
    for (; *text && t->len + 1 < t->cap; text++)
        t->p[t->len++] = *text;
    t->p[t->len] = 0;
}

static void join(char *out, size_t cap, const char *const *parts, size_t n)
{
    tail t = {out, cap, 0};
    out[0] = 0;
    for (size_t i = 0; i < n; i++)
        add(&t, parts[i]);
}
#define JOIN(out, ...)                                             \
    do {                                                           \
        const char *const parts_[] = {__VA_ARGS__};                \
        join((out), sizeof(out), parts_, LK_LEN(parts_));          \
    } while (0)

typedef struct report {
    const lk_pc *pc;
    lk_usec now;
    lk_stats *out;
    size_t count, cap;
    char transport[8], local_cert[LK_STATS_TEXT_MAX], remote_cert[LK_STATS_TEXT_MAX], pair[32];
} report;

static lk_stats *entry(report *r, lk_stats_kind kind, const char *id)
{
    if (r->count == r->cap)
        return NULL;
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->out[i].rtc.id, id) == 0)
            return NULL; /* already told */
    lk_stats *e = &r->out[r->count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    JOIN(e->rtc.id, id);
    e->rtc.timestamp = r->pc->config.unix_usec + (r->now - r->pc->made_at);
    return e;
}

double lk_pc_unix_msec(const lk_pc *pc, lk_usec at)
{
    return (double)(pc->config.unix_usec + (at - pc->made_at)) / 1000.0;
}

static void put_certificate(report *r, const char *id, const uint8_t *der, size_t len)
{
    lk_stats *e = len ? entry(r, LK_STATS_certificate, id) : NULL;
    lk_text t;
    if (!e)
        return;
    JOIN(e->certificate.certificate.fingerprint, id + 2);
    JOIN(e->certificate.certificate.fingerprint_algorithm, "sha-256");
    lk_text_init(&t, r->pc->env, sizeof e->certificate.certificate.base64_certificate - 1);
    lk_base64_put(&t, LK_BASE64_STD, der, len);
    JOIN(e->certificate.certificate.base64_certificate, lk_text_cstr(&t));
    lk_text_deinit(&t);
}

static void put_candidate(report *r, const lk_ice_candidate *c, bool local)
{
    char id[16];
    JOIN(id, "I", c->id);
    lk_stats *e = entry(r, local ? LK_STATS_local_candidate : LK_STATS_remote_candidate, id);
    if (!e)
        return;
    lk_stats_IceCandidate *s = local ? &e->local_candidate.candidate : &e->remote_candidate.candidate;
    JOIN(s->transport_id, r->transport);
    (void)lk_addr_ip_text(&c->addr, s->address);
    s->port = c->addr.port;
    JOIN(s->protocol, "udp");
    s->candidate_type = (int)c->type;
    s->relay_protocol = s->tcp_type = -1;
    s->priority = (int)c->priority;
    JOIN(s->foundation, c->foundation);
    if (c->type == LK_ICE_SRFLX && local) {
        const lk_addr *base = &lk_ice_local_at(&r->pc->ice, c->base)->addr;
        (void)lk_addr_ip_text(base, s->related_address);
        s->related_port = base->port;
    }
    if (local)
        JOIN(s->username_fragment, r->pc->ice.ufrag);
    else
        JOIN(s->username_fragment, r->pc->ice.remote_ufrag ? r->pc->ice.remote_ufrag : "");
}

static void pair_id(const lk_pc *pc, const lk_ice_pair *p, char out[32])
{
    const char *const parts[] = {"CP", lk_ice_local_at(&pc->ice, p->local)->id, "_", lk_ice_remote_at(&pc->ice, p->remote)->id};
    join(out, 32, parts, LK_LEN(parts));
}

static void put_pair(report *r, size_t index)
{
    /* Order of IceCandidatePairState in the schema: frozen, waiting, in progress, failed, succeeded. */
    static const int states[] = {0, 1, 2, 4, 3};
    const lk_pc *pc = r->pc;
    const lk_ice_pair *p = lk_ice_pair_at(&pc->ice, index);
    char id[32];
    pair_id(pc, p, id);
    lk_stats *e = entry(r, LK_STATS_candidate_pair, id);
    if (!e)
        return;
    lk_stats_CandidatePair *s = &e->candidate_pair.candidate_pair;
    JOIN(s->transport_id, r->transport);
    JOIN(s->local_candidate_id, "I", lk_ice_local_at(&pc->ice, p->local)->id);
    JOIN(s->remote_candidate_id, "I", lk_ice_remote_at(&pc->ice, p->remote)->id);
    s->state = states[p->state];
    s->nominated = p->nominated;
    s->requests_sent = p->requests_sent;
    s->requests_received = p->requests_received;
    s->responses_sent = p->responses_sent;
    s->responses_received = p->responses_received;
    s->consent_requests_sent = p->consent_requests_sent;
    s->total_round_trip_time = (double)p->total_rtt_usec / 1e6;
    s->current_round_trip_time = (double)p->current_rtt_usec / 1e6;
    if ((int)index == pc->ice.selected) {
        s->available_outgoing_bitrate = (double)lk_pc_target_bps(pc);
        s->packets_sent = pc->packets_sent;
        s->packets_received = pc->packets_received;
        s->bytes_sent = pc->bytes_sent;
        s->bytes_received = pc->bytes_received;
        s->last_packet_sent_timestamp = pc->last_sent_at ? lk_pc_unix_msec(pc, pc->last_sent_at) : 0;
        s->last_packet_received_timestamp = pc->last_received_at ? lk_pc_unix_msec(pc, pc->last_received_at) : 0;
    }
    put_candidate(r, lk_ice_local_at(&pc->ice, p->local), true);
    put_candidate(r, lk_ice_remote_at(&pc->ice, p->remote), false);
}

static void put_transport(report *r)
{
    /* DtlsTransportState and IceTransportState of the schema. */
    static const int dtls[] = {0, 1, 1, 2, 3, 4}, ice[] = {0, 1, 2, 4, 5};
    const lk_pc *pc = r->pc;
    lk_stats *e = entry(r, LK_STATS_transport, r->transport);
    uint8_t der[1024];
    char local[LK_STATS_TEXT_MAX];
    if (!e)
        return;
    lk_stats_Transport *s = &e->transport.transport;
    s->packets_sent = pc->packets_sent;
    s->packets_received = pc->packets_received;
    s->bytes_sent = pc->bytes_sent;
    s->bytes_received = pc->bytes_received;
    s->ice_role = pc->ice.config.controlling ? LK_STATS_ICE_ROLE_CONTROLLING : LK_STATS_ICE_ROLE_CONTROLLED;
    JOIN(s->ice_local_username_fragment, pc->ice.ufrag);
    s->dtls_state = dtls[pc->transport.dtls.state];
    s->ice_state = ice[pc->ice.state];
    JOIN(s->selected_candidate_pair_id, r->pair);
    JOIN(s->local_certificate_id, r->local_cert);
    JOIN(s->remote_certificate_id, r->remote_cert);
    if (pc->transport.dtls.state == LK_DTLS_STATE_CONNECTED) {
        JOIN(s->tls_version, "FEFD");
        JOIN(s->dtls_cipher, lk_dtls_cipher(&pc->transport.dtls));
        JOIN(s->srtp_cipher, lk_srtp_profile_name(pc->transport.profile));
    }
    s->dtls_role = !pc->transport.dtls.ssl ? 2 : pc->transport.dtls.role == LK_DTLS_CLIENT ? 0 : 1;
    s->selected_candidate_pair_changes = pc->ice.selected_changes;
    lk_bytes own = lk_dtls_local_certificate(pc->config.dtls);
    JOIN(local, r->local_cert);
    put_certificate(r, local, own.data, own.len);
    size_t n = lk_dtls_remote_certificate(&pc->transport.dtls, der, sizeof der);
    if (n)
        put_certificate(r, r->remote_cert, der, n);
    if (pc->ice.selected >= 0)
        put_pair(r, (size_t)pc->ice.selected);
}

static void begin(report *r, const lk_pc *pc, lk_usec now, lk_stats *out, size_t cap)
{
    char remote[96];
    const char *own = lk_dtls_context_fingerprint(pc->config.dtls);
    *r = (report){.pc = pc, .now = now, .out = out, .cap = cap};
    JOIN(r->transport, "T01");
    JOIN(r->local_cert, "CF", own + 8); /* after "sha-256 " */
    if (lk_dtls_remote_fingerprint(&pc->transport.dtls, remote))
        JOIN(r->remote_cert, "CF", remote);
    if (pc->ice.selected >= 0)
        pair_id(pc, lk_ice_pair_at(&pc->ice, (size_t)pc->ice.selected), r->pair);
}

static void put_codec(report *r, const lk_pc_sect *s, bool outbound, char id[LK_STATS_TEXT_MAX])
{
    char pt[LK_STR_FMT_MAX];
    lk_u64_text(s->codec.pt, pt);
    const char *const parts[] = {outbound ? "COT01_" : "CIT01_", pt, "_", s->codec.local_fmtp};
    join(id, LK_STATS_TEXT_MAX, parts, s->codec.local_fmtp[0] ? 4 : 2);
    lk_stats *e = entry(r, LK_STATS_codec, id);
    if (!e)
        return;
    lk_stats_Codec *c = &e->codec.codec;
    c->payload_type = s->codec.pt;
    JOIN(c->transport_id, r->transport);
    JOIN(c->mime_type, s->codec.mime);
    c->clock_rate = s->codec.clock_hz;
    c->channels = s->codec.channels;
    JOIN(c->sdp_fmtp_line, s->codec.local_fmtp);
}

static bool is_video(const lk_pc_sect *s) { return s->kind == LK_MEDIA_KIND_VIDEO; }
static const char *kind_of(const lk_pc_sect *s) { return is_video(s) ? "video" : "audio"; }

static void put_stream(lk_stats_RtpStream *s, const report *r, const lk_pc_sect *sect, uint32_t ssrc, const char *codec)
{
    s->ssrc = ssrc;
    JOIN(s->kind, kind_of(sect));
    JOIN(s->transport_id, r->transport);
    JOIN(s->codec_id, codec);
}

static void put_outbound(report *r, const lk_pc_sect *s)
{
    const lk_pc_sender *t = s->sender;
    char ssrc[LK_STR_FMT_MAX], number[LK_STR_FMT_MAX], codec[LK_STATS_TEXT_MAX], id[48], remote[48] = "", source[32];
    lk_u64_text(t->ssrc, ssrc);
    JOIN(id, is_video(s) ? "OT01V" : "OT01A", ssrc);
    JOIN(source, is_video(s) ? "SV" : "SA", lk_u64_text(s->source_number, number));
    if (t->has_report)
        JOIN(remote, is_video(s) ? "RIV" : "RIA", ssrc);
    put_codec(r, s, true, codec);
    lk_stats *e = entry(r, LK_STATS_outbound_rtp, id);
    if (e) {
        put_stream(&e->outbound_rtp.stream, r, s, t->ssrc, codec);
        e->outbound_rtp.sent.packets_sent = t->packets;
        e->outbound_rtp.sent.bytes_sent = t->bytes;
        lk_stats_OutboundRtpStream *o = &e->outbound_rtp.outbound;
        JOIN(o->mid, s->mid);
        JOIN(o->media_source_id, source);
        JOIN(o->remote_id, remote);
        o->header_bytes_sent = t->header_bytes;
        o->retransmitted_packets_sent = t->history.resent_packets;
        o->retransmitted_bytes_sent = t->history.resent_bytes;
        o->nack_count = t->nack_count;
        o->pli_count = t->pli_count;
        o->fir_count = t->fir_count;
        o->total_packet_send_delay = t->send_delay_s;
        o->active = (s->agreed & LK_PC_SENDONLY) != 0;
    }
    e = entry(r, LK_STATS_media_source, source);
    if (e) {
        JOIN(e->media_source.source.track_identifier, s->track);
        JOIN(e->media_source.source.kind, kind_of(s));
    }
    e = t->has_report ? entry(r, LK_STATS_remote_inbound_rtp, remote) : NULL;
    if (e) {
        e->rtc.timestamp = r->pc->config.unix_usec + (t->report_at - r->pc->made_at);
        put_stream(&e->remote_inbound_rtp.stream, r, s, t->ssrc, codec);
        e->remote_inbound_rtp.received.packets_lost = t->report.total_lost;
        e->remote_inbound_rtp.received.jitter = s->codec.clock_hz ? (double)t->report.jitter / s->codec.clock_hz : 0;
        lk_stats_RemoteInboundRtpStream *i = &e->remote_inbound_rtp.remote_inbound;
        JOIN(i->local_id, id);
        i->round_trip_time = t->rtt_s;
        i->total_round_trip_time = t->total_rtt_s;
        i->fraction_lost = t->report.fraction_lost / 256.0;
        i->round_trip_time_measurements = t->rtt_count;
    }
}

static void put_inbound(report *r, const lk_pc_sect *s)
{
    const lk_pc_receiver *v = s->receiver;
    char ssrc[LK_STR_FMT_MAX], codec[LK_STATS_TEXT_MAX], id[48], remote[48] = "";
    lk_u64_text(v->ssrc, ssrc);
    JOIN(id, is_video(s) ? "IT01V" : "IT01A", ssrc);
    if (v->sr_count)
        JOIN(remote, is_video(s) ? "ROV" : "ROA", ssrc);
    put_codec(r, s, false, codec);
    lk_stats *e = entry(r, LK_STATS_inbound_rtp, id);
    if (e) {
        put_stream(&e->inbound_rtp.stream, r, s, v->ssrc, codec);
        e->inbound_rtp.received.packets_received = v->stats.received;
        e->inbound_rtp.received.packets_lost = lk_rtp_stats_lost(&v->stats);
        e->inbound_rtp.received.jitter = v->stats.clock_rate ? (double)(v->stats.jitter_q4 >> 4) / v->stats.clock_rate : 0;
        lk_stats_InboundRtpStream *i = &e->inbound_rtp.inbound;
        JOIN(i->track_identifier, s->remote_track);
        JOIN(i->mid, s->mid);
        JOIN(i->remote_id, remote);
        i->bytes_received = v->stats.bytes;
        i->header_bytes_received = v->stats.header_bytes + v->stats.padding_bytes;
        i->packets_discarded = v->discarded;
        i->nack_count = (uint32_t)v->nack_count;
        i->pli_count = (uint32_t)v->pli_count;
        i->retransmitted_packets_received = v->retransmitted_packets + (v->nack ? v->nack->recovered : 0);
        i->retransmitted_bytes_received = v->retransmitted_bytes;
        i->rtx_ssrc = v->rtx_ssrc;
        i->last_packet_received_timestamp = v->stats.started ? lk_pc_unix_msec(r->pc, v->stats.last_at) : 0;
    }
    e = v->sr_count ? entry(r, LK_STATS_remote_outbound_rtp, remote) : NULL;
    if (e) {
        e->rtc.timestamp = r->pc->config.unix_usec + (v->sr_at - r->pc->made_at);
        put_stream(&e->remote_outbound_rtp.stream, r, s, v->ssrc, codec);
        e->remote_outbound_rtp.sent.packets_sent = v->sr_packets;
        e->remote_outbound_rtp.sent.bytes_sent = v->sr_octets;
        lk_stats_RemoteOutboundRtpStream *o = &e->remote_outbound_rtp.remote_outbound;
        JOIN(o->local_id, id);
        o->reports_sent = v->sr_count;
        /* NTP to Unix milliseconds. */
        double seconds = (double)(v->sr_ntp >> 32) - 2208988800.0 + (double)(v->sr_ntp & 0xffffffffu) / 4294967296.0;
        o->remote_timestamp = seconds * 1000.0;
    }
}

static void put_channels(report *r)
{
    /* DataChannelState of the schema: connecting, open, closing, closed. */
    static const int states[] = {0, 1, 3};
    for (size_t i = 0; i < r->pc->transport.channel_count; i++) {
        const lk_pc_chan *c = &r->pc->transport.channels[i];
        char id[16], number[LK_STR_FMT_MAX];
        JOIN(id, "D", lk_u64_text(i + 1, number));
        lk_stats *e = entry(r, LK_STATS_data_channel, id);
        if (!e)
            return;
        lk_stats_DataChannel *d = &e->data_channel.dc;
        JOIN(d->label, c->label);
        d->data_channel_identifier = c->stream;
        d->state = states[c->state];
        d->messages_sent = (uint32_t)c->messages_sent;
        d->bytes_sent = c->bytes_sent;
        d->messages_received = (uint32_t)c->messages_received;
        d->bytes_received = c->bytes_received;
    }
}

/* Few entries: insertion keeps it simple and stable. Slots are swapped through the one past the end of a sorted index. */
static void sort_by_id(lk_stats *out, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        lk_stats moving = out[i];
        size_t k = i;
        while (k > 0 && strcmp(out[k - 1].rtc.id, moving.rtc.id) > 0) {
            out[k] = out[k - 1];
            k--;
        }
        out[k] = moving;
    }
}

size_t lk_pc_stats_section(const lk_pc *pc, lk_usec now, uint32_t index, lk_stats *out, size_t cap)
{
    const lk_pc_sect *s = lk_pc_sect_at(pc, index);
    report r;
    if (!s)
        return 0;
    begin(&r, pc, now, out, cap);
    if (s->sender && (s->agreed & LK_PC_SENDONLY))
        put_outbound(&r, s);
    if (s->receiver && s->remote_active)
        put_inbound(&r, s);
    if (r.count)
        put_transport(&r);
    sort_by_id(out, r.count);
    return r.count;
}

size_t lk_pc_stats_all(const lk_pc *pc, lk_usec now, lk_stats *out, size_t cap)
{
    report r;
    begin(&r, pc, now, out, cap);
    for (size_t i = 0; i < pc->sections.count; i++) {
        const lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (s->sender && (s->agreed & LK_PC_SENDONLY))
            put_outbound(&r, s);
        if (s->receiver && s->remote_active)
            put_inbound(&r, s);
    }
    put_transport(&r);
    for (size_t i = 0; i < lk_ice_pair_count(&pc->ice); i++)
        put_pair(&r, i);
    for (size_t i = 0; lk_ice_srflx_at(&pc->ice, i); i++)
        put_candidate(&r, lk_ice_srflx_at(&pc->ice, i), true);
    put_channels(&r);
    lk_stats *e = entry(&r, LK_STATS_peer_connection, "P");
    for (size_t i = 0; e && i < pc->transport.channel_count; i++) {
        e->peer_connection.pc.data_channels_opened += pc->transport.channels[i].state != LK_PC_CHANNEL_CONNECTING;
        e->peer_connection.pc.data_channels_closed += pc->transport.channels[i].state == LK_PC_CHANNEL_CLOSED;
    }
    sort_by_id(out, r.count);
    return r.count;
}
