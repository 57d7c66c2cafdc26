# SPDX-License-Identifier: Apache-2.0
"""Calls, one after the other, in one process: what stays behind of each.

    .peers/venv/bin/python tests/ffi/endurance.py --cycles 1000          on our library
    .peers/venv/bin/python tests/ffi/endurance.py --library stock --cycles 200

A cycle: two participants of the library meet in a room of their own; one publishes sound, the other hears it; a reliable
and a lossy message; statistics; both leave, and every handle that was told is dropped. Noted after each cycle, once the
process is at rest: descriptors, threads, blocks and bytes of the heap in use (tests/ffi/heap_count.c), resident memory.
The last line is a verdict as JSON; exit 1 if something grows.
"""
import argparse
import contextlib
import ctypes
import gc
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]
import peers  # noqa: E402
import raw  # noqa: E402

COUNTER = HERE.parents[1] / "build-checks/tests/ffi/libheap_count.so"
WARM_UP = 10
SLOPE_BYTES = 1000  # resident memory, a cycle, over the last half


def owned(message, found):
    """Ids of every handle a message tells of."""
    if message.DESCRIPTOR.name == "FfiOwnedHandle":
        found.append(message.id)
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else (value,):
                owned(one, found)


class Heap:
    """What the preloaded counter says; -1 without it."""

    def __init__(self):
        own = ctypes.CDLL(None)
        self.calls = []
        for name in ("heap_count_blocks", "heap_count_bytes"):
            call = getattr(own, name, None)
            if call:
                call.restype = ctypes.c_long
            self.calls.append(call or (lambda: -1))

    def __call__(self):
        return tuple(call() for call in self.calls)


def threads():
    """Names of all but the workers: how many of those there are, up to one a core, depends on what queued so far."""
    names = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            names.append(pathlib.Path(f"/proc/self/task/{task}/comm").read_text().strip())
    assert names.count("lk-work") <= min(os.cpu_count(), 4)
    return [name for name in names if name != "lk-work"]


def now_in_use(heap):
    blocks, size = heap()
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"descriptors": len(os.listdir("/proc/self/fd")), "threads": len(threads()),
            "blocks": blocks, "bytes": size, "resident": resident}


def cycle(lib, url, room):
    from test_audio import capture, frames_of, new_track
    handles = []

    def ask(name, /, **fields):
        response = lib.request(name, **fields)
        owned(response, handles)
        return response

    def join(who):
        result = lib.callback_of("connect", ask("connect", url=url, token=peers.token(who, room), options={}), 30)
        assert result.WhichOneof("message") == "result", result
        result = result.result
        ask("ready_for_room_event", room_handle=result.room.handle.id)
        return result.room.handle.id, result.local_participant.handle.id

    source, track = new_track(lib)
    bob, _ = join("bob")
    alice, me = join("alice")
    published = lib.callback_of("publish_track", ask("publish_track", local_participant_handle=me, track_handle=track,
                                                     options={"source": 2}))
    assert not published.error, published
    subscribed = lib.room_event("track_subscribed", room=bob)[1].room_event.track_subscribed
    stream = ask("new_audio_stream", track_handle=subscribed.track.handle.id, type=0).stream.handle.id
    capture(lib, source, 40)
    frames_of(lib, stream, 3)
    payload = ctypes.create_string_buffer(os.urandom(1500), 1500)
    for reliable in (True, False):
        answer = ask("publish_data", local_participant_handle=me, data_ptr=ctypes.addressof(payload), data_len=1500,
                     reliable=reliable, destination_identities=[])
        assert not lib.callback_of("publish_data", answer).error
        if reliable:
            lib.room_event("data_packet_received", room=bob)
    assert not lib.callback_of("get_stats", ask("get_stats", track_handle=track)).error
    lib.callback_of("get_session_stats", ask("get_session_stats", room_handle=bob))
    for room_handle in (alice, bob):
        lib.callback_of("disconnect", ask("disconnect", room_handle=room_handle))
    with lib.changed:
        for event in lib.events:
            owned(event, handles)
    for handle in {source, track, *handles}:
        lib.drop(handle)
    # Frames on their way when the stream's handle went, and its end.
    lib.wait(lambda e: raw.kind(e) == "audio_stream_event.eos" and e.audio_stream_event.stream_handle == stream, what="eos")
    late = []
    with lib.changed:
        for event in lib.events:
            owned(event, late)
        lib.events.clear()
        lib.logs.clear()
    for handle in set(late) - set(handles):
        lib.drop(handle)


def at_rest(heap, base, seconds=10):
    """The process as it is once sockets of the last room are closed; what it is after that time if they are not."""
    end = time.monotonic() + seconds
    while True:
        gc.collect()
        seen = now_in_use(heap)
        if not base or all(seen[name] <= base[name] for name in ("descriptors", "threads")) or time.monotonic() > end:
            return seen
        time.sleep(0.02)


def slope(values):
    """Least squares, a step."""
    n = len(values)
    mean_x, mean_y = (n - 1) / 2, sum(values) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / sum((x - mean_x) ** 2 for x in range(n))


def verdict(noted):
    """What the notes say: (figures, complaints). Everything but the warm-up counts, memory from the last half alone."""
    steady, half = noted[WARM_UP:], noted[WARM_UP + (len(noted) - WARM_UP) // 2:]
    figures = {"cycles": len(noted)}
    for name in ("descriptors", "threads"):
        figures[name] = [steady[0][name], max(n[name] for n in steady)]
    for name in ("blocks", "bytes", "resident"):
        figures[name] = [half[0][name], half[-1][name]]
        figures[name + "_a_cycle"] = round(slope([n[name] for n in half]), 2)
    wrong = [f"{name} grow: {figures[name]}" for name in ("descriptors", "threads") if len(set(figures[name])) > 1]
    # A leak is at least one block for each cycle; a table of the interpreter that grows is not.
    if figures["blocks_a_cycle"] > 0.5:
        wrong.append(f"{figures['blocks_a_cycle']} blocks a cycle stay behind")
    if len(noted) >= 500 and figures["resident_a_cycle"] > SLOPE_BYTES:
        wrong.append(f"resident memory grows by {figures['resident_a_cycle']} bytes a cycle")
    return figures, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=["ours", "stock"], default="ours")
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--url", help="of a server that runs; else one is started")
    options = parser.parse_args()
    if "heap_count" not in os.environ.get("LD_PRELOAD", ""):  # from the start, in a process of its own
        with peers.Server() as server:
            command = [sys.executable, __file__, "--library", options.library, "--cycles", str(options.cycles),
                       "--url", options.url or server.url]
            return subprocess.run(command, env={**os.environ, "LD_PRELOAD": str(COUNTER)}).returncode
    heap, noted = Heap(), []
    lib = raw.Library(raw.path_of(options.library))
    lib.initialize()
    began = time.monotonic()
    for i in range(options.cycles):
        cycle(lib, options.url, f"endurance-{os.getpid()}-{i}")
        noted.append(at_rest(heap, noted[WARM_UP] if i > WARM_UP else None))
        if (i + 1) % 50 == 0:
            print(f"{i + 1:5} {noted[-1]} {(time.monotonic() - began) / (i + 1):.3f} s a cycle", flush=True)
    figures, wrong = verdict(noted)
    print(json.dumps({"library": options.library, **figures, "wrong": wrong}), flush=True)
    os._exit(bool(wrong))  # without its dispose, in which the stock library now and then crashes


if __name__ == "__main__":
    sys.exit(main())
