// SPDX-License-Identifier: Apache-2.0
#include "sdp/sdp.h"

/* Everything that comes from outside passes token() or free_text(): that is where injection ends. */
typedef struct writer {
    lk_text *t;
    bool invalid;
} writer;

static void z(writer *w, const char *text) { lk_text_z(w->t, text); }
static void u(writer *w, uint64_t n) { lk_text_u64(w->t, n); }

static void free_text(writer *w, lk_str s)
{
    if (s.len && (memchr(s.p, '\r', s.len) || memchr(s.p, '\n', s.len) || memchr(s.p, '\0', s.len)))
        w->invalid = true;
    else
        lk_text_str(w->t, s);
}

static void token(writer *w, lk_str s)
{
    for (size_t i = 0; i < s.len; i++)
        w->invalid = w->invalid || (uint8_t)s.p[i] <= 0x20 || s.p[i] == 0x7f;
    w->invalid = w->invalid || s.len == 0;
    if (!w->invalid)
        lk_text_str(w->t, s);
}

static void token_or(writer *w, lk_str s, const char *otherwise) { token(w, s.len ? s : lk_str_of(otherwise)); }
static void end(writer *w) { z(w, "\r\n"); }

/* "a=NAME:token" when there is a value. */
static void attribute(writer *w, const char *name, lk_str value)
{
    if (!value.len)
        return;
    z(w, name);
    token(w, value);
    end(w);
}

static void write_transport(writer *w, const lk_sdp_transport *t)
{
    static const char *const setups[] = {"", "actpass", "active", "passive", "holdconn"};
    attribute(w, "a=ice-ufrag:", t->ice_ufrag);
    attribute(w, "a=ice-pwd:", t->ice_pwd);
    if (t->ice_options.len) {
        z(w, "a=ice-options:");
        free_text(w, t->ice_options);
        end(w);
    }
    for (size_t i = 0; i < t->fingerprint_count; i++) {
        z(w, "a=fingerprint:");
        token(w, t->fingerprints[i].hash);
        z(w, " ");
        token(w, t->fingerprints[i].value);
        end(w);
    }
    if (t->setup && t->setup < LK_LEN(setups)) {
        z(w, "a=setup:");
        z(w, setups[t->setup]);
        end(w);
    }
}

static const char *dir_name(lk_sdp_dir d)
{
    static const char *const names[] = {"", "sendrecv", "sendonly", "recvonly", "inactive"};
    return d < LK_LEN(names) ? names[d] : "";
}

static void write_dir(writer *w, lk_sdp_dir d)
{
    if (!d)
        return;
    z(w, "a=");
    z(w, dir_name(d));
    end(w);
}

static void write_codec(writer *w, const lk_sdp_media *m, const lk_sdp_codec *c)
{
    if (c->name.len) {
        z(w, "a=rtpmap:");
        u(w, c->pt);
        z(w, " ");
        token(w, c->name);
        z(w, "/");
        u(w, c->clock_hz);
        if (c->channels) {
            z(w, "/");
            u(w, c->channels);
        }
        end(w);
    }
    for (size_t i = 0; i < m->fb_count; i++) {
        if (m->fbs[i].pt != c->pt)
            continue;
        z(w, "a=rtcp-fb:");
        u(w, c->pt);
        z(w, " ");
        free_text(w, m->fbs[i].value);
        end(w);
    }
    if (c->fmtp.len) {
        z(w, "a=fmtp:");
        u(w, c->pt);
        z(w, " ");
        free_text(w, c->fmtp);
        end(w);
    }
}

static void write_codecs(writer *w, const lk_sdp_media *m)
{
    for (size_t i = 0; i < m->codec_count; i++)
        write_codec(w, m, &m->codecs[i]);
    for (size_t i = 0; i < m->fb_count; i++) {
        if (m->fbs[i].pt >= 0)
            continue;
        z(w, "a=rtcp-fb:* ");
        free_text(w, m->fbs[i].value);
        end(w);
    }
}

static void write_msid(writer *w, lk_str stream, lk_str track)
{
    token_or(w, stream, "-");
    if (track.len) {
        z(w, " ");
        token(w, track);
    }
    end(w);
}

static void write_sources(writer *w, const lk_sdp_media *m)
{
    for (size_t i = 0; i < m->group_count; i++) {
        z(w, "a=ssrc-group:");
        token(w, m->groups[i].semantics);
        for (size_t k = 0; k < m->groups[i].count; k++) {
            z(w, " ");
            u(w, m->groups[i].ssrcs[k]);
        }
        end(w);
    }
    for (size_t i = 0; i < m->ssrc_count; i++) {
        const lk_sdp_ssrc *s = &m->ssrcs[i];
        if (s->cname.len || !s->stream.len) {
            z(w, "a=ssrc:");
            u(w, s->ssrc);
            if (s->cname.len) {
                z(w, " cname:");
                token(w, s->cname);
            }
            end(w);
        }
        if (s->stream.len) {
            z(w, "a=ssrc:");
            u(w, s->ssrc);
            z(w, " msid:");
            write_msid(w, s->stream, s->track);
        }
    }
}

static void write_layers(writer *w, const lk_sdp_media *m)
{
    for (size_t i = 0; i < m->rid_count; i++) {
        z(w, "a=rid:");
        token(w, m->rids[i].id);
        z(w, m->rids[i].is_send ? " send" : " recv");
        if (m->rids[i].params.len) {
            z(w, " ");
            free_text(w, m->rids[i].params);
        }
        end(w);
    }
    if (!m->simulcast_send.len && !m->simulcast_recv.len)
        return;
    z(w, "a=simulcast:");
    if (m->simulcast_send.len) {
        z(w, "send ");
        token(w, m->simulcast_send);
    }
    if (m->simulcast_recv.len) {
        z(w, m->simulcast_send.len ? " recv " : "recv ");
        token(w, m->simulcast_recv);
    }
    end(w);
}

static void write_first_lines(writer *w, const lk_sdp_media *m)
{
    static const char *const kinds[] = {"", "audio", "video", "application"};
    bool is_rtp = m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO;
    z(w, "m=");
    token_or(w, m->kind_text, m->kind < LK_LEN(kinds) ? kinds[m->kind] : "");
    z(w, " ");
    u(w, m->port);
    z(w, " ");
    token_or(w, m->proto, is_rtp ? "UDP/TLS/RTP/SAVPF" : "UDP/DTLS/SCTP");
    for (size_t i = 0; is_rtp && i < m->codec_count; i++) {
        z(w, " ");
        u(w, m->codecs[i].pt);
    }
    if (is_rtp && m->codec_count == 0) {
        w->invalid = w->invalid || m->port != 0;
        z(w, " 0"); /* a rejected section still needs one format */
    }
    if (!is_rtp) {
        z(w, " ");
        free_text(w, m->formats.len ? m->formats : lk_str_of("webrtc-datachannel"));
    }
    end(w);
    z(w, m->connection.len && memchr(m->connection.p, ':', m->connection.len) ? "c=IN IP6 " : "c=IN IP4 ");
    token_or(w, m->connection, "0.0.0.0");
    end(w);
}

static void write_media(writer *w, const lk_sdp_media *m)
{
    write_first_lines(w, m);
    for (size_t i = 0; i < m->candidate_count; i++) {
        z(w, "a=");
        w->invalid = w->invalid || !lk_str_starts(m->candidates[i], "candidate:");
        free_text(w, m->candidates[i]);
        end(w);
    }
    if (m->end_of_candidates)
        z(w, "a=end-of-candidates\r\n");
    write_transport(w, &m->transport);
    attribute(w, "a=mid:", m->mid);
    if (m->bundle_only)
        z(w, "a=bundle-only\r\n");
    for (size_t i = 0; i < m->extmap_count; i++) {
        z(w, "a=extmap:");
        u(w, m->extmaps[i].id);
        z(w, m->extmaps[i].dir ? "/" : "");
        z(w, dir_name(m->extmaps[i].dir));
        z(w, " ");
        token(w, m->extmaps[i].uri);
        end(w);
    }
    write_dir(w, m->dir);
    if (m->has_msid) {
        z(w, "a=msid:");
        write_msid(w, m->stream, m->track);
    }
    if (m->rtcp_mux)
        z(w, "a=rtcp-mux\r\n");
    if (m->rtcp_rsize)
        z(w, "a=rtcp-rsize\r\n");
    write_codecs(w, m);
    write_layers(w, m);
    write_sources(w, m);
    if (m->sctp_port) {
        z(w, "a=sctp-port:");
        u(w, m->sctp_port);
        end(w);
    }
    if (m->has_max_message_size) {
        z(w, "a=max-message-size:");
        u(w, m->max_message_size);
        end(w);
    }
}

static void write_session(writer *w, const lk_sdp *sdp)
{
    bool ip6 = sdp->origin_addr.len && memchr(sdp->origin_addr.p, ':', sdp->origin_addr.len);
    z(w, "v=0\r\no=");
    token_or(w, sdp->origin_user, "-");
    z(w, " ");
    u(w, sdp->origin_id);
    z(w, " ");
    u(w, sdp->origin_version);
    z(w, ip6 ? " IN IP6 " : " IN IP4 ");
    token_or(w, sdp->origin_addr, "127.0.0.1");
    z(w, "\r\ns=");
    free_text(w, sdp->name.len ? sdp->name : lk_str_of("-"));
    z(w, "\r\nt=0 0\r\n");
    if (sdp->bundle_count) {
        z(w, "a=group:BUNDLE");
        for (size_t i = 0; i < sdp->bundle_count; i++) {
            z(w, " ");
            token(w, sdp->bundle[i]);
        }
        end(w);
    }
    if (sdp->extmap_allow_mixed)
        z(w, "a=extmap-allow-mixed\r\n");
    if (sdp->msid_semantic.len) {
        z(w, "a=msid-semantic:");
        free_text(w, sdp->msid_semantic);
        end(w);
    }
    if (sdp->ice_lite)
        z(w, "a=ice-lite\r\n");
    write_transport(w, &sdp->transport);
    write_dir(w, sdp->dir);
}

lk_err lk_sdp_write(const lk_sdp *sdp, lk_text *out)
{
    writer w = {.t = out};
    size_t before = out->len;
    bool bad = out->bad;
    write_session(&w, sdp);
    for (size_t i = 0; i < sdp->media_count; i++)
        write_media(&w, &sdp->media[i]);
    if (!w.invalid && !out->bad)
        return LK_OK;
    lk_err err = w.invalid ? LK_ERR_INVALID : LK_ERR_NOMEM;
    out->len = before;
    out->bad = bad;
    if (out->p)
        out->p[before] = '\0';
    return err;
}
