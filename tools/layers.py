#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""[layers] Includes point down: reads src/layers.txt and every #include below src/ and apps/.

usage: layers.py [ROOT]    exit 1 and one line per violation
"""
import pathlib
import re
import sys

# Headers of a library -> the word of layers.txt that permits them.
LIBRARIES = {
    "openssl/": "openssl", "uv.h": "uv", "ares.h": "c-ares", "wslay/": "wslay", "http_parser.h": "http-parser",
    "protobuf-c/": "protobuf-c", "jansson.h": "jansson", "yaml.h": "yaml", "opus/": "opus", "soxr.h": "soxr",
    "vpx/": "vpx", "libyuv": "yuv", "zlib.h": "zlib", "srtp2/": "srtp2",
}
# What a module below the shell may take from the C library. Above layer 5 all of it is open.
PURE_C = {"stdbool.h", "stddef.h", "stdint.h", "string.h", "stdarg.h", "limits.h", "math.h", "inttypes.h", "stdlib.h",
          "float.h", "stdatomic.h", "stdalign.h", "assert.h"}
VOCABULARY = {"livekit/error.h", "livekit/types.h", "livekit/stats_fields.h", "livekit/stats.h", "livekit/version.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def read_table(root):
    table = {}
    for line in (root / "src/layers.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            table[words[1]] = (int(words[0]), words[2], set(words[3:]))
    return table


def check_file(path, module, table, generated):
    layer, kind, libraries = table[module]
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, name = found.groups()
        where = f"{path}:{number}: "
        library = next((word for prefix, word in LIBRARIES.items() if name.startswith(prefix)), None)
        if library:
            if kind != "shell" and library not in libraries:
                yield where + f"{module} does not name {library} in layers.txt, yet includes {name}"
            continue
        if name.startswith("livekit/"):
            if name not in VOCABULARY and layer < 7:
                yield where + f"{module} (layer {layer}) includes the public header {name}"
            continue
        if quote == "<":
            if layer < 6 and name not in PURE_C:
                yield where + f"{module} (layer {layer}) includes <{name}>"
            continue
        other = name.split("/")[0]
        if other not in table or "/" not in name:
            if not (path.parent / name).exists() and not name.endswith((".pb-c.h", ".inc")):
                yield where + f"cannot place {name}"
            continue
        if other == module:
            continue
        if kind == "face" and other not in ("base", "pbuf"):
            yield where + f"face {module} may include base, pbuf and livekit/ only, not {name}"
        elif table[other][0] >= layer:
            yield where + f"{module} (layer {layer}) includes {name} (layer {table[other][0]})"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    table = read_table(root)
    problems, files = [], 0
    for base in ("src", "apps"):
        for path in sorted((root / base).glob("*/*.[chi]*")) if (root / base).exists() else []:
            if path.suffix not in (".c", ".h", ".inc"):
                continue
            module = path.parent.name
            if module not in table:
                problems.append(f"{path}: module {module} has no line in layers.txt")
                continue
            files += 1
            problems += check_file(path, module, table, False)
    print("\n".join(problems) if problems else f"{files} files, includes point down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
