// SPDX-License-Identifier: Apache-2.0
/* What parses and is safe to write must read back as the same text. */
#include "fuzz_env.h"
#include "sdp/sdp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_arena arena;
    lk_text first, second;
    lk_sdp sdp;
    const char *why = NULL;
    lk_arena_init(&arena, fuzz_env(), 64u << 20);
    lk_text_init(&first, fuzz_env(), 8u << 20);
    lk_text_init(&second, fuzz_env(), 8u << 20);
    if (lk_sdp_parse(&sdp, &arena, (const char *)data, size) == LK_OK) {
        for (size_t i = 0; i < sdp.media_count; i++)
            if (lk_sdp_codec_by_name(&sdp.media[i], "opus") && !lk_sdp_codec_by_pt(&sdp.media[i], lk_sdp_codec_by_name(&sdp.media[i], "opus")->pt))
                abort();
        if (lk_sdp_check(&sdp, &why) != LK_OK && !why)
            abort();
        if (lk_sdp_write(&sdp, &first) == LK_OK &&
            (lk_sdp_parse(&sdp, &arena, first.p, first.len) != LK_OK || lk_sdp_write(&sdp, &second) != LK_OK ||
             first.len != second.len || memcmp(first.p, second.p, first.len) != 0))
            abort();
    }
    lk_text_deinit(&first);
    lk_text_deinit(&second);
    lk_arena_deinit(&arena);
    return 0;
}
