// SPDX-License-Identifier: Apache-2.0
#include "rtp/red.h"
#include "rtp/rtcp.h"
#include "rtp/rtp.h"
#include "rtp/rtp_ext.h"
#include "vectors/lk_vectors.h"

#define PROFILE_OTHER_ID 0 /* "the single ext entry is the whole block" */

static void check_exts(lk_vec *v, const lk_rtp_packet *p, json_t *want)
{
    size_t n = json_array_size(want), at = 0, seen = 0;
    uint8_t id;
    lk_bytes value;
    if (n == 1 && lk_vec_u64(json_array_get(want, 0), "id", 99) == PROFILE_OTHER_ID) {
        lk_bytes all = lk_vec_hex(json_array_get(want, 0), "value");
        VMEM(v, p->ext, p->ext_len, all.data, all.len);
        lk_vec_free(all);
        return;
    }
    while (lk_rtp_ext_next(p, &at, &id, &value)) {
        json_t *w = json_array_get(want, seen++);
        if (!VCHECK(v, w))
            return;
        lk_bytes expected = lk_vec_hex(w, "value");
        VEQ(v, id, lk_vec_u64(w, "id", 0));
        VMEM(v, value.data, value.len, expected.data, expected.len);
        lk_vec_free(expected);
    }
    VEQ(v, seen, n);
}

static void check_packet(lk_vec *v, const lk_rtp_packet *p, json_t *c)
{
    lk_bytes payload = lk_vec_hex(c, "payload");
    if (json_object_get(c, "payload"))
        VMEM(v, p->payload, p->payload_len, payload.data, payload.len);
    if (json_object_get(c, "padding"))
        VEQ(v, p->padding_len, lk_vec_u64(c, "padding", 0));
    if (json_object_get(c, "ext"))
        check_exts(v, p, json_object_get(c, "ext"));
    lk_vec_free(payload);
}

static void run_valid(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtp_packet p;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        if (VCHECK(v, lk_rtp_parse(&p, in.data, in.len) == LK_OK)) {
            json_t *csrc = json_object_get(c, "csrc");
            VEQ(v, p.marker, lk_vec_bool(c, "marker", false));
            VEQ(v, p.pt, lk_vec_u64(c, "pt", 0));
            VEQ(v, p.seq, lk_vec_u64(c, "seq", 0));
            VEQ(v, p.ts, lk_vec_u64(c, "ts", 0));
            VEQ(v, p.ssrc, lk_vec_u64(c, "ssrc", 0));
            VEQ(v, p.header_len, lk_vec_u64(c, "header_len", 0));
            VEQ(v, p.csrc_count, json_array_size(csrc));
            for (size_t i = 0; i < p.csrc_count; i++)
                VEQ(v, lk_get_u32(p.csrc + 4 * i), lk_vec_u64_of(json_array_get(csrc, i), 0));
            if (p.has_ext)
                VEQ(v, p.ext_profile, lk_vec_u64(c, "ext_profile", 0));
            check_packet(v, &p, c);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("rtp/rtp_valid.json", run_valid)

static void run_bad(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtp_packet p;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        bool parsed = lk_rtp_parse(&p, in.data, in.len) == LK_OK;
        if (lk_vec_is(c, "parse", "accept"))
            VCHECK(v, parsed);
        if (lk_vec_is(c, "parse", "reject"))
            VCHECK(v, !parsed);
        if (parsed) {
            size_t at = 0;
            uint8_t id;
            lk_bytes value;
            VEQ(v, p.header_len + p.payload_len + p.padding_len, in.len);
            while (lk_rtp_ext_next(&p, &at, &id, &value))
                VCHECK(v, value.data >= in.data && value.data + value.len <= in.data + in.len);
            if (!lk_vec_is(c, "parse", "any"))
                check_packet(v, &p, c);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("rtp/rtp_bad.json", run_bad)

/* ---- extension values --------------------------------------------------------------------------------------- */

static void check_layers(lk_vec *v, lk_bytes value, json_t *c)
{
    lk_rtp_layers got;
    bool ok = lk_rtp_ext_layers(value, &got);
    if (lk_vec_is(c, "expect", "any"))
        return;
    json_t *want = json_object_get(c, "layers");
    if (!VCHECK(v, ok) || !VEQ(v, got.count, json_array_size(want)))
        return;
    VEQ(v, got.rid, lk_vec_u64(c, "rid_index", 0));
    VEQ(v, got.streams, lk_vec_u64(c, "streams", 0));
    VEQ(v, got.has_resolution, lk_vec_bool(c, "has_resolution", false));
    for (size_t i = 0; i < got.count; i++) {
        json_t *w = json_array_get(want, i), *kbps = json_object_get(w, "kbps");
        const lk_rtp_layer *l = &got.layers[i];
        VEQ(v, l->stream, lk_vec_u64(w, "rtp_stream", 0));
        VEQ(v, l->spatial, lk_vec_u64(w, "spatial", 0));
        if (VEQ(v, l->kbps_count, json_array_size(kbps)))
            for (size_t t = 0; t < l->kbps_count; t++)
                VEQ(v, l->kbps[t], lk_vec_u64_of(json_array_get(kbps, t), 0));
        if (got.has_resolution) {
            VEQ(v, l->width, lk_vec_u64(w, "width", 0));
            VEQ(v, l->height, lk_vec_u64(w, "height", 0));
            VEQ(v, l->fps, lk_vec_u64(w, "fps", 0));
        }
    }
}

static void check_ext(lk_vec *v, const char *uri, lk_bytes value, json_t *c)
{
    const bool wanted = !lk_vec_is(c, "expect", "ignore");
    uint8_t level = 0;
    uint16_t a = 0, b = 0;
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    bool voice = false;
    lk_str text = {"", 0};
    lk_rtp_orientation o = {0};
    if (strstr(uri, "ssrc-audio-level")) {
        VEQ(v, lk_rtp_ext_audio_level(value, &level, &voice), wanted);
        VEQ(v, level, lk_vec_u64(c, "level", 0));
        VEQ(v, voice, lk_vec_bool(c, "voice", false));
    } else if (strstr(uri, "abs-send-time")) {
        VEQ(v, lk_rtp_ext_abs_send_time(value, &u32), wanted);
        VEQ(v, u32, lk_vec_u64(c, "u24", 0) & 0xffffff);
    } else if (strstr(uri, "transport-wide-cc")) {
        VEQ(v, lk_rtp_ext_transport_seq(value, &a), wanted);
        VEQ(v, a, lk_vec_u64(c, "seq", 0));
    } else if (strstr(uri, "playout-delay")) {
        VEQ(v, lk_rtp_ext_playout_delay(value, &a, &b), wanted);
        VEQ(v, a, lk_vec_u64(c, "min_10ms", 0));
        VEQ(v, b, lk_vec_u64(c, "max_10ms", 0));
    } else if (strstr(uri, "abs-capture-time")) {
        VEQ(v, lk_rtp_ext_capture_time(value, &u64), wanted);
        VCHECK(v, u64 == lk_vec_u64(c, "ntp_u64", 0));
    } else if (strstr(uri, "video-orientation")) {
        VEQ(v, lk_rtp_ext_orientation(value, &o), wanted);
        VEQ(v, o.back_camera, lk_vec_bool(c, "back_camera", false));
        VEQ(v, o.flip, lk_vec_bool(c, "flip", false));
        VEQ(v, o.rotation_degrees, lk_vec_u64(c, "rotation_cw", 0));
    } else if (strstr(uri, "sdes:")) {
        lk_str want = lk_vec_str(c, "text");
        VEQ(v, lk_rtp_ext_sdes(value, &text), wanted);
        VMEM(v, text.p, text.len, want.p, want.len);
    } else {
        check_layers(v, value, c);
    }
}

static void run_ext(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes value = lk_vec_hex(c, "value");
        check_ext(v, lk_vec_text(c, "uri"), value, c);
        lk_vec_free(value);
    }
}
LK_VECTOR("rtp/rtp_ext.json", run_ext)

/* ---- arithmetic ------------------------------------------------------------------------------------------------ */

static void check_unwrap(lk_vec *v, json_t *c, bool wide)
{
    json_t *in = json_object_get(c, "in"), *rel = json_object_get(c, "rel");
    lk_unwrap16 u16 = {0};
    lk_unwrap32 u32 = {0};
    int64_t first = 0;
    for (size_t i = 0; i < json_array_size(in); i++) {
        uint64_t x = lk_vec_u64_of(json_array_get(in, i), 0);
        int64_t got = wide ? lk_unwrap32_next(&u32, (uint32_t)x) : lk_unwrap16_next(&u16, (uint16_t)x);
        first = i == 0 ? got : first;
        VEQ(v, got - first, json_integer_value(json_array_get(rel, i)));
    }
}

static void run_arith(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        if (lk_vec_is(c, "kind", "seq16") || lk_vec_is(c, "kind", "ts32")) {
            check_unwrap(v, c, lk_vec_is(c, "kind", "ts32"));
        } else if (lk_vec_is(c, "kind", "newer16")) {
            uint16_t a = (uint16_t)lk_vec_u64(c, "a", 0), b = (uint16_t)lk_vec_u64(c, "b", 0);
            VEQ(v, lk_seq16_newer(b, a), lk_vec_bool(c, "b_newer", false));
            VEQ(v, (uint16_t)lk_seq16_diff(b, a), (uint16_t)lk_vec_i64(c, "diff", 0));
        } else if (lk_vec_is(c, "kind", "ntp")) {
            uint64_t ntp = lk_vec_u64(c, "ntp", 0), unix_msec = lk_vec_u64(c, "unix_ms", 0);
            VEQ(v, lk_ntp_mid32(ntp), lk_vec_u64(c, "mid32", 0));
            /* The other way loses what is below a millisecond. */
            uint64_t back = lk_ntp_from_unix_usec((int64_t)unix_msec * 1000);
            VCHECK(v, (back > ntp ? back - ntp : ntp - back) <= (1ull << 32) / 1000 + 1);
        } else {
            VEQ(v, lk_ntp_rtt_q16((uint32_t)lk_vec_u64(c, "now_mid32", 0), (uint32_t)lk_vec_u64(c, "lsr", 0),
                                  (uint32_t)lk_vec_u64(c, "dlsr", 0)),
                lk_vec_u64(c, "rtt_q16", 0));
        }
    }
}
LK_VECTOR("rtp/arith.json", run_arith)

/* ---- redundancy --------------------------------------------------------------------------------------------------- */

static void run_red(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_rtp_red_block got[LK_RTP_RED_BLOCKS_MAX];
        uint8_t again[65536];
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "packet");
        json_t *want = json_object_get(c, "blocks");
        size_t n = lk_rtp_red_parse(got, in);
        if (lk_vec_is(c, "expect", "reject"))
            VEQ(v, n, 0);
        if (lk_vec_is(c, "expect", "accept") && VEQ(v, n, json_array_size(want))) {
            for (size_t i = 0; i < n; i++) {
                json_t *w = json_array_get(want, i);
                lk_bytes data = lk_vec_hex(w, "data");
                VEQ(v, got[i].pt, lk_vec_u64(w, "pt", 0));
                VEQ(v, got[i].offset, lk_vec_u64(w, "ts_offset", 0));
                VMEM(v, got[i].data.data, got[i].data.len, data.data, data.len);
                lk_vec_free(data);
            }
            lk_wr w = lk_wr_of(again, sizeof again);
            lk_rtp_red_write(&w, got, n);
            VCHECK(v, !w.bad);
            VMEM(v, again, w.len, in.data, in.len);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("payload/red.json", run_red)
