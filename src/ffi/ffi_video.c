// SPDX-License-Identifier: Apache-2.0
/* Requests about pictures. */
#include "ffi/ffi_calls.h"

#include <stdio.h>

/* Of the planes of a format: how many samples of how many bytes a row has, and how many rows. */
typedef struct plane_size {
    uint32_t samples, bytes, rows;
} plane_size;

static uint32_t planes_of(lk_video_format format)
{
    return format <= LK_VIDEO_RGB24 ? 1 : format == LK_VIDEO_NV12 ? 2 : format == LK_VIDEO_I420A ? 4 : 3;
}

static plane_size size_of(const lk_video_view *v, uint32_t plane)
{
    uint32_t half_width = v->width / 2 + v->width % 2, half_height = v->height / 2 + v->height % 2;
    bool chroma = plane == 1 || plane == 2;
    switch (v->format) {
    case LK_VIDEO_RGBA:
    case LK_VIDEO_ABGR:
    case LK_VIDEO_ARGB:
    case LK_VIDEO_BGRA: return (plane_size){v->width, 4, v->height};
    case LK_VIDEO_RGB24: return (plane_size){v->width, 3, v->height};
    case LK_VIDEO_I422: return (plane_size){chroma ? half_width : v->width, 1, v->height};
    case LK_VIDEO_I444: return (plane_size){v->width, 1, v->height};
    case LK_VIDEO_I010: return (plane_size){chroma ? half_width : v->width, 2, chroma ? half_height : v->height};
    case LK_VIDEO_NV12:
        return (plane_size){chroma ? half_width : v->width, chroma ? 2 : 1, chroma ? half_height : v->height};
    case LK_VIDEO_I420:
    case LK_VIDEO_I420A: break;
    }
    return (plane_size){chroma ? half_width : v->width, 1, chroma ? half_height : v->height};
}

/* Bytes from row to row. Nothing said: as short as can be. I010: said in samples, but by the Python SDK in bytes; the
 * size of the plane tells which (0: not known, then what is long enough for bytes is bytes). */
static uint64_t stride_of(const lk_video_view *v, plane_size size, uint32_t said, uint64_t plane_bytes)
{
    uint64_t row = (uint64_t)size.samples * size.bytes, of_samples = (uint64_t)said * 2;
    if (!said || v->format != LK_VIDEO_I010)
        return said ? said : row;
    return said < row || (plane_bytes && plane_bytes >= of_samples * (size.rows - 1) + row) ? of_samples : said;
}

static const char *plane_from(lk_video_view *v, uint32_t plane, const Livekit__Proto__VideoBufferInfo__ComponentInfo *c)
{
    plane_size size = size_of(v, plane);
    uint64_t row = (uint64_t)size.samples * size.bytes, stride = stride_of(v, size, c->stride, c->size);
    if (stride > UINT32_MAX)
        return "a stride is too large";
    if (stride >= row && c->size && c->size < stride * (size.rows - 1) + row)
        return "a plane is smaller than its rows";
    v->planes[plane] = (const uint8_t *)(uintptr_t)c->data_ptr;
    v->stride_bytes[plane] = (uint32_t)stride;
    return NULL;
}

/* Planes one after the other from one address. */
static const char *planes_from_block(lk_video_view *v, uint64_t at, uint32_t said)
{
    for (uint32_t i = 0; at && i < planes_of(v->format); i++) {
        plane_size size = size_of(v, i);
        uint64_t stride = stride_of(v, size, i == 0 ? said : 0, 0);
        if (stride > UINT32_MAX)
            return "a stride is too large";
        v->planes[i] = (const uint8_t *)(uintptr_t)at;
        v->stride_bytes[i] = (uint32_t)stride;
        at += stride * size.rows;
    }
    return NULL;
}

const char *ffi_video_view(lk_video_view *out, const Livekit__Proto__VideoBufferInfo *m)
{
    const char *why = NULL;
    *out = (lk_video_view){0};
    if (!m)
        return "there is no buffer";
    out->format = (lk_video_format)m->type;
    out->width = m->width;
    out->height = m->height;
    if (!m->width || !m->height)
        return "width and height must not be 0";
    if (planes_of(out->format) == 1 || m->n_components == 0)
        return planes_from_block(out, m->data_ptr, planes_of(out->format) == 1 && m->has_stride ? m->stride : 0);
    if (m->n_components < planes_of(out->format))
        return "a plane is missing";
    for (uint32_t i = 0; i < planes_of(out->format) && !why; i++)
        why = plane_from(out, i, m->components[i]);
    return why;
}

Livekit__Proto__OwnedVideoBuffer *ffi_own_picture(ffi_build *b, lk_video_frame *frame)
{
    Livekit__Proto__OwnedVideoBuffer *o = NEW(b, owned_video_buffer);
    lk_video_view v = lk_video_frame_view(frame);
    o->handle = ffi_owned(b, ffi_handle_new(FFI_VIDEO_FRAME, frame, 0));
    o->info = NEW(b, video_buffer_info);
    o->info->type = (Livekit__Proto__VideoBufferType)v.format;
    o->info->width = v.width;
    o->info->height = v.height;
    o->info->data_ptr = (uint64_t)(uintptr_t)v.planes[0];
    uint32_t count = planes_of(v.format);
    if (count == 1) {
        o->info->has_stride = true;
        o->info->stride = v.stride_bytes[0];
        return o;
    }
    o->info->components = ffi_alloc(b, count * sizeof(void *));
    o->info->n_components = count;
    for (uint32_t i = 0; i < count; i++) {
        Livekit__Proto__VideoBufferInfo__ComponentInfo *c = NEW(b, video_buffer_info__component_info);
        plane_size size = size_of(&v, i);
        c->data_ptr = (uint64_t)(uintptr_t)v.planes[i];
        c->stride = v.format == LK_VIDEO_I010 ? v.stride_bytes[i] / 2 : v.stride_bytes[i];
        c->size = v.stride_bytes[i] * size.rows;
        o->info->components[i] = c;
    }
    return o;
}

bool ffi_do_video_convert(ffi_call *c, const Livekit__Proto__VideoConvertRequest *m,
                          Livekit__Proto__VideoConvertResponse *r)
{
    lk_video_view from;
    lk_video_frame *made = NULL;
    lk_error error = {0};
    const char *why = ffi_video_view(&from, m->buffer);
    lk_video_format to = (lk_video_format)m->dst_type;
    bool flip_y = m->has_flip_y && m->flip_y;
    lk_err err = why ? LK_ERR_INVALID : lk_video_frame_convert(&made, &from, to, flip_y, &error);
    if (err) {
        char *text = (char *)ffi_alloc(&c->build, sizeof error.text + 32);
        snprintf(text, sizeof error.text + 32, "invalid request: %s", why ? why : error.text);
        r->message_case = LIVEKIT__PROTO__VIDEO_CONVERT_RESPONSE__MESSAGE_ERROR;
        r->error = text;
        return true;
    }
    r->message_case = LIVEKIT__PROTO__VIDEO_CONVERT_RESPONSE__MESSAGE_BUFFER;
    r->buffer = ffi_own_picture(&c->build, made);
    return true;
}
