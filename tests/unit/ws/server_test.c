// SPDX-License-Identifier: Apache-2.0
/* The client's side is written by hand here: heads, bodies, masked frames. */
#include "lk_test.h"
#include "ws/server.h"

typedef struct visit {
    lk_ws_server *s;
    lk_text sent;  /* all bytes for the stream */
    lk_text story; /* "REQUEST GET /x?q;MESSAGE text;CLOSED 1000;" */
    bool closed, hold; /* hold: requests are left unanswered */
    lk_usec now;
} visit;

static void tell(visit *v, const lk_ws_server_event *e)
{
    const lk_ws_request *r = &e->request;
    CHECK(!v->closed);
    if (e->type == LK_WS_SERVER_EV_REQUEST) {
        const lk_str parts[] = {lk_str_of("REQUEST "), r->method, lk_str_of(" "), r->path, lk_str_of("?"), r->query, lk_str_of(" a="),
                                r->authorization, lk_str_of(" t="), r->content_type, lk_str_of(" b="),
                                {(const char *)r->body.data, r->body.len}, lk_str_of(r->upgrade ? " upgrade;" : ";")};
        for (size_t i = 0; i < LK_LEN(parts); i++)
            lk_text_str(&v->story, parts[i]);
        if (v->hold)
            return;
        if (r->upgrade)
            (void)!lk_ws_server_upgrade(v->s, v->now);
        else
            lk_ws_server_respond(v->s, v->now, 200, "text/plain", "OK", 2);
    } else if (e->type == LK_WS_SERVER_EV_MESSAGE) {
        lk_text_z(&v->story, e->binary ? "BINARY " : "TEXT ");
        lk_text_put(&v->story, (const char *)e->data.data, LK_MIN(e->data.len, 20));
        lk_text_z(&v->story, ";");
    } else {
        lk_text_z(&v->story, "CLOSED ");
        lk_text_i64(&v->story, e->code);
        v->closed = true;
    }
}

static void collect(visit *v)
{
    lk_bytes b;
    lk_ws_server_event e;
    for (bool more = true; more;) {
        more = false;
        while (lk_ws_server_poll_tx(v->s, &b))
            lk_text_put(&v->sent, (const char *)b.data, b.len);
        while (lk_ws_server_poll_event(v->s, &e)) {
            tell(v, &e);
            more = true;
        }
    }
}

static bool arrive(visit *v, lk_env *env)
{
    memset(v, 0, sizeof *v);
    lk_text_init(&v->sent, env, 32u << 20);
    lk_text_init(&v->story, env, 1u << 20);
    return CHECK_OK(lk_ws_server_new(&v->s, env, 0));
}

static void leave(visit *v)
{
    lk_ws_server_free(v->s);
    lk_text_deinit(&v->sent);
    lk_text_deinit(&v->story);
}

static void feed(visit *v, const void *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step) {
        lk_ws_server_input(v->s, v->now, (const uint8_t *)data + at, LK_MIN(step, len - at));
        collect(v);
    }
}

static void say(visit *v, const char *text) { feed(v, text, strlen(text), strlen(text)); }

static void frame(lk_text *out, uint8_t first, const char *text, bool masked)
{
    const char mask[4] = {1, 2, 3, 4};
    size_t n = strlen(text);
    lk_text_ch(out, (char)first);
    lk_text_ch(out, (char)((masked ? 0x80 : 0) | (int)n));
    if (masked)
        lk_text_put(out, mask, 4);
    for (size_t i = 0; i < n; i++)
        lk_text_ch(out, masked ? (char)(text[i] ^ mask[i % 4]) : text[i]);
}

#define UPGRADE                                                                                           \
    "GET /rtc?access_token=x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static void compose_talk(lk_text *t, lk_env *env)
{
    lk_text_init(t, env, 1 << 20);
    lk_text_z(t, "GET //x?q=1 HTTP/1.1\r\nHost: a\r\nAuthorization:  Bearer abc \r\n\r\n");
    lk_text_z(t, "\r\nPOST /y HTTP/1.1\r\ncontent-TYPE: application/json\r\nContent-Length: 5\r\n\r\nhello");
    lk_text_z(t, "POST /z HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    lk_text_z(t, "OPTIONS /y HTTP/1.1\r\nOrigin: b\r\n\r\n");
    lk_text_z(t, UPGRADE);
    frame(t, 0x82, "one", true);
    frame(t, 0x01, "tw", true);
    frame(t, 0x89, "ping", true);
    frame(t, 0x80, "o", true);
    frame(t, 0x88, "\x03\xe8", true);
}

LK_TEST(a_talk_reads_the_same_however_the_stream_is_cut)
{
    const size_t steps[] = {100000, 1, 2, 3, 7, 50};
    for (size_t i = 0; i < LK_LEN(steps); i++) {
        visit v;
        lk_text talk;
        compose_talk(&talk, env);
        if (!arrive(&v, env)) {
            lk_text_deinit(&talk);
            return;
        }
        feed(&v, lk_text_cstr(&talk), talk.len, steps[i]);
        CHECK_STR(lk_text_cstr(&v.story), "REQUEST GET /x?q=1 a=Bearer abc t= b=;REQUEST POST /y? a= t=application/json b=hello;"
                                          "REQUEST POST /z? a= t= b=abcde;REQUEST GET /rtc?access_token=x a= t= b= upgrade;"
                                          "BINARY one;TEXT two;CLOSED 1000");
        CHECK(v.sent.p && strstr(v.sent.p, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        CHECK(v.sent.p && strstr(v.sent.p, "204 No Content\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods"));
        /* The close is answered last; before it, unless it was there already, the ping. */
        CHECK(v.sent.len > 10 && memcmp(v.sent.p + v.sent.len - 4, "\x88\x02\x03\xe8", 4) == 0);
        CHECK(steps[i] > 50 || (v.sent.len > 10 && memcmp(v.sent.p + v.sent.len - 10, "\x8a\x04ping", 6) == 0));
        lk_text_deinit(&talk);
        leave(&v);
    }
}

LK_TEST(what_cannot_be_a_request_is_refused_and_the_stream_ended)
{
    static char long_target[70000], long_head[20000], wide_head[20000];
    memset(long_target, 'a', sizeof long_target - 1);
    memcpy(long_target, "GET /", 5);
    memset(long_head, 'a', sizeof long_head - 1);
    memcpy(long_head, "GET / HTTP/1.1\r\nX: ", 19);
    /* Many small headers: each costs its name, its value and four more. */
    memcpy(wide_head, "GET / HTTP/1.1\r\n", 16);
    for (size_t i = 16; i + 6 < sizeof wide_head; i += 6)
        memcpy(wide_head + i, "X: 1\r\n", 6);
    const struct {
        const char *text, *status;
    } rows[] = {{"nonsense\r\n\r\n", "HTTP/1.1 400 "},
                {"GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 400 "},
                {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "HTTP/1.1 400 "},
                {"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "HTTP/1.1 413 "},
                {"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
                {"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 "},
                {long_target, "HTTP/1.1 414 "},
                {long_head, "HTTP/1.1 431 "},
                {wide_head, "HTTP/1.1 431 "}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        for (size_t step = 100000; step; step = step == 1 ? 0 : 1) {
            visit v;
            if (!arrive(&v, env))
                return;
            feed(&v, rows[i].text, strlen(rows[i].text), step);
            CHECK(v.closed);
            CHECK_STR(lk_text_cstr(&v.story), "CLOSED 0");
            if (!CHECK(v.sent.p && strncmp(v.sent.p, rows[i].status, strlen(rows[i].status)) == 0))
                CHECK_STR(rows[i].text, rows[i].status);
            leave(&v);
        }
    }
}

LK_TEST(a_token_in_a_header_may_be_as_long_as_one_in_the_target)
{
    static char head[70000];
    const struct {
        size_t len;
        const char *status;
    } rows[] = {{60000, "HTTP/1.1 200 "}, {66000, "HTTP/1.1 431 "}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        visit v;
        memset(head, 't', sizeof head);
        memcpy(head, "GET / HTTP/1.1\r\nAuthorization: ", 31);
        memcpy(head + 31 + rows[i].len, "\r\n\r\n", 5);
        if (arrive(&v, env)) {
            v.hold = true;
            say(&v, head);
            lk_ws_server_respond(v.s, 0, 200, NULL, NULL, 0);
            collect(&v);
            CHECK(v.sent.p && strncmp(v.sent.p, rows[i].status, strlen(rows[i].status)) == 0);
        }
        leave(&v);
    }
}

LK_TEST(a_slow_head_and_a_slow_body_are_not_waited_for)
{
    visit v;
    if (arrive(&v, env)) {
        CHECK_EQ(lk_ws_server_deadline(v.s), LK_SEC(10));
        v.now = LK_SEC(5);
        say(&v, "POST / HTTP/1.1\r\nContent-");
        CHECK(lk_ws_server_is_idle(v.s)); /* whoever asks for nothing makes room first */
        v.now = LK_SEC(14);
        say(&v, "Length: 5\r\n\r\nhel");
        CHECK_EQ(lk_ws_server_deadline(v.s), LK_SEC(44));
        lk_ws_server_tick(v.s, LK_SEC(44));
        collect(&v);
        CHECK_STR(lk_text_cstr(&v.story), "CLOSED 0");
        CHECK(v.sent.p && strncmp(v.sent.p, "HTTP/1.1 408 ", 13) == 0);
    }
    leave(&v);
}

LK_TEST(a_connection_that_says_nothing_is_ended)
{
    visit v;
    if (arrive(&v, env)) {
        lk_ws_server_tick(v.s, LK_SEC(10));
        collect(&v);
        CHECK_STR(lk_text_cstr(&v.story), "CLOSED 0");
    }
    leave(&v);
    if (arrive(&v, env)) {
        say(&v, "GET / HTTP/1.1\r\n\r\n");
        CHECK(lk_ws_server_is_idle(v.s));
        CHECK_EQ(lk_ws_server_deadline(v.s), LK_SEC(75));
    }
    leave(&v);
}

LK_TEST(a_request_waits_for_its_answer_and_the_next_one_with_it)
{
    visit v;
    if (arrive(&v, env)) {
        v.hold = true;
        say(&v, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
        CHECK_STR(lk_text_cstr(&v.story), "REQUEST GET /1? a= t= b=;");
        CHECK_EQ(v.sent.len, 0);
        CHECK_EQ(lk_ws_server_deadline(v.s), LK_NEVER);
        v.hold = false;
        lk_ws_server_respond(v.s, 0, 404, "text/plain", "no", 2);
        collect(&v);
        CHECK_STR(lk_text_cstr(&v.story), "REQUEST GET /1? a= t= b=;REQUEST GET /2? a= t= b=;CLOSED 0"); /* 1.0 does not keep alive */
        CHECK(v.sent.p && strstr(v.sent.p, "HTTP/1.1 404 Not Found\r\n") && strstr(v.sent.p, "Content-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\n"));
        lk_ws_server_respond(v.s, 0, 200, NULL, NULL, 0); /* nothing waits: no effect */
    }
    leave(&v);
}

LK_TEST(an_answer_brings_headers_of_its_own_and_304_neither_body_nor_length)
{
    visit v;
    lk_ws_server_event e;
    if (arrive(&v, env)) {
        v.hold = true;
        say(&v, "GET /app HTTP/1.1\r\nAccept:  text/html\r\nIf-None-Match: \"x\"\r\n\r\n");
        lk_ws_server_answer(v.s, 0, &(lk_ws_answer){.status = 304, .headers = "ETag: \"x\"\r\n"});
        lk_ws_server_input(v.s, 0, (const uint8_t *)"HEAD /app HTTP/1.1\r\naccept: a/b\r\n\r\n", 35);
        CHECK(lk_ws_server_poll_event(v.s, &e) && lk_str_eq(e.request.accept, "a/b") && e.request.if_none_match.len == 0);
        lk_ws_server_answer(v.s, 0, &(lk_ws_answer){.status = 200, .content_type = "t", .headers = "A: 1\r\nB: 2\r\n", .body = {(const uint8_t *)"body", 4}});
        collect(&v);
        CHECK_STR(lk_text_cstr(&v.sent), "HTTP/1.1 304 Not Modified\r\nAccess-Control-Allow-Origin: *\r\nETag: \"x\"\r\n\r\n"
                                         "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: t\r\nA: 1\r\nB: 2\r\nContent-Length: 4\r\n\r\n");
    }
    leave(&v);
}

LK_TEST(frames_of_a_client_must_be_masked)
{
    visit v;
    lk_text t;
    lk_text_init(&t, env, 1000);
    frame(&t, 0x82, "bare", false);
    if (arrive(&v, env)) {
        say(&v, UPGRADE);
        feed(&v, lk_text_cstr(&t), t.len, 100);
        CHECK_STR(lk_text_cstr(&v.story), "REQUEST GET /rtc?access_token=x a= t= b= upgrade;CLOSED 1006");
        CHECK(v.sent.len > 4 && memcmp(v.sent.p + v.sent.len - 4, "\x88\x02\x03\xea", 4) == 0); /* 1002 */
    }
    lk_text_deinit(&t);
    leave(&v);
}

LK_TEST(a_message_over_two_megabytes_ends_the_connection)
{
    const uint8_t head[] = {0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 1, 0, 0, 0, 0, 'x'};
    visit v;
    if (arrive(&v, env)) {
        say(&v, UPGRADE);
        feed(&v, head, sizeof head, sizeof head);
        CHECK(v.closed);
        CHECK(v.sent.len > 4 && memcmp(v.sent.p + v.sent.len - 4, "\x88\x02\x03\xf1", 4) == 0); /* 1009 */
    }
    leave(&v);
}

LK_TEST(a_message_in_too_many_pieces_ends_the_connection)
{
    visit v;
    lk_text t;
    lk_text_init(&t, env, 100000);
    frame(&t, 0x02, "x", true);
    for (int i = 0; i < 1024; i++)
        frame(&t, 0x00, "x", true);
    if (arrive(&v, env)) {
        say(&v, UPGRADE);
        feed(&v, lk_text_cstr(&t), t.len, 1000);
        CHECK_STR(lk_text_cstr(&v.story), "REQUEST GET /rtc?access_token=x a= t= b= upgrade;CLOSED 1006");
    }
    lk_text_deinit(&t);
    leave(&v);
}

LK_TEST(a_websocket_is_pinged_every_ten_seconds_and_ended_when_silent)
{
    visit v;
    if (arrive(&v, env)) {
        say(&v, UPGRADE);
        size_t before = v.sent.len;
        for (lk_usec now = LK_SEC(10); now <= LK_SEC(30); now += LK_SEC(10)) {
            CHECK_EQ(lk_ws_server_deadline(v.s), now);
            lk_ws_server_tick(v.s, now);
            collect(&v);
        }
        CHECK(v.sent.len == before + 6 && memcmp(v.sent.p + before, "\x89\0\x89\0\x89\0", 6) == 0);
        CHECK(!v.closed);
        lk_ws_server_tick(v.s, LK_SEC(40));
        collect(&v);
        CHECK(v.closed);
    }
    leave(&v);
}

LK_TEST(closing_says_why_and_does_not_wait_for_ever)
{
    visit v;
    if (arrive(&v, env)) {
        say(&v, UPGRADE);
        CHECK_OK(lk_ws_server_send(v.s, true, "bye", 3));
        lk_ws_server_close(v.s, 0, 1000);
        collect(&v);
        CHECK(v.sent.len > 9 && memcmp(v.sent.p + v.sent.len - 9, "\x82\x03" "bye\x88\x02\x03\xe8", 9) == 0);
        CHECK_EQ(lk_ws_server_send(v.s, true, "x", 1), LK_ERR_STATE);
        CHECK(!v.closed);
        CHECK_EQ(lk_ws_server_deadline(v.s), LK_SEC(3));
        lk_ws_server_tick(v.s, LK_SEC(3));
        collect(&v);
        CHECK(v.closed);
    }
    leave(&v);
}

LK_TEST(an_upgrade_that_is_refused_ends_the_stream)
{
    visit v;
    if (arrive(&v, env)) {
        v.hold = true;
        say(&v, UPGRADE);
        lk_ws_server_respond(v.s, 0, 401, "text/plain", "no", 2);
        collect(&v);
        CHECK(v.closed);
        CHECK(v.sent.p && strstr(v.sent.p, "HTTP/1.1 401 Unauthorized\r\n") && strstr(v.sent.p, "Connection: close\r\n"));
    }
    leave(&v);
}
