#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""[abi] What the libraries export, and how the public structs lie in memory, against tests/abi/.

usage: abi.py exports LIBRARY LIST     LIBRARY exports exactly the symbols of LIST, one a line
       abi.py structs [INCLUDE_DIR]    prints "struct size field@offset ..." of every struct of the public headers

An export that is not declared, a declared function that is not exported and a struct that changed all end programs
that were linked before; who changes one on purpose changes the list with it.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if line.split()[-2] not in ("A", "a")}


def check_exports(library, names):
    want = set(pathlib.Path(names).read_text().split())
    have = exported(library)
    bad = [f"{pathlib.Path(library).name} exports {name}, which is not listed" for name in sorted(have - want)]
    bad += [f"{pathlib.Path(library).name} does not export {name}" for name in sorted(want - have)]
    for line in bad:
        print(line)
    if not bad:
        print(f"{len(have)} symbols, all listed")
    return 1 if bad or not have else 0


def structs_of(include):
    """(name, fields) of every struct; no fields where macros make them."""
    found = {}
    for path in sorted(pathlib.Path(include).glob("livekit/*.h")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for name in re.findall(r"\} (lk_stats\w*);", text):
            found[name] = []
        groups = re.search(r"#define LK_STATS_GROUPS\(N\)(.*?)(?<!\\)$", text, re.S | re.M)
        for group in re.findall(r"N\((\w+)\)", groups.group(1)) if groups else []:
            found["lk_stats_" + group] = []
        for name, body in re.findall(r"^(?:typedef )?struct (lk_\w+) \{\n(.*?)^\}", text, re.S | re.M):
            if name in found:
                continue
            parts = [part for declaration in body.split(";") for part in declaration.split(",") if part.strip()]
            found[name] = [re.search(r"(\w+)\s*(?:\[[^\]]*\])?\s*$", part).group(1) for part in parts
                           if not part.rstrip().endswith(")")] + re.findall(r"\(\*(\w+)\)", body)
    found.pop("lk_stats_kind", None)
    return found.items()


def table(include):
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <livekit/livekit.h>", "int main(void)", "{"]
    for name, fields in structs_of(include):
        lines.append(f'    printf("{name} %zu", sizeof(struct {name}));')
        lines += [f'    printf(" {f}@%zu", offsetof(struct {name}, {f}));' for f in fields]
        lines.append('    printf("\\n");')
    lines += ["    return 0;", "}"]
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "structs"
        subprocess.run(["gcc", "-x", "c", "-std=c17", "-I", str(include), "-o", str(program), "-"], check=True, text=True,
                       input="\n".join(lines) + "\n")
        return sorted(subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines())


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "exports":
        return check_exports(sys.argv[2], sys.argv[3])
    if len(sys.argv) in (2, 3) and sys.argv[1] == "structs":
        print("\n".join(table(sys.argv[2] if len(sys.argv) == 3 else ROOT / "include")))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
