// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static lk_test_case *first_case, **last_case = &first_case;
static size_t live_bytes, alloc_count, refuse_at;
static int failures;
static bool oom_mode, refused;

void lk_test_register(lk_test_case *t)
{
    *last_case = t;
    last_case = &t->next;
}

bool lk_test_oom(void) { return refuse_at != 0; }
bool lk_test_refused(void) { return refused; }
size_t lk_test_alloc_count(void) { return alloc_count; }
size_t lk_test_live_bytes(void) { return live_bytes; }

static void *test_alloc(void *ctx, size_t size)
{
    (void)ctx;
    alloc_count++;
    if (refuse_at && alloc_count == refuse_at) {
        refused = true;
        return NULL;
    }
    /* The size is kept in front, to check that release is told the truth. */
    size_t *p = malloc(size + 16);
    if (!p)
        abort();
    p[0] = size;
    live_bytes += size;
    memset(p + 2, 0xa5, size);
    return p + 2;
}

static void test_release(void *ctx, void *p, size_t size)
{
    (void)ctx;
    size_t *base = (size_t *)p - 2;
    if (base[0] != size) {
        fprintf(stderr, "release of %zu bytes that were %zu\n", size, base[0]);
        abort();
    }
    live_bytes -= size;
    memset(p, 0x5a, size);
    free(base);
}

static void *test_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    void *q = test_alloc(ctx, new_size);
    if (!q)
        return NULL;
    memcpy(q, p, LK_MIN(old_size, new_size));
    test_release(ctx, p, old_size);
    return q;
}

static bool fail(const char *file, int line, const char *text)
{
    failures++;
    if (!refused)
        printf("    %s:%d: %s\n", file, line, text);
    return false;
}

bool lk_test_check(bool cond, const char *file, int line, const char *text)
{
    return cond || fail(file, line, text);
}

bool lk_test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *text)
{
    if (a == b)
        return true;
    char msg[512];
    snprintf(msg, sizeof msg, "%s: %" PRId64 " and %" PRId64, text, a, b);
    return fail(file, line, msg);
}

bool lk_test_eq_str(const char *a, const char *b, const char *file, int line)
{
    if (a && b && strcmp(a, b) == 0)
        return true;
    char msg[2048];
    snprintf(msg, sizeof msg, "\"%s\" is not \"%s\"", a ? a : "(null)", b ? b : "(null)");
    return fail(file, line, msg);
}

bool lk_test_eq_mem(const void *a, size_t an, const void *b, size_t bn, const char *file, int line)
{
    if (an == bn && (an == 0 || memcmp(a, b, an) == 0))
        return true;
    size_t i = 0;
    while (i < an && i < bn && ((const uint8_t *)a)[i] == ((const uint8_t *)b)[i])
        i++;
    char msg[256];
    snprintf(msg, sizeof msg, "bytes differ: lengths %zu and %zu, first difference at %zu", an, bn, i);
    return fail(file, line, msg);
}

static int run_once(const lk_test_case *t, size_t refuse)
{
    static lk_prng prng;
    static lk_mem mem = {NULL, test_alloc, test_resize, test_release};
    static lk_rng rng = {&prng, lk_prng_fill};
    static const char *broken;
    lk_prng_init(&prng, 1);
    broken = NULL;
    lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken};
    failures = 0;
    live_bytes = alloc_count = 0;
    refuse_at = refuse;
    refused = false;
    t->run(&env);
    int result = refuse && refused ? 0 : failures;
    refuse_at = 0;
    if (live_bytes) {
        printf("    %s: %zu bytes leaked (allocation %zu refused)\n", t->name, live_bytes, refuse);
        result++;
    }
    if (broken) {
        printf("    %s: assertion %s\n", t->name, broken);
        result++;
    }
    return result;
}

static int run_ladder(const lk_test_case *t)
{
    int bad = 0;
    for (size_t n = 1; n < 20000; n++) {
        bad += run_once(t, n);
        if (!refused)
            return bad;
    }
    return bad;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int passed = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--oom") == 0)
            oom_mode = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--list") == 0)
            only = "\1";
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (lk_test_case *t = first_case; t; t = t->next) {
        if (only && *only == '\1') {
            puts(t->name);
            continue;
        }
        if (only && !strstr(t->name, only))
            continue;
        int bad = oom_mode ? run_ladder(t) : run_once(t, 0);
        printf("%s %s\n", bad ? "FAIL" : "ok  ", t->name);
        bad ? failed++ : passed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed || passed == 0 ? 1 : 0;
}
