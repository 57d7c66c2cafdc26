// SPDX-License-Identifier: Apache-2.0
/* frame/picture.h - counted pictures that cross threads, the pool they come from, and how each format lies in memory.
 *
 * In:      a format and a size; whoever made a picture fills it before anybody else sees it.
 * Out:     one 64-byte aligned block per picture, immutable once shared.
 * Owner:   atomic counters; any thread. A pool outlives its last picture.
 * Limits:  LK_PICTURE_SIDE_MAX a side, LK_PICTURE_BYTES_MAX in all; a pool keeps the newest LK_PICTURE_POOL_MAX
 *          free pictures, 64 MB at most.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_PICTURE_SIDE_MAX 16384u
#define LK_PICTURE_BYTES_MAX (256u << 20)
#define LK_PICTURE_POOL_MAX 8

/* How a format lies in memory: rows * stride of each plane; planes not used have stride 0. Odd sizes round chroma up. */
typedef struct lk_picture_layout {
    uint32_t planes;
    uint32_t row_bytes[LK_VIDEO_PLANES_MAX]; /* of pixels in one row: the smallest stride allowed */
    uint32_t rows[LK_VIDEO_PLANES_MAX];
} lk_picture_layout;
/* INVALID: unknown format, a side of 0; LIMIT: a side or the whole above the limits. */
LK_NODISCARD lk_err lk_picture_layout_of(lk_picture_layout *out, lk_video_format format, uint32_t width, uint32_t height);
/* "rgba", "i420", ... ; "unknown". */
const char *lk_picture_format_name(lk_video_format format);

typedef struct lk_picture_pool lk_picture_pool;

typedef struct lk_picture {
    lk_video_format format;
    lk_video_rotation rotation;
    uint32_t width, height;
    uint8_t *planes[LK_VIDEO_PLANES_MAX];
    uint32_t stride_bytes[LK_VIDEO_PLANES_MAX];
    int64_t timestamp_usec;
    /* Private. */
    uint32_t refs;
    lk_picture_pool *pool;
    struct lk_picture *next;
    size_t capacity, alloc_size;
} lk_picture;

/* env->mem must outlive the pool and its pictures. NOMEM. */
LK_NODISCARD lk_err lk_picture_pool_new(lk_picture_pool **out, const lk_env *env);
lk_picture_pool *lk_picture_pool_ref(lk_picture_pool *pool);
void lk_picture_pool_unref(lk_picture_pool *pool); /* NULL ok */

/* One reference, pixels not initialised, strides: row_bytes exactly, planes one after the other without a gap (as the
 * Python SDK reads them). INVALID, LIMIT, NOMEM. */
LK_NODISCARD lk_err lk_picture_new(lk_picture **out, lk_picture_pool *pool, lk_video_format format, uint32_t width,
                                   uint32_t height);
lk_picture *lk_picture_ref(lk_picture *p);
void lk_picture_unref(lk_picture *p); /* NULL ok */
lk_video_view lk_picture_view(const lk_picture *p);
/* Is every plane there with a stride of at least one row, and few enough bytes in all to count them in 31 bits? Else
 * INVALID or LIMIT (too large) with *why (static; why may be NULL) saying what is not. */
LK_NODISCARD lk_err lk_video_view_check(const lk_video_view *v, const char **why);
