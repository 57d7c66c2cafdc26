// SPDX-License-Identifier: Apache-2.0
#include "hub_world.h"

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
