// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "io/loop_internal.h"

#define BACKLOG 1024
#define UNSENT_MAX (4u << 20)
#define LINGER_USEC LK_SEC(5)

struct lk_listener {
    lk_loop *loop;
    uv_tcp_t tcp;
    lk_accepted accepted;
    void *ctx;
    bool closed;
    lk_addr bound;
};

struct lk_stream {
    lk_loop *loop;
    uv_tcp_t tcp;
    lk_stream_callbacks callbacks;
    lk_timer linger;
    lk_link link; /* in the list of those that linger, while closed and not closing */
    lk_io_unsent unsent;
    bool ended; /* told, or not to be told any more */
    bool closed, closing;
};

/* ---- streams ---------------------------------------------------------------------------------------- */

static void on_stream_closed(uv_handle_t *h)
{
    lk_stream *s = (lk_stream *)h->data;
    s->loop->open_handles--;
    lk_release(s->loop->env, s, sizeof *s);
}

static void destroy(lk_stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    if (s->link.next)
        lk_list_remove(&s->loop->lingering, &s->link);
    (void)!lk_timer_set(s->loop, &s->linger, LK_NEVER);
    uv_close((uv_handle_t *)&s->tcp, on_stream_closed);
}

static void end(lk_stream *s)
{
    if (s->closed) { /* what was still to be sent cannot be */
        destroy(s);
        return;
    }
    if (s->ended)
        return;
    s->ended = true;
    uv_read_stop((uv_stream_t *)&s->tcp);
    s->callbacks.ended(s->callbacks.ctx, lk_clock_now());
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    LK_UNUSED(hint);
    *buf = uv_buf_init((char *)((lk_stream *)h->data)->loop->read_buf, LK_IO_READ_BYTES);
}

static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *buf)
{
    lk_stream *s = (lk_stream *)uv->data;
    if (n < 0)
        end(s);
    else if (n > 0 && !s->closed && !s->ended)
        s->callbacks.data(s->callbacks.ctx, lk_clock_now(), (const uint8_t *)buf->base, (size_t)n);
}

int lk_stream_descriptor(const lk_stream *s)
{
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&s->tcp, &fd) == 0 ? fd : -1;
}

void lk_stream_start(lk_stream *s, const lk_stream_callbacks *callbacks)
{
    s->callbacks = *callbacks;
    uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
}

static void on_went(lk_io_unsent *u, bool well)
{
    lk_stream *s = LK_CONTAINER(u, lk_stream, unsent);
    if (s->closed && (u->bytes == 0 || !well))
        destroy(s);
}

lk_err lk_stream_write(lk_stream *s, const uint8_t *data, size_t len)
{
    return s->closed || s->ended ? LK_ERR_STATE : lk_io_write(&s->unsent, &s->tcp, data, len, UNSENT_MAX);
}

static void on_linger(lk_timer *t, lk_usec now)
{
    LK_UNUSED(now);
    destroy(LK_CONTAINER(t, lk_stream, linger));
}

void lk_stream_close(lk_stream *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    if (s->unsent.bytes == 0 || s->loop->stopping || lk_timer_set(s->loop, &s->linger, lk_clock_now() + LINGER_USEC) != LK_OK)
        destroy(s);
    else
        lk_list_push(&s->loop->lingering, &s->link);
}

/* The loop ends: nobody waits any more for what a peer does not read. */
void lk_io_streams_close(lk_loop *loop)
{
    LK_LIST_EACH(&loop->lingering, it)
        destroy(LK_CONTAINER(it, lk_stream, link));
}

/* ---- listeners -------------------------------------------------------------------------------------- */

static bool addresses(lk_stream *s, lk_addr *local, lk_addr *remote)
{
    struct sockaddr_storage a, b;
    int an = sizeof a, bn = sizeof b;
    return uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&a, &an) == 0 && uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&b, &bn) == 0 &&
           lk_io_from_sockaddr(local, (struct sockaddr *)&a) && lk_io_from_sockaddr(remote, (struct sockaddr *)&b);
}

static void on_connection(uv_stream_t *server, int status)
{
    lk_listener *l = (lk_listener *)server->data;
    lk_addr local, remote;
    if (status != 0 || l->closed)
        return;
    lk_stream *s = (lk_stream *)lk_alloc0(l->loop->env, sizeof *s);
    if (!s)
        return; /* it stays in the backlog, and is tried again with the next one */
    s->loop = l->loop;
    s->unsent = (lk_io_unsent){.loop = l->loop, .went = on_went};
    s->tcp.data = s;
    lk_timer_init(&s->linger, on_linger);
    if (uv_tcp_init(&l->loop->uv, &s->tcp) != 0) {
        lk_release(l->loop->env, s, sizeof *s);
        return;
    }
    l->loop->open_handles++;
    if (uv_accept(server, (uv_stream_t *)&s->tcp) != 0 || !addresses(s, &local, &remote)) {
        lk_stream_close(s);
        return;
    }
    uv_tcp_nodelay(&s->tcp, 1);
    l->accepted(l->ctx, lk_clock_now(), s, &local, &remote);
}

static void on_listener_closed(uv_handle_t *h)
{
    lk_listener *l = (lk_listener *)h->data;
    l->loop->open_handles--;
    lk_release(l->loop->env, l, sizeof *l);
}

/* libuv would bind with SO_REUSEADDR and tell a taken port only when listening: our own socket tells it here. */
static int open_socket(const lk_addr *bind_to, lk_addr *bound)
{
    struct sockaddr_storage sa;
    socklen_t len = lk_io_to_sockaddr(bind_to, &sa);
    int on = 1, fd = socket(bind_to->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* the last run's connections may still wait for their end */
    if (bind_to->family == 6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, BACKLOG) == 0 && (len = sizeof sa, getsockname(fd, (struct sockaddr *)&sa, &len)) == 0 &&
        lk_io_from_sockaddr(bound, (struct sockaddr *)&sa))
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

lk_err lk_listener_open(lk_listener **out, lk_loop *loop, const lk_addr *bind_to, lk_accepted accepted, void *ctx, lk_addr *bound)
{
    if (!loop->read_buf && !(loop->read_buf = (uint8_t *)lk_alloc(loop->env, LK_IO_READ_BYTES)))
        return LK_ERR_NOMEM;
    lk_listener *l = (lk_listener *)lk_alloc0(loop->env, sizeof *l);
    if (!l)
        return LK_ERR_NOMEM;
    l->loop = loop;
    l->accepted = accepted;
    l->ctx = ctx;
    l->tcp.data = l;
    int fd = open_socket(bind_to, &l->bound);
    if (fd < 0 || uv_tcp_init(&loop->uv, &l->tcp) != 0) {
        lk_err err = fd < 0 ? lk_io_bind_error(errno) : LK_ERR_NOMEM;
        if (fd >= 0)
            close(fd);
        lk_release(loop->env, l, sizeof *l);
        return err;
    }
    loop->open_handles++;
    if (uv_tcp_open(&l->tcp, fd) != 0 || uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection) != 0) {
        lk_listener_close(l);
        return LK_ERR_NETWORK;
    }
    *bound = l->bound;
    *out = l;
    return LK_OK;
}

void lk_listener_close(lk_listener *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}
