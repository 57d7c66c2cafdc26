# SPDX-License-Identifier: Apache-2.0
"""Audio between our library and the stock one, by content, through the real server."""
import pytest

import peers


@pytest.mark.parametrize("sender,receiver", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_speech_is_heard(server, room, tmp_path, sender, receiver):
    source = peers.speech()
    wav, heard = tmp_path / "source.wav", tmp_path / "heard.wav"
    peers.write_wav(wav, source)
    with peers.Program("receive", receiver, server.url, peers.token("bob", room), out=heard) as bob:
        bob.wait("connected")
        with peers.Program("publish", sender, server.url, peers.token("alice", room), wav=wav) as alice:
            alice.wait("published")
            subscribed = bob.wait("track_subscribed", identity="alice")
            assert subscribed["type"] == "RemoteAudioTrack" and subscribed["name"] == "speech"
            alice.wait("fed", 60)
            bob.say("stats")
            bob.wait("stats")
            assert alice.finish() == 0
        bob.wait("track_unsubscribed")
        assert bob.finish() == 0
    peers.assert_heard(source, peers.read_wav(heard))
