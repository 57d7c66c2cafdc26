// SPDX-License-Identifier: Apache-2.0
#include "fuzz_env.h"
#include "ws/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_url url;
    lk_error why = {LK_OK, ""};
    char list[256] = "";
    lk_str text = {(const char *)data, size};
    (void)!lk_proxy_parse(&url, text, &why);
    why = (lk_error){LK_OK, ""};
    if (lk_url_parse(&url, text, &why) != LK_OK) {
        FUZZ_REQUIRE(why.code != LK_OK && why.text[0]);
        return 0;
    }
    FUZZ_REQUIRE(url.host[0] && strlen(url.host) <= LK_URL_HOST_MAX && url.port);
    (void)lk_str_copy(list, sizeof list, text);
    (void)lk_proxy_choose(&(lk_proxy_env){"http://p:1", "http://p:1", list}, &url);
    return 0;
}
