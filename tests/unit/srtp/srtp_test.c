// SPDX-License-Identifier: Apache-2.0
/* Every packet is judged twice: libsrtp2 must write the same bytes and give the same verdict. */
#include <srtp2/srtp.h>

#include "lk_test.h"
#include "srtp/srtp.h"

#define ROOM 2048

typedef struct profile {
    lk_srtp_profile id;
    srtp_profile_t theirs;
} profile;
static const profile profiles[] = {
    {LK_SRTP_AES128_CM_SHA1_80, srtp_profile_aes128_cm_sha1_80},
    {LK_SRTP_AES128_CM_SHA1_32, srtp_profile_aes128_cm_sha1_32},
    {LK_SRTP_AEAD_AES_128_GCM, srtp_profile_aead_aes_128_gcm},
    {LK_SRTP_AEAD_AES_256_GCM, srtp_profile_aead_aes_256_gcm},
};

/* Both implementations with one key, a sender and a receiver each. */
typedef struct four {
    lk_srtp tx, rx;
    srtp_t their_tx, their_rx;
    lk_prng dice;
} four;

__attribute__((constructor)) static void start_theirs(void)
{
    if (srtp_init() != srtp_err_status_ok)
        __builtin_trap();
}
__attribute__((destructor)) static void stop_theirs(void) { (void)srtp_shutdown(); }

static bool make_theirs(srtp_t *out, const profile *p, unsigned char *key, bool sender, srtp_sec_serv_t rtcp_services)
{
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    if (srtp_crypto_policy_set_from_profile_for_rtp(&policy.rtp, p->theirs) != srtp_err_status_ok ||
        srtp_crypto_policy_set_from_profile_for_rtcp(&policy.rtcp, p->theirs) != srtp_err_status_ok)
        return false;
    policy.rtcp.sec_serv = rtcp_services;
    policy.ssrc.type = sender ? ssrc_any_outbound : ssrc_any_inbound;
    policy.key = key;
    policy.window_size = 1024;
    policy.allow_repeat_tx = 1;
    return srtp_create(out, &policy) == srtp_err_status_ok;
}

static void close_four(four *f)
{
    lk_srtp_deinit(&f->tx);
    lk_srtp_deinit(&f->rx);
    if (f->their_tx)
        (void)srtp_dealloc(f->their_tx);
    if (f->their_rx)
        (void)srtp_dealloc(f->their_rx);
}

static bool open_four(four *f, lk_env *env, const profile *p, uint64_t seed)
{
    uint8_t master[LK_SRTP_KEY_MAX + LK_SRTP_SALT_MAX];
    memset(f, 0, sizeof *f);
    lk_prng_init(&f->dice, seed);
    (void)lk_prng_fill(&f->dice, master, sizeof master);
    lk_srtp_config c = {.profile = p->id, .key = master, .salt = master + lk_srtp_key_len(p->id), .rtp_window = 1024, .rtcp_window = 128};
    bool ok = CHECK_OK(lk_srtp_init(&f->tx, env, &c));
    c.receiver = true;
    ok = CHECK_OK(lk_srtp_init(&f->rx, env, &c)) && ok;
    ok = CHECK(make_theirs(&f->their_tx, p, master, true, sec_serv_conf_and_auth)) && ok;
    return CHECK(make_theirs(&f->their_rx, p, master, false, sec_serv_conf_and_auth)) && ok;
}

static uint32_t below(four *f, uint32_t n) { return (uint32_t)(lk_prng_next(&f->dice) % n); }

/* A packet of random shape: contributing sources, extension block, padding bit, any size that fits a datagram. */
static size_t make_rtp(four *f, uint8_t *out, uint32_t ssrc, uint16_t seq)
{
    lk_wr w = lk_wr_of(out, ROOM);
    uint8_t filler[1400];
    uint32_t sources = below(f, 4) ? 0 : below(f, 16), words = below(f, 12);
    bool extended = below(f, 2);
    (void)lk_prng_fill(&f->dice, filler, sizeof filler);
    lk_wr_u8(&w, (uint8_t)(0x80 | (below(f, 4) ? 0 : 0x20) | (extended ? 0x10 : 0) | sources));
    lk_wr_u8(&w, (uint8_t)below(f, 256));
    lk_wr_u16(&w, seq);
    lk_wr_u32(&w, below(f, UINT32_MAX));
    lk_wr_u32(&w, ssrc);
    lk_wr_put(&w, filler, 4 * sources);
    if (extended) {
        lk_wr_u16(&w, below(f, 2) ? 0xBEDE : 0x1000);
        lk_wr_u16(&w, (uint16_t)words);
        lk_wr_put(&w, filler + 64, 4 * words);
    }
    lk_wr_put(&w, filler, below(f, 3) ? below(f, 200) : below(f, 1300));
    return w.len;
}

static size_t make_rtcp(four *f, uint8_t *out, uint32_t ssrc)
{
    lk_wr w = lk_wr_of(out, ROOM);
    uint8_t filler[1400];
    uint32_t words = below(f, 4) ? below(f, 20) : below(f, 340);
    (void)lk_prng_fill(&f->dice, filler, sizeof filler);
    lk_wr_u8(&w, (uint8_t)(0x80 | below(f, 32)));
    lk_wr_u8(&w, (uint8_t)(200 + below(f, 8)));
    lk_wr_u16(&w, (uint16_t)(1 + words));
    lk_wr_u32(&w, ssrc);
    lk_wr_put(&w, filler, 4 * words);
    return w.len;
}

/* Sends one packet through both senders and both receivers, crosswise; all four must agree. */
static bool cross(four *f, const uint8_t *plain, size_t len, bool rtcp)
{
    uint8_t ours[ROOM], theirs[ROOM], copy[ROOM];
    size_t n = len;
    int m = (int)len;
    memcpy(ours, plain, len);
    memcpy(theirs, plain, len);
    bool ok = CHECK_OK(rtcp ? lk_srtp_protect_rtcp(&f->tx, ours, &n, sizeof ours) : lk_srtp_protect_rtp(&f->tx, ours, &n, sizeof ours));
    ok = CHECK_EQ(rtcp ? srtp_protect_rtcp(f->their_tx, theirs, &m) : srtp_protect(f->their_tx, theirs, &m), srtp_err_status_ok) && ok;
    if (!ok || !CHECK_MEM(ours, n, theirs, (size_t)m))
        return false;
    memcpy(copy, ours, n);
    ok = CHECK_EQ(rtcp ? srtp_unprotect_rtcp(f->their_rx, copy, &m) : srtp_unprotect(f->their_rx, copy, &m), srtp_err_status_ok);
    ok = ok && CHECK_MEM(copy, (size_t)m, plain, len);
    ok = CHECK_OK(rtcp ? lk_srtp_unprotect_rtcp(&f->rx, theirs, &n) : lk_srtp_unprotect_rtp(&f->rx, theirs, &n)) && ok;
    return ok && CHECK_MEM(theirs, n, plain, len);
}

LK_TEST(rtp_of_every_shape_is_byte_for_byte_what_libsrtp_writes_and_opens_both_ways)
{
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        if (open_four(&f, env, &profiles[k], 100 + k)) {
            uint32_t ssrcs[16];
            uint16_t seqs[16];
            for (size_t i = 0; i < LK_LEN(ssrcs); i++) {
                ssrcs[i] = (uint32_t)lk_prng_next(&f.dice);
                seqs[i] = (uint16_t)below(&f, 32768);
            }
            for (int i = 0; i < 1200; i++) {
                uint8_t plain[ROOM];
                size_t s = below(&f, LK_LEN(ssrcs));
                seqs[s] = (uint16_t)(seqs[s] + 1 + (below(&f, 8) ? 0 : below(&f, 400)));
                if (!cross(&f, plain, make_rtp(&f, plain, ssrcs[s], seqs[s]), false))
                    break;
            }
        }
        close_four(&f);
    }
}

LK_TEST(rtcp_of_every_size_is_byte_for_byte_what_libsrtp_writes_and_opens_both_ways)
{
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        if (open_four(&f, env, &profiles[k], 200 + k))
            for (int i = 0; i < 600; i++) {
                uint8_t plain[ROOM];
                if (!cross(&f, plain, make_rtcp(&f, plain, 0x1000u + below(&f, 16)), true))
                    break;
            }
        close_four(&f);
    }
}

LK_TEST(three_roll_overs_agree_with_libsrtp)
{
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        if (open_four(&f, env, &profiles[k], 300 + k)) {
            uint64_t index = 65000;
            while (index < 4 * 65536ull) {
                uint8_t plain[ROOM];
                if (!cross(&f, plain, make_rtp(&f, plain, 7, (uint16_t)index), false))
                    break;
                index += 1 + below(&f, 700);
            }
            const lk_srtp_stream *t = lk_srtp_stream_of(&f.rx, 7);
            CHECK(t && t->index >> 16 == 3);
        }
        close_four(&f);
    }
}

/* One protected packet with its index, as a link holds it. */
typedef struct held {
    uint8_t data[160];
    size_t len;
} held;

LK_TEST(shuffled_and_repeated_packets_get_the_verdict_of_libsrtp)
{
    enum { SPAN = 3000 };
    static held packets[SPAN];
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        unsigned taken = 0, refused = 0;
        if (open_four(&f, env, &profiles[k], 400 + k)) {
            for (uint32_t i = 0; i < SPAN; i++) {
                held *h = &packets[i];
                uint8_t head[12] = {0x80, 111};
                lk_put_u16(head + 2, (uint16_t)(64000 + i));
                lk_put_u32(head + 8, 9);
                memset(h->data, 0x5a, 60);
                memcpy(h->data, head, sizeof head);
                h->len = 60;
                CHECK_OK(lk_srtp_protect_rtp(&f.tx, h->data, &h->len, sizeof h->data));
            }
            for (int i = 0; i < 6000; i++) {
                /* A front that moves on, with arrivals up to 1500 behind it: past the edge of the window. */
                uint32_t front = (uint32_t)i / 2, behind = below(&f, 2) ? below(&f, 30) : below(&f, 1500);
                const held *h = &packets[front > behind ? front - behind : front];
                uint8_t a[sizeof h->data], b[sizeof h->data];
                size_t n = h->len;
                int m = (int)h->len;
                memcpy(a, h->data, n);
                memcpy(b, h->data, n);
                lk_err ours = lk_srtp_unprotect_rtp(&f.rx, a, &n);
                srtp_err_status_t theirs = srtp_unprotect(f.their_rx, b, &m);
                bool replay = theirs == srtp_err_status_replay_fail || theirs == srtp_err_status_replay_old;
                CHECK(theirs == srtp_err_status_ok || replay);
                if (!CHECK_EQ(ours, replay ? LK_ERR_AGAIN : LK_OK))
                    break;
                taken += ours == LK_OK;
                refused += ours == LK_ERR_AGAIN;
            }
            CHECK(taken > 2000 && refused > 2000);
            CHECK_EQ(f.rx.replayed, refused);
            CHECK_EQ(f.rx.auth_failed, 0);
        }
        close_four(&f);
    }
}

LK_TEST(any_changed_bit_is_refused_by_both_and_does_no_harm)
{
    for (size_t k = 0; k < LK_LEN(profiles); k++)
        for (int rtcp = 0; rtcp < 2; rtcp++) {
            four f;
            if (open_four(&f, env, &profiles[k], 500 + k)) {
                uint8_t plain[ROOM], sealed[ROOM], copy[ROOM];
                size_t len = 0, n;
                while (len < 40 || len > 120)
                    len = rtcp ? make_rtcp(&f, plain, 5) : make_rtp(&f, plain, 5, 40000);
                n = len;
                memcpy(sealed, plain, len);
                CHECK_OK(rtcp ? lk_srtp_protect_rtcp(&f.tx, sealed, &n, ROOM) : lk_srtp_protect_rtp(&f.tx, sealed, &n, ROOM));
                for (size_t bit = 0; bit < n * 8; bit++) {
                    size_t got = n;
                    int m = (int)n;
                    memcpy(copy, sealed, n);
                    copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                    bool bad = (rtcp ? lk_srtp_unprotect_rtcp(&f.rx, copy, &got) : lk_srtp_unprotect_rtp(&f.rx, copy, &got)) == LK_OK;
                    memcpy(copy, sealed, n);
                    copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                    /* libsrtp does not look at the version of a packet, but then neither does the tag hold. */
                    bad = bad || (rtcp ? srtp_unprotect_rtcp(f.their_rx, copy, &m) : srtp_unprotect(f.their_rx, copy, &m)) == srtp_err_status_ok;
                    if (!CHECK(!bad))
                        break;
                }
                for (size_t cut = 0; cut < n; cut++) {
                    size_t got = cut;
                    memcpy(copy, sealed, n);
                    if (!CHECK((rtcp ? lk_srtp_unprotect_rtcp(&f.rx, copy, &got) : lk_srtp_unprotect_rtp(&f.rx, copy, &got)) != LK_OK))
                        break;
                }
                CHECK(f.rx.streams.count == 0);
                memcpy(copy, sealed, n);
                CHECK_OK(rtcp ? lk_srtp_unprotect_rtcp(&f.rx, copy, &n) : lk_srtp_unprotect_rtp(&f.rx, copy, &n));
                CHECK_MEM(copy, n, plain, len);
            }
            close_four(&f);
        }
}

LK_TEST(rtcp_repeated_or_older_than_its_window_is_refused)
{
    enum { SPAN = 400 };
    static held packets[SPAN];
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        if (open_four(&f, env, &profiles[k], 600 + k)) {
            for (uint32_t i = 0; i < SPAN; i++) {
                static const uint8_t rr[8] = {0x80, 201, 0, 1, 0, 0, 0, 3};
                memcpy(packets[i].data, rr, sizeof rr);
                packets[i].len = sizeof rr;
                CHECK_OK(lk_srtp_protect_rtcp(&f.tx, packets[i].data, &packets[i].len, sizeof packets[i].data));
            }
            static const struct {
                uint32_t at;
                lk_err verdict;
            } steps[] = {{0, LK_OK},    {0, LK_ERR_AGAIN},   {200, LK_OK},        {73, LK_OK},         {72, LK_ERR_AGAIN},
                         {199, LK_OK},  {199, LK_ERR_AGAIN}, {399, LK_OK},        {271, LK_ERR_AGAIN}, {272, LK_OK},
                         {398, LK_OK}, {272, LK_ERR_AGAIN}, {0, LK_ERR_AGAIN}};
            for (size_t i = 0; i < LK_LEN(steps); i++) {
                held h = packets[steps[i].at];
                CHECK_EQ(lk_srtp_unprotect_rtcp(&f.rx, h.data, &h.len), steps[i].verdict);
            }
        }
        close_four(&f);
    }
}

LK_TEST(rtcp_that_is_only_authenticated_is_taken_as_it_is)
{
    for (size_t k = 0; k < 2; k++) { /* libsrtp writes such packets in counter mode */
        four f;
        if (open_four(&f, env, &profiles[k], 700 + k)) {
            uint8_t master[LK_SRTP_KEY_MAX + LK_SRTP_SALT_MAX], plain[ROOM], buf[ROOM];
            lk_prng again;
            srtp_t clear = NULL;
            lk_prng_init(&again, 700 + k);
            (void)lk_prng_fill(&again, master, sizeof master);
            if (CHECK(make_theirs(&clear, &profiles[k], master, true, sec_serv_auth))) {
                size_t len = make_rtcp(&f, plain, 11), n;
                int m = (int)len;
                memcpy(buf, plain, len);
                CHECK_EQ(srtp_protect_rtcp(clear, buf, &m), srtp_err_status_ok);
                CHECK_MEM(buf, len, plain, len);
                n = (size_t)m;
                CHECK_OK(lk_srtp_unprotect_rtcp(&f.rx, buf, &n));
                CHECK_MEM(buf, n, plain, len);
                (void)srtp_dealloc(clear);
            }
        }
        close_four(&f);
    }
}

/* A sealed packet with that SSRC; f->tx is made anew for each, so that its own table is not the limit. */
static bool seal_small(lk_srtp *tx, uint32_t ssrc, uint16_t seq, held *h)
{
    memset(h->data, 0, 40);
    h->data[0] = 0x80;
    lk_put_u16(h->data + 2, seq);
    lk_put_u32(h->data + 8, ssrc);
    h->len = 40;
    return lk_srtp_protect_rtp(tx, h->data, &h->len, sizeof h->data) == LK_OK;
}

LK_TEST(a_sender_refuses_one_source_too_many_and_a_receiver_forgets_its_oldest)
{
    four f, g;
    bool ok = open_four(&f, env, &profiles[2], 800);
    ok = open_four(&g, env, &profiles[2], 800) && ok; /* same keys, another table */
    if (ok) {
        held h;
        for (uint32_t i = 0; i < LK_SRTP_STREAMS_MAX; i++) {
            CHECK(seal_small(&f.tx, i, 1, &h));
            CHECK_OK(lk_srtp_unprotect_rtp(&f.rx, h.data, &h.len));
        }
        CHECK(!seal_small(&f.tx, 999, 1, &h));
        CHECK(seal_small(&f.tx, 0, 2, &h));
        CHECK_OK(lk_srtp_unprotect_rtp(&f.rx, h.data, &h.len)); /* 0 was used last: 1 is the oldest */
        CHECK(seal_small(&g.tx, 999, 1, &h));
        CHECK_OK(lk_srtp_unprotect_rtp(&f.rx, h.data, &h.len));
        CHECK(lk_srtp_stream_of(&f.rx, 999) != NULL && lk_srtp_stream_of(&f.rx, 0) != NULL);
        CHECK(lk_srtp_stream_of(&f.rx, 1) == NULL);
        CHECK_EQ(f.rx.streams.count, LK_SRTP_STREAMS_MAX);
    }
    close_four(&f);
    close_four(&g);
}

LK_TEST(a_packet_resent_across_the_wrap_keeps_the_roll_over_it_had)
{
    four f;
    if (open_four(&f, env, &profiles[0], 900)) {
        held first, again;
        uint16_t seq = 65000;
        CHECK(seal_small(&f.tx, 1, seq, &first));
        for (int i = 0; i < 1000; i++) {
            held h;
            CHECK(seal_small(&f.tx, 1, ++seq, &h));
        }
        CHECK(seal_small(&f.tx, 1, 65000, &again));
        CHECK_MEM(first.data, first.len, again.data, again.len);
    }
    close_four(&f);
}

LK_TEST(a_listener_that_joins_just_past_the_wrap_finds_the_roll_over)
{
    four f;
    if (open_four(&f, env, &profiles[0], 950)) {
        held h;
        CHECK(seal_small(&f.tx, 1, 65535, &h));
        CHECK(seal_small(&f.tx, 1, 3, &h));
        CHECK_OK(lk_srtp_unprotect_rtp(&f.rx, h.data, &h.len));
        const lk_srtp_stream *t = lk_srtp_stream_of(&f.rx, 1);
        CHECK(t && t->index == 65536 + 3);
    }
    close_four(&f);
}

LK_TEST(what_is_no_packet_or_has_no_room_is_refused_by_name)
{
    four f;
    if (open_four(&f, env, &profiles[3], 1000)) {
        uint8_t p[ROOM] = {0x80, 111};
        size_t n = 11;
        CHECK_EQ(lk_srtp_protect_rtp(&f.tx, p, &n, sizeof p), LK_ERR_WIRE);
        n = 12;
        CHECK_EQ(lk_srtp_protect_rtp(&f.tx, p, &n, 27), LK_ERR_FULL);
        CHECK_EQ(n, 12);
        p[0] = 0x40; /* version 1 */
        CHECK_EQ(lk_srtp_protect_rtp(&f.tx, p, &n, sizeof p), LK_ERR_WIRE);
        p[0] = 0x8f; /* fifteen sources that are not there */
        CHECK_EQ(lk_srtp_protect_rtp(&f.tx, p, &n, sizeof p), LK_ERR_WIRE);
        p[0] = 0x90; /* an extension that is not there */
        CHECK_EQ(lk_srtp_protect_rtp(&f.tx, p, &n, sizeof p), LK_ERR_WIRE);
        n = 7;
        CHECK_EQ(lk_srtp_protect_rtcp(&f.tx, p, &n, sizeof p), LK_ERR_WIRE);
        p[0] = 0x80;
        n = 8;
        CHECK_EQ(lk_srtp_protect_rtcp(&f.tx, p, &n, 27), LK_ERR_FULL);
        n = ROOM;
        CHECK_EQ(lk_srtp_unprotect_rtp(&f.rx, p, &n), LK_ERR_AUTH);
    }
    close_four(&f);
    static const lk_srtp_config bad[] = {
        {.profile = (lk_srtp_profile)9, .rtp_window = 64, .rtcp_window = 64},
        {.profile = LK_SRTP_AES128_CM_SHA1_80, .rtp_window = 0, .rtcp_window = 64},
        {.profile = LK_SRTP_AES128_CM_SHA1_80, .rtp_window = 65, .rtcp_window = 64},
        {.profile = LK_SRTP_AES128_CM_SHA1_80, .rtp_window = 64, .rtcp_window = 2048},
    };
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        lk_srtp s;
        CHECK_EQ(lk_srtp_init(&s, env, &bad[i]), LK_ERR_INVALID);
        lk_srtp_deinit(&s);
    }
}

LK_TEST(packets_after_the_first_allocate_nothing)
{
    for (size_t k = 0; k < LK_LEN(profiles); k++) {
        four f;
        if (open_four(&f, env, &profiles[k], 1100 + k)) {
            held h;
            size_t before = 0;
            for (uint16_t i = 0; i < 200; i++) {
                CHECK(seal_small(&f.tx, 1, i, &h));
                CHECK_OK(lk_srtp_unprotect_rtp(&f.rx, h.data, &h.len));
                if (i == 0)
                    before = lk_test_alloc_count();
            }
            CHECK_EQ(lk_test_alloc_count(), before);
        }
        close_four(&f);
    }
}

LK_TEST(a_packet_sealed_from_two_places_is_the_one_sealed_in_place)
{
    static const uint16_t kinds[] = {LK_SRTP_AEAD_AES_128_GCM, LK_SRTP_AEAD_AES_256_GCM, LK_SRTP_AES128_CM_SHA1_80};
    uint8_t key[LK_SRTP_KEY_MAX], salt[LK_SRTP_SALT_MAX], plain[300];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(7 * i);
    memset(key, 3, sizeof key);
    memset(salt, 5, sizeof salt);
    plain[0] = 0x80;
    for (size_t i = 0; i < LK_LEN(kinds); i++) {
        lk_srtp tx, other;
        uint8_t in_place[400], apart[400];
        size_t len = sizeof plain, sealed = 0, leads[] = {0, 1, 6, 33};
        const lk_srtp_config c = {(lk_srtp_profile)kinds[i], key, salt, 1024, 128, false};
        if (!CHECK_OK(lk_srtp_init(&tx, env, &c)) || !CHECK_OK(lk_srtp_init(&other, env, &c)))
            return;
        memcpy(in_place, plain, sizeof plain);
        if (CHECK_OK(lk_srtp_protect_rtp(&tx, in_place, &len, sizeof in_place))) {
            for (size_t k = 0; k < LK_LEN(leads); k++) {
                memset(apart, 0, sizeof apart);
                memcpy(apart, plain, 12 + leads[k]);
                const uint8_t *rest = plain + 12 + leads[k];
                size_t rest_len = sizeof plain - 12 - leads[k];
                CHECK_OK(lk_srtp_seal_rtp(&other, lk_get_u16(plain + 2), apart, 12, leads[k], rest, rest_len, sizeof apart, &sealed));
                CHECK_MEM(apart, sealed, in_place, len);
            }
        }
        CHECK_EQ(lk_srtp_seal_rtp(&other, 1, apart, 12, 0, plain, 300, 320, &sealed), LK_ERR_FULL);
        CHECK_EQ(lk_srtp_seal_rtp(&other, UINT64_C(1) << 48, apart, 12, 0, plain, 30, 320, &sealed), LK_ERR_STATE);
        lk_srtp_deinit(&tx);
        lk_srtp_deinit(&other);
    }
}
