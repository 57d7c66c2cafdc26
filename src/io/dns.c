// SPDX-License-Identifier: Apache-2.0
/* Names through c-ares on the loop: never a thread, never a wait. */
#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "io/loop_internal.h"

#define ADDRS_MAX 16
#define TRY_MSEC 1500
#define TRIES 3
#define RESOLV_CONF "/etc/resolv.conf"

typedef struct dns_socket {
    uv_poll_t poll;
    lk_loop *loop;
    ares_socket_t fd;
} dns_socket;

typedef struct dns_query {
    lk_loop *loop;
    lk_io_resolved done;
    void *ctx;
    uint16_t port;
} dns_query;

static void arm(lk_loop *loop)
{
    struct timeval tv;
    lk_usec at = LK_NEVER;
    if (loop->ares && ares_timeout((ares_channel)loop->ares, NULL, &tv))
        at = lk_clock_now() + LK_SEC(tv.tv_sec) + tv.tv_usec;
    if (lk_timer_set(loop, &loop->ares_timer, at) != LK_OK && loop->ares)
        ares_cancel((ares_channel)loop->ares);
}

static void on_timer(lk_timer *t, lk_usec now)
{
    lk_loop *loop = LK_CONTAINER(t, lk_loop, ares_timer);
    LK_UNUSED(now);
    ares_process_fd((ares_channel)loop->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(loop);
}

static void on_socket(uv_poll_t *p, int status, int events)
{
    dns_socket *s = (dns_socket *)p->data;
    lk_loop *loop = s->loop;
    ares_socket_t fd = s->fd;
    bool in = status < 0 || (events & UV_READABLE), out = status < 0 || (events & UV_WRITABLE);
    ares_process_fd((ares_channel)loop->ares, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
    if (loop->ares)
        arm(loop);
}

static void on_socket_closed(uv_handle_t *h)
{
    dns_socket *s = (dns_socket *)h->data;
    lk_release(s->loop->env, s, sizeof *s);
}

typedef struct find_arg {
    ares_socket_t fd;
    dns_socket *found;
} find_arg;

static void find_socket(uv_handle_t *h, void *arg)
{
    find_arg *f = (find_arg *)arg;
    if (h->type == UV_POLL && h->close_cb == NULL) {
        uv_os_fd_t fd;
        if (uv_fileno(h, &fd) == 0 && fd == f->fd && !uv_is_closing(h))
            f->found = (dns_socket *)h->data;
    }
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    lk_loop *loop = (lk_loop *)arg;
    find_arg f = {fd, NULL};
    uv_walk(&loop->uv, find_socket, &f); /* a handful of handles, and only while a name is looked up */
    dns_socket *s = f.found;
    if (!readable && !writable) {
        if (s) {
            uv_poll_stop(&s->poll);
            uv_close((uv_handle_t *)&s->poll, on_socket_closed);
        }
        return;
    }
    if (!s) {
        s = (dns_socket *)lk_alloc0(loop->env, sizeof *s);
        if (!s)
            return; /* the query times out */
        s->loop = loop;
        s->fd = fd;
        if (uv_poll_init(&loop->uv, &s->poll, fd) != 0) {
            lk_release(loop->env, s, sizeof *s);
            return;
        }
        s->poll.data = s;
    }
    uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0), on_socket);
}

/* A channel knows the name servers of the moment it was opened; the machine may be in another network by now. */
static bool servers_changed(lk_loop *loop)
{
    struct stat st;
    if (stat(RESOLV_CONF, &st) != 0)
        memset(&st, 0, sizeof st);
    const lk_dns_file now = {st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    bool changed = memcmp(&now, &loop->dns_file, sizeof now) != 0;
    loop->dns_file = now;
    return changed;
}

static bool open_channel(lk_loop *loop)
{
    struct ares_options options = {.timeout = TRY_MSEC, .tries = TRIES, .sock_state_cb = on_socket_state, .sock_state_cb_data = loop};
    ares_channel channel;
    if (loop->ares)
        return true;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
        ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
        return false;
    if (loop->dns_servers)
        (void)ares_set_servers_ports_csv(channel, loop->dns_servers);
    lk_timer_init(&loop->ares_timer, on_timer);
    loop->ares = channel;
    return true;
}

void lk_io_dns_close(lk_loop *loop)
{
    if (!loop->ares)
        return;
    ares_channel channel = (ares_channel)loop->ares;
    ares_destroy(channel); /* answers every query with ARES_EDESTRUCTION and closes its sockets */
    loop->ares = NULL;
    (void)!lk_timer_set(loop, &loop->ares_timer, LK_NEVER);
    ares_library_cleanup();
}

/* IPv6 and IPv4 in turn, IPv6 first. [RFC8305 s4] */
static size_t interleave(const struct ares_addrinfo *info, uint16_t port, lk_addr out[ADDRS_MAX])
{
    lk_addr six[ADDRS_MAX], four[ADDRS_MAX];
    size_t n6 = 0, n4 = 0, n = 0;
    for (const struct ares_addrinfo_node *i = info->nodes; i; i = i->ai_next) {
        lk_addr a;
        if (!lk_io_from_sockaddr(&a, i->ai_addr))
            continue;
        a.port = port;
        if (a.family == 6 && n6 < ADDRS_MAX)
            six[n6++] = a;
        else if (a.family == 4 && n4 < ADDRS_MAX)
            four[n4++] = a;
    }
    for (size_t i = 0; n < ADDRS_MAX && (i < n6 || i < n4); i++) {
        if (i < n6)
            out[n++] = six[i];
        if (i < n4 && n < ADDRS_MAX)
            out[n++] = four[i];
    }
    return n;
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    dns_query *q = (dns_query *)arg;
    lk_addr addrs[ADDRS_MAX];
    LK_UNUSED(timeouts);
    size_t n = status == ARES_SUCCESS && info ? interleave(info, q->port, addrs) : 0;
    ares_freeaddrinfo(info);
    lk_io_resolved done = q->done;
    void *ctx = q->ctx;
    lk_release(q->loop->env, q, sizeof *q);
    done(ctx, status == ARES_SUCCESS && n == 0 ? ARES_ENODATA : status, addrs, n);
}

lk_err lk_io_resolve(lk_loop *loop, const char *host, uint16_t port, lk_io_resolved done, void *ctx)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    lk_addr address;
    if (lk_addr_parse_ip(&address, lk_str_of(host))) { /* c-ares asks a name server whether it knows it as an IPv6 name too */
        address.port = port;
        done(ctx, ARES_SUCCESS, &address, 1);
        return LK_OK;
    }
    dns_query *q = (dns_query *)lk_alloc(loop->env, sizeof *q);
    if (!q)
        return LK_ERR_NOMEM;
    if (servers_changed(loop)) /* what was asked of the old ones ends, and is tried again by who asked */
        lk_io_dns_close(loop);
    if (!open_channel(loop)) {
        lk_release(loop->env, q, sizeof *q);
        return LK_ERR_RESOLVE;
    }
    *q = (dns_query){loop, done, ctx, port};
    ares_getaddrinfo((ares_channel)loop->ares, host, NULL, &hints, on_answer, q);
    arm(loop);
    return LK_OK;
}

struct lk_lookup {
    lk_loop *loop;
    lk_lookup_done done; /* NULL: cancelled */
    void *ctx;
};

static void on_lookup(void *ctx, int status, const lk_addr *addrs, size_t count)
{
    lk_lookup copy = *(lk_lookup *)ctx;
    lk_release(copy.loop->env, ctx, sizeof copy);
    if (copy.done)
        copy.done(copy.ctx, lk_clock_now(), addrs, status == ARES_SUCCESS ? count : 0);
}

lk_err lk_lookup_start(lk_lookup **out, lk_loop *loop, const char *host, uint16_t port, lk_lookup_done done, void *ctx)
{
    lk_lookup *l = (lk_lookup *)lk_alloc(loop->env, sizeof *l);
    if (!l)
        return LK_ERR_NOMEM;
    *l = (lk_lookup){loop, done, ctx};
    *out = l;
    lk_err err = lk_io_resolve(loop, host, port, on_lookup, l);
    if (err != LK_OK)
        lk_release(loop->env, l, sizeof *l);
    return err;
}

void lk_lookup_cancel(lk_lookup *l)
{
    if (l)
        l->done = NULL; /* c-ares cannot be told about one query; its answer frees it */
}
