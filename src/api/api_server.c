// SPDX-License-Identifier: Apache-2.0
/* The gate of the server: options in, a loop with sockets and an engine on it out. */
#include "api/api_server.h"

#include <unistd.h>

#include "ws/url.h"

/* ---- options ---------------------------------------------------------------------------------------------- */

void lk_server_options_init(lk_server_options *options)
{
    *options = (lk_server_options){.size = sizeof *options, .port = 7880, .udp_port = 7882, .tcp_port = 7881, .log_level = LK_LOG_WARN, .loops = 1};
}

static lk_err say(lk_error *why, lk_err err, const char *text, const char *what)
{
    if (why)
        lk_error_set(why, err, text, what ? what : "", (const char *)NULL);
    return err;
}

static const char *keep(lk_server *s, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = (char *)lk_arena_alloc(&s->arena, n);
    return copy ? (const char *)memcpy(copy, text, n) : NULL;
}

static lk_err take_keys(lk_server *s, lk_error *why)
{
    const lk_server_options *o = &s->options;
    if (o->key_count == 0 || !o->keys)
        return say(why, LK_ERR_INVALID, "a server needs at least one API key with its secret", NULL);
    if (o->key_count > LK_TOKEN_KEYS_MAX)
        return say(why, LK_ERR_INVALID, "more than 64 API keys", NULL);
    for (size_t i = 0; i < o->key_count; i++) {
        const lk_access_key *k = &o->keys[i];
        if (!k->key || !k->key[0] || !k->secret || !k->secret[0])
            return say(why, LK_ERR_INVALID, "an API key or its secret is empty", NULL);
        if (strlen(k->secret) < LK_TOKEN_SECRET_MIN && !o->allow_weak_secrets)
            return say(why, LK_ERR_INVALID, "a secret shorter than 32 bytes, that of key ", k->key);
        s->keys[i] = (lk_token_key){keep(s, k->key), keep(s, k->secret)};
        if (!s->keys[i].key || !s->keys[i].secret)
            return say(why, LK_ERR_NOMEM, "no memory", NULL);
    }
    return LK_OK;
}

static lk_err take_addresses(lk_server *s, lk_error *why)
{
    static const char *const loopback[] = {"127.0.0.1", "::1"};
    const lk_server_options *o = &s->options;
    s->http_by_default = o->bind_address_count == 0;
    size_t count = s->http_by_default ? LK_LEN(loopback) : o->bind_address_count;
    const char *const *list = s->http_by_default ? loopback : o->bind_addresses;
    if (count > API_SERVE_ADDRESSES_MAX || !list)
        return say(why, LK_ERR_INVALID, "more than 16 addresses to bind to", NULL);
    for (size_t i = 0; i < count; i++) {
        lk_addr *a = &s->http[s->http_count++];
        if (!list[i] || !lk_addr_parse_ip(a, lk_str_of(list[i])))
            return say(why, LK_ERR_INVALID, "not a numeric address to bind to: ", list[i]);
        a->port = (uint16_t)o->port;
    }
    if (o->stun_server_count > API_STUN_SERVERS_MAX || (o->stun_server_count && !o->stun_servers))
        return say(why, LK_ERR_INVALID, "more than 8 STUN servers", NULL);
    for (size_t i = 0; i < o->stun_server_count; i++)
        if ((s->stun_servers[i] = o->stun_servers[i] ? keep(s, o->stun_servers[i]) : NULL) == NULL)
            return say(why, LK_ERR_INVALID, "a STUN server is missing", NULL);
    if (o->node_ip && o->node_ip[0] && !lk_addr_parse_ip(&s->node_ip, lk_str_of(o->node_ip)))
        return say(why, LK_ERR_INVALID, "not a numeric address for clients: ", o->node_ip);
    return LK_OK;
}

static lk_err check(lk_server *s, lk_error *why)
{
    const lk_server_options *o = &s->options;
    const struct {
        const char *name;
        int32_t value, least;
    } ports[] = {{"port", o->port, 0}, {"udp_port", o->udp_port, 0}, {"tcp_port", o->tcp_port, LK_SERVER_PORT_NONE}};
    for (size_t i = 0; i < LK_LEN(ports); i++)
        if (ports[i].value < ports[i].least || ports[i].value > 65535)
            return say(why, LK_ERR_INVALID, "out of range 0..65535: ", ports[i].name);
    if (o->overload_percent > 100)
        return say(why, LK_ERR_INVALID, "out of range 0..100: overload_percent", NULL);
    if (o->loops > API_LOOPS_MAX)
        return say(why, LK_ERR_INVALID, "more than 16 loops", NULL);
    lk_err err = take_keys(s, why);
    return err == LK_OK ? take_addresses(s, why) : err;
}

static void fill_defaults(lk_server_options *o)
{
    struct {
        uint32_t *at, value;
    } rows[] = {{&o->empty_timeout_sec, 300}, {&o->departure_timeout_sec, 20}, {&o->max_participants, 4096}, {&o->max_rooms, 4096},
                {&o->max_connections, 16384}, {&o->joins_per_sec, 200}, {&o->failed_auths_per_sec, 10}, {&o->overload_percent, 90}};
    for (size_t i = 0; i < LK_LEN(rows); i++)
        if (*rows[i].at == 0)
            *rows[i].at = rows[i].value;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void write_record(void *ctx, lk_log_level level, const char *event, const lk_log_field *fields, size_t count)
{
    const lk_server *s = (const lk_server *)ctx;
    char text[512], target[API_LOG_TARGET_MAX];
    api_log_text(text, sizeof text, target, event, fields, count);
    s->options.log(s->options.log_user_data, level, target, text);
}

static void on_last_user(api_object *o) { lk_server_stop((lk_server *)o); }

static void on_destroy(api_object *o)
{
    lk_server *s = (lk_server *)o;
    pthread_mutex_destroy(&s->lock);
    lk_arena_deinit(&s->arena);
    api_release(s, sizeof *s);
}

lk_err lk_server_new(lk_server **out, const lk_server_options *options, lk_error *why)
{
    if (!out || !options || options->size < sizeof(uint32_t))
        return say(why, LK_ERR_INVALID, "options are missing", NULL);
    lk_server *s = (lk_server *)api_alloc0(sizeof *s);
    if (!s)
        return say(why, LK_ERR_NOMEM, "no memory", NULL);
    api_object_init(&s->o, NULL, on_last_user, on_destroy);
    s->pid = getpid();
    pthread_mutex_init(&s->lock, NULL);
    lk_arena_init(&s->arena, api_env(), 1 << 20);
    lk_server_options_init(&s->options);
    memcpy(&s->options, options, LK_MIN(options->size, sizeof s->options));
    fill_defaults(&s->options);
    s->sink = (lk_log_sink){s, s->options.log_level, write_record};
    lk_env_production(&s->env, s->options.log ? &s->sink : NULL);
    lk_err err = check(s, why);
    /* Nothing of the caller's is looked at again. */
    s->options.keys = NULL;
    s->options.bind_addresses = NULL;
    s->options.node_ip = NULL;
    s->options.stun_servers = NULL;
    if (err != LK_OK) {
        lk_server_unref(s);
        return err;
    }
    *out = s;
    return LK_OK;
}

lk_server *lk_server_ref(lk_server *server) { return (lk_server *)api_user_ref(server); }
void lk_server_unref(lk_server *server) { api_user_unref(server); }

/* ---- calls into the loop ---------------------------------------------------------------------------------------- */

typedef struct call {
    lk_task task;
    api_hall *hall;
    void (*run)(struct call *c, lk_usec now); /* ends with finish, at once or later */
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
    lk_err err;
    lk_error why;
    lk_sfu_stats stats;
} call;

static void finish(call *c)
{
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->done_cond);
    pthread_mutex_unlock(&c->lock);
}

static void on_call(lk_task *task, lk_usec now)
{
    call *c = LK_CONTAINER(task, call, task);
    c->run(c, now);
}

static void run_on_loop(call *c, api_hall *hall, void (*run)(call *, lk_usec))
{
    *c = (call){.task = {NULL, on_call}, .hall = hall, .run = run};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done_cond, NULL);
    lk_loop_post(hall->loop, &c->task);
    pthread_mutex_lock(&c->lock);
    while (!c->done)
        pthread_cond_wait(&c->done_cond, &c->lock);
    pthread_mutex_unlock(&c->lock);
    pthread_cond_destroy(&c->done_cond);
    pthread_mutex_destroy(&c->lock);
}

static void do_open(call *c, lk_usec now)
{
    c->err = api_hall_open_sockets(c->hall, &c->why);
    if (c->err == LK_OK)
        c->err = api_hall_open_engine(c->hall, now, &c->why);
    finish(c);
}

static void do_close(call *c, lk_usec now)
{
    LK_UNUSED(now);
    api_hall_close(c->hall);
    finish(c);
}

static void close_others(api_serve *s)
{
    call c;
    for (size_t i = 1; i < s->hall_count; i++)
        run_on_loop(&c, &s->halls[i], do_close);
}

/* The front waits until all are open, so that nobody is let in before. */
static void open_all(void *ctx, lk_usec now)
{
    call *c = (call *)ctx, other;
    api_serve *s = c->hall->serve;
    c->err = api_serve_open(s, now, &c->why);
    if (c->err == LK_OK) {
        for (size_t i = 1; i < s->hall_count && c->err == LK_OK; i++) {
            run_on_loop(&other, &s->halls[i], do_open);
            c->err = other.err;
            c->why = other.why;
        }
        if (c->err != LK_OK) {
            close_others(s);
            api_serve_close(s);
        }
    }
    finish(c);
}

static void do_start(call *c, lk_usec now)
{
    api_serve *s = c->hall->serve;
    c->err = api_serve_open_media(s, now, &c->why);
    if (c->err == LK_OK) {
        lk_err err = api_reach_ask(s, now, open_all, c); /* then c may be over already */
        if (err == LK_OK)
            return;
        c->err = err;
        lk_error_set(&c->why, err, "no memory", (const char *)NULL);
        api_serve_close(s);
    }
    finish(c);
}

/* No loop may end before all are closed: until then they post to each other. */
static void end_loops(api_serve *s)
{
    for (size_t i = s->hall_count; i-- > 0;)
        if (s->halls[i].loop)
            lk_loop_free(s->halls[i].loop);
    for (size_t i = 0; i < s->hall_count; i++)
        api_hall_free(&s->halls[i]);
    lk_release(s->env, s->routes, sizeof *s->routes);
    api_release(s, sizeof *s);
}

static size_t loops_of(uint32_t wanted)
{
    long cores = wanted ? 0 : sysconf(_SC_NPROCESSORS_ONLN);
    return wanted ? wanted : cores < 1 ? 1 : LK_MIN((size_t)cores, 4);
}

static lk_err make_loops(api_serve *s)
{
    lk_err err = LK_OK;
    s->hall_count = loops_of(s->server->options.loops);
    if (s->hall_count > 1) {
        s->routes = (api_routes *)lk_alloc0(s->env, sizeof *s->routes);
        if (!s->routes)
            return LK_ERR_NOMEM;
        s->routes->seed = lk_rand_u64(s->env);
    }
    for (size_t i = 0; i < s->hall_count && err == LK_OK; i++) {
        s->halls[i].serve = s;
        s->halls[i].index = (unsigned)i;
        err = lk_loop_new(&s->halls[i].loop, s->env, NULL);
    }
    s->loop = s->halls[0].loop;
    return err;
}

static lk_err start(lk_server *server, lk_error *why)
{
    call c;
    api_serve *s = (api_serve *)api_alloc0(sizeof *s);
    if (!s)
        return say(why, LK_ERR_NOMEM, "no memory", NULL);
    s->server = server;
    s->env = &server->env;
    lk_err err = make_loops(s);
    if (err != LK_OK) {
        (void)say(why, err, "the threads of the server cannot be started", NULL);
    } else {
        run_on_loop(&c, &s->halls[0], do_start);
        err = c.err;
        if (err != LK_OK && why)
            *why = c.why;
    }
    if (err == LK_OK)
        server->serve = s;
    else
        end_loops(s);
    return err;
}

lk_err lk_server_start(lk_server *server, lk_error *why)
{
    if (!server)
        return say(why, LK_ERR_INVALID, "there is no server", NULL);
    if (server->pid != getpid())
        return say(why, LK_ERR_FORKED, lk_err_text(LK_ERR_FORKED), NULL);
    pthread_mutex_lock(&server->lock);
    lk_err err = server->serve ? say(why, LK_ERR_STATE, "the server runs already", NULL) : start(server, why);
    pthread_mutex_unlock(&server->lock);
    return err;
}

static void on_stopped(void *ctx)
{
    call *c = (call *)ctx;
    api_serve_close(c->hall->serve);
    finish(c);
}

static void do_stop(call *c, lk_usec now) { api_serve_stop(c->hall->serve, now, on_stopped, c); }

void lk_server_stop(lk_server *server)
{
    call c;
    if (!server || server->pid != getpid())
        return;
    pthread_mutex_lock(&server->lock);
    api_serve *s = server->serve;
    if (s) {
        run_on_loop(&c, &s->halls[0], do_stop);
        close_others(s);
        end_loops(s);
        server->serve = NULL;
    }
    pthread_mutex_unlock(&server->lock);
}

lk_err lk_server_get_ports(lk_server *server, lk_server_ports *ports)
{
    if (!server || !ports)
        return LK_ERR_INVALID;
    if (server->pid != getpid())
        return LK_ERR_FORKED;
    pthread_mutex_lock(&server->lock);
    bool runs = server->serve != NULL;
    if (runs)
        *ports = server->serve->ports;
    pthread_mutex_unlock(&server->lock);
    return runs ? LK_OK : LK_ERR_STATE;
}

static void do_stats(call *c, lk_usec now)
{
    LK_UNUSED(now);
    lk_sfu_get_stats(c->hall->sfu, &c->stats);
    finish(c);
}

lk_err lk_server_get_stats(lk_server *server, lk_server_stats *stats)
{
    call c;
    if (!server || !stats || stats->size < sizeof(uint32_t))
        return LK_ERR_INVALID;
    if (server->pid != getpid())
        return LK_ERR_FORKED;
    pthread_mutex_lock(&server->lock);
    bool runs = server->serve != NULL;
    if (runs) {
        lk_sfu_stats sum = {0};
        for (size_t i = 0; i < server->serve->hall_count; i++) {
            run_on_loop(&c, &server->serve->halls[i], do_stats);
            api_stats_add(&sum, &c.stats);
        }
        const lk_server_stats all = {.size = stats->size, .rooms = sum.rooms, .participants = sum.participants,
                                     .tracks_published = sum.tracks_published, .tracks_subscribed = sum.tracks_subscribed,
                                     .connections = sum.connections, .joins = sum.joins, .joins_refused = sum.joins_refused,
                                     .packets_in = sum.packets_in, .packets_out = sum.packets_out,
                                     .bytes_in = sum.bytes_in, .bytes_out = sum.bytes_out};
        memcpy(stats, &all, LK_MIN(stats->size, sizeof all));
    }
    pthread_mutex_unlock(&server->lock);
    return runs ? LK_OK : LK_ERR_STATE;
}
