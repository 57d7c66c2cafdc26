#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes docs/rfc-map.md from the tags of the code, like [RFC8445 s6.1.2.2]: who implements which part of what.

usage: gen_rfc_map.py [--check] [ROOT]    --check: writes nothing, exit 1 when the page is not what the code says
"""
import pathlib
import re
import sys

TITLES = {
    "RFC5061": "SCTP address configuration (extension list)", "RFC7053": "SCTP SACK-IMMEDIATELY", "RFC7496": "SCTP partial reliability policies",
    "RFC9653": "SCTP zero checksum",
    "RFC1123": "Requirements for hosts", "RFC2198": "RTP payload for redundant audio data (RED)",
    "RFC3264": "Offer/answer model", "RFC3389": "Comfort noise payload", "RFC3550": "RTP and RTCP",
    "RFC3551": "RTP profile for audio and video", "RFC3611": "RTCP extended reports", "RFC3711": "SRTP",
    "RFC3758": "SCTP partial reliability", "RFC3986": "URIs", "RFC4585": "RTCP feedback (AVPF)",
    "RFC4588": "RTP retransmission (RTX)", "RFC4733": "Telephone events", "RFC4960": "SCTP (2007)",
    "RFC5104": "Codec control messages (FIR)", "RFC5761": "RTP and RTCP on one port",
    "RFC5764": "DTLS for SRTP keys", "RFC5766": "TURN (2010)", "RFC5888": "SDP grouping",
    "RFC5952": "Text of IPv6 addresses", "RFC6062": "TURN over TCP allocations", "RFC6184": "RTP payload for H.264",
    "RFC6347": "DTLS 1.2", "RFC6386": "VP8 bitstream", "RFC6455": "WebSocket", "RFC6464": "Client-to-mixer audio level",
    "RFC6525": "SCTP stream reconfiguration", "RFC6544": "ICE over TCP", "RFC6716": "Opus", "RFC7515": "JSON web signature",
    "RFC7519": "JSON web token", "RFC7587": "RTP payload for Opus", "RFC7617": "HTTP Basic authentication", "RFC7675": "ICE consent freshness",
    "RFC7714": "AES-GCM for SRTP", "RFC7741": "RTP payload for VP8", "RFC7983": "Demultiplexing by first byte",
    "RFC8108": "Several RTP streams in one session", "RFC8261": "SCTP over DTLS", "RFC8285": "RTP header extensions",
    "RFC8305": "Happy eyeballs", "RFC8421": "ICE for multihomed and dual-stack hosts", "RFC8445": "ICE",
    "RFC8489": "STUN", "RFC8656": "TURN", "RFC8826": "WebRTC security", "RFC8827": "WebRTC security architecture",
    "RFC8829": "JSEP (2021)", "RFC8831": "Data channels", "RFC8832": "Data channel establishment (DCEP)",
    "RFC8833": "ALPN for WebRTC", "RFC8834": "RTP in WebRTC", "RFC8835": "Transports of WebRTC",
    "RFC8838": "Trickle ICE", "RFC8839": "ICE in SDP", "RFC8840": "Trickle ICE in SIP", "RFC8841": "SCTP over DTLS in SDP",
    "RFC8842": "DTLS in SDP", "RFC8843": "BUNDLE (2021)", "RFC8851": "RTP restrictions by rid", "RFC8852": "RTP stream ids",
    "RFC8853": "Simulcast in SDP", "RFC8854": "FEC in WebRTC", "RFC8858": "RTP and RTCP on one port, exclusively",
    "RFC8860": "Several kinds of media in one session", "RFC8866": "SDP", "RFC8872": "Multiplexing guidelines",
    "RFC8888": "RTCP congestion feedback", "RFC8985": "RACK and tail loss probe", "RFC9110": "HTTP semantics", "RFC9112": "HTTP/1.1",
    "RFC9143": "BUNDLE", "RFC9260": "SCTP", "RFC9293": "TCP", "RFC9429": "JSEP", "RFC9562": "UUIDs",
    "RFC9628": "RTP payload for VP9",
    "draft-holmer-rmcat-transport-wide-cc-extensions-01": "Transport-wide feedback",
    "draft-ietf-rmcat-gcc-02": "Google congestion control",
}
TAG = re.compile(r"\[((?:RFC\d+|draft-[\w-]+|LiveKit [\w ]+))((?:,? s[A-Z0-9][\w.]*)*)[^\]\n]*\]")
SECTION = re.compile(r"\bs([A-Z0-9][\w.]*)")
SUFFIXES = {".c", ".h", ".inc"}


def read(root):
    """{document: {section: {file}}}, sections "" for a tag without; {module: text after "Deviates:"}."""
    found, deviates = {}, {}
    for path in sorted([*(root / "src").rglob("*"), *(root / "include").rglob("*")]):
        if path.suffix not in SUFFIXES:
            continue
        text, name = path.read_text(errors="replace"), str(path.relative_to(root))
        for document, sections in TAG.findall(text):
            for section in SECTION.findall(sections) or [""]:
                found.setdefault(document, {}).setdefault(section, set()).add(name)
        said = re.search(r"^ \* Deviates: *(.*?)(?=^ \*\s*$|^ \*/|\*/)", text, re.M | re.S)
        if said and path.suffix == ".h":
            words = " ".join(line.strip().lstrip("*").strip() for line in said.group(1).splitlines()).strip()
            if words and words.rstrip(".").lower() != "none":
                deviates[name] = words
    return found, deviates


def number(document):
    digits = re.match(r"RFC(\d+)", document)
    return (0, int(digits.group(1)), "") if digits else (1, 0, document)


def section_key(section):
    return [(part.isalpha(), int(part) if part.isdigit() else 0, part) for part in section.split(".")]


def anchor(document):
    if not document.startswith("RFC"):
        return document
    return f"[{document}](https://www.rfc-editor.org/rfc/{document.lower()})"


def page(root):
    found, deviates = read(root)
    lines = ["# Who implements what", "",
             "Made by `tools/gen_rfc_map.py` from the tags in `src/` and `include/`; do not edit. A tag stands where a document is",
             "obeyed; a tag without a section stands at the top of the module that implements the document as a whole.", ""]
    lines += ["| document | title | files |", "|---|---|---|"]
    for document in sorted(found, key=number):
        sections = found[document]
        files = sorted(set().union(*sections.values()))
        lines.append(f"| {anchor(document)} | {TITLES.get(document, '')} | {', '.join(f'`{f}`' for f in files)} |")
    lines += ["", "## By section", ""]
    for document in sorted(found, key=number):
        sections = {s: files for s, files in found[document].items() if s}
        if not sections:
            continue
        title = TITLES.get(document, "")
        lines += [f"### {document}{' ' + title if title else ''}", ""]
        for section in sorted(sections, key=section_key):
            lines.append(f"- s{section}: {', '.join(f'`{f}`' for f in sorted(sections[section]))}")
        lines.append("")
    lines += ["## Where we differ", "", "What the module headers say after `Deviates:`.", ""]
    lines += [f"- `{name}`: {words}" for name, words in sorted(deviates.items())]
    return "\n".join(lines).rstrip() + "\n"


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent)
    path, text = root / "docs/rfc-map.md", page(root)
    if "--check" not in sys.argv[1:]:
        path.write_text(text)
        return 0
    before = path.read_text().splitlines() if path.exists() else []
    lost, new = [line for line in before if line not in text.splitlines()], [line for line in text.splitlines() if line not in before]
    for line in [*("- " + line for line in lost), *("+ " + line for line in new)]:
        print(line)
    if before != text.splitlines():
        print("docs/rfc-map.md is not what the code says: run tools/gen_rfc_map.py")
        return 1
    print(f"docs/rfc-map.md is what the code says: {text.count('| [RFC')} RFCs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
