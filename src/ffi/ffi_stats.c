// SPDX-License-Identifier: Apache-2.0
/* Stats entries as messages. The tables of livekit/stats_fields.h have the names and the order of the schema, so groups
 * and kinds are walked by descriptor and table side by side. */
#include "ffi/ffi.h"
#include "livekit/stats.h"

/* Writes one value into the field of that number. */
static void put_u64(ProtobufCMessage *m, uint32_t n, uint64_t v)
{
    const ProtobufCFieldDescriptor *f = ffi_field(m, n);
    bool wide = f->type == PROTOBUF_C_TYPE_UINT64 || f->type == PROTOBUF_C_TYPE_INT64;
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL)
        *(protobuf_c_boolean *)(void *)((char *)m + f->quantifier_offset) = 1;
    if (wide)
        *(uint64_t *)(void *)((char *)m + f->offset) = v;
    else
        *(uint32_t *)(void *)((char *)m + f->offset) = (uint32_t)v;
}

/* -1: does not apply. */
static void put_enum(ProtobufCMessage *m, uint32_t n, int v)
{
    if (v >= 0)
        put_u64(m, n, (uint64_t)v);
}

static void put_f64(ProtobufCMessage *m, uint32_t n, double v)
{
    const ProtobufCFieldDescriptor *f = ffi_field(m, n);
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL)
        *(protobuf_c_boolean *)(void *)((char *)m + f->quantifier_offset) = 1;
    *(double *)(void *)((char *)m + f->offset) = v;
}

static void put_limits(ffi_build *b, ProtobufCMessage *m, uint32_t n, const double *values)
{
    static const char *const names[LK_STATS_LIMITS] = {"none", "cpu", "bandwidth", "other"};
    const ProtobufCFieldDescriptor *f = ffi_field(m, n);
    double sum = 0;
    for (size_t i = 0; i < LK_STATS_LIMITS; i++)
        sum += values[i];
    if (sum <= 0)
        return; /* audio is never limited: no map, as in the reference */
    ProtobufCMessage **list = (ProtobufCMessage **)ffi_alloc(b, LK_STATS_LIMITS * sizeof *list);
    for (size_t i = 0; i < LK_STATS_LIMITS && !b->bad; i++) {
        list[i] = (ProtobufCMessage *)ffi_new(b, (const ProtobufCMessageDescriptor *)f->descriptor);
        ffi_set_text(list[i], 1, names[i]);
        put_f64(list[i], 2, values[i]);
    }
    *(ProtobufCMessage ***)(void *)((char *)m + f->offset) = list;
    *(size_t *)(void *)((char *)m + f->quantifier_offset) = b->bad ? 0 : LK_STATS_LIMITS;
}

#define PUT_U32(name) put_u64(m, number, from->name);
#define PUT_U64(name) put_u64(m, number, from->name);
#define PUT_I32(name) put_u64(m, number, (uint64_t)from->name);
#define PUT_I64(name) put_u64(m, number, (uint64_t)from->name);
#define PUT_F64(name) put_f64(m, number, from->name);
#define PUT_BOOL(name) put_u64(m, number, from->name);
#define PUT_TEXT(name) ffi_set_text(m, number, from->name);
#define PUT_BLOB(name) ffi_set_text(m, number, from->name);
#define PUT_ENUM(name) put_enum(m, number, from->name);
#define PUT_LIMITS(name) put_limits(b, m, number, from->name);

/* Field numbers of a group are not always gapless: the n-th field of the descriptor has the number. */
#define PUT(type, name, unit)                           \
    number = m->descriptor->fields[at++].id;            \
    PUT_##type(name)
#define GROUP(group)                                                                           \
    static void fill_##group(ffi_build *b, ProtobufCMessage *m, const lk_stats_##group *from)  \
    {                                                                                          \
        size_t at = 0;                                                                         \
        uint32_t number = 0;                                                                   \
        LK_UNUSED(b);                                                                          \
        LK_STATS_GROUP_##group(PUT) LK_UNUSED(number);                                         \
    }
LK_STATS_GROUPS(GROUP)

#define MEMBER(group, member) fill_##group(b, ffi_set_message(b, m, m->descriptor->fields[at++].id), &from->member);
#define KIND(kind)                                                                                          \
    static void fill_kind_##kind(ffi_build *b, ProtobufCMessage *m, const lk_stats_##kind##_entry *from)    \
    {                                                                                                       \
        size_t at = 0;                                                                                      \
        LK_STATS_KIND_##kind(MEMBER)                                                                        \
        LK_UNUSED(b), LK_UNUSED(m), LK_UNUSED(from), LK_UNUSED(at);                                         \
    }
LK_STATS_KINDS(KIND)

size_t ffi_stats(ffi_build *b, const lk_stats *from, size_t count, Livekit__Proto__RtcStats ***out)
{
    Livekit__Proto__RtcStats **list = (Livekit__Proto__RtcStats **)ffi_alloc(b, count * sizeof(void *));
    size_t made = 0;
    for (size_t i = 0; i < count && !b->bad; i++) {
        Livekit__Proto__RtcStats *s = NEW(b, rtc_stats);
        switch (from[i].kind) {
#define ENTRY(name)                                                                                             \
    case LK_STATS_##name:                                                                                       \
        fill_kind_##name(b, ffi_set_message(b, &s->base, s->base.descriptor->fields[LK_STATS_##name - 1].id), \
                         &from[i].name);                                                                        \
        break;
            LK_STATS_KINDS(ENTRY)
        case LK_STATS_NONE:
        default: continue;
        }
        list[made++] = s;
    }
    *out = list;
    return b->bad ? 0 : made;
}
