// SPDX-License-Identifier: Apache-2.0
/* What a request may ask of the server before there is a participant: joins by query, joins by message, calls of RoomService. A
 * refusal says why and makes nothing, a validation tells what the join will be told, a token for one room changes nothing in another.
 *
 * First byte: the token (1 own metadata, 2 admin of the room, 4 may make rooms, 8 names no room, 16 may not join, 32 nobody or with 128 a
 * name too long, 64 how a room is made or with 128 what is no JSON). Then steps: a kind, a length of
 * two bytes, the bytes. Kinds: 0 query, 1 query of /rtc/v1, 2 JoinRequest, 3 what stands for one in gzip, 4 method of RoomService and
 * its request, 5 time passes. */
#include "fuzz_env.h"
#define CHECK(cond) FUZZ_REQUIRE(cond)
#define CHECK_EQ(a, b) FUZZ_REQUIRE((int64_t)(a) == (int64_t)(b))
#include "sfu/sfu_internal.h"
#include "unit/sfu/fake_hub.h"

#define MESSAGE_MAX 4096

typedef struct scene {
    lk_sfu *s;
    lk_usec now;
    lk_token token;
    uint64_t tag, done;
    uint32_t ann;
} scene;

static void drain(scene *c)
{
    lk_sfu_event e;
    while (lk_sfu_poll_event(c->s, &e)) {
        if (e.kind != LK_SFU_EV_ADMIN_DONE)
            continue;
        FUZZ_REQUIRE(e.tag > c->done && e.tag <= c->tag); /* once each; those that ask a participant are forgotten in time */
        c->done = e.tag;
    }
}

static void join(scene *c, bool v1, lk_str query)
{
    lk_sfu_refusal told = {0}, why = {0};
    const lk_sfu_join j = {.token = &c->token, .v1 = v1, .query = query};
    size_t rooms = c->s->rooms.count;
    uint32_t conn = 0;
    lk_err before = lk_sfu_validate(c->s, c->now, &j, &told);
    FUZZ_REQUIRE(c->s->rooms.count == rooms);
    lk_err err = lk_sfu_accept(c->s, c->now, &j, &conn, &why);
    FUZZ_REQUIRE(err == before && (err == LK_OK || err == LK_ERR_DENIED));
    if (err == LK_OK)
        FUZZ_REQUIRE(conn != 0);
    else
        FUZZ_REQUIRE(why.status >= 400 && why.status == told.status && *why.text && strcmp(why.text, told.text) == 0 && c->s->rooms.count == rooms);
    lk_sfu_room *r = lk_sfu_room_find(c->s, "room");
    lk_sfu_person *p = r ? lk_sfu_person_find(r, "eve") : NULL;
    if (p) /* an admin may give what the token did not */
        FUZZ_REQUIRE(c->token.video.room_admin || p->grants.can_update_metadata || (*p->metadata == 0 && p->attribute_count == 0));
    drain(c);
}

/* The message as a client wraps it: base64 in the query. */
static void join_with(scene *c, lk_bytes request, bool gzip)
{
    Livekit__WrappedJoinRequest m = LIVEKIT__WRAPPED_JOIN_REQUEST__INIT;
    uint8_t bytes[MESSAGE_MAX + 16];
    lk_wr w = lk_wr_of(bytes, sizeof bytes);
    lk_text query;
    m.has_compression = gzip;
    m.compression = LIVEKIT__WRAPPED_JOIN_REQUEST__COMPRESSION__GZIP;
    m.has_join_request = 1;
    m.join_request = (ProtobufCBinaryData){request.len, (uint8_t *)(uintptr_t)request.data};
    lk_pbuf_pack_into(&m.base, &w);
    FUZZ_REQUIRE(!w.bad);
    lk_text_init(&query, fuzz_env(), 2 * sizeof bytes);
    lk_text_z(&query, "join_request=");
    lk_base64_put(&query, LK_BASE64_URL, bytes, w.len);
    join(c, true, (lk_str){query.p, query.len});
    lk_text_deinit(&query);
}

static void call(scene *c, lk_bytes b)
{
    if (b.len == 0)
        return;
    lk_sfu_method method = (lk_sfu_method)(b.data[0] % (LK_SFU_METHODS + 1));
    lk_sfu_admin(c->s, c->now, ++c->tag, method, &c->token, (lk_bytes){b.data + 1, b.len - 1});
    drain(c);
    if (c->done != c->tag)
        FUZZ_REQUIRE(method == LK_SFU_PERFORM_RPC);
    lk_sfu_admin_forget(c->s, c->tag);
    drain(c);
}

static void step(scene *c, uint8_t kind, lk_bytes b)
{
    switch (kind) {
    case 0:
    case 1: join(c, kind, (lk_str){(const char *)b.data, b.len}); break;
    case 2:
    case 3: join_with(c, b, kind == 3); break;
    case 4: call(c, b); break;
    default: /* ann gives a sign of life */
        c->now += LK_MSEC(50) * (b.len ? b.data[0] : 1);
        lk_sfu_signal(c->s, c->now, c->ann, true, (lk_bytes){(const uint8_t *)"\x70\x01", 2});
        break;
    }
    lk_sfu_tick(c->s, c->now);
    drain(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int dtls; /* only its address: there are no packets */
    lk_rd r = lk_rd_of(data, size);
    uint8_t grants = lk_rd_u8(&r);
    lk_sfu_config config = {.dtls = (struct lk_dtls_context *)(void *)&dtls, .unix_usec = 1700000000000000, .loop = 'a', .key = "key",
                            .secret = "a secret that is long enough for anybody", .limits = {.tracks = 4, .rooms = 4}};
    scene c = {.now = LK_SEC(1)};
    lk_sfu_refusal why;
    static char long_name[LK_SFU_NAME_MAX + 2];
    c.token = (lk_token){.key = "key", .identity = "ann", .name = "", .metadata = "mine", .sha256 = "", .room_preset = "", .room_config = "", .has_video = true,
                         .video = {.room_join = true, .room = "other", .destination_room = ""}};
    FUZZ_REQUIRE(lk_sfu_new(&c.s, fuzz_env(), &config, c.now) == LK_OK);
    /* base64 of a JoinRequest: one connection, which she has no need to negotiate */
    const lk_sfu_join ann_joins = {.token = &c.token, .v1 = true, .query = lk_str_of("join_request=EgoKAhgREgQIASgB")};
    FUZZ_REQUIRE(lk_sfu_accept(c.s, c.now, &ann_joins, &c.ann, &why) == LK_OK);
    lk_peer *ann_peer = lk_sfu_primary(lk_sfu_person_find(lk_sfu_room_find(c.s, "other"), "ann"));
    for (int k = LK_PEER_RELIABLE; k <= LK_PEER_DATA_TRACK; k++)
        fake_open(ann_peer, (lk_peer_channel)k, "");
    fake_state(ann_peer, LK_PC_STATE_CONNECTED);
    lk_sfu_tick(c.s, c.now);
    drain(&c);
    c.token.identity = "eve";
    c.token.metadata = "";
    c.token.video.room = grants & 8 ? "" : "room";
    c.token.video.can_update_own_metadata = grants & 1 ? LK_TOKEN_YES : LK_TOKEN_NO;
    c.token.video.room_admin = grants & 2;
    c.token.video.room_create = grants & 4;
    c.token.video.room_join = !(grants & 16);
    memset(long_name, 'x', sizeof long_name - 1);
    if (grants & 32)
        c.token.identity = grants & 128 ? long_name : "";
    if (grants & 64)
        c.token.room_config = grants & 128 ? "{" : "{\"metadata\":\"m\",\"emptyTimeout\":5,\"departureTimeout\":3,\"maxParticipants\":1}";
    for (int steps = 0; steps < 32 && lk_rd_left(&r) >= 3; steps++) {
        uint8_t kind = lk_rd_u8(&r);
        size_t len = lk_rd_u16(&r), left = lk_rd_left(&r);
        len = LK_MIN(len, LK_MIN(left, (size_t)MESSAGE_MAX));
        step(&c, kind % 6, (lk_bytes){lk_rd_take(&r, len), len});
        FUZZ_REQUIRE(c.s->rooms.count <= 4);
        lk_sfu_room *other = lk_sfu_room_find(c.s, "other");
        lk_sfu_person *ann = other ? lk_sfu_person_find(other, "ann") : NULL;
        if (grants & 4) /* who may make rooms may end them */
            continue;
        FUZZ_REQUIRE(ann && !ann->broken);
        FUZZ_REQUIRE(strcmp(ann->metadata, "mine") == 0);
    }
    lk_sfu_free(c.s);
    return 0;
}
