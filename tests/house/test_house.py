# SPDX-License-Identifier: Apache-2.0
"""The rules of the house hold, and each check catches a deliberate violation."""
import pathlib
import shutil
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("module, line, caught", [
    ("ice", '#include "dtls/dtls.h"', "ice (layer 3) includes dtls/dtls.h (layer 3)"),  # sideways
    ("room", '#include "io/loop.h"', "room (layer 5) includes io/loop.h (layer 6)"),  # an engine knows no sockets
    ("ffi", '#include "room/room.h"', "face ffi may include base, pbuf and livekit/ only"),  # past the public API
    ("ice", '#include "livekit/room.h"', "ice (layer 3) includes the public header livekit/room.h"),
    ("jitter", "#include <time.h>", "jitter (layer 3) includes <time.h>"),  # a clock
    ("pc", "#include <pthread.h>", "pc (layer 4) includes <pthread.h>"),  # a lock
    ("room", "#include <stdio.h>", "room (layer 5) includes <stdio.h>"),
])
def test_a_violation_of_the_layers_is_caught(tmp_path, module, line, caught):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / f"src/{module}/{module}_violation.c").write_text("\n" + line + "\n")
    result = run("tools/layers.py", str(tmp_path))
    assert result.returncode == 1 and f"{module}_violation.c:2: {caught}" in result.stdout, result.stdout
    assert result.stdout.count("_violation.c:") == 1


def test_a_module_without_a_line_is_caught(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "src/turn2").mkdir()
    (tmp_path / "src/turn2/turn2.c").write_text("int turn2;\n")
    result = run("tools/layers.py", str(tmp_path))
    assert result.returncode == 1 and "module turn2 has no line in layers.txt" in result.stdout


def test_a_library_outside_its_module_is_caught(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "src/base/base_violation.c").write_text("#include <openssl/evp.h>\n")
    result = run("tools/layers.py", str(tmp_path))
    assert result.returncode == 1 and "base does not name openssl" in result.stdout


def test_pure_modules_import_nothing_impure():
    result = run("tools/pure.sh", str(BUILD))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module, header, body, caught", [
    ("base", "time.h", "return (long)time(0);", "base imports time"),
    ("room", "stdlib.h", 'return (long)getenv("HOME");', "room imports getenv"),
    ("jitter", "stdlib.h", "return (long)malloc(8);", "jitter imports malloc"),  # memory comes from lk_env
    ("ice", "pthread.h", "return (long)pthread_self();", "ice imports pthread_self"),
    ("pc", "stdio.h", 'return puts("");', "pc imports puts"),
    ("dtls", "opus/opus.h", "return (long)opus_get_version_string();", "dtls imports opus_get_version_string"),  # another's library
])
def test_an_impure_object_is_caught(tmp_path, module, header, body, caught):
    source = tmp_path / "violation.c"
    source.write_text(f"#include <{header}>\nlong lk_bad(void);\nlong lk_bad(void) {{ {body} }}\n")
    (tmp_path / "src" / module).mkdir(parents=True)
    subprocess.run(["gcc", "-c", source, "-o", tmp_path / "violation.o"], check=True)
    subprocess.run(["ar", "rcs", tmp_path / f"src/{module}/liblk_{module}.a", tmp_path / "violation.o"], check=True)
    result = run("tools/pure.sh", str(tmp_path))
    assert result.returncode == 1 and caught in result.stdout


def test_a_library_is_open_to_the_module_that_names_it(tmp_path):
    """The check is no blanket refusal: what layers.txt permits passes."""
    source = tmp_path / "fine.c"
    source.write_text("#include <opus/opus.h>\nlong lk_fine(void);\nlong lk_fine(void) { return (long)opus_get_version_string(); }\n")
    (tmp_path / "src/codec").mkdir(parents=True)
    subprocess.run(["gcc", "-c", source, "-o", tmp_path / "fine.o"], check=True)
    subprocess.run(["ar", "rcs", tmp_path / "src/codec/liblk_codec.a", tmp_path / "fine.o"], check=True)
    result = run("tools/pure.sh", str(tmp_path))
    assert result.returncode == 0 and "1 modules" in result.stdout, result.stdout


def test_every_test_of_ours_is_in_a_step_of_make_check_and_meets_the_real_server():
    sys.path.insert(0, str(ROOT / "tools"))
    import check
    others = [step for step in check.STEPS + check.nightly(0) if "LK_INTEROP_SERVER=ours" not in step.command]
    for steps in check.STEPS, others:
        named = " ".join(" ".join(step.command) for step in steps) + " "
        for path in sorted(ROOT.glob("tests/*/test_*.py")):
            file, folder = path.relative_to(ROOT), path.parent.relative_to(ROOT)
            assert f"{file} " in named or f" {folder} " in named, f"{file} is in no step of tools/check.py"
