# SPDX-License-Identifier: Apache-2.0
"""A browser on a way that narrows. The server being lite, media takes no other way than the one the browser knows."""
import pathlib
import sys

import pytest

import peers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "browser"))
from stage import Chromium, Narrow, draw, join  # noqa: E402


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    wav = tmp_path_factory.mktemp("wavs") / "speech.wav"
    peers.write_wav(wav, peers.speech())
    with Chromium(wav) as page, Chromium(wav) as watcher:
        for side in (page, watcher):
            side.open()
        yield page, watcher
        for side in (page, watcher):
            side.say("close")
            side.wait("done", order="close")
            assert not side.events("page_error") + side.events("order_failed")
            assert side.finish() == 0


def test_a_client_without_transport_feedback_gets_what_fits_or_a_pause(browsers, server, room):
    """It answers REMB alone, as old clients do, and allows the server to pause what does not fit at all."""
    page, watcher = browsers
    with Narrow(server.udp_port) as way:
        join(page, server, room, "browser")
        for order in ("without_feedback", f"through {way.port}"):
            watcher.say(order)
            watcher.wait("done", order=order.split()[0])
        join(watcher, server, room, "watcher", connect={"subscriberAllowPause": True})
        sid = draw(page, 10, simulcast=True)
        watcher.wait("first_picture", 60, sid=sid)
        extensions = " ".join(watcher.ask(f"received {sid}")["extensions"])
        assert "abs-send-time" in extensions and "transport-wide" not in extensions
        peers.wait_for(lambda: watcher.ask(f"received {sid}")["width"] == 640, 60, "the large picture")
        way.bps = 150_000
        peers.wait_for(lambda: watcher.ask(f"received {sid}")["width"] == 320, 60, "the small picture on a narrow way")
        way.bps = 25_000
        changed = watcher.wait("track_stream_state_changed", 120)
        assert changed["args"][1] == "paused", changed
        way.bps = None
        while watcher.wait("track_stream_state_changed", 120)["args"][1] != "active":
            pass
        watcher.say(f"reach {sid} {page.ask('count')['number']}")  # more than the first may take another trial: REMB grows slowly
        watcher.wait("reached", 120, sid=sid)
