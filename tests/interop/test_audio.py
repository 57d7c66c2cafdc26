# SPDX-License-Identifier: Apache-2.0
"""Audio between our library and the stock one, by content, through the real server."""
import numpy as np
import pytest

import peers
import world


def call(server, room, tmp_path, sender, receiver, netns=None, times=1):
    """Alice speaks, Bob writes it down; returns what Bob's statistics said at the end."""
    source = np.tile(peers.speech(), times)
    wav, heard = tmp_path / "source.wav", tmp_path / "heard.wav"
    peers.write_wav(wav, source)
    with peers.Program("receive", receiver, server.url, peers.token("bob", room), out=heard, netns=netns) as bob:
        bob.wait("connected")
        with peers.Program("publish", sender, server.url, peers.token("alice", room), wav=wav, netns=netns) as alice:
            alice.wait("published")
            subscribed = bob.wait("track_subscribed", identity="alice")
            assert subscribed["type"] == "RemoteAudioTrack" and subscribed["name"] == "speech"
            bob.wait("first_frame")
            peers.until_heard(source, lambda: alice.ask("feed 1", "fed", 60), heard)
            stats = {"alice": alice.stats(), "bob": bob.stats()}
            assert alice.finish() == 0
        bob.wait("track_unsubscribed")
        assert bob.finish() == 0
    assert len(peers.read_wav(heard)) >= len(source) // 2, "what was listened to is in the file that is left"
    return stats


@pytest.mark.parametrize("sender,receiver", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_speech_is_heard(server, room, tmp_path, sender, receiver):
    call(server, room, tmp_path, sender, receiver)


def test_ice_lite(room, tmp_path):
    with peers.Server(use_ice_lite=True) as server:
        stats = call(server, room, tmp_path, "ours", "ours")
    for side in ("alice", "bob"):
        assert stats[side]["transport"][0]["ice_role"] == "ICE_CONTROLLING"
        assert stats[side]["candidate_pair"][0]["requests_received"] == 0, "a lite server sends no checks"


def test_ipv6(room, tmp_path):
    with world.World(ipv6=True) as net, peers.Server(address=net.address, netns=net.server) as server:
        stats = call(server, room, tmp_path, "ours", "ours", netns=net.clients)
        assert net.up.passed > 100 and net.down.passed > 100
    for side in ("alice", "bob"):
        assert "fd77::1" in [c["address"] for c in stats[side]["local_candidate"]]


def test_five_percent_loss_both_ways(room, tmp_path):
    with world.World(seed=5) as net, peers.Server(address=net.address, netns=net.server) as server:
        net.up.loss = net.down.loss = 0.05
        # Three times: how much of a loss can be repaired depends on where it falls, and once is too short for the average.
        stats = call(server, room, tmp_path, "ours", "ours", netns=net.clients, times=3)
        assert net.up.lost > 15 and net.down.lost > 15, "the link did nothing"
    inbound = stats["bob"]["inbound_rtp"][0]
    assert inbound["concealed_samples"] > 0 and inbound["concealment_events"] > 0, inbound
    # What became silence is left out: a process that stands still for a while leaves seconds of that, and lost packets leave none.
    made_up = inbound["concealed_samples"] - inbound["silent_concealed_samples"]
    assert made_up < 0.15 * inbound["total_samples_received"], inbound
