// SPDX-License-Identifier: Apache-2.0
#include "ice/ice.h"
#include "vectors/lk_vectors.h"

static void check_str(lk_vec *v, lk_str got, json_t *o, const char *key)
{
    lk_str want = lk_vec_str(o, key);
    VMEM(v, got.p, got.len, want.p, want.len);
}

static void check_line(lk_vec *v, const lk_ice_line *got, json_t *want)
{
    check_str(v, got->foundation, want, "foundation");
    VEQ(v, got->component, lk_vec_u64(want, "component", 0));
    VCHECK(v, lk_str_ieq(got->protocol, lk_vec_text(want, "protocol")));
    VEQ(v, got->priority, lk_vec_u64(want, "priority", 0));
    check_str(v, got->address, want, "address");
    VEQ(v, got->port, lk_vec_u64(want, "port", 0));
    check_str(v, got->type, want, "type");
    check_str(v, got->raddr, want, "raddr");
    if (json_object_get(want, "rport"))
        VEQ(v, got->rport, lk_vec_u64(want, "rport", 0));
    check_str(v, got->tcptype, want, "tcptype");
}

static void run_candidates(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_ice_line line;
        lk_ice ice;
        lk_vec_begin(v, c);
        lk_str text = lk_vec_str(c, "line");
        lk_err err = lk_ice_line_parse(&line, text);
        if (lk_vec_is(c, "expect", "accept") && VCHECK(v, err == LK_OK))
            check_line(v, &line, json_object_get(c, "cand"));
        if (lk_vec_is(c, "expect", "reject"))
            VCHECK(v, err != LK_OK);
        /* Whatever it is, the agent takes or refuses it without harm, and never pairs what is to be ignored. */
        lk_ice_init(&ice, v->env, &(lk_ice_config){.controlling = true}, 0);
        (void)!lk_ice_add_remote(&ice, 0, text);
        if (lk_vec_is(c, "expect", "ignore") || lk_vec_is(c, "expect", "reject"))
            VCHECK(v, lk_ice_remote_at(&ice, 0) == NULL);
        lk_ice_deinit(&ice);
    }
}
LK_VECTOR("ice/candidates.json", run_candidates)

static void run_priority(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        if (lk_vec_is(c, "kind", "candidate"))
            VEQ(v, lk_ice_candidate_priority((uint32_t)lk_vec_u64(c, "type_pref", 0), (uint32_t)lk_vec_u64(c, "local_pref", 0),
                                             (uint32_t)lk_vec_u64(c, "component", 0)),
                lk_vec_u64(c, "priority", 0));
        else
            VEQ(v, lk_ice_pair_priority((uint32_t)lk_vec_u64(c, "controlling", 0), (uint32_t)lk_vec_u64(c, "controlled", 0)),
                lk_vec_u64(c, "priority", 0));
    }
}
LK_VECTOR("ice/priority.json", run_priority)
