// SPDX-License-Identifier: Apache-2.0
#include "hub_world.h"
#include "sfu/hub_internal.h"

static world town;

LK_TEST(a_voice_goes_to_two_subscribers_on_single_connections)
{
    world *w = &town;
    uint32_t up = 0, slot = 0;
    lk_down *down[3] = {NULL, NULL, NULL};
    bool ok = world_open(w, env, 3, false) && world_add(w, 0, LK_MEDIA_KIND_AUDIO, LK_PC_SENDONLY, "cid-a", &up);
    for (size_t i = 1; ok && i < 3; i++)
        ok = world_add(w, i, LK_MEDIA_KIND_AUDIO, LK_PC_RECVONLY, "", &slot);
    for (size_t i = 0; ok && i < 3; i++)
        ok = world_offer(w, i, NULL) && world_connect(w, i);
    if (ok && CHECK_EQ(w->ups, 1)) {
        CHECK_STR(lk_up_cid(w->up[0]), "cid-a");
        CHECK_STR(lk_up_mid(w->up[0]), "0");
        CHECK(!lk_up_live(w->up[0]));
        for (size_t i = 1; ok && i < 3; i++) {
            ok = world_subscribe(w, i, w->up[0], "TR_a", &down[i]);
            if (ok) {
                CHECK(lk_peer_needs_negotiation(w->client[i].peer));
                CHECK_EQ(lk_peer_sections_missing(w->client[i].peer, LK_MEDIA_KIND_AUDIO), 0);
                ok = world_offer(w, i, NULL);
                CHECK(!lk_peer_needs_negotiation(w->client[i].peer));
            }
        }
        if (ok) {
            const char *mid = "", *track = "";
            size_t at = 0;
            CHECK(lk_peer_next_mid(w->client[1].peer, &at, &mid, &track));
            CHECK_STR(mid, "0");
            CHECK_STR(track, "TR_a");
            CHECK_EQ(w->bound, 2);
            world_say(w, 0, up, 0, 100);
            world_run(w, LK_MSEC(100));
            CHECK_STR(lk_up_mime(w->up[0]), "audio/red");
            CHECK_EQ(w->up_live, 1);
            CHECK_EQ(w->down_states, 2);
            for (size_t i = 1; i < 3; i++) {
                world_client *c = &w->client[i];
                CHECK_STR(c->track, "TR_a");
                CHECK_STR(c->stream, "PA_a");
                CHECK_EQ(c->rtp, 100);
                CHECK(c->gaps == 0 && c->ts_back == 0 && c->late == 0);
                CHECK(c->red);
            }
            lk_up_level level;
            lk_up_take_level(w->up[0], &level);
            CHECK_EQ(level.window_usec, LK_MSEC(20) * 99);
            CHECK_EQ(level.active_usec, level.window_usec);
            CHECK_EQ(level.loudest, 20);
            lk_peer_quality q;
            lk_peer_take_quality(w->client[0].peer, w->now, &q);
            CHECK(q.up_expected == 100 && q.up_lost == 0 && q.receiving);
        }
    }
    for (size_t i = 1; i < 3; i++)
        lk_down_free(down[i]);
    world_close(w);
}

LK_TEST(a_picture_begins_with_a_key_frame_that_was_asked_for)
{
    world *w = &town;
    world_stream s = {.tag = 1, .picture = 700, .tl0 = 9, .key_index = 3};
    lk_down *down = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_VIDEO, NULL, NULL, &down)) {
        for (int i = 0; i < 30; i++) {
            world_show(w, 0, 0, &s, false);
            world_run(w, LK_MSEC(33));
        }
        CHECK_EQ(w->client[1].rtp, 0);
        CHECK(w->client[0].keys > 0 && w->client[0].keys < 6);
        world_show(w, 0, 0, &s, true);
        for (int i = 0; i < 60; i++) {
            world_run(w, LK_MSEC(33));
            world_show(w, 0, 0, &s, false);
        }
        world_run(w, LK_MSEC(100));
        unsigned keys = w->client[0].keys;
        CHECK_EQ(w->client[1].rtp, 61);
        CHECK(!w->client[1].heard[29] && w->client[1].heard[30]);
        CHECK(w->client[1].gaps == 0 && w->client[1].picture_gaps == 0);
        CHECK_EQ(lk_down_quality(down), 0);
        lk_pc_request_key(w->client[1].pc, w->now, 0);
        world_drain(w);
        world_run(w, LK_MSEC(100));
        CHECK_EQ(w->client[0].keys, keys + 1); /* the subscriber's wish goes up */
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(a_subscriber_moves_to_another_encoding_and_sees_no_seam)
{
    world *w = &town;
    world_stream s[2] = {{.tag = 1, .picture = 700, .tl0 = 9}, {.tag = 2, .picture = 3, .tl0 = 200, .number = 1000, .ts = 4000000000u}};
    uint32_t section[2] = {0, 0}, slot = 0;
    lk_down *down = NULL;
    if (world_open(w, env, 2, false) && world_add(w, 0, LK_MEDIA_KIND_VIDEO, LK_PC_SENDONLY, "cid-1", &section[0]) &&
        world_add(w, 0, LK_MEDIA_KIND_VIDEO, LK_PC_SENDONLY, "cid-2", &section[1]) && world_add(w, 1, LK_MEDIA_KIND_VIDEO, LK_PC_RECVONLY, "", &slot) &&
        world_offer(w, 0, NULL) && world_connect(w, 0) && world_offer(w, 1, NULL) && world_connect(w, 1) && CHECK_EQ(w->ups, 2) &&
        CHECK_OK(lk_down_new(&down, w->client[1].peer, w->up[0], &(lk_down_config){.stream = "PA_a", .track = "TR_s", .movable = true}, w->now)) &&
        world_offer(w, 1, NULL)) {
        CHECK(lk_down_takes(down, "video/vp8") && !lk_down_takes(down, "video/none"));
        static const int order[] = {0, 1, -1, 0}; /* -1: what it should show is not there */
        for (size_t round = 0; round < LK_LEN(order); round++) {
            CHECK_OK(lk_down_move(down, order[round] < 0 ? NULL : w->up[order[round]], w->now));
            for (int i = 0; i < 20; i++) {
                for (size_t k = 0; k < 2; k++)
                    world_show(w, 0, section[k], &s[k], i == 5);
                world_run(w, LK_MSEC(33));
            }
            CHECK(order[round] < 0 || w->client[1].layer == order[round] + 1);
        }
        const world_client *c = &w->client[1];
        CHECK(c->gaps == 0 && c->ts_back == 0 && c->picture_gaps == 0 && c->late == 0);
        CHECK_EQ(c->rtp, 3 * 15);
        CHECK(world_offer(w, 1, NULL)); /* a description while it shows one, then while it waits: it keeps its section and sources */
        CHECK(strstr(w->answer.p ? w->answer.p : "", "a=ssrc-group:FID") != NULL);
        CHECK_OK(lk_down_move(down, NULL, w->now));
        CHECK(world_offer(w, 1, NULL) && strstr(w->answer.p ? w->answer.p : "", "a=ssrc-group:FID") != NULL);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(however_often_a_key_frame_is_asked_for_the_publisher_is_asked_twice_a_second)
{
    world *w = &town;
    world_stream s = {.tag = 1, .picture = 700, .tl0 = 9, .key_index = 3};
    lk_down *down = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_VIDEO, NULL, NULL, &down)) {
        world_run(w, LK_MSEC(33));
        world_show(w, 0, 0, &s, true);
        world_run(w, LK_MSEC(100));
        unsigned keys = w->client[0].keys;
        for (int i = 0; i < 200; i++) {
            lk_pc_request_key(w->client[1].pc, w->now, 0);
            world_drain(w);
            world_run(w, LK_MSEC(10));
        }
        CHECK(w->client[0].keys > keys && w->client[0].keys <= keys + 5); /* in 2 s */
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(what_is_lost_on_either_way_is_sent_again)
{
    world *w = &town;
    world_stream s = {.tag = 1};
    lk_down *down = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_VIDEO, NULL, NULL, &down)) {
        world_show(w, 0, 0, &s, true);
        world_run(w, LK_MSEC(100));
        w->lose_every = 10;
        for (int i = 0; i < 300; i++) {
            world_run(w, LK_MSEC(20));
            world_show(w, 0, 0, &s, false);
        }
        w->lose_every = 0;
        for (int i = 0; i < 20; i++) {
            world_run(w, LK_MSEC(20));
            world_show(w, 0, 0, &s, false);
        }
        world_run(w, LK_SEC(2));
        CHECK_EQ(world_heard(&w->client[1], 0, 321), 321);
        lk_hub_stats t;
        lk_hub_get_stats(w->hub, &t);
        CHECK(t.resent > 10 && t.resent < 120);
        CHECK(t.nacks_sent > 0);
        CHECK_EQ(w->client[1].ts_back, 0);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(layers_change_at_key_frames_and_nobody_sees_the_seam)
{
    world *w = &town;
    lk_down *down = NULL;
    world_stream s[3] = {{.ssrc = 11, .seq = 65500, .ts = 100000, .picture = 1, .tl0 = 1, .tag = 1, .rid = "q"},
                         {.ssrc = 22, .seq = 200, .ts = 7000000, .picture = 900, .tl0 = 90, .tag = 2, .rid = "h", .number = 1000},
                         {.ssrc = 33, .seq = 300, .ts = 4000000000u, .picture = 32760, .tl0 = 250, .tag = 3, .rid = "f", .number = 2000}};
    if (world_watch(w, env, LK_MEDIA_KIND_VIDEO, world_simulcast, NULL, &down)) {
        world_client *c = &w->client[1];
        lk_up_layer layers[LK_UP_LAYERS_MAX];
        CHECK(strstr(w->answer.p ? w->answer.p : "", "a=ssrc-group:FID") != NULL);
        CHECK_EQ(lk_up_layers(w->up[0], layers), 3);
        CHECK_STR(layers[0].rid, "q");
        CHECK_STR(layers[2].rid, "f");
        CHECK_EQ(w->wanted, 2);
        static const int qualities[] = {2, 0, 1, 2, 0, 2};
        for (int round = 0; round < 6; round++) {
            lk_down_set(down, w->now, &(lk_down_settings){.quality = (uint8_t)qualities[round]});
            world_drain(w);
            CHECK_EQ(w->wanted, qualities[round]);
            for (int i = 0; i < 30; i++) {
                for (int k = 0; k < 3; k++) {
                    if (i == 1)
                        world_report_layer(w, 0, &s[k]);
                    world_show_layer(w, 0, "0", &s[k], i == 10);
                    if (round == 1)
                        s[k].rid = NULL; /* the source is known by now */
                }
                world_run(w, LK_MSEC(33));
            }
            CHECK_EQ(lk_down_quality(down), qualities[round]);
            CHECK_EQ(c->layer, qualities[round] + 1);
        }
        world_run(w, LK_MSEC(200));
        CHECK_EQ(lk_up_layers(w->up[0], layers), 3);
        CHECK(layers[0].ssrc == 11 && layers[2].ssrc == 33 && layers[1].active);
        CHECK_EQ(c->switches, 5);
        CHECK(c->gaps == 0 && c->ts_back == 0 && c->picture_gaps == 0 && c->late == 0);
        CHECK(c->rtp >= 6 * 30 - 11 && c->rtp <= 6 * 30);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(forwarding_allocates_nothing_once_it_runs)
{
    world *w = &town;
    world_stream s = {.tag = 1};
    lk_down *down = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_VIDEO, NULL, NULL, &down)) {
        world_show(w, 0, 0, &s, true);
        uint8_t payload[1100], packet[1500];
        lk_pc *pc = w->client[0].pc;
        s.ssrc = lk_pc_sect_at(pc, 0)->sender->ssrc;
        world_run(w, LK_SEC(1));
        s.seq = (uint16_t)(lk_pc_sect_at(pc, 0)->sender->seq);
        size_t before = 0, forwarded = 0;
        for (int i = 0; i < 2000; i++) { /* past two seconds, the age at which the cache lets go */
            lk_sfu_packet out[16];
            size_t len = world_picture(&s, payload, i % 100 == 0), total;
            lk_wr at = lk_wr_of(packet, sizeof packet);
            lk_rtp_write_header(&at, 96, true, s.seq++, s.ts += 300, s.ssrc, NULL, 0);
            lk_wr_put(&at, payload, len);
            total = at.len;
            if (!CHECK_OK(lk_srtp_protect_rtp(&pc->transport.srtp_tx, packet, &total, sizeof packet)))
                break;
            w->now += LK_MSEC(3);
            if (i == 1500)
                before = lk_test_alloc_count();
            const lk_sfu_packet in = {.d = {w->address, w->client[0].address, packet, total}};
            (void)lk_hub_input(w->hub, w->now, &in);
            for (size_t n; (n = lk_hub_poll_tx(w->hub, w->now, out, LK_LEN(out))) > 0;)
                forwarded += n;
        }
        CHECK(forwarded >= 2000);
        CHECK_EQ(lk_test_alloc_count() - before, 0);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(a_subscriber_is_offered_its_tracks_and_channels_of_ours)
{
    world *w = &town;
    uint32_t up = 0;
    lk_down *down = NULL;
    /* 0 publishes on a connection it offers, 1 subscribes on one we offer. */
    if (world_open(w, env, 2, false) && world_add(w, 0, LK_MEDIA_KIND_AUDIO, LK_PC_SENDONLY, "cid-a", &up) && world_offer(w, 0, NULL) &&
        world_connect(w, 0)) {
        world_client *c = &w->client[1];
        lk_peer_free(c->peer);
        c->peer = NULL;
        bool ok = CHECK_OK(lk_peer_new(&c->peer, w->hub, &(lk_peer_config){.user = c, .offers = true, .open_channels = true}, w->now));
        for (int round = 0; ok && round < 2; round++) {
            if (round == 1)
                ok = world_subscribe(w, 1, w->up[0], "TR_a", &down);
            lk_text_clear(&w->offer);
            lk_text_clear(&w->answer);
            ok = ok && CHECK(lk_peer_needs_negotiation(c->peer)) && CHECK_OK(lk_peer_create_offer(c->peer, w->now, &w->offer)) &&
                 CHECK(lk_peer_offer_outstanding(c->peer)) && CHECK_EQ(lk_peer_create_offer(c->peer, w->now, &w->answer), LK_ERR_STATE) &&
                 CHECK_OK(lk_pc_accept_offer(c->pc, w->now, w->offer.p, w->offer.len, &w->answer, &w->why)) &&
                 CHECK_OK(lk_peer_set_answer(c->peer, w->now, w->answer.p, w->answer.len, &w->why));
            if (ok && round == 0)
                ok = world_connect(w, 1);
        }
        if (ok) {
            world_run(w, LK_MSEC(300));
            CHECK(!lk_peer_needs_negotiation(c->peer));
            CHECK_EQ(c->channels_open, 3);
            CHECK(lk_peer_channel_open(c->peer, LK_PEER_RELIABLE) && lk_peer_channel_open(c->peer, LK_PEER_DATA_TRACK));
            CHECK_EQ(w->bound, 1);
            CHECK_STR(lk_down_mid(down), "1");
            world_say(w, 0, up, 0, 50);
            world_run(w, LK_MSEC(100));
            CHECK_EQ(c->rtp, 50);
            CHECK_STR(c->track, "TR_a");
            CHECK_OK(lk_peer_send(c->peer, w->now, LK_PEER_RELIABLE, (const uint8_t *)"hello", 5));
            world_drain(w);
            world_run(w, LK_MSEC(100));
            CHECK_EQ(c->messages, 1);
            CHECK_MEM(c->message, c->message_len, "hello", 5);
        }
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(channels_of_the_client_are_known_by_their_label)
{
    world *w = &town;
    uint32_t up = 0, reliable = 0, other = 0;
    if (world_open(w, env, 1, false) && world_add(w, 0, LK_MEDIA_KIND_AUDIO, LK_PC_SENDONLY, "cid-a", &up) &&
        CHECK_OK(lk_pc_add_channel(w->client[0].pc, &(lk_pc_channel){.label = "_reliable"}, &reliable)) &&
        CHECK_OK(lk_pc_add_channel(w->client[0].pc, &(lk_pc_channel){.label = "mine"}, &other)) && world_offer(w, 0, NULL) && world_connect(w, 0)) {
        CHECK_EQ(w->hub_channels, 2);
        CHECK_EQ(lk_peer_send(w->client[0].peer, w->now, LK_PEER_LOSSY, (const uint8_t *)"x", 1), LK_ERR_STATE);
        CHECK_OK(lk_pc_send_data(w->client[0].pc, w->now, other, (const uint8_t *)"abc", 3, 0));
        world_drain(w);
        world_run(w, LK_MSEC(100));
        CHECK(w->hub_messages == 1 && w->channel == LK_PEER_OTHER);
        CHECK_OK(lk_pc_send_data(w->client[0].pc, w->now, reliable, (const uint8_t *)"abc", 3, 0));
        world_drain(w);
        world_run(w, LK_MSEC(100));
        CHECK(w->hub_messages == 2 && w->channel == LK_PEER_RELIABLE);
    }
    world_close(w);
}

LK_TEST(a_track_that_ends_frees_its_section_and_its_downs_fall_silent)
{
    world *w = &town;
    uint32_t up = 0;
    lk_down *down = NULL, *next = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_AUDIO, NULL, NULL, &down)) {
        world_say(w, 0, up, 0, 10);
        CHECK_OK(lk_pc_set_direction(w->client[0].pc, up, LK_PC_INACTIVE));
        if (world_offer(w, 0, NULL)) {
            CHECK_EQ(w->up_ended, 1);
            lk_up_free(w->up[0]);
            w->ups = 0;
            CHECK(lk_down_up(down) == NULL);
            lk_down_free(down);
            down = NULL;
            world_offer(w, 1, NULL);
            CHECK_EQ(w->client[1].tracks_off, 1);
            if (world_add(w, 0, LK_MEDIA_KIND_AUDIO, LK_PC_SENDONLY, "two", &up) && world_offer(w, 0, NULL) && CHECK_EQ(w->ups, 1) &&
                world_subscribe(w, 1, w->up[0], "TR_2", &next)) {
                CHECK_STR(lk_up_cid(w->up[0]), "two");
                CHECK_EQ(lk_peer_sections_missing(w->client[1].peer, LK_MEDIA_KIND_AUDIO), 0); /* the old one is free */
                if (world_offer(w, 1, NULL)) {
                    world_say(w, 0, up, 100, 10);
                    world_run(w, LK_MSEC(100));
                    CHECK_EQ(world_heard(&w->client[1], 100, 10), w->client[1].red ? 0 : 10);
                    CHECK_EQ(w->client[1].tracks_on, 2);
                    CHECK_STR(w->client[1].track, "TR_2");
                }
                lk_down *third = NULL;
                if (world_subscribe(w, 1, w->up[0], "TR_3", &third))
                    CHECK_EQ(lk_peer_sections_missing(w->client[1].peer, LK_MEDIA_KIND_AUDIO), 1);
                lk_down_free(third);
            }
        }
    }
    lk_down_free(next);
    lk_down_free(down);
    world_close(w);
}

LK_TEST(strangers_get_no_answer)
{
    world *w = &town;
    lk_sfu_packet out[4];
    if (world_open(w, env, 1, false)) {
        static const uint8_t junk[][20] = {{0x80, 96, 0, 1}, {0x16, 0xfe, 0xfd}, {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, {0xff}};
        for (size_t i = 0; i < LK_LEN(junk); i++) {
            const lk_sfu_packet in = {.d = {w->address, lk_addr_v4(10, 9, 9, 9, 9), junk[i], sizeof junk[i]}};
            CHECK(!lk_hub_input(w->hub, w->now, &in));
        }
        lk_hub_stats t;
        lk_hub_get_stats(w->hub, &t);
        CHECK_EQ(t.stray, LK_LEN(junk));
        while (lk_hub_poll_tx(w->hub, w->now, out, LK_LEN(out)) > 0)
            CHECK(false);
        CHECK_EQ(lk_peer_accept_offer(w->client[0].peer, w->now, "v=0\r\n", 5, &w->answer, &w->why), LK_ERR_WIRE);
        CHECK_EQ(lk_peer_accept_offer(w->client[0].peer, w->now, "nonsense", 8, &w->answer, &w->why), LK_ERR_WIRE);
        CHECK_EQ(lk_peer_create_offer(w->client[0].peer, w->now, &w->answer), LK_ERR_STATE);
    }
    world_close(w);
}

/* Client 0 shows three layers, each 30 frames a second of one packet: about 70, 130 and 270 kbit/s on the wire. Client 1 watches. */
typedef struct show {
    world_stream layer[3];
    uint64_t asked;
    lk_down *down[2];
} show;

static bool show_layers(world *w, lk_env *env, show *s, world_edit *gets)
{
    *s = (show){.layer = {{.ssrc = 11, .tag = 1, .rid = "q", .bytes = 220},
                          {.ssrc = 22, .tag = 2, .rid = "h", .bytes = 470},
                          {.ssrc = 33, .tag = 3, .rid = "f", .bytes = 1050}}};
    return world_watch(w, env, LK_MEDIA_KIND_VIDEO, world_simulcast, gets, &s->down[0]);
}

/* So many frames of all layers; every request for a key frame is followed. on: how many arrived of which layer. */
static void show_frames(world *w, show *s, int frames, unsigned on[4])
{
    lk_hub_stats t;
    for (int i = 0; i < frames; i++) {
        lk_hub_get_stats(w->hub, &t);
        for (int k = 0; k < 3; k++)
            world_show_layer(w, 0, "0", &s->layer[k], s->layer[k].number == 0 || t.plis_sent != s->asked);
        s->asked = t.plis_sent;
        unsigned before = w->client[1].rtp;
        world_run(w, LK_MSEC(33));
        on[w->client[1].layer] += w->client[1].rtp - before;
    }
}

static void show_end(world *w, show *s)
{
    for (size_t i = 0; i < LK_LEN(s->down); i++)
        lk_down_free(s->down[i]);
    world_close(w);
}

LK_TEST(a_narrow_way_gets_the_layers_it_carries_and_more_once_a_probe_passes)
{
    world *w = &town;
    show s;
    if (show_layers(w, env, &s, NULL)) {
        world_client *c = &w->client[1];
        unsigned on[4] = {0};
        lk_hub_stats t;
        const int second = lk_test_oom() ? 1 : 30; /* the ladder is about memory: a few frames of each phase are enough */
        show_frames(w, &s, 20 * second, on);
        lk_hub_get_stats(w->hub, &t);
        CHECK(lk_test_oom() || (on[3] > 19 * 30 && t.padded == 0)); /* all that is wanted flows: nothing to find out */
        w->rate_bps = 200000;
        show_frames(w, &s, 3 * second, on);
        CHECK(lk_test_oom() || c->layer == 2);
        uint64_t lost = w->rate_lost, padded = 0;
        unsigned gaps = c->picture_gaps;
        memset(on, 0, sizeof on);
        show_frames(w, &s, 40 * second, on);
        lk_hub_get_stats(w->hub, &t);
        CHECK(lk_test_oom() || (on[2] >= 40 * 30 - 3 && w->rate_lost == lost && c->picture_gaps == gaps)); /* looking for more costs nobody a picture */
        CHECK(lk_test_oom() || (t.padded > 0 && t.padded < 400)); /* 3 kB a second */
        w->rate_bps = 0;
        memset(on, 0, sizeof on);
        show_frames(w, &s, 12 * second, on);
        CHECK(lk_test_oom() || (c->layer == 3 && on[3] > 30 && c->picture_gaps == gaps));
        lk_hub_get_stats(w->hub, &t);
        padded = t.padded;
        show_frames(w, &s, 20 * second, on);
        lk_hub_get_stats(w->hub, &t);
        CHECK(lk_test_oom() || t.padded == padded);
        CHECK_EQ(c->ts_back, 0);
    }
    show_end(w, &s);
}

static void without_rtx(lk_wr *out, lk_str line, lk_str section)
{
    LK_UNUSED(section);
    if (!lk_str_starts(line, "a=rtpmap:97 rtx") && !lk_str_starts(line, "a=fmtp:97 apt"))
        world_line(out, line);
}

LK_TEST(without_a_stream_to_pad_more_is_tried_with_pictures)
{
    world *w = &town;
    show s;
    if (show_layers(w, env, &s, without_rtx)) {
        unsigned on[4] = {0};
        lk_hub_stats t;
        const int second = lk_test_oom() ? 1 : 30;
        show_frames(w, &s, 3 * second, on);
        CHECK(lk_test_oom() || !lk_down_can_pad(s.down[0]));
        w->rate_bps = 200000;
        show_frames(w, &s, 20 * second, on);
        CHECK(lk_test_oom() || w->client[1].layer < 3);
        w->rate_bps = 0;
        show_frames(w, &s, 40 * second, on);
        CHECK(lk_test_oom() || w->client[1].layer == 3);
        lk_hub_get_stats(w->hub, &t);
        CHECK_EQ(t.padded, 0);
    }
    show_end(w, &s);
}

LK_TEST(what_does_not_fit_at_all_is_paused_where_that_is_allowed_and_comes_back_after_a_probe)
{
    world *w = &town;
    show s;
    if (show_layers(w, env, &s, NULL)) {
        unsigned on[4] = {0};
        const int second = lk_test_oom() ? 1 : 30;
        lk_down_allow_pause(s.down[0], true);
        show_frames(w, &s, 5 * second, on);
        unsigned states = w->down_states;
        w->rate_bps = 50000;
        show_frames(w, &s, 10 * second, on);
        memset(on, 0, sizeof on);
        show_frames(w, &s, 10 * second, on);
        CHECK(lk_test_oom() || (on[1] + on[2] + on[3] == 0 && w->down_states == states + 1 && lk_down_quality(s.down[0]) == -1));
        w->rate_bps = 0;
        show_frames(w, &s, 20 * second, on);
        CHECK(lk_test_oom() || (on[3] > 30 && w->down_states == states + 2 && lk_down_quality(s.down[0]) == 2));
    }
    show_end(w, &s);
}

/* Two subscriptions of one peer to the same three layers: what the path carries is shared evenly, or goes to one first. */
LK_TEST(tracks_share_a_narrow_way_in_turn_and_by_priority)
{
    world *w = &town;
    show s;
    uint32_t second_slot = 0;
    if (show_layers(w, env, &s, NULL) && world_add(w, 1, LK_MEDIA_KIND_VIDEO, LK_PC_RECVONLY, "", &second_slot) && world_offer(w, 1, NULL) &&
        world_subscribe(w, 1, w->up[0], "TR_t", &s.down[1]) && world_offer(w, 1, NULL)) {
        unsigned on[4] = {0};
        const int second = lk_test_oom() ? 1 : 30;
        lk_peer *p = w->client[1].peer;
        show_frames(w, &s, 8 * second, on);
        CHECK(lk_test_oom() || (lk_down_quality(s.down[0]) == 2 && lk_down_quality(s.down[1]) == 2));
        w->rate_bps = 400000; /* two of the middle layer, or one of the highest and one of the lowest */
        show_frames(w, &s, 30 * second, on);
        CHECK(lk_test_oom() || (lk_down_quality(s.down[0]) == 1 && lk_down_quality(s.down[1]) == 1 && p->limit_bps < 400000));
        w->rate_bps = 240000; /* a middle and a lowest */
        lk_down_set(s.down[1], w->now, &(lk_down_settings){.quality = 2, .priority = 9});
        show_frames(w, &s, 40 * second, on);
        CHECK(lk_test_oom() || (lk_down_quality(s.down[0]) == 0 && lk_down_quality(s.down[1]) == 1));
        lk_down_set(s.down[0], w->now, &(lk_down_settings){.quality = 2, .priority = 10});
        w->rate_bps = 150000; /* two of the lowest, hardly */
        show_frames(w, &s, 10 * second, on);
        w->rate_bps = 240000;
        show_frames(w, &s, 40 * second, on);
        CHECK(lk_test_oom() || (lk_down_quality(s.down[0]) == 1 && lk_down_quality(s.down[1]) == 0));
    }
    show_end(w, &s);
}

/* A subscriber that knows no transport-wide feedback: it measures by send times and says what it can get. */
static void by_send_time(lk_wr *out, lk_str line, lk_str section)
{
    lk_str name = line, id = lk_str_cut(&name, ' ');
    LK_UNUSED(section);
    if (lk_str_starts(line, "a=rtcp-fb:") && lk_str_eq(name, "transport-cc\r"))
        return;
    if (lk_str_starts(line, "a=extmap:") && lk_str_starts(name, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc")) {
        lk_wr_put(out, id.p, id.len);
        line = lk_str_of(" http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r");
    }
    world_line(out, line);
}

static void world_remb(world *w, size_t i, uint64_t bps)
{
    uint8_t packet[200];
    uint32_t ssrc = 0;
    lk_wr at = lk_wr_of(packet, sizeof packet);
    lk_rtcp_write_rr(&at, 5, NULL, 0);
    lk_rtcp_write_remb(&at, 5, bps, &ssrc, 1);
    size_t total = at.len;
    if (CHECK_OK(lk_srtp_protect_rtcp(&w->client[i].pc->transport.srtp_tx, packet, &total, sizeof packet)))
        world_put(w, (int)i, -1, packet, total);
    world_drain(w);
}

LK_TEST(without_transport_feedback_the_client_s_own_word_bounds_and_pauses_what_it_gets)
{
    world *w = &town;
    show s;
    if (show_layers(w, env, &s, by_send_time)) {
        static const uint64_t rates[] = {0, 190000, 20000, 5000000}; /* 0: it says nothing */
        unsigned on[LK_LEN(rates)][4] = {{0}}, rest[LK_LEN(rates)] = {0};
        lk_hub_stats t;
        CHECK(strstr(w->answer.p ? w->answer.p : "", "transport-wide-cc") == NULL);
        lk_down_allow_pause(s.down[0], true);
        for (size_t phase = 0; phase < LK_LEN(rates); phase++) {
            for (int i = 0; i < (lk_test_oom() ? 4 : 450); i++) { /* 15 s */
                lk_hub_get_stats(w->hub, &t);
                for (int k = 0; k < 3; k++)
                    world_show_layer(w, 0, "0", &s.layer[k], i == 0 || t.plis_sent != s.asked);
                s.asked = t.plis_sent;
                if (rates[phase] && i % 30 == 0)
                    world_remb(w, 1, rates[phase]);
                world_run(w, LK_MSEC(33));
                int flows = lk_down_quality(s.down[0]);
                on[phase][LK_CLAMP(flows, 0, 2)] += flows >= 0;
                rest[phase] += flows < 0;
            }
        }
        if (!lk_test_oom()) {
            CHECK(on[0][2] > 420 && rest[0] == 0);
            CHECK(on[1][0] + on[1][1] > 350 && rest[1] == 0);
            CHECK(rest[2] > 350); /* tried again now and then */
            CHECK(on[3][2] > 150);
            CHECK(w->down_states >= 3 && w->client[1].ts_back == 0 && w->client[1].gaps == 0);
        }
    }
    show_end(w, &s);
}

/* A subscriber that does not take redundancy. */
static void without_red(lk_wr *out, lk_str line, lk_str section)
{
    LK_UNUSED(section);
    if (!lk_str_starts(line, "a=rtpmap:63") && !lk_str_starts(line, "a=fmtp:63"))
        world_line(out, lk_str_starts(line, "m=audio") ? lk_str_of("m=audio 9 UDP/TLS/RTP/SAVPF 111\r") : line);
}

LK_TEST(redundancy_is_taken_off_for_who_does_not_take_it_and_muted_voices_rest)
{
    world *w = &town;
    lk_down *down = NULL;
    if (world_watch(w, env, LK_MEDIA_KIND_AUDIO, NULL, without_red, &down)) {
        world_client *c = &w->client[1];
        world_say(w, 0, 0, 0, 50);
        lk_up_set_muted(w->up[0], w->now, true);
        world_say(w, 0, 0, 50, 50);
        lk_up_set_muted(w->up[0], w->now, false);
        world_say(w, 0, 0, 100, 50);
        world_run(w, LK_MSEC(100));
        CHECK_STR(lk_up_mime(w->up[0]), "audio/red");
        CHECK(!c->red && c->pt == 111);
        CHECK_EQ(world_heard(c, 0, 50), 50);
        CHECK(world_heard(c, 51, 48) == 0); /* what was on its way when it changed does not count */
        CHECK(world_heard(c, 100, 50) >= 49);
        CHECK(c->gaps == 0 && c->ts_back == 0);
        lk_down_set(down, w->now, &(lk_down_settings){.disabled = true});
        CHECK_EQ(w->wanted, 2);
        world_drain(w);
        CHECK_EQ(w->wanted, -1);
        unsigned before = c->rtp;
        world_say(w, 0, 0, 200, 20);
        CHECK(c->rtp <= before + 1);
    }
    lk_down_free(down);
    world_close(w);
}
