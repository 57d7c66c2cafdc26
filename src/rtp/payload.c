// SPDX-License-Identifier: Apache-2.0
#include "rtp/payload.h"

#define LK_RTP_PAYLOAD(name) extern const lk_rtp_payload_ops lk_rtp_payload_##name;
#include "rtp/payload_table.inc"
#undef LK_RTP_PAYLOAD

static const lk_rtp_payload_ops *const table[] = {
#define LK_RTP_PAYLOAD(name) &lk_rtp_payload_##name,
#include "rtp/payload_table.inc"
#undef LK_RTP_PAYLOAD
};

const lk_rtp_payload_ops *lk_rtp_payload_find(const char *name)
{
    for (size_t i = 0; i < LK_LEN(table); i++)
        if (lk_str_ieq(lk_str_of(name), table[i]->name))
            return table[i];
    return NULL;
}
