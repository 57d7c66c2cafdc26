// SPDX-License-Identifier: Apache-2.0
/* rtp/dependency.h - the dependency descriptor: which layer a frame is of and what it needs, beside the payload and never
 * encrypted with it. [av1-rtp-spec appendix A]
 *
 * In:      the value of the header extension, the structure its templates are numbered by.
 * Out:     layer, decode targets and references of the frame; a new structure; the value with other active decode targets.
 * Owner:   values of the caller; no allocation; any thread.
 * Limits:  4 spatial and 8 temporal layers, 32 decode targets, 32 chains, 64 templates, 8 references of a frame: what has more
 *          is refused.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_DD_BYTES_MAX 255 /* of an extension element */
#define LK_RTP_DD_SPATIAL_MAX 4
#define LK_RTP_DD_TEMPORAL_MAX 8
#define LK_RTP_DD_TARGETS_MAX 32
#define LK_RTP_DD_CHAINS_MAX 32
#define LK_RTP_DD_TEMPLATES_MAX 64
#define LK_RTP_DD_REFERENCES_MAX 8

/* What a frame is to a decode target, two bits each: in dtis of targets 0, 1, ... from the low end. */
typedef enum lk_rtp_dti { LK_RTP_DTI_NOT_PRESENT, LK_RTP_DTI_DISCARDABLE, LK_RTP_DTI_SWITCH, LK_RTP_DTI_REQUIRED } lk_rtp_dti;
static inline lk_rtp_dti lk_rtp_dti_of(uint64_t dtis, unsigned target) { return (lk_rtp_dti)(dtis >> (2 * target) & 3); }

typedef struct lk_rtp_dd_frame {
    uint8_t sid, tid, reference_count;
    uint16_t references[LK_RTP_DD_REFERENCES_MAX]; /* frame numbers back, 1 and more */
    uint64_t dtis;
    uint8_t chains[LK_RTP_DD_CHAINS_MAX]; /* to the frame before it in that chain; 0: the first one */
} lk_rtp_dd_frame;

typedef struct lk_rtp_dd_structure {
    uint8_t id_offset, template_count, target_count, chain_count, spatial_count;
    bool has_sizes;
    uint8_t protected_by[LK_RTP_DD_TARGETS_MAX]; /* chain of each target, where there are chains */
    uint8_t target_sid[LK_RTP_DD_TARGETS_MAX], target_tid[LK_RTP_DD_TARGETS_MAX];
    uint16_t width[LK_RTP_DD_SPATIAL_MAX], height[LK_RTP_DD_SPATIAL_MAX];
    lk_rtp_dd_frame templates[LK_RTP_DD_TEMPLATES_MAX];
} lk_rtp_dd_structure;

typedef struct lk_rtp_dd {
    bool first, last; /* packet of the frame */
    uint8_t template_id;
    uint16_t number;
    bool attached;   /* brings a structure */
    bool has_active; /* says which targets are active, or a structure does: all */
    bool has_frame;  /* frame is known: false where the structure is not */
    uint32_t active; /* bit per target */
    lk_rtp_dd_frame frame;
    uint16_t mask_at, tail_at, end_at; /* bits: where the mask is or would stand, what follows it, where all ends */
} lk_rtp_dd;

/* known: the structure in force, NULL where none is; fresh: gets an attached one, untouched otherwise. WIRE: shorter than it
 * says, over a limit, of no template. Without a structure the mandatory fields are all that is read. */
LK_NODISCARD lk_err lk_rtp_dd_parse(lk_rtp_dd *out, lk_rtp_dd_structure *fresh, const lk_rtp_dd_structure *known, lk_bytes value);

/* Decode targets that need no more than these layers. */
uint32_t lk_rtp_dd_targets_within(const lk_rtp_dd_structure *s, uint8_t sid, uint8_t tid);

/* value, which gave d with s in force, as one that has these targets active; at most 5 bytes longer. FULL: no room in w. */
LK_NODISCARD lk_err lk_rtp_dd_write_active(lk_wr *w, lk_bytes value, const lk_rtp_dd *d, const lk_rtp_dd_structure *s, uint32_t active);
