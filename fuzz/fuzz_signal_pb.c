// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a SignalResponse and as a DataPacket. */
#include "fuzz_pbuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_round_trip(&livekit__signal_response__descriptor, (lk_bytes){data, size});
    fuzz_round_trip(&livekit__data_packet__descriptor, (lk_bytes){data, size});
    return 0;
}
