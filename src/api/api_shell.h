// SPDX-License-Identifier: Apache-2.0
/* api/api_shell.h - the running half of a runtime. Loop thread only, but for what api.h declares. */
#pragma once
#include "api/api.h"
#include "api/api_source.h"
#include "api/api_stream.h"
#include "dtls/dtls.h"
#include "io/loop.h"
#include "room/room.h"
#include "ws/ws.h"

#define LK_API_SOCKETS_MAX 64
#define LK_API_LOOKUPS_MAX 8 /* names a room looks up at once; more stay unknown */

struct api_shell {
    lk_runtime *rt; /* not counted: the runtime outlives its shell */
    lk_loop *loop;
    /* Made with the first room that needs them. */
    lk_dtls_context *dtls;
    lk_tls_context *tls;
    lk_task task;
    bool posted;   /* under rt->lock, with cmds */
    lk_list cmds;
    lk_list drivers;
    lk_list streams; /* every open stream; counted */
    lk_list sources; /* those with work to do; counted */
    lk_timer op_timer, media_timer;
    bool stopping;
};

/* Runs a command that belongs to a room. */
void api_driver_run(api_shell *shell, api_cmd *cmd, lk_usec now);
/* Leaves: the streams first, then the session. op 0: nobody waits. */
void api_driver_leave(api_driver *d, lk_usec now, lk_op op, lk_disconnect_reason reason);
/* A stream that listens to a remote track or participant of this room. */
void api_driver_attach(api_driver *d, api_stream *s, lk_usec now);
void api_driver_detach(api_driver *d, api_stream *s, lk_usec now);
/* An operation is late or was given up. False: the session does not know it. */
bool api_driver_cancel(api_driver *d, lk_usec now, lk_op op, lk_err why);
/* 10 ms of a local track; takes nothing. */
void api_driver_push_audio(api_driver *d, lk_usec now, uint64_t track, struct lk_frame *frame);
void api_driver_push_video(api_driver *d, lk_usec now, uint64_t track, struct lk_picture *picture);
bool api_driver_wants_media(const api_driver *d, uint64_t track);
/* Ends it without waiting for anybody (the runtime stops and its time is up). */
void api_driver_kill(api_driver *d);
void api_shell_driver_gone(api_shell *shell);
/* The public face of a frame of the engine; moves the reference. */
lk_audio_frame *api_frame_of(struct lk_frame *frame);
api_driver *api_driver_of(lk_link *link);
/* The media clock has to be looked at again. */
void api_shell_media_changed(api_shell *shell, lk_usec now);
