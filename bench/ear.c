// SPDX-License-Identifier: Apache-2.0
/* bench_ear: what a bad path leaves of speech, and what could have been had at which delay.
 *
 *   bench_ear [--loss THOUSANDTHS] [--burst THOUSANDTHS --burst-end THOUSANDTHS] [--rtt MSEC] [--jitter MSEC] [--no-red] [--no-nack]
 *             [--seconds N] [--seed N] [--speech RAW] [--heard RAW]
 *
 * Two peer connections of the simulator: one speaks, the other listens, in virtual time. Printed as one JSON object:
 * how much was concealed, stretched and waited, and for each delay after the fastest packet the parts (in thousandths)
 * of the sound that are not there by then: with the packets alone, with redundancy, with that and in-band FEC, with
 * all of that and resends. RAW: 16 bit samples at 48 kHz.
 */
#include "codec/codec.h"
#include "pc/pc_internal.h"
#include "rtp/red.h"
#include "sim/sim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define PACKETS_MAX 65536

enum { BY_PACKET, BY_RED, BY_FEC, BY_RESEND, WAYS };
static const char *const way_names[WAYS] = {"packets", "red", "fec", "resends"};
static const int delays_msec[] = {20, 30, 40, 50, 60, 80, 100, 150, 200};

typedef struct ear {
    const lk_audio_codec_ops *codec;
    lk_usec at[WAYS][PACKETS_MAX]; /* when it was there; 0: never */
    lk_usec sent[PACKETS_MAX];     /* media time, from the time stamp */
    bool known[PACKETS_MAX];
    bool listening;
    lk_unwrap16 seq;
    lk_unwrap32 ts;
    int64_t first_seq, first_ts, last;
    lk_usec base;
    FILE *heard;
} ear;

static ear it;

static void note(ear *e, int way, int64_t n, lk_usec now)
{
    if (n >= 0 && n < PACKETS_MAX && !e->at[way][n])
        e->at[way][n] = now;
}

static void on_event(sim_peer *p, const lk_pc_event *ev)
{
    ear *e = &it;
    lk_rtp_red_block blocks[LK_RTP_RED_BLOCKS_MAX] = {{.data = {ev->packet.payload, ev->packet.payload_len}}};
    if (!e->listening || ev->type != LK_PC_EV_RTP || ev->index != p->receive_section)
        return;
    bool first = e->first_seq == 0;
    int64_t seq = lk_unwrap16_next(&e->seq, ev->packet.seq), ts = lk_unwrap32_next(&e->ts, ev->packet.ts);
    lk_usec now = p->world->now;
    if (first) {
        e->first_seq = seq;
        e->first_ts = ts;
        e->base = LK_NEVER;
    }
    int64_t n = seq - e->first_seq;
    lk_usec transit = now - (ts - e->first_ts) * 1000 / 48;
    if (n < 0 || n >= PACKETS_MAX)
        return;
    e->base = LK_MIN(e->base, transit);
    e->last = LK_MAX(e->last, n);
    size_t count = ev->red ? lk_rtp_red_parse(blocks, blocks[0].data) : 1;
    bool resent = n < e->last;
    for (size_t i = count; i-- > 0;) {
        int64_t k = n - (int64_t)(count - 1 - i);
        bool redundant = i + 1 < count;
        note(e, resent ? BY_RESEND : redundant ? BY_RED : BY_PACKET, k, now);
        if (e->codec->has_fec(blocks[i].data))
            note(e, resent ? BY_RESEND : BY_FEC, k - 1, now);
    }
}

static void on_heard(sim_peer *p, const int16_t *samples, size_t count)
{
    LK_UNUSED(p);
    if (it.heard && it.listening)
        fwrite(samples, sizeof *samples, count, it.heard);
}

static void print_missing(const ear *e)
{
    for (int way = 0; way < WAYS; way++) {
        printf(", \"%s\": {", way_names[way]);
        for (size_t d = 0; d < LK_LEN(delays_msec); d++) {
            uint64_t missing = 0;
            for (int64_t n = 0; n < e->last - 50; n++) {
                lk_usec by = e->base + n * 20000 + LK_MSEC(delays_msec[d]);
                bool there = false;
                for (int k = 0; k <= way; k++)
                    there |= e->at[k][n] && e->at[k][n] <= by;
                missing += !there;
            }
            printf("%s\"%d\": %.1f", d ? ", " : "", delays_msec[d], (double)missing * 1000 / (double)(e->last - 50));
        }
        printf("}");
    }
    uint64_t runs[4] = {0};
    unsigned run = 0;
    for (int64_t n = 0; n < e->last; n++) {
        bool gone = !e->at[BY_PACKET][n];
        if (!gone && run)
            runs[LK_MIN(run, 3u)]++;
        run = gone ? run + 1 : 0;
    }
    printf(", \"runs\": [%llu, %llu, %llu]", (unsigned long long)runs[1], (unsigned long long)runs[2], (unsigned long long)runs[3]);
}

static void *open_symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW);
    return handle ? dlsym(handle, name) : NULL;
}

static void *take(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    return malloc(size);
}

static void *resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(old_size);
    return realloc(p, new_size);
}

static void give(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(size);
    free(p);
}

typedef struct wish {
    sim_link link;
    sim_pair_options pair;
    int seconds;
    uint64_t seed;
    const char *speech, *heard;
} wish;

static bool read_wish(wish *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(name, "--no-red") == 0 || strcmp(name, "--no-nack") == 0) {
            o->pair.no_red |= strcmp(name, "--no-red") == 0;
            o->pair.no_nack |= strcmp(name, "--no-nack") == 0;
            continue;
        }
        i++;
        if (strcmp(name, "--loss") == 0)
            o->link.loss = (uint32_t)atoi(value);
        else if (strcmp(name, "--burst") == 0)
            o->link.burst = (uint32_t)atoi(value);
        else if (strcmp(name, "--burst-end") == 0)
            o->link.burst_end = (uint32_t)atoi(value);
        else if (strcmp(name, "--rtt") == 0)
            o->link.delay = LK_MSEC(atoi(value)) / 2;
        else if (strcmp(name, "--jitter") == 0)
            o->link.jitter = LK_MSEC(atoi(value));
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = atoi(value);
        else if (strcmp(name, "--seed") == 0)
            o->seed = (uint64_t)atoi(value);
        else if (strcmp(name, "--speech") == 0)
            o->speech = value;
        else if (strcmp(name, "--heard") == 0)
            o->heard = value;
        else
            return false;
    }
    return true;
}

static bool read_speech(sim_world *w, const char *path)
{
    static int16_t samples[48000 * 60];
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    w->speech_len = fread(samples, sizeof *samples, LK_LEN(samples), f);
    w->speech = samples;
    fclose(f);
    return w->speech_len > 0;
}

int main(int argc, char **argv)
{
    static const char *broken;
    static sim_world world;
    static sim_flying air[SIM_AIR_MAX];
    sim_world *w = &world;
    wish o = {.link = {.delay = LK_MSEC(25)}, .pair = {.audio = true}, .seconds = 60, .seed = 1};
    lk_prng peers;
    const lk_rng rng = {&peers, lk_prng_fill};
    static const lk_mem mem = {NULL, take, resize, give};
    const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken, .sym = open_symbol};
    if (!read_wish(&o, argc, argv) || (o.speech && !read_speech(w, o.speech))) {
        fprintf(stderr, "bench_ear: see the head of bench/ear.c\n");
        return 2;
    }
    lk_prng_init(&peers, o.seed);
    lk_prng_init(&w->dice, o.seed * 77 + 1);
    w->env = &env;
    w->air = air;
    w->next_frame = LK_NEVER;
    w->links[0] = w->links[1] = (sim_link){.delay = o.link.delay};
    it.codec = lk_audio_codec_find("opus");
    if (!SIM_CHECK(w, lk_frame_pool_new(&w->pool, &env) == LK_OK) || !sim_connect(w, &o.pair)) {
        fprintf(stderr, "bench_ear: %s\n", w->why);
        return 1;
    }
    w->links[0] = w->links[1] = o.link;
    lk_audio_sender_free(w->peers[1].sender); /* nobody listens to it */
    w->peers[1].sender = NULL;
    sim_run(w, LK_SEC(10), NULL); /* reports have told the encoder of the loss by then */
    w->peers[1].on_event = on_event;
    w->peers[1].on_heard = on_heard;
    it.heard = o.heard ? fopen(o.heard, "wb") : NULL;
    it.listening = true;
    lk_stats_InboundRtpStream a = sim_inbound(&w->peers[1]);
    uint64_t bytes = w->links[0].bytes, said = w->said;
    sim_run(w, LK_SEC(10 + o.seconds), NULL);
    lk_stats_InboundRtpStream b = sim_inbound(&w->peers[1]);
    if (w->why[0]) {
        fprintf(stderr, "bench_ear: %s\n", w->why);
        return 1;
    }
    double samples = (double)(b.total_samples_received - a.total_samples_received), emitted = (double)(b.jitter_buffer_emitted_count - a.jitter_buffer_emitted_count);
    printf("{\"said_before\": %llu, \"concealed\": %.2f, \"events\": %llu, \"delay_ms\": %.1f, \"target_ms\": %.1f, \"inserted\": %.2f, \"removed\": %.2f, \"late\": %llu, \"kbps\": %.1f",
           (unsigned long long)said,
           (double)(b.concealed_samples - a.concealed_samples) / samples * 1000, (unsigned long long)(b.concealment_events - a.concealment_events),
           (b.jitter_buffer_delay - a.jitter_buffer_delay) / emitted * 1000, (b.jitter_buffer_target_delay - a.jitter_buffer_target_delay) / emitted * 1000,
           (double)(b.inserted_samples_for_deceleration - a.inserted_samples_for_deceleration) / samples * 1000,
           (double)(b.removed_samples_for_acceleration - a.removed_samples_for_acceleration) / samples * 1000,
           (unsigned long long)(b.packets_discarded - a.packets_discarded), (double)(w->links[0].bytes - bytes) * 8 / 1000 / o.seconds);
    print_missing(&it);
    printf("}\n");
    if (it.heard)
        fclose(it.heard);
    return 0;
}
