// SPDX-License-Identifier: Apache-2.0
/* The signalling machine: requests, time and messages of the server by instructions. Each request ends once, silence is
 * told once, and time never stands still. Two bytes say what comes next: what, and how much. */
#include "fuzz_env.h"
#include "signal/data_packet.h"
#include "signal/signal.h"

#define TAGS 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_signal s;
    lk_arena arena;
    lk_data_packet packet;
    lk_bytes tx;
    lk_signal_event e;
    lk_rd r = lk_rd_of(data, size);
    lk_usec now = LK_SEC(1);
    uint8_t waits[TAGS + 1] = {0};
    uint64_t tag = 0;
    int lost = 0;
    lk_arena_init(&arena, fuzz_env(), 1u << 20);
    (void)!lk_data_packet_parse(&packet, &arena, (lk_bytes){data, size});
    lk_arena_deinit(&arena);
    lk_signal_init(&s, fuzz_env());
    for (int i = 0; i < 300 && lk_rd_left(&r) >= 2; i++) {
        uint8_t what = lk_rd_u8(&r), much = lk_rd_u8(&r);
        size_t left = lk_rd_left(&r), len = LK_MIN((size_t)much, left);
        const lk_signal_track track = {.cid = "cid", .name = "n", .stream = "", .kind = (lk_media_kind)(1 + (much & 1))};
        const lk_attribute attribute = {"k", "v"};
        switch (what % 6) {
        case 0: lk_signal_input(&s, now, (lk_bytes){lk_rd_take(&r, len), len}); break;
        case 1: now += LK_MSEC(much * 50); break;
        case 2:
        case 3:
            if (tag == TAGS)
                break;
            if ((what % 6 == 2 ? lk_signal_add_track(&s, now, &track, tag + 1) : lk_signal_update_metadata(&s, now, "m", "n", &attribute, 1, tag + 1)) == LK_OK)
                waits[++tag] = 1;
            break;
        case 4:
            if (lk_signal_forget(&s, much)) {
                FUZZ_REQUIRE(waits[much] == 1);
                waits[much] = 0;
            }
            break;
        default:
            (void)!lk_signal_trickle(&s, much & 1, "candidate:1", "0", 0, much & 2);
            (void)!lk_signal_subscribe(&s, "PA_x", "TR_x", much & 1);
            (void)!lk_signal_leave(&s, LK_DISCONNECT_CLIENT_INITIATED);
        }
        if (lk_signal_deadline(&s) <= now)
            lk_signal_tick(&s, now);
        FUZZ_REQUIRE(lk_signal_deadline(&s) > now);
        while (lk_signal_poll_event(&s, &e)) {
            lost += e.kind == LK_SIGNAL_LOST;
            if (e.kind == LK_SIGNAL_REQUEST_DONE)
                FUZZ_REQUIRE(e.tag && e.tag <= TAGS && waits[e.tag]-- == 1);
        }
        while (lk_signal_poll_tx(&s, &tx))
            FUZZ_REQUIRE(tx.len > 0);
        FUZZ_REQUIRE(lost <= 1);
    }
    const lk_error why = {LK_ERR_CLOSED, "over"};
    lk_signal_close(&s, &why);
    while (lk_signal_poll_event(&s, &e))
        if (e.kind == LK_SIGNAL_REQUEST_DONE)
            FUZZ_REQUIRE(e.tag && e.tag <= TAGS && waits[e.tag]-- == 1);
    for (size_t i = 1; i <= TAGS; i++)
        FUZZ_REQUIRE(waits[i] == 0);
    FUZZ_REQUIRE(lk_signal_deadline(&s) == LK_NEVER);
    lk_signal_deinit(&s);
    return 0;
}
