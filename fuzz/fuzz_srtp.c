// SPDX-License-Identifier: Apache-2.0
/* Nobody without the key gets anything through, whatever the bytes. */
#include "fuzz_env.h"
#include "srtp/srtp.h"

#define ROOM 2048

/* A packet of the peer with some bytes changed (two bytes each: where, and how): it comes out as it was meant, or not
 * at all. */
static void changed(const lk_srtp_config *c, const uint8_t *data, size_t size, bool rtcp)
{
    static const uint8_t clear[60] = {0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 7, 7, 7}, report[60] = {0x81, 201, 0, 14, 0, 0, 0, 9, 7, 7, 7};
    const uint8_t *meant = rtcp ? report : clear;
    lk_srtp out, in;
    lk_srtp_config sender = *c;
    uint8_t packet[ROOM], was[ROOM];
    size_t len = sizeof clear;
    sender.receiver = false;
    FUZZ_REQUIRE(lk_srtp_init(&out, fuzz_env(), &sender) == LK_OK && lk_srtp_init(&in, fuzz_env(), c) == LK_OK);
    memcpy(packet, meant, len);
    FUZZ_REQUIRE((rtcp ? lk_srtp_protect_rtcp : lk_srtp_protect_rtp)(&out, packet, &len, sizeof packet) == LK_OK);
    memcpy(was, packet, len);
    const size_t was_len = len;
    for (size_t i = 0; i + 1 < size && i < 16; i += 2)
        packet[data[i] % len] ^= data[i + 1];
    bool same = memcmp(was, packet, len) == 0;
    lk_err err = (rtcp ? lk_srtp_unprotect_rtcp : lk_srtp_unprotect_rtp)(&in, packet, &len);
    FUZZ_REQUIRE((err == LK_OK) == same);
    FUZZ_REQUIRE(!same || (rtcp ? lk_srtp_unprotect_rtcp : lk_srtp_unprotect_rtp)(&in, was, &(size_t){was_len}) == LK_ERR_AGAIN);
    FUZZ_REQUIRE(!same || (len == sizeof clear && memcmp(packet, meant, len) == 0));
    lk_srtp_deinit(&out);
    lk_srtp_deinit(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const lk_srtp_profile profiles[] = {LK_SRTP_AES128_CM_SHA1_80, LK_SRTP_AEAD_AES_128_GCM, LK_SRTP_AEAD_AES_256_GCM};
    static const uint8_t key[LK_SRTP_KEY_MAX] = {1, 2, 3}, salt[LK_SRTP_SALT_MAX] = {4, 5, 6};
    if (size > 1500)
        return 0;
    for (size_t i = 0; i < LK_LEN(profiles); i++) {
        const lk_srtp_config config = {.profile = profiles[i], .key = key, .salt = salt, .rtp_window = 128, .rtcp_window = 128, .receiver = true};
        lk_srtp s;
        uint8_t packet[ROOM];
        size_t len = size;
        FUZZ_REQUIRE(lk_srtp_init(&s, fuzz_env(), &config) == LK_OK);
        memcpy(packet, data, size);
        FUZZ_REQUIRE(lk_srtp_unprotect_rtp(&s, packet, &len) != LK_OK);
        len = size;
        memcpy(packet, data, size);
        FUZZ_REQUIRE(lk_srtp_unprotect_rtcp(&s, packet, &len) != LK_OK);
        lk_srtp_deinit(&s);
        changed(&config, data, size, size & 1);
    }
    return 0;
}
