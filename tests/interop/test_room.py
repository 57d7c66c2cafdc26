# SPDX-License-Identifier: Apache-2.0
"""The room as the SDK shows it: participants, publications, mute, subscription, permission, speakers, endings."""
import pytest

import peers

CLIENT_INITIATED, DUPLICATE_IDENTITY, SERVER_SHUTDOWN, PARTICIPANT_REMOVED, ROOM_DELETED = 1, 2, 3, 4, 5


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "source.wav"
    peers.write_wav(path, peers.speech())
    return path


class Call:
    """Bob receives, Alice publishes; both have said so."""

    def __init__(self, server, room, wav, tmp_path, **bob_options):
        self.server, self.room, self.wav, self.out = server, room, wav, tmp_path / "heard.wav"
        self.bob_options = bob_options

    def __enter__(self):
        self.bob = peers.Program("receive", "ours", self.server.url, peers.token("bob", self.room), out=self.out,
                                 **self.bob_options)
        self.alice = peers.Program("publish", "ours", self.server.url, peers.token("alice", self.room), wav=self.wav)
        self.bob.wait("connected")
        self.sid = self.alice.wait("published")["publication"]
        return self

    def __exit__(self, *_):
        self.alice.__exit__()
        self.bob.__exit__()


@pytest.mark.parametrize("teller,hearer", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_participants_know_each_other(server, room, teller, hearer):
    alice_token = peers.token("alice", room, name="Alice Ä", metadata='{"k": 1}', attributes={"role": "host"},
                              can_update_own_metadata=True)
    with peers.Program("watch", hearer, server.url, peers.token("bob", room, name="Bob")) as bob:
        bob.wait("connected")
        with peers.Program("watch", teller, server.url, alice_token) as alice:
            me = alice.wait("connected")
            assert (me["identity"], me["name"], me["metadata"]) == ("alice", "Alice Ä", '{"k": 1}')
            assert me["attributes"] == {"role": "host"} and me["permissions"]["can_update_metadata"]
            assert bob.wait("participant_connected")["args"][0]["identity"] == "alice"
            seen = bob.ask("room")["remotes"]["alice"]
            assert {k: seen[k] for k in ("sid", "name", "metadata", "attributes")} == {
                k: me[k] for k in ("sid", "name", "metadata", "attributes")}
            other = alice.ask("room")["remotes"]["bob"]
            assert (other["identity"], other["name"]) == ("bob", "Bob") and other["sid"].startswith("PA_")

            alice.ask("metadata second", "participant_metadata_changed")
            changed = bob.wait("participant_metadata_changed")
            assert changed["args"][0]["identity"] == "alice" and changed["args"][1:] == ['{"k": 1}', "second"]
            alice.ask("name Alicia", "participant_name_changed")
            assert bob.wait("participant_name_changed")["args"][1:] == ["Alice Ä", "Alicia"]
            alice.ask('attributes {"role": "", "seat": "7"}', "participant_attributes_changed")
            assert bob.wait("participant_attributes_changed")["args"][0] == {"role": "", "seat": "7"}
            seen = bob.ask("room")["remotes"]["alice"]
            assert (seen["name"], seen["metadata"], seen["attributes"]) == ("Alicia", "second", {"seat": "7"})
            assert alice.finish() == 0
        assert bob.wait("participant_disconnected")["args"][0]["identity"] == "alice"
        assert bob.ask("room")["remotes"] == {}
        assert bob.finish() == 0


def test_late_joiner_sees_what_is_there(server, room, wav, tmp_path):
    with peers.Program("publish", "ours", server.url, peers.token("alice", room, metadata="m"), wav=wav) as alice:
        sid = alice.wait("published")["publication"]
        with peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
            bob.wait("connected")
            seen = bob.ask("room")["remotes"]["alice"]
            assert seen["metadata"] == "m"
            track = seen["tracks"][sid]
            assert (track["name"], track["source"], track["muted"], track["kind"]) == ("speech", 2, False, 1)
            bob.wait("track_subscribed", publication=sid)


def test_metadata_without_the_right_changes_nothing(server, room):
    with peers.Program("watch", "ours", server.url, peers.token("bob", room, can_update_own_metadata=False)) as bob:
        bob.wait("connected")
        bob.say("metadata mine")  # the SDK swallows the refusal; the call must end all the same
        bob.wait("done", order="metadata")
        assert bob.ask("room")["me"]["metadata"] == ""


def test_mute_by_the_publisher(server, room, wav, tmp_path):
    with Call(server, room, wav, tmp_path) as call:
        call.bob.wait("first_frame")
        call.alice.ask("mute", "track_muted")
        assert call.bob.wait("track_muted")["args"][0]["identity"] == "alice"
        assert call.bob.ask("room")["remotes"]["alice"]["tracks"][call.sid]["muted"]
        call.alice.say("feed 1")  # captured all the same, at its own pace
        call.alice.wait("fed", 60)
        call.alice.ask("unmute", "track_unmuted")
        call.bob.wait("track_unmuted")
        assert not call.bob.ask("room")["remotes"]["alice"]["tracks"][call.sid]["muted"]
        before = len(peers.speech())
        assert call.alice.finish() == 0 and call.bob.finish() == 0
    heard = peers.read_wav(call.out)
    assert len(heard) > before // 2, "frames come on while muted; those of a time when somebody stood still may be missing"
    assert abs(heard).max() <= 8, "nothing of what was said while muted may be heard"


def test_mute_by_the_server(server, room, wav, tmp_path):
    with Call(server, room, wav, tmp_path) as call:
        call.bob.wait("track_subscribed")
        server.call("room", "mute_published_track", "MuteRoomTrackRequest", room=room, identity="alice",
                    track_sid=call.sid, muted=True)
        call.alice.wait("track_muted")
        assert call.alice.ask("room")["me"]["tracks"][call.sid]["muted"]
        call.bob.wait("track_muted")
        assert call.bob.ask("room")["remotes"]["alice"]["tracks"][call.sid]["muted"]


def test_unpublish_and_publish_again(server, room, wav, tmp_path):
    with Call(server, room, wav, tmp_path) as call:
        call.bob.wait("track_subscribed", publication=call.sid)
        call.alice.ask("unpublish", "local_track_unpublished")
        call.bob.wait("track_unsubscribed")
        call.bob.wait("track_unpublished")
        again = call.alice.ask("publish", "published")["publication"]
        assert again != call.sid
        call.bob.wait("track_subscribed", publication=again)


@pytest.mark.parametrize("publisher", ["ours", "stock"])
def test_manual_subscription(server, room, wav, tmp_path, publisher):
    with peers.Program("receive", "ours", server.url, peers.token("bob", room), out=tmp_path / "h.wav",
                       manual=1) as bob:
        bob.wait("connected")
        with peers.Program("publish", publisher, server.url, peers.token("alice", room), wav=wav) as alice:
            sid = alice.wait("published")["publication"]
            bob.wait("track_published")
            assert not bob.ask("room")["remotes"]["alice"]["tracks"][sid]["subscribed"]
            assert not bob.events("track_subscribed")
            bob.say("subscribe on")
            first = bob.wait("track_subscribed", publication=sid)
            bob.wait("first_frame")
            bob.ask("subscribe off", "track_unsubscribed")
            bob.say("subscribe on")
            second = bob.wait("track_subscribed", publication=sid)
            assert first["sid"] == second["sid"]
            bob.wait("first_frame")


def test_subscription_is_denied_and_allowed(server, room, wav, tmp_path):
    """The stock library is silent about it: its track just gets no more media."""
    with Call(server, room, wav, tmp_path) as call:
        call.bob.wait("track_subscribed", publication=call.sid)
        call.alice.say("allow none")
        call.bob.wait("track_unsubscribed")
        call.alice.say("allow bob")
        call.bob.wait("track_subscribed", publication=call.sid)


def test_publishing_without_the_right(server, room, wav):
    with peers.Program("publish", "ours", server.url, peers.token("alice", room, can_publish=False), wav=wav) as alice:
        assert not alice.wait("connected")["permissions"]["can_publish"]
        assert alice.wait("publish_failed")["text"]
        assert alice.finish() == 0


def test_permission_changes_in_the_room(server, room):
    from livekit import api
    with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice:
        assert alice.wait("connected")["permissions"]["can_publish"]
        server.call("room", "update_participant", "UpdateParticipantRequest", room=room, identity="alice",
                    permission=api.ParticipantPermission(can_subscribe=True, can_publish=False))
        alice.wait("participant_permissions_changed")
        assert not alice.ask("room")["me"]["permissions"]["can_publish"]


def test_active_speakers_and_connection_quality(server, room, wav, tmp_path):
    with Call(server, room, wav, tmp_path) as call:
        call.bob.wait("first_frame")
        call.alice.say("feed 2")
        for side in (call.bob, call.alice):
            while not any(s["identity"] == "alice" for s in side.wait("active_speakers_changed")["args"][0]):
                pass
        # The server tells a quality when it changes: from good at the start to excellent after some seconds.
        # (Poor, when somebody stood still at first: then it gets better.)
        while (told := call.alice.wait("connection_quality_changed", 40)["args"])[1] not in (1, 2):
            pass
        assert told[0]["identity"] == "alice", told
        call.alice.wait("fed", 60)
        while call.bob.wait("active_speakers_changed")["args"][0]:
            pass


def ends(server, room, act, reason):
    with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
        alice.wait("connected")
        bob.wait("connected")
        extra = act()
        try:
            assert alice.wait("disconnected", 40)["args"] == [reason]
            assert [line["args"] for line in alice.events("connection_state_changed")][-1] == [0]
            assert alice.finish() == 0, "leaving a room that has ended is no error"
            assert len(alice.events("disconnected")) == 1
        finally:
            if extra:
                extra.__exit__()


def test_removed_by_the_server(server, room):
    ends(server, room, lambda: server.call("room", "remove_participant", "RoomParticipantIdentity", room=room,
                                           identity="alice") and None, PARTICIPANT_REMOVED)


def test_room_deleted(server, room):
    ends(server, room, lambda: server.call("room", "delete_room", "DeleteRoomRequest", room=room) and None,
         ROOM_DELETED)


def test_same_identity_joins_again(server, room):
    ends(server, room, lambda: peers.Program("watch", "ours", server.url, peers.token("alice", room)),
         DUPLICATE_IDENTITY)


def test_leaving_oneself(server, room):
    with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice, \
            peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
        alice.wait("connected")
        bob.wait("connected")
        peers.wait_for(lambda: "alice" in bob.ask("room")["remotes"], 20, "bob to see alice")
        alice.say("disconnect")
        alice.wait("done", order="disconnect")
        assert alice.events("disconnected")[0]["args"] == [CLIENT_INITIATED]
        bob.wait("participant_disconnected")
        peers.wait_for(lambda: server.participants(room) == ["bob"], 20, "alice to be gone at the server")
        assert alice.finish() == 0
