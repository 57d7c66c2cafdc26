// SPDX-License-Identifier: Apache-2.0
/* VP8 from encoder to decoder over two peer connections: how the path's rate is found, and what loss leaves of it. */
#include "sim/sim.h"

#include "media/video_receiver.h"
#include "media/video_sender.h"
#include "room/room_internal.h"

#define WIDTH 160u
#define HEIGHT 90u
#define INTERVAL LK_MSEC(40)
#define SLICE LK_MSEC(5)
#define MAX_BPS 2000000u
#define SRTP_TAG 16 /* AES-GCM */
#define VIDEO_PT_FIRST 96 /* VP8 and its resends */

typedef struct video {
    lk_video_sender *sender;
    lk_video_receiver *receiver;
    lk_picture_pool *pool;
    uint32_t section;
    lk_prng noise;
    lk_usec next_picture, shown_at;
    uint64_t pictures, shown, keys_asked;
    /* since the last mark */
    lk_usec marked_at, freeze_worst, queue_worst;
    uint64_t bytes_then, shown_then, pictures_then;
    /* what leaves in one instant, of what may: in thousandths of 10 ms of the estimate, a single packet aside */
    lk_usec burst_at;
    size_t burst_bytes, burst_packets;
    uint64_t burst_worst, told_bps; /* told_bps: the estimate when pacing was last set */
} video;

static void on_send(sim_peer *p, const lk_datagram *d)
{
    video *v = (video *)p->world->own;
    unsigned pt = d->len > 12 && d->data[0] >> 6 == 2 ? d->data[1] & 0x7fu : 0;
    if (pt != VIDEO_PT_FIRST && pt != VIDEO_PT_FIRST + 1)
        return;
    if (v->burst_at != p->world->now)
        v->burst_bytes = v->burst_packets = 0;
    v->burst_at = p->world->now;
    v->burst_bytes += d->len - SRTP_TAG; /* as the estimate counts them */
    v->burst_packets++;
    if (v->burst_packets > 1)
        v->burst_worst = LK_MAX(v->burst_worst, v->burst_bytes * 800000u / v->told_bps);
}

static void on_event(sim_peer *p, const lk_pc_event *e)
{
    video *v = (video *)p->world->own;
    if (e->type == LK_PC_EV_RTP && e->index == v->section && p->index == 1)
        lk_video_receiver_input(v->receiver, p->world->now, &e->packet);
    if (e->type == LK_PC_EV_KEY && e->index == v->section && p->index == 0) {
        v->keys_asked++;
        lk_video_sender_want_key(v->sender, p->world->now);
    }
}

/* Grain that no encoder predicts, over a slow wave: it takes whatever rate it is given. */
static void paint(video *v, lk_picture *p)
{
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x += 8) {
            uint64_t grain = lk_prng_next(&v->noise);
            for (uint32_t i = 0; i < 8; i++)
                p->planes[0][y * p->stride_bytes[0] + x + i] = (uint8_t)(60 + ((x + y + 3 * v->pictures) & 63) + ((grain >> (8 * i)) & 63));
        }
    for (uint32_t k = 1; k < 3; k++)
        memset(p->planes[k], 128, (size_t)p->stride_bytes[k] * (HEIGHT / 2));
}

static void show_picture(sim_world *w, video *v)
{
    lk_picture *p;
    if (w->now < v->next_picture)
        return;
    v->next_picture += INTERVAL;
    if (!sim_check(w, lk_picture_new(&p, v->pool, LK_VIDEO_I420, WIDTH, HEIGHT) == LK_OK, "picture made"))
        return;
    paint(v, p);
    p->timestamp_usec = w->now;
    v->pictures++;
    lk_video_sender_push(v->sender, w->now, p);
    lk_picture_unref(p);
}

/* What lk_session_share_rate and send_video do for one track. */
static void send_pictures(sim_world *w, video *v)
{
    lk_pc *pc = w->peers[0].pc;
    lk_job *job;
    lk_video_packet out;
    lk_pc_set_demand(pc, w->now, MAX_BPS * LK_SESSION_DEMAND_PERCENT / 100);
    v->told_bps = lk_pc_target_bps(pc);
    lk_pc_set_pacing(pc, w->now, v->told_bps * LK_SESSION_PACING_PERCENT / 100);
    lk_video_sender_set_target(v->sender, w->now, LK_MIN(lk_pc_target_bps(pc), MAX_BPS));
    lk_video_sender_tick(v->sender, w->now);
    while (lk_video_sender_poll_job(v->sender, w->now, &job)) {
        bool whole = true;
        job->run(job);
        lk_video_sender_job_done(v->sender, w->now, job);
        while (lk_video_sender_poll_packet(v->sender, &out)) {
            const lk_pc_media m = {.payload = out.payload, .len = out.len, .ts = out.ts, .marker = out.marker};
            whole = whole && lk_pc_send(pc, w->now, v->section, &m) == LK_OK;
        }
        if (!whole)
            lk_video_sender_want_key(v->sender, w->now);
    }
}

static void see_pictures(sim_world *w, video *v)
{
    lk_job *job;
    lk_picture *p;
    uint64_t sink;
    lk_video_receiver_set_rtt(v->receiver, lk_pc_rtt_usec(w->peers[1].pc));
    while (lk_video_receiver_poll_job(v->receiver, w->now, &job)) {
        job->run(job);
        lk_video_receiver_job_done(v->receiver, w->now, job);
        while (lk_video_receiver_poll_picture(v->receiver, &sink, &p)) {
            v->freeze_worst = LK_MAX(v->freeze_worst, w->now - LK_MAX(v->shown_at, v->marked_at));
            v->shown_at = w->now;
            v->shown++;
            lk_picture_unref(p);
        }
    }
    if (lk_video_receiver_poll_wish(v->receiver, w->now))
        lk_pc_request_key(w->peers[1].pc, w->now, v->section);
}

static void run(sim_world *w, lk_usec span)
{
    video *v = (video *)w->own;
    for (lk_usec until = w->now + span; w->now < until && !w->why[0];) {
        show_picture(w, v);
        send_pictures(w, v);
        see_pictures(w, v);
        sim_drain(w);
        sim_run(w, w->now + SLICE, NULL);
        v->queue_worst = LK_MAX(v->queue_worst, w->links[0].free_at - w->now);
    }
}

static void mark(sim_world *w)
{
    video *v = (video *)w->own;
    v->marked_at = w->now;
    v->freeze_worst = v->queue_worst = 0;
    v->bytes_then = w->links[0].bytes;
    v->shown_then = v->shown;
    v->pictures_then = v->pictures;
}

/* Of the link's rate since the mark, in thousandths. */
static uint64_t used(const sim_world *w)
{
    const video *v = (const video *)w->own;
    return (w->links[0].bytes - v->bytes_then) * 8000u * 1000000u / w->links[0].rate_bps / (uint64_t)(w->now - v->marked_at);
}

/* Of the pictures made since the mark, in thousandths. */
static uint64_t seen(const sim_world *w)
{
    const video *v = (const video *)w->own;
    return (v->shown - v->shown_then) * 1000 / (v->pictures - v->pictures_then);
}

static bool begin(sim_world *w, video *v, const sim_link *up)
{
    w->links[0] = *up;
    w->links[1] = (sim_link){.delay = up->delay, .loss = up->loss, .jitter = up->jitter, .reorder = up->reorder, .reorder_by = up->reorder_by};
    const lk_video_sender_config c = {.codec = "VP8", .max_bitrate_bps = MAX_BPS, .max_framerate = 25};
    if (!sim_connect(w, &(sim_pair_options){.video = true}))
        return false;
    sim_run(w, w->now + LK_SEC(12), sim_both_connected);
    if (!sim_check(w, sim_both_connected(w), "connected"))
        return false;
    *v = (video){.section = w->peers[0].video_section, .next_picture = w->now};
    lk_prng_init(&v->noise, w->seed);
    if (!sim_check(w, lk_picture_pool_new(&v->pool, w->env) == LK_OK && lk_video_sender_new(&v->sender, w->env, &c, w->now) == LK_OK &&
                          lk_video_receiver_new(&v->receiver, w->env, "VP8", w->now) == LK_OK &&
                          lk_video_receiver_add_sink(v->receiver, w->now, 1, LK_VIDEO_AS_DECODED) == LK_OK, "video made"))
        return false;
    w->own = v;
    w->peers[0].on_event = w->peers[1].on_event = on_event;
    w->peers[0].on_send = on_send;
    return true;
}

static void end(sim_world *w, video *v)
{
    w->peers[0].on_event = w->peers[1].on_event = NULL;
    w->peers[0].on_send = NULL;
    lk_video_sender_free(v->sender);
    lk_video_receiver_free(v->receiver);
    lk_picture_pool_unref(v->pool);
    w->own = NULL;
}

static const sim_link narrow = {.delay = LK_MSEC(25), .rate_bps = 1000000, .queue_bytes = 37500}; /* 300 ms of the rate */

void sim_video_bottleneck(sim_world *w)
{
    video v = {0};
    if (begin(w, &v, &narrow)) {
        run(w, LK_SEC(10));
        mark(w);
        run(w, LK_SEC(10));
        SIM_CHECK(w, used(w) >= 600 && used(w) <= 950);
        SIM_CHECK(w, v.queue_worst < LK_MSEC(150));
        SIM_CHECK(w, v.burst_worst <= 1000);
        SIM_CHECK(w, seen(w) >= 950 && v.freeze_worst < LK_MSEC(500));
    }
    end(w, &v);
}

void sim_video_steps(sim_world *w)
{
    video v = {0};
    if (begin(w, &v, &narrow)) {
        run(w, LK_SEC(12));
        w->links[0].rate_bps = 300000;
        w->links[0].queue_bytes = 11250;
        run(w, LK_SEC(3));
        SIM_CHECK(w, lk_pc_target_bps(w->peers[0].pc) <= 330000);
        run(w, LK_SEC(2)); /* what was queued before it was known, and the key frames for what was lost, are out by then */
        SIM_CHECK(w, w->links[0].free_at - w->now < LK_MSEC(150));
        mark(w);
        run(w, LK_SEC(5));
        SIM_CHECK(w, used(w) >= 500 && seen(w) >= 900);
        w->links[0].rate_bps = 1000000;
        w->links[0].queue_bytes = 37500;
        run(w, LK_SEC(10));
        SIM_CHECK(w, lk_pc_target_bps(w->peers[0].pc) >= 600000);
    }
    end(w, &v);
}

/* Packets out of order are neither loss nor a queue that grows. */
void sim_video_reordering(sim_world *w)
{
    video v = {0};
    if (begin(w, &v, &(sim_link){.delay = LK_MSEC(25), .rate_bps = 1000000, .queue_bytes = 37500, .reorder = 50, .reorder_by = LK_MSEC(30)})) {
        run(w, LK_SEC(10));
        mark(w);
        run(w, LK_SEC(10));
        SIM_CHECK(w, used(w) >= 600);
        SIM_CHECK(w, seen(w) >= 950);
    }
    end(w, &v);
}

static void lossy(sim_world *w, uint32_t loss, uint64_t least_seen)
{
    video v = {0};
    if (begin(w, &v, &(sim_link){.delay = LK_MSEC(20), .loss = loss})) {
        run(w, LK_SEC(2));
        mark(w);
        run(w, LK_SEC(10));
        SIM_CHECK(w, seen(w) >= least_seen);
        SIM_CHECK(w, v.freeze_worst < LK_SEC(1));
        SIM_CHECK(w, v.burst_worst <= 1000);
        SIM_CHECK(w, loss > 50 || v.burst_worst > 0); /* there are some, where the estimate is high */
    }
    end(w, &v);
}

void sim_video_loss_5(sim_world *w) { lossy(w, 50, 950); }
void sim_video_loss_15(sim_world *w) { lossy(w, 150, 800); }
