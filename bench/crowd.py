#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a server costs: lkc serve and livekit-server under the same crowd (bench/crowd.c), one after the other.

    bench/crowd.py [--window SECONDS] [LISTENERS ...]      the table of growth: audio of 3 to so many (default 1 10 100 300)
"""
import argparse
import os
import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))
import peers  # noqa: E402

CROWD = ROOT / "build/bench/bench_crowd"
SETTLE_SECONDS = 2


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid):
    return int(next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])


def measure(ours, publishers, listeners, kind="audio", window=10):
    """CPU and memory of a fresh server with so many participants in one room, all subscribed to everything."""
    with peers.Server(ours=ours, log_level="info") as server:
        pid = server.process.pid
        before = rss_kb(pid)
        tokens = [peers.token(f"p{i}", "crowd") for i in range(publishers)]
        tokens += [peers.token(f"l{i}", "crowd", can_publish=False) for i in range(listeners)]
        with subprocess.Popen([CROWD, server.url, str(publishers), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
            def ask(text):
                crowd.stdin.write(text + "\n")
                crowd.stdin.flush()
                line = crowd.stdout.readline().strip()
                if not line:
                    raise RuntimeError(f"bench_crowd ended with {crowd.wait()}")
                return line
            began = time.monotonic()
            ask("\n".join(tokens) + "\n")
            joined = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            first, busy, began = int(ask("count")), cpu_seconds(pid), time.monotonic()
            time.sleep(window)
            busy, seconds, packets = cpu_seconds(pid) - busy, time.monotonic() - began, int(ask("count")) - first
            crowd.stdin.close()
            after = rss_kb(pid)
        return {"cpu_percent": 100 * busy / seconds, "packets_per_second": packets / seconds, "join_all_ms": 1000 * joined,
                "cpu_per_1000": 100 * busy / packets * 1000 if packets else 0.0, "rss_kb": after,
                "rss_each_kb": (after - before) / (publishers + listeners)}


def start_ms(ours):
    """From the start of the process to the first request that a join begins with being let in."""
    began = time.monotonic()
    with peers.Server(ours=ours, log_level="info", wait=False) as server:
        path = f"GET /rtc/validate?access_token={peers.token('first')} HTTP/1.0\r\n\r\n".encode()
        while True:
            try:
                with socket.create_connection((server.address, server.port), 1) as s:
                    s.sendall(path)
                    if s.recv(64).split()[1:2] == [b"200"]:
                        return 1000 * (time.monotonic() - began)
            except OSError:
                time.sleep(0.001)
            if time.monotonic() - began > 30:
                raise RuntimeError("the server lets nobody in")


def size_kb(ours):
    return (ROOT / "build/lkc" if ours else peers.SERVER.resolve()).stat().st_size / 1024


def figures(ours, window):
    """Everything `make bench` shows of a server, by name."""
    values = {"start_ms": start_ms(ours), "size_kb": size_kb(ours)}
    values["rss_start"] = measure(ours, 0, 1, window=0.1)["rss_kb"]
    values["rss_idle"] = measure(ours, 0, 50, window=0.1)["rss_each_kb"]
    for name, publishers, listeners, kind in (("audio_20", 3, 20, "audio"), ("audio_100", 3, 100, "audio"), ("video_20", 1, 20, "video")):
        values[name] = measure(ours, publishers, listeners, kind, window)["cpu_per_1000"]
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listeners", nargs="*", type=int, default=[1, 10, 100, 300])
    parser.add_argument("--window", type=float, default=10)
    options = parser.parse_args()
    print("| server | listeners | packets/s | CPU, % of a core | us a packet | memory, kB | kB a participant | all joined, ms |")
    print("|---|---|---|---|---|---|---|---|")
    for listeners in options.listeners:
        for ours in (True, False):
            v = measure(ours, 3, listeners, window=options.window)
            print(f"| {'lkc serve' if ours else 'livekit-server'} | {listeners} | {v['packets_per_second']:.0f} | {v['cpu_percent']:.1f} | "
                  f"{10 * v['cpu_per_1000']:.1f} | {v['rss_kb']} | {v['rss_each_kb']:.0f} | {v['join_all_ms']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
