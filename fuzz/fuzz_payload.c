// SPDX-License-Identifier: Apache-2.0
/* Payloads of every codec: parsed as they came, and taken as a frame that is cut and joined again. */
#include "fuzz_env.h"
#include "rtp/payload.h"

#define CAP_MAX 1200

static void cut_and_join(const lk_rtp_payload_ops *ops, lk_bytes frame, size_t cap)
{
    uint8_t packet[CAP_MAX];
    lk_rtp_cut c = {.picture_id = (uint16_t)(frame.len & 0x7fff)};
    size_t at = 0;
    bool last = false;
    while (!last) {
        lk_rtp_piece p;
        lk_wr w = lk_wr_of(packet, cap);
        if (!ops->cut(&c, frame, cap, &w, &last))
            break;
        FUZZ_REQUIRE(w.len <= cap && ops->parse(&p, (lk_bytes){packet, w.len}) == LK_OK);
        FUZZ_REQUIRE(p.begin == (at == 0) && p.data.len <= frame.len - at);
        FUZZ_REQUIRE(memcmp(p.data.data, frame.data + at, p.data.len) == 0);
        at += p.data.len;
        FUZZ_REQUIRE(last == (at == frame.len));
    }
    FUZZ_REQUIRE(last || at == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"VP8"};
    for (size_t i = 0; i < LK_LEN(names); i++) {
        const lk_rtp_payload_ops *ops = lk_rtp_payload_find(names[i]);
        lk_rtp_piece p = {0};
        FUZZ_REQUIRE(ops);
        if (ops->parse(&p, (lk_bytes){data, size}) == LK_OK) {
            FUZZ_REQUIRE(p.data.len > 0 && p.data.data >= data && p.data.data + p.data.len == data + size);
            FUZZ_REQUIRE(p.begin || !p.key);
        }
        if (size > 1) /* the first byte says how long packets may be */
            cut_and_join(ops, (lk_bytes){data + 1, size - 1}, (size_t)data[0] * CAP_MAX / 255);
    }
    return 0;
}
