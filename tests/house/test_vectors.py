# SPDX-License-Identifier: Apache-2.0
"""The vectors runner says what it did, file by file, and cannot be talked into a success."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/vectors/data"


def run(*arguments, cwd=ROOT):
    out = subprocess.run([ROOT / "build-checks/tests/vectors", *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    closing = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", out.stdout.splitlines()[-1])
    return out, tuple(map(int, closing.groups()))


def test_every_file_has_its_line():
    out, (passed, failed, skipped) = run(DATA)
    files = sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.json"))
    lines = [line for line in out.stdout.splitlines()[:-1] if not line.startswith("  ")]
    assert [re.fullmatch(r"(?:ok  |FAIL|skip) (\S+): .+", line).group(1) for line in lines] == files
    assert failed == 0 and passed + skipped == len(files) and out.returncode == 0


@pytest.mark.parametrize("folder", ["stun", "rtp", "srtp"])
def test_a_folder_alone_is_checked_too(tmp_path, folder):
    """Also as "." and somewhere else: the formats are known by their names."""
    shutil.copytree(DATA / folder, tmp_path / "copy" / folder)
    for arguments, cwd in ([DATA / folder], ROOT), ([tmp_path / "copy" / folder], ROOT), (["."], tmp_path / "copy" / folder):
        out, (passed, failed, skipped) = run("--strict", *arguments, cwd=cwd)
        assert (passed, failed, skipped) == (len(list((DATA / folder).glob("*.json"))), 0, 0), out.stdout


def test_a_file_without_a_handler_is_skipped_or_failed_when_strict(tmp_path):
    (tmp_path / "new.json").write_text('{"cases": [{"name": "a"}]}')
    out, counts = run(tmp_path)
    assert counts == (0, 0, 1) and out.returncode == 0 and "skip new.json: no handler" in out.stdout
    out, counts = run("--strict", tmp_path)
    assert counts == (0, 1, 0) and out.returncode == 1 and "FAIL new.json: no handler" in out.stdout


@pytest.mark.parametrize("arguments", [["--strict"], ["--strict", "--only", "stun"]])
def test_nothing_to_check_is_no_success(tmp_path, arguments):
    out, (_, failed, _) = run(*arguments, tmp_path)
    assert failed == 1 and out.returncode == 1
    out, (_, failed, _) = run(*arguments, tmp_path / "missing")
    assert failed and out.returncode == 1


@pytest.mark.parametrize("name, change", [
    ("stun/stun_valid.json", {"method": 77}),
    ("rtp/rtp_valid.json", {"seq": 1, "sequence": 1, "hex": "80"}),
    ("srtp/srtp_gen.json", {"master_key": "00" * 16}),
    ("fixed/crc.json", {"crc32": 1}),
])
def test_a_case_that_does_not_hold_is_caught(tmp_path, name, change):
    vectors = json.loads((DATA / name).read_text())
    vectors["cases"][0].update(change)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(json.dumps(vectors))
    out, counts = run(tmp_path)
    assert counts == (0, 1, 0) and out.returncode == 1 and re.search(rf"FAIL {name}: \d+ cases, 1 failed", out.stdout), out.stdout


@pytest.mark.parametrize("text", ["", "{", '{"cases": []}', "[]"])
def test_a_file_that_holds_nothing_is_caught(tmp_path, text):
    (tmp_path / "fixed").mkdir()
    (tmp_path / "fixed/crc.json").write_text(text)
    out, counts = run("--strict", tmp_path)
    assert counts == (0, 1, 0) and out.returncode == 1
