// SPDX-License-Identifier: Apache-2.0
/* An agent through a program of time, candidates and checks, some of them with the right password: only an address that
 * knew it is ever valid or selected, what goes out is paced, and time never stands still. First byte: our roles. */
#include "fuzz_env.h"
#include "ice/ice.h"
#include "stun/stun.h"

#define REMOTES 8u
#define STEPS 200

typedef struct agent {
    lk_ice ice;
    lk_usec now;
    lk_addr local;
    bool knew[REMOTES];
    uint8_t asked[REMOTES][2][LK_STUN_TID_LEN]; /* the last two checks of ours to each, newest first */
    bool was_asked[REMOTES];
} agent;

static lk_addr remote_at(uint8_t i) { return lk_addr_v4(10, 0, 1, (uint8_t)(i % REMOTES), (uint16_t)(4000 + i % REMOTES)); }

static void drain(agent *a)
{
    lk_datagram tx;
    lk_ice_event e;
    lk_stun_msg m;
    int packets = 0;
    while (lk_ice_poll_tx(&a->ice, a->now, &tx)) {
        FUZZ_REQUIRE(++packets <= 100 && lk_stun_parse(&m, tx.data, tx.len) == LK_OK);
        for (uint8_t i = 0; i < REMOTES; i++) {
            const lk_addr r = remote_at(i);
            if (!lk_addr_eq(&r, &tx.remote) || m.cls != LK_STUN_REQUEST)
                continue;
            if (memcmp(a->asked[i][0], m.tid, LK_STUN_TID_LEN) != 0)
                memcpy(a->asked[i][1], a->asked[i][0], LK_STUN_TID_LEN);
            memcpy(a->asked[i][0], m.tid, LK_STUN_TID_LEN);
            a->was_asked[i] = true;
        }
    }
    while (lk_ice_poll_event(&a->ice, &e)) {
    }
    for (uint8_t i = 0; i < REMOTES; i++) {
        const lk_addr r = remote_at(i);
        FUZZ_REQUIRE(a->knew[i] || !lk_ice_is_valid(&a->ice, &a->local, &r));
    }
    lk_addr local, remote;
    if (lk_ice_selected(&a->ice, &local, &remote)) {
        bool known = false;
        for (uint8_t i = 0; i < REMOTES; i++) {
            const lk_addr r = remote_at(i);
            known |= a->knew[i] && lk_addr_eq(&r, &remote);
        }
        FUZZ_REQUIRE(known);
    }
    FUZZ_REQUIRE(lk_ice_pair_count(&a->ice) <= 256);
}

/* how: bit 0 use-candidate, 1 controlled, 2 wrong password, 3 no fingerprint, 4 no priority, 5 a wrong user name */
static void request(agent *a, uint8_t from, uint8_t how, const uint8_t *tid)
{
    uint8_t bytes[512];
    char user[LK_ICE_UFRAG_LEN + 8];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    snprintf(user, sizeof user, "%s:abcd", how & 32 ? "xxxx" : a->ice.ufrag);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    lk_stun_put(&w, LK_STUN_USERNAME, user, strlen(user));
    if (!(how & 16))
        lk_stun_put_u32(&w, LK_STUN_PRIORITY, 1000u + from);
    lk_stun_put_u64(&w, how & 2 ? LK_STUN_ICE_CONTROLLED : LK_STUN_ICE_CONTROLLING, (uint64_t)lk_get_u32(tid) << 32);
    if (how & 1)
        lk_stun_put(&w, LK_STUN_USE_CANDIDATE, "", 0);
    const char *key = how & 4 ? "not the password of this one" : a->ice.pwd;
    lk_stun_put_integrity(&w, key, strlen(key));
    if (!(how & 8))
        lk_stun_put_fingerprint(&w);
    a->knew[from % REMOTES] |= !(how & (4 | 32));
    const lk_datagram in = {.local = a->local, .remote = remote_at(from), .data = bytes, .len = w.len};
    lk_ice_input(&a->ice, a->now, &in);
}

/* how: bit 0 an error, 1 wrong password, 2 from another address, 3 an unknown transaction, 4 role conflict, 5 to the check before the last */
static void response(agent *a, uint8_t from, uint8_t how)
{
    uint8_t bytes[512], tid[LK_STUN_TID_LEN];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    const char *key = how & 2 ? "not the password of the peer" : "0123456789012345678901";
    from %= REMOTES;
    if (!a->was_asked[from])
        return;
    memcpy(tid, a->asked[from][how & 32 ? 1 : 0], sizeof tid);
    tid[0] ^= (uint8_t)(how & 8);
    lk_stun_begin(&w, LK_STUN_BINDING, how & 1 ? LK_STUN_ERROR : LK_STUN_SUCCESS, tid);
    if (how & 1)
        lk_stun_put_error(&w, how & 16 ? 487 : 400, "no");
    else
        lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &a->local);
    lk_stun_put_integrity(&w, key, strlen(key));
    lk_stun_put_fingerprint(&w);
    uint8_t source = (uint8_t)(from + (how & 4 ? 1 : 0));
    a->knew[from] |= !(how & (1 | 2 | 4 | 8));
    const lk_datagram in = {.local = a->local, .remote = remote_at(source), .data = bytes, .len = w.len};
    lk_ice_input(&a->ice, a->now, &in);
}

static void step(agent *a, lk_rd *p)
{
    uint8_t op = lk_rd_u8(p), arg = lk_rd_u8(p), how = lk_rd_u8(p);
    char line[96];
    size_t n;
    switch (op % 7) {
    case 0:
    case 1:
        a->now += op % 7 ? LK_MSEC(arg) : LK_MSEC(arg * 40);
        lk_ice_tick(&a->ice, a->now);
        break;
    case 2:
        n = (size_t)snprintf(line, sizeof line, "candidate:%u 1 udp %u 10.0.1.%u %u typ %s", arg, how * 1000u + 1, arg % REMOTES, 4000 + arg % REMOTES,
                             how & 1 ? "host" : "srflx raddr 0.0.0.0 rport 0");
        (void)!lk_ice_add_remote(&a->ice, a->now, (lk_str){line, n});
        break;
    case 3: {
        uint8_t tid[LK_STUN_TID_LEN] = {op, arg, how, (uint8_t)a->now, (uint8_t)(a->now >> 8)};
        request(a, arg, how, tid);
        break;
    }
    case 4: response(a, arg, how); break;
    case 5:
        if (arg == 0) {
            lk_ice_restart(&a->ice, a->now);
            (void)!lk_ice_set_remote(&a->ice, a->now, lk_str_of("abcd"), lk_str_of("0123456789012345678901"), how & 1);
        }
        break;
    default: {
        size_t left = lk_rd_left(p), len = LK_MIN((size_t)arg, left);
        const lk_datagram in = {.local = a->local, .remote = remote_at(how), .data = lk_rd_take(p, len), .len = len};
        lk_ice_input(&a->ice, a->now, &in);
    }
    }
    drain(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    agent a = {.now = LK_SEC(1), .local = lk_addr_v4(10, 0, 0, 1, 1)};
    lk_rd p = lk_rd_of(data, size);
    uint8_t mode = lk_rd_u8(&p);
    lk_ice_init(&a.ice, fuzz_env(), &(lk_ice_config){.controlling = mode & 1, .lite = (mode & 6) == 6}, a.now);
    FUZZ_REQUIRE(lk_ice_add_local(&a.ice, a.now, &a.local) == LK_OK);
    if (!(mode & 8))
        FUZZ_REQUIRE(lk_ice_set_remote(&a.ice, a.now, lk_str_of("abcd"), lk_str_of("0123456789012345678901"), (mode & 48) == 48) == LK_OK);
    drain(&a);
    for (int i = 0; i < STEPS && lk_rd_left(&p); i++)
        step(&a, &p);
    for (int i = 0; i < 300 && lk_ice_deadline(&a.ice) != LK_NEVER; i++) {
        lk_usec at = lk_ice_deadline(&a.ice);
        a.now = LK_MAX(at, a.now);
        lk_ice_tick(&a.ice, a.now);
        drain(&a);
        FUZZ_REQUIRE(lk_ice_deadline(&a.ice) > a.now);
    }
    lk_ice_deinit(&a.ice);
    return 0;
}
