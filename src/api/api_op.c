// SPDX-License-Identifier: Apache-2.0
/* Pending operations: each is registered once and ends once. */
#include "api/api_source.h"

static atomic_uint_fast64_t last_id;

static void pending_free(api_pending *p)
{
    if (p->source)
        api_source_forget(p->source, p->id);
    api_box_free(p->box);
    api_unref(p->source);
    api_unref(p->track);
    api_unref(p->room);
    api_release(p, sizeof *p);
}

lk_err api_op_new(lk_op *out, lk_runtime *rt, lk_op_kind kind, lk_room *room, lk_track *track,
                  lk_audio_source *source, const lk_op_options *how, uint32_t default_msec)
{
    uint32_t msec = default_msec;
    api_pending *p = api_alloc0(sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    if (how && how->size >= offsetof(lk_op_options, user_data) && how->timeout_msec)
        msec = how->timeout_msec;
    if (how && how->size >= sizeof *how)
        p->user_data = how->user_data;
    p->id = atomic_fetch_add(&last_id, 1) + 1;
    p->kind = kind;
    p->deadline = msec ? api_now() + LK_MSEC(msec) : LK_NEVER;
    p->room = api_ref(room);
    p->track = api_ref(track);
    p->source = api_ref(source);
    p->box = api_box_new(rt, LK_EVENT_OP_DONE);
    if (!p->box) {
        pending_free(p);
        return LK_ERR_NOMEM;
    }
    lk_op id = p->id; /* once it is in the table a stop of the runtime may end it */
    pthread_mutex_lock(&rt->lock);
    /* What could never tell its end is not begun. */
    lk_err err = api_can_deliver(rt) ? lk_map_put(&rt->ops, id, p) : LK_ERR_SYSTEM;
    pthread_mutex_unlock(&rt->lock);
    if (err != LK_OK) {
        pending_free(p);
        return err == LK_ERR_FULL ? LK_ERR_LIMIT : err;
    }
    *out = id;
    return LK_OK;
}

static api_pending *take(lk_runtime *rt, lk_op id)
{
    pthread_mutex_lock(&rt->lock);
    api_pending *p = lk_map_take(&rt->ops, id);
    pthread_mutex_unlock(&rt->lock);
    return p;
}

bool api_op_forget(lk_runtime *rt, lk_op id)
{
    api_pending *p = take(rt, id);
    if (p)
        pending_free(p);
    return p != NULL;
}

bool api_op_find(lk_runtime *rt, lk_op id, lk_op_kind *kind, lk_track **track)
{
    pthread_mutex_lock(&rt->lock);
    const api_pending *p = lk_map_get(&rt->ops, id);
    if (p) {
        *kind = p->kind;
        *track = api_ref(p->track);
    }
    pthread_mutex_unlock(&rt->lock);
    return p != NULL;
}

bool api_op_end(lk_runtime *rt, lk_op id, const lk_error *error, api_box *box)
{
    api_pending *p = take(rt, id);
    if (!p) {
        api_box_free(box);
        return false;
    }
    if (!box) { /* refused memory must not lose an end */
        box = p->box;
        p->box = NULL;
    }
    box->ev.op = id;
    box->ev.op_kind = p->kind;
    box->ev.user_data = p->user_data;
    if (error)
        box->ev.error = *error;
    if (!box->ev.room)
        box->ev.room = api_ref(p->room);
    if (!box->ev.track)
        box->ev.track = api_ref(p->track);
    if (!box->ev.source)
        box->ev.source = api_ref(p->source);
    api_push(box);
    pending_free(p);
    return true;
}

lk_usec api_op_deadline(lk_runtime *rt)
{
    lk_usec soonest = LK_NEVER;
    void *value;
    pthread_mutex_lock(&rt->lock);
    for (size_t at = 0; lk_map_next(&rt->ops, &at, NULL, &value);)
        soonest = LK_MIN(soonest, ((api_pending *)value)->deadline);
    pthread_mutex_unlock(&rt->lock);
    return soonest;
}

size_t api_op_due(lk_runtime *rt, lk_usec now, lk_op *out, lk_op_kind *kinds, size_t capacity)
{
    size_t n = 0;
    void *value;
    pthread_mutex_lock(&rt->lock);
    for (size_t at = 0; n < capacity && lk_map_next(&rt->ops, &at, NULL, &value);) {
        api_pending *p = value;
        if (p->deadline > now)
            continue;
        kinds[n] = p->kind;
        out[n++] = p->id;
    }
    pthread_mutex_unlock(&rt->lock);
    return n;
}

size_t api_op_of(lk_runtime *rt, const lk_room *room, lk_op *out, size_t capacity)
{
    size_t n = 0;
    void *value;
    pthread_mutex_lock(&rt->lock);
    for (size_t at = 0; n < capacity && lk_map_next(&rt->ops, &at, NULL, &value);)
        if (!room || ((api_pending *)value)->room == room)
            out[n++] = ((api_pending *)value)->id;
    pthread_mutex_unlock(&rt->lock);
    return n;
}

void lk_op_options_init(lk_op_options *options)
{
    *options = (lk_op_options){.size = sizeof *options};
}
