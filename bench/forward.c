// SPDX-License-Identifier: Apache-2.0
/* bench_forward: what forwarding one packet costs in memory, without sockets.
 *
 * One client publishes through a hub to 1, 10, 100 and 300 others; all are real connections (handshakes, keys). Then packets of
 * the publisher are put in and everything the hub makes of them is taken out; only the hub's time counts. Printed as one JSON
 * object on standard output: nanoseconds and allocations per forwarded packet, and bytes per subscriber.
 */
#include "pc/pc_internal.h"
#include "sfu/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define CLIENTS_MAX 301
#define PACKETS 4000

static size_t allocations, live_bytes;

static void *count_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    allocations++;
    live_bytes += size;
    return malloc(size);
}

static void *count_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    allocations++;
    live_bytes += new_size - old_size;
    return realloc(p, new_size);
}

static void count_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    live_bytes -= size;
    free(p);
}

typedef struct client {
    lk_pc *pc;
    lk_peer *peer;
    lk_addr address;
    lk_down *down;
} client;

typedef struct bench {
    const lk_env *env;
    lk_dtls_context *server, *clients_dtls;
    lk_hub *hub;
    lk_up *up;
    lk_addr address;
    lk_usec now;
    client client[CLIENTS_MAX];
    size_t count;
} bench;

static void die(const char *what)
{
    fprintf(stderr, "bench_forward: %s\n", what);
    exit(1);
}

static void take_events(bench *b)
{
    lk_hub_event e;
    while (lk_hub_poll_event(b->hub, &e))
        if (e.kind == LK_HUB_EV_UP)
            b->up = e.up;
}

/* Datagrams between one client and the hub until both are silent. */
static void settle(bench *b, client *c)
{
    lk_sfu_packet out[16];
    lk_datagram d;
    lk_pc_event e;
    for (bool busy = true; busy;) {
        busy = false;
        take_events(b);
        for (size_t n; (n = lk_hub_poll_tx(b->hub, b->now, out, LK_LEN(out))) > 0;)
            for (size_t i = 0; i < n; i++)
                if (lk_addr_eq(&out[i].d.remote, &c->address)) {
                    const lk_datagram in = {c->address, b->address, out[i].d.data, out[i].d.len};
                    lk_pc_input(c->pc, b->now, &in);
                    busy = true;
                    while (lk_pc_poll_event(c->pc, &e)) {}
                }
        while (lk_pc_poll_tx(c->pc, b->now, &d)) {
            const lk_sfu_packet in = {.d = {b->address, c->address, d.data, d.len}};
            (void)lk_hub_input(b->hub, b->now, &in);
            busy = true;
            take_events(b);
        }
        while (lk_pc_poll_event(c->pc, &e)) {}
    }
}

static void negotiate(bench *b, client *c)
{
    lk_text offer, answer;
    lk_text_init(&offer, b->env, 1u << 20);
    lk_text_init(&answer, b->env, 1u << 20);
    if (lk_pc_create_offer(c->pc, b->now, &offer) != LK_OK ||
        lk_peer_accept_offer(c->peer, b->now, offer.p, offer.len, &answer, NULL) != LK_OK ||
        lk_pc_set_answer(c->pc, b->now, answer.p, answer.len, NULL) != LK_OK)
        die("negotiation failed");
    lk_text_deinit(&offer);
    lk_text_deinit(&answer);
    take_events(b);
    settle(b, c);
}

static void join(bench *b, client *c, lk_media_kind kind, bool publishes)
{
    const lk_pc_section s = {.kind = kind, .direction = publishes ? LK_PC_SENDONLY : LK_PC_RECVONLY, .stream = "-", .track = publishes ? "cid" : ""};
    uint32_t index;
    size_t n = b->count++;
    c->address = lk_addr_v4(10, 0, (uint8_t)(n >> 8), (uint8_t)n, (uint16_t)(2000 + n));
    if (lk_pc_new(&c->pc, b->env, &(lk_pc_config){.dtls = b->clients_dtls, .controlling = true}, b->now) != LK_OK ||
        lk_peer_new(&c->peer, b->hub, &(lk_peer_config){.user = c}, b->now) != LK_OK || lk_pc_add_section(c->pc, &s, &index) != LK_OK)
        die("no peer");
    negotiate(b, c);
    if (lk_pc_add_local_address(c->pc, b->now, &c->address) != LK_OK)
        die("no address");
    for (int i = 0; i < 200 && lk_peer_state(c->peer) != LK_PC_STATE_CONNECTED; i++) {
        b->now += LK_MSEC(5);
        lk_pc_tick(c->pc, b->now);
        settle(b, c);
    }
    if (lk_peer_state(c->peer) != LK_PC_STATE_CONNECTED)
        die("not connected");
}

static double cpu_nsec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

typedef struct measured {
    double nsec;
    double allocations;
    size_t bytes_per_subscriber;
} measured;

static measured run(const lk_env *env, lk_media_kind kind, size_t payload, size_t burst, size_t subscribers)
{
    static bench world;
    bench *b = &world;
    memset(b, 0, sizeof *b);
    b->env = env;
    b->now = LK_SEC(10);
    b->address = lk_addr_v4(10, 1, 0, 1, 7882);
    if (lk_dtls_context_new(&b->server, env) != LK_OK || lk_dtls_context_new(&b->clients_dtls, env) != LK_OK ||
        lk_hub_new(&b->hub, env, &(lk_hub_config){.dtls = b->server, .udp = &b->address, .udp_count = 1, .loop = 'a'}, b->now) != LK_OK)
        die("no hub");
    join(b, &b->client[0], kind, true);
    if (!b->up)
        die("no track");
    size_t before = live_bytes, peers = 0;
    for (size_t i = 1; i <= subscribers; i++) {
        client *c = &b->client[i];
        join(b, c, kind, false);
        if (lk_down_new(&c->down, c->peer, b->up, &(lk_down_config){.stream = "PA", .track = "TR"}, b->now) != LK_OK)
            die("no subscription");
        negotiate(b, c);
        lk_pc_free(c->pc); /* its part is played; nothing is fed back */
        c->pc = NULL;
    }
    peers = live_bytes - before;
    lk_pc *pc = b->client[0].pc;
    const lk_pc_sect *s = lk_pc_sect_at(pc, 0);
    uint16_t seq = 1;
    uint32_t ts = 1;
    double spent = 0;
    size_t forwarded = 0, counted = 0;
    bool video = kind == LK_MEDIA_KIND_VIDEO;
    size_t rounds = LK_MAX((size_t)2000, PACKETS * 100 / (subscribers * burst)), warm = rounds / 2;
    for (size_t i = 0; i < rounds; i++) {
        uint8_t packets[16][1500];
        size_t lens[16];
        for (size_t k = 0; k < burst; k++) {
            uint8_t body[1300] = {0};
            if (video)
                memcpy(body, (const uint8_t[]){(uint8_t)(k ? 0x80 : 0x90), 0x80, (uint8_t)(0x80 | (i >> 8 & 0x7f)), (uint8_t)i, (uint8_t)(i % 500 != 0)}, 5);
            lk_wr w = lk_wr_of(packets[k], sizeof packets[k]);
            lk_rtp_write_header(&w, s->codec.pt, k + 1 == burst, seq++, ts, s->sender->ssrc, NULL, 0);
            lk_wr_put(&w, body, payload);
            lens[k] = w.len;
            if (lk_srtp_protect_rtp(&pc->transport.srtp_tx, packets[k], &lens[k], sizeof packets[k]) != LK_OK)
                die("protect");
        }
        ts += video ? 3000 : 960;
        b->now += video ? LK_MSEC(2) : LK_MSEC(20);
        if (i == warm) {
            counted = allocations;
            spent = 0;
            forwarded = 0;
        }
        double at = cpu_nsec();
        for (size_t k = 0; k < burst; k++) {
            const lk_sfu_packet in = {.d = {b->address, b->client[0].address, packets[k], lens[k]}};
            (void)lk_hub_input(b->hub, b->now, &in);
        }
        lk_sfu_packet out[64];
        for (size_t n; (n = lk_hub_poll_tx(b->hub, b->now, out, LK_LEN(out))) > 0;)
            forwarded += n;
        spent += cpu_nsec() - at;
        take_events(b);
    }
    measured m = {spent / (double)LK_MAX(forwarded, (size_t)1), (double)(allocations - counted) / (double)LK_MAX(forwarded, (size_t)1),
                  peers / subscribers};
    for (size_t i = 1; i <= subscribers; i++) {
        lk_down_free(b->client[i].down);
        lk_peer_free(b->client[i].peer);
    }
    lk_up_free(b->up);
    lk_peer_free(b->client[0].peer);
    lk_pc_free(pc);
    lk_hub_free(b->hub);
    lk_dtls_context_free(b->server);
    lk_dtls_context_free(b->clients_dtls);
    return m;
}

int main(void)
{
    static const lk_mem mem = {NULL, count_alloc, count_resize, count_release};
    static const char *broken;
    static const size_t subscribers[] = {1, 10, 100, 300};
    static const struct {
        const char *name;
        lk_media_kind kind;
        size_t payload, burst;
    } cases[] = {{"audio", LK_MEDIA_KIND_AUDIO, 160, 1}, {"video", LK_MEDIA_KIND_VIDEO, 1100, 1}, {"video_frame", LK_MEDIA_KIND_VIDEO, 1100, 6}};
    lk_prng prng;
    const lk_rng rng = {&prng, lk_prng_fill};
    const lk_env env = {.mem = &mem, .rng = &rng, .broken = &broken};
    lk_prng_init(&prng, 1);
    printf("{");
    for (size_t c = 0; c < LK_LEN(cases); c++) {
        printf("%s\"%s\": {", c ? ", " : "", cases[c].name);
        for (size_t i = 0; i < LK_LEN(subscribers); i++) {
            measured m = run(&env, cases[c].kind, cases[c].payload, cases[c].burst, subscribers[i]);
            printf("%s\"%zu\": {\"nsec_per_packet\": %.0f, \"allocations_per_packet\": %.4f, \"bytes_per_subscriber\": %zu}", i ? ", " : "",
                   subscribers[i], m.nsec, m.allocations, m.bytes_per_subscriber);
        }
        printf("}");
    }
    printf("}\n");
    return 0;
}
