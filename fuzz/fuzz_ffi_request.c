// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an FfiRequest. */
#include "fuzz_pbuf.h"
#include "pbuf/pbuf_ffi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_round_trip(&livekit__proto__ffi_request__descriptor, (lk_bytes){data, size});
    return 0;
}
