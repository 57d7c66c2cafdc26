// SPDX-License-Identifier: Apache-2.0
/* Preloaded by tests/ffi/endurance.py: counts the blocks and bytes of the heap that are in use, whoever took them. */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);
long heap_count_blocks(void);
long heap_count_bytes(void);

static atomic_long blocks, bytes;

static void *taken(void *block)
{
    if (block) {
        atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&bytes, (long)malloc_usable_size(block), memory_order_relaxed);
    }
    return block;
}

static void given_back(void *block)
{
    if (block) {
        atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&bytes, (long)malloc_usable_size(block), memory_order_relaxed);
    }
}

long heap_count_blocks(void) { return atomic_load(&blocks); }
long heap_count_bytes(void) { return atomic_load(&bytes); }

void *malloc(size_t size) { return taken(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return taken(__libc_calloc(count, size)); }
void *memalign(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = taken(__libc_memalign(alignment, size));
    if (!block)
        return ENOMEM;
    *out = block;
    return 0;
}

void *realloc(void *old, size_t size)
{
    long had = old ? (long)malloc_usable_size(old) : 0;
    void *block = __libc_realloc(old, size);
    if (block || !size) {
        atomic_fetch_add_explicit(&blocks, (block != NULL) - (old != NULL), memory_order_relaxed);
        atomic_fetch_add_explicit(&bytes, (block ? (long)malloc_usable_size(block) : 0) - had, memory_order_relaxed);
    }
    return block;
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, total);
}

void free(void *block)
{
    given_back(block);
    __libc_free(block);
}
