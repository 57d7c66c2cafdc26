// SPDX-License-Identifier: Apache-2.0
#include "pbuf/pbuf_ffi.h"

typedef struct required_row {
    uint16_t number;
    uint8_t required;
    int16_t child; /* message index of a sub-message, -1 for others */
} required_row;
#include "ffi_required.inc"

static char empty_text[] = "";

static lk_err complete(ProtobufCMessage *message, size_t index, lk_arena *arena);

static lk_err complete_children(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t child,
                                lk_arena *arena)
{
    char *member = (char *)message + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(const void *)((char *)message + field->quantifier_offset);
        ProtobufCMessage **items = *(ProtobufCMessage ***)(void *)member;
        for (size_t i = 0; i < count; i++) {
            lk_err err = complete(items[i], child, arena);
            if (err)
                return err;
        }
        return LK_OK;
    }
    ProtobufCMessage *sub = *(ProtobufCMessage **)(void *)member;
    return sub ? complete(sub, child, arena) : LK_OK;
}

static lk_err set_default(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, lk_arena *arena)
{
    char *member = (char *)message + field->offset;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage **sub = (ProtobufCMessage **)(void *)member;
        if (!*sub)
            *sub = (ProtobufCMessage *)lk_pbuf_new((const ProtobufCMessageDescriptor *)field->descriptor, arena);
        return *sub ? LK_OK : LK_ERR_NOMEM;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        char **text = (char **)(void *)member;
        if (!*text)
            *text = empty_text;
        return LK_OK;
    }
    *(protobuf_c_boolean *)(void *)((char *)message + field->quantifier_offset) = 1;
    return LK_OK;
}

static lk_err complete(ProtobufCMessage *message, size_t index, lk_arena *arena)
{
    for (size_t i = required_start[index]; i < required_start[index + 1]; i++) {
        const required_row *row = &required_rows[i];
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(message->descriptor, row->number);
        lk_err err = LK_OK;
        if (!field)
            continue;
        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            if (*(const uint32_t *)(const void *)((char *)message + field->quantifier_offset) != field->id)
                continue;
        } else if (row->required && field->label == PROTOBUF_C_LABEL_OPTIONAL) {
            err = set_default(message, field, arena);
        }
        if (!err && row->child >= 0)
            err = complete_children(message, field, (size_t)row->child, arena);
        if (err)
            return err;
    }
    return LK_OK;
}

lk_err lk_pbuf_complete_response(Livekit__Proto__FfiResponse *message, lk_arena *arena)
{
    return complete(&message->base, REQUIRED_ROOT_FFI_RESPONSE, arena);
}

lk_err lk_pbuf_complete_event(Livekit__Proto__FfiEvent *message, lk_arena *arena)
{
    return complete(&message->base, REQUIRED_ROOT_FFI_EVENT, arena);
}
