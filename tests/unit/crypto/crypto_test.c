// SPDX-License-Identifier: Apache-2.0
#include "crypto/crypto.h"
#include "lk_test.h"

static bool is_hex(const uint8_t *got, size_t len, const char *hex)
{
    uint8_t want[64];
    return lk_hex_decode(want, sizeof want, lk_str_of(hex)) == (int)len && CHECK_MEM(got, len, want, len);
}

LK_TEST(digests_are_those_of_their_standards)
{
    uint8_t out[LK_SHA256_LEN];
    CHECK_OK(lk_md5("abc", 3, out));
    CHECK(is_hex(out, LK_MD5_LEN, "900150983cd24fb0d6963f7d28e17f72"));
    CHECK_OK(lk_sha1("abc", 3, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "a9993e364706816aba3e25717850c26c9cd0d89d"));
    CHECK_OK(lk_sha1("", 0, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    CHECK_OK(lk_sha256("abc", 3, out));
    CHECK(is_hex(out, LK_SHA256_LEN, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CHECK_OK(lk_sha256("", 0, out));
    CHECK(is_hex(out, LK_SHA256_LEN, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
}

/* Cases 1, 2 and 6 of [RFC2202] and [RFC4231]: short key, words, a key longer than a block. */
LK_TEST(keyed_digests_are_those_of_their_standards)
{
    uint8_t key[131], out[LK_SHA256_LEN];
    static const char question[] = "what do ya want for nothing?", larger[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    memset(key, 0x0b, 20);
    CHECK_OK(lk_hmac_sha1(key, 20, "Hi There", 8, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "b617318655057264e28bc0b6fb378c8ef146be00"));
    CHECK_OK(lk_hmac_sha256(key, 20, "Hi There", 8, out));
    CHECK(is_hex(out, LK_SHA256_LEN, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    CHECK_OK(lk_hmac_sha1("Jefe", 4, question, sizeof question - 1, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    CHECK_OK(lk_hmac_sha256("Jefe", 4, question, sizeof question - 1, out));
    CHECK(is_hex(out, LK_SHA256_LEN, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    memset(key, 0xaa, sizeof key);
    CHECK_OK(lk_hmac_sha1(key, 80, larger, sizeof larger - 1, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "aa4ae5e15272d00e95705637ce8a3b55ed402112"));
    CHECK_OK(lk_hmac_sha256(key, 131, larger, sizeof larger - 1, out));
    CHECK(is_hex(out, LK_SHA256_LEN, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    CHECK_OK(lk_hmac_sha1("", 0, "", 0, out));
    CHECK(is_hex(out, LK_SHA1_LEN, "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d"));
}

LK_TEST(entropy_differs_and_zeroing_zeroes)
{
    uint8_t a[32] = {0}, b[32] = {0}, zero[32] = {0};
    CHECK_OK(lk_crypto_fill(NULL, a, sizeof a));
    CHECK_OK(lk_crypto_fill(NULL, b, sizeof b));
    CHECK(memcmp(a, b, sizeof a) != 0 && memcmp(a, zero, sizeof a) != 0);
    CHECK_OK(lk_crypto_fill(NULL, a, 0));
    lk_secure_zero(a, sizeof a);
    CHECK_MEM(a, sizeof a, zero, sizeof zero);
}

LK_TEST(secrets_are_compared_whole)
{
    uint8_t a[20] = {1}, b[20] = {1};
    CHECK_EQ(lk_memcmp_ct(a, b, sizeof a), 0);
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] ^= 0x80;
        CHECK(lk_memcmp_ct(a, b, sizeof a) != 0);
        CHECK_EQ(lk_memcmp_ct(a, b, i), 0);
        b[i] ^= 0x80;
    }
}
