// SPDX-License-Identifier: Apache-2.0
/* tests/sim/sim.h - a world of peers and links in virtual time: one thread, one seed, the same bytes every run.
 *
 * In:      a scenario and a seed.
 * Out:     a verdict, what the world did to packets, and a hash of everything that was delivered and when.
 * Owner:   tests. Memory is counted: a run must end with none.
 * Limits:  SIM_AIR_MAX datagrams in flight; peers talk pairwise over one link each way.
 * Deviates: OpenSSL sees the clock and the randomness of the world (sim_main.c).
 */
#pragma once
#include "media/audio_receiver.h"
#include "media/audio_sender.h"
#include "pc/pc.h"

#define SIM_AIR_MAX 4096
#define SIM_LINE_MAX 256

/* One direction. Times in microseconds, parts in thousandths. */
typedef struct sim_link {
    lk_usec delay, jitter;      /* jitter: even spread on top of the delay */
    uint32_t loss, duplicate, reorder; /* reorder: that part waits another reorder_by */
    lk_usec reorder_by;
    uint32_t rate_bps;          /* 0: no limit */
    size_t queue_bytes;         /* behind the rate limit; more is lost */
    uint32_t flip;             /* that part arrives with one bit turned over */
    uint32_t burst, burst_end; /* a burst begins, ends with a datagram; in it everything is lost */
    size_t mtu;                /* longer datagrams are lost; 0: none are */
    uint64_t lose_nth; /* that datagram is lost for certain; 0: none */
    uint64_t carried, bytes;    /* bytes: of datagrams that got through, without IP and UDP */
    bool down, in_burst;
    lk_usec free_at;            /* when the rate limit has sent what it has */
} sim_link;

typedef struct sim_counts {
    uint64_t sent, delivered, lost, reordered, duplicated, flipped;
} sim_counts;

typedef struct sim_flying {
    lk_usec at;
    uint64_t number; /* of sending: for order among equals, and to see reordering */
    int to;          /* peer */
    lk_datagram d;
    uint8_t data[1500];
} sim_flying;

typedef struct sim_world sim_world;

typedef struct sim_peer sim_peer;
struct sim_peer {
    sim_world *world;
    int index;
    lk_addr address;  /* what it binds */
    lk_addr outside;  /* what the other side sees; differs behind a NAT */
    bool walled, has_sent; /* walled: nothing gets in before something was sent to where it comes from */
    lk_pc *pc;
    lk_pc_state state;
    lk_usec connected_at, disconnected_at, failed_at, closed_at; /* first time; LK_NEVER: did not happen */
    lk_usec asleep_until; /* as after a suspend: no clock, and what arrives is lost */
    uint64_t sent;
    uint32_t reconnects;
    void (*on_event)(sim_peer *p, const lk_pc_event *e); /* of a scenario; may be NULL */
    void (*on_send)(sim_peer *p, const lk_datagram *d);  /* likewise */
    bool hold_candidates; /* trickle late */
    char held[8][SIM_LINE_MAX];
    size_t held_count;
    /* audio */
    lk_audio_sender *sender;
    uint32_t send_section, receive_section, video_section;
    lk_audio_receiver *receiver;
    uint64_t frames_heard;
    double energy_heard, energy_said;
    void (*on_heard)(sim_peer *p, const int16_t *samples, size_t count); /* of a scenario; may be NULL */
};

struct sim_world {
    const lk_env *env;
    lk_prng dice; /* of the links; the peers have their own */
    lk_usec now;
    sim_peer peers[2];
    sim_link links[2]; /* from peer 0, from peer 1 */
    sim_counts counts;
    sim_flying *air;
    size_t air_count;
    uint64_t next_number, last_delivered[2];
    lk_addr stun; /* of a STUN server; family 0: there is none */
    lk_dtls_context *dtls;
    lk_frame_pool *pool;
    lk_usec next_frame; /* when the speakers say the next 10 ms; LK_NEVER: nobody speaks */
    uint64_t said;
    const int16_t *speech; /* said over and over; NULL: a voice is made up */
    size_t speech_len;
    uint64_t hash;
    char why[160]; /* first failure; empty: none */
    uint64_t seed;
    /* what a replay may ask for, see sim_main.c */
    uint32_t without; /* bit n: the n-th fault of a drawn plan does not happen; the ladder: its only rung */
    bool refusing; /* allocations fail on purpose: what room_server.h expects may not happen */
    lk_usec span;     /* 0: as the scenario has it */
    unsigned fault_count; /* that were drawn */
    void *own; /* of the scenario */
};

typedef struct sim_pair_options {
    bool ipv6, server_lite, both_controlling, client_behind_nat, server_walled;
    bool audio; /* both ways */
    bool no_red; /* the server side does not ask for redundancy */
    bool no_nack; /* the server side does not send sound again, as the real one where it has redundancy */
    bool video;  /* peer 0 has a section for pictures */
    bool data;   /* peer 0 opens "_reliable" and "_lossy" */
} sim_pair_options;

/* Two peer connections that know each other's descriptions; peer 0 offers. */
bool sim_connect(sim_world *w, const sim_pair_options *o);
/* Runs until then, or until done(w) is true. */
void sim_run(sim_world *w, lk_usec until, bool (*done)(const sim_world *w));
/* After a scenario called a peer itself. */
void sim_drain(sim_world *w);
bool sim_both_connected(const sim_world *w);
void sim_release_candidates(sim_world *w, int peer);
/* Records the first thing that is not as it should be. Returns ok. */
bool sim_check(sim_world *w, bool ok, const char *text);
#define SIM_CHECK(w, cond) sim_check((w), (cond), #cond)
/* Datagrams of every kind of first byte, half of them said to come from the other peer. */
void sim_junk(sim_world *w, lk_prng *dice, sim_peer *p, uint32_t count);
/* Bytes the run holds now. */
size_t sim_live_bytes(void);
/* Inbound statistics of a peer's receiver. */
lk_stats_InboundRtpStream sim_inbound(const sim_peer *p);

typedef struct sim_scenario {
    const char *name;
    void (*run)(sim_world *w);
    bool loses, reorders, duplicates; /* the world must have done it */
    bool on_request; /* only when it is named */
} sim_scenario;
/* The world that checks of room_server.h report to. */
extern sim_world *sim_told;
void sim_ladder(sim_world *w);
void sim_storm(sim_world *w);
void sim_long_call(sim_world *w);
/* Pictures (sim_video.c). */
void sim_video_bottleneck(sim_world *w);
void sim_video_steps(sim_world *w);
void sim_video_reordering(sim_world *w);
void sim_video_loss_5(sim_world *w);
void sim_video_loss_15(sim_world *w);
/* Data channels (sim_data.c). */
void sim_data_clean(sim_world *w);
void sim_data_loss_5(sim_world *w);
void sim_data_loss_15(sim_world *w);
void sim_data_loss_15_slow(sim_world *w);
void sim_data_bounded(sim_world *w);
void sim_data_hostile(sim_world *w);
/* Whole sessions (sim_session.c). */
void sim_session_clean(sim_world *w);
void sim_session_bad_road(sim_world *w);
void sim_session_cut(sim_world *w);
void sim_session_second_try(sim_world *w);
void sim_session_never_answered(sim_world *w);
void sim_session_given_up(sim_world *w);
void sim_server_call(sim_world *w);
void sim_server_call_loss_10(sim_world *w);
void sim_server_call_disorder(sim_world *w);
/* One fault each (sim_faults.c, docs/faults.md). */
void sim_fault_stall(sim_world *w);
void sim_fault_stall_past_consent(sim_world *w);
void sim_fault_nat_rebinding(sim_world *w);
void sim_fault_nat_rebinding_lite(sim_world *w);
void sim_fault_corruption(sim_world *w);
void sim_fault_loss_bursts(sim_world *w);
void sim_fault_duplicates(sim_world *w);
void sim_fault_bandwidth_step(sim_world *w);
void sim_fault_mtu_1280(sim_world *w);
void sim_fault_mtu_1200(sim_world *w);
void sim_fault_mtu_1000(sim_world *w);
extern const sim_scenario sim_scenarios[];
extern const size_t sim_scenario_count;
