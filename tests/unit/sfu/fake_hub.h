// SPDX-License-Identifier: Apache-2.0
/* Peers without packets, in place of sfu/hub.c: what an engine asks of them is remembered, what they tell is put in by the test.
 * An offer is a list of words: "a:CID" or "v:CID" a section that sends, "ra" "rv" one that receives, "-CID" one that ended,
 * "m=application" on a line of its own the data channels. An answer or offer made here names the mids of downs. */
#pragma once
#ifndef CHECK /* a fuzz entry brings its own */
#include "lk_test.h"
#endif
#include "sfu/peer.h"

#define FAKE_LOG_MAX 64

typedef struct fake_sent {
    lk_peer_channel channel;
    size_t len;
    uint8_t bytes[256];
} fake_sent;

struct lk_hub {
    const lk_env *env;
    lk_list peers;
    lk_queue events;
    uint8_t data[1024]; /* of the event given out last */
    char text[64];
};

struct lk_peer {
    lk_link link;
    lk_hub *hub;
    void *user;
    bool offers, closed, outstanding, dirty, restarted, by_tcp, open[LK_PEER_CHANNELS];
    lk_pc_state state;
    lk_list ups, downs;
    size_t free_sections[3]; /* by kind */
    unsigned mids, wishes;
    const char *takes; /* the only codec; NULL: all */
    fake_sent log[FAKE_LOG_MAX];
    size_t sent;
    lk_peer_quality quality;
};

struct lk_up {
    lk_link link;
    lk_peer *peer;
    void *user;
    char cid[64], mid[12];
    const char *mime; /* NULL: as most are */
    lk_media_kind kind;
    bool live, muted;
    int wanted;
    lk_up_level level;
};

struct lk_down {
    lk_link link;
    lk_peer *peer;
    lk_up *up;
    void *user;
    char stream[64], track[64], mid[12];
    lk_down_settings settings;
    bool bound;
};

typedef struct fake_event {
    lk_hub_event e;
    char text[64];
    uint8_t data[1024];
    size_t len;
} fake_event;

/* False: nobody will hear of it. */
static inline bool fake_tell(lk_hub *h, lk_hub_event e, const char *text, const void *data, size_t len)
{
    fake_event *f = lk_alloc0(h->env, sizeof *f);
    if (!f)
        return false;
    f->e = e;
    f->len = len;
    if (text)
        (void)lk_str_copy(f->text, sizeof f->text, lk_str_of(text));
    if (len)
        memcpy(f->data, data, len);
    if (lk_queue_push(&h->events, &f) == LK_OK)
        return true;
    lk_release(h->env, f, sizeof *f);
    return false;
}

static inline void fake_state(lk_peer *p, lk_pc_state state)
{
    p->state = state;
    fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_STATE, .peer = p, .user = p->user, .state = state}, NULL, NULL, 0);
}

static inline void fake_open(lk_peer *p, lk_peer_channel channel, const char *label)
{
    p->open[channel] = true;
    fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_CHANNEL, .peer = p, .user = p->user, .channel = channel, .active = true}, label, NULL, 0);
}

static inline void fake_data(lk_peer *p, lk_peer_channel channel, const void *data, size_t len)
{
    fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_DATA, .peer = p, .user = p->user, .channel = channel}, "label", data, len);
}

static inline lk_up *fake_up(lk_peer *p, const char *cid)
{
    LK_LIST_EACH(&p->ups, it)
        if (strcmp(LK_CONTAINER(it, lk_up, link)->cid, cid) == 0)
            return LK_CONTAINER(it, lk_up, link);
    return NULL;
}

static inline void fake_live(lk_up *u)
{
    u->live = true;
    fake_tell(u->peer->hub, (lk_hub_event){.kind = LK_HUB_EV_UP_LIVE, .peer = u->peer, .user = u->peer->user, .up = u}, NULL, NULL, 0);
}

static inline void fake_wanted(lk_up *u, int wanted)
{
    u->wanted = wanted;
    fake_tell(u->peer->hub, (lk_hub_event){.kind = LK_HUB_EV_WANTED, .peer = u->peer, .user = u->peer->user, .up = u}, NULL, NULL, 0);
}

/* ---- the hub ---------------------------------------------------------------------------------------------------- */

lk_err lk_hub_new(lk_hub **out, const lk_env *env, const lk_hub_config *config, lk_usec now)
{
    LK_UNUSED(config);
    LK_UNUSED(now);
    lk_hub *h = lk_alloc0(env, sizeof *h);
    if (!h)
        return LK_ERR_NOMEM;
    h->env = env;
    lk_list_init(&h->peers);
    lk_queue_init(&h->events, env, sizeof(fake_event *), 4096);
    *out = h;
    return LK_OK;
}

void lk_hub_set_addresses(lk_hub *h, const lk_addr *udp, size_t udp_count, const lk_addr *tcp, size_t tcp_count)
{
    LK_UNUSED(h);
    LK_UNUSED(udp);
    LK_UNUSED(udp_count);
    LK_UNUSED(tcp);
    LK_UNUSED(tcp_count);
}

void lk_hub_free(lk_hub *h)
{
    fake_event *f;
    if (!h)
        return;
    while (lk_queue_pop(&h->events, &f))
        lk_release(h->env, f, sizeof *f);
    lk_queue_deinit(&h->events);
    CHECK_EQ(h->peers.count, 0);
    lk_release(h->env, h, sizeof *h);
}

bool lk_hub_input(lk_hub *h, lk_usec now, const lk_sfu_packet *packet)
{
    LK_UNUSED(h);
    LK_UNUSED(now);
    LK_UNUSED(packet);
    return false;
}
void lk_hub_flow_closed(lk_hub *h, lk_usec now, const lk_addr *local, const lk_addr *remote)
{
    LK_UNUSED(h);
    LK_UNUSED(now);
    LK_UNUSED(local);
    LK_UNUSED(remote);
}
void lk_hub_tick(lk_hub *h, lk_usec now)
{
    LK_UNUSED(h);
    LK_UNUSED(now);
}
lk_usec lk_hub_deadline(const lk_hub *h)
{
    LK_UNUSED(h);
    return LK_NEVER;
}
size_t lk_hub_poll_tx(lk_hub *h, lk_usec now, lk_sfu_packet *out, size_t cap)
{
    LK_UNUSED(h);
    LK_UNUSED(now);
    LK_UNUSED(out);
    LK_UNUSED(cap);
    return 0;
}
void lk_hub_get_stats(const lk_hub *h, lk_hub_stats *out)
{
    LK_UNUSED(h);
    *out = (lk_hub_stats){.stray = 3};
}

static inline bool fake_known(const lk_hub *h, const lk_hub_event *e)
{
    LK_LIST_EACH(&h->peers, it) {
        lk_peer *p = LK_CONTAINER(it, lk_peer, link);
        if (p != e->peer || p->closed)
            continue;
        if (!e->up && !e->down)
            return true;
        LK_LIST_EACH(&p->ups, at)
            if (LK_CONTAINER(at, lk_up, link) == e->up)
                return true;
        LK_LIST_EACH(&p->downs, at)
            if (LK_CONTAINER(at, lk_down, link) == e->down)
                return true;
    }
    return false;
}

bool lk_hub_poll_event(lk_hub *h, lk_hub_event *out)
{
    fake_event *f;
    while (lk_queue_pop(&h->events, &f)) {
        bool known = fake_known(h, &f->e);
        *out = f->e;
        memcpy(h->data, f->data, sizeof h->data);
        memcpy(h->text, f->text, sizeof h->text);
        out->data = (lk_bytes){h->data, f->len};
        out->text = h->text;
        lk_release(h->env, f, sizeof *f);
        if (known)
            return true;
    }
    return false;
}

/* ---- peers --------------------------------------------------------------------------------------------------------- */

lk_err lk_peer_new(lk_peer **out, lk_hub *h, const lk_peer_config *config, lk_usec now)
{
    LK_UNUSED(now);
    lk_peer *p = lk_alloc0(h->env, sizeof *p);
    if (!p)
        return LK_ERR_NOMEM;
    p->hub = h;
    p->user = config->user;
    p->offers = config->offers;
    lk_list_init(&p->ups);
    lk_list_init(&p->downs);
    lk_list_push(&h->peers, &p->link);
    *out = p;
    return LK_OK;
}

void lk_peer_free(lk_peer *p)
{
    if (!p)
        return;
    LK_LIST_EACH(&p->ups, it) {
        LK_CONTAINER(it, lk_up, link)->peer = NULL;
        lk_list_remove(&p->ups, it);
    }
    LK_LIST_EACH(&p->downs, it) {
        LK_CONTAINER(it, lk_down, link)->peer = NULL;
        lk_list_remove(&p->downs, it);
    }
    lk_list_remove(&p->hub->peers, &p->link);
    lk_release(p->hub->env, p, sizeof *p);
}

void lk_peer_close(lk_peer *p, lk_usec now)
{
    LK_UNUSED(now);
    p->closed = true;
}
void *lk_peer_user(const lk_peer *p) { return p->user; }
lk_pc_state lk_peer_state(const lk_peer *p) { return p->state; }
lk_usec lk_peer_rtt_usec(const lk_peer *p) { return p->quality.rtt_usec; }

lk_err lk_peer_wish_track(lk_peer *p, const lk_peer_wish *wish)
{
    CHECK(*wish->cid);
    p->wishes++;
    return LK_OK;
}

static inline void fake_bind(lk_peer *p)
{
    LK_LIST_EACH(&p->downs, it) {
        lk_down *d = LK_CONTAINER(it, lk_down, link);
        if (d->bound || !d->up || (!p->offers && !p->free_sections[d->up->kind]))
            continue;
        if (!p->offers)
            p->free_sections[d->up->kind]--;
        d->bound = true;
        char n[LK_STR_FMT_MAX];
        (void)lk_str_copy(d->mid, sizeof d->mid, lk_str_of(lk_u64_text(100 + p->mids++, n)));
        fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_DOWN_BOUND, .peer = p, .user = p->user, .down = d}, NULL, NULL, 0);
        fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_DOWN_STATE, .peer = p, .user = p->user, .down = d, .active = true}, NULL, NULL, 0);
    }
    p->dirty = false;
}

static inline void fake_section(lk_peer *p, lk_str word)
{
    bool video = word.p[0] == 'v';
    lk_up *u = lk_alloc0(p->hub->env, sizeof *u);
    if (!u)
        return;
    char n[LK_STR_FMT_MAX];
    u->peer = p;
    u->kind = video ? LK_MEDIA_KIND_VIDEO : LK_MEDIA_KIND_AUDIO;
    u->wanted = -1;
    (void)lk_str_copy(u->cid, sizeof u->cid, (lk_str){word.p + 2, word.len - 2});
    (void)lk_str_copy(u->mid, sizeof u->mid, lk_str_of(lk_u64_text(p->mids++, n)));
    lk_list_push(&p->ups, &u->link);
    if (!fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_UP, .peer = p, .user = p->user, .up = u}, NULL, NULL, 0)) {
        lk_list_remove(&p->ups, &u->link);
        lk_release(p->hub->env, u, sizeof *u);
    }
}

lk_err lk_peer_accept_offer(lk_peer *p, lk_usec now, const char *sdp, size_t len, lk_text *answer, const char **why)
{
    LK_UNUSED(now);
    if (len && sdp[0] == '!') {
        *why = "not a description";
        return LK_ERR_WIRE;
    }
    p->free_sections[1] = p->free_sections[2] = 0;
    for (lk_str rest = {sdp, len}; rest.len;) {
        lk_str word = lk_str_cut(&rest, ' '), line = word;
        (void)lk_str_cut(&line, '\n');
        if (line.len)
            word = line;
        char cid[64] = "";
        if (word.len > 2 && word.p[1] == ':') {
            (void)lk_str_copy(cid, sizeof cid, (lk_str){word.p + 2, word.len - 2});
            if (!fake_up(p, cid))
                fake_section(p, word);
        } else if (lk_str_eq(word, "ra") || lk_str_eq(word, "rv")) {
            p->free_sections[word.p[1] == 'a' ? LK_MEDIA_KIND_AUDIO : LK_MEDIA_KIND_VIDEO]++;
        } else if (word.len > 1 && word.p[0] == '-') {
            (void)lk_str_copy(cid, sizeof cid, (lk_str){word.p + 1, word.len - 1});
            lk_up *u = fake_up(p, cid);
            if (u)
                fake_tell(p->hub, (lk_hub_event){.kind = LK_HUB_EV_UP_ENDED, .peer = p, .user = p->user, .up = u}, NULL, NULL, 0);
        }
    }
    fake_bind(p);
    lk_text_z(answer, "answer");
    return LK_OK;
}

lk_err lk_peer_create_offer(lk_peer *p, lk_usec now, lk_text *offer)
{
    LK_UNUSED(now);
    if (!p->offers || p->outstanding)
        return LK_ERR_STATE;
    p->outstanding = true;
    fake_bind(p);
    lk_text_z(offer, p->restarted ? "restart" : "offer");
    p->restarted = false;
    return LK_OK;
}

lk_err lk_peer_set_answer(lk_peer *p, lk_usec now, const char *sdp, size_t len, const char **why)
{
    LK_UNUSED(now);
    if (len && sdp[0] == '!') {
        *why = "not a description";
        return LK_ERR_WIRE;
    }
    p->outstanding = false;
    return LK_OK;
}
bool lk_peer_offer_outstanding(const lk_peer *p) { return p->outstanding; }
bool lk_peer_needs_negotiation(const lk_peer *p) { return p->dirty; }

size_t lk_peer_sections_missing(const lk_peer *p, lk_media_kind kind)
{
    size_t n = 0;
    LK_LIST_EACH(&p->downs, it) {
        const lk_down *d = LK_CONTAINER(it, lk_down, link);
        n += !p->offers && !d->bound && d->up && d->up->kind == kind;
    }
    return n > p->free_sections[kind] ? n - p->free_sections[kind] : 0;
}

void lk_peer_prefer_tcp(lk_peer *p, bool on) { p->by_tcp = on; }

void lk_peer_restart_ice(lk_peer *p, lk_usec now)
{
    LK_UNUSED(now);
    p->restarted = true;
    p->outstanding = false;
}

bool lk_peer_next_mid(const lk_peer *p, size_t *at, const char **mid, const char **track)
{
    size_t n = 0;
    LK_LIST_EACH(&p->downs, it) {
        lk_down *d = LK_CONTAINER(it, lk_down, link);
        if (d->bound && n++ == *at) {
            *mid = d->mid;
            *track = d->track;
            ++*at;
            return true;
        }
    }
    return false;
}

bool lk_peer_channel_open(const lk_peer *p, lk_peer_channel channel) { return p->open[channel]; }

lk_err lk_peer_send(lk_peer *p, lk_usec now, lk_peer_channel channel, const uint8_t *data, size_t len)
{
    LK_UNUSED(now);
    if (!p->open[channel])
        return LK_ERR_STATE;
    if (p->sent >= FAKE_LOG_MAX || len > sizeof p->log[0].bytes)
        return LK_ERR_FULL;
    fake_sent *s = &p->log[p->sent++];
    s->channel = channel;
    s->len = len;
    memcpy(s->bytes, data, len);
    return LK_OK;
}

void lk_peer_take_quality(lk_peer *p, lk_usec now, lk_peer_quality *out)
{
    LK_UNUSED(now);
    *out = p->quality;
}

/* ---- tracks ----------------------------------------------------------------------------------------------------------- */

void lk_up_free(lk_up *u)
{
    if (!u)
        return;
    if (u->peer) {
        lk_hub *h = u->peer->hub;
        LK_LIST_EACH(&h->peers, it) {
            LK_LIST_EACH(&LK_CONTAINER(it, lk_peer, link)->downs, at) {
                lk_down *d = LK_CONTAINER(at, lk_down, link);
                if (d->up == u)
                    d->up = NULL;
            }
        }
        lk_list_remove(&u->peer->ups, &u->link);
        lk_release(h->env, u, sizeof *u);
    }
}
void lk_up_set_user(lk_up *u, void *user) { u->user = user; }
void *lk_up_user(const lk_up *u) { return u->user; }
lk_peer *lk_up_peer(const lk_up *u) { return u->peer; }
lk_media_kind lk_up_kind(const lk_up *u) { return u->kind; }
const char *lk_up_cid(const lk_up *u) { return u->cid; }
const char *lk_up_mid(const lk_up *u) { return u->mid; }
const char *lk_up_mime(const lk_up *u) { return u->mime ? u->mime : u->kind == LK_MEDIA_KIND_VIDEO ? "video/VP8" : "audio/red"; }
bool lk_up_live(const lk_up *u) { return u->live; }
size_t lk_up_layers(const lk_up *u, lk_up_layer out[LK_UP_LAYERS_MAX])
{
    out[0] = (lk_up_layer){.rid = "q", .ssrc = u->live ? 7 : 0};
    return 1;
}
void lk_up_set_sizes(lk_up *u, const uint16_t (*width_height)[2], size_t count)
{
    LK_UNUSED(u);
    for (size_t i = 1; i < count; i++)
        CHECK(width_height[i][0] >= width_height[i - 1][0]);
}
void lk_up_set_muted(lk_up *u, lk_usec now, bool muted)
{
    LK_UNUSED(now);
    u->muted = muted;
}
void lk_up_take_level(lk_up *u, lk_up_level *out) { *out = u->level; }
int lk_up_wanted(const lk_up *u) { return u->wanted; }

lk_err lk_down_new(lk_down **out, lk_peer *p, lk_up *u, const lk_down_config *config, lk_usec now)
{
    LK_UNUSED(now);
    lk_down *d = lk_alloc0(p->hub->env, sizeof *d);
    if (!d)
        return LK_ERR_NOMEM;
    d->peer = p;
    d->up = u;
    d->user = config->user;
    (void)lk_str_copy(d->stream, sizeof d->stream, lk_str_of(config->stream));
    (void)lk_str_copy(d->track, sizeof d->track, lk_str_of(config->track));
    lk_list_push(&p->downs, &d->link);
    p->dirty = true;
    *out = d;
    return LK_OK;
}
void lk_down_free(lk_down *d)
{
    if (!d || !d->peer)
        return;
    d->peer->dirty = true;
    lk_list_remove(&d->peer->downs, &d->link);
    lk_release(d->peer->hub->env, d, sizeof *d);
}
bool lk_down_takes(const lk_down *d, const char *mime) { return !d->peer->takes || lk_str_ieq(lk_str_of(mime), d->peer->takes); }
lk_err lk_down_move(lk_down *d, lk_up *u, lk_usec now)
{
    LK_UNUSED(now);
    d->up = u;
    return LK_OK;
}
void *lk_down_user(const lk_down *d) { return d->user; }
lk_up *lk_down_up(const lk_down *d) { return d->up; }
lk_peer *lk_down_peer(const lk_down *d) { return d->peer; }
const char *lk_down_mid(const lk_down *d) { return d->mid; }
void lk_down_set(lk_down *d, lk_usec now, const lk_down_settings *settings)
{
    LK_UNUSED(now);
    d->settings = *settings;
}
void lk_down_allow_pause(lk_down *d, bool allow)
{
    LK_UNUSED(d);
    LK_UNUSED(allow);
}
