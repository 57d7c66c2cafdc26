// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "ws/url.h"

LK_TEST(urls_come_apart_as_written)
{
    static const struct {
        const char *text, *host, *path, *userinfo;
        uint16_t port;
        bool tls, ip;
    } rows[] = {
        {"ws://localhost", "localhost", "", "", 80, false, false},
        {"wss://Example.COM", "example.com", "", "", 443, true, false},
        {"http://a:7880/", "a", "", "", 7880, false, false},
        {"HTTPS://a/b/c//", "a", "/b/c", "", 443, true, false},
        {"wss://a.livekit.cloud:443/x?q=1#f", "a.livekit.cloud", "/x", "", 443, true, false},
        {"ws://127.0.0.1:1?x", "127.0.0.1", "", "", 1, false, true},
        {"ws://[::1]:7880/rtc", "::1", "/rtc", "", 7880, false, true},
        {"ws://[FE80::A]", "fe80::a", "", "", 80, false, true},
        {"http://user:p%40ss@proxy:3128", "proxy", "", "user:p%40ss", 3128, false, false},
        {"http://a@b@host", "host", "", "a@b", 80, false, false},
        {"ws://host:", "host", "", "", 80, false, false},
        {"ws://b\xc3\xbc""cher.example", "b\xc3\xbc""cher.example", "", "", 80, false, false},
        {"ws://a_b-c.d", "a_b-c.d", "", "", 80, false, false},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_url u;
        lk_error why = {0};
        if (!CHECK_OK(lk_url_parse(&u, lk_str_of(rows[i].text), &why)))
            continue;
        CHECK_STR(u.host, rows[i].host);
        CHECK(lk_str_eq(u.path, rows[i].path) && lk_str_eq(u.userinfo, rows[i].userinfo));
        CHECK_EQ(u.port, rows[i].port);
        CHECK(u.tls == rows[i].tls && u.host_is_ip == rows[i].ip);
    }
}

LK_TEST(bad_urls_are_refused_with_what_is_wrong)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "relative URL without a base"},
        {"localhost:7880", "relative URL without a base"},
        {"://x", "relative URL without a base"},
        {"access_token=eyJh://x", "relative URL without a base"},
        {"8ws://x", "relative URL without a base"},
        {"ftp://x", "unsupported scheme: ftp"},
        {"javascript://x", "unsupported scheme: javascript"},
        {"ws://", "empty host"},
        {"ws:///path", "empty host"},
        {"ws://:80", "empty host"},
        {"ws://a b", "blank or control character"},
        {"ws://a\r\nX: y", "blank or control character"},
        {"ws://a\x7f", "blank or control character"},
        {"ws://a:0", "invalid port number: 0"},
        {"ws://a:65536", "invalid port number: 65536"},
        {"ws://a:-1", "invalid port number: -1"},
        {"ws://a:80x", "invalid port number: 80x"},
        {"ws://a:99999999999999999999999999", "invalid port number"},
        {"ws://[::1", "no ] after the address"},
        {"ws://[1.2.3.4]", "not an IPv6 address"},
        {"ws://[::1]x", "unexpected text after the address"},
        {"ws://[]", "not an IPv6 address"},
        {"ws://a$b", "not a host name: a$b"},
        {"ws://a%41", "not a host name: a%41"},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_url u = {.port = 4711};
        lk_error why = {0};
        CHECK_EQ(lk_url_parse(&u, lk_str_of(rows[i].text), &why), LK_ERR_INVALID);
        if (!CHECK(strstr(why.text, rows[i].why) != NULL))
            CHECK_STR(why.text, rows[i].why);
        CHECK_EQ(why.code, LK_ERR_INVALID);
        CHECK_EQ(u.port, 4711); /* out is written on success only */
        CHECK_EQ(lk_url_parse(&u, lk_str_of(rows[i].text), NULL), LK_ERR_INVALID);
    }
}

LK_TEST(a_host_name_may_have_253_characters_and_no_more)
{
    for (size_t n = 252; n <= 255; n++) {
        char text[300] = "ws://";
        lk_url u;
        memset(text + 5, 'a', n);
        text[5 + n] = 0;
        CHECK_EQ(lk_url_parse(&u, lk_str_of(text), NULL), n <= LK_URL_HOST_MAX ? LK_OK : LK_ERR_INVALID);
    }
}

LK_TEST(the_proxy_is_chosen_by_scheme_and_left_out_where_no_proxy_says_so)
{
    static const struct {
        const char *https, *http, *none, *url, *want;
    } rows[] = {
        {"http://s:1", "http://p:2", NULL, "wss://a.example", "http://s:1"},
        {"http://s:1", "http://p:2", NULL, "ws://a.example", "http://p:2"},
        {"http://s:1", NULL, NULL, "ws://a.example", ""},
        {NULL, "http://p:2", NULL, "wss://a.example", ""},
        {"", "", "", "wss://a.example", ""},
        {"http://s:1", NULL, "*", "wss://a.example", ""},
        {"http://s:1", NULL, "a.example", "wss://a.example", ""},
        {"http://s:1", NULL, "A.Example", "wss://a.example", ""},
        {"http://s:1", NULL, "example", "wss://a.example", ""},
        {"http://s:1", NULL, ".example", "wss://a.example", ""},
        {"http://s:1", NULL, "ample", "wss://a.example", "http://s:1"},
        {"http://s:1", NULL, "b.example", "wss://a.example", "http://s:1"},
        {"http://s:1", NULL, "x, localhost ,  a.example ", "wss://a.example", ""},
        {"http://s:1", NULL, ",,.,", "wss://a.example", "http://s:1"},
        {"http://s:1", NULL, "127.0.0.1,::1", "wss://127.0.0.1", ""},
        {"http://s:1", NULL, "127.0.0.1,::1", "wss://[::1]:5", ""},
        {"http://s:1", NULL, "long.name.a.example", "wss://a.example", "http://s:1"},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        const lk_proxy_env e = {rows[i].https, rows[i].http, rows[i].none};
        lk_url u;
        if (CHECK_OK(lk_url_parse(&u, lk_str_of(rows[i].url), NULL)) && !CHECK(lk_str_eq(lk_proxy_choose(&e, &u), rows[i].want)))
            CHECK_STR(rows[i].url, rows[i].want);
    }
}

LK_TEST(a_proxy_is_a_url_or_host_and_port_alone)
{
    static const struct {
        const char *text, *host, *userinfo;
        uint16_t port; /* 0: refused */
    } rows[] = {
        {"http://p.example:3128", "p.example", "", 3128}, {"http://me:x@p.example", "p.example", "me:x", 80},
        {"P.example:3128", "p.example", "", 3128},        {"me:x@10.0.0.1:1/", "10.0.0.1", "me:x", 1},
        {"[::1]:8080", "::1", "", 8080},                  {"https://p.example", "", "", 0},
        {"socks5://p.example:1", "", "", 0},              {"http://", "", "", 0},
        {"a b:1", "", "", 0},                             {"p.example:99999", "", "", 0},
        {":3128", "", "", 0},                             {"://p.example", "", "", 0},
    };
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_url u = {0};
        lk_error why = {LK_OK, ""};
        lk_err err = lk_proxy_parse(&u, lk_str_of(rows[i].text), &why);
        bool ok = rows[i].port ? CHECK_OK(err) && CHECK_STR(u.host, rows[i].host) && CHECK(lk_str_eq(u.userinfo, rows[i].userinfo)) &&
                                     CHECK_EQ(u.port, rows[i].port) && CHECK(!u.tls)
                               : CHECK_EQ(err, LK_ERR_INVALID) && CHECK(why.text[0]);
        if (!ok)
            CHECK_STR(rows[i].text, why.text);
    }
}

LK_TEST(an_error_text_is_cut_at_its_room_and_has_no_lines)
{
    lk_error e;
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    lk_error_set(&e, LK_ERR_WIRE, "a\r\nb", longer, (const char *)NULL);
    CHECK_EQ(e.code, LK_ERR_WIRE);
    CHECK_EQ(strlen(e.text), sizeof e.text - 1);
    CHECK_MEM(e.text, 4, "a  b", 4);
    lk_error_set(NULL, LK_ERR_WIRE, "nobody asks", (const char *)NULL);
}
