# SPDX-License-Identifier: Apache-2.0
"""Pages of one browser."""
import itertools
import json
import pathlib

import peers

RATE, PICTURES = 20, 200  # the camera: numbers 0..199, over and over; two that are seen one after the other are less than half of that apart


class Pages(peers.Program):
    """pages.mjs: one browser, pages by name."""

    def __init__(self, wav, y4m):
        self.ids = itertools.count()
        self.start("pages", ["node", str(pathlib.Path(__file__).with_name("pages.mjs")), "--wav", str(wav), "--y4m", str(y4m)])
        self.wait("ready", 60)

    def begin(self, name, what, *values):
        """Without waiting; end() brings what came of it."""
        number = next(self.ids)
        self.say(json.dumps({"id": number, "name": name, "what": what, "with": values}))
        return number

    def end(self, number):
        answer = self.wait("answer", 60, id=number)
        assert "error" not in answer, (answer["error"], self.events("page_error"), self.errors[-10:])
        return answer["value"]

    def do(self, name, what, *values):
        return self.end(self.begin(name, what, *values))
