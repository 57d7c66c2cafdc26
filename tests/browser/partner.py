# SPDX-License-Identifier: Apache-2.0
"""The browser's partner: a participant on the Python SDK that also measures what it hears and sees.

partner.py watch URL TOKEN --wav FILE    the orders of tests/interop/participant.py, and those below

The instruments are those of page.js: loudness for every 20 ms of sound, the number in every picture, a digest of every
data packet. Packets of the topic "ask" are sent back to their sender with the topic "answer".
"""
import asyncio
import hashlib
import json
import pathlib
import sys
import time

import numpy as np
from livekit import rtc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import participant  # noqa: E402
from participant import tell  # noqa: E402

RATE, BLOCK = 48000, 960
COLUMNS, WIDTH, HEIGHT = 12, 640, 360  # the picture of page.js


def read_number(luma):
    """The number in a picture, or None if a block is neither black nor white or the two rows do not fit."""
    height, width = luma.shape
    w, h = width / COLUMNS, height / 4
    number = 0
    for column in range(COLUMNS):
        high, low = (luma[int((row + 0.25) * h):int((row + 0.75) * h),
                          int((column + 0.25) * w):int((column + 0.75) * w)].mean() for row in (0, 1))
        if max(high, low) < 170 or min(high, low) > 85:
            return None
        number = number * 2 + int(high > low)
    return number


def draw_number(number, width=WIDTH, height=HEIGHT):
    """The same as I420: bits and their opposites above, stripes in motion below."""
    luma = np.empty((height, width), np.uint8)
    bits = np.array([number >> (COLUMNS - 1 - i) & 1 for i in range(COLUMNS)], bool)
    row = np.repeat(bits, -(-width // COLUMNS))[:width]
    luma[:height // 4] = np.where(row, 235, 16)
    luma[height // 4:height // 2] = np.where(row, 16, 235)
    luma[height // 2:] = (60 + (np.arange(height - height // 2) // 20 * 37 + number * 3) % 120)[:, None]
    at = number * 8 % (width - 60)
    luma[height * 2 // 3:height * 2 // 3 + 60, at:at + 60] = 210
    chroma = np.full((2, height // 2, width // 2), 128, np.uint8)
    chroma[0, height // 4:] = 100 + number % 60
    return rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, luma.tobytes() + chroma.tobytes())


def message(number, size):
    """The bytes page.js makes for that number."""
    return number.to_bytes(4, "big") + (number * 31 + np.arange(4, size) * 7 & 255).astype(np.uint8).tobytes()


class Partner(participant.Participant):
    def __init__(self, options):
        super().__init__(options)
        self.levels, self.frames, self.drawing = {}, {}, None

    def listen(self):
        super().listen()
        self.room.on("data_received", self.on_data)

    def on_subscribed(self, track, publication, remote):
        super().on_subscribed(track, publication, remote)
        measure = self.measure_sound if track.kind == rtc.TrackKind.KIND_AUDIO else self.measure_picture
        self.tasks.append(asyncio.create_task(measure(track, publication.sid)))

    async def measure_sound(self, track, sid):
        self.levels[sid], rest = [], np.empty(0)
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            rest = np.concatenate([rest, np.frombuffer(event.frame.data, np.int16)])
            blocks = rest[:len(rest) // BLOCK * BLOCK].reshape(-1, BLOCK)
            if len(blocks) and not self.levels[sid]:
                tell("first_sound", sid=sid)
            self.levels[sid] += np.sqrt((blocks ** 2.0).mean(axis=1)).round().astype(int).tolist()
            rest = rest[blocks.size:]

    async def measure_picture(self, track, sid):
        record = self.frames[sid] = {"frames": [], "unreadable": 0, "goal": 1 << COLUMNS}
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            frame = event.frame
            luma = np.frombuffer(frame.data, np.uint8)[:frame.width * frame.height].reshape(frame.height, frame.width)
            number = read_number(luma)
            if number is None:
                record["unreadable"] += 1
                continue
            if not record["frames"]:
                tell("first_picture", sid=sid, width=frame.width, height=frame.height, number=number)
            record["frames"].append((round(time.monotonic(), 4), number))
            if number >= record["goal"]:
                tell("reached", sid=sid, number=number)
                record["goal"] = 1 << COLUMNS

    def on_data(self, packet):
        reliable = packet.kind == rtc.DataPacketKind.KIND_RELIABLE
        if packet.topic == "ask":
            self.tasks.append(asyncio.create_task(self.room.local_participant.publish_data(
                packet.data, reliable=reliable, topic="answer", destination_identities=[packet.participant.identity])))
        tell("data", topic=packet.topic, reliable=reliable, size=len(packet.data),
             number=int.from_bytes(packet.data[:4], "big"), sha256=hashlib.sha256(packet.data).hexdigest(),
             **{"from": packet.participant.identity if packet.participant else None})

    # ---- orders, as in page.js ---------------------------------------------------------------------------------------

    async def order_hear(self, text):
        sid, _, forget = text.partition(" ")
        tell("hear", sid=sid, levels=self.levels[sid])
        if forget:
            self.levels[sid] = []

    async def order_see(self, text):
        sid, _, forget = text.partition(" ")
        tell("see", sid=sid, **self.frames[sid])
        if forget:
            self.frames[sid].update(frames=[], unreadable=0)

    async def order_draw(self, text):
        rate, _, how = text.partition(" ")
        how = json.loads(how) if how.startswith("{") else {"simulcast": how == "simulcast"}
        source = rtc.VideoSource(WIDTH, HEIGHT)
        track = rtc.LocalVideoTrack.create_video_track("picture", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=how.get("simulcast", False),
                                          video_codec=getattr(rtc.VideoCodec, how.get("videoCodec", "vp8").upper()))
        options.video_encoding.max_framerate = float(rate)
        options.video_encoding.max_bitrate = 1_000_000
        publication = await self.room.local_participant.publish_track(track, options)
        self.picture = {"source": source, "track": track, "publication": publication, "number": 0,
                        "size": (WIDTH, HEIGHT)}
        self.drawing = asyncio.create_task(self.paint(1 / float(rate)))
        tell("published", sid=publication.sid, kind="video")

    async def paint(self, interval):
        due = time.monotonic()
        while True:
            self.picture["source"].capture_frame(draw_number(self.picture["number"], *self.picture["size"]))
            self.picture["number"] += 1
            due = max(due + interval, time.monotonic())  # after a halt the numbers go on where they were, without a burst
            await asyncio.sleep(max(0, due - time.monotonic()))

    async def order_resize(self, text):
        self.picture["size"] = tuple(map(int, text.split()))

    async def order_count(self, _):
        tell("count", number=self.picture["number"])

    async def order_reach(self, text):
        sid, number = text.split()
        self.frames[sid]["goal"] = int(number)

    async def order_erase(self, _):
        self.drawing.cancel()
        tell("erased", number=self.picture["number"])

    async def order_mute(self, what):
        (self.picture["track"] if what == "video" else self.track).mute()

    async def order_unmute(self, what):
        (self.picture["track"] if what == "video" else self.track).unmute()

    async def order_send(self, text):
        topic, how, size, first, count, identity, *pause = text.split()
        for number in range(int(first), int(first) + int(count)):
            await self.room.local_participant.publish_data(
                message(number, int(size)), reliable=how == "reliable", topic=topic, destination_identities=[identity])
            if pause:
                await asyncio.sleep(int(pause[0]) / 1000)


if __name__ == "__main__":
    participant.main(Partner)
