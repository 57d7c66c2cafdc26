// SPDX-License-Identifier: Apache-2.0
/* Layers inside one stream (SVC): what each packet says of its layer, and which packets a subscriber gets.
 *
 * A subscriber gets all frames up to a spatial and a temporal layer. It moves down where a picture begins. It moves up with a frame
 * that needs nothing it did not get: a key picture, or one whose references it has (dependency descriptor), or one that is not
 * predicted from other pictures or is marked as a point to switch up at (VP9 descriptor alone). Lower layers go on even where
 * upper ones do without them (L3T3_KEY): moving down then needs no key frame. */
#include "sfu/hub_internal.h"

#include "rtp/vp9_descriptor.h"

#define NUMBERS 256 /* frames back that are remembered */

/* ---- on the way in ---- */

static void see_sizes(lk_svc *s, const uint16_t *width, const uint16_t *height, size_t count)
{
    for (size_t i = 0; i < LK_SVC_SPATIAL_MAX; i++) {
        s->width[i] = i < count ? width[i] : 0;
        s->height[i] = i < count ? height[i] : 0;
    }
}

static void look_vp9(lk_svc *s, lk_svc_facts *f, lk_bytes payload)
{
    lk_rtp_vp9 d;
    if (lk_rtp_vp9_parse(&d, payload) != LK_OK || !d.has_layers || d.sid >= LK_SVC_SPATIAL_MAX)
        return;
    *f = (lk_svc_facts){.known = true, .sid = d.sid, .tid = d.tid, .begin = d.begin, .end = d.end, .alone = !d.predicted, .switch_up = d.switch_up};
    s->spatial_count = LK_MAX(s->spatial_count, (uint8_t)(d.sid + 1));
    if (d.has_structure && d.sid == 0) {
        s->spatial_count = LK_MIN(d.layer_count, (uint8_t)LK_SVC_SPATIAL_MAX);
        if (d.has_sizes)
            see_sizes(s, d.width, d.height, s->spatial_count);
    }
}

/* True: the descriptor says all there is to know, whatever stands in the payload. */
static bool look_dependency(lk_svc *s, lk_svc_facts *f, lk_cached *c, lk_bytes value)
{
    lk_rtp_dd d;
    if (lk_rtp_dd_parse(&d, &s->structure, s->has_structure ? &s->structure : NULL, value) != LK_OK || !d.has_frame)
        return false;
    if (d.attached) {
        s->has_structure = true;
        s->generation++;
        s->structure_number = d.number;
        s->spatial_count = s->structure.spatial_count;
        see_sizes(s, s->structure.width, s->structure.height, s->structure.has_sizes ? s->structure.spatial_count : 0);
    }
    if (d.has_active)
        s->active = d.active;
    *f = (lk_svc_facts){.known = true, .by_number = true, .stale = lk_seq16_diff(d.number, s->structure_number) < 0, .sid = d.frame.sid,
                        .tid = d.frame.tid, .begin = d.first, .end = d.last, .number = d.number, .generation = s->generation,
                        .mask_at = d.mask_at, .tail_at = d.tail_at, .end_at = d.end_at};
    for (size_t i = 0; i < d.frame.reference_count; i++)
        if (d.frame.references[i] < NUMBERS)
            f->references[f->reference_count++] = (uint8_t)d.frame.references[i];
        else
            f->far = true;
    c->piece.begin = d.first;
    c->piece.key = d.first && d.attached && d.frame.sid == 0 && d.frame.reference_count == 0;
    return true;
}

/* Other layers come than did: everybody chooses anew. */
static void tell(lk_up *up, lk_svc *s, lk_usec now)
{
    s->told_live = s->live;
    s->told_count = s->spatial_count;
    for (size_t i = 0; i < up->down_count; i++)
        lk_down_select(up->downs[i], now);
}

void lk_svc_look(lk_up *up, lk_up_lay *l, lk_usec now, lk_cached *c)
{
    lk_bytes payload = {c->block->data, c->len}, dd = {c->block->data + c->len, c->dd_len};
    if (!l->svc) {
        lk_rtp_vp9 d;
        bool layered = c->dd_len || (c->codec != LK_HUB_AV1 && lk_rtp_vp9_parse(&d, payload) == LK_OK && d.has_layers);
        if (layered)
            l->svc = (lk_svc *)lk_alloc0(up->hub->env, sizeof *l->svc);
        if (!l->svc) /* nothing to tell layers apart, or no memory for it: all of it passes */
            return;
    }
    lk_svc *s = l->svc;
    lk_svc_facts *f = lk_svc_facts_of(s, c);
    *f = (lk_svc_facts){0};
    if (!(c->dd_len && look_dependency(s, f, c, dd)) && c->codec != LK_HUB_AV1)
        look_vp9(s, f, payload);
    c->layered = f->known;
    if (!f->known)
        return;
    lk_rate_meter_add(&s->rate[f->sid], now, LK_RTP_HEADER_LEN + c->len + LK_HUB_WIRE_BYTES);
    s->last_at[f->sid] = now;
    s->live |= (uint8_t)(1u << f->sid);
    if (s->live != s->told_live || s->spatial_count != s->told_count)
        tell(up, s, now);
}

void lk_svc_check(lk_up *up, lk_svc *s, lk_usec now, lk_usec alive_usec)
{
    for (unsigned i = 0; i < LK_SVC_SPATIAL_MAX; i++)
        if (now - s->last_at[i] >= alive_usec)
            s->live &= (uint8_t)~(1u << i);
    if (s->live != s->told_live)
        tell(up, s, now);
}

uint64_t lk_svc_bps(const lk_svc *s, size_t sid)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < LK_SVC_SPATIAL_MAX && i <= sid; i++)
        sum += s->live >> i & 1 ? lk_rate_meter_bps(&s->rate[i]) : 0;
    return sum;
}

/* The least layer that covers a size; 1/16 is forgiven: halves are rounded in different ways. */
size_t lk_svc_covering(const lk_svc *s, unsigned width, unsigned height)
{
    unsigned longer = LK_MAX(width, height), shorter = LK_MIN(width, height);
    size_t i = 0;
    for (; i + 1 < s->spatial_count; i++) {
        unsigned l = LK_MAX(s->width[i], s->height[i]), h = LK_MIN(s->width[i], s->height[i]);
        if (l + l / 16 >= longer && h + h / 16 >= shorter)
            break;
    }
    return i;
}

/* ---- on the way out ---- */

static bool has(const uint64_t *set, uint16_t number) { return set[number >> 6 & 3] >> (number & 63) & 1; }
static void add(uint64_t *set, uint16_t number) { set[number >> 6 & 3] |= UINT64_C(1) << (number & 63); }
static void take(uint64_t *set, uint16_t number) { set[number >> 6 & 3] &= ~(UINT64_C(1) << (number & 63)); }

/* Numbers up to this one are not decided on. */
static void see_number(lk_down_svc *s, uint16_t number)
{
    int ahead = lk_seq16_diff(number, s->number);
    for (int i = ahead > NUMBERS ? ahead - NUMBERS : 0; i < ahead; i++) {
        take(s->kept, (uint16_t)(s->number + i + 1));
        take(s->left, (uint16_t)(s->number + i + 1));
    }
    if (ahead > 0)
        s->number = number;
}

/* In that set: any of what the frame refers to; all of it. */
static bool refers_to(const lk_svc_facts *f, const uint64_t *set, bool all)
{
    for (size_t i = 0; i < f->reference_count; i++)
        if (has(set, (uint16_t)(f->number - f->references[i])) != all)
            return !all;
    return all;
}

void lk_svc_join(lk_down *d, const lk_svc_facts *f)
{
    d->svc = (lk_down_svc){.sid = d->svc.want, .want = d->svc.want, .tid = d->max_tid, .number = f->number};
}

/* Layers change between pictures; a key picture has all that is wanted. */
static void begin_picture(lk_down *d, const lk_cached *c)
{
    lk_down_svc *s = &d->svc;
    s->ts = c->ts;
    s->sid = c->piece.key ? s->want : LK_MIN(s->sid, s->want);
    s->tid = c->piece.key ? d->max_tid : LK_MIN(s->tid, d->max_tid);
}

static bool may_rise(const lk_down *d, const lk_svc_facts *f)
{
    const lk_down_svc *s = &d->svc;
    if (f->sid > s->want || f->tid > d->max_tid)
        return false;
    if (f->by_number)
        return !f->far && refers_to(f, s->kept, true);
    return f->begin && (f->sid <= s->sid || (f->sid == s->sid + 1 && f->alone)) && (f->tid <= s->tid || f->switch_up || f->alone);
}

/* A frame of a layer that flows needs what was left out: the layer does not flow until the next key picture. */
static void give_up(lk_down *d, const lk_svc_facts *f)
{
    if (f->tid > 0)
        return; /* the next of its layer will do */
    if (f->sid == 0)
        d->resync = true;
    else
        d->svc.sid = (int8_t)(f->sid - 1);
}

static bool decide(lk_down *d, const lk_svc_facts *f, bool late)
{
    lk_down_svc *s = &d->svc;
    bool within = f->sid <= s->sid && f->tid <= s->tid;
    if (f->by_number && has(s->kept, f->number))
        return true;
    if (f->by_number && has(s->left, f->number))
        return false;
    if (within && f->by_number && refers_to(f, s->left, false)) {
        if (!late)
            give_up(d, f);
        return false;
    }
    if (within)
        return true;
    if (late || !may_rise(d, f))
        return false;
    s->sid = LK_MAX(s->sid, (int8_t)f->sid);
    s->tid = LK_MAX(s->tid, f->tid);
    return true;
}

bool lk_svc_passes(lk_down *d, const lk_svc_facts *f, const lk_cached *c, bool late)
{
    lk_down_svc *s = &d->svc;
    if (f->stale)
        return false;
    if (!late && c->ts != s->ts)
        begin_picture(d, c);
    if (f->by_number)
        see_number(s, f->number);
    bool passes = decide(d, f, late);
    if (f->by_number)
        add(passes ? s->kept : s->left, f->number);
    return passes;
}

bool lk_svc_waits(const lk_down *d)
{
    const lk_svc *s = d->up->layers[0].svc;
    int8_t wanted = d->svc.want;
    if (!s || d->up->layer_count > 1)
        return false;
    while (wanted > 0 && !(s->live >> wanted & 1))
        wanted--;
    return d->svc.sid < wanted;
}

lk_bytes lk_svc_descriptor(const lk_svc *s, const lk_cached *c, uint8_t sid, uint8_t tid, uint8_t room[LK_RTP_DD_BYTES_MAX])
{
    const lk_svc_facts *f = lk_svc_facts_of(s, c);
    lk_bytes value = {c->block->data + c->len, c->dd_len};
    if (!f->by_number || !f->begin || f->generation != s->generation)
        return value;
    uint32_t within = lk_rtp_dd_targets_within(&s->structure, sid, tid) & s->active;
    lk_wr w = lk_wr_of(room, LK_RTP_DD_BYTES_MAX);
    const lk_rtp_dd d = {.mask_at = f->mask_at, .tail_at = f->tail_at, .end_at = f->end_at};
    if (within == s->active || lk_rtp_dd_write_active(&w, value, &d, &s->structure, within) != LK_OK)
        return value;
    return (lk_bytes){room, w.len};
}
