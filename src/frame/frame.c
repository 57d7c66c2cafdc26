// SPDX-License-Identifier: Apache-2.0
#include "frame/frame.h"

#include <stdatomic.h>

#define ALIGN 64

struct lk_frame_pool {
    lk_env env; /* memory only: the caller's env may go */
    atomic_uint refs;
    atomic_flag busy; /* held for a few instructions, never across a call */
    lk_frame *free_frames;
    size_t free_count;
};

static void lock(lk_frame_pool *p)
{
    while (atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire)) {
    }
}

static void unlock(lk_frame_pool *p) { atomic_flag_clear_explicit(&p->busy, memory_order_release); }

lk_err lk_frame_pool_new(lk_frame_pool **out, const lk_env *env)
{
    lk_frame_pool *p = lk_alloc0(env, sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    p->env = (lk_env){.mem = env->mem};
    atomic_init(&p->refs, 1);
    atomic_flag_clear(&p->busy);
    *out = p;
    return LK_OK;
}

lk_frame_pool *lk_frame_pool_ref(lk_frame_pool *pool)
{
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

void lk_frame_pool_unref(lk_frame_pool *pool)
{
    if (!pool || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    lk_env env = pool->env;
    for (lk_frame *f = pool->free_frames; f;) {
        lk_frame *next = f->next;
        lk_release(&env, f, f->alloc_size);
        f = next;
    }
    lk_release(&env, pool, sizeof *pool);
}

/* A free frame that fits without wasting more than three quarters of it. */
static lk_frame *take(lk_frame_pool *pool, size_t need)
{
    lk_frame *found = NULL;
    lock(pool);
    for (lk_frame **at = &pool->free_frames; *at; at = &(*at)->next) {
        if ((*at)->capacity < need || (*at)->capacity > need * 4)
            continue;
        found = *at;
        *at = found->next;
        pool->free_count--;
        break;
    }
    unlock(pool);
    return found;
}

lk_err lk_frame_new(lk_frame **out, lk_frame_pool *pool, uint32_t sample_rate, uint32_t channels,
                    uint32_t samples)
{
    if (!sample_rate || !channels || !samples || channels > LK_FRAME_SAMPLES_MAX / samples)
        return LK_ERR_INVALID;
    size_t need = (size_t)channels * samples;
    lk_frame *f = take(pool, need);
    if (!f) {
        size_t size = sizeof *f + ALIGN + need * sizeof(int16_t);
        f = lk_alloc(&pool->env, size);
        if (!f)
            return LK_ERR_NOMEM;
        uintptr_t at = ((uintptr_t)(f + 1) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1);
        f->data = (int16_t *)at;
        f->capacity = need;
        f->alloc_size = size;
    }
    f->sample_rate = sample_rate;
    f->channels = channels;
    f->samples = samples;
    f->next = NULL;
    f->pool = lk_frame_pool_ref(pool);
    __atomic_store_n(&f->refs, 1, __ATOMIC_RELAXED);
    *out = f;
    return LK_OK;
}

lk_frame *lk_frame_ref(lk_frame *frame)
{
    __atomic_add_fetch(&frame->refs, 1, __ATOMIC_RELAXED);
    return frame;
}

void lk_frame_unref(lk_frame *frame)
{
    if (!frame || __atomic_sub_fetch(&frame->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    lk_frame_pool *pool = frame->pool;
    lock(pool);
    bool keep = pool->free_count < LK_FRAME_POOL_MAX;
    if (keep) {
        frame->next = pool->free_frames;
        pool->free_frames = frame;
        pool->free_count++;
    }
    unlock(pool);
    if (!keep)
        lk_release(&pool->env, frame, frame->alloc_size);
    lk_frame_pool_unref(pool);
}
