// SPDX-License-Identifier: Apache-2.0
#include "dsp/video_convert.h"
#include "lk_test.h"

#include <stdlib.h>

typedef struct colour {
    const char *name;
    uint8_t rgb[3], yuv[3]; /* BT.601, limited range */
} colour;

static const colour colours[] = {
    {"white", {255, 255, 255}, {235, 128, 128}}, {"black", {0, 0, 0}, {16, 128, 128}},
    {"red", {255, 0, 0}, {82, 90, 240}},         {"green", {0, 255, 0}, {144, 54, 34}},
    {"blue", {0, 0, 255}, {41, 240, 110}},       {"grey", {128, 128, 128}, {126, 128, 128}},
};

static const uint32_t sizes[][2] = {{1, 1}, {2, 2}, {1, 7}, {7, 1}, {3, 3}, {16, 16}, {17, 5}, {33, 31}, {66, 35}};

/* The allocation ladder climbs every step from the ground: a few pairs, of one and of two steps, are enough there. */
static bool is_due(int from, int to) { return !lk_test_oom() || (from + to) % 13 == 0; }

static bool has_alpha(lk_video_format f) { return f <= LK_VIDEO_BGRA || f == LK_VIDEO_I420A; }

static const char *order_of(lk_video_format f)
{
    static const char *const orders[] = {"RGBA", "ABGR", "ARGB", "BGRA", "RGB"};
    return orders[f];
}

/* One pixel as eight-bit samples: R, G, B or Y, U, V, then alpha. */
static void pixel_set(const lk_picture *p, uint32_t x, uint32_t y, const colour *c, uint8_t alpha)
{
    if (p->format <= LK_VIDEO_RGB24) {
        const char *order = order_of(p->format);
        uint8_t *at = p->planes[0] + (size_t)y * p->stride_bytes[0] + (size_t)x * strlen(order);
        for (size_t i = 0; order[i]; i++)
            at[i] = order[i] == 'R' ? c->rgb[0] : order[i] == 'G' ? c->rgb[1] : order[i] == 'B' ? c->rgb[2] : alpha;
        return;
    }
    uint32_t cx = p->format == LK_VIDEO_I444 ? x : x / 2;
    uint32_t cy = p->format == LK_VIDEO_I444 || p->format == LK_VIDEO_I422 ? y : y / 2;
    uint8_t *planes[4];
    for (int i = 0; i < 4; i++)
        planes[i] = p->planes[i] ? p->planes[i] + (size_t)(i == 0 || i == 3 ? y : cy) * p->stride_bytes[i] : NULL;
    if (p->format == LK_VIDEO_I010) {
        ((uint16_t *)(void *)planes[0])[x] = (uint16_t)(c->yuv[0] * 4);
        ((uint16_t *)(void *)planes[1])[cx] = (uint16_t)(c->yuv[1] * 4);
        ((uint16_t *)(void *)planes[2])[cx] = (uint16_t)(c->yuv[2] * 4);
    } else if (p->format == LK_VIDEO_NV12) {
        planes[0][x] = c->yuv[0];
        planes[1][cx * 2] = c->yuv[1];
        planes[1][cx * 2 + 1] = c->yuv[2];
    } else {
        planes[0][x] = c->yuv[0];
        planes[1][cx] = c->yuv[1];
        planes[2][cx] = c->yuv[2];
        if (p->format == LK_VIDEO_I420A)
            planes[3][x] = alpha;
    }
}

static void pixel_get(const lk_picture *p, uint32_t x, uint32_t y, uint8_t out[4])
{
    out[3] = 255;
    if (p->format <= LK_VIDEO_RGB24) {
        const char *order = order_of(p->format);
        const uint8_t *at = p->planes[0] + (size_t)y * p->stride_bytes[0] + (size_t)x * strlen(order);
        for (size_t i = 0; order[i]; i++)
            out[order[i] == 'R' ? 0 : order[i] == 'G' ? 1 : order[i] == 'B' ? 2 : 3] = at[i];
        return;
    }
    uint32_t cx = p->format == LK_VIDEO_I444 ? x : x / 2;
    uint32_t cy = p->format == LK_VIDEO_I444 || p->format == LK_VIDEO_I422 ? y : y / 2;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t plane = p->format == LK_VIDEO_NV12 && i ? 1 : i;
        const uint8_t *row = p->planes[plane] + (size_t)(i ? cy : y) * p->stride_bytes[plane];
        uint32_t at = i ? cx : x;
        if (p->format == LK_VIDEO_I010)
            out[i] = (uint8_t)(((const uint16_t *)(const void *)row)[at] >> 2);
        else if (p->format == LK_VIDEO_NV12 && i)
            out[i] = row[at * 2 + i - 1];
        else
            out[i] = row[at];
    }
    if (p->format == LK_VIDEO_I420A)
        out[3] = p->planes[3][(size_t)y * p->stride_bytes[3] + x];
}

static void fill(const lk_picture *p, const colour *c, uint8_t alpha)
{
    for (uint32_t y = 0; y < p->height; y++) {
        for (uint32_t x = 0; x < p->width; x++)
            pixel_set(p, x, y, c, alpha);
    }
}

/* The largest difference of any pixel from the colour. */
static int distance(const lk_picture *p, const colour *c)
{
    int worst = 0;
    const uint8_t *want = p->format <= LK_VIDEO_RGB24 ? c->rgb : c->yuv;
    for (uint32_t y = 0; y < p->height; y++) {
        for (uint32_t x = 0; x < p->width; x++) {
            uint8_t got[4];
            pixel_get(p, x, y, got);
            for (int i = 0; i < 3; i++)
                worst = LK_MAX(worst, abs(got[i] - want[i]));
        }
    }
    return worst;
}

static bool alpha_is(const lk_picture *p, uint8_t alpha)
{
    for (uint32_t y = 0; y < p->height; y++) {
        for (uint32_t x = 0; x < p->width; x++) {
            uint8_t got[4];
            pixel_get(p, x, y, got);
            if (got[3] != alpha)
                return false;
        }
    }
    return true;
}

/* Every pair of formats by turns, until one ends with an error. */
static void each_pair(lk_env *env, lk_err (*convert)(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to))
{
    lk_picture_pool *pool;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    lk_err err = LK_OK;
    for (int from = 0; from < LK_VIDEO_FORMATS && err == LK_OK; from++)
        for (int to = 0; to < LK_VIDEO_FORMATS && err == LK_OK; to++)
            if (is_due(from, to))
                err = convert(env, pool, (lk_video_format)from, (lk_video_format)to);
    CHECK_OK(err);
    lk_picture_pool_unref(pool);
}

/* Says which pair it was. */
static void name_pair(lk_video_format from, lk_video_format to, const char *what, int much)
{
    lk_test_eq_str(lk_picture_format_name(from), lk_picture_format_name(to), what, much);
}

static lk_err keeps_colour(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to)
{
    lk_err err = LK_OK;
    CHECK(lk_video_convert_known(from, to));
    for (size_t s = 0; s < LK_LEN(sizes) && err == LK_OK; s++) {
        const colour *c = &colours[(size_t)(from + to) % LK_LEN(colours)];
        lk_picture *a = NULL, *b = NULL;
        err = lk_picture_new(&a, pool, from, sizes[s][0], sizes[s][1]);
        if (err == LK_OK)
            err = lk_picture_new(&b, pool, to, sizes[s][0], sizes[s][1]);
        if (err == LK_OK) {
            fill(a, c, 99);
            fill(b, &colours[1], 7);
            a->timestamp_usec = 12345;
            a->rotation = LK_VIDEO_ROTATION_90;
            lk_video_view v = lk_picture_view(a);
            err = lk_video_convert(b, env, &v, s % 2 == 0);
        }
        if (err == LK_OK) {
            CHECK_EQ(b->timestamp_usec, 12345);
            CHECK_EQ(b->rotation, LK_VIDEO_ROTATION_90);
            int worst = distance(b, c);
            if (!CHECK(worst <= 3) || !CHECK(alpha_is(b, has_alpha(to) && has_alpha(from) ? 99 : 255)))
                name_pair(from, to, c->name, worst);
        }
        lk_picture_unref(a);
        lk_picture_unref(b);
    }
    return err;
}

LK_TEST(convert_every_pair_keeps_known_colours_in_odd_sizes) { each_pair(env, keeps_colour); }

LK_TEST(convert_colours_are_bt601_limited_range)
{
    lk_picture_pool *pool;
    lk_picture *rgb = NULL, *yuv = NULL, *back = NULL;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    if (lk_picture_new(&rgb, pool, LK_VIDEO_RGBA, 32, 16) == LK_OK && lk_picture_new(&yuv, pool, LK_VIDEO_I420, 32, 16) == LK_OK &&
        lk_picture_new(&back, pool, LK_VIDEO_RGB24, 32, 16) == LK_OK) {
        for (size_t i = 0; i < LK_LEN(colours); i++) {
            fill(rgb, &colours[i], 255);
            lk_video_view v = lk_picture_view(rgb);
            CHECK_OK(lk_video_convert(yuv, env, &v, false));
            CHECK(distance(yuv, &colours[i]) <= 1);
            v = lk_picture_view(yuv);
            CHECK_OK(lk_video_convert(back, env, &v, false));
            CHECK(distance(back, &colours[i]) <= 4); /* a step of chroma is two of blue */
        }
    }
    lk_picture_unref(rgb);
    lk_picture_unref(yuv);
    lk_picture_unref(back);
    lk_picture_pool_unref(pool);
}

/* A smooth picture: what may be lost with chroma planes of half the size is little. */
static void gradient(const lk_picture *p)
{
    for (uint32_t y = 0; y < p->height; y++) {
        for (uint32_t x = 0; x < p->width; x++) {
            colour c = {.rgb = {(uint8_t)(40 + x * 2), (uint8_t)(60 + y * 2), (uint8_t)(200 - x - y)}};
            c.yuv[0] = (uint8_t)(60 + x + y);
            c.yuv[1] = (uint8_t)(100 + x / 2);
            c.yuv[2] = (uint8_t)(150 - y / 2);
            pixel_set(p, x, y, &c, (uint8_t)(x + y));
        }
    }
}

static int difference(const lk_picture *a, const lk_picture *b, bool upside_down)
{
    int worst = 0;
    for (uint32_t y = 0; y < a->height; y++) {
        for (uint32_t x = 0; x < a->width; x++) {
            uint8_t p[4], q[4];
            pixel_get(a, x, y, p);
            pixel_get(b, x, upside_down ? a->height - 1 - y : y, q);
            for (int i = 0; i < 3; i++)
                worst = LK_MAX(worst, abs(p[i] - q[i]));
        }
    }
    return worst;
}

static lk_err comes_back(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to)
{
    lk_picture *a = NULL, *b = NULL, *c = NULL;
    lk_err err = lk_picture_new(&a, pool, from, 34, 18);
    if (err == LK_OK)
        err = lk_picture_new(&b, pool, to, 34, 18);
    if (err == LK_OK)
        err = lk_picture_new(&c, pool, from, 34, 18);
    if (err == LK_OK) {
        gradient(a);
        lk_video_view v = lk_picture_view(a);
        err = lk_video_convert(b, env, &v, true);
        if (err == LK_OK) {
            v = lk_picture_view(b);
            err = lk_video_convert(c, env, &v, false);
        }
    }
    if (err == LK_OK) {
        bool exact = from == to || (from <= LK_VIDEO_RGB24 && to <= LK_VIDEO_RGB24);
        int worst = difference(a, c, true);
        if (!CHECK(worst <= (exact ? 0 : 8)))
            name_pair(from, to, "difference", worst);
    }
    lk_picture_unref(a);
    lk_picture_unref(b);
    lk_picture_unref(c);
    return err;
}

LK_TEST(convert_round_trips_of_every_pair_lose_little_and_flips_are_flips) { each_pair(env, comes_back); }

static bool halves_rows(lk_video_format f)
{
    return f == LK_VIDEO_I420 || f == LK_VIDEO_I420A || f == LK_VIDEO_NV12 || f == LK_VIDEO_I010;
}

/* Rows in pairs of another colour: of an odd height the last has none to share with, flipped or not. */
static lk_err flips_odd_height(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to)
{
    lk_picture *a = NULL, *b = NULL, *c = NULL;
    if (!halves_rows(from) || halves_rows(to))
        return LK_OK;
    lk_err err = lk_picture_new(&a, pool, from, 18, 7);
    if (err == LK_OK)
        err = lk_picture_new(&b, pool, to, 18, 7);
    if (err == LK_OK)
        err = lk_picture_new(&c, pool, to, 18, 7);
    if (err == LK_OK) {
        for (uint32_t y = 0; y < 7; y++) {
            for (uint32_t x = 0; x < 18; x++)
                pixel_set(a, x, y, &colours[2 + y / 2 % 3], 255);
        }
        lk_video_view v = lk_picture_view(a);
        err = lk_video_convert(b, env, &v, false);
        if (err == LK_OK)
            err = lk_video_convert(c, env, &v, true);
        if (err == LK_OK && !CHECK_EQ(difference(b, c, true), 0))
            name_pair(from, to, "odd", 7);
    }
    lk_picture_unref(a);
    lk_picture_unref(b);
    lk_picture_unref(c);
    return err;
}

LK_TEST(convert_flips_odd_heights_row_by_row) { each_pair(env, flips_odd_height); }

/* Rows apart from each other, with marks between: what is outside of a row is neither read into the picture nor written. */
static lk_err takes_strides(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to)
{
    const uint32_t w = 19, h = 7;
    lk_picture *a = NULL, *wide = NULL, *b = NULL, *c = NULL;
    lk_picture_layout l;
    lk_err err = lk_picture_layout_of(&l, from, w, h);
    if (err == LK_OK)
        err = lk_picture_new(&a, pool, from, w, h);
    if (err == LK_OK)
        err = lk_picture_new(&wide, pool, LK_VIDEO_RGBA, 256, 64);
    if (err == LK_OK)
        err = lk_picture_new(&b, pool, to, w, h);
    if (err == LK_OK)
        err = lk_picture_new(&c, pool, to, w, h);
    if (err == LK_OK) {
        gradient(a);
        lk_video_view v = lk_picture_view(a), far = v;
        memset(wide->planes[0], 0xee, 256 * 64 * 4);
        uint8_t *at = wide->planes[0];
        for (uint32_t i = 0; i < l.planes; i++) {
            far.planes[i] = at;
            far.stride_bytes[i] = 128 + i * 32;
            for (uint32_t y = 0; y < l.rows[i]; y++, at += far.stride_bytes[i])
                memcpy(at, a->planes[i] + (size_t)y * l.row_bytes[i], l.row_bytes[i]);
        }
        err = lk_video_convert(b, env, &v, true);
        if (err == LK_OK)
            err = lk_video_convert(c, env, &far, true);
        if (err == LK_OK && !CHECK_EQ(difference(b, c, false), 0))
            name_pair(from, to, "strides", 0);
    }
    lk_picture_unref(a);
    lk_picture_unref(wide);
    lk_picture_unref(b);
    lk_picture_unref(c);
    return err;
}

LK_TEST(convert_takes_strides_longer_than_rows) { each_pair(env, takes_strides); }

/* The planes of a picture are one block: what lies behind the last row must stay as it was. */
static lk_err stays_inside(lk_env *env, lk_picture_pool *pool, lk_video_format from, lk_video_format to)
{
    lk_picture *room = NULL;
    lk_err err = lk_picture_new(&room, pool, LK_VIDEO_RGBA, 256, 256);
    for (uint32_t w = 1; w < 40 && err == LK_OK; w += 3) {
        lk_picture_layout l;
        lk_picture *a = NULL;
        err = lk_picture_layout_of(&l, to, w, 5);
        if (err == LK_OK)
            err = lk_picture_new(&a, pool, from, w, 5);
        if (err != LK_OK)
            break;
        gradient(a);
        memset(room->planes[0], 0xdd, 256 * 256 * 4);
        lk_picture b = {.format = to, .width = w, .height = 5};
        uint8_t *at = room->planes[0];
        for (uint32_t i = 0; i < l.planes; i++) {
            b.planes[i] = at;
            b.stride_bytes[i] = l.row_bytes[i];
            at += (size_t)l.row_bytes[i] * l.rows[i];
        }
        lk_video_view v = lk_picture_view(a);
        err = lk_video_convert(&b, env, &v, false);
        for (size_t i = 0; i < 512 && err == LK_OK; i++) {
            if (!CHECK_EQ(at[i], 0xdd))
                break;
        }
        lk_picture_unref(a);
    }
    lk_picture_unref(room);
    return err;
}

LK_TEST(convert_writes_nothing_behind_the_picture) { each_pair(env, stays_inside); }

LK_TEST(convert_refuses_other_sizes_and_unknown_formats)
{
    lk_picture_pool *pool;
    lk_picture *a = NULL, *b = NULL;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    CHECK(!lk_video_convert_known((lk_video_format)11, LK_VIDEO_I420));
    CHECK(!lk_video_convert_known(LK_VIDEO_I420, (lk_video_format)-1));
    if (lk_picture_new(&a, pool, LK_VIDEO_I420, 8, 8) == LK_OK && lk_picture_new(&b, pool, LK_VIDEO_RGBA, 8, 9) == LK_OK) {
        lk_video_view v = lk_picture_view(a);
        CHECK_EQ(lk_video_convert(b, env, &v, false), LK_ERR_INVALID);
        v.height = 9;
        v.planes[1] = NULL;
        CHECK_EQ(lk_video_convert(b, env, &v, false), LK_ERR_INVALID);
        v = lk_picture_view(a);
        v.format = (lk_video_format)20;
        CHECK_EQ(lk_video_convert(b, env, &v, false), LK_ERR_UNSUPPORTED);
        v = lk_picture_view(a);
        CHECK_EQ(lk_video_scale(b, &v), LK_ERR_INVALID);
        CHECK_EQ(lk_video_turn(b, &v), LK_ERR_INVALID);
    }
    lk_picture_unref(a);
    lk_picture_unref(b);
    lk_picture_pool_unref(pool);
}

LK_TEST(turn_makes_pictures_upright)
{
    lk_picture_pool *pool;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    const uint32_t w = 14, h = 6;
    for (int r = 0; r < 4; r++) {
        lk_picture *a = NULL, *b = NULL, *wrong = NULL;
        bool across = r % 2 == 1;
        if (lk_picture_new(&a, pool, LK_VIDEO_I420, w, h) == LK_OK &&
            lk_picture_new(&b, pool, LK_VIDEO_I420, across ? h : w, across ? w : h) == LK_OK &&
            lk_picture_new(&wrong, pool, LK_VIDEO_I420, across ? w : h, across ? h : w) == LK_OK) {
            gradient(a);
            a->timestamp_usec = 77;
            a->rotation = (lk_video_rotation)r;
            lk_video_view v = lk_picture_view(a);
            CHECK_EQ(lk_video_turn(wrong, &v), LK_ERR_INVALID);
            CHECK_OK(lk_video_turn(b, &v));
            CHECK_EQ(b->rotation, LK_VIDEO_ROTATION_0);
            CHECK_EQ(b->timestamp_usec, 77);
            for (uint32_t y = 0; y < h; y++) {
                for (uint32_t x = 0; x < w; x++) {
                    /* Clockwise: the left column becomes the top row. */
                    uint32_t tx = r == 0 ? x : r == 1 ? h - 1 - y : r == 2 ? w - 1 - x : y;
                    uint32_t ty = r == 0 ? y : r == 1 ? x : r == 2 ? h - 1 - y : w - 1 - x;
                    uint8_t p[4], q[4];
                    pixel_get(a, x, y, p);
                    pixel_get(b, tx, ty, q);
                    CHECK_MEM(p, 4, q, 4);
                }
            }
        }
        lk_picture_unref(a);
        lk_picture_unref(b);
        lk_picture_unref(wrong);
    }
    lk_picture_pool_unref(pool);
}

LK_TEST(scale_keeps_colours_and_averages_when_shrinking)
{
    static const uint32_t to_sizes[][2] = {{40, 20}, {20, 10}, {13, 7}, {1, 1}, {41, 23}, {80, 40}, {127, 63}};
    lk_picture_pool *pool;
    if (lk_picture_pool_new(&pool, env) != LK_OK)
        return;
    for (size_t s = 0; s < LK_LEN(to_sizes); s++) {
        lk_picture *a = NULL, *b = NULL;
        if (lk_picture_new(&a, pool, LK_VIDEO_I420, 40, 20) == LK_OK &&
            lk_picture_new(&b, pool, LK_VIDEO_I420, to_sizes[s][0], to_sizes[s][1]) == LK_OK) {
            for (size_t i = 0; i < LK_LEN(colours); i++) {
                fill(a, &colours[i], 0);
                a->rotation = LK_VIDEO_ROTATION_270;
                lk_video_view v = lk_picture_view(a);
                CHECK_OK(lk_video_scale(b, &v));
                CHECK_EQ(b->rotation, LK_VIDEO_ROTATION_270);
                CHECK(distance(b, &colours[i]) <= 3); /* boxes are summed in fixed point */
            }
            /* Every second column white: half the size is grey all over. */
            if (to_sizes[s][0] == 20) {
                for (uint32_t y = 0; y < 20; y++) {
                    for (uint32_t x = 0; x < 40; x++)
                        a->planes[0][y * 40 + x] = x % 2 ? 200 : 100;
                }
                lk_video_view v = lk_picture_view(a);
                CHECK_OK(lk_video_scale(b, &v));
                for (uint32_t i = 0; i < 200; i++)
                    CHECK_EQ(b->planes[0][i], 150);
            }
        }
        lk_picture_unref(a);
        lk_picture_unref(b);
    }
    lk_picture_pool_unref(pool);
}
