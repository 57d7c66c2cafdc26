// SPDX-License-Identifier: Apache-2.0
/* base/canary.h - bugs planted on purpose, to see that the machines that hunt bugs find them (tools/canary.sh).
 *
 * In a build with -Dcanary=true one of them is awake, the one that LK_CANARY names in the environment of a test program;
 * in every other build the condition is the constant false and leaves no code behind. */
#pragma once
#include <stdbool.h>

typedef enum lk_canary_bug {
    LK_CANARY_NONE,
    LK_CANARY_LEAK,     /* room: a refused allocation leaves the operation's memory behind: the ladder */
    LK_CANARY_AUTH,     /* ice: a check that nominates needs no password: the fuzzer */
    LK_CANARY_REPLAY,   /* srtp: a packet that came before is let in again: the simulator */
    LK_CANARY_OVERREAD, /* rtp: one byte behind a padded packet is read: AddressSanitizer */
    LK_CANARY_OVERFLOW, /* rtcp: a shift as far as the peer says: UBSan */
} lk_canary_bug;

#ifdef LK_CANARY
extern int lk_canary;
#define LK_CANARY_IS(bug) (lk_canary == (bug))
#else
#define LK_CANARY_IS(bug) false
#endif
