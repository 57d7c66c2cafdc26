// SPDX-License-Identifier: Apache-2.0
/* Data packets: one reliable and one lossy channel, and who sent what. */
#include "base/canary.h"
#include "room/room_internal.h"
#include "signal/data_packet.h"

#define LOSSY_LIFETIME_USEC LK_MSEC(500) /* news that waited longer is none; keeps a slow path from queueing */
#define ARENA_MAX (1u << 20)

enum { RELIABLE, LOSSY, KINDS };

typedef struct parcel {
    lk_link link;
    lk_session_op *op;
    size_t len;
    uint8_t data[];
} parcel;

lk_err lk_session_add_channels(lk_session *s)
{
    static const lk_pc_channel channels[KINDS] = {
        [RELIABLE] = {.label = "_reliable"},
        [LOSSY] = {.label = "_lossy", .unordered = true, .limit_retransmits = true},
    };
    lk_err err = LK_OK;
    for (int i = 0; err == LK_OK && i < KINDS; i++)
        err = lk_pc_add_channel(s->pc, &channels[i], &s->channels[i]);
    s->data_sequence = 0;
    return err;
}

/* ---- out ---- */

static void free_parcel(lk_session *s, int kind, parcel *p)
{
    lk_list_remove(&s->outbox[kind], &p->link);
    lk_release(s->env, p, sizeof *p + p->len);
}

void lk_session_drop_outbox(lk_session *s)
{
    for (int kind = 0; kind < KINDS; kind++) {
        LK_LIST_EACH(&s->outbox[kind], it)
            free_parcel(s, kind, LK_CONTAINER(it, parcel, link));
    }
}

void lk_session_cancel_data(lk_session *s, const lk_session_op *op)
{
    for (int kind = 0; kind < KINDS; kind++) {
        LK_LIST_EACH(&s->outbox[kind], it) {
            parcel *p = LK_CONTAINER(it, parcel, link);
            if (p->op == op)
                free_parcel(s, kind, p);
        }
    }
}

static lk_err send(lk_session *s, int kind, const uint8_t *data, size_t len)
{
    return lk_pc_send_data(s->pc, s->now, s->channels[kind], data, len, kind == LOSSY ? LOSSY_LIFETIME_USEC : 0);
}

/* Not yet, rather than never. */
static bool may_wait(lk_err err) { return err == LK_ERR_FULL || err == LK_ERR_STATE || err == LK_ERR_NOMEM; }

static lk_err post(lk_session *s, int kind, lk_session_op *op, lk_bytes packet)
{
    lk_err err = s->outbox[kind].count ? LK_ERR_FULL : send(s, kind, packet.data, packet.len);
    if (!may_wait(err)) {
        if (err == LK_OK)
            lk_session_op_done(s, op, NULL);
        return err;
    }
    parcel *p = (parcel *)lk_alloc(s->env, sizeof *p + packet.len);
    if (!p)
        return LK_ERR_NOMEM;
    p->op = op;
    p->len = packet.len;
    memcpy(p->data, packet.data, packet.len);
    lk_list_push(&s->outbox[kind], &p->link);
    return LK_OK;
}

static void tell_too_long(lk_error *why, size_t len)
{
    char has[LK_STR_FMT_MAX], most[LK_STR_FMT_MAX];
    lk_error_set(why, LK_ERR_LIMIT, "failed to send data: the packet has ", lk_u64_text(len, has), " bytes with its topic and destinations, ",
                 lk_u64_text(LK_SESSION_DATA_MAX, most), " are allowed", (const char *)NULL);
}

lk_err lk_session_publish_data(lk_session *s, lk_usec now, uint64_t id, const lk_session_data *d, lk_error *why)
{
    lk_session_op *op;
    lk_arena arena;
    lk_bytes packet = {0};
    int kind = d->reliable ? RELIABLE : LOSSY;
    if (s->phase != LK_SESSION_LIVE || !s->pc)
        return LK_ERR_CLOSED;
    s->now = LK_MAX(now, s->now);
    if (d->payload.len > LK_SESSION_DATA_MAX) {
        tell_too_long(why, d->payload.len);
        return LK_ERR_LIMIT;
    }
    lk_arena_init(&arena, s->env, ARENA_MAX);
    const lk_data_packet fields = {.reliable = d->reliable,
                                   .sequence = d->reliable ? s->data_sequence + 1 : 0, /* known again after a resume */
                                   .identities = d->identities,
                                   .identity_count = d->identity_count,
                                   .payload = d->payload,
                                   .topic = d->topic};
    lk_err err = lk_data_packet_pack(&fields, &arena, &packet);
    if (err == LK_OK && packet.len > LK_SESSION_DATA_MAX) {
        tell_too_long(why, packet.len);
        err = LK_ERR_LIMIT;
    }
    if (err == LK_OK)
        err = lk_session_op_new(s, id, LK_SESSION_OP_DATA, &op);
    if (err == LK_OK) {
        err = post(s, kind, op, packet);
        if (err != LK_OK) {
            lk_list_remove(&s->ops, &op->link);
            if (!LK_CANARY_IS(LK_CANARY_LEAK))
                lk_release(s->env, op, sizeof *op);
        } else {
            s->data_sequence += d->reliable;
        }
    }
    lk_arena_deinit(&arena);
    return err;
}

bool lk_session_data_pump(lk_session *s)
{
    bool moved = false;
    for (int kind = 0; s->pc && kind < KINDS; kind++) {
        LK_LIST_EACH(&s->outbox[kind], it) {
            parcel *p = LK_CONTAINER(it, parcel, link);
            lk_err err = send(s, kind, p->data, p->len);
            if (may_wait(err))
                break;
            lk_error why = {LK_OK, ""};
            if (err != LK_OK)
                lk_error_set(&why, err, "failed to send data: ", lk_err_text(err), (const char *)NULL);
            lk_session_op_done(s, p->op, err != LK_OK ? &why : NULL);
            free_parcel(s, kind, p);
            moved = true;
        }
    }
    return moved;
}

lk_err lk_session_set_data_threshold(lk_session *s, lk_usec now, bool reliable, uint64_t bytes)
{
    if (s->phase != LK_SESSION_LIVE)
        return LK_ERR_CLOSED;
    s->now = LK_MAX(now, s->now);
    s->data_low[reliable ? RELIABLE : LOSSY] = bytes;
    lk_session_event *ev = lk_session_emit(s, LK_SESSION_DATA_THRESHOLD);
    ev->number = bytes;
    ev->flag = reliable;
    lk_session_emit(s, LK_SESSION_ROOM_CHANGED)->room_info = lk_session_room_info(s);
    lk_session_pump(s);
    return LK_OK;
}

/* ---- in ---- */

static lk_bytes out_bytes(lk_session *s, const uint8_t *data, size_t len)
{
    uint8_t *copy = len ? (uint8_t *)lk_session_out_alloc(s, len) : NULL;
    if (!copy)
        return (lk_bytes){NULL, 0};
    memcpy(copy, data, len);
    return (lk_bytes){copy, len};
}

static lk_session_event *emit_from(lk_session *s, lk_session_event_kind kind, const lk_session_person *from)
{
    return from ? lk_session_emit_person(s, kind, from) : lk_session_emit(s, kind);
}

/* A reliable packet that comes again after a resume is known by its number. */
static bool is_repeat(lk_session_person *from, const lk_data_packet *p)
{
    if (!from || !p->sequence)
        return false;
    if (p->sequence <= from->last_data)
        return true;
    from->last_data = p->sequence;
    return false;
}

static void tell(lk_session *s, const lk_data_packet *p, bool reliable)
{
    /* The server names the sender; a packet without a name is its own. */
    lk_session_person *from = p->sender[0] ? lk_session_find_identity(s, p->sender) : NULL;
    if (p->kind == LK_DATA_PACKET_OTHER || (reliable && is_repeat(from, p)))
        return;
    if (p->kind == LK_DATA_PACKET_DTMF) {
        lk_session_event *e = emit_from(s, LK_SESSION_DTMF, from);
        e->number = p->code;
        e->text = lk_session_out_text(s, p->digit);
        return;
    }
    lk_session_event *e = emit_from(s, LK_SESSION_DATA, from);
    e->flag = reliable;
    e->data = out_bytes(s, p->payload.data, p->payload.len);
    e->has_topic = p->topic != NULL;
    e->text = lk_session_out_text(s, p->topic);
}

void lk_session_on_data(lk_session *s, const lk_pc_event *ev)
{
    lk_arena arena;
    lk_data_packet packet;
    bool reliable = strcmp(ev->text, "_reliable") == 0;
    if (s->phase != LK_SESSION_LIVE || (!reliable && strcmp(ev->text, "_lossy") != 0))
        return;
    lk_arena_init(&arena, s->env, LK_PBUF_BUDGET(ev->data.len));
    if (lk_data_packet_parse(&packet, &arena, ev->data) == LK_OK)
        tell(s, &packet, reliable);
    else
        s->ignored++;
    lk_arena_deinit(&arena);
}
