# SPDX-License-Identifier: Apache-2.0
"""A server at the end of what it may use: whoever is in stays, whoever is new is told why not."""
import contextlib
import resource
import socket
import threading
import time

import pytest

import peers
from test_faults import rss_kb, stun, udp_port
from test_http import get


def join(server, room, identity="new"):
    """Status and text of what a join of somebody new is told."""
    return get(server, f"/rtc/validate?access_token={peers.token(identity, room)}")[:2]


@contextlib.contextmanager
def somebody(server, room):
    """Two who are in: they must hear of each other whatever happens inside."""
    grants = {"can_update_own_metadata": True}
    with peers.Program("watch", "stock", server.url, peers.token("ann", room, **grants)) as ann, \
            peers.Program("watch", "stock", server.url, peers.token("bob", room)) as bob:
        ann.wait("connected")
        bob.wait("connected")
        yield
        ann.say("metadata still-here")
        bob.wait("participant_metadata_changed")
        for program in (ann, bob):
            assert not program.events("reconnecting") and not program.events("disconnected")
            program.finish()


def test_without_descriptors_nobody_new_comes_in_and_nobody_goes(room):
    with peers.Server(ours=True, log_level="warn") as server, somebody(server, room):
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (80, 80))
        assert join(server, room)[0] == 200
        idle, told = [], None
        while not told or told[0] == 200:
            idle.append(socket.create_connection(("127.0.0.1", server.port)))
            told = join(server, room)
        assert told == (503, "no descriptors are left for new participants") and 40 < len(idle) < 70
        for s in idle:
            s.close()
        peers.wait_for(lambda: join(server, room)[0] == 200, 10, "room for one more")
        assert "warn server.overload" in server.log_path.read_text()


@pytest.mark.parametrize("loops", [1, 2])
def test_without_memory_nobody_new_comes_in(room, loops):
    with peers.Server(ours=True, loops=loops, more={"max_memory_mb": 1}) as server:
        assert join(server, room) == (503, "no memory is left for new participants")
        assert join(server, room + "0") == (503, "no memory is left for new participants")


def test_a_loop_without_time_takes_nobody_new_until_it_has_some(room):
    """Its budget is 2 % of a core here: junk from somebody who is not in uses that up."""
    with peers.Server(ours=True, loops=2, more={"overload_percent": 2}) as server, somebody(server, room):
        full = threading.Event()

        def flood():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                while not full.is_set():
                    for _ in range(200):
                        for letter in "ab":  # of each loop
                            s.sendto(stun(f"{letter}XXX:YYYY", bytes(12)), ("127.0.0.1", udp_port(server)))
                    time.sleep(0.005)
        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            peers.wait_for(lambda: join(server, room) == (503, "no processor time is left for new participants"), 60, "a refusal")
        finally:
            full.set()
            flooder.join()

        # Asked more often it has none because of that.
        peers.wait_for(lambda: join(server, room)[0] == 200, 60, "time for one more", every=0.3)


def test_ten_thousand_who_never_become_anybody_hold_nobody_up(server, room):
    """5,000 connections that say half a head, and 5,000 WebSockets without a token, while others come in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    before, half, at = rss_kb(server), [], ("127.0.0.1", server.port)
    upgrade = (b"GET /rtc/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    try:
        for i in range(5000):
            half.append(socket.create_connection(at, source_address=("127.0.0.2", 0)))
            half[-1].send(upgrade[:30])
            with socket.create_connection(at, source_address=("127.0.0.3", 0)) as s:
                s.send(upgrade)
            if i % 500 == 499:
                assert join(server, room, f"p{i}") == (200, "success")
        assert rss_kb(server) - before < 64 * 1024
        with peers.Program("watch", "stock", server.url, peers.token("ann", room)) as ann:
            ann.wait("connected")
            ann.finish()
    finally:
        for s in half:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
