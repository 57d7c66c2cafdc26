// SPDX-License-Identifier: Apache-2.0
#include "media/audio_sender.h"

#include "codec/codec.h"
#include "dsp/remix.h"
#include "dsp/resampler.h"
#include "livekit/stats.h"

#define RATE 48000
#define PACKET_FRAMES 960 /* 20 ms */
#define FIFO_FRAMES 8192
#define JOB_TAG 1

typedef struct made_packet {
    uint32_t ts;
    uint16_t len;
    uint8_t level;
    bool marker, voice;
    uint8_t data[LK_CODEC_PAYLOAD_MAX];
} made_packet;

/* What the job works on; nobody else touches it while the job is out. */
typedef struct workshop {
    lk_frame *frames[LK_AUDIO_SENDER_FRAMES_MAX];
    size_t frame_count;
    bool muted;
    uint32_t loss_percent, told_loss;
    const lk_audio_codec_ops *codec;
    lk_audio_encoder *encoder;
    lk_dsp_resampler *resampler;
    uint32_t resampler_rate;
    int16_t *mono; /* one input frame as mono */
    size_t mono_cap;
    int16_t fifo[FIFO_FRAMES];
    size_t fifo_count;
    uint32_t ts;
    bool gap;
    made_packet *packets; /* LK_AUDIO_SENDER_PACKETS_MAX */
    size_t packet_count;
    lk_dsp_meter meter;
    lk_dsp_vad vad;
    uint64_t captured, refused;
} workshop;

struct lk_audio_sender {
    const lk_env *env;
    lk_audio_sender_config config;
    lk_frame *waiting[LK_AUDIO_SENDER_FRAMES_MAX];
    size_t waiting_count;
    lk_usec waiting_usec; /* how much audio waits */
    uint8_t loss;
    bool busy;
    uint64_t dropped_frames;
    lk_usec dropped_usec;
    size_t next_packet;
    lk_dsp_meter meter; /* as of the last job */
    uint64_t captured;
    lk_job job;
    workshop work;
};

/* ---- the job ------------------------------------------------------------------------------------------- */

static bool prepare(lk_audio_sender *s, const lk_frame *f)
{
    workshop *w = &s->work;
    if (w->mono_cap < f->samples) {
        int16_t *more = (int16_t *)lk_alloc(s->env, f->samples * sizeof *more);
        if (!more)
            return false;
        lk_release(s->env, w->mono, w->mono_cap * sizeof *more);
        w->mono = more;
        w->mono_cap = f->samples;
    }
    if (f->sample_rate == RATE || (w->resampler && w->resampler_rate == f->sample_rate))
        return true;
    lk_dsp_resampler_free(w->resampler);
    w->resampler = NULL;
    const lk_dsp_resampler_config config = {.in_rate = f->sample_rate, .out_rate = RATE, .channels = 1, .quality = 2};
    if (lk_dsp_resampler_new(&w->resampler, s->env, &config, NULL) != LK_OK)
        return false;
    w->resampler_rate = f->sample_rate;
    return true;
}

static void take_frame(lk_audio_sender *s, const lk_frame *f)
{
    workshop *w = &s->work;
    size_t made = 0;
    if (!prepare(s, f)) {
        w->refused++;
        return;
    }
    lk_dsp_remix(f->data, f->channels, w->mono, 1, f->samples);
    if (w->muted)
        memset(w->mono, 0, f->samples * sizeof *w->mono);
    int16_t *out = w->fifo + w->fifo_count;
    size_t room = FIFO_FRAMES - w->fifo_count;
    if (f->sample_rate == RATE) {
        made = LK_MIN((size_t)f->samples, room);
        memcpy(out, w->mono, made * sizeof *out);
    } else if (lk_dsp_resampler_push(w->resampler, w->mono, f->samples, out, room, &made) != LK_OK) {
        w->refused++;
    }
    lk_dsp_meter_add(&w->meter, w->mono, f->samples, (double)f->samples / f->sample_rate);
    w->captured += f->samples;
    w->fifo_count += made;
}

static void encode_one(workshop *w, const int16_t *samples)
{
    made_packet *p = &w->packets[w->packet_count];
    size_t len = 0;
    lk_dsp_level level = lk_dsp_level_of(samples, PACKET_FRAMES);
    if (w->codec->encode(w->encoder, samples, PACKET_FRAMES, p->data, sizeof p->data, &len) != LK_OK)
        w->refused++;
    p->ts = w->ts;
    p->len = (uint16_t)len;
    p->level = lk_dsp_level_code(level.rms);
    p->voice = lk_dsp_vad_add(&w->vad, level.rms);
    p->marker = w->gap;
    w->ts += PACKET_FRAMES;
    w->gap = len == 0;
    w->packet_count += len > 0;
}

static void encode_ready(workshop *w)
{
    size_t at = 0;
    for (; w->fifo_count - at >= PACKET_FRAMES && w->packet_count < LK_AUDIO_SENDER_PACKETS_MAX; at += PACKET_FRAMES)
        encode_one(w, w->fifo + at);
    w->fifo_count -= at;
    memmove(w->fifo, w->fifo + at, w->fifo_count * sizeof *w->fifo);
}

static void run(lk_job *job)
{
    lk_audio_sender *s = (lk_audio_sender *)job->owner;
    workshop *w = &s->work;
    if (w->loss_percent != w->told_loss) {
        w->codec->encoder_set_loss(w->encoder, w->loss_percent);
        w->told_loss = w->loss_percent;
    }
    for (size_t i = 0; i < w->frame_count; i++) {
        take_frame(s, w->frames[i]);
        lk_frame_unref(w->frames[i]);
        encode_ready(w);
    }
    w->frame_count = 0;
}

/* ---- the loop's side -------------------------------------------------------------------------------------- */

lk_err lk_audio_sender_new(lk_audio_sender **out, const lk_env *env, const lk_audio_sender_config *config, lk_usec now)
{
    LK_UNUSED(now);
    lk_audio_sender *s = (lk_audio_sender *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->config = *config;
    s->job = (lk_job){.run = run, .owner = s, .tag = JOB_TAG};
    s->work.codec = lk_audio_codec_find("opus");
    s->work.packets = (made_packet *)lk_alloc(env, LK_AUDIO_SENDER_PACKETS_MAX * sizeof *s->work.packets);
    s->config.max_bitrate_bps = config->max_bitrate_bps ? LK_CLAMP(config->max_bitrate_bps, 6000u, 510000u) : 48000;
    const lk_audio_encoder_config encoder = {
        .channels = 1,
        .bitrate_bps = s->config.max_bitrate_bps,
        .complexity = 9,
        .dtx = config->dtx,
        .fec = config->fec};
    lk_err err = s->work.packets ? s->work.codec->encoder_new(&s->work.encoder, env, &encoder) : LK_ERR_NOMEM;
    if (err)
        lk_audio_sender_free(s);
    else
        *out = s;
    return err;
}

void lk_audio_sender_free(lk_audio_sender *s)
{
    if (!s)
        return;
    LK_ASSERT(s->env, !s->busy);
    for (size_t i = 0; i < s->waiting_count; i++)
        lk_frame_unref(s->waiting[i]);
    for (size_t i = 0; i < s->work.frame_count; i++)
        lk_frame_unref(s->work.frames[i]);
    s->work.codec->encoder_free(s->work.encoder);
    lk_dsp_resampler_free(s->work.resampler);
    lk_release(s->env, s->work.mono, s->work.mono_cap * sizeof *s->work.mono);
    lk_release(s->env, s->work.packets, LK_AUDIO_SENDER_PACKETS_MAX * sizeof *s->work.packets);
    lk_release(s->env, s, sizeof *s);
}

bool lk_audio_sender_busy(const lk_audio_sender *s) { return s->busy; }

static lk_usec length_of(const lk_frame *f) { return (lk_usec)f->samples * 1000000 / f->sample_rate; }

void lk_audio_sender_push(lk_audio_sender *s, lk_usec now, lk_frame *frame)
{
    LK_UNUSED(now);
    if (frame->samples == 0 || frame->sample_rate < 1000 || frame->sample_rate > 384000 || frame->channels > 8 ||
        frame->samples > frame->sample_rate / 50)
        return; /* the source makes 10 ms: not ours to guess at anything else */
    if (s->waiting_count == LK_AUDIO_SENDER_FRAMES_MAX) {
        s->dropped_frames++;
        s->dropped_usec += length_of(s->waiting[0]);
        s->waiting_usec -= length_of(s->waiting[0]);
        lk_frame_unref(s->waiting[0]);
        memmove(s->waiting, s->waiting + 1, --s->waiting_count * sizeof(lk_frame *));
    }
    s->waiting[s->waiting_count++] = lk_frame_ref(frame);
    s->waiting_usec += length_of(frame);
}

void lk_audio_sender_set_muted(lk_audio_sender *s, lk_usec now, bool muted)
{
    LK_UNUSED(now);
    s->config.muted = muted;
}

void lk_audio_sender_set_loss(lk_audio_sender *s, uint8_t fraction_256) { s->loss = fraction_256; }

/* A packet's worth at a time: waking a worker for half a packet would cost as much again. */
bool lk_audio_sender_poll_job(lk_audio_sender *s, lk_job **out)
{
    if (s->busy || s->waiting_count < 2 || s->next_packet < s->work.packet_count)
        return false;
    workshop *w = &s->work;
    memcpy(w->frames, s->waiting, s->waiting_count * sizeof(lk_frame *));
    w->frame_count = s->waiting_count;
    w->muted = s->config.muted;
    w->loss_percent = ((uint32_t)s->loss * 100 + 128) / 256;
    w->packet_count = s->next_packet = 0;
    s->waiting_count = 0;
    s->waiting_usec = 0;
    s->busy = true;
    *out = &s->job;
    return true;
}

void lk_audio_sender_job_done(lk_audio_sender *s, lk_usec now, lk_job *job)
{
    LK_UNUSED(now);
    LK_ASSERT(s->env, s->busy && job == &s->job);
    s->busy = false;
    s->meter = s->work.meter;
    s->captured = s->work.captured;
}

bool lk_audio_sender_poll_packet(lk_audio_sender *s, lk_audio_packet *out)
{
    if (s->busy || s->next_packet >= s->work.packet_count)
        return false;
    const made_packet *p = &s->work.packets[s->next_packet++];
    *out = (lk_audio_packet){p->data, p->len, p->ts, p->marker, p->voice, p->level};
    return true;
}

uint32_t lk_audio_sender_bitrate_bps(const lk_audio_sender *s) { return s->config.max_bitrate_bps; }

void lk_audio_sender_stats(const lk_audio_sender *s, struct lk_stats *entry)
{
    lk_stats_AudioSource *a = &entry->media_source.audio;
    a->audio_level = s->meter.level;
    a->total_audio_energy = s->meter.energy;
    a->total_samples_duration = s->meter.duration;
    a->total_samples_captured = s->captured;
    a->dropped_samples_duration = (double)s->dropped_usec / 1e6;
    a->dropped_samples_events = (uint32_t)s->dropped_frames;
}
