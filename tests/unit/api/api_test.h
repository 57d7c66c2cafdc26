// SPDX-License-Identifier: Apache-2.0
/* tests/unit/api/api_test.h - a runtime under the counting allocator of the frame, made safe for its threads.
 *
 * Real threads and the real clock: every wait is for an event, with a limit only for the broken case.
 */
#pragma once
#include "api/api.h"
#include "patience.h"

static pthread_mutex_t mem_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void *mem_alloc(void *ctx, size_t size)
{
    const lk_mem *inner = ctx;
    pthread_mutex_lock(&mem_lock);
    void *p = inner->alloc(inner->ctx, size);
    pthread_mutex_unlock(&mem_lock);
    return p;
}

static inline void *mem_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    const lk_mem *inner = ctx;
    pthread_mutex_lock(&mem_lock);
    void *q = inner->resize(inner->ctx, p, old_size, new_size);
    pthread_mutex_unlock(&mem_lock);
    return q;
}

static inline void mem_release(void *ctx, void *p, size_t size)
{
    const lk_mem *inner = ctx;
    pthread_mutex_lock(&mem_lock);
    inner->release(inner->ctx, p, size);
    pthread_mutex_unlock(&mem_lock);
}

/* All memory of the gate is the test's from now on: what it forgets at the end is a leak of the test. */
static inline void use_test_memory(lk_env *env)
{
    static lk_mem mem;
    mem = (lk_mem){(void *)(uintptr_t)env->mem, mem_alloc, mem_resize, mem_release};
    api_set_mem(&mem);
}

/* NULL when memory was refused. */
static inline lk_runtime *runtime_new(lk_env *env)
{
    lk_runtime *rt = NULL;
    lk_runtime_options o;
    lk_runtime_options_init(&o);
    o.log_level = LK_LOG_ERROR;
    use_test_memory(env);
    lk_err err = lk_runtime_new(&rt, &o);
    CHECK(err == LK_OK || lk_test_oom());
    return rt;
}

/* One waits in turns for as long as this is true: far longer than anything takes, but shorter once memory has been refused,
 * which may happen meanwhile. From then on what is expected may never come. */
enum { TURN_MSEC = 100 };
static inline bool is_patient(int turns)
{
    pthread_mutex_lock(&mem_lock);
    bool refused = lk_test_refused();
    pthread_mutex_unlock(&mem_lock);
    return turns * TURN_MSEC < (refused ? 400 : 10000);
}

static inline lk_err next_event(lk_runtime *rt, lk_event **e)
{
    lk_err err = LK_ERR_TIMEOUT;
    for (int turns = 0; err == LK_ERR_TIMEOUT && is_patient(turns); turns++)
        err = lk_next_event(rt, TURN_MSEC, e);
    return err;
}

static inline lk_err next_frame(lk_audio_frame **frame, lk_audio_stream *stream)
{
    lk_err err = LK_ERR_TIMEOUT;
    for (int turns = 0; err == LK_ERR_TIMEOUT && is_patient(turns); turns++)
        err = lk_audio_stream_read(frame, stream, TURN_MSEC);
    return err;
}

/* The next event if it is of this type, else NULL (and the test has failed). */
static inline lk_event *expect(lk_runtime *rt, lk_event_type type)
{
    lk_event *e = NULL;
    lk_err err = next_event(rt, &e);
    if (!CHECK_EQ(err, LK_OK))
        return NULL;
    if (CHECK_STR(lk_event_name(e->type), lk_event_name(type)))
        return e;
    lk_event_free(e);
    return NULL;
}

static inline bool expect_done(lk_runtime *rt, lk_op op, lk_err code)
{
    lk_event *e = expect(rt, LK_EVENT_OP_DONE);
    bool ok = e && CHECK_EQ(e->op, op) && CHECK_STR(lk_err_name(e->error.code), lk_err_name(code));
    lk_event_free(e);
    return ok;
}

/* Nothing is left, nothing will come. While memory is refused patience is short: what came too late for `expect` is let go. */
static inline bool expect_closed(lk_runtime *rt)
{
    lk_event *e = NULL;
    lk_err err = next_event(rt, &e);
    while (err == LK_OK && lk_test_oom()) {
        lk_event_free(e);
        e = NULL;
        err = next_event(rt, &e);
    }
    bool ok = CHECK_EQ(err, LK_ERR_CLOSED);
    lk_event_free(e);
    return ok;
}

static inline bool expect_nothing(lk_runtime *rt, int32_t msec)
{
    lk_event *e = NULL;
    bool ok = CHECK_EQ(lk_next_event(rt, msec, &e), LK_ERR_TIMEOUT);
    lk_event_free(e);
    return ok;
}
