// SPDX-License-Identifier: Apache-2.0
/* RoomService: one row for each method. */
#include "sfu/sfu_internal.h"

#define RPC_WAIT_MSEC 15000u
#define RPC_PAYLOAD_MAX 15360
#define NONCE_BYTES 16

const lk_sfu_method_info lk_sfu_methods[LK_SFU_METHODS] = {
    [LK_SFU_CREATE_ROOM] = {"CreateRoom", &livekit__create_room_request__descriptor, &livekit__room__descriptor},
    [LK_SFU_LIST_ROOMS] = {"ListRooms", &livekit__list_rooms_request__descriptor, &livekit__list_rooms_response__descriptor},
    [LK_SFU_DELETE_ROOM] = {"DeleteRoom", &livekit__delete_room_request__descriptor, &livekit__delete_room_response__descriptor},
    [LK_SFU_LIST_PARTICIPANTS] = {"ListParticipants", &livekit__list_participants_request__descriptor, &livekit__list_participants_response__descriptor},
    [LK_SFU_GET_PARTICIPANT] = {"GetParticipant", &livekit__room_participant_identity__descriptor, &livekit__participant_info__descriptor},
    [LK_SFU_REMOVE_PARTICIPANT] = {"RemoveParticipant", &livekit__room_participant_identity__descriptor, &livekit__remove_participant_response__descriptor},
    [LK_SFU_MUTE_PUBLISHED_TRACK] = {"MutePublishedTrack", &livekit__mute_room_track_request__descriptor, &livekit__mute_room_track_response__descriptor},
    [LK_SFU_UPDATE_PARTICIPANT] = {"UpdateParticipant", &livekit__update_participant_request__descriptor, &livekit__participant_info__descriptor},
    [LK_SFU_UPDATE_SUBSCRIPTIONS] = {"UpdateSubscriptions", &livekit__update_subscriptions_request__descriptor,
                                     &livekit__update_subscriptions_response__descriptor},
    [LK_SFU_SEND_DATA] = {"SendData", &livekit__send_data_request__descriptor, &livekit__send_data_response__descriptor},
    [LK_SFU_UPDATE_ROOM_METADATA] = {"UpdateRoomMetadata", &livekit__update_room_metadata_request__descriptor, &livekit__room__descriptor},
    [LK_SFU_PERFORM_RPC] = {"PerformRpc", &livekit__perform_rpc_request__descriptor, &livekit__perform_rpc_response__descriptor},
    [LK_SFU_FORWARD_PARTICIPANT] = {"ForwardParticipant", &livekit__forward_participant_request__descriptor,
                                    &livekit__forward_participant_response__descriptor},
    [LK_SFU_MOVE_PARTICIPANT] = {"MoveParticipant", &livekit__move_participant_request__descriptor, &livekit__move_participant_response__descriptor},
};

static const char not_found[] = "not_found", invalid[] = "invalid_argument", denied[] = "unauthenticated", unavailable[] = "unavailable",
                  exhausted[] = "resource_exhausted", precondition[] = "failed_precondition", internal[] = "internal",
                  unimplemented[] = "unimplemented", deadline[] = "deadline_exceeded";

static const char no_room[] = "requested room does not exist", no_person[] = "participant does not exist",
                  nobody_there[] = "no response from servers", no_memory[] = "out of memory";

/* ---- answers ----------------------------------------------------------------------------------------------------------- */

static void fail(lk_sfu *s, uint64_t tag, const char *twirp, const char *text)
{
    lk_sfu_buf *b = lk_sfu_buf_of(s, (lk_bytes){(const uint8_t *)text, strlen(text) + 1});
    lk_sfu_push(s, &(lk_sfu_out){.kind = LK_SFU_EV_ADMIN_DONE, .tag = tag, .twirp = twirp, .buf = b});
}

/* m NULL: it could not be built. */
static void done(lk_sfu *s, uint64_t tag, const ProtobufCMessage *m)
{
    lk_sfu_buf *b = m ? lk_sfu_pack(s, m) : NULL;
    if (b)
        lk_sfu_push(s, &(lk_sfu_out){.kind = LK_SFU_EV_ADMIN_DONE, .tag = tag, .buf = b});
    else
        fail(s, tag, internal, no_memory);
    lk_arena_reset(&s->out);
}

static void done_empty(lk_sfu *s, uint64_t tag)
{
    Livekit__DeleteRoomResponse none = LIVEKIT__DELETE_ROOM_RESPONSE__INIT;
    done(s, tag, &none.base);
}

static const char *text_of(const char *z) { return z ? z : ""; }

/* What a method works on; a request that has them set is past all checks. */
typedef struct call {
    lk_sfu *s;
    uint64_t tag;
    lk_sfu_room *room;     /* may be NULL */
    lk_sfu_person *person; /* may be NULL */
    const ProtobufCMessage *request;
} call;

/* ---- rooms ------------------------------------------------------------------------------------------------------------------- */

static void create_room(const call *c)
{
    lk_sfu *s = c->s;
    const Livekit__CreateRoomRequest *q = (const Livekit__CreateRoomRequest *)c->request;
    const char *name = text_of(q->name);
    lk_sfu_room *r = c->room;
    if (!*name || strlen(name) > LK_SFU_NAME_MAX) {
        fail(s, c->tag, invalid, *name ? "room name is too long" : "room name cannot be empty");
        return;
    }
    if (strlen(text_of(q->metadata)) > s->config.limits.metadata_bytes) {
        fail(s, c->tag, invalid, "metadata size exceeds limits");
        return;
    }
    bool made = !r;
    lk_err err = r ? LK_OK : lk_sfu_room_new(&r, s, name);
    if (err == LK_OK && q->metadata && *q->metadata)
        err = lk_sfu_text(s->env, &r->metadata, q->metadata);
    if (err != LK_OK) {
        if (made && r)
            lk_sfu_room_free(r);
        fail(s, c->tag, err == LK_ERR_FULL ? exhausted : internal, err == LK_ERR_FULL ? "too many rooms" : no_memory);
        return;
    }
    if (q->empty_timeout)
        r->empty_timeout_sec = q->empty_timeout;
    if (q->departure_timeout)
        r->departure_timeout_sec = q->departure_timeout;
    if (q->max_participants)
        r->max_participants = q->max_participants;
    if (made) {
        r->closes_at = s->now + LK_SEC(r->empty_timeout_sec);
        lk_sfu_arm(s, r->closes_at);
    }
    Livekit__Room *m = lk_sfu_room_info(r, &s->out);
    done(s, c->tag, m ? &m->base : NULL);
}

static bool listed(const Livekit__ListRoomsRequest *q, const char *name)
{
    for (size_t i = 0; i < q->n_names; i++)
        if (strcmp(q->names[i], name) == 0)
            return true;
    return q->n_names == 0;
}

static void list_rooms(const call *c)
{
    lk_sfu *s = c->s;
    Livekit__ListRoomsResponse m = LIVEKIT__LIST_ROOMS_RESPONSE__INIT;
    m.rooms = lk_arena_alloc(&s->out, (s->rooms.count + 1) * sizeof *m.rooms);
    bool ok = m.rooms != NULL;
    LK_LIST_EACH(&s->rooms, it) {
        lk_sfu_room *r = LK_CONTAINER(it, lk_sfu_room, link);
        if (ok && listed((const Livekit__ListRoomsRequest *)c->request, r->name))
            ok = (m.rooms[m.n_rooms++] = lk_sfu_room_info(r, &s->out)) != NULL;
    }
    done(s, c->tag, ok ? &m.base : NULL);
}

static void delete_room(const call *c)
{
    lk_sfu_room_close(c->room, LIVEKIT__DISCONNECT_REASON__ROOM_DELETED);
    done_empty(c->s, c->tag);
}

static void update_room_metadata(const call *c)
{
    lk_sfu *s = c->s;
    const Livekit__UpdateRoomMetadataRequest *q = (const Livekit__UpdateRoomMetadataRequest *)c->request;
    if (strlen(text_of(q->metadata)) > s->config.limits.metadata_bytes) {
        fail(s, c->tag, invalid, "metadata size exceeds limits");
        return;
    }
    if (lk_sfu_text(s->env, &c->room->metadata, text_of(q->metadata)) != LK_OK) {
        fail(s, c->tag, internal, no_memory);
        return;
    }
    lk_sfu_room_changed(c->room, true);
    Livekit__Room *m = lk_sfu_room_info(c->room, &s->out);
    done(s, c->tag, m ? &m->base : NULL);
}

/* ---- people -------------------------------------------------------------------------------------------------------------------- */

static void list_participants(const call *c)
{
    lk_sfu *s = c->s;
    Livekit__ListParticipantsResponse m = LIVEKIT__LIST_PARTICIPANTS_RESPONSE__INIT;
    size_t n = c->room ? c->room->people.count : 0;
    m.participants = lk_arena_alloc(&s->out, (n + 1) * sizeof *m.participants);
    bool ok = m.participants != NULL;
    if (c->room) {
        LK_LIST_EACH(&c->room->people, it)
            if (ok)
                ok = (m.participants[m.n_participants++] = lk_sfu_person_info(LK_CONTAINER(it, lk_sfu_person, link), &s->out)) != NULL;
    }
    done(s, c->tag, ok ? &m.base : NULL);
}

static void get_participant(const call *c)
{
    Livekit__ParticipantInfo *m = lk_sfu_person_info(c->person, &c->s->out);
    done(c->s, c->tag, m ? &m->base : NULL);
}

static void remove_participant(const call *c)
{
    lk_sfu_person_remove(c->person, LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED, LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT);
    done_empty(c->s, c->tag);
}

static void mute_published_track(const call *c)
{
    lk_sfu *s = c->s;
    const Livekit__MuteRoomTrackRequest *q = (const Livekit__MuteRoomTrackRequest *)c->request;
    lk_sfu_track *t = lk_sfu_track_of(c->person, text_of(q->track_sid));
    if (!t) {
        fail(s, c->tag, not_found, "track not found");
        return;
    }
    if (!q->muted && t->info->muted && !s->config.remote_unmute) {
        fail(s, c->tag, precondition, "remote unmute not enabled");
        return;
    }
    if ((bool)t->info->muted != (bool)q->muted) {
        Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
        Livekit__MuteTrackRequest mute = LIVEKIT__MUTE_TRACK_REQUEST__INIT;
        mute.sid = t->info->sid;
        mute.has_muted = 1;
        mute.muted = q->muted;
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MUTE;
        m.mute = &mute;
        lk_sfu_send(c->person, &m);
        lk_sfu_mute(c->person, t, q->muted);
    }
    Livekit__MuteRoomTrackResponse r = LIVEKIT__MUTE_ROOM_TRACK_RESPONSE__INIT;
    r.track = t->info;
    done(s, c->tag, &r.base);
}

static lk_sfu_grants grants_of(const Livekit__ParticipantPermission *m, const lk_sfu_grants *before)
{
    lk_sfu_grants g = {.can_subscribe = m->can_subscribe, .can_publish = m->can_publish, .can_publish_data = m->can_publish_data,
                       .can_update_metadata = m->can_update_metadata, .hidden = m->hidden, .recorder = before->recorder, .agent = before->agent,
                       .metrics = m->can_subscribe_metrics, .manage_agent = m->can_manage_agent_session};
    for (size_t i = 0; i < m->n_can_publish_sources; i++)
        if ((unsigned)m->can_publish_sources[i] < 32)
            g.sources |= 1u << m->can_publish_sources[i];
    return g;
}

static void update_participant(const call *c)
{
    lk_sfu *s = c->s;
    lk_sfu_person *p = c->person;
    const Livekit__UpdateParticipantRequest *q = (const Livekit__UpdateParticipantRequest *)c->request;
    const char *why = "";
    if (strlen(text_of(q->name)) > LK_SFU_NAME_MAX || strlen(text_of(q->metadata)) > s->config.limits.metadata_bytes) {
        fail(s, c->tag, invalid, strlen(text_of(q->name)) > LK_SFU_NAME_MAX ? "name exceeds limits" : "metadata size exceeds limits");
        return;
    }
    /* both kinds of entry are two texts behind the same head */
    Livekit__UpdateParticipantMetadata__AttributesEntry **entries = lk_arena_alloc(&s->out, (q->n_attributes + 1) * sizeof *entries);
    bool ok = entries != NULL;
    for (size_t i = 0; ok && i < q->n_attributes; i++) {
        entries[i] = lk_pbuf_new(&livekit__update_participant_metadata__attributes_entry__descriptor, &s->out);
        ok = entries[i] != NULL;
        if (ok) {
            entries[i]->key = q->attributes[i]->key;
            entries[i]->value = q->attributes[i]->value;
        }
    }
    lk_err err = ok ? lk_sfu_set_attributes(p, entries, q->n_attributes, &why) : LK_ERR_NOMEM;
    lk_arena_reset(&s->out);
    if (err == LK_OK && q->metadata && *q->metadata)
        err = lk_sfu_text(s->env, &p->metadata, q->metadata);
    if (err != LK_OK) {
        fail(s, c->tag, err == LK_ERR_LIMIT ? invalid : internal, err == LK_ERR_LIMIT ? why : no_memory);
        return;
    }
    if (q->name && *q->name)
        (void)lk_str_copy(p->name, sizeof p->name, lk_str_of(q->name));
    if (q->permission) {
        lk_sfu_grants g = grants_of(q->permission, &p->grants);
        lk_sfu_set_grants(p, &g);
    }
    lk_sfu_person_changed(p);
    lk_sfu_send_refresh_token(p);
    get_participant(c);
}

static void update_subscriptions(const call *c)
{
    const Livekit__UpdateSubscriptionsRequest *q = (const Livekit__UpdateSubscriptionsRequest *)c->request;
    lk_sfu_subscription(c->person, q->track_sids, q->n_track_sids, q->subscribe);
    for (size_t i = 0; i < q->n_participant_tracks; i++)
        lk_sfu_subscription(c->person, q->participant_tracks[i]->track_sids, q->participant_tracks[i]->n_track_sids, q->subscribe);
    done_empty(c->s, c->tag);
}

/* ---- data ------------------------------------------------------------------------------------------------------------------------ */

static bool seen(lk_sfu_room *r, const uint8_t *nonce)
{
    uint32_t n = LK_MIN(r->nonce_count, (uint32_t)SFU_NONCES_MAX);
    for (uint32_t i = 0; i < n; i++)
        if (memcmp(r->nonces[i], nonce, NONCE_BYTES) == 0)
            return true;
    memcpy(r->nonces[r->nonce_count++ % SFU_NONCES_MAX], nonce, NONCE_BYTES);
    return false;
}

static void send_data(const call *c)
{
    const Livekit__SendDataRequest *q = (const Livekit__SendDataRequest *)c->request;
    Livekit__DataPacket m = LIVEKIT__DATA_PACKET__INIT;
    Livekit__UserPacket u = LIVEKIT__USER_PACKET__INIT;
    if (q->has_nonce && q->nonce.len != 0 && q->nonce.len != NONCE_BYTES) {
        fail(c->s, c->tag, invalid, "nonce should be 16-bytes or not present");
        return;
    }
    if (q->has_nonce && q->nonce.len && seen(c->room, q->nonce.data)) {
        done_empty(c->s, c->tag);
        return;
    }
    m.has_kind = 1;
    m.kind = q->kind;
    m.value_case = LIVEKIT__DATA_PACKET__VALUE_USER;
    m.user = &u;
    m.destination_identities = u.destination_identities = q->destination_identities;
    m.n_destination_identities = u.n_destination_identities = q->n_destination_identities;
    u.destination_sids = q->destination_sids;
    u.n_destination_sids = q->n_destination_sids;
    u.has_payload = 1;
    u.payload = q->data;
    u.topic = q->topic && *q->topic ? q->topic : NULL;
    u.has_nonce = q->has_nonce && q->nonce.len;
    u.nonce = q->nonce;
    if (lk_sfu_send_packet(c->room, &m, q->kind == LIVEKIT__DATA_PACKET__KIND__RELIABLE) == LK_OK)
        done_empty(c->s, c->tag);
    else
        fail(c->s, c->tag, internal, no_memory);
}

static void perform_rpc(const call *c)
{
    lk_sfu *s = c->s;
    const Livekit__PerformRpcRequest *q = (const Livekit__PerformRpcRequest *)c->request;
    if (strlen(text_of(q->payload)) > RPC_PAYLOAD_MAX) {
        fail(s, c->tag, invalid, "payload is too large");
        return;
    }
    lk_sfu_call *k = s->calls.count < SFU_CALLS_MAX ? lk_alloc0(s->env, sizeof *k) : NULL;
    if (!k) {
        fail(s, c->tag, exhausted, "too many calls");
        return;
    }
    uint32_t msec = q->response_timeout_ms ? LK_MIN(q->response_timeout_ms, 600000u) : RPC_WAIT_MSEC;
    k->tag = c->tag;
    k->callee = c->person;
    k->due = s->now + LK_MSEC(msec);
    lk_sfu_sid(s, k->id, "RPC_");
    Livekit__DataPacket m = LIVEKIT__DATA_PACKET__INIT;
    Livekit__RpcRequest r = LIVEKIT__RPC_REQUEST__INIT;
    char *to[] = {c->person->identity};
    r.id = k->id;
    r.method = q->method;
    r.payload = q->payload;
    r.has_response_timeout_ms = r.has_version = 1;
    r.response_timeout_ms = msec;
    r.version = 1;
    m.participant_identity = k->id; /* where the answer goes */
    m.n_destination_identities = 1;
    m.destination_identities = to;
    m.value_case = LIVEKIT__DATA_PACKET__VALUE_RPC_REQUEST;
    m.rpc_request = &r;
    if (lk_sfu_send_packet(c->room, &m, true) != LK_OK) {
        lk_release(s->env, k, sizeof *k);
        fail(s, c->tag, internal, no_memory);
        return;
    }
    lk_list_push(&s->calls, &k->link);
    lk_sfu_arm(s, k->due);
}

static void call_end(lk_sfu *s, lk_sfu_call *k)
{
    lk_list_remove(&s->calls, &k->link);
    lk_release(s->env, k, sizeof *k);
}

bool lk_sfu_call_answered(lk_sfu_person *p, const Livekit__DataPacket *m)
{
    lk_sfu *s = p->sfu;
    bool ack = m->value_case == LIVEKIT__DATA_PACKET__VALUE_RPC_ACK;
    if (!ack && m->value_case != LIVEKIT__DATA_PACKET__VALUE_RPC_RESPONSE)
        return false;
    const char *id = text_of(ack ? m->rpc_ack->request_id : m->rpc_response->request_id);
    LK_LIST_EACH(&s->calls, it) {
        lk_sfu_call *k = LK_CONTAINER(it, lk_sfu_call, link);
        if (k->callee != p || strcmp(k->id, id) != 0)
            continue;
        if (ack)
            return true;
        const Livekit__RpcResponse *r = m->rpc_response;
        if (r->value_case == LIVEKIT__RPC_RESPONSE__VALUE_ERROR) {
            fail(s, k->tag, precondition, text_of(r->error->message));
        } else {
            Livekit__PerformRpcResponse done_message = LIVEKIT__PERFORM_RPC_RESPONSE__INIT;
            done_message.payload = r->value_case == LIVEKIT__RPC_RESPONSE__VALUE_PAYLOAD ? r->payload : NULL;
            done(s, k->tag, &done_message.base);
        }
        call_end(s, k);
        return true;
    }
    return false;
}

void lk_sfu_calls_end(lk_sfu_person *p)
{
    LK_LIST_EACH(&p->sfu->calls, it) {
        lk_sfu_call *k = LK_CONTAINER(it, lk_sfu_call, link);
        if (k->callee == p) {
            fail(p->sfu, k->tag, unavailable, "participant disconnected");
            call_end(p->sfu, k);
        }
    }
}

void lk_sfu_calls_tick(lk_sfu *s)
{
    LK_LIST_EACH(&s->calls, it) {
        lk_sfu_call *k = LK_CONTAINER(it, lk_sfu_call, link);
        if (k->due <= s->now) {
            fail(s, k->tag, deadline, "response timeout");
            call_end(s, k);
        } else {
            lk_sfu_arm(s, k->due);
        }
    }
}

void lk_sfu_admin_forget(lk_sfu *s, uint64_t tag)
{
    LK_LIST_EACH(&s->calls, it) {
        lk_sfu_call *k = LK_CONTAINER(it, lk_sfu_call, link);
        if (k->tag == tag)
            call_end(s, k);
    }
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------------ */

typedef enum grant { GRANT_CREATE, GRANT_LIST, GRANT_ADMIN } grant;

static const struct {
    void (*run)(const call *c); /* NULL: not built, as in the real server */
    grant grant;
    const char *without_room; /* code when there is no such room; NULL: goes on without */
    const char *without_room_text;
    bool person; /* works on one participant: not_found without */
} rows[LK_SFU_METHODS] = {
    [LK_SFU_CREATE_ROOM] = {create_room, GRANT_CREATE, NULL, NULL, false},
    [LK_SFU_LIST_ROOMS] = {list_rooms, GRANT_LIST, NULL, NULL, false},
    [LK_SFU_DELETE_ROOM] = {delete_room, GRANT_CREATE, not_found, no_room, false},
    [LK_SFU_LIST_PARTICIPANTS] = {list_participants, GRANT_ADMIN, NULL, NULL, false},
    [LK_SFU_GET_PARTICIPANT] = {get_participant, GRANT_ADMIN, not_found, no_person, true},
    [LK_SFU_REMOVE_PARTICIPANT] = {remove_participant, GRANT_ADMIN, not_found, no_person, true},
    [LK_SFU_MUTE_PUBLISHED_TRACK] = {mute_published_track, GRANT_ADMIN, unavailable, nobody_there, true},
    [LK_SFU_UPDATE_PARTICIPANT] = {update_participant, GRANT_ADMIN, not_found, no_person, true},
    [LK_SFU_UPDATE_SUBSCRIPTIONS] = {update_subscriptions, GRANT_ADMIN, not_found, no_person, true},
    [LK_SFU_SEND_DATA] = {send_data, GRANT_ADMIN, unavailable, nobody_there, false},
    [LK_SFU_UPDATE_ROOM_METADATA] = {update_room_metadata, GRANT_ADMIN, not_found, no_room, false},
    [LK_SFU_PERFORM_RPC] = {perform_rpc, GRANT_ADMIN, unavailable, nobody_there, true},
    [LK_SFU_FORWARD_PARTICIPANT] = {NULL, GRANT_ADMIN, NULL, NULL, false},
    [LK_SFU_MOVE_PARTICIPANT] = {NULL, GRANT_ADMIN, NULL, NULL, false},
};

/* A text field of the request by its number, "" when it has none or it is not there. */
static const char *text_field(const ProtobufCMessage *m, uint32_t number)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type == PROTOBUF_C_TYPE_STRING && f->label != PROTOBUF_C_LABEL_REPEATED && f->id == number)
            return text_of(*(char *const *)(const void *)((const char *)m + f->offset));
    }
    return "";
}

static bool granted(const lk_token *t, grant g, const char *room)
{
    if (!t->has_video)
        return false;
    switch (g) {
    case GRANT_CREATE: return t->video.room_create;
    case GRANT_LIST: return t->video.room_list;
    default: return t->video.room_admin && *room && strcmp(text_of(t->video.room), room) == 0;
    }
}

lk_str lk_sfu_admin_room(lk_sfu_method method, lk_bytes request)
{
    /* in every request that is about a room its name is field 1 */
    lk_rd r = lk_rd_of(request.data, request.len);
    lk_str name = {"", 0};
    lk_sfu_field f;
    while (method != LK_SFU_LIST_ROOMS && lk_sfu_next_field(&r, &f))
        if (f.number == 1 && f.body.data)
            name = (lk_str){(const char *)f.body.data, f.body.len};
    return r.bad ? (lk_str){"", 0} : name;
}

void lk_sfu_admin(lk_sfu *s, lk_usec now, uint64_t tag, lk_sfu_method method, const lk_token *token, lk_bytes request)
{
    ProtobufCMessage *m;
    lk_sfu_begin(s, now);
    call c = {.s = s, .tag = tag};
    if ((unsigned)method >= LK_SFU_METHODS) {
        fail(s, tag, "bad_route", "no such method");
    } else if (lk_pbuf_unpack(lk_sfu_methods[method].request, &s->in, request, &m) != LK_OK) {
        fail(s, tag, "malformed", "the request could not be decoded");
    } else {
        /* in every request the room is field 1, and in those about a participant the identity field 2 */
        const char *name = text_field(m, 1), *identity = rows[method].person ? text_field(m, 2) : "";
        c.request = m;
        c.room = *name ? lk_sfu_room_find(s, name) : NULL;
        c.person = c.room && *identity ? lk_sfu_person_find(c.room, identity) : NULL;
        if (!granted(token, rows[method].grant, name)) {
            s->stats.denied++;
            fail(s, tag, denied, "permissions denied");
        } else if (!rows[method].run) {
            fail(s, tag, unimplemented, "not implemented");
        } else if (s->stopped) {
            fail(s, tag, unavailable, "server is stopping");
        } else if (rows[method].person && !*identity) {
            fail(s, tag, invalid, method == LK_SFU_PERFORM_RPC ? "destination identity is required" : "identity is required");
        } else if (!c.room && rows[method].without_room) {
            fail(s, tag, rows[method].without_room, rows[method].without_room_text);
        } else if (rows[method].person && !c.person) {
            fail(s, tag, not_found, no_person);
        } else {
            rows[method].run(&c);
        }
    }
    lk_arena_reset(&s->in);
    lk_arena_reset(&s->out);
    lk_sfu_end(s);
}
