# SPDX-License-Identifier: Apache-2.0
"""One measured case in a process of its own: cases.py CASE JSON-OPTIONS; LIVEKIT_LIB_PATH says which engine.

Events go to standard output, one JSON object a line; the last one is {"event": "values", ...}, or
{"event": "not_built", "text": ...} when the engine refuses what the case needs. Nothing heavy is imported before the
case asks for it: "load" measures a process that holds nothing but the library. Everything goes through the public
Python SDK, so that one and the same code runs on both engines.
"""
import asyncio
import ctypes
import gc
import json
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

RATE = 48000
WIDTH, HEIGHT, FPS, LOOP = 1280, 720, 30, 60
CELL = 32  # luma pixels; the number of a frame stands in its top row, eight cells


class Refusals(logging.Handler):
    """What the engine's log says of requests it refuses: some have no room for an error in their response."""

    def __init__(self):
        super().__init__()
        self.texts = []
        logging.getLogger("livekit").addHandler(self)

    def emit(self, record):
        text = record.getMessage()
        if "not built yet" in text:
            self.texts.append(text)

    def of(self, error):
        """The refusal behind an error, or "": then it is an error like any other. Log records come a little later."""
        end = time.monotonic() + 1
        while "not built yet" not in str(error) and not self.texts and time.monotonic() < end:
            time.sleep(0.01)
        return str(error) if "not built yet" in str(error) else "; ".join(self.texts)


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def await_go():
    """The parent says when; it lets nothing else run during what follows."""
    sys.stdin.readline()


# ---- what the system knows about this process ------------------------------------------------------------------------

def rss_kb():
    """Of smaps_rollup: the counters behind statm may be a few hundred kB off."""
    with open("/proc/self/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))


def settled_rss_kb():
    gc.collect()
    return rss_kb()


def task_ids():
    return set(os.listdir("/proc/self/task"))


def threads():
    return len(task_ids())


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Cpu:
    """CPU time of all threads by schedstat, threads born meanwhile included."""

    def __init__(self):
        self.began, self.at = self.read(), time.monotonic()

    @staticmethod
    def read():
        out = {}
        for task in task_ids():
            try:
                with open(f"/proc/self/task/{task}/schedstat") as f:
                    out[task] = int(f.read().split()[0])
            except FileNotFoundError:
                pass  # ended between the two calls
        return out

    def percent(self):
        """Of one core, since the start."""
        now, seconds = self.read(), time.monotonic() - self.at
        return sum(v - self.began.get(k, 0) for k, v in now.items()) / 1e7 / seconds


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


# ---- rooms -----------------------------------------------------------------------------------------------------------

async def join(options, room, identity):
    """A connected room and the seconds it took."""
    from livekit import rtc
    made = rtc.Room()
    began = time.monotonic()
    await made.connect(options["url"], options["tokens"][f"{room}/{identity}"], rtc.RoomOptions())
    return made, time.monotonic() - began


async def checks(room):
    """(out, in): ICE checks and answers of the room's transports; an idle room has little else to send."""
    stats = await room.get_rtc_stats()
    pairs = [s.candidate_pair.candidate_pair for s in [*stats.publisher_stats, *stats.subscriber_stats]
             if s.HasField("candidate_pair")]
    return (sum(p.requests_sent + p.responses_sent for p in pairs),
            sum(p.requests_received + p.responses_received for p in pairs))


async def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        await asyncio.sleep(0.005)


class Pace:
    """Ticks of an absolute schedule: a late one does not make the next ones late."""

    def __init__(self, seconds):
        self.step, self.next = seconds, time.monotonic()

    async def tick(self):
        self.next += self.step
        await asyncio.sleep(max(0.0, self.next - time.monotonic()))


def speech_like(seconds):
    """A voice of eight harmonics, four syllables a second, half a second of pause every two."""
    import numpy as np
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(140 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    voice = sum(np.sin(pitch * h) / h for h in range(1, 9))
    syllables = np.clip(0.5 - 0.6 * np.cos(2 * np.pi * 4 * t), 0, None) * ((t % 2) < 1.5)
    return (4000 * voice * syllables).astype(np.int16)


def audio_frame(samples):
    from livekit import rtc
    return rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples))


async def publish_audio(room, queue_size_ms):
    from livekit import rtc
    source = rtc.AudioSource(RATE, 1, queue_size_ms=queue_size_ms)
    track = rtc.LocalAudioTrack.create_audio_track("speech", source)
    await room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    return source, track


async def feed(source, samples, step=RATE // 100):
    """In real time, for ever."""
    frames = [audio_frame(samples[i:i + step]) for i in range(0, len(samples) - step + 1, step)]
    pace = Pace(step / RATE)
    while True:
        for frame in frames:
            await source.capture_frame(frame)
            await pace.tick()


# ---- issue "First sound" ---------------------------------------------------------------------------------------------

def case_load(_):
    """What dlopen alone costs. Nothing of the SDK is here: the file, and four calls nobody has made yet."""
    path = os.environ["BENCH_LIBRARY"]
    before = threads(), descriptors(), settled_rss_kb()
    ctypes.CDLL(path)
    after = threads(), descriptors(), settled_rss_kb()
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    return {"size_kb": os.path.getsize(path) / 1024, "exports": len(symbols.splitlines()),
            "threads": after[0] - before[0], "descriptors": after[1] - before[1], "rss_kb": after[2] - before[2]}


async def case_idle(options):
    """One room, then 21, then 20: memory after the settling time, CPU over a window, threads."""
    from livekit import rtc  # noqa: F401 - its memory and threads are not the engine's
    settle, window, many = options["settle"], options["window"], options["rooms"]
    values = {}
    await asyncio.to_thread(await_go)
    own = threads()  # with the one that waited, which stays in asyncio's pool
    rooms = [(await join(options, "idle0", "a"))[0]]
    tell("joined")
    quiet = min(15, settle)
    await asyncio.sleep(quiet)
    before, cpu = await checks(rooms[0]), Cpu()
    await asyncio.sleep(window)
    values["cpu_1"] = cpu.percent()
    after = await checks(rooms[0])
    values["checks_out"], values["checks_in"] = ((b - a) / window for a, b in zip(before, after))
    await asyncio.sleep(max(0, settle - window - quiet))
    values["rss_1"] = settled_rss_kb()
    values["threads_1"] = threads() - own
    tell("waits")
    await asyncio.to_thread(await_go)
    for i in range(1, many + 1):
        rooms.append((await join(options, f"idle{i}", "a"))[0])
    tell("joined")
    await asyncio.sleep(settle)
    values["rss_many"] = settled_rss_kb()
    values["threads_many"] = threads() - own
    values["rss_room"] = (values["rss_many"] - values["rss_1"]) / many
    await rooms.pop().disconnect()
    await asyncio.sleep(min(5, settle))
    cpu = Cpu()
    await asyncio.sleep(window)
    values["cpu_many"] = cpu.percent()
    values["disconnected"] = sum(not r.isconnected() for r in rooms)
    return values


async def case_join(options):
    """Joins one after the other, each into a room of its own; the first one, which starts the engine, apart."""
    room, first = await join(options, "join0", "a")
    await room.disconnect()
    seconds = []
    for i in range(1, options["joins"] + 1):
        room, took = await join(options, f"join{i}", "a")
        seconds.append(took)
        await room.disconnect()
    return {"first_ms": first * 1e3, "median_ms": median(seconds) * 1e3}


async def case_resolver(options):
    """Threads while 20 rooms join at once and the resolver swallows every query. Runs in namespaces of its own."""
    from livekit import rtc
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.77", 53))
    resolver.setblocking(False)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        conf.write("nameserver 127.0.0.77\n")
        conf.flush()
        os.chmod(conf.name, 0o644)
        subprocess.run(["mount", "--bind", conf.name, os.path.realpath("/etc/resolv.conf")], check=True)
        own = threads()
        rooms = [rtc.Room() for _ in range(20)]
        joins = [asyncio.create_task(r.connect(f"ws://host{i}.livekit.test:7880", "token", rtc.RoomOptions()))
                 for i, r in enumerate(rooms)]
        most, queries, end = 0, 0, time.monotonic() + options["resolver_seconds"]
        while time.monotonic() < end:
            await asyncio.sleep(0.02)
            most = max(most, threads() - own)
            while True:
                try:
                    resolver.recv(4096)
                    queries += 1
                except BlockingIOError:
                    break
    answered = sum(j.done() for j in joins)
    if queries < 20 or answered:
        raise RuntimeError(f"{queries} queries came, {answered} joins ended: not what this case is about")
    tell("values", threads=most, queries=queries)
    os._exit(0)  # the joins hang, and so would their end


async def case_publish(options):
    """CPU of one published voice, fed through Python in frames of 10 ms; then what get_stats takes."""
    room, _ = await join(options, "publish", "a")
    source, track = await publish_audio(room, 1000)
    feeding = asyncio.create_task(feed(source, speech_like(10)))
    await asyncio.sleep(options["warm"])
    cpu = Cpu()
    await asyncio.sleep(options["media_window"])
    values = {"cpu": cpu.percent()}
    took = []
    for _ in range(options["get_stats"]):
        began = time.perf_counter()
        entries = await track.get_stats()
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    values["get_stats_ms"] = median(took) * 1e3
    values["get_stats_entries"] = len(entries)
    if feeding.done():
        raise RuntimeError(f"the feeder ended: {feeding.exception()}")
    feeding.cancel()
    await room.disconnect()
    return values


async def case_audio_latency(options):
    """A burst in a soft hum, captured and found again in the other participant's stream: same process, same clock."""
    import numpy as np
    from livekit import rtc
    step, arrived, streams = RATE // 100, [], []
    speaker, _ = await join(options, "latency", "a")
    listener, _ = await join(options, "latency", "b")
    got = asyncio.Event()

    async def listen(track):
        loud_before = False
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10):
            got.set()
            samples = np.abs(np.frombuffer(event.frame.data, dtype=np.int16))
            loud = np.flatnonzero(samples > 5000)
            if len(loud) and not loud_before:
                # The sample stands loud[0] into a frame that is complete now, as the captured one was.
                arrived.append(time.monotonic() + (loud[0] - len(samples)) / RATE)
            loud_before = bool(len(loud))
    listener.on("track_subscribed", lambda track, *_: streams.append(asyncio.create_task(listen(track))))
    source, _ = await publish_audio(speaker, 200)
    t = np.arange(RATE) / RATE
    hum = (400 * np.sin(2 * np.pi * 200 * t)).astype(np.int16)
    burst = (14000 * np.cos(2 * np.pi * 800 * t[:3 * step])).astype(np.int16)
    dice, pace, captured, hums = random.Random(1), Pace(0.01), [], 0

    async def capture(samples):
        await source.capture_frame(audio_frame(samples))
        await pace.tick()

    async def keep_humming(frames):
        nonlocal hums
        for _ in range(frames):
            at = hums % 100 * step
            hums += 1
            await capture(hum[at:at + step])
    while not got.is_set():
        await keep_humming(10)
    await keep_humming(int(options["warm"] * 100))
    for _ in range(options["bursts"]):
        captured.append(time.monotonic() - 0.01)  # its first sample is a frame old when the frame is complete
        for i in range(3):
            await capture(burst[i * step:(i + 1) * step])
        await keep_humming(25 + dice.randrange(20))
    await keep_humming(50)
    # Bursts stand at least 250 ms apart: each goes with the first arrival after it.
    latency = []
    for at in captured:
        later = [a - at for a in arrived if 0 < a - at < 0.4]
        if later:
            latency.append(later[0])
    if len(latency) < 0.9 * len(captured):
        raise RuntimeError(f"only {len(latency)} of {len(captured)} bursts were heard")
    for stream in streams:
        stream.cancel()
    await speaker.disconnect()
    await listener.disconnect()
    return {"median_ms": median(latency) * 1e3, "heard": len(latency)}


# ---- issue "First light" ---------------------------------------------------------------------------------------------

def pictures():
    """LOOP pictures as I420: a texture that pans, a square that moves, grain; its number in the top row."""
    import numpy as np
    dice = np.random.default_rng(1)
    coarse = dice.integers(40, 216, (HEIGHT // 40 + 2, WIDTH // 40 + 2))
    y, x = np.arange(HEIGHT) / 40, np.arange(WIDTH) / 40
    rows, columns = y.astype(int), x.astype(int)
    fy, fx = (y - rows)[:, None], (x - columns)[None, :]

    def corner(dy, dx):
        return coarse[np.ix_(rows + dy, columns + dx)]
    texture = ((corner(0, 0) * (1 - fx) + corner(0, 1) * fx) * (1 - fy) + (corner(1, 0) * (1 - fx) + corner(1, 1) * fx) * fy)
    texture += 12 * np.sin(np.arange(WIDTH) / 3)[None, :]
    out = []
    for n in range(LOOP):
        luma = np.roll(texture, n * 4, axis=1) + dice.normal(0, 1.5, (HEIGHT, WIDTH))
        left = int((WIDTH - 200) * (0.5 + 0.5 * np.sin(2 * np.pi * n / LOOP)))
        luma[300:420, left:left + 160] = 225
        for bit in range(8):
            luma[:CELL, bit * CELL:(bit + 1) * CELL] = 235 if n >> bit & 1 else 16
        u = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
        v = np.roll((110 + 30 * np.sin(np.arange(WIDTH // 2) / 60)).astype(np.uint8), n * 2)
        out.append(b"".join((np.clip(luma, 0, 255).astype(np.uint8).tobytes(), u.tobytes(),
                             np.broadcast_to(v, u.shape).tobytes())))
    return out


def luma_of(data):
    import numpy as np
    return np.frombuffer(data, dtype=np.uint8, count=WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)


def number_of(luma):
    middle = CELL // 2
    return sum((int(luma[middle, bit * CELL + middle]) > 125) << bit for bit in range(8))


async def publish_video(room):
    from livekit import rtc
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("picture", source)
    publish = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False,
                                      video_codec=rtc.VideoCodec.VP8)
    publish.video_encoding.max_bitrate = 1_700_000
    publish.video_encoding.max_framerate = FPS
    await room.local_participant.publish_track(track, publish)
    return source, track


async def show(source, data):
    """The pictures in real time, for ever."""
    from livekit import rtc
    frames = [rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, d) for d in data]
    pace = Pace(1 / FPS)
    while True:
        for frame in frames:
            source.capture_frame(frame)
            await pace.tick()


async def case_video(options):
    """720p30 VP8 there and back in one process: CPU, picture quality at the bitrate that was spent, first frame."""
    import numpy as np
    from livekit import rtc
    data = pictures()
    seen, kept, counted, whole = [], [], 0, 0
    sampling = [False]
    sender, _ = await join(options, "video", "a")
    receiver, _ = await join(options, "video", "b")
    streams = []

    async def watch(track):
        nonlocal counted, whole
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            seen.append(time.monotonic())
            if sampling[0]:
                counted += 1
                whole += (event.frame.width, event.frame.height) == (WIDTH, HEIGHT)
                if counted % 15 == 0 and (event.frame.width, event.frame.height) == (WIDTH, HEIGHT):
                    kept.append(bytes(event.frame.data[:WIDTH * HEIGHT]))
    receiver.on("track_subscribed", lambda track, *_: streams.append(asyncio.create_task(watch(track))))
    began = time.monotonic()
    source, track = await publish_video(sender)
    showing = asyncio.create_task(show(source, data))
    await until(lambda: seen, 20, "the first frame")
    first = seen[0] - began
    await asyncio.sleep(options["video_warm"])

    async def sent():
        entries = [s.outbound_rtp for s in await track.get_stats() if s.HasField("outbound_rtp")]
        return sum(e.sent.bytes_sent for e in entries)
    before, cpu, at = await sent(), Cpu(), time.monotonic()
    sampling[0] = True
    await asyncio.sleep(options["media_window"])
    sampling[0] = False
    percent, seconds = cpu.percent(), time.monotonic() - at
    bits = (await sent() - before) * 8
    values = {"cpu": percent, "first_frame_ms": first * 1e3, "fps": counted / seconds,
              "whole_percent": 100 * whole / max(1, counted), "kbps": bits / seconds / 1e3}
    if showing.done():
        raise RuntimeError(f"the feeder ended: {showing.exception()}")
    showing.cancel()
    quality = []
    for picture in map(luma_of, kept):
        number = number_of(picture)
        if number < LOOP:
            error = np.mean((picture.astype(float) - luma_of(data[number])) ** 2)
            quality.append(10 * np.log10(255 ** 2 / error))
    if not quality:
        raise RuntimeError("no whole picture with a number of ours was seen")
    values["psnr_db"] = median(quality)
    await sender.disconnect()
    await receiver.disconnect()
    return values


async def case_data(options):
    """Reliable messages of 1,000 bytes: as many as one sender gets through; then one at a time, for the latency."""
    sender, _ = await join(options, "data", "a")
    receiver, _ = await join(options, "data", "b")
    arrived, size = [], 1000

    def on_data(packet):
        arrived.append((time.perf_counter_ns(), int.from_bytes(packet.data[:8], "big")))
    receiver.on("data_received", on_data)

    async def send():
        await sender.local_participant.publish_data(time.perf_counter_ns().to_bytes(8, "big") + bytes(size - 8), topic="bench")
    await send()
    await until(lambda: arrived, 10, "the first message")
    arrived.clear()
    count = options["messages"]
    for _ in range(count):
        await send()
    await until(lambda: len(arrived) >= count, 60, f"{count} messages, {len(arrived)} came")
    rate = count / ((arrived[-1][0] - arrived[0][1]) / 1e9)
    arrived.clear()
    pace = Pace(0.01)
    for _ in range(200):
        await send()
        await pace.tick()
    await until(lambda: len(arrived) >= 200, 10, "200 messages")
    await sender.disconnect()
    await receiver.disconnect()
    return {"per_second": rate, "latency_ms": median([(b - a) / 1e6 for b, a in arrived])}


async def both_tracks(room, data):
    """Publishes a voice and pictures, and takes what the other one publishes. The counters of what came are returned."""
    from livekit import rtc
    came, tasks = {"audio": 0, "video": 0}, []

    async def take(kind, stream):
        async for _ in stream:
            came[kind] += 1

    def on_track(track, *_):
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            tasks.append(asyncio.create_task(take("audio", rtc.AudioStream(track, sample_rate=RATE, num_channels=1))))
        else:
            tasks.append(asyncio.create_task(take("video", rtc.VideoStream(track, format=rtc.VideoBufferType.I420))))
    room.on("track_subscribed", on_track)
    for remote in room.remote_participants.values():
        for publication in remote.track_publications.values():
            if publication.track:
                on_track(publication.track)
    source, _ = await publish_audio(room, 1000)
    camera, _ = await publish_video(room)
    tasks.append(asyncio.create_task(feed(source, speech_like(4))))
    tasks.append(asyncio.create_task(show(camera, data)))
    return came, tasks


async def case_room_memory(options):
    """Memory of a process's first room with an audio and a video track each way. The other side: a process like it."""
    from livekit import rtc  # noqa: F401
    data = pictures()
    speech_like(4)  # so that numpy's memory is there before
    before = settled_rss_kb()
    room, _ = await join(options, "memory", options["identity"])
    came, tasks = await both_tracks(room, data)
    await until(lambda: came["audio"] and came["video"], 30, "sound and picture of the other side")
    await asyncio.sleep(options["media_window"] / 2)
    values = {"rss_mb": (settled_rss_kb() - before) / 1024}
    tell("measured")
    await asyncio.to_thread(await_go)
    if came["video"] < FPS:
        raise RuntimeError(f"only {came} came")
    return values


def main():
    case, options = sys.argv[1], json.loads(sys.argv[2])
    run = globals()["case_" + case]
    refusals = Refusals()
    try:
        values = asyncio.run(run(options)) if asyncio.iscoroutinefunction(run) else run(options)
    except Exception as error:
        refusal = refusals.of(error)
        if not refusal:
            raise
        tell("not_built", text=refusal)
    else:
        tell("values", **values)
    sys.stdout.flush()
    os._exit(0)  # the end of the engine is not what is measured


if __name__ == "__main__":
    main()
