// SPDX-License-Identifier: Apache-2.0
/* What a client may send: the connection ends at most once, gives no event after, and never asks twice without an answer.
 * First byte: size of the pieces and whether requests are answered. */
#include "fuzz_env.h"
#include "ws/server.h"

static bool drain(lk_ws_server *s, bool answer, int *ends, int *asked)
{
    lk_bytes out;
    lk_ws_server_event e;
    bool more = false;
    while (lk_ws_server_poll_tx(s, &out)) {
    }
    while (lk_ws_server_poll_event(s, &e)) {
        more = true;
        FUZZ_REQUIRE(*ends == 0);
        *ends += e.type == LK_WS_SERVER_EV_CLOSED;
        if (e.type != LK_WS_SERVER_EV_REQUEST)
            continue;
        FUZZ_REQUIRE(*asked == 0 && e.request.path.len <= LK_WS_SERVER_TARGET_MAX && e.request.body.len <= LK_WS_SERVER_BODY_MAX);
        *asked = !answer;
        if (answer && e.request.upgrade)
            FUZZ_REQUIRE(lk_ws_server_upgrade(s, 0) == LK_OK);
        else if (answer)
            lk_ws_server_respond(s, 0, 200, "text/plain", "OK", 2);
    }
    return more;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_ws_server *s;
    int ends = 0, asked = 0;
    if (size == 0)
        return 0;
    FUZZ_REQUIRE(lk_ws_server_new(&s, fuzz_env(), 0) == LK_OK);
    for (size_t at = 1, step = (size_t)(data[0] >> 1) + 1; at < size; at += step) {
        lk_ws_server_input(s, 0, data + at, LK_MIN(step, size - at));
        while (drain(s, data[0] & 1, &ends, &asked)) {
        }
    }
    lk_ws_server_input_end(s, 0);
    while (drain(s, true, &ends, &asked)) {
    }
    FUZZ_REQUIRE(ends == 1);
    lk_ws_server_free(s);
    return 0;
}
