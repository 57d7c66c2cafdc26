// SPDX-License-Identifier: Apache-2.0
/* A session under a server that says anything: messages, bytes, datagrams, silence, in between our own commands. Every
 * operation ends exactly once, nothing follows the end, and in the end everything is closed. Room, signalling and
 * WebSocket are the real ones; the server is that of the room's units. */
#include "fuzz_env.h"
#include "unit/room/room_server.h"

/* room_server.h checks what a right server may rely on; here the server is not right. What counts is required below. */
bool lk_test_check(bool cond, const char *file, int line, const char *text)
{
    LK_UNUSED(file);
    LK_UNUSED(line);
    LK_UNUSED(text);
    return cond;
}
bool lk_test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *text)
{
    LK_UNUSED(file);
    LK_UNUSED(line);
    LK_UNUSED(text);
    return a == b;
}
bool lk_test_oom(void) { return true; }

#define OPS_MAX 64
static room_server r;
static unsigned ends[OPS_MAX];
static bool asked[OPS_MAX];
static size_t looked_at, closed_at;

static void look(void)
{
    for (; looked_at < r.count; looked_at++) {
        const told *e = &r.events[looked_at];
        FUZZ_REQUIRE(!closed_at || e->kind == LK_SESSION_OP_DONE);
        if (e->kind == LK_SESSION_CLOSED)
            closed_at = looked_at + 1;
        if (e->kind == LK_SESSION_OP_DONE)
            FUZZ_REQUIRE(e->op < OPS_MAX && asked[e->op] && ends[e->op]++ == 0);
    }
    if (r.count > ROOM_EVENTS_MAX / 2) { /* the list starts again: what it said is judged */
        r.count = looked_at = 0;
        closed_at = closed_at ? 1 : 0;
    }
}

static void settle(lk_usec span)
{
    room_run(&r, span);
    look();
}

static uint64_t next_op;
static uint64_t op(void) { return next_op + 1 < OPS_MAX ? ++next_op : 0; }

static void command(lk_rd *in)
{
    const lk_session_publish p = {.track = 5 + lk_rd_u8(in) % 3, .name = "mic", .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "",
                                  .sample_rate = 48000, .channels = 1};
    const lk_attribute a = {"key", "value"};
    uint8_t what = lk_rd_u8(in) % 12;
    uint64_t id = what > 3 ? op() : 0;
    lk_err err = LK_ERR_STATE;
    lk_error why;
    if (what > 3 && !id)
        return;
    switch (what) {
    case 0: (void)!lk_session_set_muted(r.s, r.now, p.track, lk_rd_u8(in) & 1); break;
    case 1: (void)!lk_session_set_subscribed(r.s, r.now, lk_rd_u8(in), lk_rd_u8(in) & 1); break;
    case 2: (void)!lk_session_cancel(r.s, r.now, lk_rd_u8(in) % OPS_MAX, LK_ERR_CANCELLED); break;
    case 3: (void)!lk_session_set_enabled(r.s, r.now, lk_rd_u8(in), lk_rd_u8(in) & 1); break;
    case 4: err = lk_session_publish_audio(r.s, r.now, id, &p); break;
    case 5: err = lk_session_unpublish(r.s, r.now, id, "TR_mine"); break;
    case 6: err = lk_session_set_metadata(r.s, r.now, id, "m"); break;
    case 7: err = lk_session_set_name(r.s, r.now, id, "n"); break;
    case 8: err = lk_session_set_attributes(r.s, r.now, id, &a, 1); break;
    case 9: err = lk_session_get_stats(r.s, r.now, id); break;
    case 10: err = lk_session_publish_data(r.s, r.now, id, &(lk_session_data){.payload = {(const uint8_t *)"data", 4}, .reliable = true}, &why); break;
    case 11: err = lk_session_get_track_stats(r.s, r.now, id, p.track); break;
    }
    /* The event may be there before we look: only what was refused ends nothing. */
    if (id)
        asked[id] = err == LK_OK;
}

static void step(lk_rd *in)
{
    uint8_t what = lk_rd_u8(in) % 8;
    size_t len = what < 4 ? lk_rd_u16(in) : 0;
    len = LK_MIN(len, lk_rd_left(in));
    const uint8_t *bytes = len ? lk_rd_take(in, len) : (const uint8_t *)"";
    const lk_datagram d = {.local = r.client, .remote = what == 2 ? r.server : lk_addr_v4(198, 51, 100, 7, 9), .data = bytes, .len = LK_MIN(len, 1500)};
    switch (what) {
    case 0: room_frame(&r, (lk_bytes){bytes, len}); break;
    case 1: lk_text_put(&r.out, (const char *)bytes, len); break;
    case 2:
    case 3:
        if (r.udp_open)
            lk_session_input(r.s, r.now, &d);
        break;
    case 4: settle(LK_MSEC(50) * lk_rd_u8(in)); break;
    case 5: command(in); break;
    case 6: room_grant_track(&r, "TR_mine"); break;
    case 7:
        if (r.stream_open && lk_rd_u8(in) % 4 == 0) {
            r.stream_open = false;
            lk_session_stream_closed(r.s, r.now, r.stream, NULL);
        }
        break;
    }
    settle(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_rd in = lk_rd_of(data, size);
    uint8_t how = lk_rd_u8(&in);
    const lk_session_config c = {.auto_subscribe = true, .join_retries = how >> 6, .connect_timeout_msec = 2000};
    memset(ends, 0, sizeof ends);
    memset(asked, 0, sizeof asked);
    looked_at = closed_at = next_op = 0;
    FUZZ_REQUIRE(room_open(&r, fuzz_env(), &c));
    r.no_media = how & 1;
    r.half_join = (how & 2) && (how & 4);
    r.no_answer = (how & 2) && (how & 8);
    asked[op()] = true;
    FUZZ_REQUIRE(lk_session_connect(r.s, r.now, 1, "ws://server.example:7880", "the.secret.token") == LK_OK);
    settle(how & 16 ? 0 : LK_MSEC(300));
    while (lk_rd_left(&in) && !in.bad)
        step(&in);
    asked[OPS_MAX - 1] = true;
    FUZZ_REQUIRE(lk_session_disconnect(r.s, r.now, OPS_MAX - 1, LK_DISCONNECT_CLIENT_INITIATED) == LK_OK);
    settle(LK_SEC(5));
    for (size_t i = 0; i < OPS_MAX; i++)
        FUZZ_REQUIRE(ends[i] == asked[i]);
    FUZZ_REQUIRE(lk_session_finished(r.s) && !r.stream_open && !r.udp_open && lk_session_deadline(r.s) == LK_NEVER);
    room_close(&r);
    return 0;
}
