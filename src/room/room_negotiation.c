// SPDX-License-Identifier: Apache-2.0
/* The peer connections of a session: how they are made, offers, answers, candidates. */
#include "room/room_internal.h"

#define OFFER_MAX (1u << 20)

static lk_err add_slots(lk_session *s, lk_media_kind kind, uint32_t count)
{
    const lk_pc_section slot = {.kind = kind, .direction = LK_PC_RECVONLY, .stream = "", .track = ""};
    uint32_t index;
    lk_err err = LK_OK;
    for (uint32_t i = 0; err == LK_OK && i < LK_MIN(count, (uint32_t)LK_PC_SECTIONS_MAX); i++)
        err = lk_pc_add_section(s->pc, &slot, &index);
    return err;
}

lk_pc *lk_session_pc_at(const lk_session *s, const lk_addr *local)
{
    for (size_t i = 0; s->dual && i < s->address_count; i++)
        if (lk_addr_eq(&s->addresses[i], local))
            return i % 2 ? s->sub : s->pc;
    return s->dual ? NULL : s->pc;
}

void lk_session_use_addresses(lk_session *s)
{
    for (size_t i = 0; s->pc && i < s->address_count; i++) {
        lk_pc *pc = s->dual && i % 2 ? s->sub : s->pc;
        if (pc && lk_pc_add_local_address(pc, s->now, &s->addresses[i]) != LK_OK)
            LK_LOG(s->env, LK_LOG_WARN, "room.address.refused", LK_I("index", i));
    }
}

lk_err lk_session_pc_start(lk_session *s, lk_text *offer)
{
    lk_pc_config config = {.dtls = s->config.dtls, .controlling = true, .unix_usec = s->config.unix_usec + s->now};
    lk_err err = lk_pc_new(&s->pc, s->env, &config, s->now);
    if (s->dual) {
        config.controlling = false; /* the server offers */
        if (err == LK_OK)
            err = lk_pc_new(&s->sub, s->env, &config, s->now);
        if (err == LK_OK)
            err = lk_session_add_channels(s);
        if (err == LK_OK)
            lk_session_use_addresses(s);
        return err;
    }
    if (err == LK_OK)
        err = add_slots(s, LK_MEDIA_KIND_AUDIO, LK_SESSION_SLOTS);
    if (err == LK_OK)
        err = add_slots(s, LK_MEDIA_KIND_VIDEO, LK_SESSION_SLOTS);
    if (err == LK_OK)
        err = lk_session_add_channels(s);
    if (err == LK_OK)
        err = lk_pc_create_offer(s->pc, s->now, offer);
    if (err)
        return err;
    lk_session_use_addresses(s);
    s->offer_id++;
    s->offer_out = true;
    return LK_OK;
}

void lk_session_want_offer(lk_session *s) { s->offer_wanted = true; }

void lk_session_allow_early(lk_session *s)
{
    s->early_by = s->now + LK_SESSION_EARLY_USEC;
    s->early_left = LK_SESSION_EARLY_OFFERS;
}

void lk_session_on_announced(lk_session *s, const lk_session_pub *pub)
{
    if (!s->dual && pub->wanted && s->now < s->early_by)
        s->early_tries = LK_SESSION_EARLY_TRIES;
}

static bool awaits_track(const lk_session *s)
{
    LK_LIST_EACH(&s->others, it) {
        const lk_session_person *p = LK_CONTAINER(it, lk_session_person, link);
        LK_LIST_EACH(&p->pubs, at) {
            const lk_session_pub *pub = LK_CONTAINER(at, lk_session_pub, link);
            if (pub->wanted && pub->allowed && !pub->track)
                return true;
        }
    }
    return false;
}

static void offer_early(lk_session *s)
{
    if (s->early_tries == 0 || s->offer_out || s->phase != LK_SESSION_LIVE)
        return;
    /* The answer to an offer that was out may have brought everything meanwhile. */
    if (s->early_left == 0 || s->now >= s->early_by || !awaits_track(s)) {
        s->early_tries = 0;
        return;
    }
    s->early_tries--;
    s->early_left--;
    s->offer_wanted = true;
}

void lk_session_offer_due(lk_session *s)
{
    lk_text sdp;
    offer_early(s);
    if (!s->offer_wanted || s->offer_out || !s->pc || !s->join_received ||
        (s->phase != LK_SESSION_LIVE && s->phase != LK_SESSION_MEDIA))
        return;
    lk_text_init(&sdp, s->env, OFFER_MAX);
    lk_err err = lk_pc_create_offer(s->pc, s->now, &sdp);
    if (err == LK_OK) {
        s->offer_wanted = false;
        s->offer_out = true;
        s->answer_by = s->now + LK_SESSION_ANSWER_USEC;
        err = lk_signal_offer(&s->signal, (lk_str){sdp.p, sdp.len}, ++s->offer_id);
    }
    if (err)
        s->broken = err;
    lk_text_deinit(&sdp);
}

void lk_session_on_answer(lk_session *s, const Livekit__SessionDescription *answer)
{
    const char *why = "";
    lk_error error;
    if (!s->pc || !s->offer_out || !answer->sdp || (answer->id != 0 && answer->id != s->offer_id))
        return; /* stale */
    lk_err err = lk_pc_set_answer(s->pc, s->now, answer->sdp, strlen(answer->sdp), &why);
    s->offer_out = false;
    s->answer_by = LK_NEVER;
    if (err) {
        lk_error_set(&error, err, "engine: the server's answer was refused: ", why ? why : lk_err_text(err), (const char *)NULL);
        if (s->phase == LK_SESSION_LIVE)
            lk_session_lost(s, LK_DISCONNECT_MEDIA_FAILURE, &error);
        else
            lk_session_try_failed(s, &error, false);
        return;
    }
    lk_session_on_answered(s, s->offer_id);
}

void lk_session_on_offer(lk_session *s, const Livekit__SessionDescription *offer)
{
    lk_text answer;
    lk_error error;
    const char *why = "";
    if (!s->sub || !offer->sdp)
        return;
    lk_text_init(&answer, s->env, OFFER_MAX);
    lk_err err = lk_pc_accept_offer(s->sub, s->now, offer->sdp, strlen(offer->sdp), &answer, &why);
    if (err == LK_OK)
        err = lk_signal_answer(&s->signal, (lk_str){answer.p, answer.len}, offer->id);
    lk_text_deinit(&answer);
    if (err == LK_OK)
        return;
    lk_error_set(&error, err, "engine: the server's offer was refused: ", why && *why ? why : lk_err_text(err), (const char *)NULL);
    if (s->phase == LK_SESSION_LIVE)
        lk_session_lost(s, LK_DISCONNECT_MEDIA_FAILURE, &error);
    else
        lk_session_try_failed(s, &error, false);
}

/* {"candidate":"candidate:...",...}: the value of one member, without its escapes (none is legal in a candidate). */
static lk_str json_text(lk_str json, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i + n + 2 < json.len; i++) {
        if (json.p[i] != '"' || memcmp(json.p + i + 1, key, n) != 0 || json.p[i + 1 + n] != '"')
            continue;
        size_t at = i + n + 2;
        while (at < json.len && (json.p[at] == ' ' || json.p[at] == ':'))
            at++;
        if (at >= json.len || json.p[at] != '"')
            return (lk_str){NULL, 0};
        size_t from = ++at;
        while (at < json.len && json.p[at] != '"' && json.p[at] != '\\')
            at++;
        return at < json.len && json.p[at] == '"' ? (lk_str){json.p + from, at - from} : (lk_str){NULL, 0};
    }
    return (lk_str){NULL, 0};
}

void lk_session_on_trickle(lk_session *s, const Livekit__TrickleRequest *trickle)
{
    lk_pc *pc = trickle->target == LIVEKIT__SIGNAL_TARGET__SUBSCRIBER ? s->sub : s->pc;
    if (!pc || !trickle->candidateinit)
        return;
    lk_str line = json_text(lk_str_of(trickle->candidateinit), "candidate");
    if (line.len && lk_pc_add_remote_candidate(pc, s->now, line.p, line.len) != LK_OK)
        LK_LOG(s->env, LK_LOG_DEBUG, "room.candidate.refused", LK_I("bytes", line.len));
}

void lk_session_on_sections_wanted(lk_session *s, uint32_t audios, uint32_t videos)
{
    if (!s->pc)
        return;
    lk_session_allow_early(s);
    if (add_slots(s, LK_MEDIA_KIND_AUDIO, audios) != LK_OK || add_slots(s, LK_MEDIA_KIND_VIDEO, videos) != LK_OK)
        s->ignored++;
    lk_session_want_offer(s); /* also without new sections: the answer fills those that are free */
}

void lk_session_flush_candidates(lk_session *s)
{
    lk_session_candidate c;
    while (lk_queue_pop(&s->candidates, &c)) {
        const lk_pc *pc = c.sub ? s->sub : s->pc;
        if (lk_signal_trickle(&s->signal, c.sub, c.line, pc ? lk_pc_mid(pc, 0) : "0", 0, false) != LK_OK)
            s->broken = LK_ERR_NOMEM;
    }
}

void lk_session_on_candidate(lk_session *s, const char *text, bool sub)
{
    lk_session_candidate c = {.sub = sub};
    (void)lk_str_copy(c.line, sizeof c.line, lk_str_of(text));
    if (lk_queue_push(&s->candidates, &c) != LK_OK)
        s->ignored++;
    if (s->join_received)
        lk_session_flush_candidates(s);
}
