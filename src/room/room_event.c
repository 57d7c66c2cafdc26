// SPDX-License-Identifier: Apache-2.0
/* Events, the infos they carry, operations. */
#include "room/room_internal.h"

bool lk_session_set_text(lk_session *s, char **slot, const char *value)
{
    const char *old = *slot ? *slot : "";
    value = value ? value : "";
    if (*slot && strcmp(old, value) == 0)
        return false;
    bool changed = strcmp(old, value) != 0;
    size_t size = strlen(value) + 1;
    char *copy = (char *)lk_alloc(s->env, size);
    if (!copy) {
        s->broken = LK_ERR_NOMEM;
        return false;
    }
    memcpy(copy, value, size);
    lk_session_free_text(s, slot);
    *slot = copy;
    return changed;
}

void lk_session_free_text(lk_session *s, char **slot)
{
    if (*slot)
        lk_release(s->env, *slot, strlen(*slot) + 1);
    *slot = NULL;
}

/* ---- memory of events ------------------------------------------------------------------------------ */

void *lk_session_out_alloc(lk_session *s, size_t size)
{
    void *p = lk_arena_alloc(&s->out, size);
    if (!p)
        s->broken = s->out.used_bytes + size > s->out.max_bytes ? LK_ERR_LIMIT : LK_ERR_NOMEM;
    return p;
}

const char *lk_session_out_text(lk_session *s, const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    if (size <= 1)
        return "";
    char *copy = (char *)lk_session_out_alloc(s, size);
    if (!copy)
        return "";
    memcpy(copy, text, size);
    return copy;
}

void lk_session_push_node(lk_session *s, lk_session_node *node)
{
    if (!node->ev.text)
        node->ev.text = "";
    lk_list_push(&s->events, &node->link);
}

/* Frames come 100 times a second and sink: their nodes are used again. */
static lk_session_node *new_node(lk_session *s)
{
    lk_link *spare = lk_list_pop(&s->spare);
    if (!spare)
        return (lk_session_node *)lk_alloc0(s->env, sizeof(lk_session_node));
    lk_session_node *node = LK_CONTAINER(spare, lk_session_node, link);
    memset(node, 0, sizeof *node);
    return node;
}

lk_session_event *lk_session_emit(lk_session *s, lk_session_event_kind kind)
{
    memset(&s->nowhere, 0, sizeof s->nowhere);
    if (s->phase != LK_SESSION_LIVE)
        return &s->nowhere;
    lk_session_node *node = new_node(s);
    if (!node) {
        s->broken = LK_ERR_NOMEM;
        return &s->nowhere;
    }
    node->block = node;
    node->block_size = sizeof *node;
    node->ev.kind = kind;
    lk_session_push_node(s, node);
    return &node->ev;
}

lk_session_event *lk_session_emit_person(lk_session *s, lk_session_event_kind kind, const lk_session_person *p)
{
    lk_session_event *ev = lk_session_emit(s, kind);
    if (s->phase == LK_SESSION_LIVE) {
        ev->participant_id = p->id;
        ev->participant = lk_session_person_info(s, p);
    }
    return ev;
}

lk_session_event *lk_session_emit_pub(lk_session *s, lk_session_event_kind kind, const lk_session_pub *pub)
{
    lk_session_event *ev = lk_session_emit_person(s, kind, pub->person);
    if (s->phase == LK_SESSION_LIVE) {
        ev->publication_id = pub->id;
        ev->publication = lk_session_pub_info(s, pub);
    }
    return ev;
}

bool lk_session_poll_event(lk_session *s, lk_session_event *out)
{
    lk_link *link = lk_list_pop(&s->events);
    if (!link)
        return false;
    lk_session_node *node = LK_CONTAINER(link, lk_session_node, link);
    *out = node->ev;
    if (node->block == node && s->spare.count < LK_SESSION_SPARE_NODES_MAX)
        lk_list_push(&s->spare, &node->link);
    else
        lk_release(s->env, node->block, node->block_size);
    return true;
}

void lk_session_free_events(lk_session *s)
{
    lk_session_event ev;
    while (lk_session_poll_event(s, &ev))
        lk_session_drop_media(&ev);
    LK_LIST_EACH(&s->spare, it) {
        lk_list_remove(&s->spare, it);
        lk_release(s->env, LK_CONTAINER(it, lk_session_node, link), sizeof(lk_session_node));
    }
    LK_LIST_EACH(&s->ops, it) {
        lk_session_op *op = LK_CONTAINER(it, lk_session_op, link);
        lk_list_remove(&s->ops, &op->link);
        lk_release(s->env, op, sizeof *op);
    }
    lk_arena_deinit(&s->out);
}

/* ---- infos ------------------------------------------------------------------------------------------- */

static const lk_participant_info no_person = {.sid = "", .identity = "", .name = "", .metadata = ""};
static const lk_publication_info no_pub = {
    .sid = "", .name = "", .mime_type = "", .participant_identity = "", .stream = ""};
static const lk_track_info no_track = {.sid = "", .name = ""};
static const lk_room_info no_room = {.sid = "", .name = "", .metadata = ""};

static const lk_attribute *copy_attributes(lk_session *s, const lk_attribute *from, size_t count)
{
    lk_attribute *copy = count ? (lk_attribute *)lk_session_out_alloc(s, count * sizeof *copy) : NULL;
    for (size_t i = 0; copy && i < count; i++)
        copy[i] = (lk_attribute){lk_session_out_text(s, from[i].key), lk_session_out_text(s, from[i].value)};
    return copy;
}

const lk_participant_info *lk_session_person_info(lk_session *s, const lk_session_person *p)
{
    lk_participant_info *info = (lk_participant_info *)lk_session_out_alloc(s, sizeof *info);
    if (!info)
        return &no_person;
    *info = (lk_participant_info){
        .sid = lk_session_out_text(s, p->sid),
        .identity = lk_session_out_text(s, p->identity),
        .name = lk_session_out_text(s, p->name),
        .metadata = lk_session_out_text(s, p->metadata),
        .attributes = copy_attributes(s, p->attributes, p->attribute_count),
        .joined_at_msec = p->joined_at_msec,
        .state = p->state,
        .kind = p->kind,
        .kind_details = p->kind_details,
        .disconnect_reason = p->disconnect_reason,
        .client_protocol = p->client_protocol,
        .is_local = p->is_local,
        .has_permission = p->has_permission,
        .permission = p->permission,
    };
    info->attribute_count = info->attributes ? p->attribute_count : 0;
    return info;
}

const lk_publication_info *lk_session_pub_info(lk_session *s, const lk_session_pub *pub)
{
    lk_publication_info *info = (lk_publication_info *)lk_session_out_alloc(s, sizeof *info);
    if (!info)
        return &no_pub;
    *info = (lk_publication_info){
        .sid = lk_session_out_text(s, pub->sid),
        .name = lk_session_out_text(s, pub->name),
        .mime_type = pub->person->is_local ? "" : lk_session_out_text(s, pub->mime),
        .participant_identity = lk_session_out_text(s, pub->person->identity),
        .stream = lk_session_out_text(s, pub->stream),
        .kind = pub->kind,
        .source = pub->source,
        .encryption = pub->encryption,
        .width = pub->width,
        .height = pub->height,
        .audio_features = pub->audio_features,
        .simulcasted = pub->simulcast,
        .muted = pub->muted,
        .is_local = pub->person->is_local,
        .subscribed = !pub->person->is_local && pub->wanted,
        .subscription_allowed = !pub->person->is_local && pub->allowed,
    };
    return info;
}

const lk_room_info *lk_session_room_info(lk_session *s)
{
    lk_room_info *info = (lk_room_info *)lk_session_out_alloc(s, sizeof *info);
    if (!info)
        return &no_room;
    *info = (lk_room_info){
        .sid = lk_session_out_text(s, s->room_sid),
        .name = lk_session_out_text(s, s->room_name),
        .metadata = lk_session_out_text(s, s->room_metadata),
        .creation_time_msec = s->room_created_msec,
        .reliable_low_threshold_bytes = s->data_low[0],
        .lossy_low_threshold_bytes = s->data_low[1],
        .empty_timeout_sec = s->room_empty_sec,
        .departure_timeout_sec = s->room_departure_sec,
        .max_participants = s->room_max,
        .participant_count = s->room_participants,
        .publisher_count = s->room_publishers,
        .active_recording = s->room_recording,
        .state = s->state,
    };
    return info;
}

const lk_track_info *lk_session_local_track_info(lk_session *s, const lk_session_local_track *t)
{
    lk_track_info *info = (lk_track_info *)lk_session_out_alloc(s, sizeof *info);
    if (!info)
        return &no_track;
    *info = (lk_track_info){.sid = lk_session_out_text(s, t->pub ? t->pub->sid : "TR_unknown"),
                            .name = lk_session_out_text(s, t->name),
                            .kind = LK_MEDIA_KIND_AUDIO,
                            .stream_state = LK_STREAM_STATE_ACTIVE,
                            .muted = t->muted,
                            .is_local = true,
                            .enabled = true};
    return info;
}

const lk_track_info *lk_session_remote_track_info(lk_session *s, const lk_session_remote_track *t)
{
    lk_track_info *info = (lk_track_info *)lk_session_out_alloc(s, sizeof *info);
    if (!info || !t->pub)
        return &no_track;
    *info = (lk_track_info){.sid = lk_session_out_text(s, t->pub->sid),
                            .name = lk_session_out_text(s, t->pub->name),
                            .kind = t->pub->kind,
                            .stream_state = t->stream_state,
                            .muted = t->pub->muted,
                            .enabled = true};
    return info;
}

void lk_session_fill_members(lk_session *s, lk_session_event *ev, lk_session_person *const *people, size_t count)
{
    lk_session_member *members = count ? (lk_session_member *)lk_session_out_alloc(s, count * sizeof *members) : NULL;
    if (!members)
        return;
    for (size_t i = 0; i < count; i++)
        members[i] = (lk_session_member){.id = people[i]->id, .info = lk_session_person_info(s, people[i])};
    ev->members = members;
    ev->member_count = count;
}

static void fill_publications(lk_session *s, lk_session_member *member, const lk_session_person *p)
{
    size_t count = 0;
    lk_session_member_publication *list =
        p->pubs.count ? (lk_session_member_publication *)lk_session_out_alloc(s, p->pubs.count * sizeof *list) : NULL;
    if (!list)
        return;
    LK_LIST_EACH(&p->pubs, it) {
        const lk_session_pub *pub = LK_CONTAINER(it, lk_session_pub, link);
        list[count++] = (lk_session_member_publication){pub->id, lk_session_pub_info(s, pub)};
    }
    member->publications = list;
    member->publication_count = count;
}

void lk_session_fill_everybody(lk_session *s, lk_session_event *ev)
{
    size_t count = 0;
    lk_session_member *members =
        s->others.count ? (lk_session_member *)lk_session_out_alloc(s, s->others.count * sizeof *members) : NULL;
    ev->room_info = lk_session_room_info(s);
    ev->participant_id = s->local->id;
    ev->participant = lk_session_person_info(s, s->local);
    if (!members)
        return;
    LK_LIST_EACH(&s->others, it) {
        const lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        members[count] = (lk_session_member){.id = p->id, .info = lk_session_person_info(s, p)};
        fill_publications(s, &members[count++], p);
    }
    ev->members = members;
    ev->member_count = count;
}

/* ---- operations ---------------------------------------------------------------------------------------- */

lk_err lk_session_op_new(lk_session *s, uint64_t id, lk_session_op_kind kind, lk_session_op **out)
{
    if (id == 0)
        return LK_ERR_INVALID;
    if (s->ops.count >= LK_SESSION_OPS_MAX)
        return LK_ERR_FULL;
    lk_session_op *op = (lk_session_op *)lk_alloc0(s->env, sizeof *op);
    if (!op)
        return LK_ERR_NOMEM;
    op->kind = kind;
    op->node.block = op;
    op->node.block_size = sizeof *op;
    op->node.ev.kind = LK_SESSION_OP_DONE;
    op->node.ev.op = id;
    lk_list_push(&s->ops, &op->link);
    *out = op;
    return LK_OK;
}

lk_session_event *lk_session_op_done(lk_session *s, lk_session_op *op, const lk_error *error)
{
    lk_list_remove(&s->ops, &op->link);
    if (s->connect_op == op)
        s->connect_op = NULL;
    if (error)
        op->node.ev.error = *error;
    lk_session_push_node(s, &op->node);
    return &op->node.ev;
}

lk_session_op *lk_session_op_find(lk_session *s, uint64_t id)
{
    LK_LIST_EACH(&s->ops, it) {
        lk_session_op *op = LK_CONTAINER(it, lk_session_op, link);
        if (op->node.ev.op == id)
            return op;
    }
    return NULL;
}
