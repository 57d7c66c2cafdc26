// SPDX-License-Identifier: Apache-2.0
/* Requests about rooms, participants, tracks and publications. */
#include <stdlib.h>

#include "ffi/ffi_calls.h"

#define EVENT(NAME) LIVEKIT__PROTO__FFI_EVENT__MESSAGE_##NAME

static const char closed[] = "engine: connection error: engine is closed";

/* ---- objects behind handles ------------------------------------------------------------------------------------ */

/* A counted room from its own handle or that of a participant of it. NULL: rejected. */
static lk_room *room_of(ffi_call *c, uint64_t handle, ffi_type type)
{
    lk_room *room = NULL;
    void *object = ffi_handle_get(c, handle, type);
    if (!object || type == FFI_ROOM)
        return (lk_room *)object;
    lk_err err = lk_participant_room(&room, (lk_participant *)object);
    ffi_object_unref(type, object);
    if (err)
        ffi_reject_err(c, err);
    return room;
}

static lk_op_options how(ffi_op *op)
{
    lk_op_options o;
    lk_op_options_init(&o);
    o.user_data = op;
    return o;
}

/* ---- connect ------------------------------------------------------------------------------------------------------- */

static lk_ice_transport transport_of(const Livekit__Proto__RtcConfig *from)
{
    if (!from || !from->has_ice_transport_type)
        return LK_ICE_TRANSPORT_ALL;
    switch ((int)from->ice_transport_type) {
    case LIVEKIT__PROTO__ICE_TRANSPORT_TYPE__TRANSPORT_RELAY: return LK_ICE_TRANSPORT_RELAY;
    case LIVEKIT__PROTO__ICE_TRANSPORT_TYPE__TRANSPORT_NOHOST: return LK_ICE_TRANSPORT_NO_HOST;
    default: return LK_ICE_TRANSPORT_ALL;
    }
}

/* `encryption` wins over the older `e2ee`. What is not built is refused by the engine, which names it. */
static lk_encryption_type encryption_of(const Livekit__Proto__RoomOptions *from)
{
    const Livekit__Proto__E2eeOptions *e = from->encryption ? from->encryption : from->e2ee;
    return e && e->has_encryption_type ? (lk_encryption_type)(int)e->encryption_type : LK_ENCRYPTION_NONE;
}

static void fill_ice_servers(ffi_call *c, const Livekit__Proto__RtcConfig *from, lk_room_options *o)
{
    if (!from || from->n_ice_servers == 0)
        return;
    lk_ice_server *list = (lk_ice_server *)ffi_alloc(&c->build, from->n_ice_servers * sizeof *list);
    for (size_t i = 0; !c->build.bad && i < from->n_ice_servers; i++)
        list[i] = (lk_ice_server){.urls = (const char *const *)from->ice_servers[i]->urls,
                                  .url_count = from->ice_servers[i]->n_urls,
                                  .username = from->ice_servers[i]->username,
                                  .password = from->ice_servers[i]->password};
    o->ice_servers = list;
    o->ice_server_count = from->n_ice_servers;
}

static lk_err make_room(ffi_call *c, const Livekit__Proto__RoomOptions *from, uint64_t handle, lk_room **out)
{
    lk_room_options o;
    lk_room_options_init(&o);
    if (from && from->has_auto_subscribe)
        o.auto_subscribe = from->auto_subscribe;
    if (from && from->has_adaptive_stream)
        o.adaptive_stream = from->adaptive_stream;
    if (from && from->has_dynacast)
        o.dynacast = from->dynacast;
    if (from && from->has_single_peer_connection)
        o.single_peer_connection = from->single_peer_connection;
    if (from && from->has_join_retries)
        o.join_retries = LK_MIN(from->join_retries, 100u);
    if (from && from->has_connect_timeout_ms)
        o.connect_timeout_msec = (uint32_t)LK_CLAMP(from->connect_timeout_ms, (uint64_t)100, (uint64_t)60000);
    if (from && from->other_sdks)
        o.other_sdks = from->other_sdks;
    if (from) {
        o.encryption = encryption_of(from);
        o.ice_transport = transport_of(from->rtc_config);
        fill_ice_servers(c, from->rtc_config, &o);
    }
    o.hold_events = true;
    o.user_data = (void *)(uintptr_t)handle;
    return c->build.bad ? LK_ERR_NOMEM : lk_room_new(out, c->rt, &o);
}

bool ffi_do_connect(ffi_call *c, const Livekit__Proto__ConnectRequest *m, Livekit__Proto__ConnectResponse *r)
{
    ffi_op *op = ffi_op_new(c, EVENT(CONNECT), 2, m->has_request_async_id, m->request_async_id);
    if (!op)
        return ffi_reject_err(c, LK_ERR_NOMEM);
    r->async_id = op->async_id;
    lk_op_options o = how(op);
    lk_err err = make_room(c, m->options, ffi_next_id(), &op->room);
    lk_room *room = op->room;
    if (err == LK_OK)
        err = lk_room_connect(NULL, room, m->url ? m->url : "", m->token ? m->token : "", &o);
    ffi_op_begun(c, op, err, NULL);
    return true;
}

bool ffi_do_ready_for_room_event(ffi_call *c, const Livekit__Proto__ReadyForRoomEventRequest *m,
                                 Livekit__Proto__ReadyForRoomEventResponse *r)
{
    LK_UNUSED(r);
    lk_room *room = room_of(c, m->room_handle, FFI_ROOM);
    if (!room)
        return false;
    lk_err err = lk_room_release_events(room);
    lk_room_unref(room);
    return err == LK_OK || ffi_reject_err(c, err);
}

bool ffi_do_disconnect(ffi_call *c, const Livekit__Proto__DisconnectRequest *m, Livekit__Proto__DisconnectResponse *r)
{
    lk_room *room = room_of(c, m->room_handle, FFI_ROOM);
    if (!room)
        return false;
    ffi_op *op = ffi_op_new(c, EVENT(DISCONNECT), 0, m->has_request_async_id, m->request_async_id);
    if (op) {
        lk_op_options o = how(op);
        r->async_id = op->async_id;
        lk_disconnect_reason reason = m->has_reason && m->reason != LIVEKIT__PROTO__DISCONNECT_REASON__UNKNOWN_REASON
                                          ? (lk_disconnect_reason)m->reason
                                          : LK_DISCONNECT_CLIENT_INITIATED;
        (void)lk_room_release_events(room); /* nobody will ask for them any more */
        lk_err err = lk_room_disconnect(NULL, room, reason, &o);
        ffi_op_begun(c, op, err, NULL);
    }
    lk_room_unref(room);
    return op || ffi_reject_err(c, LK_ERR_NOMEM);
}

bool ffi_do_get_session_stats(ffi_call *c, const Livekit__Proto__GetSessionStatsRequest *m,
                              Livekit__Proto__GetSessionStatsResponse *r)
{
    lk_room *room = room_of(c, m->room_handle, FFI_ROOM);
    if (!room)
        return false;
    ffi_op *op = ffi_op_new(c, EVENT(GET_SESSION_STATS), 2, m->has_request_async_id, m->request_async_id);
    if (op) {
        lk_op_options o = how(op);
        r->async_id = op->async_id;
        ffi_op_begun(c, op, lk_room_get_stats(NULL, room, &o), closed);
    }
    lk_room_unref(room);
    return op || ffi_reject_err(c, LK_ERR_NOMEM);
}

/* ---- what we tell about ourselves ---------------------------------------------------------------------------------------- */

/* The common frame of requests by a participant's handle that end in a callback with an error text. NULL: rejected, or
 * answered (c->answered): the participant is still there but its room is gone, which the callback says. */
static lk_room *begin(ffi_call *c, uint64_t handle, uint32_t event, bool has, uint64_t given, ffi_op **op, uint64_t *async_id)
{
    lk_room *room = NULL;
    lk_participant *participant = (lk_participant *)ffi_handle_get(c, handle, FFI_PARTICIPANT);
    if (!participant)
        return NULL;
    lk_err err = lk_participant_room(&room, participant);
    lk_participant_unref(participant);
    *op = ffi_op_new(c, event, 2, has, given);
    if (!*op) {
        lk_room_unref(room);
        ffi_reject_err(c, LK_ERR_NOMEM);
        return NULL;
    }
    *async_id = (*op)->async_id;
    c->answered = err != LK_OK;
    ffi_op_begun(c, *op, err, closed);
    return err ? NULL : room;
}

static const char *closed_text(lk_err err)
{
    return err == LK_ERR_STATE || err == LK_ERR_CLOSED ? closed : NULL;
}

bool ffi_do_set_local_metadata(ffi_call *c, const Livekit__Proto__SetLocalMetadataRequest *m,
                               Livekit__Proto__SetLocalMetadataResponse *r)
{
    ffi_op *op;
    lk_room *room = begin(c, m->local_participant_handle, EVENT(SET_LOCAL_METADATA), m->has_request_async_id, m->request_async_id,
                          &op, &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_err err = lk_room_set_metadata(NULL, room, m->metadata ? m->metadata : "", &o);
    ffi_op_begun(c, op, err, closed_text(err));
    lk_room_unref(room);
    return true;
}

bool ffi_do_set_local_name(ffi_call *c, const Livekit__Proto__SetLocalNameRequest *m, Livekit__Proto__SetLocalNameResponse *r)
{
    ffi_op *op;
    lk_room *room =
        begin(c, m->local_participant_handle, EVENT(SET_LOCAL_NAME), m->has_request_async_id, m->request_async_id, &op, &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_err err = lk_room_set_name(NULL, room, m->name ? m->name : "", &o);
    ffi_op_begun(c, op, err, closed_text(err));
    lk_room_unref(room);
    return true;
}

bool ffi_do_set_local_attributes(ffi_call *c, const Livekit__Proto__SetLocalAttributesRequest *m,
                                 Livekit__Proto__SetLocalAttributesResponse *r)
{
    ffi_op *op;
    lk_attribute *list = (lk_attribute *)ffi_alloc(&c->build, m->n_attributes * sizeof *list);
    for (size_t i = 0; !c->build.bad && i < m->n_attributes; i++)
        list[i] = (lk_attribute){TEXT(m->attributes[i]->key), TEXT(m->attributes[i]->value)};
    if (c->build.bad)
        return ffi_reject_err(c, LK_ERR_NOMEM);
    lk_room *room = begin(c, m->local_participant_handle, EVENT(SET_LOCAL_ATTRIBUTES), m->has_request_async_id, m->request_async_id,
                          &op, &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_err err = lk_room_set_attributes(NULL, room, list, m->n_attributes, &o);
    ffi_op_begun(c, op, err, closed_text(err));
    lk_room_unref(room);
    return true;
}

bool ffi_do_set_track_subscription_permissions(ffi_call *c, const Livekit__Proto__SetTrackSubscriptionPermissionsRequest *m,
                                               Livekit__Proto__SetTrackSubscriptionPermissionsResponse *r)
{
    LK_UNUSED(r);
    lk_track_permission *list = (lk_track_permission *)ffi_alloc(&c->build, m->n_permissions * sizeof *list);
    for (size_t i = 0; !c->build.bad && i < m->n_permissions; i++) {
        const Livekit__Proto__ParticipantTrackPermission *p = m->permissions[i];
        list[i] = (lk_track_permission){.identity = TEXT(p->participant_identity),
                                        .allow_all = p->has_allow_all && p->allow_all,
                                        .track_sids = (const char *const *)p->allowed_track_sids,
                                        .track_sid_count = p->n_allowed_track_sids};
    }
    lk_room *room = c->build.bad ? NULL : room_of(c, m->local_participant_handle, FFI_PARTICIPANT);
    if (!room)
        return false;
    /* Told and forgotten, as the reference does: a room that is closed is no error. */
    (void)!lk_room_set_track_permissions(room, m->all_participants_allowed, list, m->n_permissions);
    lk_room_unref(room);
    return true;
}

/* ---- data ------------------------------------------------------------------------------------------------------------------ */

bool ffi_do_publish_data(ffi_call *c, const Livekit__Proto__PublishDataRequest *m, Livekit__Proto__PublishDataResponse *r)
{
    ffi_op *op;
    if (!m->data_ptr && m->data_len)
        return ffi_reject(c, "publish_data: data_ptr is null");
    lk_room *room = begin(c, m->local_participant_handle, EVENT(PUBLISH_DATA), m->has_request_async_id, m->request_async_id, &op,
                          &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_data_options d;
    lk_data_options_init(&d);
    d.reliable = m->reliable;
    d.topic = m->topic;
    d.identities = (const char *const *)m->destination_identities;
    d.identity_count = m->n_destination_identities;
    lk_err err = lk_room_publish_data(NULL, room, (const void *)(uintptr_t)m->data_ptr, m->data_len, &d, &o);
    const char *text = err == LK_ERR_LIMIT ? "failed to send data: longer than the 64000 bytes that are allowed"
                       : err == LK_ERR_STATE ? "failed to send data, room closed: channel closed"
                                             : lk_err_text(err);
    ffi_op_begun(c, op, err, text);
    lk_room_unref(room);
    return true;
}

bool ffi_do_set_data_channel_buffered_amount_low_threshold(ffi_call *c,
                                                           const Livekit__Proto__SetDataChannelBufferedAmountLowThresholdRequest *m,
                                                           Livekit__Proto__SetDataChannelBufferedAmountLowThresholdResponse *r)
{
    LK_UNUSED(r);
    lk_room *room = room_of(c, m->local_participant_handle, FFI_PARTICIPANT);
    if (!room)
        return false;
    /* Told and forgotten, as the reference does. */
    (void)!lk_room_set_data_threshold(room, m->kind == LIVEKIT__PROTO__DATA_PACKET_KIND__KIND_RELIABLE, m->threshold);
    lk_room_unref(room);
    return true;
}

/* ---- tracks ------------------------------------------------------------------------------------------------------------------- */

static bool is_video_track(const lk_track *track)
{
    const lk_track_info *info;
    if (lk_track_get_info(&info, track) != LK_OK)
        return false;
    bool video = info->kind == LK_MEDIA_KIND_VIDEO;
    lk_info_unref(info);
    return video;
}

static const char *codec_name(Livekit__Proto__VideoCodec codec)
{
    static const char *const names[] = {"VP8", "H264", "AV1", "VP9", "H265"};
    return (unsigned)codec < LK_LEN(names) ? names[codec] : "unknown";
}

/* What a video track cannot be published with, named. */
static const char *not_built(const Livekit__Proto__TrackPublishOptions *o)
{
    if (o->has_video_codec && o->video_codec != LIVEKIT__PROTO__VIDEO_CODEC__VP8)
        return "publish_track: video_codec other than VP8: not built yet";
    if (o->scalability_mode && o->scalability_mode[0])
        return "publish_track: scalability_mode: not built yet";
    if (o->has_video_encoder && o->video_encoder == LIVEKIT__PROTO__VIDEO_ENCODER_BACKEND__ENCODER_BACKEND_PRE_ENCODED)
        return "publish_track: video_encoder PRE_ENCODED: not built yet";
    if (o->n_frame_metadata_features)
        return "publish_track: frame_metadata_features: not built yet";
    return NULL;
}

bool ffi_do_publish_track(ffi_call *c, const Livekit__Proto__PublishTrackRequest *m, Livekit__Proto__PublishTrackResponse *r)
{
    ffi_op *op;
    lk_room *room = begin(c, m->local_participant_handle, EVENT(PUBLISH_TRACK), m->has_request_async_id, m->request_async_id, &op,
                          &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_publish_options p;
    lk_publish_options_init(&p);
    const Livekit__Proto__TrackPublishOptions *from = m->options;
    lk_track *track = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    bool is_video = track && is_video_track(track);
    if (from) {
        p.source = from->has_source ? (lk_track_source)from->source : LK_TRACK_SOURCE_UNKNOWN;
        p.dtx = !from->has_dtx || from->dtx;
        p.red = !from->has_red || from->red;
        p.preconnect_buffer = from->has_preconnect_buffer && from->preconnect_buffer;
        p.stream = from->stream;
        if (is_video && from->video_encoding) {
            p.max_bitrate_bps = (uint32_t)LK_CLAMP(from->video_encoding->max_bitrate, (uint64_t)10000, (uint64_t)100000000);
            p.max_framerate = (uint32_t)LK_CLAMP(from->video_encoding->max_framerate + 0.5, 1.0, 240.0);
        }
        if (is_video && from->has_video_codec)
            p.video_codec = codec_name(from->video_codec);
        if (!is_video && from->audio_encoding && from->audio_encoding->max_bitrate)
            p.max_bitrate_bps = (uint32_t)LK_CLAMP(from->audio_encoding->max_bitrate, (uint64_t)6000, (uint64_t)510000);
    }
    lk_err err = LK_ERR_NOT_FOUND;
    const char *text = "invalid request: handle not found";
    const char *refused = is_video && from ? not_built(from) : NULL;
    if (refused) {
        err = LK_ERR_UNSUPPORTED;
        text = refused;
    } else if (track && !lk_track_is_local(track)) {
        err = LK_ERR_INVALID;
        text = "invalid request: track is not a LocalTrack";
    } else if (track) {
        err = lk_room_publish(NULL, room, track, &p, &o);
        text = closed_text(err);
    }
    ffi_op_begun(c, op, err, text);
    lk_track_unref(track);
    lk_room_unref(room);
    return true;
}

bool ffi_do_unpublish_track(ffi_call *c, const Livekit__Proto__UnpublishTrackRequest *m,
                            Livekit__Proto__UnpublishTrackResponse *r)
{
    ffi_op *op;
    lk_room *room = begin(c, m->local_participant_handle, EVENT(UNPUBLISH_TRACK), m->has_request_async_id, m->request_async_id, &op,
                          &r->async_id);
    if (!room)
        return c->answered;
    lk_op_options o = how(op);
    lk_err err = lk_room_unpublish(NULL, room, m->track_sid ? m->track_sid : "", &o);
    ffi_op_begun(c, op, err, closed_text(err));
    lk_room_unref(room);
    return true;
}

bool ffi_do_local_track_mute(ffi_call *c, const Livekit__Proto__LocalTrackMuteRequest *m, Livekit__Proto__LocalTrackMuteResponse *r)
{
    lk_track *t = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    if (!t)
        return false;
    bool local = lk_track_is_local(t);
    lk_err err = local ? lk_track_set_muted(t, m->mute) : LK_ERR_INVALID;
    r->muted = m->mute;
    lk_track_unref(t);
    return err == LK_OK || ffi_reject(c, local ? lk_err_text(err) : "track is not a local track");
}

bool ffi_do_enable_remote_track(ffi_call *c, const Livekit__Proto__EnableRemoteTrackRequest *m,
                                Livekit__Proto__EnableRemoteTrackResponse *r)
{
    lk_track *t = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    if (!t)
        return false;
    bool local = lk_track_is_local(t);
    lk_err err = local ? LK_ERR_INVALID : lk_track_set_enabled(t, m->enabled);
    r->enabled = m->enabled;
    lk_track_unref(t);
    return err == LK_OK || ffi_reject(c, local ? "track is not a remote track" : lk_err_text(err));
}

bool ffi_do_get_stats(ffi_call *c, const Livekit__Proto__GetStatsRequest *m, Livekit__Proto__GetStatsResponse *r)
{
    lk_track *t = (lk_track *)ffi_handle_get(c, m->track_handle, FFI_TRACK);
    if (!t)
        return false;
    ffi_op *op = ffi_op_new(c, EVENT(GET_STATS), 2, m->has_request_async_id, m->request_async_id);
    if (op) {
        lk_op_options o = how(op);
        r->async_id = op->async_id;
        ffi_op_begun(c, op, lk_track_get_stats(NULL, t, &o),
                     lk_track_is_local(t) ? "room failure: no transceiver found for track"
                                          : closed);
    }
    lk_track_unref(t);
    return op || ffi_reject_err(c, LK_ERR_NOMEM);
}

/* ---- publications ---------------------------------------------------------------------------------------------------------------- */

static lk_publication *remote_publication(ffi_call *c, uint64_t handle)
{
    lk_publication *p = (lk_publication *)ffi_handle_get(c, handle, FFI_PUBLICATION);
    if (!p || !lk_publication_is_local(p))
        return p;
    lk_publication_unref(p);
    ffi_reject(c, "publication is not a RemotePublication");
    return NULL;
}

bool ffi_do_set_subscribed(ffi_call *c, const Livekit__Proto__SetSubscribedRequest *m, Livekit__Proto__SetSubscribedResponse *r)
{
    LK_UNUSED(r);
    lk_publication *p = remote_publication(c, m->publication_handle);
    if (!p)
        return false;
    (void)!lk_publication_set_subscribed(p, m->subscribe); /* of a room that is closed: nothing to do */
    lk_publication_unref(p);
    return true;
}

bool ffi_do_enable_remote_track_publication(ffi_call *c, const Livekit__Proto__EnableRemoteTrackPublicationRequest *m,
                                            Livekit__Proto__EnableRemoteTrackPublicationResponse *r)
{
    LK_UNUSED(r);
    lk_publication *p = remote_publication(c, m->track_publication_handle);
    if (!p)
        return false;
    (void)!lk_publication_set_enabled(p, m->enabled);
    lk_publication_unref(p);
    return true;
}

bool ffi_do_update_remote_track_publication_dimension(ffi_call *c, const Livekit__Proto__UpdateRemoteTrackPublicationDimensionRequest *m,
                                                      Livekit__Proto__UpdateRemoteTrackPublicationDimensionResponse *r)
{
    LK_UNUSED(r);
    lk_publication *p = remote_publication(c, m->track_publication_handle);
    if (!p)
        return false;
    lk_err err = lk_publication_set_dimensions(p, m->width, m->height);
    lk_publication_unref(p);
    return err != LK_ERR_INVALID || ffi_reject(c, "the size of no video publication");
}

bool ffi_do_set_remote_track_publication_quality(ffi_call *c, const Livekit__Proto__SetRemoteTrackPublicationQualityRequest *m,
                                                 Livekit__Proto__SetRemoteTrackPublicationQualityResponse *r)
{
    LK_UNUSED(r);
    lk_publication *p = remote_publication(c, m->track_publication_handle);
    if (!p)
        return false;
    lk_err err = lk_publication_set_quality(p, (lk_video_quality)m->quality);
    lk_publication_unref(p);
    if (err == LK_ERR_UNSUPPORTED)
        ffi_log(c->rt, LK_LOG_WARN, "set_remote_track_publication_quality: ", "the publication is not simulcast");
    return err != LK_ERR_INVALID || ffi_reject(c, "the quality of no video publication");
}
