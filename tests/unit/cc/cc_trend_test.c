// SPDX-License-Identifier: Apache-2.0
#include "cc/trend.h"
#include "lk_test.h"

/* A packet every 10 ms whose delay grows by grow usec each; jitter on top. */
static lk_usec feed(lk_trend *t, lk_usec *sent, lk_usec delay, unsigned packets, lk_usec grow, lk_usec jitter,
                    lk_prng *prng)
{
    for (unsigned i = 0; i < packets; i++, *sent += LK_MSEC(10), delay += grow)
        lk_trend_input(t, *sent, *sent + delay + (jitter ? (lk_usec)(lk_prng_next(prng) % (uint64_t)jitter) : 0));
    return delay;
}

LK_TEST(a_constant_delay_is_normal_a_growing_one_overuse_a_falling_one_underuse)
{
    lk_trend t;
    lk_prng prng;
    lk_prng_init(&prng, 1);
    lk_usec sent = LK_SEC(1);
    lk_trend_init(&t);
    lk_usec delay = feed(&t, &sent, LK_SEC(50), 200, 0, 0, &prng);
    CHECK_EQ(t.state, LK_TREND_NORMAL);
    delay = feed(&t, &sent, delay, 30, LK_MSEC(1), 0, &prng); /* a tenth too much for 0.3 s */
    CHECK_EQ(t.state, LK_TREND_OVERUSE);
    delay = feed(&t, &sent, delay, 30, -LK_MSEC(1), 0, &prng);
    CHECK_EQ(t.state, LK_TREND_UNDERUSE);
    feed(&t, &sent, delay, 200, 0, 0, &prng);
    CHECK_EQ(t.state, LK_TREND_NORMAL);
}

LK_TEST(jitter_is_no_trend_once_the_threshold_knows_it)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        lk_trend t;
        lk_prng prng;
        lk_prng_init(&prng, seed);
        lk_usec sent = LK_SEC(1);
        unsigned over = 0;
        lk_trend_init(&t);
        feed(&t, &sent, LK_SEC(50), 100, 0, LK_MSEC(10), &prng);
        for (int i = 0; i < 2000; i++) {
            feed(&t, &sent, LK_SEC(50), 1, 0, LK_MSEC(10), &prng);
            over += t.state == LK_TREND_OVERUSE;
        }
        CHECK(over < 40);
    }
}

LK_TEST(a_reordered_packet_and_another_clock_are_no_overuse)
{
    lk_trend t;
    lk_prng prng;
    lk_prng_init(&prng, 1);
    lk_usec sent = LK_SEC(1);
    lk_trend_init(&t);
    for (int i = 0; i < 100; i++) {
        feed(&t, &sent, LK_SEC(50), 5, 0, 0, &prng);
        lk_trend_input(&t, sent - LK_MSEC(40), sent + LK_SEC(51)); /* a second late */
        CHECK_EQ(t.state, LK_TREND_NORMAL);
    }
    feed(&t, &sent, LK_SEC(90), 100, 0, 0, &prng);
    CHECK(t.state == LK_TREND_NORMAL && t.points < 105);
}

LK_TEST(packets_of_one_burst_are_one_group)
{
    lk_trend t;
    lk_trend_init(&t);
    for (lk_usec sent = LK_SEC(1); sent < LK_SEC(2); sent += LK_MSEC(20)) { /* 50 bursts of 8, spread by the link */
        for (lk_usec k = 0; k < 8; k++)
            lk_trend_input(&t, sent + k * 100, sent + LK_MSEC(30) + k * LK_MSEC(2));
        CHECK_EQ(t.state, LK_TREND_NORMAL);
    }
    CHECK_EQ(t.points, 49);
}
