// SPDX-License-Identifier: Apache-2.0
/* Requests of clients: one row for each kind. */
#include "sfu/sfu_internal.h"

typedef Livekit__SignalRequest request;

void lk_sfu_send_reply(lk_sfu_person *p, const lk_sfu_reply *reply)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__RequestResponse r = LIVEKIT__REQUEST_RESPONSE__INIT;
    r.has_request_id = reply->request_id != 0;
    r.request_id = reply->request_id;
    r.has_reason = 1;
    r.reason = reply->reason;
    r.message = (char *)(uintptr_t)(reply->message ? reply->message : "");
    r.request_case = reply->request_case;
    r.trickle = (void *)(uintptr_t)reply->request; /* all members of the oneof are pointers to messages */
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REQUEST_RESPONSE;
    m.request_response = &r;
    if (reply->reason == LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED)
        p->sfu->stats.denied++;
    lk_sfu_send(p, &m);
}

static void on_offer(lk_sfu_person *p, const request *m) { lk_sfu_take_offer(p, m->offer); }
static void on_answer(lk_sfu_person *p, const request *m) { lk_sfu_accept_answer(p, m->answer); }

static void on_add_track(lk_sfu_person *p, const request *m) { lk_sfu_add_track(p, m->add_track); }

static void on_mute(lk_sfu_person *p, const request *m)
{
    lk_sfu_track *t = m->mute->sid ? lk_sfu_track_of(p, m->mute->sid) : NULL;
    if (t)
        lk_sfu_mute(p, t, m->mute->muted);
    else
        lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND, .message = "track not found",
                                             .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_MUTE, .request = m->mute});
}

static void on_subscription(lk_sfu_person *p, const request *m)
{
    const Livekit__UpdateSubscription *u = m->subscription;
    lk_sfu_subscription(p, u->track_sids, u->n_track_sids, u->subscribe);
    for (size_t i = 0; i < u->n_participant_tracks && i < SFU_PARTICIPANT_TRACKS_MAX; i++)
        lk_sfu_subscription(p, u->participant_tracks[i]->track_sids, u->participant_tracks[i]->n_track_sids, u->subscribe);
}

static void on_track_setting(lk_sfu_person *p, const request *m) { lk_sfu_settings(p, m->track_setting); }

static void on_leave(lk_sfu_person *p, const request *m)
{
    int reason = m->leave->has_reason ? (int)m->leave->reason : LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED;
    switch (reason) {
    case LIVEKIT__DISCONNECT_REASON__USER_UNAVAILABLE:
    case LIVEKIT__DISCONNECT_REASON__USER_REJECTED:
    case LIVEKIT__DISCONNECT_REASON__AGENT_ERROR: break;
    default: reason = LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED; break;
    }
    lk_sfu_person_remove(p, reason, LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT);
}

static void on_subscription_permission(lk_sfu_person *p, const request *m) { lk_sfu_permission(p, m->subscription_permission); }

/* What the client believes must be so, or it starts anew. */
static void on_sync_state(lk_sfu_person *p, const request *m)
{
    const Livekit__SyncState *y = m->sync_state;
    bool known = true;
    for (size_t i = 0; i < y->n_publish_tracks && known; i++) {
        const Livekit__TrackInfo *t = y->publish_tracks[i]->track;
        known = known && t && t->sid && lk_sfu_track_of(p, t->sid);
    }
    for (size_t i = 0; i < y->n_publish_data_tracks && known; i++) {
        const Livekit__DataTrackInfo *t = y->publish_data_tracks[i]->info;
        known = known && t && t->sid && lk_sfu_data_track_of(p, t->sid);
    }
    if (!known) {
        lk_sfu_person_remove(p, LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH, LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT);
        return;
    }
    if (y->subscription && y->subscription->n_track_sids)
        lk_sfu_subscription(p, y->subscription->track_sids, y->subscription->n_track_sids, y->subscription->subscribe);
    if (y->data_subscription)
        lk_sfu_data_subscription(p, y->data_subscription);
    lk_sfu_disable(p, y->track_sids_disabled, y->n_track_sids_disabled);
    lk_sfu_replay_missed(p, y);
}

static void on_simulate(lk_sfu_person *p, const request *m)
{
    lk_sfu *s = p->sfu;
    switch (m->simulate->scenario_case) {
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SPEAKER_UPDATE:
        p->test_speech_until = s->now + LK_SEC(LK_CLAMP(m->simulate->speaker_update, 0, 60));
        lk_sfu_watch_start(s);
        break;
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_NODE_FAILURE:
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_MIGRATION: /* the signal connection ends without a word */
        lk_sfu_close_conn(p, 1000);
        p->gone_due = s->now + SFU_RESUME_USEC;
        p->gone_reason = LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT;
        lk_sfu_arm(s, p->gone_due);
        break;
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SERVER_LEAVE:
        lk_sfu_person_remove(p, LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN, LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT);
        break;
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_SWITCH_CANDIDATE_PROTOCOL:
        lk_sfu_prefer_tcp(p, m->simulate->switch_candidate_protocol == LIVEKIT__CANDIDATE_PROTOCOL__TCP);
        if (p->subscriber) /* what the client offers is the client's to restart */
            lk_sfu_restart_subscriber(p);
        break;
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_DISCONNECT_SIGNAL_ON_RESUME: p->drop_on_resume = 1; break;
    case LIVEKIT__SIMULATE_SCENARIO__SCENARIO_DISCONNECT_SIGNAL_ON_RESUME_NO_MESSAGES: p->drop_on_resume = -3; break;
    default: break; /* what the real server leaves to clients too */
    }
}

static void on_ping(lk_sfu_person *p, const request *m)
{
    Livekit__SignalResponse r = LIVEKIT__SIGNAL_RESPONSE__INIT;
    LK_UNUSED(m);
    r.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG;
    r.pong = lk_sfu_unix_usec(p->sfu) / 1000;
    lk_sfu_send(p, &r);
}

static void on_ping_req(lk_sfu_person *p, const request *m)
{
    Livekit__SignalResponse r = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__Pong pong = LIVEKIT__PONG__INIT;
    pong.has_last_ping_timestamp = pong.has_timestamp = 1;
    pong.last_ping_timestamp = m->ping_req->timestamp;
    pong.timestamp = lk_sfu_unix_usec(p->sfu) / 1000;
    r.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP;
    r.pong_resp = &pong;
    lk_sfu_send(p, &r);
}

static void on_update_metadata(lk_sfu_person *p, const request *m)
{
    const Livekit__UpdateParticipantMetadata *u = m->update_metadata;
    const char *why = "";
    lk_sfu_reply reply = {.request_id = u->request_id, .reason = LIVEKIT__REQUEST_RESPONSE__REASON__LIMIT_EXCEEDED,
                          .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_UPDATE_METADATA, .request = u};
    if (!p->grants.can_update_metadata) {
        reply.reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED;
        reply.message = "does not have permission to update own metadata";
    } else if (!lk_sfu_spend(p->sfu, &p->updates)) {
        reply.message = "too many updates at once";
    } else if (u->name && strlen(u->name) > LK_SFU_NAME_MAX) {
        reply.message = "exceeds name length limit";
    } else if (u->metadata && strlen(u->metadata) > p->sfu->config.limits.metadata_bytes) {
        reply.message = "exceeds metadata size limit";
    } else if (lk_sfu_set_attributes(p, u->attributes, u->n_attributes, &why) != LK_OK) {
        reply.message = why;
    } else {
        if (u->name && *u->name)
            (void)lk_str_copy(p->name, sizeof p->name, lk_str_of(u->name));
        if (u->metadata && *u->metadata && lk_sfu_text(p->sfu->env, &p->metadata, u->metadata) != LK_OK)
            lk_sfu_break(p, 1011);
        reply.reason = LIVEKIT__REQUEST_RESPONSE__REASON__OK;
        reply.message = "";
        lk_sfu_person_changed(p);
        lk_sfu_send_refresh_token(p);
    }
    if (reply.reason != LIVEKIT__REQUEST_RESPONSE__REASON__OK || p->protocol > 14)
        lk_sfu_send_reply(p, &reply);
}

static void on_update_audio_track(lk_sfu_person *p, const request *m)
{
    const Livekit__UpdateLocalAudioTrack *u = m->update_audio_track;
    lk_sfu_track *t = u->track_sid ? lk_sfu_track_of(p, u->track_sid) : NULL;
    if (!t || t->info->type != LIVEKIT__TRACK_TYPE__AUDIO) {
        lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND, .message = "track not found",
                                             .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_UPDATE_AUDIO_TRACK, .request = u});
        return;
    }
    t->info->n_audio_features = LK_MIN(u->n_features, t->feature_room);
    if (t->info->n_audio_features)
        memcpy(t->info->audio_features, u->features, t->info->n_audio_features * sizeof *u->features);
    lk_sfu_person_changed(p);
}

static void on_update_video_track(lk_sfu_person *p, const request *m)
{
    const Livekit__UpdateLocalVideoTrack *u = m->update_video_track;
    lk_sfu_track *t = u->track_sid ? lk_sfu_track_of(p, u->track_sid) : NULL;
    if (!t || t->info->type != LIVEKIT__TRACK_TYPE__VIDEO) {
        lk_sfu_send_reply(p, &(lk_sfu_reply){.reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_FOUND, .message = "track not found",
                                             .request_case = LIVEKIT__REQUEST_RESPONSE__REQUEST_UPDATE_VIDEO_TRACK, .request = u});
        return;
    }
    t->info->has_width = t->info->has_height = 1;
    t->info->width = u->width;
    t->info->height = u->height;
    lk_sfu_person_changed(p);
}

static void on_publish_data(lk_sfu_person *p, const request *m) { lk_sfu_publish_data(p, m->publish_data_track_request); }
static void on_unpublish_data(lk_sfu_person *p, const request *m) { lk_sfu_unpublish_data(p, m->unpublish_data_track_request); }
static void on_data_subscription(lk_sfu_person *p, const request *m) { lk_sfu_data_subscription(p, m->update_data_subscription); }

static void on_store_blob(lk_sfu_person *p, const request *m)
{
    lk_sfu_send_reply(p, &(lk_sfu_reply){.request_id = m->store_data_blob_request->request_id, .message = "data blobs are not enabled",
                                         .reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED});
}

static void on_get_blob(lk_sfu_person *p, const request *m)
{
    lk_sfu_send_reply(p, &(lk_sfu_reply){.request_id = m->get_data_blob_request->request_id, .message = "data blobs are not enabled",
                                         .reason = LIVEKIT__REQUEST_RESPONSE__REASON__NOT_ALLOWED});
}

/* Without a row: trickle (we are lite, the client's checks tell us where it is) and update_layers (obsolete). */
static const struct {
    Livekit__SignalRequest__MessageCase kind;
    void (*handle)(lk_sfu_person *p, const request *m); /* may free p */
} rows[] = {{LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER, on_offer},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_ANSWER, on_answer},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK, on_add_track},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_MUTE, on_mute},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION, on_subscription},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_TRACK_SETTING, on_track_setting},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE, on_leave},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION_PERMISSION, on_subscription_permission},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_SYNC_STATE, on_sync_state},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_SIMULATE, on_simulate},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING, on_ping},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ, on_ping_req},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_METADATA, on_update_metadata},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_AUDIO_TRACK, on_update_audio_track},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_VIDEO_TRACK, on_update_video_track},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_PUBLISH_DATA_TRACK_REQUEST, on_publish_data},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_UNPUBLISH_DATA_TRACK_REQUEST, on_unpublish_data},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_UPDATE_DATA_SUBSCRIPTION, on_data_subscription},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_STORE_DATA_BLOB_REQUEST, on_store_blob},
            {LIVEKIT__SIGNAL_REQUEST__MESSAGE_GET_DATA_BLOB_REQUEST, on_get_blob}};

void lk_sfu_request(lk_sfu_person *p, const request *m)
{
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        if (rows[i].kind == m->message_case) {
            rows[i].handle(p, m);
            return;
        }
    }
}
