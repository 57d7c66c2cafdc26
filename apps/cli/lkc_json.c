/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_json.c - statistics as JSON, by walking the tables of livekit/stats_fields.h.
 */
#include "lkc.h"

#include <inttypes.h>
#include <math.h>

void lkc_json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void put_f64(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, "%.17g", value);
    else
        fputs("null", out); /* JSON has no word for it */
}

#define PUT_U32(value) fprintf(out, "%" PRIu32, value)
#define PUT_U64(value) fprintf(out, "%" PRIu64, value)
#define PUT_I32(value) fprintf(out, "%" PRId32, value)
#define PUT_I64(value) fprintf(out, "%" PRId64, value)
#define PUT_F64(value) put_f64(out, value)
#define PUT_BOOL(value) fputs((value) ? "true" : "false", out)
#define PUT_TEXT(value) lkc_json_text(out, value)
#define PUT_BLOB(value) lkc_json_text(out, value)
#define PUT_ENUM(value) fprintf(out, "%d", value)
#define PUT_LIMITS(value)                                                    \
    do {                                                                     \
        for (int i = 0; i < LK_STATS_LIMITS; i++) {                          \
            fputc(i ? ',' : '[', out);                                       \
            put_f64(out, (value)[i]);                                        \
        }                                                                    \
        fputc(']', out);                                                     \
    } while (0)

#define PUT_FIELD(type, name, unit)              \
    fputs(first ? "\"" #name "\":" : ",\"" #name "\":", out); \
    first = false;                               \
    PUT_##type(group->name);

#define DEFINE_GROUP(name)                                         \
    static void put_##name(FILE *out, const lk_stats_##name *group) \
    {                                                              \
        bool first = true;                                         \
        fputc('{', out);                                           \
        LK_STATS_GROUP_##name(PUT_FIELD)                           \
        fputc('}', out);                                           \
        (void)first;                                               \
    }
LK_STATS_GROUPS(DEFINE_GROUP)

#define PUT_MEMBER(group, name)                              \
    fputs(first ? "\"" #name "\":" : ",\"" #name "\":", out); \
    first = false;                                           \
    put_##group(out, &entry->name);

#define DEFINE_KIND(name)                                                       \
    static void put_kind_##name(FILE *out, const lk_stats_##name##_entry *entry) \
    {                                                                           \
        bool first = true;                                                      \
        fputc('{', out);                                                        \
        LK_STATS_KIND_##name(PUT_MEMBER)                                        \
        fputc('}', out);                                                        \
        (void)first, (void)entry;                                               \
    }
LK_STATS_KINDS(DEFINE_KIND)

void lkc_json_stats(FILE *out, const lk_stats *entries, size_t count)
{
    fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s{\"%s\":", i ? "," : "", lk_stats_kind_name(entries[i].kind));
        switch (entries[i].kind) {
#define CASE_KIND(name) \
    case LK_STATS_##name: put_kind_##name(out, &entries[i].name); break;
            LK_STATS_KINDS(CASE_KIND)
#undef CASE_KIND
        default: fputs("{}", out); break;
        }
        fputc('}', out);
    }
    fputc(']', out);
}
