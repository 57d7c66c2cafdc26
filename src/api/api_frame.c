// SPDX-License-Identifier: Apache-2.0
/* An lk_audio_frame is an lk_frame of the engine: counted and immutable on both sides of the gate. */
#include "api/api_shell.h"
#include "frame/frame.h"

lk_audio_frame *api_frame_of(struct lk_frame *frame) { return (lk_audio_frame *)frame; }

lk_audio_frame *lk_audio_frame_keep(lk_audio_frame *frame)
{
    return frame ? (lk_audio_frame *)lk_frame_ref((lk_frame *)frame) : NULL;
}

void lk_audio_frame_drop(lk_audio_frame *frame) { lk_frame_unref((lk_frame *)frame); }

lk_audio_view lk_audio_frame_view(const lk_audio_frame *frame)
{
    const lk_frame *f = (const lk_frame *)frame;
    if (!f)
        return (lk_audio_view){0};
    return (lk_audio_view){f->data, f->samples, f->sample_rate, f->channels};
}
