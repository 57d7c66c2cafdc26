# SPDX-License-Identifier: Apache-2.0
"""One participant on the official Python SDK; which engine is under it, LIVEKIT_LIB_PATH decides.

participant.py publish URL TOKEN --wav FILE [--loop N]     publishes the file, then waits for orders
participant.py receive URL TOKEN --out FILE                writes what it hears of the first audio track
participant.py watch   URL TOKEN                           only reports events
Orders on standard input: mute, unmute, unpublish, publish, stats, metadata X, name X, end of file = leave.
"""
import argparse
import asyncio
import json
import sys
import time
import wave

from google.protobuf.json_format import MessageToDict
from livekit import rtc


def tell(event, **fields):
    print(json.dumps({"event": event, "at": round(time.monotonic(), 4), **fields}), flush=True)


class Participant:
    def __init__(self, options):
        self.options, self.room = options, None
        self.tasks, self.heard, self.track, self.publication, self.source = [], [], None, None, None

    def listen(self):
        room = self.room
        names = ["participant_connected", "participant_disconnected", "track_published", "track_unpublished",
                 "track_unsubscribed", "track_muted", "track_unmuted", "local_track_published",
                 "local_track_unpublished", "active_speakers_changed", "connection_quality_changed", "disconnected",
                 "connection_state_changed", "participant_metadata_changed", "participant_name_changed",
                 "participant_attributes_changed", "room_metadata_changed", "track_subscription_failed",
                 "participant_permissions_changed", "local_track_subscribed"]
        for name in names:
            room.on(name, self.reporter(name))
        room.on("track_subscribed", self.on_subscribed)

    def reporter(self, name):
        def report(*args):
            tell(name, args=[describe(a) for a in args])
        return report

    def on_subscribed(self, track, publication, participant):
        tell("track_subscribed", sid=track.sid, name=track.name, kind=int(track.kind), muted=track.muted,
             stream_state=int(track.stream_state), publication=publication.sid, identity=participant.identity,
             type=type(track).__name__)
        if self.options.role == "receive" and track.kind == rtc.TrackKind.KIND_AUDIO:
            self.track = track
            self.tasks.append(asyncio.create_task(self.record(track)))

    async def record(self, track):
        stream = rtc.AudioStream(track, sample_rate=48000, num_channels=1)
        first = True
        with wave.open(self.options.out, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(48000)
            async for event in stream:
                if first:
                    tell("first_frame", samples=event.frame.samples_per_channel)
                    first = False
                out.writeframes(bytes(event.frame.data))
        tell("stream_ended")

    async def publish(self):
        with wave.open(self.options.wav) as w:
            rate, channels, data = w.getframerate(), w.getnchannels(), w.readframes(w.getnframes())
        self.source = rtc.AudioSource(rate, channels, queue_size_ms=200)
        self.track = rtc.LocalAudioTrack.create_audio_track("speech", self.source)
        tell("created", sid=self.track.sid, name=self.track.name, kind=int(self.track.kind), muted=self.track.muted,
             stream_state=int(self.track.stream_state), type=type(self.track).__name__)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self.publication = await self.room.local_participant.publish_track(self.track, options)
        tell("published", sid=self.publication.sid, track_sid=self.track.sid)
        self.tasks.append(asyncio.create_task(self.feed(rate, channels, data)))

    async def feed(self, rate, channels, data):
        if self.options.wait_subscriber:
            await self.publication.wait_for_subscription()
            await asyncio.sleep(0.5)  # the receiver's stream is opened on its side by then; silence is sent meanwhile
        tell("feeding")
        step = rate // 50 * channels * 2
        for _ in range(self.options.loop):
            for at in range(0, len(data) - step + 1, step):
                await self.source.capture_frame(rtc.AudioFrame(data[at:at + step], rate, channels, step // (2 * channels)))
        await self.source.wait_for_playout()
        tell("fed")

    async def stats(self):
        stats = await self.track.get_stats() if self.track else []
        tell("stats", stats=[MessageToDict(s, preserving_proto_field_name=True) for s in stats])

    async def order(self, line):
        word, _, rest = line.strip().partition(" ")
        if word == "mute":
            self.track.mute()
        elif word == "unmute":
            self.track.unmute()
        elif word == "unpublish":
            await self.room.local_participant.unpublish_track(self.publication.sid)
        elif word == "publish":
            await self.publish()
        elif word == "stats":
            await self.stats()
        elif word == "metadata":
            await self.room.local_participant.set_metadata(rest)
        elif word == "name":
            await self.room.local_participant.set_name(rest)
        elif word == "attributes":
            await self.room.local_participant.set_attributes(json.loads(rest))
        elif word == "subscribe":
            for participant in self.room.remote_participants.values():
                for publication in participant.track_publications.values():
                    publication.set_subscribed(rest != "off")
        elif word == "room":
            tell("room", sid=await self.room.sid, name=self.room.name, metadata=self.room.metadata,
                 remotes={p.identity: {"sid": p.sid, "name": p.name, "metadata": p.metadata,
                                       "attributes": dict(p.attributes),
                                       "tracks": {t.sid: {"name": t.name, "muted": t.muted, "source": int(t.source),
                                                          "mime": t.mime_type}
                                                  for t in p.track_publications.values()}}
                          for p in self.room.remote_participants.values()})
        tell("done", order=word)

    async def run(self):
        self.room = rtc.Room()  # it takes the loop that runs now
        self.listen()
        options = rtc.RoomOptions(auto_subscribe=not self.options.manual)
        if self.options.timeout:
            options.connect_timeout = self.options.timeout
        began = time.monotonic()
        try:
            await self.room.connect(self.options.url, self.options.token, options)
        except rtc.ConnectError as error:
            tell("connect_error", text=str(error), seconds=time.monotonic() - began)
            return
        me = self.room.local_participant
        tell("connected", identity=me.identity, sid=me.sid, name=me.name, seconds=time.monotonic() - began,
             room=self.room.name)
        if self.options.role == "publish":
            await self.publish()
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                await self.order(line.decode())
            except Exception as error:  # reported, so that the test sees it
                tell("order_failed", order=line.decode().strip(), text=repr(error))
        await self.room.disconnect()
        for task in self.tasks:
            try:
                await asyncio.wait_for(task, 5)
            except (asyncio.TimeoutError, asyncio.CancelledError):
                tell("task_cancelled")
        tell("left")


def describe(a):
    for names in (("identity", "sid"), ("sid", "name")):
        if all(hasattr(a, n) for n in names):
            return {n: getattr(a, n) for n in names}
    if isinstance(a, (list, tuple)):
        return [describe(x) for x in a]
    return a if isinstance(a, (str, int, float, bool, dict, type(None))) else str(a)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "receive", "watch"])
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--wav")
    parser.add_argument("--out")
    parser.add_argument("--loop", type=int, default=1)
    parser.add_argument("--manual", type=int, default=0)
    parser.add_argument("--wait-subscriber", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=0)
    asyncio.run(Participant(parser.parse_args()).run())


if __name__ == "__main__":
    main()
