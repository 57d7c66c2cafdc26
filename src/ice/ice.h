// SPDX-License-Identifier: Apache-2.0
/* ice/ice.h - ICE agent for one component: finds and keeps one working address pair. [RFC8445] [RFC8838] [RFC7675]
 *
 * In:      local host addresses, STUN servers, remote credentials and candidates, STUN datagrams, the passing of time.
 * Out:     STUN datagrams; LK_ICE_EV_CANDIDATE per local candidate, _SELECTED when the pair changes, _STATE.
 * Owner:   embedded by value in lk_pc. Loop thread.
 * Limits:  16 local, 64 signalled and 16 peer-reflexive remote candidates, 100 pairs; more are ignored and counted.
 *          4 STUN servers, 16 server-reflexive candidates. A check of the peer starts ours of that pair again, 4 times.
 * Deviates: retransmission starts at 50 ms instead of 500 ms [RFC8445 s14.3]: few pairs, and a join waits for it.
 *          The first pair that works is nominated after at most 50 ms, better ones do not replace it.
 *          STUN servers are asked no more once a pair is selected: what keeps its way open are its own checks.
 */
#pragma once
#include "base/lk_base.h"

#define LK_ICE_UFRAG_LEN 4 /* ours; [RFC8445 s5.3] wants at least 24 bits */
#define LK_ICE_PWD_LEN 24  /* ours; at least 128 bits */
#define LK_ICE_CREDENTIAL_MAX 256
#define LK_ICE_FOUNDATION_MAX 32
#define LK_ICE_LOCAL_MAX 16
#define LK_ICE_REMOTE_MAX 64
#define LK_ICE_PRFLX_MAX 16
#define LK_ICE_PAIRS_MAX 100
#define LK_ICE_CANDIDATE_LINE_MAX 512
#define LK_ICE_SERVERS_MAX 4
#define LK_ICE_SRFLX_MAX 16
#define LK_ICE_CHECKS_MAX 5 /* of a pair, waited for at a time; with as many the peer starts no other, so none is forgotten */

typedef enum lk_ice_type { LK_ICE_HOST, LK_ICE_SRFLX, LK_ICE_PRFLX, LK_ICE_RELAY } lk_ice_type;

/* A candidate line taken apart; strings borrow the line. [RFC8839 s5.1] */
typedef struct lk_ice_line {
    lk_str foundation, protocol, address, type, raddr, tcptype, rest;
    uint32_t component, priority;
    uint16_t port, rport;
    bool has_rport;
} lk_ice_line;
/* Takes "candidate:..." with or without "a=". LK_ERR_WIRE when malformed, LK_ERR_LIMIT over 512 bytes. */
LK_NODISCARD lk_err lk_ice_line_parse(lk_ice_line *out, lk_str line);
/* [RFC8445 s5.1.2.1], [RFC8445 s6.1.2.3] */
uint32_t lk_ice_candidate_priority(uint32_t type_preference, uint32_t local_preference, uint32_t component);
uint64_t lk_ice_pair_priority(uint32_t controlling, uint32_t controlled);
const char *lk_ice_type_text(lk_ice_type t);

typedef struct lk_ice_candidate {
    lk_addr addr;
    uint32_t priority;
    lk_ice_type type;
    char foundation[LK_ICE_FOUNDATION_MAX + 1];
    char id[9];   /* for stats: 8 random characters */
    uint8_t base; /* server-reflexive: index of the address of ours it stands for */
} lk_ice_candidate;

typedef enum lk_ice_pair_state {
    LK_ICE_PAIR_FROZEN, /* remote credentials not known yet */
    LK_ICE_PAIR_WAITING,
    LK_ICE_PAIR_IN_PROGRESS,
    LK_ICE_PAIR_SUCCEEDED,
    LK_ICE_PAIR_FAILED,
} lk_ice_pair_state;

/* A Binding request of ours that may still be answered. */
typedef struct lk_ice_check {
    uint8_t tid[12];
    bool controlling; /* what we said we were */
    lk_usec sent_at;
} lk_ice_check;

typedef struct lk_ice_pair {
    uint8_t local, remote; /* indexes */
    lk_ice_pair_state state;
    bool triggered, nominated, use_candidate_wanted, nominating, send_now;
    uint8_t tries, check_count;
    uint64_t priority;
    lk_ice_check checks[LK_ICE_CHECKS_MAX]; /* newest first: that one is sent again, the others are only waited for */
    lk_usec retry_at;
    /* counters for candidate_pair stats */
    uint64_t requests_sent, requests_received, responses_sent, responses_received, consent_requests_sent;
    lk_usec total_rtt_usec, current_rtt_usec;
} lk_ice_pair;

typedef enum lk_ice_state {
    LK_ICE_STATE_NEW,
    LK_ICE_STATE_CHECKING,
    LK_ICE_STATE_CONNECTED,
    LK_ICE_STATE_DISCONNECTED, /* 10 s without an answer on the selected pair; may come back */
    LK_ICE_STATE_FAILED,       /* no pair within 15 s of checking, or consent lost for 30 s */
} lk_ice_state;

typedef struct lk_ice_config {
    bool controlling;
    bool lite; /* we answer checks and never send any [RFC8445 s2.5] */
} lk_ice_config;

typedef enum lk_ice_event_type { LK_ICE_EV_CANDIDATE, LK_ICE_EV_SELECTED, LK_ICE_EV_STATE } lk_ice_event_type;
typedef struct lk_ice_event {
    lk_ice_event_type type;
    lk_ice_state state;                        /* STATE */
    char line[LK_ICE_CANDIDATE_LINE_MAX / 2];  /* CANDIDATE: "candidate:..." without "a=" */
} lk_ice_event;

typedef struct lk_ice_reply {
    lk_addr local, remote;
    uint8_t tid[12];
    uint16_t error; /* 0 = success */
    uint8_t pair;
} lk_ice_reply;

/* A Binding request to a STUN server from one of our addresses. */
typedef struct lk_ice_gather {
    lk_addr server;
    uint8_t local, tries;
    bool send_now, done;
    uint8_t tid[12];
    lk_usec retry_at;
} lk_ice_gather;

typedef struct lk_ice {
    const lk_env *env;
    lk_ice_config config;
    char ufrag[LK_ICE_UFRAG_LEN + 1], pwd[LK_ICE_PWD_LEN + 1];
    char *remote_ufrag, *remote_pwd; /* one block, NULL before set_remote */
    size_t remote_block;
    bool remote_lite, remote_done;
    uint64_t tie_breaker;
    uint32_t generation;
    lk_queue locals, remotes, pairs, replies, events;
    lk_queue gathers, srflx; /* of lk_ice_gather, lk_ice_candidate */
    lk_addr servers[LK_ICE_SERVERS_MAX];
    size_t server_count;
    size_t signalled, reflexive;
    int selected; /* pair index, -1 */
    lk_ice_state state;
    uint32_t checks_started, role_switches;
    lk_usec next_check_at, checking_since, first_valid_at, answered_at, consent_at;
    bool consent_pending;
    uint64_t dropped; /* datagrams not accepted */
    uint32_t selected_changes;
    uint8_t tx[LK_ICE_CREDENTIAL_MAX * 2 + 128];
} lk_ice;

void lk_ice_init(lk_ice *ice, const lk_env *env, const lk_ice_config *config, lk_usec now);
void lk_ice_deinit(lk_ice *ice);

/* A socket of ours is bound here: becomes a host candidate. FULL past 16, NOMEM. */
LK_NODISCARD lk_err lk_ice_add_local(lk_ice *ice, lk_usec now, const lk_addr *addr);
/* A STUN server tells every address of ours how it looks from outside: server-reflexive candidates. [RFC8445 s5.1.1.2]
 * LIMIT past 4, NOMEM; one that is known, or of no use to our addresses, changes nothing. */
LK_NODISCARD lk_err lk_ice_add_server(lk_ice *ice, lk_usec now, const lk_addr *server);
/* Credentials of the peer's description. Different ones after a restart replace the old. INVALID when too short or long. */
LK_NODISCARD lk_err lk_ice_set_remote(lk_ice *ice, lk_usec now, lk_str ufrag, lk_str pwd, bool peer_is_lite);
/* A candidate line of the peer. TCP, component 2 and mDNS are skipped with LK_OK. WIRE (unknown types too), LIMIT, NOMEM. */
LK_NODISCARD lk_err lk_ice_add_remote(lk_ice *ice, lk_usec now, lk_str line);
/* New local credentials; pairs start over, the selected one keeps carrying media until another works. [RFC8445 s9] */
void lk_ice_restart(lk_ice *ice, lk_usec now);

/* A datagram of the STUN class. Anything unauthenticated is counted in dropped and changes nothing. */
void lk_ice_input(lk_ice *ice, lk_usec now, const lk_datagram *in);
void lk_ice_tick(lk_ice *ice, lk_usec now);
lk_usec lk_ice_deadline(const lk_ice *ice);
bool lk_ice_poll_tx(lk_ice *ice, lk_usec now, lk_datagram *out);
bool lk_ice_poll_event(lk_ice *ice, lk_ice_event *out);

/* Addresses of the selected pair; false while there is none or consent is lost. */
bool lk_ice_selected(const lk_ice *ice, lk_addr *local, lk_addr *remote);
/* The gate for DTLS and SRTP: an authenticated check passed on this pair of addresses. */
bool lk_ice_is_valid(const lk_ice *ice, const lk_addr *local, const lk_addr *remote);
size_t lk_ice_pair_count(const lk_ice *ice);
const lk_ice_pair *lk_ice_pair_at(const lk_ice *ice, size_t i);
const lk_ice_candidate *lk_ice_local_at(const lk_ice *ice, size_t i);  /* NULL past the end */
const lk_ice_candidate *lk_ice_remote_at(const lk_ice *ice, size_t i); /* NULL past the end */
const lk_ice_candidate *lk_ice_srflx_at(const lk_ice *ice, size_t i);  /* NULL past the end */
