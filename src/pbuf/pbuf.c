// SPDX-License-Identifier: Apache-2.0
#include "pbuf/pbuf.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_GROUP = 3, WIRE_GROUP_END = 4, WIRE_32 = 5 };
#define FIELD_NUMBER_MAX 536870911u
#define FIELDS_MAX 256

typedef struct decoder {
    lk_arena *arena;
    size_t limit_bytes; /* of arena->used_bytes */
    bool keep_enums;
    lk_err err; /* first failure; LK_OK until then */
} decoder;

static bool decode_message(decoder *d, ProtobufCMessage *message, lk_rd *r, unsigned depth);

static bool fail(decoder *d, lk_err err)
{
    if (!d->err)
        d->err = err;
    return false;
}

static void *take_memory(decoder *d, size_t size)
{
    if (size > d->limit_bytes || d->arena->used_bytes > d->limit_bytes - size) {
        fail(d, LK_ERR_LIMIT);
        return NULL;
    }
    void *p = lk_arena_alloc(d->arena, size);
    if (!p)
        fail(d, LK_ERR_NOMEM);
    return p;
}

/* ---- wire ------------------------------------------------------------------------------------------ */

static uint64_t read_varint(lk_rd *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = lk_rd_u8(r);
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->bad = true;
    return 0;
}

static uint32_t read_le32(lk_rd *r)
{
    const uint8_t *p = lk_rd_take(r, 4);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static uint64_t read_le64(lk_rd *r)
{
    uint64_t low = read_le32(r);
    return low | (uint64_t)read_le32(r) << 32;
}

static lk_bytes read_block(lk_rd *r)
{
    uint64_t len = read_varint(r);
    if (r->bad || len > lk_rd_left(r)) {
        r->bad = true;
        return (lk_bytes){NULL, 0};
    }
    return (lk_bytes){lk_rd_take(r, (size_t)len), (size_t)len};
}

static bool read_tag(lk_rd *r, uint32_t *number, unsigned *wire)
{
    uint64_t tag = read_varint(r);
    if (tag > UINT32_MAX || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        r->bad = true;
    *number = (uint32_t)(tag >> 3);
    *wire = (unsigned)(tag & 7);
    return !r->bad;
}

static void skip_value(lk_rd *r, uint32_t number, unsigned wire)
{
    uint32_t open[LK_PBUF_DEPTH_MAX]; /* groups we are in */
    size_t depth = 0;
    do {
        switch (wire) {
        case WIRE_VARINT: read_varint(r); break;
        case WIRE_64: lk_rd_skip(r, 8); break;
        case WIRE_LEN: read_block(r); break;
        case WIRE_32: lk_rd_skip(r, 4); break;
        case WIRE_GROUP:
            if (depth == LK_PBUF_DEPTH_MAX)
                r->bad = true;
            else
                open[depth++] = number;
            break;
        case WIRE_GROUP_END:
            if (depth == 0 || open[--depth] != number)
                r->bad = true;
            break;
        default: r->bad = true;
        }
    } while (depth && !r->bad && read_tag(r, &number, &wire));
}

/* ---- fields ---------------------------------------------------------------------------------------- */

static unsigned wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_LEN;
    default: return WIRE_VARINT;
    }
}

static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    default: return 4;
    }
}

static int32_t checked_enum(const decoder *d, const ProtobufCFieldDescriptor *field, uint64_t raw)
{
    const ProtobufCEnumDescriptor *type = (const ProtobufCEnumDescriptor *)field->descriptor;
    int32_t value = (int32_t)(uint32_t)raw;
    if (d->keep_enums || type->n_values == 0 || protobuf_c_enum_descriptor_get_value(type, value))
        return value;
    return type->values[0].value;
}

/* Reads one scalar into *out, which has size_of(type) bytes. */
/* Writes nothing when the bytes end inside the number: a packed block that ends so has no element for it. */
static void read_scalar(const decoder *d, const ProtobufCFieldDescriptor *field, lk_rd *r, void *out)
{
    uint64_t v64 = 0;
    uint32_t v32 = 0;
    switch (wire_of(field->type)) {
    case WIRE_32: v32 = read_le32(r); break;
    case WIRE_64: v64 = read_le64(r); break;
    default: v64 = read_varint(r); v32 = (uint32_t)v64;
    }
    if (r->bad)
        return;
    switch (field->type) {
    case PROTOBUF_C_TYPE_SINT32: v32 = (v32 >> 1) ^ (0u - (v32 & 1)); break;
    case PROTOBUF_C_TYPE_SINT64: v64 = (v64 >> 1) ^ (0u - (v64 & 1)); break;
    case PROTOBUF_C_TYPE_BOOL: {
        protobuf_c_boolean b = v64 != 0;
        memcpy(out, &b, sizeof b);
        return;
    }
    case PROTOBUF_C_TYPE_ENUM: v32 = (uint32_t)checked_enum(d, field, v64); break;
    default: break;
    }
    if (size_of(field->type) == 8)
        memcpy(out, &v64, 8);
    else
        memcpy(out, &v32, 4);
}

/* Reads one string, bytes or sub-message into *out (a sub-message already there is merged into). */
static bool read_long(decoder *d, const ProtobufCFieldDescriptor *field, lk_rd *r, void *out, unsigned depth)
{
    lk_bytes block = read_block(r);
    if (r->bad)
        return fail(d, LK_ERR_WIRE);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage **sub = (ProtobufCMessage **)out;
        if (!*sub) {
            const ProtobufCMessageDescriptor *type = (const ProtobufCMessageDescriptor *)field->descriptor;
            ProtobufCMessage *fresh = (ProtobufCMessage *)take_memory(d, type->sizeof_message);
            if (!fresh)
                return false;
            lk_pbuf_init(type, fresh);
            *sub = fresh;
        }
        lk_rd inner = lk_rd_of(block.data, block.len);
        return decode_message(d, *sub, &inner, depth + 1);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (!lk_utf8_valid(block.data, block.len))
            return fail(d, LK_ERR_WIRE);
        char *text = (char *)take_memory(d, block.len + 1);
        if (!text)
            return false;
        memcpy(text, block.data, block.len);
        text[block.len] = 0;
        *(char **)out = text;
        return true;
    }
    uint8_t *copy = block.len ? (uint8_t *)take_memory(d, block.len) : NULL;
    if (block.len && !copy)
        return false;
    if (copy)
        memcpy(copy, block.data, block.len);
    *(ProtobufCBinaryData *)out = (ProtobufCBinaryData){block.len, copy};
    return true;
}

static bool read_singular(decoder *d, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message, lk_rd *r,
                          unsigned depth)
{
    char *member = (char *)message + field->offset;
    bool is_long = wire_of(field->type) == WIRE_LEN;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t *which = (uint32_t *)(void *)((char *)message + field->quantifier_offset);
        if (*which != field->id) {
            *which = field->id;
            memset(member, 0, size_of(field->type));
        }
    } else if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
        *(protobuf_c_boolean *)(void *)((char *)message + field->quantifier_offset) = 1;
    }
    if (is_long)
        return read_long(d, field, r, member, depth);
    read_scalar(d, field, r, member);
    return !r->bad || fail(d, LK_ERR_WIRE);
}

/* ---- repeated fields ------------------------------------------------------------------------------- */

static size_t count_packed(const ProtobufCFieldDescriptor *field, lk_bytes block)
{
    if (wire_of(field->type) != WIRE_VARINT)
        return block.len / (wire_of(field->type) == WIRE_64 ? 8 : 4);
    size_t count = 0;
    for (size_t i = 0; i < block.len; i++)
        count += !(block.data[i] & 0x80);
    return count;
}

/* Elements of this field from here to the end of the message; the cursor is a copy. */
static size_t count_elements(const ProtobufCFieldDescriptor *field, lk_rd r, unsigned wire)
{
    size_t count = 0;
    uint32_t number = field->id;
    do {
        if (number == field->id && wire == WIRE_LEN && wire_of(field->type) != WIRE_LEN) {
            lk_bytes block = read_block(&r);
            count += r.bad ? 0 : count_packed(field, block);
        } else {
            count += number == field->id && wire == wire_of(field->type);
            skip_value(&r, number, wire);
        }
    } while (!r.bad && lk_rd_left(&r) && read_tag(&r, &number, &wire));
    return count;
}

/* Makes room for all elements that follow, behind those already there (a merge). */
static bool grow(decoder *d, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message, size_t more)
{
    size_t *count = (size_t *)(void *)((char *)message + field->quantifier_offset);
    void **items = (void **)(void *)((char *)message + field->offset);
    size_t elem = size_of(field->type);
    if (!more)
        return true;
    void *fresh = take_memory(d, (*count + more) * elem);
    if (!fresh)
        return false;
    if (*count)
        memcpy(fresh, *items, *count * elem);
    memset((char *)fresh + *count * elem, 0, more * elem);
    *items = fresh;
    return true;
}

static bool read_repeated(decoder *d, const ProtobufCFieldDescriptor *field, ProtobufCMessage *message, lk_rd *r,
                          unsigned wire, unsigned depth)
{
    size_t *count = (size_t *)(void *)((char *)message + field->quantifier_offset);
    char *items = *(char **)(void *)((char *)message + field->offset);
    size_t elem = size_of(field->type);
    if (wire_of(field->type) == WIRE_LEN) {
        if (!read_long(d, field, r, items + *count * elem, depth))
            return false;
        ++*count;
    } else if (wire != WIRE_LEN) {
        read_scalar(d, field, r, items + *count * elem);
        if (!r->bad)
            ++*count;
    } else {
        lk_bytes block = read_block(r);
        lk_rd inner = lk_rd_of(block.data, block.len);
        while (!r->bad && lk_rd_left(&inner)) {
            read_scalar(d, field, &inner, items ? items + *count * elem : NULL);
            if (inner.bad)
                r->bad = true;
            else
                ++*count;
        }
    }
    return !r->bad || fail(d, LK_ERR_WIRE);
}

static bool decode_message(decoder *d, ProtobufCMessage *message, lk_rd *r, unsigned depth)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    uint64_t grown[FIELDS_MAX / 64] = {0}; /* repeated fields whose elements have been counted */
    if (depth > LK_PBUF_DEPTH_MAX || type->n_fields > FIELDS_MAX)
        return fail(d, LK_ERR_LIMIT);
    while (lk_rd_left(r)) {
        uint32_t number;
        unsigned wire;
        if (!read_tag(r, &number, &wire))
            return fail(d, LK_ERR_WIRE);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, number);
        bool repeated = field && field->label == PROTOBUF_C_LABEL_REPEATED;
        bool packed = repeated && wire == WIRE_LEN && wire_of(field->type) != WIRE_LEN;
        if (!field || (wire != wire_of(field->type) && !packed)) {
            skip_value(r, number, wire);
            if (r->bad)
                return fail(d, LK_ERR_WIRE);
            continue;
        }
        if (!repeated) {
            if (!read_singular(d, field, message, r, depth))
                return false;
            continue;
        }
        size_t index = (size_t)(field - type->fields);
        if (!(grown[index / 64] >> (index % 64) & 1)) {
            grown[index / 64] |= 1ull << (index % 64);
            if (!grow(d, field, message, count_elements(field, *r, wire)))
                return false;
        }
        if (!read_repeated(d, field, message, r, wire, depth))
            return false;
    }
    return true;
}

static lk_err unpack(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_bytes in, bool keep_enums,
                     ProtobufCMessage **out)
{
    decoder d = {.arena = arena, .keep_enums = keep_enums, .err = LK_OK};
    if (in.len > (SIZE_MAX - 65536) / 32)
        return LK_ERR_LIMIT;
    d.limit_bytes = arena->used_bytes + LK_PBUF_BUDGET(in.len);
    ProtobufCMessage *message = (ProtobufCMessage *)take_memory(&d, type->sizeof_message);
    if (!message)
        return d.err;
    lk_pbuf_init(type, message);
    lk_rd r = lk_rd_of(in.data, in.len);
    if (!decode_message(&d, message, &r, 0))
        return d.err;
    *out = message;
    return LK_OK;
}

lk_err lk_pbuf_unpack(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_bytes in, ProtobufCMessage **out)
{
    return unpack(type, arena, in, false, out);
}

lk_err lk_pbuf_unpack_raw(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_bytes in, ProtobufCMessage **out)
{
    return unpack(type, arena, in, true, out);
}

/* ---- making and packing ---------------------------------------------------------------------------- */

void lk_pbuf_init(const ProtobufCMessageDescriptor *type, ProtobufCMessage *message)
{
    memset(message, 0, type->sizeof_message);
    message->descriptor = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type != PROTOBUF_C_TYPE_ENUM || field->label == PROTOBUF_C_LABEL_REPEATED ||
            (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            continue;
        const ProtobufCEnumDescriptor *values = (const ProtobufCEnumDescriptor *)field->descriptor;
        int32_t first = values->n_values ? values->values[0].value : 0;
        memcpy((char *)message + field->offset, &first, sizeof first);
    }
}

void *lk_pbuf_new(const ProtobufCMessageDescriptor *type, lk_arena *arena)
{
    ProtobufCMessage *message = (ProtobufCMessage *)lk_arena_alloc(arena, type->sizeof_message);
    if (message)
        lk_pbuf_init(type, message);
    return message;
}

size_t lk_pbuf_size(const ProtobufCMessage *message)
{
    return protobuf_c_message_get_packed_size(message);
}

lk_err lk_pbuf_pack(const ProtobufCMessage *message, lk_arena *arena, lk_bytes *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *data = (uint8_t *)lk_arena_alloc(arena, size);
    if (!data)
        return LK_ERR_NOMEM;
    *out = (lk_bytes){data, protobuf_c_message_pack(message, data)};
    return LK_OK;
}

void lk_pbuf_pack_into(const ProtobufCMessage *message, lk_wr *w)
{
    uint8_t *at = lk_wr_reserve(w, protobuf_c_message_get_packed_size(message));
    if (at)
        protobuf_c_message_pack(message, at);
}

char *lk_pbuf_strdup(lk_arena *arena, lk_str s)
{
    char *copy = (char *)lk_arena_alloc(arena, s.len + 1);
    if (copy) {
        memcpy(copy, s.p, s.len);
        copy[s.len] = 0;
    }
    return copy;
}
