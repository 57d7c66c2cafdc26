// SPDX-License-Identifier: Apache-2.0
/* The server side is written by hand here: heads, frames, TLS, a proxy. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "lk_test.h"
#include "ws/ws.h"

#define SEEN_MAX 64

typedef struct talk {
    lk_ws *w;
    lk_text sent; /* all bytes for the stream so far */
    lk_ws_event_type seen[SEEN_MAX];
    size_t count, messages;
    lk_text last_data; /* of the last MESSAGE or RESPONSE */
    lk_ws_event end;
    int code; /* of RESPONSE */
    bool binary;
} talk;

static void collect(talk *t)
{
    lk_bytes b;
    lk_ws_event e;
    while (lk_ws_poll_tx(t->w, &b))
        lk_text_put(&t->sent, (const char *)b.data, b.len);
    while (lk_ws_poll_event(t->w, &e)) {
        if (t->count < SEEN_MAX)
            t->seen[t->count] = e.type;
        t->count++;
        t->messages += e.type == LK_WS_EV_MESSAGE;
        if (e.type == LK_WS_EV_MESSAGE || e.type == LK_WS_EV_RESPONSE) {
            lk_text_clear(&t->last_data);
            lk_text_put(&t->last_data, (const char *)e.data.data, e.data.len);
            t->binary = e.binary;
            t->code = e.type == LK_WS_EV_RESPONSE ? e.code : t->code;
        } else if (e.type != LK_WS_EV_OPEN) {
            CHECK(t->end.type == LK_WS_EV_OPEN); /* one end, and nothing after it */
            t->end = e;
        }
    }
}

static bool open_talk(talk *t, lk_env *env, const char *url, const lk_ws_config *more)
{
    lk_url u;
    lk_ws_config c = *more;
    memset(t, 0, sizeof *t);
    lk_text_init(&t->sent, env, 32u << 20);
    lk_text_init(&t->last_data, env, 32u << 20);
    if (!CHECK_OK(lk_url_parse(&u, lk_str_of(url), NULL)))
        return false;
    c.url = &u;
    c.target = c.target ? c.target : "/rtc";
    if (!CHECK_OK(lk_ws_new(&t->w, env, &c)))
        return false;
    lk_ws_start(t->w);
    collect(t);
    return true;
}

static void close_talk(talk *t)
{
    lk_ws_free(t->w);
    lk_text_deinit(&t->sent);
    lk_text_deinit(&t->last_data);
}

static void feed(talk *t, const void *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step) {
        lk_ws_input(t->w, (const uint8_t *)data + at, LK_MIN(step, len - at));
        collect(t);
    }
}
static void feed_z(talk *t, const char *z) { feed(t, z, strlen(z), strlen(z)); }

/* The answer that accepts the upgrade whose request has been sent. */
static bool accept_head(const talk *t, lk_env *env, lk_text *out)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *key = t->sent.p ? strstr(t->sent.p, "Sec-WebSocket-Key: ") : NULL;
    uint8_t digest[LK_SHA1_LEN];
    char joined[24 + sizeof guid];
    lk_text_init(out, env, 4096);
    if (!CHECK(key != NULL))
        return false;
    memcpy(joined, key + 19, 24);
    memcpy(joined + 24, guid, sizeof guid);
    CHECK_OK(lk_sha1(joined, sizeof joined - 1, digest));
    lk_text_z(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    lk_base64_put(out, LK_BASE64_STD, digest, sizeof digest);
    lk_text_z(out, "\r\n\r\n");
    return CHECK(!out->bad);
}

static bool open_websocket(talk *t, lk_env *env)
{
    lk_text head;
    bool ok = open_talk(t, env, "ws://example.com:7880", &(lk_ws_config){.upgrade = true}) && accept_head(t, env, &head);
    if (ok) {
        feed(t, head.p, head.len, head.len);
        lk_text_clear(&t->sent);
        ok = CHECK(t->count == 1 && t->seen[0] == LK_WS_EV_OPEN);
    }
    if (t->w)
        lk_text_deinit(&head);
    return ok;
}

/* A frame of a server: not masked. */
static size_t put_frame(uint8_t *out, uint8_t first, const void *data, size_t len)
{
    size_t n = 0;
    out[n++] = first;
    if (len < 126) {
        out[n++] = (uint8_t)len;
    } else if (len < 65536) {
        out[n++] = 126;
        lk_put_u16(out + n, (uint16_t)len);
        n += 2;
    } else {
        out[n++] = 127;
        lk_put_u32(out + n, 0);
        lk_put_u32(out + n + 4, (uint32_t)len);
        n += 8;
    }
    if (len)
        memcpy(out + n, data, len);
    return n + len;
}

/* Takes one masked frame off what was sent; false when there is none. */
static bool take_frame(talk *t, uint8_t *first, uint8_t *payload, size_t cap, size_t *len)
{
    const uint8_t *p = (const uint8_t *)t->sent.p;
    size_t head = 2;
    if (t->sent.len < 6 || !CHECK(p[1] & 0x80))
        return false;
    *len = p[1] & 0x7f;
    if (*len == 126) {
        *len = lk_get_u16(p + 2);
        head = 4;
    }
    if (!CHECK(*len <= cap && t->sent.len >= head + 4 + *len))
        return false;
    *first = p[0];
    for (size_t i = 0; i < *len; i++)
        payload[i] = p[head + 4 + i] ^ p[head + i % 4];
    size_t all = head + 4 + *len;
    memmove(t->sent.p, t->sent.p + all, t->sent.len - all);
    t->sent.len -= all;
    return true;
}

/* ---- requests ------------------------------------------------------------------------------------------ */

LK_TEST(a_join_of_2_8_and_40_kb_leaves_whole_and_64_kib_is_the_limit)
{
    static const size_t sizes[] = {10, 2000, 8000, 40000, LK_WS_TARGET_MAX, LK_WS_TARGET_MAX + 1};
    for (size_t i = 0; i < LK_LEN(sizes); i++) {
        char *target = malloc(sizes[i] + 1);
        REQUIRE(target);
        memset(target, 'j', sizes[i]);
        target[0] = '/';
        target[sizes[i]] = 0;
        lk_url u;
        talk t;
        if (sizes[i] > LK_WS_TARGET_MAX) {
            lk_ws *w = NULL;
            CHECK_OK(lk_url_parse(&u, lk_str_of("ws://h"), NULL));
            CHECK_EQ(lk_ws_new(&w, env, &(lk_ws_config){.url = &u, .target = target, .upgrade = true}), LK_ERR_INVALID);
        } else {
            if (open_talk(&t, env, "ws://example.com:7880", &(lk_ws_config){.target = target, .upgrade = true}) && CHECK(!t.sent.bad) &&
                CHECK(t.sent.len > sizes[i] + 4)) {
                CHECK(memcmp(t.sent.p, "GET ", 4) == 0 && memcmp(t.sent.p + 4, target, sizes[i]) == 0);
                CHECK(strncmp(t.sent.p + 4 + sizes[i], " HTTP/1.1\r\nHost: example.com:7880\r\n", 35) == 0);
                CHECK(strcmp(t.sent.p + t.sent.len - 4, "\r\n\r\n") == 0);
            }
            close_talk(&t);
        }
        free(target);
    }
}

LK_TEST(nothing_given_can_start_a_header_of_its_own)
{
    static const char *const targets[] = {"rtc", "", "/a b", "/a\r\nX: y", "/a\nb", "/\x7f", "/\x01"};
    static const lk_ws_header headers[] = {{"X", "a\r\nY: b"}, {"X\r\n", "b"}, {"X", "\t"}};
    lk_url u;
    lk_ws *w = NULL;
    CHECK_OK(lk_url_parse(&u, lk_str_of("ws://h"), NULL));
    for (size_t i = 0; i < LK_LEN(targets); i++) {
        lk_err err = lk_ws_new(&w, env, &(lk_ws_config){.url = &u, .target = targets[i]});
        CHECK_EQ(err, LK_ERR_INVALID);
    }
    for (size_t i = 0; i < LK_LEN(headers); i++) {
        lk_err err = lk_ws_new(&w, env, &(lk_ws_config){.url = &u, .target = "/", .headers = &headers[i], .header_count = 1});
        CHECK_EQ(err, LK_ERR_INVALID);
    }
    CHECK_EQ(lk_ws_new(&w, env, &(lk_ws_config){.url = &(lk_url){.tls = true, .host = "h", .port = 443}, .target = "/"}), LK_ERR_INVALID);
}

LK_TEST(headers_and_authority_are_as_http_wants_them)
{
    static const struct {
        const char *url, *host;
    } rows[] = {{"ws://h", "Host: h\r\n"}, {"ws://h:80", "Host: h\r\n"}, {"ws://h:81", "Host: h:81\r\n"}, {"ws://[::1]:7880", "Host: [::1]:7880\r\n"},
                {"ws://1.2.3.4", "Host: 1.2.3.4\r\n"}};
    static const lk_ws_header headers[] = {{"Authorization", "Bearer x"}, {"X-Two", ""}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        talk t;
        if (open_talk(&t, env, rows[i].url, &(lk_ws_config){.headers = headers, .header_count = 2}) && CHECK(!t.sent.bad && t.sent.p)) {
            CHECK(strstr(t.sent.p, rows[i].host) != NULL);
            CHECK(strstr(t.sent.p, "\r\nAuthorization: Bearer x\r\n") != NULL && strstr(t.sent.p, "\r\nX-Two: \r\n") != NULL);
            CHECK(strstr(t.sent.p, "Connection: close") != NULL && !strstr(t.sent.p, "Upgrade"));
        }
        close_talk(&t);
    }
}

/* ---- answers ------------------------------------------------------------------------------------------- */

LK_TEST(an_answer_that_is_no_upgrade_is_given_with_status_and_body)
{
    static const struct {
        const char *answer, *body;
        int code;
        bool ends; /* with the stream */
    } rows[] = {
        {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 13\r\n\r\ninvalid token", "invalid token", 401, false},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "", 404, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n", "abcdefg", 200, false},
        {"HTTP/1.0 503 No\r\n\r\ngone for now", "gone for now", 503, true},
        {"HTTP/1.1 204 None\r\n\r\n", "", 204, false},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++)
        for (size_t step = 1; step < 200; step = step == 1 ? 7 : 200) {
            talk t;
            if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true})) {
                feed(&t, rows[i].answer, strlen(rows[i].answer), step);
                if (rows[i].ends) {
                    CHECK_EQ(t.count, 0);
                    lk_ws_input_end(t.w, NULL);
                    collect(&t);
                }
                CHECK(t.count == 2 && t.seen[0] == LK_WS_EV_RESPONSE && t.end.type == LK_WS_EV_CLOSED);
                CHECK_EQ(t.code, rows[i].code);
                CHECK_STR(lk_text_cstr(&t.last_data), rows[i].body);
            }
            close_talk(&t);
        }
}

LK_TEST(garbage_and_false_servers_fail_once_with_a_reason)
{
    static const struct {
        const char *answer;
        lk_err code;
    } rows[] = {
        {"\x16\x03\x01 what", LK_ERR_PROTOCOL},
        {"SSH-2.0-OpenSSH_9\r\n", LK_ERR_PROTOCOL},
        {"HTTP/1.1 abc\r\n\r\n", LK_ERR_PROTOCOL},
        {"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", LK_ERR_PROTOCOL},
        {"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", LK_ERR_PROTOCOL},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        talk t;
        if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true})) {
            feed_z(&t, rows[i].answer);
            feed_z(&t, "more that nobody reads");
            lk_ws_input_end(t.w, NULL);
            collect(&t);
            CHECK(t.count == 1 && t.end.type == LK_WS_EV_FAILED);
            CHECK_EQ(t.end.error.code, rows[i].code);
            CHECK(strstr(t.end.error.text, "h:80") != NULL);
            CHECK_EQ(lk_ws_send(t.w, true, "x", 1), LK_ERR_STATE);
        }
        close_talk(&t);
    }
}

LK_TEST(a_head_or_body_without_end_is_bounded)
{
    for (int body = 0; body < 2; body++) {
        talk t;
        if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true})) {
            char junk[1000];
            memset(junk, 'a', sizeof junk);
            feed_z(&t, body ? "HTTP/1.1 200 OK\r\n\r\n" : "HTTP/1.1 200 OK\r\nX: ");
            for (int i = 0; i < 300 && t.count == 0; i++)
                feed(&t, junk, sizeof junk, sizeof junk);
            CHECK(t.count == 1 && t.end.type == LK_WS_EV_FAILED);
        }
        close_talk(&t);
    }
}

LK_TEST(a_stream_that_ends_early_is_told_with_the_reason_it_had)
{
    talk t;
    if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true})) {
        lk_ws_input_end(t.w, NULL);
        lk_ws_input_end(t.w, NULL);
        collect(&t);
        CHECK(t.count == 1 && t.end.type == LK_WS_EV_FAILED && t.end.error.code == LK_ERR_NETWORK);
    }
    close_talk(&t);
    if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true})) {
        lk_error why;
        lk_error_set(&why, LK_ERR_RESOLVE, "no such name", (const char *)NULL);
        lk_ws_input_end(t.w, &why);
        collect(&t);
        CHECK(t.count == 1 && t.end.error.code == LK_ERR_RESOLVE);
        CHECK_STR(t.end.error.text, "no such name");
    }
    close_talk(&t);
}

/* ---- frames -------------------------------------------------------------------------------------------- */

LK_TEST(messages_whole_or_in_fragments_arrive_wherever_the_stream_is_cut)
{
    uint8_t wire[1200], big[700];
    size_t n = 0;
    memset(big, 'b', sizeof big);
    n += put_frame(wire + n, 0x82, "whole", 5);
    n += put_frame(wire + n, 0x02, "one ", 4);
    n += put_frame(wire + n, 0x89, "ping", 4); /* control frames may stand between fragments */
    n += put_frame(wire + n, 0x00, "two ", 4);
    n += put_frame(wire + n, 0x80, "three", 5);
    n += put_frame(wire + n, 0x81, "text", 4);
    n += put_frame(wire + n, 0x82, NULL, 0);
    n += put_frame(wire + n, 0x82, big, sizeof big);
    for (size_t cut = 1; cut <= n; cut++) {
        talk t;
        if (open_websocket(&t, env)) {
            uint8_t pong[16], first;
            size_t len;
            lk_ws_input(t.w, wire, cut);
            collect(&t);
            lk_ws_input(t.w, wire + cut, n - cut);
            collect(&t);
            CHECK_EQ(t.messages, 5);
            CHECK(t.end.type == LK_WS_EV_OPEN && t.binary);
            CHECK_MEM(t.last_data.p, t.last_data.len, big, sizeof big);
            CHECK(take_frame(&t, &first, pong, sizeof pong, &len) && first == 0x8a);
            CHECK_MEM(pong, len, "ping", 4);
        }
        close_talk(&t);
        if (lk_test_oom())
            return; /* one cut tells all there is about memory */
    }
}

LK_TEST(every_byte_alone_gives_the_same_messages)
{
    talk t;
    lk_text head;
    uint8_t frame[40];
    if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true}) && accept_head(&t, env, &head)) {
        size_t n = put_frame(frame, 0x01, "frag", 4);
        n += put_frame(frame + n, 0x80, "mented", 6);
        feed(&t, head.p, head.len, 1);
        feed(&t, frame, n, 1);
        CHECK(t.count == 2 && t.seen[0] == LK_WS_EV_OPEN && t.seen[1] == LK_WS_EV_MESSAGE && !t.binary);
        CHECK_STR(lk_text_cstr(&t.last_data), "fragmented");
    }
    if (t.w)
        lk_text_deinit(&head);
    close_talk(&t);
}

LK_TEST(the_first_message_may_come_with_the_head)
{
    talk t;
    lk_text head;
    if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true}) && accept_head(&t, env, &head)) {
        uint8_t frame[16];
        size_t n = put_frame(frame, 0x82, "early", 5);
        lk_text_put(&head, (const char *)frame, n);
        feed(&t, head.p, head.len, head.len);
        CHECK(t.count == 2 && t.seen[1] == LK_WS_EV_MESSAGE);
        CHECK_STR(lk_text_cstr(&t.last_data), "early");
    }
    if (t.w)
        lk_text_deinit(&head);
    close_talk(&t);
}

LK_TEST(what_is_sent_is_masked_and_whole)
{
    talk t;
    if (open_websocket(&t, env)) {
        uint8_t got[1000], first, data[900];
        size_t len;
        memset(data, 7, sizeof data);
        CHECK_OK(lk_ws_send(t.w, true, data, sizeof data));
        CHECK_OK(lk_ws_send(t.w, false, "hi", 2));
        collect(&t);
        CHECK(take_frame(&t, &first, got, sizeof got, &len) && first == 0x82);
        CHECK_MEM(got, len, data, sizeof data);
        CHECK(take_frame(&t, &first, got, sizeof got, &len) && first == 0x81);
        CHECK_MEM(got, len, "hi", 2);
        CHECK_EQ(t.sent.len, 0);
    }
    close_talk(&t);
}

LK_TEST(unsent_data_is_bounded)
{
    talk t;
    if (open_websocket(&t, env)) {
        static uint8_t block[1 << 20];
        int taken = 0;
        lk_err err = LK_OK;
        while (taken < 20 && (err = lk_ws_send(t.w, true, block, sizeof block)) == LK_OK)
            taken++;
        CHECK_EQ(err, LK_ERR_FULL);
        CHECK(taken >= 7 && taken <= 8);
        collect(&t);
        CHECK(t.end.type == LK_WS_EV_OPEN);
        CHECK_OK(lk_ws_send(t.w, true, block, 10));
    }
    close_talk(&t);
}

LK_TEST(the_close_handshake_ends_with_the_code_either_side_gave)
{
    talk t;
    uint8_t frame[16], first, got[16];
    size_t len;
    if (open_websocket(&t, env)) {
        feed(&t, frame, put_frame(frame, 0x88, "\x03\xe9", 2), 16);
        CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1001);
        CHECK(take_frame(&t, &first, got, sizeof got, &len) && first == 0x88 && len >= 2 && lk_get_u16(got) == 1001);
        CHECK_EQ(lk_ws_send(t.w, true, "x", 1), LK_ERR_STATE);
    }
    close_talk(&t);
    if (open_websocket(&t, env)) {
        feed(&t, frame, put_frame(frame, 0x88, NULL, 0), 16);
        CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1005);
    }
    close_talk(&t);
    if (open_websocket(&t, env)) {
        lk_ws_close(t.w, 1000);
        CHECK_EQ(lk_ws_send(t.w, true, "x", 1), LK_ERR_STATE);
        collect(&t);
        CHECK(take_frame(&t, &first, got, sizeof got, &len) && first == 0x88 && lk_get_u16(got) == 1000);
        CHECK(t.end.type == LK_WS_EV_OPEN);
        feed(&t, frame, put_frame(frame, 0x88, "\x03\xe8", 2), 16);
        CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1000);
        lk_ws_input_end(t.w, NULL);
        collect(&t);
    }
    close_talk(&t);
    if (open_websocket(&t, env)) {
        lk_ws_input_end(t.w, NULL);
        collect(&t);
        CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1006);
    }
    close_talk(&t);
}

LK_TEST(broken_frames_end_the_connection_once)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x82\x81\x01\x02\x03\x04x", 7}, /* masked by a server */
        {"\x83\x00", 2},                  /* an opcode nobody knows */
        {"\xc2\x00", 2},                  /* a reserved bit */
        {"\x80\x00", 2},                  /* a continuation of nothing */
        {"\x02\x01x\x82\x01y", 6},        /* a new message inside one */
        {"\x89\x7e\x00\x80", 4},          /* a long control frame */
        {"\x09\x00", 2},                  /* a ping in fragments */
        {"\x81\x02\xc3\x28", 4},          /* text that is no UTF-8 */
        {"\x82\x7f\x00\x00\x00\x00\x01\x00\x00\x01", 10}, /* 16 MiB and one */
        {"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10}, /* more than there is */
        {"\x88\x01\x03", 3},              /* half a close code */
    };
    for (size_t i = 0; i < LK_LEN(rows); i++)
        for (size_t step = 1; step <= 16; step += 15) {
            talk t;
            if (open_websocket(&t, env)) {
                feed(&t, rows[i].bytes, rows[i].len, step);
                feed(&t, "\x82\x01z", 3, 3);
                CHECK(t.messages == 0);
                lk_ws_input_end(t.w, NULL);
                collect(&t);
                CHECK(t.count == 2 && (t.end.type == LK_WS_EV_FAILED || t.end.type == LK_WS_EV_CLOSED));
            }
            close_talk(&t);
        }
}

LK_TEST(a_message_in_more_than_1024_fragments_is_refused_and_leaves_nothing_behind)
{
    talk t;
    if (open_websocket(&t, env)) {
        static uint8_t wire[8000];
        size_t n = put_frame(wire, 0x02, "a", 1);
        for (int i = 0; i < 1100; i++)
            n += put_frame(wire + n, 0x00, "b", 1);
        n += put_frame(wire + n, 0x80, "c", 1);
        n += put_frame(wire + n, 0x82, "after", 5);
        lk_ws_input(t.w, wire, n);
        collect(&t);
        CHECK(t.count == 2 && t.end.type == LK_WS_EV_FAILED && t.end.error.code == LK_ERR_LIMIT);
    }
    close_talk(&t);
}

LK_TEST(more_messages_at_once_than_there_is_room_for_end_the_connection)
{
    talk t;
    if (open_websocket(&t, env)) {
        static uint8_t wire[6000];
        size_t n = 0;
        for (int i = 0; i < 1500; i++)
            n += put_frame(wire + n, 0x82, "x", 1);
        lk_ws_input(t.w, wire, n);
        collect(&t);
        CHECK_EQ(t.messages, 1024);
        CHECK(t.end.type == LK_WS_EV_FAILED && t.end.error.code == LK_ERR_FULL);
    }
    close_talk(&t);
}

/* ---- proxies ------------------------------------------------------------------------------------------- */

LK_TEST(a_proxy_is_asked_for_a_tunnel_first)
{
    talk t;
    lk_text head;
    const lk_ws_config c = {.upgrade = true, .through_proxy = true, .proxy_userinfo = lk_str_of("user:secret")};
    if (open_talk(&t, env, "ws://example.com:7880", &c)) {
        CHECK_STR(lk_text_cstr(&t.sent), "CONNECT example.com:7880 HTTP/1.1\r\nHost: example.com:7880\r\n"
                                         "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n");
        lk_text_clear(&t.sent);
        static const char yes[] = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
        feed(&t, yes, sizeof yes - 1, 5);
        CHECK(strncmp(lk_text_cstr(&t.sent), "GET /rtc HTTP/1.1\r\nHost: example.com:7880\r\n", 43) == 0);
        CHECK(!strstr(lk_text_cstr(&t.sent), "Proxy-Authorization"));
        if (accept_head(&t, env, &head)) {
            feed(&t, head.p, head.len, 3);
            CHECK(t.count == 1 && t.seen[0] == LK_WS_EV_OPEN);
        }
        lk_text_deinit(&head);
    }
    close_talk(&t);
}

LK_TEST(credentials_of_a_proxy_are_unescaped)
{
    static const struct {
        const char *userinfo, *header;
    } rows[] = {{"me:pass%20word", "Basic bWU6cGFzcyB3b3Jk\r\n"}, {"a%3Ab:%40%c3%bC", "Basic YTpiOkDDvA==\r\n"}, {"50%:%zz%4", "Basic NTAlOiV6eiU0\r\n"}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        talk t;
        const lk_ws_config c = {.upgrade = true, .through_proxy = true, .proxy_userinfo = lk_str_of(rows[i].userinfo)};
        if (open_talk(&t, env, "ws://h", &c) && !CHECK(strstr(lk_text_cstr(&t.sent), rows[i].header) != NULL))
            CHECK_STR(lk_text_cstr(&t.sent), rows[i].header);
        close_talk(&t);
    }
}

LK_TEST(a_proxy_names_the_port_always_and_brackets_ipv6)
{
    talk t;
    if (open_talk(&t, env, "ws://[::1]", &(lk_ws_config){.upgrade = true, .through_proxy = true}))
        CHECK_STR(lk_text_cstr(&t.sent), "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    close_talk(&t);
}

LK_TEST(a_proxy_that_refuses_or_babbles_ends_it_with_a_reason)
{
    static const struct {
        const char *answer, *text;
        lk_err code;
    } rows[] = {
        {"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nauth", "refused by the proxy: 407", LK_ERR_NETWORK},
        {"HTTP/1.0 502 Bad Gateway\r\n\r\n", "refused by the proxy: 502", LK_ERR_NETWORK},
        {"hello", "no way to h:80: what should be a proxy is none", LK_ERR_PROTOCOL},
        {"", "no way to h:80: the proxy closed the connection", LK_ERR_NETWORK},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        talk t;
        if (open_talk(&t, env, "ws://h", &(lk_ws_config){.upgrade = true, .through_proxy = true})) {
            feed_z(&t, rows[i].answer);
            lk_ws_input_end(t.w, NULL);
            collect(&t);
            CHECK(t.count == 1 && t.end.type == LK_WS_EV_FAILED);
            CHECK_EQ(t.end.error.code, rows[i].code);
            if (!CHECK(strstr(t.end.error.text, rows[i].text) != NULL))
                CHECK_STR(t.end.error.text, rows[i].text);
        }
        close_talk(&t);
    }
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

typedef struct tls_server {
    EVP_PKEY *key;
    X509 *cert;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
    char pem[64];
} tls_server;

static bool start_tls_server(tls_server *s)
{
    memset(s, 0, sizeof *s);
    s->key = EVP_EC_gen("P-256");
    s->cert = X509_new();
    X509_set_version(s->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(s->cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(s->cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(s->cert), 3600);
    X509_set_pubkey(s->cert, s->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(s->cert), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(s->cert, X509_get_subject_name(s->cert));
    char names[] = "DNS:good.example,IP:127.0.0.1";
    X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    X509_add_ext(s->cert, alt, -1);
    X509_EXTENSION_free(alt);
    X509_sign(s->cert, s->key, EVP_sha256());
    strcpy(s->pem, "/tmp/lk-ws-XXXXXX");
    int fd = mkstemp(s->pem);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f)
        return false;
    PEM_write_X509(f, s->cert);
    fclose(f);
    s->ctx = SSL_CTX_new(TLS_server_method());
    s->ssl = NULL;
    if (SSL_CTX_use_certificate(s->ctx, s->cert) != 1 || SSL_CTX_use_PrivateKey(s->ctx, s->key) != 1)
        return false;
    s->ssl = SSL_new(s->ctx);
    s->in = BIO_new(BIO_s_mem());
    s->out = BIO_new(BIO_s_mem());
    SSL_set_bio(s->ssl, s->in, s->out);
    SSL_set_accept_state(s->ssl);
    return true;
}

static void stop_tls_server(tls_server *s)
{
    SSL_free(s->ssl);
    SSL_CTX_free(s->ctx);
    X509_free(s->cert);
    EVP_PKEY_free(s->key);
    unlink(s->pem);
}

/* Carries bytes both ways until both are silent; returns what the server read in clear. */
static void shuttle_tls(talk *t, tls_server *s, lk_text *clear, size_t step)
{
    for (bool moved = true; moved;) {
        uint8_t buf[4096];
        int n;
        moved = t->sent.len > 0;
        if (t->sent.len)
            BIO_write(s->in, t->sent.p, (int)t->sent.len);
        lk_text_clear(&t->sent);
        if (!SSL_is_init_finished(s->ssl))
            (void)SSL_do_handshake(s->ssl);
        while ((n = SSL_read(s->ssl, buf, sizeof buf)) > 0)
            lk_text_put(clear, (const char *)buf, (size_t)n);
        while ((n = BIO_read(s->out, buf, sizeof buf)) > 0) {
            moved = true;
            feed(t, buf, (size_t)n, step);
        }
    }
}

LK_TEST(tls_carries_a_long_join_and_messages_in_pieces_and_through_a_proxy)
{
    for (int proxied = 0; proxied < 2; proxied++) {
        tls_server s;
        lk_tls_context *tls = NULL;
        talk t;
        lk_text clear, head;
        char *target = malloc(40001);
        lk_text_init(&clear, env, 1 << 20);
        memset(&t, 0, sizeof t);
        if (target && CHECK(start_tls_server(&s)) && CHECK_OK(lk_tls_context_new(&tls, env, s.pem))) {
            memset(target, 'x', 40000);
            target[0] = '/';
            target[40000] = 0;
            const lk_ws_config c = {.upgrade = true, .tls = tls, .target = target, .through_proxy = proxied};
            if (open_talk(&t, env, "wss://good.example", &c)) {
                if (proxied) {
                    CHECK_STR(lk_text_cstr(&t.sent), "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n");
                    lk_text_clear(&t.sent);
                    feed_z(&t, "HTTP/1.1 200 OK\r\n\r\n");
                }
                shuttle_tls(&t, &s, &clear, 13);
                CHECK(clear.len > 40000 && strncmp(lk_text_cstr(&clear), "GET /xxx", 8) == 0);
                CHECK_STR(SSL_get_servername(s.ssl, TLSEXT_NAMETYPE_host_name), "good.example");
                talk heard = {.sent = clear};
                if (accept_head(&heard, env, &head)) {
                    uint8_t frame[32];
                    size_t n = put_frame(frame, 0x82, "secret", 6);
                    SSL_write(s.ssl, head.p, (int)head.len);
                    SSL_write(s.ssl, frame, (int)n);
                    shuttle_tls(&t, &s, &clear, 7);
                    CHECK(t.count == 2 && t.seen[0] == LK_WS_EV_OPEN && t.seen[1] == LK_WS_EV_MESSAGE);
                    CHECK_STR(lk_text_cstr(&t.last_data), "secret");
                    SSL_shutdown(s.ssl);
                    shuttle_tls(&t, &s, &clear, 7);
                    CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1006);
                }
                lk_text_deinit(&head);
            }
            close_talk(&t);
        }
        lk_tls_context_free(tls);
        stop_tls_server(&s);
        lk_text_deinit(&clear);
        free(target);
    }
}

/* As shuttle_tls, but the way to the client ends after *left bytes. */
static void shuttle_until_cut(talk *t, tls_server *s, lk_text *clear, size_t *left)
{
    for (bool moved = true; moved && *left;) {
        uint8_t buf[4096];
        int n;
        moved = t->sent.len > 0;
        if (t->sent.len)
            BIO_write(s->in, t->sent.p, (int)t->sent.len);
        lk_text_clear(&t->sent);
        if (!SSL_is_init_finished(s->ssl))
            (void)SSL_do_handshake(s->ssl);
        while ((n = SSL_read(s->ssl, buf, sizeof buf)) > 0)
            lk_text_put(clear, (const char *)buf, (size_t)n);
        while (*left && (n = BIO_read(s->out, buf, (int)LK_MIN(sizeof buf, *left))) > 0) {
            moved = true;
            *left -= (size_t)n;
            feed(t, buf, (size_t)n, (size_t)n);
        }
    }
}

/* One connection over TLS that ends after `cut` bytes of the server; false when the server had no more to say. */
static bool cut_tls(lk_env *env, tls_server *s, lk_tls_context *tls, size_t cut)
{
    static const lk_error reset = {LK_ERR_NETWORK, "connection lost to good.example:443: connection reset by peer"};
    talk t;
    lk_text clear, head;
    size_t left = cut;
    bool whole = false;
    SSL_free(s->ssl);
    s->ssl = SSL_new(s->ctx);
    s->in = BIO_new(BIO_s_mem());
    s->out = BIO_new(BIO_s_mem());
    SSL_set_bio(s->ssl, s->in, s->out);
    SSL_set_accept_state(s->ssl);
    lk_text_init(&clear, env, 1 << 20);
    memset(&t, 0, sizeof t);
    if (open_talk(&t, env, "wss://good.example", &(lk_ws_config){.upgrade = true, .tls = tls})) {
        shuttle_until_cut(&t, s, &clear, &left);
        talk heard = {.sent = clear};
        if (left) {
            if (accept_head(&heard, env, &head)) {
                SSL_write(s->ssl, head.p, (int)head.len);
                shuttle_until_cut(&t, s, &clear, &left);
                whole = t.count == 1; /* open, or nothing yet */
                CHECK_EQ(t.count, left > 0 || whole);
            }
            lk_text_deinit(&head);
        }
        size_t before = t.count;
        lk_ws_input_end(t.w, cut % 2 ? &reset : NULL);
        collect(&t);
        CHECK_EQ(t.count, before + 1);
        if (whole)
            CHECK(t.end.type == LK_WS_EV_CLOSED && t.end.code == 1006);
        else if (!CHECK(t.end.type == LK_WS_EV_FAILED && strstr(t.end.error.text, "good.example:443")))
            CHECK_STR(t.end.error.text, "");
    }
    close_talk(&t);
    lk_text_deinit(&clear);
    return left == 0;
}

LK_TEST(tls_cut_after_any_byte_of_handshake_and_upgrade_fails_once_and_names_the_server)
{
    tls_server s;
    lk_tls_context *tls = NULL;
    /* With refused memory each cut costs a hundred runs: a few places are enough. */
    const size_t step = lk_test_oom() ? 611 : 1;
    size_t cut = lk_test_oom() ? 300 : 0;
    if (CHECK(start_tls_server(&s)) && CHECK_OK(lk_tls_context_new(&tls, env, s.pem))) {
        while (cut < 20000 && cut_tls(env, &s, tls, cut))
            cut += step;
        CHECK(cut > 600 && cut < 20000);
    }
    lk_tls_context_free(tls);
    stop_tls_server(&s);
}

LK_TEST(a_certificate_of_nobody_we_trust_or_for_another_name_is_refused)
{
    static const struct {
        const char *url;
        bool trusted, good;
    } rows[] = {{"wss://good.example", true, true},  {"wss://good.example", false, false}, {"wss://bad.example", true, false},
                {"wss://127.0.0.1:5", true, true},   {"wss://127.0.0.2:5", true, false}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        tls_server s;
        lk_tls_context *tls = NULL;
        talk t;
        lk_text clear;
        lk_text_init(&clear, env, 1 << 20);
        if (CHECK(start_tls_server(&s)) && CHECK_OK(lk_tls_context_new(&tls, env, rows[i].trusted ? s.pem : NULL))) {
            if (open_talk(&t, env, rows[i].url, &(lk_ws_config){.upgrade = true, .tls = tls})) {
                shuttle_tls(&t, &s, &clear, 1000);
                CHECK_EQ(clear.len > 0, rows[i].good);
                CHECK_EQ(t.end.type == LK_WS_EV_FAILED, !rows[i].good);
                if (!rows[i].good)
                    CHECK(t.end.error.code == LK_ERR_TLS && strstr(t.end.error.text, "certificate of ") == t.end.error.text);
            }
            close_talk(&t);
        }
        lk_tls_context_free(tls);
        stop_tls_server(&s);
        lk_text_deinit(&clear);
    }
    lk_tls_context *none = NULL;
    CHECK(lk_tls_context_new(&none, env, "/nonexistent/file") != LK_OK);
}

LK_TEST(a_server_without_tls_is_named_as_such)
{
    lk_tls_context *tls = NULL;
    talk t;
    if (CHECK_OK(lk_tls_context_new(&tls, env, NULL))) {
        if (open_talk(&t, env, "wss://h:7880", &(lk_ws_config){.upgrade = true, .tls = tls})) {
            feed_z(&t, "HTTP/1.1 400 Bad Request\r\n\r\n");
            CHECK(t.count == 1 && t.end.type == LK_WS_EV_FAILED && t.end.error.code == LK_ERR_TLS);
            CHECK(strstr(t.end.error.text, "does not speak TLS") != NULL);
        }
        close_talk(&t);
    }
    lk_tls_context_free(tls);
}
