// SPDX-License-Identifier: Apache-2.0
#include "dtls/dtls.h"
#include "crypto/crypto.h"
#include "lk_test.h"
#include "srtp/srtp.h"

typedef struct pair {
    lk_dtls_context *context;
    lk_dtls client, server;
    lk_dtls_event client_event, server_event;
} pair;

static bool open_pair(pair *p, lk_env *env)
{
    lk_usec now = 1;
    memset(p, 0, sizeof *p);
    p->client_event.err = p->server_event.err = LK_ERR_AGAIN;
    if (lk_dtls_context_new(&p->context, env) != LK_OK)
        return false;
    lk_dtls_init(&p->client, env, p->context);
    lk_dtls_init(&p->server, env, p->context);
    return lk_dtls_start(&p->server, now, LK_DTLS_SERVER) == LK_OK && lk_dtls_start(&p->client, now, LK_DTLS_CLIENT) == LK_OK;
}

static void close_pair(pair *p)
{
    lk_dtls_deinit(&p->client);
    lk_dtls_deinit(&p->server);
    lk_dtls_context_free(p->context);
}

/* Carries datagrams until both are silent; lose >= 0 drops that one. */
static int shuttle(pair *p, int lose)
{
    int n = 0;
    lk_bytes b;
    for (bool moved = true; moved;) {
        moved = false;
        while (lk_dtls_poll_tx(&p->client, &b)) {
            moved = true;
            if (n++ != lose)
                lk_dtls_input(&p->server, 1, b.data, b.len);
        }
        while (lk_dtls_poll_tx(&p->server, &b)) {
            moved = true;
            if (n++ != lose)
                lk_dtls_input(&p->client, 1, b.data, b.len);
        }
    }
    (void)lk_dtls_poll_event(&p->client, &p->client_event);
    (void)lk_dtls_poll_event(&p->server, &p->server_event);
    return n;
}

static lk_err expect(lk_dtls *d, const char *fingerprint)
{
    lk_str hex = lk_str_of(fingerprint), algorithm = lk_str_cut(&hex, ' ');
    return lk_dtls_expect(d, 1, algorithm, hex);
}

/* Each is told the true fingerprint of the other, and they talk. */
static void shake_hands(pair *p)
{
    CHECK_OK(expect(&p->client, lk_dtls_context_fingerprint(p->context)));
    CHECK_OK(expect(&p->server, lk_dtls_context_fingerprint(p->context)));
    shuttle(p, -1);
}

/* Data passes, and a close is heard. */
static void say_hello_and_close(pair *p)
{
    uint8_t got[100];
    size_t n = 0;
    CHECK_OK(lk_dtls_send(&p->client, 1, "hello", 5));
    shuttle(p, -1);
    CHECK(lk_dtls_poll_data(&p->server, got, sizeof got, &n));
    CHECK_MEM(got, n, "hello", 5);
    lk_dtls_close(&p->client, 1);
    shuttle(p, -1);
    CHECK_EQ(p->server_event.type, LK_DTLS_EV_CLOSED);
}

LK_TEST(both_sides_export_the_same_keys)
{
    pair p;
    if (open_pair(&p, env)) {
        shake_hands(&p);
        CHECK_OK(p.client_event.err);
        CHECK_EQ(p.client_event.type, LK_DTLS_EV_CONNECTED);
        CHECK_EQ(p.client_event.keys.srtp_profile, LK_SRTP_AEAD_AES_128_GCM);
        CHECK_MEM(p.client_event.keys.local_key, 16, p.server_event.keys.remote_key, 16);
        CHECK_MEM(p.client_event.keys.remote_salt, 12, p.server_event.keys.local_salt, 12);
        CHECK_STR(lk_dtls_cipher(&p.client), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        say_hello_and_close(&p);
        CHECK_EQ(p.server.dropped, 0);
    }
    close_pair(&p);
}

LK_TEST(a_wrong_fingerprint_gives_no_keys_and_a_late_one_gives_them)
{
    pair p;
    if (open_pair(&p, env)) {
        CHECK_OK(expect(&p.client, "sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"));
        shuttle(&p, -1);
        CHECK_EQ(p.client_event.type, LK_DTLS_EV_FAILED);
        CHECK_EQ(p.client_event.err, LK_ERR_AUTH);
        CHECK_EQ(p.server.state, LK_DTLS_STATE_UNVERIFIED);
        CHECK_OK(expect(&p.server, lk_dtls_context_fingerprint(p.context)));
        CHECK_EQ(p.server.state, LK_DTLS_STATE_CONNECTED);
        CHECK_EQ(expect(&p.server, "md5 00"), LK_ERR_INVALID);
    }
    close_pair(&p);
}

LK_TEST(junk_during_the_handshake_does_not_end_it)
{
    pair p;
    lk_prng r;
    lk_prng_init(&r, 3);
    if (open_pair(&p, env)) {
        uint8_t junk[64];
        for (int i = 0; i < 200; i++) {
            (void)lk_prng_fill(&r, junk, sizeof junk);
            junk[0] = (uint8_t)(20 + i % 44);
            junk[1] = 0xfe;
            junk[2] = 0xfd;
            lk_dtls_input(i % 2 ? &p.client : &p.server, 1, junk, sizeof junk);
        }
        shake_hands(&p);
        CHECK_EQ(p.client.state, LK_DTLS_STATE_CONNECTED);
        CHECK_EQ(p.server.state, LK_DTLS_STATE_CONNECTED);
    }
    close_pair(&p);
}

/* Of every type, epoch and length, whole, cut short and two in one datagram: each is counted, and the next true record is
 * read as if there had been none. A short one of the encrypted epoch alone used to make OpenSSL deaf. */
LK_TEST(forged_records_change_nothing)
{
    pair p;
    if (open_pair(&p, env)) {
        uint8_t got[100];
        size_t n = 0, forgeries = 0;
        shake_hands(&p);
        uint64_t before = p.server.dropped;
        for (uint8_t size = 0; size < 60; size++)
            for (uint8_t i = 0; i < 36; i++, forgeries++) {
                uint8_t forged[2 * 13 + 60] = {(uint8_t)(20 + i % 6), 0xfe, 0xfd, 0, (uint8_t)(i / 6 % 3), 0, 0, 0, 0, 0, i, 0, size};
                memcpy(forged + 13 + size, forged, 13);
                forged[13 + size + 12] = 0;
                lk_dtls_input(&p.server, 1, forged, 13 + (size_t)size + (i < 18 ? 0 : i < 27 ? 13 : size ? -1 : 5));
            }
        CHECK_EQ(p.server.dropped, before + forgeries);
        CHECK_EQ(p.server.state, LK_DTLS_STATE_CONNECTED);
        CHECK(!lk_dtls_poll_data(&p.server, got, sizeof got, &n));
        say_hello_and_close(&p);
    }
    close_pair(&p);
}

static size_t make_rtp(uint8_t *p, uint16_t seq, size_t payload)
{
    static const uint8_t head[12] = {0x80, 111, 0, 0, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef};
    memcpy(p, head, 12);
    lk_put_u16(p + 2, seq);
    memset(p + 12, (int)(seq & 0xff), payload);
    return 12 + payload;
}

LK_TEST(srtp_survives_the_wrap_and_refuses_replays)
{
    static const lk_srtp_profile profiles[] = {LK_SRTP_AES128_CM_SHA1_80, LK_SRTP_AEAD_AES_128_GCM, LK_SRTP_AEAD_AES_256_GCM};
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        uint8_t key[32] = {1, 2, 3}, salt[14] = {9, 8, 7}, buf[300], copy[300], plain[300];
        lk_srtp_config c = {profiles[k], key, salt, 1024, 128, false};
        lk_srtp tx, rx;
        lk_err a = lk_srtp_init(&tx, env, &c);
        c.receiver = true;
        lk_err b = lk_srtp_init(&rx, env, &c);
        if (a == LK_OK && b == LK_OK) {
            for (unsigned i = 0; i < 300; i++) {
                uint16_t seq = (uint16_t)(65400 + i);
                size_t n = make_rtp(plain, seq, 100), m = n;
                memcpy(buf, plain, n);
                CHECK_OK(lk_srtp_protect_rtp(&tx, buf, &m, sizeof buf));
                size_t again = m, bad = m;
                memcpy(copy, buf, m);
                copy[50] ^= 1;
                CHECK_EQ(lk_srtp_unprotect_rtp(&rx, copy, &bad), LK_ERR_AUTH);
                memcpy(copy, buf, m);
                CHECK_OK(lk_srtp_unprotect_rtp(&rx, buf, &m));
                CHECK_MEM(buf, m, plain, n);
                CHECK_EQ(lk_srtp_unprotect_rtp(&rx, copy, &again), LK_ERR_AGAIN);
            }
            uint8_t rr[64] = {0x80, 201, 0, 1, 1, 2, 3, 4};
            size_t n = 8;
            CHECK_OK(lk_srtp_protect_rtcp(&tx, rr, &n, sizeof rr));
            CHECK_OK(lk_srtp_unprotect_rtcp(&rx, rr, &n));
            CHECK_EQ(n, 8);
        }
        lk_srtp_deinit(&tx);
        lk_srtp_deinit(&rx);
    }
}
