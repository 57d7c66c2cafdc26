// SPDX-License-Identifier: Apache-2.0
/* VP8 over libvpx, opened on first need. [RFC6386] */
#include "codec/video.h"

#include <vpx/vp8cx.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>
#include <vpx/vpx_encoder.h>

#define LIBRARY "libvpx.so.7"
#define PIXELS_MAX (8192u * 4320u) /* a frame header may claim more than any camera gives */

/* Quantizer bounds and buffers as real-time senders of the field use them: pictures that hardly move are not polished
 * beyond what is seen, bursts stay within half a second of the rate. */
#define QUANTIZER_MIN 2
#define QUANTIZER_MAX 56
#define BUFFER_MSEC 1000
#define BUFFER_START_MSEC 500
#define BUFFER_AIM_MSEC 600
#define DROP_BELOW_PERCENT 30
#define CLOCK_HZ 90000
#define INTERVAL_SHARE 16 /* of a new interval in the mean */

typedef struct vpx_calls {
    vpx_codec_iface_t *(*vp8_cx)(void);
    vpx_codec_iface_t *(*vp8_dx)(void);
    vpx_codec_err_t (*enc_config_default)(vpx_codec_iface_t *, vpx_codec_enc_cfg_t *, unsigned);
    vpx_codec_err_t (*enc_init)(vpx_codec_ctx_t *, vpx_codec_iface_t *, const vpx_codec_enc_cfg_t *, vpx_codec_flags_t, int);
    vpx_codec_err_t (*enc_config_set)(vpx_codec_ctx_t *, const vpx_codec_enc_cfg_t *);
    vpx_codec_err_t (*encode)(vpx_codec_ctx_t *, const vpx_image_t *, vpx_codec_pts_t, unsigned long, vpx_enc_frame_flags_t,
                              unsigned long);
    const vpx_codec_cx_pkt_t *(*get_cx_data)(vpx_codec_ctx_t *, vpx_codec_iter_t *);
    vpx_codec_err_t (*dec_init)(vpx_codec_ctx_t *, vpx_codec_iface_t *, const vpx_codec_dec_cfg_t *, vpx_codec_flags_t, int);
    vpx_codec_err_t (*decode)(vpx_codec_ctx_t *, const uint8_t *, unsigned, void *, long);
    vpx_image_t *(*get_frame)(vpx_codec_ctx_t *, vpx_codec_iter_t *);
    vpx_codec_err_t (*control)(vpx_codec_ctx_t *, int, ...);
    vpx_codec_err_t (*destroy)(vpx_codec_ctx_t *);
    vpx_image_t *(*img_wrap)(vpx_image_t *, vpx_img_fmt_t, unsigned, unsigned, unsigned, unsigned char *);
} vpx_calls;

static bool open_library(const lk_env *env, vpx_calls *v)
{
    const struct {
        const char *name;
        void *slot;
    } wanted[] = {
        {"vpx_codec_vp8_cx", &v->vp8_cx},
        {"vpx_codec_vp8_dx", &v->vp8_dx},
        {"vpx_codec_enc_config_default", &v->enc_config_default},
        {"vpx_codec_enc_init_ver", &v->enc_init},
        {"vpx_codec_enc_config_set", &v->enc_config_set},
        {"vpx_codec_encode", &v->encode},
        {"vpx_codec_get_cx_data", &v->get_cx_data},
        {"vpx_codec_dec_init_ver", &v->dec_init},
        {"vpx_codec_decode", &v->decode},
        {"vpx_codec_get_frame", &v->get_frame},
        {"vpx_codec_control_", &v->control},
        {"vpx_codec_destroy", &v->destroy},
        {"vpx_img_wrap", &v->img_wrap},
    };
    for (size_t i = 0; i < LK_LEN(wanted); i++) {
        void *p = env->sym ? env->sym(LIBRARY, wanted[i].name) : NULL;
        if (!p)
            return false;
        memcpy(wanted[i].slot, &p, sizeof p);
    }
    return true;
}

/* ---- encoder ------------------------------------------------------------------------------------------ */

struct lk_video_encoder {
    const lk_env *env;
    vpx_calls vpx;
    vpx_codec_ctx_t ctx;
    vpx_codec_enc_cfg_t cfg;
    bool open, screen;
    /* The library's clock: see pace(). 90 kHz. */
    int64_t clock, last_pts, interval;
};

static void encoder_free(lk_video_encoder *e)
{
    if (!e)
        return;
    if (e->open)
        e->vpx.destroy(&e->ctx);
    lk_release(e->env, e, sizeof *e);
}

static int speed_of(unsigned effort)
{
    static const int speeds[LK_VIDEO_EFFORT_MAX + 1] = {-4, -6, -7, -8, -9, -10, -11, -12};
    return speeds[LK_MIN(effort, (unsigned)LK_VIDEO_EFFORT_MAX)];
}

/* A key frame may take half of the buffer: then it is through before the buffer runs dry. */
static unsigned key_percent(uint32_t framerate) { return LK_MAX(300u, BUFFER_AIM_MSEC * framerate / 20); }

static void set_rate(vpx_codec_enc_cfg_t *cfg, uint32_t bitrate_bps, uint32_t framerate)
{
    LK_UNUSED(framerate);
    cfg->rc_target_bitrate = LK_MAX(bitrate_bps / 1000, 10u);
}

static lk_err encoder_new(lk_video_encoder **out, const lk_env *env, const lk_video_encoder_config *c)
{
    if (c->width == 0 || c->height == 0 || c->width > 16383 || c->height > 16383) /* 14 bits in the frame header */
        return LK_ERR_INVALID;
    lk_video_encoder *e = (lk_video_encoder *)lk_alloc0(env, sizeof *e);
    if (!e)
        return LK_ERR_NOMEM;
    e->env = env;
    e->screen = c->screen;
    e->interval = CLOCK_HZ / LK_MAX(c->framerate, 1u);
    e->last_pts = -1;
    lk_err err = open_library(env, &e->vpx) ? LK_OK : LK_ERR_UNSUPPORTED;
    if (err == LK_OK && e->vpx.enc_config_default(e->vpx.vp8_cx(), &e->cfg, 0) != VPX_CODEC_OK)
        err = LK_ERR_CODEC;
    if (err == LK_OK) {
        e->cfg.g_w = c->width;
        e->cfg.g_h = c->height;
        e->cfg.g_timebase = (vpx_rational_t){1, CLOCK_HZ};
        e->cfg.g_threads = LK_MAX(c->threads, 1u);
        e->cfg.g_lag_in_frames = 0;
        e->cfg.g_pass = VPX_RC_ONE_PASS;
        e->cfg.rc_end_usage = VPX_CBR;
        e->cfg.rc_dropframe_thresh = c->screen ? 0 : DROP_BELOW_PERCENT;
        e->cfg.rc_resize_allowed = 0;
        e->cfg.rc_min_quantizer = QUANTIZER_MIN;
        e->cfg.rc_max_quantizer = QUANTIZER_MAX;
        e->cfg.rc_undershoot_pct = 100;
        e->cfg.rc_overshoot_pct = 15;
        e->cfg.rc_buf_initial_sz = BUFFER_START_MSEC;
        e->cfg.rc_buf_optimal_sz = BUFFER_AIM_MSEC;
        e->cfg.rc_buf_sz = BUFFER_MSEC;
        e->cfg.kf_mode = VPX_KF_DISABLED; /* on request only: a receiver that needs one asks */
        set_rate(&e->cfg, c->bitrate_bps, c->framerate);
        if (e->vpx.enc_init(&e->ctx, e->vpx.vp8_cx(), &e->cfg, 0, VPX_ENCODER_ABI_VERSION) == VPX_CODEC_OK)
            e->open = true;
        else
            err = LK_ERR_CODEC;
    }
    if (err != LK_OK) {
        encoder_free(e);
        return err;
    }
    int bad = e->vpx.control(&e->ctx, VP8E_SET_CPUUSED, speed_of(LK_VIDEO_EFFORT_DEFAULT));
    bad |= (int)e->vpx.control(&e->ctx, VP8E_SET_STATIC_THRESHOLD, c->screen ? 100 : 1);
    bad |= (int)e->vpx.control(&e->ctx, VP8E_SET_NOISE_SENSITIVITY, 0);
    bad |= (int)e->vpx.control(&e->ctx, VP8E_SET_TOKEN_PARTITIONS, c->threads > 1 ? VP8_TWO_TOKENPARTITION : VP8_ONE_TOKENPARTITION);
    bad |= (int)e->vpx.control(&e->ctx, VP8E_SET_MAX_INTRA_BITRATE_PCT, key_percent(c->framerate));
    bad |= (int)e->vpx.control(&e->ctx, VP8E_SET_SCREEN_CONTENT_MODE, c->screen ? 1u : 0u);
    if (bad) {
        encoder_free(e);
        return LK_ERR_CODEC;
    }
    *out = e;
    return LK_OK;
}

static void encoder_set_rate(lk_video_encoder *e, uint32_t bitrate_bps, uint32_t framerate)
{
    unsigned before = e->cfg.rc_target_bitrate;
    set_rate(&e->cfg, bitrate_bps, framerate);
    if (e->cfg.rc_target_bitrate != before)
        (void)e->vpx.enc_config_set(&e->ctx, &e->cfg);
}

static void encoder_set_effort(lk_video_encoder *e, unsigned effort)
{
    (void)e->vpx.control(&e->ctx, VP8E_SET_CPUUSED, speed_of(effort));
}

/* The library divides its bits by frame durations, and one long gap makes it think for a second that frames are that far
 * apart: it would spend too much on each. So it gets a clock that goes by the mean interval. */
static void pace(lk_video_encoder *e, int64_t pts)
{
    e->clock += e->interval;
    if (e->last_pts >= 0) {
        int64_t interval = LK_CLAMP(pts - e->last_pts, e->interval / 4, e->interval * 4);
        e->interval = LK_CLAMP(e->interval + (interval - e->interval) / INTERVAL_SHARE, CLOCK_HZ / 240, (int64_t)CLOCK_HZ);
    }
    e->last_pts = pts;
}

static lk_err encode(lk_video_encoder *e, const lk_video_view *p, int64_t pts, bool key, lk_video_unit *out)
{
    if (p->format != LK_VIDEO_I420 || p->width != e->cfg.g_w || p->height != e->cfg.g_h)
        return LK_ERR_INVALID;
    vpx_image_t image;
    /* The planes need not be one block; the library reads them only. */
    e->vpx.img_wrap(&image, VPX_IMG_FMT_I420, p->width, p->height, 1, (unsigned char *)(uintptr_t)p->planes[0]);
    for (size_t i = 0; i < 3; i++) {
        image.planes[i] = (unsigned char *)(uintptr_t)p->planes[i];
        image.stride[i] = (int)p->stride_bytes[i];
    }
    *out = (lk_video_unit){0};
    pace(e, pts);
    if (e->vpx.encode(&e->ctx, &image, e->clock, (unsigned long)e->interval, key ? VPX_EFLAG_FORCE_KF : 0, VPX_DL_REALTIME) != VPX_CODEC_OK)
        return LK_ERR_CODEC;
    vpx_codec_iter_t iter = NULL;
    for (const vpx_codec_cx_pkt_t *pkt; (pkt = e->vpx.get_cx_data(&e->ctx, &iter)) != NULL;) {
        if (pkt->kind != VPX_CODEC_CX_FRAME_PKT)
            continue;
        out->frame = (lk_bytes){(const uint8_t *)pkt->data.frame.buf, pkt->data.frame.sz};
        out->key = (pkt->data.frame.flags & VPX_FRAME_IS_KEY) != 0;
    }
    int qp = 0;
    if (e->vpx.control(&e->ctx, VP8E_GET_LAST_QUANTIZER, &qp) == VPX_CODEC_OK)
        out->qp = (uint32_t)qp;
    return LK_OK;
}

/* ---- decoder ------------------------------------------------------------------------------------------ */

struct lk_video_decoder {
    const lk_env *env;
    vpx_calls vpx;
    vpx_codec_ctx_t ctx;
    bool open, needs_key;
    uint32_t qp;
};

static void decoder_free(lk_video_decoder *d)
{
    if (!d)
        return;
    if (d->open)
        d->vpx.destroy(&d->ctx);
    lk_release(d->env, d, sizeof *d);
}

static lk_err decoder_new(lk_video_decoder **out, const lk_env *env)
{
    lk_video_decoder *d = (lk_video_decoder *)lk_alloc0(env, sizeof *d);
    if (!d)
        return LK_ERR_NOMEM;
    d->env = env;
    d->needs_key = true;
    const vpx_codec_dec_cfg_t cfg = {.threads = 1};
    lk_err err = open_library(env, &d->vpx) ? LK_OK : LK_ERR_UNSUPPORTED;
    if (err == LK_OK && d->vpx.dec_init(&d->ctx, d->vpx.vp8_dx(), &cfg, 0, VPX_DECODER_ABI_VERSION) != VPX_CODEC_OK)
        err = LK_ERR_CODEC;
    if (err != LK_OK) {
        decoder_free(d);
        return err;
    }
    d->open = true;
    *out = d;
    return LK_OK;
}

/* Enough of the frame header to keep impossible ones from the library. [RFC6386 s9.1] */
static bool header_ok(lk_bytes f, bool *key)
{
    if (f.len < 3)
        return false;
    *key = !(f.data[0] & 1);
    if (!*key)
        return true;
    if (f.len < 10 || f.data[3] != 0x9d || f.data[4] != 0x01 || f.data[5] != 0x2a)
        return false;
    uint32_t w = (uint32_t)((f.data[7] << 8 | f.data[6]) & 0x3fff), h = (uint32_t)((f.data[9] << 8 | f.data[8]) & 0x3fff);
    return w > 0 && h > 0 && w * h <= PIXELS_MAX;
}

static lk_err decode(lk_video_decoder *d, lk_bytes frame, lk_video_view *out)
{
    bool key = false;
    int corrupted = 0, qp = 0;
    if (!header_ok(frame, &key) || (d->needs_key && !key))
        return LK_ERR_CODEC;
    d->needs_key = true; /* until it went well */
    if (d->vpx.decode(&d->ctx, frame.data, (unsigned)frame.len, NULL, 0) != VPX_CODEC_OK ||
        d->vpx.control(&d->ctx, VP8D_GET_FRAME_CORRUPTED, &corrupted) != VPX_CODEC_OK || corrupted)
        return LK_ERR_CODEC;
    vpx_codec_iter_t iter = NULL;
    const vpx_image_t *image = d->vpx.get_frame(&d->ctx, &iter);
    if (!image || image->fmt != VPX_IMG_FMT_I420)
        return LK_ERR_CODEC;
    d->needs_key = false;
    if (d->vpx.control(&d->ctx, VPXD_GET_LAST_QUANTIZER, &qp) == VPX_CODEC_OK)
        d->qp = (uint32_t)qp;
    *out = (lk_video_view){.format = LK_VIDEO_I420, .width = image->d_w, .height = image->d_h};
    for (size_t i = 0; i < 3; i++) {
        out->planes[i] = image->planes[i];
        out->stride_bytes[i] = (uint32_t)image->stride[i];
    }
    return LK_OK;
}

static uint32_t decoder_qp(const lk_video_decoder *d) { return d->qp; }

const lk_video_codec_ops lk_video_codec_vp8 = {
    .name = "VP8",
    .implementation = "libvpx",
    .encoder_new = encoder_new,
    .encoder_free = encoder_free,
    .encoder_set_rate = encoder_set_rate,
    .encoder_set_effort = encoder_set_effort,
    .encode = encode,
    .decoder_new = decoder_new,
    .decoder_free = decoder_free,
    .decode = decode,
    .decoder_qp = decoder_qp,
};
