// SPDX-License-Identifier: Apache-2.0
#include "signal/signal.h"

static Livekit__ClientInfo__SDK sdk_of(const char *name)
{
    static const struct {
        const char *name;
        Livekit__ClientInfo__SDK sdk;
    } names[] = {
        {"js", LIVEKIT__CLIENT_INFO__SDK__JS},
        {"ios", LIVEKIT__CLIENT_INFO__SDK__SWIFT},
        {"swift", LIVEKIT__CLIENT_INFO__SDK__SWIFT},
        {"android", LIVEKIT__CLIENT_INFO__SDK__ANDROID},
        {"flutter", LIVEKIT__CLIENT_INFO__SDK__FLUTTER},
        {"go", LIVEKIT__CLIENT_INFO__SDK__GO},
        {"unity", LIVEKIT__CLIENT_INFO__SDK__UNITY},
        {"reactnative", LIVEKIT__CLIENT_INFO__SDK__REACT_NATIVE},
        {"rust", LIVEKIT__CLIENT_INFO__SDK__RUST},
        {"python", LIVEKIT__CLIENT_INFO__SDK__PYTHON},
        {"cpp", LIVEKIT__CLIENT_INFO__SDK__CPP},
        {"unityweb", LIVEKIT__CLIENT_INFO__SDK__UNITY_WEB},
        {"node", LIVEKIT__CLIENT_INFO__SDK__NODE},
        {"unreal", LIVEKIT__CLIENT_INFO__SDK__UNREAL},
        {"esp32", LIVEKIT__CLIENT_INFO__SDK__ESP32},
        {"dotnet", LIVEKIT__CLIENT_INFO__SDK__DOTNET},
    };
    for (size_t i = 0; name && i < LK_LEN(names); i++)
        if (lk_str_ieq(lk_str_of(name), names[i].name))
            return names[i].sdk;
    return LIVEKIT__CLIENT_INFO__SDK__CPP;
}

static char *text_or_none(const char *text)
{
    return text && *text ? (char *)text : NULL;
}

static lk_err pack_join(lk_arena *arena, const lk_signal_join *join, lk_bytes *out)
{
    Livekit__ClientInfo client = LIVEKIT__CLIENT_INFO__INIT;
    Livekit__ConnectionSettings settings = LIVEKIT__CONNECTION_SETTINGS__INIT;
    Livekit__SessionDescription offer = LIVEKIT__SESSION_DESCRIPTION__INIT;
    Livekit__JoinRequest request = LIVEKIT__JOIN_REQUEST__INIT;
    Livekit__WrappedJoinRequest wrapped = LIVEKIT__WRAPPED_JOIN_REQUEST__INIT;
    client.has_sdk = 1;
    client.sdk = sdk_of(join->sdk);
    client.version = text_or_none(join->version);
    client.has_protocol = 1;
    client.protocol = LK_SIGNAL_PROTOCOL;
    client.os = text_or_none(join->os);
    client.os_version = text_or_none(join->os_version);
    client.device_model = text_or_none(join->device_model);
    client.other_sdks = text_or_none(join->other_sdks);
    settings.has_auto_subscribe = 1; /* absent would mean false */
    settings.auto_subscribe = join->auto_subscribe;
    settings.has_adaptive_stream = join->adaptive_stream;
    settings.adaptive_stream = join->adaptive_stream;
    request.client_info = &client;
    request.connection_settings = &settings;
    if (join->offer.len) {
        offer.type = (char *)"offer";
        offer.sdp = lk_pbuf_strdup(arena, join->offer);
        offer.has_id = 1;
        offer.id = join->offer_id;
        request.publisher_offer = &offer;
        if (!offer.sdp)
            return LK_ERR_NOMEM;
    }
    lk_bytes inner;
    lk_err err = lk_pbuf_pack(&request.base, arena, &inner);
    if (err)
        return err;
    wrapped.has_join_request = 1;
    wrapped.join_request = (ProtobufCBinaryData){inner.len, (uint8_t *)inner.data};
    return lk_pbuf_pack(&wrapped.base, arena, out);
}

lk_err lk_signal_join_target(lk_text *out, const lk_env *env, lk_str prefix, bool validate, const lk_signal_join *join)
{
    lk_arena arena;
    lk_bytes packed;
    lk_arena_init(&arena, env, 1u << 20);
    lk_err err = pack_join(&arena, join, &packed);
    if (!err) {
        lk_text_str(out, prefix);
        lk_text_z(out, validate ? "/rtc/v1/validate?join_request=" : "/rtc/v1?join_request=");
        lk_base64_put(out, LK_BASE64_URL, packed.data, packed.len); /* with padding: the server insists */
        err = out->bad ? LK_ERR_NOMEM : LK_OK;
    }
    lk_arena_deinit(&arena);
    return err;
}

static void put_query(lk_text *out, char separator, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    lk_text_ch(out, separator);
    lk_text_z(out, key);
    lk_text_ch(out, '=');
    lk_text_url(out, lk_str_of(value));
}

lk_err lk_signal_join_target_v0(lk_text *out, lk_str prefix, const lk_signal_join *join)
{
    char number[LK_STR_FMT_MAX];
    lk_text_str(out, prefix);
    lk_text_z(out, "/rtc");
    put_query(out, '?', "sdk", join->sdk && *join->sdk ? join->sdk : "cpp");
    put_query(out, '&', "protocol", lk_u64_text(LK_SIGNAL_PROTOCOL, number));
    put_query(out, '&', "auto_subscribe", join->auto_subscribe ? "1" : "0"); /* absent would mean 1 */
    put_query(out, '&', "adaptive_stream", join->adaptive_stream ? "1" : "0");
    put_query(out, '&', "version", join->version);
    put_query(out, '&', "os", join->os);
    put_query(out, '&', "os_version", join->os_version);
    put_query(out, '&', "device_model", join->device_model);
    put_query(out, '&', "other_sdks", join->other_sdks);
    return out->bad ? LK_ERR_NOMEM : LK_OK;
}
