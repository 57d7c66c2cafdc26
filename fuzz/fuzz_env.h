// SPDX-License-Identifier: Apache-2.0
/* fuzz/fuzz_env.h - the environment of a fuzz entry: plain memory, seeded randomness. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "base/lk_base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void *fuzz_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    return malloc(size);
}
static inline void *fuzz_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(old_size);
    return realloc(p, new_size);
}
static inline void fuzz_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(size);
    free(p);
}

/* The same dice for every input. */
static inline const lk_env *fuzz_env(void)
{
    static const lk_mem mem = {NULL, fuzz_alloc, fuzz_resize, fuzz_release};
    static lk_prng dice;
    static const lk_rng rng = {&dice, lk_prng_fill};
    static const lk_env env = {.mem = &mem, .rng = &rng};
    lk_prng_init(&dice, 1);
    return &env;
}
#define FUZZ_REQUIRE(cond)                                                 \
    do {                                                                   \
        if (!(cond)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);     \
            abort();                                                       \
        }                                                                  \
    } while (0)
