// SPDX-License-Identifier: Apache-2.0
/* ice/ice_lite.h - the lite side of ICE: answers checks, never sends any. [RFC8445 s2.5]
 *
 * In:      datagrams of the STUN class; the passing of time.
 * Out:     responses; the path the peer nominated, before that the first one it proved.
 * Owner:   by value in the server's peers. Loop thread. No allocation.
 * Limits:  LK_ICE_LITE_PATHS_MAX paths, the one heard longest ago is given up; as many responses wait, more are dropped.
 * Deviates: the last path with USE-CANDIDATE counts: clients move by nominating another. Path addresses need not be
 *          candidates of ours: with a mapped address we never see the one we announced.
 */
#pragma once
#include "base/lk_base.h"
#include "ice/ice.h"

#define LK_ICE_LITE_PATHS_MAX 8u
#define LK_ICE_LITE_UFRAG_LEN 16 /* room for a mark in front that tells loops apart */

typedef struct lk_ice_lite_path {
    lk_addr local, remote;
    bool tcp;
    lk_usec heard_at;
} lk_ice_lite_path;

typedef struct lk_ice_lite_reply {
    lk_ice_lite_path path;
    uint8_t tid[12];
    bool old; /* asked under the credentials before a restart */
} lk_ice_lite_reply;

typedef struct lk_ice_lite {
    const lk_env *env;
    char mark;
    char ufrag[LK_ICE_LITE_UFRAG_LEN + 1], pwd[LK_ICE_PWD_LEN + 1];
    char old_ufrag[LK_ICE_LITE_UFRAG_LEN + 1], old_pwd[LK_ICE_PWD_LEN + 1]; /* before a restart, until the new ones are used */
    lk_ice_lite_path paths[LK_ICE_LITE_PATHS_MAX];
    uint8_t path_count, reply_count, reply_first;
    int8_t selected; /* -1: none */
    lk_ice_state state;
    lk_usec heard_at;
    lk_ice_lite_reply replies[LK_ICE_LITE_PATHS_MAX];
    uint64_t dropped;
} lk_ice_lite;

/* mark: first character of the ufrags, of the ICE alphabet; 0: none. */
void lk_ice_lite_init(lk_ice_lite *ice, const lk_env *env, char mark);
/* New credentials; paths stay until others are proved. */
void lk_ice_lite_restart(lk_ice_lite *ice);

/* The ufrag of ours a Binding request is for; false: not a well-formed one with a USERNAME. Checks nothing else. */
bool lk_ice_lite_peek(const uint8_t *data, size_t len, lk_str *ufrag);

/* A datagram of the STUN class. Unauthenticated ones are counted and change nothing. True: the path is proved. */
bool lk_ice_lite_input(lk_ice_lite *ice, lk_usec now, const lk_datagram *in, bool tcp);
void lk_ice_lite_tick(lk_ice_lite *ice, lk_usec now);
lk_usec lk_ice_lite_deadline(const lk_ice_lite *ice);
/* Writes the next response into buffer (at least LK_ICE_LITE_REPLY_MAX bytes). */
#define LK_ICE_LITE_REPLY_MAX 128u
bool lk_ice_lite_poll_tx(lk_ice_lite *ice, uint8_t *buffer, lk_datagram *out, bool *tcp);
/* Where to send; NULL: no proved path, or lost. */
const lk_ice_lite_path *lk_ice_lite_selected(const lk_ice_lite *ice);
/* The gate for everything that is not STUN: an authenticated check came from there. */
bool lk_ice_lite_is_valid(const lk_ice_lite *ice, const lk_addr *local, const lk_addr *remote, bool tcp);
/* A TCP connection ended. */
void lk_ice_lite_drop_path(lk_ice_lite *ice, const lk_addr *local, const lk_addr *remote);
