// SPDX-License-Identifier: Apache-2.0
/* What a server or proxy may answer: the connection ends at most once and gives no event after. First byte: how. */
#include "fuzz_env.h"
#include "ws/ws.h"

/* What is told, as a number: the same for any way the bytes are cut. */
static uint64_t tell(const uint8_t *data, size_t size, uint8_t how, size_t step)
{
    lk_url url;
    lk_error why;
    lk_ws *w;
    lk_bytes out;
    lk_ws_event e;
    int ends = 0;
    uint64_t told = 0xcbf29ce484222325ull;
    FUZZ_REQUIRE(lk_url_parse(&url, lk_str_of("ws://example.com/x"), &why) == LK_OK);
    const lk_ws_config c = {.url = &url, .target = "/rtc", .upgrade = how & 1, .through_proxy = (how & 2) != 0};
    FUZZ_REQUIRE(lk_ws_new(&w, fuzz_env(), &c) == LK_OK);
    lk_ws_start(w);
    for (size_t at = 0;; at += step) {
        if (at < size)
            lk_ws_input(w, data + at, LK_MIN(step, size - at));
        else
            lk_ws_input_end(w, NULL);
        while (lk_ws_poll_tx(w, &out)) {
        }
        while (lk_ws_poll_event(w, &e)) {
            FUZZ_REQUIRE(ends == 0);
            ends += e.type == LK_WS_EV_CLOSED || e.type == LK_WS_EV_FAILED;
            told = (told ^ (uint64_t)e.type) * 0x100000001b3ull;
            for (size_t i = 0; e.type == LK_WS_EV_MESSAGE && i < e.data.len; i++)
                told = (told ^ e.data.data[i]) * 0x100000001b3ull;
        }
        if (at >= size)
            break;
    }
    FUZZ_REQUIRE(ends == 1);
    lk_ws_free(w);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint64_t whole = tell(data + 1, size - 1, data[0], size), pieces = tell(data + 1, size - 1, data[0], (size_t)(data[0] >> 2) + 1);
    FUZZ_REQUIRE(whole == pieces);
    return 0;
}
