// SPDX-License-Identifier: Apache-2.0
/* io/loop.h - the shell: one loop thread with sockets, timers, names, and workers for what may not run on it.
 *
 * In:      tasks from any thread, sockets, time.
 * Out:     callbacks on the loop thread.
 * Owner:   one lk_loop per runtime. Everything but lk_loop_post, _new and _free is loop thread only.
 * Limits:  workers min(cores, 4), started when jobs queue; 64 datagrams per receive batch and per send batch;
 *          8 MiB unsent per dialled TCP stream, 4 MiB per accepted one.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"
#include "livekit/types.h"

typedef struct lk_loop lk_loop;

/* malloc; wiped when given back. Any thread. */
extern const lk_mem lk_mem_production;

typedef struct lk_loop_config {
    const char *dns_servers; /* "127.0.0.1:5353,..." for tests; NULL: the system's */
} lk_loop_config;

/* Starts the thread "lk-loop". NOMEM; SYSTEM: no thread or no descriptor; CLOSED while the process ends. */
LK_NODISCARD lk_err lk_loop_new(lk_loop **out, const lk_env *env, const lk_loop_config *config);
/* Runs what is posted, closes everything, joins loop and workers. Not from the loop thread. Nothing while the process
 * ends: the loop stands still then. LK_BLOCKS. */
void lk_loop_free(lk_loop *loop);
/* exit() has begun: every loop stands still, posts are not run, and what a loop used has to be left as it is. */
bool lk_loop_is_halted(void);
bool lk_loop_is_current(const lk_loop *loop);
const lk_env *lk_loop_env(const lk_loop *loop);

/* Monotonic microseconds now; Unix microseconds now. Any thread. */
lk_usec lk_clock_now(void);
int64_t lk_clock_unix_usec(void);

/* ---- tasks: intrusive, run once, in the order of one thread's posts ---- */
typedef struct lk_task {
    struct lk_task *next;
    void (*run)(struct lk_task *task, lk_usec now);
} lk_task;
/* Any thread. The task must live until it ran; after lk_loop_free began it runs within lk_loop_free. */
void lk_loop_post(lk_loop *loop, lk_task *task);

/* ---- timers: no cost while LK_NEVER ---- */
typedef struct lk_timer {
    lk_usec at;       /* LK_NEVER: not set */
    size_t heap_slot; /* 0: not in the heap */
    void (*fire)(struct lk_timer *timer, lk_usec now);
} lk_timer;
void lk_timer_init(lk_timer *t, void (*fire)(lk_timer *, lk_usec));
/* Sets or moves; LK_NEVER stops. NOMEM leaves it as it was. */
LK_NODISCARD lk_err lk_timer_set(lk_loop *loop, lk_timer *t, lk_usec at);

/* ---- jobs: run on a worker, come back on the loop ---- */
/* done runs on the loop thread; job->carrier is kept for the caller. NOMEM when no worker can be started. */
LK_NODISCARD lk_err lk_loop_submit(lk_loop *loop, lk_job *job, void (*done)(lk_job *job, lk_usec now));

/* ---- UDP ---- */
typedef struct lk_udp lk_udp;
typedef void (*lk_udp_receive)(void *ctx, lk_usec now, const lk_datagram *d);
/* Called once after a batch of receives, when all of it has been handed over; may be NULL. */
typedef void (*lk_udp_batch_end)(void *ctx, lk_usec now);
/* Binds (port 0: any) and reports the bound address. STATE (the port is taken), DENIED (not for this user), NETWORK,
 * NOMEM, SYSTEM (no descriptor left). */
LK_NODISCARD lk_err lk_udp_open(lk_udp **out, lk_loop *loop, const lk_addr *bind, lk_udp_receive receive,
                                lk_udp_batch_end end, void *ctx, lk_addr *bound);
/* Copied; leaves with the batch of this loop turn. What the kernel refuses is lost, as on the network. */
void lk_udp_send(lk_udp *u, const lk_addr *remote, const uint8_t *data, size_t len);
/* All of them at once, nothing is copied: d[i].local is not looked at. Runs to one destination of equal size (the last may be
 * shorter) leave as one segmented send where the kernel can. What the kernel refuses is lost, as on the network. */
void lk_udp_send_batch(lk_udp *u, const lk_datagram *d, size_t count);
/* Several loops, one port: the first socket is opened as above (and so finds out whether the port is free), lk_udp_share lets
 * others of this user in beside it, lk_udp_open_shared is one of these. The kernel gives every 5-tuple to one of them, always
 * the same while none is opened or closed. NETWORK: not on this system. */
LK_NODISCARD lk_err lk_udp_share(lk_udp *u);
LK_NODISCARD lk_err lk_udp_open_shared(lk_udp **out, lk_loop *loop, const lk_addr *bind, lk_udp_receive receive,
                                       lk_udp_batch_end end, void *ctx, lk_addr *bound);
void lk_udp_close(lk_udp *u); /* NULL ok; no callback after */

/* ---- names ---- */
typedef struct lk_lookup lk_lookup;
/* Runs once, perhaps before lk_lookup_start returns; count 0: there is no address. The lookup is gone with it. */
typedef void (*lk_lookup_done)(void *ctx, lk_usec now, const lk_addr *addrs, size_t count);
/* A name or a number; IPv6 and IPv4 in turn. NOMEM, RESOLVE: done does not run. *out is written before done runs. */
LK_NODISCARD lk_err lk_lookup_start(lk_lookup **out, lk_loop *loop, const char *host, uint16_t port, lk_lookup_done done, void *ctx);
void lk_lookup_cancel(lk_lookup *l); /* NULL ok; done does not run any more */

/* ---- TCP ---- */
typedef struct lk_tcp lk_tcp;
typedef struct lk_tcp_callbacks {
    void *ctx;
    void (*opened)(void *ctx, lk_usec now);
    void (*data)(void *ctx, lk_usec now, const uint8_t *data, size_t len);
    /* The end, once: why is NULL for a plain end of the peer. No callback after; lk_tcp_close, also from inside, still
     * frees the stream. */
    void (*ended)(void *ctx, lk_usec now, const lk_error *why);
} lk_tcp_callbacks;
/* Resolves without blocking, races the addresses (250 ms apart, IPv6 first) [RFC8305]. NOMEM, INVALID. */
LK_NODISCARD lk_err lk_tcp_dial(lk_tcp **out, lk_loop *loop, const char *host, uint16_t port,
                                const lk_tcp_callbacks *callbacks);
/* Copied. STATE unless open, FULL past 8 MiB unsent, NOMEM. */
LK_NODISCARD lk_err lk_tcp_write(lk_tcp *t, const uint8_t *data, size_t len);
/* Sends what was written, then ends. NULL ok; no callback after. */
void lk_tcp_close(lk_tcp *t);

/* ---- TCP, accepted ---- */
typedef struct lk_listener lk_listener;
typedef struct lk_stream lk_stream;
typedef struct lk_stream_callbacks {
    void *ctx;
    void (*data)(void *ctx, lk_usec now, const uint8_t *data, size_t len);
    /* The end, once, by the peer or because it does not read what is written. Then lk_stream_close, also from inside. */
    void (*ended)(void *ctx, lk_usec now);
} lk_stream_callbacks;
/* Somebody has connected: the stream belongs to the callee, who calls lk_stream_start or lk_stream_close before it returns. */
typedef void (*lk_accepted)(void *ctx, lk_usec now, lk_stream *s, const lk_addr *local, const lk_addr *remote);
/* Binds (port 0: any), listens and reports the bound address. STATE (the port is taken), DENIED (not for this user),
 * NETWORK, NOMEM, SYSTEM (no descriptor left). */
LK_NODISCARD lk_err lk_listener_open(lk_listener **out, lk_loop *loop, const lk_addr *bind, lk_accepted accepted, void *ctx,
                                     lk_addr *bound);
void lk_listener_close(lk_listener *l); /* NULL ok; no callback after */
int lk_stream_descriptor(const lk_stream *s); /* its number: the lowest that was free when it was accepted; -1: none any more */
void lk_stream_start(lk_stream *s, const lk_stream_callbacks *callbacks);
/* Copied only if the kernel does not take it at once. FULL past 4 MiB unsent, STATE after the end, NOMEM. */
LK_NODISCARD lk_err lk_stream_write(lk_stream *s, const uint8_t *data, size_t len);
/* No callback after. Sends what was written, for 5 s at most, then ends. NULL ok. */
void lk_stream_close(lk_stream *s);

/* ---- frames in a stream: two bytes of length, then a packet [RFC4571] ---- */
#define LK_FRAME_MAX 2048
typedef struct lk_frame_reader {
    uint8_t data[2 + LK_FRAME_MAX];
    size_t have;
} lk_frame_reader;
/* Takes bytes from *in up to the end of one packet. AGAIN: more are needed; WIRE: a length over LK_FRAME_MAX, the stream is
 * not to be read on. packet is valid until the next call. */
LK_NODISCARD lk_err lk_frame_read(lk_frame_reader *r, lk_bytes *in, lk_bytes *packet);

/* Addresses of interfaces that are up: those with a route first; loopback ones only if asked. Returns the count. */
size_t lk_net_addresses(lk_addr *out, size_t cap, bool with_loopback);

/* What this process uses, and what it may use: bytes of memory (the machine's, or of the control group if that is less), and
 * descriptors. 0 and UINT64_MAX where the system does not say. lk_thread_cpu_usec: of the thread that asks. Any thread. */
uint64_t lk_memory_used(void);
uint64_t lk_memory_max(void);
uint64_t lk_descriptors_max(void);
lk_usec lk_thread_cpu_usec(void);

/* Proxy variables of the environment, upper case first; NULL when unset. */
const char *lk_env_proxy(const char *upper, const char *lower);

/* Environment of production: malloc, OpenSSL's entropy, dlopen. log may be NULL. */
void lk_env_production(lk_env *out, const lk_log_sink *log);
