// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "api/api.h"

/* Values that look like secrets end a field: tokens are JWTs ("eyJ..."), credentials travel under known names. */
static bool is_secret(const char *key, const char *text)
{
    return strstr(text, "eyJ") || strstr(text, "access_token=") || strstr(text, "ice-pwd") ||
           strstr(key, "token") || strstr(key, "secret") || strstr(key, "password");
}

void api_log_text(char *text, size_t cap, char target[API_LOG_TARGET_MAX], const char *event, const lk_log_field *fields, size_t count)
{
    size_t n = 0;
    const char *dot = strchr(event, '.');
    (void)lk_str_copy(target, API_LOG_TARGET_MAX, lk_str_of("livekit"));
    if (dot && (size_t)(dot - event) < API_LOG_TARGET_MAX)
        (void)lk_str_copy(target, API_LOG_TARGET_MAX, (lk_str){event, (size_t)(dot - event)});
    n += (size_t)snprintf(text, cap, "%s", event);
    for (size_t i = 0; i < count && n < cap; i++) {
        if (!fields[i].text)
            n += (size_t)snprintf(text + n, cap - n, " %s=%lld", fields[i].key, (long long)fields[i].number);
        else
            n += (size_t)snprintf(text + n, cap - n, " %s=%s", fields[i].key,
                                  is_secret(fields[i].key, fields[i].text) ? "***" : fields[i].text);
    }
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
}
