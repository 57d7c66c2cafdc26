# SPDX-License-Identifier: Apache-2.0
"""Pictures at the C ABI: video_convert against the stock library, its errors, its buffers."""
import ctypes
import os
import random
import subprocess
import sys
import threading

import pytest

import raw
from livekit.rtc import VideoFrame
from livekit.rtc._proto.video_frame_pb2 import VideoBufferInfo, VideoBufferType as T

RGB = (T.RGBA, T.ABGR, T.ARGB, T.BGRA, T.RGB24)
FORMATS = T.values()
HALF = (T.I420, T.I420A, T.I010, T.NV12)
# What the stock library converts and does not die of.
STOCK = {T.RGBA: (T.BGRA, T.I420), T.ARGB: (T.I420,), T.BGRA: (T.RGBA, T.I420), T.RGB24: (T.I420,),
         T.I420: (T.RGBA, T.ABGR, T.ARGB, T.BGRA, T.RGB24, T.I420), T.I420A: (T.I420, T.I420A),
         T.I422: (T.RGBA, T.ABGR, T.ARGB, T.I420, T.I422), T.I444: (T.RGBA, T.BGRA, T.I420, T.I444),
         T.I010: (T.RGBA, T.BGRA, T.I420), T.NV12: (T.RGBA, T.BGRA, T.I420)}
SIZES = [(1, 1), (2, 2), (3, 3), (7, 1), (1, 7), (17, 5), (34, 18), (33, 31), (640, 3)]


def planes(kind, width, height):
    """(bytes in a row, rows) of each plane."""
    w, h = (width + 1) // 2, (height + 1) // 2
    if kind in RGB:
        return [(width * (3 if kind == T.RGB24 else 4), height)]
    return {T.I420: [(width, height), (w, h), (w, h)], T.I420A: [(width, height), (w, h), (w, h), (width, height)],
            T.I422: [(width, height), (w, height), (w, height)], T.I444: [(width, height)] * 3,
            T.I010: [(width * 2, height), (w * 2, h), (w * 2, h)], T.NV12: [(width, height), (w * 2, h)]}[kind]


def length(kind, width, height):
    return sum(row * rows for row, rows in planes(kind, width, height))


def noise(kind, width, height):
    data = bytearray(random.Random(f"{kind} {width} {height}").randbytes(length(kind, width, height)))
    if kind == T.I010:
        data[1::2] = bytes(b & 3 for b in data[1::2])
    return data


class Buffer:
    """A picture in memory, with padding after each row (NV12 and the like keep their bytes together)."""

    def __init__(self, kind, width, height, data, pad=0):
        self.kind, self.parts, out, at = kind, [], bytearray(), 0
        for row, rows in planes(kind, width, height):
            start = len(out)
            for _ in range(rows):
                out += data[at:at + row] + b"\xcc" * pad
                at += row
            self.parts.append((start, row + pad, len(out) - start))
        self.memory = (ctypes.c_uint8 * len(out)).from_buffer(out)
        base = ctypes.addressof(self.memory)
        self.info = VideoBufferInfo(type=kind, width=width, height=height, data_ptr=base)
        if kind in RGB:
            self.info.stride = self.parts[0][1]
        else:
            for start, stride, size in self.parts:
                samples = stride // 2 if kind == T.I010 else stride
                self.info.components.add(data_ptr=base + start, stride=samples, size=size)


def convert(lib, buffer, to, flip_y=False):
    """The pixels and the description of the new buffer; an error is raised with its text."""
    response = lib.request("video_convert", flip_y=flip_y, dst_type=to, buffer=buffer.info)
    if response.WhichOneof("message") == "error":
        raise ValueError(response.error)
    owned = response.buffer
    pixels = ctypes.string_at(owned.info.data_ptr, length(owned.info.type, owned.info.width, owned.info.height))
    assert lib.drop(owned.handle.id)
    return pixels, owned.info


def samples(kind, pixels):
    return memoryview(pixels).cast("H") if kind == T.I010 else pixels


def worst(kind, a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(samples(kind, a), samples(kind, b)))


def flipped(kind, width, height, pixels):
    out, at = bytearray(), 0
    for row, rows in planes(kind, width, height):
        lines = [pixels[at + i * row:at + (i + 1) * row] for i in range(rows)]
        out += b"".join(reversed(lines))
        at += row * rows
    return bytes(out)


@pytest.mark.parametrize("source", STOCK, ids=T.Name)
def test_what_the_stock_library_converts_is_converted_alike(source):
    libraries = [raw.Library(raw.path_of(name)) for name in ("ours", "stock")]
    for library in libraries:
        library.initialize()
    for to in STOCK[source]:
        for width, height in SIZES:
            for pad in (0, 10)[:1 if source in RGB and to in RGB else 2]:  # where the stock library reads no strides
                for flip in (False, True):
                    buffer = Buffer(source, width, height, noise(source, width, height), pad)
                    ours, stock = (convert(library, buffer, to, flip) for library in libraries)
                    what = (T.Name(source), T.Name(to), width, height, pad, flip)
                    assert worst(to, ours[0], stock[0]) <= 2, what
                    assert (ours[1].type, ours[1].width, ours[1].height) == (stock[1].type, stock[1].width, stock[1].height)
                    assert ours[1].HasField("stride") == stock[1].HasField("stride"), what
                    assert ours[1].stride == stock[1].stride, what
                    assert [(c.stride, c.size) for c in ours[1].components] == \
                           [(c.stride, c.size) for c in stock[1].components], what
    for library in libraries:
        library.dispose()


@pytest.mark.parametrize("source", FORMATS, ids=T.Name)
def test_every_format_becomes_every_other(lib, source):
    for to in FORMATS:
        for width, height in SIZES:
            data = noise(source, width, height)
            plain, info = convert(lib, Buffer(source, width, height, data), to)
            assert (info.type, info.width, info.height) == (to, width, height)
            assert info.data_ptr % 64 == 0
            if to in RGB:
                assert info.stride == planes(to, width, height)[0][0] and not info.components
            else:
                at = info.data_ptr
                assert not info.HasField("stride") and len(info.components) == len(planes(to, width, height))
                for c, (row, rows) in zip(info.components, planes(to, width, height)):
                    assert (c.data_ptr, c.stride, c.size) == (at, row // 2 if to == T.I010 else row, row * rows)
                    at += row * rows
            if source == to:
                assert plain == data
            padded = Buffer(source, width, height, data, pad=6)
            assert convert(lib, padded, to)[0] == plain
            if source not in HALF or to not in HALF or height % 2 == 0:
                over = convert(lib, padded, to, True)[0]
                if to not in HALF:
                    assert over == flipped(to, width, height, plain), (T.Name(to), width, height)
                else:
                    again = convert(lib, Buffer(source, width, height, flipped(source, width, height, data)), to)[0]
                    assert over == again, (T.Name(to), width, height)


COLOURS = {"white": ((255, 255, 255), (235, 128, 128)), "black": ((0, 0, 0), (16, 128, 128)),
           "red": ((255, 0, 0), (82, 90, 240)), "green": ((0, 255, 0), (144, 54, 34)), "blue": ((0, 0, 255), (41, 240, 110))}


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("kind", RGB, ids=T.Name)
def test_colours_are_named_by_bytes_in_memory_and_are_bt601(lib, name, kind):
    (r, g, b), yuv = COLOURS[name]
    pixel = bytes({"R": r, "G": g, "B": b, "A": 255}[c] for c in T.Name(kind).removesuffix("24"))
    got, _ = convert(lib, Buffer(kind, 6, 4, pixel * 24), T.I420)
    assert worst(T.I420, got, bytes([yuv[0]] * 24 + [yuv[1]] * 6 + [yuv[2]] * 6)) <= 1
    back, _ = convert(lib, Buffer(T.I420, 6, 4, got), kind)
    assert worst(kind, back, pixel * 24) <= 4


def test_alpha_is_kept_where_there_is_room_for_it_and_opaque_otherwise(lib):
    rgba = noise(T.RGBA, 6, 4)
    i420a, _ = convert(lib, Buffer(T.RGBA, 6, 4, rgba), T.I420A)
    assert i420a[-24:] == rgba[3::4]
    assert convert(lib, Buffer(T.I420A, 6, 4, i420a), T.ARGB)[0][0::4] == rgba[3::4]
    assert set(convert(lib, Buffer(T.RGB24, 6, 4, noise(T.RGB24, 6, 4)), T.I420A)[0][-24:]) == {255}
    assert set(convert(lib, Buffer(T.NV12, 6, 4, noise(T.NV12, 6, 4)), T.ABGR)[0][0::4]) == {255}


def test_strides_that_say_nothing_are_as_short_as_can_be(lib):
    for kind in FORMATS:
        buffer = Buffer(kind, 10, 6, noise(kind, 10, 6))
        want, _ = convert(lib, buffer, T.BGRA)
        buffer.info.ClearField("stride")
        for c in buffer.info.components:
            c.stride = 0
        assert convert(lib, buffer, T.BGRA)[0] == want
        del buffer.info.components[:]
        assert convert(lib, buffer, T.BGRA)[0] == want, T.Name(kind)


def test_strides_of_ten_bit_pictures_may_be_bytes(lib):
    buffer = Buffer(T.I010, 11, 5, noise(T.I010, 11, 5), pad=4)
    want, _ = convert(lib, buffer, T.I420)
    for c in buffer.info.components:
        c.stride *= 2
    assert convert(lib, buffer, T.I420)[0] == want


def broken(change, kind=T.I420, width=16, height=8):
    buffer = Buffer(kind, width, height, noise(kind, width, height))
    change(buffer.info)
    return buffer


def assign(**fields):
    return lambda info: [setattr(info, key, value) for key, value in fields.items()]


def component(n, **fields):
    return lambda info: [setattr(info.components[n], key, value) for key, value in fields.items()]


BROKEN = {
    "no width": (broken(assign(width=0)), "width and height must not be 0"),
    "no height": (broken(assign(height=0)), "width and height must not be 0"),
    "packed without height": (broken(assign(height=0), T.RGBA), "width and height must not be 0"),
    "huge width": (broken(assign(width=2**32 - 1)), "the picture is too large"),
    "packed, huge width": (broken(assign(width=2**32 - 1, stride=0), T.RGBA), "a stride is too large"),
    "packed, huge height": (broken(assign(height=2**32 - 1), T.RGBA), "the picture is too large"),
    "packed, both huge": (broken(assign(width=60000, height=60000, stride=240000), T.RGBA), "the picture is too large"),
    "above 256 MiB": (broken(assign(width=16384, height=16384, stride=65536), T.RGBA), "the picture is too large"),
    "no data": (broken(assign(data_ptr=0), T.RGBA), "a plane is missing"),
    "no planes": (broken(lambda info: (info.ClearField("components"), info.ClearField("data_ptr"))), "a plane is missing"),
    "a plane too few": (broken(lambda info: info.components.pop()), "a plane is missing"),
    "null plane": (broken(component(1, data_ptr=0)), "a plane is missing"),
    "short plane": (broken(component(2, size=31)), "a plane is smaller than its rows"),
    "short stride": (broken(component(0, stride=15)), "a stride is shorter than a row"),
    "packed, short stride": (broken(assign(stride=63), T.RGBA), "a stride is shorter than a row"),
    "stride of 4 GB": (broken(component(0, stride=2**32 - 1, size=0)), "a stride is too large"),
    "odd stride of 16 bits": (broken(component(0, stride=33, size=0), T.I010), "16-bit samples at an odd address"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_picture_that_cannot_be_is_an_error(lib, case):
    buffer, text = BROKEN[case]
    with pytest.raises(ValueError, match=f"^invalid request: {text}$"):
        convert(lib, buffer, T.RGBA if buffer.kind == T.I420 else T.I420)


def test_a_request_without_a_picture_is_an_error(lib):
    response = lib.request("video_convert", dst_type=T.I420)
    assert response.error.startswith("invalid request: ")


def test_a_plane_may_end_with_its_last_row(lib):
    buffer = Buffer(T.I420, 16, 8, noise(T.I420, 16, 8), pad=16)
    want, _ = convert(lib, buffer, T.RGBA)
    for c in buffer.info.components:
        c.size -= 16
    assert convert(lib, buffer, T.RGBA)[0] == want


def test_a_frame_lives_until_it_is_dropped_and_goes_with_dispose(both):
    buffer = Buffer(T.I420, 64, 64, noise(T.I420, 64, 64))
    first, second = (both.request("video_convert", dst_type=T.RGBA, buffer=buffer.info).buffer for _ in range(2))
    assert first.handle.id != second.handle.id and first.info.data_ptr != second.info.data_ptr
    kept = ctypes.string_at(second.info.data_ptr, 64 * 64 * 4)
    assert both.drop(first.handle.id) and not both.drop(first.handle.id)
    assert ctypes.string_at(second.info.data_ptr, 64 * 64 * 4) == kept
    both.dispose()
    assert not both.drop(second.handle.id)


def test_a_picture_handle_is_no_other_handle(lib):
    buffer = Buffer(T.I420, 4, 4, noise(T.I420, 4, 4))
    owned = lib.request("video_convert", dst_type=T.I420, buffer=buffer.info).buffer
    with pytest.raises(LookupError):
        lib.request("get_stats", track_handle=owned.handle.id)
    assert lib.drop(owned.handle.id)


def test_many_threads_convert_at_once(lib):
    buffer = Buffer(T.NV12, 320, 180, noise(T.NV12, 320, 180))
    want, _ = convert(lib, buffer, T.RGB24)
    wrong = []

    def work():
        for _ in range(20):
            if convert(lib, buffer, T.RGB24)[0] != want:
                wrong.append(1)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


SDK = """
from livekit.rtc import VideoFrame
from livekit.rtc._proto.video_frame_pb2 import VideoBufferType as T
import livekit.rtc.video_frame as layout
import random
for source in T.values():
    for to in T.values():
        for width, height in (16, 8), (7, 5), (1, 1):
            data = bytearray(random.randbytes(layout._get_plane_length(source, width, height)))
            if source == T.I010:
                data[1::2] = bytes(b & 3 for b in data[1::2])
            frame = VideoFrame(width, height, source, data)
            got = frame.convert(to)
            assert (got.width, got.height, got.type) == (width, height, to)
            assert len(got.data) == layout._get_plane_length(to, width, height)
            if source == to:
                assert bytes(got.data) == bytes(data)
                assert bytes(frame.convert(to, flip_y=True).convert(to, flip_y=True).data) == bytes(data)
red = VideoFrame(4, 4, T.BGRA, bytes((0, 0, 255, 255)) * 16).convert(T.I420)
assert all(abs(a - b) <= 1 for a, b in zip(red.data, [82] * 16 + [90] * 4 + [240] * 4)), bytes(red.data)
top = VideoFrame(2, 2, T.RGB24, bytes((1, 2, 3, 1, 2, 3, 7, 8, 9, 7, 8, 9))).convert(T.RGBA, flip_y=True)
assert bytes(top.data) == bytes((7, 8, 9, 255, 7, 8, 9, 255, 1, 2, 3, 255, 1, 2, 3, 255))
try:
    VideoFrame(0, 4, T.RGBA, b"").convert(T.I420)
except Exception as error:
    assert str(error) == "invalid request: width and height must not be 0", error
else:
    raise SystemExit("a picture of no width was converted")
print("converted")
"""


def test_the_python_sdk_converts_every_pair():
    env = os.environ | {"LIVEKIT_LIB_PATH": str(raw.path_of("ours"))}
    result = subprocess.run([sys.executable, "-c", SDK], env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and result.stdout == "converted\n", result.stdout + result.stderr


# ---- sources and streams -------------------------------------------------------------------------------------------------

def new_camera(lib, width=64, height=48):
    """A source and a stream that looks at it."""
    source = lib.request("new_video_source", type=0, resolution={"width": width, "height": height}).source.handle.id
    track = lib.request("create_video_track", name="v", source_handle=source).track.handle.id
    return source, track, lib.request("new_video_stream", track_handle=track, type=0, normalize_stride=True).stream.handle.id


def capture(lib, source, buffer, timestamp=0, rotation=0):
    lib.request("capture_video_frame", source_handle=source, buffer=buffer.info, timestamp_us=timestamp, rotation=rotation)


def next_frame(lib, stream, start, width, height):
    """The first picture of that size of the stream, after that event."""
    def fits(event):
        seen = event.video_stream_event
        return (raw.kind(event) == "video_stream_event.frame_received" and seen.stream_handle == stream
                and (seen.frame_received.buffer.info.width, seen.frame_received.buffer.info.height) == (width, height))
    return lib.wait(fits, start=start, what=f"a picture of {width}x{height}")[1].video_stream_event.frame_received


def wait_for_eyes(lib, source, stream):
    """Until the stream is attached to the source: the first captures may find nobody who looks."""
    buffer = Buffer(T.I420, 2, 2, noise(T.I420, 2, 2))
    for _ in range(200):
        start = len(lib.events)
        capture(lib, source, buffer)
        try:
            lib.wait(lambda e: raw.kind(e) == "video_stream_event.frame_received", seconds=0.1, start=start)
            return
        except TimeoutError:
            pass
    raise AssertionError("the stream sees nothing")


def test_a_stream_of_a_local_track_sees_what_is_captured_in_any_size(lib):
    source, _, stream = new_camera(lib)
    wait_for_eyes(lib, source, stream)
    for width, height, kind in [(64, 48, T.I420), (640, 360, T.RGBA), (1, 1, T.I420), (17, 5, T.NV12), (1280, 720, T.BGRA), (64, 48, T.I420)]:
        start = len(lib.events)
        buffer = Buffer(kind, width, height, noise(kind, width, height))
        capture(lib, source, buffer, timestamp=1000 * width, rotation=1)
        seen = next_frame(lib, stream, start, width, height)
        info = seen.buffer.info
        assert info.type == T.I420 and seen.rotation == 1
        want, _ = convert(lib, buffer, T.I420)
        assert ctypes.string_at(info.data_ptr, len(want)) == want
        assert lib.drop(seen.buffer.handle.id)


@pytest.mark.parametrize("case", BROKEN)
def test_a_frame_that_cannot_be_is_rejected_and_the_source_goes_on(lib, case):
    source, _, stream = new_camera(lib)
    wait_for_eyes(lib, source, stream)
    buffer, text = BROKEN[case]
    with pytest.raises(LookupError):
        capture(lib, source, buffer)
    lib.log(0, f"capture_video_frame: {text}")
    start = len(lib.events)
    capture(lib, source, Buffer(T.I420, 16, 8, noise(T.I420, 16, 8)))
    assert next_frame(lib, stream, start, 16, 8)


def test_a_frame_of_no_source_or_no_type_is_rejected(lib):
    source, track, _ = new_camera(lib)
    buffer = Buffer(T.I420, 16, 8, noise(T.I420, 16, 8))
    for handle in (0, 10 ** 15, track):
        with pytest.raises(LookupError):
            capture(lib, handle, buffer)
    assert lib.drop(source)
    with pytest.raises(LookupError):
        capture(lib, source, buffer)


def test_the_newest_frame_is_kept_when_nobody_takes_them_in_time(lib):
    """The default queue holds one: what is seen last is what was captured last, and memory stays bounded."""
    source, _, stream = new_camera(lib)
    wait_for_eyes(lib, source, stream)
    for n in range(300):
        capture(lib, source, Buffer(T.I420, 64, 48, bytes([n % 200 + 16]) * length(T.I420, 64, 48)), timestamp=n)
    last = bytes([299 % 200 + 16])
    lib.wait(lambda e: raw.kind(e) == "video_stream_event.frame_received"
             and ctypes.string_at(e.video_stream_event.frame_received.buffer.info.data_ptr, 1) == last, what="the last picture")


def test_a_stream_ends_once(lib):
    source, track, stream = new_camera(lib)
    wait_for_eyes(lib, source, stream)
    assert lib.drop(track)
    lib.wait(lambda e: raw.kind(e) == "video_stream_event.eos", what="the end")
    capture(lib, source, Buffer(T.I420, 16, 8, noise(T.I420, 16, 8)))
    assert lib.drop(source)
    ends = [e for e in lib.events if raw.kind(e) == "video_stream_event.eos"]
    assert len(ends) == 1
