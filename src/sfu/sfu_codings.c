// SPDX-License-Identifier: Apache-2.0
/* A track in several codecs: the client announces them all, sends the first, and another one once it is told that somebody wants
 * it. Who gets which is settled when his description says what he can decode; who needs one that is not sent yet waits for it.
 * Which qualities of which codec are wanted is told to the client here too. */
#include "sfu/sfu_internal.h"

lk_sfu_coding *lk_sfu_coding_of(lk_sfu_track *t, const lk_up *up)
{
    for (size_t k = 0; k < t->coding_count; k++)
        if (t->codings[k].up == up)
            return &t->codings[k];
    return NULL;
}

size_t lk_sfu_coding_at(const lk_sfu_track *t, const lk_sfu_coding *c) { return (size_t)(c - t->codings); }

/* ---- who gets which --------------------------------------------------------------------------------------------------------- */

/* The i-th best of the track's codings, by its place. */
static size_t preferred(const lk_sfu_track *t, size_t i) { return t->regressed && i < 2 ? 1 - i : i; }

lk_up *lk_sfu_track_up(const lk_sfu_track *t)
{
    for (size_t i = 0; i < t->coding_count; i++)
        if (t->codings[preferred(t, i)].live)
            return t->codings[preferred(t, i)].up;
    return t->codings[0].up;
}

static int choose(const lk_sfu_sub *sub)
{
    const lk_sfu_track *t = sub->track;
    if (t->coding_count == 1) /* the hub saw to it */
        return 0;
    for (size_t i = 0; i < t->coding_count; i++) {
        size_t k = preferred(t, i);
        if (!t->codings[k].ended && lk_down_takes(sub->down, t->info->codecs[k]->mime_type))
            return (int)k;
    }
    return -1;
}

/* These keep a track in the codec it began with. */
static bool keeps_codec(const lk_sfu_person *p)
{
    return p->sdk == LIVEKIT__CLIENT_INFO__SDK__GO || p->sdk == LIVEKIT__CLIENT_INFO__SDK__UNKNOWN;
}

static void show(lk_sfu_sub *sub, int k)
{
    const lk_sfu_coding *c = &sub->track->codings[k];
    bool shown = sub->coding >= 0 && sub->coding != k && sub->track->codings[sub->coding].live;
    if (shown && keeps_codec(sub->person)) {
        lk_sfu_sub_close(sub);
        lk_sfu_sub_settle(sub);
        return;
    }
    sub->coding = k;
    if (sub->track->coding_count == 1)
        return;
    lk_err err = lk_down_move(sub->down, c->live ? c->up : NULL, sub->person->sfu->now);
    if (err != LK_OK)
        LK_LOG(sub->person->sfu->env, LK_LOG_WARN, "sfu.codec.failed", LK_S("sid", sub->person->sid), LK_S("track", sub->sid),
               LK_S("why", lk_err_name(err)));
}

bool lk_sfu_sub_bound(lk_sfu_sub *sub)
{
    int k = choose(sub);
    if (k >= 0)
        show(sub, k);
    return k >= 0;
}

static void show_all(lk_sfu_track *t)
{
    LK_LIST_EACH(&t->subs, it) {
        lk_sfu_sub *sub = LK_CONTAINER(it, lk_sfu_sub, of_track);
        if (!sub->down)
            lk_sfu_sub_settle(sub);
        else if (sub->bound && !lk_sfu_sub_bound(sub))
            lk_sfu_down_refused(sub);
    }
}

/* Is one encoding that everybody takes better than two? Left open by the client, the size of the room says so. */
static bool regresses(const lk_sfu_track *t)
{
    switch (t->info->backup_codec_policy) {
    case LIVEKIT__BACKUP_CODEC_POLICY__REGRESSION: return true;
    case LIVEKIT__BACKUP_CODEC_POLICY__SIMULCAST: return false;
    default: return t->person->room->people.count < SFU_REGRESS_PEOPLE;
    }
}

void lk_sfu_coding_live(lk_sfu_track *t)
{
    if (t->coding_count > 1 && t->codings[1].live && !t->regressed)
        t->regressed = regresses(t);
    show_all(t);
    lk_sfu_wanted(t);
}

void lk_sfu_coding_ended(lk_sfu_track *t, lk_sfu_coding *c)
{
    lk_up_free(c->up);
    c->up = NULL;
    c->live = false;
    c->ended = true;
    t->regressed = t->regressed && c != &t->codings[1];
    show_all(t);
    lk_sfu_wanted(t);
}

/* ---- what is wanted --------------------------------------------------------------------------------------------------------- */

static bool is_waited_for(const lk_sfu_track *t, size_t k)
{
    LK_LIST_EACH(&t->subs, it) {
        const lk_sfu_sub *sub = LK_CONTAINER(it, lk_sfu_sub, of_track);
        if (sub->down && sub->coding == (int)k && !sub->settings.disabled)
            return true;
    }
    return false;
}

/* The best quality anybody wants of it; -1: nobody wants any. What is not sent yet is wanted whole. */
static int wanted_of(const lk_sfu_track *t, size_t k)
{
    const lk_sfu_coding *c = &t->codings[k];
    return c->live ? lk_up_wanted(c->up) : !c->ended && is_waited_for(t, k) ? 2 : -1;
}

typedef struct told_codec {
    Livekit__SubscribedCodec codec;
    Livekit__SubscribedQuality q[3], *list[3];
    char name[32];
} told_codec;

static void fill_codec(told_codec *out, const char *mime, int wanted)
{
    const char *slash = mime ? strchr(mime, '/') : NULL;
    out->codec = (Livekit__SubscribedCodec)LIVEKIT__SUBSCRIBED_CODEC__INIT;
    for (int k = 0; k < 3; k++) {
        out->q[k] = (Livekit__SubscribedQuality)LIVEKIT__SUBSCRIBED_QUALITY__INIT;
        out->q[k].has_quality = out->q[k].has_enabled = 1;
        out->q[k].quality = (Livekit__VideoQuality)k;
        out->q[k].enabled = k <= wanted;
        out->list[k] = &out->q[k];
    }
    memset(out->name, 0, sizeof out->name);
    for (size_t k = 0; slash && slash[k + 1] && k + 1 < sizeof out->name; k++)
        out->name[k] = slash[k + 1] >= 'A' && slash[k + 1] <= 'Z' ? (char)(slash[k + 1] + 32) : slash[k + 1];
    out->codec.codec = out->name;
    out->codec.n_qualities = 3;
    out->codec.qualities = out->list;
}

/* What was settled last. */
static void say(lk_sfu_track *t)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SubscribedQualityUpdate u = LIVEKIT__SUBSCRIBED_QUALITY_UPDATE__INIT;
    told_codec told[SFU_CODINGS_MAX];
    Livekit__SubscribedCodec *list[SFU_CODINGS_MAX];
    for (size_t k = 0; k < t->coding_count; k++) {
        if (!t->codings[k].listed)
            continue;
        told_codec *c = &told[u.n_subscribed_codecs];
        fill_codec(c, t->info->codecs[k]->mime_type, t->codings[k].told);
        list[u.n_subscribed_codecs++] = &c->codec;
    }
    if (u.n_subscribed_codecs == 0)
        return;
    u.subscribed_codecs = list;
    u.n_subscribed_qualities = 3; /* for clients of one codec */
    u.subscribed_qualities = told[0].list;
    u.track_sid = t->info->sid;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE;
    m.subscribed_quality_update = &u;
    lk_sfu_send(t->person, &m);
}

static void settle(lk_sfu_track *t)
{
    for (size_t k = 0; k < t->coding_count; k++) {
        lk_sfu_coding *c = &t->codings[k];
        c->told = wanted_of(t, k);
        c->listed = c->listed || c->live || c->told >= 0; /* never off the list: nobody would know that it is off */
    }
    t->wanted_said = true;
    t->wanted_due = LK_NEVER;
    say(t);
}

void lk_sfu_wanted(lk_sfu_track *t)
{
    lk_sfu *s = t->person->sfu;
    bool more = false, less = false;
    if (!t->published || t->info->type != LIVEKIT__TRACK_TYPE__VIDEO)
        return;
    for (size_t k = 0; k < t->coding_count; k++) {
        int wanted = wanted_of(t, k);
        more |= wanted > t->codings[k].told;
        less |= wanted < t->codings[k].told;
    }
    if (more) {
        settle(t);
    } else if (less && t->wanted_due == LK_NEVER) {
        t->wanted_due = s->now + SFU_FALL_USEC;
        lk_sfu_arm(s, t->wanted_due);
    } else if (!less && t->wanted_said) {
        t->wanted_due = LK_NEVER;
    }
}

void lk_sfu_wanted_tick(lk_sfu_track *t)
{
    lk_sfu *s = t->person->sfu;
    if (t->wanted_due <= s->now)
        settle(t);
    lk_sfu_arm(s, t->wanted_due);
}

/* Applying an answer makes browsers send every layer again. */
void lk_sfu_wanted_again(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->again_due == LK_NEVER)
        p->again_latest = s->now + SFU_WANTED_AGAIN_MAX_USEC;
    p->again_due = LK_MIN(s->now + SFU_WANTED_AGAIN_USEC, p->again_latest);
    lk_sfu_arm(s, p->again_due);
}

void lk_sfu_wanted_again_tick(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->again_due <= s->now) {
        p->again_due = LK_NEVER;
        LK_LIST_EACH(&p->tracks, it)
            say(LK_CONTAINER(it, lk_sfu_track, link));
    }
    lk_sfu_arm(s, p->again_due);
}
