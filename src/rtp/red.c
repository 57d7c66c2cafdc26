// SPDX-License-Identifier: Apache-2.0
#include "rtp/red.h"

size_t lk_rtp_red_parse(lk_rtp_red_block out[LK_RTP_RED_BLOCKS_MAX], lk_bytes payload)
{
    lk_rd r = lk_rd_of(payload.data, payload.len);
    size_t count = 0;
    for (bool last = false; !last; count++) {
        if (count == LK_RTP_RED_BLOCKS_MAX)
            return 0;
        uint8_t first = lk_rd_u8(&r);
        last = (first & 0x80) == 0;
        out[count] = (lk_rtp_red_block){.pt = first & 0x7f};
        if (last)
            continue;
        uint32_t rest = lk_rd_u24(&r);
        out[count].offset = (uint16_t)(rest >> 10);
        out[count].data.len = rest & 0x3ff;
    }
    for (size_t i = 0; i < count; i++) {
        size_t len = i + 1 < count ? out[i].data.len : lk_rd_left(&r);
        out[i].data = (lk_bytes){lk_rd_take(&r, len), len};
    }
    return r.bad ? 0 : count;
}

void lk_rtp_red_write(lk_wr *w, const lk_rtp_red_block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const lk_rtp_red_block *b = &blocks[i];
        bool last = i + 1 == count;
        if (!last && (b->data.len > LK_RTP_RED_LEN_MAX || b->offset > LK_RTP_RED_OFFSET_MAX))
            w->bad = true;
        lk_wr_u8(w, (uint8_t)((last ? 0 : 0x80) | (b->pt & 0x7f)));
        if (!last)
            lk_wr_u24(w, (uint32_t)b->offset << 10 | (uint32_t)b->data.len);
    }
    for (size_t i = 0; i < count; i++)
        lk_wr_put(w, blocks[i].data.data, blocks[i].data.len);
}
