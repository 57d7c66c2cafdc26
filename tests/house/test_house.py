# SPDX-License-Identifier: Apache-2.0
"""The rules of the house hold, and each check catches a deliberate violation."""
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-checks"


def run(*command, cwd=ROOT):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_includes_point_down():
    result = run("tools/layers.py")
    assert result.returncode == 0, result.stdout


def test_an_upward_include_is_caught(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    bad = tmp_path / "src/stun/stun_violation.c"
    bad.parent.mkdir(exist_ok=True)
    bad.write_text('#include "ice/ice.h"\n')
    result = run("tools/layers.py", str(tmp_path))
    assert result.returncode == 1 and "stun_violation.c:1" in result.stdout


def test_a_library_outside_its_module_is_caught(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "src/base/base_violation.c").write_text("#include <openssl/evp.h>\n")
    result = run("tools/layers.py", str(tmp_path))
    assert result.returncode == 1 and "base does not name openssl" in result.stdout


def test_pure_modules_import_nothing_impure():
    result = run("tools/pure.sh", str(BUILD))
    assert result.returncode == 0, result.stdout


def test_an_impure_object_is_caught(tmp_path):
    source = tmp_path / "violation.c"
    source.write_text("#include <time.h>\nlong lk_now(void);\nlong lk_now(void) { return (long)time(0); }\n")
    (tmp_path / "src/base").mkdir(parents=True)
    subprocess.run(["gcc", "-c", source, "-o", tmp_path / "violation.o"], check=True)
    subprocess.run(["ar", "rcs", tmp_path / "src/base/liblk_base.a", tmp_path / "violation.o"], check=True)
    result = run("tools/pure.sh", str(tmp_path))
    assert result.returncode == 1 and "base imports time" in result.stdout
