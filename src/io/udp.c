// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "io/loop_internal.h"

/* Receive slots and send slots of the loop, shared by all its sockets. */
struct lk_io_batch {
    uint8_t rx[LK_IO_BATCH][LK_IO_SLOT];
    uint8_t tx[LK_IO_BATCH][LK_IO_SLOT];
    lk_udp *tx_socket[LK_IO_BATCH];
    lk_addr tx_to[LK_IO_BATCH];
    size_t tx_len[LK_IO_BATCH];
    size_t tx_count;
};

struct lk_udp {
    lk_loop *loop;
    int fd;
    lk_addr local;
    uv_poll_t poll;
    lk_udp_receive receive;
    lk_udp_batch_end end;
    void *ctx;
    bool closed;
    bool no_segments; /* the kernel, or the way out, does not segment */
};

lk_err lk_io_bind_error(int error)
{
    switch (error) {
    case EADDRINUSE: return LK_ERR_STATE;
    case EACCES: return LK_ERR_DENIED;
    case EMFILE:
    case ENFILE: return LK_ERR_SYSTEM;
    case ENOMEM: return LK_ERR_NOMEM;
    default: return LK_ERR_NETWORK;
    }
}

static lk_err receive_batch(lk_udp *u, bool *more)
{
    struct lk_io_batch *b = u->loop->batch;
    struct mmsghdr msgs[LK_IO_BATCH];
    struct iovec iov[LK_IO_BATCH];
    struct sockaddr_storage from[LK_IO_BATCH];
    for (size_t i = 0; i < LK_IO_BATCH; i++) {
        iov[i] = (struct iovec){b->rx[i], LK_IO_SLOT};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &iov[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(u->fd, msgs, LK_IO_BATCH, MSG_DONTWAIT, NULL);
    *more = n == LK_IO_BATCH;
    lk_usec now = lk_clock_now();
    for (int i = 0; i < n && !u->closed; i++) {
        lk_datagram d = {.local = u->local, .data = b->rx[i], .len = msgs[i].msg_len};
        bool whole = !(msgs[i].msg_hdr.msg_flags & MSG_TRUNC);
        if (whole && lk_io_from_sockaddr(&d.remote, (struct sockaddr *)&from[i]))
            u->receive(u->ctx, now, &d);
    }
    if (n > 0 && !u->closed && u->end)
        u->end(u->ctx, now);
    return n > 0 ? LK_OK : LK_ERR_AGAIN;
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    lk_udp *u = (lk_udp *)p->data;
    bool more = false;
    LK_UNUSED(events);
    /* One batch a turn: other sockets and timers get theirs. An error is read (and cleared) the same way. */
    if (status == 0 || status == UV_EBADF)
        (void)receive_batch(u, &more);
}

static lk_err open_socket(lk_udp **out, lk_loop *loop, const lk_addr *bind_to, lk_udp_receive receive, lk_udp_batch_end end,
                          void *ctx, lk_addr *bound, bool shared)
{
    struct sockaddr_storage sa;
    socklen_t len = lk_io_to_sockaddr(bind_to, &sa);
    if (!loop->batch) {
        loop->batch = (struct lk_io_batch *)lk_alloc(loop->env, sizeof *loop->batch);
        if (!loop->batch)
            return LK_ERR_NOMEM;
        loop->batch->tx_count = 0;
    }
    lk_udp *u = (lk_udp *)lk_alloc0(loop->env, sizeof *u);
    if (!u)
        return LK_ERR_NOMEM;
    u->loop = loop;
    u->receive = receive;
    u->end = end;
    u->ctx = ctx;
    u->fd = socket(bind_to->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    lk_err err = u->fd < 0 ? lk_io_bind_error(errno) : LK_OK;
    int on = 1, buffer = 1 << 20; /* a burst of video waits here while the loop is busy; the kernel may give less */
    if (err == LK_OK)
        (void)setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (err == LK_OK && bind_to->family == 6)
        (void)setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (err == LK_OK && shared && setsockopt(u->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        err = LK_ERR_NETWORK;
    if (err == LK_OK && (bind(u->fd, (struct sockaddr *)&sa, len) != 0 || (len = sizeof sa, getsockname(u->fd, (struct sockaddr *)&sa, &len)) != 0))
        err = lk_io_bind_error(errno);
    if (err == LK_OK && uv_poll_init(&loop->uv, &u->poll, u->fd) != 0)
        err = LK_ERR_NOMEM;
    if (err != LK_OK) {
        if (u->fd >= 0)
            close(u->fd);
        lk_release(loop->env, u, sizeof *u);
        return err;
    }
    u->poll.data = u;
    (void)lk_io_from_sockaddr(&u->local, (struct sockaddr *)&sa);
    uv_poll_start(&u->poll, UV_READABLE, on_readable);
    loop->open_handles++;
    *bound = u->local;
    *out = u;
    return LK_OK;
}

lk_err lk_udp_open(lk_udp **out, lk_loop *loop, const lk_addr *bind_to, lk_udp_receive receive, lk_udp_batch_end end,
                   void *ctx, lk_addr *bound)
{
    return open_socket(out, loop, bind_to, receive, end, ctx, bound, false);
}

lk_err lk_udp_open_shared(lk_udp **out, lk_loop *loop, const lk_addr *bind_to, lk_udp_receive receive, lk_udp_batch_end end,
                          void *ctx, lk_addr *bound)
{
    return open_socket(out, loop, bind_to, receive, end, ctx, bound, true);
}

lk_err lk_udp_share(lk_udp *u)
{
    int on = 1;
    return setsockopt(u->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 ? LK_OK : LK_ERR_NETWORK;
}

void lk_io_udp_flush(lk_loop *loop)
{
    struct lk_io_batch *b = loop->batch;
    struct mmsghdr msgs[LK_IO_BATCH];
    struct iovec iov[LK_IO_BATCH];
    struct sockaddr_storage to[LK_IO_BATCH];
    if (!b || b->tx_count == 0)
        return;
    for (size_t at = 0; at < b->tx_count;) {
        lk_udp *u = b->tx_socket[at];
        unsigned n = 0;
        for (; at + n < b->tx_count && b->tx_socket[at + n] == u; n++) {
            socklen_t len = lk_io_to_sockaddr(&b->tx_to[at + n], &to[n]);
            iov[n] = (struct iovec){b->tx[at + n], b->tx_len[at + n]};
            msgs[n].msg_hdr = (struct msghdr){.msg_name = &to[n], .msg_namelen = len, .msg_iov = &iov[n], .msg_iovlen = 1};
        }
        for (unsigned sent = 0; u && sent < n;) {
            int r = sendmmsg(u->fd, msgs + sent, n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (r < 0 && errno == EINTR)
                continue;
            sent += r > 0 ? (unsigned)r : 1; /* a refused one is lost, as on the network */
        }
        at += n;
    }
    b->tx_count = 0;
}

void lk_udp_send(lk_udp *u, const lk_addr *remote, const uint8_t *data, size_t len)
{
    struct lk_io_batch *b = u->loop->batch;
    if (len > LK_IO_SLOT)
        return;
    if (b->tx_count == LK_IO_BATCH)
        lk_io_udp_flush(u->loop);
    memcpy(b->tx[b->tx_count], data, len);
    b->tx_socket[b->tx_count] = u;
    b->tx_to[b->tx_count] = *remote;
    b->tx_len[b->tx_count++] = len;
}

/* ---- many at once ----------------------------------------------------------------------------------- */

#define SEGMENT_BYTES_MAX 64000 /* of one segmented send; the kernel's limit is 65507 less the headers */

typedef struct segment_control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(uint16_t))];
} segment_control;

/* How many datagrams from d on can leave as one segmented send. */
static size_t run_length(const lk_udp *u, const lk_datagram *d, size_t count)
{
    size_t n = 1, bytes = d[0].len;
    if (u->no_segments)
        return 1;
    while (n < count && d[n].len <= d[0].len && d[n - 1].len == d[0].len && bytes + d[n].len <= SEGMENT_BYTES_MAX &&
           lk_addr_eq(&d[n].remote, &d[0].remote))
        bytes += d[n++].len;
    return n;
}

static void segment(struct msghdr *m, segment_control *control, size_t segment_bytes)
{
    uint16_t size = (uint16_t)segment_bytes;
    memset(control, 0, sizeof *control);
    m->msg_control = control->bytes;
    m->msg_controllen = sizeof control->bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

static void send_some(lk_udp *u, const lk_datagram *d, size_t count)
{
    struct mmsghdr msgs[LK_IO_BATCH];
    struct iovec iov[LK_IO_BATCH];
    struct sockaddr_storage to[LK_IO_BATCH];
    segment_control control[LK_IO_BATCH];
    size_t first[LK_IO_BATCH];
    unsigned n = 0;
    for (size_t at = 0; at < count; n++) {
        size_t run = run_length(u, d + at, count - at);
        for (size_t i = 0; i < run; i++)
            iov[at + i] = (struct iovec){(void *)(uintptr_t)d[at + i].data, d[at + i].len};
        msgs[n] = (struct mmsghdr){.msg_hdr = {.msg_name = &to[n], .msg_namelen = lk_io_to_sockaddr(&d[at].remote, &to[n]),
                                               .msg_iov = &iov[at], .msg_iovlen = run}};
        if (run > 1)
            segment(&msgs[n].msg_hdr, &control[n], d[at].len);
        first[n] = at;
        at += run;
    }
    for (unsigned sent = 0; sent < n;) {
        int r = sendmmsg(u->fd, msgs + sent, n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && msgs[sent].msg_hdr.msg_controllen && (errno == EIO || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOPROTOOPT)) {
            u->no_segments = true; /* one by one from here on */
            send_some(u, d + first[sent], count - first[sent]);
            return;
        }
        sent += r > 0 ? (unsigned)r : 1;
    }
}

void lk_udp_send_batch(lk_udp *u, const lk_datagram *d, size_t count)
{
    for (size_t at = 0; at < count; at += LK_IO_BATCH)
        send_some(u, d + at, LK_MIN(count - at, LK_IO_BATCH));
}

static void on_closed(uv_handle_t *h)
{
    lk_udp *u = (lk_udp *)h->data;
    close(u->fd);
    u->loop->open_handles--;
    lk_release(u->loop->env, u, sizeof *u);
}

void lk_udp_close(lk_udp *u)
{
    if (!u || u->closed)
        return;
    lk_io_udp_flush(u->loop); /* what was handed over leaves; nothing in the batch points here any more */
    u->closed = true;
    uv_poll_stop(&u->poll);
    uv_close((uv_handle_t *)&u->poll, on_closed);
}

void lk_io_udp_release(lk_loop *loop) { lk_release(loop->env, loop->batch, sizeof *loop->batch); }
