// SPDX-License-Identifier: Apache-2.0
/* Infos of the C API as messages, alone or with a new handle. Required fields get their presence when packed. */
#include "ffi/ffi.h"

Livekit__Proto__FfiOwnedHandle *ffi_owned(ffi_build *b, uint64_t id)
{
    Livekit__Proto__FfiOwnedHandle *h = NEW(b, ffi_owned_handle);
    h->id = id;
    b->bad = b->bad || id == 0;
    return h;
}

Livekit__Proto__RoomInfo *ffi_room_info(ffi_build *b, const lk_room_info *from)
{
    Livekit__Proto__RoomInfo *to = NEW(b, room_info);
    if (*from->sid)
        to->sid = TEXT(from->sid);
    to->name = TEXT(from->name);
    to->metadata = TEXT(from->metadata);
    to->lossy_dc_buffered_amount_low_threshold = from->lossy_low_threshold_bytes;
    to->reliable_dc_buffered_amount_low_threshold = from->reliable_low_threshold_bytes;
    to->empty_timeout = from->empty_timeout_sec;
    to->departure_timeout = from->departure_timeout_sec;
    to->max_participants = from->max_participants;
    to->creation_time = from->creation_time_msec;
    to->num_participants = from->participant_count;
    to->num_publishers = from->publisher_count;
    to->active_recording = from->active_recording;
    return to;
}

/* Bit n set: n is in the list. */
static size_t list_of_bits(ffi_build *b, uint32_t bits, uint32_t **out)
{
    size_t n = 0;
    uint32_t *list = (uint32_t *)ffi_alloc(b, 32 * sizeof *list);
    for (uint32_t i = 0; i < 32; i++)
        if (bits & (1u << i))
            list[n++] = i;
    *out = list;
    return n;
}

Livekit__Proto__ParticipantPermission *ffi_permission(ffi_build *b, const lk_permission *from)
{
    Livekit__Proto__ParticipantPermission *to = NEW(b, participant_permission);
    uint32_t *sources;
    to->can_subscribe = from->can_subscribe;
    to->can_publish = from->can_publish;
    to->can_publish_data = from->can_publish_data;
    to->hidden = from->hidden;
    to->can_update_metadata = from->can_update_metadata;
    to->can_subscribe_metrics = from->can_subscribe_metrics;
    to->can_manage_agent_session = from->can_manage_agent_session;
    to->n_can_publish_sources = list_of_bits(b, from->publish_sources, &sources);
    to->can_publish_sources = (Livekit__Proto__TrackSource *)sources;
    return to;
}

Livekit__Proto__ParticipantInfo *ffi_participant_info(ffi_build *b, const lk_participant_info *from)
{
    Livekit__Proto__ParticipantInfo *to = NEW(b, participant_info);
    uint32_t *details;
    to->sid = TEXT(from->sid);
    to->name = TEXT(from->name);
    to->identity = TEXT(from->identity);
    to->state = (Livekit__Proto__ParticipantState)from->state;
    to->metadata = TEXT(from->metadata);
    to->kind = (Livekit__Proto__ParticipantKind)from->kind;
    to->disconnect_reason = (Livekit__Proto__DisconnectReason)from->disconnect_reason;
    to->joined_at = from->joined_at_msec;
    to->client_protocol = from->client_protocol;
    to->n_kind_details = list_of_bits(b, from->kind_details, &details);
    to->kind_details = (Livekit__Proto__ParticipantKindDetail *)details;
    if (from->has_permission)
        to->permission = ffi_permission(b, &from->permission);
    to->attributes = (Livekit__Proto__ParticipantInfo__AttributesEntry **)ffi_alloc(b, from->attribute_count * sizeof(void *));
    for (size_t i = 0; to->attributes && i < from->attribute_count; i++) {
        Livekit__Proto__ParticipantInfo__AttributesEntry *e = NEW(b, participant_info__attributes_entry);
        e->key = TEXT(from->attributes[i].key);
        e->value = TEXT(from->attributes[i].value);
        if (b->bad)
            break;
        to->attributes[to->n_attributes++] = e;
    }
    return to;
}

Livekit__Proto__TrackPublicationInfo *ffi_publication_info(ffi_build *b, const lk_publication_info *from)
{
    Livekit__Proto__TrackPublicationInfo *to = NEW(b, track_publication_info);
    uint32_t *features;
    to->sid = TEXT(from->sid);
    to->name = TEXT(from->name);
    to->kind = (Livekit__Proto__TrackKind)from->kind;
    to->source = (Livekit__Proto__TrackSource)from->source;
    to->simulcasted = from->simulcasted;
    to->width = from->width;
    to->height = from->height;
    to->mime_type = TEXT(from->mime_type);
    to->muted = from->muted;
    to->remote = !from->is_local;
    to->encryption_type = (Livekit__Proto__EncryptionType)from->encryption;
    to->n_audio_features = list_of_bits(b, from->audio_features, &features);
    to->audio_features = (Livekit__Proto__AudioTrackFeature *)features;
    return to;
}

Livekit__Proto__TrackInfo *ffi_track_info(ffi_build *b, const lk_track_info *from)
{
    Livekit__Proto__TrackInfo *to = NEW(b, track_info);
    to->sid = TEXT(from->sid);
    to->name = TEXT(from->name);
    to->kind = (Livekit__Proto__TrackKind)from->kind;
    to->stream_state = (Livekit__Proto__StreamState)from->stream_state;
    to->muted = from->muted;
    to->remote = !from->is_local;
    return to;
}

Livekit__Proto__OwnedParticipant *ffi_own_participant(ffi_build *b, lk_participant *p, const lk_participant_info *info)
{
    Livekit__Proto__OwnedParticipant *o = NEW(b, owned_participant);
    o->handle = ffi_owned(b, ffi_handle_new(FFI_PARTICIPANT, lk_participant_ref(p), 0));
    o->info = ffi_participant_info(b, info);
    return o;
}

Livekit__Proto__OwnedTrackPublication *ffi_own_publication(ffi_build *b, lk_publication *p, const lk_publication_info *info)
{
    Livekit__Proto__OwnedTrackPublication *o = NEW(b, owned_track_publication);
    o->handle = ffi_owned(b, ffi_handle_new(FFI_PUBLICATION, lk_publication_ref(p), 0));
    o->info = ffi_publication_info(b, info);
    return o;
}

Livekit__Proto__OwnedTrack *ffi_own_track(ffi_build *b, lk_track *t, const lk_track_info *info)
{
    Livekit__Proto__OwnedTrack *o = NEW(b, owned_track);
    o->handle = ffi_owned(b, ffi_handle_new(FFI_TRACK, lk_track_ref(t), 0));
    o->info = ffi_track_info(b, info);
    return o;
}

Livekit__Proto__OwnedAudioFrameBuffer *ffi_own_frame(ffi_build *b, lk_audio_frame *frame)
{
    Livekit__Proto__OwnedAudioFrameBuffer *o = NEW(b, owned_audio_frame_buffer);
    lk_audio_view v = lk_audio_frame_view(frame);
    o->handle = ffi_owned(b, ffi_handle_new(FFI_AUDIO_FRAME, frame, 0));
    o->info = NEW(b, audio_frame_buffer_info);
    o->info->data_ptr = (uint64_t)(uintptr_t)v.data;
    o->info->num_channels = v.num_channels;
    o->info->sample_rate = v.sample_rate;
    o->info->samples_per_channel = v.samples_per_channel;
    return o;
}
