# SPDX-License-Identifier: Apache-2.0
"""How a process of pytest ends that has the stock library in it: without that library's own end. On a busy machine it now and then
aborts there after everything has passed, and after a test that failed in a room it does not come back."""
import os
import pathlib
import sys

import pytest


def pytest_sessionfinish(session, exitstatus):
    session.config.ends_with = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    maps = pathlib.Path("/proc/self/maps").read_text()
    if hasattr(config, "ends_with") and any("/livekit/rtc/resources/" in line for line in maps.splitlines()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.ends_with)
