// SPDX-License-Identifier: Apache-2.0
#include "stun/stun.h"
#include "vectors/lk_vectors.h"

static const char *check_name(lk_stun_check c)
{
    static const char *const names[] = {"absent", "ok", "fail"};
    return names[c];
}

static void check_addr(lk_vec *v, const lk_stun_msg *m, const lk_stun_attr *a, json_t *want)
{
    lk_addr got, ip;
    if (!VCHECK(v, lk_stun_addr(m, a, true, &got)))
        return;
    VEQ(v, got.port, lk_vec_u64(want, "port", 0));
    VCHECK(v, lk_addr_parse_ip(&ip, lk_vec_str(want, "ip")) && lk_addr_ip_eq(&ip, &got));
}

static void check_attr(lk_vec *v, const lk_stun_msg *m, const lk_stun_attr *a, json_t *want)
{
    lk_bytes value = lk_vec_hex(want, "value");
    uint32_t u32;
    uint64_t u64;
    VEQ(v, a->type, lk_vec_u64(want, "type", 0));
    VMEM(v, a->value, a->len, value.data, value.len);
    if (json_object_get(want, "ip"))
        check_addr(v, m, a, want);
    if (json_object_get(want, "u32"))
        VCHECK(v, lk_stun_u32(a, &u32) && u32 == lk_vec_u64(want, "u32", 0));
    if (json_object_get(want, "u64"))
        VCHECK(v, lk_stun_u64(a, &u64) && u64 == lk_vec_u64(want, "u64", 0));
    if (json_object_get(want, "code"))
        VEQ(v, lk_stun_error_code(a), lk_vec_u64(want, "code", 0));
    lk_vec_free(value);
}

/* The message keeps nothing that stands behind its integrity but the fingerprint: what is not kept must stand there. */
static void check_attrs(lk_vec *v, const lk_stun_msg *m, json_t *want)
{
    bool sealed = false;
    size_t kept = 0;
    for (size_t i = 0; i < json_array_size(want) && !v->bad; i++) {
        json_t *w = json_array_get(want, i);
        uint64_t type = lk_vec_u64(w, "type", 0);
        if (kept < m->attr_count && m->attrs[kept].type == type)
            check_attr(v, m, &m->attrs[kept++], w);
        else
            VCHECK(v, sealed);
        sealed = sealed || type == LK_STUN_MESSAGE_INTEGRITY || type == LK_STUN_MESSAGE_INTEGRITY_SHA256;
    }
    VEQ(v, m->attr_count, kept);
}

static void check_verdict(lk_vec *v, lk_stun_check got, json_t *c, const char *key)
{
    const char *want = lk_vec_text(c, key);
    if (!*want || strcmp(want, "any") == 0 || strcmp(want, "n/a") == 0 || strcmp(want, "not-both-ok") == 0)
        return;
    if (strcmp(want, "not-ok") == 0)
        VCHECK(v, got != LK_STUN_CHECK_OK);
    else
        VMEM(v, check_name(got), strlen(check_name(got)), want, strlen(want));
}

static void run_valid(lk_vec *v, json_t *file)
{
    static const char *const classes[] = {"request", "indication", "success", "error"};
    LK_VEC_EACH(file, c) {
        lk_stun_msg m;
        lk_vec_begin(v, c);
        json_t *auth = json_object_get(c, "auth");
        lk_bytes in = lk_vec_hex(c, "hex"), tid = lk_vec_hex(c, "txid"), key = lk_vec_hex(auth ? auth : c, "key");
        lk_bytes key256 = lk_vec_hex(c, "key_sha256");
        bool parsed = lk_stun_parse(&m, in.data, in.len) == LK_OK;
        if (!parsed) { /* one message of an RFC has a wrong length on paper: it must fail, wherever */
            VCHECK(v, lk_vec_is(c, "integrity_sha256", "fail"));
        } else {
            VEQ(v, m.method, lk_vec_u64(c, "method", 0));
            VCHECK(v, lk_vec_is(c, "class", classes[m.cls]));
            VMEM(v, m.tid, sizeof m.tid, tid.data, tid.len);
            check_attrs(v, &m, json_object_get(c, "attrs"));
            check_verdict(v, lk_stun_check_integrity(&m, key.data, key.len), c, "integrity");
            check_verdict(v, lk_stun_check_integrity256(&m, key256.data, key256.len), c, "integrity_sha256");
            check_verdict(v, lk_stun_check_fingerprint(&m), c, "fingerprint");
        }
        lk_vec_free(in);
        lk_vec_free(tid);
        lk_vec_free(key);
        lk_vec_free(key256);
    }
}
LK_VECTOR("stun/stun_valid.json", run_valid)
LK_VECTOR("fixed/stun_rfc.json", run_valid)

static void run_bad(lk_vec *v, json_t *file)
{
    lk_bytes key = lk_vec_hex(file, "key"), control = lk_vec_hex(json_array_get(json_object_get(file, "cases"), 0), "hex");
    LK_VEC_EACH(file, c) {
        lk_stun_msg m;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        /* One random change changed nothing. */
        bool unchanged = in.len == control.len && memcmp(in.data, control.data, in.len) == 0;
        bool parsed = lk_stun_parse(&m, in.data, in.len) == LK_OK;
        if (lk_vec_is(c, "parse", "accept"))
            VCHECK(v, parsed);
        if (lk_vec_is(c, "parse", "reject"))
            VCHECK(v, !parsed);
        lk_stun_check integrity = parsed ? lk_stun_check_integrity(&m, key.data, key.len) : LK_STUN_CHECK_FAIL;
        lk_stun_check fingerprint = parsed ? lk_stun_check_fingerprint(&m) : LK_STUN_CHECK_FAIL;
        if (parsed) {
            check_verdict(v, integrity, c, "integrity");
            check_verdict(v, fingerprint, c, "fingerprint");
        }
        if (unchanged)
            VCHECK(v, integrity == LK_STUN_CHECK_OK && fingerprint == LK_STUN_CHECK_OK);
        else if (lk_vec_is(c, "integrity", "not-both-ok") || lk_vec_is(c, "fingerprint", "not-both-ok"))
            VCHECK(v, integrity != LK_STUN_CHECK_OK || fingerprint != LK_STUN_CHECK_OK);
        lk_vec_free(in);
    }
    lk_vec_free(key);
    lk_vec_free(control);
}
LK_VECTOR("stun/stun_bad.json", run_bad)
