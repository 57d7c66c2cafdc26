// SPDX-License-Identifier: Apache-2.0
/* A probe over an estimator and a bottleneck that is a number: what waits is told as its queue. */
#include "cc/probe.h"
#include "lk_test.h"

#define PACKET 319u

typedef struct path {
    lk_estimator estimator;
    lk_probe probe;
    lk_usec now, fed_at;
    uint64_t rate_bps; /* 0: any */
    double waits_bits;
    uint64_t sent_bytes, longest_usec;
    unsigned burst, burst_worst; /* packets of padding at one instant */
} path;

static void open_path(path *p, const lk_env *env, uint64_t rate_bps)
{
    *p = (path){.now = LK_SEC(10), .fed_at = LK_SEC(10), .rate_bps = rate_bps};
    lk_estimator_init(&p->estimator, env, NULL, p->now);
    lk_probe_init(&p->probe);
}

static void leave(path *p, size_t bytes)
{
    p->sent_bytes += bytes;
    p->waits_bits += 8.0 * (double)bytes;
    lk_rate_meter_add(&p->estimator.sent, p->now, bytes);
}

/* Media of so many bits a second in packets every 10 ms, padding when it is due, feedback every 100 ms. */
static lk_probe_state run(path *p, lk_usec span, uint64_t media_bps)
{
    for (lk_usec until = p->now + span; p->now < until; p->now += LK_MSEC(1)) {
        if (media_bps && p->now % LK_MSEC(10) == 0) {
            leave(p, media_bps / 800);
            lk_probe_sent(&p->probe, p->now, media_bps / 800);
        }
        p->burst = 0;
        for (bool due = p->now >= lk_probe_deadline(&p->probe); due && lk_probe_poll(&p->probe, p->now, PACKET);) {
            leave(p, PACKET);
            p->burst++;
        }
        p->burst_worst = LK_MAX(p->burst_worst, p->burst);
        double passes = p->rate_bps ? LK_MIN((double)p->rate_bps / 1000, p->waits_bits) : p->waits_bits;
        p->waits_bits -= passes;
        lk_rate_meter_add(&p->estimator.acked, p->now, (size_t)(passes / 8));
        p->estimator.queue_usec = p->rate_bps ? (lk_usec)(p->waits_bits * 1e6 / (double)p->rate_bps) : 0;
        p->longest_usec = LK_MAX(p->longest_usec, (uint64_t)p->estimator.queue_usec);
        if (p->now >= p->fed_at + LK_MSEC(100)) {
            p->fed_at = p->estimator.feedback_at = p->now;
            if (lk_probe_judge(&p->probe, p->now, &p->estimator) > LK_PROBE_RUNNING)
                return p->probe.state;
        }
    }
    return p->probe.state;
}

LK_TEST(a_wide_path_passes_within_three_seconds)
{
    path p;
    open_path(&p, env, 0);
    run(&p, LK_SEC(1), 400000);
    lk_usec began = p.now;
    p.sent_bytes = 0;
    lk_probe_start(&p.probe, p.now, &p.estimator, 400000, 1600000);
    CHECK_EQ(run(&p, LK_SEC(6), 400000), LK_PROBE_PASSED);
    CHECK(p.now - began < LK_SEC(3));
    CHECK_EQ(p.probe.took_bps, 1600000);
    CHECK(8 * p.sent_bytes * 1000000 / (uint64_t)(p.now - began) < 1600000); /* never above its goal */
    CHECK(p.burst_worst <= 16); /* 25 ms of it */
    CHECK_EQ(lk_probe_deadline(&p.probe), LK_NEVER);
}

LK_TEST(a_narrow_path_ends_it_before_much_waits)
{
    static const uint64_t rates[] = {150000, 500000, 1200000, 2000000};
    for (size_t i = 0; i < LK_LEN(rates); i++) {
        path p;
        open_path(&p, env, rates[i]);
        run(&p, LK_SEC(1), rates[i] * 3 / 4);
        lk_probe_start(&p.probe, p.now, &p.estimator, rates[i] * 3 / 4, 4 * rates[i]);
        CHECK_EQ(run(&p, LK_SEC(6), rates[i] * 3 / 4), LK_PROBE_FULL);
        CHECK(p.longest_usec < (uint64_t)LK_MSEC(180));
        CHECK(p.probe.took_bps > rates[i] * 7 / 8 && p.probe.took_bps < rates[i] * 9 / 8);
    }
}

LK_TEST(an_estimate_that_falls_ends_it_at_once)
{
    path p;
    open_path(&p, env, 0);
    lk_probe_start(&p.probe, p.now, &p.estimator, 300000, 3000000);
    run(&p, LK_MSEC(250), 300000);
    p.estimator.lowered_at = p.now;
    CHECK_EQ(run(&p, LK_MSEC(110), 300000), LK_PROBE_FULL);
    lk_probe_stop(&p.probe);
    lk_probe_start(&p.probe, p.now, &p.estimator, 300000, 3000000);
    p.estimator.loss_testing = true; /* since before: no news */
    CHECK_EQ(run(&p, LK_MSEC(110), 300000), LK_PROBE_RUNNING);
    p.estimator.loss_at = p.now + LK_SEC(1);
    CHECK_EQ(run(&p, LK_MSEC(110), 300000), LK_PROBE_FULL);
}

LK_TEST(silence_ends_it_after_five_seconds_and_media_takes_the_place_of_padding)
{
    path p;
    open_path(&p, env, 0);
    lk_probe_start(&p.probe, p.now, &p.estimator, 0, 100000000);
    CHECK(p.probe.goal_bps <= LK_PROBE_PADDING_MAX_BPS);
    CHECK_EQ(lk_probe_judge(&p.probe, p.now + LK_SEC(4), &p.estimator), LK_PROBE_RUNNING);
    CHECK_EQ(lk_probe_judge(&p.probe, p.now + LK_SEC(5), &p.estimator), LK_PROBE_FULL);
    lk_probe_stop(&p.probe);
    CHECK(!lk_probe_poll(&p.probe, p.now, PACKET));
    lk_probe_start(&p.probe, p.now, &p.estimator, 1000000, 1000000);
    uint64_t padded = p.probe.padded_bytes;
    run(&p, LK_SEC(1), 1000000);
    CHECK(p.probe.padded_bytes - padded < 5000);
    lk_probe_start(&p.probe, p.now, &p.estimator, 1, 0);
}
