# SPDX-License-Identifier: Apache-2.0
"""Dialogues with a library, request by request and event by event, every field of them: recorded from the stock library
into tests/golden, and held against what ours says to the same requests.

    .peers/venv/bin/python tests/ffi/dialogue.py [STORY]      records the stock library again

A dialogue has parts ("== name"). In a part: ">" a request as the script names it, "=" its response or "refused", "!" its
callback event; then "<" the events of each room and stream, in their order. Handles and ids are "#", times "T", sids carry the
name of what they mean. What the server or the network tells when it likes is left out (FREE). A part is over when a change of
attributes has made its way through the server to everybody.

What differs on purpose stands in docs/ffi.md, with its reason; anything else fails test_dialogue.py.
"""
import contextlib
import ctypes
import difflib
import fnmatch
import os
import pathlib
import re
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.append(str(HERE.parent / "interop"))
import numpy as np  # noqa: E402
import peers  # noqa: E402
import raw  # noqa: E402

GOLDEN = HERE.parent / "golden"
DOCUMENT = HERE.parents[1] / "docs/ffi.md"
FREE = {"connection_quality_changed", "active_speakers_changed", "token_refreshed", "room_updated", "participants_updated"}
NUMBERS = {"id", "async_id", "data_ptr", "output_ptr", "stream_handle", "room_handle", "publication_handle"}
TIMES = {"joined_at", "creation_time", "timestamp_us", "timestamp"}
BARRIER = "barrier"


class Dialogue:
    def __init__(self, lib, server, room):
        self.lib, self.server, self.room = lib, server, room
        self.parts, self.names, self.rooms, self.mine, self.streams, self.seen = [], {}, {}, {}, {}, 0
        self.asked, self.barriers, self.frames = [], 0, set()

    # ---- speaking ----

    def ask(self, who, request, /, **fields):
        """Sends it and notes what was asked and answered; the response, or None when it was refused."""
        words = " ".join(f"{k}={self.word(k, v)}" for k, v in fields.items())
        entry = {"asked": f"{who} > {request} {words}".rstrip(), "async": None, "request": request}
        self.asked.append(entry)
        try:
            response = self.lib.request(request, **fields)
        except LookupError:
            entry["answer"] = "refused"
            return None
        self.learn(response)
        entry["response"] = response
        if "async_id" in response.DESCRIPTOR.fields_by_name:
            entry["async"] = response.async_id
        return response

    def word(self, name, value):
        if name in ("token", "url") or name.endswith("_ptr") or name.endswith("handle"):
            return "#"
        if isinstance(value, str):
            return self.text(value)
        return re.sub(r"'\w+_ptr': \d+", "'ptr': '#'", str(value)).replace(" ", "")

    def callback(self, who, request, /, **fields):
        """Sends it and waits for its one callback event."""
        response = self.ask(who, request, **fields)
        if response is None:
            return None
        got = self.lib.callback_of(request, response, 30)
        self.learn(got)
        return got

    def event(self, who, name, start=0, seconds=20):
        got = getattr(self.lib.room_event(name, max(start, self.seen), seconds, self.rooms[who])[1].room_event, name)
        self.learn(got)
        return got

    # ---- the script's larger steps ----

    def join(self, who, ready=True, options=None, **grants):
        result = self.callback(who, "connect", url=self.server.url, options=options or {},
                               token=peers.token(who, self.room, **{"can_update_own_metadata": True, **grants})).result
        self.rooms[who], self.mine[who] = result.room.handle.id, result.local_participant.handle.id
        if ready:
            self.ask(who, "ready_for_room_event", room_handle=self.rooms[who])
            for name in ("connection_state_changed", "room_sid_changed"):  # in either order
                self.event(who, name)
            # Else who comes next may or may not see this one become ACTIVE.
            peers.wait_for(lambda: any(p.identity == who and p.state == 2 for p in self.server.call(
                "room", "list_participants", "ListParticipantsRequest", room=self.room).participants), 10, f"{who} to be active")

    def barrier(self, who="alice", everybody=None):
        """What `who` had to tell has been told, to everybody."""
        self.barriers += 1
        value = str(self.barriers)
        response = self.lib.request("set_local_attributes", local_participant_handle=self.mine[who],
                                    attributes=[{"key": BARRIER, "value": value}])
        assert not self.lib.callback_of("set_local_attributes", response).error
        for other in everybody or self.rooms:
            self.lib.wait(lambda e: raw.kind(e) == "room.participant_attributes_changed" and
                          e.room_event.room_handle == self.rooms[other] and
                          any((a.key, a.value) == (BARRIER, value) for a in
                              e.room_event.participant_attributes_changed.changed_attributes), what=f"barrier at {other}")

    def part(self, name, barrier=None, everybody=None):
        """Closes the part before it: what came in it becomes text. barrier: who sends it."""
        if barrier:
            self.barrier(barrier, everybody)
        with self.lib.changed:
            events, self.seen = self.lib.events[self.seen:], len(self.lib.events)
        if self.parts:
            self.parts[-1] += self.lines(events)
        self.asked = []
        if name:
            self.parts.append([f"== {name}"])

    def pictures(self, source, width, height):
        """Captures pictures until stopped: a video track is seen once it sends."""
        pixels = np.full(width * height * 4, 90, dtype=np.uint8)
        stop = threading.Event()

        def run():
            while not stop.wait(0.05):
                with contextlib.suppress(LookupError):
                    self.lib.request("capture_video_frame", source_handle=source, timestamp_us=0, rotation=0, buffer={
                        "type": 0, "width": width, "height": height, "stride": width * 4, "data_ptr": pixels.ctypes.data})
        thread = threading.Thread(target=run)
        thread.start()
        return lambda: (stop.set(), thread.join())

    # ---- writing down ----

    def learn(self, message):
        """Names for the sids a message tells of."""
        fields = message.DESCRIPTOR.fields_by_name
        if "sid" in fields and message.sid[:3] in ("TR_", "PA_", "RM_"):
            meaning = getattr(message, "identity", "") or getattr(message, "name", "")
            if message.sid != "TR_unknown":
                self.names[message.sid] = f"{message.sid[:2]}({'' if message.sid[0] == 'R' else meaning})"
        for field, value in message.ListFields():
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for one in value if field.is_repeated else (value,):
                    self.learn(one)

    def text(self, value):
        for sid, name in self.names.items():
            value = value.replace(sid, name)
        value = value.replace(self.room, "ROOM").replace(self.server.url.split("//")[1], "SERVER")
        value = re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN", value)
        return value if value and " " not in value and len(value) < 200 else repr(value[:200])

    def dump(self, message):
        words = []
        for field, value in message.ListFields():
            name = field.name
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                inner = ";".join(f"{k}:{v}" for k, v in sorted(value.items()) if k != BARRIER)
                words += [f"{name}={{{inner}}}"] if inner else []
            elif name in ("stats", "publisher_stats", "subscriber_stats"):
                words.append(f"{name}={','.join(sorted({one.WhichOneof('stats') for one in value}))}")
            elif field.message_type is not None and field.message_type.name == "FfiOwnedHandle":
                words.append(f"{name}=#")
            elif field.message_type is not None:
                inner = [self.dump(one) for one in (value if field.is_repeated else (value,))]
                words.append(f"{name}={'|'.join(inner) if not field.is_repeated else inner and '[' + ' | '.join(inner) + ']'}")
            elif name in NUMBERS or name in TIMES:
                words.append(f"{name}={'#' if name in NUMBERS else 'T'}")
            elif field.is_repeated:
                words.append(f"{name}=[{','.join(str(v) for v in value)}]")
            elif isinstance(value, str):
                words.append(f"{name}={self.text(value)}")
            else:
                words.append(f"{name}={value}")
        return "{" + " ".join(words) + "}"

    def lines(self, events):
        out, told = [], {}
        callbacks, sides = {}, {handle: who for who, handle in self.rooms.items()}
        for event in events:
            name = event.WhichOneof("message")
            message = getattr(event, name)
            self.learn(message)
            if name == "room_event":
                what = message.WhichOneof("message")
                inner = getattr(message, what)
                is_barrier = what == "participant_attributes_changed" and any(a.key == BARRIER for a in inner.changed_attributes)
                if what not in FREE and not is_barrier:
                    told.setdefault(sides.get(message.room_handle, "?"), []).append((what, inner))
            elif name in ("audio_stream_event", "video_stream_event"):
                what = message.WhichOneof("message")
                list_of = told.setdefault(self.streams.get(message.stream_handle, "stream"), [])
                if what != "frame_received" or message.stream_handle not in self.frames:  # the first stands for all
                    list_of.append((what, getattr(message, what)))
                if what == "frame_received":
                    self.frames.add(message.stream_handle)
            elif "async_id" in message.DESCRIPTOR.fields_by_name:
                callbacks.setdefault((message.async_id), []).append((name, message))
        for entry in self.asked:
            out.append(entry["asked"])
            out.append(f"  = {entry.get('answer') or self.dump(entry['response'])}")
            out += [f"  ! {name} {self.dump(message)}" for name, message in callbacks.pop(entry["async"], [])]
        for who in sorted(told):
            mine = told[who]
            for i in range(len(mine) - 1):
                if (mine[i][0], mine[i + 1][0]) == ("room_sid_changed", "connection_state_changed"):
                    mine[i], mine[i + 1] = mine[i + 1], mine[i]
            out += [f"{who} < {what} {self.dump(inner)}" for what, inner in mine]
        return out

    def done(self):
        self.part(None)
        return "\n".join(line for part in self.parts for line in part) + "\n"


# ---- the stories -----------------------------------------------------------------------------------------------------

def audio_track(d, name="a"):
    source = d.ask("alice", "new_audio_source", type=0, sample_rate=48000, num_channels=1, queue_size_ms=1000).source.handle.id
    return source, d.ask("alice", "create_audio_track", name=name, source_handle=source).track.handle.id


def tell_media(d):
    """Sound and pictures, published with other than the usual options, muted, unpublished; data; rights; statistics."""
    d.part("bob and alice join")
    d.join("bob")
    d.join("alice")
    d.event("bob", "participant_active")  # before it bob is not told of changes, but of what they came to

    d.part("sound without redundancy and DTX", "alice")
    audio_source, audio = audio_track(d)
    published = d.callback("alice", "publish_track", local_participant_handle=d.mine["alice"], track_handle=audio,
                           options={"source": 2, "red": False, "dtx": False, "audio_encoding": {"max_bitrate": 64000}})
    a_sid = published.publication.info.sid
    a_remote = d.event("bob", "track_subscribed").track.handle.id
    d.event("alice", "local_track_subscribed")

    d.part("who may hear alice", "alice")  # everybody, and then bob by name: what he hears does not change
    for fields in ({"all_participants_allowed": True, "permissions": []},
                   {"all_participants_allowed": False, "permissions": [{"participant_identity": "bob", "allow_all": True}]}):
        d.ask("alice", "set_track_subscription_permissions", local_participant_handle=d.mine["alice"], **fields)

    d.part("a video track is made and published", "alice")
    source = d.ask("alice", "new_video_source", type=0, resolution={"width": 320, "height": 180}).source.handle.id
    video = d.ask("alice", "create_video_track", name="v", source_handle=source).track.handle.id
    stop = d.pictures(source, 320, 180)
    published = d.callback("alice", "publish_track", local_participant_handle=d.mine["alice"], track_handle=video,
                           options={"source": 1, "simulcast": False, "video_codec": 0})
    v_sid = published.publication.info.sid
    v_remote = d.event("bob", "track_subscribed").track.handle.id
    d.event("alice", "local_track_subscribed")

    d.part("bob watches", "alice")
    stream = d.ask("bob", "new_video_stream", track_handle=v_remote, type=0, format=5).stream.handle.id
    d.streams[stream] = "bob's pictures"
    d.lib.wait(lambda e: raw.kind(e) == "video_stream_event.frame_received" and
               e.video_stream_event.stream_handle == stream, what="picture")

    d.part("alice mutes her pictures and unmutes them", "alice")
    for mute, name in ((True, "track_muted"), (False, "track_unmuted")):
        d.ask("alice", "local_track_mute", track_handle=video, mute=mute)
        d.event("bob", name)
    d.ask("alice", "local_track_mute", track_handle=video, mute=False)

    d.part("statistics", "alice")
    for track in (video, audio):  # the server's reports come once a second
        peers.wait_for(lambda: "remote_inbound_rtp" in {one.WhichOneof("stats") for one in d.lib.callback_of(
            "get_stats", d.lib.request("get_stats", track_handle=track)).stats}, 20, "a report")
    for who, handle in (("alice", video), ("alice", audio), ("bob", v_remote), ("bob", a_remote)):
        d.callback(who, "get_stats", track_handle=handle)
    d.callback("bob", "get_session_stats", room_handle=d.rooms["bob"])

    d.part("data", "alice")
    keep = ctypes.create_string_buffer(b"x" * 64, 64)
    here = ctypes.addressof(keep)
    for fields in ({"reliable": True}, {"reliable": True, "topic": "t"}, {"reliable": True, "destination_identities": ["bob"]}):
        start = len(d.lib.events)
        d.callback("alice", "publish_data", local_participant_handle=d.mine["alice"], data_ptr=here, data_len=64, **fields)
        d.event("bob", "data_packet_received", start)
    d.callback("alice", "publish_data", local_participant_handle=d.mine["alice"], data_ptr=here, data_len=64, reliable=True,
               destination_identities=["nobody"])
    start = len(d.lib.events)
    d.callback("alice", "publish_data", local_participant_handle=d.mine["alice"], data_ptr=0, data_len=0, reliable=True)
    d.event("bob", "data_packet_received", start)
    d.callback("alice", "publish_sip_dtmf", local_participant_handle=d.mine["alice"], code=5, digit="5")

    d.part("thresholds of the channels", "alice")
    d.ask("alice", "set_data_channel_buffered_amount_low_threshold", local_participant_handle=d.mine["alice"], threshold=1000, kind=0)
    d.event("alice", "data_channel_low_threshold_changed")

    d.part("the server takes a right away and gives it back", "alice")
    for can in (False, True):
        start = len(d.lib.events)
        d.server.call("room", "update_participant", "UpdateParticipantRequest", room=d.room, identity="bob", permission={
            "can_subscribe": True, "can_publish": can, "can_publish_data": True, "can_update_metadata": True})
        for who in ("alice", "bob"):
            d.event(who, "participant_permission_changed", start)

    d.part("the room has something to say", "alice")
    d.server.call("room", "update_room_metadata", "UpdateRoomMetadataRequest", room=d.room, metadata="about the room")
    for who in ("alice", "bob"):
        d.event(who, "room_metadata_changed")

    d.part("alice takes both tracks back", "alice")
    for sid in (v_sid, a_sid):
        start = len(d.lib.events)
        d.callback("alice", "unpublish_track", local_participant_handle=d.mine["alice"], track_sid=sid, stop_on_unpublish=True)
        d.event("bob", "track_unpublished", start)
    stop()
    d.callback("alice", "get_stats", track_handle=video)

    d.part("bob drops his stream", "alice")
    d.lib.drop(stream)
    d.lib.wait(lambda e: raw.kind(e) == "video_stream_event.eos" and e.video_stream_event.stream_handle == stream, what="eos")

    d.part("alice leaves, then bob", "alice")
    d.callback("alice", "disconnect", room_handle=d.rooms["alice"], reason=1)
    d.event("bob", "participant_disconnected")
    d.callback("bob", "disconnect", room_handle=d.rooms["bob"])


def tell_refusals(d):
    """What is asked wrongly, and how it is refused."""
    d.part("connects that fail")
    token = peers.token("x", d.room)
    elsewhere = f"ws://127.0.0.1:{peers.free_port()}"
    for url, given in ((d.server.url, peers.token("x", d.room, secret="another-secret-of-the-right-length-0123456789")),
                       (d.server.url, peers.token("x", d.room, ttl_seconds=-600)), (d.server.url, peers.token("x", d.room, room_join=False)),
                       (d.server.url, ""), (d.server.url, "a\x07b"), (elsewhere, token), ("ftp://127.0.0.1", token), ("x", token),
                       ("", token), (d.server.url.replace("ws", "wss"), token)):
        d.callback("x", "connect", url=url, token=given, options={"join_retries": 0})

    d.part("alice and bob, who may do little, join")
    d.join("bob", can_publish=False, can_publish_data=False, can_update_own_metadata=False)
    d.join("alice")
    audio_source, audio = audio_track(d)
    sid = d.callback("alice", "publish_track", local_participant_handle=d.mine["alice"], track_handle=audio,
                     options={"source": 2}).publication.info.sid
    remote = d.event("bob", "track_subscribed").track.handle.id
    d.event("alice", "local_track_subscribed")
    publication = d.event("bob", "track_published").publication.handle.id
    me = {"local_participant_handle": d.mine["alice"]}

    d.part("objects of the wrong kind", "alice")
    video_source = d.ask("alice", "new_video_source", type=0, resolution={"width": 64, "height": 64}).source.handle.id
    video = d.ask("alice", "create_video_track", name="v", source_handle=video_source).track.handle.id
    d.ask("alice", "create_video_track", name="v", source_handle=audio_source)
    d.ask("alice", "create_audio_track", name="a", source_handle=video_source)
    d.ask("alice", "new_audio_stream", track_handle=video, type=0)
    d.ask("alice", "new_video_stream", track_handle=audio, type=0)
    d.ask("alice", "new_audio_stream", track_handle=audio, type=1)
    d.ask("alice", "new_video_stream", track_handle=video, type=1)
    d.ask("alice", "local_track_mute", track_handle=remote, mute=True)
    d.ask("alice", "enable_remote_track", track_handle=audio, enabled=True)
    d.ask("bob", "enable_remote_track", track_handle=remote, enabled=False)
    d.ask("bob", "enable_remote_track", track_handle=remote, enabled=True)
    d.ask("bob", "set_subscribed", publication_handle=d.mine["alice"], subscribe=True)
    d.ask("bob", "enable_remote_track_publication", track_publication_handle=publication, enabled=False)
    d.ask("bob", "enable_remote_track_publication", track_publication_handle=publication, enabled=True)
    d.ask("alice", "clear_audio_buffer", source_handle=video_source)
    d.ask("alice", "disconnect", room_handle=d.mine["alice"])

    d.part("tracks that are not to be had", "alice")
    d.callback("alice", "publish_track", **me, track_handle=10 ** 12, options={"source": 2})
    d.callback("alice", "publish_track", **me, track_handle=remote, options={"source": 2})
    d.callback("alice", "unpublish_track", **me, track_sid="TR_nobody", stop_on_unpublish=True)
    d.callback("alice", "get_stats", track_handle=video)
    d.callback("alice", "get_stats", track_handle=audio)
    d.callback("bob", "publish_track", local_participant_handle=d.mine["bob"], track_handle=video, options={"source": 1, "simulcast": False})

    d.part("bob may not", "alice")
    for request, fields in (("set_local_metadata", {"metadata": "m"}), ("set_local_name", {"name": "n"}),
                            ("set_local_attributes", {"attributes": [{"key": "k", "value": "v"}]})):
        d.callback("bob", request, local_participant_handle=d.mine["bob"], **fields)

    d.part("sound of another format", "alice")
    samples = np.zeros(960, dtype=np.int16)
    for rate, channels, count in ((16000, 1, 160), (48000, 2, 480), (48000, 1, 480)):
        d.callback("alice", "capture_audio_frame", source_handle=audio_source, buffer={
            "data_ptr": samples.ctypes.data, "num_channels": channels, "sample_rate": rate, "samples_per_channel": count})

    d.part("converters", "alice")
    d.ask("alice", "new_sox_resampler", input_rate=48000, output_rate=16000, num_channels=1, input_data_type=0, output_data_type=0,
          quality_recipe=2)
    d.ask("alice", "new_audio_resampler")

    d.part("what is asked of a room that is over", "alice")
    d.callback("alice", "disconnect", room_handle=d.rooms["alice"])
    d.event("bob", "participant_disconnected")
    for request, fields in (("publish_data", {"data_ptr": samples.ctypes.data, "data_len": 2, "reliable": True}),
                            ("set_local_name", {"name": "n"}), ("unpublish_track", {"track_sid": sid, "stop_on_unpublish": True})):
        d.callback("alice", request, **me, **fields)
    d.callback("alice", "get_session_stats", room_handle=d.rooms["alice"])
    d.callback("alice", "get_stats", track_handle=audio)
    d.callback("alice", "disconnect", room_handle=d.rooms["alice"])
    d.ask("alice", "ready_for_room_event", room_handle=d.rooms["alice"])
    d.callback("bob", "disconnect", room_handle=d.rooms["bob"])


def tell_endings(d):
    """How a session ends that nobody asked to end."""
    d.part("alice joins, and joins again elsewhere")
    d.join("alice")
    first = d.rooms["alice"]
    response = d.lib.request("connect", url=d.server.url, token=peers.token("alice", d.room, can_update_own_metadata=True), options={})
    second = d.lib.callback_of("connect", response, 30).result
    d.lib.room_event("eos", 0, 30, first)
    d.part("requests after that")
    d.callback("alice", "disconnect", room_handle=first)

    d.part("the room is deleted")
    d.rooms["alice"], d.mine["alice"] = second.room.handle.id, second.local_participant.handle.id
    d.ask("alice", "ready_for_room_event", room_handle=d.rooms["alice"])
    d.event("alice", "room_sid_changed")
    start = len(d.lib.events)
    d.server.call("room", "delete_room", "DeleteRoomRequest", room=d.room)
    d.event("alice", "eos", start, 30)

    d.part("alice joins once more, and the server dies")
    d.join("alice")
    start = len(d.lib.events)
    d.server.kill()
    d.event("alice", "eos", start, 120)


STORIES = {"media": tell_media, "refusals": tell_refusals, "endings": tell_endings}


def tell(lib, story):
    """The text of a story, told with a server of its own."""
    with peers.Server() as server:
        d = Dialogue(lib, server, f"dialogue-{story}")
        STORIES[story](d)
        return d.done()


# ---- comparing -------------------------------------------------------------------------------------------------------

def listed(document=None):
    """Rows of the table of deliberate differences: [(story and part, stock's line, our line)]; "" for no line there."""
    text = (document or DOCUMENT.read_text()).split("## Dialogues", 1)[-1].split("\n## ", 1)[0]
    rows = []
    for line in text.splitlines():
        cells = [c.strip() for c in line.replace("\\|", "\0").strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and not set(cells[0]) <= set("- ") and cells[0] != "where":
            rows.append(tuple(c.replace("\0", "|").strip("`") for c in cells[:3]))
    return rows


def parts_of(text):
    parts, name = {}, ""
    for line in text.splitlines():
        if line.startswith("== "):
            name = line[3:]
            parts[name] = []
        elif not line.startswith("#"):
            parts[name].append(line)
    return parts


def differences(story, stock, ours):
    """[(where, stock's lines, our lines)] of the places where they differ."""
    found, theirs, mine = [], parts_of(stock), parts_of(ours)
    for part in dict.fromkeys([*theirs, *mine]):
        a, b = theirs.get(part, []), mine.get(part, [])
        for how, a1, a2, b1, b2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if how != "equal":
                found.append((f"{story}: {part}", [line.strip() for line in a[a1:a2]], [line.strip() for line in b[b1:b2]]))
    return found


def unexplained(story, stock, ours, rows):
    """(lines no row explains, rows that explained one)."""
    left, used = [], set()
    for row in rows:
        if row[0] == "everywhere" and row[1] in stock:
            stock = stock.replace(row[1], row[2])
            used.add(row)
    for where, theirs, mine in differences(story, stock, ours):
        for side, lines in ((1, theirs), (2, mine)):
            for line in lines:
                fits = [row for row in rows if fnmatch.fnmatchcase(where, row[0]) and row[side] and
                        fnmatch.fnmatchcase(line, row[side].replace("[", "[[]"))]
                used.update(fits)
                if not fits:
                    left.append(f"{where}: {'stock' if side == 1 else 'ours'}: {line}")
    return left, used


def record(story, library="stock"):
    lib = raw.Library(raw.path_of(library))
    lib.initialize()
    return tell(lib, story)


def main():
    for story in sys.argv[1:] or STORIES:
        path = GOLDEN / f"dialogue_{story}.txt"
        pid = os.fork()
        if pid == 0:
            text = record(story)
            # On a busy machine the stock library now and then loses `disconnected` of its own disconnect.
            assert text.count(" < disconnected ") == text.count(" < eos ") - text.count("pictures < eos"), "record it again"
            path.write_text(f"# The story '{story}' of tests/ffi/dialogue.py, the stock library of pip livekit 1.2.1.\n" + text)
            print(f"{path}: {len(text.splitlines())} lines", flush=True)
            os._exit(0)  # without its dispose, in which the stock library now and then crashes
        assert os.waitpid(pid, 0)[1] == 0, story


if __name__ == "__main__":
    main()
