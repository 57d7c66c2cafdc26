// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool lk_str_eq2(lk_str a, lk_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool lk_str_eq(lk_str a, const char *z) { return lk_str_eq2(a, lk_str_of(z)); }

bool lk_str_ieq(lk_str a, const char *z)
{
    if (a.len != strlen(z))
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.p[i]) != lower(z[i]))
            return false;
    return true;
}

bool lk_str_starts(lk_str a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && memcmp(a.p, prefix, n) == 0;
}

lk_str lk_str_cut(lk_str *s, char sep)
{
    lk_str head = *s;
    for (size_t i = 0; i < s->len; i++) {
        if (s->p[i] == sep) {
            head.len = i;
            s->p += i + 1;
            s->len -= i + 1;
            return head;
        }
    }
    s->p = s->p ? s->p + s->len : s->p;
    s->len = 0;
    return head;
}

lk_str lk_str_trim(lk_str s)
{
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t' || s.p[s.len - 1] == '\r'))
        s.len--;
    return s;
}

bool lk_str_u64(lk_str s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}

bool lk_str_copy(char *out, size_t cap, lk_str s)
{
    size_t n = LK_MIN(s.len, cap - 1);
    if (n)
        memcpy(out, s.p, n);
    out[n] = 0;
    return n == s.len;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int lk_hex_decode(uint8_t *out, size_t cap, lk_str s)
{
    if (s.len % 2 != 0 || s.len / 2 > cap)
        return -1;
    for (size_t i = 0; i < s.len; i += 2) {
        int hi = hex_digit(s.p[i]), lo = hex_digit(s.p[i + 1]);
        if (hi < 0 || lo < 0)
            return -1;
        out[i / 2] = (uint8_t)(hi * 16 + lo);
    }
    return (int)(s.len / 2);
}

bool lk_utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < len;) {
        uint8_t c = p[i];
        size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;
        if (c == 0 || n == 0 || len - i < n)
            return false;
        uint32_t v = n == 1 ? c : c & (0xffu >> (n + 1));
        for (size_t k = 1; k < n; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
            v = (v << 6) | (p[i + k] & 0x3f);
        }
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
            return false;
        i += n;
    }
    return true;
}

void lk_text_init(lk_text *t, const lk_env *env, size_t max)
{
    *t = (lk_text){.env = env, .max = max};
}

void lk_text_deinit(lk_text *t)
{
    lk_release(t->env, t->p, t->cap);
    *t = (lk_text){.env = t->env, .max = t->max};
}

void lk_text_clear(lk_text *t)
{
    t->len = 0;
    t->bad = false;
    if (t->p)
        t->p[0] = 0;
}

void lk_text_put(lk_text *t, const char *data, size_t n)
{
    if (t->bad || n == 0)
        return;
    if (n > t->max || t->len > t->max - n) {
        t->bad = true;
        return;
    }
    size_t need = t->len + n + 1;
    if (need > t->cap) {
        size_t cap = t->cap ? t->cap : 128;
        while (cap < need)
            cap *= 2;
        char *p = (char *)lk_resize(t->env, t->p, t->cap, cap);
        if (!p) {
            t->bad = true;
            return;
        }
        t->p = p;
        t->cap = cap;
    }
    memcpy(t->p + t->len, data, n);
    t->len += n;
    t->p[t->len] = 0;
}

void lk_text_z(lk_text *t, const char *z) { lk_text_put(t, z, z ? strlen(z) : 0); }
void lk_text_str(lk_text *t, lk_str s) { lk_text_put(t, s.p, s.len); }
void lk_text_ch(lk_text *t, char c) { lk_text_put(t, &c, 1); }

char *lk_u64_text(uint64_t v, char out[LK_STR_FMT_MAX])
{
    char tmp[LK_STR_FMT_MAX];
    size_t n = 0;
    do {
        tmp[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    for (size_t i = 0; i < n; i++)
        out[i] = tmp[n - 1 - i];
    out[n] = 0;
    return out;
}

void lk_text_u64(lk_text *t, uint64_t v)
{
    char buf[LK_STR_FMT_MAX];
    lk_text_z(t, lk_u64_text(v, buf));
}

void lk_text_i64(lk_text *t, int64_t v)
{
    if (v < 0)
        lk_text_ch(t, '-');
    lk_text_u64(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void lk_text_hex(lk_text *t, const void *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < n; i++) {
        lk_text_ch(t, digits[p[i] >> 4]);
        lk_text_ch(t, digits[p[i] & 15]);
    }
}

void lk_text_url(lk_text *t, lk_str s)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        uint8_t b = (uint8_t)c;
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            lk_text_ch(t, c);
            continue;
        }
        lk_text_ch(t, '%');
        lk_text_ch(t, digits[b >> 4]);
        lk_text_ch(t, digits[b & 15]);
    }
}

const char *lk_text_cstr(const lk_text *t) { return t->p ? t->p : ""; }

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void lk_base64_put(lk_text *t, lk_base64_kind kind, const void *data, size_t n)
{
    const char *abc = kind == LK_BASE64_STD ? base64_std : base64_url;
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = LK_MIN((size_t)3, n - i);
        uint32_t v = (uint32_t)p[i] << 16;
        if (have > 1)
            v |= (uint32_t)p[i + 1] << 8;
        if (have > 2)
            v |= p[i + 2];
        char q[4] = {abc[v >> 18], abc[(v >> 12) & 63], abc[(v >> 6) & 63], abc[v & 63]};
        if (have < 3)
            q[3] = '=';
        if (have < 2)
            q[2] = '=';
        lk_text_put(t, q, kind == LK_BASE64_URL_NOPAD ? have + 1 : 4);
    }
}

static int base64_value(lk_base64_kind kind, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (kind == LK_BASE64_STD ? '+' : '-'))
        return 62;
    return c == (kind == LK_BASE64_STD ? '/' : '_') ? 63 : -1;
}

long lk_base64_decode(uint8_t *out, size_t cap, lk_base64_kind kind, lk_str s)
{
    if (kind != LK_BASE64_URL_NOPAD) {
        if (s.len % 4 != 0)
            return -1;
        for (int pad = 0; pad < 2 && s.len && s.p[s.len - 1] == '='; pad++)
            s.len--;
    }
    if (s.len % 4 == 1)
        return -1;
    size_t n = 0;
    uint32_t acc = 0;
    int bits = 0;
    for (size_t i = 0; i < s.len; i++) {
        int v = base64_value(kind, s.p[i]);
        if (v < 0)
            return -1;
        acc = (acc << 6) | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n == cap)
                return -1;
            out[n++] = (uint8_t)(acc >> bits);
        }
    }
    if (acc & ((1u << bits) - 1))
        return -1;
    return (long)n;
}

void lk_text_json(lk_text *t, lk_str s)
{
    static const char hex[] = "0123456789abcdef";
    lk_text_ch(t, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20) {
            lk_text_z(t, "\\u00");
            lk_text_ch(t, hex[c >> 4]);
            lk_text_ch(t, hex[c & 15]);
            continue;
        }
        if (c == '"' || c == '\\')
            lk_text_ch(t, '\\');
        lk_text_ch(t, (char)c);
    }
    lk_text_ch(t, '"');
}

bool lk_json_is_shallow(lk_str json, size_t max)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.p[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if ((c == '{' || c == '[') && ++depth > max) {
            return false;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return true;
}
