// SPDX-License-Identifier: Apache-2.0
#include "media/audio_shape.h"

#include "dsp/remix.h"
#include "dsp/resampler.h"

struct lk_audio_shape {
    const lk_env *env;
    lk_audio_shape_config config;
    uint32_t frames;
    lk_dsp_resampler *resampler; /* NULL when the rates are equal */
    int16_t *mixed;              /* one block in the output's channels; only with a resampler */
    int16_t *fifo;
    size_t first, count, cap; /* samples per channel */
};

static size_t mixed_size(const lk_audio_shape *s)
{
    return (size_t)s->config.max_frames * s->config.out_channels * sizeof *s->mixed;
}

static size_t fifo_size(const lk_audio_shape *s) { return s->cap * s->config.out_channels * sizeof *s->fifo; }

void lk_audio_shape_free(lk_audio_shape *s)
{
    if (!s)
        return;
    lk_dsp_resampler_free(s->resampler);
    if (s->mixed)
        lk_release(s->env, s->mixed, mixed_size(s));
    if (s->fifo)
        lk_release(s->env, s->fifo, fifo_size(s));
    lk_release(s->env, s, sizeof *s);
}

lk_err lk_audio_shape_new(lk_audio_shape **out, const lk_env *env, const lk_audio_shape_config *c)
{
    if (c->in_rate < 1000 || c->in_rate > 384000 || c->out_rate < 1000 || c->out_rate > 384000 || c->out_channels < 1 ||
        c->out_channels > 8 || c->frame_msec < 1 || c->frame_msec > 1000 || c->max_frames < 1)
        return LK_ERR_INVALID;
    lk_audio_shape *s = (lk_audio_shape *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->config = *c;
    s->frames = (uint32_t)((uint64_t)c->out_rate * c->frame_msec / 1000);
    lk_err err = LK_OK;
    size_t step = c->max_frames;
    if (c->in_rate != c->out_rate) {
        const lk_dsp_resampler_config config = {
            .in_rate = c->in_rate, .out_rate = c->out_rate, .channels = c->out_channels, .quality = 2};
        err = lk_dsp_resampler_new(&s->resampler, env, &config, NULL);
        if (err == LK_OK) {
            step = lk_dsp_resampler_bound(s->resampler, c->max_frames);
            s->mixed = (int16_t *)lk_alloc(env, mixed_size(s));
        }
    }
    s->cap = s->frames + step;
    s->fifo = (int16_t *)lk_alloc(env, fifo_size(s));
    if (err == LK_OK && (!s->fifo || (s->resampler && !s->mixed)))
        err = LK_ERR_NOMEM;
    if (err)
        lk_audio_shape_free(s);
    else
        *out = s;
    return err;
}

uint32_t lk_audio_shape_frames(const lk_audio_shape *s) { return s->frames; }

lk_err lk_audio_shape_push(lk_audio_shape *s, const int16_t *in, uint32_t channels, uint32_t frames)
{
    const uint32_t n = s->config.out_channels;
    if (frames > s->config.max_frames)
        return LK_ERR_INVALID;
    memmove(s->fifo, s->fifo + s->first * n, s->count * n * sizeof *s->fifo);
    s->first = 0;
    int16_t *end = s->fifo + s->count * n;
    size_t added = frames;
    if (s->resampler) {
        lk_dsp_remix(in, channels, s->mixed, n, frames);
        lk_err err = lk_dsp_resampler_push(s->resampler, s->mixed, frames, end, s->cap - s->count, &added);
        if (err)
            return err;
    } else {
        lk_dsp_remix(in, channels, end, n, frames);
    }
    s->count += added;
    return LK_OK;
}

const int16_t *lk_audio_shape_next(lk_audio_shape *s)
{
    if (s->count < s->frames)
        return NULL;
    const int16_t *at = s->fifo + s->first * s->config.out_channels;
    s->first += s->frames;
    s->count -= s->frames;
    return at;
}
