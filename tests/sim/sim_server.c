// SPDX-License-Identifier: Apache-2.0
/* Whole calls through our own server: client sessions, signalling, engine, hub and media of ours, over a road that loses, delays
 * and shuffles datagrams from the first handshake on. */
#include "sim/sim.h"

#include "unit/sfu/session_world.h"

static world *scene(sim_world *w)
{
    static world the_world;
    the_world = (world){.clock = &w->now};
    sim_told = w;
    if (!SIM_CHECK(w, world_new(&the_world, w->env)))
        return NULL;
    return &the_world;
}

static void run_until(world *s, const bool *done, lk_usec most)
{
    lk_usec until = s->now + most;
    while (!*done && s->now < until)
        run(s, LK_MSEC(100));
}

/* Both come in, one speaks, the other hears; data both ways, all of it and in order. */
static void call(sim_world *w, world *s, bool older)
{
    person *a = arrive(s, "ann", older), *b = arrive(s, "bob", false);
    run_until(s, &a->connected, LK_SEC(15));
    run_until(s, &b->connected, LK_SEC(15));
    if (!SIM_CHECK(w, a->connected && b->connected))
        return;
    publish(s, a);
    for (int i = 0; i < 100 && !b->subscribed; i++)
        run(s, LK_MSEC(100));
    if (!SIM_CHECK(w, b->subscribed == 1))
        return;
    SIM_CHECK(w, lk_session_add_sink(b->s, s->now, b->remote_track, &(lk_session_sink){.sink = 9, .sample_rate = 48000, .channels = 1, .frame_msec = 10}) == LK_OK);
    run(s, LK_SEC(10));
    SIM_CHECK(w, b->frames > 950 && b->loud > 850);
    lk_session_data d = {.payload = {(const uint8_t *)"hello", 5}, .reliable = true};
    for (int i = 0; i < 50; i++) {
        SIM_CHECK(w, lk_session_publish_data(a->s, s->now, ++s->op, &d, &(lk_error){0}) == LK_OK);
        SIM_CHECK(w, lk_session_publish_data(b->s, s->now, ++s->op, &d, &(lk_error){0}) == LK_OK);
        run(s, LK_MSEC(20));
    }
    for (int i = 0; i < 200 && (a->data < 50 || b->data < 50); i++)
        run(s, LK_MSEC(100));
    SIM_CHECK(w, a->data == 50 && b->data == 50 && a->ops_failed == 0 && b->ops_failed == 0);
    SIM_CHECK(w, !a->closed && !b->closed && a->reconnecting == 0 && b->reconnecting == 0);
    SIM_CHECK(w, lk_session_disconnect(a->s, s->now, ++s->op, LK_DISCONNECT_CLIENT_INITIATED) == LK_OK);
    run_until(s, &a->closed, LK_SEC(5));
    run(s, LK_SEC(1));
    SIM_CHECK(w, a->closed && b->unsubscribed == 1);
    lk_sfu_stats stats;
    lk_sfu_get_stats(s->sfu, &stats);
    SIM_CHECK(w, stats.participants == 1 && stats.connections == 1 && stats.signal_garbage == 0);
}

static void tell(sim_world *w, world *s)
{
    w->counts.lost += s->lost;
    w->counts.sent += s->sent;
    w->hash ^= s->trace;
    world_free(s);
}

void sim_server_call(sim_world *w)
{
    world *s = scene(w);
    if (s) {
        call(w, s, w->seed % 2);
        tell(w, s);
    }
}

void sim_server_call_loss_10(sim_world *w)
{
    world *s = scene(w);
    if (s) {
        s->loss_permille = 100;
        call(w, s, w->seed % 2);
        tell(w, s);
    }
}

void sim_server_call_disorder(sim_world *w)
{
    world *s = scene(w);
    if (s) {
        s->jitter = LK_MSEC(60);
        s->loss_permille = 20;
        call(w, s, w->seed % 2);
        tell(w, s);
    }
}
