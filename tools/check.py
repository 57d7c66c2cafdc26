#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything `make check` runs, with one closing line "N passed, N failed".

Each step is a command. If its output closes with counts of its own ("12 passed, 0 failed", meson's and pytest's
summaries), those are added up; otherwise the step counts as one. A step that exits non-zero without
counting a failure counts as one failure. Nothing is skipped silently.

Steps start in the order of the list. Each says what part of the machine is its own, and starts once so much is free: what takes
all of it runs alone, what mostly waits for clocks and peers runs beside others. Ports and network namespaces are each process's
own by construction (tests/interop/peers.py, world.py).
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = ".peers/venv/bin/python"
SIM = "build-checks/tests/sim/sim"
ALL = 1 << 30  # whatever there is


class Step(typing.NamedTuple):
    name: str
    command: list
    percent: int = ALL  # of one core, kept free for it


def tests(*paths):
    return [PYTHON, "-m", "pytest", "-q", *[f"tests/{path}" for path in paths]]


def interop(*names):
    return tests(*[f"interop/test_{name}.py" for name in names])


ON_OURS = ["env", "LK_INTEROP_SERVER=ours"]
FFI_APART = ["ffi/test_abuse.py", "ffi/test_endurance.py"]  # a step of their own

# Vectors of what is built: a file without a handler is a failure there.
STRICT_VECTORS = ["demux/", "dtls/", "fixed/", "ice/", "rtcp/", "rtp/", "sctp/", "sdp/", "srtp/", "stun/", "jwt/", "payload/clips",
                  "payload/red", "payload/vp8", "payload/vp9", "payload/dependency", "livekit/proto"]
STEPS = [
    Step("build product", ["tools/build.sh"]),
    Step("build with checks", ["tools/build.sh", "checks"]),
    Step("house", tests("house", "headers", "abi")),
    Step("unit tests", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "--suite", "unit"]),
    Step("simulator", [SIM, "--seeds", "5", "--jobs", "2", "--quiet"]),
    Step("simulator, 1,000 storms", [SIM, "--scenario", "storm", "--seeds", "1000", "--jobs", "2", "--quiet"]),
    Step("allocation ladder", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "-t", "4", "--suite", "oom"]),
    Step("allocation ladder of a session", [SIM, "--scenario", "ladder", "--seeds", "10", "--jobs", "2", "--quiet"]),
    Step("fuzz", ["meson", "test", "-C", "build-checks", "--print-errorlogs", "--suite", "fuzz"]),
    Step("simulator, an hour of one call", [SIM, "--scenario", "long_call", "--seed", "1"], 100),
    *[Step("vectors " + name, ["build-checks/tests/vectors", "--strict", "--only", name, "tests/vectors/data"], 100)
      for name in STRICT_VECTORS],
    Step("interop, junk beside a call", interop("faults_path") + ["-k", "junk"]),
    Step("interop, the demo", interop("demo")),
    # From here on it is clocks and peers that are waited for. A part is about twice what was measured over the whole step, so that half
    # of the machine stays free for who is judged by eye, ear or pace; of two browsers one waits. The order leaves few holes.
    Step("interop, refusals and names", interop("faults", "names", "reach"), 30),
    Step("browser on lkc serve", ON_OURS + tests("browser"), 150),
    Step("ffi contract", tests("ffi") + [f"--ignore=tests/{file}" for file in FFI_APART], 50),
    Step("interop, pictures", interop("layers", "video"), 110),
    Step("interop, what the machine refuses", interop("faults_host"), 30),
    Step("server of two loops", ["env", "LK_INTEROP_LOOPS=2", *tests("server/test_people.py", "server/test_admin.py"),
                                 "-k", "cut or calls or data_tracks or taken_away or rooms_are or participants_are or json"], 50),
    Step("interop, statistics", interop("stats"), 60),
    Step("interop, sound", interop("audio", "nat", "seed"), 110),
    Step("interop on lkc serve", ON_OURS + interop("seed", "audio", "data", "ops", "video"), 110),
    Step("server", tests("server"), 70),
    Step("ffi contract, abuse and endurance", tests(*FFI_APART), 60),
    Step("interop, data", interop("data"), 70),
    Step("page", tests("page"), 130),
    Step("browser", tests("browser/test_browser.py"), 150),
    Step("interop, what the path does", interop("faults_path", "return") + ["-k", "not junk"], 40),
    Step("interop, rooms and ways", interop("cli", "examples", "ops", "room", "ways"), 80),
]
# What a sanitizer finds ends the process, and then the simulator names its seed. (meson says the same for what it runs.)
HALT = ["ASAN_OPTIONS=abort_on_error=1", "UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1"]
# What the long runs stand on. Each takes both cores.
NIGHTLY_BUILDS = [
    Step("build with sanitizers", ["tools/build.sh", "asan"]),
    Step("build with the thread sanitizer", ["tools/build.sh", "tsan"]),
    Step("build for libFuzzer", ["tools/build.sh", "fuzz"]),
    Step("build with planted bugs", ["tools/build.sh", "canary"]),
    Step("coverage of the parsers", ["tools/coverage.py"]),
]


def nightly(night):
    """A core each or a part of one, the longest first. Nights differ: seeds go on where those of the night before ended."""
    first = str(night * 1000000)
    return [
        Step("browser, codecs and layers", tests("browser/test_codecs.py", "browser/test_layers_inside.py"), 150),
        Step("libFuzzer", ["tools/fuzz.sh", "hunt", "60", "--jobs", "1"], 100),
        Step("simulator, many seeds", [SIM, "--first", first, "--seeds", "100", "--quiet"], 100),
        Step("units under sanitizers", ["meson", "test", "-C", "build-asan", "--print-errorlogs", "-t", "8", "--num-processes", "1",
                                        "--suite", "unit", "--suite", "oom"], 100),
        Step("simulator, 100,000 storms", [SIM, "--scenario", "storm", "--first", first, "--seeds", "100000", "--quiet"], 100),
        Step("Python under sanitizers", ["tools/asan.sh"], 60),
        Step("planted bugs are found", ["tools/canary.sh"], 100),
        Step("abuse, all of it", [PYTHON, "tests/ffi/abuse.py", "--seed", str(night)], 100),
        Step("a thousand calls", [PYTHON, "tests/ffi/endurance.py", "--cycles", "1000"], 60),
        Step("threads", ["tools/tsan.sh"], 40),
        Step("fuzz under sanitizers", ["meson", "test", "-C", "build-asan", "--print-errorlogs", "-t", "8", "--num-processes", "1",
                                       "--suite", "fuzz", "--logbase", "fuzzlog", f"--test-args=--seed {night}"], 100),
        Step("simulator under sanitizers", ["env", *HALT, "build-asan/tests/sim/sim", "--first", first, "--seeds", "2"], 100),
        Step("analysers", ["tools/analyze.py"], 100),
        Step("simulator, a day of one call", [SIM, "--scenario", "long_call", "--seed", first, "--span", "86400000"], 100),
        Step("the Python SDK under valgrind", [PYTHON, "tests/ffi/memcheck.py"], 100),
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


def named_failures(output):
    """The lines in which a runner says which of its tests failed, or how the output ended if none does."""
    lines = output.splitlines()
    return [line for line in lines if re.match(r"FAILED |ERROR |FAIL |\s*\d+/\d+ .*(FAIL|TIMEOUT)", line)][:20] or lines[-5:]


def run_step(step):
    began = time.monotonic()
    process = subprocess.Popen(step.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", stdin=subprocess.DEVNULL)
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    own = counts(output)
    passed, failed = own if own else ((1, 0) if process.returncode == 0 else (0, 1))
    if process.returncode != 0 and failed == 0:
        failed = 1
    seconds, busy = time.monotonic() - began, used.ru_utime + used.ru_stime
    again = output.count("looked at again, ")  # each is a warning of pytest's
    said = (f"{'ok  ' if failed == 0 else 'FAIL'} {step.name}: {passed} passed, {failed} failed ({seconds:.0f} s, {busy:.0f} s of CPU"
            f"{f', {again} times looked at again' if again else ''})")
    print(said + ("\n" + output[-8000:] if failed else ""), flush=True)
    return passed, failed, [said, *named_failures(output)] if failed else []


def run_all(steps, percent):
    """(passed, failed, what failed) of them all, on a machine of so many percent of a core; each starts once its part is free."""
    room, free = threading.Condition(), percent

    def run(step, part):
        nonlocal free
        try:
            return run_step(step)
        finally:
            with room:
                free += part
                room.notify()

    with concurrent.futures.ThreadPoolExecutor(len(steps) or 1) as pool:
        running = []
        for step in steps:
            part = min(step.percent, percent)
            with room:
                room.wait_for(lambda: free >= part)
                free -= part
            running.append(pool.submit(run, step, part))
        counted = [one.result() for one in running]
    return sum(one[0] for one in counted), sum(one[1] for one in counted), [line for one in counted for line in one[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nightly", action="store_true")
    parser.add_argument("--night", type=int, default=int(time.time() // 86400), help="its number: what the seeds are drawn from (today)")
    parser.add_argument("--only", help="run the steps whose name contains this")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    began = time.monotonic()
    steps = STEPS
    if options.nightly:
        print(f"night {options.night}: the same seeds again with tools/check.py --nightly --night {options.night}", flush=True)
        steps = STEPS + NIGHTLY_BUILDS + nightly(options.night)
    chosen = [step for step in steps if not options.only or options.only in step.name]
    passed, failed, what = run_all(chosen, 100 * (os.cpu_count() or 1))
    for line in what:  # once more, where the end of a long log shows it
        print(line)
    print(f"after {time.monotonic() - began:.0f} s:\n{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
