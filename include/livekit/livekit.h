/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/livekit.h - the whole C API of livekit-c.
 *
 *     lk_runtime *runtime;   lk_room *room;   lk_event *event;
 *     lk_runtime_new(&runtime, NULL);
 *     lk_room_new(&room, runtime, NULL);
 *     lk_room_connect(NULL, room, "wss://example.org", token, NULL);
 *     while (lk_next_event(runtime, -1, &event) == LK_OK) {
 *         if (event->type == LK_EVENT_TRACK_SUBSCRIBED) ...
 *         lk_event_free(event);
 *     }
 *
 * Conventions (threads, ownership, errors) stand at the top of runtime.h; examples/ has whole programs.
 */
#ifndef LIVEKIT_LIVEKIT_H
#define LIVEKIT_LIVEKIT_H

#include "livekit/data.h"
#include "livekit/error.h"
#include "livekit/event.h"
#include "livekit/media.h"
#include "livekit/room.h"
#include "livekit/runtime.h"
#include "livekit/server.h"
#include "livekit/stats.h"
#include "livekit/token.h"
#include "livekit/track.h"
#include "livekit/types.h"
#include "livekit/version.h"
#include "livekit/video.h"

#endif
