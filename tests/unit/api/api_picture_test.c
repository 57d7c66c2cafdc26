// SPDX-License-Identifier: Apache-2.0
#include "api/api.h"
#include "lk_test.h"

static lk_video_view grey(uint8_t *room, uint32_t width, uint32_t height)
{
    memset(room, 128, (size_t)width * height * 4);
    return (lk_video_view){.format = LK_VIDEO_RGBA,
                           .width = width,
                           .height = height,
                           .planes = {room},
                           .stride_bytes = {width * 4},
                           .rotation = LK_VIDEO_ROTATION_90,
                           .timestamp_usec = 123};
}

LK_TEST(a_frame_is_made_from_a_view_and_lives_by_its_count)
{
    uint8_t room[9 * 5 * 4];
    lk_video_view from = grey(room, 9, 5);
    lk_video_frame *frame = NULL;
    lk_error why = {LK_ERR_INTERNAL, "?"};
    api_set_mem(env->mem);
    lk_err err = lk_video_frame_convert(&frame, &from, LK_VIDEO_I420, true, &why);
    CHECK_EQ(why.code, err);
    if (CHECK_OK(err)) {
        CHECK_STR(why.text, "");
        lk_video_frame *again = lk_video_frame_keep(frame);
        lk_video_frame_drop(frame);
        lk_video_view v = lk_video_frame_view(again);
        CHECK_EQ(v.format, LK_VIDEO_I420);
        CHECK_EQ(v.width, 9);
        CHECK_EQ(v.height, 5);
        CHECK_EQ(v.rotation, LK_VIDEO_ROTATION_90);
        CHECK_EQ(v.timestamp_usec, 123);
        CHECK_EQ((uintptr_t)v.planes[0] % 64, 0);
        CHECK(v.planes[1] == v.planes[0] + 45 && v.planes[2] == v.planes[1] + 15 && !v.planes[3]);
        CHECK(v.planes[0][44] >= 125 && v.planes[0][44] <= 127);
        CHECK_EQ(v.planes[2][14], 128);
        lk_video_frame_drop(again);
    }
    api_set_mem(NULL);
}

LK_TEST(two_steps_of_a_conversion_leave_nothing_behind)
{
    uint8_t room[6 * 6 * 4];
    lk_video_view from = grey(room, 6, 6);
    lk_video_frame *frame = NULL;
    from.format = LK_VIDEO_ABGR;
    api_set_mem(env->mem);
    lk_err err = lk_video_frame_convert(&frame, &from, LK_VIDEO_I010, false, NULL);
    if (err == LK_OK) {
        lk_video_view v = lk_video_frame_view(frame);
        const uint16_t *luma = (const uint16_t *)(const void *)v.planes[0];
        CHECK(luma[35] >= 125 * 4 && luma[35] <= 127 * 4 + 3);
        CHECK_EQ(v.stride_bytes[0], 12);
        lk_video_frame_drop(frame);
    } else {
        CHECK(!frame);
        CHECK_EQ(err, LK_ERR_NOMEM);
    }
    api_set_mem(NULL);
}

LK_TEST(a_view_that_cannot_be_is_refused_with_a_reason)
{
    uint8_t room[4 * 4 * 4];
    const lk_video_view good = grey(room, 4, 4);
    lk_video_view v = good;
    lk_video_frame *frame = NULL;
    lk_error why;
    v.height = 0;
    CHECK_EQ(lk_video_frame_convert(&frame, &v, LK_VIDEO_I420, false, &why), LK_ERR_INVALID);
    CHECK_STR(why.text, "width and height must not be 0");
    v = good;
    v.planes[0] = NULL;
    CHECK_EQ(lk_video_frame_convert(&frame, &v, LK_VIDEO_I420, false, &why), LK_ERR_INVALID);
    CHECK_STR(why.text, "a plane is missing");
    v = good;
    v.width = 1u << 31;
    CHECK_EQ(lk_video_frame_convert(&frame, &v, LK_VIDEO_I420, false, &why), LK_ERR_LIMIT);
    CHECK_STR(why.text, "the picture is too large");
    CHECK_EQ(lk_video_frame_convert(&frame, &good, (lk_video_format)11, false, &why), LK_ERR_INVALID);
    CHECK_STR(why.text, "the format wanted is unknown");
    CHECK_EQ(lk_video_frame_convert(&frame, NULL, LK_VIDEO_I420, false, &why), LK_ERR_INVALID);
    CHECK_EQ(lk_video_frame_convert(NULL, &good, LK_VIDEO_I420, false, NULL), LK_ERR_INVALID);
    CHECK(!frame);
    lk_video_frame_drop(NULL);
    CHECK(!lk_video_frame_keep(NULL));
    CHECK_EQ(lk_video_frame_view(NULL).width, 0);
}
