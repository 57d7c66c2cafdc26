// SPDX-License-Identifier: Apache-2.0
/* Replays files (a corpus folder or single files) through LLVMFuzzerTestOneInput, then --runs N mutations of them, or
 * mutations for --seconds N of its own CPU (a busy machine makes them wait, not fewer), from --seed S. No files is a
 * failure: a corpus that was lost must not pass. The same entry links with libFuzzer under clang. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/lk_base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEEDS_MAX 4096
#define INPUT_MAX 65536
static struct {
    uint8_t *data;
    size_t size;
} seeds[SEEDS_MAX];
static size_t seed_count;

/* The input at fault is left in fuzz-failure: it belongs into the corpus once it is repaired. */
static const uint8_t *running;
static size_t running_size;
static void keep_input(int signal_number)
{
    int fd = open("fuzz-failure", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, running, running_size) == (ssize_t)running_size)
        close(fd);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void run_exact(const uint8_t *data, size_t size)
{
    running = data;
    running_size = size;
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

/* Any bytes, a seed, or the head of one seed before the tail of another. */
static size_t start_from(lk_prng *r, uint8_t *buf)
{
    size_t size = lk_prng_next(r) % 256;
    if (seed_count == 0 || lk_prng_next(r) % 8 == 0) {
        (void)lk_prng_fill(r, buf, size);
        return size;
    }
    size_t k = lk_prng_next(r) % seed_count, tail = lk_prng_next(r) % seed_count;
    size = seeds[k].size;
    memcpy(buf, seeds[k].data, size);
    if (lk_prng_next(r) % 4 == 0 && size && seeds[tail].size) {
        size_t from = lk_prng_next(r) % seeds[tail].size;
        size = lk_prng_next(r) % size;
        size_t n = LK_MIN(seeds[tail].size - from, INPUT_MAX - size);
        memcpy(buf + size, seeds[tail].data + from, n);
        size += n;
    }
    return size;
}

static size_t mutate(lk_prng *r, uint8_t *buf)
{
    size_t size = start_from(r, buf);
    for (uint64_t edits = lk_prng_next(r) % 8; edits && size; edits--) {
        size_t at = lk_prng_next(r) % size, n = 1 + lk_prng_next(r) % LK_MIN(size - at, 16);
        switch (lk_prng_next(r) % 8) {
        case 0:
        case 1:
            buf[at] = (uint8_t)lk_prng_next(r);
            break;
        case 2:
        case 3:
            buf[at] ^= (uint8_t)(1u << (lk_prng_next(r) & 7));
            break;
        case 4:
            memset(buf + at, (lk_prng_next(r) & 1) ? 0xff : 0, n);
            break;
        case 5: /* without these bytes */
            memmove(buf + at, buf + at + n, size - at - n);
            size -= n;
            break;
        case 6: /* these bytes twice */
            if (size + n <= INPUT_MAX) {
                memmove(buf + at + n, buf + at, size - at);
                size += n;
            }
            break;
        default: /* lengths lie more often than anything else */
            buf[at] = (uint8_t)(buf[at] + (lk_prng_next(r) & 1 ? 1 : 255));
        }
    }
    if (size && lk_prng_next(r) % 8 == 0)
        size = lk_prng_next(r) % size;
    return size;
}

int main(int argc, char **argv)
{
    long runs = 0, seconds = 0, done = 0;
    uint64_t seed = 42;
    signal(SIGABRT, keep_input);
    signal(SIGSEGV, keep_input);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            runs = atol(argv[++i]);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = atol(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else
            add_path(argv[i]);
    }
    if (seed_count == 0) {
        fputs("no files to begin with\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < seed_count; i++)
        run_exact(seeds[i].data, seeds[i].size);
    static uint8_t buf[INPUT_MAX];
    lk_prng r;
    lk_prng_init(&r, seed);
    const clock_t until = clock() + seconds * CLOCKS_PER_SEC;
    for (; done < runs || (seconds && (done % 64 != 0 || clock() < until)); done++)
        run_exact(buf, mutate(&r, buf));
    printf("%zu files, %ld mutations\n", seed_count, done);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].data);
    return 0;
}
