# SPDX-License-Identifier: Apache-2.0
"""`meson install` gives a C programmer all there is to need: an example compiles and runs against it by pkg-config alone."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.c"))
PUBLIC = {path.name for path in (ROOT / "include/livekit").glob("*.h")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The installed tree; nothing of the source tree is in reach of what is compiled against it."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", ROOT / "build", "--no-rebuild", "--quiet", "--destdir", root], check=True,
                   capture_output=True)
    return root


@pytest.fixture(scope="module")
def package(tree):
    """What pkg-config answers about the installed livekit.pc."""
    where = next(tree.rglob("livekit.pc")).parent
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(where), "PKG_CONFIG_SYSROOT_DIR": str(tree)}
    environment.pop("PKG_CONFIG_PATH", None)

    def ask(*options):
        return subprocess.run(["pkg-config", *options, "livekit"], env=environment, check=True, capture_output=True,
                              text=True).stdout.split()
    return ask


def library_of(tree):
    return next(tree.rglob("liblivekit.so")).parent


def test_what_is_installed(tree):
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}
    names = {path.rsplit("/", 1)[1] for path in files}
    assert {"liblivekit.so", "liblivekit.so.0", "liblivekit_ffi.so", "livekit.pc", "lkc", "livekit_ffi.h"} | PUBLIC == names
    assert {path.rsplit("/", 1)[1] for path in files if "/include/livekit/" in path} == PUBLIC


def test_the_package_names_the_version_of_the_library(package, tree):
    library = library_of(tree)
    seen = subprocess.run(["gcc", "-x", "c", "-", "-o", tree / "version", *package("--cflags", "--libs")], text=True,
                          input='#include <livekit/livekit.h>\n#include <stdio.h>\nint main(void) { puts(lk_version()); }\n')
    assert seen.returncode == 0
    told = subprocess.run([tree / "version"], env={"LD_LIBRARY_PATH": str(library)}, capture_output=True, text=True, check=True)
    assert package("--modversion") == [told.stdout.strip()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_compiles_against_what_is_installed(package, tree, tmp_path, example):
    shutil.copy(example, tmp_path)
    program = tmp_path / example.stem
    subprocess.run(["gcc", "-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", example.name, "-o", program,
                    *package("--cflags", "--libs")], cwd=tmp_path, check=True)
    refused = subprocess.run([program], env={"LD_LIBRARY_PATH": str(library_of(tree))}, capture_output=True, text=True)
    assert refused.returncode == 2 and f"usage: {example.stem} " in refused.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_sees_the_public_header_alone(example):
    text = example.read_text()
    assert len(text.splitlines()) < 150
    ours = [line for line in text.splitlines() if line.startswith("#include") and ("livekit" in line or '"' in line)]
    assert ours == ["#include <livekit/livekit.h>"]
