// SPDX-License-Identifier: Apache-2.0
/* Datagrams of the DTLS class before anything is verified: no keys, no data, at most one end. First byte: our role;
 * each datagram is led by its length in two bytes. */
#include "dtls/dtls.h"
#include "fuzz_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lk_dtls_context *context;
    lk_dtls d;
    lk_dtls_event e;
    lk_bytes tx;
    uint8_t got[1500];
    size_t n;
    lk_usec now = 1000;
    int ends = 0;
    lk_rd r = lk_rd_of(data, size);
    if (!context)
        FUZZ_REQUIRE(lk_dtls_context_new(&context, fuzz_env()) == LK_OK);
    lk_dtls_init(&d, fuzz_env(), context);
    FUZZ_REQUIRE(lk_dtls_start(&d, now, lk_rd_u8(&r) & 1 ? LK_DTLS_CLIENT : LK_DTLS_SERVER) == LK_OK);
    for (int i = 0; lk_rd_left(&r) && i < 64; i++) {
        size_t len = lk_rd_u16(&r), left = lk_rd_left(&r);
        len = LK_MIN(len, left);
        const uint8_t *datagram = lk_rd_take(&r, len);
        lk_dtls_input(&d, now += 20000, datagram, len);
        lk_dtls_tick(&d, now);
        while (lk_dtls_poll_tx(&d, &tx))
            FUZZ_REQUIRE(tx.len > 0 && tx.len <= LK_DTLS_MTU);
        while (lk_dtls_poll_event(&d, &e)) {
            FUZZ_REQUIRE(e.type != LK_DTLS_EV_CONNECTED);
            ends++;
        }
        FUZZ_REQUIRE(!lk_dtls_poll_data(&d, got, sizeof got, &n));
    }
    FUZZ_REQUIRE(ends <= 1);
    lk_dtls_deinit(&d);
    return 0;
}
