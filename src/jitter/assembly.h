// SPDX-License-Identifier: Apache-2.0
/* jitter/assembly.h - payloads of one video stream become whole frames, in the order of decoding.
 *
 * In:      what each RTP packet carries (rtp/payload.h), in any order; the passing of time; failures of the decoder.
 * Out:     frames of which every byte is there and whose predecessor was given out, or key frames; wishes for a key frame.
 * Owner:   heap object of a video receiver. Loop thread.
 * Limits:  LK_ASSEMBLY_PACKETS_MAX packets wait, frames of LK_RTP_FRAME_MAX bytes; past that everything waiting is dropped and a
 *          key frame is wished for. Packet memory is pooled: nothing is allocated in steady state.
 * Deviates: a frame is given out the moment it is complete: no delay is added to smooth what the network made uneven.
 */
#pragma once
#include "base/lk_base.h"
#include "rtp/payload.h"

#define LK_ASSEMBLY_PACKETS_MAX 1024u
#define LK_ASSEMBLY_BLOCK 1500u

typedef struct lk_assembly lk_assembly;

typedef struct lk_assembled {
    lk_bytes frame; /* valid until the next call that takes `now` */
    bool key;
    uint32_t ts;
    size_t packets;
    lk_usec first_at, last_at; /* arrival of its first and last packet */
} lk_assembled;

typedef struct lk_assembly_counters {
    uint64_t frames, key_frames, multi_packet_frames;
    uint64_t dropped;      /* frames of which something had arrived, never given out */
    uint64_t late;         /* packets that came when their frame was given up or given out */
    double assembly_sum_s; /* last minus first packet, of frames of several packets */
    uint64_t keys_wanted;
} lk_assembly_counters;

LK_NODISCARD lk_err lk_assembly_new(lk_assembly **out, const lk_env *env);
void lk_assembly_free(lk_assembly *a); /* NULL ok */
/* piece NULL: padding, it only closes the gap in the numbers. Refused memory is a lost packet. */
void lk_assembly_input(lk_assembly *a, lk_usec now, uint16_t seq, uint32_t ts, bool marker, const lk_rtp_piece *piece);
/* How long a missing packet is waited for. Default 400 ms. */
void lk_assembly_set_wait(lk_assembly *a, lk_usec wait_usec);
/* The next frame that can be decoded. */
bool lk_assembly_poll(lk_assembly *a, lk_usec now, lk_assembled *out);
/* The decoder could not use the frame, or frames were skipped on purpose: nothing but a key frame helps. */
void lk_assembly_want_key(lk_assembly *a, lk_usec now);
/* True once per wish: now is the time to ask the sender; repeated every 300 ms while it lasts, or after
 * the wait, if that is longer and a key frame has begun to arrive. */
bool lk_assembly_poll_wish(lk_assembly *a, lk_usec now);
/* When poll or poll_wish may have something without input; LK_NEVER. */
lk_usec lk_assembly_deadline(const lk_assembly *a);
bool lk_assembly_waits_for_key(const lk_assembly *a);
size_t lk_assembly_waiting_packets(const lk_assembly *a);
const lk_assembly_counters *lk_assembly_count(const lk_assembly *a);
