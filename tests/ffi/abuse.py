# SPDX-License-Identifier: Apache-2.0
"""Everything a host application can do wrong at the C ABI, to our library and to the stock one; prints a table.

    .peers/venv/bin/python tests/ffi/abuse.py                      all rows on both libraries, as in the nightly
    .peers/venv/bin/python tests/ffi/abuse.py --library ours --rows mutated --requests 2000 --seed 7

Each row runs in child processes, a batch of requests or one ending a child, so that what kills a child costs one batch. What
was asked last is kept in memory the parent can read: it is printed with the seed that repeats it.

Pointers in requests are those of real memory as long as the request says, of the right length or null with a length;
what a request calls shorter than its own numbers need is called so, the memory behind it is there. A pointer to nothing is
out of scope for every library.
"""
import argparse
import collections
import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import random
import signal
import socket
import struct
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]
import peers  # noqa: E402
from endurance import owned  # noqa: E402
import raw  # noqa: E402
from livekit.rtc._proto import ffi_pb2  # noqa: E402

REQUESTS = list(ffi_pb2.FfiRequest.DESCRIPTOR.fields)
SILENCE_SECONDS = 20  # a child that makes no progress for so long hangs
BATCH = 200
PIECES = 10

# ---- memory that requests point at -----------------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
ARENA, VAST, PAGE = 64 << 20, 8 << 30, 4096
READ, WRITE, PRIVATE, ANONYMOUS, NORESERVE = 1, 2, 2, 0x20, 0x4000


class Memory:
    """An arena that ends at a page nobody may touch, and zeroes without end for what claims to be huge."""

    def __init__(self):
        self.start = LIBC.mmap(None, ARENA + PAGE, READ | WRITE, PRIVATE | ANONYMOUS | NORESERVE, -1, 0)
        LIBC.mprotect(self.start + ARENA, PAGE, 0)
        self.vast = LIBC.mmap(None, VAST, READ, PRIVATE | ANONYMOUS | NORESERVE, -1, 0)

    def of(self, length, written=False):
        """Memory of exactly that length, its end at the forbidden page; 0 if there is none."""
        if length <= ARENA:
            return self.start + ARENA - length
        return self.vast if length <= VAST and not written else 0


def rows_of(info):
    return max(info.height, 1), max(info.stride, info.width * 4)


def give_memory(message, memory, rng, null=0.15):
    """Sets every pointer below message to memory as long as the message's own numbers make it, or to null."""
    def pointer(length, written=False):
        return 0 if rng.random() < null else memory.of(length, written)
    name = message.DESCRIPTOR.name
    if name == "AudioFrameBufferInfo":
        message.data_ptr = pointer(2 * message.num_channels * message.samples_per_channel)
    elif name == "VideoBufferInfo":
        rows, stride = rows_of(message)
        message.data_ptr = pointer(2 * rows * stride)
        for plane in message.components:
            plane.data_ptr = pointer(max(plane.size, 2 * rows * max(plane.stride, message.width * 2)))
    elif "data_ptr" in message.DESCRIPTOR.fields_by_name and name != "ComponentInfo":
        size = getattr(message, "size" if "size" in message.DESCRIPTOR.fields_by_name else "data_len")
        message.data_ptr = pointer(size, name.startswith("Apm"))
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else (value,):
                give_memory(one, memory, rng, null)


def has_pointer(message):
    return any(field.name == "data_ptr" or (field.message_type is not None and not field.message_type.GetOptions().map_entry
               and any(has_pointer(one) for one in (value if field.is_repeated else (value,))))
               for field, value in message.ListFields())


# ---- requests out of the schema --------------------------------------------------------------------------------------

TEXTS = ["", "a", "t", "TR_x", "ws://127.0.0.1:1", "http://", "ws://", "ftp://127.0.0.1", "x" * 300, "\N{SNOWMAN}", "a\nb", "{}", "../x"]
NUMBERS = [0, 1, 2, 3, 7, 10, 25, 160, 480, 8000, 16000, 48000, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
WHOLE = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 13: "uint32", 8: "bool", 9: "string", 12: "bytes",
         14: "enum", 11: "message"}
HUGE = {"int32": [-1, -2 ** 31, 2 ** 31 - 1], "uint32": [0, 2 ** 31, 2 ** 32 - 1], "int64": [-1, -2 ** 63, 2 ** 63 - 1],
        "uint64": [0, 2 ** 63, 2 ** 64 - 1], "double": [float("nan"), float("inf"), -1e308, 1e308, 5e-324],
        "float": [float("nan"), float("inf"), -1e30]}


class Maker:
    """Makes requests; knows the handles it was told of."""

    def __init__(self, rng, memory):
        self.rng, self.memory, self.live, self.dropped = rng, memory, [], []

    def handle(self, wanted=None):
        draw = self.rng.random()
        if draw < 0.8 and self.live:
            return self.rng.choice(self.live[-200:])
        if draw < 0.9 and self.dropped:
            return self.rng.choice(self.dropped[-50:])
        return self.rng.choice([0, 2 ** 64 - 1, 10 ** 12, self.rng.randrange(1, 5000)])

    def scalar(self, field, wild=0.1):
        kind, rng = WHOLE[field.type], self.rng
        if kind == "bool":
            return rng.random() < 0.5
        if kind == "string":
            return rng.choice(TEXTS)
        if kind == "bytes":
            return rng.randbytes(rng.choice([0, 1, 32, 1000]))
        if kind == "enum":
            return rng.choice(field.enum_type.values).number
        if kind in ("double", "float"):
            return rng.choice(HUGE[kind]) if rng.random() < wild else float(rng.choice(NUMBERS))
        if kind == "uint64" and "handle" in field.name:
            return self.handle()
        value = rng.choice(HUGE[kind]) if rng.random() < wild else rng.choice(NUMBERS[:-3])
        return value

    def fill(self, message, presence=0.7, wild=0.1, depth=0):
        groups = collections.defaultdict(list)
        for field in message.DESCRIPTOR.fields:
            groups[field.containing_oneof.full_name if field.containing_oneof else field.full_name].append(field)
        for fields in groups.values():
            field = self.rng.choice(fields)
            if self.rng.random() > presence or (field.type == 11 and depth > 4):
                continue
            if field.type == 11 and field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[self.rng.choice(TEXTS)] = self.rng.choice(TEXTS)
            elif field.type == 11:
                for one in ([getattr(message, field.name).add() for _ in range(self.rng.randrange(4))] if field.is_repeated
                            else [getattr(message, field.name)]):
                    one.SetInParent() if not field.is_repeated else None
                    self.fill(one, presence, wild, depth + 1)
            elif field.is_repeated:
                getattr(message, field.name).extend(self.scalar(field, wild) for _ in range(self.rng.randrange(4)))
            else:
                setattr(message, field.name, self.scalar(field, wild))

    def request(self, name=None, **how):
        """A request with pointers to memory; dispose is rare."""
        request = ffi_pb2.FfiRequest()
        if name is None:
            name = self.rng.choice(REQUESTS).name
            if name == "dispose" and self.rng.random() > 0.05:
                name = "new_audio_source"
        member = getattr(request, name)
        member.SetInParent()
        self.fill(member, **how)
        if name == "connect":  # soon over, and nowhere but here
            member.options.connect_timeout_ms = 100
            member.options.join_retries = 0
            member.options.rtc_config.ClearField("ice_servers")
        if name == "dispose":
            setattr(member, "async", self.rng.random() < 0.5)
        give_memory(request, self.memory, self.rng)
        return request

    def took(self, body):
        """Notes the handles an answer tells of."""
        owned(ffi_pb2.FfiResponse.FromString(body), self.live)

    def drop_one(self, lib):
        if self.live and self.rng.random() < 0.7:
            handle = self.live.pop(self.rng.randrange(len(self.live)))
            self.dropped.append(handle)
            lib.drop(handle)
        else:
            lib.drop(self.handle())


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        how = rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 5])
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(data):
            data[at] = rng.choice([0, 0x7f, 0x80, 0xff, rng.randrange(256)])
        elif how == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif how == 3:
            del data[at:at + rng.randrange(1, 9)]
        elif how == 4:
            data = data[:at]
        else:
            data[at:at] = data[at:at + rng.randrange(1, 40)]
    return bytes(data)


def harmless(data, memory, rng):
    """The same request with its pointers (if it has any) to memory that is there."""
    try:
        request = ffi_pb2.FfiRequest.FromString(data)
    except Exception:
        return data  # no library reads more of it than this one
    if has_pointer(request) or (request.WhichOneof("message") or "") == "connect":
        if request.WhichOneof("message") == "connect":
            request.connect.options.connect_timeout_ms = 100
            request.connect.url = rng.choice(TEXTS)
            request.connect.options.rtc_config.ClearField("ice_servers")
        give_memory(request, memory, rng)
        return request.SerializePartialToString()
    return data


# ---- what a child does ----------------------------------------------------------------------------------------------

class Child:
    """A library in this process, and the counters the parent reads."""

    def __init__(self, library, seed, board, initialize=True):
        self.board, self.rng, self.memory = board, random.Random(seed), Memory()
        self.maker = Maker(self.rng, self.memory)
        self.lib = raw.Library(raw.path_of(library))
        self.lib.on = self.on_event
        if initialize:
            self.lib.initialize()

    def on_event(self, event):
        if event.WhichOneof("message") == "panic":
            self.board.count("panics")
        if len(self.lib.events) > 300:
            with self.lib.changed:
                del self.lib.events[:200], self.lib.logs[:]

    def send(self, data, what):
        self.board.asked(what, data)
        res, size = ctypes.c_void_p(0), ctypes.c_size_t(0)
        handle = self.lib.lib.livekit_ffi_request(data, len(data), ctypes.byref(res), ctypes.byref(size))
        if not handle:
            self.board.count("refused")
            return None
        if not res.value or not size.value:
            self.board.count("wrong")  # an answer without an answer
            return None
        body = ctypes.string_at(res.value, size.value)
        self.maker.took(body)
        if not self.lib.drop(handle):
            self.board.count("wrong")
        return body

    def ask(self, request):
        return self.send(request.SerializePartialToString(), request.WhichOneof("message"))

    def stock_objects(self):
        """One of each kind that needs no room."""
        made = []
        for name, fields in (("new_audio_source", dict(type=0, sample_rate=48000, num_channels=1, queue_size_ms=1000)),
                             ("new_video_source", dict(type=0, resolution={"width": 64, "height": 48})), ("new_audio_resampler", {}),
                             ("new_sox_resampler", dict(input_rate=48000, output_rate=16000, num_channels=1))):
            answer = self.lib.request(name, **fields)
            made.append((answer.resampler if "resampler" in name else answer.source).handle.id)
        for name, source in (("create_audio_track", made[0]), ("create_video_track", made[1])):
            made.append(self.lib.request(name, name="t", source_handle=source).track.handle.id)
        for name, track in (("new_audio_stream", made[4]), ("new_video_stream", made[5])):
            made.append(self.lib.request(name, type=0, track_handle=track).stream.handle.id)
        self.maker.live += made

    def join(self, url, room, who, ready=True):
        answer = self.lib.request("connect", url=url, token=peers.token(who, room), options={})
        result = self.lib.callback_of("connect", answer, 30).result
        if ready:
            self.lib.request("ready_for_room_event", room_handle=result.room.handle.id)
        return result.room.handle.id, result.local_participant.handle.id

    def call(self, url, room):
        """Two of this library with sound on its way: (rooms, participants, source, stream)."""
        from test_audio import frames_of, new_track
        self.lib.on, kept = None, self.lib.on
        source, track = new_track(self.lib)
        bob, bob_me = self.join(url, room, "bob")
        alice, me = self.join(url, room, "alice")
        answer = self.lib.request("publish_track", local_participant_handle=me, track_handle=track, options={"source": 2})
        publication = self.lib.callback_of("publish_track", answer).publication.handle.id
        remote = self.lib.room_event("track_subscribed", room=bob)[1].room_event.track_subscribed.track.handle.id
        stream = self.lib.request("new_audio_stream", track_handle=remote, type=0).stream.handle.id
        frames_of(self.lib, stream, 2)
        self.maker.live += [source, track, bob, bob_me, alice, me, publication, remote, stream]
        self.lib.on = kept
        return stream


def random_requests(child, url, count):
    child.stock_objects()
    for _ in range(count):
        child.ask(child.maker.request())
        if child.rng.random() < 0.1:
            child.maker.drop_one(child.lib)


def random_in_a_room(child, url, count):
    child.call(url, f"abuse-{os.getpid()}")
    random_requests(child, url, count)


def mutated_requests(child, url, count):
    child.stock_objects()
    seeds = [child.maker.request(field.name, wild=0).SerializePartialToString() for field in REQUESTS]
    for _ in range(count):
        data = mutate(child.rng.choice(seeds), child.rng)
        child.send(harmless(data, child.memory, child.rng), "mutated")


def out_of_order(child, url, count):
    """The requests of an ordinary call, each with handles of the right kind, in any order, again and again."""
    child.call(url, f"abuse-{os.getpid()}")
    script = ["ready_for_room_event", "publish_track", "unpublish_track", "publish_data", "set_local_metadata", "set_local_name",
              "local_track_mute", "set_subscribed", "get_stats", "get_session_stats", "new_audio_stream", "capture_audio_frame",
              "clear_audio_buffer", "create_audio_track", "new_audio_source", "new_video_source", "create_video_track",
              "capture_video_frame", "new_video_stream", "audio_stream_from_participant", "enable_remote_track", "disconnect",
              "set_track_subscription_permissions", "remix_and_resample", "new_audio_resampler"]
    for _ in range(count):
        child.ask(child.maker.request(child.rng.choice(script), presence=0.95, wild=0.02))
        if child.rng.random() < 0.05:
            child.maker.drop_one(child.lib)


def handle_fields(message):
    for field in message.DESCRIPTOR.fields:
        if field.type == 4 and field.name.endswith("handle"):
            yield field.name


def wrong_handles(child, url, count):
    """Each request with each kind of wrong handle: never issued, dropped, 0, and one of each other kind."""
    child.call(url, f"abuse-{os.getpid()}")
    child.stock_objects()
    gone = child.lib.request("new_audio_resampler").resampler.handle.id
    child.lib.drop(gone)
    live = list(child.maker.live)
    for field in REQUESTS[count::PIECES]:
        for handle in [0, 10 ** 15, 2 ** 64 - 1, gone, *live]:
            request = child.maker.request(field.name, presence=1, wild=0)
            member = getattr(request, field.name)
            for name in handle_fields(member):
                setattr(member, name, handle)
            if field.name in ("dispose", "disconnect") and handle in live:
                continue  # those are right
            child.ask(request)


def each_field(message, path=()):
    """Every scalar field below a request: its path of fields."""
    for field in message.fields:
        if field.type == 11:
            if len(path) < 4 and not field.message_type.GetOptions().map_entry:
                yield from each_field(field.message_type, path + (field,))
        else:
            yield path + (field,)


def put(message, path, value):
    for field in path[:-1]:
        inner = getattr(message, field.name)
        message = (inner[0] if len(inner) else inner.add()) if field.is_repeated else inner
    last = path[-1]
    if last.is_repeated:
        del getattr(message, last.name)[:]
        getattr(message, last.name).append(value)
    else:
        setattr(message, last.name, value)


def absurd_numbers(child, url, count):
    """Each number of each request at its limits, the rest sane; handles are right."""
    for member in REQUESTS[count::PIECES]:
        for path in each_field(member.message_type):
            kind = WHOLE[path[-1].type]
            if kind not in HUGE or path[-1].name == "data_ptr" or path[-1].name.endswith("handle"):
                continue
            for value in HUGE[kind]:
                child.maker.live.clear()
                child.stock_objects()
                request = child.maker.request(member.name, presence=1, wild=0)
                try:
                    put(getattr(request, member.name), path, value)
                except ValueError:
                    continue
                right_handles(child, getattr(request, member.name), member.name)
                give_memory(request, child.memory, child.rng, null=0)
                child.ask(request)
                for handle in child.maker.live:
                    child.lib.drop(handle)


def right_handles(child, member, name):
    """Handles of the kind the request wants, from stock_objects()."""
    kinds = ["audio_source", "video_source", "resampler", "sox", "audio_track", "video_track"]
    for field in handle_fields(member):
        kind = field.replace("_handle", "")
        if kind == "source":
            kind = ("video_" if "video" in name else "audio_") + kind
        elif kind == "track":
            kind = ("video_" if "video" in name else "audio_") + kind
        elif kind == "resampler" and "sox" in name:
            kind = "sox"
        if kind in kinds:
            setattr(member, field, child.maker.live[kinds.index(kind)])


def absurd_strings(child, url, count):
    """Each text of each request empty, huge, with NUL, and (on the wire) not UTF-8."""
    child.stock_objects()
    mark = "MARKMARK"
    for member in REQUESTS[count::PIECES]:
        for path in each_field(member.message_type):
            if WHOLE[path[-1].type] not in ("string", "bytes"):
                continue
            for text in ("", "x" * (1 << 20), "a\0b", b"\xff\xfeMARK\xc3", b"\xed\xa0\x80MARK!"):
                request = child.maker.request(member.name, presence=1, wild=0)
                value = text if isinstance(text, str) else mark
                put(getattr(request, member.name), path, value.encode() if WHOLE[path[-1].type] == "bytes" else value)
                data = request.SerializePartialToString()
                child.send(data if isinstance(text, str) else data.replace(mark.encode(), text), member.name)


def short_memory(child, url, count):
    """Null with a length, lengths below what the numbers need, planes that are missing or too small."""
    named = [f for f in REQUESTS if any(p[-1].name == "data_ptr" for p in each_field(f.message_type))]
    for _ in range(max(count // len(named), 1)):
        child.maker.live.clear()
        child.stock_objects()
        for member in named:
            request = child.maker.request(member.name, presence=0.95, wild=0)
            inner = getattr(request, member.name)
            right_handles(child, inner, member.name)
            buffer = getattr(inner, "buffer", None)
            if member.name in ("capture_video_frame", "video_convert"):
                buffer.width, buffer.height = child.rng.choice([(2, 2), (1, 1), (640, 480), (16, 3)])
                for plane in buffer.components:
                    plane.size = child.rng.choice([0, 1, 100, 640 * 480])
                    plane.stride = child.rng.choice([0, 1, 320, 640])
            elif member.name in ("capture_audio_frame", "remix_and_resample"):
                buffer.num_channels, buffer.sample_rate = child.rng.choice([0, 1, 2, 9]), 48000
                buffer.samples_per_channel = child.rng.choice([0, 1, 479, 480, 48000])
            elif "size" in inner.DESCRIPTOR.fields_by_name:
                inner.size = child.rng.choice([0, 1, 2, 3, 959, 960])
            give_memory(request, child.memory, child.rng, null=child.rng.choice([0, 0.5, 1]))
            child.ask(request)
        for handle in child.maker.live:
            child.lib.drop(handle)


# ---- callbacks that misbehave, and endings --------------------------------------------------------------------------

def from_the_callback(child, url, count):
    """Requests and drops from within callbacks, of the event's own handles too."""
    done, enough = [0], threading.Event()

    def on_event(event):
        child.board.beat()
        told = []
        owned(event, told)
        for handle in told:
            child.lib.drop(handle)
        if done[0] < count and event.WhichOneof("message") != "logs":
            for _ in range(20):
                done[0] += 1
                child.ask(child.maker.request(wild=0.02))
                child.maker.drop_one(child.lib)
        if done[0] >= count:
            enough.set()
        if event.WhichOneof("message") == "panic":
            child.board.count("panics")
    child.call(url, f"abuse-{os.getpid()}")
    keep = child.lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
    child.lib.on = on_event
    while not enough.is_set():
        child.board.beat() if done[0] < count else None
        # A dispose among the requests ends the events: begin again.
        child.lib.initialize()
        with_source = child.lib.raw(ffi_pb2.FfiRequest(capture_audio_frame=capture_request(child, keep)).SerializePartialToString())
        if not with_source[0]:
            keep = child.lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
        enough.wait(0.005)


def capture_request(child, source):
    from livekit.rtc._proto import audio_frame_pb2
    return audio_frame_pb2.CaptureAudioFrameRequest(source_handle=source, buffer=audio_frame_pb2.AudioFrameBufferInfo(
        data_ptr=child.memory.of(960), num_channels=1, sample_rate=48000, samples_per_channel=480))


def dispose_in_connect(child, url, count):
    for _ in range(2):
        child.lib.request("connect", url=url, token=peers.token(f"p{os.getpid()}", "abuse"), options={})
    time.sleep(child.rng.random() * 0.06)  # anywhere between the first byte and the end
    child.board.asked("dispose", b"")
    child.lib.dispose()


def dispose_in_a_callback(child, url, count):
    gone = threading.Event()

    def on_event(event):
        if event.WhichOneof("message") == "audio_stream_event" and not gone.is_set():
            child.board.asked("dispose in a callback", b"")
            child.lib.dispose()
            gone.set()
    child.call(url, f"abuse-{os.getpid()}")
    child.lib.on = on_event
    gone.wait(SILENCE_SECONDS * 2)  # the parent sees it hang before


def dispose_with_frames(child, url, count):
    child.call(url, f"abuse-{os.getpid()}")
    for _ in range(20):
        child.lib.raw(ffi_pb2.FfiRequest(capture_audio_frame=capture_request(child, child.maker.live[0])).SerializePartialToString())
    time.sleep(child.rng.random() * 0.02)
    child.board.asked("dispose with frames", b"")
    child.lib.dispose()


def exit_without_dispose(child, url, count):
    child.call(url, f"abuse-{os.getpid()}")
    time.sleep(child.rng.random() * 0.02)
    child.board.asked("exit", b"")
    leave(child)


def exit_in_openssl(child, url, count):
    """The loop is in handshakes: TLS with what never ends one, DTLS of a connect to the server."""
    for target in (url, child.board.tls_url, child.board.tls_url):
        child.lib.request("connect", url=target, token=peers.token(f"p{os.getpid()}", "abuse"), options={})
    time.sleep(child.rng.random() * 0.05)
    child.board.asked("exit", b"")
    leave(child)


def leave(child):
    """As a program ends: by the interpreter, or by exit() of C with callbacks still on their way."""
    if child.rng.random() < 0.5:
        LIBC.exit(0)
    sys.exit(0)


# Row: what it does, requests of a whole run (0: those it consists of), ends by itself, children of a whole run.
ROWS = {"random": (random_requests, 40000), "random in a room": (random_in_a_room, 10000), "mutated": (mutated_requests, 30000),
        "out of order in a room": (out_of_order, 20000), "wrong handles": (wrong_handles, 0), "absurd numbers": (absurd_numbers, 0),
        "absurd strings": (absurd_strings, 0), "null and short memory": (short_memory, 4000),
        "requests and drops in a callback": (from_the_callback, 4000)}
ENDS = {"dispose during connect": dispose_in_connect, "dispose in a callback": dispose_in_a_callback,
        "dispose with frames in flight": dispose_with_frames, "exit without dispose": exit_without_dispose,
        "exit while the loop is in OpenSSL": exit_in_openssl}
IN_PIECES = {"wrong handles", "absurd numbers", "absurd strings"}  # every tenth request of the schema a child


# ---- the parent ------------------------------------------------------------------------------------------------------

class Board:
    """Counters and the last request, in memory that parent and child share."""
    NAMES = ["requests", "refused", "panics", "wrong", "beats", "skip"]
    TEXT = 256

    def __init__(self, tls_url=""):
        self.memory, self.tls_url = mmap.mmap(-1, 8 * len(self.NAMES) + self.TEXT), tls_url

    def get(self, name):
        return struct.unpack_from("q", self.memory, 8 * self.NAMES.index(name))[0]

    def count(self, name, by=1):
        struct.pack_into("q", self.memory, 8 * self.NAMES.index(name), self.get(name) + by)

    def beat(self):
        self.count("beats")

    def asked(self, what, data):
        self.count("requests")
        self.beat()
        text = f"{what} {data[:80].hex()}".encode()[:self.TEXT]
        self.memory[-self.TEXT:] = text + bytes(self.TEXT - len(text))

    def last(self):
        return self.memory[-self.TEXT:].rstrip(b"\0").decode()


def run_child(library, how, seed, count, url, tls_url):
    """(outcome, board): "ok", "crash <signal>", "hang", "failed <status>"."""
    board = Board(tls_url)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            report = os.dup(2)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            child = Child(library, seed, board)
            how(child, url, count)
            status = 0
            LIBC._exit(0)  # without what the stock library does at its end: that has rows of its own
        except SystemExit:
            raise
        except BaseException as error:
            os.write(report, f"{how.__name__} on {library}, seed {seed}: {error!r}\n".encode())
        finally:
            if status:
                LIBC._exit(7) if sys.exc_info()[0] is not SystemExit else None
    seen, since = -1, time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        beats = board.get("beats")
        if beats != seen:
            seen, since = beats, time.monotonic()
        if time.monotonic() - since > SILENCE_SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hang", board
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return f"crash {signal.Signals(os.WTERMSIG(status)).name}", board
    return ("ok" if os.WEXITSTATUS(status) == 0 else f"failed {os.WEXITSTATUS(status)}"), board


def run_row(library, row, url, tls_url, share, seed, say):
    figures = collections.Counter(requests=0, refused=0, panics=0, wrong=0, crashes=0, hangs=0, failed=0, runs=0)
    if row in ENDS:
        plan = [(ENDS[row], 1)] * max(int(100 * share), 1)
    elif row in IN_PIECES:
        plan = [(ROWS[row][0], piece) for piece in range(PIECES)]
    else:
        how, requests = ROWS[row]
        requests = max(int(requests * share), 50)
        plan = [(how, min(BATCH, requests - at)) for at in range(0, requests, BATCH)]
    for i, (how, count) in enumerate(plan):
        outcome, board = run_child(library, how, f"{seed} {row} {i}", count, url, tls_url)
        figures["runs"] += 1
        for name in ("requests", "refused", "panics", "wrong"):
            figures[name] += board.get(name)
        if outcome != "ok":
            figures[{"crash": "crashes", "hang": "hangs", "failed": "failed"}[outcome.split()[0]]] += 1
            say(f"{library}: {row}, run {i}, seed {seed}: {outcome} after {board.get('requests')}: {board.last()}")
    return figures


BAD = ("crashes", "hangs", "panics", "wrong", "failed")


def print_table(table, libraries):
    """As it stands in docs/ffi.md; what was counted, a library a column."""
    print("\n| row | runs |" + "".join(f" {name}: requests | refused | ended by |" for name in libraries))
    print("|---|---|" + "---|---|---|" * len(libraries))
    for row in dict.fromkeys(row for _, row in table):
        cells = []
        for library in libraries:
            f = table[library, row]
            ended = [f"{f[name]} {name}" for name in BAD if f[name]] or ["nothing"]
            cells += [f["requests"], f["refused"], ", ".join(ended)]
        print(f"| {row} | {f['runs']} | " + " | ".join(map(str, cells)) + " |")


def complaints(table):
    """Ours has no row in which anything ends it, and so none in which the stock library does better."""
    wrong = [f"{row}: {name} {f[name]}" for (library, row), f in table.items() if library == "ours" for name in BAD if f[name]]
    for (library, row), f in table.items():
        if library == "ours" and ("stock", row) in table:
            wrong += [f"{row}: more {name} than the stock library" for name in BAD if f[name] > table["stock", row][name]]
    return wrong


def tls_listener():
    """A port that takes a ClientHello and never answers it whole."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=500)

    def serve():
        held = []
        while True:
            one, _ = listener.accept()
            held.append(one)
            del held[:-50]
    threading.Thread(target=serve, daemon=True).start()
    return f"wss://127.0.0.1:{listener.getsockname()[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=["ours", "stock"], action="append")
    parser.add_argument("--rows", help="those whose name contains this")
    parser.add_argument("--exactly", action="store_true", help="only the row of exactly that name")
    parser.add_argument("--url", help="of a server that runs; else one is started")
    parser.add_argument("--share", type=float, default=1.0, help="of the requests and runs of a whole table")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    libraries, table = options.library or ["ours", "stock"], {}
    tls_url = tls_listener()
    with contextlib.nullcontext() if options.url else peers.Server() as server:
        for row in [*ROWS, *ENDS]:
            if options.rows and (options.rows != row if options.exactly else options.rows not in row):
                continue
            for library in libraries:
                began = time.monotonic()
                table[library, row] = run_row(library, row, options.url or server.url, tls_url, options.share, options.seed,
                                              lambda text: print(text, file=sys.stderr, flush=True))
                print(json.dumps({"library": library, "row": row, "seconds": round(time.monotonic() - began, 1),
                                  **table[library, row]}), flush=True)
    if len(table) > 1:
        print_table(table, libraries)
    wrong = complaints(table)
    print("\n".join(wrong) or "nothing ends ours")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
