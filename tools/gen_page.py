#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes page_files.inc, one FILE(path, type, etag, bytes...) for each file of web/ that is named, for src/api/api_server_page.c.

Lines that are comments and the spaces lines begin with stay behind: what is read is web/, what is sent is short.
"""
import hashlib
import pathlib
import re
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
BYTES_MAX = 40 << 10  # of all together


def shortened(text, css):
    lines = (re.sub(r"\s+// .*", "", line).strip() for line in text.splitlines())
    text = "".join(line + "\n" for line in lines if line and not line.startswith(("//", "/* ")))
    return re.sub(r"(?<=[{};,])\s+|\s+(?={)|(?<=[a-z-]:) |;\s*(?=})", "", text) if css else text


def main(paths):
    total = 0
    for path in map(pathlib.Path, paths):
        data = shortened(path.read_text(), path.suffix == ".css").encode()
        total += len(data)
        address = "/app" if path.name == "app.html" else "/" + path.name
        etag = hashlib.sha256(data).hexdigest()[:16]
        print(f'FILE("{address}", "{TYPES[path.suffix]}", "\\"{etag}\\"", {",".join(map(str, data))})')
    if total > BYTES_MAX:
        sys.exit(f"gen_page.py: the page has {total} bytes, more than {BYTES_MAX}")


main(sys.argv[1:])
