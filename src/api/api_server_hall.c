// SPDX-License-Identifier: Apache-2.0
/* Halls of the server: an engine with its rooms on a loop of its own, and what goes between two loops. */
#include "api/api_server.h"
#include "dtls/dtls.h"
#include "sfu/peer.h"
#include "ws/url.h"

/* Something said by one loop to another: it goes there, and where the sender wants to know that it was read, or keeps it for
 * the next time, it comes back. All posts of one thread arrive in order, so what is said about one connection does too. */
struct api_note {
    lk_task task;
    api_hall *hall; /* whose it is about: one end of the way, the front is the other */
    void (*there)(api_note *n, lk_usec now);
    void (*back)(api_note *n, lk_usec now); /* NULL: it ends there */
    bool to_front, kept;                    /* kept: whoever read it last has it now */
    size_t size;
    uint64_t tag;
    uint32_t conn;
    uint16_t close_code;
    bool v1, binary, validate;
    lk_sfu_method method;
    lk_addr local, remote;
    /* in what follows the note */
    lk_str token, query, address;
    const char *twirp, *text;
    const char *overload; /* not copied */
    lk_bytes bytes;
    union {
        lk_sfu_refusal why;
        struct {
            lk_sfu_stats stats;
            uint64_t passed, dropped;
        } counts;
    } answer;
};

static void settle(api_hall *h, lk_usec now)
{
    if (h->index == 0) {
        api_serve_pump(h->serve, now);
    } else {
        api_hall_drain(h, now);
        api_hall_arm(h);
    }
}

/* ---- notes ---------------------------------------------------------------------------------------------------- */

static api_note *note_new(api_hall *h, bool to_front, size_t room)
{
    api_note *n = (api_note *)lk_alloc(h->serve->env, sizeof *n + room);
    if (n)
        *n = (api_note){.hall = h, .to_front = to_front, .size = sizeof *n + room};
    return n;
}

void api_note_release(api_note *n)
{
    if (n)
        lk_release(n->hall->serve->env, n, n->size);
}

/* Copies go one after the other, each with a NUL behind it. */
static const char *note_put(api_note *n, size_t *at, const void *data, size_t len)
{
    char *to = (char *)(n + 1) + *at;
    if (len > 0)
        memcpy(to, data, len);
    to[len] = 0;
    *at += len + 1;
    return to;
}

static lk_str note_put_str(api_note *n, size_t *at, lk_str s) { return (lk_str){note_put(n, at, s.p, s.len), s.len}; }

static lk_bytes note_put_bytes(api_note *n, size_t *at, lk_bytes b)
{
    return (lk_bytes){(const uint8_t *)note_put(n, at, b.data, b.len), b.len};
}

/* The loop a note is read on; NULL: that end is closed. */
static bool is_closed(const api_hall *h, bool front) { return front ? h->serve->closed : h->sfu == NULL; }
static lk_loop *end_of(const api_hall *h, bool front) { return front ? h->serve->loop : h->loop; }

static void on_back(lk_task *task, lk_usec now)
{
    api_note *n = LK_CONTAINER(task, api_note, task);
    api_hall *h = n->hall;
    bool front = !n->to_front;
    if (!is_closed(h, front)) {
        n->back(n, now);
        if (!n->kept)
            api_note_release(n);
        settle(front ? &h->serve->halls[0] : h, now);
    } else {
        api_note_release(n);
    }
}

static void on_there(lk_task *task, lk_usec now)
{
    api_note *n = LK_CONTAINER(task, api_note, task);
    api_hall *h = n->hall;
    bool front = n->to_front;
    if (is_closed(h, front)) {
        api_note_release(n);
        return;
    }
    n->there(n, now);
    if (n->back) { /* before anything that comes of it is said */
        n->task.run = on_back;
        lk_loop_post(end_of(h, !front), &n->task);
    } else if (!n->kept) {
        api_note_release(n);
    }
    settle(front ? &h->serve->halls[0] : h, now);
}

static void note_send(api_note *n, void (*there)(api_note *, lk_usec), void (*back)(api_note *, lk_usec))
{
    n->there = there;
    n->back = back;
    n->kept = false;
    n->task.run = on_there;
    lk_loop_post(end_of(n->hall, n->to_front), &n->task);
}

/* ---- from the front to a hall ------------------------------------------------------------------------------------ */

static void do_left(api_note *n, lk_usec now) { lk_sfu_signal_closed(n->hall->sfu, now, n->conn); }

void api_hall_left(api_hall *h, api_note *farewell, uint32_t conn)
{
    LK_ASSERT(h->serve->env, farewell && farewell->hall == h);
    farewell->conn = conn;
    note_send(farewell, do_left, NULL);
}

/* The token was good a moment ago, on the front: its claims are read again here, where they are needed. */
static bool read_token(const api_note *n, lk_arena *arena, lk_token *token)
{
    const lk_server *server = n->hall->serve->server;
    lk_arena_init(arena, n->hall->serve->env, LK_TOKEN_ARENA_BYTES);
    return lk_token_verify(token, arena, n->token, server->keys, server->options.key_count, lk_clock_unix_usec() / LK_SEC(1)) == LK_TOKEN_OK;
}

static void do_join(api_note *n, lk_usec now)
{
    lk_arena arena;
    lk_token token;
    lk_sfu_refusal *why = &n->answer.why;
    *why = (lk_sfu_refusal){401, "invalid token"};
    if (read_token(n, &arena, &token)) {
        const lk_sfu_join join = {.token = &token, .token_text = n->token.p, .v1 = n->v1, .query = n->query, .address = n->address.p,
                                  .overload = n->overload ? n->overload : api_hall_overload(n->hall, now)};
        lk_err err = n->validate ? lk_sfu_validate(n->hall->sfu, now, &join, why) : lk_sfu_accept(n->hall->sfu, now, &join, &n->conn, why);
        if (err == LK_OK)
            *why = (lk_sfu_refusal){200, "success"};
    }
    lk_arena_deinit(&arena);
}

static void joined(api_note *n, lk_usec now)
{
    api_visit *v = api_serve_answered(n->hall->serve, n->tag);
    n->kept = n->conn != 0;
    if (v && n->conn)
        api_visit_entered(v, now, n->hall, n->conn, n);
    else if (v)
        api_visit_refused(v, now, &n->answer.why);
    else if (n->conn) /* the client has gone meanwhile */
        api_hall_left(n->hall, n, n->conn);
}

lk_err api_hall_join(api_hall *h, api_visit *v, const lk_sfu_join *join, bool validate)
{
    lk_str token = lk_str_of(join->token_text), address = lk_str_of(join->address);
    size_t at = 0;
    api_note *n = note_new(h, false, token.len + address.len + join->query.len + 3);
    if (!n)
        return LK_ERR_NOMEM;
    n->tag = v->admin_tag;
    n->v1 = join->v1;
    n->validate = validate;
    n->overload = join->overload;
    n->token = note_put_str(n, &at, token);
    n->address = note_put_str(n, &at, address);
    n->query = note_put_str(n, &at, join->query);
    note_send(n, do_join, joined);
    return LK_OK;
}

static void do_signal(api_note *n, lk_usec now) { lk_sfu_signal(n->hall->sfu, now, n->conn, n->binary, n->bytes); }

static void signal_taken(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    api_serve_signal_taken(n->hall->serve, n->hall, n->conn, n->size);
}

lk_err api_hall_signal(api_hall *h, api_visit *v, bool binary, lk_bytes message)
{
    size_t at = 0, size = sizeof(api_note) + message.len + 1;
    api_note *n = v->pending + size > API_PENDING_BYTES ? NULL : note_new(h, false, message.len + 1);
    if (!n)
        return LK_ERR_FULL;
    n->conn = v->conn;
    n->binary = binary;
    n->bytes = note_put_bytes(n, &at, message);
    v->pending += n->size;
    note_send(n, do_signal, signal_taken);
    return LK_OK;
}

static void do_admin(api_note *n, lk_usec now)
{
    lk_arena arena;
    lk_token token;
    if (read_token(n, &arena, &token))
        lk_sfu_admin(n->hall->sfu, now, n->tag, n->method, &token, n->bytes);
    else
        n->twirp = "unauthenticated"; /* it ended on the way */
    lk_arena_deinit(&arena);
}

static void admin_begun(api_note *n, lk_usec now)
{
    if (n->twirp)
        api_serve_admin_done(n->hall->serve, now, &(lk_sfu_event){.kind = LK_SFU_EV_ADMIN_DONE, .tag = n->tag, .twirp = n->twirp, .text = "invalid token"});
}

lk_err api_hall_admin(api_hall *h, uint64_t tag, lk_sfu_method method, lk_str token, lk_bytes request)
{
    size_t at = 0;
    api_note *n = note_new(h, false, token.len + request.len + 2);
    if (!n)
        return LK_ERR_NOMEM;
    n->tag = tag;
    n->method = method;
    n->token = note_put_str(n, &at, token);
    n->bytes = note_put_bytes(n, &at, request);
    note_send(n, do_admin, admin_begun);
    return LK_OK;
}

static void do_tell_reach(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    memcpy(&n->hall->reach, n->bytes.data, sizeof n->hall->reach);
    api_hall_follow(n->hall);
}

lk_err api_hall_tell_reach(api_hall *h, const api_reach *reach)
{
    size_t at = 0;
    api_note *n = note_new(h, false, sizeof *reach + 1);
    if (!n)
        return LK_ERR_NOMEM;
    n->bytes = note_put_bytes(n, &at, (lk_bytes){(const uint8_t *)reach, sizeof *reach});
    note_send(n, do_tell_reach, NULL);
    return LK_OK;
}

static void do_admin_forget(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    lk_sfu_admin_forget(n->hall->sfu, n->tag);
}

void api_hall_admin_forget(api_hall *h, uint64_t tag)
{
    api_note *n = note_new(h, false, 0);
    if (!n)
        return; /* its answer will find nobody */
    n->tag = tag;
    note_send(n, do_admin_forget, NULL);
}

static void do_stats(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    lk_sfu_get_stats(n->hall->sfu, &n->answer.counts.stats);
    n->answer.counts.passed = n->hall->passed;
    n->answer.counts.dropped = n->hall->dropped;
}

static void stats_counted(api_note *n, lk_usec now)
{
    api_visit *v = (api_visit *)lk_map_get(&n->hall->serve->admins, n->tag);
    if (v)
        api_visit_stats(v, now, &n->answer.counts.stats, n->answer.counts.passed, n->answer.counts.dropped);
}

lk_err api_hall_ask_stats(api_hall *h, uint64_t tag)
{
    api_note *n = note_new(h, false, 0);
    if (!n)
        return LK_ERR_NOMEM;
    n->tag = tag;
    note_send(n, do_stats, stats_counted);
    return LK_OK;
}

static void do_input(api_note *n, lk_usec now)
{
    lk_sfu_input(n->hall->sfu, now, &(lk_sfu_packet){.d = {n->local, n->remote, n->bytes.data, n->bytes.len}, .tcp = true});
}

static void input_taken(api_note *n, lk_usec now)
{
    api_flow *f = api_serve_flow(n->hall->serve, &n->local, &n->remote);
    LK_UNUSED(now);
    if (f && f->id == n->tag) /* not a later one of the same addresses */
        f->pending -= n->size;
}

static api_note *note_of_flow(api_hall *h, bool to_front, const lk_addr *local, const lk_addr *remote, lk_bytes frame)
{
    size_t at = 0;
    api_note *n = note_new(h, to_front, frame.len + 1);
    if (!n)
        return NULL;
    n->local = *local;
    n->remote = *remote;
    n->bytes = note_put_bytes(n, &at, frame);
    return n;
}

void api_hall_input(api_hall *h, api_flow *f, lk_bytes frame)
{
    bool room = f->pending + sizeof(api_note) + frame.len < API_FLOW_PENDING_BYTES;
    api_note *n = room ? note_of_flow(h, false, &f->local, &f->remote, frame) : NULL;
    if (!n) {
        h->serve->halls[0].dropped++;
        return;
    }
    n->tag = f->id;
    f->pending += n->size;
    note_send(n, do_input, input_taken);
}

static void do_flow_closed(api_note *n, lk_usec now) { lk_sfu_flow_closed(n->hall->sfu, now, &n->local, &n->remote); }

void api_hall_flow_closed(api_hall *h, const api_flow *f)
{
    api_note *n = note_of_flow(h, false, &f->local, &f->remote, (lk_bytes){0});
    if (n) /* without: its checks stay away, which ends the path too */
        note_send(n, do_flow_closed, NULL);
}

static void on_stop(lk_task *task, lk_usec now)
{
    api_hall *h = LK_CONTAINER(task, api_hall, stop);
    if (!h->sfu)
        return;
    lk_sfu_stop(h->sfu, now);
    settle(h, now);
}

void api_hall_stop(api_hall *h, lk_usec now)
{
    h->stop.run = on_stop;
    if (h->index == 0)
        lk_sfu_stop(h->sfu, now);
    else
        lk_loop_post(h->loop, &h->stop);
}

/* ---- from a hall to the front ------------------------------------------------------------------------------------- */

static void do_lost(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    api_serve_lost(n->hall->serve, n->hall);
}

static void lost_told(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    n->kept = true;
    n->hall->lost = n;
}

/* There was no memory for a note. Who waits for it is not known to the front, so all of this hall are ended: they come back. */
static void tell_lost(api_hall *h)
{
    api_note *n = h->lost;
    h->lost_again = !n;
    h->lost = NULL;
    if (n)
        note_send(n, do_lost, lost_told);
}

static void do_tell_signal(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    api_serve_signal(n->hall->serve, n->hall, n->conn, n->binary, n->bytes);
}

static size_t pending_of(const api_hall *h, uint32_t conn) { return (size_t)(uintptr_t)lk_map_get(&h->pending, conn); }

static void tell_signal_taken(api_note *n, lk_usec now)
{
    api_hall *h = n->hall;
    size_t left = pending_of(h, n->conn) - n->size;
    LK_UNUSED(now);
    /* It replaces what is there, or takes it away: neither needs memory. */
    if (left == 0)
        (void)lk_map_take(&h->pending, n->conn);
    else
        (void)!lk_map_put(&h->pending, n->conn, (void *)(uintptr_t)left);
}

static void do_tell_close(api_note *n, lk_usec now) { api_serve_signal_close(n->hall->serve, now, n->hall, n->conn, n->close_code); }

static void tell_close(api_hall *h, uint32_t conn, uint16_t code)
{
    api_note *n = note_new(h, true, 0);
    if (!n) {
        tell_lost(h);
        return;
    }
    n->conn = conn;
    n->close_code = code;
    note_send(n, do_tell_close, NULL);
}

static void tell_signal(api_hall *h, lk_usec now, const lk_sfu_event *ev)
{
    size_t at = 0, had = pending_of(h, ev->conn), cost = sizeof(api_note) + ev->bytes.len + 1;
    uint32_t conn = ev->conn;
    api_note *n = had + cost <= API_PENDING_BYTES ? note_new(h, true, ev->bytes.len + 1) : NULL;
    if (n && lk_map_put(&h->pending, conn, (void *)(uintptr_t)(had + cost)) == LK_OK) {
        n->conn = conn;
        n->binary = !ev->json;
        n->bytes = note_put_bytes(n, &at, ev->bytes);
        note_send(n, do_tell_signal, tell_signal_taken);
        return;
    }
    api_note_release(n);
    lk_sfu_signal_closed(h->sfu, now, conn);
    tell_close(h, conn, 1013);
}

static void do_tell_admin(api_note *n, lk_usec now)
{
    api_serve_admin_done(n->hall->serve, now, &(lk_sfu_event){.kind = LK_SFU_EV_ADMIN_DONE, .tag = n->tag, .twirp = n->twirp, .text = n->text, .bytes = n->bytes});
}

static void tell_admin(api_hall *h, const lk_sfu_event *ev)
{
    lk_str twirp = lk_str_of(ev->twirp ? ev->twirp : ""), text = lk_str_of(ev->text ? ev->text : "");
    size_t at = 0;
    api_note *n = note_new(h, true, twirp.len + text.len + ev->bytes.len + 3);
    if (!n) {
        tell_lost(h);
        return;
    }
    n->tag = ev->tag;
    n->twirp = note_put_str(n, &at, twirp).p;
    n->text = note_put_str(n, &at, text).p;
    n->bytes = note_put_bytes(n, &at, ev->bytes);
    if (!ev->twirp)
        n->twirp = NULL;
    note_send(n, do_tell_admin, NULL);
}

static void do_tell_flow(api_note *n, lk_usec now)
{
    api_serve_flow_send(n->hall->serve, now, &(lk_datagram){n->local, n->remote, n->bytes.data, n->bytes.len});
}

static void tell_flow_taken(api_note *n, lk_usec now)
{
    LK_UNUSED(now);
    n->hall->flow_pending -= n->size;
}

static void tell_flow(api_hall *h, const lk_datagram *d)
{
    bool room = h->flow_pending + sizeof(api_note) + d->len < API_FLOW_PENDING_BYTES;
    api_note *n = room ? note_of_flow(h, true, &d->local, &d->remote, (lk_bytes){d->data, d->len}) : NULL;
    if (!n) {
        h->dropped++;
        return;
    }
    h->flow_pending += n->size;
    note_send(n, do_tell_flow, tell_flow_taken);
}

static void on_event(api_hall *h, lk_usec now, const lk_sfu_event *ev)
{
    if (h->index > 0 && ev->kind == LK_SFU_EV_ADMIN_DONE)
        tell_admin(h, ev);
    else if (h->index > 0 && ev->kind == LK_SFU_EV_SIGNAL_SEND)
        tell_signal(h, now, ev);
    else if (h->index > 0)
        tell_close(h, ev->conn, ev->close_code);
    else if (ev->kind == LK_SFU_EV_ADMIN_DONE)
        api_serve_admin_done(h->serve, now, ev);
    else if (ev->kind == LK_SFU_EV_SIGNAL_SEND)
        api_serve_signal(h->serve, h, ev->conn, !ev->json, ev->bytes);
    else
        api_serve_signal_close(h->serve, now, h, ev->conn, ev->close_code);
}

/* ---- whose a datagram is --------------------------------------------------------------------------------------------- */

api_hall *api_hall_of_room(api_serve *s, lk_str room)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < room.len; i++)
        h = (h ^ (uint8_t)room.p[i]) * 16777619u;
    return &s->halls[(h ^ h >> 16) % s->hall_count];
}

api_hall *api_hall_of_check(api_serve *s, const uint8_t *data, size_t len)
{
    char c = s->hall_count > 1 ? lk_hub_loop_of(data, len) : 0;
    return c >= 'a' && (size_t)(c - 'a') < s->hall_count ? &s->halls[c - 'a'] : NULL;
}

static uint64_t route_hash(const api_routes *routes, const lk_datagram *d)
{
    uint64_t words[4], h = routes->seed ^ (uint64_t)d->remote.port << 8 ^ d->remote.family;
    memcpy(words, d->remote.ip, 16);
    memcpy(words + 2, d->local.ip, 16);
    for (size_t i = 0; i < LK_LEN(words); i++) {
        h = (h ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    return h | 16; /* never 0 without its last four bits */
}

static _Atomic(uint64_t) *route_set(api_routes *routes, uint64_t hash) { return routes->slots[hash >> 32 & (API_ROUTE_SETS - 1)]; }

/* The hall has answered a check of connectivity with success: whoever sent it knew the password of one of its sessions. */
static void route_learn(api_hall *h, const lk_datagram *d)
{
    api_routes *routes = h->serve->routes;
    uint64_t hash = route_hash(routes, d) & ~UINT64_C(15), entry = hash | h->index;
    _Atomic(uint64_t) *set = route_set(routes, hash), *to = NULL;
    for (size_t i = 0; i < API_ROUTE_WAYS; i++) {
        uint64_t e = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (e == entry)
            return;
        if ((e & ~UINT64_C(15)) == hash || (e == 0 && !to))
            to = &set[i];
    }
    if (!to)
        to = &set[hash >> 60 & (API_ROUTE_WAYS - 1)];
    atomic_store_explicit(to, entry, memory_order_relaxed);
}

/* A check says itself whom it is for, so that a client may begin anew from the same socket; all else goes where checks of its
 * address were answered. A check that is a lie is thrown away by whom it names, and moves nobody. */
static api_hall *hall_of(api_hall *at, const lk_datagram *d)
{
    api_routes *routes = at->serve->routes;
    api_hall *named = d->len > 0 && d->data[0] < 4 ? api_hall_of_check(at->serve, d->data, d->len) : NULL;
    if (named)
        return named;
    uint64_t hash = route_hash(routes, d) & ~UINT64_C(15);
    _Atomic(uint64_t) *set = route_set(routes, hash);
    for (size_t i = 0; i < API_ROUTE_WAYS; i++) {
        uint64_t e = atomic_load_explicit(&set[i], memory_order_relaxed);
        if ((e & ~UINT64_C(15)) == hash && (e & 15) < at->serve->hall_count)
            return &at->serve->halls[e & 15];
    }
    return at;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------ */

static void on_pass(lk_task *task, lk_usec now)
{
    api_pass *b = LK_CONTAINER(task, api_pass, task);
    api_hall *h = b->to;
    for (size_t i = 0; i < b->count && h->sfu; i++) {
        const struct api_passed *p = &b->datagrams[i];
        lk_sfu_input(h->sfu, now, &(lk_sfu_packet){.d = {p->local, p->remote, b->data + p->at, p->len}});
    }
    atomic_store_explicit(&b->busy, false, memory_order_release);
    if (h->sfu)
        settle(h, now);
}

static void lane_send(struct api_lane *lane)
{
    api_pass *b = lane->open;
    lane->open = NULL;
    if (b)
        lk_loop_post(b->to->loop, &b->task);
}

static api_pass *lane_batch(const lk_env *env, struct api_lane *lane, api_hall *to)
{
    for (size_t i = 0; i < API_PASS_BATCHES; i++) {
        api_pass *b = lane->batches[i];
        if (!b && (b = lane->batches[i] = (api_pass *)lk_alloc(env, sizeof *b)) != NULL)
            atomic_init(&b->busy, false);
        if (!b || atomic_load_explicit(&b->busy, memory_order_acquire))
            continue;
        b->task.run = on_pass;
        b->to = to;
        b->count = b->used = 0;
        atomic_store_explicit(&b->busy, true, memory_order_relaxed);
        return b;
    }
    return NULL;
}

static void pass(api_hall *h, api_hall *to, const lk_datagram *d)
{
    struct api_lane *lane = &h->lanes[to->index];
    if (lane->open && (lane->open->count == API_PASS_DATAGRAMS || lane->open->used + d->len > API_PASS_BYTES))
        lane_send(lane);
    if (!lane->open)
        lane->open = lane_batch(h->serve->env, lane, to);
    api_pass *b = lane->open;
    if (!b) {
        h->dropped++;
        return;
    }
    b->datagrams[b->count++] = (struct api_passed){d->local, d->remote, b->used, d->len};
    memcpy(b->data + b->used, d->data, d->len);
    b->used += d->len;
    h->passed++;
}

void api_hall_datagram(void *ctx, lk_usec now, const lk_datagram *d)
{
    api_hall *h = (api_hall *)ctx, *to = h->serve->routes ? hall_of(h, d) : h;
    if (to != h)
        pass(h, to, d);
    else if (h->sfu)
        lk_sfu_input(h->sfu, now, &(lk_sfu_packet){.d = *d});
    else if (h->index == 0)
        api_reach_answered(h->serve, now, d);
}

void api_hall_datagrams(void *ctx, lk_usec now)
{
    api_hall *h = (api_hall *)ctx;
    for (size_t i = 0; h->serve->routes && i < h->serve->hall_count; i++)
        lane_send(&h->lanes[i]);
    if (h->sfu)
        settle(h, now);
}

static void send_over_tcp(api_hall *h, lk_usec now, const lk_datagram *d)
{
    if (h->index == 0)
        api_serve_flow_send(h->serve, now, d);
    else
        tell_flow(h, d);
}

static bool is_check_answered(const lk_datagram *d) { return d->len > 2 && d->data[0] == 0x01 && d->data[1] == 0x01; } /* [RFC8489 s5] */

/* Neighbours that leave through one socket are handed over together. */
static void send_packets(api_hall *h, lk_usec now)
{
    lk_sfu_packet p[API_SERVE_TX_BATCH];
    lk_datagram batch[API_SERVE_TX_BATCH];
    for (size_t n; (n = lk_sfu_poll_tx(h->sfu, now, p, LK_LEN(p))) > 0;) {
        size_t count = 0;
        lk_udp *from = NULL;
        for (size_t i = 0; i < n; i++) {
            if (p[i].tcp) {
                send_over_tcp(h, now, &p[i].d);
                continue;
            }
            if (h->serve->routes && is_check_answered(&p[i].d))
                route_learn(h, &p[i].d);
            lk_udp *u = count && lk_addr_ip_eq(&p[i].d.local, &batch[count - 1].local) ? from : api_hall_socket(h, &p[i].d.local);
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

/* ---- the turn -------------------------------------------------------------------------------------------------------- */

void api_hall_drain(api_hall *h, lk_usec now)
{
    lk_sfu_event ev;
    api_hall_weigh(h, now);
    while (lk_sfu_poll_event(h->sfu, &ev))
        on_event(h, now, &ev);
    send_packets(h, now);
    if (h->lost_again && h->lost)
        tell_lost(h);
}

void api_hall_arm(api_hall *h) { (void)!lk_timer_set(h->loop, &h->clock, lk_sfu_deadline(h->sfu)); }

static void on_clock(lk_timer *t, lk_usec now)
{
    api_hall *h = LK_CONTAINER(t, api_hall, clock);
    lk_sfu_tick(h->sfu, now);
    settle(h, now);
}

/* ---- opening ----------------------------------------------------------------------------------------------------------- */

lk_err api_hall_open_engine(api_hall *h, lk_usec now, lk_error *why)
{
    api_serve *s = h->serve;
    const lk_server *server = s->server;
    const lk_server_options *o = &server->options;
    lk_sfu_config c = {.unix_usec = lk_clock_unix_usec(), .loop = (char)('a' + h->index), .key = server->keys[0].key, .secret = server->keys[0].secret,
                       .no_auto_create = o->no_auto_create, .remote_unmute = o->remote_unmute, .empty_timeout_sec = o->empty_timeout_sec,
                       .departure_timeout_sec = o->departure_timeout_sec, .max_participants = o->max_participants,
                       .totals = &s->totals, .limits = {.rooms = o->max_rooms, .joins_per_sec = 4 * o->joins_per_sec}};
    h->weighed_at = now;
    h->weighed_cpu = lk_thread_cpu_usec();
    lk_timer_init(&h->clock, on_clock);
    lk_map_init(&h->pending, s->env, o->max_connections);
    lk_err err = lk_dtls_context_new(&h->dtls, s->env);
    c.dtls = h->dtls;
    if (err == LK_OK && h->index > 0 && (h->lost = note_new(h, true, 0)) == NULL)
        err = LK_ERR_NOMEM;
    if (err == LK_OK)
        err = lk_sfu_new(&h->sfu, s->env, &c, now);
    if (err == LK_OK)
        api_hall_tell_engine(h);
    else
        lk_error_set(why, err, "the engine cannot be made: ", lk_err_text(err), (const char *)NULL);
    return err;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------ */

void api_hall_close(api_hall *h)
{
    api_hall_close_places(h);
    if (h->clock.fire)
        (void)!lk_timer_set(h->loop, &h->clock, LK_NEVER);
    lk_sfu_free(h->sfu);
    h->sfu = NULL;
    lk_dtls_context_free(h->dtls);
    h->dtls = NULL;
    if (h->clock.fire)
        lk_map_deinit(&h->pending);
    api_note_release(h->lost);
    h->lost = NULL;
}

void api_hall_free(api_hall *h)
{
    for (size_t i = 0; i < API_LOOPS_MAX; i++)
        for (size_t k = 0; k < API_PASS_BATCHES; k++)
            lk_release(h->serve->env, h->lanes[i].batches[k], sizeof(api_pass));
}
