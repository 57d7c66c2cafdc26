// SPDX-License-Identifier: Apache-2.0
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static lk_err digest(const EVP_MD *md, const void *data, size_t len, uint8_t *out)
{
    return EVP_Digest(data, len, out, NULL, md, NULL) == 1 ? LK_OK : LK_ERR_INTERNAL;
}

lk_err lk_sha1(const void *data, size_t len, uint8_t out[LK_SHA1_LEN])
{
    return digest(EVP_sha1(), data, len, out);
}

lk_err lk_sha256(const void *data, size_t len, uint8_t out[LK_SHA256_LEN])
{
    return digest(EVP_sha256(), data, len, out);
}

lk_err lk_md5(const void *data, size_t len, uint8_t out[LK_MD5_LEN])
{
    return digest(EVP_md5(), data, len, out);
}

static lk_err hmac(const EVP_MD *md, const void *key, size_t key_len, const void *data, size_t len, uint8_t *out)
{
    unsigned out_len = 0;
    if (key_len > INT32_MAX)
        return LK_ERR_INVALID;
    return HMAC(md, key, (int)key_len, (const unsigned char *)data, len, out, &out_len) ? LK_OK : LK_ERR_INTERNAL;
}

lk_err lk_hmac_sha1(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[LK_SHA1_LEN])
{
    return hmac(EVP_sha1(), key, key_len, data, len, out);
}

lk_err lk_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[LK_SHA256_LEN])
{
    return hmac(EVP_sha256(), key, key_len, data, len, out);
}

void lk_secure_zero(void *p, size_t len)
{
    OPENSSL_cleanse(p, len);
}

lk_err lk_crypto_fill(void *ctx, void *out, size_t len)
{
    LK_UNUSED(ctx);
    if (len > INT32_MAX)
        return LK_ERR_INVALID;
    return RAND_bytes((unsigned char *)out, (int)len) == 1 ? LK_OK : LK_ERR_INTERNAL;
}

void lk_crypto_outlive_exit(void)
{
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}
