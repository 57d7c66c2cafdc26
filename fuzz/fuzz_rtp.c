// SPDX-License-Identifier: Apache-2.0
/* RTP, its extensions, redundancy, RTCP and transport-wide feedback: inside the bytes, in bounded work. */
#include "cc/twcc.h"
#include "fuzz_env.h"
#include "rtp/demux.h"
#include "rtp/red.h"
#include "rtp/rtcp.h"
#include "rtp/rtp.h"
#include "rtp/rtp_ext.h"

static void inside(lk_bytes part, const uint8_t *data, size_t size)
{
    FUZZ_REQUIRE(part.len == 0 || (part.data >= data && part.data + part.len <= data + size));
}

static void read_ext(lk_bytes v)
{
    uint8_t level;
    bool voice;
    uint16_t a, b;
    uint32_t u32;
    uint64_t u64;
    lk_str text;
    lk_rtp_orientation o;
    lk_rtp_layers layers;
    (void)lk_rtp_ext_audio_level(v, &level, &voice);
    (void)lk_rtp_ext_abs_send_time(v, &u32);
    (void)lk_rtp_ext_transport_seq(v, &a);
    (void)lk_rtp_ext_playout_delay(v, &a, &b);
    (void)lk_rtp_ext_capture_time(v, &u64);
    (void)lk_rtp_ext_orientation(v, &o);
    (void)lk_rtp_ext_sdes(v, &text);
    (void)lk_rtp_ext_layers(v, &layers);
}

/* What was read and written again reads the same. */
static void red_again(const lk_rtp_red_block *blocks, size_t count)
{
    static uint8_t bytes[65536];
    lk_rtp_red_block again[LK_RTP_RED_BLOCKS_MAX];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_rtp_red_write(&w, blocks, count);
    FUZZ_REQUIRE(!w.bad && lk_rtp_red_parse(again, (lk_bytes){bytes, w.len}) == count);
    for (size_t i = 0; i < count; i++)
        FUZZ_REQUIRE(again[i].pt == blocks[i].pt && again[i].offset == blocks[i].offset && again[i].data.len == blocks[i].data.len);
}

static void feedback_again(const lk_rtcp_packet *p)
{
    uint8_t bytes[2048], number;
    uint16_t seqs[64], seq;
    uint32_t ssrc;
    size_t count = 0, at = 0;
    lk_rtcp_reader r;
    lk_rtcp_packet again;
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    while (p->kind == LK_RTCP_KIND_NACK && count < LK_LEN(seqs) && lk_rtcp_nack_next(p, &at, &seq))
        seqs[count++] = seq;
    if (count)
        lk_rtcp_write_nack(&w, p->sender, p->media, seqs, count);
    else if (p->kind == LK_RTCP_KIND_PLI)
        lk_rtcp_write_pli(&w, p->sender, p->media);
    else if (p->kind == LK_RTCP_KIND_FIR && lk_rtcp_fir_at(p, 0, &ssrc, &number))
        lk_rtcp_write_fir(&w, p->sender, ssrc, number);
    else if (p->kind == LK_RTCP_KIND_REMB)
        lk_rtcp_write_remb(&w, p->sender, lk_rtcp_remb_bps(p), &p->sender, 1);
    if (w.len == 0)
        return;
    lk_rtcp_begin(&r, bytes, w.len);
    FUZZ_REQUIRE(!w.bad && lk_rtcp_check(bytes, w.len) == LK_OK && lk_rtcp_next(&r, &again) && again.kind == p->kind && again.sender == p->sender);
    at = 0;
    FUZZ_REQUIRE(!count || (lk_rtcp_nack_next(&again, &at, &seq) && seq == seqs[0]));
    FUZZ_REQUIRE(p->kind != LK_RTCP_KIND_REMB || lk_rtcp_remb_bps(&again) <= lk_rtcp_remb_bps(p));
}

static void read_rtp(const uint8_t *data, size_t size)
{
    lk_rtp_packet p;
    lk_rtp_red_block blocks[LK_RTP_RED_BLOCKS_MAX];
    size_t at = 0;
    uint8_t id;
    lk_bytes value;
    if (lk_rtp_parse(&p, data, size) != LK_OK)
        return;
    FUZZ_REQUIRE(p.header_len + p.payload_len + p.padding_len == size);
    while (lk_rtp_ext_next(&p, &at, &id, &value)) {
        inside(value, data, size);
        read_ext(value);
    }
    size_t n = lk_rtp_red_parse(blocks, (lk_bytes){p.payload, p.payload_len});
    for (size_t i = 0; i < n; i++)
        inside(blocks[i].data, data, size);
    if (n)
        red_again(blocks, n);
    for (id = 1; id < 15; id++)
        if (lk_rtp_ext_find(&p, id, &value))
            inside(value, data, size);
}

static void read_rtcp(const uint8_t *data, size_t size)
{
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    lk_rtcp_begin(&r, data, size);
    while (lk_rtcp_next(&r, &p)) {
        lk_rtcp_sdes_walk walk = {0};
        lk_twcc_reader twcc;
        lk_twcc_status status;
        size_t at = 0, numbers = 0, statuses = 0;
        uint16_t seq;
        uint32_t ssrc;
        uint8_t type;
        lk_str text;
        inside(p.body, data, size);
        feedback_again(&p);
        text = p.kind == LK_RTCP_KIND_BYE ? lk_rtcp_bye_reason(&p) : (lk_str){NULL, 0};
        inside((lk_bytes){(const uint8_t *)text.p, text.len}, data, size);
        for (size_t i = 0; (p.kind == LK_RTCP_KIND_SR || p.kind == LK_RTCP_KIND_RR) && i < p.count; i++)
            (void)lk_rtcp_report_at(&p, i);
        while (p.kind == LK_RTCP_KIND_SDES && lk_rtcp_sdes_next(&p, &walk, &type, &text))
            inside((lk_bytes){(const uint8_t *)text.p, text.len}, data, size);
        while (p.kind == LK_RTCP_KIND_NACK && lk_rtcp_nack_next(&p, &at, &seq))
            FUZZ_REQUIRE(++numbers <= 17 * (size / 4 + 1));
        for (size_t i = 0; p.kind == LK_RTCP_KIND_FIR && lk_rtcp_fir_at(&p, i, &ssrc, &type); i++)
            FUZZ_REQUIRE(i <= size);
        for (size_t i = 0; p.kind == LK_RTCP_KIND_REMB && i < lk_rtcp_remb_count(&p); i++)
            (void)lk_rtcp_remb_ssrc(&p, i);
        if (p.kind == LK_RTCP_KIND_TWCC && lk_twcc_read(&twcc, &p) == LK_OK)
            while (lk_twcc_next(&twcc, &status))
                FUZZ_REQUIRE(++statuses <= 65536);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)lk_demux(data, size);
    read_rtp(data, size);
    read_rtcp(data, size);
    return 0;
}
