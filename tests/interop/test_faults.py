# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between a user and a server: each ends in time, once, and with the reason."""
import contextlib
import os
import signal
import socket
import time

import pytest

import fronts
import peers
import world

# Seconds on top of a promised limit: a busy machine may keep a process from its core for two. What never ends, or ends by another,
# longer limit, is still found.
SLACK = 3


def refused(url, token, **options):
    """The one line of a connect that fails: text and seconds."""
    with peers.Program("watch", "ours", url, token, **options) as program:
        line = program.wait("connect_error", 60)
        assert program.finish() == 0
    assert line["text"] and token not in line["text"] and token.split(".")[1] not in line["text"]
    return line


@pytest.mark.parametrize("case,status,reason", [
    ("wrong secret", "401", "invalid token"),
    ("expired", "401", "expired"),
    ("no grant", "401", ""),
    ("other room only", "401", ""),
    ("not a token", "401", "invalid"),
])
def test_token_is_refused(server, room, case, status, reason):
    token = {"wrong secret": lambda: peers.token("alice", room, secret="another-secret-0123456789abcdefghij"),
             "expired": lambda: peers.token("alice", room, ttl_seconds=-600),
             "no grant": lambda: peers.token("alice", room, room_join=False),
             "other room only": lambda: peers.token("alice", "", room_join=False, room_list=True),
             "not a token": lambda: "aaaaaaaaaaaa.bbbbbbbbbbbbbbbbbb.cccccccc"}[case]()
    with fronts.Front(server) as front:
        line = refused(front.url(), token)
        asked = [head.split(" ")[1].partition("?")[0] for head in front.heads]
    assert status in line["text"] and reason in line["text"].lower(), line
    assert asked == ["/rtc/v1"], "a refusal is not tried again"


def test_a_long_token_is_cut_out_of_the_reason_whole(server, room):
    """The server repeats what it was given; an error holds a few words of it at most."""
    token = peers.token("alice", room, metadata="m" * 3000, secret="another-secret-0123456789abcdefghij")
    line = refused(server.url, token)
    assert "401" in line["text"] and len(line["text"]) < 300
    assert not any(token[at:at + 12] in line["text"] for at in range(len(token) - 12))


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1:1", "ws://", "ws://127.0.0.1:99999", "ws://[::1"])
def test_bad_url(room, url):
    assert refused(url, peers.token("alice", room))["seconds"] < 5


def test_refused_port(room):
    line = refused(f"ws://127.0.0.1:{peers.free_port()}", peers.token("alice", room))
    assert line["seconds"] < 20 + SLACK and "refused" in line["text"].lower(), line


def test_tls_where_there_is_none(server, room):
    line = refused(server.url.replace("ws://", "wss://"), peers.token("alice", room))
    assert line["seconds"] < 20 + SLACK, line


def test_name_that_does_not_resolve(room):
    line = refused("ws://no-such-host.invalid:7880", peers.token("alice", room))
    assert line["seconds"] < 20 + SLACK, line


@contextlib.contextmanager
def silent_host():
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def test_host_that_never_answers(room):
    with silent_host() as url:
        line = refused(url, peers.token("alice", room), timeout=1)
    assert 0.9 < line["seconds"] < 4 + SLACK, "(1 + 3 retries) x 1 s"


def test_host_that_never_answers_by_default(room):
    with silent_host() as url:
        line = refused(url, peers.token("alice", room))
    assert 19 < line["seconds"] < 20 + SLACK, "(1 + 3 retries) x 5 s"


def test_resolver_that_never_answers(room):
    with world.World() as net:
        net.up.blocked = net.down.blocked = True
        with world.etc(net.clients, resolv_conf=f"nameserver {net.address}\n"):
            line = refused("ws://somebody.example:7880", peers.token("alice", room), timeout=1, netns=net.clients)
    assert line["seconds"] < 4 + SLACK, line


def test_host_that_drops_everything(room):
    with world.World() as net:
        net.up.blocked = net.down.blocked = True
        line = refused(f"ws://{net.address}:7880", peers.token("alice", room), timeout=1, netns=net.clients)
    assert line["seconds"] < 4 + SLACK


def test_media_path_that_is_dead(room):
    """The server answers, its UDP and TCP media ports do not."""
    with world.World() as net, peers.Server(address=net.address, netns=net.server, tcp_port=0) as server:
        net.up.loss = net.down.loss = 1.0
        line = refused(server.url, peers.token("alice", room), timeout=2, netns=net.clients)
        assert line["seconds"] < 8 + SLACK, line


def test_connect_is_cancelled(room):
    """At once, and in the middle: the process lives on, and nobody stays behind in the room."""
    with peers.Server() as server:
        with peers.Program("abandon", "ours", server.url, peers.token("alice", room)) as alice:
            alice.wait("abandoned")
            # The connection of the other one is taken, the answer waits until the server may go on.
            os.kill(server.process.pid, signal.SIGSTOP)
            with peers.Program("abandon", "ours", server.url, peers.token("carol", room), after=0.3) as carol:
                carol.wait("abandoned")
                os.kill(server.process.pid, signal.SIGCONT)
                with peers.Program("watch", "ours", server.url, peers.token("bob", room)) as bob:
                    bob.wait("connected")  # what was under way before is through by now
                    peers.wait_for(lambda: server.participants(room) == ["bob"], 16 + SLACK, "the others to be gone")
                for program in (alice, carol):
                    assert program.process.poll() is None, "the process must have survived"
                    assert program.finish() == 0


def test_silent_host_is_abandoned(room):
    with silent_host() as url, peers.Program("abandon", "ours", url, peers.token("alice", room), after=0.2) as alice:
        alice.wait("abandoned")
        began = time.monotonic()
        assert alice.finish() == 0
        assert time.monotonic() - began < 3 + SLACK, "leaving must not wait for the host"


def test_server_killed_in_mid_call(room, tmp_path):
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    with peers.Server() as server, \
            peers.Program("receive", "ours", server.url, peers.token("bob", room), out=tmp_path / "h.wav") as bob, \
            peers.Program("publish", "ours", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        alice.wait("published")
        bob.wait("first_frame")
        alice.say("feed 1")
        alice.wait("feeding")
        # Calls that are pending when it dies: it is stopped first, so that none of them can be answered.
        os.kill(server.process.pid, signal.SIGSTOP)
        pending = ["metadata new", "name new", 'attributes {"a": "b"}', "unpublish", "publish"]
        for order in pending:
            alice.say("bg " + order)
        alice.ask("stats")
        server.kill()
        for side in (alice, bob):
            assert isinstance(side.wait("disconnected", 60)["args"][0], int)
        for order in pending:
            word = order.split()[0]
            peers.wait_for(lambda: [e for e in alice.lines if e.get("order") == word], 20, f"the end of {word}")
        assert alice.finish() == 0 and bob.finish() == 0
        for order in pending:
            ends = [e for e in alice.lines if e.get("order") == order.split()[0]]
            assert len(ends) == 1, ends
        assert len(alice.events("disconnected")) == len(bob.events("disconnected")) == 1


def test_server_shuts_down(room):
    with peers.Server() as server, peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice:
        alice.wait("connected")
        server.process.terminate()  # livekit-server waits for everybody to leave, lkc serve tells them
        if not server.ours:
            peers.wait_for(lambda: "exit requested" in server.log_path.read_text(), 20, "the server to have taken that")
            server.process.terminate()  # it tells everybody to leave
        assert alice.wait("disconnected", 60)["args"][0] in (3, 9), "SERVER_SHUTDOWN, or SIGNAL_CLOSE"
        assert alice.finish() == 0


def test_statistics_before_and_after(server, room, tmp_path):
    """Never published, after unpublish, after disconnect: an error, never silence."""
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    with peers.Program("publish", "ours", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        alice.wait("published")
        peers.wait_for(lambda: "outbound_rtp" in alice.stats(), 20, "statistics of the published track")
        for order in ("unpublish", "disconnect"):
            alice.say(order)
            alice.wait("done", order=order)
            alice.say("stats")
            assert alice.wait("order_failed", order="stats")["text"]
        assert alice.finish() == 0


def test_junk_on_the_media_ports(server, room, tmp_path):
    """Random bytes to every UDP port of both participants while they talk: dropped, the call goes on."""
    import random
    source = peers.speech()
    peers.write_wav(tmp_path / "s.wav", source)
    with peers.Program("receive", "ours", server.url, peers.token("bob", room), out=tmp_path / "h.wav") as bob, \
            peers.Program("publish", "ours", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        alice.wait("published")
        bob.wait("first_frame")
        noise = random.Random(1)
        targets = [t for side in (alice, bob) for t in udp_addresses(side.process.pid)]
        assert targets, "the participants must have UDP sockets"

        def say():
            said, sent = len(alice.events("fed")), 0
            alice.say("feed 1")
            alice.wait("feeding")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as v4, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as v6:
                while len(alice.events("fed")) == said and alice.process.poll() is None:
                    for family, address in targets:
                        first = noise.choice([0, 1, 20, 22, 23, 63, 64, 128, 143, 191, 200, 255])
                        with contextlib.suppress(OSError):
                            (v4 if family == 4 else v6).sendto(bytes([first]) + noise.randbytes(noise.randrange(0, 1400)), address)
                            sent += 1
                    time.sleep(0.005)
            alice.wait("fed")
            assert sent > 200, "some of it in every second, however late this loop is"
        peers.until_heard(source, say, tmp_path / "h.wav")
        assert bob.finish() == 0 and alice.finish() == 0
        assert not bob.events("disconnected") or bob.events("disconnected")[0]["args"] == [1]


def udp_addresses(pid):
    """Local addresses of the process's UDP sockets, from /proc."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    found = []
    for family, path in ((4, "udp"), (6, "udp6")):
        for line in open(f"/proc/{pid}/net/{path}").read().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes:
                host, port = words[1].split(":")
                raw = b"".join(bytes.fromhex(host[i:i + 8])[::-1] for i in range(0, len(host), 8))
                address = socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, raw)
                if int(port, 16):
                    found.append((family, (address if address not in ("0.0.0.0",) else "127.0.0.1", int(port, 16))))
    return found
