# SPDX-License-Identifier: Apache-2.0
"""The real peers of the tests: livekit-server, tokens, SDK programs in processes of their own, sounds, measures.

LK_INTEROP_OURS=stock puts the stock library in the place of ours: a test that fails then asks for something the
reference does not do, so either the test is wrong or we mean to be better (docs/testing.md lists those).
LK_INTEROP_SERVER=ours does the same with the server: lkc serve in place of livekit-server.
"""
import asyncio
import contextlib
import datetime
import fcntl
import functools
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import wave

import numpy as np
from livekit import api

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = ROOT / ".peers/livekit-server"
OURS = ROOT / "build/liblivekit_ffi.so"
OUR_SERVER = ROOT / "build/apps/cli/lkc"
KEY, SECRET = "devkey", "a-secret-for-tests-only-0123456789abcdef"
RATE = 48000


def library_path(library):
    """The file of "ours"; None for "stock", which the SDK finds by itself."""
    if library == "ours" and os.environ.get("LK_INTEROP_OURS") != "stock":
        return os.environ.get("LK_INTEROP_LIBRARY", str(OURS))
    return None


class Ports:
    """A stretch of ports that is this process's alone while it lives, by the lock of a file: tests run side by side, and between
    being found free and being bound a port of everybody's would be anybody's. Below the range the system gives to outgoing
    connections, so that none of those takes it either."""
    FIRST, BEYOND, STRETCH = 20000, 32000, 100

    def __init__(self):
        starts = list(range(self.FIRST, self.BEYOND, self.STRETCH))
        random.shuffle(starts)
        for start in starts:
            with contextlib.suppress(OSError):  # another process has it
                self.lock = open(pathlib.Path(tempfile.gettempdir()) / f"livekit-c-ports-{start}", "w")
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.turn = itertools.cycle(range(start, start + self.STRETCH))
                return
        raise RuntimeError("every stretch of ports is taken")


@functools.cache
def ports():
    return Ports()


def free_port(kind=socket.SOCK_STREAM):
    """The next of ours; one that something else holds is passed over."""
    for port in itertools.islice(ports().turn, Ports.STRETCH):
        with socket.socket(socket.AF_INET, kind) as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port of ours is free")


def token(identity, room="room", ttl_seconds=600, secret=SECRET, name=None, metadata="", attributes=None, **grants):
    """An access token; grants are those of api.VideoGrants (can_publish=False, ...)."""
    made = (api.AccessToken(KEY, secret).with_identity(identity).with_name(identity if name is None else name)
            .with_metadata(metadata).with_ttl(datetime.timedelta(seconds=ttl_seconds))
            .with_grants(api.VideoGrants(**{"room_join": True, "room": room, **grants})))
    return (made.with_attributes(attributes) if attributes else made).to_jwt()


class Server:
    """One livekit-server, or one lkc serve, on loopback ports of its own."""

    def __init__(self, address="127.0.0.1", netns=None, ours=None, log_level="debug", wait=True, loops=None, more=None, **rtc):
        self.ours = os.environ.get("LK_INTEROP_SERVER") == "ours" if ours is None else ours
        self.address, self.port = address, free_port()
        host = f"[{address}]" if ":" in address else address
        self.url = f"ws://{host}:{self.port}"
        self.dir = tempfile.TemporaryDirectory(prefix="lk-server-")
        settings = {"udp_port": free_port(socket.SOCK_DGRAM), "tcp_port": free_port(),
                    "use_external_ip": False, "node_ip": address, "enable_loopback_candidate": address.startswith("127."),
                    "stun_servers": ["127.0.0.1:9"], **rtc}
        config = {"port": self.port, "bind_addresses": [address], "keys": {KEY: SECRET}, "rtc": settings,
                  "logging": {"level": log_level}, "room": {"auto_create": True}, **(more or {})}
        loops = int(os.environ.get("LK_INTEROP_LOOPS", "1")) if loops is None else loops
        if self.ours and loops != 1:
            config["loops"] = loops
        path = pathlib.Path(self.dir.name) / "server.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self.log_path = pathlib.Path(self.dir.name) / "server.log"
        self.udp_port = settings["udp_port"]
        prefix = ["ip", "netns", "exec", netns] if netns else []
        command = [os.environ.get("LK_INTEROP_LKC", str(OUR_SERVER)), "serve"] if self.ours else [str(SERVER)]
        self.netns, self.command = netns, [*prefix, *command, "--config", str(path)]
        self.start(wait)

    def start(self, wait=True):
        """Again, after kill(): on the same ports, knowing nobody."""
        self.log = open(self.log_path, "w")
        # A sanitizer preloaded into Python is none of the server's business: it would report on Go.
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        if wait:
            wait_for(lambda: self.accepts(self.netns), 20, "the server to accept connections")

    def accepts(self, netns):
        if self.process.poll() is not None:
            raise RuntimeError("the server ended: " + self.log_path.read_text()[-2000:])
        if self.ours:
            return "signalling " in self.log_path.read_text()
        return "starting LiveKit server" in self.log_path.read_text()

    def call(self, service, method, request, **fields):
        """One call of the server's API: call("room", "remove_participant", "RoomParticipantIdentity", room=...)."""
        async def run():
            async with api.LiveKitAPI(self.url.replace("ws", "http"), KEY, SECRET) as lk:
                return await getattr(getattr(lk, service), method)(getattr(api, request)(**fields))
        return asyncio.run(run())

    def participants(self, room):
        """Identities in the room as the server sees it."""
        try:
            return [p.identity for p in self.call("room", "list_participants", "ListParticipantsRequest",
                                                  room=room).participants]
        except api.TwirpError as error:
            if error.code == api.TwirpErrorCode.NOT_FOUND:
                return []
            raise

    def tracks(self, room):
        """Sids of what the room's participants publish, as others see it: that comes with the first packet, after the answer."""
        return [t.sid for p in self.call("room", "list_participants", "ListParticipantsRequest", room=room).participants for t in p.tracks]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_for(condition, seconds, what, every=0.02):
    """Polls, every so many seconds, until condition() is true; the deadline is generous and only there to end a broken run."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(every)


TRIES = 3
BUSY = 0.1  # a machine where for more than this part of the time somebody waited for a core


class Watch:
    """The part of the time since then in which some process waited for a core (Documentation/accounting/psi.rst)."""

    def __init__(self):
        self.began, self.before = time.monotonic(), self.waited()

    @staticmethod
    def waited():
        try:
            some = pathlib.Path("/proc/pressure/cpu").read_text().splitlines()[0]
        except OSError:
            return 0  # a kernel that does not count it excuses nothing
        return int(some.rpartition("total=")[2]) / 1e6

    def excuses(self, why):
        """Whether what was judged may be looked at again: not on a machine that had a core for everybody. Said as a warning of pytest's."""
        share = (self.waited() - self.before) / (time.monotonic() - self.began)
        if share > BUSY:
            warnings.warn(f"looked at again, {share:.0%} of the time somebody waited for a core: {str(why)[:500]}", stacklevel=3)
        return share > BUSY


def undisturbed(look, judge):
    """What look() gave when judge() had nothing against it; on a busy machine looked at three times at most.

    For what is judged by ear, eye or pace: a process that another one kept from its core for a second or two tears what passes just
    then, and that is nobody's fault. What the engine itself breaks is broken in each of the looks.
    """
    for left in reversed(range(TRIES)):
        watch = Watch()
        seen = look()
        try:
            judge(seen)
            return seen
        except AssertionError as error:
            if not left or not watch.excuses(error):
                raise


@contextlib.contextmanager
def limited(process, seconds=120):
    """Whoever reads from the process inside reaches an end: one that is silent for so long is killed."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()


class Program:
    """A participant in its own process: tests/interop/participant.py, on our library or on the stock one.

    It prints one JSON object a line; wait("event") returns the next such line that fits.
    """

    SCRIPT = ROOT / "tests/interop/participant.py"

    def __init__(self, role, library, *args, netns=None, env=None, **options):
        environment = {k: v for k, v in os.environ.items() if k != "LIVEKIT_LIB_PATH"}
        environment["PYTHONUNBUFFERED"] = "1"
        if library_path(library):
            environment["LIVEKIT_LIB_PATH"] = library_path(library)
        environment.update(env or {})
        prefix = ["ip", "netns", "exec", netns] if netns else []
        command = [*prefix, sys.executable, str(self.SCRIPT), role, *map(str, args)]
        for key, value in options.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        self.start(f"{role} on {library}", command, environment)

    def start(self, name, command, environment=None):
        """Any program that speaks the line protocol of participant.py."""
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)
        self.lines, self.errors, self.taken, self.ended = [], [], set(), False
        self.changed = threading.Condition()
        self.pumps = [threading.Thread(target=self.pump, args=pair, daemon=True) for pair in
                      ((self.process.stdout, self.take), (self.process.stderr, self.errors.append))]
        for pump in self.pumps:
            pump.start()

    def pump(self, stream, take):
        for line in stream:
            take(line)
        with self.changed:
            self.ended = self.ended or stream is self.process.stdout
            self.changed.notify_all()

    def take(self, line):
        with self.changed:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.errors.append(line)
            self.changed.notify_all()

    def wait(self, event, seconds=30, **fields):
        """The oldest line of that event whose fields match and that no wait has returned before."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                for i, line in enumerate(self.lines):
                    if i not in self.taken and line.get("event") == event and all(
                            line.get(k) == v for k, v in fields.items()):
                        self.taken.add(i)
                        return line
                left, ended = end - time.monotonic(), self.ended
                if left <= 0 or ended:
                    raise TimeoutError(f"{self.name}: no {event} {fields} (exit {self.process.poll()}); saw "
                                       f"{[shortened(line) for line in self.lines[-12:]]}\n{''.join(self.errors[-40:])}")
                self.changed.wait(left)

    def events(self, event):
        return [line for line in self.lines if line.get("event") == event]

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command, event=None, seconds=30):
        """Says it and returns the line of that event (by default the one named as the order)."""
        word = command.split()[0]
        self.say(command)
        line = self.wait(event or word, seconds)
        self.wait("done", seconds, order=word)
        return line

    def stats(self, seconds=30):
        """get_stats of its track as {kind: [entry with all groups in one dictionary]}."""
        return by_kind(self.ask("stats", seconds=seconds)["stats"])

    def finish(self, seconds=30):
        """Asks it to leave and returns its exit status."""
        with contextlib.suppress(BrokenPipeError, OSError, ValueError):
            self.process.stdin.close()
        return self.process.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def shortened(line):
    return {k: v if len(str(v)) < 120 else "..." for k, v in line.items()}


def by_kind(stats):
    """[{kind: {group: {field: value}}}] as {kind: [{field: value}]}; id and timestamp are the entry's own."""
    kinds = {}
    for entry in stats:
        kind, groups = next(iter(entry.items()))
        flat = {}
        for name in sorted(groups, key=lambda group: group == "rtc"):
            flat.update(groups[name])
        kinds.setdefault(kind, []).append(flat)
    return kinds


# ---- sounds ---------------------------------------------------------------------------------------------------------

def speech(path=None, text="The quick brown fox jumps over the lazy dog. Every packet counts, and every packet is heard."):
    """A spoken message as mono 48 kHz int16 samples (made once by espeak-ng and sox)."""
    cached = ROOT / ".peers" / "speech.wav"
    if not cached.exists():
        with tempfile.TemporaryDirectory() as d:
            subprocess.run(["espeak-ng", "-s", "150", "-w", f"{d}/raw.wav", text], check=True)
            mine = cached.with_name(f"speech-{os.getpid()}.wav")  # whoever runs beside us sees all of it or nothing
            subprocess.run(["sox", f"{d}/raw.wav", "-r", str(RATE), "-c", "1", "-b", "16", mine, "norm", "-6"], check=True)
            os.replace(mine, cached)
    return read_wav(cached)


def read_wav(path):
    with wave.open(str(path)) as w:
        return np.frombuffer(w.readframes(w.getnframes()), dtype=np.int16)


def write_wav(path, samples, rate=RATE):
    with wave.open(str(path), "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(rate)
        w.writeframes(samples.astype(np.int16).tobytes())


SMOOTH = 40  # blocks of 10 ms


def lag(source, heard):
    """Samples by which heard is later, to some hundredths of a second: where the loudness of both fits best. (Waves themselves stop fitting
    after a few milliseconds of stretching, and of a message that is spoken three times any two are as good as any other.)"""
    block = RATE // 100
    a, b = (np.sqrt((x[:len(x) // block * block].reshape(-1, block) ** 2).mean(axis=1)) for x in (source, heard))
    if min(len(a), len(b)) >= SMOOTH:  # a busy machine may add or drop a quarter of a second in the middle: syllables and pauses still fit
        a, b = (np.convolve(x, np.ones(SMOOTH) / SMOOTH, "same") for x in (a, b))
    size = len(a) + len(b)
    if not len(a) or not len(b):
        return 0
    cross = np.fft.irfft(np.fft.rfft(b - b.mean(), size) * np.conj(np.fft.rfft(a - a.mean(), size)), size)
    best = int(np.argmax(cross))
    return block * (best if best < len(b) else best - size)


def compare(source, heard):
    """How well `heard` holds `source`: correlation after alignment, level difference, longest gap.

    Alignment is by windows of a quarter of a second, so that a jitter buffer may stretch between them; the
    correlation reported is the energy-weighted mean over windows, the worst one apart.
    """
    source, heard = source.astype(np.float64), heard.astype(np.float64)
    shift = lag(source, heard)
    window, reach = RATE // 4, RATE // 4
    rows, gap_samples, longest_gap = [], 0, 0
    for start in range(0, len(source) - window, window):
        s = source[start:start + window]
        energy = float(np.dot(s, s))
        if energy < window * 50.0 ** 2:
            continue
        at = start + shift
        lo, hi = max(0, at - reach), min(len(heard), at + window + reach)
        if hi - lo < window:
            rows.append((0.0, energy, 0.0))
            continue
        h = heard[lo:hi]
        n = 1 << int(np.ceil(np.log2(len(h) + window)))
        c = np.fft.irfft(np.fft.rfft(h, n) * np.conj(np.fft.rfft(s, n)), n)[:len(h) - window + 1]
        k = int(np.argmax(c))
        piece = h[k:k + window]
        power = float(np.dot(piece, piece))
        rows.append((float(c[k]) / np.sqrt(energy * power) if power else 0.0, energy, power))
        # A gap: 5 ms blocks that are silent where the source is loud.
        for b in range(0, window - 240, 240):
            loud = np.sqrt(np.mean(s[b:b + 240] ** 2)) > 300
            silent = np.sqrt(np.mean(piece[b:b + 240] ** 2)) < 10
            gap_samples = gap_samples + 240 if loud and silent else 0
            longest_gap = max(longest_gap, gap_samples)
    if not rows:
        return {"correlation": 0.0, "worst": 0.0, "level_db": -99.0, "gap_ms": 1e9}
    weights = np.array([e for _, e, _ in rows])
    values = np.array([c for c, _, _ in rows])
    powers = np.array([p for _, _, p in rows])
    level = 10 * np.log10(max(powers.sum(), 1e-9) / weights.sum())
    return {"correlation": float((values * weights).sum() / weights.sum()), "worst": float(values.min()),
            "level_db": float(level), "gap_ms": longest_gap * 1000 / RATE}


def is_heard(result):
    return result["correlation"] >= 0.9 and abs(result["level_db"]) <= 3 and result["gap_ms"] <= 60


def assert_heard(source, heard):
    result = compare(source, heard)
    assert is_heard(result), result
    return result


def written(path):
    """Samples of a recording that still goes on: what is behind its header, which is right only at the end."""
    data = path.read_bytes()[44:] if path.exists() else b""
    return np.frombuffer(data[:len(data) // 2 * 2], dtype=np.int16)


HALT = 3 * RATE  # samples by which somebody who stood still may move what comes after
TAIL = 3  # seconds that the last words are waited for


def until_heard(source, say, path, fresh=False):
    """say() says the message, and the recording (a fresh one each time, or one that goes on) holds the whole of it; or, on a busy machine,
    because of those who stood still meanwhile, of each third one of three times does.

    Silence, noise, another's words, holes, a wrong level and a message of which the same part is always missing fail.
    """
    missing, results = np.array_split(np.arange(len(source)), 3), []
    for _ in range(TRIES):
        watch, begin = Watch(), 0 if fresh else len(written(path))
        say()
        end = time.monotonic() + TAIL
        while not is_heard(result := compare(source, recording := written(path)[begin:])) and time.monotonic() < end:
            time.sleep(0.2)
        if is_heard(result):
            return
        missing = [third for third in missing if not is_heard(compare(source[third], recording[max(0, third[0] - HALT):]))]
        if not missing:
            return
        results.append(result)
        if not watch.excuses(result):
            break
    raise AssertionError(results)
