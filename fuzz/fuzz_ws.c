// SPDX-License-Identifier: Apache-2.0
/* What a server or proxy may answer: the connection ends at most once and gives no event after. First byte: how. */
#include "fuzz_env.h"
#include "ws/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_url url;
    lk_error why;
    lk_ws *w;
    lk_bytes out;
    lk_ws_event e;
    int ends = 0;
    if (size == 0)
        return 0;
    FUZZ_REQUIRE(lk_url_parse(&url, lk_str_of("ws://example.com/x"), &why) == LK_OK);
    const lk_ws_config c = {.url = &url, .target = "/rtc", .upgrade = data[0] & 1, .through_proxy = (data[0] & 2) != 0};
    FUZZ_REQUIRE(lk_ws_new(&w, fuzz_env(), &c) == LK_OK);
    lk_ws_start(w);
    for (size_t at = 1, step = (size_t)(data[0] >> 2) + 1; at < size; at += step) {
        lk_ws_input(w, data + at, LK_MIN(step, size - at));
        while (lk_ws_poll_tx(w, &out)) {
        }
        while (lk_ws_poll_event(w, &e)) {
            FUZZ_REQUIRE(ends == 0);
            ends += e.type == LK_WS_EV_CLOSED || e.type == LK_WS_EV_FAILED;
        }
    }
    lk_ws_input_end(w, NULL);
    while (lk_ws_poll_event(w, &e))
        ends += e.type == LK_WS_EV_CLOSED || e.type == LK_WS_EV_FAILED;
    FUZZ_REQUIRE(ends == 1);
    lk_ws_free(w);
    return 0;
}
