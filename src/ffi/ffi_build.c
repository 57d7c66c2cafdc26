// SPDX-License-Identifier: Apache-2.0
/* Messages by descriptor: one arena each, never a NULL to check. */
#include "ffi/ffi.h"

#include <stdlib.h>

#define RPC_APPLICATION_ERROR 1500
#define SCRATCH_BYTES 4096 /* larger than any struct of the schema */

static void *c_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    return malloc(size);
}

/* Wiped: requests and events hold tokens. */
static void c_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    explicit_bzero(p, size);
    free(p);
}

static void *c_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    void *moved = malloc(new_size);
    if (moved) {
        memcpy(moved, p, LK_MIN(old_size, new_size));
        c_release(ctx, p, old_size);
    }
    return moved;
}

void ffi_build_init(ffi_build *b)
{
    static const lk_mem mem = {NULL, c_alloc, c_resize, c_release};
    static const lk_env env = {.mem = &mem};
    b->bad = false;
    lk_arena_init(&b->arena, &env, LK_FFI_MESSAGE_MAX);
}

void ffi_build_deinit(ffi_build *b) { lk_arena_deinit(&b->arena); }

static void *scratch(ffi_build *b)
{
    static _Thread_local _Alignas(16) unsigned char bytes[SCRATCH_BYTES];
    b->bad = true;
    memset(bytes, 0, sizeof bytes);
    return bytes;
}

void *ffi_alloc(ffi_build *b, size_t size)
{
    void *p = b->bad ? NULL : lk_arena_alloc(&b->arena, size ? size : 1);
    if (!p) {
        p = scratch(b);
        return size <= SCRATCH_BYTES ? p : NULL;
    }
    return memset(p, 0, size);
}

void *ffi_new(ffi_build *b, const ProtobufCMessageDescriptor *type)
{
    void *m = b->bad ? NULL : lk_pbuf_new(type, &b->arena);
    if (!m) {
        m = scratch(b);
        lk_pbuf_init(type, (ProtobufCMessage *)m);
    }
    return m;
}

const ProtobufCFieldDescriptor *ffi_field(const ProtobufCMessage *m, uint32_t number)
{
    return protobuf_c_message_descriptor_get_field(m->descriptor, number);
}

/* Where the field lives, its presence or oneof case set. */
static void *slot(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)(void *)((char *)m + f->quantifier_offset) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_STRING)
        *(protobuf_c_boolean *)(void *)((char *)m + f->quantifier_offset) = 1;
    return (char *)m + f->offset;
}

void ffi_set_u64(ProtobufCMessage *m, uint32_t number, uint64_t value)
{
    *(uint64_t *)slot(m, ffi_field(m, number)) = value;
}

ProtobufCMessage *ffi_set_message(ffi_build *b, ProtobufCMessage *m, uint32_t number)
{
    const ProtobufCFieldDescriptor *f = ffi_field(m, number);
    ProtobufCMessage *sub = (ProtobufCMessage *)ffi_new(b, (const ProtobufCMessageDescriptor *)f->descriptor);
    *(ProtobufCMessage **)slot(m, f) = sub;
    return sub;
}

void ffi_set_text(ProtobufCMessage *m, uint32_t number, const char *text)
{
    *(char **)slot(m, ffi_field(m, number)) = TEXT(text);
}

void ffi_set_error(ffi_build *b, ProtobufCMessage *m, uint32_t number, const char *text)
{
    if (ffi_field(m, number)->type == PROTOBUF_C_TYPE_STRING) {
        ffi_set_text(m, number, text);
        return;
    }
    /* StreamError{description 1}, RpcError{code 1, message 2}, and others like it */
    ProtobufCMessage *sub = ffi_set_message(b, m, number);
    const ProtobufCFieldDescriptor *code = ffi_field(sub, 1);
    bool has_code = code->type != PROTOBUF_C_TYPE_STRING;
    if (code->type == PROTOBUF_C_TYPE_UINT32)
        *(uint32_t *)slot(sub, code) = RPC_APPLICATION_ERROR;
    ffi_set_text(sub, has_code ? 2 : 1, text);
}
