// SPDX-License-Identifier: Apache-2.0
/* The handle table: number -> type and one reference. Numbers are never reused. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "ffi/ffi.h"

typedef struct entry {
    ffi_type type;
    bool reserved; /* the client does not know it yet */
    bool dropped;  /* by the client; held until the object has told its last event */
    bool ended;    /* its object has told its last event */
    void *object;
    size_t size;     /* of a response */
    uint64_t parent; /* of a stream: the handle it was made from */
} entry;

static struct {
    pthread_mutex_t lock;
    bool ready;
    lk_map map;
    ffi_build memory; /* its environment */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_uint_fast64_t last_id;

uint64_t ffi_next_id(void) { return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1; }

/* ---- what the types are ------------------------------------------------------------------------------------ */

static void *ref_frame(void *p) { return lk_audio_frame_keep((lk_audio_frame *)p); }
static void unref_frame(void *p) { lk_audio_frame_drop((lk_audio_frame *)p); }
static void *ref_picture(void *p) { return lk_video_frame_keep((lk_video_frame *)p); }
static void unref_picture(void *p) { lk_video_frame_drop((lk_video_frame *)p); }
#define TYPE(name)                                                           \
    static void *ref_##name(void *p) { return lk_##name##_ref((lk_##name *)p); } \
    static void unref_##name(void *p) { lk_##name##_unref((lk_##name *)p); }
TYPE(room)
TYPE(participant)
TYPE(publication)
TYPE(track)
TYPE(audio_source)
TYPE(audio_stream)
TYPE(video_source)
TYPE(video_stream)

static const struct {
    void *(*ref)(void *);
    void (*unref)(void *);
    const char *wrong; /* what is said when another type is found */
} types[] = {
    [FFI_RESPONSE] = {NULL, free, "handle is not a response"},
    [FFI_ROOM] = {ref_room, unref_room, "handle is not a Room"},
    [FFI_PARTICIPANT] = {ref_participant, unref_participant, "handle is not a Participant"},
    [FFI_PUBLICATION] = {ref_publication, unref_publication, "handle is not a Publication"},
    [FFI_TRACK] = {ref_track, unref_track, "handle is not a Track"},
    [FFI_AUDIO_SOURCE] = {ref_audio_source, unref_audio_source, "handle is not an AudioSource"},
    [FFI_AUDIO_STREAM] = {ref_audio_stream, unref_audio_stream, "handle is not an AudioStream"},
    [FFI_AUDIO_FRAME] = {ref_frame, unref_frame, "handle is not an AudioFrameBuffer"},
    [FFI_BUFFER] = {NULL, free, "handle is not a data buffer"},
    [FFI_VIDEO_SOURCE] = {ref_video_source, unref_video_source, "handle is not a VideoSource"},
    [FFI_VIDEO_STREAM] = {ref_video_stream, unref_video_stream, "handle is not a VideoStream"},
    [FFI_RESAMPLER] = {ffi_converter_ref, ffi_converter_unref, "handle is not an AudioResampler"},
    [FFI_SOX] = {ffi_converter_ref, ffi_converter_unref, "handle is not a SoxResampler"},
    [FFI_VIDEO_FRAME] = {ref_picture, unref_picture, "handle is not a VideoFrameBuffer"},
};

void ffi_object_unref(ffi_type type, void *object)
{
    if (object)
        types[type].unref(object);
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static lk_err put(uint64_t id, const entry *as)
{
    entry *e = (entry *)malloc(sizeof *e);
    lk_err err = e ? LK_OK : LK_ERR_NOMEM;
    if (e)
        *e = *as;
    pthread_mutex_lock(&table.lock);
    if (!table.ready) {
        ffi_build_init(&table.memory);
        lk_map_init(&table.map, table.memory.arena.env, LK_FFI_HANDLES_MAX);
        table.ready = true;
    }
    if (err == LK_OK)
        err = lk_map_put(&table.map, id, e);
    pthread_mutex_unlock(&table.lock);
    if (err)
        free(e);
    return err;
}

lk_err ffi_handle_put(uint64_t id, ffi_type type, void *object, size_t size)
{
    const entry e = {.type = type, .object = object, .size = size};
    lk_err err = put(id, &e);
    if (err)
        ffi_object_unref(type, object);
    return err;
}

uint64_t ffi_handle_new(ffi_type type, void *object, size_t size)
{
    uint64_t id = ffi_next_id();
    return ffi_handle_put(id, type, object, size) == LK_OK ? id : 0;
}

uint64_t ffi_handle_reserve(ffi_type type, uint64_t parent)
{
    const entry e = {.type = type, .reserved = true, .parent = parent};
    uint64_t id = ffi_next_id();
    return put(id, &e) == LK_OK ? id : 0;
}

static entry *find(uint64_t id) { return table.ready && id ? (entry *)lk_map_get(&table.map, id) : NULL; }
static bool usable(const entry *e) { return e && !e->reserved && !e->dropped; }
static bool is_stream(ffi_type type) { return type == FFI_AUDIO_STREAM || type == FFI_VIDEO_STREAM; }

void ffi_handle_open(uint64_t id, ffi_type type, void *object)
{
    pthread_mutex_lock(&table.lock);
    entry *e = find(id);
    if (e) {
        e->object = object;
        e->reserved = false;
    }
    pthread_mutex_unlock(&table.lock);
    if (!e)
        ffi_object_unref(type, object); /* everything was disposed of meanwhile */
}

void ffi_handle_cancel(uint64_t id)
{
    pthread_mutex_lock(&table.lock);
    entry *e = find(id) ? (entry *)lk_map_take(&table.map, id) : NULL;
    pthread_mutex_unlock(&table.lock);
    free(e);
}

void *ffi_handle_get(ffi_call *c, uint64_t id, ffi_type type)
{
    void *object = NULL;
    pthread_mutex_lock(&table.lock);
    entry *e = find(id);
    if (usable(e) && e->type == type)
        object = types[type].ref(e->object);
    else
        ffi_reject(c, id == 0 ? "handle is invalid" : !usable(e) ? "handle not found" : types[type].wrong);
    pthread_mutex_unlock(&table.lock);
    return object;
}

uint64_t ffi_handle_find(ffi_type type, const void *object)
{
    uint64_t found = 0, id;
    void *value;
    pthread_mutex_lock(&table.lock);
    for (size_t at = 0; table.ready && !found && lk_map_next(&table.map, &at, &id, &value);) {
        const entry *e = (const entry *)value;
        if (e->type == type && e->object == object && usable(e))
            found = id;
    }
    pthread_mutex_unlock(&table.lock);
    return found;
}

bool ffi_handle_heard(uint64_t id)
{
    pthread_mutex_lock(&table.lock);
    entry *e = find(id);
    bool heard = e && !e->dropped;
    pthread_mutex_unlock(&table.lock);
    return heard;
}

void ffi_handle_ended(uint64_t id)
{
    pthread_mutex_lock(&table.lock);
    entry *e = find(id);
    if (e)
        e->ended = true;
    if (e && e->dropped)
        (void)lk_map_take(&table.map, id);
    else
        e = NULL;
    pthread_mutex_unlock(&table.lock);
    if (e)
        ffi_object_unref(e->type, e->object);
    free(e);
}

static void close_stream(ffi_type type, void *stream)
{
    if (type == FFI_VIDEO_STREAM)
        (void)lk_video_stream_close((lk_video_stream *)stream);
    else
        (void)lk_audio_stream_close((lk_audio_stream *)stream);
}

/* Streams made from a track's handle end with it. */
static void end_children(uint64_t parent)
{
    for (;;) {
        void *child = NULL;
        ffi_type type = FFI_AUDIO_STREAM;
        uint64_t id;
        void *value;
        pthread_mutex_lock(&table.lock);
        for (size_t at = 0; lk_map_next(&table.map, &at, &id, &value) && !child;) {
            entry *e = (entry *)value;
            if (is_stream(e->type) && e->parent == parent && usable(e)) {
                e->parent = 0;
                type = e->type;
                child = types[type].ref(e->object);
            }
        }
        pthread_mutex_unlock(&table.lock);
        if (!child)
            return;
        close_stream(type, child);
        types[type].unref(child);
    }
}

/* A room is left and a stream ends when its handle goes; both are held until they have told their last event. */
bool ffi_handle_drop(uint64_t id)
{
    pthread_mutex_lock(&table.lock);
    entry *e = find(id);
    if (!usable(e)) {
        pthread_mutex_unlock(&table.lock);
        return false;
    }
    entry was = *e;
    bool wait = (was.type == FFI_ROOM || is_stream(was.type)) && !was.ended;
    if (wait) {
        e->dropped = true;
        was.object = types[was.type].ref(was.object);
        e = NULL;
    } else {
        (void)lk_map_take(&table.map, id);
    }
    pthread_mutex_unlock(&table.lock);
    free(e);
    if (was.type == FFI_TRACK)
        end_children(id);
    if (wait && was.type == FFI_ROOM) {
        (void)lk_room_release_events((lk_room *)was.object);
        (void)lk_room_disconnect(NULL, (lk_room *)was.object, LK_DISCONNECT_CLIENT_INITIATED, NULL);
    } else if (wait) {
        close_stream(was.type, was.object);
    }
    ffi_object_unref(was.type, was.object);
    return true;
}

void ffi_handle_release_rooms(void)
{
    size_t at = 0;
    for (bool more = true; more;) {
        lk_room *room = NULL;
        uint64_t id;
        void *value;
        pthread_mutex_lock(&table.lock);
        while (!room && (more = table.ready && lk_map_next(&table.map, &at, &id, &value))) {
            const entry *e = (const entry *)value;
            if (e->type == FFI_ROOM && e->object)
                room = lk_room_ref((lk_room *)e->object);
        }
        pthread_mutex_unlock(&table.lock);
        if (room)
            (void)lk_room_release_events(room);
        lk_room_unref(room);
    }
}

void ffi_handle_drop_all(void)
{
    size_t at = 0;
    for (bool found = false;;) {
        uint64_t id = 0;
        void *value = NULL;
        pthread_mutex_lock(&table.lock);
        bool any = table.ready && lk_map_next(&table.map, &at, &id, &value);
        if (any)
            (void)lk_map_take(&table.map, id);
        pthread_mutex_unlock(&table.lock);
        if (!any && !found)
            return;
        entry *e = (entry *)value;
        if (any)
            ffi_object_unref(e->type, e->object); /* the runtime has stopped: nothing is told any more */
        free(e);
        /* Taking moves what comes after: walk again until a whole walk finds nothing. */
        at = any ? at : 0;
        found = any;
    }
}
