// SPDX-License-Identifier: Apache-2.0
/* What a client may send: the connection ends at most once, gives no event after, never asks twice without an answer, and tells the
 * same whatever pieces the bytes come in. First byte: size of the pieces and whether requests are answered. */
#include "fuzz_env.h"
#include "ws/server.h"

typedef struct story {
    lk_ws_server *s;
    bool answer;
    int ends, asked;
    uint64_t told; /* digest of the events */
} story;

static void add(story *t, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        t->told = (t->told ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    t->told = (t->told ^ len) * 0x100000001b3u;
}

static bool drain(story *t)
{
    lk_bytes out;
    lk_ws_server_event e;
    bool more = false;
    while (lk_ws_server_poll_tx(t->s, &out)) {
    }
    while (lk_ws_server_poll_event(t->s, &e)) {
        more = true;
        FUZZ_REQUIRE(t->ends == 0);
        t->ends += e.type == LK_WS_SERVER_EV_CLOSED;
        add(t, &e.type, sizeof e.type);
        add(t, &e.code, sizeof e.code);
        if (e.type == LK_WS_SERVER_EV_MESSAGE)
            add(t, e.data.data, e.data.len);
        if (e.type != LK_WS_SERVER_EV_REQUEST)
            continue;
        FUZZ_REQUIRE(t->asked == 0 && e.request.path.len <= LK_WS_SERVER_TARGET_MAX && e.request.body.len <= LK_WS_SERVER_BODY_MAX);
        add(t, e.request.path.p, e.request.path.len);
        add(t, e.request.body.data, e.request.body.len);
        t->asked = !t->answer;
        if (t->answer && e.request.upgrade)
            FUZZ_REQUIRE(lk_ws_server_upgrade(t->s, 0) == LK_OK);
        else if (t->answer)
            lk_ws_server_respond(t->s, 0, 200, "text/plain", "OK", 2);
    }
    return more;
}

static uint64_t tell(const uint8_t *data, size_t size, size_t piece, bool answer)
{
    story t = {.answer = answer};
    FUZZ_REQUIRE(lk_ws_server_new(&t.s, fuzz_env(), 0) == LK_OK);
    for (size_t at = 0; at < size; at += piece) {
        lk_ws_server_input(t.s, 0, data + at, LK_MIN(piece, size - at));
        while (drain(&t)) {
        }
    }
    lk_ws_server_input_end(t.s, 0);
    t.answer = true;
    while (drain(&t)) {
    }
    FUZZ_REQUIRE(t.ends == 1);
    lk_ws_server_free(t.s);
    return t.told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        uint64_t told = tell(data + 1, size - 1, (size_t)(data[0] >> 1) + 1, data[0] & 1);
        FUZZ_REQUIRE(told == tell(data + 1, size - 1, LK_MAX(size, 1), data[0] & 1));
    }
    return 0;
}
