// SPDX-License-Identifier: Apache-2.0
/* What a packet says of the layers in its stream: VP9's descriptor and the dependency descriptor. */
#include "rtp/dependency.h"
#include "rtp/vp9_descriptor.h"
#include "vectors/lk_vectors.h"

/* ---- VP9 ---- */

static void check_numbers(lk_vec *v, const uint8_t *have, size_t count, json_t *want)
{
    VEQ(v, count, json_array_size(want));
    for (size_t i = 0; i < count; i++)
        VEQ(v, have[i], lk_vec_u64_of(json_array_get(want, i), 0));
}

static void check_scalability(lk_vec *v, const lk_rtp_vp9 *d, json_t *want)
{
    lk_rd at = lk_rd_of(d->group.data, d->group.len);
    lk_rtp_vp9_picture p;
    json_t *group = json_object_get(want, "pg");
    VEQ(v, d->layer_count, lk_vec_u64(want, "ns", 0) + 1);
    VEQ(v, d->has_sizes, lk_vec_bool(want, "Y", false));
    VEQ(v, d->has_group, lk_vec_bool(want, "G", false));
    for (size_t i = 0; d->has_sizes && i < d->layer_count; i++) {
        VEQ(v, d->width[i], lk_vec_u64_of(json_array_get(json_object_get(want, "width"), i), 0));
        VEQ(v, d->height[i], lk_vec_u64_of(json_array_get(json_object_get(want, "height"), i), 0));
    }
    VEQ(v, d->group_count, json_array_size(group));
    for (size_t i = 0; i < json_array_size(group); i++) {
        json_t *one = json_array_get(group, i);
        if (!VCHECK(v, lk_rtp_vp9_group_next(&at, &p)))
            return;
        VEQ(v, p.tid, lk_vec_u64(one, "tid", 0));
        VEQ(v, p.switch_up, lk_vec_bool(one, "U", false));
        check_numbers(v, p.references, p.reference_count, json_object_get(one, "pdiff"));
    }
    VCHECK(v, !lk_rtp_vp9_group_next(&at, &p));
}

static void check_vp9(lk_vec *v, lk_bytes packet, json_t *want)
{
    lk_rtp_vp9 d;
    if (!VEQ(v, lk_rtp_vp9_parse(&d, packet), LK_OK))
        return;
    VEQ(v, d.has_picture_id, lk_vec_bool(want, "I", false));
    VEQ(v, d.predicted, lk_vec_bool(want, "P", false));
    VEQ(v, d.has_layers, lk_vec_bool(want, "L", false));
    VEQ(v, d.flexible, lk_vec_bool(want, "F", false));
    VEQ(v, d.begin, lk_vec_bool(want, "B", false));
    VEQ(v, d.end, lk_vec_bool(want, "E", false));
    VEQ(v, d.has_structure, lk_vec_bool(want, "V", false));
    VEQ(v, d.not_reference, lk_vec_bool(want, "Z", false));
    VEQ(v, d.picture_id, lk_vec_u64(want, "picture_id", 0));
    VEQ(v, d.tid, lk_vec_u64(want, "tid", 0));
    VEQ(v, d.sid, lk_vec_u64(want, "sid", 0));
    VEQ(v, d.switch_up, lk_vec_bool(want, "U", false));
    VEQ(v, d.inter_layer, lk_vec_bool(want, "D", false));
    VEQ(v, d.tl0_picture, lk_vec_u64(want, "tl0picidx", 0));
    VEQ(v, d.data.len, lk_vec_u64(want, "payload_len", 0));
    VCHECK(v, d.data.data + d.data.len == packet.data + packet.len);
    check_numbers(v, d.references, d.reference_count, json_object_get(want, "pdiff"));
    if (d.has_structure)
        check_scalability(v, &d, json_object_get(want, "ss"));
}

static void run_vp9(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        json_t *packets = json_object_get(c, "packets"), *one;
        size_t i;
        json_array_foreach(packets, i, one) {
            lk_bytes bytes = lk_vec_hex_of(one);
            check_vp9(v, bytes, json_array_get(json_object_get(c, "desc"), i));
            lk_vec_free(bytes);
        }
        lk_bytes packet = lk_vec_hex(c, "packet");
        lk_rtp_vp9 d;
        if (lk_vec_is(c, "kind", "descriptor"))
            check_vp9(v, packet, json_object_get(c, "desc"));
        else if (lk_vec_is(c, "expect", "reject"))
            VEQ(v, lk_rtp_vp9_parse(&d, packet), LK_ERR_WIRE);
        else if (!packets && lk_rtp_vp9_parse(&d, packet) == LK_OK)
            VCHECK(v, d.data.data >= packet.data && d.data.data + d.data.len == packet.data + packet.len);
        lk_vec_free(packet);
    }
}
LK_VECTOR("payload/vp9.json", run_vp9)

/* ---- dependency descriptor ---- */

static void check_frame(lk_vec *v, const lk_rtp_dd_frame *f, const lk_rtp_dd_structure *s, json_t *want)
{
    json_t *references = json_object_get(want, "fdiffs");
    const char *dti = lk_vec_text(want, "dti");
    VEQ(v, f->sid, lk_vec_u64(want, "sid", 0));
    VEQ(v, f->tid, lk_vec_u64(want, "tid", 0));
    VEQ(v, s->target_count, strlen(dti));
    for (unsigned t = 0; dti[t]; t++)
        VEQ(v, "-DSR"[lk_rtp_dti_of(f->dtis, t)], dti[t]);
    VEQ(v, f->reference_count, json_array_size(references));
    for (size_t i = 0; i < f->reference_count; i++)
        VEQ(v, f->references[i], lk_vec_u64_of(json_array_get(references, i), 0));
    check_numbers(v, f->chains, s->chain_count, json_object_get(want, "cdiffs"));
}

static void check_structure(lk_vec *v, const lk_rtp_dd_structure *s, json_t *want)
{
    json_t *templates = json_object_get(want, "templates"), *sizes = json_object_get(want, "resolutions");
    VEQ(v, s->id_offset, lk_vec_u64(want, "id", 0));
    VEQ(v, s->target_count, lk_vec_u64(want, "decode_targets", 0));
    VEQ(v, s->chain_count, lk_vec_u64(want, "chains", 0));
    VEQ(v, s->template_count, json_array_size(templates));
    for (size_t i = 0; i < s->template_count; i++)
        check_frame(v, &s->templates[i], s, json_array_get(templates, i));
    if (s->chain_count)
        check_numbers(v, s->protected_by, s->target_count, json_object_get(want, "protected_by"));
    VEQ(v, s->has_sizes, json_array_size(sizes) > 0);
    for (size_t i = 0; s->has_sizes && i < s->spatial_count; i++) {
        VEQ(v, s->width[i], lk_vec_u64_of(json_array_get(json_array_get(sizes, i), 0), 0));
        VEQ(v, s->height[i], lk_vec_u64_of(json_array_get(json_array_get(sizes, i), 1), 0));
    }
}

/* With other active targets it says the same of everything else. */
static void check_rewritten(lk_vec *v, lk_bytes value, const lk_rtp_dd *d, const lk_rtp_dd_structure *s)
{
    uint8_t bytes[LK_RTP_DD_BYTES_MAX];
    uint32_t active = 0x2aaaaaabu & (UINT32_MAX >> (LK_RTP_DD_TARGETS_MAX - s->target_count));
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_rtp_dd_structure fresh = *s;
    lk_rtp_dd again;
    if (!VEQ(v, lk_rtp_dd_write_active(&w, value, d, s, active), LK_OK) || !VCHECK(v, w.len <= value.len + 5) ||
        !VEQ(v, lk_rtp_dd_parse(&again, &fresh, s, (lk_bytes){bytes, w.len}), LK_OK))
        return;
    VCHECK(v, again.has_active && again.active == active);
    VCHECK(v, again.first == d->first && again.last == d->last && again.number == d->number && again.attached == d->attached);
    VMEM(v, &again.frame, sizeof again.frame, &d->frame, sizeof d->frame);
    VMEM(v, &fresh, sizeof fresh, s, sizeof *s);
}

static void check_stream(lk_vec *v, json_t *values)
{
    lk_rtp_dd_structure s;
    bool known = false;
    json_t *one;
    size_t i;
    json_array_foreach(values, i, one) {
        json_t *want = json_object_get(one, "dd"), *structure = json_object_get(want, "structure");
        lk_bytes value = lk_vec_hex(one, "value");
        lk_rtp_dd d;
        if (VEQ(v, lk_rtp_dd_parse(&d, &s, known ? &s : NULL, value), LK_OK) && VCHECK(v, d.has_frame)) {
            known = true;
            VEQ(v, d.first, lk_vec_bool(want, "first", false));
            VEQ(v, d.last, lk_vec_bool(want, "last", false));
            VEQ(v, d.number, lk_vec_u64(want, "frame", 0));
            VEQ(v, d.attached, structure != NULL);
            VEQ(v, d.has_active, json_object_get(want, "active_decode_targets") != NULL);
            VEQ(v, d.active, lk_vec_u64(want, "active_decode_targets", 0));
            check_frame(v, &d.frame, &s, json_object_get(want, "deps"));
            if (structure)
                check_structure(v, &s, structure);
            if (s.has_sizes) {
                VEQ(v, s.width[d.frame.sid], lk_vec_u64(want, "width", 0));
                VEQ(v, s.height[d.frame.sid], lk_vec_u64(want, "height", 0));
            }
            check_rewritten(v, value, &d, &s);
        }
        lk_vec_free(value);
    }
}

static void run_dependency(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        if (lk_vec_is(c, "kind", "stream")) {
            check_stream(v, json_object_get(c, "values"));
            continue;
        }
        lk_rtp_dd_structure s = {0};
        lk_rtp_dd d;
        lk_bytes value = lk_vec_hex(c, "value"), before = lk_vec_hex(c, "structure_from");
        bool known = before.data && lk_rtp_dd_parse(&d, &s, NULL, before) == LK_OK;
        VEQ(v, known, before.data != NULL);
        lk_err err = lk_rtp_dd_parse(&d, &s, known ? &s : NULL, value);
        VCHECK(v, err == LK_OK || err == LK_ERR_WIRE);
        if (lk_vec_is(c, "expect", "reject"))
            VEQ(v, err, LK_ERR_WIRE);
        if (lk_vec_is(c, "peer", "ok")) /* what they read, we read */
            VEQ(v, err, LK_OK);
        if (err == LK_OK && !known && !d.attached)
            VCHECK(v, !d.has_frame);
        lk_vec_free(value);
        lk_vec_free(before);
    }
}
LK_VECTOR("payload/dependency_descriptor.json", run_dependency)
