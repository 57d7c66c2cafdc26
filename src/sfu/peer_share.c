// SPDX-License-Identifier: Apache-2.0
/* What a subscriber's path carries, shared out among the video it gets: a layer each, or none. */
#include "sfu/hub_internal.h"

#define ALLOCATE_USEC LK_MSEC(500)
#define BACKOFF_MIN_USEC LK_SEC(5) /* until more is tried again */
#define BACKOFF_MAX_USEC LK_SEC(60)
#define TRIAL_USEC LK_SEC(8) /* congestion within it is blamed on having tried */

static uint64_t step_bps(const lk_down *d, int step) { return step >= 0 ? lk_up_step_bps(d->up, (size_t)step) : 0; }

static bool is_shared(const lk_down *d) { return d->up && d->bound && !d->settings.disabled && d->up->kind == LK_MEDIA_KIND_VIDEO; }

static void set_limits(lk_peer *p, lk_usec now)
{
    uint64_t used = 0;
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        if (!is_shared(d))
            continue;
        d->limit = p->limit_bps ? 0 : LK_UP_LAYERS_MAX - 1;
        used += step_bps(d, 0);
        bool paused = d->allow_pause && p->limit_bps && used > p->limit_bps;
        if (paused)
            used -= step_bps(d, 0);
        d->paused = paused;
    }
    /* What is left goes into one more layer for each in turn. */
    for (int step = 1; p->limit_bps && step < (int)LK_UP_LAYERS_MAX; step++) {
        LK_LIST_EACH(&p->downs, at) {
            lk_down *d = LK_CONTAINER(at, lk_down, link);
            if (!is_shared(d) || d->paused || d->limit != step - 1 || step >= (int)lk_up_steps(d->up))
                continue;
            uint64_t more = used - step_bps(d, step - 1) + step_bps(d, step);
            if (more > p->limit_bps)
                continue;
            used = more;
            d->limit = (int8_t)step;
        }
    }
    LK_LIST_EACH(&p->downs, at)
        if (is_shared(LK_CONTAINER(at, lk_down, link)))
            lk_down_select(LK_CONTAINER(at, lk_down, link), now);
}

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

static uint64_t with_room(uint64_t bps) { return bps + bps * 2 / 5; } /* the estimator takes less than 0.7 of it for idle */

/* Nothing is held back until the estimate falls below what is sent; then layers go to fit, and after a while everything is tried
 * again: without padding probes only more media shows whether the path carries more. */
void lk_peer_allocate(lk_peer *p, lk_usec now)
{
    lk_estimator *e = &p->estimator;
    uint64_t target = lk_estimator_target_bps(e), sending = lk_rate_meter_bps(&e->sent), expected = expected_bps(p);
    bool any = false, bounded = e->capacity_bps > 0 || e->remb_bps > 0;
    LK_LIST_EACH(&p->downs, at) any |= is_shared(LK_CONTAINER(at, lk_down, link));
    p->allocate_at = any ? now + ALLOCATE_USEC : LK_NEVER;
    bool raised = expected > p->expected_bps + p->expected_bps / 8;
    p->expected_bps = expected;
    if (raised && !p->limit_bps && expected > target) { /* somebody asked for more: that is a trial too */
        p->tried_at = now;
        lk_estimator_assume(e, with_room(expected));
    } else if (p->has_feedback && bounded && target < sending - sending / 8) {
        bool by_trial = p->tried_at && now < p->tried_at + TRIAL_USEC;
        p->backoff_usec = by_trial ? LK_CLAMP(2 * p->backoff_usec, BACKOFF_MIN_USEC, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
        p->limit_bps = target;
        p->hold_until = now + p->backoff_usec;
        p->tried_at = 0;
        set_limits(p, now);
    } else if (p->limit_bps && now >= p->hold_until) {
        p->limit_bps = 0;
        p->tried_at = now;
        set_limits(p, now);
        p->expected_bps = expected_bps(p);
        lk_estimator_assume(e, with_room(p->expected_bps));
    } else if (sending && target > with_room(LK_MAX(sending, expected))) {
        lk_estimator_assume(e, with_room(LK_MAX(sending, expected)));
    }
}
