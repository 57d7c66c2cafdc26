// SPDX-License-Identifier: Apache-2.0
/* The peer connection of a session, and audio through it both ways. */
#include "room/room_internal.h"

#define OFFER_MAX (1u << 20)

/* ---- slots: what the sections of the server carry ---------------------------------------------------------- */

void lk_session_drop_slots(lk_session *s)
{
    for (size_t i = 0; i < s->slot_count; i++)
        lk_session_free_text(s, &s->slots[i].sid);
    lk_release(s->env, s->slots, s->slot_count * sizeof *s->slots);
    s->slots = NULL;
    s->slot_count = 0;
}

static lk_session_slot *slot_at(lk_session *s, uint32_t index)
{
    if (index >= LK_PC_SECTIONS_MAX)
        return NULL;
    if (index >= s->slot_count) {
        size_t count = LK_MAX(s->slot_count * 2, (size_t)index + 1);
        count = LK_MIN(LK_MAX(count, 8), LK_PC_SECTIONS_MAX);
        lk_session_slot *more = (lk_session_slot *)lk_alloc0(s->env, count * sizeof *more);
        if (!more) {
            s->broken = LK_ERR_NOMEM;
            return NULL;
        }
        if (s->slot_count)
            memcpy(more, s->slots, s->slot_count * sizeof *more);
        for (size_t i = s->slot_count; i < count; i++)
            more[i].unknown_until = LK_NEVER;
        lk_release(s->env, s->slots, s->slot_count * sizeof *s->slots);
        s->slots = more;
        s->slot_count = count;
    }
    return &s->slots[index];
}

/* ---- remote tracks -------------------------------------------------------------------------------------------- */

void lk_session_drop_remote_track(lk_session *s, lk_session_remote_track *t)
{
    if (t->pub)
        t->pub->track = NULL;
    lk_list_remove(&s->remote_tracks, &t->link);
    t->pub = NULL;
    LK_LIST_EACH(&s->listeners, it) {
        lk_session_listener *l = LK_CONTAINER(it, lk_session_listener, link);
        if (l->track != t)
            continue;
        lk_session_emit(s, LK_SESSION_SINK_END)->sink = l->sink;
        lk_list_remove(&s->listeners, &l->link);
        lk_release(s->env, l, sizeof *l);
    }
    if (lk_audio_receiver_busy(t->receiver)) {
        lk_list_push(&s->dying_remote, &t->link);
        return;
    }
    lk_audio_receiver_free(t->receiver);
    lk_release(s->env, t, sizeof *t);
}

void lk_session_drop_local_track(lk_session *s, lk_session_local_track *t)
{
    lk_list_remove(&s->local_tracks, &t->link);
    t->track = 0;
    if (t->sender && lk_audio_sender_busy(t->sender)) {
        lk_list_push(&s->dying_local, &t->link);
        return;
    }
    lk_audio_sender_free(t->sender);
    lk_release(s->env, t, sizeof *t);
}

static void subscribe(lk_session *s, lk_session_pub *pub, uint32_t section)
{
    lk_session_remote_track *t = (lk_session_remote_track *)lk_alloc0(s->env, sizeof *t);
    if (!t || lk_audio_receiver_new(&t->receiver, s->env, s->now) != LK_OK) {
        lk_release(s->env, t, sizeof *t);
        s->broken = LK_ERR_NOMEM;
        return;
    }
    t->id = ++s->next_id | LK_SESSION_REMOTE_TRACK_BIT;
    t->pub = pub;
    t->section = section;
    t->stream_state = LK_STREAM_STATE_ACTIVE;
    pub->track = t;
    lk_list_push(&s->remote_tracks, &t->link);
    lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_TRACK_SUBSCRIBED, pub);
    ev->track_id = t->id;
    ev->track = lk_session_remote_track_info(s, t);
}

void lk_session_unsubscribe(lk_session *s, lk_session_pub *pub)
{
    lk_session_remote_track *t = pub->track;
    if (!t)
        return;
    lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_TRACK_UNSUBSCRIBED, pub);
    ev->track_id = t->id;
    ev->track = lk_session_remote_track_info(s, t);
    lk_session_drop_remote_track(s, t);
}

void lk_session_match_pub(lk_session *s, lk_session_pub *pub)
{
    if (s->phase != LK_SESSION_LIVE || pub->track || pub->person->is_local || !pub->wanted || !pub->allowed)
        return;
    for (size_t i = 0; i < s->slot_count; i++) {
        if (!s->slots[i].sid || strcmp(s->slots[i].sid, pub->sid) != 0)
            continue;
        s->slots[i].unknown_until = LK_NEVER;
        subscribe(s, pub, (uint32_t)i);
        return;
    }
}

void lk_session_tell_tracks(lk_session *s)
{
    LK_LIST_EACH(&s->others, it) {
        lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        LK_LIST_EACH(&p->pubs, at)
            lk_session_match_pub(s, LK_CONTAINER(at, lk_session_pub, link));
    }
}

static void on_remote_track(lk_session *s, const lk_pc_event *ev)
{
    lk_session_slot *slot = slot_at(s, ev->index);
    if (!slot)
        return;
    lk_session_pub *before = slot->sid ? lk_session_find_pub(s, slot->sid) : NULL;
    bool same = ev->active && slot->sid && strcmp(slot->sid, ev->track) == 0;
    if (same)
        return;
    if (before && before->track && before->track->section == ev->index)
        lk_session_unsubscribe(s, before);
    lk_session_free_text(s, &slot->sid);
    slot->unknown_until = LK_NEVER;
    if (!ev->active)
        return;
    lk_session_set_text(s, &slot->sid, ev->track);
    lk_session_pub *pub = lk_session_find_pub(s, ev->track);
    if (pub)
        lk_session_match_pub(s, pub);
    else
        slot->unknown_until = s->now + LK_SESSION_UNKNOWN_TRACK_USEC;
}

static void give_up_on_unknown(lk_session *s)
{
    for (size_t i = 0; i < s->slot_count; i++) {
        lk_session_slot *slot = &s->slots[i];
        if (slot->unknown_until > s->now)
            continue;
        slot->unknown_until = LK_NEVER;
        lk_session_event *ev = lk_session_emit(s, LK_SESSION_TRACK_SUBSCRIPTION_FAILED);
        ev->text = lk_session_out_text(s, slot->sid);
        lk_error_set(&ev->error, LK_ERR_NOT_FOUND, "could not find published track with sid: ", slot->sid, (const char *)NULL);
    }
}

/* ---- negotiation ------------------------------------------------------------------------------------------------ */

lk_err lk_session_pc_start(lk_session *s, lk_text *offer)
{
    const lk_pc_config config = {.dtls = s->config.dtls, .controlling = true, .unix_usec = s->config.unix_usec + s->now};
    const lk_pc_section slot = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    uint32_t index;
    lk_err err = lk_pc_new(&s->pc, s->env, &config, s->now);
    for (int i = 0; err == LK_OK && i < LK_SESSION_SLOTS; i++)
        err = lk_pc_add_section(s->pc, &slot, &index);
    if (err == LK_OK)
        err = lk_pc_create_offer(s->pc, s->now, offer);
    if (err)
        return err;
    for (size_t i = 0; i < s->address_count; i++)
        if (lk_pc_add_local_address(s->pc, s->now, &s->addresses[i]) != LK_OK)
            LK_LOG(s->env, LK_LOG_WARN, "room.address.refused", LK_I("index", i));
    s->offer_id++;
    s->offer_out = true;
    return LK_OK;
}

void lk_session_want_offer(lk_session *s) { s->offer_wanted = true; }

void lk_session_offer_due(lk_session *s)
{
    lk_text sdp;
    if (!s->offer_wanted || s->offer_out || !s->pc || !s->join_received ||
        (s->phase != LK_SESSION_LIVE && s->phase != LK_SESSION_MEDIA))
        return;
    lk_text_init(&sdp, s->env, OFFER_MAX);
    lk_err err = lk_pc_create_offer(s->pc, s->now, &sdp);
    if (err == LK_OK) {
        s->offer_wanted = false;
        s->offer_out = true;
        s->answer_by = s->now + LK_SESSION_ANSWER_USEC;
        err = lk_signal_offer(&s->signal, (lk_str){sdp.p, sdp.len}, ++s->offer_id);
    }
    if (err)
        s->broken = err;
    lk_text_deinit(&sdp);
}

void lk_session_on_answer(lk_session *s, const Livekit__SessionDescription *answer)
{
    const char *why = "";
    lk_error error;
    if (!s->pc || !s->offer_out || !answer->sdp || (answer->id != 0 && answer->id != s->offer_id))
        return; /* stale */
    lk_err err = lk_pc_set_answer(s->pc, s->now, answer->sdp, strlen(answer->sdp), &why);
    s->offer_out = false;
    s->answer_by = LK_NEVER;
    if (err) {
        lk_error_set(&error, err, "engine: the server's answer was refused: ", why ? why : lk_err_text(err), (const char *)NULL);
        if (s->phase == LK_SESSION_LIVE)
            lk_session_end(s, false, LK_DISCONNECT_MEDIA_FAILURE, &error);
        else
            lk_session_try_failed(s, &error, false);
        return;
    }
    lk_session_on_answered(s, s->offer_id);
}

/* {"candidate":"candidate:...",...}: the value of one member, without its escapes (none is legal in a candidate). */
static lk_str json_text(lk_str json, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i + n + 2 < json.len; i++) {
        if (json.p[i] != '"' || memcmp(json.p + i + 1, key, n) != 0 || json.p[i + 1 + n] != '"')
            continue;
        size_t at = i + n + 2;
        while (at < json.len && (json.p[at] == ' ' || json.p[at] == ':'))
            at++;
        if (at >= json.len || json.p[at] != '"')
            return (lk_str){NULL, 0};
        size_t from = ++at;
        while (at < json.len && json.p[at] != '"' && json.p[at] != '\\')
            at++;
        return at < json.len && json.p[at] == '"' ? (lk_str){json.p + from, at - from} : (lk_str){NULL, 0};
    }
    return (lk_str){NULL, 0};
}

void lk_session_on_trickle(lk_session *s, const Livekit__TrickleRequest *trickle)
{
    if (!s->pc || !trickle->candidateinit || trickle->target != LIVEKIT__SIGNAL_TARGET__PUBLISHER)
        return;
    lk_str line = json_text(lk_str_of(trickle->candidateinit), "candidate");
    if (line.len && lk_pc_add_remote_candidate(s->pc, s->now, line.p, line.len) != LK_OK)
        LK_LOG(s->env, LK_LOG_DEBUG, "room.candidate.refused", LK_I("bytes", line.len));
}

void lk_session_on_sections_wanted(lk_session *s, uint32_t audios, uint32_t videos)
{
    const lk_pc_section slot = {.kind = LK_MEDIA_KIND_AUDIO, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    uint32_t index;
    if (!s->pc)
        return;
    if (videos)
        LK_LOG(s->env, LK_LOG_INFO, "room.video.ignored", LK_I("sections", videos));
    for (uint32_t i = 0; i < LK_MIN(audios, (uint32_t)LK_PC_SECTIONS_MAX); i++)
        if (lk_pc_add_section(s->pc, &slot, &index) != LK_OK) {
            s->ignored++;
            break;
        }
    lk_session_want_offer(s); /* also without new sections: the answer fills those that are free */
}

void lk_session_flush_candidates(lk_session *s)
{
    char line[LK_ICE_CANDIDATE_LINE_MAX];
    while (lk_queue_pop(&s->candidates, line))
        if (lk_signal_trickle(&s->signal, line, lk_pc_mid(s->pc, 0), 0, false) != LK_OK)
            s->broken = LK_ERR_NOMEM;
}

static void on_candidate(lk_session *s, const char *text)
{
    char line[LK_ICE_CANDIDATE_LINE_MAX] = {0};
    (void)lk_str_copy(line, sizeof line, lk_str_of(text));
    if (lk_queue_push(&s->candidates, line) != LK_OK)
        s->ignored++;
    if (s->join_received)
        lk_session_flush_candidates(s);
}

/* ---- packets and frames ---------------------------------------------------------------------------------------------- */

static void on_rtp(lk_session *s, const lk_pc_event *ev)
{
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        if (t->section == ev->index) {
            lk_audio_receiver_input(t->receiver, s->now, &ev->packet, ev->red);
            return;
        }
    }
}

void lk_session_on_pc(lk_session *s, const lk_pc_event *ev)
{
    switch (ev->type) {
    case LK_PC_EV_STATE: lk_session_on_pc_state(s, ev->state, ev->err); break;
    case LK_PC_EV_CANDIDATE: on_candidate(s, ev->text); break;
    case LK_PC_EV_TRACK: on_remote_track(s, ev); break;
    case LK_PC_EV_RTP: on_rtp(s, ev); break;
    }
}

bool lk_session_wants_audio(const lk_session *s, uint64_t track)
{
    const lk_session_local_track *t = lk_session_find_local(s, track);
    return t && t->state == LK_SESSION_LOCAL_PUBLISHED;
}

void lk_session_push_audio(lk_session *s, lk_usec now, uint64_t track, struct lk_frame *frame)
{
    lk_session_local_track *t = lk_session_find_local(s, track);
    if (!t || t->state != LK_SESSION_LOCAL_PUBLISHED)
        return;
    s->now = LK_MAX(now, s->now);
    lk_audio_sender_push(t->sender, s->now, frame);
    lk_session_pump(s);
}

static void send_packets(lk_session *s, lk_session_local_track *t)
{
    lk_audio_packet p;
    while (lk_audio_sender_poll_packet(t->sender, &p)) {
        const lk_pc_media media = {.payload = p.payload,
                                   .len = p.len,
                                   .ts = p.ts,
                                   .marker = p.marker,
                                   .has_level = true,
                                   .voice = p.voice,
                                   .level = p.level};
        if (t->track && t->state == LK_SESSION_LOCAL_PUBLISHED && s->pc)
            (void)!lk_pc_send(s->pc, s->now, t->section, &media); /* not connected at the moment: media is not kept */
    }
    if (t->track && s->pc)
        lk_audio_sender_set_loss(t->sender, lk_pc_remote_loss(s->pc, t->section));
}

static void sender_done(lk_session *s, lk_job *job)
{
    const lk_audio_sender *sender = (const lk_audio_sender *)job->owner;
    lk_list *lists[] = {&s->local_tracks, &s->dying_local};
    for (size_t i = 0; i < LK_LEN(lists); i++) {
        LK_LIST_EACH(lists[i], it) {
            lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
            if (t->sender != sender)
                continue;
            lk_audio_sender_job_done(t->sender, s->now, job);
            if (lists[i] == &s->local_tracks) {
                send_packets(s, t);
                return;
            }
            lk_list_remove(&s->dying_local, &t->link);
            lk_audio_sender_free(t->sender);
            lk_release(s->env, t, sizeof *t);
            return;
        }
    }
}

static void receiver_done(lk_session *s, lk_job *job)
{
    const lk_audio_receiver *receiver = (const lk_audio_receiver *)job->owner;
    lk_list *lists[] = {&s->remote_tracks, &s->dying_remote};
    for (size_t i = 0; i < LK_LEN(lists); i++) {
        LK_LIST_EACH(lists[i], it) {
            lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
            if (t->receiver != receiver)
                continue;
            lk_audio_receiver_job_done(t->receiver, s->now, job);
            if (lists[i] == &s->remote_tracks)
                return;
            lk_list_remove(&s->dying_remote, &t->link);
            lk_audio_receiver_free(t->receiver);
            lk_release(s->env, t, sizeof *t);
            return;
        }
    }
}

void lk_session_media_job_done(lk_session *s, lk_job *job)
{
    if (job->tag == LK_SESSION_JOB_SENDER)
        sender_done(s, job);
    else
        receiver_done(s, job);
}

bool lk_session_media_poll_job(lk_session *s, lk_job **job)
{
    LK_LIST_EACH(&s->local_tracks, it)
        if (lk_audio_sender_poll_job(LK_CONTAINER(it, lk_session_local_track, link)->sender, job))
            return true;
    LK_LIST_EACH(&s->remote_tracks, it)
        if (lk_audio_receiver_poll_job(LK_CONTAINER(it, lk_session_remote_track, link)->receiver, job))
            return true;
    return false;
}

bool lk_session_media_pump(lk_session *s)
{
    bool moved = false;
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        lk_frame *frame;
        uint64_t sink;
        while (lk_audio_receiver_poll_frame(t->receiver, &sink, &frame)) {
            moved = true;
            lk_session_event *ev = lk_session_emit(s, LK_SESSION_AUDIO_FRAME);
            if (ev == &s->nowhere) {
                lk_frame_unref(frame);
                continue;
            }
            ev->sink = sink;
            ev->frame = frame;
        }
    }
    return moved;
}

void lk_session_drop_frame(struct lk_frame *frame) { lk_frame_unref(frame); }

void lk_session_media_tick(lk_session *s)
{
    give_up_on_unknown(s);
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_audio_receiver *r = LK_CONTAINER(it, lk_session_remote_track, link)->receiver;
        if (lk_audio_receiver_deadline(r) <= s->now)
            lk_audio_receiver_tick(r, s->now);
    }
}

lk_usec lk_session_media_deadline(const lk_session *s)
{
    lk_usec at = LK_NEVER;
    for (size_t i = 0; i < s->slot_count; i++)
        at = LK_MIN(at, s->slots[i].unknown_until);
    LK_LIST_EACH(&s->remote_tracks, it)
        at = LK_MIN(at, lk_audio_receiver_deadline(LK_CONTAINER(it, lk_session_remote_track, link)->receiver));
    return at;
}

/* ---- sinks ------------------------------------------------------------------------------------------------------------------ */

static lk_session_listener *find_listener(const lk_session *s, uint64_t sink)
{
    LK_LIST_EACH(&s->listeners, it) {
        lk_session_listener *l = LK_CONTAINER(it, lk_session_listener, link);
        if (l->sink == sink)
            return l;
    }
    return NULL;
}

lk_err lk_session_add_sink(lk_session *s, lk_usec now, uint64_t track, const lk_session_sink *sink)
{
    lk_session_remote_track *found = NULL;
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        found = t->id == track ? t : found;
    }
    if (!found)
        return LK_ERR_NOT_FOUND;
    if (sink->sink == 0 || find_listener(s, sink->sink))
        return LK_ERR_INVALID;
    if (s->listeners.count >= LK_SESSION_SINKS_MAX)
        return LK_ERR_LIMIT;
    s->now = LK_MAX(now, s->now);
    lk_session_listener *l = (lk_session_listener *)lk_alloc0(s->env, sizeof *l);
    if (!l)
        return LK_ERR_NOMEM;
    lk_err err = lk_audio_receiver_add_sink(found->receiver, s->now, sink->sink, sink->sample_rate, sink->channels, sink->frame_msec);
    if (err) {
        lk_release(s->env, l, sizeof *l);
        return err;
    }
    l->sink = sink->sink;
    l->track = found;
    lk_list_push(&s->listeners, &l->link);
    lk_session_pump(s);
    return LK_OK;
}

static void end_listener(lk_session *s, lk_session_listener *l)
{
    (void)lk_audio_receiver_remove_sink(l->track->receiver, l->sink);
    lk_session_emit(s, LK_SESSION_SINK_END)->sink = l->sink;
    lk_list_remove(&s->listeners, &l->link);
    lk_release(s->env, l, sizeof *l);
}

lk_err lk_session_remove_sink(lk_session *s, lk_usec now, uint64_t sink)
{
    lk_session_listener *l = find_listener(s, sink);
    if (!l)
        return LK_ERR_NOT_FOUND;
    s->now = LK_MAX(now, s->now);
    end_listener(s, l);
    lk_session_pump(s);
    return LK_OK;
}

void lk_session_end_sinks(lk_session *s)
{
    LK_LIST_EACH(&s->listeners, it)
        end_listener(s, LK_CONTAINER(it, lk_session_listener, link));
}
