# SPDX-License-Identifier: Apache-2.0
"""What is pending when the server dies, and what is asked of rooms and tracks that are over: one answer each."""
import ctypes
import os
import signal
import subprocess
import sys
import threading

import peers
import raw
from test_audio import capture, error_of, new_source, new_track, samples_of
from test_rooms import Joined


def answers(lib, name, response):
    return [e for e in lib.events if e.WhichOneof("message") == name and getattr(e, name).async_id == response.async_id]


def test_every_call_pending_at_a_dead_server_is_answered_once(lib, room):
    with peers.Server() as server:
        alice = Joined(lib, server, room, "alice")
        source, published = new_track(lib)
        sid = alice.publish(published).publication.info.sid
        alice.event("local_track_published")
        _, fresh = new_track(lib)
        os.kill(server.process.pid, signal.SIGSTOP)  # so that none of these can be answered
        me = {"local_participant_handle": alice.me}
        pending = [(name, lib.request(name, **fields)) for name, fields in (
            ("set_local_metadata", {**me, "metadata": "m"}), ("set_local_name", {**me, "name": "n"}),
            ("set_local_attributes", {**me, "attributes": [{"key": "k", "value": "v"}]}),
            ("publish_track", {**me, "track_handle": fresh, "options": {"source": 2}}),
            ("unpublish_track", {**me, "track_sid": sid, "stop_on_unpublish": True}),
            ("get_stats", {"track_handle": published}), ("get_session_stats", {"room_handle": alice.room}))]
        pending.append(("capture_audio_frame", capture(lib, source, 3000)[0]))
        server.kill()
        assert alice.event("disconnected", seconds=60).HasField("reason")
        alice.event("eos")
        late = [("set_local_name", lib.request("set_local_name", **me, name="late")),
                ("publish_track", lib.request("publish_track", **me, track_handle=fresh, options={"source": 2})),
                ("disconnect", lib.request("disconnect", room_handle=alice.room))]
        for name, response in pending + late:
            lib.callback_of(name, response, 30)
    for name in ("set_local_metadata", "set_local_name", "set_local_attributes", "publish_track"):
        assert lib.callback_of(name, dict(pending)[name]).error, name
    lib.dispose()  # whatever was still to come has come
    for name, response in pending + late:
        assert len(answers(lib, name, response)) == 1, name
    assert [alice.names().count(name) for name in ("disconnected", "eos")] == [1, 1]
    assert alice.names()[-1] == "eos"


def test_statistics_of_what_is_over_are_an_error(lib, server, room):
    """The stock library rejects some of these and leaves others without an answer; ours calls back, every time."""
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    _, track = new_track(lib)
    _, never = new_track(lib)
    sid = alice.publish(track).publication.info.sid
    remote = bob.event("track_subscribed").track.handle.id

    def stats(name, **fields):
        return lib.callback_of(name, lib.request(name, **fields))
    assert stats("get_stats", track_handle=never).error == "room failure: no transceiver found for track"
    for handle in (track, remote):
        assert not stats("get_stats", track_handle=handle).error
    unpublished = lib.request("unpublish_track", local_participant_handle=alice.me, track_sid=sid, stop_on_unpublish=True)
    assert not lib.callback_of("unpublish_track", unpublished).error
    bob.event("track_unsubscribed")
    assert stats("get_stats", track_handle=track).error == "room failure: no transceiver found for track"
    over = stats("get_stats", track_handle=remote)
    assert not over.error and not over.stats, "as the stock library: an empty list"
    start = len(lib.events)
    assert not alice.publish(track).error
    remote = bob.event("track_subscribed", start).track.handle.id
    for one in (alice, bob):
        one.disconnect()
    assert stats("get_stats", track_handle=track).error and stats("get_stats", track_handle=remote).error
    for one in (alice, bob):
        callback = stats("get_session_stats", room_handle=one.room)
        assert callback.WhichOneof("message") == "error" and callback.error


def test_a_frame_longer_than_a_minute_is_refused_unread(lib):
    """The length is a lie: reading that many samples would end the process."""
    source = new_source(lib)
    keep = (ctypes.c_int16 * 32)()
    response = lib.request("capture_audio_frame", source_handle=source, buffer={
        "data_ptr": ctypes.addressof(keep), "num_channels": 1, "sample_rate": 48000, "samples_per_channel": 2 ** 31 - 1})
    assert lib.callback_of("capture_audio_frame", response).error
    assert error_of(lib, capture(lib, source, 10)[0]) == ""


NO_THREAD = """
import sys
sys.path[:0] = {folders!r}
import raw
lib = raw.Library(raw.path_of("ours"))
lib.initialize()
orders = open({orders!r}, "r+b", buffering=0)
orders.seek(16)
orders.write(bytes([1] + [0] * 7))
before = raw.threading.active_count()
for _ in range(3):
    try:
        lib.request("connect", url="ws://127.0.0.1:9", token="t", options={{}})
        sys.exit(3)
    except LookupError:
        pass
orders.seek(16)
orders.write(bytes(8))
response = lib.request("connect", url="ws://127.0.0.1:9", token="t", options={{"connect_timeout_ms": 1000, "join_retries": 0}})
assert lib.callback_of("connect", response, 20).error
lib.dispose()
"""


def test_without_a_thread_a_request_is_rejected_and_not_forgotten(tmp_path):
    """Nobody could be told how it ended: so it does not begin, and the next one, with a thread, does."""
    shim, orders = tmp_path / "shim.so", tmp_path / "orders"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", peers.ROOT / "tests/interop/shim.c", "-o", shim, "-ldl"], check=True)
    orders.write_bytes(bytes(24))
    code = NO_THREAD.format(folders=[str(peers.ROOT / "tests/ffi"), str(peers.ROOT / "tests/interop")], orders=str(orders))
    preload = f"{os.environ.get('LD_PRELOAD', '')} {shim}".strip()  # behind a sanitizer's, if there is one
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                            env=dict(os.environ, LD_PRELOAD=preload, LK_SHIM=str(orders)))
    assert result.returncode == 0, result.stderr


SIGNALS = """
import os, signal, sys, threading, time
sys.path[:0] = {folders!r}
import raw
from test_audio import capture, error_of, new_track
from test_rooms import Joined

def caught():
    return [line for line in open("/proc/self/status") if line.startswith(("SigCgt", "SigIgn"))]

class Server:
    url = {url!r}

hits = []
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in a program that is not Python: writing to what is gone ends it
signal.signal(signal.SIGUSR1, lambda *_: hits.append(0))
signal.siginterrupt(signal.SIGUSR1, True)
before, over = caught(), []

def storm():
    while not over:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.0005)

lib = raw.Library(raw.path_of("ours"))
lib.initialize()
threading.Thread(target=storm, daemon=True).start()
alice, bob = Joined(lib, Server, "signals", "alice"), Joined(lib, Server, "signals", "bob")
source, track = new_track(lib)
assert not alice.publish(track).error
assert bob.event("track_subscribed").track.handle.id
assert all(error_of(lib, capture(lib, source, 100)[0]) == "" for _ in range(20))
end = time.monotonic() + 30
while len(hits) <= 200:
    assert time.monotonic() < end and error_of(lib, capture(lib, source, 100)[0]) == "", len(hits)
assert caught() == before, "no handler of the program's is touched"
print("up", flush=True)
sys.stdin.readline()  # the server is gone
for one in (alice, bob):
    lib.request("set_local_name", local_participant_handle=one.me, name="somebody")  # written to what is gone, if that was not noticed
    one.event("reconnecting", seconds=60)
lib.dispose()
over.append(1)
"""


def test_signals_interrupt_nothing_and_a_broken_pipe_ends_nobody(room):
    with peers.Server() as server:
        code = SIGNALS.format(folders=[str(peers.ROOT / "tests/ffi"), str(peers.ROOT / "tests/interop")], url=server.url)
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "up\n", child.communicate()
            server.kill()
            output = child.communicate("gone\n", timeout=120)
        finally:
            child.kill()
    assert child.returncode == 0, output


def test_a_callback_that_sleeps_delays_events_and_never_media(lib, server, room):
    """The callback of ours sleeps until others have heard for 3 s what it publishes, and been told what it has asked for."""
    other, asleep, awake = raw.Library(raw.path_of("stock")), threading.Event(), threading.Event()
    other.initialize()
    try:
        alice, bob = Joined(lib, server, room, "alice", can_update_own_metadata=True), Joined(other, server, room, "bob")
        source, track = new_track(lib, queue_ms=60000)
        alice.publish(track, dtx=False)
        remote = bob.event("track_subscribed").track.handle.id
        stream = other.request("new_audio_stream", track_handle=remote, type=0, sample_rate=48000,
                               num_channels=1).stream.handle.id

        loud = []

        def hear(event):
            if raw.kind(event) == "audio_stream_event.frame_received" and abs(samples_of(event.audio_stream_event.frame_received.frame)).max() > 1000:
                loud.append(event)
        other.on = hear
        error_of(lib, capture(lib, source, 50000)[0])
        peers.wait_for(lambda: len(loud) > 20, 20, "bob to hear something")

        def sleep(event):
            asleep.set()
            awake.wait(60)
        lib.on = sleep
        capture(lib, source, 10)  # its end is the event that finds the callback asleep
        assert asleep.wait(20)
        start, told = len(loud), len(lib.events)
        ended = lib.request("set_local_name", local_participant_handle=alice.me, name="x")
        bob.event("participant_name_changed")
        peers.wait_for(lambda: len(loud) > start + 300, 20, "bob to hear three seconds more")
        assert len(lib.events) == told and not awake.is_set(), "all this beside the sleeping callback"
        awake.set()
        assert not lib.callback_of("set_local_name", ended).error, "late, but told"
    finally:
        awake.set()
        lib.on = other.on = None
        other.dispose()
