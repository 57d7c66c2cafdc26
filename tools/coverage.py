#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines of the parsers that the committed corpora reach: tools/coverage.py [--floor PERCENT] [--missed] [--leave-out TARGET]

Builds build-coverage/ (tools/build.sh coverage), replays fuzz/corpus/<target> through every entry, reads gcov, prints a
line per parser and closes with "N passed, N failed": a parser below the floor is a failure. --missed lists the lines
that were not reached. Lines that only answer a refused allocation count like any other.
"""
import argparse
import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-coverage"
# What reads bytes of a peer, and the functions in those files that do not: they write, draw conclusions, or run inside TLS, where nothing
# but what a peer with the keys has sealed comes by.
PARSERS = {
    "base/addr.c": "", "base/bytes.c": "", "stun/stun.c": "lk_stun_(put|begin)", "ice/ice_line.c": "", "ice/ice_agent.c": "",
    "sdp/sdp_parse.c": "", "sdp/sdp_check.c": "", "rtp/rtp.c": "lk_rtp_write", "rtp/rtp_ext.c": "",
    "rtp/rtcp.c": "lk_rtcp_write_(sr|rr|sdes|bye)|write_reports|lk_ntp", "rtp/red.c": "", "rtp/payload_vp8.c": "", "rtp/vp9_descriptor.c": "",
    "rtp/dependency.c": "",
    "cc/cc_twcc_reader.c": "", "dcep/dcep.c": "", "sctp/sctp_wire.c": "", "sctp/sctp_receive.c": "", "sctp/sctp_sack.c": "judge_trial|(begin|end)_sample|sample_needed|is_modest",
    "sctp/sctp_reset.c": "", "sctp/sctp_cookie.c": "", "srtp/srtp.c": "lk_srtp_(seal|protect)|encrypt_parts|.*_seal|lk_srtp_profile_name",
    "pbuf/pbuf.c": "", "signal/data_packet.c": "", "ws/url.c": "",
    "ws/ws.c": "lk_tls_|.*_tls$|app_write|compose|put_|lk_ws_(send|close|new)", "jitter/assembly.c": "", "jitter/jitter.c": "",
    "pc/pc_receive.c": "", "pc/pc_sdp.c": "", "ws/server.c": "lk_ws_server_(tick|send|close|deadline|is_idle)|start_close",
    "io/framing.c": "",
    "sfu/sfu_join.c": ".*(send|accept|resume|info|first_steps|set_conn|born|person_new).*|grants_of", "token/token.c": "lk_token_fault_text", "pbuf/pbuf_json.c": "put_",
}


def replay(leave_out):
    """Runs every entry over its corpus; the counters add up in build-coverage."""
    for counts in BUILD.rglob("*.gcda"):
        counts.unlink()
    failed = []
    for corpus in sorted((ROOT / "fuzz/corpus").iterdir()):
        if corpus.name == leave_out:
            continue
        entry = BUILD / "fuzz" / f"fuzz_{corpus.name}"
        if subprocess.run([entry, corpus], cwd=BUILD, stdout=subprocess.DEVNULL).returncode != 0:
            failed.append(corpus.name)
    return failed


def lines():
    """source -> {line: count}, over all objects that hold it."""
    found = {}
    with tempfile.TemporaryDirectory() as out:
        for counts in BUILD.rglob("*.gcda"):
            subprocess.run(["gcov", "--json-format", "--preserve-paths", counts], cwd=out, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for report in pathlib.Path(out).glob("*.json.gz"):
                for file in json.loads(gzip.open(report).read())["files"]:
                    source = file["file"].split("src/", 1)[-1]
                    if source not in PARSERS:
                        continue
                    counted, left_out = found.setdefault(source, {}), PARSERS[source]
                    for line in file["lines"]:
                        if left_out and re.match(left_out, line.get("function_name", "")):
                            continue
                        counted[line["line_number"]] = counted.get(line["line_number"], 0) + line["count"]
                report.unlink()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=float, default=90.0)
    parser.add_argument("--missed", action="store_true")
    parser.add_argument("--leave-out", help="this corpus is not replayed: the floor must notice (tools/canary.sh)")
    options = parser.parse_args()
    subprocess.run(["tools/build.sh", "coverage"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    passed = failed = 0
    for name in replay(options.leave_out):
        print(f"FAIL the corpus of {name} does not pass")
        failed += 1
    found = lines()
    for source in PARSERS:
        counted = found.get(source, {})
        reached = sum(1 for n in counted.values() if n)
        percent = 100.0 * reached / len(counted) if counted else 0.0
        good = percent >= options.floor
        passed, failed = passed + good, failed + (not good)
        print(f"{'ok  ' if good else 'FAIL'} {source}: {percent:.1f} % of {len(counted)} lines")
        if options.missed:
            print("     " + " ".join(str(n) for n in sorted(counted) if not counted[n]))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
