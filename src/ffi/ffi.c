// SPDX-License-Identifier: Apache-2.0
/* The four exports, the life of the runtime behind them, and the dispatch of requests. */
#include "ffi/ffi.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "ffi/ffi_calls.h"
#include "ffi/livekit_ffi.h"

static struct {
    pthread_mutex_t lock;
    livekit_ffi_callback callback;
    bool capture_logs, disposing;
    char sdk[64], sdk_version[64];
    lk_runtime *rt; /* NULL until a request needs it, and after dispose */
    pid_t pid;      /* of the process that made it; 0: none yet */
} ffi = {.lock = PTHREAD_MUTEX_INITIALIZER, .sdk = "cpp", .sdk_version = ""};

/* In a child of the process that used us there are no threads: nothing may be begun or waited for. */
static bool is_child(void) { return ffi.pid != 0 && ffi.pid != getpid(); }

/* ---- runtime --------------------------------------------------------------------------------------------- */

static void discard_log(void *ctx, lk_log_level level, const char *target, const char *text)
{
    LK_UNUSED(ctx);
    LK_UNUSED(level);
    LK_UNUSED(target);
    LK_UNUSED(text);
}

static lk_log_level wanted_level(void)
{
    const char *debug = getenv("LIVEKIT_RTC_DEBUG");
    return debug && (strcmp(debug, "1") == 0 || strcmp(debug, "true") == 0) ? LK_LOG_DEBUG : LK_LOG_WARN;
}

/* A counted reference of the runtime, made if need be; NULL: refused. */
static lk_runtime *get_runtime(void)
{
    lk_runtime *rt = NULL;
    pthread_mutex_lock(&ffi.lock);
    if (!ffi.rt && !ffi.disposing) {
        lk_runtime_options o;
        lk_runtime_options_init(&o);
        o.log_level = wanted_level();
        o.log = discard_log; /* a library does not write to stderr on its own */
        o.log_events = true; /* whether they are delivered may change at any time */
        o.sdk_name = ffi.sdk;
        o.sdk_version = ffi.sdk_version;
        if (lk_runtime_new(&rt, &o) == LK_OK) {
            if (lk_runtime_set_callback(rt, ffi_on_event, NULL) == LK_OK) {
                ffi.rt = rt;
                ffi.pid = getpid();
            } else {
                lk_runtime_unref(rt);
            }
        }
    }
    rt = ffi.rt ? lk_runtime_ref(ffi.rt) : NULL;
    pthread_mutex_unlock(&ffi.lock);
    return rt;
}

void livekit_ffi_initialize(livekit_ffi_callback callback, bool capture_logs, const char *sdk, const char *sdk_version)
{
    if (is_child())
        return;
    pthread_mutex_lock(&ffi.lock);
    ffi.callback = callback;
    ffi.capture_logs = capture_logs;
    (void)lk_str_copy(ffi.sdk, sizeof ffi.sdk, lk_str_of(sdk ? sdk : ""));
    (void)lk_str_copy(ffi.sdk_version, sizeof ffi.sdk_version, lk_str_of(sdk_version ? sdk_version : ""));
    lk_runtime *rt = ffi.rt ? lk_runtime_ref(ffi.rt) : NULL;
    pthread_mutex_unlock(&ffi.lock);
    if (rt)
        (void)lk_runtime_set_sdk(rt, ffi.sdk, ffi.sdk_version);
    lk_runtime_unref(rt);
}

/* quiet: the client's callback is forgotten before the rooms are closed. */
static void dispose(bool quiet)
{
    pthread_mutex_lock(&ffi.lock);
    lk_runtime *rt = ffi.disposing ? NULL : ffi.rt;
    ffi.disposing = ffi.disposing || rt;
    if (quiet)
        ffi.callback = NULL;
    pthread_mutex_unlock(&ffi.lock);
    if (!rt)
        return;
    ffi_handle_release_rooms(); /* their ends are told, ready or not */
    (void)lk_runtime_stop(rt);  /* delivers the last events, then no callback runs any more */
    pthread_mutex_lock(&ffi.lock);
    ffi.callback = NULL;
    ffi.rt = NULL;
    pthread_mutex_unlock(&ffi.lock);
    ffi_handle_drop_all();
    lk_runtime_unref(rt);
    pthread_mutex_lock(&ffi.lock);
    ffi.disposing = false;
    pthread_mutex_unlock(&ffi.lock);
}

void livekit_ffi_dispose(void)
{
    if (!is_child())
        dispose(false);
}

bool livekit_ffi_drop_handle(uint64_t handle)
{
    if (is_child())
        return false;
    if (ffi_handle_drop(handle))
        return true;
    char number[LK_STR_FMT_MAX];
    pthread_mutex_lock(&ffi.lock);
    lk_runtime *rt = ffi.rt ? lk_runtime_ref(ffi.rt) : NULL;
    pthread_mutex_unlock(&ffi.lock);
    if (rt)
        ffi_log(rt, LK_LOG_WARN, "Attempted to drop unknown FFI handle: ", lk_u64_text(handle, number));
    lk_runtime_unref(rt);
    return false;
}

/* ---- events out ------------------------------------------------------------------------------------------------ */

bool ffi_captures_logs(void)
{
    pthread_mutex_lock(&ffi.lock);
    bool captures = ffi.callback && ffi.capture_logs;
    pthread_mutex_unlock(&ffi.lock);
    return captures;
}

void ffi_deliver(ffi_build *b, Livekit__Proto__FfiEvent *event)
{
    lk_bytes bytes;
    if (b->bad || lk_pbuf_complete_event(event, &b->arena) != LK_OK || lk_pbuf_pack(&event->base, &b->arena, &bytes) != LK_OK)
        return; /* no memory for it: what it owns stays in the handle table until dispose */
    pthread_mutex_lock(&ffi.lock);
    livekit_ffi_callback callback = ffi.callback;
    pthread_mutex_unlock(&ffi.lock);
    if (callback)
        callback(bytes.data, bytes.len);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

bool ffi_reject(ffi_call *c, const char *why)
{
    (void)lk_str_copy(c->why, sizeof c->why, lk_str_of(why));
    return false;
}

bool ffi_reject_err(ffi_call *c, lk_err err) { return ffi_reject(c, lk_err_text(err)); }

bool ffi_do_dispose(ffi_call *c, const Livekit__Proto__DisposeRequest *m, Livekit__Proto__DisposeResponse *r)
{
    LK_UNUSED(c);
    LK_UNUSED(m);
    LK_UNUSED(r);
    dispose(true);
    return true;
}

typedef enum row_kind { ROW_CALL, ROW_LATER, ROW_SAY, ROW_REFUSE } row_kind;
typedef struct ffi_row {
    uint32_t request, response, event, number, id_number;
    row_kind kind;
    bool (*call)(ffi_call *c);
    const char *name;
} ffi_row;

#define CALL(name, NAME) \
    static bool call_##name(ffi_call *c) { return ffi_do_##name(c, c->request->name, c->response.name); }
#define LATER(NAME, id, ANSWER, EVENT, number)
#define SAY(NAME, number)
#define REFUSE(NAME)
#include "ffi/ffi_table.inc"
#undef CALL
#undef LATER
#undef SAY
#undef REFUSE

static const ffi_row rows[] = {
#define REQUEST(NAME) .request = LIVEKIT__PROTO__FFI_REQUEST__MESSAGE_##NAME, .name = #NAME
#define RESPONSE(NAME) .response = LIVEKIT__PROTO__FFI_RESPONSE__MESSAGE_##NAME
#define CALL(name_, NAME) {REQUEST(NAME), RESPONSE(NAME), .kind = ROW_CALL, .call = call_##name_},
#define LATER(NAME, id, ANSWER, EVENT, number_) \
    {REQUEST(NAME),        RESPONSE(ANSWER), .event = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_##EVENT, .number = (number_), .id_number = (id), \
     .kind = ROW_LATER},
#define SAY(NAME, number_) {REQUEST(NAME), RESPONSE(NAME), .number = (number_), .kind = ROW_SAY},
#define REFUSE(NAME) {REQUEST(NAME), .kind = ROW_REFUSE},
#include "ffi/ffi_table.inc"
};

static const ffi_row *find_row(uint32_t request)
{
    for (size_t i = 0; i < LK_LEN(rows); i++)
        if (rows[i].request == request)
            return &rows[i];
    return NULL;
}

/* "PUBLISH_DATA" -> "publish_data: not built yet" */
static void say_not_built(const ffi_row *row, char out[LK_FFI_WHY_MAX])
{
    size_t n = 0;
    for (const char *p = row->name; *p && n < 100; p++)
        out[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    (void)lk_str_copy(out + n, LK_FFI_WHY_MAX - n, lk_str_of(": not built yet"));
}

static bool answer_later(ffi_call *c, const ffi_row *row, ProtobufCMessage *response)
{
    char text[LK_FFI_WHY_MAX];
    const ProtobufCFieldDescriptor *f = ffi_field(&c->request->base, row->request);
    const ProtobufCMessage *m = *(ProtobufCMessage *const *)(const void *)((const char *)c->request + f->offset);
    f = ffi_field(m, row->id_number);
    bool has = *(const protobuf_c_boolean *)(const void *)((const char *)m + f->quantifier_offset);
    ffi_op *op = ffi_op_new(c, row->event, row->number, has, *(const uint64_t *)(const void *)((const char *)m + f->offset));
    if (!op)
        return ffi_reject_err(c, LK_ERR_NOMEM);
    say_not_built(row, text);
    ffi_set_u64(response, 1, op->async_id);
    ffi_op_begun(c, op, LK_ERR_UNSUPPORTED, text);
    return true;
}

static bool run_row(ffi_call *c, const ffi_row *row)
{
    if (row->kind == ROW_REFUSE) {
        say_not_built(row, c->why);
        return false;
    }
    ProtobufCMessage *response = ffi_set_message(&c->build, &c->response.base, row->response);
    if (row->kind == ROW_CALL)
        return row->call(c);
    if (row->kind == ROW_LATER)
        return answer_later(c, row, response);
    say_not_built(row, c->why);
    char *copy = (char *)ffi_alloc(&c->build, LK_FFI_WHY_MAX);
    (void)lk_str_copy(copy, c->build.bad ? 1 : LK_FFI_WHY_MAX, lk_str_of(c->why));
    ffi_set_error(&c->build, response, row->number, copy);
    return true;
}

/* 0, and the reason in c->why; else the handle of the answer. */
static uint64_t handle_request(ffi_call *c, const uint8_t *data, size_t len, const uint8_t **res, size_t *res_len)
{
    ProtobufCMessage *request;
    lk_err err = len > LK_FFI_REQUEST_MAX ? LK_ERR_LIMIT
                                          : lk_pbuf_unpack(&livekit__proto__ffi_request__descriptor, &c->build.arena,
                                                           (lk_bytes){data, len}, &request);
    if (err) {
        lk_error why;
        (void)lk_str_copy(why.text, sizeof why.text, lk_str_of("failed to decode request: "));
        (void)lk_str_copy(why.text + 26, sizeof why.text - 26, lk_str_of(lk_err_text(err)));
        ffi_reject(c, why.text);
        return 0;
    }
    c->request = (const Livekit__Proto__FfiRequest *)request;
    const ffi_row *row = find_row((uint32_t)c->request->message_case);
    if (!row) {
        ffi_reject(c, "message is empty");
        return 0;
    }
    if (!run_row(c, row) || c->unanswerable)
        return 0;
    if (c->build.bad || lk_pbuf_complete_response(&c->response, &c->build.arena) != LK_OK) {
        ffi_reject_err(c, LK_ERR_NOMEM);
        return 0;
    }
    size_t size = lk_pbuf_size(&c->response.base);
    uint8_t *body = (uint8_t *)malloc(size ? size : 1);
    uint64_t handle = body ? ffi_handle_new(FFI_RESPONSE, body, size) : 0;
    if (!handle) {
        ffi_reject_err(c, LK_ERR_NOMEM);
        return 0;
    }
    lk_wr w = lk_wr_of(body, size);
    lk_pbuf_pack_into(&c->response.base, &w);
    *res = body;
    *res_len = size;
    return handle;
}

uint64_t livekit_ffi_request(const uint8_t *data, size_t len, const uint8_t **res, size_t *res_len)
{
    ffi_call c;
    if (is_child() || !res || !res_len)
        return 0;
    memset(&c, 0, sizeof c);
    c.rt = get_runtime();
    if (!c.rt)
        return 0;
    c.response = (Livekit__Proto__FfiResponse)LIVEKIT__PROTO__FFI_RESPONSE__INIT;
    ffi_build_init(&c.build);
    uint64_t handle = handle_request(&c, data ? data : (const uint8_t *)"", data ? len : 0, res, res_len);
    if (!handle)
        ffi_log(c.rt, LK_LOG_ERROR, "failed to handle request: ", c.why);
    ffi_build_deinit(&c.build);
    lk_runtime_unref(c.rt);
    return handle;
}
