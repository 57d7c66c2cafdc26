// SPDX-License-Identifier: Apache-2.0
#include "jitter/jitter.h"

#define TICK_USEC(ticks) ((lk_usec)(ticks) * 1000000 / 48000)
#define BUCKET_USEC 5000
#define MINIMUM_SLOT_USEC 250000
#define FORGET 0.985f        /* per packet: 5 s of 20 ms packets leave 2 % of what was before */
#define QUANTILE 0.95f
#define TAIL 0.99f
#define MARGIN_USEC 8000      /* above the quantile: playout looks every 10 ms */
#define TAIL_EXTRA_USEC 17000 /* the tail may raise the target this far above the quantile, never more */
#define TARGET_MIN_USEC 15000
/* Per packet the target falls by this much at most. Retransmissions come late in bursts, and following each burst down
 * and up again would cost a stretch both times. 5 s of 20 ms packets still take 60 ms off 70, and 210 off 250. */
#define TARGET_FALL_USEC 100
#define TARGET_FALL_PART 128
#define TARGET_START_USEC 30000
#define TARGET_MAX_USEC 900000
#define JUMP_TICKS (48000 * 5) /* a time stamp this far off is a new stream */
#define JUMP_SEQ 1000
#define STALL_MAX_USEC 3000000 /* longer silence: start anew with the next packet */
#define CONCEAL_STEP 480
#define STEER_UP_USEC 10000
#define STEER_DOWN_USEC 8000
#define SLACK_USEC 5000
#define PAUSE_BYTES 2 /* a payload this short announces a pause of the sender (DTX) */

void lk_jitter_init(lk_jitter *j, const lk_env *env)
{
    memset(j, 0, sizeof *j);
    j->env = env;
    j->target_usec = TARGET_START_USEC;
}

void lk_jitter_deinit(lk_jitter *j)
{
    for (size_t i = 0; i < j->cap; i++)
        lk_release(j->env, j->packets[i].data, j->packets[i].cap);
    lk_release(j->env, j->packets, j->cap * sizeof *j->packets);
    memset(j, 0, sizeof *j);
}

/* ---- arrival statistics ------------------------------------------------------------------------------ */

/* The smallest (arrival - media time) of the last two seconds: eight slots that are replaced in turn. */
static void learn_base(lk_jitter *j, lk_usec now, lk_usec transit)
{
    if (!j->started) {
        for (size_t i = 0; i < LK_JITTER_MINIMA; i++)
            j->minima[i] = LK_NEVER;
        j->minimum_since = now;
        j->minima[0] = transit;
    }
    while (now - j->minimum_since >= MINIMUM_SLOT_USEC) {
        memmove(j->minima + 1, j->minima, (LK_JITTER_MINIMA - 1) * sizeof *j->minima);
        j->minima[0] = transit;
        j->minimum_since = now - j->minimum_since > MINIMUM_SLOT_USEC * LK_JITTER_MINIMA ? now
                                                                                         : j->minimum_since + MINIMUM_SLOT_USEC;
    }
    j->minima[0] = LK_MIN(j->minima[0], transit);
    j->base = LK_NEVER;
    for (size_t i = 0; i < LK_JITTER_MINIMA; i++)
        j->base = LK_MIN(j->base, j->minima[i]);
}

/* Upper edge, interpolated, below which that part of the packets came. */
static lk_usec quantile(const lk_jitter *j, float part)
{
    float want = part * j->weight, sum = 0;
    for (size_t i = 0; i < LK_JITTER_BUCKETS; i++) {
        float next = sum + j->histogram[i];
        if (next >= want && j->histogram[i] > 0)
            return (lk_usec)(((float)i + (want - sum) / j->histogram[i]) * BUCKET_USEC);
        sum = next;
    }
    return (lk_usec)LK_JITTER_BUCKETS * BUCKET_USEC;
}

static void learn_delay(lk_jitter *j, lk_usec delay)
{
    size_t bucket = (size_t)LK_MIN(delay / BUCKET_USEC, (lk_usec)LK_JITTER_BUCKETS - 1);
    for (size_t i = 0; i < LK_JITTER_BUCKETS; i++)
        j->histogram[i] *= FORGET;
    j->histogram[bucket] += 1;
    j->weight = j->weight * FORGET + 1;
    lk_usec most = quantile(j, QUANTILE), tail = quantile(j, TAIL);
    lk_usec target = LK_MAX(most + MARGIN_USEC, LK_MIN(tail + BUCKET_USEC, most + TAIL_EXTRA_USEC));
    target = LK_MAX(target, j->target_usec - TARGET_FALL_USEC - j->target_usec / TARGET_FALL_PART);
    j->target_usec = LK_CLAMP(target, (lk_usec)TARGET_MIN_USEC, (lk_usec)TARGET_MAX_USEC);
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

static void restart(lk_jitter *j)
{
    j->count = 0;
    j->started = j->playing = false;
    j->seq = (lk_unwrap16){0};
    j->ts = (lk_unwrap32){0};
    memset(j->histogram, 0, sizeof j->histogram);
    j->weight = 0;
    j->target_usec = TARGET_START_USEC;
    j->stalled_usec = 0;
}

lk_err lk_jitter_put(lk_jitter *j, uint16_t seq16, uint32_t ts32, uint32_t frames, lk_usec arrival, lk_bytes payload,
                     bool redundant)
{
    int64_t seq = lk_unwrap16_peek(&j->seq, seq16), ts = lk_unwrap32_peek(&j->ts, ts32);
    if (payload.len > UINT16_MAX)
        return LK_ERR_LIMIT;
    if (j->started && (ts - j->ts.last > JUMP_TICKS || j->ts.last - ts > JUMP_TICKS || seq - j->seq.last > JUMP_SEQ ||
                       j->seq.last - seq > JUMP_SEQ)) {
        restart(j);
        seq = seq16;
        ts = ts32;
    }
    j->received += !redundant;
    size_t at = j->count;
    while (at > 0 && j->packets[at - 1].seq > seq)
        at--;
    bool twice = at > 0 && j->packets[at - 1].seq == seq;
    bool late = j->playing && ts < j->next_ts;
    if (redundant && (twice || late || (!j->started)))
        return LK_ERR_STATE;
    if (!twice) { /* a duplicate says nothing about delay */
        lk_usec transit = arrival - TICK_USEC(ts);
        learn_base(j, arrival, transit);
        learn_delay(j, transit - j->base);
    }
    if (!j->started || seq > j->seq.last) {
        (void)lk_unwrap16_next(&j->seq, seq16);
        (void)lk_unwrap32_next(&j->ts, ts32);
    }
    j->started = true;
    if (twice || late) {
        j->duplicates += twice;
        j->late += !twice;
        return LK_ERR_STATE;
    }
    if (j->count == LK_JITTER_PACKETS_MAX) {
        j->dropped++;
        if (at == 0)
            return LK_ERR_STATE;
        remove_at(j, 0);
        at--;
    }
    if (j->count == j->cap && grow(j) != LK_OK)
        return LK_ERR_NOMEM;
    lk_jitter_packet fresh = j->packets[j->count];
    if (fresh.cap < payload.len) {
        uint16_t cap = (uint16_t)LK_MIN((payload.len + 255) / 256 * 256, (size_t)UINT16_MAX);
        uint8_t *data = (uint8_t *)lk_alloc(j->env, cap);
        if (!data)
            return LK_ERR_NOMEM;
        lk_release(j->env, fresh.data, fresh.cap);
        fresh.data = data;
        fresh.cap = cap;
    }
    if (payload.len)
        memcpy(fresh.data, payload.data, payload.len);
    fresh.len = (uint16_t)payload.len;
    fresh.seq = seq;
    fresh.ts = ts;
    fresh.frames = frames;
    fresh.arrival = arrival;
    memmove(j->packets + at + 1, j->packets + at, (j->count - at) * sizeof *j->packets);
    j->packets[at] = fresh;
    j->count++;
    return LK_OK;
}

uint32_t lk_jitter_waiting(const lk_jitter *j)
{
    uint32_t ticks = 0;
    for (size_t i = 0; i < j->count; i++)
        ticks += j->packets[i].frames;
    return ticks;
}

/* ---- decisions ------------------------------------------------------------------------------------------------ */

lk_usec lk_jitter_delay(const lk_jitter *j, lk_usec now, size_t buffered)
{
    return j->playing ? now - TICK_USEC(j->next_ts - (int64_t)buffered) - j->base : 0;
}

/* Hysteresis: a stretch moves by 2.5 to 15 ms, and hearing it is worse than 10 ms of delay. */
int lk_jitter_steer(const lk_jitter *j, lk_usec now, size_t buffered)
{
    if (!j->playing || j->stalled_usec)
        return 0;
    lk_usec off = lk_jitter_delay(j, now, buffered) - j->target_usec;
    return off > STEER_UP_USEC ? 1 : off < -STEER_DOWN_USEC ? -1 : 0;
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

lk_jitter_next lk_jitter_decide(lk_jitter *j, lk_usec now, size_t buffered)
{
    while (j->playing && j->count && j->packets[0].ts + (int64_t)j->packets[0].frames <= j->next_ts) {
        j->late++;
        remove_at(j, 0);
    }
    if (!j->playing) {
        if (!j->count || now - TICK_USEC(j->packets[0].ts) - j->base + TICK_USEC(buffered) < j->target_usec)
            return (lk_jitter_next){.action = LK_JITTER_WAIT, .frames = CONCEAL_STEP};
        j->playing = true;
        return play_first(j);
    }
    if (!j->count) { /* late or the sender pauses: wait for it, the delay grows meanwhile */
        j->stalled_usec += TICK_USEC(CONCEAL_STEP);
        if (j->stalled_usec > STALL_MAX_USEC)
            restart(j);
        return (lk_jitter_next){.action = LK_JITTER_CONCEAL, .frames = CONCEAL_STEP, .lost = !j->paused};
    }
    const lk_jitter_packet *p = &j->packets[0];
    int64_t gap = p->ts - j->next_ts, missing = p->seq - j->next_seq;
    lk_usec would_be = now - TICK_USEC(p->ts - (int64_t)buffered) - j->base; /* its delay if it were played now */
    if (gap <= 0 || (gap < CONCEAL_STEP && missing <= 0))
        return play_first(j);
    /* The sender's pause is over, or the stall has covered what is missing: go on with what is here. */
    bool due = missing <= 0 ? would_be >= j->target_usec : j->stalled_usec && would_be >= j->target_usec - SLACK_USEC;
    if (due)
        return play_first(j);
    bool last_missing = missing > 0 && gap <= (int64_t)j->last_frames;
    int64_t step = last_missing ? gap : missing > 0 && gap > (int64_t)j->last_frames ? gap - j->last_frames : gap;
    step = last_missing ? step : LK_MIN(step, (int64_t)CONCEAL_STEP);
    step = step / 120 * 120; /* what a codec can conceal: multiples of 2.5 ms */
    if (step == 0)
        return play_first(j);
    j->next_ts += step;
    if (last_missing) {
        j->next_seq = p->seq;
        return (lk_jitter_next){.action = LK_JITTER_RECOVER, .packet = p, .frames = (uint32_t)step, .lost = true};
    }
    return (lk_jitter_next){.action = LK_JITTER_CONCEAL, .frames = (uint32_t)step, .lost = missing > 0};
}
