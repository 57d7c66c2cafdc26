// SPDX-License-Identifier: Apache-2.0
#include "frame/picture.h"
#include "lk_test.h"

/* Memory that counts what is alive, over the memory of the test. */
typedef struct counted {
    const lk_mem *under;
    size_t alive;
} counted;

static void *counted_alloc(void *ctx, size_t size)
{
    counted *c = ctx;
    void *p = c->under->alloc(c->under->ctx, size);
    c->alive += p != NULL;
    return p;
}

static void counted_release(void *ctx, void *p, size_t size)
{
    counted *c = ctx;
    c->alive--;
    c->under->release(c->under->ctx, p, size);
}

LK_TEST(picture_layouts_are_those_of_the_contract)
{
    static const struct {
        lk_video_format format;
        const char *name;
        uint32_t planes, row_bytes[4], rows[4]; /* of 7 x 5 pixels */
    } cases[] = {
        {LK_VIDEO_RGBA, "rgba", 1, {28}, {5}},
        {LK_VIDEO_ABGR, "abgr", 1, {28}, {5}},
        {LK_VIDEO_ARGB, "argb", 1, {28}, {5}},
        {LK_VIDEO_BGRA, "bgra", 1, {28}, {5}},
        {LK_VIDEO_RGB24, "rgb24", 1, {21}, {5}},
        {LK_VIDEO_I420, "i420", 3, {7, 4, 4}, {5, 3, 3}},
        {LK_VIDEO_I420A, "i420a", 4, {7, 4, 4, 7}, {5, 3, 3, 5}},
        {LK_VIDEO_I422, "i422", 3, {7, 4, 4}, {5, 5, 5}},
        {LK_VIDEO_I444, "i444", 3, {7, 7, 7}, {5, 5, 5}},
        {LK_VIDEO_I010, "i010", 3, {14, 8, 8}, {5, 3, 3}},
        {LK_VIDEO_NV12, "nv12", 2, {7, 8}, {5, 3}},
    };
    CHECK_EQ(LK_LEN(cases), LK_VIDEO_FORMATS);
    for (size_t i = 0; i < LK_LEN(cases); i++) {
        lk_picture_layout l;
        CHECK_OK(lk_picture_layout_of(&l, cases[i].format, 7, 5));
        CHECK_EQ(l.planes, cases[i].planes);
        CHECK_MEM(l.row_bytes, sizeof l.row_bytes, cases[i].row_bytes, sizeof cases[i].row_bytes);
        CHECK_MEM(l.rows, sizeof l.rows, cases[i].rows, sizeof cases[i].rows);
        CHECK_STR(lk_picture_format_name(cases[i].format), cases[i].name);
    }
    CHECK_STR(lk_picture_format_name((lk_video_format)11), "unknown");
    CHECK_STR(lk_picture_format_name((lk_video_format)-1), "unknown");
}

LK_TEST(picture_sizes_out_of_range_are_refused)
{
    lk_picture_layout l = {.planes = 77};
    CHECK_EQ(lk_picture_layout_of(&l, LK_VIDEO_I420, 0, 5), LK_ERR_INVALID);
    CHECK_EQ(lk_picture_layout_of(&l, LK_VIDEO_I420, 5, 0), LK_ERR_INVALID);
    CHECK_EQ(lk_picture_layout_of(&l, (lk_video_format)11, 5, 5), LK_ERR_INVALID);
    CHECK_EQ(lk_picture_layout_of(&l, LK_VIDEO_I420, LK_PICTURE_SIDE_MAX + 1, 1), LK_ERR_LIMIT);
    CHECK_EQ(lk_picture_layout_of(&l, LK_VIDEO_I420, 1, UINT32_MAX), LK_ERR_LIMIT);
    CHECK_EQ(lk_picture_layout_of(&l, LK_VIDEO_RGBA, 16384, 16384), LK_ERR_LIMIT);
    CHECK_EQ(l.planes, 77);
    CHECK_OK(lk_picture_layout_of(&l, LK_VIDEO_RGBA, 16384, 4096));
    lk_picture_pool *pool;
    lk_picture *p;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    CHECK_EQ(lk_picture_new(&p, pool, LK_VIDEO_I420, 0, 1), LK_ERR_INVALID);
    CHECK_EQ(lk_picture_new(&p, pool, LK_VIDEO_I444, 16384, 16384), LK_ERR_LIMIT);
    lk_picture_pool_unref(pool);
}

LK_TEST(picture_planes_follow_each_other_without_a_gap)
{
    lk_picture_pool *pool;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    for (int f = 0; f < LK_VIDEO_FORMATS; f++) {
        lk_picture *p;
        lk_picture_layout l;
        const char *why = NULL;
        CHECK_OK(lk_picture_layout_of(&l, (lk_video_format)f, 33, 17));
        if (lk_picture_new(&p, pool, (lk_video_format)f, 33, 17) != LK_OK)
            break;
        CHECK_EQ((uintptr_t)p->planes[0] % 64, 0);
        CHECK_EQ(p->timestamp_usec, 0);
        CHECK_EQ(p->rotation, LK_VIDEO_ROTATION_0);
        const uint8_t *at = p->planes[0];
        for (uint32_t i = 0; i < LK_VIDEO_PLANES_MAX; i++) {
            CHECK_EQ(p->stride_bytes[i], l.row_bytes[i]);
            CHECK(p->planes[i] == (i < l.planes ? at : NULL));
            if (i < l.planes)
                memset(p->planes[i], 0x55, (size_t)l.row_bytes[i] * l.rows[i]);
            at += (size_t)l.row_bytes[i] * l.rows[i];
        }
        lk_video_view v = lk_picture_view(p);
        CHECK_OK(lk_video_view_check(&v, &why));
        CHECK_EQ(v.width, 33);
        CHECK_EQ(v.height, 17);
        lk_picture_unref(p);
    }
    lk_picture_pool_unref(pool);
}

LK_TEST(picture_memory_comes_back_from_the_pool)
{
    lk_picture_pool *pool;
    lk_picture *a, *b;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    if (lk_picture_new(&a, pool, LK_VIDEO_I420, 64, 64) == LK_OK) {
        a->rotation = LK_VIDEO_ROTATION_180;
        a->timestamp_usec = 5;
        lk_picture_unref(a);
        size_t before = lk_test_alloc_count();
        CHECK_OK(lk_picture_new(&b, pool, LK_VIDEO_NV12, 64, 63));
        CHECK(b == a);
        CHECK_EQ(b->timestamp_usec, 0);
        CHECK_EQ(b->rotation, LK_VIDEO_ROTATION_0);
        CHECK_EQ(lk_test_alloc_count(), before);
        lk_picture_unref(b);
        /* Neither too small a block nor one of many times the size. */
        if (lk_picture_new(&b, pool, LK_VIDEO_I420, 65, 65) == LK_OK) {
            CHECK(b != a);
            lk_picture_unref(b);
        }
        if (lk_picture_new(&b, pool, LK_VIDEO_I420, 8, 8) == LK_OK) {
            CHECK(b != a);
            lk_picture_unref(b);
        }
    }
    lk_picture_pool_unref(pool);
}

LK_TEST(picture_pool_keeps_the_newest)
{
    lk_picture_pool *pool;
    lk_picture *p[LK_PICTURE_POOL_MAX + 2] = {NULL};
    counted c = {.under = env->mem};
    const lk_mem mem = {&c, counted_alloc, NULL, counted_release};
    const lk_env mine = {.mem = &mem};
    if (lk_picture_pool_new(&pool, &mine) != LK_OK)
        return;
    lk_err err = LK_OK;
    for (size_t i = 0; i < LK_LEN(p) && err == LK_OK; i++)
        err = lk_picture_new(&p[i], pool, LK_VIDEO_I420, 16, 16);
    for (size_t i = 0; i < LK_LEN(p); i++)
        lk_picture_unref(p[i]);
    if (err == LK_OK) {
        CHECK_EQ(c.alive, 1 + LK_PICTURE_POOL_MAX);
        lk_picture *again;
        CHECK_OK(lk_picture_new(&again, pool, LK_VIDEO_I420, 16, 16));
        CHECK(again == p[LK_LEN(p) - 1]);
        lk_picture_unref(again);
    }
    lk_picture_pool_unref(pool);
}

LK_TEST(picture_pool_does_not_hold_on_to_large_ones)
{
    lk_picture_pool *pool;
    lk_picture *a, *b;
    counted c = {.under = env->mem};
    const lk_mem mem = {&c, counted_alloc, NULL, counted_release};
    const lk_env mine = {.mem = &mem};
    if (lk_picture_pool_new(&pool, &mine) != LK_OK)
        return;
    if (lk_picture_new(&a, pool, LK_VIDEO_RGBA, 4096, 4096) == LK_OK) {
        lk_picture_unref(a);
        CHECK_EQ(c.alive, 1);
    }
    if (lk_picture_new(&a, pool, LK_VIDEO_RGBA, 4096, 2100) == LK_OK) {
        if (lk_picture_new(&b, pool, LK_VIDEO_RGBA, 4096, 2100) == LK_OK) {
            lk_picture_unref(b);
            CHECK_EQ(c.alive, 3);
        }
        lk_picture_unref(a);
        CHECK_EQ(c.alive, 2);
    }
    lk_picture_pool_unref(pool);
}

LK_TEST(picture_outlives_its_pool)
{
    lk_picture_pool *pool;
    lk_picture *a = NULL;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    lk_err err = lk_picture_new(&a, pool, LK_VIDEO_I420, 4, 4);
    lk_picture_pool_unref(pool);
    lk_picture_pool_unref(NULL);
    lk_picture_unref(NULL);
    if (err != LK_OK)
        return;
    a->planes[2][3] = 9;
    lk_picture *again = lk_picture_ref(a);
    lk_picture_unref(a);
    CHECK_EQ(again->planes[2][3], 9);
    lk_picture_unref(again);
}

LK_TEST(view_check_says_what_is_wrong)
{
    static uint16_t room[64 * 64];
    const uint8_t *at = (const uint8_t *)room;
    const lk_video_view good = {.format = LK_VIDEO_I420,
                                .width = 9,
                                .height = 9,
                                .planes = {at, at + 200, at + 300},
                                .stride_bytes = {9, 5, 5}};
    const char *why = NULL;
    CHECK_OK(lk_video_view_check(&good, &why));
    CHECK_STR(why, "");
    lk_video_view v = good;
    v.planes[2] = NULL;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "a plane is missing");
    v = good;
    v.stride_bytes[1] = 4;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "a stride is shorter than a row");
    v = good;
    v.stride_bytes[0] = UINT32_MAX;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "a stride is too large");
    v = good;
    v.width = 0;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "width and height must not be 0");
    v = good;
    v.height = 1u << 20;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_LIMIT);
    CHECK_STR(why, "the picture is too large");
    v = good;
    v.format = (lk_video_format)99;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "the format is unknown");
    v = good;
    v.rotation = (lk_video_rotation)4;
    CHECK_EQ(lk_video_view_check(&v, NULL), LK_ERR_INVALID);
    v = good;
    v.format = LK_VIDEO_I010;
    v.stride_bytes[0] = 18;
    v.stride_bytes[1] = v.stride_bytes[2] = 10;
    CHECK_OK(lk_video_view_check(&v, &why));
    v.stride_bytes[2] = 11;
    CHECK_EQ(lk_video_view_check(&v, &why), LK_ERR_INVALID);
    CHECK_STR(why, "16-bit samples at an odd address");
}
