// SPDX-License-Identifier: Apache-2.0
/* Descriptions of a peer, both ways. Codecs are those of lk_hub_codec_rows, payload types the client's where it offers. */
#include "sdp/sdp.h"
#include "sfu/hub_internal.h"

#define ARENA_MAX (8u << 20)
#define UDP_PRIORITY 2130706431u /* host, first preference [RFC8445 s5.1.2.1] */
#define TCP_PRIORITY 1671430143u
#define MESSAGE_MAX 65535u
#define CANDIDATE_TEXT_MAX 160u
#define FB_MAX 5u

typedef enum extension { EXT_LEVEL, EXT_MID, EXT_RID, EXT_RRID, EXT_TWCC, EXT_AST, EXT_DD, EXTENSIONS } extension;
/* In which direction an extension is agreed, by kind; offered: its id in our offers, 0 not in them. */
static const struct {
    const char *uri;
    size_t id_at;
    bool audio, up, down;
    uint8_t offered;
} extensions[EXTENSIONS] = {
    [EXT_LEVEL] = {"urn:ietf:params:rtp-hdrext:ssrc-audio-level", offsetof(lk_peer_sect, level_id), true, true, true, 0},
    [EXT_MID] = {"urn:ietf:params:rtp-hdrext:sdes:mid", offsetof(lk_peer_sect, mid_id), true, true, true, 0},
    [EXT_RID] = {"urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", offsetof(lk_peer_sect, rid_id), false, true, true, 0},
    [EXT_RRID] = {"urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", offsetof(lk_peer_sect, rrid_id), false, true, true, 0},
    [EXT_TWCC] = {"http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", offsetof(lk_peer_sect, twcc_id), false, true,
                  true, 5},
    [EXT_AST] = {"http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", offsetof(lk_peer_sect, ast_id), false, false, true, 3},
    [EXT_DD] = {"https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension", offsetof(lk_peer_sect, dd_id),
                false, true, true, 1},
};
static const char *const video_feedback[FB_MAX] = {"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"};

/* One whose track is gone does not; one that waits for another encoding of it does. */
static bool wants_section(const lk_down *d) { return d->up || d->movable; }
static uint8_t *id_of(lk_peer_sect *s, size_t e) { return (uint8_t *)s + extensions[e].id_at; }
static lk_str z(const char *text) { return lk_str_of(text); }

/* ---- codecs ----------------------------------------------------------------------------------------- */

static bool fmtp_is(lk_str fmtp, const char *key, const char *value, bool absent)
{
    lk_str got;
    return lk_sdp_fmtp_get(fmtp, key, &got) ? lk_str_ieq(got, value) : absent;
}

static bool fmtp_starts(lk_str fmtp, const char *key, const char *value)
{
    lk_str got;
    size_t n = strlen(value);
    return lk_sdp_fmtp_get(fmtp, key, &got) && got.len >= n && lk_str_ieq((lk_str){got.p, n}, value);
}

/* LK_HUB_CODECS: none of ours. */
static lk_hub_codec codec_of(lk_media_kind kind, const lk_sdp_codec *c)
{
    for (size_t i = 0; i < LK_HUB_CODECS; i++) {
        const lk_hub_codec_row *row = &lk_hub_codec_rows[i];
        bool same = row->kind == kind && row->clock_hz == c->clock_hz && lk_str_ieq(c->name, row->name);
        switch (i) {
        case LK_HUB_VP9_0: same = same && fmtp_is(c->fmtp, "profile-id", "0", true); break;
        case LK_HUB_VP9_1: same = same && fmtp_is(c->fmtp, "profile-id", "1", false); break;
        case LK_HUB_H264_PM1: same = same && fmtp_is(c->fmtp, "packetization-mode", "1", false) && fmtp_starts(c->fmtp, "profile-level-id", "42e0"); break;
        case LK_HUB_H264_PM0: same = same && fmtp_is(c->fmtp, "packetization-mode", "0", true) && fmtp_starts(c->fmtp, "profile-level-id", "42e0"); break;
        case LK_HUB_H264_HIGH: same = same && fmtp_is(c->fmtp, "profile-level-id", "640032", false); break;
        case LK_HUB_AV1: same = same && fmtp_is(c->fmtp, "profile", "0", true); break;
        default: break;
        }
        if (same)
            return (lk_hub_codec)i;
    }
    return LK_HUB_CODECS;
}

/* What of the client's section we take, in its order. */
static void take_codecs(const lk_peer *p, lk_peer_sect *s, const lk_sdp_media *m, bool up)
{
    s->codec_count = 0;
    uint32_t seen = 0;
    for (size_t i = 0; i < m->codec_count && s->codec_count < LK_PEER_CODECS_MAX; i++) {
        lk_hub_codec c = codec_of(s->kind, &m->codecs[i]);
        if (c == LK_HUB_CODECS || seen >> c & 1 || (up && !(p->codecs_allowed >> c & 1) && c != LK_HUB_RED))
            continue;
        seen |= 1u << c;
        lk_peer_codec *n = &s->codecs[s->codec_count++];
        *n = (lk_peer_codec){.codec = (uint8_t)c, .pt = m->codecs[i].pt, .rtx_pt = lk_sdp_rtx_for(m, m->codecs[i].pt),
                             .nack = lk_sdp_has_fb(m, m->codecs[i].pt, "nack")};
        if (!lk_str_copy(n->fmtp, sizeof n->fmtp, m->codecs[i].fmtp))
            n->fmtp[0] = 0;
    }
    /* Where redundancy repairs nothing is asked for again: what the publisher lost is a hole that no resend of ours can fill. */
    for (size_t i = 0; !up && seen >> LK_HUB_RED & 1 && i < s->codec_count; i++)
        s->codecs[i].nack = false;
}

static void move_first(lk_peer_sect *s, size_t from, size_t to)
{
    lk_peer_codec c = s->codecs[from];
    memmove(s->codecs + to + 1, s->codecs + to, (from - to) * sizeof c);
    s->codecs[to] = c;
}

static const lk_peer_wished *wish_of(const lk_peer *p, const char *cid)
{
    for (size_t i = 0; i < p->wishes.count; i++) {
        const lk_peer_wished *w = (const lk_peer_wished *)lk_queue_peek((lk_queue *)&p->wishes, i);
        if (strcmp(w->cid, cid) == 0)
            return w;
    }
    return NULL;
}

/* The client sends with what stands first. */
static void order_codecs(const lk_peer *p, lk_peer_sect *s)
{
    static const lk_peer_wished none;
    const lk_peer_wished *w = s->up ? wish_of(p, s->up->cid) : NULL;
    size_t front = 0;
    w = w ? w : &none;
    for (size_t i = 0; i < s->codec_count; i++)
        if (w->codec[0] && lk_str_ieq(z(w->codec), lk_hub_codec_rows[s->codecs[i].codec].name))
            move_first(s, i, front++);
    for (size_t i = 0; i < s->codec_count; i++) {
        if (s->codecs[i].codec != LK_HUB_RED)
            continue;
        if (!w->no_red) {
            move_first(s, i, 0);
        } else if (i == 0 && s->codec_count > 1) {
            move_first(s, 1, 0);
            i++;
        }
        break;
    }
    bool red_first = s->codec_count && s->codecs[0].codec == LK_HUB_RED;
    for (size_t i = 0; i < s->codec_count; i++) {
        lk_peer_codec *c = &s->codecs[i];
        c->nack = c->nack && !(s->kind == LK_MEDIA_KIND_AUDIO && (red_first || c->codec != LK_HUB_OPUS));
        if (c->codec != LK_HUB_OPUS)
            continue;
        lk_wr text = lk_wr_of(c->fmtp, sizeof c->fmtp - 1);
        lk_wr_put(&text, "minptime=10;useinbandfec=1", 26);
        if (!w->no_dtx)
            lk_wr_put(&text, ";usedtx=1", 9);
        if (w->stereo)
            lk_wr_put(&text, ";stereo=1;maxaveragebitrate=510000", 34);
        c->fmtp[text.len] = 0;
    }
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static lk_str arena_text(lk_arena *a, const lk_text *t)
{
    char *copy = t->bad ? NULL : (char *)lk_arena_alloc(a, t->len + 1);
    if (copy)
        memcpy(copy, t->p, t->len);
    return (lk_str){copy, copy ? t->len : 0};
}

static bool put_candidate(lk_arena *a, const lk_env *env, lk_sdp_media *m, const lk_addr *addr, size_t n, bool tcp)
{
    char ip[LK_ADDR_TEXT_MAX];
    lk_text t;
    lk_text_init(&t, env, CANDIDATE_TEXT_MAX);
    lk_text_z(&t, "candidate:");
    lk_text_u64(&t, lk_crc32(addr->ip, sizeof addr->ip) ^ (tcp ? 1u : 0u));
    lk_text_z(&t, tcp ? " 1 tcp " : " 1 udp ");
    lk_text_u64(&t, (tcp ? TCP_PRIORITY : UDP_PRIORITY) - 256 * n);
    lk_text_ch(&t, ' ');
    lk_text_z(&t, lk_addr_ip_text(addr, ip));
    lk_text_ch(&t, ' ');
    lk_text_u64(&t, addr->port);
    lk_text_z(&t, tcp ? " typ host tcptype passive" : " typ host");
    lk_str line = arena_text(a, &t);
    lk_text_deinit(&t);
    m->candidates[m->candidate_count++] = line;
    return line.p != NULL;
}

static bool put_candidates(lk_arena *a, lk_sdp_media *m, const lk_peer *p)
{
    const lk_hub *hub = p->hub;
    size_t udp_count = p->by_tcp && hub->tcp_count > 0 ? 0 : hub->udp_count;
    m->candidates = (lk_str *)lk_arena_alloc(a, (udp_count + hub->tcp_count + 1) * sizeof *m->candidates);
    if (!m->candidates)
        return false;
    m->end_of_candidates = true;
    for (size_t i = 0; i < udp_count; i++)
        if (!put_candidate(a, hub->env, m, &hub->udp[i], i, false))
            return false;
    for (size_t i = 0; i < hub->tcp_count; i++)
        if (!put_candidate(a, hub->env, m, &hub->tcp[i], i, true))
            return false;
    return true;
}

static bool put_transport(lk_arena *a, lk_sdp_media *m, const lk_peer *p, lk_sdp_setup setup)
{
    lk_str fp = z(lk_dtls_context_fingerprint(p->hub->dtls));
    lk_str hash = lk_str_cut(&fp, ' ');
    m->transport = (lk_sdp_transport){.ice_ufrag = z(p->ice.ufrag), .ice_pwd = z(p->ice.pwd), .setup = setup};
    m->transport.fingerprints = (lk_sdp_fingerprint *)lk_arena_alloc(a, sizeof(lk_sdp_fingerprint));
    if (!m->transport.fingerprints)
        return false;
    m->transport.fingerprints[0] = (lk_sdp_fingerprint){hash, fp};
    m->transport.fingerprint_count = 1;
    return true;
}

static bool put_codecs(lk_arena *a, lk_sdp_media *m, const lk_peer_sect *s, bool offer)
{
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    size_t n = s->codec_count;
    m->codecs = (lk_sdp_codec *)lk_arena_alloc(a, 2 * LK_MAX(n, (size_t)1) * sizeof *m->codecs);
    m->fbs = (lk_sdp_fb *)lk_arena_alloc(a, LK_MAX(n, (size_t)1) * FB_MAX * sizeof *m->fbs);
    if (!m->codecs || !m->fbs)
        return false;
    for (size_t i = 0; i < n; i++) {
        const lk_peer_codec *c = &s->codecs[i];
        const lk_hub_codec_row *row = &lk_hub_codec_rows[c->codec];
        m->codecs[m->codec_count++] = (lk_sdp_codec){c->pt, z(row->name), row->clock_hz, row->channels, z(c->fmtp)};
        for (size_t k = 0; video && k < FB_MAX; k++)
            if (offer || c->feedback >> k & 1)
                m->fbs[m->fb_count++] = (lk_sdp_fb){c->pt, z(video_feedback[k])};
        if (!video && c->nack)
            m->fbs[m->fb_count++] = (lk_sdp_fb){c->pt, z("nack")};
    }
    for (size_t i = 0; i < n; i++) {
        const lk_peer_codec *c = &s->codecs[i];
        if (c->rtx_pt < 0)
            continue;
        char number[LK_STR_FMT_MAX];
        char *apt = (char *)lk_arena_alloc(a, LK_STR_FMT_MAX + 4);
        if (!apt)
            return false;
        memcpy(apt, "apt=", 4);
        (void)lk_str_copy(apt + 4, LK_STR_FMT_MAX, z(lk_u64_text(c->pt, number)));
        m->codecs[m->codec_count++] = (lk_sdp_codec){(uint8_t)c->rtx_pt, z("rtx"), lk_hub_codec_rows[c->codec].clock_hz, 0, z(apt)};
    }
    return true;
}

/* Names and sources of what we send there. */
static bool put_down(lk_arena *a, lk_sdp_media *m, const lk_down *d)
{
    bool rtx = d->kind == LK_MEDIA_KIND_VIDEO;
    m->has_msid = true;
    m->stream = z(d->stream);
    m->track = z(d->track);
    m->ssrcs = (lk_sdp_ssrc *)lk_arena_alloc(a, 2 * sizeof *m->ssrcs);
    m->groups = (lk_sdp_group *)lk_arena_alloc(a, sizeof *m->groups);
    uint32_t *pair = (uint32_t *)lk_arena_alloc(a, 2 * sizeof *pair);
    if (!m->ssrcs || !m->groups || !pair)
        return false;
    pair[0] = d->ssrc;
    pair[1] = d->rtx_ssrc;
    m->ssrc_count = rtx ? 2 : 1;
    for (size_t i = 0; i < m->ssrc_count; i++)
        m->ssrcs[i] = (lk_sdp_ssrc){pair[i], z(d->stream), z(d->stream), z(d->track)};
    if (rtx)
        m->groups[m->group_count++] = (lk_sdp_group){z("FID"), pair, 2};
    return true;
}

static bool put_section(lk_arena *a, lk_sdp_media *m, const lk_peer *p, lk_peer_sect *s, lk_sdp_setup setup, const lk_sdp_media *theirs)
{
    bool offer = setup == LK_SDP_ACTPASS, video = s->kind == LK_MEDIA_KIND_VIDEO;
    if (s->data) {
        *m = (lk_sdp_media){.kind = LK_SDP_APPLICATION, .port = 9, .mid = z(s->mid), .formats = z("webrtc-datachannel"),
                            .sctp_port = LK_SCTP_PORT, .has_max_message_size = true, .max_message_size = MESSAGE_MAX};
        return put_transport(a, m, p, setup);
    }
    *m = (lk_sdp_media){.kind = video ? LK_SDP_VIDEO : LK_SDP_AUDIO, .port = s->rejected || !s->codec_count ? 0 : 9, .rtcp_mux = true,
                        .rtcp_rsize = true, .mid = z(s->mid), .dir = LK_SDP_INACTIVE};
    if (m->port == 0)
        return put_transport(a, m, p, setup);
    m->extmaps = (lk_sdp_extmap *)lk_arena_alloc(a, EXTENSIONS * sizeof *m->extmaps);
    if (!m->extmaps || !put_transport(a, m, p, setup) || !put_codecs(a, m, s, offer))
        return false;
    for (size_t e = 0; e < EXTENSIONS; e++)
        if (*id_of(s, e))
            m->extmaps[m->extmap_count++] = (lk_sdp_extmap){*id_of(s, e), LK_SDP_DIR_NONE, z(extensions[e].uri)};
    if (s->role == LK_SECT_UP && s->up) {
        m->dir = LK_SDP_RECVONLY;
        m->rids = (lk_sdp_rid *)lk_arena_alloc(a, LK_SDP_RID_MAX * sizeof *m->rids);
        for (size_t i = 0; m->rids && theirs && i < theirs->rid_count; i++)
            if (theirs->rids[i].is_send)
                m->rids[m->rid_count++] = (lk_sdp_rid){theirs->rids[i].id, false, {NULL, 0}};
        m->simulcast_recv = theirs ? theirs->simulcast_send : (lk_str){NULL, 0};
        return m->rids != NULL;
    }
    if (s->down) {
        m->dir = LK_SDP_SENDONLY;
        return put_down(a, m, s->down);
    }
    m->dir = s->receives && !s->was_used ? LK_SDP_SENDONLY : LK_SDP_INACTIVE;
    return true;
}

static lk_err write_description(lk_peer *p, lk_sdp_setup setup, const lk_sdp *theirs, lk_text *out)
{
    lk_arena a;
    size_t n = p->sections.count;
    lk_arena_init(&a, p->hub->env, ARENA_MAX);
    lk_sdp d = {.origin_id = p->session_id, .origin_version = ++p->session_version, .extmap_allow_mixed = true, .msid_semantic = z(" WMS *"),
                .ice_lite = true};
    d.media = (lk_sdp_media *)lk_arena_alloc(&a, LK_MAX(n, (size_t)1) * sizeof *d.media);
    d.bundle = (lk_str *)lk_arena_alloc(&a, LK_MAX(n, (size_t)1) * sizeof *d.bundle);
    lk_err err = d.media && d.bundle ? LK_OK : LK_ERR_NOMEM;
    for (size_t i = 0; err == LK_OK && i < n; i++) {
        lk_peer_sect *s = lk_peer_sect_at(p, i);
        if (!put_section(&a, &d.media[i], p, s, setup, theirs ? &theirs->media[i] : NULL))
            err = LK_ERR_NOMEM;
        d.media_count = i + 1;
        if (d.media[i].port == 0)
            continue;
        if (err == LK_OK && d.bundle_count == 0 && !put_candidates(&a, &d.media[i], p))
            err = LK_ERR_NOMEM;
        d.bundle[d.bundle_count++] = z(s->mid);
    }
    if (err == LK_OK)
        err = lk_sdp_write(&d, out);
    lk_arena_deinit(&a);
    return err;
}

/* ---- what both ways share ----------------------------------------------------------------------------- */

static lk_err parse(const lk_peer *p, lk_arena *a, lk_sdp *d, const char *sdp, size_t len, const char **why)
{
    *why = "not a session description";
    lk_arena_init(a, p->hub->env, ARENA_MAX);
    lk_err err = lk_sdp_parse(d, a, sdp, len);
    return err == LK_OK ? lk_sdp_check(d, why) : err;
}

static lk_err append(lk_peer *p, lk_peer_sect **out)
{
    lk_peer_sect *s = (lk_peer_sect *)lk_alloc0(p->hub->env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    lk_err err = lk_queue_push(&p->sections, &s);
    if (err != LK_OK) {
        lk_release(p->hub->env, s, sizeof *s);
        return err == LK_ERR_FULL ? LK_ERR_LIMIT : err;
    }
    *out = s;
    return LK_OK;
}

static lk_media_kind kind_of(const lk_sdp_media *m) { return m->kind == LK_SDP_VIDEO ? LK_MEDIA_KIND_VIDEO : LK_MEDIA_KIND_AUDIO; }

/* May these sections follow those there are? */
static lk_err check_sections(const lk_peer *p, const lk_sdp *d, const char **why)
{
    *why = "fewer sections than before";
    if (d->media_count < p->sections.count)
        return LK_ERR_PROTOCOL;
    for (size_t i = 0; i < d->media_count; i++) {
        const lk_sdp_media *m = &d->media[i];
        const lk_peer_sect *s = lk_peer_sect_at(p, i);
        *why = "a section changed its kind or its place";
        if (s && (!lk_str_eq(m->mid, s->mid) || s->data != (m->kind == LK_SDP_APPLICATION) || (!s->data && s->kind != kind_of(m))))
            return LK_ERR_PROTOCOL;
        *why = "a section is neither audio, video nor data channels";
        if (m->kind == LK_SDP_OTHER)
            return LK_ERR_PROTOCOL;
        *why = "a name is too long";
        if (m->mid.len == 0 || m->mid.len >= LK_PC_ID_MAX || m->track.len >= LK_PC_ID_MAX)
            return LK_ERR_LIMIT;
    }
    return LK_OK;
}

static lk_err apply_transport(lk_peer *p, lk_usec now, const lk_sdp *d, bool answer, const char **why)
{
    const lk_sdp_media *first = d->bundle_count ? lk_sdp_media_by_mid(d, d->bundle[0]) : d->media_count ? d->media : NULL;
    if (!first)
        return LK_OK;
    const lk_sdp_fingerprint *fp = lk_sdp_fingerprint_of(d, first);
    lk_str ufrag = lk_sdp_ufrag(d, first);
    *why = "no fingerprint that is known";
    if (!fp)
        return LK_ERR_PROTOCOL;
    *why = "the fingerprint changed";
    lk_err err = lk_dtls_expect(&p->transport.dtls, now, fp->hash, fp->value);
    if (err != LK_OK)
        return err;
    *why = "no ICE credentials";
    if (ufrag.len < 4 || ufrag.len >= sizeof p->remote_ufrag)
        return LK_ERR_PROTOCOL;
    if (!answer && p->has_remote && !lk_str_eq(ufrag, p->remote_ufrag)) { /* the client restarted */
        lk_ice_lite_restart(&p->ice);
        err = lk_hub_name_peer(p->hub, p);
        if (err != LK_OK)
            return err;
    }
    (void)lk_str_copy(p->remote_ufrag, sizeof p->remote_ufrag, ufrag);
    p->has_remote = true;
    lk_sdp_setup setup = lk_sdp_setup_of(d, first);
    bool client = answer ? setup == LK_SDP_PASSIVE : setup != LK_SDP_ACTIVE; /* [RFC8842 s5.2] */
    return lk_transport_set_role(&p->transport, now, client ? LK_DTLS_CLIENT : LK_DTLS_SERVER);
}

static void take_extensions(lk_peer_sect *s, const lk_sdp_media *m)
{
    bool up = s->role == LK_SECT_UP, video = s->kind == LK_MEDIA_KIND_VIDEO;
    for (size_t e = 0; e < EXTENSIONS; e++) {
        bool fits = (video || extensions[e].audio) && !(video && e == EXT_LEVEL) && (up ? extensions[e].up : extensions[e].down);
        *id_of(s, e) = fits ? lk_sdp_extmap_id(m, extensions[e].uri) : 0;
    }
}

static void take_feedback(lk_peer_sect *s, const lk_sdp_media *m)
{
    for (size_t i = 0; i < s->codec_count; i++) {
        s->codecs[i].feedback = 0;
        for (size_t k = 0; k < FB_MAX; k++)
            if (lk_sdp_has_fb(m, s->codecs[i].pt, video_feedback[k]))
                s->codecs[i].feedback |= (uint8_t)(1u << k);
    }
}

static void refuse(lk_peer *p, lk_peer_sect *s, lk_down *d)
{
    if (s)
        s->down = NULL;
    d->sect = -1;
    d->bound = d->open = false;
    d->refused = true;
    if (d->up)
        lk_up_count_wanted(d->up);
    lk_hub_push(p->hub, &(lk_hub_event){.kind = LK_HUB_EV_DOWN_REFUSED, .peer = p, .up = d->up, .down = d});
}

/* The section's down may send, or takes none of what there is. */
static void bind(lk_peer *p, lk_usec now, lk_peer_sect *s)
{
    lk_down *d = s->down;
    if (!lk_down_bind(d, s)) {
        refuse(p, s, d);
        return;
    }
    s->was_used = true;
    if (!d->bound) {
        d->bound = true;
        lk_hub_push(p->hub, &(lk_hub_event){.kind = LK_HUB_EV_DOWN_BOUND, .peer = p, .up = d->up, .down = d});
    }
    lk_down_select(d, now);
}

static void finish(lk_peer *p, lk_usec now)
{
    p->changed = false;
    LK_LIST_EACH(&p->downs, at) {
        lk_down *d = LK_CONTAINER(at, lk_down, link);
        p->changed |= d->sect < 0 && !d->refused;
    }
    lk_peer_pump(p, now);
}

/* ---- the client offers ---------------------------------------------------------------------------------- */

static void end_up(lk_peer *p, lk_peer_sect *s)
{
    lk_up *up = s->up;
    s->up = NULL;
    if (!up)
        return;
    lk_up_end(up);
    lk_hub_push(p->hub, &(lk_hub_event){.kind = LK_HUB_EV_UP_ENDED, .peer = p, .up = up});
}

/* Place of a rid in quality; unknown names follow in their order. */
static unsigned rank_of(lk_str rid)
{
    static const char *const known[] = {"q", "h", "f", "2", "1", "0"};
    for (unsigned i = 0; i < LK_LEN(known); i++)
        if (lk_str_eq(rid, known[i]))
            return i % 3;
    return 3;
}

static void take_layers(lk_up *up, const lk_sdp_media *m)
{
    lk_str rids[LK_UP_LAYERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < m->rid_count && n < LK_UP_LAYERS_MAX; i++) {
        if (!m->rids[i].is_send || m->rids[i].id.len > LK_PEER_RID_MAX)
            continue;
        size_t at = n++;
        for (; at > 0 && rank_of(rids[at - 1]) > rank_of(m->rids[i].id); at--)
            rids[at] = rids[at - 1];
        rids[at] = m->rids[i].id;
    }
    if (n > 0) {
        for (size_t i = 0; i < n; i++)
            (void)lk_str_copy(up->layers[i].rid, sizeof up->layers[i].rid, rids[i]);
        up->layer_count = n;
        return;
    }
    for (size_t g = 0; g < m->group_count; g++)
        if (lk_str_eq(m->groups[g].semantics, "SIM"))
            for (n = 0; n < m->groups[g].count && n < LK_UP_LAYERS_MAX; n++)
                up->layers[n].ssrc = m->groups[g].ssrcs[n];
    if (n == 0 && m->ssrc_count)
        up->layers[0].ssrc = m->ssrcs[0].ssrc;
    up->layer_count = LK_MAX(n, (size_t)1);
    for (size_t i = 0; i < up->layer_count; i++)
        if (up->layers[i].ssrc)
            up->layers[i].rtx_ssrc = lk_sdp_group_peer(m, "FID", up->layers[i].ssrc);
}

static lk_err apply_up(lk_peer *p, lk_peer_sect *s, const lk_sdp_media *m)
{
    lk_str cid = m->track.len ? m->track : m->ssrc_count && m->ssrcs[0].track.len ? m->ssrcs[0].track : m->mid;
    s->role = LK_SECT_UP;
    s->was_up = s->was_used = true;
    if (cid.len >= LK_PC_ID_MAX)
        return LK_ERR_LIMIT;
    if (s->up && !lk_str_eq(cid, s->up->cid))
        end_up(p, s);
    bool fresh = !s->up;
    if (fresh) {
        lk_err err = lk_up_new(&s->up, p, s->kind);
        if (err != LK_OK)
            return err;
        (void)lk_str_copy(s->up->cid, sizeof s->up->cid, cid);
        (void)lk_str_copy(s->up->mid, sizeof s->up->mid, m->mid);
    }
    if (fresh || s->up->layer_count == 0)
        take_layers(s->up, m);
    take_codecs(p, s, m, true);
    order_codecs(p, s);
    take_feedback(s, m);
    take_extensions(s, m);
    if (!s->codec_count) { /* nothing in common: the section is refused */
        if (fresh)
            lk_up_free(s->up); /* nobody knows it */
        else
            end_up(p, s);
        s->up = NULL;
        s->role = LK_SECT_IDLE;
        return LK_OK;
    }
    if (!fresh)
        return LK_OK;
    s->up->codec = s->codecs[0].codec;
    if (lk_hub_push(p->hub, &(lk_hub_event){.kind = LK_HUB_EV_UP, .peer = p, .up = s->up}))
        return LK_OK;
    lk_up_free(s->up); /* nobody would know it */
    return LK_ERR_NOMEM;
}

static lk_err apply_section(lk_peer *p, lk_usec now, lk_peer_sect *s, const lk_sdp *d, const lk_sdp_media *m)
{
    lk_sdp_dir dir = lk_sdp_dir_of(d, m);
    s->rejected = m->port == 0 && !m->bundle_only;
    s->negotiated = true;
    s->receives = !s->rejected && lk_sdp_dir_receives(dir) && !lk_sdp_dir_sends(dir) && !s->was_up;
    if (s->data) {
        if (!s->rejected)
            lk_transport_agree_data(&p->transport, m->has_max_message_size, m->max_message_size);
        return LK_OK;
    }
    if (!s->rejected && lk_sdp_dir_sends(dir))
        return apply_up(p, s, m);
    end_up(p, s);
    s->role = s->receives ? LK_SECT_DOWN : LK_SECT_IDLE;
    take_codecs(p, s, m, false);
    take_feedback(s, m);
    take_extensions(s, m);
    for (size_t i = 0; i < s->codec_count; i++)
        if (s->codecs[i].codec == LK_HUB_OPUS)
            (void)lk_str_copy(s->codecs[i].fmtp, sizeof s->codecs[i].fmtp, z(lk_hub_codec_rows[LK_HUB_OPUS].fmtp));
    if (s->down && !s->receives) { /* the client takes its section back: the down waits for another */
        s->down->sect = -1;
        s->down->bound = false;
        lk_down_select(s->down, now);
        s->down = NULL;
    }
    if (s->down)
        bind(p, now, s);
    return LK_OK;
}

static void fill_sections(lk_peer *p, lk_usec now)
{
    size_t at = 0;
    LK_LIST_EACH(&p->downs, link) {
        lk_down *d = LK_CONTAINER(link, lk_down, link);
        if (d->sect >= 0 || d->refused || !wants_section(d))
            continue;
        for (at = 0; at < p->sections.count && d->sect < 0 && !d->refused; at++) {
            lk_peer_sect *s = lk_peer_sect_at(p, at);
            if (s->role != LK_SECT_DOWN || s->down || s->kind != d->kind)
                continue;
            s->down = d;
            d->sect = (int)at;
            bind(p, now, s);
        }
    }
}

lk_err lk_peer_accept_offer(lk_peer *p, lk_usec now, const char *sdp, size_t len, lk_text *answer, const char **why)
{
    lk_arena a;
    lk_sdp d;
    const char *unused;
    size_t before = p->sections.count;
    why = why ? why : &unused;
    *why = "this connection does not take offers";
    if (p->config.offers || p->closing)
        return LK_ERR_STATE;
    lk_err err = parse(p, &a, &d, sdp, len, why);
    if (err == LK_OK)
        err = check_sections(p, &d, why);
    for (size_t i = before; err == LK_OK && i < d.media_count; i++) {
        lk_peer_sect *s;
        *why = "too many sections";
        err = append(p, &s);
        if (err != LK_OK)
            break;
        s->kind = kind_of(&d.media[i]);
        s->data = d.media[i].kind == LK_SDP_APPLICATION;
        (void)lk_str_copy(s->mid, sizeof s->mid, d.media[i].mid);
    }
    if (err == LK_OK)
        err = apply_transport(p, now, &d, false, why);
    if (err != LK_OK) {
        while (p->sections.count > before) {
            lk_release(p->hub->env, lk_peer_sect_at(p, p->sections.count - 1), sizeof(lk_peer_sect));
            p->sections.count--;
        }
        lk_arena_deinit(&a);
        return err;
    }
    *why = "refused memory";
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++)
        err = apply_section(p, now, lk_peer_sect_at(p, i), &d, &d.media[i]);
    if (err == LK_OK) {
        fill_sections(p, now);
        err = write_description(p, p->transport.client ? LK_SDP_ACTIVE : LK_SDP_PASSIVE, &d, answer);
    }
    lk_arena_deinit(&a);
    finish(p, now);
    return err;
}

/* ---- we offer ------------------------------------------------------------------------------------------- */

static void offer_codecs(lk_peer_sect *s)
{
    bool video = s->kind == LK_MEDIA_KIND_VIDEO;
    s->codec_count = 0;
    for (size_t i = 0; i < LK_HUB_CODECS; i++) {
        const lk_hub_codec_row *row = &lk_hub_codec_rows[i];
        if (row->kind != s->kind || !row->offered)
            continue;
        lk_peer_codec *c = &s->codecs[s->codec_count++];
        *c = (lk_peer_codec){.codec = (uint8_t)i, .pt = row->pt, .rtx_pt = video ? row->pt + 1 : -1, .nack = video};
        (void)lk_str_copy(c->fmtp, sizeof c->fmtp, z(row->fmtp));
    }
    for (size_t e = 0; e < EXTENSIONS; e++)
        *id_of(s, e) = video ? extensions[e].offered : 0;
}

static lk_err offer_section(lk_peer *p, lk_down *d)
{
    lk_peer_sect *s = NULL;
    size_t at = 0;
    for (; at < p->sections.count && !s; at++) {
        lk_peer_sect *idle = lk_peer_sect_at(p, at);
        if (!idle->data && !idle->down && idle->kind == d->kind && idle->negotiated && !idle->rejected)
            s = idle;
    }
    if (!s) {
        lk_err err = append(p, &s);
        if (err != LK_OK)
            return err;
        char number[LK_STR_FMT_MAX];
        at = p->sections.count;
        s->kind = d->kind;
        (void)lk_str_copy(s->mid, sizeof s->mid, z(lk_u64_text(at - 1, number)));
    }
    s->role = LK_SECT_DOWN;
    s->down = d;
    d->sect = (int)(at - 1);
    return LK_OK;
}

lk_err lk_peer_create_offer(lk_peer *p, lk_usec now, lk_text *offer)
{
    lk_err err = LK_OK;
    LK_UNUSED(now);
    if (!p->config.offers || p->closing || p->offer_out)
        return LK_ERR_STATE;
    if (p->sections.count == 0 && p->config.open_channels) {
        lk_peer_sect *s;
        err = append(p, &s);
        if (err != LK_OK)
            return err;
        s->data = true;
        memcpy(s->mid, "0", 2);
    }
    LK_LIST_EACH(&p->downs, link) {
        lk_down *d = LK_CONTAINER(link, lk_down, link);
        if (err == LK_OK && d->sect < 0 && !d->refused && wants_section(d))
            err = offer_section(p, d);
    }
    for (size_t i = 0; i < p->sections.count; i++)
        if (!lk_peer_sect_at(p, i)->data)
            offer_codecs(lk_peer_sect_at(p, i));
    if (err == LK_OK)
        err = write_description(p, LK_SDP_ACTPASS, NULL, offer);
    if (err == LK_OK) {
        p->offer_out = true;
        p->changed = false;
    }
    return err;
}

lk_err lk_peer_set_answer(lk_peer *p, lk_usec now, const char *sdp, size_t len, const char **why)
{
    lk_arena a;
    lk_sdp d;
    const char *unused;
    why = why ? why : &unused;
    *why = "no offer is outstanding";
    if (!p->offer_out || p->closing)
        return LK_ERR_STATE;
    lk_err err = parse(p, &a, &d, sdp, len, why);
    if (err == LK_OK)
        err = check_sections(p, &d, why);
    if (err == LK_OK && d.media_count > p->sections.count) {
        *why = "the answer has more sections than the offer";
        err = LK_ERR_PROTOCOL;
    }
    if (err == LK_OK)
        err = apply_transport(p, now, &d, true, why);
    for (size_t i = 0; err == LK_OK && i < d.media_count; i++) {
        lk_peer_sect *s = lk_peer_sect_at(p, i);
        const lk_sdp_media *m = &d.media[i];
        s->rejected = m->port == 0 && !m->bundle_only;
        s->negotiated = true;
        if (s->data) {
            if (!s->rejected)
                lk_transport_agree_data(&p->transport, m->has_max_message_size, m->max_message_size);
            continue;
        }
        take_codecs(p, s, m, false);
        take_feedback(s, m);
        take_extensions(s, m);
        if (s->down && (s->rejected || !lk_sdp_dir_receives(lk_sdp_dir_of(&d, m))))
            refuse(p, s, s->down);
        else if (s->down)
            bind(p, now, s);
    }
    lk_arena_deinit(&a);
    if (err != LK_OK)
        return err;
    p->offer_out = false;
    bool changed = p->changed; /* meanwhile */
    finish(p, now);
    p->changed |= changed;
    return LK_OK;
}

bool lk_peer_offer_outstanding(const lk_peer *p) { return p->offer_out; }
bool lk_peer_needs_negotiation(const lk_peer *p) { return p->changed; }

size_t lk_peer_sections_missing(const lk_peer *p, lk_media_kind kind)
{
    size_t wanted = 0, idle = 0;
    if (p->config.offers)
        return 0;
    LK_LIST_EACH(&p->downs, link) {
        const lk_down *d = LK_CONTAINER(link, lk_down, link);
        wanted += d->sect < 0 && !d->refused && wants_section(d) && d->kind == kind;
    }
    for (size_t i = 0; i < p->sections.count; i++) {
        const lk_peer_sect *s = lk_peer_sect_at(p, i);
        idle += s->role == LK_SECT_DOWN && !s->down && s->kind == kind;
    }
    return wanted > idle ? wanted - idle : 0;
}

bool lk_peer_next_mid(const lk_peer *p, size_t *at, const char **mid, const char **track)
{
    while (*at < p->sections.count) {
        const lk_peer_sect *s = lk_peer_sect_at(p, (*at)++);
        if (!s->down)
            continue;
        *mid = s->mid;
        *track = s->down->track;
        return true;
    }
    return false;
}
