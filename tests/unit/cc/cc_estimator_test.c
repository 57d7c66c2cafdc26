// SPDX-License-Identifier: Apache-2.0
/* Flows of one pacer, history and estimator each through a bottleneck, in virtual time; feedback as real packets. */
#include "cc/estimator.h"
#include "cc/pacer.h"
#include "lk_test.h"

#define STEP (LK_MSEC(1) / 2)
#define QUEUE_PACKETS 1024u
#define FLIGHT_PACKETS 4096u
#define FLOWS_MAX 2u
#define PACKET_BYTES 1200u
#define AUDIO_BYTES 160u

typedef struct packet {
    uint16_t seq;
    uint32_t bytes;
    unsigned flow; /* FLOWS_MAX: cross traffic */
    lk_usec at;    /* in flight: arrival */
} packet;

typedef struct flow {
    lk_pacer pacer;
    lk_twcc_history history;
    lk_twcc_recorder recorder;
    lk_estimator estimator;
    bool on, dead;
    lk_usec frame_at, audio_at, pacer_at;
    uint64_t video_max_bps; /* what the application has, 0: whatever the estimate allows */
    uint64_t delivered, marked; /* bytes */
    double debt;
    struct {
        lk_usec at;
        size_t len;
        uint8_t data[1200];
    } feedback[16];
    unsigned feedback_first, feedback_count;
    uint64_t burst_worst; /* hundredths of what 10 ms may hold */
} flow;

typedef struct world {
    lk_prng prng;
    lk_usec now, delay, jitter; /* one way */
    uint64_t rate_bps, cross_bps;
    lk_usec queue_max; /* as time at the rate */
    lk_usec gate;      /* arrivals only at multiples of it, as a radio that collects frames; 0: none */
    int64_t drift_ppm; /* of the peer's clock */
    unsigned loss_permille, reorder_permille;
    bool feedback_cut;
    packet queue[QUEUE_PACKETS];
    unsigned queue_first, queue_count;
    uint64_t queue_bytes;
    double credit_bits, cross_bits;
    packet flight[FLIGHT_PACKETS];
    unsigned flight_count;
    lk_usec last_arrival, queue_worst;
    uint64_t dropped, dropped_bytes;
    flow flows[FLOWS_MAX];
} world;

static world w; /* large */

static lk_usec peer_now(void) { return w.now + LK_SEC(5000) + w.now / 1000 * w.drift_ppm / 1000; }
static lk_usec queue_usec(void) { return (lk_usec)(w.queue_bytes * 8000000u / w.rate_bps); }

static void enqueue(unsigned flow_index, uint16_t seq, uint32_t bytes)
{
    lk_usec q = queue_usec();
    if (flow_index < FLOWS_MAX)
        w.queue_worst = LK_MAX(w.queue_worst, q);
    if (q > w.queue_max || w.queue_count == QUEUE_PACKETS) {
        w.dropped++;
        w.dropped_bytes += bytes;
        return;
    }
    w.queue[(w.queue_first + w.queue_count++) % QUEUE_PACKETS] = (packet){.seq = seq, .bytes = bytes, .flow = flow_index};
    w.queue_bytes += bytes;
}

static void serve_link(void)
{
    w.cross_bits += (double)w.cross_bps * (double)STEP / 1e6;
    while (w.cross_bits >= 8000) {
        w.cross_bits -= 8000;
        enqueue(FLOWS_MAX, 0, 1000);
    }
    w.credit_bits += (double)w.rate_bps * (double)STEP / 1e6;
    while (w.queue_count && w.credit_bits >= w.queue[w.queue_first].bytes * 8.0) {
        packet p = w.queue[w.queue_first];
        w.queue_first = (w.queue_first + 1) % QUEUE_PACKETS;
        w.queue_count--;
        w.queue_bytes -= p.bytes;
        w.credit_bits -= p.bytes * 8.0;
        if (p.flow == FLOWS_MAX || w.flight_count == FLIGHT_PACKETS ||
            lk_prng_next(&w.prng) % 1000 < w.loss_permille)
            continue;
        lk_usec jitter = w.jitter ? (lk_usec)(lk_prng_next(&w.prng) % (uint64_t)w.jitter) : 0;
        p.at = LK_MAX(w.now + w.delay + jitter, w.last_arrival);
        if (lk_prng_next(&w.prng) % 1000 < w.reorder_permille)
            p.at += LK_MSEC(5) + (lk_usec)(lk_prng_next(&w.prng) % 40000);
        else
            w.last_arrival = p.at;
        if (w.gate)
            p.at += w.gate - p.at % w.gate;
        w.flight[w.flight_count++] = p;
    }
    if (w.queue_count == 0)
        w.credit_bits = 0;
}

static void arrive(void)
{
    for (unsigned i = 0; i < w.flight_count;) {
        packet p = w.flight[i];
        if (p.at > w.now) {
            i++;
            continue;
        }
        w.flows[p.flow].delivered += p.bytes;
        if (lk_twcc_recorder_receive(&w.flows[p.flow].recorder, peer_now(), p.seq) != LK_OK)
            w.flows[p.flow].dead = true;
        memmove(w.flight + i, w.flight + i + 1, (w.flight_count - i - 1) * sizeof w.flight[0]); /* keeps the order */
        w.flight_count--;
    }
}

static void feedback(flow *f)
{
    static lk_twcc_result results[LK_TWCC_WINDOW];
    while (f->feedback_count < LK_LEN(f->feedback)) {
        unsigned at = (f->feedback_first + f->feedback_count) % LK_LEN(f->feedback);
        lk_wr wr = lk_wr_of(f->feedback[at].data, sizeof f->feedback[at].data);
        if (!lk_twcc_recorder_write(&f->recorder, peer_now(), false, 1, 2, &wr))
            break;
        if (w.feedback_cut)
            continue;
        f->feedback[at].at = w.now + w.delay;
        f->feedback[at].len = wr.len;
        f->feedback_count++;
    }
    while (f->feedback_count && f->feedback[f->feedback_first].at <= w.now) {
        lk_rtcp_reader reader;
        lk_rtcp_packet p;
        lk_rtcp_begin(&reader, f->feedback[f->feedback_first].data, f->feedback[f->feedback_first].len);
        if (CHECK(lk_rtcp_next(&reader, &p))) {
            size_t n = lk_twcc_history_feedback(&f->history, &p, results, LK_LEN(results));
            lk_estimator_feedback(&f->estimator, w.now, results, n);
        }
        f->feedback_first = (f->feedback_first + 1) % LK_LEN(f->feedback);
        f->feedback_count--;
    }
}

static void produce(flow *f)
{
    uint64_t target = lk_estimator_target_bps(&f->estimator), audio = AUDIO_BYTES * 8 * 50;
    if (w.now >= f->audio_at) {
        f->audio_at = LK_MAX(f->audio_at, w.now - LK_MSEC(20)) + LK_MSEC(20);
        if (lk_pacer_push(&f->pacer, w.now, LK_PACER_AUDIO, (void *)(uintptr_t)AUDIO_BYTES, AUDIO_BYTES) != LK_OK)
            f->dead = true;
        f->pacer_at = w.now;
    }
    if (w.now < f->frame_at)
        return;
    f->frame_at = LK_MAX(f->frame_at, w.now - LK_MSEC(33)) + 33333;
    uint64_t video = target > audio ? target - audio : 0;
    video = f->video_max_bps ? LK_MIN(video, f->video_max_bps) : video;
    double jitter = 0.7 + (double)(lk_prng_next(&w.prng) % 600) / 1000; /* frames differ, the mean does not */
    double bytes = (double)video / 240 * jitter;
    for (; bytes > 0; bytes -= PACKET_BYTES) {
        uint32_t len = (uint32_t)LK_CLAMP(bytes, 50.0, (double)PACKET_BYTES);
        if (lk_pacer_push(&f->pacer, w.now, LK_PACER_VIDEO, (void *)(uintptr_t)len, len) != LK_OK)
            f->dead = true;
    }
    f->pacer_at = LK_MIN(f->pacer_at, lk_pacer_deadline(&f->pacer));
}

static void transmit(flow *f, unsigned index)
{
    uint64_t video = 0, target = lk_estimator_target_bps(&f->estimator);
    lk_pacer_class c;
    void *p;
    lk_pacer_set_rate(&f->pacer, w.now, target * 5 / 4);
    while (lk_pacer_poll(&f->pacer, w.now, &c, &p)) {
        uint32_t bytes = (uint32_t)(uintptr_t)p;
        enqueue(index, lk_twcc_history_send(&f->history, w.now, bytes), bytes);
        lk_estimator_sent(&f->estimator, w.now, bytes);
        video += c == LK_PACER_VIDEO ? bytes : 0;
    }
    f->burst_worst = LK_MAX(f->burst_worst, video * 100 / LK_MAX(target / 800, PACKET_BYTES));
    f->pacer_at = lk_pacer_deadline(&f->pacer);
}

static void run(lk_usec duration)
{
    lk_usec until = lk_test_oom() ? w.now + LK_MSEC(500) : w.now + duration;
    for (; w.now < until; w.now += STEP) {
        for (unsigned i = 0; i < FLOWS_MAX; i++) {
            flow *f = &w.flows[i];
            if (!f->on || f->dead)
                continue;
            feedback(f);
            lk_estimator_tick(&f->estimator, w.now);
            produce(f);
            if (f->pacer_at <= w.now)
                transmit(f, i);
        }
        serve_link();
        arrive();
    }
}

static void add_flow(lk_env *env, unsigned index, const lk_estimator_config *config)
{
    flow *f = &w.flows[index];
    *f = (flow){.on = true, .frame_at = w.now, .audio_at = w.now, .pacer_at = w.now};
    lk_pacer_init(&f->pacer, env, NULL, w.now);
    lk_twcc_history_init(&f->history, env, 65000);
    lk_twcc_recorder_init(&f->recorder, env);
    lk_estimator_init(&f->estimator, env, config, w.now);
}

static void begin(lk_env *env, uint64_t seed, uint64_t rate_bps)
{
    memset(&w, 0, sizeof w);
    lk_prng_init(&w.prng, seed);
    w.now = LK_SEC(100);
    w.delay = LK_MSEC(25);
    w.rate_bps = rate_bps;
    w.queue_max = LK_MSEC(300);
    add_flow(env, 0, NULL);
}

static void end(void)
{
    void *p;
    for (unsigned i = 0; i < FLOWS_MAX; i++) {
        if (!w.flows[i].on)
            continue;
        while (lk_pacer_pop(&w.flows[i].pacer, &p))
            ;
        lk_pacer_deinit(&w.flows[i].pacer);
        lk_twcc_history_deinit(&w.flows[i].history);
        lk_twcc_recorder_deinit(&w.flows[i].recorder);
    }
}

/* Delivered since the last mark, in thousandths of the link. */
static void mark(void)
{
    for (unsigned i = 0; i < FLOWS_MAX; i++)
        w.flows[i].marked = w.flows[i].delivered;
    w.queue_worst = 0;
}
static int64_t used(unsigned index, lk_usec since)
{
    return (int64_t)((w.flows[index].delivered - w.flows[index].marked) * 8000u * 1000000u / w.rate_bps /
                     (uint64_t)(w.now - since));
}

static uint64_t target(unsigned index) { return lk_estimator_target_bps(&w.flows[index].estimator); }

#define EACH_SEED(seed_) for (uint64_t seed_ = 1; seed_ <= (lk_test_oom() ? 1u : 20u); seed_++)
/* In a round of refused allocations the flows stop early and say nothing. */
#define EXPECT(cond) CHECK(lk_test_oom() || (cond))

LK_TEST(a_bottleneck_is_used_but_its_queue_is_not_filled)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(20));
        EXPECT(used(0, since) >= 600 && used(0, since) <= 950);
        EXPECT(w.queue_worst < LK_MSEC(150));
        end();
    }
}

LK_TEST(a_step_down_is_followed_in_3_s_and_the_step_up_in_10_s)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        run(LK_SEC(15));
        w.rate_bps = 300000;
        run(LK_SEC(3));
        EXPECT(target(0) <= 330000 && queue_usec() < LK_MSEC(150));
        run(LK_SEC(10));
        w.rate_bps = 1000000;
        run(LK_SEC(10));
        EXPECT(target(0) >= 600000);
        end();
    }
}

LK_TEST(a_fall_to_a_fiftieth_is_survived_and_forgotten)
{
    EACH_SEED(seed) {
        begin(env, seed, 5000000);
        run(LK_SEC(10));
        w.rate_bps = 100000;
        run(LK_SEC(2));
        EXPECT(target(0) <= 110000);
        run(LK_SEC(3));
        mark();
        run(LK_SEC(5));
        EXPECT(w.queue_worst < LK_MSEC(300));
        w.rate_bps = 5000000;
        run(LK_SEC(20));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(10));
        EXPECT(used(0, since) >= 800);
        end();
    }
}

LK_TEST(a_wide_link_is_reached_from_the_start_rate_in_10_s)
{
    EACH_SEED(seed) {
        begin(env, seed, 20000000);
        EXPECT(target(0) == 300000);
        run(LK_SEC(5));
        EXPECT(target(0) >= 5000000);
        end();
    }
}

LK_TEST(reordering_does_not_stop_it)
{
    static const unsigned permille[] = {20, 100, 300};
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        w.reorder_permille = permille[seed % LK_LEN(permille)];
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(20));
        EXPECT(used(0, since) >= 800 && w.queue_worst < LK_MSEC(150));
        end();
    }
}

LK_TEST(jitter_collected_frames_and_clocks_that_differ_do_not_stop_it)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        w.jitter = LK_MSEC(seed % 4 * 10);
        w.gate = LK_MSEC(seed % 3 * 10);
        w.drift_ppm = (int64_t)(seed % 5) * 100 - 200;
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(40));
        EXPECT(used(0, since) >= 750 && w.queue_worst < LK_MSEC(200));
        end();
    }
}

LK_TEST(random_loss_is_not_congestion)
{
    static const struct {
        unsigned permille;
        int64_t least;
    } cases[] = {{20, 800}, {50, 750}, {100, 650}, {150, 580}, {250, 450}};
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        w.loss_permille = cases[seed % LK_LEN(cases)].permille;
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(20));
        EXPECT(used(0, since) >= cases[seed % LK_LEN(cases)].least);
        end();
    }
}

LK_TEST(loss_that_sending_less_lessens_is_congestion)
{
    EACH_SEED(seed) { /* a policer: nothing is delayed, what is too much is lost */
        begin(env, seed, 1000000);
        w.queue_max = LK_MSEC(30);
        run(LK_SEC(10));
        lk_usec since = w.now;
        w.dropped_bytes = 0;
        mark();
        run(LK_SEC(20));
        EXPECT(used(0, since) >= 800 && w.dropped_bytes * 8 < 20 * w.rate_bps * 9 / 100);
        end();
    }
}

LK_TEST(constant_cross_traffic_is_left_its_part)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        run(LK_SEC(10));
        w.cross_bps = 500000;
        run(LK_SEC(10));
        lk_usec since = w.now;
        uint64_t dropped = w.dropped;
        mark();
        run(LK_SEC(20));
        EXPECT(used(0, since) >= 400 && used(0, since) <= 500 && w.dropped - dropped < 10);
        w.cross_bps = 0;
        run(LK_SEC(10));
        EXPECT(target(0) >= 700000);
        end();
    }
}

LK_TEST(two_flows_share)
{
    EACH_SEED(seed) {
        begin(env, seed, 2000000);
        add_flow(env, 1, NULL);
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(30));
        int64_t a = used(0, since), b = used(1, since);
        EXPECT(a >= 300 && b >= 300 && a + b <= 980 && w.queue_worst < LK_MSEC(150));
        end();
    }
}

LK_TEST(a_late_second_flow_is_let_in)
{
    EACH_SEED(seed) {
        begin(env, seed, 2000000);
        run(LK_SEC(20));
        add_flow(env, 1, NULL);
        run(LK_SEC(50));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(30));
        EXPECT(used(1, since) >= 250 && used(0, since) >= 300);
        end();
    }
}

LK_TEST(a_longer_route_is_not_taken_for_a_queue_for_long)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        run(LK_SEC(20));
        w.delay += LK_MSEC(150);
        run(LK_SEC(12));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(10));
        EXPECT(used(0, since) >= 750);
        end();
    }
}

LK_TEST(what_is_not_sent_is_not_assumed)
{
    begin(env, 1, 10000000);
    w.flows[0].video_max_bps = 200000; /* and 64,000 of audio */
    run(LK_SEC(60));
    EXPECT(target(0) >= 300000 && target(0) <= 600000);
    w.flows[0].video_max_bps = 3000000;
    lk_estimator_set_demand(&w.flows[0].estimator, w.now, 3100000);
    run(LK_SEC(4));
    EXPECT(target(0) >= 3000000);
    run(LK_SEC(20));
    EXPECT(target(0) <= 3100000 * 5 / 4);
    end();
}

LK_TEST(never_more_than_10_ms_of_the_estimate_is_sent_at_once)
{
    static const uint64_t rates[] = {300000, 1000000, 3000000, 20000000};
    for (size_t i = 0; i < LK_LEN(rates); i++) {
        begin(env, i, rates[i]);
        run(LK_SEC(20));
        CHECK(w.flows[0].burst_worst <= 100);
        end();
    }
}

LK_TEST(silence_lowers_the_rate_and_feedback_brings_it_back)
{
    EACH_SEED(seed) {
        begin(env, seed, 1000000);
        run(LK_SEC(10));
        uint64_t before = target(0);
        w.feedback_cut = true;
        run(LK_SEC(3));
        EXPECT(target(0) <= before / 2);
        run(LK_SEC(10));
        EXPECT(target(0) == 30000);
        EXPECT(lk_estimator_deadline(&w.flows[0].estimator) == LK_NEVER); /* nothing left to lower */
        w.feedback_cut = false;
        run(LK_SEC(10));
        EXPECT(target(0) >= 600000);
        end();
    }
}

LK_TEST(the_same_seed_is_the_same_run)
{
    uint64_t delivered[2], targets[2];
    for (size_t i = 0; i < 2; i++) {
        begin(env, 7, 1000000);
        w.loss_permille = 30;
        w.reorder_permille = 50;
        w.jitter = LK_MSEC(5);
        run(LK_SEC(20));
        delivered[i] = w.flows[0].delivered;
        targets[i] = target(0);
        end();
    }
    EXPECT(delivered[0] == delivered[1] && targets[0] == targets[1]);
}

LK_TEST(without_transport_feedback_reports_and_remb_rule)
{
    lk_estimator e;
    lk_usec now = LK_SEC(3);
    lk_estimator_init(&e, env, NULL, now);
    CHECK(lk_estimator_target_bps(&e) == 300000 && lk_estimator_deadline(&e) == LK_NEVER);
    for (int i = 0; i < 20; i++) {
        now += LK_SEC(1);
        for (int k = 0; k < 50; k++)
            lk_estimator_sent(&e, now - LK_SEC(1) + k * LK_MSEC(20), 1200);
        lk_estimator_report(&e, now, 1, LK_MSEC(80));
    }
    uint64_t grown = lk_estimator_target_bps(&e);
    CHECK(grown > 500000 && grown <= 760000);
    CHECK_EQ(lk_estimator_rtt_usec(&e), LK_MSEC(80));
    lk_estimator_report(&e, now += LK_SEC(1), 51, 0);
    CHECK(lk_estimator_target_bps(&e) < grown * 92 / 100 && lk_estimator_target_bps(&e) > grown * 85 / 100);
    lk_estimator_remb(&e, now, 1);
    CHECK_EQ(lk_estimator_target_bps(&e), 10000);
    lk_estimator_tick(&e, now + LK_SEC(10) + 1);
    CHECK(lk_estimator_target_bps(&e) > grown * 80 / 100);
    CHECK_EQ(lk_estimator_deadline(&e), LK_NEVER);
}

LK_TEST(whatever_the_peer_claims_the_rate_stays_within_its_limits)
{
    static lk_twcc_result results[256];
    lk_prng prng;
    lk_estimator e;
    EACH_SEED(seed) {
        lk_prng_init(&prng, seed);
        lk_usec now = LK_SEC(1);
        lk_estimator_init(&e, env, &(lk_estimator_config){.min_bps = 50000, .max_bps = 2000000}, now);
        for (unsigned i = 0; i < 2000; i++, now += (lk_usec)(lk_prng_next(&prng) % 300000)) {
            size_t n = lk_prng_next(&prng) % LK_LEN(results);
            unsigned wild = (unsigned)(lk_prng_next(&prng) % 40);
            for (size_t k = 0; k < n; k++) {
                results[k] = (lk_twcc_result){.seq = (uint16_t)lk_prng_next(&prng), .bytes = 1200,
                                              .received = lk_prng_next(&prng) % 3 != 0,
                                              .sent_at = now - (lk_usec)(lk_prng_next(&prng) % 1000000)};
                results[k].arrived_at = (int64_t)(lk_prng_next(&prng) >> 20) >> wild;
                results[k].arrived_at *= lk_prng_next(&prng) % 2 ? 1 : -1;
            }
            lk_estimator_sent(&e, now, 1200);
            lk_estimator_feedback(&e, now, results, n);
            lk_estimator_report(&e, now, (uint8_t)lk_prng_next(&prng), (lk_usec)(lk_prng_next(&prng) % 5000000));
            lk_estimator_tick(&e, now);
            if (!CHECK(lk_estimator_target_bps(&e) >= 50000 && lk_estimator_target_bps(&e) <= 2000000))
                return;
        }
    }
}

LK_TEST(a_rate_is_known_after_a_quarter_of_a_second)
{
    lk_rate_meter m = {0};
    CHECK_EQ(lk_rate_meter_bps(&m), 0);
    for (lk_usec at = LK_SEC(7); at < LK_SEC(9); at += LK_MSEC(10)) {
        lk_rate_meter_add(&m, at, 1000);
        uint64_t bps = lk_rate_meter_bps(&m);
        CHECK(at < LK_SEC(7) + LK_MSEC(250) ? bps == 0 : bps >= 780000 && bps <= 840000);
    }
    lk_rate_meter_add(&m, LK_SEC(8), 1000000); /* older than the window */
    CHECK(lk_rate_meter_bps(&m) < 840000);
    lk_rate_meter_add(&m, LK_SEC(5000), 1000); /* another clock */
    CHECK_EQ(lk_rate_meter_bps(&m), 0);
}
