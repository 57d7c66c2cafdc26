// SPDX-License-Identifier: Apache-2.0
#include "api/api_shell.h"
#include "frame/frame.h"

/* A source that was not served for this many ticks (a suspended machine) starts over instead of bursting. */
#define LATE_TICKS_MAX 50

void lk_audio_source_options_init(lk_audio_source_options *options)
{
    *options = (lk_audio_source_options){
        .size = sizeof *options, .sample_rate = 48000, .num_channels = 1, .queue_size_msec = 1000};
}

static size_t queue_samples(const lk_audio_source *s)
{
    return (size_t)((uint64_t)s->options.sample_rate * s->options.queue_size_msec / 1000);
}

/* ---- the ring; all under s->lock ------------------------------------------------------------------------------ */

static void discard(lk_audio_source *s, size_t samples)
{
    samples = LK_MIN(samples, s->count);
    s->first = s->cap ? (s->first + samples) % s->cap : 0;
    s->count -= samples;
}

static void take(lk_audio_source *s, int16_t *out, size_t samples)
{
    size_t ch = s->options.num_channels;
    size_t head = LK_MIN(samples, s->cap - s->first);
    memcpy(out, s->ring + s->first * ch, head * ch * sizeof *out);
    memcpy(out + head * ch, s->ring, (samples - head) * ch * sizeof *out);
    discard(s, samples);
}

/* Grows to hold need samples. */
static bool reserve(lk_audio_source *s, size_t need)
{
    if (need <= s->cap)
        return true;
    size_t ch = s->options.num_channels, cap = LK_MAX(s->cap, s->tick_samples * 4), held = s->count;
    while (cap < need)
        cap *= 2;
    int16_t *ring = api_alloc0(cap * ch * sizeof *ring);
    if (!ring)
        return false;
    if (held)
        take(s, ring, held);
    api_release(s->ring, s->cap * ch * sizeof *ring);
    s->ring = ring;
    s->cap = cap;
    s->first = 0;
    s->count = held;
    return true;
}

static void append(lk_audio_source *s, const int16_t *data, size_t samples)
{
    size_t ch = s->options.num_channels, at = (s->first + s->count) % s->cap;
    size_t head = LK_MIN(samples, s->cap - at);
    memcpy(s->ring + at * ch, data, head * ch * sizeof *data);
    memcpy(s->ring, data + head * ch, (samples - head) * ch * sizeof *data);
    s->count += samples;
}

static uint64_t ticks_until(const lk_audio_source *s, lk_usec now)
{
    return now > s->born ? (uint64_t)(now - s->born) / 10000 : 0;
}

/* Time that passed while nobody listened takes what it would have played: a rest below 10 ms stays. */
static void drain(lk_audio_source *s, lk_usec now)
{
    uint64_t due = ticks_until(s, now);
    for (; s->ticks < due && s->count >= s->tick_samples; s->ticks++)
        discard(s, s->tick_samples);
    s->ticks = LK_MAX(s->ticks, due);
}

/* The capture that waits, if its time has come. */
static lk_op ready(lk_audio_source *s)
{
    lk_op op = s->pending;
    if (!op || (!s->cleared && s->count > queue_samples(s)))
        return 0;
    s->pending = 0;
    s->cleared = false;
    return op;
}

static void end_capture(lk_audio_source *s, lk_op op)
{
    const lk_error none = {.code = LK_OK};
    if (op)
        (void)api_op_end(s->o.rt, op, &none, NULL);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void source_destroy(api_object *o)
{
    lk_audio_source *s = (lk_audio_source *)o;
    api_release(s->ring, s->cap * s->options.num_channels * sizeof *s->ring);
    lk_frame_pool_unref(s->pool);
    pthread_mutex_destroy(&s->lock);
    api_release(s, sizeof *s);
}

lk_err lk_audio_source_new(lk_audio_source **out, lk_runtime *runtime,
                           const lk_audio_source_options *options)
{
    lk_audio_source_options o;
    lk_audio_source_options_init(&o);
    if (!out || !runtime || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    if (api_check(runtime) != LK_OK)
        return LK_ERR_FORKED;
    if (o.sample_rate < 1000 || o.sample_rate > 384000 || o.num_channels < 1 || o.num_channels > 8 ||
        o.queue_size_msec > LK_API_SOURCE_MSEC_MAX)
        return LK_ERR_INVALID;
    o.queue_size_msec = (o.queue_size_msec + 9) / 10 * 10;
    lk_audio_source *s = api_alloc0(sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    if (lk_frame_pool_new(&s->pool, api_env()) != LK_OK) {
        api_release(s, sizeof *s);
        return LK_ERR_NOMEM;
    }
    s->options = o;
    s->tick_samples = o.sample_rate / 100;
    s->born = api_now();
    s->next_tick = LK_NEVER;
    pthread_mutex_init(&s->lock, NULL);
    api_object_init(&s->o, runtime, NULL, source_destroy);
    *out = s;
    return LK_OK;
}

lk_audio_source *lk_audio_source_ref(lk_audio_source *source) { return api_user_ref(source); }
void lk_audio_source_unref(lk_audio_source *source) { api_user_unref(source); }

void *lk_audio_source_user_data(const lk_audio_source *source)
{
    return source ? source->options.user_data : NULL;
}

/* ---- capture -------------------------------------------------------------------------------------------------------- */

/* Has the loop look at the source: something waits for its clock, or audio for a listener of a queueless one. */
static lk_err tell_loop(lk_audio_source *s)
{
    api_cmd *cmd = api_cmd_new(API_CMD_SOURCE, NULL);
    if (!cmd)
        return LK_ERR_NOMEM;
    cmd->source = api_ref(s);
    return api_submit(s->o.rt, cmd);
}

static lk_err check_capture(lk_audio_source *s, const lk_audio_view *audio)
{
    const lk_audio_source_options *o = &s->options;
    if (!audio || audio->sample_rate != o->sample_rate || audio->num_channels != o->num_channels ||
        (!audio->data && audio->samples_per_channel))
        return LK_ERR_INVALID;
    if (audio->samples_per_channel / o->sample_rate >= LK_API_SOURCE_MSEC_MAX / 1000)
        return LK_ERR_LIMIT;
    if (o->queue_size_msec == 0 && audio->samples_per_channel &&
        audio->samples_per_channel != s->tick_samples)
        return LK_ERR_STATE;
    return LK_OK;
}

/* Copies; *wait: the queue is over its size now. */
static lk_err put(lk_audio_source *s, const lk_audio_view *audio, lk_op id, bool *wait)
{
    lk_err err = LK_OK;
    size_t samples = audio->samples_per_channel;
    bool direct = s->options.queue_size_msec == 0;
    pthread_mutex_lock(&s->lock);
    if (!__atomic_load_n(&s->clocked, __ATOMIC_ACQUIRE) && !direct)
        drain(s, api_now());
    if (s->pending) {
        err = LK_ERR_STATE;
    } else if (!id && !direct && s->count + samples > queue_samples(s) * 2) {
        err = LK_ERR_FULL;
    } else if (!reserve(s, s->count + samples)) {
        err = LK_ERR_NOMEM;
    } else if (samples) {
        if (direct && s->count >= s->tick_samples * 16)
            discard(s, s->tick_samples); /* nobody takes them: the newest count */
        append(s, audio->data, samples);
        *wait = !direct && s->count > queue_samples(s);
        if (*wait && id)
            s->pending = id;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

lk_err lk_audio_source_capture(lk_op *op, lk_audio_source *s, const lk_audio_view *audio,
                               const lk_op_options *how)
{
    lk_op id = 0;
    bool wait = false;
    if (!s)
        return LK_ERR_INVALID;
    if (api_check(s->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    lk_err err = check_capture(s, audio);
    if (err == LK_OK && op)
        err = api_op_new(&id, s->o.rt, LK_OP_CAPTURE, NULL, NULL, s, how, 0);
    if (err != LK_OK)
        return err;
    err = put(s, audio, id, &wait);
    /* The loop has to know of an end to come, if only for the deadline of the operation. */
    bool clocked = __atomic_load_n(&s->clocked, __ATOMIC_ACQUIRE), timed = how && how->timeout_msec;
    if (err == LK_OK && ((wait && id && (timed || !clocked)) || (s->options.queue_size_msec == 0 && !clocked)))
        err = tell_loop(s);
    if (err != LK_OK && (!id || api_op_forget(s->o.rt, id)))
        return err;
    if (op)
        *op = id;
    if (!wait)
        end_capture(s, id);
    return LK_OK;
}

lk_err lk_audio_source_clear(lk_audio_source *s)
{
    if (!s)
        return LK_ERR_INVALID;
    if (api_check(s->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&s->lock);
    if (!__atomic_load_n(&s->clocked, __ATOMIC_ACQUIRE))
        drain(s, api_now());
    discard(s, s->count);
    s->cleared = s->pending != 0;
    bool tell = s->cleared;
    pthread_mutex_unlock(&s->lock);
    return tell ? tell_loop(s) : LK_OK;
}

uint32_t lk_audio_source_queued_msec(const lk_audio_source *source)
{
    lk_audio_source *s = (lk_audio_source *)(uintptr_t)source;
    if (!s || api_check(s->o.rt) != LK_OK)
        return 0;
    pthread_mutex_lock(&s->lock);
    if (!__atomic_load_n(&s->clocked, __ATOMIC_ACQUIRE))
        drain(s, api_now());
    uint64_t msec = ((uint64_t)s->count * 1000 + s->options.sample_rate - 1) / s->options.sample_rate;
    pthread_mutex_unlock(&s->lock);
    return (uint32_t)msec;
}

void api_source_forget(lk_audio_source *s, lk_op op)
{
    pthread_mutex_lock(&s->lock);
    if (s->pending == op) {
        s->pending = 0;
        s->cleared = false;
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- on the loop ------------------------------------------------------------------------------------------------------ */

static void count_heads(api_audience *a)
{
    __atomic_store_n(&a->present, a->track_count + a->stream_count > 0, __ATOMIC_RELEASE);
}

bool api_audience_add_track(api_audience *a, api_driver *driver, uint64_t track)
{
    if (a->track_count == LK_API_SOURCE_TRACKS_MAX)
        return false;
    a->tracks[a->track_count++] = (api_source_track){driver, track};
    count_heads(a);
    return true;
}

void api_audience_remove_track(api_audience *a, const api_driver *driver, uint64_t track)
{
    for (size_t i = 0; i < a->track_count; i++) {
        if (a->tracks[i].driver != driver || a->tracks[i].track != track)
            continue;
        a->tracks[i] = a->tracks[--a->track_count];
        break;
    }
    count_heads(a);
}

bool api_audience_add_stream(api_audience *a, api_stream *stream)
{
    if (a->stream_count == LK_API_SOURCE_STREAMS_MAX)
        return false;
    a->streams[a->stream_count++] = api_ref(stream);
    count_heads(a);
    return true;
}

void api_audience_remove_stream(api_audience *a, api_stream *stream)
{
    for (size_t i = 0; i < a->stream_count; i++) {
        if (a->streams[i] != stream)
            continue;
        a->streams[i] = a->streams[--a->stream_count];
        api_unref(stream);
        break;
    }
    count_heads(a);
}

void api_source_idle(lk_audio_source *s)
{
    s->next_tick = LK_NEVER;
    __atomic_store_n(&s->clocked, false, __ATOMIC_RELEASE);
}

/* 10 ms out of the ring, silence when it has less. NULL when refused. */
static lk_frame *next_frame(lk_audio_source *s, bool *had)
{
    lk_frame *f;
    if (lk_frame_new(&f, s->pool, s->options.sample_rate, s->options.num_channels,
                     (uint32_t)s->tick_samples) != LK_OK)
        f = NULL;
    pthread_mutex_lock(&s->lock);
    *had = s->count >= s->tick_samples;
    if (*had && f)
        take(s, f->data, s->tick_samples);
    else if (*had)
        discard(s, s->tick_samples);
    pthread_mutex_unlock(&s->lock);
    if (f && !*had)
        memset(f->data, 0, s->tick_samples * s->options.num_channels * sizeof *f->data);
    return f;
}

static void hand_out(lk_audio_source *s, lk_frame *f, lk_usec now)
{
    const api_audience *a = &s->audience;
    api_source_track tracks[LK_API_SOURCE_TRACKS_MAX];
    size_t n = api_audience_tracks(a, tracks);
    for (size_t i = 0; i < n && i < a->track_count; i++)
        api_driver_push_audio(tracks[i].driver, now, tracks[i].track, f);
    for (size_t i = 0; i < a->stream_count; i++)
        api_stream_put_source(a->streams[i], f);
}

/* Whether anybody hears the source. */
static bool has_listener(const lk_audio_source *s)
{
    const api_audience *a = &s->audience;
    if (a->stream_count > 0)
        return true;
    for (size_t i = 0; i < a->track_count; i++)
        if (api_driver_wants_media(a->tracks[i].driver, a->tracks[i].track))
            return true;
    return false;
}

lk_usec api_source_tick(lk_audio_source *s, api_shell *shell, lk_usec now)
{
    LK_UNUSED(shell);
    bool listener = has_listener(s), direct = s->options.queue_size_msec == 0, had = true;
    pthread_mutex_lock(&s->lock);
    uint64_t due = ticks_until(s, now);
    if (!listener)
        drain(s, now);
    else if (due > s->ticks + LATE_TICKS_MAX)
        s->ticks = due - 1;
    __atomic_store_n(&s->clocked, listener, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->lock);
    while (listener && (direct ? had : s->ticks < due)) {
        lk_frame *f = next_frame(s, &had);
        if (f && (!direct || had))
            hand_out(s, f, now);
        lk_frame_unref(f);
        pthread_mutex_lock(&s->lock);
        s->ticks = direct ? due : s->ticks + 1;
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_lock(&s->lock);
    lk_op op = ready(s);
    bool waits = s->pending != 0;
    size_t over = waits ? s->count - queue_samples(s) : 0;
    uint64_t ticks = s->ticks;
    pthread_mutex_unlock(&s->lock);
    end_capture(s, op);
    s->next_tick = LK_NEVER;
    if (listener || s->audience.track_count > 0)
        s->next_tick = s->born + (lk_usec)(ticks + 1) * 10000;
    else if (waits) /* nobody listens: nothing to do before the queue has shrunk enough */
        s->next_tick = s->born + (lk_usec)(ticks + (over + s->tick_samples - 1) / s->tick_samples) * 10000;
    return s->next_tick;
}
