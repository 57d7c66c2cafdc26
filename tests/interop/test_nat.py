# SPDX-License-Identifier: Apache-2.0
"""Behind a NAT, towards a server behind a firewall: only who tells it how he looks from outside gets in."""
import contextlib
import pathlib
import subprocess
import sys

import pytest

import peers
import world

PORT = world.STUN_PORT


@contextlib.contextmanager
def stun(net):
    """A STUN server beside the LiveKit server; the number of answers is len(lines) - 1."""
    process = subprocess.Popen(["ip", "netns", "exec", net.server, sys.executable, str(pathlib.Path(__file__).with_name("stun.py")),
                                net.address, str(PORT)], stdout=subprocess.PIPE, text=True)
    try:
        with peers.limited(process, 20):
            assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("whose", ["the server's", "the application's"])
def test_a_call_from_behind_a_nat(room, tmp_path, whose):
    """The STUN server of the join response, or one the application names while the server's is silent."""
    told = PORT if whose == "the server's" else PORT + 1
    options = {} if whose == "the server's" else {"stun": f"stun:10.77.0.2:{PORT}"}
    peers.write_wav(tmp_path / "speech.wav", peers.speech())
    with world.World(nat=True) as net, stun(net) as helper, \
            peers.Server(address=net.address, netns=net.server, stun_servers=[f"{net.address}:{told}"]) as server, \
            peers.Program("receive", "ours", server.url, peers.token("bob", room), netns=net.clients, out=tmp_path / "heard.wav",
                          **options) as bob:
        bob.wait("connected")
        with peers.Program("publish", "ours", server.url, peers.token("alice", room), netns=net.clients,
                           wav=tmp_path / "speech.wav", **options) as alice:
            alice.wait("published")
            bob.wait("first_frame")
            peers.until_heard(peers.speech(), lambda: alice.ask("feed 1", "fed", 60), tmp_path / "heard.wav")
            assert "10.77.0.1" in server.log_path.read_text(), "nobody told the server how he looks from outside"
            seen = [c for c in peers.by_kind(bob.ask("session")["publisher"])["local_candidate"] if c["candidate_type"] == "SRFLX"]
            assert [(c["address"], c["related_address"]) for c in seen] == [("10.77.0.1", "10.78.0.2")], seen
            assert alice.finish() == 0
        assert bob.finish() == 0
        helper.kill()
        assert helper.stdout.read().count("asked") >= 2


def test_without_a_stun_server_the_firewall_keeps_him_out(room):
    """What the test above is worth: the same way, and nobody to ask."""
    with world.World(nat=True) as net, \
            peers.Server(address=net.address, netns=net.server, stun_servers=[f"{net.address}:{PORT}"]) as server, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room), netns=net.clients, timeout=2) as bob:
        assert "peer connection" in bob.wait("connect_error", 60)["text"]
