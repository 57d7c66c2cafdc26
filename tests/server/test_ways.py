# SPDX-License-Identifier: Apache-2.0
"""Ways to `lkc serve` other than UDP over IPv4."""
import peers
import world
from test_audio import call


def test_who_has_no_udp_is_heard_over_tcp(room, tmp_path):
    """Every datagram is lost both ways: the official clients then use the TCP candidate."""
    with world.World() as net, peers.Server(address=net.address, netns=net.server, ours=True) as server:
        net.up.udp_blocked = net.down.udp_blocked = True
        stats = call(server, room, tmp_path, "stock", "stock", netns=net.clients)
    for side in ("alice", "bob"):
        pairs = [p for p in stats[side]["candidate_pair"] if p["nominated"]]
        told = {c["id"]: c for c in stats[side]["remote_candidate"]}
        assert pairs and told[pairs[0]["remote_candidate_id"]]["protocol"] == "tcp", (pairs, told)
