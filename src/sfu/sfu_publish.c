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

static bool scalable(const char *mime)
{
    lk_str m = lk_str_of(mime);
    return lk_str_ieq(m, "video/vp9") || lk_str_ieq(m, "video/av1");
}

/* Each codec has sources of its own: its layers are its own too. */
static bool copy_layers(lk_arena *a, Livekit__SimulcastCodecInfo *i, Livekit__VideoLayer *const *layers, size_t n)
{
    i->layers = lk_arena_alloc(a, LK_MAX(n, (size_t)1) * sizeof *i->layers);
    for (i->n_layers = 0; i->layers && i->n_layers < n; i->n_layers++) {
        Livekit__VideoLayer *l = lk_pbuf_new(&livekit__video_layer__descriptor, a);
        if (!l)
            return false;
        *l = *layers[i->n_layers];
        l->base.n_unknown_fields = 0;
        l->base.unknown_fields = NULL;
        if (l->rid && !(l->rid = lk_pbuf_strdup(a, lk_str_of(l->rid))))
            return false;
        i->layers[i->n_layers] = l;
    }
    return i->layers != NULL;
}

/* c NULL: the client does not say in which codec. */
static Livekit__SimulcastCodecInfo *codec_info(lk_arena *a, const Livekit__AddTrackRequest *q, const Livekit__SimulcastCodec *c, bool first)
{
    bool own = c && c->n_layers;
    Livekit__SimulcastCodecInfo *i = lk_pbuf_new(&livekit__simulcast_codec_info__descriptor, a);
    if (!i || !copy_layers(a, i, own ? c->layers : q->layers, own ? c->n_layers : q->n_layers))
        return NULL;
    i->cid = first ? text_or_none(q->cid) : text_or_none(NULL);
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
    i->has_video_layer_mode = c->has_video_layer_mode;
    i->video_layer_mode = c->video_layer_mode;
    if (q->type == LIVEKIT__TRACK_TYPE__VIDEO && c->video_layer_mode == LIVEKIT__VIDEO_LAYER__MODE__MODE_UNUSED) {
        i->has_video_layer_mode = 1;
        i->video_layer_mode = i->mime_type && scalable(i->mime_type) ? LIVEKIT__VIDEO_LAYER__MODE__MULTIPLE_SPATIAL_LAYERS_PER_STREAM
                                                                     : LIVEKIT__VIDEO_LAYER__MODE__ONE_SPATIAL_LAYER_PER_STREAM;
    }
    return i;
}

/* One of the track's codecs; its place, or n_codecs. */
static size_t place_of(const Livekit__TrackInfo *i, const char *codec)
{
    const char *slash = codec ? strchr(codec, '/') : NULL;
    lk_str name = lk_str_of(slash ? slash + 1 : codec ? codec : "");
    for (size_t k = 0; k < i->n_codecs; k++) {
        const char *mime = i->codecs[k]->mime_type, *own = mime ? strchr(mime, '/') : NULL;
        if (own && lk_str_ieq(name, own + 1))
            return k;
    }
    return i->n_codecs;
}

static lk_err fill_codecs(lk_sfu_track *t, const Livekit__AddTrackRequest *q)
{
    Livekit__TrackInfo *i = t->info;
    size_t n = LK_MAX(q->n_simulcast_codecs, (size_t)1);
    i->codecs = lk_arena_alloc(&t->arena, SFU_CODINGS_MAX * sizeof *i->codecs);
    for (size_t k = 0; i->codecs && k < n && i->n_codecs < SFU_CODINGS_MAX; k++) {
        const Livekit__SimulcastCodec *c = q->n_simulcast_codecs ? q->simulcast_codecs[k] : NULL;
        if (k > 0 && (!c->codec || !*c->codec || place_of(i, c->codec) < i->n_codecs))
            continue; /* the same again */
        if (!(i->codecs[i->n_codecs] = codec_info(&t->arena, q, c, k == 0)))
            return LK_ERR_NOMEM;
        i->n_codecs++;
    }
    t->coding_count = q->type == LIVEKIT__TRACK_TYPE__VIDEO ? i->n_codecs : 1;
    for (size_t k = 0; k < SFU_CODINGS_MAX; k++)
        t->codings[k].told = -1;
    return i->codecs ? LK_OK : LK_ERR_NOMEM;
}

/* q lives in the track's arena. */
static lk_err fill_info(lk_sfu_track *t, const Livekit__AddTrackRequest *q)
{
    lk_arena *a = &t->arena;
    Livekit__TrackInfo *i = t->info = lk_pbuf_new(&livekit__track_info__descriptor, a);
    if (!i || !(i->sid = sid_of(t->person->sfu, a, q)) || !(i->version = lk_pbuf_new(&livekit__timed_version__descriptor, a)) ||
        !(i->audio_features = lk_arena_alloc(a, FEATURES_MAX * sizeof *i->audio_features)) || fill_codecs(t, q) != LK_OK)
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

static bool is_sent(const lk_sfu_track *t)
{
    for (size_t k = 0; k < t->coding_count; k++)
        if (t->codings[k].up)
            return true;
    return false;
}

static uint32_t pending(const lk_sfu_person *p)
{
    uint32_t n = 0;
    LK_LIST_EACH(&p->tracks, it)
        n += !is_sent(LK_CONTAINER(it, lk_sfu_track, link));
    return n;
}

static void bind_up(lk_sfu_track *t, lk_sfu_coding *c, lk_up *up);

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

static void send_track_published(lk_sfu_person *p, lk_sfu_track *t, char *cid)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__TrackPublishedResponse r = LIVEKIT__TRACK_PUBLISHED_RESPONSE__INIT;
    r.cid = cid;
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

/* A description may have come before the announcement. */
static void bind_loose(lk_sfu_person *p, lk_sfu_track *t, lk_sfu_coding *c, const char *cid)
{
    LK_LIST_EACH(&p->loose, it) {
        lk_sfu_loose *l = LK_CONTAINER(it, lk_sfu_loose, link);
        if (strcmp(lk_up_cid(l->up), cid) != 0)
            continue;
        lk_up *up = l->up;
        lk_list_remove(&p->loose, &l->link);
        lk_release(p->sfu->env, l, sizeof *l);
        bind_up(t, c, up);
        return;
    }
}

/* The client is about to send a track it announced in this codec too. */
static void add_codec(lk_sfu_person *p, const Livekit__AddTrackRequest *q)
{
    lk_sfu_track *t = lk_sfu_track_of(p, q->sid);
    const Livekit__SimulcastCodec *c = q->n_simulcast_codecs ? q->simulcast_codecs[0] : NULL;
    char *cid = c && c->cid && *c->cid ? c->cid : q->cid;
    size_t k = t && c ? place_of(t->info, c->codec) : 0;
    if (!t) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND, "track not found");
        return;
    }
    if (!cid || !*cid || strlen(cid) > SFU_CID_MAX) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_REQUEST, "cid is empty or too long");
        return;
    }
    if (!c || k >= t->coding_count || t->codings[k].up) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE, "the track was not announced with this codec, or is sent in it already");
        return;
    }
    Livekit__SimulcastCodecInfo *i = t->info->codecs[k], before = *i;
    i->cid = lk_pbuf_strdup(&t->arena, lk_str_of(cid));
    i->sdp_cid = NULL;
    if (!i->cid || (c->n_layers && !copy_layers(&t->arena, i, c->layers, c->n_layers)) || tell_wish(p, t) != LK_OK) {
        *i = before;
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "request is too large");
        return;
    }
    t->codings[k].ended = false;
    send_track_published(p, t, text_or_none(q->cid));
    bind_loose(p, t, &t->codings[k], cid);
}

void lk_sfu_add_track(lk_sfu_person *p, const Livekit__AddTrackRequest *q)
{
    lk_sfu_track *t = NULL;
    const lk_sfu_limits *limits = &p->sfu->config.limits;
    if (!lk_sfu_may_publish(p, (int)q->source)) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED, "does not have permission to publish");
    } else if (q->type != LIVEKIT__TRACK_TYPE__AUDIO && q->type != LIVEKIT__TRACK_TYPE__VIDEO) {
        refuse_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE, "unsupported track type");
    } else if (q->sid && *q->sid) {
        add_codec(p, q);
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
        send_track_published(p, t, t->cid);
        bind_loose(p, t, &t->codings[0], t->cid);
    }
}

/* ---- what descriptions bring ---------------------------------------------------------------------------------------------------- */

static void fill_layers(lk_sfu_track *t, const lk_up *up, Livekit__SimulcastCodecInfo *i)
{
    lk_up_layer layers[LK_UP_LAYERS_MAX];
    size_t n = lk_up_layers(up, layers);
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

static void fill_coding(lk_sfu_track *t, const lk_sfu_coding *c)
{
    size_t at = lk_sfu_coding_at(t, c);
    Livekit__SimulcastCodecInfo *i = t->info->codecs[at];
    const char *mid = lk_up_mid(c->up), *mime = lk_up_mime(c->up);
    if (!i->mid || strcmp(i->mid, mid) != 0)
        i->mid = lk_pbuf_strdup(&t->arena, lk_str_of(mid));
    if (*mime && (!i->mime_type || strcmp(i->mime_type, mime) != 0))
        i->mime_type = lk_pbuf_strdup(&t->arena, lk_str_of(mime));
    if (t->info->type == LIVEKIT__TRACK_TYPE__VIDEO)
        fill_layers(t, c->up, i);
    if (at == 0) { /* of clients that know one codec */
        t->info->mid = i->mid;
        t->info->mime_type = i->mime_type;
    }
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

static void tell_sizes(const Livekit__SimulcastCodecInfo *i, lk_up *up)
{
    uint16_t sizes[LK_UP_LAYERS_MAX][2];
    size_t n = LK_MIN(i->n_layers, (size_t)LK_UP_LAYERS_MAX);
    for (size_t k = 0; k < n; k++) {
        sizes[k][0] = (uint16_t)LK_MIN(i->layers[k]->width, (uint32_t)UINT16_MAX);
        sizes[k][1] = (uint16_t)LK_MIN(i->layers[k]->height, (uint32_t)UINT16_MAX);
        for (int d = 0; k > 0 && d < 2; d++) /* whatever a client says, a better layer is not smaller */
            sizes[k][d] = LK_MAX(sizes[k][d], sizes[k - 1][d]);
    }
    lk_up_set_sizes(up, (const uint16_t(*)[2])sizes, n);
}

/* Layers ascending: clients list them in either direction. */
static void sort_layers(Livekit__SimulcastCodecInfo *i)
{
    for (size_t k = 1; k < i->n_layers; k++)
        for (size_t m = k; m > 0 && i->layers[m - 1]->quality > i->layers[m]->quality; m--) {
            Livekit__VideoLayer *swap = i->layers[m];
            i->layers[m] = i->layers[m - 1];
            i->layers[m - 1] = swap;
        }
}

static void go_live(lk_sfu_track *t, lk_sfu_coding *c)
{
    bool first = !c->live;
    fill_coding(t, c);
    c->live = true;
    publish(t);
    if (first)
        lk_sfu_coding_live(t);
}

static void bind_up(lk_sfu_track *t, lk_sfu_coding *c, lk_up *up)
{
    Livekit__SimulcastCodecInfo *i = t->info->codecs[lk_sfu_coding_at(t, c)];
    c->up = up;
    c->ended = false;
    lk_up_set_user(up, t);
    if (strcmp(lk_up_cid(up), i->cid) != 0 && !i->sdp_cid)
        i->sdp_cid = lk_pbuf_strdup(&t->arena, lk_str_of(lk_up_cid(up)));
    sort_layers(i);
    tell_sizes(i, up);
    lk_up_set_muted(up, t->person->sfu->now, t->info->muted);
    if (lk_up_live(up)) {
        go_live(t, c);
        return;
    }
    fill_coding(t, c);
    if (t->info->type == LIVEKIT__TRACK_TYPE__AUDIO)
        publish(t);
}

/* Where that section belongs: announced under its name; else the first of its kind that is announced and not sent. */
static lk_sfu_coding *coding_for(lk_sfu_person *p, const lk_up *up, lk_sfu_track **track)
{
    const char *cid = lk_up_cid(up);
    Livekit__TrackType type = lk_up_kind(up) == LK_MEDIA_KIND_VIDEO ? LIVEKIT__TRACK_TYPE__VIDEO : LIVEKIT__TRACK_TYPE__AUDIO;
    lk_sfu_coding *other = NULL;
    LK_LIST_EACH(&p->tracks, it) {
        lk_sfu_track *t = LK_CONTAINER(it, lk_sfu_track, link);
        for (size_t k = 0; k < t->coding_count && t->info->type == type; k++) {
            lk_sfu_coding *c = &t->codings[k];
            const char *own = t->info->codecs[k]->cid;
            bool named = strcmp(own, cid) == 0 || (k == 0 && strcmp(t->cid, cid) == 0);
            if (c->up || (!named && (other || c->ended || (k > 0 && !*own)))) /* a second codec is announced once it has a name */
                continue;
            *track = t;
            other = c;
            if (named)
                return c;
        }
    }
    return other;
}

void lk_sfu_up_found(lk_sfu_person *p, lk_up *up)
{
    lk_sfu *s = p->sfu;
    lk_sfu_track *t = NULL;
    lk_sfu_coding *c = coding_for(p, up, &t);
    if (c) {
        bind_up(t, c, up);
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
    bool known = t->published;
    go_live(t, lk_sfu_coding_of(t, up));
    if (known)
        lk_sfu_person_changed(p);
}

void lk_sfu_up_ended(lk_sfu_person *p, lk_up *up)
{
    lk_sfu_track *t = lk_up_user(up);
    if (t) {
        bool others = false;
        for (size_t k = 0; k < t->coding_count; k++)
            others |= t->codings[k].up && t->codings[k].up != up;
        if (others)
            lk_sfu_coding_ended(t, lk_sfu_coding_of(t, up));
        else
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
    for (size_t k = 0; k < t->coding_count; k++)
        if (t->codings[k].up)
            lk_up_set_muted(t->codings[k].up, p->sfu->now, muted);
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
    for (size_t k = 0; k < t->coding_count; k++)
        lk_up_free(t->codings[k].up);
    lk_list_remove(&p->tracks, &t->link);
    char cid[SFU_CID_MAX + 1];
    memcpy(cid, t->cid, sizeof cid);
    lk_arena_deinit(&t->arena);
    lk_release(s->env, t, sizeof *t);
    if (p->state != LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED)
        next_queued(p, cid);
}
