// SPDX-License-Identifier: Apache-2.0
/* token/token.h - access tokens: strict verification to claims, minting from claims. [RFC7515] [RFC7519]
 *
 * In:      a token as it came, the keys of the server, wall-clock seconds; or claims and a key.
 * Out:     claims whose texts live in the caller's arena; or the token's text.
 * Owner:   stateless; any thread.
 * Limits:  token 32 KiB, JSON nesting 32, 64 attributes, 8 kind details, 64 keys.
 * Deviates: `crit` and repeated members are refused, texts with NUL too; an unknown key and a wrong signature are one
 *          fault and take the same time. A token without `exp` is accepted, as livekit-server accepts it.
 */
#pragma once
#include "base/lk_base.h"

#define LK_TOKEN_MAX 32768
#define LK_TOKEN_LEEWAY_SEC 60
#define LK_TOKEN_ATTRIBUTES_MAX 64
#define LK_TOKEN_KIND_DETAILS_MAX 8
#define LK_TOKEN_KEYS_MAX 64
#define LK_TOKEN_SECRET_MIN 32
/* What an arena for one verified token needs at most. */
#define LK_TOKEN_ARENA_BYTES (4 * LK_TOKEN_MAX)

/* A boolean that may be absent; absent is not false. */
typedef enum lk_token_maybe { LK_TOKEN_ABSENT = 0, LK_TOKEN_NO, LK_TOKEN_YES } lk_token_maybe;

typedef struct lk_token_attribute {
    const char *key, *value;
} lk_token_attribute;

/* The grant "video". Texts never NULL. */
typedef struct lk_token_video {
    bool room_create, room_list, room_record, room_admin, room_join, ingress_admin, hidden, recorder, agent;
    lk_token_maybe can_publish, can_subscribe, can_publish_data, can_update_own_metadata, can_subscribe_metrics,
        can_manage_agent_session;
    uint32_t publish_sources; /* bit 1 << TrackSource number; 0: no restriction by source */
    const char *room, *destination_room;
} lk_token_video;

/* Texts are terminated, UTF-8 and never NULL after verification ("" when absent); NULL counts as "" when minting. */
typedef struct lk_token {
    const char *key; /* iss: the API key */
    const char *identity, *name, *metadata, *sha256, *room_preset;
    const char *room_config; /* JSON text of the object, "" when absent */
    const lk_token_attribute *attributes;
    size_t attribute_count;
    int kind; /* ParticipantInfo.Kind; an unknown name counts as standard (0) */
    int kind_details[LK_TOKEN_KIND_DETAILS_MAX]; /* ParticipantInfo.KindDetail */
    size_t kind_detail_count;
    int64_t not_before_sec, expires_sec; /* Unix seconds; 0: absent */
    bool has_video;
    lk_token_video video;
} lk_token;

typedef struct lk_token_key {
    const char *key, *secret;
} lk_token_key;

typedef enum lk_token_fault {
    LK_TOKEN_OK,
    LK_TOKEN_TOO_LONG,
    LK_TOKEN_MALFORMED, /* three parts, base64url, JSON, types of claims */
    LK_TOKEN_ALGORITHM, /* anything but HS256, or `crit` */
    LK_TOKEN_SIGNATURE, /* unknown key or wrong signature */
    LK_TOKEN_NOT_YET,
    LK_TOKEN_EXPIRED,
    LK_TOKEN_NO_MEMORY,
} lk_token_fault;

/* One sentence for whoever sent the token, with nothing of it inside. Static storage. */
const char *lk_token_fault_text(lk_token_fault fault);

/* Verifies against keys at now_sec. *out is written, and lives as long as the arena, only with LK_TOKEN_OK. */
LK_NODISCARD lk_token_fault lk_token_verify(lk_token *out, lk_arena *arena, lk_str token, const lk_token_key *keys,
                                            size_t key_count, int64_t now_sec);
/* The claims of a token nobody vouches for: neither signature nor times are looked at. For showing it to its owner. */
LK_NODISCARD lk_token_fault lk_token_read(lk_token *out, lk_arena *arena, lk_str token);
/* Appends the token to out; its iss is key->key. LK_ERR_INVALID: a text that is not UTF-8. LK_ERR_LIMIT: longer than
 * LK_TOKEN_MAX. LK_ERR_NOMEM, LK_ERR_INTERNAL. */
LK_NODISCARD lk_err lk_token_mint(lk_text *out, const lk_token *claims, const lk_token_key *key);

/* Number of a participant kind's name in tokens ("agent"), -1 when unknown; and its name, "standard" for unknown numbers. */
int lk_token_kind_number(lk_str name);
const char *lk_token_kind_name(int kind);
/* Number of a track source's name in tokens ("camera"), -1 when unknown. */
int lk_token_source_number(lk_str name);
