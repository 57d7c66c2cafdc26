// SPDX-License-Identifier: Apache-2.0
#include "sim/sim.h"
#include "stun_answer.h"

#include <math.h>

#define RATE 48000
#define TICK LK_MSEC(10)

bool sim_check(sim_world *w, bool ok, const char *text)
{
    if (!ok && !w->why[0])
        (void)lk_str_copy(w->why, sizeof w->why, lk_str_of(text));
    return ok;
}

static void mix(sim_world *w, const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    for (size_t i = 0; i < len; i++)
        w->hash = (w->hash ^ p[i]) * 0x100000001b3ull; /* FNV-1a */
}

/* ---- links -------------------------------------------------------------------------------------------------- */

static bool chance(sim_world *w, uint32_t thousandths)
{
    return thousandths && lk_prng_next(&w->dice) % 1000 < thousandths;
}

static void fly(sim_world *w, int to, const lk_datagram *d, lk_usec at)
{
    if (!sim_check(w, w->air_count < SIM_AIR_MAX, "more datagrams in flight than the world holds"))
        return;
    sim_flying *f = &w->air[w->air_count++];
    f->at = at;
    f->number = ++w->next_number;
    f->to = to;
    f->d = *d;
    memcpy(f->data, d->data, d->len);
}

static bool taken(sim_world *w, sim_link *l, size_t len)
{
    l->carried++;
    if (l->in_burst ? chance(w, l->burst_end) : chance(w, l->burst))
        l->in_burst = !l->in_burst;
    return l->down || l->in_burst || l->carried == l->lose_nth || (l->mtu && len > l->mtu) || chance(w, l->loss);
}

/* When the rate limit lets it go; LK_NEVER: its queue is full. */
static lk_usec through_rate(sim_world *w, sim_link *l, size_t len)
{
    if (!l->rate_bps)
        return w->now;
    lk_usec start = LK_MAX(w->now, l->free_at), took = (lk_usec)(len * 8 * 1000000 / l->rate_bps);
    if ((uint64_t)(start - w->now) * l->rate_bps / 8000000 > l->queue_bytes)
        return LK_NEVER;
    l->free_at = start + took;
    return l->free_at;
}

/* Not part of the path between the peers, and at once. */
static void ask_stun(sim_world *w, int from, const lk_datagram *d)
{
    uint8_t answer[128];
    size_t len = stun_answer(answer, sizeof answer, d->data, d->len, &w->peers[from].outside, true);
    const lk_datagram back = {d->local, d->remote, answer, len};
    if (len)
        lk_pc_input(w->peers[from].pc, w->now, &back);
}

static void send(sim_world *w, int from, const lk_datagram *d)
{
    sim_link *l = &w->links[from];
    int to = 1 - from;
    if (w->stun.family && lk_addr_eq(&d->remote, &w->stun)) {
        ask_stun(w, from, d);
        return;
    }
    w->counts.sent++;
    w->peers[from].sent++;
    if (w->peers[from].on_send)
        w->peers[from].on_send(&w->peers[from], d);
    /* Behind a NAT the local address is nobody's but the peer's own. */
    lk_datagram out = {.local = w->peers[to].address, .remote = w->peers[from].outside, .data = d->data, .len = d->len};
    bool reachable = lk_addr_eq(&d->remote, &w->peers[to].outside);
    w->peers[from].has_sent |= reachable;
    reachable = reachable && (!w->peers[to].walled || w->peers[to].has_sent);
    bool gets_on = reachable && !taken(w, l, d->len);
    lk_usec leaves = gets_on ? through_rate(w, l, d->len + lk_addr_overhead(&d->remote)) : LK_NEVER;
    if (leaves == LK_NEVER) {
        w->counts.lost++;
        return;
    }
    l->bytes += d->len;
    lk_usec at = leaves + l->delay + (l->jitter ? (lk_usec)(lk_prng_next(&w->dice) % (uint64_t)l->jitter) : 0);
    if (chance(w, l->reorder))
        at += l->reorder_by;
    fly(w, to, &out, at);
    if (chance(w, l->flip) && w->air_count) {
        w->air[w->air_count - 1].data[lk_prng_next(&w->dice) % d->len] ^= (uint8_t)(1u << (lk_prng_next(&w->dice) & 7));
        w->counts.flipped++;
    }
    if (chance(w, l->duplicate)) {
        w->counts.duplicated++;
        fly(w, to, &out, at + LK_MSEC(1));
    }
}

static sim_flying *next_flying(sim_world *w)
{
    sim_flying *best = NULL;
    for (size_t i = 0; i < w->air_count; i++)
        if (!best || w->air[i].at < best->at || (w->air[i].at == best->at && w->air[i].number < best->number))
            best = &w->air[i];
    return best;
}

static void deliver(sim_world *w, sim_flying *f)
{
    sim_flying copy = *f;
    *f = w->air[--w->air_count];
    w->counts.delivered++;
    if (copy.number < w->last_delivered[copy.to])
        w->counts.reordered++;
    w->last_delivered[copy.to] = LK_MAX(copy.number, w->last_delivered[copy.to]);
    copy.d.data = copy.data;
    mix(w, &w->now, sizeof w->now);
    mix(w, copy.data, copy.d.len);
    if (w->peers[copy.to].asleep_until <= w->now)
        lk_pc_input(w->peers[copy.to].pc, w->now, &copy.d);
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

static void on_state(sim_peer *p, lk_pc_state state)
{
    if (state == LK_PC_STATE_CONNECTED) {
        p->reconnects += p->connected_at != LK_NEVER;
        p->connected_at = LK_MIN(p->connected_at, p->world->now);
    }
    if (state == LK_PC_STATE_DISCONNECTED)
        p->disconnected_at = LK_MIN(p->disconnected_at, p->world->now);
    if (state == LK_PC_STATE_FAILED) {
        sim_check(p->world, p->failed_at == LK_NEVER, "failed twice");
        p->failed_at = p->world->now;
    }
    if (state == LK_PC_STATE_CLOSED) {
        sim_check(p->world, p->closed_at == LK_NEVER, "closed twice");
        p->closed_at = p->world->now;
    }
    sim_check(p->world, p->closed_at == LK_NEVER || state == LK_PC_STATE_CLOSED, "a state after the last one");
    p->state = state;
}

static void on_candidate(sim_peer *p, const char *line)
{
    sim_peer *other = &p->world->peers[1 - p->index];
    if (p->hold_candidates && p->held_count < LK_LEN(p->held))
        (void)lk_str_copy(p->held[p->held_count++], SIM_LINE_MAX, lk_str_of(line));
    else if (!p->hold_candidates)
        (void)!lk_pc_add_remote_candidate(other->pc, p->world->now, line, strlen(line));
}

void sim_release_candidates(sim_world *w, int peer)
{
    sim_peer *p = &w->peers[peer];
    p->hold_candidates = false;
    for (size_t i = 0; i < p->held_count; i++)
        on_candidate(p, p->held[i]);
    p->held_count = 0;
}

static void take_media(sim_peer *p)
{
    sim_world *w = p->world;
    lk_audio_packet out;
    lk_job *job;
    lk_frame *frame;
    uint64_t sink;
    while (p->sender && lk_audio_sender_poll_job(p->sender, &job)) {
        job->run(job);
        lk_audio_sender_job_done(p->sender, w->now, job);
        while (lk_audio_sender_poll_packet(p->sender, &out)) {
            const lk_pc_media m = {.payload = out.payload, .len = out.len, .ts = out.ts, .marker = out.marker, .has_level = true,
                                   .voice = out.voice, .level = out.level};
            (void)!lk_pc_send(p->pc, w->now, p->send_section, &m);
            lk_audio_sender_set_loss(p->sender, lk_pc_remote_loss(p->pc, p->send_section));
        }
    }
    while (p->receiver && lk_audio_receiver_poll_job(p->receiver, &job)) {
        job->run(job);
        lk_audio_receiver_job_done(p->receiver, w->now, job);
        while (lk_audio_receiver_poll_frame(p->receiver, &sink, &frame)) {
            p->frames_heard++;
            for (uint32_t i = 0; i < frame->samples; i++)
                p->energy_heard += (double)frame->data[i] * frame->data[i];
            if (p->on_heard)
                p->on_heard(p, frame->data, frame->samples);
            lk_frame_unref(frame);
        }
    }
}

static void drain(sim_peer *p)
{
    lk_pc_event e;
    lk_datagram d;
    for (bool moved = true; moved;) {
        moved = false;
        while (lk_pc_poll_event(p->pc, &e)) {
            moved = true;
            if (p->on_event)
                p->on_event(p, &e);
            if (e.type == LK_PC_EV_STATE)
                on_state(p, e.state);
            else if (e.type == LK_PC_EV_CANDIDATE)
                on_candidate(p, e.text);
            else if (e.type == LK_PC_EV_RTP && p->receiver && e.index == p->receive_section)
                lk_audio_receiver_input(p->receiver, p->world->now, &e.packet, e.red);
        }
        while (lk_pc_poll_tx(p->pc, p->world->now, &d)) {
            moved = true;
            send(p->world, p->index, &d);
        }
        take_media(p);
    }
}

void sim_drain(sim_world *w)
{
    for (int i = 0; i < 2; i++)
        if (w->peers[i].asleep_until <= w->now)
            drain(&w->peers[i]);
}

/* ---- speech ------------------------------------------------------------------------------------------------------ */

static int16_t voice(uint64_t i)
{
    double t = (double)i / RATE, s = 0;
    for (int h = 1; h <= 8; h++)
        s += sin(2 * M_PI * 150 * h * t) / h;
    return (int16_t)(s * 4000 * (0.6 + 0.4 * sin(2 * M_PI * 4 * t)));
}

static void speak(sim_world *w)
{
    lk_frame *f;
    w->next_frame += TICK;
    if (lk_frame_new(&f, w->pool, RATE, 1, RATE / 100) != LK_OK)
        return;
    for (uint32_t i = 0; i < f->samples; i++)
        f->data[i] = w->speech ? w->speech[w->said++ % w->speech_len] : voice(w->said++);
    for (int i = 0; i < 2; i++) {
        sim_peer *p = &w->peers[i];
        if (!p->sender)
            continue;
        lk_audio_sender_push(p->sender, w->now, f);
        for (uint32_t k = 0; k < f->samples; k++)
            p->energy_said += (double)f->data[k] * f->data[k];
        drain(p);
    }
    lk_frame_unref(f);
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

static lk_usec next_time(sim_world *w)
{
    const sim_flying *f = next_flying(w);
    lk_usec at = LK_MIN(f ? f->at : LK_NEVER, w->next_frame);
    for (int i = 0; i < 2; i++) {
        if (w->peers[i].asleep_until > w->now) {
            at = LK_MIN(at, w->peers[i].asleep_until);
            continue;
        }
        at = LK_MIN(at, lk_pc_deadline(w->peers[i].pc));
        if (w->peers[i].receiver)
            at = LK_MIN(at, lk_audio_receiver_deadline(w->peers[i].receiver));
    }
    return at;
}

static void step(sim_world *w)
{
    for (sim_flying *f; (f = next_flying(w)) != NULL && f->at <= w->now;) {
        int to = f->to;
        deliver(w, f);
        if (w->peers[to].asleep_until <= w->now)
            drain(&w->peers[to]);
    }
    if (w->next_frame <= w->now)
        speak(w);
    for (int i = 0; i < 2; i++) {
        sim_peer *p = &w->peers[i];
        if (p->asleep_until > w->now)
            continue;
        if (lk_pc_deadline(p->pc) <= w->now)
            lk_pc_tick(p->pc, w->now);
        if (p->receiver && lk_audio_receiver_deadline(p->receiver) <= w->now)
            lk_audio_receiver_tick(p->receiver, w->now);
        drain(p);
        sim_check(w, lk_pc_deadline(p->pc) > w->now, "a deadline stays in the past");
    }
    sim_check(w, w->counts.sent + w->counts.duplicated == w->counts.delivered + w->counts.lost + w->air_count,
              "packets are not conserved");
}

bool sim_both_connected(const sim_world *w)
{
    return w->peers[0].state == LK_PC_STATE_CONNECTED && w->peers[1].state == LK_PC_STATE_CONNECTED;
}

void sim_run(sim_world *w, lk_usec until, bool (*done)(const sim_world *))
{
    while (w->now < until && !w->why[0] && !(done && done(w))) {
        lk_usec at = next_time(w);
        w->now = LK_CLAMP(at, w->now, until);
        if (at <= until)
            step(w);
    }
}

/* ---- two peers ------------------------------------------------------------------------------------------------------- */

static bool make_peer(sim_world *w, int i, const sim_pair_options *o)
{
    sim_peer *p = &w->peers[i];
    const lk_pc_config c = {.dtls = w->dtls,
                            .controlling = i == 0 || o->both_controlling,
                            .ice_lite = i == 1 && o->server_lite,
                            .prefer_red = i == 1 && !o->no_red,
                            .unix_usec = 1700000000000000};
    p->world = w;
    p->index = i;
    p->address = o->ipv6 ? (lk_addr){.family = 6, .port = (uint16_t)(5000 + i), .ip = {0xfd, [15] = (uint8_t)(1 + i)}}
                         : lk_addr_v4(10, 0, 0, (uint8_t)(1 + i), (uint16_t)(5000 + i));
    p->outside = i == 0 && o->client_behind_nat ? lk_addr_v4(192, 0, 2, 7, 40000) : p->address;
    p->walled = i == 1 && o->server_walled;
    p->connected_at = p->disconnected_at = p->failed_at = p->closed_at = LK_NEVER;
    return sim_check(w, lk_pc_new(&p->pc, w->env, &c, w->now) == LK_OK, "peer connection made");
}

static bool add_audio(sim_world *w, int i)
{
    sim_peer *p = &w->peers[i];
    const lk_audio_sender_config c = {.dtx = false, .fec = true};
    return sim_check(w, lk_audio_sender_new(&p->sender, w->env, &c, w->now) == LK_OK &&
                            lk_audio_receiver_new(&p->receiver, w->env, w->now) == LK_OK &&
                            lk_audio_receiver_add_sink(p->receiver, w->now, 1, RATE, 1, 10) == LK_OK,
                     "audio made");
}

static bool add_channels(sim_peer *p)
{
    uint32_t channel;
    return lk_pc_add_channel(p->pc, &(lk_pc_channel){.label = "_reliable"}, &channel) == LK_OK &&
           lk_pc_add_channel(p->pc, &(lk_pc_channel){.label = "_lossy", .unordered = true, .limit_retransmits = true}, &channel) == LK_OK;
}

/* Takes what one of the two says of resending sound out of a description. */
static void forget_nack(lk_text *sdp)
{
    static const char line[] = "a=rtcp-fb:111 nack\r\n";
    for (char *at; sdp->len && (at = strstr(sdp->p, line)) != NULL; sdp->len -= sizeof line - 1)
        memmove(at, at + sizeof line - 1, strlen(at + sizeof line - 1) + 1);
}

static bool negotiate(sim_world *w, const sim_pair_options *o)
{
    const lk_pc_section slot = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    const lk_pc_section up = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_SENDONLY, .stream = "-", .track = "up"};
    const lk_pc_section picture = {.kind = LK_MEDIA_KIND_VIDEO, .direction = LK_PC_SENDONLY, .stream = "-", .track = "picture"};
    const lk_pc_section down = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_SENDONLY, .stream = "PA_x", .track = "TR_down"};
    sim_peer *a = &w->peers[0], *b = &w->peers[1];
    lk_text offer, answer;
    const char *why = "";
    lk_text_init(&offer, w->env, 65536);
    lk_text_init(&answer, w->env, 65536);
    bool ok = lk_pc_add_section(a->pc, &slot, &a->receive_section) == LK_OK && lk_pc_add_section(a->pc, &up, &a->send_section) == LK_OK &&
              lk_pc_add_section(b->pc, &down, &b->send_section) == LK_OK && (!o->video || lk_pc_add_section(a->pc, &picture, &a->video_section) == LK_OK) &&
              (!o->data || add_channels(a)) && lk_pc_create_offer(a->pc, w->now, &offer) == LK_OK;
    if (ok && o->no_nack)
        forget_nack(&offer);
    ok = ok && lk_pc_accept_offer(b->pc, w->now, offer.p, offer.len, &answer, &why) == LK_OK &&
              lk_pc_set_answer(a->pc, w->now, answer.p, answer.len, &why) == LK_OK &&
              lk_pc_add_local_address(a->pc, w->now, &a->address) == LK_OK && lk_pc_add_local_address(b->pc, w->now, &b->address) == LK_OK;
    b->receive_section = a->send_section;
    lk_text_deinit(&offer);
    lk_text_deinit(&answer);
    return sim_check(w, ok, why[0] ? why : "negotiated");
}

bool sim_connect(sim_world *w, const sim_pair_options *o)
{
    bool ok = sim_check(w, lk_dtls_context_new(&w->dtls, w->env) == LK_OK, "DTLS context made") && make_peer(w, 0, o) && make_peer(w, 1, o) &&
              negotiate(w, o);
    if (ok && o->audio)
        ok = add_audio(w, 0) && add_audio(w, 1);
    w->next_frame = o->audio ? w->now + TICK : LK_NEVER;
    for (int i = 0; ok && i < 2; i++)
        drain(&w->peers[i]);
    return ok;
}

lk_stats_InboundRtpStream sim_inbound(const sim_peer *p)
{
    lk_stats e;
    memset(&e, 0, sizeof e);
    lk_audio_receiver_stats(p->receiver, &e);
    return e.inbound_rtp.inbound;
}

/* ---- junk --------------------------------------------------------------------------------------------------------- */

void sim_junk(sim_world *w, lk_prng *dice, sim_peer *p, uint32_t count)
{
    uint8_t bytes[1400];
    for (uint32_t i = 0; i < count; i++) {
        const lk_addr stranger = lk_addr_v4(198, 51, 100, (uint8_t)lk_prng_next(dice), (uint16_t)lk_prng_next(dice));
        const lk_datagram d = {p->address, i & 1 ? stranger : w->peers[1 - p->index].outside, bytes,
                               1 + lk_prng_next(dice) % sizeof bytes};
        (void)lk_prng_fill(dice, bytes, sizeof bytes);
        if (i % 8 == 0) { /* as near to the real thing as one comes without its secrets */
            static const uint8_t heads[][4] = {{0, 1, 0, 12}, {1, 1, 0, 12}, {22, 0xfe, 0xfd, 0}, {23, 0xfe, 0xfd, 0},
                                               {0x80, 111, 0, 1}, {0x80, 63, 0, 1}, {0x81, 201, 0, 7}, {0x8f, 205, 0, 3}};
            memcpy(bytes, heads[lk_prng_next(dice) % LK_LEN(heads)], 4);
        }
        lk_pc_input(p->pc, w->now, &d);
        drain(p);
    }
}
