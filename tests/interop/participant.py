# SPDX-License-Identifier: Apache-2.0
"""One participant on the official Python SDK; which engine is under it, LIVEKIT_LIB_PATH decides.

participant.py publish URL TOKEN --wav FILE     publishes a track of the file's format; "feed N" plays the file N times
participant.py receive URL TOKEN --out FILE     writes what it hears of the first audio track
participant.py watch   URL TOKEN                only reports events
participant.py abandon URL TOKEN                starts to connect, cancels that, goes on living
participant.py insist  URL TOKEN                tells each connect that failed and tries again with a room of its own

It prints one JSON object a line. Orders on standard input, one a line (see Participant.order_*); an order that begins
with "bg " runs beside the next ones; every order ends in "done" or "order_failed"; end of file means: leave.
"""
import argparse
import asyncio
import json
import sys
import time
import wave

import pictures
import post
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest
from livekit.rtc._proto.room_pb2 import IceServer
from livekit.rtc.participant import PublishTrackError

EVENTS = ["participant_connected", "participant_disconnected", "track_published", "track_unpublished",
          "track_unsubscribed", "track_muted", "track_unmuted", "local_track_published", "local_track_unpublished",
          "active_speakers_changed", "connection_quality_changed", "disconnected", "reconnecting", "reconnected",
          "connection_state_changed", "participant_metadata_changed", "participant_name_changed",
          "participant_attributes_changed", "room_metadata_changed", "track_subscription_failed",
          "participant_permissions_changed", "local_track_subscribed", "token_refreshed"]


def tell(event, **fields):
    print(json.dumps({"event": event, "at": round(time.monotonic(), 4), **fields}), flush=True)


def plain(message):
    """A protobuf message as a dictionary: every field that is present, enums by name, 64-bit numbers as numbers."""
    out = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence:
            if not message.HasField(field.name):
                continue
            if field.message_type:
                value = plain(value)
            elif field.enum_type:
                value = field.enum_type.values_by_number[value].name
        elif field.message_type and field.message_type.GetOptions().map_entry:
            value = dict(value)
        elif field.message_type:
            value = [plain(v) for v in value]
        else:
            value = list(value)
        out[field.name] = value
    return out


def describe(a):
    for names in (("identity", "sid"), ("sid", "name")):
        if all(hasattr(a, n) for n in names):
            return {n: getattr(a, n) for n in names}
    if isinstance(a, (list, tuple)):
        return [describe(x) for x in a]
    return a if isinstance(a, (str, int, float, bool, dict, type(None))) else str(a)


def portrait(track):
    """Track, element by element, but get_stats."""
    return {"type": type(track).__name__, "sid": track.sid, "name": track.name, "kind": int(track.kind),
            "stream_state": int(track.stream_state), "muted": track.muted}


def participant(p):
    return {"identity": p.identity, "sid": p.sid, "name": p.name, "metadata": p.metadata,
            "attributes": dict(p.attributes), "kind": int(p.kind), "permissions": plain(p.permissions),
            "tracks": {t.sid: {"name": t.name, "muted": t.muted, "source": int(t.source), "mime": t.mime_type,
                               "kind": int(t.kind), "subscribed": getattr(t, "subscribed", None)}
                       for t in p.track_publications.values()}}


class Participant:
    def __init__(self, options):
        self.options, self.room = options, None
        self.recording = None
        self.tasks, self.orders, self.track, self.publication, self.source = [], [], None, None, None
        self.picture_track, self.seen, self.unreadable, self.likeness, self.kept, self.shown = None, set(), 0, [], None, 0

    def listen(self):
        for name in EVENTS:
            self.room.on(name, self.reporter(name))
        self.room.on("track_subscribed", self.on_subscribed)
        self.room.on("data_received", self.on_data)

    def on_data(self, packet):
        """Packets of order_send."""
        number, size = int.from_bytes(packet.data[:4], "big"), len(packet.data)
        tell("data", kind="reliable" if packet.kind == rtc.DataPacketKind.KIND_RELIABLE else "lossy", topic=packet.topic,
             identity=packet.participant.identity if packet.participant else "", number=number, size=size,
             whole=packet.data == post.body(number, size))

    def reporter(self, name):
        return lambda *args: tell(name, args=[describe(a) for a in args])

    def on_subscribed(self, track, publication, participant):
        tell("track_subscribed", publication=publication.sid, identity=participant.identity, **portrait(track))
        if self.options.picture and track.kind == rtc.TrackKind.KIND_VIDEO:
            self.picture_track = track
            self.tasks.append(asyncio.create_task(self.look(track)))
        if self.options.role == "receive" and track.kind == rtc.TrackKind.KIND_AUDIO:
            self.track, before = track, self.recording
            self.recording = asyncio.create_task(self.record(track, before))
            self.tasks.append(self.recording)

    async def record(self, track, before):
        """A track that came back is written in the place of the one before."""
        if before:
            before.cancel()
            await asyncio.wait([before])
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

    async def look(self, track):
        """Reads the number in every picture and compares it with the one it names; the last good one becomes the file."""
        size = None
        async for event in rtc.VideoStream(track):
            frame = event.frame
            if (frame.width, frame.height) != size:
                size = (frame.width, frame.height)
                tell("size", width=frame.width, height=frame.height)
            luma = pictures.split(frame.data, frame.width, frame.height)[0]
            number = pictures.number(luma) if size == (pictures.WIDTH, pictures.HEIGHT) else None
            if number is None:
                self.unreadable += 1
                continue
            if not self.seen:
                tell("first_picture", width=frame.width, height=frame.height)
            self.seen.add(number)
            if len(self.seen) % 10 == 1:
                self.likeness.append(pictures.psnr(luma, pictures.luma(number)))
                self.kept = (bytes(frame.data), frame.width, frame.height)

    async def order_seen(self, _):
        if self.kept:
            pictures.write_png(self.options.picture, *self.kept)
        tell("seen", numbers=sorted(self.seen), unreadable=self.unreadable, psnr_db=self.likeness)

    async def order_show(self, how):
        """Publishes a moving picture until "enough"; with "layers" one of twice the size, as simulcast and half as often;
        a number behind it bounds the largest (bit/s)."""
        how, most = (how.split() + ["", ""])[:2]
        self.scale = 2 if how == "layers" else 1
        self.camera = rtc.VideoSource(self.scale * pictures.WIDTH, self.scale * pictures.HEIGHT)
        track = rtc.LocalVideoTrack.create_video_track("picture", self.camera)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=how == "layers")
        if most:
            options.video_encoding.CopyFrom(rtc.VideoEncoding(max_bitrate=int(most), max_framerate=30))
        self.picture_track = track
        publication = await self.room.local_participant.publish_track(track, options)
        tell("showing", publication=publication.sid, **portrait(track))
        self.showing = asyncio.create_task(self.show())

    async def show(self):
        due, n = time.monotonic(), 0
        while True:
            width, height = self.scale * pictures.WIDTH, self.scale * pictures.HEIGHT
            frame = rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, pictures.i420(n, self.scale))
            self.camera.capture_frame(frame)
            self.shown = n = n + 1
            due = max(due + self.scale / pictures.RATE, time.monotonic())  # after a halt the numbers go on where they were, without a burst
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def order_enough(self, _):
        self.showing.cancel()
        tell("shown", count=self.shown)

    async def order_picture_stats(self, _):
        stats = await self.picture_track.get_stats()
        tell("picture_stats", stats=[plain(s) for s in stats])

    # ---- orders ------------------------------------------------------------------------------------------------------

    async def order_publish(self, _=""):
        with wave.open(self.options.wav) as w:
            rate, channels = w.getframerate(), w.getnchannels()
        self.source = rtc.AudioSource(rate, channels, queue_size_ms=200)
        self.track = rtc.LocalAudioTrack.create_audio_track("speech", self.source)
        tell("created", **portrait(self.track))
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self.publication = await self.room.local_participant.publish_track(self.track, options)
        tell("published", publication=self.publication.sid, **portrait(self.track))

    async def order_feed(self, times):
        """Plays the file so often; returns at once, "fed" tells the end unless "hush" comes first."""
        self.feeding = asyncio.create_task(self.feed(int(times or 1)))
        self.tasks.append(self.feeding)

    async def order_hush(self, _):
        self.feeding.cancel()

    async def feed(self, times):
        with wave.open(self.options.wav) as w:
            rate, channels, data = w.getframerate(), w.getnchannels(), w.readframes(w.getnframes())
        step = rate // 50 * channels * 2
        tell("feeding")
        for _ in range(times):
            for at in range(0, len(data) - step + 1, step):
                frame = rtc.AudioFrame(data[at:at + step], rate, channels, step // (2 * channels))
                await self.source.capture_frame(frame)
        await self.source.wait_for_playout()
        tell("fed")

    async def order_mute(self, _):
        self.track.mute()

    async def order_unmute(self, _):
        self.track.unmute()

    async def order_unpublish(self, _):
        await self.room.local_participant.unpublish_track(self.publication.sid)

    async def order_describe(self, _):
        tell("describe", **portrait(self.track))

    async def order_stats(self, _):
        stats = await self.track.get_stats() if self.track else []
        tell("stats", time=time.time(), stats=[plain(s) for s in stats])

    async def order_metadata(self, text):
        await self.room.local_participant.set_metadata(text)

    async def order_name(self, text):
        await self.room.local_participant.set_name(text)

    async def order_attributes(self, text):
        await self.room.local_participant.set_attributes(json.loads(text))

    async def order_allow(self, text):
        """allow all | none | IDENTITY: who may subscribe to our tracks."""
        one = [rtc.ParticipantTrackPermission(participant_identity=text, allow_all=True)]
        self.room.local_participant.set_track_subscription_permissions(
            allow_all_participants=text == "all", participant_permissions=[] if text in ("all", "none") else one)

    async def order_subscribe(self, text):
        for remote in self.room.remote_participants.values():
            for publication in remote.track_publications.values():
                publication.set_subscribed(text != "off")

    async def order_send(self, text):
        """send IDENTITY|all reliable|lossy TOPIC|- NUMBER SIZE"""
        whom, kind, topic, number, size = text.split()
        await self.room.local_participant.publish_data(
            post.body(int(number), int(size)), reliable=kind == "reliable", topic="" if topic == "-" else topic,
            destination_identities=[] if whom == "all" else [whom])

    def pictures_of_others(self):
        return [p for remote in self.room.remote_participants.values() for p in remote.track_publications.values()
                if p.kind == rtc.TrackKind.KIND_VIDEO]

    async def order_quality(self, number):
        for publication in self.pictures_of_others():
            publication.set_video_quality(int(number))

    async def order_dimensions(self, text):
        """dimensions WIDTH HEIGHT, a request the SDK has no method for."""
        for publication in self.pictures_of_others():
            request = FfiRequest()
            order = request.update_remote_track_publication_dimension
            order.track_publication_handle = publication._ffi_handle.handle
            order.width, order.height = map(int, text.split())
            FfiClient.instance.request(request)

    async def order_enable(self, text):
        """enable on | off: whether the server delivers the pictures of others."""
        for publication in self.pictures_of_others():
            request = FfiRequest()
            order = request.enable_remote_track_publication
            order.track_publication_handle, order.enabled = publication._ffi_handle.handle, text != "off"
            FfiClient.instance.request(request)

    async def order_room(self, _):
        tell("room", sid=await self.room.sid, name=self.room.name, metadata=self.room.metadata,
             state=int(self.room.connection_state), me=participant(self.room.local_participant),
             remotes={p.identity: participant(p) for p in self.room.remote_participants.values()})

    async def order_session(self, _):
        stats = await self.room.get_rtc_stats()
        tell("session", publisher=[plain(s) for s in stats.publisher_stats],
             subscriber=[plain(s) for s in stats.subscriber_stats])

    async def order_second(self, text):
        """second URL TOKEN: one more room of this process; tells how that went, and leaves it."""
        url, token = text.split()
        other, options = rtc.Room(), rtc.RoomOptions()
        if self.options.timeout:
            options.connect_timeout = self.options.timeout
        began = time.monotonic()
        try:
            await other.connect(url, token, options)
        except rtc.ConnectError as error:
            tell("second", text=str(error), seconds=time.monotonic() - began)
            return
        tell("second", text="", seconds=time.monotonic() - began)
        await other.disconnect()

    async def order_disconnect(self, _):
        await self.room.disconnect()

    async def obey(self, line):
        word, _, rest = line.partition(" ")
        try:
            await getattr(self, "order_" + word)(rest)
        except Exception as error:  # reported, so that the test sees it
            tell("order_failed", order=word, text=str(error), type=type(error).__name__)
        else:
            tell("done", order=word)

    async def listen_for_orders(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            line = line.decode().strip()
            if line.startswith("bg "):
                self.orders.append(asyncio.create_task(self.obey(line[3:])))
            else:
                await self.obey(line)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def abandon(self, options):
        connecting = asyncio.create_task(self.room.connect(self.options.url, self.options.token, options))
        await asyncio.sleep(self.options.after)
        connecting.cancel()
        try:
            await connecting
            tell("not_cancelled")
        except asyncio.CancelledError:
            tell("abandoned")
        except rtc.ConnectError as error:
            tell("connect_error", text=str(error))

    async def run(self):
        self.room = rtc.Room()
        self.listen()
        options = rtc.RoomOptions(auto_subscribe=not self.options.manual)
        if self.options.stun:
            options.rtc_config = rtc.RtcConfiguration(ice_servers=[IceServer(urls=[self.options.stun])])
        if self.options.timeout:
            options.connect_timeout = self.options.timeout
        if self.options.role == "abandon":
            await self.abandon(options)
            await self.listen_for_orders()
            return
        began = time.monotonic()
        while True:
            try:
                await self.room.connect(self.options.url, self.options.token, options)
                break
            except rtc.ConnectError as error:
                tell("connect_error", text=str(error), seconds=time.monotonic() - began)
                if self.options.role != "insist":
                    return
                self.room = rtc.Room()
                self.listen()
        tell("connected", seconds=time.monotonic() - began, room=self.room.name,
             **participant(self.room.local_participant))
        if self.options.role == "publish":
            try:
                await self.order_publish()
            except PublishTrackError as error:
                tell("publish_failed", text=str(error))
        await self.listen_for_orders()
        await self.room.disconnect()
        for task in self.tasks + self.orders:
            try:
                await asyncio.wait_for(task, 5)
            except (asyncio.TimeoutError, asyncio.CancelledError):
                tell("task_cancelled")
        tell("left")


def main(kind=Participant):
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "receive", "watch", "abandon", "insist"])
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--wav")
    parser.add_argument("--out")
    parser.add_argument("--picture", help="look at the first video track; \"seen\" writes its newest picture there as PNG")
    parser.add_argument("--manual", type=int, default=0, help="1: subscribe to nothing by itself")
    parser.add_argument("--timeout", type=float, default=0, help="connect_timeout in seconds")
    parser.add_argument("--stun", help="the url of a STUN server to ask instead of the server's")
    parser.add_argument("--after", type=float, default=0, help="abandon: seconds until the connect is cancelled")
    asyncio.run(kind(parser.parse_args()).run())


if __name__ == "__main__":
    main()
