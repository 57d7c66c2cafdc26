// SPDX-License-Identifier: Apache-2.0
/* The other end is a plain blocking socket of the test's own thread; the loop runs on its own. */
#include <unistd.h>

#include "io/loop_internal.h"
#include "patience.h"

#define ANSWER_BYTES ((size_t)3 << 20)

typedef struct stage {
    lk_env env;
    lk_loop *loop;
    lk_listener *listener;
    lk_stream *stream;
    lk_addr at;
    lk_err err, second_err;
    void (*run)(struct stage *s);
    pthread_mutex_t lock;
    pthread_cond_t changed;
    lk_task task;
    bool done, ended;
    uint8_t *answer;
} stage;

static void signal_done(stage *s)
{
    pthread_mutex_lock(&s->lock);
    s->done = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void run_task(lk_task *task, lk_usec now)
{
    stage *s = LK_CONTAINER(task, stage, task);
    LK_UNUSED(now);
    s->run(s);
    signal_done(s);
}

static void on_loop(stage *s, void (*run)(stage *))
{
    s->run = run;
    s->done = false;
    s->task.run = run_task;
    lk_loop_post(s->loop, &s->task);
    pthread_mutex_lock(&s->lock);
    WAIT_OR_ABORT(&s->done, &s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static bool open_stage(stage *s)
{
    memset(s, 0, sizeof *s);
    lk_env_production(&s->env, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return CHECK_OK(lk_loop_new(&s->loop, &s->env, NULL));
}

static void drop_all(stage *s)
{
    lk_stream_close(s->stream);
    lk_listener_close(s->listener);
}

static void close_stage(stage *s)
{
    on_loop(s, drop_all);
    lk_loop_free(s->loop);
    free(s->answer);
}

static int dial(const lk_addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len = lk_io_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    be_patient(fd);
    CHECK(connect(fd, (struct sockaddr *)&sa, len) == 0);
    return fd;
}

/* Answers the first bytes with ANSWER_BYTES and closes: all of it has to arrive. */
static void on_data(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    stage *s = (stage *)ctx;
    LK_UNUSED(now);
    CHECK_MEM(data, len, "hello", 5);
    CHECK_OK(lk_stream_write(s->stream, s->answer, ANSWER_BYTES));
    lk_stream_close(s->stream);
    s->stream = NULL;
}

static void on_ended(void *ctx, lk_usec now)
{
    stage *s = (stage *)ctx;
    LK_UNUSED(now);
    s->ended = true;
    lk_stream_close(s->stream);
    s->stream = NULL;
    signal_done(s);
}

static void on_accepted(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote)
{
    stage *s = (stage *)ctx;
    LK_UNUSED(now);
    CHECK(lk_addr_eq(local, &s->at));
    CHECK(lk_addr_is_loopback(remote) && remote->port != 0);
    s->stream = stream;
    lk_stream_start(stream, &(lk_stream_callbacks){s, on_data, on_ended});
}

static void listen_v4(stage *s)
{
    lk_addr any = lk_addr_v4(127, 0, 0, 1, 0), again;
    lk_listener *second = NULL;
    s->err = lk_listener_open(&s->listener, s->loop, &any, on_accepted, s, &s->at);
    s->second_err = lk_listener_open(&second, s->loop, &s->at, on_accepted, s, &again);
}

static void listen_v6(stage *s)
{
    lk_addr any = {.family = 6};
    any.ip[15] = 1;
    s->err = lk_listener_open(&s->listener, s->loop, &any, on_accepted, s, &s->at);
}

static void exchange(stage *s)
{
    size_t got = 0;
    uint8_t buf[65536];
    int fd = dial(&s->at);
    CHECK_EQ(send(fd, "hello", 5, 0), 5);
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, 0)) > 0; got += (size_t)n)
        if (!CHECK(got + (size_t)n <= ANSWER_BYTES && memcmp(buf, s->answer + got, (size_t)n) == 0))
            break;
    CHECK_EQ(got, ANSWER_BYTES);
    close(fd);
}

LK_TEST(what_was_written_arrives_although_the_stream_was_closed_at_once)
{
    stage s;
    void (*const ways[])(stage *) = {listen_v4, listen_v6};
    for (size_t i = 0; i < LK_LEN(ways); i++) {
        if (!open_stage(&s))
            return;
        s.answer = (uint8_t *)malloc(ANSWER_BYTES);
        for (size_t k = 0; k < ANSWER_BYTES; k++)
            s.answer[k] = (uint8_t)(k * 31 >> 3);
        on_loop(&s, ways[i]);
        if (CHECK_OK(s.err))
            exchange(&s);
        close_stage(&s);
    }
}

LK_TEST(a_port_that_is_taken_is_told)
{
    stage s;
    if (!open_stage(&s))
        return;
    on_loop(&s, listen_v4);
    CHECK_OK(s.err);
    CHECK_EQ(s.second_err, LK_ERR_STATE);
    close_stage(&s);
}

static void write_without_end(void *ctx, lk_usec now, const uint8_t *data, size_t len)
{
    stage *s = (stage *)ctx;
    LK_UNUSED(now);
    LK_UNUSED(data);
    LK_UNUSED(len);
    lk_err err = LK_OK;
    for (int i = 0; i < 10 && err == LK_OK; i++)
        err = lk_stream_write(s->stream, s->answer, ANSWER_BYTES);
    s->err = err;
    signal_done(s);
}

static void accept_deaf(void *ctx, lk_usec now, lk_stream *stream, const lk_addr *local, const lk_addr *remote)
{
    stage *s = (stage *)ctx;
    LK_UNUSED(now);
    LK_UNUSED(local);
    LK_UNUSED(remote);
    s->stream = stream;
    lk_stream_start(stream, &(lk_stream_callbacks){s, write_without_end, on_ended});
}

static void listen_deaf(stage *s)
{
    lk_addr any = lk_addr_v4(127, 0, 0, 1, 0);
    s->err = lk_listener_open(&s->listener, s->loop, &any, accept_deaf, s, &s->at);
}

static void wait_done(stage *s)
{
    pthread_mutex_lock(&s->lock);
    CHECK(wait_until(&s->done, &s->changed, &s->lock));
    s->done = false;
    pthread_mutex_unlock(&s->lock);
}

LK_TEST(who_does_not_read_is_bounded_and_who_leaves_is_noticed)
{
    stage s;
    if (!open_stage(&s))
        return;
    s.answer = (uint8_t *)calloc(1, ANSWER_BYTES);
    on_loop(&s, listen_deaf);
    if (CHECK_OK(s.err)) {
        s.done = false;
        int fd = dial(&s.at);
        CHECK_EQ(send(fd, "x", 1, 0), 1);
        wait_done(&s);
        CHECK_EQ(s.err, LK_ERR_FULL);
        close(fd);
        wait_done(&s);
        CHECK(s.ended);
    }
    close_stage(&s);
}

LK_TEST(a_loop_ends_although_a_peer_does_not_read)
{
    stage s;
    if (!open_stage(&s))
        return;
    s.answer = (uint8_t *)calloc(1, ANSWER_BYTES);
    on_loop(&s, listen_deaf);
    int fd = dial(&s.at);
    s.done = false;
    CHECK_EQ(send(fd, "x", 1, 0), 1);
    wait_done(&s);
    close_stage(&s); /* returns */
    close(fd);
}

LK_TEST(packets_in_a_stream_come_out_however_it_is_cut)
{
    const uint8_t stream[] = {0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd', 8, 1, 'x'};
    for (size_t step = 1; step <= sizeof stream; step++) {
        lk_frame_reader r = {.have = 0};
        char story[64] = "";
        lk_err err = LK_ERR_AGAIN;
        for (size_t at = 0; at < sizeof stream && err != LK_ERR_WIRE; at += step) {
            lk_bytes in = {stream + at, LK_MIN(step, sizeof stream - at)}, packet;
            while ((err = lk_frame_read(&r, &in, &packet)) == LK_OK) {
                strncat(story, (const char *)packet.data, packet.len);
                strncat(story, ";", 1);
            }
        }
        CHECK_EQ(err, LK_ERR_WIRE); /* 2049 bytes */
        CHECK_STR(story, "abc;;d;");
    }
}

/* ---- datagrams in batches ------------------------------------------------------------------------------- */

typedef struct shower {
    stage s; /* first: on_loop hands it over */
    lk_udp *from;
    lk_datagram d[150];
    uint8_t data[150][1200];
} shower;

static void ignore(void *ctx, lk_usec now, const lk_datagram *d)
{
    LK_UNUSED(ctx);
    LK_UNUSED(now);
    LK_UNUSED(d);
}

static void send_shower(stage *s)
{
    shower *w = (shower *)(void *)s;
    lk_addr any = lk_addr_v4(127, 0, 0, 1, 0), at;
    s->err = lk_udp_open(&w->from, s->loop, &any, ignore, NULL, NULL, &at);
    if (s->err != LK_OK)
        return;
    lk_udp_send_batch(w->from, w->d, LK_LEN(w->d));
    lk_udp_close(w->from);
}

LK_TEST(a_batch_arrives_in_order_and_size_wherever_it_goes)
{
    static shower w;
    int fd[2];
    if (!open_stage(&w.s))
        return;
    lk_addr to[2];
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_storage sa;
        lk_addr any = lk_addr_v4(127, 0, 0, 1, 0);
        socklen_t len = lk_io_to_sockaddr(&any, &sa);
        fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK(bind(fd[i], (struct sockaddr *)&sa, len) == 0 && getsockname(fd[i], (struct sockaddr *)&sa, &len) == 0);
        be_patient(fd[i]);
        lk_io_from_sockaddr(&to[i], (struct sockaddr *)&sa);
    }
    /* Runs of equal size with a short one at the end, alone ones, growing ones, and a change of destination within a run. */
    for (size_t i = 0; i < LK_LEN(w.d); i++) {
        memset(w.data[i], (int)i, sizeof w.data[i]);
        size_t len = i % 10 == 9 ? 77 : i < 60 ? 1200 : i < 100 ? 100 + i : 160;
        w.d[i] = (lk_datagram){.remote = to[i / 25 % 2], .data = w.data[i], .len = len};
    }
    on_loop(&w.s, send_shower);
    CHECK_OK(w.s.err);
    for (size_t i = 0; i < LK_LEN(w.d); i++) {
        uint8_t buf[2000];
        ssize_t n = recv(fd[i / 25 % 2], buf, sizeof buf, 0);
        if (!CHECK_MEM(buf, n < 0 ? 0 : (size_t)n, w.d[i].data, w.d[i].len))
            break;
    }
    close(fd[0]);
    close(fd[1]);
    w.s.listener = NULL;
    close_stage(&w.s);
}
