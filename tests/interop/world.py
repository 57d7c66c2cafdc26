# SPDX-License-Identifier: Apache-2.0
"""A small network of its own: the clients in one network namespace, the server in another, one link between them.

The link is a pair of tun devices; the packets go through this process, which loses and delays them as it is told and
counts what it did. Needs root and /dev/net/tun. Everything is gone when the context ends, and also when the process
dies: a namespace without processes and names has no devices, and names are swept by the next World.
"""
import contextlib
import ctypes
import fcntl
import heapq
import os
import pathlib
import random
import select
import shutil
import struct
import subprocess
import threading
import time

CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000
PREFIX = "lkt-"
STUN_PORT = 3478


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside(namespace, make):
    """What make() returns in the namespace; setns concerns the calling thread alone, so a thread of its own does it."""
    result = {}

    def work():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{namespace}") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            result["made"] = make()
        except OSError as error:
            result["error"] = error
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in result:
        raise result["error"]
    return result["made"]


def open_tun(namespace, name):
    """A tun device inside the namespace."""
    def make():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        return fd
    return inside(namespace, make)


@contextlib.contextmanager
def etc(namespace, **files):
    """What programs in the namespace find in /etc: etc(ns, hosts="...", resolv_conf="..."). Gives the folder."""
    here = pathlib.Path("/etc/netns") / namespace  # what `ip netns exec` puts in the place of /etc
    here.mkdir(parents=True)
    try:
        for name, text in files.items():
            (here / name.replace("_", ".")).write_text(text)
        yield here
    finally:
        shutil.rmtree(here)


class Way:
    """One direction. Set loss (0..1), jitter_ms (each packet waits 0..jitter_ms), mtu (longer ones vanish) and
    rate_bps with its queue_bytes whenever you like; UDP only, so that what is measured is the media path and not the
    patience of TCP. blocked concerns everything, udp_blocked UDP alone."""

    def __init__(self, seed):
        self.loss, self.jitter_ms, self.delay_ms, self.blocked, self.udp_blocked = 0.0, 0.0, 0.0, False, False
        self.mtu, self.rate_bps, self.queue_bytes, self.free_at = 0, 0, 30000, 0.0
        self.random = random.Random(seed)
        self.passed = self.lost = self.late = self.too_long = self.udp_seen = 0

    def judge(self, packet):
        """Seconds until it is delivered, or None."""
        if self.blocked:
            return None
        version = packet[0] >> 4
        udp = packet[9 if version == 4 else 6] == 17
        self.udp_seen += udp
        if udp and (self.udp_blocked or self.random.random() < self.loss):
            self.lost += 1
            return None
        if udp and self.mtu and len(packet) > self.mtu:
            self.too_long += 1
            return None
        wait = self.delay_ms
        if udp and self.rate_bps:
            now = time.monotonic()
            start = max(now, self.free_at)
            if (start - now) * self.rate_bps / 8 > self.queue_bytes:
                self.lost += 1
                return None
            self.free_at = start + len(packet) * 8 / self.rate_bps
            wait += (self.free_at - now) * 1000
        self.passed += 1
        if udp and self.jitter_ms:
            wait += self.random.uniform(0, self.jitter_ms)
            self.late += 1
        return wait / 1000


class Nat:
    """Port and address translation of UDP between the clients and the server, IPv4. rebind() forgets every mapping:
    from then on each flow comes from another port, and what is sent to the old one goes nowhere."""

    def __init__(self):
        self.out, self.back, self.next_port, self.to_old = {}, {}, 41000, 0

    def rebind(self):
        self.out, self.back = {}, {}

    def translate(self, packet, outward):
        """The packet as it goes on, or None."""
        head = (packet[0] & 15) * 4
        if packet[0] >> 4 != 4 or packet[9] != 17:
            return packet
        source, target = struct.unpack_from(">HH", packet, head)
        packet = bytearray(packet)
        if outward:
            if source not in self.out:
                self.out[source], self.back[self.next_port] = self.next_port, source
                self.next_port += 1
            struct.pack_into(">H", packet, head, self.out[source])
        else:
            if target not in self.back:
                self.to_old += 1
                return None
            struct.pack_into(">H", packet, head + 2, self.back[target])
        struct.pack_into(">H", packet, head + 6, 0)  # no checksum: allowed for UDP over IPv4
        return bytes(packet)


class World:
    """World().clients and .server are names of namespaces; .address is the server's. ipv6: no IPv4 at all. translation: a Nat.

    nat: the clients are behind a router that hides them, and the server behind a firewall that lets no UDP in but to
    STUN_PORT and from where it has sent to.
    """

    def __init__(self, seed=1, ipv6=False, nat=False):
        self.clients, self.server = f"{PREFIX}{os.getpid()}-c", f"{PREFIX}{os.getpid()}-s"
        self.router = f"{PREFIX}{os.getpid()}-r" if nat else None
        self.ipv6 = ipv6
        self.address = "fd77::2" if ipv6 else "10.77.0.2"
        self.up, self.down = Way(seed), Way(seed + 1)  # clients to server, server to clients
        self.fds, self.running, self.translation = [], True, None

    def __enter__(self):
        sweep()
        try:
            for namespace, number in ((self.router or self.clients, 1), (self.server, 2)):
                ip("netns", "add", namespace)
                self.fds.append(open_tun(namespace, "link0"))
                mine = f"fd77::{number}/64" if self.ipv6 else f"10.77.0.{number}/24"
                ip("-n", namespace, "link", "set", "lo", "up")
                ip("-n", namespace, "addr", "add", mine, "dev", "link0", *(["nodad"] if self.ipv6 else []))
                ip("-n", namespace, "link", "set", "link0", "up")
                ip("-n", namespace, *(["-6"] if self.ipv6 else []), "route", "add", "default", "dev", "link0")
            if self.router:
                self.build_nat()
        except BaseException:
            self.__exit__()
            raise
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def build_nat(self):
        ip("netns", "add", self.clients)
        ip("link", "add", "lkt-in", "netns", self.clients, "type", "veth", "peer", "name", "lkt-out", "netns", self.router)
        for namespace, device, mine in ((self.clients, "lkt-in", "10.78.0.2/24"), (self.router, "lkt-out", "10.78.0.1/24")):
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "addr", "add", mine, "dev", device)
            ip("-n", namespace, "link", "set", device, "up")
        ip("-n", self.clients, "route", "add", "default", "via", "10.78.0.1")
        ip("netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        hide = ["type nat hook postrouting priority 100", 'oifname "link0" masquerade']
        keep = ["type filter hook forward priority 0", 'iifname "link0" ct state new drop']
        # What nobody asked for is dropped, as routers do; answered with an error it would take the port of the flow that is about to begin.
        deaf = ["type filter hook input priority 0", 'iifname "link0" ct state new drop']
        shut = ["type filter hook input priority 0", 'iifname "lo" accept', "ct state established accept",
                f"udp dport {STUN_PORT} accept", "meta l4proto udp drop"]
        for namespace, name, rules in ((self.router, "hide", hide), (self.router, "keep", keep), (self.router, "deaf", deaf), (self.server, "shut", shut)):
            lines = [f"table ip {name} {{", "chain c {", *rules, "}", "}", ""]
            subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], input="\n".join(lines), check=True, text=True,
                           capture_output=True)

    def run(self):
        ways = {self.fds[0]: (self.up, self.fds[1]), self.fds[1]: (self.down, self.fds[0])}
        waiting, serial = [], 0
        while self.running:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, out, packet = heapq.heappop(waiting)
                try:
                    os.write(out, packet)
                except OSError:
                    pass  # the far queue is full, or the device is gone: lost like on any link
            timeout = min(0.1, max(0.0, waiting[0][0] - now)) if waiting else 0.1
            for fd in select.select(list(ways), [], [], timeout)[0]:
                way, out = ways[fd]
                while True:
                    try:
                        packet = os.read(fd, 65535)
                    except OSError:
                        break
                    if self.translation:
                        packet = self.translation.translate(packet, way is self.up)
                    wait = way.judge(packet) if packet else None
                    if wait is not None:
                        serial += 1
                        heapq.heappush(waiting, (time.monotonic() + wait, serial, out, packet))

    def __exit__(self, *_):
        self.running = False
        if hasattr(self, "thread"):
            self.thread.join()
        for fd in self.fds:
            os.close(fd)
        for namespace in filter(None, (self.clients, self.router, self.server)):
            if os.path.exists(f"/run/netns/{namespace}"):
                subprocess.run(["ip", "netns", "del", namespace], check=False)


def sweep():
    """Removes namespaces of runs that were killed."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        owner = name[len(PREFIX):].split("-")[0]
        if name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            subprocess.run(["ip", "netns", "del", name], check=False)
