# SPDX-License-Identifier: Apache-2.0
"""examples/own_server.c: server and participant in one process of the user's own."""
import subprocess
import threading

import peers


def test_a_guest_comes_to_a_server_inside_a_program_and_leaves(room):
    with subprocess.Popen([peers.ROOT / "build/examples/own_server", room, "guest"], stdout=subprocess.PIPE, text=True) as program:
        guard = threading.Timer(60, program.kill)  # what says nothing would be waited for without end
        guard.start()
        try:
            url, token = program.stdout.readline().split()
            with peers.Program("watch", "stock", url, token) as guest:
                assert guest.wait("connected")["identity"] == "guest"
                assert program.stdout.readline() == "guest has come\n"
                guest.finish()
            assert program.stdout.readline() == "guest has left\n"
            assert program.wait(20) == 0
        finally:
            guard.cancel()
            program.kill()
