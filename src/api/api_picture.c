// SPDX-License-Identifier: Apache-2.0
/* An lk_video_frame is an lk_picture of the engine: counted and immutable on both sides of the gate. */
#include "api/api.h"
#include "dsp/video_convert.h"

lk_video_frame *lk_video_frame_keep(lk_video_frame *frame)
{
    return frame ? (lk_video_frame *)lk_picture_ref((lk_picture *)frame) : NULL;
}

void lk_video_frame_drop(lk_video_frame *frame) { lk_picture_unref((lk_picture *)frame); }

lk_video_view lk_video_frame_view(const lk_video_frame *frame)
{
    return frame ? lk_picture_view((const lk_picture *)frame) : (lk_video_view){0};
}

/* A pool of its own for each: nothing stays when the frame goes, and the C library keeps blocks as well. */
static lk_err picture_like(lk_picture **out, const lk_video_view *from, lk_video_format to)
{
    lk_picture_pool *pool;
    lk_err err = lk_picture_pool_new(&pool, api_env());
    if (err)
        return err;
    err = lk_picture_new(out, pool, to, from->width, from->height);
    lk_picture_pool_unref(pool);
    return err;
}

lk_err lk_video_frame_convert(lk_video_frame **out, const lk_video_view *from, lk_video_format to, bool flip_y,
                              lk_error *why)
{
    lk_picture *made = NULL;
    const char *text = "there is no picture";
    lk_err err = out && from ? lk_video_view_check(from, &text) : LK_ERR_INVALID;
    if (err == LK_OK && (unsigned)to >= LK_VIDEO_FORMATS) {
        err = LK_ERR_INVALID;
        text = "the format wanted is unknown";
    } else if (err == LK_OK) {
        err = picture_like(&made, from, to);
        if (err == LK_OK)
            err = lk_video_convert(made, api_env(), from, flip_y);
        text = err == LK_ERR_LIMIT ? "the picture is too large" : lk_err_text(err);
    }
    if (why)
        *why = api_error(err, err ? text : "");
    if (err)
        lk_picture_unref(made);
    else
        *out = (lk_video_frame *)made;
    return err;
}
