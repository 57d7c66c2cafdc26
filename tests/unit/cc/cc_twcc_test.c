// SPDX-License-Identifier: Apache-2.0
#include "cc/twcc.h"
#include "lk_test.h"

static bool parse(lk_rtcp_packet *p, const uint8_t *data, size_t len)
{
    lk_rtcp_reader r;
    lk_rtcp_begin(&r, data, len);
    return lk_rtcp_next(&r, p) && p->kind == LK_RTCP_KIND_TWCC;
}

LK_TEST(what_the_recorder_saw_is_what_the_sender_learns)
{
    lk_twcc_recorder r;
    lk_twcc_history h;
    uint8_t buf[1500];
    static lk_twcc_result results[4096];
    lk_prng prng;
    lk_prng_init(&prng, 3);
    lk_twcc_recorder_init(&r, env);
    lk_twcc_history_init(&h, env, 65000);
    lk_usec now = LK_SEC(1000), offset = 0;
    size_t sent = 0, received = 0, told = 0, told_received = 0, wrong = 0;
    bool dead = false;
    for (int i = 0; i < 2000 && !dead; i++, now += LK_MSEC(1)) {
        uint16_t seq = lk_twcc_history_send(&h, now, 100);
        sent++;
        if (lk_prng_next(&prng) % 5) {
            dead = lk_twcc_recorder_receive(&r, now + LK_MSEC(30) + (lk_usec)(lk_prng_next(&prng) % 5000), seq) != LK_OK;
            received++;
        }
        for (;;) {
            lk_wr w = lk_wr_of(buf, sizeof buf);
            lk_rtcp_packet p;
            if (!lk_twcc_recorder_write(&r, now, i == 1999, 1, 2, &w))
                break;
            CHECK(w.len <= 1200 && w.len % 4 == 0);
            if (!CHECK(parse(&p, buf, w.len)))
                break;
            CHECK(p.sender == 1 && p.media == 2);
            size_t n = lk_twcc_history_feedback(&h, &p, results, LK_LEN(results));
            told += n;
            for (size_t k = 0; k < n; k++) {
                told_received += results[k].received;
                lk_usec d = results[k].arrived_at - results[k].sent_at;
                offset = offset ? offset : d;
                wrong += results[k].received && (d < offset - 5500 || d > offset + 5500);
            }
        }
    }
    if (!dead && h.sent) {
        CHECK(sent == 2000 && told >= 1980 && told <= 2000);
        CHECK_EQ(told_received, received);
        CHECK_EQ(wrong, 0);
    }
    lk_twcc_recorder_deinit(&r);
    lk_twcc_history_deinit(&h);
}

LK_TEST(a_late_packet_is_told_in_the_next_feedback)
{
    lk_twcc_recorder r;
    uint8_t buf[1500];
    lk_rtcp_packet p;
    lk_twcc_reader reader;
    lk_twcc_status s;
    lk_twcc_recorder_init(&r, env);
    CHECK_EQ(lk_twcc_recorder_deadline(&r), LK_NEVER);
    if (lk_twcc_recorder_receive(&r, 1000, 10) == LK_OK) {
        CHECK_OK(lk_twcc_recorder_receive(&r, 2000, 12));
        CHECK_EQ(lk_twcc_recorder_deadline(&r), 1000 + LK_TWCC_INTERVAL_USEC);
        lk_wr w = lk_wr_of(buf, sizeof buf);
        CHECK(!lk_twcc_recorder_write(&r, 3000, false, 1, 2, &w));
        CHECK(lk_twcc_recorder_write(&r, 3000, true, 1, 2, &w));
        CHECK_EQ(lk_twcc_recorder_deadline(&r), LK_NEVER);
        CHECK_OK(lk_twcc_recorder_receive(&r, 4000, 11));
        w = lk_wr_of(buf, sizeof buf);
        CHECK(lk_twcc_recorder_write(&r, LK_SEC(1), false, 1, 2, &w));
        if (CHECK(parse(&p, buf, w.len)) && CHECK_OK(lk_twcc_read(&reader, &p))) {
            CHECK_EQ(reader.left, 2);
            CHECK(lk_twcc_next(&reader, &s) && s.seq == 11 && s.received && s.at_250us == 16);
            CHECK(lk_twcc_next(&reader, &s) && s.seq == 12 && s.received && s.at_250us == 8);
            CHECK(!lk_twcc_next(&reader, &s));
        }
    }
    lk_twcc_recorder_deinit(&r);
}

LK_TEST(a_pause_longer_than_a_delta_can_say_splits_the_feedback)
{
    lk_twcc_recorder r;
    uint8_t buf[1500];
    lk_twcc_recorder_init(&r, env);
    if (lk_twcc_recorder_receive(&r, 0, 0) == LK_OK) {
        CHECK_OK(lk_twcc_recorder_receive(&r, LK_SEC(9), 1));
        CHECK_OK(lk_twcc_recorder_receive(&r, LK_SEC(9), 6000)); /* past the window */
        int n = 0;
        for (;; n++) {
            lk_wr w = lk_wr_of(buf, sizeof buf);
            if (!lk_twcc_recorder_write(&r, LK_SEC(10), false, 1, 2, &w))
                break;
        }
        CHECK(n >= 1 && n < 5);
    }
    lk_twcc_recorder_deinit(&r);
}
