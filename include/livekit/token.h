/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/token.h - access tokens: made, checked and shown. Needs no runtime. Words of the contracts: runtime.h.
 */
#ifndef LIVEKIT_TOKEN_H
#define LIVEKIT_TOKEN_H

#include "livekit/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LK_ACCESS_TOKEN_MAX 32768 /* bytes of a token; one that would be longer is neither made nor accepted */

typedef struct lk_access_key {
    const char *key;    /* the name of the secret: "APIxyz", "devkey" */
    const char *secret; /* 32 bytes or more for a server that is to accept it */
} lk_access_key;

/* A permission that may be left to the server: it takes "publish", "subscribe" and "data" for granted, "metadata" not. */
typedef enum lk_grant { LK_GRANT_DEFAULT = 0, LK_GRANT_DENY = 1, LK_GRANT_ALLOW = 2 } lk_grant;

/* Strings: borrow, UTF-8, NULL counts as "". */
typedef struct lk_access_token_options {
    uint32_t size; /* set by lk_access_token_options_init */
    const char *identity;
    const char *name;
    const char *room;     /* "": of no particular room */
    const char *metadata;
    const lk_attribute *attributes; /* attribute_count of them, at most 64 */
    size_t attribute_count;
    const char *kind; /* "standard" when empty; "agent", "ingress", "egress", "sip", "connector", "bridge" */
    uint32_t valid_sec;       /* 21600: until when, from now on */
    int64_t not_before_sec;   /* Unix time; 0: now */
    bool room_join, room_create, room_list, room_admin, room_record;
    bool hidden, recorder, agent;
    lk_grant can_publish, can_subscribe, can_publish_data, can_update_metadata;
    uint32_t publish_sources; /* 1 << lk_track_source for each that may be published; 0: any */
} lk_access_token_options;

/* Fills in the defaults. options not NULL. LK_ANY. */
LK_API void lk_access_token_options_init(lk_access_token_options *options);

/* Writes a token, terminated, into out of cap bytes (LK_ACCESS_TOKEN_MAX + 1 is always enough).
 * LK_ERR_LIMIT: it does not fit; LK_ERR_INVALID also for text that is not UTF-8, an unknown kind. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_access_token_create(char *out, size_t cap, const lk_access_key *key,
                                                  const lk_access_token_options *options);

/* Checks signature and times as a server with these keys would, now. why: may be NULL, otherwise says what is wrong, without
 * anything of the token in it. LK_ERR_AUTH: it would be refused. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_access_token_verify(const char *token, const lk_access_key *keys, size_t key_count, lk_error *why);

/* Writes the claims as they stand in the token, JSON, terminated, into out; checks nothing but the form. LK_ERR_WIRE: not a token;
 * LK_ERR_LIMIT: cap is too small (LK_ACCESS_TOKEN_MAX is always enough). LK_ANY. */
LK_API LK_NODISCARD lk_err lk_access_token_claims(char *out, size_t cap, const char *token);

#ifdef __cplusplus
}
#endif
#endif
