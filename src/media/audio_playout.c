// SPDX-License-Identifier: Apache-2.0
#include "media/audio_playout.h"

#include "dsp/remix.h"

#define PCM_FRAMES (LK_CODEC_FRAMES_MAX * 3)
#define PAST_FRAMES LK_DSP_EXPAND_PAST /* played ones, in front */
#define STRETCH_PAUSE_USEC 30000
#define OVERSHOOT_USEC 4000 /* a stretch may go past the target by this */
#define HURRY_USEC 60000
#define ROUGH_USEC 200000
#define SILENT_AFTER 20 /* ticks: a codec's concealment has faded out by then */

void lk_playout_init(lk_playout *p, const lk_env *env, const lk_audio_codec_ops *codec)
{
    memset(p, 0, sizeof *p);
    p->env = env;
    p->codec = codec;
    lk_jitter_init(&p->jitter, env);
}

static size_t pcm_size(uint32_t channels) { return (size_t)(PAST_FRAMES + PCM_FRAMES) * channels * sizeof(int16_t); }

/* The i-th decoded frame that was not played yet. */
static int16_t *frame_at(const lk_playout *p, size_t i) { return p->pcm + (PAST_FRAMES + i) * p->channels; }

void lk_playout_deinit(lk_playout *p)
{
    p->codec->decoder_free(p->decoder);
    if (p->pcm)
        lk_release(p->env, p->pcm, pcm_size(p->channels));
    lk_jitter_deinit(&p->jitter);
}

lk_err lk_playout_set_channels(lk_playout *p, uint32_t channels)
{
    lk_audio_decoder *decoder = NULL;
    if (channels == p->channels)
        return LK_OK;
    int16_t *pcm = (int16_t *)lk_alloc(p->env, pcm_size(channels));
    if (!pcm || p->codec->decoder_new(&decoder, p->env, channels) != LK_OK) {
        lk_release(p->env, pcm, pcm_size(channels));
        return LK_ERR_NOMEM;
    }
    if (p->pcm) {
        lk_dsp_remix(p->pcm, p->channels, pcm, channels, PAST_FRAMES + p->count);
        lk_release(p->env, p->pcm, pcm_size(p->channels));
    }
    else
        memset(pcm, 0, PAST_FRAMES * channels * sizeof *pcm);
    p->codec->decoder_free(p->decoder);
    p->decoder = decoder;
    p->pcm = pcm;
    p->channels = channels;
    return LK_OK;
}

void lk_playout_put(lk_playout *p, uint16_t seq, uint32_t ts, lk_usec arrival, lk_bytes payload, bool redundant)
{
    size_t frames = p->codec->duration(payload);
    bool taken = frames && lk_jitter_put(&p->jitter, seq, ts, (uint32_t)frames, arrival, payload, redundant) == LK_OK;
    if (redundant) {
        p->c.fec_received++;
        p->c.fec_bytes += payload.len;
        p->c.fec_discarded += !taken;
    } else {
        p->c.discarded += !taken;
    }
    if (frames && lk_jitter_misses(&p->jitter, (uint16_t)(seq - 1)) && p->codec->has_fec(payload))
        lk_jitter_learn_repair(&p->jitter, (uint16_t)(seq - 1), ts - (uint32_t)frames, (uint32_t)frames, arrival);
}

/* ---- one decision -------------------------------------------------------------------------------------- */

static void count_concealed(lk_playout *p, size_t frames, bool lost)
{
    if (!lost)
        return;
    if (!p->concealing)
        p->c.concealments++;
    p->concealing = true;
    p->c.concealed += frames;
    if (p->silent_for > SILENT_AFTER)
        p->c.silent_concealed += frames;
}

static void conceal(lk_playout *p, size_t frames, bool lost)
{
    int16_t *out = frame_at(p, p->count);
    /* In a pause the codec goes on with the background noise it has learned. */
    bool silent = lost && p->silent_for > SILENT_AFTER;
    if (silent || p->codec->conceal(p->decoder, out, frames) != LK_OK)
        memset(out, 0, frames * p->channels * sizeof *out);
    p->silent_for++;
    p->count += frames;
    count_concealed(p, frames, lost);
}

static void play(lk_playout *p, lk_usec now, const lk_jitter_packet *packet)
{
    size_t frames = 0;
    if (p->codec->decode(p->decoder, (lk_bytes){packet->data, packet->len}, frame_at(p, p->count), &frames) != LK_OK) {
        p->c.discarded++;
        conceal(p, packet->frames, true);
        return;
    }
    lk_usec waited = now - packet->arrival;
    p->c.delay_sum += (double)LK_MAX(waited, 0) / 1e6 * (double)frames;
    p->c.target_sum += (double)lk_jitter_target(&p->jitter) / 1e6 * (double)frames;
    p->c.emitted += frames;
    p->count += frames;
    p->concealing = false;
    p->heard_anything = true;
    p->silent_for = 0;
}

static void recover(lk_playout *p, const lk_jitter_next *n)
{
    lk_bytes payload = {n->packet->data, n->packet->len};
    if (!p->codec->has_fec(payload) ||
        p->codec->decode_fec(p->decoder, payload, frame_at(p, p->count), n->frames) != LK_OK) {
        conceal(p, n->frames, true);
        return;
    }
    p->c.fec_received++;
    p->c.fec_bytes += payload.len;
    p->count += n->frames;
    p->concealing = false;
    p->silent_for = 0;
}

/* True while more can be decoded ahead for a stretch to look at. */
static void decode_next(lk_playout *p, lk_usec now)
{
    lk_jitter_next n = lk_jitter_decide(&p->jitter, now, p->count);
    switch (n.action) {
    case LK_JITTER_WAIT:
        memset(frame_at(p, p->count), 0, n.frames * p->channels * sizeof *p->pcm);
        p->count += n.frames;
        break;
    case LK_JITTER_PLAY: play(p, now, n.packet); break;
    case LK_JITTER_RECOVER: recover(p, &n); break;
    case LK_JITTER_CONCEAL: conceal(p, n.frames, n.lost && p->heard_anything); break;
    }
}

/* The further off, the less it matters how it sounds: half a second behind is worse than a rough cut. */
static double likeness(lk_usec off)
{
    return off > ROUGH_USEC ? -1 : off > HURRY_USEC ? 0.5 : LK_DSP_STRETCH_INAUDIBLE;
}

static size_t most_samples(lk_usec off) { return (size_t)((off + OVERSHOOT_USEC) * 48 / 1000); }

static void speed_up(lk_playout *p, lk_usec now)
{
    lk_usec off = lk_jitter_steer(&p->jitter, now, p->count);
    if (off <= 0 || now < p->stretch_after)
        return;
    /* Look ahead only at what is there: a stretch is never worth a concealment. */
    while (p->count < LK_DSP_ACCELERATE_MIN && p->jitter.count && p->jitter.packets[0].ts <= p->jitter.next_ts &&
           p->count + p->jitter.packets[0].frames <= LK_CODEC_FRAMES_MAX * 2)
        decode_next(p, now);
    size_t before = p->count;
    p->count = lk_dsp_accelerate(frame_at(p, 0), before, p->channels, most_samples(off), likeness(off));
    p->c.removed += before - p->count;
    if (p->count != before)
        p->stretch_after = now + STRETCH_PAUSE_USEC;
}

static void slow_down(lk_playout *p, lk_usec now)
{
    lk_usec off = lk_jitter_steer(&p->jitter, now, p->count);
    if (off >= 0 || now < p->stretch_after || p->concealing)
        return;
    size_t before = p->count;
    p->count = lk_dsp_expand(frame_at(p, 0), before, PCM_FRAMES, p->channels, most_samples(-off), likeness(-off));
    p->c.inserted += p->count - before;
    if (p->count != before)
        p->stretch_after = now + STRETCH_PAUSE_USEC;
}

void lk_playout_tick(lk_playout *p, lk_usec now, int16_t *out)
{
    speed_up(p, now);
    while (p->count < LK_PLAYOUT_TICK)
        decode_next(p, now);
    slow_down(p, now);
    memcpy(out, frame_at(p, 0), LK_PLAYOUT_TICK * p->channels * sizeof *out);
    p->count -= LK_PLAYOUT_TICK;
    memmove(p->pcm, p->pcm + LK_PLAYOUT_TICK * p->channels, (PAST_FRAMES + p->count) * p->channels * sizeof *out);
    lk_dsp_meter_add(&p->c.meter, out, (size_t)LK_PLAYOUT_TICK * p->channels, 0.01);
    p->c.samples += LK_PLAYOUT_TICK;
    p->c.playing_ts = p->jitter.next_ts - (int64_t)p->count;
}
