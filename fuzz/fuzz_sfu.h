// SPDX-License-Identifier: Apache-2.0
/* fuzz/fuzz_sfu.h - a server whose peers are not there (fake_hub.h), who is let into it, and the steps of an input: a kind, a length of
 * two bytes, the bytes. */
#pragma once
#include "fuzz_env.h"
#define CHECK(cond) FUZZ_REQUIRE(cond)
#define CHECK_EQ(a, b) FUZZ_REQUIRE((int64_t)(a) == (int64_t)(b))
#include "sfu/sfu_internal.h"
#include "unit/sfu/fake_hub.h"

#define FUZZ_ROOMS_MAX 4

static inline lk_sfu *fuzz_sfu(lk_usec now)
{
    static int dtls; /* only its address: there are no packets */
    const lk_sfu_config config = {.dtls = (struct lk_dtls_context *)(void *)&dtls, .unix_usec = 1700000000000000, .loop = 'a', .key = "key",
                                  .secret = "a secret that is long enough for anybody", .limits = {.tracks = 4, .rooms = FUZZ_ROOMS_MAX}};
    lk_sfu *s;
    FUZZ_REQUIRE(lk_sfu_new(&s, fuzz_env(), &config, now) == LK_OK);
    return s;
}

static inline lk_token fuzz_token(const char *identity, const char *room)
{
    return (lk_token){.key = "key", .identity = identity, .name = "", .metadata = "", .sha256 = "", .room_preset = "", .room_config = "", .has_video = true,
                      .video = {.room_join = true, .room = room, .destination_room = ""}};
}

/* NULL: there is nobody of that name. */
static inline lk_sfu_person *fuzz_person(lk_sfu *s, const char *room, const char *identity)
{
    lk_sfu_room *r = lk_sfu_room_find(s, room);
    return r ? lk_sfu_person_find(r, identity) : NULL;
}

/* Joins, connects and opens all channels; returns the connection. */
static inline uint32_t fuzz_enter(lk_sfu *s, lk_usec now, const lk_token *t, bool v0)
{
    /* base64 of a JoinRequest with auto_subscribe, of data tracks too: on one connection, which there is no need to negotiate */
    const char *query = v0 ? "sdk=js&protocol=17&auto_subscribe_data_track=1" : "join_request=EgoKAhgREgQIASgB";
    uint32_t conn = 0;
    lk_sfu_refusal why;
    FUZZ_REQUIRE(lk_sfu_accept(s, now, &(lk_sfu_join){.token = t, .v1 = !v0, .query = lk_str_of(query)}, &conn, &why) == LK_OK);
    lk_peer *p = lk_sfu_primary(fuzz_person(s, t->video.room, t->identity));
    for (int k = LK_PEER_RELIABLE; k <= LK_PEER_DATA_TRACK; k++)
        fake_open(p, (lk_peer_channel)k, "");
    fake_state(p, LK_PC_STATE_CONNECTED);
    lk_sfu_tick(s, now);
    return conn;
}

/* False: there is no further step. What is longer than most is cut, and its rest read as steps. */
static inline bool fuzz_step(lk_rd *r, size_t most, uint8_t *kind, lk_bytes *bytes)
{
    if (lk_rd_left(r) < 3)
        return false;
    *kind = lk_rd_u8(r);
    size_t len = lk_rd_u16(r), left = lk_rd_left(r);
    len = LK_MIN(len, LK_MIN(left, most));
    *bytes = (lk_bytes){lk_rd_take(r, len), len};
    return true;
}
