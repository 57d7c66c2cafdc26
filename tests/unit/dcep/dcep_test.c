// SPDX-License-Identifier: Apache-2.0
#include "dcep/dcep.h"
#include "lk_test.h"

LK_TEST(an_open_says_everything_about_its_channel)
{
    static const lk_dcep cases[] = {
        {.type = LK_DCEP_OPEN, .label = {"_reliable", 9}, .protocol = {"", 0}},
        {.type = LK_DCEP_OPEN, .label = {"_lossy", 6}, .protocol = {"p", 1}, .unordered = true, .limit_retransmits = true},
        {.type = LK_DCEP_OPEN, .limit_lifetime = true, .reliability = 1500, .priority = 256, .label = {"x", 1}},
        {.type = LK_DCEP_ACK},
    };
    for (size_t i = 0; i < LK_LEN(cases); i++) {
        uint8_t bytes[64];
        size_t len = 0;
        lk_dcep back;
        CHECK_OK(lk_dcep_write(&cases[i], bytes, sizeof bytes, &len));
        CHECK_OK(lk_dcep_parse(&back, bytes, len));
        CHECK(back.type == cases[i].type && back.unordered == cases[i].unordered);
        CHECK(back.limit_retransmits == cases[i].limit_retransmits && back.limit_lifetime == cases[i].limit_lifetime);
        CHECK(back.reliability == cases[i].reliability && back.priority == cases[i].priority);
        CHECK_MEM(back.label.p, back.label.len, cases[i].label.p, cases[i].label.len);
        CHECK_MEM(back.protocol.p, back.protocol.len, cases[i].protocol.p, cases[i].protocol.len);
        for (size_t cut = 0; cut < len; cut++) {
            size_t other;
            CHECK_EQ(lk_dcep_parse(&back, bytes, cut), LK_ERR_WIRE);
            CHECK_EQ(lk_dcep_write(&cases[i], bytes, cut, &other), LK_ERR_FULL);
        }
    }
}

LK_TEST(a_label_has_the_length_the_format_has)
{
    static char label[65536];
    static uint8_t bytes[70000];
    size_t len;
    lk_dcep m = {.type = LK_DCEP_OPEN, .label = {label, sizeof label}};
    CHECK_EQ(lk_dcep_write(&m, bytes, sizeof bytes, &len), LK_ERR_LIMIT);
    m.label.len--;
    CHECK_OK(lk_dcep_write(&m, bytes, sizeof bytes, &len));
    CHECK_EQ(len, 12 + 65535);
}

LK_TEST(unknown_types_are_refused)
{
    uint8_t open[] = {3, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    lk_dcep m;
    CHECK_EQ(lk_dcep_parse(&m, open, sizeof open), LK_ERR_WIRE);
    open[1] = 0x82;
    CHECK_OK(lk_dcep_parse(&m, open, sizeof open));
    open[0] = 4;
    CHECK_EQ(lk_dcep_parse(&m, open, sizeof open), LK_ERR_WIRE);
    CHECK_EQ(lk_dcep_parse(&m, NULL, 0), LK_ERR_WIRE);
}
