// SPDX-License-Identifier: Apache-2.0
/* Inside of ice/: what its files share.
 *
 * ice_agent.c   pairs, checks, consent        ice_gather.c  how we look from outside        ice_line.c  candidate lines
 */
#pragma once
#include "ice/ice.h"
#include "stun/stun.h"

static inline lk_ice_candidate *lk_ice_local_of(const lk_ice *ice, size_t i)
{
    return (lk_ice_candidate *)lk_queue_peek((lk_queue *)(uintptr_t)&ice->locals, i);
}

/* ice_line.c: the candidate as an event; base NULL: it is one itself. NOMEM. */
lk_err lk_ice_tell_candidate(lk_ice *ice, const lk_ice_candidate *c, const lk_addr *base);
/* base: an address of ours, or its own; server NULL: no STUN server told it. */
void lk_ice_put_foundation(lk_ice_candidate *c, const lk_addr *base, const lk_addr *server);

/* ice_gather.c */
lk_err lk_ice_gather_from(lk_ice *ice, lk_usec now, size_t local); /* an address that is new */
void lk_ice_gather_tick(lk_ice *ice, lk_usec now);
lk_usec lk_ice_gather_deadline(const lk_ice *ice);
bool lk_ice_gather_poll_tx(lk_ice *ice, lk_usec now, lk_datagram *out);
/* True: it answered a question of ours. */
bool lk_ice_gather_input(lk_ice *ice, const lk_stun_msg *m, const lk_datagram *in);
