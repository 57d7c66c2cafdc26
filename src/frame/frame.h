// SPDX-License-Identifier: Apache-2.0
/* frame/frame.h - counted audio frames that cross threads, and the pool they come from.
 *
 * In:      a format; whoever made a frame fills it before anybody else sees it.
 * Out:     memory, 64-byte aligned, immutable once shared.
 * Owner:   atomic counters; any thread. A pool outlives its last frame.
 * Limits:  LK_FRAME_SAMPLES_MAX per frame; a pool keeps at most LK_FRAME_POOL_MAX free frames, the rest goes back.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_FRAME_SAMPLES_MAX (1u << 22) /* samples * channels */
#define LK_FRAME_POOL_MAX 64

typedef struct lk_frame_pool lk_frame_pool;

typedef struct lk_frame {
    int16_t *data; /* interleaved, samples * channels values */
    uint32_t sample_rate;
    uint32_t channels;
    uint32_t samples; /* per channel */
    /* Private. */
    uint32_t refs;
    lk_frame_pool *pool;
    struct lk_frame *next;
    size_t capacity, alloc_size;
} lk_frame;

/* env->mem must outlive the pool and its frames. NOMEM. */
LK_NODISCARD lk_err lk_frame_pool_new(lk_frame_pool **out, const lk_env *env);
lk_frame_pool *lk_frame_pool_ref(lk_frame_pool *pool);
void lk_frame_pool_unref(lk_frame_pool *pool); /* NULL ok */

/* One reference, samples not initialised. INVALID (a zero, or above the limit), NOMEM. */
LK_NODISCARD lk_err lk_frame_new(lk_frame **out, lk_frame_pool *pool, uint32_t sample_rate, uint32_t channels,
                                 uint32_t samples);
lk_frame *lk_frame_ref(lk_frame *frame);
void lk_frame_unref(lk_frame *frame); /* NULL ok */
