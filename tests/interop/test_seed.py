# SPDX-License-Identifier: Apache-2.0
"""Track, LocalAudioTrack and RemoteAudioTrack of livekit.rtc.track, element by element, on our library and on the
stock one: the same story is told on both, and what each element said at each station must be the same."""
import re

import pytest

import peers

# What a call really measures. Where the stock library has a number here that is not 0, ours must have one too.
MEASURED = {
    "outbound_rtp": ["ssrc", "packets_sent", "bytes_sent", "header_bytes_sent", "target_bitrate"],
    "remote_inbound_rtp": ["ssrc", "round_trip_time_measurements"],
    "media_source": ["audio_level", "total_audio_energy", "total_samples_duration"],
    "inbound_rtp": ["ssrc", "packets_received", "bytes_received", "header_bytes_received",
                    "last_packet_received_timestamp", "jitter_buffer_delay", "jitter_buffer_emitted_count",
                    "jitter_buffer_target_delay", "total_samples_received", "total_samples_duration", "audio_level",
                    "total_audio_energy"],
    "remote_outbound_rtp": ["ssrc", "packets_sent", "bytes_sent", "remote_timestamp", "reports_sent"],
    "candidate_pair": ["packets_sent", "packets_received", "bytes_sent", "bytes_received",
                       "last_packet_sent_timestamp", "last_packet_received_timestamp", "requests_sent",
                       "responses_received"],
    "transport": ["packets_sent", "packets_received", "bytes_sent", "bytes_received"],
    "codec": ["payload_type", "clock_rate", "channels"],
    "local_candidate": ["port", "priority"],
    "remote_candidate": ["port", "priority"],
}
# Words and flags that must be the very same.
EQUAL = {
    "codec": ["mime_type", "clock_rate", "channels", "sdp_fmtp_line", "payload_type"],
    "outbound_rtp": ["kind", "rid", "active", "quality_limitation_reason", "encoder_implementation",
                     "power_efficient_encoder", "scalability_mode", "frame_width", "frames_encoded"],
    "inbound_rtp": ["kind", "decoder_implementation", "playout_id", "frames_decoded", "fir_count", "frame_width"],
    "remote_inbound_rtp": ["kind"],
    "remote_outbound_rtp": ["kind"],
    "media_source": ["kind", "width", "height", "frames"],
    "candidate_pair": ["state", "nominated"],
    "local_candidate": ["protocol", "candidate_type", "url", "related_address"],
    "transport": ["ice_role", "dtls_state", "ice_state", "tls_version", "dtls_role"],
    "certificate": ["fingerprint_algorithm", "issuer_certificate_id"],
}
ID = {"certificate": r"CF([0-9A-F]{2}:){31}[0-9A-F]{2}", "codec": r"C[IO]T01_\d+(_.*)?",
      "candidate_pair": r"CP[A-Za-z0-9+/]{8}_[A-Za-z0-9+/]{8}", "local_candidate": r"I[A-Za-z0-9+/]{8}",
      "remote_candidate": r"I[A-Za-z0-9+/]{8}", "outbound_rtp": r"OT01A\d+", "inbound_rtp": r"IT01A\d+",
      "remote_inbound_rtp": r"RIA\d+", "remote_outbound_rtp": r"ROA\d+", "media_source": r"SA\d+", "transport": r"T01"}
REFERENCES = ["transport_id", "codec_id", "media_source_id", "remote_id", "local_id", "local_candidate_id",
              "remote_candidate_id", "selected_candidate_pair_id", "local_certificate_id", "remote_certificate_id"]


def element(line):
    return {k: line[k] for k in ("type", "name", "kind", "stream_state", "muted")}


def reported(side, kind, field):
    """Statistics once the other side's reports say something (it takes seconds), of a moment with sound in it, not between two words."""
    kept = {}

    def there():
        kept.update(side.stats())
        return kind in kept and kept[kind][0][field] and all(e.get("audio_level", 1) for entries in kept.values() for e in entries)
    peers.wait_for(there, 30, f"{kind}.{field} and a level at {side.name}")
    return kept


def story(server, room, tmp_path, library):
    source = peers.speech()
    wav = tmp_path / f"{library}.wav"
    peers.write_wav(wav, source)
    seen = {}
    with peers.Program("receive", library, server.url, peers.token("bob", room), out=tmp_path / "heard.wav") as bob:
        bob.wait("connected")
        with peers.Program("publish", library, server.url, peers.token("alice", room), wav=wav) as alice:
            created = alice.wait("created")
            seen["local, created"] = element(created)
            assert created["sid"] == "TR_unknown"
            published = alice.wait("published")
            seen["local, published"] = element(published)
            assert re.fullmatch(r"TR_\w+", published["publication"]), published
            seen["local, sid is that of the publication"] = published["sid"] == published["publication"]
            subscribed = bob.wait("track_subscribed")
            seen["remote, subscribed"] = element(subscribed)
            assert subscribed["sid"] == subscribed["publication"] == published["publication"]
            bob.wait("first_frame")
            alice.say("feed 12")  # until it is told to hush, however long the reports take
            alice.wait("feeding")
            local = reported(alice, "remote_inbound_rtp", "round_trip_time_measurements")
            remote = reported(bob, "remote_outbound_rtp", "reports_sent")
            alice.say("hush")
            alice.say("mute")
            alice.wait("track_muted")
            seen["local, muted"] = element(alice.ask("describe"))
            bob.wait("track_muted")
            seen["remote, muted"] = element(bob.ask("describe"))
            alice.say("unmute")
            alice.wait("track_unmuted")
            seen["local, unmuted"] = element(alice.ask("describe"))
            bob.wait("track_unmuted")
            seen["remote, unmuted"] = element(bob.ask("describe"))
            alice.ask("unpublish", "local_track_unpublished")
            bob.wait("track_unsubscribed")
            seen["remote, unsubscribed"] = element(bob.ask("describe"))
            bob.ask("stats")  # empty or not, but never an error
            alice.say("stats")
            seen["local, statistics after unpublish"] = alice.wait("order_failed")["text"]
            assert alice.finish() == 0 and bob.finish() == 0
    return seen, {"local": local, "remote": remote}


@pytest.fixture(scope="module")
def told(server, tmp_path_factory):
    return {library: story(server, "seed-" + library, tmp_path_factory.mktemp(library), library)
            for library in ("stock", "ours")}


def test_elements_are_those_of_the_stock_library(told):
    assert told["ours"][0] == told["stock"][0]


@pytest.mark.parametrize("side", ["local", "remote"])
def test_statistics_have_the_same_entries(told, side):
    ours, stock = (told[library][1][side] for library in ("ours", "stock"))
    assert {k: len(v) for k, v in ours.items()} == {k: len(v) for k, v in stock.items()}


@pytest.mark.parametrize("side", ["local", "remote"])
def test_statistics_have_the_same_fields(told, side):
    ours, stock = (told[library][1][side] for library in ("ours", "stock"))
    for kind in stock:
        # Optional ones (the reference leaves relay_protocol and the like out) may differ by what a path needs.
        assert set(ours[kind][0]) == set(stock[kind][0]), kind


@pytest.mark.parametrize("side", ["local", "remote"])
def test_statistics_words_are_equal(told, side):
    ours, stock = (told[library][1][side] for library in ("ours", "stock"))
    for kind, fields in EQUAL.items():
        for field in fields if kind in stock else []:
            assert ours[kind][0][field] == stock[kind][0][field], (kind, field)


@pytest.mark.parametrize("side", ["local", "remote"])
def test_statistics_measure(told, side):
    ours, stock = (told[library][1][side] for library in ("ours", "stock"))
    missing = [(kind, field) for kind, fields in MEASURED.items() if kind in stock for field in fields
               if stock[kind][0][field] and not ours[kind][0][field]]
    assert not missing


@pytest.mark.parametrize("library", ["ours", "stock"])
@pytest.mark.parametrize("side", ["local", "remote"])
def test_statistics_ids(told, library, side):
    report = told[library][1][side]
    ids = {entry["id"] for entries in report.values() for entry in entries}
    for kind, entries in report.items():
        for entry in entries:
            assert re.fullmatch(ID[kind], entry["id"]), (kind, entry["id"])
            for name in REFERENCES:
                # remote_id is empty until the other side has reported.
                assert not entry.get(name) or entry[name] in ids, (kind, name, entry[name])
            assert 1.6e15 < entry["timestamp"] < 4e15, "microseconds of Unix time"
