// SPDX-License-Identifier: Apache-2.0
/* Sockets of the server: connections, flows, datagrams, and the engine between them. Loop thread. */
#include "api/api_server.h"
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
    api_visit_left(v, now);
    if (v->admin_tag)
        api_visit_forget(v);
    api_visit_gathered(v);
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

static void visit_signal(api_visit *v, lk_usec now, bool binary, lk_bytes message)
{
    if (v->hall->index == 0)
        lk_sfu_signal(v->hall->sfu, now, v->conn, binary, message);
    else if (api_hall_signal(v->hall, v, binary, message) != LK_OK)
        v->broken = true; /* it says more than its loop can take */
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
            visit_signal(v, now, e.binary, e.data);
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

/* Room for one more that has not asked for anything yet: the oldest of those goes. False: all of them wait for an answer of ours. */
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

static void flow_leave_hall(api_flow *f, lk_usec now)
{
    if (f->hall->index == 0)
        lk_sfu_flow_closed(f->hall->sfu, now, &f->local, &f->remote);
    else
        api_hall_flow_closed(f->hall, f);
}

static void flow_end(api_flow *f, lk_usec now)
{
    api_serve *s = f->serve;
    (void)lk_map_take(&s->flows, f->key);
    (void)!lk_timer_set(s->loop, &f->timer, LK_NEVER);
    flow_leave_hall(f, now);
    lk_stream_close(f->stream);
    lk_release(s->env, f, sizeof *f);
}

static void flow_find_hall(api_flow *f, lk_usec now, lk_bytes frame)
{
    api_hall *h = api_hall_of_check(f->serve, frame.data, frame.len);
    if (!h || h == f->hall)
        return;
    flow_leave_hall(f, now);
    f->hall = h;
}

static void on_flow_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    api_flow *f = (api_flow *)ctx;
    api_serve *s = f->serve;
    lk_bytes in = {data, len}, frame;
    lk_err err;
    while ((err = lk_frame_read(&f->reader, &in, &frame)) == LK_OK) {
        if (!f->answered) /* until then it may turn to another */
            flow_find_hall(f, now, frame);
        if (f->hall->index == 0) {
            lk_sfu_input(f->hall->sfu, now, &(lk_sfu_packet){.d = {f->local, f->remote, frame.data, frame.len}, .tcp = true});
            api_serve_drain(s, now);
        } else {
            api_hall_input(f->hall, f, frame);
        }
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

void api_serve_flow_accepted(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote)
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
    f->hall = &s->halls[0];
    f->id = ++s->last_tag;
    f->stream = stream;
    f->local = *local;
    f->remote = *remote;
    f->key = key;
    lk_timer_init(&f->timer, on_flow_timer);
    lk_stream_start(stream, &(lk_stream_callbacks){f, on_flow_data, on_flow_ended});
    if (lk_timer_set(s->loop, &f->timer, now + FLOW_PATIENCE_USEC) != LK_OK)
        flow_end(f, now);
}

api_flow *api_serve_flow(api_serve *s, const lk_addr *local, const lk_addr *remote)
{
    return (api_flow *)lk_map_get(&s->flows, flow_key(local, remote));
}

void api_serve_flow_send(api_serve *s, lk_usec now, const lk_datagram *d)
{
    uint8_t framed[2 + LK_FRAME_MAX];
    api_flow *f = api_serve_flow(s, &d->local, &d->remote);
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

/* ---- what a hall says --------------------------------------------------------------------------------------------------- */

static uint64_t conn_key(const api_hall *h, uint32_t conn) { return (uint64_t)h->index << 32 | conn; }

void api_serve_signal(api_serve *s, const api_hall *h, uint32_t conn, bool binary, lk_bytes message)
{
    api_visit *v = (api_visit *)lk_map_get(&s->conns, conn_key(h, conn));
    if (!v)
        return;
    v->broken |= lk_ws_server_send(v->http, binary, message.data, message.len) == LK_ERR_NOMEM;
    api_visit_touch(v);
}

void api_serve_signal_close(api_serve *s, lk_usec now, const api_hall *h, uint32_t conn, uint16_t code)
{
    api_visit *v = (api_visit *)lk_map_take(&s->conns, conn_key(h, conn));
    if (!v)
        return;
    v->conn = 0;
    api_note_release(v->farewell);
    v->farewell = NULL;
    lk_ws_server_close(v->http, now, code);
    api_visit_touch(v);
}

void api_serve_signal_taken(api_serve *s, const api_hall *h, uint32_t conn, size_t bytes)
{
    api_visit *v = (api_visit *)lk_map_get(&s->conns, conn_key(h, conn));
    if (v)
        v->pending -= bytes;
}

void api_serve_admin_done(api_serve *s, lk_usec now, const lk_sfu_event *ev)
{
    api_visit *v = (api_visit *)lk_map_get(&s->admins, ev->tag);
    if (v)
        api_visit_admin_done(v, now, ev);
}

api_visit *api_serve_answered(api_serve *s, uint64_t tag)
{
    api_visit *v = tag ? (api_visit *)lk_map_take(&s->admins, tag) : NULL;
    if (!v)
        return NULL;
    v->admin_tag = 0;
    api_visit_touch(v);
    return v;
}

void api_serve_lost(api_serve *s, const api_hall *h)
{
    lk_list *lists[] = {&s->visits, &s->talks};
    for (size_t i = 0; i < LK_LEN(lists); i++)
        LK_LIST_EACH(lists[i], it) {
            api_visit *v = LK_CONTAINER(it, api_visit, link);
            if (v->hall != h && !v->gather)
                continue;
            v->broken = true;
            api_visit_touch(v);
        }
}

lk_err api_visit_enter(api_visit *v, api_hall *h, uint32_t conn)
{
    lk_err err = lk_map_put(&v->serve->conns, conn_key(h, conn), v);
    if (err != LK_OK)
        return err;
    v->hall = h;
    v->conn = conn;
    return LK_OK;
}

void api_visit_left(api_visit *v, lk_usec now)
{
    if (!v->conn)
        return;
    (void)lk_map_take(&v->serve->conns, conn_key(v->hall, v->conn));
    if (v->hall->index == 0)
        lk_sfu_signal_closed(v->hall->sfu, now, v->conn);
    else
        api_hall_left(v->hall, v->farewell, v->conn);
    v->farewell = NULL;
    v->conn = 0;
}

/* ---- the turn ---------------------------------------------------------------------------------------------------------- */

void api_serve_drain(api_serve *s, lk_usec now) { api_hall_drain(&s->halls[0], now); }

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
    api_hall_arm(&s->halls[0]);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

lk_err api_serve_cannot(lk_error *why, lk_err err, const char *what, const lk_addr *at)
{
    char place[LK_ADDR_TEXT_MAX];
    const char *reason = err == LK_ERR_STATE ? ": the port is in use" : err == LK_ERR_DENIED ? ": not permitted" :
                         err == LK_ERR_NETWORK ? ": not an address of this machine" : NULL;
    lk_error_set(why, err, "cannot listen on ", lk_addr_text(at, place), what, reason ? reason : ": ", reason ? "" : lk_err_text(err), (const char *)NULL);
    return err;
}

static void close_http(api_serve *s)
{
    for (size_t i = 0; i < s->http_count; i++)
        lk_listener_close(s->http[i]);
    s->http_count = 0;
}

static lk_err listen_http(api_serve *s, lk_error *why)
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
            return api_serve_cannot(why, err, " (TCP, signalling)", &at);
        s->http_count++;
        s->ports.http = bound.port;
    }
    return LK_OK;
}

bool api_serve_draws_again(lk_err err, bool drawn, int *draws) { return err == LK_ERR_STATE && drawn && ++*draws < API_SERVE_DRAWS; }

static lk_err open_http(api_serve *s, lk_error *why)
{
    lk_err err;
    int draws = 0;
    while (api_serve_draws_again(err = listen_http(s, why), s->server->options.port == 0, &draws)) {
        close_http(s);
        s->ports.http = 0;
    }
    return err;
}

static void on_stop_timer(lk_timer *t, lk_usec now)
{
    api_serve *s = LK_CONTAINER(t, api_serve, stop_timer);
    LK_UNUSED(now);
    s->stopped(s->stopped_ctx);
}

lk_err api_serve_open_media(api_serve *s, lk_usec now, lk_error *why)
{
    lk_list_init(&s->visits);
    lk_list_init(&s->talks);
    lk_list_init(&s->dirty);
    lk_map_init(&s->conns, s->env, s->server->options.max_connections);
    lk_map_init(&s->admins, s->env, s->server->options.max_connections);
    lk_map_init(&s->flows, s->env, API_SERVE_FLOWS_MAX);
    lk_timer_init(&s->stop_timer, on_stop_timer);
    lk_err err = api_reach_open(s, now, why);
    if (err != LK_OK)
        api_serve_close(s);
    return err;
}

lk_err api_serve_open(api_serve *s, lk_usec now, lk_error *why)
{
    lk_err err = open_http(s, why);
    if (err == LK_OK)
        err = api_hall_open_engine(&s->halls[0], now, why);
    if (err != LK_OK)
        api_serve_close(s);
    else
        LK_LOG(s->env, LK_LOG_INFO, "server.started", LK_I("port", s->ports.http), LK_I("udp_port", s->ports.udp), LK_I("tcp_port", s->ports.tcp));
    return err;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

static void close_listeners(api_serve *s)
{
    close_http(s);
    api_hall_close_streams(&s->halls[0]);
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
    for (size_t i = 0; i < s->hall_count; i++)
        api_hall_stop(&s->halls[i], now);
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
    (void)!lk_timer_set(s->loop, &s->stop_timer, LK_NEVER);
    api_hall_close(&s->halls[0]);
    lk_map_deinit(&s->conns);
    lk_map_deinit(&s->admins);
    lk_map_deinit(&s->flows);
    s->closed = true;
}
