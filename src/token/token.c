// SPDX-License-Identifier: Apache-2.0
#include "token/token.h"

#include <jansson.h>

#include "crypto/crypto.h"

#define DEPTH_MAX 32
#define SIGNATURE_LEN LK_SHA256_LEN

typedef struct word {
    const char *name;
    int number;
} word;

static const word kinds[] = {{"standard", 0}, {"ingress", 1}, {"egress", 2}, {"sip", 3}, {"agent", 4}, {"connector", 7}, {"bridge", 8}};
static const word details[] = {{"cloud_agent", 0}, {"forwarded", 1}, {"connector_whatsapp", 2}, {"connector_twilio", 3},
                               {"bridge_rtsp", 4}, {"simulation", 5}};
static const word sources[] = {{"camera", 1}, {"microphone", 2}, {"screen_share", 3}, {"screen_share_audio", 4}};

typedef struct flag {
    const char *name;
    size_t offset;
} flag;
#define FLAG(name, member) {name, offsetof(lk_token_video, member)}
static const flag bools[] = {
    FLAG("roomCreate", room_create), FLAG("roomList", room_list), FLAG("roomRecord", room_record), FLAG("roomAdmin", room_admin),
    FLAG("roomJoin", room_join), FLAG("ingressAdmin", ingress_admin), FLAG("hidden", hidden), FLAG("recorder", recorder), FLAG("agent", agent)};
static const flag maybes[] = {
    FLAG("canPublish", can_publish), FLAG("canSubscribe", can_subscribe), FLAG("canPublishData", can_publish_data),
    FLAG("canUpdateOwnMetadata", can_update_own_metadata), FLAG("canSubscribeMetrics", can_subscribe_metrics),
    FLAG("canManageAgentSession", can_manage_agent_session)};

static int number_of(const word *words, size_t count, lk_str name)
{
    for (size_t i = 0; i < count; i++)
        if (lk_str_ieq(name, words[i].name))
            return words[i].number;
    return -1;
}

int lk_token_kind_number(lk_str name) { return number_of(kinds, LK_LEN(kinds), name); }
int lk_token_source_number(lk_str name) { return number_of(sources, LK_LEN(sources), name); }

const char *lk_token_kind_name(int kind)
{
    for (size_t i = 0; i < LK_LEN(kinds); i++)
        if (kinds[i].number == kind)
            return kinds[i].name;
    return kinds[0].name;
}

const char *lk_token_fault_text(lk_token_fault fault)
{
    static const char *const texts[] = {
        [LK_TOKEN_OK] = "valid",
        [LK_TOKEN_TOO_LONG] = "invalid authorization token: longer than 32 KiB",
        [LK_TOKEN_MALFORMED] = "invalid authorization token: not a well-formed access token",
        [LK_TOKEN_ALGORITHM] = "invalid authorization token: only HS256 is accepted",
        [LK_TOKEN_SIGNATURE] = "invalid token: unknown API key or wrong signature",
        [LK_TOKEN_NOT_YET] = "invalid token: not valid yet (nbf)",
        [LK_TOKEN_EXPIRED] = "invalid token: expired (exp)",
        [LK_TOKEN_NO_MEMORY] = "no memory to check the token",
    };
    return texts[fault];
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* One part of the token as a JSON object, NULL if it is none. */
static json_t *object_of(lk_arena *arena, lk_str part)
{
    uint8_t *bytes = (uint8_t *)lk_arena_alloc(arena, part.len + 1);
    long n = bytes ? lk_base64_decode(bytes, part.len + 1, LK_BASE64_URL_NOPAD, part) : -1;
    if (n <= 0 || !lk_json_is_shallow((lk_str){(const char *)bytes, (size_t)n}, DEPTH_MAX)) /* jansson goes 2048 deep */
        return NULL;
    json_t *j = json_loadb((const char *)bytes, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    if (j && !json_is_object(j)) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

typedef struct reader {
    lk_arena *arena;
    bool bad, no_memory;
} reader;

static const char *keep(reader *r, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = n == 1 ? NULL : (char *)lk_arena_alloc(r->arena, n);
    if (copy)
        memcpy(copy, text, n);
    else if (n > 1)
        r->no_memory = true;
    return copy ? copy : "";
}

/* Absent or null: "". Any other type than a string makes the token malformed. */
static const char *text_claim(reader *r, json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v))
        return "";
    if (!json_is_string(v)) {
        r->bad = true;
        return "";
    }
    return keep(r, json_string_value(v));
}

static lk_token_maybe maybe_claim(reader *r, json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v))
        return LK_TOKEN_ABSENT;
    if (!json_is_boolean(v))
        r->bad = true;
    return json_is_true(v) ? LK_TOKEN_YES : LK_TOKEN_NO;
}

/* NumericDate, with a fraction or without [RFC7519 s2]; what does not fit is as far away as can be. */
static int64_t time_claim(reader *r, json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v))
        return 0;
    if (json_is_integer(v))
        return json_integer_value(v);
    if (!json_is_real(v)) {
        r->bad = true;
        return 0;
    }
    double d = json_real_value(v);
    return d >= 9e18 ? INT64_MAX : d <= -9e18 ? INT64_MIN : (int64_t)d;
}

static void read_video(reader *r, lk_token_video *out, json_t *o)
{
    for (size_t i = 0; i < LK_LEN(bools); i++)
        *(bool *)((char *)out + bools[i].offset) = maybe_claim(r, o, bools[i].name) == LK_TOKEN_YES;
    for (size_t i = 0; i < LK_LEN(maybes); i++)
        *(lk_token_maybe *)(void *)((char *)out + maybes[i].offset) = maybe_claim(r, o, maybes[i].name);
    out->room = text_claim(r, o, "room");
    out->destination_room = text_claim(r, o, "destinationRoom");
    json_t *list = json_object_get(o, "canPublishSources");
    if (list && !json_is_null(list) && !json_is_array(list))
        r->bad = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);
        int n = json_is_string(v) ? lk_token_source_number(lk_str_of(json_string_value(v))) : -1;
        /* A source nobody knows still restricts: bit 0 is no source at all. */
        out->publish_sources |= 1u << (n > 0 ? n : 0);
        r->bad |= !json_is_string(v);
    }
}

static void read_attributes(reader *r, lk_token *out, json_t *o)
{
    size_t n = json_object_size(o), i = 0;
    const char *key;
    json_t *value;
    if (o && !json_is_null(o) && !json_is_object(o))
        r->bad = true;
    if (n == 0)
        return;
    lk_token_attribute *list = n <= LK_TOKEN_ATTRIBUTES_MAX ? (lk_token_attribute *)lk_arena_alloc(r->arena, n * sizeof *list) : NULL;
    if (!list) {
        r->bad |= n > LK_TOKEN_ATTRIBUTES_MAX;
        r->no_memory |= n <= LK_TOKEN_ATTRIBUTES_MAX;
        return;
    }
    json_object_foreach(o, key, value) {
        list[i++] = (lk_token_attribute){keep(r, key), json_is_string(value) ? keep(r, json_string_value(value)) : ""};
        r->bad |= !json_is_string(value);
    }
    out->attributes = list;
    out->attribute_count = n;
}

static void read_kind(reader *r, lk_token *out, json_t *o)
{
    json_t *list = json_object_get(o, "kindDetails");
    int kind = lk_token_kind_number(lk_str_of(text_claim(r, o, "kind")));
    out->kind = kind > 0 ? kind : 0;
    for (size_t i = 0; i < json_array_size(list) && out->kind_detail_count < LK_TOKEN_KIND_DETAILS_MAX; i++) {
        json_t *v = json_array_get(list, i);
        int n = json_is_string(v) ? number_of(details, LK_LEN(details), lk_str_of(json_string_value(v))) : -1;
        if (n >= 0)
            out->kind_details[out->kind_detail_count++] = n;
    }
}

static const char *object_text(reader *r, json_t *o)
{
    if (!json_is_object(o))
        return "";
    size_t n = json_dumpb(o, NULL, 0, JSON_COMPACT);
    char *text = (char *)lk_arena_alloc(r->arena, n + 1);
    if (!text || json_dumpb(o, text, n, JSON_COMPACT) != n) {
        r->no_memory = true;
        return "";
    }
    text[n] = 0;
    return text;
}

static lk_token_fault read_claims(lk_token *out, lk_arena *arena, json_t *o)
{
    reader r = {.arena = arena};
    lk_token c = {0};
    c.key = text_claim(&r, o, "iss");
    c.identity = text_claim(&r, o, "sub");
    if (!c.identity[0])
        c.identity = text_claim(&r, o, "jti");
    c.name = text_claim(&r, o, "name");
    c.metadata = text_claim(&r, o, "metadata");
    c.sha256 = text_claim(&r, o, "sha256");
    c.room_preset = text_claim(&r, o, "roomPreset");
    c.room_config = object_text(&r, json_object_get(o, "roomConfig"));
    c.not_before_sec = time_claim(&r, o, "nbf");
    c.expires_sec = time_claim(&r, o, "exp");
    read_attributes(&r, &c, json_object_get(o, "attributes"));
    read_kind(&r, &c, o);
    json_t *video = json_object_get(o, "video");
    c.video.room = c.video.destination_room = "";
    if (json_is_object(video)) {
        c.has_video = true;
        read_video(&r, &c.video, video);
    } else if (video && !json_is_null(video)) {
        r.bad = true;
    }
    if (r.no_memory || r.bad)
        return r.bad ? LK_TOKEN_MALFORMED : LK_TOKEN_NO_MEMORY;
    *out = c;
    return LK_TOKEN_OK;
}

typedef struct parts {
    lk_str signed_text, header, payload, signature;
} parts;

static bool split(parts *out, lk_str token)
{
    lk_str rest = token;
    out->header = lk_str_cut(&rest, '.');
    out->payload = lk_str_cut(&rest, '.');
    out->signature = rest;
    out->signed_text = (lk_str){token.p, out->header.len + 1 + out->payload.len};
    return out->header.len && out->payload.len && rest.len && token.len > out->signed_text.len && !memchr(rest.p, '.', rest.len);
}

static lk_token_fault check_header(lk_arena *arena, lk_str part)
{
    json_t *o = object_of(arena, part);
    json_t *alg = json_object_get(o, "alg");
    lk_token_fault fault = LK_TOKEN_OK;
    if (!o || !json_is_string(alg))
        fault = LK_TOKEN_MALFORMED;
    else if (strcmp(json_string_value(alg), "HS256") != 0 || json_object_get(o, "crit"))
        fault = LK_TOKEN_ALGORITHM;
    json_decref(o);
    return fault;
}

/* Walks all keys and hashes once, whether the key is known or not: the answer takes the same time. */
static lk_token_fault check_signature(const parts *p, const char *iss, const lk_token_key *keys, size_t key_count)
{
    static const char nobody[] = "no key of that name; hashed all the same";
    const char *secret = NULL;
    uint8_t want[SIGNATURE_LEN], got[SIGNATURE_LEN + 3];
    for (size_t i = 0; i < key_count; i++)
        if (strcmp(keys[i].key, iss) == 0)
            secret = keys[i].secret;
    bool known = secret && secret[0];
    const char *use = known ? secret : nobody;
    if (lk_hmac_sha256(use, strlen(use), p->signed_text.p, p->signed_text.len, want) != LK_OK)
        return LK_TOKEN_NO_MEMORY;
    long n = lk_base64_decode(got, sizeof got, LK_BASE64_URL_NOPAD, p->signature);
    bool same = n == SIGNATURE_LEN && lk_memcmp_ct(want, got, SIGNATURE_LEN) == 0;
    return known && same ? LK_TOKEN_OK : LK_TOKEN_SIGNATURE;
}

static lk_token_fault parse(lk_token *out, parts *p, lk_arena *arena, lk_str token)
{
    if (token.len > LK_TOKEN_MAX)
        return LK_TOKEN_TOO_LONG;
    if (!split(p, token))
        return LK_TOKEN_MALFORMED;
    lk_token_fault fault = check_header(arena, p->header);
    if (fault != LK_TOKEN_OK)
        return fault;
    json_t *o = object_of(arena, p->payload);
    fault = o ? read_claims(out, arena, o) : LK_TOKEN_MALFORMED;
    json_decref(o);
    return fault;
}

lk_token_fault lk_token_read(lk_token *out, lk_arena *arena, lk_str token)
{
    parts p;
    return parse(out, &p, arena, token);
}

lk_token_fault lk_token_verify(lk_token *out, lk_arena *arena, lk_str token, const lk_token_key *keys, size_t key_count,
                               int64_t now_sec)
{
    parts p;
    lk_token c;
    lk_token_fault fault = parse(&c, &p, arena, token);
    if (fault == LK_TOKEN_OK)
        fault = check_signature(&p, c.key, keys, LK_MIN(key_count, LK_TOKEN_KEYS_MAX));
    if (fault == LK_TOKEN_OK && c.not_before_sec > now_sec + LK_TOKEN_LEEWAY_SEC)
        fault = LK_TOKEN_NOT_YET;
    if (fault == LK_TOKEN_OK && c.expires_sec != 0 && c.expires_sec < now_sec - LK_TOKEN_LEEWAY_SEC)
        fault = LK_TOKEN_EXPIRED;
    if (fault == LK_TOKEN_OK)
        *out = c;
    return fault;
}

/* ---- minting ---------------------------------------------------------------------------------------- */

static void put_string(lk_text *t, const char *text) { lk_text_json(t, lk_str_of(text)); }

static void put_name(lk_text *t, const char *name)
{
    if (t->len && t->p[t->len - 1] != '{')
        lk_text_ch(t, ',');
    put_string(t, name);
    lk_text_ch(t, ':');
}

static void put_text(lk_text *t, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    put_name(t, name);
    put_string(t, value);
}

static void put_time(lk_text *t, const char *name, int64_t value)
{
    if (value == 0)
        return;
    put_name(t, name);
    lk_text_i64(t, value);
}

static void put_words(lk_text *t, const char *name, const word *words, size_t count, uint32_t numbers)
{
    bool first = true;
    put_name(t, name);
    lk_text_ch(t, '[');
    for (size_t i = 0; i < count; i++) {
        if (!(numbers & 1u << words[i].number))
            continue;
        if (!first)
            lk_text_ch(t, ',');
        first = false;
        put_string(t, words[i].name);
    }
    lk_text_ch(t, ']');
}

static void put_video(lk_text *t, const lk_token_video *v)
{
    put_name(t, "video");
    lk_text_ch(t, '{');
    for (size_t i = 0; i < LK_LEN(bools); i++) {
        if (*(const bool *)((const char *)v + bools[i].offset)) {
            put_name(t, bools[i].name);
            lk_text_z(t, "true");
        }
    }
    for (size_t i = 0; i < LK_LEN(maybes); i++) {
        lk_token_maybe m = *(const lk_token_maybe *)(const void *)((const char *)v + maybes[i].offset);
        if (m != LK_TOKEN_ABSENT) {
            put_name(t, maybes[i].name);
            lk_text_z(t, m == LK_TOKEN_YES ? "true" : "false");
        }
    }
    put_text(t, "room", v->room);
    put_text(t, "destinationRoom", v->destination_room);
    if (v->publish_sources)
        put_words(t, "canPublishSources", sources, LK_LEN(sources), v->publish_sources);
    lk_text_ch(t, '}');
}

static void put_claims(lk_text *t, const lk_token *c, const char *key)
{
    lk_text_ch(t, '{');
    put_text(t, "iss", key);
    put_text(t, "sub", c->identity);
    put_time(t, "nbf", c->not_before_sec);
    put_time(t, "exp", c->expires_sec);
    put_text(t, "name", c->name);
    put_text(t, "metadata", c->metadata);
    put_text(t, "sha256", c->sha256);
    put_text(t, "roomPreset", c->room_preset);
    if (c->room_config && c->room_config[0]) {
        put_name(t, "roomConfig");
        lk_text_z(t, c->room_config);
    }
    if (c->kind)
        put_text(t, "kind", lk_token_kind_name(c->kind));
    if (c->kind_detail_count) {
        uint32_t set = 0;
        for (size_t i = 0; i < c->kind_detail_count && i < LK_TOKEN_KIND_DETAILS_MAX; i++)
            set |= 1u << (c->kind_details[i] & 31);
        put_words(t, "kindDetails", details, LK_LEN(details), set);
    }
    if (c->attribute_count) {
        put_name(t, "attributes");
        lk_text_ch(t, '{');
        for (size_t i = 0; i < c->attribute_count; i++) {
            put_name(t, c->attributes[i].key);
            put_string(t, c->attributes[i].value);
        }
        lk_text_ch(t, '}');
    }
    if (c->has_video)
        put_video(t, &c->video);
    lk_text_ch(t, '}');
}

lk_err lk_token_mint(lk_text *out, const lk_token *claims, const lk_token_key *key)
{
    static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    uint8_t signature[SIGNATURE_LEN];
    lk_text body, token;
    lk_text_init(&body, out->env, LK_TOKEN_MAX);
    lk_text_init(&token, out->env, 2 * LK_TOKEN_MAX);
    put_claims(&body, claims, key->key);
    lk_err err = body.bad ? LK_ERR_LIMIT : LK_OK; /* or no memory: both mean that it cannot be made */
    if (err == LK_OK && !lk_utf8_valid(body.p, body.len))
        err = LK_ERR_INVALID;
    if (err == LK_OK) {
        lk_base64_put(&token, LK_BASE64_URL_NOPAD, head, sizeof head - 1);
        lk_text_ch(&token, '.');
        lk_base64_put(&token, LK_BASE64_URL_NOPAD, body.p, body.len);
        err = token.bad ? LK_ERR_NOMEM : lk_hmac_sha256(key->secret, strlen(key->secret), token.p, token.len, signature);
    }
    if (err == LK_OK) {
        lk_text_ch(&token, '.');
        lk_base64_put(&token, LK_BASE64_URL_NOPAD, signature, sizeof signature);
        err = token.len > LK_TOKEN_MAX ? LK_ERR_LIMIT : token.bad ? LK_ERR_NOMEM : LK_OK;
    }
    if (err == LK_OK) {
        lk_text_put(out, token.p, token.len);
        err = out->bad ? LK_ERR_NOMEM : LK_OK;
    }
    lk_text_deinit(&body);
    lk_text_deinit(&token);
    return err;
}
