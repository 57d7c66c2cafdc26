// SPDX-License-Identifier: Apache-2.0
/* What independent writers make is judged by tests/vectors/data/jwt; here: round trips, times, bounds. */
#include "lk_test.h"
#include "token/token.h"

static const lk_token_key key = {"devkey", "secretsecretsecretsecretsecretsecret"};

static bool mint(lk_text *t, lk_env *env, const lk_token *c)
{
    lk_text_init(t, env, 1 << 20);
    return CHECK_OK(lk_token_mint(t, c, &key));
}

static lk_token_fault verify(lk_token *out, lk_arena *a, const lk_text *t, int64_t now)
{
    return lk_token_verify(out, a, (lk_str){lk_text_cstr(t), t->len}, &key, 1, now);
}

LK_TEST(every_claim_survives_minting_and_verifying)
{
    const lk_token_attribute attributes[] = {{"k\"1", "v\n"}, {"\xc3\xa9", ""}};
    const lk_token in = {.identity = "ann", .name = "A \"n\" \\", .metadata = "{\"a\":1}", .sha256 = "x", .room_preset = "p",
                                .room_config = "{\"name\":\"r\"}", .attributes = attributes, .attribute_count = 2, .kind = 4,
                                .kind_details = {1, 3}, .kind_detail_count = 2, .not_before_sec = 100, .expires_sec = 2000, .has_video = true,
                                .video = {.room_join = true, .hidden = true, .can_publish = LK_TOKEN_NO, .can_subscribe = LK_TOKEN_YES,
                                          .publish_sources = 1u << 1 | 1u << 2, .room = "r", .destination_room = "d"}};
    lk_text t;
    lk_arena a;
    lk_token out;
    lk_arena_init(&a, env, LK_TOKEN_ARENA_BYTES);
    if (mint(&t, env, &in) && CHECK_EQ(verify(&out, &a, &t, 1000), LK_TOKEN_OK)) {
        CHECK_STR(out.key, "devkey");
        CHECK_STR(out.identity, in.identity);
        CHECK_STR(out.name, in.name);
        CHECK_STR(out.metadata, in.metadata);
        CHECK_STR(out.sha256, "x");
        CHECK_STR(out.room_preset, "p");
        CHECK_STR(out.room_config, in.room_config);
        CHECK_EQ(out.attribute_count, 2);
        for (size_t i = 0; i < 2 && out.attribute_count == 2; i++) {
            CHECK_STR(out.attributes[i].key, attributes[i].key);
            CHECK_STR(out.attributes[i].value, attributes[i].value);
        }
        CHECK_EQ(out.kind, 4);
        CHECK_EQ(out.kind_detail_count, 2);
        CHECK_EQ(out.kind_details[1], 3);
        CHECK(out.video.room_join && out.video.hidden && !out.video.room_admin);
        CHECK_EQ(out.video.can_publish, LK_TOKEN_NO);
        CHECK_EQ(out.video.can_subscribe, LK_TOKEN_YES);
        CHECK_EQ(out.video.can_publish_data, LK_TOKEN_ABSENT);
        CHECK_EQ(out.video.publish_sources, 6);
        CHECK_STR(out.video.room, "r");
        CHECK_STR(out.video.destination_room, "d");
    }
    lk_text_deinit(&t);
    lk_arena_deinit(&a);
}

LK_TEST(a_minute_of_clock_skew_is_forgiven_and_not_more)
{
    const struct {
        int64_t now;
        lk_token_fault want;
    } rows[] = {{1000, LK_TOKEN_OK}, {940, LK_TOKEN_OK}, {939, LK_TOKEN_NOT_YET}, {2060, LK_TOKEN_OK}, {2061, LK_TOKEN_EXPIRED}};
    const lk_token in = {.identity = "a", .not_before_sec = 1000, .expires_sec = 2000};
    lk_text t;
    lk_token out;
    if (mint(&t, env, &in)) {
        for (size_t i = 0; i < LK_LEN(rows); i++) {
            lk_arena a;
            lk_arena_init(&a, env, LK_TOKEN_ARENA_BYTES);
            CHECK_EQ(verify(&out, &a, &t, rows[i].now), rows[i].want);
            lk_arena_deinit(&a);
        }
    }
    lk_text_deinit(&t);
}

LK_TEST(an_unknown_key_and_a_wrong_signature_read_the_same)
{
    const lk_token in = {.identity = "a"};
    const lk_token_key other = {"otherkey", "secretsecretsecretsecretsecretsecret"}, wrong = {"devkey", "another secret"};
    lk_text t;
    lk_arena a;
    lk_token out;
    lk_arena_init(&a, env, LK_TOKEN_ARENA_BYTES);
    if (mint(&t, env, &in)) {
        lk_str token = {lk_text_cstr(&t), t.len};
        CHECK_EQ(lk_token_verify(&out, &a, token, &other, 1, 0), LK_TOKEN_SIGNATURE);
        CHECK_EQ(lk_token_verify(&out, &a, token, &wrong, 1, 0), LK_TOKEN_SIGNATURE);
        CHECK_EQ(lk_token_verify(&out, &a, token, NULL, 0, 0), LK_TOKEN_SIGNATURE);
        CHECK_EQ(lk_token_read(&out, &a, token), LK_TOKEN_OK);
    }
    lk_text_deinit(&t);
    lk_arena_deinit(&a);
}

LK_TEST(what_is_too_long_or_not_utf8_is_not_minted)
{
    static char big[LK_TOKEN_MAX];
    const lk_token bad = {.identity = "\xff"};
    lk_text t;
    memset(big, 'x', sizeof big - 1);
    lk_text_init(&t, env, 1 << 20);
    CHECK(lk_token_mint(&t, &bad, &key) != LK_OK);
    CHECK_EQ(t.len, 0);
    big[LK_TOKEN_MAX - 200] = 0; /* fits before base64, not after */
    CHECK(lk_token_mint(&t, &(lk_token){.metadata = big}, &key) != LK_OK);
    CHECK_EQ(t.len, 0);
    big[LK_TOKEN_MAX - 200] = 'x';
    CHECK(lk_token_mint(&t, &(lk_token){.metadata = big}, &key) != LK_OK);
    lk_text_deinit(&t);
}

LK_TEST(a_source_nobody_knows_still_restricts)
{
    /* {"alg":"HS256"} with video.canPublishSources ["toaster"], read without its signature */
    const char *token = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6eyJjYW5QdWJsaXNoU291cmNlcyI6WyJ0b2FzdGVyIl19fQ.AA";
    lk_arena a;
    lk_token out;
    lk_arena_init(&a, env, LK_TOKEN_ARENA_BYTES);
    if (CHECK_EQ(lk_token_read(&out, &a, lk_str_of(token)), LK_TOKEN_OK))
        CHECK_EQ(out.video.publish_sources, 1);
    lk_arena_deinit(&a);
}
