// SPDX-License-Identifier: Apache-2.0
/* srtp/srtp.h - SRTP and SRTCP for one direction. [RFC3711] [RFC7714]
 *
 * In:      RTP or RTCP packets in a buffer with room for LK_SRTP_TRAILER_MAX more bytes; master key and salt.
 * Out:     the protected or opened packet in place.
 * Owner:   embedded by value in lk_pc, one per direction. Loop thread.
 * Limits:  128 SSRCs; a receiver past that forgets the least recently used. Steady state allocates nothing.
 * Deviates: a new SSRC that fails with roll-over 0 and sequence < 32768 is tried once with 1: the packets
 *          around the wrap may have been lost before the first one arrived.
 */
#pragma once
#include "base/lk_base.h"

#define LK_SRTP_TRAILER_MAX 20 /* GCM tag 16 + SRTCP word 4 */
#define LK_SRTP_STREAMS_MAX 128
#define LK_SRTP_WINDOW_MAX 1024
#define LK_SRTP_KEY_MAX 32
#define LK_SRTP_SALT_MAX 14

/* Numbers of [RFC5764 s4.1.2] and [RFC7714 s14.2]. */
typedef enum lk_srtp_profile {
    LK_SRTP_NONE = 0,
    LK_SRTP_AES128_CM_SHA1_80 = 0x0001,
    LK_SRTP_AES128_CM_SHA1_32 = 0x0002, /* never offered [RFC8827 s6.5]; for peers of other signalling */
    LK_SRTP_AEAD_AES_128_GCM = 0x0007,
    LK_SRTP_AEAD_AES_256_GCM = 0x0008,
} lk_srtp_profile;

/* 16 or 32; 0 for an unknown profile. */
size_t lk_srtp_key_len(lk_srtp_profile p);
/* 14 or 12; 0 for an unknown profile. */
size_t lk_srtp_salt_len(lk_srtp_profile p);
/* Name as webrtc-stats shows it, e.g. "AES_CM_128_HMAC_SHA1_80". */
const char *lk_srtp_profile_name(lk_srtp_profile p);

typedef struct lk_srtp_window {
    uint64_t bits[LK_SRTP_WINDOW_MAX / 64];
} lk_srtp_window;

typedef struct lk_srtp_stream {
    uint32_t ssrc;
    bool started, rtcp_started;
    uint64_t index; /* highest RTP index: ROC * 65536 + seq */
    uint32_t rtcp_index;
    uint64_t used_at; /* for LRU */
    lk_srtp_window seen, rtcp_seen;
} lk_srtp_stream;

/* Session keys of one half (RTP or RTCP). */
typedef struct lk_srtp_keys {
    uint8_t cipher[LK_SRTP_KEY_MAX], salt[LK_SRTP_SALT_MAX], auth[20];
    void *cipher_ctx, *mac_ctx; /* made with the first packet */
} lk_srtp_keys;

typedef struct lk_srtp_config {
    lk_srtp_profile profile;
    const uint8_t *key, *salt; /* master; borrowed for init */
    uint16_t rtp_window, rtcp_window; /* replay windows in packets, 64..1024, multiples of 64; product 1024 and 128 */
    bool receiver;
} lk_srtp_config;

typedef struct lk_srtp {
    const lk_env *env;
    lk_srtp_profile profile;
    bool receiver;
    uint16_t rtp_window, rtcp_window;
    lk_srtp_keys rtp, rtcp;
    lk_queue streams;
    uint64_t clock;
    uint64_t auth_failed, replayed;
} lk_srtp;

/* INVALID for an unknown profile or window; INTERNAL when OpenSSL refuses. The master key is not kept. */
LK_NODISCARD lk_err lk_srtp_init(lk_srtp *s, const lk_env *env, const lk_srtp_config *config);
void lk_srtp_deinit(lk_srtp *s); /* zeroes the keys */

/* Protect in place: *len grows. WIRE (not RTP/RTCP), FULL (cap too small), NOMEM, STATE (index exhausted). */
LK_NODISCARD lk_err lk_srtp_protect_rtp(lk_srtp *s, uint8_t *packet, size_t *len, size_t cap);
LK_NODISCARD lk_err lk_srtp_protect_rtcp(lk_srtp *s, uint8_t *packet, size_t *len, size_t cap);
/* Seals a packet whose payload is elsewhere and goes to many: out holds the header and the first lead_len bytes of the payload,
 * the rest is read from payload, which is left as it is. The caller keeps the index (roll-over counter * 65536 + sequence
 * number) and never seals two texts under one: nothing is remembered here, so any number of SSRCs may be sent. *len: of the
 * whole packet. FULL, STATE (index exhausted), INTERNAL. */
LK_NODISCARD lk_err lk_srtp_seal_rtp(lk_srtp *s, uint64_t index, uint8_t *out, size_t header_len, size_t lead_len,
                                     const uint8_t *payload, size_t payload_len, size_t cap, size_t *len);
/* Open in place: *len shrinks. WIRE (too short), AUTH (tag wrong), AGAIN (replayed or too old), NOMEM.
 * On any error no state has changed; the packet's bytes are undefined. */
LK_NODISCARD lk_err lk_srtp_unprotect_rtp(lk_srtp *s, uint8_t *packet, size_t *len);
LK_NODISCARD lk_err lk_srtp_unprotect_rtcp(lk_srtp *s, uint8_t *packet, size_t *len);
/* The stream of an SSRC, or NULL: for tests and for choosing what to forget. */
const lk_srtp_stream *lk_srtp_stream_of(const lk_srtp *s, uint32_t ssrc);

/* AES counter-mode key derivation with rate 0. [RFC3711 s4.3.3] salt is 14 bytes (12 and two zeros for GCM). */
LK_NODISCARD lk_err lk_srtp_derive(const uint8_t *key, size_t key_len, const uint8_t salt[14], uint8_t label,
                                   uint8_t *out, size_t out_len);
