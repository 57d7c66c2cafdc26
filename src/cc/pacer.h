// SPDX-License-Identifier: Apache-2.0
/* cc/pacer.h - when a packet may leave: bounded queues by class under a bit rate.
 *
 * In:      packets as opaque pointers with their size, the target rate, the passing of time.
 * Out:     the same pointers in sending order.
 * Owner:   by value in the peer connection; the pointers stay the caller's. Loop thread.
 * Limits:  per class a fixed number of packets (config), full: refused. Queues grow on first use. Unused budget is kept
 *          for 13 ms; at most 8 ms of it, or one packet, leave at once of all but audio: with a rate a quarter above the
 *          estimate, 10 ms of the estimate. What waits in the video queue longer than 2 s raises the rate.
 * Deviates: audio is never held back: it is given out at once and only charged to the budget.
 */
#pragma once
#include "base/lk_base.h"

typedef enum lk_pacer_class {
    LK_PACER_AUDIO,
    LK_PACER_RETRANSMIT,
    LK_PACER_VIDEO,
    LK_PACER_PADDING,
    LK_PACER_CLASSES,
} lk_pacer_class;
#define LK_PACER_BURST_USEC LK_MSEC(8)
#define LK_PACER_WAKE_USEC LK_MSEC(5) /* wake-ups are not closer: small batches cost more than they smooth */

typedef struct lk_pacer_config {
    uint32_t packets_max[LK_PACER_CLASSES]; /* 0: 128 audio, 256 retransmit, 2048 video, 64 padding */
    uint64_t rate_bps;                      /* 0: unlimited */
    lk_usec burst_usec;                     /* longest burst, of the rate; 0: LK_PACER_BURST_USEC */
} lk_pacer_config;
typedef struct lk_pacer {
    lk_queue queues[LK_PACER_CLASSES];
    uint64_t queued_bytes; /* all but audio */
    uint64_t rate_bps;
    lk_usec burst_usec;
    int64_t budget_bytes; /* negative: debt */
    lk_usec refilled_at, burst_at; /* burst_at: when the last burst of all but audio began */
    int64_t burst_bytes;
    uint64_t part;  /* of a byte not yet credited, in bit * usec */
} lk_pacer;

void lk_pacer_init(lk_pacer *p, const lk_env *env, const lk_pacer_config *config, lk_usec now); /* config may be NULL */
/* Packets still queued are forgotten; pop them before when they own memory. */
void lk_pacer_deinit(lk_pacer *p);
void lk_pacer_set_rate(lk_pacer *p, lk_usec now, uint64_t rate_bps);
/* bytes: on the wire. LK_ERR_FULL or LK_ERR_NOMEM: not taken. */
LK_NODISCARD lk_err lk_pacer_push(lk_pacer *p, lk_usec now, lk_pacer_class c, void *packet, size_t bytes);
/* Next packet that may leave now; false when none may. */
bool lk_pacer_poll(lk_pacer *p, lk_usec now, lk_pacer_class *c, void **packet);
/* Next packet whatever the budget, for shutting down. */
bool lk_pacer_pop(lk_pacer *p, void **packet);
/* When poll will give the next one; LK_NEVER when empty; never earlier than the last refill. */
lk_usec lk_pacer_deadline(const lk_pacer *p);
size_t lk_pacer_count(const lk_pacer *p);
