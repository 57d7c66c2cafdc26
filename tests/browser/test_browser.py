# SPDX-License-Identifier: Apache-2.0
"""A room with a browser in it: the official client in Chromium on one side, the Python SDK on the other, both ways."""
import numpy as np
import pytest

import peers
from conftest import Partner

BLOCKS_PER_SECOND = 50  # the instruments on both sides give loudness in blocks of 20 ms


def loudness(wav):
    samples = peers.read_wav(wav).astype(float)
    return np.sqrt((samples[:len(samples) // 960 * 960].reshape(-1, 960) ** 2).mean(axis=1))


def recognise(spoken, levels):
    """How well the modulation of `levels` follows that of `spoken` where it fits best, and the longest gap in it.

    Compared piece by piece (half a second each, which a jitter buffer may move by 300 ms), as the correlation of
    loudness about its mean: steady noise gives 0, other speech about a half.
    """
    levels = np.asarray(levels, float)
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


class Call:
    """The browser and its partner in one room; both have said so."""

    def __init__(self, page, server, room, wavs, library, **join):
        self.page, self.partner = page, Partner("watch", library, server.url, peers.token("partner", room), wav=wavs[1])
        try:
            self.partner.wait("connected")
            token = peers.token("browser", room, can_update_own_metadata=True, metadata="from the token")
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


@pytest.mark.parametrize("library", ["ours"])
def test_speech_both_ways_for_ten_seconds(page, server, room, wavs, library):
    spoken = [np.tile(loudness(wav), 2) for wav in wavs]
    assert len(spoken[0]) >= 10 * BLOCKS_PER_SECOND
    with Call(page, server, room, wavs, library) as call:
        voices = call.voices()
        for want, other, got in zip(spoken, reversed(spoken), call.talk(*voices, times=2)):
            result = recognise(want, got)
            assert result["likeness"] >= 0.9 and result["gap_ms"] <= 500, result
            assert recognise(other, got)["likeness"] < 0.8, "it must be the other's voice, not one's own"
