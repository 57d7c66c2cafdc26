// SPDX-License-Identifier: Apache-2.0
#include "media/video_receiver.h"

#include "codec/video.h"
#include "dsp/video_convert.h"
#include "jitter/assembly.h"
#include "livekit/stats.h"
#include "media/frame_rate.h"

#define JOB_TAG 4
#define IDLE_PACKETS_MAX 300 /* kept while nobody looks, so that the first sink sees a picture at once */
#define FREEZE_EXTRA_USEC LK_MSEC(150)
#define OFFSET_DRIFT_USEC 20 /* per frame: the sender's clock may be slower than ours */

typedef struct sink {
    uint64_t id;
    int format;
} sink;

typedef struct made {
    uint64_t sink;
    lk_picture *picture;
} made;

struct lk_video_receiver {
    const lk_env *env;
    const lk_video_codec_ops *codec;
    const lk_rtp_payload_ops *payloads;
    lk_assembly *assembly;
    sink sinks[LK_VIDEO_RECEIVER_SINKS_MAX];
    size_t sink_count;
    bool busy;
    lk_usec rtt_usec;
    lk_queue out; /* of made */
    /* Sender's time on our clock. */
    lk_unwrap32 clock;
    int64_t offset_usec;
    bool has_offset;
    /* stats */
    lk_frame_rate rate;
    uint64_t decoded, keys, failed, qp_sum, bad_payloads, freezes;
    uint32_t width, height;
    double decode_s, delay_s, interval_sum_s, interval_square_s, freeze_s;
    lk_usec shown_at;
    double average_interval_s;
    lk_usec frame_first_at; /* arrival of the frame in the job */
    bool frame_key;
    lk_job job;

    /* The job's while it is out. */
    lk_video_decoder *decoder;
    lk_picture_pool *pool;
    uint8_t *frame;
    size_t frame_len, frame_cap;
    int64_t timestamp_usec;
    sink active[LK_VIDEO_RECEIVER_SINKS_MAX];
    size_t active_count;
    lk_err err;
    uint32_t qp, job_width, job_height;
};

/* ---- life --------------------------------------------------------------------------------------------- */

lk_err lk_video_receiver_new(lk_video_receiver **out, const lk_env *env, const char *codec_name, lk_usec now)
{
    const lk_video_codec_ops *codec = lk_video_codec_find(codec_name);
    const lk_rtp_payload_ops *payloads = lk_rtp_payload_find(codec_name);
    LK_UNUSED(now);
    if (!codec || !payloads)
        return LK_ERR_UNSUPPORTED;
    lk_video_receiver *r = (lk_video_receiver *)lk_alloc0(env, sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    r->env = env;
    r->codec = codec;
    r->payloads = payloads;
    r->job = (lk_job){.owner = r, .tag = JOB_TAG};
    lk_queue_init(&r->out, env, sizeof(made), (size_t)LK_VIDEO_RECEIVER_SINKS_MAX * 2);
    lk_err err = lk_assembly_new(&r->assembly, env);
    if (err == LK_OK)
        err = lk_picture_pool_new(&r->pool, env);
    if (err != LK_OK) {
        lk_video_receiver_free(r);
        return err;
    }
    *out = r;
    return LK_OK;
}

void lk_video_receiver_free(lk_video_receiver *r)
{
    made m;
    if (!r)
        return;
    LK_ASSERT(r->env, !r->busy);
    while (lk_queue_pop(&r->out, &m))
        lk_picture_unref(m.picture);
    lk_queue_deinit(&r->out);
    r->codec->decoder_free(r->decoder);
    lk_assembly_free(r->assembly);
    lk_picture_pool_unref(r->pool);
    lk_release(r->env, r->frame, r->frame_cap);
    lk_release(r->env, r, sizeof *r);
}

bool lk_video_receiver_busy(const lk_video_receiver *r) { return r->busy; }

/* ---- sinks -------------------------------------------------------------------------------------------- */

lk_err lk_video_receiver_add_sink(lk_video_receiver *r, lk_usec now, uint64_t id, int format)
{
    LK_UNUSED(now);
    if (format != LK_VIDEO_AS_DECODED && (format < 0 || format >= LK_VIDEO_FORMATS))
        return LK_ERR_INVALID;
    if (r->sink_count == LK_VIDEO_RECEIVER_SINKS_MAX)
        return LK_ERR_LIMIT;
    r->sinks[r->sink_count++] = (sink){id, format};
    return LK_OK;
}

bool lk_video_receiver_remove_sink(lk_video_receiver *r, uint64_t id)
{
    for (size_t i = 0; i < r->sink_count; i++) {
        if (r->sinks[i].id != id)
            continue;
        memmove(r->sinks + i, r->sinks + i + 1, (--r->sink_count - i) * sizeof *r->sinks);
        return true; /* pictures made for it are dropped by poll_picture */
    }
    return false;
}

size_t lk_video_receiver_sink_count(const lk_video_receiver *r) { return r->sink_count; }

/* ---- the job ------------------------------------------------------------------------------------------ */

static lk_err show(lk_video_receiver *r, const lk_video_view *view, const sink *k, lk_picture *const *made_before, size_t count,
                   lk_picture **out)
{
    lk_video_format format = k->format == LK_VIDEO_AS_DECODED ? view->format : (lk_video_format)k->format;
    for (size_t i = 0; i < count; i++)
        if (made_before[i] && made_before[i]->format == format) { /* pictures are shared, not made twice */
            *out = lk_picture_ref(made_before[i]);
            return LK_OK;
        }
    lk_err err = lk_picture_new(out, r->pool, format, view->width, view->height);
    if (err != LK_OK)
        return err;
    err = lk_video_convert(*out, r->env, view, false);
    if (err != LK_OK)
        lk_picture_unref(*out);
    return err;
}

static void run(lk_job *job)
{
    lk_video_receiver *r = (lk_video_receiver *)job->owner;
    lk_video_view view;
    lk_picture *pictures[LK_VIDEO_RECEIVER_SINKS_MAX] = {0};
    r->err = r->decoder ? LK_OK : r->codec->decoder_new(&r->decoder, r->env);
    if (r->err == LK_OK)
        r->err = r->codec->decode(r->decoder, (lk_bytes){r->frame, r->frame_len}, &view);
    if (r->err != LK_OK)
        return;
    view.timestamp_usec = r->timestamp_usec;
    r->qp = r->codec->decoder_qp(r->decoder);
    r->job_width = view.width;
    r->job_height = view.height;
    for (size_t i = 0; i < r->active_count; i++) {
        if (show(r, &view, &r->active[i], pictures, i, &pictures[i]) != LK_OK)
            continue;
        const made m = {r->active[i].id, pictures[i]};
        if (lk_queue_push(&r->out, &m) != LK_OK) {
            lk_picture_unref(pictures[i]);
            pictures[i] = NULL;
        }
    }
}

/* ---- the loop's side ---------------------------------------------------------------------------------- */

void lk_video_receiver_input(lk_video_receiver *r, lk_usec now, const lk_rtp_packet *p)
{
    lk_rtp_piece piece;
    if (p->payload_len == 0) {
        lk_assembly_input(r->assembly, now, p->seq, p->ts, false, NULL);
        return;
    }
    if (r->payloads->parse(&piece, (lk_bytes){p->payload, p->payload_len}) != LK_OK) {
        r->bad_payloads++;
        return;
    }
    if (r->sink_count == 0 && lk_assembly_waiting_packets(r->assembly) >= IDLE_PACKETS_MAX && !piece.key) {
        /* Nobody looks: only what begins with a key frame is worth its memory. */
        lk_assembled unused;
        lk_assembly_want_key(r->assembly, now);
        (void)lk_assembly_poll(r->assembly, now, &unused);
        return;
    }
    lk_assembly_input(r->assembly, now, p->seq, p->ts, p->marker, &piece);
}

void lk_video_receiver_set_rtt(lk_video_receiver *r, lk_usec rtt_usec)
{
    r->rtt_usec = rtt_usec;
    lk_assembly_set_wait(r->assembly, LK_CLAMP(LK_MSEC(400) + 3 * rtt_usec, LK_MSEC(400), LK_MSEC(900)));
}

/* When the sender captured it, on our clock: the fastest way a frame ever took is taken for no delay. */
static int64_t capture_time(lk_video_receiver *r, const lk_assembled *f)
{
    int64_t sent_usec = lk_unwrap32_next(&r->clock, f->ts) * 1000 / 90;
    int64_t offset = f->last_at - sent_usec;
    if (!r->has_offset || offset < r->offset_usec || offset > r->offset_usec + LK_SEC(5))
        r->offset_usec = offset;
    else
        r->offset_usec += OFFSET_DRIFT_USEC;
    r->has_offset = true;
    return sent_usec + r->offset_usec;
}

lk_usec lk_video_receiver_deadline(const lk_video_receiver *r)
{
    return r->sink_count == 0 || r->busy ? LK_NEVER : lk_assembly_deadline(r->assembly);
}

bool lk_video_receiver_poll_job(lk_video_receiver *r, lk_usec now, lk_job **out)
{
    lk_assembled f;
    if (r->busy || r->sink_count == 0 || !lk_assembly_poll(r->assembly, now, &f))
        return false;
    if (f.frame.len > r->frame_cap) {
        size_t cap = f.frame.len + f.frame.len / 2;
        uint8_t *more = (uint8_t *)lk_alloc(r->env, cap);
        if (!more) {
            lk_assembly_want_key(r->assembly, now);
            return false;
        }
        lk_release(r->env, r->frame, r->frame_cap);
        r->frame = more;
        r->frame_cap = cap;
    }
    memcpy(r->frame, f.frame.data, f.frame.len);
    r->frame_len = f.frame.len;
    r->frame_first_at = f.first_at;
    r->frame_key = f.key;
    r->timestamp_usec = capture_time(r, &f);
    memcpy(r->active, r->sinks, r->sink_count * sizeof *r->sinks);
    r->active_count = r->sink_count;
    r->busy = true;
    r->job.run = run;
    r->job.spent_usec = 0;
    *out = &r->job;
    return true;
}

static void count_interval(lk_video_receiver *r, lk_usec now)
{
    if (r->shown_at) {
        double span = (double)(now - r->shown_at) / 1e6;
        r->interval_sum_s += span;
        r->interval_square_s += span * span;
        /* [webrtc-stats freezeCount]: three times the average, or 150 ms above it */
        if (r->decoded > 5 && span >= LK_MAX(3 * r->average_interval_s, r->average_interval_s + FREEZE_EXTRA_USEC / 1e6)) {
            r->freezes++;
            r->freeze_s += span;
        }
        r->average_interval_s += (span - r->average_interval_s) / (double)LK_MIN(r->decoded, UINT64_C(30));
    }
    r->shown_at = now;
}

void lk_video_receiver_job_done(lk_video_receiver *r, lk_usec now, lk_job *job)
{
    LK_ASSERT(r->env, r->busy && job == &r->job);
    r->busy = false;
    if (r->err != LK_OK) {
        r->failed++;
        lk_assembly_want_key(r->assembly, now);
        return;
    }
    r->decoded++;
    r->keys += r->frame_key;
    r->qp_sum += r->qp;
    r->width = r->job_width;
    r->height = r->job_height;
    r->decode_s += (double)job->spent_usec / 1e6;
    r->delay_s += (double)(now - r->frame_first_at) / 1e6;
    lk_frame_rate_add(&r->rate, now);
    count_interval(r, now);
}

bool lk_video_receiver_poll_picture(lk_video_receiver *r, uint64_t *id, lk_picture **picture)
{
    made m;
    while (!r->busy && lk_queue_pop(&r->out, &m)) {
        for (size_t i = 0; i < r->sink_count; i++) {
            if (r->sinks[i].id != m.sink)
                continue;
            *id = m.sink;
            *picture = m.picture;
            return true;
        }
        lk_picture_unref(m.picture); /* its sink left while the job was out */
    }
    return false;
}

bool lk_video_receiver_poll_wish(lk_video_receiver *r, lk_usec now)
{
    return r->sink_count > 0 && lk_assembly_poll_wish(r->assembly, now);
}

void lk_video_receiver_stats(const lk_video_receiver *r, lk_usec now, struct lk_stats *entry)
{
    lk_stats_InboundRtpStream *s = &entry->inbound_rtp.inbound;
    const lk_assembly_counters *c = lk_assembly_count(r->assembly);
    s->frames_received = c->frames;
    s->frames_decoded = s->frames_rendered = (uint32_t)r->decoded;
    s->key_frames_decoded = (uint32_t)r->keys;
    s->frames_dropped = (uint32_t)(c->dropped + r->failed);
    s->frame_width = r->width;
    s->frame_height = r->height;
    s->frames_per_second = lk_frame_rate_now(&r->rate, now);
    s->qp_sum = r->qp_sum;
    s->total_decode_time = r->decode_s;
    s->total_inter_frame_delay = r->interval_sum_s;
    s->total_squared_inter_frame_delay = r->interval_square_s;
    s->freeze_count = (uint32_t)r->freezes;
    s->total_freeze_duration = r->freeze_s;
    s->packets_discarded += c->late + r->bad_payloads;
    s->total_processing_delay = s->jitter_buffer_delay = r->delay_s;
    s->jitter_buffer_emitted_count = r->decoded;
    s->frames_assembled_from_multiple_packets = c->multi_packet_frames;
    s->total_assembly_time = c->assembly_sum_s;
    (void)lk_str_copy(s->decoder_implementation, sizeof s->decoder_implementation, lk_str_of(r->codec->implementation));
}
