// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "sdp/sdp.h"

#define S(z_) {z_, sizeof(z_) - 1}
#define FP "8F:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"
#define HEAD "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
#define SECURE                                                                                          \
    "a=fingerprint:sha-256 " FP "\r\na=ice-ufrag:QmxlekkgalcegCkK\r\na=ice-pwd:SuPyikPdKGMQSMBfSuPyikPd\r\n" \
    "a=setup:active\r\n"

/* The audio section of a single-connection answer, and a video downlink slot that has been filled. */
static const char answer[] = HEAD SECURE
    "a=msid-semantic:WMS *\r\na=extmap-allow-mixed\r\na=group:BUNDLE 7 3\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 63 111 0 8\r\nc=IN IP4 0.0.0.0\r\n"
    "a=candidate:2878742611 1 udp 2130706431 127.0.0.1 51078 typ host ufrag QmxlekkgalcegCkK\r\n"
    "a=candidate:2878742611 2 udp 2130706431 127.0.0.1 51078 typ host ufrag QmxlekkgalcegCkK\r\n"
    "a=end-of-candidates\r\na=mid:7\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=recvonly\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:3\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
    "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    "a=ssrc-group:FID 1912906419 87959257\r\n"
    "a=ssrc:1912906419 cname:PA_x|TR_y\r\na=ssrc:1912906419 msid:PA_x|TR_y TR_y\r\n"
    "a=ssrc:1912906419 mslabel:PA_x|TR_y\r\na=ssrc:1912906419 label:TR_y\r\n"
    "a=ssrc:87959257 cname:PA_x|TR_y\r\na=msid:PA_x|TR_y TR_y\r\na=sendonly\r\n";

LK_TEST(an_answer_of_the_server_gives_up_all_we_use)
{
    lk_arena arena;
    lk_sdp s;
    lk_str v;
    const char *why = NULL;
    lk_arena_init(&arena, env, 1 << 20);
    lk_err err = lk_sdp_parse(&s, &arena, answer, sizeof answer - 1);
    if (CHECK_OK(err)) {
        CHECK_OK(lk_sdp_check(&s, &why));
        CHECK_EQ(s.media_count, 2);
        lk_sdp_media *a = lk_sdp_media_by_mid(&s, lk_str_of("7")), *b = lk_sdp_media_by_mid(&s, lk_str_of("3"));
        CHECK(a == &s.media[0] && b == &s.media[1]);
        CHECK_EQ(lk_sdp_dir_of(&s, a), LK_SDP_RECVONLY);
        CHECK_EQ(lk_sdp_setup_of(&s, a), LK_SDP_ACTIVE);
        CHECK(lk_str_eq(lk_sdp_ufrag(&s, b), "QmxlekkgalcegCkK"));
        CHECK(lk_sdp_fingerprint_of(&s, b) && lk_str_eq(lk_sdp_fingerprint_of(&s, b)->value, FP));
        CHECK_EQ(a->candidate_count, 2);
        CHECK(lk_str_starts(a->candidates[1], "candidate:2878742611 2 udp") && a->end_of_candidates);
        CHECK_EQ(a->codecs[0].pt, 63);
        CHECK_EQ(lk_sdp_codec_by_name(a, "OPUS")->pt, 111);
        CHECK(lk_sdp_fmtp_get(lk_sdp_codec_by_pt(a, 111)->fmtp, "usedtx", &v) && lk_str_eq(v, "1"));
        CHECK(!lk_sdp_fmtp_get(lk_sdp_codec_by_pt(a, 111)->fmtp, "stereo", &v));
        CHECK_EQ(lk_sdp_extmap_id(a, "urn:ietf:params:rtp-hdrext:sdes:mid"), 4);
        CHECK_EQ(lk_sdp_extmap_id(b, "urn:ietf:params:rtp-hdrext:sdes:mid"), 0);
        CHECK_EQ(lk_sdp_rtx_for(b, 96), 97);
        CHECK_EQ(lk_sdp_rtx_for(a, 111), -1);
        CHECK(lk_sdp_has_fb(b, 96, "nack pli") && !lk_sdp_has_fb(b, 97, "nack"));
        CHECK_EQ(lk_sdp_group_peer(b, "FID", 1912906419), 87959257);
        CHECK(lk_str_eq(b->stream, "PA_x|TR_y") && lk_str_eq(b->track, "TR_y"));
        CHECK(b->ssrc_count == 2 && lk_str_eq(b->ssrcs[0].track, "TR_y"));
    } else {
        CHECK_EQ(err, LK_ERR_NOMEM);
    }
    lk_arena_deinit(&arena);
}

LK_TEST(what_is_written_reads_back)
{
    lk_sdp_fingerprint fp = {S("sha-256"), S(FP)};
    lk_str bundle[] = {S("0"), S("1")};
    lk_sdp_codec codecs[] = {{111, S("opus"), 48000, 2, S("minptime=10;stereo=1")}, {63, S("red"), 48000, 2, S("111/111")}};
    lk_sdp_fb fbs[] = {{111, S("transport-cc")}};
    lk_sdp_extmap ext[] = {{1, LK_SDP_DIR_NONE, S("urn:ietf:params:rtp-hdrext:ssrc-audio-level")}};
    lk_sdp_ssrc ssrcs[] = {{410477132, S("60YWic7KVgw1rHS5"), S("-"), S("d5fda341-014b")}};
    lk_sdp_rid rids[] = {{S("f"), true, {"", 0}}, {S("q"), true, {"", 0}}};
    lk_sdp_transport transport = {.ice_ufrag = S("abcd"), .ice_pwd = S("abcdefghijklmnopqrstuv"), .fingerprints = &fp,
                                  .fingerprint_count = 1, .setup = LK_SDP_ACTPASS, .ice_options = S("trickle")};
    lk_sdp_media media[2] = {
        {.kind = LK_SDP_AUDIO, .port = 9, .mid = S("0"), .transport = transport, .dir = LK_SDP_SENDONLY, .rtcp_mux = true,
         .rtcp_rsize = true, .has_msid = true, .stream = S("-"), .track = S("d5fda341-014b"), .codecs = codecs,
         .codec_count = 2, .fbs = fbs, .fb_count = 1, .extmaps = ext, .extmap_count = 1, .ssrcs = ssrcs, .ssrc_count = 1,
         .rids = rids, .rid_count = 2, .simulcast_send = S("f;q")},
        {.kind = LK_SDP_APPLICATION, .port = 9, .mid = S("1"), .transport = transport, .sctp_port = 5000,
         .has_max_message_size = true, .max_message_size = 65535},
    };
    lk_sdp s = {.origin_id = 7, .origin_version = 2, .bundle = bundle, .bundle_count = 2, .extmap_allow_mixed = true,
                .msid_semantic = S(" WMS *"), .media = media, .media_count = 2};
    lk_text t;
    lk_arena arena;
    lk_sdp back;
    const char *why = NULL;
    lk_text_init(&t, env, 65536);
    lk_arena_init(&arena, env, 1 << 20);
    if (lk_sdp_write(&s, &t) == LK_OK && lk_sdp_parse(&back, &arena, t.p, t.len) == LK_OK) {
        CHECK_OK(lk_sdp_check(&back, &why));
        CHECK_EQ(back.media_count, 2);
        CHECK(lk_str_eq(back.media[0].track, "d5fda341-014b") && lk_str_eq(back.media[0].simulcast_send, "f;q"));
        CHECK_EQ(back.media[0].codecs[0].clock_hz, 48000);
        CHECK(lk_str_eq(back.media[1].formats, "webrtc-datachannel") && back.media[1].sctp_port == 5000);
    } else {
        CHECK(lk_test_oom());
    }
    lk_text_deinit(&t);
    lk_arena_deinit(&arena);
}

LK_TEST(no_value_from_outside_can_start_a_line_of_its_own)
{
    static const lk_str bad[] = {S("a\r\na=x"), S("a\nb"), S("a b"), S("a\rb"), {"a\0b", 3}};
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        lk_sdp_media m = {.kind = LK_SDP_AUDIO, .port = 0, .mid = bad[i]};
        lk_sdp s = {.media = &m, .media_count = 1};
        lk_text t;
        lk_text_init(&t, env, 65536);
        lk_text_z(&t, "before");
        CHECK(lk_sdp_write(&s, &t) != LK_OK);
        CHECK(t.bad || t.len == 0 || t.len == 6);
        m = (lk_sdp_media){.kind = LK_SDP_AUDIO, .has_msid = true, .stream = S("-"), .track = bad[i]};
        CHECK(lk_sdp_write(&s, &t) != LK_OK);
        lk_text_deinit(&t);
    }
}

LK_TEST(limits_hold_and_take_linear_time)
{
    static char big[LK_SDP_MAX + 2];
    lk_arena arena;
    lk_sdp s;
    lk_arena_init(&arena, env, 64u << 20);
    memset(big, 'x', sizeof big);
    CHECK_EQ(lk_sdp_parse(&s, &arena, big, sizeof big), LK_ERR_LIMIT);
    size_t n = sizeof HEAD - 1;
    memcpy(big, HEAD, n);
    memcpy(big + n, "a=", 2);
    CHECK_EQ(lk_sdp_parse(&s, &arena, big, n + LK_SDP_LINE_MAX + 1), LK_ERR_LIMIT);
    for (unsigned i = 0; i <= LK_SDP_MEDIA_MAX; i++, n += 13)
        memcpy(big + n, "m=audio 9 X\r\n", 13);
    CHECK_EQ(lk_sdp_parse(&s, &arena, big, n), LK_ERR_LIMIT);
    lk_err err = lk_sdp_parse(&s, &arena, big, n - 13);
    CHECK(err == LK_OK || err == LK_ERR_NOMEM);
    if (err == LK_OK)
        CHECK_EQ(lk_sdp_check(&s, NULL), LK_ERR_PROTOCOL);
    lk_arena_deinit(&arena);
}

/* Room is counted before the lines are read: both must mean the same lines, or the arrays run into each other. */
LK_TEST(an_attribute_without_its_value_takes_no_place_of_another)
{
    static const char *const names[] = {"extmap", "ssrc", "ssrc-group", "rtcp-fb", "rid", "candidate", "fingerprint"};
    static const char *const forms[] = {"a=%\r\n", "a=%:\r\n", "a=%: \r\n", "a=% 1\r\n", "a=%x:1 2\r\n"};
    for (size_t n = 0; n < LK_LEN(names); n++)
        for (size_t f = 0; f < LK_LEN(forms); f++) {
            lk_arena arena;
            lk_text t;
            lk_sdp s;
            lk_arena_init(&arena, env, 1 << 20);
            lk_text_init(&t, env, 1 << 16);
            lk_text_z(&t, HEAD "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n");
            for (int i = 0; i < 12; i++)
                for (const char *c = forms[f]; *c; c++)
                    *c == '%' ? lk_text_z(&t, names[n]) : lk_text_ch(&t, *c);
            lk_text_z(&t, SECURE "a=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\na=extmap:1 urn:one\r\na=extmap:2 urn:two\r\n"
                                 "a=rid:h send\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:c\r\na=ssrc:6 cname:c\r\n"
                                 "a=candidate:1 1 udp 2130706431 127.0.0.1 51078 typ host\r\na=sendrecv\r\n");
            if (t.bad || lk_sdp_parse(&s, &arena, t.p, t.len) != LK_OK) {
                CHECK(lk_test_oom());
            } else {
                const lk_sdp_media *m = s.media;
                CHECK_EQ(s.media_count, 1);
                CHECK_EQ(m->transport.fingerprint_count, 1);
                CHECK(lk_str_eq(m->transport.fingerprints[0].hash, "sha-256") && lk_str_eq(m->transport.fingerprints[0].value, FP));
                CHECK(m->extmap_count == 2 && lk_str_eq(m->extmaps[0].uri, "urn:one") && lk_str_eq(m->extmaps[1].uri, "urn:two"));
                CHECK(m->ssrc_count == 2 && m->ssrcs[0].ssrc == 5 && m->ssrcs[1].ssrc == 6 && lk_str_eq(m->ssrcs[1].cname, "c"));
                CHECK(m->group_count == 1 && m->groups[0].count == 2 && m->groups[0].ssrcs[1] == 6);
                CHECK(m->fb_count == 1 && m->fbs[0].pt == 111);
                CHECK(m->rid_count == 1 && lk_str_eq(m->rids[0].id, "h"));
                CHECK(m->candidate_count >= 1 && lk_str_starts(m->candidates[m->candidate_count - 1], "candidate:1 1 udp"));
            }
            lk_text_deinit(&t);
            lk_arena_deinit(&arena);
        }
}
