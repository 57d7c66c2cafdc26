// SPDX-License-Identifier: Apache-2.0
/* Descriptions of a peer, as an answer to us (first byte odd) or as an offer: refused with a reason or taken, and what
 * we write afterwards can be read. */
#include "fuzz_env.h"
#include "pc/pc.h"

static lk_dtls_context *dtls;

static lk_pc *fresh(bool controlling)
{
    const lk_pc_section up = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_SENDONLY, .stream = "-", .track = "up"};
    const lk_pc_section down = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    uint32_t index;
    lk_pc *pc;
    FUZZ_REQUIRE(lk_pc_new(&pc, fuzz_env(), &(lk_pc_config){.dtls = dtls, .controlling = controlling}, 0) == LK_OK);
    FUZZ_REQUIRE(lk_pc_add_section(pc, &up, &index) == LK_OK && lk_pc_add_section(pc, &down, &index) == LK_OK);
    return pc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char nothing[] = "";
    lk_text ours, again;
    const char *why = NULL, *sdp = size > 1 ? (const char *)data + 1 : nothing;
    lk_pc_event e;
    if (size == 0)
        return 0;
    if (!dtls)
        FUZZ_REQUIRE(lk_dtls_context_new(&dtls, fuzz_env()) == LK_OK);
    bool answering = data[0] & 1;
    lk_pc *pc = fresh(answering);
    lk_text_init(&ours, fuzz_env(), 4u << 20);
    lk_text_init(&again, fuzz_env(), 4u << 20);
    if (answering)
        FUZZ_REQUIRE(lk_pc_create_offer(pc, 0, &ours) == LK_OK);
    lk_err err = answering ? lk_pc_set_answer(pc, 1000, sdp, size - 1, &why) : lk_pc_accept_offer(pc, 1000, sdp, size - 1, &ours, &why);
    FUZZ_REQUIRE(err == LK_OK || why != NULL);
    FUZZ_REQUIRE(lk_pc_section_count(pc) <= LK_PC_SECTIONS_MAX);
    for (int i = 0; lk_pc_poll_event(pc, &e); i++)
        FUZZ_REQUIRE(i < 10000);
    lk_pc_rollback(pc);
    if (err == LK_OK) { /* a peer of the same make understands the next offer */
        lk_pc *other = fresh(false);
        lk_text_clear(&ours);
        FUZZ_REQUIRE(lk_pc_create_offer(pc, 2000, &ours) == LK_OK);
        FUZZ_REQUIRE(lk_pc_accept_offer(other, 2000, ours.p, ours.len, &again, &why) == LK_OK);
        lk_pc_free(other);
    }
    lk_text_deinit(&ours);
    lk_text_deinit(&again);
    lk_pc_free(pc);
    return 0;
}
