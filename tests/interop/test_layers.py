# SPDX-License-Identifier: Apache-2.0
"""Which layer of a simulcast picture is delivered: what the subscriber asks for and what it then sees."""
import time

import pytest

import peers
import pictures

# Two of the three layers the stock SDK makes of 1280x720.
LARGE, SMALL = (pictures.WIDTH, pictures.HEIGHT), (pictures.WIDTH // 2, pictures.HEIGHT // 2)
LOW, MEDIUM = "quality 0", "quality 1"


def size(program, wanted):
    """Waits until the newest pictures have that size; others on the way there are passed over."""
    def now():
        told = program.events("size")
        return told and (told[-1]["width"], told[-1]["height"]) == wanted
    try:
        peers.wait_for(now, 40, f"pictures of {wanted}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}, saw {program.events('size')}") from None


@pytest.fixture
def call(server, room, tmp_path):
    """Bob, on ours, looks at the layers of a stock publisher. (The server forgives a tenth of the size.)"""
    with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room), picture=tmp_path / "seen.png") as bob:
        alice.wait("connected")
        bob.wait("connected")
        alice.ask("show layers", "showing")
        bob.wait("track_subscribed", identity="alice")
        order(bob, MEDIUM)
        size(bob, LARGE)
        yield alice, bob
        alice.ask("enough", "shown")


def order(program, text):
    program.say(text)
    program.wait("done", order=text.split()[0])


def test_a_quality_chooses_the_layer(call):
    _, bob = call
    order(bob, LOW)
    size(bob, SMALL)
    order(bob, MEDIUM)
    size(bob, LARGE)


def test_a_size_chooses_the_smallest_layer_that_is_not_smaller(call):
    _, bob = call
    order(bob, f"dimensions {SMALL[0] - 20} {SMALL[1] - 20}")
    size(bob, SMALL)
    order(bob, f"dimensions {SMALL[0] + 60} {SMALL[1] + 60}")
    size(bob, LARGE)
    order(bob, LOW)  # the newest wish counts
    size(bob, SMALL)


def test_a_pause_keeps_the_layer_that_was_chosen(call):
    """The server takes each message for the whole truth: what is not repeated is forgotten."""
    alice, bob = call
    order(bob, LOW)
    size(bob, SMALL)
    order(bob, "enable off")
    before = -1

    def rests():
        nonlocal before
        time.sleep(0.5)
        last, before = before, received(bob)
        return last == before
    peers.wait_for(rests, 30, "the pictures to rest")
    order(bob, "enable on")
    peers.wait_for(lambda: received(bob) > before + 20, 20, "the pictures to come back")
    seen = peers.by_kind(bob.ask("picture_stats")["stats"])["inbound_rtp"][0]
    assert (seen["frame_width"], seen["frame_height"]) == SMALL, seen
    order(bob, MEDIUM)
    size(bob, LARGE)


def received(program):
    return peers.by_kind(program.ask("picture_stats")["stats"])["inbound_rtp"][0]["frames_received"]


def test_a_publication_without_layers_has_no_quality(server, room, tmp_path):
    with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room), picture=tmp_path / "seen.png") as bob:
        alice.wait("connected")
        bob.wait("connected")
        alice.ask("show", "showing")
        bob.wait("track_subscribed", identity="alice")
        size(bob, LARGE)
        bob.say(LOW)
        assert "simulcast" in bob.wait("order_failed", order="quality")["text"]
        order(bob, "dimensions 100 100")  # only told: there is nothing smaller
        seen = received(bob)
        peers.wait_for(lambda: received(bob) > seen + 20, 20, "pictures to go on")
        assert [line["width"] for line in bob.events("size")] == [LARGE[0]]
        alice.ask("enough", "shown")
