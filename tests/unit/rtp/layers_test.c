// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "rtp/dependency.h"
#include "rtp/vp9_descriptor.h"

/* Two spatial layers of one temporal layer, written by hand: templates S0 alone, S0 after one frame, S1 upon S0; targets S0 and
 * S1, a chain for each. */
static size_t write_two_layers(uint8_t out[32])
{
    /* field, bits */
    static const uint16_t fields[][2] = {
        {1, 1}, {0, 1}, {0, 6}, {16, 16},                   /* first, not last, template 0, frame 16 */
        {1, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1},             /* a structure and nothing else */
        {0, 6}, {1, 5},                                     /* offset 0, two targets */
        {0, 2}, {2, 2}, {3, 2},                             /* S0, S0, S1 */
        {2, 2}, {2, 2}, {2, 2}, {2, 2}, {0, 2}, {2, 2},     /* SS SS -S */
        {0, 1}, {1, 1}, {1, 4}, {0, 1}, {1, 1}, {0, 4}, {0, 1}, /* none; 2 back; 1 back */
        {3, 2}, {0, 1}, {1, 1},                             /* two chains; target 0 by 0, 1 by 1 */
        {0, 4}, {0, 4}, {2, 4}, {1, 4}, {1, 4}, {1, 4},
        {1, 1}, {159, 16}, {89, 16}, {319, 16}, {179, 16},  /* 160x90, 320x180 */
    };
    size_t at = 0;
    memset(out, 0, 32);
    for (size_t i = 0; i < LK_LEN(fields); i++)
        for (unsigned b = fields[i][1]; b > 0; b--, at++)
            out[at / 8] = (uint8_t)(out[at / 8] | (fields[i][0] >> (b - 1) & 1) << (7 - at % 8));
    return (at + 7) / 8;
}

LK_TEST(a_structure_names_the_layers_of_its_targets_and_the_frames_behind_it)
{
    LK_UNUSED(env);
    uint8_t bytes[32];
    lk_rtp_dd_structure s;
    lk_rtp_dd d;
    if (!CHECK_OK(lk_rtp_dd_parse(&d, &s, NULL, (lk_bytes){bytes, write_two_layers(bytes)})))
        return;
    CHECK(d.first && !d.last && d.number == 16 && d.attached && d.has_active && d.active == 3 && d.has_frame);
    CHECK(d.frame.sid == 0 && d.frame.reference_count == 0);
    CHECK(s.template_count == 3 && s.target_count == 2 && s.chain_count == 2 && s.spatial_count == 2);
    CHECK(s.protected_by[0] == 0 && s.protected_by[1] == 1);
    CHECK(s.target_sid[0] == 0 && s.target_sid[1] == 1 && s.target_tid[1] == 0);
    CHECK(s.has_sizes && s.width[1] == 320 && s.height[0] == 90);
    CHECK_EQ(lk_rtp_dd_targets_within(&s, 0, 7), 1);
    CHECK_EQ(lk_rtp_dd_targets_within(&s, 1, 0), 3);
    static const uint8_t upper[] = {0xc2, 0x00, 0x11};
    if (CHECK_OK(lk_rtp_dd_parse(&d, &s, &s, (lk_bytes){upper, sizeof upper}))) {
        CHECK(d.first && d.last && d.number == 17 && d.frame.sid == 1 && d.frame.reference_count == 1 && d.frame.references[0] == 1);
        CHECK(lk_rtp_dti_of(d.frame.dtis, 0) == LK_RTP_DTI_NOT_PRESENT && lk_rtp_dti_of(d.frame.dtis, 1) == LK_RTP_DTI_SWITCH);
    }
}

LK_TEST(a_structure_cut_anywhere_is_refused_and_the_one_in_force_stays)
{
    LK_UNUSED(env);
    uint8_t bytes[32];
    size_t len = write_two_layers(bytes);
    lk_rtp_dd_structure s, kept;
    lk_rtp_dd d;
    if (!CHECK_OK(lk_rtp_dd_parse(&d, &s, NULL, (lk_bytes){bytes, len})))
        return;
    kept = s;
    for (size_t cut = 4; cut < len; cut++)
        CHECK_EQ(lk_rtp_dd_parse(&d, &s, &s, (lk_bytes){bytes, cut}), LK_ERR_WIRE);
    CHECK_MEM(&s, sizeof s, &kept, sizeof kept);
    static const uint8_t unknown[] = {0x85, 0x00, 0x12};
    CHECK_EQ(lk_rtp_dd_parse(&d, &s, &s, (lk_bytes){unknown, sizeof unknown}), LK_ERR_WIRE); /* no such template */
    CHECK_OK(lk_rtp_dd_parse(&d, &s, NULL, (lk_bytes){unknown, sizeof unknown}));
    CHECK(!d.has_frame && d.number == 18);
}

LK_TEST(active_targets_are_written_into_short_and_long_values)
{
    LK_UNUSED(env);
    uint8_t bytes[32], out[LK_RTP_DD_BYTES_MAX];
    lk_rtp_dd_structure s;
    lk_rtp_dd d, again;
    size_t len = write_two_layers(bytes);
    if (!CHECK_OK(lk_rtp_dd_parse(&d, &s, NULL, (lk_bytes){bytes, len})))
        return;
    static const uint8_t brief[] = {0xc1, 0x00, 0x12};
    const lk_bytes values[] = {{bytes, len}, {brief, sizeof brief}};
    for (size_t i = 0; i < LK_LEN(values); i++) {
        lk_wr w = lk_wr_of(out, sizeof out), none = lk_wr_of(out, 2);
        lk_rtp_dd_structure fresh = s;
        CHECK_OK(lk_rtp_dd_parse(&d, &fresh, &s, values[i]));
        CHECK_EQ(lk_rtp_dd_write_active(&none, values[i], &d, &s, 1), LK_ERR_FULL);
        CHECK_OK(lk_rtp_dd_write_active(&w, values[i], &d, &s, 1));
        CHECK(w.len == values[i].len + 1 || w.len == values[i].len);
        if (CHECK_OK(lk_rtp_dd_parse(&again, &fresh, &s, (lk_bytes){out, w.len})))
            CHECK(again.has_active && again.active == 1 && again.attached == d.attached && again.number == d.number);
        CHECK_MEM(&fresh, sizeof fresh, &s, sizeof s);
    }
}

LK_TEST(a_vp9_descriptor_tells_layers_references_and_sizes)
{
    LK_UNUSED(env);
    static const uint8_t full[] = {0xfa, 0x81, 0x23, 0x55, 0x03, 0x04, 0x38, 0x00, 0xa0, 0x00, 0x5a, 0x01, 0x40, 0x00, 0xb4, 1, 0x58, 3, 4, 0xaa};
    lk_rtp_vp9 d;
    lk_rtp_vp9_picture p;
    if (!CHECK_OK(lk_rtp_vp9_parse(&d, (lk_bytes){full, sizeof full})))
        return;
    CHECK(d.has_picture_id && d.predicted && d.has_layers && d.flexible && d.begin && !d.end && d.has_structure && !d.not_reference);
    CHECK(d.long_picture_id && d.picture_id == 0x123 && d.tid == 2 && d.switch_up && d.sid == 2 && d.inter_layer && !d.has_tl0);
    CHECK(d.reference_count == 2 && d.references[0] == 1 && d.references[1] == 2);
    CHECK(d.layer_count == 2 && d.has_sizes && d.width[0] == 160 && d.height[1] == 180 && d.has_group && d.group_count == 1);
    lk_rd at = lk_rd_of(d.group.data, d.group.len);
    CHECK(lk_rtp_vp9_group_next(&at, &p) && p.tid == 2 && p.switch_up && p.reference_count == 2 && p.references[1] == 4);
    CHECK(!lk_rtp_vp9_group_next(&at, &p) && !at.bad);
    CHECK_EQ(d.data.len, 1);
    for (size_t cut = 0; cut + 1 < sizeof full; cut++)
        CHECK_EQ(lk_rtp_vp9_parse(&d, (lk_bytes){full, cut}), LK_ERR_WIRE);
}
