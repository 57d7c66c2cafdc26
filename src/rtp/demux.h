// SPDX-License-Identifier: Apache-2.0
/* rtp/demux.h - which protocol a datagram on a bundled transport belongs to. [RFC7983 s7] [RFC5761 s4] */
#pragma once
#include "base/lk_base.h"

typedef enum lk_demux_class {
    LK_DEMUX_DROP,
    LK_DEMUX_STUN,
    LK_DEMUX_ZRTP,
    LK_DEMUX_DTLS,
    LK_DEMUX_TURN_CHANNEL,
    LK_DEMUX_RTP,
    LK_DEMUX_RTCP,
} lk_demux_class;

static inline lk_demux_class lk_demux(const uint8_t *data, size_t len)
{
    if (len < 2)
        return LK_DEMUX_DROP;
    uint8_t b = data[0];
    if (b <= 3)
        return LK_DEMUX_STUN;
    if (b >= 16 && b <= 19)
        return LK_DEMUX_ZRTP;
    if (b >= 20 && b <= 63)
        return LK_DEMUX_DTLS;
    if (b >= 64 && b <= 79)
        return LK_DEMUX_TURN_CHANNEL;
    if (b >= 128 && b <= 191)
        return data[1] >= 192 && data[1] <= 223 ? LK_DEMUX_RTCP : LK_DEMUX_RTP;
    return LK_DEMUX_DROP;
}
