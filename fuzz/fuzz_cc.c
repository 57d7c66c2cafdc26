// SPDX-License-Identifier: Apache-2.0
/* What a peer may say about packets it got, or did not: feedback, reports, limits, requests to send again. The rate stays
 * within its limits, nothing is told about what was never sent, resends stay within a quarter, work stays in proportion. */
#include "cc/estimator.h"
#include "cc/pacer.h"
#include "cc/twcc.h"
#include "fuzz_env.h"
#include "nack/nack.h"
#include "rtp/rtcp.h"
#include "rtp/rtp.h"

#define MIN_BPS 50000u
#define MAX_BPS 5000000u
#define REMB_MIN_BPS 10000u /* what a peer may press us down to */

typedef struct machines {
    lk_estimator estimator;
    lk_twcc_history history;
    lk_twcc_recorder recorder;
    lk_pacer pacer;
    lk_nack_generator generator;
    lk_nack_history sent;
    uint64_t numbered, stored_bytes, resent_bytes, queued;
} machines;

static void feedback(machines *m, lk_usec now, const uint8_t *data, size_t len)
{
    static lk_twcc_result results[LK_TWCC_WINDOW];
    lk_rtcp_reader r;
    lk_rtcp_packet p;
    lk_rtcp_begin(&r, data, len);
    while (lk_rtcp_next(&r, &p)) {
        if (p.kind == LK_RTCP_KIND_TWCC) {
            size_t n = lk_twcc_history_feedback(&m->history, &p, results, LK_LEN(results));
            FUZZ_REQUIRE(n <= m->numbered);
            for (size_t i = 0; i < n; i++)
                FUZZ_REQUIRE(results[i].sent_at <= now && results[i].bytes > 0);
            lk_estimator_feedback(&m->estimator, now, results, n);
        }
        size_t at = 0;
        uint16_t seq;
        uint8_t out[1500];
        if (p.kind == LK_RTCP_KIND_NACK) {
            lk_nack_history_begin(&m->sent);
            for (uint32_t resends = 0; lk_rtcp_nack_next(&p, &at, &seq);) {
                size_t again = lk_nack_history_resend(&m->sent, now, seq, out, sizeof out);
                m->resent_bytes += again;
                resends += again > 0;
                FUZZ_REQUIRE(again <= sizeof out && resends <= LK_NACK_RESENDS_PER_NACK_MAX);
            }
        }
    }
}

static void send_packet(machines *m, lk_usec now, uint16_t seq, size_t len)
{
    static uint8_t packet[1300];
    lk_wr w = lk_wr_of(packet, sizeof packet);
    lk_wr_u16(&w, 0x8060);
    lk_wr_u16(&w, seq);
    len = LK_CLAMP(len, 12u, sizeof packet);
    lk_nack_history_store(&m->sent, now, packet, len);
    m->stored_bytes += len;
    (void)lk_twcc_history_send(&m->history, now, len);
    lk_estimator_sent(&m->estimator, now, len);
    m->numbered++;
    m->queued += lk_pacer_push(&m->pacer, now, (lk_pacer_class)(seq % LK_PACER_CLASSES), m, len) == LK_OK;
}

static void pass(machines *m, lk_usec now)
{
    uint16_t seqs[32];
    lk_pacer_class c;
    void *packet;
    uint8_t raw[1500];
    while (lk_pacer_poll(&m->pacer, now, &c, &packet)) {
        FUZZ_REQUIRE(packet == m && m->queued > 0);
        m->queued--;
    }
    FUZZ_REQUIRE(lk_pacer_count(&m->pacer) == m->queued && (m->queued > 0) == (lk_pacer_deadline(&m->pacer) != LK_NEVER));
    size_t n = lk_nack_generator_collect(&m->generator, now, seqs, LK_LEN(seqs));
    FUZZ_REQUIRE(n <= LK_LEN(seqs) && (n == LK_LEN(seqs) || lk_nack_generator_deadline(&m->generator) > now));
    lk_wr w = lk_wr_of(raw, sizeof raw);
    for (unsigned packets = 0; lk_twcc_recorder_write(&m->recorder, now, false, 1, 2, &w); packets++) {
        FUZZ_REQUIRE(!w.bad && packets < 64);
        w = lk_wr_of(raw, sizeof raw);
    }
    if (lk_estimator_deadline(&m->estimator) <= now)
        lk_estimator_tick(&m->estimator, now);
    FUZZ_REQUIRE(lk_estimator_deadline(&m->estimator) > now);
    lk_pacer_set_rate(&m->pacer, now, lk_estimator_target_bps(&m->estimator) * 5 / 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static machines m;
    lk_rd in = lk_rd_of(data, size);
    lk_usec now = LK_SEC(10);
    const lk_env *env = fuzz_env();
    memset(&m, 0, sizeof m);
    lk_estimator_init(&m.estimator, env, &(lk_estimator_config){300000, MIN_BPS, MAX_BPS}, now);
    lk_twcc_history_init(&m.history, env, 65500);
    lk_twcc_recorder_init(&m.recorder, env);
    lk_pacer_init(&m.pacer, env, NULL, now);
    lk_nack_generator_init(&m.generator);
    lk_nack_history_init(&m.sent, env, &(lk_nack_history_config){.has_rtx = size & 1, .rtx_pt = 97, .rtx_ssrc = 7});
    for (uint16_t next = 65500; lk_rd_left(&in) && !in.bad;) {
        uint8_t what = lk_rd_u8(&in), n = lk_rd_u8(&in);
        size_t len = LK_MIN((size_t)n * 4, lk_rd_left(&in));
        switch (what % 8) {
        case 0:
        case 1: feedback(&m, now, len ? lk_rd_take(&in, len) : (const uint8_t *)"", len); break;
        case 2:
            for (unsigned i = 0; i < n; i++)
                send_packet(&m, now, next++, 40u + 5u * n);
            break;
        case 3: lk_estimator_report(&m.estimator, now, n, LK_MSEC(1) * lk_rd_u16(&in)); break;
        case 4: lk_estimator_remb(&m.estimator, now, (uint64_t)lk_rd_u32(&in) << (n & 31)); break;
        case 5: {
            uint16_t seq = lk_rd_u16(&in);
            lk_nack_generator_receive(&m.generator, now, seq);
            FUZZ_REQUIRE(lk_twcc_recorder_receive(&m.recorder, now, seq) == LK_OK && m.generator.count <= LK_NACK_OUTSTANDING_MAX);
            break;
        }
        case 6:
            lk_nack_generator_set_rtt(&m.generator, LK_MSEC(4) * n);
            lk_nack_history_set_rtt(&m.sent, LK_MSEC(4) * n);
            lk_estimator_set_demand(&m.estimator, now, (uint64_t)n << (what >> 3));
            break;
        case 7: now += LK_MSEC(1) * n * (what & 8 ? 50 : 1); break;
        }
        pass(&m, now);
        FUZZ_REQUIRE(lk_estimator_target_bps(&m.estimator) >= (m.estimator.remb_bps ? REMB_MIN_BPS : MIN_BPS) && lk_estimator_target_bps(&m.estimator) <= MAX_BPS);
    }
    /* A quarter of what was sent, and what may be resent before the first second is over. */
    FUZZ_REQUIRE(m.resent_bytes <= m.stored_bytes / 4 + (64u << 10));
    void *packet;
    while (lk_pacer_pop(&m.pacer, &packet))
        m.queued--;
    FUZZ_REQUIRE(m.queued == 0);
    lk_pacer_deinit(&m.pacer);
    lk_twcc_recorder_deinit(&m.recorder);
    lk_twcc_history_deinit(&m.history);
    lk_nack_history_deinit(&m.sent);
    return 0;
}
