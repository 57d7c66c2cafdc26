// SPDX-License-Identifier: Apache-2.0
/* Requests about audio converters. One converter may be asked by several threads: each has a lock. */
#include <pthread.h>
#include <stdatomic.h>

#include <stdlib.h>

#include "ffi/ffi_calls.h"

#define PIECE_SECONDS 5 /* the C API takes no more than 10 s at once */

typedef struct converter {
    atomic_uint refs;
    pthread_mutex_t lock; /* all below */
    lk_remixer *remixer;
    lk_resampler *resampler;
    uint32_t num_channels;
    size_t piece_samples; /* per channel */
    int16_t *joined;      /* output of an input of several pieces */
    size_t joined_bytes, joined_cap;
} converter;

static converter *converter_new(void)
{
    converter *c = (converter *)calloc(1, sizeof *c);
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void *ffi_converter_ref(void *object)
{
    converter *c = (converter *)object;
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void ffi_converter_unref(void *object)
{
    converter *c = (converter *)object;
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    lk_remixer_unref(c->remixer);
    lk_resampler_unref(c->resampler);
    free(c->joined);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- single frames ------------------------------------------------------------------------------------------ */

bool ffi_do_new_audio_resampler(ffi_call *c, const Livekit__Proto__NewAudioResamplerRequest *m,
                                Livekit__Proto__NewAudioResamplerResponse *r)
{
    LK_UNUSED(m);
    converter *made = converter_new();
    if (!made || lk_remixer_new(&made->remixer) != LK_OK) {
        ffi_converter_unref(made);
        return ffi_reject_err(c, LK_ERR_NOMEM);
    }
    r->resampler = NEW(&c->build, owned_audio_resampler);
    r->resampler->handle = ffi_owned(&c->build, ffi_handle_new(FFI_RESAMPLER, made, 0));
    return true;
}

bool ffi_do_remix_and_resample(ffi_call *c, const Livekit__Proto__RemixAndResampleRequest *m,
                               Livekit__Proto__RemixAndResampleResponse *r)
{
    lk_audio_frame *frame = NULL;
    converter *remix = (converter *)ffi_handle_get(c, m->resampler_handle, FFI_RESAMPLER);
    if (!remix)
        return false;
    lk_err err = LK_ERR_INVALID;
    if (m->buffer && m->buffer->data_ptr) {
        const lk_audio_view audio = {(const int16_t *)(uintptr_t)m->buffer->data_ptr, m->buffer->samples_per_channel,
                                     m->buffer->sample_rate, m->buffer->num_channels};
        pthread_mutex_lock(&remix->lock);
        err = lk_remixer_process(&frame, remix->remixer, &audio, m->sample_rate, m->num_channels);
        pthread_mutex_unlock(&remix->lock);
    }
    ffi_converter_unref(remix);
    if (err)
        return ffi_reject(c, err == LK_ERR_INVALID ? "remix_and_resample: no data, or rate or channel count out of range"
                                                   : lk_err_text(err));
    r->buffer = ffi_own_frame(&c->build, frame);
    return true;
}

/* ---- soxr ----------------------------------------------------------------------------------------------------- */

/* NULL: *why. */
static converter *new_soxr(const Livekit__Proto__NewSoxResamplerRequest *m, lk_error *why)
{
    lk_resampler_options o;
    lk_resampler_options_init(&o);
    o.input_rate = m->input_rate;
    o.output_rate = m->output_rate;
    o.num_channels = m->num_channels;
    o.quality = (lk_resampler_quality)m->quality_recipe;
    o.flags = m->has_flags ? m->flags : 0;
    *why = (lk_error){LK_ERR_INVALID, "only INT16I is supported"};
    if (m->input_data_type != LIVEKIT__PROTO__SOX_RESAMPLER_DATA_TYPE__SOXR_DATATYPE_INT16I ||
        m->output_data_type != LIVEKIT__PROTO__SOX_RESAMPLER_DATA_TYPE__SOXR_DATATYPE_INT16I)
        return NULL;
    converter *c = converter_new();
    lk_err err = c ? lk_resampler_new(&c->resampler, &o, why) : LK_ERR_NOMEM;
    if (err) {
        if (!why->text[0] || !c)
            (void)lk_str_copy(why->text, sizeof why->text, lk_str_of(lk_err_text(err)));
        ffi_converter_unref(c);
        return NULL;
    }
    c->num_channels = o.num_channels;
    c->piece_samples = LK_MAX((size_t)(LK_MIN(o.input_rate, 1e9) * PIECE_SECONDS), (size_t)1);
    return c;
}

bool ffi_do_new_sox_resampler(ffi_call *c, const Livekit__Proto__NewSoxResamplerRequest *m,
                              Livekit__Proto__NewSoxResamplerResponse *r)
{
    lk_error why;
    converter *soxr = new_soxr(m, &why);
    if (!soxr) {
        char *text = (char *)ffi_alloc(&c->build, sizeof why.text);
        memcpy(text, why.text, sizeof why.text);
        r->message_case = LIVEKIT__PROTO__NEW_SOX_RESAMPLER_RESPONSE__MESSAGE_ERROR;
        r->error = text;
        return true;
    }
    r->message_case = LIVEKIT__PROTO__NEW_SOX_RESAMPLER_RESPONSE__MESSAGE_RESAMPLER;
    r->resampler = NEW(&c->build, owned_sox_resampler);
    r->resampler->handle = ffi_owned(&c->build, ffi_handle_new(FFI_SOX, soxr, 0));
    return true;
}

static lk_err join(converter *c, const int16_t *data, size_t samples)
{
    size_t bytes = samples * c->num_channels * sizeof *data;
    if (c->joined_bytes + bytes > c->joined_cap) {
        size_t cap = LK_MAX(c->joined_cap * 2, c->joined_bytes + bytes);
        int16_t *grown = (int16_t *)realloc(c->joined, cap);
        if (!grown)
            return LK_ERR_NOMEM;
        c->joined = grown;
        c->joined_cap = cap;
    }
    if (bytes)
        memcpy((uint8_t *)c->joined + c->joined_bytes, data, bytes);
    c->joined_bytes += bytes;
    return LK_OK;
}

/* *out lives until the next call on this converter; a long input goes through in pieces. */
static lk_err push(converter *c, const int16_t *data, size_t samples, const int16_t **out, size_t *out_bytes)
{
    size_t made = 0;
    lk_err err = LK_OK;
    if (samples <= c->piece_samples) {
        err = lk_resampler_push(out, &made, c->resampler, data, samples);
        *out_bytes = err ? 0 : made * c->num_channels * sizeof *data;
        return err;
    }
    c->joined_bytes = 0;
    while (samples > 0 && err == LK_OK) {
        size_t piece = LK_MIN(samples, c->piece_samples);
        const int16_t *part = NULL;
        err = lk_resampler_push(&part, &made, c->resampler, data, piece);
        if (err == LK_OK)
            err = join(c, part, made);
        data += piece * c->num_channels;
        samples -= piece;
    }
    *out = c->joined;
    *out_bytes = err ? 0 : c->joined_bytes;
    return err;
}

bool ffi_do_push_sox_resampler(ffi_call *c, const Livekit__Proto__PushSoxResamplerRequest *m,
                               Livekit__Proto__PushSoxResamplerResponse *r)
{
    const int16_t *out = NULL;
    size_t bytes = 0;
    converter *soxr = (converter *)ffi_handle_get(c, m->resampler_handle, FFI_SOX);
    if (!soxr)
        return false;
    if (!m->data_ptr && m->size > 0) {
        ffi_converter_unref(soxr);
        return ffi_reject(c, "data_ptr is null");
    }
    if (m->size > LK_FFI_REQUEST_MAX) { /* it is worked off in this call, and the output is as large again */
        ffi_converter_unref(soxr);
        r->error = TEXT("no more than 64 MiB at once");
        return true;
    }
    size_t samples = m->size / (sizeof *out * soxr->num_channels);
    pthread_mutex_lock(&soxr->lock);
    lk_err err = samples ? push(soxr, (const int16_t *)(uintptr_t)m->data_ptr, samples, &out, &bytes) : LK_OK;
    pthread_mutex_unlock(&soxr->lock);
    ffi_converter_unref(soxr);
    if (err)
        r->error = TEXT(lk_err_text(err));
    r->output_ptr = bytes ? (uint64_t)(uintptr_t)out : 0;
    r->size = (uint32_t)bytes;
    return true;
}

bool ffi_do_flush_sox_resampler(ffi_call *c, const Livekit__Proto__FlushSoxResamplerRequest *m,
                                Livekit__Proto__FlushSoxResamplerResponse *r)
{
    const int16_t *out = NULL;
    size_t samples = 0;
    converter *soxr = (converter *)ffi_handle_get(c, m->resampler_handle, FFI_SOX);
    if (!soxr)
        return false;
    pthread_mutex_lock(&soxr->lock);
    lk_err err = lk_resampler_flush(&out, &samples, soxr->resampler);
    pthread_mutex_unlock(&soxr->lock);
    if (err)
        r->error = TEXT(lk_err_text(err));
    r->output_ptr = (uint64_t)(uintptr_t)out;
    r->size = err ? 0 : (uint32_t)(samples * soxr->num_channels * sizeof *out);
    ffi_converter_unref(soxr);
    return true;
}
