// SPDX-License-Identifier: Apache-2.0
#include "codec/codec.h"

#include <opus/opus.h>

#define RATE 48000
#define DTX_BYTES 2 /* a payload this short says "nothing new": it need not be sent. [RFC6716 s2.1.9] */

struct lk_audio_encoder {
    const lk_env *env;
    size_t size;
    OpusEncoder *opus;
    bool pausing;
};

struct lk_audio_decoder {
    const lk_env *env;
    size_t size;
    OpusDecoder *opus;
};

static void encoder_free(lk_audio_encoder *e)
{
    if (!e)
        return;
    lk_release(e->env, e->opus, e->size);
    lk_release(e->env, e, sizeof *e);
}

static lk_err encoder_new(lk_audio_encoder **out, const lk_env *env, const lk_audio_encoder_config *c)
{
    if (c->channels < 1 || c->channels > 2 || c->complexity > 10)
        return LK_ERR_INVALID;
    lk_audio_encoder *e = (lk_audio_encoder *)lk_alloc0(env, sizeof *e);
    if (!e)
        return LK_ERR_NOMEM;
    e->env = env;
    e->size = (size_t)opus_encoder_get_size((int)c->channels);
    e->opus = (OpusEncoder *)lk_alloc(env, e->size);
    if (!e->opus) {
        encoder_free(e);
        return LK_ERR_NOMEM;
    }
    int bad = opus_encoder_init(e->opus, RATE, (int)c->channels, c->channels == 1 ? OPUS_APPLICATION_VOIP : OPUS_APPLICATION_AUDIO);
    bad |= opus_encoder_ctl(e->opus, OPUS_SET_BITRATE((opus_int32)LK_CLAMP(c->bitrate_bps, 6000u, 510000u)));
    bad |= opus_encoder_ctl(e->opus, OPUS_SET_COMPLEXITY((opus_int32)c->complexity));
    bad |= opus_encoder_ctl(e->opus, OPUS_SET_DTX(c->dtx));
    bad |= opus_encoder_ctl(e->opus, OPUS_SET_INBAND_FEC(c->fec));
    if (bad) {
        encoder_free(e);
        return LK_ERR_CODEC;
    }
    *out = e;
    return LK_OK;
}

static void encoder_set_loss(lk_audio_encoder *e, uint32_t percent)
{
    (void)opus_encoder_ctl(e->opus, OPUS_SET_PACKET_LOSS_PERC((opus_int32)LK_MIN(percent, 100u)));
}

static lk_err encode(lk_audio_encoder *e, const int16_t *samples, size_t frames, uint8_t *out, size_t cap, size_t *len)
{
    opus_int32 n = opus_encode(e->opus, samples, (int)frames, out, (opus_int32)cap);
    if (n < 0)
        return LK_ERR_CODEC;
    /* The first one is sent all the same, so that the receiver knows a pause from loss. */
    bool nothing_new = n <= DTX_BYTES;
    *len = nothing_new && e->pausing ? 0 : (size_t)n;
    e->pausing = nothing_new;
    return LK_OK;
}

static void decoder_free(lk_audio_decoder *d)
{
    if (!d)
        return;
    lk_release(d->env, d->opus, d->size);
    lk_release(d->env, d, sizeof *d);
}

static lk_err decoder_new(lk_audio_decoder **out, const lk_env *env, uint32_t channels)
{
    if (channels < 1 || channels > 2)
        return LK_ERR_INVALID;
    lk_audio_decoder *d = (lk_audio_decoder *)lk_alloc0(env, sizeof *d);
    if (!d)
        return LK_ERR_NOMEM;
    d->env = env;
    d->size = (size_t)opus_decoder_get_size((int)channels);
    d->opus = (OpusDecoder *)lk_alloc(env, d->size);
    lk_err err = !d->opus ? LK_ERR_NOMEM : opus_decoder_init(d->opus, RATE, (int)channels) ? LK_ERR_CODEC : LK_OK;
    if (err)
        decoder_free(d);
    else
        *out = d;
    return err;
}

static size_t duration(lk_bytes p)
{
    if (p.len == 0 || p.len > LK_CODEC_PACKET_MAX)
        return 0;
    int n = opus_packet_get_nb_samples(p.data, (opus_int32)p.len, RATE);
    return n > 0 ? (size_t)n : 0;
}

static lk_err run(lk_audio_decoder *d, lk_bytes p, int16_t *out, size_t frames, bool fec, size_t *made)
{
    int n = opus_decode(d->opus, p.len ? p.data : NULL, (opus_int32)p.len, out, (int)frames, fec);
    if (n <= 0)
        return LK_ERR_CODEC;
    *made = (size_t)n;
    return LK_OK;
}

static lk_err decode(lk_audio_decoder *d, lk_bytes p, int16_t *out, size_t *frames)
{
    if (duration(p) == 0)
        return LK_ERR_CODEC;
    return run(d, p, out, LK_CODEC_FRAMES_MAX, false, frames);
}

static lk_err decode_fec(lk_audio_decoder *d, lk_bytes p, int16_t *out, size_t frames)
{
    size_t made;
    return duration(p) == 0 ? LK_ERR_CODEC : run(d, p, out, frames, true, &made);
}

static lk_err conceal(lk_audio_decoder *d, int16_t *out, size_t frames)
{
    size_t made;
    return run(d, (lk_bytes){NULL, 0}, out, frames, false, &made);
}

/* Does the first SILK frame announce an LBRR frame? The flag stands behind the VAD flags of the packet's
 * first frame. CELT-only packets have none. [RFC6716 s4.2.4] */
static bool has_fec(lk_bytes p)
{
    if (duration(p) == 0 || (p.data[0] & 0x80) != 0)
        return false;
    const unsigned char *frames[48];
    opus_int16 sizes[48];
    unsigned char toc;
    int count = opus_packet_parse(p.data, (opus_int32)p.len, &toc, frames, sizes, NULL);
    if (count <= 0 || sizes[0] == 0)
        return false;
    int silk = opus_packet_get_samples_per_frame(p.data, RATE) / 960; /* SILK frames of 20 ms in one Opus frame */
    if (silk == 0)
        silk = 1;
    for (int c = 0; c < opus_packet_get_nb_channels(p.data); c++)
        if (frames[0][0] & (0x80 >> ((c + 1) * (silk + 1) - 1)))
            return true;
    return false;
}

extern const lk_audio_codec_ops lk_audio_codec_opus;
const lk_audio_codec_ops lk_audio_codec_opus = {
    .name = "opus",
    .clock_hz = RATE,
    .encoder_new = encoder_new,
    .encoder_free = encoder_free,
    .encoder_set_loss = encoder_set_loss,
    .encode = encode,
    .decoder_new = decoder_new,
    .decoder_free = decoder_free,
    .decode = decode,
    .decode_fec = decode_fec,
    .conceal = conceal,
    .duration = duration,
    .has_fec = has_fec,
};
