# SPDX-License-Identifier: Apache-2.0
"""A STUN server: stun.py ADDRESS PORT answers Binding requests and prints "asked" for each of them. [RFC8489]"""
import socket
import struct
import sys

COOKIE = 0x2112A442


def answer(request, host, port):
    """None unless it is a Binding request."""
    if len(request) < 20 or struct.unpack(">H", request[:2])[0] != 1 or struct.unpack(">I", request[4:8])[0] != COOKIE:
        return None
    six = ":" in host
    raw = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host)
    mask = request[4:20]
    value = struct.pack(">BBH", 0, 2 if six else 1, port ^ (COOKIE >> 16)) + bytes(a ^ b for a, b in zip(raw, mask))
    return struct.pack(">HH", 0x0101, len(value) + 4) + mask + struct.pack(">HH", 0x0020, len(value)) + value


def main():
    address, port = sys.argv[1], int(sys.argv[2])
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    print("ready", flush=True)
    while True:
        request, peer = s.recvfrom(2048)
        if reply := answer(request, peer[0], peer[1]):
            s.sendto(reply, peer)
            print("asked", flush=True)


if __name__ == "__main__":
    main()
