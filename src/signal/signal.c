// SPDX-License-Identifier: Apache-2.0
#include "signal/signal.h"

typedef struct block {
    uint8_t *data;
    size_t len;
} block;

typedef struct request {
    lk_link link;
    uint64_t tag;
    lk_usec deadline;
    uint32_t id;   /* of update_metadata; 0 for add_track */
    char cid[64];  /* of add_track */
} request;

#define EVENTS_MAX (LK_SIGNAL_REQUESTS_MAX + 8)

static void set_error(lk_error *e, lk_err code, const char *const parts[4])
{
    size_t at = 0;
    e->code = code;
    for (size_t i = 0; i < 4; i++)
        for (const char *p = parts[i]; p && *p && at + 1 < sizeof e->text; p++)
            e->text[at++] = *p;
    e->text[at] = 0;
}

void lk_signal_init(lk_signal *s, const lk_env *env)
{
    memset(s, 0, sizeof *s);
    s->env = env;
    s->ping_due = s->silence_due = LK_NEVER;
    s->next_request_id = 1;
    lk_arena_init(&s->in, env, LK_PBUF_BUDGET(LK_SIGNAL_MESSAGE_MAX));
    lk_queue_init(&s->tx, env, sizeof(block), LK_SIGNAL_TX_MAX);
    lk_queue_init(&s->events, env, sizeof(lk_signal_event), EVENTS_MAX);
    lk_list_init(&s->requests);
}

static void free_sent(lk_signal *s)
{
    lk_release(s->env, s->sent, s->sent_size);
    s->sent = NULL;
}

static void drop_request(lk_signal *s, request *r)
{
    lk_list_remove(&s->requests, &r->link);
    lk_release(s->env, r, sizeof *r);
}

void lk_signal_deinit(lk_signal *s)
{
    block b;
    free_sent(s);
    while (lk_queue_pop(&s->tx, &b))
        lk_release(s->env, b.data, b.len);
    LK_LIST_EACH(&s->requests, it)
        drop_request(s, LK_CONTAINER(it, request, link));
    lk_queue_deinit(&s->tx);
    lk_queue_deinit(&s->events);
    lk_arena_deinit(&s->in);
}

/* ---- sending --------------------------------------------------------------------------------------- */

lk_err lk_signal_send(lk_signal *s, const Livekit__SignalRequest *message)
{
    size_t size = lk_pbuf_size(&message->base);
    block b = {(uint8_t *)lk_alloc(s->env, LK_MAX(size, (size_t)1)), size};
    free_sent(s);
    if (!b.data)
        return LK_ERR_NOMEM;
    lk_wr w = lk_wr_of(b.data, b.len);
    lk_pbuf_pack_into(&message->base, &w);
    lk_err err = lk_queue_push(&s->tx, &b);
    if (err)
        lk_release(s->env, b.data, b.len);
    return err;
}

bool lk_signal_poll_tx(lk_signal *s, lk_bytes *out)
{
    block b;
    free_sent(s);
    if (!lk_queue_pop(&s->tx, &b))
        return false;
    s->sent = b.data;
    s->sent_size = b.len;
    *out = (lk_bytes){b.data, b.len};
    return true;
}

/* ---- requests that wait ------------------------------------------------------------------------------ */

/* Room for the end of every waiting request is reserved when it is made: the queue never refuses one. */
static lk_err new_request(lk_signal *s, uint64_t tag, lk_usec deadline, request **out)
{
    if (s->requests.count >= LK_SIGNAL_REQUESTS_MAX)
        return LK_ERR_FULL;
    request *r = (request *)lk_alloc0(s->env, sizeof *r);
    if (!r)
        return LK_ERR_NOMEM;
    r->tag = tag;
    r->deadline = deadline;
    *out = r;
    return LK_OK;
}

lk_err lk_signal_add_track(lk_signal *s, lk_usec now, const lk_signal_track *track, uint64_t tag)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__AddTrackRequest add = LIVEKIT__ADD_TRACK_REQUEST__INIT;
    Livekit__AudioTrackFeature features[32];
    request *r;
    lk_err err = new_request(s, tag, now + LK_SIGNAL_ADD_TRACK_USEC, &r);
    if (err)
        return err;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK;
    message.add_track = &add;
    add.cid = (char *)track->cid;
    add.name = (char *)track->name;
    add.stream = (char *)track->stream;
    add.has_type = add.has_source = 1;
    add.type = track->kind == LK_MEDIA_KIND_VIDEO ? LIVEKIT__TRACK_TYPE__VIDEO : LIVEKIT__TRACK_TYPE__AUDIO;
    add.source = (Livekit__TrackSource)track->source;
    add.has_muted = add.muted = track->muted;
    add.has_disable_dtx = add.disable_dtx = track->disable_dtx;
    add.has_disable_red = add.disable_red = track->disable_red;
    add.has_stereo = add.stereo = track->stereo;
    add.audio_features = features;
    for (int bit = 0; bit < 32; bit++)
        if (track->audio_features >> bit & 1)
            features[add.n_audio_features++] = (Livekit__AudioTrackFeature)bit;
    Livekit__VideoLayer layer = LIVEKIT__VIDEO_LAYER__INIT, *layers[] = {&layer};
    if (track->kind == LK_MEDIA_KIND_VIDEO) {
        add.has_width = add.has_height = layer.has_width = layer.has_height = layer.has_bitrate = layer.has_quality = 1;
        add.width = layer.width = track->width;
        add.height = layer.height = track->height;
        layer.bitrate = track->bitrate_bps;
        layer.quality = LIVEKIT__VIDEO_QUALITY__HIGH;
        add.n_layers = 1;
        add.layers = layers;
    }
    err = lk_str_copy(r->cid, sizeof r->cid, lk_str_of(track->cid)) ? lk_signal_send(s, &message) : LK_ERR_INVALID;
    if (err)
        lk_release(s->env, r, sizeof *r);
    else
        lk_list_push(&s->requests, &r->link);
    return err;
}

static lk_err send_metadata(lk_signal *s, Livekit__UpdateParticipantMetadata *update, const lk_attribute *attributes,
                            size_t count)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    lk_arena arena;
    lk_err err = LK_OK;
    lk_arena_init(&arena, s->env, 1u << 20);
    if (count) {
        update->attributes = lk_arena_alloc(&arena, count * sizeof *update->attributes);
        err = update->attributes ? LK_OK : LK_ERR_NOMEM;
    }
    for (size_t i = 0; i < count && !err; i++) {
        Livekit__UpdateParticipantMetadata__AttributesEntry *entry =
            lk_pbuf_new(&livekit__update_participant_metadata__attributes_entry__descriptor, &arena);
        err = entry ? LK_OK : LK_ERR_NOMEM;
        if (entry) {
            entry->key = (char *)attributes[i].key;
            entry->value = (char *)attributes[i].value;
            update->attributes[update->n_attributes++] = entry;
        }
    }
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_METADATA;
    message.update_metadata = update;
    if (!err)
        err = lk_signal_send(s, &message);
    lk_arena_deinit(&arena);
    return err;
}

lk_err lk_signal_update_metadata(lk_signal *s, lk_usec now, const char *metadata, const char *name,
                                 const lk_attribute *attributes, size_t attribute_count, uint64_t tag)
{
    Livekit__UpdateParticipantMetadata update = LIVEKIT__UPDATE_PARTICIPANT_METADATA__INIT;
    request *r;
    lk_err err = new_request(s, tag, now + LK_SIGNAL_METADATA_USEC, &r);
    if (err)
        return err;
    r->id = s->next_request_id++;
    update.metadata = (char *)metadata;
    update.name = (char *)name;
    update.has_request_id = 1;
    update.request_id = r->id;
    err = send_metadata(s, &update, attributes, attribute_count);
    if (err)
        lk_release(s->env, r, sizeof *r);
    else
        lk_list_push(&s->requests, &r->link);
    return err;
}

bool lk_signal_forget(lk_signal *s, uint64_t tag)
{
    LK_LIST_EACH(&s->requests, it) {
        request *r = LK_CONTAINER(it, request, link);
        if (r->tag == tag) {
            drop_request(s, r);
            return true;
        }
    }
    return false;
}

static void finish(lk_signal *s, request *r, const lk_error *error, const Livekit__TrackInfo *track)
{
    lk_signal_event ev = {.kind = LK_SIGNAL_REQUEST_DONE, .tag = r->tag, .error = *error, .track = track};
    if (lk_queue_push(&s->events, &ev) == LK_OK)
        drop_request(s, r);
    else
        r->deadline = 0; /* memory was refused: the next tick tries again, then as a timeout */
}

static request *find_cid(lk_signal *s, const char *cid)
{
    LK_LIST_EACH(&s->requests, it) {
        request *r = LK_CONTAINER(it, request, link);
        if (r->id == 0 && cid && strcmp(r->cid, cid) == 0)
            return r;
    }
    return NULL;
}

static request *find_id(lk_signal *s, uint32_t id)
{
    LK_LIST_EACH(&s->requests, it) {
        request *r = LK_CONTAINER(it, request, link);
        if (id && r->id == id)
            return r;
    }
    return NULL;
}

/* Names as the reference prints them. */
static const char *reason_name(Livekit__RequestResponse__Reason reason)
{
    static const char *const names[] = {"Ok",          "NotFound",        "NotAllowed",        "LimitExceeded",
                                        "Queued",      "UnsupportedType", "UnclassifiedError", "InvalidHandle",
                                        "InvalidName", "DuplicateHandle", "DuplicateName",     "InvalidRequest"};
    return (size_t)reason < LK_LEN(names) ? names[(size_t)reason] : "UnclassifiedError";
}

static lk_err reason_code(Livekit__RequestResponse__Reason reason)
{
    switch (reason) {
    case LIVEKIT__REQUEST_RESPONSE__REASON__OK: return LK_OK;
    case LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND: return LK_ERR_NOT_FOUND;
    case LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED: return LK_ERR_DENIED;
    case LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED: return LK_ERR_LIMIT;
    case LIVEKIT__REQUEST_RESPONSE__REASON__UNSUPPORTED_TYPE: return LK_ERR_UNSUPPORTED;
    case LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_NAME:
    case LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_REQUEST: return LK_ERR_INVALID;
    default: return LK_ERR_PROTOCOL;
    }
}

/* True when the message was the answer to a request of the table. */
static bool answer_request(lk_signal *s, const Livekit__RequestResponse *response)
{
    request *r = response->has_request_id ? find_id(s, response->request_id) : NULL;
    if (!r && response->request_case == LIVEKIT__REQUEST_RESPONSE__REQUEST_ADD_TRACK && response->add_track)
        r = find_cid(s, response->add_track->cid);
    if (!r)
        return false;
    if (response->reason == LIVEKIT__REQUEST_RESPONSE__REASON__QUEUED)
        return true; /* track_published comes when the old track of that cid is gone */
    lk_error error = {LK_OK, ""};
    if (response->reason != LIVEKIT__REQUEST_RESPONSE__REASON__OK) {
        bool said = response->message && *response->message;
        const char *parts[4] = {"request error: ", reason_name(response->reason), " - ",
                                said ? response->message : "the server says no more"};
        set_error(&error, reason_code(response->reason), parts);
    }
    finish(s, r, &error, NULL);
    return true;
}

void lk_signal_close(lk_signal *s, const lk_error *why)
{
    s->over = true;
    s->ping_due = s->silence_due = LK_NEVER;
    LK_LIST_EACH(&s->requests, it)
        finish(s, LK_CONTAINER(it, request, link), why, NULL);
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static void send_ping(lk_signal *s, lk_usec now)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__Ping ping = LIVEKIT__PING__INIT;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ;
    message.ping_req = &ping;
    ping.has_timestamp = ping.has_rtt = 1;
    ping.timestamp = s->ping_sent_msec = now / 1000;
    ping.rtt = s->rtt_msec;
    if (lk_signal_send(s, &message) != LK_OK)
        LK_LOG(s->env, LK_LOG_WARN, "signal.ping.refused", LK_I("waiting", s->tx.count));
    s->ping_due = now + s->ping_every_usec;
}

static void start_pings(lk_signal *s, lk_usec now, int64_t every_sec, int64_t silence_sec)
{
    s->ping_every_usec = every_sec > 0 ? LK_SEC(LK_CLAMP(every_sec, 1, 300)) : LK_SIGNAL_PING_USEC;
    s->silence_usec = silence_sec > 0 ? LK_SEC(LK_CLAMP(silence_sec, 2, 600)) : LK_SIGNAL_SILENCE_USEC;
    s->silence_due = now + s->silence_usec;
    send_ping(s, now);
}

void lk_signal_tick(lk_signal *s, lk_usec now)
{
    static const lk_error late = {LK_ERR_TIMEOUT, "engine: signal failure: request timeout"};
    static const lk_error no_track = {LK_ERR_TIMEOUT, "engine: internal error: track publication timed out, no "
                                                      "response received from the server"};
    free_sent(s);
    LK_LIST_EACH(&s->requests, it) {
        request *r = LK_CONTAINER(it, request, link);
        if (r->deadline <= now)
            finish(s, r, r->id ? &late : &no_track, NULL);
    }
    if (s->silence_due <= now) {
        lk_signal_event ev = {.kind = LK_SIGNAL_LOST};
        if (lk_queue_push(&s->events, &ev) == LK_OK) {
            s->over = true;
            s->ping_due = s->silence_due = LK_NEVER;
        }
    }
    if (s->ping_due <= now)
        send_ping(s, now);
}

lk_usec lk_signal_deadline(const lk_signal *s)
{
    lk_usec due = LK_MIN(s->ping_due, s->silence_due);
    LK_LIST_EACH(&s->requests, it)
        due = LK_MIN(due, LK_CONTAINER(it, request, link)->deadline);
    return due;
}

/* ---- receiving ----------------------------------------------------------------------------------------- */

void lk_signal_input(lk_signal *s, lk_usec now, lk_bytes bytes)
{
    Livekit__SignalResponse *message;
    lk_signal_event ev = {.kind = LK_SIGNAL_MESSAGE};
    free_sent(s);
    if (s->over)
        return;
    if (s->silence_due != LK_NEVER)
        s->silence_due = now + s->silence_usec;
    lk_err err = bytes.len > LK_SIGNAL_MESSAGE_MAX
                     ? LK_ERR_LIMIT
                     : lk_pbuf_unpack(&livekit__signal_response__descriptor, &s->in, bytes, (ProtobufCMessage **)&message);
    if (err) {
        s->garbage++;
        LK_LOG(s->env, LK_LOG_WARN, "signal.message.refused", LK_S("error", lk_err_name(err)), LK_I("bytes", bytes.len));
        return;
    }
    switch (message->message_case) {
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG: return;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP:
        if (message->pong_resp->last_ping_timestamp == s->ping_sent_msec)
            s->rtt_msec = LK_CLAMP(now / 1000 - s->ping_sent_msec, 0, 60000);
        return;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE:
        if (answer_request(s, message->request_response))
            return;
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRACK_PUBLISHED: {
        static const lk_error ok = {LK_OK, ""};
        request *r = find_cid(s, message->track_published->cid);
        if (r && message->track_published->track && message->track_published->track->sid) {
            finish(s, r, &ok, message->track_published->track);
            return;
        }
        break;
    }
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN:
        start_pings(s, now, message->join->ping_interval, message->join->ping_timeout);
        break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT: start_pings(s, now, 0, 0); break;
    case LIVEKIT__SIGNAL_RESPONSE__MESSAGE__NOT_SET: return; /* newer than us */
    default: break;
    }
    ev.message = message;
    if (lk_queue_push(&s->events, &ev) != LK_OK)
        LK_LOG(s->env, LK_LOG_ERROR, "signal.message.lost", LK_I("case", message->message_case));
}

bool lk_signal_poll_event(lk_signal *s, lk_signal_event *out)
{
    if (lk_queue_pop(&s->events, out))
        return true;
    lk_arena_deinit(&s->in);
    return false;
}
