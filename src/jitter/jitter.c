// SPDX-License-Identifier: Apache-2.0
#include "jitter/jitter.h"

#include <math.h>

#define TICK_USEC(ticks) ((lk_usec)(ticks) * 1000000 / 48000)
#define BUCKET_USEC 5000
#define MINIMUM_SLOT_USEC 250000
#define UNIT_TICKS 960.0f /* what is remembered is weighed by how long it plays: 20 ms count 1 */
#define FORGET 0.99f      /* per unit: a change shows after some packets, its last trace is gone after 5 s */
#define QUANTILE 0.95f
#define TAIL 0.99f
#define SLOWEST 0.998f
#define MARGIN_USEC 8000      /* above the quantile: playout looks every 10 ms */
#define TAIL_EXTRA_USEC 12000 /* the tail may raise the target this far above the quantile, never more */
/* What is missing and comes inside of later packets is waited for, but for so much of it within what is remembered (10 s). A
 * packet more in hand costs 20 ms, and going up and down with each loss would cost stretches: so it is remembered for longer
 * than arrivals, and forgotten when there was none for a while. */
#define REPAIR_LEFT_UNITS 1.5f
#define REPAIR_FORGET 0.998f
#define REPAIR_CALM 0.4f /* of REPAIR_FORGET per unit: 9 s */
#define REPAIR_EXTRA_USEC 60000
#define REPAIR_STALE_USEC 10000 /* when the path has become better by so much, its repairs come sooner too */
#define REPAIR_MARGIN_USEC 5000
#define TARGET_MIN_USEC 15000
/* Per packet the target falls by this much at most. Retransmissions come late in bursts, and following each burst down
 * and up again would cost a stretch both times. */
#define TARGET_FALL_USEC 100
#define TARGET_FALL_PART 128
/* When nothing has come later than this part of the quantile for so long, the path has become better (by chance it
 * happens once in 170 times): what was before is forgotten at once. */
#define CALM_UNITS 100.0f
#define CALM_PART(usec) ((usec) * 3 / 4)
#define TARGET_START_USEC 30000
#define TARGET_MAX_USEC 900000
#define JUMP_TICKS (48000 * 10) /* a time stamp this far off is a new stream */
#define JUMP_SEQ 3000
#define STALL_MAX_USEC 3000000 /* longer silence: start anew with the next packet */
#define BACKLOG_USEC 1000000   /* more than the target: what a stretch would take too long to catch up with is skipped */
#define CONCEAL_STEP 480
#define STEER_UP_USEC 6000
#define STEER_DOWN_USEC 3000
#define SLACK_USEC 5000
#define PAUSE_BYTES 2 /* a payload this short announces a pause of the sender (DTX) */

void lk_jitter_init(lk_jitter *j, const lk_env *env)
{
    memset(j, 0, sizeof *j);
    j->env = env;
    j->target_usec = TARGET_START_USEC;
    j->repairs_keep = 1;
}

void lk_jitter_deinit(lk_jitter *j)
{
    for (size_t i = 0; i < j->cap; i++)
        lk_release(j->env, j->packets[i].data, j->packets[i].cap);
    lk_release(j->env, j->packets, j->cap * sizeof *j->packets);
    memset(j, 0, sizeof *j);
}

/* ---- arrival statistics ------------------------------------------------------------------------------ */

/* Upper edge, interpolated, below which that part of the packets came. */
static lk_usec quantile(const lk_jitter_delays *d, float part)
{
    float want = part * d->weight, sum = 0;
    for (size_t i = 0; i < LK_JITTER_BUCKETS; i++) {
        float next = sum + d->histogram[i];
        if (next >= want && d->histogram[i] > 0)
            return (lk_usec)(((float)i + (want - sum) / d->histogram[i]) * BUCKET_USEC);
        sum = next;
    }
    return d->weight > 0 ? (lk_usec)LK_JITTER_BUCKETS * BUCKET_USEC : 0;
}

/* Everything remembered comes by that many buckets more (or, below 0, less) after the fastest packet. */
static void shift(lk_jitter_delays *d, ptrdiff_t by)
{
    float *h = d->histogram, edge = 0;
    size_t n = (size_t)LK_MIN(by < 0 ? -by : by, (ptrdiff_t)LK_JITTER_BUCKETS - 1), rest = LK_JITTER_BUCKETS - n;
    for (size_t i = 0; i < n; i++)
        edge += by < 0 ? h[i] : h[rest + i];
    memmove(by < 0 ? h : h + n, by < 0 ? h + n : h, rest * sizeof *h);
    memset(by < 0 ? h + rest : h, 0, n * sizeof *h);
    h[by < 0 ? 0 : LK_JITTER_BUCKETS - 1] += edge;
}

/* The fastest packet is another one now: delays are counted from it, also those of before. */
static void move_base(lk_jitter *j, lk_usec base)
{
    lk_usec less = base - j->base + j->base_rest;
    ptrdiff_t buckets = (ptrdiff_t)(less / BUCKET_USEC);
    j->base_rest = less - (lk_usec)buckets * BUCKET_USEC;
    j->base = base;
    if (buckets == 0)
        return;
    shift(&j->known, -buckets);
    shift(&j->recent, -buckets);
    shift(&j->repairs, -buckets);
    j->target_usec = LK_CLAMP(j->target_usec - (lk_usec)buckets * BUCKET_USEC, (lk_usec)TARGET_MIN_USEC, (lk_usec)TARGET_MAX_USEC);
}

/* The smallest (arrival - media time) of the last two seconds: eight slots that are replaced in turn. */
static void learn_base(lk_jitter *j, lk_usec now, lk_usec transit)
{
    if (!j->started) {
        for (size_t i = 0; i < LK_JITTER_MINIMA; i++)
            j->minima[i] = LK_NEVER;
        j->minimum_since = now;
        j->base = transit;
        j->base_rest = 0;
    }
    while (now - j->minimum_since >= MINIMUM_SLOT_USEC) {
        memmove(j->minima + 1, j->minima, (LK_JITTER_MINIMA - 1) * sizeof *j->minima);
        j->minima[0] = transit;
        j->minimum_since = now - j->minimum_since > MINIMUM_SLOT_USEC * LK_JITTER_MINIMA ? now
                                                                                         : j->minimum_since + MINIMUM_SLOT_USEC;
    }
    j->minima[0] = LK_MIN(j->minima[0], transit);
    lk_usec base = LK_NEVER;
    for (size_t i = 0; i < LK_JITTER_MINIMA; i++)
        base = LK_MIN(base, j->minima[i]);
    move_base(j, base);
}

static void remember(lk_jitter_delays *d, lk_usec delay, float units, float keep)
{
    size_t bucket = (size_t)LK_MIN(delay / BUCKET_USEC, (lk_usec)LK_JITTER_BUCKETS - 1);
    if (keep < 1)
        for (size_t i = 0; i < LK_JITTER_BUCKETS; i++)
            d->histogram[i] *= keep;
    d->histogram[bucket] += units;
    d->weight = d->weight * keep + units;
}

/* The delay at which hardly anything of what can be repaired is left out; 0: there is nothing to wait for. */
static lk_usec repair_delay(const lk_jitter *j, lk_usec most)
{
    float left = REPAIR_LEFT_UNITS / j->repairs_keep;
    if (j->repairs.weight <= left)
        return 0;
    size_t end = (size_t)LK_MIN(most / BUCKET_USEC, (lk_usec)LK_JITTER_BUCKETS);
    for (size_t i = end; i > 0; i--) {
        left -= j->repairs.histogram[i - 1];
        if (left < 0)
            return (lk_usec)i * BUCKET_USEC + REPAIR_MARGIN_USEC;
    }
    return 0;
}

/* True: the path has become better, and what was before is forgotten. */
static bool learn_delay(lk_jitter *j, lk_usec delay, uint32_t frames)
{
    float units = (float)frames / UNIT_TICKS;
    remember(&j->known, delay, units, powf(FORGET, units));
    j->repairs_keep *= powf(REPAIR_FORGET, units);
    if (j->repairs_keep < REPAIR_CALM) {
        memset(&j->repairs, 0, sizeof j->repairs);
        j->repairs_keep = 1;
    }
    lk_usec most = quantile(&j->known, QUANTILE);
    if (delay > CALM_PART(most))
        memset(&j->recent, 0, sizeof j->recent);
    else
        remember(&j->recent, delay, units, 1);
    if (j->recent.weight < CALM_UNITS)
        return false;
    j->known = j->recent;
    memset(&j->recent, 0, sizeof j->recent);
    if (quantile(&j->known, QUANTILE) < most - REPAIR_STALE_USEC)
        memset(&j->repairs, 0, sizeof j->repairs);
    return true;
}

static void aim(lk_jitter *j, bool better)
{
    lk_usec most = quantile(&j->known, QUANTILE), tail = quantile(&j->known, TAIL);
    lk_usec target = LK_MAX(most + MARGIN_USEC, LK_MIN(tail + BUCKET_USEC, most + TAIL_EXTRA_USEC));
    target = LK_MAX(target, repair_delay(j, most + REPAIR_EXTRA_USEC));
    if (!better)
        target = LK_MAX(target, j->target_usec - TARGET_FALL_USEC - j->target_usec / TARGET_FALL_PART);
    j->target_usec = LK_CLAMP(target, (lk_usec)TARGET_MIN_USEC, (lk_usec)TARGET_MAX_USEC);
}

/* ---- repairs ------------------------------------------------------------------------------------------- */

static lk_jitter_repair *repair_of(lk_jitter *j, int64_t seq) { return &j->repaired[(uint64_t)seq % LK_LEN(j->repaired)]; }

static bool is_repaired(const lk_jitter *j, int64_t seq)
{
    const lk_jitter_repair *r = &j->repaired[(uint64_t)seq % LK_LEN(j->repaired)];
    return r->seq == seq && r->frames > 0;
}

static void note_repair(lk_jitter *j, int64_t seq, lk_usec delay, uint32_t frames)
{
    if (seq > j->seq.last - LK_JITTER_REORDER && !is_repaired(j, seq))
        *repair_of(j, seq) = (lk_jitter_repair){seq, delay, frames};
}

/* Its own packet came after all. No later than others come by themselves: it was only overtaken. Else it was sent again, and
 * what repaired it was worth waiting for. */
static void withdraw_repair(lk_jitter *j, int64_t seq, lk_usec delay)
{
    if (is_repaired(j, seq) && delay <= quantile(&j->known, SLOWEST) + BUCKET_USEC)
        repair_of(j, seq)->frames = 0;
}

/* Whatever has not come by now is lost: how late it was repaired counts. */
static void settle_repair(lk_jitter *j, int64_t seq)
{
    if (!is_repaired(j, seq))
        return;
    const lk_jitter_repair *r = repair_of(j, seq);
    remember(&j->repairs, r->delay, (float)r->frames / UNIT_TICKS, j->repairs_keep);
    j->repairs_keep = 1;
}

/* ---- packets --------------------------------------------------------------------------------------------- */

static void remove_at(lk_jitter *j, size_t i)
{
    lk_jitter_packet gone = j->packets[i];
    memmove(j->packets + i, j->packets + i + 1, (j->count - i - 1) * sizeof *j->packets);
    j->packets[--j->count] = gone; /* keeps its memory for the next one */
}

static lk_err grow(lk_jitter *j)
{
    size_t cap = j->cap ? j->cap * 2 : 16;
    lk_jitter_packet *more =
        (lk_jitter_packet *)lk_resize(j->env, j->packets, j->cap * sizeof *more, cap * sizeof *more);
    if (!more)
        return LK_ERR_NOMEM;
    memset(more + j->cap, 0, (cap - j->cap) * sizeof *more);
    j->packets = more;
    j->cap = cap;
    return LK_OK;
}

/* Another stream, or the same after a long silence; the path and its jitter are the same. */
static void restart(lk_jitter *j)
{
    j->count = 0;
    j->started = j->playing = j->paused = false;
    j->seq = (lk_unwrap16){0};
    j->ts = (lk_unwrap32){0};
    j->stalled_usec = 0;
    memset(j->seen, 0, sizeof j->seen);
    memset(j->repaired, 0, sizeof j->repaired);
}

/* Far from everything before. One such packet proves nothing, a second that follows it does. */
static bool is_jump(lk_jitter *j, uint16_t seq16, uint32_t ts32, bool *again)
{
    int64_t seq = lk_unwrap16_peek(&j->seq, seq16) - j->seq.last, ts = lk_unwrap32_peek(&j->ts, ts32) - j->ts.last;
    *again = false;
    if (!j->started || (ts <= JUMP_TICKS && ts >= -JUMP_TICKS && seq <= JUMP_SEQ && seq >= -JUMP_SEQ)) {
        j->jumped = false;
        return false;
    }
    int32_t further = lk_ts32_diff(ts32, j->jump_ts);
    *again = j->jumped && seq16 == (uint16_t)(j->jump_seq + 1) && further > 0 && further <= JUMP_TICKS;
    j->jumped = true;
    j->jump_seq = seq16;
    j->jump_ts = ts32;
    return true;
}

static bool is_seen(const lk_jitter *j, int64_t seq)
{
    return j->seen[(uint64_t)seq % LK_JITTER_SEEN / 64] >> ((uint64_t)seq % 64) & 1;
}

static void mark_seen(lk_jitter *j, int64_t seq, bool on)
{
    uint64_t bit = UINT64_C(1) << ((uint64_t)seq % 64), *word = &j->seen[(uint64_t)seq % LK_JITTER_SEEN / 64];
    *word = on ? *word | bit : *word & ~bit;
}

/* Notes that it came; false: it had come before, or that is too long ago to tell. */
static bool note_seen(lk_jitter *j, int64_t seq)
{
    if (!j->started || seq > j->seq.last) {
        int64_t from = j->started ? LK_MAX(j->seq.last + 1, seq - LK_JITTER_SEEN + 1) : seq;
        for (int64_t i = from; i <= seq; i++) {
            mark_seen(j, i, false);
            settle_repair(j, i - LK_JITTER_REORDER);
        }
    } else if (seq <= j->seq.last - LK_JITTER_SEEN) {
        return false;
    }
    bool fresh = !is_seen(j, seq);
    mark_seen(j, seq, true);
    return fresh;
}

/* A slot with room behind the last packet; it keeps its memory from one packet to the next. */
static lk_err prepare_slot(lk_jitter *j, size_t len)
{
    if (j->count == j->cap && grow(j) != LK_OK)
        return LK_ERR_NOMEM;
    lk_jitter_packet *slot = &j->packets[j->count];
    if (slot->cap >= len)
        return LK_OK;
    uint16_t cap = (uint16_t)LK_MIN((len + 255) / 256 * 256, (size_t)UINT16_MAX);
    uint8_t *data = (uint8_t *)lk_alloc(j->env, cap);
    if (!data)
        return LK_ERR_NOMEM;
    lk_release(j->env, slot->data, slot->cap);
    slot->data = data;
    slot->cap = cap;
    return LK_OK;
}

lk_err lk_jitter_put(lk_jitter *j, uint16_t seq16, uint32_t ts32, uint32_t frames, lk_usec arrival, lk_bytes payload,
                     bool redundant)
{
    bool again;
    if (payload.len > UINT16_MAX || frames == 0)
        return LK_ERR_LIMIT;
    if (redundant && !j->started)
        return LK_ERR_STATE;
    if (is_jump(j, seq16, ts32, &again)) {
        if (redundant || !again) {
            j->dropped++;
            return LK_ERR_STATE;
        }
        restart(j);
    }
    j->received += !redundant;
    int64_t seq = lk_unwrap16_peek(&j->seq, seq16), ts = lk_unwrap32_peek(&j->ts, ts32);
    bool was_repaired = is_repaired(j, seq), fresh = note_seen(j, seq), late = j->playing && ts < j->next_ts;
    lk_usec transit = arrival - TICK_USEC(ts);
    if (!redundant)
        withdraw_repair(j, seq, transit - j->base);
    /* A duplicate says nothing about delay, and what had been repaired before has been counted. */
    if (fresh && !was_repaired) {
        learn_base(j, arrival, transit);
        aim(j, learn_delay(j, transit - j->base, frames));
        if (redundant)
            note_repair(j, seq, transit - j->base, frames);
    }
    if (!j->started || seq > j->seq.last) {
        (void)lk_unwrap16_next(&j->seq, seq16);
        (void)lk_unwrap32_next(&j->ts, ts32);
    }
    j->started = true;
    if (!fresh || late) {
        j->duplicates += !fresh && !redundant;
        j->late += fresh && !redundant;
        return LK_ERR_STATE;
    }
    size_t at = j->count;
    while (at > 0 && j->packets[at - 1].seq > seq)
        at--;
    if (j->count == LK_JITTER_PACKETS_MAX) {
        j->dropped++;
        if (at == 0)
            return LK_ERR_STATE;
        remove_at(j, 0);
        at--;
    }
    lk_err err = prepare_slot(j, payload.len);
    if (err)
        return err;
    lk_jitter_packet p = j->packets[j->count];
    if (payload.len)
        memcpy(p.data, payload.data, payload.len);
    p.len = (uint16_t)payload.len;
    p.seq = seq;
    p.ts = ts;
    p.frames = frames;
    p.arrival = arrival;
    memmove(j->packets + at + 1, j->packets + at, (j->count - at) * sizeof *j->packets);
    j->packets[at] = p;
    j->count++;
    return LK_OK;
}

bool lk_jitter_misses(const lk_jitter *j, uint16_t seq16)
{
    int64_t seq = lk_unwrap16_peek(&j->seq, seq16);
    return j->started && seq < j->seq.last && seq > j->seq.last - LK_JITTER_REORDER && !is_seen(j, seq) && !is_repaired(j, seq);
}

void lk_jitter_learn_repair(lk_jitter *j, uint16_t seq, uint32_t ts, uint32_t frames, lk_usec arrival)
{
    if (!lk_jitter_misses(j, seq))
        return;
    lk_usec delay = LK_MAX(arrival - TICK_USEC(lk_unwrap32_peek(&j->ts, ts)) - j->base, (lk_usec)0);
    aim(j, learn_delay(j, delay, frames));
    note_repair(j, lk_unwrap16_peek(&j->seq, seq), delay, frames);
}

uint32_t lk_jitter_waiting(const lk_jitter *j)
{
    uint32_t ticks = 0;
    for (size_t i = 0; i < j->count; i++)
        ticks += j->packets[i].frames;
    return ticks;
}

/* ---- decisions ------------------------------------------------------------------------------------------------ */

/* The delay a packet has if it is decoded now, behind `buffered` frames. */
static lk_usec delay_of(const lk_jitter *j, const lk_jitter_packet *p, lk_usec now, size_t buffered)
{
    return now - TICK_USEC(p->ts - (int64_t)buffered) - j->base;
}

lk_usec lk_jitter_delay(const lk_jitter *j, lk_usec now, size_t buffered)
{
    return j->playing ? now - TICK_USEC(j->next_ts - (int64_t)buffered) - j->base : 0;
}

/* Above the target there is more freedom than below: what a late packet added may be needed for the next one, and the next
 * packet is needed up to 10 ms before it is heard. */
lk_usec lk_jitter_steer(const lk_jitter *j, lk_usec now, size_t buffered)
{
    if (!j->playing || j->stalled_usec)
        return 0;
    lk_usec off = lk_jitter_delay(j, now, buffered) - j->target_usec;
    return off > LK_MAX((lk_usec)STEER_UP_USEC, j->target_usec / 2) || off < -STEER_DOWN_USEC ? off : 0;
}

static lk_jitter_next play_first(lk_jitter *j)
{
    lk_jitter_packet *p = &j->packets[0];
    j->next_ts = p->ts + p->frames;
    j->next_seq = p->seq + 1;
    j->last_frames = p->frames;
    j->stalled_usec = 0;
    j->paused = p->len <= PAUSE_BYTES;
    remove_at(j, 0);
    /* remove_at parked it behind the last one: valid until the next change. */
    return (lk_jitter_next){.action = LK_JITTER_PLAY, .packet = &j->packets[j->count], .frames = j->last_frames};
}

static lk_jitter_next conceal(uint32_t frames, bool lost)
{
    return (lk_jitter_next){.action = LK_JITTER_CONCEAL, .frames = frames, .lost = lost};
}

/* Waits at the place where playout is; the delay grows meanwhile. */
static lk_jitter_next stall(lk_jitter *j, bool lost)
{
    j->stalled_usec += TICK_USEC(CONCEAL_STEP);
    if (j->stalled_usec > STALL_MAX_USEC)
        restart(j);
    return conceal(CONCEAL_STEP, lost);
}

static lk_jitter_next start(lk_jitter *j, lk_usec now, size_t buffered)
{
    /* What waited for a listener longer than the target needs is past. */
    while (j->count > 1 && delay_of(j, &j->packets[1], now, buffered) >= j->target_usec)
        remove_at(j, 0);
    if (!j->count || delay_of(j, &j->packets[0], now, buffered) < j->target_usec)
        return (lk_jitter_next){.action = LK_JITTER_WAIT, .frames = CONCEAL_STEP};
    j->playing = true;
    return play_first(j);
}

/* The first packet is not the next one: the sender paused, or something is missing in between. */
static lk_jitter_next bridge(lk_jitter *j, lk_usec now, size_t buffered)
{
    const lk_jitter_packet *p = &j->packets[0];
    int64_t gap = p->ts - j->next_ts, missing = p->seq - j->next_seq;
    lk_usec would_be = delay_of(j, p, now, buffered);
    if (gap <= 0 || (gap < CONCEAL_STEP && missing <= 0))
        return play_first(j);
    /* The pause is over, or the wait has covered what is missing: go on with what is here. */
    if (missing <= 0 ? would_be >= j->target_usec : j->stalled_usec && would_be >= j->target_usec - SLACK_USEC)
        return play_first(j);
    /* Not lost before it is later than the target allows for: it may have been overtaken. */
    if (missing > 0 && lk_jitter_delay(j, now, buffered) < j->target_usec - SLACK_USEC)
        return stall(j, true);
    bool last_missing = missing > 0 && gap <= (int64_t)j->last_frames;
    int64_t step = missing > 0 && gap > (int64_t)j->last_frames ? gap - j->last_frames : gap;
    step = last_missing ? step : LK_MIN(step, (int64_t)CONCEAL_STEP);
    step = step / 120 * 120; /* what a codec can conceal: multiples of 2.5 ms */
    if (step == 0)
        return play_first(j);
    j->next_ts += step;
    if (!last_missing)
        return conceal((uint32_t)step, missing > 0);
    j->next_seq = p->seq;
    return (lk_jitter_next){.action = LK_JITTER_RECOVER, .packet = p, .frames = (uint32_t)step, .lost = true};
}

lk_jitter_next lk_jitter_decide(lk_jitter *j, lk_usec now, size_t buffered)
{
    while (j->playing && j->count && j->packets[0].ts + (int64_t)j->packets[0].frames <= j->next_ts) {
        j->late++;
        remove_at(j, 0);
    }
    while (j->playing && j->count > 1 && delay_of(j, &j->packets[0], now, buffered) > j->target_usec + BACKLOG_USEC) {
        j->dropped++;
        j->next_ts = j->packets[1].ts;
        j->next_seq = j->packets[1].seq;
        remove_at(j, 0);
    }
    if (!j->playing)
        return start(j, now, buffered);
    return j->count ? bridge(j, now, buffered) : stall(j, !j->paused);
}
