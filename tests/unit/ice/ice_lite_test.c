// SPDX-License-Identifier: Apache-2.0
#include "ice/ice_lite.h"
#include "lk_test.h"
#include "stun/stun.h"

static const lk_addr server = {.family = 4, .port = 7882, .ip = {10, 0, 0, 1}};

static lk_addr client(uint8_t n) { return (lk_addr){.family = 4, .port = (uint16_t)(1000 + n), .ip = {10, 0, 0, n}}; }

static bool check(lk_ice_lite *ice, lk_usec now, lk_addr from, const char *ufrag, const char *pwd, bool use)
{
    uint8_t data[256];
    char username[64];
    size_t n = strlen(ufrag);
    lk_wr w = lk_wr_of(data, sizeof data);
    memcpy(username, ufrag, n);
    memcpy(username + n, ":peer", 5);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, (const uint8_t *)"abcdefghijkl");
    lk_stun_put(&w, LK_STUN_USERNAME, username, n + 5);
    if (use)
        lk_stun_put(&w, LK_STUN_USE_CANDIDATE, NULL, 0);
    lk_stun_put_integrity(&w, pwd, strlen(pwd));
    lk_stun_put_fingerprint(&w);
    const lk_datagram d = {server, from, data, w.len};
    return lk_ice_lite_input(ice, now, &d, false);
}

static size_t answers(lk_ice_lite *ice, const char *pwd)
{
    uint8_t buffer[LK_ICE_LITE_REPLY_MAX];
    lk_datagram d;
    lk_stun_msg m;
    bool tcp;
    size_t n = 0;
    for (; lk_ice_lite_poll_tx(ice, buffer, &d, &tcp); n++)
        if (CHECK_OK(lk_stun_parse(&m, d.data, d.len)))
            CHECK_EQ(lk_stun_check_integrity(&m, pwd, strlen(pwd)), LK_STUN_CHECK_OK);
    return n;
}

LK_TEST(only_who_knows_the_password_gets_a_path)
{
    lk_ice_lite ice;
    lk_ice_lite_init(&ice, env, 'k');
    CHECK_EQ(ice.ufrag[0], 'k');
    CHECK(!check(&ice, 0, client(1), ice.ufrag, "wrong-password-of-22-char", false));
    CHECK(!check(&ice, 0, client(1), "kother", ice.pwd, false));
    CHECK(lk_ice_lite_selected(&ice) == NULL);
    CHECK_EQ(answers(&ice, ice.pwd), 0);
    CHECK_EQ(ice.dropped, 2);
    CHECK(check(&ice, 0, client(1), ice.ufrag, ice.pwd, false));
    lk_addr a = client(1), b = client(2);
    CHECK(lk_ice_lite_is_valid(&ice, &server, &a, false));
    CHECK(!lk_ice_lite_is_valid(&ice, &server, &b, false) && !lk_ice_lite_is_valid(&ice, &server, &a, true));
    CHECK_EQ(answers(&ice, ice.pwd), 1);
}

LK_TEST(the_path_last_nominated_is_the_one_and_silence_ends_it)
{
    lk_ice_lite ice;
    lk_ice_lite_init(&ice, env, 0);
    CHECK_EQ(lk_ice_lite_deadline(&ice), LK_NEVER);
    CHECK(check(&ice, 0, client(1), ice.ufrag, ice.pwd, false));
    CHECK(check(&ice, 0, client(2), ice.ufrag, ice.pwd, true));
    CHECK_EQ(lk_ice_lite_selected(&ice)->remote.ip[3], 2);
    CHECK(check(&ice, LK_SEC(1), client(3), ice.ufrag, ice.pwd, true));
    for (uint8_t n = 4; n < 40; n++) { /* more than are kept: never the selected one is given up */
        CHECK(check(&ice, LK_SEC(2) + n, client(n), ice.ufrag, ice.pwd, false));
        CHECK_EQ(answers(&ice, ice.pwd), n == 4 ? 4 : 1);
    }
    CHECK_EQ(ice.path_count, LK_ICE_LITE_PATHS_MAX);
    CHECK_EQ(lk_ice_lite_selected(&ice)->remote.ip[3], 3);
    lk_usec last = LK_SEC(2) + 39;
    lk_ice_lite_tick(&ice, last + LK_SEC(10));
    CHECK_EQ(ice.state, LK_ICE_STATE_DISCONNECTED);
    CHECK(lk_ice_lite_selected(&ice) != NULL);
    lk_ice_lite_tick(&ice, last + LK_SEC(15));
    CHECK_EQ(ice.state, LK_ICE_STATE_FAILED);
    CHECK(lk_ice_lite_selected(&ice) == NULL);
    CHECK_EQ(lk_ice_lite_deadline(&ice), LK_NEVER);
}

LK_TEST(old_credentials_hold_until_the_new_ones_are_used)
{
    lk_ice_lite ice;
    char ufrag[LK_ICE_LITE_UFRAG_LEN + 1], pwd[LK_ICE_PWD_LEN + 1];
    lk_ice_lite_init(&ice, env, 'a');
    memcpy(ufrag, ice.ufrag, sizeof ufrag);
    memcpy(pwd, ice.pwd, sizeof pwd);
    lk_ice_lite_restart(&ice);
    CHECK(strcmp(ufrag, ice.ufrag) != 0 && ice.ufrag[0] == 'a');
    CHECK(check(&ice, 0, client(1), ufrag, pwd, true));
    CHECK_EQ(answers(&ice, pwd), 1);
    CHECK(!check(&ice, 0, client(1), ufrag, ice.pwd, true));
    CHECK(check(&ice, 0, client(1), ice.ufrag, ice.pwd, true));
    CHECK_EQ(answers(&ice, ice.pwd), 1);
    CHECK(!check(&ice, 0, client(1), ufrag, pwd, true));
}

LK_TEST(a_request_names_whom_it_is_for)
{
    lk_ice_lite ice;
    lk_str name;
    uint8_t data[64];
    lk_ice_lite_init(&ice, env, 0);
    lk_wr w = lk_wr_of(data, sizeof data);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, (const uint8_t *)"abcdefghijkl");
    lk_stun_put(&w, LK_STUN_USERNAME, "server:client", 13);
    CHECK(lk_ice_lite_peek(data, w.len, &name) && lk_str_eq(name, "server"));
    CHECK(!lk_ice_lite_peek(data, w.len - 1, &name));
    w = lk_wr_of(data, sizeof data);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_SUCCESS, (const uint8_t *)"abcdefghijkl");
    CHECK(!lk_ice_lite_peek(data, w.len, &name));
}
