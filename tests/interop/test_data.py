# SPDX-License-Identifier: Apache-2.0
"""Data packets between our library and the stock one, through the real server."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

import peers
import world

POST = pathlib.Path(__file__).with_name("post.py")


def start(role, library, url, identity, room, count, size, netns=None):
    path = peers.library_path(library)
    environment = dict(os.environ, **({"LIVEKIT_LIB_PATH": path} if path else {}))
    command = [*(["ip", "netns", "exec", netns] if netns else []), sys.executable, str(POST), role, url,
               peers.token(identity, room), str(count), str(size)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def post(url, room, sender, receiver, count, size, netns=None, seconds=90, role="send", receiver_netns=None):
    bob = start("receive", receiver, url, "bob", room, count, size, receiver_netns or netns)
    with peers.limited(bob, 60):
        assert json.loads(bob.stdout.readline())["event"] == "connected"
    alice = start(role, sender, url, "alice", room, count, size, netns)
    try:
        out, err = bob.communicate(timeout=seconds)
        alice_out, alice_err = alice.communicate(timeout=30)
        assert alice.returncode == 0, (alice_out, alice_err)
    finally:
        for process in (alice, bob):
            process.kill()
            process.wait()
    assert bob.returncode == 0, (out, err)
    return json.loads(out.splitlines()[-1]), json.loads(alice_out.splitlines()[-1])


@pytest.mark.parametrize("sender,receiver", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_packets_arrive_once_and_in_order(server, room, sender, receiver):
    got, _ = post(server.url, room, sender, receiver, 200, 1000)
    assert got["reliable"] == list(range(200)) and got["topics"] == ["count"], got
    # Nothing promises the lossy ones while somebody stands still; a channel that carries the first few alone, or none, is found.
    assert got["lossy"] >= 100 and got["not_for_bob"] == 0 and got["whole"], got


def test_long_packets_and_longer_ones(server, room):
    got, sent = post(server.url, room, "ours", "ours", 20, 60000)
    assert got["reliable"] == list(range(20)) and got["whole"]
    assert "64000" in sent["too_long"], sent
    assert sent["echoed"] == 0, "nobody hears himself"


@pytest.mark.parametrize("loss", [0.05, 0.15])
def test_reliable_packets_through_a_path_that_loses(room, loss):
    with world.World(seed=11) as net, peers.Server(address=net.address, netns=net.server) as server:
        net.up.loss = net.down.loss = loss
        net.up.delay_ms = net.down.delay_ms = 10
        got, _ = post(server.url, room, "ours", "ours", 300, 1000, netns=net.clients, role="flood")  # once the receiver's channel is open
        assert net.up.lost > 0 and net.down.lost > 0, "the link did nothing"
    assert got["reliable"] == list(range(300)), got
    print(f"{loss:.0%} loss both ways, 40 ms round trip: {300 / got['seconds']:.0f} packets/s")


def flood(room, library, count):
    """Reliable packets a second out of a path that loses 15 % both ways, 50 ms round trip. (The receiver sits beside the server: through the path
    the server's own association would be measured.)"""
    with world.World(seed=11) as net, peers.Server(address=net.address, netns=net.server) as server:
        net.up.loss = net.down.loss = 0.15
        net.up.delay_ms = net.down.delay_ms = 25
        got, _ = post(server.url, room, library, library, count, 1000, netns=net.clients, role="flood", receiver_netns=net.server)
        assert net.up.lost > 0 and net.down.lost > 0, "the link did nothing"
    assert got["reliable"] == list(range(count)), got
    return count / got["seconds"]


def test_a_path_that_loses_slows_us_down_ten_times_less_than_the_stock_library(room):
    ours, stock = flood(room, "ours", 4000), flood(room, "stock", 300)
    print(f"15 % loss, 50 ms round trip: ours {ours:.0f} packets/s, stock {stock:.0f}")
    assert ours >= 10 * stock


def test_packets_for_nobody_for_oneself_and_after_the_end(server, room):
    """Nobody gets them, nobody fails, and a room that is over says so."""
    with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice, \
            peers.Program("watch", "stock", server.url, peers.token("bob", room)) as bob:
        alice.wait("connected")
        bob.wait("connected")
        for whom in ("nobody", "alice", "bob", "all"):
            for kind in ("reliable", "lossy"):
                alice.say(f"send {whom} {kind} - 1 100")
                alice.wait("done", order="send")
        peers.wait_for(lambda: len(bob.events("data")) == 4, 20, "the four that are for Bob")
        assert sorted(line["kind"] for line in bob.events("data")) == ["lossy", "lossy", "reliable", "reliable"]
        assert all(line["whole"] for line in bob.events("data")) and alice.events("data") == []
        alice.say("send all reliable - 1 64000")
        assert "64000" in alice.wait("order_failed", order="send")["text"], "with what stands around it, it is longer"
        alice.ask("disconnect", "connection_state_changed")
        alice.say("send all reliable - 1 100")
        assert "closed" in alice.wait("order_failed", order="send")["text"].lower()
        assert bob.finish() == 0


def test_without_the_right_nothing_arrives_and_nothing_breaks(server, room):
    """The server drops what somebody sends who may not."""
    with peers.Program("watch", "ours", server.url, peers.token("alice", room, can_publish_data=False)) as alice, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
        alice.wait("connected")
        bob.wait("connected")
        alice.say("send all reliable - 1 100")
        alice.wait("done", order="send")
        bob.say("send all reliable - 2 100")
        assert alice.wait("data")["number"] == 2
        assert bob.events("data") == []
        assert alice.finish() == 0 and bob.finish() == 0
