// SPDX-License-Identifier: Apache-2.0
/* Sender to receiver in virtual time, over a path that delays, shuffles and loses as told. */
#include "livekit/stats.h"
#include "lk_test.h"
#include "media/audio_receiver.h"
#include "media/audio_sender.h"

#include <math.h>

#define RATE 48000
#define FLYING_MAX 512

typedef struct flying {
    lk_usec at;
    uint16_t seq;
    uint32_t ts;
    size_t len;
    uint8_t data[1275];
} flying;

typedef struct world {
    lk_env *env;
    lk_audio_sender *sender;
    lk_audio_receiver *receiver;
    lk_frame_pool *pool;
    lk_prng prng;
    flying *air;
    size_t air_count;
    uint16_t seq;
    lk_usec jitter_usec, base_usec;
    uint32_t loss_percent;
    uint64_t sent, lost;
    /* what was heard at 48 kHz mono by sink 1 */
    uint64_t heard;
    double in_energy, out_energy;
} world;

static bool world_init(world *w, lk_env *env, bool dtx)
{
    const lk_audio_sender_config config = {.dtx = dtx, .fec = true};
    memset(w, 0, sizeof *w);
    w->env = env;
    w->base_usec = 20000;
    lk_prng_init(&w->prng, 7);
    w->air = (flying *)lk_alloc0(env, FLYING_MAX * sizeof *w->air);
    return w->air && lk_frame_pool_new(&w->pool, env) == LK_OK &&
           lk_audio_sender_new(&w->sender, env, &config, 0) == LK_OK && lk_audio_receiver_new(&w->receiver, env, 0) == LK_OK;
}

static void world_deinit(world *w)
{
    lk_audio_sender_free(w->sender);
    lk_audio_receiver_free(w->receiver);
    lk_frame_pool_unref(w->pool);
    lk_release(w->env, w->air, FLYING_MAX * sizeof *w->air);
}

/* A voice-like tone: pitch 150 Hz with overtones, syllables four times a second. */
static int16_t voice(uint64_t i)
{
    double t = (double)i / RATE, s = 0;
    for (int h = 1; h <= 8; h++)
        s += sin(2 * M_PI * 150 * h * t) / h;
    return (int16_t)(s * 4000 * (0.6 + 0.4 * sin(2 * M_PI * 4 * t)));
}

static void take_packets(world *w, lk_usec now)
{
    lk_audio_packet p;
    while (lk_audio_sender_poll_packet(w->sender, &p)) {
        w->seq++;
        w->sent++;
        if (lk_prng_next(&w->prng) % 100 < w->loss_percent) {
            w->lost++;
            continue;
        }
        REQUIRE(w->air_count < FLYING_MAX);
        flying *f = &w->air[w->air_count++];
        lk_usec extra = w->jitter_usec ? (lk_usec)(lk_prng_next(&w->prng) % (uint64_t)w->jitter_usec) : 0;
        f->at = now + w->base_usec + extra;
        f->seq = w->seq;
        f->ts = p.ts + 12345;
        f->len = p.len;
        memcpy(f->data, p.payload, p.len);
    }
}

static void land_packets(world *w, lk_usec now)
{
    for (size_t i = 0; i < w->air_count;) {
        flying *f = &w->air[i];
        if (f->at > now) {
            i++;
            continue;
        }
        const lk_rtp_packet p = {.seq = f->seq, .ts = f->ts, .payload = f->data, .payload_len = f->len};
        lk_audio_receiver_input(w->receiver, f->at, &p, false);
        *f = w->air[--w->air_count];
    }
}

static void hear(world *w)
{
    lk_frame *frame;
    uint64_t sink;
    while (lk_audio_receiver_poll_frame(w->receiver, &sink, &frame)) {
        if (sink == 1) {
            w->heard += frame->samples;
            for (size_t i = 0; i < frame->samples; i++)
                w->out_energy += (double)frame->data[i] * frame->data[i];
        }
        lk_frame_unref(frame);
    }
}

/* One millisecond at a time from `from` to `to`. */
static void world_run(world *w, lk_usec from, lk_usec to)
{
    for (lk_usec now = from; now < to; now += 1000) {
        lk_job *job;
        if (now % 10000 == 0) {
            lk_frame *frame;
            if (lk_frame_new(&frame, w->pool, RATE, 1, 480) != LK_OK)
                return;
            for (size_t i = 0; i < 480; i++) {
                frame->data[i] = voice((uint64_t)now / 10000 * 480 + i);
                w->in_energy += (double)frame->data[i] * frame->data[i];
            }
            lk_audio_sender_push(w->sender, now, frame);
            lk_frame_unref(frame);
            if (lk_audio_sender_poll_job(w->sender, &job)) {
                job->run(job);
                lk_audio_sender_job_done(w->sender, now, job);
                take_packets(w, now);
            }
        }
        land_packets(w, now);
        lk_audio_receiver_tick(w->receiver, now);
        if (lk_audio_receiver_poll_job(w->receiver, &job)) {
            job->run(job);
            lk_audio_receiver_job_done(w->receiver, now, job);
        }
        hear(w);
    }
}

static lk_stats_InboundRtpStream inbound(const world *w)
{
    lk_stats e;
    memset(&e, 0, sizeof e);
    lk_audio_receiver_stats(w->receiver, &e);
    return e.inbound_rtp.inbound;
}

static double mean_target(const lk_stats_InboundRtpStream *a, const lk_stats_InboundRtpStream *b)
{
    return (b->jitter_buffer_target_delay - a->jitter_buffer_target_delay) /
           (double)(b->jitter_buffer_emitted_count - a->jitter_buffer_emitted_count);
}

LK_TEST(what_is_said_is_heard_as_loud_and_whole)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        world_run(&w, 0, LK_SEC(10));
        if (!lk_test_oom()) {
            lk_stats_InboundRtpStream s = inbound(&w);
            CHECK(w.heard >= 9 * RATE);
            CHECK(fabs(10 * log10(w.out_energy / w.in_energy)) < 1.0);
            CHECK_EQ(s.concealed_samples, 0);
            CHECK(s.jitter_buffer_delay / (double)s.jitter_buffer_emitted_count < 0.035);
            CHECK(s.audio_level > 0.05 && s.total_audio_energy > 0);
        }
    }
    world_deinit(&w);
}

LK_TEST(sixty_ms_of_jitter_conceal_less_than_two_per_cent)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        w.jitter_usec = 60000;
        world_run(&w, 0, LK_SEC(30));
        if (!lk_test_oom()) {
            lk_stats_InboundRtpStream s = inbound(&w);
            CHECK((double)s.concealed_samples / (double)s.total_samples_received < 0.02);
        }
    }
    world_deinit(&w);
}

LK_TEST(target_follows_the_jitter_up_and_down_within_five_seconds)
{
    /* The 95th percentile of an even spread over 0..j ms is 0.95 j. */
    static const int steps_msec[] = {10, 60, 120, 30, 5};
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        lk_usec now = 0;
        for (size_t i = 0; i < LK_LEN(steps_msec); i++) {
            w.jitter_usec = LK_MSEC(steps_msec[i]);
            world_run(&w, now, now + LK_SEC(5));
            lk_stats_InboundRtpStream before = inbound(&w);
            world_run(&w, now + LK_SEC(5), now + LK_SEC(6));
            lk_stats_InboundRtpStream after = inbound(&w);
            now += LK_SEC(6);
            if (!lk_test_oom())
                CHECK(fabs(mean_target(&before, &after) - 0.00095 * steps_msec[i]) <= 0.020);
        }
    }
    world_deinit(&w);
}

LK_TEST(five_per_cent_loss_is_mostly_repaired_by_fec)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        w.loss_percent = 5;
        lk_audio_sender_set_loss(w.sender, 26); /* 10 % */
        world_run(&w, 0, LK_SEC(20));
        if (!lk_test_oom()) {
            lk_stats_InboundRtpStream s = inbound(&w);
            CHECK(w.lost > 20);
            CHECK(s.fec_packets_received > w.lost / 2);
            CHECK((double)s.concealed_samples / (double)s.total_samples_received < 0.04);
        }
    }
    world_deinit(&w);
}

LK_TEST(mute_with_dtx_sends_next_to_nothing_and_is_heard_as_silence)
{
    world w;
    if (world_init(&w, env, true) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        world_run(&w, 0, LK_SEC(3));
        lk_audio_sender_set_muted(w.sender, LK_SEC(3), true);
        world_run(&w, LK_SEC(3), LK_SEC(5));
        uint64_t sent = w.sent, heard = w.heard;
        w.out_energy = 0;
        world_run(&w, LK_SEC(5), LK_SEC(10));
        if (!lk_test_oom()) {
            CHECK(w.sent - sent < 50);
            CHECK_EQ(w.heard - heard, 5 * RATE);
            CHECK(w.out_energy / (5.0 * RATE) < 100.0);
        }
    }
    world_deinit(&w);
}

LK_TEST(each_sink_gets_its_format)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, 16000, 2, 25) == LK_OK &&
        lk_audio_receiver_add_sink(w.receiver, 0, 2, 44100, 1, 10) == LK_OK) {
        world_run(&w, 0, LK_SEC(2));
        if (!lk_test_oom())
            CHECK(w.heard > 1.9 * 16000 && w.heard % 400 == 0);
        CHECK(lk_audio_receiver_remove_sink(w.receiver, 1));
        CHECK(!lk_audio_receiver_remove_sink(w.receiver, 1));
        CHECK(lk_audio_receiver_remove_sink(w.receiver, 2));
        CHECK_EQ(lk_audio_receiver_deadline(w.receiver), LK_NEVER);
    }
    world_deinit(&w);
}
