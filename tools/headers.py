#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""[headers] Each public header compiles alone, twice included, as C17 and as C++17, and says what each function does.

usage: headers.py [INCLUDE_DIR]    exit 1 and one line per violation
"""
import pathlib
import re
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
LANGUAGES = {"C17": ["gcc", "-x", "c", "-std=c17", "-Wstrict-prototypes"], "C++17": ["g++", "-x", "c++", "-std=c++17"]}


def compile_alone(include, header):
    for language, command in LANGUAGES.items():
        result = subprocess.run([*command, *WARNINGS, "-I", include, "-"], text=True, capture_output=True,
                                input=f"#include <{header}>\n#include <{header}>\nextern int lk_alone;\n")
        if result.returncode:
            first = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip())
            yield f"{header} does not compile as {language}: {first}"


def undocumented(path):
    """Functions without a contract: a comment right above the function, above its group, or behind it."""
    covered = inside_comment = False
    statement = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if inside_comment or text.startswith("/*"):
            inside_comment = "*/" not in text
            covered = True
        elif not text:
            covered = False
        elif text.startswith("LK_API") or statement:
            statement += " " + text
            if ";" in text:
                if not covered and "/*" not in statement:
                    name = re.search(r"\b(lk_\w+)\(", statement)
                    yield f"{path.name}:{number}: {name.group(1) if name else statement} has no contract"
                statement = ""


def main():
    include = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent / "include")
    headers = sorted(include.glob("livekit/*.h"))
    bad = 0
    for path in headers:
        for line in [*compile_alone(include, f"livekit/{path.name}"), *undocumented(path)]:
            print(line)
            bad += 1
    if not bad:
        print(f"{len(headers)} headers compile alone as {' and '.join(LANGUAGES)}, every function has its contract")
    return 1 if bad or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
