// SPDX-License-Identifier: Apache-2.0
/* rtp/red.h - redundant audio: earlier payloads sent again in front of the newest one. [RFC2198]
 *
 * In:      payloads.
 * Out:     a payload that holds them all, and back.
 * Owner:   values on the stack; any thread; no allocation.
 * Limits:  LK_RTP_RED_BLOCKS_MAX blocks; a redundant one is at most 1023 bytes and 16383 ticks old.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_RED_BLOCKS_MAX 8
#define LK_RTP_RED_LEN_MAX 1023
#define LK_RTP_RED_OFFSET_MAX 16383

typedef struct lk_rtp_red_block {
    uint8_t pt;
    uint16_t offset; /* ticks before the time stamp of the packet; 0 for the last, primary one */
    lk_bytes data;   /* borrowed */
} lk_rtp_red_block;

/* Blocks oldest first, the primary one last. 0: malformed, or more blocks than fit. */
size_t lk_rtp_red_parse(lk_rtp_red_block out[LK_RTP_RED_BLOCKS_MAX], lk_bytes payload);
/* The inverse. Overflow, or a block outside the limits, is sticky in w->bad. */
void lk_rtp_red_write(lk_wr *w, const lk_rtp_red_block *blocks, size_t count);
