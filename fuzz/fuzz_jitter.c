// SPDX-License-Identifier: Apache-2.0
/* A stream of packets by instructions: 4 bytes say what comes next, and playout answers every 10 ms. */
#include "fuzz_env.h"
#include "media/audio_playout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_playout p;
    int16_t out[LK_PLAYOUT_TICK * 2];
    lk_rd r = lk_rd_of(data, size);
    uint16_t seq = 0;
    uint32_t ts = 0;
    lk_usec now = 1000000;
    lk_playout_init(&p, fuzz_env(), lk_audio_codec_find("opus"));
    FUZZ_REQUIRE(lk_playout_set_channels(&p, 1) == LK_OK);
    for (int i = 0; i < 200 && lk_rd_left(&r) >= 4; i++) {
        uint8_t what = lk_rd_u8(&r), by = lk_rd_u8(&r), len = lk_rd_u8(&r), wait = lk_rd_u8(&r);
        const uint8_t *payload = lk_rd_take(&r, len);
        seq = (uint16_t)(seq + ((what & 1) ? 1 : (int8_t)by));
        ts += (what & 2) ? 960u : (uint32_t)(int8_t)by * 480u * ((what & 4) ? 4096u : 1u);
        if (payload && !(what & 8))
            lk_playout_put(&p, seq, ts, now, (lk_bytes){payload, len}, (what & 16) != 0);
        now += (lk_usec)wait * 200;
        for (int k = 0; k < (what >> 6); k++) {
            lk_playout_tick(&p, now, out);
            now += 10000;
        }
    }
    FUZZ_REQUIRE(p.count < LK_CODEC_FRAMES_MAX * 3);
    lk_playout_deinit(&p);
    return 0;
}
