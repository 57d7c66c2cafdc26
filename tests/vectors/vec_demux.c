// SPDX-License-Identifier: Apache-2.0
#include "rtp/demux.h"
#include "vectors/lk_vectors.h"

static const char *class_name(lk_demux_class c)
{
    static const char *const names[] = {"drop", "stun", "zrtp", "dtls", "turn-channel", "rtp", "rtcp"};
    return names[c];
}

static void run(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        const uint8_t first = (uint8_t)lk_vec_u64(c, "b0", 0);
        if (lk_vec_is(c, "class", "rtp-or-rtcp")) {
            json_t *s;
            size_t i;
            json_array_foreach(json_object_get(file, "second_byte"), i, s) {
                const uint8_t data[2] = {first, (uint8_t)lk_vec_u64(s, "b1", 0)};
                VCHECK(v, lk_vec_is(s, "class", class_name(lk_demux(data, 2))));
            }
            continue;
        }
        const uint8_t data[2] = {first, 0};
        const char *got = class_name(lk_demux(data, 2)), *want = lk_vec_text(c, "class");
        VMEM(v, got, strlen(got), want, strlen(want));
        VEQ(v, lk_demux(data, 1), LK_DEMUX_DROP);
    }
}
LK_VECTOR("demux/demux.json", run)
