// SPDX-License-Identifier: Apache-2.0
#include "fuzz_env.h"
#include "ice/ice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_ice ice;
    lk_ice_line line;
    lk_str text = {(const char *)data, size};
    lk_ice_init(&ice, fuzz_env(), &(lk_ice_config){.controlling = true}, 0);
    lk_err parsed = lk_ice_line_parse(&line, text), added = lk_ice_add_remote(&ice, 0, text);
    FUZZ_REQUIRE(parsed == LK_OK || added != LK_OK);
    lk_ice_deinit(&ice);
    return 0;
}
