// SPDX-License-Identifier: Apache-2.0
/* Pacer, history and recorder over a link that loses, shuffles and doubles, with feedback that suffers the same. */
#include "cc/pacer.h"
#include "cc/twcc.h"
#include "lk_test.h"

#define PACKETS 6000
#define FIRST_SEQ 64000 /* wraps on the way */
#define RATE_BPS 2000000
#define SKEW LK_SEC(777000) /* the peer's clock */

typedef struct link {
    unsigned loss, duplicate; /* of 1000 */
    lk_usec delay, jitter;    /* an even spread: more than the distance of packets, so they overtake each other */
} link;

typedef struct flying {
    lk_usec at;
    uint16_t seq; /* media */
    size_t len;   /* feedback: its bytes; 0: media */
    uint8_t data[1200];
} flying;

typedef struct fate {
    lk_usec sent_at, arrived_at; /* LK_NEVER: did not */
    unsigned told_received, told_lost;
} fate;

typedef struct path {
    lk_pacer pacer;
    lk_twcc_history history;
    lk_twcc_recorder recorder;
    link up, down;
    lk_prng dice;
    lk_usec now;
    flying air[1024];
    size_t air_count, feedback_sent, feedback_lost;
    fate fates[PACKETS];
    size_t sent, lost, doubled, overtaken;
    uint16_t highest_seq;
    int64_t offset; /* of the clocks, from the first result */
    bool offset_known;
    unsigned wrong;
} path;

static path world;
static char packet;

static bool chance(path *p, unsigned of_1000) { return lk_prng_next(&p->dice) % 1000 < of_1000; }

static void fly(path *p, const link *l, const flying *f)
{
    for (int copies = chance(p, l->duplicate) ? 2 : 1; copies && CHECK(p->air_count < LK_LEN(p->air)); copies--) {
        flying *to = &p->air[p->air_count++];
        *to = *f;
        to->at = p->now + l->delay + (lk_usec)(lk_prng_next(&p->dice) % (uint64_t)(l->jitter + 1));
        p->doubled += copies == 2;
    }
}

static void on_media(path *p, const flying *f)
{
    fate *t = &p->fates[(uint16_t)(f->seq - FIRST_SEQ)];
    p->overtaken += lk_seq16_newer(p->highest_seq, f->seq);
    if (lk_seq16_newer(f->seq, p->highest_seq))
        p->highest_seq = f->seq;
    if (t->arrived_at == LK_NEVER)
        t->arrived_at = p->now;
    (void)!lk_twcc_recorder_receive(&p->recorder, p->now + SKEW, f->seq);
}

static void on_feedback(path *p, const flying *f)
{
    static lk_twcc_result results[4096];
    lk_rtcp_reader reader;
    lk_rtcp_packet rtcp;
    lk_rtcp_begin(&reader, f->data, f->len);
    if (!CHECK(lk_rtcp_next(&reader, &rtcp) && rtcp.kind == LK_RTCP_KIND_TWCC))
        return;
    size_t n = lk_twcc_history_feedback(&p->history, &rtcp, results, LK_LEN(results));
    for (size_t i = 0; i < n; i++) {
        fate *t = &p->fates[(uint16_t)(results[i].seq - FIRST_SEQ)];
        p->wrong += results[i].sent_at != t->sent_at || results[i].bytes != 1000;
        if (!results[i].received) {
            t->told_lost++;
            continue;
        }
        t->told_received++;
        if (!CHECK(t->arrived_at != LK_NEVER))
            continue;
        int64_t offset = results[i].arrived_at - t->arrived_at;
        if (!p->offset_known)
            p->offset = offset;
        p->offset_known = true;
        p->wrong += offset - p->offset > 250 || p->offset - offset > 250; /* one unit of the format */
    }
}

static void send_feedback(path *p)
{
    for (int guard = 0; guard < 100; guard++) {
        flying f = {.len = 0};
        lk_wr w = lk_wr_of(f.data, sizeof f.data);
        if (!lk_twcc_recorder_write(&p->recorder, p->now + SKEW, false, 1, 2, &w))
            return;
        f.len = w.len;
        p->feedback_sent++;
        if (chance(p, p->down.loss))
            p->feedback_lost++;
        else
            fly(p, &p->down, &f);
    }
    CHECK(!"feedback without end");
}

static void send_media(path *p)
{
    lk_pacer_class class;
    void *out;
    while (lk_pacer_poll(&p->pacer, p->now, &class, &out)) {
        fate *t = &p->fates[p->sent++];
        uint16_t seq = lk_twcc_history_send(&p->history, p->now, 1000);
        CHECK_EQ(seq, (uint16_t)(FIRST_SEQ + p->sent - 1));
        *t = (fate){.sent_at = p->now, .arrived_at = LK_NEVER};
        if (chance(p, p->up.loss))
            p->lost++;
        else
            fly(p, &p->up, &(flying){.seq = seq});
    }
}

static void run(path *p, lk_env *env, uint64_t seed, link up, link down)
{
    memset(p, 0, sizeof *p);
    p->up = up;
    p->down = down;
    p->highest_seq = FIRST_SEQ;
    lk_prng_init(&p->dice, seed);
    lk_pacer_init(&p->pacer, env, &(lk_pacer_config){.rate_bps = RATE_BPS}, 0);
    lk_twcc_history_init(&p->history, env, FIRST_SEQ);
    lk_twcc_recorder_init(&p->recorder, env);
    size_t pushed = 0;
    lk_usec next_frame = 0;
    while (p->now < LK_SEC(60)) {
        lk_usec at = lk_pacer_deadline(&p->pacer), report = lk_twcc_recorder_deadline(&p->recorder);
        at = LK_MIN(at, report == LK_NEVER ? LK_NEVER : report - SKEW);
        at = LK_MIN(at, next_frame);
        for (size_t i = 0; i < p->air_count; i++)
            at = LK_MIN(at, p->air[i].at);
        if (at == LK_NEVER)
            break;
        p->now = LK_MAX(at, p->now);
        if (next_frame <= p->now) { /* a frame of 8 packets every 33 ms, as a camera gives them */
            for (int i = 0; i < 8 && pushed < PACKETS; i++)
                pushed += lk_pacer_push(&p->pacer, p->now, LK_PACER_VIDEO, &packet, 1000) == LK_OK;
            next_frame = pushed < PACKETS ? p->now + LK_MSEC(33) : LK_NEVER;
        }
        for (size_t i = 0; i < p->air_count;) {
            if (p->air[i].at > p->now) {
                i++;
                continue;
            }
            flying f = p->air[i];
            p->air_count--;
            memmove(&p->air[i], &p->air[i + 1], (p->air_count - i) * sizeof f);
            f.len ? on_feedback(p, &f) : on_media(p, &f);
        }
        send_feedback(p);
        send_media(p);
    }
}

static void stop(path *p)
{
    lk_pacer_deinit(&p->pacer);
    lk_twcc_history_deinit(&p->history);
    lk_twcc_recorder_deinit(&p->recorder);
}

LK_TEST(what_is_told_of_a_bad_path_is_true_and_nothing_is_told_twice)
{
    for (uint64_t seed = 1; seed <= (lk_test_oom() ? 1u : 5u); seed++) {
        path *p = &world;
        run(p, env, seed, (link){.loss = 100, .duplicate = 50, .delay = LK_MSEC(30), .jitter = LK_MSEC(40)},
            (link){.delay = LK_MSEC(30), .jitter = LK_MSEC(10)});
        if (p->history.sent && p->recorder.arrivals) {
            CHECK_EQ(p->sent, PACKETS);
            CHECK(p->lost > 400 && p->doubled > 200 && p->overtaken > 500); /* the path was bad indeed */
            CHECK_EQ(p->wrong, 0);
            size_t twice = 0, unknown = 0, lies = 0;
            for (size_t i = 0; i < PACKETS; i++) {
                const fate *t = &p->fates[i];
                twice += t->told_received > 1;
                lies += t->told_received && t->arrived_at == LK_NEVER;
                unknown += t->arrived_at != LK_NEVER && !t->told_received;
            }
            CHECK(twice == 0 && lies == 0);
            CHECK_EQ(unknown, 0); /* no feedback was lost: who arrived was told, the late ones too */
        }
        stop(p);
    }
}

LK_TEST(lost_and_overtaking_feedback_leaves_gaps_and_no_lies)
{
    for (uint64_t seed = 1; seed <= (lk_test_oom() ? 1u : 5u); seed++) {
        path *p = &world;
        run(p, env, seed, (link){.loss = 20, .delay = LK_MSEC(30), .jitter = LK_MSEC(10)},
            (link){.loss = 200, .duplicate = 100, .delay = LK_MSEC(30), .jitter = LK_MSEC(250)});
        if (p->history.sent && p->recorder.arrivals) {
            size_t arrived = 0, told = 0, twice = 0, lies = 0;
            CHECK(p->feedback_lost > 10);
            CHECK_EQ(p->wrong, 0);
            for (size_t i = 0; i < PACKETS; i++) {
                const fate *t = &p->fates[i];
                arrived += t->arrived_at != LK_NEVER;
                told += t->told_received > 0;
                twice += t->told_received > 1;
                lies += t->told_received && t->arrived_at == LK_NEVER;
            }
            CHECK(twice == 0 && lies == 0);
            /* What is lost with one feedback is not told again: four of five arrive, give or take. */
            CHECK(told * 100 > arrived * 65 && told * 100 < arrived * 95);
        }
        stop(p);
    }
}

LK_TEST(the_pacer_keeps_its_rate_over_every_tenth_of_a_second)
{
    path *p = &world;
    run(p, env, 1, (link){.delay = LK_MSEC(30)}, (link){.delay = LK_MSEC(30)});
    if (p->history.sent && p->recorder.arrivals) {
        size_t most = 0;
        for (size_t i = 0, k = 0; i < p->sent; i++) {
            while (p->fates[i].sent_at - p->fates[k].sent_at > LK_MSEC(100))
                k++;
            most = LK_MAX(most, i - k + 1);
        }
        CHECK(most <= RATE_BPS / 8 / 1000 / 10 + 5); /* 25 packets, and one wake-up's worth */
        CHECK(p->lost == 0 && p->overtaken == 0);
    }
    stop(p);
}
