// SPDX-License-Identifier: Apache-2.0
#include "codec/codec.h"

#define LK_AUDIO_CODEC(name) extern const lk_audio_codec_ops lk_audio_codec_##name;
#include "codec/codec_table.inc"
#undef LK_AUDIO_CODEC

static const lk_audio_codec_ops *const table[] = {
#define LK_AUDIO_CODEC(name) &lk_audio_codec_##name,
#include "codec/codec_table.inc"
#undef LK_AUDIO_CODEC
};

const lk_audio_codec_ops *lk_audio_codec_at(size_t i) { return i < LK_LEN(table) ? table[i] : NULL; }

const lk_audio_codec_ops *lk_audio_codec_find(const char *name)
{
    for (size_t i = 0; i < LK_LEN(table); i++)
        if (lk_str_ieq(lk_str_of(name), table[i]->name))
            return table[i];
    return NULL;
}
