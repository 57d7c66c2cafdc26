// SPDX-License-Identifier: Apache-2.0
/* rtp/rtp_ext.h - values of header-extension elements, by what their URI means.
 *
 * In:      the value of one element (rtp/rtp.h finds it).
 * Out:     its fields; false: too short or malformed, then the element is ignored and the packet kept.
 * Owner:   values on the stack; any thread; no allocation.
 * Limits:  an identifier has at most LK_RTP_SDES_MAX characters; 4 streams of 4 spatial layers.
 * Deviates: none.
 */
#pragma once
#include "base/lk_base.h"

#define LK_RTP_SDES_MAX 64

/* level: 0 loud .. 127 silent, -dBov. [RFC6464 s3] */
bool lk_rtp_ext_audio_level(lk_bytes v, uint8_t *level, bool *voice);
/* 6.18 fixed point seconds of the sender's NTP clock. */
bool lk_rtp_ext_abs_send_time(lk_bytes v, uint32_t *q18);
bool lk_rtp_ext_transport_seq(lk_bytes v, uint16_t *seq);
/* In units of 10 ms. */
bool lk_rtp_ext_playout_delay(lk_bytes v, uint16_t *min_10msec, uint16_t *max_10msec);
bool lk_rtp_ext_capture_time(lk_bytes v, uint64_t *ntp);
typedef struct lk_rtp_orientation {
    bool back_camera, flip;
    uint16_t rotation_degrees; /* clockwise: 0, 90, 180, 270 */
} lk_rtp_orientation;
bool lk_rtp_ext_orientation(lk_bytes v, lk_rtp_orientation *out);
/* A mid or a rid: only letters, digits, '-' and '_' are taken, so that it can be a key and be logged. [RFC8852 s3.1] */
bool lk_rtp_ext_sdes(lk_bytes v, lk_str *text);

typedef struct lk_rtp_layer {
    uint8_t stream, spatial, kbps_count, fps;
    uint16_t width, height;
    uint32_t kbps[4]; /* by temporal layer, cumulative */
} lk_rtp_layer;
typedef struct lk_rtp_layers {
    uint8_t rid, streams, count;
    bool has_resolution;
    lk_rtp_layer layers[16];
} lk_rtp_layers;
/* Video layers allocation: which layers are sent, with what rates and sizes. */
bool lk_rtp_ext_layers(lk_bytes v, lk_rtp_layers *out);
