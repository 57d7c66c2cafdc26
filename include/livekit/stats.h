/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/stats.h - one entry of a statistics report, as W3C webrtc-stats names things.
 *
 * A report is an array of lk_stats, sorted by id; entries refer to each other by id. Values that do not apply are 0, "" or
 * false. rtc.timestamp is Unix time in microseconds; other units stand in stats_fields.h. Plain values: copy freely.
 */
#ifndef LIVEKIT_STATS_H
#define LIVEKIT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "livekit/error.h"
#include "livekit/stats_fields.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Indexes of LIMITS fields: seconds spent limited by each cause. */
enum { LK_STATS_LIMIT_NONE, LK_STATS_LIMIT_CPU, LK_STATS_LIMIT_BANDWIDTH, LK_STATS_LIMIT_OTHER, LK_STATS_LIMITS };

/* Values of ENUM fields are those of the FFI schema; -1: does not apply. */
enum { LK_STATS_ICE_ROLE_UNKNOWN, LK_STATS_ICE_ROLE_CONTROLLING, LK_STATS_ICE_ROLE_CONTROLLED };
enum { LK_STATS_DTLS_NEW, LK_STATS_DTLS_CONNECTING, LK_STATS_DTLS_CONNECTED, LK_STATS_DTLS_CLOSED, LK_STATS_DTLS_FAILED };

#define LK_STATS_TYPE_U32(name) uint32_t name;
#define LK_STATS_TYPE_U64(name) uint64_t name;
#define LK_STATS_TYPE_I32(name) int32_t name;
#define LK_STATS_TYPE_I64(name) int64_t name;
#define LK_STATS_TYPE_F64(name) double name;
#define LK_STATS_TYPE_BOOL(name) bool name;
#define LK_STATS_TYPE_TEXT(name) char name[LK_STATS_TEXT_MAX];
#define LK_STATS_TYPE_BLOB(name) char name[LK_STATS_BLOB_MAX];
#define LK_STATS_TYPE_ENUM(name) int name;
#define LK_STATS_TYPE_LIMITS(name) double name[LK_STATS_LIMITS];

#define LK_STATS_FIELD(type, name, unit) LK_STATS_TYPE_##type(name)
#define LK_STATS_STRUCT(group)                      \
    typedef struct lk_stats_##group {               \
        LK_STATS_GROUP_##group(LK_STATS_FIELD)      \
    } lk_stats_##group;
LK_STATS_GROUPS(LK_STATS_STRUCT)

typedef enum lk_stats_kind {
    LK_STATS_NONE = 0,
#define LK_STATS_ENUM(name) LK_STATS_##name,
    LK_STATS_KINDS(LK_STATS_ENUM)
#undef LK_STATS_ENUM
} lk_stats_kind;

#define LK_STATS_MEMBER(group, name) lk_stats_##group name;
typedef struct lk_stats_codec_entry { LK_STATS_KIND_codec(LK_STATS_MEMBER) } lk_stats_codec_entry;
typedef struct lk_stats_inbound_rtp_entry { LK_STATS_KIND_inbound_rtp(LK_STATS_MEMBER) } lk_stats_inbound_rtp_entry;
typedef struct lk_stats_outbound_rtp_entry { LK_STATS_KIND_outbound_rtp(LK_STATS_MEMBER) } lk_stats_outbound_rtp_entry;
typedef struct lk_stats_remote_inbound_rtp_entry { LK_STATS_KIND_remote_inbound_rtp(LK_STATS_MEMBER) } lk_stats_remote_inbound_rtp_entry;
typedef struct lk_stats_remote_outbound_rtp_entry { LK_STATS_KIND_remote_outbound_rtp(LK_STATS_MEMBER) } lk_stats_remote_outbound_rtp_entry;
typedef struct lk_stats_media_source_entry { LK_STATS_KIND_media_source(LK_STATS_MEMBER) } lk_stats_media_source_entry;
typedef struct lk_stats_media_playout_entry { LK_STATS_KIND_media_playout(LK_STATS_MEMBER) } lk_stats_media_playout_entry;
typedef struct lk_stats_peer_connection_entry { LK_STATS_KIND_peer_connection(LK_STATS_MEMBER) } lk_stats_peer_connection_entry;
typedef struct lk_stats_data_channel_entry { LK_STATS_KIND_data_channel(LK_STATS_MEMBER) } lk_stats_data_channel_entry;
typedef struct lk_stats_transport_entry { LK_STATS_KIND_transport(LK_STATS_MEMBER) } lk_stats_transport_entry;
typedef struct lk_stats_candidate_pair_entry { LK_STATS_KIND_candidate_pair(LK_STATS_MEMBER) } lk_stats_candidate_pair_entry;
typedef struct lk_stats_local_candidate_entry { LK_STATS_KIND_local_candidate(LK_STATS_MEMBER) } lk_stats_local_candidate_entry;
typedef struct lk_stats_remote_candidate_entry { LK_STATS_KIND_remote_candidate(LK_STATS_MEMBER) } lk_stats_remote_candidate_entry;
typedef struct lk_stats_certificate_entry { LK_STATS_KIND_certificate(LK_STATS_MEMBER) } lk_stats_certificate_entry;
typedef struct lk_stats_stream_entry { LK_STATS_KIND_stream(LK_STATS_MEMBER) } lk_stats_stream_entry;
typedef struct lk_stats_track_entry { char unused; } lk_stats_track_entry;

/* One entry. Every kind but track begins with `rtc`, so entry.rtc.id works for all of those. */
typedef struct lk_stats {
    lk_stats_kind kind;
    union {
        lk_stats_Rtc rtc;
#define LK_STATS_UNION(name) lk_stats_##name##_entry name;
        LK_STATS_KINDS(LK_STATS_UNION)
#undef LK_STATS_UNION
    };
} lk_stats;

/* Name of a kind as the schema has it ("inbound_rtp"), or "". Static. Any thread. */
LK_API const char *lk_stats_kind_name(lk_stats_kind kind);

#ifdef __cplusplus
}
#endif
#endif
