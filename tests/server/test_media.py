# SPDX-License-Identifier: Apache-2.0
"""Packets through lkc serve on ways that are not friendly; the clients are the stock library."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import peers  # noqa: E402
import world  # noqa: E402
from test_video import see  # noqa: E402


def decoded(result):
    """The share of the pictures, where they are decoded: what a slow reader leaves out is not the way's loss."""
    into, out = result["stats"]["bob"]["inbound_rtp"][0], result["stats"]["alice"]["outbound_rtp"][0]
    return into["frames_decoded"] / (out["frames_encoded"] - result["first"])


def test_pictures_go_over_tcp_where_udp_is_blocked(tmp_path):
    with world.World(seed=11) as net, peers.Server(address=net.address, netns=net.server, ours=True) as server:
        net.up.udp_blocked = net.down.udp_blocked = True
        result = see(server, "tcp", tmp_path, "stock", "stock", seconds=4, netns=net.clients)
    assert decoded(result) >= 0.8 and result["psnr_db"] >= 25, result
    local = result["stats"]["bob"]["local_candidate"]
    assert any(c.get("protocol") == "tcp" for c in local), local


@pytest.mark.parametrize("loss", [0.05])
def test_lost_pictures_are_sent_again_to_the_stock_library(tmp_path, loss):
    with world.World(seed=12) as net, peers.Server(address=net.address, netns=net.server, ours=True) as server:
        net.up.loss = net.down.loss = loss
        result = see(server, "loss", tmp_path, "stock", "stock", seconds=6, netns=net.clients)
        assert net.up.lost > 5 and net.down.lost > 5, "the link did nothing"
    assert decoded(result) >= 0.85, result
    into = result["stats"]["bob"]["inbound_rtp"][0]
    assert into["nack_count"] > 0 and into["retransmitted_packets_received"] > 0, into
