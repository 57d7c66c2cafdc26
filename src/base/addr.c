// SPDX-License-Identifier: Apache-2.0
#include "base/addr.h"

#include <string.h>

bool lk_addr_ip_eq(const lk_addr *a, const lk_addr *b)
{
    return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
}

bool lk_addr_eq(const lk_addr *a, const lk_addr *b)
{
    return a->port == b->port && lk_addr_ip_eq(a, b);
}

static bool parse_v4(uint8_t out[4], lk_str s)
{
    for (int i = 0; i < 4; i++) {
        lk_str part = i < 3 ? lk_str_cut(&s, '.') : s;
        uint64_t v;
        if (part.len > 3 || !lk_str_u64(part, 255, &v))
            return false;
        out[i] = (uint8_t)v;
    }
    return true;
}

static bool parse_group(lk_str g, uint16_t *out)
{
    uint32_t v = 0;
    if (g.len == 0 || g.len > 4)
        return false;
    for (size_t i = 0; i < g.len; i++) {
        char c = g.p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return false;
        v = v * 16 + (uint32_t)d;
    }
    *out = (uint16_t)v;
    return true;
}

/* Groups of one side of "::"; an IPv4 tail counts as two. Returns the count, -1 on error. */
static int parse_groups(lk_str s, uint16_t out[8])
{
    int n = 0;
    if (s.len == 0)
        return 0;
    for (;;) {
        bool last = memchr(s.p, ':', s.len) == NULL;
        lk_str g = last ? s : lk_str_cut(&s, ':');
        if (n == 8)
            return -1;
        uint8_t v4[4];
        if (last && memchr(g.p, '.', g.len)) {
            if (n > 6 || !parse_v4(v4, g))
                return -1;
            out[n++] = lk_get_u16(v4);
            out[n++] = lk_get_u16(v4 + 2);
            return n;
        }
        if (!parse_group(g, &out[n]))
            return -1;
        n++;
        if (last)
            return n;
        if (s.len == 0)
            return -1;
    }
}

static bool parse_v6(uint8_t ip[16], lk_str s)
{
    uint16_t head[8], tail[8];
    int nh, nt = 0;
    size_t gap = s.len;
    for (size_t i = 0; i + 1 < s.len; i++) {
        if (s.p[i] == ':' && s.p[i + 1] == ':') {
            gap = i;
            break;
        }
    }
    nh = parse_groups((lk_str){s.p, gap}, head);
    if (gap < s.len)
        nt = parse_groups((lk_str){s.p + gap + 2, s.len - gap - 2}, tail);
    if (nh < 0 || nt < 0 || (gap == s.len ? nh != 8 : nh + nt > 7))
        return false;
    memset(ip, 0, 16);
    for (int i = 0; i < nh; i++)
        lk_put_u16(ip + 2 * i, head[i]);
    for (int i = 0; i < nt; i++)
        lk_put_u16(ip + 16 - 2 * nt + 2 * i, tail[i]);
    return true;
}

bool lk_addr_parse_ip(lk_addr *out, lk_str s)
{
    lk_addr a = {0};
    if (s.len == 0 || s.len > 45)
        return false;
    if (memchr(s.p, ':', s.len)) {
        a.family = 6;
        if (!parse_v6(a.ip, s))
            return false;
    } else {
        a.family = 4;
        if (!parse_v4(a.ip, s))
            return false;
    }
    *out = a;
    return true;
}

static char *put_z(char *p, const char *z)
{
    while (*z)
        *p++ = *z++;
    return p;
}

static char *put_hex(char *p, uint16_t v)
{
    bool started = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
        int d = (v >> shift) & 15;
        if (d || started || shift == 0) {
            *p++ = "0123456789abcdef"[d];
            started = true;
        }
    }
    return p;
}

static char *put_v6(char *p, const uint8_t ip[16])
{
    int best = -1, best_len = 1;
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && lk_get_u16(ip + 2 * (i + n)) == 0)
            n++;
        if (n > best_len) {
            best = i;
            best_len = n;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *p++ = ':';
            *p++ = ':';
            i += best_len - 1;
            continue;
        }
        if (i && i != best + best_len)
            *p++ = ':';
        else if (i && best < 0)
            *p++ = ':';
        p = put_hex(p, lk_get_u16(ip + 2 * i));
    }
    return p;
}

char *lk_addr_ip_text(const lk_addr *a, char out[LK_ADDR_TEXT_MAX])
{
    char *p = out, num[LK_STR_FMT_MAX];
    if (a->family == 6) {
        p = put_v6(p, a->ip);
    } else if (a->family == 4) {
        for (int i = 0; i < 4; i++) {
            if (i)
                *p++ = '.';
            p = put_z(p, lk_u64_text(a->ip[i], num));
        }
    } else {
        p = put_z(p, "none");
    }
    *p = 0;
    return out;
}

char *lk_addr_text(const lk_addr *a, char out[LK_ADDR_TEXT_MAX])
{
    char ip[LK_ADDR_TEXT_MAX], num[LK_STR_FMT_MAX], *p = out;
    lk_addr_ip_text(a, ip);
    if (a->family == 6)
        *p++ = '[';
    p = put_z(p, ip);
    if (a->family == 6)
        *p++ = ']';
    *p++ = ':';
    p = put_z(p, lk_u64_text(a->port, num));
    *p = 0;
    return out;
}

lk_addr lk_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    return (lk_addr){.family = 4, .port = port, .ip = {a, b, c, d}};
}

bool lk_addr_is_loopback(const lk_addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == 4 ? a->ip[0] == 127 : a->family == 6 && memcmp(a->ip, one, 16) == 0;
}

bool lk_addr_is_link_local(const lk_addr *a)
{
    return a->family == 4 ? a->ip[0] == 169 && a->ip[1] == 254
                          : a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

bool lk_addr_is_unspecified(const lk_addr *a)
{
    static const uint8_t zero[16] = {0};
    return memcmp(a->ip, zero, 16) == 0;
}
