# SPDX-License-Identifier: Apache-2.0
"""`lkc serve` and `lkc token` as programs: what they print, what they refuse, how they end."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
from livekit import api

import peers
import world

LKC = os.environ.get("LK_INTEROP_LKC", str(peers.OUR_SERVER))


def lkc(*arguments, env=None, stdin=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LIVEKIT_")}
    return subprocess.run([LKC, *arguments], capture_output=True, text=True, timeout=30, input=stdin, env={**environment, **(env or {})})


class Serve:
    """One `lkc serve` and the lines of its greeting."""

    def __init__(self, *arguments, env=None, before=()):
        ports = [a for name in ("--port", "--udp-port", "--tcp-port") if name not in arguments for a in (name, "0")]
        self.process = subprocess.Popen([*before, LKC, "serve", *arguments, *ports], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={**os.environ, **(env or {})})
        self.lines = []
        guard = threading.Timer(30, self.process.kill)  # one that says nothing would be waited for without end
        guard.start()
        while len(self.lines) < 3:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(self.process.stderr.read())
            self.lines.append(line)
        guard.cancel()
        self.port = int(re.search(r":(\d+)$", self.lines[1].strip()).group(1))

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        status = self.process.wait(20)
        return status, "".join(self.lines) + self.process.stdout.read(), self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_dev_prints_a_token_that_is_let_in_and_it_ends_when_told(how):
    with Serve("--dev") as serve:
        status, text, errors = serve.end(how)
    assert status == 0 and errors == ""
    token = re.search(r"token +(\S+)", text).group(1)
    claims = api.TokenVerifier("devkey", "secret").verify(token)
    assert claims.identity == "dev" and claims.video.room_join and claims.video.room == "dev"
    assert "key         devkey" in text and "secret      secret" in text


def test_keys_come_from_flags_the_environment_and_a_file(tmp_path):
    secret = "0123456789abcdef0123456789abcdef"
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"filekey: {secret}\n")
    keys.chmod(0o600)
    config = tmp_path / "config.yaml"
    config.write_text(f"keys:\n  {peers.KEY}: {secret}\n")
    ways = {"flagkey": (["--keys", f"flagkey: {secret}"], {}), "envkey": ([], {"LIVEKIT_KEYS": f"envkey: {secret}"}),
            "filekey": (["--key-file", str(keys)], {}), peers.KEY: (["--config", str(config)], {})}
    for key, (arguments, env) in ways.items():
        with Serve(*arguments, env=env) as serve:
            token = lkc("token", "create", "--room", "r", "--identity", "a", "--key", key, "--secret", secret).stdout.strip()
            with socket.create_connection(("127.0.0.1", serve.port), 10) as s:
                s.sendall(f"GET /rtc/validate?access_token={token} HTTP/1.0\r\n\r\n".encode())
                assert s.makefile().read().endswith("success"), key
            assert serve.end()[0] == 0


SHORT = "--keys", "k: tooshort"
LONG = "--keys", "k: 0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("arguments, said", [
    ([], "no keys"),
    (["--port", "70000", *LONG], "not a port (0..65535): 70000"),
    (["--tcp-port", "x", *LONG], "not a port (0..65535, or none): x"),
    (["--bind", "localhost", *LONG], "not a numeric address to bind to: localhost"),
    (["--bind", "203.0.113.7", "--port", "0", *LONG], "cannot listen on 203.0.113.7:0 (TCP, signalling): not an address of this machine"),
    (["--node-ip", "here", *LONG], "not a numeric address for clients: here"),
    (["--log-level", "loud", *LONG], "not a level"),
    (["--frobnicate", "1"], "unknown option (see lkc serve --help): --frobnicate"),
    (["--port"], "its value is missing"),
    (list(SHORT), "shorter than 32 bytes, that of key k"),
    (["--keys", "nonsense"], "keys are pairs"),
    (["--config", "/no/such/file"], "/no/such/file: No such file or directory"),
    (["--key-file", "/no/such/file"], "/no/such/file: No such file or directory"),
])
def test_what_cannot_be_is_refused_in_one_line_with_status_2(arguments, said):
    result = lkc("serve", *arguments)
    assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""


def test_a_port_that_is_drawn_is_free_on_every_address():
    """Half of the ports to draw from are taken on ::1 alone: one start in two draws such a one for 127.0.0.1 first."""
    with world.World() as net, contextlib.ExitStack() as taken:
        ip = ["ip", "netns", "exec", net.server]
        subprocess.run([*ip, "sh", "-c", "echo 40000 40255 > /proc/sys/net/ipv4/ip_local_port_range"], check=True)
        for port in (port for port in range(40000, 40256) if port & 2):
            taken.enter_context(world.inside(net.server, lambda: socket.create_server(("::1", port), family=socket.AF_INET6)))
        for _ in range(8):
            with Serve("--dev", before=ip) as serve:
                assert not serve.port & 2
                assert serve.end()[0] == 0


def test_a_port_in_use_is_named():
    with socket.socket() as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        udp.bind(("127.0.0.1", 0))
        for arguments, at in ((["--port", str(taken.getsockname()[1]), "--udp-port", "0", "--tcp-port", "0"], taken),
                              (["--port", "0", "--udp-port", str(udp.getsockname()[1]), "--tcp-port", "none"], udp)):
            result = lkc("serve", "--dev", *arguments)
            assert result.returncode == 2 and result.stdout == "", result.stderr
            assert f"127.0.0.1:{at.getsockname()[1]}" in result.stderr and "the port is in use" in result.stderr, result.stderr


def test_a_key_file_that_everybody_may_read_is_refused(tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text("k: 0123456789abcdef0123456789abcdef\n")
    keys.chmod(0o644)
    result = lkc("serve", "--key-file", str(keys))
    assert result.returncode == 2 and "everybody may read" in result.stderr


def test_a_key_of_the_file_that_means_nothing_is_named_and_passed_over(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("keys:\n  k: 0123456789abcdef0123456789abcdef\nredis:\n  address: x\nrtc:\n  udp_port: 0\n  frob: 1\n"
                      "  use_external_ip: false\nroom:\n  auto_create: false\nlogging:\n  level: error\n")
    with Serve("--config", str(config)) as serve:
        token = lkc("token", "create", "--room", "r", "--identity", "a", "--key", "k", "--secret", "0123456789abcdef" * 2).stdout.strip()
        with socket.create_connection(("127.0.0.1", serve.port), 10) as s:
            s.sendall(f"GET /rtc/validate?access_token={token} HTTP/1.0\r\n\r\n".encode())
            assert s.makefile().read().startswith("HTTP/1.1 404 "), "rooms are made by the admin API alone"
        status, _, errors = serve.end()
    assert status == 0
    assert sorted(errors.splitlines()) == [
        f"lkc serve: warning: {config}: unknown key redis",
        f"lkc serve: warning: {config}: unknown key rtc.frob"]


@pytest.mark.parametrize("text, said", [("a: [", "config.yaml:"), ("port: x", "port is not a port"), ("rtc:\n  node_ip: []", "rtc.node_ip is not a text"),
                                        ("- a", "not a list of"), ("keys: 7", "keys are pairs")])
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path, text, said):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    result = lkc("serve", "--config", str(config))
    assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_whoever_is_in_is_told_to_leave_when_it_ends():
    with peers.Server(ours=True) as server, peers.Program("watch", "stock", server.url, peers.token("alice", "room")) as alice:
        alice.wait("connected")
        server.process.terminate()
        assert server.process.wait(20) == 0
        alice.wait("disconnected", 90)  # ten tries to come back, waits of up to 7 s that it draws itself


def test_tokens_are_made_that_the_official_package_reads():
    made = lkc("token", "create", "--dev", "--room", "r", "--identity", "ann", "--name", "Ann", "--metadata", "{}", "--attribute", "a=b=c",
               "--kind", "agent", "--valid-for", "30m", "--no-publish", "--source", "camera", "--update-metadata", "--hidden", "--admin")
    assert made.returncode == 0, made.stderr
    claims = api.TokenVerifier("devkey", "secret").verify(made.stdout.strip())
    assert (claims.identity, claims.name, claims.metadata, claims.kind, claims.attributes) == ("ann", "Ann", "{}", "agent", {"a": "b=c"})
    video = claims.video
    assert video.room == "r" and video.room_join and video.room_admin and video.hidden and video.can_publish is False
    assert video.can_publish_sources == ["camera"] and video.can_update_own_metadata is True


def test_tokens_are_shown_and_checked():
    theirs = peers.token("bob", "r", name="Bob", ttl_seconds=600)
    shown = lkc("token", "inspect", theirs)
    assert shown.returncode == 0 and '"sub": "bob"' in shown.stdout and "valid until" in shown.stdout and "from now" in shown.stdout
    assert json.loads(shown.stdout[:shown.stdout.rindex("}") + 1])["video"]["room"] == "r"
    assert lkc("token", "inspect", "-", stdin=theirs + "\n").stdout == shown.stdout
    good = lkc("token", "verify", theirs, env={"LIVEKIT_API_KEY": peers.KEY, "LIVEKIT_API_SECRET": peers.SECRET})
    assert good.returncode == 0 and good.stdout == "valid\n"
    bad = lkc("token", "verify", theirs, "--dev")
    assert bad.returncode == 1 and "wrong signature" in bad.stderr and theirs not in bad.stderr
    old = lkc("token", "verify", peers.token("bob", "r", ttl_seconds=-3600), "--key", peers.KEY, "--secret", peers.SECRET)
    assert old.returncode == 1 and "expired" in old.stderr
    assert lkc("token", "inspect", "nonsense").returncode == 1


@pytest.mark.parametrize("arguments", [[], ["frob"], ["create"], ["create", "--dev"], ["create", "--dev", "--room", "r"],
                                       ["create", "--dev", "--room", "r", "--identity", "i", "--valid-for", "soon"],
                                       ["create", "--dev", "--room", "r", "--identity", "i", "--kind", "robot"],
                                       ["create", "--dev", "--room", "r", "--identity", "i", "--frob", "1"], ["verify"], ["verify", "x"]])
def test_a_wrong_call_of_token_is_explained_with_status_2(arguments):
    result = lkc("token", *arguments)
    assert result.returncode == 2 and result.stdout == "" and "lkc token" in result.stderr
