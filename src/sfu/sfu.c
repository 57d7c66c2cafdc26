// SPDX-License-Identifier: Apache-2.0
/* Life, verbs, and what leaves for clients. */
#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"
#include "sfu/sfu_internal.h"

void lk_sfu_arm(lk_sfu *s, lk_usec at)
{
    if (at < s->due)
        s->due = at;
}

int64_t lk_sfu_unix_usec(const lk_sfu *s) { return s->config.unix_usec + (s->now - s->started); }

void lk_sfu_sid(lk_sfu *s, char out[SFU_SID_MAX], const char *prefix)
{
    static const char letters[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    size_t n = strlen(prefix);
    memcpy(out, prefix, n);
    for (size_t i = 0; i < 12; i++)
        out[n + i] = letters[lk_rand_below(s->env, sizeof letters - 1)];
    out[n + 12] = 0;
}

void lk_sfu_text_free(const lk_env *env, char **slot)
{
    if (*slot)
        lk_release(env, *slot, strlen(*slot) + 1);
    *slot = NULL;
}

lk_err lk_sfu_text(const lk_env *env, char **slot, const char *z)
{
    size_t n = z ? strlen(z) : 0;
    char *copy = lk_alloc(env, n + 1);
    if (!copy)
        return LK_ERR_NOMEM;
    if (n)
        memcpy(copy, z, n);
    copy[n] = 0;
    lk_sfu_text_free(env, slot);
    *slot = copy;
    return LK_OK;
}

void lk_sfu_bucket_init(lk_sfu *s, lk_sfu_bucket *b, uint32_t rate) { *b = (lk_sfu_bucket){.rate = rate, .level = (double)rate * 10, .at = s->now}; }

bool lk_sfu_spend(lk_sfu *s, lk_sfu_bucket *b)
{
    double most = (double)b->rate * 10;
    b->level += (double)(s->now - b->at) / 1e6 * (double)b->rate;
    if (b->level > most)
        b->level = most;
    b->at = s->now;
    if (b->level < 1)
        return false;
    b->level -= 1;
    return true;
}

/* ---- messages out -------------------------------------------------------------------------------------------- */

static lk_sfu_buf *buf_new(lk_sfu *s, size_t len)
{
    lk_sfu_buf *b = lk_alloc(s->env, sizeof *b + len);
    if (b) {
        b->refs = 1;
        b->len = len;
    }
    return b;
}

void lk_sfu_buf_drop(lk_sfu *s, lk_sfu_buf *b)
{
    if (b && --b->refs == 0)
        lk_release(s->env, b, sizeof *b + b->len);
}

lk_sfu_buf *lk_sfu_buf_of(lk_sfu *s, lk_bytes bytes)
{
    lk_sfu_buf *b = buf_new(s, bytes.len);
    if (b && bytes.len)
        memcpy(b->bytes, bytes.data, bytes.len);
    return b;
}

lk_sfu_buf *lk_sfu_pack(lk_sfu *s, const ProtobufCMessage *m)
{
    lk_sfu_buf *b = buf_new(s, lk_pbuf_size(m));
    if (b) {
        lk_wr w = lk_wr_of(b->bytes, b->len);
        lk_pbuf_pack_into(m, &w);
        if (w.bad || w.len != b->len) {
            lk_sfu_buf_drop(s, b);
            return NULL;
        }
    }
    return b;
}

void lk_sfu_push(lk_sfu *s, const lk_sfu_out *e)
{
    if (lk_queue_push(&s->events, e) != LK_OK)
        lk_sfu_buf_drop(s, e->buf);
}

void lk_sfu_break(lk_sfu_person *p, uint16_t code)
{
    if (!p->broken)
        p->broken = code;
    p->sfu->sweep = true;
}

void lk_sfu_send_buf(lk_sfu_person *p, lk_sfu_buf *b)
{
    lk_sfu *s = p->sfu;
    if (!p->conn)
        return;
    lk_sfu_out e = {.kind = LK_SFU_EV_SIGNAL_SEND, .conn = p->conn, .json = p->json, .buf = b};
    if (!b || p->conn_bytes + b->len > SFU_CONN_BYTES_MAX || lk_queue_push(&s->events, &e) != LK_OK) {
        lk_sfu_break(p, 1011);
        return;
    }
    b->refs++;
    p->conn_bytes += b->len;
    s->stats.signal_out++;
}

void lk_sfu_send(lk_sfu_person *p, const Livekit__SignalResponse *m)
{
    if (!p->conn)
        return;
    lk_sfu_buf *b = lk_sfu_pack(p->sfu, &m->base);
    lk_sfu_send_buf(p, b);
    lk_sfu_buf_drop(p->sfu, b);
}

void lk_sfu_send_made(lk_sfu_person *p, const Livekit__SignalResponse *m, bool whole)
{
    if (whole)
        lk_sfu_send(p, m);
    else
        lk_sfu_break(p, 1011);
    lk_arena_reset(&p->sfu->out);
}

void lk_sfu_close_conn(lk_sfu_person *p, uint16_t code)
{
    lk_sfu *s = p->sfu;
    if (!p->conn)
        return;
    lk_sfu_push(s, &(lk_sfu_out){.kind = LK_SFU_EV_SIGNAL_CLOSE, .conn = p->conn, .close_code = code});
    (void)lk_map_take(&s->conns, p->conn);
    p->conn = 0;
    p->conn_bytes = 0;
    p->conn_lost_at = s->now;
}

/* ---- verbs ------------------------------------------------------------------------------------------------------ */

static void spent_drop(lk_sfu *s)
{
    lk_sfu_buf *b;
    while (lk_queue_pop(&s->spent, &b))
        lk_sfu_buf_drop(s, b);
}

/* Those who could not be told what they must know, or who broke the rules. */
static void sweep(lk_sfu *s)
{
    while (s->sweep) {
        s->sweep = false;
        LK_LIST_EACH(&s->rooms, at) {
            lk_sfu_room *r = LK_CONTAINER(at, lk_sfu_room, link);
            LK_LIST_EACH(&r->people, it) {
                lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
                if (p->broken) {
                    lk_sfu_close_conn(p, (uint16_t)p->broken);
                    lk_sfu_person_remove(p, LIVEKIT__DISCONNECT_REASON__SIGNAL_CLOSE, -1);
                }
            }
        }
    }
}

void lk_sfu_begin(lk_sfu *s, lk_usec now)
{
    LK_ASSERT(s->env, now >= s->now);
    s->now = now;
    spent_drop(s);
}

void lk_sfu_end(lk_sfu *s)
{
    lk_sfu_pump(s);
    sweep(s);
}

static lk_err copy_texts(lk_sfu *s, const lk_sfu_config *from)
{
    static const char nothing[] = "";
    const char **slots[] = {&s->config.key, &s->config.secret, &s->config.node_id, &s->config.region, &s->config.turn_password};
    const char *texts[] = {from->key, from->secret, from->node_id ? from->node_id : s->node_id, from->region, from->turn_password};
    for (size_t i = 0; i < LK_LEN(slots); i++)
        *slots[i] = NULL;
    for (size_t i = 0; i < LK_LEN(slots); i++) {
        char *copy = NULL;
        if (lk_sfu_text(s->env, &copy, texts[i] ? texts[i] : nothing) != LK_OK)
            return LK_ERR_NOMEM;
        *slots[i] = copy;
    }
    return LK_OK;
}

static void free_texts(lk_sfu *s)
{
    const char *texts[] = {s->config.key, s->config.secret, s->config.node_id, s->config.region, s->config.turn_password};
    for (size_t i = 0; i < LK_LEN(texts); i++)
        if (texts[i])
            lk_release(s->env, (void *)(uintptr_t)texts[i], strlen(texts[i]) + 1);
}

static void or_default(uint32_t *value, uint32_t fallback)
{
    if (!*value)
        *value = fallback;
}

lk_err lk_sfu_new(lk_sfu **out, const lk_env *env, const lk_sfu_config *config, lk_usec now)
{
    if (!config->dtls || config->udp_count > LK_SFU_ADDRESSES_MAX || config->tcp_count > LK_SFU_ADDRESSES_MAX || !config->loop)
        return LK_ERR_INVALID;
    lk_sfu *s = lk_alloc0(env, sizeof *s);
    if (!s)
        return LK_ERR_NOMEM;
    s->env = env;
    s->now = s->started = now;
    s->due = s->speakers_due = s->quality_due = LK_NEVER;
    s->config = *config;
    lk_sfu_limits *l = &s->config.limits;
    or_default(&l->rooms, 4096);
    or_default(&l->participants, 4096);
    or_default(&l->tracks, 64);
    or_default(&l->signal_message_bytes, 2u << 20);
    or_default(&l->signal_messages_per_sec, 100);
    or_default(&l->joins_per_sec, 200);
    or_default(&l->metadata_bytes, 512u << 10);
    or_default(&l->attributes_bytes, 64u << 10);
    or_default(&l->offers_per_sec, 5);
    or_default(&l->updates_per_sec, 5);
    or_default(&s->config.empty_timeout_sec, 300);
    or_default(&s->config.departure_timeout_sec, 20);
    s->totals = config->totals ? config->totals : &s->alone;
    lk_list_init(&s->rooms);
    lk_list_init(&s->dying);
    lk_list_init(&s->calls);
    lk_map_init(&s->conns, env, (size_t)l->rooms * l->participants + 1); /* one more while it takes another's place */
    lk_queue_init(&s->events, env, sizeof(lk_sfu_out), 1u << 20);
    lk_queue_init(&s->spent, env, sizeof(lk_sfu_buf *), 1u << 20);
    lk_arena_init(&s->in, env, (size_t)32 << 20);
    lk_arena_init(&s->out, env, (size_t)32 << 20);
    lk_sfu_sid(s, s->node_id, "ND_");
    lk_err err = copy_texts(s, config);
    if (err == LK_OK)
        err = lk_hub_new(&s->hub, env,
                         &(lk_hub_config){.dtls = config->dtls, .udp = s->config.udp, .tcp = s->config.tcp, .udp_count = config->udp_count,
                                          .tcp_count = config->tcp_count, .unix_usec = config->unix_usec, .loop = config->loop},
                         now);
    if (err != LK_OK) {
        lk_sfu_free(s);
        return err;
    }
    s->key = (lk_token_key){s->config.key, s->config.secret};
    *out = s;
    return LK_OK;
}

void lk_sfu_set_addresses(lk_sfu *s, const lk_addr *udp, size_t udp_count, const lk_addr *tcp, size_t tcp_count)
{
    lk_hub_set_addresses(s->hub, udp, udp_count, tcp, tcp_count);
}

static void free_dying(lk_sfu *s)
{
    lk_link *at;
    while ((at = lk_list_pop(&s->dying))) {
        lk_sfu_grave *g = LK_CONTAINER(at, lk_sfu_grave, link);
        lk_peer_free(g->peer);
        lk_release(s->env, g, sizeof *g);
    }
}

void lk_sfu_free(lk_sfu *s)
{
    if (!s)
        return;
    lk_link *at;
    while ((at = lk_list_first(&s->rooms)))
        lk_sfu_room_free(LK_CONTAINER(at, lk_sfu_room, link));
    free_dying(s);
    lk_hub_free(s->hub);
    spent_drop(s);
    lk_sfu_out e;
    while (lk_queue_pop(&s->events, &e))
        lk_sfu_buf_drop(s, e.buf);
    while ((at = lk_list_pop(&s->calls)))
        lk_release(s->env, LK_CONTAINER(at, lk_sfu_call, link), sizeof(lk_sfu_call));
    lk_queue_deinit(&s->events);
    lk_queue_deinit(&s->spent);
    lk_map_deinit(&s->conns);
    lk_arena_deinit(&s->in);
    lk_arena_deinit(&s->out);
    free_texts(s);
    lk_release(s->env, s, sizeof *s);
}

/* ---- JSON: the same messages by the descriptors that know names ---------------------------------------------------- */

static lk_err from_json(lk_sfu *s, lk_bytes *message)
{
    ProtobufCMessage *named;
    lk_err err = lk_pbuf_from_json(&named__signal_request__descriptor, &s->in, (lk_str){(const char *)message->data, message->len}, &named);
    return err == LK_OK ? lk_pbuf_pack(named, &s->in, message) : err;
}

/* What is queued is shared by all it goes to, and mostly binary: made only when it is taken. NULL: no memory. */
static lk_sfu_buf *to_json(lk_sfu *s, const lk_sfu_buf *b)
{
    ProtobufCMessage *named;
    lk_sfu_buf *made = NULL;
    lk_text t;
    lk_text_init(&t, s->env, SFU_JSON_BYTES_MAX);
    if (lk_pbuf_unpack_raw(&named__signal_response__descriptor, &s->out, (lk_bytes){b->bytes, b->len}, &named) == LK_OK)
        lk_pbuf_to_json_brief(&t, named);
    if (!t.bad && t.len)
        made = lk_sfu_buf_of(s, (lk_bytes){(const uint8_t *)t.p, t.len});
    lk_text_deinit(&t);
    lk_arena_reset(&s->out);
    return made;
}

void lk_sfu_signal(lk_sfu *s, lk_usec now, uint32_t conn, bool binary, lk_bytes message)
{
    lk_sfu_begin(s, now);
    lk_sfu_person *p = conn ? lk_map_get(&s->conns, conn) : NULL;
    if (!p || p->broken) {
        lk_sfu_end(s);
        return;
    }
    s->stats.signal_in++;
    ProtobufCMessage *m = NULL;
    p->json = !binary;
    if (message.len > s->config.limits.signal_message_bytes)
        lk_sfu_break(p, 1009);
    else if (!lk_sfu_spend(s, &p->messages))
        lk_sfu_break(p, 1008);
    else if ((!binary && from_json(s, &message) != LK_OK) || lk_pbuf_unpack(&livekit__signal_request__descriptor, &s->in, message, &m) != LK_OK)
        s->stats.signal_garbage++;
    else
        lk_sfu_request(p, (const Livekit__SignalRequest *)m);
    lk_arena_reset(&s->in);
    lk_sfu_end(s);
}

void lk_sfu_signal_closed(lk_sfu *s, lk_usec now, uint32_t conn)
{
    lk_sfu_begin(s, now);
    lk_sfu_person *p = conn ? lk_map_take(&s->conns, conn) : NULL;
    if (p) {
        p->conn = 0;
        p->conn_bytes = 0;
        p->conn_lost_at = now;
        if (!p->ever_connected) {
            lk_sfu_person_remove(p, LIVEKIT__DISCONNECT_REASON__SIGNAL_CLOSE, -1);
        } else if (p->gone_due == LK_NEVER) {
            p->gone_due = now + SFU_RESUME_USEC;
            p->gone_reason = LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT;
            lk_sfu_arm(s, p->gone_due);
        }
    }
    lk_sfu_end(s);
}

void lk_sfu_stop(lk_sfu *s, lk_usec now)
{
    lk_sfu_begin(s, now);
    s->stopped = true;
    lk_link *at;
    while ((at = lk_list_first(&s->rooms)))
        lk_sfu_room_close(LK_CONTAINER(at, lk_sfu_room, link), LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN);
    lk_sfu_end(s);
}

void lk_sfu_input(lk_sfu *s, lk_usec now, const lk_sfu_packet *packet)
{
    lk_sfu_begin(s, now);
    (void)lk_hub_input(s->hub, now, packet);
    lk_sfu_end(s);
}

void lk_sfu_flow_closed(lk_sfu *s, lk_usec now, const lk_addr *local, const lk_addr *remote)
{
    lk_sfu_begin(s, now);
    lk_hub_flow_closed(s->hub, now, local, remote);
    lk_sfu_end(s);
}

size_t lk_sfu_poll_tx(lk_sfu *s, lk_usec now, lk_sfu_packet *out, size_t cap)
{
    size_t n = lk_hub_poll_tx(s->hub, now, out, cap);
    if (n == 0)
        free_dying(s);
    return n;
}

void lk_sfu_tick(lk_sfu *s, lk_usec now)
{
    lk_sfu_begin(s, now);
    if (lk_hub_deadline(s->hub) <= now)
        lk_hub_tick(s->hub, now);
    if (s->due <= now) {
        s->due = LK_NEVER;
        lk_sfu_watch_tick(s);
        lk_sfu_calls_tick(s);
        LK_LIST_EACH(&s->rooms, at) {
            lk_sfu_room *r = LK_CONTAINER(at, lk_sfu_room, link);
            LK_LIST_EACH(&r->people, it)
                lk_sfu_person_tick(LK_CONTAINER(it, lk_sfu_person, link));
            lk_sfu_room_tick(r);
        }
    }
    lk_sfu_end(s);
}

lk_usec lk_sfu_deadline(const lk_sfu *s)
{
    lk_usec hub = lk_hub_deadline(s->hub);
    return LK_MIN(hub, s->due);
}

static void taken(lk_sfu *s, const lk_sfu_out *e, const lk_sfu_buf *told)
{
    lk_sfu_person *p = e->conn ? lk_map_get(&s->conns, e->conn) : NULL;
    if (p && e->buf)
        p->conn_bytes -= LK_MIN(p->conn_bytes, e->buf->len);
    if (p && e->buf && !told) { /* it would miss this one */
        lk_sfu_break(p, 1011);
        lk_sfu_arm(s, s->now);
    }
    if (e->json)
        lk_sfu_buf_drop(s, e->buf);
}

bool lk_sfu_poll_event(lk_sfu *s, lk_sfu_event *out)
{
    lk_sfu_out *first, e;
    while ((first = lk_queue_peek(&s->events, 0))) {
        lk_sfu_buf *told = first->json ? to_json(s, first->buf) : first->buf;
        /* what is given out stays until the next verb */
        if (told && lk_queue_push(&s->spent, &told) != LK_OK) {
            lk_sfu_buf_drop(s, first->json ? told : NULL);
            return false;
        }
        (void)lk_queue_pop(&s->events, &e);
        taken(s, &e, told);
        if (e.buf && !told)
            continue;
        *out = (lk_sfu_event){.kind = e.kind, .conn = e.conn, .json = e.json, .close_code = e.close_code, .tag = e.tag, .twirp = e.twirp, .text = ""};
        if (told && e.twirp)
            out->text = (const char *)told->bytes;
        else if (told)
            out->bytes = (lk_bytes){told->bytes, told->len};
        return true;
    }
    return false;
}

void lk_sfu_get_stats(const lk_sfu *s, lk_sfu_stats *out)
{
    lk_hub_stats hub;
    lk_hub_get_stats(s->hub, &hub);
    *out = s->stats;
    out->packets_in = hub.packets_in;
    out->packets_out = hub.packets_out;
    out->bytes_in = hub.bytes_in;
    out->bytes_out = hub.bytes_out;
    out->packets_stray = hub.stray;
    out->rooms = (uint32_t)s->rooms.count;
    out->connections = (uint32_t)s->conns.count;
    out->participants = out->tracks_published = out->tracks_subscribed = 0;
    LK_LIST_EACH(&s->rooms, at) {
        lk_sfu_room *r = LK_CONTAINER(at, lk_sfu_room, link);
        out->participants += (uint32_t)r->people.count;
        LK_LIST_EACH(&r->people, it) {
            lk_sfu_person *p = LK_CONTAINER(it, lk_sfu_person, link);
            out->tracks_published += (uint32_t)p->tracks.count;
            LK_LIST_EACH(&p->subs, sub)
                out->tracks_subscribed += LK_CONTAINER(sub, lk_sfu_sub, of_person)->down != NULL;
        }
    }
}
