// SPDX-License-Identifier: Apache-2.0
#include "fuzz_env.h"
#include "ice/ice.h"

/* An address that was understood is written so that it is understood the same. */
static void address_again(lk_str text)
{
    lk_addr addr, again;
    char out[LK_ADDR_TEXT_MAX];
    if (!lk_addr_parse_ip(&addr, text))
        return;
    FUZZ_REQUIRE(lk_addr_parse_ip(&again, lk_str_of(lk_addr_ip_text(&addr, out))) && lk_addr_ip_eq(&addr, &again));
    FUZZ_REQUIRE(strlen(lk_addr_text(&addr, out)) < sizeof out);
    FUZZ_REQUIRE(!(lk_addr_is_loopback(&addr) && lk_addr_is_unspecified(&addr)));
    (void)lk_addr_is_link_local(&addr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_ice ice;
    lk_ice_line line;
    lk_str text = {(const char *)data, size};
    lk_ice_init(&ice, fuzz_env(), &(lk_ice_config){.controlling = true}, 0);
    lk_err parsed = lk_ice_line_parse(&line, text), added = lk_ice_add_remote(&ice, 0, text);
    if (parsed == LK_OK)
        address_again(line.address);
    FUZZ_REQUIRE(parsed == LK_OK || added != LK_OK);
    lk_ice_deinit(&ice);
    return 0;
}
