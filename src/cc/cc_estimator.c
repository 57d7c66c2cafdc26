// SPDX-License-Identifier: Apache-2.0
#include "cc/estimator.h"

#define START_BPS 300000u
#define MIN_BPS 30000u
#define MAX_BPS 100000000u
#define LIMIT_LOW_BPS 10000u
#define LIMIT_HIGH_BPS 1000000000u
#define BUCKET_USEC LK_MSEC(50)
#define LATE_BUCKETS 5
#define LOSS_BUCKET_USEC LK_MSEC(100)
#define BACKOFF 0.85      /* of what arrived [draft-ietf-rmcat-gcc-02 s5.5] */
#define BACKOFF_DEEP 0.7  /* with a long queue, which 0.85 would take seconds to drain */
#define QUEUE_DEEP_USEC LK_MSEC(200)
#define QUEUE_RESTART_USEC LK_SEC(3) /* no queue, but another path or another clock */
#define PACE_START 1.0    /* before the first overuse */
#define PACE_AGAIN 0.08   /* after one: quickens by PACE_FACTOR per calm second */
#define PACE_FACTOR 1.6
#define PACE_MAX 0.6
#define PACE_RECOVER 0.6  /* up to NEAR_LOW of a capacity known */
#define NEAR_LOW 0.85
#define NEAR_HIGH 1.1
#define PACKET_BITS 9600.0
#define FEEDBACK_USEC LK_MSEC(100)
#define RTT_DEFAULT LK_MSEC(100)
#define BASE_PERIOD_USEC LK_SEC(15)
#define QUEUE_HOLD_USEC LK_MSEC(100) /* no growth on top of a standing queue */
#define QUEUE_FOREIGN_USEC LK_SEC(3) /* a queue that stays while nothing grows it is not ours: a longer path, other traffic */
#define LOSS_HIGH 0.10
#define LOSS_LOW 0.02
#define LOSS_JUDGE_MIN 20 /* packets */
#define LOSS_PROVED_USEC LK_SEC(20) /* how long loss is believed to be congestion once it was seen to be */
#define LOSS_PROVE_MIN 50
#define SILENCE_REPORTS_USEC LK_SEC(3) /* receiver reports alone come up to 1.5 s apart */
#define SILENCE_USEC LK_SEC(1)
#define REMB_USEC LK_SEC(10)
#define PASSED_MAX LK_MSEC(500)

/* ---- meters -------------------------------------------------------------------------------------------- */
void lk_rate_meter_add(lk_rate_meter *m, lk_usec at, size_t bytes)
{
    int64_t slot = at / BUCKET_USEC, n = LK_RATE_METER_BUCKETS;
    if (!m->started || slot < m->head - 100 * n || slot > m->head + 100 * n) { /* another clock: start over */
        *m = (lk_rate_meter){.started = true, .head = slot, .first = at, .last = at};
    } else if (slot <= m->head - n) {
        return;
    }
    for (int64_t k = LK_MAX(m->head + 1, slot - n + 1); k <= slot; k++)
        m->bytes[(size_t)k % LK_RATE_METER_BUCKETS] = 0;
    m->head = LK_MAX(m->head, slot);
    m->last = LK_MAX(m->last, at);
    m->bytes[(size_t)slot % LK_RATE_METER_BUCKETS] += (uint32_t)bytes;
}

uint64_t lk_rate_meter_bps(const lk_rate_meter *m)
{
    lk_usec from = LK_MAX((m->head - (int64_t)LK_RATE_METER_BUCKETS + 1) * BUCKET_USEC, m->first);
    lk_usec span = m->last - from;
    uint64_t bytes = 0;
    if (!m->started || span < (lk_usec)LK_RATE_METER_BUCKETS * BUCKET_USEC / 2)
        return 0;
    for (size_t i = 0; i < LK_RATE_METER_BUCKETS; i++)
        bytes += m->bytes[i];
    return bytes * 8000000u / (uint64_t)span;
}

uint64_t lk_rate_meter_late_bps(const lk_rate_meter *m)
{
    uint64_t bytes = 0;
    for (int64_t k = 1; k <= LATE_BUCKETS; k++)
        bytes += m->head >= k ? m->bytes[(size_t)(m->head - k) % LK_RATE_METER_BUCKETS] : 0;
    return bytes * 8000000u / (LATE_BUCKETS * (uint64_t)BUCKET_USEC);
}

static void loss_advance(lk_loss_meter *m, lk_usec now)
{
    int64_t slot = now / LOSS_BUCKET_USEC, n = LK_RATE_METER_BUCKETS;
    for (int64_t k = LK_MAX(m->head + 1, slot - n + 1); k <= slot; k++)
        m->told[(size_t)k % LK_RATE_METER_BUCKETS] = m->lost[(size_t)k % LK_RATE_METER_BUCKETS] = 0;
    m->head = LK_MAX(m->head, slot);
}

/* Told of for the first time: counted. Told of before as lost and now as arrived: the loss is taken back. */
static void loss_add(lk_loss_meter *m, const lk_twcc_result *r)
{
    size_t slot = (size_t)m->head % LK_RATE_METER_BUCKETS;
    if (!m->started || lk_seq16_newer(r->seq, m->newest)) {
        m->started = true;
        m->newest = r->seq;
        m->told[slot]++;
        m->lost[slot] += !r->received;
    } else if (r->received) {
        m->lost[slot]--;
    }
}

static double loss_share(const lk_loss_meter *m, int32_t *told)
{
    int32_t lost = 0;
    *told = 0;
    for (size_t i = 0; i < LK_RATE_METER_BUCKETS; i++) {
        *told += m->told[i];
        lost += m->lost[i];
    }
    return *told > 0 && lost > 0 ? (double)LK_MIN(lost, *told) / (double)*told : 0;
}

/* ---- the rate ------------------------------------------------------------------------------------------ */
void lk_estimator_init(lk_estimator *e, const lk_env *env, const lk_estimator_config *config, lk_usec now)
{
    lk_estimator_config c = config ? *config : (lk_estimator_config){0};
    uint64_t min = LK_CLAMP(c.min_bps ? c.min_bps : MIN_BPS, LIMIT_LOW_BPS, LIMIT_HIGH_BPS);
    uint64_t max = LK_CLAMP(c.max_bps ? c.max_bps : MAX_BPS, min, LIMIT_HIGH_BPS);
    *e = (lk_estimator){.env = env, .min_bps = (double)min, .max_bps = (double)max, .pace = PACE_START,
                        .adapted_at = now, .lowered_at = now - LK_SEC(10), .calm_at = now, .loss_at = now,
                        .loss_proved_at = now - LOSS_PROVED_USEC,
                        .base_delay_usec = LK_NEVER, .base_before_usec = LK_NEVER, .base_at = now, .queue_at = now,
                        .feedback_at = LK_NEVER, .report_at = LK_NEVER, .silent_at = LK_NEVER};
    e->target_bps = (double)LK_CLAMP(c.start_bps ? c.start_bps : START_BPS, min, max);
    lk_trend_init(&e->trend);
}

static lk_usec round_trip(const lk_estimator *e) { return e->rtt_usec ? e->rtt_usec : RTT_DEFAULT; }

static void set_target(lk_estimator *e, double bps) { e->target_bps = LK_CLAMP(bps, e->min_bps, e->max_bps); }

/* The queue: how far the least delay of a feedback is above the least one of the last 15 to 30 s. Both of one clock. */
static void follow_delay(lk_estimator *e, lk_usec now, lk_usec delay)
{
    if (now - e->base_at >= BASE_PERIOD_USEC) {
        e->base_before_usec = e->base_delay_usec;
        e->base_delay_usec = LK_NEVER;
        e->base_at = now;
    }
    e->base_delay_usec = LK_MIN(e->base_delay_usec, delay);
    e->queue_usec = delay - LK_MIN(e->base_delay_usec, e->base_before_usec);
    if (e->queue_usec < QUEUE_HOLD_USEC || e->trend.state != LK_TREND_NORMAL)
        e->queue_at = now;
    if (e->queue_usec > QUEUE_RESTART_USEC || now - e->queue_at > QUEUE_FOREIGN_USEC) {
        e->base_delay_usec = delay;
        e->base_before_usec = LK_NEVER;
        e->base_at = e->queue_at = now;
        e->queue_usec = 0;
    }
}

static void lower_for_delay(lk_estimator *e, lk_usec now, double acked)
{
    if (now - e->lowered_at < round_trip(e) + 2 * FEEDBACK_USEC)
        return; /* what was lowered last is not seen yet */
    double sent = (double)lk_rate_meter_bps(&e->sent);
    bool idle = acked <= 0 || (sent > 0 && sent < 0.7 * e->target_bps);
    if (!idle) { /* the path was full: what arrived is what it takes */
        bool same = e->capacity_bps > 0.7 * acked && e->capacity_bps < 1.3 * acked;
        e->capacity_bps = same ? 0.7 * e->capacity_bps + 0.3 * acked : acked;
    }
    double share = e->queue_usec > QUEUE_DEEP_USEC ? BACKOFF_DEEP : BACKOFF;
    set_target(e, LK_MIN(e->target_bps, share * (idle ? e->target_bps : acked)));
    e->lowered_at = e->calm_at = now;
    e->pace = PACE_AGAIN;
    e->loss_testing = false;
}

static void grow(lk_estimator *e, lk_usec now, lk_usec passed_usec, double acked, double share)
{
    double passed = (double)passed_usec / 1e6, target = e->target_bps, wanted;
    if (e->capacity_bps > 0 && target > NEAR_HIGH * e->capacity_bps) {
        e->capacity_bps = 0; /* it takes more by now */
        e->calm_at = now;
    }
    if (e->capacity_bps <= 0) {
        wanted = target * (1 + e->pace * share * passed);
        if (e->pace < PACE_MAX)
            e->pace = LK_MIN(e->pace * (1 + (PACE_FACTOR - 1) * passed), PACE_MAX);
    } else if (target < NEAR_LOW * e->capacity_bps) {
        wanted = LK_MIN(target * (1 + PACE_RECOVER * share * passed), NEAR_LOW * e->capacity_bps);
    } else { /* about a packet per response time */
        double response = (double)(round_trip(e) + 2 * FEEDBACK_USEC) / 1e6;
        wanted = target + LK_MAX(0.03 * target, LK_MIN(PACKET_BITS / response, 0.12 * target)) * share * passed;
    }
    if (acked > 0) /* what was never sent was never tried */
        wanted = LK_MIN(wanted, 1.5 * acked + 10000);
    if (e->demand_bps)
        wanted = LK_MIN(wanted, 1.25 * (double)e->demand_bps);
    set_target(e, LK_MAX(wanted, target));
}

/* More than the limit by two standard deviations: a few packets prove nothing. */
static bool loss_is_high(double excess, int32_t told)
{
    double over = (excess - LOSS_HIGH) * (double)told;
    return over > 0 && over * over > 4 * LOSS_HIGH * (1 - LOSS_HIGH) * (double)told;
}

/* Returns the share of the usual growth that loss allows. */
static double judge_loss(lk_estimator *e, lk_usec now, double acked)
{
    int32_t told;
    double p = loss_share(&e->loss, &told);
    if (e->loss_testing && now < e->loss_at)
        return 0;
    if (told < LOSS_JUDGE_MIN)
        return 1;
    if (e->loss_testing) { /* sent less by what was lost: had it been too much, the loss would be gone */
        e->loss_testing = false;
        if (p > e->loss_tested / 2) {
            e->loss_own = LK_MIN(p, 0.5);
            set_target(e, LK_MAX(e->target_bps, e->loss_rate_bps));
        } else {
            e->capacity_bps = e->target_bps;
            if (p - e->loss_own < LOSS_LOW && told >= LOSS_PROVE_MIN)
                e->loss_proved_at = now;
        }
    }
    if (p < e->loss_own)
        e->loss_own += (p - e->loss_own) / 16;
    double excess = p - e->loss_own;
    if (loss_is_high(excess, told) && now >= e->loss_at) {
        e->loss_tested = p;
        e->loss_rate_bps = e->target_bps;
        e->loss_testing = true;
        e->loss_at = now + round_trip(e) + FEEDBACK_USEC + LOSS_BUCKET_USEC * LK_RATE_METER_BUCKETS;
        double through = acked > 0 ? LK_MIN(acked, e->target_bps) : e->target_bps * (1 - p);
        set_target(e, LK_MAX(0.95 * through, e->target_bps / 2));
        e->pace = PACE_AGAIN;
        return 0;
    }
    if (excess <= LOSS_LOW)
        return 1;
    bool proved = now - e->loss_proved_at < LOSS_PROVED_USEC && e->target_bps > NEAR_LOW * e->loss_rate_bps;
    return proved ? 0 : 0.5;
}

void lk_estimator_sent(lk_estimator *e, lk_usec now, size_t bytes)
{
    lk_rate_meter_add(&e->sent, now, bytes);
    if (e->silent_at == LK_NEVER && e->target_bps > e->min_bps)
        e->silent_at = now + (e->feedback_at == LK_NEVER ? SILENCE_REPORTS_USEC : SILENCE_USEC) + 3 * round_trip(e);
}

void lk_estimator_feedback(lk_estimator *e, lk_usec now, const lk_twcc_result *results, size_t count)
{
    lk_usec delay = LK_NEVER, newest_sent = INT64_MIN, passed = LK_CLAMP(now - e->adapted_at, 0, PASSED_MAX);
    e->silent_at = LK_NEVER;
    e->feedback_at = now;
    loss_advance(&e->loss, now);
    for (size_t i = 0; i < count; i++) {
        const lk_twcc_result *r = &results[i];
        loss_add(&e->loss, r);
        if (!r->received)
            continue;
        lk_rate_meter_add(&e->acked, r->arrived_at, r->bytes);
        lk_trend_input(&e->trend, r->sent_at, r->arrived_at);
        delay = LK_MIN(delay, r->arrived_at - r->sent_at);
        newest_sent = LK_MAX(newest_sent, r->sent_at);
    }
    if (delay == LK_NEVER)
        return;
    follow_delay(e, now, delay);
    if (e->report_at == LK_NEVER) { /* includes the time the peer held the feedback back; a report knows better */
        lk_usec sample = now - newest_sent;
        e->rtt_usec = e->rtt_usec ? (7 * e->rtt_usec + sample) / 8 : sample;
    }
    double acked = (double)lk_rate_meter_bps(&e->acked), share = judge_loss(e, now, acked);
    e->adapted_at = now;
    if (e->trend.state == LK_TREND_OVERUSE)
        lower_for_delay(e, now, acked);
    else if (e->trend.state == LK_TREND_NORMAL && e->queue_usec < QUEUE_HOLD_USEC)
        grow(e, now, passed, acked, share);
}

void lk_estimator_report(lk_estimator *e, lk_usec now, uint8_t fraction_lost, lk_usec rtt_usec)
{
    lk_usec passed = LK_CLAMP(now - e->adapted_at, 0, LK_SEC(1));
    e->silent_at = LK_NEVER;
    if (rtt_usec > 0) {
        e->rtt_usec = rtt_usec;
        e->report_at = now;
    }
    if (e->feedback_at != LK_NEVER && now - e->feedback_at < LK_SEC(5))
        return;
    double p = fraction_lost / 256.0; /* [draft-ietf-rmcat-gcc-02 s6] */
    e->adapted_at = now;
    if (p > LOSS_HIGH)
        set_target(e, e->target_bps * (1 - 0.5 * p));
    else if (p < LOSS_LOW)
        grow(e, now, passed, (double)lk_rate_meter_bps(&e->sent), PACE_AGAIN / e->pace);
}

void lk_estimator_remb(lk_estimator *e, lk_usec now, uint64_t bps)
{
    e->remb_bps = LK_CLAMP(bps, LIMIT_LOW_BPS, LIMIT_HIGH_BPS);
    e->remb_at = now;
    e->silent_at = LK_NEVER; /* it is there */
}

void lk_estimator_set_demand(lk_estimator *e, lk_usec now, uint64_t bps)
{
    LK_UNUSED(now);
    e->demand_bps = bps;
}

void lk_estimator_assume(lk_estimator *e, uint64_t bps) { set_target(e, (double)bps); }

void lk_estimator_tick(lk_estimator *e, lk_usec now)
{
    if (e->remb_bps && now - e->remb_at > REMB_USEC)
        e->remb_bps = 0;
    while (e->silent_at <= now) {
        e->capacity_bps = LK_MAX(e->capacity_bps, e->target_bps);
        set_target(e, e->target_bps / 2);
        e->silent_at = e->target_bps > e->min_bps ? e->silent_at + SILENCE_USEC : LK_NEVER;
    }
}

lk_usec lk_estimator_deadline(const lk_estimator *e)
{
    return LK_MIN(e->silent_at, e->remb_bps ? e->remb_at + REMB_USEC + 1 : LK_NEVER);
}

uint64_t lk_estimator_target_bps(const lk_estimator *e)
{
    uint64_t target = (uint64_t)e->target_bps;
    return e->remb_bps ? LK_MIN(target, e->remb_bps) : target;
}

uint8_t lk_estimator_loss(const lk_estimator *e)
{
    int32_t told;
    return (uint8_t)(255 * loss_share(&e->loss, &told));
}

lk_usec lk_estimator_rtt_usec(const lk_estimator *e) { return e->rtt_usec; }
