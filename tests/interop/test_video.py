# SPDX-License-Identifier: Apache-2.0
"""Pictures between our library and the stock one, by content, through the real server."""
import time

import pytest

import peers
import pictures
import world


def see(server, room, tmp_path, sender="ours", receiver="ours", seconds=5, netns=None, late=False):
    """Alice shows a moving picture, Bob looks; returns what he saw, how many were shown and both statistics."""
    with peers.Program("watch", sender, server.url, peers.token("alice", room), netns=netns) as alice:
        alice.wait("connected")
        if late:
            alice.ask("show", "showing")
        with peers.Program("watch", receiver, server.url, peers.token("bob", room), netns=netns,
                           picture=tmp_path / "seen.png") as bob:
            bob.wait("connected")
            if not late:
                alice.ask("show", "showing")
            track = bob.wait("track_subscribed", identity="alice")
            assert track["type"] == "RemoteVideoTrack"
            began = time.monotonic()
            first = bob.wait("first_picture")
            waited = time.monotonic() - began
            assert (first["width"], first["height"]) == (pictures.WIDTH, pictures.HEIGHT)
            time.sleep(seconds)  # the length of the call: what is judged is what happened in it
            # The receiver first: then he has no more than was sent.
            stats = {name: peers.by_kind(side.ask("picture_stats")["stats"]) for name, side in (("bob", bob), ("alice", alice))}
            shown = alice.ask("enough", "shown")["count"]
            until = time.monotonic() + 3
            while (seen := bob.ask("seen")) and time.monotonic() < until and shown - 1 not in seen["numbers"]:
                pass
            assert bob.finish() == 0
        assert alice.finish() == 0
    numbers = seen["numbers"]
    expected = shown - min(numbers)
    return {"share": len(numbers) / expected, "psnr_db": min(seen["psnr_db"]), "waited": waited, "shown": shown, "seen": len(numbers),
            "stats": stats, "first": min(numbers), "unreadable": seen["unreadable"]}


def facts(result):
    return {k: v for k, v in result.items() if k != "stats"}


@pytest.mark.parametrize("sender,receiver", [("ours", "ours"), ("ours", "stock"), ("stock", "ours")])
def test_a_moving_picture_is_seen(server, room, tmp_path, sender, receiver):
    result = see(server, room, tmp_path, sender, receiver)
    assert result["share"] >= 0.9 and result["psnr_db"] >= 30, facts(result)
    assert (tmp_path / "seen.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_who_comes_late_sees_at_once(server, room, tmp_path):
    """The server asks for a key frame on his behalf, and gets one."""
    result = see(server, room, tmp_path, late=True, seconds=1)
    assert result["waited"] < 2 and result["psnr_db"] >= 30, facts(result)
    assert result["stats"]["alice"]["outbound_rtp"][0]["key_frames_encoded"] >= 2


def test_statistics_of_both_sides_agree(server, room, tmp_path):
    stats = see(server, room, tmp_path, seconds=4)["stats"]
    out, source, there = (stats["alice"][kind][0] for kind in ("outbound_rtp", "media_source", "remote_inbound_rtp"))
    into = stats["bob"]["inbound_rtp"][0]
    assert (out["kind"], into["kind"], source["kind"]) == ("video",) * 3
    assert (out["frame_width"], out["frame_height"]) == (into["frame_width"], into["frame_height"]) == (pictures.WIDTH, pictures.HEIGHT)
    assert source["frames"] >= out["frames_encoded"] >= into["frames_decoded"] >= 50
    assert into["frames_decoded"] >= 0.8 * out["frames_encoded"]
    assert 0 < out["qp_sum"] and 0 < into["qp_sum"] and out["total_encode_time"] > 0 and into["total_decode_time"] > 0
    assert out["encoder_implementation"] == into["decoder_implementation"] == "libvpx"
    assert out["packets_sent"] >= into["packets_received"] > 0 and there["packets_lost"] == into["packets_lost"] == 0
    assert stats["alice"]["codec"][0]["mime_type"] == stats["bob"]["codec"][0]["mime_type"] == "video/VP8"


# At 15 % each way a third of the packets needs a second chance: from call to call 0.7 to 1 of the pictures come through (the stock
# library: 0.5), so it is judged over a longer time and for standing still.
@pytest.mark.parametrize("loss,share,freeze_seconds,seconds", [(0.05, 0.95, 1.0, 8), (0.15, 0.5, 1.0, 16)])
def test_loss_both_ways(room, tmp_path, loss, share, freeze_seconds, seconds):
    with world.World(seed=7) as net, peers.Server(address=net.address, netns=net.server) as server:
        net.up.loss = net.down.loss = loss
        result = see(server, room, tmp_path, seconds=seconds, netns=net.clients)
        assert net.up.lost > 20 and net.down.lost > 20, "the link did nothing"
    into, out = result["stats"]["bob"]["inbound_rtp"][0], result["stats"]["alice"]["outbound_rtp"][0]
    # What the stream of a slow reader leaves out is not the path's loss: frames are counted where they are decoded.
    assert into["frames_decoded"] >= share * (out["frames_encoded"] - result["first"]), (facts(result), into, out)
    if into["freeze_count"]:
        assert into["total_freeze_duration"] / into["freeze_count"] <= freeze_seconds, into
    assert into["nack_count"] > 0 and into["retransmitted_packets_received"] > 0, into
