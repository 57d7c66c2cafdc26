// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "io/loop.h"

lk_usec api_now(void)
{
    return lk_clock_now();
}

/* ---- log ------------------------------------------------------------------------------------------------ */

static void write_record(void *ctx, lk_log_level level, const char *event,
                         const lk_log_field *fields, size_t count)
{
    lk_runtime *rt = ctx;
    char text[512], target[API_LOG_TARGET_MAX];
    api_log_text(text, sizeof text, target, event, fields, count);
    if (rt->log)
        rt->log(rt->log_user_data, level, target, text);
    else if (!rt->log_events)
        fprintf(stderr, "livekit %s %s\n",
                level == LK_LOG_ERROR ? "error" : level == LK_LOG_WARN ? "warn" : "info", text);
    if (rt->log_events) {
        api_box *box = api_box_new(rt, LK_EVENT_LOG);
        if (!box)
            return;
        box->ev.level = level;
        box->ev.target = api_box_text(box, target);
        box->ev.text = api_box_text(box, text);
        api_push(box);
    }
}

/* ---- life ------------------------------------------------------------------------------------------------ */

void lk_runtime_options_init(lk_runtime_options *options)
{
    *options = (lk_runtime_options){.size = sizeof *options, .log_level = LK_LOG_WARN};
}

static void on_last_user(api_object *o)
{
    lk_runtime *rt = (lk_runtime *)o;
    pthread_mutex_lock(&rt->lock);
    rt->dead = true;
    pthread_mutex_unlock(&rt->lock);
    lk_runtime_set_callback(rt, NULL, NULL);
    lk_runtime_set_wakeup(rt, NULL, NULL);
    lk_runtime_stop(rt);
    api_queue_clear(rt);
}

static void on_destroy(api_object *o)
{
    lk_runtime *rt = (lk_runtime *)o;
    api_queue_clear(rt);
    lk_map_deinit(&rt->ops);
    if (rt->fd >= 0)
        close(rt->fd);
    pthread_cond_destroy(&rt->cond);
    pthread_mutex_destroy(&rt->start_lock);
    pthread_mutex_destroy(&rt->lock);
    api_release(rt, sizeof *rt);
}

lk_err lk_runtime_new(lk_runtime **out, const lk_runtime_options *options)
{
    lk_runtime_options o;
    lk_runtime_options_init(&o);
    if (!out || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    lk_runtime *rt = api_alloc0(sizeof *rt);
    if (!rt)
        return LK_ERR_NOMEM;
    api_object_init(&rt->o, NULL, on_last_user, on_destroy);
    rt->pid = getpid();
    rt->sink = (lk_log_sink){rt, o.log_level, write_record};
    lk_env_production(&rt->env, &rt->sink);
    rt->log = o.log;
    rt->log_user_data = o.log_user_data;
    rt->log_events = o.log_events;
    rt->fd = -1;
    lk_list_init(&rt->queue);
    lk_list_init(&rt->spare);
    lk_map_init(&rt->ops, api_env(), LK_API_OPS_MAX);
    pthread_mutex_init(&rt->lock, NULL);
    pthread_mutex_init(&rt->start_lock, NULL);
    api_cond_init(&rt->cond);
    lk_runtime_set_sdk(rt, o.sdk_name ? o.sdk_name : "c",
                       o.sdk_version ? o.sdk_version : LK_VERSION_TEXT);
    *out = rt;
    return LK_OK;
}

lk_runtime *lk_runtime_ref(lk_runtime *runtime) { return api_user_ref(runtime); }

void lk_runtime_unref(lk_runtime *runtime)
{
    if (runtime && api_check(runtime) == LK_OK)
        api_user_unref(runtime);
}

lk_err lk_runtime_stop(lk_runtime *rt)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    while (rt->run == API_RUN_STOPPING) {
        /* Somebody else stops it: a callback must not wait for that, the other one waits for the callback. */
        bool inside = rt->thread_on && pthread_equal(rt->thread, pthread_self());
        if (inside) {
            pthread_mutex_unlock(&rt->lock);
            return LK_OK;
        }
        pthread_cond_wait(&rt->cond, &rt->lock);
    }
    rt->run = API_RUN_STOPPING;
    pthread_mutex_unlock(&rt->lock);

    api_shell_stop(rt);
    lk_op ids[64];
    for (size_t n; (n = api_op_of(rt, NULL, ids, LK_LEN(ids))) > 0;) {
        lk_error why = api_error(LK_ERR_CANCELLED, "the runtime was stopped");
        for (size_t i = 0; i < n; i++)
            (void)api_op_end(rt, ids[i], &why, NULL);
    }
    api_queue_drain(rt);

    pthread_mutex_lock(&rt->lock);
    rt->run = API_RUN_STOPPED;
    pthread_cond_broadcast(&rt->cond);
    if (rt->wakeup && !rt->callback)
        rt->wakeup(rt->wakeup_user_data);
    pthread_mutex_unlock(&rt->lock);
    return LK_OK;
}

lk_err lk_runtime_set_sdk(lk_runtime *rt, const char *name, const char *version)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    if (name)
        lk_str_copy(rt->sdk_name, sizeof rt->sdk_name, lk_str_of(name));
    if (version)
        lk_str_copy(rt->sdk_version, sizeof rt->sdk_version, lk_str_of(version));
    pthread_mutex_unlock(&rt->lock);
    return LK_OK;
}

lk_err lk_runtime_set_log_level(lk_runtime *rt, lk_log_level level)
{
    if (!rt || (int)level < LK_LOG_ERROR || level > LK_LOG_TRACE)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    __atomic_store_n(&rt->sink.level, level, __ATOMIC_RELAXED);
    return LK_OK;
}

lk_err lk_op_cancel(lk_runtime *rt, lk_op op)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    api_pending *p = lk_map_get(&rt->ops, op);
    lk_room *room = p ? api_ref(p->room) : NULL;
    pthread_mutex_unlock(&rt->lock);
    if (!p)
        return LK_ERR_NOT_FOUND;
    lk_err err = LK_OK;
    if (room) {
        /* The engine ends it, after undoing what it can. */
        api_cmd *cmd = api_cmd_new(API_CMD_CANCEL, room);
        if (cmd) {
            cmd->op = op;
            cmd->number = LK_ERR_CANCELLED;
        }
        err = cmd ? api_submit(rt, cmd) : LK_ERR_NOMEM;
    } else {
        lk_error why = api_error(LK_ERR_CANCELLED, NULL);
        err = api_op_end(rt, op, &why, NULL) ? LK_OK : LK_ERR_NOT_FOUND;
    }
    api_unref(room);
    return err;
}
