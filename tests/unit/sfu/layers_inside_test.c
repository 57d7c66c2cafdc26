// SPDX-License-Identifier: Apache-2.0
/* A VP9 stream of three spatial and two temporal layers (L3T2_KEY) through the hub, told apart by the VP9 descriptor alone or by
 * the dependency descriptor beside it. */
#include "hub_world.h"
#include "rtp/dependency.h"
#include "sfu/hub_internal.h"

#define DD_ID 12
#define DD_URI "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
#define LAYERS 3

static world town;

/* ---- the publisher's pictures ---- */

typedef struct show {
    bool dd;
    unsigned layers; /* sent of the three */
    uint32_t ssrc, ts;
    uint16_t seq, picture, frame;
    unsigned since_key, number;
    unsigned lose_sid, lose_from, lose_to; /* pictures whose packets of that layer come late */
    uint8_t held[64][1500];
    size_t held_len[64], held_count;
} show;

static void put_bits(uint8_t *to, size_t *at, uint32_t v, unsigned count)
{
    for (; count; count--, (*at)++)
        to[*at / 8] = (uint8_t)(to[*at / 8] | (v >> (count - 1) & 1u) << (7 - *at % 8));
}

enum { KEY, T0, T1, KINDS }; /* templates of each spatial layer */

static void put_structure(uint8_t *to, size_t *at)
{
    put_bits(to, at, 0, 6);
    put_bits(to, at, 2 * LAYERS - 1, 5);
    for (unsigned i = 0; i < LAYERS * KINDS; i++)
        put_bits(to, at, i + 1 == LAYERS * KINDS ? 3 : (uint32_t)(i % KINDS), 2); /* same, next temporal, next spatial; end */
    for (unsigned i = 0; i < LAYERS * KINDS; i++)
        for (unsigned t = 0; t < 2 * LAYERS; t++) {
            unsigned sid = i / KINDS, tid = i % KINDS == T1;
            bool in = tid <= t % 2 && (sid == t / 2 || (i % KINDS == KEY && sid < t / 2));
            put_bits(to, at, in ? 2 : 0, 2);
        }
    for (unsigned i = 0; i < LAYERS * KINDS; i++) {
        unsigned back = i % KINDS == T0 ? 2 * LAYERS : i % KINDS == T1 ? LAYERS : i / KINDS ? 1 : 0;
        put_bits(to, at, back > 0, 1);
        if (back) {
            put_bits(to, at, back - 1, 4);
            put_bits(to, at, 0, 1);
        }
    }
    put_bits(to, at, 0, 2); /* no chains */
    put_bits(to, at, 1, 1);
    for (unsigned i = 0; i < LAYERS; i++) {
        put_bits(to, at, (160u << i) - 1, 16);
        put_bits(to, at, (90u << i) - 1, 16);
    }
}

static size_t put_descriptor(uint8_t *to, const show *s, unsigned sid, bool first, bool last)
{
    size_t at = 0;
    unsigned kind = s->since_key == 0 ? KEY : s->since_key % 2 ? T1 : T0;
    memset(to, 0, 64);
    put_bits(to, &at, first, 1);
    put_bits(to, &at, last, 1);
    put_bits(to, &at, sid * KINDS + kind, 6);
    put_bits(to, &at, (uint16_t)(s->frame + sid), 16);
    if (kind == KEY && sid == 0 && first) {
        put_bits(to, &at, 0x10, 5);
        put_structure(to, &at);
    }
    return (at + 7) / 8;
}

static size_t put_packet(uint8_t *packet, size_t cap, show *s, unsigned sid, bool first, bool last, bool marker)
{
    uint8_t dd[64], payload[200] = {0};
    size_t dd_len = put_descriptor(dd, s, sid, first, last);
    bool key = s->since_key == 0, t1 = s->since_key % 2 != 0;
    lk_wr w = lk_wr_of(packet, cap);
    lk_rtp_write_header(&w, 96, marker, s->seq++, s->ts, s->ssrc, NULL, 0);
    if (s->dd) {
        packet[0] |= 0x10;
        lk_wr_u16(&w, LK_RTP_PROFILE_TWO_BYTE);
        lk_wr_u16(&w, (uint16_t)((dd_len + 2 + 3) / 4));
        lk_wr_u8(&w, DD_ID);
        lk_wr_u8(&w, (uint8_t)dd_len);
        lk_wr_put(&w, dd, dd_len);
        lk_wr_zero(&w, (4 - (dd_len + 2) % 4) % 4);
    }
    bool structure = key && sid == 0 && first;
    const uint8_t head[] = {(uint8_t)(0xa0 | (key ? 0 : 0x40) | (first ? 8 : 0) | (last ? 4 : 0) | (structure ? 2 : 0)),
                            (uint8_t)(0x80 | s->picture >> 8), (uint8_t)s->picture, (uint8_t)((t1 ? 0x30 : 0) | sid << 1 | (key && sid)), 0,
                            (uint8_t)(structure ? (LAYERS - 1) << 5 : 0)};
    memcpy(payload, head, sizeof head);
    lk_put_u16(payload + 7, (uint16_t)s->number);
    payload[9] = (uint8_t)sid;
    payload[10] = t1;
    lk_wr_put(&w, payload, 40u << sid > sizeof payload ? sizeof payload : 40u << sid);
    return w.bad ? 0 : w.len;
}

/* One picture, the largest layer in two packets. */
static void show_picture(world *w, show *s, bool key)
{
    lk_pc *pc = w->client[0].pc;
    s->since_key = key ? 0 : s->since_key + 1;
    for (unsigned sid = 0; sid < s->layers; sid++)
        for (unsigned k = 0, n = sid == 2 ? 2 : 1; k < n; k++) {
            uint8_t packet[1500];
            size_t len = put_packet(packet, sizeof packet, s, sid, k == 0, k + 1 == n, k + 1 == n && sid + 1 == s->layers);
            bool hold = sid == s->lose_sid && s->number >= s->lose_from && s->number < s->lose_to && s->held_count < LK_LEN(s->held);
            if (!CHECK_OK(lk_srtp_protect_rtp(&pc->transport.srtp_tx, packet, &len, sizeof packet)))
                return;
            if (hold) {
                memcpy(s->held[s->held_count], packet, len);
                s->held_len[s->held_count++] = len;
            } else {
                world_put(w, 0, -1, packet, len);
            }
        }
    s->ts += 3000;
    s->picture = (s->picture + 1) & 0x7fff;
    s->frame = (uint16_t)(s->frame + LAYERS);
    s->number++;
    world_drain(w);
    world_run(w, LK_MSEC(33));
}

static void show_pictures(world *w, show *s, int count)
{
    for (int i = 0; i < count; i++)
        show_picture(w, s, false);
}

static void show_held(world *w, show *s)
{
    for (size_t i = 0; i < s->held_count; i++)
        world_put(w, 0, -1, s->held[i], s->held_len[i]);
    s->held_count = 0;
    world_run(w, LK_MSEC(33));
}

/* ---- what the subscriber gets ---- */

static struct {
    unsigned packets[LAYERS][2], marked[LAYERS], descriptors, bad_pictures;
    bool open;       /* a picture whose marker did not come yet */
    uint32_t ts;
    uint32_t active; /* of the last descriptor that told */
    lk_rtp_dd_structure structure;
    bool known;
} got;

static void watch_packet(const lk_rtp_packet *p)
{
    unsigned sid = p->payload[9], tid = p->payload[10];
    lk_bytes value;
    lk_rtp_dd d;
    if (p->payload_len < 12 || sid >= LAYERS || tid > 1)
        return;
    got.packets[sid][tid]++;
    got.marked[sid] += p->marker;
    got.bad_pictures += got.open && p->ts != got.ts; /* begun before the one before was ended */
    got.open = !p->marker;
    got.ts = p->ts;
    if (lk_rtp_ext_find(p, DD_ID, &value) && lk_rtp_dd_parse(&d, &got.structure, got.known ? &got.structure : NULL, value) == LK_OK) {
        got.descriptors++;
        got.known |= d.attached;
        if (d.has_active)
            got.active = d.active;
    }
}

static void forget(void)
{
    memset(got.packets, 0, sizeof got.packets);
    memset(got.marked, 0, sizeof got.marked);
    got.descriptors = 0;
}

/* VP9 in place of the one codec these clients speak, and the extension. */
static void as_vp9(lk_wr *out, lk_str line, lk_str section)
{
    lk_str codec = line, map = lk_str_cut(&codec, ' ');
    LK_UNUSED(section);
    if (lk_str_eq(codec, "VP8/90000\r")) {
        lk_wr_put(out, map.p, map.len);
        line = lk_str_of(" VP9/90000\r");
    }
    world_line(out, line);
    if (lk_str_starts(line, "a=mid:"))
        world_line(out, lk_str_of("a=extmap:12 " DD_URI "\r"));
}

static bool open_stage(world *w, lk_env *env, show *s, bool dd, lk_down **down)
{
    memset(&got, 0, sizeof got);
    *s = (show){.dd = dd, .layers = LAYERS, .ssrc = 77, .ts = 4294900000u, .seq = 65500, .picture = 0x7ff0, .frame = 65400, .lose_to = 0};
    bool ok = world_watch(w, env, LK_MEDIA_KIND_VIDEO, as_vp9, as_vp9, down);
    if (ok) {
        s->ssrc = lk_pc_sect_at(w->client[0].pc, 0)->sender->ssrc;
        w->client[1].watch = watch_packet;
        lk_up_set_sizes(w->up[0], (const uint16_t[][2]){{160, 90}, {320, 180}, {640, 360}}, 3);
    }
    return ok;
}

static int64_t lost(const world *w) { return lk_rtp_stats_lost(&lk_pc_sect_at(w->client[1].pc, 0)->receiver->stats); }

static unsigned packets_of(unsigned sid) { return got.packets[sid][0] + got.packets[sid][1]; }

/* Another wish, and twelve pictures after it. */
static void show_as(world *w, show *s, lk_down *down, const lk_down_settings *wanted)
{
    lk_down_set(down, w->now, wanted);
    world_drain(w);
    forget();
    show_pictures(w, s, 12);
}

static void show_all_qualities(world *w, show *s, lk_down *down)
{
    world_client *c = &w->client[1];
    show_picture(w, s, true);
    show_pictures(w, s, 11);
    world_run(w, LK_MSEC(50));
    CHECK(packets_of(0) == 12 && packets_of(1) == 12 && packets_of(2) == 24);
    CHECK(got.marked[0] == 0 && got.marked[1] == 0 && got.marked[2] == 12);
    CHECK_EQ(lk_down_quality(down), 2);
    CHECK_EQ(got.active, s->dd ? 0x3f : 0);

    /* Down, at once and without a key frame. */
    unsigned keys = w->client[0].keys;
    show_as(w, s, down, &(lk_down_settings){.quality = 1});
    CHECK(packets_of(0) == 12 && packets_of(1) == 12 && packets_of(2) == 0);
    CHECK(got.marked[0] == 0 && got.marked[1] == 12);
    CHECK_EQ(got.active, s->dd ? 0x0f : 0);
    show_as(w, s, down, &(lk_down_settings){.width = 150, .height = 80});
    CHECK(packets_of(0) == 12 && packets_of(1) == 0 && packets_of(2) == 0 && got.marked[0] == 12);
    CHECK_EQ(got.active, s->dd ? 0x03 : 0);
    CHECK_EQ(lk_down_quality(down), 0);
    CHECK_EQ(w->client[0].keys, keys);

    /* Up: what cannot be decoded does not come, a key frame is asked for, and with it comes all. */
    show_as(w, s, down, &(lk_down_settings){.quality = 2});
    CHECK(packets_of(0) == 12 && packets_of(1) == 0 && packets_of(2) == 0);
    CHECK_EQ(w->client[0].keys, keys + 1);
    CHECK(lk_down_waits_for_key(down));
    forget();
    show_picture(w, s, true);
    show_pictures(w, s, 11);
    CHECK(packets_of(0) == 12 && packets_of(1) == 12 && packets_of(2) == 24 && got.marked[2] == 12);
    CHECK_EQ(lk_down_quality(down), 2);
    CHECK(!lk_down_waits_for_key(down));

    /* Temporal layers go and come without one. */
    show_as(w, s, down, &(lk_down_settings){.quality = 2, .fps = 5});
    CHECK(got.packets[2][0] == 12 && got.packets[2][1] == 0 && got.packets[0][1] == 0);
    CHECK_EQ(got.active, s->dd ? 0x15 : 0);
    show_as(w, s, down, &(lk_down_settings){.quality = 2});
    CHECK(got.packets[2][0] == 12 && got.packets[2][1] == 12);
    CHECK_EQ(w->client[0].keys, keys + 1);

    CHECK(got.bad_pictures == 0 && c->gaps == 0 && c->late == 0 && c->ts_back == 0);
    CHECK_EQ(lost(w), 0);
}

LK_TEST(layers_by_the_vp9_descriptor_go_down_between_pictures_and_up_at_key_pictures)
{
    if (lk_test_oom())
        return; /* the descriptors' test climbs the ladder for all */
    world *w = &town;
    static show s;
    lk_down *down = NULL;
    if (open_stage(w, env, &s, false, &down))
        show_all_qualities(w, &s, down);
    lk_down_free(down);
    world_close(w);
}

LK_TEST(layers_by_the_dependency_descriptor_do_so_too_and_its_active_targets_follow)
{
    world *w = &town;
    static show s;
    lk_down *down = NULL;
    if (open_stage(w, env, &s, true, &down)) {
        show_all_qualities(w, &s, down);
        CHECK(got.descriptors > 0 && got.known);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(what_was_lost_of_a_layer_left_out_is_no_hole_when_it_comes_late)
{
    if (lk_test_oom())
        return; /* the descriptors' test climbs the ladder for all */
    world *w = &town;
    static show s;
    for (int dd = 0; dd < 2; dd++) {
        lk_down *down = NULL;
        if (open_stage(w, env, &s, dd == 1, &down)) {
            lk_down_set(down, w->now, &(lk_down_settings){.quality = 1});
            show_picture(w, &s, true);
            show_pictures(w, &s, 10);
            s.lose_sid = 2;
            s.lose_from = s.number;
            s.lose_to = s.number + 2;
            show_pictures(w, &s, 3);
            CHECK_EQ(lost(w), 4);
            show_held(w, &s);
            CHECK_EQ(lost(w), 0);
            CHECK_EQ(packets_of(2), 0);
            s.lose_sid = 1; /* and of one that flows it goes on */
            s.lose_from = s.number;
            s.lose_to = s.number + 2;
            show_pictures(w, &s, 3);
            forget();
            show_held(w, &s);
            CHECK(packets_of(1) == 2 && packets_of(2) == 0 && got.marked[1] == 2);
            CHECK_EQ(lost(w), 0);
        }
        lk_down_free(down);
        world_close(w);
    }
}

LK_TEST(what_is_sent_again_is_marked_as_it_was)
{
    if (lk_test_oom())
        return; /* the descriptors' test climbs the ladder for all */
    world *w = &town;
    static show s;
    lk_down *down = NULL;
    if (open_stage(w, env, &s, true, &down)) {
        lk_down_set(down, w->now, &(lk_down_settings){.quality = 1});
        show_picture(w, &s, true);
        show_pictures(w, &s, 10);
        w->lose_every = 5;
        w->lose_to = 1;
        show_pictures(w, &s, 60);
        w->lose_every = 0;
        show_pictures(w, &s, 20);
        world_run(w, LK_SEC(2));
        lk_hub_stats t;
        lk_hub_get_stats(w->hub, &t);
        CHECK(t.resent > 10);
        CHECK_EQ(lost(w), 0);
        CHECK(packets_of(0) == 91 && packets_of(1) == 91 && packets_of(2) == 0);
        CHECK(got.marked[0] == 0 && got.marked[1] == 91);
        CHECK_EQ(got.active, 0x0f);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(rates_of_layers_are_told_with_those_below_and_a_layer_that_ends_is_no_longer_waited_for)
{
    if (lk_test_oom())
        return; /* the descriptors' test climbs the ladder for all */
    world *w = &town;
    static show s;
    lk_down *down = NULL;
    if (open_stage(w, env, &s, true, &down)) {
        show_picture(w, &s, true);
        show_pictures(w, &s, 60);
        CHECK_EQ(lk_up_steps(w->up[0]), 3);
        uint64_t low = lk_up_step_bps(w->up[0], 0), middle = lk_up_step_bps(w->up[0], 1), all = lk_up_step_bps(w->up[0], 2);
        CHECK(low > 10000 && middle > low + low * 5 / 4 && all > 2 * middle);
        lk_down_set(down, w->now, &(lk_down_settings){.quality = 0});
        s.layers = 2;
        show_pictures(w, &s, 150);
        CHECK(!lk_up_step_active(w->up[0], 2) && lk_up_step_active(w->up[0], 1));
        lk_down_set(down, w->now, &(lk_down_settings){.quality = 2});
        CHECK(lk_down_waits_for_key(down));
        show_picture(w, &s, true);
        show_picture(w, &s, false);
        CHECK(!lk_down_waits_for_key(down));
        CHECK_EQ(got.bad_pictures, 0);
    }
    lk_down_free(down);
    world_close(w);
}

LK_TEST(a_narrow_way_gets_the_layers_of_one_stream_it_carries)
{
    if (lk_test_oom())
        return; /* the descriptors' test climbs the ladder for all */
    world *w = &town;
    static show s;
    lk_down *down = NULL;
    if (open_stage(w, env, &s, true, &down)) {
        lk_hub_stats t;
        uint64_t asked = 0;
        unsigned large[3] = {0}, small[3] = {0};
        static const uint64_t rates[] = {0, 90000, 0};
        for (int phase = 0; phase < 3; phase++) {
            w->rate_bps = rates[phase];
            for (int i = 0; i < 900; i++) { /* 30 s */
                lk_hub_get_stats(w->hub, &t);
                forget();
                show_picture(w, &s, i == 0 || t.plis_sent != asked);
                asked = t.plis_sent;
                large[phase] += packets_of(2) > 0;
                small[phase] += packets_of(0) > 0;
            }
        }
        CHECK(large[0] > 850);
        CHECK(large[1] < 400 && small[1] > 700);
        CHECK(large[2] > 450);
    }
    lk_down_free(down);
    world_close(w);
}
