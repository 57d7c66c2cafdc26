// SPDX-License-Identifier: Apache-2.0
/* The rules one by one, then the buffer at work in virtual time: a path that delays by a known distribution, and a playout
 * that stretches by at most 7 ms every 30 ms. */
#include "jitter/jitter.h"
#include "lk_test.h"

#include <math.h>

#define PACKET 960

static const uint8_t sound[40] = {0x78};
static const uint8_t pause_mark[1] = {0x78};

static lk_err put(lk_jitter *j, int n, lk_usec arrival)
{
    return lk_jitter_put(j, (uint16_t)n, (uint32_t)n * PACKET, PACKET, arrival, (lk_bytes){sound, sizeof sound}, false);
}

/* ---- rules ----------------------------------------------------------------------------------------------- */

LK_TEST(packets_leave_in_order_whatever_order_they_came_in)
{
    static const int order[] = {0, 2, 1, 4, 3, 5};
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (size_t i = 0; i < LK_LEN(order); i++)
        if (put(&j, 65533 + order[i], LK_MSEC(20 * order[i])) != LK_OK)
            goto out;
    for (int i = 0; i < 6; i++) {
        lk_jitter_next n = lk_jitter_decide(&j, LK_MSEC(40 + 20 * i), 0);
        CHECK_EQ(n.action, LK_JITTER_PLAY);
        CHECK_EQ(n.frames, PACKET);
        CHECK(n.packet && (uint16_t)n.packet->seq == (uint16_t)(65533 + i));
        CHECK(n.packet && n.packet->len == sizeof sound && memcmp(n.packet->data, sound, sizeof sound) == 0);
    }
out:
    lk_jitter_deinit(&j);
}

LK_TEST(a_duplicate_is_refused_and_teaches_nothing_whether_it_was_played_or_not)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 100; i++) {
        lk_usec now = LK_MSEC(20 * i);
        if (put(&j, i, now) != LK_OK)
            goto out;
        CHECK_EQ(put(&j, i, now), LK_ERR_STATE);
        if (i >= 20)
            CHECK_EQ(put(&j, i - 20, now), LK_ERR_STATE); /* 400 ms old, played long ago */
        (void)lk_jitter_decide(&j, now, 0);
    }
    CHECK_EQ(j.duplicates, 180);
    CHECK_EQ(j.late, 0);
    CHECK(lk_jitter_target(&j) <= LK_MSEC(20));
out:
    lk_jitter_deinit(&j);
}

LK_TEST(what_comes_after_its_time_is_late_and_raises_the_target)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 200; i++) {
        lk_usec now = LK_MSEC(20 * i);
        if (i % 5 != 0 && put(&j, i, now) != LK_OK)
            goto out;
        if (i % 5 == 0 && i >= 10)
            (void)put(&j, i - 10, now); /* one in five comes 200 ms late */
        for (size_t have = 0; have < PACKET;)
            have += lk_jitter_decide(&j, now, have).frames;
    }
    CHECK(j.late > 0);
    CHECK(lk_jitter_target(&j) > LK_MSEC(190) && lk_jitter_target(&j) < LK_MSEC(230));
out:
    lk_jitter_deinit(&j);
}

LK_TEST(a_hole_is_recovered_from_the_packet_behind_it)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 6; i++)
        if (i != 2 && i != 3 && put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
    CHECK_EQ(lk_jitter_decide(&j, LK_MSEC(30), 0).action, LK_JITTER_PLAY);
    CHECK_EQ(lk_jitter_decide(&j, LK_MSEC(50), 0).action, LK_JITTER_PLAY);
    /* 2 is gone for good: 20 ms of concealment; 3 may stand in 4. */
    for (int i = 0; i < 2; i++) {
        lk_jitter_next n = lk_jitter_decide(&j, LK_MSEC(70 + 10 * i), 0);
        CHECK_EQ(n.action, LK_JITTER_CONCEAL);
        CHECK_EQ(n.frames, 480);
        CHECK(n.lost);
    }
    lk_jitter_next n = lk_jitter_decide(&j, LK_MSEC(90), 0);
    CHECK_EQ(n.action, LK_JITTER_RECOVER);
    CHECK_EQ(n.frames, PACKET);
    CHECK(n.lost && n.packet && n.packet->seq == 4);
    n = lk_jitter_decide(&j, LK_MSEC(110), 0);
    CHECK(n.action == LK_JITTER_PLAY && n.packet->seq == 4);
out:
    lk_jitter_deinit(&j);
}

LK_TEST(a_pause_of_the_sender_is_no_loss)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 5; i++)
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
    if (lk_jitter_put(&j, 5, 5 * PACKET, PACKET, LK_MSEC(100), (lk_bytes){pause_mark, 1}, false) != LK_OK)
        goto out;
    lk_usec now = LK_MSEC(40);
    for (int i = 0; i < 6; i++, now += LK_MSEC(20))
        CHECK_EQ(lk_jitter_decide(&j, now, 0).action, LK_JITTER_PLAY);
    for (; now < LK_MSEC(400); now += LK_MSEC(10)) {
        lk_jitter_next n = lk_jitter_decide(&j, now, 0);
        CHECK_EQ(n.action, LK_JITTER_CONCEAL);
        CHECK(!n.lost);
    }
    /* The next number, 300 ms of media time later: played when its time has come, and nothing was lost. */
    if (lk_jitter_put(&j, 6, 20 * PACKET, PACKET, now, (lk_bytes){sound, sizeof sound}, false) != LK_OK)
        goto out;
    lk_usec resumed = now;
    lk_jitter_next n = {0};
    for (int i = 0; i < 10 && n.action != LK_JITTER_PLAY; i++, now += LK_MSEC(10)) {
        n = lk_jitter_decide(&j, now, 0);
        CHECK(n.action == LK_JITTER_PLAY || !n.lost);
    }
    CHECK_EQ(n.action, LK_JITTER_PLAY);
    CHECK(now - resumed <= LK_MSEC(60));
out:
    lk_jitter_deinit(&j);
}

LK_TEST(one_stray_packet_does_not_restart_the_stream_but_two_in_a_row_do)
{
    lk_jitter j;
    lk_bytes p = {sound, sizeof sound};
    lk_jitter_init(&j, env);
    for (int i = 0; i < 10; i++)
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
    CHECK_EQ(lk_jitter_put(&j, 20000, 5, PACKET, LK_MSEC(200), p, false), LK_ERR_STATE);
    CHECK_EQ(put(&j, 10, LK_MSEC(200)), LK_OK);
    CHECK_EQ(j.count, 11);
    CHECK_EQ(lk_jitter_put(&j, 40000, 0x80000000u, PACKET, LK_MSEC(220), p, false), LK_ERR_STATE);
    CHECK_EQ(lk_jitter_put(&j, 50000, 0x80000000u + PACKET, PACKET, LK_MSEC(220), p, false), LK_ERR_STATE); /* no successor */
    CHECK_EQ(lk_jitter_put(&j, 50001, 0x80000000u + 2 * PACKET, PACKET, LK_MSEC(240), p, false), LK_OK);
    CHECK_EQ(j.count, 1);
    CHECK_EQ(lk_jitter_put(&j, 50002, 0x80000000u + 3 * PACKET, PACKET, LK_MSEC(260), p, false), LK_OK);
    CHECK_EQ(lk_jitter_decide(&j, LK_MSEC(300), 0).action, LK_JITTER_PLAY);
out:
    lk_jitter_deinit(&j);
}

LK_TEST(it_holds_so_many_packets_and_then_drops_the_oldest)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < LK_JITTER_PACKETS_MAX + 44; i++) {
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
        CHECK(j.count <= LK_JITTER_PACKETS_MAX);
    }
    CHECK_EQ(j.count, LK_JITTER_PACKETS_MAX);
    CHECK_EQ(j.dropped, 44);
    CHECK_EQ(lk_jitter_waiting(&j), LK_JITTER_PACKETS_MAX * PACKET);
    CHECK_EQ(j.packets[0].seq, 44);
    CHECK_EQ(lk_jitter_put(&j, 300, 300 * PACKET, 0, 0, (lk_bytes){sound, 1}, false), LK_ERR_LIMIT);
out:
    lk_jitter_deinit(&j);
}

LK_TEST(a_listener_who_comes_late_hears_the_present)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 20; i++)
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
    CHECK_EQ(lk_jitter_decide(&j, LK_MSEC(390), 0).action, LK_JITTER_PLAY);
    CHECK(lk_jitter_delay(&j, LK_MSEC(390), PACKET) <= lk_jitter_target(&j) + LK_MSEC(20));
out:
    lk_jitter_deinit(&j);
}

LK_TEST(a_silent_stream_is_left_after_three_seconds_and_taken_up_again)
{
    lk_jitter j;
    lk_usec now = 0;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 10; i++, now += LK_MSEC(20))
        if (put(&j, i, now) != LK_OK)
            goto out;
    for (int i = 0; i < 10; i++)
        CHECK_EQ(lk_jitter_decide(&j, LK_MSEC(30 + 20 * i), 0).action, LK_JITTER_PLAY);
    int concealed = 0;
    for (; lk_jitter_decide(&j, now, 0).action == LK_JITTER_CONCEAL && concealed < 1000; now += LK_MSEC(10))
        concealed++;
    CHECK(concealed >= 299 && concealed <= 302);
    CHECK_EQ(lk_jitter_decide(&j, now, 0).action, LK_JITTER_WAIT);
    /* The sender's clock stood still meanwhile. */
    if (put(&j, 10, now) != LK_OK)
        goto out;
    CHECK_EQ(lk_jitter_decide(&j, now + LK_MSEC(40), 0).action, LK_JITTER_PLAY);
out:
    lk_jitter_deinit(&j);
}

LK_TEST(redundant_copies_fill_holes_and_are_no_duplicates)
{
    lk_jitter j;
    lk_bytes p = {sound, sizeof sound};
    lk_jitter_init(&j, env);
    CHECK_EQ(lk_jitter_put(&j, 0, 0, PACKET, 0, p, true), LK_ERR_STATE); /* nothing to fill yet */
    for (int i = 0; i < 50; i++) {
        if (i % 10 == 7)
            continue;
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
        lk_err err = lk_jitter_put(&j, (uint16_t)(i - 1), (uint32_t)(i - 1) * PACKET, PACKET, LK_MSEC(20 * i), p, true);
        if (!lk_test_oom())
            CHECK_EQ(err, i == 0 || i % 10 == 8 ? LK_OK : LK_ERR_STATE);
    }
    CHECK_EQ(j.duplicates, 0);
    CHECK_EQ(j.count, 51);
    CHECK(lk_jitter_target(&j) >= LK_MSEC(25)); /* what comes one packet later is waited for */
out:
    lk_jitter_deinit(&j);
}

/* A packet; the losses before it come with it: the last one as a copy, the one before that inside of the copy. */
static bool put_with_repairs(lk_jitter *j, int n, int lost, lk_usec now)
{
    lk_bytes p = {sound, sizeof sound};
    if (put(j, n, now) != LK_OK || (lost > 0 && lk_jitter_put(j, (uint16_t)(n - 1), (uint32_t)(n - 1) * PACKET, PACKET, now, p, true) != LK_OK))
        return false;
    if (lost > 1) {
        CHECK(lk_jitter_misses(j, (uint16_t)(n - 2)));
        lk_jitter_learn_repair(j, (uint16_t)(n - 2), (uint32_t)(n - 2) * PACKET, PACKET, now);
        CHECK(!lk_jitter_misses(j, (uint16_t)(n - 2)));
    }
    for (size_t have = 0; have < PACKET;)
        have += lk_jitter_decide(j, now, have).frames;
    return true;
}

LK_TEST(repairs_are_waited_for_while_there_are_some_and_for_no_longer)
{
    /* how many are lost of every 20, the least and the most the target may be afterwards */
    static const struct { int lost, least_msec, most_msec; } parts[] = {{0, 15, 15}, {1, 25, 35}, {2, 45, 55}, {0, 15, 15}};
    lk_jitter j;
    int n = 0;
    lk_jitter_init(&j, env);
    for (size_t i = 0; i < LK_LEN(parts); i++) {
        for (int until = n + 600; n < until; n++)
            if (n % 20 >= parts[i].lost && !put_with_repairs(&j, n, n % 20 == parts[i].lost ? parts[i].lost : 0, LK_MSEC(20 * n)))
                goto out;
        CHECK(lk_jitter_target(&j) >= LK_MSEC(parts[i].least_msec) && lk_jitter_target(&j) <= LK_MSEC(parts[i].most_msec));
    }
out:
    lk_jitter_deinit(&j);
}

LK_TEST(one_loss_in_a_while_is_not_waited_for)
{
    lk_jitter j;
    lk_jitter_init(&j, env);
    for (int n = 0; n < 3000; n++)
        if (n % 500 != 499 && !put_with_repairs(&j, n, n % 500 == 0 && n ? 1 : 0, LK_MSEC(20 * n)))
            break;
    if (!lk_test_oom())
        CHECK(lk_jitter_target(&j) <= LK_MSEC(20));
    lk_jitter_deinit(&j);
}

LK_TEST(steady_work_allocates_nothing)
{
    lk_jitter j;
    size_t before = 0;
    lk_jitter_init(&j, env);
    for (int i = 0; i < 2000; i++) {
        if (put(&j, i, LK_MSEC(20 * i)) != LK_OK)
            goto out;
        for (size_t have = 0; have < PACKET;)
            have += lk_jitter_decide(&j, LK_MSEC(20 * i), have).frames;
        if (i == 100)
            before = lk_test_alloc_count();
    }
    CHECK_EQ(lk_test_alloc_count(), before);
out:
    lk_jitter_deinit(&j);
}

/* ---- at work --------------------------------------------------------------------------------------------------- */

#define AIR 256

typedef enum shape { SPREAD_EVEN, SPREAD_NORMAL, SPREAD_EXPONENTIAL } shape;

typedef struct path {
    lk_prng prng;
    shape spread;
    bool in_order;
    double p95_msec; /* of the delay over the fastest */
    lk_usec last;
    double clock; /* the sender's, to ours */
    struct {
        int n;
        lk_usec at;
    } air[AIR];
    size_t count;
    int sent;
} path;

typedef struct player {
    lk_jitter j;
    size_t have; /* decoded */
    lk_usec stretch_after;
    uint64_t samples, concealed;
    bool heard;
} player;

static double even(path *p) { return (double)(lk_prng_next(&p->prng) >> 11) / 9007199254740992.0; }

static double delay_msec(path *p)
{
    double u = even(p);
    switch (p->spread) {
    case SPREAD_EVEN: return u * p->p95_msec / 0.95;
    case SPREAD_NORMAL: { /* around 0.6 of it, cut at both ends: the 95th percentile is where it should be */
        double z = sqrt(-2 * log(1 - u)) * cos(2 * M_PI * even(p));
        return LK_CLAMP(p->p95_msec * (0.6 + 0.4 * z / 1.645), 0.0, 2 * p->p95_msec);
    }
    case SPREAD_EXPONENTIAL: break;
    }
    return -log(1 - u) * p->p95_msec / 2.9957; /* ln 20 */
}

static void send(path *p, lk_usec now)
{
    lk_usec at = now + 20000 + (lk_usec)(delay_msec(p) * 1000);
    if (p->in_order)
        at = LK_MAX(at, p->last);
    p->last = at;
    if (p->count < AIR) {
        p->air[p->count].n = p->sent;
        p->air[p->count++].at = at;
    }
    p->sent++;
}

static void land(path *p, lk_jitter *j, lk_usec now)
{
    for (;;) {
        size_t first = p->count;
        for (size_t i = 0; i < p->count; i++)
            if (p->air[i].at <= now && (first == p->count || p->air[i].at < p->air[first].at ||
                                        (p->air[i].at == p->air[first].at && p->air[i].n < p->air[first].n)))
                first = i;
        if (first == p->count)
            return;
        (void)put(j, p->air[first].n, p->air[first].at);
        p->air[first] = p->air[--p->count];
    }
}

static void play(player *y, lk_usec now)
{
    lk_usec off = lk_jitter_steer(&y->j, now, y->have);
    bool may = now >= y->stretch_after, missing = false;
    if (off > 0 && may && y->have + lk_jitter_waiting(&y->j) >= 1440) {
        while (y->have < 1440)
            y->have += lk_jitter_decide(&y->j, now, y->have).frames;
        y->have -= 336;
        y->stretch_after = now + LK_MSEC(30);
    }
    while (y->have < 480) {
        lk_jitter_next n = lk_jitter_decide(&y->j, now, y->have);
        y->have += n.frames;
        y->heard |= n.action == LK_JITTER_PLAY;
        missing = n.lost;
        y->concealed += n.lost && y->heard ? n.frames : 0;
    }
    if (may && !missing && lk_jitter_steer(&y->j, now, y->have) < 0) {
        y->have += 336;
        y->stretch_after = now + LK_MSEC(30);
    }
    y->have -= 480;
    y->samples += 480;
}

static void run(path *p, player *y, lk_usec from, lk_usec to)
{
    for (lk_usec now = from; now < to; now += 1000) {
        while ((double)p->sent * 20000 * p->clock <= (double)now)
            send(p, now);
        land(p, &y->j, now);
        if (now % 10000 == 0)
            play(y, now);
    }
}

static void path_init(path *p, player *y, const lk_env *env, shape spread, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    memset(y, 0, sizeof *y);
    p->spread = spread;
    p->p95_msec = 2;
    p->clock = 1;
    lk_prng_init(&p->prng, seed);
    lk_jitter_init(&y->j, env);
}

/* Mean over the second from 5 s after the change; the percentile is that of the distribution. */
static double target_after_change(path *p, player *y, lk_usec *now, double p95_msec)
{
    double sum = 0;
    p->p95_msec = p95_msec;
    run(p, y, *now, *now + LK_SEC(5));
    for (int i = 0; i < 50; i++) {
        run(p, y, *now + LK_SEC(5) + LK_MSEC(20 * i), *now + LK_SEC(5) + LK_MSEC(20 * (i + 1)));
        sum += (double)lk_jitter_target(&y->j) / 1000;
    }
    *now += LK_SEC(6);
    return sum / 50;
}

LK_TEST(five_seconds_after_any_change_the_target_is_within_20_ms_of_the_95th_percentile)
{
    static const double steps[] = {60, 10, 120, 40, 5, 80, 80, 20, 150, 30};
    for (int spread = SPREAD_EVEN; spread <= SPREAD_NORMAL; spread++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            path p;
            player y;
            lk_usec now = 0;
            path_init(&p, &y, env, (shape)spread, seed);
            for (size_t i = 0; i < LK_LEN(steps); i++) {
                double target = target_after_change(&p, &y, &now, steps[i]);
                if (!lk_test_oom() && !CHECK(fabs(target - steps[i]) <= 20))
                    CHECK_EQ(target, steps[i]); /* says which */
            }
            lk_jitter_deinit(&y.j);
            if (lk_test_oom())
                return;
        }
    }
}

LK_TEST(at_60_ms_of_jitter_less_than_two_per_cent_are_concealed)
{
    for (int spread = SPREAD_EVEN; spread <= SPREAD_EXPONENTIAL; spread++) {
        for (int in_order = 0; in_order < 2; in_order++) {
            for (uint64_t seed = 1; seed <= 5; seed++) {
                path p;
                player y;
                path_init(&p, &y, env, (shape)spread, seed);
                p.in_order = in_order;
                p.p95_msec = 60;
                run(&p, &y, 0, LK_SEC(30));
                if (!lk_test_oom() && !CHECK((double)y.concealed < 0.02 * (double)y.samples))
                    CHECK_EQ(y.concealed, spread * 10 + in_order);
                lk_jitter_deinit(&y.j);
                if (lk_test_oom())
                    return;
            }
        }
    }
}

LK_TEST(on_a_clean_path_the_delay_stays_below_25_ms_and_nothing_is_concealed)
{
    static const double clocks[] = {1, 1.0005, 0.9995}; /* 500 ppm: more than any real clock is off */
    for (size_t i = 0; i < LK_LEN(clocks); i++) {
        path p;
        player y;
        path_init(&p, &y, env, SPREAD_EVEN, 1);
        p.clock = clocks[i];
        run(&p, &y, 0, LK_SEC(5));
        for (lk_usec now = LK_SEC(5); now < LK_SEC(60); now += LK_SEC(1)) {
            run(&p, &y, now, now + LK_SEC(1));
            if (!lk_test_oom())
                CHECK(lk_jitter_delay(&y.j, now + LK_SEC(1) - 1000, y.have) < LK_MSEC(25));
        }
        if (!lk_test_oom())
            CHECK_EQ(y.concealed, 0);
        lk_jitter_deinit(&y.j);
        if (lk_test_oom())
            return;
    }
}

LK_TEST(the_delay_comes_back_within_five_seconds_after_bad_times)
{
    path p;
    player y;
    path_init(&p, &y, env, SPREAD_EXPONENTIAL, 3);
    p.p95_msec = 150;
    run(&p, &y, 0, LK_SEC(20));
    p.p95_msec = 2;
    run(&p, &y, LK_SEC(20), LK_SEC(25));
    if (!lk_test_oom())
        CHECK(lk_jitter_delay(&y.j, LK_SEC(25) - 1000, y.have) < LK_MSEC(40));
    lk_jitter_deinit(&y.j);
}

LK_TEST(sound_that_comes_in_one_heap_after_a_gap_is_heard_within_60_ms)
{
    path p;
    player y;
    path_init(&p, &y, env, SPREAD_EVEN, 4);
    run(&p, &y, 0, LK_SEC(5));
    /* For 2 s everything is held up. */
    for (lk_usec now = LK_SEC(5); now < LK_SEC(7); now += 10000) {
        if (now % 20000 == 0)
            p.sent++;
        play(&y, now);
    }
    int first = p.sent - 100;
    for (int i = 0; i < 100; i++)
        (void)put(&y.j, first + i, LK_SEC(7));
    uint64_t before = y.concealed;
    run(&p, &y, LK_SEC(7), LK_SEC(8));
    if (!lk_test_oom())
        CHECK(y.concealed - before <= 48 * 60);
    run(&p, &y, LK_SEC(8), LK_SEC(20));
    if (!lk_test_oom())
        CHECK(lk_jitter_delay(&y.j, LK_SEC(20) - 1000, y.have) < LK_MSEC(60));
    lk_jitter_deinit(&y.j);
}
