// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "nack/nack.h"
#include "rtp/rtp.h"

LK_TEST(a_gap_is_asked_for_after_a_moment_for_reordering_then_an_rtt_apart)
{
    lk_nack_generator g;
    uint16_t seqs[8];
    lk_nack_generator_init(&g);
    lk_nack_generator_set_rtt(&g, LK_MSEC(60));
    CHECK_EQ(lk_nack_generator_deadline(&g), LK_NEVER);
    lk_nack_generator_receive(&g, 0, 65534);
    lk_nack_generator_receive(&g, 1000, 1);
    CHECK_EQ(lk_nack_generator_deadline(&g), 1000 + LK_MSEC(20));
    CHECK_EQ(lk_nack_generator_collect(&g, 1000, seqs, 8), 0);
    lk_nack_generator_receive(&g, 5000, 0); /* was only late */
    CHECK_EQ(lk_nack_generator_collect(&g, LK_MSEC(21), seqs, 8), 1);
    CHECK_EQ(seqs[0], 65535);
    CHECK_EQ(lk_nack_generator_deadline(&g), 98500); /* 1.125 RTT and 10 ms later */
    CHECK_EQ(lk_nack_generator_collect(&g, 98500, seqs, 8), 1);
    CHECK_EQ(lk_nack_generator_deadline(&g), 98500 + 77500);
    CHECK_EQ(lk_nack_generator_collect(&g, 176000, seqs, 8), 1);
    CHECK_EQ(lk_nack_generator_deadline(&g), 176000 + 96875); /* x 1.25 */
    lk_nack_generator_receive(&g, LK_MSEC(190), 65535);
    CHECK_EQ(lk_nack_generator_deadline(&g), LK_NEVER);
    CHECK(g.requested == 3 && g.recovered == 1 && g.given_up == 0);
}

LK_TEST(what_never_comes_is_given_up)
{
    lk_nack_generator g;
    uint16_t seqs[LK_NACK_OUTSTANDING_MAX];
    lk_nack_generator_init(&g);
    lk_nack_generator_set_rtt(&g, LK_MSEC(20));
    lk_nack_generator_receive(&g, 0, 10);
    lk_nack_generator_receive(&g, 0, 12);
    size_t asked = 0;
    for (int turn = 0; lk_nack_generator_deadline(&g) != LK_NEVER && turn < 100; turn++)
        asked += lk_nack_generator_collect(&g, lk_nack_generator_deadline(&g), seqs, LK_LEN(seqs));
    CHECK(asked >= 5 && asked <= LK_NACK_TRIES_MAX);
    CHECK(g.given_up == 1 && g.count == 0);
}

LK_TEST(a_long_loss_keeps_only_the_newest_and_a_jump_starts_over)
{
    lk_nack_generator g;
    uint16_t seqs[512];
    lk_nack_generator_init(&g);
    lk_nack_generator_receive(&g, 0, 0);
    lk_nack_generator_receive(&g, 0, 60);
    lk_nack_generator_receive(&g, 0, 561);
    CHECK_EQ(g.count, LK_NACK_OUTSTANDING_MAX);
    CHECK_EQ(lk_nack_generator_collect(&g, LK_SEC(1), seqs, 512), LK_NACK_OUTSTANDING_MAX);
    CHECK(seqs[0] == 461 && seqs[99] == 560);
    lk_nack_generator_receive(&g, 0, 20000);
    CHECK_EQ(lk_nack_generator_deadline(&g), LK_NEVER);
    lk_nack_generator_receive(&g, 0, 20000);
    lk_nack_generator_receive(&g, 0, 19999);
    CHECK_EQ(g.count, 0);
}

static size_t packet(uint8_t *out, uint16_t seq, size_t payload)
{
    lk_wr w = lk_wr_of(out, LK_RTP_PACKET_MAX);
    uint8_t level = 20;
    lk_rtp_ext_out ext = {1, 1, &level};
    lk_rtp_write_header(&w, 111, true, seq, 1000u + seq, 0x11223344, &ext, 1);
    for (size_t i = 0; i < payload; i++)
        lk_wr_u8(&w, (uint8_t)(seq + i));
    return w.len;
}

LK_TEST(plain_resend_gives_the_very_same_bytes)
{
    lk_nack_history h;
    uint8_t a[LK_RTP_PACKET_MAX], b[LK_RTP_PACKET_MAX];
    lk_nack_history_init(&h, env, &(lk_nack_history_config){.packets_max = 100, .bytes_max = 20000});
    for (unsigned i = 0; i < 100; i++)
        lk_nack_history_store(&h, (lk_usec)i * 1000, a, packet(a, (uint16_t)(65500 + i), 100));
    size_t n = packet(a, 65535, 100), m;
    lk_nack_history_begin(&h);
    m = lk_nack_history_resend(&h, LK_MSEC(100), 65535, b, sizeof b);
    if (m || !lk_test_oom()) {
        CHECK_MEM(a, n, b, m);
        CHECK_EQ(lk_nack_history_resend(&h, LK_MSEC(110), 65535, b, sizeof b), 0); /* less than an RTT ago */
        CHECK_EQ(lk_nack_history_resend(&h, LK_MSEC(210), 65535, b, sizeof b), n);
        CHECK_EQ(lk_nack_history_resend(&h, LK_MSEC(210), 64, b, sizeof b), 0); /* never sent */
        CHECK_EQ(lk_nack_history_resend(&h, LK_SEC(3), 60, b, sizeof b), 0);   /* too old */
        CHECK_EQ(lk_nack_history_resend(&h, LK_MSEC(210), 62, b, 10), 0);      /* no room */
    }
    lk_nack_history_deinit(&h);
}

LK_TEST(rtx_carries_the_original_and_comes_back_whole)
{
    lk_nack_history h;
    uint8_t a[LK_RTP_PACKET_MAX], b[LK_RTP_PACKET_MAX], c[LK_RTP_PACKET_MAX];
    lk_nack_history_init(&h, env, &(lk_nack_history_config){.has_rtx = true, .rtx_pt = 97, .rtx_ssrc = 5, .rtx_first_seq = 65535});
    size_t n = packet(a, 7, 333);
    lk_nack_history_store(&h, 0, a, n);
    size_t m = lk_nack_history_resend(&h, LK_MSEC(50), 7, b, sizeof b);
    lk_rtp_packet p;
    if (m && CHECK_OK(lk_rtp_parse(&p, b, m))) {
        CHECK(p.pt == 97 && p.ssrc == 5 && p.seq == 65535 && p.marker && p.ts == 1007);
        CHECK_EQ(p.payload_len, 335);
        size_t k = lk_nack_unwrap_rtx(c, sizeof c, b, m, 111, 0x11223344);
        CHECK_MEM(a, n, c, k);
        CHECK_EQ(h.rtx_seq, 0);
        CHECK_EQ(lk_nack_unwrap_rtx(c, sizeof c, a, 20, 1, 1), 0);
    }
    lk_nack_history_deinit(&h);
}

LK_TEST(requests_cannot_make_us_send_more_than_a_quarter_again)
{
    lk_nack_history h;
    uint8_t a[LK_RTP_PACKET_MAX];
    uint64_t sent = 0;
    lk_nack_history_init(&h, env, &(lk_nack_history_config){.packets_max = 1024, .bytes_max = 1 << 20});
    for (unsigned i = 0; i < 3000; i++) {
        lk_usec now = (lk_usec)i * 5000;
        size_t n = packet(a, (uint16_t)i, 1000);
        lk_nack_history_store(&h, now, a, n);
        sent += n;
        lk_nack_history_begin(&h);
        for (unsigned k = 0; k < 64; k++)
            (void)lk_nack_history_resend(&h, now, (uint16_t)(i - k), a, sizeof a);
    }
    CHECK(h.resent_bytes <= sent / 4 + 6000);
    CHECK(h.refused > 0 || lk_test_oom());
    lk_nack_history_deinit(&h);
}

LK_TEST(steady_state_allocates_nothing)
{
    lk_nack_history h;
    uint8_t a[LK_RTP_PACKET_MAX];
    lk_nack_history_init(&h, env, &(lk_nack_history_config){.packets_max = 64});
    CHECK_EQ(lk_test_alloc_count(), 0);
    lk_nack_history_store(&h, 0, a, packet(a, 0, 500));
    size_t before = lk_test_alloc_count();
    for (unsigned i = 1; i < 500; i++)
        lk_nack_history_store(&h, 0, a, packet(a, (uint16_t)i, 500 + i));
    CHECK(lk_test_alloc_count() == before || lk_test_oom());
    lk_nack_history_deinit(&h);
}

/* ---- both ends over a path that loses ------------------------------------------------------------------ */

typedef struct path {
    lk_prng prng;
    lk_usec delay, jitter;
    unsigned loss_permille;
    struct {
        lk_usec at;
        size_t len; /* 0: slot is free */
        uint8_t data[200];
    } flying[512];
} path;

static void path_send(path *p, lk_usec now, const uint8_t *data, size_t len)
{
    if (lk_prng_next(&p->prng) % 1000 < p->loss_permille)
        return;
    for (size_t i = 0; i < LK_LEN(p->flying); i++) {
        if (p->flying[i].len)
            continue;
        p->flying[i].at = now + p->delay + (lk_usec)(lk_prng_next(&p->prng) % (uint64_t)p->jitter);
        p->flying[i].len = len;
        memcpy(p->flying[i].data, data, len);
        return;
    }
    CHECK(!"the path is full");
}

static size_t path_arrive(path *p, lk_usec now, uint8_t *data)
{
    for (size_t i = 0; i < LK_LEN(p->flying); i++) {
        size_t len = p->flying[i].len;
        if (!len || p->flying[i].at > now)
            continue;
        memcpy(data, p->flying[i].data, len);
        p->flying[i].len = 0;
        return len;
    }
    return 0;
}

typedef struct repair {
    unsigned lost, within_wait; /* packets whose first copy was lost; those that came within three RTT and 200 ms */
    uint64_t requested;
} repair;

/* 200 packets a second for 20 s; media one way, requests the other, both lose. */
static repair repair_run(lk_env *env, uint64_t seed, lk_usec rtt, unsigned loss_permille)
{
    enum { COUNT = 4000 };
    static path there, back;
    static lk_usec arrived[COUNT], due[COUNT];
    repair r = {0};
    lk_nack_generator g;
    lk_nack_history h;
    uint8_t data[LK_RTP_PACKET_MAX];
    there = (path){.delay = rtt / 2, .jitter = LK_MSEC(8), .loss_permille = loss_permille};
    back = there;
    lk_prng_init(&there.prng, seed);
    lk_prng_init(&back.prng, seed + 1000);
    lk_nack_generator_init(&g);
    lk_nack_generator_set_rtt(&g, rtt);
    lk_nack_history_init(&h, env, &(lk_nack_history_config){.packets_max = 1024, .bytes_max = 1 << 18});
    lk_nack_history_set_rtt(&h, rtt + LK_MSEC(16)); /* a report's round trip includes the jitter */
    for (lk_usec now = 0; now < LK_SEC(22); now += LK_MSEC(1)) {
        if (now % LK_MSEC(5) == 0 && now / LK_MSEC(5) < COUNT) {
            uint16_t seq = (uint16_t)(now / LK_MSEC(5));
            size_t len = packet(data, seq, 100);
            due[seq] = now + rtt / 2 + LK_MSEC(8);
            arrived[seq] = LK_NEVER;
            lk_nack_history_store(&h, now, data, len);
            path_send(&there, now, data, len);
        }
        while (path_arrive(&there, now, data)) {
            uint16_t seq = lk_get_u16(data + 2);
            arrived[seq] = LK_MIN(arrived[seq], now);
            lk_nack_generator_receive(&g, now, seq);
        }
        uint16_t seqs[64];
        size_t n = now >= lk_nack_generator_deadline(&g) ? lk_nack_generator_collect(&g, now, seqs, LK_LEN(seqs)) : 0;
        if (n)
            path_send(&back, now, (const uint8_t *)seqs, n * sizeof seqs[0]);
        for (size_t len; (len = path_arrive(&back, now, (uint8_t *)seqs)) != 0;) {
            lk_nack_history_begin(&h);
            for (size_t i = 0; i < len / sizeof seqs[0]; i++) {
                size_t again = lk_nack_history_resend(&h, now, seqs[i], data, sizeof data);
                if (again)
                    path_send(&there, now, data, again);
            }
        }
    }
    for (size_t i = 0; i < COUNT - 1; i++) {
        r.lost += arrived[i] > due[i];
        r.within_wait += arrived[i] > due[i] && arrived[i] <= due[i] + 3 * rtt + LK_MSEC(200);
    }
    r.requested = g.requested;
    lk_nack_history_deinit(&h);
    return r;
}

LK_TEST(nearly_all_that_is_lost_is_repaired_while_it_is_waited_for)
{
    static const struct {
        lk_usec rtt;
        unsigned loss_permille, least_permille;
        unsigned requests_percent; /* per lost packet, at most */
    } cases[] = {
        {LK_MSEC(20), 50, 995, 130},  {LK_MSEC(100), 50, 990, 125},  {LK_MSEC(300), 50, 990, 125},
        {LK_MSEC(20), 150, 990, 160}, {LK_MSEC(100), 150, 970, 150}, {LK_MSEC(300), 150, 960, 150},
    };
    for (size_t i = 0; i < LK_LEN(cases) && !lk_test_oom(); i++) {
        repair sum = {0};
        for (uint64_t seed = 1; seed <= 5; seed++) {
            repair r = repair_run(env, seed, cases[i].rtt, cases[i].loss_permille);
            sum.lost += r.lost;
            sum.within_wait += r.within_wait;
            sum.requested += r.requested;
        }
        CHECK(sum.lost > 20000 * cases[i].loss_permille / 1000 * 9 / 10);
        CHECK(sum.within_wait * 1000 >= sum.lost * cases[i].least_permille);
        CHECK(sum.requested * 100 <= sum.lost * cases[i].requests_percent);
    }
}

LK_TEST(how_long_an_answer_takes_is_learned_from_requests_answered_at_once)
{
    lk_nack_generator g;
    uint16_t seqs[8];
    lk_nack_generator_init(&g);
    lk_nack_generator_receive(&g, 0, 1);
    CHECK_EQ(g.answer_usec, 0);
    lk_nack_generator_receive(&g, 0, 4);
    lk_usec asked = lk_nack_generator_deadline(&g);
    CHECK_EQ(lk_nack_generator_collect(&g, asked, seqs, LK_LEN(seqs)), 2);
    lk_nack_generator_receive(&g, asked + LK_MSEC(8), 2);
    CHECK_EQ(g.answer_usec, LK_MSEC(8));
    lk_usec again = lk_nack_generator_deadline(&g);
    CHECK_EQ(lk_nack_generator_collect(&g, again, seqs, LK_LEN(seqs)), 1);
    lk_nack_generator_receive(&g, again + LK_MSEC(1), 3); /* to which of the two? */
    CHECK_EQ(g.answer_usec, LK_MSEC(8));
}
