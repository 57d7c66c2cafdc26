# SPDX-License-Identifier: Apache-2.0
"""`lkc`: our C API as a program, beside participants on the Python SDK."""
import contextlib
import json
import os
import pty
import re
import subprocess

import pytest

import peers

LKC = peers.ROOT / "build/lkc"


def lkc(*words, **options):
    return subprocess.run([str(LKC), *words], capture_output=True, text=True, timeout=60, **options)


def test_version_and_help():
    assert re.fullmatch(r"lkc \d+\.\d+\.\d+\n", lkc("version").stdout)
    shown = lkc("help")
    assert shown.returncode == 0 and "lkc stats URL TOKEN" in shown.stdout
    for wrong in ([], ["nonsense"], ["stats"], ["stats", "a"], ["stats", "a", "b", "c"], ["stats", "a", "b", "--count", "0"]):
        refused = lkc(*wrong)
        assert refused.returncode == 2 and "usage: lkc" in refused.stderr and not refused.stdout, wrong


@pytest.fixture
def speaking(server, room, tmp_path):
    peers.write_wav(tmp_path / "s.wav", peers.speech())
    with peers.Program("publish", "stock", server.url, peers.token("alice", room), wav=tmp_path / "s.wav") as alice:
        alice.wait("published")
        alice.say("feed 6")
        alice.wait("feeding")
        yield alice


def judge_looks(shown):
    """In one of the seconds between its looks at least what counts up does so at the pace of speech, and a second is a second."""
    assert shown.returncode == 0, shown.stderr
    looks = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(looks) == 5
    assert all("transport" in peers.by_kind(look["connection"]) for look in looks)
    tracks = [look["tracks"][0] for look in looks if look["tracks"]]
    assert {(t["participant"], t["name"], t["muted"]) for t in tracks} == {("alice", "speech", False)}
    heard = [kinds["inbound_rtp"][0] for kinds in (peers.by_kind(t["stats"]) for t in tracks) if "inbound_rtp" in kinds]
    paces = []
    for first, last in zip(heard, heard[1:]):
        seconds = (last["timestamp"] - first["timestamp"]) / 1e6
        paces.append((seconds, (last["packets_received"] - first["packets_received"]) / seconds,
                      (last["total_samples_received"] - first["total_samples_received"]) / 48000 / seconds))
    assert any(0.7 < s < 1.5 and 35 < packets < 65 and 0.85 < samples < 1.15 for s, packets, samples in paces), paces
    assert heard[-1]["total_audio_energy"] > heard[0]["total_audio_energy"]


def test_stats_as_json(server, room, speaking):
    peers.undisturbed(lambda: lkc("stats", server.url, peers.token("lkc", room), "--json", "--count", "5"), judge_looks)
    peers.wait_for(lambda: server.participants(room) == ["alice"], 20, "lkc to have left")


def test_stats_in_a_terminal(server, room, speaking):
    mine, its = pty.openpty()
    program = subprocess.Popen([str(LKC), "stats", server.url, peers.token("lkc", room), "--count", "3"], stdout=its,
                               stderr=subprocess.PIPE)
    os.close(its)
    shown = b""
    with peers.limited(program, 60), contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(mine, 65536):
            shown += piece
    assert program.wait(20) == 0, program.stderr.read()
    assert shown.count(b"participant      track") == 3 and b"\x1b[" in shown
    assert re.search(rb"alice +speech +audio +\d+\.\d +\d+", shown), shown


def test_stats_says_why_it_cannot(server, room):
    secret = peers.token("lkc", room, secret="another-secret-0123456789abcdefghij")
    refused = lkc("stats", server.url, secret)
    assert refused.returncode == 1 and "401" in refused.stderr and secret not in refused.stderr


def test_stats_ends_with_the_room(server, room):
    program = subprocess.Popen([str(LKC), "stats", server.url, peers.token("lkc", room), "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with peers.limited(program, 60):
        assert json.loads(program.stdout.readline())["tracks"] == []
    server.call("room", "delete_room", "DeleteRoomRequest", room=room)
    _, said = program.communicate(timeout=30)
    assert program.returncode == 1 and "the room ended" in said
