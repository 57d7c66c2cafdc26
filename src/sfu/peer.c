// SPDX-License-Identifier: Apache-2.0
#include "sfu/hub_internal.h"

#include "rtp/demux.h"
#include "rtp/rtp_ext.h"

#define START_BPS 3000000 /* nothing is held back before the path showed its bound */
#define MAX_BPS 200000000

static const struct {
    const char *label;
    bool lossy;
} channels[LK_PEER_OTHER] = {
    [LK_PEER_RELIABLE] = {"_reliable", false},
    [LK_PEER_LOSSY] = {"_lossy", true},
    [LK_PEER_DATA_TRACK] = {"_data_track", true},
};

lk_peer_sect *lk_peer_sect_at(const lk_peer *peer, size_t i)
{
    lk_peer_sect **p = (lk_peer_sect **)lk_queue_peek((lk_queue *)&peer->sections, i);
    return p ? *p : NULL;
}

static lk_err open_channels(lk_peer *p)
{
    for (size_t i = 0; i < LK_LEN(channels); i++) {
        const lk_pc_channel c = {.label = channels[i].label, .unordered = channels[i].lossy, .limit_retransmits = channels[i].lossy};
        uint32_t number = 0;
        lk_err err = lk_transport_add_channel(&p->transport, &c, &number);
        if (err != LK_OK)
            return err;
        p->channel_of[i] = (int)number;
    }
    return LK_OK;
}

static void release_peer(lk_peer *p)
{
    for (size_t i = 0; i < p->sections.count; i++)
        lk_release(p->hub->env, lk_peer_sect_at(p, i), sizeof(lk_peer_sect));
    lk_queue_deinit(&p->sections);
    lk_queue_deinit(&p->wishes);
    lk_twcc_recorder_deinit(&p->arrived);
    lk_twcc_history_deinit(&p->sent);
    lk_transport_deinit(&p->transport);
    lk_release(p->hub->env, p, sizeof *p);
}

lk_err lk_peer_new(lk_peer **out, lk_hub *hub, const lk_peer_config *config, lk_usec now)
{
    const lk_env *env = hub->env;
    lk_peer *p = (lk_peer *)lk_alloc0(env, sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    p->hub = hub;
    p->config = *config;
    lk_ice_lite_init(&p->ice, env, hub->loop);
    lk_transport_init(&p->transport, env, hub->dtls);
    lk_queue_init(&p->sections, env, sizeof(lk_peer_sect *), LK_PC_SECTIONS_MAX);
    lk_queue_init(&p->wishes, env, sizeof(lk_peer_wished), LK_PEER_WISHES_MAX);
    lk_list_init(&p->ups);
    lk_list_init(&p->downs);
    lk_twcc_recorder_init(&p->arrived, env);
    lk_twcc_history_init(&p->sent, env, (uint16_t)lk_rand_u32(env));
    lk_estimator_init(&p->estimator, env, &(lk_estimator_config){.start_bps = START_BPS, .max_bps = MAX_BPS}, now);
    lk_probe_init(&p->probe);
    p->session_id = lk_rand_u64(env) >> 2;
    p->rtcp_ssrc = lk_rand_u32(env) | 1;
    lk_rand_text(env, p->cname, sizeof p->cname - 1);
    p->report_at = p->allocate_at = p->due_at = LK_NEVER;
    p->codecs_allowed = (1u << LK_HUB_CODECS) - 1;
    p->changed = config->offers;
    for (size_t i = 0; i < LK_LEN(p->channel_of); i++)
        p->channel_of[i] = -1;
    lk_err err = config->open_channels ? open_channels(p) : LK_OK;
    if (err == LK_OK)
        err = lk_hub_add_peer(hub, p);
    if (err != LK_OK) {
        release_peer(p);
        return err;
    }
    *out = p;
    return LK_OK;
}

void lk_peer_free(lk_peer *p)
{
    if (!p)
        return;
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        lk_list_remove(&p->ups, at);
        up->peer = NULL;
        lk_up_end(up);
    }
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        lk_list_remove(&p->downs, at);
        d->peer = NULL;
        d->sect = -1;
        d->open = d->bound = false;
        if (d->up)
            lk_up_detach(d->up, d);
    }
    lk_hub_remove_peer(p->hub, p);
    release_peer(p);
}

static void set_state(lk_peer *p, lk_pc_state state, lk_err err)
{
    if (p->state == state || p->state == LK_PC_STATE_CLOSED || (p->state == LK_PC_STATE_FAILED && state != LK_PC_STATE_CLOSED))
        return;
    p->state = state;
    lk_hub_push(p->hub, &(lk_hub_event){.kind = LK_HUB_EV_STATE, .peer = p, .state = state, .err = err});
}

bool lk_peer_ready(const lk_peer *p)
{
    return !p->closing && p->transport.srtp_ready && lk_ice_lite_selected(&p->ice) && p->state != LK_PC_STATE_FAILED &&
           p->state != LK_PC_STATE_CLOSED;
}

static void select_all(lk_peer *p, lk_usec now)
{
    LK_LIST_EACH(&p->downs, at) lk_down_select(LK_CONTAINER(at, lk_down, link), now);
}

static void update_state(lk_peer *p, lk_usec now)
{
    lk_pc_state before = p->state;
    bool up = p->transport.dtls.state == LK_DTLS_STATE_CONNECTED;
    if (p->ice.state == LK_ICE_STATE_FAILED)
        set_state(p, LK_PC_STATE_FAILED, LK_ERR_TIMEOUT);
    else if (p->ice.state == LK_ICE_STATE_DISCONNECTED)
        set_state(p, LK_PC_STATE_DISCONNECTED, LK_OK);
    else if (p->ice.state == LK_ICE_STATE_CONNECTED)
        set_state(p, up ? LK_PC_STATE_CONNECTED : LK_PC_STATE_CONNECTING, LK_OK);
    if (p->state != before)
        select_all(p, now);
}

void lk_peer_pump(lk_peer *p, lk_usec now)
{
    lk_err err = LK_OK;
    if (p->has_remote && lk_ice_lite_selected(&p->ice) && lk_transport_path(&p->transport, now) != LK_OK)
        set_state(p, LK_PC_STATE_FAILED, LK_ERR_NOMEM);
    for (lk_transport_change c; (c = lk_transport_poll_change(&p->transport, now, &err)) != LK_TRANSPORT_SAME;)
        if (c != LK_TRANSPORT_CONNECTED)
            set_state(p, c == LK_TRANSPORT_FAILED ? LK_PC_STATE_FAILED : LK_PC_STATE_CLOSED, err);
    update_state(p, now);
    lk_hub_touch(p);
}

/* ---- what arrives ---- */

static bool names(lk_bytes value, const char *text) { return lk_str_eq((lk_str){(const char *)value.data, value.len}, text); }

static int layer_of_rid(const lk_up *up, lk_bytes rid)
{
    for (size_t i = 0; i < up->layer_count; i++)
        if (names(rid, up->layers[i].rid))
            return (int)i;
    return -1;
}

/* A source nobody announced: MID tells the section, RID or the RID of what it repairs the layer. [RFC8843 s9.2] [RFC8852] */
static lk_up *introduce(lk_peer *p, const lk_rtp_packet *packet, size_t *layer, bool *rtx, const lk_peer_sect **sect)
{
    for (size_t i = 0; i < p->sections.count; i++) {
        const lk_peer_sect *s = lk_peer_sect_at(p, i);
        lk_bytes mid, rid;
        if (s->role != LK_SECT_UP || !s->up || !s->mid_id || !lk_rtp_ext_find(packet, s->mid_id, &mid) || !names(mid, s->mid))
            continue;
        bool repair = s->rrid_id && lk_rtp_ext_find(packet, s->rrid_id, &rid);
        bool has_rid = repair || (s->rid_id && lk_rtp_ext_find(packet, s->rid_id, &rid));
        int at = has_rid ? layer_of_rid(s->up, rid) : s->up->layer_count == 1 ? 0 : -1;
        if (at < 0)
            return NULL;
        for (size_t k = 0; !has_rid && k < s->codec_count; k++)
            repair |= s->codecs[k].rtx_pt == packet->pt;
        lk_up_lay *l = &s->up->layers[at];
        if (repair)
            l->rtx_ssrc = packet->ssrc;
        else
            l->ssrc = packet->ssrc;
        *layer = (size_t)at;
        *rtx = repair;
        *sect = s;
        return s->up;
    }
    return NULL;
}

static lk_up *find_source(lk_peer *p, const lk_rtp_packet *packet, size_t *layer, bool *rtx, const lk_peer_sect **sect)
{
    for (size_t i = 0; i < p->sections.count; i++) {
        const lk_peer_sect *s = lk_peer_sect_at(p, i);
        if (s->role != LK_SECT_UP || !s->up)
            continue;
        for (size_t k = 0; k < s->up->layer_count; k++) {
            const lk_up_lay *l = &s->up->layers[k];
            if (l->ssrc == packet->ssrc || (l->rtx_ssrc && l->rtx_ssrc == packet->ssrc)) {
                *layer = k;
                *rtx = l->ssrc != packet->ssrc;
                *sect = s;
                return s->up;
            }
        }
    }
    return introduce(p, packet, layer, rtx, sect);
}

void lk_peer_on_rtp(lk_peer *p, lk_usec now, size_t len)
{
    lk_hub *hub = p->hub;
    lk_rtp_packet packet;
    const lk_peer_sect *s = NULL;
    size_t layer = 0;
    bool rtx = false;
    lk_up *up = lk_rtp_parse(&packet, hub->rx, len) == LK_OK ? find_source(p, &packet, &layer, &rtx, &s) : NULL;
    if (!up) {
        hub->stats.dropped++;
        return;
    }
    lk_bytes value;
    uint16_t number;
    if (s->twcc_id && lk_rtp_ext_find(&packet, s->twcc_id, &value) && lk_rtp_ext_transport_seq(value, &number)) {
        p->twcc_ssrc = packet.ssrc;
        if (lk_twcc_recorder_receive(&p->arrived, now, number) != LK_OK)
            hub->stats.dropped++;
    }
    if (rtx) {
        const lk_peer_codec *c = NULL;
        for (size_t i = 0; i < s->codec_count && !c; i++)
            if (s->codecs[i].rtx_pt == packet.pt)
                c = &s->codecs[i];
        uint32_t ssrc = up->layers[layer].ssrc;
        uint8_t copy[LK_RTP_PACKET_MAX];
        if (!c || !ssrc || len > sizeof copy)
            return;
        memcpy(copy, hub->rx, len);
        size_t n = lk_nack_unwrap_rtx(hub->rx, sizeof hub->rx, copy, len, c->pt, ssrc);
        if (n == 0 || lk_rtp_parse(&packet, hub->rx, n) != LK_OK)
            return;
    }
    p->heard_at = now;
    lk_up_rtp(up, now, s, layer, &packet, rtx);
}

void lk_peer_input(lk_peer *p, lk_usec now, const lk_sfu_packet *packet)
{
    lk_hub *hub = p->hub;
    const lk_datagram *d = &packet->d;
    if (p->closing || d->len > sizeof hub->rx) {
        hub->stats.dropped++;
        return;
    }
    lk_demux_class c = lk_demux(d->data, d->len);
    if (c == LK_DEMUX_STUN) {
        if (!lk_ice_lite_input(&p->ice, now, d, packet->tcp))
            hub->stats.dropped++;
        lk_peer_pump(p, now);
        return;
    }
    if (!lk_ice_lite_is_valid(&p->ice, &d->local, &d->remote, packet->tcp)) {
        hub->stats.dropped++;
        return;
    }
    size_t len = d->len;
    if (c == LK_DEMUX_DTLS) {
        lk_transport_input(&p->transport, now, d->data, d->len);
        lk_hub_has_data(p);
        lk_peer_pump(p, now);
    } else if ((c == LK_DEMUX_RTP || c == LK_DEMUX_RTCP) && p->transport.srtp_ready) {
        memcpy(hub->rx, d->data, d->len);
        lk_err err = c == LK_DEMUX_RTP ? lk_srtp_unprotect_rtp(&p->transport.srtp_rx, hub->rx, &len)
                                       : lk_srtp_unprotect_rtcp(&p->transport.srtp_rx, hub->rx, &len);
        if (err != LK_OK) {
            hub->stats.dropped++;
            return;
        }
        if (c == LK_DEMUX_RTP)
            lk_peer_on_rtp(p, now, len);
        else
            lk_peer_on_rtcp(p, now, hub->rx, len);
        lk_hub_touch(p);
    } else {
        hub->stats.dropped++;
    }
}

/* ---- time ---- */

void lk_peer_tick(lk_peer *p, lk_usec now)
{
    if (p->closing)
        return;
    lk_ice_lite_tick(&p->ice, now);
    lk_transport_tick(&p->transport, now);
    if (p->transport.sctp)
        lk_hub_has_data(p);
    LK_LIST_EACH(&p->ups, at) {
        lk_up *up = LK_CONTAINER(at, lk_up, link);
        if (now >= up->check_at)
            lk_up_check(up, now);
    }
    if (now >= p->allocate_at)
        lk_peer_allocate(p, now);
    lk_estimator_tick(&p->estimator, now);
    lk_peer_pump(p, now);
}

lk_usec lk_peer_deadline(const lk_peer *p)
{
    if (p->closing || p->state == LK_PC_STATE_FAILED || p->state == LK_PC_STATE_CLOSED)
        return LK_NEVER;
    lk_usec at = LK_MIN(lk_ice_lite_deadline(&p->ice), lk_transport_deadline(&p->transport));
    if (!p->transport.srtp_ready)
        return at;
    at = LK_MIN(at, lk_peer_rtcp_deadline(p));
    at = LK_MIN(LK_MIN(at, p->allocate_at), lk_probe_deadline(&p->probe));
    LK_LIST_EACH(&p->ups, link) at = LK_MIN(at, LK_CONTAINER(link, lk_up, link)->check_at);
    return at;
}

bool lk_peer_poll_control(lk_peer *p, lk_usec now, uint8_t *slot, lk_sfu_packet *out)
{
    lk_bytes record;
    out->tcp = false;
    if (lk_ice_lite_poll_tx(&p->ice, slot, &out->d, &out->tcp))
        return true;
    const lk_ice_lite_path *path = lk_ice_lite_selected(&p->ice);
    if (!path)
        return false;
    size_t len = 0;
    if (p->transport.srtp_ready) {
        len = lk_peer_write_rtcp(p, now, slot, LK_HUB_SLOT_BYTES - LK_SRTP_TRAILER_MAX);
        if (len && lk_srtp_protect_rtcp(&p->transport.srtp_tx, slot, &len, LK_HUB_SLOT_BYTES) != LK_OK)
            len = 0;
    }
    if (!len && p->transport.srtp_ready && !lk_peer_write_probe(p, now, slot, &len))
        len = 0;
    if (!len && lk_transport_poll_tx(&p->transport, now, true, &record) && record.len <= LK_HUB_SLOT_BYTES) {
        memcpy(slot, record.data, record.len);
        len = record.len;
    }
    out->d = (lk_datagram){path->local, path->remote, slot, len};
    out->tcp = path->tcp;
    return len > 0;
}

void lk_peer_close(lk_peer *p, lk_usec now)
{
    if (p->closing)
        return;
    p->bye_due = p->transport.srtp_ready;
    lk_transport_close(&p->transport, now);
    p->closing = true;
    p->state = LK_PC_STATE_CLOSED;
    lk_hub_forget(p->hub, p);
    select_all(p, now);
    lk_hub_touch(p);
}

void *lk_peer_user(const lk_peer *p) { return p->config.user; }
lk_pc_state lk_peer_state(const lk_peer *p) { return p->state; }
lk_usec lk_peer_rtt_usec(const lk_peer *p) { return p->rtt_usec; }

void lk_peer_prefer_tcp(lk_peer *p, bool on) { p->by_tcp = on; }

void lk_peer_restart_ice(lk_peer *p, lk_usec now)
{
    LK_UNUSED(now);
    p->offer_out = false;
    p->changed = true;
    lk_ice_lite_restart(&p->ice);
    if (lk_hub_name_peer(p->hub, p) != LK_OK)
        p->hub->stats.dropped++;
}

lk_err lk_peer_add_candidate(lk_peer *p, lk_usec now, const char *line, size_t len)
{
    lk_ice_line parsed;
    LK_UNUSED(p);
    LK_UNUSED(now);
    return len == 0 ? LK_OK : lk_ice_line_parse(&parsed, (lk_str){line, len});
}

/* ---- wishes ---- */

static bool fits(const char *z, size_t cap) { return !z || strlen(z) < cap; }

lk_err lk_peer_wish_track(lk_peer *p, const lk_peer_wish *wish)
{
    lk_peer_wished w = {.no_red = wish->no_red, .no_dtx = wish->no_dtx, .stereo = wish->stereo};
    if (!wish->cid || !wish->cid[0] || !fits(wish->cid, sizeof w.cid) || !fits(wish->codec, sizeof w.codec))
        return LK_ERR_INVALID;
    (void)lk_str_copy(w.cid, sizeof w.cid, lk_str_of(wish->cid));
    (void)lk_str_copy(w.codec, sizeof w.codec, lk_str_of(wish->codec));
    for (size_t i = 0; i < p->wishes.count; i++) {
        lk_peer_wished *known = (lk_peer_wished *)lk_queue_peek(&p->wishes, i);
        if (strcmp(known->cid, w.cid) == 0) {
            *known = w;
            return LK_OK;
        }
    }
    if (p->wishes.count == LK_PEER_WISHES_MAX)
        lk_queue_pop(&p->wishes, NULL); /* of a track long published */
    return lk_queue_push(&p->wishes, &w);
}

lk_err lk_peer_limit_codecs(lk_peer *p, const char *const *mimes, size_t count)
{
    p->codecs_allowed = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < LK_HUB_CODECS; k++)
            if (lk_str_ieq(lk_str_of(mimes[i]), lk_hub_codec_rows[k].mime))
                p->codecs_allowed |= 1u << k;
    return LK_OK;
}

/* ---- data channels ---- */

bool lk_peer_channel_open(const lk_peer *p, lk_peer_channel channel)
{
    int n = channel < LK_PEER_CHANNELS ? p->channel_of[channel] : -1;
    return n >= 0 && lk_transport_channel_open(&p->transport, (uint32_t)n);
}

lk_err lk_peer_send(lk_peer *p, lk_usec now, lk_peer_channel channel, const uint8_t *data, size_t len)
{
    if (!lk_peer_channel_open(p, channel))
        return LK_ERR_STATE;
    lk_err err = lk_transport_send(&p->transport, now, (uint32_t)p->channel_of[channel], data, len, 0);
    lk_hub_touch(p);
    return err;
}

size_t lk_peer_buffered(const lk_peer *p, lk_peer_channel channel)
{
    int n = channel < LK_PEER_CHANNELS ? p->channel_of[channel] : -1;
    return n >= 0 ? lk_transport_buffered(&p->transport, (uint32_t)n) : 0;
}

bool lk_peer_poll_data(lk_peer *p, lk_hub_event *out)
{
    lk_transport_event ev;
    if (p->closing || !lk_transport_poll_event(&p->transport, &ev))
        return false;
    lk_peer_channel c = LK_PEER_RELIABLE;
    while (c < LK_PEER_OTHER && strcmp(ev.label, channels[c].label) != 0)
        c++;
    if (!ev.message && c < LK_PEER_OTHER && ev.open)
        p->channel_of[c] = (int)ev.channel;
    *out = (lk_hub_event){.kind = ev.message ? LK_HUB_EV_DATA : LK_HUB_EV_CHANNEL, .peer = p, .user = p->config.user, .active = ev.open,
                          .channel = c, .text = ev.label, .data = ev.data};
    return true;
}
