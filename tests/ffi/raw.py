# SPDX-License-Identifier: Apache-2.0
"""The C ABI of liblivekit_ffi by ctypes, without the SDK: requests by name, events in the order they came."""
import ctypes
import os
import pathlib
import threading
import time

from livekit.rtc._proto import ffi_pb2

ROOT = pathlib.Path(__file__).resolve().parents[2]


def path_of(library):
    """The file of "ours" or "stock"; LK_INTEROP_LIBRARY names another file for ours."""
    if library == "ours":
        return pathlib.Path(os.environ.get("LK_INTEROP_LIBRARY", ROOT / "build/liblivekit_ffi.so"))
    import livekit.rtc
    return next(pathlib.Path(livekit.rtc.__file__).parent.glob("resources/*ffi*.so"))


CALLBACK = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)
# The stock library may still call after dispose has returned: what it calls must stay where it is.
KEPT = []


class Library:
    """One loaded library. events: every FfiEvent but logs, in order; logs apart."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.livekit_ffi_initialize.argtypes = [CALLBACK, ctypes.c_bool, ctypes.c_char_p, ctypes.c_char_p]
        self.lib.livekit_ffi_initialize.restype = None
        self.lib.livekit_ffi_request.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p),
                                                 ctypes.POINTER(ctypes.c_size_t)]
        self.lib.livekit_ffi_request.restype = ctypes.c_uint64
        self.lib.livekit_ffi_drop_handle.argtypes = [ctypes.c_uint64]
        self.lib.livekit_ffi_drop_handle.restype = ctypes.c_bool
        self.lib.livekit_ffi_dispose.argtypes = []
        self.lib.livekit_ffi_dispose.restype = None
        self.events, self.logs = [], []
        self.changed = threading.Condition()
        self.callback = CALLBACK(self.on_event)
        KEPT.append(self.callback)
        self.on = None

    def initialize(self, capture_logs=True):
        self.lib.livekit_ffi_initialize(self.callback, capture_logs, b"python", b"1.2.1")

    def on_event(self, data, length):
        event = ffi_pb2.FfiEvent.FromString(ctypes.string_at(data, length))
        with self.changed:
            if event.WhichOneof("message") == "logs":
                self.logs += event.logs.records
            else:
                self.events.append(event)
            self.changed.notify_all()
        if self.on:
            self.on(event)

    def raw(self, data, length=None):
        """(handle, response bytes or None, out parameters untouched?)"""
        res, size = ctypes.c_void_p(0x1234), ctypes.c_size_t(0x5678)
        handle = self.lib.livekit_ffi_request(data, len(data) if length is None else length, ctypes.byref(res),
                                              ctypes.byref(size))
        untouched = res.value == 0x1234 and size.value == 0x5678
        body = ctypes.string_at(res.value, size.value) if handle else None
        return handle, body, untouched

    def request(self, name, /, **fields):
        """Sends one request; returns the response's sub-message. Raises LookupError when it is refused."""
        request = ffi_pb2.FfiRequest()
        message = getattr(request, name)
        message.SetInParent()
        for key, value in fields.items():
            if isinstance(value, (dict, list)) or hasattr(value, "SerializeToString"):
                fill(message, key, value)
            else:
                setattr(message, key, value)
        handle, body, _ = self.raw(request.SerializePartialToString())
        if not handle:
            raise LookupError(name)
        response = ffi_pb2.FfiResponse.FromString(body)
        assert self.drop(handle)
        return getattr(response, response.WhichOneof("message"))

    def drop(self, handle):
        return self.lib.livekit_ffi_drop_handle(handle)

    def dispose(self):
        self.lib.livekit_ffi_dispose()

    def wait(self, fits, seconds=20, start=0, what="event"):
        """The first event from index `start` on for which fits(event); (index, event)."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for i in range(start, len(self.events)):
                    if fits(self.events[i]):
                        return i, self.events[i]
                start = max(start, len(self.events))  # each is looked at once: many who wait for much would slow each other down
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no {what} in {seconds} s; events {[kind(e) for e in self.events[-20:]]}, "
                                       f"logs {[r.message for r in self.logs[-8:]]}")
                self.changed.wait(left)

    def callback_of(self, name, response, seconds=20):
        """The one callback event of an asynchronous request."""
        return getattr(self.wait(lambda e: e.WhichOneof("message") == name and
                                 getattr(e, name).async_id == response.async_id, seconds, what=name)[1], name)

    def room_event(self, name, start=0, seconds=20, room=None):
        return self.wait(lambda e: e.WhichOneof("message") == "room_event" and
                         e.room_event.WhichOneof("message") == name and
                         room in (None, e.room_event.room_handle), seconds, start, what=name)

    def log(self, level, text, seconds=20):
        """The first record of that level that contains text."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for record in self.logs:
                    if record.level == level and text in record.message:
                        return record
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no log record with {text!r}; saw {[r.message for r in self.logs[-8:]]}")
                self.changed.wait(left)


def fill(message, key, value):
    field = getattr(message, key)
    if isinstance(value, dict):
        if hasattr(field, "update") and not hasattr(field, "DESCRIPTOR"):
            field.update(value)
            return
        field.SetInParent()
        for k, v in value.items():
            fill(field, k, v) if isinstance(v, (dict, list)) else setattr(field, k, v)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                added = field.add()
                for k, v in item.items():
                    fill(added, k, v) if isinstance(v, (dict, list)) else setattr(added, k, v)
            else:
                field.append(item)
    else:
        field.CopyFrom(value)


def kind(event):
    """Short name of an event: "connect", "room.track_published", ..."""
    name = event.WhichOneof("message")
    if name == "room_event":
        return "room." + event.room_event.WhichOneof("message")
    if name in ("audio_stream_event", "video_stream_event"):
        return name + "." + getattr(event, name).WhichOneof("message")
    return name
