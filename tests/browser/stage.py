# SPDX-License-Identifier: Apache-2.0
"""The programs of a browser test, Chromium and its partner, and what is asked of either."""
import json
import pathlib
import selectors
import socket
import sys
import threading
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import peers  # noqa: E402


class Partner(peers.Program):
    """partner.py: the Python SDK with instruments."""
    SCRIPT = pathlib.Path(__file__).with_name("partner.py")


class Chromium(peers.Program):
    """driver.mjs: one browser, one page at a time."""

    def __init__(self, wav):
        self.start("chromium", ["node", str(pathlib.Path(__file__).with_name("driver.mjs")), "--wav", str(wav)])
        self.wait("ready", 60)

    def open(self):
        """A fresh page; what the one before told is forgotten."""
        with self.changed:
            self.began = len(self.lines)
            self.taken.update(range(self.began))
        self.say("open")
        self.wait("opened", 60)

    def events(self, event):
        return [line for line in self.lines[self.began:] if line.get("event") == event]


class Narrow:
    """A way to the server's media port that carries `bps` towards whoever comes through it (None: all); what would wait longer
    than QUEUE seconds is lost."""
    QUEUE = 0.3

    def __init__(self, server_port):
        self.bps, self.free, self.waiting = None, 0.0, []  # waiting: (when, datagram, to)
        self.server = ("127.0.0.1", server_port)
        self.front = self.bound()
        self.port = self.front.getsockname()[1]
        self.backs, self.selector, self.running = {}, selectors.DefaultSelector(), True
        self.selector.register(self.front, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, daemon=True)

    @staticmethod
    def bound():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        s.setblocking(False)
        return s

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.running = False
        self.thread.join()
        for s in (self.front, *self.backs.values()):
            s.close()

    def run(self):
        while self.running:
            wait = min(0.05, max(0, self.waiting[0][0] - time.monotonic())) if self.waiting else 0.05
            for key, _ in self.selector.select(wait):
                data, sender = key.fileobj.recvfrom(2048)
                if key.data is None:
                    self.back_of(sender).sendto(data, self.server)
                else:
                    self.put(data, key.data)
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                _, data, to = self.waiting.pop(0)
                self.front.sendto(data, to)

    def back_of(self, sender):
        if sender not in self.backs:
            self.backs[sender] = self.bound()
            self.selector.register(self.backs[sender], selectors.EVENT_READ, sender)
        return self.backs[sender]

    def put(self, data, to):
        now = time.monotonic()
        at = max(now, self.free) + (len(data) + 28) * 8 / self.bps if self.bps else max(now, self.free)
        if at - now < self.QUEUE:
            self.free = at
            self.waiting.append((at, data, to))


def join(side, server, room, identity, **options):
    side.say(f"join {server.url} {peers.token(identity, room)} {json.dumps(options, separators=(',', ':'))}")
    side.wait("connected")


def draw(side, rate, **options):
    side.say(f"draw {rate} {json.dumps(options, separators=(',', ':'))}")
    return side.wait("published", kind="video")["sid"]


def assert_seen(sender, sid, receivers, numbers=15, freeze=2):
    """The next so many numbers arrive in their order, hardly one is missing or unclear; or those after them, where somebody stood still
    (see peers.undisturbed). A picture that stops, stutters, goes back or cannot be read is none of that in any of the looks."""
    def look():
        for receiver in receivers:
            receiver.ask(f"see {sid} forget", "see")
        goal = sender.ask("count")["number"] + numbers
        for receiver in receivers:
            receiver.say(f"reach {sid} {goal}")
        for receiver in receivers:
            receiver.wait("reached", 60, sid=sid)
        return [(receiver.name, receiver.ask(f"see {sid}", "see")) for receiver in receivers]

    def judge(looks):
        for name, seen in looks:
            times, got = map(np.array, zip(*seen["frames"]))
            facts = {"frames": seen["frames"], "unreadable": seen["unreadable"], "at": name}
            assert (np.diff(got) >= 0).all() and len(set(got)) >= 0.7 * numbers, facts
            assert np.diff(times).max() <= freeze and seen["unreadable"] <= 2, facts
    peers.undisturbed(look, judge)
