# SPDX-License-Identifier: Apache-2.0
"""A call of the official Python SDK on our library under valgrind: two rooms, sound, a message, statistics, leave.

    .peers/venv/bin/python tests/ffi/memcheck.py       closes with "N passed, N failed"

What is counted is what has a frame of our library in it: reads and writes of memory that is not there, jumps that depend on
what was never set, blocks nobody points at any more. The interpreter's own are not ours; what other libraries do below us is
in tests/support/valgrind.supp, by exact symbol and with its reason.
"""
import asyncio
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]
SUPPRESSIONS = HERE.parent / "support/valgrind.supp"
IGNORED = {"Leak_StillReachable", "Leak_PossiblyLost", "Leak_IndirectlyLost"}  # of a process that ends with its interpreter


async def call(url, tokens):
    """The program under valgrind."""
    from livekit import rtc
    alice, bob = rtc.Room(), rtc.Room()
    heard, got = asyncio.Event(), asyncio.Event()
    streams = []

    async def listen(stream):
        count = 0
        async for _ in stream:
            count += 1
            if count == 5:
                heard.set()

    def on_track(track, *_):
        streams.append(rtc.AudioStream(track))
        streams.append(asyncio.create_task(listen(streams[0])))
    bob.on("track_subscribed", on_track)
    bob.on("data_received", lambda packet: got.set())
    await bob.connect(url, tokens[0])
    await alice.connect(url, tokens[1])
    source = rtc.AudioSource(48000, 1)
    track = rtc.LocalAudioTrack.create_audio_track("a", source)
    await alice.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    frame = rtc.AudioFrame.create(48000, 1, 480)
    for _ in range(200):
        await source.capture_frame(frame)
        if heard.is_set():
            break
    await asyncio.wait_for(heard.wait(), 60)
    await alice.local_participant.publish_data(b"x" * 2000, reliable=True)
    await asyncio.wait_for(got.wait(), 60)
    assert await track.get_stats()
    await alice.local_participant.set_metadata("m")
    await alice.local_participant.unpublish_track(next(iter(alice.local_participant.track_publications)))
    await streams[0].aclose()
    await alice.disconnect()
    await bob.disconnect()


def complaints(report, library):
    """Errors with a frame of our library: {text: how often}."""
    root = xml.parse(report).getroot()
    counts = {pair.findtext("unique"): int(pair.findtext("count")) for pair in root.iterfind("errorcounts/pair")}
    found = collections.Counter()
    for error in root.iterfind("error"):
        frames = list(error.iterfind("stack/frame"))
        if error.findtext("kind") in IGNORED or not any(library in (f.findtext("obj") or "") for f in frames):
            continue
        what = error.findtext("what") or error.findtext("xwhat/text")
        where = "\n".join(f"    {f.findtext('fn')} ({f.findtext('file')}:{f.findtext('line')}) {f.findtext('obj')}" for f in frames[:14])
        found[f"{error.findtext('kind')}: {what}\n{where}"] += counts.get(error.findtext("unique"), 1)
    return found


def planted():
    """A request that is said to be longer than its block: what the machine must see."""
    import ctypes
    import peers
    lib = ctypes.CDLL(peers.library_path("ours"))
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    block, res, size = libc.malloc(8), ctypes.c_void_p(), ctypes.c_size_t()
    ctypes.memmove(block, bytes([0xca, 0x3e, 0x20]) + bytes(5), 8)  # an unknown member of 32 bytes
    lib.livekit_ffi_request(ctypes.c_void_p(block), ctypes.c_size_t(64), ctypes.byref(res), ctypes.byref(size))


def watched(*words):
    """(complaints, status, what it wrote to standard error) of this program in a child under valgrind."""
    import peers
    library = peers.library_path("ours")
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        result = subprocess.run(
            ["valgrind", "--xml=yes", f"--xml-file={report}", f"--suppressions={SUPPRESSIONS}", "--leak-check=full", "--num-callers=30",
             "--child-silent-after-fork=yes", sys.executable, __file__, *words], text=True, capture_output=True, timeout=900,
            env={**os.environ, "PYTHONMALLOC": "malloc", "LIVEKIT_LIB_PATH": library})
        return complaints(report, pathlib.Path(library).name), result.returncode, result.stderr


def main():
    import peers
    if sys.argv[1:2] == ["--planted"]:
        planted()
        return 0
    if sys.argv[1:2] == ["--inside"]:
        asyncio.run(call(sys.argv[2], sys.argv[3:]))
        return 0
    seen, _, errors = watched("--planted")
    if not any("InvalidRead" in text for text in seen):
        print(f"a read beyond the end of a block was not seen: {seen} {errors}\n0 passed, 1 failed")
        return 1
    with peers.Server() as server:
        tokens = [peers.token(who, "memcheck", can_update_own_metadata=True) for who in ("bob", "alice")]
        found, status, errors = watched("--inside", server.url, *tokens)
    for text, count in found.items():
        print(f"{count} times {text}")
    if status:
        print(errors[-3000:])
    failed = len(found) + bool(status)
    print(f"{1 if failed else 2} passed, {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
