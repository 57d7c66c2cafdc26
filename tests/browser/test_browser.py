# SPDX-License-Identifier: Apache-2.0
"""A room with a browser in it: the official client in Chromium on one side, the Python SDK on the other, both ways."""
import contextlib
import hashlib

import numpy as np
import pytest

import peers
from partner import draw_number, message, read_number
from stage import Partner

# The harness is proven with the library that has it all; ours takes its place with each part that it carries.
VIDEO, DATA, EVERYTHING = ["ours"], ["stock"], ["stock"]
BLOCKS_PER_SECOND = 50  # the instruments on both sides give loudness in blocks of 20 ms


def loudness(wav):
    samples = peers.read_wav(wav).astype(float)
    return np.sqrt((samples[:len(samples) // 960 * 960].reshape(-1, 960) ** 2).mean(axis=1))


def was_speaker(side, identity):
    return any(speaker["identity"] == identity for line in side.events("active_speakers_changed")
               for speaker in line["args"][0])


def recognise(spoken, levels):
    """How well the modulation of `levels` follows that of `spoken` where it fits best, and the longest gap in it.

    Compared piece by piece (half a second each, which a jitter buffer may move by 300 ms), as the correlation of
    loudness about its mean: steady noise gives 0, other speech about a half.
    """
    levels = np.asarray(levels, float)
    if not len(levels):
        return {"likeness": 0.0, "gap_ms": len(spoken) * 20, "loudest": 0.0}
    size = len(spoken) + len(levels)
    cross = np.fft.irfft(np.fft.rfft(levels - levels.mean(), 2 * size)
                         * np.conj(np.fft.rfft(spoken - spoken.mean(), 2 * size)))
    shift = int(np.argmax(np.concatenate([cross[:len(levels)], cross[-len(spoken):]])))
    shift = shift - size if shift >= len(levels) else shift
    padded = np.concatenate([np.zeros(len(spoken)), levels, np.zeros(len(spoken))])
    piece, reach, aligned = BLOCKS_PER_SECOND // 2, 15, np.zeros(len(spoken))
    for start in range(0, len(spoken), piece):
        want = spoken[start:start + piece]
        at = max(0, start + shift + len(spoken))
        found = [padded[at + k:at + k + len(want)] for k in range(-reach, reach + 1)
                 if at + k >= 0 and at + k + len(want) <= len(padded)]
        aligned[start:start + piece] = max(found, key=lambda x: float(np.dot(x, want) / (np.linalg.norm(x) + 1)))
    gap = longest = 0
    for want, got in zip(spoken, aligned):
        gap = gap + 1 if want > 300 and got < 15 else 0
        longest = max(longest, gap)
    likeness = float(np.corrcoef(spoken, aligned)[0, 1]) if aligned.std() else 0.0
    return {"likeness": likeness, "gap_ms": longest * 20, "loudest": float(aligned.max())}


def test_recognition_knows_one_voice_from_the_other(wavs):
    """The measure itself: delay, another level and a lost packet pass; the other's words, noise and a freeze do not."""
    mine, other = map(loudness, wavs)
    late = np.concatenate([np.full(77, 3.0), mine * 0.8, np.zeros(40)])
    assert recognise(mine, late)["likeness"] > 0.99
    assert recognise(mine, np.concatenate([other, other]))["likeness"] < 0.8
    assert recognise(mine, np.random.default_rng(1).normal(2000, 300, 600))["likeness"] < 0.8
    frozen = late.copy()
    loud = int(np.argmax(np.convolve(late, np.ones(30), "valid")))
    frozen[loud:loud + 30] = 0
    assert recognise(mine, frozen)["gap_ms"] > 300


def messages(levels, length, times):
    """What was heard around the time of each of so many messages; a halt moves one by three seconds at most."""
    slack = 3 * BLOCKS_PER_SECOND
    return [levels[max(0, i * length - slack):(i + 1) * length + slack] for i in range(times)]


def test_messages_are_counted_however_a_halt_moves_them(wavs):
    mine, halt = loudness(wavs[0]), np.zeros(100)
    heard = {"both": [mine, mine], "moved": [halt, mine, mine], "apart": [mine, halt, mine], "the second": [mine[:170], halt, mine[170:], mine],
             "the first": [mine, mine[:170], halt, mine[170:]], "none": [halt, halt]}
    good = {name: [recognise(mine, part)["likeness"] >= 0.9 for part in messages(np.concatenate(pieces), len(mine), 2)]
            for name, pieces in heard.items()}
    assert good == {"both": [True, True], "moved": [True, True], "apart": [True, True], "the second": [False, True],
                    "the first": [True, False], "none": [False, False]}


def about(identity, side, event):
    """The next such event at that side that concerns that participant: the client reports its own doings as well."""
    while True:
        line = side.wait(event)
        if any(isinstance(a, dict) and a.get("identity") == identity for a in line["args"]):
            return line


class Call:
    """The browser and its partner in one room; both have said so."""

    def __init__(self, page, server, room, wavs, library):
        self.page = page
        token = peers.token("partner", room, name="Partner Ä", can_update_own_metadata=True, metadata="also from a token",
                            attributes={"role": "partner"})
        self.partner = Partner("watch", library, server.url, token, wav=wavs[1])
        try:
            self.partner.wait("connected")
            token = peers.token("browser", room, name="Browser", can_update_own_metadata=True, metadata="from the token")
            page.say(f"join {server.url} {token}")
            page.wait("connected")
            self.partner.wait("participant_connected")
        except BaseException:
            self.partner.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.page.say("leave")
                self.page.wait("disconnected")
                self.partner.wait("participant_disconnected")
                assert self.partner.finish() == 0
        finally:
            self.partner.__exit__()

    def voices(self):
        """Both publish their microphone; returns (browser's publication, partner's)."""
        self.page.say("speak")
        theirs = self.page.wait("published", kind="audio")["sid"]
        assert self.partner.wait("track_subscribed", publication=theirs)["type"] == "RemoteAudioTrack"
        self.partner.say("publish")
        ours = self.partner.wait("published")["publication"]
        subscribed = self.page.wait("track_subscribed", sid=ours)
        assert (subscribed["identity"], subscribed["kind"], subscribed["source"]) == ("partner", "audio", "microphone")
        self.partner.wait("first_sound", sid=theirs)
        self.page.wait("first_sound", sid=ours)
        return theirs, ours

    def talk(self, theirs, ours, times=1):
        """Both speak at once; returns what each heard of the other."""
        for side, sid in ((self.partner, theirs), (self.page, ours)):
            side.ask(f"hear {sid} forget", "hear")
        self.page.say(f"bg say {times}")
        self.partner.say(f"feed {times}")
        self.page.wait("spoken", 60)
        self.partner.wait("fed", 60)
        return [side.ask(f"hear {sid} forget", "hear")["levels"] for side, sid in ((self.partner, theirs),
                                                                                   (self.page, ours))]

    def converse(self, theirs, ours, spoken, times=1):
        """Both say their words so many times at once, and so often each hears those of the other, never its own.

        A message that is torn because somebody stood still is said again, on a busy machine, twice at most: silence, noise and a voice that
        stops, is torn or has gaps of half a second in each message do not get there.
        """
        missing, results = [times, times], []
        for _ in range(peers.TRIES):
            watch = peers.Watch()
            for way, got in enumerate(self.talk(theirs, ours, times)):
                own = recognise(np.tile(spoken[1 - way], times), got)
                assert own["likeness"] < 0.8, ("it must be the other's voice, not one's own", way, own)
                for part in messages(got, len(spoken[way]), times):
                    results.append((way, recognise(spoken[way], part)))
                    missing[way] -= results[-1][1]["likeness"] >= 0.9 and results[-1][1]["gap_ms"] <= 500
            if max(missing) <= 0:
                return
            if not watch.excuses(results):
                break
        raise AssertionError(results)

    def pictures(self, rate=20, layers=""):
        """Both publish their picture; returns (browser's publication, partner's)."""
        self.page.say(f"draw {rate} {layers}")
        theirs = self.page.wait("published", kind="video")["sid"]
        assert self.partner.wait("track_subscribed", publication=theirs)["type"] == "RemoteVideoTrack"
        self.partner.say(f"draw {rate} {layers}")
        ours = self.partner.wait("published", kind="video")["sid"]
        subscribed = self.page.wait("track_subscribed", sid=ours)
        assert (subscribed["identity"], subscribed["kind"], subscribed["source"]) == ("partner", "video", "camera")
        assert subscribed["mime"].lower() == "video/vp8"
        self.partner.wait("first_picture", sid=theirs)
        self.page.wait("first_picture", sid=ours)
        return theirs, ours

    def forget(self, theirs, ours):
        for receiver, sid in ((self.partner, theirs), (self.page, ours)):
            receiver.ask(f"see {sid} forget", "see")

    def watch(self, theirs, ours, numbers, seconds, rate, already=False):
        """Until each has seen so many more of the other's pictures and they flow for so long; what is seen adds up (already: what was seen
        before counts, and may be enough)."""
        ways = ((self.page, self.partner, theirs), (self.partner, self.page, ours))

        def look():
            nonlocal already
            for sender, receiver, sid in () if already else ways:
                receiver.say(f"reach {sid} {sender.ask('count')['number'] + numbers}")
            for _, receiver, sid in () if already else ways:
                receiver.wait("reached", 60, sid=sid)
            already = False
            return [receiver.ask(f"see {sid}", "see") for _, receiver, sid in ways]

        def judge(looks):
            for seen in looks:
                assert_flows(seen, seconds, rate)
        if not already:
            self.forget(theirs, ours)
        peers.undisturbed(look, judge)


FREEZE, STRETCH = 0.5, 3  # seconds


def assert_flows(seen, seconds, rate):
    """Numbers only grow, hardly a block is unclear, and for so long, in stretches of three seconds and more, nine of ten are seen and none is
    waited for longer than 0.5 s. A halt of either side ends a stretch and the next begins; what stands still, stutters or leaves out
    more than that has none that is long enough."""
    times, numbers = map(np.array, zip(*seen["frames"]))
    fresh = np.concatenate([[True], np.diff(numbers) != 0])
    times, numbers = times[fresh], numbers[fresh]
    assert (np.diff(numbers) > 0).all(), numbers.tolist()
    ends = np.flatnonzero((np.diff(times) > FREEZE) | (np.diff(numbers) > FREEZE * rate)) + 1
    facts = [{"seconds": float(t[-1] - t[0]), "frames": len(n), "of": int(n[-1] - n[0] + 1)}
             for t, n in zip(np.split(times, ends), np.split(numbers, ends))]
    flowing = [one["seconds"] for one in facts
               if one["seconds"] >= STRETCH and one["frames"] >= 0.9 * one["of"] >= 0.7 * one["seconds"] * rate]
    assert sum(flowing) >= seconds, facts
    assert seen["unreadable"] <= 0.01 * len(numbers), (seen["unreadable"], facts)


def test_what_flows_and_what_does_not():
    def judged(frames, unreadable=0):
        try:
            assert_flows({"frames": frames, "unreadable": unreadable}, 10, 20)
            return True
        except AssertionError:
            return False
    whole = [(n / 20, n) for n in range(230)]
    assert judged(whole) and judged([(t, n) for t, n in whole if n % 15])
    assert not judged(whole, 5) and not judged(whole[:150]) and not judged([(t, n // 200) for t, n in whole])
    assert not judged([(t, n) for t, n in whole if n % 5]), "a fifth is missing"
    assert not judged(whole[:100] + whole[99:90:-1] + whole[100:]), "they go back"
    halted = [(n / 20 + (2 if n > 90 else 0), n) for n in range(300)]
    assert judged(halted) and judged([(n / 20, n) for n in range(300) if not 90 < n < 130]), "a halt of two seconds of him who shows, or looks"
    assert not judged([(n / 20 + n // 40, n) for n in range(900)]), "a second's halt every two seconds"
    assert not judged([(n / 8, n) for n in range(230)]), "too slow by far"


@pytest.mark.parametrize("library", ["ours"])
def test_each_sees_who_the_other_is(page, server, room, wavs, library):
    with Call(page, server, room, wavs, library) as call:
        browser = call.partner.ask("room")["remotes"]["browser"]
        assert (browser["name"], browser["metadata"], browser["attributes"]) == ("Browser", "from the token", {})
        partner = page.ask("room")["remotes"]["partner"]
        assert (partner["name"], partner["metadata"], partner["attributes"]) == (
            "Partner Ä", "also from a token", {"role": "partner"})
        for side, other, who in ((page, call.partner, "browser"), (call.partner, page, "partner")):
            side.say(f"metadata {who} 2")
            about(who, other, "participant_metadata_changed")
            side.say(f"name {who} Ω")
            about(who, other, "participant_name_changed")
            side.say('attributes {"seat": "7", "role": ""}')
            about(who, other, "participant_attributes_changed")
            seen = other.ask("room")["remotes"][who]
            assert (seen["name"], seen["metadata"], seen["attributes"]) == (f"{who} Ω", f"{who} 2", {"seat": "7"})


@pytest.mark.parametrize("library", ["ours"])
def test_mute_is_seen_and_silent_on_both_sides(page, server, room, wavs, library):
    spoken = [loudness(wav) for wav in wavs]
    with Call(page, server, room, wavs, library) as call:
        theirs, ours = call.voices()
        page.say("mute audio")
        call.partner.say("mute audio")
        about("browser", call.partner, "track_muted")
        about("partner", page, "track_muted")
        assert call.partner.ask("room")["remotes"]["browser"]["tracks"][theirs]["muted"]
        assert page.ask("room")["remotes"]["partner"]["tracks"][ours]["muted"]
        for got in call.talk(theirs, ours):
            assert max(got, default=0) < 15, "nothing of what was said while muted may be heard"
        page.say("unmute audio")
        call.partner.say("unmute audio")
        about("browser", call.partner, "track_unmuted")
        about("partner", page, "track_unmuted")
        call.converse(theirs, ours, spoken)


@pytest.mark.parametrize("library", ["ours"])
def test_a_browser_that_connects_again_is_heard_and_hears(page, server, room, wavs, library):
    """First it resumes its session, which its partner need not notice; then it joins anew and publishes anew, the last time told
    to use TCP."""
    spoken = [loudness(wav) for wav in wavs]
    with Call(page, server, room, wavs, library) as call:
        theirs, ours = call.voices()
        for scenario in ("signal-reconnect", "full-reconnect", "force-tcp"):
            peers.wait_for(lambda: page.ask(f"path {ours}", "path")["protocols"] == ["udp", "udp"], 20, "UDP both ways")
            page.say(f"simulate {scenario}")
            page.wait("reconnected", 60)
            if scenario != "signal-reconnect":
                again = call.partner.wait("track_subscribed", identity="browser")["publication"]
                assert again != theirs
                theirs = again
                page.wait("track_subscribed", sid=ours)
                call.partner.wait("first_sound", sid=theirs)
                page.wait("first_sound", sid=ours)
            call.converse(theirs, ours, spoken)
        assert page.ask(f"path {ours}", "path")["protocols"] == ["tcp", "tcp"]


def test_numbers_are_drawn_and_read():
    for number in (0, 1, 1365, 4095):
        luma = np.frombuffer(draw_number(number).data, np.uint8)[:640 * 360].reshape(360, 640)
        assert read_number(luma) == number
        assert read_number(luma[::2, ::2]) == number
        torn = luma.copy()
        torn[:120, 100:300] = 128
        assert read_number(torn) is None


@pytest.mark.parametrize("library", VIDEO)
def test_pictures_both_ways_for_ten_seconds(page, server, room, wavs, library):
    with Call(page, server, room, wavs, library) as call:
        theirs, ours = call.pictures()
        call.watch(theirs, ours, 230, 10, 20)
        page.say("mute video")
        call.partner.say("mute video")
        about("browser", call.partner, "track_muted")
        about("partner", page, "track_muted")
        before = [side.ask("count")["number"] for side in (page, call.partner)]
        peers.wait_for(lambda: all(side.ask("count")["number"] > n + 30 for side, n in
                                   zip((page, call.partner), before)), 20, "both to draw unseen")
        for side, other, sid, last in ((page, call.partner, theirs, before[0]), (call.partner, page, ours, before[1])):
            other.ask(f"see {sid} forget", "see")
            now = side.ask("count")["number"]
            other.say(f"reach {sid} {now}")
            side.say("unmute video")
            other.wait("reached", sid=sid)
            numbers = [n for _, n in other.ask(f"see {sid}", "see")["frames"]]
            assert not set(numbers) & set(range(last + 1, now - 5)), ("what was drawn while muted may not be seen", numbers)


def assert_messages(got, sender, reliable):
    for line in got:
        assert (line["from"], line["reliable"]) == (sender, reliable)
        assert line["sha256"] == hashlib.sha256(message(line["number"], line["size"])).hexdigest()


@pytest.mark.parametrize("library", DATA)
def test_data_is_echoed_both_ways(page, server, room, wavs, library):
    with Call(page, server, room, wavs, library) as call:
        for asker, answerer in ((page, call.partner), (call.partner, page)):
            who, other = ("browser", "partner") if asker is page else ("partner", "browser")
            for size, first, count in ((10, 0, 20), (15000, 100, 20), (60000, 200, 3)):
                asker.say(f"send ask reliable {size} {first} {count} {other}")
                for side, topic, sender in ((answerer, "ask", who), (asker, "answer", other)):
                    got = [side.wait("data", topic=topic, size=size) for _ in range(count)]
                    assert [line["number"] for line in got] == list(range(first, first + count))
                    assert_messages(got, sender, True)
            sides = ((answerer, "ask", who), (asker, "answer", other))

            def lossy(side, topic):
                return [line for line in side.events("data") if (line["topic"], line["size"]) == (topic, 500)]
            for first in range(300, 400, 20):  # nothing promises them all, and least while somebody stands still: then there are more
                asker.say(f"send ask lossy 500 {first} 20 {other} 20")
                with contextlib.suppress(TimeoutError):
                    peers.wait_for(lambda: all(len(lossy(side, topic)) >= 18 for side, topic, _ in sides), 5, "most of them")
                    break
            for side, topic, sender in sides:
                got = lossy(side, topic)
                assert len({line["number"] for line in got}) == len(got) >= 18
                assert_messages(got, sender, False)


@pytest.mark.parametrize("library", VIDEO)
def test_pictures_published_by_default_options(page, server, room, wavs, library):
    """From the browser these are several sizes and temporal layers, between which the server changes as it likes."""
    with Call(page, server, room, wavs, library) as call:
        theirs, ours = call.pictures(layers="simulcast")
        call.watch(theirs, ours, 125, 5, 20)


@pytest.mark.parametrize("library", VIDEO)
def test_a_browser_that_joins_late_sees_and_hears_at_once(page, server, room, wavs, library):
    with Partner("watch", library, server.url, peers.token("partner", room), wav=wavs[1]) as partner:
        partner.wait("connected")
        partner.say("draw 20")
        picture = partner.wait("published", kind="video")["sid"]
        partner.say("publish")
        voice = partner.wait("published")["publication"]
        peers.wait_for(lambda: partner.ask("count")["number"] > 60, 20, "three seconds to pass unseen")
        partner.say("feed 1")
        page.say(f"join {server.url} {peers.token('browser', room)}")
        page.wait("connected")
        now = partner.ask("count")["number"]
        # Ten seconds at most, where one that nobody asks for would never come.
        assert page.wait("first_picture", sid=picture)["number"] <= now + 200, "a key frame is made when asked for"
        page.wait("first_sound", sid=voice)
        partner.wait("fed", 60)
        assert partner.finish() == 0


@pytest.mark.parametrize("library", VIDEO)
def test_a_picture_may_change_its_size(page, server, room, wavs, library):
    with Partner("watch", library, server.url, peers.token("partner", room), wav=wavs[1]) as partner:
        partner.wait("connected")
        page.say(f"join {server.url} {peers.token('browser', room)}")
        page.wait("connected")
        partner.say("draw 20")
        sid = partner.wait("published", kind="video")["sid"]
        page.wait("first_picture", sid=sid)
        for width, height in ((320, 180), (480, 640), (640, 360)):
            partner.say(f"resize {width} {height}")
            page.say(f"reach {sid} {partner.ask('count')['number'] + 10}")
            page.wait("reached", sid=sid)
            # A loaded sender may halve what it sends; the shape stays.
            peers.wait_for(lambda: abs(np.divide(*page.ask(f"see {sid}", "see")["size"]) - width / height) < 0.02, 20,
                           f"{width}x{height}")
        seen = page.ask(f"see {sid}", "see")
        assert seen["unreadable"] <= 2, "no torn or mixed picture is shown"
        assert partner.finish() == 0


@pytest.mark.parametrize("library", EVERYTHING)
def test_ten_seconds_of_everything(page, server, room, wavs, library):
    spoken = [loudness(wav) for wav in wavs]
    assert 2 * len(spoken[0]) >= 10 * BLOCKS_PER_SECOND
    with Call(page, server, room, wavs, library) as call:
        voices, pictures = call.voices(), call.pictures(rate=15)
        call.forget(*pictures)
        page.say("bg send ask reliable 1000 0 200 partner 50")
        call.converse(*voices, spoken, times=2)
        call.watch(*pictures, 75, 10, 15, already=True)
        answers = [page.wait("data", topic="answer") for _ in range(200)]
        assert [line["number"] for line in answers] == list(range(200))
        assert_messages(answers, "partner", True)


@pytest.mark.parametrize("library", ["ours"])
def test_speech_both_ways_for_ten_seconds(page, server, room, wavs, library):
    spoken = [loudness(wav) for wav in wavs]
    assert 2 * len(spoken[0]) >= 10 * BLOCKS_PER_SECOND
    with Call(page, server, room, wavs, library) as call:
        voices = call.voices()
        call.converse(*voices, spoken, times=2)
        peers.wait_for(lambda: was_speaker(page, "partner") and was_speaker(call.partner, "browser"), 20, "each to be told who spoke")
