// SPDX-License-Identifier: Apache-2.0
#include "pc/pc_internal.h"
#include "sdp/sdp.h"

#define ARENA_MAX (8u << 20)

#define FEEDBACK_MAX 5

/* What we can send and receive, in order of preference. A codec is a row. */
typedef struct codec_row {
    lk_media_kind kind;
    uint8_t pt, channels;
    const char *name;
    uint32_t clock_hz;
    const char *fmtp, *fmtp_stereo;
    const char *feedback[FEEDBACK_MAX];
    bool receive_only; /* not offered where we send */
} codec_row;

static const codec_row codecs[] = {
    {LK_MEDIA_KIND_AUDIO, LK_PC_PT_OPUS, 2, "opus", 48000, "minptime=10;useinbandfec=1", "minptime=10;stereo=1;useinbandfec=1",
     {"nack"}, false},
    /* Redundancy over the codec above: wraps its payloads, is never used alone. [RFC2198] */
    {LK_MEDIA_KIND_AUDIO, LK_PC_PT_RED, 2, LK_PC_RED, 48000, "111/111", "111/111", {NULL}, false},
    {LK_MEDIA_KIND_VIDEO, LK_PC_PT_VP8, 0, "VP8", 90000, "", "", {"transport-cc", "ccm fir", "nack", "nack pli"}, false},
    /* Upward lost packets are sent again as they were, as the reference does it on a single connection. [RFC4588] */
    {LK_MEDIA_KIND_VIDEO, LK_PC_PT_VP8_RTX, 0, LK_PC_RTX, 90000, "apt=96", "apt=96", {NULL}, true},
};

static lk_str z(const char *text) { return lk_str_of(text); }

/* Codecs that carry something of their own. */
static bool is_media(const codec_row *c) { return strcmp(c->name, LK_PC_RED) != 0 && strcmp(c->name, LK_PC_RTX) != 0; }

bool lk_pc_codec_known(lk_media_kind kind, const char *name)
{
    for (size_t i = 0; i < LK_LEN(codecs); i++)
        if (codecs[i].kind == kind && (!name[0] || (is_media(&codecs[i]) && lk_str_ieq(lk_str_of(name), codecs[i].name))))
            return true;
    return false;
}

static lk_sdp_dir to_sdp(lk_pc_direction d)
{
    static const lk_sdp_dir map[] = {LK_SDP_INACTIVE, LK_SDP_SENDONLY, LK_SDP_RECVONLY, LK_SDP_SENDRECV};
    return map[d];
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static bool put_codecs(lk_arena *a, lk_sdp_media *m, const lk_pc_sect *s, bool reversed)
{
    size_t n = LK_LEN(codecs);
    m->codecs = (lk_sdp_codec *)lk_arena_alloc(a, n * sizeof *m->codecs);
    m->fbs = (lk_sdp_fb *)lk_arena_alloc(a, n * FEEDBACK_MAX * sizeof *m->fbs);
    if (!m->codecs || !m->fbs)
        return false;
    for (size_t i = 0; i < n; i++) {
        const codec_row *c = &codecs[reversed ? n - 1 - i : i];
        bool sends = (s->wanted & LK_PC_SENDONLY) != 0;
        if (c->kind != s->kind || (sends && c->receive_only) ||
            (sends && is_media(c) && s->codec_wanted[0] && !lk_str_ieq(z(c->name), s->codec_wanted)))
            continue;
        /* Receivers always take stereo: it costs nothing and the sender decides. */
        bool stereo = s->stereo || !sends;
        m->codecs[m->codec_count++] = (lk_sdp_codec){c->pt, z(c->name), c->clock_hz, c->channels, z(stereo ? c->fmtp_stereo : c->fmtp)};
        for (size_t k = 0; k < FEEDBACK_MAX && c->feedback[k]; k++)
            m->fbs[m->fb_count++] = (lk_sdp_fb){c->pt, z(c->feedback[k])};
    }
    return true;
}

static bool put_sender(lk_arena *a, lk_sdp_media *m, lk_pc *pc, lk_pc_sect *s)
{
    if (lk_pc_make_sender(pc, s) != LK_OK)
        return false;
    m->has_msid = true;
    m->stream = z(s->stream[0] ? s->stream : "-");
    m->track = z(s->track);
    m->ssrcs = (lk_sdp_ssrc *)lk_arena_alloc(a, sizeof *m->ssrcs);
    if (!m->ssrcs)
        return false;
    m->ssrcs[0] = (lk_sdp_ssrc){s->sender->ssrc, z(pc->cname), m->stream, m->track};
    m->ssrc_count = 1;
    return true;
}

static bool put_transport(lk_arena *a, lk_sdp_media *m, lk_pc *pc, lk_sdp_setup setup)
{
    lk_str fp = z(lk_dtls_context_fingerprint(pc->config.dtls));
    lk_str hash = lk_str_cut(&fp, ' ');
    m->transport = (lk_sdp_transport){.ice_ufrag = z(pc->ice.ufrag), .ice_pwd = z(pc->ice.pwd), .ice_options = z("trickle"), .setup = setup};
    m->transport.fingerprints = (lk_sdp_fingerprint *)lk_arena_alloc(a, sizeof(lk_sdp_fingerprint));
    if (!m->transport.fingerprints)
        return false;
    m->transport.fingerprints[0] = (lk_sdp_fingerprint){hash, fp};
    m->transport.fingerprint_count = 1;
    return true;
}

/* [RFC8841 s5] */
static bool put_data_section(lk_arena *a, lk_sdp_media *m, lk_pc *pc, lk_pc_sect *s, lk_sdp_setup setup)
{
    *m = (lk_sdp_media){.kind = LK_SDP_APPLICATION,
                        .port = 9,
                        .mid = z(s->mid),
                        .formats = z("webrtc-datachannel"),
                        .sctp_port = LK_SCTP_PORT,
                        .has_max_message_size = true,
                        .max_message_size = LK_SCTP_MESSAGE_MAX};
    return put_transport(a, m, pc, setup);
}

/* An offer names what we know under our ids; an answer what the offer named, under its ids. [RFC8285 s6] */
static void put_extmaps(lk_sdp_media *m, const lk_pc_sect *s, bool answer)
{
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    const lk_sdp_extmap all[] = {
        {!answer ? LK_PC_ID_LEVEL : s->level_id, LK_SDP_DIR_NONE, z(LK_PC_URI_LEVEL)},
        {!answer ? LK_PC_ID_TWCC : s->twcc_id, LK_SDP_DIR_NONE, z(LK_PC_URI_TWCC)},
        {!answer ? LK_PC_ID_MID : s->mid_id, LK_SDP_DIR_NONE, z(LK_PC_URI_MID)},
    };
    for (size_t i = 0; i < LK_LEN(all); i++)
        if (all[i].id && !(video ? i == 0 : i == 1))
            m->extmaps[m->extmap_count++] = all[i];
}

static bool put_section(lk_arena *a, lk_sdp_media *m, lk_pc *pc, lk_pc_sect *s, lk_sdp_setup setup)
{
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    if (s->data)
        return put_data_section(a, m, pc, s, setup);
    *m = (lk_sdp_media){.kind = video ? LK_SDP_VIDEO : LK_SDP_AUDIO, .port = 9, .rtcp_mux = true, .rtcp_rsize = true, .mid = z(s->mid)};
    m->dir = to_sdp(s->wanted);
    m->extmaps = (lk_sdp_extmap *)lk_arena_alloc(a, 2 * sizeof *m->extmaps);
    if (!put_transport(a, m, pc, setup) || !m->extmaps || !put_codecs(a, m, s, pc->config.prefer_red))
        return false;
    put_extmaps(m, s, setup != LK_SDP_ACTPASS);
    return !(s->wanted & LK_PC_SENDONLY) || put_sender(a, m, pc, s);
}

static lk_err write_description(lk_pc *pc, lk_sdp_setup setup, lk_text *out)
{
    lk_arena a;
    size_t n = pc->sections.count;
    lk_arena_init(&a, pc->env, ARENA_MAX);
    lk_sdp d = {.origin_id = pc->session_id, .origin_version = ++pc->session_version, .extmap_allow_mixed = true, .msid_semantic = z(" WMS *"),
                .ice_lite = pc->config.ice_lite};
    d.media = (lk_sdp_media *)lk_arena_alloc(&a, LK_MAX(n, (size_t)1) * sizeof *d.media);
    d.bundle = (lk_str *)lk_arena_alloc(&a, LK_MAX(n, (size_t)1) * sizeof *d.bundle);
    lk_err err = d.media && d.bundle ? LK_OK : LK_ERR_NOMEM;
    for (size_t i = 0; err == LK_OK && i < n; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (!put_section(&a, &d.media[i], pc, s, setup))
            err = LK_ERR_NOMEM;
        d.bundle[i] = z(s->mid);
        d.media_count = d.bundle_count = i + 1;
    }
    if (err == LK_OK)
        err = lk_sdp_write(&d, out);
    lk_arena_deinit(&a);
    return err;
}

lk_err lk_pc_create_offer(lk_pc *pc, lk_usec now, lk_text *sdp)
{
    LK_UNUSED(now);
    if (pc->offer_out || pc->closing)
        return LK_ERR_STATE;
    lk_err err = write_description(pc, LK_SDP_ACTPASS, sdp);
    pc->offer_out = err == LK_OK;
    return err;
}

void lk_pc_rollback(lk_pc *pc) { pc->offer_out = false; }

/* ---- applying --------------------------------------------------------------------------------------- */

static lk_err apply_transport(lk_pc *pc, lk_usec now, const lk_sdp *d, bool answer)
{
    const lk_sdp_media *first = d->bundle_count ? lk_sdp_media_by_mid(d, d->bundle[0]) : d->media;
    if (!first)
        return LK_OK;
    const lk_sdp_fingerprint *fp = lk_sdp_fingerprint_of(d, first);
    if (!fp)
        return LK_ERR_PROTOCOL;
    lk_err err = lk_dtls_expect(&pc->transport.dtls, now, fp->hash, fp->value);
    if (err == LK_OK)
        err = lk_ice_set_remote(&pc->ice, now, lk_sdp_ufrag(d, first), lk_sdp_pwd(d, first), d->ice_lite);
    for (size_t i = 0; err == LK_OK && i < d->media_count; i++)
        for (size_t k = 0; k < d->media[i].candidate_count; k++)
            (void)!lk_ice_add_remote(&pc->ice, now, d->media[i].candidates[k]); /* a bad one is only a path less */
    if (err != LK_OK)
        return err;
    lk_sdp_setup setup = lk_sdp_setup_of(d, first);
    /* The peer's "active" makes us the server; an offer's actpass lets us choose active. [RFC8842 s5.2] */
    bool client = answer ? setup == LK_SDP_PASSIVE : setup != LK_SDP_ACTIVE;
    return lk_transport_set_role(&pc->transport, now, client ? LK_DTLS_CLIENT : LK_DTLS_SERVER);
}

static const codec_row *row_of(lk_media_kind kind, lk_str name)
{
    for (size_t i = 0; i < LK_LEN(codecs); i++)
        if (codecs[i].kind == kind && lk_str_ieq(name, codecs[i].name))
            return &codecs[i];
    return NULL;
}

/* Parameters in the order of their names, as the reference shows them. */
static void sort_fmtp(char *out, size_t cap, lk_str fmtp)
{
    lk_str parts[16], rest = fmtp;
    size_t n = 0, len = 0;
    while (rest.len && n < LK_LEN(parts))
        parts[n++] = lk_str_trim(lk_str_cut(&rest, ';'));
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            int order = memcmp(parts[k - 1].p, parts[k].p, LK_MIN(parts[k - 1].len, parts[k].len));
            if (order < 0 || (order == 0 && parts[k - 1].len <= parts[k].len))
                break;
            lk_str swap = parts[k];
            parts[k] = parts[k - 1];
            parts[k - 1] = swap;
        }
    out[0] = 0;
    for (size_t i = 0; i < n && len + 1 < cap; i++) {
        if (i)
            out[len++] = ';';
        (void)lk_str_copy(out + len, cap - len, parts[i]);
        len += strlen(out + len);
    }
}

/* The first codec of the peer's list that we know. Redundancy counts when it is named; it is sent when named first. */
static void apply_codec(lk_pc_sect *s, const lk_sdp_media *m)
{
    int red = -1;
    size_t red_at = m->codec_count;
    for (size_t i = 0; i < m->codec_count && red < 0; i++)
        if (s->kind == LK_MEDIA_KIND_AUDIO && lk_str_ieq(m->codecs[i].name, LK_PC_RED) && m->codecs[i].clock_hz == 48000) {
            red = m->codecs[i].pt;
            red_at = i;
        }
    for (size_t i = 0; i < m->codec_count; i++) {
        const lk_sdp_codec *c = &m->codecs[i];
        const codec_row *row = row_of(s->kind, c->name);
        if (!row || row->clock_hz != c->clock_hz || !is_media(row))
            continue;
        if (s->wanted & LK_PC_SENDONLY && s->codec_wanted[0] && !lk_str_ieq(c->name, s->codec_wanted))
            continue;
        s->codec = (lk_pc_codec_now){.pt = c->pt, .channels = row->channels, .clock_hz = row->clock_hz, .rtx_pt = lk_sdp_rtx_for(m, c->pt),
                                     .nack = lk_sdp_has_fb(m, c->pt, "nack"), .red_pt = red, .send_red = red_at < i};
        lk_str mime = z(s->kind == LK_MEDIA_KIND_AUDIO ? "audio/" : "video/");
        memcpy(s->codec.mime, mime.p, mime.len);
        (void)lk_str_copy(s->codec.mime + mime.len, sizeof s->codec.mime - mime.len, z(row->name));
        /* Stats show the peer's parameters for what we send and ours for what we receive. */
        lk_str fmtp = s->wanted & LK_PC_SENDONLY ? c->fmtp : z(row->fmtp_stereo);
        sort_fmtp(s->codec.local_fmtp, sizeof s->codec.local_fmtp, fmtp);
        return;
    }
    s->codec.pt = 255; /* no common codec: nothing is sent, nothing fits */
}

static lk_err apply_receiver(lk_pc *pc, lk_pc_sect *s, uint32_t index, const lk_sdp_media *m, bool receives)
{
    bool active = receives && m->track.len > 0;
    bool other = active && (!s->remote_active || !lk_str_eq(m->track, s->remote_track));
    if (!active && !s->remote_active)
        return LK_OK;
    if (s->remote_active && (!active || other)) {
        s->remote_active = false;
        if (!active)
            lk_pc_queue_event(pc, &(lk_pc_queued){.type = LK_PC_EV_TRACK, .index = index});
    }
    if (!active) {
        lk_pc_drop_receiver(pc, s);
        return LK_OK;
    }
    if (!lk_str_copy(s->remote_track, sizeof s->remote_track, m->track) || !lk_str_copy(s->remote_stream, sizeof s->remote_stream, m->stream))
        return LK_ERR_LIMIT;
    uint32_t ssrc = m->ssrc_count ? m->ssrcs[0].ssrc : 0;
    if (ssrc && (other || !s->receiver || s->receiver->ssrc != ssrc)) {
        lk_err err = lk_pc_make_receiver(pc, s, ssrc);
        if (err != LK_OK)
            return err;
    }
    if (s->receiver)
        s->receiver->rtx_ssrc = lk_sdp_group_peer(m, "FID", s->receiver->ssrc);
    s->remote_active = true;
    if (other)
        lk_pc_queue_event(pc, &(lk_pc_queued){.type = LK_PC_EV_TRACK, .index = index, .active = true});
    return LK_OK;
}

static lk_err apply_section(lk_pc *pc, lk_pc_sect *s, uint32_t index, const lk_sdp *d, const lk_sdp_media *m)
{
    lk_sdp_dir theirs = lk_sdp_dir_of(d, m);
    bool rejected = m->port == 0 && !m->bundle_only;
    if (s->data) {
        if (!rejected && m->kind == LK_SDP_APPLICATION)
            lk_transport_agree_data(&pc->transport, m->has_max_message_size, m->max_message_size);
        s->negotiated = true;
        return LK_OK;
    }
    bool sends = !rejected && (s->wanted & LK_PC_SENDONLY) && lk_sdp_dir_receives(theirs);
    bool receives = !rejected && (s->wanted & LK_PC_RECVONLY) && lk_sdp_dir_sends(theirs);
    apply_codec(s, m);
    bool usable = s->codec.pt != 255;
    s->agreed = (lk_pc_direction)((sends && usable ? LK_PC_SENDONLY : 0) | (receives && usable ? LK_PC_RECVONLY : 0));
    s->negotiated = true;
    s->level_id = lk_sdp_extmap_id(m, LK_PC_URI_LEVEL);
    s->mid_id = lk_sdp_extmap_id(m, LK_PC_URI_MID);
    s->twcc_id = lk_sdp_extmap_id(m, LK_PC_URI_TWCC);
    if (s->sender)
        s->codec.rtx_pt = -1; /* we announce no SSRC for it: resend plain */
    return apply_receiver(pc, s, index, m, receives && usable);
}

static lk_err parse(lk_pc *pc, lk_arena *a, lk_sdp *d, const char *sdp, size_t len, const char **why)
{
    const char *unused;
    if (!why)
        why = &unused;
    *why = "not a session description";
    lk_arena_init(a, pc->env, ARENA_MAX);
    lk_err err = lk_sdp_parse(d, a, sdp, len);
    return err == LK_OK ? lk_sdp_check(d, why) : err;
}

lk_err lk_pc_set_answer(lk_pc *pc, lk_usec now, const char *sdp, size_t len, const char **why)
{
    lk_arena a;
    lk_sdp d;
    if (!pc->offer_out)
        return LK_ERR_STATE;
    lk_err err = parse(pc, &a, &d, sdp, len, why);
    if (err == LK_OK && d.media_count > pc->sections.count) {
        err = LK_ERR_PROTOCOL;
        if (why)
            *why = "the answer has more sections than the offer";
    }
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++) {
        if (d.media[i].mid.len && !lk_str_eq(d.media[i].mid, lk_pc_sect_at(pc, i)->mid)) {
            err = LK_ERR_PROTOCOL;
            if (why)
                *why = "the answer's sections are in another order";
        }
    }
    if (err == LK_OK)
        err = apply_transport(pc, now, &d, true);
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++)
        err = apply_section(pc, lk_pc_sect_at(pc, i), (uint32_t)i, &d, &d.media[i]);
    if (err == LK_OK)
        pc->offer_out = false;
    lk_arena_deinit(&a);
    lk_pc_tick(pc, now);
    return err;
}

lk_err lk_pc_accept_offer(lk_pc *pc, lk_usec now, const char *sdp, size_t len, lk_text *answer, const char **why)
{
    lk_arena a;
    lk_sdp d;
    if (pc->closing)
        return LK_ERR_STATE;
    lk_err err = parse(pc, &a, &d, sdp, len, why);
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++) {
        lk_sdp_media *m = &d.media[i];
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        lk_media_kind kind = m->kind == LK_SDP_VIDEO ? LK_MEDIA_KIND_VIDEO : LK_MEDIA_KIND_AUDIO;
        if (!s && (m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO)) {
            uint32_t index;
            err = lk_pc_append_section(pc, &(lk_pc_section){.kind = kind, .direction = LK_PC_RECVONLY, .stream = "", .track = ""}, &index);
            s = lk_pc_sect_at(pc, i);
        }
        if (!s && m->kind == LK_SDP_APPLICATION) {
            err = lk_pc_append_data_section(pc);
            s = lk_pc_sect_at(pc, i);
        }
        if (err == LK_OK && (!s || s->data != (m->kind == LK_SDP_APPLICATION) || (!s->data && s->kind != kind))) {
            err = LK_ERR_PROTOCOL;
            if (why)
                *why = "a section of the offer is of another kind than ours";
        }
        if (s && s->negotiated && !lk_str_eq(m->mid, s->mid)) {
            err = LK_ERR_PROTOCOL;
            if (why)
                *why = "the offer's sections are in another order";
        } else if (s && !lk_str_copy(s->mid, sizeof s->mid, m->mid)) {
            err = LK_ERR_LIMIT;
        }
        /* A section we only receive on follows the offer's will to send. */
        if (s && !s->data && !(s->wanted & LK_PC_SENDONLY))
            s->wanted = lk_sdp_dir_sends(lk_sdp_dir_of(&d, m)) ? LK_PC_RECVONLY : LK_PC_INACTIVE;
    }
    /* Sections of ours that this offer does not reach: their numbers may be names in it. */
    for (size_t i = d.media_count; err == LK_OK && i < pc->sections.count; i++)
        lk_pc_name_section(pc, i);
    if (err == LK_OK)
        err = apply_transport(pc, now, &d, false);
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++) {
        lk_pc_sect *s = lk_pc_sect_at(pc, i);
        if (!s->data && (s->wanted & LK_PC_SENDONLY))
            err = lk_pc_make_sender(pc, s);
        if (err == LK_OK)
            err = apply_section(pc, s, (uint32_t)i, &d, &d.media[i]);
    }
    if (err == LK_OK)
        err = write_description(pc, pc->transport.client ? LK_SDP_ACTIVE : LK_SDP_PASSIVE, answer);
    lk_arena_deinit(&a);
    lk_pc_tick(pc, now);
    return err;
}
