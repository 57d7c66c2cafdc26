// SPDX-License-Identifier: Apache-2.0
#include "sfu/hub_internal.h"

#include "rtp/red.h"

#define AGAIN_MIN_USEC LK_MSEC(10) /* between two resends of one packet, where no round trip is known */
#define SKEW_MAX_USEC LK_MSEC(400) /* layers whose clocks seem further apart are joined by the time that passed */
#define TID_ALL 7
#define QUEUE_LONG_USEC LK_MSEC(150)
#define VIDEO_FRAME_TICKS 3000
#define AUDIO_FRAME_TICKS 960

static lk_down_sent *sent_at(const lk_down *d, int64_t out) { return &d->sent[(uint64_t)out & (d->sent_count - 1)]; }

lk_err lk_down_new(lk_down **out, lk_peer *peer, lk_up *up, const lk_down_config *config, lk_usec now)
{
    const lk_env *env = peer->hub->env;
    if (!config->stream || !config->track || strlen(config->stream) >= LK_PC_ID_MAX || strlen(config->track) >= LK_PC_ID_MAX)
        return LK_ERR_INVALID;
    lk_down *d = (lk_down *)lk_alloc0(env, sizeof *d);
    if (!d)
        return LK_ERR_NOMEM;
    d->hub = peer->hub;
    d->peer = peer;
    d->up = up;
    d->user = config->user;
    d->kind = up->kind;
    d->movable = config->movable;
    memcpy(d->stream, config->stream, strlen(config->stream) + 1);
    memcpy(d->track, config->track, strlen(config->track) + 1);
    d->settings.quality = 2;
    d->sect = -1;
    d->layer = d->target = -1;
    d->limit = (int8_t)(LK_UP_LAYERS_MAX - 1);
    d->rtx_pt = -1;
    d->codec = LK_HUB_CODECS;
    d->max_tid = TID_ALL;
    d->ssrc = lk_rand_u32(env) | 1;
    d->rtx_ssrc = (lk_rand_u32(env) & ~1u) | 2u;
    d->out = (int64_t)lk_rand_below(env, 16384); /* far from the wrap: the receiver may miss the first ones */
    d->rtx_out = (int64_t)lk_rand_below(env, 16384);
    d->sr_at = now - LK_SEC(60);
    lk_err err = lk_up_attach(up, d);
    if (err != LK_OK) {
        lk_release(env, d, sizeof *d);
        return err;
    }
    lk_list_push(&peer->downs, &d->link);
    peer->changed = true;
    lk_down_select(d, now);
    *out = d;
    return LK_OK;
}

void lk_down_free(lk_down *d)
{
    if (!d)
        return;
    lk_hub_forget(d->hub, d);
    if (d->up)
        lk_up_detach(d->up, d);
    if (d->peer) {
        lk_list_remove(&d->peer->downs, &d->link);
        if (d->sect >= 0)
            lk_peer_sect_at(d->peer, (size_t)d->sect)->down = NULL;
        d->peer->changed = true;
    }
    lk_release(d->hub->env, d->sent, d->sent_count * sizeof *d->sent);
    lk_release(d->hub->env, d, sizeof *d);
}

lk_err lk_down_move(lk_down *d, lk_up *up, lk_usec now)
{
    if (d->up == up)
        return LK_OK;
    lk_err err = up ? lk_up_attach(up, d) : LK_OK;
    if (err != LK_OK)
        return err;
    lk_up *before = d->up;
    d->up = up;
    if (before)
        lk_up_detach(before, d);
    /* what was sent lies in the cache of the other one */
    lk_release(d->hub->env, d->sent, d->sent_count * sizeof *d->sent);
    d->sent = NULL;
    d->sent_count = 0;
    d->layer = d->target = -1;
    d->svc = (lk_down_svc){0};
    d->limit = (int8_t)(LK_UP_LAYERS_MAX - 1);
    d->open = false;
    lk_down_select(d, now);
    return LK_OK;
}

void *lk_down_user(const lk_down *d) { return d->user; }
lk_up *lk_down_up(const lk_down *d) { return d->up; }
lk_peer *lk_down_peer(const lk_down *d) { return d->peer; }

const char *lk_down_mid(const lk_down *d)
{
    return d->peer && d->sect >= 0 ? lk_peer_sect_at(d->peer, (size_t)d->sect)->mid : "";
}

int lk_down_quality(const lk_down *d)
{
    if (!d->open || d->layer < 0 || !d->up || !lk_up_svc(d->up))
        return d->open ? d->layer : -1;
    return LK_MIN((int)d->svc.sid, (int)lk_up_steps(d->up) - 1);
}

int lk_down_step(const lk_down *d)
{
    return d->target >= 0 && lk_up_svc(d->up) ? LK_MIN((int)d->svc.want, (int)lk_up_steps(d->up) - 1) : d->target;
}

void lk_down_allow_pause(lk_down *d, bool allow) { d->allow_pause = allow; }

void lk_down_set(lk_down *d, lk_usec now, const lk_down_settings *settings)
{
    d->settings = *settings;
    /* Of 30 frames a second: two temporal layers halve, three quarter. */
    d->max_tid = settings->fps == 0 || settings->fps > 15 ? TID_ALL : settings->fps > 8 ? 1 : 0;
    if (d->up)
        lk_up_count_wanted(d->up);
    lk_down_select(d, now);
}

/* ---- choosing ---- */

static void tell_state(lk_down *d, bool active)
{
    if (d->told_state && d->told_active == active)
        return;
    d->told_state = true;
    d->told_active = active;
    lk_hub_push(d->hub, &(lk_hub_event){.kind = LK_HUB_EV_DOWN_STATE, .peer = d->peer, .up = d->up, .down = d, .active = active});
}

int lk_down_choose(const lk_down *d, int limit)
{
    const lk_up *up = d->up;
    int wanted = LK_MIN((int)lk_up_step_for(up, &d->settings), limit);
    for (int i = LK_MAX(wanted, 0); i >= 0; i--)
        if (lk_up_step_active(up, (size_t)i))
            return i;
    for (int i = wanted + 1; i < (int)lk_up_steps(up); i++)
        if (lk_up_step_active(up, (size_t)i))
            return i;
    return LK_MAX(wanted, 0);
}

/* A layer of simulcast, or those of one stream: a layer that is wanted and not sent is let in as soon as it is. */
static void aim(lk_down *d)
{
    int top = (int)lk_up_steps(d->up) - 1, step = lk_down_choose(d, d->limit);
    bool inside = lk_up_svc(d->up) != NULL;
    if (inside)
        step = LK_MAX(step, LK_MIN((int)lk_up_step_for(d->up, &d->settings), (int)d->limit));
    d->target = (int8_t)(inside ? 0 : step);
    d->svc.want = (int8_t)(inside && step < top ? step : LK_SVC_SPATIAL_MAX - 1);
}

void lk_down_select(lk_down *d, lk_usec now)
{
    bool open = d->up && d->peer && d->bound && !d->settings.disabled && !d->paused && lk_peer_ready(d->peer);
    if (!open) {
        if (d->open)
            d->resync = true;
        d->open = false;
        d->target = -1;
        if (d->peer && d->bound && d->paused)
            tell_state(d, false);
        return;
    }
    if (!d->open)
        d->resync = true;
    d->open = true;
    if (d->up->kind == LK_MEDIA_KIND_VIDEO) {
        aim(d);
        if (lk_down_waits_for_key(d))
            lk_up_want_key(d->up, now, (size_t)d->target);
        if (d->peer->allocate_at == LK_NEVER)
            d->peer->allocate_at = now + LK_SEC(1);
    } else {
        d->target = 0;
    }
    tell_state(d, true);
    lk_hub_touch(d->peer);
}

bool lk_down_waits_for_key(const lk_down *d)
{
    return d->open && d->up->kind == LK_MEDIA_KIND_VIDEO && d->target >= 0 && (d->layer != d->target || d->resync || lk_svc_waits(d));
}

/* Payload type for packets of that codec; RED is taken apart for who does not take it. */
static bool set_codec(lk_down *d, uint8_t codec)
{
    const lk_peer_sect *s = lk_peer_sect_at(d->peer, (size_t)d->sect);
    const lk_peer_codec *found = NULL;
    for (size_t i = 0; s && i < s->codec_count && !found; i++)
        if (s->codecs[i].codec == codec)
            found = &s->codecs[i];
    for (size_t i = 0; s && codec == LK_HUB_RED && i < s->codec_count && !found; i++)
        if (s->codecs[i].codec == LK_HUB_OPUS)
            found = &s->codecs[i];
    d->codec = codec;
    d->pt = found ? found->pt : 255;
    d->rtx_pt = found ? found->rtx_pt : -1;
    d->nack = found && found->nack;
    d->unwrap_red = found && codec == LK_HUB_RED && found->codec != LK_HUB_RED;
    return found != NULL;
}

bool lk_down_bind(lk_down *d, const lk_peer_sect *s)
{
    d->twcc_id = s->twcc_id;
    d->ast_id = s->twcc_id ? 0 : s->ast_id;
    d->dd_id = s->dd_id;
    return (d->up && set_codec(d, d->up->codec)) || (d->movable && s->codec_count);
}

bool lk_down_takes(const lk_down *d, const char *mime)
{
    const lk_peer_sect *s = d->peer ? lk_peer_sect_at(d->peer, (size_t)d->sect) : NULL;
    const uint8_t *exact = d->up && lk_str_ieq(lk_str_of(mime), lk_up_mime(d->up)) ? &d->up->codec : NULL; /* its very profile */
    for (size_t i = 0; s && i < s->codec_count; i++)
        if (exact ? s->codecs[i].codec == *exact : lk_str_ieq(lk_str_of(mime), lk_hub_codec_rows[s->codecs[i].codec].mime))
            return true;
    return false;
}

/* ---- rewriting ---- */

/* Where a packet of another layer, or the first after a pause, stands on the time line of what was sent: by the publisher's
 * reports when both layers have one, else by the time that passed. */
static uint32_t join_ts(const lk_down *d, lk_usec now, size_t layer, const lk_cached *c)
{
    const lk_up *up = d->up;
    uint32_t clock = lk_hub_codec_rows[c->codec].clock_hz;
    int32_t frame = up->kind == LK_MEDIA_KIND_VIDEO ? VIDEO_FRAME_TICKS : (int32_t)(clock / 50);
    int64_t passed = (now - d->at) * (int64_t)clock / 1000000;
    uint32_t by_time = d->ts + (uint32_t)LK_MAX(passed, (int64_t)1), joined = by_time;
    bool known = true;
    if (d->layer == (int)layer) {
        joined = c->ts + (uint32_t)d->ts_off;
    } else if (d->layer >= 0 && up->layers[layer].has_sr && up->layers[d->layer].has_sr) {
        const lk_up_lay *from = &up->layers[d->layer], *to = &up->layers[layer];
        double apart = (double)(int64_t)(to->sr_ntp - from->sr_ntp) / 4294967296.0 * clock;
        joined = from->sr_ts + (uint32_t)(int64_t)apart + (c->ts - to->sr_ts) + (uint32_t)d->ts_off;
    } else {
        known = false;
    }
    int64_t skew = (int64_t)lk_ts32_diff(joined, by_time) * 1000000 / clock;
    if (known && (skew > SKEW_MAX_USEC || skew < -SKEW_MAX_USEC))
        joined = by_time;
    return lk_ts32_diff(joined, d->ts) >= frame / 3 ? joined : d->ts + (uint32_t)frame / 3;
}

/* The packet begins a run: numbers follow what was sent before. */
static void join(lk_down *d, lk_usec now, size_t layer, const lk_cached *c)
{
    const lk_hub_piece *p = &c->piece;
    d->seq_off = c->seq - (d->out + 1);
    d->in_first = c->seq;
    d->in_high = c->seq - 1;
    d->ts_off = d->started ? (int32_t)(join_ts(d, now, layer, c) - c->ts) : 0;
    d->picture_off = d->started ? (uint16_t)(p->picture - (d->picture + 1)) : 0;
    d->tl0_off = d->started ? (uint8_t)(p->tl0 - (d->tl0 + 1)) : 0;
    d->key_off = d->started ? (uint8_t)(p->key_index - (d->key_index + 1)) : 0;
    d->layer = (int8_t)layer;
    d->tid = d->max_tid;
    d->resync = false;
    if (c->layered)
        lk_svc_join(d, lk_svc_facts_of(d->up->layers[layer].svc, c));
}

static bool make_ring(lk_down *d)
{
    uint32_t count = d->up->kind == LK_MEDIA_KIND_VIDEO ? LK_UP_VIDEO_PACKETS : LK_UP_AUDIO_PACKETS;
    d->sent = (lk_down_sent *)lk_alloc0(d->hub->env, count * sizeof *d->sent);
    d->sent_count = d->sent ? count : 0;
    return d->sent != NULL;
}

static lk_down_sent entry_of(const lk_down *d, int64_t out)
{
    return (lk_down_sent){.out = (uint16_t)out, .in = (uint16_t)(out + d->seq_off), .layer = (uint8_t)d->layer, .used = true,
                          .picture_off = d->picture_off, .tl0_off = d->tl0_off, .key_off = d->key_off, .ts_off = d->ts_off, .sid = (uint8_t)d->svc.sid, .tid = d->svc.tid};
}

/* Numbers of what is missing are kept free for it. */
static void reserve(lk_down *d, int64_t seq)
{
    int64_t from = LK_MAX(d->in_high + 1, seq - (int64_t)d->sent_count);
    for (; d->sent && from < seq; from++)
        *sent_at(d, from - d->seq_off) = entry_of(d, from - d->seq_off);
}

/* A packet that came late goes out under the number kept for it. */
static lk_down_sent *find_reserved(const lk_down *d, size_t layer, int64_t seq)
{
    for (int64_t out = d->out; d->sent && out > d->out - (int64_t)d->sent_count && out >= 0; out--) {
        lk_down_sent *e = sent_at(d, out);
        if (e->used && e->out == (uint16_t)out && e->layer == layer && e->in == (uint16_t)seq)
            return e->sent ? NULL : e;
    }
    return NULL;
}

/* Lead bytes of the payload with the identifiers moved. */
static void put_lead(uint8_t *at, const lk_cached *c, const lk_down_sent *e)
{
    const lk_hub_piece *p = &c->piece;
    memcpy(at, c->block->data, p->lead_len);
    uint16_t picture = (uint16_t)(p->picture - e->picture_off);
    if (p->picture_at && p->picture_long)
        lk_put_u16(at + p->picture_at, (uint16_t)(0x8000 | (picture & 0x7fff)));
    else if (p->picture_at)
        at[p->picture_at] = picture & 0x7f;
    if (p->tl0_at)
        at[p->tl0_at] = (uint8_t)(p->tl0 - e->tl0_off);
    if (p->key_at)
        at[p->key_at] = (uint8_t)((at[p->key_at] & 0xe0) | ((p->key_index - e->key_off) & 0x1f));
}

/* Extension block: transport-wide number or send time, and the descriptor of layers where it is passed on. Descriptors longer
 * than 16 bytes need the two-byte form. [RFC8285 s4.3] */
static void put_extensions(lk_wr *w, const lk_down *d, const lk_cached *c, const lk_down_sent *e)
{
    uint8_t room[LK_RTP_DD_BYTES_MAX];
    lk_bytes dd = {c->block->data + c->len, d->dd_id ? c->dd_len : 0};
    if (dd.len && c->layered)
        dd = lk_svc_descriptor(d->up->layers[e->layer].svc, c, e->sid, e->tid, room);
    size_t dd_len = dd.len;
    bool two = dd_len > 16 || d->twcc_id > 14 || d->ast_id > 14 || d->dd_id > 14;
    uint8_t id = d->twcc_id ? d->twcc_id : d->ast_id, len = d->twcc_id ? 2 : 3;
    size_t body = (id ? len + (two ? 2u : 1u) : 0u) + (dd_len ? dd_len + (two ? 2u : 1u) : 0u);
    lk_wr_u16(w, two ? LK_RTP_PROFILE_TWO_BYTE : LK_RTP_PROFILE_ONE_BYTE);
    lk_wr_u16(w, (uint16_t)((body + 3) / 4));
    if (id) {
        if (two) {
            lk_wr_u8(w, id);
            lk_wr_u8(w, len);
        } else {
            lk_wr_u8(w, (uint8_t)(id << 4 | (len - 1)));
        }
        if (len == 2)
            lk_wr_u16(w, (uint16_t)e->ext);
        else
            lk_wr_u24(w, e->ext);
    }
    if (dd_len) {
        if (two) {
            lk_wr_u8(w, d->dd_id);
            lk_wr_u8(w, (uint8_t)dd_len);
        } else {
            lk_wr_u8(w, (uint8_t)(d->dd_id << 4 | (dd_len - 1)));
        }
        lk_wr_put(w, dd.data, dd_len);
    }
    lk_wr_zero(w, (4 - body % 4) % 4);
}

/* What of the payload goes on: all, or the newest block of a redundant one. */
static lk_bytes payload_of(const lk_down *d, const lk_cached *c)
{
    lk_rtp_red_block blocks[LK_RTP_RED_BLOCKS_MAX];
    lk_bytes all = {c->block->data, c->len};
    if (!d->unwrap_red)
        return all;
    size_t n = lk_rtp_red_parse(blocks, all);
    return n ? blocks[n - 1].data : (lk_bytes){NULL, 0};
}

static uint32_t extension_value(lk_down *d, lk_usec now, size_t bytes)
{
    lk_estimator_sent(&d->peer->estimator, now, bytes);
    if (d->twcc_id) {
        lk_probe_sent(&d->peer->probe, now, bytes);
        return lk_twcc_history_send(&d->peer->sent, now, bytes);
    }
    return (uint32_t)(lk_hub_ntp(d->hub, now) >> 14) & 0xffffffu; /* 6.18 fixed point */
}

/* Header, extensions, rewritten lead; then sealed straight from the cache. again: as a packet of the retransmission stream. */
static bool put_packet(lk_down *d, lk_usec now, const lk_cached *c, lk_down_sent *e, int64_t out, bool rtx, uint8_t *slot, size_t *len)
{
    lk_bytes payload = payload_of(d, c);
    const lk_hub_piece *p = &c->piece;
    size_t lead = d->unwrap_red ? 0 : p->lead_len;
    bool extended = d->up->kind == LK_MEDIA_KIND_VIDEO && (d->twcc_id || d->ast_id || (d->dd_id && c->dd_len));
    int64_t number = rtx ? ++d->rtx_out : out;
    lk_wr w = lk_wr_of(slot, LK_HUB_SLOT_BYTES);
    if (payload.len == 0)
        return false;
    if (extended && (rtx || !e->sent))
        e->ext = extension_value(d, now, LK_RTP_HEADER_LEN + 8 + payload.len + LK_HUB_WIRE_BYTES);
    lk_wr_u8(&w, (uint8_t)(0x80 | (extended ? 0x10 : 0)));
    lk_wr_u8(&w, (uint8_t)((e->marker ? 0x80 : 0) | (rtx ? d->rtx_pt : d->pt)));
    lk_wr_u16(&w, (uint16_t)number);
    lk_wr_u32(&w, c->ts + (uint32_t)e->ts_off);
    lk_wr_u32(&w, rtx ? d->rtx_ssrc : d->ssrc);
    if (extended)
        put_extensions(&w, d, c, e);
    size_t header = w.len;
    if (rtx)
        lk_wr_u16(&w, (uint16_t)out); /* [RFC4588 s4] */
    uint8_t *at = lk_wr_reserve(&w, lead);
    if (w.bad)
        return false;
    if (lead)
        put_lead(at, c, e);
    return lk_srtp_seal_rtp(&d->peer->transport.srtp_tx, (uint64_t)number, slot, header, w.len - header, payload.data + lead,
                            payload.len - lead, LK_HUB_SLOT_BYTES, len) == LK_OK;
}

/* Padding under the number kept for a packet that is not for this subscriber after all: the receiver misses nothing. */
static bool put_padding(lk_down *d, const lk_cached *c, const lk_down_sent *e, int64_t out, uint8_t *slot, size_t *len)
{
    static const uint8_t one = 1;
    lk_wr w = lk_wr_of(slot, LK_HUB_SLOT_BYTES);
    lk_wr_u8(&w, 0xa0);
    lk_wr_u8(&w, d->pt);
    lk_wr_u16(&w, (uint16_t)out);
    lk_wr_u32(&w, c->ts + (uint32_t)e->ts_off);
    lk_wr_u32(&w, d->ssrc);
    return lk_srtp_seal_rtp(&d->peer->transport.srtp_tx, (uint64_t)out, slot, w.len, 0, &one, 1, LK_HUB_SLOT_BYTES, len) == LK_OK;
}

/* Temporal layers above what is wanted are left out; more are let in where a frame needs nothing of them before. */
static bool passes(lk_down *d, const lk_cached *c, bool late)
{
    const lk_hub_piece *p = &c->piece;
    if (c->layered)
        return lk_svc_passes(d, lk_svc_facts_of(d->up->layers[d->layer].svc, c), c, late);
    if (late)
        return true;
    uint8_t most = d->max_tid;
    if (d->layer > d->limit) { /* too much, until the key frame of a lower layer comes */
        if (d->peer->estimator.queue_usec > QUEUE_LONG_USEC)
            return false; /* which would wait behind it, or be lost with it */
        most = d->tid = 0; /* the base alone is about the half */
    }
    if (p->tid <= d->tid && p->tid <= most)
        return true;
    if (p->tid > most || !(p->layer_sync || p->key))
        return false;
    d->tid = p->tid;
    return true;
}

/* Numbers close over a packet that is left out. */
static void leave_out(lk_down *d, const lk_cached *c)
{
    reserve(d, c->seq);
    d->in_high = c->seq;
    d->out = c->seq - 1 - d->seq_off;
    d->seq_off++;
    if (c->piece.begin && c->len)
        d->picture_off++;
}

/* The last packet of what this subscriber gets of a picture. */
static bool ends_picture(const lk_down *d, const lk_cached *c)
{
    const lk_svc_facts *f = c->layered ? lk_svc_facts_of(d->up->layers[d->layer].svc, c) : NULL;
    return c->marker || (f && f->end && (int8_t)f->sid == d->svc.sid);
}

static void remember(lk_down *d, lk_usec now, const lk_cached *c, int64_t out, const lk_down_sent *e)
{
    const lk_hub_piece *p = &c->piece;
    d->in_high = c->seq;
    d->out = out;
    d->ts = c->ts + (uint32_t)e->ts_off;
    d->at = now;
    d->picture = (uint16_t)((p->picture - e->picture_off) & 0x7fff);
    d->tl0 = (uint8_t)(p->tl0 - e->tl0_off);
    d->key_index = (uint8_t)((p->key_index - e->key_off) & 0x1f);
    d->started = true;
}

bool lk_down_write(lk_down *d, lk_usec now, size_t layer, const lk_cached *c, uint8_t *slot, size_t *len)
{
    bool video = d->up->kind == LK_MEDIA_KIND_VIDEO, begins = false;
    if (d->codec != c->codec && !set_codec(d, c->codec))
        return false;
    if (d->pt > 127)
        return false;
    if (d->layer != (int)layer || d->resync) {
        if ((int)layer != d->target || c->len == 0 || (video && !c->piece.key))
            return false;
        begins = true;
    }
    lk_down_sent here, *e = &here;
    int64_t out;
    if (begins) {
        join(d, now, layer, c);
    } else if (c->seq < d->in_first) {
        return false; /* of before the switch */
    }
    bool late = c->seq <= d->in_high;
    bool wanted = c->len > 0 && passes(d, c, late);
    if (!late && !wanted) {
        leave_out(d, c);
        return false;
    }
    if (d->nack && !d->sent && !make_ring(d))
        d->nack = false;
    if (late) {
        e = find_reserved(d, layer, c->seq);
        if ((!e && d->sent) || (!e && !wanted))
            return false;
        if (!e) {
            here = entry_of(d, c->seq - d->seq_off);
            e = &here;
        }
        out = d->out + lk_seq16_diff(e->out, (uint16_t)d->out);
        if (!wanted) {
            e->used = false;
            return put_padding(d, c, e, out, slot, len);
        }
        e->marker = ends_picture(d, c);
    } else {
        reserve(d, c->seq);
        out = c->seq - d->seq_off;
        here = entry_of(d, out);
        here.marker = ends_picture(d, c);
        if (d->sent) {
            e = sent_at(d, out);
            *e = here;
        }
        remember(d, now, c, out, e);
    }
    if (!put_packet(d, now, c, e, out, false, slot, len))
        return false;
    e->sent = true;
    d->packets++;
    d->octets += c->len;
    d->sent_since_report = true;
    lk_peer_wake_reports(d->peer, now);
    return true;
}

/* ---- resends ---- */

void lk_down_on_nack(lk_down *d, lk_usec now, const lk_rtcp_packet *p)
{
    size_t at = 0;
    uint16_t seq;
    uint16_t now_msec = (uint16_t)(now / 1000);
    lk_usec apart = d->peer->rtt_usec ? d->peer->rtt_usec * 3 / 4 : AGAIN_MIN_USEC;
    while (d->sent && lk_rtcp_nack_next(p, &at, &seq)) {
        lk_down_sent *e = sent_at(d, d->out + lk_seq16_diff(seq, (uint16_t)d->out));
        if (!e->used || e->out != seq || !e->sent)
            continue;
        if (e->resent_msec && (lk_usec)(uint16_t)(now_msec - e->resent_msec) * 1000 < apart)
            continue;
        e->resent_msec = now_msec ? now_msec : 1;
        lk_hub_add_resend(d->hub, d, seq);
    }
}

bool lk_down_write_again(lk_down *d, lk_usec now, uint16_t seq, uint8_t *slot, size_t *len)
{
    int64_t out = d->out + lk_seq16_diff(seq, (uint16_t)d->out);
    lk_down_sent *e = d->sent && out >= 0 ? sent_at(d, out) : NULL;
    if (!e || !e->used || e->out != seq || !e->sent || e->layer >= d->up->layer_count)
        return false;
    const lk_up_lay *l = &d->up->layers[e->layer];
    const lk_cached *c = lk_up_cached(d->up, e->layer, lk_unwrap16_peek(&l->seq, e->in));
    if (!c || c->len == 0 || c->codec != d->codec || !put_packet(d, now, c, e, out, d->rtx_pt >= 0, slot, len))
        return false;
    d->resent++;
    return true;
}

/* ---- padding ---- */

bool lk_down_can_pad(const lk_down *d)
{
    return d->up && d->bound && d->up->kind == LK_MEDIA_KIND_VIDEO && d->twcc_id && d->twcc_id <= 14 && d->rtx_pt >= 0;
}

bool lk_down_write_padding(lk_down *d, lk_usec now, uint8_t *slot, size_t *len)
{
    static const uint8_t padding[LK_PROBE_PADDING] = {[LK_PROBE_PADDING - 1] = LK_PROBE_PADDING}; /* [RFC3550 s5.1] */
    size_t bytes = LK_RTP_HEADER_LEN + 8 + sizeof padding + LK_HUB_WIRE_BYTES;
    if (!lk_probe_poll(&d->peer->probe, now, bytes))
        return false;
    lk_estimator_sent(&d->peer->estimator, now, bytes);
    int64_t number = ++d->rtx_out;
    lk_wr w = lk_wr_of(slot, LK_HUB_SLOT_BYTES);
    lk_wr_u8(&w, 0xb0); /* padding, extension */
    lk_wr_u8(&w, (uint8_t)d->rtx_pt);
    lk_wr_u16(&w, (uint16_t)number);
    lk_wr_u32(&w, d->ts);
    lk_wr_u32(&w, d->rtx_ssrc);
    lk_wr_u16(&w, LK_RTP_PROFILE_ONE_BYTE);
    lk_wr_u16(&w, 1);
    lk_wr_u8(&w, (uint8_t)(d->twcc_id << 4 | 1));
    lk_wr_u16(&w, lk_twcc_history_send(&d->peer->sent, now, bytes));
    lk_wr_u8(&w, 0);
    return lk_srtp_seal_rtp(&d->peer->transport.srtp_tx, (uint64_t)number, slot, w.len, 0, padding, sizeof padding, LK_HUB_SLOT_BYTES,
                            len) == LK_OK;
}
