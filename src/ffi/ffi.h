// SPDX-License-Identifier: Apache-2.0
/* ffi/ffi.h - the C ABI of the stock library over include/livekit: requests in, answers and events out.
 *
 * In:      serialized FfiRequest on any thread; events of the runtime on its one callback thread.
 * Out:     serialized FfiResponse; FfiEvent through the callback of livekit_ffi_initialize.
 * Owner:   one process-wide state; the runtime in it starts with the first request that needs it.
 * Limits:  LK_FFI_HANDLES_MAX handles; a request of 64 MiB.
 * Deviates: see docs/ffi.md.
 *
 * Every handle a client ever sees is one row of the handle table: a number, a type, one reference.
 */
#pragma once
#include "base/lk_base.h"
#include "livekit/livekit.h"
#include "pbuf/pbuf_ffi.h"

#define LK_FFI_HANDLES_MAX (1u << 22)
#define LK_FFI_REQUEST_MAX (64u << 20)
#define LK_FFI_MESSAGE_MAX (256u << 20)
#define LK_FFI_WHY_MAX 200

/* ---- building messages ------------------------------------------------------------------------------- */

/* Memory of one message. A refused allocation marks it bad and gives scratch memory, so that builders need no checks; a
 * bad message is never sent. */
typedef struct ffi_build {
    lk_arena arena;
    bool bad;
} ffi_build;

void ffi_build_init(ffi_build *b);
void ffi_build_deinit(ffi_build *b);
void *ffi_alloc(ffi_build *b, size_t size); /* zeroed */
void *ffi_new(ffi_build *b, const ProtobufCMessageDescriptor *type);
#define NEW(build, lower) ffi_new((build), &livekit__proto__##lower##__descriptor)
/* Text is borrowed by the message: it must live until it is packed. */
#define TEXT(z) ((char *)(uintptr_t)((z) ? (z) : ""))
/* Field of a message by number; NULL: none. */
const ProtobufCFieldDescriptor *ffi_field(const ProtobufCMessage *m, uint32_t number);
/* Sets a string or uint64 field by number, also inside a oneof. */
void ffi_set_text(ProtobufCMessage *m, uint32_t number, const char *text);
void ffi_set_u64(ProtobufCMessage *m, uint32_t number, uint64_t value);
/* Sets an error field: a string, or a message that holds one. */
void ffi_set_error(ffi_build *b, ProtobufCMessage *m, uint32_t number, const char *text);
/* Makes the sub-message of a field, also inside a oneof. */
ProtobufCMessage *ffi_set_message(ffi_build *b, ProtobufCMessage *m, uint32_t number);

/* ---- handles -------------------------------------------------------------------------------------------- */

typedef enum ffi_type {
    FFI_RESPONSE = 1,
    FFI_ROOM,
    FFI_PARTICIPANT,
    FFI_PUBLICATION,
    FFI_TRACK,
    FFI_AUDIO_SOURCE,
    FFI_AUDIO_STREAM,
    FFI_AUDIO_FRAME,
    FFI_RESAMPLER, /* single frames; ffi_convert.c */
    FFI_SOX,
    FFI_VIDEO_SOURCE,
    FFI_VIDEO_STREAM,
    FFI_BUFFER, /* bytes of a data packet */
    FFI_VIDEO_FRAME,
} ffi_type;

uint64_t ffi_next_id(void); /* of handles and async ids: never 0, never reused */
/* Puts an object under a number; takes the reference (also when refused). */
lk_err ffi_handle_put(uint64_t id, ffi_type type, void *object, size_t size);
/* A new number; 0: refused. */
uint64_t ffi_handle_new(ffi_type type, void *object, size_t size);
/* For an object whose events carry its number: the number first (0: refused), then the object, whose reference is taken;
 * or nothing after all. parent: 0, or the track of a stream. The client can neither use nor drop it before. */
uint64_t ffi_handle_reserve(ffi_type type, uint64_t parent);
void ffi_handle_open(uint64_t id, ffi_type type, void *object);
void ffi_handle_cancel(uint64_t id);
void ffi_object_unref(ffi_type type, void *object);
/* Rooms and streams. Are events still wanted: has the client not dropped it? */
bool ffi_handle_heard(uint64_t id);
/* Its last event was told: what was dropped before goes now. */
void ffi_handle_ended(uint64_t id);
bool ffi_handle_drop(uint64_t id);
void ffi_handle_drop_all(void);
/* The client's number of an object, 0: none. */
uint64_t ffi_handle_find(ffi_type type, const void *object);
/* Lets the events of every room go. */
void ffi_handle_release_rooms(void);

/* ---- one request -------------------------------------------------------------------------------------------- */

typedef struct ffi_call {
    const Livekit__Proto__FfiRequest *request;
    Livekit__Proto__FfiResponse response;
    ffi_build build;
    lk_runtime *rt;
    bool answered; /* the callback that says what is wrong is on its way */
    bool unanswerable; /* and this one cannot be sent: the request is rejected */
    char why[LK_FFI_WHY_MAX]; /* of a rejection */
} ffi_call;

/* Remembers why; returns false: `return ffi_reject(c, "...")`. */
bool ffi_reject(ffi_call *c, const char *why);
bool ffi_reject_err(ffi_call *c, lk_err err);
/* A counted object of that type; NULL: rejected. Drop it with ffi_object_unref. */
void *ffi_handle_get(ffi_call *c, uint64_t id, ffi_type type);

/* What an operation needs to be answered; user_data of the operation. */
typedef struct ffi_op {
    uint32_t event;        /* number of the FfiEvent */
    uint32_t error_number; /* of the error field of that event's message */
    uint64_t async_id;
    lk_error error;  /* of one that failed before it began, or text of a log record */
    lk_room *room;   /* of a connect; counted */
    lk_log_level level;
    bool is_log;
} ffi_op;

/* has/given: request_async_id of the request. NULL when refused. */
ffi_op *ffi_op_new(ffi_call *c, uint32_t event, uint32_t error_number, bool has, uint64_t given);
void ffi_op_free(ffi_op *op);
/* Ends an operation that did not begin (err != OK): its callback event follows. Does nothing for OK. */
void ffi_op_begun(ffi_call *c, ffi_op *op, lk_err err, const char *text);
/* A log record for the client, by way of the queue. */
void ffi_log(lk_runtime *rt, lk_log_level level, const char *text, const char *more);

/* ---- infos, stats --------------------------------------------------------------------------------------------- */

Livekit__Proto__RoomInfo *ffi_room_info(ffi_build *b, const lk_room_info *from);
Livekit__Proto__ParticipantInfo *ffi_participant_info(ffi_build *b, const lk_participant_info *from);
Livekit__Proto__TrackPublicationInfo *ffi_publication_info(ffi_build *b, const lk_publication_info *from);
Livekit__Proto__TrackInfo *ffi_track_info(ffi_build *b, const lk_track_info *from);
Livekit__Proto__ParticipantPermission *ffi_permission(ffi_build *b, const lk_permission *from);
/* With a new handle that owns a reference of the object. */
Livekit__Proto__OwnedParticipant *ffi_own_participant(ffi_build *b, lk_participant *p, const lk_participant_info *info);
Livekit__Proto__OwnedTrackPublication *ffi_own_publication(ffi_build *b, lk_publication *p, const lk_publication_info *info);
Livekit__Proto__OwnedTrack *ffi_own_track(ffi_build *b, lk_track *t, const lk_track_info *info);
Livekit__Proto__OwnedAudioFrameBuffer *ffi_own_frame(ffi_build *b, lk_audio_frame *frame); /* takes the reference */
Livekit__Proto__FfiOwnedHandle *ffi_owned(ffi_build *b, uint64_t id);
size_t ffi_stats(ffi_build *b, const lk_stats *from, size_t count, Livekit__Proto__RtcStats ***out);

/* ---- pictures (ffi_video.c) -------------------------------------------------------------------------------------- */

/* A look at the client's buffer, good for the request. NULL, or what is wrong with it; what is wrong with formats, planes
 * and strides themselves is found by whoever takes the view. */
const char *ffi_video_view(lk_video_view *out, const Livekit__Proto__VideoBufferInfo *m);
Livekit__Proto__OwnedVideoBuffer *ffi_own_picture(ffi_build *b, lk_video_frame *frame); /* takes the reference */

/* ---- converters (ffi_convert.c) ----------------------------------------------------------------------------------- */

void *ffi_converter_ref(void *converter);
void ffi_converter_unref(void *converter); /* NULL ok */

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* Callback of the runtime: turns an event into FfiEvents for the client. */
void ffi_on_event(void *ctx, const lk_event *e);
/* Does the client want log records? */
bool ffi_captures_logs(void);
/* Completes, packs and delivers; event borrowed. */
void ffi_deliver(ffi_build *b, Livekit__Proto__FfiEvent *event);
