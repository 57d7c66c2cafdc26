// SPDX-License-Identifier: Apache-2.0
/* dsp/video_convert.h - pixels from one format, size or orientation to another, over libyuv.
 *
 * In:      a checked view (lk_video_view_check).
 * Out:     pixels in a picture the caller made in the wanted format and size.
 * Owner:   no state. Any thread (workers).
 * Limits:  as frame/picture.h.
 * Deviates: rows in between (a few hundred kB at most, RGB24 and scaling) are taken by libyuv from the C library,
 *          outside of lk_env.
 */
#pragma once
#include "frame/picture.h"

/* Is there a way from this format to that one? (Every pair through I420 at most.) */
bool lk_video_convert_known(lk_video_format from, lk_video_format to);
/* to: made by the caller, same width and height. flip_y: upside down. timestamp and rotation are copied. UNSUPPORTED: no
 * way; INVALID: sizes differ; NOMEM (env: for a picture in between). BT.601 limited range for YUV. */
LK_NODISCARD lk_err lk_video_convert(lk_picture *to, const lk_env *env, const lk_video_view *from, bool flip_y);
/* I420 only: to is the smaller or larger picture. Box filter when shrinking. INVALID: not I420. */
LK_NODISCARD lk_err lk_video_scale(lk_picture *to, const lk_video_view *from);
/* I420 only: turns upright what from->rotation says; to has the sides exchanged for 90 and 270. INVALID. */
LK_NODISCARD lk_err lk_video_turn(lk_picture *to, const lk_video_view *from);
