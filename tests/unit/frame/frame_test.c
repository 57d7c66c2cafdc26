// SPDX-License-Identifier: Apache-2.0
#include "frame/frame.h"
#include "lk_test.h"

LK_TEST(frame_memory_is_aligned_and_comes_back_from_the_pool)
{
    lk_frame_pool *pool;
    lk_frame *a, *b;
    if (lk_frame_pool_new(&pool, env) != LK_OK)
        return;
    if (lk_frame_new(&a, pool, 48000, 2, 480) == LK_OK) {
        CHECK_EQ((uintptr_t)a->data % 64, 0);
        a->data[959] = 7;
        lk_frame_unref(a);
        size_t before = lk_test_alloc_count();
        CHECK_OK(lk_frame_new(&b, pool, 48000, 1, 480));
        CHECK(b == a);
        CHECK_EQ(b->samples, 480);
        CHECK_EQ(lk_test_alloc_count(), before);
        lk_frame_unref(b);
    }
    lk_frame_pool_unref(pool);
}

LK_TEST(frame_outlives_its_pool)
{
    lk_frame_pool *pool;
    lk_frame *a = NULL;
    if (lk_frame_pool_new(&pool, env) != LK_OK)
        return;
    lk_err err = lk_frame_new(&a, pool, 16000, 1, 160);
    lk_frame_pool_unref(pool);
    if (err != LK_OK)
        return;
    a->data[0] = 1;
    lk_frame *again = lk_frame_ref(a);
    lk_frame_unref(a);
    CHECK_EQ(again->data[0], 1);
    lk_frame_unref(again);
}

LK_TEST(frame_sizes_out_of_range_are_refused)
{
    lk_frame_pool *pool;
    lk_frame *a;
    if (lk_frame_pool_new(&pool, env) != LK_OK)
        return;
    CHECK_EQ(lk_frame_new(&a, pool, 0, 1, 160), LK_ERR_INVALID);
    CHECK_EQ(lk_frame_new(&a, pool, 48000, 0, 160), LK_ERR_INVALID);
    CHECK_EQ(lk_frame_new(&a, pool, 48000, 1, 0), LK_ERR_INVALID);
    CHECK_EQ(lk_frame_new(&a, pool, 48000, 0xffffffff, 0xffffffff), LK_ERR_INVALID);
    CHECK_EQ(lk_frame_new(&a, pool, 48000, 2, LK_FRAME_SAMPLES_MAX), LK_ERR_INVALID);
    lk_frame_pool_unref(pool);
}
