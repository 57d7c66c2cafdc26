// SPDX-License-Identifier: Apache-2.0
/* api/api.h - the gate: other people's threads on one side, the loop on the other.
 *
 * In:      calls of include/livekit from any thread; events of the engines on the loop thread.
 * Out:     commands to the loop; events in one queue per runtime, in order per room.
 * Owner:   every object is counted; an lk_runtime owns one loop, one event thread and the table of operations.
 * Limits:  64 MiB of undelivered events per room, then it closes; 256 log events, 65536 user events, 4096 pending
 *          operations per runtime; streams drop their oldest frame.
 * Deviates: none.
 *
 * Two counters per object: `users` are references of the application, `refs` are everybody's; all users together
 * hold one ref. What a last user ends (a room is left, a stream is closed) happens at users == 0, memory goes at
 * refs == 0. Locks are taken in the order room, participant, publication; those of tracks, sources and streams are taken
 * alone; runtime.lock is a leaf.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/lk_base.h"
#include "livekit/livekit.h"

#define LK_API_ROOM_BYTES_MAX ((size_t)64 << 20)
#define LK_API_LOG_EVENTS_MAX 256
#define LK_API_USER_EVENTS_MAX 65536
#define LK_API_OPS_MAX 4096
#define LK_API_FRAME_BOXES_MAX 64
#define LK_API_STREAM_BYTES_MAX ((size_t)64 << 20)

typedef struct api_object {
    atomic_uint refs;
    atomic_uint users;
    void (*last_user)(struct api_object *); /* NULL: nothing happens */
    void (*destroy)(struct api_object *);
    lk_runtime *rt; /* counted by refs; NULL for objects without a runtime */
} api_object;

void api_object_init(api_object *o, lk_runtime *rt, void (*last_user)(api_object *),
                     void (*destroy)(api_object *));
void *api_user_ref(void *object);   /* object NULL ok */
void api_user_unref(void *object);  /* NULL ok */
void *api_ref(void *object);        /* NULL ok */
void api_unref(void *object);       /* NULL ok */

/* Options (a struct that begins with its size) over the defaults in out, as far as the caller knows them; from NULL: none.
 * False: their size cannot be. */
bool api_options(void *out, size_t size, const void *from);
/* A condition that is waited for with api_until: so long from now, by the monotonic clock. */
void api_cond_init(pthread_cond_t *cond);
struct timespec api_until(int32_t timeout_msec);

/* Memory of the gate: the C library's, whatever the thread. Tests replace it while nothing exists (NULL: back). */
const lk_env *api_env(void); /* memory only: for blocks that outlive every runtime */
void api_set_mem(const lk_mem *mem);
void *api_alloc0(size_t size);
void api_release(void *p, size_t size);

/* A record as one line, without secrets; target is the part of the event before its dot. */
#define API_LOG_TARGET_MAX 24
void api_log_text(char *text, size_t cap, char target[API_LOG_TARGET_MAX], const char *event, const lk_log_field *fields, size_t count);

/* ---- infos (api_info.c) ------------------------------------------------------------------------------ */
/* Each makes a counted copy of what it is given; NULL when refused. NULL strings become "". */
lk_room_info *api_room_info_new(const lk_room_info *from);
lk_participant_info *api_participant_info_new(const lk_participant_info *from);
lk_publication_info *api_publication_info_new(const lk_publication_info *from);
lk_track_info *api_track_info_new(const lk_track_info *from);

/* ---- queue (api_queue.c) ------------------------------------------------------------------------------ */
typedef enum api_node_kind { API_NODE_EVENT, API_NODE_STREAM } api_node_kind;
typedef struct api_node {
    lk_link link;
    api_node_kind kind;
} api_node;

typedef struct api_stream api_stream; /* api_stream.h: an lk_audio_stream or an lk_video_stream */

typedef struct api_box {
    api_node node;
    lk_event ev; /* what the application sees */
    lk_runtime *rt;
    lk_arena arena; /* strings and arrays of ev */
    size_t bytes;   /* what it counts against its room */
} api_box;

/* NULL when refused. Objects put into ev are counted by the box (put them with api_ref / lk_info_ref). */
api_box *api_box_new(lk_runtime *rt, lk_event_type type);
void api_box_free(api_box *box);
const char *api_box_text(api_box *box, const char *text); /* copy; "" when refused */
void *api_box_alloc(api_box *box, size_t size);           /* zeroed; NULL when refused */
/* Queues and wakes; takes the box. Room events respect the gate unless ev.type is OP_DONE. */
void api_push(api_box *box);
/* Holds or lets go what room events wait (room->held). */
void api_gate(lk_room *room, bool closed);
/* A stream got a frame or ended: queues its token once. */
void api_push_stream(api_stream *stream);
/* Under rt->lock: whether an event would reach the callback; starts its thread. */
bool api_can_deliver(lk_runtime *rt);
/* Under rt->lock: there is something in the queue. */
void api_signal(lk_runtime *rt);
/* Delivers what waits if there is a callback, then ends the event thread. */
void api_queue_drain(lk_runtime *rt);
void api_queue_clear(lk_runtime *rt);

/* ---- operations (api_op.c) ----------------------------------------------------------------------------- */
typedef struct api_pending {
    lk_op id;
    lk_op_kind kind;
    void *user_data;
    lk_usec deadline; /* LK_NEVER without */
    api_box *box;     /* its end, made with it: an end cannot fail */
    lk_room *room;    /* refs */
    lk_track *track;
    lk_audio_source *source;
} api_pending;

/* Registers; id is written into *out. object refs are taken. FULL -> LK_ERR_LIMIT. */
lk_err api_op_new(lk_op *out, lk_runtime *rt, lk_op_kind kind, lk_room *room, lk_track *track,
                  lk_audio_source *source, const lk_op_options *how, uint32_t default_msec);
/* Ends an operation, always. box NULL: a plain result. A second end of the same id frees box and is false. */
bool api_op_end(lk_runtime *rt, lk_op id, const lk_error *error, api_box *box);
/* Ends without any event (the caller is told by a return value). False: somebody else has ended it, an event tells. */
bool api_op_forget(lk_runtime *rt, lk_op id);
/* What a pending operation is about. False: it has ended. *track: counted, may be NULL. */
bool api_op_find(lk_runtime *rt, lk_op id, lk_op_kind *kind, lk_track **track);
/* Earliest deadline of all. */
lk_usec api_op_deadline(lk_runtime *rt);
/* Takes the ids due at now (at most capacity), for the loop to end. */
size_t api_op_due(lk_runtime *rt, lk_usec now, lk_op *out, lk_op_kind *kinds, size_t capacity);
/* All pending ids of a room (NULL: of everybody); at most capacity. */
size_t api_op_of(lk_runtime *rt, const lk_room *room, lk_op *out, size_t capacity);

/* Makes an error with text; text is cut at 159 bytes and never NULL. */
lk_error api_error(lk_err code, const char *text);

/* ---- runtime -------------------------------------------------------------------------------------------- */
typedef struct api_shell api_shell; /* the running half: loop, rooms on it (api_shell.c) */

typedef enum api_run {
    API_RUN_IDLE,     /* nothing started yet */
    API_RUN_ON,
    API_RUN_STOPPING, /* nothing new may start */
    API_RUN_STOPPED,
} api_run;

struct lk_runtime {
    api_object o;
    pid_t pid;
    lk_env env;
    lk_log_sink sink;
    lk_log_fn log;
    void *log_user_data;
    bool log_events;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t cond;
    char sdk_name[64], sdk_version[64];
    lk_list queue;
    size_t log_count, user_count;
    lk_list spare; /* boxes of audio frames to be used again */
    int fd;
    bool fd_ready;
    api_run run;
    void (*wakeup)(void *);
    void *wakeup_user_data;
    void (*callback)(void *, const lk_event *);
    void *callback_user_data;
    pthread_t thread;
    bool thread_on, thread_quit, thread_detached;
    int callback_depth;
    lk_map ops;
    uint64_t log_lost;

    api_shell *shell; /* NULL unless run is ON or STOPPING */
    bool drivers_gone; /* while stopping: every room has been left */
    bool dead;         /* the last user has gone: nothing starts any more */

    pthread_mutex_t start_lock; /* taken before lock; one start or stop at a time */
    const char *dns_servers;    /* tests; NULL: the system's */
};

/* LK_OK, or why the call is refused: LK_ERR_FORKED. */
static inline lk_err api_check(const lk_runtime *rt);
lk_usec api_now(void);
const lk_log_sink *api_sink(lk_runtime *rt);

#include <unistd.h>
static inline lk_err api_check(const lk_runtime *rt)
{
    return rt->pid == getpid() ? LK_OK : LK_ERR_FORKED;
}

/* ---- objects ---------------------------------------------------------------------------------------------- */
typedef enum api_room_phase {
    API_ROOM_IDLE,
    API_ROOM_CONNECTING,
    API_ROOM_CONNECTED,
    API_ROOM_CLOSING,
} api_room_phase;

typedef struct api_driver api_driver; /* the engine of a room and its sockets (api_driver.c), loop thread */

typedef struct api_list {
    void **items; /* counted by refs */
    size_t count, cap;
} api_list;

struct lk_room {
    api_object o;
    pthread_mutex_t lock; /* all below but options */
    lk_room_options options; /* texts in the arena; never changes */
    lk_arena arena;
    api_room_phase phase;
    lk_room_info *info;
    lk_participant *local;
    api_list members;
    /* under runtime.lock */
    bool gate_closed, gate_expired;
    lk_list held;
    size_t bytes;
    bool overflow;
    /* loop thread */
    api_driver *driver;
};

struct lk_participant {
    api_object o;
    uint64_t id; /* of the session */
    pthread_mutex_t lock;
    lk_room *room; /* refs; the room lets go of its members when it closes */
    bool is_local;
    lk_participant_info *info;
    api_list publications;
};

struct lk_publication {
    api_object o;
    uint64_t id; /* of the session */
    pthread_mutex_t lock;
    lk_room *room;
    bool is_local;
    lk_publication_info *info;
    lk_track *track;
};

struct lk_track {
    api_object o;
    uint64_t id; /* of the session; of the process when local */
    pthread_mutex_t lock;
    bool is_local;
    lk_track_info *info;
    lk_audio_source *source; /* local: one of the two */
    lk_video_source *video;
    lk_room *room;           /* where it is published or comes from; NULL before */
    bool published;          /* local: as told by publish and unpublish */
};

/* With users == 0 and one ref, for the engine's maps. NULL when refused. */
lk_participant *api_participant_new(lk_room *room, uint64_t id, const lk_participant_info *info);
lk_publication *api_publication_new(lk_room *room, uint64_t id, const lk_publication_info *info);
lk_track *api_track_new_remote(lk_room *room, uint64_t id, const lk_track_info *info);
bool api_list_add(api_list *list, void *object);    /* counts it */
bool api_list_remove(api_list *list, void *object); /* uncounts it */
void api_list_clear(api_list *list);
/* At most capacity of them, each for the application; returns how many there are. */
size_t api_list_copy(const api_list *list, void **out, size_t capacity);
/* Maps of counted objects. False: refused, and nothing changed. */
bool api_map_put(lk_map *m, uint64_t id, void *object);
void api_map_drop(lk_map *m, uint64_t id);
void api_map_clear(lk_map *m); /* and frees it */
/* Swaps the info of an object under its lock; takes info. NULL is ignored. */
void api_set_participant_info(lk_participant *p, lk_participant_info *info);
void api_set_publication_info(lk_publication *p, lk_publication_info *info);
void api_set_track_info(lk_track *t, lk_track_info *info);
/* The newest info of an object, counted. */
const lk_participant_info *api_participant_info(const lk_participant *p);
const lk_publication_info *api_publication_info(const lk_publication *p);
const lk_track_info *api_track_info(const lk_track *t);
const lk_room_info *api_room_info(const lk_room *r);
void api_set_room_info(lk_room *r, lk_room_info *info);
bool api_room_is_connected(lk_room *room);

const char *api_arena_text(lk_arena *arena, const char *text); /* NULL when refused */

/* ---- commands to the loop (api_shell.c) ------------------------------------------------------------------ */
typedef enum api_cmd_kind {
    API_CMD_CONNECT,      /* room, op, text (url), text2 (token, a secret) */
    API_CMD_DISCONNECT,   /* room, op (0: nobody waits), number (reason) */
    API_CMD_PUBLISH,      /* room, op, track, publish */
    API_CMD_UNPUBLISH,    /* room, op, text (sid) */
    API_CMD_METADATA,     /* room, op, text */
    API_CMD_NAME,         /* room, op, text */
    API_CMD_ATTRIBUTES,   /* room, op, attributes, count */
    API_CMD_PERMISSIONS,  /* room, flag, permissions, count */
    API_CMD_ROOM_STATS,   /* room, op */
    API_CMD_TRACK_STATS,  /* room, op, track */
    API_CMD_MUTED,        /* room, track, flag */
    API_CMD_SUBSCRIBED,   /* room, publication, flag */
    API_CMD_ENABLED,      /* room, publication, flag */
    API_CMD_QUALITY,      /* room, publication, number */
    API_CMD_DIMENSIONS,   /* room, publication, number (width), count (height) */
    API_CMD_STREAM_OPEN,  /* stream */
    API_CMD_STREAM_CLOSE, /* stream */
    API_CMD_CANCEL,       /* room, op, number (lk_err) */
    API_CMD_DATA,         /* room, op, data, data_len, data_options */
    API_CMD_THRESHOLD,    /* room, flag (reliable), number */
    API_CMD_SOURCE,       /* source: its clock may have to run */
    API_CMD_PICTURE,      /* video_source: it has a new picture */
} api_cmd_kind;

typedef struct api_cmd {
    lk_link link;
    api_cmd_kind kind;
    lk_op op;
    int64_t number;
    bool flag;
    lk_room *room; /* objects are counted by refs */
    lk_track *track;
    lk_publication *publication;
    lk_audio_source *source;
    lk_video_source *video_source;
    api_stream *stream;
    const char *text, *text2; /* in the arena */
    const lk_attribute *attributes;
    const lk_track_permission *permissions;
    size_t count;
    lk_publish_options publish;
    lk_data_options data_options;
    const uint8_t *data;
    lk_arena arena;
} api_cmd;

/* NULL when refused. */
api_cmd *api_cmd_new(api_cmd_kind kind, lk_room *room);
const char *api_cmd_text(api_cmd *cmd, const char *text); /* NULL when refused */
void api_cmd_free(api_cmd *cmd);
/* Takes the command, starts the shell if need be. CLOSED while the runtime stops, NOMEM, INTERNAL (no thread). */
lk_err api_submit(lk_runtime *rt, api_cmd *cmd);
/* The same for a command that ends something: without a running shell there is nothing to end (CLOSED). NULL: NOMEM. */
lk_err api_submit_end(lk_runtime *rt, api_cmd *cmd);
/* Leaves all rooms, ends all streams and operations, joins the loop. */
void api_shell_stop(lk_runtime *rt);
