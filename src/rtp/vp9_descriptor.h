// SPDX-License-Identifier: Apache-2.0
/* rtp/vp9_descriptor.h - what stands in front of VP9 in each packet: picture, layers, references. [RFC9628 s4.2]
 *
 * In:      the payload of one packet.
 * Out:     the fields of its descriptor, the bytes behind it.
 * Owner:   a value on the stack; borrows the payload; any thread; no allocation.
 * Limits:  3 references, 8 spatial layers; groups of pictures are walked, at most 255.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_VP9_REFERENCES_MAX 3
#define LK_RTP_VP9_SPATIAL_MAX 8

typedef struct lk_rtp_vp9 {
    bool has_picture_id, predicted, has_layers, flexible, begin, end, has_structure, not_reference; /* I P L F B E V Z */
    bool long_picture_id, switch_up, inter_layer, has_tl0;                                          /* M U D */
    uint16_t picture_id;
    uint8_t tid, sid, tl0_picture;
    uint8_t reference_count, references[LK_RTP_VP9_REFERENCES_MAX]; /* P_DIFF: pictures back */
    /* scalability structure */
    bool has_sizes, has_group;
    uint8_t layer_count, group_count;
    uint16_t width[LK_RTP_VP9_SPATIAL_MAX], height[LK_RTP_VP9_SPATIAL_MAX];
    lk_bytes group; /* its pictures: lk_rtp_vp9_group_next */
    lk_bytes data;  /* of the frame */
} lk_rtp_vp9;

/* WIRE: cut short, or more than three references. */
LK_NODISCARD lk_err lk_rtp_vp9_parse(lk_rtp_vp9 *out, lk_bytes payload);

typedef struct lk_rtp_vp9_picture {
    uint8_t tid, reference_count, references[LK_RTP_VP9_REFERENCES_MAX];
    bool switch_up;
} lk_rtp_vp9_picture;
/* Start with at = lk_rd_of(d->group.data, d->group.len); false at the end. */
bool lk_rtp_vp9_group_next(lk_rd *at, lk_rtp_vp9_picture *out);
