// SPDX-License-Identifier: Apache-2.0
#include "dcep/dcep.h"
#include "sctp/sctp.h"
#include "sctp/sctp_wire.h"
#include "vectors/lk_vectors.h"

/* ---- a captured association: what our readers see, and what our writers make of it ---- */
static void check_init(lk_vec *v, const lk_sctp_chunk *c, json_t *want)
{
    lk_sctp_init i;
    if (!VEQ(v, lk_sctp_init_parse(&i, c), LK_OK))
        return;
    VEQ(v, i.tag, lk_vec_u64(want, "init_tag", 0));
    VEQ(v, i.rwnd_bytes, lk_vec_u64(want, "a_rwnd", 0));
    VEQ(v, i.tsn, lk_vec_u64(want, "initial_tsn", 0));
    VEQ(v, i.streams_in, lk_vec_u64(want, "in_streams", 0));
    VEQ(v, i.streams_out, lk_vec_u64(want, "out_streams", 0));
    VCHECK(v, i.forward_tsn && i.reconfig && !i.zero_checksum); /* 32776 lists both */
    VEQ(v, i.cookie.len != 0, c->type == SCTP_INIT_ACK);
}

static void check_chunk(lk_vec *v, const lk_sctp_chunk *c, json_t *want, lk_wr *again)
{
    VEQ(v, c->type, lk_vec_u64(want, "type", 256));
    VEQ(v, c->flags, lk_vec_u64(want, "flags", 256));
    VEQ(v, c->len + SCTP_CHUNK_HEAD, lk_vec_u64(want, "len", 0));
    if (c->type == SCTP_INIT || c->type == SCTP_INIT_ACK)
        check_init(v, c, want);
    if (c->type == SCTP_SACK) {
        lk_sctp_sack s;
        VEQ(v, lk_sctp_sack_parse(&s, c), LK_OK);
        VEQ(v, s.cumulative, lk_vec_u64(want, "cum_tsn", 0));
        VEQ(v, s.rwnd_bytes, lk_vec_u64(want, "a_rwnd", 0));
        VEQ(v, s.gap_count, lk_vec_u64(want, "gaps", 0));
        VEQ(v, s.duplicate_count, lk_vec_u64(want, "dups", 0));
    }
    size_t at = lk_sctp_chunk_begin(again, c->type, c->flags);
    lk_wr_put(again, c->value, c->len);
    lk_sctp_chunk_end(again, at);
}

static void run_capture(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_sctp_packet p;
        lk_sctp_chunk k;
        uint8_t bytes[2048];
        lk_wr again = lk_wr_of(bytes, sizeof bytes);
        size_t n = 0;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        json_t *want = json_object_get(c, "chunks");
        if (VEQ(v, lk_sctp_packet_parse(&p, in.data, in.len, false), LK_OK)) {
            VEQ(v, p.source, lk_vec_u64(c, "sport", 0));
            VEQ(v, p.destination, lk_vec_u64(c, "dport", 0));
            VEQ(v, p.tag, lk_vec_u64(c, "vtag", 1));
            lk_sctp_packet_begin(&again, p.source, p.destination, p.tag);
            while (lk_sctp_chunk_next(&p.chunks, &k))
                check_chunk(v, &k, json_array_get(want, n++), &again);
            VCHECK(v, !p.chunks.bad);
            VEQ(v, n, json_array_size(want));
            lk_sctp_packet_seal(&again);
            again.len = LK_MIN(again.len, in.len); /* an unpadded last chunk is padded by us */
            if (in.len % 4 == 0)
                VMEM(v, bytes, again.len, in.data, in.len);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("sctp/sctp_capture.json", run_capture)

/* ---- hostile packets ---- */
typedef struct pair {
    lk_sctp *s[2];
    uint32_t tag[2]; /* the one its peer has to use */
    lk_usec now;
    size_t messages;
    bool closed;
} pair;

static void carry(pair *p)
{
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 2; i++) {
            lk_bytes b;
            lk_sctp_event e;
            while (lk_sctp_poll_tx(p->s[i], p->now, &b)) {
                if (lk_get_u32(b.data + 4))
                    p->tag[!i] = lk_get_u32(b.data + 4);
                lk_sctp_input(p->s[!i], p->now, b.data, b.len);
            }
            while (lk_sctp_poll_event(p->s[i], &e)) {
                p->messages += e.type == LK_SCTP_EV_MESSAGE && e.message.len == 3000;
                p->closed |= e.type == LK_SCTP_EV_CLOSED;
            }
        }
    }
}

static bool open_pair(lk_vec *v, pair *p)
{
    *p = (pair){.now = LK_SEC(1)};
    for (int i = 0; i < 2; i++)
        if (!VEQ(v, lk_sctp_new(&p->s[i], v->env, NULL, p->now), LK_OK))
            return false;
    VEQ(v, lk_sctp_connect(p->s[0], p->now), LK_OK);
    carry(p);
    return VEQ(v, lk_sctp_state_of(p->s[1]), LK_SCTP_STATE_CONNECTED);
}

static void talk(pair *p)
{
    static const uint8_t zero[3000];
    for (int i = 0; i < 2; i++)
        (void)!lk_sctp_send(p->s[i], p->now, &(lk_sctp_message){.data = zero, .len = sizeof zero, .ppid = 53});
    for (int i = 0; i < 20; i++) {
        carry(p);
        p->now += LK_MSEC(100);
        lk_sctp_tick(p->s[0], p->now);
        lk_sctp_tick(p->s[1], p->now);
    }
}

static void close_pair(pair *p)
{
    lk_sctp_free(p->s[0]);
    lk_sctp_free(p->s[1]);
}

/* As it is: the association lives, works, and a listening one still answers. */
static void as_it_is(lk_vec *v, lk_bytes in)
{
    pair p;
    lk_sctp *fresh = NULL;
    if (open_pair(v, &p)) {
        for (int i = 0; i < 2; i++)
            lk_sctp_input(p.s[i], p.now, in.data, in.len);
        talk(&p);
        VCHECK(v, !p.closed);
        VEQ(v, p.messages, 2);
    }
    close_pair(&p);
    if (!VEQ(v, lk_sctp_new(&fresh, v->env, NULL, LK_SEC(1)), LK_OK))
        return;
    lk_bytes out;
    lk_sctp_input(fresh, LK_SEC(1), in.data, in.len);
    while (lk_sctp_poll_tx(fresh, LK_SEC(1), &out))
        VCHECK(v, out.len >= SCTP_HEADER_LEN);
    VEQ(v, lk_sctp_state_of(fresh), LK_SCTP_STATE_NEW);
    VEQ(v, lk_sctp_deadline(fresh), LK_NEVER);
    lk_sctp_free(fresh);
}

/* With tag and checksum put right: whatever it does to the peer's own association, it ends in order. */
static void with_right_tag(lk_vec *v, lk_bytes in)
{
    pair p;
    uint8_t bytes[4096];
    if (in.len < SCTP_HEADER_LEN || in.len > sizeof bytes)
        return;
    for (int known_tsn = 0; known_tsn < 2; known_tsn++) {
        if (open_pair(v, &p)) {
            lk_wr w = lk_wr_of(bytes, sizeof bytes);
            lk_sctp_packet_begin(&w, LK_SCTP_PORT, LK_SCTP_PORT, p.tag[1]);
            lk_wr_put(&w, in.data + SCTP_HEADER_LEN, in.len - SCTP_HEADER_LEN);
            lk_sctp_packet_seal(&w);
            lk_sctp_input(p.s[1], p.now, bytes, w.len);
            if (known_tsn)
                lk_sctp_input(p.s[1], p.now, bytes, w.len);
            talk(&p);
            lk_sctp_shutdown(p.s[1], p.now);
            talk(&p);
        }
        close_pair(&p);
    }
}

static void run_bad(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        as_it_is(v, in);
        with_right_tag(v, in);
        lk_vec_free(in);
    }
}
LK_VECTOR("sctp/sctp_bad.json", run_bad)

/* ---- DCEP ---- */
static void check_open(lk_vec *v, json_t *c, const lk_dcep *m)
{
    VEQ(v, m->unordered, !lk_vec_bool(c, "ordered", false));
    VEQ(v, m->limit_retransmits, lk_vec_is(c, "kind", "rexmit"));
    VEQ(v, m->limit_lifetime, lk_vec_is(c, "kind", "timed"));
    VEQ(v, m->priority, lk_vec_u64(c, "priority", 0));
    VEQ(v, m->reliability, lk_vec_u64(c, "reliability", 0));
    VCHECK(v, lk_str_eq2(m->label, lk_vec_str(c, "label")));
    VCHECK(v, lk_str_eq2(m->protocol, lk_vec_str(c, "protocol")));
}

static void run_dcep(lk_vec *v, json_t *file)
{
    LK_VEC_EACH(file, c) {
        lk_dcep m;
        lk_vec_begin(v, c);
        lk_bytes in = lk_vec_hex(c, "hex");
        lk_err err = lk_dcep_parse(&m, in.data, in.len);
        if (lk_vec_is(c, "expect", "reject"))
            VEQ(v, err, LK_ERR_WIRE);
        if (lk_vec_is(c, "expect", "accept") && VEQ(v, err, LK_OK)) {
            uint8_t again[512];
            size_t len = 0;
            VEQ(v, m.type, lk_vec_is(c, "msg", "OPEN") ? LK_DCEP_OPEN : LK_DCEP_ACK);
            if (m.type == LK_DCEP_OPEN)
                check_open(v, c, &m);
            VEQ(v, lk_dcep_write(&m, again, sizeof again, &len), LK_OK);
            VMEM(v, again, len, in.data, in.len);
        }
        lk_vec_free(in);
    }
}
LK_VECTOR("sctp/dcep.json", run_dcep)
