// SPDX-License-Identifier: Apache-2.0
/* ffi/ffi_calls.h - the requests that are built: one function for each CALL row of ffi_table.inc.
 *
 * In:      the request's message.
 * Out:     the response's message, made and empty; false: rejected, c->why says why.
 * Owner:   the call. Any thread.
 * Limits:  as ffi.h.
 * Deviates: none.
 */
#pragma once
#include "ffi/ffi.h"

#define FFI_CALL_TYPES(name, Req, Resp) bool ffi_do_##name(ffi_call *c, const Livekit__Proto__##Req *m, Livekit__Proto__##Resp *r);
#define FFI_CALL(name, Name) FFI_CALL_TYPES(name, Name##Request, Name##Response)
FFI_CALL(dispose, Dispose)
FFI_CALL(connect, Connect)
FFI_CALL(disconnect, Disconnect)
FFI_CALL(publish_track, PublishTrack)
FFI_CALL(unpublish_track, UnpublishTrack)
FFI_CALL(set_subscribed, SetSubscribed)
FFI_CALL(set_local_metadata, SetLocalMetadata)
FFI_CALL(set_local_name, SetLocalName)
FFI_CALL(set_local_attributes, SetLocalAttributes)
FFI_CALL(get_session_stats, GetSessionStats)
FFI_CALL(create_audio_track, CreateAudioTrack)
FFI_CALL(local_track_mute, LocalTrackMute)
FFI_CALL(enable_remote_track, EnableRemoteTrack)
FFI_CALL(get_stats, GetStats)
FFI_CALL(set_track_subscription_permissions, SetTrackSubscriptionPermissions)
FFI_CALL(video_convert, VideoConvert)
FFI_CALL(new_audio_stream, NewAudioStream)
FFI_CALL(new_audio_source, NewAudioSource)
FFI_CALL(capture_audio_frame, CaptureAudioFrame)
FFI_CALL(clear_audio_buffer, ClearAudioBuffer)
FFI_CALL(new_audio_resampler, NewAudioResampler)
FFI_CALL(remix_and_resample, RemixAndResample)
FFI_CALL(audio_stream_from_participant, AudioStreamFromParticipant)
FFI_CALL(new_sox_resampler, NewSoxResampler)
FFI_CALL(push_sox_resampler, PushSoxResampler)
FFI_CALL(flush_sox_resampler, FlushSoxResampler)
FFI_CALL(enable_remote_track_publication, EnableRemoteTrackPublication)
FFI_CALL(update_remote_track_publication_dimension, UpdateRemoteTrackPublicationDimension)
FFI_CALL(set_remote_track_publication_quality, SetRemoteTrackPublicationQuality)
FFI_CALL(ready_for_room_event, ReadyForRoomEvent)
FFI_CALL(create_video_track, CreateVideoTrack)
FFI_CALL(publish_data, PublishData)
FFI_CALL(set_data_channel_buffered_amount_low_threshold, SetDataChannelBufferedAmountLowThreshold)
FFI_CALL(new_video_source, NewVideoSource)
FFI_CALL(capture_video_frame, CaptureVideoFrame)
FFI_CALL(new_video_stream, NewVideoStream)
FFI_CALL(video_stream_from_participant, VideoStreamFromParticipant)

/* A local track that was just made, with its own handle; takes the reference. NULL: rejected. */
Livekit__Proto__OwnedTrack *ffi_own_new_track(ffi_call *c, lk_track *track);
