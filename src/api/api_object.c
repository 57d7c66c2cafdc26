// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"
#include "io/loop.h"

static lk_env memory = {.mem = &lk_mem_production};

const lk_env *api_env(void) { return &memory; }
void api_set_mem(const lk_mem *mem) { memory.mem = mem ? mem : &lk_mem_production; }
void *api_alloc0(size_t size) { return lk_alloc0(&memory, size); }
void api_release(void *p, size_t size) { lk_release(&memory, p, size); }

bool api_options(void *out, size_t size, const void *from)
{
    const uint32_t *given = from; /* what all options begin with */
    if (given && *given < sizeof *given)
        return false;
    if (given)
        memcpy(out, given, LK_MIN(*given, size));
    return true;
}

void api_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct timespec api_until(int32_t timeout_msec)
{
    const lk_usec at = api_now() + LK_MSEC(timeout_msec);
    return (struct timespec){.tv_sec = (time_t)(at / LK_SEC(1)), .tv_nsec = (long)(at % LK_SEC(1)) * 1000};
}

void api_object_init(api_object *o, lk_runtime *rt, void (*last_user)(api_object *),
                     void (*destroy)(api_object *))
{
    atomic_init(&o->refs, 1);
    atomic_init(&o->users, 1);
    o->last_user = last_user;
    o->destroy = destroy;
    o->rt = api_ref(rt);
}

void *api_ref(void *object)
{
    api_object *o = object;
    if (o)
        atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return object;
}

void api_unref(void *object)
{
    api_object *o = object;
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    lk_runtime *rt = o->rt;
    o->destroy(o);
    api_unref(rt);
}

/* Users may come back from zero through a reference of an event: they then hold their one ref again. */
void *api_user_ref(void *object)
{
    api_object *o = object;
    if (o && atomic_fetch_add(&o->users, 1) == 0)
        api_ref(o);
    return object;
}

void api_user_unref(void *object)
{
    api_object *o = object;
    if (!o || (o->rt && api_check(o->rt) != LK_OK))
        return;
    if (atomic_fetch_sub(&o->users, 1) != 1)
        return;
    if (o->last_user)
        o->last_user(o);
    api_unref(o);
}

bool api_list_add(api_list *list, void *object)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        void **items = api_alloc0(cap * sizeof *items);
        if (!items)
            return false;
        if (list->count)
            memcpy(items, list->items, list->count * sizeof *items);
        api_release(list->items, list->cap * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = api_ref(object);
    return true;
}

bool api_list_remove(api_list *list, void *object)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] != object)
            continue;
        memmove(&list->items[i], &list->items[i + 1], (list->count - i - 1) * sizeof(void *));
        list->count--;
        api_unref(object);
        return true;
    }
    return false;
}

size_t api_list_copy(const api_list *list, void **out, size_t capacity)
{
    for (size_t i = 0; i < list->count && i < capacity; i++)
        out[i] = api_user_ref(list->items[i]);
    return list->count;
}

void api_list_clear(api_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        api_unref(list->items[i]);
    api_release(list->items, list->cap * sizeof(void *));
    *list = (api_list){NULL, 0, 0};
}

bool api_map_put(lk_map *m, uint64_t id, void *object)
{
    void *old = lk_map_get(m, id);
    if (old == object)
        return true;
    if (lk_map_put(m, id, object) != LK_OK)
        return false;
    api_ref(object);
    api_unref(old);
    return true;
}

void api_map_drop(lk_map *m, uint64_t id) { api_unref(lk_map_take(m, id)); }

void api_map_clear(lk_map *m)
{
    uint64_t key;
    void *value;
    for (size_t at = 0; lk_map_next(m, &at, &key, &value);)
        api_unref(value);
    lk_map_deinit(m);
}

lk_error api_error(lk_err code, const char *text)
{
    lk_error e = {.code = code};
    if (code != LK_OK)
        lk_str_copy(e.text, sizeof e.text, lk_str_of(text && *text ? text : lk_err_text(code)));
    return e;
}

const char *lk_version(void)
{
    return LK_VERSION_TEXT;
}
