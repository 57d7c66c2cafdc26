// SPDX-License-Identifier: Apache-2.0
/* Compiled with -Dcanary=true alone: which bug is awake. */
#include "base/canary.h"

#include <stdlib.h>
#include <string.h>

int lk_canary;

__attribute__((constructor)) static void wake(void)
{
    static const char *const names[] = {"none", "leak", "auth", "replay", "overread", "overflow"};
    const char *name = getenv("LK_CANARY");
    for (int i = 0; name && i < (int)(sizeof names / sizeof names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            lk_canary = i;
}
