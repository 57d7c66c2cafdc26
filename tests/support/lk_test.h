// SPDX-License-Identifier: Apache-2.0
/* tests/support/lk_test.h - the test frame. LK_TEST(claim) { ... } registers by its line alone.
 *
 * Each test gets `lk_env *env`: counting allocator that must end at zero bytes, seeded randomness.
 * Run with --oom: every test again with allocation 1..n refused; a test passes a round when it ends
 * without crash or leak, whatever its checks say; the last round (nothing refused) must pass fully.
 * --list, --only TEXT choose tests. Closing line: "N passed, N failed".
 */
#pragma once
#include "base/lk_base.h"

typedef struct lk_test_case {
    const char *name, *file;
    void (*run)(lk_env *env);
    struct lk_test_case *next;
} lk_test_case;

void lk_test_register(lk_test_case *t);
/* Records a failure with its place; the test goes on so that cleanup runs. False when cond is false. */
bool lk_test_check(bool cond, const char *file, int line, const char *text);
bool lk_test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *text);
bool lk_test_eq_mem(const void *a, size_t an, const void *b, size_t bn, const char *file, int line);
bool lk_test_eq_str(const char *a, const char *b, const char *file, int line);
/* True while an --oom round refuses allocations: a test may stop early when an expected call fails. */
bool lk_test_oom(void);
/* True once this round has refused an allocation: the last one of a ladder never does, and must pass. */
bool lk_test_refused(void);
/* Allocations since the start of the test, and the bytes that live now. */
size_t lk_test_alloc_count(void);
size_t lk_test_live_bytes(void);

#define LK_TEST(name_)                                                                      \
    static void lk_t_##name_(lk_env *env);                                                  \
    __attribute__((constructor)) static void lk_r_##name_(void)                             \
    {                                                                                       \
        static lk_test_case c = {#name_, __FILE__, lk_t_##name_, NULL};                     \
        lk_test_register(&c);                                                               \
    }                                                                                       \
    static void lk_t_##name_(lk_env *env __attribute__((unused)))

#define CHECK(cond) lk_test_check(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_EQ(a, b) lk_test_eq_i64((int64_t)(a), (int64_t)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_OK(err) CHECK_EQ((err), LK_OK)
#define CHECK_MEM(a, an, b, bn) lk_test_eq_mem((a), (an), (b), (bn), __FILE__, __LINE__)
#define CHECK_STR(a, b) lk_test_eq_str((a), (b), __FILE__, __LINE__)
/* Ends the test when cond is false (before anything needs cleanup). */
#define REQUIRE(cond)                                                      \
    do {                                                                   \
        if (!lk_test_check(!!(cond), __FILE__, __LINE__, #cond))           \
            return;                                                        \
    } while (0)
