# SPDX-License-Identifier: Apache-2.0
"""The other ways into a room: two peer connections, by wish and because a server knows nothing else."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest

import peers
import world

CALL = pathlib.Path(__file__).with_name("call.py")


def start(role, library, url, identity, room, dual, netns=None):
    path = peers.library_path(library)
    environment = dict(os.environ, **({"LIVEKIT_LIB_PATH": path} if path else {}))
    command = [*(["ip", "netns", "exec", netns] if netns else []), sys.executable, str(CALL), role, url, peers.token(identity, room), *(["--dual"] if dual else [])]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hold(url, room, sender="ours", receiver="ours", dual=True, netns=None):
    """A call with sound, pictures and data; returns what the receiver printed."""
    bob = start("receive", receiver, url, "bob", room, dual, netns)
    alice = start("send", sender, url, "alice", room, dual, netns)
    try:
        out, err = bob.communicate(timeout=60)
        assert bob.returncode == 0, (out, err)
        alice_out, alice_err = alice.communicate(timeout=30)
        assert alice.returncode == 0, (alice_out, alice_err)
    finally:
        for process in (alice, bob):
            process.kill()
            process.wait()
    return [json.loads(line) for line in out.splitlines()], [json.loads(line) for line in alice_out.splitlines()]


@pytest.mark.parametrize("sender,receiver", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_two_peer_connections(server, room, sender, receiver):
    bob, alice = hold(server.url, room, sender, receiver)
    for side, library in ((bob[-1], receiver), (alice[-1], sender)):
        if library == "ours":
            assert side["publisher_stats"] > 0 and side["subscriber_stats"] > 0, "two connections, two lists"


@pytest.mark.parametrize("dual", [False, True], ids=["one connection", "two connections"])
def test_ipv6_alone_carries_sound_pictures_and_data(room, dual):
    with world.World(ipv6=True) as net, peers.Server(address=net.address, netns=net.server) as server:
        hold(server.url, room, dual=dual, netns=net.clients)
        assert net.up.passed > 100 and net.down.passed > 100


class OldServer:
    """The server as it was before the single connection: what it does not know it answers with 404."""

    def __init__(self, url):
        host, port = url.rpartition("/")[2].split(":")
        self.upstream = (host, int(port))
        self.refused = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                client.close()
                return
            head += data
        if head.split(b" ", 2)[1].startswith(b"/rtc/v1"):
            self.refused += 1
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            client.close()
            return
        server = socket.create_connection(self.upstream)
        server.sendall(head)
        threading.Thread(target=self.pipe, args=(server, client), daemon=True).start()
        self.pipe(client, server)

    @staticmethod
    def pipe(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def test_a_server_that_knows_only_two_connections(server, room):
    with OldServer(server.url) as old:
        bob, alice = hold(old.url, room, dual=False)
        assert old.refused == 2, "each side asks for the newer way once"
    assert bob[-1]["subscriber_stats"] > 0 and alice[-1]["subscriber_stats"] > 0
