# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "interop"), str(TESTS / "browser"), str(TESTS / "server")]
import peers  # noqa: E402
from pages import PICTURES, RATE, Pages  # noqa: E402
from partner import HEIGHT, WIDTH, draw_number  # noqa: E402


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
    yield do
    for name in opened:
        browser.do(name, "close")
    assert browser.events("page_error")[before:] == []


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]
