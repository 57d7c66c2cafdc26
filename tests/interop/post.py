# SPDX-License-Identifier: Apache-2.0
"""One side of a data exchange, on the official Python SDK.

post.py send    URL TOKEN COUNT SIZE   sends COUNT reliable packets of SIZE bytes and as many lossy ones, then waits for the end of
                                       its standard input
post.py flood   URL TOKEN COUNT SIZE   only the reliable ones, as fast as they go
post.py receive URL TOKEN COUNT SIZE   exits 0 once the last reliable one is there, 1 after 80 s
"""
import asyncio
import json
import sys
import time

from livekit import rtc
from livekit.rtc.participant import PublishDataError


def body(n, size):
    return n.to_bytes(4, "big") + bytes((n + i) & 255 for i in range(size - 4))


async def send(room, count, size):
    me, echoed = room.local_participant, []
    room.on("data_received", lambda packet: echoed.append(packet) if packet.topic != "ready" else None)
    try:
        await me.publish_data(b"x" * 64100)
        refused = ""
    except PublishDataError as error:
        refused = str(error)
    for n in range(count):
        await me.publish_data(body(n, size), reliable=True, topic="count", destination_identities=["bob"] if n % 2 else [])
        await me.publish_data(body(n, min(size, 200)), reliable=False)
        await me.publish_data(b"for others", destination_identities=["nobody"])
        if n % 10 == 0:
            await asyncio.sleep(0.005)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"too_long": refused, "echoed": len(echoed)}), flush=True)
    return True


async def flood(room, count, size):
    """Reliable ones alone, and as many under way as the library takes, once the receiver's channel is open."""
    me, began, ready = room.local_participant, 0, asyncio.Event()
    room.on("data_received", lambda packet: ready.set() if packet.topic == "ready" else None)
    await asyncio.wait_for(ready.wait(), 30)
    while began < count:
        some = range(began, min(began + 64, count))
        await asyncio.gather(*(me.publish_data(body(n, size), reliable=True, topic="count") for n in some))
        began = some[-1] + 1
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"flooded": count}), flush=True)
    return True


async def receive(room, count, size):
    got = {"reliable": [], "lossy": 0, "not_for_bob": 0, "whole": True, "topics": []}
    times, done = [], asyncio.Event()

    def on_data(packet):
        if packet.data == b"for others":
            got["not_for_bob"] += 1
        elif packet.kind == rtc.DataPacketKind.KIND_RELIABLE:
            n = int.from_bytes(packet.data[:4], "big")
            times.append(time.monotonic())
            got["reliable"].append(n)
            got["whole"] &= packet.data == body(n, size)
            got["topics"] = sorted({*got["topics"], packet.topic})
            if n == count - 1:
                done.set()
        else:
            got["lossy"] += 1

    room.on("data_received", on_data)
    print(json.dumps({"event": "connected"}), flush=True)
    async def tell_ready():
        while not got["reliable"]:
            await room.local_participant.publish_data(b"ready", reliable=True, topic="ready")
            await asyncio.sleep(0.2)

    ready = asyncio.create_task(tell_ready())
    try:
        await asyncio.wait_for(done.wait(), 80)
        await asyncio.sleep(0.2)
    except asyncio.TimeoutError:
        pass
    ready.cancel()
    got["seconds"] = times[-1] - times[0] if len(times) > 1 else 0.0
    print(json.dumps(got), flush=True)
    return done.is_set()


async def main():
    role, url, token, count, size = sys.argv[1:]
    room = rtc.Room()
    await room.connect(url, token)
    ok = await {"send": send, "flood": flood, "receive": receive}[role](room, int(count), int(size))
    await room.disconnect()
    return 0 if ok else 1

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
