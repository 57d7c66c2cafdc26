// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a SignalResponse and as a DataPacket: the budget holds, and what decodes packs and decodes again. */
#include <stdlib.h>

#include "pbuf/pbuf.h"

static void *plain_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    return malloc(size);
}
static void *plain_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(old_size);
    return realloc(p, new_size);
}
static void plain_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    LK_UNUSED(size);
    free(p);
}

static void round_trip(const ProtobufCMessageDescriptor *type, const lk_env *env, lk_bytes in)
{
    lk_arena arena, again;
    lk_arena_init(&arena, env, 64u << 20);
    lk_arena_init(&again, env, 64u << 20);
    ProtobufCMessage *message, *second;
    lk_bytes packed;
    lk_err err = lk_pbuf_unpack(type, &arena, in, &message);
    if (arena.used_bytes > LK_PBUF_BUDGET(in.len))
        abort();
    if (err == LK_OK && lk_pbuf_pack(message, &arena, &packed) == LK_OK) {
        lk_bytes repacked;
        err = lk_pbuf_unpack(type, &again, packed, &second);
        if (err == LK_ERR_WIRE)
            abort();
        if (err == LK_OK && lk_pbuf_pack(second, &again, &repacked) == LK_OK &&
            (repacked.len != packed.len || memcmp(repacked.data, packed.data, packed.len) != 0))
            abort();
    }
    lk_arena_deinit(&again);
    lk_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const lk_mem memory = {NULL, plain_alloc, plain_resize, plain_release};
    const lk_env env = {.mem = &memory};
    round_trip(&livekit__signal_response__descriptor, &env, (lk_bytes){data, len});
    round_trip(&livekit__data_packet__descriptor, &env, (lk_bytes){data, len});
    return 0;
}
