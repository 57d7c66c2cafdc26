// SPDX-License-Identifier: Apache-2.0
/* Every pair of formats: one step of libyuv, one step and a shuffle of bytes in the destination, or two steps with a
 * picture in between (BGRA towards the RGB family or out of it, I420 among the others). libyuv names the RGB family by
 * little-endian words: its ARGB is our BGRA, its ABGR our RGBA, its RAW our RGB24. */
#include "dsp/video_convert.h"

#include <libyuv.h>

/* Pixels as libyuv wants them: strides are signed, so upside down is a matter of the first row and the sign. */
typedef struct side {
    lk_video_format format;
    uint32_t width, height;
    uint8_t *p[LK_VIDEO_PLANES_MAX];
    int s[LK_VIDEO_PLANES_MAX];
} side;

typedef int (*step)(const side *to, const side *from, int w, int h);

#define P8(a, i) (a)->p[i], (a)->s[i]
#define P16(a, i) (void *)(a)->p[i], (a)->s[i] / 2
#define STEP(name, ...)                                                  \
    static int name(const side *to, const side *from, int w, int h)     \
    {                                                                    \
        return (__VA_ARGS__);                                            \
    }
#define STEP_1_TO_1(fn) STEP(step_##fn, fn(P8(from, 0), P8(to, 0), w, h))
#define STEP_1_TO_2(fn) STEP(step_##fn, fn(P8(from, 0), P8(to, 0), P8(to, 1), w, h))
#define STEP_1_TO_3(fn) STEP(step_##fn, fn(P8(from, 0), P8(to, 0), P8(to, 1), P8(to, 2), w, h))
#define STEP_2_TO_1(fn) STEP(step_##fn, fn(P8(from, 0), P8(from, 1), P8(to, 0), w, h))
#define STEP_3_TO_1(fn) STEP(step_##fn, fn(P8(from, 0), P8(from, 1), P8(from, 2), P8(to, 0), w, h))

STEP_1_TO_3(ABGRToI420)
STEP_1_TO_3(RGBAToI420)
STEP_1_TO_3(BGRAToI420)
STEP_1_TO_3(ARGBToI420)
STEP_1_TO_3(RAWToI420)
STEP_1_TO_3(ARGBToI422)
STEP_1_TO_3(ARGBToI444)
STEP_1_TO_2(ARGBToNV12)
STEP_1_TO_2(ABGRToNV12)
STEP_1_TO_1(ARGBToRAW)
STEP_1_TO_1(ARGBToRGB24)
STEP_1_TO_1(RAWToARGB)
STEP_3_TO_1(I420ToABGR)
STEP_3_TO_1(I420ToRGBA)
STEP_3_TO_1(I420ToBGRA)
STEP_3_TO_1(I420ToARGB)
STEP_3_TO_1(I420ToRAW)
STEP_3_TO_1(I422ToABGR)
STEP_3_TO_1(I422ToRGBA)
STEP_3_TO_1(I422ToBGRA)
STEP_3_TO_1(I422ToARGB)
STEP_3_TO_1(I422ToRAW)
STEP_3_TO_1(I444ToABGR)
STEP_3_TO_1(I444ToARGB)
STEP_3_TO_1(I444ToRAW)
STEP_2_TO_1(NV12ToABGR)
STEP_2_TO_1(NV12ToARGB)
STEP_2_TO_1(NV12ToRAW)
STEP(step_I010ToABGR, I010ToABGR(P16(from, 0), P16(from, 1), P16(from, 2), P8(to, 0), w, h))
STEP(step_I010ToARGB, I010ToARGB(P16(from, 0), P16(from, 1), P16(from, 2), P8(to, 0), w, h))
STEP(step_I420AToABGR, I420AlphaToABGR(P8(from, 0), P8(from, 1), P8(from, 2), P8(from, 3), P8(to, 0), w, h, 0))
STEP(step_I420AToARGB, I420AlphaToARGB(P8(from, 0), P8(from, 1), P8(from, 2), P8(from, 3), P8(to, 0), w, h, 0))
STEP(step_ARGBToI420A, ARGBToI420(P8(from, 0), P8(to, 0), P8(to, 1), P8(to, 2), w, h) ||
                           ARGBExtractAlpha(P8(from, 0), P8(to, 3), w, h))
STEP(step_NV12ToI420, NV12ToI420(P8(from, 0), P8(from, 1), P8(to, 0), P8(to, 1), P8(to, 2), w, h))
STEP(step_I420ToNV12, I420ToNV12(P8(from, 0), P8(from, 1), P8(from, 2), P8(to, 0), P8(to, 1), w, h))
STEP(step_I010ToI420, I010ToI420(P16(from, 0), P16(from, 1), P16(from, 2), P8(to, 0), P8(to, 1), P8(to, 2), w, h))
STEP(step_I420ToI010, I420ToI010(P8(from, 0), P8(from, 1), P8(from, 2), P16(to, 0), P16(to, 1), P16(to, 2), w, h))

/* Same format: rows of bytes. */
static int copy(const side *to, const side *from, int w, int h)
{
    lk_picture_layout l;
    if (lk_picture_layout_of(&l, from->format, (uint32_t)w, (uint32_t)h) != LK_OK)
        return -1;
    for (uint32_t i = 0; i < l.planes; i++)
        CopyPlane(P8(from, i), P8(to, i), (int)l.row_bytes[i], (int)l.rows[i]);
    return 0;
}

/* Among I420, I420A, I422 and I444: chroma planes of other sizes. Alpha stays or is opaque. */
static int planar(const side *to, const side *from, int w, int h)
{
    lk_picture_layout a, b;
    if (lk_picture_layout_of(&a, from->format, (uint32_t)w, (uint32_t)h) != LK_OK ||
        lk_picture_layout_of(&b, to->format, (uint32_t)w, (uint32_t)h) != LK_OK)
        return -1;
    for (int i = 0; i < 3; i++)
        ScalePlane(P8(from, i), (int)a.row_bytes[i], (int)a.rows[i], P8(to, i), (int)b.row_bytes[i], (int)b.rows[i],
                   kFilterBilinear);
    if (to->format == LK_VIDEO_I420A && from->format == LK_VIDEO_I420A)
        CopyPlane(P8(from, 3), P8(to, 3), w, h);
    else if (to->format == LK_VIDEO_I420A)
        SetPlane(P8(to, 3), w, h, 255);
    return 0;
}

/* Four bytes a pixel in another order; to and from may be the same memory. */
static int shuffle(const side *to, const side *from, int w, int h)
{
    static const char orders[][5] = {
        [LK_VIDEO_RGBA] = "RGBA", [LK_VIDEO_ABGR] = "ABGR", [LK_VIDEO_ARGB] = "ARGB", [LK_VIDEO_BGRA] = "BGRA"};
    uint8_t pick[16]; /* of each byte of four pixels: which byte of the source */
    for (size_t i = 0; i < 16; i++) {
        const char *have = orders[from->format];
        size_t at = 0;
        while (have[at] != orders[to->format][i % 4])
            at++;
        pick[i] = (uint8_t)(i / 4 * 4 + at);
    }
    return ARGBShuffle(P8(from, 0), P8(to, 0), pick, w, h);
}

/* Row: from, column: to. NULL: by two steps. */
static const step steps[LK_VIDEO_FORMATS][LK_VIDEO_FORMATS] = {
    [LK_VIDEO_RGBA] = {[LK_VIDEO_RGBA] = copy,
                       [LK_VIDEO_ABGR] = shuffle,
                       [LK_VIDEO_ARGB] = shuffle,
                       [LK_VIDEO_BGRA] = shuffle,
                       [LK_VIDEO_RGB24] = step_ARGBToRGB24, /* red first in both */
                       [LK_VIDEO_I420] = step_ABGRToI420,
                       [LK_VIDEO_NV12] = step_ABGRToNV12},
    [LK_VIDEO_ABGR] = {[LK_VIDEO_RGBA] = shuffle,
                       [LK_VIDEO_ABGR] = copy,
                       [LK_VIDEO_ARGB] = shuffle,
                       [LK_VIDEO_BGRA] = shuffle,
                       [LK_VIDEO_I420] = step_RGBAToI420},
    [LK_VIDEO_ARGB] = {[LK_VIDEO_RGBA] = shuffle,
                       [LK_VIDEO_ABGR] = shuffle,
                       [LK_VIDEO_ARGB] = copy,
                       [LK_VIDEO_BGRA] = shuffle,
                       [LK_VIDEO_I420] = step_BGRAToI420},
    [LK_VIDEO_BGRA] = {[LK_VIDEO_RGBA] = shuffle,
                       [LK_VIDEO_ABGR] = shuffle,
                       [LK_VIDEO_ARGB] = shuffle,
                       [LK_VIDEO_BGRA] = copy,
                       [LK_VIDEO_RGB24] = step_ARGBToRAW,
                       [LK_VIDEO_I420] = step_ARGBToI420,
                       [LK_VIDEO_I420A] = step_ARGBToI420A,
                       [LK_VIDEO_I422] = step_ARGBToI422,
                       [LK_VIDEO_I444] = step_ARGBToI444,
                       [LK_VIDEO_NV12] = step_ARGBToNV12},
    [LK_VIDEO_RGB24] = {[LK_VIDEO_BGRA] = step_RAWToARGB, [LK_VIDEO_RGB24] = copy, [LK_VIDEO_I420] = step_RAWToI420},
    [LK_VIDEO_I420] = {[LK_VIDEO_RGBA] = step_I420ToABGR,
                       [LK_VIDEO_ABGR] = step_I420ToRGBA,
                       [LK_VIDEO_ARGB] = step_I420ToBGRA,
                       [LK_VIDEO_BGRA] = step_I420ToARGB,
                       [LK_VIDEO_RGB24] = step_I420ToRAW,
                       [LK_VIDEO_I420] = copy,
                       [LK_VIDEO_I420A] = planar,
                       [LK_VIDEO_I422] = planar,
                       [LK_VIDEO_I444] = planar,
                       [LK_VIDEO_I010] = step_I420ToI010,
                       [LK_VIDEO_NV12] = step_I420ToNV12},
    [LK_VIDEO_I420A] = {[LK_VIDEO_RGBA] = step_I420AToABGR,
                        [LK_VIDEO_BGRA] = step_I420AToARGB,
                        [LK_VIDEO_RGB24] = step_I420ToRAW, /* alpha has no place to go */
                        [LK_VIDEO_I420] = planar,
                        [LK_VIDEO_I420A] = copy,
                        [LK_VIDEO_I422] = planar,
                        [LK_VIDEO_I444] = planar,
                        [LK_VIDEO_I010] = step_I420ToI010,
                        [LK_VIDEO_NV12] = step_I420ToNV12},
    [LK_VIDEO_I422] = {[LK_VIDEO_RGBA] = step_I422ToABGR,
                       [LK_VIDEO_ABGR] = step_I422ToRGBA,
                       [LK_VIDEO_ARGB] = step_I422ToBGRA,
                       [LK_VIDEO_BGRA] = step_I422ToARGB,
                       [LK_VIDEO_RGB24] = step_I422ToRAW,
                       [LK_VIDEO_I420] = planar,
                       [LK_VIDEO_I420A] = planar,
                       [LK_VIDEO_I422] = copy,
                       [LK_VIDEO_I444] = planar},
    [LK_VIDEO_I444] = {[LK_VIDEO_RGBA] = step_I444ToABGR,
                       [LK_VIDEO_BGRA] = step_I444ToARGB,
                       [LK_VIDEO_RGB24] = step_I444ToRAW,
                       [LK_VIDEO_I420] = planar,
                       [LK_VIDEO_I420A] = planar,
                       [LK_VIDEO_I422] = planar,
                       [LK_VIDEO_I444] = copy},
    [LK_VIDEO_I010] = {[LK_VIDEO_RGBA] = step_I010ToABGR,
                       [LK_VIDEO_BGRA] = step_I010ToARGB,
                       [LK_VIDEO_I420] = step_I010ToI420,
                       [LK_VIDEO_I010] = copy},
    [LK_VIDEO_NV12] = {[LK_VIDEO_RGBA] = step_NV12ToABGR,
                       [LK_VIDEO_BGRA] = step_NV12ToARGB,
                       [LK_VIDEO_RGB24] = step_NV12ToRAW,
                       [LK_VIDEO_I420] = step_NV12ToI420,
                       [LK_VIDEO_NV12] = copy},
};

static bool is_four_bytes(lk_video_format f) { return f <= LK_VIDEO_BGRA; }

static side side_of_view(const lk_video_view *v)
{
    side a = {.format = v->format, .width = v->width, .height = v->height};
    for (int i = 0; i < LK_VIDEO_PLANES_MAX; i++) {
        a.p[i] = (uint8_t *)v->planes[i]; /* never written to */
        a.s[i] = (int)v->stride_bytes[i];
    }
    return a;
}

static side side_of_picture(const lk_picture *p)
{
    lk_video_view v = lk_picture_view(p);
    return side_of_view(&v);
}

static void turn_over(side *a)
{
    lk_picture_layout l;
    if (lk_picture_layout_of(&l, a->format, a->width, a->height) != LK_OK)
        return;
    for (uint32_t i = 0; i < l.planes; i++) {
        a->p[i] += (ptrdiff_t)a->s[i] * (ptrdiff_t)(l.rows[i] - 1);
        a->s[i] = -a->s[i];
    }
}

/* Two rows share one of chroma, from the top. Of an odd height they must be paired as they lie on that side. */
static bool halves_rows(lk_video_format f)
{
    return f == LK_VIDEO_I420 || f == LK_VIDEO_I420A || f == LK_VIDEO_I010 || f == LK_VIDEO_NV12;
}

static bool run(const side *to, const side *from)
{
    int w = (int)from->width, h = (int)from->height;
    step direct = steps[from->format][to->format];
    if (direct)
        return direct(to, from, w, h) == 0;
    side bgra = *to;
    bgra.format = LK_VIDEO_BGRA;
    return steps[from->format][LK_VIDEO_BGRA](&bgra, from, w, h) == 0 && shuffle(to, &bgra, w, h) == 0;
}

/* Can run() do it? */
static bool is_one_step(lk_video_format from, lk_video_format to)
{
    return steps[from][to] || (is_four_bytes(to) && steps[from][LK_VIDEO_BGRA]);
}

static lk_video_format between(lk_video_format from, lk_video_format to)
{
    bool rgb = from <= LK_VIDEO_RGB24 || to <= LK_VIDEO_RGB24; /* keeps what I420 would lose */
    return rgb && is_one_step(from, LK_VIDEO_BGRA) && is_one_step(LK_VIDEO_BGRA, to) ? LK_VIDEO_BGRA : LK_VIDEO_I420;
}

bool lk_video_convert_known(lk_video_format from, lk_video_format to)
{
    if ((unsigned)from >= LK_VIDEO_FORMATS || (unsigned)to >= LK_VIDEO_FORMATS)
        return false;
    lk_video_format middle = between(from, to);
    return is_one_step(from, to) || (is_one_step(from, middle) && is_one_step(middle, to));
}

static lk_err run_twice(const side *to, const lk_env *env, const side *from)
{
    lk_picture_layout l;
    side middle = {.format = between(from->format, to->format), .width = from->width, .height = from->height};
    lk_err err = lk_picture_layout_of(&l, middle.format, middle.width, middle.height);
    if (err != LK_OK)
        return err;
    size_t size = 0, at = 0;
    for (uint32_t i = 0; i < l.planes; i++)
        size += (size_t)l.row_bytes[i] * l.rows[i];
    uint8_t *block = lk_alloc(env, size);
    if (!block)
        return LK_ERR_NOMEM;
    for (uint32_t i = 0; i < l.planes; i++) {
        middle.p[i] = block + at;
        middle.s[i] = (int)l.row_bytes[i];
        at += (size_t)l.row_bytes[i] * l.rows[i];
    }
    bool ok = run(&middle, from) && run(to, &middle);
    lk_release(env, block, size);
    return ok ? LK_OK : LK_ERR_INTERNAL;
}

lk_err lk_video_convert(lk_picture *to, const lk_env *env, const lk_video_view *from, bool flip_y)
{
    if (!lk_video_convert_known(from->format, to->format))
        return LK_ERR_UNSUPPORTED;
    if (from->width != to->width || from->height != to->height || lk_video_view_check(from, NULL) != LK_OK)
        return LK_ERR_INVALID;
    side a = side_of_view(from), b = side_of_picture(to);
    if (flip_y)
        turn_over(halves_rows(a.format) && !halves_rows(b.format) ? &b : &a);
    lk_err err = !is_one_step(a.format, b.format) ? run_twice(&b, env, &a) : run(&b, &a) ? LK_OK : LK_ERR_INTERNAL;
    to->rotation = from->rotation;
    to->timestamp_usec = from->timestamp_usec;
    return err;
}

static bool is_i420_pair(const lk_picture *to, const lk_video_view *from)
{
    return to->format == LK_VIDEO_I420 && from->format == LK_VIDEO_I420 && lk_video_view_check(from, NULL) == LK_OK;
}

lk_err lk_video_scale(lk_picture *to, const lk_video_view *from)
{
    if (!is_i420_pair(to, from))
        return LK_ERR_INVALID;
    side a = side_of_view(from), b = side_of_picture(to);
    to->rotation = from->rotation;
    to->timestamp_usec = from->timestamp_usec;
    int bad = I420Scale(P8(&a, 0), P8(&a, 1), P8(&a, 2), (int)a.width, (int)a.height, P8(&b, 0), P8(&b, 1), P8(&b, 2),
                        (int)b.width, (int)b.height, kFilterBox);
    return bad ? LK_ERR_INTERNAL : LK_OK;
}

lk_err lk_video_turn(lk_picture *to, const lk_video_view *from)
{
    static const enum RotationMode modes[] = {kRotate0, kRotate90, kRotate180, kRotate270};
    if (!is_i420_pair(to, from))
        return LK_ERR_INVALID;
    bool across = from->rotation == LK_VIDEO_ROTATION_90 || from->rotation == LK_VIDEO_ROTATION_270;
    if (to->width != (across ? from->height : from->width) || to->height != (across ? from->width : from->height))
        return LK_ERR_INVALID;
    side a = side_of_view(from), b = side_of_picture(to);
    to->rotation = LK_VIDEO_ROTATION_0;
    to->timestamp_usec = from->timestamp_usec;
    int bad = I420Rotate(P8(&a, 0), P8(&a, 1), P8(&a, 2), P8(&b, 0), P8(&b, 1), P8(&b, 2), (int)a.width, (int)a.height,
                         modes[from->rotation]);
    return bad ? LK_ERR_INTERNAL : LK_OK;
}
