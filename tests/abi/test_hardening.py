# SPDX-License-Identifier: Apache-2.0
"""[hardening] What we ship is built with the protections of SECURITY.md, and a file without one of them is caught."""
import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIPPED = ["build/liblivekit.so", "build/liblivekit_ffi.so", "build/apps/cli/lkc"]


def hardening(*paths):
    return subprocess.run([ROOT / "tools/hardening.py", *paths], capture_output=True, text=True)


@pytest.mark.parametrize("path", SHIPPED)
def test_what_is_shipped_has_every_protection(path):
    result = hardening(ROOT / path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_file_of_ours_is_compiled_fortified_and_guarded():
    commands = [c["command"] for c in json.loads((ROOT / "build/compile_commands.json").read_text())]
    assert len(commands) > 100
    for flag in ("-D_FORTIFY_SOURCE=3", "-fstack-protector-strong", "-fcf-protection", "-O3"):
        assert not [c for c in commands if flag not in c], flag


LARGE = '__asm__(".rept 70000\\n nop\\n .endr"); int a(void) { return 1; }'
GOOD = ["-shared", "-fPIC", "-O2", "-fcf-protection", "-Wl,-z,relro,-z,now"]


@pytest.mark.parametrize("source, flags, caught", [
    ("int a(void) { return 1; }", ["-Wl,-z,execstack"], "asks for an executable stack"),
    ("int a(void) { return 1; }", ["-Wl,-z,norelro"], "has no read-only relocations"),
    ("int a(void) { return 1; }", ["-Wl,-z,lazy"], "binds functions late"),
    ("int a(void) { return 1; }", ["-Wl,-rpath,/tmp"], "RPATH"),
    ("int a(void) { return 1; }", ["-fcf-protection=none"], "a has no landing mark"),
    (LARGE, ["-fno-stack-protector"], "has no stack canaries"),
    (LARGE, ["-U_FORTIFY_SOURCE"], "has no checked string functions"),
], ids=["stack", "relro", "lazy", "rpath", "cet", "canary", "fortify"])
def test_a_missing_protection_is_caught(tmp_path, source, flags, caught):
    subprocess.run(["gcc", *GOOD, *flags, "-x", "c", "-", "-o", tmp_path / "bad.so"], input=source, text=True, check=True,
                   capture_output=True)
    result = hardening(tmp_path / "bad.so")
    assert result.returncode == 1 and caught in result.stdout, result.stdout


def test_a_program_at_a_fixed_address_is_caught(tmp_path):
    subprocess.run(["gcc", "-no-pie", "-x", "c", "-", "-o", tmp_path / "bad"], input="int main(void) { return 0; }", text=True,
                   check=True)
    assert "is not position independent" in hardening(tmp_path / "bad").stdout
