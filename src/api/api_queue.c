// SPDX-License-Identifier: Apache-2.0
/* The one queue of a runtime: boxes with events and tokens of streams, in order. */
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "api/api.h"
#include "api/api_stream.h"

/* ---- boxes --------------------------------------------------------------------------------------------- */

/* Frames come often: their boxes are used again. */
static bool is_frame(lk_event_type type) { return type == LK_EVENT_AUDIO_FRAME || type == LK_EVENT_VIDEO_FRAME; }

api_box *api_box_new(lk_runtime *rt, lk_event_type type)
{
    api_box *box = NULL;
    if (is_frame(type)) {
        pthread_mutex_lock(&rt->lock);
        lk_link *link = lk_list_pop(&rt->spare);
        pthread_mutex_unlock(&rt->lock);
        if (link)
            box = LK_CONTAINER(link, api_box, node.link);
    }
    if (!box) {
        box = api_alloc0(sizeof *box);
        if (!box)
            return NULL;
        lk_arena_init(&box->arena, api_env(), LK_API_ROOM_BYTES_MAX);
    }
    memset(&box->ev, 0, sizeof box->ev);
    box->node.kind = API_NODE_EVENT;
    box->ev.type = type;
    box->ev.text = box->ev.target = "";
    box->rt = api_ref(rt);
    return box;
}

void api_box_free(api_box *box)
{
    if (!box)
        return;
    lk_event *e = &box->ev;
    lk_runtime *rt = box->rt;
    bool frame_box = is_frame(e->type);
    for (size_t i = 0; i < e->member_count; i++) {
        const lk_event_member *m = &e->members[i];
        for (size_t k = 0; k < m->publication_count; k++) {
            lk_info_unref(m->publications[k].info);
            api_unref(m->publications[k].publication);
        }
        lk_info_unref(m->info);
        api_unref(m->participant);
    }
    lk_info_unref(e->room_info);
    lk_info_unref(e->participant_info);
    lk_info_unref(e->publication_info);
    lk_info_unref(e->track_info);
    lk_audio_frame_drop(e->frame);
    lk_video_frame_drop(e->video_frame);
    api_unref(e->stream);
    api_unref(e->video_stream);
    api_unref(e->source);
    api_unref(e->track);
    api_unref(e->publication);
    api_unref(e->participant);
    api_unref(e->room);
    if (frame_box) {
        box->rt = NULL;
        pthread_mutex_lock(&rt->lock);
        bool keep = rt->spare.count < LK_API_FRAME_BOXES_MAX;
        if (keep)
            lk_list_push(&rt->spare, &box->node.link);
        pthread_mutex_unlock(&rt->lock);
        api_unref(rt);
        if (keep)
            return;
    } else {
        api_unref(rt);
    }
    lk_arena_deinit(&box->arena);
    api_release(box, sizeof *box);
}

const char *api_box_text(api_box *box, const char *text)
{
    size_t n = text ? strlen(text) + 1 : 0;
    char *p = n > 1 ? lk_arena_alloc(&box->arena, n) : NULL;
    if (!p)
        return "";
    memcpy(p, text, n);
    return p;
}

void *api_box_alloc(api_box *box, size_t size)
{
    void *p = size ? lk_arena_alloc(&box->arena, size) : NULL;
    if (p)
        memset(p, 0, size);
    return p;
}

void lk_event_free(lk_event *event)
{
    api_box *box = event ? LK_CONTAINER(event, api_box, ev) : NULL;
    if (box && api_check(box->rt) == LK_OK)
        api_box_free(box);
}

/* ---- in ------------------------------------------------------------------------------------------------- */

static void *event_thread(void *arg);

/* Threads of ours take no signals: those belong to the application. */
static bool start_thread(pthread_t *out, void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool ok = pthread_create(out, NULL, run, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ok;
}

bool api_can_deliver(lk_runtime *rt)
{
    if (rt->callback && !rt->thread_on) {
        api_ref(rt);
        rt->thread_quit = false;
        rt->thread_on = start_thread(&rt->thread, event_thread, rt);
        if (!rt->thread_on)
            atomic_fetch_sub(&rt->o.refs, 1); /* the caller holds another one */
    }
    return !rt->callback || rt->thread_on;
}

void api_signal(lk_runtime *rt)
{
    (void)api_can_deliver(rt);
    pthread_cond_broadcast(&rt->cond);
    if (rt->callback || rt->fd_ready)
        return;
    rt->fd_ready = true;
    if (rt->fd >= 0)
        (void)!write(rt->fd, &(uint64_t){1}, 8);
    if (rt->wakeup)
        rt->wakeup(rt->wakeup_user_data);
}

static bool is_final(const lk_event *e)
{
    return e->type == LK_EVENT_OP_DONE || e->type == LK_EVENT_ROOM_CLOSED ||
           e->type == LK_EVENT_DISCONNECTED || e->type == LK_EVENT_CONNECTION_STATE;
}

void api_push(api_box *box)
{
    lk_runtime *rt = box->rt;
    lk_room *room = box->ev.room;
    bool drop = false;
    box->bytes = sizeof *box + box->arena.used_bytes;
    pthread_mutex_lock(&rt->lock);
    if (box->ev.type == LK_EVENT_LOG) {
        drop = rt->log_count >= LK_API_LOG_EVENTS_MAX;
        rt->log_count += !drop;
        rt->log_lost += drop;
    } else if (room) {
        if (room->bytes + box->bytes > LK_API_ROOM_BYTES_MAX && !is_final(&box->ev)) {
            room->overflow = drop = true;
        } else {
            room->bytes += box->bytes;
        }
    }
    if (!drop) {
        if (room && room->gate_closed && box->ev.type != LK_EVENT_OP_DONE)
            lk_list_push(&room->held, &box->node.link);
        else
            lk_list_push(&rt->queue, &box->node.link);
        api_signal(rt);
    }
    pthread_mutex_unlock(&rt->lock);
    if (drop)
        api_box_free(box);
}

void api_gate(lk_room *room, bool closed)
{
    lk_runtime *rt = room->o.rt;
    pthread_mutex_lock(&rt->lock);
    room->gate_closed = closed;
    if (!closed && room->held.count > 0) {
        for (lk_link *l; (l = lk_list_pop(&room->held)) != NULL;)
            lk_list_push(&rt->queue, l);
        api_signal(rt);
    }
    pthread_mutex_unlock(&rt->lock);
}

void api_push_stream(api_stream *s)
{
    lk_runtime *rt = s->o.rt;
    pthread_mutex_lock(&rt->lock);
    if (!s->queued) {
        s->queued = true;
        api_ref(s);
        lk_list_push(&rt->queue, &s->node.link);
        api_signal(rt);
    }
    pthread_mutex_unlock(&rt->lock);
}

lk_err lk_post_event(lk_runtime *rt, uint64_t user_value, void *user_data)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    bool full = rt->user_count >= LK_API_USER_EVENTS_MAX, deaf = !api_can_deliver(rt);
    rt->user_count += !full && !deaf;
    pthread_mutex_unlock(&rt->lock);
    if (full || deaf)
        return full ? LK_ERR_FULL : LK_ERR_SYSTEM;
    api_box *box = api_box_new(rt, LK_EVENT_USER);
    if (!box) {
        pthread_mutex_lock(&rt->lock);
        rt->user_count--;
        pthread_mutex_unlock(&rt->lock);
        return LK_ERR_NOMEM;
    }
    box->ev.user_value = user_value;
    box->ev.user_data = user_data;
    api_push(box);
    return LK_OK;
}

/* ---- out ------------------------------------------------------------------------------------------------- */

/* A stream's token came up: its oldest frame, or its end. NULL when it has nothing any more. */
static api_box *take_from_stream(lk_runtime *rt, api_stream *s)
{
    bool more = false;
    void *frame = NULL;
    api_stream_take take = api_stream_pop(s, &frame, &more);
    api_box *box = NULL;
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    if (take == API_STREAM_FRAME && (frame = api_stream_finish(s, frame)) == NULL)
        take = API_STREAM_NOTHING;
    if (take != API_STREAM_NOTHING) {
        const lk_event_type frame_type = video ? LK_EVENT_VIDEO_FRAME : LK_EVENT_AUDIO_FRAME;
        const lk_event_type end_type = video ? LK_EVENT_VIDEO_STREAM_END : LK_EVENT_AUDIO_STREAM_END;
        box = api_box_new(rt, take == API_STREAM_FRAME ? frame_type : end_type);
        if (box) {
            box->ev.user_data = s->user_data;
            if (video) {
                box->ev.video_stream = api_ref(s);
                box->ev.video_frame = frame;
            } else {
                box->ev.stream = api_ref(s);
                box->ev.frame = frame;
            }
        } else {
            if (frame)
                api_stream_drop_frame(s, frame);
            if (take == API_STREAM_END)
                more = api_stream_put_end_back(s);
        }
    }
    if (more) {
        pthread_mutex_lock(&rt->lock);
        if (!s->queued) {
            s->queued = true;
            api_ref(s);
            /* What is left of an ended stream goes out before everything that happened later. */
            if (api_stream_ended(s) && rt->queue.count > 0)
                lk_list_insert_before(&rt->queue, rt->queue.head.next, &s->node.link);
            else
                lk_list_push(&rt->queue, &s->node.link);
            api_signal(rt);
        }
        pthread_mutex_unlock(&rt->lock);
    }
    return box;
}

/* The descriptor polls readable exactly while something waits. */
static void settle(lk_runtime *rt)
{
    if (rt->queue.count > 0)
        return;
    if (rt->fd_ready && rt->fd >= 0) {
        uint64_t count;
        (void)!read(rt->fd, &count, 8);
    }
    rt->fd_ready = false;
}

/* Called and returns with rt->lock held; lets go of it in between. NULL: the queue is empty. */
static api_box *pop(lk_runtime *rt)
{
    for (;;) {
        lk_link *link = lk_list_pop(&rt->queue);
        settle(rt);
        if (!link)
            return NULL;
        api_node *node = LK_CONTAINER(link, api_node, link);
        if (node->kind == API_NODE_STREAM) {
            api_stream *s = LK_CONTAINER(node, api_stream, node);
            s->queued = false;
            pthread_mutex_unlock(&rt->lock);
            api_box *box = take_from_stream(rt, s);
            api_unref(s);
            pthread_mutex_lock(&rt->lock);
            if (box)
                return box;
            continue;
        }
        api_box *box = LK_CONTAINER(node, api_box, node);
        lk_room *room = box->ev.room;
        if (box->ev.type == LK_EVENT_LOG)
            rt->log_count--;
        if (box->ev.type == LK_EVENT_USER)
            rt->user_count--;
        if (room)
            room->bytes -= box->bytes;
        if (room && box->ev.type != LK_EVENT_OP_DONE && atomic_load(&room->o.users) == 0) {
            pthread_mutex_unlock(&rt->lock);
            api_box_free(box); /* nobody has that room any more */
            pthread_mutex_lock(&rt->lock);
            continue;
        }
        return box;
    }
}

lk_err lk_next_event(lk_runtime *rt, int32_t timeout_msec, lk_event **event)
{
    if (!rt || !event || timeout_msec < -1)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    const struct timespec until = api_until(timeout_msec);
    lk_err err = LK_OK;
    api_box *box = NULL;
    pthread_mutex_lock(&rt->lock);
    while (err == LK_OK) {
        if (rt->callback) {
            err = LK_ERR_STATE;
        } else if ((box = pop(rt)) != NULL) {
            break;
        } else if (rt->run == API_RUN_STOPPED) {
            err = LK_ERR_CLOSED;
        } else if (timeout_msec == 0) {
            err = LK_ERR_TIMEOUT;
        } else if (timeout_msec < 0) {
            pthread_cond_wait(&rt->cond, &rt->lock);
        } else if (pthread_cond_timedwait(&rt->cond, &rt->lock, &until) == ETIMEDOUT) {
            timeout_msec = 0; /* one last look */
        }
    }
    pthread_mutex_unlock(&rt->lock);
    if (box)
        *event = &box->ev;
    return err;
}

/* ---- callbacks --------------------------------------------------------------------------------------------- */

/* Delivers one event; rt->lock is held before and after. False: the queue is empty. */
static bool deliver_one(lk_runtime *rt)
{
    api_box *box = pop(rt);
    if (!box)
        return false;
    void (*callback)(void *, const lk_event *) = rt->callback;
    void *user_data = rt->callback_user_data;
    rt->callback_depth++;
    pthread_mutex_unlock(&rt->lock);
    if (callback)
        callback(user_data, &box->ev);
    api_box_free(box);
    pthread_mutex_lock(&rt->lock);
    rt->callback_depth--;
    pthread_cond_broadcast(&rt->cond);
    return true;
}

static void *event_thread(void *arg)
{
    lk_runtime *rt = arg;
    pthread_setname_np(pthread_self(), "lk-events");
    pthread_mutex_lock(&rt->lock);
    for (;;) {
        if (rt->thread_quit && pthread_equal(rt->thread, pthread_self()))
            break;
        if (!rt->callback || !deliver_one(rt))
            if (!rt->thread_quit)
                pthread_cond_wait(&rt->cond, &rt->lock);
    }
    bool detached = rt->thread_detached;
    rt->thread_on = rt->thread_detached = false;
    if (rt->callback && rt->queue.count > 0)
        api_signal(rt); /* came while this thread was leaving: the next one takes it */
    pthread_cond_broadcast(&rt->cond);
    pthread_mutex_unlock(&rt->lock);
    if (detached)
        pthread_detach(pthread_self());
    api_unref(rt);
    return NULL;
}

static bool on_event_thread(lk_runtime *rt)
{
    return rt->thread_on && pthread_equal(rt->thread, pthread_self());
}

lk_err lk_runtime_set_callback(lk_runtime *rt, void (*callback)(void *, const lk_event *),
                               void *user_data)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    while (rt->callback_depth > 0 && !on_event_thread(rt))
        pthread_cond_wait(&rt->cond, &rt->lock);
    rt->callback = callback;
    rt->callback_user_data = user_data;
    if (rt->queue.count > 0) {
        rt->fd_ready = false;
        api_signal(rt);
    }
    pthread_mutex_unlock(&rt->lock);
    return LK_OK;
}

lk_err lk_runtime_set_wakeup(lk_runtime *rt, void (*wakeup)(void *), void *user_data)
{
    if (!rt)
        return LK_ERR_INVALID;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&rt->lock);
    rt->wakeup = wakeup;
    rt->wakeup_user_data = user_data;
    if (wakeup && rt->queue.count > 0 && !rt->callback)
        wakeup(user_data);
    pthread_mutex_unlock(&rt->lock);
    return LK_OK;
}

int lk_runtime_fd(lk_runtime *rt)
{
    if (!rt || api_check(rt) != LK_OK)
        return -1;
    pthread_mutex_lock(&rt->lock);
    if (rt->fd < 0) {
        rt->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (rt->fd >= 0 && rt->fd_ready)
            (void)!write(rt->fd, &(uint64_t){1}, 8);
    }
    int fd = rt->fd;
    pthread_mutex_unlock(&rt->lock);
    return fd;
}

void api_queue_drain(lk_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    if (rt->callback && on_event_thread(rt)) {
        while (deliver_one(rt))
            ;
    } else if (rt->callback) {
        while (rt->callback && (rt->queue.count > 0 || rt->callback_depth > 0)) {
            api_signal(rt);
            if (!rt->thread_on)
                break; /* no thread to be had: the events stay */
            pthread_cond_wait(&rt->cond, &rt->lock);
        }
    }
    if (rt->thread_on && !rt->thread_quit) {
        rt->thread_quit = true;
        pthread_cond_broadcast(&rt->cond);
        pthread_t thread = rt->thread;
        if (on_event_thread(rt)) {
            rt->thread_detached = true;
        } else {
            pthread_mutex_unlock(&rt->lock);
            pthread_join(thread, NULL);
            return;
        }
    }
    pthread_mutex_unlock(&rt->lock);
}

void api_queue_clear(lk_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    for (api_box *box; (box = pop(rt)) != NULL;) {
        pthread_mutex_unlock(&rt->lock);
        api_box_free(box);
        pthread_mutex_lock(&rt->lock);
    }
    lk_list spare = {0};
    lk_list_init(&spare);
    for (lk_link *l; (l = lk_list_pop(&rt->spare)) != NULL;)
        lk_list_push(&spare, l);
    pthread_mutex_unlock(&rt->lock);
    for (lk_link *l; (l = lk_list_pop(&spare)) != NULL;) {
        api_box *box = LK_CONTAINER(l, api_box, node.link);
        lk_arena_deinit(&box->arena);
        api_release(box, sizeof *box);
    }
}

const char *lk_event_name(lk_event_type type)
{
    switch ((int)type) {
#define NAME(x)        \
    case LK_EVENT_##x: \
        return #x;
        NAME(OP_DONE)
        NAME(CONNECTION_STATE)
        NAME(RECONNECTING)
        NAME(RECONNECTED)
        NAME(DISCONNECTED)
        NAME(ROOM_CLOSED)
        NAME(ROOM_SID)
        NAME(ROOM_METADATA)
        NAME(ROOM_UPDATED)
        NAME(ROOM_MOVED)
        NAME(TOKEN_REFRESHED)
        NAME(PARTICIPANT_CONNECTED)
        NAME(PARTICIPANT_ACTIVE)
        NAME(PARTICIPANT_DISCONNECTED)
        NAME(PARTICIPANT_METADATA)
        NAME(PARTICIPANT_NAME)
        NAME(PARTICIPANT_ATTRIBUTES)
        NAME(PARTICIPANT_PERMISSION)
        NAME(PARTICIPANT_ENCRYPTION)
        NAME(PARTICIPANTS_UPDATED)
        NAME(ACTIVE_SPEAKERS)
        NAME(CONNECTION_QUALITY)
        NAME(LOCAL_TRACK_PUBLISHED)
        NAME(LOCAL_TRACK_UNPUBLISHED)
        NAME(LOCAL_TRACK_SUBSCRIBED)
        NAME(LOCAL_TRACK_REPUBLISHED)
        NAME(TRACK_PUBLISHED)
        NAME(TRACK_UNPUBLISHED)
        NAME(TRACK_SUBSCRIBED)
        NAME(TRACK_UNSUBSCRIBED)
        NAME(TRACK_SUBSCRIPTION_FAILED)
        NAME(TRACK_MUTED)
        NAME(TRACK_UNMUTED)
        NAME(AUDIO_FRAME)
        NAME(AUDIO_STREAM_END)
        NAME(DATA)
        NAME(DTMF)
        NAME(DATA_THRESHOLD)
        NAME(VIDEO_FRAME)
        NAME(VIDEO_STREAM_END)
        NAME(LOG)
        NAME(USER)
#undef NAME
    default:
        return "UNKNOWN";
    }
}
