// SPDX-License-Identifier: Apache-2.0
/* jitter/jitter.h - adaptive jitter buffer of one audio stream: what to play next, and how far behind to stay.
 *
 * In:      packets with their arrival times; before each decode and each 10 ms of output, the question what to do.
 * Out:     play / recover / conceal / wait, faster / slower; a target delay that follows the arrival jitter.
 * Owner:   embedded by value in media/'s playout; one thread at a time (the decoding job).
 * Limits:  LK_JITTER_PACKETS_MAX packets; when full the oldest is dropped and counted. No allocation in steady state.
 * Deviates: none. The rules are our own; the names follow W3C webrtc-stats.
 *
 * Delay of a packet: how much later than the fastest one of the last two seconds it came. The target is what the slowest
 * few per cent need, plus a margin; the buffer is steered by comparing it with how far playout is behind the fastest
 * packet, so that decoded samples, packets and gaps count alike.
 */
#pragma once
#include "base/lk_base.h"

#define LK_JITTER_PACKETS_MAX 256
#define LK_JITTER_BUCKETS 200 /* of 5 ms: 1 s */
#define LK_JITTER_MINIMA 8    /* of 250 ms: 2 s */

typedef struct lk_jitter_packet {
    int64_t seq, ts; /* unwrapped; 48 kHz ticks */
    uint32_t frames; /* how long it plays, ticks */
    lk_usec arrival;
    uint16_t len, cap;
    uint8_t *data;
} lk_jitter_packet;

typedef struct lk_jitter {
    const lk_env *env;
    lk_jitter_packet *packets; /* by seq, oldest first */
    size_t count, cap;
    lk_unwrap16 seq;
    lk_unwrap32 ts;
    bool started, playing, paused;
    int64_t next_ts, next_seq; /* what would be decoded next */
    uint32_t last_frames;      /* length of the last packet */
    lk_usec minima[LK_JITTER_MINIMA];
    lk_usec minimum_since;
    lk_usec base; /* arrival minus media time of the fastest packet */
    float histogram[LK_JITTER_BUCKETS];
    float weight;
    lk_usec target_usec;
    lk_usec stalled_usec; /* concealed without advancing */
    uint64_t late, duplicates, dropped, received;
} lk_jitter;

void lk_jitter_init(lk_jitter *j, const lk_env *env);
void lk_jitter_deinit(lk_jitter *j);

/* frames: length of the packet in 48 kHz ticks, > 0. payload is copied. redundant: sent again behind a later packet; it counts
 * only when it is the first to come. NOMEM; STATE: too late or a duplicate (counted unless redundant). */
LK_NODISCARD lk_err lk_jitter_put(lk_jitter *j, uint16_t seq, uint32_t ts, uint32_t frames, lk_usec arrival, lk_bytes payload,
                                  bool redundant);

typedef enum lk_jitter_action {
    LK_JITTER_WAIT,    /* nothing to play yet: silence */
    LK_JITTER_PLAY,    /* decode packet */
    LK_JITTER_RECOVER, /* the packet before `packet` is lost: decode `frames` out of its redundancy if it has any, else conceal */
    LK_JITTER_CONCEAL, /* `frames` of concealment */
} lk_jitter_action;
typedef struct lk_jitter_next {
    lk_jitter_action action;
    const lk_jitter_packet *packet; /* valid until the next call that is not const */
    uint32_t frames;
    bool lost; /* media is missing (as opposed to a pause of the sender) */
} lk_jitter_next;
/* What to decode now, when `buffered` decoded frames wait to be played; the answer counts as done. */
lk_jitter_next lk_jitter_decide(lk_jitter *j, lk_usec now, size_t buffered);

/* How far playout is behind the fastest packet when `buffered` decoded frames wait to be played. */
lk_usec lk_jitter_delay(const lk_jitter *j, lk_usec now, size_t buffered);
/* -1: too little delay, slow down; +1: too much, speed up; 0. */
int lk_jitter_steer(const lk_jitter *j, lk_usec now, size_t buffered);
static inline lk_usec lk_jitter_target(const lk_jitter *j) { return j->target_usec; }
/* Playable media that waits, in ticks. */
uint32_t lk_jitter_waiting(const lk_jitter *j);
