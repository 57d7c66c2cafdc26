// SPDX-License-Identifier: Apache-2.0
/* The allocation ladder of a whole session: connect, publish, subscribe, hear, data both ways, statistics, leave, with the
 * n-th allocation of the client refused, once and from then on until the end. The seed is the rung to begin with; every
 * tenth after it is taken, so seeds 1 to 10 are all of them.
 *
 * What must hold on every rung: no crash, hang or leak; a command that is refused changed nothing and succeeds when it
 * is repeated; a command that was taken ends once; a session that ends says why; and a clean session in the same process
 * afterwards is what it was before. */
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "codec/codec.h"
#include "signal/data_packet.h"
#include "unit/room/room_server.h"

#define STEP 10u
#define TRACK 5u
#define SINK 77u
enum { OP_CONNECT = 1, OP_PUBLISH, OP_DATA, OP_METADATA, OP_STATS, OP_TRACK_STATS, OP_UNPUBLISH, OP_LEAVE, OP_MAX };

/* ---- memory that is refused ---------------------------------------------------------------------------------------- */

static struct {
    size_t live, count, refuse_at;
    bool on; /* from refuse_at on: all */
    bool reached;
} memory;

static void *refusing_alloc(void *ctx, size_t size)
{
    (void)ctx;
    memory.count++;
    if (memory.refuse_at && (memory.count == memory.refuse_at || (memory.on && memory.count > memory.refuse_at))) {
        memory.reached = true;
        return NULL;
    }
    memory.live += size;
    return malloc(size);
}

static void refusing_release(void *ctx, void *p, size_t size)
{
    (void)ctx;
    memory.live -= size;
    memset(p, 0x5a, size);
    free(p);
}

static void *refusing_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    void *q = refusing_alloc(ctx, new_size);
    if (!q)
        return NULL;
    memcpy(q, p, LK_MIN(old_size, new_size));
    refusing_release(ctx, p, old_size);
    return q;
}

/* ---- the story ---------------------------------------------------------------------------------------------------------- */

typedef struct ladder {
    sim_world *w;
    room_server server;
    unsigned taken; /* bit n: operation n was taken */
    uint8_t speech[LK_CODEC_PAYLOAD_MAX];
    size_t speech_len;
    uint16_t heard_before;
} ladder;

static ladder the_ladder;

static bool live(const ladder *t)
{
    return room_told(&t->server, LK_SESSION_OP_DONE, 0) && room_told(&t->server, LK_SESSION_OP_DONE, 0)->error.code == LK_OK &&
           !room_told(&t->server, LK_SESSION_DISCONNECTED, 0);
}

/* A command that is refused for want of memory is given again, as an application would: refused once, it is taken then. */
static bool command(ladder *t, unsigned op, lk_err (*give)(ladder *))
{
    lk_err err = give(t);
    if (err == LK_ERR_NOMEM && !memory.on)
        err = give(t);
    t->taken |= err == LK_OK ? 1u << op : 0;
    sim_check(t->w, err == LK_OK || err == LK_ERR_CLOSED || err == LK_ERR_NOT_FOUND || err == LK_ERR_STATE || (err == LK_ERR_NOMEM && memory.on),
              "a command was refused twice for one refused allocation, or with another error");
    room_drain(&t->server);
    return err == LK_OK;
}

static lk_err give_connect(ladder *t) { return lk_session_connect(t->server.s, t->server.now, OP_CONNECT, "ws://server.example", "the.secret.token"); }

static lk_err give_publish(ladder *t)
{
    const lk_session_publish p = {.track = TRACK, .name = "mic", .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "", .sample_rate = 48000, .channels = 1};
    return lk_session_publish_audio(t->server.s, t->server.now, OP_PUBLISH, &p);
}

static lk_err give_data(ladder *t)
{
    lk_error why;
    const lk_session_data d = {.payload = {(const uint8_t *)"hello", 5}, .reliable = true, .topic = "t"};
    return lk_session_publish_data(t->server.s, t->server.now, OP_DATA, &d, &why);
}

static lk_err give_metadata(ladder *t) { return lk_session_set_metadata(t->server.s, t->server.now, OP_METADATA, "m"); }
static lk_err give_stats(ladder *t) { return lk_session_get_stats(t->server.s, t->server.now, OP_STATS); }
static lk_err give_track_stats(ladder *t) { return lk_session_get_track_stats(t->server.s, t->server.now, OP_TRACK_STATS, TRACK); }
static lk_err give_unpublish(ladder *t) { return lk_session_unpublish(t->server.s, t->server.now, OP_UNPUBLISH, "TR_mine"); }
static lk_err give_leave(ladder *t) { return lk_session_disconnect(t->server.s, t->server.now, OP_LEAVE, LK_DISCONNECT_CLIENT_INITIATED); }

static void speak_and_hear(ladder *t)
{
    room_server *r = &t->server;
    lk_frame *f;
    const told *subscribed = room_told(r, LK_SESSION_TRACK_SUBSCRIBED, 0);
    const lk_session_sink sink = {.sink = SINK, .sample_rate = 48000, .channels = 1, .frame_msec = 10};
    if (subscribed && lk_session_add_sink(r->s, r->now, subscribed->track_id, &sink) == LK_ERR_NOMEM && !memory.on)
        sim_check(t->w, lk_session_add_sink(r->s, r->now, subscribed->track_id, &sink) == LK_OK, "a sink is refused twice");
    if (lk_frame_new(&f, t->w->pool, 48000, 1, 480) != LK_OK)
        return;
    memset(f->data, 1, 480 * sizeof *f->data);
    for (unsigned i = 0; i < 20; i++) {
        if (r->pc && i % 2 == 0) {
            const lk_pc_media m = {.payload = t->speech, .len = t->speech_len, .ts = i * 480, .has_level = true, .level = 30};
            (void)!lk_pc_send(r->pc, r->now, r->share_section, &m);
        }
        lk_session_push_audio(r->s, r->now, TRACK, f);
        room_run(r, LK_MSEC(10));
    }
    lk_frame_unref(f);
    if (subscribed)
        (void)!lk_session_remove_sink(r->s, r->now, SINK);
    room_drain(r);
}

static void data_from_server(ladder *t)
{
    room_server *r = &t->server;
    const lk_data_packet d = {.kind = LK_DATA_PACKET_USER, .reliable = true, .payload = {(const uint8_t *)"answer", 6}};
    lk_bytes packet;
    if (r->channel_open && lk_data_packet_pack(&d, &r->arena, &packet) == LK_OK)
        (void)!lk_pc_send_data(r->pc, r->now, r->channel, packet.data, packet.len, 0);
    room_run(r, LK_MSEC(100));
}

static void tell_story(ladder *t)
{
    room_server *r = &t->server;
    if (command(t, OP_CONNECT, give_connect))
        for (int i = 0; i < 100 && !room_told(r, LK_SESSION_OP_DONE, 0); i++)
            room_run(r, LK_MSEC(200));
    if (live(t) && command(t, OP_PUBLISH, give_publish)) {
        room_run(r, LK_MSEC(100));
        if (r->requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK])
            room_grant_track(r, "TR_mine");
        room_run(r, LK_MSEC(300));
    }
    if (live(t))
        speak_and_hear(t);
    if (live(t) && command(t, OP_DATA, give_data))
        data_from_server(t);
    if (live(t))
        command(t, OP_METADATA, give_metadata);
    if (live(t))
        command(t, OP_STATS, give_stats);
    if (live(t))
        command(t, OP_TRACK_STATS, give_track_stats);
    if (live(t) && command(t, OP_UNPUBLISH, give_unpublish))
        room_run(r, LK_MSEC(300));
    if (live(t))
        room_run(r, LK_SEC(6)); /* what nobody answers times out */
    if (t->taken && !command(t, OP_LEAVE, give_leave))
        room_run(r, LK_SEC(20)); /* no memory to leave with: what waits times out */
    room_run(r, LK_SEC(3));
}

/* ---- what must hold ----------------------------------------------------------------------------------------------------- */

static void judge(ladder *t, bool clean)
{
    room_server *r = &t->server;
    unsigned ends[OP_MAX] = {0};
    for (size_t i = 0; i < r->count; i++)
        if (r->events[i].kind == LK_SESSION_OP_DONE && sim_check(t->w, r->events[i].op < OP_MAX, "an operation nobody asked for"))
            ends[r->events[i].op]++;
    for (unsigned op = 1; op < OP_MAX; op++)
        sim_check(t->w, ends[op] == (t->taken >> op & 1), "an operation that was taken did not end once");
    for (size_t i = 0; i < r->count; i++) {
        const told *e = &r->events[i];
        bool says = e->kind == LK_SESSION_OP_DONE || e->kind == LK_SESSION_DISCONNECTED;
        sim_check(t->w, !says || e->error.code == LK_OK || e->error.text[0], "an error without words");
    }
    sim_check(t->w, !room_told(r, LK_SESSION_DISCONNECTED, 1) && !room_told(r, LK_SESSION_CLOSED, 1), "the end was told twice");
    bool over = t->taken >> OP_LEAVE & 1 || room_told(r, LK_SESSION_CLOSED, 0);
    sim_check(t->w, !over || lk_session_finished(r->s), "the session does not end"); /* without memory to leave with it is freed as it is */
    if (!clean)
        return;
    for (unsigned op = 1; op < OP_MAX; op++)
        sim_check(t->w, t->taken >> op & 1, "a command of the clean session is not taken");
    sim_check(t->w, r->rtp_packets > 5 && r->data_messages == 1 && room_told(r, LK_SESSION_DATA, 0) && room_told(r, LK_SESSION_TRACK_SUBSCRIBED, 0),
              "the clean session does not do what it should");
}

/* One session; returns how many allocations it made. */
static size_t run_session(ladder *t, const lk_env *client, size_t refuse_at, bool on)
{
    sim_world *w = t->w;
    const lk_session_config c = {.auto_subscribe = true, .join_retries = 1, .connect_timeout_msec = 3000};
    memory.count = 0;
    memory.reached = false;
    memory.refuse_at = refuse_at;
    memory.on = on;
    w->refusing = refuse_at > 0;
    t->taken = 0;
    bool open = room_open_apart(&t->server, client, w->env, &c);
    t->server.shares = true;
    /* OpenSSL is to see the same time in every session, so that the same allocation is the n-th. */
    if (open && t->server.s) {
        tell_story(t);
        bool refused = memory.reached;
        judge(t, !refused);
    }
    size_t count = memory.count;
    room_close(&t->server);
    memory.refuse_at = 0;
    sim_check(w, memory.live == 0, "memory of the client is left");
    sim_check(w, !w->env->broken || !*w->env->broken, "an assertion failed");
    w->refusing = false;
    return count;
}

static bool make_speech(ladder *t)
{
    const lk_audio_codec_ops *opus = lk_audio_codec_find("opus");
    lk_audio_encoder *e = NULL;
    int16_t samples[960];
    for (int i = 0; i < 960; i++)
        samples[i] = (int16_t)((i * 137 % 480) * 40 - 9600);
    bool ok = opus && opus->encoder_new(&e, t->w->env, &(lk_audio_encoder_config){.channels = 1, .bitrate_bps = 32000}) == LK_OK &&
              opus->encode(e, samples, 960, t->speech, sizeof t->speech, &t->speech_len) == LK_OK;
    if (e)
        opus->encoder_free(e);
    return sim_check(t->w, ok, "speech made");
}

void sim_ladder(sim_world *w)
{
    static const lk_mem mem = {NULL, refusing_alloc, refusing_resize, refusing_release};
    lk_env client = *w->env;
    ladder *t = &the_ladder;
    memset(t, 0, sizeof *t);
    t->w = w;
    sim_told = w;
    client.mem = &mem;
    if (!make_speech(t))
        return;
    size_t all = run_session(t, &client, 0, false), rungs = 0;
    size_t first = w->without ? w->without : 1 + (size_t)(w->seed + STEP - 1) % STEP;
    for (size_t n = first; n <= all && !w->why[0]; n += STEP) {
        for (int on = 0; on < 2 && !w->why[0]; on++) {
            run_session(t, &client, n, on);
            if (w->why[0]) {
                char which[60];
                snprintf(which, sizeof which, " (allocation %u of %u refused%s)", (unsigned)n, (unsigned)all, on ? " and all after" : "");
                size_t end = LK_MIN(strlen(w->why), sizeof w->why - sizeof which);
                memcpy(w->why + end, which, strlen(which) + 1);
            }
            rungs++;
        }
        if (w->without)
            break;
        if (rungs % 40 == 0)
            run_session(t, &client, 0, false);
    }
    run_session(t, &client, 0, false);
    sim_check(w, rungs > 0, "no rung was taken");
    w->counts.sent = rungs;
}
