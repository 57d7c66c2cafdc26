# SPDX-License-Identifier: Apache-2.0
"""One side of a call with everything in it, on the official Python SDK.

call.py send    URL TOKEN [--dual]   publishes sound, moving pictures and data until its standard input ends
call.py receive URL TOKEN [--dual]   exits 0 once it has heard, seen and read enough of it, 1 after 30 s; prints what it got

--dual asks for two peer connections (single_peer_connection = false).
"""
import argparse
import asyncio
import json
import sys

import numpy as np
from livekit import rtc

WIDTH, HEIGHT, RATE = 320, 180, 48000
ENOUGH = {"pictures": 20, "level": 2000, "reliable": 3, "lossy": 1, "brightness": 60}


def picture(n):
    """Grey that goes up and down: what moves can be told from what stands still."""
    luma = np.full(WIDTH * HEIGHT, 40 + abs(n * 4 % 300 - 150), np.uint8)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, luma.tobytes() + b"\x80" * (WIDTH * HEIGHT // 2))


def sound(n):
    t = (np.arange(RATE // 100) + n * RATE // 100) / RATE
    wave = 9000 * np.sin(2 * np.pi * 300 * t) * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    return rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, RATE // 100)


async def send(room):
    me = room.local_participant
    camera, microphone = rtc.VideoSource(WIDTH, HEIGHT), rtc.AudioSource(RATE, 1)
    await me.publish_track(rtc.LocalVideoTrack.create_video_track("camera", camera))
    await me.publish_track(rtc.LocalAudioTrack.create_audio_track("microphone", microphone))

    async def speak():
        n = 0
        while True:
            await microphone.capture_frame(sound(n))
            n += 1

    async def show():
        n = 0
        while True:
            camera.capture_frame(picture(n))
            if n % 10 == 0:
                await me.publish_data(f"message {n // 10}", reliable=True, topic="count")
                await me.publish_data("news", reliable=False)
            n += 1
            await asyncio.sleep(0.05)

    tasks = [asyncio.ensure_future(speak()), asyncio.ensure_future(show())]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()


async def receive(room):
    got = {"pictures": 0, "level": 0, "reliable": 0, "lossy": 0, "brightness": 0}
    seen = []

    async def look(track):
        async for event in rtc.VideoStream(track):
            frame = event.frame
            assert (frame.width, frame.height) == (WIDTH, HEIGHT)
            seen.append(float(np.frombuffer(bytes(frame.data), np.uint8)[:WIDTH * HEIGHT].mean()))
            got["pictures"], got["brightness"] = len(seen), max(seen) - min(seen)

    async def listen(track):
        async for event in rtc.AudioStream(track):
            got["level"] = max(got["level"], int(np.abs(np.frombuffer(event.frame.data, np.int16)).max()))

    def on_track(track, _publication, _participant):
        asyncio.ensure_future((look if track.kind == rtc.TrackKind.KIND_VIDEO else listen)(track))

    def on_data(packet):
        reliable = packet.kind == rtc.DataPacketKind.KIND_RELIABLE
        assert packet.participant.identity == "alice" and (packet.topic == "count") == reliable, packet
        got["reliable" if reliable else "lossy"] += 1

    room.on("track_subscribed", on_track)
    room.on("data_received", on_data)
    for publication in [p for who in room.remote_participants.values() for p in who.track_publications.values()]:
        if publication.track:
            on_track(publication.track, publication, None)
    for _ in range(300):
        if all(got[k] >= least for k, least in ENOUGH.items()):
            break
        await asyncio.sleep(0.1)
    print(json.dumps(got), flush=True)
    return all(got[k] >= least for k, least in ENOUGH.items())


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["send", "receive"])
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--dual", action="store_true")
    options = parser.parse_args()
    room = rtc.Room()
    await room.connect(options.url, options.token, options=rtc.RoomOptions(single_peer_connection=not options.dual))
    ok = await (send if options.role == "send" else receive)(room)
    stats = await room.get_rtc_stats()
    print(json.dumps({"publisher_stats": len(stats.publisher_stats), "subscriber_stats": len(stats.subscriber_stats)}), flush=True)
    await room.disconnect()
    return 0 if ok or options.role == "send" else 1

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
