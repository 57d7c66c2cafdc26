# SPDX-License-Identifier: Apache-2.0
"""Requests at the C ABI without a server: bad input, handles, ids, refusals."""
import pytest

import raw
from livekit.rtc._proto import ffi_pb2

ERROR, WARN = 0, 1
REQUESTS = ffi_pb2.FfiRequest.DESCRIPTOR.fields_by_name
RESPONSES = ffi_pb2.FfiResponse.DESCRIPTOR.fields_by_name
EVENTS = ffi_pb2.FfiEvent.DESCRIPTOR.fields_by_name
BUILT = {"dispose", "connect", "ready_for_room_event", "disconnect", "get_session_stats", "publish_track",
         "unpublish_track", "set_local_metadata", "set_local_name", "set_local_attributes",
         "set_track_subscription_permissions", "create_audio_track", "local_track_mute", "enable_remote_track",
         "set_subscribed", "enable_remote_track_publication", "get_stats", "new_audio_source", "capture_audio_frame",
         "clear_audio_buffer", "new_audio_stream", "audio_stream_from_participant", "new_audio_resampler",
         "remix_and_resample", "new_sox_resampler", "push_sox_resampler", "flush_sox_resampler",
         "create_video_track", "new_video_source", "capture_video_frame", "new_video_stream",
         "video_stream_from_participant", "video_convert", "publish_data",
         "set_data_channel_buffered_amount_low_threshold",
         "update_remote_track_publication_dimension", "set_remote_track_publication_quality"}
# The stock library is built without them and rejects them; so do we.
CAPTURE = {"new_capture_source", "start_capture", "stop_capture"}
# Requests whose answer or callback event is named differently.
RESPONSE_NAMES = {"edit_chat_message": "send_chat_message"}
EVENT_NAMES = {"send_chat_message": "chat_message", "edit_chat_message": "chat_message",
               "text_stream_write": "text_stream_writer_write", "text_stream_close": "text_stream_writer_close",
               "byte_stream_write": "byte_stream_writer_write", "byte_stream_close": "byte_stream_writer_close",
               "text_read_all": "text_stream_reader_read_all", "byte_read_all": "byte_stream_reader_read_all",
               "byte_write_to_file": "byte_stream_reader_write_to_file"}


def audio_track(lib, rate=48000):
    source = lib.request("new_audio_source", type=0, sample_rate=rate, num_channels=1, queue_size_ms=1000).source
    track = lib.request("create_audio_track", name="t", source_handle=source.handle.id).track
    return source, track


def settle(lib):
    """Every log record and event made so far has been delivered (one queue; the stock library needs a moment)."""
    _, track = audio_track(lib)
    response = lib.request("get_stats", track_handle=track.handle.id)
    lib.callback_of("get_stats", response)


def errors(lib):
    return [r.message for r in lib.logs if r.level == ERROR]


def encoded(name, **fields):
    request = ffi_pb2.FfiRequest()
    getattr(request, name).SetInParent()
    for key, value in fields.items():
        setattr(getattr(request, name), key, value)
    return request.SerializePartialToString()


def member(name):
    return REQUESTS[name].number


def tag(number, wire):
    out, value = b"", number << 3 | wire
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


GARBAGE = {
    "empty": b"",
    "bytes": b"\xff\xff\xff\xff",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "cut short": encoded("connect", url="ws://example.org", token="t")[:-3],
    "length beyond the end": tag(member("connect"), 2) + b"\x7f\x01",
    "unknown member": tag(9999, 2) + b"\x00",
    "unknown members only": tag(9999, 0) + b"\x01" + tag(9998, 2) + b"\x02ab",
    "no UTF-8": tag(member("connect"), 2) + b"\x04" + tag(1, 2) + b"\x02\xff\xfe",
    "field number 0": b"\x02\x00",
    "group that never ends": tag(9999, 3),
    "groups without end": tag(9999, 3) * 200 + tag(9999, 4) * 200,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_request_is_rejected(both, data):
    handle, body, untouched = both.raw(data)
    assert (handle, body, untouched) == (0, None, True)
    if both.name == "ours":
        settle(both)
        assert len(errors(both)) == 1, errors(both)
        assert [raw.kind(e) for e in both.events] == ["get_stats"]


def test_a_null_request_is_rejected(lib):
    assert lib.raw(None, 0) == (0, None, True)
    assert lib.raw(None, 7) == (0, None, True)
    lib.log(ERROR, "message is empty")


def test_a_text_with_a_nul_is_rejected(lib):
    assert lib.raw(encoded("connect", url="ws://x\0y", token="t"))[0] == 0


def test_the_last_member_wins(both):
    data = encoded("connect", url="ws://127.0.0.1:1", token="t") + encoded("new_audio_resampler")
    handle, body, _ = both.raw(data)
    assert handle and ffi_pb2.FfiResponse.FromString(body).WhichOneof("message") == "new_audio_resampler"
    assert both.drop(handle)


def test_missing_fields_are_defaults(both):
    response = both.request("new_audio_source")
    assert response.source.handle.id and response.source.info.HasField("type")
    assert both.drop(response.source.handle.id)


def test_unknown_fields_are_skipped(both):
    source = tag(1, 0) + b"\x00" + tag(77, 2) + b"\x03abc"
    data = tag(member("new_audio_source"), 2) + bytes([len(source)]) + source
    handle, body, _ = both.raw(data)
    assert handle and ffi_pb2.FfiResponse.FromString(body).new_audio_source.source.handle.id
    assert both.drop(handle)


def test_an_unknown_number_of_an_enum_is_its_default(both):
    source = tag(1, 0) + b"\x63"
    data = tag(member("new_audio_source"), 2) + bytes([len(source)]) + source
    handle, body, _ = both.raw(data)
    assert handle
    assert ffi_pb2.FfiResponse.FromString(body).new_audio_source.source.info.type == 0
    assert both.drop(handle)


# ---- handles ----------------------------------------------------------------------------------------------------------

# Request, its field with a handle, other fields it needs, what a wrong type is called.
HANDLES = [("disconnect", "room_handle", {}), ("get_session_stats", "room_handle", {}),
           ("ready_for_room_event", "room_handle", {}), ("publish_track", "local_participant_handle", {}),
           ("unpublish_track", "local_participant_handle", {"track_sid": "TR_x"}),
           ("set_local_metadata", "local_participant_handle", {"metadata": "m"}),
           ("set_local_name", "local_participant_handle", {"name": "n"}),
           ("set_local_attributes", "local_participant_handle", {}),
           ("set_track_subscription_permissions", "local_participant_handle", {}),
           ("create_audio_track", "source_handle", {"name": "n"}), ("local_track_mute", "track_handle", {"mute": True}),
           ("enable_remote_track", "track_handle", {"enabled": True}), ("set_subscribed", "publication_handle", {}),
           ("enable_remote_track_publication", "track_publication_handle", {}),
           ("update_remote_track_publication_dimension", "track_publication_handle", {"width": 1, "height": 1}),
           ("set_remote_track_publication_quality", "track_publication_handle", {"quality": 0}), ("get_stats", "track_handle", {}),
           ("capture_audio_frame", "source_handle", {}), ("clear_audio_buffer", "source_handle", {}),
           ("new_audio_stream", "track_handle", {"type": 0}),
           ("audio_stream_from_participant", "participant_handle", {"type": 0}),
           ("remix_and_resample", "resampler_handle", {"num_channels": 1, "sample_rate": 48000}),
           ("push_sox_resampler", "resampler_handle", {}), ("flush_sox_resampler", "resampler_handle", {})]


UNCHECKED = "audio_stream_from_participant"  # the stock library makes a stream that never says anything


@pytest.mark.parametrize("both,name,field,more", [(library, *h) for library in ("ours", "stock") for h in HANDLES
                                                  if (library, h[0]) != ("stock", UNCHECKED)],
                         ids=lambda v: v if isinstance(v, str) else "", indirect=["both"])
def test_a_handle_is_checked_in_order(both, name, field, more):
    frame = both.request("new_audio_resampler").resampler.handle.id
    other = both.request("new_audio_source").source.handle.id if name == "remix_and_resample" else frame
    for handle, why in ((0, "handle is invalid"), (10 ** 15, "handle not found"), (other, "handle is not a")):
        with pytest.raises(LookupError):
            both.request(name, **{field: handle}, **more)
        both.log(ERROR, why)
    assert both.drop(frame)
    with pytest.raises(LookupError):
        both.request(name, **{field: frame}, **more)
    assert not [e for e in both.events if raw.kind(e) == name]


def test_every_handle_is_dropped_once(both):
    source, track = audio_track(both)
    stream = both.request("new_audio_stream", track_handle=track.handle.id, type=0).stream
    frame = both.wait(lambda e: raw.kind(e) == "audio_stream_event.frame_received")[1]
    resampler = both.request("new_audio_resampler").resampler
    sox = both.request("new_sox_resampler", input_rate=48000, output_rate=16000, num_channels=1, input_data_type=0,
                       output_data_type=0, quality_recipe=2).resampler
    ids = [x.handle.id for x in (source, track, stream, resampler, sox,
                                 frame.audio_stream_event.frame_received.frame)]
    assert len(set(ids)) == len(ids) and 0 not in ids
    for handle in ids:
        assert both.drop(handle) and not both.drop(handle), handle
    assert not both.drop(0) and not both.drop(2 ** 64 - 1)
    both.log(WARN, "Attempted to drop unknown FFI handle")


def test_the_answer_is_a_handle(both):
    handle, body, _ = both.raw(encoded("new_audio_resampler"))
    assert handle and body
    assert both.drop(handle) and not both.drop(handle)


def test_a_handle_of_the_answer_is_of_no_use_elsewhere(lib):
    handle, _, _ = lib.raw(encoded("new_audio_resampler"))
    with pytest.raises(LookupError):
        lib.request("get_stats", track_handle=handle)
    assert lib.drop(handle)


def test_ids_grow_and_never_come_back(both):
    seen = []
    for _ in range(50):
        handle = both.request("new_audio_resampler").resampler.handle.id
        assert both.drop(handle)
        seen.append(handle)
    assert seen == sorted(set(seen))


# ---- asynchronous answers -------------------------------------------------------------------------------------------------

def test_an_async_id_is_never_zero_and_answered_once(both):
    _, track = audio_track(both)
    ids = [both.request("get_stats", track_handle=track.handle.id).async_id for _ in range(20)]
    assert 0 not in ids and len(set(ids)) == 20
    for one in ids:
        both.wait(lambda e: e.WhichOneof("message") == "get_stats" and e.get_stats.async_id == one)
    settle(both)
    answered = [e.get_stats.async_id for e in both.events if e.WhichOneof("message") == "get_stats"]
    assert all(answered.count(one) == 1 for one in ids)
    assert both.events[0].get_stats.error == "room failure: no transceiver found for track"


@pytest.mark.parametrize("chosen", [0, 1, 2 ** 64 - 1])
def test_the_async_id_of_the_client_is_taken(both, chosen):
    _, track = audio_track(both)
    response = both.request("get_stats", track_handle=track.handle.id, request_async_id=chosen)
    assert response.async_id == chosen
    assert both.callback_of("get_stats", response).HasField("async_id")


# ---- what is not built ------------------------------------------------------------------------------------------------------

def has(descriptor, field):
    return descriptor is not None and field in descriptor.message_type.fields_by_name


def text_of(error):
    """An error is a string, or a message with a string in it."""
    return error if isinstance(error, str) else getattr(error, "description", "") or getattr(error, "message", "")


def test_every_request_of_the_schema_is_known():
    assert len(REQUESTS) == 90 and not BUILT - set(REQUESTS)


@pytest.mark.parametrize("name", sorted(set(REQUESTS) - BUILT))
def test_a_refusal_names_the_request(lib, name):
    words = f"{name}: not built yet"
    answer = RESPONSES[RESPONSE_NAMES.get(name, name)]
    if has(answer, "async_id") and name not in CAPTURE:
        chosen = lib.request(name, request_async_id=77)
        assert chosen.async_id == 77
        response = lib.request(name)
        assert response.async_id
        event = EVENT_NAMES.get(name, name)
        assert has(EVENTS[event], "error"), event
        for one in (chosen, response):
            assert text_of(lib.callback_of(event, one).error) == words
    elif has(answer, "error") and name not in CAPTURE:
        assert text_of(lib.request(name).error) == words
    else:
        assert lib.raw(encoded(name)) == (0, None, True)
        lib.log(ERROR, words)
        settle(lib)
        assert len(errors(lib)) == 1


@pytest.mark.parametrize("name", sorted(BUILT - {"dispose"}))
def test_a_built_request_survives_being_empty(lib, name):
    handle, body, untouched = lib.raw(encoded(name))
    assert bool(handle) == (body is not None)
    assert handle or untouched
    if handle:
        assert ffi_pb2.FfiResponse.FromString(body).WhichOneof("message") == name
    if handle and has(RESPONSES[name], "async_id"):
        response = getattr(ffi_pb2.FfiResponse.FromString(body), name)
        assert lib.callback_of(name, response).error


# ---- connect ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("word,options", [("encryption", {"encryption": {"encryption_type": 1}}),
                                          ("encryption", {"e2ee": {"encryption_type": 1}}),
                                          ("RELAY", {"rtc_config": {"ice_transport_type": 0}}),
                                          ("NOHOST", {"rtc_config": {"ice_transport_type": 1}})], ids=str)
def test_an_option_that_is_not_built_is_named(lib, word, options):
    response = lib.request("connect", url="ws://127.0.0.1:1", token="t", options=options)
    error = lib.callback_of("connect", response).error
    assert word in error and "not built" in error, error


def test_an_encryption_of_type_none_is_no_encryption(lib):
    options = {"encryption": {"encryption_type": 0}, "join_retries": 0}
    response = lib.request("connect", url="ws://127.0.0.1:1", token="t", options=options)
    assert "refused" in lib.callback_of("connect", response).error


URLS = {"refused": "ws://127.0.0.1:1", "no address": "", "relative": "server", "other scheme": "ftp://127.0.0.1",
        "no name": "ws://no-such-host.invalid"}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS.keys())
def test_a_connect_that_cannot_succeed_ends_with_an_error(both, url):
    response = both.request("connect", url=url, token="t", options={"join_retries": 0})
    callback = both.callback_of("connect", response, 30)
    assert callback.WhichOneof("message") == "error" and "engine: signal failure" in callback.error, callback
    assert [raw.kind(e) for e in both.events] == ["connect"]


def test_logs_come_only_when_they_are_wanted(lib):
    lib.initialize(capture_logs=False)
    assert lib.raw(b"")[0] == 0
    settle(lib)
    assert lib.logs == []
    lib.initialize(capture_logs=True)
    assert lib.raw(b"")[0] == 0
    assert lib.log(ERROR, "message is empty").target


def test_logs_hold_no_token(lib):
    token = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2ln"
    response = lib.request("connect", url="ws://127.0.0.1:1", token=token, options={"join_retries": 0})
    lib.callback_of("connect", response)
    settle(lib)
    assert not [r.message for r in lib.logs if token[:20] in r.message]
