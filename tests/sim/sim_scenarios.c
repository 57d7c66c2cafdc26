// SPDX-License-Identifier: Apache-2.0
#include "sim/sim.h"

#include <math.h>

#include "pc/pc_internal.h"

static void both_links(sim_world *w, const sim_link *l) { w->links[0] = w->links[1] = *l; }

static void establish(sim_world *w, const sim_pair_options *o, lk_usec within)
{
    if (!sim_connect(w, o))
        return;
    sim_run(w, within, sim_both_connected);
    SIM_CHECK(w, sim_both_connected(w));
}

/* ---- establishing --------------------------------------------------------------------------------------------- */

static void establish_clean(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(1)});
    establish(w, &(sim_pair_options){0}, LK_SEC(1));
    /* Checks, then four flights of DTLS: nothing waits for a timer on a clean path. */
    SIM_CHECK(w, w->peers[0].connected_at < LK_MSEC(120));
}

static void establish_slow(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(500)});
    establish(w, &(sim_pair_options){0}, LK_SEC(12));
}

static void establish_loss_10(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(30), .loss = 100, .lose_nth = 3});
    establish(w, &(sim_pair_options){0}, LK_SEC(12));
}

static void establish_loss_30(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(30), .loss = 300, .lose_nth = 3});
    establish(w, &(sim_pair_options){0}, LK_SEC(14));
}

static void establish_disorder(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(40), .reorder = 200, .reorder_by = LK_MSEC(60), .duplicate = 200});
    establish(w, &(sim_pair_options){0}, LK_SEC(8));
    sim_run(w, w->now + LK_SEC(5), NULL); /* keep-alive makes enough packets for the world to shuffle */
}

static void establish_ipv6(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(5)});
    establish(w, &(sim_pair_options){.ipv6 = true}, LK_SEC(1));
}

static void establish_lite(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(5), .loss = 50, .lose_nth = 2});
    establish(w, &(sim_pair_options){.server_lite = true}, LK_SEC(8));
    sim_run(w, w->now + LK_SEC(10), NULL);
    SIM_CHECK(w, sim_both_connected(w));
}

static void establish_role_conflict(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    establish(w, &(sim_pair_options){.both_controlling = true}, LK_SEC(4));
}

static void establish_ipv6_role_conflict(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10), .loss = 100, .lose_nth = 2});
    establish(w, &(sim_pair_options){.ipv6 = true, .both_controlling = true}, LK_SEC(10));
}

static void establish_lite_behind_nat(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(40), .jitter = LK_MSEC(30), .loss = 100, .lose_nth = 2});
    establish(w, &(sim_pair_options){.server_lite = true, .client_behind_nat = true}, LK_SEC(10));
    sim_run(w, w->now + LK_SEC(60), NULL); /* consent goes on through the NAT */
    SIM_CHECK(w, sim_both_connected(w));
}

static void establish_behind_nat(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    establish(w, &(sim_pair_options){.client_behind_nat = true}, LK_SEC(4));
}

/* The server can be reached only after it has sent to where we are seen, and only a STUN server knows where that is. */
static void establish_reflexive(sim_world *w)
{
    const lk_addr stun = lk_addr_v4(198, 51, 100, 1, 3478);
    both_links(w, &(sim_link){.delay = LK_MSEC(20)});
    w->stun = stun;
    if (!sim_connect(w, &(sim_pair_options){.client_behind_nat = true, .server_walled = true}))
        return;
    sim_run(w, LK_SEC(3), sim_both_connected);
    SIM_CHECK(w, !sim_both_connected(w));
    SIM_CHECK(w, lk_pc_add_stun_server(w->peers[0].pc, w->now, &stun) == LK_OK);
    sim_drain(w);
    sim_run(w, LK_SEC(7), sim_both_connected);
    SIM_CHECK(w, sim_both_connected(w));
}

static void establish_late_trickle(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    w->peers[0].hold_candidates = w->peers[1].hold_candidates = true;
    if (!sim_connect(w, &(sim_pair_options){0}))
        return;
    sim_run(w, LK_SEC(4), sim_both_connected);
    SIM_CHECK(w, !sim_both_connected(w));
    sim_release_candidates(w, 1);
    sim_run(w, LK_SEC(8), sim_both_connected);
    SIM_CHECK(w, sim_both_connected(w));
}

static void consent_lost(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    establish(w, &(sim_pair_options){0}, LK_SEC(4));
    sim_run(w, LK_SEC(20), NULL);
    SIM_CHECK(w, sim_both_connected(w));
    lk_usec cut = w->now;
    w->links[0].down = w->links[1].down = true;
    sim_run(w, cut + LK_SEC(60), NULL);
    const sim_peer *p = &w->peers[0];
    /* [RFC7675 s5.1]: 30 s after the last answer; checks go out at most 6 s apart. */
    SIM_CHECK(w, p->disconnected_at >= cut + LK_SEC(3) && p->disconnected_at <= cut + LK_SEC(17));
    SIM_CHECK(w, p->failed_at >= cut + LK_SEC(23) && p->failed_at <= cut + LK_SEC(31));
}

/* What is heard from the peer renews nothing: consent is an answer to a check of our own. */
static void consent_lost_one_way(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    establish(w, &(sim_pair_options){0}, LK_SEC(4));
    lk_usec cut = w->now;
    w->links[w->dice.s[0] & 1].down = true;
    sim_run(w, cut + LK_SEC(60), NULL);
    for (int i = 0; i < 2; i++) {
        const sim_peer *p = &w->peers[i];
        SIM_CHECK(w, p->disconnected_at <= cut + LK_SEC(17));
        SIM_CHECK(w, p->failed_at >= cut + LK_SEC(23) && p->failed_at <= cut + LK_SEC(37));
    }
}

static void comes_back(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(10)});
    establish(w, &(sim_pair_options){0}, LK_SEC(4));
    lk_usec cut = w->now;
    w->links[0].down = w->links[1].down = true;
    sim_run(w, cut + LK_SEC(18), NULL);
    SIM_CHECK(w, w->peers[0].state == LK_PC_STATE_DISCONNECTED);
    w->links[0].down = w->links[1].down = false;
    sim_run(w, cut + LK_SEC(28), sim_both_connected);
    SIM_CHECK(w, sim_both_connected(w));
    SIM_CHECK(w, w->peers[0].failed_at == LK_NEVER);
}

/* ---- audio ---------------------------------------------------------------------------------------------------------- */

static double part(uint64_t some, uint64_t all) { return all ? (double)some / (double)all : 1; }

static bool start_audio_with(sim_world *w, bool red)
{
    establish(w, &(sim_pair_options){.audio = true, .no_red = !red}, LK_SEC(8));
    sim_run(w, w->now + LK_SEC(1), NULL);
    return !w->why[0];
}

static bool start_audio(sim_world *w) { return start_audio_with(w, true); }

static double target_between(const lk_stats_InboundRtpStream *a, const lk_stats_InboundRtpStream *b)
{
    return (b->jitter_buffer_target_delay - a->jitter_buffer_target_delay) /
           (double)(b->jitter_buffer_emitted_count - a->jitter_buffer_emitted_count);
}

static void audio_clean(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(20)});
    if (!start_audio(w))
        return;
    lk_stats_InboundRtpStream before = sim_inbound(&w->peers[1]);
    sim_run(w, w->now + LK_SEC(10), NULL);
    for (int i = 0; i < 2; i++) {
        sim_peer *p = &w->peers[i];
        lk_stats_InboundRtpStream s = sim_inbound(p);
        SIM_CHECK(w, p->frames_heard > 1000);
        SIM_CHECK(w, s.concealed_samples - (i == 1 ? before.concealed_samples : s.concealed_samples) == 0);
        SIM_CHECK(w, fabs(10 * log10(p->energy_heard / w->peers[1 - i].energy_said)) < 1.5);
        SIM_CHECK(w, s.jitter_buffer_delay / (double)s.jitter_buffer_emitted_count < 0.040);
    }
}

static void audio_jitter_60(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(60)});
    if (!start_audio(w))
        return;
    lk_stats_InboundRtpStream before = sim_inbound(&w->peers[1]);
    sim_run(w, w->now + LK_SEC(30), NULL);
    lk_stats_InboundRtpStream after = sim_inbound(&w->peers[1]);
    SIM_CHECK(w, part(after.concealed_samples - before.concealed_samples, after.total_samples_received - before.total_samples_received) < 0.02);
}

/* The 95th percentile of an even spread of j is 0.95 j; five seconds after each change the target is within 20 ms, or a quarter of it: the
 * five seconds hold 250 packets, so few that their own percentile has a spread, at 120 ms one of 5 ms (150 seeds). */
static void audio_jitter_steps(sim_world *w)
{
    static const int steps_msec[] = {5, 60, 120, 20, 60, 5};
    both_links(w, &(sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(5)});
    if (!start_audio(w))
        return;
    for (size_t i = 0; i < LK_LEN(steps_msec); i++) {
        w->links[0].jitter = LK_MSEC(steps_msec[i]);
        sim_run(w, w->now + LK_SEC(5), NULL);
        lk_stats_InboundRtpStream before = sim_inbound(&w->peers[1]);
        sim_run(w, w->now + LK_SEC(1), NULL);
        lk_stats_InboundRtpStream after = sim_inbound(&w->peers[1]);
        SIM_CHECK(w, fabs(target_between(&before, &after) - 0.00095 * steps_msec[i]) <= LK_MAX(0.020, 0.00025 * steps_msec[i]));
    }
}

static void lossy_audio(sim_world *w, bool red, double most_concealed)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(25), .loss = 50});
    if (!start_audio_with(w, red))
        return;
    lk_stats_InboundRtpStream before = sim_inbound(&w->peers[1]);
    sim_run(w, w->now + LK_SEC(20), NULL);
    lk_stats_InboundRtpStream after = sim_inbound(&w->peers[1]);
    SIM_CHECK(w, part(after.concealed_samples - before.concealed_samples, after.total_samples_received - before.total_samples_received) <
                     most_concealed);
    SIM_CHECK(w, fabs(10 * log10(w->peers[1].energy_heard / w->peers[0].energy_said)) < 2);
}

static void audio_loss_5(sim_world *w) { lossy_audio(w, true, 0.03); }
/* Resends come a round trip later than the target, in-band redundancy only repairs what is louder than a whisper. */
static void audio_loss_5_without_red(sim_world *w) { lossy_audio(w, false, 0.06); }

static void audio_disorder(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(5), .reorder = 50, .reorder_by = LK_MSEC(15), .duplicate = 50});
    if (!start_audio(w))
        return;
    sim_run(w, w->now + LK_SEC(20), NULL);
    lk_stats_InboundRtpStream s = sim_inbound(&w->peers[1]);
    SIM_CHECK(w, part(s.concealed_samples, s.total_samples_received) < 0.03);
}

static void audio_over_a_thin_pipe(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(30), .rate_bps = 140000, .queue_bytes = 10000});
    if (!start_audio(w))
        return;
    sim_run(w, w->now + LK_SEC(10), NULL);
    lk_stats_InboundRtpStream s = sim_inbound(&w->peers[1]);
    SIM_CHECK(w, w->peers[1].frames_heard > 900);
    SIM_CHECK(w, part(s.concealed_samples, s.total_samples_received) < 0.03);
}

static void audio_through_an_outage(sim_world *w)
{
    both_links(w, &(sim_link){.delay = LK_MSEC(20)});
    if (!start_audio(w))
        return;
    w->links[0].down = true;
    sim_run(w, w->now + LK_SEC(4), NULL);
    w->links[0].down = false;
    sim_run(w, w->now + LK_SEC(3), NULL);
    lk_stats_InboundRtpStream before = sim_inbound(&w->peers[1]);
    sim_run(w, w->now + LK_SEC(3), NULL);
    lk_stats_InboundRtpStream after = sim_inbound(&w->peers[1]);
    SIM_CHECK(w, before.silent_concealed_samples > 0);
    SIM_CHECK(w, after.concealed_samples == before.concealed_samples);
}

/* ---- junk ------------------------------------------------------------------------------------------------------- */

enum { JUNK = 40 }; /* datagrams to each peer every 10 ms */

static uint64_t dropped(const sim_peer *p) { return p->pc->dropped + p->pc->ice.dropped + p->pc->transport.dtls.dropped; }

static void junk_on_every_port(sim_world *w)
{
    lk_prng dice;
    lk_prng_init(&dice, lk_prng_next(&w->dice));
    both_links(w, &(sim_link){.delay = LK_MSEC(20)});
    if (!start_audio(w))
        return;
    sim_run(w, w->now + LK_SEC(2), NULL);
    uint64_t before[2], thrown = 0, pairs[2];
    for (int i = 0; i < 2; i++) {
        before[i] = dropped(&w->peers[i]);
        pairs[i] = w->peers[i].pc->ice.pairs.count;
    }
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < 2; i++)
            sim_junk(w, &dice, &w->peers[i], JUNK);
        thrown += JUNK;
        sim_run(w, w->now + LK_MSEC(10), NULL);
    }
    for (int i = 0; i < 2; i++) {
        sim_peer *p = &w->peers[i];
        lk_stats_InboundRtpStream s = sim_inbound(p);
        SIM_CHECK(w, dropped(p) - before[i] == thrown);
        SIM_CHECK(w, p->pc->ice.pairs.count == pairs[i]);
        SIM_CHECK(w, lk_pc_state_of(p->pc) == LK_PC_STATE_CONNECTED && p->reconnects == 0 && p->disconnected_at == LK_NEVER);
        SIM_CHECK(w, s.concealed_samples - s.silent_concealed_samples == 0 && p->frames_heard > 690);
    }
}

const sim_scenario sim_scenarios[] = {
    {"establish_clean", establish_clean, 0, 0, 0},
    {"establish_slow", establish_slow, 0, 0, 0},
    {"establish_loss_10", establish_loss_10, 1, 0, 0},
    {"establish_loss_30", establish_loss_30, 1, 0, 0},
    {"establish_disorder", establish_disorder, 0, 1, 1},
    {"establish_ipv6", establish_ipv6, 0, 0, 0},
    {"establish_lite", establish_lite, 1, 0, 0},
    {"establish_role_conflict", establish_role_conflict, 0, 0, 0},
    {"establish_behind_nat", establish_behind_nat, 0, 0, 0},
    {"establish_reflexive", establish_reflexive, 1, 0, 0},
    {"establish_late_trickle", establish_late_trickle, 0, 0, 0},
    {"establish_ipv6_role_conflict", establish_ipv6_role_conflict, 1, 0, 0},
    {"establish_lite_behind_nat", establish_lite_behind_nat, 1, 0, 0},
    {"consent_lost", consent_lost, 1, 0, 0},
    {"consent_lost_one_way", consent_lost_one_way, 1, 0, 0},
    {"comes_back", comes_back, 1, 0, 0},
    {"audio_clean", audio_clean, 0, 0, 0},
    {"audio_jitter_60", audio_jitter_60, 0, 1, 0},
    {"audio_jitter_steps", audio_jitter_steps, 0, 1, 0},
    {"audio_loss_5", audio_loss_5, 1, 0, 0},
    {"audio_loss_5_without_red", audio_loss_5_without_red, 1, 0, 0},
    {"audio_disorder", audio_disorder, 0, 1, 1},
    {"audio_over_a_thin_pipe", audio_over_a_thin_pipe, 0, 0, 0},
    {"audio_through_an_outage", audio_through_an_outage, 1, 0, 0},
    {"video_bottleneck", sim_video_bottleneck, 0, 0, 0},
    {"video_steps", sim_video_steps, 1, 0, 0},
    {"video_reordering", sim_video_reordering, 0, 1, 0},
    {"video_loss_5", sim_video_loss_5, 1, 0, 0},
    {"video_loss_15", sim_video_loss_15, 1, 0, 0},
    {"data_clean", sim_data_clean, 0, 0, 0},
    {"data_loss_5", sim_data_loss_5, 1, 1, 1},
    {"data_loss_15", sim_data_loss_15, 1, 0, 0},
    {"data_loss_15_slow", sim_data_loss_15_slow, 1, 0, 0},
    {"data_bounded", sim_data_bounded, 1, 0, 0},
    {"data_hostile", sim_data_hostile, 0, 0, 0},
    {"junk_on_every_port", junk_on_every_port, 0, 0, 0},
    {"fault_stall", sim_fault_stall, 0, 0, 0},
    {"fault_stall_past_consent", sim_fault_stall_past_consent, 0, 0, 0},
    {"fault_nat_rebinding", sim_fault_nat_rebinding, 1, 0, 0},
    {"fault_nat_rebinding_lite", sim_fault_nat_rebinding_lite, 1, 0, 0},
    {"fault_corruption", sim_fault_corruption, 0, 0, 0},
    {"fault_loss_bursts", sim_fault_loss_bursts, 1, 0, 0},
    {"fault_duplicates", sim_fault_duplicates, 0, 0, 1},
    {"fault_bandwidth_step", sim_fault_bandwidth_step, 0, 0, 0},
    {"fault_mtu_1280", sim_fault_mtu_1280, 0, 0, 0},
    {"fault_mtu_1200", sim_fault_mtu_1200, 0, 0, 0},
    {"fault_mtu_1000", sim_fault_mtu_1000, 0, 0, 0},
    {"session_clean", sim_session_clean, 0, 0, 0},
    {"session_bad_road", sim_session_bad_road, 1, 1, 1},
    {"session_cut", sim_session_cut, 1, 0, 0},
    {"session_second_try", sim_session_second_try, 0, 0, 0},
    {"session_never_answered", sim_session_never_answered, 0, 0, 0},
    {"session_given_up", sim_session_given_up, 0, 0, 0},
    {"server_call", sim_server_call, 0, 0, 0},
    {"server_call_loss_10", sim_server_call_loss_10, 1, 0, 0},
    {"server_call_disorder", sim_server_call_disorder, 1, 0, 0},
    {"storm", sim_storm, 0, 0, 0},
    {"ladder", sim_ladder, 0, 0, 0, .on_request = true},
    {"long_call", sim_long_call, 0, 0, 0, .on_request = true},
};
const size_t sim_scenario_count = LK_LEN(sim_scenarios);
