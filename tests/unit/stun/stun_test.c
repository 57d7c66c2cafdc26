// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "stun/stun.h"

static const uint8_t tid[LK_STUN_TID_LEN] = "abcdefghijkl";
static const char key[] = "the password of 24 chars";

static size_t check_request(uint8_t *buf, size_t cap)
{
    lk_wr w = lk_wr_of(buf, cap);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    lk_stun_put(&w, LK_STUN_USERNAME, "them:us", 7);
    lk_stun_put_u32(&w, LK_STUN_PRIORITY, 0x6e0001ff);
    lk_stun_put_u64(&w, LK_STUN_ICE_CONTROLLING, 0x0102030405060708ull);
    lk_stun_put(&w, LK_STUN_USE_CANDIDATE, NULL, 0);
    lk_stun_put_integrity(&w, key, sizeof key - 1);
    lk_stun_put_fingerprint(&w);
    return w.bad ? 0 : w.len;
}

LK_TEST(a_check_reads_back_and_both_seals_hold)
{
    uint8_t buf[200];
    lk_stun_msg m;
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    size_t len = check_request(buf, sizeof buf);
    REQUIRE(len > 0 && lk_stun_parse(&m, buf, len) == LK_OK);
    CHECK(m.method == LK_STUN_BINDING && m.cls == LK_STUN_REQUEST && memcmp(m.tid, tid, sizeof tid) == 0);
    const lk_stun_attr *a = lk_stun_find(&m, LK_STUN_USERNAME);
    CHECK(a && a->len == 7 && memcmp(a->value, "them:us", 7) == 0);
    a = lk_stun_find(&m, LK_STUN_PRIORITY);
    CHECK(a && lk_stun_u32(a, &u32) && u32 == 0x6e0001ff && !lk_stun_u64(a, &u64));
    a = lk_stun_find(&m, LK_STUN_ICE_CONTROLLING);
    CHECK(a && lk_stun_u64(a, &u64) && u64 == 0x0102030405060708ull && !lk_stun_u32(a, &u32));
    a = lk_stun_find(&m, LK_STUN_USE_CANDIDATE);
    CHECK(a && a->len == 0);
    CHECK(lk_stun_find(&m, LK_STUN_SOFTWARE) == NULL);
    CHECK_EQ(lk_stun_check_integrity(&m, key, sizeof key - 1), LK_STUN_CHECK_OK);
    CHECK_EQ(lk_stun_check_integrity(&m, key, sizeof key - 2), LK_STUN_CHECK_FAIL);
    CHECK_EQ(lk_stun_check_integrity(&m, "", 0), LK_STUN_CHECK_FAIL);
    CHECK_EQ(lk_stun_check_integrity256(&m, key, sizeof key - 1), LK_STUN_CHECK_ABSENT);
    CHECK_EQ(lk_stun_check_fingerprint(&m), LK_STUN_CHECK_OK);
    CHECK_EQ(lk_stun_unknown_required(&m), 0);
}

LK_TEST(any_changed_bit_breaks_a_seal_or_the_message)
{
    uint8_t buf[200], copy[200];
    size_t len = check_request(buf, sizeof buf);
    REQUIRE(len > 0);
    for (size_t bit = 0; bit < len * 8; bit++) {
        lk_stun_msg m;
        memcpy(copy, buf, len);
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        CHECK(lk_stun_parse(&m, copy, len) != LK_OK || lk_stun_check_integrity(&m, key, sizeof key - 1) != LK_STUN_CHECK_OK ||
              lk_stun_check_fingerprint(&m) != LK_STUN_CHECK_OK);
    }
    for (size_t cut = 0; cut < len; cut++) {
        lk_stun_msg m;
        CHECK_EQ(lk_stun_parse(&m, buf, cut), LK_ERR_WIRE);
    }
}

LK_TEST(a_writer_without_room_is_bad_at_every_size)
{
    uint8_t buf[200];
    size_t len = check_request(buf, sizeof buf);
    for (size_t cap = 0; cap < len; cap++) {
        uint8_t small[200];
        memset(small, 0xee, sizeof small);
        CHECK_EQ(check_request(small, cap), 0);
        CHECK_EQ(small[cap], 0xee);
    }
}

LK_TEST(addresses_of_both_kinds_read_back_xored)
{
    lk_addr addrs[2] = {lk_addr_v4(192, 0, 2, 1, 32853), {.family = 6, .port = 1, .ip = {0x20, 1, 0xd, 0xb8, [15] = 9}}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t buf[100];
        lk_wr w = lk_wr_of(buf, sizeof buf);
        lk_stun_msg m;
        lk_addr got;
        lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_SUCCESS, tid);
        lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &addrs[i]);
        if (!CHECK(!w.bad) || !CHECK_OK(lk_stun_parse(&m, buf, w.len)))
            continue;
        const lk_stun_attr *a = lk_stun_find(&m, LK_STUN_XOR_MAPPED_ADDRESS);
        CHECK(a && lk_stun_addr(&m, a, true, &got) && lk_addr_eq(&got, &addrs[i]));
        CHECK(a && lk_stun_addr(&m, a, false, &got) && !lk_addr_eq(&got, &addrs[i]));
        lk_stun_attr wrong = *a;
        wrong.len--;
        CHECK(!lk_stun_addr(&m, &wrong, true, &got));
        CHECK_EQ(lk_stun_check_fingerprint(&m), LK_STUN_CHECK_ABSENT);
        CHECK_EQ(lk_stun_check_integrity(&m, key, sizeof key - 1), LK_STUN_CHECK_ABSENT);
    }
}

LK_TEST(error_codes_are_300_to_699_and_reasons_are_cut_to_fit)
{
    static const int codes[] = {300, 400, 401, 420, 487, 500, 699};
    for (size_t i = 0; i < LK_LEN(codes); i++) {
        uint8_t buf[100];
        lk_wr w = lk_wr_of(buf, sizeof buf);
        lk_stun_msg m;
        lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_ERROR, tid);
        lk_stun_put_error(&w, codes[i], "Role Conflict");
        if (CHECK(!w.bad) && CHECK_OK(lk_stun_parse(&m, buf, w.len)) && CHECK(lk_stun_find(&m, LK_STUN_ERROR_CODE) != NULL))
            CHECK_EQ(lk_stun_error_code(lk_stun_find(&m, LK_STUN_ERROR_CODE)), codes[i]);
    }
    static const uint8_t bad[][4] = {{0, 0, 2, 99}, {0, 0, 7, 0}, {0, 0, 4, 100}, {0, 0, 0, 0}};
    for (size_t i = 0; i < LK_LEN(bad); i++)
        CHECK_EQ(lk_stun_error_code(&(lk_stun_attr){LK_STUN_ERROR_CODE, 4, bad[i]}), 0);
    CHECK_EQ(lk_stun_error_code(&(lk_stun_attr){LK_STUN_ERROR_CODE, 3, bad[0]}), 0);
}

LK_TEST(unknown_attributes_matter_only_when_they_must_be_understood)
{
    static const struct {
        uint16_t type, want;
    } rows[] = {{0x0002, 0x0002}, {0x7fff, 0x7fff}, {0x8000, 0}, {0xffff, 0}, {LK_STUN_SOFTWARE, 0}, {LK_STUN_PRIORITY, 0}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        uint8_t buf[100];
        lk_wr w = lk_wr_of(buf, sizeof buf);
        lk_stun_msg m;
        lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
        lk_stun_put(&w, rows[i].type, "abc", 3);
        if (CHECK(!w.bad && w.len == 28) && CHECK_OK(lk_stun_parse(&m, buf, w.len)))
            CHECK_EQ(lk_stun_unknown_required(&m), rows[i].want);
    }
}

LK_TEST(more_attributes_than_are_kept_are_still_walked)
{
    uint8_t buf[LK_STUN_LEN_MAX];
    lk_wr w = lk_wr_of(buf, sizeof buf);
    lk_stun_msg m;
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, tid);
    for (int i = 0; i < 100; i++)
        lk_stun_put_u32(&w, LK_STUN_SOFTWARE, (uint32_t)i);
    lk_stun_put_integrity(&w, key, sizeof key - 1);
    lk_stun_put(&w, LK_STUN_USERNAME, "behind the seal", 15);
    REQUIRE(!w.bad && lk_stun_parse(&m, buf, w.len) == LK_OK);
    CHECK_EQ(m.attr_count, LK_STUN_ATTRS_MAX);
    CHECK_EQ(lk_stun_check_integrity(&m, key, sizeof key - 1), LK_STUN_CHECK_OK);
    CHECK(lk_stun_find(&m, LK_STUN_USERNAME) == NULL);
}
