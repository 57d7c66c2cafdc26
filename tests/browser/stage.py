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
