// SPDX-License-Identifier: Apache-2.0
/* TSNs received, messages put together, order within streams, SACK. */
#include "sctp/sctp_internal.h"

#define NODE(l) LK_CONTAINER((l), sctp_in_node, link)
#define SACK_HEAD 16u
#define RANGES_FIRST 8u

void lk_sctp_rx_init(lk_sctp *s)
{
    sctp_rx *r = &s->rx;
    lk_map_init(&r->streams, s->env, s->config.streams);
    lk_list_init(&r->fragments);
    lk_list_init(&r->events);
    r->sack_at = LK_NEVER;
    r->told_rwnd = s->config.receive_buffer_bytes;
}

static size_t cost(uint32_t len) { return sizeof(sctp_in_node) + len; }

static sctp_in_node *make_node(lk_sctp *s, uint32_t len)
{
    sctp_in_node *n = (sctp_in_node *)lk_sctp_block_new(s, sizeof *n + len);
    if (!n)
        return NULL;
    *n = (sctp_in_node){.len = len};
    s->rx.held_bytes += cost(len);
    return n;
}

static void free_node(lk_sctp *s, sctp_in_node *n)
{
    if (!n)
        return;
    s->rx.held_bytes -= cost(n->len);
    lk_sctp_block_free(s, n, sizeof *n + n->len);
}

uint32_t lk_sctp_rwnd(const lk_sctp *s)
{
    size_t held = s->rx.held_bytes, limit = s->config.receive_buffer_bytes;
    return held < limit ? (uint32_t)(limit - held) : 0;
}

void lk_sctp_rx_forget_given(lk_sctp *s)
{
    if (!s->rx.given)
        return;
    free_node(s, s->rx.given);
    s->rx.given = NULL;
    if (sctp_is_idle(s))
        lk_sctp_pool_trim(s, false);
    /* The peer was told of a window that was nearly shut: say that it is open again. */
    uint32_t limit = s->config.receive_buffer_bytes;
    if (s->rx.told_rwnd < limit / 4 && lk_sctp_rwnd(s) >= limit / 2 && sctp_is_up(s))
        s->due |= DUE_SACK;
}

static void free_list(lk_sctp *s, lk_list *l)
{
    for (lk_link *at; (at = lk_list_pop(l));)
        free_node(s, NODE(at));
}

void lk_sctp_rx_free(lk_sctp *s)
{
    sctp_rx *r = &s->rx;
    size_t at = 0;
    void *v;
    lk_sctp_rx_forget_given(s);
    free_list(s, &r->fragments);
    free_list(s, &r->events);
    while (lk_map_next(&r->streams, &at, NULL, &v)) {
        free_list(s, &((sctp_in_stream *)v)->waiting);
        lk_release(s->env, v, sizeof(sctp_in_stream));
    }
    lk_map_deinit(&r->streams);
    lk_release(s->env, r->ranges, r->range_cap * sizeof *r->ranges);
    r->ranges = NULL;
    r->range_count = r->range_cap = 0;
}

static sctp_in_stream *stream_of(lk_sctp *s, uint16_t id)
{
    sctp_in_stream *i = (sctp_in_stream *)lk_map_get(&s->rx.streams, id);
    if (i)
        return i;
    i = (sctp_in_stream *)lk_alloc0(s->env, sizeof *i);
    if (!i)
        return NULL;
    lk_list_init(&i->waiting);
    if (lk_map_put(&s->rx.streams, id, i) != LK_OK) {
        lk_release(s->env, i, sizeof *i);
        return NULL;
    }
    return i;
}

/* ---- ranges of TSNs above the cumulative one ---- */

/* Room for one more, before anything is changed. */
static bool reserve_range(lk_sctp *s)
{
    sctp_rx *r = &s->rx;
    if (r->range_count < r->range_cap)
        return true;
    uint32_t cap = r->range_cap ? r->range_cap * 2 : RANGES_FIRST;
    if (cap > SCTP_RANGES_MAX)
        return false;
    sctp_range *ranges =
        (sctp_range *)lk_resize(s->env, r->ranges, r->range_cap * sizeof *ranges, cap * sizeof *ranges);
    if (!ranges)
        return false;
    r->ranges = ranges;
    r->range_cap = cap;
    return true;
}

/* First range that ends at or behind tsn; searched from the end, where news arrive. */
static uint32_t range_at(const sctp_rx *r, uint32_t tsn)
{
    uint32_t i = r->range_count;
    while (i > 0 && lk_ts32_diff(r->ranges[i - 1].last, tsn) >= 0)
        i--;
    return i;
}

static void remove_ranges(sctp_rx *r, uint32_t at, uint32_t count)
{
    memmove(r->ranges + at, r->ranges + at + count, (r->range_count - at - count) * sizeof *r->ranges);
    r->range_count -= count;
}

/* What touches the cumulative TSN belongs to it. */
static void swallow_ranges(lk_sctp *s)
{
    sctp_rx *r = &s->rx;
    uint32_t n = 0;
    for (; n < r->range_count && lk_ts32_diff(r->ranges[n].first, r->cumulative) <= 1; n++)
        if (lk_ts32_diff(r->ranges[n].last, r->cumulative) > 0)
            r->cumulative = r->ranges[n].last;
    if (n)
        remove_ranges(r, 0, n);
    if (r->range_count == 0 && r->range_cap > RANGES_FIRST) {
        lk_release(s->env, r->ranges, r->range_cap * sizeof *r->ranges);
        r->ranges = NULL;
        r->range_cap = 0;
    }
}

/* tsn is new, and there is room. */
static void mark_received(lk_sctp *s, uint32_t tsn)
{
    sctp_rx *r = &s->rx;
    if (tsn == r->cumulative + 1) {
        r->cumulative = tsn;
        swallow_ranges(s);
        return;
    }
    uint32_t i = range_at(r, tsn); /* the one behind tsn */
    bool touches_next = i < r->range_count && r->ranges[i].first == tsn + 1;
    bool touches_last = i > 0 && r->ranges[i - 1].last + 1 == tsn;
    if (touches_next && touches_last) {
        r->ranges[i - 1].last = r->ranges[i].last;
        remove_ranges(r, i, 1);
    } else if (touches_next) {
        r->ranges[i].first = tsn;
    } else if (touches_last) {
        r->ranges[i - 1].last = tsn;
    } else {
        memmove(r->ranges + i + 1, r->ranges + i, (r->range_count - i) * sizeof *r->ranges);
        r->ranges[i] = (sctp_range){tsn, tsn};
        r->range_count++;
    }
}

static bool is_received(const sctp_rx *r, uint32_t tsn)
{
    if (lk_ts32_diff(tsn, r->cumulative) <= 0)
        return true;
    uint32_t i = range_at(r, tsn);
    return i < r->range_count && lk_ts32_diff(r->ranges[i].first, tsn) <= 0;
}

/* ---- order within a stream ---- */
static void push_event(lk_sctp *s, sctp_in_node *n)
{
    lk_list_push(&s->rx.events, &n->link);
    s->counters.messages_received += !n->reset;
}

/* Hands on what is in order now. */
static void flush_stream(lk_sctp *s, sctp_in_stream *i)
{
    for (lk_link *l; (l = lk_list_first(&i->waiting)) && NODE(l)->ssn == i->next_ssn;) {
        lk_list_remove(&i->waiting, l);
        i->next_ssn++;
        push_event(s, NODE(l));
    }
}

static lk_err skip_ssn(lk_sctp *s, uint16_t stream, uint16_t ssn)
{
    sctp_in_stream *i = stream_of(s, stream);
    if (!i)
        return LK_ERR_NOMEM;
    if (lk_seq16_diff(ssn, i->next_ssn) < 0)
        return LK_OK;
    for (lk_link *l; (l = lk_list_first(&i->waiting)) && lk_seq16_diff(NODE(l)->ssn, ssn) <= 0;) {
        lk_list_remove(&i->waiting, l);
        push_event(s, NODE(l));
    }
    i->next_ssn = (uint16_t)(ssn + 1);
    flush_stream(s, i);
    return LK_OK;
}

/* Takes a whole message. NOMEM: the node is still the caller's. */
static lk_err deliver(lk_sctp *s, sctp_in_node *n)
{
    if (n->flags & SCTP_DATA_UNORDERED) {
        push_event(s, n);
        return LK_OK;
    }
    sctp_in_stream *i = stream_of(s, n->stream);
    if (!i)
        return LK_ERR_NOMEM;
    int ahead = lk_seq16_diff(n->ssn, i->next_ssn);
    if (ahead == 0) {
        i->next_ssn++;
        push_event(s, n);
        flush_stream(s, i);
        return LK_OK;
    }
    lk_link *at = i->waiting.head.prev;
    while (at != &i->waiting.head && lk_seq16_diff(NODE(at)->ssn, n->ssn) > 0)
        at = at->prev;
    if (ahead < 0 || (at != &i->waiting.head && NODE(at)->ssn == n->ssn)) { /* a number given twice */
        s->counters.dropped++;
        free_node(s, n);
        return LK_OK;
    }
    lk_list_insert_before(&i->waiting, at->next, &n->link);
    return LK_OK;
}

/* ---- fragments, by TSN ---- */
static sctp_in_node *neighbour(lk_sctp *s, const lk_link *l)
{
    return l == &s->rx.fragments.head ? NULL : NODE(l);
}

/* b continues the message of a. */
static bool continues(const sctp_in_node *a, const sctp_in_node *b)
{
    return a && b && b->tsn == a->tsn + 1 && !(a->flags & SCTP_DATA_END) && !(b->flags & SCTP_DATA_BEGIN) &&
           a->stream == b->stream && ((a->flags ^ b->flags) & SCTP_DATA_UNORDERED) == 0 &&
           ((a->flags & SCTP_DATA_UNORDERED) || a->ssn == b->ssn);
}

static void insert_fragment(lk_sctp *s, sctp_in_node *n)
{
    lk_list *l = &s->rx.fragments;
    lk_link *at = l->head.prev;
    while (at != &l->head && lk_ts32_diff(NODE(at)->tsn, n->tsn) > 0)
        at = at->prev;
    sctp_in_node *before = neighbour(s, at);
    bool joined = continues(before, n);
    n->run_bytes = n->len + (joined ? before->run_bytes : 0);
    n->from_begin = (n->flags & SCTP_DATA_BEGIN) || (joined && before->from_begin);
    lk_list_insert_before(l, at->next, &n->link);
}

static void remove_fragment(lk_sctp *s, sctp_in_node *n)
{
    lk_list_remove(&s->rx.fragments, &n->link);
    free_node(s, n);
}

static void free_run(lk_sctp *s, sctp_in_node *first, const sctp_in_node *last)
{
    for (bool more = true; more;) {
        sctp_in_node *next = neighbour(s, first->link.next);
        more = first != last;
        remove_fragment(s, first);
        first = next;
    }
}

/* Takes what follows of a message that was too long. */
static bool discard(lk_sctp *s, uint32_t tsn, uint8_t flags)
{
    sctp_rx *r = &s->rx;
    if (!r->discarding || tsn != r->discard_next)
        return false;
    if (flags & SCTP_DATA_BEGIN) {
        r->discarding = false;
        return false;
    }
    r->discard_next++;
    if (flags & SCTP_DATA_END) {
        r->discarding = false;
        if (!r->discard_unordered)
            (void)skip_ssn(s, r->discard_stream, r->discard_ssn); /* the stream exists: see start_discarding */
    }
    return true;
}

static void start_discarding(lk_sctp *s, sctp_in_node *last)
{
    sctp_rx *r = &s->rx;
    sctp_in_node *first = last;
    if (r->discarding || (!(last->flags & SCTP_DATA_UNORDERED) && !stream_of(s, last->stream)))
        return;
    while (!(first->flags & SCTP_DATA_BEGIN))
        first = neighbour(s, first->link.prev);
    r->discarding = true;
    r->discard_unordered = (last->flags & SCTP_DATA_UNORDERED) != 0;
    r->discard_next = last->tsn + 1;
    r->discard_stream = last->stream;
    r->discard_ssn = last->ssn;
    s->counters.dropped++;
    free_run(s, first, last);
}

/* What the discarded message has among the fragments that came early. */
static void discard_early(lk_sctp *s)
{
    LK_LIST_EACH(&s->rx.fragments, it) {
        sctp_in_node *n = NODE(it);
        if (s->rx.discarding && discard(s, n->tsn, n->flags))
            remove_fragment(s, n);
    }
}

/* Makes a message of the run n is in, if it is whole. NOMEM: nothing has changed. */
static lk_err assemble(lk_sctp *s, sctp_in_node *n)
{
    sctp_in_node *first, *last = n, *next;
    while (!(last->flags & SCTP_DATA_END)) {
        next = neighbour(s, last->link.next);
        if (!continues(last, next))
            return LK_OK;
        last = next;
    }
    size_t total = last->len;
    for (first = last; !(first->flags & SCTP_DATA_BEGIN); total += first->len) {
        next = neighbour(s, first->link.prev);
        if (!continues(next, first))
            return LK_OK;
        first = next;
    }
    if (total > s->config.message_max_bytes) {
        if (!(first->flags & SCTP_DATA_UNORDERED) && skip_ssn(s, first->stream, first->ssn) != LK_OK)
            return LK_ERR_NOMEM;
        s->counters.dropped++;
        free_run(s, first, last);
        return LK_OK;
    }
    sctp_in_node *whole = make_node(s, (uint32_t)total);
    if (!whole)
        return LK_ERR_NOMEM;
    whole->ppid = first->ppid;
    whole->stream = first->stream;
    whole->ssn = first->ssn;
    whole->flags = first->flags;
    lk_wr w = lk_wr_of(whole->data, total);
    for (const sctp_in_node *k = first;; k = NODE(k->link.next)) {
        lk_wr_put(&w, k->data, k->len);
        if (k == last)
            break;
    }
    if (deliver(s, whole) != LK_OK) {
        free_node(s, whole);
        return LK_ERR_NOMEM;
    }
    free_run(s, first, last);
    return LK_OK;
}

/* Runs that can never become whole: their begin or their end is behind us and was not there. */
static void sweep(lk_sctp *s)
{
    lk_link *at = s->rx.fragments.head.next;
    while (at != &s->rx.fragments.head) {
        sctp_in_node *first = NODE(at), *last = first, *next;
        while (continues(last, next = neighbour(s, last->link.next)))
            last = next;
        at = last->link.next;
        bool no_begin = !(first->flags & SCTP_DATA_BEGIN) && lk_ts32_diff(first->tsn, s->rx.cumulative) <= 0;
        bool no_end = !(last->flags & SCTP_DATA_END) && lk_ts32_diff(last->tsn, s->rx.cumulative) < 0;
        if (no_begin || no_end)
            free_run(s, first, last);
    }
}

/* ---- DATA ---- */

/* The peer does not count our heads of messages, so half as much again is taken as was promised. A full buffer still
 * takes what comes next in order: without it nothing would ever leave the buffer. */
static bool has_room(lk_sctp *s, uint32_t len, bool next)
{
    size_t limit = (size_t)s->config.receive_buffer_bytes / 2 * 3, want = s->rx.held_bytes + cost(len);
    if (want <= limit)
        return true;
    sweep(s);
    want = s->rx.held_bytes + cost(len);
    return want <= limit || (next && want <= limit + s->config.message_max_bytes);
}

static lk_err take_data(lk_sctp *s, const lk_sctp_data *d, uint8_t flags)
{
    if (discard(s, d->tsn, flags)) {
        discard_early(s);
        return LK_OK;
    }
    sctp_in_node *n = make_node(s, (uint32_t)d->len);
    if (!n)
        return LK_ERR_NOMEM;
    n->tsn = d->tsn;
    n->ppid = d->ppid;
    n->stream = d->stream;
    n->ssn = d->ssn;
    n->flags = flags;
    memcpy(n->data, d->data, d->len);
    lk_err err = LK_OK;
    if ((flags & SCTP_DATA_BEGIN) && (flags & SCTP_DATA_END)) {
        err = deliver(s, n);
        if (err != LK_OK)
            free_node(s, n);
        return err;
    }
    insert_fragment(s, n);
    err = assemble(s, n);
    if (err != LK_OK)
        remove_fragment(s, n);
    return err;
}

/* Looks at the run a fragment ended up in, after it counts as received. */
static void bound_run(lk_sctp *s, uint32_t tsn)
{
    for (lk_link *l = s->rx.fragments.head.prev; l != &s->rx.fragments.head; l = l->prev) {
        sctp_in_node *n = NODE(l);
        if (n->tsn == tsn && n->from_begin && n->run_bytes > s->config.message_max_bytes) {
            start_discarding(s, n);
            discard_early(s);
            return;
        }
        if (lk_ts32_diff(n->tsn, tsn) <= 0)
            return;
    }
}

void lk_sctp_on_data(lk_sctp *s, const lk_sctp_chunk *c)
{
    sctp_rx *r = &s->rx;
    lk_sctp_data d;
    if (lk_sctp_data_parse(&d, c) != LK_OK) {
        s->counters.dropped++;
        return;
    }
    r->data_in_packet = true;
    r->sack_soon = r->sack_soon || (c->flags & SCTP_DATA_IMMEDIATE);
    if (is_received(r, d.tsn)) {
        if (r->duplicate_count < SCTP_DUPLICATES_MAX)
            r->duplicates[r->duplicate_count++] = d.tsn;
        r->sack_soon = true;
        return;
    }
    bool next = d.tsn == r->cumulative + 1;
    if (d.tsn - r->cumulative > SCTP_TSN_WINDOW || (!next && r->fragments.count >= SCTP_FRAGMENTS_MAX) || (!next && !reserve_range(s)) ||
        !has_room(s, (uint32_t)d.len, next)) {
        s->counters.dropped++;
        r->sack_soon = true;
        return;
    }
    if (d.stream >= s->config.streams || d.len > s->config.message_max_bytes)
        s->counters.dropped++; /* received, and of no use */
    else if (take_data(s, &d, c->flags & 0x07) != LK_OK)
        return; /* as if it had been lost */
    mark_received(s, d.tsn);
    bound_run(s, d.tsn);
}

/* ---- FORWARD TSN [RFC3758 s3.6] ---- */
void lk_sctp_on_forward(lk_sctp *s, const lk_sctp_chunk *c)
{
    sctp_rx *r = &s->rx;
    lk_rd rd = lk_rd_of(c->value, c->len);
    uint32_t tsn = lk_rd_u32(&rd);
    uint32_t ahead = tsn - r->cumulative;
    r->data_in_packet = r->sack_soon = true;
    if (rd.bad || !s->forward_tsn || (lk_ts32_diff(tsn, r->cumulative) > 0 && ahead > SCTP_TSN_WINDOW)) {
        s->counters.dropped++;
        return;
    }
    if (lk_ts32_diff(tsn, r->cumulative) <= 0)
        return;
    lk_rd skips = rd;
    while (lk_rd_left(&skips) >= 4) { /* memory first: half a step forward cannot be taken back */
        uint16_t stream = lk_rd_u16(&skips);
        lk_rd_skip(&skips, 2);
        if (stream < s->config.streams && !stream_of(s, stream))
            return;
    }
    r->cumulative = tsn;
    swallow_ranges(s);
    if (r->discarding && lk_ts32_diff(r->discard_next, r->cumulative) <= 0)
        r->discarding = false;
    while (lk_rd_left(&rd) >= 4) {
        uint16_t stream = lk_rd_u16(&rd), ssn = lk_rd_u16(&rd);
        if (stream < s->config.streams)
            (void)skip_ssn(s, stream, ssn);
    }
    sweep(s);
}

/* ---- stream reset ---- */
lk_err lk_sctp_rx_reset_stream(lk_sctp *s, uint16_t id)
{
    sctp_in_stream *i = stream_of(s, id);
    sctp_in_node *n = i ? make_node(s, 0) : NULL;
    if (!n)
        return LK_ERR_NOMEM;
    free_list(s, &i->waiting); /* the peer said everything had been sent: what still waits never gets its turn */
    i->next_ssn = 0;
    n->stream = id;
    n->reset = true;
    push_event(s, n);
    return LK_OK;
}

/* ---- SACK ---- */
void lk_sctp_rx_packet_done(lk_sctp *s, lk_usec now)
{
    sctp_rx *r = &s->rx;
    if (!r->data_in_packet)
        return;
    r->data_in_packet = false;
    /* At least every second packet, at once when something is missing. [RFC9260 s6.2] */
    if (++r->packets >= 2 || r->range_count || r->sack_soon)
        s->due |= DUE_SACK;
    else
        r->sack_at = LK_MIN(r->sack_at, now + SCTP_SACK_DELAY);
    r->sack_soon = false;
}

void lk_sctp_write_sack(lk_sctp *s, lk_wr *w)
{
    sctp_rx *r = &s->rx;
    if (!(s->due & DUE_SACK) || w->cap - w->len < SACK_HEAD + 4 * SCTP_DUPLICATES_MAX)
        return;
    size_t room = (w->cap - w->len - SACK_HEAD) / 4 - r->duplicate_count;
    uint32_t gaps = (uint32_t)LK_MIN((size_t)r->range_count, room);
    s->due &= ~(uint32_t)DUE_SACK;
    r->told_rwnd = lk_sctp_rwnd(s);
    size_t at = lk_sctp_chunk_begin(w, SCTP_SACK, 0);
    lk_wr_u32(w, r->cumulative);
    lk_wr_u32(w, r->told_rwnd);
    lk_wr_u16(w, (uint16_t)gaps);
    lk_wr_u16(w, (uint16_t)r->duplicate_count);
    for (uint32_t i = 0; i < gaps; i++) {
        lk_wr_u16(w, (uint16_t)(r->ranges[i].first - r->cumulative));
        lk_wr_u16(w, (uint16_t)(r->ranges[i].last - r->cumulative));
    }
    for (uint32_t i = 0; i < r->duplicate_count; i++)
        lk_wr_u32(w, r->duplicates[i]);
    lk_sctp_chunk_end(w, at);
    r->duplicate_count = 0;
    r->packets = 0;
    r->sack_at = LK_NEVER;
}
