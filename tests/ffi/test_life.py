# SPDX-License-Identifier: Apache-2.0
"""The library in a process: loading, dispose in every situation, fork, threads, what is left behind."""
import ctypes
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import conftest
import peers
import raw
from test_audio import capture, error_of, frames_of, new_source, new_track
from test_requests import encoded
from test_rooms import Joined

HERE = pathlib.Path(__file__).resolve().parent
EXPORTS = {"livekit_ffi_initialize", "livekit_ffi_request", "livekit_ffi_drop_handle", "livekit_ffi_dispose"}
MIB = 1 << 20


def threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def child(code, seconds=60):
    """Runs code in a process of its own with the library at hand as `lib`, not initialised."""
    head = f"""
import os, sys, threading, time
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / "interop")!r}]
import raw
tasks = lambda: len(os.listdir("/proc/self/task"))
files = lambda: len(os.listdir("/proc/self/fd"))
before = tasks(), files()
lib = raw.Library(raw.path_of("ours"))
"""
    return subprocess.run([sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, timeout=seconds)


def run(code, seconds=60, expected=0):
    result = child(code, seconds)
    assert result.returncode == expected, (result.returncode, result.stdout, result.stderr)
    return result


# ---- the file -----------------------------------------------------------------------------------------------------------

def test_exactly_four_functions_are_exported():
    names = subprocess.run(["nm", "-D", "--defined-only", str(raw.path_of("ours"))], capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in names.stdout.splitlines()} == EXPORTS


def test_it_is_small(tmp_path):
    stripped = tmp_path / "stripped.so"
    subprocess.run(["strip", "--strip-unneeded", "-o", str(stripped), str(raw.path_of("ours"))], check=True)
    assert stripped.stat().st_size <= 2 * MIB


def test_loading_does_nothing():
    result = run("assert (tasks(), files()) == before, (tasks(), files(), before)")
    assert result.stdout == result.stderr == ""


def test_initialising_starts_nothing():
    run("""
        lib.initialize()
        lib.initialize()
        assert (tasks(), files()) == before
        lib.dispose()
        lib.dispose()
        assert (tasks(), files()) == before and not lib.events
    """)


def test_requests_before_initialising_are_answered():
    run("""
        source = lib.request("new_audio_source", type=0).source.handle.id
        track = lib.request("create_audio_track", source_handle=source).track.handle.id
        lib.request("get_stats", track_handle=track)
        assert not lib.events
        assert lib.drop(source) and lib.drop(track)
    """)


@pytest.mark.parametrize("end", ["pass", "lib.dispose()", "os._exit(0)", "sys.exit(0)"])
def test_the_process_may_end_at_any_time(end):
    run(textwrap.dedent("""
        lib.initialize()
        source = lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
        track = lib.request("create_audio_track", source_handle=source).track.handle.id
        lib.request("new_audio_stream", track_handle=track, type=0)
        lib.request("connect", url="ws://127.0.0.1:1", token="t", options={})
        """) + end)


# ---- dispose -----------------------------------------------------------------------------------------------------------------

def busy(server, room):
    """A library with everything alive: two rooms, a publication, streams, a pending capture."""
    lib = conftest.loaded("ours")
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    source, track = new_track(lib)
    alice.publish(track)
    remote = bob.event("track_subscribed").track.handle.id
    streams = [lib.request("new_audio_stream", track_handle=one, type=0).stream.handle.id for one in (track, remote)]
    for stream in streams:
        frames_of(lib, stream, 2)
    pending, _ = capture(lib, source, 30000)  # which no test waits for
    return lib, (alice, bob), streams, pending, [source, track, remote, *streams, alice.room, alice.me, bob.room, bob.me]


def test_dispose_with_everything_alive(server, room):
    lib, people, streams, pending, handles = busy(server, room)
    began = time.monotonic()
    lib.dispose()
    assert time.monotonic() - began < 6, "farewells have a second"
    count = len(lib.events)
    for one in people:
        names = one.names()
        assert names[-1] == "eos" and names.count("eos") == 1 and names.count("disconnected") == 1
        assert names.index("disconnected") < names.index("eos")
    for stream in streams:
        assert len([e for e in lib.events if raw.kind(e) == "audio_stream_event.eos" and
                    e.audio_stream_event.stream_handle == stream]) == 1
    assert [e for e in lib.events if raw.kind(e) == "capture_audio_frame" and
            e.capture_audio_frame.async_id == pending.async_id], "every operation is answered"
    assert not [h for h in handles if lib.drop(h)], "dispose drops all handles"
    lib.dispose()
    peers.wait_for(lambda: server.participants(room) == [], 10, "both to be gone")
    assert len(lib.events) == count, "nothing after dispose"


def test_the_request_forgets_the_callback_first(server, room):
    lib, people, _, _, handles = busy(server, room)
    start = len(lib.events)
    assert lib.request("dispose", **{"async": True}) is not None
    assert not [n for one in people for n in one.names(start) if n in ("disconnected", "eos")]
    assert not [h for h in handles if lib.drop(h)]
    peers.wait_for(lambda: server.participants(room) == [], 10, "both to be gone")
    lib.dispose()


def test_it_can_be_used_again(server, room):
    last = 0
    for _ in range(3):
        lib, people, _, _, handles = busy(server, room)
        assert min(handles) > last, "ids never start again"
        last = max(handles)
        for one in people:
            one.disconnect()
        lib.dispose()


def test_dispose_inside_a_callback(server, room):
    lib, people, streams, _, handles = busy(server, room)
    done = []

    def on_event(event):
        if raw.kind(event) == "audio_stream_event.frame_received" and not done:
            done.append(None)
            lib.dispose()
            done.append(time.monotonic())
    lib.on = on_event
    peers.wait_for(lambda: len(done) == 2, 20, "dispose to return")
    for one in people:
        assert one.names().count("eos") == 1
    assert not [h for h in handles if lib.drop(h)]
    lib.on = None
    lib.initialize()
    assert error_of(lib, capture(lib, new_source(lib), 10)[0]) == ""
    lib.dispose()


def test_dispose_during_connect(server, room):
    lib = conftest.loaded("ours")
    waiting = [lib.request("connect", url=url, token=peers.token(f"p{i}", room), options={"connect_timeout_ms": 30000})
               for i, url in enumerate([server.url, "ws://10.255.255.1:7880", "ws://192.0.2.1"])]
    began = time.monotonic()
    lib.dispose()
    assert time.monotonic() - began < 10, "far less than the patience of the connects"
    for response in waiting[1:]:
        assert lib.callback_of("connect", response, 1).error
    count = len(lib.events)
    lib.callback_of("connect", waiting[0], 1)
    assert len(lib.events) == count
    peers.wait_for(lambda: server.participants(room) == [], 10, "nobody to be there")


def test_dispose_before_the_client_is_ready(server, room):
    lib = conftest.loaded("ours")
    alice = Joined(lib, server, room, "alice", ready=False)
    began = time.monotonic()
    lib.dispose()
    assert time.monotonic() - began < 6, "farewells have a second"
    assert alice.names()[-1] == "eos"


def test_no_callback_runs_when_dispose_has_returned(server, room):
    lib, _, _, _, _ = busy(server, room)
    running = threading.Event()

    def slow(event):
        running.set()
        time.sleep(0.2)
        running.clear()
    lib.on = slow
    assert running.wait(20)
    lib.dispose()
    assert not running.is_set()


def test_two_threads_dispose_at_once(server, room):
    lib, people, _, _, _ = busy(server, room)
    both = [threading.Thread(target=lib.dispose) for _ in range(2)]
    for t in both:
        t.start()
    for t in both:
        t.join(20)
        assert not t.is_alive()
    assert [one.names().count("eos") for one in people] == [1, 1]


def test_a_second_initialize_replaces_the_callback(lib):
    source = new_source(lib)
    other = raw.Library(raw.path_of("ours"))
    other.initialize()
    response, _ = capture(lib, source, 10)
    assert error_of(other, response) == "" and not lib.events
    lib.initialize()
    assert error_of(lib, capture(lib, source, 10)[0]) == ""


# ---- fork ------------------------------------------------------------------------------------------------------------------------

FORKED = """
    import signal
    lib.initialize()
    source = lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
    track = lib.request("create_audio_track", source_handle=source).track.handle.id
    stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
    lib.wait(lambda e: True)
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a child that waits for ever
        refused = lib.raw(b"\\x82\\x02\\x00")[0] == 0 and not lib.drop(source)
        lib.initialize()
        refused = refused and lib.raw(b"\\x82\\x02\\x00")[0] == 0
        lib.dispose()
        os._exit(0 if refused else 3)
    assert os.waitpid(pid, 0)[1] == 0
    assert lib.drop(stream) and lib.drop(track) and lib.drop(source), "the parent goes on"
    lib.dispose()
"""


def test_a_forked_child_is_refused():
    run(FORKED)


def test_a_child_forked_before_the_first_use_is_free():
    run("""
        pid = os.fork()
        if pid == 0:
            lib.initialize()
            os._exit(0 if lib.request("new_audio_source", type=0).source.handle.id else 3)
        assert os.waitpid(pid, 0)[1] == 0
    """)


# ---- threads and leftovers -----------------------------------------------------------------------------------------------------------

def test_a_storm_of_threads(server, room):
    """Requests, drops and statistics from eight threads, and from the callback, while sound is on its way."""
    lib, people, _, _, _ = busy(server, room)
    failures, stop = [], time.monotonic() + 4
    in_callback = []

    def on_event(event):
        kind = raw.kind(event)
        if kind == "audio_stream_event.frame_received":
            if not lib.drop(event.audio_stream_event.frame_received.frame.handle.id):
                failures.append("a frame cannot be dropped")
        if len(in_callback) < 200:
            in_callback.append(lib.request("new_audio_source", type=0).source.handle.id)
            lib.drop(in_callback[-1])
    lib.on = on_event

    def work(number):
        try:
            while time.monotonic() < stop:
                source, track = new_track(lib)
                stream = lib.request("new_audio_stream", track_handle=track, type=0, queue_size_frames=number).stream.handle.id
                lib.request("get_stats", track_handle=track)
                response, _ = capture(lib, source, 20)
                lib.request("get_session_stats", room_handle=people[number % 2].room)
                lib.raw(b"\xff" * number)
                assert error_of(lib, response) == ""
                for handle in (track, stream, source)[::1 if number % 2 else -1]:
                    assert lib.drop(handle)
        except BaseException as error:
            failures.append(repr(error))
    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
        assert not w.is_alive(), "deadlock"
    lib.on = None
    lib.dispose()
    assert not failures, failures[:3]
    # Each stream has ended once, each operation was answered once.
    ended = [e.audio_stream_event.stream_handle for e in lib.events if raw.kind(e) == "audio_stream_event.eos"]
    assert len(ended) == len(set(ended))
    answered = [e.get_stats.async_id for e in lib.events if raw.kind(e) == "get_stats"]
    assert len(answered) == len(set(answered))


def test_nothing_is_left_behind(server, room):
    def cycle():
        lib, _, _, _, _ = busy(server, room)
        lib.dispose()
    cycle()
    threads_before, descriptors_before = threads(), descriptors()
    for _ in range(5):
        cycle()
    # A thread that has been joined is listed until the kernel has had the time to strike it off.
    peers.wait_for(lambda: threads() <= threads_before and descriptors() <= descriptors_before, 10, "nothing more to be there than before")


def test_memory_stays_bounded():
    """Thousands of objects made and dropped leave the process no larger."""
    run("""
        import ctypes
        lib.initialize()
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        def cycle(n):
            for _ in range(n):
                source = lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
                track = lib.request("create_audio_track", source_handle=source).track.handle.id
                stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
                response = lib.request("get_stats", track_handle=track)
                lib.callback_of("get_stats", response)
                lib.raw(b"\\xff\\xff")
                for handle in (stream, track, source):
                    assert lib.drop(handle)
                lib.events.clear(); lib.logs.clear()
        cycle(300)
        before = resident()
        cycle(1500)
        lib.dispose()
        grown = resident() - before
        assert grown < 4 << 20, grown
    """)


def test_frames_the_client_keeps_stay(lib):
    """They are memory it holds; dropped, it comes back."""
    _, track = new_track(lib)
    stream = lib.request("new_audio_stream", track_handle=track, type=0).stream.handle.id
    frames = frames_of(lib, stream, 50)
    assert len({f.info.data_ptr for f in frames}) == 50, "each frame has memory of its own while it is held"
    for frame in frames:
        assert lib.drop(frame.handle.id)
    ctypes.string_at(frames_of(lib, stream, 1, len(lib.events))[0].info.data_ptr, 960)
    assert lib.raw(encoded("new_audio_resampler"))[0]
