# SPDX-License-Identifier: Apache-2.0
"""Layers inside one stream (SVC): a browser publishes VP9 or AV1 with three spatial layers, another sees what it asks for."""
import json
import os

import pytest

import peers

RATE, LAYERS = 10, 3  # three layers at that rate are work enough for an encoder
WHOLE, HALF, QUARTER = 576, 288, 144
OURS = os.environ.get("LK_INTEROP_SERVER") == "ours"


def publish(page, watcher, server, room, codec, passphrase):
    for side, identity in ((page, "painter"), (watcher, "watcher")):
        options = json.dumps({"passphrase": passphrase}, separators=(",", ":"))
        side.say(f"join {server.url} {peers.token(identity, room)} {options}")
        side.wait("connected")
    options = {"videoCodec": codec, "backupCodec": False, "size": [1024, WHOLE], "degradationPreference": "maintain-resolution"}
    page.say(f"draw {RATE} {json.dumps(options, separators=(',', ':'))}")
    sid = page.wait("published", kind="video")["sid"]
    subscribed = watcher.wait("track_subscribed", sid=sid)
    assert (subscribed["mime"].lower(), subscribed["encrypted"]) == (f"video/{codec}", bool(passphrase))
    watcher.wait("fits", 30, sid=sid, height=WHOLE)
    return sid


def counts(page, watcher, sid):
    """Pictures encoded, decoded, and of those the key frames, so far. An encoder counts each layer."""
    sent = sum(stream["frames"] for stream in page.ask("sent")["streams"]) / LAYERS
    received = watcher.ask(f"received {sid}")
    return sent, received["frames"], received["keys"]


def ask_for(page, watcher, sid, order, height, pictures):
    """The order is followed and so many pictures more are drawn and seen; what was seen meanwhile."""
    watcher.ask(f"see {sid} forget", "see")
    before = counts(page, watcher, sid)
    watcher.say(order.format(sid))
    watcher.wait("fits", 30, sid=sid, height=height)
    watcher.say(f"reach {sid} {page.ask('count')['number'] + pictures}")
    watcher.wait("reached", 60, sid=sid)
    seen = watcher.ask(f"see {sid}", "see")
    encoded, decoded, keys = (now - then for now, then in zip(counts(page, watcher, sid), before))
    numbers = [number for _, number in seen["frames"]]
    times = [seconds for seconds, _ in seen["frames"]]
    facts = {"encoded": round(encoded), "decoded": decoded, "keys": keys, "unreadable": seen["unreadable"],
             "freeze": round(max((b - a for a, b in zip(times, times[1:])), default=0), 2), "heights": [height for _, height in seen["sizes"]]}
    assert all(a <= b for a, b in zip(numbers, numbers[1:])), (facts, numbers)
    assert facts["unreadable"] == 0, facts
    return facts


# The client encrypts no AV1.
@pytest.mark.parametrize("codec,passphrase", [("vp9", ""), ("av1", ""), ("vp9", "secret")], ids=["vp9", "av1", "vp9-encrypted"])
def test_a_subscriber_gets_the_layers_of_one_stream_it_asks_for(page, watcher, server, room, codec, passphrase):
    """Small, large and middle, by quality and by size: that size is decoded and no other, of the pictures that were encoded,
    through the changes too. Ours asks for a key frame to give more, never to give less; the real server does for both, and leaves
    out what stands between."""
    sid = publish(page, watcher, server, room, codec, passphrase)
    start = WHOLE

    def look():
        """All of the changes; before they are made once more it is the whole picture again."""
        nonlocal start
        if start != WHOLE:
            ask_for(page, watcher, sid, "quality {} HIGH", WHOLE, RATE)
        start, looks = WHOLE, []
        for order, height in (("quality {} LOW", QUARTER), ("quality {} HIGH", WHOLE), ("dimensions {} 512 288", HALF), ("quality {} LOW", QUARTER)):
            looks.append((start, height, ask_for(page, watcher, sid, order, height, 3 * RATE)))
            start = height
        return looks

    def judge(looks):
        """Who stands still for long loses pictures, asks for a key frame, or is given less for a while; that is not so every time."""
        for before, height, facts in looks:
            assert facts["heights"] == [before, height], looks
            assert facts["decoded"] >= facts["encoded"] * 2 / 3, looks  # a receiver short of time skips pictures nothing needs
            assert not OURS or facts["keys"] == (height > before), looks
    peers.undisturbed(look, judge)
