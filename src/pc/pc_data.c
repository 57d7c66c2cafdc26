// SPDX-License-Identifier: Apache-2.0
/* Data channels of a peer connection: the application section; the rest is the transport's. */
#include "pc/pc_internal.h"

lk_err lk_pc_add_channel(lk_pc *pc, const lk_pc_channel *c, uint32_t *channel)
{
    bool has_section = false;
    for (size_t i = 0; i < pc->sections.count; i++)
        has_section |= lk_pc_sect_at(pc, i)->data;
    lk_err err = lk_transport_add_channel(&pc->transport, c, channel);
    if (err == LK_OK && !has_section) {
        err = lk_pc_append_data_section(pc);
        if (err != LK_OK)
            pc->transport.channel_count--;
    }
    return err;
}

bool lk_pc_channel_open(const lk_pc *pc, uint32_t channel) { return lk_transport_channel_open(&pc->transport, channel); }

lk_err lk_pc_send_data(lk_pc *pc, lk_usec now, uint32_t channel, const uint8_t *data, size_t len, lk_usec lifetime_usec)
{
    return lk_transport_send(&pc->transport, now, channel, data, len, lifetime_usec);
}

size_t lk_pc_data_buffered(const lk_pc *pc, uint32_t channel) { return lk_transport_buffered(&pc->transport, channel); }

bool lk_pc_data_poll_event(lk_pc *pc, lk_pc_event *out)
{
    lk_transport_event ev;
    if (!lk_transport_poll_event(&pc->transport, &ev))
        return false;
    *out = (lk_pc_event){.type = ev.message ? LK_PC_EV_DATA : LK_PC_EV_CHANNEL, .index = ev.channel, .active = ev.open,
                         .text = ev.label, .stream = "", .track = "", .data = ev.data};
    return true;
}
