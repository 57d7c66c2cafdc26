// SPDX-License-Identifier: Apache-2.0
#include "media/video_sender.h"

#include "codec/video.h"
#include "dsp/video_convert.h"
#include "livekit/stats.h"
#include "media/frame_rate.h"
#include "rtp/payload.h"

#define JOB_TAG 3
#define CLOCK_KHZ 90
#define LOAD_FRAMES 10
#define LOAD_HIGH_PERCENT 60 /* of the frame interval spent encoding: less effort */
#define LOAD_LOW_PERCENT 30  /* more effort again */
#define HUGE_FACTOR 5 / 2    /* of the average frame, as webrtc-stats counts huge frames */
#define TWO_THREADS_PIXELS (1920u * 1080u)

/* What the job works on; nobody else touches it while the job is out. */
typedef struct workshop {
    lk_picture *picture; /* a reference */
    bool key;
    uint32_t bitrate_bps, framerate;
    unsigned effort, told_effort;
    int64_t pts;
    lk_video_encoder *encoder;
    uint32_t width, height; /* of the encoder */
    lk_picture_pool *pool;
    lk_picture *upright, *i420; /* kept between jobs */
    lk_err err;
    /* the result */
    uint8_t *frame;
    size_t frame_len, frame_cap;
    bool frame_key;
    uint32_t qp;
} workshop;

struct lk_video_sender {
    const lk_env *env;
    lk_video_sender_config config;
    const lk_video_codec_ops *codec;
    const lk_rtp_payload_ops *payloads;
    lk_picture *waiting, *last; /* last: of a track that stands still, for key frames */
    lk_usec waiting_at, last_at, due_at, key_due; /* due_at: of the next picture by the frame rate */
    bool want_key, busy;
    uint32_t target_bps;
    /* effort */
    lk_usec load_sum;
    unsigned load_frames, effort;
    /* sending */
    lk_rtp_cut cut;
    bool sending;
    uint32_t ts;
    int64_t last_pts;
    uint8_t packet[LK_VIDEO_SENDER_PAYLOAD_MAX];
    /* stats */
    lk_frame_rate in_rate, out_rate;
    uint64_t captured, encoded, keys, dropped, qp_sum, target_bytes_q, huge, resolution_changes;
    double encode_time_s, average_len;
    lk_usec limited_since;
    bool limited;
    double limited_s, unlimited_s;
    uint32_t width, height; /* of the last encoded frame */
    lk_err broken; /* the encoder's last complaint */
    lk_job job;
    workshop work;
};

/* ---- the job ------------------------------------------------------------------------------------------ */

/* A picture of that format and size to write into, made when the one at hand does not fit. */
static lk_err fitting(workshop *w, lk_picture **slot, uint32_t width, uint32_t height)
{
    if (*slot && (*slot)->width == width && (*slot)->height == height)
        return LK_OK;
    lk_picture_unref(*slot);
    *slot = NULL;
    return lk_picture_new(slot, w->pool, LK_VIDEO_I420, width, height);
}

static lk_err prepare(lk_video_sender *s, lk_video_view *view)
{
    workshop *w = &s->work;
    *view = lk_picture_view(w->picture);
    lk_err err = LK_OK;
    if (view->format != LK_VIDEO_I420) {
        err = fitting(w, &w->i420, view->width, view->height);
        if (err == LK_OK)
            err = lk_video_convert(w->i420, s->env, view, false);
        if (err != LK_OK)
            return err;
        *view = lk_picture_view(w->i420);
    }
    if (view->rotation != LK_VIDEO_ROTATION_0) {
        bool aside = view->rotation == LK_VIDEO_ROTATION_90 || view->rotation == LK_VIDEO_ROTATION_270;
        err = fitting(w, &w->upright, aside ? view->height : view->width, aside ? view->width : view->height);
        if (err == LK_OK)
            err = lk_video_turn(w->upright, view);
        if (err == LK_OK)
            *view = lk_picture_view(w->upright);
    }
    return err;
}

static lk_err fit_encoder(lk_video_sender *s, const lk_video_view *view)
{
    workshop *w = &s->work;
    if (w->encoder && w->width == view->width && w->height == view->height)
        return LK_OK;
    s->codec->encoder_free(w->encoder);
    w->encoder = NULL;
    const lk_video_encoder_config config = {.width = view->width,
                                            .height = view->height,
                                            .bitrate_bps = w->bitrate_bps,
                                            .framerate = w->framerate,
                                            .threads = view->width * view->height >= TWO_THREADS_PIXELS ? 2 : 1,
                                            .screen = s->config.screen};
    lk_err err = s->codec->encoder_new(&w->encoder, s->env, &config);
    if (err != LK_OK)
        return err;
    w->width = view->width;
    w->height = view->height;
    w->key = true;
    w->told_effort = LK_VIDEO_EFFORT_DEFAULT;
    return LK_OK;
}

static lk_err keep_frame(lk_video_sender *s, lk_bytes frame)
{
    workshop *w = &s->work;
    if (frame.len > w->frame_cap) {
        size_t cap = frame.len + frame.len / 2;
        uint8_t *more = (uint8_t *)lk_alloc(s->env, cap);
        if (!more)
            return LK_ERR_NOMEM;
        lk_release(s->env, w->frame, w->frame_cap);
        w->frame = more;
        w->frame_cap = cap;
    }
    if (frame.len)
        memcpy(w->frame, frame.data, frame.len);
    w->frame_len = frame.len;
    return LK_OK;
}

static lk_err encode(lk_video_sender *s)
{
    workshop *w = &s->work;
    lk_video_view view;
    lk_video_unit unit;
    lk_err err = prepare(s, &view);
    if (err == LK_OK)
        err = fit_encoder(s, &view);
    if (err != LK_OK)
        return err;
    if (w->effort != w->told_effort) {
        s->codec->encoder_set_effort(w->encoder, w->effort);
        w->told_effort = w->effort;
    }
    s->codec->encoder_set_rate(w->encoder, w->bitrate_bps, w->framerate);
    err = s->codec->encode(w->encoder, &view, w->pts, w->key, &unit);
    if (err != LK_OK)
        return err;
    w->frame_key = unit.key;
    w->qp = unit.qp;
    return keep_frame(s, unit.frame);
}

static void run(lk_job *job)
{
    lk_video_sender *s = (lk_video_sender *)job->owner;
    s->work.frame_len = 0;
    s->work.err = encode(s);
    lk_picture_unref(s->work.picture);
    s->work.picture = NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

lk_err lk_video_sender_new(lk_video_sender **out, const lk_env *env, const lk_video_sender_config *config, lk_usec now)
{
    const lk_video_codec_ops *codec = lk_video_codec_find(config->codec);
    const lk_rtp_payload_ops *payloads = lk_rtp_payload_find(config->codec);
    if (!codec || !payloads)
        return LK_ERR_UNSUPPORTED;
    if (config->max_bitrate_bps == 0 || config->max_framerate == 0)
        return LK_ERR_INVALID;
    lk_video_sender *s = (lk_video_sender *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->config = *config;
    s->config.codec = codec->name;
    s->codec = codec;
    s->payloads = payloads;
    s->target_bps = config->max_bitrate_bps;
    s->effort = LK_VIDEO_EFFORT_DEFAULT;
    s->want_key = true;
    s->key_due = LK_NEVER;
    s->due_at = s->last_at = now - LK_SEC(10);
    s->limited_since = now;
    s->last_pts = -1;
    s->cut.picture_id = (uint16_t)(lk_rand_u32(env) & 0x7fff);
    s->job = (lk_job){.run = run, .owner = s, .tag = JOB_TAG};
    lk_err err = lk_picture_pool_new(&s->work.pool, env);
    if (err != LK_OK) {
        lk_release(env, s, sizeof *s);
        return err;
    }
    *out = s;
    return LK_OK;
}

void lk_video_sender_free(lk_video_sender *s)
{
    if (!s)
        return;
    LK_ASSERT(s->env, !s->busy);
    lk_picture_unref(s->waiting);
    lk_picture_unref(s->last);
    lk_picture_unref(s->work.picture);
    lk_picture_unref(s->work.upright);
    lk_picture_unref(s->work.i420);
    s->codec->encoder_free(s->work.encoder);
    lk_picture_pool_unref(s->work.pool);
    lk_release(s->env, s->work.frame, s->work.frame_cap);
    lk_release(s->env, s, sizeof *s);
}

bool lk_video_sender_busy(const lk_video_sender *s) { return s->busy; }

/* ---- the loop's side ---------------------------------------------------------------------------------- */

static lk_usec interval(const lk_video_sender *s) { return 1000000 / (lk_usec)s->config.max_framerate; }

void lk_video_sender_push(lk_video_sender *s, lk_usec now, lk_picture *picture)
{
    s->captured++;
    lk_frame_rate_add(&s->in_rate, now);
    lk_picture_ref(picture);
    lk_picture_unref(s->last);
    s->last = picture;
    s->last_at = now;
    if (s->config.muted)
        return;
    /* Half an interval early is the unsteady clock of a camera, more is a frame too many. */
    if (now < s->due_at - interval(s) / 2 && !s->want_key) {
        s->dropped++;
        return;
    }
    if (s->waiting) {
        s->dropped++;
        lk_picture_unref(s->waiting);
    }
    s->waiting = lk_picture_ref(picture);
    s->waiting_at = now;
    s->key_due = LK_NEVER;
}

void lk_video_sender_set_muted(lk_video_sender *s, bool muted)
{
    if (s->config.muted && !muted)
        s->want_key = true;
    s->config.muted = muted;
    if (muted) {
        lk_picture_unref(s->waiting);
        s->waiting = NULL;
        s->key_due = LK_NEVER;
    }
}

/* How long the bit rate has been below what was asked for. */
static void account_limit(lk_video_sender *s, lk_usec now)
{
    double span = (double)(now - s->limited_since) / 1e6;
    *(s->limited ? &s->limited_s : &s->unlimited_s) += span;
    s->limited_since = now;
}

void lk_video_sender_set_target(lk_video_sender *s, lk_usec now, uint64_t bitrate_bps)
{
    s->target_bps = (uint32_t)LK_MIN(bitrate_bps, (uint64_t)s->config.max_bitrate_bps);
    bool limited = s->target_bps < s->config.max_bitrate_bps;
    if (limited != s->limited) {
        account_limit(s, now);
        s->limited = limited;
    }
}

void lk_video_sender_want_key(lk_video_sender *s, lk_usec now)
{
    s->want_key = true;
    /* A source that stands still (a shared window) would never answer. */
    if (s->last && !s->waiting && !s->config.muted && s->key_due == LK_NEVER)
        s->key_due = LK_MAX(now, s->last_at + interval(s) * 3 / 2);
}

void lk_video_sender_tick(lk_video_sender *s, lk_usec now)
{
    if (now < s->key_due)
        return;
    s->key_due = LK_NEVER;
    if (s->want_key && s->last && !s->waiting && !s->config.muted) {
        s->waiting = lk_picture_ref(s->last);
        s->waiting_at = now;
    }
}

lk_usec lk_video_sender_deadline(const lk_video_sender *s) { return s->key_due; }

bool lk_video_sender_poll_job(lk_video_sender *s, lk_usec now, lk_job **out)
{
    if (s->busy || s->sending || !s->waiting)
        return false;
    workshop *w = &s->work;
    w->picture = s->waiting;
    s->waiting = NULL;
    w->key = s->want_key;
    w->bitrate_bps = s->target_bps;
    w->framerate = s->config.max_framerate;
    w->effort = s->effort;
    w->pts = LK_MAX(s->waiting_at * CLOCK_KHZ / 1000, s->last_pts + 1);
    s->last_pts = w->pts;
    s->want_key = false;
    /* A picture that came late does not put off the next one: the frame rate holds in the mean. */
    s->due_at = LK_MAX(s->due_at, s->waiting_at - interval(s) / 2) + interval(s);
    s->busy = true;
    s->job.spent_usec = 0;
    LK_UNUSED(now);
    *out = &s->job;
    return true;
}

/* Less effort when encoding eats the frame interval, more when there is room again. */
static void watch_load(lk_video_sender *s, lk_usec spent)
{
    s->load_sum += spent;
    if (++s->load_frames < LOAD_FRAMES)
        return;
    lk_usec percent = s->load_sum * 100 / (LOAD_FRAMES * interval(s));
    if (percent > LOAD_HIGH_PERCENT && s->effort < LK_VIDEO_EFFORT_MAX)
        s->effort++;
    else if (percent < LOAD_LOW_PERCENT && s->effort > LK_VIDEO_EFFORT_DEFAULT)
        s->effort--;
    s->load_sum = 0;
    s->load_frames = 0;
}

void lk_video_sender_job_done(lk_video_sender *s, lk_usec now, lk_job *job)
{
    LK_ASSERT(s->env, s->busy && job == &s->job);
    const workshop *w = &s->work;
    s->busy = false;
    s->encode_time_s += (double)job->spent_usec / 1e6;
    watch_load(s, job->spent_usec);
    if (w->err != LK_OK) {
        if (w->err != s->broken)
            LK_LOG(s->env, LK_LOG_WARN, "video.encode.failed", LK_S("error", lk_err_name(w->err)));
        s->broken = w->err;
        s->dropped++;
        s->want_key = true;
        return;
    }
    s->broken = LK_OK;
    if (w->frame_len == 0) { /* left out by the encoder to keep its rate */
        s->dropped++;
        s->want_key |= w->key;
        return;
    }
    lk_frame_rate_add(&s->out_rate, now);
    s->resolution_changes += s->encoded && (s->width != w->width || s->height != w->height);
    s->width = w->width;
    s->height = w->height;
    s->encoded++;
    s->keys += w->frame_key;
    s->qp_sum += w->qp;
    s->target_bytes_q += w->bitrate_bps / 8 / LK_MAX(w->framerate, 1u);
    s->huge += s->encoded > 1 && (double)w->frame_len > s->average_len * HUGE_FACTOR;
    s->average_len += ((double)w->frame_len - s->average_len) / 30;
    s->ts = (uint32_t)w->pts;
    s->cut = (lk_rtp_cut){0, (uint16_t)((s->cut.picture_id + 1) & 0x7fff)};
    s->sending = true;
}

bool lk_video_sender_poll_packet(lk_video_sender *s, lk_video_packet *out)
{
    if (!s->sending)
        return false;
    lk_wr w = lk_wr_of(s->packet, sizeof s->packet);
    bool first = s->cut.at == 0, last = false;
    lk_bytes frame = {s->work.frame, s->work.frame_len};
    if (!s->payloads->cut(&s->cut, frame, sizeof s->packet, &w, &last)) {
        s->sending = false;
        return false;
    }
    s->sending = !last;
    *out = (lk_video_packet){s->packet, w.len, s->ts, last, s->work.frame_key, first};
    return true;
}

/* ---- stats -------------------------------------------------------------------------------------------- */

const char *lk_video_sender_codec(const lk_video_sender *s) { return s->codec->name; }
uint32_t lk_video_sender_target_bps(const lk_video_sender *s) { return s->target_bps; }

void lk_video_sender_stats(const lk_video_sender *s, lk_usec now, struct lk_stats *entry)
{
    lk_stats_OutboundRtpStream *o = &entry->outbound_rtp.outbound;
    double span = (double)(now - s->limited_since) / 1e6;
    o->target_bitrate = s->target_bps;
    o->total_encoded_bytes_target = s->target_bytes_q;
    o->frame_width = s->width;
    o->frame_height = s->height;
    o->frames_per_second = lk_frame_rate_now(&s->out_rate, now);
    o->frames_sent = o->frames_encoded = (uint32_t)s->encoded;
    o->huge_frames_sent = (uint32_t)s->huge;
    o->key_frames_encoded = (uint32_t)s->keys;
    o->qp_sum = s->qp_sum;
    o->total_encode_time = s->encode_time_s;
    o->quality_limitation_reason = s->limited ? LK_STATS_LIMIT_BANDWIDTH : LK_STATS_LIMIT_NONE;
    o->quality_limitation_durations[LK_STATS_LIMIT_BANDWIDTH] = s->limited_s + (s->limited ? span : 0);
    o->quality_limitation_durations[LK_STATS_LIMIT_NONE] = s->unlimited_s + (s->limited ? 0 : span);
    o->quality_limitation_resolution_changes = (uint32_t)s->resolution_changes;
    (void)lk_str_copy(o->encoder_implementation, sizeof o->encoder_implementation, lk_str_of(s->codec->implementation));
}

void lk_video_sender_source_stats(const lk_video_sender *s, lk_usec now, struct lk_stats *entry)
{
    lk_stats_VideoSource *v = &entry->media_source.video;
    v->width = s->last ? s->last->width : 0;
    v->height = s->last ? s->last->height : 0;
    v->frames = (uint32_t)s->captured;
    v->frames_per_second = lk_frame_rate_now(&s->in_rate, now);
}
