// SPDX-License-Identifier: Apache-2.0
/* Payloads of a video stream by instructions, out of order and with gaps, as they arrive: whole frames come out, each
 * once, in the order of decoding, and never the frame after a hole. Five bytes say what comes next, then the payload. */
#include "fuzz_env.h"
#include "jitter/assembly.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lk_rtp_payload_ops *vp8 = lk_rtp_payload_find("VP8");
    lk_assembly *a;
    lk_assembled out;
    lk_rd r = lk_rd_of(data, size);
    uint16_t seq = 65500;
    uint32_t ts = 1000;
    lk_usec now = LK_SEC(1);
    bool any = false;
    FUZZ_REQUIRE(vp8 && lk_assembly_new(&a, fuzz_env()) == LK_OK);
    for (int i = 0; i < 400 && lk_rd_left(&r) >= 5; i++) {
        uint8_t what = lk_rd_u8(&r), by = lk_rd_u8(&r), wait = lk_rd_u8(&r);
        size_t len = lk_rd_u16(&r) % 1600, left = lk_rd_left(&r);
        len = LK_MIN(len, left);
        const uint8_t *payload = lk_rd_take(&r, len);
        lk_rtp_piece piece;
        seq = (uint16_t)(seq + (what & 1 ? 1 : (int8_t)by));
        ts += what & 2 ? 0 : what & 4 ? 3000 : (uint32_t)(int8_t)by * 3000;
        if (what & 8)
            lk_assembly_input(a, now, seq, ts, what & 16, NULL);
        else if (vp8->parse(&piece, (lk_bytes){payload, len}) == LK_OK)
            lk_assembly_input(a, now, seq, ts, what & 16, &piece);
        now += LK_MSEC(wait * (what & 128 ? 10 : 1));
        if (what & 32)
            lk_assembly_want_key(a, now);
        if (what & 64)
            lk_assembly_set_wait(a, LK_MSEC(by));
        for (int frames = 0; lk_assembly_poll(a, now, &out); frames++) {
            FUZZ_REQUIRE(frames < 2048 && out.frame.len > 0 && out.packets > 0 && out.first_at <= out.last_at);
            FUZZ_REQUIRE(any || out.key); /* nothing is decoded before a key frame */
            volatile uint8_t touch = out.frame.data[out.frame.len - 1];
            LK_UNUSED(touch);
            any = true;
        }
        (void)lk_assembly_poll_wish(a, now);
        FUZZ_REQUIRE(lk_assembly_waiting_packets(a) <= LK_ASSEMBLY_PACKETS_MAX);
        FUZZ_REQUIRE(lk_assembly_deadline(a) > now);
    }
    lk_assembly_free(a);
    return 0;
}
