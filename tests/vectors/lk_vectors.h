// SPDX-License-Identifier: Apache-2.0
/* tests/vectors/lk_vectors.h - runs the shared test vectors.
 *
 * LK_VECTOR("stun/stun_valid.json", run) registers a handler for one file by its path below the data folder;
 * `static void run(lk_vec *v, json_t *file)` walks the cases. Per case: lk_vec_begin, any number of VCHECK...;
 * a case fails once, the first reason is printed. A file with a failed case, or without any case, fails.
 * `vectors [--strict] [--only TEXT] DIR`: files without a handler are skipped (failed with --strict).
 */
#pragma once
#include <jansson.h>

#include "base/lk_base.h"

typedef struct lk_vec {
    const lk_env *env; /* counting memory, seeded randomness; live bytes must be zero at the end of a file */
    const char *path;
    const char *name; /* of the running case */
    size_t cases, failed;
    bool open, bad;
} lk_vec;

typedef struct lk_vec_handler {
    const char *path;
    void (*run)(lk_vec *v, json_t *file);
    struct lk_vec_handler *next;
} lk_vec_handler;
void lk_vec_register(lk_vec_handler *h);

#define LK_VECTOR_CAT2(a, b) a##b
#define LK_VECTOR_CAT(a, b) LK_VECTOR_CAT2(a, b)
#define LK_VECTOR(path_, fn_)                                                                \
    __attribute__((constructor)) static void LK_VECTOR_CAT(lk_vec_r_, __LINE__)(void)        \
    {                                                                                        \
        static lk_vec_handler h = {path_, fn_, NULL};                                        \
        lk_vec_register(&h);                                                                 \
    }

/* Starts the next case (ends the one before). The name comes from case["name"] or its index. */
void lk_vec_begin(lk_vec *v, json_t *c);
/* Marks the running case failed and prints why (first reason only). False when cond is false. */
bool lk_vec_check(lk_vec *v, bool cond, const char *file, int line, const char *text);
bool lk_vec_eq(lk_vec *v, int64_t a, int64_t b, const char *file, int line, const char *text);
bool lk_vec_eq_mem(lk_vec *v, const void *a, size_t an, const void *b, size_t bn, const char *file, int line,
                   const char *text);
#define VCHECK(v, cond) lk_vec_check((v), !!(cond), __FILE__, __LINE__, #cond)
#define VEQ(v, a, b) lk_vec_eq((v), (int64_t)(a), (int64_t)(b), __FILE__, __LINE__, #a " == " #b)
#define VMEM(v, a, an, b, bn) lk_vec_eq_mem((v), (a), (an), (b), (bn), __FILE__, __LINE__, #a " == " #b)

/* The cases of a file: for (each) json_t *c. */
#define LK_VEC_EACH(file_, c_)                                                               \
    for (size_t c_##_i = 0; c_##_i < json_array_size(json_object_get((file_), "cases")); c_##_i++) \
        for (json_t *c_ = json_array_get(json_object_get((file_), "cases"), c_##_i); c_; c_ = NULL)

/* ---- reading fields; absent or of another type: the default ---------------------------------------- */
/* Hex text to bytes of exact size on the heap (so that sanitizers see every over-read). Absent: data NULL.
 * Free with lk_vec_free. */
lk_bytes lk_vec_hex(json_t *o, const char *key);
lk_bytes lk_vec_hex_of(json_t *text);
void lk_vec_free(lk_bytes b);
/* Number, or decimal string for values past 2^53. */
uint64_t lk_vec_u64(json_t *o, const char *key, uint64_t absent);
uint64_t lk_vec_u64_of(json_t *value, uint64_t absent);
int64_t lk_vec_i64(json_t *o, const char *key, int64_t absent);
bool lk_vec_bool(json_t *o, const char *key, bool absent);
const char *lk_vec_text(json_t *o, const char *key); /* "" when absent */
lk_str lk_vec_str(json_t *o, const char *key);       /* with its length: may hold NUL */
bool lk_vec_is(json_t *o, const char *key, const char *value);
