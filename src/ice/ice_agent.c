// SPDX-License-Identifier: Apache-2.0
#include "ice/ice_internal.h"

#include "base/canary.h"

#define RETRY_FIRST_USEC LK_MSEC(50)
#define RETRY_MAX_USEC LK_MSEC(1600)
#define TRIES_MAX 12
#define PACE_FAST_USEC LK_MSEC(5)
#define PACE_USEC LK_MSEC(20) /* Ta [RFC8445 s14.2] */
#define FAST_CHECKS 10
#define CHECKING_MAX_USEC LK_SEC(15)
#define NOMINATE_WAIT_USEC LK_MSEC(50)
#define CONSENT_MIN_USEC LK_MSEC(4000) /* 5 s, randomised by 20 % [RFC7675 s5.1] */
#define CONSENT_SPAN_USEC LK_MSEC(2000)
#define CONSENT_RETRY_USEC LK_MSEC(500) /* ten of them until it counts as silence: of 10 % loss each way one in 10^7 */
#define DISCONNECTED_USEC LK_SEC(10)
#define CONSENT_LOST_USEC LK_SEC(30) /* [RFC7675 s5.1] */
#define HOST_PREFERENCE 126          /* [RFC8445 s5.1.2.2] */
#define PRFLX_PREFERENCE 110
#define REPLIES_MAX 32
#define EVENTS_MAX 64

static lk_ice_pair *pair_at(const lk_ice *ice, size_t i)
{
    return (lk_ice_pair *)lk_queue_peek((lk_queue *)&ice->pairs, i);
}
static lk_ice_candidate *local_at(const lk_ice *ice, size_t i)
{
    return (lk_ice_candidate *)lk_queue_peek((lk_queue *)&ice->locals, i);
}
static lk_ice_candidate *remote_at(const lk_ice *ice, size_t i)
{
    return (lk_ice_candidate *)lk_queue_peek((lk_queue *)&ice->remotes, i);
}

size_t lk_ice_pair_count(const lk_ice *ice) { return ice->pairs.count; }
const lk_ice_pair *lk_ice_pair_at(const lk_ice *ice, size_t i) { return pair_at(ice, i); }
const lk_ice_candidate *lk_ice_local_at(const lk_ice *ice, size_t i) { return local_at(ice, i); }
const lk_ice_candidate *lk_ice_remote_at(const lk_ice *ice, size_t i) { return remote_at(ice, i); }

static void new_credentials(lk_ice *ice)
{
    lk_rand_text(ice->env, ice->ufrag, LK_ICE_UFRAG_LEN);
    lk_rand_text(ice->env, ice->pwd, LK_ICE_PWD_LEN);
}

void lk_ice_init(lk_ice *ice, const lk_env *env, const lk_ice_config *config, lk_usec now)
{
    LK_UNUSED(now);
    *ice = (lk_ice){.env = env, .config = *config, .selected = -1, .consent_at = LK_NEVER,
                    .checking_since = LK_NEVER, .first_valid_at = LK_NEVER};
    lk_queue_init(&ice->locals, env, sizeof(lk_ice_candidate), LK_ICE_LOCAL_MAX);
    lk_queue_init(&ice->remotes, env, sizeof(lk_ice_candidate), LK_ICE_REMOTE_MAX + LK_ICE_PRFLX_MAX);
    lk_queue_init(&ice->pairs, env, sizeof(lk_ice_pair), LK_ICE_PAIRS_MAX);
    lk_queue_init(&ice->replies, env, sizeof(lk_ice_reply), REPLIES_MAX);
    lk_queue_init(&ice->events, env, sizeof(lk_ice_event), EVENTS_MAX);
    lk_queue_init(&ice->gathers, env, sizeof(lk_ice_gather), (size_t)LK_ICE_LOCAL_MAX * LK_ICE_SERVERS_MAX);
    lk_queue_init(&ice->srflx, env, sizeof(lk_ice_candidate), LK_ICE_SRFLX_MAX);
    ice->tie_breaker = lk_rand_u64(env);
    new_credentials(ice);
}

static void forget_remote(lk_ice *ice)
{
    if (ice->remote_ufrag)
        memset(ice->remote_ufrag, 0, ice->remote_block);
    lk_release(ice->env, ice->remote_ufrag, ice->remote_block);
    ice->remote_ufrag = ice->remote_pwd = NULL;
    ice->remote_block = 0;
}

void lk_ice_deinit(lk_ice *ice)
{
    forget_remote(ice);
    lk_queue_deinit(&ice->locals);
    lk_queue_deinit(&ice->remotes);
    lk_queue_deinit(&ice->pairs);
    lk_queue_deinit(&ice->replies);
    lk_queue_deinit(&ice->events);
    lk_queue_deinit(&ice->gathers);
    lk_queue_deinit(&ice->srflx);
    memset(ice->pwd, 0, sizeof ice->pwd);
}

static void push_event(lk_ice *ice, const lk_ice_event *ev)
{
    if (lk_queue_push(&ice->events, ev) != LK_OK)
        ice->dropped++;
}

static void set_state(lk_ice *ice, lk_ice_state state)
{
    if (ice->state == state)
        return;
    ice->state = state;
    push_event(ice, &(lk_ice_event){.type = LK_ICE_EV_STATE, .state = state});
}

static uint64_t pair_priority(const lk_ice *ice, const lk_ice_pair *p)
{
    uint32_t l = local_at(ice, p->local)->priority, r = remote_at(ice, p->remote)->priority;
    return ice->config.controlling ? lk_ice_pair_priority(l, r) : lk_ice_pair_priority(r, l);
}

static bool may_pair(const lk_addr *l, const lk_addr *r)
{
    return l->family == r->family && lk_addr_is_loopback(l) == lk_addr_is_loopback(r) &&
           (l->family == 4 || lk_addr_is_link_local(l) == lk_addr_is_link_local(r));
}

static lk_ice_pair *find_pair(const lk_ice *ice, size_t local, size_t remote)
{
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        if (p->local == local && p->remote == remote)
            return p;
    }
    return NULL;
}

static lk_ice_pair *make_pair(lk_ice *ice, lk_usec now, size_t local, size_t remote)
{
    lk_ice_pair *p = find_pair(ice, local, remote);
    if (p || !may_pair(&local_at(ice, local)->addr, &remote_at(ice, remote)->addr))
        return p;
    lk_ice_pair fresh = {.local = (uint8_t)local, .remote = (uint8_t)remote,
                         .state = ice->remote_pwd ? LK_ICE_PAIR_WAITING : LK_ICE_PAIR_FROZEN};
    fresh.priority = pair_priority(ice, &fresh);
    if (lk_queue_push(&ice->pairs, &fresh) != LK_OK) {
        ice->dropped++;
        return NULL;
    }
    if (ice->state == LK_ICE_STATE_NEW) {
        ice->checking_since = now;
        set_state(ice, LK_ICE_STATE_CHECKING);
    }
    return pair_at(ice, ice->pairs.count - 1);
}

lk_err lk_ice_add_local(lk_ice *ice, lk_usec now, const lk_addr *addr)
{
    lk_ice_candidate c = {.addr = *addr, .type = LK_ICE_HOST};
    /* Earlier interfaces first, IPv6 before IPv4 of the same interface. [RFC8421] */
    uint32_t preference = 65535u - 2u * (uint32_t)ice->locals.count - (addr->family == 4 ? 1u : 0u);
    c.priority = lk_ice_candidate_priority(HOST_PREFERENCE, preference, 1);
    lk_ice_put_foundation(&c, &c.addr, NULL);
    lk_rand_text(ice->env, c.id, 8);
    lk_err err = lk_queue_push(&ice->locals, &c);
    if (err != LK_OK)
        return err;
    err = lk_ice_tell_candidate(ice, &c, NULL);
    if (err == LK_OK)
        err = lk_ice_gather_from(ice, now, ice->locals.count - 1);
    if (err != LK_OK)
        return err;
    for (size_t r = 0; r < ice->remotes.count; r++)
        (void)make_pair(ice, now, ice->locals.count - 1, r);
    return LK_OK;
}

static void reset_pair(lk_ice *ice, lk_ice_pair *p)
{
    bool was_selected = ice->selected >= 0 && pair_at(ice, (size_t)ice->selected) == p;
    p->state = LK_ICE_PAIR_WAITING;
    p->triggered = was_selected;
    p->nominating = p->use_candidate_wanted = p->send_now = false;
    p->tries = p->check_count = 0;
}

lk_err lk_ice_set_remote(lk_ice *ice, lk_usec now, lk_str ufrag, lk_str pwd, bool peer_is_lite)
{
    if (ufrag.len < 4 || pwd.len < 22 || ufrag.len > LK_ICE_CREDENTIAL_MAX || pwd.len > LK_ICE_CREDENTIAL_MAX)
        return LK_ERR_INVALID; /* [RFC8839 s5.4] */
    if (ice->remote_pwd && lk_str_eq(ufrag, ice->remote_ufrag) && lk_str_eq(pwd, ice->remote_pwd))
        return LK_OK;
    size_t size = ufrag.len + pwd.len + 2;
    char *block = (char *)lk_alloc0(ice->env, size);
    if (!block)
        return LK_ERR_NOMEM;
    forget_remote(ice);
    memcpy(block, ufrag.p, ufrag.len);
    memcpy(block + ufrag.len + 1, pwd.p, pwd.len);
    ice->remote_ufrag = block;
    ice->remote_pwd = block + ufrag.len + 1;
    ice->remote_block = size;
    ice->remote_lite = peer_is_lite;
    if (peer_is_lite && !ice->config.lite)
        ice->config.controlling = true; /* [RFC8445 s6.1.1] */
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        bool triggered = p->triggered;
        reset_pair(ice, p);
        p->triggered |= triggered;
        p->priority = pair_priority(ice, p);
    }
    ice->next_check_at = now;
    ice->checks_started = 0;
    if (ice->selected < 0)
        ice->checking_since = now;
    return LK_OK;
}

/* Multicast or broadcast: checks sent there would hit others. [RFC8445 s5.1.1.1] */
static bool is_group(const lk_addr *a)
{
    return a->family == 6 ? a->ip[0] == 0xff : a->ip[0] >= 224;
}

lk_err lk_ice_add_remote(lk_ice *ice, lk_usec now, lk_str line)
{
    lk_ice_line parsed;
    lk_ice_candidate c = {0};
    lk_err err = lk_ice_line_parse(&parsed, line);
    if (err != LK_OK)
        return err;
    if (parsed.component != 1 || !lk_str_ieq(parsed.protocol, "udp") || parsed.port == 0 ||
        !lk_addr_parse_ip(&c.addr, parsed.address) || lk_addr_is_unspecified(&c.addr) || is_group(&c.addr))
        return LK_OK;
    c.addr.port = parsed.port;
    c.priority = parsed.priority;
    c.type = lk_str_eq(parsed.type, "host")    ? LK_ICE_HOST
             : lk_str_eq(parsed.type, "srflx") ? LK_ICE_SRFLX
             : lk_str_eq(parsed.type, "relay") ? LK_ICE_RELAY
                                               : LK_ICE_PRFLX;
    (void)lk_str_copy(c.foundation, sizeof c.foundation, parsed.foundation);
    for (size_t i = 0; i < ice->remotes.count; i++) {
        lk_ice_candidate *known = remote_at(ice, i);
        if (!lk_addr_eq(&known->addr, &c.addr))
            continue;
        if (known->type == LK_ICE_PRFLX) { /* signalled later: keep the pair, learn what it is */
            known->type = c.type;
            memcpy(known->foundation, c.foundation, sizeof c.foundation);
        }
        return LK_OK;
    }
    if (ice->signalled == LK_ICE_REMOTE_MAX)
        return LK_ERR_LIMIT;
    lk_rand_text(ice->env, c.id, 8);
    err = lk_queue_push(&ice->remotes, &c);
    if (err != LK_OK)
        return err;
    ice->signalled++;
    for (size_t l = 0; l < ice->locals.count; l++)
        (void)make_pair(ice, now, l, ice->remotes.count - 1);
    return LK_OK;
}

void lk_ice_restart(lk_ice *ice, lk_usec now)
{
    new_credentials(ice);
    forget_remote(ice);
    ice->generation++;
    ice->checks_started = 0;
    ice->first_valid_at = LK_NEVER;
    ice->checking_since = now;
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        if ((int)i != ice->selected)
            p->state = LK_ICE_PAIR_FROZEN;
        p->nominating = p->triggered = p->send_now = p->nominated = false;
    }
    if (ice->state == LK_ICE_STATE_FAILED)
        set_state(ice, LK_ICE_STATE_CHECKING);
}

/* ---- checks --------------------------------------------------------------------------------------- */

static void start_check(lk_ice *ice, lk_ice_pair *p, lk_usec now)
{
    uint64_t a = lk_rand_u64(ice->env);
    uint32_t b = lk_rand_u32(ice->env);
    memcpy(p->checks[0].tid, &a, 8);
    memcpy(p->checks[0].tid + 8, &b, 4);
    p->check_count = 1;
    p->tries = 0;
    p->triggered = false;
    p->send_now = true;
    p->retry_at = now;
    if (p->state != LK_ICE_PAIR_SUCCEEDED)
        p->state = LK_ICE_PAIR_IN_PROGRESS;
}

/* The check under way is cancelled: sent no more, no failure, and an answer to it still counts. [RFC8445 s7.3.1.4] */
static void start_again(lk_ice *ice, lk_ice_pair *p, lk_usec now)
{
    uint8_t kept = LK_MIN(p->check_count, (uint8_t)(LK_ICE_CHECKS_MAX - 1));
    memmove(p->checks + 1, p->checks, kept * sizeof *p->checks);
    start_check(ice, p, now);
    p->check_count = (uint8_t)(kept + 1);
}

static void select_pair(lk_ice *ice, lk_ice_pair *p, lk_usec now)
{
    int index = -1;
    for (size_t i = 0; i < ice->pairs.count; i++)
        if (pair_at(ice, i) == p)
            index = (int)i;
    p->nominated = true;
    if (ice->selected != index) {
        ice->selected = index;
        ice->selected_changes++;
        push_event(ice, &(lk_ice_event){.type = LK_ICE_EV_SELECTED});
    }
    ice->answered_at = now;
    ice->consent_at = ice->config.lite ? LK_NEVER : now + CONSENT_MIN_USEC + lk_rand_below(ice->env, CONSENT_SPAN_USEC);
    set_state(ice, LK_ICE_STATE_CONNECTED);
}

static bool has_better_candidate(const lk_ice *ice, const lk_ice_pair *p)
{
    for (size_t i = 0; i < ice->pairs.count; i++) {
        const lk_ice_pair *o = pair_at(ice, i);
        if (o->priority > p->priority && (o->state == LK_ICE_PAIR_WAITING || o->state == LK_ICE_PAIR_IN_PROGRESS))
            return true;
    }
    return false;
}

/* The best pair that works. When the selected one has been silent for long, a pair that has answered since goes before
 * all others: the peer came to have another address. */
static lk_ice_pair *to_nominate(const lk_ice *ice, lk_usec now)
{
    lk_ice_pair *best = NULL;
    bool silent = ice->selected >= 0 && now >= ice->answered_at + DISCONNECTED_USEC, best_took_over = false;
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        bool takes_over = silent && (int)i != ice->selected && p->checks[0].sent_at > ice->answered_at;
        if (p->state != LK_ICE_PAIR_SUCCEEDED || (best_took_over && !takes_over))
            continue;
        if (!best || takes_over != best_took_over || p->priority > best->priority)
            best = p;
        best_took_over |= takes_over;
    }
    return best;
}

/* Controlling: once a pair works, tell the peer which one it is. */
static void nominate(lk_ice *ice, lk_usec now)
{
    if (!ice->config.controlling || ice->config.lite || ice->first_valid_at == LK_NEVER || !ice->remote_pwd)
        return;
    for (size_t i = 0; i < ice->pairs.count; i++)
        if (pair_at(ice, i)->nominating)
            return;
    lk_ice_pair *best = to_nominate(ice, now);
    if (!best || best->nominated || (now < ice->first_valid_at + NOMINATE_WAIT_USEC && has_better_candidate(ice, best)))
        return;
    best->nominating = true;
    start_check(ice, best, now);
}

static bool is_checking(const lk_ice *ice)
{
    return !ice->config.lite && ice->remote_pwd && (ice->selected < 0 || ice->first_valid_at == LK_NEVER);
}

static void pace(lk_ice *ice, lk_usec now)
{
    ice->next_check_at = now + (ice->checks_started++ < FAST_CHECKS ? PACE_FAST_USEC : PACE_USEC);
}

/* When a check under way is sent again; or started again because of one of the peer: Ta after it left and after any other began. */
static lk_usec due_at(const lk_ice *ice, const lk_ice_pair *p)
{
    bool open = p->state == LK_ICE_PAIR_IN_PROGRESS || p->nominating;
    if (!open || p->send_now || !ice->remote_pwd)
        return LK_NEVER;
    return p->triggered ? LK_MAX(p->checks[0].sent_at + PACE_USEC, ice->next_check_at) : p->retry_at;
}

static void run_checks(lk_ice *ice, lk_usec now)
{
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        if (p->triggered && p->state != LK_ICE_PAIR_IN_PROGRESS && ice->remote_pwd && !ice->config.lite)
            start_check(ice, p, now); /* not paced */
        if (now < due_at(ice, p))
            continue;
        if (p->triggered) {
            start_again(ice, p, now);
            pace(ice, now);
        } else if (p->tries >= TRIES_MAX) {
            p->state = LK_ICE_PAIR_FAILED;
            p->nominating = false;
        } else {
            p->send_now = true;
        }
    }
    while (is_checking(ice) && now >= ice->next_check_at) {
        lk_ice_pair *best = NULL;
        for (size_t i = 0; i < ice->pairs.count; i++) {
            lk_ice_pair *p = pair_at(ice, i);
            if (p->state == LK_ICE_PAIR_WAITING && (!best || p->priority > best->priority))
                best = p;
        }
        if (!best)
            break;
        start_check(ice, best, now);
        pace(ice, now);
    }
}

/* Consent is not asked for while the peer's new credentials are awaited, or while a nomination asks for the same. */
static bool asks_consent(const lk_ice *ice)
{
    return ice->remote_pwd && !pair_at(ice, (size_t)ice->selected)->nominating;
}

static void run_consent(lk_ice *ice, lk_usec now)
{
    if (ice->selected < 0 || ice->config.lite)
        return;
    lk_ice_pair *p = pair_at(ice, (size_t)ice->selected);
    if (now >= ice->answered_at + CONSENT_LOST_USEC) {
        ice->consent_at = LK_NEVER;
        set_state(ice, LK_ICE_STATE_FAILED);
        return;
    }
    if (now >= ice->answered_at + DISCONNECTED_USEC && ice->state == LK_ICE_STATE_CONNECTED)
        set_state(ice, LK_ICE_STATE_DISCONNECTED);
    if (now < ice->consent_at || !asks_consent(ice))
        return;
    start_again(ice, p, now); /* a way may be longer than our patience */
    p->consent_requests_sent++;
    ice->consent_pending = true;
    ice->consent_at = now + CONSENT_RETRY_USEC;
}

void lk_ice_tick(lk_ice *ice, lk_usec now)
{
    lk_ice_gather_tick(ice, now);
    run_checks(ice, now);
    nominate(ice, now);
    run_consent(ice, now);
    if (ice->state == LK_ICE_STATE_CHECKING && ice->selected < 0 && ice->checking_since != LK_NEVER &&
        now >= ice->checking_since + CHECKING_MAX_USEC)
        set_state(ice, LK_ICE_STATE_FAILED);
}

lk_usec lk_ice_deadline(const lk_ice *ice)
{
    lk_usec at = lk_ice_gather_deadline(ice);
    bool waiting = false, nominating = false, nominated = false, valid = false;
    if (ice->state == LK_ICE_STATE_FAILED)
        return LK_NEVER;
    for (size_t i = 0; i < ice->pairs.count; i++) {
        const lk_ice_pair *p = pair_at(ice, i);
        const lk_usec due = due_at(ice, p);
        at = LK_MIN(at, due);
        waiting |= p->state == LK_ICE_PAIR_WAITING;
        nominating |= p->nominating;
        nominated |= p->nominated;
        valid |= p->state == LK_ICE_PAIR_SUCCEEDED;
    }
    if (waiting && is_checking(ice))
        at = LK_MIN(at, ice->next_check_at);
    if (ice->state == LK_ICE_STATE_CHECKING && ice->selected < 0 && ice->checking_since != LK_NEVER)
        at = LK_MIN(at, ice->checking_since + CHECKING_MAX_USEC);
    if (ice->config.controlling && !ice->config.lite && ice->remote_pwd && ice->first_valid_at != LK_NEVER && valid && !nominating && !nominated)
        at = LK_MIN(at, ice->first_valid_at + NOMINATE_WAIT_USEC);
    if (ice->selected >= 0 && !ice->config.lite) {
        if (asks_consent(ice))
            at = LK_MIN(at, ice->consent_at);
        at = LK_MIN(at, ice->answered_at + (ice->state == LK_ICE_STATE_CONNECTED ? DISCONNECTED_USEC : CONSENT_LOST_USEC));
    }
    return at;
}

static void write_request(lk_ice *ice, lk_ice_pair *p, lk_wr *w)
{
    char username[LK_ICE_CREDENTIAL_MAX + LK_ICE_UFRAG_LEN + 2];
    size_t n = strlen(ice->remote_ufrag);
    memcpy(username, ice->remote_ufrag, n);
    username[n++] = ':';
    memcpy(username + n, ice->ufrag, LK_ICE_UFRAG_LEN);
    n += LK_ICE_UFRAG_LEN;
    lk_stun_begin(w, LK_STUN_BINDING, LK_STUN_REQUEST, p->checks[0].tid);
    lk_stun_put(w, LK_STUN_USERNAME, username, n);
    lk_stun_put_u64(w, ice->config.controlling ? LK_STUN_ICE_CONTROLLING : LK_STUN_ICE_CONTROLLED, ice->tie_breaker);
    /* The priority a peer-reflexive candidate seen by the peer would have. [RFC8445 s7.1.1] */
    lk_stun_put_u32(w, LK_STUN_PRIORITY,
                    (local_at(ice, p->local)->priority & 0x00ffffffu) | ((uint32_t)PRFLX_PREFERENCE << 24));
    if (ice->config.controlling && (p->nominating || p->nominated))
        lk_stun_put(w, LK_STUN_USE_CANDIDATE, NULL, 0);
    lk_stun_put_integrity(w, ice->remote_pwd, strlen(ice->remote_pwd));
    lk_stun_put_fingerprint(w);
}

static bool poll_reply(lk_ice *ice, lk_datagram *out)
{
    lk_ice_reply r;
    if (!lk_queue_pop(&ice->replies, &r))
        return false;
    lk_wr w = lk_wr_of(ice->tx, sizeof ice->tx);
    lk_stun_begin(&w, LK_STUN_BINDING, r.error ? LK_STUN_ERROR : LK_STUN_SUCCESS, r.tid);
    if (r.error)
        lk_stun_put_error(&w, r.error, "Role Conflict");
    else
        lk_stun_put_xor_addr(&w, LK_STUN_XOR_MAPPED_ADDRESS, &r.remote);
    lk_stun_put_integrity(&w, ice->pwd, LK_ICE_PWD_LEN);
    lk_stun_put_fingerprint(&w);
    *out = (lk_datagram){r.local, r.remote, w.data, w.len};
    return !w.bad;
}

bool lk_ice_poll_tx(lk_ice *ice, lk_usec now, lk_datagram *out)
{
    while (ice->replies.count)
        if (poll_reply(ice, out))
            return true;
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        if (!p->send_now)
            continue;
        p->send_now = false;
        if (!ice->remote_pwd)
            continue;
        lk_wr w = lk_wr_of(ice->tx, sizeof ice->tx);
        write_request(ice, p, &w);
        p->checks[0].sent_at = now;
        p->checks[0].controlling = ice->config.controlling;
        p->requests_sent++;
        lk_usec wait = RETRY_FIRST_USEC << LK_MIN(p->tries, (uint8_t)5);
        p->tries++;
        p->retry_at = now + LK_MIN(wait, RETRY_MAX_USEC);
        *out = (lk_datagram){local_at(ice, p->local)->addr, remote_at(ice, p->remote)->addr, w.data, w.len};
        if (!w.bad)
            return true;
    }
    return lk_ice_gather_poll_tx(ice, now, out);
}

bool lk_ice_poll_event(lk_ice *ice, lk_ice_event *out)
{
    return lk_queue_pop(&ice->events, out);
}

/* ---- what arrives --------------------------------------------------------------------------------- */

static int find_local(const lk_ice *ice, const lk_addr *a)
{
    for (size_t i = 0; i < ice->locals.count; i++)
        if (lk_addr_eq(&local_at(ice, i)->addr, a))
            return (int)i;
    return -1;
}

static int find_remote(const lk_ice *ice, const lk_addr *a)
{
    for (size_t i = 0; i < ice->remotes.count; i++)
        if (lk_addr_eq(&remote_at(ice, i)->addr, a))
            return (int)i;
    return -1;
}

static bool username_is_ours(const lk_ice *ice, const lk_stun_msg *m)
{
    const lk_stun_attr *a = lk_stun_find(m, LK_STUN_USERNAME);
    if (!a)
        return false;
    lk_str all = {(const char *)a->value, a->len}, mine = lk_str_cut(&all, ':');
    return lk_str_eq(mine, ice->ufrag) && (!ice->remote_ufrag || lk_str_eq(all, ice->remote_ufrag));
}

static void switch_role(lk_ice *ice, bool controlling)
{
    ice->config.controlling = controlling;
    ice->role_switches++;
    for (size_t i = 0; i < ice->pairs.count; i++) {
        lk_ice_pair *p = pair_at(ice, i);
        p->priority = pair_priority(ice, p);
        if (!controlling)
            p->nominating = false;
    }
}

/* False when the request was answered with 487. [RFC8445 s7.3.1.1] */
static bool settle_role(lk_ice *ice, const lk_stun_msg *m, const lk_datagram *in)
{
    const lk_stun_attr *controlling = lk_stun_find(m, LK_STUN_ICE_CONTROLLING);
    const lk_stun_attr *controlled = lk_stun_find(m, LK_STUN_ICE_CONTROLLED);
    uint64_t theirs;
    if (ice->config.controlling ? !controlling : !controlled)
        return true;
    if (!lk_stun_u64(ice->config.controlling ? controlling : controlled, &theirs))
        return true;
    bool we_win = ice->tie_breaker >= theirs;
    if (we_win == ice->config.controlling && !ice->config.lite) {
        lk_ice_reply r = {in->local, in->remote, {0}, 487, 0};
        memcpy(r.tid, m->tid, sizeof r.tid);
        if (lk_queue_push(&ice->replies, &r) != LK_OK)
            ice->dropped++;
        return false;
    }
    if (!ice->config.lite)
        switch_role(ice, !ice->config.controlling);
    return true;
}

static int learn_remote(lk_ice *ice, const lk_stun_msg *m, const lk_addr *from)
{
    uint32_t priority = 0;
    const lk_stun_attr *a = lk_stun_find(m, LK_STUN_PRIORITY);
    if (!a || !lk_stun_u32(a, &priority) || ice->reflexive == LK_ICE_PRFLX_MAX)
        return -1;
    lk_ice_candidate c = {.addr = *from, .priority = priority, .type = LK_ICE_PRFLX};
    lk_ice_put_foundation(&c, &c.addr, NULL);
    lk_rand_text(ice->env, c.id, 8);
    if (lk_queue_push(&ice->remotes, &c) != LK_OK)
        return -1;
    ice->reflexive++;
    return (int)ice->remotes.count - 1;
}

static void on_request(lk_ice *ice, lk_usec now, const lk_stun_msg *m, const lk_datagram *in)
{
    int local = find_local(ice, &in->local);
    bool trusted = LK_CANARY_IS(LK_CANARY_AUTH) && lk_stun_find(m, LK_STUN_USE_CANDIDATE);
    if (local < 0 || !username_is_ours(ice, m) ||
        (!trusted && lk_stun_check_integrity(m, ice->pwd, LK_ICE_PWD_LEN) != LK_STUN_CHECK_OK)) {
        ice->dropped++;
        return;
    }
    if (!settle_role(ice, m, in))
        return;
    int remote = find_remote(ice, &in->remote);
    if (remote < 0)
        remote = learn_remote(ice, m, &in->remote);
    lk_ice_pair *p = remote < 0 ? NULL : make_pair(ice, now, (size_t)local, (size_t)remote);
    if (!p) {
        ice->dropped++;
        return;
    }
    p->requests_received++;
    p->responses_sent++;
    lk_ice_reply r = {.local = in->local, .remote = in->remote};
    memcpy(r.tid, m->tid, sizeof r.tid);
    if (lk_queue_push(&ice->replies, &r) != LK_OK)
        ice->dropped++;
    bool use = !ice->config.controlling && lk_stun_find(m, LK_STUN_USE_CANDIDATE);
    if (ice->config.lite) {
        p->state = LK_ICE_PAIR_SUCCEEDED;
        if (use || ice->selected >= 0)
            ice->answered_at = now;
        if (use)
            select_pair(ice, p, now);
        return;
    }
    /* A pair that is selected already gains nothing: its consent comes from our own checks alone. [RFC7675 s5.1] But we are awake
     * now: a check that may leave leaves with the answer, and idle pairs wake up half as often. */
    bool selected = ice->selected >= 0 && pair_at(ice, (size_t)ice->selected) == p;
    if (selected && !ice->consent_pending && ice->consent_at != LK_NEVER && now >= ice->answered_at + CONSENT_MIN_USEC) {
        ice->consent_at = LK_MIN(ice->consent_at, now);
        run_consent(ice, now);
    }
    if (use && p->state == LK_ICE_PAIR_SUCCEEDED && !selected)
        select_pair(ice, p, now);
    else if (use && p->state != LK_ICE_PAIR_SUCCEEDED)
        p->use_candidate_wanted = true;
    /* [RFC8445 s7.3.1.4] Not when ours is about to leave, or was started again often enough. */
    bool enough = p->state == LK_ICE_PAIR_IN_PROGRESS && (p->send_now || p->check_count == LK_ICE_CHECKS_MAX);
    p->triggered |= p->state != LK_ICE_PAIR_SUCCEEDED && !enough;
}

static void on_success(lk_ice *ice, lk_usec now, lk_ice_pair *p, const lk_ice_check *c)
{
    bool was_nominating = p->nominating;
    p->responses_received++;
    p->current_rtt_usec = now - c->sent_at;
    p->total_rtt_usec += p->current_rtt_usec;
    p->state = LK_ICE_PAIR_SUCCEEDED;
    p->send_now = p->nominating = p->triggered = false;
    p->check_count = 0;
    if (ice->first_valid_at == LK_NEVER)
        ice->first_valid_at = now;
    bool is_selected = ice->selected >= 0 && pair_at(ice, (size_t)ice->selected) == p;
    if (was_nominating || p->use_candidate_wanted) {
        p->use_candidate_wanted = false;
        select_pair(ice, p, now);
    } else if (is_selected) {
        ice->answered_at = now;
        ice->consent_pending = false;
        ice->consent_at = now + CONSENT_MIN_USEC + lk_rand_below(ice->env, CONSENT_SPAN_USEC);
        set_state(ice, LK_ICE_STATE_CONNECTED);
    }
}

static const lk_ice_check *find_check(const lk_ice_pair *p, const uint8_t tid[12])
{
    for (size_t i = 0; i < p->check_count; i++)
        if (memcmp(p->checks[i].tid, tid, sizeof p->checks[i].tid) == 0)
            return &p->checks[i];
    return NULL;
}

static void on_response(lk_ice *ice, lk_usec now, const lk_stun_msg *m, const lk_datagram *in)
{
    lk_ice_pair *p = NULL;
    const lk_ice_check *c = NULL;
    for (size_t i = 0; i < ice->pairs.count && !c; i++) {
        p = pair_at(ice, i);
        c = find_check(p, m->tid);
    }
    /* Only from where we asked, only with the peer's password. [RFC8445 s7.2.5.2.1] */
    if (!c || !ice->remote_pwd || !lk_addr_eq(&remote_at(ice, p->remote)->addr, &in->remote) ||
        !lk_addr_eq(&local_at(ice, p->local)->addr, &in->local) ||
        lk_stun_check_integrity(m, ice->remote_pwd, strlen(ice->remote_pwd)) != LK_STUN_CHECK_OK) {
        ice->dropped++;
        return;
    }
    if (m->cls == LK_STUN_SUCCESS) {
        on_success(ice, now, p, c);
        return;
    }
    if (c != p->checks)
        return; /* one that is cancelled was refused: the newer one will be answered for itself */
    const lk_stun_attr *a = lk_stun_find(m, LK_STUN_ERROR_CODE);
    if (a && lk_stun_error_code(a) == 487) {
        switch_role(ice, !c->controlling);
        p->nominating = false;
        p->state = LK_ICE_PAIR_WAITING;
        p->triggered = true;
    } else if (p->state == LK_ICE_PAIR_IN_PROGRESS) {
        p->state = LK_ICE_PAIR_FAILED;
    }
}

void lk_ice_input(lk_ice *ice, lk_usec now, const lk_datagram *in)
{
    lk_stun_msg m;
    bool whole = lk_stun_parse(&m, in->data, in->len) == LK_OK && m.method == LK_STUN_BINDING;
    lk_stun_check fingerprint = whole ? lk_stun_check_fingerprint(&m) : LK_STUN_CHECK_FAIL;
    bool answer = whole && (m.cls == LK_STUN_SUCCESS || m.cls == LK_STUN_ERROR);
    /* STUN servers need not send one. [RFC8489 s7] */
    if (answer && fingerprint != LK_STUN_CHECK_FAIL && lk_ice_gather_input(ice, &m, in)) {
        lk_ice_tick(ice, now);
        return;
    }
    if (fingerprint != LK_STUN_CHECK_OK) {
        ice->dropped++;
        return;
    }
    if (m.cls == LK_STUN_REQUEST)
        on_request(ice, now, &m, in);
    else if (m.cls == LK_STUN_SUCCESS || m.cls == LK_STUN_ERROR)
        on_response(ice, now, &m, in);
    lk_ice_tick(ice, now);
}

bool lk_ice_selected(const lk_ice *ice, lk_addr *local, lk_addr *remote)
{
    if (ice->selected < 0 || ice->state == LK_ICE_STATE_FAILED)
        return false;
    const lk_ice_pair *p = pair_at(ice, (size_t)ice->selected);
    *local = local_at(ice, p->local)->addr;
    *remote = remote_at(ice, p->remote)->addr;
    return true;
}

bool lk_ice_is_valid(const lk_ice *ice, const lk_addr *local, const lk_addr *remote)
{
    for (size_t i = 0; i < ice->pairs.count; i++) {
        const lk_ice_pair *p = pair_at(ice, i);
        if ((p->state == LK_ICE_PAIR_SUCCEEDED || p->nominated || p->requests_received) &&
            lk_addr_eq(&remote_at(ice, p->remote)->addr, remote) && lk_addr_eq(&local_at(ice, p->local)->addr, local))
            return true;
    }
    return false;
}
