# SPDX-License-Identifier: Apache-2.0
"""People in rooms of `lkc serve`, seen through the stock Python SDK: coming back, permissions, calls, streams, vanishing."""
import asyncio
import contextlib
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from livekit import api, rtc
from livekit.rtc.participant import PublishTrackError

import peers


class Road:
    """A TCP road to the server that can be cut; what connects afterwards gets through again."""

    def __init__(self, port):
        self.to, self.writers, self.server = port, set(), None

    async def open(self):
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def carry(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        self.writers |= {writer, back}

        async def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


class Person:
    """A room of the stock SDK in this process, and what it was told."""

    KINDS = ("reconnecting", "reconnected", "disconnected", "track_subscribed", "track_unsubscribed", "track_published", "track_unpublished",
             "participant_connected", "participant_disconnected", "participant_permissions_changed", "participant_metadata_changed",
             "participant_attributes_changed", "active_speakers_changed")

    def __init__(self, identity):
        self.identity, self.room, self.events, self.data, self.frames, self.tasks = identity, rtc.Room(), [], [], 0, []
        for kind in self.KINDS:
            self.room.on(kind, lambda *args, kind=kind: self.events.append(kind))
        self.room.on("data_received", lambda packet: self.data.append(packet))
        self.room.on("track_subscribed", lambda track, *_: self.tasks.append(asyncio.ensure_future(self.listen(track))))

    async def enter(self, url, room, options=None, **grants):
        await self.room.connect(url, peers.token(self.identity, room, **grants), *([options] if options else []))
        return self

    async def listen(self, track):
        async for _ in rtc.AudioStream(track):
            self.frames += 1

    async def speak(self):
        source = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        publication = await self.room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))

        async def feed():
            at = np.arange(480)
            while True:
                frame = rtc.AudioFrame.create(48000, 1, 480)
                loud = 9000 if (at[0] // 6000) % 2 else 4000
                np.frombuffer(frame.data, dtype=np.int16)[:] = (np.sin(at * 0.05) * loud).astype(np.int16)
                at = at + 480
                await source.capture_frame(frame)
        self.tasks.append(asyncio.ensure_future(feed()))
        return publication

    async def told(self, kind, times=1, seconds=60):
        await until(lambda: self.events.count(kind) >= times, seconds, f"{self.identity} to be told {kind}: {self.events}")

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await self.room.disconnect()


async def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        await asyncio.sleep(0.02)


def test_a_cut_signal_is_resumed_without_a_gap_and_no_reliable_message_is_lost(server, room):
    async def run():
        road, bob, ann = Road(server.port), Person("bob"), Person("ann")
        await bob.enter(server.url, room)
        await ann.enter(await road.open(), room)
        await ann.speak()
        await bob.told("track_subscribed")
        await until(lambda: bob.frames > 50, 30, "sound")
        await ann.room.local_participant.publish_data(b"before")
        road.cut()
        before = bob.frames
        await ann.told("reconnecting")
        await ann.room.local_participant.publish_data(b"during")
        await bob.room.local_participant.publish_data(b"to ann")
        await ann.told("reconnected")
        await ann.room.local_participant.publish_data(b"after")
        await until(lambda: len(bob.data) == 3 and len(ann.data) == 1, 30, f"the data: {bob.data} {ann.data}")
        assert [p.data for p in bob.data] == [b"before", b"during", b"after"] and ann.data[0].data == b"to ann"
        await until(lambda: bob.frames > before + 50, 30, "sound after it")
        assert not {"track_unsubscribed", "participant_disconnected"} & set(bob.events)
        await ann.leave()
        await bob.told("participant_disconnected")
        await bob.leave()
    asyncio.run(run())


def test_a_server_that_was_killed_and_started_again_finds_its_people_back(room):
    async def run(server):
        bob, ann = await Person("bob").enter(server.url, room), await Person("ann").enter(server.url, room)
        await ann.speak()
        await bob.told("track_subscribed")
        server.kill()
        server.start()
        await bob.told("reconnected", seconds=60)
        await ann.told("reconnected", seconds=60)
        await bob.told("track_subscribed", times=2)
        before = bob.frames
        await until(lambda: bob.frames > before + 50, 60, "sound after the restart")
        await ann.leave()
        await bob.leave()
    with peers.Server(ours=True) as own:
        asyncio.run(run(own))


def test_a_permission_taken_away_ends_what_it_allowed(server, room):
    async def run():
        bob, ann = await Person("bob").enter(server.url, room), await Person("ann").enter(server.url, room)
        await ann.speak()
        await bob.told("track_subscribed")
        async with api.LiveKitAPI(server.url.replace("ws", "http"), peers.KEY, peers.SECRET) as lk:
            seen = await lk.room.update_participant(api.UpdateParticipantRequest(
                room=room, identity="ann", permission=api.ParticipantPermission(can_subscribe=True)))
            assert not seen.permission.can_publish and len(seen.tracks) == 0
            await bob.told("track_unsubscribed")
            with pytest.raises(PublishTrackError):
                await ann.speak()
            await lk.room.update_participant(api.UpdateParticipantRequest(
                room=room, identity="bob", permission=api.ParticipantPermission(can_publish=True, can_publish_data=True)))
            await lk.room.update_participant(api.UpdateParticipantRequest(
                room=room, identity="ann", permission=api.ParticipantPermission(can_subscribe=True, can_publish=True)))
            await ann.told("participant_permissions_changed", times=2)
            await ann.speak()
            await bob.told("track_published", times=2)
            await asyncio.sleep(1)  # long enough for a subscription, which must not come
            assert bob.events.count("track_subscribed") == 1
        await ann.leave()
        await bob.leave()
    asyncio.run(run())


def test_the_hidden_hear_and_are_not_seen(server, room):
    async def run():
        ann = await Person("ann").enter(server.url, room)
        ghost = await Person("ghost").enter(server.url, room, hidden=True, can_publish=False)
        await ann.speak()
        await ghost.told("track_subscribed")
        await until(lambda: ghost.frames > 20, 30, "sound")
        assert "participant_connected" not in ann.events and not ann.room.remote_participants
        await ghost.leave()
        await ann.leave()
        assert "participant_disconnected" not in ann.events
    asyncio.run(run())


def test_calls_and_streams_reach_whom_they_are_for(server, room):
    async def run():
        people = [await Person(name).enter(server.url, room, can_update_own_metadata=True) for name in ("ann", "bob", "carl")]
        ann, bob, carl = people
        texts = {p.identity: [] for p in people}
        for p in people:
            def take(reader, sender, p=p):
                async def read():
                    texts[p.identity].append((sender, await reader.read_all()))
                p.tasks.append(asyncio.ensure_future(read()))
            p.room.register_text_stream_handler("chat", take)

        @bob.room.local_participant.register_rpc_method("sum")
        async def _(call):
            return f"{sum(map(int, call.payload.split()))} for {call.caller_identity}"
        assert await ann.room.local_participant.perform_rpc(destination_identity="bob", method="sum", payload="1 2 3") == "6 for ann"
        with pytest.raises(rtc.RpcError) as error:
            await ann.room.local_participant.perform_rpc(destination_identity="carl", method="sum", payload="")
        assert error.value.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD
        long = "many words " * 5000
        await ann.room.local_participant.send_text(long, topic="chat", destination_identities=["carl"])
        await ann.room.local_participant.send_text("all", topic="chat")
        await until(lambda: len(texts["carl"]) == 2 and len(texts["bob"]) == 1, 30, f"the texts: {[(k, len(v)) for k, v in texts.items()]}")
        assert ("ann", long) in texts["carl"] and texts["bob"] == [("ann", "all")] and texts["ann"] == []
        await bob.room.local_participant.set_attributes({"mood": "good"})
        await ann.told("participant_attributes_changed")
        assert ann.room.remote_participants["bob"].attributes == {"mood": "good"}
        for p in people:
            await p.leave()
    asyncio.run(run())


def test_data_tracks_are_subscribed_read_and_taken_back(server, room):
    async def run():
        ann, bob = await Person("ann").enter(server.url, room), await Person("bob").enter(server.url, room)
        found, gone, frames = [], [], []
        bob.room.on("data_track_published", lambda track: found.append(track))
        bob.room.on("data_track_unpublished", lambda sid: gone.append(sid))
        track = await ann.room.local_participant.publish_data_track(name="pose")
        await until(lambda: found, 30, "the data track")
        assert found[0].info.name == "pose" and found[0].publisher_identity == "ann" and found[0].info.sid.startswith("DTR_")

        async def read():
            async for frame in found[0].subscribe():
                frames.append(bytes(frame.payload))
        bob.tasks.append(asyncio.ensure_future(read()))
        large = bytes(range(256)) * 200  # four packets

        async def push():
            while True:
                track.try_push(rtc.DataTrackFrame(payload=large))
                await asyncio.sleep(0.05)
        ann.tasks.append(asyncio.ensure_future(push()))
        await until(lambda: len(frames) >= 10, 60, f"ten frames: {len(frames)}")
        assert set(frames) == {large}
        ann.tasks.pop().cancel()
        await track.unpublish()
        await until(lambda: gone == [found[0].info.sid], 30, "the end of the track")
        await ann.leave()
        await bob.leave()
    asyncio.run(run())


def test_what_is_encrypted_end_to_end_arrives_as_it_was(server, room):
    def options(key):
        return rtc.RoomOptions(encryption=rtc.E2EEOptions(key_provider_options=rtc.KeyProviderOptions(shared_key=key)))

    async def run():
        ann = await Person("ann").enter(server.url, room, options(b"a key"))
        bob = await Person("bob").enter(server.url, room, options(b"a key"))
        eve = await Person("eve").enter(server.url, room, options(b"another"))
        heard, frames = {}, {}

        def listen(person):
            async def read(track):
                async for event in rtc.AudioStream(track):
                    peak = int(np.abs(np.frombuffer(event.frame.data, dtype=np.int16).astype(int)).max())
                    heard[person.identity] = max(heard.get(person.identity, 0), peak)
                    frames[person.identity] = frames.get(person.identity, 0) + 1
            person.room.on("track_subscribed", lambda track, *_: person.tasks.append(asyncio.ensure_future(read(track))))
        listen(bob)
        listen(eve)
        await ann.speak()
        await bob.told("track_subscribed")
        await eve.told("track_subscribed")
        await until(lambda: heard.get("bob", 0) > 2000, 60, f"sound: {heard}")
        await ann.room.local_participant.publish_data(b"a secret")
        await until(lambda: bob.data, 30, "data")
        assert bob.data[0].data == b"a secret" and not eve.data
        # The SDK plays what it gets until its cryptor is attached: that is noise to whoever has no key. Judged is what follows.
        await until(lambda: frames.get("eve", 0) >= 200, 60, f"frames: {frames}")
        heard.clear()
        frames.clear()
        await until(lambda: min(frames.get("bob", 0), frames.get("eve", 0)) >= 100, 60, f"frames: {frames}")
        assert heard["bob"] > 2000 and heard["eve"] < 500, heard
        for person in (ann, bob, eve):
            await person.leave()
    asyncio.run(run())


def test_who_is_killed_is_gone_for_the_others(server, room):
    with peers.Program("watch", "stock", server.url, peers.token("bob", room)) as bob:
        bob.wait("connected")
        with peers.Program("watch", "ours", server.url, peers.token("ann", room)) as ann:
            ann.wait("connected")
            bob.wait("participant_connected")
            ann.process.send_signal(signal.SIGKILL)
            began = time.monotonic()
            bob.wait("participant_disconnected", seconds=60)
            assert time.monotonic() - began < 40


def test_one_who_stops_reading_disturbs_nobody(server, room):
    """A stopped process: its sockets stay open and fill up while the others talk."""
    with peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
        bob.wait("connected")

        async def run():
            ann, carl = await Person("ann").enter(server.url, room), await Person("carl").enter(server.url, room)
            await ann.speak()
            await carl.told("track_subscribed")
            bob.process.send_signal(signal.SIGSTOP)
            before = carl.frames
            for i in range(300):
                await ann.room.local_participant.publish_data(bytes(10000))
            await until(lambda: len(carl.data) == 300, 30, f"300 messages: {len(carl.data)}")
            await until(lambda: carl.frames > before + 100, 60, "sound")
            bob.process.send_signal(signal.SIGCONT)
            await ann.leave()
            await carl.leave()
        asyncio.run(run())


def test_many_threads_of_joins_are_all_served(server, room):
    people = []

    def enter(i):
        people.append(peers.Program("watch", "ours", server.url, peers.token(f"p{i}", room)))
    threads = [threading.Thread(target=enter, args=(i,)) for i in range(8)]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for p in people:
            p.wait("connected")
        peers.wait_for(lambda: len(server.participants(room)) == 8, 20, "all eight")
    finally:
        for p in people:
            p.__exit__()
