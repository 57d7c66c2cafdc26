/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/event.h - what lk_next_event gives and what callbacks get.
 *
 * An event owns one reference of every object it names and every string and info it points to, until
 * lk_event_free (in a callback: until it returns). Keep an object with its x_ref, an info with lk_info_ref.
 * Fields an event type does not name are zero. The order of events is that of the FFI contract of LiveKit.
 */
#ifndef LIVEKIT_EVENT_H
#define LIVEKIT_EVENT_H

#include "livekit/media.h"
#include "livekit/room.h"
#include "livekit/runtime.h"
#include "livekit/track.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_stats lk_stats; /* stats.h */

/* Every event of a room sets room; "participant" means participant and participant_info are set, and so on. */
typedef enum lk_event_type {
    /* End of an operation: op, op_kind, user_data, error, and by kind
     *   CONNECT        room, room_info, participant (the local one), members (everybody else, with publications)
     *   PUBLISH        room, participant (the local one), publication, track
     *   STATS          stats (of the track, or of the publishing connection), subscriber_stats (room only)
     *   DISCONNECT, UNPUBLISH, METADATA, NAME, ATTRIBUTES: room
     *   CAPTURE        source */
    LK_EVENT_OP_DONE = 1,

    /* -- the room -- */
    LK_EVENT_CONNECTION_STATE,       /* state */
    LK_EVENT_RECONNECTING,           /* the connection is lost; everybody else has just been told to be gone */
    LK_EVENT_RECONNECTED,            /* they have been told again, our tracks are published again */
    LK_EVENT_DISCONNECTED,           /* reason, error (why, in words) */
    LK_EVENT_ROOM_CLOSED,            /* the last event of a room, exactly once per connect that succeeded */
    LK_EVENT_ROOM_SID,               /* text: the sid; once per connect */
    LK_EVENT_ROOM_METADATA,          /* text: the metadata */
    LK_EVENT_ROOM_UPDATED,           /* room_info */
    LK_EVENT_ROOM_MOVED,             /* room_info */
    LK_EVENT_TOKEN_REFRESHED,        /* text: the token, a secret */

    /* -- participants -- */
    LK_EVENT_PARTICIPANT_CONNECTED,    /* participant */
    LK_EVENT_PARTICIPANT_ACTIVE,       /* participant */
    LK_EVENT_PARTICIPANT_DISCONNECTED, /* participant, reason */
    LK_EVENT_PARTICIPANT_METADATA,     /* participant, text: the metadata */
    LK_EVENT_PARTICIPANT_NAME,         /* participant, text: the name */
    LK_EVENT_PARTICIPANT_ATTRIBUTES,   /* participant, attributes: the changed ones, "" for deleted */
    LK_EVENT_PARTICIPANT_PERMISSION,   /* participant */
    LK_EVENT_PARTICIPANT_ENCRYPTION,   /* participant, flag: everything it publishes is encrypted */
    LK_EVENT_PARTICIPANTS_UPDATED,     /* members (without publications): complete infos of those that changed */
    LK_EVENT_ACTIVE_SPEAKERS,          /* members (without publications): all that speak, loudest first */
    LK_EVENT_CONNECTION_QUALITY,       /* participant, quality */

    /* -- our tracks -- */
    LK_EVENT_LOCAL_TRACK_PUBLISHED,    /* publication, track; after the LK_EVENT_OP_DONE of the publish */
    LK_EVENT_LOCAL_TRACK_UNPUBLISHED,  /* publication; before the LK_EVENT_OP_DONE of the unpublish */
    LK_EVENT_LOCAL_TRACK_SUBSCRIBED,   /* publication: the first subscriber gets it */
    LK_EVENT_LOCAL_TRACK_REPUBLISHED,  /* publication with its new sid, text: the old sid */

    /* -- their tracks -- */
    LK_EVENT_TRACK_PUBLISHED,           /* participant, publication */
    LK_EVENT_TRACK_UNPUBLISHED,         /* participant, publication */
    LK_EVENT_TRACK_SUBSCRIBED,          /* participant, publication, track */
    LK_EVENT_TRACK_UNSUBSCRIBED,        /* participant, publication, track */
    LK_EVENT_TRACK_SUBSCRIPTION_FAILED, /* participant, text: the sid of the track, error */
    LK_EVENT_TRACK_MUTED,               /* participant (may be the local one), publication */
    LK_EVENT_TRACK_UNMUTED,             /* participant (may be the local one), publication */

    /* -- data -- */
    LK_EVENT_DATA,           /* participant (NULL: the server, or somebody it has not announced yet), data, text: the topic
                              * ("" also without one: flag tells), reliable, flag: it has a topic */
    LK_EVENT_DTMF,           /* participant (NULL: the server), text: the digit, user_value: the code */
    LK_EVENT_DATA_THRESHOLD, /* user_value: bytes, reliable */

    /* -- audio streams: stream and its user_data; room is not set -- */
    LK_EVENT_AUDIO_FRAME,       /* frame */
    LK_EVENT_AUDIO_STREAM_END,  /* the last event of a stream, exactly once */

    /* -- video streams: video_stream and its user_data; room is not set -- */
    LK_EVENT_VIDEO_FRAME,       /* video_frame */
    LK_EVENT_VIDEO_STREAM_END,  /* the last event of a stream, exactly once */

    /* -- without a room -- */
    LK_EVENT_LOG,   /* level, text: the record, target: the module */
    LK_EVENT_USER,  /* user_value, user_data: see lk_post_event */

    LK_EVENT_FORCE_INT = 0x7fffffff
} lk_event_type;

typedef enum lk_op_kind {
    LK_OP_CONNECT = 1,
    LK_OP_DISCONNECT,
    LK_OP_PUBLISH,
    LK_OP_UNPUBLISH,
    LK_OP_METADATA,
    LK_OP_NAME,
    LK_OP_ATTRIBUTES,
    LK_OP_STATS,
    LK_OP_CAPTURE,
    LK_OP_DATA,
    LK_OP_FORCE_INT = 0x7fffffff
} lk_op_kind;

typedef struct lk_event_publication {
    lk_publication *publication;
    const lk_publication_info *info;
} lk_event_publication;

typedef struct lk_event_member {
    lk_participant *participant;
    const lk_participant_info *info;
    const lk_event_publication *publications;
    size_t publication_count;
} lk_event_member;

struct lk_event {
    lk_event_type type;
    lk_op_kind op_kind;
    lk_op op;
    void *user_data;     /* of the operation, of the stream, or of lk_post_event */
    uint64_t user_value; /* LK_EVENT_USER, and where the type names it */
    lk_error error;

    lk_room *room;
    lk_participant *participant;
    lk_publication *publication;
    lk_track *track;
    lk_audio_source *source;
    lk_audio_stream *stream;
    lk_audio_frame *frame;
    lk_video_stream *video_stream;
    lk_video_frame *video_frame;

    const lk_room_info *room_info;
    const lk_participant_info *participant_info;
    const lk_publication_info *publication_info;
    const lk_track_info *track_info;

    const lk_event_member *members;
    size_t member_count;
    const lk_attribute *attributes;
    size_t attribute_count;

    const lk_stats *stats;
    size_t stats_count;
    const lk_stats *subscriber_stats;
    size_t subscriber_stats_count;

    const char *text;   /* "" when the type does not name it, never NULL */
    const char *target; /* likewise */
    lk_connection_state state;
    lk_connection_quality quality;
    lk_disconnect_reason reason;
    lk_log_level level;
    bool flag;
    bool reliable;
    const uint8_t *data;
    size_t data_len;
};

/* Name of a type without its prefix ("TRACK_SUBSCRIBED"), or "UNKNOWN". Static storage. LK_ANY. */
LK_API const char *lk_event_name(lk_event_type type);

#ifdef __cplusplus
}
#endif
#endif
