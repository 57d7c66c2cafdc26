// SPDX-License-Identifier: Apache-2.0
#include "sfu/hub_internal.h"

#include "rtp/demux.h"
#include "rtp/rtcp.h"

/* A job group is what arrived for one layer between two drains, at most this: it goes to one down after the other, so that what
 * has one destination leaves together. */
#define GROUP_MAX 16u

void lk_hub_set_addresses(lk_hub *hub, const lk_addr *udp, size_t udp_count, const lk_addr *tcp, size_t tcp_count)
{
    hub->udp_count = LK_MIN(udp_count, (size_t)LK_SFU_ADDRESSES_MAX);
    hub->tcp_count = LK_MIN(tcp_count, (size_t)LK_SFU_ADDRESSES_MAX);
    for (size_t i = 0; i < hub->udp_count; i++)
        hub->udp[i] = udp[i];
    for (size_t i = 0; i < hub->tcp_count; i++)
        hub->tcp[i] = tcp[i];
}

lk_err lk_hub_new(lk_hub **out, const lk_env *env, const lk_hub_config *config, lk_usec now)
{
    if (config->udp_count > LK_SFU_ADDRESSES_MAX || config->tcp_count > LK_SFU_ADDRESSES_MAX || !config->dtls)
        return LK_ERR_INVALID;
    lk_hub *hub = (lk_hub *)lk_alloc0(env, sizeof *hub);
    if (!hub)
        return LK_ERR_NOMEM;
    hub->env = env;
    hub->dtls = config->dtls;
    lk_hub_set_addresses(hub, config->udp, config->udp_count, config->tcp, config->tcp_count);
    hub->unix_usec = config->unix_usec;
    hub->made_at = now;
    hub->loop = config->loop;
    hub->hash_key = lk_rand_u64(env) | 1;
    lk_map_init(&hub->by_addr, env, LK_HUB_PEERS_MAX * LK_ICE_LITE_PATHS_MAX);
    lk_map_init(&hub->by_ufrag, env, 2 * LK_HUB_PEERS_MAX);
    lk_queue_init(&hub->events, env, sizeof(lk_hub_event), LK_HUB_EVENTS_MAX);
    *out = hub;
    return LK_OK;
}

void lk_hub_free(lk_hub *hub)
{
    if (!hub)
        return;
    LK_ASSERT(hub->env, hub->peer_count == 0);
    for (size_t i = 0; i < LK_LEN(hub->spare); i++)
        while (hub->spare[i]) {
            lk_hub_block *b = hub->spare[i];
            hub->spare[i] = b->next;
            lk_release(hub->env, b, sizeof *b + (b->large ? LK_HUB_LARGE_BYTES : LK_HUB_SMALL_BYTES));
        }
    lk_release(hub->env, hub->heap, hub->heap_cap * sizeof(lk_peer *));
    lk_map_deinit(&hub->by_addr);
    lk_map_deinit(&hub->by_ufrag);
    lk_queue_deinit(&hub->events);
    lk_release(hub->env, hub, sizeof *hub);
}

uint64_t lk_hub_ntp(const lk_hub *hub, lk_usec now) { return lk_ntp_from_unix_usec(hub->unix_usec + (now - hub->made_at)); }

void lk_hub_get_stats(const lk_hub *hub, lk_hub_stats *out) { *out = hub->stats; }

/* ---- events ---- */

lk_hub_event *lk_hub_push(lk_hub *hub, const lk_hub_event *ev)
{
    if (ev->peer && ev->peer->closing) /* the engine is done with it */
        return NULL;
    if (lk_queue_push(&hub->events, ev) != LK_OK) {
        hub->stats.dropped++;
        return NULL;
    }
    return (lk_hub_event *)lk_queue_peek(&hub->events, hub->events.count - 1);
}

void lk_hub_forget(lk_hub *hub, const void *object)
{
    for (size_t i = 0; i < hub->events.count; i++) {
        lk_hub_event *e = (lk_hub_event *)lk_queue_peek(&hub->events, i);
        if (e->peer == object || e->up == object || e->down == object)
            e->kind = (lk_hub_event_kind)0;
    }
    for (size_t i = 0; i < hub->job_count; i++) {
        lk_hub_job *j = &hub->jobs[(hub->job_first + i) % LK_HUB_JOBS_MAX];
        if (j->up == object)
            j->up = NULL;
    }
    for (size_t i = 0; i < hub->resend_count; i++) {
        lk_hub_resend *r = &hub->resends[(hub->resend_first + i) % LK_HUB_RESENDS_MAX];
        if (r->down == object)
            r->down = NULL;
    }
}

void lk_hub_has_data(lk_peer *peer)
{
    if (peer->in_data)
        return;
    peer->in_data = true;
    peer->next_data = peer->hub->data;
    peer->hub->data = peer;
}

bool lk_hub_poll_event(lk_hub *hub, lk_hub_event *out)
{
    while (lk_queue_pop(&hub->events, out)) {
        if (!out->kind)
            continue;
        out->user = out->peer ? out->peer->config.user : NULL;
        return true;
    }
    while (hub->data) {
        if (lk_peer_poll_data(hub->data, out))
            return true;
        lk_peer *p = hub->data;
        hub->data = p->next_data;
        p->in_data = false;
        lk_hub_touch(p); /* what was read is acknowledged */
    }
    return false;
}

/* ---- who a datagram is for ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

static uint64_t addr_key(const lk_hub *hub, const lk_addr *a, bool tcp)
{
    uint64_t hi, lo;
    memcpy(&hi, a->ip, 8);
    memcpy(&lo, a->ip + 8, 8);
    return mix(mix(mix(hub->hash_key, hi), lo), (uint64_t)a->port << 8 | (uint64_t)a->family << 1 | tcp);
}

static uint64_t ufrag_key(const lk_hub *hub, lk_str ufrag)
{
    uint64_t h = hub->hash_key;
    for (size_t i = 0; i < ufrag.len; i++)
        h = mix(h, (uint8_t)ufrag.p[i]);
    return h;
}

lk_err lk_hub_name_peer(lk_hub *hub, lk_peer *peer)
{
    uint64_t key = ufrag_key(hub, lk_str_of(peer->ice.ufrag));
    lk_err err = lk_map_put(&hub->by_ufrag, key, peer);
    if (err != LK_OK)
        return err;
    if (peer->old_ufrag_key)
        lk_map_take(&hub->by_ufrag, peer->old_ufrag_key);
    peer->old_ufrag_key = peer->ufrag_key;
    peer->ufrag_key = key;
    return LK_OK;
}

char lk_hub_loop_of(const uint8_t *data, size_t len)
{
    lk_str ufrag;
    return lk_demux(data, len) == LK_DEMUX_STUN && lk_ice_lite_peek(data, len, &ufrag) ? ufrag.p[0] : 0;
}

/* An unknown address: the request names whom it wants; the address is learned once it proved to know the password. */
static lk_peer *introduce(lk_hub *hub, lk_usec now, const lk_sfu_packet *packet, uint64_t key)
{
    lk_str ufrag;
    if (lk_demux(packet->d.data, packet->d.len) != LK_DEMUX_STUN || !lk_ice_lite_peek(packet->d.data, packet->d.len, &ufrag))
        return NULL;
    lk_peer *p = (lk_peer *)lk_map_get(&hub->by_ufrag, ufrag_key(hub, ufrag));
    if (!p)
        return NULL;
    lk_peer_input(p, now, packet);
    if (lk_ice_lite_is_valid(&p->ice, &packet->d.local, &packet->d.remote, packet->tcp) && lk_map_put(&hub->by_addr, key, p) != LK_OK)
        hub->stats.dropped++;
    return p;
}

bool lk_hub_input(lk_hub *hub, lk_usec now, const lk_sfu_packet *packet)
{
    uint64_t key = addr_key(hub, &packet->d.remote, packet->tcp);
    lk_peer *p = (lk_peer *)lk_map_get(&hub->by_addr, key);
    hub->stats.packets_in++;
    hub->stats.bytes_in += packet->d.len;
    if (p && lk_ice_lite_is_valid(&p->ice, &packet->d.local, &packet->d.remote, packet->tcp)) {
        lk_str ufrag;
        /* The client began another session from the same socket. */
        bool other = lk_demux(packet->d.data, packet->d.len) == LK_DEMUX_STUN && lk_ice_lite_peek(packet->d.data, packet->d.len, &ufrag) &&
                     lk_map_get(&hub->by_ufrag, ufrag_key(hub, ufrag)) != p;
        if (!other) {
            lk_peer_input(p, now, packet);
            return true;
        }
    }
    if (introduce(hub, now, packet, key))
        return true;
    hub->stats.stray++;
    return false;
}

void lk_hub_flow_closed(lk_hub *hub, lk_usec now, const lk_addr *local, const lk_addr *remote)
{
    lk_peer *p = (lk_peer *)lk_map_take(&hub->by_addr, addr_key(hub, remote, true));
    if (p) {
        lk_ice_lite_drop_path(&p->ice, local, remote);
        lk_peer_pump(p, now);
    }
}

/* ---- timers: a heap of peers by their deadline ---- */

static void heap_set(lk_hub *hub, size_t i, lk_peer *p)
{
    hub->heap[i] = p;
    p->heap_at = i;
}

static void heap_move(lk_hub *hub, size_t i)
{
    lk_peer *p = hub->heap[i];
    while (i > 0 && hub->heap[(i - 1) / 2]->due_at > p->due_at) {
        heap_set(hub, i, hub->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < hub->peer_count; i = child) {
        if (child + 1 < hub->peer_count && hub->heap[child + 1]->due_at < hub->heap[child]->due_at)
            child++;
        if (hub->heap[child]->due_at >= p->due_at)
            break;
        heap_set(hub, i, hub->heap[child]);
    }
    heap_set(hub, i, p);
}

void lk_hub_touch(lk_peer *peer)
{
    lk_hub *hub = peer->hub;
    lk_usec at = lk_peer_deadline(peer);
    if (at != peer->due_at) {
        peer->due_at = at;
        heap_move(hub, peer->heap_at);
    }
    if (!peer->in_tx) {
        peer->in_tx = true;
        peer->next_tx = hub->tx;
        hub->tx = peer;
    }
}

lk_err lk_hub_add_peer(lk_hub *hub, lk_peer *peer)
{
    if (hub->peer_count == LK_HUB_PEERS_MAX)
        return LK_ERR_LIMIT;
    if (hub->peer_count == hub->heap_cap) {
        size_t cap = hub->heap_cap ? 2 * hub->heap_cap : 16;
        lk_peer **heap = (lk_peer **)lk_resize(hub->env, hub->heap, hub->heap_cap * sizeof *heap, cap * sizeof *heap);
        if (!heap)
            return LK_ERR_NOMEM;
        hub->heap = heap;
        hub->heap_cap = cap;
    }
    lk_err err = lk_hub_name_peer(hub, peer);
    if (err != LK_OK)
        return err == LK_ERR_FULL ? LK_ERR_LIMIT : err;
    peer->due_at = LK_NEVER;
    heap_set(hub, hub->peer_count++, peer);
    return LK_OK;
}

static void unlist(lk_peer **list, lk_peer *peer, size_t next_at)
{
    for (lk_peer **p = list; *p; p = (lk_peer **)(void *)((char *)*p + next_at))
        if (*p == peer) {
            *p = *(lk_peer **)(void *)((char *)peer + next_at);
            return;
        }
}

void lk_hub_remove_peer(lk_hub *hub, lk_peer *peer)
{
    lk_map_take(&hub->by_ufrag, peer->ufrag_key);
    if (peer->old_ufrag_key)
        lk_map_take(&hub->by_ufrag, peer->old_ufrag_key);
    for (size_t i = 0; i < peer->ice.path_count; i++) {
        uint64_t key = addr_key(hub, &peer->ice.paths[i].remote, peer->ice.paths[i].tcp);
        if (lk_map_get(&hub->by_addr, key) == peer)
            lk_map_take(&hub->by_addr, key);
    }
    if (peer->in_tx)
        unlist(&hub->tx, peer, offsetof(lk_peer, next_tx));
    if (peer->in_data)
        unlist(&hub->data, peer, offsetof(lk_peer, next_data));
    lk_peer *last = hub->heap[--hub->peer_count];
    if (last != peer) {
        heap_set(hub, peer->heap_at, last);
        heap_move(hub, last->heap_at);
    }
    lk_hub_forget(hub, peer);
}

void lk_hub_tick(lk_hub *hub, lk_usec now)
{
    /* Each at most once: one that stays due (its packets wait for poll_tx) does not turn this into a loop. */
    for (size_t n = hub->peer_count; n > 0 && hub->peer_count > 0 && hub->heap[0]->due_at <= now; n--) {
        lk_peer *p = hub->heap[0];
        lk_peer_tick(p, now);
        if (p->due_at <= now) {
            p->due_at = now + 1;
            heap_move(hub, p->heap_at);
        }
    }
}

lk_usec lk_hub_deadline(const lk_hub *hub) { return hub->peer_count ? hub->heap[0]->due_at : LK_NEVER; }

/* ---- blocks ---- */

lk_hub_block *lk_hub_take_block(lk_hub *hub, size_t len)
{
    bool large = len > LK_HUB_SMALL_BYTES;
    lk_hub_block *b = hub->spare[large];
    if (b) {
        hub->spare[large] = b->next;
        hub->spare_count[large]--;
        return b;
    }
    b = (lk_hub_block *)lk_alloc(hub->env, sizeof *b + (large ? LK_HUB_LARGE_BYTES : LK_HUB_SMALL_BYTES));
    if (b)
        b->large = large;
    return b;
}

void lk_hub_give_block(lk_hub *hub, lk_hub_block *b)
{
    if (!b)
        return;
    if (hub->spare_count[b->large] >= LK_HUB_SPARE_MAX) {
        lk_release(hub->env, b, sizeof *b + (b->large ? LK_HUB_LARGE_BYTES : LK_HUB_SMALL_BYTES));
        return;
    }
    b->next = hub->spare[b->large];
    hub->spare[b->large] = b;
    hub->spare_count[b->large]++;
}

/* ---- what leaves ---- */

void lk_hub_add_job(lk_hub *hub, lk_up *up, size_t layer, int64_t seq)
{
    if (hub->job_count == LK_HUB_JOBS_MAX) {
        hub->stats.dropped++;
        return;
    }
    hub->jobs[(hub->job_first + hub->job_count++) % LK_HUB_JOBS_MAX] = (lk_hub_job){up, (uint8_t)layer, seq};
}

void lk_hub_add_resend(lk_hub *hub, lk_down *down, uint16_t out)
{
    if (hub->resend_count == LK_HUB_RESENDS_MAX) /* asked for again if it is still missed then */
        return;
    hub->resends[(hub->resend_first + hub->resend_count++) % LK_HUB_RESENDS_MAX] = (lk_hub_resend){down, out};
}

static lk_hub_job *job_at(lk_hub *hub, size_t i) { return &hub->jobs[(hub->job_first + i) % LK_HUB_JOBS_MAX]; }

static void begin_group(lk_hub *hub)
{
    const lk_hub_job *first = job_at(hub, 0);
    hub->group = 1;
    while (hub->group < GROUP_MAX && hub->group < hub->job_count && job_at(hub, hub->group)->up == first->up &&
           job_at(hub, hub->group)->layer == first->layer)
        hub->group++;
    hub->group_at = hub->down_at = 0;
}

static void put(lk_hub *hub, const lk_down *d, size_t slot, size_t len, lk_sfu_packet *out)
{
    const lk_ice_lite_path *path = lk_ice_lite_selected(&d->peer->ice);
    *out = (lk_sfu_packet){{path->local, path->remote, hub->slots[slot], len}, path->tcp};
    hub->stats.packets_out++;
    hub->stats.bytes_out += len;
}

static size_t forward(lk_hub *hub, lk_usec now, lk_sfu_packet *out, size_t n, size_t cap)
{
    while (hub->job_count > 0) {
        if (hub->group == 0)
            begin_group(hub);
        lk_up *up = job_at(hub, 0)->up;
        for (; up && hub->down_at < up->down_count; hub->down_at++) {
            lk_down *d = up->downs[hub->down_at];
            for (; d->open && hub->group_at < hub->group; hub->group_at++) {
                const lk_hub_job *j = job_at(hub, hub->group_at);
                const lk_cached *c = lk_up_cached(up, j->layer, j->seq);
                size_t len;
                if (n == cap)
                    return n;
                if (!c || !lk_down_write(d, now, j->layer, c, hub->slots[n], &len))
                    continue;
                put(hub, d, n, len, &out[n]);
                hub->stats.forwarded++;
                n++;
            }
            hub->group_at = 0;
        }
        hub->job_first = (hub->job_first + hub->group) % LK_HUB_JOBS_MAX;
        hub->job_count -= hub->group;
        hub->group = 0;
    }
    return n;
}

static size_t resend(lk_hub *hub, lk_usec now, lk_sfu_packet *out, size_t n, size_t cap)
{
    for (; hub->resend_count > 0 && n < cap; hub->resend_count--) {
        const lk_hub_resend r = hub->resends[hub->resend_first];
        size_t len;
        hub->resend_first = (hub->resend_first + 1) % LK_HUB_RESENDS_MAX;
        if (r.down && r.down->open && lk_down_write_again(r.down, now, r.out, hub->slots[n], &len)) {
            put(hub, r.down, n, len, &out[n]);
            hub->stats.resent++;
            n++;
        }
    }
    return n;
}

size_t lk_hub_poll_tx(lk_hub *hub, lk_usec now, lk_sfu_packet *out, size_t cap)
{
    size_t n = 0;
    cap = LK_MIN(cap, (size_t)LK_HUB_SLOTS);
    while (hub->tx && n < cap) {
        lk_peer *p = hub->tx;
        if (lk_peer_poll_control(p, now, hub->slots[n], &out[n])) {
            hub->stats.packets_out++;
            hub->stats.bytes_out += out[n].d.len;
            n++;
            continue;
        }
        hub->tx = p->next_tx;
        p->in_tx = false;
        lk_usec at = lk_peer_deadline(p);
        if (at != p->due_at) {
            p->due_at = at;
            heap_move(hub, p->heap_at);
        }
    }
    n = resend(hub, now, out, n, cap);
    return forward(hub, now, out, n, cap);
}
