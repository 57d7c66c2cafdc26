// SPDX-License-Identifier: Apache-2.0
/* tests/support/patience.h - waiting for what other threads do: longer than a busy machine takes for anything, and not for ever. */
#pragma once
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "lk_test.h"

#define PATIENCE_SEC 20

/* Until *done, the lock being held. False: it did not come. */
static inline bool wait_until(const bool *done, pthread_cond_t *changed, pthread_mutex_t *lock)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_SEC;
    while (!*done && pthread_cond_timedwait(changed, lock, &end) == 0) {
    }
    return *done;
}

/* The same for a test that cannot even end without it: the other thread has what is the test's. */
#define WAIT_OR_ABORT(done, changed, lock)                       \
    do {                                                         \
        if (!CHECK(wait_until((done), (changed), (lock))))       \
            abort();                                             \
    } while (0)

/* No call on the socket waits longer. */
static inline void be_patient(int fd)
{
    const struct timeval most = {PATIENCE_SEC, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
}

static inline size_t entries(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Whether there are no more threads than so many; one that was joined is listed until the kernel has struck it off. */
static inline bool threads_settle(size_t most)
{
    const struct timespec tick = {0, 1000000};
    for (int i = 0; i < PATIENCE_SEC * 1000 && entries("/proc/self/task") > most; i++)
        nanosleep(&tick, NULL);
    return entries("/proc/self/task") <= most;
}
