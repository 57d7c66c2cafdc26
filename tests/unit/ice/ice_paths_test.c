// SPDX-License-Identifier: Apache-2.0
/* Paths that are not simply there: NATs of every kind, one IP version dead, one direction dead, peers that flood. */
#include "ice/ice.h"
#include "lk_test.h"

typedef enum nat_kind { NAT_NONE, NAT_CONE, NAT_ADDRESS, NAT_PORT, NAT_SYMMETRIC, NAT_KINDS } nat_kind;

#define MAPPINGS_MAX 32
/* One hole: who made it, towards whom, as what it is seen outside. */
typedef struct mapping {
    lk_addr inside, towards;
    uint16_t port;
} mapping;

typedef struct flying {
    lk_usec at;
    int to;
    lk_addr local, remote;
    size_t len;
    uint8_t data[600];
} flying;

typedef struct world {
    lk_ice side[2];
    nat_kind nat; /* in front of side 0 */
    mapping holes[MAPPINGS_MAX];
    size_t hole_count;
    uint16_t next_port;
    lk_prng dice;
    unsigned loss_percent;
    bool dead_v4, dead_v6, dead_from[2];
    lk_usec now;
    uint64_t carried[2], swallowed; /* swallowed: by the NAT */
    lk_queue wire;
} world;

static lk_addr outside_of(uint16_t port) { return lk_addr_v4(192, 0, 2, 1, port); }

static bool same_ip(const lk_addr *a, const lk_addr *b) { return lk_addr_ip_eq(a, b); }

/* The port a datagram from inside is seen with; makes the hole. */
static uint16_t go_out(world *w, const lk_addr *inside, const lk_addr *towards)
{
    uint16_t port = 0;
    for (size_t i = 0; i < w->hole_count; i++) {
        const mapping *m = &w->holes[i];
        if (!lk_addr_eq(&m->inside, inside))
            continue;
        if (lk_addr_eq(&m->towards, towards))
            return m->port;
        if (w->nat != NAT_SYMMETRIC)
            port = m->port; /* the same for every destination */
    }
    if (!port)
        port = ++w->next_port;
    if (w->hole_count < MAPPINGS_MAX)
        w->holes[w->hole_count++] = (mapping){*inside, *towards, port};
    return port;
}

static bool come_in(world *w, const lk_addr *from, uint16_t port, lk_addr *inside)
{
    for (size_t i = 0; i < w->hole_count; i++) {
        const mapping *m = &w->holes[i];
        bool lets = w->nat == NAT_CONE || (w->nat == NAT_ADDRESS && same_ip(&m->towards, from)) || lk_addr_eq(&m->towards, from);
        if (m->port == port && lets) {
            *inside = m->inside;
            return true;
        }
    }
    return false;
}

static void carry(world *w, int from)
{
    lk_datagram d;
    while (lk_ice_poll_tx(&w->side[from], w->now, &d)) {
        flying f = {.at = w->now + LK_MSEC(10), .to = 1 - from, .local = d.remote, .remote = d.local, .len = d.len};
        memcpy(f.data, d.data, d.len);
        w->carried[from]++;
        if (w->dead_from[from] || (d.remote.family == 4 ? w->dead_v4 : w->dead_v6) || lk_prng_next(&w->dice) % 100 < w->loss_percent)
            continue;
        if (w->nat != NAT_NONE && from == 0) {
            f.remote = outside_of(go_out(w, &d.local, &d.remote));
        } else if (w->nat != NAT_NONE) {
            lk_addr outside = outside_of(d.remote.port);
            if (!same_ip(&d.remote, &outside) || !come_in(w, &d.local, d.remote.port, &f.local)) {
                w->swallowed++; /* nobody outside reaches a private address, or the filter is closed */
                continue;
            }
        }
        /* Only where a socket is. */
        bool bound = false;
        for (size_t i = 0; lk_ice_local_at(&w->side[f.to], i); i++)
            bound = bound || lk_addr_eq(&lk_ice_local_at(&w->side[f.to], i)->addr, &f.local);
        if (bound && lk_queue_push(&w->wire, &f) != LK_OK)
            return;
    }
}

static void trickle(world *w, int from)
{
    lk_ice_event ev;
    while (lk_ice_poll_event(&w->side[from], &ev))
        if (ev.type == LK_ICE_EV_CANDIDATE)
            CHECK_OK(lk_ice_add_remote(&w->side[1 - from], w->now, lk_str_of(ev.line)));
}

static void run_for(world *w, lk_usec span)
{
    const lk_usec end = w->now + span;
    while (w->now < end) {
        for (int i = 0; i < 2; i++) {
            carry(w, i);
            trickle(w, i);
        }
        lk_usec a = lk_ice_deadline(&w->side[0]), b = lk_ice_deadline(&w->side[1]), next = LK_MIN(a, b);
        flying *f = (flying *)lk_queue_peek(&w->wire, 0);
        if (f && f->at <= next && f->at <= end) {
            flying copy = *f;
            lk_queue_pop(&w->wire, NULL);
            w->now = LK_MAX(w->now, copy.at);
            const lk_datagram d = {copy.local, copy.remote, copy.data, copy.len};
            lk_ice_input(&w->side[copy.to], w->now, &d);
        } else if (next > end) {
            w->now = end;
        } else {
            w->now = LK_MAX(w->now, next);
            lk_ice_tick(&w->side[0], w->now);
            lk_ice_tick(&w->side[1], w->now);
        }
    }
}

static bool begin(world *w, lk_env *env, lk_ice_config a, lk_ice_config b)
{
    lk_ice_init(&w->side[0], env, &a, 0);
    lk_ice_init(&w->side[1], env, &b, 0);
    lk_queue_init(&w->wire, env, sizeof(flying), 4000);
    lk_prng_init(&w->dice, 11);
    w->next_port = 40000;
    return lk_ice_set_remote(&w->side[0], 0, lk_str_of(w->side[1].ufrag), lk_str_of(w->side[1].pwd), b.lite) == LK_OK &&
           lk_ice_set_remote(&w->side[1], 0, lk_str_of(w->side[0].ufrag), lk_str_of(w->side[0].pwd), a.lite) == LK_OK;
}

static bool add(world *w, int i, lk_addr at) { return lk_ice_add_local(&w->side[i], w->now, &at) == LK_OK; }
static lk_addr v6(uint8_t last, uint16_t port) { return (lk_addr){.family = 6, .port = port, .ip = {0xfd, [15] = last}}; }

static void end(world *w)
{
    lk_ice_deinit(&w->side[0]);
    lk_ice_deinit(&w->side[1]);
    lk_queue_deinit(&w->wire);
}

static bool both_up(const world *w) { return w->side[0].state == LK_ICE_STATE_CONNECTED && w->side[1].state == LK_ICE_STATE_CONNECTED; }

LK_TEST(a_client_behind_any_nat_reaches_a_server_full_or_lite_through_loss)
{
    for (nat_kind kind = NAT_NONE; kind < NAT_KINDS; kind++)
        for (int lite = 0; lite < 2; lite++)
            for (unsigned loss = 0; loss <= 25; loss += 25) {
                world w = {.nat = kind, .loss_percent = loss};
                if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, lite}) && add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) &&
                    add(&w, 1, lk_addr_v4(203, 0, 113, 9, 7882))) {
                    run_for(&w, LK_SEC(9));
                    if (!CHECK(both_up(&w)))
                        CHECK_EQ(kind, loss + 1000u * (unsigned)lite); /* which one */
                    lk_addr local, remote, outside = outside_of(0);
                    CHECK(lk_ice_selected(&w.side[1], &local, &remote));
                    if (kind != NAT_NONE)
                        CHECK(same_ip(&remote, &outside) && lk_ice_is_valid(&w.side[1], &local, &remote));
                    run_for(&w, LK_SEC(60)); /* consent goes through the same holes */
                    CHECK(both_up(&w));
                    if (kind > NAT_CONE && !lite)
                        CHECK(w.swallowed > 0); /* the server did try the private address */
                }
                end(&w);
                if (lk_test_oom())
                    return;
            }
}

LK_TEST(a_mapping_that_changes_is_let_in_again_and_the_client_stays)
{
    world w = {.nat = NAT_PORT};
    if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, true}) && add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) &&
        add(&w, 1, lk_addr_v4(203, 0, 113, 9, 7882))) {
        run_for(&w, LK_SEC(5));
        lk_addr local, before;
        CHECK(both_up(&w) && lk_ice_selected(&w.side[1], &local, &before));
        w.hole_count = 0; /* the box was restarted */
        w.next_port = 50000;
        lk_addr after = outside_of(50001);
        CHECK(!lk_ice_is_valid(&w.side[1], &local, &after));
        run_for(&w, LK_SEC(8)); /* a consent check is at most 6 s away */
        CHECK(w.side[0].state == LK_ICE_STATE_CONNECTED && lk_ice_is_valid(&w.side[1], &local, &after));
        run_for(&w, LK_SEC(60));
        CHECK_EQ(w.side[0].state, LK_ICE_STATE_CONNECTED);
    }
    end(&w);
}

LK_TEST(with_one_ip_version_dead_the_other_is_found)
{
    for (int dead = 0; dead < 3; dead++) { /* none, IPv4, IPv6 */
        world w = {.dead_v4 = dead == 1, .dead_v6 = dead == 2};
        if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false}) && add(&w, 0, v6(1, 1000)) &&
            add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) && add(&w, 1, v6(2, 2000)) && add(&w, 1, lk_addr_v4(10, 0, 0, 2, 2000))) {
            run_for(&w, LK_SEC(4));
            lk_addr local, remote;
            CHECK(both_up(&w));
            if (CHECK(lk_ice_selected(&w.side[0], &local, &remote)) && dead)
                CHECK_EQ(remote.family, dead == 1 ? 6 : 4);
            CHECK_EQ(local.family, remote.family);
        }
        end(&w);
    }
}

LK_TEST(a_role_conflict_is_settled_on_ipv6_and_against_lite)
{
    for (int both = 0; both < 2; both++) {
        world w = {.loss_percent = 20};
        if (begin(&w, env, (lk_ice_config){both, false}, (lk_ice_config){both, false}) && add(&w, 0, v6(1, 1000)) && add(&w, 1, v6(2, 2000))) {
            run_for(&w, LK_SEC(9));
            CHECK(both_up(&w));
            CHECK_EQ(w.side[0].config.controlling, !w.side[1].config.controlling);
            CHECK(w.side[0].role_switches + w.side[1].role_switches >= 1);
        }
        end(&w);
    }
    world w = {0};
    if (begin(&w, env, (lk_ice_config){false, false}, (lk_ice_config){false, true}) && add(&w, 0, v6(1, 1000)) && add(&w, 1, v6(2, 2000))) {
        run_for(&w, LK_SEC(3));
        CHECK(both_up(&w) && w.side[0].config.controlling); /* a lite peer is always controlled */
    }
    end(&w);
}

LK_TEST(a_path_of_one_direction_is_no_path)
{
    for (int dead = 0; dead < 2; dead++) {
        world w = {.dead_from[0] = dead == 0, .dead_from[1] = dead == 1};
        if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false}) && add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) &&
            add(&w, 1, lk_addr_v4(10, 0, 0, 2, 2000))) {
            lk_addr local, remote;
            run_for(&w, LK_SEC(10));
            CHECK(!lk_ice_selected(&w.side[0], &local, &remote) && !lk_ice_selected(&w.side[1], &local, &remote));
            run_for(&w, LK_SEC(10));
            CHECK(w.side[0].state == LK_ICE_STATE_FAILED && w.side[1].state == LK_ICE_STATE_FAILED);
            uint64_t before = w.carried[0] + w.carried[1];
            run_for(&w, LK_SEC(60));
            CHECK_EQ(w.carried[0] + w.carried[1], before); /* and then silence */
        }
        end(&w);
    }
}

LK_TEST(consent_lost_in_one_direction_is_lost)
{
    for (int dead = 0; dead < 2; dead++) {
        world w = {0};
        if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false}) && add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) &&
            add(&w, 1, lk_addr_v4(10, 0, 0, 2, 2000))) {
            run_for(&w, LK_SEC(5));
            CHECK(both_up(&w));
            w.dead_from[dead] = true;
            run_for(&w, LK_SEC(18));
            CHECK(w.side[0].state == LK_ICE_STATE_DISCONNECTED && w.side[1].state == LK_ICE_STATE_DISCONNECTED);
            run_for(&w, LK_SEC(18));
            CHECK(w.side[0].state == LK_ICE_STATE_FAILED && w.side[1].state == LK_ICE_STATE_FAILED);
        }
        end(&w);
    }
}

LK_TEST(the_wrong_password_opens_nothing)
{
    world w = {0};
    if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false}) &&
        lk_ice_set_remote(&w.side[0], 0, lk_str_of(w.side[1].ufrag), lk_str_of("a wrong password of a good length"), false) == LK_OK &&
        add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) && add(&w, 1, lk_addr_v4(10, 0, 0, 2, 2000))) {
        lk_addr l, r;
        run_for(&w, LK_SEC(20));
        CHECK(w.side[1].dropped > 10 && !lk_ice_selected(&w.side[0], &l, &r));
        CHECK_EQ(w.side[0].state, LK_ICE_STATE_FAILED);
        CHECK_EQ(lk_ice_set_remote(&w.side[0], w.now, lk_str_of("abc"), lk_str_of("twenty-two characters.."), false), LK_ERR_INVALID);
        CHECK_EQ(lk_ice_set_remote(&w.side[0], w.now, lk_str_of("abcd"), lk_str_of("too short"), false), LK_ERR_INVALID);
    }
    end(&w);
}

LK_TEST(a_flood_of_candidates_is_bounded_and_the_true_one_is_found)
{
    world w = {0};
    if (begin(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false}) && add(&w, 0, lk_addr_v4(10, 0, 0, 1, 1000)) &&
        add(&w, 1, lk_addr_v4(10, 0, 0, 2, 2000))) {
        trickle(&w, 1);
        for (unsigned i = 0; i < 300; i++) {
            char num[LK_STR_FMT_MAX];
            lk_text t;
            lk_text_init(&t, env, 200);
            lk_text_z(&t, "candidate:1 1 udp 2130706431 172.16.0.1 ");
            lk_text_z(&t, lk_u64_text(1024 + i, num));
            lk_text_z(&t, " typ host");
            lk_err err = t.bad ? LK_ERR_NOMEM : lk_ice_add_remote(&w.side[0], 0, (lk_str){t.p, t.len});
            CHECK(err == LK_OK || err == LK_ERR_LIMIT || err == LK_ERR_FULL || lk_test_oom());
            lk_text_deinit(&t);
        }
        CHECK(w.side[0].signalled <= LK_ICE_REMOTE_MAX && lk_ice_pair_count(&w.side[0]) <= LK_ICE_PAIRS_MAX);
        run_for(&w, LK_SEC(6));
        CHECK(both_up(&w));
    }
    end(&w);
    static const char *const bad[] = {"", "candidate:", "candidate:1 1 udp", "candidate:1 1 udp 1 1.2.3.4 99999 typ host",
                                      "candidate:1 1 udp 1 1.2.3.4 5 typ", "candidate:1 1 udp 1 1.2.3.4 9 typ other", "garbage"};
    static const char *const skipped[] = {"candidate:1 1 tcp 1 1.2.3.4 9 typ host tcptype active", "candidate:1 2 udp 1 1.2.3.4 9 typ host",
                                          "candidate:1 1 udp 1 aaaa.local 9 typ host"};
    lk_ice ice;
    lk_ice_init(&ice, env, &(lk_ice_config){true, false}, 0);
    for (size_t i = 0; i < LK_LEN(bad); i++)
        CHECK(lk_ice_add_remote(&ice, 0, lk_str_of(bad[i])) != LK_OK);
    for (size_t i = 0; i < LK_LEN(skipped); i++)
        CHECK_OK(lk_ice_add_remote(&ice, 0, lk_str_of(skipped[i])));
    CHECK_EQ(ice.remotes.count, 0);
    lk_ice_deinit(&ice);
}
