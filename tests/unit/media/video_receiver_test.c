// SPDX-License-Identifier: Apache-2.0
/* What of a stream of VP8 is shown: whole pictures that can be decoded, and nothing else. */
#include "lk_test.h"
#include "livekit/stats.h"
#include "media/video_receiver.h"
#include "media/video_sender.h"
#include "open_symbol.h"

#define INTERVAL LK_MSEC(40)

typedef struct call {
    lk_env env;
    lk_picture_pool *pool;
    lk_video_sender *sender;
    lk_video_receiver *receiver;
    lk_prng prng;
    lk_usec now;
    uint16_t seq;
    uint64_t shown, wishes;
    uint32_t width, height;
    uint8_t grey; /* of the last picture shown, in its middle */
} call;

static bool begin(call *c, const lk_env *env)
{
    const lk_video_sender_config config = {.codec = "VP8", .max_bitrate_bps = 500000, .max_framerate = 25};
    *c = (call){.env = *env, .now = LK_SEC(10), .seq = 65000};
    c->env.sym = open_symbol;
    lk_prng_init(&c->prng, 5);
    return lk_picture_pool_new(&c->pool, &c->env) == LK_OK && lk_video_sender_new(&c->sender, &c->env, &config, c->now) == LK_OK &&
           lk_video_receiver_new(&c->receiver, &c->env, "VP8", c->now) == LK_OK &&
           lk_video_receiver_add_sink(c->receiver, c->now, 1, LK_VIDEO_AS_DECODED) == LK_OK;
}

static void end(call *c)
{
    lk_video_sender_free(c->sender);
    lk_video_receiver_free(c->receiver);
    lk_picture_pool_unref(c->pool);
}

static void look(call *c)
{
    lk_job *job;
    lk_picture *p;
    uint64_t sink;
    while (lk_video_receiver_poll_job(c->receiver, c->now, &job)) {
        job->run(job);
        lk_video_receiver_job_done(c->receiver, c->now, job);
        while (lk_video_receiver_poll_picture(c->receiver, &sink, &p)) {
            c->shown++;
            c->width = p->width;
            c->height = p->height;
            c->grey = p->planes[0][p->height / 2 * p->stride_bytes[0] + p->width / 2];
            lk_picture_unref(p);
        }
    }
    if (lk_video_receiver_poll_wish(c->receiver, c->now)) {
        c->wishes++;
        lk_video_sender_want_key(c->sender, c->now);
    }
}

typedef enum what { WHOLE, NOTHING, SPOILT } what;

/* One picture of that size and grey; its packets arrive, do not, or arrive with other bytes in them. */
static bool show(call *c, uint32_t width, uint32_t height, uint8_t grey, what arrives)
{
    lk_picture *p;
    lk_job *job;
    lk_video_packet out;
    bool key = false;
    c->now += INTERVAL;
    if (lk_picture_new(&p, c->pool, LK_VIDEO_I420, width, height) != LK_OK)
        return false;
    memset(p->planes[0], grey, (size_t)p->stride_bytes[0] * height);
    for (int k = 1; k < 3; k++)
        memset(p->planes[k], 128, (size_t)p->stride_bytes[k] * ((height + 1) / 2));
    lk_video_sender_push(c->sender, c->now, p);
    lk_picture_unref(p);
    while (lk_video_sender_poll_job(c->sender, c->now, &job)) {
        job->run(job);
        lk_video_sender_job_done(c->sender, c->now, job);
        while (lk_video_sender_poll_packet(c->sender, &out)) {
            uint8_t copy[LK_VIDEO_SENDER_PAYLOAD_MAX];
            memcpy(copy, out.payload, out.len);
            key |= out.key;
            if (arrives == SPOILT) /* behind the payload descriptor: the codec's own bytes */
                for (size_t i = 8; i < out.len; i++)
                    copy[i] = (uint8_t)lk_prng_next(&c->prng);
            const lk_rtp_packet packet = {.seq = c->seq++, .ts = out.ts, .marker = out.marker, .payload = copy, .payload_len = out.len};
            if (arrives != NOTHING)
                lk_video_receiver_input(c->receiver, c->now, &packet);
        }
    }
    look(c);
    return key;
}

LK_TEST(pictures_are_shown_as_they_were_and_may_change_their_size)
{
    static const uint32_t sizes[][2] = {{320, 180}, {320, 180}, {640, 360}, {160, 90}, {641, 361}, {16, 16}, {320, 180}};
    call c;
    if (begin(&c, env))
        for (uint32_t n = 0; n < LK_LEN(sizes) * 5; n++) {
            const uint32_t *size = sizes[n / 5];
            uint8_t grey = (uint8_t)(60 + n * 4);
            show(&c, size[0], size[1], grey, WHOLE);
            if (lk_test_oom())
                continue;
            CHECK_EQ(c.shown, n + 1);
            CHECK(c.width == size[0] && c.height == size[1]);
            CHECK(c.grey >= grey - 8 && c.grey <= grey + 8);
        }
    if (!lk_test_oom())
        CHECK_EQ(c.wishes, 0);
    end(&c);
}

LK_TEST(a_hole_is_waited_for_then_a_key_frame_is_asked_for_and_nothing_false_is_shown)
{
    call c;
    if (begin(&c, env)) {
        for (int n = 0; n < 5; n++)
            show(&c, 320, 180, 100, WHOLE);
        uint64_t before = c.shown;
        show(&c, 320, 180, 110, NOTHING);
        for (int n = 0; n < 30 && c.wishes == 0; n++)
            show(&c, 320, 180, 120, WHOLE);
        if (!lk_test_oom()) {
            CHECK_EQ(c.shown, before); /* what builds on a picture that is missing */
            CHECK_EQ(c.wishes, 1);
            CHECK(show(&c, 320, 180, 130, WHOLE)); /* answered with the next frame */
            CHECK_EQ(c.shown, before + 1);
            CHECK(c.grey >= 122 && c.grey <= 138);
        }
    }
    end(&c);
}

/* Whatever the bytes are: no crash, and a picture that cannot be decoded is not shown but asked for anew. */
LK_TEST(garbage_in_the_place_of_pictures_asks_for_a_key_frame_and_passes)
{
    for (uint64_t seed = 0; seed < (lk_test_oom() ? 1u : 20u); seed++) {
        call c;
        if (begin(&c, env)) {
            lk_prng_init(&c.prng, seed);
            show(&c, 320, 180, 100, SPOILT); /* the first one already: a key frame of nonsense */
            if (!lk_test_oom())
                CHECK(c.shown == 0 && c.wishes == 1);
            for (int n = 0; n < 20; n++)
                show(&c, 320, 180, 100, n % 5 == 3 ? SPOILT : WHOLE);
            for (int n = 0; n < 20; n++)
                show(&c, 320, 180, 100, WHOLE);
            uint64_t before = c.shown;
            for (int n = 0; n < 10; n++)
                show(&c, 320, 180, 150, WHOLE);
            if (!lk_test_oom())
                CHECK(c.shown == before + 10 && c.grey >= 142 && c.grey <= 158);
        }
        end(&c);
    }
}

LK_TEST(payloads_of_nonsense_are_counted_and_change_nothing)
{
    call c;
    if (begin(&c, env)) {
        lk_stats e;
        uint8_t bytes[1400];
        show(&c, 320, 180, 100, WHOLE);
        for (int n = 0; n < 2000; n++) {
            const lk_rtp_packet p = {.seq = (uint16_t)lk_prng_next(&c.prng), .ts = (uint32_t)lk_prng_next(&c.prng),
                                     .marker = n & 1, .payload = bytes, .payload_len = lk_prng_next(&c.prng) % sizeof bytes};
            (void)lk_prng_fill(&c.prng, bytes, sizeof bytes);
            lk_video_receiver_input(c.receiver, c.now, &p);
            look(&c);
            c.now += LK_MSEC(1);
        }
        memset(&e, 0, sizeof e);
        lk_video_receiver_stats(c.receiver, c.now, &e);
        if (!lk_test_oom())
            CHECK(e.inbound_rtp.inbound.packets_discarded > 0);
    }
    end(&c);
}
