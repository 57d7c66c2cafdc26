# SPDX-License-Identifier: Apache-2.0
"""The ports of media of `lkc serve`: who may use them, and who gets nothing, not even an answer."""
import json
import os
import random
import socket
import struct
import time

import peers
import world
from test_audio import call


def media_port(server):
    with open(server.dir.name + "/server.yaml", encoding="utf-8") as file:
        return json.load(file)["rtc"]["udp_port"]


def stun_request(username):
    text = username.encode()
    attribute = struct.pack(">HH", 6, len(text)) + text + bytes(-len(text) % 4)
    return struct.pack(">HHI", 1, len(attribute), 0x2112A442) + os.urandom(12) + attribute


def test_strangers_get_no_answer_and_those_inside_notice_nothing(server, room):
    """So nobody can be hit through us: what is unknown is dropped, whatever address it claims to come from."""
    dice = random.Random(1)
    with peers.Program("watch", "stock", server.url, peers.token("bob", room)) as bob, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        bob.wait("connected")
        stranger.connect(("127.0.0.1", media_port(server)))
        stranger.setblocking(False)
        for i in range(5000):
            kinds = (stun_request("aNobodyKnows:this"), stun_request("a" * 500), bytes([22, 254, 253]) + dice.randbytes(200),
                     bytes([0x80, 111]) + dice.randbytes(50), bytes([0x80, 200]) + dice.randbytes(26), dice.randbytes(dice.randrange(1, 1400)))
            stranger.send(kinds[i % len(kinds)])
            if i % 50 == 0:
                time.sleep(0.002)
        with peers.Program("watch", "stock", server.url, peers.token("ann", room)) as ann:
            ann.wait("connected")
            bob.wait("participant_connected")
        answers = 0
        try:
            while stranger.recv(2048):
                answers += 1
        except BlockingIOError:
            pass
        assert answers == 0
        assert not bob.events("disconnected") and not bob.events("reconnecting")


def test_who_is_kept_from_udp_is_heard_over_tcp(room, tmp_path):
    with world.World() as net, peers.Server(ours=True, address=net.address, netns=net.server) as server:
        net.up.udp_blocked = net.down.udp_blocked = True
        call(server, room, tmp_path, "stock", "stock", netns=net.clients)
        assert net.up.lost > 0, "nobody tried UDP"
