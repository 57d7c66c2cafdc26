// SPDX-License-Identifier: Apache-2.0
/* What this process uses, and what it may use. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "io/loop_internal.h"

/* The n-th number of a file of few bytes; 0: there is none ("max" is none, too). */
static uint64_t number_in(const char *path, unsigned n)
{
    char text[256] = "", *at = text;
    FILE *f = fopen(path, "re");
    size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        (void)fclose(f);
    text[got] = 0;
    for (; n > 0 && *at; n--)
        (void)strtoull(at, &at, 10);
    return strtoull(at, NULL, 10);
}

uint64_t lk_memory_used(void) { return number_in("/proc/self/statm", 1) * (uint64_t)sysconf(_SC_PAGESIZE); }

uint64_t lk_memory_max(void)
{
    static const char *const groups[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    uint64_t most = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < LK_LEN(groups); i++) {
        uint64_t limit = number_in(groups[i], 0);
        if (limit > 0 && limit < most)
            most = limit;
    }
    return most;
}

uint64_t lk_descriptors_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : UINT64_MAX;
}

lk_usec lk_thread_cpu_usec(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? LK_SEC(t.tv_sec) + t.tv_nsec / 1000 : 0;
}
