// SPDX-License-Identifier: Apache-2.0
/* A check of the peer starts ours again: one agent to the millisecond, its peer made of single messages; then two agents. */
#include "ice/ice.h"
#include "lk_test.h"
#include "stun/stun.h"

#define PEER_UFRAG "peer"
#define PEER_PWD "the password of the peer"

/* An agent with one pair and what it last sent. */
typedef struct scene {
    lk_ice ice;
    lk_addr ours, theirs;
    lk_usec now;
    unsigned requests, answers; /* sent so far */
    uint8_t tid[LK_STUN_TID_LEN]; /* of the last request sent */
    bool says_controlling;
    uint8_t next;
} scene;

static void drain(scene *s)
{
    lk_datagram d;
    lk_stun_msg m;
    while (lk_ice_poll_tx(&s->ice, s->now, &d)) {
        CHECK_OK(lk_stun_parse(&m, d.data, d.len));
        s->answers += m.cls == LK_STUN_SUCCESS;
        if (m.cls != LK_STUN_REQUEST)
            continue;
        s->requests++;
        memcpy(s->tid, m.tid, sizeof s->tid);
        s->says_controlling = lk_stun_find(&m, LK_STUN_ICE_CONTROLLING) != NULL;
    }
}

/* As a loop does: every deadline at its time. */
static void go_to(scene *s, lk_usec until)
{
    lk_ice_tick(&s->ice, s->now);
    drain(s);
    for (lk_usec at; (at = lk_ice_deadline(&s->ice)) <= until; drain(s)) {
        if (!CHECK(at > s->now))
            return;
        lk_ice_tick(&s->ice, s->now = at);
    }
    s->now = until;
}

static void deliver(scene *s, lk_wr *w, const char *key)
{
    lk_stun_put_integrity(w, key, strlen(key));
    lk_stun_put_fingerprint(w);
    const lk_datagram in = {s->ours, s->theirs, w->data, w->len};
    lk_ice_input(&s->ice, s->now, &in);
    drain(s);
}

typedef struct asks {
    bool controlling, use;
    uint64_t tie;
} asks;

/* A new check of the peer arrives now. */
static void peer_asks(scene *s, asks how)
{
    uint8_t bytes[256], tid[LK_STUN_TID_LEN] = {1, ++s->next};
    char user[LK_ICE_UFRAG_LEN + 8];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    memcpy(user, s->ice.ufrag, LK_ICE_UFRAG_LEN);
    memcpy(user + LK_ICE_UFRAG_LEN, ":" PEER_UFRAG, 5);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    lk_stun_put(&w, LK_STUN_USERNAME, user, LK_ICE_UFRAG_LEN + 5);
    lk_stun_put_u32(&w, LK_STUN_PRIORITY, 1000);
    lk_stun_put_u64(&w, how.controlling ? LK_STUN_ICE_CONTROLLING : LK_STUN_ICE_CONTROLLED, how.tie);
    if (how.use)
        lk_stun_put(&w, LK_STUN_USE_CANDIDATE, NULL, 0);
    deliver(s, &w, s->ice.pwd);
}

/* The answer to the transaction arrives now; error 0: success. */
static void peer_answers(scene *s, const uint8_t tid[LK_STUN_TID_LEN], int error)
{
    uint8_t bytes[256];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_stun_begin(&w, LK_STUN_BINDING, error ? LK_STUN_ERROR : LK_STUN_SUCCESS, tid);
    if (error)
        lk_stun_put_error(&w, error, "no");
    else
        lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &s->ours);
    deliver(s, &w, PEER_PWD);
}

static bool begin(scene *s, lk_env *env, bool controlling)
{
    *s = (scene){.ours = lk_addr_v4(10, 0, 0, 1, 1000), .theirs = lk_addr_v4(10, 0, 0, 2, 2000)};
    lk_ice_init(&s->ice, env, &(lk_ice_config){.controlling = controlling}, 0);
    return lk_ice_add_local(&s->ice, 0, &s->ours) == LK_OK &&
           lk_ice_set_remote(&s->ice, 0, lk_str_of(PEER_UFRAG), lk_str_of(PEER_PWD), false) == LK_OK &&
           lk_ice_add_remote(&s->ice, 0, lk_str_of("candidate:1 1 udp 2130706431 10.0.0.2 2000 typ host")) == LK_OK &&
           lk_ice_pair_count(&s->ice) == 1;
}

static const lk_ice_pair *pair_of(const scene *s) { return lk_ice_pair_at(&s->ice, 0); }
static bool is_last(const scene *s, const uint8_t tid[LK_STUN_TID_LEN]) { return memcmp(s->tid, tid, LK_STUN_TID_LEN) == 0; }

/* At 0, 50 and 150 ms nobody heard us, and the fourth would leave at 350: what the peer sends at 200 shows that the way is open. */
LK_TEST(a_check_of_the_peer_starts_ours_again_when_the_first_was_lost)
{
    scene s;
    if (begin(&s, env, true)) {
        uint8_t first[LK_STUN_TID_LEN];
        go_to(&s, LK_MSEC(200));
        CHECK_EQ(s.requests, 3);
        CHECK_EQ(lk_ice_deadline(&s.ice), LK_MSEC(350));
        memcpy(first, s.tid, sizeof first);
        peer_asks(&s, (asks){0});
        CHECK_EQ(s.answers, 1);
        CHECK_EQ(s.requests, 4); /* with the answer, at once */
        CHECK(!is_last(&s, first));
        CHECK_EQ(lk_ice_deadline(&s.ice), LK_MSEC(250)); /* sent again as a new one is; the old one no more */
        go_to(&s, LK_MSEC(220));
        peer_answers(&s, s.tid, 0);
        CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_SUCCEEDED);
        CHECK_EQ(pair_of(&s)->current_rtt_usec, LK_MSEC(20));
    }
    lk_ice_deinit(&s.ice);
}

/* The pace between checks is kept, and an answer that comes meanwhile makes the second one needless. */
LK_TEST(a_check_is_not_started_again_within_20_ms)
{
    for (int answered = 0; answered < 2; answered++) {
        scene s;
        if (begin(&s, env, false)) {
            go_to(&s, LK_MSEC(10));
            peer_asks(&s, (asks){.controlling = true});
            CHECK_EQ(s.requests, 1);
            CHECK_EQ(lk_ice_deadline(&s.ice), LK_MSEC(20));
            go_to(&s, LK_MSEC(15));
            if (answered)
                peer_answers(&s, s.tid, 0);
            go_to(&s, LK_MSEC(49));
            CHECK_EQ(s.requests, answered ? 1 : 2);
        }
        lk_ice_deinit(&s.ice);
    }
}

LK_TEST(a_late_answer_to_the_cancelled_check_still_counts)
{
    for (int use = 0; use < 2; use++) {
        scene s;
        lk_addr local, remote;
        if (begin(&s, env, !use)) {
            uint8_t first[LK_STUN_TID_LEN], again[LK_STUN_TID_LEN];
            go_to(&s, LK_MSEC(200));
            memcpy(first, s.tid, sizeof first);
            peer_asks(&s, (asks){.controlling = use, .use = use});
            memcpy(again, s.tid, sizeof again);
            go_to(&s, LK_MSEC(210));
            peer_answers(&s, first, 0);
            CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_SUCCEEDED);
            CHECK_EQ(pair_of(&s)->current_rtt_usec, LK_MSEC(60)); /* it left last at 150 */
            CHECK_EQ(lk_ice_selected(&s.ice, &local, &remote), use); /* named by the peer; else we ask to name it ourselves */
            CHECK_EQ(s.requests, use ? 4 : 5);
            peer_answers(&s, again, 0); /* asked nothing of the kind */
            CHECK_EQ(s.ice.dropped, 1);
            CHECK_EQ(lk_ice_selected(&s.ice, &local, &remote), use);
            if (!use)
                peer_answers(&s, s.tid, 0);
            CHECK(lk_ice_selected(&s.ice, &local, &remote));
        }
        lk_ice_deinit(&s.ice);
    }
}

/* The peer asks every 48 ms and the way there and back takes 800: had each new check made us forget another, none would ever
 * be answered. */
LK_TEST(a_peer_that_asks_faster_than_it_answers_is_found_by_the_first_answer)
{
    scene s;
    if (begin(&s, env, false)) {
        uint8_t first[LK_STUN_TID_LEN] = {0};
        for (int i = 0; i < 16; i++) {
            go_to(&s, LK_MSEC(48 * i + 30));
            if (i == 0)
                memcpy(first, s.tid, sizeof first);
            peer_asks(&s, (asks){.controlling = true});
        }
        CHECK(s.requests <= 12 && !is_last(&s, first));
        go_to(&s, LK_MSEC(800));
        peer_answers(&s, first, 0);
        CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_SUCCEEDED);
    }
    lk_ice_deinit(&s.ice);
}

/* We gave in to the peer before it refused what we had said first: that is no reason to turn back. */
LK_TEST(a_late_refusal_of_the_cancelled_check_changes_nothing)
{
    for (int error = 400; error <= 487; error += 87) {
        scene s;
        if (begin(&s, env, true)) {
            uint8_t first[LK_STUN_TID_LEN];
            go_to(&s, LK_MSEC(30));
            memcpy(first, s.tid, sizeof first);
            CHECK(s.says_controlling);
            peer_asks(&s, (asks){.controlling = true, .tie = UINT64_MAX});
            CHECK_EQ(s.requests, 2);
            CHECK(!s.says_controlling && !s.ice.config.controlling);
            peer_answers(&s, first, error);
            CHECK_EQ(s.requests, 2);
            CHECK(!s.ice.config.controlling && s.ice.role_switches == 1);
            CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_IN_PROGRESS);
            peer_answers(&s, s.tid, 0);
            CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_SUCCEEDED);
        }
        lk_ice_deinit(&s.ice);
    }
}

/* A peer that asks every millisecond and answers nothing: what it gets from us is what a silent one gets, and four more rounds. */
LK_TEST(a_peer_that_only_asks_starts_no_storm)
{
    scene s;
    if (begin(&s, env, false)) {
        go_to(&s, 0);
        for (int i = 1; i <= 10000; i++) {
            unsigned before = s.requests;
            go_to(&s, LK_MSEC(i));
            peer_asks(&s, (asks){.controlling = true});
            CHECK(s.requests - before <= 1);
        }
        CHECK_EQ(s.requests, 15); /* 0, 20, 40, 60, 80, then 130, 230, 430, 830, 1,630, 3,230 and every 1.6 s */
        CHECK(s.answers >= 9999);
    }
    lk_ice_deinit(&s.ice);
}

typedef struct flying {
    lk_usec at;
    size_t to, len;
    uint8_t data[256];
} flying;

/* Two agents 10 ms apart: requests arrive, answers do not. */
typedef struct deaf {
    lk_ice side[2];
    lk_addr at[2];
    lk_queue wire;
    size_t sent[2];
    lk_usec now;
} deaf;

static bool send_requests(deaf *w, size_t from)
{
    lk_datagram d;
    lk_stun_msg m;
    while (lk_ice_poll_tx(&w->side[from], w->now, &d)) {
        flying f = {.at = w->now + LK_MSEC(10), .to = 1 - from, .len = d.len};
        memcpy(f.data, d.data, d.len);
        if (lk_stun_parse(&m, d.data, d.len) != LK_OK || m.cls != LK_STUN_REQUEST)
            continue;
        w->sent[from]++;
        if (lk_queue_push(&w->wire, &f) != LK_OK)
            return false;
    }
    return true;
}

static bool run_deaf(deaf *w)
{
    for (;;) {
        if (!send_requests(w, 0) || !send_requests(w, 1))
            return false;
        const flying *f = (const flying *)lk_queue_peek(&w->wire, 0);
        const lk_usec a = lk_ice_deadline(&w->side[0]), b = lk_ice_deadline(&w->side[1]);
        const lk_usec next = LK_MIN(LK_MIN(a, b), f ? f->at : LK_NEVER);
        if (next == LK_NEVER)
            return true;
        w->now = LK_MAX(w->now, next);
        if (f && f->at <= w->now) {
            const flying in = *f;
            lk_queue_pop(&w->wire, NULL);
            lk_ice_input(&w->side[in.to], w->now, &(lk_datagram){w->at[in.to], w->at[1 - in.to], in.data, in.len});
        }
        lk_ice_tick(&w->side[0], w->now);
        lk_ice_tick(&w->side[1], w->now);
    }
}

/* Each check of one would start one of the other, and that one the next. */
LK_TEST(checks_do_not_set_each_other_off_for_ever)
{
    static const char *const lines[2] = {"candidate:1 1 udp 1 10.0.0.1 1000 typ host", "candidate:1 1 udp 1 10.0.0.2 2000 typ host"};
    deaf w = {.at = {lk_addr_v4(10, 0, 0, 1, 1000), lk_addr_v4(10, 0, 0, 2, 2000)}};
    bool ready = true;
    lk_queue_init(&w.wire, env, sizeof(flying), 100);
    for (int i = 0; i < 2; i++)
        lk_ice_init(&w.side[i], env, &(lk_ice_config){.controlling = i == 0}, 0);
    for (int i = 0; i < 2; i++)
        ready = ready && lk_ice_add_local(&w.side[i], 0, &w.at[i]) == LK_OK &&
                lk_ice_set_remote(&w.side[i], 0, lk_str_of(w.side[1 - i].ufrag), lk_str_of(w.side[1 - i].pwd), false) == LK_OK &&
                lk_ice_add_remote(&w.side[i], 0, lk_str_of(lines[1 - i])) == LK_OK;
    ready = ready && run_deaf(&w);
    for (int i = 0; ready && i < 2; i++) {
        CHECK_EQ(w.side[i].state, LK_ICE_STATE_FAILED);
        CHECK_EQ(w.sent[i], 16); /* a silent peer gets 12 */
    }
    for (int i = 0; i < 2; i++)
        lk_ice_deinit(&w.side[i]);
    lk_queue_deinit(&w.wire);
}

/* Several pairs under way: what the peer's checks start leaves one at a time, as all checks do. */
LK_TEST(checks_started_again_are_paced_over_all_pairs)
{
    scene s;
    if (begin(&s, env, false)) {
        bool ready = true;
        for (int i = 1; i < 6; i++) {
            char line[] = "candidate:1 1 udp 2130706431 10.0.0.2 200_ typ host";
            *strchr(line, '_') = (char)('0' + i);
            ready = ready && lk_ice_add_remote(&s.ice, 0, lk_str_of(line)) == LK_OK;
        }
        go_to(&s, LK_MSEC(500));
        unsigned before = s.requests;
        for (uint16_t i = 0; i < 6; i++) {
            s.theirs.port = (uint16_t)(2000 + i);
            peer_asks(&s, (asks){.controlling = true});
        }
        for (int i = 0; ready && i < 6; i++) {
            CHECK_EQ(s.requests - before, 1 + i);
            lk_usec at = lk_ice_deadline(&s.ice);
            CHECK_EQ(at - s.now, LK_MSEC(i < 4 ? 5 : i == 4 ? 20 : 10)); /* the first ten are quicker; the last: sent again */
            go_to(&s, at);
        }
    }
    lk_ice_deinit(&s.ice);
}

/* New credentials are awaited for the second time while the first new ones were being tried: no deadline stays in the past, and
 * no answer to a check under old ones counts under new ones. */
LK_TEST(a_restart_amid_checks_forgets_them)
{
    for (int told = 0; told < 2; told++) {
        scene s;
        if (begin(&s, env, true)) {
            for (int i = 0; i < 2; i++) { /* the check, the nomination */
                go_to(&s, s.now + LK_MSEC(5));
                peer_answers(&s, s.tid, 0);
            }
            CHECK_EQ(s.ice.state, LK_ICE_STATE_CONNECTED);
            lk_ice_restart(&s.ice, s.now);
            bool ready = lk_ice_set_remote(&s.ice, s.now, lk_str_of("new1"), lk_str_of(PEER_PWD), false) == LK_OK;
            go_to(&s, s.now + LK_MSEC(5));
            CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_IN_PROGRESS);
            lk_ice_restart(&s.ice, s.now);
            if (ready && told && lk_ice_set_remote(&s.ice, s.now, lk_str_of("new2"), lk_str_of(PEER_PWD), false) == LK_OK) {
                peer_answers(&s, s.tid, 0);
                CHECK_EQ(pair_of(&s)->state, LK_ICE_PAIR_IN_PROGRESS);
            }
            go_to(&s, s.now + LK_SEC(40));
            CHECK_EQ(s.ice.state, LK_ICE_STATE_FAILED);
        }
        lk_ice_deinit(&s.ice);
    }
}

/* Consent is asked for again every half second, and a way there and back may take two: each answer is still one. [RFC7675 s5.1] */
LK_TEST(consent_is_given_over_a_way_longer_than_it_is_waited_for)
{
    scene s;
    lk_addr local, remote;
    uint8_t tids[8][LK_STUN_TID_LEN];
    lk_usec due[8];
    unsigned seen, answered;
    if (begin(&s, env, false)) {
        go_to(&s, LK_MSEC(10));
        peer_asks(&s, (asks){.controlling = true, .use = true});
        peer_answers(&s, s.tid, 0);
        CHECK(lk_ice_selected(&s.ice, &local, &remote));
        seen = answered = s.requests;
        for (int i = 0; i < 6000; i++) { /* a minute */
            go_to(&s, s.now + LK_MSEC(10));
            if (s.requests > seen) {
                memcpy(tids[seen % 8], s.tid, sizeof s.tid);
                due[seen++ % 8] = s.now + LK_MSEC(1900);
            }
            if (answered < seen && due[answered % 8] <= s.now)
                peer_answers(&s, tids[answered++ % 8], 0);
            CHECK(s.now - s.ice.answered_at < LK_SEC(9));
        }
        CHECK_EQ(s.ice.state, LK_ICE_STATE_CONNECTED);
    }
    lk_ice_deinit(&s.ice);
}
