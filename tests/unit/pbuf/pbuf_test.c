// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "pbuf/pbuf_ffi.h"

static lk_err unpack_hex(const ProtobufCMessageDescriptor *type, lk_arena *arena, const char *hex, void *out)
{
    uint8_t bytes[256];
    int n = lk_hex_decode(bytes, sizeof bytes, lk_str_of(hex));
    CHECK(n >= 0);
    return lk_pbuf_unpack(type, arena, (lk_bytes){bytes, (size_t)n}, (ProtobufCMessage **)out);
}

LK_TEST(refuses_what_is_no_message)
{
    static const char *const bad[] = {"2880",       "288080808080808080808001", "020161", "ffffffffff0101", "0e01",
                                      "0f01",       "0ac861",                   "0a808080808080808040",
                                      "0affffffff0f", "a31f",                   "a41f",   "0a03fffe41",
                                      "0a0854525f006576696c", "9a010180", "9a01020180"}; /* the last two: a packed block ends inside a number */
    lk_arena arena;
    for (size_t i = 0; i < LK_LEN(bad); i++) {
        Livekit__TrackInfo *track = NULL;
        lk_arena_init(&arena, env, 1 << 20);
        lk_err err = unpack_hex(&livekit__track_info__descriptor, &arena, bad[i], &track);
        if (err != LK_ERR_NOMEM && !CHECK_EQ(err, LK_ERR_WIRE))
            CHECK_STR(bad[i], "");
        CHECK(!track);
        lk_arena_deinit(&arena);
    }
}

LK_TEST(last_scalar_wins_submessages_merge_unknown_fields_and_groups_are_skipped)
{
    lk_arena arena;
    lk_arena_init(&arena, env, 1 << 20);
    Livekit__TrackInfo *track;
    Livekit__ParticipantInfo *participant;
    Livekit__DataPacket *packet;
    if (unpack_hex(&livekit__track_info__descriptor, &arena, "0a0566697273740a067365636f6e64a31f0801a41f", &track) ==
        LK_OK)
        CHECK_STR(track->sid, "second");
    if (unpack_hex(&livekit__participant_info__descriptor, &arena, "5a0208015a021001", &participant) == LK_OK) {
        CHECK(participant->permission->can_subscribe && participant->permission->can_publish);
        CHECK(!participant->permission->has_hidden);
    }
    if (unpack_hex(&livekit__data_packet__descriptor, &arena, "1204120270701a020801", &packet) == LK_OK)
        CHECK_EQ(packet->value_case, LIVEKIT__DATA_PACKET__VALUE_SPEAKER);
    lk_arena_deinit(&arena);
}

LK_TEST(unknown_enum_number_reads_as_the_first_value)
{
    lk_arena arena;
    lk_arena_init(&arena, env, 1 << 20);
    Livekit__TrackInfo *track;
    if (unpack_hex(&livekit__track_info__descriptor, &arena, "104d9801019801639a01020203", &track) == LK_OK) {
        CHECK_EQ(track->type, LIVEKIT__TRACK_TYPE__AUDIO);
        CHECK_EQ(track->n_audio_features, 4);
        CHECK_EQ(track->audio_features[0], 1);
        CHECK_EQ(track->audio_features[1], 0); /* 99 is none */
        CHECK_EQ(track->audio_features[2], 2); /* packed */
        CHECK_EQ(track->audio_features[3], 3);
    }
    lk_arena_deinit(&arena);
}

LK_TEST(amplification_ends_at_the_budget)
{
    lk_arena arena;
    lk_arena_init(&arena, env, 64 << 20);
    enum { N = 100000 };
    uint8_t *bytes = (uint8_t *)lk_alloc(env, N);
    REQUIRE(bytes || lk_test_oom());
    for (size_t i = 0; bytes && i < N; i += 2) {
        bytes[i] = 0x52; /* an empty VideoLayer */
        bytes[i + 1] = 0;
    }
    ProtobufCMessage *message;
    if (bytes) {
        lk_err err = lk_pbuf_unpack(&livekit__track_info__descriptor, &arena, (lk_bytes){bytes, N}, &message);
        CHECK(err == LK_ERR_LIMIT || lk_test_oom());
        CHECK(arena.used_bytes <= LK_PBUF_BUDGET(N));
    }
    lk_release(env, bytes, N);
    lk_arena_deinit(&arena);
}

LK_TEST(required_ffi_fields_are_set_on_output)
{
    lk_arena arena;
    lk_arena_init(&arena, env, 1 << 20);
    Livekit__Proto__FfiEvent event = LIVEKIT__PROTO__FFI_EVENT__INIT;
    Livekit__Proto__RoomEvent room = LIVEKIT__PROTO__ROOM_EVENT__INIT;
    Livekit__Proto__ParticipantConnected connected = LIVEKIT__PROTO__PARTICIPANT_CONNECTED__INIT;
    event.message_case = LIVEKIT__PROTO__FFI_EVENT__MESSAGE_ROOM_EVENT;
    event.room_event = &room;
    room.message_case = LIVEKIT__PROTO__ROOM_EVENT__MESSAGE_PARTICIPANT_CONNECTED;
    room.participant_connected = &connected;
    if (lk_pbuf_complete_event(&event, &arena) == LK_OK) {
        CHECK(room.has_room_handle);
        if (CHECK(connected.info != NULL) && CHECK(connected.info->info != NULL)) {
            CHECK_STR(connected.info->info->identity, "");
            CHECK(connected.info->info->has_kind);
            CHECK(connected.info->handle != NULL && connected.info->handle->has_id);
        }
    }
    lk_arena_deinit(&arena);
}

LK_TEST(packs_what_it_unpacks)
{
    lk_arena arena;
    lk_arena_init(&arena, env, 1 << 20);
    Livekit__AddTrackRequest add = LIVEKIT__ADD_TRACK_REQUEST__INIT;
    char cid[] = "c1";
    add.cid = cid;
    add.has_muted = 1;
    add.muted = 1;
    lk_bytes bytes;
    Livekit__AddTrackRequest *back;
    if (lk_pbuf_pack(&add.base, &arena, &bytes) == LK_OK) {
        CHECK_EQ(bytes.len, lk_pbuf_size(&add.base));
        if (lk_pbuf_unpack(&livekit__add_track_request__descriptor, &arena, bytes, (ProtobufCMessage **)&back) == LK_OK)
            CHECK(strcmp(back->cid, "c1") == 0 && back->muted && !back->has_stereo);
    }
    lk_arena_deinit(&arena);
}
