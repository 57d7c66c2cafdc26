// SPDX-License-Identifier: Apache-2.0
/* A whole session with null crypto: the input is a program of API calls, time, signalling messages, stream bytes and
 * datagrams, told to a session that a server in memory has let in. Whatever it says: every operation that was taken ends
 * once, nothing is told after the end, time never stands still, and no memory is left. */
#include "frame/picture.h"
#include "fuzz_env.h"
#include "unit/room/room_server.h"

#define LIVE_MAX (96u << 20)
#define OPS_MAX 512u
#define STEPS_MAX 400
#define TRACK 5u
#define VIDEO 6u

static size_t live;
static void *count_alloc(void *ctx, size_t size)
{
    LK_UNUSED(ctx);
    live += size;
    FUZZ_REQUIRE(live < LIVE_MAX);
    return malloc(size);
}
static void *count_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    LK_UNUSED(ctx);
    live += new_size - (p ? old_size : 0);
    return realloc(p, new_size);
}
static void count_release(void *ctx, void *p, size_t size)
{
    LK_UNUSED(ctx);
    live -= size;
    free(p);
}

/* ---- what room_server.h takes from the unit frame: what it expects is not what a fuzzer lets happen ---------------- */

bool lk_test_check(bool cond, const char *file, int line, const char *text)
{
    LK_UNUSED(file);
    LK_UNUSED(line);
    FUZZ_REQUIRE(cond || !strstr(text, "guard")); /* the loop went round for ever */
    return cond;
}
bool lk_test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *text) { return lk_test_check(a == b, file, line, text); }
bool lk_test_oom(void) { return true; }

/* ---- the world ------------------------------------------------------------------------------------------------------ */

enum { LAST_RTP, LAST_RTCP, LAST_DTLS, LAST_STUN, LASTS };
typedef struct world {
    room_server r;
    uint8_t ends[OPS_MAX];  /* by operation */
    bool taken[OPS_MAX];
    uint64_t next_op;
    bool over;
    uint64_t track, publication, sink;
    uint8_t last[LASTS][1500]; /* datagrams of the server, to be told again, changed */
    size_t last_len[LASTS];
    lk_frame_pool *frames;
    lk_picture_pool *pictures;
} world;

static world the_world;

static void keep_datagram(room_server *r, room_parcel kind, const lk_datagram *d)
{
    world *w = LK_CONTAINER(r, world, r);
    if (kind == ROOM_DATAGRAM_DOWN && d->len > 1 && d->len <= sizeof w->last[0]) {
        int which = d->data[0] < 4 ? LAST_STUN : d->data[0] < 64 ? LAST_DTLS : d->data[1] >= 192 && d->data[1] < 224 ? LAST_RTCP : LAST_RTP;
        memcpy(w->last[which], d->data, d->len);
        w->last_len[which] = d->len;
    }
    room_arrive(r, kind, d);
}

static void take_events(world *w)
{
    room_server *r = &w->r;
    for (size_t i = 0; i < r->count; i++) {
        const told *e = &r->events[i];
        FUZZ_REQUIRE(!w->over || e->kind == LK_SESSION_OP_DONE);
        if (e->kind == LK_SESSION_OP_DONE) {
            FUZZ_REQUIRE(e->op < OPS_MAX && w->taken[e->op] && !w->ends[e->op]);
            FUZZ_REQUIRE(e->error.code == LK_OK || e->error.text[0]);
            w->ends[e->op] = 1;
        }
        w->over = w->over || e->kind == LK_SESSION_CLOSED;
        if (e->kind == LK_SESSION_TRACK_SUBSCRIBED)
            w->track = e->track_id;
        if (e->kind == LK_SESSION_TRACK_PUBLISHED || e->kind == LK_SESSION_TRACK_SUBSCRIBED)
            w->publication = e->publication_id;
    }
    r->count = 0;
}

static void run(world *w, lk_usec span)
{
    const lk_usec until = w->r.now + span;
    while (w->r.now < until) { /* in pieces that hold their events */
        lk_usec piece = LK_MIN(until - w->r.now, LK_MSEC(200));
        room_run(&w->r, piece);
        take_events(w);
    }
    room_drain(&w->r);
    take_events(w);
}

/* ---- API calls -------------------------------------------------------------------------------------------------------- */

static void call(world *w, uint8_t which, uint8_t arg)
{
    static const char *const texts[] = {"", "a", "TR_mine", "TR_old", "old", "a longer one with \xc3\xa9 in it"};
    static const uint8_t payload[4096];
    lk_session *s = w->r.s;
    lk_usec now = w->r.now;
    const char *text = texts[arg % LK_LEN(texts)];
    const lk_attribute attribute = {.key = text, .value = "v"};
    const lk_session_publish p = {.track = which % 2 ? VIDEO : TRACK, .name = text, .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "", .sample_rate = 48000, .channels = 1, .width = 64, .height = 64, .red = arg & 1, .dtx = arg & 2, .muted = arg & 4};
    const lk_session_data data = {.payload = {payload, (size_t)arg * 16 + 1}, .reliable = arg & 1, .topic = text};
    const lk_session_sink sink = {.sink = ++w->sink, .sample_rate = arg & 1 ? 48000 : 16000, .channels = 1 + (arg >> 1 & 1), .frame_msec = 10u + arg % 30};
    const lk_session_permission permission = {.identity = text, .allow_all = arg & 1};
    lk_error why;
    uint64_t op = w->next_op < OPS_MAX - 2 ? w->next_op : 0;
    lk_err err = LK_ERR_STATE;
    bool op_used = op > 0;
    if (op == 0)
        return;
    switch (which % 20) {
    case 0: err = lk_session_publish_audio(s, now, op, &p); break;
    case 1: err = lk_session_publish_video(s, now, op, &p); break;
    case 2: err = lk_session_unpublish(s, now, op, text); break;
    case 3: err = lk_session_publish_data(s, now, op, &data, &why); break;
    case 4: err = lk_session_set_metadata(s, now, op, text); break;
    case 5: err = lk_session_set_name(s, now, op, text); break;
    case 6: err = lk_session_set_attributes(s, now, op, &attribute, 1); break;
    case 7: err = lk_session_get_track_stats(s, now, op, arg & 1 ? TRACK : w->track); break;
    case 8: err = lk_session_get_stats(s, now, op); break;
    case 9: err = arg == 0 ? lk_session_disconnect(s, now, op, LK_DISCONNECT_CLIENT_INITIATED) : LK_ERR_STATE; break;
    default: op_used = false;
    }
    if (op_used && err == LK_OK) {
        w->taken[op] = true;
        w->next_op++;
    }
    switch (which % 20) {
    case 10: (void)!lk_session_set_muted(s, now, TRACK, arg & 1); break;
    case 11: (void)!lk_session_set_subscribed(s, now, w->publication, arg & 1); break;
    case 12: (void)!lk_session_set_enabled(s, now, w->publication, arg & 1); break;
    case 13: (void)!lk_session_add_sink(s, now, w->track, &sink); break;
    case 14: (void)!lk_session_add_video_sink(s, now, w->track, w->sink, (int)(arg % 5) - 1); break;
    case 15: (void)!lk_session_remove_sink(s, now, w->sink - arg % 4); break;
    case 16: (void)!lk_session_set_track_permissions(s, now, arg & 1, &permission, 1); break;
    case 17: (void)!lk_session_set_data_threshold(s, now, arg & 1, arg * 1000u); break;
    case 18: (void)!lk_session_cancel(s, now, w->next_op - arg % 4, LK_ERR_CANCELLED); break;
    case 19: (void)!lk_session_simulate(s, now, arg); break;
    default: break;
    }
}

static void push_media(world *w, uint8_t arg)
{
    lk_frame *f;
    lk_picture *picture;
    if (arg & 1 && lk_picture_new(&picture, w->pictures, LK_VIDEO_I420, 64, 64) == LK_OK) {
        lk_session_push_video(w->r.s, w->r.now, VIDEO, picture);
        lk_picture_unref(picture);
        return;
    }
    if (lk_frame_new(&f, w->frames, 48000, 1, 480) != LK_OK)
        return;
    memset(f->data, arg, 480 * sizeof *f->data);
    lk_session_push_audio(w->r.s, w->r.now, TRACK, f);
    lk_frame_unref(f);
}

/* ---- what the server does ---------------------------------------------------------------------------------------------- */

static void server_act(world *w, uint8_t which, uint8_t arg)
{
    static const char *const people[] = {"PA_old", "PA_new", "PA_me", ""};
    room_server *r = &w->r;
    const char *sid = people[arg % LK_LEN(people)];
    uint8_t payload[64];
    memset(payload, arg, sizeof payload);
    switch (which % 7) {
    case 0: room_grant_track(r, arg & 1 ? "TR_mine" : "TR_other"); break;
    case 1: room_update(r, room_person(r, sid, sid, (Livekit__ParticipantInfo__State)(arg >> 4))); break;
    case 2:
        if (arg > 250)
            room_leave(r, (Livekit__DisconnectReason)(arg & 15));
        break;
    case 3:
        for (uint32_t i = 0; r->pc && i < 4; i++)
            (void)!lk_pc_send(r->pc, r->now, r->share_section, &(lk_pc_media){.payload = payload, .len = 1 + arg % 60, .ts = 960 * (arg + i)});
        break;
    case 4:
        if (r->pc && r->channel_open)
            (void)!lk_pc_send_data(r->pc, r->now, r->channel, payload, 1 + arg % 60, 0);
        break;
    case 5:
        for (uint32_t i = 0; r->pc && i < lk_pc_section_count(r->pc); i++)
            lk_pc_request_key(r->pc, r->now, i);
        break;
    default: r->silent = arg & 1; break;
    }
}

/* A datagram the server has sent, with some bytes changed; data records with a checksum that says nothing. */
static void tell_again(world *w, uint8_t which, lk_rd *p)
{
    uint8_t copy[1500], count = lk_rd_u8(p);
    size_t len = w->last_len[which % LASTS];
    if (len == 0)
        return;
    memcpy(copy, w->last[which % LASTS], len);
    for (uint8_t i = 0; i < count % 16; i++) {
        size_t at = lk_rd_u8(p);
        copy[(which & 4 ? at * 5 : at) % len] ^= lk_rd_u8(p);
    }
    if (which & 8)
        len = 1 + count * len / 256;
    if (which % LASTS == LAST_DTLS && len > 15)
        memset(copy + 11, 0, 4);
    const lk_datagram d = {.local = w->r.client, .remote = w->r.server, .data = copy, .len = len};
    if (w->r.udp_open)
        lk_session_input(w->r.s, w->r.now, &d);
}

static void step(world *w, lk_rd *p)
{
    room_server *r = &w->r;
    uint8_t op = lk_rd_u8(p), arg = lk_rd_u8(p);
    size_t len = lk_rd_left(p);
    len = LK_MIN(len, (size_t)arg * (op & 128 ? 5 : 1));
    switch (op % 10) {
    case 0: run(w, LK_MSEC(arg)); break;
    case 1: run(w, LK_MSEC(arg * 40)); break;
    case 2: call(w, lk_rd_u8(p), arg); break;
    case 3: push_media(w, arg); break;
    case 4: server_act(w, lk_rd_u8(p), arg); break;
    case 5: /* a message of the server */
        if (r->stream_open && r->upgraded)
            room_frame(r, (lk_bytes){lk_rd_take(p, len), len});
        break;
    case 6: /* stream bytes */
        if (r->stream_open && len)
            lk_session_stream_data(r->s, r->now, r->stream, (lk_bytes){lk_rd_take(p, len), len});
        break;
    case 7: { /* a datagram: from the server, or from anybody */
        const lk_datagram d = {.local = r->client, .remote = op & 64 ? lk_addr_v4(1, 2, 3, 4, arg) : r->server, .data = lk_rd_take(p, len), .len = len};
        if (r->udp_open && len)
            lk_session_input(r->s, r->now, &d);
        break;
    }
    case 8: tell_again(w, arg, p); break;
    default: /* the signal connection is cut */
        if (arg == 0 && r->stream_open) {
            r->stream_open = false;
            lk_session_stream_closed(r->s, r->now, r->stream, NULL);
        }
    }
    room_drain(r);
    take_events(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lk_mem mem = {NULL, count_alloc, count_resize, count_release};
    lk_env env = *fuzz_env();
    const lk_session_config c = {.auto_subscribe = true, .join_retries = 1, .connect_timeout_msec = 2000};
    world *w = &the_world;
    lk_rd p = lk_rd_of(data, size);
    memset(w, 0, sizeof *w);
    env.mem = &mem;
    w->next_op = 2;
    w->taken[1] = true;
    FUZZ_REQUIRE(room_open(&w->r, &env, &c) && lk_frame_pool_new(&w->frames, &env) == LK_OK && lk_picture_pool_new(&w->pictures, &env) == LK_OK);
    w->r.shares = true;
    w->r.road = keep_datagram;
    FUZZ_REQUIRE(lk_session_connect(w->r.s, w->r.now, 1, "ws://server.example:7880", "token") == LK_OK);
    run(w, LK_MSEC(lk_rd_u8(&p) * 4)); /* a short one meets the rest of the program on the way */
    for (int i = 0; i < STEPS_MAX && lk_rd_left(&p); i++)
        step(w, &p);
    w->r.silent = false;
    w->taken[OPS_MAX - 1] = lk_session_disconnect(w->r.s, w->r.now, OPS_MAX - 1, LK_DISCONNECT_CLIENT_INITIATED) == LK_OK;
    run(w, LK_SEC(12));
    for (size_t i = 1; i < OPS_MAX; i++)
        FUZZ_REQUIRE(!w->taken[i] || w->ends[i]);
    FUZZ_REQUIRE(lk_session_finished(w->r.s));
    room_close(&w->r);
    lk_frame_pool_unref(w->frames);
    lk_picture_pool_unref(w->pictures);
    FUZZ_REQUIRE(live == 0);
    return 0;
}
