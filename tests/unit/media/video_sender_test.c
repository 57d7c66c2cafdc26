// SPDX-License-Identifier: Apache-2.0
/* Which pictures of an unsteady camera are encoded, and at what rate. */
#include "lk_test.h"
#include "media/video_sender.h"
#include "open_symbol.h"

#define WIDTH 320
#define HEIGHT 180
#define BITRATE 400000
#define INTERVAL 33333

typedef struct camera {
    lk_env env;
    lk_picture_pool *pool;
    lk_video_sender *sender;
    lk_prng prng;
    uint64_t captured, frames, bytes;
} camera;

static bool camera_init(camera *c, const lk_env *env)
{
    const lk_video_sender_config config = {.codec = "VP8", .max_bitrate_bps = BITRATE, .max_framerate = 30};
    *c = (camera){.env = *env};
    c->env.sym = open_symbol;
    lk_prng_init(&c->prng, 3);
    return lk_picture_pool_new(&c->pool, &c->env) == LK_OK && lk_video_sender_new(&c->sender, &c->env, &config, 0) == LK_OK;
}

static void camera_deinit(camera *c)
{
    lk_video_sender_free(c->sender);
    lk_picture_pool_unref(c->pool);
}

/* Blocks that move, with grain: enough to spend the bits on. */
static void paint(camera *c, lk_picture *p)
{
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            p->planes[0][y * p->stride_bytes[0] + x] =
                (uint8_t)(((x + 3 * c->captured) / 8 * 37 + y / 8 * 91) % 160 + 40 + lk_prng_next(&c->prng) % 6);
    for (int plane = 1; plane < 3; plane++)
        memset(p->planes[plane], 128, (size_t)p->stride_bytes[plane] * HEIGHT / 2);
}

static void capture(camera *c, lk_usec now)
{
    lk_picture *p;
    lk_job *job;
    lk_video_packet packet;
    if (lk_picture_new(&p, c->pool, LK_VIDEO_I420, WIDTH, HEIGHT) != LK_OK)
        return;
    paint(c, p);
    c->captured++;
    lk_video_sender_push(c->sender, now, p);
    lk_picture_unref(p);
    if (!lk_video_sender_poll_job(c->sender, now, &job))
        return;
    job->run(job);
    lk_video_sender_job_done(c->sender, now, job);
    while (lk_video_sender_poll_packet(c->sender, &packet)) {
        c->frames += packet.first;
        c->bytes += packet.len;
    }
}

LK_TEST(pictures_that_come_early_or_late_are_encoded_all_the_same)
{
    camera c;
    uint64_t count = lk_test_oom() ? 3 : 300;
    if (camera_init(&c, env)) {
        for (uint64_t k = 0; k < count; k++)
            capture(&c, (lk_usec)(k * INTERVAL + lk_prng_next(&c.prng) % 14000));
        /* One or two the encoder may leave out after the first, large frame. */
        CHECK(c.frames + 3 >= c.captured);
    }
    camera_deinit(&c);
}

LK_TEST(a_camera_twice_as_fast_is_encoded_at_the_rate_that_was_asked_for)
{
    camera c;
    uint64_t count = lk_test_oom() ? 3 : 600;
    if (camera_init(&c, env)) {
        for (uint64_t k = 0; k < count; k++)
            capture(&c, (lk_usec)(k * INTERVAL / 2 + lk_prng_next(&c.prng) % 4000));
        if (!lk_test_oom())
            CHECK(c.frames >= 290 && c.frames <= 303);
    }
    camera_deinit(&c);
}

LK_TEST(gaps_between_pictures_do_not_raise_the_bit_rate)
{
    camera c;
    uint64_t count = lk_test_oom() ? 3 : 600;
    if (camera_init(&c, env)) {
        uint64_t bytes = 0;
        for (uint64_t k = 0; k < count; k++) {
            if (k == 150)
                bytes = c.bytes;
            if (lk_prng_next(&c.prng) % 7 != 0)
                capture(&c, (lk_usec)(k * INTERVAL));
        }
        if (!lk_test_oom()) {
            double bps = (double)(c.bytes - bytes) * 8 / (450 * INTERVAL / 1e6);
            CHECK(bps > 0.85 * BITRATE && bps < 1.08 * BITRATE);
        }
    }
    camera_deinit(&c);
}
