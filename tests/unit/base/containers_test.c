// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"

LK_TEST(a_queue_keeps_order_over_growth_and_refuses_past_its_bound)
{
    lk_queue q;
    lk_queue_init(&q, env, sizeof(int), 10);
    for (int i = 0; i < 3; i++)
        CHECK_OK(lk_queue_push(&q, &i));
    CHECK(lk_queue_pop(&q, NULL));
    for (int i = 3; i < 11; i++)
        CHECK_OK(lk_queue_push(&q, &i));
    int extra = 99;
    CHECK_EQ(lk_queue_push(&q, &extra), LK_ERR_FULL);
    for (int want = 1; want < 11; want++) {
        int got = -1;
        CHECK(lk_queue_pop(&q, &got));
        CHECK_EQ(got, want);
    }
    CHECK(!lk_queue_pop(&q, NULL));
    lk_queue_deinit(&q);
}

LK_TEST(a_map_finds_every_key_after_any_removals)
{
    lk_map m;
    static int values[500];
    lk_map_init(&m, env, 1000);
    for (uint64_t i = 0; i < 500; i++)
        CHECK_OK(lk_map_put(&m, i * 7919, &values[i]));
    for (uint64_t i = 0; i < 500; i += 3)
        CHECK(lk_map_take(&m, i * 7919) == &values[i]);
    for (uint64_t i = 0; i < 500; i++)
        CHECK(lk_map_get(&m, i * 7919) == (i % 3 == 0 ? NULL : &values[i]));
    lk_map_deinit(&m);
}

LK_TEST(addresses_print_and_parse_as_rfc5952_writes_them)
{
    static const char *same[] = {"127.0.0.1", "::1", "::", "2001:db8::1:0:0:1", "fe80::1",
                                 "1:2:3:4:5:6:7:8", "2001:db8:0:1:1:1:1:1"};
    for (size_t i = 0; i < LK_LEN(same); i++) {
        lk_addr a;
        char out[LK_ADDR_TEXT_MAX];
        CHECK(lk_addr_parse_ip(&a, lk_str_of(same[i])));
        CHECK_STR(lk_addr_ip_text(&a, out), same[i]);
    }
    static const char *bad[] = {"", "1.2.3", "1.2.3.4.5", "256.1.1.1", ":::", "1::2::3", "12345::", "g::", "1:2", "1:"};
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        lk_addr a;
        CHECK(!lk_addr_parse_ip(&a, lk_str_of(bad[i])));
    }
}

LK_TEST(an_arena_refuses_past_its_budget)
{
    lk_arena a;
    lk_arena_init(&a, env, 10000);
    CHECK(lk_arena_alloc(&a, 6000));
    CHECK(!lk_arena_alloc(&a, 6000));
    lk_arena_reset(&a);
    CHECK(lk_arena_alloc(&a, 6000));
    lk_arena_deinit(&a);
}
