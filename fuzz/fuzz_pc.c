// SPDX-License-Identifier: Apache-2.0
/* Datagrams of any kind from anywhere: an unconnected peer connection counts them and stays as it is. Each is led by
 * its length. */
#include "fuzz_env.h"
#include "pc/pc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lk_dtls_context *dtls;
    const lk_pc_section slot = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    const lk_addr local = lk_addr_v4(10, 0, 0, 1, 1000);
    lk_rd r = lk_rd_of(data, size);
    lk_pc *pc;
    lk_text offer;
    lk_pc_event e;
    lk_datagram tx;
    uint32_t index;
    lk_usec now = 1000;
    if (!dtls)
        FUZZ_REQUIRE(lk_dtls_context_new(&dtls, fuzz_env()) == LK_OK);
    FUZZ_REQUIRE(lk_pc_new(&pc, fuzz_env(), &(lk_pc_config){.dtls = dtls, .controlling = true}, 0) == LK_OK);
    lk_text_init(&offer, fuzz_env(), 65536);
    FUZZ_REQUIRE(lk_pc_add_section(pc, &slot, &index) == LK_OK && lk_pc_create_offer(pc, 0, &offer) == LK_OK &&
                 lk_pc_add_local_address(pc, 0, &local) == LK_OK);
    while (lk_rd_left(&r)) {
        size_t len = lk_rd_u8(&r);
        len = LK_MIN(len, lk_rd_left(&r));
        const lk_datagram in = {.local = local, .remote = lk_addr_v4(10, 0, 0, 2, 2000), .data = lk_rd_take(&r, len), .len = len};
        lk_pc_input(pc, now += 1000, &in);
    }
    lk_pc_tick(pc, now + 50000);
    for (int i = 0; i < 100 && lk_pc_poll_tx(pc, now, &tx); i++) {
    }
    while (lk_pc_poll_event(pc, &e))
        FUZZ_REQUIRE(e.type != LK_PC_EV_RTP);
    FUZZ_REQUIRE(lk_pc_state_of(pc) != LK_PC_STATE_CONNECTED);
    lk_text_deinit(&offer);
    lk_pc_free(pc);
    return 0;
}
