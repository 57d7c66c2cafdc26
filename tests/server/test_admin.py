# SPDX-License-Identifier: Apache-2.0
"""RoomService of `lkc serve`, asked by the official Python package and by hand as JSON."""
import asyncio
import json

import pytest
from livekit import api

import peers
from test_http import get


def refused(server, code, status, *call, **fields):
    with pytest.raises(api.TwirpError) as error:
        server.call("room", *call, **fields)
    assert (error.value.code, error.value.status) == (code, status), error.value
    return error.value.message


def test_rooms_are_made_listed_changed_and_deleted(server, room):
    made = server.call("room", "create_room", "CreateRoomRequest", name=room, empty_timeout=33, max_participants=7, metadata="one")
    assert made.sid.startswith("RM_") and made.name == room and made.empty_timeout == 33 and made.departure_timeout == 20
    assert made.max_participants == 7 and made.metadata == "one" and made.creation_time > 1700000000 and len(made.enabled_codecs) > 0
    again = server.call("room", "create_room", "CreateRoomRequest", name=room)
    assert again.sid == made.sid
    assert room in [r.name for r in server.call("room", "list_rooms", "ListRoomsRequest").rooms]
    assert [r.sid for r in server.call("room", "list_rooms", "ListRoomsRequest", names=[room, "no such room"]).rooms] == [made.sid]
    assert server.call("room", "update_room_metadata", "UpdateRoomMetadataRequest", room=room, metadata="two").metadata == "two"
    server.call("room", "delete_room", "DeleteRoomRequest", room=room)
    assert room not in [r.name for r in server.call("room", "list_rooms", "ListRoomsRequest").rooms]
    refused(server, "not_found", 404, "delete_room", "DeleteRoomRequest", room=room)


def test_what_is_not_there_is_told_as_the_real_server_tells_it(server, room):
    assert len(server.call("room", "list_participants", "ListParticipantsRequest", room=room).participants) == 0
    server.call("room", "create_room", "CreateRoomRequest", name=room)
    assert "participant does not exist" in refused(server, "not_found", 404, "get_participant", "RoomParticipantIdentity", room=room, identity="x")
    refused(server, "not_found", 404, "remove_participant", "RoomParticipantIdentity", room=room, identity="x")


def test_participants_are_seen_changed_written_to_and_removed(server, room):
    with peers.Program("watch", "stock", server.url, peers.token("alice", room)) as alice:
        alice.wait("connected")
        seen = server.call("room", "get_participant", "RoomParticipantIdentity", room=room, identity="alice")
        assert seen.identity == "alice" and seen.sid.startswith("PA_") and seen.joined_at > 1700000000
        assert server.participants(room) == ["alice"]
        changed = server.call("room", "update_participant", "UpdateParticipantRequest", room=room, identity="alice", metadata="m",
                              name="Alice", attributes={"k": "v"})
        assert changed.metadata == "m" and changed.name == "Alice" and changed.attributes == {"k": "v"}
        server.call("room", "send_data", "SendDataRequest", room=room, data=b"hello", topic="t")
        server.call("room", "remove_participant", "RoomParticipantIdentity", room=room, identity="alice")
        alice.wait("disconnected")
    peers.wait_for(lambda: server.participants(room) == [], 10, "alice to be gone")


def test_json_has_the_names_of_the_schema_and_its_defaults(server, room):
    def ask(method, **body):
        status, text, headers = get(server, "/twirp/livekit.RoomService/" + method, "POST", {
            "Authorization": "Bearer " + peers.token("x", room, room_create=True, room_list=True, room_admin=True),
            "Content-Type": "application/json"}, json.dumps(body))
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(text)
    status, made = ask("CreateRoom", name=room, emptyTimeout=44)
    assert status == 200 and made["empty_timeout"] == 44 and made["metadata"] == "" and made["num_participants"] == 0
    assert isinstance(made["creation_time"], str) and int(made["creation_time"]) > 1700000000
    assert ask("ListParticipants", room=room) == (200, {"participants": []})
    assert ask("SendData", room=room, data="aGk=", nonce="AAAA")[1]["code"] == "invalid_argument"
    assert ask("MoveParticipant", room=room, identity="x", destination_room="y")[0] in (401, 501)
    assert ask("NoSuchMethod") == (404, {"code": "bad_route", "msg": "no handler for this path"})


@pytest.mark.parametrize("headers, body, status, code", [
    ({"Content-Type": "application/json"}, "{}", 401, "unauthenticated"),
    ({"Content-Type": "application/json", "Authorization": "Bearer x"}, "{}", 401, "unauthenticated"),
    ({"Content-Type": "text/plain", "Authorization": "{admin}"}, "{}", 404, "bad_route"),
    ({"Content-Type": "application/json", "Authorization": "{admin}"}, "{", 400, "malformed"),
    ({"Content-Type": "application/json", "Authorization": "{admin}"}, '{"names":7}', 400, "malformed"),
    ({"Content-Type": "application/json", "Authorization": "{other}"}, "{}", 401, "unauthenticated"),
])
def test_bad_calls_are_refused_with_a_twirp_error(server, headers, body, status, code):
    words = {"{admin}": peers.token("x", room_list=True), "{other}": peers.token("x")}
    headers = {k: "Bearer " + words[v] if v in words else v for k, v in headers.items()}
    got, text, _ = get(server, "/twirp/livekit.RoomService/ListRooms", "POST", headers, body)
    assert got == status and json.loads(text)["code"] == code, (got, text)
