// SPDX-License-Identifier: Apache-2.0
/* Whole sessions in virtual time: room, signalling and WebSocket of ours against the server of the room's units, with a
 * road between them that delays, loses, shuffles and doubles. What TCP carries comes late where a packet would be lost. */
#include "sim/sim.h"

#include "unit/room/room_server.h"

#define ROAD_MAX 4096
#define PIECE_MAX 1500
#define TCP_RETRY LK_MSEC(200) /* what a lost segment costs */
#define TRIES 3
#define TRY_SEC 5

typedef struct parcel {
    lk_usec at;
    uint64_t number;
    room_parcel kind;
    uint32_t stream;
    lk_datagram d;
    uint8_t data[PIECE_MAX];
} parcel;

typedef struct story {
    sim_world *w;
    room_server server;
    parcel *road;
    size_t on_road;
    lk_usec tcp_last[2]; /* a stream keeps its order */
    lk_frame *frame;     /* 10 ms of speech, said again and again while the track is published */
    size_t hashed;       /* events that are in the trace */
    uint64_t said;
} story;



sim_world *sim_told;

/* ---- what room_server.h takes from the unit frame ---------------------------------------------------------------- */

bool lk_test_check(bool cond, const char *file, int line, const char *text)
{
    LK_UNUSED(file);
    LK_UNUSED(line);
    if (!sim_told->refusing)
        sim_check(sim_told, cond, text);
    return cond;
}
bool lk_test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *text) { return lk_test_check(a == b, file, line, text); }
bool lk_test_oom(void) { return sim_told->refusing; }

/* ---- the road --------------------------------------------------------------------------------------------------- */

static void trace(sim_world *w, const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < len; i++)
        w->hash = (w->hash ^ p[i]) * 0x100000001b3ull;
}

static bool chance(sim_world *w, uint32_t thousandths) { return thousandths && lk_prng_next(&w->dice) % 1000 < thousandths; }

static bool upward(room_parcel kind) { return kind == ROOM_BYTES_UP || kind == ROOM_DATAGRAM_UP; }

static void put(story *t, room_parcel kind, const lk_datagram *what, size_t from, size_t len, lk_usec at)
{
    if (!sim_check(t->w, t->on_road < ROAD_MAX && len <= PIECE_MAX, "more on the road than there is room for"))
        return;
    parcel *p = &t->road[t->on_road++];
    p->at = at;
    p->number = ++t->w->next_number;
    p->kind = kind;
    p->stream = t->server.stream;
    p->d = *what;
    p->d.len = len;
    if (len)
        memcpy(p->data, what->data + from, len);
}

static lk_usec travel(sim_world *w, const sim_link *l) { return l->delay + (l->jitter ? (lk_usec)(lk_prng_next(&w->dice) % (uint64_t)l->jitter) : 0); }

/* In order, in segments of any size; a lost one is sent again. A link that is down gives nothing back. */
static void carry_stream(story *t, room_parcel kind, const lk_datagram *what)
{
    sim_world *w = t->w;
    const int way = !upward(kind);
    for (size_t at = 0, n; at < what->len; at += n) {
        n = 1 + lk_prng_next(&w->dice) % 1400;
        n = LK_MIN(n, what->len - at);
        w->counts.sent++;
        if (w->links[way].down) {
            w->counts.lost++;
            continue;
        }
        lk_usec due = w->now + travel(w, &w->links[way]);
        while (chance(w, w->links[way].loss))
            due += TCP_RETRY;
        t->tcp_last[way] = LK_MAX(t->tcp_last[way], due);
        put(t, kind, what, at, n, t->tcp_last[way]);
    }
}

static void carry(room_server *r, room_parcel kind, const lk_datagram *what)
{
    story *t = LK_CONTAINER(r, story, server);
    sim_world *w = t->w;
    if (kind == ROOM_BYTES_UP || kind == ROOM_BYTES_DOWN) {
        carry_stream(t, kind, what);
        return;
    }
    const sim_link *l = &w->links[!upward(kind)];
    w->counts.sent++;
    if (kind != ROOM_DIALLED && (l->down || chance(w, l->loss))) {
        w->counts.lost++;
        return;
    }
    lk_usec due = w->now + travel(w, l) + (kind == ROOM_DIALLED ? w->links[0].delay : 0) + (chance(w, l->reorder) ? l->reorder_by : 0);
    put(t, kind, what, 0, what->len, due);
    if (kind != ROOM_DIALLED && chance(w, l->duplicate)) {
        w->counts.duplicated++;
        put(t, kind, what, 0, what->len, due + LK_MSEC(1));
    }
}

static parcel *first(story *t)
{
    parcel *best = NULL;
    for (size_t i = 0; i < t->on_road; i++)
        if (!best || t->road[i].at < best->at || (t->road[i].at == best->at && t->road[i].number < best->number))
            best = &t->road[i];
    return best;
}

static void arrive(story *t, parcel *p)
{
    room_server *r = &t->server;
    sim_world *w = t->w;
    parcel copy = *p;
    *p = t->road[--t->on_road];
    copy.d.data = copy.data;
    w->counts.delivered++;
    trace(w, &w->now, sizeof w->now);
    trace(w, copy.data, copy.d.len);
    if (copy.kind == ROOM_DATAGRAM_UP || copy.kind == ROOM_DATAGRAM_DOWN) {
        uint64_t *last = &w->last_delivered[copy.kind == ROOM_DATAGRAM_UP];
        w->counts.reordered += copy.number < *last;
        *last = LK_MAX(*last, copy.number);
    } else if (copy.stream != r->stream || (copy.kind != ROOM_BYTES_UP && copy.stream == r->closed_stream)) {
        return; /* of an older stream, or to one that is closed; what was written before a close still comes */
    }
    room_arrive(r, copy.kind, &copy.d);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void settle(story *t)
{
    room_server *r = &t->server;
    room_drain(r);
    for (; t->hashed < r->count; t->hashed++) {
        const told *e = &r->events[t->hashed];
        trace(t->w, &e->kind, sizeof e->kind);
        trace(t->w, &e->op, sizeof e->op);
        trace(t->w, e->error.text, strlen(e->error.text));
    }
}

static void run_until(story *t, lk_usec until, bool (*done)(const story *t))
{
    sim_world *w = t->w;
    room_server *r = &t->server;
    settle(t);
    while (w->now < until && !w->why[0] && !(done && done(t))) {
        const parcel *p = first(t);
        bool speaks = t->frame && lk_session_wants_media(r->s, 5);
        lk_usec at = LK_MIN(p ? p->at : LK_NEVER, lk_session_deadline(r->s));
        at = LK_MIN(at, r->pc ? lk_pc_deadline(r->pc) : LK_NEVER);
        if (speaks)
            at = LK_MIN(at, w->next_frame = LK_MAX(w->next_frame == LK_NEVER ? 0 : w->next_frame, w->now));
        w->now = r->now = LK_CLAMP(at, w->now, until);
        if (at > until)
            break;
        for (parcel *due; (due = first(t)) != NULL && due->at <= w->now;) {
            arrive(t, due);
            settle(t);
        }
        if (speaks && w->next_frame <= w->now) {
            lk_session_push_audio(r->s, w->now, 5, t->frame);
            w->next_frame += LK_MSEC(10);
            t->said++;
        }
        if (r->pc && lk_pc_deadline(r->pc) <= w->now)
            lk_pc_tick(r->pc, w->now);
        if (lk_session_deadline(r->s) <= w->now)
            lk_session_tick(r->s, w->now);
        settle(t);
        sim_check(w, lk_session_deadline(r->s) > w->now, "a deadline of the session stays in the past");
    }
}

static void run_for(story *t, lk_usec span) { run_until(t, t->w->now + span, NULL); }

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

static size_t count(const story *t, lk_session_event_kind kind)
{
    size_t n = 0;
    while (room_told(&t->server, kind, n))
        n++;
    return n;
}

static const told *end_of(const story *t, uint64_t op)
{
    const told *found = NULL;
    for (size_t i = 0; room_told(&t->server, LK_SESSION_OP_DONE, i); i++) {
        const told *e = room_told(&t->server, LK_SESSION_OP_DONE, i);
        if (e->op == op && !sim_check(t->w, found == NULL, "an operation ended twice"))
            break;
        found = e->op == op ? e : found;
    }
    return found;
}

static bool connect_ended(const story *t) { return end_of(t, 1) != NULL; }
static bool is_over(const story *t) { return count(t, LK_SESSION_CLOSED) > 0; }

static bool begin(story *t, sim_world *w, const sim_link *l)
{
    sim_told = w;
    memset(t, 0, sizeof *t);
    t->w = w;
    w->links[0] = w->links[1] = *l;
    t->road = (parcel *)lk_alloc(w->env, ROAD_MAX * sizeof *t->road);
    const lk_session_config c = {.auto_subscribe = true, .join_retries = TRIES - 1, .connect_timeout_msec = TRY_SEC * 1000};
    bool ok = sim_check(w, t->road != NULL, "road made") && room_open(&t->server, w->env, &c);
    w->now = t->server.now;
    t->server.road = carry;
    if (ok && lk_frame_new(&t->frame, w->pool, 48000, 1, 480) == LK_OK)
        for (uint32_t i = 0; i < t->frame->samples; i++)
            t->frame->data[i] = (int16_t)((i * 137 % 480) * 40 - 9600);
    return ok && sim_check(w, t->frame != NULL, "frame made") &&
           sim_check(w, lk_session_connect(t->server.s, w->now, 1, "ws://server.example", "the.secret.token") == LK_OK, "connect taken");
}

static void finish(story *t)
{
    sim_world *w = t->w;
    sim_check(w, w->counts.sent + w->counts.duplicated == w->counts.delivered + w->counts.lost + t->on_road, "parcels are not conserved");
    sim_check(w, count(t, LK_SESSION_CLOSED) <= 1 && count(t, LK_SESSION_DISCONNECTED) == count(t, LK_SESSION_CLOSED), "one end, told once");
    room_close(&t->server);
    lk_frame_unref(t->frame);
    lk_release(w->env, t->road, ROAD_MAX * sizeof *t->road);
}

static bool connected(story *t)
{
    run_until(t, t->w->now + LK_SEC(TRIES * TRY_SEC), connect_ended);
    const told *e = end_of(t, 1);
    return sim_check(t->w, e != NULL, "the connect did not end in time") && sim_check(t->w, e->error.code == LK_OK, e->error.text);
}

static bool add_track_seen(const story *t) { return t->server.requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK] > 0; }
static bool publish_ended(const story *t) { return end_of(t, 2) != NULL; }

static bool published(story *t)
{
    room_server *r = &t->server;
    const lk_session_publish p = {.track = 5, .name = "mic", .source = LK_TRACK_SOURCE_MICROPHONE, .stream = "", .sample_rate = 48000, .channels = 1};
    sim_check(t->w, lk_session_publish_audio(r->s, t->w->now, 2, &p) == LK_OK, "publish taken");
    run_until(t, t->w->now + LK_SEC(5), add_track_seen);
    room_grant_track(r, "TR_mine");
    run_until(t, t->w->now + LK_SEC(5), publish_ended);
    const told *e = end_of(t, 2);
    return sim_check(t->w, e && e->error.code == LK_OK && count(t, LK_SESSION_LOCAL_TRACK_PUBLISHED) == 1, "published");
}

static void leave(story *t)
{
    sim_check(t->w, lk_session_disconnect(t->server.s, t->w->now, 9, LK_DISCONNECT_CLIENT_INITIATED) == LK_OK, "disconnect taken");
    run_for(t, LK_SEC(4));
    const told *e = end_of(t, 9);
    sim_check(t->w, e && e->error.code == LK_OK && is_over(t) && lk_session_finished(t->server.s), "left");
}

/* ---- the stories ---------------------------------------------------------------------------------------------------- */

static story the_story;

void sim_session_clean(sim_world *w)
{
    story *t = &the_story;
    if (begin(t, w, &(sim_link){.delay = LK_MSEC(20)})) {
        lk_usec began = w->now;
        if (connected(t) && published(t)) {
            /* TCP, upgrade with join and answer, checks, four flights of DTLS: eight round trips of 40 ms at most. */
            SIM_CHECK(w, w->now - began < LK_MSEC(520));
            run_for(t, LK_SEC(10));
            SIM_CHECK(w, t->server.rtp_packets >= 490 && t->server.rtp_packets <= 510);
            SIM_CHECK(w, lk_session_set_muted(t->server.s, w->now, 5, true) == LK_OK);
            run_for(t, LK_SEC(1));
            SIM_CHECK(w, count(t, LK_SESSION_TRACK_MUTED) == 1 && t->server.requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_MUTE] == 1);
            SIM_CHECK(w, lk_session_unpublish(t->server.s, w->now, 3, "TR_mine") == LK_OK);
            run_for(t, LK_SEC(1));
            SIM_CHECK(w, end_of(t, 3) && end_of(t, 3)->error.code == LK_OK && count(t, LK_SESSION_LOCAL_TRACK_UNPUBLISHED) == 1);
            leave(t);
            SIM_CHECK(w, t->server.requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE] == 1);
        }
    }
    finish(t);
}

/* A minute on a bad road: nobody is lost, every operation ends once, the voice gets through. */
void sim_session_bad_road(sim_world *w)
{
    story *t = &the_story;
    const sim_link bad = {.delay = LK_MSEC(30), .jitter = LK_MSEC(80), .loss = 100, .reorder = 100, .reorder_by = LK_MSEC(60), .duplicate = 50};
    if (begin(t, w, &bad) && connected(t) && published(t)) {
        uint64_t said = t->said, heard = t->server.rtp_packets;
        for (uint64_t op = 10; op < 20; op++) {
            SIM_CHECK(w, lk_session_set_metadata(t->server.s, w->now, op, "m") == LK_OK);
            if (op % 2)
                SIM_CHECK(w, lk_session_cancel(t->server.s, w->now, op, LK_ERR_CANCELLED) == LK_OK);
            run_for(t, LK_SEC(6));
            const told *e = end_of(t, op);
            SIM_CHECK(w, e && e->error.code == (op % 2 ? LK_ERR_CANCELLED : LK_ERR_TIMEOUT)); /* this server does not answer them */
        }
        SIM_CHECK(w, count(t, LK_SESSION_DISCONNECTED) == 0);
        said = (t->said - said) / 2;
        heard = t->server.rtp_packets - heard;
        SIM_CHECK(w, heard > said * 85 / 100); /* doubled and resent ones among them: nine of ten come at first */
        leave(t);
    }
    finish(t);
}

/* The server falls silent in mid-call: that is noticed, told once, and everything that waits is answered. */
void sim_session_cut(sim_world *w)
{
    story *t = &the_story;
    if (begin(t, w, &(sim_link){.delay = LK_MSEC(20)}) && connected(t) && published(t)) {
        run_for(t, LK_MSEC(lk_prng_next(&w->dice) % 8000));
        lk_usec cut = w->now;
        w->links[0].down = w->links[1].down = true;
        SIM_CHECK(w, lk_session_set_name(t->server.s, w->now, 10, "n") == LK_OK);
        run_until(t, cut + LK_SEC(60), is_over);
        /* [signalling] 15 s without a message; at most 5 more until the next ping would have been answered. */
        SIM_CHECK(w, is_over(t) && w->now - cut > LK_SEC(9) && w->now - cut <= LK_SEC(21));
        SIM_CHECK(w, end_of(t, 10) && end_of(t, 10)->error.code == LK_ERR_TIMEOUT);
        SIM_CHECK(w, lk_session_set_name(t->server.s, w->now, 11, "n") != LK_OK || (settle(t), end_of(t, 11) != NULL));
        size_t told_then = t->server.count;
        run_for(t, LK_SEC(30));
        SIM_CHECK(w, t->server.count == told_then && lk_session_finished(t->server.s) && lk_session_deadline(t->server.s) == LK_NEVER);
    }
    finish(t);
}

static bool second_dial(const story *t) { return t->server.dials == 2; }

/* The first answers are none: it is tried again, and the limit of all tries holds. */
void sim_session_second_try(sim_world *w)
{
    story *t = &the_story;
    if (begin(t, w, &(sim_link){.delay = LK_MSEC(30), .jitter = LK_MSEC(30), .loss = 50, .reorder = 50, .reorder_by = LK_MSEC(40)})) {
        static const char *const answers[] = {"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "hello\r\n\r\n", NULL};
        const char *answer = answers[lk_prng_next(&w->dice) % LK_LEN(answers)];
        t->server.answer = answer;
        t->server.silent = !answer;
        lk_usec began = w->now;
        run_until(t, w->now + LK_SEC(TRY_SEC + 1), second_dial);
        t->server.answer = NULL;
        t->server.silent = false;
        if (connected(t)) {
            SIM_CHECK(w, t->server.dials >= 2 && t->server.dials <= TRIES && w->now - began <= LK_SEC(TRIES * TRY_SEC));
            leave(t);
        }
    }
    finish(t);
}

/* Nobody ever answers: the sum of the tries, and not a moment more. */
void sim_session_never_answered(sim_world *w)
{
    story *t = &the_story;
    if (begin(t, w, &(sim_link){.delay = LK_MSEC(30)})) {
        lk_usec began = w->now;
        const bool deaf = lk_prng_next(&w->dice) & 1; /* it takes the connection, or it joins and has no media */
        t->server.silent = deaf;
        t->server.no_media = !deaf;
        run_until(t, w->now + LK_SEC(60), connect_ended);
        const told *e = end_of(t, 1);
        SIM_CHECK(w, e && e->error.code == LK_ERR_TIMEOUT && w->now - began <= LK_SEC(TRIES * TRY_SEC));
        run_for(t, LK_SEC(4));
        SIM_CHECK(w, lk_session_finished(t->server.s) && !is_over(t));
    }
    finish(t);
}

/* Given up at any moment of the connect: answered at once and once; a server that had let us in is told. */
void sim_session_given_up(sim_world *w)
{
    story *t = &the_story;
    if (begin(t, w, &(sim_link){.delay = LK_MSEC(20), .jitter = LK_MSEC(20), .loss = 100, .reorder = 50, .reorder_by = LK_MSEC(30)})) {
        run_until(t, w->now + LK_MSEC(lk_prng_next(&w->dice) % 400), connect_ended);
        const told *e = end_of(t, 1);
        if (e) {
            leave(t);
        } else {
            const bool let_in = t->server.upgraded;
            SIM_CHECK(w, lk_session_cancel(t->server.s, w->now, 1, LK_ERR_CANCELLED) == LK_OK);
            settle(t);
            e = end_of(t, 1);
            SIM_CHECK(w, e && e->error.code == LK_ERR_CANCELLED);
            run_for(t, LK_SEC(4));
            /* Either it knows, or its connection is closed under it, which it takes for the same. */
            SIM_CHECK(w, !let_in || t->server.requests[LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE] == 1 || !t->server.stream_open);
            SIM_CHECK(w, lk_session_finished(t->server.s) && !is_over(t) && !t->server.udp_open && !t->server.stream_open);
        }
    }
    finish(t);
}
