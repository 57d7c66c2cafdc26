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


def post(url, room, sender, receiver, count, size, netns=None, seconds=90):
    bob = start("receive", receiver, url, "bob", room, count, size, netns)
    assert json.loads(bob.stdout.readline())["event"] == "connected"
    alice = start("send", sender, url, "alice", room, count, size, netns)
    try:
        out, err = bob.communicate(timeout=seconds)
        alice.stdin.close()
        alice_out = alice.stdout.read()
        assert alice.wait(30) == 0, (alice_out, alice.stderr.read())
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
    assert got["lossy"] >= 190 and got["not_for_bob"] == 0 and got["whole"], got


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
        got, _ = post(server.url, room, "ours", "ours", 300, 1000, netns=net.clients)
        assert net.up.lost > 10 and net.down.lost > 10, "the link did nothing"
    assert got["reliable"] == list(range(300)), got
    print(f"{loss:.0%} loss both ways, 40 ms round trip: {300 / got['seconds']:.0f} packets/s")
