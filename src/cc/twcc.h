// SPDX-License-Identifier: Apache-2.0
/* cc/twcc.h - transport-wide feedback: recorder, writer, reader, send history.
 * [draft-holmer-rmcat-transport-wide-cc-extensions-01]
 *
 * In:      transport-wide sequence numbers with arrival times; feedback packets; what was sent.
 * Out:     feedback packets every 100 ms; per packet whether and when it arrived, for an estimator.
 * Owner:   by value in the peer connection. Loop thread.
 * Limits:  recorder: a window of 4096 sequence numbers, older ones are not reported; a feedback packet fits 1200 bytes.
 *          History: the last 4096 packets. Both allocate with their first packet.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"
#include "rtp/rtcp.h"

#define LK_TWCC_WINDOW 4096u
#define LK_TWCC_INTERVAL_USEC LK_MSEC(100)

/* ---- receiver side ------------------------------------------------------------------------------------ */
typedef struct lk_twcc_recorder {
    const lk_env *env;
    lk_usec *arrivals; /* ring by sequence number, LK_NEVER = not arrived */
    bool started, pending;
    lk_unwrap16 seq;
    int64_t base, highest; /* next to report; highest seen */
    lk_usec due_at;
    uint8_t feedback_count;
} lk_twcc_recorder;

void lk_twcc_recorder_init(lk_twcc_recorder *r, const lk_env *env);
void lk_twcc_recorder_deinit(lk_twcc_recorder *r);
/* A packet with this transport-wide number arrived. LK_ERR_NOMEM only at the first. */
LK_NODISCARD lk_err lk_twcc_recorder_receive(lk_twcc_recorder *r, lk_usec now, uint16_t seq);
lk_usec lk_twcc_recorder_deadline(const lk_twcc_recorder *r); /* LK_NEVER when nothing is to be told */
/* Appends one feedback packet when due (or force); false when there is nothing (more) to tell: call until false. */
bool lk_twcc_recorder_write(lk_twcc_recorder *r, lk_usec now, bool force, uint32_t sender, uint32_t media, lk_wr *w);

/* ---- reading feedback --------------------------------------------------------------------------------- */
typedef struct lk_twcc_reader {
    lk_rd chunks, deltas;
    uint16_t seq, left; /* next number; statuses not given out yet */
    uint32_t ref_64ms;  /* 24 bit */
    uint8_t feedback_count;
    int64_t at_250us; /* running arrival, relative to the reference time */
    uint16_t chunk;   /* being read */
    uint16_t symbols, symbol; /* in it; next one */
} lk_twcc_reader;
typedef struct lk_twcc_status {
    uint16_t seq;
    bool received;
    int64_t at_250us; /* received: 250 us units after ref_64ms * 64 ms */
} lk_twcc_status;
/* WIRE: not a TWCC packet, or statuses or deltas are missing. */
LK_NODISCARD lk_err lk_twcc_read(lk_twcc_reader *r, const lk_rtcp_packet *packet);
bool lk_twcc_next(lk_twcc_reader *r, lk_twcc_status *out);

/* ---- sender side: joins feedback with what was sent ---------------------------------------------------- */
typedef struct lk_twcc_result {
    uint16_t seq;
    bool received;
    lk_usec sent_at, arrived_at; /* arrived_at: on the peer's clock, continuous from feedback to feedback */
    uint32_t bytes;
} lk_twcc_result;
typedef struct lk_twcc_sent {
    lk_usec at; /* LK_NEVER: empty or already reported as received */
    uint32_t bytes;
    uint16_t seq;
} lk_twcc_sent;
typedef struct lk_twcc_history {
    const lk_env *env;
    lk_twcc_sent *sent;
    uint16_t next_seq;
    bool started;
    int64_t reference; /* unwrapped, 64 ms units */
} lk_twcc_history;
void lk_twcc_history_init(lk_twcc_history *h, const lk_env *env, uint16_t first_seq);
void lk_twcc_history_deinit(lk_twcc_history *h);
/* Number for the packet that leaves now; remembers it (best effort without memory). */
uint16_t lk_twcc_history_send(lk_twcc_history *h, lk_usec now, size_t bytes);
/* Fills results with what this feedback says about packets still known; returns how many (<= cap). */
size_t lk_twcc_history_feedback(lk_twcc_history *h, const lk_rtcp_packet *packet, lk_twcc_result *results, size_t cap);
