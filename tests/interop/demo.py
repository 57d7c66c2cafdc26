#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a spoken message and a moving picture through a server of our own, heard, seen and measured.

Two participants on the official Python SDK, both over our library, on loopback. While Alice speaks and shows a picture
with its number in it, the terminal shows what get_stats says on either side. Left behind: demo-out/heard.wav, seen.png and
stats.json. Exit status 0 only if Bob heard it: correlation with the source >= 0.9 after alignment, level within 3 dB, no
gap above 60 ms; and saw it: 90 % of the pictures, their luma at 30 dB or more against what was shown under that number.
"""
import argparse
import json
import pathlib
import sys
import time

import peers

OUT = peers.ROOT / "demo-out"
LIMITS = {"correlation": 0.9, "level_db": 3.0, "gap_ms": 60.0, "psnr_db": 30.0, "seen": 0.9}

# label, side, kind, field, how it is shown, "rate": per second since the last look
ROWS = [
    ("packets sent", "alice", "outbound_rtp", "packets_sent", "{:.0f}"),
    ("sent", "alice", "outbound_rtp", "bytes_sent", "{:.1f} kbit/s", "rate"),
    ("source level", "alice", "media_source", "audio_level", "{:.3f}"),
    ("round trip", "alice", "remote_inbound_rtp", "round_trip_time", "{:.1f} ms", 1000),
    ("lost, says the server", "alice", "remote_inbound_rtp", "packets_lost", "{:.0f}"),
    ("packets received", "bob", "inbound_rtp", "packets_received", "{:.0f}"),
    ("received", "bob", "inbound_rtp", "bytes_received", "{:.1f} kbit/s", "rate"),
    ("heard level", "bob", "inbound_rtp", "audio_level", "{:.3f}"),
    ("packets lost", "bob", "inbound_rtp", "packets_lost", "{:.0f}"),
    ("arrival jitter", "bob", "inbound_rtp", "jitter", "{:.2f} ms", 1000),
    ("concealed samples", "bob", "inbound_rtp", "concealed_samples", "{:.0f}"),
    ("jitter buffer", "bob", "inbound_rtp", "jitter_buffer_delay", "{:.1f} ms", "buffer"),
    ("picture sent", "alice", "video_outbound_rtp", "bytes_sent", "{:.0f} kbit/s", "rate"),
    ("pictures encoded", "alice", "video_outbound_rtp", "frames_encoded", "{:.0f}"),
    ("picture received", "bob", "video_inbound_rtp", "bytes_received", "{:.0f} kbit/s", "rate"),
    ("pictures decoded", "bob", "video_inbound_rtp", "frames_decoded", "{:.0f}"),
]


class Table:
    """Redrawn in place on a terminal; a line per second elsewhere."""

    def __init__(self, live):
        self.live, self.drawn, self.last = live, 0, None

    def cell(self, row, now):
        label, side, kind, field, shape, *how = row
        entry = now[side].get(kind, [{}])[0]
        if field not in entry:
            return "-"
        value, how = entry[field], how[0] if how else 1
        before = self.last[side].get(kind, [{}])[0] if self.last else {}
        if how == "rate":
            seconds = (entry["timestamp"] - before.get("timestamp", entry["timestamp"])) / 1e6
            return shape.format((value - before[field]) * 8 / 1000 / seconds) if seconds > 0 else "-"
        if how == "buffer":
            count = entry["jitter_buffer_emitted_count"] - before.get("jitter_buffer_emitted_count", 0)
            return shape.format((value - before.get(field, 0)) / count * 1000) if count else "-"
        return shape.format(value * how)

    def draw(self, seconds, now):
        cells = [(row[1], row[0], self.cell(row, now)) for row in ROWS]
        self.last = now
        if self.live:
            lines = [f"  {seconds:5.1f} s   {'alice (speaks)':<38}{'bob (listens)':<38}"]
            left = [c for c in cells if c[0] == "alice"]
            right = [c for c in cells if c[0] == "bob"]
            for i in range(max(len(left), len(right))):
                pair = [f"{side[i][1]:<22}{side[i][2]:>12}" if i < len(side) else "" for side in (left, right)]
                lines.append(f"            {pair[0]:<38}{pair[1]:<38}")
            print((f"\033[{self.drawn}A" if self.drawn else "") + "".join(f"\033[2K{line}\n" for line in lines), end="",
                  flush=True)
            self.drawn = len(lines)
        else:
            print(f"demo: {seconds:4.1f} s  " + "  ".join(f"{label} {text}" for _, label, text in cells), flush=True)


def say(text):
    print("demo: " + text, flush=True)


def both(program):
    """Statistics of its sound, and of its picture under "video_..."."""
    picture = peers.by_kind(program.ask("picture_stats")["stats"])
    return {**program.stats(), **{"video_" + kind: entries for kind, entries in picture.items()}}


def last_look(bob, shown):
    """What Bob has seen once the last picture is there, or three seconds have gone by: the last ones are under way."""
    until = time.monotonic() + 3
    while (seen := bob.ask("seen")) and time.monotonic() < until and shown - 1 not in seen["numbers"]:
        time.sleep(0.05)
    return seen


def judge_pictures(seen, shown):
    """What of the pictures arrived, and how well. The first second belongs to whoever is just arriving."""
    expected = set(range(min(seen["numbers"], default=shown), shown))
    likeness = sorted(seen["psnr_db"])
    return {"shown": shown, "seen": len(seen["numbers"]), "unreadable": seen["unreadable"],
            "share": len(expected & set(seen["numbers"])) / len(expected) if expected else 0.0,
            "first": min(seen["numbers"], default=-1),
            "worst_psnr_db": likeness[0] if likeness else 0.0,
            "psnr_db": likeness[len(likeness) // 2] if likeness else 0.0}


def watch(alice, bob, samples, live):
    """A look each second until Alice has said it all."""
    table, began = Table(live), time.monotonic()
    while not alice.events("fed") and alice.process.poll() is None and time.monotonic() - began < 90:
        now = {"alice": both(alice), "bob": both(bob)}
        seconds = time.monotonic() - began
        samples.append({"seconds": round(seconds, 3), **now})
        table.draw(seconds, now)
        until = time.monotonic() + 1
        while time.monotonic() < until and not alice.events("fed"):
            time.sleep(0.02)
    if not alice.events("fed"):
        raise TimeoutError("the message was not spoken to its end in 90 s")
    table.draw(time.monotonic() - began, {"alice": both(alice), "bob": both(bob)})


def run(options):
    OUT.mkdir(exist_ok=True)
    for name in ("heard.wav", "seen.png", "stats.json"):
        (OUT / name).unlink(missing_ok=True)
    source = peers.speech() if not options.wav else peers.read_wav(options.wav)
    peers.write_wav(OUT / "spoken.wav", source)
    say(f"a spoken message of {len(source) / peers.RATE:.1f} s; the engine is "
        f"{peers.library_path('ours') or 'the stock library'}")
    samples = []
    with peers.Server(ours=True) as server:
        say(f"lkc serve listens on {server.url}")
        with peers.Program("receive", options.receiver, server.url, peers.token("bob"), out=OUT / "heard.wav",
                           picture=OUT / "seen.png") as bob, \
                peers.Program("publish", options.sender, server.url, peers.token("alice"), wav=OUT / "spoken.wav") as alice:
            for program in (bob, alice):
                joined = program.wait("connected", 60)
                say(f"{joined['identity']} joined in {joined['seconds'] * 1000:.0f} ms")
            track = alice.wait("published")
            bob.wait("track_subscribed")
            say(f"bob receives {track['publication']} of alice")
            bob.wait("first_frame")
            alice.ask("show", "showing")
            bob.wait("first_picture")
            say("bob sees the picture of alice")
            alice.say("feed 1")
            alice.wait("feeding")
            watch(alice, bob, samples, sys.stdout.isatty() and not options.plain)
            shown = alice.ask("enough", "shown")["count"]
            pictures = judge_pictures(last_look(bob, shown), shown)
            alice.finish()
            bob.wait("track_unsubscribed")
            bob.finish()
    result = peers.compare(source, peers.read_wav(OUT / "heard.wav"))
    good = (result["correlation"] >= LIMITS["correlation"] and abs(result["level_db"]) <= LIMITS["level_db"]
            and result["gap_ms"] <= LIMITS["gap_ms"])
    clear = pictures["share"] >= LIMITS["seen"] and pictures["worst_psnr_db"] >= LIMITS["psnr_db"]
    (OUT / "stats.json").write_text(json.dumps({
        "library": peers.library_path("ours") or "stock", "sender": options.sender, "receiver": options.receiver,
        "limits": LIMITS, "result": result, "heard": good, "pictures": pictures, "saw": clear, "samples": samples}, indent=1) + "\n")
    say(f"correlation {result['correlation']:.3f} (at least {LIMITS['correlation']}), level {result['level_db']:+.1f} dB "
        f"(within {LIMITS['level_db']:.0f}), longest gap {result['gap_ms']:.0f} ms (at most {LIMITS['gap_ms']:.0f})")
    say(f"{pictures['share'] * 100:.1f} % of {pictures['shown']} pictures seen (at least {LIMITS['seen'] * 100:.0f} %), luma "
        f"{pictures['psnr_db']:.1f} dB, at worst {pictures['worst_psnr_db']:.1f} dB (at least {LIMITS['psnr_db']:.0f} dB)")
    where = f"; see {OUT.name}/" if OUT.parent == pathlib.Path.cwd() else ""
    say(("heard" if good else "NOT HEARD") + " and " + ("seen" if clear else "NOT SEEN") + where)
    say("see it yourself: build/lkc serve --dev prints a link that joins a room in the browser")
    return 0 if good and clear else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sender", choices=["ours", "stock"], default="ours")
    parser.add_argument("--receiver", choices=["ours", "stock"], default="ours")
    parser.add_argument("--wav", help="mono, 48 kHz, 16 bit; instead of the spoken sentence")
    parser.add_argument("--plain", action="store_true", help="a line per second instead of a table")
    options = parser.parse_args()
    missing = [str(p) for p in (peers.OUR_SERVER, peers.OURS) if not p.exists()]
    if peers.library_path("ours") != str(peers.OURS):
        missing = [m for m in missing if m != str(peers.OURS)]
    if missing:
        print(f"demo: {', '.join(missing)} is missing; `make demo` makes it", file=sys.stderr)
        return 2
    try:
        return run(options)
    except (TimeoutError, RuntimeError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
