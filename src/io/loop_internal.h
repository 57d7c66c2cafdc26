// SPDX-License-Identifier: Apache-2.0
/* Inside of io/: the loop struct that its files share. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "io/loop.h"

#define LK_IO_BATCH 64
#define LK_IO_SLOT 2048

/* Which file of name servers the channel has read; zero: none. */
typedef struct lk_dns_file {
    uint64_t inode;
    int64_t size, sec, nsec;
} lk_dns_file;

struct lk_loop {
    const lk_env *env;
    char *dns_servers;
    size_t dns_servers_size;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t clock;
    uv_prepare_t flush;
    pthread_t thread;
    bool stopping;
    _Atomic(lk_task *) mail; /* newest first */
    /* timer heap, 1-based */
    lk_timer **heap;
    size_t heap_len, heap_cap;
    lk_usec armed_at;
    /* names */
    void *ares; /* ares_channel, made with the first name, and anew when the name servers are others */
    lk_timer ares_timer;
    lk_dns_file dns_file;
    unsigned open_handles; /* uv handles with memory of their own */
    /* UDP batches, made with the first socket */
    struct lk_io_batch *batch;
    uint8_t *read_buf; /* made with the first listener */
    lk_list lingering; /* accepted streams that were closed with something still to send */
    /* workers */
    pthread_mutex_t lock;
    pthread_cond_t has_job;
    lk_list jobs;
    pthread_t workers[4];
    unsigned worker_count, worker_max, worker_idle;
    bool workers_stop, workers_halt;
    /* the end of the process, exit.c */
    lk_link alive;
    lk_task halt;
    unsigned standing, expected;
    bool ending; /* lk_loop_free has begun */
};

/* Accepted streams read into one buffer of the loop. */
#define LK_IO_READ_BYTES 65536
/* What errno says about a refused bind or listen. */
lk_err lk_io_bind_error(int error);

/* What a connection did not take at once: copies, until they went. */
typedef struct lk_io_unsent {
    lk_loop *loop;
    size_t bytes;
    void (*went)(struct lk_io_unsent *u, bool well); /* after each; may be NULL */
} lk_io_unsent;
/* FULL: more than most would wait. NOMEM, NETWORK. */
LK_NODISCARD lk_err lk_io_write(lk_io_unsent *u, uv_tcp_t *to, const uint8_t *data, size_t len, size_t most);

void lk_io_streams_close(lk_loop *loop);
void lk_io_dns_close(lk_loop *loop);
void lk_io_udp_flush(lk_loop *loop);
void lk_io_udp_release(lk_loop *loop);
void lk_io_workers_stop(lk_loop *loop);
/* No job begins any more; how many workers will come to lk_io_exit_stand. */
unsigned lk_io_workers_halt(lk_loop *loop);
/* Before its thread starts; false: the process is ending. */
bool lk_io_exit_add(lk_loop *loop);
/* Before its thread is stopped; false: the process is ending, the loop stands still and is not to be waited for. */
bool lk_io_exit_ending(lk_loop *loop);
void lk_io_exit_remove(lk_loop *loop);
void lk_io_exit_stand(lk_loop *loop); /* a worker has seen workers_halt; does not return */
socklen_t lk_io_to_sockaddr(const lk_addr *a, struct sockaddr_storage *out);
bool lk_io_from_sockaddr(lk_addr *out, const struct sockaddr *sa);
/* Thread with a name, a modest stack, and all signals blocked: they belong to the user's threads. */
int lk_io_thread(pthread_t *out, const char *name, void *(*run)(void *), void *arg);
/* ares callbacks find their query through these; see tcp.c and dns.c */
typedef void (*lk_io_resolved)(void *ctx, int status, const lk_addr *addrs, size_t count);
lk_err lk_io_resolve(lk_loop *loop, const char *host, uint16_t port, lk_io_resolved done, void *ctx);
