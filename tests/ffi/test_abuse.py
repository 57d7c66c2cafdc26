# SPDX-License-Identifier: Apache-2.0
"""A share of abuse.py on our library: nothing a host application does ends its process. The whole of it, with the stock
library beside ours, is a step of the nightly."""
import json
import os
import subprocess
import sys

import pytest

import abuse
from test_life import run

SHARE = {**{row: "0.1" for row in abuse.ROWS}, **{row: "0.15" for row in abuse.ENDS}}


@pytest.mark.parametrize("row", [*abuse.ROWS, *abuse.ENDS])
def test_nothing_the_host_does_ends_its_process(row, server):
    result = subprocess.run([sys.executable, abuse.__file__, "--library", "ours", "--rows", row, "--exactly", "--share",
                             SHARE[row], "--url", server.url], capture_output=True, text=True, timeout=300)
    figures = json.loads(result.stdout.splitlines()[0])
    assert figures["row"] == row and figures["runs"] > 0 and figures["requests"] > 0
    bad = {name: figures[name] for name in ("crashes", "hangs", "panics", "wrong", "failed") if figures[name]}
    assert not bad, (bad, result.stderr[-3000:])
    if row in abuse.ROWS:
        assert 0 < figures["refused"] < figures["requests"], "some are right and some are wrong"


@pytest.mark.parametrize("what,outcome", [("os.kill(os.getpid(), 9)", "crash SIGKILL"), ("time.sleep(60)", "hang"),
                                          ("raise KeyError", "failed 7"), ("os._exit(3)", "failed 3"), ("0", "ok")])
def test_what_ends_a_child_is_seen(what, outcome, monkeypatch):
    """The machine itself: a child that dies or stands still is told from one that does neither."""
    if outcome == "hang":
        monkeypatch.setattr(abuse, "SILENCE_SECONDS", 1)

    def how(child, url, count):
        exec(what, {"os": os, "time": abuse.time})
    assert abuse.run_child("ours", how, 1, 0, "", "")[0] == outcome


@pytest.mark.parametrize("name", abuse.BAD)
def test_one_row_that_is_worse_is_enough(name):
    good = dict.fromkeys((*abuse.BAD, "requests", "refused", "runs"), 0)
    assert abuse.complaints({("ours", "random"): good, ("stock", "random"): {**good, name: 3}}) == []
    assert abuse.complaints({("ours", "random"): {**good, name: 1}, ("stock", "random"): good})


def test_a_program_may_dispose_of_it_when_everything_stands_still():
    """exit() has begun and the loops have been halted: dispose returns, and so does what is asked afterwards."""
    run("""
        import ctypes
        libc = ctypes.CDLL(None)
        ended = []
        def last(status, arg):
            lib.dispose()
            lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1)
            lib.dispose()
            os._exit(23)
        handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(last)
        libc.on_exit(handler, None)  # before our library has registered anything: so it runs after
        lib.initialize()
        source = lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1).source.handle.id
        track = lib.request("create_audio_track", source_handle=source).track.handle.id
        stream = lib.request("new_audio_stream", track_handle=track, type=0)
        lib.request("connect", url="ws://127.0.0.1:1", token="t", options={})
        lib.wait(lambda e: True)
        libc.exit(0)
    """, expected=23)


def test_a_huge_input_of_a_resampler_is_refused(lib):
    """Gigabytes at once took half a minute and as much memory again."""
    memory = abuse.Memory()
    handle = lib.request("new_sox_resampler", input_rate=48000, output_rate=16000, num_channels=1).resampler.handle.id
    for size in ((64 << 20) + 2, 2 ** 31, 2 ** 32 - 1):
        answer = lib.request("push_sox_resampler", resampler_handle=handle, data_ptr=memory.vast, size=size)
        assert "64 MiB" in answer.error and not answer.size
    assert lib.request("push_sox_resampler", resampler_handle=handle, data_ptr=memory.of(960), size=960).error == ""
