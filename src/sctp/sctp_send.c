// SPDX-License-Identifier: Apache-2.0
/* Queues of messages by stream, chunks in flight, DATA and FORWARD TSN. */
#include "sctp/sctp_internal.h"

#define RING_FIRST 16u /* kept while idle */

void lk_sctp_tx_init(lk_sctp *s)
{
    sctp_tx *t = &s->tx;
    lk_map_init(&t->streams, s->env, s->config.streams);
    lk_list_init(&t->active);
    t->base = s->initial_tsn;
    t->advanced = s->initial_tsn - 1;
    t->streams_max = s->config.streams;
    t->peer_rwnd = UINT32_MAX;
}

static size_t cost(size_t len) { return sizeof(sctp_out_message) + len; }

static void free_message(lk_sctp *s, sctp_out_message *m)
{
    s->tx.buffer_bytes -= cost(m->len);
    lk_sctp_block_free(s, m, sizeof *m + m->len);
}

/* Takes it out of the queue of its stream: all of it has a TSN, or it is given up. */
static void unqueue(lk_sctp *s, sctp_out_message *m)
{
    sctp_out_stream *o = m->stream;
    lk_list_remove(&o->messages, &m->link);
    o->buffered -= m->len - m->sent;
    m->queued = false;
    s->tx.queued_messages--;
    if (s->tx.current == o)
        s->tx.current = NULL;
    if (o->active) { /* the next stream's turn */
        lk_list_remove(&s->tx.active, &o->link);
        o->active = false;
    }
    lk_sctp_out_stream_wake(s, o);
}

static void free_ring(lk_sctp *s)
{
    lk_release(s->env, s->tx.chunks, s->tx.cap * sizeof *s->tx.chunks);
    s->tx.chunks = NULL;
    s->tx.cap = 0;
}

void lk_sctp_tx_free(lk_sctp *s)
{
    sctp_tx *t = &s->tx;
    size_t at = 0;
    void *v;
    for (uint32_t tsn = t->base; t->count; t->count--, tsn++) {
        sctp_out_message *m = sctp_chunk(s, tsn)->message;
        if (--m->held == 0 && !m->queued)
            free_message(s, m);
    }
    free_ring(s);
    while (lk_map_next(&t->streams, &at, NULL, &v)) {
        sctp_out_stream *o = (sctp_out_stream *)v;
        for (lk_link *l; (l = lk_list_pop(&o->messages));)
            free_message(s, LK_CONTAINER(l, sctp_out_message, link));
        lk_release(s->env, o, sizeof *o);
    }
    lk_map_deinit(&t->streams);
    lk_list_init(&t->active);
    t->current = NULL;
    t->queued_messages = 0;
    t->flying_count = t->flight_bytes = t->lost_count = 0;
    t->advanced = t->base - 1;
}

sctp_out_stream *lk_sctp_out_stream_of(lk_sctp *s, uint16_t id)
{
    sctp_out_stream *o = (sctp_out_stream *)lk_map_get(&s->tx.streams, id);
    if (o)
        return o;
    o = (sctp_out_stream *)lk_alloc0(s->env, sizeof *o);
    if (!o)
        return NULL;
    o->id = id;
    lk_list_init(&o->messages);
    if (lk_map_put(&s->tx.streams, id, o) != LK_OK) {
        lk_release(s->env, o, sizeof *o);
        return NULL;
    }
    return o;
}

/* A stream whose reset is under way sends nothing until the answer has come. */
void lk_sctp_out_stream_wake(lk_sctp *s, sctp_out_stream *o)
{
    if (!o->active && o->messages.count && o->reset != RESET_SENT) {
        lk_list_push(&s->tx.active, &o->link);
        o->active = true;
    }
}

void lk_sctp_tx_start(lk_sctp *s, const sctp_init_ack *peer)
{
    sctp_tx *t = &s->tx;
    size_t at = 0;
    void *v;
    t->peer_rwnd = peer->peer_rwnd;
    t->streams_max = LK_MIN(s->config.streams, (uint32_t)peer->peer_in);
    while (lk_map_next(&t->streams, &at, NULL, &v)) { /* what waited for a stream the peer does not have */
        sctp_out_stream *o = (sctp_out_stream *)v;
        lk_link *l;
        while (o->id >= t->streams_max && (l = lk_list_first(&o->messages))) {
            sctp_out_message *m = LK_CONTAINER(l, sctp_out_message, link);
            unqueue(s, m);
            free_message(s, m);
            s->counters.messages_abandoned++;
        }
    }
}

static lk_err check_message(const lk_sctp *s, const lk_sctp_message *m)
{
    if (s->phase > PHASE_UP)
        return LK_ERR_STATE;
    if (m->len == 0)
        return LK_ERR_INVALID;
    if (m->len > s->config.message_max_bytes || m->stream >= s->tx.streams_max)
        return LK_ERR_LIMIT;
    return LK_OK;
}

/* What waits at the front of a queue past its lifetime goes before new messages are refused. */
static void drop_expired(lk_sctp *s, lk_usec now)
{
    size_t at = 0;
    void *v;
    while (lk_map_next(&s->tx.streams, &at, NULL, &v)) {
        LK_LIST_EACH(&((sctp_out_stream *)v)->messages, it) {
            sctp_out_message *m = LK_CONTAINER(it, sctp_out_message, link);
            if (m->limit_lifetime && m->expires_at <= now && m->chunks == 0) {
                unqueue(s, m);
                free_message(s, m);
                s->counters.messages_abandoned++;
            }
        }
    }
}

static bool make_room(lk_sctp *s, lk_usec now, size_t bytes)
{
    if (s->tx.buffer_bytes + bytes > s->config.send_buffer_bytes)
        drop_expired(s, now);
    /* One message always goes, however small the buffer was made. */
    return s->tx.buffer_bytes == 0 || s->tx.buffer_bytes + bytes <= s->config.send_buffer_bytes;
}

static bool grow_ring(lk_sctp *s)
{
    sctp_tx *t = &s->tx;
    uint32_t cap = t->cap ? t->cap * 2 : RING_FIRST;
    if (t->cap >= SCTP_CHUNKS_MAX)
        return false;
    sctp_out_chunk *chunks = (sctp_out_chunk *)lk_alloc(s->env, cap * sizeof *chunks);
    if (!chunks)
        return false;
    for (uint32_t i = 0; i < t->count; i++)
        chunks[(t->base + i) & (cap - 1)] = *sctp_chunk(s, t->base + i);
    lk_release(s->env, t->chunks, t->cap * sizeof *t->chunks);
    t->chunks = chunks;
    t->cap = cap;
    return true;
}

lk_err lk_sctp_send(lk_sctp *s, lk_usec now, const lk_sctp_message *in)
{
    lk_sctp_rx_forget_given(s);
    lk_err err = check_message(s, in);
    if (err != LK_OK)
        return err;
    if (!make_room(s, now, cost(in->len)))
        return LK_ERR_FULL;
    if (!s->tx.cap && !grow_ring(s)) /* so that what is accepted can always leave */
        return LK_ERR_NOMEM;
    sctp_out_stream *o = lk_sctp_out_stream_of(s, in->stream);
    sctp_out_message *m = o ? (sctp_out_message *)lk_sctp_block_new(s, sizeof *m + in->len) : NULL;
    if (!m)
        return LK_ERR_NOMEM;
    *m = (sctp_out_message){.stream = o,
                            .ppid = in->ppid,
                            .len = (uint32_t)in->len,
                            .retransmits_max = in->retransmits_max,
                            .unordered = in->unordered,
                            .limit_retransmits = in->limit_retransmits,
                            .limit_lifetime = in->limit_lifetime,
                            .queued = true};
    m->expires_at = in->limit_lifetime && in->lifetime_usec < LK_NEVER - now ? now + in->lifetime_usec : LK_NEVER;
    memcpy(m->data, in->data, in->len);
    lk_list_push(&o->messages, &m->link);
    o->buffered += in->len;
    o->used = true;
    s->tx.buffer_bytes += cost(in->len);
    s->tx.queued_messages++;
    lk_sctp_out_stream_wake(s, o);
    return LK_OK;
}

size_t lk_sctp_buffered(const lk_sctp *s, uint16_t stream)
{
    const sctp_out_stream *o = (const sctp_out_stream *)lk_map_get(&s->tx.streams, stream);
    return o ? o->buffered : 0;
}

/* ---- chunks in flight, in order of transmission ---- */
void lk_sctp_fly(lk_sctp *s, uint32_t tsn)
{
    sctp_tx *t = &s->tx;
    sctp_out_chunk *c = sctp_chunk(s, tsn);
    c->state = CHUNK_FLYING;
    c->order = t->order++;
    c->prev = t->flying_tail;
    if (t->flying_count++)
        sctp_chunk(s, t->flying_tail)->next = tsn;
    else
        t->flying_head = tsn;
    t->flying_tail = tsn;
    t->flight_bytes += c->len;
}

void lk_sctp_unfly(lk_sctp *s, uint32_t tsn)
{
    sctp_tx *t = &s->tx;
    sctp_out_chunk *c = sctp_chunk(s, tsn);
    if (tsn == t->flying_head)
        t->flying_head = c->next;
    else
        sctp_chunk(s, c->prev)->next = c->next;
    if (tsn == t->flying_tail)
        t->flying_tail = c->prev;
    else
        sctp_chunk(s, c->next)->prev = c->prev;
    t->flying_count--;
    t->flight_bytes -= c->len;
}

void lk_sctp_pop_chunk(lk_sctp *s)
{
    sctp_tx *t = &s->tx;
    sctp_out_message *m = sctp_chunk(s, t->base)->message;
    t->base++;
    t->count--;
    if (lk_ts32_diff(t->base - 1, t->advanced) > 0)
        t->advanced = t->base - 1;
    if (--m->held == 0 && !m->queued) {
        s->counters.messages_sent += !m->abandoned;
        free_message(s, m);
    }
    if (t->count == 0 && t->cap > RING_FIRST && t->queued_messages == 0)
        free_ring(s); /* an idle association is small */
    if (sctp_is_idle(s))
        lk_sctp_pool_trim(s, false);
}

static sctp_out_chunk *push_chunk(lk_sctp *s, sctp_out_message *m, uint32_t len)
{
    sctp_tx *t = &s->tx;
    if (t->count == t->cap && !grow_ring(s))
        return NULL;
    uint32_t tsn = t->base + t->count++;
    sctp_out_chunk *c = sctp_chunk(s, tsn);
    *c = (sctp_out_chunk){.message = m, .offset = m->sent, .len = (uint16_t)len};
    if (m->chunks++ == 0)
        m->first_tsn = tsn;
    m->held++;
    return c;
}

/* ---- partial reliability [RFC3758] [RFC7496] ---- */
bool lk_sctp_is_exhausted(const lk_sctp *s, lk_usec now, const sctp_out_chunk *c)
{
    const sctp_out_message *m = c->message;
    return s->forward_tsn && ((m->limit_retransmits && c->transmissions > m->retransmits_max) ||
                              (m->limit_lifetime && m->expires_at <= now));
}

bool lk_sctp_abandon(lk_sctp *s, sctp_out_message *m)
{
    sctp_tx *t = &s->tx;
    if (!s->forward_tsn && m->chunks)
        return false;
    /* The peer must not take the begin of the next message for the rest of this one: a TSN stands for the end. */
    if (m->chunks && m->queued) {
        sctp_out_chunk *end = push_chunk(s, m, 0);
        if (!end)
            return false;
        end->state = CHUNK_ABANDONED;
    }
    m->abandoned = true;
    s->counters.messages_abandoned++;
    for (uint32_t i = 0; i < m->chunks; i++) {
        uint32_t tsn = m->first_tsn + i;
        if (lk_ts32_diff(tsn, t->base) < 0)
            continue;
        sctp_out_chunk *c = sctp_chunk(s, tsn);
        if (c->state == CHUNK_FLYING)
            lk_sctp_unfly(s, tsn);
        t->lost_count -= c->state == CHUNK_LOST;
        c->state = CHUNK_ABANDONED;
    }
    if (m->queued)
        unqueue(s, m);
    if (m->held == 0)
        free_message(s, m);
    lk_sctp_advance(s);
    return true;
}

void lk_sctp_advance(lk_sctp *s)
{
    sctp_tx *t = &s->tx;
    uint32_t before = t->advanced;
    while (t->advanced + 1 != sctp_next_tsn(s) && sctp_chunk(s, t->advanced + 1)->state == CHUNK_ABANDONED)
        t->advanced++;
    if (t->advanced != before)
        s->due |= DUE_FORWARD_TSN;
}

#define SKIPS_MAX 64
typedef struct skip {
    uint16_t stream, ssn;
} skip;

static bool note_skip(skip *skips, size_t *count, const sctp_out_message *m)
{
    size_t i = 0;
    while (i < *count && skips[i].stream != m->stream->id)
        i++;
    if (i == SKIPS_MAX)
        return false;
    if (i == *count)
        (*count)++;
    skips[i] = (skip){m->stream->id, m->ssn};
    return true;
}

void lk_sctp_write_forward(lk_sctp *s, lk_usec now, lk_wr *w)
{
    sctp_tx *t = &s->tx;
    skip skips[SKIPS_MAX];
    size_t count = 0;
    uint32_t tsn = t->base;
    if (!(s->due & DUE_FORWARD_TSN) || w->cap - w->len < 8 + 4 * SKIPS_MAX)
        return;
    s->due &= ~(uint32_t)DUE_FORWARD_TSN;
    for (; lk_ts32_diff(tsn, t->advanced) <= 0; tsn++) {
        const sctp_out_message *m = sctp_chunk(s, tsn)->message;
        if (!m->unordered && !note_skip(skips, &count, m))
            break;
    }
    if (tsn == t->base)
        return;
    size_t at = lk_sctp_chunk_begin(w, SCTP_FORWARD_TSN, 0);
    lk_wr_u32(w, tsn - 1);
    for (size_t i = 0; i < count; i++) {
        lk_wr_u16(w, skips[i].stream);
        lk_wr_u16(w, skips[i].ssn);
    }
    lk_sctp_chunk_end(w, at);
    t->forward_at = now;
    lk_sctp_arm(s, now, false);
}

/* ---- DATA ---- */
static void write_chunk(lk_sctp *s, lk_usec now, lk_wr *w, uint32_t tsn, bool immediate)
{
    sctp_out_chunk *c = sctp_chunk(s, tsn);
    const sctp_out_message *m = c->message;
    c->sent_at = now;
    c->transmissions = (uint16_t)LK_MIN(c->transmissions + 1, UINT16_MAX);
    c->flags = (uint8_t)((c->flags & ~SCTP_DATA_IMMEDIATE) | (immediate ? SCTP_DATA_IMMEDIATE : 0));
    size_t at = lk_sctp_chunk_begin(w, SCTP_DATA, c->flags);
    lk_wr_u32(w, tsn);
    lk_wr_u16(w, m->stream->id);
    lk_wr_u16(w, m->unordered ? 0 : m->ssn);
    lk_wr_u32(w, m->ppid);
    lk_wr_put(w, m->data + c->offset, c->len);
    lk_sctp_chunk_end(w, at);
    lk_sctp_fly(s, tsn);
}

/* Bytes of user data that fit behind what is written; all chunks end on four bytes. */
static size_t room_for_data(const lk_wr *w)
{
    size_t left = (w->cap - w->len) & ~(size_t)3;
    return left > SCTP_DATA_HEAD ? left - SCTP_DATA_HEAD : 0;
}

static bool window_is_open(const lk_sctp *s)
{
    return s->tx.flight_bytes < s->cc.cwnd || s->tx.flight_bytes == 0 || s->tx.probe_credit;
}

/* What was lost goes first, in order of TSNs; false when the packet or the window is full. */
static bool write_lost(lk_sctp *s, lk_usec now, lk_wr *w)
{
    sctp_tx *t = &s->tx;
    if (lk_ts32_diff(t->lost_hint, t->base) < 0)
        t->lost_hint = t->base;
    while (t->lost_count) {
        uint32_t tsn = t->lost_hint;
        LK_ASSERT(s->env, tsn != sctp_next_tsn(s));
        if (tsn == sctp_next_tsn(s)) {
            t->lost_count = 0;
            break;
        }
        sctp_out_chunk *c = sctp_chunk(s, tsn);
        if (c->state != CHUNK_LOST) {
            t->lost_hint++;
            continue;
        }
        if (lk_sctp_is_exhausted(s, now, c) && lk_sctp_abandon(s, c->message))
            continue;
        if (!window_is_open(s) || room_for_data(w) < c->len)
            return false;
        t->lost_count--;
        t->lost_hint++;
        t->probe_credit = false;
        s->counters.chunks_retransmitted++;
        write_chunk(s, now, w, tsn, true);
    }
    return true;
}

/* The message whose turn it is; what is past its lifetime is given up on the way. */
static sctp_out_message *next_message(lk_sctp *s, lk_usec now)
{
    for (;;) {
        lk_link *first = lk_list_first(&s->tx.active);
        if (!s->tx.current && !first)
            return NULL;
        sctp_out_stream *o = s->tx.current ? s->tx.current : LK_CONTAINER(first, sctp_out_stream, link);
        sctp_out_message *m = LK_CONTAINER(lk_list_first(&o->messages), sctp_out_message, link);
        if (!m->limit_lifetime || m->expires_at > now || !lk_sctp_abandon(s, m))
            return m;
    }
}

bool lk_sctp_has_new_data(const lk_sctp *s) { return s->tx.current || s->tx.active.count; }

/* How much of the message goes into this packet; 0: it is full. */
static uint32_t cut(const lk_sctp *s, const sctp_out_message *m, const lk_wr *w)
{
    uint32_t rest = m->len - m->sent, room = (uint32_t)room_for_data(w);
    if (rest <= room)
        return rest;
    if (rest <= s->payload_max || room < s->payload_max / 2)
        return 0; /* small ones stay whole, large ones are not cut small */
    return LK_MIN(room, s->payload_max);
}

static bool write_new(lk_sctp *s, lk_usec now, lk_wr *w)
{
    sctp_tx *t = &s->tx;
    sctp_out_message *m = next_message(s, now);
    if (!m)
        return false;
    if (!window_is_open(s) || t->count >= SCTP_CHUNKS_MAX) {
        s->cc.limited = true;
        return false;
    }
    uint32_t len = cut(s, m, w);
    if (len == 0 || (t->flight_bytes && t->flight_bytes + len > t->peer_rwnd))
        return false;
    bool first = m->chunks == 0, last = m->sent + len == m->len;
    sctp_out_chunk *c = push_chunk(s, m, len);
    if (!c)
        return false;
    if (first && !m->unordered)
        m->ssn = m->stream->next_ssn++;
    c->flags = (uint8_t)((first ? SCTP_DATA_BEGIN : 0) | (last ? SCTP_DATA_END : 0) |
                         (m->unordered ? SCTP_DATA_UNORDERED : 0));
    m->sent += len;
    m->stream->buffered -= len;
    s->tx.current = m->stream;
    if (last)
        unqueue(s, m);
    t->probe_credit = false;
    /* Nothing follows: the answer need not wait for it. Not for each of many small sends: two in a round trip do. */
    bool tail = !lk_sctp_has_new_data(s) || !window_is_open(s);
    bool immediate = tail && now - s->cc.immediate_at >= s->cc.srtt / 2;
    if (immediate)
        s->cc.immediate_at = now;
    write_chunk(s, now, w, t->base + t->count - 1, immediate);
    return true;
}

void lk_sctp_write_data(lk_sctp *s, lk_usec now, lk_wr *w)
{
    size_t before = w->len;
    if (s->phase != PHASE_UP && s->phase != PHASE_SHUTDOWN_PENDING && s->phase != PHASE_SHUTDOWN_RECEIVED)
        return;
    if (write_lost(s, now, w)) {
        while (write_new(s, now, w)) {
        }
    }
    if (w->len != before)
        lk_sctp_arm(s, now, false);
}
