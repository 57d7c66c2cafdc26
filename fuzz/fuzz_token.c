// SPDX-License-Identifier: Apache-2.0
/* Tokens as anybody may send them: refused or read, within the arena; what is read can be minted and reads the same. */
#include "fuzz_env.h"
#include "token/token.h"

static void check_round(const lk_token *claims)
{
    const lk_token_key key = {"key", "0123456789abcdef0123456789abcdef"};
    lk_token again;
    lk_arena arena;
    lk_text text;
    lk_arena_init(&arena, fuzz_env(), 2 * LK_TOKEN_ARENA_BYTES);
    lk_text_init(&text, fuzz_env(), LK_TOKEN_MAX + 1);
    /* Escapes may make it longer than a token may be. */
    if (lk_token_mint(&text, claims, &key) == LK_OK) {
        lk_str token = {text.p, text.len};
        FUZZ_REQUIRE(lk_token_read(&again, &arena, token) == LK_TOKEN_OK);
        FUZZ_REQUIRE(strcmp(again.identity, claims->identity) == 0 && strcmp(again.metadata, claims->metadata) == 0);
        FUZZ_REQUIRE(again.attribute_count == claims->attribute_count && again.kind == claims->kind);
        FUZZ_REQUIRE(strcmp(again.video.room, claims->video.room) == 0 && again.video.can_publish == claims->video.can_publish);
        if (again.expires_sec == 0)
            FUZZ_REQUIRE(lk_token_verify(&again, &arena, token, &key, 1, again.not_before_sec) == LK_TOKEN_OK);
    }
    lk_text_deinit(&text);
    lk_arena_deinit(&arena);
}

/* First byte: the rest is a token, or JSON to be put into one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lk_token_key key = {"key", "0123456789abcdef0123456789abcdef"};
    lk_token claims;
    lk_arena arena;
    lk_text text;
    if (size == 0)
        return 0;
    lk_arena_init(&arena, fuzz_env(), LK_TOKEN_ARENA_BYTES);
    lk_text_init(&text, fuzz_env(), 4 * LK_TOKEN_MAX);
    if (data[0] & 1) {
        lk_text_z(&text, "eyJhbGciOiJIUzI1NiJ9.");
        lk_base64_put(&text, LK_BASE64_URL_NOPAD, data + 1, size - 1);
        lk_text_z(&text, ".AA");
    } else {
        lk_text_put(&text, (const char *)data + 1, size - 1);
    }
    lk_str token = {lk_text_cstr(&text), text.len};
    FUZZ_REQUIRE(lk_token_verify(&claims, &arena, token, &key, 1, 1000) != LK_TOKEN_NO_MEMORY);
    lk_arena_reset(&arena);
    if (lk_token_read(&claims, &arena, token) == LK_TOKEN_OK)
        check_round(&claims);
    lk_text_deinit(&text);
    lk_arena_deinit(&arena);
    return 0;
}
