// SPDX-License-Identifier: Apache-2.0
#include "livekit/error.h"

const char *lk_err_name(lk_err code)
{
    switch ((int)code) {
#define LK_ERR_NAME(name, number, text) \
    case number:                        \
        return #name;
        LK_ERR_LIST(LK_ERR_NAME)
#undef LK_ERR_NAME
    default:
        return "UNKNOWN";
    }
}

const char *lk_err_text(lk_err code)
{
    switch ((int)code) {
#define LK_ERR_TEXT(name, number, text) \
    case number:                        \
        return text;
        LK_ERR_LIST(LK_ERR_TEXT)
#undef LK_ERR_TEXT
    default:
        return "unknown error";
    }
}
