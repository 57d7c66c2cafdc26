// SPDX-License-Identifier: Apache-2.0
/* Conversion on the caller's thread. */
#include "api/api.h"
#include "dsp/remix.h"
#include "dsp/resampler.h"
#include "frame/frame.h"

#define RATE_MIN 1000
#define RATE_MAX 384000
#define CHANNELS_MAX 8
#define PUSH_SECONDS_MAX 10

struct lk_resampler {
    api_object o;
    lk_resampler_options options;
    lk_dsp_resampler *soxr;
    int16_t *out;
    size_t cap; /* frames */
};

struct lk_remixer {
    api_object o;
    lk_frame_pool *pool;
    /* the filter of the last pair of formats */
    lk_dsp_resampler *soxr;
    uint32_t in_rate, out_rate, channels;
    int16_t *mixed, *converted;
    size_t mixed_size, converted_size;
};

/* ---- streaming -------------------------------------------------------------------------------------------- */

void lk_resampler_options_init(lk_resampler_options *options)
{
    *options = (lk_resampler_options){.size = sizeof *options,
                                      .input_rate = 48000,
                                      .output_rate = 48000,
                                      .num_channels = 1,
                                      .quality = LK_RESAMPLER_MEDIUM};
}

static void resampler_destroy(api_object *o)
{
    lk_resampler *r = (lk_resampler *)o;
    lk_dsp_resampler_free(r->soxr);
    api_release(r->out, r->cap * r->options.num_channels * sizeof *r->out);
    api_release(r, sizeof *r);
}

lk_err lk_resampler_new(lk_resampler **out, const lk_resampler_options *options, lk_error *why)
{
    lk_error ignored;
    const char *text = "";
    lk_resampler_options o;
    lk_resampler_options_init(&o);
    why = why ? why : &ignored;
    if (!out)
        return LK_ERR_INVALID;
    if (options)
        memcpy(&o, options, LK_MIN((size_t)options->size, sizeof o));
    lk_resampler *r = (lk_resampler *)api_alloc0(sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    api_object_init(&r->o, NULL, NULL, resampler_destroy);
    const lk_dsp_resampler_config config = {.in_rate = o.input_rate,
                                            .out_rate = o.output_rate,
                                            .channels = o.num_channels,
                                            .quality = (uint32_t)o.quality,
                                            .flags = o.flags};
    r->options = o;
    lk_err err = lk_dsp_resampler_new(&r->soxr, api_env(), &config, &text);
    *why = api_error(err, err ? text : "");
    if (err)
        api_user_unref(r);
    else
        *out = r;
    return err;
}

lk_resampler *lk_resampler_ref(lk_resampler *r) { return (lk_resampler *)api_user_ref(r); }
void lk_resampler_unref(lk_resampler *r) { api_user_unref(r); }

uint32_t lk_resampler_channels(const lk_resampler *r) { return r ? r->options.num_channels : 0; }

static lk_err make_room(lk_resampler *r, size_t in_frames)
{
    size_t need = lk_dsp_resampler_bound(r->soxr, in_frames), unit = r->options.num_channels * sizeof *r->out;
    if (need <= r->cap)
        return LK_OK;
    int16_t *more = (int16_t *)api_alloc0(need * unit);
    if (!more)
        return LK_ERR_NOMEM;
    api_release(r->out, r->cap * unit);
    r->out = more;
    r->cap = need;
    return LK_OK;
}

lk_err lk_resampler_push(const int16_t **out, size_t *out_samples, lk_resampler *r, const int16_t *data, size_t samples)
{
    if (!out || !out_samples || !r || (!data && samples))
        return LK_ERR_INVALID;
    if ((double)samples > r->options.input_rate * PUSH_SECONDS_MAX)
        return LK_ERR_LIMIT;
    lk_err err = make_room(r, samples);
    if (err == LK_OK)
        err = lk_dsp_resampler_push(r->soxr, data, samples, r->out, r->cap, out_samples);
    if (err == LK_OK)
        *out = r->out;
    return err;
}

lk_err lk_resampler_flush(const int16_t **out, size_t *out_samples, lk_resampler *r)
{
    if (!out || !out_samples || !r)
        return LK_ERR_INVALID;
    lk_err err = make_room(r, 0);
    if (err == LK_OK)
        err = lk_dsp_resampler_flush(r->soxr, r->out, r->cap, out_samples);
    if (err == LK_OK)
        *out = r->out;
    return err;
}

/* ---- single frames --------------------------------------------------------------------------------------------- */

static void remixer_destroy(api_object *o)
{
    lk_remixer *m = (lk_remixer *)o;
    lk_dsp_resampler_free(m->soxr);
    api_release(m->mixed, m->mixed_size);
    api_release(m->converted, m->converted_size);
    lk_frame_pool_unref(m->pool);
    api_release(m, sizeof *m);
}

lk_err lk_remixer_new(lk_remixer **out)
{
    if (!out)
        return LK_ERR_INVALID;
    lk_remixer *m = (lk_remixer *)api_alloc0(sizeof *m);
    if (!m)
        return LK_ERR_NOMEM;
    api_object_init(&m->o, NULL, NULL, remixer_destroy);
    if (lk_frame_pool_new(&m->pool, api_env()) != LK_OK) {
        api_user_unref(m);
        return LK_ERR_NOMEM;
    }
    *out = m;
    return LK_OK;
}

lk_remixer *lk_remixer_ref(lk_remixer *m) { return (lk_remixer *)api_user_ref(m); }
void lk_remixer_unref(lk_remixer *m) { api_user_unref(m); }

static int16_t *scratch(int16_t **block, size_t *size, size_t need)
{
    if (*size < need) {
        int16_t *more = (int16_t *)api_alloc0(need);
        if (!more)
            return NULL;
        api_release(*block, *size);
        *block = more;
        *size = need;
    }
    return *block;
}

/* in_frames at in_rate become exactly `want` frames: what the filter still holds back is silence at the start. */
static lk_err convert(lk_remixer *m, const int16_t *in, size_t in_frames, uint32_t in_rate, uint32_t out_rate, uint32_t channels,
                      int16_t *out, size_t want)
{
    if (in_rate == out_rate) {
        size_t n = LK_MIN(in_frames, want);
        memcpy(out, in, n * channels * sizeof *out);
        memset(out + n * channels, 0, (want - n) * channels * sizeof *out);
        return LK_OK;
    }
    if (!m->soxr || m->in_rate != in_rate || m->out_rate != out_rate || m->channels != channels) {
        const lk_dsp_resampler_config config = {.in_rate = in_rate, .out_rate = out_rate, .channels = channels, .quality = 1};
        lk_dsp_resampler_free(m->soxr);
        m->soxr = NULL;
        lk_err err = lk_dsp_resampler_new(&m->soxr, api_env(), &config, NULL);
        if (err)
            return err;
        m->in_rate = in_rate;
        m->out_rate = out_rate;
        m->channels = channels;
    }
    size_t cap = lk_dsp_resampler_bound(m->soxr, in_frames), made = 0;
    int16_t *buffer = scratch(&m->converted, &m->converted_size, cap * channels * sizeof *buffer);
    if (!buffer)
        return LK_ERR_NOMEM;
    lk_err err = lk_dsp_resampler_push(m->soxr, in, in_frames, buffer, cap, &made);
    if (err)
        return err;
    size_t n = LK_MIN(made, want);
    memset(out, 0, (want - n) * channels * sizeof *out);
    memcpy(out + (want - n) * channels, buffer + (made - n) * channels, n * channels * sizeof *out);
    return LK_OK;
}

lk_err lk_remixer_process(lk_audio_frame **out, lk_remixer *m, const lk_audio_view *audio, uint32_t sample_rate,
                          uint32_t num_channels)
{
    lk_frame *f;
    if (!out || !m || !audio || (!audio->data && audio->samples_per_channel) || sample_rate < RATE_MIN || sample_rate > RATE_MAX ||
        num_channels < 1 || num_channels > CHANNELS_MAX || audio->sample_rate < RATE_MIN || audio->sample_rate > RATE_MAX ||
        audio->num_channels < 1 || audio->num_channels > CHANNELS_MAX || audio->samples_per_channel > audio->sample_rate)
        return LK_ERR_INVALID;
    size_t want = sample_rate / 100, in_frames = audio->samples_per_channel;
    int16_t *mixed = scratch(&m->mixed, &m->mixed_size, LK_MAX(in_frames, (size_t)1) * num_channels * sizeof *mixed);
    if (!mixed)
        return LK_ERR_NOMEM;
    lk_dsp_remix(audio->data, audio->num_channels, mixed, num_channels, in_frames);
    lk_err err = lk_frame_new(&f, m->pool, sample_rate, num_channels, (uint32_t)want);
    if (err)
        return err;
    err = convert(m, mixed, in_frames, audio->sample_rate, sample_rate, num_channels, f->data, want);
    if (err)
        lk_frame_unref(f);
    else
        *out = (lk_audio_frame *)f;
    return err;
}
