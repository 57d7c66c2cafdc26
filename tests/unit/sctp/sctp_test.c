// SPDX-License-Identifier: Apache-2.0
#include "sctp_link.h"

#include "sctp/sctp_wire.h"

#ifdef __SANITIZE_ADDRESS__
#define POOLS_ARE_OFF true
#else
#define POOLS_ARE_OFF false
#endif

/* The ladder of refused allocations needs the ways of the code, not its endurance. */
static uint32_t many(uint32_t count) { return lk_test_oom() ? LK_MAX(count / 25, 4u) : count; }

/* Sends count messages from a to b as the buffer takes them. */
static size_t stream_messages(sctp_world *w, uint32_t count, size_t len, lk_sctp_message m, lk_usec limit)
{
    uint32_t sent = 0;
    lk_usec until = w->now + limit;
    while (sent < count) {
        lk_err err = link_send(w, 0, sent, len, m);
        if (err == LK_OK)
            sent++;
        else if (err != LK_ERR_FULL || !link_step(w, until) || w->now >= until)
            break;
    }
    return sent;
}

LK_TEST(an_association_comes_up_and_then_sleeps)
{
    sctp_world *w = link_new(env, 1, NULL);
    w->delay = LK_MSEC(10);
    if (link_connect(w)) {
        CHECK_EQ(lk_sctp_state_of(w->side[0].s), LK_SCTP_STATE_CONNECTED);
        CHECK_EQ(lk_sctp_state_of(w->side[1].s), LK_SCTP_STATE_CONNECTED);
        CHECK(link_settle(w, LK_SEC(10)));
        CHECK_EQ(lk_sctp_deadline(w->side[0].s), LK_NEVER);
        CHECK_EQ(lk_sctp_deadline(w->side[1].s), LK_NEVER);
        CHECK(w->carried == 4); /* INIT, INIT ACK, COOKIE ECHO, COOKIE ACK */
    } else {
        CHECK(lk_test_oom());
    }
    link_free(w);
}

LK_TEST(inits_that_cross_end_in_one_association)
{
    for (unsigned seed = 1; seed <= many(20); seed++) {
        sctp_world *w = link_new(env, seed, NULL);
        w->delay = LK_MSEC(20);
        w->loss_permille = seed * 20;
        if (link_is_up(w)) {
            CHECK_OK(lk_sctp_connect(w->side[0].s, w->now));
            CHECK_OK(lk_sctp_connect(w->side[1].s, w->now));
            CHECK(link_settle(w, LK_SEC(60)));
            w->loss_permille = 0;
            for (int i = 0; i < 2; i++) {
                CHECK(w->side[i].connected);
                CHECK_OK(link_send(w, i, 0, 1000, (lk_sctp_message){.stream = 1}));
            }
            CHECK(link_settle(w, LK_SEC(10)));
            CHECK(w->side[0].messages == 1 && w->side[1].messages == 1);
        } else {
            CHECK(lk_test_oom());
        }
        link_free(w);
    }
}

LK_TEST(nobody_there_ends_in_one_timeout)
{
    sctp_world *w = link_new(env, 1, NULL);
    w->cut = true;
    if (link_is_up(w)) {
        CHECK_OK(lk_sctp_connect(w->side[0].s, w->now));
        CHECK(link_settle(w, LK_SEC(120)));
        CHECK_EQ(w->side[0].closed, 1);
        CHECK_EQ(w->side[0].closed_err, LK_ERR_TIMEOUT);
        CHECK_EQ(lk_sctp_state_of(w->side[0].s), LK_SCTP_STATE_CLOSED);
        CHECK_EQ(link_send(w, 0, 0, 100, (lk_sctp_message){0}), LK_ERR_STATE);
    }
    link_free(w);
}

LK_TEST(reliable_messages_arrive_once_and_in_order_whatever_the_network_does)
{
    static const unsigned losses[] = {0, 10, 50, 150};
    static const int rtts[] = {0, 50, 300};
    for (size_t l = 0; l < LK_LEN(losses); l++) {
        for (size_t r = 0; r < LK_LEN(rtts); r++) {
            sctp_world *w = link_new(env, 7 + l * 10 + r, NULL);
            w->delay = LK_MSEC(rtts[r]) / 2;
            w->loss_permille = losses[l];
            w->jitter = w->delay / 2;
            w->twice_permille = losses[l] / 3;
            if (link_connect(w)) {
                uint32_t sent[3] = {0}, total = 0;
                while (total < many(400)) {
                    unsigned stream = total % 3;
                    size_t len = 12 + lk_prng_next(&w->dice) % (total % 10 == 0 ? 60000 : 1500);
                    lk_err err = link_send(w, 0, sent[stream], len, (lk_sctp_message){.stream = (uint16_t)stream});
                    if (err == LK_ERR_FULL) {
                        (void)link_step(w, LK_NEVER);
                        continue;
                    }
                    if (err != LK_OK)
                        break;
                    sent[stream]++;
                    total++;
                }
                CHECK_EQ(total, many(400));
                CHECK(link_settle(w, LK_SEC(600)));
                CHECK_EQ(w->side[1].messages, total);
                CHECK_EQ(w->side[1].bad, 0);
                CHECK(w->mtu_seen <= LK_SCTP_MTU);
                for (int k = 0; k < 3; k++) {
                    CHECK_EQ(w->side[1].next[k], sent[k]);
                    CHECK_EQ(lk_sctp_buffered(w->side[0].s, (uint16_t)k), 0);
                }
            } else {
                CHECK(lk_test_oom());
            }
            link_free(w);
            if (lk_test_oom())
                return; /* one network is enough for the ladder */
        }
    }
}

LK_TEST(unordered_messages_arrive_once_each)
{
    sctp_world *w = link_new(env, 3, NULL);
    w->delay = LK_MSEC(25);
    w->jitter = LK_MSEC(20);
    w->loss_permille = 100;
    w->twice_permille = 50;
    if (link_connect(w)) {
        uint32_t sent = 0;
        while (sent < many(500) && link_send(w, 0, sent, 12 + sent * 7 % 5000, (lk_sctp_message){.unordered = true}) == LK_OK)
            sent++;
        CHECK_EQ(sent, many(500));
        CHECK(link_settle(w, LK_SEC(100)));
        CHECK_EQ(w->side[1].messages, sent);
        CHECK_EQ(w->side[1].bad, 0);
    }
    link_free(w);
}

LK_TEST(a_message_that_may_be_lost_does_not_stop_those_behind_it)
{
    for (int kind = 0; kind < 4; kind++) { /* unordered or not, by number or by age */
        sctp_world *w = link_new(env, 11 + (unsigned)kind, NULL);
        w->delay = LK_MSEC(25);
        if (link_connect(w)) {
            lk_sctp_counters c;
            lk_sctp_message m = {.stream = 2, .unordered = kind & 1, .limit_retransmits = !(kind & 2),
                                 .limit_lifetime = (kind & 2) != 0, .lifetime_usec = LK_MSEC(100)};
            w->loss_permille = 150;
            uint32_t sent = 0;
            for (; sent < many(500); sent++) {
                if (link_send(w, 0, sent, sent % 20 == 0 ? 5000 : 200, m) != LK_OK)
                    break;
                link_run(w, LK_MSEC(10));
            }
            CHECK_EQ(sent, many(500));
            w->loss_permille = 0;
            CHECK_OK(link_send(w, 0, sent, 1000, (lk_sctp_message){.stream = 2}));
            CHECK(link_settle(w, LK_SEC(60)));
            lk_sctp_count(w->side[0].s, &c);
            CHECK_EQ(w->side[1].bad, 0);
            CHECK_EQ(w->side[1].next[2], sent + 1); /* the last one, which was reliable, is there */
            if (!lk_test_oom())
                CHECK(w->side[1].messages > 380);
            if (!(kind & 2) && !lk_test_oom()) {
                CHECK(c.messages_abandoned > 30);
                CHECK(w->side[1].messages < 480);
            }
            CHECK_EQ(c.flight_bytes, 0);
        }
        link_free(w);
    }
}

LK_TEST(a_stream_is_reset_both_ways_and_counts_anew)
{
    for (unsigned seed = 1; seed < many(10); seed++) {
        sctp_world *w = link_new(env, seed, NULL);
        w->delay = LK_MSEC(20);
        w->jitter = LK_MSEC(5);
        w->loss_permille = seed * 20;
        if (link_connect(w)) {
            bool ok = true;
            for (uint32_t round = 0; ok && round < 3; round++) {
                for (uint32_t i = 0; ok && i < 20; i++)
                    ok = link_send(w, 0, i, 3000, (lk_sctp_message){.stream = 4}) == LK_OK &&
                         link_send(w, 0, i + 20 * round, 100, (lk_sctp_message){.stream = 5}) == LK_OK;
                ok = ok && lk_sctp_reset_stream(w->side[0].s, w->now, 4) == LK_OK;
                ok = CHECK(ok) && CHECK(link_settle(w, LK_SEC(100)));
                CHECK_EQ(w->side[1].resets, round + 1); /* once each: the answer is no new request */
                CHECK_EQ(w->side[0].resets, round + 1);
                CHECK_EQ(w->side[1].last_reset, 4);
                CHECK_EQ(w->side[0].last_reset, 4);
            }
            CHECK_EQ(w->side[1].messages, 120);
            CHECK_EQ(w->side[1].bad, 0);
        }
        link_free(w);
    }
}

/* Several streams, either end or both at once, more than one request told to wait, answers and questions lost on the way. */
LK_TEST(each_reset_is_told_once_at_each_end_whatever_is_lost)
{
    for (unsigned seed = 1; seed <= (lk_test_oom() ? 1 : 100); seed++) {
        sctp_world *w = link_new(env, seed, NULL);
        lk_prng dice;
        size_t resets = 0;
        lk_prng_init(&dice, seed);
        w->delay = LK_MSEC(lk_prng_next(&dice) % 80);
        w->jitter = LK_MSEC(lk_prng_next(&dice) % 60);
        w->loss_permille = (unsigned)(lk_prng_next(&dice) % 320);
        w->twice_permille = 100;
        bool ok = link_connect(w);
        for (int round = 0; ok && round < (lk_test_oom() ? 1 : 3); round++) {
            for (uint16_t stream = 0; ok && stream < 5; stream++, resets++) {
                unsigned by = 1 + (unsigned)(lk_prng_next(&dice) % 3);
                for (uint32_t i = 0; ok && i < 8; i++)
                    ok = link_send(w, 0, i, 3000, (lk_sctp_message){.stream = stream}) == LK_OK &&
                         link_send(w, 1, i, 1000, (lk_sctp_message){.stream = stream}) == LK_OK;
                for (int i = 0; ok && i < 2; i++)
                    ok = !(by >> i & 1) || lk_sctp_reset_stream(w->side[i].s, w->now, stream) == LK_OK;
                link_run(w, LK_MSEC(lk_prng_next(&dice) % 100));
            }
            ok = CHECK(ok) && CHECK(link_settle(w, LK_SEC(300)));
            for (int i = 0; ok && i < 2; i++)
                ok = CHECK_EQ(w->side[i].resets, resets) && CHECK_EQ(w->side[i].messages, 8 * resets) && CHECK_EQ(w->side[i].bad, 0);
        }
        link_free(w);
    }
}

LK_TEST(shutting_down_delivers_everything_first)
{
    for (unsigned seed = 1; seed < many(10); seed++) {
        sctp_world *w = link_new(env, seed, NULL);
        w->delay = LK_MSEC(20);
        w->loss_permille = 50;
        if (link_connect(w)) {
            CHECK_EQ(stream_messages(w, many(50), 3000, (lk_sctp_message){.stream = 1}, LK_SEC(10)), many(50));
            lk_sctp_shutdown(w->side[0].s, w->now);
            if (seed % 2)
                lk_sctp_shutdown(w->side[1].s, w->now);
            CHECK_EQ(link_send(w, 0, 0, 100, (lk_sctp_message){0}), LK_ERR_STATE);
            CHECK(link_settle(w, LK_SEC(100)));
            CHECK(w->side[1].messages == many(50) && w->side[1].bad == 0);
            CHECK(w->side[0].closed == 1 && w->side[1].closed == 1);
        }
        link_free(w);
    }
}

LK_TEST(an_abort_is_told_once)
{
    sctp_world *w = link_new(env, 1, NULL);
    if (link_connect(w)) {
        CHECK_OK(link_send(w, 0, 0, 60000, (lk_sctp_message){0}));
        lk_sctp_abort(w->side[0].s, w->now);
        CHECK(link_settle(w, LK_SEC(10)));
        CHECK(w->side[0].closed == 1 && w->side[0].closed_err == LK_OK);
        CHECK(w->side[1].closed == 1 && w->side[1].closed_err == LK_ERR_CLOSED);
    }
    link_free(w);
}

LK_TEST(a_dead_path_ends_in_one_timeout_and_one_that_comes_back_goes_on)
{
    for (int dead = 0; dead < 2; dead++) {
        sctp_world *w = link_new(env, 5, NULL);
        w->delay = LK_MSEC(20);
        if (link_connect(w)) {
            w->cut = true;
            CHECK_OK(link_send(w, 0, 0, 30000, (lk_sctp_message){0}));
            link_run(w, LK_SEC(25));
            CHECK_EQ(w->side[0].closed, 0);
            w->cut = dead;
            CHECK(link_settle(w, LK_SEC(200)));
            CHECK_EQ(w->side[0].closed, dead);
            CHECK_EQ(w->side[1].messages, !dead);
            if (dead)
                CHECK_EQ(w->side[0].closed_err, LK_ERR_TIMEOUT);
        }
        link_free(w);
    }
}

LK_TEST(bounds_refuse_with_a_reason)
{
    const lk_sctp_config config = {.send_buffer_bytes = 100000, .streams = 8, .message_max_bytes = 20000};
    sctp_world *w = link_new(env, 1, &config);
    if (link_connect(w)) {
        CHECK_EQ(link_send(w, 0, 0, 20001, (lk_sctp_message){0}), LK_ERR_LIMIT);
        CHECK_EQ(link_send(w, 0, 0, 100, (lk_sctp_message){.stream = 8}), LK_ERR_LIMIT);
        CHECK_EQ(lk_sctp_send(w->side[0].s, w->now, &(lk_sctp_message){0}), LK_ERR_INVALID);
        CHECK_EQ(lk_sctp_reset_stream(w->side[0].s, w->now, 8), LK_ERR_LIMIT);
        uint32_t n = 0;
        lk_err err = LK_OK;
        for (; n < 10 && err == LK_OK; n += err == LK_OK)
            err = link_send(w, 0, n, 20000, (lk_sctp_message){.stream = 7});
        CHECK_EQ(err, LK_ERR_FULL);
        CHECK_EQ(n, 4);
        CHECK_EQ(lk_sctp_buffered(w->side[0].s, 7), 80000);
        CHECK_EQ(lk_sctp_buffered(w->side[0].s, 1), 0);
        CHECK(link_settle(w, LK_SEC(10)));
        CHECK_EQ(lk_sctp_buffered(w->side[0].s, 7), 0);
        CHECK_EQ(w->side[1].messages, 4);
        CHECK_OK(link_send(w, 0, 4, 20000, (lk_sctp_message){.stream = 7}));
    }
    link_free(w);
}

LK_TEST(messages_wait_for_the_association)
{
    sctp_world *w = link_new(env, 1, NULL);
    w->delay = LK_MSEC(30);
    if (link_is_up(w)) {
        uint32_t n = 0;
        while (n < 10 && link_send(w, 0, n, 500, (lk_sctp_message){.stream = 3}) == LK_OK)
            n++;
        CHECK_EQ(n, 10);
        CHECK_EQ(lk_sctp_buffered(w->side[0].s, 3), 5000);
        if (CHECK(link_connect(w))) {
            CHECK(link_settle(w, LK_SEC(10)));
            CHECK(w->side[1].messages == n && w->side[1].bad == 0);
        }
    }
    link_free(w);
}

LK_TEST(an_idle_association_is_small)
{
    sctp_world *w = link_new(env, 1, NULL);
    if (link_connect(w)) {
        CHECK_EQ(stream_messages(w, many(1000), 1000, (lk_sctp_message){.stream = 1}, LK_SEC(10)), many(1000));
        CHECK(link_settle(w, LK_SEC(10)));
        CHECK_EQ(w->side[1].messages, many(1000));
        CHECK(lk_test_live_bytes() < 2 * 4096);
    }
    link_free(w);
}

LK_TEST(data_flows_without_allocations)
{
    sctp_world *w = link_new(env, 1, NULL);
    w->delay = LK_MSEC(5);
    if (link_connect(w)) {
        size_t before = 0;
        for (uint32_t i = 0; i < 2 * many(500); i++) {
            if (i == many(500))
                before = lk_test_alloc_count();
            (void)!link_send(w, 0, i, 1000, (lk_sctp_message){.stream = 1});
            (void)!link_send(w, 1, i, 200, (lk_sctp_message){.stream = 2});
            link_run(w, LK_MSEC(1));
        }
        if (!lk_test_oom() && !POOLS_ARE_OFF)
            CHECK_EQ(lk_test_alloc_count() - before, 0);
        CHECK(link_settle(w, LK_SEC(10)));
        CHECK(w->side[0].messages == 2 * many(500) && w->side[1].messages == 2 * many(500));
    }
    link_free(w);
}

/* Messages pile up behind each loss and go all at once; what the receiver keeps is let go whenever it has nothing. */
LK_TEST(losses_cost_few_allocations)
{
    if (lk_test_oom())
        return;
    sctp_world *w = link_new(env, 1, NULL);
    w->delay = LK_MSEC(10);
    w->loss_permille = 150;
    if (CHECK(link_connect(w))) {
        size_t before = 0, messages = 0;
        for (uint32_t i = 0; i < 40000; i++) {
            if (i == 20000) {
                before = lk_test_alloc_count();
                messages = w->side[1].messages;
            }
            (void)!link_send(w, 0, i, 1000, (lk_sctp_message){.stream = 1});
            link_run(w, LK_MSEC(1) / 5);
        }
        CHECK(w->side[1].messages - messages > 15000);
        if (!POOLS_ARE_OFF)
            CHECK((lk_test_alloc_count() - before) * 3 < w->side[1].messages - messages);
    }
    link_free(w);
}

/* Messages of 1 kB that arrive within 8 s when there is always one more to send. */
static size_t pace(sctp_world *w, lk_sctp_counters *c)
{
    uint32_t sent = 0;
    lk_usec until = w->now + LK_SEC(8);
    while (w->now < until) {
        lk_err err = link_send(w, 0, sent, 1000, (lk_sctp_message){.stream = 1});
        sent += err == LK_OK;
        if (err != LK_OK && (err != LK_ERR_FULL || !link_step(w, until)))
            break;
    }
    lk_sctp_count(w->side[0].s, c);
    CHECK_EQ(w->side[1].bad, 0);
    return w->side[1].messages;
}

LK_TEST(random_loss_does_not_close_the_window)
{
    static const struct {
        unsigned loss_permille;
        int rtt_msec;
        size_t at_least; /* a second */
    } table[] = {{0, 50, 15000},  {10, 50, 1500},  {50, 50, 2500}, {150, 50, 2000},
                 {150, 300, 250}, {150, 5, 10000}, {150, 20, 4000}};
    if (lk_test_oom())
        return;
    for (size_t i = 0; i < LK_LEN(table); i++) {
        sctp_world *w = link_new(env, i + 1, NULL);
        lk_sctp_counters c;
        w->delay = LK_MSEC(table[i].rtt_msec) / 2;
        CHECK(link_connect(w));
        w->loss_permille = table[i].loss_permille;
        CHECK(pace(w, &c) > 8 * table[i].at_least);
        CHECK_EQ(c.timeouts, 0); /* losses are repaired without them */
        CHECK(c.chunks_retransmitted * 1000 < c.packets_sent * (table[i].loss_permille + 20));
        link_free(w);
    }
}

/* The same when it begins on a clean way, in the middle of things. */
LK_TEST(loss_that_sets_in_later_does_not_close_the_window_for_long)
{
    if (lk_test_oom())
        return;
    for (unsigned seed = 1; seed <= 6; seed++) {
        sctp_world *w = link_new(env, seed, NULL);
        lk_sctp_counters c;
        w->delay = LK_MSEC(seed % 2 ? 10 : 25);
        CHECK(link_connect(w));
        if (seed > 2) { /* so little that the window has no reason to grow, or much */
            for (uint32_t i = 0; i < 600; i++) {
                (void)!link_send(w, 1, i, 1000, (lk_sctp_message){.stream = 2});
                (void)!link_send(w, 0, i, 100, (lk_sctp_message){.stream = 2});
                link_run(w, seed > 4 ? LK_MSEC(5) : LK_MSEC(1) / 4);
            }
        }
        w->loss_permille = 150;
        CHECK(pace(w, &c) > 8 * 1500);
        CHECK_EQ(c.timeouts, 0);
        link_free(w);
    }
}

/* Losses of the way's own do not hide that it is full. */
LK_TEST(a_narrow_way_that_loses_is_filled_and_not_flooded)
{
    static const int queues_msec[] = {300, 60, 10};
    if (lk_test_oom())
        return;
    for (size_t i = 0; i < LK_LEN(queues_msec); i++) {
        sctp_world *w = link_new(env, i + 1, NULL);
        lk_sctp_counters c;
        w->delay = LK_MSEC(25);
        CHECK(link_connect(w));
        w->loss_permille = 100;
        w->rate_bytes_per_sec = 500000;
        w->queue_max = LK_MSEC(queues_msec[i]);
        size_t messages = pace(w, &c);
        CHECK(messages * 1028 > 8 * w->rate_bytes_per_sec * 60 / 100);
        CHECK(c.chunks_retransmitted * 100 < c.packets_sent * 25);
        CHECK(c.srtt_s < 0.150);
        link_free(w);
    }
}

LK_TEST(a_narrow_way_is_filled_and_not_flooded)
{
    static const struct {
        size_t rate_bytes_per_sec;
        int queue_msec;
        unsigned lost_percent_max;
    } table[] = {{125000, 300, 9}, {37500, 300, 12}, {1250000, 50, 5}, {1250000, 5, 6}, {125000, 20, 20}};
    if (lk_test_oom())
        return;
    for (size_t i = 0; i < LK_LEN(table); i++) {
        sctp_world *w = link_new(env, i + 1, NULL);
        lk_sctp_counters c;
        w->delay = LK_MSEC(25);
        CHECK(link_connect(w));
        w->rate_bytes_per_sec = table[i].rate_bytes_per_sec;
        w->queue_max = LK_MSEC(table[i].queue_msec);
        size_t messages = pace(w, &c);
        CHECK(messages * 1028 > 8 * table[i].rate_bytes_per_sec * 85 / 100);
        CHECK(c.chunks_retransmitted * 100 < c.packets_sent * table[i].lost_percent_max);
        link_free(w);
    }
}

LK_TEST(a_lost_last_message_is_repaired_without_a_timeout)
{
    sctp_world *w = link_new(env, 1, NULL);
    w->delay = LK_MSEC(25);
    if (link_connect(w)) {
        lk_sctp_counters c;
        for (uint32_t i = 0; i < 10; i++) { /* the way is known by then */
            (void)!link_send(w, 0, i, 500, (lk_sctp_message){0});
            CHECK(link_settle(w, LK_SEC(1)));
        }
        lk_usec began = w->now;
        (void)!link_send(w, 0, 10, 500, (lk_sctp_message){0});
        w->cut = true;
        link_drain(w);
        w->cut = false;
        CHECK(link_settle(w, LK_SEC(10)));
        lk_sctp_count(w->side[0].s, &c);
        CHECK_EQ(w->side[1].messages, 11);
        CHECK_EQ(c.timeouts, 0);
        CHECK(w->side[1].last_message_at - began < LK_MSEC(150)); /* two round trips, and the way */
    }
    link_free(w);
}

/* A side whose program takes nothing: 1 MiB of window fills, is closed, and opens when it is emptied. */
LK_TEST(a_closed_window_is_waited_for_and_probed)
{
    const lk_sctp_config config = {.receive_buffer_bytes = 40000, .message_max_bytes = 20000};
    sctp_world *w = link_new(env, 1, &config);
    w->delay = LK_MSEC(5);
    if (link_connect(w)) {
        lk_sctp_counters c;
        lk_bytes p;
        uint32_t n = 0;
        while (n < many(200) && link_send(w, 0, n, 1000, (lk_sctp_message){.stream = 1}) == LK_OK)
            n++;
        lk_usec until = w->now + LK_SEC(120);
        while (w->now < until) { /* like link_run, but nobody looks for events on side 1 */
            for (int i = 0; i < 2; i++)
                while (lk_sctp_poll_tx(w->side[i].s, w->now, &p))
                    link_carry(w, !i, p.data, p.len);
            w->now = LK_MAX(w->now, LK_MIN(link_next(w), until));
            while (w->count && w->heap[0]->at <= w->now) {
                link_packet *k = link_take(w);
                lk_sctp_input(w->side[k->to].s, w->now, k->data, k->len);
                free(k);
            }
            for (int i = 0; i < 2; i++)
                lk_sctp_tick(w->side[i].s, w->now);
        }
        lk_sctp_count(w->side[0].s, &c);
        CHECK(w->side[0].closed == 0 && lk_sctp_state_of(w->side[0].s) == LK_SCTP_STATE_CONNECTED);
        CHECK(c.flight_bytes <= 2 * LK_SCTP_MTU);
        CHECK(link_settle(w, LK_SEC(60)));
        CHECK_EQ(w->side[1].messages, n);
        CHECK_EQ(w->side[1].bad, 0);
    }
    link_free(w);
}

/* Bytes nobody promised anything about, on an association that is up: from outside, and from the peer itself. */
LK_TEST(hostile_packets_neither_end_nor_swell_an_association)
{
    const lk_sctp_config config = {.receive_buffer_bytes = 100000, .message_max_bytes = 20000};
    sctp_world *w = link_new(env, 1, &config);
    if (link_connect(w)) {
        lk_bytes p;
        uint8_t last[LINK_MTU_MAX], bytes[LINK_MTU_MAX];
        uint32_t sent = 0;
        for (uint32_t round = 0; round < many(3000); round++) {
            if (link_send(w, 0, sent, 12 + round % 3000, (lk_sctp_message){.stream = (uint16_t)(round % 3 + 1)}) == LK_OK)
                sent++;
            while (lk_sctp_poll_tx(w->side[0].s, w->now, &p)) {
                size_t len = p.len;
                memcpy(last, p.data, len);
                memcpy(bytes, last, len);
                lk_sctp_input(w->side[1].s, w->now, last, len);
                for (int edits = 1 + (int)(lk_prng_next(&w->dice) % 4); edits; edits--) /* not the tag nor its checksum */
                    bytes[12 + lk_prng_next(&w->dice) % (len - 12)] = (uint8_t)lk_prng_next(&w->dice);
                if (bytes[12] != SCTP_ABORT && bytes[12] != SCTP_SHUTDOWN)
                    lk_sctp_input(w->side[1].s, w->now, bytes, lk_prng_next(&w->dice) % 4 ? len : len / 2);
                bytes[4] ^= 0x55; /* somebody else */
                lk_sctp_input(w->side[1].s, w->now, bytes, len);
            }
            link_run(w, LK_MSEC(5));
            CHECK(lk_test_live_bytes() < 3 * config.receive_buffer_bytes + (2u << 20));
        }
        CHECK_EQ(w->side[0].closed, 0);
        CHECK_EQ(w->side[1].closed, 0);
        CHECK_EQ(lk_sctp_state_of(w->side[1].s), LK_SCTP_STATE_CONNECTED);
    }
    link_free(w);
}
