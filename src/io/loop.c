// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/crypto.h"
#include "io/loop_internal.h"

#define STACK_BYTES (512 * 1024)

lk_usec lk_clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return LK_SEC(t.tv_sec) + t.tv_nsec / 1000;
}

int64_t lk_clock_unix_usec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return LK_SEC(t.tv_sec) + t.tv_nsec / 1000;
}

static void *find_symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    return handle ? dlsym(handle, name) : NULL;
}

void lk_env_production(lk_env *out, const lk_log_sink *log)
{
    static const lk_rng rng = {NULL, lk_crypto_fill};
    static const char *broken; /* the first failed assertion of the process */
    *out = (lk_env){.mem = &lk_mem_production, .rng = &rng, .log = log, .sym = find_symbol, .broken = &broken};
}

const char *lk_env_proxy(const char *upper, const char *lower)
{
    const char *v = getenv(upper);
    return v ? v : getenv(lower);
}

int lk_io_thread(pthread_t *out, const char *name, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    int r = pthread_create(out, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (r == 0)
        pthread_setname_np(*out, name);
    return r;
}

/* ---- tasks ------------------------------------------------------------------------------------------ */

void lk_loop_post(lk_loop *loop, lk_task *task)
{
    lk_task *head = atomic_load_explicit(&loop->mail, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->mail, &head, task, memory_order_release, memory_order_relaxed));
    if (!head)
        uv_async_send(&loop->wake);
}

static bool run_mail(lk_loop *loop)
{
    lk_task *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_acquire), *oldest = NULL;
    if (!newest)
        return false;
    while (newest) {
        lk_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    lk_usec now = lk_clock_now();
    while (oldest) {
        lk_task *next = oldest->next;
        oldest->run(oldest, now);
        oldest = next;
    }
    return true;
}

static void on_wake(uv_async_t *a) { (void)run_mail((lk_loop *)a->data); }

/* ---- timers ----------------------------------------------------------------------------------------- */

static void heap_put(lk_loop *loop, size_t i, lk_timer *t)
{
    loop->heap[i] = t;
    t->heap_slot = i;
}

static void heap_fix(lk_loop *loop, size_t i)
{
    lk_timer *t = loop->heap[i];
    while (i > 1 && loop->heap[i / 2]->at > t->at) {
        heap_put(loop, i, loop->heap[i / 2]);
        i /= 2;
    }
    for (;;) {
        size_t child = 2 * i;
        if (child > loop->heap_len)
            break;
        if (child < loop->heap_len && loop->heap[child + 1]->at < loop->heap[child]->at)
            child++;
        if (loop->heap[child]->at >= t->at)
            break;
        heap_put(loop, i, loop->heap[child]);
        i = child;
    }
    heap_put(loop, i, t);
}

static void heap_remove(lk_loop *loop, lk_timer *t)
{
    size_t i = t->heap_slot;
    lk_timer *last = loop->heap[loop->heap_len--];
    t->heap_slot = 0;
    if (last != t) {
        heap_put(loop, i, last);
        heap_fix(loop, i);
    }
}

static void on_clock(uv_timer_t *u);

static void arm_clock(lk_loop *loop)
{
    lk_usec at = loop->heap_len ? loop->heap[1]->at : LK_NEVER;
    if (at == loop->armed_at)
        return;
    loop->armed_at = at;
    if (at == LK_NEVER) {
        uv_timer_stop(&loop->clock);
        return;
    }
    lk_usec wait = at - lk_clock_now();
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->clock, on_clock, wait > 0 ? (uint64_t)(wait + 999) / 1000 : 0, 0);
}

static void on_clock(uv_timer_t *u)
{
    lk_loop *loop = (lk_loop *)u->data;
    lk_usec now = lk_clock_now();
    loop->armed_at = LK_NEVER;
    while (loop->heap_len && loop->heap[1]->at <= now) {
        lk_timer *t = loop->heap[1];
        heap_remove(loop, t);
        t->at = LK_NEVER;
        t->fire(t, now);
    }
    arm_clock(loop);
}

void lk_timer_init(lk_timer *t, void (*fire)(lk_timer *, lk_usec)) { *t = (lk_timer){.at = LK_NEVER, .fire = fire}; }

lk_err lk_timer_set(lk_loop *loop, lk_timer *t, lk_usec at)
{
    if (t->at == at)
        return LK_OK;
    if (at == LK_NEVER) {
        heap_remove(loop, t);
        t->at = LK_NEVER;
    } else if (t->heap_slot) {
        t->at = at;
        heap_fix(loop, t->heap_slot);
    } else {
        if (loop->heap_len + 1 >= loop->heap_cap) {
            size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 16;
            lk_timer **heap = (lk_timer **)lk_resize(loop->env, loop->heap, loop->heap_cap * sizeof *heap, cap * sizeof *heap);
            if (!heap)
                return LK_ERR_NOMEM;
            loop->heap = heap;
            loop->heap_cap = cap;
        }
        t->at = at;
        heap_put(loop, ++loop->heap_len, t);
        heap_fix(loop, loop->heap_len);
    }
    arm_clock(loop);
    return LK_OK;
}

/* ---- the thread ------------------------------------------------------------------------------------- */

static void on_flush(uv_prepare_t *p) { lk_io_udp_flush((lk_loop *)p->data); }

static void *loop_main(void *arg)
{
    lk_loop *loop = (lk_loop *)arg;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

static bool open_handles(lk_loop *loop)
{
    if (uv_loop_init(&loop->uv) != 0)
        return false;
    if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0) {
        uv_loop_close(&loop->uv);
        return false;
    }
    uv_timer_init(&loop->uv, &loop->clock);
    uv_prepare_init(&loop->uv, &loop->flush);
    loop->wake.data = loop->clock.data = loop->flush.data = loop;
    return true;
}

static void free_loop(lk_loop *loop)
{
    pthread_mutex_destroy(&loop->lock);
    pthread_cond_destroy(&loop->has_job);
    lk_io_udp_release(loop);
    lk_release(loop->env, loop->read_buf, LK_IO_READ_BYTES);
    lk_release(loop->env, loop->heap, loop->heap_cap * sizeof *loop->heap);
    lk_release(loop->env, loop->dns_servers, loop->dns_servers_size);
    lk_release(loop->env, loop, sizeof *loop);
}

lk_err lk_loop_new(lk_loop **out, const lk_env *env, const lk_loop_config *config)
{
    lk_loop *loop = (lk_loop *)lk_alloc0(env, sizeof *loop);
    if (!loop)
        return LK_ERR_NOMEM;
    loop->env = env;
    loop->armed_at = LK_NEVER;
    lk_list_init(&loop->jobs);
    lk_list_init(&loop->lingering);
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->has_job, NULL);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    loop->worker_max = (unsigned)LK_CLAMP(cores, 1, (long)LK_LEN(loop->workers));
    if (config && config->dns_servers) {
        loop->dns_servers_size = strlen(config->dns_servers) + 1;
        loop->dns_servers = (char *)lk_alloc(env, loop->dns_servers_size);
        if (loop->dns_servers)
            memcpy(loop->dns_servers, config->dns_servers, loop->dns_servers_size);
    }
    if (!open_handles(loop)) {
        free_loop(loop);
        return LK_ERR_SYSTEM;
    }
    uv_prepare_start(&loop->flush, on_flush);
    uv_unref((uv_handle_t *)&loop->flush);
    bool may = lk_io_exit_add(loop);
    if (!may || lk_io_thread(&loop->thread, "lk-loop", loop_main, loop) != 0) {
        if (may)
            lk_io_exit_remove(loop);
        uv_close((uv_handle_t *)&loop->wake, NULL);
        uv_close((uv_handle_t *)&loop->clock, NULL);
        uv_close((uv_handle_t *)&loop->flush, NULL);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        uv_loop_close(&loop->uv);
        free_loop(loop);
        return may ? LK_ERR_SYSTEM : LK_ERR_CLOSED;
    }
    *out = loop;
    return LK_OK;
}

typedef struct stop_request {
    lk_task task;
    lk_loop *loop;
} stop_request;

static void on_stop(lk_task *task, lk_usec now)
{
    lk_loop *loop = ((stop_request *)task)->loop;
    LK_UNUSED(now);
    loop->stopping = true;
    lk_io_dns_close(loop);
    lk_io_udp_flush(loop);
    lk_io_streams_close(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    uv_close((uv_handle_t *)&loop->flush, NULL);
}

void lk_loop_free(lk_loop *loop)
{
    if (!loop || !lk_io_exit_ending(loop))
        return;
    lk_io_workers_stop(loop); /* their results are posted before the stop */
    stop_request stop = {{NULL, on_stop}, loop};
    lk_loop_post(loop, &stop.task);
    pthread_join(loop->thread, NULL);
    lk_io_exit_remove(loop);
    while (run_mail(loop)) { /* posts that raced with the stop */
    }
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    uv_loop_close(&loop->uv);
    free_loop(loop);
}

bool lk_loop_is_current(const lk_loop *loop) { return pthread_equal(pthread_self(), loop->thread); }
const lk_env *lk_loop_env(const lk_loop *loop) { return loop->env; }

/* ---- workers ---------------------------------------------------------------------------------------- */

static void on_job_done(lk_task *task, lk_usec now)
{
    lk_job *job = LK_CONTAINER(task, lk_job, link); /* the link is large enough to carry the task */
    job->carried(job, now);
}
_Static_assert(sizeof(lk_task) <= sizeof(lk_link), "a job's link carries the task that brings it home");

static void *worker_main(void *arg)
{
    lk_loop *loop = (lk_loop *)arg;
    pthread_mutex_lock(&loop->lock);
    for (;;) {
        while (loop->jobs.count == 0 && !loop->workers_stop && !loop->workers_halt) {
            loop->worker_idle++;
            pthread_cond_wait(&loop->has_job, &loop->lock);
            loop->worker_idle--;
        }
        if (loop->workers_halt) {
            pthread_mutex_unlock(&loop->lock);
            lk_io_exit_stand(loop);
        }
        lk_link *link = lk_list_pop(&loop->jobs);
        if (!link)
            break;
        pthread_mutex_unlock(&loop->lock);
        lk_job *job = LK_CONTAINER(link, lk_job, link);
        lk_usec began = lk_clock_now();
        job->run(job);
        job->spent_usec = lk_clock_now() - began;
        lk_task *home = (lk_task *)(void *)&job->link;
        *home = (lk_task){NULL, on_job_done};
        lk_loop_post(loop, home);
        pthread_mutex_lock(&loop->lock);
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

lk_err lk_loop_submit(lk_loop *loop, lk_job *job, void (*done)(lk_job *, lk_usec))
{
    lk_err err = LK_OK;
    job->carried = done;
    pthread_mutex_lock(&loop->lock);
    bool need = loop->jobs.count >= loop->worker_idle && loop->worker_count < loop->worker_max && !loop->workers_halt;
    if (need && lk_io_thread(&loop->workers[loop->worker_count], "lk-work", worker_main, loop) == 0)
        loop->worker_count++;
    if (loop->worker_count == 0) {
        err = LK_ERR_SYSTEM;
    } else {
        lk_list_push(&loop->jobs, &job->link);
        pthread_cond_signal(&loop->has_job);
    }
    pthread_mutex_unlock(&loop->lock);
    return err;
}

void lk_io_workers_stop(lk_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->workers_stop = true;
    pthread_cond_broadcast(&loop->has_job);
    pthread_mutex_unlock(&loop->lock);
    for (unsigned i = 0; i < loop->worker_count; i++)
        pthread_join(loop->workers[i], NULL);
}

unsigned lk_io_workers_halt(lk_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->workers_halt = true;
    unsigned count = loop->worker_count;
    pthread_cond_broadcast(&loop->has_job);
    pthread_mutex_unlock(&loop->lock);
    return count;
}

/* ---- addresses -------------------------------------------------------------------------------------- */

socklen_t lk_io_to_sockaddr(const lk_addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == 6) {
        struct sockaddr_in6 *s = (struct sockaddr_in6 *)(void *)out;
        s->sin6_family = AF_INET6;
        s->sin6_port = htons(a->port);
        s->sin6_scope_id = a->scope;
        memcpy(&s->sin6_addr, a->ip, 16);
        return sizeof *s;
    }
    struct sockaddr_in *s = (struct sockaddr_in *)(void *)out;
    s->sin_family = AF_INET;
    s->sin_port = htons(a->port);
    memcpy(&s->sin_addr, a->ip, 4);
    return sizeof *s;
}

bool lk_io_from_sockaddr(lk_addr *out, const struct sockaddr *sa)
{
    *out = (lk_addr){0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *s = (const struct sockaddr_in *)(const void *)sa;
        out->family = 4;
        out->port = ntohs(s->sin_port);
        memcpy(out->ip, &s->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *s = (const struct sockaddr_in6 *)(const void *)sa;
        out->family = 6;
        out->port = ntohs(s->sin6_port);
        memcpy(out->ip, &s->sin6_addr, 16);
        if (lk_addr_is_link_local(out))
            out->scope = s->sin6_scope_id;
        return true;
    }
    return false;
}

size_t lk_net_addresses(lk_addr *out, size_t cap, bool with_loopback)
{
    struct ifaddrs *all = NULL;
    size_t n = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (struct ifaddrs *i = all; i && n < cap; i = i->ifa_next) {
        lk_addr a;
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || !lk_io_from_sockaddr(&a, i->ifa_addr))
            continue;
        if (lk_addr_is_loopback(&a) ? !with_loopback : (i->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        if (a.family == 6 && lk_addr_is_link_local(&a))
            continue; /* reaches only the neighbours, and every candidate costs checks */
        a.port = 0;
        out[n++] = a;
    }
    freeifaddrs(all);
    return n;
}
