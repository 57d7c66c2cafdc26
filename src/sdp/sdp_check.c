// SPDX-License-Identifier: Apache-2.0
#include "sdp/sdp.h"

lk_sdp_media *lk_sdp_media_by_mid(const lk_sdp *sdp, lk_str mid)
{
    for (size_t i = 0; i < sdp->media_count; i++) {
        if (mid.len && lk_str_eq2(sdp->media[i].mid, mid))
            return &sdp->media[i];
    }
    return NULL;
}

/* The section whose transport the bundled ones share. [RFC9143 s7.2] */
static const lk_sdp_media *tag_of(const lk_sdp *sdp)
{
    return sdp->bundle_count ? lk_sdp_media_by_mid(sdp, sdp->bundle[0]) : NULL;
}

static const lk_sdp_transport nothing;

/* Where a section looks for transport values: itself, the session, the section that tags the bundle. */
typedef struct levels {
    const lk_sdp_transport *at[3];
} levels;
static levels levels_of(const lk_sdp *sdp, const lk_sdp_media *media, const lk_sdp_media *tag)
{
    return (levels){{&media->transport, &sdp->transport, tag && media->mid.len ? &tag->transport : &nothing}};
}

static lk_str ufrag_of(levels l)
{
    size_t i = 0;
    while (i < 2 && l.at[i]->ice_ufrag.len == 0)
        i++;
    return l.at[i]->ice_ufrag;
}
lk_str lk_sdp_ufrag(const lk_sdp *sdp, const lk_sdp_media *media)
{
    return ufrag_of(levels_of(sdp, media, tag_of(sdp)));
}

static lk_str pwd_of(levels l)
{
    size_t i = 0;
    while (i < 2 && l.at[i]->ice_pwd.len == 0)
        i++;
    return l.at[i]->ice_pwd;
}
lk_str lk_sdp_pwd(const lk_sdp *sdp, const lk_sdp_media *media)
{
    return pwd_of(levels_of(sdp, media, tag_of(sdp)));
}

lk_sdp_setup lk_sdp_setup_of(const lk_sdp *sdp, const lk_sdp_media *media)
{
    levels l = levels_of(sdp, media, tag_of(sdp));
    size_t i = 0;
    while (i < 2 && !l.at[i]->setup)
        i++;
    return l.at[i]->setup;
}

static bool is_sha256(const lk_sdp_fingerprint *f)
{
    if (!lk_str_ieq(f->hash, "sha-256") || f->value.len != 95)
        return false;
    for (size_t i = 0; i < f->value.len; i++) {
        char c = f->value.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (i % 3 == 2 ? c != ':' : !hex)
            return false;
    }
    return true;
}

static const lk_sdp_fingerprint *fingerprint_of(levels l)
{
    size_t i = 0;
    while (i < 2 && l.at[i]->fingerprint_count == 0)
        i++;
    for (size_t k = 0; k < l.at[i]->fingerprint_count; k++) {
        if (is_sha256(&l.at[i]->fingerprints[k]))
            return &l.at[i]->fingerprints[k];
    }
    return NULL;
}
const lk_sdp_fingerprint *lk_sdp_fingerprint_of(const lk_sdp *sdp, const lk_sdp_media *media)
{
    return fingerprint_of(levels_of(sdp, media, tag_of(sdp)));
}

lk_sdp_dir lk_sdp_dir_of(const lk_sdp *sdp, const lk_sdp_media *media)
{
    return media->dir ? media->dir : sdp->dir ? sdp->dir : LK_SDP_SENDRECV;
}

static bool is_dtls(const lk_sdp_media *m)
{
    static const char *const rtp[] = {"UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP",
                                      "TCP/DTLS/RTP/SAVP", "RTP/SAVPF"}; /* last: [RFC9429 s5.1.2] */
    static const char *const data[] = {"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"};
    bool is_rtp = m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO;
    const char *const *list = is_rtp ? rtp : data;
    for (size_t i = 0; i < (is_rtp ? LK_LEN(rtp) : LK_LEN(data)); i++) {
        if (lk_str_eq(m->proto, list[i]))
            return true;
    }
    return false;
}

static const char *section_flaw(const lk_sdp_media *m, levels l)
{
    bool is_rtp = m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO;
    lk_str ufrag = ufrag_of(l), pwd = pwd_of(l);
    if (!is_dtls(m))
        return "a transport without DTLS";
    if (!fingerprint_of(l))
        return "no usable certificate fingerprint";
    if (ufrag.len < 4 || ufrag.len > 256) /* [RFC8839 s5.4] */
        return "ice-ufrag of an impossible length";
    if (pwd.len < 22 || pwd.len > 256) /* [RFC8839 s5.4] */
        return "ice-pwd of an impossible length";
    if (is_rtp && !m->rtcp_mux)
        return "media without rtcp-mux";
    return NULL;
}

lk_err lk_sdp_check(const lk_sdp *sdp, const char **why)
{
    const char *text = sdp->flaw;
    const lk_sdp_media *tag = tag_of(sdp);
    for (size_t i = 0; i < sdp->media_count && !text; i++) {
        const lk_sdp_media *m = &sdp->media[i];
        if (m->port || m->bundle_only)
            text = section_flaw(m, levels_of(sdp, m, tag));
    }
    if (text && why)
        *why = text;
    return text ? LK_ERR_PROTOCOL : LK_OK;
}

lk_sdp_codec *lk_sdp_codec_by_name(const lk_sdp_media *media, const char *name)
{
    for (size_t i = 0; i < media->codec_count; i++) {
        if (lk_str_ieq(media->codecs[i].name, name))
            return &media->codecs[i];
    }
    return NULL;
}

lk_sdp_codec *lk_sdp_codec_by_pt(const lk_sdp_media *media, uint8_t pt)
{
    for (size_t i = 0; i < media->codec_count; i++) {
        if (media->codecs[i].pt == pt)
            return &media->codecs[i];
    }
    return NULL;
}

bool lk_sdp_fmtp_get(lk_str fmtp, const char *key, lk_str *value)
{
    while (fmtp.len) {
        lk_str v = lk_str_trim(lk_str_cut(&fmtp, ';'));
        lk_str k = lk_str_trim(lk_str_cut(&v, '='));
        if (lk_str_ieq(k, key)) {
            *value = lk_str_trim(v);
            return true;
        }
    }
    return false;
}

int lk_sdp_rtx_for(const lk_sdp_media *media, uint8_t pt)
{
    for (size_t i = 0; i < media->codec_count; i++) {
        const lk_sdp_codec *c = &media->codecs[i];
        lk_str apt;
        uint64_t n;
        if (lk_str_ieq(c->name, "rtx") && lk_sdp_fmtp_get(c->fmtp, "apt", &apt) && lk_str_u64(apt, 127, &n) &&
            n == pt)
            return c->pt;
    }
    return -1;
}

bool lk_sdp_has_fb(const lk_sdp_media *media, uint8_t pt, const char *value)
{
    for (size_t i = 0; i < media->fb_count; i++) {
        if ((media->fbs[i].pt == -1 || media->fbs[i].pt == pt) && lk_str_eq(media->fbs[i].value, value))
            return true;
    }
    return false;
}

uint8_t lk_sdp_extmap_id(const lk_sdp_media *media, const char *uri)
{
    for (size_t i = 0; i < media->extmap_count; i++) {
        if (lk_str_eq(media->extmaps[i].uri, uri))
            return media->extmaps[i].id;
    }
    return 0;
}

uint32_t lk_sdp_group_peer(const lk_sdp_media *media, const char *semantics, uint32_t ssrc)
{
    for (size_t i = 0; i < media->group_count; i++) {
        const lk_sdp_group *g = &media->groups[i];
        if (g->count == 2 && lk_str_eq(g->semantics, semantics) && (g->ssrcs[0] == ssrc || g->ssrcs[1] == ssrc))
            return g->ssrcs[0] == ssrc ? g->ssrcs[1] : g->ssrcs[0];
    }
    return 0;
}
