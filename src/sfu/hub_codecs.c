// SPDX-License-Identifier: Apache-2.0
/* What a payload says about its frame: where a receiver can start, what must be rewritten. Malformed ones say nothing and are
 * forwarded as they are: the receiver judges them, encryption between participants may hide the rest. */
#include "sfu/hub_internal.h"

/* [RFC7741 s4.2] */
static void look_vp8(lk_hub_piece *out, lk_bytes payload)
{
    lk_hub_piece p = {0};
    lk_rd r = lk_rd_of(payload.data, payload.len);
    uint8_t first = lk_rd_u8(&r), ext = first & 0x80 ? lk_rd_u8(&r) : 0;
    uint8_t at = first & 0x80 ? 2 : 1;
    if (ext & 0x80) {
        uint16_t id = lk_rd_u8(&r);
        p.picture_at = at++;
        p.picture_long = (id & 0x80) != 0;
        if (p.picture_long) {
            id = (uint16_t)((id & 0x7f) << 8 | lk_rd_u8(&r));
            at++;
        }
        p.picture = id;
    }
    if (ext & 0x40) {
        p.tl0 = lk_rd_u8(&r);
        p.tl0_at = at++;
    }
    if (ext & 0x30) {
        uint8_t tk = lk_rd_u8(&r);
        p.tid = ext & 0x20 ? tk >> 6 : 0;
        p.layer_sync = (ext & 0x20) && (tk & 0x20);
        p.key_at = ext & 0x10 ? at : 0;
        p.key_index = tk & 0x1f;
        at++;
    }
    if (r.bad || lk_rd_left(&r) == 0)
        return;
    p.lead_len = ext ? at : 0;
    p.begin = (first & 0x10) && (first & 7) == 0;
    p.key = p.begin && !(*r.at & 1);
    *out = p;
}

/* [RFC9628 s4.2]: starts where nothing before is referred to and the first spatial layer begins. */
static void look_vp9(lk_hub_piece *out, lk_bytes payload)
{
    lk_rd r = lk_rd_of(payload.data, payload.len);
    uint8_t first = lk_rd_u8(&r), spatial = 0;
    if (first & 0x80 && lk_rd_u8(&r) & 0x80)
        lk_rd_skip(&r, 1);
    if (first & 0x20) {
        uint8_t layers = lk_rd_u8(&r);
        spatial = layers >> 1 & 7;
        out->tid = layers >> 5;
        out->layer_sync = (layers & 0x10) != 0;
    }
    if (r.bad)
        return;
    out->begin = (first & 0x08) != 0;
    out->key = out->begin && !(first & 0x40) && spatial == 0;
}

static bool nal_of(lk_bytes payload, size_t header, unsigned aggregate, unsigned fragment, bool h265, bool (*wanted)(unsigned))
{
    lk_rd r = lk_rd_of(payload.data, payload.len);
    uint8_t first = lk_rd_u8(&r);
    unsigned type = h265 ? first >> 1 & 0x3f : first & 0x1f;
    if (r.bad)
        return false;
    if (type == fragment) {
        lk_rd_skip(&r, header - 1);
        uint8_t fu = lk_rd_u8(&r);
        return !r.bad && (fu & 0x80) && wanted(h265 ? fu & 0x3fu : fu & 0x1fu);
    }
    if (type != aggregate)
        return wanted(type);
    lk_rd_skip(&r, header - 1);
    while (!r.bad && lk_rd_left(&r) > 2) {
        uint16_t len = lk_rd_u16(&r);
        const uint8_t *nal = lk_rd_take(&r, len);
        if (nal && len && wanted(h265 ? nal[0] >> 1 & 0x3fu : nal[0] & 0x1fu))
            return true;
    }
    return false;
}

static bool starts_h264(unsigned type) { return type == 5 || type == 7; }
static bool starts_h265(unsigned type) { return (type >= 16 && type <= 21) || (type >= 32 && type <= 34); }

/* [RFC6184 s5.2] parameter sets or an IDR slice */
static void look_h264(lk_hub_piece *out, lk_bytes payload) { out->key = out->begin = nal_of(payload, 1, 24, 28, false, starts_h264); }
/* [RFC7798 s4.4] */
static void look_h265(lk_hub_piece *out, lk_bytes payload) { out->key = out->begin = nal_of(payload, 2, 48, 49, true, starts_h265); }

/* The N bit: first packet of a coded video sequence. [av1-rtp-spec s4.4] */
static void look_av1(lk_hub_piece *out, lk_bytes payload)
{
    out->begin = payload.len > 0 && !(payload.data[0] & 0x80);
    out->key = payload.len > 0 && (payload.data[0] & 0x08);
}

#define H264_FMTP(mode, profile) "level-asymmetry-allowed=1;packetization-mode=" mode ";profile-level-id=" profile
const lk_hub_codec_row lk_hub_codec_rows[LK_HUB_CODECS] = {
    [LK_HUB_OPUS] = {LK_MEDIA_KIND_AUDIO, "opus", "audio/opus", 48000, 2, 111, "minptime=10;useinbandfec=1", true, false, NULL},
    [LK_HUB_RED] = {LK_MEDIA_KIND_AUDIO, "red", "audio/red", 48000, 2, 63, "111/111", true, false, NULL},
    [LK_HUB_PCMU] = {LK_MEDIA_KIND_AUDIO, "PCMU", "audio/PCMU", 8000, 0, 0, "", true, false, NULL},
    [LK_HUB_PCMA] = {LK_MEDIA_KIND_AUDIO, "PCMA", "audio/PCMA", 8000, 0, 8, "", true, false, NULL},
    [LK_HUB_VP8] = {LK_MEDIA_KIND_VIDEO, "VP8", "video/VP8", 90000, 0, 96, "", true, false, look_vp8},
    [LK_HUB_VP9_0] = {LK_MEDIA_KIND_VIDEO, "VP9", "video/VP9", 90000, 0, 98, "profile-id=0", true, true, look_vp9},
    [LK_HUB_VP9_1] = {LK_MEDIA_KIND_VIDEO, "VP9", "video/VP9", 90000, 0, 100, "profile-id=1", true, true, look_vp9},
    [LK_HUB_H264_PM1] = {LK_MEDIA_KIND_VIDEO, "H264", "video/H264", 90000, 0, 108, H264_FMTP("1", "42e01f"), true, false, look_h264},
    [LK_HUB_H264_PM0] = {LK_MEDIA_KIND_VIDEO, "H264", "video/H264", 90000, 0, 125, H264_FMTP("0", "42e01f"), true, false, look_h264},
    [LK_HUB_H264_HIGH] = {LK_MEDIA_KIND_VIDEO, "H264", "video/H264", 90000, 0, 123, H264_FMTP("1", "640032"), false, false, look_h264},
    [LK_HUB_AV1] = {LK_MEDIA_KIND_VIDEO, "AV1", "video/AV1", 90000, 0, 35, "", true, true, look_av1},
    [LK_HUB_H265] = {LK_MEDIA_KIND_VIDEO, "H265", "video/H265", 90000, 0, 116, "", true, false, look_h265},
};
