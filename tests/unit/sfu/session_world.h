// SPDX-License-Identifier: Apache-2.0
/* Our own client sessions in a room of our own server: both are pure, so the whole of it runs in memory and in virtual time.
 * HTTP and WebSocket frames are done by hand; everything above and below is the real thing. */
#pragma once
#include "crypto/crypto.h"
#include "dtls/dtls.h"
#include "frame/frame.h"
#include "lk_test.h"
#include "room/room.h"
#include "sfu/sfu.h"
#include "token/token.h"

#define PEOPLE 3
#define HOP_USEC LK_MSEC(5)
#define FLYING_MAX 4096

typedef struct flying { /* a datagram on its way */
    lk_usec at;
    int to; /* -1: the server */
    lk_datagram d;
    uint8_t data[1500];
} flying;

typedef struct person {
    lk_session *s;
    lk_addr address;
    const char *identity;
    lk_token token;
    uint32_t stream, conn;
    bool open, upgraded, udp, frozen; /* frozen: it neither runs nor gets anything any more */
    uint16_t mapped;                /* what a router adds to its ports */
    lk_text in, out;
    /* what it was told */
    bool connected, closed, failed;
    unsigned ops_done, ops_failed, subscribed, unsubscribed, frames, loud, muted, unmuted, data, speakers, resumed, reconnecting;
    lk_session_event_kind order[256];
    size_t told;
    uint64_t publication, remote_track, remote_publication;
    char text[128], sender[64];
    lk_disconnect_reason reason;
    uint32_t peak;
} person;

typedef struct world {
    const lk_env *env;
    lk_sfu *sfu;
    lk_dtls_context *dtls;
    lk_usec now;
    lk_addr server;
    person p[PEOPLE];
    size_t people;
    flying *air;
    size_t flying;
    unsigned loss_permille, lost; /* of datagrams */
    lk_usec jitter;               /* each waits up to so long more, and may overtake */
    uint64_t sent, trace;
    lk_usec *clock;               /* of OpenSSL, where somebody keeps one; NULL: the real one */
    uint64_t op;
    bool playing;
    lk_usec next_frame;
    uint32_t frame_count;
    lk_frame_pool *pool;
} world;

/* ---- frames of WebSocket --------------------------------------------------------------------------------------------- */

static inline void send_frame(person *p, unsigned opcode, lk_bytes m)
{
    uint8_t head[10] = {(uint8_t)(0x80 | opcode)};
    size_t n = m.len < 126 ? 2 : m.len < 65536 ? 4 : 10;
    head[1] = (uint8_t)(n == 2 ? m.len : n == 4 ? 126 : 127);
    if (n == 4)
        lk_put_u16(head + 2, (uint16_t)m.len);
    if (n == 10)
        lk_put_u32(head + 6, (uint32_t)m.len);
    lk_text_put(&p->out, (const char *)head, n);
    lk_text_put(&p->out, (const char *)m.data, m.len);
}

static inline void upgrade(world *w, person *p)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char *key = strstr(p->in.p, "Sec-WebSocket-Key: "), *mark = strchr(p->in.p, '?'), *blank = mark ? strchr(mark, ' ') : NULL;
    uint8_t digest[LK_SHA1_LEN];
    char joined[24 + sizeof guid];
    if (!CHECK(key && blank))
        return;
    lk_sfu_refusal why = {0};
    lk_sfu_join join = {.token = &p->token, .v1 = strncmp(p->in.p, "GET /rtc/v1?", 12) == 0, .query = {mark + 1, (size_t)(blank - mark - 1)}};
    if (lk_sfu_accept(w->sfu, w->now, &join, &p->conn, &why) != LK_OK) {
        lk_text_z(&p->out, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        p->failed = true;
    } else {
        memcpy(joined, key + 19, 24);
        memcpy(joined + 24, guid, sizeof guid);
        (void)!lk_sha1(joined, sizeof joined - 1, digest);
        lk_text_z(&p->out, "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        lk_base64_put(&p->out, LK_BASE64_STD, digest, sizeof digest);
        lk_text_z(&p->out, "\r\n\r\n");
        p->upgraded = true;
    }
    lk_text_clear(&p->in);
}

static inline bool read_frames(world *w, person *p)
{
    if (p->in.len == 0)
        return false;
    if (!p->upgraded) {
        if (!strstr(p->in.p, "\r\n\r\n"))
            return false;
        upgrade(w, p);
        return true;
    }
    uint8_t *b = (uint8_t *)p->in.p;
    size_t head = 2, len = p->in.len < 6 ? 0 : b[1] & 0x7F;
    if (p->in.len < 6)
        return false;
    if (len == 126) {
        len = lk_get_u16(b + 2);
        head = 4;
    }
    CHECK(len < 127 || head == 4);
    if (p->in.len < head + 4 + len)
        return false;
    for (size_t i = 0; i < len; i++)
        b[head + 4 + i] ^= b[head + i % 4];
    if ((b[0] & 15) == 2)
        lk_sfu_signal(w->sfu, w->now, p->conn, true, (lk_bytes){b + head + 4, len});
    p->in.len -= head + 4 + len;
    memmove(p->in.p, b + head + 4 + len, p->in.len);
    return true;
}

/* ---- the world --------------------------------------------------------------------------------------------------------- */

static inline void fly(world *w, int to, const lk_datagram *d)
{
    w->sent++;
    for (size_t i = 0; i < d->len; i++)
        w->trace = (w->trace ^ d->data[i]) * 0x100000001b3ull;
    if (w->loss_permille && lk_rand_below(w->env, 1000) < w->loss_permille) {
        w->lost++;
        return;
    }
    if (w->flying == FLYING_MAX || !CHECK(d->len <= sizeof w->air[0].data))
        return;
    flying *f = &w->air[w->flying++];
    f->at = w->now + HOP_USEC + (w->jitter ? (lk_usec)lk_rand_below(w->env, (uint32_t)w->jitter) : 0);
    f->to = to;
    f->d = *d;
    memcpy(f->data, d->data, d->len);
}

static inline bool land(world *w)
{
    bool any = false;
    for (size_t i = 0; i < w->flying;) {
        if (w->air[i].at > w->now) {
            i++;
            continue;
        }
        flying f = w->air[i];
        memmove(&w->air[i], &w->air[i + 1], (--w->flying - i) * sizeof f);
        any = true;
        f.d.data = f.data;
        if (f.to < 0)
            lk_sfu_input(w->sfu, w->now, &(lk_sfu_packet){.d = f.d});
        else if (w->p[f.to].udp && !w->p[f.to].frozen && (f.d.local.port = (uint16_t)(f.d.local.port - w->p[f.to].mapped)) < 5002)
            lk_session_input(w->p[f.to].s, w->now, &f.d);
    }
    return any;
}

static inline void on_told(person *p, const lk_session_event *e)
{
    if (p->told < LK_LEN(p->order) && e->kind != LK_SESSION_AUDIO_FRAME)
        p->order[p->told++] = e->kind;
    switch (e->kind) {
    case LK_SESSION_OP_DONE:
        p->ops_done++;
        p->ops_failed += e->error.code != LK_OK;
        if (e->error.code != LK_OK)
            (void)lk_str_copy(p->text, sizeof p->text, lk_str_of(e->error.text));
        if (e->room_info)
            p->connected = true;
        break;
    case LK_SESSION_LOCAL_TRACK_PUBLISHED: p->publication = e->publication_id; break;
    case LK_SESSION_TRACK_PUBLISHED: p->remote_publication = e->publication_id; break;
    case LK_SESSION_TRACK_SUBSCRIBED:
        p->subscribed++;
        p->remote_track = e->track_id;
        p->remote_publication = e->publication_id;
        break;
    case LK_SESSION_TRACK_UNSUBSCRIBED: p->unsubscribed++; break;
    case LK_SESSION_TRACK_MUTED: p->muted++; break;
    case LK_SESSION_TRACK_UNMUTED: p->unmuted++; break;
    case LK_SESSION_ACTIVE_SPEAKERS: p->speakers += e->member_count > 0; break;
    case LK_SESSION_CONNECTION_STATE: p->reconnecting += e->state == LK_CONNECTION_STATE_RECONNECTING; break;
    case LK_SESSION_DISCONNECTED: p->reason = e->reason; break;
    case LK_SESSION_CLOSED: p->closed = true; break;
    case LK_SESSION_DATA:
        p->data++;
        (void)lk_str_copy(p->text, sizeof p->text, (lk_str){(const char *)e->data.data, e->data.len});
        (void)lk_str_copy(p->sender, sizeof p->sender, lk_str_of(e->participant ? e->participant->identity : ""));
        break;
    case LK_SESSION_AUDIO_FRAME:
        p->frames++;
        uint32_t peak = 0;
        for (uint32_t i = 0; e->frame && i < e->frame->samples * e->frame->channels; i++) {
            int v = e->frame->data[i];
            peak = LK_MAX(peak, (uint32_t)(v < 0 ? -v : v));
        }
        p->loud += peak > 2000;
        p->peak = LK_MAX(p->peak, peak);
        break;
    default: break;
    }
}

static inline bool client_io(world *w, person *p)
{
    lk_session_io io;
    lk_session_event e;
    lk_addr addresses[2], from;
    bool any = false;
    while (lk_session_poll_event(p->s, &e)) {
        on_told(p, &e);
        if (e.frame)
            lk_frame_unref(e.frame);
        any = true;
    }
    if (!lk_session_poll_io(p->s, &io))
        return any;
    switch (io.kind) {
    case LK_SESSION_IO_DIAL:
        p->stream = io.stream;
        p->open = true;
        p->upgraded = false;
        p->conn = 0;
        lk_text_clear(&p->in);
        lk_text_clear(&p->out);
        lk_session_stream_opened(p->s, w->now, p->stream);
        break;
    case LK_SESSION_IO_STREAM_WRITE: lk_text_put(&p->in, (const char *)io.bytes.data, io.bytes.len); break;
    case LK_SESSION_IO_STREAM_CLOSE:
        p->open = false;
        if (p->conn)
            lk_sfu_signal_closed(w->sfu, w->now, p->conn);
        p->conn = 0;
        break;
    case LK_SESSION_IO_UDP_OPEN:
        p->udp = true;
        addresses[0] = addresses[1] = p->address;
        addresses[1].port++;
        CHECK(io.sockets <= LK_LEN(addresses));
        lk_session_addresses(p->s, w->now, addresses, io.sockets);
        break;
    case LK_SESSION_IO_UDP_CLOSE: p->udp = false; break;
    case LK_SESSION_IO_RESOLVE: break; /* no server here has a name */
    case LK_SESSION_IO_UDP_SEND:
        if (lk_addr_eq(&io.datagram.remote, &w->server) ) {
            from = io.datagram.local;
            from.port = (uint16_t)(from.port + p->mapped);
            fly(w, -1, &(lk_datagram){.local = w->server, .remote = from, .data = io.datagram.data, .len = io.datagram.len});
        }
        break;
    case LK_SESSION_IO_JOB:
        io.job->run(io.job);
        lk_session_job_done(p->s, w->now, io.job);
        break;
    }
    return true;
}

static inline bool server_io(world *w)
{
    lk_sfu_event e;
    lk_sfu_packet packets[8];
    bool any = false;
    while (lk_sfu_poll_event(w->sfu, &e)) {
        any = true;
        for (size_t i = 0; i < w->people; i++) {
            person *p = &w->p[i];
            if (!p->open || p->conn != e.conn)
                continue;
            if (e.kind == LK_SFU_EV_SIGNAL_SEND)
                send_frame(p, 2, e.bytes);
            else if (e.kind == LK_SFU_EV_SIGNAL_CLOSE)
                send_frame(p, 8, (lk_bytes){(const uint8_t *)"\x03\xe8", 2});
        }
    }
    for (size_t n; (n = lk_sfu_poll_tx(w->sfu, w->now, packets, LK_LEN(packets))) > 0; any = true) {
        for (size_t k = 0; k < n; k++)
            for (size_t i = 0; i < w->people; i++)
                if (lk_addr_ip_eq(&packets[k].d.remote, &w->p[i].address))
                    fly(w, (int)i, &(lk_datagram){.local = packets[k].d.remote, .remote = w->server, .data = packets[k].d.data, .len = packets[k].d.len});
    }
    return any;
}

static inline void settle(world *w)
{
    for (bool moved = true; moved;) {
        moved = land(w);
        moved = server_io(w) || moved;
        for (size_t i = 0; i < w->people; i++) {
            person *p = &w->p[i];
            if (p->frozen)
                continue;
            moved = client_io(w, p) || moved;
            if (p->open && p->out.len) {
                lk_text bytes = p->out;
                lk_text_init(&p->out, w->env, 4u << 20);
                lk_session_stream_data(p->s, w->now, p->stream, (lk_bytes){(const uint8_t *)bytes.p, bytes.len});
                lk_text_deinit(&bytes);
                moved = true;
            }
            moved = read_frames(w, p) || moved;
            moved = server_io(w) || moved; /* before anybody's conn is another's */
        }
    }
}

/* 200 Hz, shaken four times a second so that no encoder takes it for silence. */
static inline void play(world *w)
{
    lk_frame *f;
    if (!w->playing || w->next_frame > w->now)
        return;
    w->next_frame += LK_MSEC(10);
    if (lk_frame_new(&f, w->pool, 48000, 1, 480) != LK_OK)
        return;
    for (uint32_t i = 0; i < 480; i++) {
        uint32_t at = w->frame_count * 480 + i, phase = at % 240;
        int saw = (int)(phase < 120 ? phase : 240 - phase) * 200 - 12000;
        f->data[i] = (int16_t)(at / 6000 % 2 ? saw : saw / 2);
    }
    w->frame_count++;
    lk_session_push_audio(w->p[0].s, w->now, 1, f);
    lk_frame_unref(f);
}

static inline void run(world *w, lk_usec span)
{
    lk_usec until = w->now + span;
    settle(w);
    while (w->now < until) {
        lk_usec next = LK_MIN(until, lk_sfu_deadline(w->sfu));
        for (size_t i = 0; i < w->people; i++)
            next = w->p[i].frozen ? next : LK_MIN(next, lk_session_deadline(w->p[i].s));
        for (size_t i = 0; i < w->flying; i++)
            next = LK_MIN(next, w->air[i].at);
        if (w->playing)
            next = LK_MIN(next, w->next_frame);
        w->now = LK_MAX(next, w->now);
        if (w->clock)
            *w->clock = w->now;
        play(w);
        if (lk_sfu_deadline(w->sfu) <= w->now)
            lk_sfu_tick(w->sfu, w->now);
        for (size_t i = 0; i < w->people; i++)
            if (!w->p[i].frozen && lk_session_deadline(w->p[i].s) <= w->now)
                lk_session_tick(w->p[i].s, w->now);
        settle(w);
    }
}

static inline person *arrive(world *w, const char *identity, bool two_connections)
{
    person *p = &w->p[w->people];
    p->identity = identity;
    p->address = lk_addr_v4(10, 0, 0, (uint8_t)(2 + w->people), 5000);
    p->token = (lk_token){.key = "key", .identity = identity, .name = "", .metadata = "", .sha256 = "", .room_preset = "", .room_config = "",
                          .has_video = true, .video = {.room_join = true, .room = "room", .destination_room = ""}};
    lk_text_init(&p->in, w->env, 4u << 20);
    lk_text_init(&p->out, w->env, 4u << 20);
    lk_session_config c = {.sdk = "c", .sdk_version = "1", .auto_subscribe = true, .single_peer_connection = !two_connections, .join_retries = 3,
                           .connect_timeout_msec = 5000, .dtls = w->dtls, .unix_usec = 1700000000000000};
    CHECK_OK(lk_session_new(&p->s, w->env, &c, w->now));
    w->people++;
    CHECK_OK(lk_session_connect(p->s, w->now, ++w->op, "ws://10.0.0.1:7880", "token"));
    run(w, LK_SEC(1));
    return p;
}

static inline bool world_new(world *w, const lk_env *env)
{
    lk_usec now = w->clock ? *w->clock : LK_SEC(1000);
    *w = (world){.env = env, .now = now, .clock = w->clock, .server = lk_addr_v4(10, 0, 0, 1, 7882)};
    lk_sfu_config c = {.unix_usec = 1700000000000000, .loop = 'a', .key = "key", .secret = "a secret that is long enough for anybody", .udp_count = 1};
    c.udp[0] = w->server;
    w->air = lk_alloc0(env, FLYING_MAX * sizeof *w->air);
    if (lk_dtls_context_new(&w->dtls, env) == LK_OK && lk_frame_pool_new(&w->pool, env) == LK_OK) {
        c.dtls = w->dtls;
        if (w->air && lk_sfu_new(&w->sfu, env, &c, w->now) == LK_OK)
            return true;
    }
    CHECK(lk_test_oom());
    lk_frame_pool_unref(w->pool);
    lk_dtls_context_free(w->dtls);
    lk_release(env, w->air, FLYING_MAX * sizeof *w->air);
    return false;
}

static inline void world_free(world *w)
{
    for (size_t i = 0; i < w->people; i++) {
        lk_session_free(w->p[i].s);
        lk_text_deinit(&w->p[i].in);
        lk_text_deinit(&w->p[i].out);
    }
    lk_sfu_free(w->sfu);
    lk_frame_pool_unref(w->pool);
    lk_dtls_context_free(w->dtls);
    lk_release(w->env, w->air, FLYING_MAX * sizeof *w->air);
}

static inline void publish(world *w, person *p)
{
    lk_session_publish q = {.track = 1, .name = "voice", .source = LK_TRACK_SOURCE_MICROPHONE, .dtx = true, .red = true, .stream = "",
                            .sample_rate = 48000, .channels = 1};
    w->playing = true;
    w->next_frame = w->now;
    CHECK_OK(lk_session_publish_audio(p->s, w->now, ++w->op, &q));
    run(w, LK_SEC(2));
}
