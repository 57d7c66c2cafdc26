// SPDX-License-Identifier: Apache-2.0
#include "media/audio_receiver.h"

#include "livekit/stats.h"
#include "media/audio_playout.h"
#include "media/audio_shape.h"
#include "rtp/red.h"

#define RATE 48000
#define TICK_USEC 10000
#define JOB_TAG 2
#define ARRIVALS_MAX 128
#define ARRIVALS_IDLE 20 /* kept while nobody listens: 200 ms */
#define TICKS_MAX 50
#define OUT_MAX (LK_AUDIO_RECEIVER_SINKS_MAX * 128)

typedef struct arrival {
    uint16_t seq, len, cap;
    uint32_t ts;
    bool redundant;
    lk_usec at;
    uint8_t *data;
} arrival;

typedef struct arrivals {
    arrival *list;
    size_t count, cap;
} arrivals;

typedef struct sink {
    uint64_t id;
    uint32_t rate, channels;
    bool gone;
    lk_audio_shape *shape;
} sink;

typedef struct made {
    uint64_t sink;
    lk_frame *frame;
} made;

struct lk_audio_receiver {
    const lk_env *env;
    lk_frame_pool *pool;
    sink *sinks[LK_AUDIO_RECEIVER_SINKS_MAX];
    size_t sink_count;
    arrivals inbox;
    lk_usec next_tick; /* LK_NEVER: no sink */
    unsigned due;      /* ticks not yet handed to a job */
    lk_usec due_at;    /* when the first of them was */
    bool busy;
    lk_queue out; /* of made */
    uint64_t overrun;
    lk_playout_counters seen;
    lk_usec target_usec;
    lk_job job;

    /* The job's while it is out. */
    lk_playout playout;
    bool playout_ready;
    arrivals taken;
    sink *active[LK_AUDIO_RECEIVER_SINKS_MAX];
    size_t active_count;
    unsigned ticks;
    lk_usec tick_at;
    uint64_t frames_lost;
    int16_t tick_pcm[LK_PLAYOUT_TICK * 2];
};

/* ---- sinks ------------------------------------------------------------------------------------------------ */

static void free_sink(lk_audio_receiver *r, sink *k)
{
    lk_audio_shape_free(k->shape);
    lk_release(r->env, k, sizeof *k);
}

lk_err lk_audio_receiver_add_sink(lk_audio_receiver *r, lk_usec now, uint64_t id, uint32_t rate, uint32_t channels,
                                  uint32_t frame_msec)
{
    sink *k;
    if (r->sink_count == LK_AUDIO_RECEIVER_SINKS_MAX)
        return LK_ERR_LIMIT;
    if (!r->playout_ready) {
        lk_playout_init(&r->playout, r->env, lk_audio_codec_find("opus"));
        r->playout_ready = true;
    }
    k = (sink *)lk_alloc0(r->env, sizeof *k);
    if (!k)
        return LK_ERR_NOMEM;
    *k = (sink){.id = id, .rate = rate, .channels = channels};
    const lk_audio_shape_config config = {
        .in_rate = RATE, .max_frames = LK_PLAYOUT_TICK, .out_rate = rate, .out_channels = channels, .frame_msec = frame_msec};
    lk_err err = lk_audio_shape_new(&k->shape, r->env, &config);
    if (err) {
        free_sink(r, k);
        return err;
    }
    r->sinks[r->sink_count++] = k;
    /* On a grid all tracks share, so that many of them wake the loop once. */
    if (r->next_tick == LK_NEVER)
        r->next_tick = (now / TICK_USEC + 1) * TICK_USEC;
    return LK_OK;
}

/* Frames made for a sink are not delivered any more. No job is out. */
static void forget_frames(lk_audio_receiver *r, uint64_t id)
{
    for (size_t n = r->out.count; n > 0; n--) {
        made m;
        (void)lk_queue_pop(&r->out, &m);
        if (m.sink == id || lk_queue_push(&r->out, &m) != LK_OK)
            lk_frame_unref(m.frame);
    }
}

bool lk_audio_receiver_remove_sink(lk_audio_receiver *r, uint64_t id)
{
    for (size_t i = 0; i < r->sink_count; i++) {
        sink *k = r->sinks[i];
        if (k->id != id || k->gone)
            continue;
        if (r->busy) { /* the job may be at it, and has the queue: poll_frame forgets what it makes for this one */
            k->gone = true;
        } else {
            memmove(r->sinks + i, r->sinks + i + 1, (--r->sink_count - i) * sizeof *r->sinks);
            free_sink(r, k);
            forget_frames(r, id);
        }
        if (lk_audio_receiver_sink_count(r) == 0) {
            r->next_tick = LK_NEVER;
            r->due = 0;
        }
        return true;
    }
    return false;
}

size_t lk_audio_receiver_sink_count(const lk_audio_receiver *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->sink_count; i++)
        n += !r->sinks[i]->gone;
    return n;
}

static void sweep_sinks(lk_audio_receiver *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->sink_count; i++) {
        if (r->sinks[i]->gone)
            free_sink(r, r->sinks[i]);
        else
            r->sinks[kept++] = r->sinks[i];
    }
    r->sink_count = kept;
}

/* ---- the job ------------------------------------------------------------------------------------------------- */

static void emit(lk_audio_receiver *r, sink *k, const int16_t *samples)
{
    made m = {.sink = k->id};
    uint32_t frames = lk_audio_shape_frames(k->shape);
    if (lk_frame_new(&m.frame, r->pool, k->rate, k->channels, frames) != LK_OK) {
        r->frames_lost++;
        return;
    }
    memcpy(m.frame->data, samples, (size_t)frames * k->channels * sizeof *samples);
    if (lk_queue_push(&r->out, &m) != LK_OK) {
        lk_frame_unref(m.frame);
        r->frames_lost++;
    }
}

static void feed(lk_audio_receiver *r, sink *k)
{
    if (lk_audio_shape_push(k->shape, r->tick_pcm, r->playout.channels, LK_PLAYOUT_TICK) != LK_OK)
        r->frames_lost++;
    for (const int16_t *samples; (samples = lk_audio_shape_next(k->shape)) != NULL;)
        emit(r, k, samples);
}

static void run(lk_job *job)
{
    lk_audio_receiver *r = (lk_audio_receiver *)job->owner;
    uint32_t channels = 1;
    for (size_t i = 0; i < r->active_count; i++)
        channels = r->active[i]->channels > 1 ? 2 : channels;
    if (channels > r->playout.channels && lk_playout_set_channels(&r->playout, channels) != LK_OK && !r->playout.channels)
        return;
    for (size_t i = 0; i < r->taken.count; i++) {
        const arrival *a = &r->taken.list[i];
        lk_playout_put(&r->playout, a->seq, a->ts, a->at, (lk_bytes){a->data, a->len}, a->redundant);
    }
    r->taken.count = 0;
    for (unsigned t = 0; t < r->ticks; t++) {
        lk_playout_tick(&r->playout, r->tick_at + (lk_usec)t * TICK_USEC, r->tick_pcm);
        for (size_t i = 0; i < r->active_count; i++)
            feed(r, r->active[i]);
    }
}

/* ---- the loop's side -------------------------------------------------------------------------------------------- */

lk_err lk_audio_receiver_new(lk_audio_receiver **out, const lk_env *env, lk_usec now)
{
    LK_UNUSED(now);
    lk_audio_receiver *r = (lk_audio_receiver *)lk_alloc0(env, sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    r->env = env;
    r->next_tick = LK_NEVER;
    r->job = (lk_job){.run = run, .owner = r, .tag = JOB_TAG};
    lk_queue_init(&r->out, env, sizeof(made), OUT_MAX);
    lk_err err = lk_frame_pool_new(&r->pool, env);
    if (err)
        lk_audio_receiver_free(r);
    else
        *out = r;
    return err;
}

static void free_arrivals(lk_audio_receiver *r, arrivals *a)
{
    for (size_t i = 0; i < a->cap; i++)
        lk_release(r->env, a->list[i].data, a->list[i].cap);
    lk_release(r->env, a->list, a->cap * sizeof *a->list);
}

void lk_audio_receiver_free(lk_audio_receiver *r)
{
    made m;
    if (!r)
        return;
    LK_ASSERT(r->env, !r->busy);
    while (lk_queue_pop(&r->out, &m))
        lk_frame_unref(m.frame);
    lk_queue_deinit(&r->out);
    for (size_t i = 0; i < r->sink_count; i++)
        free_sink(r, r->sinks[i]);
    free_arrivals(r, &r->inbox);
    free_arrivals(r, &r->taken);
    if (r->playout_ready)
        lk_playout_deinit(&r->playout);
    lk_frame_pool_unref(r->pool);
    lk_release(r->env, r, sizeof *r);
}

bool lk_audio_receiver_busy(const lk_audio_receiver *r) { return r->busy; }

static arrival *slot_for(lk_audio_receiver *r, size_t len)
{
    arrivals *in = &r->inbox;
    size_t most = r->next_tick == LK_NEVER ? ARRIVALS_IDLE : ARRIVALS_MAX;
    while (in->count >= most) { /* oldest goes, its memory moves to the end */
        arrival oldest = in->list[0];
        memmove(in->list, in->list + 1, (in->count - 1) * sizeof *in->list);
        in->list[--in->count] = oldest;
        r->overrun += r->next_tick != LK_NEVER;
    }
    if (in->count == in->cap) {
        size_t cap = in->cap ? in->cap * 2 : 8;
        arrival *more = (arrival *)lk_resize(r->env, in->list, in->cap * sizeof *more, cap * sizeof *more);
        if (!more)
            return NULL;
        memset(more + in->cap, 0, (cap - in->cap) * sizeof *more);
        in->list = more;
        in->cap = cap;
    }
    arrival *a = &in->list[in->count];
    if (a->cap < len) {
        uint16_t cap = (uint16_t)((len + 255) / 256 * 256);
        uint8_t *data = (uint8_t *)lk_alloc(r->env, cap);
        if (!data)
            return NULL;
        lk_release(r->env, a->data, a->cap);
        a->data = data;
        a->cap = cap;
    }
    return a;
}

static void keep(lk_audio_receiver *r, lk_usec now, uint16_t seq, uint32_t ts, lk_bytes payload, bool redundant)
{
    if (payload.len == 0 || payload.len > LK_CODEC_PACKET_MAX)
        return;
    arrival *a = slot_for(r, payload.len);
    if (!a)
        return;
    memcpy(a->data, payload.data, payload.len);
    a->len = (uint16_t)payload.len;
    a->seq = seq;
    a->ts = ts;
    a->at = now;
    a->redundant = redundant;
    r->inbox.count++;
}

void lk_audio_receiver_input(lk_audio_receiver *r, lk_usec now, const lk_rtp_packet *p, bool red)
{
    lk_rtp_red_block blocks[LK_RTP_RED_BLOCKS_MAX];
    lk_bytes payload = {p->payload, p->payload_len};
    if (!red) {
        keep(r, now, p->seq, p->ts, payload, false);
        return;
    }
    size_t count = lk_rtp_red_parse(blocks, payload);
    /* The newest first: what it repeats is worth something only where a packet before it is missing. */
    for (size_t i = count; i > 0; i--)
        keep(r, now, (uint16_t)(p->seq - (count - i)), p->ts - blocks[i - 1].offset, blocks[i - 1].data, i < count);
}

void lk_audio_receiver_tick(lk_audio_receiver *r, lk_usec now)
{
    if (r->next_tick > now)
        return;
    if (r->due == 0)
        r->due_at = r->next_tick;
    lk_usec missed = (now - r->next_tick) / TICK_USEC + 1;
    r->next_tick += missed * TICK_USEC;
    if (missed > TICKS_MAX) { /* a machine that slept: nobody wants the past */
        r->due_at = r->next_tick - TICK_USEC;
        missed = 1;
        r->due = 0;
    }
    r->due = (unsigned)LK_MIN((lk_usec)r->due + missed, (lk_usec)TICKS_MAX);
}

lk_usec lk_audio_receiver_deadline(const lk_audio_receiver *r) { return r->next_tick; }

bool lk_audio_receiver_poll_job(lk_audio_receiver *r, lk_job **out)
{
    if (r->busy || r->due == 0)
        return false;
    arrivals swap = r->taken;
    r->taken = r->inbox;
    r->inbox = swap;
    r->inbox.count = 0;
    memcpy(r->active, r->sinks, r->sink_count * sizeof *r->sinks);
    r->active_count = r->sink_count;
    r->ticks = r->due;
    r->tick_at = r->due_at;
    r->due = 0;
    r->busy = true;
    *out = &r->job;
    return true;
}

void lk_audio_receiver_job_done(lk_audio_receiver *r, lk_usec now, lk_job *job)
{
    LK_UNUSED(now);
    LK_ASSERT(r->env, r->busy && job == &r->job);
    r->busy = false;
    r->seen = r->playout.c;
    r->target_usec = lk_jitter_target(&r->playout.jitter);
    sweep_sinks(r);
}

bool lk_audio_receiver_poll_frame(lk_audio_receiver *r, uint64_t *id, lk_frame **frame)
{
    made m;
    while (!r->busy && lk_queue_pop(&r->out, &m)) {
        for (size_t i = 0; i < r->sink_count; i++) {
            if (r->sinks[i]->id != m.sink)
                continue;
            *id = m.sink;
            *frame = m.frame;
            return true;
        }
        lk_frame_unref(m.frame); /* its sink left while the job was out */
    }
    return false;
}

void lk_audio_receiver_stats(const lk_audio_receiver *r, struct lk_stats *entry)
{
    lk_stats_InboundRtpStream *s = &entry->inbound_rtp.inbound;
    const lk_playout_counters *c = &r->seen;
    s->packets_discarded += c->discarded + r->overrun;
    s->fec_packets_received = c->fec_received;
    s->fec_packets_discarded = c->fec_discarded;
    s->fec_bytes_received = c->fec_bytes;
    s->jitter_buffer_delay = c->delay_sum;
    s->jitter_buffer_target_delay = c->target_sum;
    s->jitter_buffer_minimum_delay = c->target_sum; /* nothing else asks for more delay */
    s->jitter_buffer_emitted_count = c->emitted;
    s->total_samples_received = c->samples;
    s->concealed_samples = c->concealed;
    s->silent_concealed_samples = c->silent_concealed;
    s->concealment_events = c->concealments;
    s->inserted_samples_for_deceleration = c->inserted;
    s->removed_samples_for_acceleration = c->removed;
    s->audio_level = c->meter.level;
    s->total_audio_energy = c->meter.energy;
    s->total_samples_duration = c->meter.duration;
    s->total_processing_delay = c->delay_sum;
}
