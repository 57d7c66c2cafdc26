# SPDX-License-Identifier: Apache-2.0
"""[abi] The libraries export what is listed and nothing else; public structs lie where they lay; violations are caught."""
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARIES = {"exports.txt": ROOT / "build/liblivekit.so", "exports_ffi.txt": ROOT / "build/liblivekit_ffi.so"}


def abi(*arguments):
    return subprocess.run([ROOT / "tools/abi.py", *map(str, arguments)], capture_output=True, text=True)


def listed(name):
    return (ROOT / "tests/abi" / name).read_text().split()


@pytest.mark.parametrize("names", LIBRARIES)
def test_a_library_exports_what_is_listed(names):
    result = abi("exports", LIBRARIES[names], ROOT / "tests/abi" / names)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_c_api_exports_only_names_of_ours_and_the_ffi_exactly_four():
    assert all(name.startswith("lk_") for name in listed("exports.txt"))
    assert listed("exports_ffi.txt") == ["livekit_ffi_dispose", "livekit_ffi_drop_handle", "livekit_ffi_initialize",
                                         "livekit_ffi_request"]


def test_what_the_headers_declare_is_what_is_listed():
    text = "".join(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S) for path in (ROOT / "include/livekit").glob("*.h"))
    assert sorted(set(re.findall(r"\b(lk_\w+)\(", text))) == sorted(listed("exports.txt"))


def test_public_structs_lie_where_they_lay():
    assert abi("structs").stdout.splitlines() == (ROOT / "tests/abi/structs.txt").read_text().splitlines()


@pytest.mark.parametrize("source, caught", [
    ("int lk_a; int lk_b(void); int lk_b(void) { return 0; } int leaked;", "exports leaked, which is not listed"),
    ("int lk_a;", "does not export lk_b"),
])
def test_a_wrong_export_is_caught(tmp_path, source, caught):
    (tmp_path / "names.txt").write_text("lk_a\nlk_b\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / "bad.so"], input=source, text=True, check=True)
    result = abi("exports", tmp_path / "bad.so", tmp_path / "names.txt")
    assert result.returncode == 1 and caught in result.stdout


@pytest.mark.parametrize("header, old, new, row", [
    ("types.h", "    char text[160];", "    char text[164];", "lk_error"),  # grew
    ("room.h", "    bool dtx; ", "    bool red2; bool dtx; ", "lk_publish_options"),  # a field moved
    ("stats_fields.h", "X(TEXT, codec_id, \"\")", "X(TEXT, codec_id, \"\") X(U32, more, \"\")", "lk_stats_RtpStream"),
])
def test_a_struct_that_changed_is_caught(tmp_path, header, old, new, row):
    shutil.copytree(ROOT / "include/livekit", tmp_path / "livekit")
    path = tmp_path / "livekit" / header
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    before, after = (ROOT / "tests/abi/structs.txt").read_text().splitlines(), abi("structs", tmp_path).stdout.splitlines()
    assert row in {line.split()[0] for line in set(after) - set(before)}
