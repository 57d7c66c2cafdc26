// SPDX-License-Identifier: Apache-2.0
/* A library to preload into a process: its clocks and its threads as a file says. LK_SHIM names the file: three int64,
 * microseconds added to the wall clock, microseconds added to the monotonic clock, and 1 if no thread may be made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *orders;
static const int64_t none[3];

__attribute__((constructor)) static void read_orders(void)
{
    const char *path = getenv("LK_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    orders = p == MAP_FAILED ? none : (const int64_t *)p;
    if (fd >= 0)
        close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(clock, t);
    if (r != 0 || !orders)
        return r;
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    int monotonic = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
    int64_t nsec = t->tv_nsec + (wall ? orders[0] : monotonic ? orders[1] : 0) % 1000000 * 1000;
    t->tv_sec += (wall ? orders[0] : monotonic ? orders[1] : 0) / 1000000 + (nsec < 0 ? -1 : nsec / 1000000000);
    t->tv_nsec = nsec < 0 ? nsec + 1000000000 : nsec % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*run)(void *), void *restrict arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    return orders && orders[2] ? EAGAIN : real(thread, attr, run, arg);
}
