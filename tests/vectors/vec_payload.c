// SPDX-License-Identifier: Apache-2.0
/* Payload formats of video codecs. */
#include "rtp/payload.h"
#include "vectors/lk_vectors.h"

#define FRAME_MAX 65536

static void check_desc(lk_vec *v, const lk_rtp_piece *p, lk_bytes packet, json_t *want)
{
    bool has_tid = lk_vec_u64(want, "T", 0) == 1, has_key_index = lk_vec_u64(want, "K", 0) == 1;
    VEQ(v, p->disposable, lk_vec_u64(want, "N", 0));
    VEQ(v, p->begin, lk_vec_u64(want, "S", 0) == 1 && lk_vec_u64(want, "pid", 0) == 0);
    VEQ(v, p->has_picture_id, lk_vec_u64(want, "I", 0));
    VEQ(v, p->picture_id, lk_vec_u64(want, "picture_id", 0));
    VEQ(v, p->has_tl0, lk_vec_u64(want, "L", 0));
    VEQ(v, p->tl0_picture, lk_vec_u64(want, "tl0picidx", 0));
    VEQ(v, p->has_tid, has_tid);
    VEQ(v, p->tid, has_tid ? lk_vec_u64(want, "tid", 0) : 0);
    VEQ(v, p->layer_sync, has_tid ? lk_vec_u64(want, "Y", 0) : 0);
    VEQ(v, p->has_key_index, has_key_index);
    VEQ(v, p->key_index, has_key_index ? lk_vec_u64(want, "keyidx", 0) : 0);
    VEQ(v, p->data.len, lk_vec_u64(want, "payload_len", 0));
    VCHECK(v, p->data.data + p->data.len == packet.data + packet.len);
}

/* Their packets make the frame, ours too, and a frame cut by us is no longer than theirs allow. */
static void check_frame(lk_vec *v, const lk_rtp_payload_ops *ops, json_t *c)
{
    static uint8_t joined[FRAME_MAX], packet[FRAME_MAX];
    lk_bytes frame = lk_vec_hex(c, "frame");
    json_t *packets = json_object_get(c, "packets"), *descs = json_object_get(c, "desc"), *one;
    size_t i, at = 0, mtu = lk_vec_u64(c, "mtu", 0);
    json_array_foreach(packets, i, one) {
        lk_rtp_piece p;
        lk_bytes bytes = lk_vec_hex_of(one);
        if (VEQ(v, ops->parse(&p, bytes), LK_OK) && VCHECK(v, at + p.data.len <= sizeof joined)) {
            check_desc(v, &p, bytes, json_array_get(descs, i));
            VEQ(v, p.key, i == 0 && lk_vec_bool(c, "key", false));
            VEQ(v, p.width, p.key ? lk_vec_u64(c, "width", 0) : 0);
            VEQ(v, p.height, p.key ? lk_vec_u64(c, "height", 0) : 0);
            memcpy(joined + at, p.data.data, p.data.len);
            at += p.data.len;
        }
        lk_vec_free(bytes);
    }
    VMEM(v, joined, at, frame.data, frame.len);

    lk_rtp_cut cut = {.picture_id = 0x7ffe};
    bool last = false;
    size_t shortest = SIZE_MAX, longest = 0, seen = 0;
    for (at = 0; !last; seen++) {
        lk_rtp_piece p;
        lk_wr w = lk_wr_of(packet, sizeof packet);
        if (!VCHECK(v, ops->cut(&cut, frame, mtu, &w, &last)) || !VCHECK(v, w.len <= mtu) ||
            !VEQ(v, ops->parse(&p, (lk_bytes){packet, w.len}), LK_OK) || !VCHECK(v, at + p.data.len <= frame.len))
            break;
        VEQ(v, p.begin, seen == 0);
        VEQ(v, p.key, seen == 0 && lk_vec_bool(c, "key", false));
        VEQ(v, p.picture_id, 0x7ffe);
        memcpy(joined + at, p.data.data, p.data.len);
        at += p.data.len;
        shortest = LK_MIN(shortest, p.data.len);
        longest = LK_MAX(longest, p.data.len);
    }
    VMEM(v, joined, at, frame.data, frame.len);
    VCHECK(v, longest <= shortest + seen);
    lk_wr rest = lk_wr_of(packet, sizeof packet);
    VCHECK(v, !ops->cut(&cut, frame, mtu, &rest, &last));
    lk_vec_free(frame);
}

static void run_vp8(lk_vec *v, json_t *file)
{
    const lk_rtp_payload_ops *ops = lk_rtp_payload_find("vp8");
    if (!VCHECK(v, ops))
        return;
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        if (lk_vec_is(c, "kind", "frame")) {
            check_frame(v, ops, c);
            continue;
        }
        lk_rtp_piece p;
        lk_bytes packet = lk_vec_hex(c, "packet");
        lk_err err = ops->parse(&p, packet);
        if (lk_vec_is(c, "kind", "descriptor") && VEQ(v, err, LK_OK))
            check_desc(v, &p, packet, json_object_get(c, "desc"));
        if (lk_vec_is(c, "expect", "reject"))
            VEQ(v, err, LK_ERR_WIRE);
        if (err == LK_OK)
            VCHECK(v, p.data.len > 0 && p.data.data > packet.data && p.data.data + p.data.len == packet.data + packet.len);
        lk_vec_free(packet);
    }
}
LK_VECTOR("payload/vp8.json", run_vp8)
