// SPDX-License-Identifier: Apache-2.0
#include "cc/twcc.h"

#define PACKET_MAX 1200u
#define HEAD_LEN 20u
#define UNIT_USEC 250
#define REF_USEC 64000
#define MASK (LK_TWCC_WINDOW - 1)

enum symbol { LOST = 0, SMALL = 1, LARGE = 2 };

void lk_twcc_recorder_init(lk_twcc_recorder *r, const lk_env *env)
{
    *r = (lk_twcc_recorder){.env = env, .due_at = LK_NEVER};
}

void lk_twcc_recorder_deinit(lk_twcc_recorder *r)
{
    if (r->env)
        lk_release(r->env, r->arrivals, LK_TWCC_WINDOW * sizeof *r->arrivals);
    r->arrivals = NULL;
}

lk_err lk_twcc_recorder_receive(lk_twcc_recorder *r, lk_usec now, uint16_t seq16)
{
    if (!r->arrivals) {
        r->arrivals = lk_alloc(r->env, LK_TWCC_WINDOW * sizeof *r->arrivals);
        if (!r->arrivals)
            return LK_ERR_NOMEM;
        for (size_t i = 0; i < LK_TWCC_WINDOW; i++)
            r->arrivals[i] = LK_NEVER;
    }
    int64_t seq = r->started ? r->highest + lk_seq16_diff(seq16, (uint16_t)r->highest) : (int64_t)seq16 + 65536;
    if (!r->started) {
        r->base = seq;
        r->highest = seq;
        r->started = true;
    }
    if (seq <= r->highest - (int64_t)LK_TWCC_WINDOW)
        return LK_OK; /* too late to be of use */
    int64_t gap = LK_MIN(seq - r->highest, (int64_t)LK_TWCC_WINDOW);
    for (int64_t k = 0; k < gap; k++)
        r->arrivals[(size_t)(seq - k) & MASK] = LK_NEVER;
    r->highest = LK_MAX(r->highest, seq);
    r->base = LK_MIN(r->base, seq); /* a late one is told in the next feedback, which starts there */
    r->base = LK_MAX(r->base, r->highest - (int64_t)LK_TWCC_WINDOW + 1);
    if (r->arrivals[(size_t)seq & MASK] == LK_NEVER)
        r->arrivals[(size_t)seq & MASK] = now;
    if (!r->pending)
        r->due_at = now + LK_TWCC_INTERVAL_USEC;
    r->pending = true;
    return LK_OK;
}

lk_usec lk_twcc_recorder_deadline(const lk_twcc_recorder *r) { return r->pending ? r->due_at : LK_NEVER; }

typedef struct batch {
    uint8_t symbols[LK_TWCC_WINDOW];
    int16_t deltas[LK_TWCC_WINDOW];
    size_t count, delta_count, delta_bytes;
    int64_t ref;
} batch;

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* As many packets from base on as one feedback packet can carry. */
static void gather(const lk_twcc_recorder *r, batch *b)
{
    int64_t last = 0; /* arrival told so far, in units since the reference */
    bool any = false;
    b->count = b->delta_count = b->delta_bytes = 0;
    b->ref = 0;
    for (int64_t seq = r->base; seq <= r->highest; seq++) {
        lk_usec at = r->arrivals[(size_t)seq & MASK];
        uint8_t symbol = LOST;
        int64_t delta = 0;
        if (at != LK_NEVER) {
            if (!any)
                b->ref = floor_div(at, REF_USEC);
            any = true;
            delta = floor_div(at - b->ref * REF_USEC + UNIT_USEC / 2, UNIT_USEC) - last;
            if (delta < INT16_MIN || delta > INT16_MAX)
                return; /* the next feedback starts here, with a new reference */
            symbol = delta >= 0 && delta <= 255 ? SMALL : LARGE;
        }
        if (HEAD_LEN + 2 * ((b->count + 7) / 7 + 1) + b->delta_bytes + symbol + 3 > PACKET_MAX)
            return;
        b->symbols[b->count++] = symbol;
        b->delta_bytes += symbol;
        last += delta;
        if (symbol != LOST)
            b->deltas[b->delta_count++] = (int16_t)delta;
    }
}

static size_t run_of(const batch *b, size_t at)
{
    size_t n = 1;
    while (at + n < b->count && n < 0x1fff && b->symbols[at + n] == b->symbols[at])
        n++;
    return n;
}

/* One chunk: a run where that is shorter, else 14 one-bit or 7 two-bit symbols. Returns how many it covers. */
static size_t write_chunk(const batch *b, size_t at, lk_wr *w)
{
    size_t run = run_of(b, at), left = b->count - at, n = LK_MIN(left, 14);
    uint8_t first = b->symbols[at];
    if (run >= 14 || run == left || (first == LARGE && run >= 7)) {
        lk_wr_u16(w, (uint16_t)(first << 13 | run));
        return run;
    }
    bool wide = false;
    for (size_t i = 0; i < n; i++)
        wide = wide || b->symbols[at + i] == LARGE;
    n = wide ? LK_MIN(left, 7) : n;
    unsigned chunk = wide ? 0xC000u : 0x8000u;
    for (size_t i = 0; i < n; i++)
        chunk |= (unsigned)b->symbols[at + i] << (wide ? 12 - 2 * i : 13 - i);
    lk_wr_u16(w, (uint16_t)chunk);
    return n;
}

bool lk_twcc_recorder_write(lk_twcc_recorder *r, lk_usec now, bool force, uint32_t sender, uint32_t media, lk_wr *w)
{
    batch b;
    if (!r->pending || (!force && now < r->due_at))
        return false;
    gather(r, &b);
    size_t start = w->len;
    lk_wr_u16(w, 0); /* patched when the padding is known */
    lk_wr_u16(w, 0);
    lk_wr_u32(w, sender);
    lk_wr_u32(w, media);
    lk_wr_u16(w, (uint16_t)r->base);
    lk_wr_u16(w, (uint16_t)b.count);
    lk_wr_u24(w, (uint32_t)b.ref & 0xffffff);
    lk_wr_u8(w, r->feedback_count);
    for (size_t at = 0; at < b.count;)
        at += write_chunk(&b, at, w);
    for (size_t i = 0; i < b.delta_count; i++) {
        if (b.deltas[i] >= 0 && b.deltas[i] <= 255)
            lk_wr_u8(w, (uint8_t)b.deltas[i]);
        else
            lk_wr_u16(w, (uint16_t)b.deltas[i]);
    }
    size_t padding = (4 - (w->len - start) % 4) % 4;
    if (padding) {
        lk_wr_zero(w, padding - 1);
        lk_wr_u8(w, (uint8_t)padding);
    }
    if (w->bad)
        return false;
    lk_wr_patch_u16(w, start, (uint16_t)((padding ? 0xA0 : 0x80) << 8 | 15 << 8 | LK_RTCP_RTPFB));
    lk_wr_patch_u16(w, start + 2, (uint16_t)((w->len - start) / 4 - 1));
    r->feedback_count++;
    r->base += (int64_t)b.count;
    r->pending = r->base <= r->highest;
    return true;
}
