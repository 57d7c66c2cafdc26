// SPDX-License-Identifier: Apache-2.0
#include "token/token.h"
#include "vectors/lk_vectors.h"

static void check_flag(lk_vec *v, json_t *o, const char *name, bool got) { VEQ(v, got, lk_vec_bool(o, name, false)); }

static void check_maybe(lk_vec *v, json_t *o, const char *name, lk_token_maybe got)
{
    json_t *want = json_object_get(o, name);
    VEQ(v, got, !want ? LK_TOKEN_ABSENT : json_is_true(want) ? LK_TOKEN_YES : LK_TOKEN_NO);
}

static void check_text(lk_vec *v, json_t *o, const char *name, const char *got)
{
    lk_str want = lk_vec_str(o, name);
    VMEM(v, got, strlen(got), want.p, want.len);
}

static void check_grants(lk_vec *v, const lk_token *c, json_t *want)
{
    json_t *video = json_object_get(want, "video"), *attributes = json_object_get(want, "attributes");
    uint32_t sources = 0;
    check_text(v, want, "identity", c->identity);
    check_text(v, want, "name", c->name);
    check_text(v, want, "metadata", c->metadata);
    VEQ(v, c->attribute_count, json_object_size(attributes));
    for (size_t i = 0; i < c->attribute_count; i++)
        check_text(v, attributes, c->attributes[i].key, c->attributes[i].value);
    VEQ(v, c->has_video, video != NULL);
    check_flag(v, video, "roomJoin", c->video.room_join);
    check_flag(v, video, "roomAdmin", c->video.room_admin);
    check_flag(v, video, "hidden", c->video.hidden);
    check_text(v, video, "room", c->video.room);
    check_maybe(v, video, "canPublish", c->video.can_publish);
    check_maybe(v, video, "canSubscribe", c->video.can_subscribe);
    check_maybe(v, video, "canPublishData", c->video.can_publish_data);
    check_maybe(v, video, "canUpdateOwnMetadata", c->video.can_update_own_metadata);
    json_t *list = json_object_get(video, "canPublishSources");
    for (size_t i = 0; i < json_array_size(list); i++)
        sources |= 1u << lk_token_source_number(lk_str_of(json_string_value(json_array_get(list, i))));
    VEQ(v, c->video.publish_sources, sources);
}

static void run_tokens(lk_vec *v, json_t *file)
{
    lk_token_key keys[LK_TOKEN_KEYS_MAX];
    size_t key_count = 0;
    const char *key;
    json_t *secret;
    json_object_foreach(json_object_get(file, "keys"), key, secret)
        keys[key_count++] = (lk_token_key){key, json_string_value(secret)};
    LK_VEC_EACH(file, c) {
        lk_arena arena;
        lk_token got;
        lk_vec_begin(v, c);
        lk_arena_init(&arena, v->env, LK_TOKEN_ARENA_BYTES);
        lk_token_fault fault = lk_token_verify(&got, &arena, lk_vec_str(c, "token"), keys, key_count, lk_vec_i64(file, "eval_now", 0));
        if (lk_vec_is(c, "expect", "accept") && VCHECK(v, fault == LK_TOKEN_OK))
            check_grants(v, &got, json_object_get(c, "grants"));
        if (lk_vec_is(c, "expect", "reject"))
            VCHECK(v, fault != LK_TOKEN_OK);
        lk_arena_deinit(&arena);
    }
}
LK_VECTOR("jwt/jwt.json", run_tokens)
