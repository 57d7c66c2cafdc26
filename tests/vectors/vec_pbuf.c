// SPDX-License-Identifier: Apache-2.0
/* livekit/proto.json: messages, valid and hostile, against the projection of Go's decoder. The descriptors are a copy of
 * the signalling schema that kept its field names. */
#include <stdio.h>

#include "named.pb-c.h"
#include "pbuf/pbuf.h"
#include "vectors/lk_vectors.h"

static bool same_message(const ProtobufCMessage *message, json_t *json);

static bool same_base64(const ProtobufCBinaryData *data, const char *text)
{
    uint8_t decoded[4096];
    long n = lk_base64_decode(decoded, sizeof decoded, LK_BASE64_STD, lk_str_of(text));
    return n >= 0 && (size_t)n == data->len && (n == 0 || memcmp(decoded, data->data, data->len) == 0);
}

/* One value at p; json NULL stands for the default. */
static bool same_value(const ProtobufCFieldDescriptor *field, const void *p, json_t *json)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *mine = *(char *const *)p ? *(char *const *)p : "";
        return lk_str_eq2(lk_str_of(mine), (lk_str){json ? json_string_value(json) : "", json_string_length(json)});
    }
    case PROTOBUF_C_TYPE_BYTES:
        return same_base64((const ProtobufCBinaryData *)p, json ? json_string_value(json) : "");
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *sub = *(ProtobufCMessage *const *)p;
        return !sub == !json && (!sub || same_message(sub, json));
    }
    case PROTOBUF_C_TYPE_BOOL: return (*(const protobuf_c_boolean *)p != 0) == json_is_true(json);
    case PROTOBUF_C_TYPE_FLOAT: return *(const float *)p == (float)(json ? json_number_value(json) : 0);
    case PROTOBUF_C_TYPE_DOUBLE: return *(const double *)p == (json ? json_number_value(json) : 0);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_SINT64: {
        char text[32] = "0";
        if (field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64)
            snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)p);
        else
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)p);
        return strcmp(text, json ? json_string_value(json) : "0") == 0;
    }
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return *(const uint32_t *)p == (uint32_t)lk_vec_u64_of(json, 0);
    default: return *(const int32_t *)p == (int32_t)(json ? json_integer_value(json) : 0);
    }
}

static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    default: return 4;
    }
}

/* Entries of a map, the last of a key counts. */
static bool same_map(ProtobufCMessage *const *entries, size_t count, json_t *json)
{
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        const ProtobufCMessageDescriptor *type = entries[i]->descriptor;
        const char *at = (const char *)entries[i];
        char key[4096], later_key[4096];
        const void *p = at + type->fields[0].offset;
        bool is_text = type->fields[0].type == PROTOBUF_C_TYPE_STRING;
        bool last = true;
        snprintf(key, sizeof key, is_text ? "%s" : "%.0s%u", is_text && *(char *const *)p ? *(char *const *)p : "",
                 *(const uint32_t *)p);
        for (size_t k = i + 1; k < count; k++) {
            const void *q = (const char *)entries[k] + type->fields[0].offset;
            snprintf(later_key, sizeof later_key, is_text ? "%s" : "%.0s%u",
                     is_text && *(char *const *)q ? *(char *const *)q : "", *(const uint32_t *)q);
            last = last && strcmp(key, later_key) != 0;
        }
        if (!last)
            continue;
        distinct++;
        json_t *value = json_object_get(json, key);
        if (!value || !same_value(&type->fields[1], at + type->fields[1].offset, value))
            return false;
    }
    return distinct == json_object_size(json);
}

static bool same_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, json_t *json)
{
    static const uint64_t zero[4];
    const char *member = (const char *)message + field->offset;
    const void *quantifier = (const char *)message + field->quantifier_offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)quantifier;
        if (json_is_object(json))
            return same_map(*(ProtobufCMessage *const *const *)(const void *)member, count, json);
        bool same = count == json_array_size(json);
        for (size_t i = 0; same && i < count; i++)
            same = same_value(field, *(char *const *)(const void *)member + i * element_size(field->type),
                              json_array_get(json, i));
        return same;
    }
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        bool mine = *(const uint32_t *)quantifier == field->id;
        return mine == (json != NULL) && (!mine || same_value(field, member, json));
    }
    bool absent = field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE &&
                  !*(const protobuf_c_boolean *)quantifier;
    return same_value(field, absent ? (const void *)zero : (const void *)member, json);
}

static bool same_message(const ProtobufCMessage *message, json_t *json)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const char *key;
    json_t *value;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (!same_field(message, &type->fields[i], json_object_get(json, type->fields[i].name)))
            return false;
    json_object_foreach(json, key, value)
        if (!protobuf_c_message_descriptor_get_field_by_name(type, key))
            return false;
    return true;
}

static bool holds_nul(json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_string(json))
        return memchr(json_string_value(json), 0, json_string_length(json)) != NULL;
    bool found = false;
    json_object_foreach(json, key, value)
        found = found || holds_nul(value);
    json_array_foreach(json, i, value)
        found = found || holds_nul(value);
    return found;
}

static const ProtobufCMessageDescriptor *type_of(const char *name)
{
    static const struct {
        const char *name;
        const ProtobufCMessageDescriptor *type;
    } types[] = {
        {"livekit.TrackInfo", &named__track_info__descriptor},
        {"livekit.ParticipantInfo", &named__participant_info__descriptor},
        {"livekit.SignalRequest", &named__signal_request__descriptor},
        {"livekit.SignalResponse", &named__signal_response__descriptor},
        {"livekit.DataPacket", &named__data_packet__descriptor},
    };
    for (size_t i = 0; i < LK_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return NULL;
}

static void check_again(lk_vec *v, const ProtobufCMessage *message, json_t *value)
{
    lk_arena arena;
    lk_bytes packed;
    ProtobufCMessage *again;
    lk_arena_init(&arena, v->env, 64u << 20);
    VEQ(v, lk_pbuf_pack(message, &arena, &packed), LK_OK);
    if (VEQ(v, lk_pbuf_unpack_raw(message->descriptor, &arena, packed, &again), LK_OK) && value)
        VCHECK(v, same_message(again, value));
    lk_arena_deinit(&arena);
}

static void run_proto(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        const ProtobufCMessageDescriptor *type = type_of(lk_vec_text(c, "type"));
        if (!VCHECK(v, type))
            continue;
        lk_bytes in = lk_vec_hex(c, "hex");
        json_t *value = json_object_get(c, "value");
        lk_arena arena;
        lk_arena_init(&arena, v->env, 64u << 20);
        ProtobufCMessage *message = NULL;
        lk_err err = lk_pbuf_unpack_raw(type, &arena, in, &message);
        VCHECK(v, arena.used_bytes <= LK_PBUF_BUDGET(in.len));
        if (holds_nul(value)) /* our documented refusal */
            VEQ(v, err, LK_ERR_WIRE);
        else if (lk_vec_is(c, "expect", "accept"))
            VEQ(v, err, LK_OK);
        else if (lk_vec_is(c, "expect", "reject"))
            VCHECK(v, err == LK_ERR_WIRE);
        if (!err && json_is_object(value))
            VCHECK(v, same_message(message, value));
        if (!err)
            check_again(v, message, json_is_object(value) ? value : NULL);
        lk_arena_deinit(&arena);
        lk_vec_free(in);
    }
}
LK_VECTOR("livekit/proto.json", run_proto)
