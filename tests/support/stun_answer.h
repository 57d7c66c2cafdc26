// SPDX-License-Identifier: Apache-2.0
/* support/stun_answer.h - what a STUN server says. */
#pragma once
#include "stun/stun.h"

/* The answer to a Binding request from that address; 0: it is none. bare: without FINGERPRINT, as many servers send it. */
static inline size_t stun_answer(uint8_t *out, size_t cap, const uint8_t *data, size_t len, const lk_addr *mapped, bool bare)
{
    lk_stun_msg m;
    if (lk_stun_parse(&m, data, len) != LK_OK || m.cls != LK_STUN_REQUEST || m.method != LK_STUN_BINDING)
        return 0;
    lk_wr w = lk_wr_of(out, cap);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_SUCCESS, m.tid);
    lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, mapped);
    if (!bare)
        lk_stun_put_fingerprint(&w);
    return w.bad ? 0 : w.len;
}
