// SPDX-License-Identifier: Apache-2.0
/* pbuf/pbuf.h - protobuf messages: descriptor-driven decoding into an arena, packing. [protobuf encoding, proto2/3]
 *
 * In:      serialized bytes and a protobuf-c descriptor; or a filled protobuf-c struct.
 * Out:     a struct tree that lives in the caller's arena (nothing to free); or bytes.
 * Owner:   stateless; the arena is the caller's, one per message or per request.
 * Limits:  a decoded message takes at most 16 x its bytes + 64 KiB; nesting 32; a message type 256 fields.
 * Deviates: protobuf-c's own decoder is not used: it stores unknown fields, knows no groups, checks neither UTF-8 nor
 *          NUL, and has no memory bound. A string with an embedded NUL is refused (a C string cannot hold it).
 */
#pragma once
#include "base/lk_base.h"
#include "livekit.pb-c.h"

#define LK_PBUF_DEPTH_MAX 32
#define LK_PBUF_BUDGET(len) ((size_t)16 * (len) + 65536)

/* Decodes bytes (borrowed for the call) into *out, which lives as long as the arena. Unknown fields are skipped, a
 * missing field has has_x = 0 / NULL, scalars given twice: the last counts, sub-messages given twice merge, the last
 * member of a oneof wins, an unknown enum number becomes the enum's first value.
 * LK_ERR_WIRE: not a message of that type, or a string that is not UTF-8 or holds NUL. LK_ERR_LIMIT: over the budget.
 * LK_ERR_NOMEM: the arena refused. *out is written only on success. */
LK_NODISCARD lk_err lk_pbuf_unpack(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_bytes in,
                                   ProtobufCMessage **out);
/* The same, but unknown enum numbers are kept as they are: never use one as an index. */
LK_NODISCARD lk_err lk_pbuf_unpack_raw(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_bytes in,
                                       ProtobufCMessage **out);

/* Sets every field to its default; the generated X__INIT macros do the same at compile time. */
void lk_pbuf_init(const ProtobufCMessageDescriptor *type, ProtobufCMessage *message);
/* A new initialised message in the arena; NULL when refused. */
void *lk_pbuf_new(const ProtobufCMessageDescriptor *type, lk_arena *arena);

/* Bytes the message takes when packed. */
size_t lk_pbuf_size(const ProtobufCMessage *message);
/* Packs into memory of the arena. LK_ERR_NOMEM. */
LK_NODISCARD lk_err lk_pbuf_pack(const ProtobufCMessage *message, lk_arena *arena, lk_bytes *out);
/* Packs behind what stands in w; overflow sets w->bad. */
void lk_pbuf_pack_into(const ProtobufCMessage *message, lk_wr *w);

/* A terminated copy in the arena, NULL when refused. */
char *lk_pbuf_strdup(lk_arena *arena, lk_str s);
