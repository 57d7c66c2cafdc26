// SPDX-License-Identifier: Apache-2.0
/* Media through the peer connections of a session, both ways. */
#include "room/room_internal.h"

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

static bool remote_busy(const lk_session_remote_track *t)
{
    return t->video ? lk_video_receiver_busy(t->video) : lk_audio_receiver_busy(t->receiver);
}

static void free_remote(lk_session *s, lk_session_remote_track *t)
{
    lk_audio_receiver_free(t->receiver);
    lk_video_receiver_free(t->video);
    lk_release(s->env, t, sizeof *t);
}

static bool local_busy(const lk_session_local_track *t)
{
    return (t->sender && lk_audio_sender_busy(t->sender)) || (t->video && lk_video_sender_busy(t->video));
}

static void free_local(lk_session *s, lk_session_local_track *t)
{
    lk_audio_sender_free(t->sender);
    lk_video_sender_free(t->video);
    lk_release(s->env, t, sizeof *t);
}

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
    if (remote_busy(t))
        lk_list_push(&s->dying_remote, &t->link);
    else
        free_remote(s, t);
}

void lk_session_drop_local_track(lk_session *s, lk_session_local_track *t)
{
    lk_list_remove(&s->local_tracks, &t->link);
    t->track = 0;
    if (local_busy(t))
        lk_list_push(&s->dying_local, &t->link);
    else
        free_local(s, t);
    lk_session_share_rate(s);
}

static void subscribe(lk_session *s, lk_session_pub *pub, uint32_t section)
{
    lk_session_remote_track *t = (lk_session_remote_track *)lk_alloc0(s->env, sizeof *t);
    lk_err err = !t ? LK_ERR_NOMEM
                 : pub->kind == LK_MEDIA_KIND_VIDEO
                     ? lk_video_receiver_new(&t->video, s->env, lk_pc_codec(lk_session_rx(s), section), s->now)
                     : lk_audio_receiver_new(&t->receiver, s->env, s->now);
    if (err != LK_OK) {
        lk_release(s->env, t, sizeof *t);
        if (err == LK_ERR_NOMEM)
            s->broken = err;
        else
            LK_LOG(s->env, LK_LOG_WARN, "room.track.codec_unknown", LK_S("track", pub->sid));
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
    if (s->phase != LK_SESSION_LIVE || s->rejoining || pub->track || pub->person->is_local || !pub->wanted || !pub->allowed)
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

/* ---- packets and frames ---------------------------------------------------------------------------------------------- */

static void on_rtp(lk_session *s, const lk_pc_event *ev)
{
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        if (t->section != ev->index)
            continue;
        if (t->video)
            lk_video_receiver_input(t->video, s->now, &ev->packet);
        else
            lk_audio_receiver_input(t->receiver, s->now, &ev->packet, ev->red);
        return;
    }
}

static void on_key_wanted(lk_session *s, const lk_pc_event *ev)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->video && t->state == LK_SESSION_LOCAL_PUBLISHED && t->section == ev->index)
            lk_video_sender_want_key(t->video, s->now);
    }
}

void lk_session_on_pc(lk_session *s, const lk_pc_event *ev, bool sub)
{
    switch (ev->type) {
    case LK_PC_EV_STATE: lk_session_on_pc_state(s, ev->state, ev->err, sub); break;
    case LK_PC_EV_CANDIDATE: lk_session_on_candidate(s, ev->text, sub); break;
    case LK_PC_EV_TRACK: on_remote_track(s, ev); break;
    case LK_PC_EV_RTP: on_rtp(s, ev); break;
    case LK_PC_EV_KEY: on_key_wanted(s, ev); break;
    case LK_PC_EV_DATA: lk_session_on_data(s, ev); break;
    case LK_PC_EV_CHANNEL: LK_LOG(s->env, LK_LOG_DEBUG, "room.channel", LK_S("label", ev->text), LK_I("open", ev->active)); break;
    }
}

bool lk_session_wants_media(const lk_session *s, uint64_t track)
{
    const lk_session_local_track *t = lk_session_find_local(s, track);
    return t && t->state == LK_SESSION_LOCAL_PUBLISHED;
}

void lk_session_push_audio(lk_session *s, lk_usec now, uint64_t track, struct lk_frame *frame)
{
    lk_session_local_track *t = lk_session_find_local(s, track);
    if (!t || !t->sender || t->state != LK_SESSION_LOCAL_PUBLISHED)
        return;
    s->now = LK_MAX(now, s->now);
    lk_audio_sender_push(t->sender, s->now, frame);
    lk_session_pump(s);
}

void lk_session_push_video(lk_session *s, lk_usec now, uint64_t track, struct lk_picture *picture)
{
    lk_session_local_track *t = lk_session_find_local(s, track);
    if (!t || !t->video || t->state != LK_SESSION_LOCAL_PUBLISHED)
        return;
    s->now = LK_MAX(now, s->now);
    lk_video_sender_push(t->video, s->now, picture);
    lk_session_pump(s);
}

#define AUDIO_SHARE_BPS 60000 /* of a packet of sound every 20 ms: it is not part of the estimate but of the path */

void lk_session_share_rate(lk_session *s)
{
    uint64_t wanted = 0, audio = 0;
    if (!s->pc)
        return;
    LK_LIST_EACH(&s->local_tracks, it) {
        const lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        wanted += t->video ? t->max_bitrate_bps : 0;
        audio += t->sender && !t->muted ? AUDIO_SHARE_BPS : 0;
    }
    uint64_t target = lk_pc_target_bps(s->pc), room = target > audio ? target - audio : target / 2;
    s->target_bps = target;
    lk_pc_set_demand(s->pc, s->now, wanted * LK_SESSION_DEMAND_PERCENT / 100);
    lk_pc_set_pacing(s->pc, s->now, target * LK_SESSION_PACING_PERCENT / 100);
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->video && wanted)
            lk_video_sender_set_target(t->video, s->now, room >= wanted ? t->max_bitrate_bps : room * t->max_bitrate_bps / wanted);
    }
}

static bool sends(const lk_session *s, const lk_session_local_track *t)
{
    return t->track && t->state == LK_SESSION_LOCAL_PUBLISHED && s->pc;
}

static void send_audio(lk_session *s, lk_session_local_track *t)
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
        if (sends(s, t))
            (void)!lk_pc_send(s->pc, s->now, t->section, &media); /* not connected at the moment: media is not kept */
    }
    if (t->track && s->pc)
        lk_audio_sender_set_loss(t->sender, lk_pc_remote_loss(s->pc, t->section));
}

static void send_video(lk_session *s, lk_session_local_track *t)
{
    lk_video_packet p;
    lk_err err = LK_OK;
    while (lk_video_sender_poll_packet(t->video, &p)) {
        const lk_pc_media media = {.payload = p.payload, .len = p.len, .ts = p.ts, .marker = p.marker};
        if (sends(s, t) && err == LK_OK)
            err = lk_pc_send(s->pc, s->now, t->section, &media);
    }
    if (err != LK_OK) /* a frame with a hole in it helps nobody */
        lk_video_sender_want_key(t->video, s->now);
}

static lk_session_local_track *local_of_job(lk_list *list, const lk_job *job)
{
    LK_LIST_EACH(list, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if ((const void *)t->sender == job->owner || (const void *)t->video == job->owner)
            return t;
    }
    return NULL;
}

static void sender_done(lk_session *s, lk_job *job)
{
    lk_session_local_track *t = local_of_job(&s->local_tracks, job);
    bool dying = t == NULL;
    if (dying)
        t = local_of_job(&s->dying_local, job);
    if (!t)
        return;
    if (t->video)
        lk_video_sender_job_done(t->video, s->now, job);
    else
        lk_audio_sender_job_done(t->sender, s->now, job);
    if (dying) {
        lk_list_remove(&s->dying_local, &t->link);
        free_local(s, t);
    } else if (t->video) {
        send_video(s, t);
    } else {
        send_audio(s, t);
    }
}

static lk_session_remote_track *remote_of_job(lk_list *list, const lk_job *job)
{
    LK_LIST_EACH(list, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        if ((const void *)t->receiver == job->owner || (const void *)t->video == job->owner)
            return t;
    }
    return NULL;
}

static void receiver_done(lk_session *s, lk_job *job)
{
    lk_session_remote_track *t = remote_of_job(&s->remote_tracks, job);
    bool dying = t == NULL;
    if (dying)
        t = remote_of_job(&s->dying_remote, job);
    if (!t)
        return;
    if (t->video)
        lk_video_receiver_job_done(t->video, s->now, job);
    else
        lk_audio_receiver_job_done(t->receiver, s->now, job);
    if (dying) {
        lk_list_remove(&s->dying_remote, &t->link);
        free_remote(s, t);
    }
}

void lk_session_media_job_done(lk_session *s, lk_job *job)
{
    if (job->tag == LK_SESSION_JOB_SENDER || job->tag == LK_SESSION_JOB_VIDEO_SENDER)
        sender_done(s, job);
    else
        receiver_done(s, job);
}

bool lk_session_media_poll_job(lk_session *s, lk_job **job)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->video ? lk_video_sender_poll_job(t->video, s->now, job) : lk_audio_sender_poll_job(t->sender, job))
            return true;
    }
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        if (t->video ? lk_video_receiver_poll_job(t->video, s->now, job) : lk_audio_receiver_poll_job(t->receiver, job))
            return true;
    }
    return false;
}

static bool pump_audio(lk_session *s, lk_session_remote_track *t)
{
    bool moved = false;
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
    return moved;
}

static bool pump_video(lk_session *s, lk_session_remote_track *t)
{
    bool moved = false;
    lk_picture *picture;
    uint64_t sink;
    while (lk_video_receiver_poll_picture(t->video, &sink, &picture)) {
        moved = true;
        lk_session_event *ev = lk_session_emit(s, LK_SESSION_VIDEO_FRAME);
        if (ev == &s->nowhere) {
            lk_picture_unref(picture);
            continue;
        }
        ev->sink = sink;
        ev->picture = picture;
    }
    lk_pc *rx = lk_session_rx(s);
    if (rx && lk_video_receiver_poll_wish(t->video, s->now)) {
        lk_pc_request_key(rx, s->now, t->section);
        moved = true;
    }
    return moved;
}

bool lk_session_media_pump(lk_session *s)
{
    bool moved = false;
    if (s->pc && lk_pc_target_bps(s->pc) != s->target_bps)
        lk_session_share_rate(s);
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        moved |= t->video ? pump_video(s, t) : pump_audio(s, t);
    }
    return moved;
}

void lk_session_drop_media(const lk_session_event *ev)
{
    if (ev->kind == LK_SESSION_AUDIO_FRAME)
        lk_frame_unref(ev->frame);
    if (ev->kind == LK_SESSION_VIDEO_FRAME)
        lk_picture_unref(ev->picture);
}

void lk_session_media_tick(lk_session *s)
{
    give_up_on_unknown(s);
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        const lk_pc *rx = lk_session_rx(s);
        if (t->video && rx && lk_pc_rtt_usec(rx))
            lk_video_receiver_set_rtt(t->video, lk_pc_rtt_usec(rx));
        if (t->receiver && lk_audio_receiver_deadline(t->receiver) <= s->now)
            lk_audio_receiver_tick(t->receiver, s->now);
    }
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->video)
            lk_video_sender_tick(t->video, s->now);
    }
}

lk_usec lk_session_media_deadline(const lk_session *s)
{
    lk_usec at = LK_NEVER;
    for (size_t i = 0; i < s->slot_count; i++)
        at = LK_MIN(at, s->slots[i].unknown_until);
    LK_LIST_EACH(&s->remote_tracks, it) {
        const lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        at = LK_MIN(at, t->video ? lk_video_receiver_deadline(t->video) : lk_audio_receiver_deadline(t->receiver));
    }
    LK_LIST_EACH(&s->local_tracks, it) {
        const lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->video)
            at = LK_MIN(at, lk_video_sender_deadline(t->video));
    }
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

/* A new listener of a track of that kind, not yet in any list. */
static lk_err new_listener(lk_session *s, lk_usec now, uint64_t track, uint64_t sink, bool video, lk_session_listener **out)
{
    lk_session_remote_track *found = NULL;
    LK_LIST_EACH(&s->remote_tracks, it) {
        lk_session_remote_track *t = LK_CONTAINER(it, lk_session_remote_track, link);
        found = t->id == track ? t : found;
    }
    if (!found)
        return LK_ERR_NOT_FOUND;
    if (sink == 0 || find_listener(s, sink) || (found->video != NULL) != video)
        return LK_ERR_INVALID;
    if (s->listeners.count >= LK_SESSION_SINKS_MAX)
        return LK_ERR_LIMIT;
    s->now = LK_MAX(now, s->now);
    lk_session_listener *l = (lk_session_listener *)lk_alloc0(s->env, sizeof *l);
    if (!l)
        return LK_ERR_NOMEM;
    l->sink = sink;
    l->track = found;
    *out = l;
    return LK_OK;
}

static lk_err listen(lk_session *s, lk_session_listener *l, lk_err err)
{
    if (err) {
        lk_release(s->env, l, sizeof *l);
        return err;
    }
    lk_list_push(&s->listeners, &l->link);
    lk_session_pump(s);
    return LK_OK;
}

lk_err lk_session_add_sink(lk_session *s, lk_usec now, uint64_t track, const lk_session_sink *sink)
{
    lk_session_listener *l;
    lk_err err = new_listener(s, now, track, sink->sink, false, &l);
    if (err)
        return err;
    return listen(s, l, lk_audio_receiver_add_sink(l->track->receiver, s->now, sink->sink, sink->sample_rate, sink->channels,
                                                   sink->frame_msec));
}

lk_err lk_session_add_video_sink(lk_session *s, lk_usec now, uint64_t track, uint64_t sink, int format)
{
    lk_session_listener *l;
    lk_err err = new_listener(s, now, track, sink, true, &l);
    if (err)
        return err;
    return listen(s, l, lk_video_receiver_add_sink(l->track->video, s->now, sink, format));
}

static void end_listener(lk_session *s, lk_session_listener *l)
{
    if (l->track->video)
        (void)lk_video_receiver_remove_sink(l->track->video, l->sink);
    else
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
