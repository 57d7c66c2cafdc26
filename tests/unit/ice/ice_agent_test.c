// SPDX-License-Identifier: Apache-2.0
#include "ice/ice.h"
#include "lk_test.h"

/* Two agents and a link of 10 ms that loses every n-th datagram, in virtual time. */
typedef struct world {
    lk_ice a, b;
    lk_prng dice;
    unsigned loss_percent;
    lk_usec now;
    size_t sent;
} world;

typedef struct flying {
    lk_usec at;
    bool to_a;
    lk_addr local, remote;
    size_t len;
    uint8_t data[600];
} flying;

static void carry(world *w, lk_queue *wire, lk_ice *from, bool to_a)
{
    lk_datagram d;
    while (lk_ice_poll_tx(from, w->now, &d)) {
        flying f = {.at = w->now + LK_MSEC(10), .to_a = to_a, .local = d.remote, .remote = d.local, .len = d.len};
        memcpy(f.data, d.data, d.len);
        w->sent++;
        if (lk_prng_next(&w->dice) % 100 >= w->loss_percent && lk_queue_push(wire, &f) != LK_OK)
            return;
    }
}

static void trickle(lk_ice *from, lk_ice *to, lk_usec now)
{
    lk_ice_event ev;
    while (lk_ice_poll_event(from, &ev))
        if (ev.type == LK_ICE_EV_CANDIDATE)
            CHECK_OK(lk_ice_add_remote(to, now, lk_str_of(ev.line)));
}

static void run_until(world *w, lk_env *env, lk_usec end)
{
    lk_queue wire;
    lk_queue_init(&wire, env, sizeof(flying), 1000);
    while (w->now < end) {
        carry(w, &wire, &w->a, false);
        carry(w, &wire, &w->b, true);
        trickle(&w->a, &w->b, w->now);
        trickle(&w->b, &w->a, w->now);
        lk_usec next = LK_MIN(lk_ice_deadline(&w->a), lk_ice_deadline(&w->b));
        flying *f = (flying *)lk_queue_peek(&wire, 0);
        if (f && f->at <= next) {
            w->now = LK_MAX(w->now, f->at);
            lk_datagram d = {f->local, f->remote, f->data, f->len};
            lk_ice_input(f->to_a ? &w->a : &w->b, w->now, &d);
            lk_queue_pop(&wire, NULL);
        } else if (next > end) {
            w->now = end;
        } else {
            w->now = LK_MAX(w->now, next);
            lk_ice_tick(&w->a, w->now);
            lk_ice_tick(&w->b, w->now);
        }
    }
    lk_queue_deinit(&wire);
}

static bool setup(world *w, lk_env *env, lk_ice_config a, lk_ice_config b)
{
    lk_addr va = lk_addr_v4(10, 0, 0, 1, 1000), vb = lk_addr_v4(10, 0, 0, 2, 2000);
    lk_ice_init(&w->a, env, &a, 0);
    lk_ice_init(&w->b, env, &b, 0);
    lk_prng_init(&w->dice, 7);
    return lk_ice_add_local(&w->a, 0, &va) == LK_OK && lk_ice_add_local(&w->b, 0, &vb) == LK_OK &&
           lk_ice_set_remote(&w->a, 0, lk_str_of(w->b.ufrag), lk_str_of(w->b.pwd), b.lite) == LK_OK &&
           lk_ice_set_remote(&w->b, 0, lk_str_of(w->a.ufrag), lk_str_of(w->a.pwd), a.lite) == LK_OK;
}

static void check_connects(lk_env *env, lk_ice_config a, lk_ice_config b, unsigned loss_percent)
{
    world w = {.loss_percent = loss_percent};
    if (setup(&w, env, a, b)) {
        run_until(&w, env, LK_SEC(8));
        CHECK_EQ(w.a.state, LK_ICE_STATE_CONNECTED);
        CHECK_EQ(w.b.state, LK_ICE_STATE_CONNECTED);
        CHECK_EQ(w.a.config.controlling, !w.b.config.controlling);
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

LK_TEST(full_agents_connect) { check_connects(env, (lk_ice_config){true, false}, (lk_ice_config){false, false}, 0); }
LK_TEST(full_connects_to_lite) { check_connects(env, (lk_ice_config){true, false}, (lk_ice_config){false, true}, 0); }
LK_TEST(two_controlling_agents_settle_it) { check_connects(env, (lk_ice_config){true, false}, (lk_ice_config){true, false}, 0); }
LK_TEST(two_controlled_agents_settle_it) { check_connects(env, (lk_ice_config){false, false}, (lk_ice_config){false, false}, 0); }
LK_TEST(agents_connect_through_40_percent_loss) { check_connects(env, (lk_ice_config){true, false}, (lk_ice_config){false, false}, 40); }

LK_TEST(consent_is_lost_30_s_after_the_last_answer_and_idle_is_quiet)
{
    world w = {0};
    if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
        run_until(&w, env, LK_SEC(5));
        size_t before = w.sent;
        run_until(&w, env, LK_SEC(65));
        CHECK(w.sent - before <= 2 * 2 * 16); /* a check and an answer, both sides, every 4 to 6 s */
        CHECK_EQ(w.a.state, LK_ICE_STATE_CONNECTED);
        w.loss_percent = 100;
        lk_usec answered = w.a.answered_at;
        run_until(&w, env, answered + LK_SEC(12));
        CHECK_EQ(w.a.state, LK_ICE_STATE_DISCONNECTED);
        run_until(&w, env, answered + LK_SEC(31));
        CHECK_EQ(w.a.state, LK_ICE_STATE_FAILED);
        lk_addr l, r;
        CHECK(!lk_ice_selected(&w.a, &l, &r));
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

/* Two that are idle ask for consent when they are woken by each other's checks: one wake-up does for both. */
LK_TEST(consent_is_asked_for_together_with_an_answer)
{
    world w = {0};
    if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
        run_until(&w, env, LK_SEC(5));
        lk_usec wakes = 0, least = LK_NEVER, last = w.a.answered_at;
        for (int i = 0; i < 600; i++) {
            lk_usec before = w.a.answered_at;
            run_until(&w, env, w.now + LK_MSEC(100));
            if (w.a.answered_at != before) {
                least = LK_MIN(least, w.a.answered_at - last);
                last = w.a.answered_at;
                wakes++;
            }
        }
        /* [RFC7675 s5.1]: not closer than 4 s, not further apart than 6. */
        CHECK(wakes >= 9 && wakes <= 15 && least >= LK_SEC(4));
        CHECK(w.a.answered_at - w.b.answered_at < LK_MSEC(25) && w.b.answered_at - w.a.answered_at < LK_MSEC(25));
        CHECK_EQ(w.a.state, LK_ICE_STATE_CONNECTED);
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

LK_TEST(unauthenticated_datagrams_change_nothing)
{
    world w = {0};
    if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
        run_until(&w, env, LK_SEC(2));
        uint8_t junk[100];
        size_t pairs = w.a.pairs.count;
        for (int i = 0; i < 1000; i++) {
            (void)lk_prng_fill(&w.dice, junk, sizeof junk);
            junk[0] = 0;
            lk_datagram d = {lk_addr_v4(10, 0, 0, 1, 1000), lk_addr_v4(6, 6, 6, 6, 666), junk, sizeof junk};
            lk_ice_input(&w.a, w.now, &d);
        }
        CHECK_EQ(w.a.dropped, 1000);
        CHECK_EQ(w.a.pairs.count, pairs);
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

LK_TEST(a_restart_keeps_the_pair_until_the_new_one_works)
{
    world w = {0};
    if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
        run_until(&w, env, LK_SEC(2));
        lk_addr l, r;
        lk_ice_restart(&w.a, w.now);
        lk_ice_restart(&w.b, w.now);
        CHECK(lk_ice_selected(&w.a, &l, &r));
        (void)!lk_ice_set_remote(&w.a, w.now, lk_str_of(w.b.ufrag), lk_str_of(w.b.pwd), false);
        (void)!lk_ice_set_remote(&w.b, w.now, lk_str_of(w.a.ufrag), lk_str_of(w.a.pwd), false);
        run_until(&w, env, w.now + LK_SEC(3));
        CHECK_EQ(w.a.state, LK_ICE_STATE_CONNECTED);
        CHECK(lk_ice_selected(&w.a, &l, &r));
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

/* Runs one agent whom nobody answers, as a loop does. */
static bool never_in_the_past(lk_ice *ice, lk_usec *now, lk_usec until)
{
    lk_datagram d;
    for (;;) {
        while (lk_ice_poll_tx(ice, *now, &d)) {
        }
        lk_usec at = lk_ice_deadline(ice);
        if (at <= *now)
            return false;
        if (at > until)
            return true;
        lk_ice_tick(ice, *now = at);
    }
}

/* Found by fuzz_agent: the time to nominate had passed and no pair was left for it, so the loop would have spun. */
LK_TEST(a_nomination_nobody_answers_leaves_no_deadline_in_the_past)
{
    world w = {0};
    if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
        lk_datagram d;
        trickle(&w.a, &w.b, 0);
        trickle(&w.b, &w.a, 0);
        for (int i = 0; i < 20 && w.a.first_valid_at == LK_NEVER; i++) { /* b answers the check, and is gone */
            lk_ice_tick(&w.a, w.now += LK_MSEC(5));
            while (w.a.first_valid_at == LK_NEVER && lk_ice_poll_tx(&w.a, w.now, &d))
                lk_ice_input(&w.b, w.now, &(lk_datagram){d.remote, d.local, d.data, d.len});
            while (w.a.first_valid_at == LK_NEVER && lk_ice_poll_tx(&w.b, w.now, &d))
                lk_ice_input(&w.a, w.now, &(lk_datagram){d.remote, d.local, d.data, d.len});
        }
        CHECK(lk_ice_pair_count(&w.a) > 0 && lk_ice_pair_at(&w.a, 0)->nominating);
        CHECK(never_in_the_past(&w.a, &w.now, LK_SEC(60)));
        CHECK_EQ(w.a.state, LK_ICE_STATE_FAILED);
    }
    lk_ice_deinit(&w.a);
    lk_ice_deinit(&w.b);
}

/* Found by fuzz_agent: consent waits for the new credentials, or for the nomination of its own pair, and so must its clock. */
LK_TEST(a_restart_that_nobody_answers_leaves_no_deadline_in_the_past)
{
    for (int told = 0; told < 2; told++) {
        world w = {0};
        if (setup(&w, env, (lk_ice_config){true, false}, (lk_ice_config){false, false})) {
            run_until(&w, env, LK_SEC(2));
            lk_ice_restart(&w.a, w.now);
            if (told)
                (void)!lk_ice_set_remote(&w.a, w.now, lk_str_of("other"), lk_str_of("0123456789012345678901"), false);
            lk_ice_tick(&w.a, w.now);
            CHECK(never_in_the_past(&w.a, &w.now, LK_SEC(70)));
            CHECK_EQ(w.a.state, LK_ICE_STATE_FAILED);
        }
        lk_ice_deinit(&w.a);
        lk_ice_deinit(&w.b);
    }
}
