/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc.h - what the verbs of `lkc` share. They are ordinary users of include/livekit and of nothing deeper.
 */
#ifndef LKC_H
#define LKC_H

#include <stdio.h>

#include "livekit/livekit.h"
#include "livekit/stats.h"

/* The pair everybody knows, as that of livekit-server --dev: for trying out. */
#define LKC_DEV_KEY "devkey"
#define LKC_DEV_SECRET "secret"

enum { LKC_OK = 0, LKC_FAILED = 1, LKC_USAGE = 2 };

/* argv[0] is the verb. */
#define LKC_VERB(name, arguments, text) int lkc_##name(int argc, char **argv);
#include "verbs.inc"
#undef LKC_VERB

/* Prints how the verb is called; returns LKC_USAGE. */
int lkc_usage(const char *verb);

/* One line on stderr: what is wrong, and the word it is about (NULL: none). Returns LKC_USAGE. */
int lkc_complain(const char *verb, const char *what, const char *word);

/* Writes text to out without anything a terminal would act on. width > 0: cut or filled up to so many columns. */
void lkc_put_text(FILE *out, const char *text, int width);

/* Writes one JSON string. */
void lkc_json_text(FILE *out, const char *text);

/* Writes entries as a JSON array [{kind: {group: {field: value}}}], every field of the table. */
void lkc_json_stats(FILE *out, const lk_stats *entries, size_t count);

#endif
