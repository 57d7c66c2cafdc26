// SPDX-License-Identifier: Apache-2.0
#include "pc_pair.h"

static pair world;

LK_TEST(one_offer_at_a_time_and_a_rollback_makes_room)
{
    pair *p = &world;
    uint32_t up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "up", &up)) {
        lk_pc *pc = p->side[0].pc;
        CHECK_EQ(lk_pc_set_answer(pc, p->now, "v=0", 3, &p->why), LK_ERR_STATE);
        CHECK_OK(lk_pc_create_offer(pc, p->now, &p->offer));
        CHECK_EQ(lk_pc_create_offer(pc, p->now, &p->answer), LK_ERR_STATE);
        CHECK_EQ(p->answer.len, 0);
        lk_pc_rollback(pc);
        lk_pc_rollback(pc);
        CHECK_EQ(lk_pc_set_answer(pc, p->now, "v=0", 3, &p->why), LK_ERR_STATE);
        CHECK(pair_connect(p));
    }
    pair_close(p);
}

/* Replaces the first `from` of the answer. */
static bool change(const lk_text *answer, const char *from, const char *to, lk_text *out)
{
    const char *at = strstr(answer->p, from);
    if (!CHECK(at != NULL))
        return false;
    lk_text_put(out, answer->p, (size_t)(at - answer->p));
    lk_text_z(out, to);
    lk_text_z(out, at + strlen(from));
    return !out->bad;
}

LK_TEST(a_bad_answer_changes_nothing_and_the_right_one_still_fits)
{
    static char long_track[200], long_pwd[400];
    memset(long_track, 't', sizeof long_track - 1);
    memset(long_pwd, 'p', sizeof long_pwd - 1);
    memcpy(long_track, "a=msid:s ", 9);
    memcpy(long_pwd, "a=ice-pwd:", 10);
    const struct {
        const char *from, *to;
        lk_err code;
    } rows[] = {
        {"v=0", "v=1", LK_ERR_WIRE},
        {"a=mid:0", "a=mid:1", LK_ERR_PROTOCOL},
        {"a=mid:0", "a=mid:x", LK_ERR_PROTOCOL},
        {"a=fingerprint:sha-256", "a=fingerprint:md5", LK_ERR_PROTOCOL},
        {"a=fingerprint:sha-256", "a=nothing:sha-256", LK_ERR_PROTOCOL},
        {"a=ice-pwd:", "a=ice-pwd:short\r\na=x:", LK_ERR_PROTOCOL},
        {"a=ice-ufrag:", "a=x:", LK_ERR_PROTOCOL},
        {"a=ice-pwd:", long_pwd, LK_ERR_PROTOCOL},
        {"a=msid:stream down", long_track, LK_ERR_LIMIT},
        {"a=setup:active", "a=setup:sometimes", LK_ERR_PROTOCOL},
        {"opus/48000/2", "opus/0/2", LK_ERR_PROTOCOL},
    };
    for (size_t i = 0; i < (lk_test_oom() ? 1 : LK_LEN(rows)); i++) {
        pair *p = &world;
        uint32_t up = 0, down = 0, b = 0;
        if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "up", &up) && pair_add(p, 0, LK_PC_RECVONLY, "", &down) &&
            pair_add(p, 1, LK_PC_RECVONLY, "", &b) && pair_add(p, 1, LK_PC_SENDONLY, "down", &b) &&
            pair_offer(p)) {
            lk_text bad;
            lk_text_init(&bad, env, 1 << 20);
            if (change(&p->answer, rows[i].from, rows[i].to, &bad)) {
                const char *why = "";
                lk_err err = lk_pc_set_answer(p->side[0].pc, p->now, bad.p, bad.len, &why);
                if (!CHECK(err != LK_OK) || (rows[i].code != LK_ERR_PROTOCOL && !CHECK_EQ(err, rows[i].code)))
                    CHECK_STR(rows[i].from, rows[i].to);
                CHECK(why[0] != 0);
                pair_drain(p);
                CHECK(p->side[0].tracks_on == 0 && lk_pc_state_of(p->side[0].pc) == LK_PC_STATE_NEW);
                if (!CHECK_OK(lk_pc_set_answer(p->side[0].pc, p->now, p->answer.p, p->answer.len, &why)))
                    CHECK_STR(rows[i].from, rows[i].to);
                pair_drain(p);
                CHECK_EQ(p->side[0].tracks_on, 1);
            }
            lk_text_deinit(&bad);
        }
        pair_close(p);
    }
}

LK_TEST(an_answer_of_another_peer_in_mid_call_is_refused)
{
    pair *p = &world;
    uint32_t up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "up", &up) && pair_connect(p)) {
        lk_text bad;
        lk_text_init(&bad, env, 1 << 20);
        lk_text_clear(&p->offer);
        CHECK_OK(lk_pc_create_offer(p->side[0].pc, p->now, &p->offer));
        if (change(&p->answer, "a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00", &bad))
            CHECK(lk_pc_set_answer(p->side[0].pc, p->now, bad.p, bad.len, NULL) != LK_OK);
        CHECK_OK(lk_pc_set_answer(p->side[0].pc, p->now, p->answer.p, p->answer.len, NULL));
        pair_say(p, 0, up, 0, 5);
        pair_run(p, LK_MSEC(100));
        CHECK_EQ(pair_heard(&p->side[1], 0, 5), 5);
        lk_text_deinit(&bad);
    }
    pair_close(p);
}

LK_TEST(a_rejected_or_foreign_section_is_quiet_and_the_others_live)
{
    static const struct {
        const char *from, *to;
    } rows[] = {{"m=audio 9", "m=audio 0"}, {"opus/48000/2", "speex/8000"}, {"a=recvonly", "a=inactive"}};
    for (size_t i = 0; i < (lk_test_oom() ? 1 : LK_LEN(rows)); i++) {
        pair *p = &world;
        uint32_t up = 0, two = 0;
        if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_add(p, 0, LK_PC_SENDONLY, "two", &two) &&
            pair_offer(p)) {
            lk_text changed;
            lk_text_init(&changed, env, 1 << 20);
            if (change(&p->answer, rows[i].from, rows[i].to, &changed) &&
                CHECK_OK(lk_pc_set_answer(p->side[0].pc, p->now, changed.p, changed.len, &p->why))) {
                for (int k = 0; k < 2; k++)
                    CHECK_OK(lk_pc_add_local_address(p->side[k].pc, p->now, &p->side[k].address));
                pair_drain(p);
                pair_run(p, LK_SEC(2));
                CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, up, &(lk_pc_media){.payload = (const uint8_t *)"x", .len = 1}), LK_ERR_STATE);
                pair_say(p, 0, two, 0, 5);
                pair_run(p, LK_MSEC(100));
                CHECK_EQ(pair_heard(&p->side[1], 0, 5), 5);
            }
            lk_text_deinit(&changed);
        }
        pair_close(p);
    }
}

LK_TEST(sections_are_bounded_and_ids_have_their_length)
{
    pair *p = &world;
    if (pair_open(p, env)) {
        static char id[LK_PC_ID_MAX + 1];
        lk_pc_section s = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = id};
        uint32_t index = 7;
        const uint32_t most = lk_test_oom() ? 4 : LK_PC_SECTIONS_MAX; /* refusals are the same for the first few */
        memset(id, 'i', LK_PC_ID_MAX);
        CHECK_EQ(lk_pc_add_section(p->side[0].pc, &s, &index), LK_ERR_INVALID);
        id[LK_PC_ID_MAX - 1] = 0;
        lk_err err = LK_OK;
        for (uint32_t i = 0; i < most && err == LK_OK; i++) {
            err = lk_pc_add_section(p->side[0].pc, &s, &index);
            CHECK(err != LK_OK || index == i);
        }
        if (CHECK_OK(err)) {
            CHECK_EQ(lk_pc_section_count(p->side[0].pc), most);
            if (most == LK_PC_SECTIONS_MAX) {
                CHECK_EQ(lk_pc_add_section(p->side[0].pc, &s, &index), LK_ERR_LIMIT);
                CHECK_STR(lk_pc_mid(p->side[0].pc, 1023), "1023");
            }
            CHECK_STR(lk_pc_mid(p->side[0].pc, most), "");
            pair_negotiate(p);
        }
    }
    pair_close(p);
}

LK_TEST(names_of_an_offer_never_meet_ours)
{
    pair *p = &world;
    uint32_t index = 0;
    if (pair_open(p, env) && pair_add(p, 1, LK_PC_SENDONLY, "a", &index) && pair_add(p, 1, LK_PC_SENDONLY, "b", &index) &&
        pair_add(p, 0, LK_PC_RECVONLY, "", &index) && CHECK_OK(lk_pc_create_offer(p->side[0].pc, p->now, &p->offer))) {
        lk_text offer;
        lk_text_init(&offer, env, 1 << 20);
        if (change(&p->offer, "a=mid:0", "a=mid:1", &offer)) {
            char *group = strstr(offer.p, "BUNDLE 0");
            if (CHECK(group != NULL))
                group[7] = '1';
            CHECK_OK(lk_pc_accept_offer(p->side[1].pc, p->now, offer.p, offer.len, &p->answer, &p->why));
            CHECK_STR(lk_pc_mid(p->side[1].pc, 0), "1");
            CHECK(strcmp(lk_pc_mid(p->side[1].pc, 1), "1") != 0);
            CHECK_EQ(lk_pc_accept_offer(p->side[1].pc, p->now, p->offer.p, p->offer.len, &p->answer, &p->why), LK_ERR_PROTOCOL);
            CHECK_STR(lk_pc_mid(p->side[1].pc, 0), "1");
        }
        lk_text_deinit(&offer);
    }
    pair_close(p);
}
