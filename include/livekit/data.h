/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/data.h - messages to the others in a room, beside its media.
 *
 * Words of the contracts are explained in runtime.h. What arrives are events: LK_EVENT_DATA, LK_EVENT_DTMF.
 */
#ifndef LIVEKIT_DATA_H
#define LIVEKIT_DATA_H

#include "livekit/room.h"
#include "livekit/runtime.h"
#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The longest packet, with its topic and destinations, in bytes. */
#define LK_DATA_MAX 64000

typedef struct lk_data_options {
    uint32_t size; /* set by lk_data_options_init */
    bool reliable;                 /* true: once and in order; if false: at most once, given up after 500 ms */
    const char *topic;             /* NULL: none */
    const char *const *identities; /* whom it is for; none: everybody. Unknown ones get nothing */
    size_t identity_count;
} lk_data_options;

/* Fills in the defaults named above. LK_ANY. */
LK_API void lk_data_options_init(lk_data_options *options);

/* Sends len bytes (borrow: copied). Done when the packet is in the channel, in the order of these calls, not when it has
 * arrived; while the channel is full it waits: a sender that waits for the end of one before it posts the next is never too
 * fast. Returns LK_ERR_INVALID: data missing; LK_ERR_LIMIT: longer than LK_DATA_MAX, LK_ERR_STATE if not connected.
 * Ends with LK_ERR_CLOSED, LK_ERR_LIMIT, LK_ERR_FULL (1,024 operations wait), LK_ERR_TIMEOUT. Without the right to publish
 * data the server drops it. options: borrow, NULL for the defaults. Default deadline 30 s. op may be NULL. LK_ANY. */
LK_API lk_err lk_room_publish_data(lk_op *op, lk_room *room, const void *data, size_t len,
                                   const lk_data_options *options, const lk_op_options *how);

/* Changes lk_room_info.reliable_low_threshold_bytes or its lossy sister; LK_EVENT_DATA_THRESHOLD follows.
 * LK_ERR_STATE if not connected. LK_ANY. */
LK_API lk_err lk_room_set_data_threshold(lk_room *room, bool reliable, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
