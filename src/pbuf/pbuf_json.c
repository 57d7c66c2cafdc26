// SPDX-License-Identifier: Apache-2.0
#include "pbuf/pbuf_json.h"

#include <jansson.h>

#define REAL_TEXT_MAX 40

static size_t member_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    default: return 4;
    }
}

static const ProtobufCMessageDescriptor *message_type(const ProtobufCFieldDescriptor *f)
{
    return (const ProtobufCMessageDescriptor *)f->descriptor;
}

/* A map became a repeated message of key and value. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *d = message_type(f);
    size_t n = strlen(d->short_name);
    return d->n_fields == 2 && n > 5 && strcmp(d->short_name + n - 5, "Entry") == 0 && strcmp(d->fields[0].name, "key") == 0;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static void put_message(lk_text *t, const ProtobufCMessage *m, bool brief);

static void put_quoted(lk_text *t, const char *text) { lk_text_json(t, lk_str_of(text)); }

static void put_real(lk_text *t, double value)
{
    char text[REAL_TEXT_MAX];
    json_t *j = json_real(value);
    size_t n = j ? json_dumpb(j, text, sizeof text, JSON_ENCODE_ANY) : 0;
    lk_text_put(t, n && n <= sizeof text ? text : "0", n && n <= sizeof text ? n : 1);
    json_decref(j);
}

static void put_number(lk_text *t, bool quoted, bool is_signed, uint64_t value)
{
    if (quoted)
        lk_text_ch(t, '"');
    if (is_signed)
        lk_text_i64(t, (int64_t)value);
    else
        lk_text_u64(t, value);
    if (quoted)
        lk_text_ch(t, '"');
}

static void put_value(lk_text *t, const ProtobufCFieldDescriptor *f, const void *at, bool brief)
{
    uint32_t u32 = 0;
    uint64_t u64 = 0;
    double real;
    float single;
    const void *pointer = NULL;
    memcpy(&u32, at, 4);
    if (member_size(f) == 8 && f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
        memcpy(&u64, at, 8);
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: put_number(t, false, true, (uint64_t)(int64_t)(int32_t)u32); break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: put_number(t, false, false, u32); break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: put_number(t, true, true, u64); break; /* JSON numbers end at 2^53 */
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: put_number(t, true, false, u64); break;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(&real, at, sizeof real);
        put_real(t, real);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        memcpy(&single, at, sizeof single);
        put_real(t, (double)single);
        break;
    case PROTOBUF_C_TYPE_BOOL: lk_text_z(t, u32 ? "true" : "false"); break;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = (const ProtobufCEnumDescriptor *)f->descriptor;
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(e, (int)u32);
        if (v)
            put_quoted(t, v->name);
        else
            lk_text_i64(t, (int32_t)u32);
        break;
    }
    case PROTOBUF_C_TYPE_STRING:
        memcpy(&pointer, at, sizeof pointer);
        put_quoted(t, (const char *)pointer);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        memcpy(&pointer, at, sizeof pointer);
        if (pointer)
            put_message(t, (const ProtobufCMessage *)pointer, brief);
        else
            lk_text_z(t, "null");
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *b = (const ProtobufCBinaryData *)at;
        lk_text_ch(t, '"');
        lk_base64_put(t, LK_BASE64_STD, b->data, b->len);
        lk_text_ch(t, '"');
        break;
    }
    }
}

static void put_map(lk_text *t, const ProtobufCMessage *const *entries, size_t count, bool brief)
{
    lk_text_ch(t, '{');
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *key = &entries[i]->descriptor->fields[0], *value = &entries[i]->descriptor->fields[1];
        if (i)
            lk_text_ch(t, ',');
        put_value(t, key, (const char *)entries[i] + key->offset, brief);
        lk_text_ch(t, ':');
        put_value(t, value, (const char *)entries[i] + value->offset, brief);
    }
    lk_text_ch(t, '}');
}

static void put_list(lk_text *t, const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m, bool brief)
{
    size_t count;
    const char *data;
    memcpy(&count, (const char *)m + f->quantifier_offset, sizeof count);
    memcpy(&data, (const char *)m + f->offset, sizeof data);
    if (is_map(f)) {
        put_map(t, (const ProtobufCMessage *const *)(const void *)data, count, brief);
        return;
    }
    lk_text_ch(t, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            lk_text_ch(t, ',');
        put_value(t, f, data + i * member_size(f), brief);
    }
    lk_text_ch(t, ']');
}

static uint32_t quantifier(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    uint32_t value;
    memcpy(&value, (const char *)m + f->quantifier_offset, sizeof value);
    return value;
}

/* Zero, "" or no bytes: what a sender that knows no absence leaves out. */
static bool is_zero(const ProtobufCFieldDescriptor *f, const void *at)
{
    static const uint8_t zeros[8] = {0};
    const char *text;
    ProtobufCBinaryData bytes;
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE: return false;
    case PROTOBUF_C_TYPE_STRING: memcpy(&text, at, sizeof text); return !*text;
    case PROTOBUF_C_TYPE_BYTES: memcpy(&bytes, at, sizeof bytes); return bytes.len == 0;
    default: return memcmp(at, zeros, member_size(f)) == 0;
    }
}

static bool is_set(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    const char *at = (const char *)m + f->offset;
    const void *pointer;
    size_t count;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&count, (const char *)m + f->quantifier_offset, sizeof count);
        return count > 0;
    }
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE) {
        memcpy(&pointer, at, sizeof pointer);
        return pointer && !is_zero(f, at);
    }
    return quantifier(f, m) && !is_zero(f, at);
}

/* A member of a oneof that is not the one set is left out always; what is not set only in brief. */
static bool is_shown(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m, bool brief)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return quantifier(f, m) == f->id;
    return !brief || is_set(f, m);
}

static void put_name(lk_text *t, const char *name, bool brief)
{
    lk_text_ch(t, '"');
    for (bool up = false; *name; name++) {
        bool skip = brief && *name == '_';
        if (!skip)
            lk_text_ch(t, up && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
        up = skip;
    }
    lk_text_z(t, "\":");
}

static void put_message(lk_text *t, const ProtobufCMessage *m, bool brief)
{
    bool first = true;
    lk_text_ch(t, '{');
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!is_shown(f, m, brief))
            continue;
        if (!first)
            lk_text_ch(t, ',');
        first = false;
        put_name(t, f->name, brief);
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            put_list(t, f, m, brief);
        else
            put_value(t, f, (const char *)m + f->offset, brief);
    }
    lk_text_ch(t, '}');
}

void lk_pbuf_to_json(lk_text *t, const ProtobufCMessage *message) { put_message(t, message, false); }
void lk_pbuf_to_json_brief(lk_text *t, const ProtobufCMessage *message) { put_message(t, message, true); }

/* ---- reading ---------------------------------------------------------------------------------------- */

static lk_err read_message(ProtobufCMessage *m, lk_arena *arena, json_t *o);

/* Both "empty_timeout" and "emptyTimeout" name the field. */
static bool same_name(const char *field, const char *name)
{
    if (strcmp(field, name) == 0)
        return true;
    while (*field && *name) {
        bool up = *field == '_';
        field += up;
        char want = up && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        if (want != *name)
            return false;
        field++;
        name++;
    }
    return !*field && !*name;
}

/* A whole number of 65 bits: JSON has them as numbers, and as text where they are long. */
static bool whole_number(json_t *v, bool *minus, uint64_t *magnitude)
{
    if (json_is_integer(v)) {
        int64_t n = json_integer_value(v);
        *minus = n < 0;
        *magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
        return true;
    }
    if (json_is_real(v)) {
        double d = json_real_value(v);
        *minus = d < 0;
        d = d < 0 ? -d : d;
        if (!(d < 9e15) || d != (double)(uint64_t)d)
            return false;
        *magnitude = (uint64_t)d;
        return true;
    }
    lk_str s = lk_str_of(json_string_value(v));
    *minus = s.len > 1 && s.p[0] == '-';
    if (*minus)
        s = (lk_str){s.p + 1, s.len - 1};
    return s.len && lk_str_u64(s, UINT64_MAX, magnitude);
}

static lk_err read_integer(const ProtobufCFieldDescriptor *f, void *at, json_t *v)
{
    bool minus;
    uint64_t n, most;
    if (!whole_number(v, &minus, &n))
        return LK_ERR_WIRE;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: most = minus ? (uint64_t)1 << 31 : INT32_MAX; break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: most = minus ? 0 : UINT32_MAX; break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: most = minus ? 0 : UINT64_MAX; break;
    default: most = minus ? (uint64_t)1 << 63 : INT64_MAX; break;
    }
    if (n > most)
        return LK_ERR_WIRE;
    n = minus ? 0 - n : n;
    uint32_t low = (uint32_t)n;
    if (member_size(f) == 8)
        memcpy(at, &n, 8);
    else
        memcpy(at, &low, 4);
    return LK_OK;
}

static lk_err read_enum(const ProtobufCFieldDescriptor *f, void *at, json_t *v)
{
    int number;
    if (json_is_string(v)) {
        const ProtobufCEnumValue *named =
            protobuf_c_enum_descriptor_get_value_by_name((const ProtobufCEnumDescriptor *)f->descriptor, json_string_value(v));
        if (!named)
            return LK_ERR_WIRE;
        number = named->value;
    } else if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= INT32_MAX) {
        number = (int)json_integer_value(v);
    } else {
        return LK_ERR_WIRE;
    }
    memcpy(at, &number, sizeof number);
    return LK_OK;
}

static lk_err read_bytes(void *at, lk_arena *arena, json_t *v)
{
    static const lk_base64_kind kinds[] = {LK_BASE64_STD, LK_BASE64_URL, LK_BASE64_URL_NOPAD};
    lk_str s = {json_string_value(v), json_string_length(v)};
    uint8_t *data = (uint8_t *)lk_arena_alloc(arena, s.len + 1);
    long n = -1;
    if (!json_is_string(v))
        return LK_ERR_WIRE;
    if (!data)
        return LK_ERR_NOMEM;
    for (size_t i = 0; i < LK_LEN(kinds) && n < 0; i++)
        n = lk_base64_decode(data, s.len + 1, kinds[i], s);
    if (n < 0)
        return LK_ERR_WIRE;
    ProtobufCBinaryData b = {(size_t)n, data};
    memcpy(at, &b, sizeof b);
    return LK_OK;
}

static lk_err read_value(const ProtobufCFieldDescriptor *f, void *at, lk_arena *arena, json_t *v)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_ENUM: return read_enum(f, at, v);
    case PROTOBUF_C_TYPE_BYTES: return read_bytes(at, arena, v);
    case PROTOBUF_C_TYPE_BOOL: {
        protobuf_c_boolean b = json_is_true(v);
        memcpy(at, &b, sizeof b);
        return json_is_boolean(v) ? LK_OK : LK_ERR_WIRE;
    }
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FLOAT: {
        double real = json_number_value(v);
        float single = (float)real;
        memcpy(at, f->type == PROTOBUF_C_TYPE_DOUBLE ? (void *)&real : (void *)&single, member_size(f));
        return json_is_number(v) ? LK_OK : LK_ERR_WIRE;
    }
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = json_is_string(v) ? lk_pbuf_strdup(arena, lk_str_of(json_string_value(v))) : NULL;
        memcpy(at, &text, sizeof text);
        return text ? LK_OK : json_is_string(v) ? LK_ERR_NOMEM : LK_ERR_WIRE;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        ProtobufCMessage *m = json_is_object(v) ? (ProtobufCMessage *)lk_pbuf_new(message_type(f), arena) : NULL;
        memcpy(at, &m, sizeof m);
        return m ? read_message(m, arena, v) : json_is_object(v) ? LK_ERR_NOMEM : LK_ERR_WIRE;
    }
    default: return read_integer(f, at, v);
    }
}

static lk_err read_list(const ProtobufCFieldDescriptor *f, ProtobufCMessage *m, lk_arena *arena, json_t *v)
{
    bool map = is_map(f);
    size_t count = map ? json_object_size(v) : json_array_size(v), i = 0;
    if (!(map ? json_is_object(v) : json_is_array(v)))
        return LK_ERR_WIRE;
    if (count == 0)
        return LK_OK;
    char *data = (char *)lk_arena_alloc(arena, count * member_size(f));
    if (!data)
        return LK_ERR_NOMEM;
    if (map) {
        const char *name;
        json_t *value;
        json_object_foreach(v, name, value) {
            ProtobufCMessage *entry = (ProtobufCMessage *)lk_pbuf_new(message_type(f), arena);
            char *key = lk_pbuf_strdup(arena, lk_str_of(name));
            if (!entry || !key)
                return LK_ERR_NOMEM;
            memcpy((char *)entry + message_type(f)->fields[0].offset, &key, sizeof key);
            lk_err err = read_value(&message_type(f)->fields[1], (char *)entry + message_type(f)->fields[1].offset, arena, value);
            if (err != LK_OK)
                return err;
            memcpy(data + i++ * sizeof entry, &entry, sizeof entry);
        }
    } else {
        for (; i < count; i++) {
            lk_err err = read_value(f, data + i * member_size(f), arena, json_array_get(v, i));
            if (err != LK_OK)
                return err;
        }
    }
    memcpy((char *)m + f->offset, &data, sizeof data);
    memcpy((char *)m + f->quantifier_offset, &count, sizeof count);
    return LK_OK;
}

static lk_err read_field(const ProtobufCFieldDescriptor *f, ProtobufCMessage *m, lk_arena *arena, json_t *v)
{
    if (json_is_null(v))
        return LK_OK;
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return read_list(f, m, arena, v);
    lk_err err = read_value(f, (char *)m + f->offset, arena, v);
    if (err != LK_OK)
        return err;
    uint32_t mark = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? f->id : 1;
    if (f->quantifier_offset)
        memcpy((char *)m + f->quantifier_offset, &mark, sizeof mark);
    return LK_OK;
}

static lk_err read_message(ProtobufCMessage *m, lk_arena *arena, json_t *o)
{
    const char *name;
    json_t *value;
    json_object_foreach(o, name, value) {
        for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
            if (!same_name(m->descriptor->fields[i].name, name))
                continue;
            lk_err err = read_field(&m->descriptor->fields[i], m, arena, value);
            if (err != LK_OK)
                return err;
            break;
        }
    }
    return LK_OK;
}

lk_err lk_pbuf_from_json(const ProtobufCMessageDescriptor *type, lk_arena *arena, lk_str json, ProtobufCMessage **out)
{
    if (!lk_json_is_shallow(json, LK_PBUF_DEPTH_MAX))
        return LK_ERR_LIMIT;
    json_t *o = json_loadb(json.p, json.len, JSON_REJECT_DUPLICATES, NULL);
    ProtobufCMessage *m = (ProtobufCMessage *)lk_pbuf_new(type, arena);
    lk_err err = !json_is_object(o) ? LK_ERR_WIRE : !m ? LK_ERR_NOMEM : read_message(m, arena, o);
    json_decref(o);
    if (err == LK_OK)
        *out = m;
    return err;
}
