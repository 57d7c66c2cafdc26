#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: our library and the stock one, figure by figure, in the same run, with the same options.

Each case (bench/cases.py) runs in a fresh process on the public Python SDK against one real livekit-server on loopback,
on either engine in turn, the order changing from run to run; the idle rooms of both stand side by side in the same
minutes, because that is what takes long. The table shows the median and the spread (min..max) of the runs of either,
ours as a part of stock's, and the goal; `>` marks a goal that was missed. Nothing is asserted: the exit status says only
whether every case could be measured. What budgets predict by addition stands below, beside what was measured.
bench_alloc (bench/alloc.c, part of build-checks) counts allocations of the cores in steady work, bench_data (bench/data.c) sends
messages through the C API.

    bench/bench.py [--runs N] [--settle SECONDS] [--window SECONDS] [--only CASE[,CASE]] [--json FILE] [--list]

A quick look: bench/bench.py --runs 1 --settle 10 --window 10. The machine should have nothing else to do.
"""
import argparse
import collections
import contextlib
import datetime
import json
import os
import pathlib
import platform
import queue
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))
import crowd  # noqa: E402
import peers  # noqa: E402

LIBRARIES = ("stock", "ours")
Figure = collections.namedtuple("Figure", "case key label unit digits goal limit", defaults=("", None))

# goal: "ratio" ours / stock at most limit; "gain" ours / stock at least limit; "most" ours at most limit; "least" ours at
# least limit; "same" ours exactly limit; "spread" ours not above the highest of stock's; "not below" stock's; "" no goal
FIGURES = [
    Figure("idle", "rss_room", "memory of a room, (RSS 21 - RSS 1) / 20", "kB", 1, "ratio", 0.30),
    Figure("idle", "rss_1", "memory of the process with 1 room", "kB", 0),
    Figure("idle", "rss_many", "memory of the process with 21 rooms", "kB", 0),
    Figure("idle", "cpu_1", "CPU, 1 idle room", "% core", 3, "ratio", 0.10),
    Figure("idle", "cpu_many", "CPU, 20 idle rooms", "% core", 3, "ratio", 0.10),
    Figure("idle", "threads_1", "threads, 1 room", "", 0, "most", 8),
    Figure("idle", "threads_many", "threads, 21 rooms", "", 0, "most", 8),
    Figure("resolver", "threads", "threads, 20 joins, mute resolver", "", 0, "most", 8),
    Figure("join", "median_ms", "join, median", "ms", 1, "ratio", 0.5),
    Figure("join", "first_ms", "join, first of a process", "ms", 1),
    Figure("publish", "get_stats_ms", "get_stats of a track", "ms", 3, "ratio", 0.7),
    Figure("publish", "cpu", "CPU, one voice published through Python", "% core", 3, "ratio", 0.75),
    Figure("audio_latency", "median_ms", "audio, one way, source paced", "ms", 1, "ratio", 0.7),
    Figure("load", "size_kb", "size of the library", "kB", 0, "most", 2048),
    Figure("load", "exports", "exported symbols", "", 0, "same", 4),
    Figure("load", "threads", "dlopen: threads", "", 0, "same", 0),
    Figure("load", "descriptors", "dlopen: descriptors", "", 0, "same", 0),
    Figure("load", "rss_kb", "dlopen: memory", "kB", 0, "most", 6144),
    Figure("alloc", "per_packet", "allocations per RTP packet, cores", "", 4, "same", 0),
    Figure("alloc", "per_frame", "allocations per audio frame, cores", "", 4, "same", 0),
    Figure("alloc", "all_per_packet", "the same with libraries: ICE checks' HMAC", "", 4),
    Figure("video", "cpu", "CPU, 720p30 VP8 out and in", "% core", 1, "spread"),
    Figure("video", "psnr_db", "luma PSNR of that", "dB", 2, "not below"),
    Figure("video", "kbps", "bitrate of that", "kbit/s", 0),
    Figure("video", "fps", "frames seen of that", "1/s", 1),
    Figure("video", "whole_percent", "of them in full size", "%", 0),
    Figure("video", "first_frame_ms", "first frame after publish", "ms", 0, "ratio", 0.7),
    Figure("data", "per_second", "reliable 1 kB messages, Python", "1/s", 0, "gain", 2.0),
    Figure("data", "latency_ms", "reliable 1 kB message, one way", "ms", 3, "ratio", 0.7),
    Figure("data_c", "per_second", "reliable 1 kB messages, C API", "1/s", 0, "least", 10000),
    Figure("data_c", "latency_ms", "the same, one way", "ms", 3),
    Figure("room_memory", "rss_mb", "memory, fresh room, 2 tracks each way", "MB", 1, "ratio", 0.5),
    Figure("server", "audio_20", "lkc serve: CPU per 1,000 packets/s, audio 3 x 20", "% core", 2, "ratio", 0.4),
    Figure("server", "audio_100", "lkc serve: the same, audio 3 x 100", "% core", 2, "ratio", 0.4),
    Figure("server", "video_20", "lkc serve: the same, 720p simulcast 1 x 20", "% core", 2, "ratio", 0.4),
    Figure("server", "rss_idle", "lkc serve: memory of an idle participant", "kB", 0, "ratio", 0.15),
    Figure("server", "rss_start", "lkc serve: memory with one participant", "kB", 0),
    Figure("server", "start_ms", "lkc serve: start to first accepted join", "ms", 1, "most", 50),
    Figure("server", "size_kb", "lkc: size of the program", "kB", 0, "most", 5120),
]

# What budgets predict of an idle room, kB: parts of one peer connection or one room, each measured alone.
PREDICTED_RSS_KB = [("DTLS 1.2, tuned, 1 connection", 45.4), ("SRTP on EVP, two directions", 5.0),
                    ("WebSocket, plain", 5.3)]
PREDICTED_SCTP_KB = 10.4
# Microseconds that a datagram costs the system: one sent by sendmmsg, one received. A ping of the WebSocket, out and
# in every PING_SECONDS, is taken to cost as much.
SEND_USEC, RECEIVE_USEC, PING_SECONDS = 3.1, 1.06, 5


class Child:
    """cases.py in a process of its own; its lines come through a queue."""

    def __init__(self, case, library, options, prefix=()):
        env = {k: v for k, v in os.environ.items() if k != "LIVEKIT_LIB_PATH"}
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        path = peers.library_path(library)
        if path:
            env["LIVEKIT_LIB_PATH"] = path
        env["BENCH_LIBRARY"] = path or stock_library()
        self.name = f"{case} on {library}"
        self.process = subprocess.Popen([*prefix, *ordinary_user(), sys.executable, str(ROOT / "bench/cases.py"), case, json.dumps(options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=env)
        self.lines, self.errors = queue.Queue(), collections.deque(maxlen=30)
        threading.Thread(target=self.pump, daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def pump(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.lines.put(json.loads(line))
        self.lines.put({"event": "ended"})

    def wait(self, event, seconds=300):
        """The next line of that event; one that ends the case instead is raised."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise Failed(f"{self.name}: no {event} in {seconds} s") from None
            if line["event"] == event:
                return line
            if line["event"] == "not_built":
                raise NotBuilt(line["text"])
            if line["event"] == "ended":
                self.process.wait()
                raise Failed(f"{self.name} ended with {self.process.returncode}: {' '.join(''.join(self.errors).split())[-400:]}")

    def values(self, seconds=300):
        line = self.wait("values", seconds)
        self.process.wait(30)
        return {k: v for k, v in line.items() if k != "event"}

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Failed(Exception):
    pass


class NotBuilt(Exception):
    pass


def ordinary_user():
    """Root may give its threads real-time scheduling, which one engine asks for and nearly nobody runs it with: on a
    machine with other work that would decide the figures."""
    return ["setpriv", "--bounding-set", "-sys_nice"] if os.geteuid() == 0 else []


def stock_library():
    """Where the SDK keeps its own, found without loading it."""
    found = list((ROOT / ".peers/venv").glob("lib/python3*/site-packages/livekit/rtc/resources/liblivekit_ffi.so"))
    return str(found[0])


class Bench:
    def __init__(self, options):
        self.options = options
        self.results = {(f.case, library): [] for f in FIGURES for library in LIBRARIES}
        self.notes = {}  # (case, library) -> why there is no value

    def child_options(self, server, *identities, unique=None):
        """What a child must know; identities are (room, participant), and a room's name is its own in every call."""
        o, unique = self.options, unique or time.monotonic_ns()
        tokens = {f"{room}/{who}": peers.token(who, room=f"{room}-{unique}", ttl_seconds=3600) for room, who in identities}
        return {"url": server.url, "tokens": tokens, "settle": o.settle, "window": o.window, "rooms": 20, "joins": 20,
                "resolver_seconds": 6, "media_window": min(15, o.window), "warm": min(3, o.settle),
                "video_warm": min(10, o.settle), "get_stats": 200, "bursts": 30 if o.window >= 20 else 12, "messages": 2000}

    def note(self, case, library, error):
        kind = "not built yet" if isinstance(error, NotBuilt) else "failed"
        self.notes[case, library] = f"{kind}: {error}"
        print(f"bench: {case} on {library}: {kind}: {error}", flush=True)

    def run_each(self, case, server, order, identities=(), prefix=()):
        for library in order:
            try:
                with Child(case, library, self.child_options(server, *identities), prefix) as child:
                    self.keep(case, library, child.values())
            except (Failed, NotBuilt) as error:
                self.note(case, library, error)

    def keep(self, case, library, values):
        self.results[case, library].append(values)
        print(f"bench: {case} on {library}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()), flush=True)

    def case_load(self, server, order):
        self.run_each("load", server, order)

    def case_join(self, server, order):
        self.run_each("join", server, order, [(f"join{i}", "a") for i in range(21)])

    def case_publish(self, server, order):
        self.run_each("publish", server, order, [("publish", "a")])

    def case_audio_latency(self, server, order):
        self.run_each("audio_latency", server, order, [("latency", "a"), ("latency", "b")])

    def case_video(self, server, order):
        self.run_each("video", server, order, [("video", "a"), ("video", "b")])

    def case_data(self, server, order):
        self.run_each("data", server, order, [("data", "a"), ("data", "b")])

    def case_resolver(self, server, order):
        """Namespaces give the case its own resolv.conf and its own port 53, root or not."""
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.run_each("resolver", server, order, prefix=["unshare", *user, "--net", "--mount"])

    def case_idle(self, server, order):
        """Both engines stand idle in the same minutes; while one joins, the other one is in its settling time."""
        identities = [(f"idle{i}", "a") for i in range(21)]
        patience = self.options.settle + self.options.window + 120
        with contextlib.ExitStack() as stack:
            children = {library: stack.enter_context(Child("idle", library, self.child_options(server, *identities)))
                        for library in order}
            live = dict(children)

            def each(step):
                for library, child in list(live.items()):
                    try:
                        step(library, child)
                    except (Failed, NotBuilt) as error:
                        self.note("idle", library, error)
                        del live[library]

            def join(_, child):
                child.go()
                child.wait("joined", patience)
            each(join)
            each(lambda _, child: child.wait("waits", patience))
            each(join)

            def finish(library, child):
                values = child.values(patience)
                if values["disconnected"]:
                    raise Failed(f"{values['disconnected']} rooms were lost on the way")
                self.keep("idle", library, values)
            each(finish)

    def case_room_memory(self, server, order):
        for library in order:
            unique = time.monotonic_ns()
            try:
                with contextlib.ExitStack() as stack:
                    pair = []
                    for who in ("a", "b"):
                        options = self.child_options(server, ("memory", who), unique=unique)
                        pair.append(stack.enter_context(Child("room_memory", library, {**options, "identity": who})))
                    for child in pair:
                        child.wait("measured")
                    for child in pair:
                        child.go()
                    values = [child.values() for child in pair]
                    self.keep("room_memory", library, {k: statistics.mean(v[k] for v in values) for k in values[0]})
            except (Failed, NotBuilt) as error:
                self.note("room_memory", library, error)

    def case_alloc(self, _, order):
        if self.results["alloc", "ours"]:
            return  # virtual time and one seed: a second run says the same
        out = subprocess.run([ROOT / "build-checks/bench/bench_alloc"], capture_output=True, text=True)
        if out.returncode:
            self.note("alloc", "ours", Failed(out.stdout + out.stderr))
        else:
            self.keep("alloc", "ours", json.loads(out.stdout))

    def case_data_c(self, server, _):
        tokens = self.child_options(server, ("data_c", "a"), ("data_c", "b"))["tokens"].values()
        try:
            out = subprocess.run([ROOT / "build/bench/bench_data", server.url, *tokens], capture_output=True, text=True,
                                 timeout=120)
        except subprocess.TimeoutExpired:
            self.note("data_c", "ours", Failed("not through in 120 s"))
            return
        if out.returncode:
            self.note("data_c", "ours", Failed(out.stderr[-400:]))
        else:
            self.keep("data_c", "ours", json.loads(out.stdout))

    def case_server(self, _, order):
        """Here stock is livekit-server and ours lkc serve."""
        for library in order:
            try:
                self.keep("server", library, crowd.figures(library == "ours", self.options.window))
            except RuntimeError as error:
                self.note("server", library, Failed(str(error)))

    def run(self, cases):
        with peers.Server() as server:
            for i in range(self.options.runs):
                order = LIBRARIES if i % 2 == 0 else LIBRARIES[::-1]
                for case in cases:
                    print(f"bench: run {i + 1} of {self.options.runs}, {case}", flush=True)
                    getattr(self, "case_" + case)(server, order)

    # ---- the table ---------------------------------------------------------------------------------------------------

    def numbers(self, figure, library):
        return [v[figure.key] for v in self.results[figure.case, library] if figure.key in v]

    def show(self, figure, library):
        values = self.numbers(figure, library)
        if not values:
            note = self.notes.get((figure.case, library), "")
            return note.partition(":")[0] or "-"
        text = [f"{v:.{figure.digits}f}" for v in (statistics.median(values), min(values), max(values))]
        return text[0] if text[1] == text[2] else f"{text[0]} ({text[1]}..{text[2]})"

    def judge(self, figure):
        """(ratio, goal, missed)"""
        ours, stock = self.numbers(figure, "ours"), self.numbers(figure, "stock")
        mine, theirs = (statistics.median(v) if v else None for v in (ours, stock))
        ratio = mine / theirs if mine is not None and theirs else None
        limit = figure.limit
        goal, missed = {
            "": ("", lambda: False),
            "ratio": (f"<= {limit} x", lambda: ratio > limit),
            "gain": (f">= {limit} x", lambda: ratio < limit),
            "most": (f"<= {limit}", lambda: mine > limit),
            "least": (f">= {limit}", lambda: mine < limit),
            "same": (f"= {limit}", lambda: mine != limit),
            "spread": ("<= its max", lambda: mine > max(stock)),
            "not below": (">= 1 x", lambda: mine < theirs),
        }[figure.goal]
        needs = ratio if figure.goal in ("ratio", "gain", "spread", "not below") else mine
        return ratio, goal, needs is not None and missed()

    def table(self, cases):
        rows = [("", "figure", "unit", "stock", "ours", "ratio", "goal")]
        for figure in FIGURES:
            if figure.case in cases:
                ratio, goal, missed = self.judge(figure)
                shown = f"{ratio:.3f}" if ratio is not None and figure.goal != "same" else ""
                rows.append((">" if missed else "", figure.label, figure.unit, self.show(figure, "stock"),
                             self.show(figure, "ours"), shown, goal))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())

    def prediction(self):
        mine = self.results["idle", "ours"]
        if not mine:
            return
        rss, cpu, many, out, back = (statistics.median(v[k] for v in mine)
                                     for k in ("rss_room", "cpu_1", "cpu_many", "checks_out", "checks_in"))
        print("\npredicted by addition, beside what was measured of an idle room of ours:")
        for name, kb in PREDICTED_RSS_KB:
            print(f"  {name:<48}{kb:>8.1f} kB")
        total = sum(kb for _, kb in PREDICTED_RSS_KB)
        print(f"  {'sum, without room, ICE, signalling':<48}{total:>8.1f} kB      measured {rss:.1f} kB")
        print(f"  {'sum with an SCTP association for data channels':<48}{total + PREDICTED_SCTP_KB:>8.1f} kB")
        usec = (out + 1 / PING_SECONDS) * SEND_USEC + (back + 1 / PING_SECONDS) * RECEIVE_USEC
        checks = f"system calls of {out:.2f} checks/s out, {back:.2f} in, pings"
        print(f"  {checks:<48}{usec / 1e4:>8.4f} % core  measured {cpu:.4f} (1 room), {many / 20:.4f} (each of 20)")

    def json(self):
        figures = []
        for figure in FIGURES:
            ratio, goal, missed = self.judge(figure)
            figures.append({**figure._asdict(), "ratio": ratio, "goal": goal, "missed": missed,
                            **{library: self.numbers(figure, library) for library in LIBRARIES}})
        return {"machine": machine(), "options": vars(self.options), "figures": figures,
                "notes": {f"{case} on {library}": text for (case, library), text in self.notes.items()},
                "runs": {f"{case} on {library}": values for (case, library), values in self.results.items() if values}}


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.partition(":")[2].strip() for line in f if line.startswith("model name")), platform.machine())
    return (f"{os.cpu_count()} x {model}, Linux {platform.release()}, load before {os.getloadavg()[0]:.2f}, "
            f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--settle", type=float, default=60, help="seconds until memory is read")
    parser.add_argument("--window", type=float, default=60, help="seconds over which CPU is taken, 15 at most with media")
    parser.add_argument("--only", help="names of cases, with commas")
    parser.add_argument("--json", type=pathlib.Path, help="leave every number there")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    options = parser.parse_args()
    cases = list(dict.fromkeys(f.case for f in FIGURES))
    if options.list:
        print("\n".join(cases))
        return 0
    if options.only:
        unknown = set(options.only.split(",")) - set(cases)
        if unknown:
            parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
        cases = [c for c in cases if c in options.only.split(",")]
    if "alloc" in cases:
        subprocess.run([ROOT / "tools/build.sh", "checks"], check=True)
    bench, what = Bench(options), machine()
    bench.run(cases)
    print(f"\n{what}; {options.runs} runs, settled {options.settle:g} s, CPU over {options.window:g} s")
    bench.table(cases)
    bench.prediction()
    if options.json:
        options.json.write_text(json.dumps({**bench.json(), "machine": what}, indent=1, default=str) + "\n")
    for (case, library), text in bench.notes.items():
        print(f"{case} on {library}: {text}")
    return any(text.startswith("failed") for text in bench.notes.values())


if __name__ == "__main__":
    sys.exit(main())
