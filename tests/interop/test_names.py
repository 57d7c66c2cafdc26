# SPDX-License-Identifier: Apache-2.0
"""From a name to a connection: IPv6 and IPv4 raced, name servers asked, and asked anew when the network is another."""
import contextlib
import socket
import struct
import threading

import pytest

import peers
import world
from test_faults import SLACK

NAME = "livekit.example"


class NameServer:
    """Answers A questions with one address and AAAA with none, from a socket in a namespace."""

    def __init__(self, namespace, address):
        self.address, self.asked = address, []

        def make():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, 53))
            return made
        self.socket = world.inside(namespace, make)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                question, sender = self.socket.recvfrom(2048)
                end = question.index(b"\0", 12)
                kind = struct.unpack(">H", question[end + 1:end + 3])[0]
                self.asked.append(kind)
                answer = kind == 1
                head = question[:2] + struct.pack(">HHHHH", 0x8580, 1, int(answer), 0, 0)
                record = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(self.address)
                self.socket.sendto(head + question[12:end + 5] + (record if answer else b""), sender)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@pytest.mark.parametrize("alive,dead,ipv6", [("10.77.0.2", "fd77::99", False), ("fd77::2", "10.88.0.99", True)],
                         ids=["ipv6 dead", "ipv4 dead"])
def test_a_dead_address_is_overtaken(room, alive, dead, ipv6):
    """What is sent to the dead one is never answered; the next address is tried a quarter of a second later."""
    with world.World(ipv6=ipv6) as net, peers.Server(address=net.address, netns=net.server) as server, \
            world.etc(net.clients, hosts=f"{dead} {NAME}\n{alive} {NAME}\n"):
        mine = ["addr", "add", "10.88.0.1/24"] if ipv6 else ["-6", "addr", "add", "fd77::1/64", "nodad"]
        world.ip("-n", net.clients, *mine, "dev", "link0")
        url = f"ws://{NAME}:{server.port}"
        with peers.Program("watch", "ours", url, peers.token("alice", room), netns=net.clients) as alice:
            assert alice.wait("connected")["seconds"] < 4.5, "one after the other, the dead one would have had its 5 s first"
            assert alice.finish() == 0


def test_every_address_dead_is_told_in_time(room):
    with world.World() as net, world.etc(net.clients, hosts="".join(f"10.77.0.{n} {NAME}\n" for n in range(90, 102))):
        with peers.Program("watch", "ours", f"ws://{NAME}:7880", peers.token("alice", room), netns=net.clients, timeout=1) as alice:
            line = alice.wait("connect_error")
            assert line["seconds"] < 4 + SLACK, line
            assert alice.finish() == 0


def test_a_name_server_is_asked(room):
    with world.World() as net, peers.Server(address=net.address, netns=net.server) as server, \
            NameServer(net.server, net.address) as names, world.etc(net.clients, resolv_conf=f"nameserver {net.address}\n"):
        url = f"ws://{NAME}:{server.port}"
        with peers.Program("watch", "ours", url, peers.token("alice", room), netns=net.clients) as alice:
            alice.wait("connected")
            assert alice.finish() == 0
        assert 1 in names.asked and 28 in names.asked


def test_another_network_has_other_name_servers(room):
    """A process that was started without a network, or in another one, finds its way without a new start."""
    with world.World() as net, peers.Server(address=net.address, netns=net.server) as server, \
            world.etc(net.clients, resolv_conf="nameserver 10.77.0.50\n") as etc:
        url = f"ws://{NAME}:{server.port}"
        with peers.Program("insist", "ours", url, peers.token("alice", room), netns=net.clients, timeout=1) as alice:
            assert alice.wait("connect_error")["text"]
            with NameServer(net.server, net.address), open(etc / "resolv.conf", "r+") as conf:
                conf.write(f"nameserver {net.address}\n".ljust(40, "\n"))
                conf.flush()
                alice.wait("connected", 20)
            assert alice.finish() == 0
