// SPDX-License-Identifier: Apache-2.0
/* Stream reset, both directions. [RFC6525] One request of ours at a time; a stream asks once its queue is empty. */
#include "sctp/sctp_internal.h"

#define RESULT_NOTHING 0u /* [RFC6525 s4.4] */
#define RESULT_DONE 1u
#define RESULT_DENIED 2u
#define RESULT_BAD_SEQ 5u
#define RESULT_IN_PROGRESS 6u

static sctp_reset *get(lk_sctp *s)
{
    if (!s->reset) {
        s->reset = (sctp_reset *)lk_alloc0(s->env, sizeof *s->reset);
        if (s->reset) {
            s->reset->next_seq = s->initial_tsn;
            s->reset->expected_seq = s->reset_peer_seq;
            s->reset->at = LK_NEVER;
        }
    }
    return s->reset;
}

void lk_sctp_reset_free(lk_sctp *s)
{
    lk_release(s->env, s->reset, sizeof *s->reset);
    s->reset = NULL;
}

void lk_sctp_reset_want(lk_sctp *s, sctp_out_stream *o)
{
    if (o->reset == RESET_NONE || (o->reset == RESET_DONE && o->used)) {
        o->reset = RESET_WANTED;
        s->resets_wanted++;
    }
}

lk_err lk_sctp_reset_stream(lk_sctp *s, lk_usec now, uint16_t stream)
{
    LK_UNUSED(now);
    lk_sctp_rx_forget_given(s);
    if (s->phase > PHASE_UP)
        return LK_ERR_STATE;
    if (stream >= s->tx.streams_max)
        return LK_ERR_LIMIT;
    sctp_out_stream *o = lk_sctp_out_stream_of(s, stream);
    if (!o || !get(s))
        return LK_ERR_NOMEM;
    lk_sctp_reset_want(s, o);
    lk_sctp_reset_step(s);
    return LK_OK;
}

/* ---- ours ---- */
static void finish_request(lk_sctp *s, bool done)
{
    sctp_reset *r = s->reset;
    r->outstanding = false;
    r->at = LK_NEVER;
    r->tries = 0;
    for (uint32_t i = 0; i < r->request_count; i++) {
        sctp_out_stream *o = (sctp_out_stream *)lk_map_get(&s->tx.streams, r->request[i]);
        if (!o || o->reset != RESET_SENT)
            continue;
        o->reset = o->peer_reset ? RESET_NONE : RESET_DONE;
        o->peer_reset = false;
        o->used = o->messages.count != 0;
        if (done)
            o->next_ssn = 0;
        lk_sctp_out_stream_wake(s, o);
    }
    s->due &= ~(uint32_t)DUE_RESET_REQUEST;
}

static void make_request(lk_sctp *s)
{
    size_t at = 0;
    void *v;
    sctp_reset *r = get(s);
    if (!r || r->outstanding)
        return;
    r->request_count = 0;
    while (r->request_count < SCTP_RESETS_MAX && lk_map_next(&s->tx.streams, &at, NULL, &v)) {
        sctp_out_stream *o = (sctp_out_stream *)v;
        if (o->reset != RESET_WANTED || o->messages.count)
            continue;
        s->resets_wanted--;
        o->reset = RESET_SENT;
        r->request[r->request_count++] = o->id;
    }
    if (r->request_count == 0)
        return;
    r->outstanding = true;
    if (!s->reconfig) { /* the peer knows nothing of it: the stream just goes on counting */
        finish_request(s, false);
        return;
    }
    r->request_seq = r->next_seq++;
    r->anew = false;
    r->request_tsn = sctp_next_tsn(s) - 1;
    s->due |= DUE_RESET_REQUEST;
}

static void on_response(lk_sctp *s, lk_rd *rd)
{
    sctp_reset *r = s->reset;
    uint32_t seq = lk_rd_u32(rd), result = lk_rd_u32(rd);
    /* Only the newest number counts, though the older answer may say all we want: a number that the peer never saw would
     * be missing in what it expects, and it would refuse all that follow. */
    if (rd->bad || !r || !r->outstanding || seq != r->request_seq) {
        s->counters.dropped++;
        return;
    }
    if (result == RESULT_IN_PROGRESS) { /* it waits for data of ours; ask again later, under a number of its own */
        r->tries = 0;
        r->anew = true;
        return;
    }
    finish_request(s, result <= RESULT_DONE);
}

void lk_sctp_reset_timer(lk_sctp *s)
{
    s->reset->at = LK_NEVER;
    if (++s->reset->tries > SCTP_TRIES) {
        finish_request(s, false);
        return;
    }
    if (s->reset->anew)
        s->reset->request_seq = s->reset->next_seq++;
    s->reset->anew = false;
    s->due |= DUE_RESET_REQUEST;
}

/* ---- theirs ---- */
static bool reset_one(lk_sctp *s, uint16_t id)
{
    if (id >= s->config.streams)
        return true;
    sctp_out_stream *o = lk_sctp_out_stream_of(s, id); /* before the event, so that the answer cannot fail */
    if (!o || lk_sctp_rx_reset_stream(s, id) != LK_OK)
        return false;
    if (o->reset == RESET_DONE) { /* the answer to ours */
        o->reset = RESET_NONE;
    } else if (id < s->tx.streams_max) {
        o->peer_reset = true;
        lk_sctp_reset_want(s, o);
    }
    return true;
}

/* Resets what the deferred request names; goes on later where memory was refused. */
static bool run_deferred(lk_sctp *s)
{
    sctp_reset *r = s->reset;
    while (r->deferred_done < r->deferred_count) {
        if (!reset_one(s, r->deferred_streams[r->deferred_done]))
            return false;
        r->deferred_done++;
    }
    return true;
}

static void respond(lk_sctp *s, uint32_t seq, uint32_t result)
{
    s->reset->response_seq = seq;
    s->reset->response_result = result;
    s->due |= DUE_RESET_RESPONSE;
}

/* Told to wait, peers ask again under a new number, and may do so after we have done it. */
static bool is_asked_again(const sctp_reset *r, uint32_t last_tsn, lk_rd ids, size_t count)
{
    if (r->deferred_tsn != last_tsn || r->deferred_count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (lk_rd_u16(&ids) != r->deferred_streams[i])
            return false;
    return true;
}

static void on_outgoing_request(lk_sctp *s, lk_rd *rd)
{
    sctp_reset *r = get(s);
    uint32_t seq = lk_rd_u32(rd);
    (void)lk_rd_u32(rd);
    uint32_t last_tsn = lk_rd_u32(rd);
    size_t count = lk_rd_left(rd) / 2;
    if (rd->bad || !r) {
        s->counters.dropped += rd->bad;
        return;
    }
    if (seq != r->expected_seq) {
        respond(s, seq, seq == r->expected_seq - 1 ? r->result : RESULT_BAD_SEQ);
        return;
    }
    r->expected_seq++;
    r->waited = (r->deferred || r->waited) && is_asked_again(r, last_tsn, *rd, count);
    if (!r->waited) {
        /* All streams at once: nobody closes channels that way. One that waits is not forgotten for another. */
        if (count == 0 || count > SCTP_RESETS_MAX || r->deferred) {
            respond(s, seq, r->result = RESULT_DENIED);
            return;
        }
        r->deferred = true;
        r->deferred_tsn = last_tsn;
        r->deferred_count = (uint32_t)count;
        r->deferred_done = 0;
        for (size_t i = 0; i < count; i++)
            r->deferred_streams[i] = lk_rd_u16(rd);
        lk_sctp_reset_step(s);
    }
    r->waited = r->waited || r->deferred;
    respond(s, seq, r->result = r->deferred ? RESULT_IN_PROGRESS : RESULT_DONE);
}

/* Requests we have no use for get an answer all the same, or the peer would ask for ever. */
static void on_other_request(lk_sctp *s, lk_rd *rd, uint32_t result)
{
    sctp_reset *r = get(s);
    uint32_t seq = lk_rd_u32(rd);
    if (rd->bad || !r) {
        s->counters.dropped += rd->bad;
        return;
    }
    if (seq == r->expected_seq) {
        r->expected_seq++;
        respond(s, seq, r->result = result);
    } else {
        respond(s, seq, seq == r->expected_seq - 1 ? r->result : RESULT_BAD_SEQ);
    }
}

void lk_sctp_on_reconfig(lk_sctp *s, const lk_sctp_chunk *c)
{
    lk_rd r = lk_rd_of(c->value, c->len);
    lk_sctp_param p;
    for (int i = 0; i < 2 && lk_sctp_param_next(&r, &p); i++) { /* two at most [RFC6525 s3.1] */
        lk_rd v = lk_rd_of(p.value, p.len);
        switch (p.type) {
        case SCTP_PARAM_OUTGOING_RESET:
            on_outgoing_request(s, &v);
            break;
        case SCTP_PARAM_RESPONSE:
            on_response(s, &v);
            break;
        case SCTP_PARAM_ADD_OUTGOING: /* streams cost nothing before they are used */
            on_other_request(s, &v, RESULT_DONE);
            break;
        case SCTP_PARAM_INCOMING_RESET:
        case SCTP_PARAM_TSN_RESET:
        case SCTP_PARAM_ADD_INCOMING:
            on_other_request(s, &v, RESULT_DENIED);
            break;
        default:
            s->counters.dropped++;
            break;
        }
    }
    s->counters.dropped += r.bad;
}

void lk_sctp_reset_step(lk_sctp *s)
{
    sctp_reset *r = s->reset;
    if (!sctp_is_up(s))
        return;
    if (r && r->deferred && lk_ts32_diff(s->rx.cumulative, r->deferred_tsn) >= 0 && run_deferred(s)) {
        r->deferred = false;
        respond(s, r->expected_seq - 1, r->result = RESULT_DONE);
    }
    if (s->resets_wanted)
        make_request(s);
}

void lk_sctp_write_reset(lk_sctp *s, lk_usec now, lk_wr *w)
{
    sctp_reset *r = s->reset;
    if (!r || !(s->due & (DUE_RESET_REQUEST | DUE_RESET_RESPONSE)) ||
        w->cap - w->len < 40 + 2 * SCTP_RESETS_MAX)
        return;
    size_t at = lk_sctp_chunk_begin(w, SCTP_RECONFIG, 0);
    if (s->due & DUE_RESET_RESPONSE) {
        lk_wr_u16(w, SCTP_PARAM_RESPONSE);
        lk_wr_u16(w, 12);
        lk_wr_u32(w, r->response_seq);
        lk_wr_u32(w, r->response_result);
    }
    if (s->due & DUE_RESET_REQUEST) {
        lk_wr_u16(w, SCTP_PARAM_OUTGOING_RESET);
        lk_wr_u16(w, (uint16_t)(16 + 2 * r->request_count));
        lk_wr_u32(w, r->request_seq);
        lk_wr_u32(w, r->expected_seq - 1);
        lk_wr_u32(w, r->request_tsn);
        for (uint32_t i = 0; i < r->request_count; i++)
            lk_wr_u16(w, r->request[i]);
        r->at = now + lk_sctp_rto(s);
    }
    lk_sctp_chunk_end(w, at);
    s->due &= ~(uint32_t)(DUE_RESET_REQUEST | DUE_RESET_RESPONSE);
}
