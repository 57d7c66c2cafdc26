// SPDX-License-Identifier: Apache-2.0
/* base/env.h - the outside world of a core: memory, randomness, log sink, assertion mark. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "livekit/error.h"
#include "livekit/types.h"

/* Monotonic microseconds from an arbitrary zero. Time is always an argument, never read. */
typedef int64_t lk_usec;
#define LK_NEVER INT64_MAX
#define LK_MSEC(n) ((lk_usec)(n) * 1000)
#define LK_SEC(n) ((lk_usec)(n) * 1000000)

typedef struct lk_mem {
    void *ctx;
    /* size > 0; returns NULL when refused. */
    void *(*alloc)(void *ctx, size_t size);
    /* old_size is what was asked for before; contents are kept up to the smaller size. */
    void *(*resize)(void *ctx, void *p, size_t old_size, size_t new_size);
    void (*release)(void *ctx, void *p, size_t size);
} lk_mem;

typedef struct lk_rng {
    void *ctx;
    /* Fills out with unpredictable bytes (production) or seeded ones (simulator). LK_ERR_INTERNAL without entropy. */
    lk_err (*fill)(void *ctx, void *out, size_t len);
} lk_rng;

/* One typed pair of a log record. Secrets have no helper on purpose. */
typedef struct lk_log_field {
    const char *key;
    const char *text; /* NULL: number is meant */
    int64_t number;
} lk_log_field;
#define LK_I(k, v) ((lk_log_field){(k), NULL, (int64_t)(v)})
#define LK_S(k, v) ((lk_log_field){(k), (v) ? (v) : "", 0})

typedef struct lk_log_sink {
    void *ctx;
    lk_log_level level; /* records above it are not built */
    void (*write)(void *ctx, lk_log_level level, const char *event, const lk_log_field *fields,
                  size_t count);
} lk_log_sink;

typedef struct lk_env {
    const lk_mem *mem;
    const lk_rng *rng;
    const lk_log_sink *log; /* may be NULL: silent */
    /* Address of a symbol of a library opened on first need; NULL in environments without it. */
    void *(*sym)(const char *library, const char *name);
    /* Set once by a failed LK_ASSERT in release builds ("file:line"); drivers look after each verb. */
    const char **broken;
} lk_env;

void *lk_alloc(const lk_env *env, size_t size);  /* uninitialised; NULL when refused or size 0 */
void *lk_alloc0(const lk_env *env, size_t size); /* zeroed */
void *lk_resize(const lk_env *env, void *p, size_t old_size, size_t new_size);
void lk_release(const lk_env *env, void *p, size_t size); /* NULL ok; size as allocated */

uint32_t lk_rand_u32(const lk_env *env);
uint64_t lk_rand_u64(const lk_env *env);
/* Uniform in [0, bound); bound > 0. */
uint32_t lk_rand_below(const lk_env *env, uint32_t bound);
/* len characters of the ICE alphabet (A-Z a-z 0-9 + /), no terminator. [RFC8445 s5.3] */
void lk_rand_text(const lk_env *env, char *out, size_t len);

void lk_log_emit(const lk_env *env, lk_log_level level, const char *event,
                 const lk_log_field *fields, size_t count);
#define LK_LOG(env_, level_, event_, ...)                                                   \
    do {                                                                                    \
        if ((env_)->log &&                                                                  \
            (int)(level_) <= (int)__atomic_load_n(&(env_)->log->level, __ATOMIC_RELAXED)) { \
            const lk_log_field lk_fields_[] = {{NULL, NULL, 0}, __VA_ARGS__};               \
            lk_log_emit((env_), (level_), (event_), lk_fields_ + 1,                         \
                        sizeof lk_fields_ / sizeof lk_fields_[0] - 1);                      \
        }                                                                                   \
    } while (0)

/* Our bug: aborts where LK_DEBUG is defined, else marks env->broken once and goes on. */
void lk_assert_failed(const lk_env *env, const char *where);
#define LK_STR2(x) #x
#define LK_STR(x) LK_STR2(x)
#define LK_ASSERT(env_, cond_)                                                  \
    do {                                                                        \
        if (!(cond_))                                                           \
            lk_assert_failed((env_), __FILE__ ":" LK_STR(__LINE__));            \
    } while (0)

#define LK_UNUSED(x) ((void)(x))
#define LK_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define LK_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LK_MAX(a, b) ((a) > (b) ? (a) : (b))
#define LK_CLAMP(v, lo, hi) ((v) < (lo) ? (lo) : (v) > (hi) ? (hi) : (v))
