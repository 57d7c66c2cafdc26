#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything `make check` runs, one step after the other, with one closing line "N passed, N failed".

Each step is a command. If its output closes with counts of its own ("12 passed, 0 failed", meson's and pytest's
summaries), those are added up; otherwise the step counts as one. A step that exits non-zero without
counting a failure counts as one failure. Nothing is skipped silently.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = ".peers/venv/bin/python"
SIM = "build-checks/tests/sim/sim"


def interop(*names):
    return [PYTHON, "-m", "pytest", "-q", *[f"tests/interop/test_{name}.py" for name in names]]


# Vectors of what is built: a file without a handler is a failure there.
STRICT_VECTORS = ["demux/", "dtls/", "fixed/", "ice/", "rtcp/", "rtp/", "sctp/", "sdp/", "srtp/", "stun/", "jwt/", "payload/clips",
                  "payload/red", "payload/vp8", "livekit/proto"]
STEPS = [
    ("build product", ["tools/build.sh"]),
    ("build with checks", ["tools/build.sh", "checks"]),
    ("house", [PYTHON, "-m", "pytest", "-q", "tests/house", "tests/headers", "tests/abi"]),
    ("unit tests", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "--suite", "unit"]),
    ("simulator", [SIM, "--seeds", "5", "--jobs", "2"]),
    ("simulator, 1,000 storms", [SIM, "--scenario", "storm", "--seeds", "1000", "--jobs", "2", "--quiet"]),
    ("simulator, an hour of one call", [SIM, "--scenario", "long_call", "--seed", "1"]),
    *[("vectors " + name, ["build-checks/tests/vectors", "--strict", "--only", name, "tests/vectors/data"])
      for name in STRICT_VECTORS],
    ("allocation ladder", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "-t", "4", "--suite", "oom"]),
    ("allocation ladder of a session", [SIM, "--scenario", "ladder", "--seeds", "10", "--jobs", "2", "--quiet"]),
    ("fuzz", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "--suite", "fuzz"]),
    # Side by side what mostly waits for clocks and peers; alone what is judged by ear, eye or pace.
    ("interop, what is heard and seen", interop("audio", "data", "demo", "layers", "nat", "seed", "stats", "video")),
    [("ffi contract", [PYTHON, "-m", "pytest", "-q", "tests/ffi"]),
     ("interop, ways and refusals", interop("cli", "examples", "faults", "names", "ops", "reach", "room", "ways"))],
    ("interop, what breaks in a call", interop("faults_host", "faults_path", "return")),
    [("interop on lkc serve", ["env", "LK_INTEROP_SERVER=ours", *interop("seed", "audio", "data", "ops", "video")]),
     ("server", [PYTHON, "-m", "pytest", "-q", "tests/server"])],
    ("server of two loops", ["env", "LK_INTEROP_LOOPS=2", PYTHON, "-m", "pytest", "-q", "tests/server/test_people.py", "tests/server/test_admin.py",
                             "-k", "cut or calls or data_tracks or taken_away or rooms_are or participants_are or json"]),
    ("browser on lkc serve", ["env", "LK_INTEROP_SERVER=ours", PYTHON, "-m", "pytest", "-q", "tests/browser"]),
    ("browser", [PYTHON, "-m", "pytest", "-q", "tests/browser"]),
]
# What a sanitizer finds ends the process, and then the simulator names its seed. (meson says the same for what it runs.)
HALT = ["ASAN_OPTIONS=abort_on_error=1", "UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1"]
# What the long runs stand on. Each takes both cores.
NIGHTLY_BUILDS = [
    ("build with sanitizers", ["tools/build.sh", "asan"]),
    ("build with the thread sanitizer", ["tools/build.sh", "tsan"]),
    ("build for libFuzzer", ["tools/build.sh", "fuzz"]),
    ("build with planted bugs", ["tools/build.sh", "canary"]),
    ("coverage of the parsers", ["tools/coverage.py"]),
]


def nightly(night):
    """One core each, two at a time, the longest first. Nights differ: seeds go on where those of the night before ended."""
    first = str(night * 1000000)
    return [
        ("libFuzzer", ["tools/fuzz.sh", "hunt", "60", "--jobs", "1"]),
        ("simulator, many seeds", [SIM, "--first", first, "--seeds", "200", "--quiet"]),
        ("units under sanitizers", ["meson", "test", "-C", "build-asan", "--print-errorlogs", "-t", "8", "--num-processes", "1",
                                    "--suite", "unit", "--suite", "oom"]),
        ("simulator, 100,000 storms", [SIM, "--scenario", "storm", "--first", first, "--seeds", "100000", "--quiet"]),
        ("Python under sanitizers", ["tools/asan.sh"]),
        ("planted bugs are found", ["tools/canary.sh"]),
        ("abuse, all of it", [PYTHON, "tests/ffi/abuse.py", "--seed", str(night)]),
        ("a thousand calls", [PYTHON, "tests/ffi/endurance.py", "--cycles", "1000"]),
        ("threads", ["tools/tsan.sh"]),
        ("fuzz under sanitizers", ["meson", "test", "-C", "build-asan", "--print-errorlogs", "-t", "8", "--num-processes", "1",
                                   "--suite", "fuzz", "--test-args", f"--seed {night}"]),
        ("simulator under sanitizers", ["env", *HALT, "build-asan/tests/sim/sim", "--first", first, "--seeds", "2"]),
        ("analysers", ["tools/analyze.py"]),
        ("simulator, a day of one call", [SIM, "--scenario", "long_call", "--seed", first, "--span", "86400000"]),
        ("the Python SDK under valgrind", [PYTHON, "tests/ffi/memcheck.py"]),
    ]


def counts(output):
    """(passed, failed) that the step's own closing line names, or None."""
    meson = dict(re.findall(r"^(Ok|Fail|Timeout|Unexpected Pass|Expected Fail):\s+(\d+)", output, re.M))
    if "Ok" in meson:
        return int(meson["Ok"]), sum(int(meson.get(k, 0)) for k in ("Fail", "Timeout", "Unexpected Pass"))
    tail = output[-4000:]
    closing = re.findall(r"^(\d+) passed, (\d+) failed", tail, re.M)
    if closing:
        return tuple(map(int, closing[-1]))
    pytest = re.findall(r"^=*\s*((?:\d+ (?:passed|failed|error|errors|warnings?|skipped|deselected)(?:, )?)+) in ", tail, re.M)
    if pytest:
        named = {k.rstrip("s"): int(n) for n, k in re.findall(r"(\d+) (passed|failed|errors?|skipped)", pytest[-1])}
        # A skipped test is a missing peer: that is a failure here.
        return named.get("passed", 0), named.get("failed", 0) + named.get("error", 0) + named.get("skipped", 0)
    return None


def run_step(name, command):
    began = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", stdin=subprocess.DEVNULL)
    own = counts(result.stdout)
    passed, failed = own if own else ((1, 0) if result.returncode == 0 else (0, 1))
    if result.returncode != 0 and failed == 0:
        failed = 1
    seconds = time.monotonic() - began
    print(f"{'ok  ' if failed == 0 else 'FAIL'} {name}: {passed} passed, {failed} failed ({seconds:.0f} s)", flush=True)
    if failed:
        print(result.stdout[-8000:], flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nightly", action="store_true")
    parser.add_argument("--only", help="run the steps whose name contains this")
    parser.add_argument("--night", type=int, default=int(time.time() // 86400), help="its number: what the seeds are drawn from (today)")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    total = [0, 0]
    if options.nightly:
        print(f"night {options.night}: the same seeds again with tools/check.py --nightly --night {options.night}", flush=True)
    for entry in STEPS + ([*NIGHTLY_BUILDS, nightly(options.night)] if options.nightly else []):
        chosen = [step for step in (entry if isinstance(entry, list) else [entry]) if not options.only or options.only in step[0]]
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for counted in pool.map(lambda step: run_step(*step), chosen):
                total = [a + b for a, b in zip(total, counted)]
    print(f"{total[0]} passed, {total[1]} failed")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
