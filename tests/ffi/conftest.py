# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]

import peers  # noqa: E402
import raw  # noqa: E402
from ending import pytest_sessionfinish, pytest_unconfigure  # noqa: E402, F401


@pytest.fixture(scope="session")
def server():
    with peers.Server() as s:
        yield s


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]


def loaded(name):
    library = raw.Library(raw.path_of(name))
    library.initialize()
    return library


@pytest.fixture
def lib():
    """Our library, initialised; disposed of afterwards, whatever the test left behind."""
    library = loaded("ours")
    yield library
    library.on = None
    library.dispose()


@pytest.fixture(params=["ours", "stock"])
def both(request):
    """Each library in turn: what the contract says of both."""
    library = loaded(request.param)
    library.name = request.param
    yield library
    library.on = None
    library.dispose()
