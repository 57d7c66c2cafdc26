// SPDX-License-Identifier: Apache-2.0
/* Whether there is room for one more. What is asked of whoever wants to join, so that those who are in stay well: descriptors,
 * memory, and the processor time of the loop that carries the room. */
#include "api/api_server.h"

#define MEMORY_USEC LK_SEC(1) /* it is not looked at more often */
#define CPU_USEC LK_SEC(2)    /* over which a loop's share of a core is taken */
#define TOLD_USEC LK_SEC(10)  /* between two warnings */

/* So much of it is in use that nobody else gets any. */
static bool is_over(const lk_server *server, uint64_t used, uint64_t most)
{
    return most > 0 && (double)used * 100 >= (double)most * server->options.overload_percent;
}

static const char *tell(api_serve *s, lk_usec now, const char *why)
{
    if (now < s->overload_told_at + TOLD_USEC && s->overload_told_at)
        return why;
    s->overload_told_at = now;
    LK_LOG(s->env, LK_LOG_WARN, "server.overload", LK_S("why", why));
    return why;
}

const char *api_serve_overload(api_serve *s, lk_usec now, const api_visit *v)
{
    const lk_server_options *o = &s->server->options;
    /* A new descriptor is the lowest that is free: its number says how many there are. */
    if (is_over(s->server, (uint64_t)lk_stream_descriptor(v->stream) + 1, lk_descriptors_max()))
        return tell(s, now, "no descriptors are left for new participants");
    if (now >= s->memory_at + MEMORY_USEC || !s->memory_at) {
        s->memory_at = now;
        s->memory_over = is_over(s->server, lk_memory_used(), o->max_memory_mb ? (uint64_t)o->max_memory_mb << 20 : lk_memory_max());
    }
    return s->memory_over ? tell(s, now, "no memory is left for new participants") : NULL;
}

void api_hall_weigh(api_hall *h, lk_usec now)
{
    if (now < h->weighed_at + CPU_USEC)
        return;
    lk_usec cpu = lk_thread_cpu_usec();
    h->cpu_over = is_over(h->serve->server, (uint64_t)(cpu - h->weighed_cpu), (uint64_t)(now - h->weighed_at));
    h->weighed_at = now;
    h->weighed_cpu = cpu;
}

const char *api_hall_overload(api_hall *h, lk_usec now)
{
    api_hall_weigh(h, now);
    return h->cpu_over ? "no processor time is left for new participants" : NULL;
}
