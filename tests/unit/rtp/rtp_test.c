// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "rtp/demux.h"
#include "rtp/red.h"
#include "rtp/rtp.h"
#include "rtp/rtp_ext.h"

LK_TEST(a_written_header_reads_back_with_every_extension)
{
    static const uint8_t level = 0x85, mid[] = "audio-mid-16-chr";
    for (size_t mid_len = 1; mid_len <= 16; mid_len++)
        for (size_t count = 0; count <= 2; count++) {
            const lk_rtp_ext_out ext[] = {{1, 1, &level}, {14, (uint8_t)mid_len, mid}};
            uint8_t buf[200];
            lk_wr w = lk_wr_of(buf, sizeof buf);
            lk_rtp_packet p;
            lk_bytes v;
            lk_rtp_write_header(&w, 111, count == 1, 65535, 0xfffffff0u, 0xdeadbeef, ext, count);
            lk_wr_put(&w, "payload", 7);
            if (!CHECK(!w.bad) || !CHECK_OK(lk_rtp_parse(&p, buf, w.len)))
                continue;
            CHECK(p.pt == 111 && p.marker == (count == 1) && p.seq == 65535 && p.ts == 0xfffffff0u && p.ssrc == 0xdeadbeef);
            CHECK(p.header_len % 4 == 0 && p.header_len + 7 == w.len && p.padding_len == 0);
            CHECK_MEM(p.payload, p.payload_len, "payload", 7);
            CHECK_EQ(p.has_ext, count > 0);
            CHECK_EQ(lk_rtp_ext_find(&p, 1, &v), count > 0);
            if (count > 1 && CHECK(lk_rtp_ext_find(&p, 14, &v)))
                CHECK_MEM(v.data, v.len, mid, mid_len);
            CHECK(!lk_rtp_ext_find(&p, 2, &v));
        }
}

LK_TEST(a_header_without_room_is_bad_and_writes_no_further)
{
    static const uint8_t value[16];
    const lk_rtp_ext_out ext[] = {{3, 16, value}};
    for (size_t cap = 0; cap < 32; cap++) {
        uint8_t buf[40];
        memset(buf, 0xee, sizeof buf);
        lk_wr w = lk_wr_of(buf, cap);
        lk_rtp_write_header(&w, 0, false, 0, 0, 0, ext, 1);
        CHECK(w.bad);
        CHECK_EQ(buf[cap], 0xee);
    }
}

LK_TEST(a_packet_cut_anywhere_is_refused_or_shorter_but_never_read_past)
{
    uint8_t whole[60] = {0xb2, 0x80 | 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 2, 0x10, 9, 0x22, 1, 2, 3, 0, 0};
    whole[59] = 4; /* padding */
    lk_rtp_packet p;
    CHECK_OK(lk_rtp_parse(&p, whole, sizeof whole));
    CHECK(p.csrc_count == 2 && p.ext_len == 8 && p.header_len == 32 && p.payload_len == 24 && p.padding_len == 4);
    for (size_t len = 0; len < 32; len++)
        CHECK_EQ(lk_rtp_parse(&p, whole, len), LK_ERR_WIRE);
    for (size_t len = 33; len < 60; len++) /* the last byte is now payload 0: no padding of 0 bytes */
        CHECK_EQ(lk_rtp_parse(&p, whole, len), LK_ERR_WIRE);
    whole[59] = 29; /* more padding than there is */
    CHECK_EQ(lk_rtp_parse(&p, whole, sizeof whole), LK_ERR_WIRE);
    whole[59] = 28; /* nothing but padding */
    CHECK_OK(lk_rtp_parse(&p, whole, sizeof whole));
    CHECK_EQ(p.payload_len, 0);
}

LK_TEST(a_packet_over_1500_bytes_is_refused)
{
    static uint8_t big[1501] = {0x80};
    lk_rtp_packet p;
    CHECK_OK(lk_rtp_parse(&p, big, 1500));
    CHECK_EQ(lk_rtp_parse(&p, big, 1501), LK_ERR_WIRE);
}

static size_t walk(uint16_t profile, const uint8_t *block, size_t len, uint8_t ids[8])
{
    lk_rtp_packet p = {.has_ext = true, .ext_profile = profile, .ext = block, .ext_len = len};
    size_t at = 0, n = 0;
    uint8_t id;
    lk_bytes v;
    while (n < 8 && lk_rtp_ext_next(&p, &at, &id, &v)) {
        CHECK(v.len == 0 || (v.data >= block && v.data + v.len <= block + len));
        ids[n++] = id;
    }
    return n;
}

LK_TEST(extension_blocks_are_walked_as_far_as_they_are_whole)
{
    static const struct {
        uint16_t profile;
        uint8_t block[8], ids[4];
        size_t len, count;
    } rows[] = {
        {0xBEDE, {0x10, 1, 0, 0, 0x20, 2, 0, 0}, {1, 2}, 8, 2},       /* padding between */
        {0xBEDE, {0x10, 1, 0xf0, 0, 0x20, 2, 0, 0}, {1}, 8, 1},       /* 15 ends it */
        {0xBEDE, {0x1f, 1, 2, 3}, {0}, 4, 0},                         /* longer than the block */
        {0xBEDE, {0x01, 9, 0x20, 2}, {0}, 4, 0},                      /* id 0 with a length */
        {0x1000, {1, 0, 2, 1, 7, 0, 0, 0}, {1, 2}, 8, 2},             /* an empty value is one */
        {0x100f, {200, 2, 1, 2}, {200}, 4, 1},
        {0x1000, {1, 9, 1, 2}, {0}, 4, 0},
        {0x1000, {0, 0, 0, 1}, {0}, 4, 0},                            /* the length is missing */
        {0x2000, {0x10, 1, 0, 0}, {0}, 4, 0},                         /* somebody else's profile */
        {0xBEDE, {0}, {0}, 0, 0},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        uint8_t ids[8];
        size_t n = walk(rows[i].profile, rows[i].block, rows[i].len, ids);
        if (CHECK_EQ(n, rows[i].count))
            CHECK_MEM(ids, n, rows[i].ids, n);
    }
}

LK_TEST(extension_values_too_short_are_no_values)
{
    static const uint8_t bytes[16] = {0x81, 2, 3, 4, 5, 6, 7, 8};
    for (size_t len = 0; len <= 8; len++) {
        lk_bytes v = {bytes, len};
        uint8_t level;
        bool voice;
        uint16_t a, b;
        uint32_t u32;
        uint64_t u64;
        CHECK_EQ(lk_rtp_ext_audio_level(v, &level, &voice), len >= 1);
        CHECK_EQ(lk_rtp_ext_transport_seq(v, &a), len >= 2);
        CHECK_EQ(lk_rtp_ext_abs_send_time(v, &u32), len >= 3);
        CHECK_EQ(lk_rtp_ext_playout_delay(v, &a, &b), len >= 3);
        CHECK_EQ(lk_rtp_ext_capture_time(v, &u64), len >= 8);
    }
    lk_str text;
    CHECK(lk_rtp_ext_sdes((lk_bytes){(const uint8_t *)"mid-0_A", 7}, &text) && lk_str_eq(text, "mid-0_A"));
    CHECK(!lk_rtp_ext_sdes((lk_bytes){(const uint8_t *)"a b", 3}, &text));
    CHECK(!lk_rtp_ext_sdes((lk_bytes){(const uint8_t *)"a\n", 2}, &text));
    CHECK(!lk_rtp_ext_sdes((lk_bytes){bytes, 0}, &text));
}

LK_TEST(redundancy_reads_back_and_refuses_what_does_not_fit)
{
    static uint8_t data[LK_RTP_RED_LEN_MAX + 1];
    uint8_t buf[4000];
    lk_rtp_red_block out[LK_RTP_RED_BLOCKS_MAX];
    memset(data, 0x42, sizeof data);
    const lk_rtp_red_block in[] = {{111, LK_RTP_RED_OFFSET_MAX, {data, LK_RTP_RED_LEN_MAX}}, {111, 960, {data, 0}}, {111, 0, {data, 20}}};
    lk_wr w = lk_wr_of(buf, sizeof buf);
    lk_rtp_red_write(&w, in, 3);
    CHECK(!w.bad);
    if (CHECK_EQ(lk_rtp_red_parse(out, (lk_bytes){buf, w.len}), 3))
        for (size_t i = 0; i < 3; i++) {
            CHECK(out[i].pt == in[i].pt && out[i].offset == in[i].offset);
            CHECK_MEM(out[i].data.data, out[i].data.len, in[i].data.data, in[i].data.len);
        }
    for (size_t len = 0; len < 9 + LK_RTP_RED_LEN_MAX; len++) /* heads or the first block are cut */
        CHECK_EQ(lk_rtp_red_parse(out, (lk_bytes){buf, len}), 0);
    w = lk_wr_of(buf, sizeof buf);
    lk_rtp_red_write(&w, &(lk_rtp_red_block[]){{111, 1, {data, LK_RTP_RED_LEN_MAX + 1}}, {111, 0, {data, 1}}}[0], 2);
    CHECK(w.bad);
    w = lk_wr_of(buf, sizeof buf);
    lk_rtp_red_write(&w, &(lk_rtp_red_block[]){{111, LK_RTP_RED_OFFSET_MAX + 1, {data, 1}}, {111, 0, {data, 1}}}[0], 2);
    CHECK(w.bad);
    memset(buf, 0x80, sizeof buf); /* headers without end */
    CHECK_EQ(lk_rtp_red_parse(out, (lk_bytes){buf, sizeof buf}), 0);
}

LK_TEST(every_first_byte_belongs_to_one_protocol)
{
    for (unsigned b = 0; b < 256; b++) {
        uint8_t d[2] = {(uint8_t)b, 0};
        lk_demux_class want = b < 4                ? LK_DEMUX_STUN
                              : b < 16             ? LK_DEMUX_DROP
                              : b < 20             ? LK_DEMUX_ZRTP
                              : b < 64             ? LK_DEMUX_DTLS
                              : b < 80             ? LK_DEMUX_TURN_CHANNEL
                              : b < 128 || b > 191 ? LK_DEMUX_DROP
                                                   : LK_DEMUX_RTP;
        CHECK_EQ(lk_demux(d, 2), want);
        CHECK_EQ(lk_demux(d, 1), LK_DEMUX_DROP);
    }
    for (unsigned pt = 0; pt < 256; pt++) {
        uint8_t d[2] = {0x80, (uint8_t)pt};
        CHECK_EQ(lk_demux(d, 2), pt >= 192 && pt <= 223 ? LK_DEMUX_RTCP : LK_DEMUX_RTP);
    }
}
