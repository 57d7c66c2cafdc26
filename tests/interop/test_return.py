# SPDX-License-Identifier: Apache-2.0
"""A connection that was lost comes back: the same people, the same tracks, heard again."""
import pytest

import peers


@pytest.mark.parametrize("ours", [False, True], ids=["livekit-server", "lkc"])
@pytest.mark.parametrize("listener", ["ours", "stock"])
def test_a_server_killed_and_started_again(room, tmp_path, listener, ours):
    source = peers.speech()
    peers.write_wav(tmp_path / "s.wav", source)
    with peers.Server(ours=ours) as server, \
            peers.Program("receive", listener, server.url, peers.token("bob", room), out=tmp_path / "h.wav") as bob, \
            peers.Program("publish", "ours", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        before = alice.wait("published")["sid"]
        bob.wait("first_frame")
        server.kill()
        for side in (alice, bob):
            side.wait("reconnecting", 60)
        server.start()
        for side in (alice, bob):
            side.wait("reconnected", 60)
        bob.wait("first_frame", 30)  # of the track under its new sid
        alice.say("describe")
        assert alice.wait("describe")["sid"] not in ("", before)
        peers.until_heard(source, lambda: alice.ask("feed 1", "fed", 60), tmp_path / "h.wav")
        for side in (alice, bob):
            assert len(side.events("reconnecting")) == len(side.events("reconnected")) == 1
            assert not side.events("disconnected") and side.finish() == 0
