// SPDX-License-Identifier: Apache-2.0
/* Sockets of the server: connections, flows, datagrams, and the engine between them. Loop thread. */
#include "api/api_server.h"
#include "dtls/dtls.h"
#include "ws/url.h"

#define FLOW_PATIENCE_USEC LK_SEC(15) /* a flow that the engine has answered nothing is nobody's */
#define STOP_USEC LK_SEC(2)

/* ---- connections of the HTTP port ----------------------------------------------------------------------------- */

static void visit_end(api_visit *v, lk_usec now)
{
    api_serve *s = v->serve;
    lk_bytes last;
    if (v->dirty)
        lk_list_remove(&s->dirty, &v->dirty_link);
    lk_list_remove(v->upgraded ? &s->talks : &s->visits, &v->link);
    (void)!lk_timer_set(s->loop, &v->timer, LK_NEVER);
    if (v->conn) {
        (void)lk_map_take(&s->conns, v->conn);
        lk_sfu_signal_closed(s->sfu, now, v->conn);
    }
    if (v->admin_tag) {
        (void)lk_map_take(&s->admins, v->admin_tag);
        lk_sfu_admin_forget(s->sfu, v->admin_tag);
    }
    while (!v->broken && lk_ws_server_poll_tx(v->http, &last))
        v->broken = lk_stream_write(v->stream, last.data, last.len) != LK_OK;
    lk_stream_close(v->stream);
    lk_ws_server_free(v->http);
    lk_release(s->env, v, sizeof *v);
    if (s->stopping && s->visits.count + s->talks.count == 0)
        (void)!lk_timer_set(s->loop, &s->stop_timer, now);
}

void api_visit_touch(api_visit *v)
{
    if (!v->dirty)
        lk_list_push(&v->serve->dirty, &v->dirty_link);
    v->dirty = true;
}

/* Takes what the connection has to say, writes what it has to be told. Whoever calls it does not use v after. */
static void visit_work(api_visit *v, lk_usec now)
{
    api_serve *s = v->serve;
    lk_ws_server_event e;
    lk_bytes out;
    bool over = false;
    if (v->working)
        return;
    v->working = true;
    while (!over && !v->broken && lk_ws_server_poll_event(v->http, &e)) {
        if (e.type == LK_WS_SERVER_EV_REQUEST)
            api_visit_request(v, now, &e.request);
        else if (e.type == LK_WS_SERVER_EV_CLOSED)
            over = true;
        else if (v->conn)
            lk_sfu_signal(s->sfu, now, v->conn, e.binary, e.data);
        api_serve_pump(s, now);
    }
    v->working = false;
    if (!over) {
        while (!v->broken && lk_ws_server_poll_tx(v->http, &out))
            v->broken = lk_stream_write(v->stream, out.data, out.len) != LK_OK;
        over = v->broken || lk_timer_set(s->loop, &v->timer, lk_ws_server_deadline(v->http)) != LK_OK;
    }
    if (over)
        visit_end(v, now);
}

static void on_visit_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    api_visit *v = (api_visit *)ctx;
    api_serve *s = v->serve;
    lk_ws_server_input(v->http, now, data, len);
    visit_work(v, now);
    api_serve_pump(s, now);
}

static void on_visit_ended(void *ctx, lk_usec now)
{
    api_visit *v = (api_visit *)ctx;
    api_serve *s = v->serve;
    v->broken = true; /* nothing can be written any more */
    lk_ws_server_input_end(v->http, now);
    visit_work(v, now);
    api_serve_pump(s, now);
}

static void on_visit_timer(lk_timer *t, lk_usec now)
{
    api_visit *v = LK_CONTAINER(t, api_visit, timer);
    api_serve *s = v->serve;
    lk_ws_server_tick(v->http, now);
    visit_work(v, now);
    api_serve_pump(s, now);
}

void api_visit_upgraded(api_visit *v)
{
    lk_list_remove(&v->serve->visits, &v->link);
    lk_list_push(&v->serve->talks, &v->link);
    v->upgraded = true;
}

/* Room for one more between requests: the oldest of those goes. False: all of them are busy. */
static bool make_room(api_serve *s, lk_usec now)
{
    if (s->visits.count < API_SERVE_IDLE_MAX)
        return true;
    LK_LIST_EACH(&s->visits, it) {
        api_visit *v = LK_CONTAINER(it, api_visit, link);
        if (lk_ws_server_is_idle(v->http) && !v->working) {
            visit_end(v, now);
            return true;
        }
    }
    return false;
}

static void on_accepted(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote)
{
    api_serve *s = (api_serve *)ctx;
    LK_UNUSED(local);
    bool room = s->visits.count + s->talks.count + s->flows.count < s->server->options.max_connections && make_room(s, now);
    api_visit *v = room ? (api_visit *)lk_alloc0(s->env, sizeof *v) : NULL;
    if (v && lk_ws_server_new(&v->http, s->env, now) != LK_OK) {
        lk_release(s->env, v, sizeof *v);
        v = NULL;
    }
    if (!v) {
        lk_stream_close(stream);
        return;
    }
    v->serve = s;
    v->stream = stream;
    v->remote = *remote;
    lk_timer_init(&v->timer, on_visit_timer);
    lk_list_push(&s->visits, &v->link);
    lk_stream_start(stream, &(lk_stream_callbacks){v, on_visit_data, on_visit_ended});
    visit_work(v, now);
}

/* ---- flows of the ICE-TCP port ----------------------------------------------------------------------------------- */

static uint64_t flow_key(const lk_addr *local, const lk_addr *remote)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    const uint16_t ports[2] = {local->port, remote->port};
    const struct {
        const void *p;
        size_t n;
    } parts[] = {{local->ip, sizeof local->ip}, {remote->ip, sizeof remote->ip}, {ports, sizeof ports}};
    for (size_t i = 0; i < LK_LEN(parts); i++)
        for (size_t k = 0; k < parts[i].n; k++)
            h = (h ^ ((const uint8_t *)parts[i].p)[k]) * 1099511628211u;
    return h;
}

static void flow_end(api_flow *f, lk_usec now)
{
    api_serve *s = f->serve;
    (void)lk_map_take(&s->flows, f->key);
    (void)!lk_timer_set(s->loop, &f->timer, LK_NEVER);
    lk_sfu_flow_closed(s->sfu, now, &f->local, &f->remote);
    lk_stream_close(f->stream);
    lk_release(s->env, f, sizeof *f);
}

static void on_flow_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    api_flow *f = (api_flow *)ctx;
    api_serve *s = f->serve;
    lk_bytes in = {data, len}, frame;
    lk_err err;
    while ((err = lk_frame_read(&f->reader, &in, &frame)) == LK_OK) {
        lk_sfu_input(s->sfu, now, &(lk_sfu_packet){.d = {f->local, f->remote, frame.data, frame.len}, .tcp = true});
        api_serve_drain(s, now);
    }
    if (err == LK_ERR_WIRE || f->broken)
        flow_end(f, now);
    api_serve_pump(s, now);
}

static void on_flow_ended(void *ctx, lk_usec now)
{
    api_flow *f = (api_flow *)ctx;
    api_serve *s = f->serve;
    flow_end(f, now);
    api_serve_pump(s, now);
}

/* Nobody's, or broken while something was written to it. */
static void on_flow_timer(lk_timer *t, lk_usec now)
{
    api_flow *f = LK_CONTAINER(t, api_flow, timer);
    if (f->broken || !f->answered)
        on_flow_ended(f, now);
}

static void on_flow(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote)
{
    api_serve *s = (api_serve *)ctx;
    uint64_t key = flow_key(local, remote);
    bool room = s->visits.count + s->talks.count + s->flows.count < s->server->options.max_connections && !lk_map_get(&s->flows, key);
    api_flow *f = room ? (api_flow *)lk_alloc0(s->env, sizeof *f) : NULL;
    if (f && lk_map_put(&s->flows, key, f) != LK_OK) {
        lk_release(s->env, f, sizeof *f);
        f = NULL;
    }
    if (!f) {
        lk_stream_close(stream);
        return;
    }
    f->serve = s;
    f->stream = stream;
    f->local = *local;
    f->remote = *remote;
    f->key = key;
    lk_timer_init(&f->timer, on_flow_timer);
    lk_stream_start(stream, &(lk_stream_callbacks){f, on_flow_data, on_flow_ended});
    if (lk_timer_set(s->loop, &f->timer, now + FLOW_PATIENCE_USEC) != LK_OK)
        flow_end(f, now);
}

static void flow_send(api_serve *s, lk_usec now, const lk_datagram *d)
{
    uint8_t framed[2 + LK_FRAME_MAX];
    api_flow *f = (api_flow *)lk_map_get(&s->flows, flow_key(&d->local, &d->remote));
    if (!f || f->broken || d->len > LK_FRAME_MAX)
        return;
    f->answered = true;
    lk_put_u16(framed, (uint16_t)d->len);
    memcpy(framed + 2, d->data, d->len);
    if (lk_stream_write(f->stream, framed, 2 + d->len) == LK_OK)
        return;
    f->broken = true; /* it does not read; ended in the next turn, the engine is not to be called now */
    (void)!lk_timer_set(s->loop, &f->timer, now);
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------ */

static void on_datagram(void *ctx, lk_usec now, const lk_datagram *d)
{
    lk_sfu_input(((api_serve *)ctx)->sfu, now, &(lk_sfu_packet){.d = *d});
}

static void on_datagrams(void *ctx, lk_usec now) { api_serve_pump((api_serve *)ctx, now); }

static lk_udp *socket_of(const api_serve *s, const lk_addr *local)
{
    for (size_t i = 0; i < s->udp_count; i++)
        if (lk_addr_ip_eq(&s->udp_at[i], local))
            return s->udp[i];
    return NULL;
}

/* Neighbours that leave through one socket are handed over together. */
static void send_packets(api_serve *s, lk_usec now)
{
    lk_sfu_packet p[API_SERVE_TX_BATCH];
    lk_datagram batch[API_SERVE_TX_BATCH];
    for (size_t n; (n = lk_sfu_poll_tx(s->sfu, now, p, LK_LEN(p))) > 0;) {
        size_t count = 0;
        lk_udp *from = NULL;
        for (size_t i = 0; i < n; i++) {
            if (p[i].tcp) {
                flow_send(s, now, &p[i].d);
                continue;
            }
            lk_udp *u = count && lk_addr_ip_eq(&p[i].d.local, &batch[count - 1].local) ? from : socket_of(s, &p[i].d.local);
            if (count && u != from) {
                lk_udp_send_batch(from, batch, count);
                count = 0;
            }
            from = u;
            if (u)
                batch[count++] = p[i].d;
        }
        if (count)
            lk_udp_send_batch(from, batch, count);
    }
}

/* ---- the engine ------------------------------------------------------------------------------------------------------ */

static void on_event(api_serve *s, lk_usec now, const lk_sfu_event *ev)
{
    if (ev->kind == LK_SFU_EV_ADMIN_DONE) {
        api_visit *v = (api_visit *)lk_map_take(&s->admins, ev->tag);
        if (v)
            api_visit_admin_done(v, now, ev);
        return;
    }
    api_visit *v = (api_visit *)lk_map_get(&s->conns, ev->conn);
    if (!v)
        return;
    if (ev->kind == LK_SFU_EV_SIGNAL_SEND) {
        v->broken |= lk_ws_server_send(v->http, true, ev->bytes.data, ev->bytes.len) == LK_ERR_NOMEM;
    } else {
        (void)lk_map_take(&s->conns, ev->conn);
        v->conn = 0;
        lk_ws_server_close(v->http, now, ev->close_code);
    }
    api_visit_touch(v);
}

void api_serve_drain(api_serve *s, lk_usec now)
{
    lk_sfu_event ev;
    while (lk_sfu_poll_event(s->sfu, &ev))
        on_event(s, now, &ev);
    send_packets(s, now);
}

void api_serve_pump(api_serve *s, lk_usec now)
{
    lk_link *link;
    if (s->pumping)
        return;
    s->pumping = true;
    api_serve_drain(s, now);
    /* What a connection says while it is worked on makes new events: until all is quiet. One that is being worked on
     * further up is left to that. */
    while ((link = lk_list_pop(&s->dirty)) != NULL) {
        api_visit *v = LK_CONTAINER(link, api_visit, dirty_link);
        v->dirty = false;
        visit_work(v, now);
        api_serve_drain(s, now);
    }
    s->pumping = false;
    (void)!lk_timer_set(s->loop, &s->clock, lk_sfu_deadline(s->sfu));
}

static void on_clock(lk_timer *t, lk_usec now)
{
    api_serve *s = LK_CONTAINER(t, api_serve, clock);
    lk_sfu_tick(s->sfu, now);
    api_serve_pump(s, now);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static lk_err cannot(lk_error *why, lk_err err, const char *what, const lk_addr *at)
{
    char place[LK_ADDR_TEXT_MAX];
    const char *reason = err == LK_ERR_STATE ? ": the port is in use" : err == LK_ERR_DENIED ? ": not permitted" :
                         err == LK_ERR_NETWORK ? ": not an address of this machine" : NULL;
    lk_error_set(why, err, "cannot listen on ", lk_addr_text(at, place), what, reason ? reason : ": ", reason ? "" : lk_err_text(err), (const char *)NULL);
    return err;
}

static lk_err open_http(api_serve *s, lk_error *why)
{
    const lk_server *server = s->server;
    for (size_t i = 0; i < server->http_count; i++) {
        lk_addr at = server->http[i], bound;
        if (s->ports.http)
            at.port = s->ports.http;
        lk_err err = lk_listener_open(&s->http[s->http_count], s->loop, &at, on_accepted, s, &bound);
        /* A machine without IPv6 still has its other loopback address. */
        if (err == LK_ERR_NETWORK && server->http_by_default && i > 0)
            continue;
        if (err != LK_OK)
            return cannot(why, err, " (TCP, signalling)", &at);
        s->http_count++;
        s->ports.http = bound.port;
    }
    return LK_OK;
}

static lk_err open_udp(api_serve *s, lk_error *why)
{
    lk_addr all[API_SERVE_ADDRESSES_MAX];
    size_t n = lk_net_addresses(all, LK_LEN(all), true);
    for (size_t i = 0; i < n; i++) {
        all[i].port = s->ports.udp ? s->ports.udp : (uint16_t)s->server->options.udp_port;
        lk_err err = lk_udp_open(&s->udp[s->udp_count], s->loop, &all[i], on_datagram, on_datagrams, s, &s->udp_at[s->udp_count]);
        if (err == LK_ERR_NETWORK)
            continue; /* an address that is not ready yet, or has just gone */
        if (err != LK_OK)
            return cannot(why, err, " (UDP, media)", &all[i]);
        s->ports.udp = s->udp_at[s->udp_count++].port;
    }
    if (s->udp_count > 0)
        return LK_OK;
    lk_error_set(why, LK_ERR_NETWORK, "this machine has no address to receive media on", (const char *)NULL);
    return LK_ERR_NETWORK;
}

static lk_err open_tcp(api_serve *s, lk_error *why)
{
    if (s->server->options.tcp_port == LK_SERVER_PORT_NONE)
        return LK_OK;
    for (size_t i = 0; i < s->udp_count; i++) {
        lk_addr at = s->udp_at[i], bound;
        at.port = s->ports.tcp ? s->ports.tcp : (uint16_t)s->server->options.tcp_port;
        lk_err err = lk_listener_open(&s->tcp[s->tcp_count], s->loop, &at, on_flow, s, &bound);
        if (err == LK_ERR_NETWORK)
            continue;
        if (err != LK_OK)
            return cannot(why, err, " (TCP, media)", &at);
        s->tcp_count++;
        s->ports.tcp = bound.port;
    }
    return LK_OK;
}

/* What clients are told: node_ip in place of the interfaces; loopback where asked for, or where there is nothing else. */
static size_t candidates(const api_serve *s, lk_addr out[API_SERVE_ADDRESSES_MAX], uint16_t port)
{
    const lk_server *server = s->server;
    size_t n = 0;
    if (server->node_ip.family)
        out[n++] = server->node_ip;
    for (int loopback = 0; loopback < 2; loopback++) {
        if (loopback && n > 0 && !server->options.loopback_candidates)
            break;
        for (size_t i = 0; i < s->udp_count && n < API_SERVE_ADDRESSES_MAX; i++) {
            bool is_loopback = lk_addr_is_loopback(&s->udp_at[i]);
            if (is_loopback == (loopback == 1) && (is_loopback || !server->node_ip.family) && !(n && lk_addr_ip_eq(&out[0], &s->udp_at[i])))
                out[n++] = s->udp_at[i];
        }
    }
    for (size_t i = 0; i < n; i++)
        out[i].port = port;
    return n;
}

static lk_err open_engine(api_serve *s, lk_usec now, lk_error *why)
{
    const lk_server *server = s->server;
    const lk_server_options *o = &server->options;
    lk_sfu_config c = {.unix_usec = lk_clock_unix_usec(), .loop = 'a', .key = server->keys[0].key, .secret = server->keys[0].secret,
                       .no_auto_create = o->no_auto_create, .remote_unmute = o->remote_unmute, .empty_timeout_sec = o->empty_timeout_sec,
                       .departure_timeout_sec = o->departure_timeout_sec, .max_participants = o->max_participants,
                       .limits = {.rooms = o->max_rooms, .joins_per_sec = 4 * o->joins_per_sec}};
    lk_err err = lk_dtls_context_new(&s->dtls, s->env);
    c.dtls = s->dtls;
    c.udp_count = candidates(s, c.udp, s->ports.udp);
    c.tcp_count = s->tcp_count ? candidates(s, c.tcp, s->ports.tcp) : 0;
    if (err == LK_OK)
        err = lk_sfu_new(&s->sfu, s->env, &c, now);
    if (err != LK_OK)
        lk_error_set(why, err, "the engine cannot be made: ", lk_err_text(err), (const char *)NULL);
    return err;
}

static void on_stop_timer(lk_timer *t, lk_usec now)
{
    api_serve *s = LK_CONTAINER(t, api_serve, stop_timer);
    LK_UNUSED(now);
    s->stopped(s->stopped_ctx);
}

lk_err api_serve_open(api_serve *s, lk_usec now, lk_error *why)
{
    lk_list_init(&s->visits);
    lk_list_init(&s->talks);
    lk_list_init(&s->dirty);
    lk_map_init(&s->conns, s->env, s->server->options.max_connections);
    lk_map_init(&s->admins, s->env, s->server->options.max_connections);
    lk_map_init(&s->flows, s->env, API_SERVE_FLOWS_MAX);
    lk_timer_init(&s->clock, on_clock);
    lk_timer_init(&s->stop_timer, on_stop_timer);
    lk_err err = open_http(s, why);
    if (err == LK_OK)
        err = open_udp(s, why);
    if (err == LK_OK)
        err = open_tcp(s, why);
    if (err == LK_OK)
        err = open_engine(s, now, why);
    if (err != LK_OK)
        api_serve_close(s);
    else
        LK_LOG(s->env, LK_LOG_INFO, "server.started", LK_I("port", s->ports.http), LK_I("udp_port", s->ports.udp), LK_I("tcp_port", s->ports.tcp));
    return err;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

static void close_listeners(api_serve *s)
{
    for (size_t i = 0; i < s->http_count; i++)
        lk_listener_close(s->http[i]);
    for (size_t i = 0; i < s->tcp_count; i++)
        lk_listener_close(s->tcp[i]);
    s->http_count = s->tcp_count = 0;
}

void api_serve_stop(api_serve *s, lk_usec now, void (*stopped)(void *ctx), void *ctx)
{
    s->stopped = stopped;
    s->stopped_ctx = ctx;
    s->stopping = true;
    close_listeners(s);
    LK_LIST_EACH(&s->visits, it) {
        api_visit *v = LK_CONTAINER(it, api_visit, link);
        if (!v->admin_tag)
            lk_ws_server_close(v->http, now, 1001);
        api_visit_touch(v);
    }
    lk_sfu_stop(s->sfu, now);
    api_serve_pump(s, now);
    bool gone = s->visits.count + s->talks.count == 0;
    if (lk_timer_set(s->loop, &s->stop_timer, gone ? now : now + STOP_USEC) != LK_OK)
        stopped(ctx);
}

void api_serve_close(api_serve *s)
{
    lk_usec now = lk_clock_now();
    lk_list *lists[] = {&s->visits, &s->talks};
    size_t at = 0;
    void *flow;
    s->stopping = false;
    close_listeners(s);
    for (size_t i = 0; i < LK_LEN(lists); i++)
        LK_LIST_EACH(lists[i], it)
            visit_end(LK_CONTAINER(it, api_visit, link), now);
    while (lk_map_next(&s->flows, &at, NULL, &flow)) {
        flow_end((api_flow *)flow, now);
        at = 0;
    }
    (void)!lk_timer_set(s->loop, &s->clock, LK_NEVER);
    (void)!lk_timer_set(s->loop, &s->stop_timer, LK_NEVER);
    for (size_t i = 0; i < s->udp_count; i++)
        lk_udp_close(s->udp[i]);
    s->udp_count = 0;
    lk_sfu_free(s->sfu);
    lk_dtls_context_free(s->dtls);
    lk_map_deinit(&s->conns);
    lk_map_deinit(&s->admins);
    lk_map_deinit(&s->flows);
}
