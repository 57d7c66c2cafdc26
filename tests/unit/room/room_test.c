// SPDX-License-Identifier: Apache-2.0
#include "room/room_internal.h"
#include "room_server.h"

static room_server world;

static bool once(const room_server *r, lk_session_event_kind kind) { return room_told(r, kind, 0) && !room_told(r, kind, 1); }

LK_TEST(a_connect_ends_once_with_everybody_and_a_disconnect_says_good_bye)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        CHECK_EQ(r->dials, 1);
        CHECK(once(r, LK_SESSION_OP_DONE) && once(r, LK_SESSION_ROOM_SID));
        CHECK_STR(room_got(r, LK_SESSION_ROOM_SID, 0)->text, "RM_x");
        CHECK_EQ(room_got(r, LK_SESSION_OP_DONE, 0)->members, 1);
        CHECK_STR(room_got(r, LK_SESSION_OP_DONE, 0)->identity, "me");
        CHECK_EQ(lk_session_connect(r->s, r->now, 9, "ws://x", "t"), LK_ERR_STATE);
        size_t before = r->count;
        CHECK_OK(lk_session_disconnect(r->s, r->now, 2, LK_DISCONNECT_CLIENT_INITIATED));
        room_run(r, LK_SEC(2));
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE], 1);
        CHECK(once(r, LK_SESSION_DISCONNECTED) && once(r, LK_SESSION_CLOSED));
        CHECK_EQ(room_got(r, LK_SESSION_DISCONNECTED, 0)->reason, LK_DISCONNECT_CLIENT_INITIATED);
        const told *done = room_told(r, LK_SESSION_OP_DONE, 1);
        CHECK(done && done->op == 2 && done->error.code == LK_OK);
        CHECK(r->count && (r->events[r->count - 1].kind == LK_SESSION_CLOSED || r->events[r->count - 1].kind == LK_SESSION_OP_DONE));
        CHECK(r->count > before && lk_session_finished(r->s) && !r->stream_open && !r->udp_open);
        CHECK_OK(lk_session_disconnect(r->s, r->now, 3, LK_DISCONNECT_CLIENT_INITIATED));
        room_run(r, LK_SEC(1));
        CHECK(room_told(r, LK_SESSION_OP_DONE, 2) && room_got(r, LK_SESSION_OP_DONE, 2)->op == 3);
        CHECK_EQ(lk_session_deadline(r->s), LK_NEVER);
    }
    room_close(r);
}

LK_TEST(what_the_server_answers_instead_ends_the_connect_with_its_reason)
{
    static const struct {
        const char *name, *answer, *text;
        lk_err code;
        unsigned dials;
        bool refuse, silent, half_join, no_answer, hang_up, no_media, bad_sdp;
    } rows[] = {
        {.name = "unauthorized", .answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 28\r\n\r\ninvalid the.secret.token now", .code = LK_ERR_AUTH, .dials = 1, .text = "401 Unauthorized - invalid <token> now"},
        {.name = "unavailable", .answer = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", .code = LK_ERR_NETWORK, .dials = 3, .text = "503 Service Unavailable"},
        {.name = "garbage", .answer = "hello\r\n", .code = LK_ERR_PROTOCOL, .dials = 3, .text = "not a LiveKit server"},
        {.name = "refused", .refuse = true, .code = LK_ERR_NETWORK, .dials = 3, .text = "connection refused"},
        {.name = "silent", .silent = true, .code = LK_ERR_TIMEOUT, .dials = 3, .text = ""},
        {.name = "hangs up", .hang_up = true, .code = LK_ERR_NETWORK, .dials = 3, .text = "closed the connection"},
        {.name = "half a join", .half_join = true, .code = LK_ERR_PROTOCOL, .dials = 3, .text = "incomplete"},
        {.name = "no answer", .no_answer = true, .code = LK_ERR_TIMEOUT, .dials = 0, .text = ""},
        {.name = "no media", .no_media = true, .code = LK_ERR_TIMEOUT, .dials = 0, .text = ""},
        {.name = "bad answer", .bad_sdp = true, .code = LK_ERR_WIRE, .dials = 3, .text = "answer was refused"},
    };
    for (size_t i = 0; i < (lk_test_oom() ? 1 : LK_LEN(rows)); i++) {
        room_server *r = &world;
        if (room_open(r, env, NULL)) {
            r->answer = rows[i].answer;
            r->refuse = rows[i].refuse;
            r->silent = rows[i].silent;
            r->half_join = rows[i].half_join;
            r->no_answer = rows[i].no_answer;
            r->no_media = rows[i].no_media;
            r->hang_up_after_upgrade = rows[i].hang_up;
            r->bad_sdp = rows[i].bad_sdp;
            lk_usec began = r->now;
            CHECK_OK(lk_session_connect(r->s, r->now, 1, "ws://server.example:7880", "the.secret.token"));
            for (int n = 0; n < 200 && !room_told(r, LK_SESSION_OP_DONE, 0); n++)
                room_run(r, LK_MSEC(100));
            CHECK(r->now - began <= LK_SEC(16)); /* (1 + 2 retries) x 5 s */
            room_run(r, LK_SEC(3));
            const told *t = room_told(r, LK_SESSION_OP_DONE, 0);
            bool good = CHECK(t != NULL) && CHECK(once(r, LK_SESSION_OP_DONE)) && CHECK(strstr(t->error.text, rows[i].text) != NULL);
            good = good && (rows[i].code == LK_ERR_WIRE ? CHECK(t->error.code != LK_OK) : CHECK_EQ(t->error.code, rows[i].code));
            good = good && (!rows[i].dials || CHECK_EQ(r->dials, rows[i].dials)) && CHECK(!strstr(t->error.text, "secret"));
            if (!good)
                CHECK_STR(t ? t->error.text : "", rows[i].name);
            CHECK(!room_told(r, LK_SESSION_DISCONNECTED, 0) && !room_told(r, LK_SESSION_CLOSED, 0));
            CHECK(lk_session_finished(r->s) && !r->stream_open && !r->udp_open);
        }
        room_close(r);
    }
}

LK_TEST(a_connect_is_given_up_at_once_when_cancelled)
{
    for (int when = 0; when < 3; when++) {
        room_server *r = &world;
        if (room_open(r, env, NULL)) {
            r->silent = when == 0;
            r->no_media = when > 0;
            CHECK_OK(lk_session_connect(r->s, r->now, 1, "ws://server.example", "the.secret.token"));
            room_run(r, LK_MSEC(when * 300));
            if (when == 2)
                CHECK_OK(lk_session_disconnect(r->s, r->now, 5, LK_DISCONNECT_CLIENT_INITIATED));
            else
                CHECK_OK(lk_session_cancel(r->s, r->now, 1, LK_ERR_CANCELLED));
            room_drain(r);
            const told *t = room_told(r, LK_SESSION_OP_DONE, 0);
            CHECK(t && t->op == 1 && t->error.code == LK_ERR_CANCELLED);
            room_run(r, LK_SEC(2));
            CHECK(lk_session_finished(r->s));
            CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE], when ? 1 : 0); /* let in: told */
            CHECK_EQ(lk_session_cancel(r->s, r->now, 1, LK_ERR_CANCELLED), LK_ERR_NOT_FOUND);
        }
        room_close(r);
    }
}

LK_TEST(what_is_not_built_is_refused_by_name)
{
    static const struct {
        lk_session_config config;
        const char *text;
    } rows[] = {
        {{.connect_timeout_msec = 1000, .encryption = LK_ENCRYPTION_GCM}, "encryption"},
        {{.connect_timeout_msec = 1000, .transport = LK_SESSION_TRANSPORT_RELAY}, "RELAY"},
    };
    static const char *const urls[] = {"", "ftp://x", "ws://", "ws://h:99999", "wss://server.example"};
    for (size_t i = 0; i < LK_LEN(rows) + LK_LEN(urls); i++) {
        bool row = i < LK_LEN(rows);
        room_server *r = &world;
        if (room_open(r, env, row ? &rows[i].config : NULL)) {
            lk_err err = lk_session_connect(r->s, r->now, 1, row ? "ws://h" : urls[i - LK_LEN(rows)], "token");
            room_run(r, LK_SEC(1));
            const told *t = room_told(r, LK_SESSION_OP_DONE, 0);
            CHECK(err != LK_OK || (t && t->error.code != LK_OK));
            CHECK_EQ(r->dials, 0);
            if (row && t && !CHECK(strstr(t->error.text, rows[i].text) != NULL))
                CHECK_STR(t->error.text, rows[i].text);
        }
        room_close(r);
    }
}

LK_TEST(a_join_of_more_than_64_kib_is_refused_by_name)
{
    static char url[70000];
    for (size_t len = 64500; len <= 66500; len += 2000) { /* with the offer too long, and by itself */
        room_server *r = &world;
        if (room_open(r, env, NULL)) {
            memset(url, 'p', len);
            memcpy(url, "ws://h/", 7);
            url[len] = 0;
            CHECK_OK(lk_session_connect(r->s, r->now, 1, url, "token"));
            room_run(r, LK_SEC(1));
            const told *t = room_got(r, LK_SESSION_OP_DONE, 0);
            CHECK_EQ(t->error.code, LK_ERR_LIMIT);
            CHECK(strstr(t->error.text, "64 KiB") && r->in.len == 0 && r->dials == (len < 65536));
            CHECK(lk_session_finished(r->s));
        }
        room_close(r);
    }
}

LK_TEST(people_come_change_and_go_in_order)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        size_t before = r->count;
        room_update(r, room_person(r, "PA_new", "new", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE));
        room_drain(r);
        const told *came = room_told(r, LK_SESSION_PARTICIPANT_CONNECTED, 0);
        CHECK(came && strcmp(came->identity, "new") == 0 && once(r, LK_SESSION_PARTICIPANT_CONNECTED));
        Livekit__ParticipantInfo *p = room_person(r, "PA_new", "new", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
        p->metadata = (char *)(uintptr_t)"about";
        p->name = (char *)(uintptr_t)"New Name";
        room_update(r, p);
        room_drain(r);
        CHECK(once(r, LK_SESSION_PARTICIPANT_METADATA) && once(r, LK_SESSION_PARTICIPANT_NAME));
        CHECK_EQ(room_got(r, LK_SESSION_PARTICIPANT_METADATA, 0)->participant_id, came ? came->participant_id : 0);
        room_update(r, p); /* nothing new in it */
        room_drain(r);
        CHECK(once(r, LK_SESSION_PARTICIPANT_METADATA));
        room_update(r, room_person(r, "PA_new", "new", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED));
        room_update(r, room_person(r, "PA_nobody", "nobody", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED));
        room_update(r, room_person(r, "", "", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE));
        room_drain(r);
        CHECK(once(r, LK_SESSION_PARTICIPANT_DISCONNECTED) && r->count > before);
        /* The same person again is another participant. */
        room_update(r, room_person(r, "PA_again", "new", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE));
        room_drain(r);
        const told *again = room_told(r, LK_SESSION_PARTICIPANT_CONNECTED, 1);
        CHECK(again && came && again->participant_id != came->participant_id);
    }
    room_close(r);
}

static Livekit__TrackInfo track_info(const char *sid, Livekit__TrackType type)
{
    Livekit__TrackInfo t = LIVEKIT__TRACK_INFO__INIT;
    t.sid = t.name = (char *)(uintptr_t)sid;
    t.has_type = t.has_simulcast = 1;
    t.type = type;
    t.simulcast = type == LIVEKIT__TRACK_TYPE__VIDEO;
    return t;
}

static void announce(room_server *r, const char *sid)
{
    Livekit__TrackInfo audio = track_info(sid, LIVEKIT__TRACK_TYPE__AUDIO), *tracks[] = {&audio};
    Livekit__ParticipantInfo *p = room_person(r, sid, sid, LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
    p->n_tracks = 1;
    p->tracks = tracks;
    room_update(r, p);
    room_drain(r);
}

/* The server asks for an offer late when it has done so lately, or has just joined us. */
LK_TEST(a_track_told_of_just_after_the_join_is_offered_for_unasked_in_bounds)
{
    static const char *const sids[] = {"TR_1", "TR_2", "TR_3", "TR_4", "TR_5"};
    room_server *r = &world;
    const unsigned *offers = &r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER];
    if (room_open(r, env, NULL) && CHECK_OK(lk_session_connect(r->s, r->now, 1, "ws://server.example:7880", "the.secret.token"))) {
        room_run(r, LK_SESSION_EARLY_USEC / 2);
        CHECK(once(r, LK_SESSION_OP_DONE) && *offers == 0);
        announce(r, "TR_0"); /* never sent */
        CHECK_EQ(*offers, LK_SESSION_EARLY_TRIES);
        room_run(r, LK_SESSION_EARLY_USEC);
        announce(r, sids[0]); /* by now it would ask at once */
        CHECK_EQ(*offers, LK_SESSION_EARLY_TRIES);
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__MediaSectionsRequirement none = LIVEKIT__MEDIA_SECTIONS_REQUIREMENT__INIT;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT;
        m.media_sections_requirement = &none;
        room_send(r, &m);
        room_drain(r);
        CHECK_EQ(*offers, LK_SESSION_EARLY_TRIES + 1);
        for (size_t i = 1; i < LK_LEN(sids); i++)
            announce(r, sids[i]);
        CHECK_EQ(*offers, LK_SESSION_EARLY_TRIES + 1 + LK_SESSION_EARLY_OFFERS);
    }
    room_close(r);
}

LK_TEST(what_the_first_answer_brings_is_not_offered_for_again)
{
    room_server *r = &world;
    if (room_open(r, env, NULL)) {
        r->shares = true;
        if (room_connect(r))
            CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER], 0);
    }
    room_close(r);
}

static bool asked_for(const room_server *r, bool disabled, int quality, uint32_t width, uint32_t height)
{
    const Livekit__UpdateTrackSettings *q = r->last_setting;
    return q && q->n_track_sids == 1 && strcmp(q->track_sids[0], "TR_v") == 0 && q->disabled == disabled && q->has_quality &&
           (int)q->quality == quality && q->width == width && q->height == height && q->has_width == (width > 0);
}

/* The server takes each message for the whole truth, so each repeats what was wanted before. */
LK_TEST(what_is_wanted_of_a_picture_is_told_whole_each_time)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        Livekit__TrackInfo video = track_info("TR_v", LIVEKIT__TRACK_TYPE__VIDEO), audio = track_info("TR_a", LIVEKIT__TRACK_TYPE__AUDIO);
        Livekit__TrackInfo *tracks[] = {&video, &audio};
        Livekit__ParticipantInfo *p = room_person(r, "PA_new", "new", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
        p->n_tracks = LK_LEN(tracks);
        p->tracks = tracks;
        room_update(r, p);
        room_drain(r);
        uint64_t id = room_got(r, LK_SESSION_TRACK_PUBLISHED, 0)->publication_id, sound = room_got(r, LK_SESSION_TRACK_PUBLISHED, 1)->publication_id;
        CHECK_OK(lk_session_set_enabled(r->s, r->now, id, false));
        room_drain(r);
        CHECK(asked_for(r, true, LK_VIDEO_QUALITY_HIGH, 0, 0));
        CHECK_OK(lk_session_set_dimensions(r->s, r->now, id, 320, 180));
        room_drain(r);
        CHECK(asked_for(r, true, LK_VIDEO_QUALITY_HIGH, 320, 180));
        CHECK_OK(lk_session_set_enabled(r->s, r->now, id, true));
        room_drain(r);
        CHECK(asked_for(r, false, LK_VIDEO_QUALITY_HIGH, 320, 180));
        CHECK_OK(lk_session_set_quality(r->s, r->now, id, LK_VIDEO_QUALITY_LOW));
        room_drain(r);
        CHECK(asked_for(r, false, LK_VIDEO_QUALITY_LOW, 0, 0));
        CHECK_EQ(lk_session_set_quality(r->s, r->now, sound, LK_VIDEO_QUALITY_LOW), LK_ERR_NOT_FOUND);
        CHECK_EQ(lk_session_set_dimensions(r->s, r->now, id + 1000, 1, 1), LK_ERR_NOT_FOUND);
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRACK_SETTING], 4);
    }
    room_close(r);
}

LK_TEST(stun_servers_of_the_join_response_tell_how_we_look)
{
    room_server *r = &world;
    if (room_open(r, env, NULL)) {
        static const char *const urls[] = {"turn:relay.example:3478", "stun:one.example", "stun:[fd00::9]:5000", "stun::1", "stun:two.example:99999"};
        memcpy(r->ice_urls, urls, sizeof urls);
        r->stun = lk_addr_v4(198, 51, 100, 1, 3478);
        if (room_connect(r)) {
            room_run(r, LK_SEC(1));
            CHECK_EQ(r->asked, 2);
            CHECK(strcmp(r->asked_for[0].host, "one.example") == 0 && r->asked_for[0].port == 3478);
            CHECK(strcmp(r->asked_for[1].host, "fd00::9") == 0 && r->asked_for[1].port == 5000);
            if (!lk_test_oom())
                CHECK(strstr(r->srflx, "203.0.113.7 40000 typ srflx raddr ") != NULL);
        }
    }
    room_close(r);
}

LK_TEST(stun_servers_of_the_application_take_the_place_of_the_servers)
{
    room_server *r = &world;
    static const char *const mine[] = {"stun:mine.example:1234"};
    const lk_session_ice_server servers[] = {{.urls = mine, .url_count = 1}};
    if (room_open(r, env, &(lk_session_config){.connect_timeout_msec = 5000, .ice_servers = servers, .ice_server_count = 1})) {
        r->ice_urls[0] = "stun:theirs.example";
        if (room_connect(r)) { /* a name without an address does not matter */
            CHECK_EQ(r->asked, 1);
            CHECK(strcmp(r->asked_for[0].host, "mine.example") == 0 && r->asked_for[0].port == 1234);
        }
    }
    room_close(r);
}

LK_TEST(a_server_that_sends_us_away_is_told_with_its_reason)
{
    static const struct {
        Livekit__DisconnectReason theirs;
        lk_disconnect_reason ours;
    } rows[] = {{LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY, LK_DISCONNECT_DUPLICATE_IDENTITY},
                {LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED, LK_DISCONNECT_PARTICIPANT_REMOVED},
                {LIVEKIT__DISCONNECT_REASON__ROOM_DELETED, LK_DISCONNECT_ROOM_DELETED}};
    for (size_t i = 0; i < (lk_test_oom() ? 1 : LK_LEN(rows)); i++) {
        room_server *r = &world;
        if (room_open(r, env, NULL) && room_connect(r)) {
            CHECK_OK(lk_session_set_metadata(r->s, r->now, 7, "pending"));
            room_drain(r);
            room_leave(r, rows[i].theirs);
            room_run(r, LK_SEC(3));
            CHECK(once(r, LK_SESSION_DISCONNECTED) && once(r, LK_SESSION_CLOSED));
            CHECK_EQ(room_got(r, LK_SESSION_DISCONNECTED, 0)->reason, rows[i].ours);
            const told *pending = room_told(r, LK_SESSION_OP_DONE, 1);
            CHECK(pending && pending->op == 7 && pending->error.code == LK_ERR_CLOSED);
            CHECK(lk_session_finished(r->s));
            CHECK(lk_session_set_metadata(r->s, r->now, 8, "late") != LK_OK || room_told(r, LK_SESSION_OP_DONE, 2) == NULL);
        }
        room_close(r);
    }
}

LK_TEST(pings_are_sent_and_silence_ends_the_session)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        room_run(r, LK_SEC(60));
        CHECK(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ] >= 11 && r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ] <= 14);
        CHECK(!room_told(r, LK_SESSION_DISCONNECTED, 0));
        r->no_pong = true;
        lk_usec from = r->now;
        while (r->now < from + LK_SEC(40) && !room_told(r, LK_SESSION_DISCONNECTED, 0))
            room_run(r, LK_MSEC(500));
        CHECK(r->now - from >= LK_SEC(9) && r->now - from <= LK_SEC(21));
        CHECK(once(r, LK_SESSION_DISCONNECTED));
        room_run(r, LK_SEC(3));
        CHECK(once(r, LK_SESSION_CLOSED) && lk_session_finished(r->s));
    }
    room_close(r);
}

static void answer_request(room_server *r, Livekit__RequestResponse__Reason reason)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__RequestResponse response = LIVEKIT__REQUEST_RESPONSE__INIT;
    response.has_request_id = response.has_reason = 1;
    response.request_id = r->last_request_id;
    response.reason = reason;
    response.message = (char *)(uintptr_t)"because";
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE;
    m.request_response = &response;
    room_send(r, &m);
}

LK_TEST(a_change_of_ourselves_is_answered_denied_or_times_out)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        CHECK_OK(lk_session_set_metadata(r->s, r->now, 11, "m"));
        room_drain(r);
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_METADATA], 1);
        answer_request(r, LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED);
        room_drain(r);
        const told *t = room_told(r, LK_SESSION_OP_DONE, 1);
        CHECK(t && t->op == 11 && t->error.code == LK_ERR_DENIED && strstr(t->error.text, "because"));
        CHECK_OK(lk_session_set_name(r->s, r->now, 12, "n"));
        lk_usec from = r->now;
        while (!room_told(r, LK_SESSION_OP_DONE, 2) && r->now < from + LK_SEC(8))
            room_run(r, LK_MSEC(100));
        t = room_told(r, LK_SESSION_OP_DONE, 2);
        CHECK(t && t->op == 12 && t->error.code == LK_ERR_TIMEOUT);
        CHECK(r->now - from >= LK_MSEC(4900) && r->now - from <= LK_MSEC(5200));
        answer_request(r, LIVEKIT__REQUEST_RESPONSE__REASON__OK); /* too late: nobody waits */
        room_drain(r);
        CHECK(!room_told(r, LK_SESSION_OP_DONE, 3));
    }
    room_close(r);
}

LK_TEST(a_track_is_published_once_granted_and_answered_and_taken_back)
{
    room_server *r = &world;
    const lk_session_publish p = {.track = 5, .name = "mic", .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "", .sample_rate = 48000, .channels = 1};
    if (room_open(r, env, NULL) && room_connect(r)) {
        CHECK_OK(lk_session_publish_audio(r->s, r->now, 21, &p));
        room_run(r, LK_MSEC(200));
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK], 1);
        CHECK(!room_told(r, LK_SESSION_OP_DONE, 1) && !lk_session_wants_media(r->s, 5));
        room_grant_track(r, "TR_mine");
        room_run(r, LK_MSEC(500));
        const told *t = room_told(r, LK_SESSION_OP_DONE, 1);
        CHECK(t && t->op == 21 && t->error.code == LK_OK && t->track_id == 5);
        CHECK(once(r, LK_SESSION_LOCAL_TRACK_PUBLISHED) && lk_session_wants_media(r->s, 5));
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER], 1);
        CHECK_OK(lk_session_set_muted(r->s, r->now, 5, true));
        CHECK_OK(lk_session_set_muted(r->s, r->now, 5, true));
        CHECK_EQ(lk_session_set_muted(r->s, r->now, 6, true), LK_ERR_NOT_FOUND);
        room_drain(r);
        CHECK(once(r, LK_SESSION_TRACK_MUTED));
        CHECK_OK(lk_session_unpublish(r->s, r->now, 22, "TR_mine"));
        CHECK_OK(lk_session_unpublish(r->s, r->now, 23, "TR_nothing"));
        room_run(r, LK_SEC(1));
        CHECK(once(r, LK_SESSION_LOCAL_TRACK_UNPUBLISHED) && !lk_session_wants_media(r->s, 5));
        for (size_t i = 2; i < 4; i++) {
            t = room_told(r, LK_SESSION_OP_DONE, i);
            CHECK(t && (t->op == 22 ? t->error.code == LK_OK : t->op == 23 && t->error.code == LK_ERR_NOT_FOUND));
        }
        CHECK_OK(lk_session_publish_audio(r->s, r->now, 24, &p)); /* the server says nothing */
        room_run(r, LK_SEC(1));
        CHECK_OK(lk_session_cancel(r->s, r->now, 24, LK_ERR_CANCELLED));
        room_drain(r);
        t = room_told(r, LK_SESSION_OP_DONE, 4);
        CHECK(t && t->op == 24 && t->error.code == LK_ERR_CANCELLED);
    }
    room_close(r);
}

/* ---- coming back ---- */

static const lk_session_config tenacious = {.auto_subscribe = true, .join_retries = 0, .connect_timeout_msec = 5000, .reconnect_tries = 10};
static const lk_session_publish mic = {.track = 5, .name = "mic", .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "", .sample_rate = 48000, .channels = 1};

static bool publish_mic(room_server *r, const char *sid)
{
    CHECK_OK(lk_session_publish_audio(r->s, r->now, 21, &mic));
    room_run(r, LK_MSEC(100));
    room_grant_track(r, sid);
    room_run(r, LK_MSEC(500));
    return CHECK(once(r, LK_SESSION_LOCAL_TRACK_PUBLISHED));
}

/* Kinds from that event on, in this order; others may stand between them. */
static bool in_order(const room_server *r, size_t from, const lk_session_event_kind *kinds, size_t count)
{
    size_t found = 0;
    for (size_t i = from; i < r->count && found < count; i++)
        found += r->events[i].kind == kinds[found];
    return CHECK_EQ(found, count);
}

LK_TEST(a_lost_connection_is_made_anew_with_what_is_published)
{
    static const lk_session_event_kind story[] = {
        LK_SESSION_OP_DONE, LK_SESSION_PARTICIPANT_DISCONNECTED, LK_SESSION_CONNECTION_STATE, LK_SESSION_RECONNECTING,
        LK_SESSION_PARTICIPANT_CONNECTED, LK_SESSION_PARTICIPANT_ACTIVE, LK_SESSION_LOCAL_TRACK_REPUBLISHED,
        LK_SESSION_CONNECTION_STATE, LK_SESSION_RECONNECTED};
    room_server *r = &world;
    const lk_session_permission allowed = {.identity = "old", .allow_all = true};
    if (room_open(r, env, &tenacious) && room_connect(r) && publish_mic(r, "TR_mine")) {
        CHECK_OK(lk_session_set_track_permissions(r->s, r->now, false, &allowed, 1));
        CHECK_OK(lk_session_set_metadata(r->s, r->now, 7, "pending"));
        room_drain(r);
        size_t from = r->count;
        room_cut(r);
        CHECK(!lk_session_wants_media(r->s, 5));
        CHECK_EQ(lk_session_set_metadata(r->s, r->now, 8, "apart"), LK_ERR_CLOSED);
        CHECK_OK(lk_session_set_muted(r->s, r->now, 5, true)); /* told with the next announcement */
        room_run(r, LK_SEC(2));
        CHECK_EQ(r->dials, 2);
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION_PERMISSION], 2);
        CHECK_EQ(r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK], 2);
        CHECK(!room_told(r, LK_SESSION_RECONNECTED, 0));
        room_grant_track(r, "TR_again");
        room_run(r, LK_SEC(1));
        in_order(r, from, story, LK_LEN(story));
        CHECK_STR(room_got(r, LK_SESSION_LOCAL_TRACK_REPUBLISHED, 0)->text, "TR_mine");
        CHECK_EQ(room_got(r, LK_SESSION_LOCAL_TRACK_REPUBLISHED, 0)->track_id, 5);
        CHECK_EQ(room_got(r, LK_SESSION_LOCAL_TRACK_REPUBLISHED, 0)->publication_id,
                 room_got(r, LK_SESSION_LOCAL_TRACK_PUBLISHED, 0)->publication_id);
        CHECK_EQ(r->events[from].error.code, LK_ERR_CLOSED);
        CHECK(once(r, LK_SESSION_RECONNECTING) && once(r, LK_SESSION_RECONNECTED) && !room_told(r, LK_SESSION_DISCONNECTED, 0));
        CHECK(lk_session_wants_media(r->s, 5));
        CHECK_OK(lk_session_unpublish(r->s, r->now, 22, "TR_again"));
        room_drain(r);
        CHECK(once(r, LK_SESSION_LOCAL_TRACK_UNPUBLISHED));
    }
    room_close(r);
}

LK_TEST(whoever_does_not_get_back_is_told_the_reason_it_lost_the_connection_for)
{
    room_server *r = &world;
    if (room_open(r, env, &tenacious) && room_connect(r) && publish_mic(r, "TR_mine")) {
        lk_usec from = r->now;
        r->refuse = true;
        room_cut(r);
        while (r->now < from + LK_SEC(60) && !room_told(r, LK_SESSION_DISCONNECTED, 0))
            room_run(r, LK_MSEC(500));
        CHECK_EQ(r->dials, 11);
        CHECK(r->now - from >= LK_SEC(4) && r->now - from <= LK_SEC(50)); /* 10 random parts of 0.3 s doubling to 7 s */
        CHECK(once(r, LK_SESSION_DISCONNECTED) && once(r, LK_SESSION_RECONNECTING) && !room_told(r, LK_SESSION_RECONNECTED, 0));
        CHECK_EQ(room_got(r, LK_SESSION_DISCONNECTED, 0)->reason, LK_DISCONNECT_SIGNAL_CLOSE);
        CHECK(strstr(room_got(r, LK_SESSION_DISCONNECTED, 0)->error.text, "connection refused") != NULL);
        CHECK(once(r, LK_SESSION_LOCAL_TRACK_UNPUBLISHED) && once(r, LK_SESSION_CLOSED));
        room_run(r, LK_SEC(3));
        CHECK(lk_session_finished(r->s));
    }
    room_close(r);
}

LK_TEST(coming_back_is_given_up_by_a_disconnect_and_by_a_refusal)
{
    for (int i = 0; i < 3; i++) {
        room_server *r = &world;
        if (room_open(r, env, &tenacious) && room_connect(r) && publish_mic(r, "TR_mine")) {
            if (i == 0)
                r->answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
            else
                r->silent = true;
            room_cut(r);
            room_run(r, LK_MSEC(i == 1 ? 1 : 1000));
            if (i)
                CHECK_OK(lk_session_disconnect(r->s, r->now, 9, LK_DISCONNECT_CLIENT_INITIATED));
            room_run(r, LK_SEC(3));
            CHECK(once(r, LK_SESSION_DISCONNECTED) && once(r, LK_SESSION_LOCAL_TRACK_UNPUBLISHED) && once(r, LK_SESSION_CLOSED));
            CHECK_EQ(room_got(r, LK_SESSION_DISCONNECTED, 0)->reason, i ? LK_DISCONNECT_CLIENT_INITIATED : LK_DISCONNECT_SIGNAL_CLOSE);
            CHECK(lk_session_finished(r->s) && r->dials <= 2);
        }
        room_close(r);
    }
}

LK_TEST(a_connection_lost_while_it_comes_back_is_lost_once)
{
    room_server *r = &world;
    if (room_open(r, env, &tenacious) && room_connect(r) && publish_mic(r, "TR_mine")) {
        room_cut(r);
        room_run(r, LK_SEC(2)); /* joined again, the track is not granted */
        room_cut(r);
        room_run(r, LK_SEC(2));
        CHECK_EQ(r->dials, 3);
        CHECK(once(r, LK_SESSION_RECONNECTING) && !room_told(r, LK_SESSION_RECONNECTED, 0));
        CHECK(room_told(r, LK_SESSION_PARTICIPANT_DISCONNECTED, 1) && room_told(r, LK_SESSION_PARTICIPANT_CONNECTED, 1));
        room_run(r, LK_SEC(12)); /* it is never granted: the room comes back without it */
        CHECK(once(r, LK_SESSION_LOCAL_TRACK_UNPUBLISHED) && once(r, LK_SESSION_RECONNECTED));
    }
    room_close(r);
}

LK_TEST(messages_of_nonsense_are_dropped_and_the_session_lives)
{
    room_server *r = &world;
    if (room_open(r, env, NULL) && room_connect(r)) {
        lk_prng dice;
        size_t before = r->count;
        lk_prng_init(&dice, 9);
        for (int i = 0; i < (lk_test_oom() ? 20 : 2000); i++) {
            uint8_t junk[64];
            (void)lk_prng_fill(&dice, junk, sizeof junk);
            junk[0] = (uint8_t)((2 + i % 30) << 3 | 2); /* a member of the right kind with the wrong inside */
            junk[1] = (uint8_t)(i % 62);
            if ((junk[0] >> 3) == LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE || (junk[0] >> 3) == LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER)
                junk[0] = 0xff; /* those two may rightly end it */
            room_frame(r, (lk_bytes){junk, sizeof junk});
            room_drain(r);
        }
        CHECK(!room_told(r, LK_SESSION_DISCONNECTED, 0));
        CHECK(r->count < before + 200);
        room_update(r, room_person(r, "PA_new", "still here", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE));
        room_drain(r);
        CHECK(once(r, LK_SESSION_PARTICIPANT_CONNECTED));
    }
    room_close(r);
}
