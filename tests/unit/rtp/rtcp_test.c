// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "rtp/rtcp.h"

LK_TEST(a_compound_of_all_we_write_reads_back)
{
    uint8_t buf[1500];
    lk_wr w = lk_wr_of(buf, sizeof buf);
    const lk_rtcp_sender_info info = {0x0123456789abcdefull, 111, 222, 333};
    const lk_rtcp_report reports[] = {{.ssrc = 7, .fraction_lost = 255, .total_lost = -0x800000, .highest_seq = 0xffff0001u, .jitter = 9, .lsr = 10, .dlsr = 11},
                                      {.ssrc = 8, .total_lost = 0x7fffff}};
    static const uint16_t seqs[] = {65534, 65535, 0, 14, 500};
    static const uint32_t ssrcs[] = {21, 22};
    lk_rtcp_write_sr(&w, 1, &info, reports, 2);
    lk_rtcp_write_sdes_cname(&w, 1, "cname-of-ours");
    lk_rtcp_write_rr(&w, 2, reports, 1);
    lk_rtcp_write_nack(&w, 3, 4, seqs, LK_LEN(seqs));
    lk_rtcp_write_pli(&w, 5, 6);
    lk_rtcp_write_fir(&w, 5, 6, 77);
    lk_rtcp_write_remb(&w, 5, 2500000, ssrcs, 2);
    lk_rtcp_write_bye(&w, 1);
    REQUIRE(!w.bad && w.len % 4 == 0);
    CHECK_OK(lk_rtcp_check(buf, w.len));
    static const lk_rtcp_kind kinds[] = {LK_RTCP_KIND_SR,  LK_RTCP_KIND_SDES, LK_RTCP_KIND_RR,   LK_RTCP_KIND_NACK,
                                         LK_RTCP_KIND_PLI, LK_RTCP_KIND_FIR,  LK_RTCP_KIND_REMB, LK_RTCP_KIND_BYE};
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    size_t n = 0;
    lk_rtcp_begin(&r, buf, w.len);
    for (; lk_rtcp_next(&r, &p) && n < LK_LEN(kinds); n++) {
        if (!CHECK_EQ(p.kind, kinds[n]))
            break;
        if (p.kind == LK_RTCP_KIND_SR) {
            CHECK(p.sender == 1 && p.ntp == info.ntp && p.rtp_ts == 111 && p.packets == 222 && p.octets == 333 && p.count == 2);
            for (size_t i = 0; i < 2; i++) {
                lk_rtcp_report b = lk_rtcp_report_at(&p, i);
                CHECK(b.ssrc == reports[i].ssrc && b.fraction_lost == reports[i].fraction_lost && b.total_lost == reports[i].total_lost);
                CHECK(b.highest_seq == reports[i].highest_seq && b.jitter == reports[i].jitter && b.lsr == reports[i].lsr && b.dlsr == reports[i].dlsr);
            }
        } else if (p.kind == LK_RTCP_KIND_SDES) {
            lk_rtcp_sdes_walk walk = {0};
            uint8_t type;
            lk_str text;
            CHECK(lk_rtcp_sdes_next(&p, &walk, &type, &text) && type == 1 && walk.ssrc == 1 && lk_str_eq(text, "cname-of-ours"));
            CHECK(!lk_rtcp_sdes_next(&p, &walk, &type, &text));
        } else if (p.kind == LK_RTCP_KIND_NACK) {
            size_t at = 0, k = 0;
            uint16_t seq;
            CHECK(p.sender == 3 && p.media == 4);
            for (; lk_rtcp_nack_next(&p, &at, &seq) && k < LK_LEN(seqs); k++)
                CHECK_EQ(seq, seqs[k]);
            CHECK_EQ(k, LK_LEN(seqs));
        } else if (p.kind == LK_RTCP_KIND_FIR) {
            uint32_t ssrc;
            uint8_t seq;
            CHECK(lk_rtcp_fir_at(&p, 0, &ssrc, &seq) && ssrc == 6 && seq == 77);
            CHECK(!lk_rtcp_fir_at(&p, 1, &ssrc, &seq));
        } else if (p.kind == LK_RTCP_KIND_REMB) {
            CHECK(lk_rtcp_remb_bps(&p) <= 2500000 && lk_rtcp_remb_bps(&p) > 2490000);
            CHECK(lk_rtcp_remb_count(&p) == 2 && lk_rtcp_remb_ssrc(&p, 1) == 22);
        } else if (p.kind == LK_RTCP_KIND_BYE) {
            CHECK(p.count == 1 && lk_rtcp_bye_ssrc(&p, 0) == 1 && lk_rtcp_bye_reason(&p).len == 0);
        }
    }
    CHECK_EQ(n, LK_LEN(kinds));
    CHECK(!r.bad);
    for (size_t len = 0; len < w.len; len++) /* only a cut between packets leaves a whole compound */
        if (lk_rtcp_check(buf, len) == LK_OK) {
            size_t at = 0;
            while (at < len)
                at += 4u * (lk_get_u16(buf + at + 2) + 1u);
            CHECK_EQ(at, len);
        }
}

LK_TEST(writers_without_room_are_bad_and_stay_inside)
{
    static const uint16_t seqs[] = {1, 100, 200};
    static const uint32_t ssrcs[] = {1, 2, 3};
    const lk_rtcp_report reports[2] = {0};
    for (int kind = 0; kind < 8; kind++)
        for (size_t cap = 0; cap < 80; cap++) {
            uint8_t buf[100];
            memset(buf, 0xee, sizeof buf);
            lk_wr w = lk_wr_of(buf, cap);
            switch (kind) {
            case 0: lk_rtcp_write_sr(&w, 1, &(lk_rtcp_sender_info){0}, reports, 2); break;
            case 1: lk_rtcp_write_rr(&w, 1, reports, 2); break;
            case 2: lk_rtcp_write_sdes_cname(&w, 1, "cname"); break;
            case 3: lk_rtcp_write_bye(&w, 1); break;
            case 4: lk_rtcp_write_nack(&w, 1, 2, seqs, 3); break;
            case 5: lk_rtcp_write_pli(&w, 1, 2); break;
            case 6: lk_rtcp_write_fir(&w, 1, 2, 3); break;
            default: lk_rtcp_write_remb(&w, 1, UINT64_MAX, ssrcs, 3); break;
            }
            CHECK(w.len <= cap);
            CHECK_EQ(buf[cap], 0xee);
            if (!w.bad)
                CHECK_OK(lk_rtcp_check(buf, w.len));
        }
}

LK_TEST(nacks_pack_into_as_few_pairs_as_there_can_be)
{
    static const struct {
        uint16_t seqs[20];
        size_t count, pairs;
    } rows[] = {
        {{5}, 1, 1},         {{5, 21}, 2, 1},      {{5, 22}, 2, 2},
        {{65535, 0, 15}, 3, 1}, {{65535, 16}, 2, 2}, {{0}, 0, 0},
        {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, 18, 2},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        uint16_t pairs[20][2];
        CHECK_EQ(lk_rtcp_nack_pairs(rows[i].seqs, rows[i].count, pairs, LK_LEN(pairs)), rows[i].pairs);
        if (rows[i].pairs)
            CHECK_EQ(lk_rtcp_nack_pairs(rows[i].seqs, rows[i].count, pairs, 1), 1);
    }
}

LK_TEST(lengths_that_lie_end_the_walk_and_are_told)
{
    static const struct {
        uint8_t bytes[12];
        size_t len;
    } rows[] = {
        {{0x80, 201, 0, 1, 0, 0, 0}, 7},          /* cut */
        {{0x80, 201, 0, 2, 0, 0, 0, 1}, 8},       /* longer than the datagram */
        {{0x81, 201, 0, 1, 0, 0, 0, 1}, 8},       /* a block that is not there */
        {{0x40, 201, 0, 1, 0, 0, 0, 1}, 8},       /* version 1 */
        {{0xa0, 201, 0, 1, 0, 0, 0, 0}, 8},       /* padding of 0 */
        {{0xa0, 201, 0, 1, 0, 0, 0, 200}, 8},     /* padding past the start */
        {{0x80, 200, 0, 1, 0, 0, 0, 1}, 8},       /* a sender report without its info */
        {{0x82, 203, 0, 1, 0, 0, 0, 1}, 8},       /* two sources, one there */
        {{0x80, 201}, 2},
        {{0}, 0},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_rtcp_reader r;
        lk_rtcp_packet p;
        lk_rtcp_begin(&r, rows[i].bytes, rows[i].len);
        CHECK(!lk_rtcp_next(&r, &p));
        CHECK_EQ(lk_rtcp_check(rows[i].bytes, rows[i].len), LK_ERR_WIRE);
    }
    static uint8_t many[LK_RTCP_LEN_MAX];
    for (size_t at = 0; at + 8 <= sizeof many; at += 8)
        memcpy(many + at, "\x80\xc9\x00\x01\x00\x00\x00\x01", 8);
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    size_t n = 0;
    lk_rtcp_begin(&r, many, LK_RTCP_LEN_MAX / 8 * 8);
    while (lk_rtcp_next(&r, &p))
        n++;
    CHECK(n <= LK_RTCP_PACKETS_MAX && r.bad);
}

LK_TEST(ntp_time_and_round_trips_are_exact_to_their_unit)
{
    CHECK_EQ(lk_ntp_from_unix_usec(0) >> 32, 2208988800u);
    CHECK_EQ(lk_ntp_from_unix_usec(500000) & 0xffffffffu, 0x80000000u);
    CHECK_EQ(lk_ntp_mid32(0x1122334455667788ull), 0x33445566u);
    CHECK_EQ(lk_ntp_rtt_q16(0x10000, 0x8000, 0x4000), 0x4000);
    CHECK_EQ(lk_ntp_rtt_q16(0x100, 0xffffff00u, 0x100), 0x100); /* across the wrap */
    CHECK_EQ(lk_ntp_rtt_q16(0x8000, 0x8000, 0x1), 0);           /* a peer's clock that lies */
}
