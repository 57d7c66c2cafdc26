// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "signal/signal.h"

/* Takes the parameter apart again; NULL when memory was refused. */
static Livekit__JoinRequest *decode(lk_arena *arena, const lk_text *target, const char *prefix)
{
    Livekit__WrappedJoinRequest *wrapped;
    Livekit__JoinRequest *join;
    lk_str text = {target->p, target->len};
    if (!CHECK(lk_str_starts(text, prefix)))
        return NULL;
    text.p += strlen(prefix);
    text.len -= strlen(prefix);
    CHECK_EQ(text.len % 4, 0); /* padded */
    uint8_t *bytes = (uint8_t *)lk_arena_alloc(arena, text.len);
    long n = bytes ? lk_base64_decode(bytes, text.len, LK_BASE64_URL, text) : -1;
    if (!bytes || !CHECK(n > 0) ||
        lk_pbuf_unpack(&livekit__wrapped_join_request__descriptor, arena, (lk_bytes){bytes, (size_t)n},
                       (ProtobufCMessage **)&wrapped) != LK_OK ||
        lk_pbuf_unpack(&livekit__join_request__descriptor, arena,
                       (lk_bytes){wrapped->join_request.data, wrapped->join_request.len},
                       (ProtobufCMessage **)&join) != LK_OK)
        return NULL;
    CHECK_EQ(wrapped->compression, 0);
    return join;
}

LK_TEST(join_tells_who_we_are_and_carries_the_offer)
{
    lk_signal_join j = {.sdk = "python", .version = "1.2.1", .os = "linux", .auto_subscribe = true,
                        .offer = lk_str_of("v=0\r\n"), .offer_id = 1};
    lk_text target;
    lk_arena arena;
    lk_text_init(&target, env, 65536);
    lk_arena_init(&arena, env, 1 << 20);
    if (lk_signal_join_target(&target, env, lk_str_of("/a"), false, &j) == LK_OK) {
        Livekit__JoinRequest *join = decode(&arena, &target, "/a/rtc/v1?join_request=");
        if (join) {
            CHECK_EQ(join->client_info->sdk, LIVEKIT__CLIENT_INFO__SDK__PYTHON);
            CHECK_EQ(join->client_info->protocol, 17);
            CHECK_EQ(join->client_info->client_protocol, 0);
            CHECK_EQ(join->client_info->n_capabilities, 0);
            CHECK(join->client_info->other_sdks == NULL);
            CHECK(join->connection_settings->has_auto_subscribe && join->connection_settings->auto_subscribe);
            CHECK_STR(join->publisher_offer->type, "offer");
            CHECK_STR(join->publisher_offer->sdp, "v=0\r\n");
        }
    }
    lk_text_deinit(&target);
    lk_arena_deinit(&arena);
}

LK_TEST(unknown_sdk_is_told_as_cpp_and_auto_subscribe_off_is_said)
{
    lk_signal_join j = {.sdk = "something"};
    lk_text target;
    lk_arena arena;
    lk_text_init(&target, env, 65536);
    lk_arena_init(&arena, env, 1 << 20);
    if (lk_signal_join_target(&target, env, lk_str_of(""), true, &j) == LK_OK) {
        Livekit__JoinRequest *join = decode(&arena, &target, "/rtc/v1/validate?join_request=");
        if (join) {
            CHECK_EQ(join->client_info->sdk, LIVEKIT__CLIENT_INFO__SDK__CPP);
            CHECK(join->connection_settings->has_auto_subscribe && !join->connection_settings->auto_subscribe);
            CHECK(join->publisher_offer == NULL);
        }
    }
    lk_text_deinit(&target);
    lk_arena_deinit(&arena);
}

LK_TEST(target_that_may_not_grow_is_refused)
{
    lk_signal_join j = {.sdk = "cpp"};
    lk_text target;
    lk_text_init(&target, env, 16);
    CHECK_EQ(lk_signal_join_target(&target, env, lk_str_of(""), false, &j), LK_ERR_NOMEM);
    lk_text_deinit(&target);
}
