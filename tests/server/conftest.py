# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import peers  # noqa: E402
from ending import pytest_sessionfinish, pytest_unconfigure  # noqa: E402, F401


@pytest.fixture(scope="module")
def server():
    with peers.Server(ours=True) as s:
        yield s


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]
