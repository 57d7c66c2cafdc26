// SPDX-License-Identifier: Apache-2.0
/* What packets say of layers. The first byte says which: VP9 descriptors, or a stream of dependency descriptors, each behind its
 * length. What one says stays the same when it is written with other active targets. */
#include "fuzz_env.h"
#include "rtp/dependency.h"
#include "rtp/vp9_descriptor.h"

static void read_vp9(lk_bytes payload)
{
    lk_rtp_vp9 d;
    lk_rtp_vp9_picture p;
    size_t pictures = 0;
    if (lk_rtp_vp9_parse(&d, payload) != LK_OK)
        return;
    FUZZ_REQUIRE(d.data.data > payload.data && d.data.data + d.data.len == payload.data + payload.len);
    FUZZ_REQUIRE(d.sid < LK_RTP_VP9_SPATIAL_MAX && d.reference_count <= LK_RTP_VP9_REFERENCES_MAX);
    lk_rd at = lk_rd_of(d.group.data, d.group.len);
    while (lk_rtp_vp9_group_next(&at, &p))
        pictures++;
    FUZZ_REQUIRE(!at.bad && pictures == d.group_count);
}

static void same_frame(const lk_rtp_dd_frame *a, const lk_rtp_dd_frame *b)
{
    FUZZ_REQUIRE(a->sid == b->sid && a->tid == b->tid && a->dtis == b->dtis && a->reference_count == b->reference_count);
    FUZZ_REQUIRE(memcmp(a->references, b->references, a->reference_count * sizeof a->references[0]) == 0);
    FUZZ_REQUIRE(memcmp(a->chains, b->chains, sizeof a->chains) == 0);
}

static void write_again(lk_bytes value, const lk_rtp_dd *d, const lk_rtp_dd_structure *s)
{
    uint8_t bytes[LK_RTP_DD_BYTES_MAX];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_rtp_dd_structure fresh = *s;
    lk_rtp_dd again;
    uint32_t within = lk_rtp_dd_targets_within(s, d->frame.sid, d->frame.tid);
    if (lk_rtp_dd_write_active(&w, value, d, s, within) != LK_OK)
        return;
    FUZZ_REQUIRE(w.len <= value.len + 5);
    FUZZ_REQUIRE(lk_rtp_dd_parse(&again, &fresh, s, (lk_bytes){bytes, w.len}) == LK_OK);
    FUZZ_REQUIRE(again.has_frame && again.has_active && again.active == within && again.attached == d->attached);
    FUZZ_REQUIRE(again.first == d->first && again.last == d->last && again.number == d->number);
    same_frame(&again.frame, &d->frame);
    FUZZ_REQUIRE(fresh.template_count == s->template_count && fresh.target_count == s->target_count);
}

static void read_dependencies(lk_rd r)
{
    lk_rtp_dd_structure s = {0};
    bool known = false;
    while (lk_rd_left(&r)) {
        uint8_t len = lk_rd_u8(&r);
        lk_bytes value = {r.at, LK_MIN((size_t)len, lk_rd_left(&r))};
        lk_rtp_dd d;
        lk_rd_skip(&r, value.len);
        if (lk_rtp_dd_parse(&d, &s, known ? &s : NULL, value) != LK_OK)
            continue;
        known |= d.attached;
        FUZZ_REQUIRE(d.has_frame == known && d.end_at <= 8 * value.len && d.mask_at <= d.tail_at && d.tail_at <= d.end_at);
        if (!known)
            continue;
        FUZZ_REQUIRE(d.frame.sid < s.spatial_count && s.spatial_count <= LK_RTP_DD_SPATIAL_MAX && d.frame.tid < LK_RTP_DD_TEMPORAL_MAX);
        FUZZ_REQUIRE(s.target_count && s.chain_count <= s.target_count);
        write_again(value, &d, &s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        read_vp9((lk_bytes){data + 1, size - 1});
    else
        read_dependencies(lk_rd_of(data + 1, size - 1));
    return 0;
}
