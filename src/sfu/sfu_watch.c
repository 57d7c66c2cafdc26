// SPDX-License-Identifier: Apache-2.0
/* What happens by itself: speakers, connection quality, and the timers of people. */
#include "sfu/sfu_internal.h"

#define SPEAK_LEVEL 0.0178f   /* 35 dB below full scale */
#define SPEAK_PART 0.4f       /* of a window that must be loud */
#define SPEAK_SMOOTH 0.6667f  /* two windows */
#define SPEAK_STEPS 8.0f
#define SPEAK_SILENCE_USEC LK_MSEC(800)

/* ---- speakers ------------------------------------------------------------------------------------------------------------- */

static Livekit__SpeakerInfo *speaker_info(lk_arena *a, const lk_sfu_person *p)
{
    Livekit__SpeakerInfo *i = lk_pbuf_new(&livekit__speaker_info__descriptor, a);
    if (i) {
        i->sid = (char *)(uintptr_t)p->sid;
        i->has_level = i->has_active = 1;
        i->level = p->speaker_level;
        i->active = p->speaker_level > 0;
    }
    return i;
}

static void tell_speakers(lk_sfu_person *to, Livekit__SpeakerInfo **list, size_t count)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SpeakersChanged u = LIVEKIT__SPEAKERS_CHANGED__INIT;
    u.n_speakers = count;
    u.speakers = list;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SPEAKERS_CHANGED;
    m.speakers_changed = &u;
    lk_sfu_send(to, &m);
}

void lk_sfu_speaker_tell(lk_sfu_person *listener, lk_sfu_person *speaker)
{
    if (speaker->speaker_level <= 0)
        return;
    Livekit__SpeakerInfo *i = speaker_info(&listener->sfu->out, speaker);
    if (i)
        tell_speakers(listener, &i, 1);
    lk_arena_reset(&listener->sfu->out);
}

void lk_sfu_speaker_gone(lk_sfu_person *p)
{
    if (p->speaker_level <= 0)
        return;
    p->speaker_level = 0;
    Livekit__SpeakerInfo *i = speaker_info(&p->sfu->out, p);
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *to = LK_CONTAINER(it, lk_sfu_person, link);
        if (i && to != p && lk_sfu_hears(to, p))
            tell_speakers(to, &i, 1);
    }
    lk_arena_reset(&p->sfu->out);
}

/* Loudness of a track now, 0 when it is no speech. */
static float track_level(lk_sfu_track *t)
{
    lk_sfu *s = t->person->sfu;
    lk_up_level l;
    if (!t->codings[0].up || t->info->muted) {
        t->level = 0;
        return 0;
    }
    lk_up_take_level(t->codings[0].up, &l);
    float value = 0;
    if (l.window_usec > 0) {
        t->heard_at = s->now;
        float part = (float)l.active_usec / (float)LK_MAX(l.window_usec, SFU_SPEAKERS_USEC);
        if (part >= SPEAK_PART) {
            value = LK_MIN(part, 1.0f);
            for (unsigned k = 0; k < l.loudest; k++)
                value *= 0.891251f; /* one dB */
        }
    } else if (s->now - t->heard_at < SPEAK_SILENCE_USEC) {
        return t->level >= SPEAK_LEVEL ? t->level : 0; /* nothing came, and too early to say more */
    } else {
        t->level = 0;
        return 0;
    }
    t->level += (value - t->level) * SPEAK_SMOOTH;
    return t->level >= SPEAK_LEVEL ? t->level : 0;
}

static float quantised(float v)
{
    int steps = (int)(v * SPEAK_STEPS);
    if ((float)steps < v * SPEAK_STEPS)
        steps++;
    return LK_MIN((float)steps / SPEAK_STEPS, 1.0f);
}

/* True while there is somebody to listen to. */
static bool room_speakers(lk_sfu_room *r)
{
    lk_sfu *s = r->sfu;
    bool any = false;
    size_t n = 0;
    lk_sfu_person **changed = lk_arena_alloc(&s->in, (r->people.count + 1) * sizeof *changed);
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        float loudest = 0;
        LK_LIST_EACH(&p->tracks, at) {
            lk_sfu_track *t = LK_CONTAINER(at, lk_sfu_track, link);
            if (t->info->source != LIVEKIT__TRACK_SOURCE__MICROPHONE)
                continue;
            any = any || !t->info->muted;
            loudest = LK_MAX(loudest, track_level(t));
        }
        if (p->test_speech_until > s->now) {
            any = true;
            loudest = 0.9f;
        }
        float level = quantised(loudest);
        if (level != p->speaker_level && changed) {
            p->speaker_level = level;
            changed[n++] = p;
        }
    }
    if (n == 0)
        return any;
    Livekit__SpeakerInfo **infos = lk_arena_alloc(&s->out, n * sizeof *infos), **list = lk_arena_alloc(&s->out, n * sizeof *list);
    bool ok = infos && list;
    for (size_t i = 0; ok && i < n; i++)
        ok = (infos[i] = speaker_info(&s->out, changed[i])) != NULL;
    if (ok) {
        LK_LIST_EACH(&r->people, it) {
            lk_sfu_person *to = LK_CONTAINER(it, lk_sfu_person, link);
            size_t count = 0;
            for (size_t i = 0; i < n; i++)
                if (changed[i] == to || lk_sfu_hears(to, changed[i]))
                    list[count++] = infos[i];
            if (count)
                tell_speakers(to, list, count);
        }
    }
    lk_arena_reset(&s->out);
    return any;
}

/* ---- connection quality ------------------------------------------------------------------------------------------------------ */

static bool expects_media(const lk_sfu_person *p)
{
    LK_LIST_EACH(&p->tracks, it) {
        const lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        if (t->published && !t->info->muted && t->info->type == LIVEKIT__TRACK_TYPE__AUDIO && t->info->disable_dtx)
            return true;
    }
    return false;
}

/* 0..100: what loss and delay leave, as the E-model weighs them. */
static int score_of(uint32_t expected, uint32_t lost, lk_usec rtt, lk_usec jitter)
{
    int64_t delay_msec = (rtt / 2 + 2 * jitter) / 1000;
    int score = 100 - (int)LK_MIN(delay_msec / 8, (int64_t)60);
    if (expected >= 10)
        score -= (int)LK_MIN((uint64_t)lost * 500 / expected, (uint64_t)100); /* 4 % of loss cost a grade */
    return LK_MAX(score, 0);
}

static int quality_of(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_peer_quality up, down;
    lk_peer_take_quality(p->publisher, s->now, &up);
    down = up;
    if (p->subscriber)
        lk_peer_take_quality(p->subscriber, s->now, &down);
    if (lk_peer_state(lk_sfu_primary(p)) == LK_PC_STATE_DISCONNECTED || (expects_media(p) && !up.receiving))
        return LIVEKIT__CONNECTION_QUALITY__LOST;
    int a = score_of(up.up_expected, up.up_lost, up.rtt_usec, up.jitter_usec);
    int b = score_of(down.down_expected, down.down_lost, down.rtt_usec, 0);
    int score = LK_MIN(a, b);
    return score > 80 ? LIVEKIT__CONNECTION_QUALITY__EXCELLENT : score > 40 ? LIVEKIT__CONNECTION_QUALITY__GOOD : LIVEKIT__CONNECTION_QUALITY__POOR;
}

static float told_score(int quality)
{
    return quality == LIVEKIT__CONNECTION_QUALITY__EXCELLENT ? 5.0f : quality == LIVEKIT__CONNECTION_QUALITY__GOOD ? 3.5f
           : quality == LIVEKIT__CONNECTION_QUALITY__POOR    ? 2.0f
                                                             : 1.0f;
}

static void tell_quality(lk_sfu_person *to)
{
    lk_sfu *s = to->sfu;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__ConnectionQualityUpdate u = LIVEKIT__CONNECTION_QUALITY_UPDATE__INIT;
    bool changed = false, ok;
    u.updates = lk_arena_alloc(&s->out, to->room->people.count * sizeof *u.updates);
    ok = u.updates != NULL;
    LK_LIST_EACH(&to->room->people, it) {
        const lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        if (!ok || p->quality < 0 || (p != to && !lk_sfu_hears(to, p)))
            continue;
        Livekit__ConnectionQualityInfo *i = lk_pbuf_new(&livekit__connection_quality_info__descriptor, &s->out);
        ok = i != NULL;
        if (!ok)
            break;
        bool lost_unknown = to->protocol < 11 && p->quality == LIVEKIT__CONNECTION_QUALITY__LOST;
        i->participant_sid = (char *)(uintptr_t)p->sid;
        i->has_quality = i->has_score = 1;
        i->quality = lost_unknown ? LIVEKIT__CONNECTION_QUALITY__POOR : (Livekit__ConnectionQuality)p->quality;
        i->score = told_score(p->quality);
        u.updates[u.n_updates++] = i;
        changed = changed || p->quality != p->quality_before;
    }
    if (ok && changed) {
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_CONNECTION_QUALITY;
        m.connection_quality = &u;
        lk_sfu_send(to, &m);
    }
    lk_arena_reset(&s->out);
}

static bool room_quality(lk_sfu_room *r)
{
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
        p->quality_before = p->quality;
        if (p->state == LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE)
            p->quality = quality_of(p);
    }
    LK_LIST_EACH(&r->people, it)
        tell_quality(LK_CONTAINER(it, lk_sfu_person, link));
    return r->people.count > 0;
}

/* ---- timers --------------------------------------------------------------------------------------------------------------------- */

void lk_sfu_watch_start(lk_sfu *s)
{
    if (s->speakers_due == LK_NEVER)
        s->speakers_due = s->now + SFU_SPEAKERS_USEC;
    if (s->quality_due == LK_NEVER)
        s->quality_due = s->now + SFU_QUALITY_USEC;
    lk_sfu_arm(s, LK_MIN(s->speakers_due, s->quality_due));
}

void lk_sfu_watch_tick(lk_sfu *s)
{
    bool any = false;
    if (s->speakers_due <= s->now) {
        LK_LIST_EACH(&s->rooms, it)
            any = room_speakers(LK_CONTAINER(it, lk_sfu_room, link)) || any;
        lk_arena_reset(&s->in);
        s->speakers_due = any ? s->now + SFU_SPEAKERS_USEC : LK_NEVER;
    }
    if (s->quality_due <= s->now) {
        any = false;
        LK_LIST_EACH(&s->rooms, it)
            any = room_quality(LK_CONTAINER(it, lk_sfu_room, link)) || any;
        s->quality_due = any ? s->now + SFU_QUALITY_USEC : LK_NEVER;
    }
    lk_sfu_arm(s, LK_MIN(s->speakers_due, s->quality_due));
}

void lk_sfu_person_tick(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->gone_due <= s->now) {
        lk_sfu_person_remove(p, p->gone_reason, p->conn ? LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT : -1);
        return;
    }
    if (p->active_due <= s->now) {
        lk_sfu_person_remove(p, LIVEKIT__DISCONNECT_REASON__JOIN_FAILURE, LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT);
        return;
    }
    if (p->drop_at <= s->now) {
        p->drop_at = LK_NEVER;
        lk_sfu_close_conn(p, 1000);
        p->gone_due = s->now + SFU_RESUME_USEC;
        p->gone_reason = LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT;
    }
    if (p->tell_due <= s->now)
        lk_sfu_person_tell(p);
    if (p->refresh_due <= s->now) {
        p->refresh_due = s->now + SFU_REFRESH_USEC;
        lk_sfu_send_refresh_token(p);
    }
    LK_LIST_EACH(&p->tracks, it)
        lk_sfu_wanted_tick(LK_CONTAINER(it, lk_sfu_track, link));
    lk_sfu_wanted_again_tick(p);
    lk_sfu_wishes_tick(p);
    lk_sfu_negotiate_tick(p);
    lk_sfu_held_offer_tick(p);
    if (p->held)
        lk_sfu_arm(s, p->held_until);
    lk_usec due = LK_MIN(LK_MIN(p->gone_due, p->active_due), LK_MIN(p->drop_at, p->refresh_due));
    lk_sfu_arm(s, LK_MIN(due, p->tell_due));
}
