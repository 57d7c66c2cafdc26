// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <stdlib.h>
#include <string.h>

void *lk_alloc(const lk_env *env, size_t size)
{
    return size ? env->mem->alloc(env->mem->ctx, size) : NULL;
}

void *lk_alloc0(const lk_env *env, size_t size)
{
    void *p = lk_alloc(env, size);
    if (p)
        memset(p, 0, size);
    return p;
}

void *lk_resize(const lk_env *env, void *p, size_t old_size, size_t new_size)
{
    if (!p)
        return lk_alloc(env, new_size);
    return env->mem->resize(env->mem->ctx, p, old_size, new_size);
}

void lk_release(const lk_env *env, void *p, size_t size)
{
    if (p)
        env->mem->release(env->mem->ctx, p, size);
}

uint64_t lk_rand_u64(const lk_env *env)
{
    uint64_t v = 0;
    if (env->rng->fill(env->rng->ctx, &v, sizeof v) != LK_OK)
        lk_assert_failed(env, "no entropy");
    return v;
}

uint32_t lk_rand_u32(const lk_env *env)
{
    return (uint32_t)lk_rand_u64(env);
}

uint32_t lk_rand_below(const lk_env *env, uint32_t bound)
{
    return (uint32_t)(((lk_rand_u64(env) & 0xffffffffu) * bound) >> 32);
}

void lk_rand_text(const lk_env *env, char *out, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i++)
        out[i] = alphabet[lk_rand_u64(env) & 63];
}

void lk_log_emit(const lk_env *env, lk_log_level level, const char *event,
                 const lk_log_field *fields, size_t count)
{
    if (env->log && env->log->write && level <= env->log->level)
        env->log->write(env->log->ctx, level, event, fields, count);
}

void lk_assert_failed(const lk_env *env, const char *where)
{
    if (env && env->broken && !*env->broken)
        *env->broken = where;
#ifdef LK_DEBUG
    abort();
#endif
}
