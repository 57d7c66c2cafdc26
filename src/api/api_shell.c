// SPDX-License-Identifier: Apache-2.0
/* The loop of a runtime: starts with the first command, takes them in order, stops on demand. */
#include "api/api_shell.h"

/* ---- commands ------------------------------------------------------------------------------------------------ */

const char *api_arena_text(lk_arena *arena, const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = lk_arena_alloc(arena, n);
    if (p)
        memcpy(p, text, n);
    return p;
}

api_cmd *api_cmd_new(api_cmd_kind kind, lk_room *room)
{
    api_cmd *cmd = api_alloc0(sizeof *cmd);
    if (!cmd)
        return NULL;
    cmd->kind = kind;
    cmd->room = api_ref(room);
    lk_arena_init(&cmd->arena, api_env(), 16u << 20);
    return cmd;
}

const char *api_cmd_text(api_cmd *cmd, const char *text)
{
    return api_arena_text(&cmd->arena, text);
}

void api_cmd_free(api_cmd *cmd)
{
    if (!cmd)
        return;
    api_unref(cmd->stream);
    api_unref(cmd->source);
    api_unref(cmd->video_source);
    api_unref(cmd->publication);
    api_unref(cmd->track);
    api_unref(cmd->room);
    lk_arena_deinit(&cmd->arena);
    api_release(cmd, sizeof *cmd);
}

static void run_commands(lk_task *task, lk_usec now);

static lk_err start(lk_runtime *rt);

static lk_err submit(lk_runtime *rt, api_cmd *cmd, bool may_start)
{
    lk_err err = LK_OK;
    pthread_mutex_lock(&rt->lock);
    while (err == LK_OK && rt->run != API_RUN_ON) {
        if (rt->run == API_RUN_STOPPING || rt->dead || !may_start) {
            err = LK_ERR_CLOSED;
            break;
        }
        pthread_mutex_unlock(&rt->lock);
        err = start(rt);
        pthread_mutex_lock(&rt->lock);
    }
    if (err == LK_OK) {
        api_shell *shell = rt->shell;
        lk_list_push(&shell->cmds, &cmd->link);
        if (!shell->posted) {
            shell->posted = true;
            lk_loop_post(shell->loop, &shell->task);
        }
    }
    pthread_mutex_unlock(&rt->lock);
    if (err != LK_OK)
        api_cmd_free(cmd);
    return err;
}

lk_err api_submit(lk_runtime *rt, api_cmd *cmd) { return submit(rt, cmd, true); }
lk_err api_submit_end(lk_runtime *rt, api_cmd *cmd) { return cmd ? submit(rt, cmd, false) : LK_ERR_NOMEM; }

/* ---- life ------------------------------------------------------------------------------------------------------ */

static void on_ops(lk_timer *timer, lk_usec now);
static void on_media(lk_timer *timer, lk_usec now);
static void stream_close(api_shell *shell, api_stream *s, lk_usec now);

static lk_err start(lk_runtime *rt)
{
    lk_err err = LK_OK;
    pthread_mutex_lock(&rt->start_lock);
    pthread_mutex_lock(&rt->lock);
    bool needed = rt->run == API_RUN_IDLE || rt->run == API_RUN_STOPPED;
    pthread_mutex_unlock(&rt->lock);
    api_shell *shell = needed ? api_alloc0(sizeof *shell) : NULL;
    if (needed && !shell)
        err = LK_ERR_NOMEM;
    if (shell) {
        shell->rt = rt;
        shell->task.run = run_commands;
        lk_list_init(&shell->cmds);
        lk_list_init(&shell->drivers);
        lk_list_init(&shell->streams);
        lk_list_init(&shell->sources);
        lk_timer_init(&shell->op_timer, on_ops);
        lk_timer_init(&shell->media_timer, on_media);
        err = lk_loop_new(&shell->loop, &rt->env, &(lk_loop_config){.dns_servers = rt->dns_servers});
        if (err != LK_OK)
            api_release(shell, sizeof *shell);
    }
    if (shell && err == LK_OK) {
        pthread_mutex_lock(&rt->lock);
        rt->shell = shell;
        rt->run = API_RUN_ON;
        pthread_mutex_unlock(&rt->lock);
    }
    pthread_mutex_unlock(&rt->start_lock);
    return err;
}

typedef struct stop_task {
    lk_task task;
    api_shell *shell;
} stop_task;

static void tell_if_gone(api_shell *shell)
{
    if (!shell->stopping || shell->drivers.count > 0)
        return;
    pthread_mutex_lock(&shell->rt->lock);
    shell->rt->drivers_gone = true;
    pthread_cond_broadcast(&shell->rt->cond);
    pthread_mutex_unlock(&shell->rt->lock);
}

/* Tells every room to leave and every stream to end; the drivers go when their sessions have. */
static void on_stop(lk_task *task, lk_usec now)
{
    api_shell *shell = ((stop_task *)task)->shell;
    run_commands(&shell->task, now);
    shell->stopping = true;
    LK_LIST_EACH(&shell->drivers, it)
        api_driver_leave(api_driver_of(it), now, 0, LK_DISCONNECT_CLIENT_INITIATED);
    LK_LIST_EACH(&shell->streams, it)
        api_stream_end(LK_CONTAINER(it, api_stream, link), false);
    tell_if_gone(shell); /* there may have been none */
}

static void on_kill(lk_task *task, lk_usec now)
{
    api_shell *shell = ((stop_task *)task)->shell;
    run_commands(&shell->task, now);
    LK_LIST_EACH(&shell->drivers, it)
        api_driver_kill(api_driver_of(it));
    LK_LIST_EACH(&shell->streams, it) {
        api_stream *s = LK_CONTAINER(it, api_stream, link);
        api_stream_end(s, false);
        stream_close(shell, s, now);
    }
    for (lk_link *l; (l = lk_list_pop(&shell->sources)) != NULL;) {
        lk_audio_source *s = LK_CONTAINER(l, lk_audio_source, link);
        s->listed = false;
        api_source_idle(s);
        api_unref(s);
    }
    (void)!lk_timer_set(shell->loop, &shell->op_timer, LK_NEVER);
    (void)!lk_timer_set(shell->loop, &shell->media_timer, LK_NEVER);
}

void api_shell_stop(lk_runtime *rt)
{
    pthread_mutex_lock(&rt->start_lock);
    pthread_mutex_lock(&rt->lock);
    api_shell *shell = rt->shell;
    pthread_mutex_unlock(&rt->lock);
    if (!shell || lk_loop_is_halted()) {
        pthread_mutex_unlock(&rt->start_lock);
        return;
    }
    pthread_mutex_lock(&rt->lock);
    rt->drivers_gone = false;
    pthread_mutex_unlock(&rt->lock);
    stop_task stop = {{NULL, on_stop}, shell};
    lk_loop_post(shell->loop, &stop.task);
    lk_usec until = lk_clock_now() + LK_SEC(1);
    pthread_mutex_lock(&rt->lock);
    struct timespec t = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    while (!rt->drivers_gone && pthread_cond_timedwait(&rt->cond, &rt->lock, &t) == 0)
        ;
    rt->shell = NULL;
    pthread_mutex_unlock(&rt->lock);
    stop_task kill = {{NULL, on_kill}, shell};
    lk_loop_post(shell->loop, &kill.task);
    lk_loop_free(shell->loop);
    lk_tls_context_free(shell->tls);
    lk_dtls_context_free(shell->dtls);
    api_release(shell, sizeof *shell);
    pthread_mutex_unlock(&rt->start_lock);
}

/* ---- operations without an answer --------------------------------------------------------------------------------- */

static void set_op_timer(api_shell *shell)
{
    (void)!lk_timer_set(shell->loop, &shell->op_timer, api_op_deadline(shell->rt));
}

static void give_up(api_shell *shell, lk_usec now, lk_op op, lk_err why)
{
    bool known = false;
    LK_LIST_EACH(&shell->drivers, it)
        known = known || api_driver_cancel(api_driver_of(it), now, op, why);
    if (!known) {
        lk_error error = api_error(why, NULL);
        (void)api_op_end(shell->rt, op, &error, NULL);
    }
}

static void on_ops(lk_timer *timer, lk_usec now)
{
    api_shell *shell = LK_CONTAINER(timer, api_shell, op_timer);
    lk_op ids[64];
    lk_op_kind kinds[64];
    size_t n = api_op_due(shell->rt, now, ids, kinds, LK_LEN(ids));
    for (size_t i = 0; i < n; i++)
        give_up(shell, now, ids[i], LK_ERR_TIMEOUT);
    /* One that could not be ended is looked at again a little later. */
    lk_usec next = api_op_deadline(shell->rt);
    (void)!lk_timer_set(shell->loop, &shell->op_timer,
                       next == LK_NEVER ? LK_NEVER : LK_MAX(next, now + LK_MSEC(10)));
}

/* ---- media clock ------------------------------------------------------------------------------------------------------ */

static void on_media(lk_timer *timer, lk_usec now)
{
    api_shell *shell = LK_CONTAINER(timer, api_shell, media_timer);
    LK_LIST_EACH(&shell->sources, it) {
        lk_audio_source *s = LK_CONTAINER(it, lk_audio_source, link);
        if (api_source_tick(s, shell, now) == LK_NEVER) {
            lk_list_remove(&shell->sources, &s->link);
            s->listed = false;
            api_unref(s);
        }
    }
    api_shell_media_changed(shell, now);
}

void api_shell_media_changed(api_shell *shell, lk_usec now)
{
    LK_UNUSED(now);
    lk_usec next = LK_NEVER;
    LK_LIST_EACH(&shell->sources, it)
        next = LK_MIN(next, LK_CONTAINER(it, lk_audio_source, link)->next_tick);
    (void)!lk_timer_set(shell->loop, &shell->media_timer, next);
}

/* A source may have to be served: the first tick tells. */
void api_shell_wake_source(api_shell *shell, lk_audio_source *s, lk_usec now)
{
    if (!s->listed) {
        s->listed = true;
        lk_list_push(&shell->sources, &s->link);
        api_ref(s);
    }
    if (api_source_tick(s, shell, now) == LK_NEVER) {
        lk_list_remove(&shell->sources, &s->link);
        s->listed = false;
        api_unref(s);
    }
    api_shell_media_changed(shell, now);
}

/* ---- dispatch ------------------------------------------------------------------------------------------------------------ */

static void stream_open(api_shell *shell, api_stream *s, lk_usec now)
{
    if (s->attached || api_stream_ended(s))
        return;
    s->attached = true;
    lk_list_push(&shell->streams, &s->link);
    api_ref(s);
    if (s->track && s->track->is_local) {
        if (!api_audience_add_stream(api_audience_of(s->track), s))
            api_stream_end(s, false); /* too many listen: told at once, not by silence */
        if (s->track->source)
            api_shell_wake_source(shell, s->track->source, now);
        return;
    }
    lk_room *room = s->track ? s->track->room : s->participant->room;
    if (room->driver)
        api_driver_attach(room->driver, s, now);
    else if (s->participant)
        api_stream_end(s, false);
}

static void stream_close(api_shell *shell, api_stream *s, lk_usec now)
{
    if (!s->attached)
        return;
    if (s->track && s->track->is_local) {
        api_audience_remove_stream(api_audience_of(s->track), s);
    } else {
        lk_room *room = s->track ? s->track->room : s->participant->room;
        if (room->driver)
            api_driver_detach(room->driver, s, now);
    }
    s->attached = false;
    lk_list_remove(&shell->streams, &s->link);
    api_unref(s);
}

void api_shell_driver_gone(api_shell *shell)
{
    tell_if_gone(shell);
}

static void run_commands(lk_task *task, lk_usec now)
{
    api_shell *shell = LK_CONTAINER(task, api_shell, task);
    lk_runtime *rt = shell->rt;
    for (;;) {
        pthread_mutex_lock(&rt->lock);
        lk_link *link = lk_list_pop(&shell->cmds);
        if (!link)
            shell->posted = false;
        pthread_mutex_unlock(&rt->lock);
        if (!link)
            break;
        api_cmd *cmd = LK_CONTAINER(link, api_cmd, link);
        switch (cmd->kind) {
        case API_CMD_STREAM_OPEN:
            stream_open(shell, cmd->stream, now);
            break;
        case API_CMD_STREAM_CLOSE:
            stream_close(shell, cmd->stream, now);
            break;
        case API_CMD_SOURCE:
            api_shell_wake_source(shell, cmd->source, now);
            break;
        case API_CMD_PICTURE:
            api_video_source_flush(cmd->video_source, now);
            break;
        case API_CMD_CANCEL:
            give_up(shell, now, cmd->op, (lk_err)cmd->number);
            break;
        default:
            api_driver_run(shell, cmd, now);
            break;
        }
        api_cmd_free(cmd);
    }
    set_op_timer(shell);
}
