// SPDX-License-Identifier: Apache-2.0
/* What clients may send to the server's peers. First byte: 0 an offer, 1 an answer, else packets as they are after decryption,
 * each behind a byte of its length, alternately RTP of a publisher and RTCP of a subscriber; 3: the publisher has one stream, and
 * a single byte in place of RTCP is what the subscriber asks for. */
#include "fuzz_env.h"
#include "sfu/hub_internal.h"

#define HEAD "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n" \
             "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n" \
             "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\n"
#define AUDIO(dir) "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=" dir "\r\na=rtpmap:111 opus/48000/2\r\n" \
                   "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n" \
                   "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtcp-fb:111 nack\r\n"
#define VIDEO(dir) "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 108 35 116\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtcp-mux\r\na=" dir "\r\n" \
                   "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\na=rtpmap:108 H264/90000\r\n" \
                   "a=fmtp:108 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:35 AV1/90000\r\na=rtpmap:116 H265/90000\r\n" \
                   "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n" \
                   "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n" \
                   "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n" \
                   "a=extmap:5 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n" \
                   "a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n"
static const char publishes[] = HEAD AUDIO("sendonly") "a=msid:- mic\r\na=ssrc:1 cname:x\r\n" VIDEO("sendonly")
    "a=msid:- cam\r\na=rid:q send\r\na=rid:h send\r\na=simulcast:send q;h\r\n";
static const char publishes_one[] = HEAD AUDIO("sendonly") "a=msid:- mic\r\na=ssrc:1 cname:x\r\n" VIDEO("sendonly") "a=msid:- cam\r\na=ssrc:4 cname:x\r\n";
static const char subscribes[] = HEAD AUDIO("recvonly") VIDEO("recvonly");

static lk_dtls_context *dtls;

static lk_hub *fresh(const lk_env *env)
{
    static const lk_addr address = {.family = 4, .port = 7882, .ip = {10, 0, 0, 1}};
    lk_hub *hub;
    if (!dtls)
        FUZZ_REQUIRE(lk_dtls_context_new(&dtls, env) == LK_OK);
    FUZZ_REQUIRE(lk_hub_new(&hub, env, &(lk_hub_config){.dtls = dtls, .udp = &address, .udp_count = 1, .tcp = &address, .tcp_count = 1, .loop = 'a'}, 0) == LK_OK);
    return hub;
}

/* As if its handshake had been made. */
static void connect(lk_peer *p, uint8_t n)
{
    static const uint8_t key[LK_DTLS_KEY_MAX] = {7}, salt[LK_DTLS_SALT_MAX] = {9};
    lk_srtp_config c = {LK_SRTP_AEAD_AES_128_GCM, key, salt, 1024, 128, false};
    FUZZ_REQUIRE(lk_srtp_init(&p->transport.srtp_tx, p->hub->env, &c) == LK_OK);
    c.receiver = true;
    FUZZ_REQUIRE(lk_srtp_init(&p->transport.srtp_rx, p->hub->env, &c) == LK_OK);
    p->transport.srtp_ready = true;
    p->ice.paths[0] = (lk_ice_lite_path){.remote = {.family = 4, .port = 1, .ip = {10, 0, 1, n}}};
    p->ice.path_count = 1;
    p->ice.state = LK_ICE_STATE_CONNECTED;
}

static void drain(lk_hub *hub, lk_usec now, lk_up **ups, size_t *count)
{
    lk_hub_event e;
    lk_sfu_packet out[8];
    for (int i = 0; lk_hub_poll_event(hub, &e); i++) {
        FUZZ_REQUIRE(i < 10000);
        if (e.kind == LK_HUB_EV_UP && *count < LK_PC_SECTIONS_MAX)
            ups[(*count)++] = e.up;
    }
    for (int i = 0; lk_hub_poll_tx(hub, now, out, LK_LEN(out)) > 0; i++)
        FUZZ_REQUIRE(i < 10000);
}

static void describe(lk_hub *hub, bool answer, const char *sdp, size_t len, lk_up **ups, size_t *count)
{
    const lk_env *env = hub->env;
    lk_peer *p, *q;
    lk_text text;
    const char *why = NULL;
    lk_text_init(&text, env, 4u << 20);
    FUZZ_REQUIRE(lk_peer_new(&p, hub, &(lk_peer_config){.offers = answer, .open_channels = answer}, 0) == LK_OK);
    FUZZ_REQUIRE(lk_peer_new(&q, hub, &(lk_peer_config){.offers = false}, 0) == LK_OK);
    if (answer)
        FUZZ_REQUIRE(lk_peer_create_offer(p, 0, &text) == LK_OK);
    lk_err err = answer ? lk_peer_set_answer(p, 1000, sdp, len, &why) : lk_peer_accept_offer(p, 1000, sdp, len, &text, &why);
    FUZZ_REQUIRE(err == LK_OK || why != NULL);
    drain(hub, 2000, ups, count);
    if (err == LK_OK && !answer) { /* it may be offered again; what we answered can be read */
        size_t at = text.len;
        FUZZ_REQUIRE(lk_peer_accept_offer(p, 3000, sdp, len, &text, &why) == LK_OK);
        lk_pc *pc;
        lk_text offer;
        lk_text_init(&offer, env, 4u << 20);
        FUZZ_REQUIRE(lk_pc_new(&pc, env, &(lk_pc_config){.dtls = dtls, .controlling = true}, 0) == LK_OK && at > 0);
        (void)!lk_pc_create_offer(pc, 0, &offer);
        (void)!lk_pc_set_answer(pc, 0, text.p, at, &why);
        lk_pc_free(pc);
        lk_text_deinit(&offer);
    }
    drain(hub, 4000, ups, count);
    lk_text_deinit(&text);
    lk_peer_free(p);
    lk_peer_free(q);
}

static void forward(lk_hub *hub, bool one, const uint8_t *data, size_t size, lk_up **ups, size_t *count)
{
    const char *offer = one ? publishes_one : publishes;
    lk_peer *p, *q;
    lk_text text;
    lk_down *down[2] = {NULL, NULL};
    lk_usec now = LK_SEC(1);
    lk_text_init(&text, hub->env, 4u << 20);
    FUZZ_REQUIRE(lk_peer_new(&p, hub, &(lk_peer_config){.offers = false}, 0) == LK_OK);
    FUZZ_REQUIRE(lk_peer_new(&q, hub, &(lk_peer_config){.offers = false}, 0) == LK_OK);
    connect(p, 1);
    connect(q, 2);
    FUZZ_REQUIRE(lk_peer_accept_offer(p, now, offer, strlen(offer), &text, NULL) == LK_OK);
    drain(hub, now, ups, count);
    FUZZ_REQUIRE(*count == 2);
    for (size_t i = 0; i < 2; i++)
        FUZZ_REQUIRE(lk_down_new(&down[i], q, ups[i], &(lk_down_config){.stream = "s", .track = "t"}, now) == LK_OK);
    FUZZ_REQUIRE(lk_peer_accept_offer(q, now, subscribes, sizeof subscribes - 1, &text, NULL) == LK_OK);
    down[0]->ssrc = 2; /* known to the corpus */
    down[1]->ssrc = 3;
    for (unsigned n = 0; size > 1; n++) {
        size_t len = LK_MIN((size_t)data[0], size - 1);
        memcpy(hub->rx, data + 1, len);
        if (n & 1 && one && len == 1)
            lk_down_set(down[1], now, &(lk_down_settings){.quality = data[1] & 3, .fps = data[1] >> 2 & 31, .disabled = data[1] >> 7});
        else if (n & 1)
            lk_peer_on_rtcp(q, now, hub->rx, len);
        else
            lk_peer_on_rtp(p, now, len);
        data += 1 + len;
        size -= 1 + len;
        now += LK_MSEC(7);
        if (lk_hub_deadline(hub) <= now)
            lk_hub_tick(hub, now);
        drain(hub, now, ups, count);
    }
    lk_down_free(down[0]);
    lk_down_free(down[1]);
    lk_text_deinit(&text);
    lk_peer_free(p);
    lk_peer_free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lk_up *ups[LK_PC_SECTIONS_MAX];
    size_t count = 0;
    if (size < 2)
        return 0;
    lk_hub *hub = fresh(fuzz_env());
    if (data[0] < 2)
        describe(hub, data[0] == 1, (const char *)data + 1, size - 1, ups, &count);
    else
        forward(hub, data[0] == 3, data + 1, size - 1, ups, &count);
    for (size_t i = 0; i < count; i++)
        lk_up_free(ups[i]);
    lk_hub_free(hub);
    return 0;
}
