#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""analyze.py [gcc|tidy] [PATH...]: the static analysers over src/ and apps/, against what tools/analysis.txt keeps.

A line of that file is `checker | file | part of the message | reason`. A finding without a line fails, and so does a line
without a finding. Needs a configured build-checks/. Closing line "N passed, N failed": files without a new finding, and
new findings plus stale lines.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "tools/analysis.txt"
# Left out of bugprone-* and cert-*, each because it is no finding by itself.
WITHOUT = [
    "bugprone-easily-swappable-parameters",  # a matter of taste: most functions have two numbers
    "bugprone-narrowing-conversions", "cert-str34-c",  # gcc's -Wconversion decides
    "bugprone-branch-clone",  # two rows of a switch that do the same are two rows
    "bugprone-reserved-identifier", "cert-dcl37-c", "cert-dcl51-cpp",  # _GNU_SOURCE
    "bugprone-macro-parentheses",  # X-macros paste types and declarators
    "bugprone-implicit-widening-of-multiplication-result",  # constants
    "bugprone-assignment-in-if-condition",  # a loop's way of reading
    "cert-dcl03-c",  # static_assert needs a header in C17
    "cert-err33-c",  # results are ignored on purpose and visibly where they are: (void)
    "bugprone-sizeof-expression",  # lists of pointers are made of elements that are pointers
    "bugprone-suspicious-include",  # tables are .inc
]
CHECKS = "-*,bugprone-*,cert-*," + ",".join("-" + name for name in WITHOUT)
LINE = re.compile(r"^(?P<path>[^\s:][^:]*):\d+:\d+: (?:warning|error): (?P<message>.*?) \[(?P<checker>[-\w,.=+]+)\]$", re.M)


def units(wanted):
    """(file, flags) of every C file of ours."""
    seen = {}
    for c in json.loads((ROOT / "build-checks/compile_commands.json").read_text()):
        path = (pathlib.Path(c["directory"]) / c["file"]).resolve()
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        if not name.startswith(("src/", "apps/")) or not name.endswith(".c") or (wanted and not name.startswith(tuple(wanted))):
            continue
        flags = [f for f in shlex.split(c["command"]) if f.startswith(("-I", "-D", "-U", "-std", "-isystem"))]
        seen.setdefault(name, (c["directory"], flags))
    return seen


def gcc(name, directory, flags):
    return ["gcc", "-fanalyzer", "-O1", "-c", "-o", "/dev/null", *flags, str(ROOT / name)], directory


def tidy(name, directory, flags):
    return ["clang-tidy", "-quiet", "--checks=" + CHECKS, str(ROOT / name), "--", *flags, "-w"], directory


def findings(tool, name, directory, flags):
    command, where = (gcc if tool == "gcc" else tidy)(name, directory, flags)
    result = subprocess.run(command, cwd=where, capture_output=True, text=True)
    out = set()
    for m in LINE.finditer(result.stdout + result.stderr):
        path = pathlib.Path(where, m["path"]).resolve()
        if path.is_relative_to(ROOT) and "build" not in path.relative_to(ROOT).parts[0]:
            out.add((m["checker"].split(",")[0].removeprefix("-W").split("=")[0], str(path.relative_to(ROOT)), m["message"]))
    if result.returncode != 0 and not out:
        out.add((tool, name, "does not run: " + (result.stderr or result.stdout)[:300]))
    return out


def main(words):
    tools = [w for w in words if w in ("gcc", "tidy")] or ["gcc", "tidy"]
    files = units([w for w in words if w not in ("gcc", "tidy")])
    jobs = [(tool, name, *files[name]) for tool in tools for name in sorted(files)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = set().union(*pool.map(lambda job: findings(*job), jobs))
    lines = [line for line in KEPT.read_text().splitlines() if line.strip() and line[0] != "#"]
    kept = [tuple(part.strip() for part in line.split("|", 3)) for line in lines]
    new = sorted(f for f in found if not any(f[0] == k[0] and f[1] == k[1] and k[2] in f[2] for k in kept))
    mine = [k for k in kept if k[1] in files and ("gcc" if k[0].startswith("analyzer") else "tidy") in tools]
    stale = [k for k in mine if not any(f[0] == k[0] and f[1] == k[1] and k[2] in f[2] for f in found)]
    for checker, path, message in new:
        print(f"new: {checker} | {path} | {message}")
    for k in stale:
        print(f"no longer found: {' | '.join(k[:3])}")
    for k in mine:
        if len(k) < 4 or len(k[3]) < 10:
            print(f"no reason: {' | '.join(k)}")
            stale.append(k)
    print(f"{len(jobs) - len({f[1] for f in new})} passed, {len(new) + len(stale)} failed")
    return 1 if new or stale or not jobs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
