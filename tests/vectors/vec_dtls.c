// SPDX-License-Identifier: Apache-2.0
/* Captured datagrams are DTLS to the demultiplexer; hostile ones never reach a handshake from where no check has passed,
 * and never end an association from where one has. */
#include "dtls/dtls.h"
#include "pc/pc.h"
#include "rtp/demux.h"
#include "vectors/lk_vectors.h"

typedef struct pair {
    lk_dtls_context *context;
    lk_pc *client, *server;
    lk_usec now;
} pair;

static const lk_addr *address_of(bool client)
{
    static lk_addr a, b;
    a = lk_addr_v4(10, 0, 0, 1, 5000);
    b = lk_addr_v4(10, 0, 0, 2, 6000);
    return client ? &a : &b;
}

static bool negotiate(lk_vec *v, pair *p)
{
    const lk_pc_section slot = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    lk_text offer, answer;
    uint32_t index;
    const char *why = "";
    lk_text_init(&offer, v->env, 65536);
    lk_text_init(&answer, v->env, 65536);
    bool ok = lk_pc_add_section(p->client, &slot, &index) == LK_OK && lk_pc_create_offer(p->client, p->now, &offer) == LK_OK &&
              lk_pc_accept_offer(p->server, p->now, offer.p, offer.len, &answer, &why) == LK_OK &&
              lk_pc_set_answer(p->client, p->now, answer.p, answer.len, &why) == LK_OK &&
              lk_pc_add_local_address(p->client, p->now, address_of(true)) == LK_OK &&
              lk_pc_add_local_address(p->server, p->now, address_of(false)) == LK_OK;
    lk_text_deinit(&offer);
    lk_text_deinit(&answer);
    return VCHECK(v, ok);
}

static bool open_pair(lk_vec *v, pair *p)
{
    memset(p, 0, sizeof *p);
    if (!VEQ(v, lk_dtls_context_new(&p->context, v->env), LK_OK))
        return false;
    const lk_pc_config client = {.dtls = p->context, .controlling = true}, server = {.dtls = p->context};
    return VEQ(v, lk_pc_new(&p->client, v->env, &client, 0), LK_OK) && VEQ(v, lk_pc_new(&p->server, v->env, &server, 0), LK_OK) &&
           negotiate(v, p);
}

static void close_pair(pair *p)
{
    lk_pc_free(p->client);
    lk_pc_free(p->server);
    lk_dtls_context_free(p->context);
}

static void take_events(pair *p, lk_pc *from, lk_pc *to)
{
    lk_pc_event e;
    while (lk_pc_poll_event(from, &e))
        if (e.type == LK_PC_EV_CANDIDATE)
            (void)!lk_pc_add_remote_candidate(to, p->now, e.text, strlen(e.text));
}

static void inject(lk_pc *pc, lk_usec now, const lk_addr *local, lk_bytes bytes)
{
    const lk_datagram d = {.local = *local, .remote = lk_addr_v4(10, 9, 9, 9, 999), .data = bytes.data, .len = bytes.len};
    lk_pc_input(pc, now, &d);
}

/* Carries one datagram; before each, the hostile one from elsewhere. */
static bool carry(pair *p, lk_pc *from, lk_pc *to, bool from_client, lk_bytes hostile)
{
    lk_datagram d;
    uint8_t copy[2048];
    if (!lk_pc_poll_tx(from, p->now, &d))
        return false;
    memcpy(copy, d.data, d.len);
    if (hostile.len) {
        inject(to, p->now, address_of(!from_client), hostile);
        inject(from, p->now, address_of(from_client), hostile);
    }
    const lk_datagram in = {.local = d.remote, .remote = d.local, .data = copy, .len = d.len};
    lk_pc_input(to, p->now, &in);
    return true;
}

static bool connect_under(pair *p, lk_bytes hostile)
{
    for (lk_usec end = p->now + LK_SEC(20); p->now < end; p->now += LK_MSEC(10)) {
        for (bool moved = true; moved;) {
            take_events(p, p->client, p->server);
            take_events(p, p->server, p->client);
            moved = carry(p, p->client, p->server, true, hostile);
            moved = carry(p, p->server, p->client, false, hostile) || moved;
        }
        if (lk_pc_state_of(p->client) == LK_PC_STATE_CONNECTED && lk_pc_state_of(p->server) == LK_PC_STATE_CONNECTED)
            return true;
        lk_pc_tick(p->client, p->now);
        lk_pc_tick(p->server, p->now);
    }
    return false;
}

/* From the validated address, after the handshake: the association lives on. */
static void inject_inside(lk_vec *v, pair *p, lk_bytes hostile)
{
    lk_datagram d = {.local = *address_of(true), .remote = *address_of(false), .data = hostile.data, .len = hostile.len};
    lk_pc_input(p->client, p->now, &d);
    d.local = *address_of(false);
    d.remote = *address_of(true);
    lk_pc_input(p->server, p->now, &d);
    lk_pc_tick(p->client, p->now + 1000);
    lk_pc_tick(p->server, p->now + 1000);
    VEQ(v, lk_pc_state_of(p->client), LK_PC_STATE_CONNECTED);
    VEQ(v, lk_pc_state_of(p->server), LK_PC_STATE_CONNECTED);
}

static void run(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        pair p;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        if (lk_vec_is(c, "kind", "capture")) {
            VEQ(v, lk_demux(in.data, in.len), LK_DEMUX_DTLS);
        } else {
            if (open_pair(v, &p) && VCHECK(v, connect_under(&p, in)))
                inject_inside(v, &p, in);
            close_pair(&p);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("dtls/dtls.json", run)
