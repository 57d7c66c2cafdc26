// SPDX-License-Identifier: Apache-2.0
#include "pc_pair.h"

static pair world;

LK_TEST(two_connections_find_each_other_and_carry_media_both_ways)
{
    pair *p = &world;
    uint32_t up = 0, down = 0, b_up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "up", &up) && pair_add(p, 0, LK_PC_RECVONLY, "", &down) &&
        pair_add(p, 1, LK_PC_RECVONLY, "", &b_up) && pair_add(p, 1, LK_PC_SENDONLY, "down", &b_up) && pair_connect(p)) {
        CHECK(up == 0 && down == 1);
        for (int i = 0; i < 2; i++) {
            pair_side *s = &p->side[i];
            CHECK(s->state_count == 2 && s->states[0] == LK_PC_STATE_CONNECTING && s->states[1] == LK_PC_STATE_CONNECTED);
            CHECK_EQ(s->candidates, 1);
            CHECK(s->tracks_on == 1 && s->tracks_off == 0);
        }
        CHECK_STR(p->side[1].track, "up");
        CHECK_STR(p->side[0].track, "down");
        CHECK_STR(p->side[0].stream, "stream");
        CHECK(p->side[1].track_index == 0 && p->side[0].track_index == 1);
        CHECK_EQ(lk_pc_free_receivers(p->side[0].pc, LK_MEDIA_KIND_AUDIO), 0);
        pair_say(p, 0, up, 0, 100);
        pair_say(p, 1, 1, 100, 100);
        pair_run(p, LK_MSEC(200));
        CHECK_EQ(pair_heard(&p->side[1], 0, 100), 100);
        CHECK_EQ(pair_heard(&p->side[0], 100, 100), 100);
        CHECK(p->side[1].rtp_index == 0 && p->side[0].rtp_index == 1);
        const lk_pc_media m = {.payload = (const uint8_t *)"x", .len = 1};
        CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, down, &m), LK_ERR_STATE); /* only receives */
        CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, 77, &m), LK_ERR_STATE);
        CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, up, &(lk_pc_media){.payload = m.payload, .len = 0}), LK_ERR_LIMIT);
        static uint8_t big[1201];
        CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, up, &(lk_pc_media){.payload = big, .len = sizeof big}), LK_ERR_LIMIT);
    }
    pair_close(p);
}

LK_TEST(lost_packets_are_asked_for_and_come_again)
{
    pair *p = &world;
    uint32_t up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "up", &up) && pair_connect(p)) {
        pair_say(p, 0, up, 0, 50);
        p->lose_every = 10;
        pair_say(p, 0, up, 50, 300);
        p->lose_every = 0;
        pair_say(p, 0, up, 350, 20);
        pair_run(p, LK_SEC(3));
        CHECK_EQ(pair_heard(&p->side[1], 0, 370), 370);
        CHECK(p->side[1].rtp < 500);
    }
    pair_close(p);
}

LK_TEST(a_section_that_stopped_is_used_again_by_a_new_source)
{
    pair *p = &world;
    uint32_t up = 0, again = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "first", &up) && pair_connect(p)) {
        pair_say(p, 0, up, 0, 10);
        uint32_t first_ssrc = p->side[1].rtp_ssrc;
        CHECK_OK(lk_pc_set_direction(p->side[0].pc, up, LK_PC_INACTIVE));
        CHECK_EQ(lk_pc_set_direction(p->side[0].pc, 5, LK_PC_INACTIVE), LK_ERR_NOT_FOUND);
        if (pair_negotiate(p)) {
            CHECK_EQ(p->side[1].tracks_off, 1);
            const lk_pc_media m = {.payload = (const uint8_t *)"x", .len = 1};
            CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, up, &m), LK_ERR_STATE);
            if (pair_add(p, 0, LK_PC_SENDONLY, "second", &again) && pair_negotiate(p)) {
                CHECK_EQ(again, up);
                CHECK_EQ(lk_pc_section_count(p->side[0].pc), 1);
                CHECK_EQ(p->side[1].tracks_on, 2);
                CHECK_STR(p->side[1].track, "second");
                pair_say(p, 0, again, 10, 20);
                pair_run(p, LK_MSEC(100));
                CHECK_EQ(pair_heard(&p->side[1], 0, 30), 30);
                CHECK(p->side[1].rtp_ssrc != first_ssrc);
            }
        }
    }
    pair_close(p);
}

LK_TEST(a_section_added_in_mid_call_interrupts_nothing)
{
    pair *p = &world;
    uint32_t up = 0, more = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_connect(p)) {
        pair_say(p, 0, up, 0, 10);
        if (pair_add(p, 0, LK_PC_SENDONLY, "two", &more)) {
            CHECK_EQ(more, 1);
            pair_say(p, 0, up, 10, 10); /* until it is offered and answered it sends nothing itself */
            CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, more, &(lk_pc_media){.payload = (const uint8_t *)"x", .len = 1}), LK_ERR_STATE);
            if (pair_negotiate(p)) {
                pair_say(p, 0, more, 20, 10);
                CHECK_EQ(p->side[1].rtp_index, 1);
                pair_say(p, 0, up, 30, 10);
                CHECK_EQ(p->side[1].rtp_index, 0);
                CHECK_EQ(pair_heard(&p->side[1], 0, 40), 40);
                CHECK_EQ(p->side[0].state_count, 2);
            }
        }
    }
    pair_close(p);
}

LK_TEST(new_credentials_in_mid_call_lose_no_media)
{
    pair *p = &world;
    uint32_t up = 0;
    char before[64];
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_connect(p)) {
        (void)lk_str_copy(before, sizeof before, lk_str_of(lk_pc_local_ufrag(p->side[0].pc)));
        lk_pc_restart_ice(p->side[0].pc, p->now);
        lk_pc_restart_ice(p->side[1].pc, p->now);
        CHECK(strcmp(before, lk_pc_local_ufrag(p->side[0].pc)) != 0);
        pair_say(p, 0, up, 0, 5); /* the old pair carries on */
        if (pair_negotiate(p)) {
            for (int i = 0; i < 2; i++) { /* trickled again: what was told belonged to the old credentials */
                char text[LK_ADDR_TEXT_MAX], line[160];
                lk_text t;
                lk_text_init(&t, env, sizeof line);
                lk_text_z(&t, "candidate:1 1 udp 2130706431 ");
                lk_text_z(&t, lk_addr_ip_text(&p->side[i].address, text));
                lk_text_z(&t, " ");
                lk_text_u64(&t, p->side[i].address.port);
                lk_text_z(&t, " typ host");
                if (!t.bad)
                    CHECK_OK(lk_pc_add_remote_candidate(p->side[1 - i].pc, p->now, t.p, t.len));
                lk_text_deinit(&t);
            }
            pair_say(p, 0, up, 5, 100);
            CHECK_EQ(pair_heard(&p->side[1], 0, 105), 105);
            CHECK_EQ(lk_pc_state_of(p->side[0].pc), LK_PC_STATE_CONNECTED);
        }
    }
    pair_close(p);
}

LK_TEST(a_silent_path_is_told_and_comes_back_or_fails)
{
    for (int back = 0; back < (lk_test_oom() ? 1 : 2); back++) {
        pair *p = &world;
        uint32_t up = 0;
        if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_connect(p)) {
            p->cut = true;
            pair_run(p, LK_SEC(18));
            CHECK_EQ(lk_pc_state_of(p->side[0].pc), LK_PC_STATE_DISCONNECTED);
            if (back)
                p->cut = false;
            pair_run(p, LK_SEC(25));
            CHECK_EQ(lk_pc_state_of(p->side[0].pc), back ? LK_PC_STATE_CONNECTED : LK_PC_STATE_FAILED);
            CHECK_EQ(p->side[0].state_count, 4);
            if (!back)
                CHECK(p->side[0].err == LK_ERR_TIMEOUT && lk_pc_deadline(p->side[0].pc) == LK_NEVER);
        }
        pair_close(p);
    }
}

LK_TEST(a_close_is_told_to_the_peer_and_nothing_follows)
{
    pair *p = &world;
    uint32_t up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_connect(p)) {
        pair_say(p, 0, up, 0, 5);
        lk_pc_close(p->side[0].pc, p->now);
        lk_pc_close(p->side[0].pc, p->now);
        pair_drain(p);
        pair_run(p, LK_SEC(1));
        CHECK_EQ(lk_pc_state_of(p->side[1].pc), LK_PC_STATE_CLOSED);
        CHECK(p->side[0].state_count == 3 && p->side[0].states[2] == LK_PC_STATE_CLOSED);
        CHECK(p->side[1].state_count == 3 && p->side[1].states[2] == LK_PC_STATE_CLOSED);
        CHECK_EQ(lk_pc_deadline(p->side[0].pc), LK_NEVER);
        CHECK_EQ(lk_pc_send(p->side[0].pc, p->now, up, &(lk_pc_media){.payload = (const uint8_t *)"x", .len = 1}), LK_ERR_STATE);
        lk_text_clear(&p->offer);
        CHECK_EQ(lk_pc_create_offer(p->side[0].pc, p->now, &p->offer), LK_ERR_STATE);
        CHECK_EQ(lk_pc_set_answer(p->side[0].pc, p->now, p->answer.p, p->answer.len, NULL), LK_ERR_STATE);
        CHECK_EQ(lk_pc_accept_offer(p->side[0].pc, p->now, "v=0", 3, &p->offer, NULL), LK_ERR_STATE);
        lk_datagram d;
        CHECK(!lk_pc_poll_tx(p->side[0].pc, p->now, &d));
    }
    pair_close(p);
}

LK_TEST(datagrams_from_elsewhere_and_nonsense_are_dropped)
{
    pair *p = &world;
    uint32_t up = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_connect(p)) {
        lk_prng dice;
        uint8_t junk[2100];
        lk_prng_init(&dice, 5);
        for (int i = 0; i < 2000; i++) {
            (void)lk_prng_fill(&dice, junk, sizeof junk);
            size_t len = i % 100 == 0 ? sizeof junk : (size_t)(i % 1500);
            static const uint8_t firsts[] = {0, 20, 22, 23, 128, 144, 255};
            if (len)
                junk[0] = firsts[i % 7];
            lk_datagram d = {.local = p->side[1].address, .remote = i & 1 ? p->side[0].address : lk_addr_v4(6, 6, 6, 6, 6), .data = junk, .len = len};
            lk_pc_input(p->side[1].pc, p->now, &d);
            pair_drain(p);
        }
        CHECK_EQ(p->side[1].rtp, 0);
        CHECK_EQ(p->side[1].state_count, 2);
        pair_say(p, 0, up, 0, 20);
        pair_run(p, LK_MSEC(100));
        CHECK_EQ(pair_heard(&p->side[1], 0, 20), 20);
    }
    pair_close(p);
}

/* ---- statistics ---------------------------------------------------------------------------------------- */

static lk_stats entries[LK_PC_STATS_MAX];
static size_t entry_count;

static bool known(const char *id)
{
    for (size_t i = 0; i < entry_count; i++)
        if (strcmp(entries[i].rtc.id, id) == 0)
            return true;
    return false;
}

static void refer(const char *field, const char *id)
{
    size_t n = strlen(field);
    /* These name entries that only the media layer adds. */
    bool elsewhere = strcmp(field, "playout_id") == 0 || strcmp(field, "issuer_certificate_id") == 0;
    if (n > 3 && strcmp(field + n - 3, "_id") == 0 && id[0] && !elsewhere && !CHECK(known(id)))
        CHECK_STR(field, id);
}

#define REFER_TEXT(e, name) refer(#name, (e)->name);
#define REFER_U32(e, name)
#define REFER_U64(e, name)
#define REFER_I32(e, name)
#define REFER_I64(e, name)
#define REFER_F64(e, name)
#define REFER_BOOL(e, name)
#define REFER_BLOB(e, name)
#define REFER_ENUM(e, name)
#define REFER_LIMITS(e, name)
#define FIELD(type, name, unit) REFER_##type(group, name)
#define WALK(group_)                                                                                   \
    static void walk_##group_(const lk_stats_##group_ *group) { (void)group; LK_STATS_GROUP_##group_(FIELD) }
LK_STATS_GROUPS(WALK)
#define MEMBER(group_, name) walk_##group_(&e->name);
#define KIND(name)                                                \
    static void kind_##name(const lk_stats_##name##_entry *e) { (void)e; LK_STATS_KIND_##name(MEMBER) }
LK_STATS_KINDS(KIND)

static void check_closure(void)
{
    for (size_t i = 0; i < entry_count; i++) {
        CHECK(entries[i].rtc.id[0] != 0 && entries[i].rtc.timestamp >= 1700000000000000);
        if (i)
            CHECK(strcmp(entries[i - 1].rtc.id, entries[i].rtc.id) < 0);
        switch (entries[i].kind) {
#define CASE(name) \
    case LK_STATS_##name: kind_##name(&entries[i].name); break;
            LK_STATS_KINDS(CASE)
        default: CHECK(!"an entry without a kind");
        }
    }
}

static size_t count_kind(lk_stats_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < entry_count; i++)
        n += entries[i].kind == kind;
    return n;
}

LK_TEST(statistics_are_sorted_and_every_id_they_name_is_among_them)
{
    pair *p = &world;
    uint32_t up = 0, two = 0;
    if (pair_open(p, env) && pair_add(p, 0, LK_PC_SENDONLY, "one", &up) && pair_add(p, 0, LK_PC_SENDONLY, "two", &two) && pair_connect(p)) {
        pair_say(p, 0, up, 0, 150);
        pair_say(p, 0, two, 150, 150);
        for (int i = 0; i < 2; i++) {
            entry_count = lk_pc_stats_all(p->side[i].pc, p->now, entries, LK_LEN(entries));
            CHECK(entry_count > 8 && entry_count < LK_LEN(entries));
            check_closure();
            CHECK_EQ(count_kind(LK_STATS_transport), 1);
            CHECK_EQ(count_kind(LK_STATS_certificate), 2);
            CHECK_EQ(count_kind(i ? LK_STATS_inbound_rtp : LK_STATS_outbound_rtp), 2);
            size_t all = entry_count;
            entry_count = lk_pc_stats_section(p->side[i].pc, p->now, up, entries, LK_LEN(entries));
            CHECK(entry_count < all);
            check_closure();
            CHECK_EQ(count_kind(i ? LK_STATS_inbound_rtp : LK_STATS_outbound_rtp), 1);
            for (size_t k = 0; k < entry_count; k++) {
                if (entries[k].kind == LK_STATS_outbound_rtp)
                    CHECK(entries[k].outbound_rtp.sent.packets_sent == 150 && entries[k].outbound_rtp.sent.bytes_sent == 150 * 40);
                if (entries[k].kind == LK_STATS_inbound_rtp)
                    CHECK(entries[k].inbound_rtp.received.packets_received == 150 && entries[k].inbound_rtp.received.packets_lost == 0);
            }
        }
        for (size_t cap = 0; cap < 6; cap++) /* room for some only: no more than that */
            CHECK_EQ(lk_pc_stats_all(p->side[0].pc, p->now, entries, cap), cap);
        CHECK_EQ(lk_pc_stats_section(p->side[0].pc, p->now, 99, entries, LK_LEN(entries)), 0);
        lk_pc_close(p->side[0].pc, p->now);
        entry_count = lk_pc_stats_all(p->side[0].pc, p->now, entries, LK_LEN(entries));
        check_closure();
    }
    pair_close(p);
}
