/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_serve.c - `lkc serve`: a LiveKit server until it is told to end.
 */
#include "lkc.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lkc_config.h"

static const char help[] =
    "usage: lkc serve --dev [OPTIONS]                        for trying out: key and secret are known, loopback alone\n"
    "       lkc serve --keys \"KEY: SECRET\" [OPTIONS]         with keys of your own\n"
    "       lkc serve --config FILE [OPTIONS]                with a file as livekit-server reads it\n"
    "\n"
    "  --bind ADDRESS        signalling listens here (0.0.0.0 or :: for all; may be repeated; default 127.0.0.1 and ::1)\n"
    "  --port PORT           signalling, WebSocket and HTTP (default 7880; 0: any)\n"
    "  --udp-port PORT       media of everybody (default 7882; 0: any)\n"
    "  --tcp-port PORT       media of those whose UDP is blocked (default 7881; 0: any; none: not offered)\n"
    "  --node-ip ADDRESS     tell clients this address instead of those of the interfaces\n"
    "  --keys \"KEY: SECRET\"  may be repeated; also LIVEKIT_KEYS of the environment; secrets have 32 bytes or more\n"
    "  --key-file FILE       the same, one pair a line; nobody else may be able to read it\n"
    "  --config FILE         YAML; flags win over what it says\n"
    "  --loops COUNT         threads that carry rooms, each room on one (default 1, at most 16; 0: one per core, 4 at most)\n"
    "  --no-page             without the web page at /app\n"
    "  --log-level LEVEL     error, warn (default), info, debug, trace\n"
    "\n"
    "Ends with SIGINT or SIGTERM: everybody is told to leave first. Signalling is without TLS: put a proxy in front.\n";

static int complain(const char *what, const char *word) { return lkc_complain("serve", what, word); }

static void warn(const char *line)
{
    fputs("lkc serve: warning: ", stderr);
    lkc_put_text(stderr, line, 0);
    fputc('\n', stderr);
}

static void log_text(void *user_data, lk_log_level level, const char *target, const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug", "trace"};
    const lkc_config *c = user_data;
    (void)target;
    if (!c->log_json) {
        fprintf(stderr, "%s %s\n", names[level], text);
        return;
    }
    flockfile(stderr); /* several loops may have something to say */
    fprintf(stderr, "{\"level\":\"%s\",\"msg\":", names[level]);
    lkc_json_text(stderr, text);
    fputs("}\n", stderr);
    funlockfile(stderr);
}

static bool port_of(const char *text, bool may_be_none, int32_t *out)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (may_be_none && !strcmp(text, "none")) {
        *out = LK_SERVER_PORT_NONE;
        return true;
    }
    if (end == text || *end || errno || n < 0 || n > 65535)
        return false;
    *out = (int32_t)n;
    return true;
}

static bool level_of(const char *text, lk_log_level *out)
{
    static const char *const names[] = {"error", "warn", "info", "debug", "trace"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(names[i], text)) {
            *out = (lk_log_level)i;
            return true;
        }
    }
    return false;
}

typedef struct lkc_serve_args {
    lkc_config config;
    bool dev, keys_given;
} lkc_serve_args;

/* A flag with its value. */
static int take(lkc_serve_args *a, const char *name, const char *value)
{
    lk_server_options *o = &a->config.options;
    if (!strcmp(name, "--bind")) {
        if (o->bind_address_count == LKC_BIND_MAX)
            return complain("more than 16 addresses to bind to", NULL);
        a->config.bind[o->bind_address_count++] = value;
    } else if (!strcmp(name, "--port") || !strcmp(name, "--udp-port") || !strcmp(name, "--tcp-port")) {
        int32_t *at = name[2] == 'p' ? &o->port : name[2] == 'u' ? &o->udp_port : &o->tcp_port;
        if (!port_of(value, name[2] == 't', at))
            return complain(name[2] == 't' ? "not a port (0..65535, or none)" : "not a port (0..65535)", value);
    } else if (!strcmp(name, "--node-ip")) {
        o->node_ip = value;
    } else if (!strcmp(name, "--log-level")) {
        if (!level_of(value, &o->log_level))
            return complain("not a level (error, warn, info, debug, trace)", value);
    } else if (!strcmp(name, "--loops")) {
        if (!lkc_config_count(value, LKC_LOOPS_MAX, &o->loops))
            return complain("not a count of loops (0..16)", value);
    } else if (!strcmp(name, "--keys")) {
        if (!lkc_config_keys(&a->config, value, "--keys"))
            return complain(a->config.why, NULL);
        a->keys_given = true;
    } else if (!strcmp(name, "--key-file")) {
        a->config.key_file = value;
    } else if (strcmp(name, "--config") != 0) {
        return complain("unknown option (see lkc serve --help)", name);
    }
    return LKC_OK;
}

/* The file first, so that flags win wherever they stand. */
static int parse(lkc_serve_args *a, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--config") && !lkc_config_read(&a->config, argv[i + 1], warn))
            return complain(a->config.why, NULL);
    size_t from_file = a->config.options.bind_address_count;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--dev")) {
            a->dev = true;
            continue;
        }
        if (!strcmp(argv[i], "--no-page")) {
            a->config.options.page = false;
            continue;
        }
        if (i + 1 == argc)
            return complain("unknown option, or its value is missing (see lkc serve --help)", argv[i]);
        if (!strcmp(argv[i], "--bind") && from_file) {
            a->config.options.bind_address_count = from_file = 0;
        }
        int status = take(a, argv[i], argv[i + 1]);
        if (status != LKC_OK)
            return status;
        i++;
    }
    return LKC_OK;
}

static int find_keys(lkc_serve_args *a)
{
    lkc_config *c = &a->config;
    const char *environment = getenv("LIVEKIT_KEYS");
    if (environment && *environment && !lkc_config_keys(c, environment, "LIVEKIT_KEYS"))
        return complain(c->why, NULL);
    if (c->key_file && !lkc_config_key_file(c, c->key_file))
        return complain(c->why, NULL);
    if (c->options.key_count == 0 && a->dev) {
        c->keys[c->options.key_count++] = (lk_access_key){LKC_DEV_KEY, LKC_DEV_SECRET};
        c->options.allow_weak_secrets = true;
    }
    if (c->options.key_count == 0)
        return complain("no keys: give --keys \"KEY: SECRET\", LIVEKIT_KEYS, --key-file or --config; or --dev to try out", NULL);
    return LKC_OK;
}

static bool is_loopback(const char *address) { return !strncmp(address, "127.", 4) || !strcmp(address, "::1"); }

/* The page, in --dev as a link that joins when it is opened. */
static void print_page(const lkc_serve_args *a, const char *authority, const char *token)
{
    bool mints = !strcmp(a->config.keys[0].key, LKC_DEV_KEY); /* it makes its tokens itself then, as many as are wanted */
    printf("  page        http://%s/app%s%s\n", authority, !a->dev ? "" : mints ? "#room=dev" : "#token=", a->dev && !mints ? token : "");
}

static void print_welcome(const lkc_serve_args *a, const lk_server_ports *ports)
{
    static char token[LK_ACCESS_TOKEN_MAX + 1];
    char authority[64];
    const lk_server_options *o = &a->config.options;
    const char *host = o->bind_address_count && is_loopback(o->bind_addresses[0]) ? o->bind_addresses[0] : "127.0.0.1";
    printf("lkc serve %s\n", lk_version());
    (void)snprintf(authority, sizeof authority, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, ports->http);
    printf("  signalling  ws://%s\n", authority);
    printf("  media       %u/udp", ports->udp);
    if (ports->tcp)
        printf(", %u/tcp", ports->tcp);
    putchar('\n');
    if (a->dev) {
        lk_access_token_options t;
        lk_access_token_options_init(&t);
        t.room = "dev";
        t.identity = "dev";
        t.room_join = true;
        t.valid_sec = 24 * 3600;
        printf("  key         %s\n  secret      %s\n", a->config.keys[0].key, a->config.keys[0].secret);
        if (lk_access_token_create(token, sizeof token, &a->config.keys[0], &t) == LK_OK)
            printf("  token       %s\n              (room dev, identity dev, 24 hours; others: lkc token create --dev --room ROOM --identity NAME)\n", token);
    }
    if (o->page)
        print_page(a, authority, token);
    fflush(stdout);
}

/* A connection is a descriptor: as many as this user may have. */
static void take_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(const lkc_serve_args *a)
{
    lk_server *server;
    lk_error why;
    lk_server_ports ports;
    sigset_t signals;
    int number;
    /* Before any thread: all of them leave these to this one. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    take_descriptors();
    if (lk_server_new(&server, &a->config.options, &why) != LK_OK)
        return complain(why.text, NULL);
    lk_err err = lk_server_start(server, &why);
    if (err == LK_OK)
        err = lk_server_get_ports(server, &ports);
    if (err != LK_OK) {
        lk_server_unref(server);
        return complain(why.text, NULL);
    }
    print_welcome(a, &ports);
    while (sigwait(&signals, &number) != 0) {
    }
    lk_server_unref(server);
    return LKC_OK;
}

int lkc_serve(int argc, char **argv)
{
    static lkc_serve_args a;
    lk_server_options *o = &a.config.options;
    lk_server_options_init(o);
    o->page = true;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) {
            fputs(help, stdout);
            return LKC_OK;
        }
    }
    int status = parse(&a, argc, argv);
    if (status == LKC_OK)
        status = find_keys(&a);
    if (status != LKC_OK)
        return status;
    o->keys = a.config.keys;
    o->bind_addresses = o->bind_address_count ? a.config.bind : NULL;
    o->stun_servers = a.config.stun_servers;
    o->log = log_text;
    o->log_user_data = &a.config;
    for (size_t i = 0; a.dev && i < o->bind_address_count; i++)
        if (o->allow_weak_secrets && !is_loopback(a.config.bind[i]))
            warn("everybody knows the secret of --dev, and others can reach this address");
    if (a.dev)
        o->loopback_candidates = true;
    return run(&a);
}
