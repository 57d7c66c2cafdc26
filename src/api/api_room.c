// SPDX-License-Identifier: Apache-2.0
/* Rooms: the object, and the operations on it. */
#include "api/api.h"

/* ---- operations on a room --------------------------------------------------------------------------------------------- */

/* A registered operation and the command that carries it out. On failure nothing is left. */
static lk_err begin(api_cmd **out, lk_op_kind op_kind, api_cmd_kind kind, lk_room *room,
                    lk_track *track, const lk_op_options *how, uint32_t default_msec)
{
    api_cmd *cmd = api_cmd_new(kind, room);
    if (!cmd)
        return LK_ERR_NOMEM;
    lk_err err =
        api_op_new(&cmd->op, room->o.rt, op_kind, room, track, NULL, how, default_msec);
    if (err != LK_OK) {
        api_cmd_free(cmd);
        return err;
    }
    cmd->track = api_ref(track);
    *out = cmd;
    return LK_OK;
}

/* refused: the command could not be filled in. */
static lk_err finish(lk_op *op, api_cmd *cmd, bool refused)
{
    lk_runtime *rt = cmd->room->o.rt;
    lk_op id = cmd->op;
    api_ref(rt);
    lk_err err = LK_ERR_NOMEM;
    if (refused)
        api_cmd_free(cmd);
    else
        err = api_submit(rt, cmd);
    /* A runtime that was stopped meanwhile may have ended it: then an event tells, and only that. */
    if (err != LK_OK && !api_op_forget(rt, id))
        err = LK_OK;
    if (err == LK_OK && op)
        *op = id;
    api_unref(rt);
    return err;
}

bool api_room_is_connected(lk_room *room)
{
    pthread_mutex_lock(&room->lock);
    bool connected = room->phase == API_ROOM_CONNECTED;
    pthread_mutex_unlock(&room->lock);
    return connected;
}

static lk_err check_connected(lk_room *room)
{
    if (!room)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    return api_room_is_connected(room) ? LK_OK : LK_ERR_STATE;
}

lk_err lk_track_get_stats(lk_op *op, lk_track *track, const lk_op_options *how)
{
    if (!track)
        return LK_ERR_INVALID;
    lk_runtime *rt = track->o.rt;
    if (api_check(rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&track->lock);
    lk_room *room = !track->is_local || track->published ? api_ref(track->room) : NULL;
    pthread_mutex_unlock(&track->lock);
    lk_err err;
    if (!room) {
        lk_op id;
        err = api_op_new(&id, rt, LK_OP_STATS, NULL, track, NULL, how, 7000);
        if (err != LK_OK)
            return err;
        if (op)
            *op = id;
        lk_error why = api_error(LK_ERR_NOT_FOUND, "room failure: no transceiver found for track");
        (void)api_op_end(rt, id, &why, NULL);
        return LK_OK;
    }
    api_cmd *cmd;
    err = begin(&cmd, LK_OP_STATS, API_CMD_TRACK_STATS, room, track, how, 7000);
    api_unref(room);
    return err == LK_OK ? finish(op, cmd, false) : err;
}

lk_err lk_room_get_stats(lk_op *op, lk_room *room, const lk_op_options *how)
{
    api_cmd *cmd;
    lk_err err = check_connected(room);
    if (err == LK_OK)
        err = begin(&cmd, LK_OP_STATS, API_CMD_ROOM_STATS, room, NULL, how, 7000);
    return err == LK_OK ? finish(op, cmd, false) : err;
}

void lk_data_options_init(lk_data_options *options)
{
    *options = (lk_data_options){.size = sizeof *options, .reliable = true};
}

/* Copies what the packet is sent with into the command; false when refused. */
static bool keep_data(api_cmd *cmd, const void *data, size_t len, const lk_data_options *o)
{
    uint8_t *copy = len ? lk_arena_alloc(&cmd->arena, len) : NULL;
    const char **identities = o->identity_count ? lk_arena_alloc(&cmd->arena, o->identity_count * sizeof *identities) : NULL;
    cmd->data_options = *o;
    cmd->data = copy;
    cmd->count = len;
    cmd->data_options.identities = identities;
    if ((len && !copy) || (o->identity_count && !identities))
        return false;
    if (len)
        memcpy(copy, data, len);
    for (size_t i = 0; i < o->identity_count; i++)
        if ((identities[i] = api_cmd_text(cmd, o->identities[i] ? o->identities[i] : "")) == NULL)
            return false;
    cmd->data_options.topic = o->topic ? api_cmd_text(cmd, o->topic) : NULL;
    return !o->topic || cmd->data_options.topic;
}

lk_err lk_room_publish_data(lk_op *op, lk_room *room, const void *data, size_t len, const lk_data_options *options,
                            const lk_op_options *how)
{
    api_cmd *cmd;
    lk_data_options o;
    lk_data_options_init(&o);
    if ((!data && len) || !api_options(&o, sizeof o, options) || (o.identity_count && !o.identities))
        return LK_ERR_INVALID;
    if (len > LK_DATA_MAX)
        return LK_ERR_LIMIT;
    lk_err err = check_connected(room);
    if (err == LK_OK)
        err = begin(&cmd, LK_OP_DATA, API_CMD_DATA, room, NULL, how, 30000);
    return err == LK_OK ? finish(op, cmd, !keep_data(cmd, data, len, &o)) : err;
}

lk_err lk_room_set_data_threshold(lk_room *room, bool reliable, uint64_t bytes)
{
    lk_err err = check_connected(room);
    api_cmd *cmd = err == LK_OK ? api_cmd_new(API_CMD_THRESHOLD, room) : NULL;
    if (!cmd)
        return err == LK_OK ? LK_ERR_NOMEM : err;
    cmd->flag = reliable;
    cmd->number = (int64_t)bytes;
    return api_submit(room->o.rt, cmd);
}

static lk_err text_op(lk_op *op, lk_op_kind op_kind, api_cmd_kind kind, lk_room *room,
                      const char *text, size_t max, const lk_op_options *how, uint32_t msec)
{
    api_cmd *cmd;
    if (!text)
        return LK_ERR_INVALID;
    lk_err err = check_connected(room);
    if (err != LK_OK)
        return err;
    size_t len = strlen(text);
    if (len > max)
        return LK_ERR_LIMIT;
    if (!lk_utf8_valid(text, len))
        return LK_ERR_INVALID;
    err = begin(&cmd, op_kind, kind, room, NULL, how, msec);
    if (err != LK_OK)
        return err;
    cmd->text = api_cmd_text(cmd, text);
    return finish(op, cmd, !cmd->text);
}

lk_err lk_room_set_metadata(lk_op *op, lk_room *room, const char *metadata,
                            const lk_op_options *how)
{
    return text_op(op, LK_OP_METADATA, API_CMD_METADATA, room, metadata, 512u << 10, how, 7000);
}

lk_err lk_room_set_name(lk_op *op, lk_room *room, const char *name, const lk_op_options *how)
{
    return text_op(op, LK_OP_NAME, API_CMD_NAME, room, name, 256, how, 7000);
}

lk_err lk_room_unpublish(lk_op *op, lk_room *room, const char *sid, const lk_op_options *how)
{
    return text_op(op, LK_OP_UNPUBLISH, API_CMD_UNPUBLISH, room, sid, 256, how, 12000);
}

lk_err lk_room_set_attributes(lk_op *op, lk_room *room, const lk_attribute *attributes,
                              size_t count, const lk_op_options *how)
{
    api_cmd *cmd;
    if (!attributes && count)
        return LK_ERR_INVALID;
    lk_err err = check_connected(room);
    if (err != LK_OK)
        return err;
    if (count > 64)
        return LK_ERR_LIMIT;
    for (size_t i = 0; i < count; i++)
        if (!attributes[i].key || !attributes[i].value ||
            !lk_utf8_valid(attributes[i].key, strlen(attributes[i].key)) ||
            !lk_utf8_valid(attributes[i].value, strlen(attributes[i].value)))
            return LK_ERR_INVALID;
    err = begin(&cmd, LK_OP_ATTRIBUTES, API_CMD_ATTRIBUTES, room, NULL, how, 7000);
    if (err != LK_OK)
        return err;
    lk_attribute *copy = count ? lk_arena_alloc(&cmd->arena, count * sizeof *copy) : NULL;
    bool refused = count && !copy;
    for (size_t i = 0; i < count && !refused; i++) {
        copy[i].key = api_cmd_text(cmd, attributes[i].key);
        copy[i].value = api_cmd_text(cmd, attributes[i].value);
        refused = !copy[i].key || !copy[i].value;
    }
    cmd->attributes = copy;
    cmd->count = count;
    return finish(op, cmd, refused);
}

static bool copy_permission(api_cmd *cmd, lk_track_permission *to, const lk_track_permission *from)
{
    *to = *from;
    to->identity = api_cmd_text(cmd, from->identity ? from->identity : "");
    const char **sids =
        from->track_sid_count ? lk_arena_alloc(&cmd->arena, from->track_sid_count * sizeof *sids)
                              : NULL;
    if (!to->identity || (from->track_sid_count && !sids))
        return false;
    to->track_sids = sids;
    for (size_t i = 0; i < from->track_sid_count; i++) {
        sids[i] = api_cmd_text(cmd, from->track_sids[i] ? from->track_sids[i] : "");
        if (!sids[i])
            return false;
    }
    return true;
}

lk_err lk_room_set_track_permissions(lk_room *room, bool all_allowed,
                                     const lk_track_permission *permissions, size_t count)
{
    if (!permissions && count)
        return LK_ERR_INVALID;
    lk_err err = check_connected(room);
    if (err != LK_OK)
        return err;
    if (count > 1024)
        return LK_ERR_LIMIT;
    api_cmd *cmd = api_cmd_new(API_CMD_PERMISSIONS, room);
    if (!cmd)
        return LK_ERR_NOMEM;
    cmd->flag = all_allowed;
    lk_track_permission *copy = count ? lk_arena_alloc(&cmd->arena, count * sizeof *copy) : NULL;
    bool refused = count && !copy;
    for (size_t i = 0; i < count && !refused; i++)
        refused = !copy_permission(cmd, &copy[i], &permissions[i]);
    if (refused) {
        api_cmd_free(cmd);
        return LK_ERR_NOMEM;
    }
    cmd->permissions = copy;
    cmd->count = count;
    return api_submit(room->o.rt, cmd);
}

void lk_publish_options_init(lk_publish_options *options)
{
    *options = (lk_publish_options){.size = sizeof *options, .dtx = true, .red = true};
}

lk_err lk_room_publish(lk_op *op, lk_room *room, lk_track *track,
                       const lk_publish_options *options, const lk_op_options *how)
{
    api_cmd *cmd;
    lk_publish_options o;
    lk_publish_options_init(&o);
    if (!track || !track->is_local || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    const uint32_t least_bps = track->video ? 10000 : 6000, most_bps = track->video ? 100000000 : 510000;
    if ((o.max_bitrate_bps && (o.max_bitrate_bps < least_bps || o.max_bitrate_bps > most_bps)) || o.max_framerate > 240)
        return LK_ERR_INVALID;
    lk_err err = check_connected(room);
    if (err == LK_OK)
        err = begin(&cmd, LK_OP_PUBLISH, API_CMD_PUBLISH, room, track, how, 12000);
    if (err != LK_OK)
        return err;
    cmd->publish = o;
    cmd->publish.stream = api_cmd_text(cmd, o.stream ? o.stream : "");
    cmd->publish.video_codec = api_cmd_text(cmd, o.video_codec ? o.video_codec : "");
    return finish(op, cmd, !cmd->publish.stream || !cmd->publish.video_codec);
}

/* ---- rooms --------------------------------------------------------------------------------------------------------------- */

void lk_room_options_init(lk_room_options *options)
{
    *options = (lk_room_options){.size = sizeof *options,
                                 .auto_subscribe = true,
                                 .single_peer_connection = true,
                                 .join_retries = 3,
                                 .connect_timeout_msec = 5000,
                                 .hold_timeout_msec = 15000,
                                 .reconnect_tries = 10};
}

static void room_last_user(api_object *o)
{
    lk_room *room = (lk_room *)o;
    pthread_mutex_lock(&room->lock);
    bool open = room->phase != API_ROOM_IDLE;
    pthread_mutex_unlock(&room->lock);
    api_cmd *cmd = open ? api_cmd_new(API_CMD_DISCONNECT, room) : NULL;
    if (cmd)
        cmd->number = LK_DISCONNECT_CLIENT_INITIATED;
    if (open)
        (void)api_submit_end(room->o.rt, cmd);
    api_gate(room, false);
}

static void room_destroy(api_object *o)
{
    lk_room *room = (lk_room *)o;
    for (lk_link *l; (l = lk_list_pop(&room->held)) != NULL;)
        api_box_free(LK_CONTAINER(l, api_box, node.link));
    lk_info_unref(room->info);
    api_unref(room->local);
    api_list_clear(&room->members);
    lk_arena_deinit(&room->arena);
    pthread_mutex_destroy(&room->lock);
    api_release(room, sizeof *room);
}

/* Texts of the options, copied into the room. */
static bool copy_options(lk_room *room)
{
    lk_room_options *o = &room->options;
    o->other_sdks = api_arena_text(&room->arena, o->other_sdks ? o->other_sdks : "");
    lk_ice_server *servers =
        o->ice_server_count ? lk_arena_alloc(&room->arena, o->ice_server_count * sizeof *servers) : NULL;
    if (!o->other_sdks || (o->ice_server_count && !servers))
        return false;
    for (size_t i = 0; i < o->ice_server_count; i++) {
        const lk_ice_server *from = &o->ice_servers[i];
        const char **urls =
            from->url_count ? lk_arena_alloc(&room->arena, from->url_count * sizeof *urls) : NULL;
        if (from->url_count && !urls)
            return false;
        for (size_t k = 0; k < from->url_count; k++)
            if (!(urls[k] = api_arena_text(&room->arena, from->urls[k] ? from->urls[k] : "")))
                return false;
        servers[i] = (lk_ice_server){
            urls, from->url_count, api_arena_text(&room->arena, from->username ? from->username : ""),
            api_arena_text(&room->arena, from->password ? from->password : "")};
        if (!servers[i].username || !servers[i].password)
            return false;
    }
    o->ice_servers = servers;
    return true;
}

lk_err lk_room_new(lk_room **out, lk_runtime *runtime, const lk_room_options *options)
{
    lk_room_options o;
    lk_room_options_init(&o);
    if (!out || !runtime || !api_options(&o, sizeof o, options))
        return LK_ERR_INVALID;
    if (api_check(runtime) != LK_OK)
        return LK_ERR_FORKED;
    if (o.connect_timeout_msec < 100 || o.connect_timeout_msec > 60000 || o.join_retries > 100 || o.reconnect_tries > 1000 ||
        o.ice_server_count > 16 || (o.ice_server_count && !o.ice_servers))
        return LK_ERR_INVALID;
    lk_room *room = api_alloc0(sizeof *room);
    if (!room)
        return LK_ERR_NOMEM;
    pthread_mutex_init(&room->lock, NULL);
    lk_list_init(&room->held);
    lk_arena_init(&room->arena, api_env(), 1u << 20);
    room->options = o;
    api_object_init(&room->o, runtime, room_last_user, room_destroy);
    room->info = api_room_info_new(&(lk_room_info){.state = LK_CONNECTION_STATE_DISCONNECTED});
    if (!room->info || !copy_options(room)) {
        api_user_unref(room);
        return LK_ERR_NOMEM;
    }
    *out = room;
    return LK_OK;
}

lk_room *lk_room_ref(lk_room *room) { return api_user_ref(room); }
void lk_room_unref(lk_room *room) { api_user_unref(room); }
void *lk_room_user_data(const lk_room *room) { return room ? room->options.user_data : NULL; }
lk_runtime *lk_room_runtime(const lk_room *room) { return room ? room->o.rt : NULL; }

/* Copying the token leaves pieces of it in wide registers, and what is called next may save those on this thread's stack. */
static __attribute__((noinline)) void wipe_stack(void)
{
    uint8_t below[16384];
    explicit_bzero(below, sizeof below);
}

lk_err lk_room_connect(lk_op *op, lk_room *room, const char *url, const char *token,
                       const lk_op_options *how)
{
    api_cmd *cmd;
    if (!room || !url || !token)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&room->lock);
    bool idle = room->phase == API_ROOM_IDLE;
    if (idle)
        room->phase = API_ROOM_CONNECTING;
    pthread_mutex_unlock(&room->lock);
    if (!idle)
        return LK_ERR_STATE;
    /* The engine keeps the default deadlines and says which step was late; ours are a net behind them. */
    uint64_t msec =
        (uint64_t)(1 + room->options.join_retries) * room->options.connect_timeout_msec + 2000;
    lk_err err = begin(&cmd, LK_OP_CONNECT, API_CMD_CONNECT, room, NULL, how,
                       (uint32_t)LK_MIN(msec, UINT32_MAX));
    if (err == LK_OK) {
        cmd->text = api_cmd_text(cmd, url);
        cmd->text2 = api_cmd_text(cmd, token);
        err = finish(op, cmd, !cmd->text || !cmd->text2);
        wipe_stack();
    }
    if (err != LK_OK) {
        pthread_mutex_lock(&room->lock);
        room->phase = API_ROOM_IDLE;
        pthread_mutex_unlock(&room->lock);
    }
    return err;
}

lk_err lk_room_disconnect(lk_op *op, lk_room *room, lk_disconnect_reason reason,
                          const lk_op_options *how)
{
    api_cmd *cmd;
    if (!room || (int)reason < 0 || reason > LK_DISCONNECT_AGENT_ERROR)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    lk_err err = begin(&cmd, LK_OP_DISCONNECT, API_CMD_DISCONNECT, room, NULL, how, 7000);
    if (err != LK_OK)
        return err;
    cmd->number = reason;
    return finish(op, cmd, false);
}

lk_err lk_room_release_events(lk_room *room)
{
    if (!room)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&room->o.rt->lock);
    bool late = room->gate_expired;
    pthread_mutex_unlock(&room->o.rt->lock);
    if (late)
        return LK_ERR_CLOSED;
    api_gate(room, false);
    return LK_OK;
}

lk_err lk_room_local_participant(lk_participant **out, const lk_room *object)
{
    lk_room *room = (lk_room *)(uintptr_t)object;
    if (!out || !room)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    pthread_mutex_lock(&room->lock);
    lk_participant *p = api_user_ref(room->local);
    pthread_mutex_unlock(&room->lock);
    if (!p)
        return LK_ERR_STATE;
    *out = p;
    return LK_OK;
}

static bool has_identity(lk_participant *p, const char *identity)
{
    const lk_participant_info *info = api_participant_info(p);
    bool same = strcmp(info->identity, identity) == 0;
    lk_info_unref(info);
    return same;
}

lk_err lk_room_find_participant(lk_participant **out, const lk_room *object, const char *identity)
{
    lk_room *room = (lk_room *)(uintptr_t)object;
    if (!out || !room || !identity)
        return LK_ERR_INVALID;
    if (api_check(room->o.rt) != LK_OK)
        return LK_ERR_FORKED;
    lk_participant *found = NULL;
    pthread_mutex_lock(&room->lock);
    if (room->local && has_identity(room->local, identity))
        found = room->local;
    for (size_t i = 0; i < room->members.count && !found; i++)
        if (has_identity(room->members.items[i], identity))
            found = room->members.items[i];
    api_user_ref(found);
    pthread_mutex_unlock(&room->lock);
    if (!found)
        return LK_ERR_NOT_FOUND;
    *out = found;
    return LK_OK;
}

size_t lk_room_participants(const lk_room *object, lk_participant **out, size_t capacity)
{
    lk_room *room = (lk_room *)(uintptr_t)object;
    if (!room || (!out && capacity) || api_check(room->o.rt) != LK_OK)
        return 0;
    pthread_mutex_lock(&room->lock);
    size_t n = api_list_copy(&room->members, (void **)out, capacity);
    pthread_mutex_unlock(&room->lock);
    return n;
}
