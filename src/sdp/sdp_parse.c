// SPDX-License-Identifier: Apache-2.0
#include "sdp/sdp.h"

#define CHANNELS_MAX 8
#define MID_MAX 255

/* Walks lines of text that was checked before: LF ends a line, a CR before it belongs to the end. */
typedef struct lines {
    const char *at, *end;
} lines;

static bool next_line(lines *l, lk_str *out)
{
    while (l->at < l->end) {
        const char *lf = memchr(l->at, '\n', (size_t)(l->end - l->at));
        const char *stop = lf ? lf : l->end;
        *out = (lk_str){l->at, (size_t)(stop - l->at)};
        l->at = lf ? lf + 1 : l->end;
        if (out->len && out->p[out->len - 1] == '\r')
            out->len--;
        if (out->len)
            return true;
    }
    return false;
}

typedef struct parser {
    lk_sdp *sdp;
    lk_sdp_media *media; /* NULL: still at session level */
    lk_arena *arena;
    bool oom, bundle_seen;
    int16_t codec_of[LK_SDP_CODEC_MAX]; /* payload type -> index in the section, -1 = not listed */
    bool mapped[LK_SDP_CODEC_MAX];      /* has an rtpmap */
} parser;

static void flaw(parser *p, const char *text)
{
    if (!p->sdp->flaw)
        p->sdp->flaw = text;
}

static void *take(parser *p, size_t count, size_t size)
{
    if (count == 0 || p->oom)
        return NULL;
    void *mem = lk_arena_alloc(p->arena, count * size);
    if (!mem) {
        p->oom = true;
        return NULL;
    }
    memset(mem, 0, count * size);
    return mem;
}

/* Token up to the next blank; further blanks are dropped. */
static lk_str word(lk_str *rest)
{
    lk_str w = lk_str_cut(rest, ' ');
    while (rest->len && rest->p[0] == ' ') {
        rest->p++;
        rest->len--;
    }
    return w;
}

static lk_sdp_transport *transport_of(parser *p)
{
    return p->media ? &p->media->transport : &p->sdp->transport;
}

/* ---- attributes, one function each; media is NULL at session level --------------------------------------- */
static void on_ufrag(parser *p, lk_str v) { transport_of(p)->ice_ufrag = v; }
static void on_pwd(parser *p, lk_str v) { transport_of(p)->ice_pwd = v; }
static void on_ice_options(parser *p, lk_str v) { transport_of(p)->ice_options = v; }

static void on_fingerprint(parser *p, lk_str v)
{
    lk_sdp_transport *t = transport_of(p);
    if (t->fingerprint_count == LK_SDP_FINGERPRINT_MAX || !t->fingerprints)
        return;
    lk_str hash = word(&v), value = lk_str_trim(v);
    if (hash.len && value.len)
        t->fingerprints[t->fingerprint_count++] = (lk_sdp_fingerprint){hash, value};
}

static void on_setup(parser *p, lk_str v)
{
    static const char *const names[] = {"", "actpass", "active", "passive", "holdconn"};
    for (size_t i = 1; i < LK_LEN(names); i++) {
        if (lk_str_eq(v, names[i])) {
            transport_of(p)->setup = (lk_sdp_setup)i;
            return;
        }
    }
    flaw(p, "unknown DTLS setup role");
}

static void set_dir(parser *p, lk_sdp_dir d) { *(p->media ? &p->media->dir : &p->sdp->dir) = d; }
static void on_sendrecv(parser *p, lk_str v) { LK_UNUSED(v); set_dir(p, LK_SDP_SENDRECV); }
static void on_sendonly(parser *p, lk_str v) { LK_UNUSED(v); set_dir(p, LK_SDP_SENDONLY); }
static void on_recvonly(parser *p, lk_str v) { LK_UNUSED(v); set_dir(p, LK_SDP_RECVONLY); }
static void on_inactive(parser *p, lk_str v) { LK_UNUSED(v); set_dir(p, LK_SDP_INACTIVE); }

static void on_ice_lite(parser *p, lk_str v)
{
    LK_UNUSED(v);
    p->sdp->ice_lite = true;
}
static void on_allow_mixed(parser *p, lk_str v)
{
    LK_UNUSED(v);
    p->sdp->extmap_allow_mixed = true;
}
static void on_msid_semantic(parser *p, lk_str v)
{
    if (!p->media)
        p->sdp->msid_semantic = v;
}

static void on_group(parser *p, lk_str v)
{
    if (p->media || p->bundle_seen || !lk_str_eq(word(&v), "BUNDLE"))
        return;
    p->bundle_seen = true;
    size_t count = 0;
    for (lk_str rest = v; rest.len; count++)
        (void)word(&rest);
    p->sdp->bundle = take(p, LK_MIN(count, LK_SDP_MEDIA_MAX), sizeof(lk_str));
    while (p->sdp->bundle && v.len && p->sdp->bundle_count < LK_SDP_MEDIA_MAX)
        p->sdp->bundle[p->sdp->bundle_count++] = word(&v);
}

static void on_mid(parser *p, lk_str v)
{
    if (!p->media)
        return;
    if (v.len == 0 || v.len > MID_MAX)
        flaw(p, "mid of an impossible length");
    else if (p->media->mid.len)
        flaw(p, "two mids in one section");
    else
        p->media->mid = v;
}

/* Lines that say something of their section by being there. */
#define ON_FLAG(name)                          \
    static void on_##name(parser *p, lk_str v) \
    {                                          \
        LK_UNUSED(v);                          \
        if (p->media)                          \
            p->media->name = true;             \
    }
ON_FLAG(rtcp_mux)
ON_FLAG(rtcp_rsize)
ON_FLAG(bundle_only)
ON_FLAG(end_of_candidates)

static void on_msid(parser *p, lk_str v)
{
    if (!p->media || p->media->has_msid)
        return;
    p->media->has_msid = true;
    p->media->stream = word(&v);
    p->media->track = word(&v);
}

static bool payload_type(parser *p, lk_str s, lk_sdp_codec **out)
{
    uint64_t pt;
    if (!lk_str_u64(s, LK_SDP_CODEC_MAX - 1, &pt) || p->codec_of[pt] < 0)
        return false;
    *out = &p->media->codecs[p->codec_of[pt]];
    return true;
}

static void on_rtpmap(parser *p, lk_str v)
{
    lk_sdp_codec *c;
    if (!p->media || !payload_type(p, word(&v), &c))
        return;
    uint64_t clock_hz, channels = 0;
    lk_str name = lk_str_cut(&v, '/');
    lk_str clock = lk_str_cut(&v, '/');
    if (name.len == 0) {
        flaw(p, "codec without a name");
        return;
    }
    if (!lk_str_u64(clock, UINT32_MAX, &clock_hz) || clock_hz == 0) {
        flaw(p, "codec with an impossible clock rate");
        return;
    }
    if (v.len && (!lk_str_u64(lk_str_cut(&v, '/'), CHANNELS_MAX, &channels) || channels == 0)) {
        flaw(p, "codec with an impossible number of channels");
        return;
    }
    if (p->mapped[c->pt] &&
        (!lk_str_eq2(c->name, name) || c->clock_hz != clock_hz || c->channels != channels)) {
        flaw(p, "two meanings for one payload type");
        return;
    }
    p->mapped[c->pt] = true;
    c->name = name;
    c->clock_hz = (uint32_t)clock_hz;
    c->channels = (uint8_t)channels;
}

static void on_fmtp(parser *p, lk_str v)
{
    lk_sdp_codec *c;
    if (p->media && payload_type(p, word(&v), &c) && c->fmtp.len == 0)
        c->fmtp = v;
}

static void on_rtcp_fb(parser *p, lk_str v)
{
    lk_sdp_codec *c;
    if (!p->media || !p->media->fbs || p->media->fb_count == LK_SDP_FB_MAX)
        return;
    lk_str pt = word(&v);
    if (lk_str_eq(pt, "*"))
        p->media->fbs[p->media->fb_count++] = (lk_sdp_fb){-1, v};
    else if (payload_type(p, pt, &c))
        p->media->fbs[p->media->fb_count++] = (lk_sdp_fb){c->pt, v};
}

static lk_sdp_dir dir_named(lk_str s)
{
    return lk_str_eq(s, "sendrecv")   ? LK_SDP_SENDRECV
           : lk_str_eq(s, "sendonly") ? LK_SDP_SENDONLY
           : lk_str_eq(s, "recvonly") ? LK_SDP_RECVONLY
           : lk_str_eq(s, "inactive") ? LK_SDP_INACTIVE
                                      : LK_SDP_DIR_NONE;
}

static void on_extmap(parser *p, lk_str v)
{
    if (!p->media || !p->media->extmaps)
        return;
    lk_str dir = word(&v);
    lk_str number = lk_str_cut(&dir, '/');
    lk_str uri = word(&v);
    uint64_t id;
    if (!lk_str_u64(number, 255, &id) || id == 0 || uri.len == 0)
        return; /* ids from 4096 on are offers without a number [RFC8285 s6]; we do not use them */
    for (size_t i = 0; i < p->media->extmap_count; i++) {
        if (p->media->extmaps[i].id == id) {
            if (!lk_str_eq2(p->media->extmaps[i].uri, uri))
                flaw(p, "two meanings for one header extension id");
            return;
        }
    }
    if (p->media->extmap_count < LK_SDP_EXTMAP_MAX)
        p->media->extmaps[p->media->extmap_count++] = (lk_sdp_extmap){(uint8_t)id, dir_named(dir), uri};
}

static void on_ssrc(parser *p, lk_str v)
{
    uint64_t ssrc;
    if (!p->media || !p->media->ssrcs || !lk_str_u64(word(&v), UINT32_MAX, &ssrc))
        return;
    size_t i = 0;
    while (i < p->media->ssrc_count && p->media->ssrcs[i].ssrc != ssrc)
        i++;
    if (i == LK_SDP_SSRC_MAX)
        return;
    if (i == p->media->ssrc_count)
        p->media->ssrcs[p->media->ssrc_count++].ssrc = (uint32_t)ssrc;
    lk_sdp_ssrc *s = &p->media->ssrcs[i];
    lk_str name = lk_str_cut(&v, ':');
    if (lk_str_eq(name, "cname")) {
        s->cname = v;
    } else if (lk_str_eq(name, "msid")) {
        s->stream = word(&v);
        s->track = word(&v);
    }
}

static void on_ssrc_group(parser *p, lk_str v)
{
    if (!p->media || !p->media->groups || p->media->group_count == LK_SDP_GROUP_MAX)
        return;
    lk_sdp_group g = {.semantics = word(&v)};
    size_t count = 0;
    for (lk_str rest = v; rest.len; count++)
        (void)word(&rest);
    g.ssrcs = take(p, LK_MIN(count, LK_SDP_SSRC_MAX), sizeof(uint32_t));
    while (g.ssrcs && v.len && g.count < LK_SDP_SSRC_MAX) {
        uint64_t ssrc;
        if (!lk_str_u64(word(&v), UINT32_MAX, &ssrc))
            return;
        g.ssrcs[g.count++] = (uint32_t)ssrc;
    }
    if (g.count)
        p->media->groups[p->media->group_count++] = g;
}

static void on_rid(parser *p, lk_str v)
{
    if (!p->media || !p->media->rids || p->media->rid_count == LK_SDP_RID_MAX)
        return;
    lk_str id = word(&v), dir = word(&v);
    bool send = lk_str_eq(dir, "send");
    if (id.len && (send || lk_str_eq(dir, "recv")))
        p->media->rids[p->media->rid_count++] = (lk_sdp_rid){id, send, v};
}

static void on_simulcast(parser *p, lk_str v)
{
    while (p->media && v.len) {
        lk_str dir = word(&v), list = word(&v);
        if (lk_str_eq(dir, "send"))
            p->media->simulcast_send = list;
        else if (lk_str_eq(dir, "recv"))
            p->media->simulcast_recv = list;
    }
}

static void on_sctp_port(parser *p, lk_str v)
{
    uint64_t n;
    if (!p->media)
        return;
    if (lk_str_u64(v, UINT16_MAX, &n) && n > 0)
        p->media->sctp_port = (uint16_t)n;
    else
        flaw(p, "impossible SCTP port");
}

static void on_max_message_size(parser *p, lk_str v)
{
    uint64_t n;
    if (!p->media || !lk_str_u64(v, UINT64_MAX, &n))
        return; /* as if absent: 64 KiB */
    p->media->has_max_message_size = true;
    p->media->max_message_size = (uint32_t)LK_MIN(n, UINT32_MAX);
}

static void on_candidate(parser *p, lk_str v)
{
    if (!p->media || !v.len || !p->media->candidates || p->media->candidate_count == LK_SDP_CANDIDATE_MAX)
        return;
    /* v stands behind "a=candidate:": step back to the name */
    const size_t name = sizeof "candidate:" - 1;
    p->media->candidates[p->media->candidate_count++] = (lk_str){v.p - name, v.len + name};
}

static const struct {
    const char *name;
    void (*on)(parser *p, lk_str value);
} attributes[] = {
    {"rtcp-fb", on_rtcp_fb},
    {"rtpmap", on_rtpmap},
    {"fmtp", on_fmtp},
    {"ssrc", on_ssrc},
    {"extmap", on_extmap},
    {"ssrc-group", on_ssrc_group},
    {"candidate", on_candidate},
    {"end-of-candidates", on_end_of_candidates},
    {"ice-ufrag", on_ufrag},
    {"ice-pwd", on_pwd},
    {"ice-options", on_ice_options},
    {"ice-lite", on_ice_lite},
    {"fingerprint", on_fingerprint},
    {"setup", on_setup},
    {"mid", on_mid},
    {"msid", on_msid},
    {"sendrecv", on_sendrecv},
    {"sendonly", on_sendonly},
    {"recvonly", on_recvonly},
    {"inactive", on_inactive},
    {"rtcp-mux", on_rtcp_mux},
    {"rtcp-rsize", on_rtcp_rsize},
    {"bundle-only", on_bundle_only},
    {"rid", on_rid},
    {"simulcast", on_simulcast},
    {"sctp-port", on_sctp_port},
    {"max-message-size", on_max_message_size},
    {"group", on_group},
    {"extmap-allow-mixed", on_allow_mixed},
    {"msid-semantic", on_msid_semantic},
};

static void on_attribute(parser *p, lk_str line)
{
    lk_str name = lk_str_cut(&line, ':');
    for (size_t i = 0; i < LK_LEN(attributes); i++) {
        if (lk_str_eq(name, attributes[i].name)) {
            attributes[i].on(p, line);
            return;
        }
    }
}

/* By the rule of on_attribute, a missing value included: what is counted is what will be read. */
static bool is_attribute(lk_str line, const char *name)
{
    return lk_str_starts(line, "a=") && lk_str_eq(lk_str_cut(&(lk_str){line.p + 2, line.len - 2}, ':'), name);
}

/* Room for what the lines of one section (or of the session) will need, before they are read. */
static void reserve(parser *p, lines l)
{
    size_t extmap = 0, ssrc = 0, group = 0, fb = 0, rid = 0, candidate = 0, fingerprint = 0;
    for (lk_str s; next_line(&l, &s);) {
        extmap += is_attribute(s, "extmap");
        ssrc += is_attribute(s, "ssrc");
        group += is_attribute(s, "ssrc-group");
        fb += is_attribute(s, "rtcp-fb");
        rid += is_attribute(s, "rid");
        candidate += is_attribute(s, "candidate");
        fingerprint += is_attribute(s, "fingerprint");
    }
    transport_of(p)->fingerprints =
        take(p, LK_MIN(fingerprint, LK_SDP_FINGERPRINT_MAX), sizeof(lk_sdp_fingerprint));
    lk_sdp_media *m = p->media;
    if (!m)
        return;
    m->extmaps = take(p, LK_MIN(extmap, LK_SDP_EXTMAP_MAX), sizeof *m->extmaps);
    m->ssrcs = take(p, LK_MIN(ssrc, LK_SDP_SSRC_MAX), sizeof *m->ssrcs);
    m->groups = take(p, LK_MIN(group, LK_SDP_GROUP_MAX), sizeof *m->groups);
    m->fbs = take(p, LK_MIN(fb, LK_SDP_FB_MAX), sizeof *m->fbs);
    m->rids = take(p, LK_MIN(rid, LK_SDP_RID_MAX), sizeof *m->rids);
    m->candidates = take(p, LK_MIN(candidate, LK_SDP_CANDIDATE_MAX), sizeof *m->candidates);
}

/* Types that need no rtpmap. [RFC3551 s6] */
static void static_codec(lk_sdp_codec *c)
{
    const char *name = c->pt == 0    ? "PCMU"
                       : c->pt == 8  ? "PCMA"
                       : c->pt == 9  ? "G722"
                       : c->pt == 13 ? "CN"
                                     : NULL;
    if (name) {
        c->name = lk_str_of(name);
        c->clock_hz = 8000;
    }
}

static void read_formats(parser *p, lk_str v)
{
    lk_sdp_media *m = p->media;
    size_t count = 0;
    for (lk_str rest = v; rest.len && count < LK_SDP_CODEC_MAX; count++)
        (void)word(&rest);
    m->codecs = take(p, count, sizeof *m->codecs);
    while (m->codecs && v.len && m->codec_count < count) {
        uint64_t pt;
        if (!lk_str_u64(word(&v), LK_SDP_CODEC_MAX - 1, &pt)) {
            flaw(p, "payload type over 127");
            continue;
        }
        if (p->codec_of[pt] >= 0)
            continue;
        p->codec_of[pt] = (int16_t)m->codec_count;
        lk_sdp_codec *c = &m->codecs[m->codec_count++];
        c->pt = (uint8_t)pt;
        if (m->port)
            static_codec(c);
    }
}

static lk_err read_media(parser *p, lk_str v)
{
    lk_sdp_media *m = p->media;
    m->kind_text = word(&v);
    m->kind = lk_str_eq(m->kind_text, "audio")         ? LK_SDP_AUDIO
              : lk_str_eq(m->kind_text, "video")       ? LK_SDP_VIDEO
              : lk_str_eq(m->kind_text, "application") ? LK_SDP_APPLICATION
                                                       : LK_SDP_OTHER;
    lk_str ports = word(&v);
    uint64_t port;
    m->proto = word(&v);
    if (!lk_str_u64(lk_str_cut(&ports, '/'), UINT16_MAX, &port) || m->kind_text.len == 0 || m->proto.len == 0)
        return LK_ERR_WIRE;
    m->port = (uint16_t)port;
    memset(p->codec_of, 0xff, sizeof p->codec_of);
    memset(p->mapped, 0, sizeof p->mapped);
    if (m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO)
        read_formats(p, v);
    else
        m->formats = v;
    return LK_OK;
}

static lk_err read_origin(parser *p, lk_str v)
{
    p->sdp->origin_user = word(&v);
    lk_str id = word(&v), version = word(&v), net = word(&v), type = word(&v);
    p->sdp->origin_addr = word(&v);
    /* Both numbers are free text by RFC 4566; we keep what fits and zero otherwise. */
    (void)lk_str_u64(id, UINT64_MAX, &p->sdp->origin_id);
    (void)lk_str_u64(version, UINT64_MAX, &p->sdp->origin_version);
    return net.len && type.len && p->sdp->origin_addr.len ? LK_OK : LK_ERR_WIRE;
}

static lk_err read_line(parser *p, lk_str line)
{
    lk_str v = {line.p + 2, line.len - 2};
    switch (line.p[0]) {
    case 'a':
        on_attribute(p, v);
        return LK_OK;
    case 'm':
        return read_media(p, v);
    case 'o':
        return p->media ? LK_ERR_WIRE : read_origin(p, v);
    case 's':
        if (!p->media)
            p->sdp->name = v;
        return LK_OK;
    case 'c':
        if (p->media) {
            (void)word(&v); /* IN */
            (void)word(&v); /* IP4 */
            p->media->connection = v;
        }
        return LK_OK;
    default:
        return LK_OK;
    }
}

/* Shape of the whole text: every line "x=...", in bounds; counts sections. */
static lk_err survey(const char *text, size_t len, size_t *sections)
{
    lines l = {text, text + len};
    bool first = true;
    if (memchr(text, '\0', len))
        return LK_ERR_WIRE;
    *sections = 0;
    for (lk_str s; next_line(&l, &s); first = false) {
        if (s.len > LK_SDP_LINE_MAX)
            return LK_ERR_LIMIT;
        if (s.len < 2 || s.p[1] != '=' || memchr(s.p, '\r', s.len) || (first && !lk_str_eq(s, "v=0")))
            return LK_ERR_WIRE;
        *sections += s.p[0] == 'm';
    }
    if (first)
        return LK_ERR_WIRE;
    return *sections > LK_SDP_MEDIA_MAX ? LK_ERR_LIMIT : LK_OK;
}

static uint32_t hash_of(lk_str s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (uint8_t)s.p[i]) * 16777619u;
    return h;
}

/* Slot of a mid in an open table of section numbers (+1), or the free slot where it belongs. */
static size_t mid_slot(const parser *p, const uint16_t *table, size_t cap, lk_str mid)
{
    size_t at = hash_of(mid) & (cap - 1);
    while (table[at] && !lk_str_eq2(p->sdp->media[table[at] - 1].mid, mid))
        at = (at + 1) & (cap - 1);
    return at;
}

static void check_mids(parser *p)
{
    size_t cap = 16;
    while (cap < 2 * p->sdp->media_count)
        cap *= 2;
    uint16_t *table = take(p, cap, sizeof *table);
    if (!table)
        return;
    for (size_t i = 0; i < p->sdp->media_count; i++) {
        if (p->sdp->media[i].mid.len == 0)
            continue;
        size_t at = mid_slot(p, table, cap, p->sdp->media[i].mid);
        if (table[at])
            flaw(p, "one mid for two sections");
        table[at] = (uint16_t)(i + 1);
    }
    for (size_t i = 0; i < p->sdp->bundle_count; i++) {
        if (!table[mid_slot(p, table, cap, p->sdp->bundle[i])])
            flaw(p, "BUNDLE names a mid that no section has");
    }
}

lk_err lk_sdp_parse(lk_sdp *out, lk_arena *arena, const char *text, size_t len)
{
    size_t sections;
    if (len > LK_SDP_MAX)
        return LK_ERR_LIMIT;
    if (len == 0)
        return LK_ERR_WIRE;
    lk_err err = survey(text, len, &sections);
    if (err != LK_OK)
        return err;
    lk_sdp sdp = {.name = {"", 0}};
    parser p = {.sdp = &sdp, .arena = arena};
    char *copy = take(&p, len, 1);
    sdp.media = take(&p, sections, sizeof *sdp.media);
    if (p.oom)
        return LK_ERR_NOMEM;
    memcpy(copy, text, len);
    lines l = {copy, copy + len}, rest = l;
    bool origin = false;
    for (lk_str s; next_line(&l, &s); rest = l) {
        bool first = s.p == copy;
        if (s.p[0] == 'm')
            p.media = &sdp.media[sdp.media_count++];
        if (first || s.p[0] == 'm') {
            lines section = rest; /* up to the next m= */
            lines ahead = l;
            section.end = copy + len;
            for (lk_str n; next_line(&ahead, &n);) {
                if (n.p[0] == 'm') {
                    section.end = n.p;
                    break;
                }
            }
            reserve(&p, section);
        }
        origin = origin || s.p[0] == 'o';
        err = read_line(&p, s);
        if (err != LK_OK)
            return err;
    }
    if (!origin)
        return LK_ERR_WIRE;
    check_mids(&p);
    if (p.oom)
        return LK_ERR_NOMEM;
    *out = sdp;
    return LK_OK;
}
