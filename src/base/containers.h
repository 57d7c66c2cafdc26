// SPDX-License-Identifier: Apache-2.0
/* base/containers.h - the few containers of the house: intrusive list, bounded queue, map, arena. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"

/* ---- intrusive doubly linked list; a node is in at most one list -------------------------------- */
typedef struct lk_link {
    struct lk_link *prev, *next;
} lk_link;
typedef struct lk_list {
    lk_link head;
    size_t count;
} lk_list;
#define LK_CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
/* Walk; the current node may be removed inside the body. */
#define LK_LIST_EACH(list, it)                                                        \
    for (lk_link *it = (list)->head.next, *it##_next = it->next; it != &(list)->head; \
         it = it##_next, it##_next = it->next)
void lk_list_init(lk_list *l);
void lk_list_push(lk_list *l, lk_link *n);  /* at the end */
void lk_list_insert_before(lk_list *l, lk_link *at, lk_link *n);
void lk_list_remove(lk_list *l, lk_link *n);
lk_link *lk_list_first(const lk_list *l);   /* NULL when empty */
lk_link *lk_list_pop(lk_list *l);           /* NULL when empty */

/* ---- FIFO of equal-sized elements, grows by doubling up to max; full: push refuses ---------------- */
typedef struct lk_queue {
    const lk_env *env;
    uint8_t *data;
    size_t elem, cap, count, first, max;
} lk_queue;
void lk_queue_init(lk_queue *q, const lk_env *env, size_t elem_size, size_t max);
void lk_queue_deinit(lk_queue *q);
/* LK_ERR_FULL at max, LK_ERR_NOMEM; the element is copied. */
LK_NODISCARD lk_err lk_queue_push(lk_queue *q, const void *elem);
bool lk_queue_pop(lk_queue *q, void *out);  /* out may be NULL */
void *lk_queue_peek(lk_queue *q, size_t i); /* i-th from the front, NULL past the end; valid until the next push */

/* ---- map from 64-bit key to pointer (never NULL); open addressing, bounded by max ----------------- */
typedef struct lk_map_slot {
    uint64_t key;
    void *value;
} lk_map_slot;
typedef struct lk_map {
    const lk_env *env;
    lk_map_slot *slots;
    size_t cap, count, max;
} lk_map;
void lk_map_init(lk_map *m, const lk_env *env, size_t max);
void lk_map_deinit(lk_map *m);
LK_NODISCARD lk_err lk_map_put(lk_map *m, uint64_t key, void *value); /* replaces; FULL, NOMEM */
void *lk_map_get(const lk_map *m, uint64_t key);
void *lk_map_take(lk_map *m, uint64_t key); /* removes and gives back, NULL if absent */
/* Walk in unspecified but deterministic order: start with *at = 0; false at the end. No changes while walking. key may be NULL. */
bool lk_map_next(const lk_map *m, size_t *at, uint64_t *key, void **value);

/* ---- arena: bump allocation, freed at once; per message or per tick ------------------------------- */
typedef struct lk_arena_block lk_arena_block;
typedef struct lk_arena {
    const lk_env *env;
    lk_arena_block *blocks;
    size_t used_bytes, max_bytes;
} lk_arena;
void lk_arena_init(lk_arena *a, const lk_env *env, size_t max_bytes);
void lk_arena_deinit(lk_arena *a);
/* 16-byte aligned, uninitialised; NULL when refused or over max_bytes. */
void *lk_arena_alloc(lk_arena *a, size_t size);
/* Frees all but one block. */
void lk_arena_reset(lk_arena *a);

/* ---- seeded generator for tests and the simulator (xoshiro256**); same seed, same bytes ----------- */
typedef struct lk_prng {
    uint64_t s[4];
} lk_prng;
void lk_prng_init(lk_prng *p, uint64_t seed);
uint64_t lk_prng_next(lk_prng *p);
lk_err lk_prng_fill(void *prng, void *out, size_t len); /* shape of lk_rng.fill */
