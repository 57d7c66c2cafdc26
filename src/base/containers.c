// SPDX-License-Identifier: Apache-2.0
#include "base/containers.h"

#include <string.h>

void lk_list_init(lk_list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->count = 0;
}

void lk_list_insert_before(lk_list *l, lk_link *at, lk_link *n)
{
    n->next = at;
    n->prev = at->prev;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}

void lk_list_push(lk_list *l, lk_link *n) { lk_list_insert_before(l, &l->head, n); }

void lk_list_remove(lk_list *l, lk_link *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = NULL;
    l->count--;
}

lk_link *lk_list_first(const lk_list *l) { return l->count ? l->head.next : NULL; }

lk_link *lk_list_pop(lk_list *l)
{
    lk_link *n = lk_list_first(l);
    if (n)
        lk_list_remove(l, n);
    return n;
}

void lk_queue_init(lk_queue *q, const lk_env *env, size_t elem_size, size_t max)
{
    *q = (lk_queue){.env = env, .elem = elem_size, .max = max};
}

void lk_queue_deinit(lk_queue *q)
{
    lk_release(q->env, q->data, q->cap * q->elem);
    lk_queue_init(q, q->env, q->elem, q->max);
}

static lk_err queue_grow(lk_queue *q)
{
    size_t cap = LK_MIN(q->cap ? q->cap * 2 : 4, q->max);
    uint8_t *data = (uint8_t *)lk_alloc(q->env, cap * q->elem);
    if (!data)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < q->count; i++)
        memcpy(data + i * q->elem, lk_queue_peek(q, i), q->elem);
    lk_release(q->env, q->data, q->cap * q->elem);
    q->data = data;
    q->cap = cap;
    q->first = 0;
    return LK_OK;
}

lk_err lk_queue_push(lk_queue *q, const void *elem)
{
    if (q->count == q->max)
        return LK_ERR_FULL;
    if (q->count == q->cap) {
        lk_err err = queue_grow(q);
        if (err != LK_OK)
            return err;
    }
    memcpy(q->data + (q->first + q->count) % q->cap * q->elem, elem, q->elem);
    q->count++;
    return LK_OK;
}

void *lk_queue_peek(lk_queue *q, size_t i)
{
    return i < q->count ? q->data + (q->first + i) % q->cap * q->elem : NULL;
}

bool lk_queue_pop(lk_queue *q, void *out)
{
    void *p = lk_queue_peek(q, 0);
    if (!p)
        return false;
    if (out)
        memcpy(out, p, q->elem);
    q->first = (q->first + 1) % q->cap;
    q->count--;
    return true;
}

static size_t map_slot(const lk_map *m, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32) & (m->cap - 1);
    while (m->slots[i].value && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return i;
}

void lk_map_init(lk_map *m, const lk_env *env, size_t max)
{
    *m = (lk_map){.env = env, .max = max};
}

void lk_map_deinit(lk_map *m)
{
    lk_release(m->env, m->slots, m->cap * sizeof *m->slots);
    lk_map_init(m, m->env, m->max);
}

static lk_err map_grow(lk_map *m)
{
    lk_map bigger = *m;
    bigger.cap = m->cap ? m->cap * 2 : 8;
    bigger.slots = (lk_map_slot *)lk_alloc0(m->env, bigger.cap * sizeof *m->slots);
    if (!bigger.slots)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            bigger.slots[map_slot(&bigger, m->slots[i].key)] = m->slots[i];
    lk_release(m->env, m->slots, m->cap * sizeof *m->slots);
    *m = bigger;
    return LK_OK;
}

lk_err lk_map_put(lk_map *m, uint64_t key, void *value)
{
    if (m->cap) {
        size_t i = map_slot(m, key);
        if (m->slots[i].value) {
            m->slots[i].value = value;
            return LK_OK;
        }
    }
    if (m->count == m->max)
        return LK_ERR_FULL;
    if (m->count * 4 >= m->cap * 3) {
        lk_err err = map_grow(m);
        if (err != LK_OK)
            return err;
    }
    m->slots[map_slot(m, key)] = (lk_map_slot){key, value};
    m->count++;
    return LK_OK;
}

void *lk_map_get(const lk_map *m, uint64_t key)
{
    return m->cap ? m->slots[map_slot(m, key)].value : NULL;
}

void *lk_map_take(lk_map *m, uint64_t key)
{
    if (!m->cap)
        return NULL;
    size_t i = map_slot(m, key);
    void *value = m->slots[i].value;
    if (!value)
        return NULL;
    m->slots[i].value = NULL;
    m->count--;
    /* Put the rest of the run back where a search finds it. */
    for (size_t k = (i + 1) & (m->cap - 1); m->slots[k].value; k = (k + 1) & (m->cap - 1)) {
        lk_map_slot moved = m->slots[k];
        m->slots[k].value = NULL;
        m->slots[map_slot(m, moved.key)] = moved;
    }
    return value;
}

bool lk_map_next(const lk_map *m, size_t *at, uint64_t *key, void **value)
{
    for (; *at < m->cap; (*at)++) {
        if (m->slots[*at].value) {
            if (key)
                *key = m->slots[*at].key;
            *value = m->slots[*at].value;
            (*at)++;
            return true;
        }
    }
    return false;
}

struct lk_arena_block {
    lk_arena_block *next;
    size_t cap, used; /* bytes after this header */
};
#define ARENA_HEAD ((sizeof(lk_arena_block) + 15) & ~(size_t)15)
#define ARENA_BLOCK_MIN 4096

void lk_arena_init(lk_arena *a, const lk_env *env, size_t max_bytes)
{
    *a = (lk_arena){.env = env, .max_bytes = max_bytes};
}

static void arena_free_from(lk_arena *a, lk_arena_block *b)
{
    while (b) {
        lk_arena_block *next = b->next;
        lk_release(a->env, b, ARENA_HEAD + b->cap);
        b = next;
    }
}

void lk_arena_deinit(lk_arena *a)
{
    arena_free_from(a, a->blocks);
    lk_arena_init(a, a->env, a->max_bytes);
}

void *lk_arena_alloc(lk_arena *a, size_t size)
{
    if (size > SIZE_MAX / 4)
        return NULL;
    size = (LK_MAX(size, (size_t)1) + 15) & ~(size_t)15;
    if (size > a->max_bytes || a->used_bytes > a->max_bytes - size)
        return NULL;
    lk_arena_block *b = a->blocks;
    if (!b || b->cap - b->used < size) {
        size_t cap = LK_MAX(size, (size_t)ARENA_BLOCK_MIN);
        b = (lk_arena_block *)lk_alloc(a->env, ARENA_HEAD + cap);
        if (!b)
            return NULL;
        *b = (lk_arena_block){a->blocks, cap, 0};
        a->blocks = b;
    }
    void *p = (char *)b + ARENA_HEAD + b->used;
    b->used += size;
    a->used_bytes += size;
    return p;
}

void lk_arena_reset(lk_arena *a)
{
    if (a->blocks) {
        arena_free_from(a, a->blocks->next);
        a->blocks->next = NULL;
        a->blocks->used = 0;
    }
    a->used_bytes = 0;
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

void lk_prng_init(lk_prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) { /* splitmix64, so that seed 0 is as good as any */
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        p->s[i] = z ^ (z >> 31);
    }
}

uint64_t lk_prng_next(lk_prng *p)
{
    uint64_t *s = p->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

lk_err lk_prng_fill(void *prng, void *out, size_t len)
{
    uint8_t *p = (uint8_t *)out;
    while (len) {
        uint64_t v = lk_prng_next((lk_prng *)prng);
        size_t n = LK_MIN(len, sizeof v);
        for (size_t i = 0; i < n; i++)
            *p++ = (uint8_t)(v >> (8 * i));
        len -= n;
    }
    return LK_OK;
}
