// SPDX-License-Identifier: Apache-2.0
/* The messages nobody waits for. */
#include "signal/signal.h"

static lk_err send_description(lk_signal *s, bool answer, lk_str sdp, uint32_t id)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__SessionDescription description = LIVEKIT__SESSION_DESCRIPTION__INIT;
    lk_arena arena;
    lk_arena_init(&arena, s->env, 4u << 20);
    description.type = (char *)(answer ? "answer" : "offer");
    description.sdp = lk_pbuf_strdup(&arena, sdp);
    description.has_id = 1;
    description.id = id;
    if (answer) {
        message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_ANSWER;
        message.answer = &description;
    } else {
        message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER;
        message.offer = &description;
    }
    lk_err err = description.sdp ? lk_signal_send(s, &message) : LK_ERR_NOMEM;
    lk_arena_deinit(&arena);
    return err;
}

lk_err lk_signal_offer(lk_signal *s, lk_str sdp, uint32_t id) { return send_description(s, false, sdp, id); }
lk_err lk_signal_answer(lk_signal *s, lk_str sdp, uint32_t id) { return send_description(s, true, sdp, id); }

static void put_json_text(lk_text *t, const char *value)
{
    lk_text_ch(t, '"');
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            lk_text_ch(t, '\\');
        if ((unsigned char)*p >= 0x20)
            lk_text_ch(t, *p);
    }
    lk_text_ch(t, '"');
}

lk_err lk_signal_trickle(lk_signal *s, bool subscriber, const char *candidate, const char *mid, uint32_t mline, bool final)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__TrickleRequest trickle = LIVEKIT__TRICKLE_REQUEST__INIT;
    lk_text json;
    lk_text_init(&json, s->env, 4096);
    lk_text_z(&json, "{\"candidate\":");
    put_json_text(&json, candidate);
    lk_text_z(&json, ",\"sdpMid\":");
    put_json_text(&json, mid);
    lk_text_z(&json, ",\"sdpMLineIndex\":");
    lk_text_u64(&json, mline);
    lk_text_ch(&json, '}');
    trickle.candidateinit = json.p;
    trickle.has_target = 1;
    trickle.target = subscriber ? LIVEKIT__SIGNAL_TARGET__SUBSCRIBER : LIVEKIT__SIGNAL_TARGET__PUBLISHER;
    trickle.has_final = trickle.final = final;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRICKLE;
    message.trickle = &trickle;
    lk_err err = json.bad ? LK_ERR_NOMEM : lk_signal_send(s, &message);
    lk_text_deinit(&json);
    return err;
}

lk_err lk_signal_mute(lk_signal *s, const char *track_sid, bool muted)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__MuteTrackRequest mute = LIVEKIT__MUTE_TRACK_REQUEST__INIT;
    mute.sid = (char *)track_sid;
    mute.has_muted = mute.muted = muted;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_MUTE;
    message.mute = &mute;
    return lk_signal_send(s, &message);
}

lk_err lk_signal_subscribe(lk_signal *s, const char *participant_sid, const char *track_sid, bool subscribe)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__UpdateSubscription update = LIVEKIT__UPDATE_SUBSCRIPTION__INIT;
    Livekit__ParticipantTracks tracks = LIVEKIT__PARTICIPANT_TRACKS__INIT;
    Livekit__ParticipantTracks *list[] = {&tracks};
    char *sids[] = {(char *)track_sid};
    tracks.participant_sid = (char *)participant_sid;
    tracks.n_track_sids = update.n_track_sids = 1;
    tracks.track_sids = update.track_sids = sids;
    update.has_subscribe = update.subscribe = subscribe;
    update.n_participant_tracks = 1;
    update.participant_tracks = list;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION;
    message.subscription = &update;
    return lk_signal_send(s, &message);
}

lk_err lk_signal_track_setting(lk_signal *s, const char *track_sid, const lk_signal_delivery *wanted)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__UpdateTrackSettings settings = LIVEKIT__UPDATE_TRACK_SETTINGS__INIT;
    char *sids[] = {(char *)track_sid};
    settings.n_track_sids = 1;
    settings.track_sids = sids;
    settings.has_disabled = settings.has_quality = 1;
    settings.disabled = wanted->disabled;
    settings.quality = (Livekit__VideoQuality)wanted->quality; /* left out it would be LOW */
    settings.has_width = settings.has_height = wanted->width && wanted->height;
    settings.width = wanted->width;
    settings.height = wanted->height;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRACK_SETTING;
    message.track_setting = &settings;
    return lk_signal_send(s, &message);
}

lk_err lk_signal_leave(lk_signal *s, lk_disconnect_reason reason)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
    leave.has_reason = leave.has_action = 1;
    leave.reason = (Livekit__DisconnectReason)reason;
    leave.action = LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT;
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE;
    message.leave = &leave;
    return lk_signal_send(s, &message);
}

lk_err lk_signal_permissions(lk_signal *s, bool all_allowed, const lk_signal_permission *permissions, size_t count)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__SubscriptionPermission all = LIVEKIT__SUBSCRIPTION_PERMISSION__INIT;
    lk_arena arena;
    lk_err err = LK_OK;
    lk_arena_init(&arena, s->env, 1u << 20);
    all.has_all_participants = 1;
    all.all_participants = all_allowed;
    if (count) {
        all.track_permissions = lk_arena_alloc(&arena, count * sizeof *all.track_permissions);
        err = all.track_permissions ? LK_OK : LK_ERR_NOMEM;
    }
    for (size_t i = 0; i < count && !err; i++) {
        Livekit__TrackPermission *one = lk_pbuf_new(&livekit__track_permission__descriptor, &arena);
        if (!one) {
            err = LK_ERR_NOMEM;
            break;
        }
        one->participant_identity = (char *)permissions[i].identity;
        one->has_all_tracks = one->all_tracks = permissions[i].allow_all;
        one->n_track_sids = permissions[i].track_sid_count;
        one->track_sids = (char **)permissions[i].track_sids;
        all.track_permissions[all.n_track_permissions++] = one;
    }
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION_PERMISSION;
    message.subscription_permission = &all;
    if (!err)
        err = lk_signal_send(s, &message);
    lk_arena_deinit(&arena);
    return err;
}

lk_err lk_signal_simulate(lk_signal *s, lk_signal_scenario scenario)
{
    Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__SimulateScenario simulate = LIVEKIT__SIMULATE_SCENARIO__INIT;
    switch (scenario) {
    case LK_SIGNAL_SCENARIO_SPEAKER:
        simulate.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SPEAKER_UPDATE;
        simulate.speaker_update = 3;
        break;
    case LK_SIGNAL_SCENARIO_NODE_FAILURE:
        simulate.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_NODE_FAILURE;
        simulate.node_failure = 1;
        break;
    case LK_SIGNAL_SCENARIO_MIGRATION:
        simulate.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_MIGRATION;
        simulate.migration = 1;
        break;
    case LK_SIGNAL_SCENARIO_SERVER_LEAVE:
        simulate.scenario_case = LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SERVER_LEAVE;
        simulate.server_leave = 1;
        break;
    }
    message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_SIMULATE;
    message.simulate = &simulate;
    return lk_signal_send(s, &message);
}
