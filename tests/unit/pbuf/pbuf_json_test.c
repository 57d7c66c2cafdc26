// SPDX-License-Identifier: Apache-2.0
#include "lk_test.h"
#include "named.pb-c.h"
#include "pbuf/pbuf_json.h"

static void check(lk_env *env, void (*to_json)(lk_text *t, const ProtobufCMessage *m), const ProtobufCMessageDescriptor *type, const char *in,
                  const char *want)
{
    lk_arena a;
    lk_text t;
    ProtobufCMessage *m;
    lk_arena_init(&a, env, 1 << 20);
    lk_text_init(&t, env, 1 << 20);
    if (CHECK_OK(lk_pbuf_from_json(type, &a, lk_str_of(in), &m))) {
        to_json(&t, m);
        CHECK_STR(lk_text_cstr(&t), want);
    }
    lk_text_deinit(&t);
    lk_arena_deinit(&a);
}

LK_TEST(names_of_both_styles_are_read_and_the_schemas_own_written)
{
    check(env, lk_pbuf_to_json, &named__room__descriptor, "{\"sid\":\"RM_1\",\"emptyTimeout\":300,\"creation_time\":\"1700000000\",\"active_recording\":true,\"who\":[1]}",
          "{\"sid\":\"RM_1\",\"name\":\"\",\"empty_timeout\":300,\"max_participants\":0,\"creation_time\":\"1700000000\",\"turn_password\":\"\","
          "\"enabled_codecs\":[],\"metadata\":\"\",\"num_participants\":0,\"active_recording\":true,\"num_publishers\":0,\"version\":null,"
          "\"departure_timeout\":0,\"creation_time_ms\":\"0\"}");
}

LK_TEST(maps_lists_bytes_enums_and_nested_messages_go_both_ways)
{
    check(env, lk_pbuf_to_json, &named__update_participant_request__descriptor,
          "{\"room\":\"r\",\"attributes\":{\"a\":\"1\",\"b\":\"\\u00e9\\n\"},\"permission\":{\"canPublish\":true,\"can_publish_sources\":[\"CAMERA\",2]}}",
          "{\"room\":\"r\",\"identity\":\"\",\"metadata\":\"\",\"permission\":{\"can_subscribe\":false,\"can_publish\":true,\"can_publish_data\":false,"
          "\"hidden\":false,\"recorder\":false,\"can_publish_sources\":[\"CAMERA\",\"MICROPHONE\"],\"can_update_metadata\":false,\"agent\":false,"
          "\"can_subscribe_metrics\":false,\"can_manage_agent_session\":false},\"name\":\"\",\"attributes\":{\"a\":\"1\",\"b\":\"\xc3\xa9\\u000a\"}}");
    check(env, lk_pbuf_to_json, &named__send_data_request__descriptor, "{\"data\":\"aGk=\",\"kind\":\"LOSSY\",\"nonce\":\"-_8\",\"topic\":null}",
          "{\"room\":\"\",\"data\":\"aGk=\",\"kind\":\"LOSSY\",\"destination_sids\":[],\"topic\":\"\",\"destination_identities\":[],\"nonce\":\"+/8=\"}");
}

LK_TEST(in_brief_names_are_in_camel_case_and_what_is_not_set_is_left_out)
{
    check(env, lk_pbuf_to_json_brief, &named__room__descriptor, "{\"sid\":\"RM_1\",\"name\":\"\",\"empty_timeout\":300,\"max_participants\":0,\"creation_time_ms\":5}",
          "{\"sid\":\"RM_1\",\"emptyTimeout\":300,\"creationTimeMs\":\"5\"}");
    check(env, lk_pbuf_to_json_brief, &named__participant_info__descriptor, "{\"state\":\"ACTIVE\",\"is_publisher\":false,\"attributes\":{\"a_b\":\"\"},\"permission\":{}}",
          "{\"state\":\"ACTIVE\",\"permission\":{},\"attributes\":{\"a_b\":\"\"}}");
    check(env, lk_pbuf_to_json_brief, &named__signal_response__descriptor, "{\"pong\":0}", "{\"pong\":\"0\"}");
    check(env, lk_pbuf_to_json_brief, &named__signal_response__descriptor, "{\"leave\":{\"reason\":\"UNKNOWN_REASON\"}}", "{\"leave\":{}}");
}

LK_TEST(the_ends_of_numbers_are_read_and_written)
{
    const struct {
        const char *in, *want;
    } rows[] = {{"-9223372036854775808", "\"creation_time\":\"-9223372036854775808\""},
                {"\"-9223372036854775808\"", "\"creation_time\":\"-9223372036854775808\""},
                {"\"9223372036854775807\"", "\"creation_time\":\"9223372036854775807\""},
                {"\"9223372036854775808\"", NULL}, {"\"-9223372036854775809\"", NULL}, {"1e3", "\"creation_time\":\"1000\""}};
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_arena a;
        lk_text in, out;
        ProtobufCMessage *m;
        lk_arena_init(&a, env, 1 << 20);
        lk_text_init(&in, env, 1 << 10);
        lk_text_init(&out, env, 1 << 10);
        lk_text_z(&in, "{\"creation_time\":");
        lk_text_z(&in, rows[i].in);
        lk_text_z(&in, "}");
        lk_err err = lk_pbuf_from_json(&named__room__descriptor, &a, (lk_str){lk_text_cstr(&in), in.len}, &m);
        CHECK_EQ(err == LK_OK, rows[i].want != NULL);
        if (err == LK_OK) {
            lk_pbuf_to_json(&out, m);
            CHECK(strstr(lk_text_cstr(&out), rows[i].want ? rows[i].want : "?"));
        }
        lk_text_deinit(&in);
        lk_text_deinit(&out);
        lk_arena_deinit(&a);
    }
}

LK_TEST(what_is_no_message_is_refused_and_leaves_nothing)
{
    static char deep[200];
    const char *rows[] = {"", "[]", "{", "{\"names\":\"a\"}", "{\"names\":[1]}", "{\"names\":{}}", "{\"names\":[\"a\"],\"names\":[]}", "{\"names\":[\"\\u0000\"]}", deep};
    memcpy(deep, "{\"names\":", 9);
    memset(deep + 9, '[', sizeof deep - 10);
    for (size_t i = 0; i < LK_LEN(rows); i++) {
        lk_arena a;
        ProtobufCMessage *m = NULL;
        lk_arena_init(&a, env, 1 << 20);
        CHECK(lk_pbuf_from_json(&named__list_rooms_request__descriptor, &a, lk_str_of(rows[i]), &m) != LK_OK);
        CHECK(m == NULL);
        lk_arena_deinit(&a);
    }
    const char *numbers[] = {"{\"empty_timeout\":-1}", "{\"empty_timeout\":4294967296}", "{\"empty_timeout\":1.5}", "{\"empty_timeout\":\"x\"}", "{\"sync_streams\":1}"};
    for (size_t i = 0; i < LK_LEN(numbers); i++) {
        lk_arena a;
        ProtobufCMessage *m = NULL;
        lk_arena_init(&a, env, 1 << 20);
        CHECK(lk_pbuf_from_json(&named__create_room_request__descriptor, &a, lk_str_of(numbers[i]), &m) != LK_OK);
        lk_arena_deinit(&a);
    }
}
