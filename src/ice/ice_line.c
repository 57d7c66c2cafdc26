// SPDX-License-Identifier: Apache-2.0
#include "ice/ice_internal.h"

uint32_t lk_ice_candidate_priority(uint32_t type_preference, uint32_t local_preference, uint32_t component)
{
    return (type_preference << 24) | (local_preference << 8) | (256 - component);
}

uint64_t lk_ice_pair_priority(uint32_t g, uint32_t d)
{
    return ((uint64_t)LK_MIN(g, d) << 32) + 2 * (uint64_t)LK_MAX(g, d) + (g > d ? 1 : 0);
}

const char *lk_ice_type_text(lk_ice_type t)
{
    static const char *const text[] = {"host", "srflx", "prflx", "relay"};
    return text[t];
}

/* One or more spaces are never written by anybody; a single one is required. */
static bool next_word(lk_str *s, lk_str *out)
{
    *out = lk_str_cut(s, ' ');
    return out->len > 0;
}

static bool ice_chars(lk_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
        if (!ok)
            return false;
    }
    return s.len > 0;
}

static bool known_type(lk_str s)
{
    return lk_str_eq(s, "host") || lk_str_eq(s, "srflx") || lk_str_eq(s, "prflx") || lk_str_eq(s, "relay");
}

static bool parse_pairs(lk_ice_line *c, lk_str s)
{
    while (s.len) {
        lk_str name, value;
        uint64_t n;
        if (!next_word(&s, &name) || !next_word(&s, &value))
            return false;
        if (lk_str_eq(name, "raddr")) {
            c->raddr = value;
        } else if (lk_str_eq(name, "rport")) {
            if (!lk_str_u64(value, 65535, &n))
                return false;
            c->rport = (uint16_t)n;
            c->has_rport = true;
        } else if (lk_str_eq(name, "tcptype")) {
            c->tcptype = value;
        }
    }
    return true;
}

/* A number that is no address; names (mDNS, FQDN) are legal. */
static bool is_address(lk_str s)
{
    lk_addr ignored;
    bool numeric = true;
    for (size_t i = 0; i < s.len; i++)
        numeric = numeric && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.');
    return !numeric || lk_addr_parse_ip(&ignored, s);
}

lk_err lk_ice_line_parse(lk_ice_line *out, lk_str line)
{
    lk_ice_line c = {0};
    lk_str word;
    uint64_t n;
    if (line.len > LK_ICE_CANDIDATE_LINE_MAX)
        return LK_ERR_LIMIT;
    for (size_t i = 0; i < line.len; i++)
        if (line.p[i] < 0x20 || line.p[i] > 0x7e)
            return LK_ERR_WIRE;
    if (lk_str_starts(line, "a="))
        line = (lk_str){line.p + 2, line.len - 2};
    if (!lk_str_starts(line, "candidate:"))
        return LK_ERR_WIRE;
    line = (lk_str){line.p + 10, line.len - 10};
    if (!next_word(&line, &c.foundation) || c.foundation.len > LK_ICE_FOUNDATION_MAX || !ice_chars(c.foundation))
        return LK_ERR_WIRE;
    if (!next_word(&line, &word) || word.len > 5 || !lk_str_u64(word, 256, &n) || n == 0)
        return LK_ERR_WIRE;
    c.component = (uint32_t)n;
    if (!next_word(&line, &c.protocol) || (!lk_str_ieq(c.protocol, "udp") && !lk_str_ieq(c.protocol, "tcp")))
        return LK_ERR_WIRE;
    if (!next_word(&line, &word) || word.len > 10 || !lk_str_u64(word, 0xffffffffu, &n))
        return LK_ERR_WIRE;
    c.priority = (uint32_t)n;
    if (!next_word(&line, &c.address) || !next_word(&line, &word) || !lk_str_u64(word, 65535, &n))
        return LK_ERR_WIRE;
    c.port = (uint16_t)n;
    if (!is_address(c.address))
        return LK_ERR_WIRE;
    if (!next_word(&line, &word) || !lk_str_eq(word, "typ") || !next_word(&line, &c.type) || !known_type(c.type))
        return LK_ERR_WIRE;
    c.rest = line;
    if (!parse_pairs(&c, line))
        return LK_ERR_WIRE;
    *out = c;
    return LK_OK;
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* Equal for candidates of one type, one address and one server. [RFC8445 s5.1.1.3] */
void lk_ice_put_foundation(lk_ice_candidate *c, const lk_addr *base, const lk_addr *server)
{
    uint32_t h = lk_crc32(base->ip, 16) ^ (uint32_t)c->type ^ (server ? lk_crc32(server->ip, 16) : 0);
    (void)lk_u64_text(h, c->foundation);
}

static void put_address(lk_text *t, const char *before_ip, const char *before_port, const lk_addr *a)
{
    char ip[LK_ADDR_TEXT_MAX];
    lk_text_z(t, before_ip);
    lk_text_z(t, lk_addr_ip_text(a, ip));
    lk_text_z(t, before_port);
    lk_text_u64(t, a->port);
}

lk_err lk_ice_tell_candidate(lk_ice *ice, const lk_ice_candidate *c, const lk_addr *base)
{
    lk_ice_event ev = {.type = LK_ICE_EV_CANDIDATE};
    lk_text t;
    lk_text_init(&t, ice->env, sizeof ev.line - 1);
    lk_text_z(&t, "candidate:");
    lk_text_z(&t, c->foundation);
    lk_text_z(&t, " 1 udp ");
    lk_text_u64(&t, c->priority);
    put_address(&t, " ", " ", &c->addr);
    lk_text_z(&t, " typ ");
    lk_text_z(&t, lk_ice_type_text(c->type));
    if (base)
        put_address(&t, " raddr ", " rport ", base);
    lk_text_z(&t, " generation ");
    lk_text_u64(&t, ice->generation);
    lk_text_z(&t, " ufrag ");
    lk_text_z(&t, ice->ufrag);
    bool fits = !t.bad && lk_str_copy(ev.line, sizeof ev.line, (lk_str){t.p, t.len});
    lk_text_deinit(&t);
    if (!fits)
        return LK_ERR_NOMEM;
    if (lk_queue_push(&ice->events, &ev) != LK_OK)
        ice->dropped++;
    return LK_OK;
}
