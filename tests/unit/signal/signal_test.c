// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "signal/signal.h"

typedef struct fixture {
    lk_signal s;
    lk_arena arena; /* of what the fake server sends and of what we sent */
    lk_usec now;
} fixture;

static void begin(fixture *f, lk_env *env)
{
    lk_signal_init(&f->s, env);
    lk_arena_init(&f->arena, env, 1 << 20);
    f->now = LK_SEC(1000);
}

static void end(fixture *f)
{
    lk_signal_deinit(&f->s);
    lk_arena_deinit(&f->arena);
}

static void serve(fixture *f, const Livekit__SignalResponse *response)
{
    lk_bytes bytes;
    if (lk_pbuf_pack(&response->base, &f->arena, &bytes) == LK_OK)
        lk_signal_input(&f->s, f->now, bytes);
}

static Livekit__SignalRequest *sent(fixture *f)
{
    lk_bytes bytes;
    Livekit__SignalRequest *request = NULL;
    if (lk_signal_poll_tx(&f->s, &bytes) &&
        lk_pbuf_unpack(&livekit__signal_request__descriptor, &f->arena, bytes, (ProtobufCMessage **)&request) != LK_OK)
        request = NULL;
    return request;
}

static void serve_join(fixture *f)
{
    Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
    lk_signal_event ev;
    response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
    response.join = &join;
    join.has_ping_interval = join.has_ping_timeout = 1;
    join.ping_interval = 5;
    join.ping_timeout = 15;
    serve(f, &response);
    if (lk_signal_poll_event(&f->s, &ev))
        CHECK_EQ(ev.message->message_case, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN);
}

LK_TEST(first_ping_follows_the_join_then_one_every_interval_then_silence_is_loss)
{
    fixture f;
    lk_signal_event ev;
    begin(&f, env);
    CHECK_EQ(lk_signal_deadline(&f.s), LK_NEVER);
    serve_join(&f);
    if (lk_test_oom()) {
        end(&f);
        return;
    }
    lk_usec start = f.now;
    for (int i = 0; i < 3; i++) {
        Livekit__SignalRequest *ping = sent(&f);
        if (CHECK(ping != NULL))
            CHECK_EQ(ping->message_case, LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ);
        CHECK(!sent(&f));
        f.now = lk_signal_deadline(&f.s);
        CHECK_EQ(f.now, start + (i + 1) * LK_SEC(5));
        lk_signal_tick(&f.s, f.now);
    }
    CHECK(lk_signal_poll_event(&f.s, &ev));
    CHECK_EQ(ev.kind, LK_SIGNAL_LOST);
    CHECK_EQ(f.now, start + LK_SEC(15));
    CHECK_EQ(lk_signal_deadline(&f.s), LK_NEVER);
    lk_signal_tick(&f.s, f.now + LK_SEC(60));
    CHECK(!lk_signal_poll_event(&f.s, &ev));
    serve_join(&f); /* too late: the connection has been given up */
    CHECK_EQ(lk_signal_deadline(&f.s), LK_NEVER);
    end(&f);
}

LK_TEST(any_message_rearms_the_silence_timer_and_pong_measures_the_round_trip)
{
    fixture f;
    lk_signal_event ev;
    begin(&f, env);
    serve_join(&f);
    Livekit__SignalRequest *ping = sent(&f);
    if (ping) {
        Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__Pong pong = LIVEKIT__PONG__INIT;
        response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP;
        response.pong_resp = &pong;
        pong.has_last_ping_timestamp = 1;
        pong.last_ping_timestamp = ping->ping_req->timestamp;
        f.now += LK_MSEC(30);
        serve(&f, &response);
        CHECK(!lk_signal_poll_event(&f.s, &ev));
        if (!lk_test_oom()) {
            CHECK_EQ(f.s.rtt_msec, 30);
            lk_signal_tick(&f.s, f.now + LK_SEC(15) - 1);
            CHECK(!lk_signal_poll_event(&f.s, &ev));
            lk_signal_tick(&f.s, f.now + LK_SEC(15));
            CHECK(lk_signal_poll_event(&f.s, &ev) && ev.kind == LK_SIGNAL_LOST);
        }
    }
    end(&f);
}

static lk_err add_track(fixture *f, const char *cid, uint64_t tag)
{
    lk_signal_track track = {.cid = cid, .kind = LK_MEDIA_KIND_AUDIO};
    return lk_signal_add_track(&f->s, f->now, &track, tag);
}

LK_TEST(add_track_ends_with_track_published_with_a_refusal_or_after_10_s)
{
    fixture f;
    lk_signal_event ev;
    begin(&f, env);
    bool all = add_track(&f, "one", 1) == LK_OK && add_track(&f, "two", 2) == LK_OK && add_track(&f, "three", 3) == LK_OK;
    if (all && !lk_test_oom()) {
        Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__TrackPublishedResponse published = LIVEKIT__TRACK_PUBLISHED_RESPONSE__INIT;
        Livekit__TrackInfo track = LIVEKIT__TRACK_INFO__INIT;
        Livekit__RequestResponse refused = LIVEKIT__REQUEST_RESPONSE__INIT;
        Livekit__AddTrackRequest echo = LIVEKIT__ADD_TRACK_REQUEST__INIT;
        response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED;
        response.track_published = &published;
        published.cid = (char *)"two";
        published.track = &track;
        track.sid = (char *)"TR_2";
        serve(&f, &response);
        CHECK(lk_signal_poll_event(&f.s, &ev) && ev.kind == LK_SIGNAL_REQUEST_DONE && ev.tag == 2 && !ev.error.code);
        CHECK_STR(ev.track->sid, "TR_2");
        CHECK(!lk_signal_poll_event(&f.s, &ev));

        response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE;
        response.request_response = &refused;
        refused.has_reason = 1;
        refused.reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED;
        refused.message = (char *)"does not have permission to publish";
        refused.request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_ADD_TRACK;
        refused.add_track = &echo;
        echo.cid = (char *)"one";
        serve(&f, &response);
        CHECK(lk_signal_poll_event(&f.s, &ev) && ev.tag == 1);
        CHECK_EQ(ev.error.code, LK_ERR_DENIED);
        CHECK_STR(ev.error.text, "request error: NotAllowed - does not have permission to publish");

        CHECK_EQ(lk_signal_deadline(&f.s), f.now + LK_SEC(10));
        lk_signal_tick(&f.s, f.now + LK_SEC(10));
        CHECK(lk_signal_poll_event(&f.s, &ev) && ev.tag == 3 && ev.error.code == LK_ERR_TIMEOUT);
        CHECK(!lk_signal_poll_event(&f.s, &ev));
    }
    end(&f);
}

LK_TEST(metadata_requests_are_told_apart_by_number_and_last_5_s)
{
    fixture f;
    lk_signal_event ev;
    begin(&f, env);
    static const lk_attribute attribute = {"k", "v"};
    lk_err a = lk_signal_update_metadata(&f.s, f.now, "m", NULL, &attribute, 1, 7);
    lk_err b = lk_signal_update_metadata(&f.s, f.now, NULL, "n", NULL, 0, 8);
    if (!a && !b && !lk_test_oom()) {
        Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__RequestResponse ok = LIVEKIT__REQUEST_RESPONSE__INIT;
        Livekit__SignalRequest *first = sent(&f);
        response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE;
        response.request_response = &ok;
        ok.has_request_id = 1;
        ok.request_id = first->update_metadata->request_id;
        CHECK_STR(first->update_metadata->metadata, "m");
        CHECK(first->update_metadata->n_attributes == 1 && !first->update_metadata->name);
        CHECK_STR(first->update_metadata->attributes[0]->value, "v");
        serve(&f, &response);
        CHECK(lk_signal_poll_event(&f.s, &ev) && ev.tag == 7 && !ev.error.code);
        lk_signal_tick(&f.s, f.now + LK_SEC(5));
        CHECK(lk_signal_poll_event(&f.s, &ev) && ev.tag == 8);
        CHECK_STR(ev.error.text, "engine: signal failure: request timeout");
        CHECK(!lk_signal_forget(&f.s, 8));
    }
    end(&f);
}

LK_TEST(close_ends_every_waiting_request_once_and_garbage_is_counted)
{
    fixture f;
    lk_signal_event ev;
    static const lk_error closed = {LK_ERR_CLOSED, "closed"};
    begin(&f, env);
    size_t made = 0, ended = 0;
    made += add_track(&f, "a", 1) == LK_OK;
    made += add_track(&f, "b", 2) == LK_OK;
    lk_signal_input(&f.s, f.now, (lk_bytes){(const uint8_t *)"\xff\xff", 2});
    CHECK_EQ(f.s.garbage, 1);
    lk_signal_close(&f.s, &closed);
    while (lk_signal_poll_event(&f.s, &ev)) {
        CHECK_EQ(ev.error.code, LK_ERR_CLOSED);
        ended++;
    }
    CHECK(made == ended || lk_test_oom());
    end(&f);
}

LK_TEST(request_table_is_bounded)
{
    fixture f;
    begin(&f, env);
    lk_err err = LK_OK;
    for (uint64_t i = 1; i <= LK_SIGNAL_REQUESTS_MAX && !err; i++)
        err = add_track(&f, "x", i);
    if (!err)
        CHECK_EQ(add_track(&f, "x", 1000), LK_ERR_FULL);
    end(&f);
}

LK_TEST(trickled_candidates_are_json_and_permissions_name_identities)
{
    fixture f;
    static const char *const sids[] = {"TR_1"};
    static const lk_signal_permission permission = {"bob", false, sids, 1};
    begin(&f, env);
    if (lk_signal_trickle(&f.s, false, "candidate:1 \"x\"", "0", 0, true) == LK_OK &&
        lk_signal_permissions(&f.s, false, &permission, 1) == LK_OK && !lk_test_oom()) {
        Livekit__SignalRequest *request = sent(&f);
        CHECK_STR(request->trickle->candidateinit,
                  "{\"candidate\":\"candidate:1 \\\"x\\\"\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}");
        CHECK(request->trickle->final);
        request = sent(&f);
        CHECK_STR(request->subscription_permission->track_permissions[0]->participant_identity, "bob");
        CHECK_STR(request->subscription_permission->track_permissions[0]->track_sids[0], "TR_1");
    }
    end(&f);
}
