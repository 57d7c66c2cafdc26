// SPDX-License-Identifier: Apache-2.0
/* nack/nack.h - retransmission, both ends: what to ask for, what to send again. [RFC4585 s6.2.1] [RFC4588]
 *
 * In:      sequence numbers as they arrive (generator); packets as they leave and requests (history); RTT.
 * Out:     sequence numbers to put into a NACK; packets to send again, plain or wrapped as RTX.
 * Owner:   by value in the stream of the peer connection. Loop thread.
 * Limits:  generator: 100 outstanding, 10 requests each, 1 s of age, oldest given up first. History: packets, bytes and
 *          age from its config, oldest overwritten; memory allocated with the first packet; 1024 resends per NACK
 *          packet; resent bytes <= 25 % of sent bytes.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

/* ---- receiver side ------------------------------------------------------------------------------------ */
#define LK_NACK_OUTSTANDING_MAX 100u
#define LK_NACK_TRIES_MAX 10u
#define LK_NACK_JUMP_MAX 3000 /* a larger step in sequence numbers is a new stream, not a loss */

typedef struct lk_nack_missing {
    int64_t seq; /* extended */
    lk_usec since, next_at, asked_at;
    uint8_t tries;
} lk_nack_missing;
typedef struct lk_nack_generator {
    lk_nack_missing missing[LK_NACK_OUTSTANDING_MAX]; /* ascending */
    uint16_t count;
    bool started;
    int64_t highest;
    lk_usec rtt_usec, answer_usec; /* answer_usec: how long requests answered at once took of late; 0: not seen */
    uint64_t requested, recovered, given_up; /* sequence numbers put into NACKs; arrived after one; never came */
} lk_nack_generator;

void lk_nack_generator_init(lk_nack_generator *g);
/* Round-trip time; before the first call 100 ms are assumed. Clamped to 5 ms .. 800 ms for timing. */
void lk_nack_generator_set_rtt(lk_nack_generator *g, lk_usec rtt_usec);
/* Who gets no reports about itself may take g->answer_usec for the round trip: between asking once and receiving.
 * A packet of the stream arrived (also one restored from RTX). */
void lk_nack_generator_receive(lk_nack_generator *g, lk_usec now, uint16_t seq);
/* When collect has something to do; LK_NEVER when nothing is missing. */
lk_usec lk_nack_generator_deadline(const lk_nack_generator *g);
/* Sequence numbers to request now, ascending, at most cap; the first request comes 20 ms (reordering) or less than
 * half an RTT after the gap showed, the next ones RTT x 1.125 + 10 ms apart, from the third on a quarter more each
 * time, at most 910 ms. Gives up what is too old. */
size_t lk_nack_generator_collect(lk_nack_generator *g, lk_usec now, uint16_t *seqs, size_t cap);

/* ---- sender side -------------------------------------------------------------------------------------- */
#define LK_NACK_RESENDS_PER_NACK_MAX 1024u

typedef struct lk_nack_history_config {
    uint32_t packets_max;  /* rounded up to a power of two; 0: 256 */
    uint32_t bytes_max;    /* of stored packets; 0: 64 KiB */
    lk_usec age_max_usec;  /* older packets are not sent again; 0: 2 s */
    bool has_rtx;          /* false: resend plain, the very same bytes (a second text under one nonce is not sent) */
    uint8_t rtx_pt;
    uint32_t rtx_ssrc;
    uint16_t rtx_first_seq;
} lk_nack_history_config;
typedef struct lk_nack_sent lk_nack_sent;
typedef struct lk_nack_history {
    const lk_env *env;
    lk_nack_history_config config;
    lk_nack_sent *slots;
    uint8_t *data;
    uint64_t written; /* bytes ever laid into data */
    lk_usec rtt_usec;
    uint16_t rtx_seq;
    uint32_t resends_left; /* of the NACK packet in hand */
    int64_t tokens_bytes;  /* what may be resent now */
    lk_usec window_at;
    uint64_t window_bytes, rate_bytes; /* sent in the running and the last full second */
    uint64_t resent_packets, resent_bytes, refused; /* refused: asked for, but by limits not sent */
} lk_nack_history;

void lk_nack_history_init(lk_nack_history *h, const lk_env *env, const lk_nack_history_config *config);
void lk_nack_history_deinit(lk_nack_history *h);
/* RTX negotiated (or renegotiated) after init. */
void lk_nack_history_set_rtx(lk_nack_history *h, uint8_t pt, uint32_t ssrc, uint16_t first_seq);
void lk_nack_history_set_rtt(lk_nack_history *h, lk_usec rtt_usec);
/* A packet (unencrypted RTP, as it is sent) leaves. Copies it. A refused allocation is not an error of the stream:
 * the packet is just not kept. */
void lk_nack_history_store(lk_nack_history *h, lk_usec now, const uint8_t *packet, size_t len);
/* Call once per received NACK packet, then resend for each of its sequence numbers. */
void lk_nack_history_begin(lk_nack_history *h);
/* Writes the packet to send again into out: plain, or RTX with its own SSRC, payload type, sequence number and the
 * original number in front of the payload. 0: not kept, too old, sent again less than 3/4 of an RTT ago (the peer may know a shorter one), or past a limit. */
size_t lk_nack_history_resend(lk_nack_history *h, lk_usec now, uint16_t seq, uint8_t *out, size_t cap);

/* Receiver of RTX: turns an RTX packet back into the original one in place of out. 0: malformed or nothing inside
 * (padding probe). [RFC4588 s4] */
size_t lk_nack_unwrap_rtx(uint8_t *out, size_t cap, const uint8_t *packet, size_t len, uint8_t media_pt,
                          uint32_t media_ssrc);
