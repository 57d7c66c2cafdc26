// SPDX-License-Identifier: Apache-2.0
#include "cc/pacer.h"
#include "lk_test.h"

static char packets[4096];

LK_TEST(an_empty_pacer_sleeps)
{
    lk_pacer p;
    lk_pacer_class c;
    void *packet;
    lk_pacer_init(&p, env, NULL, 0);
    CHECK_EQ(lk_pacer_deadline(&p), LK_NEVER);
    CHECK(!lk_pacer_poll(&p, LK_SEC(5), &c, &packet) && !lk_pacer_pop(&p, &packet));
    CHECK_EQ(lk_pacer_deadline(&p), LK_NEVER);
    lk_pacer_deinit(&p);
}

LK_TEST(video_leaves_at_the_rate_and_audio_never_waits_behind_it)
{
    lk_pacer p;
    lk_pacer_class c;
    void *packet;
    lk_pacer_init(&p, env, &(lk_pacer_config){.rate_bps = 1000000}, 0);
    size_t pushed = 0, video = 0;
    for (; pushed < 100; pushed++) { /* 100 kB: at most a second */
        if (lk_pacer_push(&p, 0, LK_PACER_VIDEO, &packets[pushed], 1000) != LK_OK)
            break;
    }
    lk_usec now = 0;
    while (lk_pacer_deadline(&p) != LK_NEVER) {
        lk_usec next = lk_pacer_deadline(&p);
        CHECK(next >= now);
        now = LK_MAX(next, now);
        if (lk_pacer_push(&p, now, LK_PACER_AUDIO, packets + 4000, 100) == LK_OK) {
            CHECK(lk_pacer_poll(&p, now, &c, &packet) && c == LK_PACER_AUDIO);
        }
        for (bool first = true; lk_pacer_poll(&p, now, &c, &packet); first = false) {
            CHECK(c == LK_PACER_VIDEO && packet == &packets[video]);
            video++;
            CHECK(first || now > 0); /* no burst at the start */
        }
    }
    CHECK_EQ(video, pushed);
    if (pushed == 100) /* 800 kbit of video and the audio packets that went between */
        CHECK(now > LK_MSEC(780) && now < LK_MSEC(1100));
    lk_pacer_deinit(&p);
}

LK_TEST(a_full_class_refuses_and_the_order_of_classes_holds)
{
    lk_pacer p;
    lk_pacer_class c;
    void *packet;
    lk_pacer_init(&p, env, &(lk_pacer_config){.packets_max = {1, 1, 1, 1}}, 0);
    static const lk_pacer_class order[] = {LK_PACER_PADDING, LK_PACER_VIDEO, LK_PACER_RETRANSMIT, LK_PACER_AUDIO};
    for (size_t i = 0; i < 4; i++) {
        if (lk_pacer_push(&p, 0, order[i], packets, 10) == LK_OK)
            CHECK_EQ(lk_pacer_push(&p, 0, order[i], packets, 10), LK_ERR_FULL);
    }
    int last = -1;
    while (lk_pacer_poll(&p, 0, &c, &packet)) {
        CHECK((int)c > last);
        last = (int)c;
    }
    CHECK_EQ(lk_pacer_count(&p), 0);
    lk_pacer_deinit(&p);
}

LK_TEST(a_long_queue_is_out_in_two_seconds_or_so)
{
    lk_pacer p;
    lk_pacer_class c;
    void *packet;
    lk_pacer_init(&p, env, &(lk_pacer_config){.rate_bps = 10000}, 0);
    for (size_t i = 0; i < 1000; i++) {
        if (lk_pacer_push(&p, 0, LK_PACER_VIDEO, packets, 1200) != LK_OK)
            break;
    }
    lk_usec now = 0;
    while (lk_pacer_count(&p) > 100 && now < LK_SEC(60)) {
        now = LK_MAX(lk_pacer_deadline(&p), now);
        while (lk_pacer_poll(&p, now, &c, &packet))
            ;
    }
    CHECK(now < LK_SEC(6));
    while (lk_pacer_pop(&p, &packet))
        ;
    CHECK(p.queued_bytes == 0 && lk_pacer_deadline(&p) == LK_NEVER);
    lk_pacer_deinit(&p);
}

LK_TEST(bursts_are_bounded_wake_ups_are_5_ms_apart_and_the_rate_is_kept)
{
    static const uint64_t rates[] = {100000, 375000, 1000000, 1800000, 2500000, 4000000, 10000000, 50000000};
    for (size_t i = 0; i < LK_LEN(rates) && !lk_test_oom(); i++) {
        for (lk_usec late = 0; late <= LK_MSEC(2); late += LK_MSEC(1)) {
            lk_pacer p;
            lk_pacer_class c;
            void *packet;
            lk_prng prng;
            lk_prng_init(&prng, i);
            lk_pacer_init(&p, env, &(lk_pacer_config){.rate_bps = rates[i]}, 0);
            uint64_t sent = 0, worst = 0, wakes = 0, allowed = LK_MAX(rates[i] / 1000, 1200); /* 8 ms */
            lk_usec now = 0;
            while (now < LK_SEC(10)) {
                while (p.queued_bytes < LK_MIN(rates[i] / 16, 200000)) { /* waits half a second at most: changes no rate */
                    size_t bytes = 200 + lk_prng_next(&prng) % 1001;
                    if (!CHECK_OK(lk_pacer_push(&p, now, LK_PACER_VIDEO, (void *)(uintptr_t)bytes, bytes)))
                        break;
                }
                uint64_t burst = 0;
                while (lk_pacer_poll(&p, now, &c, &packet))
                    burst += (uintptr_t)packet;
                worst = LK_MAX(worst, burst);
                sent += burst;
                wakes++;
                lk_usec next = lk_pacer_deadline(&p);
                if (!CHECK(next >= now + LK_PACER_WAKE_USEC))
                    break;
                now = next + late;
            }
            CHECK(worst <= allowed);
            CHECK(wakes <= 2001);
            uint64_t bps = sent * 8 / 10;
            CHECK(bps <= rates[i] * 101 / 100 + 2000);
            if (!CHECK(bps >= rates[i] * (late < LK_MSEC(2) ? 93 : 80) / 100))
                CHECK_EQ(bps, rates[i]);
            while (lk_pacer_pop(&p, &packet))
                ;
            lk_pacer_deinit(&p);
        }
    }
}

LK_TEST(audio_beyond_the_rate_does_not_lock_video_out_for_long)
{
    lk_pacer p;
    lk_pacer_class c;
    void *packet;
    lk_pacer_init(&p, env, &(lk_pacer_config){.rate_bps = 30000}, 0);
    bool full = true;
    for (lk_usec now = 0; now < LK_SEC(10); now += LK_MSEC(20)) { /* 80 kbit/s */
        full = lk_pacer_push(&p, now, LK_PACER_AUDIO, packets, 200) == LK_OK && full;
        while (lk_pacer_poll(&p, now, &c, &packet))
            ;
    }
    if (lk_pacer_push(&p, LK_SEC(10), LK_PACER_VIDEO, packets, 1200) == LK_OK)
        CHECK(lk_pacer_deadline(&p) <= LK_SEC(10) + LK_MSEC(200));
    CHECK(full || lk_test_oom());
    while (lk_pacer_pop(&p, &packet))
        ;
    lk_pacer_deinit(&p);
}

LK_TEST(whoever_else_wakes_us_bursts_stay_apart)
{
    static const uint64_t rates[] = {300000, 1250000, 6000000};
    for (size_t i = 0; i < LK_LEN(rates) && !lk_test_oom(); i++) {
        lk_pacer p;
        lk_pacer_class c;
        void *packet;
        uint64_t last[5] = {0}, sent = 0, worst = 0;
        lk_pacer_init(&p, env, &(lk_pacer_config){.rate_bps = rates[i]}, 0);
        for (size_t k = 0; k < 10000; k++) { /* a wake-up every millisecond */
            while (p.queued_bytes < rates[i] / 16)
                CHECK_OK(lk_pacer_push(&p, (lk_usec)k * 1000, LK_PACER_VIDEO, (void *)(uintptr_t)1100, 1100));
            last[k % 5] = 0;
            while (lk_pacer_poll(&p, (lk_usec)k * 1000, &c, &packet))
                last[k % 5] += (uintptr_t)packet;
            sent += last[k % 5];
            worst = LK_MAX(worst, last[0] + last[1] + last[2] + last[3] + last[4]);
        }
        CHECK(worst <= LK_MAX(rates[i] / 1000, 1100));
        CHECK(sent * 8 / 10 >= rates[i] * 95 / 100 && sent * 8 / 10 <= rates[i] * 101 / 100);
        while (lk_pacer_pop(&p, &packet))
            ;
        lk_pacer_deinit(&p);
    }
}
