// SPDX-License-Identifier: Apache-2.0
#include "cc/twcc.h"
#include "vectors/lk_vectors.h"

static bool first_packet(lk_bytes in, lk_rtcp_packet *p)
{
    lk_rtcp_reader r;
    lk_rtcp_begin(&r, in.data, in.len);
    return lk_rtcp_next(&r, p) && p->kind == LK_RTCP_KIND_TWCC;
}

static void check_status(lk_vec *v, lk_twcc_reader *r, json_t *want)
{
    lk_twcc_status s;
    size_t n = 0;
    while (lk_twcc_next(r, &s)) {
        json_t *w = json_array_get(want, n++);
        json_t *at = json_array_get(w, 1);
        VEQ(v, s.seq, lk_vec_u64_of(json_array_get(w, 0), 0x10000));
        VEQ(v, s.received, json_is_integer(at));
        if (s.received)
            VEQ(v, s.at_250us, json_integer_value(at));
    }
    VEQ(v, n, json_array_size(want));
}

/* What a recorder fed with the same arrivals reports must decode to the same statuses. */
static void check_recorder(lk_vec *v, json_t *arrivals, json_t *status)
{
    lk_twcc_recorder rec;
    json_t *a;
    size_t i, n = 0;
    lk_usec now = 0;
    lk_twcc_recorder_init(&rec, v->env);
    json_array_foreach(arrivals, i, a) {
        lk_usec at = (lk_usec)lk_vec_u64_of(json_array_get(a, 1), 0);
        now = LK_MAX(now, at);
        VEQ(v, lk_twcc_recorder_receive(&rec, at, (uint16_t)lk_vec_u64_of(json_array_get(a, 0), 0)), LK_OK);
    }
    for (;;) {
        uint8_t buffer[1500];
        lk_wr w = lk_wr_of(buffer, sizeof buffer);
        lk_rtcp_packet p;
        lk_twcc_reader r;
        lk_twcc_status s;
        if (!lk_twcc_recorder_write(&rec, now, true, 1, 2, &w))
            break;
        if (!VCHECK(v, first_packet((lk_bytes){buffer, w.len}, &p)) || !VEQ(v, lk_twcc_read(&r, &p), LK_OK))
            break;
        while (lk_twcc_next(&r, &s)) {
            json_t *want = json_array_get(status, n++);
            VEQ(v, s.seq, lk_vec_u64_of(json_array_get(want, 0), 0x10000));
            VEQ(v, s.received, json_is_integer(json_array_get(want, 1)));
        }
    }
    VEQ(v, n, json_array_size(status));
    lk_twcc_recorder_deinit(&rec);
}

static void run(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtcp_packet p;
        lk_twcc_reader r;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        if (VCHECK(v, first_packet(in, &p)) && VEQ(v, lk_twcc_read(&r, &p), LK_OK)) {
            VEQ(v, p.sender, lk_vec_u64(c, "sender", 0));
            VEQ(v, p.media, lk_vec_u64(c, "media", 0));
            VEQ(v, r.feedback_count, lk_vec_u64(c, "fb", 0));
            VEQ(v, r.ref_64ms, lk_vec_u64(c, "ref_64ms", 0));
            VEQ(v, r.seq, lk_vec_u64(c, "base", 0));
            VEQ(v, r.left, lk_vec_u64(c, "count", 0));
            check_status(v, &r, json_object_get(c, "status"));
        }
        if (json_object_get(c, "arrivals_us"))
            check_recorder(v, json_object_get(c, "arrivals_us"), json_object_get(c, "status"));
        lk_vec_free(in);
    }
}
LK_VECTOR("rtcp/twcc.json", run)

static void run_bad(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtcp_packet p;
        lk_twcc_reader r;
        lk_twcc_status s;
        size_t n = 0;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        bool read = first_packet(in, &p) && lk_twcc_read(&r, &p) == LK_OK;
        while (read && lk_twcc_next(&r, &s))
            n++;
        VCHECK(v, n <= 65535);
        if (lk_vec_is(c, "parse", "reject"))
            VCHECK(v, !read);
        lk_vec_free(in);
    }
}
LK_VECTOR("rtcp/twcc_bad.json", run_bad)
