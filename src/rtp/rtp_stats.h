// SPDX-License-Identifier: Apache-2.0
/* rtp/rtp_stats.h - what a receiver counts about one source. [RFC3550 sA.1, sA.3, sA.8] */
#pragma once
#include "base/lk_base.h"
#include "rtp/rtcp.h"

typedef struct lk_rtp_stats {
    uint32_t clock_rate;
    bool started;
    lk_unwrap16 seq;
    int64_t first, highest;    /* extended sequence numbers */
    uint64_t received, bytes, header_bytes, padding_bytes;
    uint64_t expected_prior, received_prior;
    uint32_t transit;          /* of the last packet, RTP ticks */
    uint32_t jitter_q4;        /* 16 times the jitter in RTP ticks */
    lk_usec last_at;
    uint32_t last_sr_mid32;
    lk_usec last_sr_at;        /* LK_NEVER before the first SR */
} lk_rtp_stats;

void lk_rtp_stats_init(lk_rtp_stats *s, uint32_t clock_rate);
/* A packet of the source arrived; duplicates count as received. resent: it came late on purpose and says nothing of jitter. */
void lk_rtp_stats_receive(lk_rtp_stats *s, lk_usec now, uint16_t seq, uint32_t ts, size_t payload_len, size_t header_len,
                          size_t padding_len, bool resent);
void lk_rtp_stats_on_sr(lk_rtp_stats *s, lk_usec now, uint64_t ntp);
/* Negative when duplicates outnumber losses. */
int64_t lk_rtp_stats_lost(const lk_rtp_stats *s);
/* The block for the next RR; starts a new interval for fraction_lost. */
lk_rtcp_report lk_rtp_stats_report(lk_rtp_stats *s, lk_usec now, uint32_t ssrc);
