// SPDX-License-Identifier: Apache-2.0
/* rtp/payload.h - how a video codec's frames are cut into RTP payloads and recognised again. [RFC7741]
 *
 * In:      encoded frames; payloads of single packets.
 * Out:     payloads; per payload what an assembler must know, and the bytes of the frame in it.
 * Owner:   values on the stack; any thread; no allocation. A codec is a row of lk_rtp_payloads.
 * Limits:  a frame of at most LK_RTP_FRAME_MAX bytes.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_FRAME_MAX (4u << 20)

/* What one payload says about its frame. Fields the codec does not have stay zero. */
typedef struct lk_rtp_piece {
    lk_bytes data;      /* of the frame, borrowed */
    bool begin;         /* first payload of a frame */
    bool key;           /* begin: the frame needs no other */
    bool disposable;    /* no other frame refers to this one */
    bool has_picture_id, has_tl0, has_tid, has_key_index;
    uint8_t tl0_picture, tid, key_index;
    bool layer_sync;
    uint16_t picture_id; /* 15 bits */
    uint16_t width, height; /* begin of a key frame, when the format tells */
} lk_rtp_piece;

/* Cuts one frame. Start with a zeroed cursor; the caller keeps picture_id from frame to frame. */
typedef struct lk_rtp_cut {
    size_t at;
    uint16_t picture_id;
} lk_rtp_cut;

typedef struct lk_rtp_payload_ops {
    const char *name; /* as in SDP */
    /* WIRE: not a payload of this codec. */
    lk_err (*parse)(lk_rtp_piece *out, lk_bytes payload);
    /* Writes the next payload of the frame, at most cap bytes; *last: the frame ends with it. false: nothing is left. All
     * payloads of a frame are about equally long. */
    bool (*cut)(lk_rtp_cut *c, lk_bytes frame, size_t cap, lk_wr *out, bool *last);
} lk_rtp_payload_ops;

/* NULL: not built. Case does not count. */
const lk_rtp_payload_ops *lk_rtp_payload_find(const char *name);
