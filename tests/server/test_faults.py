# SPDX-License-Identifier: Apache-2.0
"""What happens to `lkc serve` and to those on it when somebody misbehaves, goes away, or floods it."""
import os
import pathlib
import random
import signal
import socket
import struct
import time

import pytest

import peers
from test_http import get, metric


def rss_kb(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def udp_port(server):
    return int(server.log_path.read_text().split("media ")[1].split("/udp")[0])


def stun(username, transaction):
    """A Binding request of somebody who knows no password."""
    name = username.encode()
    attribute = struct.pack("!HH", 6, len(name)) + name + bytes(-len(name) % 4)
    integrity = struct.pack("!HH", 8, 20) + bytes(20)
    return struct.pack("!HHI", 1, len(attribute) + len(integrity), 0x2112A442) + transaction + attribute + integrity


def test_datagrams_of_nobody_get_no_answer_and_disturb_nobody(server, room):
    seed = random.Random(7)
    with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        alice.wait("connected")
        s.settimeout(0.5)
        to = ("127.0.0.1", udp_port(server))
        before, stray, answered = rss_kb(server), metric(server, "livekit_packet_stray_total"), 0
        for i in range(20000):
            kind = i % 4
            data = [seed.randbytes(seed.randrange(1, 1400)), stun("aXXX:YYYY", seed.randbytes(12)),
                    bytes([22]) + seed.randbytes(100), bytes([0x80, 111]) + seed.randbytes(160)][kind]
            s.sendto(data, to)
            if i % 200 == 199:
                get(server, "/")  # it keeps up, so that what is sent is also read
        try:
            while s.recv(2048):
                answered += 1
        except TimeoutError:
            pass
        assert answered == 0, "nothing is sent to whoever has not shown to know a password"
        assert metric(server, "livekit_packet_stray_total") - stray > 10000
        assert rss_kb(server) - before < 4096
        assert server.participants(room) == ["alice"]
        alice.finish()


@pytest.mark.parametrize("library", ["ours", "stock"])
def test_whoever_is_killed_is_gone_for_the_others(server, room, library):
    with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice:
        alice.wait("connected")
        with peers.Program("watch", library, server.url, peers.token("bob", room)) as bob:
            bob.wait("connected")
            alice.wait("participant_connected")
            bob.process.kill()
            alice.wait("participant_disconnected", 45)
        peers.wait_for(lambda: server.participants(room) == ["alice"], 10, "bob to be gone")
        alice.finish()


def test_one_that_stops_reading_costs_little_and_holds_nobody_up(server, room):
    with peers.Program("watch", "stock", server.url, peers.token("sleeper", room)) as sleeper, \
            peers.Program("watch", "stock", server.url, peers.token("alice", room, can_update_own_metadata=True)) as alice, \
            peers.Program("watch", "stock", server.url, peers.token("bob", room)) as bob:
        for program in (sleeper, alice, bob):
            program.wait("connected")
        sleeper.process.send_signal(signal.SIGSTOP)
        before = rss_kb(server)
        text = "m" * 100_000
        for i in range(120):  # 12 MB that the sleeper is told and does not read
            server.call("room", "update_room_metadata", "UpdateRoomMetadataRequest", room=room, metadata=f"{i}{text}")
            if i % 10 == 9:  # the others are never behind by what would be too much for them as well
                for other in (alice, bob):
                    peers.wait_for(lambda: any(f"'{i}m" in str(e.get("args", "")) for e in other.events("room_metadata_changed")), 20,
                                   "the others to hear of it")
        assert rss_kb(server) - before < 12 * 1024, "4 MiB wait for one connection at most"
        sleeper.process.send_signal(signal.SIGCONT)
        alice.finish()
        bob.finish()


@pytest.mark.parametrize("library", ["ours", "stock"])
def test_all_come_back_to_a_server_that_was_killed_and_started_again(room, library):
    with peers.Server(ours=True) as server, peers.Program("watch", library, server.url, peers.token("alice", room)) as alice:
        alice.wait("connected")
        server.kill()
        server.start()
        alice.wait("reconnected", 60)
        peers.wait_for(lambda: server.participants(room) == ["alice"], 30, "alice to be back")
        alice.finish()


def test_a_flood_of_joins_is_refused_cheaply_and_the_server_stays(server, room):
    good = peers.token("probe", room)
    statuses = set()
    began = time.monotonic()
    while time.monotonic() - began < 2 or (len(statuses) < 2 and time.monotonic() - began < 30):
        statuses.add(get(server, "/rtc/validate?access_token=wrong")[0])
    assert statuses == {401, 429}
    peers.wait_for(lambda: get(server, "/rtc/validate?access_token=" + good)[0] == 200, 20, "the second to pass")


def test_connections_beyond_the_bound_do_not_shut_out_the_next_one(server):
    """1,024 that are between two requests: the oldest goes for each further one."""
    idle = []
    try:
        for _ in range(1100):
            s = socket.create_connection((server.address, server.port), 10)
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            s.recv(1000)
            idle.append(s)
        assert get(server, "/")[0] == 200
        idle[0].settimeout(10)
        assert idle[0].recv(10) == b"", "the oldest was ended"
    finally:
        for s in idle:
            s.close()


def test_descriptors_and_memory_come_back_after_many_have_come_and_gone(server, room):
    fds = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: E731
    for _ in range(50):
        get(server, "/")
    peers.wait_for(lambda: server.call("room", "list_participants", "ListParticipantsRequest", room=room) is not None, 10, "an answer")
    before = fds(), rss_kb(server)
    for i in range(2000):
        get(server, "/rtc/validate?access_token=" + ("x" * 50 if i % 500 == 0 else peers.token("probe", room)) if i % 20 == 0 else "/")
    peers.wait_for(lambda: fds() <= before[0] + 2, 10, "connections to be closed")
    assert rss_kb(server) - before[1] < 1024
