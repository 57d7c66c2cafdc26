// SPDX-License-Identifier: Apache-2.0
/* Events of the runtime as FfiEvents, on its callback thread, one after the other. */
#include <stdlib.h>

#include "ffi/ffi.h"
#include "livekit/stats.h"

/* ---- operations ---------------------------------------------------------------------------------------------- */

ffi_op *ffi_op_new(ffi_call *c, uint32_t event, uint32_t error_number, bool has, uint64_t given)
{
    LK_UNUSED(c);
    ffi_op *op = (ffi_op *)calloc(1, sizeof *op);
    if (op)
        *op = (ffi_op){.event = event, .error_number = error_number, .async_id = has ? given : ffi_next_id()};
    return op;
}

void ffi_op_free(ffi_op *op)
{
    if (op)
        lk_room_unref(op->room);
    free(op);
}

/* In line with the events of the queue: the answer of the request comes first, and the order is one. */
static lk_err post(lk_runtime *rt, ffi_op *op)
{
    lk_err err = lk_post_event(rt, 0, op);
    if (err != LK_OK)
        ffi_op_free(op);
    return err;
}

void ffi_op_begun(ffi_call *c, ffi_op *op, lk_err err, const char *text)
{
    if (err == LK_OK)
        return;
    op->error.code = err;
    (void)lk_str_copy(op->error.text, sizeof op->error.text, lk_str_of(text ? text : lk_err_text(err)));
    err = post(c->rt, op);
    if (err != LK_OK)
        c->unanswerable = !ffi_reject_err(c, err);
}

void ffi_log(lk_runtime *rt, lk_log_level level, const char *text, const char *more)
{
    ffi_op *op = (ffi_op *)calloc(1, sizeof *op);
    if (!op)
        return;
    op->is_log = true;
    op->level = level;
    size_t n = strlen(text);
    (void)lk_str_copy(op->error.text, sizeof op->error.text, lk_str_of(text));
    if (n < sizeof op->error.text)
        (void)lk_str_copy(op->error.text + n, sizeof op->error.text - n, lk_str_of(more));
    (void)post(rt, op); /* a record that nobody can be told is lost */
}

/* ---- logs ---------------------------------------------------------------------------------------------------------- */

static void deliver_log(lk_log_level level, const char *target, const char *text)
{
    ffi_build b;
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    if (!ffi_captures_logs())
        return;
    ffi_build_init(&b);
    Livekit__Proto__LogBatch *batch = NEW(&b, log_batch);
    Livekit__Proto__LogRecord *record = NEW(&b, log_record);
    record->level = (Livekit__Proto__LogLevel)level;
    record->target = TEXT(target);
    record->message = TEXT(text);
    batch->n_records = 1;
    batch->records = &record;
    event.message_case = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_LOGS;
    event.logs = batch;
    ffi_deliver(&b, &event);
    ffi_build_deinit(&b);
}

/* ---- callbacks -------------------------------------------------------------------------------------------------------- */

static Livekit__Proto__ConnectCallback__Result *connect_result(ffi_build *b, const lk_event *e)
{
    Livekit__Proto__ConnectCallback__Result *r = NEW(b, connect_callback__result);
    uint64_t room = (uint64_t)(uintptr_t)lk_room_user_data(e->room);
    r->room = NEW(b, owned_room);
    if (ffi_handle_put(room, FFI_ROOM, lk_room_ref(e->room), 0) != LK_OK)
        room = 0;
    r->room->handle = ffi_owned(b, room);
    r->room->info = ffi_room_info(b, e->room_info);
    r->local_participant = ffi_own_participant(b, e->participant, e->participant_info);
    r->participants = (Livekit__Proto__ConnectCallback__ParticipantWithTracks **)ffi_alloc(b, e->member_count * sizeof(void *));
    for (size_t i = 0; i < e->member_count && !b->bad; i++) {
        const lk_event_member *m = &e->members[i];
        Livekit__Proto__ConnectCallback__ParticipantWithTracks *p = NEW(b, connect_callback__participant_with_tracks);
        p->participant = ffi_own_participant(b, m->participant, m->info);
        p->publications = (Livekit__Proto__OwnedTrackPublication **)ffi_alloc(b, m->publication_count * sizeof(void *));
        for (size_t k = 0; k < m->publication_count && !b->bad; k++)
            p->publications[p->n_publications++] =
                ffi_own_publication(b, m->publications[k].publication, m->publications[k].info);
        if (!b->bad)
            r->participants[r->n_participants++] = p;
    }
    return r;
}

/* Fills what a successful operation gives. */
static void fill_result(ffi_build *b, Livekit__Proto__FfiEvent *event, const lk_event *e)
{
    switch (event->message_case) {
    case LIVEKIT__PROTO__FFI_EVENT__MESSAGE_CONNECT:
        event->connect->message_case = LIVEKIT__PROTO__CONNECT_CALLBACK__MESSAGE_RESULT;
        event->connect->result = connect_result(b, e);
        break;
    case LIVEKIT__PROTO__FFI_EVENT__MESSAGE_PUBLISH_TRACK:
        event->publish_track->message_case = LIVEKIT__PROTO__PUBLISH_TRACK_CALLBACK__MESSAGE_PUBLICATION;
        event->publish_track->publication = ffi_own_publication(b, e->publication, e->publication_info);
        break;
    case LIVEKIT__PROTO__FFI_EVENT__MESSAGE_GET_STATS:
        event->get_stats->n_stats = ffi_stats(b, e->stats, e->stats_count, &event->get_stats->stats);
        break;
    case LIVEKIT__PROTO__FFI_EVENT__MESSAGE_GET_SESSION_STATS: {
        Livekit__Proto__GetSessionStatsCallback__Result *r = NEW(b, get_session_stats_callback__result);
        r->n_publisher_stats = ffi_stats(b, e->stats, e->stats_count, &r->publisher_stats);
        r->n_subscriber_stats = ffi_stats(b, e->subscriber_stats, e->subscriber_stats_count, &r->subscriber_stats);
        event->get_session_stats->message_case = LIVEKIT__PROTO__GET_SESSION_STATS_CALLBACK__MESSAGE_RESULT;
        event->get_session_stats->result = r;
        break;
    }
    default: break;
    }
}

static void finish(ffi_op *op, const lk_event *e, const lk_error *error)
{
    ffi_build b;
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    ffi_build_init(&b);
    ProtobufCMessage *m = ffi_set_message(&b, &event.base, op->event);
    ffi_set_u64(m, 1, op->async_id);
    if (error->code != LK_OK && op->error_number)
        ffi_set_error(&b, m, op->error_number, error->text[0] ? error->text : lk_err_text(error->code));
    else if (error->code == LK_OK)
        fill_result(&b, &event, e);
    ffi_deliver(&b, &event);
    ffi_build_deinit(&b);
    ffi_op_free(op);
}

/* ---- audio streams ------------------------------------------------------------------------------------------------------- */

static void deliver_stream(const lk_event *e)
{
    ffi_build b;
    uint64_t id = (uint64_t)(uintptr_t)e->user_data;
    bool end = e->type == LK_EVENT_AUDIO_STREAM_END;
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    if (!end && !ffi_handle_heard(id))
        return; /* dropped meanwhile: nobody would free the frame */
    ffi_build_init(&b);
    Livekit__Proto__AudioStreamEvent *m = NEW(&b, audio_stream_event);
    m->stream_handle = id;
    if (end) {
        m->message_case = LIVEKIT__PROTO__AUDIO_STREAM_EVENT__MESSAGE_EOS;
        m->eos = NEW(&b, audio_stream_eos);
    } else {
        m->message_case = LIVEKIT__PROTO__AUDIO_STREAM_EVENT__MESSAGE_FRAME_RECEIVED;
        m->frame_received = NEW(&b, audio_frame_received);
        m->frame_received->frame = ffi_own_frame(&b, lk_audio_frame_keep(e->frame));
    }
    event.message_case = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_AUDIO_STREAM_EVENT;
    event.audio_stream_event = m;
    ffi_deliver(&b, &event);
    ffi_build_deinit(&b);
    if (end)
        ffi_handle_ended(id);
}

/* ---- video streams ------------------------------------------------------------------------------------------------------- */

static void deliver_video(const lk_event *e)
{
    ffi_build b;
    uint64_t id = (uint64_t)(uintptr_t)e->user_data;
    bool end = e->type == LK_EVENT_VIDEO_STREAM_END;
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    if (!end && !ffi_handle_heard(id))
        return; /* dropped meanwhile: nobody would free the frame */
    ffi_build_init(&b);
    Livekit__Proto__VideoStreamEvent *m = NEW(&b, video_stream_event);
    m->stream_handle = id;
    if (end) {
        m->message_case = LIVEKIT__PROTO__VIDEO_STREAM_EVENT__MESSAGE_EOS;
        m->eos = NEW(&b, video_stream_eos);
    } else {
        lk_video_view v = lk_video_frame_view(e->video_frame);
        m->message_case = LIVEKIT__PROTO__VIDEO_STREAM_EVENT__MESSAGE_FRAME_RECEIVED;
        m->frame_received = NEW(&b, video_frame_received);
        m->frame_received->buffer = ffi_own_picture(&b, lk_video_frame_keep(e->video_frame));
        m->frame_received->timestamp_us = v.timestamp_usec;
        m->frame_received->rotation = (Livekit__Proto__VideoRotation)v.rotation;
    }
    event.message_case = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_VIDEO_STREAM_EVENT;
    event.video_stream_event = m;
    ffi_deliver(&b, &event);
    ffi_build_deinit(&b);
    if (end)
        ffi_handle_ended(id);
}

/* ---- room events ------------------------------------------------------------------------------------------------------------- */

static Livekit__Proto__AttributesEntry **attributes(ffi_build *b, const lk_attribute *from, size_t count, size_t *n)
{
    Livekit__Proto__AttributesEntry **list = (Livekit__Proto__AttributesEntry **)ffi_alloc(b, count * sizeof(void *));
    for (*n = 0; *n < count && !b->bad; (*n)++) {
        Livekit__Proto__AttributesEntry *a = NEW(b, attributes_entry);
        a->key = TEXT(from[*n].key);
        a->value = TEXT(from[*n].value);
        list[*n] = a;
    }
    return list;
}

static void fill_members(ffi_build *b, Livekit__Proto__RoomEvent *m, const lk_event *e)
{
    if (e->type == LK_EVENT_ACTIVE_SPEAKERS) {
        m->active_speakers_changed->participant_identities = (char **)ffi_alloc(b, e->member_count * sizeof(char *));
        for (size_t i = 0; i < e->member_count && !b->bad; i++)
            m->active_speakers_changed->participant_identities[i] = TEXT(e->members[i].info->identity);
        m->active_speakers_changed->n_participant_identities = b->bad ? 0 : e->member_count;
        return;
    }
    m->participants_updated->participants = (Livekit__Proto__ParticipantInfo **)ffi_alloc(b, e->member_count * sizeof(void *));
    for (size_t i = 0; i < e->member_count && !b->bad; i++)
        m->participants_updated->participants[i] = ffi_participant_info(b, e->members[i].info);
    m->participants_updated->n_participants = b->bad ? 0 : e->member_count;
}

/* A copy that lives as long as its handle. */
static Livekit__Proto__OwnedBuffer *own_bytes(ffi_build *b, const uint8_t *data, size_t len)
{
    Livekit__Proto__OwnedBuffer *o = NEW(b, owned_buffer);
    uint8_t *copy = (uint8_t *)malloc(len ? len : 1);
    if (!copy)
        b->bad = true;
    else if (len)
        memcpy(copy, data, len);
    o->data = NEW(b, buffer_info);
    o->data->data_ptr = (uint64_t)(uintptr_t)copy;
    o->data->data_len = len;
    o->handle = ffi_owned(b, copy ? ffi_handle_new(FFI_BUFFER, copy, 0) : 0);
    return o;
}

/* The kind of room event and what fills it. 0: none. */
static bool fill_room_event(ffi_build *b, Livekit__Proto__RoomEvent *m, const lk_event *e)
{
    const char *who = e->participant_info ? e->participant_info->identity : "";
    const char *sid = e->publication_info ? e->publication_info->sid : "";
#define KIND(NAME, member, lower)                                          \
    m->message_case = LIVEKIT__PROTO__ROOM_EVENT__MESSAGE_##NAME;          \
    m->member = NEW(b, lower)
    switch (e->type) {
    case LK_EVENT_CONNECTION_STATE:
        KIND(CONNECTION_STATE_CHANGED, connection_state_changed, connection_state_changed);
        m->connection_state_changed->state = (Livekit__Proto__ConnectionState)e->state;
        return true;
    case LK_EVENT_RECONNECTING: KIND(RECONNECTING, reconnecting, reconnecting); return true;
    case LK_EVENT_RECONNECTED: KIND(RECONNECTED, reconnected, reconnected); return true;
    case LK_EVENT_DISCONNECTED:
        KIND(DISCONNECTED, disconnected, disconnected);
        m->disconnected->reason = (Livekit__Proto__DisconnectReason)e->reason;
        return true;
    case LK_EVENT_ROOM_CLOSED: KIND(EOS, eos, room_eos); return true;
    case LK_EVENT_ROOM_SID:
        KIND(ROOM_SID_CHANGED, room_sid_changed, room_sid_changed);
        m->room_sid_changed->sid = TEXT(e->text);
        return true;
    case LK_EVENT_ROOM_METADATA:
        KIND(ROOM_METADATA_CHANGED, room_metadata_changed, room_metadata_changed);
        m->room_metadata_changed->metadata = TEXT(e->text);
        return true;
    case LK_EVENT_ROOM_UPDATED:
        m->message_case = LIVEKIT__PROTO__ROOM_EVENT__MESSAGE_ROOM_UPDATED;
        m->room_updated = ffi_room_info(b, e->room_info);
        return true;
    case LK_EVENT_ROOM_MOVED:
        m->message_case = LIVEKIT__PROTO__ROOM_EVENT__MESSAGE_MOVED;
        m->moved = ffi_room_info(b, e->room_info);
        return true;
    case LK_EVENT_TOKEN_REFRESHED:
        KIND(TOKEN_REFRESHED, token_refreshed, token_refreshed);
        m->token_refreshed->token = TEXT(e->text);
        return true;
    case LK_EVENT_PARTICIPANT_CONNECTED:
        KIND(PARTICIPANT_CONNECTED, participant_connected, participant_connected);
        m->participant_connected->info = ffi_own_participant(b, e->participant, e->participant_info);
        return true;
    case LK_EVENT_PARTICIPANT_ACTIVE:
        KIND(PARTICIPANT_ACTIVE, participant_active, participant_active);
        m->participant_active->participant_identity = TEXT(who);
        return true;
    case LK_EVENT_PARTICIPANT_DISCONNECTED:
        KIND(PARTICIPANT_DISCONNECTED, participant_disconnected, participant_disconnected);
        m->participant_disconnected->participant_identity = TEXT(who);
        m->participant_disconnected->disconnect_reason = (Livekit__Proto__DisconnectReason)e->reason;
        return true;
    case LK_EVENT_PARTICIPANT_METADATA:
        KIND(PARTICIPANT_METADATA_CHANGED, participant_metadata_changed, participant_metadata_changed);
        m->participant_metadata_changed->participant_identity = TEXT(who);
        m->participant_metadata_changed->metadata = TEXT(e->text);
        return true;
    case LK_EVENT_PARTICIPANT_NAME:
        KIND(PARTICIPANT_NAME_CHANGED, participant_name_changed, participant_name_changed);
        m->participant_name_changed->participant_identity = TEXT(who);
        m->participant_name_changed->name = TEXT(e->text);
        return true;
    case LK_EVENT_PARTICIPANT_ATTRIBUTES:
        KIND(PARTICIPANT_ATTRIBUTES_CHANGED, participant_attributes_changed, participant_attributes_changed);
        m->participant_attributes_changed->participant_identity = TEXT(who);
        m->participant_attributes_changed->attributes =
            attributes(b, e->participant_info->attributes, e->participant_info->attribute_count,
                       &m->participant_attributes_changed->n_attributes);
        m->participant_attributes_changed->changed_attributes =
            attributes(b, e->attributes, e->attribute_count, &m->participant_attributes_changed->n_changed_attributes);
        return true;
    case LK_EVENT_PARTICIPANT_PERMISSION:
        KIND(PARTICIPANT_PERMISSION_CHANGED, participant_permission_changed, participant_permission_changed);
        m->participant_permission_changed->participant_identity = TEXT(who);
        m->participant_permission_changed->permission = ffi_permission(b, &e->participant_info->permission);
        return true;
    case LK_EVENT_PARTICIPANT_ENCRYPTION:
        KIND(PARTICIPANT_ENCRYPTION_STATUS_CHANGED, participant_encryption_status_changed, participant_encryption_status_changed);
        m->participant_encryption_status_changed->participant_identity = TEXT(who);
        m->participant_encryption_status_changed->is_encrypted = e->flag;
        return true;
    case LK_EVENT_PARTICIPANTS_UPDATED:
        KIND(PARTICIPANTS_UPDATED, participants_updated, participants_updated);
        fill_members(b, m, e);
        return true;
    case LK_EVENT_ACTIVE_SPEAKERS:
        KIND(ACTIVE_SPEAKERS_CHANGED, active_speakers_changed, active_speakers_changed);
        fill_members(b, m, e);
        return true;
    case LK_EVENT_CONNECTION_QUALITY:
        KIND(CONNECTION_QUALITY_CHANGED, connection_quality_changed, connection_quality_changed);
        m->connection_quality_changed->participant_identity = TEXT(who);
        m->connection_quality_changed->quality = (Livekit__Proto__ConnectionQuality)e->quality;
        return true;
    case LK_EVENT_LOCAL_TRACK_PUBLISHED:
        KIND(LOCAL_TRACK_PUBLISHED, local_track_published, local_track_published);
        m->local_track_published->track_sid = TEXT(sid);
        return true;
    case LK_EVENT_LOCAL_TRACK_UNPUBLISHED:
        KIND(LOCAL_TRACK_UNPUBLISHED, local_track_unpublished, local_track_unpublished);
        m->local_track_unpublished->publication_sid = TEXT(sid);
        return true;
    case LK_EVENT_LOCAL_TRACK_SUBSCRIBED:
        KIND(LOCAL_TRACK_SUBSCRIBED, local_track_subscribed, local_track_subscribed);
        m->local_track_subscribed->track_sid = TEXT(sid);
        return true;
    case LK_EVENT_LOCAL_TRACK_REPUBLISHED:
        KIND(LOCAL_TRACK_REPUBLISHED, local_track_republished, local_track_republished);
        /* The handle stays: no client takes a new one over. */
        m->local_track_republished->publication_handle = ffi_handle_find(FFI_PUBLICATION, e->publication);
        m->local_track_republished->previous_sid = TEXT(e->text);
        m->local_track_republished->info = ffi_publication_info(b, e->publication_info);
        return true;
    case LK_EVENT_TRACK_PUBLISHED:
        KIND(TRACK_PUBLISHED, track_published, track_published);
        m->track_published->participant_identity = TEXT(who);
        m->track_published->publication = ffi_own_publication(b, e->publication, e->publication_info);
        return true;
    case LK_EVENT_TRACK_UNPUBLISHED:
        KIND(TRACK_UNPUBLISHED, track_unpublished, track_unpublished);
        m->track_unpublished->participant_identity = TEXT(who);
        m->track_unpublished->publication_sid = TEXT(sid);
        return true;
    case LK_EVENT_TRACK_SUBSCRIBED:
        KIND(TRACK_SUBSCRIBED, track_subscribed, track_subscribed);
        m->track_subscribed->participant_identity = TEXT(who);
        m->track_subscribed->track = ffi_own_track(b, e->track, e->track_info);
        return true;
    case LK_EVENT_TRACK_UNSUBSCRIBED:
        KIND(TRACK_UNSUBSCRIBED, track_unsubscribed, track_unsubscribed);
        m->track_unsubscribed->participant_identity = TEXT(who);
        m->track_unsubscribed->track_sid = TEXT(sid);
        return true;
    case LK_EVENT_TRACK_SUBSCRIPTION_FAILED:
        KIND(TRACK_SUBSCRIPTION_FAILED, track_subscription_failed, track_subscription_failed);
        m->track_subscription_failed->participant_identity = TEXT(who);
        m->track_subscription_failed->track_sid = TEXT(e->text);
        m->track_subscription_failed->error = TEXT(e->error.text);
        return true;
    case LK_EVENT_DATA:
        KIND(DATA_PACKET_RECEIVED, data_packet_received, data_packet_received);
        m->data_packet_received->kind = e->reliable ? LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_RELIABLE
                                                    : LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_LOSSY;
        m->data_packet_received->participant_identity = TEXT(who);
        m->data_packet_received->value_case = LIVEKIT__PROTO__DATA_PACKET_RECEIVED__VALUE_USER;
        m->data_packet_received->user = NEW(b, user_packet);
        m->data_packet_received->user->data = own_bytes(b, e->data, e->data_len);
        m->data_packet_received->user->topic = e->flag ? TEXT(e->text) : NULL;
        return true;
    case LK_EVENT_DTMF:
        KIND(DATA_PACKET_RECEIVED, data_packet_received, data_packet_received);
        m->data_packet_received->kind = LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_RELIABLE;
        m->data_packet_received->participant_identity = TEXT(who);
        m->data_packet_received->value_case = LIVEKIT__PROTO__DATA_PACKET_RECEIVED__VALUE_SIP_DTMF;
        m->data_packet_received->sip_dtmf = NEW(b, sip_dtmf);
        m->data_packet_received->sip_dtmf->code = (uint32_t)e->user_value;
        m->data_packet_received->sip_dtmf->digit = TEXT(e->text);
        return true;
    case LK_EVENT_DATA_THRESHOLD:
        KIND(DATA_CHANNEL_LOW_THRESHOLD_CHANGED, data_channel_low_threshold_changed,
             data_channel_buffered_amount_low_threshold_changed);
        m->data_channel_low_threshold_changed->kind = e->reliable ? LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_RELIABLE
                                                                  : LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_LOSSY;
        m->data_channel_low_threshold_changed->threshold = e->user_value;
        return true;
    case LK_EVENT_TRACK_MUTED:
        KIND(TRACK_MUTED, track_muted, track_muted);
        m->track_muted->participant_identity = TEXT(who);
        m->track_muted->track_sid = TEXT(sid);
        return true;
    case LK_EVENT_TRACK_UNMUTED:
        KIND(TRACK_UNMUTED, track_unmuted, track_unmuted);
        m->track_unmuted->participant_identity = TEXT(who);
        m->track_unmuted->track_sid = TEXT(sid);
        return true;
    default: return false;
    }
#undef KIND
}

static void deliver_room_event(const lk_event *e)
{
    ffi_build b;
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    uint64_t room = (uint64_t)(uintptr_t)lk_room_user_data(e->room);
    bool closed = e->type == LK_EVENT_ROOM_CLOSED;
    ffi_build_init(&b);
    Livekit__Proto__RoomEvent *m = NEW(&b, room_event);
    m->room_handle = room;
    event.message_case = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_ROOM_EVENT;
    event.room_event = m;
    /* A dropped room tells only its end. */
    if ((closed || ffi_handle_heard(room)) && fill_room_event(&b, m, e))
        ffi_deliver(&b, &event);
    ffi_build_deinit(&b);
    if (closed)
        ffi_handle_ended(room);
}

void ffi_on_event(void *ctx, const lk_event *e)
{
    LK_UNUSED(ctx);
    ffi_op *op = (ffi_op *)e->user_data;
    switch (e->type) {
    case LK_EVENT_OP_DONE:
        if (op)
            finish(op, e, &e->error);
        break;
    case LK_EVENT_USER: {
        if (op->is_log) {
            deliver_log(op->level, "livekit_ffi", op->error.text);
            ffi_op_free(op);
            break;
        }
        lk_error why = op->error;
        finish(op, e, &why);
        break;
    }
    case LK_EVENT_LOG: deliver_log(e->level, e->target, e->text); break;
    case LK_EVENT_AUDIO_FRAME:
    case LK_EVENT_AUDIO_STREAM_END: deliver_stream(e); break;
    case LK_EVENT_VIDEO_FRAME:
    case LK_EVENT_VIDEO_STREAM_END: deliver_video(e); break;
    default:
        if (e->room)
            deliver_room_event(e);
        break;
    }
}
