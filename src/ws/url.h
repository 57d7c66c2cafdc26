// SPDX-License-Identifier: Apache-2.0
/* ws/url.h - the URLs a user may give: ws, wss, http, https. [RFC3986] */
#pragma once
#include "base/lk_base.h"
#include "livekit/types.h"

#define LK_URL_HOST_MAX 253 /* longest DNS name */

typedef struct lk_url {
    bool tls;
    uint16_t port;
    char host[LK_URL_HOST_MAX + 1]; /* lower case; an IPv6 literal without brackets */
    bool host_is_ip;
    lk_str path;                    /* borrowed: starts with '/' or is empty; no trailing '/' */
    lk_str userinfo;                /* borrowed, may be empty */
} lk_url;

/* Query and fragment are cut off. On error *why names what was wrong: INVALID. */
LK_NODISCARD lk_err lk_url_parse(lk_url *out, lk_str text, lk_error *why);

/* Values of the proxy variables of the environment; any may be NULL. */
typedef struct lk_proxy_env {
    const char *https_proxy, *http_proxy, *no_proxy;
} lk_proxy_env;
/* The proxy for that host, or an empty slice: none. NO_PROXY: comma-separated names, suffixes, addresses, "*". */
lk_str lk_proxy_choose(const lk_proxy_env *env, const lk_url *url);

/* A proxy as people write it: a URL, or host and port alone. INVALID: not one, or one that wants TLS of its own. */
LK_NODISCARD lk_err lk_proxy_parse(lk_url *out, lk_str text, lk_error *why);

/* Fills an error; text is cut at its size. Pieces are concatenated; the list ends with NULL. */
void lk_error_set(lk_error *e, lk_err code, const char *first, ...);
