# SPDX-License-Identifier: Apache-2.0
import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import peers  # noqa: E402
from stage import Chromium  # noqa: E402


@pytest.fixture(scope="session")
def server():
    with peers.Server() as s:
        yield s


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]


@pytest.fixture(scope="session")
def wavs(tmp_path_factory):
    """What the browser says, and what its partner says: the same backwards, so that neither can pass for the other."""
    folder = tmp_path_factory.mktemp("wavs")
    speech = peers.speech()
    files = folder / "browser.wav", folder / "partner.wav"
    peers.write_wav(files[0], speech)
    peers.write_wav(files[1], speech[::-1])
    return files


@contextlib.contextmanager
def running(wav):
    with Chromium(wav) as browser:
        yield browser
        assert browser.finish() == 0


@contextlib.contextmanager
def fresh_page(browser):
    """One that threw has failed, whatever else went well."""
    browser.open()
    yield browser
    browser.say("close")
    browser.wait("done", order="close")
    assert not browser.events("page_error") + browser.events("order_failed")


@pytest.fixture(scope="session")
def chromium(wavs):
    with running(wavs[0]) as browser:
        yield browser


@pytest.fixture(scope="session")
def second(wavs):
    with running(wavs[0]) as browser:
        yield browser


@pytest.fixture
def page(chromium):
    with fresh_page(chromium) as browser:
        yield browser


@pytest.fixture
def watcher(second):
    """A page in another browser: it codes and decodes for itself."""
    with fresh_page(second) as browser:
        yield browser
