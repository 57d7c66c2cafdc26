// SPDX-License-Identifier: Apache-2.0
/* Server-reflexive candidates: each address of ours asks each STUN server of its family how it looks. */
#include "ice/ice_internal.h"

#define RETRY_FIRST_USEC LK_MSEC(200) /* as early as a join can use it; [RFC8489 s6.2.1] begins with 500 ms */
#define RETRY_MAX_USEC LK_MSEC(1600)
#define TRIES_MAX 7
#define SPACING_USEC LK_MSEC(5)
#define SRFLX_PREFERENCE 100 /* [RFC8445 s5.1.2.2] */

static lk_ice_gather *gather_at(const lk_ice *ice, size_t i)
{
    return (lk_ice_gather *)lk_queue_peek((lk_queue *)(uintptr_t)&ice->gathers, i);
}

const lk_ice_candidate *lk_ice_srflx_at(const lk_ice *ice, size_t i)
{
    return (const lk_ice_candidate *)lk_queue_peek((lk_queue *)(uintptr_t)&ice->srflx, i);
}

static bool may_ask(const lk_addr *local, const lk_addr *server)
{
    return local->family == server->family && lk_addr_is_loopback(local) == lk_addr_is_loopback(server) && !lk_addr_is_link_local(local);
}

static lk_err ask(lk_ice *ice, lk_usec now, size_t local, const lk_addr *server)
{
    lk_ice_gather g = {.server = *server, .local = (uint8_t)local};
    if (ice->config.lite || !may_ask(&lk_ice_local_of(ice, local)->addr, server))
        return LK_OK;
    uint64_t a = lk_rand_u64(ice->env);
    uint32_t b = lk_rand_u32(ice->env);
    memcpy(g.tid, &a, 8);
    memcpy(g.tid + 8, &b, 4);
    g.retry_at = now + (lk_usec)ice->gathers.count * SPACING_USEC;
    return lk_queue_push(&ice->gathers, &g);
}

lk_err lk_ice_add_server(lk_ice *ice, lk_usec now, const lk_addr *server)
{
    lk_err err = LK_OK;
    for (size_t i = 0; i < ice->server_count; i++)
        if (lk_addr_eq(&ice->servers[i], server))
            return LK_OK;
    if (ice->server_count == LK_ICE_SERVERS_MAX)
        return LK_ERR_LIMIT;
    ice->servers[ice->server_count++] = *server;
    for (size_t i = 0; i < ice->locals.count && err == LK_OK; i++)
        err = ask(ice, now, i, server);
    return err;
}

lk_err lk_ice_gather_from(lk_ice *ice, lk_usec now, size_t local)
{
    lk_err err = LK_OK;
    for (size_t i = 0; i < ice->server_count && err == LK_OK; i++)
        err = ask(ice, now, local, &ice->servers[i]);
    return err;
}

static bool is_over(const lk_ice *ice) { return ice->selected >= 0 || ice->state == LK_ICE_STATE_FAILED; }

void lk_ice_gather_tick(lk_ice *ice, lk_usec now)
{
    for (size_t i = 0; i < ice->gathers.count; i++) {
        lk_ice_gather *g = gather_at(ice, i);
        if (g->done || g->send_now || now < g->retry_at)
            continue;
        g->done = g->tries == TRIES_MAX || is_over(ice);
        g->send_now = !g->done;
    }
}

lk_usec lk_ice_gather_deadline(const lk_ice *ice)
{
    lk_usec at = LK_NEVER;
    for (size_t i = 0; i < ice->gathers.count && !is_over(ice); i++) {
        const lk_ice_gather *g = gather_at(ice, i);
        if (!g->done && !g->send_now)
            at = LK_MIN(at, g->retry_at);
    }
    return at;
}

bool lk_ice_gather_poll_tx(lk_ice *ice, lk_usec now, lk_datagram *out)
{
    for (size_t i = 0; i < ice->gathers.count; i++) {
        lk_ice_gather *g = gather_at(ice, i);
        if (!g->send_now)
            continue;
        lk_usec wait = RETRY_FIRST_USEC << LK_MIN(g->tries, (uint8_t)3);
        g->send_now = false;
        g->tries++;
        g->retry_at = now + LK_MIN(wait, RETRY_MAX_USEC);
        lk_wr w = lk_wr_of(ice->tx, sizeof ice->tx);
        lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_REQUEST, g->tid);
        lk_stun_put_fingerprint(&w);
        *out = (lk_datagram){lk_ice_local_of(ice, g->local)->addr, g->server, w.data, w.len};
        return true;
    }
    return false;
}

static bool is_known(const lk_ice *ice, const lk_addr *mapped)
{
    for (size_t i = 0; i < ice->locals.count; i++)
        if (lk_addr_eq(&lk_ice_local_of(ice, i)->addr, mapped))
            return true; /* there is no NAT */
    for (size_t i = 0; i < ice->srflx.count; i++)
        if (lk_addr_eq(&lk_ice_srflx_at(ice, i)->addr, mapped))
            return true;
    return false;
}

static void learn(lk_ice *ice, const lk_ice_gather *g, const lk_addr *mapped)
{
    const lk_ice_candidate *base = lk_ice_local_of(ice, g->local);
    lk_ice_candidate c = {.addr = *mapped, .type = LK_ICE_SRFLX, .base = g->local};
    if (mapped->family != base->addr.family || mapped->port == 0 || lk_addr_is_unspecified(mapped) || is_known(ice, mapped))
        return;
    c.priority = (base->priority & 0x00ffffffu) | ((uint32_t)SRFLX_PREFERENCE << 24);
    lk_ice_put_foundation(&c, &base->addr, &g->server);
    lk_rand_text(ice->env, c.id, 8);
    /* The pairs of its base serve it too [RFC8445 s6.1.2.4]: the peer has to know it, we need nothing more. */
    if (lk_queue_push(&ice->srflx, &c) != LK_OK || lk_ice_tell_candidate(ice, &c, &base->addr) != LK_OK)
        ice->dropped++;
}

bool lk_ice_gather_input(lk_ice *ice, const lk_stun_msg *m, const lk_datagram *in)
{
    for (size_t i = 0; i < ice->gathers.count; i++) {
        lk_ice_gather *g = gather_at(ice, i);
        lk_addr mapped;
        if (g->done || !g->tries || memcmp(g->tid, m->tid, sizeof g->tid) != 0 || !lk_addr_eq(&g->server, &in->remote) ||
            !lk_addr_eq(&lk_ice_local_of(ice, g->local)->addr, &in->local))
            continue;
        g->done = true; /* an error would not become a better answer by asking again */
        const lk_stun_attr *a = lk_stun_find(m, LK_STUN_XOR_MAPPED_ADDRESS);
        if (m->cls == LK_STUN_SUCCESS && a && lk_stun_addr(m, a, true, &mapped))
            learn(ice, g, &mapped);
        return true;
    }
    return false;
}
