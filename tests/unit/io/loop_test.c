// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <unistd.h>

#include "io/loop.h"
#include "patience.h"

/* Real sockets and threads: a condition instead of a sleep, with a deadline only for the broken case. */
typedef struct latch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int value;
} latch;
static latch gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void raise_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.value++;
    pthread_cond_signal(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static bool wait_gate(int value)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_SEC;
    pthread_mutex_lock(&gate.lock);
    while (gate.value < value && pthread_cond_timedwait(&gate.changed, &gate.lock, &end) == 0) {
    }
    bool ok = gate.value >= value;
    pthread_mutex_unlock(&gate.lock);
    return ok;
}

/* The loop runs on its own thread, the counting allocator of the frame does not: malloc here. */
static lk_env production(void)
{
    lk_env env;
    lk_env_production(&env, NULL);
    return env;
}

typedef struct counter {
    lk_task task;
    int runs;
} counter;
static void count_run(lk_task *t, lk_usec now)
{
    LK_UNUSED(now);
    ((counter *)t)->runs++;
    raise_gate();
}

LK_TEST(a_loop_starts_and_stops_without_leaving_threads_or_descriptors)
{
    lk_env real = production();
    size_t fds = 0, threads = 0;
    for (int i = 0; i < 30; i++) {
        lk_loop *loop;
        counter c = {{NULL, count_run}, 0};
        if (i == 1) { /* libuv keeps a pipe of its own for the life of the process */
            fds = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
        }
        REQUIRE(lk_loop_new(&loop, &real, NULL) == LK_OK);
        lk_loop_post(loop, &c.task);
        lk_loop_free(loop);
        CHECK_EQ(c.runs, 1);
    }
    CHECK_EQ(entries("/proc/self/fd"), fds);
    CHECK(threads_settle(threads));
}

typedef struct work {
    lk_job job;
    int squared;
} work;
static void square(lk_job *j) { ((work *)j)->squared = (int)(j->tag * j->tag); }
static void squared(lk_job *j, lk_usec now)
{
    LK_UNUSED(j);
    LK_UNUSED(now);
    raise_gate();
}
typedef struct submit {
    lk_task task;
    lk_loop *loop;
    work items[100];
} submit;
static void do_submit(lk_task *t, lk_usec now)
{
    submit *s = (submit *)t;
    LK_UNUSED(now);
    for (size_t i = 0; i < LK_LEN(s->items); i++) {
        s->items[i].job = (lk_job){.run = square, .tag = i};
        CHECK_OK(lk_loop_submit(s->loop, &s->items[i].job, squared));
    }
}

LK_TEST(every_job_runs_and_comes_home)
{
    lk_env real = production();
    static submit s;
    s = (submit){{NULL, do_submit}, NULL, {{{{0}, 0, 0, 0, 0, 0}, 0}}};
    gate.value = 0;
    REQUIRE(lk_loop_new(&s.loop, &real, NULL) == LK_OK);
    lk_loop_post(s.loop, &s.task);
    CHECK(wait_gate(100));
    lk_loop_free(s.loop);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(s.items[i].squared, i * i);
}

typedef struct client {
    lk_task start, stop;
    lk_loop *loop;
    const char *host;
    uint16_t port;
    lk_tcp *tcp;
    bool opened, ended;
    lk_error why;
    char got[64];
    size_t got_len;
} client;
static void on_opened(void *ctx, lk_usec now)
{
    client *c = (client *)ctx;
    LK_UNUSED(now);
    c->opened = true;
    CHECK_OK(lk_tcp_write(c->tcp, (const uint8_t *)"ping", 4));
}
static void on_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    client *c = (client *)ctx;
    LK_UNUSED(now);
    memcpy(c->got + c->got_len, data, LK_MIN(len, sizeof c->got - c->got_len));
    c->got_len += len;
    raise_gate();
}
static void on_ended(void *ctx, lk_usec now, const lk_error *why)
{
    client *c = (client *)ctx;
    LK_UNUSED(now);
    c->ended = true;
    if (why)
        c->why = *why;
    raise_gate();
}
static void dial(lk_task *t, lk_usec now)
{
    client *c = LK_CONTAINER(t, client, start);
    LK_UNUSED(now);
    CHECK_OK(lk_tcp_dial(&c->tcp, c->loop, c->host, c->port, &(lk_tcp_callbacks){c, on_opened, on_data, on_ended}));
}
static void hang_up(lk_task *t, lk_usec now)
{
    client *c = LK_CONTAINER(t, client, stop);
    LK_UNUSED(now);
    lk_tcp_close(c->tcp);
}

static int listener(uint16_t *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 4) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    be_patient(fd);
    *port = ntohs(sa.sin_port);
    return fd;
}

LK_TEST(a_stream_is_dialled_by_name_and_carries_bytes_both_ways)
{
    lk_env real = production();
    client c = {.start = {NULL, dial}, .stop = {NULL, hang_up}, .host = "localhost"};
    int server = listener(&c.port);
    gate.value = 0;
    REQUIRE(lk_loop_new(&c.loop, &real, NULL) == LK_OK);
    lk_loop_post(c.loop, &c.start);
    int peer = accept(server, NULL, NULL);
    be_patient(peer);
    char buf[4];
    CHECK_EQ(recv(peer, buf, 4, MSG_WAITALL), 4);
    CHECK_EQ(send(peer, "pong", 4, 0), 4);
    CHECK(wait_gate(1));
    CHECK_MEM(c.got, c.got_len, "pong", 4);
    close(peer);
    CHECK(wait_gate(2));
    CHECK(c.ended);
    lk_loop_post(c.loop, &c.stop);
    lk_loop_free(c.loop);
    close(server);
}

LK_TEST(a_refused_port_is_named)
{
    lk_env real = production();
    client c = {.start = {NULL, dial}, .stop = {NULL, hang_up}, .host = "127.0.0.1"};
    close(listener(&c.port));
    gate.value = 0;
    REQUIRE(lk_loop_new(&c.loop, &real, NULL) == LK_OK);
    lk_loop_post(c.loop, &c.start);
    CHECK(wait_gate(1));
    CHECK(strstr(c.why.text, "127.0.0.1:") && strstr(c.why.text, "refused"));
    CHECK_EQ(c.why.code, LK_ERR_NETWORK);
    lk_loop_post(c.loop, &c.stop);
    lk_loop_free(c.loop);
}

/* A name server that takes questions and never answers; "address:port" of it. */
static int dead_resolver(char servers[40])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    char num[LK_STR_FMT_MAX];
    int hole = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(bind(hole, (struct sockaddr *)&sa, sizeof sa) == 0 && getsockname(hole, (struct sockaddr *)&sa, &len) == 0);
    be_patient(hole);
    memcpy(servers, "127.0.0.1:", 10);
    memcpy(servers + 10, lk_u64_text(ntohs(sa.sin_port), num), 6);
    return hole;
}

LK_TEST(closing_while_a_dead_resolver_is_asked_is_immediate)
{
    lk_env real = production();
    char servers[40];
    int hole = dead_resolver(servers);
    client c = {.start = {NULL, dial}, .stop = {NULL, hang_up}, .host = "nowhere.example", .port = 7};
    lk_loop_config config = {servers};
    REQUIRE(lk_loop_new(&c.loop, &real, &config) == LK_OK);
    lk_loop_post(c.loop, &c.start);
    char question[512];
    CHECK(recv(hole, question, sizeof question, 0) > 12);
    lk_loop_post(c.loop, &c.stop);
    lk_loop_free(c.loop);
    CHECK(!c.opened && !c.ended);
    close(hole);
}

typedef struct question {
    lk_task start;
    lk_loop *loop;
    lk_lookup *lookup;
    lk_addr answer;
    size_t count;
} question;
static void on_address(void *ctx, lk_usec now, const lk_addr *addrs, size_t count)
{
    question *q = (question *)ctx;
    LK_UNUSED(now);
    q->count = count;
    q->answer = count ? addrs[0] : (lk_addr){0};
    raise_gate();
}
static void ask(lk_task *t, lk_usec now)
{
    question *q = LK_CONTAINER(t, question, start);
    LK_UNUSED(now);
    CHECK_OK(lk_lookup_start(&q->lookup, q->loop, "192.0.2.7", 3478, on_address, q));
}

LK_TEST(no_name_server_is_asked_what_an_address_means)
{
    lk_env real = production();
    question q = {.start = {NULL, ask}};
    char servers[40], asked[512];
    int hole = dead_resolver(servers);
    lk_loop_config config = {servers};
    lk_addr want;
    CHECK(lk_addr_parse_ip(&want, lk_str_of("192.0.2.7")));
    want.port = 3478;
    gate.value = 0;
    REQUIRE(lk_loop_new(&q.loop, &real, &config) == LK_OK);
    lk_loop_post(q.loop, &q.start);
    CHECK(wait_gate(1));
    CHECK(q.count == 1 && lk_addr_eq(&q.answer, &want));
    CHECK_EQ(recv(hole, asked, sizeof asked, MSG_DONTWAIT), -1);
    lk_loop_free(q.loop);
    close(hole);
}

typedef struct echo {
    lk_task start, stop;
    lk_loop *loop;
    lk_udp *a, *b;
    lk_addr at_a, at_b;
    int received;
} echo;
static void on_b(void *ctx, lk_usec now, const lk_datagram *d)
{
    echo *e = (echo *)ctx;
    LK_UNUSED(now);
    lk_udp_send(e->b, &d->remote, d->data, d->len);
}
static void on_a(void *ctx, lk_usec now, const lk_datagram *d)
{
    echo *e = (echo *)ctx;
    LK_UNUSED(now);
    LK_UNUSED(d);
    if (++e->received == 100)
        raise_gate();
}
static void burst(lk_task *t, lk_usec now)
{
    echo *e = LK_CONTAINER(t, echo, start);
    lk_addr any = lk_addr_v4(127, 0, 0, 1, 0);
    uint8_t data[200] = {1};
    LK_UNUSED(now);
    CHECK_OK(lk_udp_open(&e->a, e->loop, &any, on_a, NULL, e, &e->at_a));
    CHECK_OK(lk_udp_open(&e->b, e->loop, &any, on_b, NULL, e, &e->at_b));
    for (int i = 0; i < 100; i++)
        lk_udp_send(e->a, &e->at_b, data, sizeof data);
}
static void close_both(lk_task *t, lk_usec now)
{
    echo *e = LK_CONTAINER(t, echo, stop);
    LK_UNUSED(now);
    lk_udp_close(e->a);
    lk_udp_close(e->b);
}

LK_TEST(datagrams_travel_in_batches_and_none_is_lost_on_loopback)
{
    lk_env real = production();
    echo e = {.start = {NULL, burst}, .stop = {NULL, close_both}};
    gate.value = 0;
    REQUIRE(lk_loop_new(&e.loop, &real, NULL) == LK_OK);
    lk_loop_post(e.loop, &e.start);
    CHECK(wait_gate(1));
    lk_loop_post(e.loop, &e.stop);
    lk_loop_free(e.loop);
    CHECK_EQ(e.received, 100);
}
