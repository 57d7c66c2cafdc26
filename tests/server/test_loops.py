# SPDX-License-Identifier: Apache-2.0
"""`lkc serve` with several loops: rooms that live on different ones, through one port."""
import asyncio

import pytest

import peers
import world
from test_audio import call
from test_http import get
from test_people import Person, Road, until


def loop_of(room, loops):
    """Where the server puts a room: by the hash of its name."""
    h = 2166136261
    for byte in room.encode():
        h = (h ^ byte) * 16777619 % 2**32
    return (h ^ h >> 16) % loops


def rooms_on_each(name, loops=2):
    """One room's name for each loop."""
    found = {}
    for i in range(200):
        found.setdefault(loop_of(f"{name}-{i}", loops), f"{name}-{i}")
    assert len(found) == loops
    return [found[i] for i in range(loops)]


@pytest.fixture(scope="module")
def two():
    with peers.Server(ours=True, loops=2) as s:
        yield s


def metrics(server):
    return {k: int(v) for k, v in (line.split() for line in get(server, "/metrics")[1].splitlines() if not line.startswith("#"))}


@pytest.mark.parametrize("loop", [0, 1])
def test_speech_is_heard_whichever_loop_the_room_lives_on(two, room, tmp_path, loop):
    call(two, rooms_on_each(room)[loop], tmp_path, "stock", "stock")


def test_who_has_no_udp_is_heard_over_tcp_on_a_loop_that_does_not_have_the_stream(room, tmp_path):
    with world.World() as net, peers.Server(address=net.address, netns=net.server, ours=True, loops=2) as server:
        net.up.udp_blocked = net.down.udp_blocked = True
        stats = call(server, rooms_on_each(room)[1], tmp_path, "stock", "stock", netns=net.clients)
    for side in ("alice", "bob"):
        pairs = [p for p in stats[side]["candidate_pair"] if p["nominated"]]
        told = {c["id"]: c for c in stats[side]["remote_candidate"]}
        assert pairs and told[pairs[0]["remote_candidate_id"]]["protocol"] == "tcp", (pairs, told)


def test_rooms_of_two_loops_do_not_hear_each_other_and_datagrams_find_their_own(two, room):
    rooms = rooms_on_each(room)

    async def run():
        before = [metrics(two)]

        def passed_without_loss():
            """A loop that does not get its turn for a while drops some of what the other passes to it: that is its bound."""
            told = metrics(two)
            if told["livekit_packet_passed_dropped_total"] > before[-1]["livekit_packet_passed_dropped_total"]:
                before.append(told)
            return told["livekit_packet_passed_total"] > before[-1]["livekit_packet_passed_total"] + 50
        # Enough of them that the kernel gives some to the wrong socket, whatever it hashes.
        speakers = [await Person(f"ann{i}").enter(two.url, rooms[i % 2]) for i in range(6)]
        listeners = [await Person("bob").enter(two.url, name) for name in rooms]
        for ann in speakers:
            await ann.speak()
        for i, bob in enumerate(listeners):
            await bob.told("track_subscribed", 3)
            await until(lambda bob=bob: bob.frames > 300, 60, "sound of three")
        for i, ann in enumerate(speakers):
            await ann.room.local_participant.publish_data(f"{i}".encode())
        for i, bob in enumerate(listeners):
            await until(lambda bob=bob: len(bob.data) == 3, 30, f"the data: {bob.data}")
            assert sorted(p.data for p in bob.data) == [b"%d" % n for n in range(6) if n % 2 == i]
            assert set(bob.room.remote_participants) == {f"ann{n}" for n in range(6) if n % 2 == i}
        told = metrics(two)
        assert told["livekit_loop_total"] == 2 and told["livekit_participant_total"] == 8 and told["livekit_room_total"] >= 2, told
        await until(passed_without_loss, 60, f"fifty to be passed and none dropped: {told}")
        for p in (*speakers, *listeners):
            await p.leave()
    asyncio.run(run())
    peers.wait_for(lambda: metrics(two)["livekit_participant_total"] == 0, 10, "all to be gone")


def test_the_admin_api_sees_and_reaches_the_rooms_of_all_loops(two, room):
    rooms = rooms_on_each(room)
    made = {name: two.call("room", "create_room", "CreateRoomRequest", name=name, metadata=name).sid for name in rooms}
    listed = {r.name: r.sid for r in two.call("room", "list_rooms", "ListRoomsRequest").rooms}
    assert made.items() <= listed.items() and len(set(made.values())) == 2
    assert {r.name for r in two.call("room", "list_rooms", "ListRoomsRequest", names=rooms).rooms} == set(rooms)

    async def run():
        people = [await Person("ann").enter(two.url, name) for name in rooms]
        for ann, name in zip(people, rooms):
            seen = await asyncio.to_thread(two.call, "room", "update_participant", "UpdateParticipantRequest", room=name, identity="ann", metadata="m")
            assert seen.metadata == "m"
            await asyncio.to_thread(two.call, "room", "send_data", "SendDataRequest", room=name, data=name.encode(), topic="t")
            await until(lambda ann=ann: ann.data, 30, "what the admin sent")
            assert [p.data for p in ann.data] == [name.encode()]
            await asyncio.to_thread(two.call, "room", "remove_participant", "RoomParticipantIdentity", room=name, identity="ann")
            await ann.told("disconnected")
    asyncio.run(run())
    for name in rooms:
        two.call("room", "delete_room", "DeleteRoomRequest", room=name)
    assert not set(rooms) & {r.name for r in two.call("room", "list_rooms", "ListRoomsRequest").rooms}


@pytest.mark.parametrize("loop", [0, 1])
def test_a_cut_signal_is_resumed_on_its_loop(two, room, loop):
    async def run():
        name, road, bob, ann = rooms_on_each(room)[loop], Road(two.port), Person("bob"), Person("ann")
        await bob.enter(two.url, name)
        await ann.enter(await road.open(), name)
        await ann.speak()
        await until(lambda: bob.frames > 50, 30, "sound")
        road.cut()
        before = bob.frames
        await ann.told("reconnecting")
        await ann.told("reconnected")
        await ann.room.local_participant.publish_data(b"after")
        await until(lambda: bob.data and bob.frames > before + 50, 30, "sound and data after it")
        assert not {"track_unsubscribed", "participant_disconnected"} & set(bob.events)
        await ann.leave()
        await bob.leave()
    asyncio.run(run())


def test_whoever_is_in_is_told_to_leave_on_every_loop_when_it_ends(room):
    async def run(server):
        people = [await Person("ann").enter(server.url, name) for name in rooms_on_each(room)]
        server.process.terminate()
        for ann in people:
            await until(lambda ann=ann: {"reconnecting", "disconnected"} & set(ann.events), 30, "the end")
        assert await asyncio.to_thread(server.process.wait, 20) == 0
        for ann in people:
            await ann.leave()
    with peers.Server(ours=True, loops=2) as server:
        asyncio.run(run(server))
