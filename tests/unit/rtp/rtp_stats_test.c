// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "rtp/rtp_stats.h"

#define TICKS 960 /* 20 ms at 48 kHz */

static void receive(lk_rtp_stats *s, lk_usec now, uint16_t seq, uint32_t ts) { lk_rtp_stats_receive(s, now, seq, ts, 100, 12, 0, false); }

LK_TEST(an_even_stream_has_no_loss_and_no_jitter)
{
    lk_rtp_stats s;
    lk_rtp_stats_init(&s, 48000);
    for (unsigned i = 0; i < 2000; i++)
        receive(&s, LK_SEC(5000000) + LK_MSEC(20) * i, (uint16_t)(65000 + i), 0xffffff00u + TICKS * i);
    lk_rtcp_report r = lk_rtp_stats_report(&s, 0, 9);
    CHECK(r.ssrc == 9 && r.fraction_lost == 0 && r.total_lost == 0 && r.jitter == 0 && r.lsr == 0 && r.dlsr == 0);
    CHECK_EQ(r.highest_seq, 65000 + 1999); /* one cycle in the upper half */
    CHECK(s.received == 2000 && s.bytes == 200000 && s.header_bytes == 24000);
}

LK_TEST(loss_is_told_per_interval_and_in_all)
{
    lk_rtp_stats s;
    lk_rtp_stats_init(&s, 48000);
    for (unsigned i = 0; i < 100; i++)
        if (i % 4)
            receive(&s, LK_MSEC(20) * i, (uint16_t)i, TICKS * i);
    lk_rtcp_report r = lk_rtp_stats_report(&s, LK_SEC(2), 1);
    CHECK_EQ(r.total_lost, 24); /* the first that arrived was number 1 */
    CHECK_EQ(r.fraction_lost, 24 * 256 / 99);
    for (unsigned i = 100; i < 200; i++)
        receive(&s, LK_MSEC(20) * i, (uint16_t)i, TICKS * i);
    r = lk_rtp_stats_report(&s, LK_SEC(4), 1);
    CHECK_EQ(r.total_lost, 24);
    CHECK_EQ(r.fraction_lost, 0);
    for (unsigned i = 0; i < 50; i++) /* duplicates outnumber what was lost */
        receive(&s, LK_SEC(4), 199, TICKS * 199);
    r = lk_rtp_stats_report(&s, LK_SEC(5), 1);
    CHECK_EQ(r.total_lost, -26);
    CHECK_EQ(r.fraction_lost, 0);
}

LK_TEST(a_packet_before_the_first_one_is_no_loss_of_65000)
{
    lk_rtp_stats s;
    lk_rtp_stats_init(&s, 48000);
    receive(&s, 0, 0, 0);
    receive(&s, LK_MSEC(1), 65535, 0u - TICKS);
    receive(&s, LK_MSEC(20), 1, TICKS);
    CHECK_EQ(lk_rtp_stats_lost(&s), -1);
    CHECK_EQ(lk_rtp_stats_report(&s, LK_MSEC(30), 1).highest_seq, 1);
}

LK_TEST(jitter_follows_the_formula_and_a_resent_packet_leaves_it_alone)
{
    lk_rtp_stats s;
    lk_rtp_stats_init(&s, 48000);
    for (unsigned i = 0; i < 1000; i++) /* every second packet 10 ms late: D is 480 ticks each time */
        receive(&s, LK_MSEC(20) * i + LK_MSEC(10) * (i % 2), (uint16_t)i, TICKS * i);
    uint32_t before = lk_rtp_stats_report(&s, LK_SEC(20), 1).jitter;
    CHECK(before >= 470 && before <= 480);
    /* Resent half a second late; the next one in time must not look half a second early. */
    lk_rtp_stats_receive(&s, LK_MSEC(20) * 1000, 975, TICKS * 975, 100, 12, 0, true);
    receive(&s, LK_MSEC(20) * 1001 + LK_MSEC(10), 1001, TICKS * 1001);
    CHECK(lk_rtp_stats_report(&s, LK_SEC(21), 1).jitter <= before);
}

LK_TEST(the_delay_since_the_sender_report_is_in_65536ths)
{
    lk_rtp_stats s;
    lk_rtp_stats_init(&s, 48000);
    receive(&s, LK_SEC(1), 1, 1);
    lk_rtp_stats_on_sr(&s, LK_SEC(2), 0x1122334455667788ull);
    lk_rtcp_report r = lk_rtp_stats_report(&s, LK_MSEC(3500), 1);
    CHECK_EQ(r.lsr, 0x33445566);
    CHECK_EQ(r.dlsr, 3 * 65536 / 2);
}
