// SPDX-License-Identifier: Apache-2.0
#include "livekit/stats.h"

const char *lk_stats_kind_name(lk_stats_kind kind)
{
    switch (kind) {
#define NAME(name) \
    case LK_STATS_##name: return #name;
        LK_STATS_KINDS(NAME)
#undef NAME
    case LK_STATS_NONE:
    default: return "";
    }
}
