// SPDX-License-Identifier: Apache-2.0
#include "fake_hub.h"
#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"
#include "sfu/sfu_internal.h"

#define MESSAGES_MAX 4096
#define PEOPLE_MAX 8

typedef struct seen_message {
    uint32_t conn;
    const Livekit__SignalResponse *m; /* NULL: a close */
    uint16_t close_code;
    bool json;
} seen_message;

typedef struct world {
    const lk_env *env;
    lk_sfu *s;
    lk_usec now;
    lk_arena arena;
    seen_message *log;
    size_t count;
    uint64_t done_tag;
    const char *done_twirp, *done_text;
    lk_bytes done_bytes;
    unsigned dones;
} world;

/* A message as it was told, JSON or not. NULL: no memory. */
static ProtobufCMessage *told(world *w, const lk_sfu_event *e)
{
    ProtobufCMessage *m = NULL, *named;
    lk_bytes bytes = e->bytes;
    lk_err err = LK_OK;
    if (e->json)
        err = lk_pbuf_from_json(&named__signal_response__descriptor, &w->arena, (lk_str){(const char *)bytes.data, bytes.len}, &named);
    if (err == LK_OK && e->json)
        err = lk_pbuf_pack(named, &w->arena, &bytes);
    if (err == LK_OK)
        err = lk_pbuf_unpack(&livekit__signal_response__descriptor, &w->arena, bytes, &m);
    CHECK(err == LK_OK || lk_test_oom());
    return m;
}

static void drain(world *w)
{
    lk_sfu_event e;
    lk_sfu_packet packets[4];
    while (lk_sfu_poll_event(w->s, &e)) {
        if (e.kind == LK_SFU_EV_ADMIN_DONE) {
            w->done_tag = e.tag;
            w->done_twirp = e.twirp;
            uint8_t *copy = lk_arena_alloc(&w->arena, e.bytes.len + 1);
            if (copy && e.bytes.len)
                memcpy(copy, e.bytes.data, e.bytes.len);
            w->done_bytes = (lk_bytes){copy, copy ? e.bytes.len : 0};
            w->done_text = lk_pbuf_strdup(&w->arena, lk_str_of(e.text));
            w->dones++;
            continue;
        }
        ProtobufCMessage *m = e.kind == LK_SFU_EV_SIGNAL_SEND ? told(w, &e) : NULL;
        if (w->count < MESSAGES_MAX && (m || e.kind == LK_SFU_EV_SIGNAL_CLOSE))
            w->log[w->count++] = (seen_message){e.conn, (const Livekit__SignalResponse *)m, e.close_code, e.json};
    }
    while (lk_sfu_poll_tx(w->s, w->now, packets, LK_LEN(packets)))
        CHECK(false);
}

static const lk_sfu_config *plain(void)
{
    static lk_sfu_config c;
    c = (lk_sfu_config){.dtls = (struct lk_dtls_context *)(uintptr_t)&c, .unix_usec = 1700000000000000, .loop = 'a', .key = "key",
                        .secret = "a secret that is long enough for anybody", .udp_count = 1};
    c.udp[0] = lk_addr_v4(127, 0, 0, 1, 7882);
    return &c;
}

static bool world_new(world *w, lk_env *env, const lk_sfu_config *config)
{
    *w = (world){.env = env, .now = LK_SEC(1000)};
    lk_arena_init(&w->arena, env, (size_t)64 << 20);
    w->log = lk_alloc0(env, MESSAGES_MAX * sizeof *w->log);
    if (w->log && lk_sfu_new(&w->s, env, config, w->now) == LK_OK)
        return true;
    CHECK(lk_test_oom());
    lk_release(env, w->log, MESSAGES_MAX * sizeof *w->log);
    lk_arena_deinit(&w->arena);
    return false;
}

static void world_free(world *w)
{
    drain(w);
    lk_sfu_free(w->s);
    lk_release(w->env, w->log, MESSAGES_MAX * sizeof *w->log);
    lk_arena_deinit(&w->arena);
}
#define WORLD(w)                         \
    world w;                             \
    if (!world_new(&w, env, plain()))    \
        return

static void run(world *w, lk_usec span)
{
    lk_usec until = w->now + span;
    for (;;) {
        drain(w);
        lk_usec due = lk_sfu_deadline(w->s);
        if (due > until)
            break;
        w->now = LK_MAX(w->now, due);
        lk_sfu_tick(w->s, w->now);
    }
    w->now = until;
    lk_sfu_tick(w->s, w->now);
    drain(w);
}

/* The n-th last message of a kind a connection got; NULL. */
static const Livekit__SignalResponse *last(const world *w, uint32_t conn, Livekit__SignalResponse__MessageCase kind)
{
    for (size_t i = w->count; i-- > 0;)
        if (w->log[i].conn == conn && w->log[i].m && w->log[i].m->message_case == kind)
            return w->log[i].m;
    return NULL;
}

static size_t count(const world *w, uint32_t conn, Livekit__SignalResponse__MessageCase kind)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += w->log[i].conn == conn && w->log[i].m && w->log[i].m->message_case == kind;
    return n;
}

static size_t place(const world *w, uint32_t conn, Livekit__SignalResponse__MessageCase kind)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->log[i].conn == conn && w->log[i].m && w->log[i].m->message_case == kind)
            return i;
    return MESSAGES_MAX;
}

static int closed(const world *w, uint32_t conn)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->log[i].conn == conn && !w->log[i].m)
            return w->log[i].close_code;
    return 0;
}

static const Livekit__ParticipantInfo *told_of(const world *w, uint32_t conn, const char *identity)
{
    for (size_t i = w->count; i-- > 0;) {
        const Livekit__SignalResponse *m = w->log[i].m;
        if (w->log[i].conn != conn || !m)
            continue;
        bool join = m->message_case == LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
        if (!join && m->message_case != LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE)
            continue;
        size_t n = join ? m->join->n_other_participants : m->update->n_participants;
        Livekit__ParticipantInfo **list = join ? m->join->other_participants : m->update->participants;
        for (size_t k = 0; k < n; k++)
            if (list[k]->identity && strcmp(list[k]->identity, identity) == 0)
                return list[k];
    }
    return NULL;
}

static lk_token token(const char *identity)
{
    return (lk_token){.key = "key", .identity = identity, .name = "", .metadata = "", .sha256 = "", .room_preset = "", .room_config = "",
                      .has_video = true,
                      .video = {.room_join = true, .room = "room", .destination_room = ""}};
}

static lk_err join_v0(world *w, const lk_token *t, const char *query, uint32_t *conn, lk_sfu_refusal *why)
{
    lk_err err = lk_sfu_accept(w->s, w->now, &(lk_sfu_join){.token = t, .query = lk_str_of(query)}, conn, why);
    drain(w);
    return err;
}

static lk_err join_v1(world *w, const lk_token *t, Livekit__JoinRequest *q, uint32_t *conn, lk_sfu_refusal *why)
{
    Livekit__WrappedJoinRequest wrapped = LIVEKIT__WRAPPED_JOIN_REQUEST__INIT;
    lk_bytes inner, outer = {NULL, 0};
    lk_text query;
    lk_text_init(&query, w->env, 1u << 20);
    lk_err err = lk_pbuf_pack(&q->base, &w->arena, &inner);
    if (err == LK_OK) {
        wrapped.has_join_request = 1;
        wrapped.join_request = (ProtobufCBinaryData){inner.len, (uint8_t *)(uintptr_t)inner.data};
        err = lk_pbuf_pack(&wrapped.base, &w->arena, &outer);
    }
    lk_text_z(&query, "join_request=");
    if (err == LK_OK)
        lk_base64_put(&query, LK_BASE64_URL, outer.data, outer.len);
    if (err == LK_OK && query.bad)
        err = LK_ERR_NOMEM;
    if (err == LK_OK)
        err = lk_sfu_accept(w->s, w->now, &(lk_sfu_join){.token = t, .v1 = true, .query = {query.p, query.len}}, conn, why);
    lk_text_deinit(&query);
    drain(w);
    return err;
}

/* Joins as Python does: one connection, an offer with sections to receive. */
static uint32_t enter_with(world *w, const lk_token *t, bool auto_subscribe, const char *offer)
{
    Livekit__JoinRequest q = LIVEKIT__JOIN_REQUEST__INIT;
    Livekit__ClientInfo client = LIVEKIT__CLIENT_INFO__INIT;
    Livekit__ConnectionSettings settings = LIVEKIT__CONNECTION_SETTINGS__INIT;
    Livekit__SessionDescription d = LIVEKIT__SESSION_DESCRIPTION__INIT;
    lk_sfu_refusal why = {0};
    uint32_t conn = 0;
    client.has_sdk = client.has_protocol = 1;
    client.sdk = LIVEKIT__CLIENT_INFO__SDK__PYTHON;
    client.protocol = 18;
    settings.has_auto_subscribe = 1;
    settings.auto_subscribe = auto_subscribe;
    d.sdp = (char *)(uintptr_t)offer;
    d.type = (char *)(uintptr_t)"offer";
    d.has_id = 1;
    d.id = 7;
    q.client_info = &client;
    q.connection_settings = &settings;
    q.publisher_offer = &d;
    if (join_v1(w, t, &q, &conn, &why) != LK_OK)
        CHECK(lk_test_oom());
    return conn;
}

static uint32_t enter(world *w, const char *identity)
{
    lk_token t = token(identity);
    return enter_with(w, &t, true, "m=application\nra rv");
}

static lk_sfu_person *person(const world *w, const char *identity)
{
    lk_sfu_room *r = lk_sfu_room_find(w->s, "room");
    return r ? lk_sfu_person_find(r, identity) : NULL;
}

/* Media and data of somebody are up. */
static void connect(world *w, const char *identity)
{
    lk_sfu_person *p = person(w, identity);
    if (!p)
        return;
    lk_peer *peer = lk_sfu_primary(p);
    fake_state(peer, LK_PC_STATE_CONNECTED);
    fake_open(peer, LK_PEER_RELIABLE, "_reliable");
    fake_open(peer, LK_PEER_LOSSY, "_lossy");
    fake_open(peer, LK_PEER_DATA_TRACK, "_data_track");
    lk_sfu_tick(w->s, w->now);
    drain(w);
}

static void request(world *w, uint32_t conn, const Livekit__SignalRequest *m)
{
    lk_bytes bytes;
    if (lk_pbuf_pack(&m->base, &w->arena, &bytes) == LK_OK)
        lk_sfu_signal(w->s, w->now, conn, true, bytes);
    drain(w);
}
#define REQUEST(w_, conn_, KIND, field_, ...)                                        \
    do {                                                                             \
        Livekit__SignalRequest rq = LIVEKIT__SIGNAL_REQUEST__INIT;                   \
        rq.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_##KIND;                   \
        rq.field_ = __VA_ARGS__;                                                     \
        request(w_, conn_, &rq);                                                     \
    } while (0)

static void offer(world *w, uint32_t conn, const char *words)
{
    Livekit__SessionDescription d = LIVEKIT__SESSION_DESCRIPTION__INIT;
    d.type = (char *)(uintptr_t)"offer";
    d.sdp = (char *)(uintptr_t)words;
    REQUEST(w, conn, OFFER, offer, &d);
}

static Livekit__AddTrackRequest track_request(const char *cid, bool video)
{
    Livekit__AddTrackRequest q = LIVEKIT__ADD_TRACK_REQUEST__INIT;
    q.cid = (char *)(uintptr_t)cid;
    q.name = (char *)(uintptr_t)"a name";
    q.has_type = q.has_source = 1;
    q.type = video ? LIVEKIT__TRACK_TYPE__VIDEO : LIVEKIT__TRACK_TYPE__AUDIO;
    q.source = video ? LIVEKIT__TRACK_SOURCE__CAMERA : LIVEKIT__TRACK_SOURCE__MICROPHONE;
    return q;
}

/* add_track and an offer; a video's first packet too. The sid, or "". */
static const char *publish(world *w, uint32_t conn, const char *identity, const char *cid, bool video)
{
    Livekit__AddTrackRequest q = track_request(cid, video);
    char words[128] = "m=application\nra rv a:";
    REQUEST(w, conn, ADD_TRACK, add_track, &q);
    const Livekit__SignalResponse *m = last(w, conn, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED);
    size_t n = strlen(words);
    words[n - 2] = video ? 'v' : 'a';
    memcpy(words + n, cid, strlen(cid) + 1);
    offer(w, conn, words);
    lk_sfu_person *p = person(w, identity);
    lk_up *u = p ? fake_up(p->publisher, cid) : NULL;
    if (u && video) {
        fake_live(u);
        lk_sfu_tick(w->s, w->now);
        drain(w);
    }
    return m ? m->track_published->track->sid : "";
}

/* ---- coming in ------------------------------------------------------------------------------------------------------ */

LK_TEST(a_join_is_answered_in_the_order_clients_expect)
{
    WORLD(w);
    uint32_t c = enter(&w, "ann");
    const Livekit__SignalResponse *m = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN);
    if (m && !lk_test_oom()) {
        const Livekit__JoinResponse *j = m->join;
        CHECK_EQ(place(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN), 0);
        CHECK_EQ(place(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN), 1);
        CHECK_EQ(place(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER), 2);
        CHECK_EQ(last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER)->answer->id, 7);
        CHECK_STR(j->room->name, "room");
        CHECK_EQ(strlen(j->room->sid), 15);
        CHECK_EQ(j->room->empty_timeout, 300);
        CHECK_EQ(j->room->departure_timeout, 20);
        CHECK_STR(j->participant->identity, "ann");
        CHECK_EQ(j->participant->state, LIVEKIT__PARTICIPANT_INFO__STATE__JOINING);
        CHECK_EQ(j->participant->joined_at, 1700000000);
        CHECK(j->participant->permission->can_publish && j->participant->permission->can_subscribe && j->participant->permission->can_publish_data);
        CHECK(!j->participant->permission->can_update_metadata);
        CHECK_EQ(j->n_other_participants, 0);
        CHECK_EQ(j->ping_interval, 5);
        CHECK_EQ(j->ping_timeout, 15);
        CHECK_EQ(j->server_info->protocol, 17);
        CHECK(!j->subscriber_primary && j->fast_publish);
        CHECK_STR(j->enabled_publish_codecs[0]->mime, "video/VP8");
    } else {
        CHECK(lk_test_oom());
    }
    world_free(&w);
}

LK_TEST(a_refresh_token_lets_its_bearer_in_again_with_the_same_grants)
{
    WORLD(w);
    lk_token t = token("ann"), again;
    t.video.can_publish = LK_TOKEN_NO;
    uint32_t c = enter_with(&w, &t, true, "m=application");
    const Livekit__SignalResponse *m = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN);
    lk_token_key key = {plain()->key, plain()->secret};
    if (m && !lk_test_oom() && lk_token_verify(&again, &w.arena, lk_str_of(m->refresh_token), &key, 1, 1700000300) == LK_TOKEN_OK) {
        CHECK_STR(again.identity, "ann");
        CHECK_STR(again.video.room, "room");
        CHECK(again.video.room_join && again.video.can_publish == LK_TOKEN_NO && again.video.can_subscribe == LK_TOKEN_YES);
        CHECK(again.expires_sec >= 1700000600);
    } else {
        CHECK(lk_test_oom());
    }
    run(&w, LK_SEC(1)); /* a minute without media would end it */
    connect(&w, "ann");
    run(&w, LK_SEC(300));
    CHECK(lk_test_oom() || count(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN) == 2);
    world_free(&w);
}

LK_TEST(what_is_refused_is_refused_before_anything_is_made)
{
    static char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    struct row {
        lk_token t;
        const char *query;
        bool v1;
        unsigned status;
        const char *text;
    } rows[] = {{token("ann"), "", false, 401, "permissions denied"}, {token("ann"), "", false, 400, "no room name"},
                {token(""), "", false, 400, "identity cannot be empty"}, {token(long_name), "", false, 400, "identity is too long"},
                {token("ann"), "", true, 400, "join_request is required"}, {token("ann"), "join_request=%%", true, 400, "invalid join_request"},
                {token("ann"), "join_request=AA", true, 400, "cannot base64 decode join_request"},
                {token("ann"), "join_request=_w==", true, 400, "cannot unmarshal wrapped join request"},
                {token("ann"), "", false, 401, "permissions denied"}, {token("ann"), "attributes=eyJhIjoiYiJ9", false, 401, NULL},
                {token("ann"), "attributes=e30x", false, 400, "invalid attributes"}, {token("ann"), "", false, 400, "invalid roomConfig"}};
    rows[0].t.has_video = false;
    rows[1].t.video.room = "";
    rows[8].t.video.room_join = false;
    rows[11].t.room_config = "[1]";
    WORLD(w);
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_sfu_refusal why = {0}, probe = {0};
        uint32_t conn = 77;
        lk_sfu_join j = {.token = &rows[i].t, .query = lk_str_of(rows[i].query), .v1 = rows[i].v1};
        CHECK_EQ(lk_sfu_validate(w.s, w.now, &j, &probe), LK_ERR_DENIED);
        CHECK_EQ(lk_sfu_accept(w.s, w.now, &j, &conn, &why), LK_ERR_DENIED);
        if (lk_test_oom())
            continue;
        CHECK_EQ(why.status, rows[i].status);
        CHECK_EQ(probe.status, rows[i].status);
        CHECK_STR(why.text, probe.text);
        if (rows[i].text)
            CHECK_STR(why.text, rows[i].text);
        CHECK_EQ(conn, 77);
    }
    lk_sfu_stats stats;
    lk_sfu_get_stats(w.s, &stats);
    CHECK_EQ(stats.rooms, 0);
    CHECK_EQ(stats.participants, 0);
    CHECK_EQ(stats.joins_refused, LK_LEN(rows));
    CHECK_EQ(stats.packets_stray, 3);
    world_free(&w);
}

LK_TEST(a_room_is_taken_from_the_query_when_the_token_names_none)
{
    WORLD(w);
    lk_token t = token("ann");
    char buf[LK_SFU_NAME_MAX + 1];
    t.video.room = "";
    lk_sfu_join j = {.token = &t, .query = lk_str_of("sdk=js&room=a%20b+c&x=1")};
    CHECK(lk_str_eq(lk_sfu_join_room(&j, buf), "a b c"));
    j.query = lk_str_of("room=a%00b");
    CHECK_EQ(lk_sfu_join_room(&j, buf).len, 0);
    world_free(&w);
}

LK_TEST(attributes_come_with_the_query_and_a_room_s_settings_with_the_token)
{
    WORLD(w);
    lk_token t = token("ann");
    lk_sfu_refusal why = {0};
    uint32_t c = 0;
    t.video.can_update_own_metadata = LK_TOKEN_YES;
    t.room_config = "{\"emptyTimeout\":7,\"departureTimeout\":3,\"maxParticipants\":1,\"metadata\":\"from the token\",\"agents\":[]}";
    /* {"a":"b","c":""} */
    if (join_v0(&w, &t, "sdk=js&attributes=eyJhIjoiYiIsImMiOiIifQ%3D%3D", &c, &why) == LK_OK && !lk_test_oom()) {
        const Livekit__JoinResponse *j = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)->join;
        CHECK_EQ(j->participant->n_attributes, 1);
        CHECK_STR(j->participant->attributes[0]->value, "b");
        CHECK_STR(j->room->metadata, "from the token");
        CHECK_EQ(j->room->empty_timeout, 7);
        CHECK_EQ(j->room->departure_timeout, 3);
        t = token("bob");
        CHECK_EQ(join_v0(&w, &t, "sdk=js", &c, &why), LK_ERR_DENIED);
        static char long_query[100000] = "sdk=js&attributes=";
        size_t n = strlen("sdk=js&attributes=");
        memset(long_query + n, 'A', sizeof long_query - n - 1);
        memcpy(long_query + n, "eyJhIjoi", 8); /* {"a":" and then NULs: no JSON */
        t = token("ann");
        t.video.can_update_own_metadata = LK_TOKEN_YES;
        CHECK_EQ(join_v0(&w, &t, long_query, &c, &why), LK_ERR_DENIED);
        for (size_t i = n + 8; i + 4 <= sizeof long_query - 1; i += 4)
            memcpy(long_query + i, "eHh4", 4); /* xxx */
        memcpy(long_query + sizeof long_query - 1 - ((sizeof long_query - 1 - n) % 4) - 4, "eCJ9", 4); /* x"} */
        long_query[n + (sizeof long_query - 1 - n) / 4 * 4] = 0;
        CHECK_EQ(join_v0(&w, &t, long_query, &c, &why), LK_ERR_DENIED);
        CHECK_STR(why.text, "metadata or attributes are too long");
    } else {
        CHECK(lk_test_oom());
    }
    world_free(&w);
}

LK_TEST(limits_of_rooms_people_and_joins_refuse_and_leave_the_others_alone)
{
    lk_sfu_config c = *plain();
    c.limits = (lk_sfu_limits){.rooms = 1, .participants = 2, .joins_per_sec = 1};
    world w;
    if (!world_new(&w, env, &c))
        return;
    uint32_t first = enter(&w, "ann"), other;
    enter(&w, "bob");
    lk_sfu_refusal why = {0};
    lk_token t = token("carl"), elsewhere = token("dora");
    elsewhere.video.room = "another";
    CHECK_EQ(join_v0(&w, &t, "sdk=js", &other, &why), LK_ERR_DENIED);
    CHECK(lk_test_oom() || why.status == 429);
    CHECK_EQ(join_v0(&w, &elsewhere, "sdk=js", &other, &why), LK_ERR_DENIED);
    CHECK(lk_test_oom() || why.status == 503);
    for (int i = 0; i < 20 && !lk_test_oom(); i++) {
        t = token("bob");
        if (join_v0(&w, &t, "sdk=js", &other, &why) != LK_OK)
            break;
    }
    if (!lk_test_oom())
        CHECK_STR(why.text, "too many joins at once");
    CHECK_EQ(closed(&w, first), 0);
    world_free(&w);
}

LK_TEST(rooms_and_joins_are_counted_over_all_loops_of_a_server)
{
    lk_sfu_totals totals = {0};
    lk_sfu_config c = *plain();
    c.totals = &totals;
    c.limits = (lk_sfu_limits){.rooms = 1, .joins_per_sec = 1};
    world w, other;
    if (!world_new(&w, env, &c))
        return;
    c.loop = 'b';
    if (!world_new(&other, env, &c)) {
        world_free(&w);
        return;
    }
    lk_token t = token("ann"), elsewhere = token("bob");
    lk_sfu_refusal why = {0};
    uint32_t conn;
    elsewhere.video.room = "another";
    if (join_v0(&w, &t, "sdk=js", &conn, &why) == LK_OK && !lk_test_oom()) {
        CHECK_EQ(join_v0(&other, &elsewhere, "sdk=js", &conn, &why), LK_ERR_DENIED);
        CHECK_EQ(why.status, 503);
        CHECK_STR(why.text, "too many rooms");
        run(&w, LK_SEC(60)); /* nobody connects: the room is left, and then closed */
        run(&w, LK_SEC(60));
        other.now = w.now;
        unsigned let_in = 0;
        for (int i = 0; i < 30; i++)
            let_in += join_v0(i % 2 ? &other : &w, &(lk_token){.key = "key", .identity = "ann", .name = "", .metadata = "", .sha256 = "", .room_preset = "",
                              .room_config = "", .has_video = true, .video = {.room_join = true, .room = "another", .destination_room = ""}},
                              "sdk=js&reconnect=1&sid=PA_x", &conn, &why) == LK_OK;
        CHECK_EQ(let_in, 10);
        CHECK_STR(why.text, "too many joins at once");
        other.now += LK_SEC(10);
        CHECK_OK(join_v0(&other, &elsewhere, "sdk=js", &conn, &why));
    }
    world_free(&other);
    world_free(&w);
    CHECK_EQ(atomic_load(&totals.rooms), 0);
}

LK_TEST(an_overloaded_server_lets_nobody_new_in_and_those_who_are_in_come_back)
{
    WORLD(w);
    uint32_t first = enter(&w, "ann"), conn = 0;
    lk_token t = token("ann"), late = token("bob");
    lk_sfu_refusal why = {0};
    lk_sfu_join join = {.token = &late, .query = lk_str_of("sdk=js"), .overload = "no descriptor is left"};
    connect(&w, "ann");
    if (lk_test_oom()) {
        world_free(&w);
        return;
    }
    CHECK_EQ(lk_sfu_validate(w.s, w.now, &join, &why), LK_ERR_DENIED);
    CHECK_EQ(lk_sfu_accept(w.s, w.now, &join, &conn, &why), LK_ERR_DENIED);
    CHECK_EQ(why.status, 503);
    CHECK_STR(why.text, "no descriptor is left");
    drain(&w);
    CHECK_EQ(closed(&w, first), 0);
    join.token = &t;
    join.query = lk_str_of("sdk=js&reconnect=1&sid=PA_x");
    CHECK_OK(lk_sfu_accept(w.s, w.now, &join, &conn, &why));
    world_free(&w);
}

LK_TEST(without_auto_create_only_rooms_that_exist_can_be_joined)
{
    lk_sfu_config c = *plain();
    c.no_auto_create = true;
    world w;
    if (!world_new(&w, env, &c))
        return;
    uint32_t conn = 0;
    lk_sfu_refusal why = {0};
    lk_token t = token("ann"), admin = token("");
    CHECK_EQ(join_v0(&w, &t, "sdk=js", &conn, &why), LK_ERR_DENIED);
    CHECK(lk_test_oom() || why.status == 404);
    admin.video.room_create = true;
    lk_sfu_admin(w.s, w.now, 1, LK_SFU_CREATE_ROOM, &admin, (lk_bytes){(const uint8_t *)"\x0a\x04room", 6});
    drain(&w);
    CHECK(join_v0(&w, &t, "sdk=js", &conn, &why) == LK_OK || lk_test_oom());
    world_free(&w);
}

LK_TEST(two_connections_the_older_way_get_an_offer_of_the_server)
{
    WORLD(w);
    lk_token t = token("ann");
    lk_sfu_refusal why;
    uint32_t c = 0;
    if (join_v0(&w, &t, "auto_subscribe=1&sdk=js&version=2.23.0&protocol=17&client_protocol=2&capabilities=CAP_PACKET_TRAILER", &c, &why) == LK_OK) {
        run(&w, LK_MSEC(20));
        const Livekit__SignalResponse *m = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER);
        if (m && !lk_test_oom()) {
            Livekit__SessionDescription d = LIVEKIT__SESSION_DESCRIPTION__INIT;
            CHECK(last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)->join->subscriber_primary);
            CHECK_EQ(last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)->join->participant->client_protocol, 2);
            CHECK_EQ(last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)->join->participant->n_capabilities, 1);
            d.type = (char *)(uintptr_t)"answer";
            d.sdp = (char *)(uintptr_t)"answer";
            d.has_id = 1;
            d.id = m->offer->id + 1; /* of an offer we never made */
            REQUEST(&w, c, ANSWER, answer, &d);
            CHECK(lk_peer_offer_outstanding(person(&w, "ann")->subscriber));
            d.id = m->offer->id;
            REQUEST(&w, c, ANSWER, answer, &d);
            CHECK(lk_test_oom() || !lk_peer_offer_outstanding(person(&w, "ann")->subscriber));
        } else {
            CHECK(lk_test_oom());
        }
    }
    world_free(&w);
}

LK_TEST(an_offer_nobody_answers_ends_in_a_fresh_start)
{
    WORLD(w);
    lk_token t = token("ann");
    lk_sfu_refusal why;
    uint32_t c = 0;
    if (join_v0(&w, &t, "sdk=js&protocol=17", &c, &why) == LK_OK) {
        run(&w, LK_SEC(16));
        const Livekit__SignalResponse *m = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
        CHECK(lk_test_oom() || (m && m->leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT));
        CHECK(lk_test_oom() || closed(&w, c) == 1000);
        CHECK(!person(&w, "ann"));
    }
    world_free(&w);
}

/* ---- people ------------------------------------------------------------------------------------------------------------ */

LK_TEST(people_see_each_other_come_change_and_go)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "bob");
    const Livekit__ParticipantInfo *seen = told_of(&w, a, "bob");
    CHECK(lk_test_oom() || (seen && seen->state == LIVEKIT__PARTICIPANT_INFO__STATE__JOINED));
    CHECK(lk_test_oom() || told_of(&w, b, "bob")->state == LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
    run(&w, LK_SEC(3));
    seen = told_of(&w, a, "bob");
    if (!lk_test_oom()) {
        CHECK(seen && seen->state == LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)->join->n_other_participants, 1);
        CHECK(told_of(&w, b, "bob") && told_of(&w, b, "bob")->version == seen->version);
    }
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    leave.has_reason = 1;
    leave.reason = LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED;
    REQUEST(&w, b, LEAVE, leave, &leave);
    seen = told_of(&w, a, "bob");
    if (!lk_test_oom()) {
        CHECK(seen && seen->state == LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
        CHECK_EQ(seen->disconnect_reason, LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED);
        CHECK(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE));
        CHECK_EQ(closed(&w, b), 1000);
        run(&w, LK_SEC(6));
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE)->room_update->room->num_participants, 1);
    }
    world_free(&w);
}

LK_TEST(a_second_session_of_an_identity_ends_the_first)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "ann");
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
    if (!lk_test_oom()) {
        CHECK(m && m->leave->reason == LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY);
        CHECK_EQ(closed(&w, a), 1000);
        CHECK_EQ(closed(&w, b), 0);
        CHECK_EQ(lk_sfu_room_find(w.s, "room")->people.count, 1);
    }
    world_free(&w);
}

LK_TEST(the_hidden_see_and_are_not_seen)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    lk_token t = token("ghost");
    t.video.hidden = true;
    uint32_t g = enter_with(&w, &t, true, "m=application");
    connect(&w, "ghost");
    publish(&w, g, "ghost", "mic", false);
    run(&w, LK_SEC(6));
    CHECK(!told_of(&w, a, "ghost"));
    if (!lk_test_oom()) {
        CHECK(told_of(&w, g, "ann"));
        CHECK_EQ(last(&w, g, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE)->room_update->room->num_participants, 1);
        CHECK_EQ(person(&w, "ann")->subs.count, 0);
    }
    world_free(&w);
}

LK_TEST(who_does_not_get_connected_within_a_minute_is_removed)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    run(&w, LK_SEC(59));
    CHECK_EQ(closed(&w, a), 0);
    run(&w, LK_SEC(2));
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
    CHECK(lk_test_oom() || (m && m->leave->reason == LIVEKIT__DISCONNECT_REASON__JOIN_FAILURE));
    world_free(&w);
}

LK_TEST(a_room_closes_20_s_after_the_last_one_left_and_300_s_when_nobody_came)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    lk_sfu_signal_closed(w.s, w.now, a); /* before any connection: gone at once */
    run(&w, LK_SEC(19));
    CHECK(lk_test_oom() || lk_sfu_room_find(w.s, "room"));
    run(&w, LK_SEC(2));
    CHECK(!lk_sfu_room_find(w.s, "room"));
    lk_token admin = token("");
    admin.video.room_create = true;
    lk_sfu_admin(w.s, w.now, 1, LK_SFU_CREATE_ROOM, &admin, (lk_bytes){(const uint8_t *)"\x0a\x04room", 6});
    run(&w, LK_SEC(299));
    CHECK(lk_test_oom() || lk_sfu_room_find(w.s, "room"));
    run(&w, LK_SEC(2));
    CHECK(!lk_sfu_room_find(w.s, "room"));
    world_free(&w);
}

LK_TEST(offers_that_come_too_often_wait_and_the_newest_is_answered)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    size_t before = count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER);
    for (int i = 0; i < 60; i++)
        offer(&w, a, "m=application\nra rv");
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER) == before + 50);
    run(&w, LK_MSEC(199));
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER) == before + 50);
    run(&w, LK_SEC(2));
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER) == before + 51);
    offer(&w, a, "m=application\nra rv");
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER) == before + 52);
    for (int i = 0; i < 60; i++)
        offer(&w, a, "m=application\nra rv");
    world_free(&w); /* with one that waits */
}

LK_TEST(metadata_is_changed_five_times_a_second_and_no_more)
{
    WORLD(w);
    lk_token t = token("ann");
    t.video.can_update_own_metadata = LK_TOKEN_YES;
    uint32_t a = enter_with(&w, &t, true, "m=application");
    Livekit__UpdateParticipantMetadata u = LIVEKIT__UPDATE_PARTICIPANT_METADATA__INIT;
    u.metadata = (char *)(uintptr_t)"m";
    u.has_request_id = 1;
    unsigned done = 0;
    for (u.request_id = 1; u.request_id <= 60 && !lk_test_oom(); u.request_id++) {
        REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
        const Livekit__RequestResponse *r = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response;
        CHECK_EQ(r->request_id, u.request_id);
        CHECK_EQ(r->reason, done < 50 ? LIVEKIT__REQUEST_RESPONSE__REASON__OK : LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED);
        done += r->reason == LIVEKIT__REQUEST_RESPONSE__REASON__OK;
    }
    w.now += LK_SEC(1);
    for (u.request_id = 1; u.request_id <= 10 && !lk_test_oom(); u.request_id++) {
        REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
        done += last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response->reason == LIVEKIT__REQUEST_RESPONSE__REASON__OK;
    }
    CHECK(lk_test_oom() || done == 55);
    CHECK_EQ(closed(&w, a), 0);
    world_free(&w);
}

LK_TEST(metadata_changes_only_with_the_grant_and_within_limits)
{
    WORLD(w);
    lk_token t = token("ann");
    t.video.can_update_own_metadata = LK_TOKEN_YES;
    uint32_t a = enter_with(&w, &t, true, "m=application"), b = enter(&w, "bob");
    Livekit__UpdateParticipantMetadata u = LIVEKIT__UPDATE_PARTICIPANT_METADATA__INIT;
    Livekit__UpdateParticipantMetadata__AttributesEntry e = LIVEKIT__UPDATE_PARTICIPANT_METADATA__ATTRIBUTES_ENTRY__INIT, *list[] = {&e};
    e.key = (char *)(uintptr_t)"colour";
    e.value = (char *)(uintptr_t)"red";
    u.metadata = (char *)(uintptr_t)"new";
    u.name = (char *)(uintptr_t)"Ann";
    u.has_request_id = 1;
    u.request_id = 5;
    u.attributes = list;
    u.n_attributes = 1;
    REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
    const Livekit__ParticipantInfo *p = told_of(&w, b, "ann");
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
    if (!lk_test_oom()) {
        CHECK_STR(p->metadata, "new");
        CHECK_STR(p->name, "Ann");
        CHECK_EQ(p->n_attributes, 1);
        CHECK_STR(p->attributes[0]->value, "red");
        CHECK_EQ(m->request_response->request_id, 5);
        CHECK_EQ(m->request_response->reason, LIVEKIT__REQUEST_RESPONSE__REASON__OK);
    }
    e.value = (char *)(uintptr_t)"";
    REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
    CHECK(lk_test_oom() || told_of(&w, b, "ann")->n_attributes == 0);
    REQUEST(&w, b, UPDATE_METADATA, update_metadata, &u);
    m = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
    CHECK(lk_test_oom() || m->request_response->reason == LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED);
    static Livekit__UpdateParticipantMetadata__AttributesEntry crowd[1100], *many[1100];
    static char names[1100][8];
    for (size_t i = 0; i < LK_LEN(many); i++) {
        crowd[i] = (Livekit__UpdateParticipantMetadata__AttributesEntry)LIVEKIT__UPDATE_PARTICIPANT_METADATA__ATTRIBUTES_ENTRY__INIT;
        char n[LK_STR_FMT_MAX];
        (void)lk_str_copy(names[i], sizeof names[i], lk_str_of(lk_u64_text(i, n)));
        crowd[i].key = crowd[i].value = names[i];
        many[i] = &crowd[i];
    }
    u.attributes = many;
    u.n_attributes = LK_LEN(many);
    REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
    m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
    CHECK(lk_test_oom() || m->request_response->reason == LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED);
    CHECK(lk_test_oom() || told_of(&w, b, "ann")->n_attributes == 0);
    u.n_attributes = 0;
    static char much[300];
    memset(much, 'x', sizeof much - 1);
    u.name = much;
    REQUEST(&w, a, UPDATE_METADATA, update_metadata, &u);
    m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
    CHECK(lk_test_oom() || m->request_response->reason == LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED);
    world_free(&w);
}

/* ---- tracks ----------------------------------------------------------------------------------------------------------------- */

LK_TEST(a_microphone_is_announced_published_and_subscribed)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    const char *sid = publish(&w, a, "ann", "mic-1", false);
    run(&w, LK_MSEC(200));
    if (!lk_test_oom()) {
        CHECK_MEM(sid, 5, "TR_AM", 5);
        const Livekit__ParticipantInfo *p = told_of(&w, b, "ann");
        CHECK_EQ(p->n_tracks, 1);
        CHECK_STR(p->tracks[0]->sid, sid);
        CHECK_STR(p->tracks[0]->stream, "camera");
        CHECK_STR(p->tracks[0]->mime_type, "audio/red");
        CHECK(p->is_publisher);
        CHECK(place(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE) < MESSAGES_MAX);
        const Livekit__SignalResponse *need = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT);
        CHECK(need && need->media_sections_requirement->num_audios == 0); /* one is free already, an offer is due all the same */
        CHECK(!last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_SUBSCRIBED));
        offer(&w, b, "m=application\nra rv");
        const Livekit__SignalResponse *answer = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER);
        CHECK_EQ(answer->answer->n_mid_to_track_id, 1);
        CHECK_STR(answer->answer->mid_to_track_id[0]->value, sid);
        CHECK_STR(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_SUBSCRIBED)->track_subscribed->track_sid, sid);
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_STREAM_STATE_UPDATE)->stream_state_update->n_stream_states, 1);
        lk_sfu_person *pb = person(&w, "bob");
        lk_down *d = LK_CONTAINER(lk_list_first(&pb->publisher->downs), lk_down, link);
        CHECK(lk_str_starts(lk_str_of(d->stream), person(&w, "ann")->sid));
        CHECK_STR(d->track, sid);
    }
    world_free(&w);
}

LK_TEST(missing_sections_are_asked_for_and_a_second_track_asks_for_one_more)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    lk_token t = token("bob");
    uint32_t b = enter_with(&w, &t, true, "m=application\n");
    publish(&w, a, "ann", "cam", true);
    run(&w, LK_MSEC(200));
    publish(&w, a, "ann", "cam2", true);
    run(&w, LK_MSEC(200));
    if (!lk_test_oom()) {
        CHECK_EQ(count(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT), 2);
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT)->media_sections_requirement->num_videos, 1);
        offer(&w, b, "m=application\nrv rv");
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER)->answer->n_mid_to_track_id, 2);
        run(&w, LK_SEC(1));
        CHECK_EQ(count(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT), 2);
    }
    world_free(&w);
}

LK_TEST(a_video_is_known_to_others_with_its_first_packet)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    Livekit__AddTrackRequest q = track_request("cam", true);
    Livekit__VideoLayer high = LIVEKIT__VIDEO_LAYER__INIT, low = LIVEKIT__VIDEO_LAYER__INIT, *layers[] = {&high, &low};
    high.has_quality = high.has_width = low.has_width = 1;
    high.quality = LIVEKIT__VIDEO_QUALITY__MEDIUM;
    high.width = 640;
    low.width = 320;
    q.layers = layers;
    q.n_layers = 2;
    REQUEST(&w, a, ADD_TRACK, add_track, &q);
    offer(&w, a, "m=application\nv:cam");
    CHECK(lk_test_oom() || told_of(&w, b, "ann")->n_tracks == 0);
    lk_sfu_person *p = person(&w, "ann");
    lk_up *u = p ? fake_up(p->publisher, "cam") : NULL;
    if (u) {
        fake_live(u);
        lk_sfu_tick(w.s, w.now);
        drain(&w);
        if (!lk_test_oom()) {
            const Livekit__TrackInfo *t = told_of(&w, b, "ann")->tracks[0];
            CHECK_STR(t->mime_type, "video/VP8");
            CHECK(t->simulcast);
            CHECK_EQ(t->layers[0]->width, 320);
            CHECK_EQ(t->layers[0]->ssrc, 7);
            CHECK_STR(t->layers[0]->rid, "q");
        }
    } else {
        CHECK(lk_test_oom());
    }
    world_free(&w);
}

LK_TEST(what_may_not_be_published_is_refused_by_source_kind_number_and_name)
{
    lk_sfu_config c = *plain();
    c.limits.tracks = 2;
    world w;
    if (!world_new(&w, env, &c))
        return;
    lk_token t = token("ann");
    t.video.publish_sources = 1u << LIVEKIT__TRACK_SOURCE__MICROPHONE;
    uint32_t a = enter_with(&w, &t, true, "m=application");
    struct {
        Livekit__AddTrackRequest q;
        Livekit__RequestResponse__Reason reason;
    } rows[] = {{track_request("cam", true), LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED},
                {track_request("", false), LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_REQUEST},
                {track_request("data", false), LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE},
                {track_request("backup", false), LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND}};
    rows[2].q.type = LIVEKIT__TRACK_TYPE__DATA;
    rows[3].q.sid = (char *)(uintptr_t)"TR_unknown";
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        REQUEST(&w, a, ADD_TRACK, add_track, &rows[i].q);
        const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
        CHECK(lk_test_oom() || (m->request_response->reason == rows[i].reason && m->request_response->add_track->cid));
    }
    CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED), 0);
    for (int i = 0; i < 3; i++) {
        char cid[2] = {(char)('a' + i), 0};
        Livekit__AddTrackRequest q = track_request(cid, false);
        REQUEST(&w, a, ADD_TRACK, add_track, &q);
    }
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED) == 2);
    CHECK(lk_test_oom() || last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response->reason ==
                               LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED);
    world_free(&w);
}

LK_TEST(a_cid_in_use_waits_until_the_track_that_has_it_is_gone)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    publish(&w, a, "ann", "mic", false);
    Livekit__AddTrackRequest q = track_request("mic", false);
    REQUEST(&w, a, ADD_TRACK, add_track, &q);
    CHECK(lk_test_oom() || last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response->reason ==
                               LIVEKIT__REQUEST_RESPONSE__REASON__QUEUED);
    offer(&w, a, "m=application\n -mic");
    CHECK(lk_test_oom() || count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED) == 2);
    world_free(&w);
}

LK_TEST(muting_is_told_to_all_and_by_an_admin_to_the_owner_too)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    const char *sid = publish(&w, a, "ann", "mic", false);
    Livekit__MuteTrackRequest mute = LIVEKIT__MUTE_TRACK_REQUEST__INIT;
    mute.sid = (char *)(uintptr_t)sid;
    mute.has_muted = mute.muted = 1;
    REQUEST(&w, a, MUTE, mute, &mute);
    if (!lk_test_oom()) {
        CHECK(told_of(&w, b, "ann")->tracks[0]->muted);
        CHECK(fake_up(person(&w, "ann")->publisher, "mic")->muted);
        mute.sid = (char *)(uintptr_t)"TR_none";
        REQUEST(&w, a, MUTE, mute, &mute);
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response->reason,
                 LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND);
    }
    Livekit__MuteRoomTrackRequest q = LIVEKIT__MUTE_ROOM_TRACK_REQUEST__INIT;
    lk_token admin = token("");
    lk_bytes bytes;
    admin.video.room_admin = true;
    q.room = (char *)(uintptr_t)"room";
    q.identity = (char *)(uintptr_t)"ann";
    q.track_sid = (char *)(uintptr_t)sid;
    if (lk_pbuf_pack(&q.base, &w.arena, &bytes) == LK_OK) {
        lk_sfu_admin(w.s, w.now, 2, LK_SFU_MUTE_PUBLISHED_TRACK, &admin, bytes);
        drain(&w);
        CHECK(lk_test_oom() || (w.done_twirp && strcmp(w.done_twirp, "failed_precondition") == 0)); /* nobody opens another's microphone */
    }
    world_free(&w);
}

LK_TEST(a_track_that_ends_leaves_everybody)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    publish(&w, a, "ann", "mic", false);
    run(&w, LK_MSEC(200));
    offer(&w, b, "m=application\nra rv");
    run(&w, LK_MSEC(200));
    size_t before = count(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT);
    offer(&w, a, "m=application\n -mic");
    run(&w, LK_MSEC(200));
    if (!lk_test_oom()) {
        CHECK_EQ(told_of(&w, b, "ann")->n_tracks, 0);
        CHECK_EQ(person(&w, "bob")->subs.count, 0);
        CHECK_EQ(count(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT), before + 1);
        CHECK(!last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_UNPUBLISHED));
    }
    world_free(&w);
}

LK_TEST(layers_wanted_rise_at_once_and_fall_after_5_s)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    enter(&w, "bob");
    publish(&w, a, "ann", "cam", true);
    lk_sfu_person *p = person(&w, "ann");
    lk_up *u = p ? fake_up(p->publisher, "cam") : NULL;
    run(&w, LK_SEC(3)); /* nothing was told, nothing is to be told again */
    if (u && !lk_test_oom()) {
        fake_wanted(u, 2);
        lk_sfu_tick(w.s, w.now);
        drain(&w);
        const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE);
        CHECK(m->subscribed_quality_update->subscribed_codecs[0]->qualities[2]->enabled);
        CHECK_STR(m->subscribed_quality_update->subscribed_codecs[0]->codec, "vp8");
        fake_wanted(u, 0);
        lk_sfu_tick(w.s, w.now);
        run(&w, LK_SEC(4));
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), 1);
        run(&w, LK_SEC(2));
        m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE);
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), 2);
        CHECK(!m->subscribed_quality_update->subscribed_qualities[2]->enabled && m->subscribed_quality_update->subscribed_qualities[0]->enabled);
    }
    world_free(&w);
}

/* ---- codecs ---------------------------------------------------------------------------------------------------------------------- */

typedef struct two_codecs { /* ann sends VP9 and can send VP8; bob takes VP8 alone, carl both */
    uint32_t a, b, c;
    const char *sid;
    lk_up *vp9, *vp8;
} two_codecs;

static lk_down *down_of(const world *w, const char *identity)
{
    lk_sfu_person *p = person(w, identity);
    lk_link *at = p ? lk_list_first(&lk_sfu_down_peer(p)->downs) : NULL;
    return at ? LK_CONTAINER(at, lk_down, link) : NULL;
}

static const Livekit__SubscribedQualityUpdate *wanted(const world *w, uint32_t conn)
{
    const Livekit__SignalResponse *m = last(w, conn, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE);
    return m ? m->subscribed_quality_update : NULL;
}

static Livekit__RequestResponse__Reason backup_reply(world *w, const two_codecs *two, const char *codec, const char *cid)
{
    Livekit__AddTrackRequest q = track_request(cid, true);
    Livekit__SimulcastCodec c = LIVEKIT__SIMULCAST_CODEC__INIT, *codecs[] = {&c};
    size_t before = count(w, two->a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED);
    q.sid = (char *)(uintptr_t)two->sid;
    c.codec = (char *)(uintptr_t)codec;
    c.cid = q.cid;
    q.n_simulcast_codecs = 1;
    q.simulcast_codecs = codecs;
    REQUEST(w, two->a, ADD_TRACK, add_track, &q);
    if (count(w, two->a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED) > before)
        return LIVEKIT__REQUEST_RESPONSE__REASON__OK;
    const Livekit__SignalResponse *m = last(w, two->a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE);
    return m ? m->request_response->reason : LIVEKIT__REQUEST_RESPONSE__REASON__UNCLASSIFIED_ERROR;
}

static bool two_codecs_meet(world *w, two_codecs *two, Livekit__BackupCodecPolicy policy)
{
    Livekit__AddTrackRequest q = track_request("cam", true);
    Livekit__SimulcastCodec first = LIVEKIT__SIMULCAST_CODEC__INIT, second = LIVEKIT__SIMULCAST_CODEC__INIT, *codecs[] = {&first, &second, &second};
    *two = (two_codecs){.a = enter(w, "ann"), .b = enter(w, "bob"), .c = enter(w, "carl"), .sid = ""};
    first.codec = (char *)(uintptr_t)"vp9";
    first.cid = q.cid;
    second.codec = (char *)(uintptr_t)"vp8";
    q.n_simulcast_codecs = 3; /* the same once more counts once */
    q.simulcast_codecs = codecs;
    q.has_backup_codec_policy = 1;
    q.backup_codec_policy = policy;
    if (person(w, "bob"))
        person(w, "bob")->publisher->takes = "video/VP8";
    REQUEST(w, two->a, ADD_TRACK, add_track, &q);
    offer(w, two->a, "m=application\nv:cam");
    lk_sfu_person *ann = person(w, "ann");
    two->vp9 = ann ? fake_up(ann->publisher, "cam") : NULL;
    const Livekit__SignalResponse *m = last(w, two->a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED);
    if (!two->vp9 || !m)
        return false;
    two->sid = m->track_published->track->sid;
    two->vp9->mime = "video/VP9";
    fake_live(two->vp9);
    fake_wanted(two->vp9, 2);
    run(w, LK_MSEC(200));
    offer(w, two->b, "m=application\nra rv");
    offer(w, two->c, "m=application\nra rv");
    run(w, LK_MSEC(200));
    return !lk_test_oom();
}

static void send_backup(world *w, two_codecs *two)
{
    CHECK_EQ(backup_reply(w, two, "vp8", "cam8"), LIVEKIT__REQUEST_RESPONSE__REASON__OK);
    offer(w, two->a, "m=application\nv:cam v:cam8");
    two->vp8 = fake_up(person(w, "ann")->publisher, "cam8");
    fake_live(two->vp8);
    lk_sfu_tick(w->s, w->now);
    drain(w);
}

LK_TEST(a_second_codec_is_asked_for_by_who_cannot_take_the_first_and_shown_once_it_is_there)
{
    WORLD(w);
    two_codecs two;
    if (two_codecs_meet(&w, &two, LIVEKIT__BACKUP_CODEC_POLICY__SIMULCAST)) {
        const Livekit__SubscribedQualityUpdate *u = wanted(&w, two.a);
        CHECK_EQ(u->n_subscribed_codecs, 2);
        CHECK_STR(u->subscribed_codecs[0]->codec, "vp9");
        CHECK_STR(u->subscribed_codecs[1]->codec, "vp8");
        CHECK(u->subscribed_codecs[0]->qualities[2]->enabled && u->subscribed_codecs[1]->qualities[2]->enabled);
        CHECK(down_of(&w, "carl")->up == two.vp9 && !down_of(&w, "bob")->up); /* he waits */
        send_backup(&w, &two);
        CHECK(down_of(&w, "carl")->up == two.vp9 && down_of(&w, "bob")->up == two.vp8);
        const Livekit__TrackInfo *t = told_of(&w, two.c, "ann")->tracks[0];
        CHECK_EQ(t->n_codecs, 2);
        CHECK_STR(t->mime_type, "video/VP9");
        CHECK_STR(t->mid, two.vp9->mid);
        CHECK_STR(t->codecs[1]->cid, "cam8");
        CHECK_STR(t->codecs[1]->mid, two.vp8->mid);
        lk_sfu_mute(person(&w, "ann"), lk_sfu_track_of(person(&w, "ann"), two.sid), true);
        CHECK(two.vp9->muted && two.vp8->muted);
        fake_wanted(two.vp8, 0);
        run(&w, LK_SEC(6));
        u = wanted(&w, two.a);
        CHECK(u->subscribed_codecs[0]->qualities[2]->enabled && !u->subscribed_codecs[1]->qualities[1]->enabled && u->subscribed_codecs[1]->qualities[0]->enabled);
        offer(&w, two.a, "m=application\nv:cam -cam8"); /* bob is left with nothing, the track goes on */
        CHECK_EQ(last(&w, two.b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_RESPONSE)->subscription_response->err,
                 LIVEKIT__SUBSCRIPTION_ERROR__SE_CODEC_UNSUPPORTED);
        CHECK(!down_of(&w, "bob") && down_of(&w, "carl")->up == two.vp9);
        offer(&w, two.a, "m=application\n-cam");
        CHECK_EQ(told_of(&w, two.c, "ann")->n_tracks, 0);
        CHECK_EQ(person(&w, "carl")->subs.count, 0);
    }
    world_free(&w);
}

LK_TEST(in_a_small_room_everybody_gets_the_second_codec_once_somebody_needs_it)
{
    WORLD(w);
    two_codecs two;
    if (two_codecs_meet(&w, &two, LIVEKIT__BACKUP_CODEC_POLICY__PREFER_REGRESSION)) {
        person(&w, "carl")->sdk = LIVEKIT__CLIENT_INFO__SDK__JS;
        lk_down *before = down_of(&w, "carl");
        send_backup(&w, &two);
        CHECK(down_of(&w, "carl") == before && before->up == two.vp8 && down_of(&w, "bob")->up == two.vp8);
        fake_wanted(two.vp9, -1);
        fake_wanted(two.vp8, 2);
        run(&w, LK_SEC(6));
        const Livekit__SubscribedQualityUpdate *u = wanted(&w, two.a);
        CHECK(!u->subscribed_codecs[0]->qualities[0]->enabled && u->subscribed_codecs[1]->qualities[2]->enabled);
        uint32_t d = enter(&w, "dave"); /* who comes later gets it at once */
        run(&w, LK_MSEC(200));
        offer(&w, d, "m=application\nra rv");
        CHECK(down_of(&w, "dave")->up == two.vp8);
        offer(&w, two.a, "m=application\nv:cam -cam8");
        CHECK(down_of(&w, "dave")->up == two.vp9 && before->up == two.vp9);
    }
    world_free(&w);
}

LK_TEST(who_keeps_a_track_in_its_codec_is_given_it_anew)
{
    WORLD(w);
    two_codecs two;
    if (two_codecs_meet(&w, &two, LIVEKIT__BACKUP_CODEC_POLICY__REGRESSION)) {
        person(&w, "carl")->sdk = LIVEKIT__CLIENT_INFO__SDK__GO;
        size_t asked = count(&w, two.c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT);
        send_backup(&w, &two);
        CHECK(!down_of(&w, "carl")->bound);
        run(&w, LK_MSEC(200));
        CHECK_EQ(count(&w, two.c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT), asked + 1);
        offer(&w, two.c, "m=application\nra rv");
        CHECK(down_of(&w, "carl")->up == two.vp8);
    }
    world_free(&w);
}

LK_TEST(a_track_whose_first_codec_never_comes_is_seen_in_the_second)
{
    WORLD(w);
    two_codecs two;
    if (two_codecs_meet(&w, &two, LIVEKIT__BACKUP_CODEC_POLICY__SIMULCAST)) {
        send_backup(&w, &two);
        offer(&w, two.a, "m=application\nv:cam8 -cam");
        CHECK(down_of(&w, "carl")->up == two.vp8 && down_of(&w, "bob")->up == two.vp8);
        uint32_t d = enter(&w, "dave");
        run(&w, LK_MSEC(200));
        offer(&w, d, "m=application\nra rv");
        CHECK(down_of(&w, "dave")->up == two.vp8);
        offer(&w, two.a, "m=application\nv:cam8 v:cam"); /* it comes back */
        two.vp9 = fake_up(person(&w, "ann")->publisher, "cam");
        two.vp9->mime = "video/VP9";
        fake_live(two.vp9);
        lk_sfu_tick(w.s, w.now);
        CHECK(down_of(&w, "carl")->up == two.vp9 && down_of(&w, "bob")->up == two.vp8);
    }
    world_free(&w);
}

LK_TEST(only_codecs_that_were_announced_are_added_and_once)
{
    WORLD(w);
    two_codecs two;
    if (two_codecs_meet(&w, &two, LIVEKIT__BACKUP_CODEC_POLICY__SIMULCAST)) {
        CHECK_EQ(backup_reply(&w, &two, "h264", "x"), LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE);
        CHECK_EQ(backup_reply(&w, &two, "vp9", "x"), LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE); /* is sent */
        CHECK_EQ(backup_reply(&w, &two, "vp8", ""), LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_REQUEST);
        offer(&w, two.a, "m=application\nv:cam v:early"); /* the section first, its name after */
        CHECK_EQ(person(&w, "ann")->loose.count, 1);
        CHECK_EQ(backup_reply(&w, &two, "vp8", "early"), LIVEKIT__REQUEST_RESPONSE__REASON__OK);
        CHECK_EQ(person(&w, "ann")->loose.count, 0);
        fake_live(fake_up(person(&w, "ann")->publisher, "early"));
        lk_sfu_tick(w.s, w.now);
        CHECK(down_of(&w, "bob")->up == fake_up(person(&w, "ann")->publisher, "early"));
        CHECK_EQ(backup_reply(&w, &two, "vp8", "again"), LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE);
    }
    world_free(&w);
}

LK_TEST(layers_wanted_are_told_again_2_s_after_an_answer_and_8_s_after_the_first_of_many)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    publish(&w, a, "ann", "cam", true);
    lk_sfu_person *p = person(&w, "ann");
    lk_up *u = p ? fake_up(p->publisher, "cam") : NULL;
    run(&w, LK_SEC(3));
    if (u && !lk_test_oom()) {
        fake_wanted(u, 2);
        run(&w, LK_SEC(3));
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), 1);
        offer(&w, a, "m=application\nv:cam");
        run(&w, LK_MSEC(1900));
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), 1);
        run(&w, LK_MSEC(200));
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), 2);
        for (int i = 0; i < 9; i++) { /* one a second */
            offer(&w, a, "m=application\nv:cam");
            CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE), i < 8 ? 2 : 3);
            run(&w, LK_SEC(1));
        }
    }
    world_free(&w);
}

/* ---- subscriptions --------------------------------------------------------------------------------------------------------------- */

static size_t flowing(const world *w, const char *identity)
{
    lk_sfu_person *p = person(w, identity);
    return p ? lk_sfu_down_peer(p)->downs.count : 0;
}

LK_TEST(who_does_not_subscribe_by_himself_gets_what_he_asks_for)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    lk_token t = token("bob");
    uint32_t b = enter_with(&w, &t, false, "m=application\nra");
    const char *sid = publish(&w, a, "ann", "mic", false);
    CHECK_EQ(flowing(&w, "bob"), 0);
    Livekit__UpdateSubscription u = LIVEKIT__UPDATE_SUBSCRIPTION__INIT;
    char *sids[] = {(char *)(uintptr_t)sid, (char *)(uintptr_t)"TR_nobodys"};
    u.track_sids = sids;
    u.n_track_sids = 2;
    u.has_subscribe = u.subscribe = 1;
    REQUEST(&w, b, SUBSCRIPTION, subscription, &u);
    CHECK(lk_test_oom() || flowing(&w, "bob") == 1);
    run(&w, LK_SEC(1));
    connect(&w, "ann");
    connect(&w, "bob");
    run(&w, LK_SEC(61));
    const Livekit__SignalResponse *m = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_RESPONSE);
    if (!lk_test_oom()) {
        CHECK_STR(m->subscription_response->track_sid, "TR_nobodys");
        CHECK_EQ(m->subscription_response->err, LIVEKIT__SUBSCRIPTION_ERROR__SE_TRACK_NOTFOUND);
    }
    u.subscribe = 0;
    u.n_track_sids = 1;
    REQUEST(&w, b, SUBSCRIPTION, subscription, &u);
    CHECK_EQ(flowing(&w, "bob"), 0);
    Livekit__UpdateTrackSettings s = LIVEKIT__UPDATE_TRACK_SETTINGS__INIT;
    s.track_sids = sids;
    s.n_track_sids = 1;
    s.has_disabled = s.disabled = 1;
    REQUEST(&w, b, TRACK_SETTING, track_setting, &s);
    u.subscribe = 1;
    REQUEST(&w, b, SUBSCRIPTION, subscription, &u);
    if (!lk_test_oom())
        CHECK(LK_CONTAINER(lk_list_first(&person(&w, "bob")->publisher->downs), lk_down, link)->settings.disabled);
    world_free(&w);
}

LK_TEST(publishers_say_who_may_subscribe)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    const char *sid = publish(&w, a, "ann", "mic", false);
    CHECK(lk_test_oom() || flowing(&w, "bob") == 1);
    Livekit__SubscriptionPermission none = LIVEKIT__SUBSCRIPTION_PERMISSION__INIT, some = none;
    Livekit__TrackPermission bob = LIVEKIT__TRACK_PERMISSION__INIT, *list[] = {&bob};
    char *sids[] = {(char *)(uintptr_t)sid};
    REQUEST(&w, a, SUBSCRIPTION_PERMISSION, subscription_permission, &none);
    CHECK_EQ(flowing(&w, "bob"), 0);
    if (!lk_test_oom())
        CHECK(!last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE)->subscription_permission_update->allowed);
    bob.participant_identity = (char *)(uintptr_t)"bob";
    bob.track_sids = sids;
    bob.n_track_sids = 1;
    some.track_permissions = list;
    some.n_track_permissions = 1;
    REQUEST(&w, a, SUBSCRIPTION_PERMISSION, subscription_permission, &some);
    CHECK(lk_test_oom() || flowing(&w, "bob") == 1);
    enter(&w, "carl");
    CHECK_EQ(flowing(&w, "carl"), 0);
    world_free(&w);
}

LK_TEST(who_may_not_subscribe_gets_nothing_whatever_he_asks)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    lk_token t = token("bob");
    t.video.can_subscribe = LK_TOKEN_NO;
    uint32_t b = enter_with(&w, &t, true, "m=application\nra");
    const char *sid = publish(&w, a, "ann", "mic", false);
    Livekit__UpdateSubscription u = LIVEKIT__UPDATE_SUBSCRIPTION__INIT;
    char *sids[] = {(char *)(uintptr_t)sid};
    u.track_sids = sids;
    u.n_track_sids = 1;
    u.has_subscribe = u.subscribe = 1;
    REQUEST(&w, b, SUBSCRIPTION, subscription, &u);
    CHECK_EQ(flowing(&w, "bob"), 0);
    world_free(&w);
}

/* ---- data -------------------------------------------------------------------------------------------------------------------------- */

static size_t pack_user(world *w, uint8_t out[256], const char *text, const char *to, uint32_t sequence)
{
    Livekit__DataPacket m = LIVEKIT__DATA_PACKET__INIT;
    Livekit__UserPacket u = LIVEKIT__USER_PACKET__INIT;
    char *list[] = {(char *)(uintptr_t)to};
    lk_wr wr = lk_wr_of(out, 256);
    LK_UNUSED(w);
    m.participant_identity = (char *)(uintptr_t)"the king";
    u.participant_identity = (char *)(uintptr_t)"the king";
    u.has_payload = 1;
    u.payload = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    m.value_case = LIVEKIT__DATA_PACKET__VALUE_USER;
    m.user = &u;
    m.has_sequence = 1;
    m.sequence = sequence;
    m.n_destination_identities = to ? 1 : 0;
    m.destination_identities = list;
    lk_pbuf_pack_into(&m.base, &wr);
    lk_wr_put(&wr, "\xfa\x07\x02hi", 5); /* field 127, of a later protocol */
    return wr.bad ? 0 : wr.len;
}

static void say(world *w, const char *identity, bool reliable, const char *text, const char *to, uint32_t sequence)
{
    uint8_t bytes[256];
    lk_sfu_person *p = person(w, identity);
    if (!p)
        return;
    fake_data(p->publisher, reliable ? LK_PEER_RELIABLE : LK_PEER_LOSSY, bytes, pack_user(w, bytes, text, to, sequence));
    lk_sfu_tick(w->s, w->now);
    drain(w);
}

static const Livekit__DataPacket *heard(world *w, const char *identity, size_t *n)
{
    lk_sfu_person *p = person(w, identity);
    ProtobufCMessage *m = NULL;
    *n = p ? lk_sfu_primary(p)->sent : 0;
    if (*n) {
        const fake_sent *s = &lk_sfu_primary(p)->log[*n - 1];
        if (lk_pbuf_unpack(&livekit__data_packet__descriptor, &w->arena, (lk_bytes){s->bytes, s->len}, &m) != LK_OK)
            CHECK(lk_test_oom());
    }
    return (const Livekit__DataPacket *)m;
}

LK_TEST(data_carries_the_name_of_who_sent_it_and_what_is_unknown_survives)
{
    WORLD(w);
    enter(&w, "ann");
    enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    size_t n;
    say(&w, "ann", true, "hello", NULL, 1);
    const Livekit__DataPacket *m = heard(&w, "bob", &n);
    if (!lk_test_oom()) {
        CHECK_EQ(n, 1);
        CHECK_STR(m->participant_identity, "ann");
        CHECK_STR(m->participant_sid, person(&w, "ann")->sid);
        CHECK_STR(m->user->participant_identity, "ann");
        CHECK_MEM(m->user->payload.data, m->user->payload.len, "hello", 5);
        CHECK_EQ(m->sequence, 1);
        const fake_sent *s = &person(&w, "bob")->publisher->log[0];
        bool kept = false;
        for (size_t i = 0; i + 5 <= s->len; i++)
            kept = kept || memcmp(s->bytes + i, "\xfa\x07\x02hi", 5) == 0;
        CHECK(kept);
        (void)heard(&w, "ann", &n);
        CHECK_EQ(n, 0);
    }
    world_free(&w);
}

LK_TEST(data_reaches_whom_it_is_for_once)
{
    WORLD(w);
    enter(&w, "ann");
    enter(&w, "bob");
    enter(&w, "carl");
    connect(&w, "ann");
    connect(&w, "bob");
    connect(&w, "carl");
    size_t n;
    say(&w, "ann", true, "one", "carl", 1);
    say(&w, "ann", true, "one", "carl", 1); /* resent after a resume */
    say(&w, "ann", false, "two", "carl", 0);
    (void)heard(&w, "bob", &n);
    CHECK_EQ(n, 0);
    const Livekit__DataPacket *m = heard(&w, "carl", &n);
    if (!lk_test_oom()) {
        CHECK_EQ(n, 2);
        CHECK_EQ(m->kind, LIVEKIT__DATA_PACKET__KIND__LOSSY);
    }
    world_free(&w);
}

LK_TEST(who_comes_in_hears_what_was_said_on_his_way)
{
    WORLD(w);
    enter(&w, "ann");
    connect(&w, "ann");
    size_t n;
    say(&w, "ann", true, "early", NULL, 1);
    run(&w, LK_MSEC(1));
    enter(&w, "bob");
    say(&w, "ann", true, "on the way", NULL, 2);
    (void)heard(&w, "bob", &n);
    CHECK_EQ(n, 0);
    connect(&w, "bob");
    const Livekit__DataPacket *m = heard(&w, "bob", &n);
    if (!lk_test_oom()) {
        CHECK_EQ(n, 1);
        CHECK_EQ(m->sequence, 2);
    }
    world_free(&w);
}

LK_TEST(data_of_who_may_not_send_any_goes_nowhere)
{
    WORLD(w);
    lk_token t = token("ann");
    t.video.can_publish = LK_TOKEN_NO; /* and so no data */
    enter_with(&w, &t, true, "m=application");
    enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    size_t n;
    say(&w, "ann", true, "hello", NULL, 1);
    (void)heard(&w, "bob", &n);
    CHECK_EQ(n, 0);
    lk_sfu_stats stats;
    lk_sfu_get_stats(w.s, &stats);
    CHECK(lk_test_oom() || stats.denied == 1);
    world_free(&w);
}

LK_TEST(a_data_track_travels_under_the_handle_of_each_subscriber)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    Livekit__PublishDataTrackRequest q = LIVEKIT__PUBLISH_DATA_TRACK_REQUEST__INIT;
    q.has_pub_handle = 1;
    q.pub_handle = 300;
    q.name = (char *)(uintptr_t)"pose";
    REQUEST(&w, a, PUBLISH_DATA_TRACK_REQUEST, publish_data_track_request, &q);
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PUBLISH_DATA_TRACK_RESPONSE);
    if (m && !lk_test_oom()) {
        CHECK_MEM(m->publish_data_track_response->info->sid, 4, "DTR_", 4);
        CHECK_EQ(told_of(&w, b, "ann")->n_data_tracks, 1);
        Livekit__UpdateDataSubscription u = LIVEKIT__UPDATE_DATA_SUBSCRIPTION__INIT;
        Livekit__UpdateDataSubscription__Update one = LIVEKIT__UPDATE_DATA_SUBSCRIPTION__UPDATE__INIT, *list[] = {&one};
        one.track_sid = m->publish_data_track_response->info->sid;
        one.has_subscribe = one.subscribe = 1;
        u.updates = list;
        u.n_updates = 1;
        REQUEST(&w, b, UPDATE_DATA_SUBSCRIPTION, update_data_subscription, &u);
        const Livekit__SignalResponse *h = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_DATA_TRACK_SUBSCRIBER_HANDLES);
        CHECK_EQ(h->data_track_subscriber_handles->n_sub_handles, 1);
        uint32_t handle = h->data_track_subscriber_handles->sub_handles[0]->key;
        CHECK_STR(h->data_track_subscriber_handles->sub_handles[0]->value->publisher_identity, "ann");
        uint8_t packet[16] = {0x18, 0, 300 >> 8, 300 & 255, 1, 2, 3, 4, 5, 6, 7, 8, 'd', 'a', 't', 'a'};
        fake_data(person(&w, "ann")->publisher, LK_PEER_DATA_TRACK, packet, sizeof packet);
        packet[3]++; /* a handle nobody has */
        fake_data(person(&w, "ann")->publisher, LK_PEER_DATA_TRACK, packet, sizeof packet);
        lk_sfu_tick(w.s, w.now);
        const lk_peer *peer = person(&w, "bob")->publisher;
        CHECK_EQ(peer->sent, 1);
        CHECK_EQ(lk_get_u16(peer->log[0].bytes + 2), handle);
        CHECK_MEM(peer->log[0].bytes + 4, 12, packet + 4, 12);
        REQUEST(&w, a, PUBLISH_DATA_TRACK_REQUEST, publish_data_track_request, &q);
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE)->request_response->reason,
                 LIVEKIT__REQUEST_RESPONSE__REASON__DUPLICATE_HANDLE);
        Livekit__UnpublishDataTrackRequest un = LIVEKIT__UNPUBLISH_DATA_TRACK_REQUEST__INIT;
        un.has_pub_handle = 1;
        un.pub_handle = 300;
        REQUEST(&w, a, UNPUBLISH_DATA_TRACK_REQUEST, unpublish_data_track_request, &un);
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_DATA_TRACK_SUBSCRIBER_HANDLES)->data_track_subscriber_handles->n_sub_handles, 0);
        CHECK_EQ(told_of(&w, b, "ann")->n_data_tracks, 0);
    } else {
        CHECK(lk_test_oom());
    }
    world_free(&w);
}

/* ---- coming back ---------------------------------------------------------------------------------------------------------------------- */

LK_TEST(who_lost_the_signal_comes_back_and_is_told_what_he_missed)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    say(&w, "ann", true, "three", NULL, 3);
    lk_sfu_signal_closed(w.s, w.now, a);
    run(&w, LK_SEC(5));
    CHECK(lk_test_oom() || told_of(&w, b, "ann")->state == LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    REQUEST(&w, b, LEAVE, leave, &leave);
    Livekit__JoinRequest q = LIVEKIT__JOIN_REQUEST__INIT;
    lk_sfu_refusal why;
    lk_token t = token("ann");
    uint32_t again = 0;
    q.has_reconnect = q.reconnect = 1;
    if (join_v1(&w, &t, &q, &again, &why) == LK_OK && !lk_test_oom()) {
        CHECK_EQ(place(&w, again, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE), place(&w, again, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT) + 1);
        CHECK_EQ(last(&w, again, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT)->reconnect->last_message_seq, 3);
        CHECK(told_of(&w, again, "ann"));
        CHECK_EQ(told_of(&w, again, "bob")->state, LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
        CHECK(last(&w, again, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE) && last(&w, again, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN));
        run(&w, LK_SEC(100));
        CHECK_EQ(closed(&w, again), 0);
    }
    world_free(&w);
}

LK_TEST(who_does_not_come_back_is_gone_after_30_s)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    lk_sfu_signal_closed(w.s, w.now, a);
    run(&w, LK_SEC(31));
    CHECK(!person(&w, "ann"));
    CHECK(lk_test_oom() || told_of(&w, b, "ann")->state == LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
    world_free(&w);
}

LK_TEST(a_resume_of_nobody_is_told_to_start_anew)
{
    WORLD(w);
    lk_token t = token("ann");
    lk_sfu_refusal why;
    uint32_t c = 0;
    if (join_v0(&w, &t, "sdk=js&reconnect=1&sid=PA_x&reconnect_reason=1", &c, &why) == LK_OK && !lk_test_oom()) {
        CHECK_EQ(w.count, 2);
        const Livekit__SignalResponse *m = last(&w, c, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
        CHECK(m && m->leave->reason == LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH && m->leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT);
        CHECK_EQ(closed(&w, c), 1000);
        CHECK(!lk_sfu_room_find(w.s, "room"));
    }
    world_free(&w);
}

LK_TEST(a_sync_state_with_tracks_we_do_not_know_starts_anew)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    Livekit__SyncState y = LIVEKIT__SYNC_STATE__INIT;
    Livekit__TrackPublishedResponse r = LIVEKIT__TRACK_PUBLISHED_RESPONSE__INIT, *list[] = {&r};
    Livekit__TrackInfo info = LIVEKIT__TRACK_INFO__INIT;
    info.sid = (char *)(uintptr_t)publish(&w, a, "ann", "mic", false);
    r.track = &info;
    y.publish_tracks = list;
    y.n_publish_tracks = 1;
    REQUEST(&w, a, SYNC_STATE, sync_state, &y);
    CHECK(lk_test_oom() || person(&w, "ann"));
    info.sid = (char *)(uintptr_t)"TR_other";
    REQUEST(&w, a, SYNC_STATE, sync_state, &y);
    CHECK(lk_test_oom() || !person(&w, "ann"));
    world_free(&w);
}

LK_TEST(when_media_fails_the_client_is_told_to_resume_and_forgotten_if_it_does_not)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    connect(&w, "ann");
    lk_sfu_person *p = person(&w, "ann");
    if (p) {
        fake_state(p->publisher, LK_PC_STATE_FAILED);
        lk_sfu_tick(w.s, w.now);
        drain(&w);
        const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
        CHECK(lk_test_oom() || (m && m->leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RESUME));
        run(&w, LK_SEC(6));
        CHECK(lk_test_oom() || !person(&w, "ann"));
    }
    world_free(&w);
}

/* ---- what happens by itself, and what the rules forbid ------------------------------------------------------------------------------------- */

LK_TEST(both_pings_are_answered)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    Livekit__Ping ping = LIVEKIT__PING__INIT;
    ping.has_timestamp = 1;
    ping.timestamp = 42;
    REQUEST(&w, a, PING_REQ, ping_req, &ping);
    REQUEST(&w, a, PING, ping, 42);
    if (!lk_test_oom()) {
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP)->pong_resp->last_ping_timestamp, 42);
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG)->pong, 1700000000000);
    }
    world_free(&w);
}

LK_TEST(who_speaks_is_told_within_a_second_and_who_stops_too)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    publish(&w, a, "ann", "mic", false);
    lk_sfu_person *p = person(&w, "ann");
    lk_up *u = p ? fake_up(p->publisher, "mic") : NULL;
    if (u && !lk_test_oom()) {
        u->level = (lk_up_level){.window_usec = LK_MSEC(400), .active_usec = LK_MSEC(400), .loudest = 10};
        run(&w, LK_SEC(1));
        const Livekit__SpeakersChanged *s = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED)->speakers_changed;
        CHECK_STR(s->speakers[0]->sid, p->sid);
        CHECK(s->speakers[0]->active && s->speakers[0]->level > 0.2f && s->speakers[0]->level <= 0.4f);
        CHECK(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED));
        u->level = (lk_up_level){.window_usec = LK_MSEC(400), .active_usec = LK_MSEC(100), .loudest = 10};
        run(&w, LK_SEC(3));
        s = last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED)->speakers_changed;
        CHECK(!s->speakers[0]->active && s->speakers[0]->level == 0);
    }
    world_free(&w);
}

LK_TEST(connection_quality_falls_with_loss)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    connect(&w, "ann");
    run(&w, LK_SEC(6));
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY);
    CHECK(lk_test_oom() || m->connection_quality->updates[0]->quality == LIVEKIT__CONNECTION_QUALITY__EXCELLENT);
    lk_sfu_person *p = person(&w, "ann");
    if (p && !lk_test_oom()) {
        p->publisher->quality = (lk_peer_quality){.up_expected = 1000, .up_lost = 200};
        run(&w, LK_SEC(6));
        m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY);
        CHECK_EQ(m->connection_quality->updates[0]->quality, LIVEKIT__CONNECTION_QUALITY__POOR);
        size_t n = count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY);
        run(&w, LK_SEC(20));
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY), n);
    }
    world_free(&w);
}

LK_TEST(garbage_is_counted_and_rules_broken_close_one_connection_only)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), c = enter(&w, "carl");
    lk_sfu_stats stats;
    const char *const texts[] = {"", "[]", "{\"mute\":5}", "{\"ping\":\"x\"}", "\xff"};
    lk_sfu_signal(w.s, w.now, a, true, (lk_bytes){(const uint8_t *)"\xff\xff\xff", 3});
    lk_sfu_signal(w.s, w.now, 4711, true, (lk_bytes){(const uint8_t *)"\x01", 1});
    for (size_t i = 0; i < LK_LEN(texts); i++)
        lk_sfu_signal(w.s, w.now, a, false, (lk_bytes){(const uint8_t *)texts[i], strlen(texts[i])});
    lk_sfu_get_stats(w.s, &stats);
    CHECK(lk_test_oom() || stats.signal_garbage == 1 + LK_LEN(texts));
    Livekit__Ping ping = LIVEKIT__PING__INIT;
    for (int i = 0; i < 1100; i++)
        REQUEST(&w, c, PING_REQ, ping_req, &ping);
    if (!lk_test_oom()) {
        CHECK_EQ(closed(&w, a), 0);
        CHECK_EQ(closed(&w, c), 1008);
        CHECK(person(&w, "ann") && !person(&w, "carl"));
    }
    offer(&w, a, "! nonsense");
    CHECK(lk_test_oom() || last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE)->leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT);
    world_free(&w);
}

static void request_json(world *w, uint32_t conn, const char *json)
{
    lk_sfu_signal(w->s, w->now, conn, false, (lk_bytes){(const uint8_t *)json, strlen(json)});
    drain(w);
}

LK_TEST(who_speaks_json_is_told_json_until_it_speaks_binary_again)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    CHECK(place(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN) == MESSAGES_MAX || !w.log[place(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN)].json);
    request_json(&w, a, "{\"pingReq\":{\"timestamp\":\"5\"}, \"who\": \"unknown members are passed over\"}");
    if (!lk_test_oom()) {
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP)->pong_resp->last_ping_timestamp, 5);
        CHECK(w.log[w.count - 1].json);
    }
    request_json(&w, a, "{\"add_track\":{\"cid\":\"c\",\"name\":\"\u00e4\",\"type\":\"VIDEO\",\"source\":1,\"layers\":[{\"quality\":\"LOW\",\"width\":160}]}}");
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED);
    CHECK(lk_test_oom() || (m && m->track_published->track->type == LIVEKIT__TRACK_TYPE__VIDEO && m->track_published->track->layers[0]->width == 160));
    /* what everybody is told goes out in the form of each */
    request_json(&w, b, "{\"leave\":{}}");
    CHECK(lk_test_oom() || (told_of(&w, a, "bob") && w.log[place(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE)].json));
    Livekit__Ping ping = LIVEKIT__PING__INIT;
    REQUEST(&w, a, PING_REQ, ping_req, &ping);
    CHECK(lk_test_oom() || (last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP) && !w.log[w.count - 1].json));
    world_free(&w);
}

LK_TEST(a_server_that_stops_sends_everybody_elsewhere)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), c;
    connect(&w, "ann");
    lk_sfu_stop(w.s, w.now);
    drain(&w);
    const Livekit__SignalResponse *m = last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE);
    if (!lk_test_oom()) {
        CHECK(m && m->leave->reason == LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN && m->leave->can_reconnect);
        CHECK_EQ(closed(&w, a), 1000);
    }
    lk_token t = token("bob");
    lk_sfu_refusal why = {0};
    CHECK_EQ(join_v0(&w, &t, "sdk=js", &c, &why), LK_ERR_DENIED);
    CHECK_EQ(why.status, 503);
    world_free(&w);
}

LK_TEST(simulated_faults_do_what_they_are_called)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    Livekit__SimulateScenario s = LIVEKIT__SIMULATE_SCENARIO__INIT;
    s.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SPEAKER_UPDATE;
    s.speaker_update = 2;
    REQUEST(&w, a, SIMULATE, simulate, &s);
    run(&w, LK_SEC(1));
    CHECK(lk_test_oom() || last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED)->speakers_changed->speakers[0]->active);
    s.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SERVER_LEAVE;
    s.server_leave = 1;
    REQUEST(&w, b, SIMULATE, simulate, &s);
    CHECK(lk_test_oom() || last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE)->leave->reason == LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN);
    s.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_NODE_FAILURE;
    s.node_failure = 1;
    REQUEST(&w, a, SIMULATE, simulate, &s);
    CHECK(lk_test_oom() || (closed(&w, a) == 1000 && !last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE) && person(&w, "ann")));
    world_free(&w);
}

LK_TEST(who_is_told_to_use_another_protocol_restarts_and_is_still_told_when_it_joins_anew)
{
    WORLD(w);
    uint32_t a = 0, again = 0;
    lk_token t = token("ann");
    lk_sfu_refusal why = {0};
    if (join_v0(&w, &t, "sdk=js&protocol=16", &a, &why) != LK_OK) {
        CHECK(lk_test_oom());
        world_free(&w);
        return;
    }
    connect(&w, "ann");
    size_t offers = count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER);
    Livekit__SimulateScenario s = LIVEKIT__SIMULATE_SCENARIO__INIT;
    s.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SWITCH_CANDIDATE_PROTOCOL;
    s.switch_candidate_protocol = LIVEKIT__CANDIDATE_PROTOCOL__TCP;
    REQUEST(&w, a, SIMULATE, simulate, &s);
    if (!lk_test_oom()) {
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER), offers + 1);
        CHECK(!last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE) && closed(&w, a) == 0);
        CHECK(person(&w, "ann")->publisher->by_tcp && person(&w, "ann")->subscriber->by_tcp);
    }
    if (join_v0(&w, &t, "sdk=js&protocol=16", &again, &why) == LK_OK && !lk_test_oom()) {
        CHECK(person(&w, "ann")->publisher->by_tcp && person(&w, "ann")->subscriber->by_tcp);
        connect(&w, "ann");
        s.switch_candidate_protocol = LIVEKIT__CANDIDATE_PROTOCOL__UDP;
        REQUEST(&w, again, SIMULATE, simulate, &s);
        CHECK(!person(&w, "ann")->publisher->by_tcp && !person(&w, "ann")->subscriber->by_tcp);
    }
    world_free(&w);
}

/* ---- RoomService ------------------------------------------------------------------------------------------------------------------------------ */

static void admin(world *w, lk_sfu_method method, const lk_token *t, const ProtobufCMessage *m)
{
    lk_bytes bytes;
    w->done_twirp = "nothing";
    if (lk_pbuf_pack(m, &w->arena, &bytes) == LK_OK) {
        lk_sfu_admin(w->s, w->now, 9, method, t, bytes);
        drain(w);
    }
}

static const ProtobufCMessage *admin_answer(world *w, lk_sfu_method method)
{
    ProtobufCMessage *m = NULL;
    if (!w->done_twirp && lk_pbuf_unpack(lk_sfu_methods[method].response, &w->arena, w->done_bytes, &m) != LK_OK)
        CHECK(lk_test_oom());
    return m;
}

LK_TEST(an_admin_without_the_grant_or_for_another_room_is_denied)
{
    WORLD(w);
    enter(&w, "ann");
    lk_token none = token("x"), elsewhere = token("x");
    elsewhere.video.room_admin = true;
    elsewhere.video.room = "another";
    Livekit__RoomParticipantIdentity q = LIVEKIT__ROOM_PARTICIPANT_IDENTITY__INIT;
    q.room = (char *)(uintptr_t)"room";
    q.identity = (char *)(uintptr_t)"ann";
    for (int i = 0; i < 2; i++) {
        admin(&w, LK_SFU_REMOVE_PARTICIPANT, i ? &elsewhere : &none, &q.base);
        CHECK(lk_test_oom() || strcmp(w.done_twirp, "unauthenticated") == 0);
    }
    CHECK(lk_test_oom() || person(&w, "ann"));
    lk_bytes room = {(const uint8_t *)"\x0a\x04room", 6};
    CHECK(lk_str_eq(lk_sfu_admin_room(LK_SFU_DELETE_ROOM, room), "room"));
    CHECK_EQ(lk_sfu_admin_room(LK_SFU_LIST_ROOMS, room).len, 0);
    CHECK_EQ(lk_sfu_admin_room(LK_SFU_DELETE_ROOM, (lk_bytes){room.data, 5}).len, 0);
    world_free(&w);
}

LK_TEST(an_admin_lists_changes_and_removes_people)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann"), b = enter(&w, "bob");
    connect(&w, "ann");
    connect(&w, "bob");
    publish(&w, a, "ann", "mic", false);
    lk_token t = token("");
    t.video.room_admin = t.video.room_create = t.video.room_list = true;
    Livekit__ListRoomsRequest rooms = LIVEKIT__LIST_ROOMS_REQUEST__INIT;
    admin(&w, LK_SFU_LIST_ROOMS, &t, &rooms.base);
    if (!lk_test_oom()) {
        const Livekit__ListRoomsResponse *r = (const Livekit__ListRoomsResponse *)admin_answer(&w, LK_SFU_LIST_ROOMS);
        CHECK_EQ(r->n_rooms, 1);
        CHECK_EQ(r->rooms[0]->num_participants, 2);
        CHECK_EQ(r->rooms[0]->num_publishers, 1);
    }
    Livekit__UpdateParticipantRequest u = LIVEKIT__UPDATE_PARTICIPANT_REQUEST__INIT;
    Livekit__ParticipantPermission p = LIVEKIT__PARTICIPANT_PERMISSION__INIT;
    p.has_can_subscribe = p.can_subscribe = 1;
    u.room = (char *)(uintptr_t)"room";
    u.identity = (char *)(uintptr_t)"ann";
    u.metadata = (char *)(uintptr_t)"by admin";
    u.permission = &p;
    admin(&w, LK_SFU_UPDATE_PARTICIPANT, &t, &u.base);
    if (!lk_test_oom()) {
        const Livekit__ParticipantInfo *i = (const Livekit__ParticipantInfo *)admin_answer(&w, LK_SFU_UPDATE_PARTICIPANT);
        CHECK_STR(i->metadata, "by admin");
        CHECK(!i->permission->can_publish);
        CHECK_EQ(i->n_tracks, 0);
        CHECK(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_UNPUBLISHED));
        CHECK_EQ(told_of(&w, b, "ann")->n_tracks, 0);
        CHECK_EQ(flowing(&w, "bob"), 0);
        CHECK_EQ(count(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN), 2);
    }
    Livekit__RoomParticipantIdentity q = LIVEKIT__ROOM_PARTICIPANT_IDENTITY__INIT;
    q.room = (char *)(uintptr_t)"room";
    q.identity = (char *)(uintptr_t)"ann";
    admin(&w, LK_SFU_REMOVE_PARTICIPANT, &t, &q.base);
    if (!lk_test_oom()) {
        CHECK(!w.done_twirp);
        CHECK_EQ(last(&w, a, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE)->leave->reason, LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED);
        admin(&w, LK_SFU_GET_PARTICIPANT, &t, &q.base);
        CHECK_STR(w.done_twirp, "not_found");
        CHECK_STR(w.done_text, "participant does not exist");
    }
    Livekit__UpdateRoomMetadataRequest m = LIVEKIT__UPDATE_ROOM_METADATA_REQUEST__INIT;
    m.room = q.room;
    m.metadata = (char *)(uintptr_t)"of the room";
    admin(&w, LK_SFU_UPDATE_ROOM_METADATA, &t, &m.base);
    CHECK(lk_test_oom() || strcmp(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_UPDATE)->room_update->room->metadata, "of the room") == 0);
    Livekit__DeleteRoomRequest d = LIVEKIT__DELETE_ROOM_REQUEST__INIT;
    d.room = q.room;
    admin(&w, LK_SFU_DELETE_ROOM, &t, &d.base);
    if (!lk_test_oom()) {
        CHECK_EQ(last(&w, b, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE)->leave->reason, LIVEKIT__DISCONNECT_REASON__ROOM_DELETED);
        admin(&w, LK_SFU_DELETE_ROOM, &t, &d.base);
        CHECK_STR(w.done_text, "requested room does not exist");
        Livekit__ListParticipantsRequest l = LIVEKIT__LIST_PARTICIPANTS_REQUEST__INIT;
        l.room = q.room;
        admin(&w, LK_SFU_LIST_PARTICIPANTS, &t, &l.base);
        CHECK(!w.done_twirp);
        CHECK_EQ(w.done_bytes.len, 0);
    }
    world_free(&w);
}

LK_TEST(data_of_an_admin_arrives_without_a_sender_and_once_for_a_nonce)
{
    WORLD(w);
    enter(&w, "ann");
    connect(&w, "ann");
    lk_token t = token("");
    t.video.room_admin = true;
    Livekit__SendDataRequest q = LIVEKIT__SEND_DATA_REQUEST__INIT;
    uint8_t nonce[16] = {1, 2, 3};
    q.room = (char *)(uintptr_t)"room";
    q.has_data = q.has_nonce = 1;
    q.data = (ProtobufCBinaryData){2, (uint8_t *)(uintptr_t)"hi"};
    q.nonce = (ProtobufCBinaryData){16, nonce};
    size_t n;
    admin(&w, LK_SFU_SEND_DATA, &t, &q.base);
    admin(&w, LK_SFU_SEND_DATA, &t, &q.base);
    const Livekit__DataPacket *m = heard(&w, "ann", &n);
    if (!lk_test_oom()) {
        CHECK_EQ(n, 1);
        CHECK(!m->participant_identity && m->value_case == LIVEKIT__DATA_PACKET__VALUE_USER);
        q.nonce.len = 5;
        admin(&w, LK_SFU_SEND_DATA, &t, &q.base);
        CHECK_STR(w.done_twirp, "invalid_argument");
        q.nonce.len = 0;
        q.room = (char *)(uintptr_t)"nowhere";
        t.video.room = "nowhere";
        admin(&w, LK_SFU_SEND_DATA, &t, &q.base);
        CHECK_STR(w.done_twirp, "unavailable");
    }
    world_free(&w);
}

LK_TEST(a_call_of_an_admin_ends_with_the_answer_the_timeout_or_the_leaving)
{
    WORLD(w);
    uint32_t a = enter(&w, "ann");
    connect(&w, "ann");
    lk_token t = token("");
    t.video.room_admin = true;
    Livekit__PerformRpcRequest q = LIVEKIT__PERFORM_RPC_REQUEST__INIT;
    q.room = (char *)(uintptr_t)"room";
    q.destination_identity = (char *)(uintptr_t)"ann";
    q.method = (char *)(uintptr_t)"sum";
    q.payload = (char *)(uintptr_t)"1 2";
    size_t n;
    admin(&w, LK_SFU_PERFORM_RPC, &t, &q.base);
    const Livekit__DataPacket *m = heard(&w, "ann", &n);
    if (!lk_test_oom()) {
        CHECK_EQ(w.dones, 0);
        CHECK_STR(m->rpc_request->method, "sum");
        Livekit__DataPacket answer = LIVEKIT__DATA_PACKET__INIT;
        Livekit__RpcResponse r = LIVEKIT__RPC_RESPONSE__INIT;
        uint8_t bytes[256];
        lk_wr wr = lk_wr_of(bytes, sizeof bytes);
        r.request_id = m->rpc_request->id;
        r.value_case = LIVEKIT__RPC_RESPONSE__VALUE_PAYLOAD;
        r.payload = (char *)(uintptr_t)"3";
        answer.value_case = LIVEKIT__DATA_PACKET__VALUE_RPC_RESPONSE;
        answer.rpc_response = &r;
        lk_pbuf_pack_into(&answer.base, &wr);
        fake_data(person(&w, "ann")->publisher, LK_PEER_RELIABLE, bytes, wr.len);
        lk_sfu_tick(w.s, w.now);
        drain(&w);
        CHECK_EQ(w.dones, 1);
        CHECK_STR(((const Livekit__PerformRpcResponse *)admin_answer(&w, LK_SFU_PERFORM_RPC))->payload, "3");
        admin(&w, LK_SFU_PERFORM_RPC, &t, &q.base);
        run(&w, LK_SEC(16));
        CHECK_STR(w.done_twirp, "deadline_exceeded");
        admin(&w, LK_SFU_PERFORM_RPC, &t, &q.base);
        lk_sfu_admin_forget(w.s, 9);
        run(&w, LK_SEC(16));
        CHECK_EQ(w.dones, 2);
        admin(&w, LK_SFU_PERFORM_RPC, &t, &q.base);
        Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
        REQUEST(&w, a, LEAVE, leave, &leave);
        CHECK_STR(w.done_twirp, "unavailable");
    }
    world_free(&w);
}
