// SPDX-License-Identifier: Apache-2.0
#include "codec/video.h"

#define LK_VIDEO_CODEC(name) extern const lk_video_codec_ops lk_video_codec_##name;
#include "codec/video_codec_table.inc"
#undef LK_VIDEO_CODEC

static const lk_video_codec_ops *const table[] = {
#define LK_VIDEO_CODEC(name) &lk_video_codec_##name,
#include "codec/video_codec_table.inc"
#undef LK_VIDEO_CODEC
};

const lk_video_codec_ops *lk_video_codec_at(size_t i) { return i < LK_LEN(table) ? table[i] : NULL; }

const lk_video_codec_ops *lk_video_codec_find(const char *name)
{
    for (size_t i = 0; i < LK_LEN(table); i++)
        if (lk_str_ieq(lk_str_of(name), table[i]->name))
            return table[i];
    return NULL;
}
