// SPDX-License-Identifier: Apache-2.0
/* What acknowledgements tell: what arrived, what must be lost, how long the way is and how much it carries.
 *
 * Loss is found by time [RFC8985, applied to TSNs]: a chunk is lost when one sent clearly later has arrived. A probe goes
 * out when nothing was heard for two round trips, so that a lost tail shows by acknowledgement instead of by timeout.
 * The window follows RFC 9260 with two changes. A way that loses by itself, whatever we send, is not full: as long as round
 * trips are as short as ever, only the share of losses above the way's own closes the window. Which share is its own is
 * tried, not guessed: the window is made smaller, and when as much is lost as before it was not us, and the window is given
 * back. And while nothing queues the window grows by a share of itself, so that long ways fill in seconds. */
#include "sctp/sctp_internal.h"

#define MTU(s) ((s)->config.mtu_bytes)
#define CWND_FIRST_MTU 10
#define CWND_MIN_MTU 4
#define FLOOR_MIN_MTU 16
#define FLOOR_MAX_MTU 64
#define FLOOR_BYTES_PER_SEC 250000
#define BASE_LIFE LK_SEC(30)
#define GROWTH_MTU 16 /* one MTU for so many acknowledged */
#define QUEUE_MIN LK_MSEC(10)
#define HEAVY_PERMILLE 280 /* no way loses that much by itself */
#define LIGHT_PERMILLE 20
#define EXCESS_PERMILLE 25 /* above the way's own, and half of it: chance alone */
#define SAMPLE 256         /* chunks whose fate is known */
#define SAMPLE_TRIAL 128
#define SAMPLE_STEP 64
#define SAMPLE_FIRST 96
#define SAMPLE_LEAST 48
#define UNKNOWN UINT32_MAX
#define PROBES_MAX 3
#define PROBE_MIN LK_MSEC(10)
#define REORDER_MIN LK_MSEC(1)

void lk_sctp_cc_init(lk_sctp *s, lk_usec now)
{
    s->cc = (sctp_cc){.cwnd = CWND_FIRST_MTU * MTU(s),
                      .ssthresh = UINT32_MAX,
                      .rto = SCTP_RTO_INITIAL,
                      .base_rtt = LK_NEVER,
                      .base_next = LK_NEVER,
                      .base_until = now + BASE_LIFE,
                      .round_min = LK_NEVER,
                      .before_min = LK_NEVER,
                      .reorder_share = 1,
                      .own_permille = UNKNOWN,
                      .immediate_at = now - LK_SEC(1),
                      .timer_at = LK_NEVER,
                      .rack_at = LK_NEVER};
}

/* ---- round trips ---- */
lk_usec lk_sctp_rto(const lk_sctp *s)
{
    lk_usec rto = s->cc.rto << LK_MIN(s->cc.backoff, 6u);
    return LK_MIN(rto, SCTP_RTO_MAX);
}

static void measure(lk_sctp *s, lk_usec now, lk_usec rtt)
{
    sctp_cc *c = &s->cc;
    rtt = LK_MAX(rtt, (lk_usec)1);
    if (!c->srtt) { /* [RFC9260 s6.3.1] */
        c->srtt = rtt;
        c->rttvar = rtt / 2;
    } else {
        lk_usec off = rtt > c->srtt ? rtt - c->srtt : c->srtt - rtt;
        c->rttvar += (off - c->rttvar) / 4;
        c->srtt = LK_MAX(c->srtt + (rtt - c->srtt) / 8, (lk_usec)1);
    }
    c->rto = LK_MIN(c->srtt + LK_MAX(4 * c->rttvar, SCTP_RTO_VAR_MIN), SCTP_RTO_MAX);
    if (now >= c->base_until) {
        c->base_rtt = c->base_next;
        c->base_next = LK_NEVER;
        c->base_until = now + BASE_LIFE;
    }
    c->base_rtt = LK_MIN(c->base_rtt, rtt);
    c->base_next = LK_MIN(c->base_next, rtt);
    c->round_min = LK_MIN(c->round_min, rtt);
}

static bool is_queueing(const lk_sctp *s)
{
    const sctp_cc *c = &s->cc;
    lk_usec least = LK_MIN(c->round_min, c->before_min);
    if (least == LK_NEVER || c->base_rtt == LK_NEVER)
        return false;
    return least - c->base_rtt > LK_MAX(QUEUE_MIN, c->base_rtt / 4);
}

/* ---- window ---- */
/* What a modest rate needs. */
static uint32_t modest_bytes(const lk_sctp *s)
{
    lk_usec base = s->cc.base_rtt == LK_NEVER ? 0 : s->cc.base_rtt;
    lk_usec bytes = LK_MIN(base, LK_SEC(1)) * FLOOR_BYTES_PER_SEC / LK_SEC(1);
    return LK_CLAMP((uint32_t)bytes, FLOOR_MIN_MTU * MTU(s), FLOOR_MAX_MTU * MTU(s));
}

static uint32_t floor_bytes(const lk_sctp *s)
{
    uint32_t least = modest_bytes(s);
    /* A way that takes less than that is full, though its queue may be too short to show it. */
    uint32_t taken = s->cc.delivered ? LK_MIN(s->cc.delivered, UINT32_MAX / 3) / 2 * 3 : least;
    return LK_MAX(LK_MIN(least, taken), CWND_MIN_MTU * MTU(s));
}

/* ---- losses: how many, and whether they are ours ---- */
static uint32_t share(uint32_t lost, uint32_t sum) { return sum ? (uint32_t)((uint64_t)1000 * lost / sum) : 0; }

/* Of the last few hundred chunks. */
static uint32_t loss_permille(const lk_sctp *s)
{
    const sctp_cc *c = &s->cc;
    uint32_t sum = c->sample.lost + c->sample.acked + c->before.lost + c->before.acked;
    return sum < SAMPLE_LEAST ? 0 : share(c->sample.lost + c->before.lost, sum);
}

static bool is_own(const lk_sctp *s, uint32_t permille)
{
    uint32_t own = s->cc.own_permille;
    own = own == UNKNOWN ? 0 : own;
    return permille < HEAVY_PERMILLE && permille <= own + own / 2 + EXCESS_PERMILLE;
}

static void begin_sample(lk_sctp *s, sctp_sample before)
{
    s->cc.before = before;
    s->cc.sample = (sctp_sample){0, 0};
}

static bool is_trial_small(const lk_sctp *s)
{
    const sctp_cc *c = &s->cc;
    return c->trial_cwnd && c->cwnd <= LK_MAX(c->trial_cwnd / 10 * 7, floor_bytes(s));
}

/* The window was made smaller because of losses. When they have not become far fewer, but what arrives has, they are the
 * way's own: a full way goes on carrying what it can. */
static void judge_trial(lk_sctp *s, uint32_t permille)
{
    sctp_cc *c = &s->cc;
    bool fewer = permille * 5 < c->trial_permille * 3, as_much = c->delivered > c->trial_delivered / 10 * 9;
    if (is_trial_small(s) && !fewer && !as_much && permille < HEAVY_PERMILLE) {
        c->ssthresh = c->own_permille == UNKNOWN ? UINT32_MAX : c->trial_cwnd;
        c->own_permille = permille;
        c->cwnd = c->trial_cwnd;
        c->trial_cwnd = 0;
    } else if (is_own(s, permille) || is_trial_small(s)) { /* it was us */
        if (as_much && c->own_permille != UNKNOWN && c->cwnd <= c->trial_cwnd / 20 * 17)
            c->own_permille /= 2;
        c->trial_cwnd = 0;
    }
}

static uint32_t sample_needed(const lk_sctp *s)
{
    if (s->cc.trial_cwnd)
        return is_trial_small(s) ? SAMPLE_TRIAL : SAMPLE_STEP;
    return s->cc.own_permille == UNKNOWN ? SAMPLE_FIRST : SAMPLE;
}

/* So little fills no way, if it arrives. */
static bool is_modest(const lk_sctp *s)
{
    uint32_t modest = modest_bytes(s), arriving = LK_MIN(modest, LK_MAX(s->cc.cwnd, FLOOR_MIN_MTU * MTU(s)));
    return s->cc.cwnd <= modest / 2 * 3 && floor_bytes(s) >= arriving;
}

static void end_sample(lk_sctp *s)
{
    sctp_cc *c = &s->cc;
    uint32_t sum = c->sample.lost + c->sample.acked, permille = share(c->sample.lost, sum);
    if (c->resample || sum < sample_needed(s))
        return;
    if (c->trial_cwnd)
        judge_trial(s, permille);
    if (c->own_permille == UNKNOWN || permille < c->own_permille / 2)
        c->own_permille = is_own(s, permille) ? permille : UNKNOWN;
    else if (permille < c->own_permille)
        c->own_permille = (3 * c->own_permille + permille) / 4; /* upwards by a trial alone: a full way loses a little too */
    if (!is_own(s, permille) && permille < HEAVY_PERMILLE && !is_queueing(s) && is_modest(s)) {
        c->own_permille = permille;
        c->ssthresh = UINT32_MAX;
        c->trial_cwnd = 0;
    }
    begin_sample(s, c->sample);
}

/* A round is over when something sent after its begin has arrived. */
static void end_round(lk_sctp *s, lk_usec now, uint32_t order)
{
    sctp_cc *c = &s->cc;
    if (lk_ts32_diff(order, c->round_order) < 0)
        return;
    end_sample(s);
    if (c->cwnd < c->ssthresh && is_queueing(s))
        c->ssthresh = c->cwnd; /* no need to lose a queue full to learn that it fills */
    if (c->base_rtt != LK_NEVER && now > c->round_at) {
        uint64_t bytes = (uint64_t)c->round_bytes * (uint64_t)c->base_rtt / (uint64_t)(now - c->round_at);
        uint32_t faded = c->delivered - (c->limited ? c->delivered / 8 : 0);
        c->delivered = LK_MAX((uint32_t)LK_MIN(bytes, (uint64_t)UINT32_MAX), faded);
    }
    c->round_at = now;
    c->round_bytes = 0;
    c->before_min = c->round_min;
    c->round_min = LK_NEVER;
    c->round_order = s->tx.order;
}

static uint32_t reduced(const lk_sctp *s)
{
    const sctp_cc *c = &s->cc;
    uint32_t window = c->cwnd, lost = loss_permille(s);
    if (is_queueing(s) || lost >= HEAVY_PERMILLE) /* that explains it */
        return LK_MAX(window / 10 * 7, CWND_MIN_MTU * MTU(s));
    if (!is_own(s, lost) && is_trial_small(s))
        return window; /* to be judged first */
    if (!is_own(s, lost) && c->own_permille == UNKNOWN)
        return LK_MAX(window / 10 * 6, floor_bytes(s));
    if (!is_own(s, lost))
        window = window / 20 * 17;
    else if (c->own_permille == UNKNOWN || (lost < LIGHT_PERMILLE && c->own_permille < LIGHT_PERMILLE))
        window = window / 50 * 49;
    return LK_MAX(window, floor_bytes(s));
}

static void on_loss(lk_sctp *s)
{
    sctp_cc *c = &s->cc;
    if (c->recovering)
        return; /* once in a round trip */
    c->recovering = true;
    c->recovery_order = s->tx.order;
    uint32_t window = reduced(s), lost = loss_permille(s);
    c->reduced = window < c->cwnd;
    if (c->own_permille == UNKNOWN)
        c->ssthresh = LK_MIN(c->ssthresh, LK_MAX(window, c->cwnd));
    if (!c->reduced)
        return; /* it goes on as if nothing had been lost */
    if (is_queueing(s)) {
        c->trial_cwnd = 0;
    } else if (!is_own(s, lost)) {
        if (!c->trial_cwnd) {
            c->trial_cwnd = c->cwnd;
            c->trial_permille = LK_MIN(lost, HEAVY_PERMILLE);
            c->trial_delivered = 0;
        }
        c->resample = true;
    }
    c->ssthresh = c->cwnd = window;
    c->partial = 0;
}

/* What is lost from now on was sent with the smaller window. */
static void end_recovery(lk_sctp *s)
{
    sctp_cc *c = &s->cc;
    c->recovering = false;
    if (!c->resample)
        return;
    c->resample = false;
    c->trial_delivered = LK_MAX(c->trial_delivered, c->delivered);
    begin_sample(s, (sctp_sample){0, 0});
}

static void grow(lk_sctp *s, uint32_t bytes)
{
    sctp_cc *c = &s->cc;
    if (!c->limited || is_trial_small(s))
        return;
    if (c->cwnd < c->ssthresh) {
        c->cwnd += bytes;
    } else {
        uint32_t need = is_queueing(s) ? c->cwnd : LK_MIN(c->cwnd, GROWTH_MTU * MTU(s));
        for (c->partial += bytes; c->partial >= need; c->partial -= need)
            c->cwnd += MTU(s);
    }
    c->cwnd = LK_MIN(c->cwnd, LK_MAX(s->config.send_buffer_bytes, CWND_FIRST_MTU * MTU(s)));
}

/* ---- loss ---- */
static void mark_lost(lk_sctp *s, lk_usec now, uint32_t tsn)
{
    sctp_out_chunk *c = sctp_chunk(s, tsn);
    lk_sctp_unfly(s, tsn);
    c->state = CHUNK_LOST;
    if (s->tx.lost_count++ == 0 || lk_ts32_diff(tsn, s->tx.lost_hint) < 0)
        s->tx.lost_hint = tsn;
    if (lk_sctp_is_exhausted(s, now, c))
        (void)lk_sctp_abandon(s, c->message);
}

/* How much later than its successors a chunk may arrive. [RFC8985 s6.2 step 4] */
static lk_usec reorder_wait(const lk_sctp *s)
{
    const sctp_cc *c = &s->cc;
    lk_usec base = c->base_rtt == LK_NEVER ? 0 : c->base_rtt;
    lk_usec wait = base / 4 * c->reorder_share;
    return LK_MAX(LK_MIN(wait, c->srtt), REORDER_MIN);
}

void lk_sctp_on_rack(lk_sctp *s, lk_usec now)
{
    sctp_cc *c = &s->cc;
    bool lost = false;
    c->rack_at = LK_NEVER;
    while (c->rack_valid && s->tx.flying_count) {
        uint32_t tsn = s->tx.flying_head;
        const sctp_out_chunk *k = sctp_chunk(s, tsn);
        if (lk_ts32_diff(k->order, c->rack_order) >= 0)
            break;
        lk_usec at = k->sent_at + c->rack_rtt + reorder_wait(s);
        if (at > now) {
            c->rack_at = at;
            break;
        }
        c->sample.lost++;
        lost = true;
        mark_lost(s, now, tsn);
    }
    if (lost)
        on_loss(s);
}

/* ---- acknowledgements ---- */
typedef struct acked {
    uint32_t bytes, order;
    lk_usec rtt; /* of the last one sent, if sent once; 0: none */
    bool any, cumulative;
    uint32_t rtt_order;
} acked;

static void ack_chunk(lk_sctp *s, lk_usec now, uint32_t tsn, acked *a)
{
    sctp_out_chunk *k = sctp_chunk(s, tsn);
    sctp_cc *c = &s->cc;
    if (k->state == CHUNK_ACKED || k->state == CHUNK_ABANDONED)
        return;
    bool once = k->transmissions == 1;
    lk_usec rtt = now - k->sent_at;
    if (k->state == CHUNK_FLYING) {
        lk_sctp_unfly(s, tsn);
    } else { /* it was only late */
        s->tx.lost_count--;
        if (once)
            c->reorder_share = LK_MIN(c->reorder_share + 1, 4u);
    }
    k->state = CHUNK_ACKED;
    if (!a->any || lk_ts32_diff(k->order, a->order) > 0)
        a->order = k->order;
    if (once && (!a->rtt || lk_ts32_diff(k->order, a->rtt_order) > 0)) {
        a->rtt = LK_MAX(rtt, (lk_usec)1);
        a->rtt_order = k->order;
    }
    /* An answer quicker than the way can be is one to the transmission before. */
    if ((once || rtt >= c->base_rtt) && (!c->rack_valid || lk_ts32_diff(k->order, c->rack_order) > 0)) {
        c->rack_valid = true;
        c->rack_order = k->order;
        c->rack_rtt = rtt;
    }
    a->any = true;
    a->bytes += k->len;
    c->sample.acked++;
    c->round_bytes += k->len;
}

static void ack_cumulative(lk_sctp *s, lk_usec now, uint32_t count, acked *a)
{
    a->cumulative = count != 0;
    for (; count; count--) {
        ack_chunk(s, now, s->tx.base, a);
        lk_sctp_pop_chunk(s);
    }
}

/* What was reported once and is no longer has been thrown away by the peer. [RFC9260 s6.2.1] */
static void take_back(lk_sctp *s, lk_usec now, uint32_t tsn, uint32_t end)
{
    for (; tsn != end; tsn++) {
        sctp_out_chunk *k = sctp_chunk(s, tsn);
        if (k->state != CHUNK_ACKED)
            continue;
        lk_sctp_fly(s, tsn);
        mark_lost(s, now, tsn);
    }
}

#define GAPS_TRUSTED 16 /* some peers report no more than twenty */
static void ack_gaps(lk_sctp *s, lk_usec now, lk_sctp_sack *sack, acked *a)
{
    uint32_t at = 0; /* TSNs behind the cumulative one that are dealt with */
    for (uint32_t i = 0; i < sack->gap_count; i++) {
        uint32_t first = lk_rd_u16(&sack->gaps), last = lk_rd_u16(&sack->gaps);
        if (first <= at || last < first || last > s->tx.count) {
            s->counters.dropped++;
            return;
        }
        if (a->cumulative) /* surely newer than what was reported before */
            take_back(s, now, sack->cumulative + 1 + at, sack->cumulative + first);
        for (; first <= last; first++)
            ack_chunk(s, now, sack->cumulative + first, a);
        at = last;
    }
    if (a->cumulative && sack->gap_count < GAPS_TRUSTED)
        take_back(s, now, sack->cumulative + 1 + at, sctp_next_tsn(s));
}

static void finish(lk_sctp *s, lk_usec now, const acked *a)
{
    sctp_cc *c = &s->cc;
    lk_sctp_advance(s);
    if (a->any) {
        if (a->rtt)
            measure(s, now, a->rtt);
        if (c->recovering && lk_ts32_diff(a->order, c->recovery_order) >= 0)
            end_recovery(s);
        if (!c->recovering || c->cwnd < c->ssthresh || !c->reduced)
            grow(s, a->bytes);
        end_round(s, now, a->order);
        c->backoff = 0;
        c->probes = 0;
        s->tries = 0;
    }
    lk_sctp_on_rack(s, now);
    c->limited = s->tx.lost_count != 0;
    if (lk_ts32_diff(s->tx.advanced, s->tx.base) >= 0 && now - s->tx.forward_at >= LK_MAX(c->srtt, PROBE_MIN))
        s->due |= DUE_FORWARD_TSN;
    lk_sctp_arm(s, now, a->any || a->cumulative);
}

void lk_sctp_on_cumulative(lk_sctp *s, lk_usec now, uint32_t tsn)
{
    acked a = {0};
    uint32_t count = tsn - (s->tx.base - 1);
    if (count > s->tx.count)
        return;
    ack_cumulative(s, now, count, &a);
    finish(s, now, &a);
}

void lk_sctp_on_sack(lk_sctp *s, lk_usec now, const lk_sctp_chunk *chunk)
{
    lk_sctp_sack sack;
    acked a = {0};
    if (lk_sctp_sack_parse(&sack, chunk) != LK_OK) {
        s->counters.dropped++;
        return;
    }
    if (lk_ts32_diff(sack.cumulative, s->tx.base - 1) < 0)
        return; /* older than what we know */
    uint32_t count = sack.cumulative - (s->tx.base - 1);
    if (count > s->tx.count) {
        s->counters.dropped++; /* acknowledges what was never sent */
        return;
    }
    ack_cumulative(s, now, count, &a);
    ack_gaps(s, now, &sack, &a);
    s->tx.peer_rwnd = sack.rwnd_bytes;
    if (sack.rwnd_bytes < MTU(s))
        s->tries = 0; /* it lives, it only has no room [RFC9260 s6.1 rule A] */
    finish(s, now, &a);
}

/* ---- timer: the probe, then the timeout [RFC8985 s7] [RFC9260 s6.3] ---- */
void lk_sctp_arm(lk_sctp *s, lk_usec now, bool restart)
{
    sctp_cc *c = &s->cc;
    const sctp_tx *t = &s->tx;
    bool forward = lk_ts32_diff(t->advanced, t->base) >= 0;
    if (!t->flying_count && !forward) {
        c->timer_at = LK_NEVER;
        return;
    }
    /* A peer without room is asked ever more rarely, unless all it has waits for what is missing. */
    bool heard = t->peer_rwnd >= MTU(s) || t->count > t->flying_count + t->lost_count;
    bool probe = t->flying_count && c->srtt && c->probes < PROBES_MAX && c->backoff == 0 && heard;
    if (c->timer_at != LK_NEVER && !restart && !(probe && c->timer_is_probe))
        return;
    lk_usec wait = lk_sctp_rto(s);
    if (probe) {
        lk_usec quiet = 2 * c->srtt;
        const sctp_out_chunk *tail = sctp_chunk(s, t->flying_tail);
        if (!(tail->flags & SCTP_DATA_IMMEDIATE))
            quiet += t->flying_count == 1 ? SCTP_PEER_SACK_DELAY : SCTP_SACK_DELAY;
        wait = LK_MIN(wait, LK_MAX(quiet, PROBE_MIN));
    }
    c->timer_is_probe = probe;
    c->timer_at = now + wait;
}

static void probe(lk_sctp *s, lk_usec now)
{
    sctp_tx *t = &s->tx;
    s->cc.probes++;
    t->probe_credit = true;
    uint32_t tail = t->flying_tail;
    bool new_data = lk_sctp_has_new_data(s) && t->flight_bytes + MTU(s) <= t->peer_rwnd;
    if (t->lost_count || new_data || lk_sctp_is_exhausted(s, now, sctp_chunk(s, tail)))
        return; /* something else to send tells as much */
    mark_lost(s, now, tail);
}

static void timeout(lk_sctp *s, lk_usec now)
{
    sctp_cc *c = &s->cc;
    sctp_tx *t = &s->tx;
    s->counters.timeouts++;
    if (++s->tries > SCTP_TRIES) {
        lk_sctp_close(s, LK_ERR_TIMEOUT);
        return;
    }
    c->backoff++;
    if (t->flying_count) {
        c->ssthresh = reduced(s);
        c->cwnd = LK_MIN(c->cwnd, CWND_MIN_MTU * MTU(s));
        c->partial = 0;
        c->recovering = c->resample = false;
        c->trial_cwnd = 0;
        begin_sample(s, (sctp_sample){0, 0});
        c->rack_valid = false;
        c->rack_at = LK_NEVER;
    }
    while (t->flying_count)
        mark_lost(s, now, t->flying_head);
    if (t->count && sctp_chunk(s, t->base)->state == CHUNK_ACKED) /* then it cannot have kept it */
        take_back(s, now, t->base, t->base + 1);
    if (lk_ts32_diff(t->advanced, t->base) >= 0)
        s->due |= DUE_FORWARD_TSN;
}

void lk_sctp_on_timer(lk_sctp *s, lk_usec now)
{
    bool is_probe = s->cc.timer_is_probe;
    s->cc.timer_at = LK_NEVER;
    if (is_probe && s->tx.flying_count)
        probe(s, now);
    else
        timeout(s, now);
    lk_sctp_arm(s, now, true);
}
