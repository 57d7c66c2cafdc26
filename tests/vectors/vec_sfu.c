// SPDX-License-Identifier: Apache-2.0
/* Where a receiver can start, as the server sees it: packets of other payloaders for whole frames. */
#include "sfu/hub_internal.h"
#include "vectors/lk_vectors.h"

static void check_key(lk_vec *v, json_t *file, lk_hub_codec codec)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        json_t *packets = json_object_get(c, "packets"), *one;
        bool key = false;
        size_t i;
        if (lk_vec_is(c, "kind", "frame")) {
            json_array_foreach(packets, i, one) {
                lk_bytes bytes = lk_vec_hex_of(one);
                lk_hub_piece p = {0};
                lk_hub_codec_rows[codec].look(&p, bytes);
                key |= p.key;
                lk_vec_free(bytes);
            }
            /* Some payloaders leave the P bit of VP9 out, which only makes more frames look like a start. */
            if (json_object_get(c, "key"))
                VCHECK(v, key == lk_vec_bool(c, "key", false) || (codec == LK_HUB_VP9_0 && key));
            continue;
        }
        lk_bytes packet = lk_vec_hex(c, "packet");
        lk_hub_piece p = {0};
        lk_hub_codec_rows[codec].look(&p, packet);
        VCHECK(v, p.lead_len <= packet.len);
        lk_vec_free(packet);
    }
}

static void run_vp9(lk_vec *v, json_t *file) { check_key(v, file, LK_HUB_VP9_0); }
static void run_h264(lk_vec *v, json_t *file) { check_key(v, file, LK_HUB_H264_PM1); }
static void run_h265(lk_vec *v, json_t *file) { check_key(v, file, LK_HUB_H265); }
static void run_av1(lk_vec *v, json_t *file) { check_key(v, file, LK_HUB_AV1); }
LK_VECTOR("payload/vp9.json", run_vp9)
LK_VECTOR("payload/h264.json", run_h264)
LK_VECTOR("payload/h265.json", run_h265)
LK_VECTOR("payload/av1.json", run_av1)
