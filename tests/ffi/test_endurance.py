# SPDX-License-Identifier: Apache-2.0
"""Sixty calls in one process leave nothing behind. A thousand of them, and the slope of resident memory, are a step of the
nightly (endurance.py)."""
import json
import subprocess
import sys

import pytest

import endurance


def test_sixty_calls_leave_nothing_behind(server):
    result = subprocess.run([sys.executable, endurance.__file__, "--cycles", "60", "--url", server.url], capture_output=True,
                            text=True, timeout=300)
    assert result.returncode == 0, (result.stdout, result.stderr)
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["cycles"] == 60 and figures["blocks"][0] > 1000, "the heap was counted"
    assert figures["descriptors"][0] == figures["descriptors"][1] and figures["threads"][0] == figures["threads"][1]
    assert figures["blocks_a_cycle"] <= 0.5


@pytest.mark.parametrize("name,step,words", [("descriptors", 0.1, "descriptors"), ("threads", 0.1, "threads"),
                                             ("blocks", 1, "blocks"), ("resident", 1100, "resident")])
def test_what_grows_is_noticed(name, step, words):
    flat = {"descriptors": 9, "threads": 6, "blocks": 40000, "bytes": 9 << 20, "resident": 70 << 20}
    noted = [{**flat, name: flat[name] + int(i * step)} for i in range(1000)]
    assert any(words in sentence for sentence in endurance.verdict(noted)[1])
    assert endurance.verdict([flat] * 1000)[1] == []
