# SPDX-License-Identifier: Apache-2.0
"""Operations of the C API: each can be given up at once and has a deadline, and what is given up leaves nothing behind."""
import contextlib
import os
import signal
import subprocess

import peers

OPS = ["connect", "metadata", "name", "attributes", "publish"]
SLACK = 2500  # milliseconds on a busy machine; what waited for the server or a deadline of its own would take five seconds and more


@contextlib.contextmanager
def client(*words):
    program = subprocess.Popen([str(peers.ROOT / "build/tests/client_ops"), *words], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        with peers.limited(program):
            yield program
    finally:
        program.kill()
        program.wait()
        program.stdin.close()
        program.stdout.close()


def lines_until(program, word):
    lines = []
    for line in program.stdout:
        if line.strip() == word:
            return lines
        lines.append(line.split())
    raise AssertionError((word, lines, program.wait()))


def go_on(program):
    program.stdin.write("\n")
    program.stdin.flush()


def tracks_of(server, room):
    return {p.identity: [t.name for t in p.tracks] for p in
            server.call("room", "list_participants", "ListParticipantsRequest", room=room).participants}


def test_every_operation_can_be_given_up_and_has_a_deadline(room):
    with peers.Server() as server, client(server.url, peers.token("alice", room, can_update_own_metadata=True),
                                          peers.token("carol", room)) as program:
        assert lines_until(program, "stop-server") == [["child", "0"]], "a forked child is refused"
        os.kill(server.process.pid, signal.SIGSTOP)
        go_on(program)
        lines = lines_until(program, "continue-server")
        assert [line[:2] for line in lines] == [[word, op] for word in ("cancelled", "late") for op in OPS]
        for word, op, result, msec, ends in lines:
            assert ends == "1", (word, op)
            assert result == ("CANCELLED" if word == "cancelled" else "TIMEOUT"), (word, op, result)
            assert (0 if word == "cancelled" else 290) <= int(msec) + 10 <= 300 + SLACK, (word, op, msec)
        os.kill(server.process.pid, signal.SIGCONT)
        go_on(program)
        assert lines_until(program, "judge")[0][:3] == ["after", "name", "OK"]
        # The publications given up are taken back, the connects too.
        peers.wait_for(lambda: tracks_of(server, room) == {"alice": ["published"]}, 20, "nothing to be left behind")
        go_on(program)
        assert program.stdout.readline().split()[:3] == ["after", "unpublish", "OK"]
        assert program.wait(20) == 0
        peers.wait_for(lambda: server.participants(room) == [], 20, "alice to have left")
