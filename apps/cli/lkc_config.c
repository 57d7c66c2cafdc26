/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_config.c - configuration of `lkc serve` as YAML, with the names livekit-server gives it.
 */
#include "lkc_config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { FILE_BYTES_MAX = 1 << 20, PATH_MAX_HERE = 128 };

static bool refuse(lkc_config *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(c->why, sizeof c->why, format, list);
    va_end(list);
    return false;
}

/* ---- documents ------------------------------------------------------------------------------------------- */

typedef struct lkc_reader {
    lkc_config *config;
    yaml_document_t document;
    const char *origin;
    void (*warn)(const char *line);
} lkc_reader;

static const char *scalar(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
}

static bool load(lkc_reader *r, const char *text, size_t length)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return refuse(r->config, "%s: no memory", r->origin);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    bool ok = yaml_parser_load(&parser, &r->document) != 0;
    if (!ok)
        refuse(r->config, "%s:%zu: %s", r->origin, parser.problem_mark.line + 1, parser.problem ? parser.problem : "not YAML");
    yaml_parser_delete(&parser);
    return ok;
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static bool bad_value(lkc_reader *r, const char *path, const char *want)
{
    return refuse(r->config, "%s: %s is not %s", r->origin, path, want);
}

static bool take_number(const char *text, long min, long max, long *out)
{
    char *end;
    errno = 0;
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || errno || n < min || n > max)
        return false;
    *out = n;
    return true;
}

static bool take_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (size_t i = 0; text && i < 3; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *out = !strcmp(text, yes[i]);
            return true;
        }
    }
    return false;
}

static bool add_key(lkc_config *c, const char *origin, const char *key, const char *secret)
{
    if (!key || !secret || !*key || !*secret)
        return refuse(c, "%s: keys are pairs \"key: secret\"", origin);
    if (c->options.key_count == LKC_KEYS_MAX)
        return refuse(c, "%s: more than 64 keys", origin);
    c->keys[c->options.key_count++] = (lk_access_key){strdup(key), strdup(secret)};
    return true;
}

static bool take_pairs(lkc_reader *r, const yaml_node_t *node)
{
    if (!node || node->type != YAML_MAPPING_NODE)
        return refuse(r->config, "%s: keys are pairs \"key: secret\"", r->origin);
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++)
        if (!add_key(r->config, r->origin, scalar(yaml_document_get_node(&r->document, p->key)),
                     scalar(yaml_document_get_node(&r->document, p->value))))
            return false;
    return true;
}

/* ---- the keys of the file -------------------------------------------------------------------------------- */

static bool set_addresses(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    lk_server_options *o = &r->config->options;
    if (node->type != YAML_SEQUENCE_NODE)
        return bad_value(r, path, "a list of addresses");
    for (const yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        const char *text = scalar(yaml_document_get_node(&r->document, *i));
        if (!text || o->bind_address_count + 1 >= LKC_BIND_MAX)
            return bad_value(r, path, "a list of at most 16 addresses");
        if (!*text) { /* livekit-server's way to say: all */
            r->config->bind[o->bind_address_count++] = "0.0.0.0";
            text = "::";
        }
        r->config->bind[o->bind_address_count++] = strdup(text);
    }
    return true;
}

static bool set_keys(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    (void)path;
    return take_pairs(r, node);
}

static bool set_udp_port(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    long n;
    const char *text = scalar(node);
    char first[8] = "";
    if (text && strchr(text, '-') && strcspn(text, "-") < sizeof first) { /* livekit-server takes a range: one is enough here */
        memcpy(first, text, strcspn(text, "-"));
        text = first;
    }
    if (!take_number(text, 0, 65535, &n))
        return bad_value(r, path, "a port");
    r->config->options.udp_port = (int32_t)n;
    return true;
}

static bool set_stun(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    lkc_config *c = r->config;
    if (node->type != YAML_SEQUENCE_NODE)
        return bad_value(r, path, "a list of servers");
    for (const yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        const char *text = scalar(yaml_document_get_node(&r->document, *i));
        if (!text || !*text || c->options.stun_server_count == LKC_STUN_MAX)
            return bad_value(r, path, "a list of at most 8 servers");
        c->stun_servers[c->options.stun_server_count++] = strdup(text);
    }
    return true;
}

static bool set_auto_create(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    bool on;
    if (!take_bool(scalar(node), &on))
        return bad_value(r, path, "true or false");
    r->config->options.no_auto_create = !on;
    return true;
}

bool lkc_config_count(const char *text, uint32_t max, uint32_t *out)
{
    long n;
    if (!take_number(text, 0, (long)max, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool set_loops(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    return lkc_config_count(scalar(node), LKC_LOOPS_MAX, &r->config->options.loops) || bad_value(r, path, "a count (0..16)");
}

static bool set_level(lkc_reader *r, const char *path, const yaml_node_t *node)
{
    static const char *const names[] = {"error", "warn", "info", "debug", "trace"};
    for (size_t i = 0; scalar(node) && i < sizeof names / sizeof *names; i++) {
        if (!strcmp(scalar(node), names[i])) {
            r->config->options.log_level = (lk_log_level)i;
            return true;
        }
    }
    return bad_value(r, path, "error, warn, info, debug or trace");
}

typedef enum lkc_kind { LKC_PORT, LKC_TCP_PORT, LKC_COUNT, LKC_BOOL, LKC_TEXT, LKC_CALL, LKC_IGNORED } lkc_kind;
typedef struct lkc_row {
    const char *path;
    lkc_kind kind;
    size_t offset; /* in lkc_config */
    bool (*set)(lkc_reader *r, const char *path, const yaml_node_t *node);
} lkc_row;
#define AT(member) offsetof(lkc_config, member), NULL

static const lkc_row rows[] = {
    {"port", LKC_PORT, AT(options.port)},
    {"bind_addresses", LKC_CALL, 0, set_addresses},
    {"keys", LKC_CALL, 0, set_keys},
    {"key_file", LKC_TEXT, AT(key_file)},
    {"rtc.udp_port", LKC_CALL, 0, set_udp_port},
    {"rtc.tcp_port", LKC_TCP_PORT, AT(options.tcp_port)},
    {"rtc.node_ip", LKC_TEXT, AT(options.node_ip)},
    {"rtc.use_external_ip", LKC_BOOL, AT(options.use_external_ip)},
    {"rtc.advertise_internal_ip", LKC_BOOL, AT(options.advertise_internal_ip)},
    {"rtc.enable_loopback_candidate", LKC_BOOL, AT(options.loopback_candidates)},
    {"rtc.stun_servers", LKC_CALL, 0, set_stun},
    {"rtc.use_ice_lite", LKC_IGNORED, 0, NULL}, /* always */
    {"room.auto_create", LKC_CALL, 0, set_auto_create},
    {"room.empty_timeout", LKC_COUNT, AT(options.empty_timeout_sec)},
    {"room.departure_timeout", LKC_COUNT, AT(options.departure_timeout_sec)},
    {"room.max_participants", LKC_COUNT, AT(options.max_participants)},
    {"room.enable_remote_unmute", LKC_BOOL, AT(options.remote_unmute)},
    {"loops", LKC_CALL, 0, set_loops},
    {"page", LKC_BOOL, AT(options.page)},
    {"max_memory_mb", LKC_COUNT, AT(options.max_memory_mb)},
    {"overload_percent", LKC_COUNT, AT(options.overload_percent)},
    {"logging.level", LKC_CALL, 0, set_level},
    {"logging.json", LKC_BOOL, AT(log_json)},
};

static bool set_row(lkc_reader *r, const lkc_row *row, const yaml_node_t *node)
{
    char *at = (char *)r->config + row->offset;
    long n;
    switch (row->kind) {
    case LKC_PORT:
        if (!take_number(scalar(node), 0, 65535, &n))
            return bad_value(r, row->path, "a port");
        *(int32_t *)(void *)at = (int32_t)n;
        return true;
    case LKC_TCP_PORT: /* 0 switches it off, as in livekit-server */
        if (!take_number(scalar(node), 0, 65535, &n))
            return bad_value(r, row->path, "a port");
        *(int32_t *)(void *)at = n ? (int32_t)n : LK_SERVER_PORT_NONE;
        return true;
    case LKC_COUNT:
        if (!take_number(scalar(node), 0, INT32_MAX, &n))
            return bad_value(r, row->path, "a number");
        *(uint32_t *)(void *)at = (uint32_t)n;
        return true;
    case LKC_BOOL: return take_bool(scalar(node), (bool *)at) || bad_value(r, row->path, "true or false");
    case LKC_TEXT:
        if (!scalar(node))
            return bad_value(r, row->path, "a text");
        *(const char **)(void *)at = strdup(scalar(node));
        return true;
    case LKC_CALL: return row->set(r, row->path, node);
    case LKC_IGNORED: return true;
    }
    return true;
}

/* Whether some key begins with this path. */
static bool is_section(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strncmp(rows[i].path, path, n) && rows[i].path[n] == '.')
            return true;
    return false;
}

static bool walk(lkc_reader *r, const char *prefix, const yaml_node_t *node)
{
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const char *name = scalar(yaml_document_get_node(&r->document, p->key));
        const yaml_node_t *value = yaml_document_get_node(&r->document, p->value);
        char path[PATH_MAX_HERE], line[LKC_WHY_MAX];
        const lkc_row *row = NULL;
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", name ? name : "?");
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (!strcmp(rows[i].path, path))
                row = &rows[i];
        if (row) {
            if (!set_row(r, row, value))
                return false;
        } else if (value->type == YAML_MAPPING_NODE && is_section(path)) {
            if (!walk(r, path, value))
                return false;
        } else {
            snprintf(line, sizeof line, "%s: unknown key %s", r->origin, path);
            r->warn(line);
        }
    }
    return true;
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static char *read_file(lkc_config *c, const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc(FILE_BYTES_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, FILE_BYTES_MAX + 1, f) : 0;
    if (!f || !text || ferror(f)) {
        refuse(c, "%s: %s", path, strerror(errno));
    } else if (n > FILE_BYTES_MAX) {
        refuse(c, "%s: longer than 1 MiB", path);
    } else {
        *length = n;
        fclose(f);
        return text;
    }
    if (f)
        fclose(f);
    free(text);
    return NULL;
}

static bool read_text(lkc_reader *r, const char *text, size_t length, bool keys_only)
{
    if (!load(r, text, length))
        return false;
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    bool ok = true;
    if (keys_only)
        ok = take_pairs(r, root);
    else if (root && root->type == YAML_MAPPING_NODE)
        ok = walk(r, "", root);
    else if (root)
        ok = refuse(r->config, "%s: not a list of \"key: value\"", r->origin);
    yaml_document_delete(&r->document);
    return ok;
}

bool lkc_config_read(lkc_config *config, const char *path, void (*warn)(const char *line))
{
    lkc_reader r = {.config = config, .origin = path, .warn = warn};
    size_t length;
    char *text = read_file(config, path, &length);
    bool ok = text && read_text(&r, text, length, false);
    free(text);
    return ok;
}

bool lkc_config_keys(lkc_config *config, const char *text, const char *origin)
{
    lkc_reader r = {.config = config, .origin = origin};
    return read_text(&r, text, strlen(text), true);
}

bool lkc_config_key_file(lkc_config *config, const char *path)
{
    lkc_reader r = {.config = config, .origin = path};
    struct stat st;
    size_t length;
    if (stat(path, &st) == 0 && (st.st_mode & 07) != 0)
        return refuse(config, "%s: a key file that everybody may read (chmod 600)", path);
    char *text = read_file(config, path, &length);
    bool ok = text && read_text(&r, text, length, true);
    free(text);
    return ok;
}
