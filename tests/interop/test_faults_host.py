# SPDX-License-Identifier: Apache-2.0
"""What the machine refuses and what a server leaves undone: docs/faults.md names the rows."""
import base64
import contextlib
import hashlib
import os
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import peers
from test_faults import SLACK, refused
from test_faults_path import goes_on, orders, shim, talking  # noqa: F401  (shim is a fixture)


# ---- the machine refuses ------------------------------------------------------------------------------------------------

def test_no_descriptor_left_is_said_and_the_room_goes_on(server, room, tmp_path):
    with talking(server, room, tmp_path) as (alice, bob):
        goes_on(bob, 20)
        files = f"/proc/{alice.process.pid}/fd"
        used, limits, texts = len(os.listdir(files)), resource.prlimit(alice.process.pid, resource.RLIMIT_NOFILE), []
        # One descriptor more each time: the socket of the server is refused, then those of the media, then none.
        for limit in range(used, used + 64):
            resource.prlimit(alice.process.pid, resource.RLIMIT_NOFILE, (limit, limits[1]))
            line = alice.ask(f"second {server.url} {peers.token('carol', room)}", seconds=60)
            resource.prlimit(alice.process.pid, resource.RLIMIT_NOFILE, limits)
            peers.wait_for(lambda: len(os.listdir(files)) <= used + 1, 20, "what was opened to be closed again")
            if not line["text"]:
                break
            assert "too many open files" in line["text"] or "descriptors" in line["text"], line
            texts.append(line["text"])
        assert texts and not line["text"], "without a descriptor nothing connects, with enough it does"
        goes_on(bob, 20)
        assert not alice.ask(f"second {server.url} {peers.token('carol', room)}", seconds=60)["text"], "and later it does"
        assert not alice.events("disconnected") and alice.finish() == 0


def test_no_thread_to_be_had_is_said_and_the_room_goes_on(server, room, tmp_path, shim):  # noqa: F811
    with orders(shim, tmp_path) as (env, put):
        with talking(server, room, tmp_path, env=env) as (alice, bob):
            goes_on(bob, 20)
            put(no_threads=1)
            goes_on(bob, 20, 100)
            line = alice.ask(f"second {server.url} {peers.token('carol', room)}", seconds=60)
            assert not line["text"], "a second room needs no thread of its own"
            put()
            assert not alice.events("disconnected")
            assert alice.finish() == 0 and bob.finish() == 0


# ---- half-dead servers ----------------------------------------------------------------------------------------------------

def test_a_server_that_stops_answering_in_mid_call_is_noticed(room, tmp_path):
    """Stopped, not gone: its sockets take everything and answer nothing. The server announced 15 s of patience."""
    with peers.Server() as server, talking(server, room, tmp_path) as (alice, bob):
        goes_on(bob, 20)
        os.kill(server.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            for side in (alice, bob):
                side.wait("reconnecting", 40)
                assert time.monotonic() - began < 31 + SLACK
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        for side in (alice, bob):
            side.wait("reconnected", 90)
            assert not side.events("disconnected") and side.finish() == 0


@contextlib.contextmanager
def serve(answer):
    """answer(connection, its first bytes) for every connection, each in a thread; yields the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        kept = []

        def work():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()
        threading.Thread(target=work, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


def upgraded(connection):
    """The head of the answer that turns the connection into a WebSocket."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(4096)
        if not more:
            raise OSError("no request")
        head += more
    key = next(line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def test_a_server_that_upgrades_and_then_says_nothing(room):
    def answer(connection):
        with contextlib.suppress(OSError):
            connection.sendall(upgraded(connection))
    with serve(answer) as port:
        line = refused(f"ws://127.0.0.1:{port}", peers.token("alice", room), timeout=1)
    assert line["seconds"] < 4 + SLACK, line


@pytest.mark.parametrize("size", [1 << 20, 20 << 20])
def test_a_server_that_floods_is_left_and_memory_stays(room, size):
    """One message of that size, endless: none of it is kept beyond the limit of a message."""
    def answer(connection):
        with contextlib.suppress(OSError):
            connection.sendall(upgraded(connection) + b"\x82\x7f" + size.to_bytes(8, "big"))
            while True:
                connection.sendall(bytes(65536))
    with serve(answer) as port:
        line = refused(f"ws://127.0.0.1:{port}", peers.token("alice", room), timeout=2)
    assert line["seconds"] < 8 + SLACK, line


# ---- TLS is cut --------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"),
                    "-out", path], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".key").read_bytes())
    return path


def copy(source, target, limit=None):
    """Carries bytes until either ends or `limit` of them went through; returns how many went."""
    passed = 0
    with contextlib.suppress(OSError):
        while limit is None or passed < limit:
            data = source.recv(65536 if limit is None else min(65536, limit - passed))
            if not data:
                break
            passed += len(data)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)  # the end goes on too
    return passed


class Tls:
    """TLS in front of a server, and in front of that a cut: after `cut` bytes to the client the connection is reset."""

    def __init__(self, certificate, port):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.target, self.cut, self.passed = port, None, 0

    def terminate(self, connection):
        with contextlib.suppress(OSError):
            secure = self.context.wrap_socket(connection, server_side=True)
            plain = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=copy, args=(secure, plain), daemon=True).start()
            copy(plain, secure)
            secure.close()

    def pass_until_cut(self, connection):
        with contextlib.suppress(OSError):
            behind = socket.create_connection(("127.0.0.1", self.inner))
            threading.Thread(target=copy, args=(connection, behind), daemon=True).start()
            self.passed = copy(behind, connection, self.cut)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.shutdown(socket.SHUT_RDWR)
            behind.close()
            connection.close()

    @contextlib.contextmanager
    def running(self):
        with serve(self.terminate) as self.inner, serve(self.pass_until_cut) as port:
            yield f"wss://127.0.0.1:{port}"


def test_tls_cut_in_every_state_is_an_error_in_time(server, room, certificate):
    """Every byte is cut in tests/unit/ws; here the states, with a real TCP and the real server behind it."""
    tls = Tls(certificate, server.port)
    environment = {"SSL_CERT_FILE": str(certificate)}
    with tls.running() as url:
        with peers.Program("watch", "ours", url, peers.token("alice", room), env=environment) as whole:
            whole.wait("connected")
            assert whole.finish() == 0
        peers.wait_for(lambda: tls.passed > 1000, 20, "the first connection to be counted")
        upgrade = 1400  # handshake, tickets and the head of the answer are about that long
        with peers.Program("watch", "ours", server.url, peers.token("bob", room), env=environment, timeout=1) as bob:
            bob.wait("connected")
            for cut in [0, 1, 4, 5, 6, 90, 120, 127, 128, 300, 600, 700, 800, 900, 1000, 1100, 1200, upgrade]:
                tls.cut = cut
                line = bob.ask(f"second {url} {peers.token('carol', room)}", seconds=30)
                assert line["text"] and line["seconds"] < 8 + SLACK, (cut, line)
                assert "127.0.0.1" in line["text"] or "closed" in line["text"].lower(), (cut, line)
            assert not bob.events("disconnected") and bob.finish() == 0
