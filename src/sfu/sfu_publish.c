// SPDX-License-Identifier: Apache-2.0
/* Tracks people publish: announced by add_track, found in their descriptions, known to others from then on. */
#include "sfu/sfu_internal.h"

#define FEATURES_MAX 16
#define TRACK_ARENA_BYTES (256u << 10)

static const char no_text[] = "";
static char *text_or_none(char *z) { return z ? z : (char *)(uintptr_t)no_text; }

bool lk_sfu_may_publish(const lk_sfu_person *p, int source)
{
    return p->grants.sources ? (p->grants.sources >> source) & 1 : p->grants.can_publish;
}

lk_sfu_track *lk_sfu_track_of(lk_sfu_person *p, const char *sid)
{
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        if (strcmp(t->info->sid, sid) == 0)
            return t;
    }
    return NULL;
}

lk_sfu_track *lk_sfu_track_in(lk_sfu_room *r, const char *sid)
{
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_track *t = lk_sfu_track_of(LK_CONTAINER(it, lk_sfu_person, link), sid);
        if (t)
            return t;
    }
    return NULL;
}

/* ---- add_track ------------------------------------------------------------------------------------------------------------ */

static void touch(lk_sfu_track *t)
{
    t->info->version->unix_micro = lk_sfu_unix_usec(t->person->sfu);
}

static char *sid_of(lk_sfu *s, lk_arena *a, const Livekit__AddTrackRequest *q)
{
    static const char *const sources[] = {"", "C", "M", "S", "s"};
    char prefix[8] = "TR_A", out[SFU_SID_MAX];
    unsigned source = (unsigned)q->source;
    prefix[3] = q->type == LIVEKIT__TRACK_TYPE__VIDEO ? 'V' : 'A';
    if (source < LK_LEN(sources))
        memcpy(prefix + 4, sources[source], strlen(sources[source]) + 1);
    lk_sfu_sid(s, out, prefix);
    return lk_pbuf_strdup(a, lk_str_of(out));
}

static const char *stream_of(const Livekit__AddTrackRequest *q)
{
    if (q->stream && *q->stream)
        return q->stream;
    switch (q->source) {
    case LIVEKIT__TRACK_SOURCE__CAMERA:
    case LIVEKIT__TRACK_SOURCE__MICROPHONE: return "camera";
    case LIVEKIT__TRACK_SOURCE__SCREEN_SHARE:
    case LIVEKIT__TRACK_SOURCE__SCREEN_SHARE_AUDIO: return "screen";
    default: return "unknown";
    }
}

static Livekit__SimulcastCodecInfo *codec_info(lk_arena *a, const Livekit__AddTrackRequest *q, const Livekit__SimulcastCodec *c)
{
    Livekit__SimulcastCodecInfo *i = lk_pbuf_new(&livekit__simulcast_codec_info__descriptor, a);
    if (!i)
        return NULL;
    i->cid = text_or_none(q->cid);
    i->layers = q->layers;
    i->n_layers = q->n_layers;
    if (!c)
        return i;
    if (c->codec && *c->codec) {
        const char *kind = q->type == LIVEKIT__TRACK_TYPE__VIDEO ? "video/" : "audio/";
        size_t n = strlen(c->codec);
        bool full = strchr(c->codec, '/') != NULL;
        char *mime = lk_arena_alloc(a, 6 + n + 1);
        if (!mime)
            return NULL;
        memcpy(mime, kind, full ? 0 : 6);
        memcpy(mime + (full ? 0 : 6), c->codec, n + 1);
        i->mime_type = mime;
    }
    if (c->cid && *c->cid)
        i->cid = c->cid;
    if (c->n_layers) {
        i->layers = c->layers;
        i->n_layers = c->n_layers;
    }
    i->has_video_layer_mode = c->has_video_layer_mode;
    i->video_layer_mode = c->video_layer_mode;
    return i;
}

static bool scalable(const char *mime)
{
    lk_str m = lk_str_of(mime);
    return lk_str_ieq(m, "video/vp9") || lk_str_ieq(m, "video/av1");
}

/* q lives in the track's arena. */
static lk_err fill_info(lk_sfu_track *t, const Livekit__AddTrackRequest *q)
{
    lk_arena *a = &t->arena;
    Livekit__TrackInfo *i = t->info = lk_pbuf_new(&livekit__track_info__descriptor, a);
    size_t n = LK_MAX(q->n_simulcast_codecs, (size_t)1);
    if (!i || !(i->sid = sid_of(t->person->sfu, a, q)) || !(i->version = lk_pbuf_new(&livekit__timed_version__descriptor, a)) ||
        !(i->codecs = lk_arena_alloc(a, n * sizeof *i->codecs)) || !(i->audio_features = lk_arena_alloc(a, FEATURES_MAX * sizeof *i->audio_features)))
        return LK_ERR_NOMEM;
    for (size_t k = 0; k < n; k++)
        if (!(i->codecs[i->n_codecs++] = codec_info(a, q, q->n_simulcast_codecs ? q->simulcast_codecs[k] : NULL)))
            return LK_ERR_NOMEM;
    i->has_type = i->has_muted = i->has_width = i->has_height = i->has_simulcast = i->has_disable_dtx = i->has_source = i->has_stereo =
        i->has_disable_red = i->has_encryption = i->has_backup_codec_policy = i->version->has_unix_micro = 1;
    i->type = q->type;
    i->name = text_or_none(q->name);
    i->muted = q->muted;
    i->width = q->width;
    i->height = q->height;
    i->disable_dtx = q->disable_dtx;
    i->source = q->source;
    i->stereo = q->stereo;
    i->disable_red = q->disable_red;
    i->encryption = q->encryption;
    i->backup_codec_policy = q->backup_codec_policy;
    i->stream = (char *)(uintptr_t)stream_of(q);
    i->layers = i->codecs[0]->layers;
    i->n_layers = i->codecs[0]->n_layers;
    bool one_stream = i->codecs[0]->mime_type && scalable(i->codecs[0]->mime_type) &&
                      i->codecs[0]->video_layer_mode != LIVEKIT__VIDEO_LAYER__MODE__ONE_SPATIAL_LAYER_PER_STREAM;
    i->simulcast = i->n_layers > 1 && !one_stream;
    i->n_audio_features = LK_MIN(q->n_audio_features, (size_t)FEATURES_MAX);
    if (i->n_audio_features)
        memcpy(i->audio_features, q->audio_features, i->n_audio_features * sizeof *i->audio_features);
    i->packet_trailer_features = q->packet_trailer_features;
    i->n_packet_trailer_features = q->n_packet_trailer_features;
    t->feature_room = FEATURES_MAX;
    touch(t);
    return LK_OK;
}

static lk_err track_new(lk_sfu_track **out, lk_sfu_person *p, const Livekit__AddTrackRequest *request)
{
    lk_sfu *s = p->sfu;
    lk_bytes packed;
    ProtobufCMessage *m;
    lk_sfu_track *t = lk_alloc0(s->env, sizeof *t);
    if (!t)
        return LK_ERR_NOMEM;
    lk_arena_init(&t->arena, s->env, TRACK_ARENA_BYTES);
    lk_list_init(&t->subs);
    t->person = p;
    t->wanted_told = -2;
    t->wanted_due = LK_NEVER;
    (void)lk_str_copy(t->cid, sizeof t->cid, lk_str_of(request->cid));
    lk_err err = lk_pbuf_pack(&request->base, &s->out, &packed);
    if (err == LK_OK)
        err = lk_pbuf_unpack(&livekit__add_track_request__descriptor, &t->arena, packed, &m); /* a copy that is the track's */
    lk_arena_reset(&s->out);
    if (err == LK_OK)
        err = fill_info(t, (const Livekit__AddTrackRequest *)m);
    if (err != LK_OK) {
        lk_arena_deinit(&t->arena);
        lk_release(s->env, t, sizeof *t);
        return err;
    }
    lk_list_push(&p->tracks, &t->link);
    *out = t;
    return LK_OK;
}

static bool cid_in_use(const lk_sfu_person *p, const char *cid)
{
    LK_LIST_EACH(&p->tracks, it)
        if (strcmp(LK_CONTAINER(it, lk_sfu_track, link)->cid, cid) == 0)
            return true;
    return false;
}

static uint32_t pending(const lk_sfu_person *p)
{
    uint32_t n = 0;
    LK_LIST_EACH(&p->tracks, it)
        n += LK_CONTAINER(it, lk_sfu_track, link)->up == NULL;
    return n;
}

static void bind_up(lk_sfu_track *t, lk_up *up);

static void refuse_track(lk_sfu_person *p, const Livekit__AddTrackRequest *q, Livekit__RequestResponse__Reason reason, const char *why)
{
    lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = reason, .message = why, .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_ADD_TRACK, .request = q});
}

static void queue_track(lk_sfu_person *p, const Livekit__AddTrackRequest *q)
{
    lk_sfu *s = p->sfu;
    size_t len = lk_pbuf_size(&q->base), size = sizeof(lk_sfu_queued) + len;
    lk_sfu_queued *e = p->queued.count < SFU_QUEUED_MAX ? lk_alloc0(s->env, size) : NULL;
    if (!e) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "too many requests with the same cid");
        return;
    }
    lk_wr w = lk_wr_of(e + 1, len);
    lk_pbuf_pack_into(&q->base, &w);
    e->size = size;
    e->request = (lk_bytes){(const uint8_t *)(e + 1), w.len};
    lk_list_push(&p->queued, &e->link);
    refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__QUEUED, "");
}

static void send_track_published(lk_sfu_person *p, lk_sfu_track *t)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__TrackPublishedResponse r = LIVEKIT__TRACK_PUBLISHED_RESPONSE__INIT;
    r.cid = t->cid;
    r.track = t->info;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED;
    m.track_published = &r;
    lk_sfu_send(p, &m);
}

/* How the section is to be answered. */
static lk_err tell_wish(lk_sfu_person *p, const lk_sfu_track *t)
{
    const Livekit__TrackInfo *i = t->info;
    lk_err err = LK_OK;
    for (size_t k = 0; k < i->n_codecs && err == LK_OK; k++) {
        const char *mime = i->codecs[k]->mime_type, *name = mime ? strchr(mime, '/') : NULL;
        lk_peer_wish wish = {.cid = i->codecs[k]->cid, .codec = name ? name + 1 : "",
                             .no_red = i->disable_red || i->encryption != LIVEKIT__ENCRYPTION__TYPE__NONE, .no_dtx = i->disable_dtx, .stereo = i->stereo};
        if (*wish.cid)
            err = lk_peer_wish_track(p->publisher, &wish);
    }
    return err;
}

void lk_sfu_add_track(lk_sfu_person *p, const Livekit__AddTrackRequest *q)
{
    lk_sfu *s = p->sfu;
    lk_sfu_track *t = NULL;
    const lk_sfu_limits *limits = &s->config.limits;
    if (!lk_sfu_may_publish(p, (int)q->source)) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED, "does not have permission to publish");
    } else if (q->type != LIVEKIT__TRACK_TYPE__AUDIO && q->type != LIVEKIT__TRACK_TYPE__VIDEO) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE, "unsupported track type");
    } else if (q->sid && *q->sid) {
        bool known = lk_sfu_track_of(p, q->sid) != NULL;
        refuse_track(p, q, known ? LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE : LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND,
                     known ? "a second codec of one track is not supported" : "track not found");
    } else if (!q->cid || !*q->cid || strlen(q->cid) > SFU_CID_MAX) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_REQUEST, "cid is empty or too long");
    } else if (cid_in_use(p, q->cid)) {
        queue_track(p, q);
    } else if (p->tracks.count >= limits->tracks || pending(p) >= SFU_PENDING_MAX) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "too many tracks");
    } else if (track_new(&t, p, q) != LK_OK) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "request is too large");
    } else if (tell_wish(p, t) != LK_OK) {
        lk_sfu_track_remove(t, false);
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "too many tracks");
    } else {
        send_track_published(p, t);
        /* a description may have come first */
        LK_LIST_EACH(&p->loose, it) {
            lk_sfu_loose *l = LK_CONTAINER(it, lk_sfu_loose, link);
            if (strcmp(lk_up_cid(l->up), t->cid) == 0) {
                bind_up(t, l->up);
                lk_list_remove(&p->loose, &l->link);
                lk_release(s->env, l, sizeof *l);
                break;
            }
        }
    }
}

/* ---- what descriptions bring ---------------------------------------------------------------------------------------------------- */

static void fill_layers(lk_sfu_track *t)
{
    lk_up_layer layers[LK_UP_LAYERS_MAX];
    Livekit__TrackInfo *i = t->info;
    size_t n = lk_up_layers(t->up, layers);
    for (size_t k = 0; k < n && k < i->n_layers; k++) {
        Livekit__VideoLayer *l = i->layers[k];
        l->has_ssrc = layers[k].ssrc != 0;
        l->ssrc = layers[k].ssrc;
        l->has_spatial_layer = 1;
        l->spatial_layer = (int32_t)k;
        if (!l->rid && layers[k].rid[0])
            l->rid = lk_pbuf_strdup(&t->arena, lk_str_of(layers[k].rid));
    }
}

static void fill_mid_and_mime(lk_sfu_track *t)
{
    Livekit__TrackInfo *i = t->info;
    const char *mid = lk_up_mid(t->up), *mime = lk_up_mime(t->up);
    if (!i->mid || strcmp(i->mid, mid) != 0)
        i->mid = i->codecs[0]->mid = lk_pbuf_strdup(&t->arena, lk_str_of(mid));
    if (*mime && (!i->mime_type || strcmp(i->mime_type, mime) != 0))
        i->mime_type = i->codecs[0]->mime_type = lk_pbuf_strdup(&t->arena, lk_str_of(mime));
    if (i->type == LIVEKIT__TRACK_TYPE__VIDEO)
        fill_layers(t);
    touch(t);
}

static void publish(lk_sfu_track *t)
{
    lk_sfu_person *p = t->person;
    if (t->published)
        return;
    t->published = true;
    p->was_publisher = true;
    if (t->info->type == LIVEKIT__TRACK_TYPE__VIDEO) {
        t->wanted_due = p->sfu->now + SFU_WANTED_USEC;
        lk_sfu_arm(p->sfu, t->wanted_due);
    }
    lk_sfu_watch_start(p->sfu);
    lk_sfu_person_changed(p);
    lk_sfu_room_changed(p->room, false);
    lk_sfu_subscribe_new_track(t);
}

static void tell_sizes(lk_sfu_track *t)
{
    uint16_t sizes[LK_UP_LAYERS_MAX][2];
    const Livekit__TrackInfo *i = t->info;
    size_t n = LK_MIN(i->n_layers, (size_t)LK_UP_LAYERS_MAX);
    for (size_t k = 0; k < n; k++) {
        sizes[k][0] = (uint16_t)LK_MIN(i->layers[k]->width, (uint32_t)UINT16_MAX);
        sizes[k][1] = (uint16_t)LK_MIN(i->layers[k]->height, (uint32_t)UINT16_MAX);
        for (int d = 0; k > 0 && d < 2; d++) /* whatever a client says, a better layer is not smaller */
            sizes[k][d] = LK_MAX(sizes[k][d], sizes[k - 1][d]);
    }
    lk_up_set_sizes(t->up, (const uint16_t(*)[2])sizes, n);
}

/* Layers ascending: clients list them in either direction. */
static void sort_layers(Livekit__TrackInfo *i)
{
    for (size_t k = 1; k < i->n_layers; k++)
        for (size_t m = k; m > 0 && i->layers[m - 1]->quality > i->layers[m]->quality; m--) {
            Livekit__VideoLayer *swap = i->layers[m];
            i->layers[m] = i->layers[m - 1];
            i->layers[m - 1] = swap;
        }
}

static void bind_up(lk_sfu_track *t, lk_up *up)
{
    t->up = up;
    lk_up_set_user(up, t);
    if (strcmp(lk_up_cid(up), t->cid) != 0 && !t->info->codecs[0]->sdp_cid)
        t->info->codecs[0]->sdp_cid = lk_pbuf_strdup(&t->arena, lk_str_of(lk_up_cid(up)));
    sort_layers(t->info);
    tell_sizes(t);
    lk_up_set_muted(up, t->person->sfu->now, t->info->muted);
    fill_mid_and_mime(t);
    if (t->info->type == LIVEKIT__TRACK_TYPE__AUDIO || lk_up_live(up))
        publish(t);
}

static bool has_cid(const lk_sfu_track *t, const char *cid)
{
    if (strcmp(t->cid, cid) == 0)
        return true;
    for (size_t k = 0; k < t->info->n_codecs; k++)
        if (strcmp(t->info->codecs[k]->cid, cid) == 0)
            return true;
    return false;
}

void lk_sfu_up_found(lk_sfu_person *p, lk_up *up)
{
    lk_sfu *s = p->sfu;
    lk_sfu_track *exact = NULL, *same_kind = NULL;
    Livekit__TrackType type = lk_up_kind(up) == LK_MEDIA_KIND_VIDEO ? LIVEKIT__TRACK_TYPE__VIDEO : LIVEKIT__TRACK_TYPE__AUDIO;
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        if (t->up || t->info->type != type)
            continue;
        if (!exact && has_cid(t, lk_up_cid(up)))
            exact = t;
        if (!same_kind)
            same_kind = t;
    }
    lk_sfu_track *t = exact ? exact : same_kind;
    if (t) {
        bind_up(t, up);
        return;
    }
    lk_sfu_loose *l = p->loose.count < s->config.limits.tracks ? lk_alloc0(s->env, sizeof *l) : NULL;
    if (!l) {
        lk_up_free(up);
        return;
    }
    l->up = up;
    lk_list_push(&p->loose, &l->link);
}

void lk_sfu_up_live(lk_sfu_person *p, lk_up *up)
{
    lk_sfu_track *t = lk_up_user(up);
    if (!t)
        return;
    fill_mid_and_mime(t);
    if (t->published)
        lk_sfu_person_changed(p);
    else
        publish(t);
}

void lk_sfu_up_ended(lk_sfu_person *p, lk_up *up)
{
    lk_sfu_track *t = lk_up_user(up);
    if (t) {
        lk_sfu_track_remove(t, false);
        lk_sfu_person_changed(p);
        return;
    }
    LK_LIST_EACH(&p->loose, it) {
        lk_sfu_loose *l = LK_CONTAINER(it, lk_sfu_loose, link);
        if (l->up == up) {
            lk_list_remove(&p->loose, &l->link);
            lk_release(p->sfu->env, l, sizeof *l);
            break;
        }
    }
    lk_up_free(up);
}

void lk_sfu_mute(lk_sfu_person *p, lk_sfu_track *t, bool muted)
{
    if ((bool)t->info->muted == muted)
        return;
    t->info->muted = muted;
    touch(t);
    if (t->up)
        lk_up_set_muted(t->up, p->sfu->now, muted);
    if (!muted)
        lk_sfu_watch_start(p->sfu);
    if (t->published)
        lk_sfu_person_changed(p);
}

static void next_queued(lk_sfu_person *p, const char *cid)
{
    LK_LIST_EACH(&p->queued, it) {
        lk_sfu_queued *q = LK_CONTAINER(it, lk_sfu_queued, link);
        ProtobufCMessage *m;
        lk_arena a;
        lk_arena_init(&a, p->sfu->env, 8u << 20);
        bool read = lk_pbuf_unpack(&livekit__add_track_request__descriptor, &a, q->request, &m) == LK_OK;
        bool match = read && strcmp(((const Livekit__AddTrackRequest *)m)->cid, cid) == 0;
        if (match || !read)
            lk_list_remove(&p->queued, &q->link);
        if (match)
            lk_sfu_add_track(p, (const Livekit__AddTrackRequest *)m);
        if (match || !read)
            lk_release(p->sfu->env, q, q->size);
        lk_arena_deinit(&a);
        if (match)
            return;
    }
}

void lk_sfu_track_remove(lk_sfu_track *t, bool told)
{
    lk_sfu_person *p = t->person;
    lk_sfu *s = p->sfu;
    lk_link *at;
    if (told) {
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__TrackUnpublishedResponse r = LIVEKIT__TRACK_UNPUBLISHED_RESPONSE__INIT;
        r.track_sid = t->info->sid;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_UNPUBLISHED;
        m.track_unpublished = &r;
        lk_sfu_send(p, &m);
    }
    while ((at = lk_list_first(&t->subs)))
        lk_sfu_sub_free(LK_CONTAINER(at, lk_sfu_sub, of_track));
    lk_up_free(t->up);
    lk_list_remove(&p->tracks, &t->link);
    char cid[SFU_CID_MAX + 1];
    memcpy(cid, t->cid, sizeof cid);
    lk_arena_deinit(&t->arena);
    lk_release(s->env, t, sizeof *t);
    if (p->state != LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED)
        next_queued(p, cid);
}

/* ---- dynacast ---------------------------------------------------------------------------------------------------------------------- */

static void tell_wanted(lk_sfu_track *t, int wanted)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SubscribedQualityUpdate u = LIVEKIT__SUBSCRIBED_QUALITY_UPDATE__INIT;
    Livekit__SubscribedCodec codec = LIVEKIT__SUBSCRIBED_CODEC__INIT, *codecs[] = {&codec};
    Livekit__SubscribedQuality q[3], *list[3];
    char name[32] = "";
    for (int k = 0; k < 3; k++) {
        q[k] = (Livekit__SubscribedQuality)LIVEKIT__SUBSCRIBED_QUALITY__INIT;
        q[k].has_quality = q[k].has_enabled = 1;
        q[k].quality = (Livekit__VideoQuality)k;
        q[k].enabled = k <= wanted;
        list[k] = &q[k];
    }
    const char *mime = t->info->mime_type ? strchr(t->info->mime_type, '/') : NULL;
    for (size_t k = 0; mime && mime[k + 1] && k + 1 < sizeof name; k++)
        name[k] = mime[k + 1] >= 'A' && mime[k + 1] <= 'Z' ? (char)(mime[k + 1] + 32) : mime[k + 1];
    codec.codec = name;
    codec.n_qualities = u.n_subscribed_qualities = 3;
    codec.qualities = u.subscribed_qualities = list;
    u.n_subscribed_codecs = 1;
    u.subscribed_codecs = codecs;
    u.track_sid = t->info->sid;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIBED_QUALITY_UPDATE;
    m.subscribed_quality_update = &u;
    t->wanted_told = wanted;
    t->wanted_due = LK_NEVER;
    lk_sfu_send(t->person, &m);
}

void lk_sfu_wanted(lk_sfu_track *t)
{
    lk_sfu *s = t->person->sfu;
    if (!t->published || !t->up || t->info->type != LIVEKIT__TRACK_TYPE__VIDEO)
        return;
    int wanted = lk_up_wanted(t->up);
    if (wanted > t->wanted_told || (t->wanted_told == -2 && wanted >= 0)) {
        tell_wanted(t, wanted);
    } else if (wanted < t->wanted_told && t->wanted_due == LK_NEVER) {
        t->wanted_due = s->now + SFU_FALL_USEC;
        lk_sfu_arm(s, t->wanted_due);
    } else if (wanted == t->wanted_told) {
        t->wanted_due = LK_NEVER;
    }
}

void lk_sfu_wanted_tick(lk_sfu_track *t)
{
    lk_sfu *s = t->person->sfu;
    if (t->wanted_due <= s->now && t->up)
        tell_wanted(t, lk_up_wanted(t->up));
    lk_sfu_arm(s, t->wanted_due);
}
