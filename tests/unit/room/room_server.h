// SPDX-License-Identifier: Apache-2.0
/* A server for one session, in memory: HTTP and frames by hand, messages through pbuf, media through a peer connection of
 * our own. Virtual time; jobs run in place. A test sets what the server does wrong, runs, and reads what was told. */
#pragma once
#include "stun_answer.h"
#include "crypto/crypto.h"
#include "lk_test.h"
#include "frame/frame.h"
#include "pc/pc.h"
#include "room/room.h"
#include "signal/signal.h"
#include "ws/url.h"

#define ROOM_EVENTS_MAX 256
#define ROOM_TEXT_MAX 160

typedef struct told {
    lk_session_event_kind kind;
    uint64_t op;
    lk_error error;
    uint64_t participant_id, publication_id, track_id;
    char text[ROOM_TEXT_MAX], identity[64];
    size_t members;
    lk_disconnect_reason reason;
    lk_connection_state state;
} told;

typedef struct room_server room_server;
/* What travels between client and server: a TCP connection, its bytes, datagrams. */
typedef enum room_parcel { ROOM_DIALLED, ROOM_BYTES_UP, ROOM_BYTES_DOWN, ROOM_DATAGRAM_UP, ROOM_DATAGRAM_DOWN } room_parcel;

struct room_server {
    const lk_env *env;
    lk_session *s;
    lk_pc *pc;
    lk_dtls_context *client_dtls, *server_dtls;
    lk_usec now;
    lk_addr client, server;
    uint32_t stream, closed_stream; /* the newest of the client, and the newest it has closed */
    uint32_t version;
    unsigned dials;
    bool stream_open, upgraded, udp_open;
    lk_text in, out; /* bytes from and to the client */
    lk_arena arena;  /* of messages; until the end of the test */
    told events[ROOM_EVENTS_MAX];
    size_t count;
    unsigned requests[40]; /* by message case */
    char last_cid[64];
    uint32_t last_request_id;
    const char *ice_urls[6]; /* of the join response */
    lk_addr stun;            /* what each name is told to be, family 0: nothing; answers as a STUN server */
    struct {
        char host[64];
        uint16_t port;
    } asked_for[8];
    size_t asked;
    char srflx[256]; /* the last such candidate that came */
    Livekit__UpdateTrackSettings *last_setting; /* in the arena */
    uint64_t next_op;
    /* what it does */
    const char *answer; /* instead of the upgrade */
    bool refuse, silent, half_join, no_answer, no_pong, no_media, hang_up_after_upgrade, bad_sdp;
    /* Carries a parcel (its bytes are borrowed) and calls room_arrive later, or never; NULL: everything is there at once. */
    void (*road)(room_server *r, room_parcel kind, const lk_datagram *what);
    uint64_t rtp_packets; /* that the server understood */
    bool shares; /* "old" has published audio TR_old, sent to the client in its first free section */
    uint32_t share_section, channel;
    bool channel_open; /* `channel`: the client's "_reliable" */
    uint64_t data_messages;
};

/* ---- towards the client ---------------------------------------------------------------------------------- */

static inline void room_frame(room_server *r, lk_bytes message)
{
    bool small = message.len < 126;
    uint8_t head[4] = {0x82, small ? (uint8_t)message.len : 126};
    lk_put_u16(head + 2, (uint16_t)message.len);
    lk_text_put(&r->out, (const char *)head, small ? 2 : 4);
    lk_text_put(&r->out, (const char *)message.data, message.len);
}

static inline void room_send(room_server *r, const Livekit__SignalResponse *m)
{
    lk_bytes bytes;
    if (lk_pbuf_pack(&m->base, &r->arena, &bytes) == LK_OK && bytes.len < 65536)
        room_frame(r, bytes);
}

static inline Livekit__ParticipantInfo *room_person(room_server *r, const char *sid, const char *identity, Livekit__ParticipantInfo__State state)
{
    Livekit__ParticipantInfo *p = lk_pbuf_new(&livekit__participant_info__descriptor, &r->arena);
    static Livekit__ParticipantInfo none;
    if (!p) {
        none = (Livekit__ParticipantInfo)LIVEKIT__PARTICIPANT_INFO__INIT; /* somebody may have hung tracks on it */
        return &none;
    }
    p->sid = (char *)(uintptr_t)sid;
    p->identity = p->name = (char *)(uintptr_t)identity;
    p->has_state = p->has_joined_at = p->has_version = 1;
    p->state = state;
    p->joined_at = 1700000000;
    p->version = ++r->version;
    return p;
}

static inline void room_update(room_server *r, Livekit__ParticipantInfo *p)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__ParticipantUpdate update = LIVEKIT__PARTICIPANT_UPDATE__INIT;
    update.n_participants = 1;
    update.participants = &p;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE;
    m.update = &update;
    room_send(r, &m);
}

static inline void room_leave(room_server *r, Livekit__DisconnectReason reason)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    leave.has_reason = leave.has_action = 1;
    leave.reason = reason;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE;
    m.leave = &leave;
    room_send(r, &m);
}

static inline void room_grant_track(room_server *r, const char *sid)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__TrackPublishedResponse granted = LIVEKIT__TRACK_PUBLISHED_RESPONSE__INIT;
    Livekit__TrackInfo track = LIVEKIT__TRACK_INFO__INIT;
    track.sid = (char *)(uintptr_t)sid;
    track.name = (char *)(uintptr_t)"mic";
    granted.cid = r->last_cid;
    granted.track = &track;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED;
    m.track_published = &granted;
    room_send(r, &m);
}

static inline void room_make_pc(room_server *r)
{
    const lk_pc_section share = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_SENDONLY, .stream = "PA_old", .track = "TR_old"};
    (void)!lk_pc_new(&r->pc, r->env, &(lk_pc_config){.dtls = r->server_dtls, .unix_usec = 1700000000000000}, r->now);
    if (r->pc && r->shares)
        (void)!lk_pc_add_section(r->pc, &share, &r->share_section);
}

static inline void room_answer_offer(room_server *r, const Livekit__SessionDescription *offer)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SessionDescription answer = LIVEKIT__SESSION_DESCRIPTION__INIT;
    lk_text sdp;
    const char *why = "";
    if (r->no_answer)
        return;
    lk_text_init(&sdp, r->env, 1 << 20);
    if (!r->pc)
        room_make_pc(r);
    if (r->pc && lk_pc_accept_offer(r->pc, r->now, offer->sdp, strlen(offer->sdp), &sdp, &why) == LK_OK) {
        answer.type = (char *)(uintptr_t)"answer";
        answer.sdp = r->bad_sdp ? (char *)(uintptr_t)"v=0" : sdp.p;
        answer.has_id = 1;
        answer.id = offer->id;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER;
        m.answer = &answer;
        room_send(r, &m);
        if (!r->no_media)
            (void)!lk_pc_add_local_address(r->pc, r->now, &r->server);
    } else {
        CHECK(lk_test_oom());
    }
    lk_text_deinit(&sdp);
}

static inline void room_join(room_server *r)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
    Livekit__Room room = LIVEKIT__ROOM__INIT;
    Livekit__ParticipantInfo *others[] = {room_person(r, "PA_old", "old", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE)};
    Livekit__TrackInfo track = LIVEKIT__TRACK_INFO__INIT, *tracks[] = {&track};
    track.sid = (char *)(uintptr_t)"TR_old";
    track.name = (char *)(uintptr_t)"voice";
    if (r->shares) {
        others[0]->n_tracks = 1;
        others[0]->tracks = tracks;
    }
    room.sid = (char *)(uintptr_t)"RM_x";
    room.name = (char *)(uintptr_t)"the room";
    join.room = r->half_join ? NULL : &room;
    join.participant = room_person(r, "PA_me", "me", LIVEKIT__PARTICIPANT_INFO__STATE__JOINED);
    join.n_other_participants = 1;
    join.other_participants = others;
    Livekit__ICEServer ice = LIVEKIT__ICESERVER__INIT;
    Livekit__ICEServer *ices[] = {&ice};
    while (ice.n_urls < LK_LEN(r->ice_urls) && r->ice_urls[ice.n_urls])
        ice.n_urls++;
    ice.urls = (char **)(uintptr_t)r->ice_urls;
    join.n_ice_servers = ice.n_urls > 0;
    join.ice_servers = ices;
    join.has_ping_interval = join.has_ping_timeout = 1;
    join.ping_interval = 5;
    join.ping_timeout = 15;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
    m.join = &join;
    room_send(r, &m);
}

/* ---- from the client ----------------------------------------------------------------------------------------- */

static inline void room_on_request(room_server *r, lk_bytes bytes)
{
    Livekit__SignalRequest *q = NULL;
    if (lk_pbuf_unpack(&livekit__signal_request__descriptor, &r->arena, bytes, (ProtobufCMessage **)&q) != LK_OK) {
        CHECK(lk_test_oom());
        return;
    }
    if (q->message_case < LK_LEN(r->requests))
        r->requests[q->message_case]++;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__Pong pong = LIVEKIT__PONG__INIT;
    switch (q->message_case) {
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ:
        pong.has_last_ping_timestamp = pong.has_timestamp = 1;
        pong.last_ping_timestamp = q->ping_req->timestamp;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP;
        m.pong_resp = &pong;
        if (!r->no_pong)
            room_send(r, &m);
        break;
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER: room_answer_offer(r, q->offer); break;
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK:
        (void)lk_str_copy(r->last_cid, sizeof r->last_cid, lk_str_of(q->add_track->cid));
        break;
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRACK_SETTING: r->last_setting = q->track_setting; break;
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_METADATA: r->last_request_id = q->update_metadata->request_id; break;
    case LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRICKLE: {
        const char *at = q->trickle->candidateinit ? strstr(q->trickle->candidateinit, "\"candidate:") : NULL;
        const char *close = at ? strchr(at + 1, '"') : NULL;
        if (close && strstr(at, "typ srflx"))
            (void)lk_str_copy(r->srflx, sizeof r->srflx, (lk_str){at + 1, (size_t)(close - at - 1)});
        if (close && r->pc)
            (void)!lk_pc_add_remote_candidate(r->pc, r->now, at + 1, (size_t)(close - at - 1));
        break;
    }
    default: break;
    }
}

static inline void room_upgrade(room_server *r)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *key = strstr(r->in.p, "Sec-WebSocket-Key: "), *param = strstr(r->in.p, "join_request="), *blank = param ? strchr(param, ' ') : NULL;
    uint8_t digest[LK_SHA1_LEN];
    char joined[24 + sizeof guid];
    if (!CHECK(key && blank))
        return;
    memcpy(joined, key + 19, 24);
    memcpy(joined + 24, guid, sizeof guid);
    (void)!lk_sha1(joined, sizeof joined - 1, digest);
    lk_text_z(&r->out, "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    lk_base64_put(&r->out, LK_BASE64_STD, digest, sizeof digest);
    lk_text_z(&r->out, "\r\n\r\n");
    r->upgraded = true;
    if (r->hang_up_after_upgrade)
        return;
    room_join(r);
    Livekit__WrappedJoinRequest *wrapped;
    Livekit__JoinRequest *join;
    lk_str text = {param + 13, (size_t)(blank - param - 13)};
    uint8_t *bytes = lk_arena_alloc(&r->arena, text.len);
    long n = bytes ? lk_base64_decode(bytes, text.len, LK_BASE64_URL, text) : -1;
    if (n <= 0 ||
        lk_pbuf_unpack(&livekit__wrapped_join_request__descriptor, &r->arena, (lk_bytes){bytes, (size_t)n}, (ProtobufCMessage **)&wrapped) != LK_OK ||
        lk_pbuf_unpack(&livekit__join_request__descriptor, &r->arena, (lk_bytes){wrapped->join_request.data, wrapped->join_request.len},
                       (ProtobufCMessage **)&join) != LK_OK) {
        CHECK(lk_test_oom());
        return;
    }
    if (CHECK(join->publisher_offer && join->publisher_offer->sdp))
        room_answer_offer(r, join->publisher_offer);
}

static inline void room_read(room_server *r)
{
    if (!r->in.len || r->silent)
        return;
    if (!r->upgraded) {
        const char *end = strstr(r->in.p, "\r\n\r\n");
        if (!end)
            return;
        if (r->answer)
            lk_text_z(&r->out, r->answer);
        else
            room_upgrade(r);
        lk_text_clear(&r->in);
        return;
    }
    for (;;) {
        const uint8_t *p = (const uint8_t *)r->in.p;
        if (r->in.len < 6)
            return;
        size_t head = 2, len = p[1] & 0x7f;
        if (len == 126) {
            len = lk_get_u16(p + 2);
            head = 4;
        }
        if (!CHECK(len < 127 || head == 4) || r->in.len < head + 4 + len)
            return;
        uint8_t *message = lk_arena_alloc(&r->arena, len + 1);
        for (size_t i = 0; message && i < len; i++)
            message[i] = p[head + 4 + i] ^ p[head + i % 4];
        bool binary = (p[0] & 15) == 2;
        r->in.len -= head + 4 + len;
        memmove(r->in.p, p + head + 4 + len, r->in.len);
        if (message && binary)
            room_on_request(r, (lk_bytes){message, len});
    }
}

/* ---- the road ------------------------------------------------------------------------------------------------- */

static inline void room_arrive(room_server *r, room_parcel kind, const lk_datagram *what)
{
    switch (kind) {
    case ROOM_DIALLED:
        r->stream_open = true;
        lk_session_stream_opened(r->s, r->now, r->stream);
        break;
    case ROOM_BYTES_UP: lk_text_put(&r->in, (const char *)what->data, what->len); break;
    case ROOM_BYTES_DOWN: lk_session_stream_data(r->s, r->now, r->stream, (lk_bytes){what->data, what->len}); break;
    case ROOM_DATAGRAM_UP:
        if (r->pc)
            lk_pc_input(r->pc, r->now, what);
        break;
    case ROOM_DATAGRAM_DOWN:
        if (r->udp_open)
            lk_session_input(r->s, r->now, what);
        break;
    }
}

static inline void room_move(room_server *r, room_parcel kind, const lk_datagram *what)
{
    if (r->road)
        r->road(r, kind, what);
    else
        room_arrive(r, kind, what);
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static inline void room_events(room_server *r)
{
    lk_session_event e;
    while (lk_session_poll_event(r->s, &e)) {
        if (e.frame)
            lk_frame_unref(e.frame);
        if (e.kind == LK_SESSION_AUDIO_FRAME || !CHECK(r->count < ROOM_EVENTS_MAX))
            continue;
        told *t = &r->events[r->count++];
        *t = (told){.kind = e.kind, .op = e.op, .error = e.error, .participant_id = e.participant_id, .publication_id = e.publication_id,
                    .track_id = e.track_id, .members = e.member_count, .reason = e.reason, .state = e.state};
        (void)lk_str_copy(t->text, sizeof t->text, lk_str_of(e.text ? e.text : ""));
        (void)lk_str_copy(t->identity, sizeof t->identity, lk_str_of(e.participant ? e.participant->identity : ""));
    }
}

static inline bool room_io(room_server *r)
{
    lk_session_io io;
    if (!lk_session_poll_io(r->s, &io))
        return false;
    switch (io.kind) {
    case LK_SESSION_IO_DIAL:
        r->stream = io.stream;
        r->dials++;
        r->stream_open = r->upgraded = r->channel_open = false;
        lk_pc_free(r->pc); /* whoever dials is new to it */
        r->pc = NULL;
        lk_text_clear(&r->in);
        lk_text_clear(&r->out);
        if (r->refuse) {
            lk_error why;
            lk_error_set(&why, LK_ERR_NETWORK, "connection refused", (const char *)NULL);
            lk_session_stream_closed(r->s, r->now, r->stream, &why);
        } else {
            room_move(r, ROOM_DIALLED, &(lk_datagram){0});
        }
        break;
    case LK_SESSION_IO_STREAM_WRITE:
        CHECK(r->stream_open && io.stream == r->stream);
        room_move(r, ROOM_BYTES_UP, &(lk_datagram){.data = io.bytes.data, .len = io.bytes.len});
        break;
    case LK_SESSION_IO_STREAM_CLOSE:
        r->stream_open = false;
        r->closed_stream = io.stream;
        break;
    case LK_SESSION_IO_UDP_OPEN:
        CHECK(!r->udp_open);
        r->udp_open = true;
        lk_session_addresses(r->s, r->now, &r->client, 1);
        break;
    case LK_SESSION_IO_UDP_CLOSE: r->udp_open = false; break;
    case LK_SESSION_IO_RESOLVE:
        if (r->asked < LK_LEN(r->asked_for)) {
            (void)lk_str_copy(r->asked_for[r->asked].host, sizeof r->asked_for[0].host, lk_str_of(io.host));
            r->asked_for[r->asked++].port = io.port;
        }
        lk_session_resolved(r->s, r->now, io.stream, &r->stun, r->stun.family ? 1 : 0);
        break;
    case LK_SESSION_IO_UDP_SEND:
        if (r->stun.family && lk_addr_eq(&io.datagram.remote, &r->stun)) {
            uint8_t answer[128];
            const lk_addr outside = lk_addr_v4(203, 0, 113, 7, 40000);
            const lk_datagram back = {r->client, r->stun, answer, stun_answer(answer, sizeof answer, io.datagram.data, io.datagram.len, &outside, true)};
            CHECK(back.len > 0);
            lk_session_input(r->s, r->now, &back);
        } else if (lk_addr_eq(&io.datagram.remote, &r->server)) {
            uint8_t copy[1500];
            memcpy(copy, io.datagram.data, io.datagram.len);
            room_move(r, ROOM_DATAGRAM_UP, &(lk_datagram){.local = r->server, .remote = r->client, .data = copy, .len = io.datagram.len});
        }
        break;
    case LK_SESSION_IO_JOB:
        io.job->run(io.job);
        lk_session_job_done(r->s, r->now, io.job);
        break;
    }
    return true;
}

static inline void room_media(room_server *r)
{
    lk_pc_event e;
    lk_datagram d;
    while (lk_pc_poll_event(r->pc, &e)) {
        r->rtp_packets += e.type == LK_PC_EV_RTP;
        r->data_messages += e.type == LK_PC_EV_DATA;
        if (e.type == LK_PC_EV_CHANNEL && strcmp(e.text, "_reliable") == 0) {
            r->channel = e.index;
            r->channel_open = e.active;
        }
        if (e.type != LK_PC_EV_CANDIDATE)
            continue;
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__TrickleRequest trickle = LIVEKIT__TRICKLE_REQUEST__INIT;
        lk_text json;
        lk_text_init(&json, r->env, 4096);
        lk_text_z(&json, "{\"candidate\":\"");
        lk_text_z(&json, e.text);
        lk_text_z(&json, "\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}");
        trickle.candidateinit = json.p;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRICKLE;
        m.trickle = &trickle;
        if (!json.bad)
            room_send(r, &m);
        lk_text_deinit(&json);
    }
    while (lk_pc_poll_tx(r->pc, r->now, &d)) {
        uint8_t copy[1500];
        memcpy(copy, d.data, d.len);
        if (r->udp_open && lk_addr_eq(&d.remote, &r->client))
            room_move(r, ROOM_DATAGRAM_DOWN, &(lk_datagram){.local = r->client, .remote = r->server, .data = copy, .len = d.len});
    }
}

static inline void room_drain(room_server *r)
{
    for (bool moved = true; moved;) {
        moved = false;
        while (room_io(r)) {
            moved = true;
            room_events(r);
        }
        room_events(r);
        room_read(r);
        if (r->pc)
            room_media(r);
        if (r->stream_open && r->out.len) {
            lk_text bytes = r->out;
            lk_text_init(&r->out, r->env, 1 << 20);
            room_move(r, ROOM_BYTES_DOWN, &(lk_datagram){.data = (const uint8_t *)bytes.p, .len = bytes.len});
            lk_text_deinit(&bytes);
            moved = true;
        }
        if (r->stream_open && r->upgraded && r->hang_up_after_upgrade) {
            r->stream_open = false;
            lk_session_stream_closed(r->s, r->now, r->stream, NULL);
            moved = true;
        }
    }
}

static inline void room_run(room_server *r, lk_usec span)
{
    const lk_usec until = r->now + span;
    room_drain(r);
    for (int guard = 0; r->now < until && CHECK(guard < 100000); guard++) {
        lk_usec at = lk_session_deadline(r->s), pc_at = r->pc ? lk_pc_deadline(r->pc) : LK_NEVER;
        at = LK_MIN(at, pc_at);
        r->now = LK_CLAMP(at, r->now, until);
        if (r->pc && pc_at <= r->now)
            lk_pc_tick(r->pc, r->now);
        if (lk_session_deadline(r->s) <= r->now)
            lk_session_tick(r->s, r->now);
        room_drain(r);
    }
}

/* The client lives in `env`, the server and what lies between in `outside`. */
static inline bool room_open_apart(room_server *r, const lk_env *env, const lk_env *outside, const lk_session_config *more)
{
    lk_session_config c = more ? *more : (lk_session_config){.auto_subscribe = true, .join_retries = 2, .connect_timeout_msec = 5000};
    memset(r, 0, sizeof *r);
    r->env = outside;
    r->now = LK_SEC(50);
    r->client = lk_addr_v4(10, 0, 0, 1, 5000);
    r->server = lk_addr_v4(10, 0, 0, 2, 6000);
    lk_text_init(&r->in, outside, 4u << 20);
    lk_text_init(&r->out, outside, 4u << 20);
    lk_arena_init(&r->arena, outside, 64u << 20);
    if (!CHECK_OK(lk_dtls_context_new(&r->client_dtls, env)) || !CHECK_OK(lk_dtls_context_new(&r->server_dtls, outside)))
        return false;
    c.sdk = "c";
    c.single_peer_connection = true;
    c.dtls = r->client_dtls;
    c.unix_usec = 1700000000000000;
    return CHECK_OK(lk_session_new(&r->s, env, &c, r->now));
}

static inline bool room_open(room_server *r, const lk_env *env, const lk_session_config *more)
{
    return room_open_apart(r, env, env, more);
}

static inline void room_close(room_server *r)
{
    lk_session_free(r->s);
    lk_pc_free(r->pc);
    lk_text_deinit(&r->in);
    lk_text_deinit(&r->out);
    lk_arena_deinit(&r->arena);
    lk_dtls_context_free(r->client_dtls);
    lk_dtls_context_free(r->server_dtls);
}

/* The n-th event of that kind (0: first), or NULL. */
static inline const told *room_told(const room_server *r, lk_session_event_kind kind, size_t n)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->events[i].kind == kind && n-- == 0)
            return &r->events[i];
    return NULL;
}

/* The same where it has to be there: otherwise an empty one, and a failure. */
static inline const told *room_got(const room_server *r, lk_session_event_kind kind, size_t n)
{
    static const told none;
    const told *t = room_told(r, kind, n);
    return CHECK(t != NULL) ? t : &none;
}

/* The connection breaks. */
static inline void room_cut(room_server *r)
{
    r->stream_open = false;
    lk_session_stream_closed(r->s, r->now, r->stream, NULL);
    room_drain(r);
}

static inline bool room_connect(room_server *r)
{
    bool ok = CHECK_OK(lk_session_connect(r->s, r->now, 1, "ws://server.example:7880", "the.secret.token"));
    if (ok)
        room_run(r, LK_SEC(2));
    const told *t = room_told(r, LK_SESSION_OP_DONE, 0);
    return ok && CHECK(t != NULL) && CHECK(t->op == 1) && CHECK_OK(t->error.code);
}
