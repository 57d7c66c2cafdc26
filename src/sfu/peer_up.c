// SPDX-License-Identifier: Apache-2.0
#include "sfu/hub_internal.h"

#include "rtp/rtp_ext.h"

#define KEEP_USEC LK_SEC(2)            /* a packet older than that is not sent again */
#define ALIVE_USEC LK_SEC(3)           /* a layer without packets for so long is no choice */
#define CHECK_USEC LK_MSEC(300)        /* key frames somebody waits for are asked for again */
#define KEY_LOW_USEC LK_MSEC(500)      /* between two requests for the lowest layer */
#define KEY_USEC LK_MSEC(1000)
#define KEY_FIRST_USEC LK_MSEC(300)    /* while nothing came at all, requests may be lost */
#define JUMP_MAX 3000                  /* a larger step in sequence numbers is a new stream */
#define LEVEL_ACTIVE 35
#define LEVEL_GAP_MAX_USEC LK_MSEC(200)
#define LONG_AGO (INT64_MIN / 2)

lk_err lk_up_new(lk_up **out, lk_peer *peer, lk_media_kind kind)
{
    lk_up *up = (lk_up *)lk_alloc0(peer->hub->env, sizeof *up);
    if (!up)
        return LK_ERR_NOMEM;
    up->hub = peer->hub;
    up->peer = peer;
    up->kind = kind;
    up->check_at = LK_NEVER;
    up->wanted = -1;
    up->level.loudest = 127;
    for (size_t i = 0; i < LK_UP_LAYERS_MAX; i++)
        up->layers[i].key_asked_at = up->layers[i].last_at = LONG_AGO;
    lk_list_push(&peer->ups, &up->link);
    *out = up;
    return LK_OK;
}

static void drop_layer(lk_up *up, lk_up_lay *l)
{
    for (size_t i = 0; l->slots && i < l->slot_count; i++)
        lk_hub_give_block(up->hub, l->slots[i].block);
    lk_release(up->hub->env, l->slots, l->slot_count * sizeof *l->slots);
    lk_release(up->hub->env, l->nack, sizeof *l->nack);
    lk_release(up->hub->env, l->svc, sizeof *l->svc);
    l->svc = NULL;
    l->slots = NULL;
    l->nack = NULL;
}

void lk_up_end(lk_up *up)
{
    up->ended = true;
    up->live = false;
    up->check_at = LK_NEVER;
    for (size_t i = 0; i < LK_UP_LAYERS_MAX; i++)
        up->layers[i].active = false;
}

void lk_up_free(lk_up *up)
{
    if (!up)
        return;
    lk_hub *hub = up->hub;
    lk_hub_forget(hub, up);
    for (size_t i = 0; i < up->down_count; i++) {
        up->downs[i]->up = NULL;
        up->downs[i]->open = false;
    }
    if (up->peer) {
        lk_list_remove(&up->peer->ups, &up->link);
        for (size_t i = 0; i < up->peer->sections.count; i++)
            if (lk_peer_sect_at(up->peer, i)->up == up)
                lk_peer_sect_at(up->peer, i)->up = NULL;
    }
    for (size_t i = 0; i < LK_UP_LAYERS_MAX; i++)
        drop_layer(up, &up->layers[i]);
    lk_release(hub->env, up->downs, up->down_cap * sizeof *up->downs);
    lk_release(hub->env, up, sizeof *up);
}

void lk_up_set_user(lk_up *up, void *user) { up->user = user; }
void *lk_up_user(const lk_up *up) { return up->user; }
lk_peer *lk_up_peer(const lk_up *up) { return up->peer; }
lk_media_kind lk_up_kind(const lk_up *up) { return up->kind; }
const char *lk_up_cid(const lk_up *up) { return up->cid; }
const char *lk_up_mid(const lk_up *up) { return up->mid; }
const char *lk_up_mime(const lk_up *up) { return up->codec < LK_HUB_CODECS ? lk_hub_codec_rows[up->codec].mime : ""; }
bool lk_up_live(const lk_up *up) { return up->live; }

size_t lk_up_layers(const lk_up *up, lk_up_layer out[LK_UP_LAYERS_MAX])
{
    for (size_t i = 0; i < up->layer_count; i++) {
        const lk_up_lay *l = &up->layers[i];
        out[i] = (lk_up_layer){.ssrc = l->slots ? l->ssrc : 0, .active = l->active, .rate_bps = l->active ? lk_rate_meter_bps(&l->rate) : 0};
        memcpy(out[i].rid, l->rid, sizeof l->rid);
    }
    return up->layer_count;
}

void lk_up_set_sizes(lk_up *up, const uint16_t (*width_height)[2], size_t count)
{
    for (size_t i = 0; i < LK_UP_LAYERS_MAX; i++) {
        up->layers[i].width = i < count ? width_height[i][0] : 0;
        up->layers[i].height = i < count ? width_height[i][1] : 0;
    }
    lk_up_count_wanted(up);
}

void lk_up_set_muted(lk_up *up, lk_usec now, bool muted)
{
    LK_UNUSED(now);
    if (up->muted == muted)
        return;
    up->muted = muted;
    if (muted)
        return;
    for (size_t i = 0; i < up->layer_count; i++)
        if (up->layers[i].nack)
            lk_nack_generator_init(up->layers[i].nack); /* what was muted is not missing */
    for (size_t i = 0; i < up->down_count; i++)
        up->downs[i]->resync = true;
}

void lk_up_take_level(lk_up *up, lk_up_level *out)
{
    *out = up->level;
    up->level = (lk_up_level){.loudest = 127};
}

/* ---- what is wanted ---- */

static int quality_of(const lk_up *up, const lk_down_settings *s)
{
    size_t n = 0;
    while (n < LK_UP_LAYERS_MAX && up->layers[n].width)
        n++;
    if (!s->width || n < 2)
        return s->width ? 2 : LK_MIN(s->quality, 2);
    unsigned longer = LK_MAX(s->width, s->height), shorter = LK_MIN(s->width, s->height);
    for (size_t i = 0; i < n; i++) {
        unsigned l = LK_MAX(up->layers[i].width, up->layers[i].height), h = LK_MIN(up->layers[i].width, up->layers[i].height);
        if (l >= longer && h >= shorter)
            return (int)i;
    }
    return 2;
}

int lk_up_quality_for(const lk_up *up, const lk_down_settings *s) { return s->disabled ? -1 : quality_of(up, s); }

/* ---- steps ---- */

lk_svc *lk_up_svc(const lk_up *up)
{
    lk_svc *s = up->layer_count == 1 ? up->layers[0].svc : NULL;
    return s && s->spatial_count > 1 ? s : NULL;
}

size_t lk_up_steps(const lk_up *up)
{
    const lk_svc *s = lk_up_svc(up);
    return s ? LK_MIN((size_t)s->spatial_count, (size_t)LK_UP_LAYERS_MAX) : LK_MAX(up->layer_count, (size_t)1);
}

size_t lk_up_step_for(const lk_up *up, const lk_down_settings *s)
{
    const lk_svc *svc = lk_up_svc(up);
    size_t top = lk_up_steps(up) - 1;
    int quality = lk_up_quality_for(up, s);
    if (quality < 0)
        return 0;
    if (!svc || !svc->width[0] || (quality >= 2 && !s->width))
        return LK_MIN((size_t)quality, top);
    /* Encoders of small pictures make fewer layers than were announced: sizes tell which. */
    const lk_up_lay *l = &up->layers[quality];
    bool asked = s->width > 0;
    if (!asked && !l->width)
        return LK_MIN((size_t)quality, top);
    return LK_MIN(lk_svc_covering(svc, asked ? s->width : l->width, asked ? s->height : l->height), top);
}

bool lk_up_step_active(const lk_up *up, size_t step)
{
    const lk_svc *s = lk_up_svc(up);
    return s ? up->layers[0].active && (s->live >> step & 1) : up->layers[step].active;
}

uint64_t lk_up_step_bps(const lk_up *up, size_t step)
{
    const lk_svc *s = lk_up_svc(up);
    if (s)
        return up->layers[0].active ? lk_svc_bps(s, step + 1 < lk_up_steps(up) ? step : LK_SVC_SPATIAL_MAX - 1) : 0;
    return up->layers[step].active ? lk_rate_meter_bps(&up->layers[step].rate) : 0;
}

void lk_up_count_wanted(lk_up *up)
{
    int most = -1;
    for (size_t i = 0; i < up->down_count; i++) {
        const lk_down *d = up->downs[i];
        if (!d->refused)
            most = LK_MAX(most, lk_up_quality_for(up, &d->settings));
    }
    if (most == up->wanted)
        return;
    up->wanted = most;
    lk_hub_push(up->hub, &(lk_hub_event){.kind = LK_HUB_EV_WANTED, .peer = up->peer, .up = up});
}

int lk_up_wanted(const lk_up *up) { return up->wanted; }

lk_err lk_up_attach(lk_up *up, lk_down *d)
{
    if (up->down_count == LK_UP_DOWNS_MAX)
        return LK_ERR_LIMIT;
    if (up->down_count == up->down_cap) {
        size_t cap = up->down_cap ? 2 * up->down_cap : 4;
        lk_down **downs = (lk_down **)lk_resize(up->hub->env, up->downs, up->down_cap * sizeof *downs, cap * sizeof *downs);
        if (!downs)
            return LK_ERR_NOMEM;
        up->downs = downs;
        up->down_cap = cap;
    }
    up->downs[up->down_count++] = d;
    lk_up_count_wanted(up);
    return LK_OK;
}

void lk_up_detach(lk_up *up, lk_down *d)
{
    lk_hub *hub = up->hub;
    size_t at = 0;
    while (at < up->down_count && up->downs[at] != d)
        at++;
    if (at == up->down_count)
        return;
    memmove(up->downs + at, up->downs + at + 1, (up->down_count - at - 1) * sizeof *up->downs);
    up->down_count--;
    /* Packets of this track may be on their way to the others just now. */
    if (hub->group && hub->jobs[hub->job_first].up == up) {
        if (at == hub->down_at)
            hub->group_at = 0;
        else if (at < hub->down_at)
            hub->down_at--;
    }
    lk_up_count_wanted(up);
}

/* ---- key frames ---- */

lk_usec lk_up_key_deadline(const lk_up *up, size_t layer)
{
    const lk_up_lay *l = &up->layers[layer];
    if (!l->key_wanted || up->ended || !l->ssrc)
        return LK_NEVER;
    return l->key_asked_at + (!l->slots ? KEY_FIRST_USEC : layer == 0 ? KEY_LOW_USEC : KEY_USEC);
}

void lk_up_want_key(lk_up *up, lk_usec now, size_t layer)
{
    if (up->kind != LK_MEDIA_KIND_VIDEO || layer >= up->layer_count || up->ended || !up->peer)
        return;
    up->layers[layer].key_wanted = true;
    if (up->check_at == LK_NEVER)
        up->check_at = now + CHECK_USEC;
    lk_hub_touch(up->peer);
}

void lk_up_check(lk_up *up, lk_usec now)
{
    bool changed = false, waits = false;
    for (size_t i = 0; i < up->layer_count; i++) {
        lk_up_lay *l = &up->layers[i];
        bool alive = l->slots && now - l->last_at < ALIVE_USEC;
        changed |= alive != l->active;
        if (l->svc)
            lk_svc_check(up, l->svc, now, ALIVE_USEC);
        l->active = alive;
        waits |= alive;
    }
    for (size_t i = 0; i < lk_up_steps(up); i++) {
        uint64_t bps = lk_up_step_bps(up, i);
        up->mean_bps[i] = up->mean_bps[i] && bps ? (7 * up->mean_bps[i] + bps) / 8 : bps;
    }
    up->check_at = LK_NEVER;
    for (size_t i = 0; i < up->down_count; i++) {
        lk_down *d = up->downs[i];
        if (changed)
            lk_down_select(d, now);
        if (!lk_down_waits_for_key(d))
            continue;
        waits = true;
        up->layers[d->target].key_wanted = true;
    }
    if (waits && !up->ended)
        up->check_at = now + CHECK_USEC;
}

/* ---- what arrives ---- */

const lk_cached *lk_up_cached(const lk_up *up, size_t layer, int64_t seq)
{
    const lk_up_lay *l = &up->layers[layer];
    const lk_cached *c = l->slots ? &l->slots[(uint64_t)seq & (l->slot_count - 1)] : NULL;
    return c && c->seq == seq ? c : NULL;
}

static bool start_layer(lk_up *up, lk_up_lay *l, const lk_peer_codec *c)
{
    const lk_env *env = up->hub->env;
    uint32_t count = up->kind == LK_MEDIA_KIND_VIDEO ? LK_UP_VIDEO_PACKETS : LK_UP_AUDIO_PACKETS;
    if (c->nack && !l->nack) {
        l->nack = (lk_nack_generator *)lk_alloc0(env, sizeof *l->nack);
        if (!l->nack)
            return false;
        lk_nack_generator_init(l->nack);
    }
    l->slots = (lk_cached *)lk_alloc0(env, count * sizeof *l->slots);
    if (!l->slots)
        return false;
    l->slot_count = count;
    for (size_t i = 0; i < count; i++)
        l->slots[i].seq = -1;
    lk_rtp_stats_init(&l->stats, lk_hub_codec_rows[c->codec].clock_hz);
    return true;
}

static void forget_old(lk_up *up, lk_up_lay *l, lk_usec now)
{
    while (l->oldest < l->seq.last) {
        lk_cached *c = &l->slots[(uint64_t)l->oldest & (l->slot_count - 1)];
        if (c->seq == l->oldest && now - c->at < KEEP_USEC && l->seq.last - l->oldest < (int64_t)l->slot_count)
            return;
        if (c->seq == l->oldest) {
            lk_hub_give_block(up->hub, c->block);
            c->block = NULL;
            c->seq = -1;
        }
        l->oldest++;
    }
}

static void take_level(lk_up *up, const lk_peer_sect *s, const lk_rtp_packet *p, uint32_t clock_hz)
{
    lk_bytes value;
    uint8_t level;
    bool voice;
    if (!s->level_id || !lk_rtp_ext_find(p, s->level_id, &value) || !lk_rtp_ext_audio_level(value, &level, &voice))
        return;
    int32_t ticks = lk_ts32_diff(p->ts, up->level_ts);
    if (up->level_started && ticks <= 0)
        return;
    lk_usec span = up->level_started ? LK_MIN((lk_usec)ticks * 1000000 / clock_hz, LEVEL_GAP_MAX_USEC) : 0;
    up->level_ts = p->ts;
    up->level_started = true;
    up->level.window_usec += span;
    if (level <= LEVEL_ACTIVE) {
        up->level.active_usec += span;
        up->level.loudest = LK_MIN(up->level.loudest, level);
    }
}

/* The packet into its slot. False: too old, there already, or refused memory. */
static bool store(lk_up *up, lk_up_lay *l, lk_usec now, const lk_peer_sect *s, uint8_t codec, int64_t seq, const lk_rtp_packet *p)
{
    lk_cached *c = &l->slots[(uint64_t)seq & (l->slot_count - 1)];
    lk_bytes dd = {NULL, 0}, found;
    if (c->seq >= seq || seq < l->oldest)
        return false;
    /* Descriptors number the frames of all that a client sends in one codec; a subscriber whose track changes codec would take
     * later frames for old ones. Where a stream has no layers inside they say nothing that is needed. */
    if (s->dd_id && lk_hub_codec_rows[codec].layered && p->payload_len && lk_rtp_ext_find(p, s->dd_id, &found))
        dd = found;
    size_t need = p->payload_len + dd.len;
    if (need > LK_HUB_LARGE_BYTES)
        return false;
    if (!c->block || need > (c->block->large ? LK_HUB_LARGE_BYTES : LK_HUB_SMALL_BYTES)) {
        lk_hub_give_block(up->hub, c->block);
        c->block = lk_hub_take_block(up->hub, need);
        if (!c->block) {
            c->seq = -1;
            return false;
        }
    }
    lk_hub_block *block = c->block;
    *c = (lk_cached){.seq = seq, .block = block, .at = now, .ts = p->ts, .len = (uint16_t)p->payload_len, .dd_len = (uint16_t)dd.len,
                     .codec = codec, .marker = p->marker};
    memcpy(block->data, p->payload, p->payload_len);
    if (dd.len)
        memcpy(block->data + p->payload_len, dd.data, dd.len);
    const lk_hub_codec_row *row = &lk_hub_codec_rows[codec];
    if (row->look && p->payload_len)
        row->look(&c->piece, (lk_bytes){block->data, p->payload_len});
    if (row->layered && p->payload_len)
        lk_svc_look(up, l, now, c);
    if (c->piece.key)
        l->key_wanted = false;
    return true;
}

static void announce(lk_up *up, lk_usec now, lk_up_lay *l, uint8_t codec)
{
    bool other = up->codec != codec;
    if (l->announced && !other && l->active)
        return;
    if (!l->active) {
        l->active = true;
        if (up->kind == LK_MEDIA_KIND_VIDEO && up->check_at == LK_NEVER)
            up->check_at = now + CHECK_USEC;
        for (size_t i = 0; i < up->down_count; i++)
            lk_down_select(up->downs[i], now);
    }
    if (l->announced && !other)
        return;
    l->announced = up->live = true;
    up->codec = codec;
    lk_hub_push(up->hub, &(lk_hub_event){.kind = LK_HUB_EV_UP_LIVE, .peer = up->peer, .up = up});
}

void lk_up_rtp(lk_up *up, lk_usec now, const lk_peer_sect *s, size_t layer, const lk_rtp_packet *p, bool resent)
{
    lk_up_lay *l = &up->layers[layer];
    const lk_peer_codec *codec = NULL;
    for (size_t i = 0; i < s->codec_count && !codec; i++)
        if (s->codecs[i].pt == p->pt)
            codec = &s->codecs[i];
    if (!codec || up->ended || (!l->slots && !start_layer(up, l, codec))) {
        up->hub->stats.dropped++;
        return;
    }
    lk_rtp_stats_receive(&l->stats, now, p->seq, p->ts, p->payload_len, p->header_len, p->padding_len, resent);
    l->received_since_report = true;
    lk_peer_wake_reports(up->peer, now);
    if (up->muted)
        return;
    l->last_at = now;
    lk_rate_meter_add(&l->rate, now, p->header_len + p->payload_len + p->padding_len + LK_HUB_WIRE_BYTES);
    if (l->nack)
        lk_nack_generator_receive(l->nack, now, p->seq);
    announce(up, now, l, codec->codec);
    bool first = !l->seq.started;
    int64_t seq = lk_unwrap16_peek(&l->seq, p->seq);
    if (first || seq > l->seq.last) {
        bool jump = !first && seq - l->seq.last > JUMP_MAX;
        (void)lk_unwrap16_next(&l->seq, p->seq);
        if (first)
            l->oldest = seq;
        for (size_t i = 0; jump && i < up->down_count; i++)
            up->downs[i]->resync = true;
        forget_old(up, l, now);
    }
    if (up->kind == LK_MEDIA_KIND_AUDIO)
        take_level(up, s, p, lk_hub_codec_rows[codec->codec].clock_hz);
    if (store(up, l, now, s, codec->codec, seq, p) && up->down_count)
        lk_hub_add_job(up->hub, up, layer, seq);
}
