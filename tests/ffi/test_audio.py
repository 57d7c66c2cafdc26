# SPDX-License-Identifier: Apache-2.0
"""Audio sources, streams and converters at the C ABI, without a server: pace, back-pressure, sizes, ends."""
import ctypes
import math
import time

import numpy as np
import pytest

import raw

FORMAT = "an RtcError occurred: InvalidState - sample_rate and num_channels don't match"
PENDING = "an RtcError occurred: InvalidState - failed to capture frame"


def pcm(samples, channels=1, hz=440, rate=48000):
    tone = (8000 * np.sin(2 * math.pi * hz * np.arange(samples) / rate)).astype(np.int16)
    return np.repeat(tone, channels)


def buffer_of(samples, rate=48000, channels=1):
    """Keep the array as long as the message is in use."""
    return {"data_ptr": samples.ctypes.data, "num_channels": channels, "sample_rate": rate,
            "samples_per_channel": len(samples) // channels}


def new_source(lib, queue_ms=1000, rate=48000, channels=1):
    return lib.request("new_audio_source", type=0, sample_rate=rate, num_channels=channels,
                       queue_size_ms=queue_ms).source.handle.id


def capture(lib, source, milliseconds=None, samples=None, rate=48000, channels=1):
    data = pcm(rate * milliseconds // 1000 if samples is None else samples, channels)
    began = time.monotonic()
    response = lib.request("capture_audio_frame", source_handle=source, buffer=buffer_of(data, rate, channels))
    return response, began


def error_of(lib, response, seconds=20):
    return lib.callback_of("capture_audio_frame", response, seconds).error


def frames_of(lib, stream, count, start=0):
    out = []
    for _ in range(count):
        start, event = lib.wait(lambda e: raw.kind(e) == "audio_stream_event.frame_received" and
                                e.audio_stream_event.stream_handle == stream, start=start)
        start += 1
        out.append(event.audio_stream_event.frame_received.frame)
    return out


def heard(lib, stream, count):
    """So many frames from the first that is loud: before it comes what was played until the capture had its turn."""
    start, _ = lib.wait(lambda e: raw.kind(e) == "audio_stream_event.frame_received" and e.audio_stream_event.stream_handle == stream and
                        abs(samples_of(e.audio_stream_event.frame_received.frame)).max() > 4000, what="sound")
    return frames_of(lib, stream, count, start)


def samples_of(frame):
    n = frame.info.samples_per_channel * frame.info.num_channels
    return np.frombuffer(ctypes.string_at(frame.info.data_ptr, 2 * n), dtype=np.int16)


def ends(lib, stream):
    return [e for e in lib.events if raw.kind(e) == "audio_stream_event.eos" and
            e.audio_stream_event.stream_handle == stream]


# ---- sources ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("queue_ms,milliseconds,expected", [(10000, 11000, 1.0), (100, 1000, 0.9), (10000, 6000, 0.0)])
def test_a_capture_ends_when_the_queue_has_room(both, queue_ms, milliseconds, expected):
    """And not, as with the long queues, only when all of it has been played."""
    began = time.monotonic()  # the source counts from its creation
    response, _ = capture(both, new_source(both, queue_ms), milliseconds)
    assert error_of(both, response) == ""
    took = time.monotonic() - began
    assert expected - 0.05 <= took <= expected + 2.5, took


def test_a_second_pending_capture_is_an_error(both):
    source = new_source(both, 100)
    first, _ = capture(both, source, 10000 if both.name == "ours" else 3000)
    second, _ = capture(both, source, 10)
    assert error_of(both, second) == PENDING
    assert both.request("clear_audio_buffer", source_handle=source) is not None
    began = time.monotonic()
    assert error_of(both, first) == ""
    if both.name == "ours":
        assert time.monotonic() - began < 4, "cleared: the pending one ends with the next 10 ms"


@pytest.mark.parametrize("rate,channels", [(44100, 1), (48000, 2)])
def test_a_capture_in_another_format_is_an_error(both, rate, channels):
    response, _ = capture(both, new_source(both), 10, rate=rate, channels=channels)
    assert error_of(both, response) == FORMAT


def test_without_a_queue_it_is_ten_milliseconds(both):
    source = new_source(both, 0)
    response, _ = capture(both, source, samples=480)
    assert error_of(both, response) == ""
    response, _ = capture(both, source, samples=960)
    assert error_of(both, response) == ("an RtcError occurred: InvalidState - direct capture requires 10ms frames: "
                                        "got 960 frames, expected 480")


def test_no_samples_are_captured_at_once(both):
    response, _ = capture(both, new_source(both), samples=0)
    assert error_of(both, response) == ""


def test_a_null_pointer_with_samples_is_rejected(lib):
    source = new_source(lib)
    with pytest.raises(LookupError):
        lib.request("capture_audio_frame", source_handle=source,
                    buffer={"data_ptr": 0, "num_channels": 1, "sample_rate": 48000, "samples_per_channel": 480})


def test_a_dropped_source_still_answers_its_capture(both):
    source = new_source(both, 100)
    response, _ = capture(both, source, 400)
    assert both.drop(source)
    assert error_of(both, response) == ""


def test_an_odd_queue_size_is_taken(lib):
    response, _ = capture(lib, new_source(lib, 25), 20)
    assert error_of(lib, response) == ""


@pytest.mark.parametrize("fields", [{"sample_rate": 0}, {"sample_rate": 4000000}, {"num_channels": 0},
                                    {"num_channels": 200}, {"queue_size_ms": 4000000000}], ids=str)
def test_a_source_out_of_range_is_rejected(lib, fields):
    with pytest.raises(LookupError):
        lib.request("new_audio_source", type=0, **fields)


def test_a_source_of_a_sound_device_is_rejected(lib):
    with pytest.raises(LookupError):
        lib.request("new_audio_source", type=1)
    lib.log(0, "AUDIO_SOURCE_PLATFORM")


# ---- streams ----------------------------------------------------------------------------------------------------------------

def new_track(lib, **source):
    handle = new_source(lib, **source)
    return handle, lib.request("create_audio_track", name="t", source_handle=handle).track.handle.id


@pytest.mark.parametrize("rate,channels,milliseconds,samples", [(48000, 1, 0, 480), (48000, 2, 0, 480), (16000, 2, 25, 400),
                                                                (8000, 1, 20, 160), (24000, 1, 100, 2400)])
def test_frames_have_the_size_asked_for(lib, rate, channels, milliseconds, samples):
    source, track = new_track(lib, queue_ms=10000)
    stream = lib.request("new_audio_stream", track_handle=track, type=0, sample_rate=rate, num_channels=channels,
                          frame_size_ms=milliseconds).stream.handle.id
    response, _ = capture(lib, source, 10000)
    assert error_of(lib, response) == ""
    frames = heard(lib, stream, 12 if milliseconds < 100 else 5)
    for frame in frames:
        assert (frame.info.sample_rate, frame.info.num_channels, frame.info.samples_per_channel) == (rate, channels, samples)
        assert frame.info.data_ptr % 2 == 0
    loud = np.concatenate([samples_of(f) for f in frames])
    assert abs(loud).max() > 4000
    if channels == 2:
        assert abs(loud[::2].astype(int) - loud[1::2]).max() <= 3, "one channel in both"


def test_frames_come_at_the_pace_of_playout(lib):
    began = time.monotonic()  # the source counts from its creation, so none can come earlier
    _, track = new_track(lib)
    arrived = []
    lib.on = lambda frame: arrived.append(time.monotonic())
    stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
    frames_of(lib, stream, 200)
    assert time.monotonic() - began > 1.98
    assert min(b - a for a, b in zip(arrived, arrived[50:])) < 0.75, arrived  # half a second, wherever nothing held it up


def test_several_streams_of_one_track_hear_the_same(lib):
    source, track = new_track(lib, queue_ms=10000)
    streams = [lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id for _ in range(3)]
    response, _ = capture(lib, source, 10000)
    assert error_of(lib, response) == ""
    for stream in streams:
        assert all(abs(samples_of(f)).max() > 4000 for f in heard(lib, stream, 20))


def drop_stream(lib, track, stream):
    return lib.drop(stream)


def drop_track(lib, track, stream):
    return lib.drop(track)


@pytest.mark.parametrize("ending", [drop_stream, drop_track], ids=["stream", "track"])
def test_a_stream_ends_once_and_says_nothing_afterwards(lib, ending):
    _, track = new_track(lib)
    stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
    frames_of(lib, stream, 3)
    assert ending(lib, track, stream)
    at, _ = lib.wait(lambda e: raw.kind(e) == "audio_stream_event.eos" and e.audio_stream_event.stream_handle == stream)
    other = lib.request("new_audio_stream", track_handle=new_track(lib)[1], type=0).stream.handle.id
    frames_of(lib, other, 20)  # 200 ms later
    assert len(ends(lib, stream)) == 1
    assert not [e for e in lib.events[at + 1:] if e.WhichOneof("message") == "audio_stream_event" and
                e.audio_stream_event.stream_handle == stream]
    if ending is drop_track:
        assert lib.drop(stream), "the handle is the client's, ended or not"
        assert len(ends(lib, stream)) == 1


def test_a_frame_outlives_its_stream(lib):
    source, track = new_track(lib, queue_ms=10000)
    stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
    response, _ = capture(lib, source, 10000)
    error_of(lib, response)
    frame = heard(lib, stream, 1)[0]
    before = samples_of(frame).copy()
    for handle in (stream, track, source):
        assert lib.drop(handle)
    lib.wait(lambda e: raw.kind(e) == "audio_stream_event.eos")
    assert (samples_of(frame) == before).all()
    assert lib.drop(frame.handle.id)


def test_frames_nobody_takes_are_bounded(lib):
    """The callback blocks for the time of fifty; all but the queue of the stream and a few are missing afterwards, by the
    numbers that are played. Where the source did not get its turn meanwhile, the callback blocks again."""
    source, track = new_track(lib, queue_ms=20000)
    stream = lib.request("new_audio_stream", track_handle=track, type=0, queue_size_frames=5).stream.handle.id
    played = np.repeat(np.arange(1, 2001, dtype=np.int16), 480)
    came, missing = [], []

    def on_event(event):
        number = raw.kind(event) == "audio_stream_event.frame_received" and int(samples_of(event.audio_stream_event.frame_received.frame)[0])
        if number:
            missing.extend(number - last - 1 for last in came[-1:])
            came.append(number)
            if max(missing, default=0) < 40:
                time.sleep(0.5)
    lib.on = on_event
    assert error_of(lib, lib.request("capture_audio_frame", source_handle=source, buffer=buffer_of(played))) == ""
    lib.wait(lambda _: max(missing, default=0) >= 40, what="a gap")
    assert min(missing) >= 0, "and nothing comes twice"


@pytest.mark.parametrize("fields", [{"type": 1}, {"sample_rate": 1}, {"num_channels": 99}, {"frame_size_ms": 100000},
                                    {"audio_filter_module_id": "krisp"}], ids=str)
def test_a_stream_that_cannot_be_is_rejected(lib, fields):
    _, track = new_track(lib)
    with pytest.raises(LookupError):
        lib.request("new_audio_stream", track_handle=track, **fields)


def test_mute_silences_a_local_track_for_nobody_but_the_room(lib):
    _, track = new_track(lib)
    assert lib.request("local_track_mute", track_handle=track, mute=True).muted
    assert not lib.request("local_track_mute", track_handle=track, mute=False).muted
    with pytest.raises(LookupError):
        lib.request("enable_remote_track", track_handle=track, enabled=True)
    lib.log(0, "track is not a remote track")


# ---- converters ---------------------------------------------------------------------------------------------------------------

def sox(lib, **fields):
    return lib.request("new_sox_resampler", **{"input_rate": 48000, "output_rate": 16000, "num_channels": 1,
                                               "input_data_type": 0, "output_data_type": 0, "quality_recipe": 2, **fields})


def push(lib, handle, data):
    answer = lib.request("push_sox_resampler", resampler_handle=handle, data_ptr=data.ctypes.data, size=data.nbytes)
    assert not answer.error
    return ctypes.string_at(answer.output_ptr, answer.size) if answer.size else b""


def flush(lib, handle):
    answer = lib.request("flush_sox_resampler", resampler_handle=handle)
    assert not answer.error
    return ctypes.string_at(answer.output_ptr, answer.size) if answer.size else b""


@pytest.mark.parametrize("channels,quality", [(1, 0), (1, 2), (2, 4)])
def test_soxr_gives_what_the_stock_library_gives(lib, channels, quality):
    import conftest
    stock = conftest.loaded("stock")
    outputs = []
    for one in (lib, stock):
        handle = sox(one, num_channels=channels, quality_recipe=quality).resampler.handle.id
        out = b"".join(push(one, handle, pcm(480, channels)) for _ in range(20)) + flush(one, handle)
        assert len(out) == 3200 * 2 * channels
        again = push(one, handle, pcm(4800, channels)) + flush(one, handle)
        assert len(again) == 1600 * 2 * channels, "it can be used again"
        assert one.drop(handle)
        outputs.append(out)
    stock.dispose()
    ours, theirs = (np.frombuffer(out, dtype=np.int16).astype(int) for out in outputs)
    assert abs(ours - theirs).max() <= 8, "the same but for the dither"


def test_soxr_takes_a_long_input(lib):
    handle = sox(lib).resampler.handle.id
    out = push(lib, handle, pcm(48000 * 30)) + flush(lib, handle)
    assert len(out) == 16000 * 30 * 2


def test_soxr_takes_no_input(lib):
    handle = sox(lib).resampler.handle.id
    assert lib.request("push_sox_resampler", resampler_handle=handle, data_ptr=0, size=0).size == 0
    with pytest.raises(LookupError):
        lib.request("push_sox_resampler", resampler_handle=handle, data_ptr=0, size=960)


@pytest.mark.parametrize("fields", [{"input_rate": 0}, {"output_rate": -1}, {"num_channels": 0}, {"input_data_type": 1},
                                    {"input_rate": float("nan")}, {"input_rate": float("inf")}], ids=str)
def test_soxr_says_what_it_cannot(lib, fields):
    assert sox(lib, **fields).error


@pytest.mark.parametrize("rate,channels", [(16000, 1), (24000, 2), (48000, 1)])
def test_remix_gives_ten_milliseconds(both, rate, channels):
    handle = both.request("new_audio_resampler").resampler.handle.id
    data = pcm(960, 2)
    for _ in range(3):
        frame = both.request("remix_and_resample", resampler_handle=handle, buffer=buffer_of(data, channels=2),
                             num_channels=channels, sample_rate=rate).buffer
        assert (frame.info.samples_per_channel, frame.info.num_channels, frame.info.sample_rate) == (
            rate // 100, channels, rate)
        assert both.drop(frame.handle.id)


def test_remix_out_of_range_is_rejected(lib):
    handle = lib.request("new_audio_resampler").resampler.handle.id
    data = pcm(480)
    for fields in ({"num_channels": 0, "sample_rate": 48000}, {"num_channels": 1, "sample_rate": 0}):
        with pytest.raises(LookupError):
            lib.request("remix_and_resample", resampler_handle=handle, buffer=buffer_of(data), **fields)
    with pytest.raises(LookupError):
        lib.request("remix_and_resample", resampler_handle=handle, num_channels=1, sample_rate=48000)
