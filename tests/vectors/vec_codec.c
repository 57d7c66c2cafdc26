// SPDX-License-Identifier: Apache-2.0
/* The encoded clips; those of codecs that are not built are counted as such by name. */
#include "codec/codec.h"
#include "codec/video.h"
#include "open_symbol.h"
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

static void watch_clip(lk_vec *v, const lk_video_codec_ops *codec, json_t *clip)
{
    lk_video_decoder *d;
    json_t *f;
    size_t i;
    lk_env env = *v->env;
    env.sym = open_symbol;
    if (!VEQ(v, codec->decoder_new(&d, &env), LK_OK))
        return;
    json_array_foreach(json_object_get(clip, "frames"), i, f) {
        lk_bytes frame = lk_vec_hex(f, "hex");
        lk_video_view seen = {0};
        if (VEQ(v, codec->decode(d, frame, &seen), LK_OK)) {
            uint8_t darkest = 255, brightest = 0;
            VEQ(v, seen.format, LK_VIDEO_I420);
            VEQ(v, seen.width, lk_vec_u64(clip, "width", 0));
            VEQ(v, seen.height, lk_vec_u64(clip, "height", 0));
            for (size_t y = 0; y < seen.height; y++) {
                for (size_t x = 0; x < seen.width; x++) {
                    uint8_t luma = seen.planes[0][y * seen.stride_bytes[0] + x];
                    darkest = LK_MIN(darkest, luma);
                    brightest = LK_MAX(brightest, luma);
                }
            }
            VCHECK(v, brightest - darkest > 50); /* a picture, not one colour */
        }
        lk_vec_free(frame);
    }
    VCHECK(v, i > 0);
    /* Cut ones: refused or shown in part, never read past their end. */
    json_array_foreach(json_object_get(clip, "frames"), i, f) {
        lk_bytes frame = lk_vec_hex(f, "hex"), cut;
        uint8_t *bytes = frame.len > 1 ? (uint8_t *)lk_alloc(v->env, frame.len / 2) : NULL;
        lk_video_view seen;
        if (VCHECK(v, bytes)) {
            memcpy(bytes, frame.data, frame.len / 2);
            cut = (lk_bytes){bytes, frame.len / 2};
            (void)!codec->decode(d, cut, &seen);
            lk_release(v->env, bytes, frame.len / 2);
        }
        lk_vec_free(frame);
    }
    VEQ(v, codec->decode(d, (lk_bytes){(const uint8_t *)"", 0}, &(lk_video_view){0}), LK_ERR_CODEC);
    codec->decoder_free(d);
}

static void run(lk_vec *v, json_t *file)
{
    size_t decoded = 0;
    LK_VEC_EACH(file, c) {
        const lk_audio_codec_ops *audio = lk_audio_codec_find(lk_vec_text(c, "codec"));
        const lk_video_codec_ops *video = lk_video_codec_find(lk_vec_text(c, "codec"));
        if (!audio && !video)
            continue; /* no row in a table yet */
        lk_vec_begin(v, c);
        if (audio)
            decode_clip(v, audio, c);
        else
            watch_clip(v, video, c);
        decoded++;
    }
    VCHECK(v, decoded >= 3); /* Opus, two of VP8 */
}
LK_VECTOR("payload/clips.json", run)
