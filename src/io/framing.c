// SPDX-License-Identifier: Apache-2.0
#include "io/loop.h"

/* Up to want bytes in all are there now. */
static bool fill(lk_frame_reader *r, lk_bytes *in, size_t want)
{
    size_t n = LK_MIN(want - LK_MIN(want, r->have), in->len);
    memcpy(r->data + r->have, in->data, n);
    r->have += n;
    in->data += n;
    in->len -= n;
    return r->have >= want;
}

lk_err lk_frame_read(lk_frame_reader *r, lk_bytes *in, lk_bytes *packet)
{
    if (in->len == 0 || !fill(r, in, 2))
        return LK_ERR_AGAIN;
    size_t len = lk_get_u16(r->data);
    if (len > LK_FRAME_MAX)
        return LK_ERR_WIRE;
    if (!fill(r, in, 2 + len))
        return LK_ERR_AGAIN;
    *packet = (lk_bytes){r->data + 2, len};
    r->have = 0;
    return LK_OK;
}
