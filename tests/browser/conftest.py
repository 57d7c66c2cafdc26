# SPDX-License-Identifier: Apache-2.0
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


@pytest.fixture(scope="session")
def chromium(wavs):
    with Chromium(wavs[0]) as browser:
        yield browser
        assert browser.finish() == 0


@pytest.fixture
def page(chromium):
    """A fresh page. One that threw has failed, whatever else went well."""
    chromium.open()
    yield chromium
    chromium.say("close")
    chromium.wait("done", order="close")
    assert not chromium.events("page_error") + chromium.events("order_failed")
