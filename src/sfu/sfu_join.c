// SPDX-License-Identifier: Apache-2.0
/* Who comes in: what a request asks for, what it is refused for, the first messages of a session and of a resumed one. */
#include "sfu/sfu_internal.h"

#include <zlib.h>

#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"

#define JOIN_INNER_MAX (1u << 20)

const char *const lk_sfu_codecs[] = {"video/VP8", "video/H264", "video/VP9", "video/AV1", "video/H265", "audio/opus",
                                     "audio/red", "audio/PCMU", "audio/PCMA", "video/rtx", NULL};

typedef struct asked {
    bool v1, auto_subscribe, auto_data, adaptive, allow_pause, reconnect;
    int reason;
    const Livekit__ClientInfo *client;
    const char *metadata;
    const lk_token_attribute *attributes;
    size_t attribute_count;
    const Livekit__JoinRequest *request;     /* NULL with v0 */
    const Named__RoomConfiguration *config;  /* of the token, for a room that is made; NULL: none */
} asked;

/* ---- the query ------------------------------------------------------------------------------------------------------ */

static int hex_value(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* Percent-decodes into out (as long as s is enough); false: not an encoding, or NUL. */
static bool percent_decode(char *out, size_t *len, lk_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex_value(s.p[i + 1]) : -1, low = high >= 0 ? hex_value(s.p[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = 0;
    *len = n;
    return true;
}

/* The raw value of a key; false: not there. */
static bool query_raw(lk_str query, const char *key, lk_str *value)
{
    while (query.len) {
        lk_str pair = lk_str_cut(&query, '&');
        lk_str name = lk_str_cut(&pair, '=');
        if (lk_str_eq(name, key)) {
            *value = pair;
            return true;
        }
    }
    return false;
}

/* Decoded value in the arena, "" when absent; NULL: bad encoding, not UTF-8 or no memory. */
static const char *query_text(lk_arena *a, lk_str query, const char *key)
{
    lk_str raw;
    size_t len;
    if (!query_raw(query, key, &raw))
        return "";
    char *out = lk_arena_alloc(a, raw.len + 1);
    return out && percent_decode(out, &len, raw) && lk_utf8_valid(out, len) ? out : NULL;
}

static bool query_flag(lk_str query, const char *key, bool fallback)
{
    lk_str raw;
    if (!query_raw(query, key, &raw) || raw.len == 0)
        return fallback;
    return lk_str_eq(raw, "1") || lk_str_ieq(raw, "true");
}

static int query_number(lk_str query, const char *key)
{
    lk_str raw;
    uint64_t n = 0;
    return query_raw(query, key, &raw) && lk_str_u64(raw, INT32_MAX, &n) ? (int)n : 0;
}

static lk_sfu_refusal refusal(unsigned status, const char *text)
{
    lk_sfu_refusal r = {.status = status};
    (void)lk_str_copy(r.text, sizeof r.text, lk_str_of(text));
    return r;
}

static lk_err refuse(lk_sfu_refusal *why, unsigned status, const char *text)
{
    *why = refusal(status, text);
    return LK_ERR_DENIED;
}

/* ---- what is asked for: v0 ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    Livekit__ClientInfo__SDK sdk;
} sdk_names[] = {{"js", LIVEKIT__CLIENT_INFO__SDK__JS},           {"ios", LIVEKIT__CLIENT_INFO__SDK__SWIFT},
                 {"swift", LIVEKIT__CLIENT_INFO__SDK__SWIFT},     {"android", LIVEKIT__CLIENT_INFO__SDK__ANDROID},
                 {"flutter", LIVEKIT__CLIENT_INFO__SDK__FLUTTER}, {"go", LIVEKIT__CLIENT_INFO__SDK__GO},
                 {"unity", LIVEKIT__CLIENT_INFO__SDK__UNITY},     {"reactnative", LIVEKIT__CLIENT_INFO__SDK__REACT_NATIVE},
                 {"rust", LIVEKIT__CLIENT_INFO__SDK__RUST},       {"python", LIVEKIT__CLIENT_INFO__SDK__PYTHON},
                 {"cpp", LIVEKIT__CLIENT_INFO__SDK__CPP},         {"unityweb", LIVEKIT__CLIENT_INFO__SDK__UNITY_WEB},
                 {"node", LIVEKIT__CLIENT_INFO__SDK__NODE},       {"esp32", LIVEKIT__CLIENT_INFO__SDK__ESP32}};

static const struct {
    const char *name;
    Livekit__ClientInfo__Capability capability;
} capability_names[] = {{"CAP_PACKET_TRAILER", LIVEKIT__CLIENT_INFO__CAPABILITY__CAP_PACKET_TRAILER},
                        {"CAP_COMPRESSION_DEFLATE_RAW", LIVEKIT__CLIENT_INFO__CAPABILITY__CAP_COMPRESSION_DEFLATE_RAW}};

/* The query's JSON object of texts, in base64. */
static lk_err read_attributes(lk_sfu *s, const char *text, asked *out)
{
    size_t len = strlen(text);
    uint8_t *raw = lk_arena_alloc(&s->in, len + 1);
    long n = raw ? lk_base64_decode(raw, len, LK_BASE64_URL, lk_str_of(text)) : -1;
    if (raw && n < 0)
        n = lk_base64_decode(raw, len, LK_BASE64_URL_NOPAD, lk_str_of(text));
    lk_text json;
    ProtobufCMessage *m = NULL;
    lk_text_init(&json, s->env, len + 64);
    /* the reader knows messages: the object is the map of one */
    lk_text_z(&json, "{\"attributes\":");
    lk_text_put(&json, (const char *)raw, n < 0 ? 0 : (size_t)n);
    lk_text_z(&json, "}");
    lk_err err = n < 0 || json.bad ? LK_ERR_WIRE
                                   : lk_pbuf_from_json(&named__update_participant_metadata__descriptor, &s->in, (lk_str){json.p, json.len}, &m);
    lk_text_deinit(&json);
    if (err != LK_OK)
        return err;
    const Named__UpdateParticipantMetadata *u = (const Named__UpdateParticipantMetadata *)m;
    lk_token_attribute *list = lk_arena_alloc(&s->in, (u->n_attributes + 1) * sizeof *list);
    if (!list)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < u->n_attributes; i++)
        list[i] = (lk_token_attribute){u->attributes[i]->key ? u->attributes[i]->key : "", u->attributes[i]->value ? u->attributes[i]->value : ""};
    out->attributes = list;
    out->attribute_count = u->n_attributes;
    return LK_OK;
}

static lk_err read_v0(lk_sfu *s, const lk_sfu_join *join, asked *out, lk_sfu_refusal *why)
{
    Livekit__ClientInfo *c = lk_pbuf_new(&livekit__client_info__descriptor, &s->in);
    const char *sdk = query_text(&s->in, join->query, "sdk"), *version = query_text(&s->in, join->query, "version");
    const char *list = query_text(&s->in, join->query, "capabilities");
    Livekit__ClientInfo__Capability *have = lk_arena_alloc(&s->in, LK_LEN(capability_names) * sizeof *have);
    const char *attributes = query_text(&s->in, join->query, "attributes");
    if (!c || !attributes || !have || !sdk || !version || !list)
        return refuse(why, 400, "invalid query");
    c->has_sdk = c->has_protocol = c->has_client_protocol = 1;
    for (size_t i = 0; i < LK_LEN(sdk_names); i++)
        if (strcmp(sdk, sdk_names[i].name) == 0)
            c->sdk = sdk_names[i].sdk;
    c->version = (char *)(uintptr_t)version;
    c->protocol = query_number(join->query, "protocol");
    c->client_protocol = query_number(join->query, "client_protocol");
    c->capabilities = have;
    for (lk_str rest = lk_str_of(list); rest.len;) {
        lk_str name = lk_str_cut(&rest, ',');
        for (size_t i = 0; i < LK_LEN(capability_names); i++)
            if (lk_str_eq(name, capability_names[i].name) && c->n_capabilities < LK_LEN(capability_names))
                have[c->n_capabilities++] = capability_names[i].capability;
    }
    *out = (asked){.client = c,
                   .metadata = "",
                   .auto_subscribe = query_flag(join->query, "auto_subscribe", true),
                   .auto_data = query_flag(join->query, "auto_subscribe_data_track", false),
                   .adaptive = query_flag(join->query, "adaptive_stream", false),
                   .allow_pause = query_flag(join->query, "subscriber_allow_pause", false),
                   .reconnect = query_flag(join->query, "reconnect", false),
                   .reason = query_number(join->query, "reconnect_reason")};
    if (*attributes && read_attributes(s, attributes, out) != LK_OK)
        return refuse(why, 400, "invalid attributes");
    return LK_OK;
}

/* ---- what is asked for: v1 ------------------------------------------------------------------------------------------- */

static void *zlib_alloc(void *arena, unsigned n, unsigned size) { return lk_arena_alloc(arena, (size_t)n * size); }
static void zlib_free(void *arena, void *p)
{
    LK_UNUSED(arena);
    LK_UNUSED(p);
}

static bool gunzip(lk_arena *a, lk_bytes in, lk_bytes *out)
{
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = a, .next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.len};
    uint8_t *to = lk_arena_alloc(a, JOIN_INNER_MAX);
    if (!to || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return false;
    z.next_out = to;
    z.avail_out = JOIN_INNER_MAX;
    int got = inflate(&z, Z_FINISH);
    *out = (lk_bytes){to, z.total_out};
    inflateEnd(&z);
    return got == Z_STREAM_END;
}

static lk_err read_v1(lk_sfu *s, const lk_sfu_join *join, asked *out, lk_sfu_refusal *why)
{
    const char *text = query_text(&s->in, join->query, "join_request");
    ProtobufCMessage *m;
    if (!text || !*text)
        return refuse(why, 400, text ? "join_request is required" : "invalid join_request");
    size_t len = strlen(text);
    uint8_t *raw = lk_arena_alloc(&s->in, len);
    long n = raw ? lk_base64_decode(raw, len, LK_BASE64_URL, (lk_str){text, len}) : -1;
    if (n < 0)
        return refuse(why, 400, "cannot base64 decode join_request");
    if (lk_pbuf_unpack(&livekit__wrapped_join_request__descriptor, &s->in, (lk_bytes){raw, (size_t)n}, &m) != LK_OK)
        return refuse(why, 400, "cannot unmarshal wrapped join request");
    const Livekit__WrappedJoinRequest *wrapped = (const Livekit__WrappedJoinRequest *)m;
    lk_bytes inner = {wrapped->join_request.data, wrapped->has_join_request ? wrapped->join_request.len : 0};
    if (wrapped->compression == LIVEKIT__WRAPPED_JOIN_REQUEST__COMPRESSION__GZIP && !gunzip(&s->in, inner, &inner))
        return refuse(why, 400, "cannot decompress join request");
    if (inner.len > JOIN_INNER_MAX || lk_pbuf_unpack(&livekit__join_request__descriptor, &s->in, inner, &m) != LK_OK)
        return refuse(why, 400, "cannot unmarshal join request");
    const Livekit__JoinRequest *q = (const Livekit__JoinRequest *)m;
    static const Livekit__ConnectionSettings none = LIVEKIT__CONNECTION_SETTINGS__INIT;
    static const Livekit__ClientInfo nobody = LIVEKIT__CLIENT_INFO__INIT;
    const Livekit__ConnectionSettings *c = q->connection_settings ? q->connection_settings : &none;
    *out = (asked){.v1 = true,
                   .client = q->client_info ? q->client_info : &nobody,
                   .metadata = q->metadata ? q->metadata : "",
                   .auto_subscribe = c->auto_subscribe,
                   .auto_data = c->auto_subscribe_data_track,
                   .adaptive = c->adaptive_stream,
                   .allow_pause = c->subscriber_allow_pause,
                   .reconnect = q->reconnect,
                   .reason = (int)q->reconnect_reason,
                   .request = q};
    lk_token_attribute *list = lk_arena_alloc(&s->in, (q->n_participant_attributes + 1) * sizeof *list);
    if (!list)
        return refuse(why, 500, "out of memory");
    for (size_t i = 0; i < q->n_participant_attributes; i++) {
        const Livekit__JoinRequest__ParticipantAttributesEntry *e = q->participant_attributes[i];
        list[i] = (lk_token_attribute){e->key ? e->key : "", e->value ? e->value : ""};
    }
    out->attributes = list;
    out->attribute_count = q->n_participant_attributes;
    return LK_OK;
}

/* ---- refusals ----------------------------------------------------------------------------------------------------------- */

lk_str lk_sfu_join_room(const lk_sfu_join *join, char buf[LK_SFU_NAME_MAX + 1])
{
    lk_str raw;
    size_t len = 0;
    if (join->token->video.room && *join->token->video.room)
        return lk_str_of(join->token->video.room);
    if (!query_raw(join->query, "room", &raw) || raw.len > LK_SFU_NAME_MAX || !percent_decode(buf, &len, raw) || !lk_utf8_valid(buf, len))
        return (lk_str){"", 0};
    return (lk_str){buf, len};
}

static lk_err check(lk_sfu *s, const lk_sfu_join *join, asked *out, char name[LK_SFU_NAME_MAX + 1], lk_sfu_refusal *why)
{
    const lk_token *t = join->token;
    lk_str raw;
    lk_str room = lk_sfu_join_room(join, name);
    if (!t->has_video || !t->video.room_join)
        return refuse(why, 401, "permissions denied");
    if (room.len == 0)
        return refuse(why, 400, "no room name");
    if (room.len > LK_SFU_NAME_MAX)
        return refuse(why, 400, "room name is too long");
    if (room.p != name)
        (void)lk_str_copy(name, LK_SFU_NAME_MAX + 1, room);
    if (!*t->identity)
        return refuse(why, 400, "identity cannot be empty");
    if (strlen(t->identity) > LK_SFU_NAME_MAX)
        return refuse(why, 400, "identity is too long");
    if (strlen(t->name) > LK_SFU_NAME_MAX || strlen(t->metadata) > s->config.limits.metadata_bytes)
        return refuse(why, 400, "name or metadata of the token is too long");
    if (s->stopped)
        return refuse(why, 503, "server is stopping");
    bool v1 = join->v1 || query_raw(join->query, "join_request", &raw);
    lk_err err = v1 ? read_v1(s, join, out, why) : read_v0(s, join, out, why);
    if (err != LK_OK)
        return err;
    if (*t->room_config) {
        ProtobufCMessage *m = NULL;
        if (lk_pbuf_from_json(&named__room_configuration__descriptor, &s->in, lk_str_of(t->room_config), &m) != LK_OK)
            return refuse(why, 400, "invalid roomConfig");
        out->config = (const Named__RoomConfiguration *)m;
    }
    if ((*out->metadata || out->attribute_count) && t->video.can_update_own_metadata != LK_TOKEN_YES)
        return refuse(why, 401, "permissions denied: metadata and attributes may not be set");
    size_t bytes = 0;
    for (size_t i = 0; i < out->attribute_count; i++)
        bytes += strlen(out->attributes[i].key) + strlen(out->attributes[i].value);
    if (strlen(out->metadata) > s->config.limits.metadata_bytes || bytes > s->config.limits.attributes_bytes || out->attribute_count > SFU_ATTRIBUTES_MAX)
        return refuse(why, 400, "metadata or attributes are too long");
    if (out->reconnect)
        return LK_OK;
    if (join->overload)
        return refuse(why, 503, join->overload);
    lk_sfu_room *r = lk_sfu_room_find(s, name);
    if (!r && s->config.no_auto_create && !t->video.room_create)
        return refuse(why, 404, "requested room does not exist");
    if (!r && atomic_load_explicit(&s->totals->rooms, memory_order_relaxed) >= s->config.limits.rooms)
        return refuse(why, 503, "too many rooms");
    uint32_t most = r && r->max_participants ? LK_MIN(r->max_participants, s->config.limits.participants) : s->config.limits.participants;
    if (r && r->people.count >= most && !lk_sfu_person_find(r, t->identity))
        return refuse(why, 429, "room has exceeded its max participants");
    return LK_OK;
}

lk_err lk_sfu_validate(lk_sfu *s, lk_usec now, const lk_sfu_join *join, lk_sfu_refusal *why)
{
    asked a;
    char name[LK_SFU_NAME_MAX + 1];
    LK_UNUSED(now);
    lk_err err = check(s, join, &a, name, why);
    lk_arena_reset(&s->in);
    return err;
}

/* ---- coming in ------------------------------------------------------------------------------------------------------------ */

static lk_sfu_grants grants_of(const lk_token_video *v)
{
    bool publish = v->can_publish != LK_TOKEN_NO;
    return (lk_sfu_grants){.can_subscribe = v->can_subscribe != LK_TOKEN_NO,
                           .can_publish = publish,
                           .can_publish_data = v->can_publish_data == LK_TOKEN_ABSENT ? publish : v->can_publish_data == LK_TOKEN_YES,
                           .can_update_metadata = v->can_update_own_metadata == LK_TOKEN_YES,
                           .hidden = v->hidden,
                           .recorder = v->recorder,
                           .agent = v->agent,
                           .metrics = v->can_subscribe_metrics == LK_TOKEN_YES,
                           .manage_agent = v->can_manage_agent_session == LK_TOKEN_YES,
                           .sources = v->publish_sources};
}

static void free_unborn(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_sfu_peers_free(p);
    lk_sfu_text_free(s->env, &p->metadata);
    lk_sfu_buf_drop(s, p->held);
    for (size_t i = 0; i < p->attribute_count; i++) {
        lk_sfu_text_free(s->env, &p->attributes[i].key);
        lk_sfu_text_free(s->env, &p->attributes[i].value);
    }
    lk_release(s->env, p->attributes, p->attribute_count * sizeof *p->attributes);
    lk_arena_deinit(&p->permission_arena);
    lk_release(s->env, p, sizeof *p);
}

/* Metadata and attributes: the token's, then those asked for. */
static lk_err born_with(lk_sfu_person *p, const lk_token *t, const asked *a)
{
    if (lk_sfu_text(p->sfu->env, &p->metadata, *a->metadata ? a->metadata : t->metadata) != LK_OK)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < t->attribute_count; i++)
        if (lk_sfu_set_attribute(p, t->attributes[i].key, t->attributes[i].value) != LK_OK)
            return LK_ERR_NOMEM;
    for (size_t i = 0; i < a->attribute_count; i++)
        if (lk_sfu_set_attribute(p, a->attributes[i].key, a->attributes[i].value) != LK_OK)
            return LK_ERR_NOMEM;
    return LK_OK;
}

static lk_err person_new(lk_sfu_person **out, lk_sfu *s, const lk_token *t, const asked *a)
{
    lk_sfu_person *p = lk_alloc0(s->env, sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    p->sfu = s;
    lk_list *lists[] = {&p->tracks, &p->subs, &p->queued, &p->data_tracks, &p->data_subs, &p->loose};
    for (size_t i = 0; i < LK_LEN(lists); i++)
        lk_list_init(lists[i]);
    lk_arena_init(&p->permission_arena, s->env, 4u << 20);
    lk_sfu_sid(s, p->sid, "PA_");
    (void)lk_str_copy(p->identity, sizeof p->identity, lk_str_of(t->identity));
    (void)lk_str_copy(p->name, sizeof p->name, lk_str_of(t->name));
    p->grants = grants_of(&t->video);
    p->kind = t->kind;
    p->kind_detail_count = LK_MIN(t->kind_detail_count, (size_t)LK_TOKEN_KIND_DETAILS_MAX);
    memcpy(p->kind_details, t->kind_details, sizeof p->kind_details);
    p->token_expires_sec = t->expires_sec;
    p->joined_at = s->now;
    p->joined_unix_usec = lk_sfu_unix_usec(s);
    p->sdk = (int)a->client->sdk;
    p->protocol = a->client->protocol;
    p->client_protocol = a->client->client_protocol;
    p->capability_count = LK_MIN(a->client->n_capabilities, (size_t)SFU_CAPABILITIES_MAX);
    for (size_t i = 0; i < p->capability_count; i++)
        p->capabilities[i] = (int)a->client->capabilities[i];
    p->v1 = a->v1;
    p->auto_subscribe = a->auto_subscribe;
    p->auto_subscribe_data = a->auto_data;
    p->adaptive_stream = a->adaptive;
    p->allow_pause = a->allow_pause;
    lk_sfu_bucket_init(s, &p->messages, s->config.limits.signal_messages_per_sec);
    lk_sfu_bucket_init(s, &p->offers, s->config.limits.offers_per_sec);
    lk_sfu_bucket_init(s, &p->updates, s->config.limits.updates_per_sec);
    p->next_handle = (uint16_t)(1 + lk_rand_below(s->env, 256));
    p->offer_id = lk_rand_below(s->env, 256);
    p->active_due = s->now + SFU_ACTIVE_USEC;
    p->refresh_due = s->now + SFU_REFRESH_USEC;
    p->gone_due = p->offer_due = p->negotiate_at = p->drop_at = p->tell_due = p->again_due = LK_NEVER;
    p->quality = p->quality_before = -1;
    lk_err err = born_with(p, t, a);
    if (err == LK_OK)
        err = lk_sfu_peers_new(p);
    if (err != LK_OK) {
        free_unborn(p);
        return err;
    }
    *out = p;
    return LK_OK;
}

static Livekit__ServerInfo *server_info(lk_sfu *s)
{
    Livekit__ServerInfo *i = lk_pbuf_new(&livekit__server_info__descriptor, &s->out);
    if (i) {
        i->version = (char *)(uintptr_t)LK_SFU_VERSION;
        i->region = (char *)(uintptr_t)s->config.region;
        i->node_id = (char *)(uintptr_t)s->config.node_id;
        i->has_edition = i->has_protocol = 1;
        i->edition = LIVEKIT__SERVER_INFO__EDITION__Standard;
        i->protocol = LK_SFU_PROTOCOL;
    }
    return i;
}

static bool others_info(lk_sfu_person *p, Livekit__ParticipantInfo ***out, size_t *count)
{
    lk_sfu *s = p->sfu;
    Livekit__ParticipantInfo **list = lk_arena_alloc(&s->out, (p->room->people.count + 1) * sizeof *list);
    size_t n = 0;
    if (!list)
        return false;
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *other = LK_CONTAINER(it, lk_sfu_person, link);
        if (other == p || other->grants.hidden || other->state == LIVEKIT__PARTICIPANT_INFO__STATE__JOINING)
            continue;
        if (!(list[n++] = lk_sfu_person_info(other, &s->out)))
            return false;
    }
    *out = list;
    *count = n;
    return true;
}

static void send_join(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
    join.room = lk_sfu_room_info(p->room, &s->out);
    join.participant = lk_sfu_person_info(p, &s->out);
    join.server_info = server_info(s);
    bool ok = join.room && join.participant && join.server_info && others_info(p, &join.other_participants, &join.n_other_participants);
    if (ok) {
        join.server_version = (char *)(uintptr_t)LK_SFU_VERSION;
        join.server_region = (char *)(uintptr_t)s->config.region;
        join.has_subscriber_primary = join.has_ping_timeout = join.has_ping_interval = join.has_sif_trailer = join.has_fast_publish = 1;
        join.subscriber_primary = p->subscriber_primary;
        join.ping_interval = 5;
        join.ping_timeout = 15;
        join.sif_trailer = (ProtobufCBinaryData){sizeof p->room->sif_trailer, p->room->sif_trailer};
        join.fast_publish = p->grants.can_publish;
        join.enabled_publish_codecs = join.room->enabled_codecs;
        join.n_enabled_publish_codecs = join.room->n_enabled_codecs - 1; /* rtx, the last one, is not published by itself */
    }
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
    m.join = &join;
    lk_sfu_send_made(p, &m, ok);
}

void lk_sfu_send_refresh_token(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_token_attribute *attributes = p->attribute_count ? lk_arena_alloc(&s->out, p->attribute_count * sizeof *attributes) : NULL;
    int64_t expires = lk_sfu_unix_usec(s) / 1000000 + SFU_REFRESH_LIFE_SEC;
    const lk_sfu_grants *g = &p->grants;
    lk_token t = {.identity = p->identity, .name = p->name, .metadata = p->metadata, .kind = p->kind, .kind_detail_count = p->kind_detail_count,
                  .attributes = attributes, .attribute_count = attributes ? LK_MIN(p->attribute_count, (size_t)LK_TOKEN_ATTRIBUTES_MAX) : 0,
                  .expires_sec = LK_MAX(expires, p->token_expires_sec), .has_video = true,
                  .video = {.room_join = true, .room = p->room->name, .hidden = g->hidden, .recorder = g->recorder, .agent = g->agent,
                            .can_publish = g->can_publish ? LK_TOKEN_YES : LK_TOKEN_NO, .can_subscribe = g->can_subscribe ? LK_TOKEN_YES : LK_TOKEN_NO,
                            .can_publish_data = g->can_publish_data ? LK_TOKEN_YES : LK_TOKEN_NO,
                            .can_update_own_metadata = g->can_update_metadata ? LK_TOKEN_YES : LK_TOKEN_NO,
                            .can_subscribe_metrics = g->metrics ? LK_TOKEN_YES : LK_TOKEN_ABSENT,
                            .can_manage_agent_session = g->manage_agent ? LK_TOKEN_YES : LK_TOKEN_ABSENT, .publish_sources = g->sources}};
    memcpy(t.kind_details, p->kind_details, sizeof t.kind_details);
    for (size_t i = 0; i < t.attribute_count; i++)
        attributes[i] = (lk_token_attribute){p->attributes[i].key, p->attributes[i].value};
    lk_text text;
    lk_text_init(&text, s->env, LK_TOKEN_MAX + 1);
    /* one that cannot be minted (metadata too long for a token) is left out: the client keeps the one it has */
    if (lk_token_mint(&text, &t, &s->key) == LK_OK) {
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN;
        m.refresh_token = text.p;
        lk_sfu_send(p, &m);
    }
    lk_text_deinit(&text);
    lk_arena_reset(&s->out);
}

/* Everything after the join response. */
static void first_steps(lk_sfu_person *p, const asked *a)
{
    lk_sfu *s = p->sfu;
    send_join(p);
    p->state = LIVEKIT__PARTICIPANT_INFO__STATE__JOINED;
    lk_sfu_send_refresh_token(p);
    if (a->request) {
        for (size_t i = 0; i < a->request->n_add_track_requests; i++)
            lk_sfu_add_track(p, a->request->add_track_requests[i]);
        if (a->request->publisher_offer && a->request->publisher_offer->sdp && *a->request->publisher_offer->sdp)
            lk_sfu_accept_offer(p, a->request->publisher_offer);
    } else {
        lk_sfu_negotiate(p);
    }
    lk_sfu_subscribe_new_person(p);
    lk_sfu_data_new_person(p);
    lk_sfu_person_changed(p);
    lk_sfu_room_changed(p->room, false);
    lk_sfu_arm(s, LK_MIN(p->active_due, p->refresh_due));
}

static lk_err set_conn(lk_sfu *s, lk_sfu_person *p, uint32_t *conn)
{
    uint32_t next = s->next_conn + 1 ? s->next_conn + 1 : 1;
    if (p && lk_map_put(&s->conns, next, p) != LK_OK)
        return LK_ERR_NOMEM;
    s->next_conn = *conn = next;
    return LK_OK;
}

/* There is nobody to resume. The client will come back as somebody new. */
static lk_err accept_mismatch(lk_sfu *s, uint32_t *conn)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    leave.has_reason = leave.has_action = leave.has_can_reconnect = leave.can_reconnect = 1;
    leave.reason = LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH;
    leave.action = LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE;
    m.leave = &leave;
    lk_sfu_buf *b = lk_sfu_pack(s, &m.base);
    if (!b || set_conn(s, NULL, conn) != LK_OK) {
        lk_sfu_buf_drop(s, b);
        return LK_ERR_NOMEM;
    }
    lk_sfu_push(s, &(lk_sfu_out){.kind = LK_SFU_EV_SIGNAL_SEND, .conn = *conn, .buf = b});
    lk_sfu_push(s, &(lk_sfu_out){.kind = LK_SFU_EV_SIGNAL_CLOSE, .conn = *conn, .close_code = 1000});
    return LK_OK;
}

static void send_reconnect(lk_sfu_person *p)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__ReconnectResponse reconnect = LIVEKIT__RECONNECT_RESPONSE__INIT;
    reconnect.server_info = server_info(p->sfu);
    reconnect.has_last_message_seq = p->last_sequence != 0;
    reconnect.last_message_seq = p->last_sequence;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT;
    m.reconnect = &reconnect;
    lk_sfu_send_made(p, &m, reconnect.server_info != NULL);
}

/* All there are, p too, and those who left while p was away. */
static void send_everybody(lk_sfu_person *p, lk_usec since)
{
    lk_sfu *s = p->sfu;
    lk_sfu_room *r = p->room;
    size_t most = r->people.count + r->gone.count + 1, n = 0;
    Livekit__ParticipantInfo **list = lk_arena_alloc(&s->out, most * sizeof *list);
    bool ok = list != NULL;
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *other = LK_CONTAINER(it, lk_sfu_person, link);
        if (ok && (other == p || (!other->grants.hidden && other->state != LIVEKIT__PARTICIPANT_INFO__STATE__JOINING)))
            ok = (list[n++] = lk_sfu_person_info(other, &s->out)) != NULL;
    }
    for (size_t i = 0; ok && i < r->gone.count; i++) {
        lk_sfu_gone *gone = lk_queue_peek(&r->gone, i);
        if (gone->at < since || lk_sfu_person_find(r, gone->identity))
            continue;
        Livekit__ParticipantInfo *info = lk_pbuf_new(&livekit__participant_info__descriptor, &s->out);
        ok = info != NULL;
        if (!ok)
            break;
        info->sid = gone->sid;
        info->identity = gone->identity;
        info->has_state = info->has_disconnect_reason = info->has_version = 1;
        info->version = UINT32_MAX;
        info->state = LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED;
        info->disconnect_reason = (Livekit__DisconnectReason)gone->reason;
        list[n++] = info;
    }
    if (ok)
        lk_sfu_send_update(p, list, n);
    else
        lk_sfu_break(p, 1011);
    lk_arena_reset(&s->out);
}

static lk_err resume(lk_sfu *s, lk_sfu_person *p, uint32_t *conn)
{
    lk_usec since = p->conn ? s->now : p->conn_lost_at;
    lk_sfu_close_conn(p, 1000); /* an older connection is superseded */
    if (set_conn(s, p, conn) != LK_OK)
        return LK_ERR_NOMEM;
    p->conn = *conn;
    p->conn_bytes = 0;
    p->json = false;
    p->gone_due = LK_NEVER;
    s->stats.resumes++;
    if (p->drop_on_resume < 0) {
        p->drop_on_resume++;
        lk_sfu_close_conn(p, 1000);
        p->gone_due = s->now + SFU_RESUME_USEC;
        p->gone_reason = LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT;
        lk_sfu_arm(s, p->gone_due);
        return LK_OK;
    }
    if (p->drop_on_resume > 0) {
        p->drop_on_resume--;
        p->drop_at = s->now + LK_SEC(1);
        lk_sfu_arm(s, p->drop_at);
    }
    send_reconnect(p);
    send_everybody(p, since);
    lk_sfu_send_room_update(p);
    lk_sfu_send_refresh_token(p);
    if (p->subscriber)
        lk_sfu_restart_subscriber(p);
    else
        lk_sfu_negotiate(p); /* what was asked for on the connection that broke may never have arrived */
    return LK_OK;
}

static lk_err room_made(lk_sfu_room **out, lk_sfu *s, const char *name, const Named__RoomConfiguration *c)
{
    lk_sfu_room *r = NULL;
    lk_err err = lk_sfu_room_new(&r, s, name);
    if (err != LK_OK)
        return err;
    if (c && c->metadata && strlen(c->metadata) <= s->config.limits.metadata_bytes)
        err = lk_sfu_text(s->env, &r->metadata, c->metadata);
    if (err != LK_OK) {
        lk_sfu_room_free(r);
        return err;
    }
    if (c && c->empty_timeout)
        r->empty_timeout_sec = c->empty_timeout;
    if (c && c->departure_timeout)
        r->departure_timeout_sec = c->departure_timeout;
    if (c && c->max_participants)
        r->max_participants = c->max_participants;
    *out = r;
    return LK_OK;
}

/* Whether it was told to use TCP, when it was here last. */
static bool left_by_tcp(const lk_sfu_room *r, const lk_sfu_person *p)
{
    for (size_t i = r->gone.count; i-- > 0;) {
        const lk_sfu_gone *gone = lk_queue_peek((lk_queue *)(uintptr_t)&r->gone, i);
        if (strcmp(gone->identity, p->identity) == 0)
            return gone->by_tcp && gone->at + SFU_PROTOCOL_USEC > r->sfu->now;
    }
    return false;
}

static lk_err accept_new(lk_sfu *s, const lk_sfu_join *join, const asked *a, const char *name, uint32_t *conn)
{
    lk_sfu_person *p = NULL;
    lk_sfu_room *r = lk_sfu_room_find(s, name);
    lk_err err = person_new(&p, s, join->token, a);
    if (err != LK_OK)
        return err;
    bool made = !r;
    if (!r)
        err = room_made(&r, s, name, a->config);
    if (err == LK_OK)
        err = set_conn(s, p, conn);
    if (err != LK_OK) {
        if (made && r)
            lk_sfu_room_free(r);
        free_unborn(p);
        return err;
    }
    lk_sfu_person *before = lk_sfu_person_find(r, p->identity);
    if (before)
        lk_sfu_person_remove(before, LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY, LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT);
    if (left_by_tcp(r, p))
        lk_sfu_prefer_tcp(p, true);
    p->room = r;
    p->conn = *conn;
    lk_list_push(&r->people, &p->link);
    r->visible += !p->grants.hidden;
    r->joined_ever = true;
    r->closes_at = LK_NEVER;
    s->stats.joins++;
    LK_LOG(s->env, LK_LOG_INFO, "sfu.participant.joined", LK_S("room", r->name), LK_S("sid", p->sid), LK_I("v1", p->v1));
    first_steps(p, a);
    return LK_OK;
}

/* The clock of the joins may be ten seconds ahead of time. */
static bool spend_join(lk_sfu *s)
{
    lk_usec share = LK_SEC(1) / s->config.limits.joins_per_sec, next;
    int64_t paid = atomic_load_explicit(&s->totals->joins_paid_until, memory_order_relaxed);
    do {
        next = LK_MAX(paid, s->now) + share;
        if (next > s->now + LK_SEC(10))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&s->totals->joins_paid_until, &paid, next, memory_order_relaxed, memory_order_relaxed));
    return true;
}

lk_err lk_sfu_accept(lk_sfu *s, lk_usec now, const lk_sfu_join *join, uint32_t *conn, lk_sfu_refusal *why)
{
    asked a;
    char name[LK_SFU_NAME_MAX + 1];
    lk_sfu_begin(s, now);
    lk_err err = check(s, join, &a, name, why);
    if (err == LK_OK && !spend_join(s))
        err = refuse(why, 503, "too many joins at once");
    if (err == LK_OK) {
        lk_sfu_room *r = lk_sfu_room_find(s, name);
        lk_sfu_person *p = r ? lk_sfu_person_find(r, join->token->identity) : NULL;
        if (a.reconnect)
            err = p && !p->broken && p->v1 == a.v1 ? resume(s, p, conn) : accept_mismatch(s, conn);
        else
            err = accept_new(s, join, &a, name, conn);
        if (err != LK_OK)
            err = refuse(why, err == LK_ERR_LIMIT || err == LK_ERR_FULL ? 503 : 500, err == LK_ERR_NOMEM ? "out of memory" : "server is full");
    }
    s->stats.joins_refused += err != LK_OK;
    lk_arena_reset(&s->in);
    lk_sfu_end(s);
    return err;
}
