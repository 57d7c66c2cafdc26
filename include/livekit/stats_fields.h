/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/stats_fields.h - every stat, as tables: one list per group, one list of kinds.
 *
 * A group row is X(type, name, unit). Types: U32 U64 I32 I64 F64 BOOL, TEXT (terminated, LK_STATS_TEXT_MAX), BLOB
 * (terminated, LK_STATS_BLOB_MAX), ENUM (int), LIMITS (double by LK_STATS_LIMIT_*). Units: s, ms, us, bit/s, bytes,
 * packets, samples, frames, Hz, px; "" is a plain number or text. Names and order are those of the FFI schema, which follows
 * W3C webrtc-stats. Struct, protobuf and JSON are made by walking these lists; docs/stats.md says where each value comes from.
 */
#ifndef LIVEKIT_STATS_FIELDS_H
#define LIVEKIT_STATS_FIELDS_H

#define LK_STATS_TEXT_MAX 128
#define LK_STATS_BLOB_MAX 1536

#define LK_STATS_GROUP_Rtc(X) \
    X(TEXT, id, "") \
    X(I64, timestamp, "us")

#define LK_STATS_GROUP_Codec(X) \
    X(U32, payload_type, "") \
    X(TEXT, transport_id, "") \
    X(TEXT, mime_type, "") \
    X(U32, clock_rate, "Hz") \
    X(U32, channels, "") \
    X(TEXT, sdp_fmtp_line, "")

#define LK_STATS_GROUP_RtpStream(X) \
    X(U32, ssrc, "") \
    X(TEXT, kind, "") \
    X(TEXT, transport_id, "") \
    X(TEXT, codec_id, "")

#define LK_STATS_GROUP_ReceivedRtpStream(X) \
    X(U64, packets_received, "packets") \
    X(I64, packets_lost, "packets") \
    X(F64, jitter, "s")

#define LK_STATS_GROUP_InboundRtpStream(X) \
    X(TEXT, track_identifier, "") \
    X(TEXT, mid, "") \
    X(TEXT, remote_id, "") \
    X(U32, frames_decoded, "frames") \
    X(U32, key_frames_decoded, "") \
    X(U32, frames_rendered, "frames") \
    X(U32, frames_dropped, "frames") \
    X(U32, frame_width, "px") \
    X(U32, frame_height, "px") \
    X(F64, frames_per_second, "frames") \
    X(U64, qp_sum, "") \
    X(F64, total_decode_time, "s") \
    X(F64, total_inter_frame_delay, "s") \
    X(F64, total_squared_inter_frame_delay, "s") \
    X(U32, pause_count, "") \
    X(F64, total_pause_duration, "s") \
    X(U32, freeze_count, "") \
    X(F64, total_freeze_duration, "s") \
    X(F64, last_packet_received_timestamp, "ms") \
    X(U64, header_bytes_received, "bytes") \
    X(U64, packets_discarded, "packets") \
    X(U64, fec_bytes_received, "bytes") \
    X(U64, fec_packets_received, "packets") \
    X(U64, fec_packets_discarded, "packets") \
    X(U64, bytes_received, "bytes") \
    X(U32, nack_count, "") \
    X(U32, fir_count, "") \
    X(U32, pli_count, "") \
    X(F64, total_processing_delay, "s") \
    X(F64, estimated_playout_timestamp, "ms") \
    X(F64, jitter_buffer_delay, "s") \
    X(F64, jitter_buffer_target_delay, "s") \
    X(U64, jitter_buffer_emitted_count, "") \
    X(F64, jitter_buffer_minimum_delay, "s") \
    X(U64, total_samples_received, "samples") \
    X(U64, concealed_samples, "samples") \
    X(U64, silent_concealed_samples, "samples") \
    X(U64, concealment_events, "") \
    X(U64, inserted_samples_for_deceleration, "samples") \
    X(U64, removed_samples_for_acceleration, "samples") \
    X(F64, audio_level, "") \
    X(F64, total_audio_energy, "") \
    X(F64, total_samples_duration, "s") \
    X(U64, frames_received, "frames") \
    X(TEXT, decoder_implementation, "") \
    X(TEXT, playout_id, "") \
    X(BOOL, power_efficient_decoder, "") \
    X(U64, frames_assembled_from_multiple_packets, "packets") \
    X(F64, total_assembly_time, "s") \
    X(U64, retransmitted_packets_received, "packets") \
    X(U64, retransmitted_bytes_received, "bytes") \
    X(U32, rtx_ssrc, "") \
    X(U32, fec_ssrc, "")

#define LK_STATS_GROUP_SentRtpStream(X) \
    X(U64, packets_sent, "packets") \
    X(U64, bytes_sent, "bytes")

#define LK_STATS_GROUP_OutboundRtpStream(X) \
    X(TEXT, mid, "") \
    X(TEXT, media_source_id, "") \
    X(TEXT, remote_id, "") \
    X(TEXT, rid, "") \
    X(U64, header_bytes_sent, "bytes") \
    X(U64, retransmitted_packets_sent, "packets") \
    X(U64, retransmitted_bytes_sent, "bytes") \
    X(U32, rtx_ssrc, "") \
    X(F64, target_bitrate, "bit/s") \
    X(U64, total_encoded_bytes_target, "bytes") \
    X(U32, frame_width, "px") \
    X(U32, frame_height, "px") \
    X(F64, frames_per_second, "frames") \
    X(U32, frames_sent, "frames") \
    X(U32, huge_frames_sent, "") \
    X(U32, frames_encoded, "frames") \
    X(U32, key_frames_encoded, "") \
    X(U64, qp_sum, "") \
    X(F64, total_encode_time, "s") \
    X(F64, total_packet_send_delay, "s") \
    X(ENUM, quality_limitation_reason, "") \
    X(LIMITS, quality_limitation_durations, "") \
    X(U32, quality_limitation_resolution_changes, "") \
    X(U32, nack_count, "") \
    X(U32, fir_count, "") \
    X(U32, pli_count, "") \
    X(TEXT, encoder_implementation, "") \
    X(BOOL, power_efficient_encoder, "") \
    X(BOOL, active, "") \
    X(TEXT, scalability_mode, "")

#define LK_STATS_GROUP_RemoteInboundRtpStream(X) \
    X(TEXT, local_id, "") \
    X(F64, round_trip_time, "s") \
    X(F64, total_round_trip_time, "s") \
    X(F64, fraction_lost, "") \
    X(U64, round_trip_time_measurements, "")

#define LK_STATS_GROUP_RemoteOutboundRtpStream(X) \
    X(TEXT, local_id, "") \
    X(F64, remote_timestamp, "ms") \
    X(U64, reports_sent, "") \
    X(F64, round_trip_time, "s") \
    X(F64, total_round_trip_time, "s") \
    X(U64, round_trip_time_measurements, "")

#define LK_STATS_GROUP_MediaSource(X) \
    X(TEXT, track_identifier, "") \
    X(TEXT, kind, "")

#define LK_STATS_GROUP_AudioSource(X) \
    X(F64, audio_level, "") \
    X(F64, total_audio_energy, "") \
    X(F64, total_samples_duration, "s") \
    X(F64, echo_return_loss, "") \
    X(F64, echo_return_loss_enhancement, "") \
    X(F64, dropped_samples_duration, "s") \
    X(U32, dropped_samples_events, "samples") \
    X(F64, total_capture_delay, "s") \
    X(U64, total_samples_captured, "samples")

#define LK_STATS_GROUP_VideoSource(X) \
    X(U32, width, "px") \
    X(U32, height, "px") \
    X(U32, frames, "frames") \
    X(F64, frames_per_second, "frames")

#define LK_STATS_GROUP_AudioPlayout(X) \
    X(TEXT, kind, "") \
    X(F64, synthesized_samples_duration, "s") \
    X(U32, synthesized_samples_events, "samples") \
    X(F64, total_samples_duration, "s") \
    X(F64, total_playout_delay, "s") \
    X(U64, total_samples_count, "samples")

#define LK_STATS_GROUP_PeerConnection(X) \
    X(U32, data_channels_opened, "") \
    X(U32, data_channels_closed, "")

#define LK_STATS_GROUP_DataChannel(X) \
    X(TEXT, label, "") \
    X(TEXT, protocol, "") \
    X(I32, data_channel_identifier, "") \
    X(ENUM, state, "") \
    X(U32, messages_sent, "") \
    X(U64, bytes_sent, "bytes") \
    X(U32, messages_received, "") \
    X(U64, bytes_received, "bytes")

#define LK_STATS_GROUP_Transport(X) \
    X(U64, packets_sent, "packets") \
    X(U64, packets_received, "packets") \
    X(U64, bytes_sent, "bytes") \
    X(U64, bytes_received, "bytes") \
    X(ENUM, ice_role, "") \
    X(TEXT, ice_local_username_fragment, "") \
    X(ENUM, dtls_state, "") \
    X(ENUM, ice_state, "") \
    X(TEXT, selected_candidate_pair_id, "") \
    X(TEXT, local_certificate_id, "") \
    X(TEXT, remote_certificate_id, "") \
    X(TEXT, tls_version, "") \
    X(TEXT, dtls_cipher, "") \
    X(ENUM, dtls_role, "") \
    X(TEXT, srtp_cipher, "") \
    X(U32, selected_candidate_pair_changes, "")

#define LK_STATS_GROUP_CandidatePair(X) \
    X(TEXT, transport_id, "") \
    X(TEXT, local_candidate_id, "") \
    X(TEXT, remote_candidate_id, "") \
    X(ENUM, state, "") \
    X(BOOL, nominated, "") \
    X(U64, packets_sent, "packets") \
    X(U64, packets_received, "packets") \
    X(U64, bytes_sent, "bytes") \
    X(U64, bytes_received, "bytes") \
    X(F64, last_packet_sent_timestamp, "ms") \
    X(F64, last_packet_received_timestamp, "ms") \
    X(F64, total_round_trip_time, "s") \
    X(F64, current_round_trip_time, "s") \
    X(F64, available_outgoing_bitrate, "bit/s") \
    X(F64, available_incoming_bitrate, "bit/s") \
    X(U64, requests_received, "") \
    X(U64, requests_sent, "") \
    X(U64, responses_received, "") \
    X(U64, responses_sent, "") \
    X(U64, consent_requests_sent, "") \
    X(U32, packets_discarded_on_send, "packets") \
    X(U64, bytes_discarded_on_send, "bytes")

#define LK_STATS_GROUP_IceCandidate(X) \
    X(TEXT, transport_id, "") \
    X(TEXT, address, "") \
    X(I32, port, "") \
    X(TEXT, protocol, "") \
    X(ENUM, candidate_type, "") \
    X(I32, priority, "") \
    X(TEXT, url, "") \
    X(ENUM, relay_protocol, "") \
    X(TEXT, foundation, "") \
    X(TEXT, related_address, "") \
    X(I32, related_port, "") \
    X(TEXT, username_fragment, "") \
    X(ENUM, tcp_type, "")

#define LK_STATS_GROUP_Certificate(X) \
    X(TEXT, fingerprint, "") \
    X(TEXT, fingerprint_algorithm, "") \
    X(BLOB, base64_certificate, "") \
    X(TEXT, issuer_certificate_id, "")

#define LK_STATS_GROUP_Stream(X) \
    X(TEXT, id, "") \
    X(TEXT, stream_identifier, "")

#define LK_STATS_KIND_codec(G) \
    G(Rtc, rtc) \
    G(Codec, codec)

#define LK_STATS_KIND_inbound_rtp(G) \
    G(Rtc, rtc) \
    G(RtpStream, stream) \
    G(ReceivedRtpStream, received) \
    G(InboundRtpStream, inbound)

#define LK_STATS_KIND_outbound_rtp(G) \
    G(Rtc, rtc) \
    G(RtpStream, stream) \
    G(SentRtpStream, sent) \
    G(OutboundRtpStream, outbound)

#define LK_STATS_KIND_remote_inbound_rtp(G) \
    G(Rtc, rtc) \
    G(RtpStream, stream) \
    G(ReceivedRtpStream, received) \
    G(RemoteInboundRtpStream, remote_inbound)

#define LK_STATS_KIND_remote_outbound_rtp(G) \
    G(Rtc, rtc) \
    G(RtpStream, stream) \
    G(SentRtpStream, sent) \
    G(RemoteOutboundRtpStream, remote_outbound)

#define LK_STATS_KIND_media_source(G) \
    G(Rtc, rtc) \
    G(MediaSource, source) \
    G(AudioSource, audio) \
    G(VideoSource, video)

#define LK_STATS_KIND_media_playout(G) \
    G(Rtc, rtc) \
    G(AudioPlayout, audio_playout)

#define LK_STATS_KIND_peer_connection(G) \
    G(Rtc, rtc) \
    G(PeerConnection, pc)

#define LK_STATS_KIND_data_channel(G) \
    G(Rtc, rtc) \
    G(DataChannel, dc)

#define LK_STATS_KIND_transport(G) \
    G(Rtc, rtc) \
    G(Transport, transport)

#define LK_STATS_KIND_candidate_pair(G) \
    G(Rtc, rtc) \
    G(CandidatePair, candidate_pair)

#define LK_STATS_KIND_local_candidate(G) \
    G(Rtc, rtc) \
    G(IceCandidate, candidate)

#define LK_STATS_KIND_remote_candidate(G) \
    G(Rtc, rtc) \
    G(IceCandidate, candidate)

#define LK_STATS_KIND_certificate(G) \
    G(Rtc, rtc) \
    G(Certificate, certificate)

#define LK_STATS_KIND_stream(G) \
    G(Rtc, rtc) \
    G(Stream, stream)

#define LK_STATS_KIND_track(G)

/* LK_STATS_KIND_name(G) rows are G(group, member name). K(name): the kinds; each has its list LK_STATS_KIND_name above. */
#define LK_STATS_KINDS(K) \
    K(codec) \
    K(inbound_rtp) \
    K(outbound_rtp) \
    K(remote_inbound_rtp) \
    K(remote_outbound_rtp) \
    K(media_source) \
    K(media_playout) \
    K(peer_connection) \
    K(data_channel) \
    K(transport) \
    K(candidate_pair) \
    K(local_candidate) \
    K(remote_candidate) \
    K(certificate) \
    K(stream) \
    K(track)

/* N(group) */
#define LK_STATS_GROUPS(N) \
    N(Rtc) \
    N(Codec) \
    N(RtpStream) \
    N(ReceivedRtpStream) \
    N(InboundRtpStream) \
    N(SentRtpStream) \
    N(OutboundRtpStream) \
    N(RemoteInboundRtpStream) \
    N(RemoteOutboundRtpStream) \
    N(MediaSource) \
    N(AudioSource) \
    N(VideoSource) \
    N(AudioPlayout) \
    N(PeerConnection) \
    N(DataChannel) \
    N(Transport) \
    N(CandidatePair) \
    N(IceCandidate) \
    N(Certificate) \
    N(Stream)

#endif
