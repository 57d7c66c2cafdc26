// SPDX-License-Identifier: Apache-2.0
#include "nack/nack.h"

#define RTT_DEFAULT LK_MSEC(100)
#define RTT_MIN LK_MSEC(5)
#define RTT_MAX LK_MSEC(800)
#define SPACING_MAX LK_MSEC(910)
#define REORDER_WAIT LK_MSEC(20)
#define JITTER_WAIT LK_MSEC(10)
#define AGE_MAX LK_SEC(1)

void lk_nack_generator_init(lk_nack_generator *g)
{
    *g = (lk_nack_generator){.rtt_usec = RTT_DEFAULT};
}

void lk_nack_generator_set_rtt(lk_nack_generator *g, lk_usec rtt_usec)
{
    g->rtt_usec = LK_CLAMP(rtt_usec, RTT_MIN, RTT_MAX);
}

/* Time to the next request after n of them: the answer cannot be here before an RTT, and one that jitter holds up a little is
 * not worth to be sent twice. */
static lk_usec spacing(const lk_nack_generator *g, unsigned tries)
{
    lk_usec wait = g->rtt_usec + g->rtt_usec / 8 + JITTER_WAIT;
    for (unsigned i = 2; i < tries && wait < SPACING_MAX; i++)
        wait += wait / 4;
    return LK_MIN(wait, SPACING_MAX);
}

static void drop_first(lk_nack_generator *g, size_t n)
{
    memmove(g->missing, g->missing + n, (g->count - n) * sizeof g->missing[0]);
    g->count = (uint16_t)(g->count - n);
}

static void add_gap(lk_nack_generator *g, lk_usec now, int64_t seq)
{
    int64_t from = g->highest + 1;
    if (seq - from > (int64_t)LK_NACK_OUTSTANDING_MAX) { /* only the newest can be asked for */
        g->given_up += (uint64_t)(seq - from) - LK_NACK_OUTSTANDING_MAX;
        from = seq - LK_NACK_OUTSTANDING_MAX;
    }
    size_t need = (size_t)(seq - from);
    if (g->count + need > LK_NACK_OUTSTANDING_MAX) {
        size_t over = g->count + need - LK_NACK_OUTSTANDING_MAX;
        g->given_up += over;
        drop_first(g, over);
    }
    for (; from < seq; from++) {
        lk_usec wait = LK_MIN(REORDER_WAIT, g->rtt_usec / 2);
        g->missing[g->count++] = (lk_nack_missing){.seq = from, .since = now, .next_at = now + wait};
    }
}

void lk_nack_generator_receive(lk_nack_generator *g, lk_usec now, uint16_t seq16)
{
    if (!g->started) {
        g->started = true;
        g->highest = seq16;
        return;
    }
    int64_t seq = g->highest + lk_seq16_diff(seq16, (uint16_t)g->highest);
    if (seq > g->highest + LK_NACK_JUMP_MAX || seq < g->highest - LK_NACK_JUMP_MAX) {
        g->count = 0;
        g->highest = seq;
        return;
    }
    if (seq > g->highest) {
        add_gap(g, now, seq);
        g->highest = seq;
        return;
    }
    for (size_t i = g->count; i-- > 0 && g->missing[i].seq >= seq;) {
        if (g->missing[i].seq != seq)
            continue;
        g->recovered += g->missing[i].tries > 0;
        if (g->missing[i].tries == 1) {
            lk_usec took = now - g->missing[i].asked_at;
            g->answer_usec = g->answer_usec ? (3 * g->answer_usec + took) / 4 : took;
        }
        memmove(g->missing + i, g->missing + i + 1, (g->count - i - 1u) * sizeof g->missing[0]);
        g->count--;
    }
}

lk_usec lk_nack_generator_deadline(const lk_nack_generator *g)
{
    lk_usec at = LK_NEVER;
    for (size_t i = 0; i < g->count; i++)
        at = LK_MIN(at, g->missing[i].next_at);
    return at;
}

size_t lk_nack_generator_collect(lk_nack_generator *g, lk_usec now, uint16_t *seqs, size_t cap)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < g->count; i++) {
        lk_nack_missing m = g->missing[i];
        if (m.next_at <= now && (m.tries == LK_NACK_TRIES_MAX || now - m.since > AGE_MAX)) {
            g->given_up++;
            continue;
        }
        if (m.next_at <= now && n < cap) {
            seqs[n++] = (uint16_t)m.seq;
            m.tries++;
            m.asked_at = now;
            m.next_at = now + spacing(g, m.tries);
            g->requested++;
        }
        g->missing[kept++] = m;
    }
    g->count = (uint16_t)kept;
    return n;
}
