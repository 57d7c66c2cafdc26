// SPDX-License-Identifier: Apache-2.0
#include "frame/picture.h"

#include <stdatomic.h>

#define ALIGN 64
#define POOL_BYTES_MAX (64u << 20) /* of free pictures: a few large ones must not pin the memory of a process */

struct lk_picture_pool {
    lk_env env; /* memory only: the caller's env may go */
    atomic_uint refs;
    atomic_flag busy;         /* held for a few instructions, never across a call */
    lk_picture *free_pictures; /* newest first */
    size_t free_count, free_bytes;
};

/* How much of width and height a plane has: 0 none, 1 all, 2 half of it rounded up. bytes: of one sample in a row. */
typedef struct plane_shape {
    uint8_t bytes, across, down;
} plane_shape;

static const struct {
    const char *name;
    plane_shape planes[LK_VIDEO_PLANES_MAX];
} formats[LK_VIDEO_FORMATS] = {
    [LK_VIDEO_RGBA] = {"rgba", {{4, 1, 1}}},
    [LK_VIDEO_ABGR] = {"abgr", {{4, 1, 1}}},
    [LK_VIDEO_ARGB] = {"argb", {{4, 1, 1}}},
    [LK_VIDEO_BGRA] = {"bgra", {{4, 1, 1}}},
    [LK_VIDEO_RGB24] = {"rgb24", {{3, 1, 1}}},
    [LK_VIDEO_I420] = {"i420", {{1, 1, 1}, {1, 2, 2}, {1, 2, 2}}},
    [LK_VIDEO_I420A] = {"i420a", {{1, 1, 1}, {1, 2, 2}, {1, 2, 2}, {1, 1, 1}}},
    [LK_VIDEO_I422] = {"i422", {{1, 1, 1}, {1, 2, 1}, {1, 2, 1}}},
    [LK_VIDEO_I444] = {"i444", {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}},
    [LK_VIDEO_I010] = {"i010", {{2, 1, 1}, {2, 2, 2}, {2, 2, 2}}},
    [LK_VIDEO_NV12] = {"nv12", {{1, 1, 1}, {2, 2, 2}}},
};

static bool is_format(lk_video_format format) { return (unsigned)format < LK_VIDEO_FORMATS; }

const char *lk_picture_format_name(lk_video_format format)
{
    return is_format(format) ? formats[format].name : "unknown";
}

lk_err lk_picture_layout_of(lk_picture_layout *out, lk_video_format format, uint32_t width, uint32_t height)
{
    if (!is_format(format) || !width || !height)
        return LK_ERR_INVALID;
    if (width > LK_PICTURE_SIDE_MAX || height > LK_PICTURE_SIDE_MAX)
        return LK_ERR_LIMIT;
    lk_picture_layout l = {0};
    uint64_t total = 0;
    for (uint32_t i = 0; i < LK_VIDEO_PLANES_MAX && formats[format].planes[i].bytes; i++) {
        const plane_shape *s = &formats[format].planes[i];
        l.planes = i + 1;
        l.row_bytes[i] = (width + s->across - 1) / s->across * s->bytes;
        l.rows[i] = (height + s->down - 1) / s->down;
        total += (uint64_t)l.row_bytes[i] * l.rows[i];
    }
    if (total > LK_PICTURE_BYTES_MAX)
        return LK_ERR_LIMIT;
    *out = l;
    return LK_OK;
}

lk_err lk_video_view_check(const lk_video_view *v, const char **why)
{
    lk_picture_layout l;
    const char *ignored;
    why = why ? why : &ignored;
    lk_err err = lk_picture_layout_of(&l, v->format, v->width, v->height);
    if (err != LK_OK) {
        *why = err == LK_ERR_LIMIT     ? "the picture is too large"
               : !is_format(v->format) ? "the format is unknown"
                                       : "width and height must not be 0";
        return err;
    }
    if ((unsigned)v->rotation > LK_VIDEO_ROTATION_270) {
        *why = "the rotation is unknown";
        return LK_ERR_INVALID;
    }
    for (uint32_t i = 0; i < l.planes; i++) {
        *why = !v->planes[i]                                     ? "a plane is missing"
               : v->stride_bytes[i] < l.row_bytes[i]             ? "a stride is shorter than a row"
               : v->stride_bytes[i] > (uint32_t)INT32_MAX / l.rows[i] ? "a stride is too large"
               : v->format == LK_VIDEO_I010 && ((v->stride_bytes[i] | (uintptr_t)v->planes[i]) & 1)
                   ? "16-bit samples at an odd address"
                   : NULL;
        if (*why)
            return LK_ERR_INVALID;
    }
    *why = "";
    return LK_OK;
}

static void lock(lk_picture_pool *p)
{
    while (atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire)) {
    }
}

static void unlock(lk_picture_pool *p) { atomic_flag_clear_explicit(&p->busy, memory_order_release); }

lk_err lk_picture_pool_new(lk_picture_pool **out, const lk_env *env)
{
    lk_picture_pool *p = lk_alloc0(env, sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    p->env = (lk_env){.mem = env->mem};
    atomic_init(&p->refs, 1);
    atomic_flag_clear(&p->busy);
    *out = p;
    return LK_OK;
}

lk_picture_pool *lk_picture_pool_ref(lk_picture_pool *pool)
{
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

static void release_all(const lk_env *env, lk_picture *p)
{
    while (p) {
        lk_picture *next = p->next;
        lk_release(env, p, p->alloc_size);
        p = next;
    }
}

void lk_picture_pool_unref(lk_picture_pool *pool)
{
    if (!pool || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    lk_env env = pool->env;
    release_all(&env, pool->free_pictures);
    lk_release(&env, pool, sizeof *pool);
}

/* A free picture that fits without wasting more than three quarters of it. */
static lk_picture *take(lk_picture_pool *pool, size_t need)
{
    lk_picture *found = NULL;
    lock(pool);
    for (lk_picture **at = &pool->free_pictures; *at; at = &(*at)->next) {
        if ((*at)->capacity < need || (*at)->capacity / 4 > need)
            continue;
        found = *at;
        *at = found->next;
        pool->free_count--;
        pool->free_bytes -= found->alloc_size;
        break;
    }
    unlock(pool);
    return found;
}

/* Keeps the newest: after a change of size the old ones leave by and by. Returns those that left. */
static lk_picture *give(lk_picture_pool *pool, lk_picture *p)
{
    lk_picture *left = NULL;
    lock(pool);
    p->next = pool->free_pictures;
    pool->free_pictures = p;
    pool->free_count++;
    pool->free_bytes += p->alloc_size;
    while (pool->free_count > LK_PICTURE_POOL_MAX || pool->free_bytes > POOL_BYTES_MAX) {
        lk_picture **last = &pool->free_pictures;
        while ((*last)->next)
            last = &(*last)->next;
        pool->free_count--;
        pool->free_bytes -= (*last)->alloc_size;
        (*last)->next = left;
        left = *last;
        *last = NULL;
    }
    unlock(pool);
    return left;
}

lk_err lk_picture_new(lk_picture **out, lk_picture_pool *pool, lk_video_format format, uint32_t width, uint32_t height)
{
    lk_picture_layout l;
    lk_err err = lk_picture_layout_of(&l, format, width, height);
    if (err != LK_OK)
        return err;
    size_t need = 0;
    for (uint32_t i = 0; i < l.planes; i++)
        need += (size_t)l.row_bytes[i] * l.rows[i];
    lk_picture *p = take(pool, need);
    size_t capacity = p ? p->capacity : need;
    size_t size = p ? p->alloc_size : sizeof *p + ALIGN + need;
    p = p ? p : lk_alloc(&pool->env, size);
    if (!p)
        return LK_ERR_NOMEM;
    *p = (lk_picture){.format = format,
                      .width = width,
                      .height = height,
                      .refs = 1,
                      .pool = lk_picture_pool_ref(pool),
                      .capacity = capacity,
                      .alloc_size = size};
    uint8_t *at = (uint8_t *)(((uintptr_t)(p + 1) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
    for (uint32_t i = 0; i < l.planes; i++) {
        p->planes[i] = at;
        p->stride_bytes[i] = l.row_bytes[i];
        at += (size_t)l.row_bytes[i] * l.rows[i];
    }
    *out = p;
    return LK_OK;
}

lk_picture *lk_picture_ref(lk_picture *p)
{
    __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void lk_picture_unref(lk_picture *p)
{
    if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    lk_picture_pool *pool = p->pool;
    release_all(&pool->env, give(pool, p));
    lk_picture_pool_unref(pool);
}

lk_video_view lk_picture_view(const lk_picture *p)
{
    lk_video_view v = {.format = p->format,
                       .width = p->width,
                       .height = p->height,
                       .rotation = p->rotation,
                       .timestamp_usec = p->timestamp_usec};
    for (uint32_t i = 0; i < LK_VIDEO_PLANES_MAX; i++) {
        v.planes[i] = p->planes[i];
        v.stride_bytes[i] = p->stride_bytes[i];
    }
    return v;
}
