// SPDX-License-Identifier: Apache-2.0
/* What a subscriber's path carries, shared out among the video it gets: a layer each, or none.
 *
 * Nothing is held back until the estimate falls below what is sent; then layers go to fit. After a while a probe shows whether
 * the path carries more, and the layers follow what it found. Where there is nothing to probe with (no transport-wide feedback,
 * no retransmission stream) more media has to show it, more seldom: that costs pictures when the path is still narrow.
 */
#include "sfu/hub_internal.h"

#define ALLOCATE_USEC LK_MSEC(500)
#define PROBE_MIN_USEC LK_SEC(2) /* after layers went, and between two probes */
#define PROBE_MAX_USEC LK_SEC(6)
#define TRY_MIN_USEC LK_SEC(5)
#define TRY_MAX_USEC LK_SEC(60)
#define TRIAL_USEC LK_SEC(8) /* congestion within it is blamed on having sent more */
#define QUIET_USEC LK_MSEC(700)
#define QUEUE_LONG_USEC LK_MSEC(60)
#define CONFIRM_USEC LK_SEC(1) /* the queue of the probe before drains */

static bool is_shared(const lk_down *d) { return d->up && d->bound && !d->settings.disabled && d->up->kind == LK_MEDIA_KIND_VIDEO; }

static uint64_t step_bps(const lk_down *d, int step) { return step >= 0 && lk_up_step_active(d->up, (size_t)step) ? d->up->mean_bps[step] : 0; }

/* ---- a limit, shared out ---- */

/* The next lower priority that occurs; -1: none. */
static int next_priority(const lk_peer *p, int above)
{
    int next = -1;
    LK_LIST_EACH(&p->downs, at) {
        const lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (is_shared(d) && (int)d->settings.priority < above)
            next = LK_MAX(next, (int)d->settings.priority);
    }
    return next;
}

/* The lowest layer, or a pause where that does not fit either. */
static void plan_first(lk_down *d, uint64_t limit_bps, uint64_t *used)
{
    uint64_t least = step_bps(d, 0);
    bool paused = d->allow_pause && *used + least > limit_bps;
    d->planned = paused ? -1 : 0;
    *used += paused ? 0 : least;
}

static void plan_step(lk_down *d, int step, uint64_t limit_bps, uint64_t *used)
{
    if (d->planned != step - 1 || lk_down_choose(d, step) != step)
        return;
    uint64_t more = *used - step_bps(d, step - 1) + step_bps(d, step);
    if (more > limit_bps)
        return;
    *used = more;
    d->planned = (int8_t)step;
}

/* A layer for each, then one more for each in turn, those of higher priority first. Returns what that takes. */
static uint64_t plan(lk_peer *p, uint64_t limit_bps)
{
    uint64_t used = 0;
    for (int step = 0; step < (int)LK_UP_LAYERS_MAX; step++)
        for (int priority = next_priority(p, INT32_MAX); priority >= 0; priority = next_priority(p, priority))
            LK_LIST_EACH(&p->downs, at) {
                lk_down *d = LK_CONTAINER(at, lk_down, link);
                if (!is_shared(d) || d->settings.priority != priority)
                    continue;
                if (step == 0)
                    plan_first(d, limit_bps, &used);
                else
                    plan_step(d, step, limit_bps, &used);
            }
    return used;
}

/* 0: no limit. */
static void set_limit(lk_peer *p, lk_usec now, uint64_t bps)
{
    p->limit_bps = bps;
    if (bps)
        (void)plan(p, bps);
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (!is_shared(d))
            continue;
        d->paused = bps && d->planned < 0;
        d->limit = (int8_t)(bps ? LK_MAX(d->planned, 0) : LK_UP_LAYERS_MAX - 1);
        lk_down_select(d, now);
    }
}

/* Of the layers chosen; of those there would be without a limit. */
static uint64_t expected_bps(const lk_peer *p)
{
    uint64_t sum = 0;
    LK_LIST_EACH(&p->downs, at) {
        const lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (is_shared(d) && d->open)
            sum += step_bps(d, lk_down_step(d));
    }
    return sum;
}

static uint64_t wanted_bps(const lk_peer *p)
{
    uint64_t sum = 0;
    LK_LIST_EACH(&p->downs, at) {
        const lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (is_shared(d))
            sum += step_bps(d, lk_down_choose(d, LK_UP_LAYERS_MAX - 1));
    }
    return sum;
}

/* ---- less ---- */

static uint64_t with_room(uint64_t bps) { return bps + bps * 2 / 5; } /* the estimator takes less than 0.7 of it for idle */

/* Layers are not even, and sound and resends come on top. */
static uint64_t with_margin(uint64_t bps) { return bps + bps / 5; }
static uint64_t without_margin(uint64_t bps) { return bps - bps / 11; }

/* The meter stands still while everything is paused. */
static uint64_t sending_bps(const lk_peer *p) { return expected_bps(p) ? lk_rate_meter_bps(&p->estimator.sent) : 0; }

static bool congested(const lk_peer *p, lk_usec now)
{
    const lk_estimator *e = &p->estimator;
    uint64_t target = lk_estimator_target_bps(e), sending = sending_bps(p);
    bool bounded = e->capacity_bps > 0 || e->remb_bps > 0;
    bool known = p->limit_bps && target > p->limit_bps - p->limit_bps / 8; /* what follows of it is on its way */
    return p->has_feedback && bounded && !known && now >= p->quiet_until && target < sending - sending / 8;
}

static lk_down *who_pads(const lk_peer *p)
{
    LK_LIST_EACH(&p->downs, at)
        if (lk_down_can_pad(LK_CONTAINER(at, lk_down, link)))
            return LK_CONTAINER(at, lk_down, link);
    return NULL;
}

static void send_less(lk_peer *p, lk_usec now)
{
    uint64_t carries = lk_estimator_target_bps(&p->estimator);
    if (plan(p, carries) < expected_bps(p)) {
        bool tried = p->tried_at && now < p->tried_at + TRIAL_USEC;
        p->backoff_usec = tried ? LK_CLAMP(2 * p->backoff_usec, TRY_MIN_USEC, TRY_MAX_USEC) : who_pads(p) ? PROBE_MIN_USEC : TRY_MIN_USEC;
        p->hold_until = now + p->backoff_usec;
        p->tried_at = 0;
    }
    set_limit(p, now, carries);
    LK_LOG(p->hub->env, LK_LOG_DEBUG, "sfu.share.less", LK_I("carries_bps", (int64_t)carries), LK_I("again_usec", p->backoff_usec));
}

/* ---- more ---- */

bool lk_peer_write_probe(lk_peer *p, lk_usec now, uint8_t *slot, size_t *len)
{
    lk_down *d = p->probe.state == LK_PROBE_RUNNING ? who_pads(p) : NULL;
    bool sent = d && lk_down_write_padding(d, now, slot, len);
    p->hub->stats.padded += sent;
    return sent;
}

static void try_limit(lk_peer *p, lk_usec now, uint64_t bps)
{
    p->tried_at = now;
    set_limit(p, now, bps);
    p->expected_bps = expected_bps(p);
}

static void send_more(lk_peer *p, lk_usec now)
{
    uint64_t wanted = wanted_bps(p), expected = expected_bps(p);
    if (wanted <= expected + expected / 16)
        return;
    const lk_estimator *e = &p->estimator;
    if (e->feedback_at != LK_NEVER && now - e->feedback_at < ALLOCATE_USEC && e->queue_usec > QUEUE_LONG_USEC)
        return; /* what was too much has not drained yet */
    if (who_pads(p) && e->feedback_at != LK_NEVER) {
        p->before_probe_bps = lk_estimator_target_bps(&p->estimator);
        lk_probe_start(&p->probe, now, &p->estimator, expected, p->confirm_bps ? p->confirm_bps : with_margin(wanted));
        p->confirm_bps = 0;
        return;
    }
    p->estimator.remb_bps = 0; /* said of what came before: of a pause nothing can be said */
    try_limit(p, now, 0);
    lk_estimator_assume(&p->estimator, with_room(p->expected_bps));
}

/* The path carries the goal: layers go up to it. It does not: where less than that is still a layer more, another probe has to
 * show it, for what a path seems to take while it is filled is not to be relied on. */
static void end_probe(lk_peer *p, lk_usec now)
{
    bool passed = p->probe.state == LK_PROBE_PASSED;
    uint64_t goal = (uint64_t)p->probe.goal_bps, before = expected_bps(p), took = p->probe.took_bps;
    uint64_t next = passed ? took : LK_MIN(took, goal - goal / 16), reach = plan(p, without_margin(next));
    p->hold_until = now + p->backoff_usec;
    p->quiet_until = now + QUIET_USEC;
    lk_estimator_assume(&p->estimator, LK_MAX(passed ? took : 0, p->before_probe_bps));
    if (reach <= before + before / 16) { /* in vain */
        p->backoff_usec = LK_MAX(p->backoff_usec, LK_MIN(2 * p->backoff_usec, PROBE_MAX_USEC));
        p->hold_until = now + p->backoff_usec;
    } else if (passed) {
        try_limit(p, now, wanted_bps(p) <= without_margin(took) ? 0 : without_margin(took));
    } else {
        p->confirm_bps = LK_MIN(with_margin(reach), next);
        p->hold_until = now + CONFIRM_USEC;
    }
    LK_LOG(p->hub->env, LK_LOG_DEBUG, "sfu.probe.end", LK_I("passed", passed), LK_I("goal_bps", (int64_t)goal), LK_I("took_bps", (int64_t)took),
           LK_I("reached_bps", (int64_t)p->probe.rate_bps), LK_I("queue_usec", p->estimator.queue_usec),
           LK_I("span_usec", now - p->probe.began_at), LK_I("limit_bps", (int64_t)p->limit_bps), LK_I("wanted_bps", (int64_t)wanted_bps(p)));
    lk_probe_stop(&p->probe);
}

/* ---- now and then ---- */

void lk_peer_estimated(lk_peer *p, lk_usec now)
{
    if (p->probe.state == LK_PROBE_RUNNING) {
        if (lk_probe_judge(&p->probe, now, &p->estimator) != LK_PROBE_RUNNING)
            end_probe(p, now);
    } else if (p->allocate_at != LK_NEVER && congested(p, now)) {
        send_less(p, now);
    }
}

void lk_peer_allocate(lk_peer *p, lk_usec now)
{
    lk_estimator *e = &p->estimator;
    uint64_t target = lk_estimator_target_bps(e), sending = sending_bps(p), expected = expected_bps(p);
    bool any = false;
    LK_LIST_EACH(&p->downs, at) any |= is_shared(LK_CONTAINER(at, lk_down, link));
    p->allocate_at = any ? now + ALLOCATE_USEC : LK_NEVER;
    if (!any)
        lk_probe_stop(&p->probe);
    bool raised = expected > p->expected_bps + p->expected_bps / 8;
    p->expected_bps = expected;
    if (p->probe.state == LK_PROBE_RUNNING) {
        lk_peer_estimated(p, now);
    } else if (raised && !p->limit_bps && expected > target) { /* somebody asked for more: that is a trial too */
        p->tried_at = now;
        lk_estimator_assume(e, with_room(expected));
    } else if (congested(p, now)) {
        send_less(p, now);
    } else if (p->limit_bps && now >= p->hold_until) {
        send_more(p, now);
    } else if (sending && now >= p->quiet_until && target > with_room(LK_MAX(sending, expected))) {
        lk_estimator_assume(e, with_room(LK_MAX(sending, expected)));
    }
}
