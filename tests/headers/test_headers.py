# SPDX-License-Identifier: Apache-2.0
"""[headers] The public headers stand alone and are documented; each kind of violation is caught."""
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def check(*arguments):
    return subprocess.run([ROOT / "tools/headers.py", *map(str, arguments)], capture_output=True, text=True)


def test_every_public_header_stands_alone():
    result = check()
    assert result.returncode == 0, result.stdout
    assert f"{len(list((ROOT / 'include/livekit').glob('*.h')))} headers" in result.stdout


@pytest.mark.parametrize("text, caught", [
    ("LK_API void lk_bad(lk_room *room); /* LK_ANY */\n", "does not compile as C17"),
    ("typedef struct lk_bad { int class; } lk_bad;\n", "does not compile as C++17"),
    ("typedef enum lk_bad { LK_BAD = 1 } lk_bad;\n#define LK_API\n", "does not compile as C17"),
    ("#ifndef X\n#define X\n#define LK_API\n/* Above. */\nLK_API void lk_good(void);\n\nLK_API void lk_bad(\n    int a);\n#endif\n",
     "lk_bad has no contract"),
])
def test_a_violation_is_caught(tmp_path, text, caught):
    shutil.copytree(ROOT / "include/livekit", tmp_path / "livekit")
    (tmp_path / "livekit/violation.h").write_text(text)
    result = check(tmp_path)
    assert result.returncode == 1 and caught in result.stdout, result.stdout
    assert all("violation.h" in line for line in result.stdout.splitlines()), result.stdout
