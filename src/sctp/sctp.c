// SPDX-License-Identifier: Apache-2.0
/* The verbs; how an association begins and ends. */
#include "sctp/sctp_internal.h"

#define HEARTBEAT_MAX 512u
#define COOKIE_MAX 900u /* has to fit into a packet of ours */
#define MTU_MIN 576u

static void config_defaults(lk_sctp_config *c)
{
    c->local_port = c->local_port ? c->local_port : LK_SCTP_PORT;
    c->remote_port = c->remote_port ? c->remote_port : LK_SCTP_PORT;
    c->mtu_bytes = c->mtu_bytes ? LK_CLAMP(c->mtu_bytes, MTU_MIN, 65532u) : LK_SCTP_MTU;
    c->streams = c->streams ? LK_MIN(c->streams, 65535u) : 1024;
    c->send_buffer_bytes = c->send_buffer_bytes ? c->send_buffer_bytes : 2u << 20;
    c->receive_buffer_bytes = c->receive_buffer_bytes ? c->receive_buffer_bytes : 1u << 20;
    c->message_max_bytes = c->message_max_bytes ? c->message_max_bytes : LK_SCTP_MESSAGE_MAX;
}

lk_err lk_sctp_new(lk_sctp **out, const lk_env *env, const lk_sctp_config *config, lk_usec now)
{
    lk_sctp *s = (lk_sctp *)lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->config = config ? *config : (lk_sctp_config){0};
    config_defaults(&s->config);
    s->packet = (uint8_t *)lk_alloc(env, s->config.mtu_bytes);
    if (!s->packet) {
        lk_release(env, s, sizeof *s);
        return LK_ERR_NOMEM;
    }
    while (s->tag == 0)
        s->tag = lk_rand_u32(env);
    s->initial_tsn = lk_rand_u32(env);
    s->cookie_key[0] = lk_rand_u64(env);
    s->cookie_key[1] = lk_rand_u64(env);
    s->payload_max = (s->config.mtu_bytes - SCTP_HEADER_LEN - SCTP_DATA_HEAD) & ~3u;
    s->t1_at = LK_NEVER;
    lk_sctp_tx_init(s);
    lk_sctp_cc_init(s, now);
    lk_sctp_rx_init(s);
    *out = s;
    return LK_OK;
}

static void free_control(lk_sctp *s)
{
    lk_release(s->env, s->cookie, s->cookie_len);
    lk_release(s->env, s->heartbeat, s->heartbeat_len);
    s->cookie = s->heartbeat = NULL;
    s->cookie_len = s->heartbeat_len = 0;
    lk_sctp_reset_free(s);
}

void lk_sctp_free(lk_sctp *s)
{
    if (!s)
        return;
    const lk_env *env = s->env;
    free_control(s);
    lk_sctp_tx_free(s);
    lk_sctp_rx_free(s);
    lk_sctp_pool_trim(s, true);
    lk_release(env, s->packet, s->config.mtu_bytes);
    lk_release(env, s, sizeof *s);
}

/* ---- phases ---- */
static void set_due(lk_sctp *s, uint32_t what) { s->due |= what; }
static void unset_due(lk_sctp *s, uint32_t what) { s->due &= ~what; }

void lk_sctp_close(lk_sctp *s, lk_err err)
{
    if (s->phase == PHASE_CLOSED)
        return;
    s->phase = PHASE_CLOSED;
    s->closed_event = true;
    s->closed_err = err;
    s->t1_at = s->cc.timer_at = s->cc.rack_at = s->rx.sack_at = LK_NEVER;
    s->due &= DUE_ABORT | DUE_SHUTDOWN_COMPLETE;
    lk_sctp_tx_free(s);
    lk_sctp_pool_trim(s, true);
    free_control(s);
    LK_LOG(s->env, LK_LOG_DEBUG, "sctp.closed", LK_S("reason", lk_err_name(err)));
}

static void set_phase(lk_sctp *s, sctp_phase phase)
{
    s->phase = phase;
    s->tries = 0;
    s->t1_at = LK_NEVER;
}

static void adopt(lk_sctp *s, const sctp_init_ack *peer)
{
    s->peer_tag = peer->peer_tag;
    s->rx.cumulative = peer->peer_tsn - 1;
    s->reset_peer_seq = peer->peer_tsn;
    s->forward_tsn = peer->forward_tsn;
    s->reconfig = peer->reconfig;
    s->zero_checksum = peer->zero_checksum && !s->config.checksums;
    s->answer = *peer;
}

static void come_up(lk_sctp *s)
{
    set_phase(s, PHASE_UP);
    unset_due(s, DUE_INIT | DUE_COOKIE_ECHO);
    lk_release(s->env, s->cookie, s->cookie_len);
    s->cookie = NULL;
    s->cookie_len = 0;
    s->connected_event = true;
    lk_sctp_tx_start(s, &s->answer);
    lk_sctp_reset_step(s);
    LK_LOG(s->env, LK_LOG_DEBUG, "sctp.connected", LK_I("streams", s->tx.streams_max));
}

/* Ending goes on once everything was delivered. [RFC9260 s9.2] */
static void step_shutdown(lk_sctp *s)
{
    if (!sctp_tx_is_drained(s))
        return;
    if (s->phase == PHASE_SHUTDOWN_PENDING) {
        set_phase(s, PHASE_SHUTDOWN_SENT);
        set_due(s, DUE_SHUTDOWN);
    } else if (s->phase == PHASE_SHUTDOWN_RECEIVED) {
        set_phase(s, PHASE_SHUTDOWN_ACK_SENT);
        set_due(s, DUE_SHUTDOWN_ACK);
    }
}

lk_err lk_sctp_connect(lk_sctp *s, lk_usec now)
{
    LK_UNUSED(now);
    lk_sctp_rx_forget_given(s);
    if (s->phase > PHASE_UP)
        return LK_ERR_STATE;
    if (s->phase == PHASE_NEW) {
        set_phase(s, PHASE_COOKIE_WAIT);
        set_due(s, DUE_INIT);
    }
    return LK_OK;
}

void lk_sctp_abort(lk_sctp *s, lk_usec now)
{
    LK_UNUSED(now);
    lk_sctp_rx_forget_given(s);
    if (s->phase == PHASE_CLOSED)
        return;
    if (s->phase > PHASE_COOKIE_WAIT)
        set_due(s, DUE_ABORT);
    lk_sctp_close(s, LK_OK);
}

void lk_sctp_shutdown(lk_sctp *s, lk_usec now)
{
    lk_sctp_rx_forget_given(s);
    if (s->phase < PHASE_UP) {
        lk_sctp_abort(s, now);
    } else if (s->phase == PHASE_UP) {
        set_phase(s, PHASE_SHUTDOWN_PENDING);
        step_shutdown(s);
    }
}

/* ---- INIT, INIT ACK, COOKIE ECHO, COOKIE ACK [RFC9260 s5] ---- */

/* Same tag and first TSN in INIT and INIT ACK, so INITs that cross end in one association. An INIT while we are up is an
 * old one, or a peer that started over: that comes with a new DTLS connection and a new association here. */
static void on_init(lk_sctp *s, const lk_sctp_chunk *c)
{
    lk_sctp_init i;
    if (s->phase > PHASE_COOKIE_ECHOED || lk_sctp_init_parse(&i, c) != LK_OK) {
        s->counters.dropped++;
        return;
    }
    sctp_init_ack answer = {i.tag, i.tsn, i.rwnd_bytes, i.streams_in, i.streams_out,
                            i.forward_tsn, i.reconfig, i.zero_checksum};
    s->init_answer = answer;
    set_due(s, DUE_INIT_ACK);
}

static void on_init_ack(lk_sctp *s, const lk_sctp_chunk *c)
{
    lk_sctp_init i;
    if (s->phase != PHASE_COOKIE_WAIT || lk_sctp_init_parse(&i, c) != LK_OK || i.cookie.len == 0 ||
        i.cookie.len > LK_MIN(COOKIE_MAX, s->config.mtu_bytes - 20)) {
        s->counters.dropped++;
        return;
    }
    uint8_t *cookie = (uint8_t *)lk_alloc(s->env, i.cookie.len);
    if (!cookie)
        return; /* the INIT is repeated */
    memcpy(cookie, i.cookie.data, i.cookie.len);
    s->cookie = cookie;
    s->cookie_len = i.cookie.len;
    sctp_init_ack peer = {i.tag, i.tsn, i.rwnd_bytes, i.streams_in, i.streams_out,
                          i.forward_tsn, i.reconfig, i.zero_checksum};
    adopt(s, &peer);
    set_phase(s, PHASE_COOKIE_ECHOED);
    unset_due(s, DUE_INIT);
    set_due(s, DUE_COOKIE_ECHO);
}

static void on_cookie_echo(lk_sctp *s, lk_usec now, const lk_sctp_chunk *c)
{
    sctp_init_ack peer;
    lk_err err = lk_sctp_cookie_read(s, now, c->value, c->len, &peer);
    if (err == LK_ERR_TIMEOUT && s->phase < PHASE_UP) {
        s->stale_tag = peer.peer_tag;
        set_due(s, DUE_STALE_COOKIE);
    } else if (err != LK_OK || s->phase == PHASE_CLOSED || (s->phase >= PHASE_UP && peer.peer_tag != s->peer_tag)) {
        s->counters.dropped++;
    } else {
        if (s->phase < PHASE_UP) {
            adopt(s, &peer);
            come_up(s);
        }
        set_due(s, DUE_COOKIE_ACK);
    }
}

/* The cookie we echoed has aged: begin again. [RFC9260 s5.2.6] */
static void on_error(lk_sctp *s, const lk_sctp_chunk *c)
{
    if (s->phase != PHASE_COOKIE_ECHOED || c->len < 4 || lk_get_u16(c->value) != SCTP_CAUSE_STALE_COOKIE)
        return;
    uint32_t tries = s->tries;
    lk_release(s->env, s->cookie, s->cookie_len);
    s->cookie = NULL;
    s->cookie_len = 0;
    unset_due(s, DUE_COOKIE_ECHO);
    set_phase(s, PHASE_COOKIE_WAIT);
    s->tries = tries + 1;
    set_due(s, DUE_INIT);
}

static void on_heartbeat(lk_sctp *s, const lk_sctp_chunk *c)
{
    if (c->len > HEARTBEAT_MAX)
        return;
    uint8_t *copy = (uint8_t *)lk_alloc(s->env, c->len + 1);
    if (!copy)
        return;
    if (c->len)
        memcpy(copy, c->value, c->len);
    lk_release(s->env, s->heartbeat, s->heartbeat_len);
    s->heartbeat = copy;
    s->heartbeat_len = c->len + 1;
    set_due(s, DUE_HEARTBEAT_ACK);
}

static void on_shutdown(lk_sctp *s, lk_usec now, const lk_sctp_chunk *c)
{
    if (c->len < 4) {
        s->counters.dropped++;
        return;
    }
    lk_sctp_on_cumulative(s, now, lk_get_u32(c->value));
    if (s->phase == PHASE_UP || s->phase == PHASE_SHUTDOWN_PENDING)
        set_phase(s, PHASE_SHUTDOWN_RECEIVED);
    else if (s->phase == PHASE_SHUTDOWN_SENT || s->phase == PHASE_SHUTDOWN_ACK_SENT) { /* both at once */
        s->phase = PHASE_SHUTDOWN_ACK_SENT;
        set_due(s, DUE_SHUTDOWN_ACK);
    }
}

static void on_shutdown_ack(lk_sctp *s)
{
    if (s->phase != PHASE_SHUTDOWN_SENT && s->phase != PHASE_SHUTDOWN_ACK_SENT)
        return;
    set_due(s, DUE_SHUTDOWN_COMPLETE);
    lk_sctp_close(s, LK_OK);
}

/* Chunks of an association that is up. */
static void on_chunk_up(lk_sctp *s, lk_usec now, const lk_sctp_chunk *c)
{
    switch (c->type) {
    case SCTP_DATA:
        lk_sctp_on_data(s, c);
        if (s->phase == PHASE_SHUTDOWN_SENT)
            set_due(s, DUE_SHUTDOWN); /* says again how far we are */
        break;
    case SCTP_SACK:
        lk_sctp_on_sack(s, now, c);
        break;
    case SCTP_FORWARD_TSN:
        lk_sctp_on_forward(s, c);
        break;
    case SCTP_RECONFIG:
        lk_sctp_on_reconfig(s, c);
        break;
    case SCTP_HEARTBEAT:
        on_heartbeat(s, c);
        break;
    case SCTP_SHUTDOWN:
        on_shutdown(s, now, c);
        break;
    case SCTP_SHUTDOWN_ACK:
        on_shutdown_ack(s);
        break;
    default:
        break;
    }
}

/* True: go on with the chunks behind it. */
static bool on_chunk(lk_sctp *s, lk_usec now, const lk_sctp_chunk *c)
{
    switch (c->type) {
    case SCTP_INIT:
        s->counters.dropped++; /* not in company, not with our tag */
        return false;
    case SCTP_INIT_ACK:
        on_init_ack(s, c);
        return false;
    case SCTP_COOKIE_ECHO:
        on_cookie_echo(s, now, c);
        return true;
    case SCTP_COOKIE_ACK:
        if (s->phase == PHASE_COOKIE_ECHOED)
            come_up(s);
        return true;
    case SCTP_ERROR:
        on_error(s, c);
        return true;
    case SCTP_ABORT:
        lk_sctp_close(s, LK_ERR_CLOSED);
        return false;
    default:
        break;
    }
    /* Who sends these with our tag has got our cookie: its answer was lost on the way. */
    bool implies_up = c->type == SCTP_DATA || c->type == SCTP_SACK || c->type == SCTP_HEARTBEAT;
    if (s->phase == PHASE_COOKIE_ECHOED && implies_up)
        come_up(s);
    if (sctp_is_up(s))
        on_chunk_up(s, now, c);
    else
        s->counters.dropped++;
    /* What we do not know is skipped or ends the packet, as its highest bit says. [RFC9260 s3.2] */
    bool known = c->type <= SCTP_COOKIE_ACK || c->type == SCTP_SHUTDOWN_COMPLETE || c->type == SCTP_RECONFIG ||
                 c->type == SCTP_FORWARD_TSN;
    s->counters.dropped += !known;
    return known || (c->type & 0x80);
}

/* The tag proves that the packet belongs here. [RFC9260 s8.5] */
static bool check_tag(lk_sctp *s, const lk_sctp_packet *p, const lk_sctp_chunk *first)
{
    bool reflected = (first->flags & SCTP_FLAG_T) && s->peer_tag != 0 && p->tag == s->peer_tag;
    switch (first->type) {
    case SCTP_INIT:
        return p->tag == 0;
    case SCTP_ABORT:
        return p->tag == s->tag || reflected;
    case SCTP_SHUTDOWN_COMPLETE:
        if ((p->tag == s->tag || reflected) && s->phase == PHASE_SHUTDOWN_ACK_SENT)
            lk_sctp_close(s, LK_OK);
        return p->tag == s->tag || reflected;
    default:
        return p->tag == s->tag;
    }
}

void lk_sctp_input(lk_sctp *s, lk_usec now, const uint8_t *data, size_t len)
{
    lk_sctp_packet p;
    lk_sctp_chunk c;
    lk_sctp_rx_forget_given(s);
    s->counters.packets_received++;
    s->counters.bytes_received += len;
    if (lk_sctp_packet_parse(&p, data, len, !s->config.checksums) != LK_OK || p.source != s->config.remote_port ||
        p.destination != s->config.local_port || !lk_sctp_chunk_next(&p.chunks, &c) || !check_tag(s, &p, &c)) {
        s->counters.dropped++;
        return;
    }
    if (c.type == SCTP_INIT) {
        if (lk_rd_left(&p.chunks) == 0)
            on_init(s, &c);
        else
            s->counters.dropped++;
        return;
    }
    while (s->phase != PHASE_CLOSED && on_chunk(s, now, &c) && lk_sctp_chunk_next(&p.chunks, &c)) {
    }
    s->counters.dropped += p.chunks.bad;
    if (s->phase == PHASE_CLOSED)
        return;
    lk_sctp_rx_packet_done(s, now);
    lk_sctp_reset_step(s);
    step_shutdown(s);
}

/* ---- time ---- */
static void on_t1(lk_sctp *s)
{
    static const struct {
        sctp_phase phase;
        sctp_due due;
        uint32_t tries;
    } table[] = {
        {PHASE_COOKIE_WAIT, DUE_INIT, SCTP_INIT_TRIES},
        {PHASE_COOKIE_ECHOED, DUE_COOKIE_ECHO, SCTP_INIT_TRIES},
        {PHASE_SHUTDOWN_SENT, DUE_SHUTDOWN, SCTP_TRIES},
        {PHASE_SHUTDOWN_ACK_SENT, DUE_SHUTDOWN_ACK, SCTP_TRIES},
    };
    s->t1_at = LK_NEVER;
    for (size_t i = 0; i < LK_LEN(table); i++) {
        if (table[i].phase != s->phase)
            continue;
        if (++s->tries > table[i].tries)
            lk_sctp_close(s, LK_ERR_TIMEOUT);
        else
            set_due(s, table[i].due);
        return;
    }
}

void lk_sctp_tick(lk_sctp *s, lk_usec now)
{
    lk_sctp_rx_forget_given(s);
    if (s->rx.sack_at <= now) {
        s->rx.sack_at = LK_NEVER;
        set_due(s, DUE_SACK);
    }
    if (s->t1_at <= now)
        on_t1(s);
    if (s->cc.rack_at <= now) {
        lk_sctp_on_rack(s, now);
        lk_sctp_arm(s, now, false);
    }
    if (s->cc.timer_at <= now)
        lk_sctp_on_timer(s, now);
    if (s->reset && s->reset->at <= now)
        lk_sctp_reset_timer(s);
    lk_sctp_reset_step(s);
    step_shutdown(s);
}

lk_usec lk_sctp_deadline(const lk_sctp *s)
{
    lk_usec at = LK_MIN(s->t1_at, s->rx.sack_at);
    at = LK_MIN(at, s->cc.timer_at);
    at = LK_MIN(at, s->cc.rack_at);
    return s->reset ? LK_MIN(at, s->reset->at) : at;
}

/* ---- packets ---- */
static void write_init(lk_sctp *s, lk_wr *w, uint8_t type, const uint8_t *cookie, size_t cookie_len)
{
    size_t at = lk_sctp_chunk_begin(w, type, 0);
    lk_wr_u32(w, s->tag);
    lk_wr_u32(w, lk_sctp_rwnd(s));
    lk_wr_u16(w, (uint16_t)s->config.streams);
    lk_wr_u16(w, (uint16_t)s->config.streams);
    lk_wr_u32(w, s->initial_tsn);
    if (cookie) {
        lk_wr_u16(w, SCTP_PARAM_COOKIE);
        lk_wr_u16(w, (uint16_t)(4 + cookie_len));
        lk_wr_put(w, cookie, cookie_len);
    }
    lk_wr_u16(w, SCTP_PARAM_FORWARD_TSN);
    lk_wr_u16(w, 4);
    if (!s->config.checksums) {
        lk_wr_u16(w, SCTP_PARAM_ZERO_CHECKSUM);
        lk_wr_u16(w, 8);
        lk_wr_u32(w, SCTP_ZERO_CHECKSUM_DTLS);
    }
    lk_wr_u16(w, SCTP_PARAM_EXTENSIONS);
    lk_wr_u16(w, 6);
    lk_wr_u8(w, SCTP_RECONFIG);
    lk_wr_u8(w, SCTP_FORWARD_TSN);
    lk_wr_u16(w, 0); /* padding of the last parameter */
    w->len -= 2;
    lk_sctp_chunk_end(w, at);
}

static void start_t1(lk_sctp *s, lk_usec now)
{
    lk_usec wait = s->cc.rto << LK_MIN(s->tries, 4u);
    s->t1_at = now + LK_MIN(wait, SCTP_RTO_MAX);
}

static void write_empty(lk_wr *w, uint8_t type, uint8_t flags)
{
    lk_sctp_chunk_end(w, lk_sctp_chunk_begin(w, type, flags));
}

static bool take_due(lk_sctp *s, uint32_t what)
{
    bool is_due = (s->due & what) != 0;
    unset_due(s, what);
    return is_due;
}

static void begin(const lk_sctp *s, lk_wr *w, uint32_t tag)
{
    lk_sctp_packet_begin(w, s->config.local_port, s->config.remote_port, tag);
}

/* Packets that hold one chunk and nothing else. */
static bool write_lone(lk_sctp *s, lk_usec now, lk_wr *w)
{
    if (take_due(s, DUE_ABORT)) {
        begin(s, w, s->peer_tag);
        write_empty(w, SCTP_ABORT, 0);
    } else if (take_due(s, DUE_SHUTDOWN_COMPLETE)) {
        begin(s, w, s->peer_tag);
        write_empty(w, SCTP_SHUTDOWN_COMPLETE, 0);
    } else if (take_due(s, DUE_INIT)) {
        begin(s, w, 0);
        write_init(s, w, SCTP_INIT, NULL, 0);
        start_t1(s, now);
    } else if (take_due(s, DUE_INIT_ACK)) {
        uint8_t cookie[SCTP_COOKIE_LEN];
        lk_sctp_cookie_write(s, &s->init_answer, now, cookie);
        begin(s, w, s->init_answer.peer_tag);
        write_init(s, w, SCTP_INIT_ACK, cookie, sizeof cookie);
    } else if (take_due(s, DUE_STALE_COOKIE)) {
        begin(s, w, s->stale_tag);
        size_t at = lk_sctp_chunk_begin(w, SCTP_ERROR, 0);
        lk_wr_u16(w, SCTP_CAUSE_STALE_COOKIE);
        lk_wr_u16(w, 8);
        lk_wr_u32(w, 0);
        lk_sctp_chunk_end(w, at);
    } else if (take_due(s, DUE_COOKIE_ECHO)) {
        begin(s, w, s->peer_tag);
        size_t at = lk_sctp_chunk_begin(w, SCTP_COOKIE_ECHO, 0);
        lk_wr_put(w, s->cookie, s->cookie_len);
        lk_sctp_chunk_end(w, at);
        start_t1(s, now);
    } else {
        return false;
    }
    lk_sctp_packet_seal(w);
    return true;
}

static void write_control(lk_sctp *s, lk_usec now, lk_wr *w)
{
    if (take_due(s, DUE_COOKIE_ACK))
        write_empty(w, SCTP_COOKIE_ACK, 0);
    if (s->due & DUE_SHUTDOWN) {
        size_t at = lk_sctp_chunk_begin(w, SCTP_SHUTDOWN, 0);
        unset_due(s, DUE_SHUTDOWN);
        lk_wr_u32(w, s->rx.cumulative);
        lk_sctp_chunk_end(w, at);
        start_t1(s, now);
    }
    if (take_due(s, DUE_SHUTDOWN_ACK)) {
        write_empty(w, SCTP_SHUTDOWN_ACK, 0);
        start_t1(s, now);
    }
    lk_sctp_write_sack(s, w);
    if (s->heartbeat && w->cap - w->len >= s->heartbeat_len + 8 && take_due(s, DUE_HEARTBEAT_ACK)) {
        size_t at = lk_sctp_chunk_begin(w, SCTP_HEARTBEAT_ACK, 0);
        lk_wr_put(w, s->heartbeat, s->heartbeat_len - 1);
        lk_sctp_chunk_end(w, at);
        lk_release(s->env, s->heartbeat, s->heartbeat_len);
        s->heartbeat = NULL;
        s->heartbeat_len = 0;
    }
    lk_sctp_write_reset(s, now, w);
    lk_sctp_write_forward(s, now, w);
}

bool lk_sctp_poll_tx(lk_sctp *s, lk_usec now, lk_bytes *out)
{
    lk_wr w = lk_wr_of(s->packet, s->config.mtu_bytes);
    lk_sctp_rx_forget_given(s);
    if (!write_lone(s, now, &w)) {
        if (!sctp_is_up(s))
            return false;
        begin(s, &w, s->peer_tag);
        write_control(s, now, &w);
        lk_sctp_write_data(s, now, &w);
        lk_sctp_reset_step(s); /* a queue may have run empty */
        if (w.len == SCTP_HEADER_LEN)
            return false;
        if (!s->zero_checksum)
            lk_sctp_packet_seal(&w);
    }
    LK_ASSERT(s->env, !w.bad);
    s->counters.packets_sent++;
    s->counters.bytes_sent += w.len;
    *out = (lk_bytes){w.data, w.len};
    return true;
}

/* ---- events ---- */
bool lk_sctp_poll_event(lk_sctp *s, lk_sctp_event *out)
{
    if (s->connected_event) {
        s->connected_event = false;
        *out = (lk_sctp_event){.type = LK_SCTP_EV_CONNECTED};
        return true;
    }
    lk_sctp_rx_forget_given(s);
    lk_link *l = lk_list_pop(&s->rx.events);
    if (l) {
        sctp_in_node *n = LK_CONTAINER(l, sctp_in_node, link);
        *out = (lk_sctp_event){.type = n->reset ? LK_SCTP_EV_STREAM_RESET : LK_SCTP_EV_MESSAGE, .stream = n->stream};
        if (!n->reset)
            out->message = (lk_sctp_message){.stream = n->stream,
                                             .ppid = n->ppid,
                                             .unordered = (n->flags & SCTP_DATA_UNORDERED) != 0,
                                             .data = n->data,
                                             .len = n->len};
        s->rx.given = n;
        return true;
    }
    if (s->closed_event) {
        s->closed_event = false;
        *out = (lk_sctp_event){.type = LK_SCTP_EV_CLOSED, .err = s->closed_err};
        return true;
    }
    return false;
}

lk_sctp_state lk_sctp_state_of(const lk_sctp *s)
{
    switch (s->phase) {
    case PHASE_NEW:
        return LK_SCTP_STATE_NEW;
    case PHASE_COOKIE_WAIT:
    case PHASE_COOKIE_ECHOED:
        return LK_SCTP_STATE_CONNECTING;
    case PHASE_UP:
        return LK_SCTP_STATE_CONNECTED;
    case PHASE_CLOSED:
        return LK_SCTP_STATE_CLOSED;
    default:
        return LK_SCTP_STATE_SHUTTING_DOWN;
    }
}

void lk_sctp_count(const lk_sctp *s, lk_sctp_counters *out)
{
    *out = s->counters;
    out->cwnd_bytes = s->cc.cwnd;
    out->flight_bytes = s->tx.flight_bytes;
    out->srtt_s = (double)s->cc.srtt / 1e6;
}
