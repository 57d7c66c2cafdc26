# SPDX-License-Identifier: Apache-2.0
"""The two programs of a browser test: Chromium and its partner."""
import pathlib
import sys

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
