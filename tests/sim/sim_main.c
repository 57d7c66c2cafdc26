// SPDX-License-Identifier: Apache-2.0
/* sim [--scenario NAME] [--seed N] [--seeds COUNT] [--list]: each run twice, which must give the same bytes. */
#include "sim/sim.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

/* ---- the outside world, as OpenSSL sees it: this executable's clock and dice ------------------------------------ */

static lk_prng openssl_dice;
static const lk_usec *virtual_now;
#define EPOCH_SEC 1700000000

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    (void)tz;
    lk_usec now = virtual_now ? *virtual_now : 0;
    tv->tv_sec = EPOCH_SEC + now / 1000000;
    tv->tv_usec = now % 1000000;
    return 0;
}

time_t time(time_t *t)
{
    time_t now = EPOCH_SEC + (virtual_now ? *virtual_now / 1000000 : 0);
    if (t)
        *t = now;
    return now;
}

static int dice_bytes(unsigned char *out, int n)
{
    return lk_prng_fill(&openssl_dice, out, (size_t)n) == LK_OK;
}

static int dice_status(void) { return 1; }

static const RAND_METHOD dice_method = {NULL, dice_bytes, NULL, NULL, dice_bytes, dice_status};

/* ---- memory that is counted ---------------------------------------------------------------------------------------- */

static size_t live_bytes;

static void *counted_alloc(void *ctx, size_t size)
{
    (void)ctx;
    live_bytes += size;
    return malloc(size);
}

static void *counted_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    (void)ctx;
    live_bytes += new_size - (p ? old_size : 0);
    return realloc(p, new_size);
}

static void counted_release(void *ctx, void *p, size_t size)
{
    (void)ctx;
    live_bytes -= size;
    free(p);
}

/* ---- one run ---------------------------------------------------------------------------------------------------------- */

typedef struct outcome {
    char why[160];
    uint64_t hash;
    sim_counts counts;
    lk_usec ended;
} outcome;

static void free_world(sim_world *w)
{
    for (int i = 0; i < 2; i++) {
        lk_audio_sender_free(w->peers[i].sender);
        lk_audio_receiver_free(w->peers[i].receiver);
        lk_pc_free(w->peers[i].pc);
    }
    lk_frame_pool_unref(w->pool);
    lk_dtls_context_free(w->dtls);
    free(w->air);
}

static outcome run_once(const sim_scenario *s, uint64_t seed)
{
    static const lk_mem mem = {NULL, counted_alloc, counted_resize, counted_release};
    static const char *broken;
    lk_prng peers;
    const lk_rng rng = {&peers, lk_prng_fill};
    const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken};
    sim_world *w = (sim_world *)calloc(1, sizeof *w);
    outcome o = {.ended = 0};
    lk_prng_init(&peers, seed);
    lk_prng_init(&openssl_dice, seed ^ 0x5eed);
    live_bytes = 0;
    w->env = &env;
    w->air = (sim_flying *)calloc(SIM_AIR_MAX, sizeof *w->air);
    w->hash = 0xcbf29ce484222325ull;
    w->next_frame = LK_NEVER;
    lk_prng_init(&w->dice, seed * 77 + 1);
    virtual_now = &w->now;
    if (sim_check(w, lk_frame_pool_new(&w->pool, &env) == LK_OK, "frame pool made"))
        s->run(w);
    sim_check(w, !s->loses || w->counts.lost > 0, "the world lost nothing");
    sim_check(w, !s->reorders || w->counts.reordered > 0, "the world reordered nothing");
    sim_check(w, !s->duplicates || w->counts.duplicated > 0, "the world duplicated nothing");
    free_world(w);
    sim_check(w, live_bytes == 0, "memory is left");
    (void)lk_str_copy(o.why, sizeof o.why, lk_str_of(w->why));
    o.hash = w->hash;
    o.counts = w->counts;
    o.ended = w->now;
    virtual_now = NULL;
    free(w);
    return o;
}

static bool run(const sim_scenario *s, uint64_t seed)
{
    outcome a = run_once(s, seed), b = run_once(s, seed);
    const char *why = a.why[0] ? a.why : a.hash != b.hash ? "two runs of one seed differ" : b.why;
    printf("%s %s seed %llu: %.3f s, %llu sent, %llu lost, %llu reordered, %llu duplicated, trace %016llx%s%s\n", why[0] ? "FAIL" : "ok  ",
           s->name, (unsigned long long)seed, (double)a.ended / 1e6, (unsigned long long)a.counts.sent, (unsigned long long)a.counts.lost,
           (unsigned long long)a.counts.reordered, (unsigned long long)a.counts.duplicated, (unsigned long long)a.hash, why[0] ? ": " : "",
           why);
    if (why[0])
        printf("make sim SCENARIO=%s SEED=%llu\n", s->name, (unsigned long long)seed);
    return !why[0];
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    uint64_t first = 1, seeds = 3, passed = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            for (size_t k = 0; k < sim_scenario_count; k++)
                puts(sim_scenarios[k].name);
            return 0;
        }
        if (i + 1 >= argc) {
            fprintf(stderr, "sim: %s needs a value\n", argv[i]);
            return 2;
        }
        if (strcmp(argv[i], "--scenario") == 0) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0) {
            first = strtoull(argv[++i], NULL, 10);
            seeds = 1;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            seeds = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "sim: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    RAND_set_rand_method(&dice_method);
    for (size_t k = 0; k < sim_scenario_count; k++) {
        if (only && strcmp(only, sim_scenarios[k].name) != 0)
            continue;
        for (uint64_t s = first; s < first + seeds; s++)
            *(run(&sim_scenarios[k], s) ? &passed : &failed) += 1;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed || !passed;
}
