# SPDX-License-Identifier: Apache-2.0
"""What a library tells in the course of one story: recorded as text, read back, and held against the rules of order.

A transcript has one line an event or request, in the order they happened: who (the room it belongs to), ">" for a request
or "<" for an event, its kind, and what identifies what it speaks of; sids are numbered as they appear. "== name" begins
a part of the story, which is over before the next begins.

    .peers/venv/bin/python tests/ffi/transcript.py      records the stock library into tests/golden/story_stock.txt
"""
import os
import pathlib
import re
import sys
from typing import NamedTuple

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/story_stock.txt"
if __name__ == "__main__":
    sys.path.append(str(GOLDEN.parents[1] / "interop"))  # behind this folder: both have a test_audio

import peers
import raw

# ---- recording -----------------------------------------------------------------------------------------------------


class Recorder:
    """Notes which requests were made when; the events are those the library has kept."""

    def __init__(self, lib):
        self.lib, self.notes, self.owners, self.sids = lib, [], {}, {}

    def part(self, name):
        self.notes.append((len(self.lib.events), f"== {name}"))

    def ask(self, who, name, /, **fields):
        """Sends a request in somebody's name; its callback and the events of what it made are theirs."""
        self.notes.append((len(self.lib.events), f"{who} > {name}"))
        response = self.lib.request(name, **fields)
        if "async_id" in response.DESCRIPTOR.fields_by_name:
            self.owners[name, response.async_id] = who
        return response

    def own(self, who, kind, handle):
        self.owners[kind, handle] = who

    def sid(self, text):
        if re.match(r"(TR|PA|RM)_\w", text) and text != "TR_unknown":
            numbered = [s for s in self.sids.values() if s.startswith(text[:2])]
            return self.sids.setdefault(text, f"{text[:2]}{len(numbered) + 1}")
        return text

    def describe(self, message):
        """The words of a line that say what an event speaks of."""
        words = []
        for field, value in message.ListFields():
            name = field.name
            if name in ("publication", "track", "info"):  # an owned object: what it is says its info
                words += self.describe(value)
            elif name in ("track_sid", "publication_sid", "sid"):
                words.append(f"sid={self.sid(value)}")
            elif name in ("participant_identity", "identity"):
                words.append(f"identity={value}")
            elif name == "participants":
                words += ["about=" + ",".join(self.person(p) for p in value)]
            elif name in ("state", "reason", "metadata", "name", "error", "previous_sid"):
                words.append(f"{name}={str(value).replace(' ', '_')}")
            elif name == "changed_attributes":
                words.append("changed=" + ",".join(f"{a.key}:{a.value}" for a in sorted(value, key=lambda a: a.key)))
        return words

    @staticmethod
    def person(info):
        """One of participants_updated: everything a change before it may have told."""
        attributes = ";".join(f"{k}:{v}" for k, v in sorted(info.attributes.items()))
        return f"{info.identity}/{info.name}/{info.metadata}/{attributes}".replace(" ", "_")

    def line(self, event):
        name, kind = event.WhichOneof("message"), raw.kind(event)
        message = getattr(event, name)
        if name == "room_event":
            who = self.owners["room", message.room_handle]
            return " ".join([who, "<", kind, *self.describe(getattr(message, message.WhichOneof("message")))])
        if name == "audio_stream_event":
            return f"{self.owners['stream', message.stream_handle]} < {kind}"
        who = self.owners[name, message.async_id]
        if name == "connect":
            others = ",".join(sorted(p.participant.info.identity for p in message.result.participants))
            return f"{who} < connect me={message.result.local_participant.info.identity} others={others}"
        return " ".join([who, "<", kind, *self.describe(message)])

    def text(self):
        lines, notes = [], list(self.notes)
        for i, event in enumerate(list(self.lib.events)):
            while notes and notes[0][0] <= i:
                lines.append(notes.pop(0)[1])
            line = self.line(event)
            if not (line.endswith(".frame_received") and line in lines[-1:]):  # many frames are one line
                lines.append(line)
        return "\n".join(lines + [note for _, note in notes]) + "\n"


def tell(lib, server, room):
    """The story: two of one library meet, talk, change everything about themselves, and go. Returns the transcript."""
    from test_audio import new_track
    from test_rooms import at
    r = Recorder(lib)
    room_of, me_of = {}, {}

    def join(who, **options):
        response = r.ask(who, "connect", url=server.url, token=peers.token(who, room, can_update_own_metadata=True),
                         options=options)
        result = lib.callback_of("connect", response, 30).result
        room_of[who], me_of[who] = result.room.handle.id, result.local_participant.handle.id
        r.own(who, "room", room_of[who])

    def ready(who):
        r.ask(who, "ready_for_room_event", room_handle=room_of[who])
        for name in ("connection_state_changed", "room_sid_changed"):
            lib.room_event(name, 0, 20, room_of[who])

    def event(who, name, start):
        return getattr(lib.room_event(name, start, 20, room_of[who])[1].room_event, name)

    def publish(start, bob_listens=True):
        response = r.ask("alice", "publish_track", local_participant_handle=me_of["alice"], track_handle=track,
                         options={"source": 2})
        sid = lib.callback_of("publish_track", response).publication.info.sid
        event("alice", "local_track_published", start)
        event("alice", "local_track_subscribed", start)
        return sid, event("bob", "track_subscribed", start) if bob_listens else None

    def listen(subscribed):
        stream = r.ask("bob", "new_audio_stream", track_handle=subscribed.track.handle.id, type=0).stream.handle.id
        r.own("bob", "stream", stream)
        lib.wait(lambda e: raw.kind(e) == "audio_stream_event.frame_received" and
                 e.audio_stream_event.stream_handle == stream, what="frame")
        return stream

    def drop_stream(stream):
        r.notes.append((len(lib.events), "bob > drop_handle"))
        assert lib.drop(stream)
        lib.wait(lambda e: raw.kind(e) == "audio_stream_event.eos" and e.audio_stream_event.stream_handle == stream,
                 what="eos")

    def leave(who, start):
        response = r.ask(who, "disconnect", room_handle=room_of[who])
        lib.callback_of("disconnect", response)
        at(lib, "disconnect", response)

    _, track = new_track(lib)
    r.part("bob joins and is not ready yet")
    join("bob")
    # Else alice may or may not see him become ACTIVE.
    peers.wait_for(lambda: [p.state for p in server.call("room", "list_participants", "ListParticipantsRequest", room=room)
                            .participants] == [2], 10, "the server to see bob as active")
    r.part("alice joins, then publishes")
    join("alice")
    ready("alice")
    publish(len(lib.events), bob_listens=False)

    r.part("bob is ready: what he has missed")
    start = len(lib.events)
    ready("bob")
    subscribed = event("bob", "track_subscribed", start)
    publication = event("bob", "track_published", start).publication.handle.id
    stream = listen(subscribed)

    r.part("alice mutes and unmutes")
    for mute, name in ((True, "track_muted"), (False, "track_unmuted")):
        start = len(lib.events)
        r.ask("alice", "local_track_mute", track_handle=track, mute=mute)
        event("alice", name, start)
        event("bob", name, start)

    r.part("alice says other things about herself")
    for request, fields, name in (("set_local_metadata", {"metadata": "m1"}, "participant_metadata_changed"),
                                  ("set_local_name", {"name": "Alicia"}, "participant_name_changed"),
                                  ("set_local_attributes", {"attributes": [{"key": "k", "value": "v"}]},
                                   "participant_attributes_changed")):
        start = len(lib.events)
        response = r.ask("alice", request, local_participant_handle=me_of["alice"], **fields)
        assert not lib.callback_of(request, response).error
        for who in ("alice", "bob"):
            lib.room_event("participants_updated", lib.room_event(name, start, 20, room_of[who])[0], 20, room_of[who])

    r.part("bob drops the stream")
    drop_stream(stream)

    r.part("bob does not want the track, and then wants it")
    start = len(lib.events)
    r.ask("bob", "set_subscribed", publication_handle=publication, subscribe=False)
    event("bob", "track_unsubscribed", start)
    # Taken back before the server has taken it in, the stock library now and then never subscribes again; the server
    # answers in order.
    response = r.ask("bob", "set_local_name", local_participant_handle=me_of["bob"], name="Bobby")
    assert not lib.callback_of("set_local_name", response).error
    for who in ("alice", "bob"):
        event(who, "participant_name_changed", start)
    start = len(lib.events)
    r.ask("bob", "set_subscribed", publication_handle=publication, subscribe=True)
    stream = listen(event("bob", "track_subscribed", start))

    r.part("alice takes the track back")
    sid = event("alice", "local_track_published", 0).track_sid
    start = len(lib.events)
    response = r.ask("alice", "unpublish_track", local_participant_handle=me_of["alice"], track_sid=sid,
                     stop_on_unpublish=True)
    lib.callback_of("unpublish_track", response)
    event("bob", "track_unpublished", start)
    drop_stream(stream)

    r.part("alice publishes it again")
    _, subscribed = publish(len(lib.events))
    listen(subscribed)

    r.part("alice leaves")
    start = len(lib.events)
    leave("alice", start)
    event("bob", "participant_disconnected", start)
    r.part("alice leaves again")
    leave("alice", start)

    r.part("alice is there again")
    start = len(lib.events)
    join("alice")
    ready("alice")
    event("bob", "participant_active", start)
    r.part("alice publishes once more")
    publish(len(lib.events))

    r.part("the server removes alice")
    start = len(lib.events)
    server.call("room", "remove_participant", "RoomParticipantIdentity", room=room, identity="alice")
    event("alice", "eos", start)
    event("bob", "participant_disconnected", start)
    leave("alice", start)
    r.part("bob leaves")
    leave("bob", len(lib.events))
    return r.text()


# ---- reading -------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    part: str
    who: str
    way: str
    kind: str
    words: dict

    def __str__(self):
        return f"{self.who} {self.way} {self.kind} {self.words}"


def parse(text):
    lines, part = [], ""
    for line in text.splitlines():
        if line.startswith("== "):
            part = line[3:]
        elif line and not line.startswith("#"):
            who, way, kind, *words = line.split(" ")
            lines.append(Line(part, who, way, kind, dict(w.split("=", 1) for w in words)))
    return lines


# Told when the server or the media has something to tell: how often, and when, is not for the library to say.
FREE = {"room.connection_quality_changed", "room.active_speakers_changed", "room.token_refreshed", "room.room_updated",
        "room.participants_updated", "audio_stream_event.frame_received"}
# Which of these comes first is not promised (the contract names them).
LOOSE = [{"room.connection_state_changed", "room.room_sid_changed"},
         {"set_local_metadata", "room.participant_metadata_changed"}, {"set_local_name", "room.participant_name_changed"},
         {"set_local_attributes", "room.participant_attributes_changed"}]


def essence(lines):
    """{who: [...]}: what both libraries must tell alike, with what is in no order put into one."""
    told = {}
    for line in lines:
        if line.way == "<" and line.kind not in FREE:
            # Whether somebody is ACTIVE when he is first told of is a matter of milliseconds.
            words = tuple(sorted((k, v) for k, v in line.words.items() if (line.kind, k) != ("room.participant_connected", "state")))
            told.setdefault(line.who, []).append((line.part, line.kind, words))
    for mine in told.values():
        for loose in LOOSE:
            for i in range(len(mine) - 1):
                if {mine[i][1], mine[i + 1][1]} == loose and mine[i][1] > mine[i + 1][1]:
                    mine[i], mine[i + 1] = mine[i + 1], mine[i]
    return told


# ---- the rules -----------------------------------------------------------------------------------------------------


def violations(lines):
    """What in these lines breaks the orders of the contract (its sections 3 and 8); a list of sentences."""
    found = []
    for who in sorted({line.who for line in lines}):
        found += [f"{who}: {sentence}" for sentence in of_one([line for line in lines if line.who == who])]
    return found


def of_one(lines):
    """The life of one client: several connects, one after the other."""
    sentences, session = [], []
    for line in lines:
        if line.kind == "connect" and line.way == ">" and session:
            sentences += of_session(session)
            session = []
        session.append(line)
    return sentences + of_session(session)


# Requests of the story that a callback event of the same name answers.
ANSWERED = {"connect", "disconnect", "publish_track", "unpublish_track", "set_local_metadata", "set_local_name",
            "set_local_attributes"}
CHANGES = {"room.participant_metadata_changed": ("metadata", 2), "room.participant_name_changed": ("name", 1)}


def of_session(lines):
    bad = []
    events = [line for line in lines if line.way == "<"]
    rooms = [line for line in events if line.kind.startswith("room.")]

    def check(good, sentence):
        if not good:
            bad.append(sentence)

    def where(kind, way="<", **words):
        return [i for i, line in enumerate(lines) if line.way == way and line.kind == kind and
                all(line.words.get(k) == v for k, v in words.items())]

    def before(first, then, sentence):
        check(first and then and max(first[:1]) < min(then), sentence)

    # Every operation is answered once, and after it was asked for.
    for kind in sorted(ANSWERED):
        asked, answered = where(kind, ">"), where(kind)
        check(len(asked) == len(answered) and all(a < b for a, b in zip(asked, answered)), f"{kind} is not answered once")
    # The gate.
    check(events[:1] and events[0].kind == "connect", "something is told before the end of connect")
    ready = where("ready_for_room_event", ">")
    check(not rooms or ready and lines.index(rooms[0]) > ready[0], "an event of the room before the client is ready")
    check(len(where("room.room_sid_changed")) == 1, "room_sid_changed is not told once")
    # Our tracks.
    for i in where("publish_track"):
        sid = lines[i].words.get("sid")
        check(where("room.local_track_published", sid=sid)[:1] > [i], f"local_track_published {sid} is not after its callback")
        subscribed = where("room.local_track_subscribed", sid=sid)
        check(not subscribed or subscribed[0] > where("room.local_track_published", sid=sid)[0],
              f"local_track_subscribed {sid} before local_track_published")
    for i in where("room.local_track_unpublished"):
        before(where("room.local_track_published", sid=lines[i].words["sid"]), [i], "a track ends that never began")
    for n, i in enumerate(where("unpublish_track")):
        check(len([j for j in where("room.local_track_unpublished") if j < i]) > n,
              "the callback of unpublish comes before local_track_unpublished")
    bad += of_others(lines)
    # What changed, before the whole of it.
    for i, line in enumerate(lines):
        if line.way == "<" and line.kind in CHANGES:
            field, place = CHANGES[line.kind]
            told = [j for j in where("room.participants_updated") for person in lines[j].words["about"].split(",")
                    if person.split("/")[0] == line.words["identity"] and person.split("/")[place] == line.words[field]]
            check(told and i < told[0], f"{line.kind} is not before participants_updated")
    # The end.
    for i in where("room.eos"):
        check(lines[i] is rooms[-1] and len(where("room.eos")) == 1, "eos is not the last event, once")
        states = [j for j in where("room.connection_state_changed") if lines[j].words.get("state", "0") == "0"]
        ends = where("room.disconnected")
        check(len(states) == len(ends) == 1 and states[0] < ends[0] < i, "state, disconnected, eos: not each once in order")
        published = where("room.local_track_published")
        check(len(published) == len(where("room.local_track_unpublished")), "a track of ours did not end with the room")
    for i in where("disconnect"):
        check(where("room.eos")[:1] and where("room.eos")[0] < i, "the callback of disconnect comes before eos")
    return bad


def of_others(lines):
    """Participants and their tracks: each begins once before anything about it, and ends once, inside out."""
    bad, here, tracks = [], {}, {}
    for line in lines:
        if line.way != "<":
            continue
        identity, sid, what = line.words.get("identity"), line.words.get("sid"), line.kind.removeprefix("room.")
        if what == "connect":
            here = {name: None for name in line.words["others"].split(",") if name} | {line.words["me"]: None}
            continue
        if line.kind == what:
            continue
        good = True
        if what == "participant_connected":
            good = identity not in here
            here[identity] = None
        elif what == "participant_disconnected":
            good = identity in here and not [t for t, (owner, _) in tracks.items() if owner == identity]
            here.pop(identity, None)
        elif what == "local_track_published":
            tracks[sid] = ("", False)
        elif what == "local_track_unpublished":
            good = tracks.pop(sid, None) is not None
        elif what == "track_published":
            good = identity in here and sid not in tracks
            tracks[sid] = (identity, False)
        elif what == "track_subscribed":
            good = tracks.get(sid) == (identity, False)
            tracks[sid] = (identity, True)
        elif what == "track_unsubscribed":
            good = tracks.get(sid) == (identity, True)
            tracks[sid] = (identity, False)
        elif what == "track_unpublished":
            good = tracks.pop(sid, None) == (identity, False)
        elif what in ("track_muted", "track_unmuted"):
            good = sid in tracks and identity in here
        elif identity is not None:
            good = identity in here
        if not good:
            bad.append(f"{what} {identity or ''} {sid or ''} out of order")
    return bad


def stream_violations(lines):
    """Every stream of the story ends once and says nothing afterwards; needs one stream at a time for each client."""
    bad, open_streams = [], {}
    for line in lines:
        if line.kind == "new_audio_stream" and line.way == ">":
            if open_streams.get(line.who):
                bad.append(f"{line.who}: a stream has no end")
            open_streams[line.who] = True
        elif line.kind.startswith("audio_stream_event."):
            if not open_streams.get(line.who):
                bad.append(f"{line.who}: {line.kind} of a stream that has ended")
            open_streams[line.who] = open_streams.get(line.who) and not line.kind.endswith(".eos")
    return bad + [f"{who}: a stream has no end" for who, is_open in open_streams.items() if is_open]


def main():
    lib = raw.Library(raw.path_of("stock"))
    lib.initialize()
    with peers.Server() as server:
        text = tell(lib, server, "story")
    broken = violations(parse(text)) + stream_violations(parse(text))
    if not broken:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("# The story of tests/ffi/transcript.py as the stock library of pip livekit 1.2.1 tells it.\n" + text)
    print(broken or f"{GOLDEN}: {len(text.splitlines())} lines", flush=True)
    os._exit(bool(broken))  # without its dispose, in which the stock library now and then crashes


if __name__ == "__main__":
    main()
