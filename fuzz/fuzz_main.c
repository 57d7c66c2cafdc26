// SPDX-License-Identifier: Apache-2.0
/* Replays files (a corpus folder or single files) through LLVMFuzzerTestOneInput, then --runs N seeded
 * mutations of them. The same entry links with libFuzzer under clang. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/lk_base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEEDS_MAX 4096
#define INPUT_MAX 65536
static struct {
    uint8_t *data;
    size_t size;
} seeds[SEEDS_MAX];
static size_t seed_count;

static void run_exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* exact size, so that ASan sees every over-read */
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void add_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || seed_count == SEEDS_MAX)
        return;
    uint8_t *data = malloc(INPUT_MAX);
    if (!data)
        abort();
    seeds[seed_count].size = fread(data, 1, INPUT_MAX, f);
    seeds[seed_count++].data = data;
    fclose(f);
}

static void add_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char full[4096];
        snprintf(full, sizeof full, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            add_file(full);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static size_t mutate(lk_prng *r, uint8_t *buf)
{
    size_t size = 0;
    if (seed_count) {
        size_t k = lk_prng_next(r) % seed_count;
        size = seeds[k].size;
        memcpy(buf, seeds[k].data, size);
    } else {
        size = lk_prng_next(r) % 256;
        (void)lk_prng_fill(r, buf, size);
    }
    for (uint64_t edits = 1 + lk_prng_next(r) % 8; edits; edits--) {
        size_t at = size ? lk_prng_next(r) % size : 0;
        switch (lk_prng_next(r) % 5) {
        case 0:
            if (size)
                buf[at] = (uint8_t)lk_prng_next(r);
            break;
        case 1:
            if (size)
                buf[at] ^= (uint8_t)(1u << (lk_prng_next(r) & 7));
            break;
        case 2:
            size = at;
            break;
        case 3:
            if (size + 1 < INPUT_MAX) {
                memmove(buf + at + 1, buf + at, size - at);
                buf[at] = (uint8_t)lk_prng_next(r);
                size++;
            }
            break;
        default:
            if (size)
                buf[at] = (uint8_t)((lk_prng_next(r) & 1) ? 0xff : 0);
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    long runs = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            runs = atol(argv[++i]);
        else
            add_path(argv[i]);
    }
    for (size_t i = 0; i < seed_count; i++)
        run_exact(seeds[i].data, seeds[i].size);
    static uint8_t buf[INPUT_MAX];
    lk_prng r;
    lk_prng_init(&r, 42);
    for (long i = 0; i < runs; i++)
        run_exact(buf, mutate(&r, buf));
    printf("%zu files, %ld mutations\n", seed_count, runs);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].data);
    return 0;
}
