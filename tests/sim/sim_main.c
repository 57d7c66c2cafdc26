// SPDX-License-Identifier: Apache-2.0
/* sim [--scenario NAME] [--seed N | --seeds COUNT [--first N]] [--without MASK] [--span MSEC] [--jobs N] [--quiet] [--list]
 *
 * What once failed (sim_regressions.inc) runs first. Each run is made twice, which must give the same bytes; with --quiet,
 * which also prints failures alone, one in twenty is. A failing storm is made smaller before it is printed: faults of its
 * plan are left out (--without: bit n is the n-th), its time is halved (--span). */
#include "sim/sim.h"

#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "open_symbol.h"

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

size_t sim_live_bytes(void) { return live_bytes; }

/* ---- one run ---------------------------------------------------------------------------------------------------------- */

typedef struct ask {
    const sim_scenario *scenario;
    uint64_t seed;
    uint32_t without;
    lk_usec span;
} ask;

typedef struct outcome {
    char why[160];
    uint64_t hash;
    sim_counts counts;
    lk_usec ended;
    unsigned fault_count;
} outcome;

static bool quiet;

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

static outcome run_once(const ask *q)
{
    static const lk_mem mem = {NULL, counted_alloc, counted_resize, counted_release};
    static const char *broken;
    const sim_scenario *s = q->scenario;
    lk_prng peers;
    const lk_rng rng = {&peers, lk_prng_fill};
    const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken, .sym = open_symbol};
    sim_world *w = (sim_world *)calloc(1, sizeof *w);
    outcome o = {.ended = 0};
    lk_prng_init(&peers, q->seed);
    lk_prng_init(&openssl_dice, q->seed ^ 0x5eed);
    live_bytes = 0;
    w->env = &env;
    w->air = (sim_flying *)calloc(SIM_AIR_MAX, sizeof *w->air);
    w->hash = 0xcbf29ce484222325ull;
    w->next_frame = LK_NEVER;
    w->seed = q->seed;
    w->without = q->without;
    w->span = q->span;
    lk_prng_init(&w->dice, q->seed * 77 + 1);
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
    o.fault_count = w->fault_count;
    virtual_now = NULL;
    free(w);
    return o;
}

/* The command that runs an ask; of the one that runs, for when it ends the process. */
static char command[160];

static void tell_command(const ask *q)
{
    int n = snprintf(command, sizeof command, "make sim SCENARIO=%s SEED=%llu", q->scenario->name, (unsigned long long)q->seed);
    if (q->without)
        n += snprintf(command + n, sizeof command - (size_t)n, " WITHOUT=0x%x", q->without);
    if (q->span)
        n += snprintf(command + n, sizeof command - (size_t)n, " SPAN=%lld", (long long)(q->span / 1000));
    (void)snprintf(command + n, sizeof command - (size_t)n, "\n");
}

static void on_crash(int number)
{
    (void)!write(STDOUT_FILENO, command, strlen(command));
    signal(number, SIG_DFL);
    raise(number);
}

/* The smallest ask that fails for the same reason: without faults that do not matter, in half the time as often as
 * that still fails. */
static ask shrink(ask q, const outcome *failed)
{
    for (unsigned i = 0; i < failed->fault_count; i++) {
        ask less = q;
        less.without |= 1u << i;
        if (strcmp(run_once(&less).why, failed->why) == 0)
            q = less;
    }
    for (lk_usec span = q.span ? q.span : LK_SEC(8); failed->fault_count && span >= LK_MSEC(100); span /= 2) {
        ask less = q;
        less.span = span;
        if (strcmp(run_once(&less).why, failed->why) == 0)
            q = less;
    }
    return q;
}

static bool run(const ask *q)
{
    tell_command(q);
    outcome a = run_once(q);
    bool again = !quiet || q->seed % 20 == 0 || a.why[0];
    outcome b = again ? run_once(q) : a;
    const char *why = a.why[0] ? a.why : a.hash != b.hash ? "two runs of one seed differ" : b.why;
    if (quiet && !why[0])
        return true;
    printf("%s %s seed %llu: %.3f s, %llu sent, %llu lost, %llu reordered, %llu duplicated, trace %016llx%s%s\n", why[0] ? "FAIL" : "ok  ",
           q->scenario->name, (unsigned long long)q->seed, (double)a.ended / 1e6, (unsigned long long)a.counts.sent,
           (unsigned long long)a.counts.lost, (unsigned long long)a.counts.reordered, (unsigned long long)a.counts.duplicated,
           (unsigned long long)a.hash, why[0] ? ": " : "", why);
    if (why[0]) {
        ask less = a.why[0] ? shrink(*q, &a) : *q;
        tell_command(&less);
        fputs(command, stdout);
    }
    return !why[0];
}

/* ---- many runs ---------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *scenario;
    uint64_t seed;
    uint32_t without;
    lk_usec span_msec;
} regressions[] = {
#include "sim/sim_regressions.inc"
};

typedef struct totals {
    uint64_t passed, failed;
} totals;

typedef struct plan {
    const char *only;
    uint64_t first, seeds, jobs;
    ask replay; /* without and span for every run */
    bool one;   /* a seed was named */
} plan;

static void count(totals *t, const ask *q) { *(run(q) ? &t->passed : &t->failed) += 1; }

/* This process runs every jobs-th seed from `job` on. */
static totals run_share(const plan *p, uint64_t job)
{
    totals t = {0, 0};
    for (size_t i = job; !p->one && i < LK_LEN(regressions); i += p->jobs)
        for (size_t k = 0; regressions[i].scenario && k < sim_scenario_count; k++)
            if (strcmp(sim_scenarios[k].name, regressions[i].scenario) == 0)
                count(&t, &(ask){&sim_scenarios[k], regressions[i].seed, regressions[i].without, LK_MSEC(regressions[i].span_msec)});
    uint64_t number = 0;
    for (size_t k = 0; k < sim_scenario_count; k++) {
        const sim_scenario *s = &sim_scenarios[k];
        if (p->only ? strcmp(p->only, s->name) != 0 : s->on_request)
            continue;
        for (uint64_t seed = p->first; seed < p->first + p->seeds; seed++)
            if (number++ % p->jobs == job)
                count(&t, &(ask){s, seed, p->replay.without, p->replay.span});
    }
    return t;
}

static totals run_shares(const plan *p)
{
    totals all = {0, 0}, one;
    int ends[2];
    if (pipe(ends) != 0)
        return all;
    fflush(stdout);
    for (uint64_t job = 0; job < p->jobs; job++) {
        if (fork() != 0)
            continue;
        setvbuf(stdout, NULL, _IOLBF, 0);
        one = run_share(p, job);
        fflush(stdout);
        _exit(write(ends[1], &one, sizeof one) != (ssize_t)sizeof one);
    }
    close(ends[1]);
    for (uint64_t job = 0; job < p->jobs; job++) {
        int status;
        if (read(ends[0], &one, sizeof one) == (ssize_t)sizeof one) {
            all.passed += one.passed;
            all.failed += one.failed;
        }
        if (wait(&status) < 0 || status != 0)
            all.failed++; /* a process that died took its counts with it */
    }
    close(ends[0]);
    return all;
}

static bool take_option(plan *p, const char *name, const char *value)
{
    uint64_t n = strtoull(value, NULL, 0);
    if (strcmp(name, "--scenario") == 0) {
        p->only = value;
    } else if (strcmp(name, "--seed") == 0) {
        p->first = n;
        p->seeds = 1;
        p->one = true;
    } else if (strcmp(name, "--seeds") == 0) {
        p->seeds = n;
    } else if (strcmp(name, "--first") == 0) {
        p->first = n;
    } else if (strcmp(name, "--jobs") == 0 && n > 0 && n <= 64) {
        p->jobs = n;
    } else if (strcmp(name, "--without") == 0) {
        p->replay.without = (uint32_t)n;
    } else if (strcmp(name, "--span") == 0) {
        p->replay.span = LK_MSEC(n);
    } else {
        fprintf(stderr, "sim: unknown option %s %s\n", name, value);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    plan p = {.first = 1, .seeds = 3, .jobs = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            for (size_t k = 0; k < sim_scenario_count; k++)
                puts(sim_scenarios[k].name);
            return 0;
        }
        if (strcmp(argv[i], "--quiet") == 0) {
            quiet = true;
            continue;
        }
        if (i + 1 >= argc) {
            fprintf(stderr, "sim: %s needs a value\n", argv[i]);
            return 2;
        }
        if (!take_option(&p, argv[i], argv[i + 1]))
            return 2;
        i++;
    }
    RAND_set_rand_method(&dice_method);
    signal(SIGABRT, on_crash); /* a sanitizer ends here too, told to abort */
    signal(SIGSEGV, on_crash);
    totals t = p.jobs == 1 ? run_share(&p, 0) : run_shares(&p);
    printf("%llu passed, %llu failed\n", (unsigned long long)t.passed, (unsigned long long)t.failed);
    return t.failed || !t.passed;
}
