// SPDX-License-Identifier: Apache-2.0
/* The rows of docs/faults.md that need nothing but a path and time: one fault in the middle of a call, and what must hold. */
#include "pc/pc_internal.h"
#include "sim/sim.h"

static bool talk(sim_world *w, const sim_pair_options *o)
{
    w->links[0] = w->links[1] = (sim_link){.delay = LK_MSEC(20)};
    if (!sim_connect(w, o))
        return false;
    sim_run(w, LK_SEC(8), sim_both_connected);
    sim_run(w, w->now + LK_SEC(3), NULL);
    return SIM_CHECK(w, sim_both_connected(w));
}

static bool talk_audio(sim_world *w) { return talk(w, &(sim_pair_options){.audio = true, .data = true}); }

static void both(sim_world *w, const sim_link *l)
{
    for (int i = 0; i < 2; i++) {
        uint64_t carried = w->links[i].carried;
        w->links[i] = *l;
        w->links[i].carried = carried;
    }
}

static bool never_interrupted(sim_world *w)
{
    bool ok = true;
    for (int i = 0; i < 2; i++)
        ok = SIM_CHECK(w, w->peers[i].reconnects == 0 && w->peers[i].disconnected_at == LK_NEVER) && ok;
    return ok;
}

/* Part of what was to be heard that was made up, and is no silence, since `before`. */
static double concealed(const lk_stats_InboundRtpStream *before, const lk_stats_InboundRtpStream *after)
{
    double all = (double)(after->total_samples_received - before->total_samples_received);
    return all > 0 ? (double)(after->concealed_samples - before->concealed_samples) / all : 1;
}

/* What a peer hears from here on, over that time. */
static double loss_heard(sim_world *w, int i, lk_usec span)
{
    lk_stats_InboundRtpStream before = sim_inbound(&w->peers[i]);
    sim_run(w, w->now + span, NULL);
    lk_stats_InboundRtpStream after = sim_inbound(&w->peers[i]);
    return concealed(&before, &after);
}

/* Suspended for 10 s: one tick catches up. Neither media nor checks are sent for the time that is gone. */
void sim_fault_stall(sim_world *w)
{
    if (!talk_audio(w))
        return;
    sim_peer *p = &w->peers[w->dice.s[0] & 1];
    p->asleep_until = w->now + LK_SEC(10);
    sim_run(w, p->asleep_until - 1, NULL);
    uint64_t sent = p->sent;
    sim_run(w, p->asleep_until + LK_MSEC(5), NULL);
    SIM_CHECK(w, p->sent - sent <= 12); /* a packet of audio, reports, a check, keys asked for */
    sent = p->sent;
    sim_run(w, w->now + LK_SEC(1), NULL);
    SIM_CHECK(w, p->sent - sent < 150); /* 50 packets of audio, and what belongs to them */
    SIM_CHECK(w, loss_heard(w, 0, LK_SEC(3)) < 0.02 && loss_heard(w, 1, LK_SEC(3)) < 0.02);
    SIM_CHECK(w, sim_both_connected(w) && p->failed_at == LK_NEVER);
}

/* The same, longer than consent: it is asked for again at once, and nothing is sent as if nothing had been. */
void sim_fault_stall_past_consent(sim_world *w)
{
    if (!talk_audio(w))
        return;
    sim_peer *p = &w->peers[w->dice.s[0] & 1], *other = &w->peers[1 - p->index];
    p->asleep_until = w->now + LK_SEC(60);
    lk_usec began = w->now;
    sim_run(w, p->asleep_until - 1, NULL);
    SIM_CHECK(w, other->failed_at >= began + LK_SEC(23) && other->failed_at <= began + LK_SEC(31));
    uint64_t sent = p->sent;
    sim_run(w, p->asleep_until + LK_SEC(45), NULL);
    SIM_CHECK(w, p->failed_at != LK_NEVER); /* nobody answers it any more */
    SIM_CHECK(w, p->sent - sent < 2500);
}

/* The client comes from another port all at once; authenticated checks move the pair. */
static void rebind(sim_world *w, bool lite)
{
    if (!talk(w, &(sim_pair_options){.audio = true, .client_behind_nat = true, .server_lite = lite}))
        return;
    w->peers[0].outside = lk_addr_v4(192, 0, 2, 7, 40001); /* what goes to the old one is lost, and counted */
    lk_usec moved = w->now;
    sim_run(w, moved + LK_SEC(10), NULL); /* two intervals of consent */
    uint64_t lost = w->counts.lost;
    SIM_CHECK(w, loss_heard(w, 0, LK_SEC(5)) < 0.02);
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(5)) < 0.02);
    SIM_CHECK(w, w->counts.lost == lost); /* the old address gets nothing more */
    SIM_CHECK(w, sim_both_connected(w));
}

void sim_fault_nat_rebinding(sim_world *w) { rebind(w, false); }
void sim_fault_nat_rebinding_lite(sim_world *w) { rebind(w, true); }

/* Every flip of a bit is caught by integrity: nothing is heard that was not said, nothing ends. */
void sim_fault_corruption(sim_world *w)
{
    if (!talk_audio(w))
        return;
    uint64_t before = w->counts.flipped;
    both(w, &(sim_link){.delay = LK_MSEC(20), .flip = 100});
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(20)) < 0.10);
    both(w, &(sim_link){.delay = LK_MSEC(20)});
    sim_run(w, w->now + LK_SEC(1), NULL);
    SIM_CHECK(w, w->counts.flipped - before > 100);
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(3)) == 0);
    never_interrupted(w);
    for (int i = 0; i < 2; i++) /* noise would be louder than the speech */
        SIM_CHECK(w, w->peers[i].energy_heard < 1.2 * w->peers[1 - i].energy_said);
}

/* Bursts as on a radio link (Gilbert-Elliott): the clock of what is heard has no gap, and after a burst all is well. */
void sim_fault_loss_bursts(sim_world *w)
{
    if (!talk_audio(w))
        return;
    both(w, &(sim_link){.delay = LK_MSEC(20), .burst = 20, .burst_end = 200});
    uint64_t heard = w->peers[1].frames_heard;
    lk_usec began = w->now;
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(30)) < 0.25);
    SIM_CHECK(w, (w->peers[1].frames_heard - heard) * 10000 + 200000 >= (uint64_t)(w->now - began));
    both(w, &(sim_link){.delay = LK_MSEC(20)});
    sim_run(w, w->now + LK_SEC(1), NULL);
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(3)) < 0.01);
    SIM_CHECK(w, w->peers[0].failed_at == LK_NEVER && w->peers[1].failed_at == LK_NEVER);
}

/* Half of everything comes twice: heard once, counted once. */
void sim_fault_duplicates(sim_world *w)
{
    if (!talk_audio(w))
        return;
    both(w, &(sim_link){.delay = LK_MSEC(20), .duplicate = 500});
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(10)) == 0);
    lk_stats out[64];
    memset(out, 0, sizeof out);
    uint64_t sent = 0, received = 0;
    size_t n = lk_pc_stats_all(w->peers[0].pc, w->now, out, LK_LEN(out));
    for (size_t i = 0; i < n; i++)
        if (out[i].kind == LK_STATS_outbound_rtp)
            sent += out[i].outbound_rtp.sent.packets_sent;
    memset(out, 0, sizeof out);
    n = lk_pc_stats_all(w->peers[1].pc, w->now, out, LK_LEN(out));
    for (size_t i = 0; i < n; i++)
        if (out[i].kind == LK_STATS_inbound_rtp)
            received += out[i].inbound_rtp.received.packets_received;
    SIM_CHECK(w, sent > 400 && received <= sent && received + 10 > sent);
    never_interrupted(w);
}

/* The path becomes narrow and wide again: speech stays, the queue does not grow without end. Speech with its redundancy is a
 * sixth more than 100 kbit/s: the queue drops one packet in six or seven, and seldom (1 seed of 70) so that the redundancy
 * is dropped with it; it is never worse than without. */
void sim_fault_bandwidth_step(sim_world *w)
{
    if (!talk_audio(w))
        return;
    both(w, &(sim_link){.delay = LK_MSEC(20), .rate_bps = 100000, .queue_bytes = 10000});
    sim_run(w, w->now + LK_SEC(5), NULL);
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(10)) < 0.15);
    both(w, &(sim_link){.delay = LK_MSEC(20), .rate_bps = 5000000, .queue_bytes = 100000});
    sim_run(w, w->now + LK_SEC(2), NULL);
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(5)) < 0.01);
    SIM_CHECK(w, sim_both_connected(w) && w->peers[0].failed_at == LK_NEVER && w->peers[1].failed_at == LK_NEVER);
}

/* Longer datagrams than the path takes vanish without a word; `mtu` is of the datagram, 28 bytes below that of IPv4. */
static void black_hole(sim_world *w, size_t mtu)
{
    w->links[0] = w->links[1] = (sim_link){.delay = LK_MSEC(20), .mtu = mtu - 28};
    if (!sim_connect(w, &(sim_pair_options){.audio = true, .data = true}))
        return;
    sim_run(w, LK_SEC(4), sim_both_connected);
    sim_run(w, w->now + LK_SEC(1), NULL);
    SIM_CHECK(w, sim_both_connected(w));
    SIM_CHECK(w, loss_heard(w, 1, LK_SEC(5)) == 0);
    never_interrupted(w);
}

void sim_fault_mtu_1280(sim_world *w) { black_hole(w, 1280); }
void sim_fault_mtu_1200(sim_world *w) { black_hole(w, 1200); }

/* Below what is promised: connected, or given up, within 15 s; never a silence without an end. */
void sim_fault_mtu_1000(sim_world *w)
{
    w->links[0] = w->links[1] = (sim_link){.delay = LK_MSEC(20), .mtu = 1000 - 28};
    if (!sim_connect(w, &(sim_pair_options){.audio = true}))
        return;
    sim_run(w, LK_SEC(15), sim_both_connected);
    SIM_CHECK(w, sim_both_connected(w) || w->peers[0].failed_at != LK_NEVER);
}
