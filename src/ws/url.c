// SPDX-License-Identifier: Apache-2.0
#include "ws/url.h"

#include <stdarg.h>

void lk_error_set(lk_error *e, lk_err code, const char *first, ...)
{
    va_list list;
    size_t at = 0;
    if (!e)
        return;
    e->code = code;
    va_start(list, first);
    for (const char *piece = first; piece; piece = va_arg(list, const char *))
        for (; *piece && at + 1 < sizeof e->text; piece++)
            e->text[at++] = *piece >= 0 && *piece < 0x20 ? ' ' : *piece;
    va_end(list);
    e->text[at] = 0;
}

static lk_err refuse(lk_error *why, const char *text, lk_str what)
{
    char copy[80];
    (void)lk_str_copy(copy, sizeof copy, what);
    lk_error_set(why, LK_ERR_INVALID, "failed to parse the url: ", text, copy, (const char *)NULL);
    return LK_ERR_INVALID;
}

static bool split_scheme(lk_str *text, lk_str *scheme)
{
    for (size_t i = 0; i + 2 < text->len; i++) {
        char c = text->p[i];
        if (c == ':' && text->p[i + 1] == '/' && text->p[i + 2] == '/') {
            *scheme = (lk_str){text->p, i};
            *text = (lk_str){text->p + i + 3, text->len - i - 3};
            return true;
        }
        /* What else stands there is no scheme, and no text repeats it: it may be a token. [RFC3986 s3.1] */
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'))))
            return false;
    }
    return false;
}

static size_t find(lk_str s, const char *any)
{
    for (size_t i = 0; i < s.len; i++)
        for (const char *c = any; *c; c++)
            if (s.p[i] == *c)
                return i;
    return s.len;
}

static bool host_chars(lk_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_' || (unsigned char)c >= 0x80;
        if (!ok)
            return false;
    }
    return s.len > 0;
}

static lk_err parse_authority(lk_url *u, lk_str authority, lk_error *why)
{
    lk_str host = authority, port = {0};
    size_t at = authority.len;
    for (size_t i = 0; i < authority.len; i++)
        if (authority.p[i] == '@')
            at = i;
    if (at < authority.len) {
        u->userinfo = (lk_str){authority.p, at};
        host = (lk_str){authority.p + at + 1, authority.len - at - 1};
    }
    lk_addr ip;
    if (host.len && host.p[0] == '[') {
        size_t end = find(host, "]");
        if (end == host.len)
            return refuse(why, "no ] after the address in ", host);
        lk_str rest = {host.p + end + 1, host.len - end - 1};
        host = (lk_str){host.p + 1, end - 1};
        if (!lk_addr_parse_ip(&ip, host) || ip.family != 6)
            return refuse(why, "not an IPv6 address: ", host);
        u->host_is_ip = true;
        if (rest.len && rest.p[0] != ':')
            return refuse(why, "unexpected text after the address: ", rest);
        port = rest.len ? (lk_str){rest.p + 1, rest.len - 1} : rest;
    } else {
        size_t colon = find(host, ":");
        if (colon < host.len)
            port = (lk_str){host.p + colon + 1, host.len - colon - 1};
        host.len = colon;
        if (!host_chars(host))
            return refuse(why, host.len ? "not a host name: " : "empty host", host);
        u->host_is_ip = lk_addr_parse_ip(&ip, host);
    }
    if (host.len > LK_URL_HOST_MAX)
        return refuse(why, "host name longer than 253 characters", (lk_str){0});
    for (size_t i = 0; i < host.len; i++)
        u->host[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] + 32) : host.p[i];
    u->host[host.len] = 0;
    uint64_t n = u->tls ? 443 : 80;
    if (port.len && (!lk_str_u64(port, 65535, &n) || n == 0))
        return refuse(why, "invalid port number: ", port);
    u->port = (uint16_t)n;
    return LK_OK;
}

lk_err lk_url_parse(lk_url *out, lk_str text, lk_error *why)
{
    lk_url u = {0};
    lk_str scheme;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
            return refuse(why, "blank or control character in the URL", (lk_str){0});
    if (!split_scheme(&text, &scheme) || scheme.len == 0)
        return refuse(why, "relative URL without a base", (lk_str){0});
    if (lk_str_ieq(scheme, "wss") || lk_str_ieq(scheme, "https")) {
        u.tls = true;
    } else if (!lk_str_ieq(scheme, "ws") && !lk_str_ieq(scheme, "http")) {
        char copy[40];
        (void)lk_str_copy(copy, sizeof copy, scheme);
        lk_error_set(why, LK_ERR_INVALID, "failed to parse the url: unsupported scheme: ", copy, (const char *)NULL);
        return LK_ERR_INVALID;
    }
    lk_str authority = {text.p, find(text, "/?#")};
    lk_str rest = {text.p + authority.len, text.len - authority.len};
    u.path = (lk_str){rest.p, find(rest, "?#")};
    while (u.path.len && u.path.p[u.path.len - 1] == '/')
        u.path.len--;
    lk_err err = parse_authority(&u, authority, why);
    if (err == LK_OK)
        *out = u;
    return err;
}

static bool no_proxy_covers(lk_str list, lk_str host)
{
    while (list.len) {
        lk_str item = lk_str_trim(lk_str_cut(&list, ','));
        if (lk_str_eq(item, "*"))
            return true;
        while (item.len && item.p[0] == '.')
            item = (lk_str){item.p + 1, item.len - 1};
        if (item.len == 0 || item.len > host.len)
            continue;
        lk_str tail = {host.p + host.len - item.len, item.len};
        char name[LK_URL_HOST_MAX + 1];
        bool whole = tail.len == host.len || host.p[host.len - item.len - 1] == '.';
        if (whole && lk_str_copy(name, sizeof name, item) && lk_str_ieq(tail, name))
            return true;
    }
    return false;
}

lk_str lk_proxy_choose(const lk_proxy_env *env, const lk_url *url)
{
    const char *proxy = url->tls ? env->https_proxy : env->http_proxy;
    if (!proxy || !*proxy || (env->no_proxy && no_proxy_covers(lk_str_of(env->no_proxy), lk_str_of(url->host))))
        return (lk_str){0};
    return lk_str_of(proxy);
}

lk_err lk_proxy_parse(lk_url *out, lk_str text, lk_error *why)
{
    lk_str rest = text, scheme;
    if (split_scheme(&rest, &scheme)) {
        lk_err err = lk_str_ieq(scheme, "http") ? lk_url_parse(out, text, why) : LK_ERR_INVALID;
        if (err != LK_OK && !lk_str_ieq(scheme, "http"))
            lk_error_set(why, err, "only http:// proxies are built", (const char *)NULL);
        return err;
    }
    lk_url u = {0};
    text.len = find(text, "/?#");
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
            return refuse(why, "blank or control character in the URL", (lk_str){0});
    lk_err err = parse_authority(&u, text, why);
    if (err == LK_OK)
        *out = u;
    return err;
}
