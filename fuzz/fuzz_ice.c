// SPDX-License-Identifier: Apache-2.0
/* Two ICE agents that know each other, and somebody who knows neither password but hears everything: he sends any bytes,
 * what he heard with bits changed or from elsewhere, and requests that are right but for their key. He is never the selected
 * pair, and the two find each other all the same. */
#include "fuzz_env.h"
#include "ice/ice.h"
#include "stun/stun.h"

typedef struct heard {
    size_t len;
    uint8_t data[700];
} heard;

static lk_ice a, b;
static lk_addr at_a, at_b, at_x;
static heard last;     /* of what b said */
static bool replayed; /* whole and from elsewhere: that opens the gate for the address, as for a peer behind a new NAT */

static void judge(void)
{
    lk_addr local, remote;
    FUZZ_REQUIRE(!lk_ice_selected(&a, &local, &remote) || (lk_addr_eq(&local, &at_a) && lk_addr_eq(&remote, &at_b)));
    FUZZ_REQUIRE(replayed || !lk_ice_is_valid(&a, &at_a, &at_x));
    FUZZ_REQUIRE(lk_ice_pair_count(&a) <= LK_ICE_PAIRS_MAX);
}

static void send(const uint8_t *data, size_t len, const lk_addr *from, lk_usec now)
{
    const lk_datagram d = {.local = at_a, .remote = *from, .data = data, .len = len};
    lk_ice_input(&a, now, &d);
    judge();
}

static void exchange(lk_usec now)
{
    lk_datagram d;
    lk_ice_event e;
    heard copy;
    for (int round = 0; round < 4; round++) {
        while (lk_ice_poll_tx(&a, now, &d)) {
            copy.len = LK_MIN(d.len, sizeof copy.data);
            memcpy(copy.data, d.data, copy.len);
            if (lk_addr_eq(&d.remote, &at_b))
                lk_ice_input(&b, now, &(lk_datagram){.local = at_b, .remote = at_a, .data = copy.data, .len = copy.len});
        }
        while (lk_ice_poll_tx(&b, now, &d)) {
            copy.len = LK_MIN(d.len, sizeof copy.data);
            memcpy(copy.data, d.data, copy.len);
            last = copy;
            if (lk_addr_eq(&d.remote, &at_a))
                send(copy.data, copy.len, &at_b, now);
        }
    }
    while (lk_ice_poll_event(&a, &e))
        if (e.type == LK_ICE_EV_CANDIDATE)
            (void)!lk_ice_add_remote(&b, now, lk_str_of(e.line));
    while (lk_ice_poll_event(&b, &e))
        if (e.type == LK_ICE_EV_CANDIDATE)
            (void)!lk_ice_add_remote(&a, now, lk_str_of(e.line));
}

static void forge(lk_rd *in, lk_usec now)
{
    uint8_t raw[300], tid[LK_STUN_TID_LEN] = {0};
    char names[2 * LK_ICE_UFRAG_LEN + 2];
    lk_wr w = lk_wr_of(raw, sizeof raw);
    uint8_t how = lk_rd_u8(in);
    memcpy(names, a.ufrag, LK_ICE_UFRAG_LEN);
    names[LK_ICE_UFRAG_LEN] = ':';
    memcpy(names + LK_ICE_UFRAG_LEN + 1, b.ufrag, LK_ICE_UFRAG_LEN);
    tid[0] = lk_rd_u8(in);
    if ((how & 3) && last.len >= 20)
        memcpy(tid, last.data + 8, sizeof tid); /* of a request or an answer he has heard */
    lk_stun_begin(&w, LK_STUN_BINDING, (lk_stun_class)(how & 3), tid);
    lk_stun_put(&w, LK_STUN_USERNAME, names, 2 * LK_ICE_UFRAG_LEN + 1);
    if (how & 4)
        lk_stun_put(&w, LK_STUN_USE_CANDIDATE, NULL, 0);
    lk_stun_put_u32(&w, LK_STUN_PRIORITY, 1853824767u);
    lk_stun_put_u64(&w, how & 8 ? LK_STUN_ICE_CONTROLLING : LK_STUN_ICE_CONTROLLED, 1);
    lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &at_a);
    if (how & 16)
        lk_stun_put_integrity(&w, "guessed-wrong-password-0", 24);
    lk_stun_put_fingerprint(&w);
    if (!w.bad)
        send(raw, w.len, how & 32 ? &at_b : &at_x, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_rd in = lk_rd_of(data, size);
    lk_usec now = LK_SEC(1);
    uint8_t how = lk_rd_u8(&in);
    at_a = lk_addr_v4(10, 0, 0, 1, 1000);
    at_b = lk_addr_v4(10, 0, 0, 2, 2000);
    at_x = lk_addr_v4(10, 0, 0, 66, 6666);
    last.len = 0;
    replayed = false;
    const lk_env *env = fuzz_env();
    lk_ice_init(&a, env, &(lk_ice_config){.controlling = how & 1}, now);
    lk_ice_init(&b, env, &(lk_ice_config){.controlling = how & 2, .lite = how & 4 && how & 1 && !(how & 2)}, now);
    FUZZ_REQUIRE(lk_ice_add_local(&a, now, &at_a) == LK_OK && lk_ice_add_local(&b, now, &at_b) == LK_OK);
    FUZZ_REQUIRE(lk_ice_set_remote(&a, now, lk_str_of(b.ufrag), lk_str_of(b.pwd), b.config.lite) == LK_OK);
    FUZZ_REQUIRE(lk_ice_set_remote(&b, now, lk_str_of(a.ufrag), lk_str_of(a.pwd), false) == LK_OK);
    while (lk_rd_left(&in) && !in.bad) {
        uint8_t what = lk_rd_u8(&in), n = lk_rd_u8(&in);
        const lk_addr *from = what & 128 ? &at_b : &at_x;
        switch (what & 7) {
        case 0:
        case 1: exchange(now); break;
        case 2:
        case 3: {
            size_t len = LK_MIN(n, lk_rd_left(&in));
            const uint8_t *bytes = len ? lk_rd_take(&in, len) : (const uint8_t *)"";
            send(bytes, len, from, now);
            break;
        }
        case 4: forge(&in, now); break;
        case 5: { /* as heard: from elsewhere, or changed by a bit */
            heard copy = last;
            if (what & 64 && copy.len)
                copy.data[n % copy.len] ^= (uint8_t)(1u << (what >> 3 & 7));
            else
                from = &at_x;
            replayed = replayed || !(what & 64);
            send(copy.data, copy.len, from, now);
            break;
        }
        default:
            now += LK_MSEC(1) * n;
            lk_ice_tick(&a, now);
            lk_ice_tick(&b, now);
            judge();
            break;
        }
    }
    const bool patient = now < LK_SEC(9);
    for (int i = 0; i < 500; i++) {
        exchange(now);
        now += LK_MSEC(10);
        lk_ice_tick(&a, now);
        lk_ice_tick(&b, now);
    }
    judge();
    FUZZ_REQUIRE(!patient || a.state == LK_ICE_STATE_CONNECTED);
    lk_ice_deinit(&a);
    lk_ice_deinit(&b);
    return 0;
}
