// SPDX-License-Identifier: Apache-2.0
/* What a request may ask of the server before there is a participant: joins by query, joins by message, calls of RoomService. A
 * refusal says why and makes nothing, a validation tells what the join will be told, a token for one room changes nothing in another.
 *
 * First byte: the token (1 own metadata, 2 admin of the room, 4 may make rooms, 8 names no room, 16 may not join, 32 nobody or with 128 a
 * name too long, 64 how a room is made or with 128 what is no JSON). Then steps. Kinds: 0 query, 1 query of /rtc/v1, 2 JoinRequest, 3 what stands for one in gzip, 4 method of RoomService and
 * its request, 5 time passes. */
#include "fuzz_sfu.h"

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
    lk_sfu_person *p = fuzz_person(c->s, "room", "eve");
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
    static char long_name[LK_SFU_NAME_MAX + 2];
    lk_rd r = lk_rd_of(data, size);
    uint8_t grants = lk_rd_u8(&r), kind;
    lk_bytes bytes;
    scene c = {.now = LK_SEC(1), .token = fuzz_token("ann", "other")};
    c.s = fuzz_sfu(c.now);
    c.token.metadata = "mine";
    c.ann = fuzz_enter(c.s, c.now, &c.token, false);
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
    for (int steps = 0; steps < 32 && fuzz_step(&r, MESSAGE_MAX, &kind, &bytes); steps++) {
        step(&c, kind % 6, bytes);
        FUZZ_REQUIRE(c.s->rooms.count <= FUZZ_ROOMS_MAX);
        if (grants & 4) /* who may make rooms may end them */
            continue;
        const lk_sfu_person *ann = fuzz_person(c.s, "other", "ann");
        FUZZ_REQUIRE(ann && !ann->broken);
        FUZZ_REQUIRE(strcmp(ann->metadata, "mine") == 0);
    }
    lk_sfu_free(c.s);
    return 0;
}
