// SPDX-License-Identifier: Apache-2.0
/* Sender to receiver in virtual time, over a path that delays, shuffles and loses as told. */
#include "livekit/stats.h"
#include "lk_test.h"
#include "media/audio_receiver.h"
#include "media/audio_sender.h"
#include "rtp/red.h"

#include <math.h>

#define RATE 48000
#define FLYING_MAX 512
#define KEPT (12 * RATE)

static int16_t said_pcm[KEPT], heard_pcm[KEPT];

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
    /* how the microphone is: 0: 48 kHz mono */
    uint32_t mic_rate, mic_channels;
    double phase;
    uint64_t said;
    /* what left */
    uint32_t last_ts;
    uint64_t gaps, voiced, marked_wrong;
    uint8_t last_level;
    bool red;
    flying before; /* sent again with the next one */
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

/* Speech-like, and a new sound every 50 ms: other pitch, other timbre, other loudness. */
static int16_t voice(world *w, double rate)
{
    uint64_t sound = (uint64_t)((double)w->said * 20 / rate);
    double v = 0, hz = 180 + 15 * (double)(sound * 7 % 13), formant = 1 + (double)(sound * 5 % 7);
    w->said++;
    w->phase += 2 * M_PI * hz / rate;
    for (int h = 1; h <= 8; h++)
        v += sin(w->phase * h) / (1 + fabs(h - formant));
    return (int16_t)(2500 * v * (0.5 + 0.1 * (double)(sound * 3 % 11)));
}

static void fly(world *w, lk_usec now, const lk_audio_packet *p)
{
    REQUIRE(w->air_count < FLYING_MAX);
    flying *f = &w->air[w->air_count++];
    lk_usec extra = w->jitter_usec ? (lk_usec)(lk_prng_next(&w->prng) % (uint64_t)w->jitter_usec) : 0;
    f->at = now + w->base_usec + extra;
    f->seq = w->seq;
    f->ts = p->ts + 12345;
    f->len = p->len;
    memcpy(f->data, p->payload, p->len);
    if (!w->red)
        return;
    const lk_rtp_red_block blocks[] = {{111, (uint16_t)(f->ts - w->before.ts), {w->before.data, w->before.len}},
                                       {111, 0, {p->payload, p->len}}};
    size_t skip = w->before.len ? 0 : 1;
    lk_wr out = lk_wr_of(f->data, sizeof f->data);
    lk_rtp_red_write(&out, blocks + skip, 2 - skip);
    REQUIRE(!out.bad);
    f->len = out.len;
    w->before.ts = f->ts;
    w->before.len = p->len;
    memcpy(w->before.data, p->payload, p->len);
}

static void take_packets(world *w, lk_usec now)
{
    lk_audio_packet p;
    while (lk_audio_sender_poll_packet(w->sender, &p)) {
        bool gap = w->sent && p.ts - w->last_ts != 960;
        CHECK_EQ(p.ts % 960, 0);
        w->gaps += gap;
        w->marked_wrong += p.marker != gap;
        w->voiced += p.voice;
        w->last_ts = p.ts;
        w->last_level = p.level;
        w->seq++;
        w->sent++;
        fly(w, now, &p);
        if (lk_prng_next(&w->prng) % 100 < w->loss_percent && w->air_count) {
            w->air_count--;
            w->lost++;
        }
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
        lk_audio_receiver_input(w->receiver, f->at, &p, w->red);
        *f = w->air[--w->air_count];
    }
}

static void hear(world *w)
{
    lk_frame *frame;
    uint64_t sink;
    while (lk_audio_receiver_poll_frame(w->receiver, &sink, &frame)) {
        if (sink == 1) {
            if (frame->sample_rate == RATE && frame->channels == 1 && w->heard + frame->samples <= KEPT)
                memcpy(heard_pcm + w->heard, frame->data, frame->samples * sizeof *heard_pcm);
            w->heard += frame->samples;
            for (size_t i = 0; i < frame->samples; i++)
                w->out_energy += (double)frame->data[i] * frame->data[i];
        }
        lk_frame_unref(frame);
    }
}

static void say(world *w, lk_usec now)
{
    lk_frame *frame;
    uint32_t rate = w->mic_rate ? w->mic_rate : RATE, channels = w->mic_channels ? w->mic_channels : 1;
    if (lk_frame_new(&frame, w->pool, rate, channels, rate / 100) != LK_OK)
        return;
    for (size_t i = 0; i < frame->samples; i++) {
        int16_t v = voice(w, rate);
        for (size_t c = 0; c < channels; c++)
            frame->data[i * channels + c] = v;
        w->in_energy += (double)v * v;
        if (rate == RATE && w->said <= KEPT)
            said_pcm[w->said - 1] = v;
    }
    lk_audio_sender_push(w->sender, now, frame);
    lk_frame_unref(frame);
}

static void encode(world *w, lk_usec now)
{
    lk_job *job;
    if (!lk_audio_sender_poll_job(w->sender, &job))
        return;
    CHECK(lk_audio_sender_busy(w->sender) && job->tag == 1 && job->owner == w->sender);
    job->run(job);
    lk_audio_sender_job_done(w->sender, now, job);
    take_packets(w, now);
}

static void decode(world *w, lk_usec now)
{
    lk_job *job;
    if (!lk_audio_receiver_poll_job(w->receiver, &job))
        return;
    CHECK(lk_audio_receiver_busy(w->receiver) && job->tag == 2 && job->owner == w->receiver);
    job->run(job);
    lk_audio_receiver_job_done(w->receiver, now, job);
}

/* One millisecond at a time from `from` to `to`; a refused allocation shows within the first second. */
static void world_run(world *w, lk_usec from, lk_usec to)
{
    if (lk_test_oom())
        to = LK_MIN(to, from + LK_SEC(1));
    for (lk_usec now = from; now < to; now += 1000) {
        if (now % 10000 == 0) {
            say(w, now);
            encode(w, now);
        }
        land_packets(w, now);
        lk_audio_receiver_tick(w->receiver, now);
        decode(w, now);
        hear(w);
    }
}

/* Likeness of what was heard with what was said, the mean over pieces of 200 ms, each where it fits best: stretching moves
 * them against each other. */
static double likeness(size_t from, size_t to)
{
    double sum = 0;
    size_t count = 0;
    for (size_t at = from; at + 9600 <= to; at += 9600, count++) {
        double best = 0;
        for (size_t lag = 0; lag < 9600; lag += 6) { /* coarse; a sample either way does not matter below 2 kHz */
            double ab = 0, aa = 0, bb = 0;
            for (size_t i = 0; i < 9600; i += 6) {
                double a = said_pcm[at + i], b = heard_pcm[at + i + lag];
                ab += a * b;
                aa += a * a;
                bb += b * b;
            }
            if (aa > 0 && bb > 0)
                best = LK_MAX(best, ab / sqrt(aa * bb));
        }
        sum += best;
    }
    return count ? sum / (double)count : 0;
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
            CHECK(likeness(RATE, 9 * RATE) > 0.95);
            CHECK_EQ(w.marked_wrong, 0);
            CHECK(w.voiced > w.sent * 9 / 10);
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
            CHECK(likeness(5 * RATE, 11 * RATE) > 0.95);
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
            CHECK(w.out_energy / (5.0 * RATE) < 1.0);
            CHECK(w.gaps > 5);
            CHECK_EQ(w.marked_wrong, 0);
            CHECK_EQ(w.last_level, 127);
            lk_stats_InboundRtpStream s = inbound(&w);
            CHECK(s.audio_level < 1e-4);
            CHECK_EQ(s.concealed_samples, 0);
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

LK_TEST(redundant_audio_repairs_single_losses)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        w.loss_percent = 5;
        w.red = true;
        world_run(&w, 0, LK_SEC(5));
        lk_stats_InboundRtpStream before = inbound(&w);
        uint64_t lost = w.lost;
        world_run(&w, LK_SEC(5), LK_SEC(30));
        if (!lk_test_oom()) {
            lk_stats_InboundRtpStream s = inbound(&w);
            CHECK(w.lost - lost > 30);
            /* Two in a row, 1 in 20 of them, stay lost. */
            CHECK((double)(s.concealed_samples - before.concealed_samples) < 0.006 * 25 * RATE);
            CHECK(s.fec_packets_received > s.fec_packets_discarded && s.fec_bytes_received > 0);
        }
    }
    world_deinit(&w);
}

LK_TEST(any_microphone_is_heard_as_loud_at_50_packets_a_second)
{
    static const uint32_t rates[] = {8000, 16000, 44100, 96000, 384000}, channels[] = {1, 2, 1, 8, 2};
    for (size_t i = 0; i < LK_LEN(rates); i++) {
        world w;
        if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
            w.mic_rate = rates[i];
            w.mic_channels = channels[i];
            world_run(&w, 0, LK_SEC(4));
            if (!lk_test_oom()) {
                double loss_db = 10 * log10(w.out_energy / RATE / (w.in_energy / rates[i]));
                CHECK(w.sent >= 196 && w.sent <= 200);
                CHECK(fabs(loss_db) < 1.5);
            }
        }
        world_deinit(&w);
    }
}

LK_TEST(steady_audio_allocates_nothing_even_with_jitter_and_loss)
{
    world w;
    if (world_init(&w, env, true) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK &&
        lk_audio_receiver_add_sink(w.receiver, 0, 2, 16000, 1, 20) == LK_OK) {
        w.jitter_usec = 30000;
        w.loss_percent = 3;
        world_run(&w, 0, LK_SEC(10));
        size_t before = lk_test_alloc_count();
        world_run(&w, LK_SEC(10), LK_SEC(20));
        if (!lk_test_oom())
            CHECK_EQ(lk_test_alloc_count(), before);
    }
    world_deinit(&w);
}

LK_TEST(a_listener_who_comes_late_is_not_behind)
{
    world w;
    if (world_init(&w, env, false)) {
        world_run(&w, 0, LK_SEC(5));
        CHECK_EQ(lk_audio_receiver_deadline(w.receiver), LK_NEVER);
        CHECK_EQ(inbound(&w).total_samples_received, 0);
        if (lk_audio_receiver_add_sink(w.receiver, LK_SEC(5), 1, RATE, 1, 10) == LK_OK) {
            world_run(&w, LK_SEC(5), LK_SEC(6));
            if (!lk_test_oom()) {
                lk_stats_InboundRtpStream s = inbound(&w);
                CHECK(s.jitter_buffer_delay / (double)s.jitter_buffer_emitted_count < 0.040);
                CHECK(w.heard > RATE * 9 / 10);
                CHECK(w.out_energy > 0);
            }
        }
    }
    world_deinit(&w);
}

LK_TEST(a_sink_that_leaves_while_frames_are_made_for_it_gets_none)
{
    world w;
    lk_job *job;
    uint64_t sink;
    lk_frame *frame;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK &&
        lk_audio_receiver_add_sink(w.receiver, 0, 2, RATE, 1, 10) == LK_OK) {
        world_run(&w, 0, LK_MSEC(500));
        lk_audio_receiver_tick(w.receiver, LK_MSEC(500));
        if (CHECK(lk_audio_receiver_poll_job(w.receiver, &job))) {
            CHECK(!lk_audio_receiver_poll_job(w.receiver, &job));
            CHECK(lk_audio_receiver_remove_sink(w.receiver, 1));
            CHECK(!lk_audio_receiver_remove_sink(w.receiver, 1));
            CHECK_EQ(lk_audio_receiver_sink_count(w.receiver), 1);
            CHECK(!lk_audio_receiver_poll_frame(w.receiver, &sink, &frame));
            job->run(job);
            lk_audio_receiver_job_done(w.receiver, LK_MSEC(501), job);
            while (lk_audio_receiver_poll_frame(w.receiver, &sink, &frame)) {
                CHECK_EQ(sink, 2);
                lk_frame_unref(frame);
            }
        }
    }
    world_deinit(&w);
}

LK_TEST(a_machine_that_slept_does_not_play_the_past)
{
    world w;
    if (world_init(&w, env, false) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        world_run(&w, 0, LK_SEC(1));
        uint64_t heard = w.heard;
        lk_audio_receiver_tick(w.receiver, LK_SEC(60));
        decode(&w, LK_SEC(60));
        hear(&w);
        CHECK(w.heard - heard <= RATE / 100);
        CHECK(lk_audio_receiver_deadline(w.receiver) > LK_SEC(60));
        CHECK(lk_audio_receiver_deadline(w.receiver) <= LK_SEC(60) + 10000);
        world_run(&w, LK_SEC(60), LK_SEC(62));
        if (!lk_test_oom())
            CHECK(w.heard - heard >= 2 * RATE - 960);
    }
    world_deinit(&w);
}

LK_TEST(what_the_encoder_cannot_take_in_time_is_dropped_oldest_first_and_counted)
{
    world w;
    lk_stats e;
    memset(&e, 0, sizeof e);
    if (world_init(&w, env, false)) {
        for (int i = 0; i < LK_AUDIO_SENDER_FRAMES_MAX + 8; i++)
            say(&w, LK_MSEC(10 * i));
        encode(&w, LK_MSEC(400));
        lk_audio_sender_stats(w.sender, &e);
        if (!lk_test_oom()) {
            CHECK_EQ(w.sent, LK_AUDIO_SENDER_FRAMES_MAX / 2);
            CHECK_EQ(e.media_source.audio.dropped_samples_events, 8);
            CHECK(fabs(e.media_source.audio.dropped_samples_duration - 0.08) < 1e-9);
            CHECK_EQ(e.media_source.audio.total_samples_captured, LK_AUDIO_SENDER_FRAMES_MAX * 480);
            CHECK(fabs(e.media_source.audio.total_samples_duration - LK_AUDIO_SENDER_FRAMES_MAX * 0.01) < 1e-9);
            CHECK(e.media_source.audio.audio_level > 0.05 && e.media_source.audio.total_audio_energy > 0);
        }
    }
    world_deinit(&w);
}

LK_TEST(a_track_that_starts_muted_says_nothing_until_it_is_unmuted)
{
    world w;
    if (world_init(&w, env, true) && lk_audio_receiver_add_sink(w.receiver, 0, 1, RATE, 1, 10) == LK_OK) {
        lk_audio_sender_set_muted(w.sender, 0, true);
        world_run(&w, 0, LK_SEC(2));
        if (!lk_test_oom()) {
            CHECK(w.out_energy / (2.0 * RATE) < 1.0);
            CHECK_EQ(w.voiced, 0);
            lk_stats e;
            memset(&e, 0, sizeof e);
            lk_audio_sender_stats(w.sender, &e);
            CHECK(e.media_source.audio.audio_level == 0);
        }
        lk_audio_sender_set_muted(w.sender, LK_SEC(2), false);
        w.in_energy = w.out_energy = 0;
        world_run(&w, LK_SEC(2), LK_SEC(5));
        if (!lk_test_oom())
            CHECK(fabs(10 * log10(w.out_energy / w.in_energy)) < 1.0);
    }
    world_deinit(&w);
}

LK_TEST(sinks_beyond_the_bounds_are_refused)
{
    world w;
    if (world_init(&w, env, false)) {
        static const uint32_t bad[][3] = {{999, 1, 10}, {384001, 1, 10}, {RATE, 0, 10}, {RATE, 9, 10}, {RATE, 1, 0}, {RATE, 1, 1001}};
        for (size_t i = 0; i < LK_LEN(bad); i++) {
            lk_err err = lk_audio_receiver_add_sink(w.receiver, 0, 1, bad[i][0], bad[i][1], bad[i][2]);
            CHECK(err == LK_ERR_INVALID || (lk_test_oom() && err == LK_ERR_NOMEM));
        }
        CHECK_EQ(lk_audio_receiver_deadline(w.receiver), LK_NEVER);
        for (uint64_t i = 1; i <= LK_AUDIO_RECEIVER_SINKS_MAX; i++)
            CHECK_OK(lk_audio_receiver_add_sink(w.receiver, 0, i, RATE, 1, 10));
        if (!lk_test_oom())
            CHECK_EQ(lk_audio_receiver_add_sink(w.receiver, 0, 99, RATE, 1, 10), LK_ERR_LIMIT);
    }
    world_deinit(&w);
}
