// SPDX-License-Identifier: Apache-2.0
#include "ice/ice_lite.h"

#include "stun/stun.h"

#define DISCONNECTED_USEC LK_SEC(10) /* without a check; clients send one every 2.5 s */
#define FAILED_USEC LK_SEC(15)

static void new_credentials(lk_ice_lite *ice)
{
    lk_rand_text(ice->env, ice->ufrag, LK_ICE_LITE_UFRAG_LEN);
    lk_rand_text(ice->env, ice->pwd, LK_ICE_PWD_LEN);
    if (ice->mark)
        ice->ufrag[0] = ice->mark;
}

void lk_ice_lite_init(lk_ice_lite *ice, const lk_env *env, char mark)
{
    *ice = (lk_ice_lite){.env = env, .mark = mark, .selected = -1};
    new_credentials(ice);
}

void lk_ice_lite_restart(lk_ice_lite *ice)
{
    memcpy(ice->old_ufrag, ice->ufrag, sizeof ice->ufrag);
    memcpy(ice->old_pwd, ice->pwd, sizeof ice->pwd);
    new_credentials(ice);
}

static bool peek(const lk_stun_msg *m, lk_str *ufrag)
{
    const lk_stun_attr *a = lk_stun_find(m, LK_STUN_USERNAME);
    if (m->method != LK_STUN_BINDING || m->cls != LK_STUN_REQUEST || !a)
        return false;
    lk_str all = {(const char *)a->value, a->len};
    *ufrag = lk_str_cut(&all, ':');
    return ufrag->len > 0;
}

bool lk_ice_lite_peek(const uint8_t *data, size_t len, lk_str *ufrag)
{
    lk_stun_msg m;
    return lk_stun_parse(&m, data, len) == LK_OK && peek(&m, ufrag);
}

static int find_path(const lk_ice_lite *ice, const lk_addr *local, const lk_addr *remote, bool tcp)
{
    for (int i = 0; i < ice->path_count; i++) {
        const lk_ice_lite_path *p = &ice->paths[i];
        if (p->tcp == tcp && lk_addr_eq(&p->remote, remote) && lk_addr_eq(&p->local, local))
            return i;
    }
    return -1;
}

static int learn_path(lk_ice_lite *ice, const lk_datagram *in, bool tcp)
{
    int at = find_path(ice, &in->local, &in->remote, tcp);
    if (at >= 0)
        return at;
    at = ice->path_count;
    if (at == LK_ICE_LITE_PATHS_MAX) { /* never the selected one */
        at = ice->selected == 0;
        for (int i = 0; i < ice->path_count; i++)
            if (i != ice->selected && ice->paths[i].heard_at < ice->paths[at].heard_at)
                at = i;
    } else {
        ice->path_count++;
    }
    ice->paths[at] = (lk_ice_lite_path){.local = in->local, .remote = in->remote, .tcp = tcp};
    return at;
}

static void answer(lk_ice_lite *ice, const lk_ice_lite_path *path, const uint8_t tid[12], bool old)
{
    if (ice->reply_count == LK_ICE_LITE_PATHS_MAX) {
        ice->dropped++;
        return;
    }
    lk_ice_lite_reply *r = &ice->replies[(ice->reply_first + ice->reply_count++) % LK_ICE_LITE_PATHS_MAX];
    r->path = *path;
    r->old = old;
    memcpy(r->tid, tid, sizeof r->tid);
}

bool lk_ice_lite_input(lk_ice_lite *ice, lk_usec now, const lk_datagram *in, bool tcp)
{
    lk_stun_msg m;
    lk_str ufrag;
    if (lk_stun_parse(&m, in->data, in->len) != LK_OK || !peek(&m, &ufrag) || lk_stun_check_fingerprint(&m) != LK_STUN_CHECK_OK) {
        ice->dropped++;
        return false;
    }
    bool current = lk_str_eq(ufrag, ice->ufrag), old = ice->old_ufrag[0] && lk_str_eq(ufrag, ice->old_ufrag);
    if ((!current && !old) || lk_stun_check_integrity(&m, current ? ice->pwd : ice->old_pwd, LK_ICE_PWD_LEN) != LK_STUN_CHECK_OK) {
        ice->dropped++;
        return false;
    }
    if (current)
        ice->old_ufrag[0] = 0;
    int at = learn_path(ice, in, tcp);
    lk_ice_lite_path *p = &ice->paths[at];
    p->heard_at = ice->heard_at = now;
    if (lk_stun_find(&m, LK_STUN_USE_CANDIDATE))
        ice->selected = (int8_t)at;
    ice->state = LK_ICE_STATE_CONNECTED;
    answer(ice, p, m.tid, old);
    return true;
}

void lk_ice_lite_tick(lk_ice_lite *ice, lk_usec now)
{
    if (ice->state == LK_ICE_STATE_CONNECTED && now >= ice->heard_at + DISCONNECTED_USEC)
        ice->state = LK_ICE_STATE_DISCONNECTED;
    if (ice->state == LK_ICE_STATE_DISCONNECTED && now >= ice->heard_at + FAILED_USEC)
        ice->state = LK_ICE_STATE_FAILED;
}

lk_usec lk_ice_lite_deadline(const lk_ice_lite *ice)
{
    return ice->state == LK_ICE_STATE_CONNECTED      ? ice->heard_at + DISCONNECTED_USEC
           : ice->state == LK_ICE_STATE_DISCONNECTED ? ice->heard_at + FAILED_USEC
                                                     : LK_NEVER;
}

bool lk_ice_lite_poll_tx(lk_ice_lite *ice, uint8_t *buffer, lk_datagram *out, bool *tcp)
{
    if (ice->reply_count == 0)
        return false;
    const lk_ice_lite_reply *r = &ice->replies[ice->reply_first];
    ice->reply_first = (uint8_t)((ice->reply_first + 1) % LK_ICE_LITE_PATHS_MAX);
    ice->reply_count--;
    lk_wr w = lk_wr_of(buffer, LK_ICE_LITE_REPLY_MAX);
    lk_stun_begin(&w, LK_STUN_BINDING, LK_STUN_SUCCESS, r->tid);
    lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &r->path.remote);
    lk_stun_put_integrity(&w, r->old ? ice->old_pwd : ice->pwd, LK_ICE_PWD_LEN);
    lk_stun_put_fingerprint(&w);
    *out = (lk_datagram){r->path.local, r->path.remote, buffer, w.len};
    *tcp = r->path.tcp;
    return !w.bad;
}

const lk_ice_lite_path *lk_ice_lite_selected(const lk_ice_lite *ice)
{
    if (ice->path_count == 0 || ice->state == LK_ICE_STATE_FAILED)
        return NULL;
    return &ice->paths[ice->selected >= 0 ? ice->selected : 0];
}

bool lk_ice_lite_is_valid(const lk_ice_lite *ice, const lk_addr *local, const lk_addr *remote, bool tcp)
{
    return find_path(ice, local, remote, tcp) >= 0;
}

void lk_ice_lite_drop_path(lk_ice_lite *ice, const lk_addr *local, const lk_addr *remote)
{
    int at = find_path(ice, local, remote, true);
    if (at < 0)
        return;
    ice->path_count--;
    if (ice->selected == at)
        ice->selected = -1;
    if (at != ice->path_count) {
        ice->paths[at] = ice->paths[ice->path_count];
        if (ice->selected == (int)ice->path_count)
            ice->selected = (int8_t)at;
    }
}
