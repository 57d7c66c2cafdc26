// SPDX-License-Identifier: Apache-2.0
/* fuzz/fuzz_pbuf.h - any bytes as a message: the budget holds, and what decodes packs and decodes again. */
#pragma once
#include "fuzz_env.h"
#include "pbuf/pbuf.h"

static inline void fuzz_round_trip(const ProtobufCMessageDescriptor *type, lk_bytes in)
{
    lk_arena arena, again;
    lk_arena_init(&arena, fuzz_env(), 64u << 20);
    lk_arena_init(&again, fuzz_env(), 64u << 20);
    ProtobufCMessage *message, *second;
    lk_bytes packed, repacked;
    lk_err err = lk_pbuf_unpack(type, &arena, in, &message);
    FUZZ_REQUIRE(arena.used_bytes <= LK_PBUF_BUDGET(in.len));
    if (err == LK_OK && lk_pbuf_pack(message, &arena, &packed) == LK_OK) {
        err = lk_pbuf_unpack(type, &again, packed, &second);
        FUZZ_REQUIRE(err != LK_ERR_WIRE);
        if (err == LK_OK && lk_pbuf_pack(second, &again, &repacked) == LK_OK)
            FUZZ_REQUIRE(repacked.len == packed.len && memcmp(repacked.data, packed.data, packed.len) == 0);
    }
    lk_arena_deinit(&again);
    lk_arena_deinit(&arena);
}
