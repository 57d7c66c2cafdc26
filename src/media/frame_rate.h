// SPDX-License-Identifier: Apache-2.0
/* media/frame_rate.h - frames in the last second, as webrtc-stats counts framesPerSecond. By value, no allocation. */
#pragma once
#include "base/lk_base.h"

#define LK_FRAME_RATE_PARTS 10 /* of 100 ms */

typedef struct lk_frame_rate {
    int64_t part; /* number of the newest part */
    uint16_t counts[LK_FRAME_RATE_PARTS];
} lk_frame_rate;

static inline int64_t lk_frame_rate_part(lk_usec now) { return now / LK_MSEC(100); }

static inline void lk_frame_rate_add(lk_frame_rate *r, lk_usec now)
{
    int64_t part = lk_frame_rate_part(now);
    for (int64_t i = LK_MAX(r->part + 1, part - LK_FRAME_RATE_PARTS + 1); i <= part; i++)
        r->counts[i % LK_FRAME_RATE_PARTS] = 0;
    r->part = part;
    r->counts[part % LK_FRAME_RATE_PARTS]++;
}

static inline double lk_frame_rate_now(const lk_frame_rate *r, lk_usec now)
{
    int64_t part = lk_frame_rate_part(now);
    double sum = 0;
    for (int64_t i = part - LK_FRAME_RATE_PARTS + 1; i <= part && i <= r->part; i++)
        if (i > r->part - LK_FRAME_RATE_PARTS && i >= 0)
            sum += r->counts[i % LK_FRAME_RATE_PARTS];
    return sum;
}
