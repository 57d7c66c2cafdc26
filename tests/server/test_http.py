# SPDX-License-Identifier: Apache-2.0
"""`lkc serve` asked over HTTP: health, counters, refusals, garbage. What is refused leaves nothing behind."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import socket
import threading
import time

import pytest

import peers


def get(server, path, method="GET", headers=None, body=None):
    connection = http.client.HTTPConnection(server.address, server.port, timeout=20)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def metric(server, name):
    status, text, _ = get(server, "/metrics")
    assert status == 200
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def encode(part):
    return base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=").decode()


def forge(header, claims, secret=peers.SECRET, signature=None, digest=hashlib.sha256):
    signed = encode(header) + "." + encode(claims)
    made = hmac.new(secret.encode(), signed.encode(), digest).digest() if signature is None else signature
    return signed + "." + encode(made)


HS256 = {"alg": "HS256", "typ": "JWT"}


def claims(**changed):
    now = int(time.time())
    return {"iss": peers.KEY, "sub": "mallory", "nbf": now - 10, "exp": now + 600,
            "video": {"roomJoin": True, "room": "forged"}, **changed}


BAD_TOKENS = {
    "garbage": (lambda: "not.a.token", "not a well-formed"),
    "one part": (lambda: "abc", "not a well-formed"),
    "wrong secret": (lambda: forge(HS256, claims(), secret="x" * 40), "wrong signature"),
    "unknown key": (lambda: forge(HS256, claims(iss="nobody")), "wrong signature"),
    "expired": (lambda: forge(HS256, claims(exp=int(time.time()) - 3600)), "expired"),
    "not yet valid": (lambda: forge(HS256, claims(nbf=int(time.time()) + 3600)), "not valid yet"),
    "alg none": (lambda: forge({"alg": "none"}, claims(), signature=b""), "not a well-formed"),
    "alg none, signed": (lambda: forge({"alg": "none"}, claims()), "HS256"),
    "alg HS512": (lambda: forge({"alg": "HS512"}, claims(), digest=hashlib.sha512), "HS256"),
    "alg RS256": (lambda: forge({"alg": "RS256"}, claims()), "HS256"),
    "crit": (lambda: forge({**HS256, "crit": ["exp"]}, claims()), "HS256"),
    "over-long": (lambda: forge(HS256, claims(metadata="m" * 30000)), "longer than 32 KiB"),
    "grant of a wrong type": (lambda: forge(HS256, claims(video={"roomJoin": "yes"})), "not a well-formed"),
    "empty": (lambda: "", "no permissions"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused_with_the_reason_and_no_room_is_made(name):
    with peers.Server(ours=True) as server:  # its own: an address may be wrong ten times a second
        check_refused(server, *BAD_TOKENS[name])


def check_refused(server, make, reason):
    made = make()
    before = metric(server, "livekit_room_created_total")
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        for where in ("query", "header"):
            headers = {"Authorization": "Bearer " + made} if where == "header" and made else {}
            status, text, _ = get(server, path + ("" if headers else "?access_token=" + made), headers=headers)
            assert status == 401 and reason in text, (status, text)
            assert made[:20] not in text or not made, "the token is not echoed"
    status, text, _ = get(server, "/rtc?access_token=" + made, headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert status == 401 and reason in text, (status, text)
    assert metric(server, "livekit_room_created_total") == before
    assert "forged" not in [r.name for r in server.call("room", "list_rooms", "ListRoomsRequest").rooms]


@pytest.mark.parametrize("path, status, text", [
    ("/rtc/validate?access_token={good}", 200, "success"),
    ("/rtc/validate?access_token={no_join}", 401, "permissions denied"),
    ("/rtc/validate?access_token={no_room}", 400, "no room name"),
    ("/rtc/validate?access_token={nobody}", 400, "identity"),
    ("/rtc/validate?access_token={long_room}", 400, ""),
    ("/rtc/v1/validate?access_token={good}", 400, "join_request"),
    ("/rtc/v1/validate?access_token={good}&join_request=!", 400, ""),
    ("/rtc?access_token={good}", 404, ""),
    ("/settings/regions", 404, ""),
    ("/nothing", 404, ""),
    ("/", 200, "OK"),
    ("//", 200, "OK"),
])
def test_each_path_answers_as_the_real_server(server, path, status, text):
    tokens = {"good": peers.token("probe"), "no_join": peers.token("probe", room_join=False), "no_room": forge(HS256, claims(video={"roomJoin": True})),
              "nobody": forge(HS256, claims(sub="")), "long_room": peers.token("probe", room="r" * 257)}
    got, body, headers = get(server, path.format(**tokens))
    assert got == status and text in body, (got, body)
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_a_browser_may_ask_from_anywhere(server):
    status, _, headers = get(server, "/twirp/livekit.RoomService/ListRooms", "OPTIONS", {
        "Origin": "https://example.org", "Access-Control-Request-Headers": "authorization,content-type"})
    assert status == 204 and headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in headers["Access-Control-Allow-Headers"] and "POST" in headers["Access-Control-Allow-Methods"]


def test_who_is_wrong_too_often_has_to_wait_a_second():
    with peers.Server(ours=True) as server:
        statuses = []
        while 429 not in statuses and len(statuses) < 1000:
            statuses.append(get(server, "/rtc/validate?access_token=wrong")[0])
        assert statuses[:10] == [401] * 10 and statuses[-1] == 429, statuses
        assert get(server, "/")[0] == 200
        good = "/rtc/validate?access_token=" + peers.token("alice")
        peers.wait_for(lambda: get(server, good)[0] == 200, 20, "the second to pass")


@pytest.mark.parametrize("raw, status", [
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
])
def test_garbage_is_answered_once_and_the_connection_ended(server, raw, status):
    with socket.create_connection((server.address, server.port), 20) as s:
        s.sendall(raw)
        answer = b""
        try:
            while piece := s.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass  # what it did not read anymore
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:80]
    assert answer.count(b"HTTP/1.1") == 1
    assert get(server, "/")[0] == 200


def test_slow_heads_and_silent_connections_are_ended_and_nobody_waits_for_them(server):
    ends = {}

    def hold(name, first, more):
        began = time.monotonic()
        with socket.create_connection((server.address, server.port), 30) as s:
            s.sendall(first)
            s.settimeout(0.5)
            while time.monotonic() - began < 25:
                try:
                    if not s.recv(4096):
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                try:
                    s.sendall(more)
                except OSError:
                    break
            ends[name] = time.monotonic() - began

    threads = [threading.Thread(target=hold, args=args) for args in
               (("silent", b"", b""), ("half a head", b"GET / HTTP/1.1\r\nHost:", b""), ("drip", b"GET / HTTP/1.1\r\nX: ", b"y"))]
    for t in threads:
        t.start()
    for _ in range(20):
        assert get(server, "/")[0] == 200
    for t in threads:
        t.join()
    assert all(9 < seconds < 15 for seconds in ends.values()) and len(ends) == 3, ends


def test_counters_are_text_for_prometheus(server):
    status, text, headers = get(server, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = set()
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.split()
            names.add(name)
            assert int(value) >= 0 and f"# TYPE {name} " in text and f"# HELP {name} " in text
    assert {"livekit_room_total", "livekit_participant_total", "livekit_packet_out_total", "livekit_join_total"} <= names
