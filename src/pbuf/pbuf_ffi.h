// SPDX-License-Identifier: Apache-2.0
/* pbuf/pbuf_ffi.h - the FFI schema and its `required` fields.
 *
 * In:      an FfiResponse or FfiEvent about to be sent.
 * Out:     the same with every field set that the reference schema calls required: C++ clients refuse messages without.
 * Owner:   stateless.
 * Limits:  as pbuf.h.
 * Deviates: none.
 */
#pragma once
#include "livekit_ffi.pb-c.h"
#include "pbuf/pbuf.h"

/* Gives every absent required field below message its default (0, "", empty sub-message), recursively. Sub-messages
 * are made in the arena. LK_ERR_NOMEM leaves a valid, less complete message. */
LK_NODISCARD lk_err lk_pbuf_complete_response(Livekit__Proto__FfiResponse *message, lk_arena *arena);
LK_NODISCARD lk_err lk_pbuf_complete_event(Livekit__Proto__FfiEvent *message, lk_arena *arena);
