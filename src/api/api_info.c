// SPDX-License-Identifier: Apache-2.0
/* Infos: one block each, counted, immutable once made; strings and arrays stand behind the struct. */
#include "api/api.h"

typedef struct info_block {
    atomic_uint refs;
    size_t size;
    _Alignas(16) unsigned char payload[];
} info_block;

static info_block *block_of(const void *info)
{
    return LK_CONTAINER(info, info_block, payload);
}

const void *lk_info_ref(const void *info)
{
    if (info)
        atomic_fetch_add_explicit(&block_of(info)->refs, 1, memory_order_relaxed);
    return info;
}

void lk_info_unref(const void *info)
{
    if (!info)
        return;
    info_block *b = block_of(info);
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        api_release(b, b->size);
}

static size_t text_size(const char *s)
{
    return s ? strlen(s) + 1 : 1;
}

/* Room for `fixed` bytes of struct and arrays, then `text` bytes of strings; *at is where strings start. */
static void *block_new(size_t fixed, size_t text, char **at)
{
    info_block *b = api_alloc0(sizeof *b + fixed + text);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->size = sizeof *b + fixed + text;
    *at = (char *)b->payload + fixed;
    return b->payload;
}

static const char *put(char **at, const char *s)
{
    char *p = *at;
    size_t n = text_size(s);
    if (s)
        memcpy(p, s, n);
    *at = p + n;
    return p;
}

lk_room_info *api_room_info_new(const lk_room_info *from)
{
    char *at;
    lk_room_info *i = block_new(
        sizeof *i, text_size(from->sid) + text_size(from->name) + text_size(from->metadata), &at);
    if (!i)
        return NULL;
    *i = *from;
    i->sid = put(&at, from->sid);
    i->name = put(&at, from->name);
    i->metadata = put(&at, from->metadata);
    return i;
}

lk_participant_info *api_participant_info_new(const lk_participant_info *from)
{
    char *at;
    size_t text = text_size(from->sid) + text_size(from->identity) + text_size(from->name) +
                  text_size(from->metadata);
    for (size_t k = 0; k < from->attribute_count; k++)
        text += text_size(from->attributes[k].key) + text_size(from->attributes[k].value);
    lk_participant_info *i =
        block_new(sizeof *i + from->attribute_count * sizeof(lk_attribute), text, &at);
    if (!i)
        return NULL;
    lk_attribute *attributes = (lk_attribute *)(void *)(i + 1);
    *i = *from;
    i->sid = put(&at, from->sid);
    i->identity = put(&at, from->identity);
    i->name = put(&at, from->name);
    i->metadata = put(&at, from->metadata);
    for (size_t k = 0; k < from->attribute_count; k++) {
        attributes[k].key = put(&at, from->attributes[k].key);
        attributes[k].value = put(&at, from->attributes[k].value);
    }
    i->attributes = attributes;
    return i;
}

lk_publication_info *api_publication_info_new(const lk_publication_info *from)
{
    char *at;
    lk_publication_info *i = block_new(
        sizeof *i,
        text_size(from->sid) + text_size(from->name) + text_size(from->mime_type) +
            text_size(from->participant_identity) + text_size(from->stream),
        &at);
    if (!i)
        return NULL;
    *i = *from;
    i->sid = put(&at, from->sid);
    i->name = put(&at, from->name);
    i->mime_type = put(&at, from->mime_type);
    i->participant_identity = put(&at, from->participant_identity);
    i->stream = put(&at, from->stream);
    return i;
}

lk_track_info *api_track_info_new(const lk_track_info *from)
{
    char *at;
    lk_track_info *i = block_new(sizeof *i, text_size(from->sid) + text_size(from->name), &at);
    if (!i)
        return NULL;
    *i = *from;
    i->sid = put(&at, from->sid);
    i->name = put(&at, from->name);
    return i;
}

/* ---- infos of objects: swapped under the lock of the object --------------------------------------------------- */


#define INFO_ACCESS(type, field_type, name)                        \
    const field_type *api_##name##_info(const type *object)        \
    {                                                              \
        type *o = (type *)(uintptr_t)object;                       \
        pthread_mutex_lock(&o->lock);                              \
        const field_type *info = lk_info_ref(o->info);             \
        pthread_mutex_unlock(&o->lock);                            \
        return info;                                               \
    }                                                              \
    void api_set_##name##_info(type *o, field_type *info)          \
    {                                                              \
        if (!info)                                                 \
            return;                                                \
        pthread_mutex_lock(&o->lock);                              \
        field_type *old = o->info;                                 \
        o->info = info;                                            \
        pthread_mutex_unlock(&o->lock);                            \
        lk_info_unref(old);                                        \
    }                                                              \
    lk_err lk_##name##_get_info(const field_type **out, const type *object) \
    {                                                              \
        if (!out || !object)                                       \
            return LK_ERR_INVALID;                                 \
        if (api_check(object->o.rt) != LK_OK)                      \
            return LK_ERR_FORKED;                                  \
        *out = api_##name##_info(object);                          \
        return LK_OK;                                              \
    }
INFO_ACCESS(lk_room, lk_room_info, room)
INFO_ACCESS(lk_participant, lk_participant_info, participant)
INFO_ACCESS(lk_publication, lk_publication_info, publication)
INFO_ACCESS(lk_track, lk_track_info, track)
