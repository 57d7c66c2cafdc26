// SPDX-License-Identifier: Apache-2.0
/* What the session of a room wants of the world: streams, sockets, names, jobs. */
#include "api/api_driver.h"

#include "ws/url.h"

static void on_opened(void *ctx, lk_usec now)
{
    driver_stream *s = ctx;
    lk_session_stream_opened(s->driver->session, now, s->id);
    api_driver_pump(s->driver, now);
}

static void on_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    driver_stream *s = ctx;
    lk_session_stream_data(s->driver->session, now, s->id, (lk_bytes){data, len});
    api_driver_pump(s->driver, now);
}

static void stream_gone(api_driver *d, uint32_t id)
{
    driver_stream *s = lk_map_take(&d->streams, id);
    if (!s)
        return;
    lk_tcp_close(s->tcp);
    api_release(s, sizeof *s);
}

static void on_ended(void *ctx, lk_usec now, const lk_error *why)
{
    driver_stream *s = ctx;
    api_driver *d = s->driver;
    uint32_t id = s->id;
    lk_error copy = why ? *why : (lk_error){0};
    stream_gone(d, id); /* it has ended, its memory goes with the close */
    lk_session_stream_closed(d->session, now, id, why ? &copy : NULL);
    api_driver_pump(d, now);
}

static void dial(api_driver *d, const lk_session_io *io, lk_usec now)
{
    lk_error why = api_error(LK_ERR_NOMEM, NULL);
    driver_stream *s = api_alloc0(sizeof *s);
    if (s) {
        *s = (driver_stream){.driver = d, .id = io->stream};
        why = api_error(lk_map_put(&d->streams, io->stream, s), NULL);
        if (why.code != LK_OK)
            api_release(s, sizeof *s);
    }
    if (why.code == LK_OK) {
        const lk_tcp_callbacks callbacks = {s, on_opened, on_data, on_ended};
        why = api_error(lk_tcp_dial(&s->tcp, d->shell->loop, io->host, io->port, &callbacks), NULL);
        if (why.code != LK_OK)
            stream_gone(d, io->stream);
    }
    if (why.code != LK_OK)
        lk_session_stream_closed(d->session, now, io->stream, &why);
}

static void on_datagram(void *ctx, lk_usec now, const lk_datagram *datagram)
{
    api_driver *d = ctx;
    lk_session_input(d->session, now, datagram);
    api_driver_pump(d, now);
}

void api_driver_close_sockets(api_driver *d)
{
    for (size_t i = 0; i < d->socket_count; i++)
        lk_udp_close(d->sockets[i].udp);
    d->socket_count = 0;
}

/* A socket per local address; loopback only if nothing else is there or the server is on it: the session sorts. */
static void udp_open(api_driver *d, lk_usec now, unsigned sockets)
{
    lk_addr addresses[LK_API_SOCKETS_MAX], bound[LK_API_SOCKETS_MAX];
    api_driver_close_sockets(d);
    size_t n = lk_net_addresses(addresses, LK_LEN(addresses), true);
    for (size_t i = 0; i < n && d->socket_count + sockets <= LK_API_SOCKETS_MAX; i++) {
        size_t first = d->socket_count;
        addresses[i].port = 0;
        for (unsigned k = 0; k < sockets; k++) {
            driver_socket *s = &d->sockets[d->socket_count];
            if (lk_udp_open(&s->udp, d->shell->loop, &addresses[i], on_datagram, NULL, d, &s->bound) != LK_OK)
                break;
            bound[d->socket_count++] = s->bound;
        }
        if (d->socket_count - first < sockets) /* all of an address or none */
            while (d->socket_count > first)
                lk_udp_close(d->sockets[--d->socket_count].udp);
    }
    lk_session_addresses(d->session, now, bound, d->socket_count);
}

static void udp_send(api_driver *d, const lk_datagram *datagram)
{
    for (size_t i = 0; i < d->socket_count; i++) {
        if (!lk_addr_eq(&d->sockets[i].bound, &datagram->local))
            continue;
        lk_udp_send(d->sockets[i].udp, &datagram->remote, datagram->data, datagram->len);
        return;
    }
}

static void on_resolved(void *ctx, lk_usec now, const lk_addr *addresses, size_t count)
{
    driver_lookup *l = ctx;
    l->lookup = NULL;
    lk_session_resolved(l->driver->session, now, l->question, addresses, count);
    api_driver_pump(l->driver, now);
}

/* Without a free place the name stays unknown, as with a server that is not there. */
static void resolve(api_driver *d, const lk_session_io *io)
{
    for (size_t i = 0; i < LK_LEN(d->lookups); i++) {
        driver_lookup *l = &d->lookups[i];
        if (l->lookup)
            continue;
        l->driver = d;
        l->question = io->stream;
        if (lk_lookup_start(&l->lookup, d->shell->loop, io->host, io->port, on_resolved, l) != LK_OK)
            l->lookup = NULL;
        return;
    }
}

static void on_job_done(lk_job *job, lk_usec now)
{
    api_driver *d = job->carrier;
    lk_session_job_done(d->session, now, job);
    if (d->killed) {
        if (lk_session_jobs_out(d->session) == 0)
            api_driver_destroy(d);
        return;
    }
    api_driver_pump(d, now);
}

static void run_job(api_driver *d, lk_job *job, lk_usec now)
{
    job->carrier = d;
    if (lk_loop_submit(d->shell->loop, job, on_job_done) == LK_OK)
        return;
    job->run(job); /* no worker to be had: late audio is better than none */
    lk_session_job_done(d->session, now, job);
}

void api_driver_do_io(api_driver *d, const lk_session_io *io, lk_usec now)
{
    switch (io->kind) {
    case LK_SESSION_IO_DIAL:
        dial(d, io, now);
        break;
    case LK_SESSION_IO_RESOLVE:
        resolve(d, io);
        break;
    case LK_SESSION_IO_STREAM_WRITE: {
        driver_stream *s = lk_map_get(&d->streams, io->stream);
        if (s && lk_tcp_write(s->tcp, io->bytes.data, io->bytes.len) == LK_ERR_FULL) {
            lk_error why = api_error(LK_ERR_NETWORK, "the server does not read");
            stream_gone(d, io->stream);
            lk_session_stream_closed(d->session, now, io->stream, &why);
        }
        break;
    }
    case LK_SESSION_IO_STREAM_CLOSE:
        stream_gone(d, io->stream);
        break;
    case LK_SESSION_IO_UDP_OPEN:
        udp_open(d, now, io->sockets);
        break;
    case LK_SESSION_IO_UDP_CLOSE:
        api_driver_close_sockets(d);
        break;
    case LK_SESSION_IO_UDP_SEND:
        udp_send(d, &io->datagram);
        break;
    case LK_SESSION_IO_JOB:
        run_job(d, io->job, now);
        break;
    }
}
