// SPDX-License-Identifier: Apache-2.0
/* crypto/crypto.h - digests, keyed digests, key derivation and entropy over OpenSSL.
 *
 * In:      bytes, borrowed for the call.
 * Out:     fixed-size results into the caller's buffer.
 * Owner:   stateless; any thread.
 * Limits:  none of its own.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_SHA1_LEN 20
#define LK_SHA256_LEN 32
#define LK_MD5_LEN 16

/* Each returns LK_ERR_INTERNAL when OpenSSL refuses (no memory, algorithm switched off). */
LK_NODISCARD lk_err lk_sha1(const void *data, size_t len, uint8_t out[LK_SHA1_LEN]);
LK_NODISCARD lk_err lk_sha256(const void *data, size_t len, uint8_t out[LK_SHA256_LEN]);
LK_NODISCARD lk_err lk_md5(const void *data, size_t len, uint8_t out[LK_MD5_LEN]);
LK_NODISCARD lk_err lk_hmac_sha1(const void *key, size_t key_len, const void *data, size_t len,
                                 uint8_t out[LK_SHA1_LEN]);
LK_NODISCARD lk_err lk_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                                   uint8_t out[LK_SHA256_LEN]);

/* Zeroes memory in a way the compiler keeps. */
void lk_secure_zero(void *p, size_t len);

/* Entropy of the operating system; shape of lk_rng.fill (ctx unused). LK_ERR_INTERNAL without entropy. */
lk_err lk_crypto_fill(void *ctx, void *out, size_t len);

/* Before the first use of OpenSSL by threads that nobody joins when the process ends: what they use stays whole until
 * then. Without effect where the program itself has begun to use OpenSSL before. Any thread. */
void lk_crypto_outlive_exit(void);
