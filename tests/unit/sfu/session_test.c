// SPDX-License-Identifier: Apache-2.0
#include "session_world.h"

static void audio_goes_through(lk_env *env, bool publisher_two, bool subscriber_two)
{
    world w = {.clock = NULL};
    if (!world_new(&w, env))
        return;
    person *a = arrive(&w, "ann", publisher_two), *b = arrive(&w, "bob", subscriber_two);
    CHECK(a->connected && b->connected);
    publish(&w, a);
    CHECK_EQ(a->ops_failed, 0);
    CHECK_STR(a->text, "");
    CHECK_EQ(b->subscribed, 1);
    CHECK_OK(lk_session_add_sink(b->s, w.now, b->remote_track, &(lk_session_sink){.sink = 9, .sample_rate = 48000, .channels = 1, .frame_msec = 10}));
    run(&w, LK_SEC(3));
    CHECK(b->frames > 250);
    CHECK(b->loud > 200);
    CHECK(b->speakers > 0);
    CHECK_OK(lk_session_set_muted(a->s, w.now, 1, true));
    run(&w, LK_MSEC(500));
    CHECK_EQ(b->muted, 1);
    CHECK_OK(lk_session_set_muted(a->s, w.now, 1, false));
    run(&w, LK_MSEC(500));
    CHECK_EQ(b->unmuted, 1);
    /* data, both ways, reliable */
    lk_session_data d = {.payload = {(const uint8_t *)"hello", 5}, .reliable = true};
    CHECK_OK(lk_session_publish_data(a->s, w.now, ++w.op, &d, &(lk_error){0}));
    run(&w, LK_MSEC(500));
    CHECK_EQ(b->data, 1);
    CHECK_STR(b->text, "hello");
    CHECK_STR(b->sender, "ann");
    CHECK_OK(lk_session_publish_data(b->s, w.now, ++w.op, &d, &(lk_error){0}));
    run(&w, LK_MSEC(500));
    CHECK_EQ(a->data, 1);
    /* a quarter of an hour: nobody is thrown out, tokens are renewed */
    w.playing = false;
    run(&w, LK_SEC(900));
    CHECK(!a->closed && !b->closed);
    CHECK_OK(lk_session_disconnect(a->s, w.now, ++w.op, LK_DISCONNECT_CLIENT_INITIATED));
    run(&w, LK_SEC(2));
    CHECK(a->closed);
    CHECK_EQ(b->unsubscribed, 1);
    lk_sfu_stats stats;
    lk_sfu_get_stats(w.sfu, &stats);
    CHECK_EQ(stats.participants, 1);
    world_free(&w);
}

LK_TEST(one_hears_the_other_for_a_quarter_of_an_hour) { audio_goes_through(env, false, false); }
LK_TEST(the_older_signalling_hears_too) { audio_goes_through(env, true, true); }
LK_TEST(both_kinds_of_signalling_meet_in_one_room) { audio_goes_through(env, true, false); }

LK_TEST(five_percent_of_loss_are_repaired_or_concealed)
{
    world w = {.clock = NULL};
    if (!world_new(&w, env))
        return;
    person *a = arrive(&w, "ann", false), *b = arrive(&w, "bob", false);
    w.loss_permille = 50; /* not before: OpenSSL repeats a handshake by a clock that is not ours here */
    publish(&w, a);
    CHECK_EQ(b->subscribed, 1);
    CHECK_OK(lk_session_add_sink(b->s, w.now, b->remote_track, &(lk_session_sink){.sink = 9, .sample_rate = 48000, .channels = 1, .frame_msec = 10}));
    run(&w, LK_SEC(5));
    CHECK(b->frames > 480);
    CHECK(b->loud > 400);
    for (int i = 0; i < 20; i++) {
        lk_session_data d = {.payload = {(const uint8_t *)"hello", 5}, .reliable = true};
        CHECK_OK(lk_session_publish_data(a->s, w.now, ++w.op, &d, &(lk_error){0}));
    }
    run(&w, LK_SEC(5));
    CHECK_EQ(b->data, 20);
    world_free(&w);
}

LK_TEST(a_client_whose_address_changes_is_followed)
{
    world w = {.clock = NULL};
    if (!world_new(&w, env))
        return;
    person *a = arrive(&w, "ann", false), *b = arrive(&w, "bob", false);
    publish(&w, a);
    CHECK_OK(lk_session_add_sink(b->s, w.now, b->remote_track, &(lk_session_sink){.sink = 9, .sample_rate = 48000, .channels = 1, .frame_msec = 10}));
    run(&w, LK_SEC(2));
    a->mapped = 700; /* the publisher's router forgot it */
    run(&w, LK_SEC(6));
    unsigned before = b->loud;
    run(&w, LK_SEC(2));
    CHECK(b->loud > before + 150);
    b->mapped = 900; /* and the listener's */
    run(&w, LK_SEC(6));
    before = b->loud;
    run(&w, LK_SEC(2));
    CHECK(b->loud > before + 150);
    CHECK(!a->closed && !b->closed);
    world_free(&w);
}

LK_TEST(a_client_that_vanishes_is_gone_for_the_others_within_half_a_minute)
{
    world w = {.clock = NULL};
    if (!world_new(&w, env))
        return;
    person *a = arrive(&w, "ann", false), *b = arrive(&w, "bob", false);
    publish(&w, a);
    CHECK_EQ(b->subscribed, 1);
    w.playing = false;
    a->frozen = true;
    run(&w, LK_SEC(40));
    CHECK_EQ(b->unsubscribed, 1);
    world_free(&w);
}
