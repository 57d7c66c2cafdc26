# SPDX-License-Identifier: Apache-2.0
"""Rooms at the C ABI against the real server: the gate, the order of events, endings, statistics.

Tests that take `both` ask the stock library the same. Two do not: on a busy machine it now and then loses `disconnected`
of its own disconnect, and the second `track_subscribed` of a subscription that is taken back at once.
"""
import threading
import time

import numpy as np
import pytest

import conftest
import peers
import raw
from test_audio import buffer_of, capture, error_of, frames_of, new_track, pcm, samples_of
from test_secrets import Signalling

CLIENT_INITIATED, DUPLICATE_IDENTITY, PARTICIPANT_REMOVED, CONNECTION_TIMEOUT = 1, 2, 4, 14
DISCONNECTED, CONNECTED = 0, 1


class Joined:
    """One participant of a library; ready=False leaves the gate closed."""

    def __init__(self, lib, server, room, identity, ready=True, options=None, **grants):
        self.lib, self.identity = lib, identity
        response = lib.request("connect", url=server.url, token=peers.token(identity, room, **grants), options=options or {})
        callback = lib.callback_of("connect", response, 30)
        assert callback.WhichOneof("message") == "result", callback
        self.result = callback.result
        self.room, self.me = callback.result.room.handle.id, callback.result.local_participant.handle.id
        if ready:
            self.ready()

    def ready(self):
        self.lib.request("ready_for_room_event", room_handle=self.room)

    def names(self, start=0):
        return [e.room_event.WhichOneof("message") for e in self.lib.events[start:]
                if e.WhichOneof("message") == "room_event" and e.room_event.room_handle == self.room]

    def event(self, name, start=0, seconds=20):
        return getattr(self.lib.room_event(name, start, seconds, self.room)[1].room_event, name)

    def index(self, name, start=0):
        return self.lib.room_event(name, start, 20, self.room)[0]

    def publish(self, track, **options):
        response = self.lib.request("publish_track", local_participant_handle=self.me, track_handle=track,
                                    options={"source": 2, **options})
        return self.lib.callback_of("publish_track", response)

    def disconnect(self, **fields):
        response = self.lib.request("disconnect", room_handle=self.room, **fields)
        return response, self.lib.callback_of("disconnect", response)


def at(lib, name, response):
    """Where in the list the callback of response is."""
    return lib.wait(lambda e: e.WhichOneof("message") == name and getattr(e, name).async_id == response.async_id, what=name)[0]


# ---- connect ----------------------------------------------------------------------------------------------------------------

def test_the_result_of_connect(both, server, room):
    with_track = Joined(both, server, room, "alice", name="Alice", metadata="m", attributes={"k": "v"})
    _, track = new_track(both)
    sid = with_track.publish(track).publication.info.sid
    peers.wait_for(lambda: server.tracks(room) == [sid], 10, "the server to show the track to others")
    bob = Joined(both, server, room, "bob")
    info = bob.result.room.info
    assert info.name == room and info.sid.startswith("RM_") and info.empty_timeout == 300
    assert info.departure_timeout == 20 and info.max_participants == 0
    assert info.creation_time > 1_600_000_000_000, "milliseconds"
    assert info.lossy_dc_buffered_amount_low_threshold == info.reliable_dc_buffered_amount_low_threshold == 2097152
    me = bob.result.local_participant.info
    assert (me.identity, me.name, me.sid[:3]) == ("bob", "bob", "PA_") and me.permission.can_publish
    assert me.joined_at > 1_600_000_000_000
    assert len(bob.result.participants) == 1
    other = bob.result.participants[0]
    assert (other.participant.info.identity, other.participant.info.name, other.participant.info.metadata) == (
        "alice", "Alice", "m")
    assert dict(other.participant.info.attributes) == {"k": "v"}
    assert [p.info.sid for p in other.publications] == [sid] and other.publications[0].info.remote
    handles = [bob.room, bob.me, other.participant.handle.id, other.publications[0].handle.id]
    assert handles[1:] == sorted(handles[1:]) and len(set(handles)) == 4
    # Who was there before is in the result alone.
    bob.event("track_subscribed")
    assert not {"participant_connected", "track_published"} & set(bob.names())
    for handle in handles[1:]:
        assert both.drop(handle), handle


def test_events_wait_for_the_client_to_be_ready(both, server, room):
    bob = Joined(both, server, room, "bob", ready=False)
    alice = Joined(both, server, room, "alice")
    alice.publish(new_track(both)[1])
    alice.event("participants_updated")
    deadline = time.monotonic() + 2
    peers.wait_for(lambda: time.monotonic() > deadline or bob.names(), 5, "nothing to come")
    assert bob.names() == []
    assert both.callback_of("get_session_stats", both.request("get_session_stats", room_handle=bob.room)).HasField("result")
    bob.ready()
    assert bob.event("connection_state_changed").state == CONNECTED
    assert bob.event("room_sid_changed").sid == bob.result.room.info.sid
    bob.event("track_subscribed")
    names = bob.names()
    assert names.index("participant_connected") < names.index("track_published") < names.index("track_subscribed")
    bob.ready()  # harmless
    assert both.drop(bob.me) and both.drop(bob.room)


def test_a_token_is_refused_with_the_servers_reason(both, server, room):
    cases = {"invalid": peers.token("a", room, secret="another-secret-of-the-right-length-0123456789"),
             "expired": peers.token("a", room, ttl_seconds=-600), "empty": ""}
    for name, token in cases.items():
        way = Signalling(server.port)
        response = both.request("connect", url=f"ws://127.0.0.1:{way.port}", token=token, options={})
        callback = both.callback_of("connect", response, 30)
        way.close()
        assert callback.error.startswith("engine: signal failure: client error: 401 Unauthorized"), (name, callback.error)
        connections = len(way.kept) // 2
        assert connections == {"ours": 1, "stock": 2}[both.name], "final: tried once (the stock library asks for the reason besides)"
        if token and both.name == "ours":
            assert token not in callback.error
    assert [raw.kind(e) for e in both.events] == ["connect"] * 3


def test_nobody_ready_closes_the_room(lib, server, room):
    bob = Joined(lib, server, room, "bob", ready=False)
    assert bob.event("disconnected", seconds=60).reason == CONNECTION_TIMEOUT
    bob.event("eos")
    with pytest.raises(LookupError):
        bob.ready()
    assert not [e for e in lib.events if raw.kind(e) == "panic"]
    assert lib.drop(bob.room) and lib.drop(bob.me)


# ---- publishing ---------------------------------------------------------------------------------------------------------------

def test_publish_and_unpublish_in_order(both, server, room):
    alice, bob = Joined(both, server, room, "alice"), Joined(both, server, room, "bob")
    _, track = new_track(both)
    response = both.request("publish_track", local_participant_handle=alice.me, track_handle=track,
                            options={"source": 2, "stream": "group"})
    publication = both.callback_of("publish_track", response).publication
    sid, info = publication.info.sid, publication.info
    assert sid.startswith("TR_") and not info.remote and info.source == 2 and info.name == "t" and info.mime_type == ""
    assert alice.event("local_track_published").track_sid == sid
    assert at(both, "publish_track", response) < alice.index("local_track_published")
    assert alice.event("local_track_subscribed").track_sid == sid
    assert alice.index("local_track_published") < alice.index("local_track_subscribed")

    seen = bob.event("track_published").publication
    assert (seen.info.sid, seen.info.mime_type, seen.info.remote) == (sid, "audio/red", True)
    subscribed = bob.event("track_subscribed")
    assert subscribed.track.info.sid == sid and subscribed.track.info.remote and subscribed.participant_identity == "alice"

    response = both.request("unpublish_track", local_participant_handle=alice.me, track_sid=sid, stop_on_unpublish=True)
    assert not both.callback_of("unpublish_track", response).error
    assert alice.event("local_track_unpublished").publication_sid == sid
    assert alice.index("local_track_unpublished") < at(both, "unpublish_track", response)
    bob.event("track_unpublished")
    names = bob.names()
    assert names.index("track_unsubscribed") < names.index("track_unpublished")
    again = alice.publish(track).publication.info.sid
    assert again != sid
    for handle in (publication.handle.id, seen.handle.id, subscribed.track.handle.id, track):
        assert both.drop(handle)


def test_what_cannot_be_published(both, server, room):
    alice = Joined(both, server, room, "alice")
    bob = Joined(both, server, room, "bob")
    _, track = new_track(both)
    assert alice.publish(10 ** 12).error == "invalid request: handle not found"
    alice.publish(track)
    remote = bob.event("track_subscribed").track.handle.id
    assert bob.publish(remote).error == "invalid request: track is not a LocalTrack"
    response = both.request("unpublish_track", local_participant_handle=alice.me, track_sid="TR_nobody",
                            stop_on_unpublish=False)
    assert both.callback_of("unpublish_track", response).error == "room failure: track not found"
    with pytest.raises(LookupError):
        both.request("local_track_mute", track_handle=remote, mute=True)
    both.log(0, "track is not a local track")
    assert both.request("enable_remote_track", track_handle=remote, enabled=False).enabled is False


def test_a_publication_of_ours_has_no_subscription(both, server, room):
    alice = Joined(both, server, room, "alice")
    publication = alice.publish(new_track(both)[1]).publication.handle.id
    for name, field in (("set_subscribed", "publication_handle"), ("enable_remote_track_publication", "track_publication_handle")):
        with pytest.raises(LookupError):
            both.request(name, **{field: publication})
    both.log(0, "publication is not a RemotePublication")


def test_mute_is_told_once(lib, server, room):
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    _, track = new_track(lib)
    sid = alice.publish(track).publication.info.sid
    bob.event("track_subscribed")
    for mute, name in ((True, "track_muted"), (False, "track_unmuted")):
        assert lib.request("local_track_mute", track_handle=track, mute=mute).muted == mute
        assert lib.request("local_track_mute", track_handle=track, mute=mute).muted == mute
        for one in (alice, bob):
            told = one.event(name)
            assert (told.participant_identity, told.track_sid) == ("alice", sid)
    alice.disconnect()
    assert alice.names().count("track_muted") == alice.names().count("track_unmuted") == 1


def test_subscription_by_hand(lib, server, room):
    alice = Joined(lib, server, room, "alice")
    bob = Joined(lib, server, room, "bob", options={"auto_subscribe": False})
    sid = alice.publish(new_track(lib)[1]).publication.info.sid
    publication = bob.event("track_published").publication.handle.id
    lib.request("set_subscribed", publication_handle=publication, subscribe=True)
    first = bob.event("track_subscribed").track
    start = len(lib.events)
    lib.request("set_subscribed", publication_handle=publication, subscribe=False)
    assert bob.event("track_unsubscribed", start).track_sid == sid
    start = len(lib.events)
    lib.request("set_subscribed", publication_handle=publication, subscribe=True)
    second = bob.event("track_subscribed", start).track
    assert first.info.sid == second.info.sid == sid and first.handle.id != second.handle.id


def test_sound_is_turned_off_and_on_by_the_listener(both, server, room):
    """enable_remote_track is a matter of playing alone; of the publication, the server stops to deliver. Judged by what
    the stream holds and by what get_stats counts."""
    alice, bob = Joined(both, server, room, "alice"), Joined(both, server, room, "bob")
    source, track = new_track(both)
    alice.publish(track, dtx=False)
    publication = bob.event("track_published").publication.handle.id
    remote = bob.event("track_subscribed").track.handle.id
    stream = both.request("new_audio_stream", track_handle=remote, type=0).stream.handle.id
    tone = pcm(480)
    speaking = threading.Event()

    def speak():
        while not speaking.is_set():
            error_of(both, both.request("capture_audio_frame", source_handle=source, buffer=buffer_of(tone)))
    speaker = threading.Thread(target=speak)
    speaker.start()

    def loud():
        """Of the newest half second."""
        frames = frames_of(both, stream, 50, len(both.events))
        return float(np.sqrt(np.mean(np.concatenate([samples_of(f) for f in frames]).astype(float) ** 2)))

    def packets():
        callback = both.callback_of("get_stats", both.request("get_stats", track_handle=remote))
        return sum(s.inbound_rtp.received.packets_received for s in callback.stats if s.WhichOneof("stats") == "inbound_rtp")

    def in_a_second():
        before = packets()
        time.sleep(1)  # the length of what is counted
        return packets() - before

    def goes_on():
        before = packets()
        peers.wait_for(lambda: packets() > before + 30, 20, "packets")
        peers.wait_for(lambda: loud() > 3000, 20, "the tone")
    try:
        goes_on()
        both.request("enable_remote_track", track_handle=remote, enabled=False)
        goes_on()  # the switch is for a sound device
        both.request("enable_remote_track", track_handle=remote, enabled=True)
        both.request("enable_remote_track_publication", track_publication_handle=publication, enabled=False)
        peers.wait_for(lambda: in_a_second() == 0 and loud() < 10, 20, "the server to stop: silence, and still frames")
        both.request("enable_remote_track_publication", track_publication_handle=publication, enabled=True)
        goes_on()
    finally:
        speaking.set()
        speaker.join()


# ---- what we tell ---------------------------------------------------------------------------------------------------------------

def told(one, request, **fields):
    response = one.lib.request(request, local_participant_handle=one.me, **fields)
    return one.lib.callback_of(request, response)


def test_own_metadata_name_and_attributes(both, server, room):
    alice, bob = Joined(both, server, room, "alice", can_update_own_metadata=True), Joined(both, server, room, "bob")
    bob.event("connection_state_changed")
    assert not told(alice, "set_local_metadata", metadata="new").error
    assert not told(alice, "set_local_name", name="Alicia").error
    assert not told(alice, "set_local_attributes", attributes=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]).error
    for one in (alice, bob):
        changed = one.event("participant_metadata_changed")
        assert (changed.participant_identity, changed.metadata) == ("alice", "new")
        assert one.event("participant_name_changed").name == "Alicia"
        attributes = one.event("participant_attributes_changed")
        assert {a.key: a.value for a in attributes.changed_attributes} == {"a": "1", "b": "2"}
        assert {a.key: a.value for a in attributes.attributes} == {"a": "1", "b": "2"}
    start = len(both.events)
    assert not told(alice, "set_local_attributes", attributes=[{"key": "a", "value": ""}]).error
    attributes = bob.event("participant_attributes_changed", start)
    assert {a.key: a.value for a in attributes.changed_attributes} == {"a": ""}
    assert {a.key: a.value for a in attributes.attributes} == {"b": "2"}
    updated = bob.event("participants_updated", start)
    assert [p.metadata for p in updated.participants if p.identity == "alice"] == ["new"]
    names = bob.names()
    assert names.index("participant_metadata_changed") < len(names) - 1 - names[::-1].index("participants_updated")


def test_without_the_right_the_server_refuses(both, server, room):
    alice = Joined(both, server, room, "alice", can_update_own_metadata=False)
    error = told(alice, "set_local_metadata", metadata="x").error
    assert error == "request error: NotAllowed - does not have permission to update own metadata"


def remote_participant(one):
    """The handle of the only other one in the room."""
    there = one.result.participants
    return (there[0].participant if there else one.event("participant_connected").info).handle.id


# ---- sound and numbers ------------------------------------------------------------------------------------------------------------

def test_sound_reaches_a_stream_and_statistics_hang_together(lib, server, room):
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    source, track = new_track(lib)
    alice.publish(track)
    remote = bob.event("track_subscribed").track
    stream = lib.request("new_audio_stream", track_handle=remote.handle.id, type=0, sample_rate=24000, num_channels=2,
                         queue_size_frames=0).stream.handle.id
    person = remote_participant(bob)
    response, _ = capture(lib, source, 900)
    assert error_of(lib, response) == ""
    frames = frames_of(lib, stream, 100)
    assert {(f.info.samples_per_channel, f.info.num_channels) for f in frames} == {(240, 2)}
    with pytest.raises(LookupError):
        lib.request("audio_stream_from_participant", participant_handle=alice.me, type=0, track_source=2)
    assert lib.request("audio_stream_from_participant", participant_handle=person, type=0, track_source=2).stream.handle.id

    for handle, wanted in ((track, {"outbound_rtp", "media_source"}), (remote.handle.id, {"inbound_rtp"})):
        callback = lib.callback_of("get_stats", lib.request("get_stats", track_handle=handle))
        assert not callback.error
        check_stats(callback.stats, wanted | {"codec", "transport", "candidate_pair", "local_candidate", "remote_candidate"})
    callback = lib.callback_of("get_session_stats", lib.request("get_session_stats", room_handle=alice.room))
    check_stats(list(callback.result.publisher_stats), {"transport", "peer_connection", "outbound_rtp"})
    assert not callback.result.subscriber_stats, "one peer connection: all is the publisher's"


def check_stats(stats, kinds):
    found, now = {}, time.time() * 1e6
    for entry in stats:
        assert entry.IsInitialized()
        kind = entry.WhichOneof("stats")
        rtc = getattr(entry, kind).rtc
        assert rtc.id and rtc.id not in found, rtc.id
        assert abs(rtc.timestamp - now) < 60e6, "Unix microseconds"
        found[rtc.id] = (kind, getattr(entry, kind))
    assert kinds <= {kind for kind, _ in found.values()}, sorted(kind for kind, _ in found.values())
    assert list(found) == sorted(found)
    for kind, entry in found.values():
        if kind in ("outbound_rtp", "inbound_rtp"):
            assert found[entry.stream.codec_id][0] == "codec"
            assert found[entry.stream.transport_id][0] == "transport"
        if kind == "outbound_rtp":
            assert found[entry.outbound.media_source_id][0] in ("media_source",)
        if kind == "transport":
            assert found[entry.transport.selected_candidate_pair_id][0] == "candidate_pair"
        if kind == "candidate_pair":
            assert found[entry.candidate_pair.local_candidate_id][0] == "local_candidate"
            assert found[entry.candidate_pair.remote_candidate_id][0] == "remote_candidate"


# ---- ends -----------------------------------------------------------------------------------------------------------------------------

ORDER = ["local_track_unpublished", "connection_state_changed", "disconnected", "eos"]


def test_disconnect_in_order(lib, server, room):
    alice = Joined(lib, server, room, "alice")
    alice.publish(new_track(lib)[1])
    alice.event("local_track_published")
    bob = Joined(lib, server, room, "bob")
    bob.event("track_subscribed")
    start = len(lib.events)
    response, _ = alice.disconnect(reason=3)
    assert alice.event("disconnected").reason == 3, "the reason is echoed"
    names = [n for n in alice.names(start) if n in ORDER]
    assert names == ORDER
    assert alice.event("connection_state_changed", start).state == DISCONNECTED
    assert alice.index("eos") < at(lib, "disconnect", response)
    bob.event("participant_disconnected", start)
    names = bob.names(start)
    assert names.index("track_unsubscribed") < names.index("track_unpublished") < names.index("participant_disconnected")
    count = len(alice.names())
    alice.disconnect()
    assert len(alice.names()) == count, "the second one has a callback and nothing else"
    for name, fields in (("set_local_metadata", {"metadata": "x"}), ("set_local_name", {"name": "x"})):
        assert told(alice, name, **fields).error
    assert alice.publish(new_track(lib)[1]).error
    for handle in (alice.room, alice.me, bob.room, bob.me):
        assert lib.drop(handle) and not lib.drop(handle)


def test_removed_by_the_server(both, server, room):
    alice = Joined(both, server, room, "alice")
    alice.event("connection_state_changed")
    start = len(both.events)
    server.call("room", "remove_participant", "RoomParticipantIdentity", room=room, identity="alice")
    assert alice.event("disconnected", start).reason == PARTICIPANT_REMOVED
    alice.event("eos", start)
    assert alice.names()[-1] == "eos"
    alice.disconnect()
    assert alice.names().count("eos") == 1


def test_the_same_identity_again(both, server, room):
    first = Joined(both, server, room, "alice")
    first.event("connection_state_changed")
    second = Joined(both, server, room, "alice")
    assert first.event("disconnected").reason == DUPLICATE_IDENTITY
    first.event("eos")
    second.event("connection_state_changed")
    assert "disconnected" not in second.names()


def test_a_dropped_room_is_left(lib, server, room):
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    alice.publish(new_track(lib)[1])
    bob.event("track_subscribed")
    alice.event("local_track_subscribed")
    assert lib.callback_of("get_session_stats", lib.request("get_session_stats", room_handle=alice.room)).HasField("result")
    start = len(lib.events)
    assert lib.drop(alice.room) and not lib.drop(alice.room)
    alice.event("eos", start)
    assert alice.names(start) == ["eos"] and alice.names().count("eos") == 1
    assert bob.event("participant_disconnected", start).participant_identity == "alice"
    peers.wait_for(lambda: server.participants(room) == ["bob"], 10, "alice to be gone")
    with pytest.raises(LookupError):
        lib.request("disconnect", room_handle=alice.room)
    lib.raw(b"")  # whatever becomes of a request on a participant of it, it is answered or rejected
    request = lib.request("set_local_name", local_participant_handle=alice.me, name="x")
    assert lib.callback_of("set_local_name", request).error
    assert lib.drop(alice.me)


def test_a_publication_outlives_its_handles(lib, server, room):
    alice, bob = Joined(lib, server, room, "alice"), Joined(lib, server, room, "bob")
    source, track = new_track(lib)
    publication = alice.publish(track).publication
    remote = bob.event("track_subscribed").track.handle.id
    stream = lib.request("new_audio_stream", track_handle=remote, type=0).stream.handle.id
    for handle in (source, track, publication.handle.id, alice.me):
        assert lib.drop(handle)
    start = len(lib.events)
    frames_of(lib, stream, 50, start)
    sent = packets_sent(lib, alice)
    frames_of(lib, stream, 100, len(lib.events))
    peers.wait_for(lambda: packets_sent(lib, alice) > sent, 10, "silence to go on being sent")
    assert not {"track_unpublished", "track_unsubscribed"} & set(bob.names(start))


def packets_sent(lib, one):
    callback = lib.callback_of("get_session_stats", lib.request("get_session_stats", room_handle=one.room))
    return sum(s.outbound_rtp.sent.packets_sent for s in callback.result.publisher_stats
               if s.WhichOneof("stats") == "outbound_rtp")


def test_streams_end_with_the_room(both, server, room):
    alice, bob = Joined(both, server, room, "alice"), Joined(both, server, room, "bob")
    alice.publish(new_track(both)[1])
    remote = bob.event("track_subscribed").track.handle.id
    stream = both.request("new_audio_stream", track_handle=remote, type=0).stream.handle.id
    frames_of(both, stream, 3)
    bob.disconnect()
    end = both.wait(lambda e: raw.kind(e) == "audio_stream_event.eos" and e.audio_stream_event.stream_handle == stream)[0]
    assert end < bob.index("eos")
    assert both.drop(stream) and both.drop(remote)
    alice.disconnect()
    assert len([e for e in both.events if raw.kind(e) == "audio_stream_event.eos"]) == 1


def test_a_stream_of_a_participant_ends_when_it_leaves(both, server, room):
    alice, bob = Joined(both, server, room, "alice"), Joined(both, server, room, "bob")
    alice.publish(new_track(both)[1])
    bob.event("track_subscribed")
    person = remote_participant(bob)
    stream = both.request("audio_stream_from_participant", participant_handle=person, type=0,
                          track_source=2).stream.handle.id
    frames_of(both, stream, 3)
    alice.disconnect()
    both.wait(lambda e: raw.kind(e) == "audio_stream_event.eos" and e.audio_stream_event.stream_handle == stream)
    assert both.drop(stream)


def test_both_libraries_name_the_same_events(server, room):
    """The events one of us sees when a stock participant comes, publishes and goes, and the other way round."""
    ours, stock = conftest.loaded("ours"), conftest.loaded("stock")
    wanted = ["participant_connected", "participant_active", "track_published", "track_subscribed", "track_muted",
              "track_unmuted", "track_unsubscribed", "track_unpublished", "participant_disconnected"]
    seen = {}
    try:
        for name, one, other in (("ours", ours, stock), ("stock", stock, ours)):
            watcher = Joined(one, server, f"{room}-{name}", "watcher")
            speaker = Joined(other, server, f"{room}-{name}", "speaker")
            _, track = new_track(other)
            sid = speaker.publish(track).publication.info.sid
            watcher.event("track_subscribed")
            for mute in (True, False):
                other.request("local_track_mute", track_handle=track, mute=mute)
                watcher.event("track_muted" if mute else "track_unmuted")
            speaker.disconnect()
            watcher.event("participant_disconnected")
            seen[name] = [n for n in watcher.names() if n in wanted]
            assert watcher.event("track_unpublished").publication_sid == sid
            watcher.disconnect()
    finally:
        ours.dispose()
        stock.dispose()
    assert seen["ours"] == seen["stock"] == wanted
