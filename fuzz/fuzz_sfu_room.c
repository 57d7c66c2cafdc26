// SPDX-License-Identifier: Apache-2.0
/* What one participant sends, against the grants of its token and the peace of the other one in the room.
 *
 * First byte: grants (1 publish, 2 subscribe, 4 data, 8 own metadata) and 16 for the older signalling. Then steps.
 * Kinds: 0 signal message, 1 reliable, 2 lossy, 3 data track, 4 time passes, 5 media arrives, 6 signal message in JSON. */
#include "fuzz_sfu.h"

typedef struct scene {
    lk_sfu *s;
    lk_usec now;
    lk_token eve, ann;
    uint32_t eve_conn, ann_conn;
} scene;

static void drain(scene *c)
{
    lk_sfu_event e;
    lk_sfu_packet p;
    while (lk_sfu_poll_event(c->s, &e))
        FUZZ_REQUIRE(e.kind != LK_SFU_EV_SIGNAL_CLOSE || e.conn != c->ann_conn);
    FUZZ_REQUIRE(lk_sfu_poll_tx(c->s, c->now, &p, 1) == 0);
}

static lk_sfu_person *who(const scene *c, const char *identity) { return fuzz_person(c->s, "room", identity); }

static void tell(scene *c, uint32_t conn, const Livekit__SignalRequest *m)
{
    uint8_t bytes[512];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_pbuf_pack_into(&m->base, &w);
    FUZZ_REQUIRE(!w.bad);
    lk_sfu_signal(c->s, c->now, conn, true, (lk_bytes){bytes, w.len});
    drain(c);
}

/* Ann has a microphone and a data track. */
static void settle_ann(scene *c)
{
    Livekit__SignalRequest m = LIVEKIT__SIGNAL_REQUEST__INIT;
    Livekit__AddTrackRequest add = LIVEKIT__ADD_TRACK_REQUEST__INIT;
    Livekit__SessionDescription offer = LIVEKIT__SESSION_DESCRIPTION__INIT;
    Livekit__PublishDataTrackRequest data = LIVEKIT__PUBLISH_DATA_TRACK_REQUEST__INIT;
    add.cid = (char *)(uintptr_t)"mic";
    m.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_ADD_TRACK;
    m.add_track = &add;
    tell(c, c->ann_conn, &m);
    offer.sdp = (char *)(uintptr_t)"m=application\na:mic ra rv";
    m.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER;
    m.offer = &offer;
    tell(c, c->ann_conn, &m);
    data.has_pub_handle = 1;
    data.pub_handle = 7;
    data.name = (char *)(uintptr_t)"pose";
    m.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_PUBLISH_DATA_TRACK_REQUEST;
    m.publish_data_track_request = &data;
    tell(c, c->ann_conn, &m);
}

static void check_ann(const scene *c, size_t sent_before, bool eve_may_send)
{
    lk_sfu_person *ann = who(c, "ann");
    FUZZ_REQUIRE(ann && !ann->broken && ann->conn == c->ann_conn);
    FUZZ_REQUIRE(strcmp(ann->metadata, "mine") == 0 && ann->attribute_count == 0);
    FUZZ_REQUIRE(ann->tracks.count == 1 && ann->data_tracks.count == 1);
    const lk_sfu_track *t = LK_CONTAINER(lk_list_first(&ann->tracks), lk_sfu_track, link);
    FUZZ_REQUIRE(t->published && !t->info->muted);
    lk_peer *peer = lk_sfu_primary(ann);
    FUZZ_REQUIRE(eve_may_send || peer->sent == sent_before);
    for (size_t i = sent_before; i < peer->sent; i++) {
        const fake_sent *f = &peer->log[i];
        ProtobufCMessage *m;
        lk_arena a;
        if (f->channel == LK_PEER_DATA_TRACK)
            continue;
        lk_arena_init(&a, c->s->env, 1u << 20);
        FUZZ_REQUIRE(lk_pbuf_unpack(&livekit__data_packet__descriptor, &a, (lk_bytes){f->bytes, f->len}, &m) == LK_OK);
        const Livekit__DataPacket *d = (const Livekit__DataPacket *)m;
        FUZZ_REQUIRE(d->participant_identity && strcmp(d->participant_identity, "eve") == 0);
        FUZZ_REQUIRE(d->value_case != LIVEKIT__DATA_PACKET__VALUE_USER || strcmp(d->user->participant_identity, "eve") == 0);
        lk_arena_deinit(&a);
    }
    peer->sent = 0;
}

static void check_eve(const scene *c)
{
    lk_sfu_person *eve = who(c, "eve");
    if (!eve)
        return;
    FUZZ_REQUIRE(eve->grants.can_publish || eve->tracks.count == 0);
    FUZZ_REQUIRE(eve->tracks.count <= c->s->config.limits.tracks && eve->data_tracks.count <= c->s->config.limits.tracks);
    FUZZ_REQUIRE(eve->grants.can_publish_data || eve->data_tracks.count == 0);
    FUZZ_REQUIRE(eve->grants.can_subscribe || lk_sfu_down_peer(eve)->downs.count == 0);
    FUZZ_REQUIRE(eve->grants.can_update_metadata || (*eve->metadata == 0 && *eve->name == 0 && eve->attribute_count == 0));
    FUZZ_REQUIRE(eve->wish_count <= SFU_WISHES_MAX && eve->queued.count <= SFU_QUEUED_MAX);
    LK_LIST_EACH(&eve->data_subs, it)
        FUZZ_REQUIRE(eve->grants.can_subscribe || LK_CONTAINER(it, lk_sfu_data_sub, of_person)->handle == 0);
}

static void step(scene *c, uint8_t kind, lk_bytes b)
{
    lk_sfu_person *eve = who(c, "eve");
    switch (kind) {
    case 0: lk_sfu_signal(c->s, c->now, c->eve_conn, true, b); break;
    case 1:
    case 2:
    case 3:
        if (eve && b.len <= 1024)
            fake_data(eve->publisher, kind == 1 ? LK_PEER_RELIABLE : kind == 2 ? LK_PEER_LOSSY : LK_PEER_DATA_TRACK, b.data, b.len);
        break;
    case 4: c->now += LK_MSEC(100) * (b.len ? b.data[0] : 1); break;
    case 6: lk_sfu_signal(c->s, c->now, c->eve_conn, false, b); break;
    default:
        if (eve) {
            LK_LIST_EACH(&eve->publisher->ups, it)
                fake_live(LK_CONTAINER(it, lk_up, link));
        }
        break;
    }
    lk_sfu_tick(c->s, c->now);
    drain(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lk_rd r = lk_rd_of(data, size);
    uint8_t grants = lk_rd_u8(&r), kind;
    lk_bytes bytes;
    scene c = {.now = LK_SEC(1), .eve = fuzz_token("eve", "room"), .ann = fuzz_token("ann", "room")};
    c.s = fuzz_sfu(c.now);
    c.ann.metadata = "mine";
    c.eve.video.can_publish = grants & 1 ? LK_TOKEN_YES : LK_TOKEN_NO;
    c.eve.video.can_subscribe = grants & 2 ? LK_TOKEN_YES : LK_TOKEN_NO;
    c.eve.video.can_publish_data = grants & 4 ? LK_TOKEN_YES : LK_TOKEN_NO;
    c.eve.video.can_update_own_metadata = grants & 8 ? LK_TOKEN_YES : LK_TOKEN_NO;
    c.ann_conn = fuzz_enter(c.s, c.now, &c.ann, false);
    settle_ann(&c);
    c.eve_conn = fuzz_enter(c.s, c.now, &c.eve, grants & 16);
    drain(&c);
    for (int steps = 0; steps < 64 && fuzz_step(&r, UINT16_MAX, &kind, &bytes); steps++) {
        size_t before = lk_sfu_primary(who(&c, "ann"))->sent;
        step(&c, kind % 7, bytes);
        check_ann(&c, before, grants & 4);
        check_eve(&c);
    }
    lk_sfu_free(c.s);
    return 0;
}
