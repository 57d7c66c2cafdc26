// SPDX-License-Identifier: Apache-2.0
/* media/audio_playout.h - one stream played out: packets in, 10 ms of 48 kHz at a time out. Part of audio_receiver's job.
 *
 * In:      packets with arrival times; the question for the next 10 ms.
 * Out:     480 samples per channel, always; counters.
 * Owner:   embedded in lk_audio_receiver; whoever runs its job.
 * Limits:  as jitter/jitter.h.
 * Deviates: none.
 */
#pragma once
#include "codec/codec.h"
#include "dsp/remix.h"
#include "jitter/jitter.h"

#define LK_PLAYOUT_TICK 480

typedef struct lk_playout_counters {
    uint64_t samples, concealed, silent_concealed, concealments, inserted, removed, emitted, discarded;
    uint64_t fec_received, fec_discarded, fec_bytes; /* payloads sent again, and what in-band redundancy gave back */
    double delay_sum, target_sum; /* seconds times samples */
    lk_dsp_meter meter;
    int64_t playing_ts; /* 48 kHz ticks, unwrapped */
} lk_playout_counters;

typedef struct lk_playout {
    const lk_env *env;
    const lk_audio_codec_ops *codec;
    lk_audio_decoder *decoder;
    uint32_t channels;
    lk_jitter jitter;
    int16_t *pcm; /* decoded, not played; interleaved */
    size_t count; /* frames in it */
    bool concealing, heard_anything;
    uint32_t silent_for; /* ticks of concealment since sound */
    lk_usec stretch_after;
    lk_playout_counters c;
} lk_playout;

void lk_playout_init(lk_playout *p, const lk_env *env, const lk_audio_codec_ops *codec);
void lk_playout_deinit(lk_playout *p);
/* How many channels to decode (1, 2); takes effect at once, with a new decoder. NOMEM: goes on as before. */
LK_NODISCARD lk_err lk_playout_set_channels(lk_playout *p, uint32_t channels);
/* redundant: a payload sent again with a later packet. */
void lk_playout_put(lk_playout *p, uint16_t seq, uint32_t ts, lk_usec arrival, lk_bytes payload, bool redundant);
/* Writes LK_PLAYOUT_TICK * channels samples. */
void lk_playout_tick(lk_playout *p, lk_usec now, int16_t *out);
