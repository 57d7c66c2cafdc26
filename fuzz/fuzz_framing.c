// SPDX-License-Identifier: Apache-2.0
/* Packets in a stream, two bytes of length before each [RFC4571]: the same packets whatever pieces the stream comes in, none longer than
 * allowed, and their bytes are those of the stream. First byte: size of the pieces. */
#include "fuzz_env.h"
#include "io/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lk_frame_reader reader;
    size_t taken = 1, piece = size ? data[0] % 64u + 1 : 1;
    bool bad = false;
    reader.have = 0;
    for (size_t at = 1; at < size && !bad; at += piece) {
        lk_bytes in = {data + at, LK_MIN(piece, size - at)}, packet;
        lk_err err;
        while ((err = lk_frame_read(&reader, &in, &packet)) == LK_OK) {
            FUZZ_REQUIRE(packet.len <= LK_FRAME_MAX && lk_get_u16(data + taken) == packet.len && size - taken >= 2 + packet.len);
            FUZZ_REQUIRE(memcmp(packet.data, data + taken + 2, packet.len) == 0);
            taken += 2 + packet.len;
        }
        FUZZ_REQUIRE(err == LK_ERR_WIRE || (err == LK_ERR_AGAIN && in.len == 0));
        bad = err == LK_ERR_WIRE;
    }
    if (size >= taken + 2) /* it stopped at what is not all there, or too long */
        FUZZ_REQUIRE(bad ? lk_get_u16(data + taken) > LK_FRAME_MAX : size - taken < 2u + lk_get_u16(data + taken));
    return 0;
}
