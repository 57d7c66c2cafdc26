# SPDX-License-Identifier: Apache-2.0
import pytest

import peers


@pytest.fixture(scope="session")
def server():
    with peers.Server() as s:
        yield s


@pytest.fixture
def room(request):
    """A room name of the test's own."""
    return request.node.name.replace("[", "-").replace("]", "")[:60]
