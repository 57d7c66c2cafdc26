// SPDX-License-Identifier: Apache-2.0
/* Peer connections of people: descriptions both ways, and what the hub tells. */
#include "sfu/sfu_internal.h"

lk_err lk_sfu_peers_new(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    p->subscriber_primary = !p->v1 && p->grants.can_subscribe;
    lk_err err = lk_peer_new(&p->publisher, s->hub, &(lk_peer_config){.user = p}, s->now);
    if (err == LK_OK && !p->v1)
        err = lk_peer_new(&p->subscriber, s->hub, &(lk_peer_config){.user = p, .offers = true, .open_channels = p->subscriber_primary}, s->now);
    return err;
}

void lk_sfu_bury(lk_sfu *s, lk_peer *peer)
{
    if (!peer)
        return;
    lk_sfu_grave *g = lk_alloc0(s->env, sizeof *g);
    if (!g) { /* without a farewell then */
        lk_peer_free(peer);
        return;
    }
    lk_peer_close(peer, s->now);
    g->peer = peer;
    lk_list_push(&s->dying, &g->link);
}

void lk_sfu_peers_free(lk_sfu_person *p)
{
    lk_sfu_bury(p->sfu, p->publisher);
    lk_sfu_bury(p->sfu, p->subscriber);
    p->publisher = p->subscriber = NULL;
}


/* ---- descriptions ------------------------------------------------------------------------------------------------------ */

static bool mids(lk_peer *peer, lk_arena *a, Livekit__SessionDescription *d)
{
    size_t at = 0, n = 0;
    const char *mid, *track;
    while (lk_peer_next_mid(peer, &at, &mid, &track))
        n++;
    if (n == 0)
        return true;
    d->mid_to_track_id = lk_arena_alloc(a, n * sizeof *d->mid_to_track_id);
    if (!d->mid_to_track_id)
        return false;
    for (at = 0; d->n_mid_to_track_id < n && lk_peer_next_mid(peer, &at, &mid, &track);) {
        Livekit__SessionDescription__MidToTrackIdEntry *e = lk_pbuf_new(&livekit__session_description__mid_to_track_id_entry__descriptor, a);
        if (!e)
            return false;
        e->key = (char *)(uintptr_t)mid;
        e->value = (char *)(uintptr_t)track;
        d->mid_to_track_id[d->n_mid_to_track_id++] = e;
    }
    return true;
}

static void send_description(lk_sfu_person *p, lk_peer *peer, bool answer, const lk_text *sdp, uint32_t id)
{
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__SessionDescription d = LIVEKIT__SESSION_DESCRIPTION__INIT;
    d.type = (char *)(uintptr_t)(answer ? "answer" : "offer");
    d.sdp = sdp->p;
    d.has_id = 1;
    d.id = id;
    if (answer) {
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER;
        m.answer = &d;
    } else {
        m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER;
        m.offer = &d;
    }
    lk_sfu_send_made(p, &m, !sdp->bad && ((p->subscriber && answer) || mids(peer, &p->sfu->out, &d)));
}

static bool has_line(const char *sdp, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = sdp; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, line, n) == 0)
            return true;
    }
    return false;
}

/* Descriptions that do not go together are mended by starting anew. */
static void negotiation_failed(lk_sfu_person *p, const char *why)
{
    LK_LOG(p->sfu->env, LK_LOG_WARN, "sfu.negotiation.failed", LK_S("sid", p->sid), LK_S("why", why));
    lk_sfu_send_leave(p, LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH, LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT);
    lk_sfu_break(p, 1000);
}

void lk_sfu_accept_offer(lk_sfu_person *p, const Livekit__SessionDescription *d)
{
    lk_sfu *s = p->sfu;
    const char *why = "";
    lk_text answer;
    if (!d->sdp)
        return;
    lk_text_init(&answer, s->env, 1u << 20);
    lk_err err = lk_peer_accept_offer(p->publisher, s->now, d->sdp, strlen(d->sdp), &answer, &why);
    if (err == LK_OK) {
        if (!p->offered)
            p->no_data = !has_line(d->sdp, "m=application");
        p->offered = true;
        p->asked = false;
        lk_sfu_pump(s); /* what the offer brings is told before its answer, as clients are used to */
        send_description(p, p->publisher, true, &answer, d->id);
        lk_sfu_wanted_again(p);
    } else {
        negotiation_failed(p, why);
    }
    lk_text_deinit(&answer);
    if (!p->subscriber)
        lk_sfu_negotiate(p);
}

/* Clients wait for the answer before they offer again, so that the one held is nearly always the only one; a newer one says all it
 * said. */
void lk_sfu_take_offer(lk_sfu_person *p, const Livekit__SessionDescription *d)
{
    lk_sfu *s = p->sfu;
    if (!p->held && lk_sfu_spend(s, &p->offers)) {
        lk_sfu_accept_offer(p, d);
        return;
    }
    lk_sfu_buf *b = lk_sfu_pack(s, &d->base);
    if (!b) {
        lk_sfu_break(p, 1011);
        return;
    }
    if (!p->held)
        p->held_until = s->now + LK_SEC(1) / s->config.limits.offers_per_sec;
    lk_sfu_buf_drop(s, p->held);
    p->held = b;
    lk_sfu_arm(s, p->held_until);
}

void lk_sfu_held_offer_tick(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_sfu_buf *b = p->held;
    ProtobufCMessage *m;
    if (!b || s->now < p->held_until)
        return;
    p->held = NULL;
    (void)lk_sfu_spend(s, &p->offers);
    if (lk_pbuf_unpack(&livekit__session_description__descriptor, &s->in, (lk_bytes){b->bytes, b->len}, &m) == LK_OK)
        lk_sfu_accept_offer(p, (const Livekit__SessionDescription *)m);
    else
        lk_sfu_break(p, 1011);
    lk_sfu_buf_drop(s, b);
    lk_arena_reset(&s->in);
}

static void send_offer(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_text offer;
    lk_text_init(&offer, s->env, 1u << 20);
    lk_err err = lk_peer_create_offer(p->subscriber, s->now, &offer);
    if (err == LK_OK) {
        p->offer_id++;
        p->offer_due = s->now + SFU_NEGOTIATION_USEC;
        lk_sfu_arm(s, p->offer_due);
        send_description(p, p->subscriber, false, &offer, p->offer_id);
    } else {
        lk_sfu_break(p, 1011);
    }
    lk_text_deinit(&offer);
}

void lk_sfu_accept_answer(lk_sfu_person *p, const Livekit__SessionDescription *d)
{
    lk_sfu *s = p->sfu;
    const char *why = "";
    if (!d->sdp || !p->subscriber || !lk_peer_offer_outstanding(p->subscriber))
        return;
    if (d->id && d->id != p->offer_id) {
        LK_LOG(s->env, LK_LOG_DEBUG, "sfu.answer.stale", LK_S("sid", p->sid), LK_I("id", d->id));
        return;
    }
    if (lk_peer_set_answer(p->subscriber, s->now, d->sdp, strlen(d->sdp), &why) != LK_OK) {
        negotiation_failed(p, why);
        return;
    }
    p->offer_due = LK_NEVER;
    lk_sfu_negotiate(p);
}

void lk_sfu_prefer_tcp(lk_sfu_person *p, bool on)
{
    p->by_tcp = on;
    lk_peer_prefer_tcp(p->publisher, on);
    if (p->subscriber)
        lk_peer_prefer_tcp(p->subscriber, on);
}

void lk_sfu_restart_subscriber(lk_sfu_person *p)
{
    lk_peer_restart_ice(p->subscriber, p->sfu->now);
    p->negotiate_at = LK_NEVER;
    p->negotiated_at = p->sfu->now;
    send_offer(p);
}

static void ask_sections(lk_sfu_person *p)
{
    size_t audio = lk_peer_sections_missing(p->publisher, LK_MEDIA_KIND_AUDIO), video = lk_peer_sections_missing(p->publisher, LK_MEDIA_KIND_VIDEO);
    if (p->asked && audio <= p->asked_audio && video <= p->asked_video)
        return; /* the offer to come will do */
    Livekit__SignalResponse m = LIVEKIT__SIGNAL_RESPONSE__INIT;
    Livekit__MediaSectionsRequirement need = LIVEKIT__MEDIA_SECTIONS_REQUIREMENT__INIT;
    need.has_num_audios = need.has_num_videos = 1;
    need.num_audios = (uint32_t)(audio - (p->asked ? LK_MIN(audio, p->asked_audio) : 0));
    need.num_videos = (uint32_t)(video - (p->asked ? LK_MIN(video, p->asked_video) : 0));
    p->asked = true;
    p->asked_audio = audio;
    p->asked_video = video;
    m.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT;
    m.media_sections_requirement = &need;
    lk_sfu_send(p, &m);
}

static bool must_negotiate(const lk_sfu_person *p)
{
    if (!p->conn || p->broken)
        return false;
    if (!p->subscriber)
        return p->offered && lk_peer_needs_negotiation(p->publisher);
    bool first = p->negotiated_at == 0 && p->subscriber_primary; /* it carries the data channels */
    return !lk_peer_offer_outstanding(p->subscriber) && (first || lk_peer_needs_negotiation(p->subscriber));
}

void lk_sfu_negotiate(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->negotiate_at != LK_NEVER)
        return;
    lk_usec soon = s->now + SFU_NEGOTIATE_FIRST_USEC, spaced = p->negotiated_at + SFU_NEGOTIATE_USEC;
    bool first = p->negotiated_at == 0;
    p->negotiate_at = first && p->subscriber ? s->now : first ? soon : LK_MAX(soon, spaced);
    lk_sfu_arm(s, p->negotiate_at);
    if (p->negotiate_at <= s->now)
        lk_sfu_negotiate_tick(p);
}

void lk_sfu_negotiate_tick(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    if (p->offer_due <= s->now) {
        p->offer_due = LK_NEVER;
        negotiation_failed(p, "no answer to our offer for 15 s");
        return;
    }
    if (p->negotiate_at <= s->now) {
        p->negotiate_at = LK_NEVER;
        if (must_negotiate(p)) {
            if (p->subscriber)
                send_offer(p);
            else
                ask_sections(p);
            p->negotiated_at = LK_MAX(s->now, 1);
        }
    }
    lk_sfu_arm(s, LK_MIN(p->negotiate_at, p->offer_due));
}

/* ---- states --------------------------------------------------------------------------------------------------------------- */

void lk_sfu_check_active(lk_sfu_person *p)
{
    lk_peer *first = lk_sfu_primary(p);
    if (p->state != LIVEKIT__PARTICIPANT_INFO__STATE__JOINED || lk_peer_state(first) != LK_PC_STATE_CONNECTED)
        return;
    bool channels = lk_peer_channel_open(first, LK_PEER_RELIABLE) && lk_peer_channel_open(first, LK_PEER_LOSSY);
    if (!channels && !(p->no_data && first == p->publisher))
        return;
    p->state = LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE;
    p->active_due = LK_NEVER;
    lk_sfu_watch_start(p->sfu);
    lk_sfu_person_active(p);
}

/* The client is told to try again; if it does not come, it is gone. */
static void peer_failed(lk_sfu_person *p)
{
    lk_sfu *s = p->sfu;
    lk_sfu_send_leave(p, LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT, LIVEKIT__LEAVE_REQUEST__ACTION__RESUME);
    lk_sfu_close_conn(p, 1000);
    p->gone_due = LK_MIN(p->gone_due, s->now + SFU_FAILED_USEC);
    p->gone_reason = LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT;
    lk_sfu_arm(s, p->gone_due);
}

static void on_state(lk_sfu_person *p, const lk_hub_event *e)
{
    if (e->state == LK_PC_STATE_CONNECTED) {
        p->ever_connected = true;
        lk_sfu_check_active(p);
    } else if (e->state == LK_PC_STATE_FAILED) {
        LK_LOG(p->sfu->env, LK_LOG_INFO, "sfu.peer.failed", LK_S("sid", p->sid), LK_S("why", lk_err_name(e->err)));
        peer_failed(p);
    } else if (e->state == LK_PC_STATE_CLOSED && p->conn == 0) {
        p->gone_due = p->sfu->now;
        lk_sfu_arm(p->sfu, p->gone_due);
    }
}

static void on_channel(lk_sfu_person *p, const lk_hub_event *e)
{
    lk_sfu_check_active(p);
    if (e->active && e->channel == LK_PEER_RELIABLE && e->peer == lk_sfu_primary(p) && !p->reliable_opened) {
        p->reliable_opened = true;
        lk_sfu_replay(p);
    }
}

static void on_data(lk_sfu_person *p, const lk_hub_event *e)
{
    lk_sfu *s = p->sfu;
    /* the bytes are the hub's until it is called again, and forwarding calls it */
    lk_arena copy;
    lk_arena_init(&copy, s->env, 1u << 20);
    uint8_t *bytes = lk_arena_alloc(&copy, e->data.len + 1);
    char *label = lk_pbuf_strdup(&copy, lk_str_of(e->text ? e->text : ""));
    s->stats.data_in++;
    if (bytes && label) {
        memcpy(bytes, e->data.data, e->data.len);
        lk_sfu_data(p, e->channel, label, (lk_bytes){bytes, e->data.len});
    } else {
        s->stats.data_dropped++;
    }
    lk_arena_deinit(&copy);
}

static void on_event(lk_sfu *s, const lk_hub_event *e)
{
    lk_sfu_person *p = e->user;
    lk_sfu_sub *sub = e->down ? lk_down_user(e->down) : NULL;
    LK_UNUSED(s);
    switch (e->kind) {
    case LK_HUB_EV_DOWN_BOUND:
        if (sub)
            lk_sfu_down_bound(sub);
        return;
    case LK_HUB_EV_DOWN_REFUSED:
        if (sub)
            lk_sfu_down_refused(sub);
        return;
    case LK_HUB_EV_DOWN_STATE:
        if (sub)
            lk_sfu_down_state(sub, e->active);
        return;
    case LK_HUB_EV_WANTED:
        if (lk_up_user(e->up))
            lk_sfu_wanted(lk_up_user(e->up));
        return;
    default:
        break;
    }
    if (!p)
        return;
    switch (e->kind) {
    case LK_HUB_EV_STATE: on_state(p, e); break;
    case LK_HUB_EV_CHANNEL: on_channel(p, e); break;
    case LK_HUB_EV_DATA: on_data(p, e); break;
    case LK_HUB_EV_UP: lk_sfu_up_found(p, e->up); break;
    case LK_HUB_EV_UP_LIVE: lk_sfu_up_live(p, e->up); break;
    case LK_HUB_EV_UP_ENDED: lk_sfu_up_ended(p, e->up); break;
    default: break;
    }
}

void lk_sfu_pump(lk_sfu *s)
{
    lk_hub_event e;
    while (lk_hub_poll_event(s->hub, &e))
        on_event(s, &e);
}
