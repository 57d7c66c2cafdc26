// SPDX-License-Identifier: Apache-2.0
/* base/text.h - text without stdio: bounded builder, slices, numbers, hex, base64, UTF-8. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/env.h"

/* A slice that borrows; not terminated. */
typedef struct lk_str {
    const char *p;
    size_t len;
} lk_str;
#define LK_STR_FMT_MAX 24

static inline lk_str lk_str_of(const char *z) { return (lk_str){z, z ? strlen(z) : 0}; }
bool lk_str_eq(lk_str a, const char *z);
bool lk_str_eq2(lk_str a, lk_str b);
bool lk_str_ieq(lk_str a, const char *z); /* ASCII case ignored */
bool lk_str_starts(lk_str a, const char *prefix);
/* Cut s at the first `sep`: returns what stands before it, s becomes the rest (empty at the end). */
lk_str lk_str_cut(lk_str *s, char sep);
lk_str lk_str_trim(lk_str s);
/* Whole slice must be digits and fit; false leaves *out alone. */
bool lk_str_u64(lk_str s, uint64_t max, uint64_t *out);
/* Copies into a terminated array; false (and a cut copy) when it does not fit. */
bool lk_str_copy(char *out, size_t cap, lk_str s);
/* Lower-case hex to bytes: returns count, or -1. */
int lk_hex_decode(uint8_t *out, size_t cap, lk_str s);
bool lk_utf8_valid(const void *data, size_t len); /* NUL counts as invalid */

/* Growing text; grows through env up to max bytes, terminator always present once non-empty.
 * A refused growth sets bad; check once at the end. */
typedef struct lk_text {
    const lk_env *env;
    char *p;
    size_t len, cap, max;
    bool bad;
} lk_text;

void lk_text_init(lk_text *t, const lk_env *env, size_t max);
void lk_text_deinit(lk_text *t);
void lk_text_clear(lk_text *t);
void lk_text_put(lk_text *t, const char *data, size_t n);
void lk_text_z(lk_text *t, const char *z);
void lk_text_str(lk_text *t, lk_str s);
void lk_text_ch(lk_text *t, char c);
void lk_text_u64(lk_text *t, uint64_t v);
void lk_text_i64(lk_text *t, int64_t v);
void lk_text_hex(lk_text *t, const void *data, size_t n); /* lower case */
/* Percent-encodes everything but unreserved characters. [RFC3986 s2.3] */
void lk_text_url(lk_text *t, lk_str s);
/* A JSON string with its quotes. s must be UTF-8. [RFC8259 s7] */
void lk_text_json(lk_text *t, lk_str s);
const char *lk_text_cstr(const lk_text *t); /* "" when empty */

/* Terminated decimal into a small buffer; returns it. */
char *lk_u64_text(uint64_t v, char out[LK_STR_FMT_MAX]);

typedef enum lk_base64_kind { LK_BASE64_STD, LK_BASE64_URL, LK_BASE64_URL_NOPAD } lk_base64_kind;
void lk_base64_put(lk_text *t, lk_base64_kind kind, const void *data, size_t n);
/* Strict: alphabet of the kind, right padding, zero spare bits. Returns count, or -1. */
long lk_base64_decode(uint8_t *out, size_t cap, lk_base64_kind kind, lk_str s);

/* Whether no array or object of the JSON text lies deeper than max: asked before a parser that recurses. */
bool lk_json_is_shallow(lk_str json, size_t max);
