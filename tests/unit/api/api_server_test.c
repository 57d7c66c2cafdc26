// SPDX-License-Identifier: Apache-2.0
/* The server as an object of the C API; what it serves is tested from outside, in tests/server. */
#include <arpa/inet.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/api_server.h"
#include "livekit/server.h"
#include "patience.h"
#include "stun/stun.h"

static const lk_access_key key = {"devkey", "secretsecretsecretsecretsecretsecret"};

static lk_server_options options(void)
{
    lk_server_options o;
    lk_server_options_init(&o);
    o.keys = &key;
    o.key_count = 1;
    o.port = o.udp_port = o.tcp_port = 0;
    return o;
}

static bool answers(uint16_t port)
{
    static const char ask[] = "GET / HTTP/1.0\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[400];
    size_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    be_patient(fd);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) > 0)
        for (ssize_t got; n < sizeof answer - 1 && (got = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0;)
            n += (size_t)got;
    close(fd);
    answer[n] = 0;
    return n > 2 && strncmp(answer, "HTTP/1.1 200 ", 13) == 0 && strcmp(answer + n - 2, "OK") == 0;
}

LK_TEST(a_server_starts_stops_and_starts_again)
{
    lk_server *s;
    lk_error why;
    lk_server_ports ports;
    lk_server_options o = options();
    lk_server_stats stats = {.size = sizeof stats};
    if (!CHECK_OK(lk_server_new(&s, &o, &why)))
        return;
    CHECK_EQ(lk_server_get_ports(s, &ports), LK_ERR_STATE);
    CHECK_EQ(lk_server_get_stats(s, &stats), LK_ERR_STATE);
    lk_server_stop(s);
    for (int i = 0; i < 2; i++) {
        if (!CHECK_OK(lk_server_start(s, &why)))
            break;
        CHECK_EQ(lk_server_start(s, &why), LK_ERR_STATE);
        CHECK_OK(lk_server_get_ports(s, &ports));
        CHECK(ports.http && ports.udp && ports.tcp);
        CHECK(answers(ports.http));
        CHECK_OK(lk_server_get_stats(s, &stats));
        CHECK_EQ(stats.participants, 0);
        lk_server_stop(s);
        CHECK(!answers(ports.http));
    }
    CHECK(lk_server_ref(s) == s);
    CHECK_OK(lk_server_start(s, NULL));
    lk_server_unref(s);
    CHECK_OK(lk_server_get_ports(s, &ports));
    lk_server_unref(s); /* the last one stops it */
    CHECK(!answers(ports.http));
}

LK_TEST(what_a_server_cannot_be_is_named)
{
    const lk_access_key weak = {"k", "short"}, empty = {"", "0123456789abcdef0123456789abcdef"};
    const char *host[] = {"localhost"};
    struct {
        lk_server_options o;
        const char *said;
    } rows[] = {{options(), "at least one API key"}, {options(), "shorter than 32 bytes, that of key k"}, {options(), "is empty"},
                {options(), "out of range 0..65535: port"}, {options(), "out of range 0..65535: tcp_port"},
                {options(), "not a numeric address to bind to: localhost"}, {options(), "not a numeric address for clients: nowhere"},
                {options(), "more than 16 loops"}};
    rows[0].o.key_count = 0;
    rows[1].o.keys = &weak;
    rows[2].o.keys = &empty;
    rows[3].o.port = 65536;
    rows[4].o.tcp_port = -2;
    rows[5].o.bind_addresses = host;
    rows[5].o.bind_address_count = 1;
    rows[6].o.node_ip = "nowhere";
    rows[7].o.loops = 17;
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_server *s = NULL;
        lk_error why = {0};
        CHECK_EQ(lk_server_new(&s, &rows[i].o, &why), LK_ERR_INVALID);
        CHECK(s == NULL && strstr(why.text, rows[i].said));
    }
    CHECK_EQ(lk_server_new(NULL, &rows[0].o, NULL), LK_ERR_INVALID);
    CHECK_EQ(lk_server_start(NULL, NULL), LK_ERR_INVALID);
}

LK_TEST(a_port_that_is_taken_is_named_and_nothing_stays_open)
{
    lk_server *first = NULL, *second;
    lk_error why;
    lk_server_ports ports;
    lk_server_options o = options();
    bool started = CHECK_OK(lk_server_new(&first, &o, &why)) && CHECK_OK(lk_server_start(first, &why)) &&
                   CHECK_OK(lk_server_get_ports(first, &ports));
    if (started)
        o.port = ports.http;
    if (started && CHECK_OK(lk_server_new(&second, &o, &why))) {
        CHECK_EQ(lk_server_start(second, &why), LK_ERR_STATE);
        CHECK(strstr(why.text, "cannot listen on 127.0.0.1:") && strstr(why.text, "the port is in use"));
        CHECK_EQ(lk_server_get_ports(second, &ports), LK_ERR_STATE);
        lk_server_unref(second);
    }
    lk_server_unref(first);
}

/* ---- several loops ---- */

#define SENDERS 16

/* A task of the test on a loop of the server, waited for. */
typedef struct visit_to {
    lk_task task;
    api_hall *hall;
    uint64_t passed, dropped, stray;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool begun, may_end, done;
} visit_to;

static void on_visit(lk_task *task, lk_usec now)
{
    visit_to *v = LK_CONTAINER(task, visit_to, task);
    lk_sfu_stats stats;
    LK_UNUSED(now);
    lk_sfu_get_stats(v->hall->sfu, &stats);
    pthread_mutex_lock(&v->lock);
    v->passed = v->hall->passed;
    v->dropped = v->hall->dropped;
    v->stray = stats.packets_stray;
    v->begun = true;
    pthread_cond_broadcast(&v->changed);
    while (!v->may_end)
        pthread_cond_wait(&v->changed, &v->lock);
    v->done = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

/* hold: the loop stands still until let_go. */
static void begin_visit(visit_to *v, api_hall *hall, bool hold)
{
    *v = (visit_to){.task = {NULL, on_visit}, .hall = hall, .may_end = !hold};
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    lk_loop_post(hall->loop, &v->task);
    pthread_mutex_lock(&v->lock);
    WAIT_OR_ABORT(hold ? &v->begun : &v->done, &v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

static void let_go(visit_to *v)
{
    pthread_mutex_lock(&v->lock);
    v->may_end = true;
    pthread_cond_broadcast(&v->changed);
    WAIT_OR_ABORT(&v->done, &v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

typedef struct senders {
    int fds[SENDERS];
} senders;

static bool open_senders(senders *s, uint16_t port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool ok = true;
    for (size_t i = 0; i < SENDERS; i++) {
        s->fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ok &= s->fds[i] >= 0 && connect(s->fds[i], (const struct sockaddr *)&to, sizeof to) == 0;
    }
    return ok;
}

static void close_senders(const senders *s)
{
    for (size_t i = 0; i < SENDERS; i++)
        close(s->fds[i]);
}

/* A check of connectivity for a session that is not there, from each of them. */
static void send_checks(const senders *s, const char *username)
{
    uint8_t packet[200], tid[LK_STUN_TID_LEN] = {1};
    lk_wr w = lk_wr_of(packet, sizeof packet);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    lk_stun_put(&w, LK_STUN_USERNAME, username, strlen(username));
    lk_stun_put_integrity(&w, "no", 2);
    lk_stun_put_fingerprint(&w);
    for (size_t i = 0; i < SENDERS; i++)
        (void)!send(s->fds[i], packet, w.len, 0);
}

static lk_usec patience_end(void) { return lk_clock_now() + LK_SEC(PATIENCE_SEC); }

/* Asks each hall until as many as were sent have been thrown away, each by the hall that was named. */
static void wait_for_stray(const lk_server *server, size_t hall, uint64_t count, visit_to seen[2])
{
    const lk_usec end = patience_end();
    do
        for (size_t i = 0; i < 2; i++)
            begin_visit(&seen[i], &server->serve->halls[i], false);
    while (seen[hall].stray < count && lk_clock_now() < end);
    CHECK_EQ(seen[hall].stray, count);
    for (size_t i = 0; i < 2; i++) /* what was passed on before that */
        begin_visit(&seen[i], &server->serve->halls[i], false);
}

LK_TEST(a_datagram_goes_to_the_loop_its_ufrag_names_and_a_loop_that_stands_still_loses_what_is_too_much)
{
    lk_server *s;
    lk_server_ports ports;
    lk_server_options o = options();
    senders from;
    visit_to seen[2], held;
    o.loops = 2;
    if (!CHECK_OK(lk_server_new(&s, &o, NULL)))
        return;
    if (!CHECK_OK(lk_server_start(s, NULL)) || !CHECK_OK(lk_server_get_ports(s, &ports)) || !CHECK(open_senders(&from, ports.udp))) {
        lk_server_unref(s);
        return;
    }
    send_checks(&from, "bwho:me");
    wait_for_stray(s, 1, SENDERS, seen);
    CHECK_EQ(seen[0].stray, 0);
    CHECK_EQ(seen[1].passed, 0);
    uint64_t passed = seen[0].passed;
    CHECK(passed > 0 && passed < SENDERS); /* the kernel gives some to each socket */
    send_checks(&from, "awho:me");
    wait_for_stray(s, 0, SENDERS, seen);
    CHECK_EQ(seen[1].stray, SENDERS);
    CHECK_EQ(seen[1].passed, SENDERS - passed); /* the same ones as before arrive at the second socket */
    send_checks(&from, "?who:me"); /* nobody's: thrown away where it arrives */
    wait_for_stray(s, 0, SENDERS + passed, seen);
    CHECK_EQ(seen[0].passed, passed);

    begin_visit(&held, &s->serve->halls[1], true);
    lk_usec end = patience_end();
    do {
        send_checks(&from, "bwho:me");
        begin_visit(&seen[0], &s->serve->halls[0], false);
    } while (seen[0].dropped == 0 && lk_clock_now() < end);
    CHECK(seen[0].dropped > 0);
    CHECK(seen[0].passed - passed <= API_PASS_BATCHES * API_PASS_DATAGRAMS);
    CHECK(answers(ports.http)); /* others are not disturbed */
    let_go(&held);
    begin_visit(&seen[0], &s->serve->halls[0], false);
    passed = seen[0].passed;
    end = patience_end();
    do { /* and it goes on */
        send_checks(&from, "bwho:me");
        begin_visit(&seen[0], &s->serve->halls[0], false);
    } while (seen[0].passed == passed && lk_clock_now() < end);
    CHECK(seen[0].passed > passed);
    close_senders(&from);
    lk_server_unref(s);
}

LK_TEST(a_server_of_several_loops_starts_stops_and_starts_again)
{
    lk_server *s;
    lk_server_ports ports;
    lk_server_options o = options();
    lk_server_stats stats = {.size = sizeof stats};
    o.loops = 3;
    if (!CHECK_OK(lk_server_new(&s, &o, NULL)))
        return;
    for (int i = 0; i < 2; i++) {
        if (!CHECK_OK(lk_server_start(s, NULL)))
            break;
        CHECK_OK(lk_server_get_ports(s, &ports));
        CHECK(answers(ports.http));
        CHECK_OK(lk_server_get_stats(s, &stats));
        CHECK_EQ(stats.rooms, 0);
        lk_server_stop(s);
        CHECK(!answers(ports.http));
    }
    lk_server_unref(s);
}

LK_TEST(a_media_port_that_another_server_of_several_loops_has_is_taken)
{
    lk_server *first, *second;
    lk_error why;
    lk_server_ports ports;
    lk_server_options o = options();
    o.loops = 2;
    if (!CHECK_OK(lk_server_new(&first, &o, NULL)))
        return;
    if (CHECK_OK(lk_server_start(first, NULL)) && CHECK_OK(lk_server_get_ports(first, &ports))) {
        o.udp_port = ports.udp;
        if (CHECK_OK(lk_server_new(&second, &o, NULL))) {
            CHECK_EQ(lk_server_start(second, &why), LK_ERR_STATE);
            CHECK(strstr(why.text, "(UDP, media): the port is in use") != NULL);
            lk_server_unref(second);
        }
    }
    lk_server_unref(first);
}

LK_TEST(a_forked_child_has_no_server)
{
    lk_server *s;
    lk_server_ports ports;
    lk_server_options o = options();
    int status = 0;
    if (!CHECK_OK(lk_server_new(&s, &o, NULL)))
        return;
    if (CHECK_OK(lk_server_start(s, NULL))) {
        pid_t child = fork();
        if (child == 0)
            _exit(lk_server_get_ports(s, &ports) == LK_ERR_FORKED && lk_server_start(s, NULL) == LK_ERR_FORKED ? 0 : 1);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    lk_server_unref(s);
}

LK_TEST(a_token_that_was_created_verifies_and_shows_its_claims)
{
    static char token[LK_ACCESS_TOKEN_MAX + 1], claims[LK_ACCESS_TOKEN_MAX];
    lk_access_token_options o;
    const lk_access_key other = {"devkey", "another secret of at least 32 bytes"};
    lk_error why;
    lk_access_token_options_init(&o);
    o.identity = "ann";
    o.room = "r";
    o.room_join = true;
    o.can_publish = LK_GRANT_DENY;
    CHECK_OK(lk_access_token_create(token, sizeof token, &key, &o));
    CHECK_OK(lk_access_token_verify(token, &key, 1, &why));
    CHECK_EQ(lk_access_token_verify(token, &other, 1, &why), LK_ERR_AUTH);
    CHECK(strstr(why.text, "wrong signature"));
    CHECK_OK(lk_access_token_claims(claims, sizeof claims, token));
    CHECK(strstr(claims, "\"sub\":\"ann\"") && strstr(claims, "\"canPublish\":false") && strstr(claims, "\"room\":\"r\""));
    CHECK_EQ(lk_access_token_claims(claims, 10, token), LK_ERR_LIMIT);
    CHECK_EQ(lk_access_token_claims(claims, sizeof claims, "x.y"), LK_ERR_WIRE);
    CHECK_EQ(lk_access_token_create(token, 20, &key, &o), LK_ERR_LIMIT);
    o.kind = "robot";
    CHECK_EQ(lk_access_token_create(token, sizeof token, &key, &o), LK_ERR_INVALID);
    o.kind = "agent";
    o.valid_sec = 0; /* over before it began; the minute of grace has to pass too */
    o.not_before_sec = 1;
    CHECK_OK(lk_access_token_create(token, sizeof token, &key, &o));
    CHECK_OK(lk_access_token_verify(token, &key, 1, NULL));
}
