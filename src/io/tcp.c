// SPDX-License-Identifier: Apache-2.0
#include <ares.h>

#include "io/loop_internal.h"

#define ATTEMPTS_MAX 8
#define ATTEMPT_GAP_USEC LK_MSEC(250) /* [RFC8305 s5] */
#define UNSENT_MAX (8u << 20)

typedef struct attempt {
    uv_tcp_t tcp;
    uv_connect_t connect;
    lk_tcp *owner;
    bool used, closed;
} attempt;

struct lk_tcp {
    lk_loop *loop;
    lk_tcp_callbacks callbacks;
    char host[256];
    uint16_t port;
    lk_addr addrs[16];
    size_t addr_count, next_addr;
    attempt attempts[ATTEMPTS_MAX];
    unsigned attempt_count, pending, open_handles;
    attempt *winner;
    lk_timer gap;
    bool resolving, closed, ended;
    int last_error;
    lk_io_unsent unsent; /* a broken connection tells through on_read */
    uint8_t read_buf[16384];
};

static void maybe_free(lk_tcp *t)
{
    if (t->closed && !t->resolving && t->open_handles == 0)
        lk_release(t->loop->env, t, sizeof *t);
}

static void on_handle_closed(uv_handle_t *h)
{
    lk_tcp *t = ((attempt *)h->data)->owner;
    t->open_handles--;
    maybe_free(t);
}

static void close_attempt(attempt *a)
{
    if (a->used && !a->closed) {
        a->closed = true;
        uv_close((uv_handle_t *)&a->tcp, on_handle_closed);
    }
}

static void shut(lk_tcp *t)
{
    (void)!lk_timer_set(t->loop, &t->gap, LK_NEVER);
    for (size_t i = 0; i < t->attempt_count; i++)
        close_attempt(&t->attempts[i]);
}

static void end(lk_tcp *t, const lk_error *why)
{
    if (t->ended || t->closed)
        return;
    t->ended = true;
    shut(t);
    t->callbacks.ended(t->callbacks.ctx, lk_clock_now(), why);
}

static void set_text(lk_error *e, lk_err code, const char *what, const lk_tcp *t, const char *why)
{
    char num[LK_STR_FMT_MAX];
    const char *pieces[] = {what, t->host, ":", lk_u64_text(t->port, num), ": ", why};
    size_t at = 0;
    e->code = code;
    for (size_t i = 0; i < LK_LEN(pieces); i++)
        for (const char *c = pieces[i]; *c && at + 1 < sizeof e->text; c++)
            e->text[at++] = *c;
    e->text[at] = 0;
}

static void start_attempt(lk_tcp *t);

static void fail_if_over(lk_tcp *t)
{
    if (t->pending == 0 && t->next_addr >= t->addr_count && !t->winner) {
        lk_error e;
        set_text(&e, LK_ERR_NETWORK, "cannot connect to ", t, uv_strerror(t->last_error));
        end(t, &e);
    }
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    lk_tcp *t = ((attempt *)h->data)->owner;
    LK_UNUSED(hint);
    *buf = uv_buf_init((char *)t->read_buf, sizeof t->read_buf);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    lk_tcp *t = ((attempt *)s->data)->owner;
    if (t->closed || t->ended)
        return;
    if (n > 0) {
        t->callbacks.data(t->callbacks.ctx, lk_clock_now(), (const uint8_t *)buf->base, (size_t)n);
    } else if (n == UV_EOF) {
        end(t, NULL);
    } else if (n < 0) {
        lk_error e;
        set_text(&e, LK_ERR_NETWORK, "connection lost to ", t, uv_strerror((int)n));
        end(t, &e);
    }
}

static void on_connected(uv_connect_t *c, int status)
{
    attempt *a = (attempt *)c->data;
    lk_tcp *t = a->owner;
    if (status == UV_ECANCELED || t->closed || t->ended)
        return;
    t->pending--;
    if (status != 0) {
        t->last_error = status;
        close_attempt(a);
        if (t->next_addr < t->addr_count)
            start_attempt(t);
        fail_if_over(t);
        return;
    }
    t->winner = a;
    (void)!lk_timer_set(t->loop, &t->gap, LK_NEVER);
    for (size_t i = 0; i < t->attempt_count; i++)
        if (&t->attempts[i] != a)
            close_attempt(&t->attempts[i]);
    uv_tcp_nodelay(&a->tcp, 1);
    uv_read_start((uv_stream_t *)&a->tcp, on_alloc, on_read);
    t->callbacks.opened(t->callbacks.ctx, lk_clock_now());
}

static void start_attempt(lk_tcp *t)
{
    struct sockaddr_storage sa;
    while (t->next_addr < t->addr_count && t->attempt_count < ATTEMPTS_MAX) {
        attempt *a = &t->attempts[t->attempt_count];
        lk_io_to_sockaddr(&t->addrs[t->next_addr++], &sa);
        *a = (attempt){.owner = t};
        int r = uv_tcp_init(&t->loop->uv, &a->tcp);
        if (r == 0) {
            a->used = true;
            t->attempt_count++;
            t->open_handles++;
            a->tcp.data = a->connect.data = a;
            r = uv_tcp_connect(&a->connect, &a->tcp, (const struct sockaddr *)&sa, on_connected);
        }
        if (r == 0) {
            t->pending++;
            break;
        }
        t->last_error = r;
        close_attempt(a);
    }
    if (t->attempt_count == ATTEMPTS_MAX)
        t->next_addr = t->addr_count;
    if (t->next_addr < t->addr_count)
        (void)!lk_timer_set(t->loop, &t->gap, lk_clock_now() + ATTEMPT_GAP_USEC);
}

static void on_gap(lk_timer *timer, lk_usec now)
{
    lk_tcp *t = LK_CONTAINER(timer, lk_tcp, gap);
    LK_UNUSED(now);
    start_attempt(t);
    fail_if_over(t);
}

static void on_resolved(void *ctx, int status, const lk_addr *addrs, size_t count)
{
    lk_tcp *t = (lk_tcp *)ctx;
    t->resolving = false;
    if (t->closed) {
        maybe_free(t);
        return;
    }
    if (count == 0) {
        lk_error e;
        set_text(&e, LK_ERR_RESOLVE, "failed to lookup address of ", t, ares_strerror(status));
        end(t, &e);
        return;
    }
    t->addr_count = LK_MIN(count, LK_LEN(t->addrs));
    memcpy(t->addrs, addrs, t->addr_count * sizeof *addrs);
    start_attempt(t);
    fail_if_over(t);
}

/* A numeric address is tried from the loop, so that no callback comes before dial has returned. */
static void on_first(lk_timer *timer, lk_usec now)
{
    lk_tcp *t = LK_CONTAINER(timer, lk_tcp, gap);
    LK_UNUSED(now);
    lk_timer_init(&t->gap, on_gap);
    if (t->addr_count) {
        start_attempt(t);
        fail_if_over(t);
        return;
    }
    t->resolving = true;
    if (lk_io_resolve(t->loop, t->host, t->port, on_resolved, t) != LK_OK)
        on_resolved(t, ARES_ENOMEM, NULL, 0);
}

lk_err lk_tcp_dial(lk_tcp **out, lk_loop *loop, const char *host, uint16_t port, const lk_tcp_callbacks *callbacks)
{
    size_t n = strlen(host);
    if (n == 0 || n > 253 || port == 0)
        return LK_ERR_INVALID;
    lk_tcp *t = (lk_tcp *)lk_alloc0(loop->env, sizeof *t);
    if (!t)
        return LK_ERR_NOMEM;
    t->loop = t->unsent.loop = loop;
    t->callbacks = *callbacks;
    t->port = port;
    memcpy(t->host, host, n);
    if (lk_addr_parse_ip(&t->addrs[0], lk_str_of(host))) {
        t->addrs[0].port = port;
        t->addr_count = 1;
    }
    lk_timer_init(&t->gap, on_first);
    lk_err err = lk_timer_set(loop, &t->gap, 0);
    if (err != LK_OK) {
        lk_release(loop->env, t, sizeof *t);
        return err;
    }
    *out = t;
    return LK_OK;
}

lk_err lk_tcp_write(lk_tcp *t, const uint8_t *data, size_t len)
{
    if (!t->winner || t->closed || t->ended)
        return LK_ERR_STATE;
    if (len > UNSENT_MAX - t->unsent.bytes)
        return LK_ERR_FULL;
    return lk_io_write(&t->unsent, &t->winner->tcp, data, len, UNSENT_MAX);
}

void lk_tcp_close(lk_tcp *t)
{
    if (!t || t->closed)
        return;
    t->closed = true;
    shut(t);
    maybe_free(t);
}
