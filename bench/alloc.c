// SPDX-License-Identifier: Apache-2.0
/* bench_alloc: allocations of the cores in steady work.
 *
 * Two peer connections of the simulator speak to each other over links with jitter, loss and reordering. After ten
 * seconds everything has its size; over the next ten, every allocation is counted: those the cores ask of lk_env, and
 * apart from them those the libraries below make with malloc. Printed as one JSON object on standard output.
 */
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

static size_t core_allocations, library_allocations;

/* glibc's own names: this executable's malloc is what every library in it calls. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
    library_allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    library_allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
    library_allocations++;
    return __libc_realloc(p, size);
}

static void *counted_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    core_allocations++;
    return __libc_malloc(size);
}

static void *counted_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(old_size);
    core_allocations++;
    return __libc_realloc(p, new_size);
}

static void counted_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(size);
    free(p);
}

int main(void)
{
    static const lk_mem mem = {NULL, counted_alloc, counted_resize, counted_release};
    static const char *broken;
    static sim_world world;
    static sim_flying air[SIM_AIR_MAX];
    sim_world *w = &world;
    lk_prng peers;
    const lk_rng rng = {&peers, lk_prng_fill};
    const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken};
    const sim_link link = {.delay = LK_MSEC(20), .jitter = LK_MSEC(30), .loss = 20, .reorder = 10, .reorder_by = LK_MSEC(40)};
    lk_prng_init(&peers, 1);
    lk_prng_init(&w->dice, 2);
    w->env = &env;
    w->air = air;
    w->next_frame = LK_NEVER;
    w->links[0] = w->links[1] = link;
    if (!SIM_CHECK(w, lk_frame_pool_new(&w->pool, &env) == LK_OK) || !sim_connect(w, &(sim_pair_options){.audio = true})) {
        fprintf(stderr, "bench_alloc: %s\n", w->why);
        return 1;
    }
    sim_run(w, LK_SEC(10), NULL);
    uint64_t packets = w->counts.sent, said = w->said;
    size_t core = core_allocations, library = library_allocations;
    sim_run(w, LK_SEC(20), NULL);
    packets = w->counts.sent - packets;
    said = w->said - said;
    core = core_allocations - core;
    library = library_allocations - library;
    if (!SIM_CHECK(w, sim_both_connected(w)) || w->why[0] || w->counts.lost == 0 || w->peers[0].frames_heard == 0 ||
        w->peers[1].frames_heard == 0) {
        fprintf(stderr, "bench_alloc: %s\n", w->why[0] ? w->why : "the world did not work as it should");
        return 1;
    }
    double frames = 2.0 * (double)said / 480; /* both speak, 10 ms at 48 kHz */
    printf("{\"per_packet\": %.6f, \"per_frame\": %.6f, \"all_per_packet\": %.6f, \"packets\": %llu, \"frames\": %.0f, "
           "\"allocations\": %zu, \"library_allocations\": %zu}\n",
           (double)core / (double)packets, (double)core / frames, (double)(core + library) / (double)packets, (unsigned long long)packets,
           frames, core, library);
    return 0;
}
