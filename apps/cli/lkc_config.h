/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_config.h - what `lkc serve` was told, by flags, by the environment and by a file.
 */
#ifndef LKC_CONFIG_H
#define LKC_CONFIG_H

#include "livekit/server.h"

enum { LKC_KEYS_MAX = 64, LKC_BIND_MAX = 16, LKC_LOOPS_MAX = 16, LKC_STUN_MAX = 8, LKC_WARNINGS_MAX = 16, LKC_WHY_MAX = 300 };

/* Texts live as long as the process. */
typedef struct lkc_config {
    lk_server_options options;
    lk_access_key keys[LKC_KEYS_MAX];
    const char *bind[LKC_BIND_MAX];
    const char *stun_servers[LKC_STUN_MAX];
    const char *key_file;
    bool log_json;
    char why[LKC_WHY_MAX]; /* of what was refused: one line */
} lkc_config;

/* Reads a file with the keys of livekit-server; a key that means nothing here is named by warn and passed over.
 * False, with config->why: unreadable, not YAML, a value of the wrong kind. */
bool lkc_config_read(lkc_config *config, const char *path, void (*warn)(const char *line));

/* A number from 0 to max. */
bool lkc_config_count(const char *text, uint32_t max, uint32_t *out);

/* "key: secret" pairs, one a line, as YAML. origin names them in config->why. */
bool lkc_config_keys(lkc_config *config, const char *text, const char *origin);

/* The same from a file that nobody else may read. */
bool lkc_config_key_file(lkc_config *config, const char *path);

#endif
