// SPDX-License-Identifier: Apache-2.0
/* base/seq.h - wrapping sequence and timestamp arithmetic; the only place where it is done. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* True if a is newer than b (half-range rule; exactly half apart: the larger number is newer). */
static inline bool lk_seq16_newer(uint16_t a, uint16_t b)
{
    uint16_t d = (uint16_t)(a - b);
    return d != 0 && (d < 0x8000 || (d == 0x8000 && a > b));
}
static inline int lk_seq16_diff(uint16_t a, uint16_t b) { return (int16_t)(uint16_t)(a - b); }
static inline bool lk_ts32_newer(uint32_t a, uint32_t b)
{
    uint32_t d = a - b;
    return d != 0 && (d < 0x80000000u || (d == 0x80000000u && a > b));
}
static inline int32_t lk_ts32_diff(uint32_t a, uint32_t b) { return (int32_t)(a - b); }

/* Turns wrapping counters into monotone 64-bit ones. Zero-initialise; the first value starts at itself. */
typedef struct lk_unwrap16 {
    bool started;
    int64_t last;
} lk_unwrap16;
typedef struct lk_unwrap32 {
    bool started;
    int64_t last;
} lk_unwrap32;

static inline int64_t lk_unwrap16_peek(const lk_unwrap16 *u, uint16_t v)
{
    return u->started ? u->last + (int16_t)(uint16_t)(v - (uint16_t)u->last) : v;
}
static inline int64_t lk_unwrap16_next(lk_unwrap16 *u, uint16_t v)
{
    u->last = lk_unwrap16_peek(u, v);
    u->started = true;
    return u->last;
}
static inline int64_t lk_unwrap32_peek(const lk_unwrap32 *u, uint32_t v)
{
    return u->started ? u->last + (int32_t)(v - (uint32_t)u->last) : v;
}
static inline int64_t lk_unwrap32_next(lk_unwrap32 *u, uint32_t v)
{
    u->last = lk_unwrap32_peek(u, v);
    u->started = true;
    return u->last;
}
