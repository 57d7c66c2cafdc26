# SPDX-License-Identifier: Apache-2.0
"""Signalling in text frames: who speaks JSON is told JSON, as livekit-server does it."""
import asyncio
import json

import aiohttp
import pytest
from livekit.protocol import rtc as proto

import peers


@pytest.fixture(scope="module", params=["ours", "theirs"])
def either(request):
    with peers.Server(ours=request.param == "ours") as server:
        yield server


class Talk:
    """One v0 signal connection; messages as (text?, dictionary)."""

    def __init__(self, server, room, identity="ann"):
        self.address = f"{server.url}/rtc?sdk=js&protocol=16&auto_subscribe=1&access_token={peers.token(identity, room)}"

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        self.ws = await self.http.ws_connect(self.address)
        return self

    async def __aexit__(self, *_):
        await self.ws.close()
        await self.http.close()

    async def say(self, message):
        if isinstance(message, dict):
            message = json.dumps(message)
        await (self.ws.send_str(message) if isinstance(message, str) else self.ws.send_bytes(message))

    async def wait(self, name):
        """The next message of that name."""
        while True:
            frame = await self.ws.receive(10)
            if frame.type == aiohttp.WSMsgType.TEXT:
                told = json.loads(frame.data)
                if name in told:
                    return True, told[name]
            else:
                assert frame.type == aiohttp.WSMsgType.BINARY, frame
                told = proto.SignalResponse.FromString(frame.data)
                if told.WhichOneof("message") == name:
                    return False, getattr(told, name)


def test_the_form_of_each_answer_is_that_of_the_last_message(either, room):
    async def run():
        async with Talk(either, room) as ann:
            assert (await ann.wait("join"))[0] is False  # told before anything was heard
            await ann.say({"pingReq": {"timestamp": "5"}})
            text, pong = await ann.wait("pongResp")
            assert text and pong["lastPingTimestamp"] == "5" and int(pong["timestamp"]) > 1e12
            await ann.say(proto.SignalRequest(ping_req=proto.Ping(timestamp=6)).SerializeToString())
            assert (await ann.wait("pong_resp"))[0] is False
            await ann.say({"ping": 7})
            assert (await ann.wait("pong"))[0] is True
    asyncio.run(run())


def test_messages_are_read_and_told_by_name(either, room):
    """Both styles of names, unknown ones, enums by name and number; what is zero is left out."""
    async def run():
        async with Talk(either, room) as ann:
            await ann.wait("join")
            await ann.say({"add_track": {"cid": "c", "name": "fenêtre", "type": "VIDEO", "source": 1, "width": 640, "nobody": [1],
                                         "simulcastCodecs": [{"codec": "vp8", "cid": "c"}], "layers": [{"quality": "LOW", "width": 160}]}})
            _, published = await ann.wait("trackPublished")
            track = published["track"]
            assert (published["cid"], track["type"], track["source"], track["name"], track["width"]) == ("c", "VIDEO", "CAMERA", "fenêtre", 640)
            assert track["layers"][0]["width"] == 160 and "quality" not in track["layers"][0] and "muted" not in track
            await ann.say({"mute": {"sid": "TR_nobody", "muted": True}})
            _, reply = await ann.wait("requestResponse")
            assert reply["reason"] == "NOT_FOUND" and reply["mute"] == {"sid": "TR_nobody", "muted": True}
            await ann.say({"leave": {}})
            assert (await ann.wait("leave"))[1] == {"reason": "CLIENT_INITIATED"}
    asyncio.run(run())


def test_what_everybody_is_told_reaches_each_in_its_own_form(either, room):
    async def run():
        async with Talk(either, room, "ann") as ann, Talk(either, room, "bob") as bob:
            await ann.wait("join")
            await bob.wait("join")
            await ann.say({"ping": 1})
            await ann.wait("pong")
            await bob.say(proto.SignalRequest(update_metadata=proto.UpdateParticipantMetadata(metadata="m")).SerializeToString())
            assert (await bob.wait("request_response"))[1].reason == proto.RequestResponse.NOT_ALLOWED
            await asyncio.to_thread(either.call, "room", "update_room_metadata", "UpdateRoomMetadataRequest", room=room, metadata="here")
            while (await ann.wait("roomUpdate"))[1]["room"].get("metadata") != "here":
                pass
            while (await bob.wait("room_update"))[1].room.metadata != "here":
                pass
    asyncio.run(run())


def test_what_cannot_be_read_is_counted_and_costs_nothing(server, room):
    """livekit-server ends the connection."""
    async def run():
        async with Talk(server, room) as ann:
            await ann.wait("join")
            for text in ("", "[]", "{bad", '{"mute": 5}', '{"ping": "x"}', '{"mute": {"sid": "a", "sid": "b"}}', "[" * 100000):
                await ann.say(text)
            await ann.say({"ping": 1})
            await ann.wait("pong")
            async with ann.http.get(server.url.replace("ws", "http") + "/metrics") as answer:
                assert "\nlivekit_signal_garbage_total 7\n" in await answer.text()
    asyncio.run(run())
