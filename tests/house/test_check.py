# SPDX-License-Identifier: Apache-2.0
"""tools/check.py itself: steps side by side, each with its part of the machine, and none that fails in silence."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """run((part, script), ...): each script is a step of that name s0, s1, ...; meet FILE waits for what another one touches."""
    meet = 'meet() { for i in $(seq 2000); do [ -e $1 ] && return; sleep 0.01; done; exit 1; }; '

    def of(*steps):
        return check.run_all([check.Step(f"s{i}", ["sh", "-c", f"cd {tmp_path}; {meet}{script}"], part)
                              for i, (part, script) in enumerate(steps)], 200)
    return of


def test_steps_share_the_machine_and_never_more_than_it_has(run):
    third = "[ -e done0 ] || [ -e done1 ]"
    assert run((120, "touch a; meet b; touch done0"), (80, "touch b; meet a; touch done1"), (90, third)) == (3, 0, [])


def test_what_takes_all_of_it_runs_alone_and_is_not_passed(run):
    alone = "[ -e done0 ] && ! [ -e begun2 ] && touch done1"
    assert run((50, "touch done0"), (check.ALL, alone), (50, "touch begun2; [ -e done1 ]")) == (3, 0, [])


def test_a_failure_is_counted_named_again_and_its_output_follows_its_line(run, capfd):
    passed, failed, what = run((50, "true"), (50, "echo reason; exit 3"),
                               (50, "printf 'FAILED one\\nFAILED two\\nand why\\n5 passed, 2 failed\\n'; exit 1"))
    assert (passed, failed) == (6, 3)
    assert [line.split(":")[0] for line in what] == ["FAIL s1", "reason", "FAIL s2", "FAILED one", "FAILED two"]
    said = capfd.readouterr().out
    assert "ok   s0: 1 passed, 0 failed" in said and said.split("FAIL s1: 0 passed, 1 failed")[1].splitlines()[1] == "reason"


def test_a_command_that_cannot_be_started_is_no_success():
    with pytest.raises(FileNotFoundError):
        check.run_all([check.Step("gone", ["./no-such-program"], 50), check.Step("good", ["true"], 50)], 200)
