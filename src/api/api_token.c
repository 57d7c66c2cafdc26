// SPDX-License-Identifier: Apache-2.0
/* Access tokens for applications: the token module behind public structs. */
#include "api/api.h"
#include "io/loop.h"
#include "token/token.h"
#include "ws/url.h"

void lk_access_token_options_init(lk_access_token_options *options)
{
    *options = (lk_access_token_options){.size = sizeof *options, .valid_sec = 6 * 3600};
}

static const char *or_empty(const char *text) { return text ? text : ""; }

lk_err lk_access_token_create(char *out, size_t cap, const lk_access_key *key, const lk_access_token_options *options)
{
    lk_access_token_options o;
    lk_text text;
    lk_access_token_options_init(&o);
    if (!out || !key || !key->key || !key->secret || !options || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    int kind = or_empty(o.kind)[0] ? lk_token_kind_number(lk_str_of(o.kind)) : 0;
    if (kind < 0 || o.attribute_count > LK_TOKEN_ATTRIBUTES_MAX || (o.attribute_count && !o.attributes))
        return LK_ERR_INVALID;
    lk_token_attribute attributes[LK_TOKEN_ATTRIBUTES_MAX];
    for (size_t i = 0; i < o.attribute_count; i++)
        attributes[i] = (lk_token_attribute){or_empty(o.attributes[i].key), or_empty(o.attributes[i].value)};
    int64_t now = lk_clock_unix_usec() / LK_SEC(1), from = o.not_before_sec ? o.not_before_sec : now;
    const lk_token claims = {.identity = o.identity, .name = o.name, .metadata = o.metadata, .attributes = attributes,
                             .attribute_count = o.attribute_count, .kind = kind, .not_before_sec = from,
                             .expires_sec = LK_MAX(now, from) + o.valid_sec, .has_video = true,
                             .video = {.room_join = o.room_join, .room_create = o.room_create, .room_list = o.room_list,
                                       .room_admin = o.room_admin, .room_record = o.room_record, .hidden = o.hidden,
                                       .recorder = o.recorder, .agent = o.agent, .room = o.room,
                                       .can_publish = (lk_token_maybe)o.can_publish, .can_subscribe = (lk_token_maybe)o.can_subscribe,
                                       .can_publish_data = (lk_token_maybe)o.can_publish_data,
                                       .can_update_own_metadata = (lk_token_maybe)o.can_update_metadata,
                                       .publish_sources = o.publish_sources}};
    lk_text_init(&text, api_env(), LK_TOKEN_MAX + 1);
    lk_err err = lk_token_mint(&text, &claims, &(lk_token_key){key->key, key->secret});
    if (err == LK_OK && !lk_str_copy(out, cap, (lk_str){text.p, text.len}))
        err = LK_ERR_LIMIT;
    lk_text_deinit(&text);
    return err;
}
_Static_assert((int)LK_GRANT_DENY == (int)LK_TOKEN_NO && (int)LK_GRANT_ALLOW == (int)LK_TOKEN_YES, "one is cast to the other");
_Static_assert(LK_ACCESS_TOKEN_MAX == LK_TOKEN_MAX, "the public bound is the bound");

lk_err lk_access_token_verify(const char *token, const lk_access_key *keys, size_t key_count, lk_error *why)
{
    lk_token_key list[LK_TOKEN_KEYS_MAX];
    lk_token claims;
    lk_arena arena;
    if (!token || (key_count && !keys) || key_count > LK_TOKEN_KEYS_MAX)
        return LK_ERR_INVALID;
    for (size_t i = 0; i < key_count; i++)
        list[i] = (lk_token_key){or_empty(keys[i].key), or_empty(keys[i].secret)};
    lk_arena_init(&arena, api_env(), LK_TOKEN_ARENA_BYTES);
    lk_token_fault fault = lk_token_verify(&claims, &arena, lk_str_of(token), list, key_count, lk_clock_unix_usec() / LK_SEC(1));
    lk_arena_deinit(&arena);
    lk_err err = fault == LK_TOKEN_OK ? LK_OK : fault == LK_TOKEN_NO_MEMORY ? LK_ERR_NOMEM : LK_ERR_AUTH;
    if (why)
        lk_error_set(why, err, err == LK_OK ? "" : lk_token_fault_text(fault), (const char *)NULL);
    return err;
}

lk_err lk_access_token_claims(char *out, size_t cap, const char *token)
{
    lk_token claims;
    lk_arena arena;
    if (!out || !cap || !token)
        return LK_ERR_INVALID;
    lk_arena_init(&arena, api_env(), LK_TOKEN_ARENA_BYTES);
    lk_token_fault fault = lk_token_read(&claims, &arena, lk_str_of(token));
    lk_arena_deinit(&arena);
    if (fault != LK_TOKEN_OK)
        return fault == LK_TOKEN_NO_MEMORY ? LK_ERR_NOMEM : LK_ERR_WIRE;
    lk_str rest = lk_str_of(token);
    (void)lk_str_cut(&rest, '.');
    long n = lk_base64_decode((uint8_t *)out, cap - 1, LK_BASE64_URL_NOPAD, lk_str_cut(&rest, '.'));
    if (n < 0)
        return LK_ERR_LIMIT;
    out[n] = 0;
    return LK_OK;
}
