// SPDX-License-Identifier: Apache-2.0
#include "rtp/rtp_stats.h"

void lk_rtp_stats_init(lk_rtp_stats *s, uint32_t clock_rate)
{
    *s = (lk_rtp_stats){.clock_rate = clock_rate, .last_sr_at = LK_NEVER};
}

void lk_rtp_stats_receive(lk_rtp_stats *s, lk_usec now, uint16_t seq, uint32_t ts, size_t payload_len, size_t header_len,
                          size_t padding_len, bool resent)
{
    int64_t at = lk_unwrap16_peek(&s->seq, seq);
    /* Whole seconds and the rest apart, so that a long uptime does not overflow. */
    uint64_t ticks = (uint64_t)(now / 1000000) * s->clock_rate + (uint64_t)(now % 1000000) * s->clock_rate / 1000000;
    uint32_t transit = (uint32_t)ticks - ts;
    if (!s->started) {
        s->first = s->highest = at;
    } else if (!resent) {
        int32_t d = (int32_t)(transit - s->transit);
        uint32_t size = d < 0 ? 0u - (uint32_t)d : (uint32_t)d;
        s->jitter_q4 += size - ((s->jitter_q4 + 8) >> 4);
    }
    if (!s->started || at > s->highest) {
        s->highest = at;
        (void)lk_unwrap16_next(&s->seq, seq);
    }
    if (!s->started || !resent) /* the next one in time is measured against one in time */
        s->transit = transit;
    s->started = true;
    s->received++;
    s->bytes += payload_len;
    s->header_bytes += header_len;
    s->padding_bytes += padding_len;
    s->last_at = now;
}

void lk_rtp_stats_on_sr(lk_rtp_stats *s, lk_usec now, uint64_t ntp)
{
    s->last_sr_mid32 = lk_ntp_mid32(ntp);
    s->last_sr_at = now;
}

static uint64_t expected(const lk_rtp_stats *s) { return s->started ? (uint64_t)(s->highest - s->first + 1) : 0; }

int64_t lk_rtp_stats_lost(const lk_rtp_stats *s) { return (int64_t)expected(s) - (int64_t)s->received; }

lk_rtcp_report lk_rtp_stats_report(lk_rtp_stats *s, lk_usec now, uint32_t ssrc)
{
    int64_t expected_now = (int64_t)(expected(s) - s->expected_prior);
    int64_t lost_now = expected_now - (int64_t)(s->received - s->received_prior);
    s->expected_prior = expected(s);
    s->received_prior = s->received;
    lk_rtcp_report r = {.ssrc = ssrc, .highest_seq = (uint32_t)s->highest, .jitter = s->jitter_q4 >> 4};
    if (expected_now > 0 && lost_now > 0)
        r.fraction_lost = (uint8_t)LK_MIN(lost_now * 256 / expected_now, (int64_t)255);
    r.total_lost = (int32_t)LK_CLAMP(lk_rtp_stats_lost(s), -0x800000, 0x7fffff);
    if (s->last_sr_at != LK_NEVER) {
        r.lsr = s->last_sr_mid32;
        r.dlsr = (uint32_t)((now - s->last_sr_at) * 65536 / 1000000);
    }
    return r;
}
