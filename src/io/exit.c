// SPDX-License-Identifier: Apache-2.0
/* A program may end while rooms are open. What runs at its end - OpenSSL among others, when somebody else in the process
 * was the first to use it - takes down what the loops work with; so before that every loop is brought to a standstill. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "io/loop_internal.h"

#define PATIENCE_SECONDS 2 /* one turn of a loop and one job take milliseconds */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static lk_list loops; /* through lk_loop.alive; this and what follows: under lock */
static bool exiting;
static pid_t owner;

/* The calling thread is a loop or a worker and does nothing more. */
static void stand_still(unsigned *standing)
{
    pthread_mutex_lock(&lock);
    (*standing)++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (;;)
        pause(); /* until the process is gone; signals are blocked here */
}

static void on_halt(lk_task *task, lk_usec now)
{
    LK_UNUSED(now);
    stand_still(&LK_CONTAINER(task, lk_loop, halt)->standing);
}

void lk_io_exit_stand(lk_loop *loop) { stand_still(&loop->standing); }

/* Under lock. One that is being freed is gone when its thread is. */
static bool all_stand(void)
{
    LK_LIST_EACH(&loops, it) {
        const lk_loop *loop = LK_CONTAINER(it, lk_loop, alive);
        if (loop->standing < loop->expected)
            return false;
    }
    return true;
}

static void on_exit_of_process(void)
{
    if (getpid() != owner)
        return; /* a child has no loops */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    pthread_mutex_lock(&lock);
    exiting = true;
    LK_LIST_EACH(&loops, it) {
        lk_loop *loop = LK_CONTAINER(it, lk_loop, alive);
        bool own = lk_loop_is_current(loop);
        loop->expected = own ? 0 : 1;
        if (!loop->ending) {
            loop->expected += lk_io_workers_halt(loop);
            if (!own)
                lk_loop_post(loop, &loop->halt);
        }
    }
    while (!all_stand() && pthread_cond_timedwait(&changed, &lock, &until) == 0)
        ;
    pthread_mutex_unlock(&lock);
}

static void prepare(void)
{
    lk_list_init(&loops);
    /* First OpenSSL, so that what it has registered for the end, if anything, comes after ours. */
    lk_crypto_outlive_exit();
    (void)atexit(on_exit_of_process);
}

bool lk_io_exit_add(lk_loop *loop)
{
    pthread_once(&once, prepare);
    pthread_mutex_lock(&lock);
    bool may = !exiting;
    owner = getpid();
    loop->halt.run = on_halt;
    if (may)
        lk_list_push(&loops, &loop->alive);
    pthread_mutex_unlock(&lock);
    return may;
}

bool lk_io_exit_ending(lk_loop *loop)
{
    pthread_mutex_lock(&lock);
    bool may = !exiting;
    loop->ending = loop->ending || may;
    pthread_mutex_unlock(&lock);
    return may;
}

void lk_io_exit_remove(lk_loop *loop)
{
    pthread_mutex_lock(&lock);
    lk_list_remove(&loops, &loop->alive);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

bool lk_loop_is_halted(void)
{
    pthread_mutex_lock(&lock);
    bool halted = exiting;
    pthread_mutex_unlock(&lock);
    return halted;
}
