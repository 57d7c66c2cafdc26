# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "interop"), str(TESTS / "browser"), str(TESTS / "server")]
import peers  # noqa: E402
from partner import HEIGHT, WIDTH, draw_number  # noqa: E402

RATE, PICTURES = 20, 100  # the camera: numbers 0..99, over and over


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


@pytest.fixture(scope="session")
def says(tmp_path_factory):
    """What the microphone says, over and over: two seconds and a half."""
    path = tmp_path_factory.mktemp("says") / "says.wav"
    peers.write_wav(path, peers.speech()[peers.RATE // 2:3 * peers.RATE])
    return path


@pytest.fixture(scope="session")
def browser(says):
    y4m = says.with_name("shows.y4m")
    with open(y4m, "wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(PICTURES):
            file.write(b"FRAME\n" + bytes(draw_number(number).data))
    with Pages(says, y4m) as pages:
        yield pages
        assert pages.finish() == 0


@pytest.fixture
def pages(browser):
    """The pages of one test. One that threw has failed, whatever else went well."""
    before, opened = len(browser.events("page_error")), []

    def do(name, what, *values):
        opened.extend([name] if what == "open" else [])
        return browser.do(name, what, *values)
    do.browser = browser
    yield do
    for name in opened:
        browser.do(name, "close")
    assert browser.events("page_error")[before:] == []


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]
