// SPDX-License-Identifier: Apache-2.0
/* Inside of ws/: the answer to a handshake key, which both roles compute. [RFC6455 s4.2.2] */
#pragma once
#include "base/lk_base.h"

#define WS_KEY_TEXT_LEN 24
#define WS_ACCEPT_TEXT_LEN 28

/* key: 24 characters. False without memory. */
bool lk_ws_accept_text(char out[WS_ACCEPT_TEXT_LEN + 1], const char *key, const lk_env *env);
