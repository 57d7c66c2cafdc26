// SPDX-License-Identifier: Apache-2.0
#include "ice/ice.h"
#include "lk_test.h"
#include "stun_answer.h"

#define STUN lk_addr_v4(198, 51, 100, 1, 3478)
#define OUTSIDE lk_addr_v4(203, 0, 113, 7, 40000)

/* Lets the agent run until it sleeps; answers with `mapped` when it is not NULL. Returns how many requests it sent. */
static size_t run(lk_ice *ice, lk_usec *now, const lk_addr *mapped, bool bare)
{
    size_t asked = 0;
    for (;;) {
        lk_datagram d;
        lk_ice_tick(ice, *now);
        while (lk_ice_poll_tx(ice, *now, &d)) {
            uint8_t answer[128];
            const lk_datagram back = {d.local, d.remote, answer, mapped ? stun_answer(answer, sizeof answer, d.data, d.len, mapped, bare) : 0};
            asked++;
            if (back.len)
                lk_ice_input(ice, *now, &back);
        }
        if (lk_ice_deadline(ice) == LK_NEVER)
            return asked;
        *now = LK_MAX(*now + 1, lk_ice_deadline(ice));
    }
}

/* Lines of candidates that were told and hold `word`; the last one into line. */
static size_t told(lk_ice *ice, const char *word, lk_ice_event *last)
{
    lk_ice_event ev;
    size_t n = 0;
    while (lk_ice_poll_event(ice, &ev))
        if (ev.type == LK_ICE_EV_CANDIDATE && strstr(ev.line, word)) {
            n++;
            *last = ev;
        }
    return n;
}

static bool begin(lk_ice *ice, lk_env *env)
{
    const lk_addr mine = lk_addr_v4(10, 0, 0, 1, 5000);
    lk_ice_init(ice, env, &(lk_ice_config){.controlling = true}, 0);
    return lk_ice_add_local(ice, 0, &mine) == LK_OK;
}

LK_TEST(an_address_behind_a_nat_learns_how_it_looks_and_tells_it_once)
{
    for (int bare = 0; bare < 2; bare++) {
        lk_ice ice;
        lk_usec now = 0;
        lk_ice_event last = {0};
        lk_ice_line line;
        const lk_addr server = STUN, outside = OUTSIDE, second = lk_addr_v4(198, 51, 100, 2, 3478);
        if (begin(&ice, env) && lk_ice_add_server(&ice, now, &server) == LK_OK && lk_ice_add_server(&ice, now, &second) == LK_OK) {
            CHECK_EQ(run(&ice, &now, &outside, bare), 2); /* the second server sees the same */
            if (lk_test_oom()) {
                lk_ice_deinit(&ice);
                return;
            }
            CHECK_EQ(told(&ice, "typ srflx", &last), 1);
            CHECK_OK(lk_ice_line_parse(&line, lk_str_of(last.line)));
            CHECK(lk_str_eq(line.address, "203.0.113.7") && line.port == 40000);
            CHECK(lk_str_eq(line.raddr, "10.0.0.1") && line.rport == 5000);
            CHECK(line.priority >> 24 == 100);
            CHECK(now < LK_MSEC(20));
            CHECK_EQ(lk_ice_pair_count(&ice), 0);
        }
        lk_ice_deinit(&ice);
    }
}

LK_TEST(without_a_nat_there_is_nothing_to_tell)
{
    lk_ice ice;
    lk_usec now = 0;
    lk_ice_event last;
    const lk_addr server = STUN, mine = lk_addr_v4(10, 0, 0, 1, 5000);
    if (begin(&ice, env) && lk_ice_add_server(&ice, now, &server) == LK_OK) {
        CHECK_EQ(run(&ice, &now, &mine, false), 1);
        CHECK_EQ(told(&ice, "typ srflx", &last), 0);
    }
    lk_ice_deinit(&ice);
}

LK_TEST(a_server_that_is_silent_is_asked_seven_times_and_then_let_be)
{
    lk_ice ice;
    lk_usec now = 0;
    const lk_addr server = STUN;
    if (begin(&ice, env) && lk_ice_add_server(&ice, now, &server) == LK_OK) {
        CHECK_EQ(run(&ice, &now, NULL, false), 7);
        CHECK(now > LK_SEC(5) && now < LK_SEC(12));
    }
    lk_ice_deinit(&ice);
}

LK_TEST(answers_nobody_asked_for_change_nothing)
{
    lk_ice ice;
    lk_ice_event last;
    lk_datagram d;
    uint8_t answer[128];
    const lk_addr server = STUN, outside = OUTSIDE, stranger = lk_addr_v4(192, 0, 2, 9, 3478), other = lk_addr_v4(10, 0, 0, 9, 5000);
    if (begin(&ice, env) && lk_ice_add_server(&ice, 0, &server) == LK_OK) {
        lk_ice_tick(&ice, 0);
        CHECK(lk_ice_poll_tx(&ice, 0, &d));
        size_t len = stun_answer(answer, sizeof answer, d.data, d.len, &outside, true);
        uint64_t before = ice.dropped;
        lk_ice_input(&ice, 0, &(lk_datagram){d.local, stranger, answer, len});
        lk_ice_input(&ice, 0, &(lk_datagram){other, server, answer, len});
        answer[10] ^= 1; /* another transaction */
        lk_ice_input(&ice, 0, &(lk_datagram){d.local, server, answer, len});
        answer[10] ^= 1;
        CHECK_EQ(ice.dropped - before, 3);
        CHECK_EQ(told(&ice, "typ srflx", &last), 0);
        lk_ice_input(&ice, 0, &(lk_datagram){d.local, server, answer, len});
        lk_ice_input(&ice, 0, &(lk_datagram){d.local, server, answer, len}); /* twice */
        CHECK_EQ(ice.dropped - before, 4);
        if (!lk_test_oom())
            CHECK_EQ(told(&ice, "typ srflx", &last), 1);
    }
    lk_ice_deinit(&ice);
}

LK_TEST(servers_of_another_world_are_not_asked_and_there_are_at_most_four)
{
    lk_ice ice;
    lk_usec now = 0;
    const lk_addr loopback = lk_addr_v4(127, 0, 0, 1, 3478), six = {.family = 6, .port = 3478, .ip = {0xfd, [15] = 9}};
    const lk_addr again = loopback, a = lk_addr_v4(127, 0, 0, 2, 1), b = lk_addr_v4(127, 0, 0, 3, 1), c = lk_addr_v4(127, 0, 0, 4, 1);
    if (begin(&ice, env)) {
        CHECK_OK(lk_ice_add_server(&ice, now, &loopback));
        CHECK_OK(lk_ice_add_server(&ice, now, &six));
        CHECK_OK(lk_ice_add_server(&ice, now, &again));
        CHECK_OK(lk_ice_add_server(&ice, now, &a));
        CHECK_OK(lk_ice_add_server(&ice, now, &b));
        CHECK_EQ(lk_ice_add_server(&ice, now, &c), LK_ERR_LIMIT);
        CHECK_EQ(run(&ice, &now, NULL, false), 0);
        CHECK_EQ(now, 0);
    }
    lk_ice_deinit(&ice);
}

LK_TEST(a_selected_pair_ends_the_asking)
{
    lk_ice ice;
    lk_datagram d;
    const lk_addr server = STUN;
    if (begin(&ice, env) && lk_ice_add_server(&ice, 0, &server) == LK_OK && CHECK(lk_ice_deadline(&ice) != LK_NEVER)) {
        ice.selected = 0; /* as if a check had been answered */
        lk_ice_pair *pair = lk_alloc0(env, sizeof *pair);
        if (pair && lk_queue_push(&ice.pairs, pair) == LK_OK) {
            ice.answered_at = 0;
            lk_ice_tick(&ice, 0);
            CHECK(!lk_ice_poll_tx(&ice, 0, &d));
        }
        lk_release(env, pair, sizeof *pair);
    }
    lk_ice_deinit(&ice);
}
