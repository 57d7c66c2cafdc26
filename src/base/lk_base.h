// SPDX-License-Identifier: Apache-2.0
/* base/lk_base.h - what every module stands on: bytes, time, memory, randomness, logs.
 *
 * In:      nothing; everything is passed in through lk_env and arguments.
 * Out:     cursors, writers, sequence arithmetic, containers, addresses.
 * Owner:   value types, embedded by their users.
 * Limits:  stated at each container.
 * Deviates: none.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "livekit/error.h"

#include "base/env.h"
#include "base/bytes.h"
#include "base/seq.h"
#include "base/text.h"
#include "base/containers.h"
#include "base/addr.h"
#include "base/job.h"
