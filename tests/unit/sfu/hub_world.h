// SPDX-License-Identifier: Apache-2.0
/* One hub and some clients in memory. Time is virtual; the way between them takes 10 ms and loses every lose_every-th datagram
 * of media. Clients are lk_pc: on a single connection they offer; what they send beyond it is laid on the wire by hand. */
#pragma once
#include "lk_test.h"
#include "pc/pc_internal.h"
#include "sfu/peer.h"

#define WORLD_CLIENTS_MAX 8
#define WORLD_AIR_MAX 2048
#define WORLD_HEARD_MAX 4096

typedef struct world_client {
    lk_pc *pc;
    lk_peer *peer;
    lk_addr address;
    lk_dtls_context *dtls;
    unsigned tracks_on, tracks_off, rtp, keys, channels_open, messages, states;
    uint8_t message[64];
    size_t message_len;
    char track[LK_PC_ID_MAX], stream[LK_PC_ID_MAX];
    uint32_t index;
    bool heard[WORLD_HEARD_MAX]; /* by the number in the payload */
    /* how what arrives fits together */
    bool started, red;
    uint16_t seq, picture;
    uint32_t ts, gaps, ts_back, picture_gaps, late;
    uint8_t layer; /* tag in the payload */
    unsigned switches;
    uint8_t pt;
    void (*watch)(const lk_rtp_packet *p); /* sees what arrives, too */
} world_client;

typedef struct world_flying {
    lk_usec at;
    int from, to; /* -1: the hub */
    size_t len;
    uint8_t data[1700];
} world_flying;

typedef struct world {
    lk_hub *hub;
    lk_dtls_context *dtls;
    lk_addr address;
    lk_usec now;
    world_client client[WORLD_CLIENTS_MAX];
    size_t clients;
    unsigned lose_every, carried;
    int lose_to; /* only towards that client; -1: everywhere */
    uint64_t rate_bps; /* of the way to client 1; 0: any. What would wait longer than 300 ms is lost */
    lk_usec rate_free_at;
    uint64_t rate_lost;
    world_flying air[WORLD_AIR_MAX];
    size_t air_count;
    lk_text offer, answer;
    const char *why;
    /* what the hub said last */
    lk_up *up[8];
    size_t ups;
    unsigned up_live, up_ended, bound, refused, wanted_events, down_states, hub_messages, hub_channels, connected;
    int wanted;
    lk_peer_channel channel;
} world;

static inline void world_hub_events(world *w)
{
    lk_hub_event e;
    while (lk_hub_poll_event(w->hub, &e)) {
        if (e.kind == LK_HUB_EV_UP && w->ups < LK_LEN(w->up))
            w->up[w->ups++] = e.up;
        w->up_live += e.kind == LK_HUB_EV_UP_LIVE;
        w->up_ended += e.kind == LK_HUB_EV_UP_ENDED;
        w->bound += e.kind == LK_HUB_EV_DOWN_BOUND;
        w->refused += e.kind == LK_HUB_EV_DOWN_REFUSED;
        w->down_states += e.kind == LK_HUB_EV_DOWN_STATE;
        w->connected += e.kind == LK_HUB_EV_STATE && e.state == LK_PC_STATE_CONNECTED;
        if (e.kind == LK_HUB_EV_WANTED) {
            w->wanted_events++;
            w->wanted = lk_up_wanted(e.up);
        }
        if (e.kind == LK_HUB_EV_CHANNEL)
            w->hub_channels++;
        if (e.kind == LK_HUB_EV_DATA) {
            w->hub_messages++;
            w->channel = e.channel;
        }
    }
}

static inline void world_hear(world_client *c, const lk_pc_event *e)
{
    const lk_rtp_packet *p = &e->packet;
    bool video = p->pt >= 96 && p->pt < 110;
    const uint8_t *body = p->payload + (video ? 6 : 0);
    if (c->watch)
        c->watch(p);
    c->rtp++;
    c->red = e->red;
    c->pt = p->pt;
    if (p->payload_len < (video ? 12u : 2u))
        return;
    uint16_t number = lk_get_u16(body + (video ? 1 : 0));
    if (number < WORLD_HEARD_MAX)
        c->heard[number] = true;
    bool newer = !c->started || lk_seq16_newer(p->seq, c->seq);
    if (!newer) {
        c->late++;
        return;
    }
    if (c->started) {
        c->gaps += (uint16_t)(p->seq - c->seq - 1);
        c->ts_back += lk_ts32_diff(p->ts, c->ts) < 0;
    }
    if (video) {
        uint16_t picture = lk_get_u16(p->payload + 2) & 0x7fff;
        if (c->started && picture != c->picture && picture != ((c->picture + 1) & 0x7fff))
            c->picture_gaps++;
        c->picture = picture;
        c->switches += c->started && body[3] != c->layer;
        c->layer = body[3];
    }
    c->started = true;
    c->seq = p->seq;
    c->ts = p->ts;
}

static inline void world_client_events(world *w, size_t i)
{
    world_client *c = &w->client[i];
    lk_pc_event e;
    while (c->pc && lk_pc_poll_event(c->pc, &e)) {
        if (e.type == LK_PC_EV_TRACK) {
            e.active ? c->tracks_on++ : c->tracks_off++;
            c->index = e.index;
            (void)lk_str_copy(c->stream, sizeof c->stream, lk_str_of(e.stream));
            (void)lk_str_copy(c->track, sizeof c->track, lk_str_of(e.track));
        } else if (e.type == LK_PC_EV_RTP) {
            world_hear(c, &e);
        } else if (e.type == LK_PC_EV_KEY) {
            c->keys++;
        } else if (e.type == LK_PC_EV_CHANNEL) {
            c->channels_open += e.active;
        } else if (e.type == LK_PC_EV_DATA) {
            c->messages++;
            c->message_len = LK_MIN(e.data.len, sizeof c->message);
            memcpy(c->message, e.data.data, c->message_len);
        }
    }
}

static inline void world_put(world *w, int from, int to, const uint8_t *data, size_t len)
{
    bool media = len && data[0] >= 128, here = w->lose_to < 0 || to == w->lose_to || from == w->lose_to;
    if (media && here && w->lose_every && ++w->carried % w->lose_every == 0)
        return;
    if (!CHECK(w->air_count < WORLD_AIR_MAX) || !CHECK(len <= sizeof w->air[0].data))
        return;
    lk_usec at = w->now;
    if (to == 1 && w->rate_bps) {
        at = LK_MAX(w->now, w->rate_free_at) + (lk_usec)((len + 28) * 8000000 / w->rate_bps);
        if (at > w->now + LK_MSEC(300)) {
            w->rate_lost++;
            return;
        }
        w->rate_free_at = at;
    }
    world_flying *f = &w->air[w->air_count++];
    f->at = at + LK_MSEC(10);
    f->from = from;
    f->to = to;
    f->len = len;
    memcpy(f->data, data, len);
}

static inline void world_drain(world *w)
{
    lk_sfu_packet out[16];
    lk_datagram d;
    world_hub_events(w);
    for (size_t n; (n = lk_hub_poll_tx(w->hub, w->now, out, LK_LEN(out))) > 0;)
        for (size_t k = 0; k < n; k++)
            for (size_t i = 0; i < w->clients; i++)
                if (lk_addr_eq(&out[k].d.remote, &w->client[i].address))
                    world_put(w, -1, (int)i, out[k].d.data, out[k].d.len);
    world_hub_events(w);
    for (size_t i = 0; i < w->clients; i++) {
        world_client_events(w, i);
        while (w->client[i].pc && lk_pc_poll_tx(w->client[i].pc, w->now, &d))
            if (lk_addr_eq(&d.remote, &w->address))
                world_put(w, (int)i, -1, d.data, d.len);
        world_client_events(w, i);
    }
}

static inline void world_run(world *w, lk_usec span)
{
    const lk_usec until = w->now + span;
    for (int guard = 0; w->now < until && CHECK(guard < 1000000); guard++) {
        lk_usec at = LK_MIN(until, lk_hub_deadline(w->hub));
        for (size_t i = 0; i < w->clients; i++)
            if (w->client[i].pc)
                at = LK_MIN(at, lk_pc_deadline(w->client[i].pc));
        for (size_t i = 0; i < w->air_count; i++)
            at = LK_MIN(at, w->air[i].at);
        w->now = LK_MAX(at, w->now);
        for (size_t i = 0; i < w->air_count;) {
            if (w->air[i].at > w->now) {
                i++;
                continue;
            }
            static world_flying f;
            f = w->air[i];
            memmove(&w->air[i], &w->air[i + 1], (w->air_count - i - 1) * sizeof f);
            w->air_count--;
            if (f.to < 0) {
                const lk_sfu_packet in = {.d = {w->address, w->client[f.from].address, f.data, f.len}};
                (void)lk_hub_input(w->hub, w->now, &in);
            } else if (w->client[f.to].pc) {
                const lk_datagram in = {w->client[f.to].address, w->address, f.data, f.len};
                lk_pc_input(w->client[f.to].pc, w->now, &in);
            }
            world_drain(w);
        }
        if (lk_hub_deadline(w->hub) <= w->now)
            lk_hub_tick(w->hub, w->now);
        for (size_t i = 0; i < w->clients; i++)
            if (w->client[i].pc && lk_pc_deadline(w->client[i].pc) <= w->now)
                lk_pc_tick(w->client[i].pc, w->now);
        world_drain(w);
    }
}

static inline bool world_open(world *w, lk_env *env, size_t clients, bool offers)
{
    memset(w, 0, sizeof *w);
    w->now = LK_SEC(100);
    w->why = "";
    w->wanted = -2;
    w->lose_to = -1;
    w->address = lk_addr_v4(10, 0, 0, 200, 7882);
    lk_text_init(&w->offer, env, 4u << 20);
    lk_text_init(&w->answer, env, 4u << 20);
    bool ok = CHECK_OK(lk_dtls_context_new(&w->dtls, env)) &&
              CHECK_OK(lk_hub_new(&w->hub, env, &(lk_hub_config){.dtls = w->dtls, .udp = &w->address, .udp_count = 1, .unix_usec = 1700000000000000, .loop = 'a'}, w->now));
    for (size_t i = 0; ok && i < clients; i++) {
        world_client *c = &w->client[i];
        w->clients = i + 1;
        c->address = lk_addr_v4(10, 0, 0, (uint8_t)(1 + i), (uint16_t)(5000 + i));
        ok = CHECK_OK(lk_dtls_context_new(&c->dtls, env)) &&
             CHECK_OK(lk_pc_new(&c->pc, env, &(lk_pc_config){.dtls = c->dtls, .controlling = !offers, .unix_usec = 1700000000000000}, w->now)) &&
             CHECK_OK(lk_peer_new(&c->peer, w->hub, &(lk_peer_config){.user = c, .offers = offers, .open_channels = offers}, w->now));
    }
    return ok;
}

static inline void world_close(world *w)
{
    for (size_t i = 0; i < w->ups; i++)
        lk_up_free(w->up[i]);
    for (size_t i = 0; i < w->clients; i++) {
        lk_peer_free(w->client[i].peer);
        lk_pc_free(w->client[i].pc);
        lk_dtls_context_free(w->client[i].dtls);
    }
    lk_hub_free(w->hub);
    lk_text_deinit(&w->offer);
    lk_text_deinit(&w->answer);
    lk_dtls_context_free(w->dtls);
}

static inline bool world_add(world *w, size_t i, lk_media_kind kind, lk_pc_direction direction, const char *track, uint32_t *index)
{
    const lk_pc_section s = {.kind = kind, .direction = direction, .stream = "-", .track = track};
    return CHECK_OK(lk_pc_add_section(w->client[i].pc, &s, index));
}

/* What stands in an offer in place of a line (each ends in CR) of the section that the line `section` opens. */
typedef void world_edit(lk_wr *out, lk_str line, lk_str section);

static inline void world_line(lk_wr *out, lk_str line)
{
    lk_wr_put(out, line.p, line.len);
    lk_wr_u8(out, '\n');
}

static inline void world_rewrite(lk_text *sdp, world_edit *edit)
{
    static char text[1u << 16];
    lk_wr out = lk_wr_of(text, sizeof text);
    lk_str section = lk_str_of("");
    for (lk_str rest = {sdp->p, sdp->len}; rest.len;) {
        lk_str line = lk_str_cut(&rest, '\n');
        if (lk_str_starts(line, "m="))
            section = line;
        edit(&out, line, section);
    }
    lk_text_clear(sdp);
    lk_text_put(sdp, text, out.len);
}

/* The client offers as it is, or edited. It speaks VP8 alone: where an edit called that VP9, the answer is put back. */
static inline bool world_offer(world *w, size_t i, world_edit *edit)
{
    world_client *c = &w->client[i];
    lk_text_clear(&w->offer);
    lk_text_clear(&w->answer);
    bool ok = CHECK_OK(lk_pc_create_offer(c->pc, w->now, &w->offer));
    if (ok && edit)
        world_rewrite(&w->offer, edit);
    ok = ok && CHECK_OK(lk_peer_accept_offer(c->peer, w->now, w->offer.p, w->offer.len, &w->answer, &w->why));
    world_hub_events(w);
    for (char *at = w->answer.p; ok && (at = strstr(at, "VP9/90000")) != NULL; at++)
        at[2] = '8';
    ok = ok && CHECK_OK(lk_pc_set_answer(c->pc, w->now, w->answer.p, w->answer.len, &w->why));
    if (ok)
        world_drain(w);
    return ok;
}

static inline bool world_connect(world *w, size_t i)
{
    world_client *c = &w->client[i];
    bool ok = CHECK_OK(lk_pc_add_local_address(c->pc, w->now, &c->address));
    if (ok) {
        world_drain(w);
        world_run(w, LK_MSEC(500));
    }
    return ok && CHECK_EQ(lk_pc_state_of(c->pc), LK_PC_STATE_CONNECTED) && CHECK_EQ(lk_peer_state(c->peer), LK_PC_STATE_CONNECTED);
}

static inline bool world_subscribe(world *w, size_t i, lk_up *up, const char *track, lk_down **down)
{
    const lk_down_config c = {.user = &w->client[i], .stream = "PA_a", .track = track};
    return CHECK_OK(lk_down_new(down, w->client[i].peer, up, &c, w->now));
}

/* Client 0 sends one track and client 1 gets it as "TR", section 0 of either; each on a single connection, with its edit (or NULL). */
static inline bool world_watch(world *w, lk_env *env, lk_media_kind kind, world_edit *sends, world_edit *gets, lk_down **down)
{
    uint32_t index;
    return world_open(w, env, 2, false) && world_add(w, 0, kind, LK_PC_SENDONLY, "cid", &index) &&
           world_add(w, 1, kind, LK_PC_RECVONLY, "", &index) && world_offer(w, 0, sends) && world_connect(w, 0) &&
           world_offer(w, 1, gets) && world_connect(w, 1) && CHECK_EQ(w->ups, 1) && world_subscribe(w, 1, w->up[0], "TR", down) &&
           world_offer(w, 1, gets);
}

/* Audio packets number first .. first + count - 1, 20 ms apart. */
static inline void world_say(world *w, size_t i, uint32_t section, unsigned first, unsigned count)
{
    for (unsigned n = first; n < first + count; n++) {
        uint8_t payload[40] = {0};
        lk_put_u16(payload, (uint16_t)n);
        const lk_pc_media m = {.payload = payload, .len = sizeof payload, .ts = 960 * n, .has_level = true, .voice = true, .level = 20};
        CHECK_OK(lk_pc_send(w->client[i].pc, w->now, section, &m));
        world_drain(w);
        world_run(w, LK_MSEC(20));
    }
}

static inline unsigned world_heard(const world_client *c, unsigned first, unsigned count)
{
    unsigned n = 0;
    for (unsigned i = first; i < first + count; i++)
        n += c->heard[i];
    return n;
}

/* ---- pictures: VP8 payloads with all identifiers, a number and the tag of their layer ---- */

typedef struct world_stream {
    size_t bytes; /* of a frame, at most 1,100; 0: 200 */
    uint32_t ssrc, ts;
    uint16_t seq, picture;
    uint8_t tl0, key_index, tag, tid;
    const char *rid; /* sent with the MID while not NULL */
    unsigned number;
} world_stream;

static inline size_t world_picture(world_stream *s, uint8_t *out, bool key)
{
    const uint8_t head[] = {0x90, 0xf0, (uint8_t)(0x80 | (s->picture >> 8 & 0x7f)), (uint8_t)s->picture, s->tl0,
                            (uint8_t)(s->tid << 6 | (s->tid ? 0x20 : 0) | (s->key_index & 0x1f)), (uint8_t)(key ? 0 : 1)};
    size_t len = s->bytes ? s->bytes : 200;
    memset(out, 0, len);
    memcpy(out, head, sizeof head);
    lk_put_u16(out + 7, (uint16_t)s->number++);
    out[9] = s->tag;
    s->picture++;
    s->tl0 = (uint8_t)(s->tl0 + (s->tid == 0));
    s->key_index = (uint8_t)(s->key_index + key);
    return len;
}

/* One frame in one packet through the client's connection. */
static inline void world_show(world *w, size_t i, uint32_t section, world_stream *s, bool key)
{
    uint8_t payload[1100];
    size_t len = world_picture(s, payload, key);
    const lk_pc_media m = {.payload = payload, .len = len, .ts = s->ts, .marker = true};
    s->ts += 3000;
    CHECK_OK(lk_pc_send(w->client[i].pc, w->now, section, &m));
    world_drain(w);
}

/* The same laid on the wire by hand, as a layer of simulcast: extensions MID 4 and RID 10. */
static inline void world_show_layer(world *w, size_t i, const char *mid, world_stream *s, bool key)
{
    uint8_t packet[1500], payload[1100];
    lk_pc *pc = w->client[i].pc;
    size_t len = world_picture(s, payload, key), total;
    const lk_rtp_ext_out ext[] = {{4, (uint8_t)strlen(mid), (const uint8_t *)mid}, {10, (uint8_t)(s->rid ? strlen(s->rid) : 1), (const uint8_t *)s->rid}};
    lk_wr at = lk_wr_of(packet, sizeof packet);
    lk_rtp_write_header(&at, 96, true, s->seq++, s->ts, s->ssrc, ext, s->rid ? 2 : 0);
    lk_wr_put(&at, payload, len);
    total = at.len;
    s->ts += 3000;
    if (CHECK_OK(lk_srtp_protect_rtp(&pc->transport.srtp_tx, packet, &total, sizeof packet)))
        world_put(w, (int)i, -1, packet, total);
    world_drain(w);
}

/* A sender report of a layer: the clocks of all layers meet at that instant. */
static inline void world_report_layer(world *w, size_t i, const world_stream *s)
{
    uint8_t packet[200];
    lk_wr at = lk_wr_of(packet, sizeof packet);
    const lk_rtcp_sender_info info = {lk_ntp_from_unix_usec(1600000000000000 + w->now), s->ts, 0, 0};
    lk_rtcp_write_sr(&at, s->ssrc, &info, NULL, 0);
    size_t total = at.len;
    if (CHECK_OK(lk_srtp_protect_rtcp(&w->client[i].pc->transport.srtp_tx, packet, &total, sizeof packet)))
        world_put(w, (int)i, -1, packet, total);
    world_drain(w);
}

/* What a client with three layers writes instead of its one source. */
static inline void world_simulcast(lk_wr *out, lk_str line, lk_str section)
{
    bool video = lk_str_starts(section, "m=video");
    if (video && lk_str_starts(line, "a=ssrc"))
        return;
    world_line(out, line);
    if (video && lk_str_starts(line, "a=mid:"))
        world_line(out, lk_str_of("a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
                                  "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r"));
}
