// SPDX-License-Identifier: Apache-2.0
/* Vectors that need base alone. */
#include "vectors/lk_vectors.h"

static void run_crc(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        VEQ(v, lk_crc32(in.data, in.len), lk_vec_u64(c, "crc32", 0));
        VEQ(v, lk_crc32c(in.data, in.len), lk_vec_u64(c, "crc32c", 0));
        lk_vec_free(in);
    }
}
LK_VECTOR("fixed/crc.json", run_crc)
