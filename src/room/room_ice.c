// SPDX-License-Identifier: Apache-2.0
/* STUN servers: whose, and where they are. [RFC7064] */
#include "room/room_internal.h"

#define STUN_PORT 3478

/* stun:host[:port], an IPv6 address in brackets. What cannot be used (turn:, stuns:, nonsense) is passed over. */
static void keep_url(lk_session *s, const char *url)
{
    lk_str rest = lk_str_of(url ? url : ""), host;
    uint64_t port = STUN_PORT;
    if (s->stun_count == LK_LEN(s->stun) || !lk_str_starts(rest, "stun:"))
        return;
    rest = (lk_str){rest.p + 5, rest.len - 5};
    if (lk_str_starts(rest, "[")) {
        rest = (lk_str){rest.p + 1, rest.len - 1};
        host = lk_str_cut(&rest, ']');
        if (rest.len && rest.p[0] == ':')
            rest = (lk_str){rest.p + 1, rest.len - 1};
    } else {
        host = lk_str_cut(&rest, ':');
    }
    rest = lk_str_cut(&rest, '?');
    lk_session_stun *at = &s->stun[s->stun_count];
    if (host.len == 0 || (rest.len && (!lk_str_u64(rest, 65535, &port) || port == 0)) || !lk_str_copy(at->host, sizeof at->host, host)) {
        LK_LOG(s->env, LK_LOG_WARN, "room.stun.url", LK_S("refused", url));
        return;
    }
    at->port = (uint16_t)port;
    s->stun_count++;
}

void lk_session_keep_stun(lk_session *s, const lk_session_ice_server *servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < servers[i].url_count; k++)
            keep_url(s, servers[i].urls[k]);
}

void lk_session_ask_stun(lk_session *s, const Livekit__JoinResponse *join)
{
    if (s->config.ice_server_count == 0) {
        s->stun_count = 0;
        for (size_t i = 0; i < join->n_ice_servers; i++)
            for (size_t k = 0; k < join->ice_servers[i]->n_urls; k++)
                keep_url(s, join->ice_servers[i]->urls[k]);
    }
    for (size_t i = 0; i < s->stun_count; i++) {
        const lk_session_io ask = {.kind = LK_SESSION_IO_RESOLVE, .stream = s->last_stream * LK_ICE_SERVERS_MAX + (uint32_t)i,
                                   .host = s->stun[i].host, .port = s->stun[i].port};
        if (lk_queue_push(&s->io, &ask) != LK_OK)
            s->broken = LK_ERR_NOMEM;
    }
}

void lk_session_resolved(lk_session *s, lk_usec now, uint32_t question, const lk_addr *addresses, size_t count)
{
    lk_pc *pcs[] = {s->pc, s->sub};
    bool taken[2] = {false, false}; /* by family */
    if (question / LK_ICE_SERVERS_MAX != s->last_stream || !s->pc)
        return;
    s->now = LK_MAX(now, s->now);
    for (size_t i = 0; i < count; i++) {
        bool *family = &taken[addresses[i].family == 6];
        for (size_t k = 0; k < LK_LEN(pcs) && !*family; k++)
            if (pcs[k] && lk_pc_add_stun_server(pcs[k], s->now, &addresses[i]) != LK_OK)
                LK_LOG(s->env, LK_LOG_WARN, "room.stun.refused", LK_I("question", question));
        *family = true;
    }
    lk_session_pump(s);
}
