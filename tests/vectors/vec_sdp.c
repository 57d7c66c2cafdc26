// SPDX-License-Identifier: Apache-2.0
#include "sdp/sdp.h"
#include "vectors/lk_vectors.h"

#include <stdlib.h>

static lk_str str_of(json_t *s)
{
    return json_is_string(s) ? (lk_str){json_string_value(s), json_string_length(s)} : (lk_str){"", 0};
}
static void check_str(lk_vec *v, lk_str got, json_t *want)
{
    lk_str w = str_of(want);
    VMEM(v, got.p, got.len, w.p, w.len);
}
/* A value given as "a b" against two words. */
static void check_words(lk_vec *v, lk_str a, lk_str b, lk_str want)
{
    lk_str first = lk_str_cut(&want, ' ');
    VCHECK(v, lk_str_eq2(a, first));
    VCHECK(v, lk_str_eq2(b, want));
}

static void check_transport(lk_vec *v, const lk_sdp_transport *t, json_t *want)
{
    check_str(v, t->ice_ufrag, json_object_get(want, "ice-ufrag"));
    check_str(v, t->ice_pwd, json_object_get(want, "ice-pwd"));
    check_str(v, t->ice_options, json_object_get(want, "ice-options"));
    json_t *fp = json_object_get(want, "fingerprint");
    VEQ(v, t->fingerprint_count, json_is_array(fp) ? json_array_size(fp) : json_is_string(fp));
    for (size_t i = 0; i < t->fingerprint_count && !v->bad; i++)
        check_words(v, t->fingerprints[i].hash, t->fingerprints[i].value,
                    str_of(json_is_array(fp) ? json_array_get(fp, i) : fp));
    static const char *const setups[] = {"", "actpass", "active", "passive", "holdconn"};
    VCHECK(v, lk_vec_is(want, "setup", setups[t->setup]));
}

static const char *dir_text(lk_sdp_dir d)
{
    static const char *const names[] = {"", "sendrecv", "sendonly", "recvonly", "inactive"};
    return names[d];
}

static void check_codecs(lk_vec *v, const lk_sdp_media *m, json_t *want)
{
    json_t *c;
    size_t i;
    json_array_foreach(json_object_get(want, "codecs"), i, c) {
        const lk_sdp_codec *got = lk_sdp_codec_by_pt(m, (uint8_t)lk_vec_u64(c, "pt", 255));
        if (!VCHECK(v, got))
            return;
        check_str(v, got->name, json_object_get(c, "name"));
        VEQ(v, got->clock_hz, lk_vec_u64(c, "clock", 0));
        VEQ(v, got->channels, lk_vec_u64(c, "channels", 0));
        check_str(v, got->fmtp, json_object_get(c, "fmtp"));
        json_t *fb;
        size_t k;
        json_array_foreach(json_object_get(c, "fb"), k, fb)
            VCHECK(v, lk_sdp_has_fb(m, got->pt, json_string_value(fb)));
    }
    json_t *fmts = json_object_get(want, "fmts");
    if (m->kind == LK_SDP_AUDIO || m->kind == LK_SDP_VIDEO) {
        VEQ(v, m->codec_count, json_array_size(fmts));
        for (i = 0; i < m->codec_count && !v->bad; i++)
            VEQ(v, m->codecs[i].pt, lk_vec_u64_of(json_array_get(fmts, i), 255));
    } else {
        check_str(v, m->formats, json_array_get(fmts, 0));
    }
}

static void check_sources(lk_vec *v, const lk_sdp_media *m, json_t *want)
{
    json_t *s;
    size_t i;
    json_array_foreach(json_object_get(want, "ssrc"), i, s) {
        const lk_sdp_ssrc *got = NULL;
        for (size_t k = 0; k < m->ssrc_count; k++) {
            if (m->ssrcs[k].ssrc == lk_vec_u64(s, "ssrc", 0))
                got = &m->ssrcs[k];
        }
        if (!VCHECK(v, got))
            return;
        lk_str value = lk_vec_str(s, "attr"), name = lk_str_cut(&value, ':');
        if (lk_str_eq(name, "cname"))
            VMEM(v, got->cname.p, got->cname.len, value.p, value.len);
        if (lk_str_eq(name, "msid"))
            check_words(v, got->stream, got->track, value);
    }
    json_t *groups = json_object_get(want, "ssrc-group");
    VEQ(v, m->group_count, json_array_size(groups));
    for (i = 0; i < m->group_count && !v->bad; i++) {
        lk_str w = str_of(json_array_get(groups, i));
        VCHECK(v, lk_str_eq2(m->groups[i].semantics, lk_str_cut(&w, ' ')));
        for (size_t k = 0; k < m->groups[i].count; k++) {
            uint64_t ssrc = 0;
            VCHECK(v, lk_str_u64(lk_str_cut(&w, ' '), UINT32_MAX, &ssrc));
            VEQ(v, m->groups[i].ssrcs[k], ssrc);
        }
        VEQ(v, w.len, 0);
    }
}

static void check_media(lk_vec *v, const lk_sdp_media *m, json_t *want)
{
    json_t *list;
    size_t i;
    check_str(v, m->kind_text, json_object_get(want, "kind"));
    check_str(v, m->proto, json_object_get(want, "proto"));
    check_str(v, m->mid, json_object_get(want, "mid"));
    check_str(v, m->connection, json_object_get(want, "c"));
    VEQ(v, m->port, lk_vec_u64(want, "port", 0));
    VCHECK(v, lk_vec_is(want, "direction", dir_text(m->dir)));
    VEQ(v, m->rtcp_mux, lk_vec_bool(want, "rtcp-mux", false));
    VEQ(v, m->rtcp_rsize, lk_vec_bool(want, "rtcp-rsize", false));
    VEQ(v, m->bundle_only, lk_vec_bool(want, "bundle-only", false));
    VEQ(v, m->end_of_candidates, lk_vec_bool(want, "end-of-candidates", false));
    check_transport(v, &m->transport, want);
    check_codecs(v, m, want);
    list = json_object_get(want, "extmap");
    VEQ(v, m->extmap_count, json_array_size(list));
    for (i = 0; i < m->extmap_count && !v->bad; i++) {
        json_t *e = json_array_get(list, i);
        VEQ(v, m->extmaps[i].id, lk_vec_u64(e, "id", 0));
        VCHECK(v, lk_vec_is(e, "dir", dir_text(m->extmaps[i].dir)));
        check_str(v, m->extmaps[i].uri, json_object_get(e, "uri"));
    }
    VEQ(v, m->has_msid, json_object_get(want, "msid") != NULL);
    if (m->has_msid)
        check_words(v, m->stream, m->track, lk_vec_str(want, "msid"));
    check_sources(v, m, want);
    list = json_object_get(want, "rid");
    VEQ(v, m->rid_count, json_array_size(list));
    for (i = 0; i < m->rid_count && !v->bad; i++) {
        lk_str w = str_of(json_array_get(list, i));
        VCHECK(v, lk_str_eq2(m->rids[i].id, lk_str_cut(&w, ' ')));
        VCHECK(v, lk_str_eq(lk_str_cut(&w, ' '), m->rids[i].is_send ? "send" : "recv"));
        VCHECK(v, lk_str_eq2(m->rids[i].params, w));
    }
    lk_str w = lk_vec_str(want, "simulcast");
    while (w.len) {
        bool send = lk_str_eq(lk_str_cut(&w, ' '), "send");
        VCHECK(v, lk_str_eq2(send ? m->simulcast_send : m->simulcast_recv, lk_str_cut(&w, ' ')));
    }
    list = json_object_get(want, "candidate");
    VEQ(v, m->candidate_count, json_array_size(list));
    for (i = 0; i < m->candidate_count && !v->bad; i++) {
        lk_str line = m->candidates[i];
        if (!lk_str_starts(str_of(json_array_get(list, i)), "candidate:"))
            (void)lk_str_cut(&line, ':');
        check_str(v, line, json_array_get(list, i));
    }
    VEQ(v, m->sctp_port, lk_vec_u64(want, "sctp-port", 0));
    VEQ(v, m->max_message_size, lk_vec_u64(want, "max-message-size", 0));
}

static void check_session(lk_vec *v, const lk_sdp *s, json_t *want)
{
    json_t *origin = json_object_get(want, "origin"), *list;
    check_str(v, s->name, json_object_get(want, "name"));
    check_str(v, s->origin_user, json_object_get(origin, "user"));
    check_str(v, s->origin_addr, json_object_get(origin, "addr"));
    VCHECK(v, s->origin_id == lk_vec_u64(origin, "id", 0) && s->origin_version == lk_vec_u64(origin, "version", 0));
    check_str(v, s->msid_semantic, json_object_get(want, "msid-semantic"));
    VEQ(v, s->ice_lite, lk_vec_bool(want, "ice-lite", false));
    VEQ(v, s->extmap_allow_mixed, lk_vec_bool(want, "extmap-allow-mixed", false));
    check_transport(v, &s->transport, want);
    lk_str group = str_of(json_array_get(json_object_get(want, "group"), 0));
    VCHECK(v, lk_str_eq(lk_str_cut(&group, ' '), group.len ? "BUNDLE" : "") || !group.len);
    for (size_t i = 0; i < s->bundle_count; i++)
        VCHECK(v, lk_str_eq2(s->bundle[i], lk_str_cut(&group, ' ')));
    VEQ(v, group.len, 0);
    list = json_object_get(want, "media");
    VEQ(v, s->media_count, json_array_size(list));
    for (size_t i = 0; i < s->media_count && !v->bad; i++)
        check_media(v, &s->media[i], json_array_get(list, i));
}

static bool safe(const lk_text *t)
{
    for (size_t i = 0; i < t->len; i++) {
        if ((t->p[i] == '\r') != (i + 1 < t->len && t->p[i + 1] == '\n') || t->p[i] == 0)
            return false;
    }
    return true;
}

static void run_case(lk_vec *v, json_t *c, lk_str text)
{
    lk_arena arena, second;
    lk_arena_init(&arena, v->env, 64u << 20);
    lk_arena_init(&second, v->env, 64u << 20);
    lk_text out, again;
    lk_text_init(&out, v->env, 4u << 20);
    lk_text_init(&again, v->env, 4u << 20);
    lk_sdp sdp, back;
    lk_str expect = lk_vec_str(c, "expect");
    const char *why = NULL;
    lk_err err = lk_sdp_parse(&sdp, &arena, text.p, text.len);
    if (lk_str_eq(expect, "reject"))
        VCHECK(v, err != LK_OK);
    else if (!lk_str_eq(expect, "any"))
        VEQ(v, err, LK_OK);
    if (err == LK_OK) {
        lk_err check = lk_sdp_check(&sdp, &why);
        if (lk_str_eq(expect, "refuse"))
            VCHECK(v, check == LK_ERR_PROTOCOL && why);
        if (lk_str_eq(expect, "ignore") || (lk_str_eq(expect, "accept") && !lk_str_starts(lk_vec_str(c, "name"), "rand")))
            VEQ(v, check, LK_OK);
        if (json_object_get(c, "parsed"))
            check_session(v, &sdp, json_object_get(c, "parsed"));
        lk_err wrote = lk_sdp_write(&sdp, &out);
        VCHECK(v, wrote == LK_OK || !lk_str_eq(expect, "accept"));
        if (wrote == LK_OK) { /* what we write reads back as the same thing */
            VCHECK(v, safe(&out));
            VEQ(v, lk_sdp_parse(&back, &second, out.p, out.len), LK_OK);
            if (!v->bad && json_object_get(c, "parsed"))
                check_session(v, &back, json_object_get(c, "parsed"));
            if (!v->bad)
                VEQ(v, lk_sdp_write(&back, &again), LK_OK);
            VMEM(v, out.p, out.len, again.p, again.len);
        }
    }
    lk_text_deinit(&out);
    lk_text_deinit(&again);
    lk_arena_deinit(&second);
    lk_arena_deinit(&arena);
}

static void run_sdp(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes hex = lk_vec_hex(c, "sdp_hex");
        lk_str text = hex.data ? (lk_str){(const char *)hex.data, hex.len} : lk_vec_str(c, "sdp");
        char *exact = malloc(text.len ? text.len : 1);
        if (!exact)
            abort();
        memcpy(exact, text.p, text.len);
        run_case(v, c, (lk_str){exact, text.len});
        free(exact);
        lk_vec_free(hex);
    }
}
LK_VECTOR("sdp/sdp.json", run_sdp)
