// SPDX-License-Identifier: Apache-2.0
/* Small pools of the blocks messages live in. */
#include "sctp/sctp_internal.h"

/* Address sanitizers see a use after release only where memory is released. */
#ifdef __SANITIZE_ADDRESS__
#define BLOCKS_MAX(used) 0u
#else
#define BLOCKS_MAX(used) LK_MAX(32u, used) /* or as many as are in use: where losses make messages wait, many come and go at once */
#endif
#define BLOCKS_IDLE 1u
static const size_t sizes[SCTP_POOLS] = {128, 320, 704, 1280}; /* the last holds a packet's message and its head */

static size_t pool_of(size_t size)
{
    size_t i = 0;
    while (i < SCTP_POOLS && sizes[i] < size)
        i++;
    return i;
}

static size_t block_size(size_t size)
{
    size_t i = pool_of(size);
    return i < SCTP_POOLS ? sizes[i] : size;
}

void *lk_sctp_block_new(lk_sctp *s, size_t size)
{
    size_t i = pool_of(size);
    if (i == SCTP_POOLS)
        return lk_alloc(s->env, size);
    sctp_pool *pool = &s->pools[i];
    sctp_block *b = pool->first;
    if (b) {
        pool->first = b->next;
        pool->count--;
    } else {
        b = (sctp_block *)lk_alloc(s->env, sizes[i]);
    }
    pool->used += b != NULL;
    return b;
}

void lk_sctp_block_free(lk_sctp *s, void *p, size_t size)
{
    size_t i = pool_of(size);
    if (!p)
        return;
    if (i < SCTP_POOLS)
        s->pools[i].used--;
    if (i == SCTP_POOLS || s->pools[i].count + 1 > BLOCKS_MAX(s->pools[i].used)) {
        lk_release(s->env, p, block_size(size));
        return;
    }
    sctp_block *b = (sctp_block *)p;
    b->next = s->pools[i].first;
    s->pools[i].first = b;
    s->pools[i].count++;
}

void lk_sctp_pool_trim(lk_sctp *s, bool all)
{
    for (size_t i = 0; i < SCTP_POOLS; i++) {
        uint32_t keep = !all && i + 1 < SCTP_POOLS ? BLOCKS_IDLE : 0;
        for (sctp_block *b; s->pools[i].count > keep; s->pools[i].count--) {
            b = s->pools[i].first;
            s->pools[i].first = b->next;
            lk_release(s->env, b, sizes[i]);
        }
    }
}
