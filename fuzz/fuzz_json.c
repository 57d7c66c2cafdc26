// SPDX-License-Identifier: Apache-2.0
/* Bodies of the admin API and signalling in text: refused, or a message that packs, unpacks and is written as JSON, in full and
 * in brief, that reads the same.
 * First byte: which message. */
#include "fuzz_env.h"
#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"

static const ProtobufCMessageDescriptor *const types[] = {
    &named__create_room_request__descriptor, &named__update_participant_request__descriptor, &named__send_data_request__descriptor,
    &named__update_subscriptions_request__descriptor, &named__participant_info__descriptor, &named__room__descriptor,
    &named__signal_request__descriptor, &named__signal_response__descriptor};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_arena arena;
    lk_text first, second;
    ProtobufCMessage *m, *again;
    lk_bytes packed;
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *type = types[data[0] % LK_LEN(types)];
    lk_arena_init(&arena, fuzz_env(), 64u << 20);
    lk_text_init(&first, fuzz_env(), 16u << 20);
    lk_text_init(&second, fuzz_env(), 16u << 20);
    if (lk_pbuf_from_json(type, &arena, (lk_str){(const char *)data + 1, size - 1}, &m) == LK_OK) {
        lk_pbuf_to_json(&first, m);
        FUZZ_REQUIRE(!first.bad && lk_utf8_valid(first.p, first.len));
        FUZZ_REQUIRE(lk_pbuf_pack(m, &arena, &packed) == LK_OK);
        FUZZ_REQUIRE(lk_pbuf_unpack_raw(type, &arena, packed, &again) == LK_OK);
        lk_pbuf_to_json(&second, again);
        FUZZ_REQUIRE(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
        FUZZ_REQUIRE(lk_pbuf_from_json(type, &arena, (lk_str){first.p, first.len}, &again) == LK_OK);
        lk_text_clear(&second);
        lk_pbuf_to_json_brief(&second, m);
        FUZZ_REQUIRE(!second.bad && lk_pbuf_from_json(type, &arena, (lk_str){second.p, second.len}, &again) == LK_OK);
        lk_text_clear(&second);
        lk_pbuf_to_json(&second, again); /* what brief leaves out is what is not there */
        FUZZ_REQUIRE(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
    }
    lk_text_deinit(&first);
    lk_text_deinit(&second);
    lk_arena_deinit(&arena);
    return 0;
}
