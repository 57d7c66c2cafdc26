# SPDX-License-Identifier: Apache-2.0
"""Secrets stay secret: a session with everything on, and then the logs, errors, events, statistics and the memory of the
process searched for them.

The library runs in a process that keeps no copy of requests and events (pipe.c), behind a proxy of signalling that reads
along: so every ICE password of both sides is known, and every key of SRTP (key_tap.c). What is searched for is never
searched for in the process that knows it.
"""
import base64
import contextlib
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading

import pytest

import peers
import raw
from livekit.rtc._proto import ffi_pb2

BUILT = peers.ROOT / "build-checks/tests/ffi"
TURN_CREDENTIAL = "turn-credential-of-this-test"
PROXY_PASSWORD = "proxy-password-of-this-test"
ANSWERED = object()  # in the place of the handle of a response: pipe.c has dropped it
METADATA = "what everybody in the room may know"


class Signalling:
    """Passes a TCP connection on to the server and keeps what went through, frames unmasked."""

    def __init__(self, port):
        self.target, self.kept = port, []  # what came one way through one connection
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.serve(client)

    def serve(self, client):
        server = socket.create_connection(("127.0.0.1", self.target))
        for source, sink in ((client, server), (server, client)):
            self.kept.append(kept := bytearray())
            threading.Thread(target=self.pass_on, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def pass_on(source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def passwords(self):
        found = set()
        for kept in self.kept:
            for text in re.split(b"\r\n\r\n", bytes(kept), 1)[1:]:
                found |= set(re.findall(rb"a=ice-pwd:([A-Za-z0-9+/]{22,})", unmasked(text)))
        return found

    def close(self):
        self.listener.close()


class Proxy(Signalling):
    """The same as an HTTP proxy that wants a password."""

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
            head += piece
        self.kept.append(head)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        super().serve(client)


def unmasked(data):
    """The payloads of WebSocket frames, one after the other."""
    out, at = b"", 0
    while at + 2 <= len(data):
        length, masked, at = data[at + 1] & 127, data[at + 1] & 128, at + 2
        if length == 126:
            length, at = int.from_bytes(data[at:at + 2], "big"), at + 2
        elif length == 127:
            length, at = int.from_bytes(data[at:at + 8], "big"), at + 8
        if masked:
            key, at = data[at:at + 4], at + 4
            out += bytes(b ^ key[i % 4] for i, b in enumerate(data[at:at + length]))
        else:
            out += data[at:at + length]
        at += length
    return out


class Piped(raw.Library):
    """The library in a process of its own; requests and events travel through pipes."""

    def __init__(self, path, env):
        self.events, self.logs, self.changed, self.on = [], [], threading.Condition(), None
        self.told = bytearray()  # every event as it came
        self.answers = []
        self.keys_in, keys_out = os.pipe()
        self.process = subprocess.Popen([str(BUILT / "ffi_pipe"), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, pass_fds=[keys_out],
                                        env={"PATH": os.environ["PATH"], "LD_PRELOAD": str(BUILT / "libkey_tap.so"),
                                             "LK_KEY_TAP": str(keys_out), "LIVEKIT_RTC_DEBUG": "1", **env})
        os.close(keys_out)
        self.environment = b"http_proxy=" + env.get("http_proxy", "").encode()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.send(b"I")
        self.memory = self.answer(b"A", b"a")[0]

    def send(self, what, number=0, payload=b""):
        self.process.stdin.write(what + struct.pack("=Q", number) + payload)

    def read(self):
        stream = self.process.stdout
        while head := stream.read(1):
            (number,) = struct.unpack("=Q", self.exactly(8))
            payload = self.exactly(number) if head in b"re" else b""
            if head == b"e":
                self.told += payload
                self.note(ffi_pb2.FfiEvent.FromString(payload))
            else:
                with self.changed:
                    self.answers.append((head, number, payload))
                    self.changed.notify_all()

    def exactly(self, count):
        out = b""
        while len(out) < count:
            got = self.process.stdout.read(count - len(out))
            assert got, "the process is gone"
            out += got
        return out

    def note(self, event):
        with self.changed:
            if event.WhichOneof("message") == "logs":
                self.logs += event.logs.records
            else:
                self.events.append(event)
            self.changed.notify_all()

    def answer(self, what, expected, number=0, payload=b""):
        self.send(what, number, payload)
        with self.changed:
            assert self.changed.wait_for(lambda: self.answers, 30), "no answer"
            head, number, payload = self.answers.pop(0)
        assert head == expected
        return number, payload

    def raw(self, data, length=None):
        size, payload = self.answer(b"R", b"r", len(data), data)
        return ANSWERED if size else 0, payload, not size

    def drop(self, handle):
        return handle is ANSWERED or bool(self.answer(b"D", b"d", handle)[0])

    def dispose(self):
        self.answer(b"X", b"x")

    def keys(self):
        """What DTLS has given out so far, in pieces of the length of an AES key."""
        os.set_blocking(self.keys_in, False)
        with contextlib.suppress(BlockingIOError):
            block = os.read(self.keys_in, 4096)
            return {block[i:i + 16] for i in range(0, len(block) - 15, 4)}
        return set()

    def image(self):
        """All of its memory that can be read, as a core dump would show it."""
        image = bytearray()
        with open(f"/proc/{self.process.pid}/maps") as maps, open(f"/proc/{self.process.pid}/mem", "rb", 0) as memory:
            for line in maps:
                area, rights, *_ = line.split()
                start, end = (int(x, 16) for x in area.split("-"))
                if "r" in rights and "[v" not in line:
                    with contextlib.suppress(OSError, OverflowError):
                        memory.seek(start)
                        image += memory.read(end - start) + b"\0"
        return bytes(image)

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(20)
        self.reader.join(10)
        os.close(self.keys_in)
        return status, self.process.stderr.read()


def session(lib, url, room, server):
    """Two of the library: sound, data, statistics, connects that are refused. Returns the tokens."""
    tokens = {who: peers.token(who, room, metadata=METADATA) for who in ("alice", "bob")}
    refused = {"forged": peers.token("x", room, secret="another-secret-of-the-right-length-0123456789"),
               "expired": peers.token("y", room, ttl_seconds=-600), "no join": peers.token("z", room, room_join=False)}
    handles = {}
    for who, token in tokens.items():
        result = lib.callback_of("connect", lib.request("connect", url=url, token=token, options={}), 30).result
        handles[who] = result.room.handle.id, result.local_participant.handle.id
        lib.request("ready_for_room_event", room_handle=handles[who][0])
    source = lib.request("new_audio_source", type=0, sample_rate=48000, num_channels=1, queue_size_ms=1000).source.handle.id
    track = lib.request("create_audio_track", name="t", source_handle=source).track.handle.id
    lib.callback_of("publish_track", lib.request("publish_track", local_participant_handle=handles["alice"][1],
                                                 track_handle=track, options={"source": 2}))
    remote = lib.room_event("track_subscribed", room=handles["bob"][0])[1].room_event.track_subscribed.track.handle.id
    stream = lib.request("new_audio_stream", track_handle=remote, type=0).stream.handle.id
    lib.wait(lambda e: raw.kind(e) == "audio_stream_event.frame_received" and e.audio_stream_event.stream_handle == stream)
    lib.callback_of("publish_data", lib.request("publish_data", local_participant_handle=handles["alice"][1], reliable=True,
                                                data_ptr=lib.memory, data_len=100, destination_identities=[]))
    lib.room_event("data_packet_received", room=handles["bob"][0])
    for request, fields in (("get_stats", {"track_handle": track}), ("get_stats", {"track_handle": remote}),
                            ("get_session_stats", {"room_handle": handles["bob"][0]})):
        lib.callback_of(request, lib.request(request, **fields))
    for token in refused.values():
        for target in (url, "ws://127.0.0.1:1", "wss" + url[2:]):
            assert lib.callback_of("connect", lib.request("connect", url=target, token=token, options={"join_retries": 0}), 30).error
    lib.room_event("token_refreshed", room=handles["bob"][0])
    for room_handle, _ in handles.values():
        lib.callback_of("disconnect", lib.request("disconnect", room_handle=room_handle))
    fresh = {e.room_event.token_refreshed.token for e in lib.events if raw.kind(e) == "room.token_refreshed"}
    return [*tokens.values(), *refused.values()], sorted(fresh)


@pytest.fixture(scope="module")
def heard():
    """The session, over: (library process after dispose, secrets by name)."""
    turn = [{"host": "127.0.0.1", "port": 9, "protocol": "udp", "username": "turn-user", "credential": TURN_CREDENTIAL}]
    with peers.Server(turn_servers=turn) as server:
        signalling, proxy = Signalling(server.port), Proxy(server.port)
        env = {"http_proxy": f"http://user:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}", "no_proxy": "127.0.0.1"}
        lib = Piped(os.environ.get("LK_SECRETS_LIBRARY", raw.path_of("ours")), env)
        try:
            given, fresh = session(lib, f"ws://127.0.0.1:{signalling.port}", "secrets", server)
            # A connect through the proxy, to a name it alone can know.
            answer = lib.request("connect", url="ws://server.invalid:80", token=given[0], options={"join_retries": 0})
            through = lib.callback_of("connect", answer, 30)
            assert b"Proxy-Authorization: Basic" in proxy.kept[0], (through, proxy.kept)
            keys = lib.keys()
            lib.dispose()
            secrets = {f"token {i}": token.encode() for i, token in enumerate(given)}
            secrets |= {f"signature of token {i}": token.rsplit(".", 1)[1].encode() for i, token in enumerate(given)}
            secrets |= {f"signature of fresh token {i}": token.rsplit(".", 1)[1].encode() for i, token in enumerate(fresh)}
            secrets |= {f"ICE password {i}": p for i, p in enumerate(sorted(signalling.passwords()))}
            secrets |= {f"SRTP key material {i}": key for i, key in enumerate(sorted(keys))}
            secrets |= {"API secret": peers.SECRET.encode(), "TURN credential": TURN_CREDENTIAL.encode(),
                        "proxy password": PROXY_PASSWORD.encode(),
                        "proxy credentials": base64.b64encode(f"user:{PROXY_PASSWORD}".encode())}
            yield lib, secrets
        finally:
            status, errors = lib.end()
            signalling.close()
            proxy.close()
    assert (status, errors) == (0, b"")


def hits(image, secrets):
    return sorted(name for name, secret in secrets.items() if secret in image)


def test_the_secrets_are_known(heard):
    """What is searched for was really there: two sides of two connections, keys of both, all tokens."""
    _, secrets = heard
    count = {kind: len([n for n in secrets if n.startswith(kind)]) for kind in ("token", "ICE password", "SRTP key")}
    assert count["token"] == 5 and count["ICE password"] >= 4 and count["SRTP key"] >= 20, count
    assert len([n for n in secrets if "fresh" in n]) >= 2


def test_no_secret_in_logs_errors_events_and_statistics(heard):
    """Every event as it came over the wire, but for the one whose purpose is to hand a new token over."""
    lib, secrets = heard
    assert lib.logs and [r for r in lib.logs if r.level >= 2], "debug records came"
    fresh = {name for name in secrets if "fresh" in name}
    told = bytes(lib.told)
    assert hits(told, {k: v for k, v in secrets.items() if k not in fresh}) == []
    with_token = [e for e in lib.events if hits(e.SerializeToString(), secrets)]
    assert {raw.kind(e) for e in with_token} <= {"room.token_refreshed"}
    assert hits(b"".join(r.SerializeToString() for r in lib.logs), secrets) == []


def test_no_secret_in_memory_after_dispose(heard):
    lib, secrets = heard
    # In the environment the host has put it there itself.
    image = lib.image()
    assert len(image) > 1 << 20 and b"livekit_ffi_request" in image
    assert hits(image.replace(lib.environment, b""), secrets) == []
