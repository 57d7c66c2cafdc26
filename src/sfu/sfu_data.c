// SPDX-License-Identifier: Apache-2.0
/* Data packets between people, and data tracks. A packet is edited on the wire: what a newer client puts into it survives. */
#include "sfu/sfu_internal.h"

#define DATA_TRACK_HEADER 12

enum { F_KIND = 1, F_USER = 2, F_IDENTITY = 4, F_SID = 17, F_USER_SID = 1, F_USER_IDENTITY = 5 };

/* ---- protobuf by hand: only what an edit needs -------------------------------------------------------------------------------- */

static uint64_t get_varint(lk_rd *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = lk_rd_u8(r);
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}

static void put_varint(lk_wr *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        lk_wr_u8(w, (uint8_t)(v | 0x80));
    lk_wr_u8(w, (uint8_t)v);
}

static void put_text(lk_wr *w, uint32_t field, const char *z)
{
    size_t n = strlen(z);
    put_varint(w, (uint64_t)field << 3 | 2);
    put_varint(w, n);
    lk_wr_put(w, z, n);
}

bool lk_sfu_next_field(lk_rd *r, lk_sfu_field *f)
{
    if (r->bad || lk_rd_left(r) == 0)
        return false;
    const uint8_t *from = r->at;
    uint64_t tag = get_varint(r);
    *f = (lk_sfu_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0: (void)get_varint(r); break;
    case 1: lk_rd_skip(r, 8); break;
    case 2:
        f->body.len = (size_t)get_varint(r);
        f->body.data = lk_rd_take(r, f->body.len);
        break;
    case 5: lk_rd_skip(r, 4); break;
    default: r->bad = true; break;
    }
    f->whole = (lk_bytes){from, (size_t)(r->at - from)};
    return !r->bad;
}

/* The user packet with the sender's names in it; out has room for all of in and both texts. */
static void edit_user(lk_wr *w, lk_bytes in, const lk_sfu_person *sender)
{
    lk_rd r = lk_rd_of(in.data, in.len);
    lk_sfu_field f;
    while (lk_sfu_next_field(&r, &f))
        if (f.number != F_USER_SID && f.number != F_USER_IDENTITY)
            lk_wr_put(w, f.whole.data, f.whole.len);
    w->bad = w->bad || r.bad;
    put_text(w, F_USER_SID, sender->sid);
    put_text(w, F_USER_IDENTITY, sender->identity);
}

/* In with kind, identity and sid of the sender in place of whatever was there; NULL: no memory, or no message. */
static lk_sfu_buf *edited(lk_sfu_person *sender, lk_bytes in, bool reliable, const char *identity)
{
    lk_sfu *s = sender->sfu;
    size_t names = strlen(identity) + strlen(sender->sid) + strlen(sender->identity) + SFU_SID_MAX;
    size_t room = in.len + 2 * names + 64;
    uint8_t *to = lk_arena_alloc(&s->out, room), *inner = lk_arena_alloc(&s->out, room);
    lk_sfu_buf *b = NULL;
    if (to && inner) {
        lk_wr w = lk_wr_of(to, room);
        lk_rd r = lk_rd_of(in.data, in.len);
        lk_sfu_field f;
        put_varint(&w, F_KIND << 3);
        put_varint(&w, reliable ? LIVEKIT__DATA_PACKET__KIND__RELIABLE : LIVEKIT__DATA_PACKET__KIND__LOSSY);
        while (lk_sfu_next_field(&r, &f)) {
            if (f.number == F_KIND || f.number == F_IDENTITY || f.number == F_SID)
                continue;
            if (f.number == F_USER && f.body.data) {
                lk_wr user = lk_wr_of(inner, room);
                edit_user(&user, f.body, sender);
                put_varint(&w, F_USER << 3 | 2);
                put_varint(&w, user.len);
                lk_wr_put(&w, user.data, user.len);
                w.bad = w.bad || user.bad;
            } else {
                lk_wr_put(&w, f.whole.data, f.whole.len);
            }
        }
        put_text(&w, F_IDENTITY, identity);
        put_text(&w, F_SID, sender->sid);
        if (!w.bad && !r.bad)
            b = lk_sfu_buf_of(s, (lk_bytes){to, w.len});
    }
    lk_arena_reset(&s->out);
    return b;
}

/* ---- fan-out ------------------------------------------------------------------------------------------------------------------- */

static bool in_list(char *const *list, size_t count, const char *z)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], z) == 0)
            return true;
    return false;
}

static bool is_for(const Livekit__DataPacket *m, const lk_sfu_person *to)
{
    const Livekit__UserPacket *u = m->value_case == LIVEKIT__DATA_PACKET__VALUE_USER ? m->user : NULL;
    size_t sids = u ? u->n_destination_sids : 0, legacy = u ? u->n_destination_identities : 0;
    if (m->value_case == LIVEKIT__DATA_PACKET__VALUE_METRICS && !to->grants.metrics)
        return false;
    if (m->n_destination_identities == 0 && sids == 0 && legacy == 0)
        return true;
    return in_list(m->destination_identities, m->n_destination_identities, to->identity) ||
           (u && (in_list(u->destination_identities, legacy, to->identity) || in_list(u->destination_sids, sids, to->sid)));
}

static void give(lk_sfu_person *to, bool reliable, const lk_sfu_buf *b)
{
    lk_sfu *s = to->sfu;
    lk_err err = lk_peer_send(lk_sfu_primary(to), s->now, reliable ? LK_PEER_RELIABLE : LK_PEER_LOSSY, b->bytes, b->len);
    if (err == LK_OK)
        s->stats.data_out++;
    else if (err != LK_ERR_STATE || !reliable) /* a reliable one is replayed when the channel opens */
        s->stats.data_dropped++;
}

static void uncache(lk_sfu_room *r)
{
    lk_sfu_cached c;
    if (lk_queue_pop(&r->cache, &c)) {
        r->cache_bytes -= c.buf->len;
        lk_sfu_buf_drop(r->sfu, c.buf);
    }
}

void lk_sfu_cache_trim(lk_sfu_room *r, bool all)
{
    const lk_sfu_cached *first;
    while ((first = lk_queue_peek(&r->cache, 0)) && (all || first->at + SFU_CACHE_USEC <= r->sfu->now))
        uncache(r);
}

static void cache(lk_sfu_room *r, const char *sender_sid, uint32_t sequence, lk_sfu_buf *b)
{
    lk_sfu_cache_trim(r, false);
    while (r->cache.count && (r->cache.count >= SFU_CACHE_MAX || r->cache_bytes + b->len > SFU_CACHE_BYTES_MAX))
        uncache(r);
    lk_sfu_cached c = {.at = r->sfu->now, .sequence = sequence, .buf = b};
    (void)lk_str_copy(c.sender_sid, sizeof c.sender_sid, lk_str_of(sender_sid));
    if (lk_queue_push(&r->cache, &c) == LK_OK) {
        b->refs++;
        r->cache_bytes += b->len;
    }
}

static void fan_out(lk_sfu_room *r, const lk_sfu_person *sender, const Livekit__DataPacket *m, bool reliable, lk_sfu_buf *b)
{
    if (reliable)
        cache(r, sender ? sender->sid : "", m->sequence, b);
    LK_LIST_EACH(&r->people, it) {
        lk_sfu_person *to = LK_CONTAINER(it, lk_sfu_person, link);
        if (to != sender && is_for(m, to))
            give(to, reliable, b);
    }
}

lk_err lk_sfu_send_packet(lk_sfu_room *r, const Livekit__DataPacket *packet, bool reliable)
{
    lk_sfu_buf *b = lk_sfu_pack(r->sfu, &packet->base);
    if (!b)
        return LK_ERR_NOMEM;
    fan_out(r, NULL, packet, reliable, b);
    lk_sfu_buf_drop(r->sfu, b);
    return LK_OK;
}

static void replay_one(lk_sfu_person *p, const lk_sfu_cached *c)
{
    lk_sfu *s = p->sfu;
    ProtobufCMessage *m;
    lk_arena a;
    lk_arena_init(&a, s->env, 2u << 20);
    if (lk_pbuf_unpack(&livekit__data_packet__descriptor, &a, (lk_bytes){c->buf->bytes, c->buf->len}, &m) == LK_OK &&
        is_for((const Livekit__DataPacket *)m, p))
        give(p, true, c->buf);
    lk_arena_deinit(&a);
}

void lk_sfu_replay(lk_sfu_person *p)
{
    lk_sfu_room *r = p->room;
    for (size_t i = 0; i < r->cache.count; i++) {
        const lk_sfu_cached *c = lk_queue_peek(&r->cache, i);
        if (c->at >= p->joined_at && c->at + SFU_CACHE_USEC > p->sfu->now && strcmp(c->sender_sid, p->sid) != 0)
            replay_one(p, c);
    }
}

void lk_sfu_replay_missed(lk_sfu_person *p, const Livekit__SyncState *m)
{
    lk_sfu_room *r = p->room;
    for (size_t k = 0; k < m->n_datachannel_receive_states && k < SFU_ITEMS_MAX; k++) {
        const Livekit__DataChannelReceiveState *have = m->datachannel_receive_states[k];
        for (size_t i = 0; have->publisher_sid && i < r->cache.count; i++) {
            const lk_sfu_cached *c = lk_queue_peek(&r->cache, i);
            if (c->sequence > have->last_seq && strcmp(c->sender_sid, have->publisher_sid) == 0)
                replay_one(p, c);
        }
    }
}

/* ---- what comes from a client ------------------------------------------------------------------------------------------------------ */

/* Agents speak for others in texts. */
static bool speaks_for_another(const lk_sfu_person *p, const Livekit__DataPacket *m)
{
    if (p->kind != LIVEKIT__PARTICIPANT_INFO__KIND__AGENT || !m->participant_identity || !*m->participant_identity)
        return false;
    switch (m->value_case) {
    case LIVEKIT__DATA_PACKET__VALUE_CHAT_MESSAGE:
    case LIVEKIT__DATA_PACKET__VALUE_STREAM_HEADER:
    case LIVEKIT__DATA_PACKET__VALUE_STREAM_CHUNK:
    case LIVEKIT__DATA_PACKET__VALUE_STREAM_TRAILER: return true;
    default: return false;
    }
}

/* Says in the message that a machine made it; then it must be packed anew. */
static lk_sfu_buf *generated(lk_sfu_person *p, Livekit__DataPacket *m)
{
    if (m->value_case == LIVEKIT__DATA_PACKET__VALUE_CHAT_MESSAGE) {
        m->chat_message->has_generated = m->chat_message->generated = 1;
    } else if (m->value_case == LIVEKIT__DATA_PACKET__VALUE_STREAM_HEADER &&
               m->stream_header->content_header_case == LIVEKIT__DATA_STREAM__HEADER__CONTENT_HEADER_TEXT_HEADER) {
        m->stream_header->text_header->has_generated = m->stream_header->text_header->generated = 1;
    } else {
        return NULL;
    }
    m->participant_sid = p->sid;
    return lk_sfu_pack(p->sfu, &m->base);
}

static void packet(lk_sfu_person *p, bool reliable, lk_bytes bytes)
{
    lk_sfu *s = p->sfu;
    ProtobufCMessage *any;
    lk_arena a;
    lk_arena_init(&a, s->env, 2u << 20);
    if (lk_pbuf_unpack(&livekit__data_packet__descriptor, &a, bytes, &any) != LK_OK) {
        s->stats.data_dropped++;
        lk_arena_deinit(&a);
        return;
    }
    Livekit__DataPacket *m = (Livekit__DataPacket *)any;
    bool repeated = reliable && m->sequence && m->sequence <= p->last_sequence;
    bool forbidden = m->value_case == LIVEKIT__DATA_PACKET__VALUE_SPEAKER ||
                     (m->value_case == LIVEKIT__DATA_PACKET__VALUE_TRANSCRIPTION && p->kind != LIVEKIT__PARTICIPANT_INFO__KIND__AGENT);
    if (reliable && m->sequence > p->last_sequence)
        p->last_sequence = m->sequence;
    if (!repeated && !forbidden && !lk_sfu_call_answered(p, m)) {
        bool another = speaks_for_another(p, m);
        lk_sfu_buf *b = another ? generated(p, m) : NULL;
        if (!b)
            b = edited(p, bytes, reliable, another ? m->participant_identity : p->identity);
        if (b)
            fan_out(p->room, p, m, reliable, b);
        else
            s->stats.data_dropped++;
        lk_sfu_buf_drop(s, b);
    } else {
        s->stats.data_dropped += forbidden || repeated;
    }
    lk_arena_deinit(&a);
}

/* A channel that is none of ours: its messages travel as user packets. */
static void unlabelled(lk_sfu_person *p, const char *label, lk_bytes bytes)
{
    Livekit__DataPacket m = LIVEKIT__DATA_PACKET__INIT;
    Livekit__UserPacket u = LIVEKIT__USER_PACKET__INIT;
    LK_UNUSED(label);
    u.has_payload = 1;
    u.payload = (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
    u.participant_sid = m.participant_sid = p->sid;
    u.participant_identity = m.participant_identity = p->identity;
    m.value_case = LIVEKIT__DATA_PACKET__VALUE_USER;
    m.user = &u;
    lk_sfu_buf *b = lk_sfu_pack(p->sfu, &m.base);
    if (b)
        fan_out(p->room, p, &m, true, b);
    lk_sfu_buf_drop(p->sfu, b);
}

static void track_packet(lk_sfu_person *p, lk_bytes bytes)
{
    lk_sfu *s = p->sfu;
    uint16_t handle = bytes.len >= DATA_TRACK_HEADER ? lk_get_u16(bytes.data + 2) : 0;
    LK_LIST_EACH(&p->data_tracks, it) {
        lk_sfu_data_track *t = LK_CONTAINER(it, lk_sfu_data_track, link);
        if (!handle || t->info->pub_handle != handle)
            continue;
        lk_wr w = lk_wr_of((void *)(uintptr_t)bytes.data, bytes.len); /* the copy is ours */
        w.len = bytes.len;
        LK_LIST_EACH(&t->subs, at) {
            lk_sfu_data_sub *sub = LK_CONTAINER(at, lk_sfu_data_sub, of_track);
            if (!sub->handle)
                continue;
            lk_wr_patch_u16(&w, 2, sub->handle);
            if (lk_peer_send(lk_sfu_primary(sub->person), s->now, LK_PEER_DATA_TRACK, bytes.data, bytes.len) == LK_OK)
                s->stats.data_out++;
            else
                s->stats.data_dropped++;
        }
        return;
    }
    s->stats.data_dropped++;
}

void lk_sfu_data(lk_sfu_person *p, lk_peer_channel channel, const char *label, lk_bytes message)
{
    lk_sfu *s = p->sfu;
    if (!p->grants.can_publish_data || message.len == 0) {
        s->stats.data_dropped++;
        s->stats.denied += !p->grants.can_publish_data;
        return;
    }
    switch (channel) {
    case LK_PEER_RELIABLE: packet(p, true, message); break;
    case LK_PEER_LOSSY: packet(p, false, message); break;
    case LK_PEER_DATA_TRACK: track_packet(p, message); break;
    default: unlabelled(p, label, message); break;
    }
}

/* ---- data tracks --------------------------------------------------------------------------------------------------------------------- */

lk_sfu_data_track *lk_sfu_data_track_of(lk_sfu_person *p, const char *sid)
{
    LK_LIST_EACH(&p->data_tracks, it) {
        lk_sfu_data_track *t = LK_CONTAINER(it, lk_sfu_data_track, link);
        if (strcmp(t->info->sid, sid) == 0)
            return t;
    }
    return NULL;
}

/* The whole map, on every change of it. */
static void tell_handles(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__DataTrackSubscriberHandles h = LIVEKIT__DATA_TRACK_SUBSCRIBER_HANDLES__INIT;
    h.sub_handles = lk_arena_alloc(&s->out, (p->data_subs.count + 1) * sizeof *h.sub_handles);
    bool ok = h.sub_handles != NULL;
    LK_LIST_EACH(&p->data_subs, it) {
        lk_sfu_data_sub *sub = LK_CONTAINER(it, lk_sfu_data_sub, of_person);
        if (!ok || !sub->handle)
            continue;
        Livekit__DataTrackSubscriberHandles__SubHandlesEntry *e =
            lk_pbuf_new(&livekit__data_track_subscriber_handles__sub_handles_entry__descriptor, &s->out);
        Livekit__DataTrackSubscriberHandles__PublishedDataTrack *t =
            lk_pbuf_new(&livekit__data_track_subscriber_handles__published_data_track__descriptor, &s->out);
        ok = e && t;
        if (!ok)
            break;
        t->publisher_identity = sub->track->person->identity;
        t->publisher_sid = sub->track->person->sid;
        t->track_sid = sub->sid;
        e->has_key = 1;
        e->key = sub->handle;
        e->value = t;
        h.sub_handles[h.n_sub_handles++] = e;
    }
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_DATA_TRACK_SUBSCRIBER_HANDLES;
    m.data_track_subscriber_handles = &h;
    lk_sfu_send_made(p, &m, ok);
}

static uint16_t free_handle(lk_sfu_person *p)
{
    for (;;) {
        uint16_t h = p->next_handle++;
        bool used = h == 0;
        LK_LIST_EACH(&p->data_subs, it)
            used = used || LK_CONTAINER(it, lk_sfu_data_sub, of_person)->handle == h;
        if (!used)
            return h;
    }
}

/* True if it changed. */
static bool settle(lk_sfu_data_sub *sub)
{
    if (!sub->track)
        return false;
    bool flows = sub->wanted && lk_sfu_allowed(sub->track->person, sub->person, sub->sid);
    if (flows == (sub->handle != 0))
        return false;
    sub->handle = flows ? free_handle(sub->person) : 0;
    return true;
}

void lk_sfu_data_subs_settle(lk_sfu_person *p)
{
    bool changed = false;
    LK_LIST_EACH(&p->data_subs, it)
        changed = settle(LK_CONTAINER(it, lk_sfu_data_sub, of_person)) || changed;
    if (changed)
        tell_handles(p);
}

void lk_sfu_data_sub_free(lk_sfu_data_sub *sub)
{
    lk_list_remove(&sub->person->data_subs, &sub->of_person);
    if (sub->track)
        lk_list_remove(&sub->track->subs, &sub->of_track);
    lk_release(sub->person->sfu->env, sub, sizeof *sub);
}

static lk_sfu_data_sub *find_data_sub(lk_sfu_person *p, const char *sid)
{
    LK_LIST_EACH(&p->data_subs, it) {
        lk_sfu_data_sub *sub = LK_CONTAINER(it, lk_sfu_data_sub, of_person);
        if (strcmp(sub->sid, sid) == 0)
            return sub;
    }
    return NULL;
}

static lk_sfu_data_sub *data_sub_new(lk_sfu_person *p, lk_sfu_data_track *t, const char *sid)
{
    lk_sfu_data_sub *sub = strlen(sid) < SFU_SID_MAX && p->data_subs.count < SFU_WISHES_MAX + 4096 ? lk_alloc0(p->sfu->env, sizeof *sub) : NULL;
    if (!sub)
        return NULL;
    sub->person = p;
    (void)lk_str_copy(sub->sid, sizeof sub->sid, lk_str_of(sid));
    lk_list_push(&p->data_subs, &sub->of_person);
    if (t) {
        sub->track = t;
        lk_list_push(&t->subs, &sub->of_track);
    }
    return sub;
}

/* t is there for p: a wish comes true, or p takes everything. */
static void meet(lk_sfu_person *p, lk_sfu_data_track *t)
{
    lk_sfu_data_sub *sub = find_data_sub(p, t->info->sid);
    if (sub && !sub->track) {
        sub->track = t;
        lk_list_push(&t->subs, &sub->of_track);
    } else if (!sub && p->auto_subscribe_data) {
        sub = data_sub_new(p, t, t->info->sid);
        if (sub)
            sub->wanted = true;
    }
}

void lk_sfu_data_new_person(lk_sfu_person *p)
{
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *other = LK_CONTAINER(it, lk_sfu_person, link);
        if (other == p)
            continue;
        LK_LIST_EACH(&other->data_tracks, at)
            meet(p, LK_CONTAINER(at, lk_sfu_data_track, link));
    }
    lk_sfu_data_subs_settle(p);
}

void lk_sfu_data_subscription(lk_sfu_person *p, const Livekit__UpdateDataSubscription *m)
{
    for (size_t i = 0; i < m->n_updates && i < SFU_ITEMS_MAX; i++) {
        const Livekit__UpdateDataSubscription__Update *u = m->updates[i];
        if (!u->track_sid)
            continue;
        lk_sfu_data_sub *sub = find_data_sub(p, u->track_sid);
        if (!sub && u->subscribe && p->grants.can_subscribe) {
            lk_sfu_data_track *t = NULL;
            LK_LIST_EACH(&p->room->people, it)
                if (!t && LK_CONTAINER(it, lk_sfu_person, link) != p)
                    t = lk_sfu_data_track_of(LK_CONTAINER(it, lk_sfu_person, link), u->track_sid);
            sub = data_sub_new(p, t, u->track_sid);
        }
        if (sub)
            sub->wanted = u->subscribe;
    }
    lk_sfu_data_subs_settle(p);
}

static void refuse_data_track(lk_sfu_person *p, const Livekit__PublishDataTrackRequest *q, Livekit__RequestResponse__Reason reason, const char *why)
{
    lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = reason, .message = why, .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_PUBLISH_DATA_TRACK,
                                         .request = q});
}

static lk_err data_track_new(lk_sfu_data_track **out, lk_sfu_person *p, const Livekit__PublishDataTrackRequest *q)
{
    lk_sfu *s = p->sfu;
    lk_bytes packed;
    ProtobufCMessage *m = NULL;
    char sid[SFU_SID_MAX];
    lk_sfu_data_track *t = lk_alloc0(s->env, sizeof *t);
    if (!t)
        return LK_ERR_NOMEM;
    lk_arena_init(&t->arena, s->env, 64u << 10);
    lk_list_init(&t->subs);
    t->person = p;
    lk_sfu_sid(s, sid, "DTR_");
    lk_err err = lk_pbuf_pack(&q->base, &s->out, &packed);
    if (err == LK_OK)
        err = lk_pbuf_unpack(&livekit__publish_data_track_request__descriptor, &t->arena, packed, &m);
    lk_arena_reset(&s->out);
    t->info = err == LK_OK ? lk_pbuf_new(&livekit__data_track_info__descriptor, &t->arena) : NULL;
    if (t->info)
        t->info->sid = lk_pbuf_strdup(&t->arena, lk_str_of(sid));
    if (!t->info || !t->info->sid) {
        lk_arena_deinit(&t->arena);
        lk_release(s->env, t, sizeof *t);
        return err == LK_OK ? LK_ERR_NOMEM : err;
    }
    const Livekit__PublishDataTrackRequest *mine = (const Livekit__PublishDataTrackRequest *)m;
    t->info->has_pub_handle = t->info->has_encryption = 1;
    t->info->pub_handle = mine->pub_handle;
    t->info->name = mine->name;
    t->info->encryption = mine->encryption;
    t->info->frame_encoding = mine->frame_encoding;
    t->info->schema = mine->schema;
    lk_list_push(&p->data_tracks, &t->link);
    *out = t;
    return LK_OK;
}

void lk_sfu_publish_data(lk_sfu_person *p, const Livekit__PublishDataTrackRequest *q)
{
    lk_sfu_data_track *t = NULL;
    bool same_handle = false, same_name = false;
    size_t n = q->name ? strlen(q->name) : 0;
    LK_LIST_EACH(&p->data_tracks, it) {
        const Livekit__DataTrackInfo *i = LK_CONTAINER(it, lk_sfu_data_track, link)->info;
        same_handle = same_handle || i->pub_handle == q->pub_handle;
        same_name = same_name || (n && strcmp(i->name, q->name) == 0);
    }
    if (!p->grants.can_publish_data)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED, "does not have permission to publish data");
    else if (q->pub_handle == 0 || q->pub_handle > UINT16_MAX)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_HANDLE, "handle is not in 1..65535");
    else if (n == 0 || n > LK_SFU_NAME_MAX)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_NAME, "name is empty or too long");
    else if (same_handle)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__DUPLICATE_HANDLE, "handle is in use");
    else if (same_name)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__DUPLICATE_NAME, "name is in use");
    else if (p->data_tracks.count >= p->sfu->config.limits.tracks || data_track_new(&t, p, q) != LK_OK)
        refuse_data_track(p, q, LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED, "too many data tracks");
    if (!t)
        return;
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__PublishDataTrackResponse r = LIVEKIT__PUBLISH_DATA_TRACK_RESPONSE__INIT;
    r.info = t->info;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PUBLISH_DATA_TRACK_RESPONSE;
    m.publish_data_track_response = &r;
    lk_sfu_send(p, &m);
    p->was_publisher = true;
    lk_sfu_person_changed(p);
    LK_LIST_EACH(&p->room->people, it) {
        lk_sfu_person *other = LK_CONTAINER(it, lk_sfu_person, link);
        if (other == p)
            continue;
        meet(other, t);
        lk_sfu_data_subs_settle(other);
    }
}

void lk_sfu_unpublish_data(lk_sfu_person *p, const Livekit__UnpublishDataTrackRequest *q)
{
    LK_LIST_EACH(&p->data_tracks, it) {
        lk_sfu_data_track *t = LK_CONTAINER(it, lk_sfu_data_track, link);
        if (t->info->pub_handle != q->pub_handle)
            continue;
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__UnpublishDataTrackResponse r = LIVEKIT__UNPUBLISH_DATA_TRACK_RESPONSE__INIT;
        r.info = t->info;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UNPUBLISH_DATA_TRACK_RESPONSE;
        m.unpublish_data_track_response = &r;
        lk_sfu_send(p, &m);
        lk_sfu_data_track_remove(t);
        lk_sfu_person_changed(p);
        return;
    }
    lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = LIVEKIT__REQUEST_RESPONSE__REASON__INVALID_HANDLE, .message = "no data track has that handle",
                                         .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_UNPUBLISH_DATA_TRACK, .request = q});
}

void lk_sfu_data_track_remove(lk_sfu_data_track *t)
{
    lk_sfu *s = t->person->sfu;
    lk_link *at;
    while ((at = lk_list_first(&t->subs))) {
        lk_sfu_data_sub *sub = LK_CONTAINER(at, lk_sfu_data_sub, of_track);
        lk_sfu_person *p = sub->person;
        bool flowed = sub->handle != 0;
        lk_sfu_data_sub_free(sub);
        if (flowed)
            tell_handles(p);
    }
    lk_list_remove(&t->person->data_tracks, &t->link);
    lk_arena_deinit(&t->arena);
    lk_release(s->env, t, sizeof *t);
}
