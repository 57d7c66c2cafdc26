// SPDX-License-Identifier: Apache-2.0
/* dtls/dtls.h - DTLS 1.2 handshake for SRTP keys, and records for data channels. [RFC6347] [RFC5764] [RFC8827 s6.5]
 *
 * In:      datagrams of the DTLS class from a validated pair (the caller's gate), the peer's fingerprint.
 * Out:     datagrams; LK_DTLS_EV_CONNECTED with split keys once the fingerprint matched, or one FAILED / CLOSED.
 * Owner:   embedded by value in lk_pc; one lk_dtls_context is shared by all of a runtime. Loop thread.
 * Limits:  64 datagrams wait to be sent; a handshake ends after 30 s; datagrams of LK_DTLS_MTU.
 * Deviates: first retransmission after 100 ms [RFC6347 s4.2.4.1 allows less than 1 s for real-time use].
 */
#pragma once
#include "base/lk_base.h"

#define LK_DTLS_MTU 1172 /* of the datagram: 1,200 bytes with UDP and IPv4; IPv6 knows no path below 1,280 */
#define LK_DTLS_FINGERPRINT_MAX 200 /* "sha-512 AB:CD:..." */
#define LK_DTLS_KEY_MAX 32
#define LK_DTLS_SALT_MAX 14

/* Certificate, key and the two SSL_CTX. Made once; costs about 3 MB in a process that had no TLS yet. */
typedef struct lk_dtls_context lk_dtls_context;
/* A fresh P-256 key with a self-signed certificate, valid 30 days. NOMEM, INTERNAL. */
LK_NODISCARD lk_err lk_dtls_context_new(lk_dtls_context **out, const lk_env *env);
void lk_dtls_context_free(lk_dtls_context *c); /* NULL ok; no lk_dtls may still use it */
/* "sha-256 AB:CD:..." as SDP wants it. */
const char *lk_dtls_context_fingerprint(const lk_dtls_context *c);

typedef enum lk_dtls_role { LK_DTLS_CLIENT, LK_DTLS_SERVER } lk_dtls_role;
typedef enum lk_dtls_state {
    LK_DTLS_STATE_NEW,
    LK_DTLS_STATE_CONNECTING,
    LK_DTLS_STATE_UNVERIFIED, /* handshake done, the fingerprint has not been told yet */
    LK_DTLS_STATE_CONNECTED,
    LK_DTLS_STATE_CLOSED,
    LK_DTLS_STATE_FAILED,
} lk_dtls_state;

typedef struct lk_dtls_keys {
    uint16_t srtp_profile; /* number of [RFC5764 s4.1.2]; 0: none agreed */
    uint8_t local_key[LK_DTLS_KEY_MAX], local_salt[LK_DTLS_SALT_MAX];
    uint8_t remote_key[LK_DTLS_KEY_MAX], remote_salt[LK_DTLS_SALT_MAX];
} lk_dtls_keys;

typedef enum lk_dtls_event_type { LK_DTLS_EV_CONNECTED, LK_DTLS_EV_FAILED, LK_DTLS_EV_CLOSED } lk_dtls_event_type;
typedef struct lk_dtls_event {
    lk_dtls_event_type type;
    lk_dtls_keys keys; /* CONNECTED; the receiver zeroes it after use */
    lk_err err;        /* FAILED: AUTH (fingerprint), TIMEOUT, TLS, PROTOCOL */
} lk_dtls_event;

typedef struct lk_dtls {
    const lk_env *env;
    lk_dtls_context *context;
    void *ssl; /* NULL before start */
    lk_dtls_role role;
    lk_dtls_state state;
    char expected[LK_DTLS_FINGERPRINT_MAX];
    lk_queue out;       /* of lk_bytes, owned */
    lk_bytes in;        /* the datagram being read by OpenSSL */
    lk_bytes sent_last; /* given out by poll_tx, freed at the next call */
    lk_usec started_at, timer_at;
    bool has_event;
    lk_dtls_event event;
    uint64_t dropped;
} lk_dtls;

/* Takes exported keying material apart: client key, server key, client salt, server salt. [RFC5764 s4.2] */
void lk_dtls_split(lk_dtls_keys *k, bool client, const uint8_t *block, size_t key_len, size_t salt_len);

void lk_dtls_init(lk_dtls *d, const lk_env *env, lk_dtls_context *context);
void lk_dtls_deinit(lk_dtls *d);
/* "sha-256 AB:CD:...": from the peer's description; may come before or after the handshake. INVALID for an
 * unknown or weak hash, STATE if a different one was given before. */
LK_NODISCARD lk_err lk_dtls_expect(lk_dtls *d, lk_usec now, lk_str algorithm, lk_str hex_with_colons);
/* Starts the handshake; a client sends its hello. STATE when started, NOMEM, INTERNAL. */
LK_NODISCARD lk_err lk_dtls_start(lk_dtls *d, lk_usec now, lk_dtls_role role);

/* One datagram; what is not DTLS or comes out of turn is counted. */
void lk_dtls_input(lk_dtls *d, lk_usec now, const uint8_t *data, size_t len);
void lk_dtls_tick(lk_dtls *d, lk_usec now);
lk_usec lk_dtls_deadline(const lk_dtls *d);
bool lk_dtls_poll_tx(lk_dtls *d, lk_bytes *out);
bool lk_dtls_poll_event(lk_dtls *d, lk_dtls_event *out);
/* Application data. send: STATE unless connected, LIMIT over 1,150 bytes, FULL. */
LK_NODISCARD lk_err lk_dtls_send(lk_dtls *d, lk_usec now, const void *data, size_t len);
/* Copies the next received record; false when there is none. */
bool lk_dtls_poll_data(lk_dtls *d, uint8_t *out, size_t cap, size_t *len);
/* Sends close_notify. */
void lk_dtls_close(lk_dtls *d, lk_usec now);

/* For stats: IANA cipher name, or "". */
const char *lk_dtls_cipher(const lk_dtls *d);
/* Copies the peer's certificate in DER and returns its length; 0 before the handshake or when cap is too small. */
size_t lk_dtls_remote_certificate(const lk_dtls *d, uint8_t *out, size_t cap);
/* Our certificate in DER, valid as long as the context. */
lk_bytes lk_dtls_local_certificate(const lk_dtls_context *c);
/* "sha-256" fingerprint of the remote certificate as upper-case hex with colons; false before the handshake. */
bool lk_dtls_remote_fingerprint(const lk_dtls *d, char out[96]);
