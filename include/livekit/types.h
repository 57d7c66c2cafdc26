/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/types.h - the words every other header uses: small enums, errors with text, info snapshots.
 *
 * Pure declarations, no function. All strings in an info are UTF-8, terminated, never NULL ("" when empty) and
 * belong to the object that carries the info (an event, an lk_snapshot); they live exactly as long as it does.
 */
#ifndef LIVEKIT_TYPES_H
#define LIVEKIT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "livekit/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A status with the sentence a user can act on: what failed, where, why. Text is one line without secrets and
 * empty when code is LK_OK. */
typedef struct lk_error {
    lk_err code;
    char text[160];
} lk_error;

typedef enum lk_log_level {
    LK_LOG_ERROR = 0,
    LK_LOG_WARN = 1,
    LK_LOG_INFO = 2,
    LK_LOG_DEBUG = 3,
    LK_LOG_TRACE = 4
} lk_log_level;

typedef enum lk_media_kind {
    LK_MEDIA_KIND_UNKNOWN = 0,
    LK_MEDIA_KIND_AUDIO = 1,
    LK_MEDIA_KIND_VIDEO = 2
} lk_media_kind;

/* What a track shows or plays. Numbers as in the LiveKit protocol (TrackSource). */
typedef enum lk_track_source {
    LK_TRACK_SOURCE_UNKNOWN = 0,
    LK_TRACK_SOURCE_CAMERA = 1,
    LK_TRACK_SOURCE_MICROPHONE = 2,
    LK_TRACK_SOURCE_SCREEN_SHARE = 3,
    LK_TRACK_SOURCE_SCREEN_SHARE_AUDIO = 4
} lk_track_source;

typedef enum lk_stream_state {
    LK_STREAM_STATE_UNKNOWN = 0,
    LK_STREAM_STATE_ACTIVE = 1,
    LK_STREAM_STATE_PAUSED = 2 /* by the server, for want of bandwidth */
} lk_stream_state;

typedef enum lk_connection_state {
    LK_CONNECTION_STATE_DISCONNECTED = 0,
    LK_CONNECTION_STATE_CONNECTED = 1,
    LK_CONNECTION_STATE_RECONNECTING = 2
} lk_connection_state;

/* Numbers as in the LiveKit protocol (ConnectionQuality). */
/* Which of the layers of a simulcast publication. */
typedef enum lk_video_quality {
    LK_VIDEO_QUALITY_LOW = 0,
    LK_VIDEO_QUALITY_MEDIUM = 1,
    LK_VIDEO_QUALITY_HIGH = 2
} lk_video_quality;

typedef enum lk_connection_quality {
    LK_CONNECTION_QUALITY_POOR = 0,
    LK_CONNECTION_QUALITY_GOOD = 1,
    LK_CONNECTION_QUALITY_EXCELLENT = 2,
    LK_CONNECTION_QUALITY_LOST = 3
} lk_connection_quality;

/* Why a room or a participant ended. Numbers as in the LiveKit protocol (DisconnectReason). */
typedef enum lk_disconnect_reason {
    LK_DISCONNECT_UNKNOWN = 0,
    LK_DISCONNECT_CLIENT_INITIATED = 1,
    LK_DISCONNECT_DUPLICATE_IDENTITY = 2,
    LK_DISCONNECT_SERVER_SHUTDOWN = 3,
    LK_DISCONNECT_PARTICIPANT_REMOVED = 4,
    LK_DISCONNECT_ROOM_DELETED = 5,
    LK_DISCONNECT_STATE_MISMATCH = 6,
    LK_DISCONNECT_JOIN_FAILURE = 7,
    LK_DISCONNECT_MIGRATION = 8,
    LK_DISCONNECT_SIGNAL_CLOSE = 9,
    LK_DISCONNECT_ROOM_CLOSED = 10,
    LK_DISCONNECT_USER_UNAVAILABLE = 11,
    LK_DISCONNECT_USER_REJECTED = 12,
    LK_DISCONNECT_SIP_TRUNK_FAILURE = 13,
    LK_DISCONNECT_CONNECTION_TIMEOUT = 14,
    LK_DISCONNECT_MEDIA_FAILURE = 15,
    LK_DISCONNECT_AGENT_ERROR = 16
} lk_disconnect_reason;

typedef enum lk_participant_kind {
    LK_PARTICIPANT_KIND_STANDARD = 0,
    LK_PARTICIPANT_KIND_INGRESS = 1,
    LK_PARTICIPANT_KIND_EGRESS = 2,
    LK_PARTICIPANT_KIND_SIP = 3,
    LK_PARTICIPANT_KIND_AGENT = 4,
    LK_PARTICIPANT_KIND_CONNECTOR = 5, /* 7 on the wire */
    LK_PARTICIPANT_KIND_BRIDGE = 6     /* 8 on the wire */
} lk_participant_kind;

typedef enum lk_participant_state {
    LK_PARTICIPANT_STATE_JOINING = 0,
    LK_PARTICIPANT_STATE_JOINED = 1,
    LK_PARTICIPANT_STATE_ACTIVE = 2,
    LK_PARTICIPANT_STATE_DISCONNECTED = 3
} lk_participant_state;

typedef enum lk_encryption_type {
    LK_ENCRYPTION_NONE = 0,
    LK_ENCRYPTION_GCM = 1,
    LK_ENCRYPTION_CUSTOM = 2
} lk_encryption_type;

/* Numbers as in the LiveKit protocol (AudioTrackFeature). */
typedef enum lk_audio_feature {
    LK_AUDIO_FEATURE_STEREO = 0,
    LK_AUDIO_FEATURE_NO_DTX = 1,
    LK_AUDIO_FEATURE_AUTO_GAIN_CONTROL = 2,
    LK_AUDIO_FEATURE_ECHO_CANCELLATION = 3,
    LK_AUDIO_FEATURE_NOISE_SUPPRESSION = 4,
    LK_AUDIO_FEATURE_ENHANCED_NOISE_CANCELLATION = 5,
    LK_AUDIO_FEATURE_PRECONNECT_BUFFER = 6
} lk_audio_feature;

/* How pixels lie in memory. Numbers as in the FFI (VideoBufferType). The RGB family is named by bytes in memory order. */
typedef enum lk_video_format {
    LK_VIDEO_RGBA = 0,
    LK_VIDEO_ABGR = 1,
    LK_VIDEO_ARGB = 2,
    LK_VIDEO_BGRA = 3,
    LK_VIDEO_RGB24 = 4,
    LK_VIDEO_I420 = 5,
    LK_VIDEO_I420A = 6,
    LK_VIDEO_I422 = 7,
    LK_VIDEO_I444 = 8,
    LK_VIDEO_I010 = 9, /* 10 bits in 16, native byte order */
    LK_VIDEO_NV12 = 10
} lk_video_format;
#define LK_VIDEO_FORMATS 11
#define LK_VIDEO_PLANES_MAX 4

/* Clockwise turn that makes the picture upright. */
typedef enum lk_video_rotation {
    LK_VIDEO_ROTATION_0 = 0,
    LK_VIDEO_ROTATION_90 = 1,
    LK_VIDEO_ROTATION_180 = 2,
    LK_VIDEO_ROTATION_270 = 3
} lk_video_rotation;

/* A look at a picture in memory: Y, U, V, A planes; NV12: Y, UV; the RGB family: one plane. */
typedef struct lk_video_view {
    lk_video_format format;
    uint32_t width, height; /* pixels */
    const uint8_t *planes[LK_VIDEO_PLANES_MAX];
    uint32_t stride_bytes[LK_VIDEO_PLANES_MAX]; /* from row to row */
    lk_video_rotation rotation;
    int64_t timestamp_usec; /* capture: any clock of the caller's; received: the monotonic clock */
} lk_video_view;

/* ---- info snapshots: plain values, complete at the moment they were taken ------------------------- */

/* One entry of a participant's attributes. In a *change* an empty value means "deleted". */
typedef struct lk_attribute {
    const char *key;
    const char *value;
} lk_attribute;

typedef struct lk_permission {
    bool can_subscribe;
    bool can_publish;
    bool can_publish_data;
    bool can_update_metadata;
    bool can_subscribe_metrics;
    bool can_manage_agent_session;
    bool hidden;
    uint32_t publish_sources; /* bit (1 << lk_track_source); 0: every source */
} lk_permission;

typedef struct lk_participant_info {
    const char *sid; /* "PA_..." */
    const char *identity;
    const char *name;
    const char *metadata;
    const lk_attribute *attributes; /* attribute_count of them, order unspecified */
    size_t attribute_count;
    int64_t joined_at_msec; /* Unix time */
    lk_participant_state state;
    lk_participant_kind kind;
    uint32_t kind_details; /* bit (1 << ParticipantInfo.KindDetail) of the protocol */
    lk_disconnect_reason disconnect_reason;
    int32_t client_protocol;
    bool is_local;
    bool has_permission; /* the server told one: permission is meaningful */
    lk_permission permission;
} lk_participant_info;

typedef struct lk_publication_info {
    const char *sid; /* "TR_..." as the server named it */
    const char *name;
    const char *mime_type; /* "audio/opus", "audio/red", "video/VP8"; "" on local publications */
    const char *participant_identity;
    const char *stream; /* name of the group the publisher put the track in; "" without */
    lk_media_kind kind;
    lk_track_source source;
    lk_encryption_type encryption;
    uint32_t width, height;  /* pixels; 0 for audio */
    uint32_t audio_features; /* bit (1 << lk_audio_feature) */
    bool simulcasted;
    bool muted;
    bool is_local;
    bool subscribed; /* remote only: a track is, or is wanted to be, delivered */
    bool subscription_allowed; /* remote only: the publisher permits us */
} lk_publication_info;

typedef struct lk_track_info {
    const char *sid; /* "TR_unknown" before a local track is first published */
    const char *name;
    lk_media_kind kind;
    lk_stream_state stream_state;
    bool muted;
    bool is_local;
    bool enabled; /* remote only, see lk_track_set_enabled */
} lk_track_info;

typedef struct lk_room_info {
    const char *sid; /* "RM_..."; "" until the server told it */
    const char *name;
    const char *metadata;
    int64_t creation_time_msec; /* Unix time */
    uint64_t lossy_low_threshold_bytes;    /* data channel: "low" is reported at or below this */
    uint64_t reliable_low_threshold_bytes;
    uint32_t empty_timeout_sec;     /* the room closes after nobody ever joined for this long */
    uint32_t departure_timeout_sec; /* ... or after the last one left */
    uint32_t max_participants;      /* 0: no limit */
    uint32_t participant_count;
    uint32_t publisher_count;
    bool active_recording;
    lk_connection_state state;
} lk_room_info;

#ifdef __cplusplus
}
#endif
#endif
