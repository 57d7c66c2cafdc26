// SPDX-License-Identifier: Apache-2.0
/* Walks a folder of vector files and runs the registered handlers. */
#include "vectors/lk_vectors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static lk_vec_handler *handlers;
static size_t live_bytes;
static lk_prng prng;

void lk_vec_register(lk_vec_handler *h)
{
    h->next = handlers;
    handlers = h;
}

static void *mem_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    void *p = malloc(size);
    live_bytes += p ? size : 0;
    return p;
}
static void *mem_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    void *q = realloc(p, new_size);
    if (q)
        live_bytes += new_size - old_size;
    return q;
}
static void mem_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    live_bytes -= p ? size : 0;
    free(p);
}
static const lk_mem mem = {NULL, mem_alloc, mem_resize, mem_release};
static const lk_rng rng = {&prng, lk_prng_fill};
static const char *broken;
static const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken};

static void end_case(lk_vec *v)
{
    if (v->open && v->bad)
        v->failed++;
    v->open = false;
}

void lk_vec_begin(lk_vec *v, json_t *c)
{
    static char index[32];
    end_case(v);
    snprintf(index, sizeof index, "#%zu", v->cases);
    const char *name = json_string_value(json_object_get(c, "name"));
    v->name = name ? name : index;
    v->cases++;
    v->open = true;
    v->bad = false;
}

bool lk_vec_check(lk_vec *v, bool cond, const char *file, int line, const char *text)
{
    if (!cond && !v->bad)
        printf("  %s: %s: %s:%d: %s\n", v->path, v->open ? v->name : "(file)", file, line, text);
    if (!cond && !v->open)
        v->failed++;
    v->bad = v->bad || !cond;
    return cond;
}

bool lk_vec_eq(lk_vec *v, int64_t a, int64_t b, const char *file, int line, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s (%lld, %lld)", text, (long long)a, (long long)b);
    return lk_vec_check(v, a == b, file, line, full);
}

bool lk_vec_eq_mem(lk_vec *v, const void *a, size_t an, const void *b, size_t bn, const char *file, int line,
                   const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s (%zu, %zu bytes)", text, an, bn);
    return lk_vec_check(v, an == bn && (an == 0 || memcmp(a, b, an) == 0), file, line, full);
}

lk_bytes lk_vec_hex_of(json_t *text)
{
    if (!json_is_string(text))
        return (lk_bytes){NULL, 0};
    lk_str s = {json_string_value(text), json_string_length(text)};
    uint8_t *data = malloc(s.len / 2 ? s.len / 2 : 1);
    if (!data)
        abort();
    int n = s.len ? lk_hex_decode(data, s.len / 2, s) : 0;
    if (n < 0) {
        fprintf(stderr, "not hex: %.40s\n", s.p);
        abort();
    }
    return (lk_bytes){data, (size_t)n};
}
lk_bytes lk_vec_hex(json_t *o, const char *key) { return lk_vec_hex_of(json_object_get(o, key)); }
void lk_vec_free(lk_bytes b)
{
    union {
        const uint8_t *in;
        void *out;
    } u = {b.data};
    free(u.out);
}

uint64_t lk_vec_u64_of(json_t *value, uint64_t absent)
{
    uint64_t n;
    if (json_is_integer(value))
        return (uint64_t)json_integer_value(value);
    if (json_is_string(value) && lk_str_u64(lk_str_of(json_string_value(value)), UINT64_MAX, &n))
        return n;
    return absent;
}
uint64_t lk_vec_u64(json_t *o, const char *key, uint64_t absent)
{
    return lk_vec_u64_of(json_object_get(o, key), absent);
}
int64_t lk_vec_i64(json_t *o, const char *key, int64_t absent)
{
    json_t *value = json_object_get(o, key);
    const char *z = json_string_value(value);
    uint64_t n;
    if (z && z[0] == '-' && lk_str_u64(lk_str_of(z + 1), INT64_MAX, &n))
        return -(int64_t)n;
    return (int64_t)lk_vec_u64_of(value, (uint64_t)absent);
}
bool lk_vec_bool(json_t *o, const char *key, bool absent)
{
    json_t *value = json_object_get(o, key);
    return json_is_boolean(value) ? json_is_true(value) : absent;
}
lk_str lk_vec_str(json_t *o, const char *key)
{
    json_t *value = json_object_get(o, key);
    return json_is_string(value) ? (lk_str){json_string_value(value), json_string_length(value)}
                                 : (lk_str){"", 0};
}
const char *lk_vec_text(json_t *o, const char *key) { return lk_vec_str(o, key).p; }
bool lk_vec_is(json_t *o, const char *key, const char *value) { return lk_str_eq(lk_vec_str(o, key), value); }

static size_t passed, failed, skipped, seen;
static bool strict;
static const char *only;

/* By the end of its path: "stun/stun_valid.json" is found below the folder of all files and below a copy of stun/ alone. */
static const lk_vec_handler *handler_of(const char *full)
{
    for (const lk_vec_handler *h = handlers; h; h = h->next) {
        size_t have = strlen(full), want = strlen(h->path);
        if (have >= want && strcmp(full + have - want, h->path) == 0 && (have == want || full[have - want - 1] == '/'))
            return h;
    }
    return NULL;
}

static void run_file(const char *full, const char *path)
{
    if (only && !strstr(path, only))
        return;
    seen++;
    const lk_vec_handler *h = handler_of(full);
    if (!h) {
        printf("%s %s: no handler\n", strict ? "FAIL" : "skip", path);
        *(strict ? &failed : &skipped) += 1;
        return;
    }
    json_error_t error;
    json_t *file = json_load_file(full, JSON_ALLOW_NUL, &error);
    if (!file) {
        printf("FAIL %s: line %d: %s\n", path, error.line, error.text);
        failed++;
        return;
    }
    lk_vec v = {.env = &env, .path = path};
    size_t before = live_bytes;
    broken = NULL;
    lk_prng_init(&prng, 1);
    h->run(&v, file);
    end_case(&v);
    json_decref(file);
    bool ok = v.failed == 0 && v.cases > 0 && live_bytes == before && !broken;
    printf("%s %s: %zu cases, %zu failed", ok ? "ok  " : "FAIL", path, v.cases, v.failed);
    if (live_bytes != before)
        printf(", %zu bytes leaked", live_bytes - before);
    if (broken)
        printf(", broken at %s", broken);
    printf("\n");
    *(ok ? &passed : &failed) += 1;
}

static void walk(const char *dir, const char *below)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char full[4096], path[4096];
        struct stat st;
        const char *name = names[i]->d_name;
        size_t len = strlen(name);
        snprintf(full, sizeof full, "%s/%s", dir, name);
        snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", name);
        if (name[0] != '.' && stat(full, &st) == 0) {
            if (S_ISDIR(st.st_mode))
                walk(full, path);
            else if (len > 5 && strcmp(name + len - 5, ".json") == 0)
                run_file(full, path);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    else
        fprintf(stderr, "cannot read %s\n", dir), failed++;
}

int main(int argc, char **argv)
{
    const char *dir = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--strict") == 0)
            strict = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else
            dir = argv[i];
    }
    if (!dir) {
        fprintf(stderr, "usage: vectors [--strict] [--only TEXT] DIR\n");
        return 2;
    }
    char *whole = realpath(dir, NULL); /* "." and ".." have names too */
    walk(whole ? whole : dir, "");
    free(whole);
    if (!seen) { /* a folder or a name mistyped must not look like success */
        fprintf(stderr, "no vector file%s%s below %s\n", only ? " named like " : "", only ? only : "", dir);
        failed++;
    }
    printf("%zu passed, %zu failed, %zu skipped\n", passed, failed, skipped);
    return failed != 0;
}
