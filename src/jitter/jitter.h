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
 * few per cent need, plus a margin, or what repairs of lost sound need while there are some; the buffer is steered by comparing
 * it with how far playout is behind the fastest packet, so that decoded samples, packets and gaps count alike.
 */
#pragma once
#include "base/lk_base.h"

#define LK_JITTER_PACKETS_MAX 256
#define LK_JITTER_BUCKETS 200 /* of 5 ms: 1 s */
#define LK_JITTER_MINIMA 8    /* of 250 ms: 2 s */
#define LK_JITTER_REORDER 8   /* a packet that many others have overtaken is lost */
#define LK_JITTER_SEEN 512    /* sequence numbers back from the newest that are known to have come or not */

typedef struct lk_jitter_packet {
    int64_t seq, ts; /* unwrapped; 48 kHz ticks */
    uint32_t frames; /* how long it plays, ticks */
    lk_usec arrival;
    uint16_t len, cap;
    uint8_t *data;
} lk_jitter_packet;

typedef struct lk_jitter_delays {
    float histogram[LK_JITTER_BUCKETS];
    float weight;
} lk_jitter_delays;

/* Sound that was to be had out of a later packet before its own had come. */
typedef struct lk_jitter_repair {
    int64_t seq;
    lk_usec delay;
    uint32_t frames; /* 0: none, or its own was only overtaken */
} lk_jitter_repair;

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
    lk_usec base, base_rest; /* arrival minus media time of the fastest packet */
    lk_jitter_delays known;  /* fading */
    lk_jitter_delays recent; /* since the last packet that came late by the standards of known */
    uint64_t seen[LK_JITTER_SEEN / 64];
    lk_jitter_repair repaired[LK_JITTER_REORDER * 2]; /* by seq; of lately */
    lk_jitter_delays repairs; /* how late what was lost comes all the same; fades slower than known, all at once when looked at */
    float repairs_keep;       /* what is left of it since it was last added to */
    bool jumped; /* the packet before was far from all others */
    uint16_t jump_seq;
    uint32_t jump_ts;
    lk_usec target_usec;
    lk_usec stalled_usec; /* concealed without advancing */
    uint64_t late, duplicates, dropped, received;
} lk_jitter;

void lk_jitter_init(lk_jitter *j, const lk_env *env);
void lk_jitter_deinit(lk_jitter *j);

/* frames: length of the packet in 48 kHz ticks, > 0. payload is copied. redundant: sent again behind a later packet; it counts
 * only when it is the first to come. LIMIT: no frames, or too long; NOMEM; STATE: too late, a duplicate (both counted unless
 * redundant), or the first of what may be another stream (more than 3000 numbers or 10 s away), taken with the second. */
LK_NODISCARD lk_err lk_jitter_put(lk_jitter *j, uint16_t seq, uint32_t ts, uint32_t frames, lk_usec arrival, lk_bytes payload,
                                  bool redundant);

/* Later ones came, it did not, and nothing is known that makes it good. */
bool lk_jitter_misses(const lk_jitter *j, uint16_t seq);

/* After the put of a packet, or of a redundant copy, that also holds the one before it (in-band FEC): if that one is missing,
 * this is how late its sound comes, and the target shall allow for it. seq, ts, frames: of the missing one. */
void lk_jitter_learn_repair(lk_jitter *j, uint16_t seq, uint32_t ts, uint32_t frames, lk_usec arrival);

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
/* How much delay is too much (above 0: speed up) or missing (below 0: slow down); 0: near enough. */
lk_usec lk_jitter_steer(const lk_jitter *j, lk_usec now, size_t buffered);
static inline lk_usec lk_jitter_target(const lk_jitter *j) { return j->target_usec; }
/* Playable media that waits, in ticks. */
uint32_t lk_jitter_waiting(const lk_jitter *j);
