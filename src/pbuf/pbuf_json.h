// SPDX-License-Identifier: Apache-2.0
/* pbuf/pbuf_json.h - protobuf messages as JSON and back, by descriptors that keep their names. [ProtoJSON]
 *
 * In:      JSON text and the descriptor of a message of named.pb-c.h; or such a message.
 * Out:     a message in the caller's arena; or JSON text, in full (names of the schema, defaults written out) or in brief.
 * Owner:   stateless.
 * Limits:  nesting 32; the arena's own bound.
 * Deviates: no google.protobuf types, which the schema does not use; unknown members are skipped.
 */
#pragma once
#include "pbuf/pbuf.h"

/* WIRE: not JSON, or a member of the wrong type; LIMIT: too deep; NOMEM. */
LK_NODISCARD lk_err lk_pbuf_from_json(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_str json, ProtobufCMessage **out);
/* Appends, with everything written out. A refused growth sets t->bad. */
void lk_pbuf_to_json(lk_text *t, const ProtobufCMessage *message);
/* The other of the two usual ways: names in camelCase, what is not set left out, nor a zero unless it is a member of a oneof. */
void lk_pbuf_to_json_brief(lk_text *t, const ProtobufCMessage *message);
