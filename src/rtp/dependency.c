// SPDX-License-Identifier: Apache-2.0
#include "rtp/dependency.h"

#define MANDATORY_BYTES 3
#define MANDATORY_BITS 24
#define FLAG_BITS 5 /* structure, active targets, custom: targets, references, chains */
#define FLAG_ACTIVE_AT (MANDATORY_BITS + 1)

typedef struct bits {
    lk_bytes from;
    size_t at;
    bool bad;
} bits;

static uint32_t take(bits *b, unsigned count)
{
    uint32_t v = 0;
    if (b->at + count > 8 * b->from.len) {
        b->bad = true;
        return 0;
    }
    for (; count; count--, b->at++)
        v = v << 1 | (b->from.data[b->at / 8] >> (7 - b->at % 8) & 1u);
    return v;
}

/* One of n values in as few bits as it takes: the low ones one bit shorter. */
static uint32_t take_of(bits *b, uint32_t n)
{
    unsigned width = 0;
    for (uint32_t x = n; x; x >>= 1)
        width++;
    uint32_t low = (1u << width) - n, v = take(b, width - 1);
    return v < low ? v : (v << 1) - low + take(b, 1);
}

static uint64_t take_dtis(bits *b, uint8_t targets)
{
    uint64_t dtis = 0;
    for (unsigned i = 0; i < targets; i++)
        dtis |= (uint64_t)take(b, 2) << (2 * i);
    return dtis;
}

static void add_reference(bits *b, lk_rtp_dd_frame *f, uint32_t back)
{
    if (f->reference_count == LK_RTP_DD_REFERENCES_MAX) {
        b->bad = true;
        return;
    }
    f->references[f->reference_count++] = (uint16_t)back;
}

static void read_layers(bits *b, lk_rtp_dd_structure *s)
{
    enum { SAME, NEXT_TEMPORAL, NEXT_SPATIAL, END } next;
    uint8_t sid = 0, tid = 0;
    do {
        if (s->template_count == LK_RTP_DD_TEMPLATES_MAX || sid >= LK_RTP_DD_SPATIAL_MAX || tid >= LK_RTP_DD_TEMPORAL_MAX) {
            b->bad = true;
            return;
        }
        s->templates[s->template_count].sid = sid;
        s->templates[s->template_count++].tid = tid;
        next = take(b, 2);
        tid = (uint8_t)(next == NEXT_SPATIAL ? 0 : tid + (next == NEXT_TEMPORAL));
        sid = (uint8_t)(sid + (next == NEXT_SPATIAL));
    } while (next != END && !b->bad);
    s->spatial_count = (uint8_t)(sid + 1);
}

static void read_chains(bits *b, lk_rtp_dd_structure *s)
{
    s->chain_count = (uint8_t)take_of(b, s->target_count + 1u);
    for (unsigned t = 0; s->chain_count && t < s->target_count; t++)
        s->protected_by[t] = (uint8_t)take_of(b, s->chain_count);
    for (unsigned i = 0; i < s->template_count; i++)
        for (unsigned c = 0; c < s->chain_count; c++)
            s->templates[i].chains[c] = (uint8_t)take(b, 4);
}

static void name_targets(lk_rtp_dd_structure *s)
{
    for (unsigned t = 0; t < s->target_count; t++)
        for (unsigned i = 0; i < s->template_count; i++) {
            const lk_rtp_dd_frame *f = &s->templates[i];
            if (lk_rtp_dti_of(f->dtis, t) == LK_RTP_DTI_NOT_PRESENT)
                continue;
            s->target_sid[t] = LK_MAX(s->target_sid[t], f->sid);
            s->target_tid[t] = LK_MAX(s->target_tid[t], f->tid);
        }
}

static void read_structure(bits *b, lk_rtp_dd_structure *s)
{
    memset(s, 0, sizeof *s);
    s->id_offset = (uint8_t)take(b, 6);
    s->target_count = (uint8_t)(take(b, 5) + 1);
    read_layers(b, s);
    for (unsigned i = 0; i < s->template_count; i++)
        s->templates[i].dtis = take_dtis(b, s->target_count);
    for (unsigned i = 0; i < s->template_count; i++)
        while (take(b, 1))
            add_reference(b, &s->templates[i], take(b, 4) + 1);
    read_chains(b, s);
    name_targets(s);
    s->has_sizes = take(b, 1) != 0;
    for (unsigned i = 0; s->has_sizes && i < s->spatial_count; i++) {
        s->width[i] = (uint16_t)(take(b, 16) + 1);
        s->height[i] = (uint16_t)(take(b, 16) + 1);
    }
}

static void read_custom_references(bits *b, lk_rtp_dd_frame *f)
{
    f->reference_count = 0;
    for (unsigned nibbles; (nibbles = take(b, 2)) != 0;)
        add_reference(b, f, take(b, 4 * nibbles) + 1);
}

lk_err lk_rtp_dd_parse(lk_rtp_dd *out, lk_rtp_dd_structure *fresh, const lk_rtp_dd_structure *known, lk_bytes value)
{
    lk_rtp_dd_structure read;
    bits b = {.from = value};
    lk_rtp_dd d = {.mask_at = MANDATORY_BITS, .tail_at = MANDATORY_BITS, .end_at = MANDATORY_BITS};
    d.first = take(&b, 1) != 0;
    d.last = take(&b, 1) != 0;
    d.template_id = (uint8_t)take(&b, 6);
    d.number = (uint16_t)take(&b, 16);
    bool more = value.len > MANDATORY_BYTES, dtis = false, references = false, chains = false;
    if (more) {
        d.attached = take(&b, 1) != 0;
        d.has_active = take(&b, 1) != 0;
        dtis = take(&b, 1) != 0;
        references = take(&b, 1) != 0;
        chains = take(&b, 1) != 0;
    }
    if (d.attached) {
        read_structure(&b, &read);
        known = &read;
        d.active = UINT32_MAX >> (LK_RTP_DD_TARGETS_MAX - read.target_count);
    }
    if (b.bad)
        return LK_ERR_WIRE;
    if (!known) {
        d.has_active = false;
        *out = d;
        return LK_OK;
    }
    d.mask_at = (uint16_t)b.at;
    if (d.has_active)
        d.active = take(&b, known->target_count);
    d.has_active |= d.attached;
    d.tail_at = (uint16_t)b.at;
    uint8_t index = (uint8_t)(d.template_id - known->id_offset) & (LK_RTP_DD_TEMPLATES_MAX - 1);
    if (index >= known->template_count)
        return LK_ERR_WIRE;
    d.frame = known->templates[index];
    if (dtis)
        d.frame.dtis = take_dtis(&b, known->target_count);
    if (references)
        read_custom_references(&b, &d.frame);
    for (unsigned i = 0; chains && i < known->chain_count; i++)
        d.frame.chains[i] = (uint8_t)take(&b, 8);
    if (b.bad)
        return LK_ERR_WIRE;
    d.end_at = (uint16_t)b.at;
    d.has_frame = true;
    if (d.attached)
        *fresh = read;
    *out = d;
    return LK_OK;
}

uint32_t lk_rtp_dd_targets_within(const lk_rtp_dd_structure *s, uint8_t sid, uint8_t tid)
{
    uint32_t mask = 0;
    for (unsigned t = 0; t < s->target_count; t++)
        if (s->target_sid[t] <= sid && s->target_tid[t] <= tid)
            mask |= 1u << t;
    return mask;
}

static void put(uint8_t *to, size_t *at, uint32_t v, unsigned count)
{
    for (; count; count--, (*at)++)
        to[*at / 8] = (uint8_t)(to[*at / 8] | (v >> (count - 1) & 1u) << (7 - *at % 8));
}

lk_err lk_rtp_dd_write_active(lk_wr *w, lk_bytes value, const lk_rtp_dd *d, const lk_rtp_dd_structure *s, uint32_t active)
{
    bits b = {.from = value};
    bool more = value.len > MANDATORY_BYTES;
    size_t at = 0, head = more ? d->mask_at : MANDATORY_BITS + FLAG_BITS;
    size_t len = (head + s->target_count + (size_t)(d->end_at - d->tail_at) + 7) / 8;
    uint8_t *to = len <= LK_RTP_DD_BYTES_MAX ? lk_wr_reserve(w, len) : NULL;
    if (!to)
        return LK_ERR_FULL;
    memset(to, 0, len);
    while (at < (more ? head : MANDATORY_BITS))
        put(to, &at, take(&b, 1) | (at == FLAG_ACTIVE_AT), 1);
    if (!more)
        put(to, &at, 0x08, FLAG_BITS);
    put(to, &at, active, s->target_count);
    for (b.at = d->tail_at; b.at < d->end_at;)
        put(to, &at, take(&b, 1), 1);
    return LK_OK;
}
