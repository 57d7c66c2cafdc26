// SPDX-License-Identifier: Apache-2.0
#include "dsp/resampler.h"

#include <soxr.h>

#define RATE_MAX 10e6
#define CHANNELS_MAX 8

struct lk_dsp_resampler {
    const lk_env *env;
    soxr_t soxr;
    double ratio; /* out / in */
};

lk_err lk_dsp_resampler_new(lk_dsp_resampler **out, const lk_env *env, const lk_dsp_resampler_config *c, const char **why)
{
    static const unsigned long recipes[] = {SOXR_QQ, SOXR_LQ, SOXR_MQ, SOXR_HQ, SOXR_VHQ};
    const char *ignored;
    soxr_error_t error = NULL;
    why = why ? why : &ignored;
    *why = "sample rate, channel count or quality out of range";
    if (!(c->in_rate >= 1 && c->in_rate <= RATE_MAX && c->out_rate >= 1 && c->out_rate <= RATE_MAX) || c->channels < 1 ||
        c->channels > CHANNELS_MAX || c->quality >= LK_LEN(recipes))
        return LK_ERR_INVALID;
    *why = "allocation refused";
    lk_dsp_resampler *r = (lk_dsp_resampler *)lk_alloc0(env, sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    const soxr_io_spec_t io = soxr_io_spec(SOXR_INT16_I, SOXR_INT16_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(recipes[c->quality], c->flags);
    const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    r->env = env;
    r->ratio = c->out_rate / c->in_rate;
    r->soxr = soxr_create(c->in_rate, c->out_rate, c->channels, &error, &io, &quality, &runtime);
    if (!r->soxr) {
        *why = error ? error : "soxr refused";
        lk_release(env, r, sizeof *r);
        return LK_ERR_CODEC;
    }
    *why = "";
    *out = r;
    return LK_OK;
}

void lk_dsp_resampler_free(lk_dsp_resampler *r)
{
    if (!r)
        return;
    soxr_delete(r->soxr);
    lk_release(r->env, r, sizeof *r);
}

/* soxr gives out in blocks: what came in before may come out now. */
size_t lk_dsp_resampler_bound(const lk_dsp_resampler *r, size_t in_frames)
{
    return (size_t)((double)in_frames * r->ratio + soxr_delay(r->soxr)) + 4096;
}

lk_err lk_dsp_resampler_push(lk_dsp_resampler *r, const int16_t *in, size_t in_frames, int16_t *out, size_t out_cap,
                             size_t *out_frames)
{
    size_t used = 0, made = 0;
    if (in_frames && (soxr_process(r->soxr, in, in_frames, &used, out, out_cap, &made) || used != in_frames))
        return LK_ERR_CODEC;
    *out_frames = made;
    return LK_OK;
}

lk_err lk_dsp_resampler_flush(lk_dsp_resampler *r, int16_t *out, size_t out_cap, size_t *out_frames)
{
    size_t made = 0;
    if (soxr_process(r->soxr, NULL, 0, NULL, out, out_cap, &made))
        return LK_ERR_CODEC;
    *out_frames = made;
    if (made < out_cap && soxr_clear(r->soxr))
        return LK_ERR_CODEC;
    return LK_OK;
}
