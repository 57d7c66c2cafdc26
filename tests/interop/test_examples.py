# SPDX-License-Identifier: Apache-2.0
"""examples/: our C API in whole programs, with the stock Python SDK on the other side of the real server."""
import itertools
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib

import numpy as np
import pytest

import peers
import pictures

BUILD = peers.ROOT / "build/examples"
NAMES = {"publish_wav": ["s.wav"], "receive_wav": ["h.wav"], "stats": [], "epoll": [], "publish_picture": ["9"],
         "receive_png": ["h.png"], "echo": []}


class Example:
    """One running example; wait(pattern) returns the match of the next line of its output that fits."""

    def __init__(self, name, *words):
        self.name, self.lines, self.taken, self.ended = name, [], 0, False
        self.process = subprocess.Popen([str(BUILD / name), *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.changed = threading.Condition()
        self.pump = threading.Thread(target=self.read, daemon=True)
        self.pump.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                while self.taken < len(self.lines):
                    self.taken += 1
                    if found := re.search(pattern, self.lines[self.taken - 1]):
                        return found
                assert not self.ended and time.monotonic() < end, (self.name, pattern, self.lines)
                self.changed.wait(end - time.monotonic())

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def finish(self, seconds=30):
        status = self.process.wait(seconds)
        self.pump.join(seconds)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def run(name, *words):
    return subprocess.run([str(BUILD / name), *map(str, words)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)


def quiet(seconds):
    return np.zeros(int(peers.RATE * seconds), dtype=np.int16)


# ---- sound, both ways ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rate,channels", [(48000, 1), (16000, 2)])
def test_python_hears_publish_wav(server, room, tmp_path, rate, channels):
    """The listener needs a moment from the subscription to its first sound: half a second of silence leads."""
    source = np.concatenate([quiet(0.5), peers.speech()])
    peers.write_wav(tmp_path / "mono.wav", source)
    subprocess.run(["sox", tmp_path / "mono.wav", "-r", str(rate), "-c", str(channels), tmp_path / "s.wav"], check=True)
    if rate < peers.RATE:  # what is above half of it cannot be there
        subprocess.run(["sox", tmp_path / "s.wav", "-r", str(peers.RATE), "-c", "1", tmp_path / "mono.wav"], check=True)
    with peers.Program("receive", "stock", server.url, peers.token("bob", room), out=tmp_path / "heard.wav") as bob:
        bob.wait("connected")

        def say():
            with Example("publish_wav", server.url, peers.token("alice", room), tmp_path / "s.wav") as alice:
                sid = alice.wait(r"published (TR_\w+)")[1]
                told = bob.wait("track_subscribed", identity="alice")
                assert (told["publication"], told["name"], told["type"]) == (sid, "wav", "RemoteAudioTrack")
                assert alice.finish(60) == 0, alice.lines
            bob.wait("track_unsubscribed")
            bob.wait("participant_disconnected")
        peers.until_heard(peers.read_wav(tmp_path / "mono.wav"), say, tmp_path / "heard.wav", fresh=True)
        assert bob.finish() == 0


def test_receive_wav_records_python(server, room, tmp_path):
    source = peers.speech()
    peers.write_wav(tmp_path / "s.wav", source)
    with Example("receive_wav", server.url, peers.token("bob", room), tmp_path / "heard.wav", "alice") as bob:
        bob.wait(f"connected to {room} as bob")
        with peers.Program("publish", "stock", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
            sid = alice.wait("published")["publication"]
            assert bob.wait(r"recording (\w+) of alice")[1] == sid
            peers.until_heard(source, lambda: alice.ask("feed 1", "fed", 60), tmp_path / "heard.wav")
            assert alice.finish() == 0
        assert bob.finish() == 0, "it ends with the track"
        seconds = float(bob.wait(r"([\d.]+) s written")[1])
    heard = peers.read_wav(tmp_path / "heard.wav")
    assert abs(len(heard) / peers.RATE - seconds) < 0.1 and len(heard) >= len(source) // 2
    peers.wait_for(lambda: server.participants(room) == [], 20, "everybody to have left")


def test_receive_wav_takes_the_one_it_is_told_to(server, room, tmp_path):
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    with Example("receive_wav", server.url, peers.token("bob", room), tmp_path / "heard.wav", "carol") as bob:
        bob.wait("connected")
        with peers.Program("publish", "stock", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
            alice.wait("local_track_subscribed")
            bob.process.send_signal(signal.SIGINT)
            assert bob.finish() == 1, "nothing was recorded"
            assert alice.finish() == 0
    assert [line for line in bob.lines if "recording" in line] == []
    assert len(peers.read_wav(tmp_path / "heard.wav")) == 0, "a file of no sound, but a file"


def test_the_examples_hear_each_other(server, room, tmp_path):
    source = np.concatenate([quiet(0.5), peers.speech()])
    peers.write_wav(tmp_path / "s.wav", source)

    def say():
        with Example("receive_wav", server.url, peers.token("bob", room), tmp_path / "heard.wav") as bob:
            bob.wait("connected")
            with Example("publish_wav", server.url, peers.token("alice", room), tmp_path / "s.wav") as alice:
                assert alice.finish(60) == 0, alice.lines
            assert bob.finish() == 0, bob.lines
    peers.until_heard(source, say, tmp_path / "heard.wav", fresh=True)


# ---- statistics ------------------------------------------------------------------------------------------------------

def test_stats_shows_a_table_that_lives(server, room, tmp_path):
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    with peers.Program("publish", "stock", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        alice.wait("published")
        alice.say("feed 3")
        alice.wait("feeding")
        shown = run("stats", server.url, peers.token("bob", room), 7)
        assert shown.returncode == 0, shown
    heads = [line for line in shown.stdout.splitlines() if line.startswith("participant")]
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith("alice")]
    assert len(heads) >= 4 and len(rows) >= 3, shown.stdout
    assert all(row[:2] == ["alice", "speech"] for row in rows)
    packets = [int(row[2]) for row in rows]
    # Of looks a second apart two are enough whose second nobody stood still in: a table that is drawn from constants has none.
    assert packets == sorted(packets) and any(25 < b - a < 100 for a, b in zip(packets, packets[1:])), f"50 a second: {packets}"
    assert any(10 < float(row[3]) < 200 for row in rows[1:]), "kbit/s"
    assert all(int(row[4]) == 0 and 0 <= float(row[5]) for row in rows) and min(float(row[5]) for row in rows) < 100, "lost, jitter"
    assert max(float(row[7]) for row in rows) > 0.01, "level"
    assert 0 < float(heads[-1].split()[-2]) < 3000, "round trip"
    peers.wait_for(lambda: "bob" not in server.participants(room), 20, "stats to have left")


def test_stats_ends_with_the_room(server, room):
    with Example("stats", server.url, peers.token("bob", room)) as bob:
        bob.wait("^participant")
        server.call("room", "delete_room", "DeleteRoomRequest", room=room)
        assert bob.finish() == 1 and bob.lines[-1].startswith("stats: "), bob.lines


# ---- one loop --------------------------------------------------------------------------------------------------------

def threads_of(pid):
    return {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


def test_epoll_needs_one_loop_and_no_thread(server, room, tmp_path):
    with peers.Program("receive", "stock", server.url, peers.token("bob", room), out=tmp_path / "heard.wav") as bob:
        bob.wait("connected")
        with Example("epoll", server.url, peers.token("alice", room)) as alice:
            sid = alice.wait(r"published (TR_\w+)")[1]
            bob.wait("track_subscribed", publication=sid)
            bob.wait("first_frame")
            threads = threads_of(alice.process.pid)
            assert threads.pop(alice.process.pid) == "epoll"
            assert threads and all(name.startswith("lk-") for name in threads.values()), threads
            # It gives half a second more at some time, and never faster than sound goes: a second may wait, two and a half are slack.
            given, began = float(alice.wait(r"([\d.]+) s of sound given")[1]), time.monotonic()
            while float((later := alice.wait(r"([\d.]+) s of sound given, (\d+) ms wait"))[1]) - given <= 0.5:
                assert time.monotonic() - began < 20, alice.lines
            assert float(later[1]) - given < time.monotonic() - began + 3.5 and int(later[2]) <= 1020, alice.lines
            alice.say("mute")
            alice.wait("TRACK_MUTED alice")
            bob.wait("track_muted")
            alice.say("nonsense\nunmute")
            alice.wait("mute, unmute or quit")
            alice.wait("TRACK_UNMUTED alice")
            bob.wait("track_unmuted")
            with peers.Program("watch", "stock", server.url, peers.token("carol", room)) as carol:
                carol.wait("connected")
                alice.wait("PARTICIPANT_CONNECTED carol")
                assert carol.finish() == 0
                alice.wait("PARTICIPANT_DISCONNECTED carol")
            alice.say("quit")
            assert alice.finish() == 0, alice.lines
        bob.wait("participant_disconnected")
        assert bob.finish() == 0
    heard = peers.read_wav(tmp_path / "heard.wav").astype(np.float64)
    loud = heard[np.abs(heard) > 2000]
    assert len(loud) > peers.RATE / 4, "the tone was heard"
    start = int(np.argmax(np.abs(heard) > 2000)) + peers.RATE // 10
    piece = heard[start:start + peers.RATE // 4]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    assert abs(np.argmax(spectrum) * peers.RATE / len(piece) - 440) <= 4


def test_epoll_ends_with_its_input(server, room):
    with Example("epoll", server.url, peers.token("alice", room)) as alice:
        alice.wait("published")
        alice.process.stdin.close()
        assert alice.finish() == 0
    peers.wait_for(lambda: server.participants(room) == [], 20, "it to have left")


# ---- pictures and data -------------------------------------------------------------------------------------------------

def read_png(path):
    """Red, green and blue of a PNG without filters, as an array; checks its sums."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body), kind
        chunks[kind] = body
        at += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * 3)
    assert not rows[:, 0].any() and b"IEND" in chunks
    return rows[:, 1:].reshape(height, width, 3)


def test_python_sees_publish_picture(server, room, tmp_path):
    """Nine of ten numbers, the last one among them."""
    def look():
        with peers.Program("watch", "stock", server.url, peers.token("bob", room), picture=tmp_path / "seen.png") as bob:
            bob.wait("connected")
            with Example("publish_picture", server.url, peers.token("alice", room), 75) as alice:
                sid = alice.wait(r"published (TR_\w+)")[1]
                told = bob.wait("track_subscribed", identity="alice")
                assert (told["publication"], told["name"], told["type"]) == (sid, "picture", "RemoteVideoTrack")
                first = bob.wait("first_picture")
                assert (first["width"], first["height"]) == (pictures.WIDTH, pictures.HEIGHT)
                assert alice.finish(60) == 0, alice.lines
            bob.wait("track_unsubscribed")
            numbers = bob.ask("seen")["numbers"]
            assert bob.finish() == 0
        return numbers

    def judge(numbers):
        assert numbers[-1] == 74 and len(numbers) >= 0.9 * (75 - numbers[0]), numbers
    peers.undisturbed(look, judge)


def test_receive_png_keeps_a_picture_of_python(server, room, tmp_path):
    """The picture is one that was shown: it names its number, and is as it was drawn."""
    with Example("receive_png", server.url, peers.token("bob", room), tmp_path / "seen.png", "alice") as bob:
        with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice:
            alice.wait("connected")
            sid = alice.ask("show", "showing")["publication"]
            assert bob.wait(r"looking at (\w+) of alice")[1] == sid
            assert bob.finish(60) == 0, bob.lines
            alice.ask("enough", "shown")
            assert alice.finish() == 0
    rgb = read_png(tmp_path / "seen.png").astype(float)
    luma = 16 + rgb @ [0.257, 0.504, 0.098]
    number = pictures.number(luma)
    assert luma.shape == (pictures.HEIGHT, pictures.WIDTH) and number is not None
    assert pictures.psnr(luma, pictures.luma(number)) >= 25, "what clips in RGB is not there any more"


def test_the_examples_see_each_other(server, room, tmp_path):
    with Example("receive_png", server.url, peers.token("bob", room), tmp_path / "seen.png") as bob:
        with Example("publish_picture", server.url, peers.token("alice", room)) as alice:
            bob.wait("640x360 written", 60)
            assert bob.finish() == 0
            alice.process.send_signal(signal.SIGINT)
            assert alice.finish() == 0
    assert pictures.number(16 + read_png(tmp_path / "seen.png") @ [0.257, 0.504, 0.098]) >= 10


def test_echo_sends_back_what_python_sends(server, room):
    with Example("echo", server.url, peers.token("echo", room)) as echo:
        echo.wait(f"connected to {room} as echo")
        with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice, \
                peers.Program("watch", "stock", server.url, peers.token("carol", room)) as carol:
            alice.wait("connected")
            carol.wait("connected")
            echo.wait("alice is here")
            for n in range(20):
                alice.say(f"send echo reliable topic{n % 3} {n} {10 + n * 3000}")
                alice.say(f"send echo lossy - {n} 100")
            for n in range(20):
                back = alice.wait("data", 30, kind="reliable", number=n)
                assert (back["identity"], back["topic"], back["size"], back["whole"]) == ("echo", f"topic{n % 3}", 10 + n * 3000, True)
            assert [line["number"] for line in alice.events("data") if line["kind"] == "reliable"] == list(range(20))
            more = itertools.count(20)

            def come_back():
                if sum(line["kind"] == "lossy" for line in alice.events("data")) >= 15:
                    return True
                alice.say(f"send echo lossy - {next(more)} 100")  # who stood still lost them; then others come back
            peers.wait_for(come_back, 20, "lossy packets to come back", every=0.2)
            assert carol.events("data") == [], "an answer is for him who asked"
            assert alice.finish() == 0 and carol.finish() == 0
        echo.process.send_signal(signal.SIGTERM)
        assert echo.finish() == 0
        assert int(echo.wait(r"(\d+) echoed, 0 refused")[1]) >= 35


# ---- what goes wrong -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_answered_with_the_usage(name):
    for words in ([], ["ws://127.0.0.1:1"], ["a", "b", "c", "d", "e"]):
        refused = run(name, *words)
        assert refused.returncode == 2 and refused.stderr.startswith(f"usage: {name} URL TOKEN"), refused
        assert refused.stdout == ""


@pytest.fixture
def files(tmp_path, monkeypatch):
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("url,said", [("nonsense", "URL"), ("ftp://127.0.0.1", "URL"), ("ws://127.0.0.1:1", "refused"),
                                      ("ws://no-such-host.invalid", "lookup")])
def test_a_bad_url_is_named(files, name, url, said, monkeypatch):
    with Example(name, url, "token", *NAMES[name]) as program:  # standard input stays open
        assert program.finish(25) == 1
    line, *others = [line for line in program.lines if line.startswith(name)]
    assert not others and said.lower() in line.lower(), program.lines


@pytest.mark.parametrize("name", ["receive_wav", "stats", "publish_picture", "echo"])
def test_a_host_that_never_answers_is_given_up_when_the_user_wants(files, name):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with Example(name, f"ws://127.0.0.1:{silent.getsockname()[1]}", "token", *NAMES[name]) as program:
            silent.accept()[0].recv(1)  # it is asking
            began = time.monotonic()
            program.process.send_signal(signal.SIGINT)
            program.finish()
            assert time.monotonic() - began < 4, "a second, and what stopping takes: not the 20 s of the connect"


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_token_is_said_but_not_shown(files, server, room, name):
    token = peers.token("alice", room, secret="another-secret-0123456789abcdefghij")
    with Example(name, server.url, token, *NAMES[name]) as program:
        assert program.finish() == 1
    line, *others = [line for line in program.lines if line.startswith(name)]
    assert not others and "401" in line and "invalid token" in line, program.lines
    assert all(part not in "".join(program.lines) for part in token.split(".")), program.lines


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\3\0\1\0" + b"\0" * 8 + b"\4\0\x20\0",
                                     b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff", b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff", None])
def test_publish_wav_takes_no_other_file(tmp_path, content):
    if content is not None:
        (tmp_path / "s.wav").write_bytes(content)
    refused = run("publish_wav", "ws://127.0.0.1:1", "token", tmp_path / "s.wav")
    assert refused.returncode == 1 and "holds no sound of 16 bit PCM" in refused.stderr


def test_a_source_the_library_refuses(tmp_path):
    peers.write_wav(tmp_path / "s.wav", peers.speech(), rate=999)
    refused = run("publish_wav", "ws://127.0.0.1:1", "token", tmp_path / "s.wav")
    assert refused.returncode == 1 and refused.stderr == "publish_wav: an argument is not valid\n"


def test_receive_wav_says_when_it_cannot_write(tmp_path):
    refused = run("receive_wav", "ws://127.0.0.1:1", "token", tmp_path / "no" / "such" / "folder.wav")
    assert refused.returncode == 1 and "No such file" in refused.stderr
