// SPDX-License-Identifier: Apache-2.0
/* base/job.h - work that may not run on the loop: a core hands a job out, somebody runs it, it comes back.
 *
 * run() may be called on any thread and touches nothing but the job; the core that made the job neither
 * changes nor frees it until it is given back. The simulator runs jobs in place. */
#pragma once
#include "base/containers.h"

typedef struct lk_job {
    /* Free for whoever carries the job. */
    lk_link link;
    void *carrier;
    void (*carried)(struct lk_job *job, lk_usec now);
    lk_usec spent_usec; /* how long run() took; 0: not measured */
    /* Set by the core that made it. */
    void (*run)(struct lk_job *job);
    void *owner; /* of the core that made it */
    uint64_t tag;
} lk_job;
