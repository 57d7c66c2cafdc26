// SPDX-License-Identifier: Apache-2.0
/* Our tracks: announced, offered, published, muted, taken back. */
#include "room/room_internal.h"

static const lk_error publish_timeout = {
    LK_ERR_TIMEOUT, "room error engine: internal error: track publication timed out, no response received from the server"};

lk_session_local_track *lk_session_find_local(const lk_session *s, uint64_t track)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->track == track)
            return t;
    }
    return NULL;
}

static lk_session_local_track *find_sid(const lk_session *s, const char *sid)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (sid && t->state == LK_SESSION_LOCAL_PUBLISHED && strcmp(t->pub->sid, sid) == 0)
            return t;
    }
    return NULL;
}

/* ---- making and ending ---------------------------------------------------------------------------------- */

/* A random UUID, as the reference names its tracks. [RFC9562 s5.4] */
static void make_cid(const lk_env *env, char out[40])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t b[16];
    size_t n = 0;
    for (size_t i = 0; i < 16; i += 8) {
        uint64_t r = lk_rand_u64(env);
        memcpy(b + i, &r, 8);
    }
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = hex[b[i] >> 4];
        out[n++] = hex[b[i] & 15];
    }
    out[n] = 0;
}

void lk_session_free_local(lk_session *s, lk_session_local_track *t)
{
    lk_session_free_text(s, &t->name);
    lk_session_free_text(s, &t->stream);
    lk_session_free_text(s, &t->sid_before);
    if (t->pub)
        lk_session_free_pub(s, t->pub);
    t->pub = NULL;
    lk_session_drop_local_track(s, t);
}

/* Stops sending and takes the section back with the next offer. */
static void stop(lk_session *s, lk_session_local_track *t)
{
    if ((t->state != LK_SESSION_LOCAL_OFFERING && t->state != LK_SESSION_LOCAL_PUBLISHED) || !s->pc)
        return;
    /* On one connection the section becomes a place to receive on; of two the publisher only sends. */
    if (lk_pc_set_direction(s->pc, t->section, s->dual ? LK_PC_INACTIVE : LK_PC_RECVONLY) == LK_OK)
        lk_session_want_offer(s);
}

static void tell_unpublished(lk_session *s, lk_session_local_track *t)
{
    if (!t->told)
        return;
    t->told = false;
    lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_LOCAL_TRACK_UNPUBLISHED, t->pub);
    ev->track_id = t->track;
    ev->track = lk_session_local_track_info(s, t);
}

void lk_session_unpublish_all(lk_session *s)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        tell_unpublished(s, t);
        t->op = NULL; /* ended with all other operations */
        lk_session_free_local(s, t);
    }
}

void lk_session_free_local_tracks(lk_session *s)
{
    LK_LIST_EACH(&s->local_tracks, it)
        lk_session_free_local(s, LK_CONTAINER(it, lk_session_local_track, link));
}

/* ---- publish ------------------------------------------------------------------------------------------------ */

static lk_err make_sender(lk_session *s, lk_session_local_track *t, const lk_session_publish *p, lk_media_kind kind)
{
    if (kind == LK_MEDIA_KIND_AUDIO) {
        const lk_audio_sender_config audio = {.max_bitrate_bps = p->max_bitrate_bps, .dtx = p->dtx, .fec = true, .muted = p->muted};
        return lk_audio_sender_new(&t->sender, s->env, &audio, s->now);
    }
    bool screen = p->source == LK_TRACK_SOURCE_SCREEN_SHARE;
    lk_session_encoding usual = lk_session_encoding_of(p->width, p->height, screen);
    t->max_bitrate_bps = p->max_bitrate_bps ? p->max_bitrate_bps : usual.bitrate_bps;
    t->max_framerate = p->max_framerate ? p->max_framerate : usual.framerate;
    const lk_video_sender_config video = {.codec = p->codec ? p->codec : "VP8",
                                          .max_bitrate_bps = t->max_bitrate_bps,
                                          .max_framerate = t->max_framerate,
                                          .muted = p->muted,
                                          .screen = screen};
    return lk_video_sender_new(&t->video, s->env, &video, s->now);
}

static lk_err new_local(lk_session *s, const lk_session_publish *p, lk_media_kind kind, lk_session_local_track **out)
{
    lk_session_local_track *t = (lk_session_local_track *)lk_alloc0(s->env, sizeof *t);
    if (!t)
        return LK_ERR_NOMEM;
    t->track = p->track;
    t->source = p->source;
    t->muted = t->told_muted = p->muted;
    t->dtx = p->dtx;
    t->red = p->red;
    t->max_bitrate_bps = p->max_bitrate_bps;
    t->sample_rate = p->sample_rate;
    t->channels = p->channels;
    t->width = p->width;
    t->height = p->height;
    if (kind == LK_MEDIA_KIND_AUDIO)
        t->audio_features = (p->dtx ? 0u : 1u << LK_AUDIO_FEATURE_NO_DTX) |
                            (p->preconnect_buffer ? 1u << LK_AUDIO_FEATURE_PRECONNECT_BUFFER : 0u);
    make_cid(s->env, t->cid);
    lk_list_push(&s->local_tracks, &t->link);
    lk_session_set_text(s, &t->name, p->name);
    lk_session_set_text(s, &t->stream, p->stream);
    lk_err err = t->name && t->stream ? make_sender(s, t, p, kind) : LK_ERR_NOMEM;
    if (err)
        lk_session_free_local(s, t);
    else
        *out = t;
    return err;
}

lk_err lk_session_announce(lk_session *s, lk_session_local_track *t)
{
    const lk_signal_track announce = {.cid = t->cid,
                                      .name = t->name,
                                      .stream = t->stream,
                                      .kind = t->video ? LK_MEDIA_KIND_VIDEO : LK_MEDIA_KIND_AUDIO,
                                      .source = t->source,
                                      .muted = t->muted,
                                      .disable_dtx = !t->dtx,
                                      .disable_red = !t->red,
                                      .audio_features = t->audio_features,
                                      .width = t->width,
                                      .height = t->height,
                                      .bitrate_bps = t->max_bitrate_bps};
    t->state = LK_SESSION_LOCAL_REQUESTED;
    t->tag = ++s->next_id;
    t->told_muted = t->muted;
    return lk_signal_add_track(&s->signal, s->now, &announce, t->tag);
}

static lk_err publish(lk_session *s, lk_usec now, uint64_t id, const lk_session_publish *p, lk_media_kind kind)
{
    lk_session_op *op;
    lk_session_local_track *t;
    if (s->phase != LK_SESSION_LIVE || s->rejoining)
        return LK_ERR_CLOSED;
    if (p->track == 0 || p->track & LK_SESSION_REMOTE_TRACK_BIT)
        return LK_ERR_INVALID;
    if (lk_session_find_local(s, p->track))
        return LK_ERR_STATE;
    if (s->local_tracks.count >= LK_SESSION_LOCAL_TRACKS_MAX)
        return LK_ERR_LIMIT;
    s->now = LK_MAX(now, s->now);
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_PUBLISH, &op);
    if (err)
        return err;
    err = new_local(s, p, kind, &t);
    if (err == LK_OK) {
        err = lk_session_announce(s, t);
        if (err)
            lk_session_free_local(s, t);
    }
    if (err) {
        lk_list_remove(&s->ops, &op->link);
        lk_release(s->env, op, sizeof *op);
        return err;
    }
    t->op = op;
    lk_session_pump(s);
    return LK_OK;
}

lk_err lk_session_publish_audio(lk_session *s, lk_usec now, uint64_t id, const lk_session_publish *p)
{
    if (p->sample_rate == 0 || p->channels == 0)
        return LK_ERR_INVALID;
    return publish(s, now, id, p, LK_MEDIA_KIND_AUDIO);
}

lk_err lk_session_publish_video(lk_session *s, lk_usec now, uint64_t id, const lk_session_publish *p)
{
    return publish(s, now, id, p, LK_MEDIA_KIND_VIDEO);
}

static void fail_publish(lk_session *s, lk_session_local_track *t, const lk_error *why)
{
    lk_session_op *op = t->op;
    stop(s, t);
    tell_unpublished(s, t); /* one that did not come back with us */
    lk_session_free_local(s, t);
    if (op)
        lk_session_op_done(s, op, why);
    lk_session_rejoin_settle(s);
}

static void on_track_named(lk_session *s, lk_session_local_track *t, const lk_error *error, const Livekit__TrackInfo *info)
{
    lk_error why = {LK_ERR_NOMEM, "publish: allocation refused"};
    if (error->code != LK_OK || !info) {
        fail_publish(s, t, error->code == LK_ERR_TIMEOUT || error->code == LK_OK ? &publish_timeout : error);
        return;
    }
    if (t->pub) {
        lk_session_set_text(s, &t->sid_before, t->pub->sid);
        lk_session_refill_pub(s, t->pub, info);
    } else {
        t->pub = lk_session_add_pub(s, s->local, info);
    }
    const lk_pc_section section = {.kind = t->video ? LK_MEDIA_KIND_VIDEO : LK_MEDIA_KIND_AUDIO,
                                   .direction = LK_PC_SENDONLY,
                                   .stream = "-",
                                   .track = t->cid,
                                   .codec = t->video ? lk_video_sender_codec(t->video) : NULL};
    lk_err err = t->pub ? lk_pc_add_section(s->pc, &section, &t->section) : LK_ERR_LIMIT;
    if (err) {
        lk_error_set(&why, err, "publish: ", lk_err_text(err), (const char *)NULL);
        fail_publish(s, t, &why);
        return;
    }
    t->pub->muted = t->muted;
    t->state = LK_SESSION_LOCAL_OFFERING;
    t->offer_number = s->offer_id + 1; /* the outstanding offer, if any, does not have it yet */
    lk_session_want_offer(s);
}

void lk_session_on_request_done(lk_session *s, uint64_t tag, const lk_error *error, const Livekit__TrackInfo *info)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->tag == tag && t->state == LK_SESSION_LOCAL_REQUESTED) {
            on_track_named(s, t, error, info);
            return;
        }
    }
    LK_LIST_EACH(&s->ops, it) {
        lk_session_op *op = LK_CONTAINER(it, lk_session_op, link);
        if (op->tag == tag && op->kind == LK_SESSION_OP_METADATA) {
            lk_session_op_done(s, op, error->code == LK_OK ? NULL : error);
            return;
        }
    }
}

static void send_mute(lk_session *s, lk_session_local_track *t)
{
    if (lk_signal_mute(&s->signal, t->pub->sid, t->muted) != LK_OK)
        s->broken = LK_ERR_NOMEM;
    t->told_muted = t->muted;
}

void lk_session_tell_subscribed(lk_session *s, lk_session_local_track *t)
{
    lk_session_event *ev = lk_session_emit_pub(s, LK_SESSION_LOCAL_TRACK_SUBSCRIBED, t->pub);
    ev->track_id = t->track;
    ev->track = lk_session_local_track_info(s, t);
}

static void published(lk_session *s, lk_session_local_track *t)
{
    lk_session_op *op = t->op;
    bool again = t->told;
    t->state = LK_SESSION_LOCAL_PUBLISHED;
    t->op = NULL;
    t->told = true;
    lk_session_share_rate(s);
    lk_session_event *ev = op ? lk_session_op_done(s, op, NULL) : &s->nowhere;
    ev->participant_id = s->local->id;
    ev->publication_id = t->pub->id;
    ev->publication = lk_session_pub_info(s, t->pub);
    ev->track_id = t->track;
    ev->track = lk_session_local_track_info(s, t);
    ev = lk_session_emit_pub(s, again ? LK_SESSION_LOCAL_TRACK_REPUBLISHED : LK_SESSION_LOCAL_TRACK_PUBLISHED, t->pub);
    ev->track_id = t->track;
    ev->track = lk_session_local_track_info(s, t);
    if (again)
        ev->text = lk_session_out_text(s, t->sid_before);
    if (again && t->video)
        lk_video_sender_want_key(t->video, s->now);
    if (t->muted != t->told_muted)
        send_mute(s, t);
    if (t->subscribed_early && !s->rejoining)
        lk_session_tell_subscribed(s, t);
}

void lk_session_on_answered(lk_session *s, uint32_t offer_id)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->state == LK_SESSION_LOCAL_OFFERING && t->offer_number <= offer_id)
            published(s, t);
    }
    lk_session_rejoin_settle(s);
}

void lk_session_cancel_publish(lk_session *s, lk_session_op *op)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (t->op != op)
            continue;
        if (t->state == LK_SESSION_LOCAL_REQUESTED)
            (void)lk_signal_forget(&s->signal, t->tag);
        stop(s, t);
        lk_session_free_local(s, t);
    }
}

/* ---- unpublish --------------------------------------------------------------------------------------------------- */

static void unpublish(lk_session *s, lk_session_local_track *t)
{
    stop(s, t);
    tell_unpublished(s, t);
    lk_session_free_local(s, t);
}

lk_err lk_session_unpublish(lk_session *s, lk_usec now, uint64_t id, const char *sid)
{
    static const lk_error unknown = {LK_ERR_NOT_FOUND, "room failure: track not found"};
    lk_session_op *op;
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    s->now = LK_MAX(now, s->now);
    lk_err err = lk_session_op_new(s, id, LK_SESSION_OP_UNPUBLISH, &op);
    if (err)
        return err;
    lk_session_local_track *t = find_sid(s, sid);
    if (t)
        unpublish(s, t);
    lk_session_op_done(s, op, t ? NULL : &unknown);
    lk_session_pump(s);
    return LK_OK;
}

void lk_session_on_server_unpublish(lk_session *s, const char *sid)
{
    lk_session_local_track *t = find_sid(s, sid);
    if (t)
        unpublish(s, t);
}

/* ---- mute ----------------------------------------------------------------------------------------------------------- */

static void apply_mute(lk_session *s, lk_session_local_track *t, bool muted)
{
    t->muted = muted;
    if (t->video)
        lk_video_sender_set_muted(t->video, muted);
    else
        lk_audio_sender_set_muted(t->sender, s->now, muted);
    if (t->pub)
        t->pub->muted = muted;
    if (t->state != LK_SESSION_LOCAL_PUBLISHED)
        return;
    lk_session_event *ev = lk_session_emit_pub(s, muted ? LK_SESSION_TRACK_MUTED : LK_SESSION_TRACK_UNMUTED, t->pub);
    ev->track_id = t->track;
    ev->track = lk_session_local_track_info(s, t);
}

lk_err lk_session_set_muted(lk_session *s, lk_usec now, uint64_t track, bool muted)
{
    lk_session_local_track *t = lk_session_find_local(s, track);
    if (!t)
        return LK_ERR_NOT_FOUND;
    s->now = LK_MAX(now, s->now);
    if (t->muted == muted)
        return LK_OK;
    apply_mute(s, t, muted);
    if (t->state == LK_SESSION_LOCAL_PUBLISHED)
        send_mute(s, t);
    lk_session_pump(s);
    return LK_OK;
}

void lk_session_on_server_mute(lk_session *s, const char *sid, bool muted)
{
    lk_session_local_track *t = find_sid(s, sid);
    if (!t || t->muted == muted)
        return;
    t->told_muted = muted;
    apply_mute(s, t, muted);
}

void lk_session_on_local_subscribed(lk_session *s, const char *sid)
{
    LK_LIST_EACH(&s->local_tracks, it) {
        lk_session_local_track *t = LK_CONTAINER(it, lk_session_local_track, link);
        if (!t->pub || !sid || strcmp(t->pub->sid, sid) != 0)
            continue;
        if (t->state == LK_SESSION_LOCAL_PUBLISHED && !s->rejoining)
            lk_session_tell_subscribed(s, t);
        else
            t->subscribed_early = true;
    }
}
