#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hardening.py FILE...: says what an ELF file lacks of the protections we build with; nothing when it has them all.

Read from the file itself, not from the flags: position independent, all relocations done and read-only before main,
no writable code, no executable stack, a canary in functions with buffers, checked string functions, and
a landing mark at the entry of every function it exports.
"""
import re
import subprocess
import sys

# Programs of a page have no buffer the compiler would guard.
GUARDED_FROM_BYTES = 64 * 1024


def read(*command):
    plain = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout


def segments(text):
    """(name, flags) of every program header."""
    return re.findall(r"^\s+([A-Z_]+)\s+(?:0x\w+\s+){5}([RWE ]{3})\s", text, re.M)


def lacks(path):
    header, dynamic = read("readelf", "-hW", path), read("readelf", "-dW", path)
    parts = segments(read("readelf", "-lW", path))
    imports = read("readelf", "--dyn-syms", "-W", path)
    if not re.search(r"Type:\s+DYN", header):
        yield "is not position independent"
    if not any(name == "GNU_RELRO" for name, _ in parts):
        yield "has no read-only relocations (RELRO)"
    if "BIND_NOW" not in dynamic and not re.search(r"FLAGS_1.*\bNOW\b", dynamic):
        yield "binds functions late (no -z now)"
    if "TEXTREL" in dynamic:
        yield "writes into its code when it is loaded (TEXTREL)"
    if re.search(r"\((?:RPATH|RUNPATH)\)", dynamic) and not re.search(r"R(?:UN)?PATH.*\[\$ORIGIN", dynamic):
        yield "looks for libraries where somebody else may put them (RPATH)"
    stack = [flags for name, flags in parts if name == "GNU_STACK"]
    if not stack or "E" in stack[0]:
        yield "asks for an executable stack"
    if any("W" in flags and "E" in flags for _, flags in parts):
        yield "has memory that is writable and executable"
    sizes = re.findall(r"\]\s+\.text\s+PROGBITS\s+\w+\s+\w+\s+(\w+)", read("readelf", "-SW", path))
    if sizes and int(sizes[0], 16) >= GUARDED_FROM_BYTES:
        if "__stack_chk_fail" not in imports:
            yield "has no stack canaries"
        if not re.search(r"\b__(?:memcpy|memset|snprintf|memmove)_chk\b", imports):
            yield "has no checked string functions (_FORTIFY_SOURCE)"
    if "X86-64" in header:
        yield from (f"{name} has no landing mark (-fcf-protection)" for name in unmarked(path, imports))


def unmarked(path, symbols):
    """Exported functions that do not begin with endbr64."""
    row = r"^\s*\d+:\s+(\w+)\s+\d+\s+FUNC\s+GLOBAL\s+DEFAULT\s+\d+\s+(\w+)"
    exported = {int(address, 16): name for address, name in re.findall(row, symbols, re.M)}
    if not exported:
        return
    code = read("objdump", "-d", "--no-show-raw-insn", "--section=.text", path)
    first = dict((int(a, 16), op) for a, op in re.findall(r"^0*(\w+) <[^>]*>:\n\s+\w+:\s+(\w+)", code, re.M))
    yield from (name for address, name in sorted(exported.items()) if address in first and first[address] != "endbr64")


def main(paths):
    found = [f"{path}: {what}" for path in paths for what in lacks(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
