# SPDX-License-Identifier: Apache-2.0
"""Loss, jitter and mute in turn over one call: which measured fields move, and by how much against the other side.

One call runs over a link of the test's own, which knows exactly what it dropped. Each phase takes the statistics
before and after, of both sides, and looks at the differences.
"""
import contextlib
import time

import pytest

import peers
import world

PHASE_SECONDS = 5


class Both:
    """Statistics of both sides at one moment."""

    def __init__(self, call):
        sides = (call.alice, call.bob)
        for side in sides:  # at once: what is sent between two looks is missing in the comparison
            side.say("stats")
        self.alice, self.bob = (peers.by_kind(side.wait("stats")["stats"]) for side in sides)
        for side in sides:
            side.wait("done", order="stats")
        self.lost_up, self.lost_down = call.net.up.lost, call.net.down.lost
        self.time = time.monotonic()

    def inbound(self):
        return self.bob["inbound_rtp"][0]

    def outbound(self):
        return self.alice["outbound_rtp"][0]

    def source(self):
        return self.alice["media_source"][0]

    def report(self):
        """What the server tells the sender."""
        return self.alice["remote_inbound_rtp"][0]


class Change:
    def __init__(self, before, after):
        self.before, self.after, self.seconds = before, after, after.time - before.time

    def reported(self, field):
        return self.after.report()[field] - self.before.report()[field]

    def __getattr__(self, entry):
        def difference(field):
            return getattr(self.after, entry)()[field] - getattr(self.before, entry)()[field]
        return difference


# What the link does (loss up, loss down, jitter in ms) and whether Alice is muted.
PHASES = {"clean": (0, 0, 0, False), "loss_up": (0.10, 0, 0, False), "loss_down": (0, 0.10, 0, False), "jitter": (0, 0, 60, False),
          "mute": (0, 0, 0, True)}


class Story:
    """A call, and the phases of it that were looked at so far."""

    def __init__(self, net, alice, bob):
        self.net, self.alice, self.bob, self.muted, self.kept = net, alice, bob, False, {}

    def measure(self, name):
        self.net.up.loss, self.net.down.loss, self.net.up.jitter_ms, muted = PHASES[name]
        if muted != self.muted:
            self.muted, word = muted, "mute" if muted else "unmute"
            self.alice.ask(word, f"track_{word}d")
            self.bob.wait(f"track_{word}d")
            time.sleep(0.5)  # what was on its way
        before = Both(self)
        time.sleep(PHASE_SECONDS)  # the length of what is measured, not a wait for something
        self.kept[name] = Change(before, Both(self))
        return self.kept[name]

    def phase(self, name):
        return self.kept.get(name) or self.measure(name)

    def judge(self, name, judge):
        """The phase as it was measured, or once more if somebody stood still in it."""
        kept = [self.kept[name]] if name in self.kept else []
        return peers.undisturbed(lambda: kept.pop() if kept else self.measure(name), judge)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The whole story is told once; the tests read it."""
    directory = tmp_path_factory.mktemp("stats")
    peers.write_wav(directory / "s.wav", peers.speech())
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(world.World(seed=11))
        server = stack.enter_context(peers.Server(address=net.address, netns=net.server))
        bob = stack.enter_context(peers.Program("receive", "ours", server.url, peers.token("bob"),
                                                out=directory / "heard.wav", netns=net.clients))
        alice = stack.enter_context(peers.Program("publish", "ours", server.url, peers.token("alice"),
                                                  wav=directory / "s.wav", netns=net.clients))
        alice.wait("published")
        bob.wait("first_frame")
        alice.say("feed 60")  # longer than any story
        alice.wait("feeding")
        peers.wait_for(lambda: "remote_inbound_rtp" in alice.stats() and "remote_outbound_rtp" in bob.stats(), 20, "the first reports")
        yield Story(net, alice, bob)


def test_clean(story):
    def judge(seen):
        assert seen.after.inbound()["jitter"] < 0.010
        assert seen.inbound("packets_lost") == 0 and seen.inbound("concealed_samples") <= 0.01 * 48000 * seen.seconds
        sent, received = seen.outbound("packets_sent"), seen.inbound("packets_received")
        assert 35 * seen.seconds < sent < 60 * seen.seconds
        assert abs(sent - received) <= 0.1 * sent + 5, (sent, received)
        assert abs(seen.outbound("bytes_sent") - seen.inbound("bytes_received")) <= 0.1 * seen.outbound("bytes_sent")
        samples = seen.inbound("total_samples_received")
        assert abs(samples / 48000 - seen.seconds) < 0.1 * seen.seconds
        assert abs(seen.inbound("total_samples_duration") - seen.seconds) < 0.1 * seen.seconds
        assert abs(seen.source("total_samples_duration") - seen.seconds) < 0.1 * seen.seconds
        assert seen.source("total_audio_energy") > 0
        ratio = seen.inbound("total_audio_energy") / seen.source("total_audio_energy")
        assert 0.5 < ratio < 2, "the energy that was captured is the energy that was heard"
        pair = seen.after.alice["candidate_pair"][0]
        assert 0 <= pair["current_round_trip_time"] < 0.1
        assert seen.after.alice["outbound_rtp"][0]["target_bitrate"] == pytest.approx(48000, rel=0.5)
    story.judge("clean", judge)


def test_loss_on_the_way_up(story):
    """What the link dropped is what the listener misses and what the server reports to the sender."""
    def judge(seen):
        dropped, sent = seen.after.lost_up - seen.before.lost_up, seen.outbound("packets_sent")
        assert dropped > 10, "the link did nothing"
        resent = seen.outbound("retransmitted_packets_sent")
        lost, came = seen.inbound("packets_lost"), seen.inbound("packets_received")
        # A few of the dropped are checks and reports; what was sent again came after all.
        assert 0.7 * dropped - 3 <= lost + resent <= dropped + 2, (lost, resent, dropped)
        assert abs(sent - came - lost) <= 8, (sent, came, lost)
        assert sent > 45 * seen.seconds, "the sender goes on as before"
        # The report is up to some seconds old, so it may still speak of a part only.
        assert 0.3 * dropped - 3 <= seen.reported("packets_lost") <= dropped + 2, (seen.reported("packets_lost"), dropped)
        assert seen.outbound("nack_count") >= (1 if resent else 0) and resent <= dropped * 2
        repaired = seen.inbound("fec_packets_received") - seen.inbound("fec_packets_discarded")
        assert 0.5 * lost <= repaired <= lost + 1, "single losses are repaired by the copy in the next packet"
        assert seen.inbound("concealment_events") <= seen.inbound("concealed_samples") / 240
    story.judge("loss_up", judge)


def test_loss_on_the_way_down(story):
    def judge(seen):
        dropped, sent = seen.after.lost_down - seen.before.lost_down, seen.outbound("packets_sent")
        assert dropped > 10, "the link did nothing"
        lost, came = seen.inbound("packets_lost"), seen.inbound("packets_received")
        again = seen.inbound("retransmitted_packets_received")
        assert 0.7 * dropped - 3 <= lost + again <= dropped + 2, (lost, again, dropped)
        assert abs(sent - came - lost) <= 8, (sent, came, lost)
        assert seen.reported("packets_lost") <= 4 + story.phase("loss_up").inbound("packets_lost"), "the way up loses nothing now"
        repaired = seen.inbound("fec_packets_received") - seen.inbound("fec_packets_discarded")
        assert 0.5 * lost <= repaired <= lost + 1
        assert seen.inbound("concealed_samples") < 0.25 * 48000 * seen.seconds
        assert seen.outbound("retransmitted_packets_sent") == 0 and sent > 45 * seen.seconds
    story.judge("loss_down", judge)


def test_jitter(story):
    def judge(seen):
        rough = seen.after.inbound()["jitter"]
        # Uniform 0..60 ms: the mean difference of two packets is 20 ms, and the estimate of RFC 3550 goes there.
        assert 0.008 < rough < 0.045, "and not as in the clean phase"
        assert 0.008 < seen.after.report()["jitter"] < 0.045, "the server sees the same"

        def per_sample(phase, field):
            return phase.inbound(field) / max(1, phase.inbound("jitter_buffer_emitted_count"))
        # The target goes to the 95th percentile of 0..60 ms and somewhat above; a packet waits for it less its own delay.
        assert 0.045 < per_sample(seen, "jitter_buffer_target_delay") < 0.15
        assert 0.020 < per_sample(seen, "jitter_buffer_delay") < 0.15
        assert -2 <= seen.inbound("packets_lost") <= 2 and seen.inbound("nack_count") <= 2, "late is not lost"
        assert abs(seen.outbound("packets_sent") - seen.inbound("packets_received")) <= 8
        assert seen.inbound("concealed_samples") < 0.15 * 48000 * seen.seconds
    story.judge("jitter", judge)


def test_mute(story):
    def judge(seen):
        assert seen.outbound("packets_sent") < 15 * seen.seconds, "silence is not sent in full"
        assert seen.outbound("bytes_sent") < 0.2 * story.phase("clean").outbound("bytes_sent")
        # The level falls to a quarter every tenth of a second, as the reference's does: a trace of it is left.
        assert seen.source("total_audio_energy") < 2e-3 * story.phase("clean").source("total_audio_energy")
        assert seen.after.source()["audio_level"] < 0.001
        assert abs(seen.source("total_samples_duration") - seen.seconds) < 0.1 * seen.seconds, "its clock goes on"
        assert seen.inbound("total_audio_energy") < 1e-4 * story.phase("clean").inbound("total_audio_energy")
        assert seen.after.inbound()["audio_level"] < 0.001
        assert abs(seen.inbound("total_samples_received") / 48000 - seen.seconds) < 0.15 * seen.seconds, "silence is played"
        assert -2 <= seen.inbound("packets_lost") <= 0, "what is not sent is not lost"
    story.judge("mute", judge)


def test_the_other_side_counts_alike(story):
    """Round trips of the reports, and the path under all of it."""
    def judge(phase):
        trips = phase.reported("round_trip_time_measurements")
        assert 2 <= trips <= 2 * phase.seconds, trips
        assert 0 < phase.reported("total_round_trip_time") < 0.2 * trips, "a loopback, and 60 ms at most"
        pair = {f: phase.after.alice["candidate_pair"][0][f] - phase.before.alice["candidate_pair"][0][f]
                for f in ("packets_sent", "bytes_sent", "requests_sent", "responses_received")}
        # Each packet of the track, and some reports and checks.
        assert 0 <= pair["packets_sent"] - phase.outbound("packets_sent") <= 4 * phase.seconds, pair
        media = phase.outbound("bytes_sent") + phase.outbound("header_bytes_sent")
        assert media <= pair["bytes_sent"] <= media + 30 * pair["packets_sent"], (media, pair)
        assert 0 <= pair["responses_received"] <= pair["requests_sent"] + 1 <= phase.seconds + 2
    for name in ("clean", "loss_up", "jitter"):
        story.judge(name, judge)


def test_counters_never_go_back(story):
    counters = {"inbound": ["packets_received", "bytes_received", "total_samples_received", "concealed_samples",
                            "jitter_buffer_emitted_count", "total_audio_energy", "header_bytes_received"],
                "outbound": ["packets_sent", "bytes_sent", "header_bytes_sent", "retransmitted_packets_sent"],
                "source": ["total_audio_energy", "total_samples_duration"]}
    for phase in map(story.phase, PHASES):
        for entry, fields in counters.items():
            for field in fields:
                assert getattr(phase, entry)(field) >= 0, (entry, field)
