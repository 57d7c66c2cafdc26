/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/track.h - a track: what is published, or what arrives. Local ones exist without any room.
 *
 * Words of the contracts are explained in runtime.h.
 */
#ifndef LIVEKIT_TRACK_H
#define LIVEKIT_TRACK_H

#include "livekit/media.h"
#include "livekit/runtime.h"
#include "livekit/types.h"
#include "livekit/video.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lk_track lk_track;

/* A local audio track fed by source (kept). Several tracks may share a source. name: borrow, <= 256 bytes, UTF-8.
 * Give: lk_track_unref. A publication outlives the reference. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_track_new_audio(lk_track **out, lk_audio_source *source,
                                              const char *name);

/* The same for video. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_track_new_video(lk_track **out, lk_video_source *source,
                                              const char *name);

LK_API lk_track *lk_track_ref(lk_track *track); /* LK_ANY */
LK_API void lk_track_unref(lk_track *track);    /* LK_ANY */

/* Newest info. Give: lk_info_unref. LK_ANY. */
LK_API LK_NODISCARD lk_err lk_track_get_info(const lk_track_info **out, const lk_track *track);

/* Never changes. LK_ANY. */
LK_API bool lk_track_is_local(const lk_track *track);

/* Mutes or unmutes a local track: silence, or no pictures, are sent, capture goes on at its pace, others are told
 * (LK_EVENT_TRACK_MUTED, once). Before a publication it is remembered. LK_ERR_INVALID: a remote track. LK_ANY. */
LK_API lk_err lk_track_set_muted(lk_track *track, bool muted);

/* Enables or disables a remote track for a sound device. Not told to anybody; streams still get its audio.
 * LK_ERR_INVALID: a local track. LK_ANY. */
LK_API lk_err lk_track_set_enabled(lk_track *track, bool enabled);

/* Counters of this track and of what carries it. Ends with LK_ERR_NOT_FOUND when a local track is not published,
 * with LK_OK and an empty list when a remote one is no longer subscribed, LK_ERR_CLOSED when the room is gone.
 * Default deadline 5 s. op may be NULL. LK_ANY. */
LK_API lk_err lk_track_get_stats(lk_op *op, lk_track *track, const lk_op_options *how);

#ifdef __cplusplus
}
#endif
#endif
