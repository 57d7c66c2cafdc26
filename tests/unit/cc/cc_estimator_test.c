// SPDX-License-Identifier: Apache-2.0
/* Flows of one pacer, history and estimator each through a bottleneck, in virtual time; feedback as real packets. */
#include "cc/estimator.h"
#include "cc/pacer.h"
#include "lk_test.h"

#define STEP LK_MSEC(1) / 4
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
    unsigned loss_permille, reorder_permille;
    bool feedback_cut;
    packet queue[QUEUE_PACKETS];
    unsigned queue_first, queue_count;
    uint64_t queue_bytes;
    double credit_bits, cross_bits;
    packet flight[FLIGHT_PACKETS];
    unsigned flight_count;
    lk_usec last_arrival, queue_worst;
    uint64_t dropped;
    flow flows[FLOWS_MAX];
} world;

static world w; /* large */

static lk_usec queue_usec(void) { return (lk_usec)(w.queue_bytes * 8000000u / w.rate_bps); }

static void enqueue(unsigned flow_index, uint16_t seq, uint32_t bytes)
{
    lk_usec q = queue_usec();
    if (flow_index < FLOWS_MAX)
        w.queue_worst = LK_MAX(w.queue_worst, q);
    if (q > w.queue_max || w.queue_count == QUEUE_PACKETS) {
        w.dropped++;
        return;
    }
    w.queue[(w.queue_first + w.queue_count++) % QUEUE_PACKETS] = (packet){.seq = seq, .bytes = bytes, .flow = flow_index};
    w.queue_bytes += bytes;
}

static void serve_link(void)
{
    w.cross_bits += (double)w.cross_bps * (double)(STEP) / 1e6;
    while (w.cross_bits >= 8000) {
        w.cross_bits -= 8000;
        enqueue(FLOWS_MAX, 0, 1000);
    }
    w.credit_bits += (double)w.rate_bps * (double)(STEP) / 1e6;
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
        if (lk_twcc_recorder_receive(&w.flows[p.flow].recorder, w.now + LK_SEC(5000), p.seq) != LK_OK)
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
        if (!lk_twcc_recorder_write(&f->recorder, w.now + LK_SEC(5000), false, 1, 2, &wr))
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

#define SEEDS 20

LK_TEST(a_bottleneck_is_used_but_its_queue_is_not_filled)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(env, seed, 1000000);
        run(LK_SEC(10));
        lk_usec since = w.now;
        mark();
        run(LK_SEC(20));
        if (!lk_test_oom())
            CHECK(used(0, since) >= 600 && used(0, since) <= 950 && w.queue_worst < LK_MSEC(150));
        end();
    }
}

LK_TEST(a_step_down_is_followed_in_3_s_and_the_step_up_in_10_s)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(env, seed, 1000000);
        run(LK_SEC(15));
        w.rate_bps = 300000;
        run(LK_SEC(3));
        if (!lk_test_oom())
            CHECK(lk_estimator_target_bps(&w.flows[0].estimator) <= 330000 && queue_usec() < LK_MSEC(150));
        run(LK_SEC(10));
        w.rate_bps = 1000000;
        run(LK_SEC(10));
        if (!lk_test_oom())
            CHECK(lk_estimator_target_bps(&w.flows[0].estimator) >= 600000);
        end();
    }
}

LK_TEST(never_more_than_10_ms_of_the_estimate_is_sent_at_once)
{
    begin(env, 1, 3000000);
    run(LK_SEC(20));
    CHECK(w.flows[0].burst_worst <= 100);
    end();
}
