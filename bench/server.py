#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a room costs the server: `lkc serve` and livekit-server, the same load by bench_load, one after the other.

Per case and server: CPU time of the server's process while so many packets reached their receivers (counted by these), and
memory. Nothing is asserted. Clients run on the same machine: CPU time is counted, not wall time.

    bench/server.py [--window SECONDS] [--only CASE[,CASE]] [--servers ours,reference] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))
import peers  # noqa: E402

LOAD = ROOT / "build/bench/bench_load"
#       name: publishers, subscribers
CASES = {"idle_50": (0, 50), "voice_3x1": (3, 1), "voice_3x20": (3, 20), "voice_3x100": (3, 100), "voice_3x300": (3, 300)}


def cpu_sec(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def measure(ours, publishers, subscribers, window):
    with peers.Server(ours=ours, log_level="info") as server:
        pid = server.process.pid
        time.sleep(1)
        rss = rss_kb(pid)
        tokens = "".join(peers.token(f"p{i}", room="load", ttl_seconds=3600) + "\n" for i in range(publishers + subscribers))
        load = subprocess.Popen([str(LOAD), server.url, str(publishers), str(window)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        load.stdin.write(tokens)
        load.stdin.close()
        if load.stdout.readline().strip() != "ready":
            raise RuntimeError("the load did not come up")
        began, cpu = time.monotonic(), cpu_sec(pid)
        time.sleep(max(window - 0.5, 0.5))
        spent, took, memory = cpu_sec(pid) - cpu, time.monotonic() - began, rss_kb(pid)
        told = json.loads(load.stdout.readline())
        load.wait(60)
    rate = told["packets"] / told["seconds"]
    return {"cpu": spent / took, "packets_per_second": rate, "cpu_usec_per_packet": spent / took / rate * 1e6 if rate else None,
            "kb_per_participant": (memory - rss) / (publishers + subscribers), "rss_kb": memory, "rss_empty_kb": rss}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--window", type=float, default=10)
    options.add_argument("--only", default=",".join(CASES))
    options.add_argument("--servers", default="ours,reference")
    options.add_argument("--json")
    options = options.parse_args()
    found = {}
    for case in options.only.split(","):
        for server in options.servers.split(","):
            r = measure(server == "ours", *CASES[case], options.window)
            found.setdefault(case, {})[server] = r
            per = f"{r['cpu_usec_per_packet']:6.1f} us/packet" if r["cpu_usec_per_packet"] else " " * 16
            print(f"{case:14} {server:10} {r['packets_per_second']:9.0f} packets/s  {100 * r['cpu']:6.2f} % core  {per}  "
                  f"{r['kb_per_participant']:7.1f} kB each", flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
