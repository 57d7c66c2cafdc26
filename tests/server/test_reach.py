# SPDX-License-Identifier: Apache-2.0
"""The addresses clients are told: how a router shows the server to the world, and interfaces that come later."""
import subprocess
import time

import peers
import world
from test_audio import call
from test_http import get
from test_loops import rooms_on_each
from test_nat import stun

OUTSIDE, INSIDE, OTHER = "10.77.0.1", "10.78.0.2", "10.79.0.2"


def open_router(net):
    """What the owner of a router does for a server behind it: every new connection from outside is the server's."""
    rules = ["delete table ip keep", "table ip inward {", "chain c {", "type nat hook prerouting priority -100",
             f'iifname "link0" dnat to {INSIDE}', "}", "}", ""]
    subprocess.run(["ip", "netns", "exec", net.router, "nft", "-f", "-"], input="\n".join(rules), check=True, text=True, capture_output=True)


def told(stats, side):
    return {c["address"] for c in stats[side]["remote_candidate"]}


def started_with(server):
    """The addresses it tells, by its log."""
    return [line.split("address=")[1] for line in server.log_path.read_text().splitlines() if "server.candidate" in line]


def test_who_is_outside_of_the_router_is_heard_at_the_address_the_world_sees(room, tmp_path):
    with world.World(nat=True) as net, stun(net) as helper:
        open_router(net)
        with peers.Server(address=INSIDE, netns=net.clients, ours=True, log_level="info", node_ip="", use_external_ip=True,
                          stun_servers=["10.77.0.2:9", f"10.77.0.2:{world.STUN_PORT}"]) as server:
            server.url = f"ws://{OUTSIDE}:{server.port}"
            stats = call(server, room, tmp_path, "stock", "stock", netns=net.server)
            assert started_with(server) == [OUTSIDE]
        helper.kill()
        assert helper.stdout.read().count("asked") >= 1
    assert told(stats, "alice") == told(stats, "bob") == {OUTSIDE}, stats


def test_the_address_inside_is_told_too_where_asked_for():
    with world.World(nat=True) as net, stun(net), \
            peers.Server(address=INSIDE, netns=net.clients, ours=True, log_level="info", node_ip="", use_external_ip=True,
                         advertise_internal_ip=True, stun_servers=[f"10.77.0.2:{world.STUN_PORT}"]) as server:
        assert started_with(server) == [OUTSIDE, INSIDE]


def test_a_server_whose_stun_server_is_silent_says_so_and_is_reached_inside(room):
    with world.World(nat=True) as net, peers.Server(address=INSIDE, netns=net.clients, ours=True, log_level="info", node_ip="",
                                                    use_external_ip=True, stun_servers=["10.77.0.2:9", "nowhere.invalid"]) as server:
        assert "warn server.external_ip.unknown" in server.log_path.read_text() and started_with(server) == [INSIDE]
        with peers.Program("watch", "stock", server.url, peers.token("ann", room), netns=net.clients) as ann:
            ann.wait("connected")
            ann.finish()


def test_nobody_is_asked_where_the_address_is_given(room):
    with world.World() as net, stun(net) as helper, \
            peers.Server(address=net.address, netns=net.server, ours=True, node_ip="192.0.2.1", use_external_ip=True,
                         stun_servers=[f"{net.address}:{world.STUN_PORT}"]) as server:
        assert server.process.poll() is None
        helper.kill()
        assert helper.stdout.read() == ""


def test_counters_are_for_this_machine_alone():
    with world.World() as net, peers.Server(address=net.address, netns=net.server, ours=True) as server:
        assert world.inside(net.clients, lambda: get(server, "/metrics")[:2]) == (404, "not found")
        assert world.inside(net.clients, lambda: get(server, "/")[0]) == 200


def test_an_interface_that_comes_later_is_told_and_served(room, tmp_path):
    """The room lives on the loop that does not have the interfaces' list, and the first interface carries no media."""
    with world.World() as net, peers.Server(address=net.address, netns=net.server, ours=True, loops=2, node_ip="") as server:
        name = rooms_on_each(room)[1]
        with peers.Program("watch", "stock", server.url, peers.token("early", name), netns=net.clients) as early:
            early.wait("connected")
            world.ip("link", "add", "lkt-a", "netns", net.server, "type", "veth", "peer", "name", "lkt-b", "netns", net.clients)
            for namespace, device, mine in ((net.server, "lkt-a", OTHER), (net.clients, "lkt-b", "10.79.0.1")):
                world.ip("-n", namespace, "addr", "add", f"{mine}/24", "dev", device)
                world.ip("-n", namespace, "link", "set", device, "up")
            time.sleep(1)  # interfaces are looked at once a second
            net.up.udp_blocked = net.down.udp_blocked = True
            stats = call(server, name, tmp_path, "stock", "stock", netns=net.clients)
            early.finish()
    for side in ("alice", "bob"):
        pair = next(p for p in stats[side]["candidate_pair"] if p["nominated"])
        at = {c["id"]: c for c in stats[side]["remote_candidate"]}[pair["remote_candidate_id"]]
        assert (at["address"], at["protocol"]) == (OTHER, "udp"), stats[side]
