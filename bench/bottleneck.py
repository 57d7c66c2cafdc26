#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a subscriber sees when its path narrows and widens again: lkc serve and livekit-server, one after the other.

    bench/bottleneck.py [--rates 2000 500 2000] [--hold 30] [--runs 1]

A publisher (stock Python SDK, 1280x720 as simulcast) beside the server, a subscriber (the same) behind a link of its own, shaped
with `tc tbf` on the server's side. How long packets wait is what
an echo sees of the same queue. Needs root.
"""
import argparse
import contextlib
import os
import pathlib
import re
import socket
import struct
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))
import peers  # noqa: E402
import world  # noqa: E402

HERE, THERE = f"{world.PREFIX}{os.getpid()}-n", f"{world.PREFIX}{os.getpid()}-w"
ADDRESS = "10.79.0.1"
TOP_BPS = 1200000  # of the 1280x720 layer, at most; the others take about 150 and 450 kbit/s


@contextlib.contextmanager
def link():
    """Two namespaces and a link; gives set(kbit) for the way towards the subscriber."""
    world.sweep()
    try:
        for name in (HERE, THERE):
            world.ip("netns", "add", name)
            world.ip("-n", name, "link", "set", "lo", "up")
        world.ip("link", "add", "lkt-a", "netns", HERE, "type", "veth", "peer", "name", "lkt-b", "netns", THERE)
        for name, device, mine, other in ((HERE, "lkt-a", ADDRESS, "10.79.0.2"), (THERE, "lkt-b", "10.79.0.2", ADDRESS)):
            world.ip("-n", name, "addr", "add", f"{mine}/24", "dev", device)
            world.ip("-n", name, "link", "set", device, "up")
            world.ip("-n", name, "route", "add", "default", "via", other)

        def tc(*words):
            return subprocess.run(["ip", "netns", "exec", HERE, "tc", *words], check=True, capture_output=True, text=True).stdout

        def shape(kbit):
            tc("qdisc", "replace", "dev", "lkt-a", "root", "tbf", "rate", f"{kbit}kbit", "burst", "5kb", "latency", "400ms")

        def dropped():
            return int(re.search(r"dropped (\d+)", tc("-s", "qdisc", "show", "dev", "lkt-a"))[1])
        yield shape, dropped
    finally:
        for name in (HERE, THERE):
            subprocess.run(["ip", "netns", "del", name], check=False)


class Ping:
    """(when, milliseconds) of every echo: ten small packets a second through the queue, from two sockets of this process."""

    def __init__(self):
        self.seen, self.running = [], True

        def near():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((ADDRESS, 9))
            return s
        self.far = world.inside(THERE, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.near = world.inside(HERE, near)
        for work in (self.ask, self.echo, self.read):
            threading.Thread(target=work, daemon=True).start()

    def ask(self):
        while self.running:
            self.far.sendto(struct.pack("d", time.monotonic()), (ADDRESS, 9))
            time.sleep(0.1)

    def echo(self):
        while self.running:
            data, where = self.near.recvfrom(100)
            self.near.sendto(data, where)

    def read(self):
        while self.running:
            began = struct.unpack("d", self.far.recv(100))[0]
            self.seen.append((began, (time.monotonic() - began) * 1000))

    def within(self, first, last):
        return [ms for at, ms in self.seen if first <= at < last] or [0.0]


class Watch(threading.Thread):
    """The subscriber's statistics of the picture, five times a second."""

    def __init__(self, program):
        super().__init__(daemon=True)
        self.program, self.rows, self.running = program, [], True
        self.start()

    def run(self):
        while self.running:
            with contextlib.suppress(Exception):
                row = peers.by_kind(self.program.ask("picture_stats")["stats"])["inbound_rtp"][0]
                self.rows.append((time.monotonic(), row))
            time.sleep(0.2)

    def at(self, when):
        return max((r for r in self.rows if r[0] <= when), key=lambda r: r[0], default=self.rows[0])[1]

    def grown(self, name, first, last):
        return self.at(last)[name] - self.at(first)[name]

    def longest_still(self, first, last):
        """The longest time without a newly decoded picture, as far as looking five times a second tells."""
        longest, since, count = 0.0, first, None
        for at, row in self.rows:
            if not first <= at < last:
                continue
            if row["frames_decoded"] != count:
                since, count = at, row["frames_decoded"]
            longest = max(longest, at - since)
        return longest

    def width(self):
        return self.rows[-1][1].get("frame_width", 0) if self.rows else 0


def run(ours, rates, hold, verbose=False, back_max=60):
    with link() as (shape, dropped), peers.Server(address=ADDRESS, netns=HERE, ours=ours, log_level="debug" if verbose else "info") as server, \
            peers.Program("watch", "stock", server.url, peers.token("alice", "narrow"), netns=HERE) as alice, \
            peers.Program("watch", "stock", server.url, peers.token("bob", "narrow"), netns=THERE, picture="/dev/null") as bob:
        alice.wait("connected")
        bob.wait("connected")
        shape(rates[0])
        alice.ask(f"show layers {TOP_BPS}", "showing")
        bob.wait("track_subscribed", identity="alice")
        ping, watch = Ping(), None
        try:
            watch = Watch(bob)
            peers.wait_for(lambda: watch.width() == 1280, 60, "the highest layer")
            time.sleep(10)
            before = watch.rows[-1][0]
            high = watch.grown("bytes_received", before - 5, before) * 8 / 5000
            start = time.monotonic()
            lost_before = dropped()
            shape(rates[1])
            time.sleep(hold)
            widened = time.monotonic()
            lost_narrow = dropped() - lost_before
            shape(rates[2])
            peers.wait_for(lambda: watch.width() == 1280 or time.monotonic() > widened + back_max, back_max + 5, "an end")
            back = next((at for at, row in watch.rows if at > widened and row.get("frame_width") == 1280), None)
            time.sleep(8)
            end = time.monotonic()
        finally:
            if verbose:
                print(server.log_path.read_text(), file=sys.stderr)
            if watch:
                watch.running = False
            ping.running = False
        late = [at - start for at, ms in ping.seen if start < at < widened and ms > 100]
        lower = next((at for at, row in watch.rows if at > start and row.get("frame_width", 1280) < 1280), None)
        steady = start + 5
        return {"high layer, kbit/s": high,
                "until a lower layer is seen, s": (lower or widened) - start,
                "until nothing waits 100 ms for good, s": max(late, default=0.0),
                "round trip at the step, worst ms": max(ping.within(start, steady)),
                "round trip when narrow, mean ms": statistics.mean(ping.within(steady, widened)),
                "round trip when narrow, worst ms": max(ping.within(steady, widened)),
                "packets dropped when narrow": lost_narrow,
                "no new picture at the step, s": watch.longest_still(start, steady),
                "no new picture when narrow, s": watch.longest_still(steady, widened),
                "pictures a second when narrow": watch.grown("frames_decoded", steady, widened) / (widened - steady),
                "width when narrow": watch.at(widened - 1)["frame_width"],
                "until the high layer is back, s": (back or end) - widened,
                "no new picture when wide again, s": watch.longest_still(widened, end),
                "retransmitted kB": watch.grown("retransmitted_bytes_received", before, end) / 1000}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", type=int, nargs=3, default=[2000, 500, 2000], help="kbit/s")
    parser.add_argument("--hold", type=float, default=30)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "theirs"])
    parser.add_argument("--verbose", action="store_true", help="the server's log")
    options = parser.parse_args()
    columns = {}
    for number in range(options.runs):
        for ours in (True, False):
            if options.only and ours != (options.only == "ours"):
                continue
            result = run(ours, options.rates, options.hold, options.verbose)
            columns.setdefault("lkc serve" if ours else "livekit-server", []).append(result)
            print(f"run {number + 1} ours={ours}", {k: round(v, 2) for k, v in result.items()}, file=sys.stderr, flush=True)
    names = list(columns)
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for row in next(iter(columns.values()))[0]:
        print(f"| {row} | " + " | ".join(f"{statistics.median(r[row] for r in columns[n]):.1f}" for n in names) + " |")


if __name__ == "__main__":
    main()
