// SPDX-License-Identifier: Apache-2.0
/* Chunks of any kind on an association that is up, with the right tag and no checksum to guess: it neither crashes nor
 * hangs, keeps to its packet size and to its memory, and sleeps or has a deadline ahead. First byte: how to begin. */
#include "dcep/dcep.h"
#include "fuzz_env.h"
#include "sctp/sctp.h"

#define BUFFER (256u << 10)
static size_t live;
static void *count_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    live += size;
    FUZZ_REQUIRE(live < 16 * BUFFER);
    return malloc(size);
}
static void *count_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    live += new_size - old_size;
    return realloc(p, new_size);
}
static void count_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    live -= size;
    free(p);
}

static uint32_t tags[2];
static void drain(lk_sctp *s[2], int i, lk_usec now, bool carry)
{
    lk_bytes b;
    lk_sctp_event e;
    int packets = 0;
    while (lk_sctp_poll_tx(s[i], now, &b)) {
        FUZZ_REQUIRE(b.len <= LK_SCTP_MTU && ++packets < 4096);
        if (lk_get_u32(b.data + 4))
            tags[!i] = lk_get_u32(b.data + 4);
        if (carry)
            lk_sctp_input(s[!i], now, b.data, b.len);
    }
    while (lk_sctp_poll_event(s[i], &e))
        FUZZ_REQUIRE(e.type != LK_SCTP_EV_MESSAGE || (e.message.data && e.message.len <= BUFFER));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lk_mem mem = {NULL, count_alloc, count_resize, count_release};
    lk_env env = *fuzz_env();
    const lk_sctp_config config = {.receive_buffer_bytes = BUFFER, .send_buffer_bytes = BUFFER, .message_max_bytes = 20000};
    static const uint8_t zero[5000];
    lk_sctp *s[2] = {NULL, NULL};
    lk_dcep dcep;
    lk_usec now = LK_SEC(1);
    env.mem = &mem;
    (void)!lk_dcep_parse(&dcep, data, size);
    FUZZ_REQUIRE(lk_sctp_new(&s[0], &env, &config, now) == LK_OK && lk_sctp_new(&s[1], &env, &config, now) == LK_OK);
    uint8_t mode = size ? data[0] : 0;
    FUZZ_REQUIRE(lk_sctp_connect(s[0], now) == LK_OK);
    int rounds = mode & 1 ? 4 : mode >> 4; /* up, or stuck on the way */
    for (int i = 0; i < rounds; i++)
        drain(s, i & 1, now, true);
    if (mode & 2) { /* something in flight, so that acknowledgements mean something */
        for (uint16_t k = 0; k < 4; k++)
            (void)!lk_sctp_send(s[1], now, &(lk_sctp_message){.stream = k, .limit_retransmits = k & 1, .data = zero,
                                                               .len = sizeof zero});
        drain(s, 1, now, false);
    }
    if (mode & 4)
        (void)!lk_sctp_reset_stream(s[1], now, 0);
    if (mode & 8)
        lk_sctp_shutdown(s[1], now);
    /* Packets: two bytes of length, then chunks. */
    lk_rd r = lk_rd_of(data + (size ? 1 : 0), size ? size - 1 : 0);
    while (lk_rd_left(&r) > 2) {
        uint8_t packet[2048];
        size_t len = lk_rd_u16(&r) % 1200;
        len = LK_MIN(len, lk_rd_left(&r));
        lk_wr w = lk_wr_of(packet, sizeof packet);
        lk_wr_u16(&w, LK_SCTP_PORT);
        lk_wr_u16(&w, LK_SCTP_PORT);
        lk_wr_u32(&w, len && *r.at == 1 ? 0 : tags[1]);
        lk_wr_u32(&w, 0);
        lk_wr_put(&w, lk_rd_take(&r, len), len);
        lk_sctp_input(s[1], now, packet, w.len);
        drain(s, 1, now, false);
        now += LK_MSEC(7);
        if (lk_sctp_deadline(s[1]) <= now)
            lk_sctp_tick(s[1], now);
    }
    for (int i = 0; i < 60 && lk_sctp_deadline(s[1]) != LK_NEVER; i++) {
        now = LK_MAX(now, lk_sctp_deadline(s[1]));
        lk_sctp_tick(s[1], now);
        drain(s, 1, now, false);
        FUZZ_REQUIRE(lk_sctp_deadline(s[1]) > now);
    }
    lk_sctp_free(s[0]);
    lk_sctp_free(s[1]);
    FUZZ_REQUIRE(live == 0);
    return 0;
}
