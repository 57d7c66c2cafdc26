// SPDX-License-Identifier: Apache-2.0
/* Memory of the product. What is given back may have held a token, a password or a key, and what a program does with the
 * block next (or what a core dump shows of it) is not ours to know: so nothing goes back unwiped. */
#include <stdlib.h>
#include <string.h>

#include "io/loop.h"

static void *take(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    return malloc(size);
}

static void give_back(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    explicit_bzero(p, size);
    free(p);
}

static void *resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    void *moved = malloc(new_size); /* realloc would leave the old block as it is */
    if (!moved)
        return NULL;
    memcpy(moved, p, LK_MIN(old_size, new_size));
    give_back(ctx, p, old_size);
    return moved;
}

const lk_mem lk_mem_production = {NULL, take, resize, give_back};
