// SPDX-License-Identifier: Apache-2.0
/* Where the server is reached: sockets for media at each address of the machine, what clients are told of them, and how the
 * world outside a router sees them. */
#include "api/api_server.h"
#include "stun/stun.h"
#include "ws/url.h"

#define LOOK_USEC LK_SEC(1)       /* interfaces are looked at again with a join, not more often */
#define ASK_USEC LK_SEC(5)        /* for an answer of a STUN server at the start */
#define ASK_MORE_USEC LK_SEC(1)   /* for those of the other addresses, once there was one */
#define RETRY_USEC LK_MSEC(500)   /* doubled each time [RFC8489 s6.2.1] */
#define STUN_PORT 3478            /* [RFC8489 s18.6] */

/* Whom livekit-server asks, if nobody is named. */
static const char *const public_servers[] = {"global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302"};

/* ---- sockets ------------------------------------------------------------------------------------------------------ */

static bool holds(const lk_addr *list, size_t count, const lk_addr *a)
{
    for (size_t i = 0; i < count; i++)
        if (lk_addr_ip_eq(&list[i], a))
            return true;
    return false;
}

static api_place *place_of(api_hall *h, const lk_addr *at)
{
    for (size_t i = 0; i < h->place_count; i++)
        if (lk_addr_ip_eq(&h->places[i].at, at))
            return &h->places[i];
    return NULL;
}

lk_udp *api_hall_socket(api_hall *h, const lk_addr *local)
{
    api_place *p = place_of(h, local);
    return p ? p->udp : NULL;
}

/* An address that went keeps its sockets, because it may come back while somebody has his path there; only when all places are
 * taken one of those makes room. */
static api_place *free_place(api_place *places, size_t *count, const lk_addr *list, size_t listed)
{
    if (*count < API_SERVE_ADDRESSES_MAX)
        return &places[(*count)++];
    for (size_t i = 0; i < *count; i++) {
        if (holds(list, listed, &places[i].at))
            continue;
        lk_udp_close(places[i].udp);
        lk_listener_close(places[i].tcp);
        return &places[i];
    }
    return NULL;
}

/* Sockets where there are none yet; hall 0 first, so that it finds out whether a port is free. An address that is not ready yet, or
 * has just gone, is left out. */
static lk_err open_places(api_hall *h, const lk_addr *list, size_t count, lk_error *why)
{
    api_serve *s = h->serve;
    bool first = h->index == 0;
    for (size_t i = 0; i < count; i++) {
        lk_addr at = list[i], bound;
        lk_udp *u;
        if (place_of(h, &at))
            continue;
        at.port = s->ports.udp ? s->ports.udp : (uint16_t)s->server->options.udp_port;
        lk_err err = (first ? lk_udp_open : lk_udp_open_shared)(&u, h->loop, &at, api_hall_datagram, api_hall_datagrams, h, &bound);
        if (err == LK_ERR_NETWORK)
            continue;
        if (err == LK_OK && first && s->hall_count > 1 && (err = lk_udp_share(u)) != LK_OK)
            lk_udp_close(u);
        if (err != LK_OK)
            return api_serve_cannot(why, err, " (UDP, media)", &at);
        api_place *p = free_place(h->places, &h->place_count, list, count);
        if (!p) {
            lk_udp_close(u);
            return LK_OK;
        }
        *p = (api_place){.at = bound, .udp = u};
        if (first && !s->ports.udp)
            s->ports.udp = bound.port;
    }
    return LK_OK;
}

static lk_err open_streams(api_serve *s, const lk_addr *list, size_t count, lk_error *why)
{
    if (s->server->options.tcp_port == LK_SERVER_PORT_NONE)
        return LK_OK;
    for (size_t i = 0; i < count; i++) {
        api_place *p = place_of(&s->halls[0], &list[i]);
        lk_addr at = list[i], bound;
        if (!p || p->tcp)
            continue;
        at.port = s->ports.tcp ? s->ports.tcp : (uint16_t)s->server->options.tcp_port;
        lk_err err = lk_listener_open(&p->tcp, s->loop, &at, api_serve_flow_accepted, s, &bound);
        if (err == LK_ERR_NETWORK)
            continue;
        if (err != LK_OK)
            return api_serve_cannot(why, err, " (TCP, media)", &at);
        if (!s->ports.tcp)
            s->ports.tcp = bound.port;
    }
    return LK_OK;
}

void api_hall_close_streams(api_hall *h)
{
    for (size_t i = 0; i < h->place_count; i++) {
        lk_listener_close(h->places[i].tcp);
        h->places[i].tcp = NULL;
    }
}

void api_hall_close_places(api_hall *h)
{
    api_hall_close_streams(h);
    for (size_t i = 0; i < h->place_count; i++)
        lk_udp_close(h->places[i].udp);
    h->place_count = 0;
}

/* ---- what clients are told ------------------------------------------------------------------------------------------- */

typedef struct told {
    lk_addr list[API_SERVE_ADDRESSES_MAX];
    size_t count;
} told;

static void tell(told *t, const lk_addr *a, uint16_t port)
{
    if (t->count == API_SERVE_ADDRESSES_MAX || holds(t->list, t->count, a))
        return;
    t->list[t->count] = *a;
    t->list[t->count++].port = port;
}

/* node_ip in place of the interfaces; how the world sees an interface in place of that one; loopback where asked for, or where there
 * is nothing else. With TCP only where somebody listens. */
static void candidates(const api_hall *h, told *t, bool tcp)
{
    const lk_server *server = h->serve->server;
    uint16_t port = tcp ? h->serve->ports.tcp : h->serve->ports.udp;
    t->count = 0;
    if (port && server->node_ip.family)
        tell(t, &server->node_ip, port);
    for (int loopback = 0; port && loopback < 2; loopback++) {
        if (loopback && t->count > 0 && !server->options.loopback_candidates)
            break;
        for (size_t i = 0; i < h->reach.count; i++) {
            const lk_addr *at = &h->reach.interfaces[i].at, *outside = &h->reach.interfaces[i].outside;
            if (lk_addr_is_loopback(at) != (loopback == 1) || (!loopback && server->node_ip.family))
                continue;
            if (outside->family)
                tell(t, outside, port);
            if (!outside->family || server->options.advertise_internal_ip)
                tell(t, at, port);
        }
    }
}

void api_hall_tell_engine(api_hall *h)
{
    told udp, tcp;
    candidates(h, &udp, false);
    candidates(h, &tcp, true);
    for (size_t i = 0; h->index == 0 && i < udp.count; i++) {
        char text[LK_ADDR_TEXT_MAX];
        LK_LOG(h->serve->env, LK_LOG_INFO, "server.candidate", LK_S("address", lk_addr_ip_text(&udp.list[i], text)));
    }
    lk_sfu_set_addresses(h->sfu, udp.list, udp.count, tcp.list, tcp.count);
}

/* ---- interfaces ---------------------------------------------------------------------------------------------------------- */

/* True: they are others than before. What is known of one from outside stays with it. */
static bool look(api_serve *s, lk_usec now)
{
    api_reach before = s->halls[0].reach, *r = &s->halls[0].reach;
    lk_addr list[API_SERVE_ADDRESSES_MAX];
    bool changed;
    s->looked_at = now;
    r->count = lk_net_addresses(list, LK_LEN(list), true);
    changed = r->count != before.count;
    for (size_t i = 0; i < r->count; i++) {
        changed |= i >= before.count || !lk_addr_ip_eq(&before.interfaces[i].at, &list[i]);
        r->interfaces[i] = (struct api_interface){.at = list[i]};
        for (size_t k = 0; k < before.count; k++)
            if (lk_addr_ip_eq(&before.interfaces[k].at, &list[i]))
                r->interfaces[i] = before.interfaces[k];
    }
    return changed;
}

lk_err api_hall_open_sockets(api_hall *h, lk_error *why)
{
    lk_addr list[API_SERVE_ADDRESSES_MAX];
    size_t count = h->reach.count;
    for (size_t i = 0; i < count; i++)
        list[i] = h->reach.interfaces[i].at;
    lk_err err = open_places(h, list, count, why);
    if (err == LK_OK && h->index == 0)
        err = open_streams(h->serve, list, count, why);
    if (err != LK_OK || h->place_count > 0)
        return err;
    lk_error_set(why, LK_ERR_NETWORK, "this machine has no address to receive media on", (const char *)NULL);
    return LK_ERR_NETWORK;
}

void api_hall_follow(api_hall *h)
{
    lk_error why;
    if (api_hall_open_sockets(h, &why) != LK_OK)
        LK_LOG(h->serve->env, LK_LOG_WARN, "server.interface.unserved", LK_S("why", why.text));
    api_hall_tell_engine(h);
}

static void share_reach(api_serve *s)
{
    for (size_t i = 1; i < s->hall_count; i++)
        s->halls[i].reach = s->halls[0].reach;
}

void api_reach_follow(api_serve *s, lk_usec now)
{
    if (now < s->looked_at + LOOK_USEC || (!look(s, now) && !s->reach_untold))
        return;
    LK_LOG(s->env, LK_LOG_INFO, "server.interfaces.changed", LK_I("count", (int64_t)s->halls[0].reach.count));
    api_hall_follow(&s->halls[0]);
    s->reach_untold = false;
    for (size_t i = 1; i < s->hall_count; i++)
        s->reach_untold |= api_hall_tell_reach(&s->halls[i], &s->halls[0].reach) != LK_OK;
}

/* ---- seen from outside ------------------------------------------------------------------------------------------------------ */

struct api_ask {
    api_serve *serve;
    lk_timer timer;
    lk_usec began, until;
    unsigned tries;
    struct api_asked {
        api_ask *ask;
        lk_lookup *lookup; /* NULL: it is over */
        lk_addr at;        /* family 0: not known, or not to be known */
    } servers[API_STUN_SERVERS_MAX];
    size_t server_count;
    uint8_t tid[LK_STUN_TID_LEN]; /* the last two bytes: interface, server */
    void (*done)(void *ctx, lk_usec now);
    void *done_ctx;
};

static bool is_asked_of(const struct api_interface *i) { return i->at.family == 4 && !lk_addr_is_loopback(&i->at); }

static size_t missing(const api_reach *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += is_asked_of(&r->interfaces[i]) && !r->interfaces[i].outside.family;
    return n;
}

static void ask_one(const api_ask *ask, size_t interface, size_t server)
{
    api_hall *h = &ask->serve->halls[0];
    const struct api_interface *i = &h->reach.interfaces[interface];
    lk_udp *u = api_hall_socket(h, &i->at);
    uint8_t request[LK_STUN_HEADER_LEN], tid[LK_STUN_TID_LEN];
    lk_wr w = lk_wr_of(request, sizeof request);
    if (!u || !is_asked_of(i) || i->outside.family || !ask->servers[server].at.family)
        return;
    memcpy(tid, ask->tid, sizeof tid);
    tid[10] = (uint8_t)interface;
    tid[11] = (uint8_t)server;
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    lk_udp_send(u, &ask->servers[server].at, w.data, w.len);
}

static void ask_server(const api_ask *ask, size_t server)
{
    for (size_t i = 0; i < ask->serve->halls[0].reach.count; i++)
        ask_one(ask, i, server);
}

static void ask_end(api_ask *ask, lk_usec now)
{
    api_serve *s = ask->serve;
    void (*done)(void *, lk_usec) = ask->done;
    void *ctx = ask->done_ctx;
    size_t known = 0;
    for (size_t i = 0; i < s->halls[0].reach.count; i++)
        known += s->halls[0].reach.interfaces[i].outside.family != 0;
    if (known == 0)
        LK_LOG(s->env, LK_LOG_WARN, "server.external_ip.unknown", LK_I("stun_servers", (int64_t)ask->server_count),
               LK_S("so", "none answered; clients are told the addresses of the interfaces (rtc.node_ip names another)"));
    for (size_t i = 0; i < ask->server_count; i++)
        lk_lookup_cancel(ask->servers[i].lookup);
    (void)!lk_timer_set(s->loop, &ask->timer, LK_NEVER);
    lk_release(s->env, ask, sizeof *ask);
    s->ask = NULL;
    share_reach(s);
    done(ctx, now);
}

static void ask_arm(api_ask *ask, lk_usec now)
{
    lk_usec next = ask->began + RETRY_USEC * ((1 << ask->tries) - 1); /* 0.5, 1.5, 3.5 s after the first */
    if (lk_timer_set(ask->serve->loop, &ask->timer, LK_MIN(next, ask->until)) != LK_OK)
        ask_end(ask, now);
}

static void on_ask_timer(lk_timer *t, lk_usec now)
{
    api_ask *ask = LK_CONTAINER(t, api_ask, timer);
    if (now >= ask->until) {
        ask_end(ask, now);
        return;
    }
    for (size_t i = 0; i < ask->server_count; i++)
        ask_server(ask, i);
    ask->tries++;
    ask_arm(ask, now);
}

static void on_server_found(void *ctx, lk_usec now, const lk_addr *addrs, size_t count)
{
    struct api_asked *asked = (struct api_asked *)ctx;
    api_ask *ask = asked->ask;
    asked->lookup = NULL;
    for (size_t i = 0; i < count && !asked->at.family; i++)
        if (addrs[i].family == 4)
            asked->at = addrs[i];
    if (asked->at.family)
        ask_server(ask, (size_t)(asked - ask->servers));
    LK_UNUSED(now);
}

/* Two addresses that look alike from outside are one there: the first has it, the other is told as it is. */
static bool is_taken(const api_reach *r, const lk_addr *outside)
{
    for (size_t i = 0; i < r->count; i++)
        if (lk_addr_ip_eq(&r->interfaces[i].outside, outside))
            return true;
    return false;
}

void api_reach_answered(api_serve *s, lk_usec now, const lk_datagram *d)
{
    api_ask *ask = s->ask;
    api_reach *r = &s->halls[0].reach;
    lk_stun_msg m;
    lk_addr seen;
    if (!ask || lk_stun_parse(&m, d->data, d->len) != LK_OK || m.cls != LK_STUN_SUCCESS || memcmp(m.tid, ask->tid, 10) != 0)
        return;
    size_t interface = m.tid[10], server = m.tid[11];
    const lk_stun_attr *a = lk_stun_find(&m, LK_STUN_XOR_MAPPED_ADDRESS);
    if (interface >= r->count || server >= ask->server_count || !lk_addr_eq(&d->remote, &ask->servers[server].at) ||
        !lk_addr_ip_eq(&d->local, &r->interfaces[interface].at) || !a || !lk_stun_addr(&m, a, true, &seen) || seen.family != 4 ||
        lk_addr_is_unspecified(&seen))
        return;
    char inside_text[LK_ADDR_TEXT_MAX], outside_text[LK_ADDR_TEXT_MAX];
    bool taken = is_taken(r, &seen);
    r->interfaces[interface].outside = taken ? r->interfaces[interface].at : seen;
    LK_LOG(s->env, LK_LOG_INFO, "server.external_ip", LK_S("interface", lk_addr_ip_text(&d->local, inside_text)),
           LK_S("outside", lk_addr_ip_text(&seen, outside_text)));
    ask->until = missing(r) ? LK_MIN(ask->until, now + ASK_MORE_USEC) : now;
    ask_arm(ask, now); /* what ends does so in the next turn: this is called for each datagram of a batch */
}

/* "name:port", "name", "[::1]:port" means nothing here: how IPv6 is seen is how it is. */
static lk_err begin(api_ask *ask, const char *server)
{
    char host[256];
    lk_str rest = lk_str_of(server), name = lk_str_cut(&rest, ':');
    struct api_asked *asked = &ask->servers[ask->server_count++];
    uint64_t port = STUN_PORT;
    asked->ask = ask;
    if (name.len == 0 || name.len >= sizeof host || (rest.len > 0 && (!lk_str_u64(rest, 65535, &port) || port == 0)))
        return LK_ERR_INVALID;
    (void)lk_str_copy(host, sizeof host, name);
    return lk_lookup_start(&asked->lookup, ask->serve->loop, host, (uint16_t)port, on_server_found, asked);
}

lk_err api_reach_ask(api_serve *s, lk_usec now, void (*done)(void *ctx, lk_usec now), void *ctx)
{
    const lk_server *server = s->server;
    const lk_server_options *o = &server->options;
    if (!o->use_external_ip || server->node_ip.family) {
        share_reach(s);
        done(ctx, now);
        return LK_OK;
    }
    api_ask *ask = (api_ask *)lk_alloc0(s->env, sizeof *ask);
    if (!ask)
        return LK_ERR_NOMEM;
    uint64_t random[2] = {lk_rand_u64(s->env), lk_rand_u64(s->env)};
    *ask = (api_ask){.serve = s, .began = now, .until = now + ASK_USEC, .tries = 1, .done = done, .done_ctx = ctx};
    memcpy(ask->tid, random, sizeof ask->tid);
    s->ask = ask;
    lk_timer_init(&ask->timer, on_ask_timer);
    size_t count = o->stun_server_count ? o->stun_server_count : LK_LEN(public_servers);
    for (size_t i = 0; i < count; i++)
        if (begin(ask, o->stun_server_count ? server->stun_servers[i] : public_servers[i]) != LK_OK)
            ask->servers[i].lookup = NULL;
    if (missing(&s->halls[0].reach) == 0)
        ask->until = now; /* no interface to ask about */
    ask_arm(ask, now);
    return LK_OK;
}

lk_err api_reach_open(api_serve *s, lk_usec now, lk_error *why)
{
    const lk_server_options *o = &s->server->options;
    lk_err err;
    int draws = 0;
    (void)look(s, now);
    while (api_serve_draws_again(err = api_hall_open_sockets(&s->halls[0], why), o->udp_port == 0 || o->tcp_port == 0, &draws)) {
        api_hall_close_places(&s->halls[0]);
        s->ports.udp = s->ports.tcp = 0;
    }
    return err;
}
