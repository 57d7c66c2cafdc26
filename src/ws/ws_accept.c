// SPDX-License-Identifier: Apache-2.0
#include "ws/ws_accept.h"

#include "crypto/crypto.h"

#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* [RFC6455 s1.3] */

bool lk_ws_accept_text(char out[WS_ACCEPT_TEXT_LEN + 1], const char *key, const lk_env *env)
{
    uint8_t digest[LK_SHA1_LEN];
    char joined[WS_KEY_TEXT_LEN + sizeof ACCEPT_GUID];
    lk_text text;
    memcpy(joined, key, WS_KEY_TEXT_LEN);
    memcpy(joined + WS_KEY_TEXT_LEN, ACCEPT_GUID, sizeof ACCEPT_GUID);
    if (lk_sha1(joined, sizeof joined - 1, digest) != LK_OK)
        return false;
    lk_text_init(&text, env, 64);
    lk_base64_put(&text, LK_BASE64_STD, digest, sizeof digest);
    bool ok = !text.bad && lk_str_copy(out, WS_ACCEPT_TEXT_LEN + 1, (lk_str){text.p, text.len});
    lk_text_deinit(&text);
    return ok;
}
