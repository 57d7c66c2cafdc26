// SPDX-License-Identifier: Apache-2.0
/* A message that parses stays inside its bytes; an agent that hears it changes nothing it can be blamed for. */
#include "fuzz_env.h"
#include "ice/ice.h"
#include "stun/stun.h"

static void walk(const uint8_t *data, size_t size)
{
    lk_stun_msg m;
    lk_addr addr;
    uint32_t u32;
    uint64_t u64;
    if (lk_stun_parse(&m, data, size) != LK_OK)
        return;
    for (size_t i = 0; i < m.attr_count; i++) {
        const lk_stun_attr *a = &m.attrs[i];
        FUZZ_REQUIRE(a->value >= data && a->value + a->len <= data + size);
        char text[LK_ADDR_TEXT_MAX];
        if (lk_stun_addr(&m, a, true, &addr)) {
            FUZZ_REQUIRE(strlen(lk_addr_text(&addr, text)) > 0);
            (void)lk_addr_is_link_local(&addr);
        }
        (void)lk_stun_u32(a, &u32);
        (void)lk_stun_u64(a, &u64);
        (void)lk_stun_error_code(a);
    }
    (void)lk_stun_unknown_required(&m);
    (void)lk_stun_check_integrity(&m, "key", 3);
    (void)lk_stun_check_integrity256(&m, "key", 3);
    (void)lk_stun_check_fingerprint(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_ice ice;
    lk_datagram tx;
    const lk_addr local = lk_addr_v4(10, 0, 0, 1, 1);
    const lk_datagram in = {.local = local, .remote = lk_addr_v4(10, 0, 0, 2, 2), .data = data, .len = size};
    walk(data, size);
    lk_ice_init(&ice, fuzz_env(), &(lk_ice_config){.controlling = true}, 0);
    (void)!lk_ice_add_local(&ice, 0, &local);
    (void)!lk_ice_set_remote(&ice, 0, lk_str_of("abcd"), lk_str_of("0123456789012345678901"), false);
    lk_ice_input(&ice, 1000, &in);
    FUZZ_REQUIRE(lk_ice_remote_at(&ice, 0) == NULL); /* nobody knows our password */
    lk_ice_tick(&ice, 60000);
    for (int i = 0; i < 100 && lk_ice_poll_tx(&ice, 60000, &tx); i++) {
    }
    lk_ice_deinit(&ice);
    return 0;
}
