// SPDX-License-Identifier: Apache-2.0
/* Nobody without the key gets anything through, whatever the bytes. */
#include "fuzz_env.h"
#include "srtp/srtp.h"

#define ROOM 2048

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
    }
    return 0;
}
