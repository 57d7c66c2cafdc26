// SPDX-License-Identifier: Apache-2.0
#include "jitter/assembly.h"

#define MASK (LK_ASSEMBLY_PACKETS_MAX - 1)
#define WAIT_USEC LK_MSEC(400)
#define WISH_USEC LK_MSEC(300)
#define FREE_MAX 256 /* blocks kept for reuse */
#define LATE_ROW_MAX 200
#define REORDER_MAX 128 /* packets kept while a key frame is waited for: its first one may come late */

typedef struct block {
    struct block *next;
    uint8_t data[LK_ASSEMBLY_BLOCK];
} block;

typedef struct slot {
    block *data; /* NULL and used: padding */
    int64_t seq;
    uint32_t ts;
    uint16_t len;
    bool used, begin, end, key;
    lk_usec at;
} slot;

struct lk_assembly {
    const lk_env *env;
    slot slots[LK_ASSEMBLY_PACKETS_MAX];
    block *spare;
    size_t spare_count, waiting;
    lk_unwrap16 unwrap;
    int64_t next;    /* where the next frame must begin; everything before is done with */
    int64_t highest; /* newest packet seen */
    int64_t key_at;  /* begin of the newest key frame seen, or -1 */
    bool started, needs_key;
    unsigned late_row; /* packets in a row from before what was given out */
    lk_usec wait_usec, gap_since, wish_at, wished_at;
    uint8_t *frame;
    size_t frame_cap;
    lk_assembly_counters count;
};

lk_err lk_assembly_new(lk_assembly **out, const lk_env *env)
{
    lk_assembly *a = (lk_assembly *)lk_alloc0(env, sizeof *a);
    if (!a)
        return LK_ERR_NOMEM;
    a->env = env;
    a->needs_key = true;
    a->wait_usec = WAIT_USEC;
    a->gap_since = a->wish_at = a->wished_at = LK_NEVER;
    a->key_at = -1;
    *out = a;
    return LK_OK;
}

/* ---- packets ------------------------------------------------------------------------------------------ */

static slot *slot_of(lk_assembly *a, int64_t seq) { return &a->slots[(uint64_t)seq & MASK]; }

static slot *find(lk_assembly *a, int64_t seq)
{
    slot *s = slot_of(a, seq);
    return s->used && s->seq == seq ? s : NULL;
}

static block *take_block(lk_assembly *a)
{
    block *b = a->spare;
    if (!b)
        return (block *)lk_alloc(a->env, sizeof *b);
    a->spare = b->next;
    a->spare_count--;
    return b;
}

static void give_block(lk_assembly *a, block *b)
{
    if (a->spare_count >= FREE_MAX) {
        lk_release(a->env, b, sizeof *b);
        return;
    }
    b->next = a->spare;
    a->spare = b;
    a->spare_count++;
}

static void clear(lk_assembly *a, slot *s)
{
    if (!s->used)
        return;
    if (s->data)
        give_block(a, s->data);
    *s = (slot){0};
    a->waiting--;
}

/* Nothing before `seq` is wanted any more. */
static void advance(lk_assembly *a, int64_t seq, bool dropped)
{
    int64_t from = LK_MAX(a->next, a->highest - (int64_t)MASK);
    for (int64_t i = from; i < seq; i++) {
        slot *s = find(a, i);
        if (!s)
            continue;
        a->count.dropped += dropped && s->begin;
        clear(a, s);
    }
    a->next = seq;
    a->gap_since = LK_NEVER;
}

void lk_assembly_free(lk_assembly *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < LK_ASSEMBLY_PACKETS_MAX; i++)
        clear(a, &a->slots[i]);
    for (block *b; (b = a->spare) != NULL;) {
        a->spare = b->next;
        lk_release(a->env, b, sizeof *b);
    }
    lk_release(a->env, a->frame, a->frame_cap);
    lk_release(a->env, a, sizeof *a);
}

void lk_assembly_input(lk_assembly *a, lk_usec now, uint16_t seq16, uint32_t ts, bool marker, const lk_rtp_piece *piece)
{
    int64_t seq = lk_unwrap16_peek(&a->unwrap, seq16);
    if (!a->started) {
        a->started = true;
        a->next = a->highest = seq;
    } else if (seq < a->next) {
        a->count.late += piece != NULL;
        if (++a->late_row < LATE_ROW_MAX)
            return;
        /* Not late: the numbers began anew. */
        advance(a, a->highest + 1, true);
        a->unwrap = (lk_unwrap16){0};
        seq = seq16;
        a->next = a->highest = seq;
        a->key_at = -1;
        lk_assembly_want_key(a, now);
    }
    a->late_row = 0;
    if (seq > a->highest) {
        (void)lk_unwrap16_next(&a->unwrap, seq16);
        a->highest = seq;
    } else if (!a->unwrap.started) {
        (void)lk_unwrap16_next(&a->unwrap, seq16);
    }
    if (seq - a->next >= (int64_t)LK_ASSEMBLY_PACKETS_MAX) { /* nobody takes frames, or a jump: start anew */
        a->highest = LK_MIN(a->highest, a->next + (int64_t)MASK);
        advance(a, a->next + (int64_t)LK_ASSEMBLY_PACKETS_MAX, true);
        a->next = a->highest = seq;
        lk_assembly_want_key(a, now);
    }
    slot *s = slot_of(a, seq);
    if (s->used || (piece && piece->data.len > LK_ASSEMBLY_BLOCK))
        return; /* a duplicate */
    block *b = piece ? take_block(a) : NULL;
    if (piece && !b)
        return;
    *s = (slot){.data = b, .seq = seq, .ts = ts, .used = true, .at = now};
    a->waiting++;
    if (!piece)
        return;
    memcpy(b->data, piece->data.data, piece->data.len);
    s->len = (uint16_t)piece->data.len;
    s->begin = piece->begin;
    s->end = marker;
    s->key = piece->begin && piece->key;
    if (s->key && seq > a->key_at)
        a->key_at = seq;
}

void lk_assembly_set_wait(lk_assembly *a, lk_usec wait_usec) { a->wait_usec = wait_usec; }

/* ---- frames ------------------------------------------------------------------------------------------- */

/* Length in packets of the complete frame that begins at seq, 0 if it is not complete; bytes without padding. */
static size_t complete(lk_assembly *a, int64_t seq, size_t *bytes)
{
    const slot *first = find(a, seq);
    *bytes = 0;
    if (!first || !first->begin)
        return 0;
    for (int64_t i = seq; i <= a->highest; i++) {
        const slot *s = find(a, i);
        if (!s || (s->data && (s->ts != first->ts || (s->begin && i > seq))))
            return 0;
        *bytes += s->len;
        if (s->end)
            return (size_t)(i - seq) + 1;
    }
    return 0;
}

static bool give(lk_assembly *a, size_t packets, size_t bytes, lk_assembled *out)
{
    if (bytes > a->frame_cap) {
        size_t cap = LK_MAX(bytes + bytes / 2, (size_t)16384);
        uint8_t *more = bytes <= LK_RTP_FRAME_MAX ? (uint8_t *)lk_alloc(a->env, cap) : NULL;
        if (!more)
            return false;
        lk_release(a->env, a->frame, a->frame_cap);
        a->frame = more;
        a->frame_cap = cap;
    }
    const slot *first = find(a, a->next);
    *out = (lk_assembled){.key = first->key, .ts = first->ts, .packets = packets, .first_at = first->at, .last_at = first->at};
    size_t at = 0;
    for (size_t i = 0; i < packets; i++) {
        const slot *s = find(a, a->next + (int64_t)i);
        if (s->data)
            memcpy(a->frame + at, s->data->data, s->len);
        at += s->len;
        out->first_at = LK_MIN(out->first_at, s->at);
        out->last_at = LK_MAX(out->last_at, s->at);
    }
    out->frame = (lk_bytes){a->frame, bytes};
    a->count.frames++;
    a->count.key_frames += out->key;
    if (packets > 1) {
        a->count.multi_packet_frames++;
        a->count.assembly_sum_s += (double)(out->last_at - out->first_at) / 1e6;
    }
    advance(a, a->next + (int64_t)packets, false);
    return true;
}

void lk_assembly_want_key(lk_assembly *a, lk_usec now)
{
    if (a->needs_key)
        return;
    a->needs_key = true;
    a->wish_at = now;
}

static void skip_padding(lk_assembly *a)
{
    for (slot *s; (s = find(a, a->next)) != NULL && !s->data;)
        advance(a, a->next + 1, false);
}

bool lk_assembly_poll(lk_assembly *a, lk_usec now, lk_assembled *out)
{
    size_t bytes, packets;
    if (!a->started)
        return false;
    skip_padding(a);
    /* A whole key frame ends every waiting for what lies before it. */
    if (a->key_at > a->next || (a->needs_key && a->key_at == a->next)) {
        packets = complete(a, a->key_at, &bytes);
        size_t unused;
        if (packets && (a->needs_key || complete(a, a->next, &unused) == 0)) {
            advance(a, a->key_at, true);
            a->needs_key = false;
            a->wish_at = a->wished_at = LK_NEVER;
        }
    }
    if (!a->needs_key && (packets = complete(a, a->next, &bytes)) != 0) {
        if (give(a, packets, bytes, out))
            return true;
        lk_assembly_want_key(a, now); /* too large, or no memory for it */
        advance(a, a->next + (int64_t)packets, true);
    }
    if (a->needs_key) {
        /* Deltas nobody can use do not wait. */
        bool coming = a->key_at >= a->next;
        int64_t keep = coming ? a->key_at : a->highest - REORDER_MAX;
        if (keep > a->next)
            advance(a, keep, true);
        if (a->wish_at == LK_NEVER)
            a->wish_at = coming ? now + a->wait_usec : now;
        return false;
    }
    if (a->next > a->highest)
        return false;
    if (a->gap_since == LK_NEVER)
        a->gap_since = now;
    const slot *s = find(a, a->next);
    if (now - a->gap_since >= a->wait_usec || (s && !s->begin)) /* or a frame without its beginning: it never comes */
        lk_assembly_want_key(a, now);
    return false;
}

bool lk_assembly_poll_wish(lk_assembly *a, lk_usec now)
{
    if (!a->needs_key || now < a->wish_at)
        return false;
    /* A wish may have been lost: it is said again soon, unless a key frame is on its way and only has to be completed. */
    lk_usec patience = a->wished_at == LK_NEVER ? now : a->wished_at + LK_MAX(WISH_USEC, a->wait_usec);
    if (a->key_at >= a->next && now < patience) {
        a->wish_at = patience;
        return false;
    }
    a->wished_at = now;
    a->wish_at = now + WISH_USEC;
    a->count.keys_wanted++;
    return true;
}

lk_usec lk_assembly_deadline(const lk_assembly *a)
{
    if (!a->started)
        return LK_NEVER;
    if (a->needs_key)
        return a->wish_at;
    return a->gap_since == LK_NEVER ? LK_NEVER : a->gap_since + a->wait_usec;
}

bool lk_assembly_waits_for_key(const lk_assembly *a) { return a->needs_key; }
size_t lk_assembly_waiting_packets(const lk_assembly *a) { return a->waiting; }
const lk_assembly_counters *lk_assembly_count(const lk_assembly *a) { return &a->count; }
