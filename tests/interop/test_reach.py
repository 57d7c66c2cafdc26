# SPDX-License-Identifier: Apache-2.0
"""How a server is reached: over TLS with a CA of the user's own, through proxies, under long paths, with long tokens."""
import base64

import pytest

import fronts
import peers
from test_audio import call
from test_faults import SLACK, refused


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return fronts.Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def plain(monkeypatch):
    """No proxy and no CA of whoever runs the tests."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


class At:
    """A server as somebody else names it; its own API stays where it is."""

    def __init__(self, url):
        self.url = url


def test_speech_over_tls(server, room, tmp_path, authority, plain):
    plain("SSL_CERT_FILE", str(authority.file))
    with fronts.Front(server, authority.certificate("DNS:localhost")) as front:
        call(At(front.url("localhost")), room, tmp_path, "ours", "ours")
        assert len(front.versions) == 2 and set(front.versions) == {"TLSv1.3"}
        assert all(head.startswith("GET /rtc/v1?") for head in front.heads)


def test_tls_to_an_address(server, room, authority, plain):
    plain("SSL_CERT_FILE", str(authority.file))
    with fronts.Front(server, authority.certificate("IP:127.0.0.1")) as front, \
            peers.Program("watch", "ours", front.url(), peers.token("alice", room)) as alice:
        alice.wait("connected")
        assert alice.finish() == 0


@pytest.mark.parametrize("case,name,trusted,said", [
    ("nobody we trust", "DNS:localhost", False, "certificate"),
    ("another name", "DNS:elsewhere.example", True, "certificate"),
])
def test_a_certificate_that_proves_nothing(server, room, authority, plain, case, name, trusted, said):
    if trusted:
        plain("SSL_CERT_FILE", str(authority.file))
    with fronts.Front(server, authority.certificate(name)) as front:
        line = refused(front.url("localhost"), peers.token("alice", room))
        assert said in line["text"].lower(), line
        assert not front.heads, "no request, and so no token, went to a host that proved nothing"
        assert line["seconds"] < 5, "that is no matter of patience: the tries are over long before the 20 s a silent host is given"


def test_a_ca_file_that_is_none(server, room, tmp_path, authority, plain):
    plain("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with fronts.Front(server, authority.certificate("DNS:localhost")) as front:
        line = refused(front.url("localhost"), peers.token("alice", room))
        assert "certificate" in line["text"].lower() and not front.heads, line


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("case", ["upper", "lower", "credentials", "bare"])
def test_through_a_proxy(server, room, authority, plain, tls, case):
    """The name of the server is the proxy's to resolve: here nobody could."""
    variable = "HTTPS_PROXY" if tls else "HTTP_PROXY"
    plain("SSL_CERT_FILE", str(authority.file))
    with fronts.Front(server, authority.certificate("DNS:livekit.example") if tls else None) as front, fronts.Proxy() as proxy:
        url = f"127.0.0.1:{proxy.port}" if case == "bare" else proxy.url("me:pass%20word" if case == "credentials" else "")
        plain(variable.lower() if case == "lower" else variable, url)
        with peers.Program("watch", "ours", front.url("livekit.example"), peers.token("alice", room)) as alice:
            alice.wait("connected")
            assert alice.finish() == 0
        asked = proxy.heads[0].split("\r\n")
        assert len(proxy.heads) == 1 and asked[0] == f"CONNECT livekit.example:{front.port} HTTP/1.1", asked
        given = [line for line in asked if line.lower().startswith("proxy-authorization:")]
        if case == "credentials":
            assert given == ["Proxy-Authorization: Basic " + base64.b64encode(b"me:pass word").decode()]
        else:
            assert not given
        assert not any("authorization: bearer" in line.lower() for line in asked), "the token is not the proxy's"


def test_speech_through_a_proxy(server, room, tmp_path, plain):
    with fronts.Proxy() as proxy:
        plain("HTTP_PROXY", proxy.url())
        call(server, room, tmp_path, "ours", "ours")
        assert len(proxy.heads) == 2


@pytest.mark.parametrize("no_proxy", ["*", "127.0.0.1", "example.org, 127.0.0.1"])
def test_no_proxy(server, room, plain, no_proxy):
    with fronts.Proxy() as proxy:
        plain("HTTP_PROXY", proxy.url())
        plain("HTTPS_PROXY", proxy.url())
        plain("NO_PROXY", no_proxy)
        with peers.Program("watch", "ours", server.url, peers.token("alice", room)) as alice:
            alice.wait("connected")
            assert alice.finish() == 0
        assert not proxy.heads


@pytest.mark.parametrize("answer,said", [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "proxy"),
])
def test_a_proxy_that_refuses(server, room, plain, answer, said):
    with fronts.Proxy(answer) as proxy:
        plain("HTTP_PROXY", proxy.url())
        line = refused(server.url, peers.token("alice", room), timeout=1)
        assert said in line["text"].lower() and line["seconds"] < 4 + SLACK, line


def test_a_proxy_that_never_answers(server, room, plain):
    with fronts.Proxy(silent=True) as proxy:
        plain("HTTP_PROXY", proxy.url())
        line = refused(server.url, peers.token("alice", room), timeout=1)
        assert 0.9 < line["seconds"] < 4 + SLACK, line
        assert proxy.heads


def test_a_proxy_that_is_not_there(server, room, plain):
    plain("HTTP_PROXY", f"http://127.0.0.1:{peers.free_port()}")
    line = refused(server.url, peers.token("alice", room))
    assert "refused" in line["text"].lower() and line["seconds"] < 20 + SLACK, line


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://"])
def test_a_proxy_of_a_kind_that_is_not_built(server, room, plain, url):
    plain("HTTP_PROXY", url)
    line = refused(server.url, peers.token("alice", room))
    assert "proxy" in line["text"].lower() and line["seconds"] < 5, line  # at once, and not tried again until 20 s are over


@pytest.mark.parametrize("size", [2048, 8192, 40960])
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_a_long_join(server, room, authority, plain, size, tls):
    """The path of a server behind a front, and with it the request: 2, 8 and 40 kB, and the answer to it is a call."""
    plain("SSL_CERT_FILE", str(authority.file))
    with fronts.Front(server, authority.certificate("IP:127.0.0.1") if tls else None, prefix="/" + "p" * size) as front, \
            peers.Program("watch", "ours", front.url(), peers.token("alice", room)) as alice:
        alice.wait("connected")
        assert len(front.heads) == 1
        target = front.heads[0].split(" ")[1]
        assert target.startswith("/" + "p" * size + "/rtc/v1?") and len(target) > size + 500
        assert alice.finish() == 0


def test_a_join_beyond_64_kib_is_refused(server, room, plain):
    with fronts.Front(server, prefix="/" + "p" * 65600) as front:
        line = refused(front.url(), peers.token("alice", room))
        assert line["seconds"] < 5 and not front.met, line
        assert "url" in line["text"].lower() and "64 kib" in line["text"].lower(), line


@pytest.mark.parametrize("size", [2000, 8000, 40000])
def test_a_long_token(server, room, plain, size):
    with peers.Program("watch", "ours", server.url, peers.token("alice", room, metadata="m" * size)) as alice:
        assert alice.wait("connected")["metadata"] == "m" * size
        assert alice.finish() == 0
