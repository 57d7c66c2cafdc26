/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/runtime.h - the engine of a process: its threads, its event queue, its pending operations, its log.
 *
 * Words used in every contract:
 *   LK_ANY     any thread, concurrently, also from inside a callback of ours; does not wait for the network.
 *   LK_BLOCKS  as LK_ANY, but may wait: the contract says for what and for how long.
 *   borrow     the library uses the pointer during the call only.
 *   give       the caller owns what it got and ends it with the function named.
 * Objects are reference counted. x_new gives one reference, x_ref adds one, x_unref drops one and accepts NULL.
 * Dropping the last reference is legal everywhere, inside callbacks too. After fork() every call on an object of
 * the parent returns LK_ERR_FORKED (calls without a status do nothing).
 *
 * Out-parameters stand first and are written only on success. Unless a contract says otherwise a function that
 * returns lk_err can return LK_ERR_INVALID (a NULL or out-of-range argument), LK_ERR_NOMEM and LK_ERR_FORKED.
 */
#ifndef LIVEKIT_RUNTIME_H
#define LIVEKIT_RUNTIME_H

#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_runtime lk_runtime;
typedef struct lk_event lk_event; /* event.h */

/* ---- options -------------------------------------------------------------------------------------- */

/* One log record. text is "name key=value ..." on one line, without secrets. Called on any thread of ours: must
 * not block and must not call back into the library. target is the module ("ice", "room", ...). */
typedef void (*lk_log_fn)(void *user_data, lk_log_level level, const char *target, const char *text);

typedef struct lk_runtime_options {
    uint32_t size; /* set by lk_runtime_options_init */
    lk_log_level log_level;   /* records above it are not built; default LK_LOG_WARN */
    lk_log_fn log;            /* NULL: records go to stderr, or nowhere if log_events is set */
    void *log_user_data;
    bool log_events;          /* also queue records as LK_EVENT_LOG; at most 256 wait, then they are counted and dropped */
    const char *sdk_name;     /* told to the server: "c" by default; see lk_runtime_set_sdk */
    const char *sdk_version;  /* default lk_version() */
} lk_runtime_options;

/* Fills in the defaults. options not NULL. LK_ANY. */
LK_API void lk_runtime_options_init(lk_runtime_options *options);

/* ---- life ------------------------------------------------------------------------------------------ */

/* Makes a runtime. No thread starts and nothing is opened before the first object needs it.
 * options: borrow, NULL for the defaults. Give: lk_runtime_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_runtime_new(lk_runtime **out, const lk_runtime_options *options);

/* One more reference; returns runtime. LK_ANY. */
LK_API lk_runtime *lk_runtime_ref(lk_runtime *runtime);

/* Drops a reference. The last one is lk_runtime_stop without delivering events; objects of the runtime may
 * outlive it, their calls then return LK_ERR_CLOSED. LK_BLOCKS as lk_runtime_stop. */
LK_API void lk_runtime_unref(lk_runtime *runtime);

/* Closes every room as lk_room_disconnect does, ends every stream, answers every pending operation (cancelled at
 * once, or done), then joins all threads. With a callback set, all of those events are delivered before it
 * returns and no callback runs after it; without one they stay in the queue for lk_next_event, which then says
 * LK_ERR_CLOSED. Called inside a callback it returns when that callback is the only one left to return. The
 * runtime can be used again: the next object starts it. Leaving is told to the servers but their answer is not
 * waited for longer than 1 s. LK_BLOCKS up to 2 s, plus the time the user's own callbacks take. */
LK_API lk_err lk_runtime_stop(lk_runtime *runtime);

/* Name and version told to servers as the SDK from the next connect on ("python", "cpp", ...; unknown names are
 * told as they are). Strings: borrow, at most 63 bytes each are kept; NULL leaves one as it is. LK_ANY. */
LK_API lk_err lk_runtime_set_sdk(lk_runtime *runtime, const char *name, const char *version);

/* Level above which records are not built, from now on. LK_ANY. */
LK_API lk_err lk_runtime_set_log_level(lk_runtime *runtime, lk_log_level level);

/* ---- events ---------------------------------------------------------------------------------------- */

/* Takes the oldest event. Events of one room, of its operations and of its streams keep their order.
 * timeout_msec: 0 polls, -1 waits without limit. Give: lk_event_free. LK_ERR_TIMEOUT: none came (also for 0);
 * LK_ERR_CLOSED: stopped and empty; LK_ERR_STATE: a callback is set. LK_BLOCKS for timeout_msec. */
LK_API LK_NODISCARD lk_err lk_next_event(lk_runtime *runtime, int32_t timeout_msec, lk_event **event);

/* Ends an event with everything it borrowed out. NULL ok. LK_ANY. */
LK_API void lk_event_free(lk_event *event);

/* wakeup runs whenever the queue stops being empty, on any thread of ours: it must not block and must not call
 * the library; it is for posting to the loop of the caller. NULL takes it away; the old one does not run once
 * this has returned. LK_ANY. */
LK_API lk_err lk_runtime_set_wakeup(lk_runtime *runtime, void (*wakeup)(void *user_data),
                                    void *user_data);

/* A descriptor that polls readable while events wait (level-triggered), for poll, epoll and friends; only poll
 * it. It belongs to the runtime and lives until the last lk_runtime_unref. Returns -1 if none can be made. LK_ANY. */
LK_API int lk_runtime_fd(lk_runtime *runtime);

/* Delivers every event to callback on one thread of ours, one after the other. The event is borrowed. Every
 * function may be called inside; a slow callback delays events, never media. Replacing one waits until the old
 * one is not running (not when called inside it). NULL goes back to lk_next_event. LK_BLOCKS for the running
 * callback. */
LK_API lk_err lk_runtime_set_callback(lk_runtime *runtime,
                                      void (*callback)(void *user_data, const lk_event *event),
                                      void *user_data);

/* Puts an LK_EVENT_USER behind all events queued so far; value comes back in event->user_value and user_data in
 * event->user_data. Wakes up whoever waits. LK_ERR_FULL when 65536 of them wait, LK_ERR_SYSTEM when
 * there is no thread for the callback. LK_ANY. */
LK_API lk_err lk_post_event(lk_runtime *runtime, uint64_t user_value, void *user_data);

/* ---- operations ------------------------------------------------------------------------------------ */

/* Everything that takes time is an operation: the call returns its id at once and exactly one LK_EVENT_OP_DONE
 * ends it: with LK_OK and a result, or with an error. Ids are unique in the process, never 0, never reused. */
typedef uint64_t lk_op;

/* How one operation is to be run; pass NULL for the defaults. */
typedef struct lk_op_options {
    uint32_t size;         /* set by lk_op_options_init */
    uint32_t timeout_msec; /* ends with LK_ERR_TIMEOUT after this; 0: the default named at the call */
    void *user_data;       /* comes back in event->user_data */
} lk_op_options;

/* Fills in the defaults. LK_ANY. */
LK_API void lk_op_options_init(lk_op_options *options);

/* Gives an operation up: it ends with LK_ERR_CANCELLED, its effect is undone where that is possible (a connect is
 * aborted, a publication taken back). LK_ERR_NOT_FOUND: no such operation, or its end is already queued. LK_ANY. */
LK_API lk_err lk_op_cancel(lk_runtime *runtime, lk_op op);

#ifdef __cplusplus
}
#endif
#endif
