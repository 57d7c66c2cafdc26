/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc.c - `lkc VERB ...`: finds the verb in verbs.inc and runs it.
 */
#include "lkc.h"

#include <string.h>

typedef struct lkc_verb {
    const char *name, *arguments, *text;
    int (*run)(int argc, char **argv);
} lkc_verb;

static const lkc_verb verbs[] = {
#define LKC_VERB(name, arguments, text) {#name, arguments, text, lkc_##name},
#include "verbs.inc"
#undef LKC_VERB
};

static void print_help(FILE *out)
{
    fputs("usage: lkc VERB [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int width = fprintf(out, "  lkc %s %s", verbs[i].name, verbs[i].arguments);
        fprintf(out, "%*s%s\n", width < 44 ? 44 - width : 2, "", verbs[i].text);
    }
}

int lkc_usage(const char *verb)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, verb))
            fprintf(stderr, "usage: lkc %s %s\n", verb, verbs[i].arguments);
    return LKC_USAGE;
}

int lkc_help(int argc, char **argv)
{
    (void)argc, (void)argv;
    print_help(stdout);
    return LKC_OK;
}

int lkc_version(int argc, char **argv)
{
    if (argc > 1)
        return lkc_usage(argv[0]);
    printf("lkc %s\n", lk_version());
    return LKC_OK;
}

void lkc_put_text(FILE *out, const char *text, int width)
{
    int columns = 0;
    for (const char *p = text; *p && (!width || columns < width); p++) {
        unsigned char c = (unsigned char)*p;
        /* One column a character: continuation bytes of UTF-8 take none. C1 controls hide in C2 80..9F. */
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)p[1] < 0xa0)) {
            fputc('?', out);
            columns++;
            if (c == 0xc2 && p[1])
                p++;
            continue;
        }
        fputc(c, out);
        columns += (c & 0xc0) != 0x80;
        if (width && columns == width)
            while (((unsigned char)p[1] & 0xc0) == 0x80)
                fputc(*++p, out);
    }
    if (width > columns)
        fprintf(out, "%*s", width - columns, "");
}

int lkc_complain(const char *verb, const char *what, const char *word)
{
    fprintf(stderr, "lkc %s: %s", verb, what);
    if (word) {
        fputs(": ", stderr);
        lkc_put_text(stderr, word, 0);
    }
    fputc('\n', stderr);
    return LKC_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return LKC_USAGE;
    }
    const char *name = !strcmp(argv[1], "--help") ? "help" : !strcmp(argv[1], "--version") ? "version" : argv[1];
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name))
            return verbs[i].run(argc - 1, argv + 1);
    fprintf(stderr, "lkc: no verb '");
    lkc_put_text(stderr, argv[1], 0);
    fprintf(stderr, "'\n");
    print_help(stderr);
    return LKC_USAGE;
}
