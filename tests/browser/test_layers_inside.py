# SPDX-License-Identifier: Apache-2.0
"""Layers inside one stream (SVC): a browser publishes VP9 or AV1 with three spatial layers, another sees what it asks for."""
import json

import pytest

import peers
from stage import Chromium
from test_browser import assert_flows

RATE = 10  # an encoder of three layers has enough to do with that
PART = 0.8  # of the pictures; a busy machine codes fewer
WHOLE, HALF, QUARTER = 576, 288, 144


@pytest.fixture(scope="module")
def second(wavs):
    with Chromium(wavs[0]) as browser:
        yield browser
        assert browser.finish() == 0


@pytest.fixture
def watcher(second):
    second.open()
    yield second
    second.say("close")
    second.wait("done", order="close")
    assert not second.events("page_error") + second.events("order_failed")


def publish(page, watcher, server, room, codec):
    for side, identity in ((page, "painter"), (watcher, "watcher")):
        side.say(f"join {server.url} {peers.token(identity, room)}")
        side.wait("connected")
    options = {"videoCodec": codec, "backupCodec": False, "size": [1024, WHOLE]}
    page.say(f"draw {RATE} {json.dumps(options, separators=(',', ':'))}")
    sid = page.wait("published", kind="video")["sid"]
    subscribed = watcher.wait("track_subscribed", sid=sid)
    assert subscribed["mime"].lower() == f"video/{codec}"
    watcher.wait("fits", 30, sid=sid, height=WHOLE)
    return sid


def watch(page, watcher, sid, seconds):
    """What the watcher sees since it was told to forget, until so many seconds of pictures more were drawn and seen."""
    watcher.say(f"reach {sid} {page.ask('count')['number'] + seconds * RATE}")
    watcher.wait("reached", 60, sid=sid)
    seen = watcher.ask(f"see {sid}", "see")
    return {**assert_flows(seen, seconds - 1, RATE, PART), "heights": [height for _, height in seen["sizes"]]}


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_a_subscriber_gets_the_layers_of_one_stream_it_asks_for(page, watcher, server, room, codec):
    """Small, large and middle, by quality and by size: that size is decoded and no other, and pictures flow through the change."""
    sid = publish(page, watcher, server, room, codec)
    steps = [("quality {} LOW", QUARTER), ("quality {} HIGH", WHOLE), ("dimensions {} 512 288", HALF), ("quality {} LOW", QUARTER)]
    before = WHOLE
    for order, height in steps:
        watcher.ask(f"see {sid} forget", "see")
        watcher.say(order.format(sid))
        watcher.wait("fits", 20, sid=sid, height=height)
        facts = watch(page, watcher, sid, 4)
        assert facts["heights"] == [before, height], facts
        before = height
